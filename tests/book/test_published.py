"""The tables of the page on published weights: every checkpoint and every result has its row, and every table its slide.

Not here: whether the numbers are the papers' (they were read off the decks).
"""

import tomllib
from pathlib import Path

from book.generate import published
from minivis.pretrained import checkpoints

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
TABLES = tomllib.loads((NOTEBOOKS / published.RESULTS).read_text(encoding="utf-8"))["table"]


def test_every_checkpoint_has_a_row():
    lines = published.families().splitlines()
    assert len(lines) == 2 + len(checkpoints.table())
    assert all(line.count("|") == 5 for line in lines)
    for name, known in checkpoints.KNOWN.items():
        (line,) = [line for line in lines if f"`minivis fetch {name}`" in line]
        assert f"{known.megabytes}\N{NO-BREAK SPACE}MB" in line


def test_every_result_has_a_row_of_as_many_cells_as_its_table_has_columns():
    text = published.results(NOTEBOOKS)
    for one in TABLES:
        assert one["command"].startswith("minivis evaluate ") and f"`{one['command']}`" in text
        for cells in one["rows"]:
            assert len(cells) == len(one["columns"])
            assert f"{' | '.join(str(cell) for cell in cells[1:])} |" in text


def test_every_table_is_of_a_slide_of_chapter_22_and_every_such_slide_has_one():
    slides = tomllib.loads((NOTEBOOKS / "slides.toml").read_text(encoding="utf-8"))["slide"]
    tags = {f"{s['deck']}/{s['number']}-{s['slug']}" for s in slides if s["chapter"] == 22}
    assert {one["slide"] for one in TABLES} == tags
    assert len({one["slug"] for one in TABLES}) == len(TABLES)
