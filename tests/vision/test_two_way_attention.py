"""Attention with codes in the scores alone: beside the layers of SAM's decoder, and what is refused.

Not here: its laws (tests/laws).
"""

import numpy as np
import pytest

from minivis import Tensor, models, vision
from minivis.nn.init import skip_init


def test_a_layer_of_sam_that_hands_everything_on_computes_it():
    rng = np.random.default_rng(0)
    """With one head, unit matrices and no norms, the picture's step of a two-way layer is this function."""
    layer = models.MaskDecoder(16, heads=1, mlp_width=8).layers[1].image_to_tokens
    with skip_init():
        layer = type(layer)(8, 1)
    for part in (layer.query, layer.key, layer.value, layer.out):
        part.weight.data = np.eye(8)
        part.bias.data = np.zeros(8)
    x, codes = rng.standard_normal((2, 1, 6, 8))
    context, places = rng.standard_normal((2, 1, 4, 8))
    expected = x + layer(Tensor(x + codes), Tensor(context + places), Tensor(context)).data
    np.testing.assert_allclose(vision.coded_attention(x, context, codes, places), expected)


@pytest.mark.parametrize(
    "shapes",
    [
        [(2, 3), (4, 3), (2, 2), (4, 3)],
        [(2, 3), (4, 2), (2, 3), (4, 2)],
        [(2, 3), (0, 3), (2, 3), (0, 3)],
        [(3,)] * 4,
    ],
)
def test_shapes_that_do_not_fit_are_named(shapes):
    with pytest.raises(ValueError, match=r"coded_attention: x and .*got \["):
        vision.coded_attention(*map(np.zeros, shapes))
