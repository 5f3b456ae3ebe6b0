"""The model of the recipe swin-shapes: small enough to come along, its windows shifted or not, pixels standardised.

Not here: what every recipe on scenes promises (test_shapes.py), a full training (`minivis train swin-shapes`).
"""

import numpy as np

from minivis.models import Swin
from minivis.recipes.swin_shapes import small_swin


def shifts(model):
    return [block.attn.shift for stage in model.stages for block in stage.blocks]


def test_the_model_is_small_enough_to_come_along():
    assert sum(p.size for p in small_swin(rng=0).parameters()) * 2 < 3 * 2**20  # bytes, in half precision


def test_windows_are_shifted_in_every_other_block_unless_they_are_to_stay():
    assert shifts(small_swin(rng=0)) == [(0, 0), (2, 2)] * 3
    assert set(shifts(small_swin(rng=0, shift=False))) == {(0, 0)}


def test_the_projection_starts_with_pixels_standardised():
    model = small_swin(rng=3)
    images = np.random.default_rng(0).random((2, 3, 64, 64), np.float32)
    plain = Swin(**model.config, rng=3)
    expected = plain.proj((images - 0.5) / 0.25).numpy()
    np.testing.assert_allclose(model.proj(images).numpy(), expected, atol=1e-5)
