"""The generated parts of the reference: every public name, every finding of the doctor, the shapes that were measured.

Not here: the docstrings (tests/test_docstrings.py), Sphinx.
"""

import inspect
import re
import types
from pathlib import Path

import minivis as mv
from book.generate import api, shapes, troubles
from minivis import doctor, storage
from tests.test_docstrings import MODULES


def test_every_public_name_is_documented_once():
    pages = api.pages()
    text = "\n".join(pages.values())
    found = api.documented()
    homes = {id(thing): name for names in found.values() for name, thing in names}
    assert {"minivis", *MODULES} <= api.PARTS.keys()
    for part in api.PARTS:
        module = api.module_of(part)
        for name in module.__all__:
            thing = getattr(module, name)
            if not isinstance(thing, types.ModuleType):
                assert id(thing) in homes, f"{part}.{name}"
    for part, names in found.items():
        page = pages[f"api/{api.module_of(part).__name__}.rst"]
        for name, _ in names:
            assert len(re.findall(rf"(?m)^\.\. auto\w+:: {name}$", page)) == 1, f"{part}.{name}"
    assert len(re.findall(r"(?m)^\.\. auto(?!summary)\w+::", text)) == sum(map(len, found.values()))


def test_a_name_from_elsewhere_is_linked():
    page = api.pages()["api/minivis.storage.rst"]
    assert ":py:obj:`~minivis.load`" in page and ".. autofunction:: load" not in page


def test_a_title_begins_small_unless_it_is_an_abbreviation():
    pages = api.pages()
    titles = [pages[f"api/minivis.{part}.rst"].split("\n")[0] for part in ("data.coco", "backend", "laws")]
    assert titles == [
        "minivis.data.coco: COCO",
        "minivis.backend: CPU and GPU",
        "minivis.laws: judging an answer by laws",
    ]
    parts = [part for part in api.PARTS if part.startswith("recipes.")]
    assert {"recipes.depth", "recipes.fcn_shapes"} < set(parts)
    names = ", ".join(f":py:mod:`minivis.{part}`" for part in parts)
    assert f"Parts: {names}." in pages["api/minivis.recipes.rst"]


def test_only_members_of_ours_are_listed():
    text = "\n".join(api.directive("Figure", mv.viz.Figure))
    assert ":members: png, save\n" in text + "\n"  # matplotlib gives every subclass a `set` of its own


def test_every_finding_of_the_doctor_is_told():
    calls = re.findall(r"(?<!def )\b_(?:note|broken)\(", inspect.getsource(doctor))
    rows = list(troubles.findings())
    assert len(rows) == len(calls) > 10
    assert ("_note", "CUDA", "no NVIDIA driver") in [row[:3] for row in rows]
    says = {row[2]: row[3] for row in rows}
    assert says["<version> is too old"] == 'python -m pip install --upgrade "<package>>=<oldest>"'
    assert says["an NVIDIA driver is here, CuPy is not installed"] == "python -m pip install cupy-cuda13x"
    assert says["<free> GiB free in <here>, but nothing can be written there: <error>"].startswith(
        "results need"
    )
    assert troubles.table().count("\n") == len(rows) + 2


def test_shapes_are_those_of_the_summary_and_measured_once(tmp_path, monkeypatch):
    runs = []

    def made():
        runs.append(1)
        return mv.nn.Sequential(mv.nn.Linear(3, 4), mv.nn.ReLU())

    monkeypatch.setattr(shapes, "MODELS", [("Small", made, (2, 3), 2)])
    monkeypatch.setattr(shapes, "size_table", lambda cache: "")  # it runs every model
    text = shapes.tables(tmp_path)
    assert "## Small" in text and "| &emsp;0 | Linear | (2, 4) | 16 | 24 |" in text
    assert shapes.tables(tmp_path) == text and len(runs) == 1
    found = shapes.pages(tmp_path)
    assert (
        list(found) == ["generated/shapes.md", "generated/sizes.md", "generated/shapes-0.png"]
        and len(runs) == 1
    )
    assert "(/generated/shapes-0.png)" in text and found["generated/shapes-0.png"].startswith(b"\x89PNG")
    seen = []
    monkeypatch.setattr(shapes, "fingerprint", lambda *paths: seen.extend(paths) or "another library")
    assert shapes.tables(tmp_path) == text and len(runs) == 2
    assert Path(shapes.__file__) in seen  # the list of models is there: a changed one is measured again


def test_models_of_the_shapes_page_exist():
    for title, make, _, _ in shapes.MODELS:
        source = inspect.getsource(make)
        models = re.findall(r"mv\.models\.(\w+)\(", source)
        checkpoints = re.findall(r'mv\.load\("([\w-]+)"\)', source)
        assert len(models) + len(checkpoints) == 1, title
        assert all(callable(getattr(mv.models, name)) for name in models), title
        assert set(checkpoints) <= set(storage.names()), title


def test_a_row_of_the_table_of_sizes_has_what_is_counted_and_what_is_published():
    text = shapes.sizes(mv.models.complexity(["resnet18"]))
    assert "| 224×224 | 11,689,512 | 11,689,512 | 1.814 G | 1.814 G |" in text
    assert "| torchvision's documentation | `resnet18` |" in text
