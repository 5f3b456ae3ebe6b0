"""Each chapter ends with six questions with folded answers, and says what its reader can do now and where to go next.

Not here: running the code of the answers (scripts/run_notebooks.py does it behind each chapter).
"""

import ast
import json
import re
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
MOST_LINES = 8
CHAPTERS = sorted(path for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb") if int(path.name[:2]) < 25)


def cells_of(path):
    """Pairs of tags and source, of all cells of a notebook."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [(cell["metadata"].get("tags", []), "".join(cell["source"])) for cell in cells]


def questions(cells):
    """{name: source} of the cells tagged question:NAME."""
    named = [
        (tag.partition(":")[2], source)
        for tags, source in cells
        for tag in tags
        if tag.startswith("question:")
    ]
    assert len(dict(named)) == len(named), "two questions have one name"
    return dict(named)


def asserts(code):
    """Whether code asserts something, by the statement or by a function of numpy.testing."""
    nodes = list(ast.walk(ast.parse(code)))
    called = [getattr(node.func, "attr", "") for node in nodes if isinstance(node, ast.Call)]
    return any(isinstance(node, ast.Assert) for node in nodes) or any(
        name.startswith("assert_") for name in called
    )


chapters = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.name[:2])


@chapters
def test_a_chapter_asks_six_questions_and_each_answer_is_folded_and_asserts(path):
    asked = questions(cells_of(path))
    assert len(asked) == 6
    for name, source in asked.items():
        question, folded, answer = source.partition("<details><summary>Answer</summary>")
        assert "?" in question and folded and answer.rstrip().endswith("</details>"), name
        (code,) = CODE.findall(answer)
        assert len(code.splitlines()) <= MOST_LINES, name
        assert asserts(code), name


@chapters
def test_a_chapter_ends_with_what_its_reader_can_do_and_leads_on(path):
    sources = [source for _, source in cells_of(path)]
    assert "## What you can do now" in sources[-1]
    assert re.search(r"^Next: \[\d\d\. .+?\]\(\d\d_\w+\.ipynb\)", sources[-1], re.MULTILINE)


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name[:2])
def test_the_contents_lead_to_every_section_and_to_nothing_else(path):
    cells = cells_of(path)
    (contents,) = [source for tags, source in cells if "contents" in tags]
    assert cells[1][1] == contents
    named = dict(re.findall(r"\[([^\]]+)\]\(#([^)]+)\)", contents))
    titles = [title for tags, source in cells for title in re.findall(r"(?m)^## (.+)$", source)]
    assert list(named) == titles
    # JupyterLab takes the place as it is written: a sign that Markdown encodes would not be found
    assert list(named.values()) == [title.replace(" ", "-") for title in titles]
    assert len(titles) == len(set(titles)), "two sections have one title, so one place"
