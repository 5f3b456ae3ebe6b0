"""ViT: the published sizes, the equations, images of other sizes, and that it learns.

Not here: equality with transformers (tests/parity), the training recipe.
"""

import numpy as np
import pytest

import minivis as mv
from minivis import models, nn, optim
from minivis.models import ViT
from minivis.vision import patchify

RNG = np.random.default_rng(4)
PUBLISHED = {
    "vit_ti16": (224, 5_717_416),
    "vit_s16": (224, 22_050_664),
    "vit_b16": (224, 86_567_656),
    "vit_b16 at 384": (384, 86_859_496),
    "vit_b32 at 384": (384, 88_297_192),
    "vit_l16": (224, 304_326_632),
    "vit_l32 at 384": (384, 306_632_680),
    "vit_hybrid_b16": (384, 98_950_952),
    "deit_ti16": (224, 5_910_800),
    "deit_s16": (224, 22_436_432),
    "deit_b16": (224, 87_338_192),
}


def small(**options):
    options = {"num_classes": 3, "channels": 2, **options}
    return ViT((8, 12), 4, 16, 2, 4, **options)


def images(*shape):
    return RNG.standard_normal(shape or (2, 2, 8, 12)).astype(np.float32)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_have_their_exact_number_of_parameters(name):
    size, expected = PUBLISHED[name]
    with nn.init.skip_init():
        model = getattr(models, name.split()[0])(image_size=size)
    assert sum(p.size for p in model.parameters()) == expected
    assert len(model.state_dict()) == len(model.parameters())


def test_vit_h14_has_the_published_encoder():
    with nn.init.skip_init():
        model = models.vit_h14(num_classes=0)
    pooler = 1280 * 1280 + 1280  # the published checkpoint has one
    assert sum(p.size for p in model.parameters()) + pooler == 632_404_480


@pytest.mark.parametrize(
    ("name", "patch", "parameters"),
    [
        ("vit_ti16", 16, 5_524_416),
        ("vit_s16", 16, 21_665_664),
        ("vit_s16", 8, 21_670_272),
        ("vit_b16", 16, 85_798_656),
        ("vit_b16", 8, 85_807_872),
    ],
)
def test_without_a_head_they_are_the_backbones_of_dino(name, patch, parameters):
    with nn.init.skip_init():
        model = getattr(models, name)(num_classes=0, patch_size=patch)
    assert sum(p.size for p in model.parameters()) == parameters


def test_the_smallest_published_size_runs_for_real():
    model = models.vit_ti16(num_classes=7, rng=3)
    y = model(images(1, 3, 224, 224))
    assert y.shape == (1, 7) and y.dtype == np.float32 and np.isfinite(y.numpy()).all()
    assert {p.dtype.name for p in model.parameters()} == {"float32"}


def test_equation_1_by_hand():
    model, x = small(), images()
    seen = []
    model.blocks = []
    model.norm = lambda z: seen.append(z) or z
    model(x)
    proj = model.patch_embed.proj
    rows = proj.weight.data.transpose(0, 2, 3, 1).reshape(16, -1)
    embedded = patchify(x, 4) @ rows.T + proj.bias.data
    expected = (
        np.concatenate([np.broadcast_to(model.cls_token.data, (2, 1, 16)), embedded], 1)
        + model.pos_embed.data
    )
    np.testing.assert_allclose(seen[0].numpy(), expected, atol=1e-5)


def test_without_position_codes_shuffled_patches_give_the_same_logits():
    model, x = small(), images()
    model.pos_embed.data[...] = 0
    tokens = patchify(x, 4)
    shuffled = mv.vision.unpatchify(tokens[:, RNG.permutation(6)], 4, 8, 12)
    np.testing.assert_allclose(model(shuffled).numpy(), model(x).numpy(), atol=1e-5)
    model.pos_embed.data += images(*model.pos_embed.shape)
    assert np.abs(model(shuffled).numpy() - model(x).numpy()).max() > 1e-3


def test_the_mean_of_the_patches_can_be_read_instead_of_a_class_token():
    model = small(pool="mean")
    x = images()
    assert model.cls_token is None and model.pos_embed.shape == (1, 6, 16)
    expected = model.features(x).numpy().mean(axis=1) @ model.head.weight.data.T + model.head.bias.data
    np.testing.assert_allclose(model(x).numpy(), expected, atol=1e-6)
    assert [w.shape for w in model.attention_maps(x)] == [(2, 4, 6, 6)] * 2


def test_without_a_head_features_are_returned():
    model = small(num_classes=0)
    x = images()
    np.testing.assert_array_equal(model(x).numpy(), model.features(x).numpy()[:, 0])
    assert model.features(x).shape == (2, 7, 16)


def test_images_of_another_size_stretch_the_position_table():
    model = small()
    assert model(images(1, 2, 16, 8)).shape == (1, 3)
    assert model.attention_maps(images(1, 2, 16, 8))[0].shape == (1, 4, 9, 9)
    model(images(1, 2, 16, 8)).sum().backward()
    assert np.abs(model.pos_embed.grad).min() > 0


def test_the_rule_for_other_sizes_can_be_chosen():
    x = images(1, 2, 4, 8)
    found = [
        small(rng=0, **options).features(x).numpy()
        for options in ({}, {"interpolate_offset": 0.1}, {"antialias": True})
    ]
    assert np.abs(found[0] - found[1]).max() > 1e-4 and np.abs(found[0] - found[2]).max() > 1e-4


def test_attention_maps_sum_to_one_and_keep_no_graph():
    model = small().eval()
    maps = model.attention_maps(images())
    assert all(type(a) is np.ndarray for a in maps)
    np.testing.assert_allclose(np.stack(maps).sum(axis=-1), 1, atol=1e-5)


def test_dropout_and_drop_path_are_off_unless_asked_and_rise_with_depth():
    model, x = small(), images()
    np.testing.assert_array_equal(model(x).numpy(), model(x).numpy())
    noisy = small(dropout=0.1, drop_path=0.3)
    assert not np.array_equal(noisy(x).numpy(), noisy(x).numpy())
    np.testing.assert_array_equal(noisy.eval()(x).numpy(), model(x).numpy())
    rates = [block.drop_path.p for block in ViT(8, 4, 8, 4, 2, drop_path=0.3).blocks]
    np.testing.assert_allclose(rates, [0, 0.1, 0.2, 0.3])


def test_the_same_logits_and_gradients_on_a_device(device):
    found = []
    x = images()
    for where in ("cpu", device):
        model = small().to(where)
        y = model(mv.to_device(x, where))
        mv.ops.cross_entropy(y, mv.to_device(np.array([0, 2]), where)).backward()
        found.append([y.numpy(), *(mv.to_numpy(p.grad) for p in model.parameters())])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_it_learns_the_images_it_sees_and_every_parameter_takes_part():
    model = small(rng=0)
    x = images(12, 2, 8, 12)
    target = RNG.integers(0, 3, 12)
    before = model.state_dict()
    optimiser = optim.AdamW(optim.decay_groups(model, 0.01), lr=3e-3)
    for _ in range(60):
        optimiser.zero_grad()
        loss = mv.ops.cross_entropy(model(x), target)
        loss.backward()
        optim.clip_grad_norm(model, 1.0)
        optimiser.step()
    assert float(loss) < 0.1
    for name, value in model.state_dict().items():
        assert not np.array_equal(value, before[name]), name


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: ViT(8, 0), "ViT: patch_size must be a whole number of at least 1, got 0"),
        (lambda: ViT(8, 3), "ViT: patches of 3 x 3 do not fill an image of 8 x 8"),
        (lambda: ViT(8, 4, 8, 1, 3), "MultiHeadAttention: 3 heads do not divide embed_dim 8"),
        (lambda: small(pool="mean", distilled=True), 'ViT: distilled needs pool="token"'),
        (lambda: small(pool="max"), 'ViT: pool must be "token" or "mean"'),
        (lambda: small()(images(1, 2, 9, 12)), "ViT: patches of 4 x 4 do not fill an image of 9 x 12"),
        (lambda: small()(images(1, 3, 8, 12)), "conv2d: x has C=3 channels but weight expects C=2"),
        (lambda: small()(images(2, 8, 12)), r"ViT: images must be \(B, C, H, W\)"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_empty_batch_gives_empty_logits():
    assert small()(np.zeros((0, 2, 8, 12), np.float32)).shape == (0, 3)


def test_a_distilled_model_answers_with_the_mean_of_two_heads_and_trains_each():
    model = small(distilled=True)
    x = images()
    assert model.pos_embed.shape == (1, 8, 16) and model.attention_maps(x)[0].shape == (2, 4, 8, 8)
    by_labels, by_teacher = model(x)
    tokens = model.features(x).numpy()
    expected = tokens[:, 1] @ model.head_dist.weight.data.T + model.head_dist.bias.data
    np.testing.assert_allclose(by_teacher.numpy(), expected, atol=1e-6)
    mean = (by_labels.numpy() + by_teacher.numpy()) / 2
    np.testing.assert_allclose(model.eval()(x).numpy(), mean, atol=1e-6)
    assert np.abs(by_labels.numpy() - by_teacher.numpy()).max() > 1e-3
    (by_labels.sum() - 2 * by_teacher.sum()).backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model(images(1, 2, 16, 8)).shape == (1, 3)  # both learned tokens keep their codes


# ---------------------------------------------------------------------------------------------------------------------
# The hybrid


def backbone(**options):
    options = {"depths": (1, 1), "widths": (8, 12), "stem_width": 8, **options}
    return models.ResNet(kind="basic", num_classes=0, channels=2, rng=0, **options)


def hybrid(patch=1, **options):
    return ViT((24, 34), patch, 16, 2, 4, num_classes=3, backbone=backbone(**options), rng=0)


def test_the_hybrid_reads_the_map_of_its_backbone():
    model = hybrid()
    x = images(2, 2, 24, 34)
    model.eval()
    (last,) = model.backbone.features(x)[1:]
    assert last.shape == (2, 12, 3, 5) and model.grid == (3, 5)
    plain = ViT((3, 5), 1, 16, 2, 4, num_classes=3, channels=12, rng=1)
    own = {n: a for n, a in model.state_dict().items() if not n.startswith("backbone.")}
    plain.load_state_dict(own)
    np.testing.assert_array_equal(model(x).numpy(), plain(last).numpy())
    assert model.attention_maps(x)[0].shape == (2, 4, 16, 16)


def test_the_hybrid_trains_its_backbone_and_takes_other_sizes():
    model = hybrid()
    (model(images(2, 2, 32, 48)) ** 2).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.backbone.parameters())


def test_patches_of_the_hybrid_fill_the_map():
    assert hybrid((3, 5)).grid == (1, 1)
    assert hybrid(1, depths=(1, 1), dilated=True).grid == (6, 9)
    with pytest.raises(
        ValueError, match="2 x 2 do not fill the backbone.s map of 3 x 5 cells for an image of 24 x 34 pixels"
    ):
        hybrid(2)


def test_the_hybrid_comes_back_from_disk(tmp_path):
    model = hybrid()
    x = images(1, 2, 24, 34)
    model.eval()
    mv.save(model, tmp_path)
    np.testing.assert_array_equal(mv.load(tmp_path)(x).numpy(), model(x).numpy())
