"""SETR: exact counts, grids that are not square, the class token, the three heads by hand, auxiliary heads; that it learns.

Not here: equality with mmsegmentation's heads (tests/parity), the laws of the heads (tests/laws), a whole training.
"""

import numpy as np
import pytest

import minivis as mv
from minivis import models, nn, ops, optim
from minivis.models import SETR, MLAHead, NaiveHead, PUPHead, ResNet, ViT
from minivis.models.setr import mla_fuse

RNG = np.random.default_rng(73)
HEADS = {"naive": NaiveHead, "pup": PUPHead, "mla": MLAHead}
COUNTS = {  # of ADE at 512 pixels, Cityscapes at 768, Context at 480 with the background
    "setr_naive": (304_450_966, 305_728_019, 304_300_860),
    "setr_pup": (308_319_894, 309_596_947, 308_169_788),
    "setr_mla": (310_030_486, 310_737_427, 309_488_700),
}
ENCODERS = (304_147_456, 305_458_176, 304_020_480)
SIZES = ((512, 150), (768, 19), (480, 60))


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def small(decoder="naive", auxiliary=False, seed=3, **options):
    """A SETR of depth 4 with patches of 4 x 4; the same at each call."""
    pool = options.pop("pool", "token")
    encoder = ViT(16, 4, 16, 4, 2, mlp_ratio=2.0, num_classes=0, pool=pool, final_norm=False, rng=seed)
    return SETR(encoder, 3, decoder, channels=8, auxiliary=auxiliary, rng=seed + 1, **options)


def stirred(model, seed=5):
    """The model with every number changed, running statistics too, so that each one matters."""
    rng = np.random.default_rng(seed)
    state = {name: x for name, x in model.state_dict().items() if x.dtype.kind == "f"}
    for name, x in state.items():
        x[...] = rng.uniform(0.5, 1.5, x.shape) if "var" in name else x + 0.3 * rng.standard_normal(x.shape)
    model.load_state_dict(state, strict=False)
    return model


def fixed(norm):
    """A batch norm with its stored statistics, as a function of a map."""
    scale, shift = norm.weight.data, norm.bias.data
    return lambda x: ((x - norm.running_mean[:, None, None]) / np.sqrt(norm.running_var[:, None, None] + norm.eps)
                      * scale[:, None, None] + shift[:, None, None])  # fmt: skip


@pytest.mark.parametrize("name", COUNTS)
def test_published_sizes_have_their_exact_number_of_parameters(name):
    for (size, classes), expected, encoder in zip(SIZES, COUNTS[name], ENCODERS, strict=True):
        with nn.init.skip_init():
            model = getattr(models, name)(classes, image_size=size)
        assert sum(p.size for p in model.parameters()) == expected
        assert sum(p.size for p in model.encoder.parameters()) == encoder
    assert model.taken == {"setr_naive": (10, 15, 20), "setr_pup": (10, 15, 20, 24)}.get(
        name, (6, 12, 18, 24)
    )
    assert model.encoder.interpolate_mode == "bilinear"


def test_the_parts_of_progressive_upsampling():
    with nn.init.skip_init():
        model = models.setr_pup(19, image_size=768, auxiliary=True)
    count = lambda part: sum(p.size for p in part.parameters())  # noqa: E731
    head = model.head
    assert [count(conv) for conv in head.convs] == [2_359_552] + [590_080] * 3
    assert count(head.norm) == 2_048 and [count(norm) for norm in head.norms] == [512] * 4
    assert count(head.classifier) == 4_883 and count(head) == 4_138_771
    assert [count(part) for part in model.auxiliary_heads] == [2_366_995] * 4
    assert count(model) == 319_064_927


@pytest.mark.parametrize("decoder", HEADS)
def test_images_of_other_sizes_that_are_not_square(decoder):
    model = small(decoder).eval()
    assert isinstance(model.head, HEADS[decoder])
    for size in ((16, 16), (8, 32), (24, 4)):
        assert model(normal(2, 3, *size)).shape == (2, 3, *size)
    assert model(normal(0, 3, 8, 12)).shape == (0, 3, 8, 12)


@pytest.mark.parametrize("decoder", HEADS)
def test_a_turned_image_has_turned_logits(decoder):
    """Rows and columns are treated alike: with every kernel and the position codes transposed, so are the logits."""
    model = stirred(small(decoder, pool="mean")).eval()
    x = normal(1, 3, 12, 20)
    before = model(x).numpy()
    state = model.state_dict()
    state |= {name: x.swapaxes(2, 3) for name, x in state.items() if x.ndim == 4}
    codes = state["encoder.pos_embed"].reshape(1, 4, 4, 16)
    model.load_state_dict({**state, "encoder.pos_embed": codes.swapaxes(1, 2).reshape(1, 16, 16)})
    after = model(np.ascontiguousarray(x.swapaxes(2, 3))).numpy()
    np.testing.assert_allclose(after.swapaxes(2, 3), before, atol=1e-4 * np.abs(before).max())


def test_naive_by_hand():
    head = stirred(NaiveHead(6, 3, channels=4)).eval()
    tokens = normal(2, 6, 6)
    z = head.norm(tokens).numpy()
    z = z.reshape(2, 2, 3, 6).transpose(0, 3, 1, 2)  # row by row
    w = head.conv.weight.data[:, :, 0, 0]
    b = head.conv.bias.data
    hidden = np.maximum(0, fixed(head.conv_norm)(np.einsum("oc,bcij->boij", w, z) + b[:, None, None]))
    w = head.classifier.weight.data[:, :, 0, 0]
    b = head.classifier.bias.data
    expected = np.einsum("oc,bcij->boij", w, hidden) + b[:, None, None]
    np.testing.assert_allclose(head(tokens, (2, 3)).numpy(), expected, atol=1e-5)


def test_progressive_upsampling_by_hand():
    """The last 1 x 1 convolution before the last enlargement gives what it gives after it."""
    head = stirred(PUPHead(6, 3, channels=4, convs=3)).eval()
    tokens = normal(2, 6, 6)
    x = head.norm(tokens).numpy().reshape(2, 3, 2, 6).transpose(0, 3, 1, 2)
    for conv, norm in zip(head.convs, head.norms, strict=True):
        x = np.maximum(0, fixed(norm)(ops.conv2d(x, conv.weight.data, conv.bias.data, padding=1)))
        x = ops.interpolate(x, scale_factor=2, mode="bilinear")
    expected = ops.conv2d(x, head.classifier.weight.data, head.classifier.bias.data)
    with nn.looking(head) as seen:
        found = head(tokens, (3, 2)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.shape == (2, 3, 24, 16) and [x.shape[2:] for x in seen.values()] == [(3, 2), (6, 4), (12, 8)]


def test_multi_level_aggregation_by_hand():
    head = stirred(MLAHead(6, 3, streams=3, channels=4)).eval()
    tokens = [normal(2, 6, 6) for _ in range(3)]
    maps = [norm(x).numpy().reshape(2, 2, 3, 6).transpose(0, 3, 1, 2) for norm, x in zip(head.norms, tokens, strict=True)]  # fmt: skip
    low = [lateral(x).numpy() for lateral, x in zip(head.laterals, maps, strict=True)]
    sums = [low[0] + low[1] + low[2], low[1] + low[2], low[2]]
    streams = [narrow(conv(x)) for narrow, conv, x in zip(head.narrow, head.convs, sums, strict=True)]
    enlarged = [ops.interpolate(x.numpy(), (8, 12), mode="bilinear", align_corners=True) for x in streams]
    expected = ops.conv2d(
        np.concatenate(enlarged, axis=1), head.classifier.weight.data, head.classifier.bias.data, padding=1
    )
    found = head(tokens, (2, 3)).numpy()
    assert found.shape == (2, 3, 8, 12)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    other = MLAHead(6, 3, streams=3, channels=4, align_corners=False).eval()
    other.load_state_dict(head.state_dict())
    assert np.abs(other(tokens, (2, 3)).numpy() - found).max() > 1e-3


def test_the_deepest_map_reaches_all_streams():
    head = stirred(MLAHead(6, 3, streams=3, channels=4)).eval()
    tokens = [normal(1, 4, 6) for _ in range(3)]
    before = [x.numpy() for x in head.fused(tokens, (2, 2))]
    for layer in range(3):
        changed = [x + normal(*x.shape) * (i == layer) for i, x in enumerate(tokens)]
        after = [x.numpy() for x in head.fused(changed, (2, 2))]
        assert [not np.array_equal(a, b) for a, b in zip(after, before, strict=True)] == [i <= layer for i in range(3)]  # fmt: skip


def test_heads_share_an_encoder_and_read_the_chosen_blocks():
    encoder = small().encoder.eval()
    x = normal(1, 3, 16, 8)
    tokens = encoder.tokens_after(x, (1, 3, 4))
    assert [t.shape for t in tokens] == [(1, 1 + 8, 16)] * 3
    model = SETR(encoder, 3, "mla", taken=(1, 3, 4), channels=8).eval()
    expected = model.head([t[:, 1:] for t in tokens], (4, 2))
    np.testing.assert_array_equal(model(x).numpy(), expected.numpy())
    naive = SETR(encoder, 3, channels=8).eval()
    scores = naive.head(tokens[-1][:, 1:], (4, 2)).numpy()
    np.testing.assert_array_equal(naive(x).numpy(), ops.interpolate(scores, (16, 8), mode="bilinear"))
    assert small("mla").taken == (1, 2, 3, 4)


def test_the_class_token_is_removed_by_its_index_and_not_by_counting():
    """With 6 x 8 patches, 48 in all, a rule that counts tokens in units of 48 would keep the class token or lose a patch."""
    for pool in ("token", "mean"):
        model = stirred(small(pool=pool)).eval()
        x = normal(1, 3, 24, 32)
        tokens = model.encoder.tokens_after(x, (4,))[0]
        assert tokens.shape[1] == 48 + (pool == "token")
        scores = model.head(tokens[:, -48:], (6, 8)).numpy()
        np.testing.assert_array_equal(model(x).numpy(), ops.interpolate(scores, (24, 32), mode="bilinear"))


def test_early_drop_of_the_class_token():
    """No patch attends to it: its value and its position code change nothing. Kept in the encoder, they change the logits."""
    x = normal(1, 3, 16, 16)
    for early in (True, False):
        model = stirred(small("mla", drop_class_early=early)).eval()
        before = model(x).numpy()
        model.encoder.cls_token.data += normal(1, 1, 16)
        model.encoder.pos_embed.data[:, 0] += 1
        assert np.array_equal(model(x).numpy(), before) == early
        assert model(normal(1, 3, 8, 16)).shape == (1, 3, 8, 16)


def test_tokens_after_blocks_are_those_of_features_but_for_the_norm():
    vit = stirred(ViT(8, 4, 16, 3, 2, num_classes=0)).eval()
    x = normal(2, 3, 8, 12)
    zero, two, three = vit.tokens_after(x, (0, 2, 3))
    np.testing.assert_array_equal(vit.norm(three).numpy(), vit.features(x).numpy())
    np.testing.assert_array_equal(vit.blocks[1](vit.blocks[0](zero)).numpy(), two.numpy())
    for wrong in ((), (4,), (2, 1), (1, 1), (-1,)):
        with pytest.raises(ValueError, match=r"ViT: blocks must be rising numbers from 0 to 3, got \["):
            vit.tokens_after(x, wrong)


def test_a_table_resized_bilinearly():
    encoder = ViT(16, 4, 8, 1, 2, num_classes=0, final_norm=False, interpolate_mode="bilinear").eval()
    grid = encoder.pos_embed.data[:, 1:].reshape(1, 4, 4, 8).transpose(0, 3, 1, 2)
    codes = ops.interpolate(grid, (2, 6), mode="bilinear").reshape(1, 8, 12).swapaxes(1, 2)
    x = normal(1, 3, 8, 24)
    found = encoder.tokens_after(x, (0,))[0].numpy()[:, 1:] - encoder.patch_embed(x).numpy()
    np.testing.assert_allclose(found, codes, atol=1e-6)
    (z,) = encoder.tokens_after(x, (1,))
    np.testing.assert_array_equal(encoder.features(x).numpy(), z.numpy())  # no norm at the end


@pytest.mark.parametrize("decoder", HEADS)
def test_auxiliary_heads(decoder):
    model = stirred(small(decoder, auxiliary=True, taken=(2, 3))).eval()
    x = normal(1, 3, 8, 16)
    both = model.both(x)
    np.testing.assert_array_equal(both.logits.numpy(), model(x).numpy())
    assert [y.shape for y in both.auxiliary] == [(1, 3, 8, 16)] * 2
    first = model.encoder.tokens_after(x, (2, 3))
    if decoder == "mla":
        scores = model.auxiliary_heads[0](model.head.fused([t[:, 1:] for t in first], (2, 4))[0])
    else:
        scores = model.auxiliary_heads[0](first[0][:, 1:], (2, 4))
    expected = ops.interpolate(scores.numpy(), (8, 16), mode="bilinear")
    np.testing.assert_array_equal(both.auxiliary[0].numpy(), expected)
    with pytest.raises(ValueError, match=r"SETR: this model was made without auxiliary heads"):
        small(decoder).both(x)


def test_a_hybrid_encoder_enlarges_by_the_whole_stride():
    backbone = ResNet((1,), "basic", (8,), 8, num_classes=0, norm="group")  # stride 4
    encoder = ViT(32, 2, 16, 1, 2, num_classes=0, backbone=backbone, final_norm=False)
    model = SETR(encoder, 3, "pup", channels=4).eval()
    assert len(model.head.convs) == 3 and model(normal(1, 3, 32, 48)).shape == (1, 3, 32, 48)


@pytest.mark.parametrize("decoder", HEADS)
def test_the_same_logits_and_gradients_on_a_device_and_in_half(decoder, device):
    x = normal(2, 3, 8, 12)
    w = RNG.standard_normal((3, 8, 12))
    found = []
    for where, dtype in (("cpu", "float64"), (device, "float32"), ("cpu", "float16")):
        model = stirred(small(decoder)).eval().to(dtype).to(where)
        y = model(mv.to_device(x.astype(dtype), where))
        assert y.dtype == dtype and y.device == where
        ops.mean(y * mv.to_device(w.astype(dtype), where)).backward()
        grads = [mv.to_numpy(p.grad) for p in model.parameters()]
        found.append([y.numpy(), *grads])
    for got, tolerance in zip(found[1:], (1e-4, 5e-2), strict=True):
        largest = max(np.abs(g).max() for g in found[0][1:])
        for a, b in zip(got, found[0], strict=True):
            assert np.abs(a - b).max() <= tolerance * max(largest, np.abs(b).max())


@pytest.mark.parametrize("decoder", HEADS)
def test_it_learns_a_picture_and_is_saved(decoder, tmp_path):
    x = np.zeros((1, 3, 16, 16), np.float32)
    x[:, :, 4:12, 4:10] = 1
    there = (x[:, 0] == 1).astype(int)
    model = small(decoder)
    optimiser = optim.AdamW(model, lr=1e-2)
    losses = []
    for _ in range(15):
        optimiser.zero_grad()
        loss = ops.cross_entropy(model(x), there)
        loss.backward()
        optimiser.step()
        losses.append(float(loss))
    assert losses[-1] < 0.5 * losses[0]
    mv.save(model.eval(), tmp_path)
    np.testing.assert_array_equal(mv.load(tmp_path)(x).numpy(), model(x).numpy())


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: small("linear"), 'SETR: decoder must be "naive", "pup" or "mla", got \'linear\''),
        (lambda: small(taken=(2, 5)), r"SETR: taken must rise from at least 1 to at most 4, got \(2, 5\)"),
        (lambda: small("mla", taken=()), r"SETR: taken must rise from at least 1 to at most 4, got \(\)"),
        (lambda: SETR(ViT(8, 4, 8, 1, 2, num_classes=3), 5), r"SETR: encoder must be a ViT without a head"),
        (lambda: SETR(ResNet((1,), "basic", widths=(8,), num_classes=0), 5), r"SETR: encoder must be a ViT"),
        (lambda: SETR(small().encoder, 0), "SETR: num_classes must be a whole number of at least 1, got 0"),
        (lambda: small()(normal(3, 16, 16)), r"SETR: images must be \(B, C, H, W\) \(images: \(3, 16, 16\)\)"),
        (lambda: small()(normal(1, 3, 16, 18)), "ViT: patches of 4 x 4 do not fill an image of 16 x 18 pixels"),
        (lambda: MLAHead(8, 3, channels=5), "MLAHead: channels must be even, got 5"),
        (lambda: MLAHead(8, 3, channels=4)([normal(1, 4, 8)], (2, 2)), "MLAHead: it reads 4 layers, got the tokens of 1"),
        (lambda: PUPHead(8, 3, convs=0), "PUPHead: convs must be"),
        (lambda: PUPHead(8, 3)(normal(1, 5, 8), (2, 2)), r"PUPHead: 5 tokens are not a grid of 2 x 2 \(tokens: \(1, 5, 8\)\)"),
        (lambda: NaiveHead(8, 3, factor=0), "NaiveHead: factor must be"),
        (lambda: mla_fuse([1, 2], [abs], [abs, abs]), "mla_fuse: every map needs a lateral and a conv; there are 2 maps, 1 lat"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
