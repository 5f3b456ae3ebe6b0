"""The laws of dice_loss and sigmoid_focal_loss, the losses of predicted masks.

Not here: weights, other denominators than the number of masks, points sampled from a mask.
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.gradient_laws import gradients
from minivis.laws.judging.inputs import choose, generator, integer, normals, numbers, pairs
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.mutants import mutated
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import gradient_values, values

SLIDE = "A/93-sam-losses"
DICE = r"L = \frac1N \sum_n 1 - \frac{2 \sum_i p_{ni} t_{ni} + 1}{\sum_i p_{ni} + \sum_i t_{ni} + 1}, \quad p = \sigma(x)"
FOCAL = r"L = \frac{1}{NP} \sum_{ni} \alpha_t (1 - p_t)^\gamma \, (-\log p_t)"


def _sigmoid(x):
    e = np.exp(-np.abs(x))  # at most 1: never overflows
    return np.where(x >= 0, 1, e) / (1 + e)


def _dice_loss(logits, targets, smooth=1.0):
    N, p = len(logits), _sigmoid(logits)
    above = 2 * (p * targets).sum(axis=1, keepdims=True) + smooth
    below = p.sum(axis=1, keepdims=True) + targets.sum(axis=1, keepdims=True) + smooth

    def vjp(g):
        return (g / N * p * (1 - p) * (above / below - 2 * targets) / below,)

    return (1 - above / below).mean(), vjp


def _elements(logits, targets, alpha, gamma):
    """Focal loss of each pixel, and its derivative."""
    sign = 2 * targets - 1  # of a logit that predicts the target
    q = _sigmoid(-sign * logits)  # 1 - p_t
    log_p = -(np.maximum(-sign * logits, 0) + np.log1p(np.exp(-np.abs(logits))))
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    slope = sign * q**gamma * (gamma * (1 - q) * log_p - q)
    return weight * q**gamma * -log_p, weight * slope


def _sigmoid_focal_loss(logits, targets, alpha=0.25, gamma=2):
    loss, slope = _elements(logits, targets, alpha, gamma)
    return loss.mean(), lambda g: (g * slope / loss.size,)


FORM = "logits (N, P), targets (N, P) of 0 and 1: N masks of P pixels -> a number, the mean over the masks"
dice_loss = Family("dice_loss", _dice_loss, ("logits",), form=f"f(logits, targets); {FORM}")
sigmoid_focal_loss = Family(
    "sigmoid_focal_loss",
    _sigmoid_focal_loss,
    ("logits",),
    form=f"f(logits, targets, alpha=0.25, gamma=2); {FORM} of the means over their pixels",
)


def _number(f, case, atol=2e-5):
    """Compare the single number, whatever its shape."""
    got = f(case)
    if got.size != 1:
        raise Broken(f"One number was expected; the output has shape {got.shape}.")
    compare(got.reshape(()), f.right(case), atol=atol)


dice_loss.same = sigmoid_focal_loss.same = _number  # the law "shape" checks the shape


# Dice. Unless a law is about them: masks have a hundred pixels or more, so that the 1 in the fraction hardly matters, and
# p is 0 or 1


def _sure(targets, wrong=0):
    """Logits of +-20 that predict the targets, except for the first ``wrong`` pixels of each row."""
    logits = 40 * targets - 20
    logits[:, :wrong] *= -1
    return {"logits": logits.astype(np.float32), "targets": targets.astype(np.float32)}


def _object(pixels, of):
    return (np.arange(of) < pixels).astype(np.float32)


def _unsure(draw):
    targets = _object(integer(draw, 40, 60), 120)[None]
    return {"logits": numbers(draw, targets.shape, offset=0.5), "targets": targets}


def _two_masks(draw):
    targets = np.stack([_object(integer(draw, 100, 150), 900), _object(integer(draw, 500, 800), 900)])
    case = _sure(targets)
    case["logits"][1] *= -1
    return case


def _no_object(draw):
    return _sure(np.zeros((1, integer(draw, 2, 30))))


def _thousands(draw):
    case = _unsure(draw)
    return {**case, "logits": case["logits"] * np.float32(choose(draw, 1000, 200, 5000))}


def _any_masks(draw):
    shape = integer(draw, 1, 3), integer(draw, 1, 4)
    return {"logits": numbers(draw, shape), "targets": (numbers(draw, shape) > 0).astype(np.float32)}


def _small(draw):
    return {"logits": numbers(draw, (2, 4)), "targets": np.array([[1, 0, 1, 0], [0, 0, 1, 0]], np.float32)}


def _found(draw):
    """A few masks, each with an object in it: the simplest form."""
    shape = integer(draw, 2, 3), integer(draw, 3, 6)
    rng = generator(draw)
    targets = rng.random(shape) < 0.5
    targets[np.arange(len(targets)), rng.integers(0, shape[1], len(targets))] = True
    return {"logits": normals(draw, shape), "targets": targets.astype(np.float32)}


def _any_mask(draw, *scales):
    """Masks whose object has many pixels, few, or none, predicted with any certainty."""
    shape = choose(draw, *pairs(1, 6)[4:])  # more than three pixels
    targets = generator(draw).random(shape) < choose(draw, 0.5, 0.2, 0.8)
    logits = normals(draw, shape, choose(draw, *(scales or (1.0, 3.0, 30.0, 1000.0))))
    return {"logits": logits, "targets": targets.astype(np.float32)}


def _moderate(draw):
    """Logits where the sigmoid is not flat, and some whose exp is infinite in float32."""
    return _any_mask(draw, 1.0, 2.0, 1.0, 2.0, 60.0)


def _squared(logits, targets):
    p = _sigmoid(logits)
    above = 2 * (p * targets).sum(axis=1) + 1
    below = (p * p + targets * targets).sum(axis=1) + 1
    return (1 - above / below).mean()


def _overflowing(x):
    e = np.exp(x)
    return e / (1 + e)


def _unstable_dice(logits, targets):
    p = _overflowing(logits)
    return (1 - (2 * (p * targets).sum(axis=1) + 1) / (p.sum(axis=1) + targets.sum(axis=1) + 1)).mean()


dice_loss.agrees(
    "twice the overlap over the sum",
    "The loss is 1 - 2 overlap / sum: the overlap of probability and mask, and the sum of both.",
    atol=0.01,
    inputs=_unsure,
    equation=DICE,
    slide=SLIDE,
    hint="Take the sigmoid of the logits; sum p t, p and t over the pixels. Do not square them, and do not threshold p.",
    mutant=_squared,
)
dice_loss.agrees(
    "nothing to find",
    "If an image has no object, and none is predicted, the loss is 0.",
    value=False,  # 0 everywhere
    inputs=_no_object,
    equation=r"1 - \frac{0 + 1}{0 + 0 + 1} = 0",
    hint="Overlap and sum are both 0. Adding 1 to numerator and denominator gives 1 / 1; a small number in the denominator "
    "alone gives 0.",
    mutant=lambda logits, targets: (
        _dice_loss(logits, targets, smooth=0)[0] if targets.any() else np.float32(1)
    ),
)
dice_loss.agrees(
    "each mask by itself",
    "The loss is the mean of the losses of the single masks: small masks count as much as large ones.",
    value=False,  # one mask is right and one wrong: 1/2 everywhere
    atol=0.01,
    inputs=_two_masks,
    equation=DICE,
    slide=SLIDE,
    hint="Sum over the pixels (axis 1) alone, and take the mean over the masks last.",
    mutant=lambda logits, targets: _dice_loss(logits.reshape(1, -1), targets.reshape(1, -1))[0],
)


@dice_loss.law(
    "from 0 to 1",
    inputs=_thousands,
    equation=r"0 \le L \le 1",
    slide=SLIDE,
    hint="In float32 exp(x) is inf above 88, and inf / inf is NaN: use exp(-|x|).",
    mutant=_unstable_dice,
)
def _bounded(f, case):
    """The loss is from 0 to 1, also for logits in the thousands."""
    got = f(case)
    if not ((got >= -1e-5) & (got <= 1 + 1e-5)).all():
        raise Broken("The output is not between 0 and 1.", f.right(case), got)


# Focal loss. One mask of one pixel, alpha 1/2 and gamma 0 (half of the cross-entropy), unless a law is about one of them


def _pixel(draw, target=None, **options):
    target = integer(draw, 0, 1) if target is None else target
    logits = np.array([[choose(draw, 1.0, -1.0, 0.5, 2.0, -3.0)]], np.float32)
    return {"logits": logits, "targets": np.array([[target]], np.float32), **options}


def _plain(draw):
    return _pixel(draw, alpha=0.5, gamma=0)


def _focused(draw):
    return _pixel(draw, alpha=0.5, gamma=choose(draw, 1, 2, 3.5))


def _weighted(draw):
    return _pixel(draw, alpha=choose(draw, 0.25, 0.75, 0.9), gamma=0)


def _by_default(draw):
    return {**_pixel(draw, 1), "logits": np.zeros((1, 1), np.float32), "alpha": 0.5}


def _no_alpha(draw):
    return _pixel(draw, 1, gamma=0)


def _many_pixels(draw):
    shape = integer(draw, 2, 3), integer(draw, 2, 5)
    targets = (numbers(draw, shape) > 0).astype(np.float32)
    return {"logits": numbers(draw, shape), "targets": targets, "alpha": 0.5, "gamma": 0}


def _sure_and_wrong(draw):
    target = integer(draw, 0, 1)
    logits = np.array([[(1 - 2 * target) * choose(draw, 120, 1000, 10000)]], np.float32)
    return {"logits": logits, "targets": np.array([[target]], np.float32), "alpha": 0.5, "gamma": 0}


def _any_pixels(draw):
    return {**_any_masks(draw), "alpha": 0.5, "gamma": 0}


def _focal_smooth(draw):
    return {**_small(draw), "alpha": choose(draw, 0.25, 0.75), "gamma": choose(draw, 2, 1, 3)}


def _with_options(of_masks):
    """The inputs with both options, one or none."""

    def inputs(draw):
        options = {"alpha": choose(draw, 0.25, 0.5, 0.75, 0.9), "gamma": choose(draw, 2, 0, 1, 3, 0.5, 3.5)}
        given = choose(draw, ("alpha", "gamma"), ("alpha",), ("gamma",), ())
        return {**of_masks(draw), **{name: options[name] for name in given}}

    return inputs


def _focal(change):
    """A mutant: the right answer with other arguments, ``change(logits, targets, alpha, gamma)``."""

    def mutant(logits, targets, alpha=0.25, gamma=2):
        return _sigmoid_focal_loss(*change(logits, targets, alpha, gamma))[0]

    return mutant


def _sure_ones_first(logits, targets, alpha=0.25, gamma=2):
    q = _sigmoid((1 - 2 * targets) * logits)
    return (_elements(logits, targets, alpha, 0)[0] * (1 - q) ** gamma).mean()


def _log_of_sigmoid(logits, targets, alpha=0.25, gamma=2):
    p = _sigmoid(logits)
    p_t = np.where(targets > 0, p, 1 - p)
    return ((alpha * targets + (1 - alpha) * (1 - targets)) * (1 - p_t) ** gamma * -np.log(p_t)).mean()


sigmoid_focal_loss.agrees(
    "easy pixels count less",
    "The cross-entropy of a pixel is multiplied by (1 - p_t)^gamma: the better the prediction, the smaller the factor.",
    inputs=_focused,
    equation=FOCAL,
    slide=SLIDE,
    hint="The factor is (1 - p_t)^gamma, near 0 for well predicted pixels. p_t is the probability of the target: p where "
    "the target is 1, and 1 - p where it is 0.",
    mutant=_sure_ones_first,
)
sigmoid_focal_loss.agrees(
    "alpha",
    "Pixels of the object are weighted by alpha, the others by 1 - alpha.",
    inputs=_weighted,
    equation=r"\alpha_t = \alpha t + (1 - \alpha)(1 - t)",
    slide=SLIDE,
    hint="alpha is the weight for target 1, 1 - alpha for target 0. Did you exchange them, or forget one of the two?",
    mutant=lambda logits, targets, alpha=None, gamma=2: _sigmoid_focal_loss(
        logits, targets, 0.25 if alpha is None else 1 - alpha, gamma
    )[0],
)
sigmoid_focal_loss.agrees(
    "gamma is 2",
    "The default of gamma is 2.",
    inputs=_by_default,
    equation=FOCAL,
    hint="The published default: def f(logits, targets, alpha=0.25, gamma=2).",
    mutant=lambda logits, targets, alpha=0.25, gamma=1: _sigmoid_focal_loss(logits, targets, alpha, gamma)[0],
)
sigmoid_focal_loss.agrees(
    "alpha is 1/4",
    "The default of alpha is 0.25.",
    inputs=_no_alpha,
    equation=FOCAL,
    hint="The published default: def f(logits, targets, alpha=0.25, gamma=2).",
    mutant=lambda logits, targets, alpha=0.5, gamma=2: _sigmoid_focal_loss(logits, targets, alpha, gamma)[0],
)
sigmoid_focal_loss.agrees(
    "mean over pixels and masks",
    "The loss is the mean over the pixels of each mask, and then over the masks.",
    inputs=_many_pixels,
    equation=FOCAL,
    slide=SLIDE,
    hint="The loss does not grow with the size of the image or the number of masks: take the mean, not the sum.",
    mutant=lambda logits, targets, alpha=0.25, gamma=2: (
        _elements(logits, targets, alpha, gamma)[0].sum(axis=1).mean()
    ),
)
sigmoid_focal_loss.agrees(
    "sure and wrong",
    "A pixel with a certain but wrong prediction has a large loss, not an infinite one.",
    inputs=_sure_and_wrong,
    equation=r"-\log p_t = \max(-x_t, 0) + \log(1 + e^{-|x_t|})",
    hint="In float32 the sigmoid of a large logit is exactly 0 or 1, and the log of 0 is -inf. Compute the log of the "
    "probability from the logit, with log1p(exp(-|x|)).",
    mutant=_log_of_sigmoid,
)


def _no_slope(right, args, options):
    """The gradient of the probability, not of the logit."""
    out, vjp = right(*args, **options)
    p = _sigmoid(args[0])
    return out, lambda g: (vjp(g)[0] / (p * (1 - p)),)


for family, inputs, shapes, smooth, equation in (
    (dice_loss, _unsure, _any_masks, _small, r"\bar x = g\, \frac{p (1 - p)}{N} \frac{D - 2t}{\sum p + \sum t + 1}"),
    (
        sigmoid_focal_loss, _plain, _any_pixels, _focal_smooth,
        r"\bar x = \pm \frac{g\, \alpha_t}{NP} (1 - p_t)^\gamma (\gamma p_t \log p_t - (1 - p_t))",
    ),
):  # fmt: skip
    every_family(
        family,
        inputs=inputs,
        shapes=shapes,
        wrong_shape=mutated(family.right, lambda right, a, o: np.array([right(*a, **o)[0]])),
        shape_equation=r"L \in \mathbb R",
        shape_hint="A loss is one number: shape (), neither (1,) nor one loss for each mask.",
    )
    gradients(
        family,
        inputs=smooth,
        equation={"logits": equation},
        hints={
            "logits": "First the derivative by the probability, then times p (1 - p), the derivative of the sigmoid."
        },
        mutants={"logits": mutated(family.right, _no_slope)},
        slide=SLIDE,
    )


# ---------------------------------------------------------------------------------------------------------------------
# The value laws, and wrong answers that are known by name


def _dice(above=lambda p, t: 2 * p * t, below=lambda p, t: p + t, ones=(1, 1), probability=_sigmoid):
    """The dice loss with another numerator, denominator, constant in them, or probability."""

    def answer(logits, targets):
        p = probability(logits)
        score = (above(p, targets).sum(axis=1) + ones[0]) / (below(p, targets).sum(axis=1) + ones[1])
        return (1 - score).mean()

    return answer


def _objects_only(logits, targets):
    """The mean over the masks that have an object."""
    full = targets.any(axis=1)
    return _dice_loss(logits[full], targets[full])[0] if full.any() else _dice_loss(logits, targets)[0]


def _objects_only_back(right, args, options):
    out, vjp = right(*args, **options)
    return out, lambda g: (vjp(g)[0] * args[1].any(axis=1, keepdims=True),)


def _dice_back(slope):
    """Right forward; backward uses ``slope(p, t, above, below)``, the derivative of a mask's loss by its logits."""

    def answer(logits, targets):
        p = _sigmoid(logits)
        above = 2 * (p * targets).sum(axis=1, keepdims=True) + 1
        below = p.sum(axis=1, keepdims=True) + targets.sum(axis=1, keepdims=True) + 1
        return _dice_loss(logits, targets)[0], lambda g: (g / len(p) * slope(p, targets, above, below),)

    return answer


values(
    dice_loss,
    simplest=_found,
    words="a few masks, each with an object",
    anything=_any_mask,
    hint="Each mask counts, also one without an object; logits may be very large. Print the sums of p t, of p and of t for "
    "the mask with the wrong loss.",
    mutant=_objects_only,
)
for name, hint, answer in (
    (
        "logits for probabilities",
        "You sum the logits: take their sigmoid first.",
        _dice(probability=lambda logits: logits),
    ),
    (
        "a decision for a probability",
        "p > 0.5 is yes or no, and its derivative is 0. Sum the probabilities themselves.",
        _dice(probability=lambda logits: (logits > 0).astype(logits.dtype)),
    ),
    (
        "squares below the line",
        "You square p and t in the denominator, as in another form of this loss. Here it is the sum of p plus the sum of t.",
        _dice(below=lambda p, t: p * p + t * t),
    ),
    (
        "the 2 forgotten",
        "The numerator counts the overlap once, the denominator counts it twice: the numerator is 2 times the sum of p t.",
        _dice(above=lambda p, t: p * t),
    ),
    (
        "IoU for Dice",
        "This is 1 minus a soft IoU, with the union as denominator. Dice divides twice the overlap by the sum of both.",
        _dice(above=lambda p, t: p * t, below=lambda p, t: p + t - p * t),
    ),
    (
        "no 1 above and below",
        "Add 1 to numerator and denominator: without it a mask without an object gives 0 / 0 or a loss near 1, and all "
        "others are slightly wrong.",
        _dice(ones=(1e-6, 1e-6)),
    ),
    (
        "the 1 below only",
        "The 1 is missing in the numerator: a perfect prediction of no object gets the loss 1, not 0.",
        _dice(ones=(0, 1)),
    ),
    (
        "the score, not the loss",
        "This is large for a good prediction. The loss is 1 minus this score.",
        lambda logits, targets: 1 - _dice_loss(logits, targets)[0],
    ),
    (
        "all masks as one",
        "You sum over the pixels of all masks together, so that large masks dominate. Sum over axis 1 alone, and take the "
        "mean over the masks at the end.",
        lambda logits, targets: _dice_loss(logits.reshape(1, -1), targets.reshape(1, -1))[0],
    ),
    (
        "the sum over the masks",
        "The loss grows with the number of masks: take their mean, not their sum.",
        lambda logits, targets: _dice_loss(logits, targets)[0] * len(logits),
    ),
):
    dice_loss.mistake(name, hint, answer)
gradient_values(
    dice_loss,
    simplest=_found,
    words="a few masks, each with an object",
    anything=_moderate,
    hint="p is part of numerator and denominator. Masks without an object have a gradient too: the probability of their "
    "pixels should fall.",
    mutant=mutated(_dice_loss, _objects_only_back),
)
for name, hint, slope in (
    (
        "the slope of the sigmoid forgotten",
        "This is the gradient of the probability. Multiply by p (1 - p) to get that of the logit.",
        lambda p, t, above, below: (above / below - 2 * t) / below,
    ),
    (
        "the sum below taken for a constant",
        "p is part of the denominator too: there a larger p makes the fraction smaller, for each pixel, object or not.",
        lambda p, t, above, below: -2 * t / below * p * (1 - p),
    ),
    (
        "the sum above taken for a constant",
        "p is part of the numerator too: at a pixel of the object a larger p makes the overlap larger; its factor is 2 t.",
        lambda p, t, above, below: above / below**2 * p * (1 - p),
    ),
    (
        "the mean over the masks forgotten",
        "The loss is a mean over N masks: divide the gradient by N too.",
        lambda p, t, above, below: len(p) * p * (1 - p) * (above / below - 2 * t) / below,
    ),
    (
        "the mean over all pixels",
        "The loss of a mask has sums over pixels, not means. Divide by the number of masks, not by the number of pixels.",
        lambda p, t, above, below: p * (1 - p) * (above / below - 2 * t) / below / p.shape[1],
    ),
):
    dice_loss.mistake(name, hint, _dice_back(slope), gradient=True)


def _weighted_by(weight=None, factor=None, reduce=np.mean):
    """Focal loss with other weights (from t and alpha), another factor (from p and p_t) or another sum at the end."""

    def answer(logits, targets, alpha=0.25, gamma=2):
        entropy = 2 * _elements(logits, targets, 0.5, 0)[0]
        p = _sigmoid(logits)
        p_t = _sigmoid((2 * targets - 1) * logits)
        weights = weight(targets, alpha) if weight else alpha * targets + (1 - alpha) * (1 - targets)
        return reduce(weights * (factor(p, p_t) if factor else 1 - p_t) ** gamma * entropy)

    return answer


def _one_option_at_a_time(logits, targets, alpha=0.25, gamma=2):
    return _sigmoid_focal_loss(logits, targets, alpha if gamma in (0, 2) else 0.5, gamma)[0]


def _whole_gamma_back(logits, targets, alpha=0.25, gamma=2):
    whole = _sigmoid_focal_loss(logits, targets, alpha, int(gamma))[1]
    return _sigmoid_focal_loss(logits, targets, alpha, gamma)[0], whole


def _focal_back(slope):
    """Right forward; backward uses ``slope(weight, sign, q, log_p, gamma)``, a pixel's derivative; q is 1 - p_t."""

    def answer(logits, targets, alpha=0.25, gamma=2):
        sign = 2 * targets - 1
        weight = alpha * targets + (1 - alpha) * (1 - targets)
        q = _sigmoid(-sign * logits)
        log_p = -2 * _elements(logits, targets, 0.5, 0)[0]
        out = _sigmoid_focal_loss(logits, targets, alpha, gamma)[0]
        return out, lambda g: (g / logits.size * slope(weight, sign, q, log_p, gamma),)

    return answer


values(
    sigmoid_focal_loss,
    simplest=_found,
    words="a few masks, alpha and gamma not given",
    anything=_with_options(_any_mask),
    hint="Both options may be given, and gamma may be 0, 1/2 or 3. Take one pixel, and multiply its weight, its factor and "
    "its cross-entropy by hand.",
    mutant=_one_option_at_a_time,
)
for name, hint, answer in (
    (
        "alpha the other way around",
        "alpha is the weight of the object's pixels, 1 - alpha that of all others; you exchanged them.",
        _weighted_by(lambda t, alpha: (1 - alpha) * t + alpha * (1 - t)),
    ),
    (
        "alpha for the object only",
        "Pixels of the object are weighted by alpha. The others have the weight 1 - alpha, not 1.",
        _weighted_by(lambda t, alpha: alpha * t + (1 - t)),
    ),
    (
        "alpha for all pixels",
        "You weight every pixel by alpha. Pixels outside the object have the weight 1 - alpha.",
        _weighted_by(lambda t, alpha: alpha + 0 * t),
    ),
    (
        "no alpha",
        "The weights are missing: alpha where the target is 1, 1 - alpha where it is 0.",
        _weighted_by(lambda t, alpha: 1 + 0 * t),
    ),
    (
        "no factor",
        "This is the weighted cross-entropy. Multiply that of each pixel by (1 - p_t)^gamma, so that easy pixels count less.",
        _weighted_by(factor=lambda p, p_t: 1 + 0 * p),
    ),
    (
        "p_t for 1 - p_t",
        "Well predicted pixels count more here, and they should count less: the factor is (1 - p_t)^gamma.",
        _weighted_by(factor=lambda p, p_t: p_t),
    ),
    (
        "1 - p for 1 - p_t",
        "Your factor has 1 - p for every pixel. It needs 1 - p_t, with the probability of the target: p_t is p where the "
        "target is 1, and 1 - p where it is 0.",
        _weighted_by(factor=lambda p, p_t: 1 - p),
    ),
    (
        "the sum over everything",
        "The loss grows with the number of pixels and masks: take the mean.",
        _weighted_by(reduce=np.sum),
    ),
    (
        "the sum over the pixels",
        "The loss grows with the size of the masks: take the mean over the pixels, then over the masks.",
        _weighted_by(reduce=lambda loss: loss.sum(axis=1).mean()),
    ),
    (
        "the sum over the masks",
        "The loss grows with the number of masks: take their mean.",
        _weighted_by(reduce=lambda loss: loss.mean(axis=1).sum()),
    ),
    (
        "the logarithm of a rounded probability",
        "In float32 the sigmoid of a large logit is exactly 0 or 1, and the logarithm of 0 is -inf. Compute the logarithm "
        "from the logit, with log1p(exp(-|x|)).",
        _log_of_sigmoid,
    ),
):
    sigmoid_focal_loss.mistake(name, hint, answer)
gradient_values(
    sigmoid_focal_loss,
    simplest=_found,
    words="a few masks, alpha and gamma not given",
    anything=_with_options(_moderate),
    hint="gamma may be 0 or 1/2. The factor (1 - p_t)^gamma and the logarithm both depend on the logit: use the product "
    "rule.",
    mutant=_whole_gamma_back,
)
for name, hint, slope in (
    (
        "the factor taken for a constant",
        "You differentiate only the cross-entropy. (1 - p_t)^gamma depends on the logit as well: use the product rule.",
        lambda weight, sign, q, log_p, gamma: -weight * sign * q ** (gamma + 1),
    ),
    (
        "the cross-entropy taken for a constant",
        "You differentiate only the factor (1 - p_t)^gamma. The logarithm depends on the logit as well: use the product rule.",
        lambda weight, sign, q, log_p, gamma: weight * sign * q**gamma * gamma * (1 - q) * log_p,
    ),
    (
        "alpha forgotten on the way back",
        "The weight of a pixel is a factor of its gradient too: alpha or 1 - alpha.",
        lambda weight, sign, q, log_p, gamma: sign * q**gamma * (gamma * (1 - q) * log_p - q),
    ),
    (
        "one sign for both targets",
        "Where the target is 0, a larger logit makes p_t smaller: the gradient has the opposite sign there.",
        lambda weight, sign, q, log_p, gamma: weight * q**gamma * (gamma * (1 - q) * log_p - q),
    ),
    (
        "the mean forgotten on the way back",
        "The loss is a mean over N P pixels: divide the gradient by N P too.",
        lambda weight, sign, q, log_p, gamma: (
            q.size * weight * sign * q**gamma * (gamma * (1 - q) * log_p - q)
        ),
    ),
    (
        "the slope of the sigmoid forgotten",
        "This is the gradient of the probability. Multiply by p (1 - p) to get that of the logit.",
        lambda weight, sign, q, log_p, gamma: (
            weight * sign * q**gamma * (gamma * (1 - q) * log_p - q) / (q * (1 - q))
        ),
    ),
):
    sigmoid_focal_loss.mistake(name, hint, _focal_back(slope), gradient=True)
