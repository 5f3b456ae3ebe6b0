"""ResNet for small images: the published sizes, both shortcuts, the plain network, stochastic depth.

Not here: what training shows (recipes/depth.py), half precision (test_half.py).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import models, nn
from minivis.models import CifarResNet
from tests import strict

RNG = np.random.default_rng(3)
PUBLISHED = {  # parameters for 10 classes: as published with shortcuts that need none
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet110": 1_727_962,
}


def images(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def small(**options):
    return CifarResNet(**{"depth": 8, "width": 4, "num_classes": 3, "rng": 0, **options})


def count(model):
    return sum(p.size for p in model.parameters())


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_have_their_exact_number_of_parameters(name):
    with nn.init.skip_init():
        model = getattr(models, name)()
        plain = getattr(models, name)(residual=False)
    assert count(model) == PUBLISHED[name] == count(plain)
    assert len(model.blocks) == (int(name[6:]) - 2) // 2


def test_projections_have_their_own_parameters():
    with nn.init.skip_init():
        model = models.resnet20(shortcut="projection")
    assert count(model) == 269_722 + 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
    assert [block.projection is not None for block in model.blocks] == [i in (3, 6) for i in range(9)]


def test_convolutions_with_a_bias_in_the_place_of_norms():
    with nn.init.skip_init():
        model = models.resnet110(norm=False)
    norms = 2 * 4_048  # a weight and a bias for each of the channels of all convolutions
    assert count(model) == 1_727_962 - norms + norms // 2


def test_a_block_by_hand_with_the_shortcut_of_zeros():
    block = small(norm=False).blocks[1]  # 4 -> 8 channels, stride 2
    x = np.abs(images(2, 4, 5, 6))
    y = np.maximum(mv.ops.conv2d(x, block.first.conv.weight.data, stride=2, padding=1), 0)
    y = mv.ops.conv2d(y, block.second.conv.weight.data, padding=1)
    y[:, :4] += x[:, :, ::2, ::2]
    np.testing.assert_allclose(block(mv.Tensor(x)).numpy(), np.maximum(y, 0), atol=1e-5)


def test_a_plain_network_is_its_branches_alone():
    model = small(residual=False).eval()
    block = model.blocks[0]
    x = mv.Tensor(images(2, 4, 6, 6))
    np.testing.assert_array_equal(block(x).numpy(), np.maximum(block.branch(x).numpy(), 0))
    twin = small().eval()
    twin.load_state_dict(model.state_dict())  # the same parameters
    assert not np.allclose(twin(images(1, 3, 8, 8)).numpy(), model(images(1, 3, 8, 8)).numpy())


def test_maps_halve_with_the_stages():
    maps = small(depth=14).features(images(1, 3, 9, 12))
    assert [x.shape[1:] for x in maps] == [(4, 9, 12)] * 3 + [(8, 5, 6)] * 2 + [(16, 3, 3)] * 2


def test_stochastic_depth_drops_blocks_for_the_whole_batch_and_scales_them_in_evaluation():
    model = models.CifarResNet(depth=20, width=2, survival=0.5, rng=1)
    rates = [block.drop_path.p for block in model.blocks]
    np.testing.assert_allclose(rates, 1 - nn.survival_schedule(9, 0.5))
    with nn.init.skip_init():
        assert sum(1 - b.drop_path.p for b in models.resnet110(survival=0.5).blocks) == pytest.approx(40.25)
    block = model.blocks[-1]
    x = mv.Tensor(np.abs(images(3, 8, 4, 4)))
    block.first.norm.running_var *= 2
    live = [not np.array_equal(block(x).numpy(), x.numpy()) for _ in range(200)]
    assert 70 < sum(live) < 130  # of 200, five standard deviations
    model.eval()
    expected = np.maximum(x.numpy() + 0.5 * block.branch(x).numpy(), 0)
    np.testing.assert_allclose(block(x).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_dropped_block_is_not_computed_and_its_norms_learn_nothing():
    model = models.CifarResNet(depth=8, width=2, survival=0.0, rng=1)
    before = model.blocks[-1].first.norm.running_mean.copy()
    model(images(2, 3, 8, 8)).sum().backward()
    np.testing.assert_array_equal(model.blocks[-1].first.norm.running_mean, before)
    assert model.blocks[-1].first.conv.weight.grad is None
    assert model.head.weight.grad is not None


def test_sigmoids_make_gradients_vanish_and_shortcuts_keep_them():
    def lengths(**options):
        model = CifarResNet(depth=20, width=2, num_classes=3, norm=False, rng=0, **options)
        mv.ops.cross_entropy(model(images(6, 3, 8, 8)), np.arange(6) % 3).backward()
        return [float(np.linalg.norm(b.first.conv.weight.grad)) for b in model.blocks]

    sigmoid = lengths(residual=False, activation="sigmoid")
    relu = lengths(residual=False)
    assert sigmoid[0] < 1e-9 * sigmoid[-1]
    assert relu[0] > 1e-3 * relu[-1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"depth": 18}, "CifarResNet: depth must be 6n \\+ 2"),
        ({"depth": 2}, "CifarResNet: depth must be 6n \\+ 2"),
        ({"shortcut": "none"}, "CifarResNet: shortcut must be"),
        ({"activation": "gelu"}, "CifarResNet: activation must be one of"),
        ({"survival": 1.5}, "CifarResNet: survival must be a probability"),
        ({"survival": 0.5, "residual": False}, "and 1 if residual=False"),
        ({"width": 0}, "CifarResNet: width must be a whole number"),
    ],
)
def test_bad_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        small(**options)


def test_images_must_be_images():
    with pytest.raises(ValueError, match="CifarResNet: images must be"):
        small()(np.zeros((3, 8, 8), np.float32))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_dtype_stays(dtype):
    assert small(survival=0.8).to(dtype).eval()(images(1, 3, 8, 8).astype(dtype)).dtype == dtype


def test_it_runs_on_the_pretend_gpu():
    strict.install()
    model = small(shortcut="projection", survival=0.9).to("strict")
    logits = model(mv.to_device(images(2, 3, 8, 8), "strict"))
    mv.ops.cross_entropy(logits, mv.to_device(np.array([0, 2]), "strict")).backward()
    assert logits.shape == (2, 3)
