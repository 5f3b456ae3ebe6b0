"""Local relation: equal to loops over pixels, the geometric prior, published sizes, devices, halves, and that it learns.

Not here: the laws of local_relation (tests/laws), the primitives (tests/ops), the recipe (tests/recipes).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import models, nn, optim
from minivis.gradcheck import check_gradient
from minivis.models import LocalRelation, LRNet, local_relation

RNG = np.random.default_rng(4)
KINDS = ("product", "squared", "absolute")


def normal(*shape):
    return RNG.standard_normal(shape)


def inputs(B=2, C=6, H=4, W=5, groups=3, window=3):
    return [
        normal(B, C, H, W),
        normal(groups, C),
        normal(groups, C),
        normal(groups, window, window),
        groups,
        window,
    ]


def by_loops(x, w_q, w_k, geometry, groups, window, similarity="product"):
    """Pixel by pixel and channel by channel."""
    (_, C, H, W) = x.shape
    half = window // 2
    out = np.zeros(x.shape)
    for b, c, y, x_ in np.ndindex(x.shape):
        group = c // -(-C // groups)
        q = w_q[group] @ x[b, :, y, x_]
        scores, values = [], []
        for i, j in np.ndindex(window, window):
            r, s = y + i - half, x_ + j - half
            if 0 <= r < H and 0 <= s < W:
                k = w_k[group] @ x[b, :, r, s]
                alike = {"product": q * k, "squared": -((q - k) ** 2), "absolute": -abs(q - k)}[similarity]
                scores.append(alike + geometry[group, i, j])
                values.append(x[b, c, r, s])
        weights = np.exp(scores - np.max(scores))
        out[b, c, y, x_] = weights / weights.sum() @ np.array(values)
    return out


@pytest.mark.parametrize("similarity", KINDS)
@pytest.mark.parametrize("options", [{}, {"C": 7}, {"window": 5, "H": 2, "groups": 1}], ids=str)
def test_it_equals_loops_over_pixels(options, similarity):
    given = inputs(**options)
    expected = by_loops(*given, similarity)
    np.testing.assert_allclose(local_relation(*given, similarity), expected, atol=1e-12)


def test_one_row_of_two_pixels():
    """The worked number: x = (0, 1), q = k = x, the squared similarity, no geometry."""
    x = np.array([0.0, 1.0]).reshape(1, 1, 1, 2)
    one = np.ones((1, 1))
    y = local_relation(x, one, one, np.zeros((1, 3, 3)), 1, 3, "squared")
    np.testing.assert_allclose(y.ravel(), [0.268941, 0.731059], atol=1e-6)


@pytest.mark.parametrize("similarity", KINDS)
def test_gradients_of_every_argument(similarity):
    *arrays, groups, window = inputs(C=7)
    check_gradient(lambda *given: local_relation(*given, groups, window, similarity), *arrays)


def test_published_sizes_have_their_exact_number_of_parameters():
    with nn.init.skip_init():
        for name, parameters in (("lr_net26", 14_620_724), ("lr_net50", 23_396_317)):
            assert sum(p.size for p in getattr(models, name)().parameters()) == parameters


def test_the_prior_is_a_small_network_of_the_offset():
    layer = LocalRelation(12, 5, 4)
    f = layer.prior().numpy()
    for i, j in np.ndindex(5, 5):
        hidden = np.maximum(layer.w_hidden.data @ np.array([(i - 2) / 2, (j - 2) / 2]), 0)
        np.testing.assert_allclose(f[:, i, j], layer.w_prior.data @ hidden, atol=1e-6)
    assert LocalRelation(8, 1).prior().numpy().tolist() == [[[0.0]]]


def test_the_layer_is_the_function_and_a_matrix():
    layer = LocalRelation(12, 3, 4, "squared").to("float64")
    x = normal(2, 12, 4, 5)
    y = local_relation(x, layer.w_q.data, layer.w_k.data, layer.prior().numpy(), 3, 3, "squared")
    expected = np.einsum("oc,bcyx->boyx", layer.w_out.data, y)
    with nn.looking(layer) as seen:
        np.testing.assert_allclose(layer(x).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(seen["weights"].sum(axis=2), 1)


def small(**options):
    return LRNet((1, 1), (12, 20), (16, 32), 8, 3, num_classes=3, norm="group", **options)


def test_maps_of_images_of_any_size():
    x = normal(2, 3, 18, 37).astype(np.float32)
    assert [m.shape for m in small().features(x)] == [(2, 16, 5, 10), (2, 32, 3, 5)]
    assert small()(x).shape == (2, 3) and small()(x[:0]).shape == (0, 3)


def test_the_same_logits_and_gradients_on_a_device(device):
    found = []
    x = normal(2, 3, 10, 12).astype(np.float32)
    for where in ("cpu", device):
        model = small().to(where)
        y = model(mv.to_device(x, where))
        mv.ops.cross_entropy(y, mv.to_device(np.array([0, 2]), where)).backward()
        found.append([y.numpy(), *(mv.to_numpy(p.grad) for p in model.parameters())])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_halves_stay_halves_and_agree():
    given = [a.astype(np.float16) if hasattr(a, "shape") else a for a in inputs()]
    exact = local_relation(*(a.astype(np.float64) if hasattr(a, "shape") else a for a in given))
    out = local_relation(*given)
    assert out.dtype == np.float16
    np.testing.assert_allclose(out, exact, rtol=2e-3, atol=2e-3)
    assert LocalRelation(6, 3, 2).to("float16")(given[0]).dtype == np.float16


def test_it_learns_and_every_parameter_takes_part(tmp_path):
    model = small(similarity="squared")
    x = normal(8, 3, 16, 16).astype(np.float32)
    target = RNG.integers(0, 3, 8)
    before = model.state_dict()
    optimiser = optim.AdamW(model.parameters(), lr=5e-3)
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
        (lambda: LRNet(norm="layer"), "LRNet: norm must be one of"),
        (lambda: LRNet(inner=(8, 16)), "LRNet: 4 stages need as many widths"),
        (lambda: LRNet(depths=(1, 0)), "LRNet: depths must be a whole number of at least 1"),
        (lambda: LRNet()(np.zeros((3, 8, 8))), r"LRNet: images must be \(B, C, H, W\)"),
        (lambda: LocalRelation(8, similarity="cosine"), "LocalRelation: similarity must be one of"),
        (lambda: LocalRelation(8, 0), "LocalRelation: window must be"),
        (lambda: local_relation(*inputs(), "cosine"), "local_relation: similarity must be one of"),
        (lambda: local_relation(*inputs()[:4], 2, 3), "local_relation: x must be .* w_q and w_k"),
        (lambda: local_relation(*inputs()[:4], 3, 5), "local_relation: geometry must be"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with nn.init.skip_init(), pytest.raises(ValueError, match=message):
        make()
