"""How an executed notebook becomes a chapter, and the pictures of the welcome page.

Not here: whether the real notebooks run.
"""

import base64

import nbformat
import pytest
from nbformat import v4

from book.generate import chapters, pictures

PNG = base64.b64encode(b"a picture").decode()


def drawn(alt):
    return v4.new_output(
        "display_data", {"image/png": PNG, chapters.WIDGET: {}}, metadata={"image/png": {"alt": alt}}
    )


def notebook(*cells):
    made = v4.new_notebook(cells=list(cells))
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return made


def code(*tags, outputs=()):
    return v4.new_code_cell("x", metadata={"tags": list(tags)}, outputs=list(outputs))


def test_every_slide_gets_an_anchor_before_its_cell():
    made = chapters.for_the_book(
        notebook(code("slide:H/4-a-slide", "setup"), code("slide:H/4-a-slide", "slide:Z/1-b"))
    )
    assert [(cell.cell_type, cell.source) for cell in made.cells] == [
        ("markdown", "(slide-h-4-a-slide)="),
        ("code", "x"),
        ("markdown", "(slide-h-4-a-slide-2)=\n(slide-z-1-b)="),
        ("code", "x"),
    ]


def test_links_to_the_library_lead_to_its_source_in_the_book():
    text = (
        "[conv2d](../minivis/ops/conv.py), [a card](../minivis/weights/x/card.json), [05](05_attention.ipynb)"
    )
    assert chapters.inside(text) == "[conv2d](source:minivis/ops/conv), a card, [05](05_attention.ipynb)"


def test_a_picture_has_words_and_a_widget_stays_out():
    (cell,) = chapters.for_the_book(notebook(code(outputs=[drawn("What to see.")]))).cells
    assert cell.metadata["mystnb"] == {"image": {"alt": "What to see."}}
    assert list(cell.outputs[0].data) == ["image/png"]


def test_a_picture_without_a_caption_is_named(tmp_path):
    (tmp_path / "built").mkdir()
    cell = code(outputs=[v4.new_output("display_data", {"image/png": PNG})])
    for folder in (tmp_path, tmp_path / "built"):
        nbformat.write(notebook(cell), folder / "01_a.ipynb")
    with pytest.raises(ValueError, match=f"01_a.ipynb: {cell.id} draws a picture without a caption"):
        chapters.pages(tmp_path, tmp_path / "built")


def test_a_notebook_that_was_not_executed_is_named(tmp_path):
    (tmp_path / "01_a.ipynb").touch()
    with pytest.raises(FileNotFoundError, match="01_a.ipynb does not exist; run: make notebooks"):
        chapters.pages(tmp_path, tmp_path / "built")


def test_the_picture_of_a_system_is_the_one_its_slide_draws(tmp_path):
    cells = [code("slide:A/1-x", outputs=[drawn("Wrong.")]), code("slide:A/2-y", outputs=[drawn("Right.")])]
    nbformat.write(notebook(*cells), tmp_path / "n.ipynb")
    assert pictures.picture(tmp_path / "n.ipynb", "slide:A/2-y") == (b"a picture", "Right.")
    with pytest.raises(LookupError, match="slide:A/3-z"):
        pictures.picture(tmp_path / "n.ipynb", "slide:A/3-z")
