"""The slide map: every slide of the decks with its claim, the cell that shows it, its laws and its source code.

Not here: the list of slides (notebooks/slides.toml), the test that each slide has a cell (tests/notebooks/test_slides.py).
"""

import ast
import json
import re
import tomllib

from book.generate import sources
from book.generate.chapters import anchor
from book.generate.markdown import escape, head, laws_of
from book.generate.markdown import row as table_row

DECKS = {
    "I": "Indaba: panoptic segmentation with transformers",
    "H": "Hanyang University: ViT, DETR and Segmenter",
    "C": "CPSC 425, lecture 23: vision with neural networks",
    "Z": "Zagoruyko: transformers in computer vision",
    "A": "AIIA: attention and transformer networks in computer vision",
}


def page(notebooks, laws):
    """Return the text of the slide map.

    Parameters
    ----------
    notebooks : Path
        The folder with slides.toml and the notebooks.
    laws : list of Law
        The catalogue.

    Returns
    -------
    str
    """
    slides = tomllib.loads((notebooks / "slides.toml").read_text(encoding="utf-8"))["slide"]
    chapters = {int(path.name[:2]): path for path in sorted(notebooks.glob("[0-9][0-9]_*.ipynb"))}
    cells = {number: cells_by_tag(path) for number, path in chapters.items()}
    public = sources.public()
    links = {tag: [place.link(public) for place in code] for tag, code in sources.sources().items()}
    lines = []
    for deck, title in DECKS.items():
        lines += [
            "",
            f"## {deck}: {title}",
            "",
            *head("slide", "what it claims", "shown in", "laws", "source"),
        ]
        for slide in slides:
            if slide["deck"] == deck:
                written = cells.get(slide["chapter"])
                lines.append(row(slide, written, laws, links.get(tag_of(slide), ())))
    return "\n".join(lines) + "\n"


def cells_by_tag(path):
    """Return {slide tag: sources of its code cells, one for each cell} of a notebook."""
    found = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"]) if cell["cell_type"] == "code" else ""
        for tag in cell["metadata"].get("tags", []):
            if tag.startswith("slide:"):
                found.setdefault(tag, []).append(source)
    return found


def tag_of(slide):
    """A slide's tag, as docstrings name it: ``H/5-vision-transformer``."""
    return f"{slide['deck']}/{slide['number']}-{slide['slug']}"


def row(slide, cells, laws, code=()):
    """One row of the table; ``cells`` is None if the chapter does not exist yet, ``code`` links the sources."""
    tag = f"slide:{tag_of(slide)}"
    last = slide["number"] + slide.get("builds", 1) - 1
    pages = str(slide["number"]) + (f"–{last}" if last > slide["number"] else "")
    claims = escape(slide["claims"])
    if "erratum" in slide:
        claims += f" *On the slide:* {escape(slide['erratum'])}"
    sources = (cells or {}).get(tag, [])
    places = [anchor(tag) + (f"-{n}" if n > 1 else "") for n in range(1, len(sources) + 1)]
    texts = [f"chapter {slide['chapter']:02}", *(f"again ({n})" for n in range(2, len(places) + 1))]
    shown = ", ".join(f"[{text}](#{place})" for text, place in zip(texts, places, strict=False))
    used = set().union(*map(names_in, sources))
    families = sorted({law.family for law in laws if law.family in used or law.slide == tag_of(slide)})
    checked = ", ".join(f"[{name}](#{laws_of(name)})" for name in families)
    name = slide["slug"].replace("-", " ")
    later = f"chapter {slide['chapter']:02}, to come"
    return table_row(f"{pages} {name}", claims, shown or later, checked, ", ".join(code))


def names_in(source):
    """The names and strings in a code cell; the strings include the arguments of laws.check."""
    names = set()
    for node in ast.walk(ast.parse(re.sub(r"(?m)^\s*[%!].*$", "", source))):
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)
    return names
