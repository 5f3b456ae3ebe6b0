"""Clicks: in the middle, anywhere, on what is wrong; against searches over all pixels.

Not here: what a model makes of clicks (tests/models/test_sam.py).
"""

import numpy as np
import pytest

import minivis as mv
from minivis.vision import central_click, next_click, uniform_click

RNG = np.random.default_rng(2)


def depth(mask):
    """The distance of each pixel of a mask to the nearest one that is not in it, searched among all of them."""
    padded = np.pad(mask, 1)
    outside = np.argwhere(~padded)
    found = np.zeros(padded.shape)
    for place in np.argwhere(padded):
        found[tuple(place)] = np.sqrt(((outside - place) ** 2).sum(axis=1).min())
    return found[1:-1, 1:-1]


def blob(height, width):
    y, x = np.mgrid[:height, :width]
    middle = RNG.uniform(0, (height, width))
    radius = RNG.uniform(2, 5)
    return np.hypot(y - middle[0], x - middle[1]) < radius


@pytest.mark.parametrize("size", [(9, 12), (12, 7), (1, 6)])
def test_the_middle_is_farthest_from_the_border(size):
    for _ in range(5):
        mask = blob(*size)
        mask[0, 0] = True
        x, y = central_click(mask)
        assert mask[y, x] and depth(mask)[y, x] == depth(mask).max()


def test_the_border_of_the_image_counts():
    assert central_click(np.ones((5, 9), bool)) == (2, 2)


def test_every_pixel_is_drawn_and_none_outside():
    mask = blob(6, 8)
    mask[0, :3] = True
    drawn = {uniform_click(mask, RNG) for _ in range(400)}
    assert drawn == {(x, y) for y, x in np.argwhere(mask)}
    same = [uniform_click(mask, np.random.default_rng(1)) for _ in range(2)]
    assert same[0] == same[1]


def test_the_next_click_is_in_the_middle_of_the_largest_mistake():
    for _ in range(10):
        found, truth = blob(11, 13), blob(11, 13)
        truth[5, 5] = True
        (x, y), label = next_click(found, truth)
        missing, extra = depth(truth & ~found), depth(found & ~truth)
        assert max(missing[y, x], extra[y, x]) == max(missing.max(), extra.max()) > 0
        assert label == truth[y, x] != found[y, x]


def test_the_next_click_is_drawn_from_all_mistakes():
    truth = np.array([[True, True, False, False]])
    found = np.array([[True, False, False, True]])
    assert {next_click(found, truth, RNG) for _ in range(60)} == {((1, 0), 1), ((3, 0), 0)}


def test_where_nothing_is_wrong_the_click_is_on_the_object():
    truth = np.zeros((7, 7), bool)
    truth[1:6, 1:6] = True
    assert next_click(truth, truth) == ((3, 3), 1)
    (x, y), label = next_click(truth, truth, RNG)
    assert truth[y, x] and label == 1


def test_tensors_and_a_device(device):
    truth = np.zeros((5, 5), bool)
    truth[1:4, 2:5] = True
    assert central_click(mv.Tensor(truth)) == central_click(mv.to_device(truth, device)) == (3, 2)
    assert next_click(mv.to_device(~truth, device), mv.to_device(truth, device)) == next_click(~truth, truth)


@pytest.mark.parametrize(
    "call, kind, complaint",
    [
        (
            lambda: central_click(np.zeros((3, 4), bool)),
            ValueError,
            r"central_click: mask has no pixel \(mask: \(3, 4\)\)",
        ),
        (lambda: uniform_click(np.zeros((3, 4), bool), RNG), ValueError, "uniform_click: mask has no pixel"),
        (
            lambda: central_click(np.ones(3, bool)),
            ValueError,
            r"central_click: mask must be \(H, W\) \(mask: \(3,\)\)",
        ),
        (
            lambda: next_click(np.ones((3, 3), bool), np.ones((3, 4), bool)),
            ValueError,
            r"next_click: found and truth must be \(H, W\) \(found: \(3, 3\), truth: \(3, 4\)\)",
        ),
        (
            lambda: next_click(np.ones((3, 3), bool), np.zeros((3, 3), bool)),
            ValueError,
            "next_click: truth has no pixel",
        ),
        (
            lambda: central_click(np.ones((3, 3))),
            TypeError,
            "central_click: mask must be boolean, got float64",
        ),
    ],
)
def test_it_refuses(call, kind, complaint):
    with pytest.raises(kind, match=f"^{complaint}"):
        call()
