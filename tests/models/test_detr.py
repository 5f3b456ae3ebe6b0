"""DETR: the published sizes, padding and permutations, where codes are added, the mask head, and that it learns.

Not here: equality with transformers (tests/parity), names in published files (tests/pretrained), the loss (tests/losses).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import models, nn, optim
from minivis.models import DETR, ResNet
from minivis.models.detr import POSITIONS
from minivis.models.detr_panoptic import MaskAttention, MaskHead

RNG = np.random.default_rng(21)


def array(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


SMALL = {
    "num_classes": 4,
    "queries": 5,
    "width": 16,
    "heads": 8,
    "encoder_depth": 2,
    "decoder_depth": 3,
    "mlp_width": 24,
    "dropout": 0.0,
}


def small(norm="group", rng=0, **options):
    backbone = ResNet((1, 1, 1), "basic", (8, 8, 16), 8, num_classes=0, norm=norm, rng=rng)
    return DETR(backbone, rng=rng, **{**SMALL, **options})


def everything(output):
    """All arrays of a DETROutput."""
    return [output.logits, output.boxes] + [x for a in output.auxiliary for x in (a.logits, a.boxes)]


@pytest.mark.parametrize(
    "name, options, parameters, entries",
    [
        ("detr_r50", {}, 41_524_768, 530),
        ("detr_r101", {}, 60_464_672, 785),
        ("detr_r50_dc5", {}, 41_524_768, 530),
        ("detr_r50", {"num_classes": 250, "masks": True}, 42_899_288, 562),
    ],
)
def test_published_sizes_have_their_exact_number_of_parameters(name, options, parameters, entries):
    with nn.init.skip_init():
        model = getattr(models, name)(**options)
    assert sum(p.size for p in model.parameters()) == parameters
    assert len(model.state_dict()) == entries
    if name == "detr_r50" and not options:
        model.backbone.freeze(1)
        assert sum(p.size for p in model.parameters() if p.requires_grad) == 41_302_368
        assert sum(b.size for _, b in model.named_buffers()) == 106_240


def test_dc5_has_twice_the_rows_and_columns():
    with nn.init.skip_init():
        plain, dilated = models.detr_r50().backbone, models.detr_r50_dc5().backbone
    x = np.zeros((1, 3, 64, 96), np.float32)
    with mv.no_grad():
        assert plain.features(x)[-1].shape == (1, 2048, 2, 3)
        assert dilated.features(x)[-1].shape == (1, 2048, 4, 6)


def test_one_class_and_one_box_for_each_query_after_every_layer():
    model = small()
    output = model(array(2, 3, 64, 48))
    assert output.logits.shape == (2, 5, 5) and output.boxes.shape == (2, 5, 4)
    assert [a.logits.shape for a in output.auxiliary] == [(2, 5, 5)] * 2
    assert all(x.dtype == np.float32 and np.isfinite(x.numpy()).all() for x in everything(output))
    boxes = output.boxes.numpy()
    assert boxes.min() > 0 and boxes.max() < 1
    assert output.masks is None


def test_auxiliary_answers_are_those_of_a_decoder_cut_short():
    model = small()
    x = array(1, 3, 64, 64)
    earlier = model(x).auxiliary
    for count in (1, 2):
        short = small(decoder_depth=3)
        short.transformer.decoder = short.transformer.decoder[:count]
        np.testing.assert_allclose(short(x).boxes.numpy(), earlier[count - 1].boxes.numpy(), atol=1e-6)


def test_permuting_the_queries_permutes_the_answers():
    model = small(masks=True)
    x = array(2, 3, 64, 48)
    order = RNG.permutation(5)
    before = model(x)
    model.queries.data = model.queries.data[order]
    after = model(x)
    for a, b in zip([*everything(before), before.masks], [*everything(after), after.masks], strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy()[:, order], atol=2e-5)
        assert np.abs(b.numpy() - a.numpy()).max() > 1e-3


def test_without_codes_the_places_of_the_tokens_do_not_matter():
    source = array(1, 16, 3, 4)
    shuffled = source.reshape(1, 16, 12)[..., RNG.permutation(12)].reshape(source.shape)
    for position in POSITIONS:
        model = small(position=position)
        (a, _), (b, _) = model.transform(source), model.transform(shuffled)
        same = np.allclose(a.numpy(), b.numpy(), atol=1e-5)
        assert same == (position == "none"), position


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("norm_first", [False, True])
def test_padded_tokens_change_nothing_in_the_transformer(position, norm_first):
    model = small(position=position, norm_first=norm_first)
    source = array(2, 16, 4, 5)
    valid = np.zeros((2, 4, 5), bool)
    valid[0, :3, :4] = valid[1, :4, :2] = True
    states, _ = model.transform(source, valid)
    noisy = np.where(valid[:, None], source, 100 * array(*source.shape))
    again, _ = model.transform(noisy, valid)
    np.testing.assert_array_equal(again.numpy(), states.numpy())  # not even by rounding
    alone, _ = model.transform(source[:1, :, :3, :4])
    np.testing.assert_allclose(alone.numpy()[:, 0], states.numpy()[:, 0], atol=1e-5)


def test_the_mask_head_does_not_look_at_padding():
    attention = MaskAttention(16, 2, np.random.default_rng(0))
    queries, memory = array(1, 3, 16), array(1, 6, 16)
    valid = np.array([[True, True, True, True, False, False]])
    weights = attention(queries, memory, valid).numpy()
    assert (weights[..., 4:] == 0).all()
    np.testing.assert_allclose(weights[..., :4], attention(queries, memory[:, :4]).numpy(), atol=1e-6)


def test_an_image_that_is_all_padding_gives_numbers():
    model = small(masks=True)
    mask = np.ones((2, 64, 48), bool)
    mask[0] = False
    images = mv.Tensor(array(2, 3, 64, 48), requires_grad=True)
    output = model(images, mask)
    total = sum(x.sum() for x in [*everything(output), output.masks])
    total.backward()
    assert all(np.isfinite(x.numpy()).all() for x in [*everything(output), output.masks])
    assert np.isfinite(images.grad).all() and all(np.isfinite(p.grad).all() for p in model.parameters())
    alone = model(images.data[1:], mask[1:])
    np.testing.assert_allclose(output.logits.numpy()[1], alone.logits.numpy()[0], atol=1e-5)


def test_a_mask_of_ones_is_no_mask():
    model = small(masks=True)
    x = array(2, 3, 47, 61)
    a = model(x)
    b = model(x, np.ones((2, 47, 61), bool))
    for one, other in zip([*everything(a), a.masks], [*everything(b), b.masks], strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-5)


def test_the_mask_shrinks_to_the_nearest_pixel():
    mask = np.zeros((1, 33, 64), bool)
    mask[0, :20, :33] = True
    shrunk = DETR._shrink(mask, np.zeros((1, 3, 33, 64)), (3, 4))
    # floor(i * 33 / 3), floor(j * 64 / 4)
    rows = [0, 11, 22]
    columns = [0, 16, 32, 48]
    np.testing.assert_array_equal(shrunk[0], mask[0][np.ix_(rows, columns)])


def test_codes_are_added_where_the_row_of_table_3_says(monkeypatch):
    seen = []
    original = nn.MultiHeadAttention.forward

    def spy(self, query, key=None, value=None, mask=None, **options):
        seen.append((np.abs(query.numpy() - value.numpy()).max() > 0 if query.shape == value.shape else None,
                     np.abs(key.numpy() - value.numpy()).max() > 0))  # fmt: skip
        return original(self, query, key, value, mask, **options)

    monkeypatch.setattr(nn.MultiHeadAttention, "forward", spy)
    expected = {  # (encoder, decoder self, decoder cross): is a code added to the keys?
        "none": (False, False, False),
        "sine_input": (False, False, False),
        "learned_attention": (True, True, True),
        "sine_decoder": (False, True, True),
        "sine_attention": (True, True, True),
    }
    for position in POSITIONS:
        seen.clear()
        small(position=position, encoder_depth=1, decoder_depth=1).transform(array(1, 16, 3, 4))
        assert tuple(key for _, key in seen) == expected[position], position
        assert seen[0][0] == seen[0][1] and seen[1][0] == seen[1][1]


def test_attention_is_seen_from_outside_and_leaves_the_answers_alone():
    model = small()
    x = array(2, 3, 64, 48)
    mask = np.ones((2, 64, 48), bool)
    mask[1, 32:] = False
    plain = model(x, mask)
    with nn.looking(model) as seen:
        output = model(x, mask)
    np.testing.assert_allclose(output.logits.numpy(), plain.logits.numpy(), atol=1e-6)
    assert seen.pop("grid").tolist() == [4, 3]
    expected = {f"transformer.encoder.{i}.self_attn.weights": (2, 8, 12, 12) for i in range(2)}
    for i in range(3):
        expected[f"transformer.decoder.{i}.self_attn.weights"] = (2, 8, 5, 5)
        expected[f"transformer.decoder.{i}.cross_attn.weights"] = (2, 8, 5, 12)
    assert {name: a.shape for name, a in seen.items()} == expected
    for weights in seen.values():
        assert type(weights) is np.ndarray
        np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-5)
    # the lower half of the second image is padding
    assert (seen["transformer.decoder.0.cross_attn.weights"][1, :, :, 6:] == 0).all()


def test_the_softmax_of_the_mask_head_runs_over_heads_and_places_together():
    attention = MaskAttention(16, 4, np.random.default_rng(3))
    with nn.looking(attention) as seen:
        weights = attention(10 * array(2, 3, 16), array(2, 6, 16)).numpy()
    np.testing.assert_array_equal(seen["weights"], weights.swapaxes(1, 2))  # (B, h, Q, N)
    assert weights.shape == (2, 3, 4, 6)
    np.testing.assert_allclose(weights.sum(axis=(2, 3)), 1, atol=1e-5)
    assert np.abs(weights.sum(axis=3) - 0.25).max() > 0.1  # the shares of the heads are not equal


def test_the_shared_part_of_the_mask_heads_first_layer_is_the_convolution_of_everything():
    head = MaskHead(16, 8, (4,), rng=0)
    head.convs[0].bias.data[...] = array(24)
    source, looks = array(2, 16, 3, 4), array(6, 8, 3, 4)
    both = np.concatenate([source.repeat(3, axis=0), looks], axis=1)
    got = head._first_conv(mv.Tensor(source), mv.Tensor(looks), None).numpy()
    np.testing.assert_allclose(got, head.convs[0](both).numpy(), atol=1e-5)


def test_chosen_masks_are_those_of_all():
    model = small(masks=True)
    x = array(3, 3, 64, 48)
    rows = np.array([0, 2, 2, 0]), np.array([4, 1, 0, 4])
    seen = []
    output = model(x, choose=lambda answers: seen.append(answers.logits) or rows)
    assert output.masks.shape == (4, 16, 12) and seen[0] is output.logits
    every = model(x).masks
    np.testing.assert_allclose(output.masks.numpy(), every.numpy()[rows], atol=1e-5)
    g = array(4, 16, 12)
    output.masks.backward(g)
    found = [None if p.grad is None else p.grad.copy() for p in model.parameters()]
    model.zero_grad()
    every[rows].backward(g)
    for p, a in zip(model.parameters(), found, strict=True):
        assert (a is None) == (p.grad is None)
        if a is not None:
            np.testing.assert_allclose(a, p.grad, atol=1e-3)
    assert model(x, choose=lambda _: (np.zeros(0, int), np.zeros(0, int))).masks.shape == (0, 16, 12)


@pytest.mark.parametrize("size", [(64, 64), (45, 71)])
def test_masks_have_a_quarter_of_the_images_resolution(size):
    output = small(masks=True)(array(2, 3, *size))
    assert output.masks.shape == (2, 5, -(-size[0] // 4), -(-size[1] // 4))


def test_any_map_of_any_backbone_can_become_tokens():
    class Stripes(nn.Module):
        channels = (3, 3)

        def features(self, images):
            return [mv.ops.avg_pool2d(images, 4), mv.ops.avg_pool2d(images, 8)]

    for level, cells in ((-1, 4 * 3), (0, 8 * 6), (-2, 8 * 6)):
        model = DETR(Stripes(), 2, 3, 16, 2, 1, 1, 8, feature_level=level)
        with nn.looking(model) as seen:
            model(array(1, 3, 32, 24))
        assert seen["transformer.decoder.0.cross_attn.weights"].shape == (1, 2, 3, cells)


def test_dropout_only_in_the_encoder_is_possible():
    noisy = small(dropout=0.3)
    calm = small(dropout=0.3, encoder_depth=0, decoder_dropout=0.0)
    x = array(1, 3, 64, 64)
    assert not np.array_equal(noisy(x).logits.numpy(), noisy(x).logits.numpy())
    np.testing.assert_array_equal(calm(x).logits.numpy(), calm(x).logits.numpy())
    np.testing.assert_array_equal(noisy.eval()(x).logits.numpy(), noisy(x).logits.numpy())


@pytest.mark.parametrize(
    "options", [{}, {"position": "learned_attention", "norm_first": True}, {"position": "sine_input"}]
)
def test_the_same_answers_and_gradients_on_a_device(options, device):
    found = []
    x = array(2, 3, 48, 32)
    mask = np.ones((2, 48, 32), bool)
    mask[1, 20:] = False
    for where in ("cpu", device):
        model = small(masks=True, **options).to(where)
        with nn.looking(model):
            output = model(mv.to_device(x, where), mv.to_device(mask, where))
        chosen = model(mv.to_device(x, where), choose=lambda _: (np.array([1, 1]), np.array([0, 3])))
        answers = [*everything(output), output.masks, chosen.masks]
        sum((y * y).sum() for y in answers).backward()
        grads = [mv.to_numpy(p.grad) for p in model.parameters()]
        found.append([y.numpy() for y in answers] + [g / max(np.abs(g).max() for g in grads) for g in grads])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_float64_stays_float64():
    model = small(masks=True).to("float64")
    output = model(array(1, 3, 32, 32).astype(np.float64))
    assert {x.dtype.name for x in [*everything(output), output.masks]} == {"float64"}


def test_it_learns_boxes_and_every_parameter_takes_part():
    model = small(norm_first=True, masks=True)
    x = array(4, 3, 64, 64)
    target = RNG.uniform(0.2, 0.8, (4, 5, 4)).astype(np.float32)
    labels = RNG.integers(0, 5, (4, 5))
    masks = (RNG.random((4, 5, 16, 16)) < 0.5).astype(np.float32)
    before = model.state_dict()
    optimiser = optim.AdamW(model, lr=3e-3)
    for _ in range(60):
        optimiser.zero_grad()
        output = model(x)
        loss = 0
        for answer in [output, *output.auxiliary]:
            loss = loss + mv.ops.l1_loss(answer.boxes, target)
            loss = loss + mv.ops.cross_entropy(answer.logits.reshape(20, 5), labels.ravel())
        loss = loss + mv.ops.binary_cross_entropy_with_logits(output.masks, masks)
        loss.backward()
        optim.clip_grad_norm(model, 1.0)
        optimiser.step()
    assert np.abs(output.boxes.numpy() - target).mean() < 0.1
    assert (output.logits.numpy().argmax(-1) == labels).mean() > 0.8
    assert not [name for name, value in model.state_dict().items() if np.array_equal(value, before[name])]


def test_it_is_saved_and_loaded_with_its_backbone(tmp_path):
    model = small(rng=3, masks=True, feature_level=1).eval()
    x = array(1, 3, 64, 64)
    mv.save(model, tmp_path)
    loaded = mv.load(tmp_path)
    assert type(loaded.backbone) is ResNet
    np.testing.assert_array_equal(loaded(x).masks.numpy(), model(x).masks.numpy())
    assert not [name for name in model.state_dict() if name.startswith("config")]


def test_an_empty_batch_gives_empty_answers():
    output = small(norm="frozen")(np.zeros((0, 3, 32, 32), np.float32))
    assert output.logits.shape == (0, 5, 5) and output.boxes.shape == (0, 5, 4)


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda: small(position="rotary"),
            "DETR: position must be one of none, sine_input, .*, got 'rotary'",
        ),
        (lambda: small(width=18), "DETR: width must be divisible by 4, for the position codes, got 18"),
        (lambda: small(width=20), "MultiHeadAttention: 8 heads do not divide embed_dim 20"),
        (lambda: small(queries=0), "DETR: queries must be a whole number of at least 1, got 0"),
        (lambda: small(encoder_depth=-1), "DETR: encoder_depth must be a whole number of at least 1"),
        (lambda: small(decoder_depth=0), "DETR: decoder_depth must be a whole number of at least 1"),
        (lambda: small(feature_level=3), "DETR: feature_level 3 is out of range for 3 maps"),
        (lambda: small(heads=2, masks=True), "GroupNorm: 8 groups do not divide 18 channels"),
        (lambda: small()(array(3, 32, 32)), r"DETR: images must be \(B, C, H, W\)"),
        (
            lambda: small()(array(2, 3, 32, 32), np.ones((2, 16, 16), bool)),
            r"DETR: mask must be \(B, H, W\) of the images \(mask: \(2, 16, 16\), images: \(2, 3, 32, 32\)\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_mask_that_is_not_boolean_is_refused():
    with pytest.raises(TypeError, match="DETR: mask must be boolean, True = inside the image, got int64"):
        small()(array(1, 3, 32, 32), np.ones((1, 32, 32), np.int64))
