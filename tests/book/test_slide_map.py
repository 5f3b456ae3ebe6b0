"""The slide map: every slide stands on it, its links lead somewhere, and laws and source code are those of its formula.

Not here: whether a slide has the cell that its kind demands (tests/notebooks/test_slides.py).
"""

import json
import re
import tomllib
from pathlib import Path
from types import SimpleNamespace

import nbformat

from book.generate import chapters, pictures, slide_map, sources
from book.generate.markdown import escape, laws_of
from minivis import laws

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
SLIDES = tomllib.loads((NOTEBOOKS / "slides.toml").read_text(encoding="utf-8"))["slide"]
SLIDE = {"deck": "H", "number": 4, "slug": "two-boxes", "chapter": 15, "claims": "Boxes | overlap."}


def test_every_slide_has_its_row_and_every_link_its_place():
    text = slide_map.page(NOTEBOOKS, laws.catalogue())
    for slide in SLIDES:
        rows = [line for line in text.splitlines() if escape(slide["claims"]) in line]
        assert len(rows) == 1 and slide["slug"].replace("-", " ") in rows[0], slide
    places = {laws_of(name) for name in laws.names()}
    for path in NOTEBOOKS.glob("*.ipynb"):
        places.update(*chapters.anchors_of(nbformat.read(path, as_version=4)))
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= places


def test_a_row_links_every_cell_and_names_the_laws_behind_them():
    named = SimpleNamespace(family="nms", slide="H/4-two-boxes")
    other = SimpleNamespace(family="softmax", slide="A/4-two-boxes")
    catalogue = [named, other, SimpleNamespace(family="box_iou", slide="")]
    row = slide_map.row(SLIDE, {"slide:H/4-two-boxes": ["mv.vision.box_iou(a, b)", ""]}, catalogue)
    assert row == (
        r"| 4 two boxes | Boxes \| overlap. | [chapter 15](#slide-h-4-two-boxes), [again (2)](#slide-h-4-two-boxes-2) "
        "| [box_iou](#laws-box-iou), [nms](#laws-nms) |  |"
    )


def test_a_chapter_to_come_and_an_erratum_are_told():
    row = slide_map.row({**SLIDE, "builds": 3, "erratum": "It is three."}, None, [])
    assert (
        row
        == r"| 4–6 two boxes | Boxes \| overlap. *On the slide:* It is three. | chapter 15, to come |  |  |"
    )


def test_the_pictures_of_the_welcome_page_are_of_slides_that_exist():
    for chapter, _, slide in pictures.PICTURES:
        cells = json.loads((NOTEBOOKS / f"{chapter}.ipynb").read_text(encoding="utf-8"))["cells"]
        assert any(slide in c["metadata"].get("tags", []) and c["cell_type"] == "code" for c in cells), slide


# ---------------------------------------------------------------------------------------------------------------------
# The column "source"

# Slides of written chapters whose claim is no formula of the library, and what shows it instead.
SHOWN_BY_THE_CELL_ALONE = {
    "A/6-locality-and-stationarity": "correlations of the pixels of a photo",
    "A/34-position-similarity": "cosines of the rows of a trained table",
}


def without_source(slides, chapters, found):
    """The tags of slides of written chapters that claim something and that no docstring of the library names."""
    shown = ("claim", "worked-number", "architecture")
    due = [slide for slide in slides if slide["kind"] in shown and slide["chapter"] in chapters]
    return {slide_map.tag_of(slide) for slide in due} - found.keys()


def test_every_slide_that_claims_something_has_its_source():
    chapters = {int(path.name[:2]) for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")}
    assert without_source(SLIDES, chapters, sources.sources()) == SHOWN_BY_THE_CELL_ALONE.keys()


def test_a_slide_without_source_is_found():
    slide = {**SLIDE, "kind": "claim"}
    assert without_source([slide], {15}, {}) == {"H/4-two-boxes"}
    assert without_source([slide], {15}, {"H/4-two-boxes": []}) == set()
    assert (
        without_source([slide], {14}, {}) == without_source([{**slide, "kind": "result"}], {15}, {}) == set()
    )


def test_every_tag_in_a_docstring_is_a_slide():
    known = {slide_map.tag_of(slide) for slide in SLIDES}
    unknown = {
        (source.file, tag) for source in sources.documented() for tag in sources.TAG.findall(source.docstring)
    }
    assert [(file, tag) for file, tag in sorted(unknown) if tag not in known] == []


def test_slides_are_named_by_tags_alone():
    """Not by the title of a slide or a page number, after `Slides:` or `Deck C`."""
    vague = re.compile(r"(?i)\bdecks? [IHCZA]\b|\bslides?:|\bslides? [IHCZA][ ,]")
    assert [(s.file, s.name) for s in sources.documented() if vague.search(s.docstring)] == []
    words = ('Deck A, "Attention"', 'Slides: C, "ResNet"', "Slides A, 46 to 49")
    assert all(map(vague.search, words)) and not vague.search("Slides ``A/46-shifted-windows``.")


def test_a_source_is_the_definition_and_has_its_place_in_the_book():
    public = sources.public()
    for tag, places in sources.sources().items():
        for place in places:
            line = (sources.LIBRARY / place.file).read_text(encoding="utf-8").splitlines()[place.line - 1]
            assert re.match(rf"\s*(def|class) {place.name.split('.')[-1]}\b", line), (tag, place)
        assert any(place.name in public.get(place.file, ()) for place in places), (
            f"the reference has no {tag}"
        )


def test_sources_are_read_off_docstrings(tmp_path):
    (tmp_path / "ops").mkdir()
    (tmp_path / "viz.py").write_text('def draw():\n    """A picture. Slide ``H/4-two-boxes``."""\n')
    (tmp_path / "ops" / "boxes.py").write_text(
        '"""Boxes. Slide ``H/4-two-boxes``."""\n\n\nclass Box:\n    """A box. Slide ``Z/1-area``."""\n\n'
        '    def area(self):\n        """Slides ``H/4-two-boxes``, ``Z/1-area``."""\n'
    )
    found = sources.sources(tmp_path)
    assert {tag: [(place.name, place.line) for place in places] for tag, places in found.items()} == {
        "H/4-two-boxes": [("Box.area", 7), ("draw", 1)],
        "Z/1-area": [("Box", 4), ("Box.area", 7)],
    }


def test_a_source_is_linked_where_the_book_has_its_file():
    box = sources.Source("ops/boxes.py", 4, "Box", "")
    assert box.link({"ops/boxes.py": {"Box"}}) == "`Box` [ops/boxes.py:4](code:minivis/ops/boxes#Box)"
    assert box.link({"ops/boxes.py": {"other"}}) == "`Box` [ops/boxes.py:4](code:minivis/ops/boxes)"
    assert box.link({}) == "`Box` `ops/boxes.py:4`"
    assert slide_map.row(SLIDE, None, [], ["one", "two"]).endswith("| chapter 15, to come |  | one, two |")
