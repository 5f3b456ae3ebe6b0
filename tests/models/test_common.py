"""What models share: maps as tokens, and constructors of published sizes.

Not here: how many parameters the published sizes have (test_vit.py, test_swin.py, ...).
"""

import inspect

import numpy as np
import pytest

from minivis import Tensor, models, nn
from minivis.models.common import as_images, map_to_tokens, published
from minivis.pairs import checked_pair, pair
from minivis.randomness import generator

CONSTRUCTORS = {
    "vit": ["vit_b16", "deit_s16"],
    "swin": ["swin_t"],
    "resnet": ["resnet50"],
    "detr": ["detr_r50_dc5"],
    "mask2former": ["mask2former_r50", "mask2former_swin_t"],
    "maskformer": ["maskformer_r50_panoptic", "maskformer_swin_l"],
}


def test_a_map_becomes_tokens_row_by_row():
    x = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    tokens = map_to_tokens(x)
    assert tokens.shape == (2, 20, 3)
    np.testing.assert_array_equal(tokens[1, 2 * 5 + 3], x[1, :, 2, 3])


def test_images_of_other_axes_are_refused_in_the_name_of_the_model():
    assert isinstance(as_images("ViT", np.zeros((1, 3, 2, 2))), Tensor)
    with pytest.raises(ValueError, match=r"^ViT: images must be \(B, C, H, W\) \(images: \(3, 2, 2\)\)"):
        as_images("ViT", np.zeros((3, 2, 2)))


def test_rates_rise_in_even_steps():
    assert nn.drop_path_rates(0.4, 3) == [0, 0.2, 0.4] and nn.drop_path_rates(0.4, 1) == [0]


@pytest.mark.parametrize(("file", "name"), [(f, n) for f, names in CONSTRUCTORS.items() for n in names])
def test_a_published_size_belongs_to_the_file_of_its_model(file, name):
    constructor = getattr(models, name)
    assert constructor.__name__ == constructor.__qualname__ == name
    assert constructor.__module__ == f"minivis.models.{file}"
    assert inspect.getsourcefile(inspect.unwrap(constructor)).endswith(f"{file}.py")
    assert list(inspect.signature(constructor).parameters) == ["num_classes", "rng", "options"]
    classes = inspect.signature(constructor).parameters["num_classes"].default
    assert constructor.__doc__.startswith(f"{name}: ") and f"for {classes} classes." in constructor.__doc__


def test_options_of_the_caller_win_and_seeds_are_generators():
    class Model(nn.Module):
        """Accept any arguments."""

        def __init__(self, num_classes, rng, **options):
            self.made = (num_classes, rng.integers(1000), options)

    tiny = published("tiny", Model, "of two layers", 12, classes=7, width=3, depth=2)
    draw = generator(5).integers(1000)
    assert tiny(rng=5).made == (7, draw, {"width": 3, "depth": 2})
    assert tiny(2, 5, depth=4).made == (2, draw, {"width": 3, "depth": 4})
    assert tiny().made[1] == generator(None).integers(1000) == np.random.default_rng(0).integers(1000)


@pytest.mark.parametrize("wrong", [0, (1, 2, 3), (2, 0), 1.5, "ab", None])
def test_pairs_are_whole_numbers_or_refused_by_name(wrong):
    assert checked_pair("f", "size", np.int64(3)) == (3, 3) == pair(3)
    assert checked_pair("f", "shift", [0, 2], least=0) == (0, 2)
    with pytest.raises(ValueError, match="f: size must be an integer of at least 1, or two of them, got"):
        checked_pair("f", "size", wrong)
