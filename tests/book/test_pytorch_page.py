"""The code on the page "From minivis to PyTorch and back" runs, and gives the shapes that it claims.

Not here: whether both give the same numbers (tests/parity). PyTorch's half runs where it is installed.
"""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.parity.make_torchvision_fixtures import torchvision_models

has_torch = all(importlib.util.find_spec(name) for name in ("torch", "transformers"))
PAGE = Path(__file__).parents[2] / "book" / "pytorch.md"
BLOCKS = re.findall(r"(?ms)^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"))
OURS = [block for block in BLOCKS if "torch" not in block]
THEIRS = [block for block in BLOCKS if "torch" in block]
BESIDE = 5  # as many of each stand beside one another; those after them stand alone


def claims_of(code):
    """Each line ``name  # (shape)`` of a block."""
    return re.findall(r"(?m)^([\w.]+)  # \(([\d, ]*)\)$", code)


def run(code, scope):
    """Run a block, hold it to its claims, and return how many there are."""
    exec(code, scope)
    claims = claims_of(code)
    for name, shape in claims:
        got = tuple(np.shape(eval(name, scope)))
        assert got == tuple(int(n) for n in shape.split(",") if n.strip()), name
    return len(claims)


@pytest.fixture(autouse=True)
def folder_with_a_photo(tmp_path, monkeypatch):
    """The blocks read a photo in the current folder, and write a model there."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save("photo.png")


def test_the_halves_of_minivis_run():
    scope = {}  # the last block goes on from the one before
    assert sum(run(code, scope) for code in OURS) >= 6
    state = scope["attention"].state_dict()
    packed = scope["packed"]
    back = scope["back"]
    assert (state["key.weight"] == packed["in_proj_weight"][8:16]).all()
    assert (state["value.bias"] == packed["in_proj_bias"][16:]).all()
    assert back.keys() == packed.keys() and all((back[name] == packed[name]).all() for name in packed)


def test_both_halves_stand_side_by_side():
    assert len(THEIRS) == 7 and len(OURS) == 8
    for ours, theirs in zip(OURS[:BESIDE], THEIRS[:BESIDE], strict=True):
        assert claims_of(ours) == claims_of(theirs) != []


@pytest.mark.skipif(not has_torch, reason="needs the parity extra")
@pytest.mark.parametrize("number", range(len(THEIRS)))
def test_the_halves_of_torch_run(number):
    if "transformers" in THEIRS[number]:
        torchvision_models()  # transformers imports it where it is there
        ours = {}
        run(OURS[-1], ours)  # writes the folder
    theirs = {}
    assert run(THEIRS[number], theirs) >= 1
    if "transformers" in THEIRS[number]:
        assert np.abs(ours["again"](ours["photo"]).numpy() - theirs["logits"].numpy()).max() < 1e-5


def test_a_wrong_shape_is_found():
    with pytest.raises(AssertionError):
        run("import numpy as np\ny = np.ones(3)\ny  # (4,)\n", {})
