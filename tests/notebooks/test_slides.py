"""Every slide of the decks has its cell: slides.toml is well formed, and the notebooks that exist mirror it.

Not here: whether a cell is right (it asserts or draws, and the notebooks are run), or what no tag can say.
"""

import ast
import json
import re
import tomllib
from collections import Counter
from pathlib import Path

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SLIDES = tomllib.loads((NOTEBOOKS / "slides.toml").read_text(encoding="utf-8"))["slide"]

DECKS = ("I", "H", "C", "Z", "A")
SHOWN = ("claim", "worked-number", "architecture")  # kinds that a code cell must draw or assert
MENTIONED = ("result", "history")  # kinds for which any cell will do
REQUIRED = {"deck": str, "number": int, "slug": str, "chapter": int, "kind": str, "claims": str}
OPTIONAL = {"builds": int, "after": int, "erratum": str}

# The decks' worked numbers, by chapter and name: a code cell tagged `worked:NAME` asserts each and has in it every
# one of these runs of numbers (so 9, 0, 1 is also found in np.array([9.0, 0.0, 1.0])).
WORKED = {
    (2, "conv-1d"): [[1, 4, -1, 0, 2, -2, 1, 3, 3, 1], [1, 2, 0, -1], [9, 0, 1, 3, -5, -3, 6]],
    (2, "conv-2d"): [[1, 0, 1, 0, 1, 0, 1, 0, 1], [4, 3, 4, 2, 4, 3, 2, 3, 4]],
    (2, "conv-stride-2"): [[4, 4], [2, 2]],  # 4x4 -> 2x2
    (2, "transpose-2d"): [[3, 3], [4, 4]],  # without and with output_padding=1
    (2, "transpose-1d"): [],  # sums at overlaps
    (5, "attention-shapes"): [],  # N_Q, N_X, D_Q, D_V: random, all different
    (5, "multi-head-shapes"): [],
    (5, "permutation-equivariance"): [],
    (5, "quadratic-cost"): [],  # a measured curve
    (8, "vit-sizes"): [
        [304_326_632]
    ],  # ViT-L/16 at 224 with 1000 classes; the decks print 307M, which is L/32
    (9, "mlm-shares"): [[0.12, 0.015, 0.015]],
    (9, "mae-masking"): [],  # of 49 patches 12 are kept
    (9, "norm-pix"): [[1, 2, 3, 4], [-1.161895, -0.387298, 0.387298, 1.161895]],
}


def read_notebooks(folder):
    """Return {chapter: cells} of the notebooks `NN_name.ipynb` in a folder, each cell as (type, tags, source)."""
    chapters = {}
    for path in sorted(folder.glob("[0-9][0-9]_*.ipynb")):
        chapter = int(path.name[:2])
        assert chapter not in chapters, f"two notebooks for chapter {chapter}, one of them {path.name}"
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        chapters[chapter] = [
            (cell["cell_type"], cell["metadata"].get("tags", []), "".join(cell["source"])) for cell in cells
        ]
    return chapters


def tag(slide):
    """Return the tag of the cells that mirror a slide."""
    return f"slide:{slide['deck']}/{slide['number']}-{slide['slug']}"


def syntax(source):
    """Return the syntax nodes of a code cell; lines for the notebook itself (%magic, !shell) are left out."""
    python = re.sub(r"(?m)^\s*[%!].*$", "", source)
    return list(ast.walk(ast.parse(python)))


def asserts(source):
    """Return whether a code cell asserts something, by the statement or by NumPy's assert_ functions."""
    names = (
        getattr(n.func, "attr", getattr(n.func, "id", "")) for n in syntax(source) if isinstance(n, ast.Call)
    )
    return any(name.startswith("assert_") for name in names) or any(
        isinstance(n, ast.Assert) for n in syntax(source)
    )


def acts(source):
    """Return whether a code cell can draw or assert anything: comments, imports and definitions alone cannot."""
    passive = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    statements = ast.parse(re.sub(r"(?m)^\s*[%!].*$", "", source)).body
    active = [s for s in statements if not isinstance(s, passive)]
    return any(isinstance(n, ast.Assert | ast.Call) for s in active for n in ast.walk(s))


def has_run(source, run):
    """Return whether the numbers of `run` follow one another among the numbers of a code cell."""
    code = re.sub(r"(?m)#.*$", "", source)
    found = [float(n) for n in re.findall(r"(?<![\w.])-?\d[\d_]*\.?\d*", code)]
    return any(found[i : i + len(run)] == run for i in range(len(found) - len(run) + 1))


def missing_slides(slides, notebooks):
    """Return a line for each slide of a chapter with a notebook that has no cell of the sort its kind demands."""
    missing = []
    for slide in slides:
        due = {slide["chapter"], slide.get("after", slide["chapter"])} <= set(notebooks)
        if not due:
            continue
        cells = [cell for cell in notebooks[slide["chapter"]] if tag(slide) in cell[1]]
        if slide["kind"] in SHOWN:
            cells = [cell for cell in cells if cell[0] == "code" and acts(cell[2])]
        if not cells:
            sort = "code cell that draws or asserts" if slide["kind"] in SHOWN else "cell"
            missing.append(f"chapter {slide['chapter']:02}: no {sort} tagged {tag(slide)} ({slide['kind']})")
    return missing


def missing_numbers(worked, notebooks):
    """Return a line for each worked number of a chapter with a notebook that no cell asserts."""
    missing = []
    for (chapter, name), runs in worked.items():
        cells = [c for c in notebooks.get(chapter, []) if f"worked:{name}" in c[1] and c[0] == "code"]
        source = "\n".join(cell[2] for cell in cells)
        if chapter not in notebooks:
            continue
        if not asserts(source):
            missing.append(f"chapter {chapter:02}: no code cell tagged worked:{name} asserts")
        missing += [
            f"chapter {chapter:02}: {run} is not in a cell tagged worked:{name}"
            for run in runs
            if not has_run(source, run)
        ]
    return missing


def unknown_tags(slides, worked, notebooks):
    """Return a line for each slide: or worked: tag of a notebook that names nothing."""
    known = {tag(slide) for slide in slides} | {f"worked:{name}" for _, name in worked}
    return [
        f"chapter {chapter:02}: {t} names nothing"
        for chapter, cells in notebooks.items()
        for _, tags, _ in cells
        for t in tags
        if t.startswith(("slide:", "worked:")) and t not in known
    ]


def test_every_slide_is_well_formed():
    for slide in SLIDES:
        fields = REQUIRED | {key: kind for key, kind in OPTIONAL.items() if key in slide}
        assert {key: type(value) for key, value in slide.items()} == fields, slide
        assert slide["deck"] in DECKS and slide["kind"] in SHOWN + MENTIONED, slide
        assert slide["number"] >= 1 and slide.get("builds", 2) >= 2, slide
        assert 0 <= slide["chapter"] <= 24 and 0 <= slide.get("after", 0) <= 24, slide
        assert slide.get("after") != slide["chapter"], slide
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slide["slug"]), slide
        for text in (slide["claims"], slide.get("erratum", "A sentence.")):
            assert text.endswith(".") and text == " ".join(text.split()) and 10 < len(text) <= 300, slide


def test_slugs_are_unique_in_their_deck():
    count = Counter((slide["deck"], slide["slug"]) for slide in SLIDES)
    assert [key for key, n in count.items() if n > 1] == []


def test_slides_stand_in_the_order_of_their_deck_and_do_not_overlap():
    assert [s["deck"] for s in SLIDES] == sorted((s["deck"] for s in SLIDES), key=DECKS.index)
    for before, slide in zip(SLIDES, SLIDES[1:], strict=False):
        same_page = slide["number"] == before["number"] and "builds" not in before | slide
        after = slide["number"] >= before["number"] + before.get("builds", 1)
        assert same_page or after or slide["deck"] != before["deck"], (tag(before), tag(slide))


def test_every_slide_of_a_written_chapter_has_its_cell():
    assert missing_slides(SLIDES, read_notebooks(NOTEBOOKS)) == []


def test_every_worked_number_of_a_written_chapter_is_asserted():
    assert missing_numbers(WORKED, read_notebooks(NOTEBOOKS)) == []


def test_every_tag_of_a_notebook_names_something():
    assert unknown_tags(SLIDES, WORKED, read_notebooks(NOTEBOOKS)) == []


def named_in_text(notebooks):
    """The slides that Markdown cells name, as `H/5-vision-transformer`."""
    text = "\n".join(
        source for cells in notebooks.values() for kind, _, source in cells if kind == "markdown"
    )
    return set(re.findall(r"`([A-Z]/\d+-[a-z0-9-]+)`", text))


def test_every_slide_that_a_text_names_is_one():
    named = named_in_text(read_notebooks(NOTEBOOKS))
    assert len(named) > 50 and named <= {tag(slide).removeprefix("slide:") for slide in SLIDES}


PLANTED = [
    {"deck": "Z", "number": 4, "slug": "one", "chapter": 2, "kind": "claim"},
    {"deck": "Z", "number": 5, "slug": "two", "chapter": 2, "kind": "history"},
    {"deck": "Z", "number": 6, "slug": "three", "chapter": 2, "after": 3, "kind": "claim"},
]


def test_a_slide_without_its_cell_is_found():
    shown, told = ("code", ["slide:Z/4-one"], "draw(x)"), ("markdown", ["slide:Z/5-two"], "Once.")
    assert missing_slides(PLANTED, {1: []}) == []  # chapter 2 is not written yet
    assert missing_slides(PLANTED, {2: [shown, told]}) == []
    assert len(missing_slides(PLANTED, {2: []})) == 2
    assert len(missing_slides(PLANTED, {2: [shown]})) == 1
    assert len(missing_slides(PLANTED, {2: [shown, told], 3: []})) == 1  # what waited for chapter 3 is due
    for cell in [("markdown", "draw(x)"), ("code", "# draw(x)"), ("code", "def f():\n    draw(x)")]:
        planted = [(cell[0], ["slide:Z/4-one"], cell[1]), told]
        assert len(missing_slides(PLANTED, {2: planted})) == 1, cell


def test_a_worked_number_without_its_assertion_is_found():
    worked = {(2, "n"): [[9, 0, -5]]}

    def missing(source, kind="code", tags=("worked:n",)):
        return missing_numbers(worked, {2: [(kind, tags, source)]})

    assert missing("%time f()\nassert (y == [9.0, 0, -5]).all()") == []
    assert missing("np.testing.assert_array_equal(y, [[9], [0], [-5]])") == []
    assert len(missing("print([9, 0, -5])  # assert")) == 1
    assert len(missing("assert y == [9, 0, 5]")) == 1
    assert len(missing("assert y == z  # 9 0 -5")) == 1
    assert len(missing("assert y == [9, 0, -5]", kind="markdown")) == 2
    assert len(missing("assert y == [9, 0, -5]", tags=[])) == 2


def test_a_tag_that_names_nothing_is_found():
    tags = ["slide:Z/4-one", "worked:n", "exercise", "slide:Z/5-one", "worked:m"]
    assert len(unknown_tags(PLANTED, {(2, "n"): []}, {2: [("code", tags, "")]})) == 2
