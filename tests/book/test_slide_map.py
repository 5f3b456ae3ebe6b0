"""The slide map: every slide stands on it, its links lead somewhere, and the laws are those of its cell.

Not here: whether a slide has the cell that its kind demands (tests/notebooks/test_slides.py).
"""

import json
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace

import nbformat

from book.generate import chapters, pictures, slide_map
from book.generate.markdown import escape, laws_of
from minivis import laws

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SLIDE = {"deck": "H", "number": 4, "slug": "two-boxes", "chapter": 15, "claims": "Boxes | overlap."}


def test_every_slide_has_its_row_and_every_link_its_place():
    text = slide_map.page(NOTEBOOKS, laws.catalogue())
    slides = tomllib.loads((NOTEBOOKS / "slides.toml").read_text(encoding="utf-8"))["slide"]
    for slide in slides:
        rows = [line for line in text.splitlines() if escape(slide["claims"]) in line]
        assert len(rows) == 1 and slide["slug"].replace("-", " ") in rows[0], slide
    places = {laws_of(name) for name in laws.names()}
    for path in NOTEBOOKS.glob("*.ipynb"):
        places.update(*chapters.anchors_of(nbformat.read(path, as_version=4)))
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= places


def test_a_row_links_every_cell_and_names_the_laws_behind_them():
    named = SimpleNamespace(family="nms", slide="H: Two boxes, and one")
    other = SimpleNamespace(family="softmax", slide="A: Two boxes")
    catalogue = [named, other, SimpleNamespace(family="box_iou", slide="")]
    row = slide_map.row(SLIDE, {"slide:H/4-two-boxes": ["mv.vision.box_iou(a, b)", ""]}, catalogue)
    assert row == (
        r"| 4 two boxes | Boxes \| overlap. | [chapter 15](#slide-h-4-two-boxes), [again (2)](#slide-h-4-two-boxes-2) "
        "| [box_iou](#laws-box-iou), [nms](#laws-nms) |"
    )


def test_a_chapter_to_come_and_an_erratum_are_told():
    row = slide_map.row({**SLIDE, "builds": 3, "erratum": "It is three."}, None, [])
    assert (
        row == r"| 4–6 two boxes | Boxes \| overlap. *On the slide:* It is three. | chapter 15, to come |  |"
    )


def test_the_pictures_of_the_welcome_page_are_of_slides_that_exist():
    for chapter, _, slide in pictures.PICTURES:
        cells = json.loads((NOTEBOOKS / f"{chapter}.ipynb").read_text(encoding="utf-8"))["cells"]
        assert any(slide in c["metadata"].get("tags", []) and c["cell_type"] == "code" for c in cells), slide
