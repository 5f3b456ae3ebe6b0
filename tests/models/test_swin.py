"""Swin: published sizes, attention equal to brute force over regions, no leak, images of any size, and that it learns.

Not here: equality with transformers (tests/parity), the training recipe, windows by themselves (tests/vision).
"""

import math

import numpy as np
import pytest

import minivis as mv
from minivis import models, nn, optim
from minivis.models import Swin
from minivis.models.swin import PatchMerging, SwinBlock

RNG = np.random.default_rng(9)
PUBLISHED = {"swin_t": 28_288_354, "swin_s": 49_606_258, "swin_b": 87_768_224}
OPTIONS = {
    "mlp_ratio": 2,
    "qkv_bias": True,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "activation": "gelu",
    "eps": 1e-5,
    "shrink": True,
}


def small(**options):
    options = {"num_classes": 3, "channels": 2, "window": 2, **options}
    return Swin(2, 8, (2, 2), (2, 4), rng=0, **options)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def block(window, shift, width=8, heads=2, **options):
    """A block whose parameters are all random, biases and norms too."""
    made = SwinBlock(width, heads, window, shift, 0.0, OPTIONS | options, np.random.default_rng(3))
    for p in made.parameters():
        p.data = (p.data + 0.3 * RNG.standard_normal(p.shape)).astype(np.float64)
    return made


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_have_their_exact_number_of_parameters(name):
    with nn.init.skip_init():
        model = getattr(models, name)()
    assert sum(p.size for p in model.parameters()) == PUBLISHED[name]
    assert len(model.state_dict()) == len(model.parameters())


def test_the_smallest_published_size_runs_for_real():
    model = models.swin_t(num_classes=7, rng=3)
    with mv.no_grad():
        y = model(normal(1, 3, 96, 64))
        maps = model.features(normal(1, 3, 96, 64))
    assert y.shape == (1, 7) and y.dtype == np.float32 and np.isfinite(y.numpy()).all()
    assert [m.shape for m in maps] == [(1, 96, 24, 16), (1, 192, 12, 8), (1, 384, 6, 4), (1, 768, 3, 2)]
    assert model.channels == (96, 192, 384, 768)
    assert {p.dtype.name for p in model.parameters()} == {"float32"}


# ---------------------------------------------------------------------------------------------------------------------
# Attention by brute force, without roll, windows or mask: for each token, find the tokens in its window


def meets(place, size, window, shift):
    """The part of an axis in the same window as `place`; windows begin at 0, `shift`, `shift + window`, ..."""
    borders = sorted({0, size, *(b for b in range(shift, size, window))})
    return next((a, b) for a, b in zip(borders, borders[1:], strict=False) if a <= place < b)


def brute_force(layer, x, window, shift):
    """The attention of a block for a map (H, W, D) of whole windows, computed token by token and head by head."""
    (H, W, D) = x.shape
    (m, n) = window
    inner = layer.attention
    h = inner.num_heads
    q, k, v = (x @ p.weight.data.T + p.bias.data for p in (inner.query, inner.key, inner.value))
    table = layer.bias_table.data.reshape(2 * layer.window[0] - 1, 2 * layer.window[1] - 1, h)
    out = np.zeros((H, W, D))
    d = D // h
    for y in range(H):
        for x_ in range(W):
            rows, columns = (
                range(*meets(p, s, w, o)) for p, s, w, o in ((y, H, m, shift[0]), (x_, W, n, shift[1]))
            )
            for head in range(h):
                part = slice(head * d, head * d + d)
                scores, values = [], []
                for v_ in rows:
                    for u in columns:
                        bias = table[y - v_ + layer.window[0] - 1, x_ - u + layer.window[1] - 1, head]
                        scores.append(q[y, x_, part] @ k[v_, u, part] / math.sqrt(d) + bias)
                        values.append(v[v_, u, part])
                weights = np.exp(scores - np.max(scores))
                out[y, x_, part] = weights / weights.sum() @ np.array(values)
    return out @ inner.out.weight.data.T + inner.out.bias.data


@pytest.mark.parametrize(
    "size, window, shift",
    [
        ((4, 6), (2, 2), (1, 1)),
        ((6, 3), (3, 3), (2, 1)),
        ((6, 8), (3, 4), (1, 2)),
        ((8, 8), (4, 4), (0, 0)),
        ((4, 4), (2, 2), (0, 1)),
    ],
)
def test_shifted_attention_equals_brute_force_over_the_map_that_was_never_rolled(size, window, shift):
    made = block(window, shift, shrink=False)
    x = RNG.standard_normal((2, *size, 8))
    attended = made.attn(mv.Tensor(x))
    for image, expected in zip(attended.numpy(), x, strict=True):
        np.testing.assert_allclose(image, brute_force(made.attn, expected, window, shift), atol=1e-12)


def test_a_whole_block_by_its_equations():
    made = block((2, 2), (1, 1))
    x = RNG.standard_normal((1, 4, 6, 8))
    norm = made.norm1(x).numpy()[0]
    z = x + brute_force(made.attn, norm, (2, 2), (1, 1))
    expected = z + made.mlp(made.norm2(z)).numpy()
    np.testing.assert_allclose(made(mv.Tensor(x)).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("shift", [(0, 0), (1, 2)])
def test_nothing_leaks_from_one_region_to_another(shift):
    made = block((3, 3), shift)
    x = RNG.standard_normal((1, 6, 9, 8))
    before = made(mv.Tensor(x)).numpy()
    regions = np.add.outer(
        *(
            100 ** (1 - axis) * np.array([meets(p, s, 3, o)[0] for p in range(s)])
            for axis, (s, o) in enumerate(zip((6, 9), shift, strict=True))
        )
    )
    for region in np.unique(regions):
        changed = x.copy()
        changed[:, regions != region] += 7 * RNG.standard_normal(changed[:, regions != region].shape)
        after = made(mv.Tensor(changed)).numpy()
        np.testing.assert_array_equal(after[:, regions == region], before[:, regions == region])
        assert np.abs(after - before)[:, regions != region].min() > 0


def test_a_map_not_larger_than_the_window_is_one_window_with_the_middle_of_the_table():
    made = block((4, 4), (2, 2))
    for size in ((4, 4), (2, 3), (4, 3)):
        x = RNG.standard_normal((1, *size, 8))
        with mv.nn.looking(made.attn) as seen:
            attended = made.attn(mv.Tensor(x))
        assert seen["windows"].tolist() == [list(range(size[0] * size[1]))]
        assert seen["attention.weights"].shape == (1, 1, 2, size[0] * size[1], size[0] * size[1])
        np.testing.assert_allclose(
            attended.numpy()[0], brute_force(made.attn, x[0], size, (0, 0)), atol=1e-12
        )


def test_padded_places_are_zeros_behind_the_norm_that_everybody_sees():
    made = block((3, 3), (1, 1))
    x = RNG.standard_normal((1, 4, 5, 8))
    padded = np.zeros((6, 6, 8))
    padded[:4, :5] = x[0]
    attended = made.attn(mv.Tensor(x))
    expected = brute_force(made.attn, padded, (3, 3), (1, 1))[:4, :5]
    np.testing.assert_allclose(attended.numpy()[0], expected, atol=1e-12)
    unshrunk = block((4, 4), (2, 2), shrink=False)
    x = x[:, :3, :3]
    padded = np.zeros((4, 4, 8))
    padded[:3, :3] = x[0]
    expected = brute_force(unshrunk.attn, padded, (4, 4), (2, 2))[:3, :3]
    np.testing.assert_allclose(unshrunk.attn(mv.Tensor(x)).numpy()[0], expected, atol=1e-12)


# ---------------------------------------------------------------------------------------------------------------------
# The model


def test_merging_takes_four_neighbours_left_column_first():
    merge = PatchMerging(3, 1e-5, np.random.default_rng(0))
    x = RNG.standard_normal((2, 5, 4, 3))
    seen = []
    merge.norm = lambda z: seen.append(z.numpy()) or z
    assert merge(mv.Tensor(x)).shape == (2, 3, 2, 6)
    x = np.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0)))
    expected = np.concatenate([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
    np.testing.assert_array_equal(seen[0], expected)


@pytest.mark.parametrize("height, width", [(16, 16), (15, 18), (8, 33), (1, 1), (6, 40)])
def test_images_of_any_size(height, width):
    model = small(window=3)
    x = normal(2, 2, height, width)
    maps = model.features(x)
    assert model(x).shape == (2, 3)
    fine = -(-height // 2), -(-width // 2)
    assert maps[0].shape == (2, 8, *fine)
    assert maps[1].shape == (2, 16, -(-fine[0] // 2), -(-fine[1] // 2))


def test_every_other_block_is_shifted_unless_shifting_is_off():
    shifts = [b.attn.shift for stage in small(window=(4, 6)).stages for b in stage.blocks]
    assert shifts == [(0, 0), (2, 3)] * 2
    assert {b.attn.shift for stage in small(shift=False).stages for b in stage.blocks} == {(0, 0)}
    x = normal(1, 2, 16, 16)
    assert not np.array_equal(small()(x).numpy(), small(shift=False)(x).numpy())


def test_without_a_shift_a_window_of_the_image_never_hears_of_another():
    x = normal(1, 2, 16, 16)
    moved = x.copy()
    moved[..., 8:] += 1  # 8 pixels: 4 tokens of the first stage, 2 of the second
    apart = small(shift=False)
    joined = small()
    for model, same in ((apart, True), (joined, False)):
        before, after = (model.features(images)[-1].numpy()[..., :2] for images in (x, moved))
        assert np.array_equal(before, after) is same


def test_logits_are_the_mean_of_the_normalised_tokens_through_the_head():
    model = small()
    x = normal(2, 2, 12, 8)
    last = model.features(x)[-1].numpy().transpose(0, 2, 3, 1)
    pooled = model.norm(last).numpy().mean(axis=(1, 2))
    np.testing.assert_allclose(
        model(x).numpy(), pooled @ model.head.weight.data.T + model.head.bias.data, atol=1e-6
    )
    np.testing.assert_allclose(small(num_classes=0)(x).numpy(), pooled, atol=1e-6)


def test_a_backbone_has_a_norm_for_each_map_and_no_head(tmp_path):
    model = small(feature_norms=True)
    x = normal(2, 2, 12, 8)
    assert model.head is None and model.norm is None
    for got, direct, plain, norm in zip(
        model(x), model.features(x), small().features(x), model.feature_norms, strict=True
    ):
        np.testing.assert_array_equal(got.numpy(), direct.numpy())
        np.testing.assert_allclose(
            got.numpy(), norm(plain.numpy().transpose(0, 2, 3, 1)).numpy().transpose(0, 3, 1, 2)
        )
    mv.save(model, tmp_path)
    np.testing.assert_array_equal(mv.load(tmp_path).features(x)[1].numpy(), model(x)[1].numpy())


def test_attention_maps_sum_to_one_and_are_zero_where_masked():
    model = small().eval()
    maps = model.attention_maps(normal(2, 2, 16, 8))
    assert [a.shape for a in maps] == [(2, 8, 2, 4, 4)] * 2 + [(2, 2, 4, 4, 4)] * 2
    assert all(type(a) is np.ndarray for a in maps)
    for a in maps:
        np.testing.assert_allclose(a.sum(axis=-1), 1, atol=1e-5)
    mask = mv.vision.shifted_window_mask(8, 4, 2, 1)
    assert (maps[1][0, :, 0][~mask] == 0).all() and (maps[1][0, :, 0][mask] > 0).all()


def test_what_is_seen_says_where_on_the_map_each_weight_belongs():
    """The windows that are shown are those of the shifted map, with -1 for padding."""
    made = block((3, 4), (1, 2))
    x = RNG.standard_normal((1, 5, 6, 8))
    with mv.nn.looking(made.attn) as seen:
        made.attn(mv.Tensor(x))
    windows = seen["windows"]  # the map is padded to 6 x 8
    weights = seen["attention.weights"]
    assert windows.shape == (4, 12) and weights.shape == (1, 4, 2, 12, 12)
    assert sorted(windows[windows >= 0]) == list(range(30)) and (windows < 0).sum() == 48 - 30
    grid = np.pad(np.arange(30).reshape(5, 6), ((0, 1), (0, 2)), constant_values=-1)
    np.testing.assert_array_equal(
        windows,
        mv.vision.window_partition(np.roll(grid, (-1, -2), (0, 1))[None, ..., None], (3, 4)).reshape(4, 12),
    )


def test_masks_are_made_once_for_a_size():
    from minivis.nn.window_attention import _mask

    model = small()
    for size in (16, 16, 24, 16):
        model(normal(1, 2, size, 16))
    before = _mask.cache_info().misses
    for size in (24, 16):
        model(normal(1, 2, size, 16))
    assert _mask.cache_info().misses == before


def test_dropout_and_drop_path_are_off_unless_asked_and_rise_with_depth():
    model = small()
    x = normal(2, 2, 8, 8)
    np.testing.assert_array_equal(model(x).numpy(), model(x).numpy())
    for options in ({"dropout": 0.2}, {"attention_dropout": 0.4}, {"drop_path": 0.4}):
        noisy = small(**options)
        assert not np.array_equal(noisy(x).numpy(), noisy(x).numpy())
        np.testing.assert_array_equal(noisy.eval()(x).numpy(), model(x).numpy())
    rates = [b.drop_path.p for stage in small(drop_path=0.3).stages for b in stage.blocks]
    np.testing.assert_allclose(rates, [0, 0.1, 0.2, 0.3])


def test_the_same_logits_and_gradients_on_a_device(device):
    found = []
    x = normal(2, 2, 10, 12)
    for where in ("cpu", device):
        model = small(window=3).to(where)
        y = model(mv.to_device(x, where))
        mv.ops.cross_entropy(y, mv.to_device(np.array([0, 2]), where)).backward()
        found.append([y.numpy(), *(mv.to_numpy(p.grad) for p in model.parameters())])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_it_learns_the_images_it_sees_and_every_parameter_takes_part():
    model = small()
    x = normal(12, 2, 12, 12)
    target = RNG.integers(0, 3, 12)
    before = model.state_dict()
    optimiser = optim.AdamW(optim.decay_groups(model, 0.01), lr=3e-3)
    for _ in range(50):
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
        (lambda: small(window=0), "Swin: window must be a whole number of at least 1, got 0"),
        (
            lambda: Swin(depths=(2, 2), heads=(3,)),
            "Swin: depths .* and heads .* must have a number for each stage",
        ),
        (
            lambda: Swin(width=8, depths=(1,), heads=(3,)),
            "MultiHeadAttention: 3 heads do not divide embed_dim 8",
        ),
        (lambda: small()(normal(1, 3, 8, 8)), "conv2d: x has C=3 channels but weight expects C=2"),
        (lambda: small()(normal(2, 8, 8)), r"Swin: images must be \(B, C, H, W\)"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_empty_batch_gives_empty_logits():
    assert small()(np.zeros((0, 2, 8, 8), np.float32)).shape == (0, 3)
