"""Every exercise of every notebook: its solution passes its check, the untouched stub does not; its text says what is judged.

Not here: running whole notebooks (make notebooks). An exercise stands on the cells tagged `setup` alone.
"""

import json
import re
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings

from minivis.laws.judging.registry import family_of

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
# what stands after them is no chapter but a page to follow
CHAPTERS = sorted(path for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb") if int(path.name[:2]) < 25)
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def read_exercises(cells):
    """Return {name: {"exercise": stub, "check": check, "solution": code}} and the set-up cells of a notebook."""
    exercises = {}
    setup = []
    for cell in cells:
        source = "".join(cell["source"])
        for tag in cell["metadata"].get("tags", []):
            part, _, name = tag.partition(":")
            if tag == "setup":
                setup.append(source)
            elif part in ("exercise", "check", "solution"):
                assert part not in exercises.setdefault(name, {}), f"two cells tagged {tag}"
                if part == "solution":
                    assert cell["cell_type"] == "markdown", f"{tag} must be folded away in Markdown"
                    assert "<details>" in source and "</details>" in source, f"{tag} is not folded away"
                    source = "\n".join(CODE.findall(source))
                else:
                    assert cell["cell_type"] == "code", f"{tag} must be a code cell"
                exercises[name][part] = source
    return exercises, setup


def verdict(setup, answer, check):
    """Execute the set-up cells, an answer and the check, as a fresh kernel would, and return `passed`."""
    namespace = {"__name__": "__main__"}
    for i, source in enumerate([*setup, answer, check]):
        exec(compile(source, f"<cell {i}>", "exec"), namespace)
    return namespace["passed"]


def all_exercises():
    """Each exercise of each notebook as a pytest parameter."""
    for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
        exercises, setup = read_exercises(json.loads(path.read_text(encoding="utf-8"))["cells"])
        for name, parts in exercises.items():
            yield pytest.param(setup, parts, id=f"{path.stem[:2]}-{name}")


@pytest.mark.parametrize(("setup", "parts"), list(all_exercises()))
def test_the_solution_passes_and_the_stub_does_not(setup, parts):
    assert set(parts) == {"exercise", "check", "solution"}
    assert parts["solution"].strip(), "the solution holds no ```python block"
    assert verdict(setup, parts["solution"], parts["check"]) is True
    assert verdict(setup, parts["exercise"], parts["check"]) is False


WRONG = {
    "not written": "...",
    "zero": "return 0.0",
    "an array": "return np.ones((2, 2))",
    "raises": "return [][0]",
}


@pytest.mark.parametrize("answer", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize(("setup", "parts"), list(all_exercises()))
def test_whoever_fails_is_told_why(setup, parts, answer, capsys):
    """Whatever the mistake, no exercise ends in a bare cross."""
    if "claims(" not in parts["check"] and answer != WRONG["not written"]:
        pytest.skip("the laws' own words: tests/laws/test_mistakes.py")
    wrong = re.sub(r"(?m)(^def .*:\s*(#.*\n\s*)?)\.\.\.", lambda stub: stub[1] + answer, parts["exercise"])
    assert answer == "..." or wrong != parts["exercise"] or "def " not in wrong
    assert verdict(setup, wrong, parts["check"]) is False
    assert unexplained(capsys.readouterr().out) == []


def unexplained(report):
    """The broken claims and laws of a printed report that neither have a hint nor are like another one that has."""
    if "Hint: " not in report:
        return [report]
    parts = re.split(r"(?m)^(?=  [✓✗] )", report)[1:]  # of claims; laws are told one by one, or as `likewise`
    return [
        part
        for part in parts
        if part.startswith("  ✗") and "Hint: " not in part and not part.endswith("likewise\n")
    ]


def test_a_bare_cross_is_found():
    assert unexplained("x: 0 of 1 hold\n  ✗ it is\n") != []
    assert unexplained("x: 0 of 2 hold\n  ✗ it is\n      Hint: so\n  ✗ and was\n  ✓ will\n") == [
        "  ✗ and was\n"
    ]
    assert unexplained("x: 0 of 2 hold\n  ✗ it is\n      Hint: so\n  ✗ and was: likewise\n") == []


def asked(cells):
    """Yield (name of the exercise, its text, the family whose laws judge it) of a notebook, and the text above them all."""
    intro = None
    text = ""
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            text = source
            intro = source if "## Exercises" in source else intro
        for tag in cell["metadata"].get("tags", []):
            if tag.startswith("exercise:"):
                name = tag.removeprefix("exercise:")
                told = text
            elif tag.startswith("check:") and (found := re.search(r'laws\.check\("(\w+)"', source)):
                yield name, told, found[1], intro


def kinds(family):
    """{option: kinds of values} that the laws of a family draw, such as {"stride": {int, tuple}}."""
    found = {}
    for law in family_of(family).laws:
        quick = settings(max_examples=10, database=None, deadline=None, phases=[Phase.generate])

        @quick
        @given(law.inputs)
        def look(case):
            for name, value in case.everything.items():
                found.setdefault(name, set()).add(type(value))

        look()
    return found


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")), ids=lambda path: path.stem)
def test_what_is_judged_is_announced(path):
    """An option that may be a pair is said to be one, and the manners that all laws ask for are told."""
    for name, text, family, intro in asked(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        assert "float32 in gives float32 out" in intro and "nothing is printed" in intro, name
        if any({int, tuple} <= types for types in kinds(family).values()):
            assert re.search(r"pair|\(height, width\)", text), f"{name}: the text does not speak of pairs"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_chapter_has_three_to_six_exercises(path):
    exercises, _ = read_exercises(json.loads(path.read_text(encoding="utf-8"))["cells"])
    assert 3 <= len(exercises) <= 6


def cells(check="passed = double(2) == 4", solution="def double(x):\n    return two * x"):
    """A notebook with one exercise."""
    folded = f"<details><summary>Solution</summary>\n\n```python\n{solution}\n```\n</details>"
    return [
        {"cell_type": "code", "metadata": {"tags": ["setup"]}, "source": "two = 2"},
        {"cell_type": "code", "metadata": {}, "source": "two = 3"},
        {
            "cell_type": "code",
            "metadata": {"tags": ["exercise:double"]},
            "source": "def double(x):\n    ...",
        },
        {"cell_type": "code", "metadata": {"tags": ["check:double"]}, "source": check},
        {"cell_type": "markdown", "metadata": {"tags": ["solution:double"]}, "source": folded},
    ]


def judge(notebook):
    exercises, setup = read_exercises(notebook)
    test_the_solution_passes_and_the_stub_does_not(setup, exercises["double"])


def test_planted_mistakes_are_found():
    judge(cells())
    for planted in (
        cells(solution="def double(x):\n    return x"),  # the solution is wrong
        cells(check="passed = True"),  # the check lets everything pass
        cells(solution=""),  # there is none
        cells()[:-1],
        [*cells(), cells()[-1]],  # there are two
        [*cells()[:-1], {**cells()[-1], "cell_type": "code"}],  # it is not folded away
    ):
        with pytest.raises(AssertionError):
            judge(planted)
