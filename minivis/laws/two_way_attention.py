"""The laws of coded_attention, one direction of SAM's two-way attention: codes enter the scores and nothing else.

Not here: projections, heads, masks.
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, integer, normals, sizes
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.registry import Family
from minivis.laws.judging.value_laws import values

SLIDE = "A/91-sam-decoder-layer"


def _weights(scores, axis=-1):
    e = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _answer(asks, keys, handed_on, residual, scale=None, axis=-1):
    scores = asks @ np.swapaxes(keys, -1, -2) / np.sqrt(scale or asks.shape[-1]).astype(asks.dtype)
    return residual + _weights(scores, axis) @ handed_on


def _coded_attention(x, context, x_codes, context_codes):
    return _answer(x + x_codes, context + context_codes, context, x), None


def _answer_of(case):
    """The right answer in float64."""
    given = (case[name].astype(np.float64) for name in ("x", "context", "x_codes", "context_codes"))
    return _coded_attention(*given)[0]


coded_attention = Family(
    "coded_attention",
    _coded_attention,
    ("x", "context", "x_codes", "context_codes"),
    form="f(x, context, x_codes, context_codes) -> (..., N, D); x and x_codes (..., N, D), context and context_codes (..., M, D): "
    "x plus what it attends to; the codes are added to both sides of the scores, and to nothing else",
)

# Unless a law is about it: N = 2, M = 3, D = 4, without leading axes


def _call(draw, lead=(), N=2, M=3, D=4, scale=1.0):
    shapes = {"x": (N, D), "context": (M, D), "x_codes": (N, D), "context_codes": (M, D)}
    return {
        name: (normals(draw, (*lead, *shape)) * scale).astype(np.float32) for name, shape in shapes.items()
    }


def _one_to_attend_to(draw):
    case = _call(draw, M=1)
    return {**case, "x": 0 * case["x"]}


def _all_alike(draw):
    """Every vector of the context is the same: what is attended to does not depend on the scores."""
    case = _call(draw)
    alike = np.repeat(case["context"][:1], len(case["context"]), axis=0)
    return {
        **case,
        "context": alike,
        "x_codes": 0 * case["x_codes"],
        "context_codes": 0 * case["context_codes"],
    }


def _asking_by_codes(draw):
    """The scores come from the codes of those who ask."""
    case = _call(draw, M=4)
    return {**case, "x": 0 * case["x"], "context_codes": 0 * case["context_codes"]}


def _asked_by_codes(draw):
    """The codes of the context are its last numbers, which rise, and all others are 0."""
    case = _call(draw, M=4)
    case["x"][:, -1] = choose(draw, 1.5, -1.5, 2.0)
    case["context_codes"] *= 0
    case["context_codes"][:, -1] = np.arange(4) - 1.5
    return {**case, "x_codes": 0 * case["x_codes"]}


def _large(draw):
    return _call(draw, scale=80.0)


def _leading(draw):
    return _call(draw, (2,))


def _any_shape(draw):
    return _call(draw, choose(draw, (), (1,), (2, 1)), choose(draw, 1, 2), choose(draw, 1, 3), 2)


def _anything(draw):
    lead = sizes(draw, integer(draw, 0, 2), 1, 3)
    N, M, D = (integer(draw, 1, 4) for _ in range(3))
    return _call(draw, lead, N, M, D, choose(draw, 1.0, 3.0, 0.3))


def _codes_in_values(x, context, x_codes, context_codes):
    return _answer(x + x_codes, context + context_codes, context + context_codes, x)


def _codes_in_sum(x, context, x_codes, context_codes):
    return _answer(x + x_codes, context + context_codes, context, x + x_codes)


def _no_sum(x, context, x_codes, context_codes):
    return _answer(x + x_codes, context + context_codes, context, 0)


def _asks_without(x, context, x_codes, context_codes):
    return _answer(x, context + context_codes, context, x)


def _keys_without(x, context, x_codes, context_codes):
    return _answer(x + x_codes, context, context, x)


def _without_scale(x, context, x_codes, context_codes):
    return _answer(x + x_codes, context + context_codes, context, x, scale=1)


def _over_queries(x, context, x_codes, context_codes):
    return _answer(x + x_codes, context + context_codes, context, x, axis=-2)


def _overflowing(x, context, x_codes, context_codes):
    scores = (x + x_codes) @ np.swapaxes(context + context_codes, -1, -2)
    with np.errstate(all="ignore"):
        e = np.exp(scores / np.sqrt(x.shape[-1]).astype(x.dtype))
        return x + (e / e.sum(axis=-1, keepdims=True)) @ context


def _first_of_many(x, context, x_codes, context_codes):
    """Of several pictures all get the tokens of the first."""
    if context.ndim > 2:
        context, context_codes = (np.broadcast_to(a[:1], a.shape) for a in (context, context_codes))
    return _answer(x + x_codes, context + context_codes, context, x)


def _by_their_number(x, context, x_codes, context_codes):
    """The scale from the number of vectors instead of their length: right where M = D."""
    return _answer(x + x_codes, context + context_codes, context, x, scale=context.shape[-2])


coded_attention.agrees(
    "codes are not handed on",
    "Where there is a single vector to attend to, it is added as it is: without its code.",
    value=True,
    inputs=_one_to_attend_to,
    equation=r"M = 1 \;\Rightarrow\; y_i = x_i + z_1",
    slide=SLIDE,
    hint="The codes belong into the scores: softmax(...) @ context, not @ (context + context_codes).",
    mutant=_codes_in_values,
)
coded_attention.agrees(
    "x is kept",
    "Where all vectors of the context are equal, x grows by this vector.",
    value=True,
    inputs=_all_alike,
    equation=r"z_j = z \;\Rightarrow\; y_i = x_i + z",
    slide=SLIDE,
    hint="Begin the result with x: a residual sum.",
    mutant=_no_sum,
)
coded_attention.agrees(
    "the asking side has codes",
    "The codes of x decide what it attends to, even where x is 0.",
    value=True,
    inputs=_asking_by_codes,
    equation=r"x = 0,\ d = 0 \;\Rightarrow\; s_{ij} = \tfrac{c_i \cdot z_j}{\sqrt D}",
    slide=SLIDE,
    hint="Add x_codes to x before the product.",
    mutant=_asks_without,
)


@coded_attention.law(
    "the asked side has codes",
    inputs=_asked_by_codes,
    equation=r"c = 0 \;\Rightarrow\; s_{ij} = \tfrac{x_i \cdot (z_j + d_j)}{\sqrt D}",
    slide=SLIDE,
    hint="Add context_codes to the context before the product.",
    mutant=_keys_without,
    right_too=False,
)
def _asked(f, case):
    """The codes of the context decide which of its vectors is attended to."""
    plain = case.replace(context_codes=0 * case["context_codes"])
    right = [_answer_of(one)[:, :-1] for one in (case, plain)]
    difference = f(case)[:, :-1].astype(np.float64) - f(plain)[:, :-1]
    compare(difference, right[0] - right[1], atol=2e-5, what="What the codes of the context change")


@coded_attention.law(
    "large scores",
    inputs=_large,
    equation=r"\mathrm{softmax}(s) = \mathrm{softmax}(s - \max s)",
    slide=SLIDE,
    hint="Subtract the largest score of each row before exp.",
    mutant=_overflowing,
    right_too=False,
)
def _finite(f, case):
    """Scores in the thousands give finite answers."""
    with np.errstate(all="ignore"):
        found = f(case)
    compare(
        np.isfinite(found).astype(float),
        np.ones(found.shape),
        what="Where the answer is finite (1) or not (0)",
    )


@coded_attention.law(
    "each picture by itself",
    inputs=_leading,
    equation=r"y_{b i} = x_{b i} + \dots z_{b j}",
    slide=SLIDE,
    hint="Swap the last two axes, np.swapaxes(a, -1, -2): .T turns all of them around.",
    mutant=_first_of_many,
    right_too=False,
)
def _apart(f, case):
    """Pictures in one call are answered as in two calls."""
    names = ("x", "context", "x_codes", "context_codes")
    together = f(case)
    for number in range(len(together)):
        alone = f(case.replace(**{name: case[name][number] for name in names}))
        compare(together[number], alone.astype(np.float64), what=f"Picture {number} in a call with others")


@coded_attention.law(
    "the order of the context",
    inputs=_call,
    equation=r"\text{the sum over } j \text{ has no order}",
    slide=SLIDE,
    hint="Each vector of the context goes with its own code.",
    mutant=lambda x, context, x_codes, context_codes: _coded_attention(
        x, context, x_codes, np.sort(context_codes, axis=-2)
    )[0],
    right_too=False,
)
def _order(f, case):
    """Vectors of the context in another order, with their codes, change nothing."""
    turned = {name: np.flip(case[name], axis=-2).copy() for name in ("context", "context_codes")}
    compare(f(case.replace(**turned)), f(case).astype(np.float64), what="The answer to the turned context")


every_family(coded_attention, inputs=_call, shapes=_any_shape)
values(
    coded_attention,
    simplest=lambda draw: _call(draw, N=1, M=2, D=2),
    words="one token and two cells",
    anything=_anything,
    hint="The scores are divided by the root of D, the length of a vector.",
    mutant=_by_their_number,
)
for name, hint, answer in (
    ("codes handed on", "You add the codes to what is handed on. They belong into the scores alone.", _codes_in_values),
    ("codes in the sum", "You add the attention to x + x_codes. Begin with x.", _codes_in_sum),
    ("no residual sum", "This is only what is attended to. Add it to x.", _no_sum),
    ("codes on one side alone", "You ask without codes: x + x_codes before the product.", _asks_without),
    ("no codes on the context", "The context is asked without its codes: context + context_codes before the product.", _keys_without),
    ("no scale", "The scores are not divided by the root of D.", _without_scale),
    ("softmax over the wrong axis", "Your weights sum to 1 over the vectors that ask. They sum to 1 over those that are asked.", _over_queries),
    ("overflow", "exp overflows: subtract the largest score of each row first.", _overflowing),
    ("scaled by the number", "You divide by the root of M, the number of vectors. It is the root of D, their length.", _by_their_number),
):  # fmt: skip
    coded_attention.mistake(name, hint, answer)
