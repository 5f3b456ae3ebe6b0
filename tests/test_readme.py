"""The README's table of formulas: each leads in one hop to the code that is the formula, and names the slide it stands on.

Not here: counts, chapters and links (test_counts.py, test_project.py), whether the code computes the formula.
"""

import functools
import re
from pathlib import Path

import numpy as np
import pytest

from book.generate import sources
from minivis import storage
from minivis.recipes import detection_road, fcn_shapes

ROOT = Path(__file__).resolve().parent.parent
ROW = re.compile(
    r"^\| (?P<name>[^|]+) \| \$(?P<formula>[^|]+)\$ \| "
    r"\[(?P<text>[\w/]+\.py)\]\(minivis/(?P<file>[\w/]+\.py)\) `(?P<code>\w+)` \| `(?P<tag>[A-Z]/[\w-]+)` \|$",
    re.MULTILINE,
)
FORMULAS = (
    "softmax, attention, convolution, output size, residual block, stochastic depth, ODE step, bilateral filter, "
    "non-local means, non-local block, SAGAN, local attention, layer norm, GELU, position code, $z_0$, transformer block, masked words, MAE, window attention, "
    "DINO, centre, moving average, CLIP, tubelets, "
    "Selective Search, box coding, RoIAlign, Fast R-CNN, YOLO, transposed convolution, border weights, mask loss, progressive upsampling, multi-level aggregation, Segmenter, "
    "matching cost, GIoU, dice, mask classification, masked attention, position of a prompt, SAM, PQ, attention distance"
).split(", ")


def rows():
    """The rows of the table of formulas."""
    return [row.groupdict() for row in ROW.finditer((ROOT / "README.md").read_text(encoding="utf-8"))]


@functools.cache
def documented():
    """{(file, name): docstring} of the library."""
    return {(source.file, source.name): source.docstring for source in sources.documented()}


def complaints(row, documented):
    """What is wrong with a row, given what is documented."""
    docstring = documented.get((row["file"], row["code"]))
    if docstring is None:
        return [f"minivis/{row['file']} defines no {row['code']} with a docstring"]
    found = [] if row["text"] == row["file"] else [f"{row['text']} leads to {row['file']}"]
    return found + ([] if f"``{row['tag']}``" in docstring else [f"{row['code']} does not name {row['tag']}"])


def test_every_formula_has_its_row():
    assert [row["name"] for row in rows()] == FORMULAS


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["name"])
def test_a_formula_leads_to_its_code_and_names_its_slide(row):
    assert complaints(row, documented()) == []
    # Markdown takes the backslash off a sign of punctuation, and the underscore between two of them for emphasis.
    assert not re.search(r"\\[^A-Za-z]|[^\w\s]_[^\w\s]", row["formula"])
    assert row["formula"].count("{") == row["formula"].count("}")


def test_the_figures_of_the_trained_models_are_those_of_their_cards():
    table = re.findall(
        r"^\| `([\w-]+)` \| [^|]+ \| ([^|]+) \|$",
        (ROOT / "README.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert {name for name, _ in table} == set(storage.names())
    for name, figures in table:
        card = storage.read_json(storage.PACKAGED / name / "card.json")
        (told,) = (
            value for key, value in card.items() if "held-out" in key and not key.startswith("accuracy")
        )
        value = told.get("value")
        known = told | {"accuracy": told.get("accuracy", value), "right digit": value, "Jaccard": value}
        for figure in figures.split(", "):
            words, _, number = figure.rpartition(" ")
            assert f"{known[words]:.3f}" == number, (name, figure)


def test_the_road_of_detectors_is_as_it_was_measured():
    found = detection_road.results()["methods"]
    names = {"one box by regression": "regression of one box"}
    rows = re.findall(
        r"^\| ([^|`\[$]+) \|((?: [-\d.,]+ \|){6})$",
        (ROOT / "README.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert [names.get(name, name) for name, _ in rows] == list(found)
    for name, cells in rows:
        row = {key: values[0] for key, values in found[names.get(name, name)].items()}
        told = [float(cell.replace(",", "").replace(" - ", "0")) for cell in cells.split("|")[:-1]]
        milliseconds = [1000 * row[key] for key in ("proposals", "network", "seconds an image")]
        assert told[:3] == pytest.approx(milliseconds, rel=0.03, abs=3e-3)
        assert told[3:] == pytest.approx([row["AP50"], row["AP"], row["parameters"]], abs=5e-4)


def test_the_road_of_segmentation_is_as_it_was_measured():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    told = [float(x) for x in re.findall(r"^\| FCN, scores of .* mIoU ([\d.]+) \|$", text, re.MULTILINE)]
    means = [np.mean(row["mIoU"]) for row in fcn_shapes.results().values()]
    assert told == pytest.approx(means, abs=1e-3)
    for name, row in {"fcn": "the same, 4,000 steps", "unet": "U-Net", "mask-rcnn": "Mask R-CNN"}.items():
        card = storage.read_json(storage.PACKAGED / f"{name}-shapes" / "card.json")
        figure = card["on 500 held-out scenes"]["AP50" if name == "mask-rcnn" else "mIoU"]
        (number,) = re.findall(rf"^\| {row} \| [\d.]+ \| .* ([\d.]+) \|$", text, re.MULTILINE)
        assert float(number) == pytest.approx(figure, abs=6e-4)


def test_a_wrong_row_is_found():
    row = {"text": "ops/a.py", "file": "ops/a.py", "code": "f", "tag": "H/4-two"}
    assert complaints(row, {("ops/a.py", "f"): "Slide ``H/4-two``."}) == []
    assert complaints(row, {("ops/a.py", "f"): "Slide ``H/4-two-boxes``."}) == ["f does not name H/4-two"]
    assert complaints(row, {("ops/b.py", "f"): ""}) == ["minivis/ops/a.py defines no f with a docstring"]
    row["text"] = "ops/b.py"
    assert complaints(row, {("ops/a.py", "f"): "Slide ``H/4-two``."}) == ["ops/b.py leads to ops/a.py"]
