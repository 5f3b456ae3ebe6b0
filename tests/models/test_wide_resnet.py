"""Wide ResNet: the published sizes, a block by hand, the shared norm where the width changes.

Not here: the wide networks for ImageNet (test_resnet.py), half precision (test_half.py).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import models, nn
from minivis.models import WideResNet
from tests import strict

RNG = np.random.default_rng(4)
PUBLISHED = {  # parameters for 10 and for 100 classes
    "wrn16_8": (10_961_370, 11_007_540),
    "wrn22_8": (17_158_106, 17_204_276),
    "wrn28_10": (36_479_194, 36_536_884),
    "wrn28_12": (52_517_850, 52_587_060),
    "wrn40_1": (563_930, 569_780),
    "wrn40_2": (2_243_546, 2_255_156),
    "wrn40_4": (8_949_210, 8_972_340),
    "wrn40_10": (55_841_754, None),
}


def images(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def small(**options):
    return WideResNet(**{"depth": 10, "widening": 2, "num_classes": 3, "rng": 0, **options})


def count(model):
    return sum(p.size for p in model.parameters())


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_have_their_exact_number_of_parameters(name):
    with nn.init.skip_init():
        for classes, parameters in zip((10, 100), PUBLISHED[name], strict=True):
            if parameters:
                assert count(getattr(models, name)(num_classes=classes)) == parameters


def test_the_first_block_of_the_first_stage():
    with nn.init.skip_init():
        model = models.wrn28_10()
    assert count(model.stages[0][0]) == 23_040 + 230_400 + 2_560 + 352 == 256_352
    assert [len(stage) for stage in model.stages] == [4, 4, 4]


def test_parameters_grow_with_the_square_of_the_width():
    with nn.init.skip_init():
        thin, wide = (count(WideResNet(40, k)) for k in (4, 8))
    assert 3.9 < wide / thin < 4.0


def test_only_where_shapes_change_is_there_a_projection():
    found = [
        [block.projection is not None for block in stage] for stage in small(depth=16, widening=1).stages
    ]
    assert found == [[False, False], [True, False], [True, False]]


def test_a_block_by_hand():
    block = small().stages[1][0].eval()
    x = images(2, 32, 5, 6)
    # running statistics at the start: mean 0, variance 1
    active = np.maximum(x / np.sqrt(1 + 1e-5), 0)
    y = mv.ops.conv2d(active, block.conv1.weight.data, stride=2, padding=1)
    y = mv.ops.conv2d(np.maximum(y / np.sqrt(1 + 1e-5), 0), block.conv2.weight.data, padding=1)
    # the shortcut is of what norm and ReLU have left
    shortcut = mv.ops.conv2d(active, block.projection.weight.data, stride=2)
    np.testing.assert_allclose(block(mv.Tensor(x)).numpy(), shortcut + y, rtol=1e-4, atol=1e-4)


def test_a_branch_of_zeros_leaves_the_map_as_it_is():
    block = small(depth=16, widening=1).stages[0][1]
    block.conv2.weight.data[...] = 0
    x = mv.Tensor(images(2, 16, 4, 4))
    # also its negative numbers: nothing follows the sum
    np.testing.assert_array_equal(block(x).numpy(), x.numpy())


def test_maps_halve_with_the_stages():
    maps = small().features(images(1, 3, 9, 12))
    assert [x.shape[1:] for x in maps] == [(32, 9, 12), (64, 5, 6), (128, 3, 3)]


def test_dropout_is_on_in_training_only():
    model = small(dropout=0.5)
    x = images(2, 3, 8, 8)
    model(x)
    model.eval()
    np.testing.assert_array_equal(model(x).numpy(), model(x).numpy())
    model.train()
    assert not np.array_equal(model(x).numpy(), model(x).numpy())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"depth": 20}, "WideResNet: depth must be 6n \\+ 4"),
        ({"depth": 4}, "WideResNet: depth must be 6n \\+ 4"),
        ({"widening": 0}, "WideResNet: widening must be a whole number"),
        ({"dropout": 2}, "Dropout: p must be a probability"),
    ],
)
def test_bad_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        small(**options)


def test_images_must_be_images():
    with pytest.raises(ValueError, match="WideResNet: images must be"):
        small()(np.zeros((3, 8, 8), np.float32))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_dtype_stays(dtype):
    assert small(widening=1).to(dtype).eval()(images(1, 3, 8, 8).astype(dtype)).dtype == dtype


def test_it_runs_on_the_pretend_gpu():
    strict.install()
    model = small(widening=1).to("strict")
    logits = model(mv.to_device(images(2, 3, 8, 8), "strict"))
    mv.ops.cross_entropy(logits, mv.to_device(np.array([0, 2]), "strict")).backward()
    assert logits.shape == (2, 3)
