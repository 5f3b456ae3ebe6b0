"""The feature pyramid: what each level is made of, sizes that are no powers of two, fewer and more levels.

Not here: torchvision's numbers (tests/parity/test_rcnn_parity.py).
"""

import numpy as np
import pytest

from minivis import nn, ops

RNG = np.random.default_rng(0)
MAPS = [
    RNG.standard_normal((2, 3, 10, 14)),
    RNG.standard_normal((2, 4, 5, 7)),
    RNG.standard_normal((2, 5, 3, 4)),
]


def made(levels=None, width=6):
    return nn.FeaturePyramid((3, 4, 5), width, levels, rng=0).to("float64")


def test_a_level_is_its_map_and_the_coarser_level_enlarged():
    pyramid = made()
    levels = pyramid(MAPS)
    assert [x.shape for x in levels] == [(2, 6, 10, 14), (2, 6, 5, 7), (2, 6, 3, 4)]
    coarse = pyramid.lateral[2](MAPS[2])
    rows = [0, 0, 1, 1, 2]  # the nearest of 3
    columns = [0, 0, 1, 1, 2, 2, 3]  # and of 4
    middle = pyramid.lateral[1](MAPS[1]) + coarse[:, :, rows][:, :, :, columns]
    fine = pyramid.lateral[0](MAPS[0]) + ops.interpolate(middle, scale_factor=2)
    for got, merged, output in zip(levels, (fine, middle, coarse), pyramid.output, strict=True):
        np.testing.assert_allclose(got.numpy(), output(merged).numpy(), rtol=1e-12)


def test_one_level_more_has_every_second_number_of_the_coarsest():
    *levels, last = made(4)(MAPS)
    assert len(levels) == 3 and last.shape == (2, 6, 2, 2)
    np.testing.assert_array_equal(last.numpy(), ops.max_pool2d(levels[-1].numpy(), 1, stride=2))


def test_fewer_levels_still_see_every_map():
    pyramid = made(1)
    (fine,) = pyramid(MAPS)
    np.testing.assert_allclose(fine.numpy(), made()(MAPS)[0].numpy(), rtol=1e-12)
    ops.sum(fine * fine).backward()
    assert all(np.abs(p.grad).max() > 0 for p in pyramid.parameters())


def test_starting_values_keep_the_variance():
    pyramid = nn.FeaturePyramid((64,), 64, rng=0)
    for layer, inputs in ((pyramid.lateral[0], 64), (pyramid.output[0], 64 * 9)):
        assert layer.weight.data.std() == pytest.approx(inputs**-0.5, rel=0.05) and not layer.bias.data.any()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="FeaturePyramid: 3 maps make at most 4 levels, got 5"):
        made(5)
    with pytest.raises(ValueError, match="FeaturePyramid: width must be a whole number of at least 1, got 0"):
        made(width=0)
    with pytest.raises(ValueError, match="FeaturePyramid: expected 3 maps, one for each of channels, got 2"):
        made()(MAPS[:2])
