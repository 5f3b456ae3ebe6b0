"""The shape of the project: who may import whom, how quick and light the import is, what the repository holds.

Not here: what the code computes.
"""

import ast
import doctest
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement

import minivis

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# ---------------------------------------------------------------------------------------------------------------------
# Who may import whom. A module may import what stands before it in ORDER, and its own package.

ORDER = [
    "openblas", "foreign_words", "switches", "interrupts", "listed", "pairs", "randomness", "ways", "backend", "dtypes", "broadcasting", "complaints", "debugging", "autograd", "precision", "averaging", "ops", "gradcheck", "analysis", "vision", "nn", "optim", "fast", "losses", "models", "files", "locking", "data", "model_notes", "storage",
    "monitoring", "metrics", "laws", "viz", "progress", "turns", "steps", "run_state", "rate_range", "train", "pretrained", "recipes", "tasks", "classroom", "doctor", "cli", "__main__",
]  # fmt: skip
SHARED_BY_MODELS = {"common", "leaky", "local_resnet", "mask_classification"}
BESIDE = {"data", "metrics", "laws", "viz"}  # they stand beside the models: these alone may import them
# a model that is another one with a head more, or with other blocks
EXTENDS = {("models.dinov2", "vit"), ("models.mask_rcnn", "faster_rcnn"), ("models.rt_detr", "detr")}
MAY_IMPORT_BESIDE = BESIDE | {
    "model_notes",
    "rate_range",
    "train",
    "pretrained",
    "recipes",
    "tasks",
    "classroom",
    "cli",
}

# Library -> the parts of minivis that may import it at all. SciPy and NumPy serve everyone.
CONFINED = {
    "matplotlib": {"viz", "classroom.formulas"},
    "PIL": {"data", "viz"},
    "sklearn": {"data"},
    "hypothesis": {"laws"},
    "tqdm": {
        "progress",
        "data",
        "classroom",
        "pretrained.hub",
        "pretrained.prediction",
        "vision.unprompted_masks",
    },
    # the doctor loads it to see whether it works
    "cupy": {"backend", "fast.cuda", "fast.cuda_attention", "doctor"},
    "cupyx": {"backend", "fast.cuda"},
    "numba": {"fast.compiled", "fast.compiled_attention", "fast.compiled_rois"},
    "threadpoolctl": {"doctor", "fast.threads", "recipes"},
    "huggingface_hub": {"pretrained.hub_package"},
    "safetensors": {"files", "pretrained", "recipes"},
    "torch": {"pretrained.torch_states"},  # for those who have it: tensors are made there
    "IPython": {"viz", "laws"},
    "ipywidgets": {"viz"},
    "ipympl": {"viz"},
    **dict.fromkeys(
        ["nbgrader", "nbconvert", "nbformat", "traitlets", "alembic", "bleach", "jinja2", "pygments"],
        {"classroom"},
    ),
}
ANYWHERE = {"numpy", "scipy"}
ONLY_IN_FUNCTIONS = {"scipy", "cupy", "cupyx", "numba", "sklearn", "IPython", "ipywidgets", "ipympl", "threadpoolctl",
                     "nbgrader", "nbconvert", "nbformat", "traitlets", "alembic", "bleach", "jinja2", "pygments", "huggingface_hub", "torch"}  # fmt: skip
TOP_LEVEL_TOO = {
    ("fast.cuda", "cupy"),
    ("fast.cuda", "cupyx"),  # loaded only where an array lives on a GPU
    ("fast.cuda_attention", "cupy"),
    ("fast.compiled", "numba"),  # loaded only for large arrays
    ("fast.compiled_attention", "numba"),
    ("fast.compiled_rois", "numba"),
    ("fast.compiled_attention", "scipy"),
}
BANNED = {
    **dict.fromkeys(["pickle", "shelve", "marshal", "dill", "joblib"], "runs code from a file"),
    **dict.fromkeys(["socket", "http", "urllib", "ftplib", "requests", "httpx"], "reaches for the network"),
}

MAY_USE_THE_NETWORK = {"pretrained.https"}  # when `minivis fetch` is called, so inside its functions


def imports(tree, package):
    """Yield (dotted name, inside a function or not) for each import, `importlib.import_module("...")` included."""

    def visit(node, inside):
        if isinstance(node, ast.Import):
            yield from ((alias.name, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((f"{module}.{alias.name}", inside) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            if node.args and isinstance(node.args[0], ast.Constant):
                yield node.args[0].value, inside
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    return visit(tree, False)


def violations(library):
    """Return every break of the rules above in the package folder `library`, one line each."""
    return [line for path in sorted(library.rglob("*.py")) for line in _violations_of(path, library)]


def _violations_of(path, library):
    parts = list(path.relative_to(library).with_suffix("").parts)
    package = ".".join(["minivis", *parts[:-1]])
    if parts[-1] == "__init__":
        parts.pop()
    here = ".".join(parts)
    part = (parts or ["__init__"])[0]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    where = f"minivis/{path.relative_to(library).as_posix()}"
    if not re.search(r"\bNot (\w+ )?here\b", ast.get_docstring(tree) or ""):
        yield f"{where} does not open with what is here and what is not"
    if part not in ["__init__", *ORDER]:
        yield f"{where}: {part} has no place in ORDER"
        return
    for name, inside in imports(tree, package):
        top, *rest = name.split(".")
        if top == "minivis":
            for reason in _inner(part, here, rest, inside):
                yield f"{where}: {reason}"
        elif top in BANNED and not (here in MAY_USE_THE_NETWORK and inside and "network" in BANNED[top]):
            yield f"{where} imports {top}, which {BANNED[top]}"
        elif top in CONFINED and not {part, here} & CONFINED[top]:
            yield f"{where} imports {top}: only {', '.join(sorted(CONFINED[top]))} may"
        elif top in ONLY_IN_FUNCTIONS and not inside and (here, top) not in TOP_LEVEL_TOO:
            yield f"{where} imports {top} at its top: import it inside the function that needs it"
        elif top not in ANYWHERE | CONFINED.keys() | sys.stdlib_module_names:
            yield f"{where} imports {top}, which is no dependency of minivis"
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.keyword)
            and node.arg == "allow_pickle"
            and ast.unparse(node.value) != "False"
        ):
            yield f"{where} allows pickle"


def _inner(part, here, rest, inside):
    """What is wrong with the import of `minivis.rest` by the module `here` of `part`."""
    if not rest or rest[0] not in ORDER or part == "__init__":
        return  # `from minivis import __version__`; the package itself gathers what is beneath it
    other = rest[0]
    if other == part:
        # what models share is imported at the top
        backbone = part == "models" and rest[1:] and not inside and rest[1] not in SHARED_BY_MODELS
        backbone = backbone and "models." + rest[1] != here and (here, rest[1]) not in EXTENDS
        if backbone and here != "models":
            yield f"imports models.{rest[1]} at its top: only a published constructor may, inside"
    elif other in BESIDE and part not in MAY_IMPORT_BESIDE:
        yield f"{part} may not import {other}"
    elif other == "fast":
        yield f"{part} may not import fast: it is laid over the others, and may be taken away"
    elif ORDER.index(other) > ORDER.index(part):
        yield f"{part} may not import {other}, which stands above it"


def test_imports_go_downward():
    assert violations(ROOT / "minivis") == []


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("ops/bad.py", "from minivis import nn", "ops may not import nn, which stands above it"),
        ("ops/bad.py", "def f():\n    import minivis.nn.linear", "ops may not import nn"),
        ("ops/bad.py", "from ..nn import linear", "ops may not import nn"),
        (
            "ops/bad.py",
            "import importlib\nimportlib.import_module('minivis.models')",
            "ops may not import models",
        ),
        ("backend.py", "from minivis.autograd import Tensor", "backend may not import autograd"),
        ("ops/bad.py", "from minivis import fast", "it is laid over the others"),
        ("train.py", "def f():\n    from minivis.fast.routines import of", "it is laid over the others"),
        ("fast/bad.py", "from minivis import losses", "fast may not import losses"),
        ("vision/bad.py", "from minivis import nn", "vision may not import nn"),
        ("models/bad.py", "from minivis import viz", "models may not import viz"),
        ("models/swin.py", "from minivis.models.vit import ViT", "only a published constructor may"),
        ("nn/bad.py", "from minivis.laws import check", "nn may not import laws"),
        ("nn/bad.py", "def f():\n    import matplotlib.pyplot as plt", "viz may"),
        ("models/bad.py", "from PIL import Image", "only data, viz may"),
        ("metrics/bad.py", "import hypothesis", "only laws may"),
        (
            "models/bad.py",
            "import tqdm",
            "only classroom, data, pretrained.hub, pretrained.prediction, progress, vision.unprompted_masks may",
        ),
        ("ops/bad.py", "import cupy", "only backend, doctor, fast.cuda, fast.cuda_attention may"),
        ("backend.py", "import cupy", "inside the function that needs it"),
        ("ops/bad.py", "from scipy.special import erf", "inside the function that needs it"),
        ("ops/bad.py", "import torch", "only pretrained.torch_states may"),
        ("ops/bad.py", "import jax", "no dependency of minivis"),
        ("train.py", "import pickle", "runs code from a file"),
        ("data/bad.py", "def f():\n    from urllib.request import urlopen", "reaches for the network"),
        ("pretrained/https.py", "import urllib.request", "reaches for the network"),
        ("pretrained/hub.py", "def f():\n    import http.client", "reaches for the network"),
        ("data/bad.py", "import numpy as np\nnp.load('x', allow_pickle=True)", "allows pickle"),
        ("misc.py", "import math", "has no place in ORDER"),
    ],
)
def test_a_planted_violation_is_found(tmp_path, file, line, complaint):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'"""Planted. Not here: more."""\n{line}\n')
    (found,) = violations(tmp_path)
    assert complaint in found


@pytest.mark.parametrize("opening", ["import math", '"""Only what is here."""\nimport math', "# Not here: x"])
def test_a_file_that_does_not_say_what_it_leaves_out_is_found(tmp_path, opening):
    (tmp_path / "train.py").write_text(opening + "\n")
    assert violations(tmp_path) == ["minivis/train.py does not open with what is here and what is not"]


@pytest.mark.parametrize(
    ("file", "line"),
    [
        (
            "nn/good.py",
            "from minivis import ops, vision\nfrom minivis.autograd import Tensor\nfrom .linear import Linear",
        ),
        ("ops/good.py", "from minivis import backend\ndef f():\n    from scipy.special import erf"),
        ("models/detr.py", "def detr_r50():\n    from minivis.models.resnet import resnet50"),
        ("fast/cuda.py", "import cupy"),
        ("pretrained/https.py", "def f():\n    from urllib.request import Request"),
        ("progress.py", "from tqdm.auto import tqdm"),
        ("train.py", "from minivis import data, metrics"),
        ("cli.py", "def f():\n    from minivis import laws, recipes"),
    ],
)
def test_what_is_allowed_is_not_complained_about(tmp_path, file, line):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'"""Allowed. Not here: more."""\n{line}\n')
    assert violations(tmp_path) == []


# ---------------------------------------------------------------------------------------------------------------------
# The import


def fresh(code):
    """Run code in a Python of its own and return what it printed."""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_import_is_quick(tmp_path, monkeypatch):
    """Against NumPy's own import, a tenth of a second where nothing else runs: a slow machine slows both."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path))  # as after the first import
    code = (
        "from time import process_time as now; t = [now()]; import numpy; t.append(now()); "
        "import minivis; t.append(now()); print((t[2] - t[1]) / (t[1] - t[0]))"
    )
    assert min(float(fresh(code)) for _ in range(6)) < 0.5  # the best of six, of which the first compiles


def test_import_loads_numpy_and_nothing_heavier():
    loaded = "import sys, {0}; print(*{{name.split('.')[0] for name in sys.modules}})"
    ours, theirs = (set(fresh(loaded.format(name)).split()) for name in ("minivis", "numpy"))
    assert ours - theirs - sys.stdlib_module_names == {"minivis"}


# ---------------------------------------------------------------------------------------------------------------------
# The repository


def tracked():
    """Files under version control; in a copy without git, everything outside the folders that are never tracked."""
    git = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True)
    if git.returncode == 0 and git.stdout:
        return [path for name in git.stdout.split("\0") if name and (path := ROOT / name).is_file()]
    untracked = {
        ".venv",
        "build",
        "_build",
        "dist",
        "runs",
        "__pycache__",
        ".pytest_cache",
        ".ruff_cache",
        ".hypothesis",
    }
    return [path for path in ROOT.rglob("*") if path.is_file() and not untracked & set(path.parts)]


def test_no_tracked_file_is_large():
    assert [str(path) for path in tracked() if path.stat().st_size > 3_000_000] == []


def test_nothing_generated_is_tracked():
    ignored = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-ci", "--exclude-standard"], capture_output=True, text=True
    )
    assert ignored.stdout == ""
    made = re.compile(r"(^|/)(__pycache__|build|dist|runs|\.ipynb_checkpoints|\.hypothesis)/|\.py[co]$")
    assert [name for path in tracked() if made.search(name := path.relative_to(ROOT).as_posix())] == []


def outputs(notebook):
    """Cells that carry something a run left behind."""
    return [
        cell for cell in notebook["cells"] if cell.get("outputs") or cell.get("execution_count") is not None
    ]


def test_notebooks_carry_no_outputs():
    notebooks = [path for path in tracked() if path.suffix == ".ipynb"]
    left = [path.name for path in notebooks if outputs(json.loads(path.read_text(encoding="utf-8")))]
    assert left == []


def test_an_output_left_in_a_notebook_is_found():
    cell = {"cell_type": "code", "outputs": [{"output_type": "stream", "text": "x"}], "execution_count": None}
    assert outputs({"cells": [cell]}) == [cell]
    assert outputs({"cells": [{**cell, "outputs": []}, {"cell_type": "markdown"}]}) == []


def test_the_version_stands_in_one_place():
    assert "version" not in PROJECT and PROJECT["dynamic"] == ["version"]
    places = [p.name for p in tracked() if p.suffix in {".py", ".toml", ".yml"} and re.search(
        rf'(?im)^_*version_*\s*[=:]\s*"?{re.escape(minivis.__version__)}', p.read_text(encoding="utf-8"))]  # fmt: skip
    assert places == ["__init__.py"]
    newest = re.search(r"(?m)^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))[1]
    assert minivis.__version__ in newest


def test_links_between_documents_resolve():
    broken = []
    for path in tracked():
        if path.suffix == ".md":
            links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", path.read_text(encoding="utf-8"))
            broken += [f"{path.name}: {link}" for link in links if not (path.parent / link).exists()]
    assert broken == []


def test_documents_name_only_make_targets_that_exist():
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8")))
    for name in ("CONTRIBUTING.md", ".ci/run", "Makefile"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert set(re.findall(r"(?m)(?:^|`|; )make ([a-z-]+)", text)) <= targets, name
    named = (ROOT / "Makefile").read_text(encoding="utf-8").split(".PHONY:")[1].splitlines()[0].split()
    assert set(named) <= targets


def test_the_op_in_contributing_works():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    code = re.search(r"(?s)```python\n(@primitive.*?)```", text)[1]
    scope = {"primitive": minivis.autograd.primitive, "__name__": "contributing"}
    exec(code, scope)
    examples = doctest.DocTestFinder(recurse=False).find(scope["square"], "square", globs=scope)
    (result,) = [doctest.DocTestRunner().run(example) for example in examples]
    assert (result.failed, result.attempted) == (0, 2)
    x = minivis.Tensor(np.array([1.0, -3.0]), requires_grad=True)
    scope["square"](x).backward(np.array([1.0, 10.0]))
    assert x.grad.tolist() == [2.0, -60.0]


# ---------------------------------------------------------------------------------------------------------------------
# environment.yml and pyproject.toml


def conda_packages(text):
    """Return {name: Requirement} of an environment.yml, and the names that pip installs."""
    listed = yaml.safe_load(text)["dependencies"]
    (from_pip,) = [entry["pip"] for entry in listed if isinstance(entry, dict)]
    assert "--editable ." in from_pip
    from_pip = [Requirement(entry) for entry in from_pip if not entry.startswith("--")]
    from_conda = [Requirement(entry) for entry in listed if isinstance(entry, str)]
    return {found.name: found for found in from_conda + from_pip}, {found.name for found in from_pip}


def differences(environment, project):
    """What an environment.yml and a [project] table do not agree on."""
    packages, _ = conda_packages(environment)
    extras = project["optional-dependencies"]
    wanted = [
        *project["dependencies"],
        *extras["notebooks"],
        *extras["dev"],
        *extras["classroom"],
        *extras["gpu"],
        *extras["fast"],
    ]
    wanted = {
        found.name: found for found in map(Requirement, [*wanted, f"python{project['requires-python']}"])
    }
    found = [f"{name} is missing" for name in sorted(wanted.keys() - packages.keys())]
    found += [
        f"{name} is not in pyproject.toml"
        for name in sorted(packages.keys() - wanted.keys() - {"pip", "jupyter"})
    ]
    both = sorted(wanted.keys() & packages.keys())
    return found + [f"{name} differs" for name in both if wanted[name].specifier != packages[name].specifier]


def test_environment_and_project_name_the_same_packages():
    assert differences((ROOT / "environment.yml").read_text(encoding="utf-8"), PROJECT) == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("  - scipy>=1.13\n", "", "scipy is missing"),
        ("  - numpy>=2\n", "  - numpy>=1.26\n", "numpy differs"),
        ("  - tqdm", "  - tensorflow\n  - tqdm", "tensorflow is not in pyproject.toml"),
    ],
)
def test_a_planted_difference_is_found(old, new, complaint):
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert old in text
    assert differences(text.replace(old, new), PROJECT) == [complaint]


def test_environment_serves_every_platform():
    packages, from_pip = conda_packages((ROOT / "environment.yml").read_text(encoding="utf-8"))
    card = {"numpy", "scipy", "matplotlib", "jupyter", "pytest", "hypothesis"}
    assert card <= packages.keys() - from_pip
    cupy = packages["cupy-cuda13x"].marker
    assert [cupy.evaluate({"sys_platform": system}) for system in ("linux", "win32", "darwin")] == [
        True,
        True,
        False,
    ]
