"""What the check of the built book finds in files that are wrong.

Not here: the built book, and what a browser is needed for.
"""

import pytest

from scripts.check_book import Page, problems, read, undocumented

GOOD = (
    '<p id="here">x</p><a href="b.html#there">b</a><a href="#here">x</a><a href="https://example.org">far</a>'
)


def found(tmp_path, text):
    (tmp_path / "index.html").write_text(text)
    (tmp_path / "b.html").write_text('<h1 id="there">b</h1><img src="p.png" alt="a picture">')
    (tmp_path / "p.png").touch()
    return problems(tmp_path, read(tmp_path))


def test_a_good_book_has_no_problems(tmp_path):
    assert found(tmp_path, GOOD) == []


@pytest.mark.parametrize(
    ("planted", "complaint"),
    [
        ('<a href="c.html">c</a>', "c.html leads to nothing"),
        ('<a href="b.html#nowhere">b</a>', "b.html#nowhere leads to no place on that page"),
        ('<a href="#nowhere">x</a>', "#nowhere leads to no place"),
        ('<a href="../outside.html">x</a>', "../outside.html leads to nothing"),
        ('<img src="p.png">', "no alt text: p.png"),
        ('<img src="p.png" alt="_images/p.png">', "no alt text: p.png"),
        ('<img src="q.png" alt="words">', "q.png leads to nothing"),
        ('<script src="https://cdn.example.org/x.js"></script>', "loads https://cdn.example.org/x.js"),
        ('<link rel="stylesheet" href="//cdn.example.org/x.css">', "loads //cdn.example.org/x.css"),
    ],
)
def test_a_planted_problem_is_found(tmp_path, planted, complaint):
    (problem,) = found(tmp_path, GOOD + planted)
    assert problem.startswith("index.html: ") and complaint in problem


def test_a_book_that_was_not_built_is_a_problem(tmp_path):
    assert problems(tmp_path, read(tmp_path)) == [f"{tmp_path} has no index.html: make book"]


def test_a_page_knows_what_it_holds():
    page = Page('<a name="old"></a><iframe src="x.html"></iframe>')
    assert page.ids == {"old"} and page.loads == ["x.html"]


def test_a_public_name_that_the_reference_leaves_out_is_found():
    missing = undocumented({})
    assert "api: minivis.ops.softmax is not documented" in missing
    ids = " ".join(f'<dt id="{line.split()[1]}">x</dt>' for line in missing[1:])
    assert undocumented({"api/all.html": Page(ids)}) == missing[:1]
    assert undocumented({"laws/all.html": Page(ids)}) == missing  # not a page of the reference
