"""The source code of a slide's formula: the functions and classes with the slide's tag in their docstrings.

Not here: the list of slides (notebooks/slides.toml), the table (slide_map.py).
"""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

from book.generate import api

LIBRARY = Path(__file__).parents[2] / "minivis"
TAG = re.compile(r"``([A-Z]/\d+-[a-z0-9-]+)``")
# The order of sources: the formula, then the parts of the library that use it, then the rest, such as pictures.
FORMULA_FIRST = ("ops", "vision", "nn", "losses", "models", "metrics")


@dataclass(frozen=True)
class Source:
    """The definition of a function or class.

    Attributes
    ----------
    file : str
        Its file, relative to the library's folder: ``ops/softmaxes.py``.
    line : int
        The line of its ``def`` or ``class``.
    name : str
        For a method with its class in front; empty for the head of the file.
    docstring : str
    """

    file: str
    line: int
    name: str
    docstring: str

    def link(self, public):
        """The text in the slide map: name, file and line, with a link to the source code if it is in the book.

        Sphinx makes a page for every file in the reference, with an anchor for each name: ``public`` has these names.
        """
        place = f"{self.file}:{self.line}"
        if self.file not in public:
            return f"`{self.name}` `{place}`"
        anchor = f"#{self.name}" if self.name in public[self.file] else ""
        return f"`{self.name}` [{place}](code:minivis/{self.file.removesuffix('.py')}{anchor})"


def public():
    """Return {file: its names that are in the reference}."""
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
    """Yield a module, class or function with its name, then the definitions inside it."""
    yield node, name
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            yield from _definitions(child, f"{name}.{child.name}".lstrip("."))


def sources(library=LIBRARY):
    """Return {slide tag: its sources}, formulas before pictures. A tag in the head of a file does not count."""
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
