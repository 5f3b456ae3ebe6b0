"""The assignments in the package, and the tasks that their check cells award points for.

Not here: handing out and grading. A check cell is read as data, so that grading need not run it.
"""

import ast
import difflib
import json
import math
from dataclasses import dataclass
from pathlib import Path

from minivis.classroom.cells import grade_id, is_check, nbgrader_metadata

__all__ = ["Assignment", "Task", "award", "awarded", "earned", "find", "names"]

FOLDER = Path(__file__).parent / "assignments"
# the order of the course
ORDER = (
    "convolution",
    "residual",
    "kernels",
    "autograd",
    "attention",
    "vit",
    "mae",
    "swin",
    "dino",
    "clip",
    "boxes",
    "detr",
    "unet",
    "segmenter",
    "masked-attention",
    "sam",
)


@dataclass(frozen=True)
class Task:
    """One check cell: the function that it judges, the family of laws, and the points of each law.

    ``reference`` is the source of the assignment up to the task, with its solution. If a submission's function is wrong,
    later tasks that call it are judged with this one.
    """

    name: str
    family: str
    function: str
    points: dict
    vjp: bool
    reference: str = ""

    @property
    def most(self):
        """The points that can be earned."""
        return sum(self.points.values())


@dataclass(frozen=True)
class Assignment:
    """A notebook with solutions: its name, the file, its title and its tasks."""

    name: str
    path: Path
    title: str
    tasks: tuple

    @property
    def most(self):
        """The points that can be earned."""
        return sum(task.most for task in self.tasks)


def names():
    """The names of the assignments in the package, in the order of the course.

    Returns
    -------
    list of str

    Examples
    --------
    >>> names()[:3]
    ['convolution', 'residual', 'kernels']
    """
    there = {path.stem for path in FOLDER.glob("*.ipynb")}
    return [name for name in ORDER if name in there] + sorted(there - set(ORDER))


def find(name):
    """The assignment of that name, or from a teacher's own notebook.

    Parameters
    ----------
    name : str or Path
        One of `names()`, or the path of a notebook with solutions (``.ipynb``).

    Returns
    -------
    Assignment

    Raises
    ------
    ValueError
        If there is none, or its cells lack something that nbgrader and `award` need.

    Examples
    --------
    >>> [task.name for task in find("attention").tasks]
    ['attention', 'backward', 'multi-head']
    """
    text = str(name)
    path = Path(text) if text.endswith(".ipynb") else FOLDER / f"{text}.ipynb"
    if not path.is_file():
        if text.endswith(".ipynb"):
            raise ValueError(f"assignment: there is no file {text!r}")
        near = difflib.get_close_matches(text.lower(), names(), n=1, cutoff=0.5)
        suggestion = f"did you mean {near[0]!r}? There are" if near else "there are"
        raise ValueError(f"assignment: there is no assignment {text!r}; {suggestion}: {', '.join(names())}")
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cells = [(cell, cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"assignment: {path} could not be read as a notebook: {type(error).__name__}: {error}"
        ) from None
    texts = [source for _, kind, source in cells if kind == "markdown" and source.startswith("# ")]
    title = texts[0].splitlines()[0].lstrip("# ") if texts else path.stem
    tasks = []
    for i, (cell, _, source) in enumerate(cells):
        if is_check(cell):
            tasks.append(_task(cell, source, path, _reference(cells[:i])))
    if not tasks:
        raise ValueError(
            f"assignment: {path} has no check cell; expected an autograder cell of nbgrader with award(...)"
        )
    return Assignment(path.stem, path, title, tuple(tasks))


def _reference(cells):
    """The code of an assignment's cells, with solutions and without checks."""
    return "\n\n".join(source for cell, kind, source in cells if kind == "code" and not is_check(cell))


def _task(cell, source, path, reference):
    """A check cell as data."""
    from minivis.laws.judging.checking import chosen
    from minivis.laws.judging.registry import PLAIN, family_of

    name = grade_id(cell)
    where = f"assignment: {path.name}, check cell {name!r}"
    try:
        family, function, points, vjp = awarded(source)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from None
    laws = chosen(family_of(family), vjp, points)  # refuses unknown laws
    for gradient in {law.gradient for law in laws}:
        if not any(law.value for law in laws if law.gradient == gradient):
            raise ValueError(
                f"{where}: none of {', '.join(law.name for law in laws if law.gradient == gradient)} compares with the "
                f"right answer: a function that returns a constant could earn points; add {PLAIN[2 if gradient else 0]!r}"
            )
    if not math.isclose(float(nbgrader_metadata(cell).get("points") or 0), sum(points.values())):
        raise ValueError(
            f"{where}: the laws have {sum(points.values())} points, but the cell's metadata has another number"
        )
    return Task(name, family, function, points, vjp, reference)


def awarded(source):
    """The arguments of the call of `award` in a check cell, read without running it.

    Parameters
    ----------
    source : str
        Source of the cell.

    Returns
    -------
    family, function : str
        Name of the family; the function as an expression.
    points : dict
        Name of a law -> points for it.
    vjp : bool

    Raises
    ------
    SyntaxError
        If it is not Python.
    ValueError
        If there is not exactly one such call, or its arguments are computed instead of written out.

    Examples
    --------
    >>> awarded("award('softmax', my_softmax, {'formula': 2}, vjp=True)")
    ('softmax', 'my_softmax', {'formula': 2}, True)
    """
    calls = [
        n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call) and ast.unparse(n.func) == "award"
    ]
    if len(calls) != 1:
        raise ValueError(f"expected one call award(FAMILY, FUNCTION, POINTS), found {len(calls)}")
    if len(calls[0].args) != 3:
        raise ValueError(
            f"award is called with {len(calls[0].args)} positional arguments; "
            "expected three, award(FAMILY, FUNCTION, POINTS), and vjp= as a keyword"
        )
    family, function, points = calls[0].args
    try:
        options = {word.arg: ast.literal_eval(word.value) for word in calls[0].keywords}
        family, points = ast.literal_eval(family), ast.literal_eval(points)
    except (ValueError, TypeError):
        raise ValueError("family, points and vjp must be written out, not computed") from None
    if not isinstance(points, dict):
        raise ValueError("the points must be a dict, {LAW: POINTS}")
    return family, ast.unparse(function), points, bool(options.get("vjp", False))


def earned(verdicts, points):
    """The points of each law, from the verdicts on one task.

    A function that returns a constant keeps many laws: those that compare two calls, or check shape, dtype and side
    effects. Such a law counts only if a law that compares with the right answer holds too; forward laws and laws of
    gradients are counted apart.

    Parameters
    ----------
    verdicts : iterable of Verdict
        As `minivis.laws.judge` gives them.
    points : dict
        Name of a law -> points for it.

    Returns
    -------
    dict
        Name of a law -> points earned.

    Examples
    --------
    >>> from minivis.laws import judge
    >>> points = {"formula": 2, "shape": 1}
    >>> earned(judge("softmax", lambda x, axis=-1: 0 * x, only=points), points)
    {'formula': 0, 'shape': 0}
    """
    verdicts = list(verdicts)
    right = {v.gradient for v in verdicts if v.passed and v.value}
    return {v.name: points[v.name] if v.passed and v.gradient in right else 0 for v in verdicts}


def award(family, function, points, vjp=False):
    """Check a function by some laws of its family and count the points; a check cell is a call of it.

    Parameters
    ----------
    family : str
        What the function implements, one of `minivis.laws.names()`.
    function : callable
        The student's function.
    points : dict
        Name of a law -> points for it.
    vjp : bool
        Whether the function returns ``(out, vjp)``, see `minivis.laws.check`.

    Returns
    -------
    int
        The points earned.

    Raises
    ------
    AssertionError
        If no point was earned.

    Examples
    --------
    >>> import numpy as np
    >>> award("softmax", lambda x, axis=-1: np.exp(x) / np.exp(x).sum(-1, keepdims=True), {"formula": 2, "any axis": 1})
    softmax: 1 of 2 laws hold...
    2
    """
    from minivis import laws

    report = laws.check(family, function, vjp, only=points)
    counted = earned(report, points)
    total = sum(counted.values())
    print(f"\n{total} of {sum(points.values())} points in this check; more laws are tried after you hand in.")
    if idle := [v.name for v in report if v.passed and not counted[v.name]]:
        print(
            f"Not counted yet: {', '.join(idle)}. Even a function that returns a constant can keep these laws; they "
            "count when a law that compares with the right answer holds too."
        )
    if not total:
        raise AssertionError(f"{family}: no point yet")
    return total
