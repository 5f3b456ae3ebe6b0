"""Solving differential equations: worked numbers, orders, gradients through the steps and by the adjoint method.

Not here: the laws (minivis/laws/ode.py).
"""

import math

import numpy as np
import pytest

import minivis as mv
from minivis import Tensor, analysis, nn, ops
from minivis.analysis import odeint, odeint_adjoint
from tests import strict

RNG = np.random.default_rng(0)


def growth(y, t):
    return y


class Swirl(nn.Module):
    """A field with parameters: tanh(W y + b) cos(t)."""

    def __init__(self, width=3):
        self.layer = nn.Linear(width, width, rng=1)

    def forward(self, y, t):
        return ops.tanh(self.layer(y)) * math.cos(t)


@pytest.mark.parametrize(
    ("method", "steps", "expected"),
    [
        ("euler", 1, 2),
        ("euler", 2, 2.25),
        ("euler", 4, 2.44140625),
        ("euler", 10, 2.59374246),
        ("euler", 100, 2.70481383),
        ("midpoint", 1, 2.5),
        ("rk4", 1, 65 / 24),
    ],
)
def test_the_table_of_e(method, steps, expected):
    assert odeint(growth, 1.0, 0, 1, steps, method) == pytest.approx(expected, abs=5e-9)


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_doubling_the_steps_divides_the_error_by_two_to_the_order(method, order):
    def error(steps):
        return abs(odeint(lambda y, t: y * math.cos(t), 1.0, 0, 2, steps, method) - math.exp(math.sin(2)))

    assert error(40) / error(80) == pytest.approx(2**order, rel=0.06)


def test_the_path_begins_with_y0_and_ends_with_the_last_state():
    path = odeint(growth, np.ones((2, 1), np.float32), 0, 1, 4, path=True)
    assert [float(y[0, 0]) for y in path] == [1, 1.25, 1.5625, 1.953125, 2.44140625]
    assert {y.dtype.name for y in path} == {"float32"}


def test_backwards_undoes_forwards_up_to_the_order():
    there = odeint(growth, 1.0, 0, 1, 50, "rk4")
    assert odeint(growth, there, 1, 0, 50, "rk4") == pytest.approx(1, abs=1e-8)


def test_gradients_go_through_the_steps():
    y0 = Tensor(RNG.standard_normal((4, 3)), requires_grad=True)
    y1 = odeint(Swirl().to("float64"), y0, 0, 1, 3, "midpoint")
    y1.sum().backward()
    moved = [
        odeint(Swirl().to("float64"), y0.data + d, 0, 1, 3, "midpoint").numpy().sum() for d in (1e-6, -1e-6)
    ]
    assert y0.grad.sum() == pytest.approx((moved[0] - moved[1]) / 2e-6, rel=1e-6)


def both(steps, method):
    """Gradients of y0 and of a weight, through the steps and by the adjoint method."""
    field = Swirl().to("float64")
    y0 = Tensor(np.linspace(-1, 1, 12).reshape(4, 3), requires_grad=True)
    y1 = odeint(field, y0, 0, 1, steps, method)
    g = np.linspace(1, 2, 12).reshape(4, 3)
    y1.backward(g)
    back, gradient, (weight, _) = odeint_adjoint(field, y1, g, 0, 1, steps, method, field.parameters())
    return (y0.data, y0.grad, field.layer.weight.grad), (back, gradient, weight)


def test_with_euler_the_adjoint_differs_by_a_term_that_halves_when_the_steps_double():
    def differences(steps):
        return [np.abs(a - b).max() for a, b in zip(*both(steps, "euler"), strict=True)]

    ratios = np.array(differences(40)) / differences(80)
    np.testing.assert_allclose(ratios, 2, atol=0.1)


def test_with_runge_kutta_the_adjoint_is_nearly_exact_and_leaves_gradients_alone():
    through, adjoint = both(20, "rk4")
    for a, b in zip(through, adjoint, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    field = Swirl()
    odeint_adjoint(
        field, np.ones((1, 3), np.float32), np.ones((1, 3), np.float32), 0, 1, 2, "euler", field.parameters()
    )
    assert all(p.grad is None for p in field.parameters())


def test_a_field_without_the_state_has_no_gradient():
    _, gradient, _ = odeint_adjoint(lambda y, t: np.ones(2) * t, np.ones(2), np.ones(2), 0, 1, 3)
    np.testing.assert_array_equal(gradient, [1, 1])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_dtype_stays(dtype):
    y = np.ones((2, 3), dtype)
    assert odeint(growth, y, 0, 0.5, 3, "rk4").dtype == dtype
    field = Swirl().to(dtype)
    assert odeint(field, Tensor(y), 0, 1, 2, "midpoint").dtype == dtype
    found = odeint_adjoint(field, y, y, 0, 1, 2, "euler", field.parameters())
    assert {x.dtype.name for x in (*found[:2], *found[2])} == {dtype}


def test_it_runs_on_the_pretend_gpu():
    strict.install()
    field = Swirl().to("strict")
    y = mv.to_device(np.ones((2, 3), np.float32), "strict")
    y1 = odeint(field, Tensor(y), 0, 1, 2, "rk4")
    _, gradient, weights = odeint_adjoint(field, y1, y, 0, 1, 2, "rk4", field.parameters())
    assert gradient.shape == (2, 3) and len(weights) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "dopri5"}, "odeint: method must be one of euler, midpoint, rk4"),
        ({"steps": 0}, "odeint: steps must be a whole number"),
        ({"steps": 1.5}, "odeint: steps must be a whole number"),
    ],
)
def test_bad_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        odeint(**{"field": growth, "y0": 1.0, "t0": 0, "t1": 1, "steps": 1, **options})
    with pytest.raises(ValueError, match="odeint_adjoint: g must have the shape of y1"):
        analysis.odeint_adjoint(growth, np.ones(2), np.ones(3), 0, 1, 1)


def test_numpy_times_and_fields_keep_the_dtype_and_the_shape():
    y0 = np.ones(2, np.float32)
    for method in ("euler", "midpoint", "rk4"):
        assert odeint(growth, y0, np.float64(0), np.float64(1), 3, method).dtype == np.float32
    with pytest.raises(ValueError, match="odeint: field must return the shape of y"):
        odeint(lambda y, t: np.ones((3, 2)), y0, 0, 1, 1)
    with pytest.raises(TypeError, match="odeint: y0 must be floating-point, got int64"):
        odeint(growth, np.array([1, 2]), 0, 1, 1)


def test_the_adjoint_leaves_every_gradient_of_the_field_alone():
    field, y = Swirl(), np.ones((1, 3), np.float32)
    weight, bias = field.parameters()
    odeint_adjoint(field, y, y, 0, 1, 2, "euler", [bias])
    assert weight.grad is None and bias.grad is None
    expected = odeint_adjoint(field, y, y, 0, 1, 2, "euler", field.parameters())[2]
    found = odeint_adjoint(field, y, y, 0, 1, 2, "euler", (p for p in field.parameters()))[2]
    np.testing.assert_array_equal(found[0], expected[0])


def test_the_adjoint_says_when_it_cannot_differentiate():
    field, y = Swirl(), np.ones((1, 3), np.float32)
    with mv.no_grad(), pytest.raises(ValueError, match="odeint_adjoint: .* outside of no_grad"):
        odeint_adjoint(field, y, y, 0, 1, 1)
    with pytest.raises(ValueError, match="parameters that require gradients"):
        odeint_adjoint(field, y, y, 0, 1, 1, "euler", [Tensor(np.ones(3))])
