"""Run lengths: there and back, column by column, and what is damaged.

Not here: pycocotools' own strings (tests/parity/test_metric_parity.py).
"""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivis.vision import rle_decode, rle_encode
from minivis.vision.run_lengths import _pack, _unpack


@st.composite
def masks(draw):
    """Boolean masks (H, W): noise of any density, so also empty and full ones."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    return rng.random(shape) < draw(st.sampled_from([0.0, 0.05, 0.5, 0.95, 1.0]))


@given(masks(), st.booleans())
def test_decoding_gives_the_mask_back_also_through_json(mask, compressed):
    rle = json.loads(json.dumps(rle_encode(mask, compressed)))
    assert rle["size"] == list(mask.shape)
    got = rle_decode(rle)
    assert got.dtype == bool
    np.testing.assert_array_equal(got, mask)


@given(st.lists(st.integers(0, 10**6), max_size=6))
def test_run_lengths_of_any_size_survive_the_string(counts):
    assert _unpack(_pack(counts)) == counts


@given(masks())
def test_run_lengths_are_read_column_by_column_and_begin_with_false(mask):
    runs, value = [0], False
    for j in range(mask.shape[1]):
        for i in range(mask.shape[0]):
            if mask[i, j] != value:
                value = not value
                runs.append(0)
            runs[-1] += 1
    assert rle_encode(mask, compressed=False)["counts"] == runs


def test_a_string_may_be_bytes():
    mask = np.random.default_rng(2).random((6, 7)) < 0.4
    rle = rle_encode(mask)
    np.testing.assert_array_equal(rle_decode({**rle, "counts": rle["counts"].encode()}), mask)


@pytest.mark.parametrize(
    ("rle", "complaint"),
    [
        ({"size": [2, 2], "counts": [1, 2]}, "fill size 2 x 2 = 4 pixels, but they sum to 3"),
        ({"size": [2, 2], "counts": [5, -1]}, "the least is -1"),
        ({"size": [2, 2], "counts": "1 3"}, "the character ' ' at 1"),
        ({"size": [2, 2], "counts": "1é"}, "the character 'é' at 1"),
        (
            {"size": [99, 99], "counts": rle_encode(np.zeros((99, 99), bool))["counts"][:-1]},
            "the string is cut off",
        ),
    ],
)
def test_damaged_run_lengths_are_refused(rle, complaint):
    with pytest.raises(ValueError, match=f"^rle_decode: .*{complaint}"):
        rle_decode(rle)


def test_only_one_boolean_mask_is_encoded():
    with pytest.raises(TypeError, match="^rle_encode: masks must be boolean, .*got float64"):
        rle_encode(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"^rle_encode: .*one mask at a time \(mask: \(1, 2, 3\)\)"):
        rle_encode(np.zeros((1, 2, 3), bool))
