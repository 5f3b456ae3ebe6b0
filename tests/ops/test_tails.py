"""Every op of one element is right to the last digits wherever its value is a normal number, and so is its slope.

A million values over the whole range of exponents, every one of float16; compared relatively, with the formula in a wider
dtype. Not here: rows of ordinary values (tests/ops/test_every_op.py).
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from scipy import special

import minivis as mv

WIDER = {np.float16: np.float64, np.float32: np.float64, np.float64: np.longdouble}
UNITS = 4  # in the last place, by which values and slopes may be off where the table says nothing else
EXTENDED = np.finfo(np.longdouble).nmant > np.finfo(np.float64).nmant  # not so on every machine

PI = np.longdouble("3.14159265358979323846264338327950288")


def scaled_tail(a):
    """exp(a^2 / 2) (1 - Phi(a)) for a of at least 0: SciPy's, in extended precision by series and continued fraction."""
    if a.dtype != np.longdouble:
        return 0.5 * special.erfcx(a * np.sqrt(0.5))
    t = a / np.sqrt(np.longdouble(2))
    small = np.minimum(t, 2)
    term = total = small
    for n in range(1, 80):  # erf(t) exp(t^2) sqrt(pi) / 2, of positive terms
        term = term * (2 * small * small) / (2 * n + 1)
        total = total + term
    near = np.exp(small * small) - 2 / np.sqrt(PI) * total
    fraction = large = np.maximum(t, 2)
    for n in range(120, 0, -1):
        fraction = large + n / np.longdouble(2) / fraction
    far = 1 / (np.sqrt(PI) * fraction)
    return 0.5 * np.where(t < 2, near, far)


def bell(x, rate):
    return np.exp(-rate * np.minimum(np.abs(x), 60) ** 2)


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def gelu(x):
    a = np.minimum(np.abs(x), 60)
    return np.maximum(x, 0) - a * scaled_tail(a) * bell(x, 0.5)


def gelu_slope(x):
    a = np.minimum(np.abs(x), 60)
    s = (a / np.sqrt(2 * pi(x)) - scaled_tail(a)) * bell(x, 0.5)
    return np.where(x < 0, -s, 1 + s)


def pi(x):
    return PI.astype(x.dtype)


def gated(z, steep):
    """x sigmoid(z(x)) and its slope; where z is beyond every exponent, so that nothing overflows."""

    def value(x):
        v = np.clip(x, -1e4, 1e4)
        return np.where(x < 0, v, x) * sigmoid(z(v))

    def slope(x):
        v = np.clip(x, -1e4, 1e4)
        return sigmoid(z(v)) * (1 + v * sigmoid(-z(v)) * steep(v))

    return value, slope


SILU = gated(lambda x: x, lambda x: 1)
QUICK = gated(lambda x: x.dtype.type(1.702) * x, lambda x: 1.702)
TANH = gated(
    lambda x: np.sqrt(8 / pi(x)) * x * (1 + x.dtype.type(0.044715) * x * x),
    lambda x: np.sqrt(8 / pi(x)) * (1 + 3 * x.dtype.type(0.044715) * x * x),
)


@dataclass(frozen=True)
class Row:
    """An op of one element: the right value and slope, and where they may be off by more, with the reason."""

    op: str
    value: object
    slope: object
    options: tuple = ()
    domain: object = None  # which x have a value
    units: float = UNITS
    zero: float | None = None  # where the slope crosses 0: near it digits cancel, whatever the formula
    logit: object = (
        None  # how large the rounded argument of an exponential is: so many units more, in float64
    )
    why: str = ""

    def __str__(self):
        return "-".join([self.op, *(f"{k}={v}" for k, v in self.options)])


def positive(x):
    return x > 0


ROWS = [
    Row("exp", np.exp, np.exp),
    Row("log", np.log, lambda x: 1 / x, domain=positive),
    Row("sqrt", np.sqrt, lambda x: 0.5 / np.sqrt(x), domain=positive),
    Row("rsqrt", lambda x: 1 / np.sqrt(x), lambda x: -0.5 / np.sqrt(x) / x, domain=positive),
    Row("sin", np.sin, np.cos),
    Row("cos", np.cos, lambda x: -np.sin(x)),
    Row("tanh", np.tanh, lambda x: 1 / np.cosh(np.minimum(np.abs(x), 5000)) ** 2),
    Row(
        "erf",
        lambda x: np.copysign(1 - 2 * scaled_tail(np.sqrt(x.dtype.type(2)) * np.abs(x)) * bell(x, 1), x),
        lambda x: 2 / np.sqrt(pi(x)) * bell(x, 1),
    ),
    Row("sigmoid", sigmoid, lambda x: sigmoid(x) * sigmoid(-x)),
    Row("silu", *SILU, zero=-1.2784645427610738),
    Row(
        "softplus", lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))), sigmoid, (("threshold", 1e9),)
    ),
    Row("gelu", gelu, gelu_slope, zero=-0.7517916243494656),
    Row("gelu", *QUICK, (("approximate", "quick"),), zero=-0.7511570238),
    Row("gelu", *TANH, (("approximate", "tanh"),), zero=-0.7524614220710162),
]


@cache
def draws(dtype):
    """Every finite float16, or a million of the others: any sign, any exponent, any digits; as many where most ops bend."""
    bits = np.dtype(f"u{np.dtype(dtype).itemsize}")
    if dtype == np.float16:
        x = np.arange(2**16, dtype=bits).view(dtype)
    else:
        rng = np.random.default_rng(0)
        x = rng.integers(0, np.iinfo(bits).max, 10**6, bits, endpoint=True).view(dtype)
        most = 1.1 * math.log(np.finfo(dtype).max)
        x = np.concatenate([x, rng.uniform(-most, most, 2 * 10**5).astype(dtype)])
    normal = np.abs(x) >= np.finfo(dtype).tiny
    return x[np.isfinite(x) & normal]


def off(got, right, dtype):
    """By how many units in the last place; inf where one is not finite and the other is, 0 where the right one is too small."""
    finfo = np.finfo(dtype)
    wide = np.abs(right).astype(WIDER[dtype])
    exponent = np.floor(np.log2(np.maximum(wide, finfo.tiny)))
    with np.errstate(all="ignore"):
        units = np.abs(got.astype(wide.dtype) - right) / np.exp2(exponent - finfo.nmant)
    units[wide < finfo.tiny] = np.where(np.abs(got[wide < finfo.tiny]) <= 2 * finfo.tiny, 0, np.inf)
    large = wide > finfo.max
    units[large] = np.where(np.abs(got[large]) >= finfo.max, 0, np.inf)
    return np.where(np.isnan(units), np.inf, units)


@pytest.mark.parametrize("dtype", WIDER)
@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_values_and_slopes_are_right_to_the_last_digits(row, dtype):
    if dtype == np.float64 and not EXTENDED:
        pytest.skip("no wider dtype on this machine")
    x = draws(dtype)
    x = x if row.domain is None else x[row.domain(x)]
    y, vjp = getattr(mv.ops, row.op).raw(x, **dict(row.options))
    (slope,) = vjp(np.ones_like(x))
    wide = x.astype(WIDER[dtype])
    for what, got, right in (("value", y, row.value(wide)), ("slope", slope, row.slope(wide))):
        units = off(got, right, dtype)
        wrong = units > row.units
        print(
            f"\n{row} {np.dtype(dtype).name} {what}: {wrong.sum()} of {x.size}, worst {units.max():.3g} at {x[units.argmax()]!r}",
            end="",
        )
        assert got.dtype == dtype
