"""Where in the library a slide's formula stands: the functions and classes whose docstrings name the slide by its tag.

Not here: the list of slides (notebooks/slides.toml), the table they stand in (slide_map.py).
"""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

LIBRARY = Path(__file__).parents[2] / "minivis"
TAG = re.compile(r"``([A-Z]/\d+-[a-z0-9-]+)``")
# The formula first, then what is built of it, then the rest: pictures among it.
FORMULA_FIRST = ("ops", "vision", "nn", "losses", "models", "metrics")


@dataclass(frozen=True)
class Source:
    """The definition of a function or class.

    Attributes
    ----------
    file : str
        Its file, from the library's folder on: ``ops/softmaxes.py``.
    line : int
        Where its ``def`` or ``class`` stands.
    name : str
        With the class before it where it is a method; empty for the head of the file.
    is_public : bool
        Whether the file exports it. What is exported has an anchor on the page of source code that Sphinx makes.
    docstring : str
    """

    file: str
    line: int
    name: str
    is_public: bool
    docstring: str

    def link(self):
        """What stands in the slide map: the name, and file and line as a link to the source code in the book."""
        page = self.file.removesuffix(".py")
        place = f"#{self.name}" if self.is_public else ""
        return f"`{self.name}` [{self.file}:{self.line}](code:minivis/{page}{place})"


def documented(library=LIBRARY):
    """Yield a Source for every file, class and function of the library that has a docstring."""
    for path in sorted(library.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        file = path.relative_to(library).as_posix()
        exported = _exported(tree)
        for node, name in _definitions(tree):
            if text := ast.get_docstring(node):
                line = getattr(node, "lineno", 1)
                yield Source(file, line, name, name.split(".")[0] in exported, text)


def _exported(tree):
    """The names that the ``__all__`` of a file lists; a package gathers those of its files."""
    lists = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and "__all__" in ast.unparse(node.targets[0])
    )
    return {item.value for found in lists for item in ast.walk(found) if isinstance(item, ast.Constant)}


def _definitions(node, name=""):
    """Yield a module, class or function with its name, then what it defines."""
    yield node, name
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            yield from _definitions(child, f"{name}.{child.name}".lstrip("."))


def sources(library=LIBRARY):
    """Return {slide tag: its sources}, formulas before pictures. The head of a file names slides too, and is no source."""
    found = {}
    for source in documented(library):
        for tag in TAG.findall(source.docstring) if source.name else ():
            found.setdefault(tag, []).append(source)
    for places in found.values():
        places.sort(key=_rank)
    return found


def _rank(source):
    part = source.file.split("/")[0]
    return FORMULA_FIRST.index(part) if part in FORMULA_FIRST else len(FORMULA_FIRST)
