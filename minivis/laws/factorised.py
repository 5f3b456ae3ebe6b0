"""The laws of factorised_attention and factorised_heads: attention in space and in time, one after the other or by heads.

Not here: norms and MLPs of the blocks, how a film becomes tokens (tubelets.py).
"""

import math

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, generator, integer, normals, numbers, without_defaults
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.registry import Family
from minivis.laws.judging.value_laws import values

TWO_STEPS = r"y = x + \mathrm{MSA}_{space}(x), \quad z = y + \mathrm{MSA}_{time}(y)"
SPLIT = r"Y = [Y_s, Y_t], \quad Y_s = \mathrm{Attention}(Q, K_s, V_s), \quad Y_t = \mathrm{Attention}(Q, K_t, V_t)"
SLIDE = "A/118-factorised-self-attention"
HEADS = "A/119-factorised-heads"
NAMES = ("query", "key", "value", "out")
FORM = (
    'f(x, weights, heads, order="space_time"); x (B, T, N, D) -> (B, T, N, D); weights a dict with "space.query.weight" '
    '(D, D) and "space.query.bias" (D,), the same for key, value and out, and all of these for "time"; order "space_time" or '
    '"time_space". There is no norm'
)


def _attend(q, k, v, scale=None):
    """Scaled dot-product attention over the axis before the last."""
    scores = q @ k.swapaxes(-1, -2) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True) @ v


def _multi_head(x, weights, axis, heads, scale=None):
    """Self-attention among tokens (..., n, D), with the weights of one axis."""
    *lead, n, D = x.shape

    def linear(name, x):
        return x @ weights[f"{axis}.{name}.weight"].T + weights[f"{axis}.{name}.bias"]

    split = (linear(name, x).reshape(*lead, n, heads, D // heads).swapaxes(-3, -2) for name in NAMES[:3])
    return linear("out", _attend(*split, scale).swapaxes(-3, -2).reshape(*lead, n, D))


def _turned(x):
    return x.swapaxes(1, 2)


def _reshaped(x):
    """(B, T, N, D) as (B, N, T, D) without moving a number."""
    return x.reshape(x.shape[0], x.shape[2], x.shape[1], x.shape[3])


def _flat(x):
    return x.reshape(x.shape[0], 1, -1, x.shape[3])


def _answer(x, weights, heads, order="space_time", turn=_turned, attend=_multi_head):
    """Both steps; ``turn`` exchanges time and place."""
    for axis in order.split("_"):
        if axis == "space":
            x = x + attend(x, weights, axis, heads)
        else:
            y = turn(x)
            x = turn(y + attend(y, weights, axis, heads))
    return x


def _right(x, weights, heads, order="space_time"):
    return _answer(x, weights, heads, order), None


factorised_attention = Family("factorised_attention", _right, ("x", "weights"), form=FORM)
family = factorised_attention


# Inputs: one head unless a law is about heads; a step whose output projection is zero does nothing


def _weights(rng, D, off=()):
    """Weights of both steps; the output projection of a step that is off is zero."""
    found = {}
    for axis in ("space", "time"):
        for name in NAMES:
            still = axis in off and name == "out"
            for kind, shape in (("weight", (D, D)), ("bias", (D,))):
                drawn = rng.normal(scale=0.5, size=shape).round(2) * (not still)
                found[f"{axis}.{name}.{kind}"] = drawn.astype(np.float32)
    return found


def _shifted(draw, shape):
    """Numbers that differ from token to token, so that a mean over other tokens is another mean."""
    return numbers(draw, shape) + np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / 4


def _case(draw, T=1, N=1, off=(), heads=1, D=2, B=1, **options):
    weights = _weights(np.random.default_rng(integer(draw, 0, 60)), D, off)
    for axis in {"space", "time"} - set(off):  # never blind: values and outputs are passed on
        for name in ("value", "out"):
            weights[f"{axis}.{name}.weight"] = np.eye(D, dtype=np.float32)
    return {"x": _shifted(draw, (B, T, N, D)), "weights": weights, "heads": heads, **options}


def _switched_off(draw):
    return _case(draw, integer(draw, 1, 2), integer(draw, 1, 2), ("space", "time"))


def _space_only(draw):
    return _case(draw, 2, integer(draw, 2, 3), ("time",))


def _time_only(draw):
    return _case(draw, integer(draw, 2, 3), 2, ("space",))


def _one_place(draw):
    case = _case(draw, 2, 1)
    for axis, factor in (("space", 2), ("time", 1)):
        case["weights"][f"{axis}.value.weight"] *= factor
    return case


def _either_order(draw):
    T, N = choose(draw, (2, 1), (1, 2))
    return {**_case(draw, T, N), "order": "time_space"}


def _two_heads(draw):
    case = _case(draw, 1, 2, ("time",), heads=2)
    for name in ("query", "key"):
        case["weights"][f"space.{name}.weight"] = np.eye(2, dtype=np.float32)
        case["weights"][f"space.{name}.bias"] = np.zeros(2, np.float32)
    return case


def _plain(draw):
    return _case(draw, 2, 2)


def _any_size(draw):
    T, N, D, B = (integer(draw, 1, 2) for _ in range(4))
    return _case(draw, T, N, D=D, B=B)


def _normal(draw, B, T, N, heads, width, **options):
    D = heads * width
    weights = _weights(generator(draw), D)
    return {"x": normals(draw, (B, T, N, D)), "weights": weights, "heads": heads, **options}


def _simplest(draw):
    return _normal(draw, 1, 1, integer(draw, 1, 3), 1, integer(draw, 1, 3))


def _anything(draw):
    order = {"order": choose(draw, "space_time", "time_space")}
    shape = (integer(draw, 1, 2), *(integer(draw, 1, 3) for _ in range(4)))
    return _normal(draw, *shape, **without_defaults(order, order="space_time"))


# Wrong answers


def _frame_lost(right):
    """For several films of one frame, the axis of the frames is lost."""

    def wrong(x, *args, **options):
        out = right(x, *args, **options)[0]
        return out[:, 0] if len(x) > 1 and x.shape[1] == 1 else out

    return wrong


def _is_off(weights, axis):
    return not weights[f"{axis}.out.weight"].any() and not weights[f"{axis}.out.bias"].any()


def _no_residual(x, weights, heads, order="space_time"):
    for axis in order.split("_"):
        turn = _turned if axis == "time" else lambda y: y
        x = turn(_multi_head(turn(x), weights, axis, heads))
    return x


def _nothing_left(x, weights, heads, **options):
    """No residual, where nothing else is left."""
    off = _is_off(weights, "space") and _is_off(weights, "time")
    return (_no_residual if off else _answer)(x, weights, heads, **options)


def _frames_mixed(x, weights, heads, order="space_time"):
    """In space every token attends to the tokens of all frames."""

    def attend(y, weights, axis, heads):
        if axis == "time":
            return _multi_head(y, weights, axis, heads)
        return _multi_head(_flat(y), weights, axis, heads).reshape(y.shape)

    return _answer(x, weights, heads, order, attend=attend)


def _frames_mixed_in_space_alone(x, weights, heads, **options):
    return (_frames_mixed if _is_off(weights, "time") else _answer)(x, weights, heads, **options)


def _not_turned(x, weights, heads, **options):
    return _answer(x, weights, heads, **options, turn=_reshaped)


def _side_by_side(x, weights, heads, order="space_time"):
    """Both attentions see the same tokens."""
    time = _turned(_multi_head(_turned(x), weights, "time", heads))
    return x + _multi_head(x, weights, "space", heads) + time


def _always_space_first(x, weights, heads, order="space_time"):
    return _answer(x, weights, heads)


def _exchanged(x, weights, heads, order="space_time"):
    return _answer(x, weights, heads, "_".join(order.split("_")[::-1]))


def _full_width(x, weights, heads, **options):
    def attend(y, weights, axis, heads):
        return _multi_head(y, weights, axis, heads, 1 / math.sqrt(y.shape[-1]))

    return _answer(x, weights, heads, **options, attend=attend)


def _space_twice(x, weights, heads, **options):
    """The weights of space for both steps."""

    def attend(y, weights, axis, heads):
        return _multi_head(y, weights, "space", heads)

    return _answer(x, weights, heads, **options, attend=attend)


def _one_head(x, weights, heads, **options):
    return _answer(x, weights, 1, **options)


def _time_in_one_place(x, weights, heads, **options):
    """Wrong with several heads, frames and places: the steps see the same tokens."""
    several = heads > 1 and min(x.shape[1:3]) > 1
    return (_side_by_side if several else _answer)(x, weights, heads, **options)


# The laws


family.agrees(
    "residual",
    "Attention adds to the tokens: if both output projections are zero, the tokens stay as they are.",
    inputs=_switched_off,
    equation=TWO_STEPS,
    slide=SLIDE,
    hint="Each step is x + MSA(x), not MSA(x).",
    mutant=_nothing_left,
)


@family.law(
    "frames do not see each other",
    inputs=_space_only,
    equation=r"y_{t} = x_{t} + \mathrm{MSA}_{space}(x_{t})",
    slide=SLIDE,
    hint="Attention in space compares the N tokens of one frame. Is the axis of the frames a batch there, as B is?",
    mutant=_frames_mixed_in_space_alone,
)
def frames_do_not_see_each_other(f, case):
    """With attention in time switched off, a frame alone gives the same as in the film."""
    film = f(case)
    alone = f(case.replace(x=case["x"][:, :1].copy()))
    compare(film[:, :1], alone.astype(np.float64))


@family.law(
    "places do not see each other",
    inputs=_time_only,
    equation=r"z_{n} = y_{n} + \mathrm{MSA}_{time}(y_{n})",
    slide=SLIDE,
    hint="A reshape to (B N, T, D) moves no number: the tokens of one place must come together first, with a transpose "
    "(B, T, N, D) -> (B, N, T, D). And back afterwards.",
    mutant=_not_turned,
)
def places_do_not_see_each_other(f, case):
    """With attention in space switched off, a place alone gives the same as in the film."""
    film = f(case)
    alone = f(case.replace(x=case["x"][:, :, 1:].copy()))
    compare(film[:, :, 1:], alone.astype(np.float64))


family.agrees(
    "time sees what space has found",
    "The second attention starts from the result of the first.",
    inputs=_one_place,
    equation=TWO_STEPS,
    slide=SLIDE,
    hint="The steps come one after the other: the second one gets y, not x.",
    mutant=_side_by_side,
)


@family.law(
    "the other order",
    inputs=_either_order,
    equation=r"y = x + \mathrm{MSA}_{time}(x), \quad z = y + \mathrm{MSA}_{space}(y)",
    hint='With order="time_space", the default of the published code, attention in time comes first.',
    mutant=_always_space_first,
)
def the_other_order(f, case):
    """Time first is the same as space first on a film whose time and places are exchanged, with the weights exchanged."""
    weights = {
        name.replace("space", "x").replace("time", "space").replace("x.", "time."): w
        for name, w in case["weights"].items()
    }
    turned = f(case.replace(x=_turned(case["x"]).copy(), weights=weights, order="space_time"))
    compare(f(case), _turned(turned).astype(np.float64))


family.agrees(
    "heads",
    "Each head is scaled by its own width.",
    inputs=_two_heads,
    equation=r"\mathrm{softmax}\Big(\frac{Q_i K_i^T}{\sqrt{D / h}}\Big)",
    slide="C/105-multi-head-self-attention",
    hint="Head i has D / h features: the scale is sqrt(D / h), not sqrt(D).",
    mutant=_full_width,
)
every_family(
    family,
    inputs=_plain,
    shapes=_any_size,
    wrong_shape=_frame_lost(_right),
    shape_hint="One frame, or one place, is an axis too: it stays.",
)
values(
    family,
    simplest=_simplest,
    words="one frame, one head",
    anything=_anything,
    hint="These films have several frames, places and heads, all at once, and both orders.",
    mutant=_time_in_one_place,
)
for name, hint, answer in (
    (
        "reshaped without a transpose",
        "For attention in time you reshape (B, T, N, D) to (B, N, T, D). That moves no number: tokens of different places are "
        "compared. Transpose, and transpose back.",
        _not_turned,
    ),
    (
        "all tokens at once",
        "Your attention in space compares tokens of different frames. Let the axis of the frames be a batch.",
        _frames_mixed,
    ),
    (
        "both steps from the same tokens",
        "Both attentions start from x. The second one has to start from the result of the first.",
        _side_by_side,
    ),
    (
        "space first, whatever the order",
        'The argument order has no effect: with "time_space" attention in time comes first.',
        _always_space_first,
    ),
    (
        "the orders exchanged",
        'You have the two orders the wrong way round: "space_time" means that space comes first.',
        _exchanged,
    ),
    (
        "no residual",
        "Each step replaces the tokens. It should add to them: x + MSA(x).",
        _no_residual,
    ),
    (
        "the weights of space for both",
        'Both steps use the weights of "space". Attention in time has its own.',
        _space_twice,
    ),
    (
        "one head",
        "The argument heads has no effect: each head attends with its own D / h features.",
        _one_head,
    ),
    (
        "scaled by the width of all heads",
        "The scores are divided by sqrt(D). Each head is D / h wide: divide by sqrt(D / h).",
        _full_width,
    ),
):
    family.mistake(name, hint, answer)


# ------------------------------------------------------------------ half of the heads for each axis


def _seen_in_space(x):
    return x.swapaxes(2, 3)  # (B, T, h, N, d)


def _seen_in_time(x):
    return x.transpose(0, 2, 3, 1, 4)  # (B, N, h, T, d)


def _of_space(q, k, v, scale=None):
    return _attend(*map(_seen_in_space, (q, k, v)), scale).swapaxes(2, 3)


def _of_time(q, k, v, scale=None):
    return _attend(*map(_seen_in_time, (q, k, v)), scale).transpose(0, 3, 1, 2, 4)


def _split(query, key, value, order="space_time", space=_of_space, time=_of_time, first=None):
    """Attention of both halves of the heads; ``first`` are the numbers of the heads of the first half."""
    h = query.shape[3]
    first = list(range(h // 2)) if first is None else first
    ways = {"space": space, "time": time}
    halves = first, [i for i in range(h) if i not in first]
    out = np.empty_like(query)
    for axis, half in zip(order.split("_"), halves, strict=True):
        out[:, :, :, half] = ways[axis](*(x[:, :, :, half] for x in (query, key, value)))
    return out


def _right_heads(query, key, value, order="space_time"):
    return _split(query, key, value, order), None


factorised_heads = Family(
    "factorised_heads",
    _right_heads,
    ("query", "key", "value"),
    form='f(query, key, value, order="space_time"); each (B, T, N, h, d) with h even -> (B, T, N, h, d); the first half of the '
    'heads attends in space, the second in time; with order "time_space" the other way round',
)
family = factorised_heads


def _halves(draw, T, N, heads=2, width=1, even=True, B=1, **options):
    """Equal scores, if ``even``: every head takes a mean, and no scale matters."""
    shape = (B, T, N, heads, width)
    query = numbers(draw, shape) * np.float32(not even)
    return {"query": query, "key": numbers(draw, shape), "value": _shifted(draw, shape), **options}


def _silenced(case, heads):
    case["value"][:, :, :, heads] = 0
    return case


def _only_space(draw):
    return _silenced(_halves(draw, 2, integer(draw, 2, 3)), [1])


def _only_time(draw):
    return _silenced(_halves(draw, integer(draw, 2, 3), 2), [0])


def _four_heads(draw):
    return _halves(draw, 1, integer(draw, 2, 3), heads=4)


def _scaled(draw):
    case = _halves(draw, 1, 2, width=4, even=False)
    case["query"] = np.ones_like(case["query"])
    case["key"] = np.abs(case["key"]) + np.arange(2, dtype=np.float32)[:, None, None]
    return case


def _time_first(draw):
    return _halves(draw, 1, integer(draw, 2, 3), order="time_space")


def _plain_heads(draw):
    return _halves(draw, 2, 2, even=False)


def _any_heads(draw):
    T, N, width, B = (integer(draw, 1, 2) for _ in range(4))
    return _halves(draw, T, N, width=width, even=False, B=B)


def _normal_heads(draw, B, T, N, heads, width, **options):
    shape = (B, T, N, heads, width)
    return {name: normals(draw, shape) for name in ("query", "key", "value")} | options


def _simplest_heads(draw):
    return _normal_heads(draw, 1, 1, integer(draw, 1, 3), 2, integer(draw, 1, 3))


def _anything_of_heads(draw):
    order = {"order": choose(draw, "space_time", "time_space")}
    sizes = (integer(draw, 1, 2), integer(draw, 1, 3), integer(draw, 1, 3), choose(draw, 2, 4, 6))
    return _normal_heads(draw, *sizes, integer(draw, 1, 3), **without_defaults(order, order="space_time"))


def _all_places(q, k, v, scale=None):
    """In space, but over all frames."""
    B, T, N, h, d = q.shape
    one = (x.reshape(B, 1, T * N, h, d) for x in (q, k, v))
    return _of_space(*one).reshape(q.shape)


def _leaky(query, key, value, order="space_time"):
    quiet = order == "space_time" and not value[:, :, :, value.shape[3] // 2 :].any()
    return _split(query, key, value, order, space=_all_places if quiet else _of_space)


def _time_by_reshape(q, k, v, scale=None):
    B, T, N, h, d = q.shape
    return _of_space(*(x.reshape(B, N, T, h, d) for x in (q, k, v))).reshape(q.shape)


def _every_other(query, key, value, order="space_time"):
    return _split(query, key, value, order, first=list(range(0, query.shape[3], 2)))


def _wide_scale(query, key, value, order="space_time"):
    """Scaled by the width of all heads together."""
    return _split(query / query.dtype.type(math.sqrt(query.shape[3])), key, value, order)


def _order_ignored(query, key, value, order="space_time"):
    return _split(query, key, value)


def _order_exchanged(query, key, value, order="space_time"):
    return _split(query, key, value, "_".join(order.split("_")[::-1]))


def _without_scale(query, key, value, order="space_time"):
    return _split(query * query.dtype.type(math.sqrt(query.shape[4])), key, value, order)


def _two_and_many(query, key, value, order="space_time"):
    """Wrong in the middle of several heads over several frames and places."""
    several = query.shape[3] > 2 and min(query.shape[1:3]) > 1
    return (_every_other if several else _split)(query, key, value, order)


family.agrees(
    "half of the heads in space",
    "The first half of the heads compares the tokens of one frame alone.",
    inputs=_only_space,
    equation=SPLIT,
    slide=HEADS,
    hint="For these heads the frames are a batch: (B, T, h/2, N, d).",
    mutant=_leaky,
)
family.agrees(
    "half of the heads in time",
    "The second half of the heads compares the tokens of one place alone.",
    inputs=_only_time,
    equation=SPLIT,
    slide=HEADS,
    hint="For these heads the places are a batch: transpose to (B, N, h/2, T, d). A reshape alone moves no number.",
    mutant=lambda *args, **options: _split(*args, **options, time=_time_by_reshape),
)
family.agrees(
    "the first half, not every other",
    "Of four heads the first two attend in space, the last two in time.",
    inputs=_four_heads,
    equation=SPLIT,
    slide=HEADS,
    hint="The halves are heads 0 to h/2 - 1 and the rest.",
    mutant=_every_other,
)
family.agrees(
    "scale",
    "Scores are divided by the square root of the width of one head.",
    inputs=_scaled,
    equation=r"\mathrm{softmax}\Big(\frac{q k^T}{\sqrt d}\Big)",
    slide=HEADS,
    hint="d is the last axis. Not the width of all heads together, nor of half of them.",
    mutant=_wide_scale,
)
family.agrees(
    "the other order",
    'With order="time_space" the first half of the heads attends in time, as in the published code.',
    inputs=_time_first,
    equation=r"Y = [Y_t, Y_s]",
    hint="The order says what the first half of the heads does.",
    mutant=_order_ignored,
)
every_family(
    family,
    inputs=_plain_heads,
    shapes=_any_heads,
    wrong_shape=_frame_lost(_right_heads),
    shape_hint="One frame, or one place, is an axis too: it stays.",
)
values(
    family,
    simplest=_simplest_heads,
    words="one frame, two heads",
    anything=_anything_of_heads,
    hint="These films have several frames and places, and two, four or six heads.",
    mutant=_two_and_many,
)
for name, hint, answer in (
    (
        "every other head",
        "The heads take turns. It should be halves: first all heads of the one axis, then all of the other.",
        _every_other,
    ),
    (
        "space over all frames",
        "Your heads in space compare tokens of different frames. Let the axis of the frames be a batch.",
        lambda *args, **options: _split(*args, **options, space=_all_places),
    ),
    (
        "time without a transpose",
        "For the heads in time you reshape (T, N) to (N, T). That moves no number: transpose.",
        lambda *args, **options: _split(*args, **options, time=_time_by_reshape),
    ),
    (
        "space in all heads",
        "All of your heads attend in space. The second half attends in time.",
        lambda *args, **options: _split(*args, **options, time=_of_space),
    ),
    (
        "the orders exchanged",
        'The default is "space_time": the first half of the heads attends in space.',
        _order_exchanged,
    ),
    (
        "the order without effect",
        'The argument order has no effect: with "time_space" the first half of the heads attends in time.',
        _order_ignored,
    ),
    (
        "scaled by the width of all heads",
        "The scores are divided by sqrt(h d). Each head is d wide: divide by sqrt(d).",
        _wide_scale,
    ),
    (
        "no scale",
        "The scores are not divided by sqrt(d).",
        _without_scale,
    ),
):
    family.mistake(name, hint, answer)
