"""The laws of spectral_norm: a weight divided by its largest singular value, found by power iteration.

Not here: the norm of a whole convolution, which is another number; zero weights.
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.gradient_laws import gradients
from minivis.laws.judging.inputs import choose, generator, integer, without_defaults
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.mutants import backward
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import gradient_values, values

ITERATION = (
    r"v \leftarrow \frac{W^T u}{\lVert W^T u \rVert}, \quad u \leftarrow \frac{W v}{\lVert W v \rVert}"
)
DIVIDED = r"\hat W = \frac{W}{\sigma}, \quad \sigma = u^T W v"
GRADIENT = r"\bar W = \frac{1}{\sigma} \big(G - \langle G, \hat W \rangle\, u v^T\big)"


def _unit(vector):
    return vector / np.sqrt((vector * vector).sum())


def _matrix(weight):
    return weight.reshape(weight.shape[0], -1)


def _spectral_norm(weight, u, iterations=1):
    W = _matrix(weight)
    for _ in range(iterations):
        v = _unit(W.T @ u)
        u = _unit(W @ v)
    sigma = u @ W @ v
    divided = weight / sigma

    def vjp(g):
        along = (g * divided).sum()
        return ((g - along * np.outer(u, v).reshape(weight.shape)) / sigma,)

    return (divided, u), vjp


spectral_norm = Family(
    "spectral_norm",
    _spectral_norm,
    ("weight",),
    form="f(weight, u, iterations=1) -> (divided weight, new u); weight (O, ...), a matrix with O rows; u (O,) of length 1; "
    "with vjp=True f returns ((divided weight, new u), vjp)",
)


def _pair(out):
    """The two parts of what a function returned."""
    if not isinstance(out, (tuple, list)) or len(out) != 2:
        raise Broken(
            f"A pair (weight, u) was expected; your function returned a {type(out).__name__}.",
            hint="End with `return weight / sigma, u`: the next call begins with this u.",
        )
    return out


def _whole(out):
    return np.concatenate([np.ravel(part) for part in _pair(out)])


spectral_norm.main = lambda out: _pair(out)[0]
spectral_norm.whole = _whole
spectral_norm.read = lambda f, case: _whole(f.result(case.copy())[0])


def _both_agree(f, case, atol=2e-5):
    """The divided weight and the new u are right."""
    f.agrees(case, atol=atol)
    _u_agrees(f, case, atol)


def _u_agrees(f, case, atol=2e-5):
    got = np.asarray(_pair(f.result(case.copy())[0])[1])
    (_, expected), _ = f.family.right(**case.copy(np.float64).everything)
    compare(got, expected, atol=atol, what="The new u")


spectral_norm.same = _both_agree


# The singular values of these weights are given. Unless a law is about the iteration, it is at its end: u is the first
# singular vector.


def _made(draw, rows, columns, sizes, shape=None, away=0.0):
    """A weight with given singular values, and its first left singular vector, or one away from it."""
    rng = generator(draw)
    left, right = (np.linalg.qr(rng.normal(size=(n, len(sizes))))[0] for n in (rows, columns))
    weight = (left * np.array(sizes)) @ right.T
    u = _unit(left[:, 0] * choose(draw, 1, -1) + away * _unit(rng.normal(size=rows)))
    return {"weight": weight.reshape(shape or weight.shape).astype(np.float32), "u": u.astype(np.float32)}


def _large(draw):
    first = choose(draw, 2.0, 5.0, 20.0)
    return _made(draw, 3, integer(draw, 2, 4), [first, 0.7 * first])


def _small(draw):
    return _made(draw, 2, 2, [choose(draw, 0.5, 0.1, 0.01)])


def _rank_one(draw):
    return _made(draw, integer(draw, 2, 3), integer(draw, 2, 3), [choose(draw, 2.0, 3.0)], away=0.6)


def _filters(draw):
    rows, columns = choose(draw, (2, 2), (2, 3))
    C = integer(draw, 2, 3)
    return _made(draw, 3, C * rows * columns, [2.0], (3, C, rows, columns))


def _moving(draw):
    return _made(draw, 3, 2, [3.0, 2.0], away=0.6)


def _row_or_column(draw):
    shape = choose(draw, (1, 3), (3, 1), (1, 1), (2, 1, 1, 1))
    rng = generator(draw)
    weight = rng.uniform(0.5, 2, shape).astype(np.float32)
    return {"weight": weight, "u": _unit(rng.uniform(0.5, 1, shape[0])).astype(np.float32)}


def _plain(draw):
    return _made(draw, 3, 2, [3.0, 1.0])


def _one_step(draw):
    return _made(draw, 3, 2, [3.0, 1.0], away=0.6)


def _any_at_its_end(draw):
    """Any shape; the iteration is at its end, where the gradient is that of the largest singular value."""
    shape = choose(draw, (2, 3), (4, 2), (3, 2, 2, 2), (2, 1, 3, 1), (4, 2, 3), (3, 2, 2), (1, 4), (3, 1))
    first = choose(draw, 0.1, 1.0, 30.0)
    columns = int(np.prod(shape[1:]))
    sizes = [first * 0.5**i for i in range(min(shape[0], columns))]
    return {**_made(draw, shape[0], columns, sizes, shape), "iterations": integer(draw, 1, 3)}


def _any_call(draw):
    shape = choose(
        draw, (2, 3), (4, 2), (3, 3), (3, 2, 2, 2), (2, 1, 3, 1), (4, 2, 3), (3, 2, 2), (1, 4), (3, 1)
    )
    rng = generator(draw)
    weight = rng.normal(size=shape) * choose(draw, 0.1, 1.0, 30.0)
    u = _unit(rng.normal(size=shape[0]) + weight.reshape(shape[0], -1).sum(axis=1) / abs(weight).sum())
    call = {"weight": weight.astype(np.float32), "u": u.astype(np.float32)}
    return {**call, **without_defaults({"iterations": choose(draw, 1, 1, 2, 5)}, iterations=1)}


def _far_from_orthogonal(case):
    """Whether rounding of u hardly matters: W^T u is not much smaller than W."""
    W = _matrix(case["weight"])
    return np.linalg.norm(W.T @ case["u"]) > 0.1 * np.linalg.norm(W)


def _anything(draw):
    while True:
        case = _any_call(draw)
        if _far_from_orthogonal(case):
            return case


def _divided_by(sigma):
    """A function that divides by another number, and moves u as it should."""

    def answer(weight, u, iterations=1):
        (_, new), _ = _spectral_norm(weight, u, iterations)
        return weight / sigma(weight, u, iterations), new

    return answer


def _found_sigma(weight, u, iterations):
    (divided, _), _ = _spectral_norm(weight, u, iterations)
    return np.linalg.norm(weight) / np.linalg.norm(divided)


def _old_u(weight, u, iterations=1):
    """sigma with the u from before the last step."""
    W = _matrix(weight)
    for _ in range(iterations):
        v = _unit(W.T @ u)
        before = u
        u = _unit(W @ v)
    return _unit(before) @ W @ v


_frobenius = _divided_by(lambda weight, u, iterations: np.sqrt((weight * weight).sum()))
_only_if_large = _divided_by(lambda w, u, n: max(_found_sigma(w, u, n), w.dtype.type(1)))


def _kept_u(weight, u, iterations=1):
    (divided, _), _ = _spectral_norm(weight, u, iterations)
    return divided, u.copy()


def _long_u(weight, u, iterations=1):
    """u without its length divided out."""
    (divided, new), _ = _spectral_norm(weight, u, iterations)
    W = _matrix(weight)
    return divided, W @ _unit(W.T @ new)


def _filters_summed(weight, u, iterations=1):
    """The matrix of the filters' sums, (O, C)."""
    matrix = weight if weight.ndim < 4 else weight.sum(axis=tuple(range(2, weight.ndim)))
    (_, new), _ = _spectral_norm(weight, u, iterations)
    return weight / _found_sigma(matrix, u, iterations), new


def _rows_merged(weight, u, iterations=1):
    """Right for matrices and filters, wrong for weights of three axes."""
    matrix = weight if weight.ndim != 3 else weight.mean(axis=2)
    (_, new), _ = _spectral_norm(weight, u, iterations)
    return weight / _found_sigma(matrix, u, iterations), new


def _weights_agree(f, case):
    f.agrees(case)


for name, sentence, inputs, equation, hint, mutant in (
    (
        "the largest singular value becomes 1",
        "After enough iterations the largest singular value of the divided weight is 1.",
        _large,
        r"\sigma_{\max}(\hat W) = 1",
        "The spectral norm is the largest singular value: how much W can stretch a vector. The Frobenius norm, the root of the "
        "sum of all squares, is larger.",
        _frobenius,
    ),
    (
        "small weights are enlarged",
        "A weight whose largest singular value is below 1 is divided by it too.",
        _small,
        r"\widehat{cW} = \hat W, \quad c > 0",
        "Is the weight divided only where sigma is above 1? The scale of W must not matter at all.",
        _only_if_large,
    ),
    (
        "rank one needs one step",
        "For a weight of rank one, a single iteration from any u finds sigma.",
        _rank_one,
        ITERATION,
        "sigma = u^T W v takes the u that the iteration has just made, not the one that came in.",
        _divided_by(_old_u),
    ),
    (
        "filters are one matrix",
        "The weight of a convolution (O, C, kh, kw) is a matrix of O rows.",
        _filters,
        DIVIDED,
        "weight.reshape(O, -1): every filter is one row of C kh kw numbers.",
        _filters_summed,
    ),
):
    spectral_norm.law(
        name, sentence=sentence, inputs=inputs, equation=equation, hint=hint, mutant=mutant, value=True, right_too=False
    )(_weights_agree)  # fmt: skip


@spectral_norm.law(
    "u for the next call",
    inputs=_moving,
    equation=ITERATION,
    hint="Return the new u, of length 1: training takes one step of the iteration in every call, and begins where the last "
    "one ended.",
    mutant=_kept_u,
    value=True,
    right_too=False,
)
def moved(f, case):
    """The u that is returned is W v, divided by its length."""
    _u_agrees(f, case)


every_family(spectral_norm, inputs=_plain, shapes=_row_or_column)
values(
    spectral_norm,
    simplest=_one_step,
    words="a matrix, one iteration",
    anything=_anything,
    hint="Weights may have three axes too, and one row or one column: reshape(O, -1) makes a matrix of all of them.",
    mutant=_rows_merged,
)
for name, hint, answer in (
    (
        "the Frobenius norm",
        "This is the root of the sum of all squares. The spectral norm is the largest singular value, which is smaller.",
        _frobenius,
    ),
    (
        "divided only where sigma is above 1",
        "Small weights are divided by sigma too: after that, their largest singular value is 1.",
        _only_if_large,
    ),
    ("sigma with the old u", "sigma = u^T W v takes the new u, not the one that came in.", _divided_by(_old_u)),
    (
        "v computed once more",
        "You compute v again from the new u. sigma = u^T W v takes the v from which the new u was made.",
        _divided_by(lambda w, u, n: np.linalg.norm(_matrix(w).T @ _spectral_norm(w, u, n)[0][1])),
    ),
    (
        "the old u returned",
        "The u that came in is returned: the iteration never gets further. Return the new one.",
        _kept_u,
    ),
    ("a u that is not of length 1", "Divide W v by its length before you return it as u.", _long_u),
    (
        "one iteration, whatever is asked for",
        "The option iterations is not used: repeat both steps that often.",
        lambda weight, u, iterations=1: _spectral_norm(weight, u)[0],
    ),
    (
        "the squared singular value",
        "This is sigma squared, the eigenvalue of W^T W. Divide by sigma.",
        _divided_by(lambda w, u, n: _found_sigma(w, u, n) ** 2),
    ),
    (
        "multiplied instead of divided",
        "The weight is multiplied by sigma: divide by it.",
        _divided_by(lambda w, u, n: 1 / _found_sigma(w, u, n)),
    ),
):  # fmt: skip
    spectral_norm.mistake(name, hint, answer)


def _constant_sigma(g, pulled, args, options):
    """sigma taken for a constant."""
    return (g / _found_sigma(*args, options.get("iterations", 1)),)


def _outer_turned(g, pulled, args, options):
    """Right for matrices; for filters, the products are summed for each output channel alone."""
    weight = args[0]
    if weight.ndim < 3:
        return pulled
    divided = _spectral_norm(*args, **options)[0][0]
    sigma = _found_sigma(*args, options.get("iterations", 1))
    along = (g * divided).sum(axis=tuple(range(1, weight.ndim)), keepdims=True)
    return ((g - along * divided) / sigma,)


gradients(
    spectral_norm,
    inputs=_plain,
    equation={"weight": GRADIENT},
    hints={
        "weight": "sigma depends on W too: its derivative is u v^T. The gradient is then orthogonal to W: making W larger does "
        "not change the divided weight. Is yours?"
    },
    mutants={"weight": backward(_spectral_norm, _constant_sigma)},
)
gradient_values(
    spectral_norm,
    simplest=_plain,
    words="a matrix, one iteration from the first singular vector",
    anything=_any_at_its_end,
    hint="For filters: <G, W> sums over all axes, and u v^T is reshaped to the shape of the weight.",
    mutant=backward(_spectral_norm, _outer_turned),
)
spectral_norm.mistake(
    "sigma taken for a constant on the way back",
    "This is G / sigma. sigma depends on the weight too: subtract <G, W / sigma> u v^T from G first.",
    backward(_spectral_norm, _constant_sigma),
    gradient=True,
)
