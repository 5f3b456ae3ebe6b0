"""The laws of non_local: embedded Gaussian and dot product, pictures and films, with pooled keys.

Not here: the Gaussian form without embeddings, concatenation, biases, norms.
"""

import math

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, integer, normals, numbers, sizes, without_defaults
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.registry import Family
from minivis.laws.judging.value_laws import values

SUM = r"z_i = W_z y_i + x_i, \quad y_i = \frac{1}{\mathcal{C}(x)} \sum_j f(x_i, x_j)\, W_g x_j"
SOFTMAX = r"\frac{f(x_i, x_j)}{\mathcal{C}(x)} = \frac{e^{\theta_i^T \phi_j}}{\sum_k e^{\theta_i^T \phi_k}}"
PRODUCT = r"\frac{f(x_i, x_j)}{\mathcal{C}(x)} = \frac{1}{M}\, \theta_i^T \phi_j"
SLIDE = "A/13-non-local-block"


def _places(x):
    """(B, C, ...) -> (B, N, C)."""
    return x.reshape(*x.shape[:2], -1).swapaxes(1, 2)


def _pooled(x, pool):
    *leading, H, W = x.shape
    return x.reshape(*leading, H // pool, pool, W // pool, pool).max(axis=(-3, -1))


def _softmax(products, axis=-1):
    e = np.exp(products - products.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _weights(products, form):
    """f(x_i, x_j) / C(x) from the products of theta and phi, (B, N, M)."""
    return products / products.shape[2] if form == "dot_product" else _softmax(products)


def _answer(x, w_theta, w_phi, w_g, w_z, form="embedded_gaussian", pool=1, weights=_weights):
    theta = _places(x) @ w_theta.T  # (B, N, C')
    keys = _places(_pooled(x, pool))  # (B, M, C)
    products = theta @ (keys @ w_phi.T).swapaxes(1, 2)  # (B, N, M)
    y = weights(products, form) @ (keys @ w_g.T)  # (B, N, C')
    return (y @ w_z.T).swapaxes(1, 2).reshape(x.shape) + x


def _right(x, w_theta, w_phi, w_g, w_z, form="embedded_gaussian", pool=1):
    return _answer(x, w_theta, w_phi, w_g, w_z, form, pool), None


non_local = Family(
    "non_local",
    _right,
    ("x", "w_theta", "w_phi", "w_g", "w_z"),
    form='f(x, w_theta, w_phi, w_g, w_z, form="embedded_gaussian" or "dot_product", pool=1); x (B, C, H, W) or '
    "(B, C, T, H, W), w_theta, w_phi, w_g (C', C), w_z (C, C'); keys and values come from x, max-pooled by pool in each "
    "frame",
)
family = non_local


# Inputs: each law has its own special case, so that one mistake breaks one law


def _case(draw, shape, inner, **options):
    """Any numbers; the projection back is never 0."""
    C = shape[1]
    into = {f"w_{name}": numbers(draw, (inner, C)) for name in ("theta", "phi", "g")}
    return {"x": numbers(draw, shape), **into, "w_z": np.abs(numbers(draw, (C, inner))) + 1, **options}


def _no_way_back(draw):
    case = _case(
        draw, (2, 2, *sizes(draw, 2, 1, 3)), 2, form=choose(draw, "embedded_gaussian", "dot_product")
    )
    return {**case, "x": case["x"] + np.float32(0.5), "w_z": np.zeros((2, 2), np.float32)}


def _mirrored(draw):
    """Two places with their two channels exchanged: the products are the same from either side."""
    (a, b) = numbers(draw, (2,))
    case = _case(draw, (1, 2, 1, 2), 2)
    same = np.eye(2, dtype=np.float32)
    x = np.array([[a, b + 1], [b + 1, a]], np.float32).reshape(1, 2, 1, 2)
    return {**case, "x": x, "w_theta": same, "w_phi": same, "w_g": same + numbers(draw, (2, 2))}


def _square(draw):
    return _case(draw, (2, integer(draw, 1, 3), 2, 2), 1)


def _rectangle(draw):
    return _case(draw, (1, integer(draw, 1, 2), *choose(draw, (2, 3), (3, 2))), 1)


def _constant(draw):
    """Every place is the same, and the product of theta and phi is 1."""
    C = integer(draw, 2, 3)
    case = _case(draw, (1, C, *sizes(draw, 2, 2, 3)), 2, form="dot_product")
    x = np.broadcast_to(case["x"][:, :, :1, :1], case["x"].shape).copy()
    x[:, 0] = 1
    w_theta = np.zeros((2, C), np.float32)
    w_phi = case["w_phi"]
    w_theta[0, 0] = 1
    w_phi[0] = w_theta[0]
    return {**case, "x": x, "w_theta": w_theta, "w_phi": w_phi, "w_g": np.abs(case["w_g"]) + 1}


def _one_place(draw):
    return _case(draw, (integer(draw, 1, 2), 2, 1, 1), 2, form="dot_product")


def _film(draw):
    """All places weigh the same: the mean over the film."""
    case = _case(draw, (1, 2, integer(draw, 2, 3), 2, 2), 2)
    return {**case, "w_theta": np.zeros((2, 2), np.float32)}


def _coarser(draw):
    case = _case(draw, (1, 2, 4, 4), 2, pool=2)
    return {**case, "w_theta": np.zeros((2, 2), np.float32)}


def _plain(draw):
    return _case(draw, (2, 2, *sizes(draw, 2, 2, 3)), 2)


def _any_size(draw):
    leading = sizes(draw, 2, 1, 2)
    frames = choose(draw, (), (1,), (2,))
    return _case(draw, (*leading, *frames, *sizes(draw, 2, 1, 2)), integer(draw, 1, 2))


def _sizeable(draw, shape):
    """Normally distributed numbers, none near 0: small factors would hide what is wrong."""
    x = normals(draw, shape, 0.7)
    return x + np.where(x < 0, np.float32(-0.4), np.float32(0.4))


def _normal(draw, shape, inner, **options):
    C = shape[1]
    into = {f"w_{name}": _sizeable(draw, (inner, C)) for name in ("theta", "phi", "g")}
    return {"x": _sizeable(draw, shape), **into, "w_z": _sizeable(draw, (C, inner)), **options}


def _simplest(draw):
    return _normal(draw, (1, *sizes(draw, 3, 1, 3)), integer(draw, 1, 3))


def _anything(draw):
    B, C, inner, H, W = sizes(draw, 5, 1, 3)
    pool = choose(draw, 1, 1, 2, 3)
    frames = choose(draw, (), (1,), (2,), (3,))
    options = {"form": choose(draw, "embedded_gaussian", "dot_product"), "pool": pool}
    shape = (B, C, *frames, max(1, H // (pool - 1 or 1)) * pool, max(1, W // (pool - 1 or 1)) * pool)
    return _normal(draw, shape, inner, **without_defaults(options, form="embedded_gaussian", pool=1))


# Wrong answers


def _with(weights):
    """An answer with other weights."""
    return lambda *args, **options: _answer(*args, **options, weights=weights)


def _residual_lost(x, w_theta, w_phi, w_g, w_z, **options):
    return _answer(x, w_theta, w_phi, w_g, w_z, **options) - (x if not w_z.any() else 0)


def _scaled(x, w_theta, *others, **options):
    """The Transformer's 1 / sqrt(d), in the softmax form."""
    softmax = options.get("form") != "dot_product"
    return _answer(x, w_theta / math.sqrt(len(w_theta)) if softmax else w_theta, *others, **options)


def _over_the_queries(products, form):
    return products / products.shape[2] if form == "dot_product" else _softmax(products, axis=1)


def _over_the_queries_of_squares(x, *weights, **options):
    """Softmax over the queries, where nothing else is special."""
    plain = x.ndim == 4 and x.shape[2] == x.shape[3] and options.get("pool", 1) == 1
    return _answer(x, *weights, **options, weights=_over_the_queries if plain else _weights)


def _not_divided(products, form):
    return products if form == "dot_product" else _softmax(products)


def _by_the_queries(products, form):
    return products / products.shape[1] if form == "dot_product" else _softmax(products)


def _always_softmax(products, form):
    return _softmax(products)


def _rows_and_columns_exchanged(x, *weights, **options):
    out = _answer(x, *weights, **options)
    if x.ndim == 5 or x.shape[2] == x.shape[3]:
        return out
    B, C, H, W = x.shape
    return (out - x).reshape(B, C, W, H).swapaxes(2, 3) + x


def _frame_by_frame(x, *weights, **options):
    if x.ndim == 4:
        return _answer(x, *weights, **options)
    return np.stack([_answer(x[:, :, t], *weights, **options) for t in range(x.shape[2])], axis=2)


def _pooled_after(x, w_theta, w_phi, w_g, w_z, form="embedded_gaussian", pool=1):
    """phi and g of the whole map, then max pooling."""

    def projected(w):
        return _places(_pooled((_places(x) @ w.T).swapaxes(1, 2).reshape(len(x), len(w), *x.shape[2:]), pool))

    products = _places(x) @ w_theta.T @ projected(w_phi).swapaxes(1, 2)
    y = _weights(products, form) @ projected(w_g)
    return (y @ w_z.T).swapaxes(1, 2).reshape(x.shape) + x


def _pooled_over_time(x, *weights, form="embedded_gaussian", pool=1):
    """The keys of a film are pooled over all its frames too, if they are pooled at all."""
    if x.ndim == 4 or pool == 1:
        return _answer(x, *weights, form=form, pool=pool)
    (w_theta, w_phi, w_g, w_z) = weights
    keys = _places(_pooled(x.max(axis=2), pool))
    y = _weights(_places(x) @ w_theta.T @ (keys @ w_phi.T).swapaxes(1, 2), form) @ (keys @ w_g.T)
    return (y @ w_z.T).swapaxes(1, 2).reshape(x.shape) + x


def _one_frame_lost(x, *weights, **options):
    out = _answer(x, *weights, **options)
    return out[:, :, 0] if x.ndim == 5 and x.shape[2] == 1 else out


# The laws


family.agrees(
    "starts as the identity",
    "With W_z = 0 the output is the input, so that the block can be put into a trained network.",
    inputs=_no_way_back,
    equation=SUM,
    slide="C/106-cnn-with-self-attention",
    hint="The block adds to its input: z = W_z y + x, whatever W_z is.",
    mutant=_residual_lost,
)
family.agrees(
    "no scale",
    "The products of theta and phi go into the softmax as they are.",
    inputs=_mirrored,
    equation=SOFTMAX,
    slide=SLIDE,
    hint="The Transformer divides by the square root of the width; the equation of the non-local block does not.",
    mutant=_scaled,
)
family.agrees(
    "softmax over the keys",
    "The weights of each output place sum to 1: the softmax runs over the places that are asked.",
    inputs=_square,
    equation=SOFTMAX,
    slide=SLIDE,
    hint="theta belongs to the place i that asks, phi to the places j that answer. The softmax sums over j.",
    mutant=_over_the_queries_of_squares,
)
family.agrees(
    "places in their order",
    "What is computed for a place is added at that place, also on maps that are not square.",
    inputs=_rectangle,
    equation=SUM,
    hint="Which way did you flatten the map? Row by row there and back: the last axis is the column.",
    mutant=_rows_and_columns_exchanged,
)
family.agrees(
    "divided by the number of places",
    "In the dot-product form on a constant map, the size of the map does not matter.",
    inputs=_constant,
    equation=PRODUCT,
    slide=SLIDE,
    hint="C(x) is the number of places in the sum. Without it the output grows with the map.",
    mutant=_with(_not_divided),
)


@family.law(
    "linear in theta",
    inputs=_one_place,
    equation=PRODUCT,
    hint="The dot-product form has no softmax: the weight is the product itself, divided by the number of places.",
    mutant=_with(_always_softmax),
)
def linear_in_theta(f, case):
    """In the dot-product form, doubling W_theta doubles what is added."""
    added = f(case) - case["x"]
    doubled = f(case.replace(w_theta=2 * case["w_theta"])) - case["x"]
    compare(doubled, 2 * added.astype(np.float64))


@family.law(
    "all frames together",
    inputs=_film,
    equation=r"i, j \in \{1, \dots, T\} \times \{1, \dots, H\} \times \{1, \dots, W\}",
    slide=SLIDE,
    hint="A place attends to the places of all frames. Do you move the frames into the batch?",
    mutant=_frame_by_frame,
)
def all_frames_together(f, case):
    """A film of T frames gives the same as one picture with its frames one below the other."""
    x = case["x"]
    B, C, T, H, W = x.shape
    tall = f(case.replace(x=x.reshape(B, C, T * H, W)))
    compare(f(case), tall.reshape(x.shape).astype(np.float64))


family.agrees(
    "pooled before the projection",
    "With pool the keys and values are made of the max-pooled input; every place still asks.",
    inputs=_coarser,
    equation=r"\phi_j = W_\phi\, p_j, \quad g_j = W_g\, p_j, \quad p = \mathrm{maxpool}(x)",
    hint="The maximum of a projection is not the projection of the maximum. Pool x, then project; theta reads x itself.",
    mutant=_pooled_after,
)
every_family(
    family,
    inputs=_plain,
    shapes=_any_size,
    wrong_shape=_one_frame_lost,
    shape_hint="A film of one frame is a film: its axis of frames stays.",
)
values(
    family,
    simplest=_simplest,
    words="one picture, embedded Gaussian, no pooling",
    anything=_anything,
    hint="In a film pooling has to keep the frames apart, and the dot-product form divides by the number of pooled places.",
    mutant=_pooled_over_time,
)

family.mistake(
    "the sum with the input left out",
    "This is W_z y alone. The block is residual: add x.",
    lambda x, *weights, **options: _answer(x, *weights, **options) - x,
)
family.mistake(
    "the Transformer's scale",
    "You divide the products by the square root of their width. The equation has no scale; published code has one.",
    _scaled,
)
family.mistake(
    "softmax over the queries",
    "Your softmax sums over the places that ask. It has to sum over those that are asked, the last axis of theta phi^T.",
    _with(_over_the_queries),
)
family.mistake(
    "softmax in the dot-product form",
    "The dot-product form has no softmax: its weights are the products, divided by their number.",
    _with(_always_softmax),
)
family.mistake(
    "not divided by the number of places",
    "The dot-product form divides by the number of places in the sum; without it the output grows with the map.",
    _with(_not_divided),
)
family.mistake(
    "divided by the places before pooling",
    "With pooled keys the sum has fewer terms: divide by the number of keys, not of queries.",
    _with(_by_the_queries),
)
family.mistake(
    "each frame by itself",
    "The frames of a film do not meet in your sum. All places of all frames are one set.",
    _frame_by_frame,
)
family.mistake(
    "pooled after the projection",
    "You project and then pool. The maximum of a projection is something else: pool x first.",
    _pooled_after,
)
