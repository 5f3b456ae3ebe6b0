"""The laws of local_relation: weights from the likeness of two pixels and from their offset.

Not here: the layer with its small network of the offset (models/lr_net.py), groups that do not divide the channels.
"""

import numpy as np

from minivis.laws.judging.inputs import choose, integer, normals, numbers, without_defaults
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.registry import Family
from minivis.laws.judging.value_laws import values
from minivis.laws.neighbourhoods import at_the_middle, inside, softmax

SUM = r"y_{c,p} = \sum_o \mathrm{softmax}_o\big(\Phi(q_{g,p}, k_{g,p+o}) + f_{g,o}\big)\, x_{c,p+o}"
WEIGHTS = "A/17-local-relation-weights"
LAYER = "A/16-local-relation-layer"
PRIOR = "A/18-geometric-prior"
BIG = 60.0  # scores that differ by so much leave only the largest
KINDS = {
    "product": lambda q, k: q * k,
    "squared": lambda q, k: -((q - k) ** 2),
    "absolute": lambda q, k: -abs(q - k),
}


def _relate(x, w_q, w_k, geometry, groups, window, similarity="product", weigh=softmax, kinds=KINDS):
    (B, C, H, W) = x.shape
    q, k = (np.einsum("gc,bcyx->bgyx", w, x) for w in (w_q, w_k))
    values = x.reshape(B, groups, -1, H, W)
    out = np.zeros_like(values)
    for row, column in np.ndindex(H, W):
        rows = inside(row, H, window)[:, None]
        columns = inside(column, W, window)
        alike = kinds[similarity](q[:, :, row, column, None, None], k[:, :, rows, columns])
        scores = alike + geometry[:, rows - row + window // 2, columns - column + window // 2]
        weights = weigh(scores, axis=(2, 3))
        out[..., row, column] = np.einsum("bgij,bgmij->bgm", weights, values[..., rows, columns])
    return out.reshape(B, C, H, W)


def _local_relation(x, w_q, w_k, geometry, groups, window, similarity="product"):
    return _relate(x, w_q, w_k, geometry, groups, window, similarity), None


local_relation = Family(
    "local_relation",
    _local_relation,
    ("x", "w_q", "w_k", "geometry"),
    form='f(x, w_q, w_k, geometry, groups, window, similarity="product"); x (B, C, H, W), w_q and w_k (groups, C), geometry '
    '(groups, window, window) -> (B, C, H, W); similarity is "product", "squared" or "absolute"; window is odd, and only '
    "neighbours inside the map take part",
)
family = local_relation


def _case(x, w_q=0.0, w_k=0.0, geometry=0.0, groups=1, window=3, **options):
    """A call in which what is not given plays no part."""
    C = x.shape[1]
    return {
        "x": np.asarray(x, np.float32),
        "w_q": np.broadcast_to(np.float32(w_q), (groups, C)).copy(),
        "w_k": np.broadcast_to(np.float32(w_k), (groups, C)).copy(),
        "geometry": np.broadcast_to(np.float32(geometry), (groups, window, window)).copy(),
        "groups": groups,
        "window": window,
        **options,
    }


# Each law has one of: a border, a kind of likeness, an offset, several groups, different queries and keys


def _bordered(draw):
    return _case(normals(draw, (1, 2, integer(draw, 3, 4), integer(draw, 3, 5))) + np.float32(1))


def _one_channel(draw):
    """One channel, whose middle is neither its largest nor its smallest number."""
    x = np.random.default_rng(integer(draw, 0, 60)).permutation(9).reshape(1, 1, 3, 3) / 2 - 2.0
    x[0, 0, 1, 1] = choose(draw, 0.25, -0.25, 0.5)
    return x


def _of_kind(similarity):
    def inputs(draw):
        return _case(_one_channel(draw), 1, 1, similarity=similarity)

    return inputs


def _by_default(draw):
    return _case(_one_channel(draw), 1, 1)


def _different_projections(draw):
    """The query is the number 1 of the second channel, the key is the first channel."""
    x = np.concatenate([_one_channel(draw), np.ones((1, 1, 3, 3))], axis=1)
    return _case(x, [0, 1], [1, 0], similarity="product")


def _prior(window, *places):
    prior = np.zeros((window, window))
    for place in places:
        prior[place] = BIG
    return prior


def _own_row(draw):
    window = choose(draw, 3, 5)
    prior = _prior(window, *((window // 2, j) for j in range(window)))
    return _case(numbers(draw, (1, 1, window, window)) + _ramp(window), geometry=prior, window=window)


def _ramp(window):
    return np.arange(window * window, dtype=np.float32).reshape(window, window)


def _on_the_diagonal(draw):
    window = choose(draw, 3, 5)
    place = choose(draw, 0, window - 1)
    return _case(
        numbers(draw, (1, 1, window, window)) + 10 * _ramp(window),
        geometry=_prior(window, (place, place)),
        window=window,
    )


def _two_groups(draw):
    """Group 0 takes the pixel itself, group 1 the mean of the window."""
    x = numbers(draw, (1, 2 * integer(draw, 2, 3), 3, 3)) + 5 * _ramp(3)
    return _case(x, geometry=[_prior(3, (1, 1)), _prior(3)], groups=2)


def _drawn(draw, B, C, H, W, groups, window, **options):
    return {
        "x": normals(draw, (B, C * groups, H, W)),
        "w_q": normals(draw, (groups, C * groups)),
        "w_k": normals(draw, (groups, C * groups)),
        "geometry": normals(draw, (groups, window, window)),
        "groups": groups,
        "window": window,
        **options,
    }


def _plain(draw):
    return _drawn(draw, 2, 2, 3, 4, 2, 3)


def _one_group(draw):
    """One image, one group, a window of 3 x 3: the simplest form."""
    return _drawn(draw, 1, 2, integer(draw, 3, 4), integer(draw, 3, 4), 1, 3)


def _any_shape(draw):
    H, W = choose(draw, (1, 1), (1, 2), (1, 3))
    return _drawn(draw, integer(draw, 1, 2), integer(draw, 1, 2), H, W, 1, choose(draw, 1, 3))


def _anything(draw):
    sizes = [integer(draw, 1, high) for high in (2, 3, 5, 5, 3)]
    kind = choose(draw, "product", "squared", "absolute")
    return without_defaults(
        _drawn(draw, *sizes, choose(draw, 3, 5, 3, 7, 1), similarity=kind), similarity="product"
    )


# Wrong answers


def _changed(change):
    """The right answer for other arguments: ``change`` takes and returns a dict of them."""

    def answer(*args, **options):
        return _relate(**change({**dict(zip(family.parameters, args, strict=False)), **options}))

    return answer


def _with(**kinds):
    """Another likeness."""
    return lambda *args, **options: _relate(*args, **options, kinds=KINDS | kinds)


def _zeros_take_part(x, *args, **options):
    edge = args[4] // 2
    double = ((0, 0), (0, 0), (2 * edge, 2 * edge), (2 * edge, 2 * edge))
    out = _relate(np.pad(x, double), *args, **options)
    return out[:, :, 2 * edge : 2 * edge + x.shape[2], 2 * edge : 2 * edge + x.shape[3]]


def _interleaved(x, w_q, w_k, geometry, groups, window, **options):
    """Channel c belongs to group c mod groups."""
    order = np.arange(x.shape[1]).reshape(-1, groups).T.ravel()
    given = x[:, order], w_q[:, order], w_k[:, order], geometry, groups, window
    out = np.empty_like(x)
    out[:, order] = _relate(*given, **options)
    return out


def _turned(given):
    return {**given, "geometry": given["geometry"].swapaxes(1, 2)}


def _flipped(given):
    return {**given, "geometry": given["geometry"][:, ::-1, ::-1]}


def _exchanged(given):
    return {**given, "w_q": given["w_k"], "w_k": given["w_q"]}


def _turned_now_and_then(given):
    return _turned(given) if given["groups"] > 1 and len(given["x"]) > 1 else given


def _no_geometry(given):
    return {**given, "geometry": 0 * given["geometry"]}


def _over_groups(scores, axis):
    return softmax(scores, axis=1)


family.agrees(
    "only neighbours inside the map",
    "A corner has four neighbours in a window of 3 x 3, itself included; what lies outside takes no part.",
    inputs=_bordered,
    equation=SUM,
    slide=LAYER,
    hint="Without geometry and projections a corner is the mean of 4 pixels. If you pad with zeros, they take part in the "
    "softmax: leave them out, or set their scores to -inf.",
    mutant=_zeros_take_part,
)
at_the_middle(
    family,
    "squared",
    'The likeness "squared" is minus the square of the difference: 0 for equal pixels, negative for others.',
    inputs=_of_kind("squared"),
    equation=r"\Phi(q, k) = -(q - k)^2",
    slide=WEIGHTS,
    hint="Pixels that are alike should have large weights: is there a minus before the square?",
    mutant=_with(squared=lambda q, k: (q - k) ** 2),
)
at_the_middle(
    family,
    "absolute",
    'The likeness "absolute" is minus the size of the difference.',
    inputs=_of_kind("absolute"),
    equation=r"\Phi(q, k) = -\lvert q - k \rvert",
    slide=WEIGHTS,
    hint="Neither a square nor a root: -abs(q - k).",
    mutant=_with(absolute=KINDS["squared"]),
)
at_the_middle(
    family,
    "the product by default",
    "If no likeness is named, it is the product of query and key.",
    inputs=_by_default,
    equation=r"\Phi(q, k) = q\,k",
    slide=WEIGHTS,
    hint='The call form has similarity="product".',
    mutant=lambda *args, similarity="squared": _relate(*args, similarity=similarity),
)
at_the_middle(
    family,
    "the pixel asks, its neighbours answer",
    "The query is that of the pixel itself, the keys are those of its neighbours.",
    inputs=_different_projections,
    equation=SUM,
    slide=WEIGHTS,
    hint="Are w_q and w_k exchanged? The query does not depend on the neighbour.",
    mutant=_changed(_exchanged),
)
at_the_middle(
    family,
    "rows before columns",
    "The first axis of the geometry is the row offset, the second the column offset.",
    inputs=_own_row,
    equation=r"f_{g, o_y, o_x}",
    slide=PRIOR,
    hint="A prior that is large in its middle row chooses the pixel's own row.",
    mutant=_changed(_turned),
)
at_the_middle(
    family,
    "offsets from above and left",
    "The first row of the geometry is for the neighbours that lie farthest up, its first column for those farthest left.",
    inputs=_on_the_diagonal,
    equation=r"o_y, o_x = -\lfloor k/2 \rfloor, \dots, \lfloor k/2 \rfloor",
    slide=PRIOR,
    hint="Offset -(window // 2) is the first entry. Do you subtract the neighbour's place from the pixel's?",
    mutant=_changed(_flipped),
)
at_the_middle(
    family,
    "groups of neighbouring channels",
    "The first C / groups channels share the weights of group 0, the next those of group 1.",
    inputs=_two_groups,
    equation=r"g = \lfloor c / m \rfloor",
    slide=LAYER,
    hint="Reshape (B, C, ...) to (B, groups, C / groups, ...): channel c belongs to group c // m, not c % groups.",
    mutant=_interleaved,
)


def _without_rows(*args, **options):
    out = _relate(*args, **options)
    return out[:, :, 0] if out.shape[2] == 1 else out


every_family(
    family,
    inputs=_plain,
    shapes=_any_shape,
    wrong_shape=_without_rows,
    shape_hint="A map of one row has four axes too.",
)
values(
    family,
    simplest=_one_group,
    words="one image, one group, a window of 3 x 3, the product",
    anything=_anything,
    hint="These inputs have several images and groups, maps that are not square, windows larger than the map, and every kind "
    "of likeness, all at once. Compute the weight of one neighbour of one pixel by hand.",
    mutant=_changed(_turned_now_and_then),
)
for name, hint, answer in (
    (
        "zeros around the map take part",
        "You surround the map with zeros, and they take part in the softmax. Leave them out.",
        _zeros_take_part,
    ),
    (
        "a plus before the square",
        "Equal pixels should have the largest weight: the likeness is minus the square of the difference.",
        _with(squared=lambda q, k: (q - k) ** 2),
    ),
    (
        "the square for the absolute difference",
        'You take the square for "absolute" too: it is -abs(q - k).',
        _with(absolute=KINDS["squared"]),
    ),
    (
        "queries and keys exchanged",
        "Queries and keys are exchanged: the query comes from the pixel, the keys from its neighbours.",
        _changed(_exchanged),
    ),
    (
        "the geometry turned",
        "Rows and columns of the geometry are exchanged: its first axis is the row offset.",
        _changed(_turned),
    ),
    (
        "the geometry flipped",
        "Your offsets have the wrong sign: the first row of the geometry is for the neighbours above.",
        _changed(_flipped),
    ),
    (
        "the geometry left out",
        "The geometry is not used: add it to the likeness before the softmax.",
        _changed(_no_geometry),
    ),
    (
        "interleaved groups",
        "Your groups take every g-th channel. Channel c belongs to group c // (C / groups).",
        _interleaved,
    ),
    (
        "softmax over the groups",
        "Your softmax runs over the groups: it should run over the neighbours of the window.",
        lambda *args, **options: _relate(*args, **options, weigh=_over_groups),
    ),
    (
        "exp without the sum",
        "The weights of a pixel do not sum to 1: divide the exps by their sum over the window.",
        lambda *args, **options: _relate(*args, **options, weigh=lambda scores, axis: np.exp(scores)),
    ),
):
    family.mistake(name, hint, answer)
