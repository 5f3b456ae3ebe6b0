"""What README, book and notebooks say in counts, minutes and links to chapters is what there is.

Not here: what the chapters compute; whether a link leads to a page of the built book (scripts/check_book.py).
"""

import json
import re
from pathlib import Path

import pytest

from minivis import laws
from scripts import counts

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "tests" / "benchmarks" / "results"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def markdown(path):
    """The Markdown cells of a notebook."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]


def number(path):
    return int(path.name[:2])


def title(path):
    """A chapter as a link names it: `08. ViT`."""
    return re.match(r"# (\d\d\. [^:\n]+)", markdown(path)[0])[1]


def minutes(path):
    """How long a chapter says that it takes to read."""
    words = re.search(
        r"\*\*Time\*?\*?[.:]?\*?\*?:? about (\w+) minutes to read", markdown(path)[0], re.IGNORECASE
    )[1]
    return int(words) if words.isdigit() else counts.WORDS.index(words)


def test_counts_are_those_that_there_are():
    found = set()
    for path in counts.pages():
        text = path.read_text(encoding="utf-8")
        assert counts.rewritten(text, found) == text, f"{path.name}: python scripts/counts.py puts it right"
    assert found == set(counts.counts()), "a sentence with a count stands nowhere any more"


def test_a_wrong_count_is_found_and_put_right():
    wrong = "names and shapes\nof 26 published checkpoints; it hands out twelve assignments"
    right = "names and shapes\nof 52 published checkpoints; it hands out sixteen assignments"
    found = set()
    assert counts.rewritten(wrong, found) == right and len(found) == 2


def test_the_number_of_tests_stands_in_one_place():
    """In the table that `make bench` writes."""
    table = RESULTS / "against_pytorch_cpu.md"
    assert len(re.findall(r"`make test`: [\d,]+ passed", table.read_text(encoding="utf-8"))) == 1
    elsewhere = "".join(path.read_text(encoding="utf-8") for path in counts.pages())
    assert re.findall(r"[\d,]+ (?:tests|passed)\b", elsewhere) == []


@pytest.mark.parametrize(("path", "following"), [*zip(NOTEBOOKS, [*NOTEBOOKS[1:], None], strict=True)])
def test_each_chapter_leads_to_the_next(path, following):
    *cells, last = markdown(path)
    assert "Next:" not in "".join(cells)
    leads = re.findall(r"^Next: \[([^\]]+)\]\(([^)]+)\)", last, re.MULTILINE)
    assert leads == ([] if following is None else [(title(following), following.name)])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_link_to_a_chapter_says_its_number(path):
    files = {other.name for other in NOTEBOOKS}
    for text, file in re.findall(r"\[([^\]]+)\]\((\d\d_\w+\.ipynb)\)", "\n".join(markdown(path))):
        assert file in files, f"{file} is no chapter"
        named = re.findall(r"\d\d", text)
        assert named in ([], [file[:2]]), f"[{text}] leads to {file}"


def test_the_lists_of_chapters_are_complete():
    chapters = {path.name: number(path) for path in NOTEBOOKS}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d\d) .*?\(notebooks/(\w+\.ipynb)\)", readme, re.MULTILINE)
    assert [(file, int(n)) for n, file in rows] == list(chapters.items())
    tour = markdown(NOTEBOOKS[0])[-1]
    rows = re.findall(r"^\| \[(\d\d) [^\]]*\]\((\w+\.ipynb)\).* (\d+) min \|$", tour, re.MULTILINE)
    assert [(file, int(n)) for n, file, _ in rows] == list(chapters.items())[1:]
    to_come = re.search(r"\*\*To come\*\*:(.*?)\n\n", tour, re.DOTALL)[1]
    announced = [int(n) for n in re.findall(r"(?:^|·)\s*(\d\d) ", to_come)]
    assert announced == sorted(set(range(25)) - set(chapters.values()))


def test_the_laws_that_the_readme_names_are_there():
    rows = re.findall(
        r"^\| \d\d .*\| ([^|]+) \|$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert len(rows) == len(NOTEBOOKS) and named <= set(laws.names())


def test_the_minutes_are_those_that_the_chapters_say():
    for path in NOTEBOOKS[1:]:
        row = re.search(rf"\({path.name}\).* (\d+) min \|$", markdown(NOTEBOOKS[0])[-1], re.MULTILINE)
        assert int(row[1]) == minutes(path), path.name
    welcome = (ROOT / "book" / "index.md").read_text(encoding="utf-8")
    said = re.findall(r"<notebooks/(\w+)>`\s+\((\d+) minutes", welcome)
    assert len(said) == 4
    for stem, told in said:
        assert int(told) == minutes(ROOT / "notebooks" / f"{stem}.ipynb"), stem
