"""SASA: equal to loops over pixels, both kinds of border, published sizes, devices, halves, and that it learns.

Not here: the laws of local_attention (tests/laws), the primitives (tests/ops), the recipe (tests/recipes).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import models, nn, optim, vision
from minivis.gradcheck import check_gradient
from minivis.models import LocalAttention, SASAResNet, local_attention

RNG = np.random.default_rng(3)
SIZES = {
    ("convolution", False): (10_342_632, 14_190_632, 18_038_632),
    ("convolution", True): (10_331_264, 14_173_384, 18_015_504),
    ("attention", False): (10_335_144, 14_183_144, 18_031_144),
    ("attention", True): (10_323_776, 14_165_896, 18_008_016),
}


def normal(*shape):
    return RNG.standard_normal(shape)


def inputs(B=2, C=3, D=8, H=4, W=5, heads=2, window=3, shared=True):
    table = (window, D // heads // 2)
    table = table if shared else (heads, *table)
    return [
        normal(B, C, H, W),
        *(normal(D, C) for _ in range(3)),
        normal(*table),
        normal(*table),
        heads,
        window,
    ]


def by_loops(x, w_q, w_k, w_v, rel_rows, rel_cols, heads, window, border="masked"):
    """Pixel by pixel and head by head."""
    (B, _, H, W) = x.shape
    D = len(w_q)
    half = window // 2
    q, k, v = (np.einsum("dc,bcyx->bdyx", w, x) for w in (w_q, w_k, w_v))
    out = np.zeros((B, D, H, W))
    d = D // heads
    for b, head, y, x_ in np.ndindex(B, heads, H, W):
        part = slice(head * d, head * d + d)
        rows = rel_rows if rel_rows.ndim == 2 else rel_rows[head]
        cols = rel_cols if rel_cols.ndim == 2 else rel_cols[head]
        scores, values = [], []
        for i, j in np.ndindex(window, window):
            r, c = y + i - half, x_ + j - half
            inside = 0 <= r < H and 0 <= c < W
            if not inside and border == "masked":
                continue
            key = k[b, part, r, c] if inside else np.zeros(d)
            values.append(v[b, part, r, c] if inside else np.zeros(d))
            scores.append(q[b, part, y, x_] @ (key + np.concatenate([rows[i], cols[j]])))
        weights = np.exp(scores - np.max(scores))
        out[b, part, y, x_] = weights / weights.sum() @ np.array(values)
    return out


@pytest.mark.parametrize("border", ["masked", "zeros"])
@pytest.mark.parametrize(
    "options", [{}, {"shared": False}, {"window": 4}, {"heads": 1, "window": 5, "H": 2}], ids=str
)
def test_it_equals_loops_over_pixels(options, border):
    given = inputs(**options)
    np.testing.assert_allclose(local_attention(*given, border), by_loops(*given, border), atol=1e-12)


def test_the_corner_of_ones_is_one_or_four_ninths():
    """The worked number: zero queries, so the mean of the neighbours, with or without the zeros of a border."""
    x = np.ones((1, 2, 3, 3))
    one = np.eye(2)
    table = np.zeros((3, 1))
    given = (x, 0 * one, one, one, table, table, 1, 3)
    assert local_attention(*given)[0, 0, 0, 0] == pytest.approx(1)
    assert local_attention(*given, "zeros")[0, 0, 0, 0] == pytest.approx(4 / 9)


def test_a_window_over_the_whole_map_without_offsets_is_global_attention():
    x, w_q, w_k, w_v, *_ = inputs(H=3, W=4)
    table = np.zeros((7, 2))
    tokens = x.reshape(2, 3, 12).transpose(0, 2, 1)
    q, k, v = ((tokens @ w.T).reshape(2, 12, 2, 4).transpose(0, 2, 1, 3) for w in (w_q, w_k, w_v))
    # 2: the root of d, which SASA does not divide by
    expected = mv.ops.scaled_dot_product_attention(q * 2, k, v)
    got = local_attention(x, w_q, w_k, w_v, table, table, 2, 7)
    np.testing.assert_allclose(got.reshape(2, 2, 4, 12).transpose(0, 1, 3, 2), expected, atol=1e-12)


def test_gradients_of_every_argument():
    x, w_q, w_k, w_v, rows, cols, heads, window = inputs(shared=False)

    def function(*arrays):
        return local_attention(*arrays, heads, window)

    check_gradient(function, x, w_q, w_k, w_v, rows, cols)


@pytest.mark.parametrize("stem, shared", SIZES, ids=str)
def test_published_sizes_have_their_exact_number_of_parameters(stem, shared):
    with nn.init.skip_init():
        for name, parameters in zip(("26", "38", "50"), SIZES[stem, shared], strict=True):
            model = getattr(models, f"sasa_resnet{name}")(stem=stem, shared=shared)
            assert sum(p.size for p in model.parameters()) == parameters


@pytest.mark.parametrize("stem", ["convolution", "attention"])
def test_maps_of_images_of_any_size(stem):
    model = SASAResNet((1, 1), 8, 2, 3, stem, num_classes=5, norm="group")
    x = normal(2, 3, 18, 37).astype(np.float32)
    assert [m.shape for m in model.features(x)] == [(2, 32, 5, 10), (2, 64, 3, 5)]
    assert model(x).shape == (2, 5) and model(x[:0]).shape == (0, 5)
    with nn.looking(model) as seen:
        model(x)
    weights = seen["stages.0.0.layer.weights"]
    np.testing.assert_allclose(weights.sum(axis=2), 1, atol=1e-5)
    assert (weights[:, :, ~vision.neighbour_mask(5, 10, 3)] == 0).all()


def test_the_stem_s_values_depend_on_the_place_in_the_window():
    """With constant queries the stem is a convolution whose filters are the matrices mixed for each place."""
    from minivis.models.sasa import AttentionStem

    stem = AttentionStem(3, 8, "group", np.random.default_rng(0), heads=2).to("float64")
    stem.w_q.data[:] = 0
    stem.norm = lambda y: y
    x = np.abs(normal(1, 3, 8, 8))
    places = (stem.rows.data[:, None] + stem.cols.data[None]).reshape(16, 8)
    e = np.exp(places @ stem.mixtures.data.T)
    filters = np.einsum("om,mdc->dco", e / e.sum(axis=1, keepdims=True), stem.w_v.data).reshape(8, 3, 4, 4)
    inside = np.pad(np.ones((8, 8)), ((2, 1), (2, 1)))
    count = np.array([[inside[i : i + 4, j : j + 4].sum() for j in range(8)] for i in range(8)])
    y = mv.ops.conv2d(np.pad(x, ((0, 0), (0, 0), (2, 1), (2, 1))), filters) / count
    expected = mv.ops.max_pool2d(mv.ops.relu(y), 4)
    np.testing.assert_allclose(stem(x).numpy(), expected, atol=1e-12)


def test_the_same_logits_and_gradients_on_a_device(device):
    found = []
    x = normal(2, 3, 10, 12).astype(np.float32)
    for where in ("cpu", device):
        model = SASAResNet((1, 1), 8, 2, 3, "attention", num_classes=3, norm="group").to(where)
        y = model(mv.to_device(x, where))
        mv.ops.cross_entropy(y, mv.to_device(np.array([0, 2]), where)).backward()
        found.append([y.numpy(), *(mv.to_numpy(p.grad) for p in model.parameters())])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_halves_stay_halves_and_agree():
    given = [a.astype(np.float16) if hasattr(a, "shape") else a for a in inputs()]
    out = local_attention(*given)
    exact = local_attention(*(a.astype(np.float64) if hasattr(a, "shape") else a for a in given))
    assert out.dtype == np.float16
    np.testing.assert_allclose(out, exact, rtol=2e-3, atol=2e-3)
    layer = LocalAttention(3, 8, 2, 3).to("float16")
    assert layer(given[0]).dtype == np.float16


def test_it_learns_and_every_parameter_takes_part(tmp_path):
    model = SASAResNet((1, 1), 8, 2, 3, "attention", num_classes=3, norm="group")
    x = normal(8, 3, 16, 16).astype(np.float32)
    target = RNG.integers(0, 3, 8)
    before = model.state_dict()
    optimiser = optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(25):
        optimiser.zero_grad()
        loss = mv.ops.cross_entropy(model(x), target)
        loss.backward()
        optimiser.step()
    assert float(loss) < 0.3
    for name, value in model.state_dict().items():
        assert not np.array_equal(value, before[name]), name
    mv.save(model, tmp_path)
    np.testing.assert_array_equal(mv.load(tmp_path)(x).numpy(), model(x).numpy())


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: SASAResNet(stem="patch"), "SASAResNet: stem must be one of"),
        (lambda: SASAResNet(norm="layer"), "SASAResNet: norm must be one of"),
        (lambda: SASAResNet(width=0), "SASAResNet: width must be a whole number of at least 1"),
        (lambda: SASAResNet()(np.zeros((3, 8, 8))), r"SASAResNet: images must be \(B, C, H, W\)"),
        (
            lambda: LocalAttention(3, 12, 8),
            "LocalAttention: 8 heads must divide out_channels=12 into even parts",
        ),
        (lambda: LocalAttention(3, 16, border="wrap"), "LocalAttention: border must be one of masked, zeros"),
        (lambda: LocalAttention(0, 16), "LocalAttention: in_channels must be"),
        (lambda: local_attention(*inputs()[:6], 2, 5), "local_attention: rel_rows and rel_cols must be"),
        (lambda: local_attention(*inputs()[:6], 3, 3), "local_attention: 3 heads must divide D=8"),
        (
            lambda: local_attention(normal(3, 4, 4), *inputs()[1:]),
            r"local_attention: x must be \(B, C, H, W\)",
        ),
        (lambda: local_attention(*inputs(), "wrap"), "local_attention: border must be one of"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with nn.init.skip_init(), pytest.raises(ValueError, match=message):
        make()


def test_values_of_another_width_are_refused():
    x, w, table = np.ones((1, 4, 3, 3)), np.ones((8, 4)), np.ones((3, 2))
    with pytest.raises(ValueError, match=r"local_attention: w_v must be \(D, C\) .* w_v: \(4, 4\)"):
        local_attention(x, w, w, w[:4], table, table, 2, 3)
