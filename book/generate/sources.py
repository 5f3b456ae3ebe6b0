"""Where in the library a slide's formula stands: the functions and classes whose docstrings name the slide by its tag.

Not here: the list of slides (notebooks/slides.toml), the table they stand in (slide_map.py).
"""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

from book.generate import api

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
    docstring : str
    """

    file: str
    line: int
    name: str
    docstring: str

    def link(self, public):
        """What stands in the slide map: the name, and file and line, linked to the source code where the book has it.

        Sphinx makes a page of every file that the reference names, with an anchor at what it names: ``public``.
        """
        place = f"{self.file}:{self.line}"
        if self.file not in public:
            return f"`{self.name}` `{place}`"
        anchor = f"#{self.name}" if self.name in public[self.file] else ""
        return f"`{self.name}` [{place}](code:minivis/{self.file.removesuffix('.py')}{anchor})"


def public():
    """Return {file: the names of it that the reference has}."""
    found = {}
    for part, names in api.documented().items():
        for name, thing in names:
            file = api.file_of(name, thing, api.module_of(part)).relative_to(LIBRARY).as_posix()
            found.setdefault(file, set()).add(name)
    return found


def documented(library=LIBRARY):
    """Yield a Source for every file, class and function of the library that has a docstring."""
    for path in sorted(library.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        file = path.relative_to(library).as_posix()
        for node, name in _definitions(tree):
            if text := ast.get_docstring(node):
                yield Source(file, getattr(node, "lineno", 1), name, text)


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
