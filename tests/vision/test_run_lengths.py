"""Run lengths: there and back, column by column, and what is damaged.

Not here: pycocotools' own strings (tests/parity/test_metric_parity.py).
"""

import json
import time

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
    assert _unpack("f", _pack(counts)).tolist() == counts


@given(masks())
def test_run_lengths_are_read_column_by_column_and_begin_with_false(mask):
    runs = [0]
    value = False
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
        ({"size": [2, 2], "counts": []}, "they sum to 0"),
        ({"size": [2, 2], "counts": ""}, "they sum to 0"),
        ({"size": [2, 2]}, "must be a dict with 'size' and 'counts'"),
        ([2, 2], "must be a dict with 'size' and 'counts'"),
        ({"size": [2, 2], "counts": 4}, "counts must be a string or a list of integers"),
        ({"size": [2, 2], "counts": ["4"]}, "counts must be a string or a list of integers"),
        ({"size": [2, 2], "counts": [3.5, 0.5]}, "counts must be a string or a list of integers"),
        ({"size": [2, 2], "counts": [np.inf, 4]}, "counts must be a string or a list of integers"),
        ({"size": [2, 2], "counts": [np.nan, 4]}, "counts must be a string or a list of integers"),
        ({"size": [2, 2], "counts": [[4]]}, "counts must be a string or a list of integers"),
        ({"size": [2, 2], "counts": [[4], 1]}, "counts must be a string or a list of integers"),
        ({"size": [2, 2], "counts": [2**63 + 4, -(2**63)]}, "at most 80000000 each"),
        ({"size": [2, 2], "counts": [2**64 + 4]}, "counts must be a string"),
        ({"size": [2, 2], "counts": "1\ud800"}, "the character '.ud800' at 1"),
        ({"size": [4], "counts": [4]}, r"size must be \[height, width\], two integers, .* got \[4\]"),
        ({"size": ["2", 2], "counts": [4]}, r"size must be \[height, width\]"),
        ({"size": [2.5, 2], "counts": [5]}, r"size must be \[height, width\]"),
        ({"size": [-2, -2], "counts": [4]}, r"size must be \[height, width\]"),
        ({"size": [10**5, 10**5], "counts": [10**10]}, "at most 80000000 pixels together"),
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


def _by_hand(text):
    """Lengths of a string, one character after another, as COCO's mask API reads them."""
    lengths = []
    i = 0
    while i < len(text):
        value = 0
        shift = 0
        more = True
        while more:
            code = ord(text[i]) - 48
            value |= (code & 31) << shift
            more = code & 32
            shift = shift + 5
            i = i + 1
            if not more and code & 16:
                value -= 1 << shift
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
    return lengths


@given(st.lists(st.integers(0, 7 * 10**7), max_size=9))
def test_strings_are_read_as_by_cocos_tools(counts):
    text = _pack(counts)
    assert _unpack("f", text).tolist() == _by_hand(text) == counts


def test_whole_numbers_may_be_written_with_a_point():
    assert rle_decode({"size": [2, 2], "counts": [1.0, 3.0]}).tolist() == [[False, True], [True, True]]


@pytest.mark.parametrize("text", ["o" * 10**6 + "0", "o" * 10**6, "0" * 10**6, "P0" * 5 * 10**5])
def test_a_million_digits_are_refused_at_once(text):
    start = time.process_time()
    with pytest.raises(ValueError, match="^rle_decode: "):
        rle_decode({"size": [99, 99], "counts": text})
    assert time.process_time() - start < 1


def test_only_one_boolean_mask_is_encoded():
    with pytest.raises(TypeError, match="^rle_encode: masks must be boolean, .*got float64"):
        rle_encode(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"^rle_encode: .*one mask at a time \(mask: \(1, 2, 3\)\)"):
        rle_encode(np.zeros((1, 2, 3), bool))
