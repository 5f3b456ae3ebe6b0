"""SAN: equal to loops over pixels, sets and not sets, published sizes, devices, halves, and that it learns.

Not here: the laws of both functions (tests/laws), the primitives (tests/ops).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import models, nn, optim
from minivis.gradcheck import check_gradient
from minivis.models import SAN, PairwiseAttention, PatchwiseAttention, pairwise_attention, patchwise_attention

RNG = np.random.default_rng(5)


def normal(*shape):
    return RNG.standard_normal(shape)


def of_relations(weight):
    """A gamma of pairs: one matrix and tanh."""
    return lambda relations: mv.ops.tanh(mv.ops.einsum("gr,brkn->bgkn", weight, relations))


def of_windows(weight, places):
    """A gamma of windows: one matrix (g k k, r (k k + 1)) and tanh."""

    def gamma(windows):
        scores = mv.ops.tanh(mv.ops.einsum("gr,brn->bgn", weight, windows))
        return mv.ops.reshape(scores, (windows.shape[0], -1, places, windows.shape[2]))

    return gamma


def at(i, size):
    """A row or column, mirrored at the border."""
    period = max(1, 2 * (size - 1))
    i %= period
    return min(i, period - i) if size > 1 else 0


def by_loops(kind, x, phi, psi, beta, gamma, window):
    (B, _, H, W) = x.shape
    half = window // 2
    f, g, v = (np.einsum("rc,bcyx->bryx", w, x) for w in (phi, psi, beta))
    ys, xs = np.linspace(-1, 1, H), np.linspace(-1, 1, W)
    out = np.zeros((B, len(beta), H, W))
    for b, y, x_ in np.ndindex(B, H, W):
        there = [(at(y + i - half, H), at(x_ + j - half, W)) for i, j in np.ndindex(window, window)]
        if kind == "pairwise":
            pairs = [[*(f[b, :, y, x_] - g[b, :, r, s]), xs[x_] - xs[s], ys[y] - ys[r]] for r, s in there]
            scores = gamma(np.array(pairs).T[None, :, :, None])[0, :, :, 0]
            e = np.exp(scores - scores.max(axis=1, keepdims=True))
            weights = e / e.sum(axis=1, keepdims=True)
        else:
            around = np.array([[g[b, c, r, s] for r, s in there] for c in range(len(psi))])
            weights = gamma(np.concatenate([f[b, :, y, x_], around.ravel()])[None, :, None])[0, :, :, 0]
        for c in range(len(beta)):
            out[b, c, y, x_] = sum(
                w * v[b, c, r, s] for w, (r, s) in zip(weights[c % len(weights)], there, strict=True)
            )
    return out


def inputs(kind, C=3, r=2, D=4, groups=2, H=4, W=5, window=3):
    places = window * window
    if kind == "pairwise":
        gamma = of_relations(normal(groups, r + 2))
    else:
        gamma = of_windows(normal(groups * places, r * (places + 1)), places)
    return normal(2, C, H, W), normal(r, C), normal(r, C), normal(D, C), gamma, window


FUNCTIONS = {"pairwise": pairwise_attention, "patchwise": patchwise_attention}
LAYERS = {"pairwise": PairwiseAttention, "patchwise": PatchwiseAttention}
SIZES = {"pairwise": (10_531_848, 14_065_436, 17_596_156), "patchwise": (11_841_124, 16_181_310, 20_518_470)}


@pytest.mark.parametrize("kind", FUNCTIONS)
@pytest.mark.parametrize(
    "options", [{}, {"H": 1, "W": 2}, {"window": 5, "groups": 4}, {"window": 1}], ids=str
)
def test_it_equals_loops_over_pixels(kind, options):
    given = inputs(kind, **options)
    np.testing.assert_allclose(FUNCTIONS[kind](*given), by_loops(kind, *given), atol=1e-12)


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_gradients_of_every_argument(kind):
    *arrays, gamma, window = inputs(kind)
    check_gradient(lambda *given: FUNCTIONS[kind](*given, gamma, window), *arrays)


def test_only_the_patchwise_form_tells_neighbours_apart():
    """The nine pixels of a window in another order, seen from the middle, without the position."""
    order = [3, 0, 7, 5, 4, 8, 2, 1, 6]  # the middle stays
    for kind, same in (("pairwise", True), ("patchwise", False)):
        x, phi, psi, beta, gamma, window = inputs(kind, H=3, W=3)

        def placeless(relations, kind=kind, gamma=gamma):
            return gamma(
                relations * np.array([1, 1, 0, 0]).reshape(4, 1, 1) if kind == "pairwise" else relations
            )

        moved = x.reshape(2, 3, 9)[:, :, order].reshape(x.shape)
        before, after = (
            FUNCTIONS[kind](image, phi, psi, beta, placeless, window)[:, :, 1, 1] for image in (x, moved)
        )
        assert np.allclose(before, after) is same


def test_a_constant_gamma_of_windows_is_a_depthwise_convolution():
    x, phi, psi, beta, _, window = inputs("patchwise")
    filters = normal(2, 3, 3)

    def gamma(windows):
        return np.broadcast_to(filters.reshape(1, 2, 9, 1), (2, 2, 9, windows.shape[2]))

    values = np.pad(np.einsum("dc,bcyx->bdyx", beta, x), ((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect")
    expected = mv.ops.conv2d(values, filters[[0, 1, 0, 1]][:, None], groups=4)
    np.testing.assert_allclose(patchwise_attention(x, phi, psi, beta, gamma, window), expected, atol=1e-12)


@pytest.mark.parametrize("kind", SIZES)
def test_published_sizes_have_their_exact_number_of_parameters(kind):
    with nn.init.skip_init():
        for number, parameters in zip((10, 15, 19), SIZES[kind], strict=True):
            model = getattr(models, f"san{number}_{kind}")()
            assert sum(p.size for p in model.parameters()) == parameters
        layer = LAYERS[kind](256)
        expected = {"pairwise": 25170, "patchwise": 36216}[kind]
    assert sum(p.size for p in layer.parameters()) == expected


def small(kind):
    return SAN(kind, (1, 1), (32, 32), (3, 3), num_classes=3)


@pytest.mark.parametrize("kind", SIZES)
def test_maps_weights_and_what_a_device_gives(kind, device):
    found = []
    x = normal(2, 3, 10, 13).astype(np.float32)
    for where in ("cpu", device):
        model = small(kind).to(where)
        with nn.looking(model) as seen:
            y = model(mv.to_device(x, where))
        mv.ops.cross_entropy(y, mv.to_device(np.array([0, 2]), where)).backward()
        found.append([y.numpy(), *(mv.to_numpy(p.grad) for p in model.parameters())])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)
    assert [m.shape for m in small(kind).features(x)] == [(2, 32, 5, 7), (2, 32, 3, 4)]
    weights = mv.to_numpy(seen["stages.0.blocks.0.attention.weights"])
    assert weights.shape == (2, 1, 9, 5, 7)
    if kind == "pairwise":
        np.testing.assert_allclose(weights.sum(axis=2), 1, atol=1e-5)


@pytest.mark.parametrize("kind", SIZES)
def test_halves_stay_halves_and_agree(kind):
    *arrays, gamma, window = inputs(kind)
    out = FUNCTIONS[kind](*(a.astype(np.float16) for a in arrays), gamma, window)
    exact = FUNCTIONS[kind](*(a.astype(np.float16).astype(np.float64) for a in arrays), gamma, window)
    assert out.dtype == np.float16
    np.testing.assert_allclose(out, exact, rtol=2e-3, atol=5e-3)
    assert LAYERS[kind](32, 3).to("float16")(np.zeros((1, 32, 3, 3), np.float16)).dtype == np.float16


@pytest.mark.parametrize("kind", SIZES)
def test_it_learns_and_every_parameter_takes_part(kind, tmp_path):
    model = small(kind)
    x = normal(8, 3, 16, 16).astype(np.float32)
    target = RNG.integers(0, 3, 8)
    before = model.state_dict()
    optimiser = optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(20):
        optimiser.zero_grad()
        loss = mv.ops.cross_entropy(model(x), target)
        loss.backward()
        optimiser.step()
    assert float(loss) < 0.3
    for name, value in model.state_dict().items():
        assert not np.array_equal(value, before[name]), name
    mv.save(model, tmp_path)
    np.testing.assert_array_equal(mv.load(tmp_path).eval()(x).numpy(), model.eval()(x).numpy())


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: SAN("both"), "SAN: kind must be one of pairwise, patchwise"),
        (lambda: SAN(widths=(64, 128)), "SAN: 5 stages need as many widths and windows"),
        (lambda: SAN(depths=(0,) * 5), "SAN: depths must be"),
        (lambda: SAN()(np.zeros((3, 8, 8))), r"SAN: images must be \(B, C, H, W\)"),
        (lambda: PairwiseAttention(48), "PairwiseAttention: channels must be divisible by 32, got 48"),
        (lambda: PatchwiseAttention(48), "PatchwiseAttention: channels must be divisible by 32, got 48"),
        (lambda: pairwise_attention(*inputs("pairwise")[:5], 0), "pairwise_attention: window must be"),
        (
            lambda: patchwise_attention(normal(1, 9, 3, 3), *inputs("patchwise")[1:]),
            r"patchwise_attention: x must be \(B, C, H, W\), phi and psi",
        ),
        (
            lambda: pairwise_attention(*inputs("pairwise", D=5)),
            r"pairwise_attention: gamma must return \(B, D / s, k k, H W\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with nn.init.skip_init(), pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("kind", ["pairwise", "patchwise"])
def test_an_empty_batch_gives_an_empty_answer(kind):
    model = SAN(kind, (1,), widths=(32,), windows=(3,), num_classes=5).eval()
    assert model(np.zeros((0, 3, 4, 6), np.float32)).shape == (0, 5)
    with pytest.raises(ValueError, match=r"wiseAttention: images must be \(B, C, H, W\)"):
        model.stages[0].blocks[0].attention(np.zeros((32, 4, 6), np.float32))
