"""The laws of local_attention: each pixel attends to the pixels of a window around it.

Not here: the layer (models/sasa.py), windows of even size, embeddings that differ between heads.
"""

import numpy as np

from minivis.laws.judging.inputs import choose, integer, normals, numbers
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.registry import Family
from minivis.laws.judging.value_laws import values
from minivis.laws.neighbourhoods import at_the_middle, inside, softmax

SUM = r"y_p = \sum_o \mathrm{softmax}_o\big(q_p \cdot (k_{p+o} + r_o)\big)\, v_{p+o}"
OFFSET = r"r_o = [\,r^{rows}_{o_y};\; r^{cols}_{o_x}\,]"
SLIDE = "A/15-stand-alone-self-attention"
BIG = 60.0  # scores that differ by so much leave only the largest


def _attend(x, w_q, w_k, w_v, rel_rows, rel_cols, heads, window, weigh=softmax):
    (B, _, H, W) = x.shape
    D = len(w_q)
    q, k, v = (np.einsum("dc,bcyx->bdyx", w, x).reshape(B, heads, -1, H, W) for w in (w_q, w_k, w_v))
    half = D // heads // 2
    out = np.zeros((B, heads, D // heads, H, W), x.dtype)
    for y, x_ in np.ndindex(H, W):
        rows, columns = inside(y, H, window), inside(x_, W, window)
        here = q[..., y, x_]
        scores = np.einsum("bhd,bhdij->bhij", here, k[..., rows[:, None], columns])
        of_rows = np.einsum("bhd,id->bhi", here[..., :half], rel_rows[rows - y + window // 2])
        of_columns = np.einsum("bhd,jd->bhj", here[..., half:], rel_cols[columns - x_ + window // 2])
        scores += of_rows[..., None] + of_columns[:, :, None]
        weights = weigh(scores, axis=(2, 3))
        out[..., y, x_] = np.einsum("bhij,bhdij->bhd", weights, v[..., rows[:, None], columns])
    return out.reshape(B, D, H, W)


def _local_attention(x, w_q, w_k, w_v, rel_rows, rel_cols, heads, window):
    return _attend(x, w_q, w_k, w_v, rel_rows, rel_cols, heads, window), None


local_attention = Family(
    "local_attention",
    _local_attention,
    ("x", "w_q", "w_k", "w_v", "rel_rows", "rel_cols"),
    form="f(x, w_q, w_k, w_v, rel_rows, rel_cols, heads, window); x (B, C, H, W), w_... (D, C), rel_... (window, D/heads/2) "
    "-> (B, D, H, W); window is odd, and only neighbours inside the map take part",
)
family = local_attention


def _case(x, w_q, w_k, w_v, rel_rows=None, rel_cols=None, heads=1, window=3):
    """A call. Without tables the offsets play no part."""
    table = np.zeros((window, len(w_q) // heads // 2))
    arrays = (
        x,
        w_q,
        w_k,
        w_v,
        table if rel_rows is None else rel_rows,
        table if rel_cols is None else rel_cols,
    )
    names = ("x", "w_q", "w_k", "w_v", "rel_rows", "rel_cols")
    given = {name: np.asarray(array, np.float32) for name, array in zip(names, arrays, strict=True)}
    return {**given, "heads": heads, "window": window}


def _channels(*chosen, of):
    """A matrix whose row i picks channel chosen[i] of the map; None is a row of zeros."""
    matrix = np.zeros((len(chosen), of))
    for row, channel in enumerate(chosen):
        if channel is not None:
            matrix[row, channel] = 1
    return matrix


# Each law has one of: a border, several channels in a product, moderate scores, an offset, different queries and keys, heads


def _bordered(draw):
    x = normals(draw, (1, 2, integer(draw, 3, 4), integer(draw, 3, 5))) + np.float32(1)
    one = np.eye(2)
    return _case(x, 0 * one, one, one)


def _several_channels(draw):
    """The middle's key is like no other's in every channel, but in the sum over channels another one is nearest."""
    x = numbers(draw, (1, 2, 3, 3)).clip(-1, 1)
    x[0, :, 1, 1] = choose(draw, (1, 2), (2, 1), (-1, 2))
    x[0, :, 0, integer(draw, 0, 2)] = 2 * x[0, :, 1, 1] + np.float32([3, -1])
    one = np.eye(2)
    return _case(x, BIG * one, BIG * one / 8, one)


def _moderate(draw):
    x = normals(draw, (1, 2, 3, 3))
    x[0, 0, 1, 1] = choose(draw, 1.0, -1.0, 2.0)
    one = _channels(0, None, of=2)
    return _case(x, one, one, one)


def _with_a_constant(draw, window):
    """A map whose second channel is 1 everywhere."""
    x = numbers(draw, (1, 2, window, window)) + np.arange(window * window, dtype=np.float32).reshape(
        window, window
    )
    x[:, 1] = 1
    return x


def _own_row(draw):
    window = choose(draw, 3, 5)
    table = np.zeros((window, 1))
    table[window // 2] = BIG
    q = _channels(1, None, of=2)
    return _case(_with_a_constant(draw, window), q, q, _channels(0, None, of=2), table, window=window)


def _corner_of_the_window(draw):
    """Both tables are large at one end; the map changes along y alone."""
    window = choose(draw, 3, 5)
    x = _with_a_constant(draw, window)
    x[:, 0] = x[:, 0, :, :1]
    table = np.zeros((window, 1))
    table[choose(draw, 0, window - 1)] = BIG
    q = _channels(1, 1, of=2)
    return _case(x, q, q, _channels(0, None, of=2), table, table, window=window)


def _another_key(draw):
    """The query is 1 everywhere, the key is not."""
    x = np.random.default_rng(integer(draw, 0, 60)).permutation(9).astype(np.float32)
    x = np.stack([x, np.ones_like(x)]).reshape(1, 2, 3, 3)
    return _case(x, BIG * _channels(1, None, of=2), _channels(0, None, of=2), _channels(0, None, of=2))


def _two_heads(draw):
    """Head 0 looks for large numbers in channel 0, head 1 for small ones in channel 1; each has a spare channel."""
    rng = np.random.default_rng(integer(draw, 0, 60))
    x = np.stack([rng.permutation(9) + 1.0, rng.permutation(9) + 1.0]).reshape(1, 2, 3, 3)
    query, own = _channels(0, None, 1, None, of=2), _channels(0, None, 1, None, of=2)
    query[2] *= -1
    return _case(x, BIG * query, BIG * query, own, heads=2)


def _larger_window(draw):
    """Every pixel looks for the largest number of the whole map."""
    H, W = choose(draw, (2, 2), (2, 3), (3, 2), (3, 3))
    x = np.random.default_rng(integer(draw, 0, 60)).permutation(H * W).reshape(1, 1, H, W) + 1.0
    one = _channels(0, None, of=1)
    return _case(x, BIG * one, one, one, window=2 * max(H, W) + choose(draw, 1, 3))


def _drawn(draw, B, C, D, H, W, heads, window, scale=1.0):
    half = D // heads // 2
    arrays = [normals(draw, (B, C, H, W))] + [normals(draw, (D, C), scale) for _ in range(3)]
    return _case(*arrays, normals(draw, (window, half)), normals(draw, (window, half)), heads, window)


def _plain(draw):
    return _drawn(draw, 2, 2, 4, 3, 4, 2, 3)


def _one_head(draw):
    """One image, one head, a window of 3 x 3: the simplest form."""
    return _drawn(draw, 1, 2, 2, integer(draw, 3, 4), integer(draw, 3, 4), 1, 3)


def _any_shape(draw):
    H, W = choose(draw, (1, 1), (1, 2), (3, 1), (2, 2))
    return _drawn(draw, integer(draw, 1, 2), integer(draw, 1, 2), 2, H, W, 1, choose(draw, 1, 3))


def _anything(draw):
    heads = integer(draw, 1, 3)
    D = 2 * heads * integer(draw, 1, 2)
    H, W = integer(draw, 1, 5), integer(draw, 1, 5)
    window = choose(draw, 3, 5, 3, 7, 1)
    return _drawn(
        draw, integer(draw, 1, 2), integer(draw, 1, 4), D, H, W, heads, window, choose(draw, 0.5, 1.0)
    )


# Wrong answers


def _changed(change):
    """The right answer for other arguments: ``change`` takes and returns a dict of them."""

    def answer(*args):
        given = dict(zip(family.parameters, args, strict=True))
        return _attend(**change(given))

    return answer


def _zero_keys(x, w_q, w_k, w_v, rel_rows, rel_cols, heads, window):
    """The map is surrounded with zeros, which take part."""
    edge = window // 2
    padded = np.pad(x, ((0, 0), (0, 0), (edge, edge), (edge, edge)))
    padded = np.pad(padded, ((0, 0), (0, 0), (edge, edge), (edge, edge)))
    out = _attend(padded, w_q, w_k, w_v, rel_rows, rel_cols, heads, window)
    return out[:, :, 2 * edge : 2 * edge + x.shape[2], 2 * edge : 2 * edge + x.shape[3]]


def _every_channel_by_itself(x, w_q, w_k, w_v, rel_rows, rel_cols, heads, window):
    """The products are not summed over the channels: every channel has its own softmax."""
    (B, _, H, W) = x.shape
    D = len(w_q)
    q, k, v = (np.einsum("dc,bcyx->bdyx", w, x) for w in (w_q, w_k, w_v))
    wide = np.zeros((D // heads // 2, window, window), x.dtype)
    offsets = np.concatenate([wide + rel_rows.T[:, :, None], wide + rel_cols.T[:, None]])
    offsets = np.tile(offsets, (heads, 1, 1))  # (D, window, window)
    out = np.zeros((B, D, H, W), x.dtype)
    for y, x_ in np.ndindex(H, W):
        rows = inside(y, H, window)[:, None]
        columns = inside(x_, W, window)
        there = offsets[:, rows - y + window // 2, columns - x_ + window // 2]
        scores = q[:, :, y, x_, None, None] * (k[..., rows, columns] + there)
        out[..., y, x_] = (softmax(scores, axis=(2, 3)) * v[..., rows, columns]).sum(axis=(2, 3))
    return out


def _scaled(given):
    d = len(given["w_q"]) // given["heads"]
    return {**given, "w_q": given["w_q"] / np.float32(d**0.5)}


def _turned_tables(x, *others):
    """The row table is read by the column offset, and the column table by the row offset."""
    return _attend(x.swapaxes(2, 3), *others).swapaxes(2, 3)


def _flipped(given):
    return {**given, "rel_rows": given["rel_rows"][::-1], "rel_cols": given["rel_cols"][::-1]}


def _queries_for_keys(given):
    return {**given, "w_q": given["w_k"], "w_k": given["w_q"]}


def _channels_before_heads(given):
    """Channel c belongs to head c mod h."""
    d = len(given["w_q"]) // given["heads"]
    order = np.arange(d * given["heads"]).reshape(d, given["heads"]).T.ravel()
    return {**given, **{name: given[name][order] for name in ("w_q", "w_k", "w_v")}}


def _interleaved(*args):
    given = dict(zip(family.parameters, args, strict=True))
    out = _attend(**_channels_before_heads(given))
    heads = given["heads"]
    (B, D, H, W) = out.shape
    return out.reshape(B, heads, D // heads, H, W).swapaxes(1, 2).reshape(out.shape)


def _not_beyond_the_map(given):
    """A window larger than the map is cut to the map's size."""
    side = max(given["x"].shape[2:])
    side += 1 - side % 2
    if given["window"] <= side:
        return given
    cut = (given["window"] - side) // 2
    tables = {name: given[name][cut : cut + side] for name in ("rel_rows", "rel_cols")}
    return {**given, **tables, "window": side}


def _no_offsets(given):
    return {**given, "rel_rows": 0 * given["rel_rows"], "rel_cols": 0 * given["rel_cols"]}


def _keys_for_values(given):
    return {**given, "w_v": given["w_k"]}


def _halves_exchanged(given):
    """The second half of a head's channels belongs to the rows."""
    d = len(given["w_q"]) // given["heads"]
    order = np.roll(np.arange(len(given["w_q"])).reshape(-1, d), d // 2, axis=1).ravel()
    return {**given, "w_q": given["w_q"][order], "w_k": given["w_k"][order]}


def _flipped_now_and_then(given):
    return _flipped(given) if given["heads"] > 1 and given["window"] > 3 else given


family.agrees(
    "only neighbours inside the map",
    "A corner has four neighbours in a window of 3 x 3, itself included; what lies outside takes no part.",
    inputs=_bordered,
    equation=SUM,
    slide=SLIDE,
    hint="With zero queries every neighbour has the same weight: a corner is the mean of 4 pixels. If you pad with zeros, "
    "they take part in the softmax: leave them out, or set their scores to -inf.",
    mutant=_zero_keys,
)
at_the_middle(
    family,
    "one score for each neighbour",
    "The score of a neighbour is the sum of the products of all channels of a head: all of them share one weight.",
    inputs=_several_channels,
    equation=SUM,
    slide=SLIDE,
    hint="q * k has a number for each channel: sum over the channels of the head before the softmax.",
    mutant=_every_channel_by_itself,
)
at_the_middle(
    family,
    "scores as they are",
    "The scores are not divided by the root of the head's width.",
    inputs=_moderate,
    equation=SUM,
    hint="The Transformer divides by the root of d; this layer does not.",
    mutant=_changed(_scaled),
)
at_the_middle(
    family,
    "rows and columns",
    "The row table belongs to the row offset and to the first half of a head's channels; the column table to the others.",
    inputs=_own_row,
    equation=OFFSET,
    hint="A row table that is large in its middle chooses the pixel's own row. Do you read it by the column offset?",
    mutant=_turned_tables,
)
at_the_middle(
    family,
    "offsets from above and left",
    "The first entry of a table is for the neighbours that lie farthest up, or farthest left.",
    inputs=_corner_of_the_window,
    equation=OFFSET,
    hint="Offset -(window // 2) is the first entry. Do you subtract the neighbour's place from the pixel's?",
    mutant=_changed(_flipped),
)
at_the_middle(
    family,
    "the pixel asks, its neighbours answer",
    "The query is that of the pixel itself, the keys are those of its neighbours.",
    inputs=_another_key,
    equation=SUM,
    slide=SLIDE,
    hint="Are w_q and w_k exchanged? The query does not depend on the neighbour.",
    mutant=_changed(_queries_for_keys),
)
at_the_middle(
    family,
    "each head by itself",
    "Head i has the channels i D/h to (i + 1) D/h of queries, keys and values, and weights of its own.",
    inputs=_two_heads,
    equation=r"y = [\,y_1, \dots, y_h\,]",
    hint="Reshape (B, D, ...) to (B, heads, D / heads, ...): the head comes before the channel.",
    mutant=_interleaved,
)
family.agrees(
    "a window larger than the map",
    "A window may be larger than the map: then every pixel attends to all pixels.",
    inputs=_larger_window,
    equation=r"k \ge 2 \max(H, W) - 1",
    hint="A window that is cut to the map's size no longer reaches from one edge of the map to the other.",
    mutant=_changed(_not_beyond_the_map),
)
every_family(
    family,
    inputs=_plain,
    shapes=_any_shape,
    wrong_shape=lambda *args: _attend(*args)[:, :, 0] if args[0].shape[2] == 1 else _attend(*args),
    shape_hint="A map of one row has four axes too.",
)
values(
    family,
    simplest=_one_head,
    words="one image, one head, a window of 3 x 3",
    anything=_anything,
    hint="These inputs have several images and heads, maps that are not square, and windows larger than the map, all at "
    "once. Compute the score of one neighbour of one pixel by hand.",
    mutant=_changed(_flipped_now_and_then),
)
for name, hint, answer in (
    (
        "zeros around the map take part",
        "You surround the map with zeros, and their keys take part in the softmax with the score 0. Leave them out.",
        _zero_keys,
    ),
    (
        "a softmax for each channel",
        "You multiply queries and keys channel by channel and never sum: heads do nothing then. The score of a neighbour is "
        "the sum over the channels of a head.",
        _every_channel_by_itself,
    ),
    (
        "divided by the root of the width",
        "You divide the scores by the root of d, as in the Transformer. This layer does not.",
        _changed(_scaled),
    ),
    (
        "the row table read by columns",
        "You read the row table by the column offset, and the column table by the row offset.",
        _turned_tables,
    ),
    (
        "rows in the second half of the channels",
        "The row embedding belongs to the first half of a head's channels, the column embedding to the second.",
        _changed(_halves_exchanged),
    ),
    (
        "offsets turned around",
        "Your offsets have the wrong sign: the first entry of a table is for the neighbours above, or to the left.",
        _changed(_flipped),
    ),
    (
        "queries and keys exchanged",
        "Queries and keys are exchanged: the query comes from the pixel, the keys from its neighbours.",
        _changed(_queries_for_keys),
    ),
    (
        "channels before heads",
        "Your heads take every h-th channel. Reshape (B, D, ...) to (B, heads, D / heads, ...).",
        _interleaved,
    ),
    (
        "exp without the sum",
        "The weights of a pixel do not sum to 1: divide the exps by their sum over the window.",
        lambda *args: _attend(*args, weigh=lambda scores, axis: np.exp(scores)),
    ),
    (
        "the offsets left out",
        "The embeddings of the offsets are not used: add q . r to the score of each neighbour.",
        _changed(_no_offsets),
    ),
    (
        "keys for values",
        "You sum the keys: sum the values, W_v x.",
        _changed(_keys_for_values),
    ),
    (
        "the window cut to the map",
        "You make the window no larger than the map. A pixel at the edge then no longer sees the opposite edge.",
        _changed(_not_beyond_the_map),
    ),
):
    family.mistake(name, hint, answer)
