"""Multi-scale deformable attention: against loops and grid_sample, its gradients, points at the border and far away.

Not here: the laws it keeps (tests/laws), the layer that predicts the points (tests/models).
"""

import math

import numpy as np
import pytest

import minivis as mv
from minivis.gradcheck import check_gradient
from minivis.vision import multi_scale_deformable_attention, multi_scale_deformable_attention_composed

SHAPES = [(3, 5), (1, 1), (4, 2)]


def inputs(B=2, Q=3, h=2, d=3, P=2, shapes=SHAPES, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    N = sum(H * W for H, W in shapes)
    L = len(shapes)
    at = rng.uniform(-0.2, 1.2, (B, Q, h, L, P, 2))
    arrays = rng.standard_normal((B, N, h, d)), at, rng.standard_normal((B, Q, h, L, P))
    values, locations, weights = (x.astype(dtype) for x in arrays)
    return values, shapes, locations, weights


def loops(values, shapes, locations, weights):
    """Pixel by pixel: each counts by the area that it shares with a pixel laid around the point."""
    B, Q, h, L, P, _ = locations.shape
    out = np.zeros((B, Q, h, values.shape[3]))
    for b, q, head, level, p in np.ndindex(B, Q, h, L, P):
        H, W = shapes[level]
        start = sum(height * width for height, width in shapes[:level])
        x, y = locations[b, q, head, level, p] * (W, H)  # from the outer edge, in pixels
        for row, column in np.ndindex(H, W):
            across = max(0.0, min(column + 1, x + 0.5) - max(column, x - 0.5))
            down = max(0.0, min(row + 1, y + 0.5) - max(row, y - 0.5))
            pixel = values[b, start + row * W + column, head]
            out[b, q, head] += weights[b, q, head, level, p] * across * down * pixel
    return out.reshape(B, Q, -1)


def test_it_is_what_loops_over_points_and_pixels_find():
    case = inputs()
    y = multi_scale_deformable_attention(*case)
    np.testing.assert_allclose(y, loops(*case), atol=1e-12)
    assert y.shape == (2, 3, 6)


@pytest.mark.parametrize(
    "options", [{}, {"h": 1, "P": 1}, {"shapes": [(2, 3)]}, {"Q": 1, "d": 1}, {"B": 1, "P": 5}]
)
def test_both_forms_and_their_gradients_are_equal(options):
    values, shapes, locations, weights = inputs(**options)
    g = np.random.default_rng(1).standard_normal((len(values), weights.shape[1], 1))
    found = []
    for attend in (multi_scale_deformable_attention, multi_scale_deformable_attention_composed):
        leaves = [mv.Tensor(x, requires_grad=True) for x in (values, locations, weights)]
        y = attend(leaves[0], shapes, *leaves[1:])
        y.backward(np.broadcast_to(g, y.shape) * np.arange(1.0, y.shape[2] + 1))
        found.append([y.numpy(), *(leaf.grad for leaf in leaves)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)


@pytest.mark.parametrize(
    "attend", [multi_scale_deformable_attention, multi_scale_deformable_attention_composed]
)
def test_gradients_by_the_dot_product_test(attend):
    values, shapes, locations, weights = inputs(seed=2)
    check_gradient(lambda v, at, a: attend(v, shapes, at, a), values, locations, weights)


@pytest.mark.parametrize(
    "attend", [multi_scale_deformable_attention, multi_scale_deformable_attention_composed]
)
def test_float32_stays_float32_and_agrees(attend):
    exact = inputs(seed=3)
    single = inputs(seed=3, dtype=np.float32)
    y = attend(*single)
    assert y.dtype == np.float32 and type(y) is np.ndarray
    np.testing.assert_allclose(y, attend(*exact), atol=1e-5)
    leaves = [mv.Tensor(x, requires_grad=True) for x in (single[0], *single[2:])]
    attend(leaves[0], single[1], *leaves[1:]).sum().backward()
    assert {leaf.grad.dtype.name for leaf in leaves} == {"float32"}


def test_the_same_on_a_device(device):
    values, shapes, locations, weights = inputs(seed=4)
    found = []
    for where in ("cpu", device):
        arrays = [mv.to_device(x, where) for x in (values, locations, weights)]
        leaves = [mv.Tensor(x, requires_grad=True) for x in arrays]
        y = multi_scale_deformable_attention(leaves[0], shapes, *leaves[1:])
        y.backward(mv.to_device(np.cos(np.arange(y.size)).reshape(y.shape), where))
        found.append([y.numpy(), *(mv.to_numpy(leaf.grad) for leaf in leaves)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_at_its_own_centre_each_pixel_finds_itself():
    values, shapes, _, _ = inputs(B=1, h=1, d=2, shapes=[(3, 4)])
    x, y = np.meshgrid((np.arange(4) + 0.5) / 4, (np.arange(3) + 0.5) / 3)
    centres = np.stack([x, y], axis=-1).reshape(1, 12, 1, 1, 1, 2)
    found = multi_scale_deformable_attention(values, shapes, centres, np.ones((1, 12, 1, 1, 1)))
    np.testing.assert_allclose(found, values[:, :, 0], atol=1e-15)


@pytest.mark.parametrize("place", [math.nan, math.inf, -math.inf, 1e30, -7.0, 1 + 1 / 3])
def test_points_outside_find_zeros_and_send_nothing_back(place):
    values, shapes, locations, weights = inputs(Q=1, P=1, shapes=[(3, 3)])
    locations = np.full_like(locations, place)
    leaves = [mv.Tensor(x, requires_grad=True) for x in (values, locations, weights)]
    y = multi_scale_deformable_attention(leaves[0], shapes, *leaves[1:])
    y.sum().backward()
    assert not y.numpy().any() and not any(leaf.grad.any() for leaf in leaves)


def test_an_edge_point_is_half_outside():
    corner = np.zeros((1, 1, 1, 1, 1, 2))
    y = multi_scale_deformable_attention(
        np.full((1, 4, 1, 1), 8.0), [(2, 2)], corner, np.ones((1, 1, 1, 1, 1))
    )
    np.testing.assert_array_equal(y, [[[2.0]]])


@pytest.mark.parametrize("options", [{"B": 0}, {"Q": 0}, {"P": 0}])
def test_empty_inputs_give_empty_or_zero_results(options):
    values, shapes, locations, weights = inputs(**options)
    leaves = [mv.Tensor(x, requires_grad=True) for x in (values, locations, weights)]
    y = multi_scale_deformable_attention(leaves[0], shapes, *leaves[1:])
    assert y.shape == (values.shape[0], weights.shape[1], 6) and not y.numpy().any()
    y.sum().backward()
    assert [leaf.grad.shape for leaf in leaves] == [leaf.shape for leaf in leaves]


def test_inputs_are_only_read():
    case = inputs(seed=5)
    for x in (case[0], *case[2:]):
        x.flags.writeable = False
    y, vjp = multi_scale_deformable_attention.raw(*case)
    g = np.ones_like(y)
    g.flags.writeable = False
    vjp(g)


V, S, Z, A = inputs()


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda f: f(V, [(3, 5)], Z, A), ValueError, r"values must be \(B, N, h, d\) with N = 15"),
        (lambda f: f(V, [], Z, A), ValueError, "values must be"),
        (lambda f: f(V[0], S, Z, A), ValueError, "values must be"),
        (lambda f: f(V, S, Z[..., :1], A), ValueError, r"locations must be \(B, Q, h, L, P, 2\)"),
        (lambda f: f(V, S, Z, A[0]), ValueError, "locations must be"),
        (lambda f: f(V, S, Z[:, :2], A), ValueError, "locations and weights must share"),
        (lambda f: f(V, S, Z[:1], A[:1]), ValueError, "locations and weights must share B and h with values"),
        (lambda f: f(V, S, Z[:, :, :1], A[:, :, :1]), ValueError, "locations and weights must share"),
        (lambda f: f(V, S, Z[:, :, :, :2], A[:, :, :, :2]), ValueError, "locations and weights must share"),
        (lambda f: f(V.astype(int), S, Z, A), TypeError, "values must be floating-point, got int64"),
        (lambda f: f(V, S, Z, A > 0), TypeError, "weights must be floating-point, got bool"),
    ],
)
@pytest.mark.parametrize(
    "attend", [multi_scale_deformable_attention, multi_scale_deformable_attention_composed]
)
def test_what_does_not_fit_is_refused(attend, call, error, message):
    with pytest.raises(error, match=f"^multi_scale_deformable_attention: {message}"):
        call(attend)
