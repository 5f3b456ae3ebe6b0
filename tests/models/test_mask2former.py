"""Mask2Former: the published sizes, masked attention step by step, images of odd sizes, and that it learns.

Not here: equality with transformers (tests/parity), the loss (tests/losses), the trained checkpoint.
"""

import copy

import numpy as np
import pytest

import minivis as mv
from minivis import models, nn, ops, optim
from minivis.models.mask2former import Mask2Former, attended_pixels
from minivis.models.pixel_decoder import DeformableAttention, _places, _steps

RNG = np.random.default_rng(5)


def small(**options):
    options = {
        "queries": 5,
        "width": 16,
        "heads": 2,
        "decoder_depth": 3,
        "pixel_depth": 1,
        "levels": 2,
        **options,
    }
    backbone = models.ResNet(
        (1, 1, 1), "basic", widths=(8, 8, 16), stem_width=8, num_classes=0, norm="group", rng=1
    )
    return Mask2Former(backbone, 3, mlp_width=24, pixel_mlp_width=24, groups=4, points=2, rng=2, **options)


def images(*shape):
    return RNG.standard_normal(shape or (2, 3, 32, 48)).astype(np.float32)


def close(a, b, atol=1e-5):
    for x, y in ((a.logits, b.logits), (a.masks, b.masks)):
        np.testing.assert_allclose(x.numpy(), y.numpy(), atol=atol)


@pytest.mark.parametrize("classes, expected", [(133, 47_435_264), (80, 47_421_643), (150, 47_439_633)])
def test_published_sizes_have_their_exact_number_of_parameters(classes, expected):
    with nn.init.skip_init():
        model = models.mask2former_swin_t(classes)
    assert sum(p.size for p in model.parameters()) == expected


def test_with_a_resnet_the_trained_parameters_are_those_of_its_parts():
    with nn.init.skip_init():
        model, swin = models.mask2former_r50(), models.mask2former_swin_t()
        backbones = [sum(p.size for p in m.backbone.parameters()) for m in (model, swin)]
    assert model.backbone.channels == (256, 512, 1024, 2048)
    wider = 256 * (sum(model.backbone.channels) - sum(swin.backbone.channels))  # the four projections
    ours, theirs = (sum(p.size for p in m.parameters()) for m in (model, swin))
    assert ours - backbones[0] == theirs - backbones[1] + wider
    assert ours == 43_983_878


@pytest.mark.parametrize("height, width", [(32, 48), (33, 61), (64, 17)])
def test_images_of_any_size_give_masks_as_large_as_the_finest_map(height, width):
    y = small()(images(2, 3, height, width))
    assert y.logits.shape == (2, 5, 4) and y.masks.shape == (2, 5, -(-height // 4), -(-width // 4))
    assert y.logits.dtype == y.masks.dtype == np.float32 and np.isfinite(y.masks.numpy()).all()
    assert [x.masks.shape for x in y.auxiliary] == [y.masks.shape] * 3


@pytest.mark.parametrize(
    "options", [{"pixel_depth": 0}, {"decoder_depth": 0}, {"levels": 1}, {"levels": 3}, {"mask_width": 6}]
)
def test_other_depths_and_numbers_of_levels(options):
    model = small(**options)
    y = model(images())
    assert y.masks.shape == (2, 5, 8, 12) and len(y.auxiliary) == options.get("decoder_depth", 3)
    assert len(model.pixel_decoder.lateral) == 3 - options.get("levels", 2)


def test_attended_pixels_by_hand():
    logits = np.array(
        [[[[3.0, -1.0], [-1.0, -1.0]], [[-2.0, -2.0], [-2.0, -2.0]], [[1.0, -3.0], [1.0, -3.0]]]]
    )
    mask, reset = attended_pixels(logits, (2, 2))
    assert mask[0].astype(int).tolist() == [[[1, 0], [0, 0]], [[1, 1], [1, 1]], [[1, 0], [1, 0]]]
    assert reset.tolist() == [[False, True, False]]
    # resized first, then compared: 0 counts as inside
    mask, reset = attended_pixels(mv.Tensor(logits), (1, 1))
    assert mask[0, :, 0, 0].tolist() == [True, True, True] and reset.tolist() == [[False, True, True]]
    sigmoid = 1 / (1 + np.exp(-ops.interpolate(logits, size=(3, 5), mode="bilinear")))
    np.testing.assert_array_equal(attended_pixels(logits, (3, 5))[0][:, [0, 2]], (sigmoid >= 0.5)[:, [0, 2]])


def test_a_step_with_every_mask_empty_is_the_unmasked_step():
    masked = small()
    plain = small(masked=False)
    for model in (masked, plain):  # every pixel and every query get opposite embeddings: all logits are -D
        for weight in (model.mask_head[2].weight, model.pixel_decoder.mask_features.weight):
            weight.data[...] = 0
        model.mask_head[2].bias.data[...] = 1
        model.pixel_decoder.mask_features.bias.data[...] = -1
    x = images()
    with nn.looking(masked) as seen, nn.looking(plain) as seen_plain:
        y = masked(x)
        close(y, plain(x))
    assert all(seen[f"layers.{i}.{what}"].all() for i in range(3) for what in ("reset", "mask"))
    assert "layers.0.cross_attn.weights" in seen_plain and "layers.0.mask" not in seen_plain


def test_masked_attention_differs_from_plain_attention():
    found = [small(masked=masked)(IMAGES) for masked in (True, False)]
    assert np.abs(found[0].logits.numpy() - found[1].logits.numpy()).max() > 1e-3
    close(found[0].auxiliary[0], found[1].auxiliary[0])  # before the first layer nothing was masked


def test_without_learned_features_the_queries_start_at_zero_and_predict_after_a_layer():
    model = small(learned_features=False)
    with nn.looking(model) as seen:
        y = model(IMAGES)
    assert model.query_features is None and len(y.auxiliary) == 2
    assert y.logits.dtype == np.float32 and y.masks.shape == (2, 5, 8, 12)
    # nothing was predicted before the first layer, which attends everywhere
    assert [f"layers.{i}.mask" in seen for i in range(3)] == [False, True, True]
    with pytest.raises(ValueError, match="Mask2Former: decoder_depth must be"):
        small(learned_features=False, decoder_depth=0)


def test_the_order_of_a_layer_and_the_place_of_its_norms_can_be_maskformers():
    plain = small()
    for options in ({"self_first": True}, {"norm_first": True}):
        other = small(**options)
        other.load_state_dict(plain.state_dict())
        assert np.abs(other(IMAGES).logits.numpy() - plain(IMAGES).logits.numpy()).max() > 1e-3
    # before the map was read, self-attention sees the same queries for every image
    changed = small(self_first=True)
    with nn.looking(changed) as seen:
        changed(IMAGES)
    first = seen["layers.0.self_attn.weights"]
    np.testing.assert_allclose(first[0], first[1], atol=1e-6)
    with nn.looking(plain) as seen:
        plain(IMAGES)
    first = seen["layers.0.self_attn.weights"]
    assert np.abs(first[0] - first[1]).max() > 1e-4


IMAGES = images()


def test_weights_lie_inside_the_masks_and_sum_to_one():
    model = small()
    with nn.looking(model) as seen:
        y = model(IMAGES)
    assert {type(a) for a in seen.values()} == {np.ndarray}
    # coarsest first, in turn
    assert [seen[f"layers.{i}.grid"].tolist() for i in range(3)] == [[2, 3], [4, 6], [2, 3]]
    for i, before in enumerate(y.auxiliary):
        rows, columns = seen[f"layers.{i}.grid"]
        cross = seen[f"layers.{i}.cross_attn.weights"]
        assert cross.shape == (2, 2, 5, rows * columns)
        assert seen[f"layers.{i}.self_attn.weights"].shape == (2, 2, 5, 5)
        mask, reset = attended_pixels(before.masks, (rows, columns))
        np.testing.assert_array_equal(seen[f"layers.{i}.mask"], mask)
        np.testing.assert_array_equal(seen[f"layers.{i}.reset"], reset)
        outside = np.broadcast_to(~mask.reshape(2, 1, 5, -1), cross.shape)
        assert not cross[outside].any()
        np.testing.assert_allclose(cross.sum(axis=-1), 1, atol=1e-5)
    assert any((~seen[f"layers.{i}.mask"]).any() for i in range(3))


def test_what_lies_outside_its_mask_cannot_reach_a_query():
    layer = small().layers[0]
    value = images(1, 7, 16)
    mask = RNG.random((1, 5, 7)) < 0.5
    mask[0, :, 0] = False  # no query attends to pixel 0
    mask[0, :, 1] = True
    queries = images(1, 5, 16)
    positions = images(5, 16)
    code = images(7, 16)
    moved = value.copy()
    moved[0, 0] += 100
    found = [layer(mv.Tensor(queries), positions, v + code, v, mask)[0].numpy() for v in (value, moved)]
    np.testing.assert_array_equal(*found)


def test_the_decision_where_to_look_has_no_gradient():
    model = small()
    model(IMAGES).logits.sum().backward()  # the last classes depend on masks only through attention
    assert all(p.grad is None for layer in model.mask_head for p in layer.parameters())
    assert model.pixel_decoder.mask_features.weight.grad is None
    assert model.query_features.grad.any()


def test_permuting_the_queries_permutes_the_answers():
    model = small()
    y = model(IMAGES)
    order = RNG.permutation(5)
    for table in (model.query_features, model.query_positions):
        table.data = table.data[order]
    z = model(IMAGES)
    np.testing.assert_allclose(z.logits.numpy(), y.logits.numpy()[:, order], atol=1e-5)
    np.testing.assert_allclose(z.masks.numpy(), y.masks.numpy()[:, order], atol=1e-4)


def test_images_of_a_batch_do_not_meet():
    model = small()
    together = model(IMAGES)
    for b in range(2):
        alone = model(IMAGES[b : b + 1])
        np.testing.assert_allclose(together.logits.numpy()[b], alone.logits.numpy()[0], atol=1e-5)
        np.testing.assert_allclose(together.masks.numpy()[b], alone.masks.numpy()[0], atol=1e-4)


def test_the_first_prediction_knows_the_queries_and_not_the_image():
    first = small()(IMAGES).auxiliary[0]
    np.testing.assert_array_equal(first.logits.numpy()[0], first.logits.numpy()[1])
    assert not np.array_equal(first.masks.numpy()[0], first.masks.numpy()[1])


def test_heads_start_looking_in_all_directions_one_step_after_another():
    attention = DeformableAttention(8, 4, 2, 3, np.random.default_rng(0))
    star = attention.offsets.bias.data.reshape(4, 2, 3, 2)
    np.testing.assert_allclose(star[:, 1, 0], [[1, 0], [0, 1], [-1, 0], [0, -1]], atol=1e-6)
    np.testing.assert_allclose(star[:, 0, 2], 3 * star[:, 0, 0], atol=1e-6)
    assert not attention.offsets.weight.data.any() and not attention.weights.weight.data.any()


def test_deformable_attention_with_its_offsets_at_zero_gathers_its_own_place():
    attention = DeformableAttention(8, 2, 1, 2, np.random.default_rng(0))
    attention.offsets.bias.data[...] = 0
    tokens = images(1, 6, 8)
    shapes = [(2, 3)]
    tokens = images(1, 6, 8)
    shapes = ((2, 3),)
    where = _places(shapes, 4, "float32"), _steps(shapes, 2, 2, "float32")
    y = attention(mv.Tensor(tokens), np.zeros((6, 8), np.float32), *where, shapes)
    expected = attention.out(attention.value(tokens))
    np.testing.assert_allclose(y.numpy(), expected.numpy(), atol=1e-5)


def test_dropout_is_off_in_evaluation():
    noisy = small(dropout=0.3)
    quiet = small()
    assert not np.array_equal(noisy(IMAGES).logits.numpy(), noisy(IMAGES).logits.numpy())
    close(noisy.eval()(IMAGES), quiet(IMAGES))


def test_the_same_answers_and_gradients_on_a_device(device):
    found = []
    for where in ("cpu", device):
        model = small().to(where)
        y = model(mv.to_device(IMAGES, where))
        ((y.logits * y.logits).sum() + y.masks.mean() + y.auxiliary[1].masks.mean()).backward()
        grads = [mv.to_numpy(p.grad) for p in model.parameters() if p.grad is not None]
        found.append([y.logits.numpy(), y.masks.numpy(), *grads])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * max(1, np.abs(b).max()))


def test_gradients_agree_with_finite_differences():
    model = small().to("float64")
    x = IMAGES[:1].astype(np.float64)
    parameters = dict(model.named_parameters())
    # off the pixel centres, where bilinear has kinks
    parameters["pixel_decoder.layers.0.attn.offsets.bias"].data += 0.2
    g = RNG.standard_normal((1, 5, 8, 12))

    def loss():
        y = model(x)
        return (y.masks * g).sum() + (y.auxiliary[1].logits * y.logits).sum()

    loss().backward()
    for name in (
        "pixel_decoder.layers.0.attn.offsets.weight",
        "query_positions",
        "pixel_decoder.level_embed",
        "level_embed",
    ):
        p = parameters[name]
        v = RNG.standard_normal(parameters[name].shape)
        start = p.data
        ends = []
        for step in (1e-6, -1e-6):
            p.data = start + step * v
            ends.append(float(loss()))
        p.data = start
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(float((p.grad * v).sum()), rel=1e-4, abs=1e-6), (
            name
        )


def test_it_learns_the_masks_it_sees_and_every_parameter_takes_part():
    model = small()
    x = images(4, 3, 32, 32)
    target = np.zeros((4, 5, 8, 8), np.float32)
    for b in range(4):
        target[b, 0, 2 * b : 2 * b + 2] = target[b, 1, :, 2 * b : 2 * b + 2] = 1
    kinds = RNG.integers(0, 4, (4, 5))
    before = copy.deepcopy(model.state_dict())
    optimiser = optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        y = model(x)
        loss = 0
        for one in (*y.auxiliary, y):
            loss = loss + ops.binary_cross_entropy_with_logits(one.masks, target)
            loss = loss + ops.cross_entropy(one.logits.reshape(20, 4), kinds.ravel())
        loss.backward()
        optim.clip_grad_norm(model, 1.0)
        optimiser.step()
        losses.append(float(loss))
    assert losses[-1] < 0.25 * losses[0]
    for name, value in model.state_dict().items():
        if not name.endswith("key.bias"):  # it shifts all scores of a query equally
            assert not np.array_equal(value, before[name]), name


def test_it_is_saved_with_its_backbone(tmp_path):
    model = small()
    mv.save(model, tmp_path / "model.safetensors")
    again = mv.load(tmp_path / "model.safetensors")
    close(again(IMAGES), model(IMAGES), atol=0)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: small(levels=4), "Mask2Former: levels=4, but the backbone has 3 maps"),
        (lambda: small(queries=0), "Mask2Former: queries must be a whole number of at least 1, got 0"),
        (lambda: small(heads=3), "Mask2Former: 3 heads do not divide the width 16"),
        (lambda: small(width=18), "GroupNorm: 4 groups do not divide 18 channels"),
        (lambda: small()(images(3, 32, 32)), r"images must be \(B, C, H, W\)"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_empty_batch_gives_empty_answers():
    model = small()
    with nn.looking(model) as seen:
        y = model(np.zeros((0, 3, 32, 48), np.float32))
    assert y.logits.shape == (0, 5, 4) and y.masks.shape == (0, 5, 8, 12)
    assert seen["layers.1.cross_attn.weights"].shape == (0, 2, 5, 24)
