"""The favourite pieces of a channel, against a search by hand.

Not here: what trained networks like (notebook 03).
"""

import numpy as np
import pytest

from minivis import analysis, ops

RNG = np.random.default_rng(0)


def test_the_pieces_are_those_that_give_the_values():
    images = RNG.standard_normal((6, 3, 9, 11))
    weight = RNG.standard_normal((4, 3, 3, 3))
    maps = ops.conv2d(images, weight, stride=2, padding=1)
    patches, values = analysis.favourite_patches(maps, images, size=3, stride=2, start=-1, count=5)
    assert patches.shape == (4, 5, 3, 3, 3) and values.shape == (4, 5)
    for c in range(4):
        expected = np.sort(maps[:, c].max(axis=(1, 2)))[::-1][:5]
        np.testing.assert_array_equal(values[c], expected)
        # what lies outside counts as 0, as in a padded convolution
        again = (np.nan_to_num(patches[c]) * weight[c]).sum(axis=(1, 2, 3))
        np.testing.assert_allclose(again, expected)


def test_what_lies_outside_is_not_a_number():
    images = np.zeros((2, 1, 4, 4), np.float32)
    images[:, :, 0, 0] = 1
    patches, _ = analysis.favourite_patches(images, images, size=3, stride=1, start=-1, count=2)
    assert patches.dtype == np.float32 and np.isnan(patches[0, 0, 0]).sum() == 5
    far, _ = analysis.favourite_patches(images, images, size=2, stride=1, start=-9, count=1)
    assert np.isnan(far).all()
    whole, _ = analysis.favourite_patches(
        images, images.astype(np.uint8), size=3, stride=1, start=-1, count=1
    )
    assert whole.dtype == np.uint8 and whole.sum() == 1


@pytest.mark.parametrize(
    ("maps", "options", "words"),
    [
        ((3, 2, 2), {}, "maps must be"),
        ((3, 2, 2, 2), {}, "maps must be"),
        ((2, 0, 2, 2), {}, "maps must be"),
        ((2, 2, 2, 2), {"count": 3}, "count 1 to 2"),
        ((2, 2, 2, 2), {"size": 0}, "size and stride must be positive"),
    ],
)
def test_what_does_not_fit_is_refused(maps, options, words):
    options = {"size": 2, "stride": 2, "count": 1, **options}
    with pytest.raises(ValueError, match=f"favourite_patches: .*{words}"):
        analysis.favourite_patches(np.zeros(maps), np.zeros((2, 1, 4, 4)), **options)


def test_unsigned_integers_and_booleans_have_their_largest_value_first():
    maps = np.array([0, 5, 2]).reshape(3, 1, 1, 1)
    for dtype, expected in (("uint8", [5, 2, 0]), ("int64", [5, 2, 0]), ("bool", [True, True, False])):
        _, values = analysis.favourite_patches(maps.astype(dtype), np.zeros((3, 1, 2, 2)), 2, 2, count=3)
        assert values[0].tolist() == expected
    with pytest.raises(ValueError, match=r"must be whole numbers.* \(size 1.5, stride 2, start 0, count 1\)"):
        analysis.favourite_patches(maps, np.zeros((3, 1, 2, 2)), 1.5, 2, count=1)
