"""The laws of clip_loss: each picture must find its text in the batch, and each text its picture.

Not here: the encoders, texts that occur twice in a batch.
"""

import math

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.gradient_laws import gradients
from minivis.laws.judging.inputs import choose, generator, integer
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.mutants import backward
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import gradient_values, values
from minivis.laws.loss import _agrees as one_number

SLIDE = "Z/40-clip"
LOSS = (
    r"L = \frac{1}{2N} \Big( -\sum_i \log \frac{e^{z_{ii}}}{\sum_j e^{z_{ij}}} "
    r"- \sum_j \log \frac{e^{z_{jj}}}{\sum_i e^{z_{ij}}} \Big)"
)
TABLE = r"z_{ij} = e^{s}\, \frac{u_i \cdot v_j}{\lVert u_i \rVert \lVert v_j \rVert}"


def _clip_loss(image_features, text_features, logit_scale):
    loss = 0
    u = image_features / np.sqrt((image_features**2).sum(axis=1, keepdims=True))
    v = text_features / np.sqrt((text_features**2).sum(axis=1, keepdims=True))
    table = math.exp(logit_scale) * (u @ v.T)
    for z in (table, table.T):
        shifted = z - z.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        loss = loss - log_p.diagonal().mean() / 2

    def vjp(g):
        return _slopes(g, image_features, text_features, logit_scale)

    return loss, vjp


def _slopes(g, image_features, text_features, logit_scale, projected=True, divided=True):
    """The gradients of both features; mutants leave out a part of the way back through the division by the length."""
    lengths = [np.sqrt((x**2).sum(axis=1, keepdims=True)) for x in (image_features, text_features)]
    units = [x / length for x, length in zip((image_features, text_features), lengths, strict=True)]
    z = math.exp(logit_scale) * (units[0] @ units[1].T)
    rows, columns = (np.exp(z - z.max(axis=axis, keepdims=True)) for axis in (1, 0))
    both = rows / rows.sum(axis=1, keepdims=True) + columns / columns.sum(axis=0, keepdims=True)
    push = g * (both - 2 * np.eye(len(z), dtype=z.dtype)) / (2 * len(z)) * math.exp(logit_scale)
    slopes = []
    for way, unit, length in zip((push @ units[1], push.T @ units[0]), units, lengths, strict=True):
        if projected:
            way = way - unit * (unit * way).sum(axis=1, keepdims=True)
        slopes.append((way / length if divided else way).astype(image_features.dtype))
    return tuple(slopes)


clip_loss = Family(
    "clip_loss",
    _clip_loss,
    ("image_features", "text_features"),
    form="f(image_features, text_features, logit_scale); features (N, E) of any length, text i belongs to picture i; "
    "logit_scale is the logarithm of the factor of the cosines; the mean over both directions, a number; with vjp=True "
    "the gradients are those of both features",
)
clip_loss.same = one_number


def _changed(
    unit=lambda x: x / np.sqrt((x**2).sum(axis=1, keepdims=True)), factor=math.exp, pairs=None, end=None
):
    """The loss with another part: of one direction of the table in ``end(log_p)``, of both in ``pairs(table)``."""

    def loss_of(z):
        shifted = z - z.max(axis=1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return end(log_p) if end else -log_p.diagonal().mean()

    def answer(image_features, text_features, logit_scale):
        table = np.asarray(factor(logit_scale) * (unit(image_features) @ unit(text_features).T))
        loss = pairs(table, loss_of) if pairs else (loss_of(table) + loss_of(table.T)) / 2
        return np.asarray(loss).astype(image_features.dtype)[()]

    return answer


no_unit = _changed(unit=lambda x: x)
unit_over_the_batch = _changed(unit=lambda x: x / np.sqrt((x**2).sum(axis=0, keepdims=True) + 1e-12))
images_only = _changed(pairs=lambda table, loss_of: loss_of(table))
no_exponential = _changed(factor=lambda s: s)
divided = _changed(factor=lambda s: math.exp(-s))
both_added = _changed(pairs=lambda table, loss_of: loss_of(table) + loss_of(table.T))
summed = _changed(end=lambda log_p: -log_p.diagonal().sum())
wrong_sign = _changed(end=lambda log_p: log_p.diagonal().mean())
first_column = _changed(end=lambda log_p: -log_p[:, 0].mean())


def _sigmoids(table, loss_of):
    """Each cell of the table as a question of its own, as in SigLIP."""
    signs = 2 * np.eye(len(table)) - 1
    return np.logaddexp(0, -signs * table).sum(axis=1).mean()


def _overflowing(table, loss_of):
    with np.errstate(all="ignore"):
        e = np.exp(table)
        both = [-np.log(e.diagonal() / e.sum(axis=axis)).mean() for axis in (0, 1)]
    return sum(both) / 2


sigmoids = _changed(pairs=_sigmoids)
overflowing = _changed(pairs=_overflowing)


def _best_taken(table, loss_of):
    """Whatever text is most similar taken for the right one."""
    best = [(-np.sort(z - z.max(axis=1, keepdims=True), axis=1)[:, -1], z) for z in (table, table.T)]
    return (
        sum((top + np.log(np.exp(z - z.max(axis=1, keepdims=True)).sum(axis=1))).mean() for top, z in best)
        / 2
    )


best_taken = _changed(pairs=_best_taken)


# Each law but those about values compares calls of the function with each other, on cases of its own


def _units(draw, count, width):
    x = generator(draw).normal(size=(count, width)) + 0.05
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def _case(images, texts, scale):
    return {
        "image_features": np.asarray(images, np.float32),
        "text_features": np.asarray(texts, np.float32),
        "logit_scale": scale,
    }


def _simplest(draw):
    N, E = integer(draw, 2, 4), integer(draw, 2, 4)
    return _case(_units(draw, N, E), _units(draw, N, E), choose(draw, 1.0, 0.5))


def _orthogonal(draw):
    N = integer(draw, 2, 4)
    return _case(np.eye(N), np.eye(N), choose(draw, 1.0, 0.5, 2.0))


def _all_equal(draw):
    u = np.repeat(np.eye(integer(draw, 2, 4))[:1], integer(draw, 2, 4), axis=0)
    return _case(u, u, choose(draw, 1.0, 0.5))


def _half_alike(draw):
    """Each text has the cosine 1/2 with its own picture and 0 with the others."""
    N = integer(draw, 2, 4)
    u = np.eye(N, N + 1)
    v = np.sqrt(0.75) * np.eye(N + 1)[[N] * N] + 0.5 * u
    return _case(u, v, choose(draw, 1.0, 1.5, 2.0))


def _large(draw):
    return {**_orthogonal(draw), "logit_scale": math.log(100)}


def _sizes_of_one(draw):
    N, E = integer(draw, 1, 2), integer(draw, 1, 2)
    return _case(_units(draw, N, E), _units(draw, N, E), 1.0)


def _anything(draw):
    N, E = integer(draw, 1, 6), integer(draw, 1, 6)
    lengths = generator(draw).uniform(0.2, 3, (2, N, 1))
    scale = choose(draw, 0.0, 1.0, -0.5, math.log(1 / 0.07), math.log(100))
    return _case(_units(draw, N, E) * lengths[0], _units(draw, N, E) * lengths[1], scale)


def _value(f, case):
    got = f(case)
    if got.size != 1:
        raise Broken(f"One number was expected; the output has shape {got.shape}.")
    return got.reshape(())


@clip_loss.law(
    "lengths do not count",
    inputs=_simplest,
    equation=TABLE,
    slide=SLIDE,
    hint="The table has cosines: divide each feature by its length, along the last axis, before the product.",
    mutant=no_unit,
)
def lengths_do_not_count(f, case):
    """Features that are two or three times as long, each by its own factor, give the same loss."""
    factors = (1 + np.arange(len(case["image_features"])) % 3)[:, None].astype(case["image_features"].dtype)
    longer = case.replace(
        image_features=case["image_features"] * factors, text_features=case["text_features"] * factors[::-1]
    )
    compare(_value(f, longer), _value(f, case), atol=2e-5)


@clip_loss.law(
    "both directions",
    inputs=_simplest,
    equation=LOSS,
    slide=SLIDE,
    hint="Pictures look for their texts, and texts for their pictures: the same cross-entropy again on the transposed table, "
    "then half of the sum.",
    mutant=images_only,
)
def both_directions(f, case):
    """With the texts in the place of the pictures, and the reverse, the loss is the same."""
    u, v = case["image_features"], case["text_features"]
    compare(_value(f, case.replace(image_features=v, text_features=u)), _value(f, case), atol=2e-5)


@clip_loss.law(
    "least for the right pairs",
    inputs=_orthogonal,
    equation=LOSS,
    slide=SLIDE,
    hint="The right text of picture i is text i, the diagonal of the table, whatever the model finds more similar.",
    mutant=best_taken,
)
def least_for_the_right_pairs(f, case):
    """If texts are exchanged among pictures that resemble their own text alone, the loss rises."""
    exchanged = case.replace(text_features=np.roll(case["text_features"], 1, axis=0))
    right, wrong = _value(f, case), _value(f, exchanged)
    if not right < wrong:
        raise Broken(f"With its own texts the loss is {right:g}; with texts exchanged it is {wrong:g}.")


@clip_loss.law(
    "the factor",
    inputs=_half_alike,
    equation=TABLE,
    slide=SLIDE,
    hint="The cosines are multiplied by exp(logit_scale): a logarithm, so that the factor stays positive whatever is learnt.",
    mutant=no_exponential,
)
def the_factor(f, case):
    """With ln 2 more in logit_scale, cosines half as large give the same loss."""
    u = case["image_features"]
    twice = case.replace(text_features=u.copy(), logit_scale=case["logit_scale"] - math.log(2))
    compare(_value(f, twice), _value(f, case), atol=2e-5)


@clip_loss.law(
    "a factor of 100",
    inputs=_large,
    equation=r"\log \sum_j e^{z_j} = m + \log \sum_j e^{z_j - m}",
    hint="exp(100) is infinite in float32: subtract the largest number of each row first.",
    mutant=overflowing,
)
def factor_of_100(f, case):
    """With the largest factor that CLIP allows the loss is still a number."""
    if not np.isfinite(_value(f, case)):
        raise Broken(f"The loss is {_value(f, case)}.")


clip_loss.agrees(
    "no difference",
    "If all features are equal, the loss is ln N: a guess among N.",
    inputs=_all_equal,
    equation=r"L = \ln N",
    hint="The loss is a mean over the N pairs, not a sum.",
    mutant=summed,
)
every_family(
    clip_loss,
    inputs=_orthogonal,  # whose lengths are 1 to the last digit
    shapes=_sizes_of_one,
    wrong_shape=lambda *args: np.array([_clip_loss(*args)[0]]),
    shape_hint="The loss is one number: is a mean left over an axis, or an axis of length 1?",
)
values(
    clip_loss,
    simplest=_simplest,
    words="a few pairs of unit vectors",
    anything=_anything,
    hint="Features may have any length, alone or together; logit_scale may be negative, and there may be one pair.",
    mutant=_changed(factor=lambda s: math.exp(abs(s))),
    atol=1e-3,
)


def _not_projected(g, pulled, args, options):
    return _slopes(g, *args, **options, projected=False)


def _not_divided(g, pulled, args, options):
    return _slopes(g, *args, **options, divided=False)


def _first_wrong(g, pulled, args, options):
    return _not_projected(g, pulled, args, options)[0], pulled[1]


def _second_of_the_first(g, pulled, args, options):
    """The table's gradient not transposed for the texts: each text gets what another one should."""
    images, texts, scale = args
    z = math.exp(scale) * (images @ texts.T)
    rows, columns = (np.exp(z) / np.exp(z).sum(axis=axis, keepdims=True) for axis in (1, 0))
    push = g * (rows + columns - 2 * np.eye(len(z))) / (2 * len(z)) * math.exp(scale)
    way = push @ images
    return pulled[0], (way - texts * (texts * way).sum(axis=1, keepdims=True)).astype(texts.dtype)


def _three_pairs(draw):
    return _case(_units(draw, 3, 3), _units(draw, 3, 3), 1.0)


gradients(
    clip_loss,
    inputs=_three_pairs,
    slide=SLIDE,
    equation={
        "image_features": r"\bar u_i = g\, e^s \sum_j \frac{P_{ij} + Q_{ij} - 2 [i = j]}{2N}\, v_j, \qquad "
        r"\bar x_i = \frac{\bar u_i - u_i (u_i \cdot \bar u_i)}{\lVert x_i \rVert}",
        "text_features": r"\bar v_j = g\, e^s \sum_i \frac{P_{ij} + Q_{ij} - 2 [i = j]}{2N}\, u_i",
    },
    hints={
        "image_features": "The division by the length has a gradient too: what points along the feature itself changes no cosine, and "
        "is taken away.",
        "text_features": "For the texts the gradient of the table is transposed: text j collects its column, from all pictures.",
    },
    mutants={
        "image_features": backward(_clip_loss, _first_wrong),
        "text_features": backward(_clip_loss, _second_of_the_first),
    },
)
gradient_values(
    clip_loss,
    simplest=_simplest,
    words="a few pairs of unit vectors",
    anything=_anything,
    hint="Features of any length: the gradient of x / length is divided by the length.",
    mutant=backward(_clip_loss, _not_divided),
)
for name, hint, change in (
    (
        "along the feature too",
        "Your gradient has a part along the feature itself. Only its direction counts: subtract that part.",
        _not_projected,
    ),
    (
        "not divided by the length",
        "A long feature turns less: its gradient is divided by its length.",
        _not_divided,
    ),
    (
        "the table not transposed",
        "The texts' gradient comes from the columns of the table: transpose it.",
        _second_of_the_first,
    ),
):
    clip_loss.mistake(name, hint, backward(_clip_loss, change), gradient=True)
for name, hint, answer in (
    ("no cosines", "You multiply the features as they are. Divide each by its length first.", no_unit),
    (
        "lengths over the batch",
        "You divide by lengths along axis 0, over the batch. A feature is a row: axis=1, keepdims=True.",
        unit_over_the_batch,
    ),
    (
        "pictures to texts alone",
        "This is the loss of the rows of the table: pictures that look for texts. Add that of the columns, and halve.",
        images_only,
    ),
    (
        "texts to pictures alone",
        "This is the loss of the columns of the table: texts that look for pictures. Add that of the rows, and halve.",
        _changed(pairs=lambda table, loss_of: loss_of(table.T)),
    ),
    ("both added", "You add both directions: take their mean.", both_added),
    (
        "the factor without exp",
        "You multiply by logit_scale. It is the logarithm of the factor: multiply by exp(logit_scale).",
        no_exponential,
    ),
    (
        "divided by the factor",
        "You divide by exp(logit_scale). The temperature is divided by; logit_scale is the logarithm of its reciprocal.",
        divided,
    ),
    ("the sum over the pairs", "You sum over the pairs: take the mean.", summed),
    (
        "a sigmoid for each cell",
        "You ask for each cell of the table whether it is a pair. CLIP compares the texts with each other, in a softmax.",
        sigmoids,
    ),
    ("always the first text", "You take the first text for the right one. That of picture i is text i.", first_column),
    ("the sign", "The sign is wrong: the loss is minus the logarithm of the probability.", wrong_sign),
    (
        "exp of large numbers",
        "The loss is right until exp overflows. Subtract the largest number of each row first.",
        overflowing,
    ),
):  # fmt: skip
    clip_loss.mistake(name, hint, answer)
