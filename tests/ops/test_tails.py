"""Values and derivatives of element-wise ops are right to the last digits, wherever the value is a normal number.

A million values over the whole range of exponents, every float16; compared relatively with the formula in a wider dtype.
Not here: ordinary values of every op (tests/ops/test_every_op.py).
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from scipy import special

import minivis as mv
from minivis.losses import sigmoid_focal_loss

WIDER = {np.float16: np.float64, np.float32: np.float64, np.float64: np.longdouble}
EXTENDED = np.finfo(np.longdouble).nmant > np.finfo(np.float64).nmant  # False on some machines
PI = np.longdouble("3.14159265358979323846264338327950288")
UNITS = 5  # allowed error in units of the last place: NumPy's exp of float32 alone is off by 2.3


# ---------------------------------------------------------------------------------------------------------------------
# The right answers, from formulas without cancellation in a dtype that is wider than the one they are compared with


def pi(x):
    return PI.astype(x.dtype)


def erfc_scaled(t):
    """exp(t^2) erfc(t) for t of at least 0: SciPy's, or in extended precision by a series and a continued fraction."""
    if t.dtype != np.longdouble:
        return special.erfcx(t)
    found = np.where(t < 1, 1 - 2 * t / np.sqrt(PI), 1 / (np.sqrt(PI) * np.maximum(t, 1)))  # so at both ends
    small = (t > 1e-12) & (t < 2)
    large = (t >= 2) & (t < 1e10)
    found[small] = np.exp(t[small] ** 2) - erf_scaled(t[small])
    fraction = t[large]
    for n in range(120, 0, -1):
        fraction = t[large] + n / np.longdouble(2) / fraction
    found[large] = 1 / (np.sqrt(PI) * fraction)
    return found


def erf_scaled(t):
    """exp(t^2) erf(t) for t from 0 to 2, a series of positive terms."""
    term = total = 2 * t / np.sqrt(PI)
    for n in range(1, 60):
        term = term * (2 * t * t) / (2 * n + 1)
        total = total + term
    return total


def erf(x):
    if x.dtype != np.longdouble:
        return special.erf(x)
    t = np.minimum(np.abs(x), 60)
    found = np.where(t < 1, 2 * t / np.sqrt(PI), 1 - erfc_scaled(t) * np.exp(-t * t))
    small = (t > 1e-12) & (t < 2)
    found[small] = erf_scaled(t[small]) * np.exp(-(t[small] ** 2))
    return np.copysign(found, x)


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def gelu(x):
    a = np.minimum(np.abs(x), 60)
    tail = 0.5 * erfc_scaled(a / np.sqrt(a.dtype.type(2)))
    bell = np.exp(-a * a / 2)
    beyond = (a / np.sqrt(2 * pi(x)) - tail) * bell
    return np.maximum(x, 0) - a * tail * bell, np.where(x < 0, -beyond, 1 + beyond)


def gated(a, b):
    """x sigmoid(a x + b x^3), and its derivative."""

    def both(x):
        v = np.clip(x, -1e4, 1e4)  # far enough that exp is 0 or infinite, and x^3 does not overflow
        z = v * (a + b * v * v)
        gate = sigmoid(z)
        return np.where(x < 0, v, x) * gate, gate * (1 + v * sigmoid(-z) * (a + 3 * b * v * v))

    return both


C = np.sqrt(8 / PI)


@dataclass(frozen=True)
class Row:
    """An element-wise op, its right value and derivative (slope), and where a larger error is allowed, and why."""

    op: str
    right: object  # x -> (value, slope)
    options: tuple = ()
    positive: bool = False  # whether x must be
    units: float = UNITS
    zero: float = math.nan  # where the slope crosses 0: near it, digits cancel in the formula itself
    # x -> the argument of exp, whose rounding adds that many units to the error in float64
    logit: object = None
    why: str = ""

    def __str__(self):
        return "-".join([self.op, *(f"{k}={v}" for k, v in self.options)])


SQUARE = "e^x is the square of a root: it can be too small for the dtype where x e^x is not"
LOGIT = f"{SQUARE}; and nothing is wider than float64 to form the argument of exp in"
ROWS = [
    Row("exp", lambda x: (np.exp(x), np.exp(x))),
    Row("log", lambda x: (np.log(x), 1 / x), positive=True),
    Row("sqrt", lambda x: (np.sqrt(x), 0.5 / np.sqrt(x)), positive=True),
    Row("rsqrt", lambda x: (1 / np.sqrt(x), -0.5 / np.sqrt(x) / x), positive=True),
    Row("sin", lambda x: (np.sin(x), np.cos(x))),
    Row("cos", lambda x: (np.cos(x), -np.sin(x))),
    Row("tanh", lambda x: (np.tanh(x), 4 * sigmoid(2 * x) * sigmoid(-2 * x))),
    Row("erf", lambda x: (erf(x), 2 / np.sqrt(pi(x)) * np.exp(-(np.minimum(np.abs(x), 60) ** 2)))),
    Row("abs", lambda x: (np.abs(x), np.sign(x))),
    Row("neg", lambda x: (-x, -np.ones_like(x))),
    Row("relu", lambda x: (np.maximum(x, 0), 1.0 * (x > 0))),
    Row("clip", lambda x: (np.clip(x, -2, 2), 1.0 * (np.abs(x) <= 2)), (("min", -2), ("max", 2))),
    Row("add", lambda x: (x + 0.75, np.ones_like(x)), (("y", 0.75),)),
    Row("mul", lambda x: (x * 0.75, np.full_like(x, 0.75)), (("y", 0.75),)),
    Row("div", lambda x: (x / 3, np.full_like(x, 1) / 3), (("y", 3),)),
    Row("pow", lambda x: (x * x, 2 * x), (("exponent", 2),)),
    Row("pow", lambda x: (x * x * x, 3 * x * x), (("exponent", 3),)),
    Row("pow", lambda x: (1 / x, -1 / x / x), (("exponent", -1),)),
    Row("pow", lambda x: (np.sqrt(x) * x, 1.5 * np.sqrt(x)), (("exponent", 1.5),), positive=True),
    Row("sigmoid", lambda x: (sigmoid(x), sigmoid(x) * sigmoid(-x))),
    Row("softplus", lambda x: (softplus(x), sigmoid(x)), (("threshold", math.inf),)),
    Row("silu", gated(1, 0), units=7, zero=-1.2784645427610738, why=SQUARE),
    Row(
        "gelu",
        gelu,
        units=16,
        zero=-0.7517916243494656,
        why="the scaled erfc is off by 5 to 8, SciPy's too; e^(-x^2 / 2) has few digits where x e^(-x^2 / 2) is smallest",
    ),
    Row(
        "gelu",
        gated(1.702, 0),
        (("approximate", "quick"),),
        units=7,
        zero=-0.7511570239,
        logit=lambda x: 1.702 * x,
        why=LOGIT,
    ),
    Row(
        "gelu",
        gated(C, np.longdouble("0.044715") * C),
        (("approximate", "tanh"),),
        units=7,
        zero=-0.7524614220710162,
        logit=lambda x: 3 * 1.6 * x * (1 + 0.044715 * x * x),  # three times: it has five factors
        why=LOGIT,
    ),
]


# ---------------------------------------------------------------------------------------------------------------------


@cache
def draws(dtype, n=10**6):
    """Every finite float16, or ``n`` numbers of any sign, exponent and digits and n / 5 where most ops are curved."""
    bits = np.dtype(f"u{np.dtype(dtype).itemsize}")
    if dtype == np.float16:
        x = np.arange(2**16, dtype=bits).view(dtype)
    else:
        rng = np.random.default_rng(0)
        x = rng.integers(0, np.iinfo(bits).max, n, bits, endpoint=True).view(dtype)
        most = 1.1 * math.log(np.finfo(dtype).max)
        x = np.concatenate([x, rng.uniform(-most, most, n // 5).astype(dtype)])
    return x[np.isfinite(x) & (np.abs(x) >= np.finfo(dtype).tiny)]


def units_off(got, right, dtype, least=0.0):
    """The error in units of the last place of the right answer, or of ``least`` where that is larger.

    If the right answer is below the normal numbers, any small answer counts as right; if it overflows, infinity does.
    """
    finfo, size = np.finfo(dtype), np.abs(right)
    _, exponent = np.frexp(np.maximum(np.maximum(size, least), finfo.tiny))
    with np.errstate(all="ignore"):
        units = np.ldexp(np.abs(got.astype(right.dtype) - right), finfo.nmant + 1 - exponent)
    units[size < finfo.tiny] = np.where(np.abs(got[size < finfo.tiny]) <= 2 * finfo.tiny, 0, np.inf)
    units[size > finfo.max] = np.where(np.abs(got[size > finfo.max]) >= finfo.max, 0, np.inf)
    return np.where(np.isnan(units), np.inf, units)


def check(row, x, got, dtype):
    """Compare (value, slope) with the right answers."""
    wide = x.astype(WIDER[dtype])
    allowed = row.units + (np.abs(row.logit(wide)) if row.logit and dtype == np.float64 else 0)
    ratio = wide / row.zero
    least = np.where((ratio > 0.2) & (ratio < 5), 0.25, 0)  # the size of the terms that cancel there
    with np.errstate(all="ignore"):
        right = row.right(wide)
    for what, a, b, floor in zip(("value", "slope"), got, right, (0, least), strict=True):
        assert a.dtype == dtype
        wrong = units_off(a, b, dtype, floor) > allowed
        worst = [(x[i], a[i], b[i]) for i in np.flatnonzero(wrong)[:3]]
        assert not wrong.any(), (
            f"{row}: {wrong.sum()} of {x.size} {what}s are wrong, (x, got, right): {worst}"
        )


@pytest.mark.parametrize("dtype", WIDER)
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_values_and_slopes_are_right_to_the_last_digits(row, dtype):
    if dtype == np.float64 and not EXTENDED:
        pytest.skip("no dtype of this machine is wider than float64")
    x = draws(dtype)
    x = np.abs(x) if row.positive else x
    with np.errstate(all="ignore"):
        y, vjp = getattr(mv.ops, row.op).raw(x, **dict(row.options))
        check(row, x, (y, vjp(np.ones_like(x))[0]), dtype)


# Row-wise ops and losses as functions of a single number x: (op of x, value, slope)
def pairs(x):
    return np.stack([x, np.zeros_like(x)], axis=1)


def summed(op, of, **options):
    """A row-wise op of rows made by ``of``: its value (the first, of several) and the slope in x."""

    def both(x):
        y, vjp = op.raw(of(x), **options)
        g = np.zeros_like(y)
        g[(slice(None), 0) if y.ndim > 1 else slice(None)] = 1
        slope = vjp(g)[0]
        return (y[:, 0] if y.ndim > 1 else y), (slope[:, 0] if slope.ndim > 1 else slope)

    return both


def loss_of(target):
    op = mv.ops.binary_cross_entropy_with_logits
    return lambda x: summed(op, lambda x: x, target=np.full_like(x, target), reduction="none")(x)


def entropy_of(label):
    return lambda x: summed(mv.ops.cross_entropy, pairs, target=np.full(x.size, label), reduction="none")(x)


OF_ROWS = {
    "softmax": (summed(mv.ops.softmax, pairs), lambda x: (sigmoid(x), None)),
    "log_softmax": (summed(mv.ops.log_softmax, pairs), lambda x: (-softplus(-x), sigmoid(-x))),
    "logsumexp": (summed(mv.ops.logsumexp, pairs, axis=1), lambda x: (softplus(x), sigmoid(x))),
    "cross_entropy-right": (entropy_of(0), lambda x: (softplus(-x), -sigmoid(-x))),
    "cross_entropy-wrong": (entropy_of(1), lambda x: (softplus(x), sigmoid(x))),
    "bce-yes": (loss_of(1), lambda x: (softplus(-x), -sigmoid(-x))),
    "bce-no": (loss_of(0), lambda x: (softplus(x), sigmoid(x))),
}


@pytest.mark.parametrize("dtype", WIDER)
@pytest.mark.parametrize("name", OF_ROWS)
def test_rows_and_losses_keep_what_is_small_beside_the_largest(name, dtype):
    if dtype == np.float64 and not EXTENDED:
        pytest.skip("no dtype of this machine is wider than float64")
    op, right = OF_ROWS[name]
    x = draws(dtype)
    with np.errstate(all="ignore"):
        got = op(x)
        for what, a, b in zip(("value", "slope"), got, right(x.astype(WIDER[dtype])), strict=True):
            if b is not None:
                wrong = units_off(a, b, dtype) > UNITS
                worst = [(x[i], a[i], b[i]) for i in np.flatnonzero(wrong)[:3]]
                assert not wrong.any(), f"{name}: {wrong.sum()} {what}s are wrong, (x, got, right): {worst}"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("target, sign, weight", [(True, -1, 0.25), (False, 1, 0.75)])
def test_the_focal_loss_of_what_is_nearly_certain_keeps_its_digits(target, sign, weight, dtype):
    if dtype == np.float64 and not EXTENDED:
        pytest.skip("no dtype of this machine is wider than float64")
    z = mv.Tensor(np.linspace(-29, 29, 9999, dtype=dtype)[:, None], requires_grad=True)
    y = sigmoid_focal_loss(z, np.full(z.shape, target), reduction="none")
    y.backward(np.ones_like(y.data))
    x = sign * z.data[:, 0].astype(WIDER[dtype])  # the logit of the wrong answer
    q = sigmoid(x)
    p = sigmoid(-x)
    value = weight * q * q * softplus(x)
    slope = weight * q * q * (2 * p * softplus(x) + q)
    assert units_off(y.data, value, dtype).max() < 3 * UNITS  # several ops in a row add up their errors
    assert units_off(z.grad[:, 0], sign * slope, dtype).max() < 3 * UNITS


@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.parametrize("dtype", WIDER)
def test_the_ends(row, dtype):
    """At infinity and at the largest number, a value that has a limit is not NaN."""
    x = np.array([np.inf, np.finfo(dtype).max], dtype)
    x = x if row.positive else np.concatenate([x, -x])
    with np.errstate(all="ignore"):
        y, vjp = getattr(mv.ops, row.op).raw(x, **dict(row.options))
        slope = vjp(np.ones_like(x))[0]
    oscillates = row.op in ("sin", "cos")
    assert oscillates or not np.isnan(y).any()
    assert oscillates or not np.isnan(slope).any()
    nothing = getattr(mv.ops, row.op).raw(np.array([np.nan, 1], dtype), **dict(row.options))[0]
    assert np.isnan(nothing[0]) and not np.isnan(nothing[1])
