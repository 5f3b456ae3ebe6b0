"""Code for the GPU uses only names and parameters that CuPy has: checked by running the ops and by reading the code.

Not here: whether CuPy computes the same (`pytest -m gpu`).
"""

import ast
import importlib.util
import json
from pathlib import Path

import pytest

import minivis
from tests import strict
from tests.fast.forcing import forced, on_strict
from tests.fast.make_cupy_names import PATH, names
from tests.ops.test_every_op import CASES, on_device

PACKAGE = Path(minivis.__file__).parent
STORED = json.loads(PATH.read_text())


def lacking(known, name, positional, keywords):
    """What is missing in CuPy for a call, in words, or None."""
    if name not in known:
        return f"cupy.{name} does not exist"
    if known[name] is None:
        return None
    left, _, right = known[name].partition(" | ")
    left, right = left.split(), right.split()
    if "*" not in left and positional > len(left):
        return f"cupy.{name} takes {len(left)} positional arguments, not {positional}"
    taken = left[:positional]
    wrong = [k for k in keywords if k in taken or k not in [*left, *right]]
    return f"cupy.{name} has no parameter {', '.join(wrong)}" if wrong and "**" not in right else None


def used_when_run():
    """Every name that the ops use on the pretend GPU, over all rows of tests/ops/cases."""
    strict.install()
    before = set(strict.NAMES)
    strict.NAMES.clear()
    for case in CASES:
        on_device(case, "strict")
        with on_strict(), forced():
            on_device(case, "strict")
    found = {("run", *use) for use in strict.NAMES}
    strict.NAMES.update(before)
    return found


def used_in(source, where, root):
    """Every `root.name` and `root.name(...)` in a source text, with its number of positional arguments and its keywords."""

    def path(node):
        parts = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        return ".".join(reversed(parts)) if isinstance(node, ast.Name) and node.id == root and parts else None

    found, called = set(), set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            called.add(node.value)  # of xp.linalg.solve the whole name counts, not xp.linalg
        if isinstance(node, ast.Call) and path(node.func):
            called.add(node.func)
            many = any(isinstance(a, ast.Starred) for a in node.args)
            keywords = tuple(sorted(k.arg for k in node.keywords if k.arg))
            found.add((where, path(node.func), 0 if many else len(node.args), keywords))
        elif isinstance(node, ast.Attribute) and node not in called and path(node):
            found.add((where, path(node), 0, ()))
    return found


def used_when_read():
    """Every `xp.name` in the library, and every `cupy.name` in the files that import CuPy."""
    found = set()
    for file in sorted(PACKAGE.rglob("*.py")):
        where = str(file.relative_to(PACKAGE))
        found |= used_in(file.read_text(), where, "xp")
        if where == "backend.py" or file.match("fast/cuda*.py"):
            found |= used_in(file.read_text(), where, "cupy")
    # not among the stored
    return {use for use in found if not use[1].startswith("cuda") and use[1] != "add.at"}


def complaints(known, uses):
    return sorted({f"{use[0]}: {lack}" for use in uses if (lack := lacking(known, *use[1:]))})


def test_cupy_has_every_name_and_keyword():
    run, read = used_when_run(), used_when_read()
    assert len(run) > 50
    assert len(read) > 50
    assert complaints(STORED["names"], run | read) == []


def test_the_installed_cupy_has_them_too():
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("CuPy is not installed")
    import cupy
    from cupyx.scipy.special import erf

    assert callable(erf)
    assert callable(cupy.add.at)
    known = names(cupy)
    assert complaints(known, used_when_run() | used_when_read()) == []
    if cupy.__version__ == STORED["version"]:
        assert known == STORED["names"], "run python -m tests.fast.make_cupy_names"


@pytest.mark.parametrize(
    "planted, complaint",
    [
        ("xp.vecdot(a, b)", "cupy.vecdot does not exist"),
        ("xp.float128", "cupy.float128 does not exist"),
        ("xp.clip(x, min=0, max=1)", "cupy.clip has no parameter max, min"),
        ("xp.max(x, axis=0, initial=0)", "cupy.max has no parameter initial"),
        ("xp.exp(x, where=x > 0)", "cupy.exp has no parameter where"),
        ("xp.squeeze(x, 0, 1)", "cupy.squeeze takes 2 positional arguments, not 3"),
    ],
)
def test_a_planted_name_is_found(planted, complaint):
    assert complaints(STORED["names"], used_in(planted, "file", "xp")) == [f"file: {complaint}"]


def test_running_notes_what_was_used():
    xp = strict.install()
    before = set(strict.NAMES)
    strict.NAMES.clear()
    x = xp.zeros((2, 3))
    xp.clip(x, min=0, max=xp.inf)
    x.max(axis=0, initial=0.0)
    noted = {("run", *use) for use in strict.NAMES}
    strict.NAMES.update(before)
    assert complaints(STORED["names"], noted) == [
        "run: cupy.clip has no parameter max, min",
        "run: cupy.ndarray.max has no parameter initial",
    ]
