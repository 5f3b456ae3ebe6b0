"""The laws of mae_loss: only hidden patches count, and what they are compared with.

Not here: hiding patches (masking.py).
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.gradient_laws import gradients
from minivis.laws.judging.inputs import choose, generator, integer, normals
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.mutants import backward
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import gradient_values, values

SLIDE = "C/125-masked-modelling"
LOSS = r"L = \frac{1}{\lvert M \rvert} \sum_{n \in M} \frac{1}{P^2 C} \lVert \hat x_n - t_n \rVert^2"
NORMALISED = r"t_n = \frac{x_n - \bar x_n}{\sqrt{s_n^2 + 10^{-6}}}, \qquad s_n^2 = \frac{1}{P^2 C - 1} \sum_i (x_{n,i} - \bar x_n)^2"


def _patches(images, patch):
    B, C, H, W = images.shape
    x = images.reshape(B, C, H // patch, patch, W // patch, patch).transpose(0, 2, 4, 3, 5, 1)
    return x.reshape(B, -1, patch * patch * C)


def _normalised(x, ddof=1, eps=1e-6):
    """Each patch minus its mean, divided by its standard deviation."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred**2).sum(axis=-1, keepdims=True) / (x.shape[-1] - ddof)
    return centred / np.sqrt(variance + x.dtype.type(eps))


def _mae_loss(images, prediction, mask, patch, norm_pix=False):
    target = _patches(images, patch)
    target = _normalised(target) if norm_pix else target
    error = np.where(mask[..., None], prediction - target, 0)
    count = int(mask.sum()) * prediction.shape[-1]
    return np.asarray((error**2).sum() / count, prediction.dtype), lambda g: (
        None,
        g * 2 * error / count,
        None,
        None,
        None,
    )


mae_loss = Family(
    "mae_loss",
    _mae_loss,
    ("prediction",),
    form="f(images, prediction, mask, patch, norm_pix=False) -> a number; images (B, C, H, W), prediction (B, N, P P C) in the "
    "order of patchify, mask (B, N), True = hidden; norm_pix: compare with each patch minus its mean, divided by its standard "
    "deviation (unbiased, 1e-6 added to the variance)",
)


def _number(f, case, atol=2e-5):
    """Compare the single number, whatever its shape."""
    got = f(case)
    if got.size != 1:
        raise Broken(f"One number was expected; the output has shape {got.shape}.")
    compare(got.reshape(()), f.right(case), atol=atol)


mae_loss.same = _number  # the law "shape" checks the shape

# One image of two by two patches, a grey one, two patches of it hidden, unless a law is about that


def _images(draw, B, C, rows, columns, patch, norm_pix=None, hidden=None):
    images = normals(draw, (B, C, rows * patch, columns * patch))
    N = rows * columns
    rng = generator(draw)
    mask = rng.permuted(np.tile(np.arange(N) < (hidden or N // 2), (B, 1)), axis=1)
    case = {"images": images, "prediction": normals(draw, (B, N, patch**2 * C)), "mask": mask, "patch": patch}
    return case if norm_pix is None else {**case, "norm_pix": norm_pix}


def _plain(draw):
    return _images(draw, 1, 1, 2, 2, 2)


def _pixels(draw):
    return _images(draw, 1, 1, 2, 2, choose(draw, 2, 3))


def _coloured(draw):
    """A prediction without an error."""
    case = _images(draw, 1, choose(draw, 3, 2), 1, integer(draw, 2, 3), 2)
    return {**case, "prediction": _patches(case["images"], 2)}


def _uneven(draw):
    """Images with different numbers of hidden patches."""
    case = _images(draw, 2, 1, 2, 2, 2)
    mask = np.array([[True, False, False, False], [True, True, True, False]])[
        :, generator(draw).permutation(4)
    ]
    return {**case, "mask": mask, "prediction": _patches(case["images"], 2)}


def _norm(draw):
    return _images(draw, 1, 1, 2, 2, 2, norm_pix=True)


def _one_patch(draw):
    """An image of one patch, hidden, and its normalised pixels."""
    case = _images(draw, 1, 1, 1, 1, choose(draw, 2, 3), norm_pix=True, hidden=1)
    return {**case, "prediction": _normalised(_patches(case["images"], case["patch"]))}


def _flat(draw):
    case = _norm(draw)
    shape = case["images"].shape
    images = np.full(shape, choose(draw, 0.5, 2.0, -1.0), np.float32)
    return {**case, "images": images, "prediction": np.zeros_like(case["prediction"])}


def _any_shape(draw):
    return _images(draw, integer(draw, 1, 2), integer(draw, 1, 2), 1, integer(draw, 1, 2), 2, hidden=1)


def _anything(draw):
    patch = integer(draw, 1, 3)
    B, C = integer(draw, 1, 3), integer(draw, 1, 3)
    rows, columns = integer(draw, 1, 3), integer(draw, 2, 3)
    case = _images(draw, B, C, rows, columns, patch)
    mask = generator(draw).random((B, rows * columns)) < choose(draw, 0.5, 0.75)
    mask[0, 0] |= not mask.any()
    case["mask"] = mask
    return {**case, "norm_pix": choose(draw, True, False)} if patch**2 * C > 1 else case


def _with(
    target=lambda images, patch: _patches(images, patch), error=np.square, loss=None, normalised=_normalised
):
    """A mutant with another target, another error of a number, another mean, or another normalisation."""

    def mean(errors, mask):
        return np.where(mask[..., None], errors, 0).sum() / (mask.sum() * errors.shape[-1])

    def mutant(images, prediction, mask, patch, norm_pix=False):
        there = target(images, patch)
        there = normalised(there) if norm_pix else there
        return np.asarray((loss or mean)(error(prediction - there), mask), prediction.dtype)

    return mutant


def _channels_first(images, patch):
    B, C, H, W = images.shape
    x = images.reshape(B, C, H // patch, patch, W // patch, patch).transpose(0, 2, 4, 1, 3, 5)
    return x.reshape(B, -1, patch * patch * C)


def _by_range(x):
    return (x - x.mean(axis=-1, keepdims=True)) / np.maximum(np.abs(x).max(axis=-1, keepdims=True), 1e-6)


def _each_channel(images, prediction, mask, patch, norm_pix=False):
    """With norm_pix every channel of a patch normalised for itself."""
    target = _patches(images, patch)
    if norm_pix:
        C = images.shape[1]
        channels = target.reshape(*target.shape[:2], patch**2, C).swapaxes(2, 3)
        target = _normalised(channels).swapaxes(2, 3).reshape(target.shape) if patch > 1 else target * 0
    error = np.where(mask[..., None], prediction - target, 0)
    return np.asarray((error**2).sum() / (mask.sum() * error.shape[-1]), prediction.dtype)


def _whole_image(x):
    """Normalised over all patches of an image together."""
    centred = x - x.mean(axis=(1, 2), keepdims=True)
    variance = (centred**2).sum(axis=(1, 2), keepdims=True) / (x[0].size - 1)
    return centred / np.sqrt(variance + x.dtype.type(1e-6))


def _of_images(errors, mask):
    """The mean of the images' means."""
    of_patch = np.where(mask, errors.mean(axis=-1), 0)
    return (of_patch.sum(axis=1) / np.maximum(mask.sum(axis=1), 1)).mean()


_every_patch = _with(loss=lambda errors, mask: errors.mean())
_visible_ones = _with(loss=lambda errors, mask: errors[~mask].mean() if (~mask).any() else errors.mean() * 0)
_by_all_patches = _with(loss=lambda errors, mask: np.where(mask[..., None], errors, 0).mean())
_summed = _with(loss=lambda errors, mask: errors[mask].sum() / mask.sum())
_absolute = _with(error=np.abs)
_by_images = _with(loss=_of_images)
_biased = _with(normalised=lambda x: _normalised(x, ddof=0))
_divided_by_largest = _with(normalised=_by_range)
_not_divided = _with(normalised=lambda x: x - x.mean(axis=-1, keepdims=True))
_without_eps = _with(normalised=lambda x: _normalised(x, eps=0.0))
_other_order = _with(_channels_first)
_over_the_image = _with(normalised=_whole_image)
_never_normalised = _with(normalised=lambda x: x)


@mae_loss.law(
    "visible patches do not count",
    inputs=_plain,
    equation=LOSS,
    slide=SLIDE,
    hint="The decoder predicts every patch, but only hidden ones teach it something: multiply by the mask, or pick with it.",
    mutant=_every_patch,
)
def only_hidden(f, case):
    """The loss does not depend on what is predicted for visible patches."""
    before = f(case)
    other = case.copy()["prediction"]
    other[~case["mask"]] += 1
    if not np.array_equal(before, f(case.replace(prediction=other))):
        raise Broken("The loss changed when the prediction of a visible patch changed.")


@mae_loss.law(
    "a mean over pixels",
    inputs=_pixels,
    equation=LOSS,
    slide=SLIDE,
    hint="First take the mean over the P P C numbers of a patch, then over the hidden patches: divide by the number of hidden "
    "patches, not by that of all.",
    mutant=_summed,
    value=True,
    right_too=False,
)
def mean_of_pixels(f, case):
    """If every number of a hidden patch is wrong by 2, the loss is 4, whatever the size of a patch and their number."""
    off = (_patches(case["images"], case["patch"]) + 2).astype(np.float32)
    got = f(case.replace(prediction=off))
    if not f.is_close(got.reshape(-1)[:1], np.array([4.0])):
        raise Broken("Every number is wrong by 2, so the mean square is 4.", expected=np.array(4.0), got=got)


def _costs_nothing(f, case):
    got = f(case)
    if not f.is_close(got.reshape(-1)[:1], np.zeros(1)):
        raise Broken("The prediction is the target, so the loss is 0.", expected=np.array(0.0), got=got)


@mae_loss.law(
    "colours of a pixel side by side",
    sentence="If every patch is predicted as patchify orders it, the colours of a pixel side by side, the loss is 0.",
    inputs=_coloured,
    equation=r"x_n = (\dots, r_{ij}, g_{ij}, b_{ij}, \dots)",
    slide=SLIDE,
    hint="The prediction has the order of patchify: rows, columns, then channels.",
    mutant=_other_order,
)
def in_order(f, case):
    _costs_nothing(f, case)


@mae_loss.law(
    "all hidden patches alike",
    inputs=_uneven,
    equation=LOSS,
    slide=SLIDE,
    hint="Add up over all images, then divide by the number of all hidden patches.",
    mutant=_by_images,
)
def alike(f, case):
    """It does not matter which hidden patch of the batch is wrong, also if images have different numbers of them."""
    losses = []
    for b, n in np.argwhere(case["mask"]):
        wrong = case["prediction"].copy()
        wrong[b, n] += 2
        losses.append(float(f(case.replace(prediction=wrong)).reshape(-1)[0]))
    if not f.is_close(np.array(losses), np.full(len(losses), losses[0])):
        raise Broken("One wrong patch costs more than another.", got=np.array(losses))


@mae_loss.law(
    "the unbiased deviation",
    sentence="With norm_pix the target is the patch minus its mean, divided by the root of its unbiased variance.",
    inputs=_one_patch,
    equation=NORMALISED,
    slide=SLIDE,
    hint="NumPy's var divides by the number of values; pass ddof=1. The patch 1, 2, 3, 4 becomes -1.162, -0.387, 0.387, 1.162.",
    mutant=_biased,
)
def unbiased(f, case):
    _costs_nothing(f, case)


@mae_loss.law(
    "normalised patches have no brightness",
    inputs=_norm,
    equation=NORMALISED,
    slide=SLIDE,
    hint="Take the mean and the standard deviation of each patch alone: a brighter patch, or one with more contrast, has the "
    "same normalised pixels.",
    mutant=_over_the_image,
    right_too=("the unbiased deviation",),
)
def no_brightness(f, case):
    """With norm_pix a patch may be made brighter and have more contrast, and the loss stays."""
    exact = case.copy(np.float64)
    images = exact["images"].copy()
    images[:, :, :2, :2] = 40 * images[:, :, :2, :2] + 30  # patch 0
    compare(f(exact.replace(images=images)), f(exact), rtol=1e-3, atol=1e-4, what="The loss")


@mae_loss.law(
    "a flat patch",
    sentence="A patch of one colour has the normalised pixels 0.",
    inputs=_flat,
    equation=NORMALISED,
    slide=SLIDE,
    hint="Its variance is 0, and 0 / 0 is NaN: 1e-6 is added to the variance, inside the root.",
    mutant=_without_eps,
)
def flat(f, case):
    _costs_nothing(f, case)


every_family(
    mae_loss,
    inputs=_plain,
    shapes=_any_shape,
    wrong_shape=lambda *args, **options: _mae_loss(*args, **options)[0].reshape(1),
    shape_hint="The loss is one number, without axes.",
    shape_equation=r"L \in \mathbb R",
)
values(
    mae_loss,
    simplest=_plain,
    words="a grey image of four patches, two of them hidden",
    anything=_anything,
    hint="Any number of images, colours and hidden patches, with norm_pix and without: compute one patch by hand.",
    mutant=_each_channel,
)
EQUATION = r"\bar{\hat x}_n = \frac{2 g}{\lvert M \rvert P^2 C} (\hat x_n - t_n) \text{ for } n \in M, \quad 0 \text{ otherwise}"


def _to_visible_too(g, pulled, args, options):
    images, prediction, mask, patch = args[:4]
    target = _patches(images, patch)
    target = _normalised(target) if options.get("norm_pix") or args[4:] == (True,) else target
    return (None, g * 2 * (prediction - target) / (int(mask.sum()) * prediction.shape[-1]), None, None, None)


def _half(g, pulled, args, options):
    return (None, pulled[1] / 2, None, None, None)


gradients(
    mae_loss,
    inputs=_plain,
    equation={"prediction": EQUATION},
    hints={"prediction": "The derivative of a square is twice the difference; visible patches get 0."},
    mutants={"prediction": backward(_mae_loss, _to_visible_too)},
    slide=SLIDE,
)


def _without_norm(g, pulled, args, options):
    """The gradient of the loss without norm_pix."""
    return _mae_loss(*args[:4])[1](g)


gradient_values(
    mae_loss,
    simplest=_plain,
    words="a grey image of four patches, two of them hidden",
    anything=_anything,
    hint="The target of the gradient is that of the loss: with norm_pix the normalised patch.",
    mutant=backward(_mae_loss, _without_norm),
)
for name, hint, answer in (
    (
        "each channel for itself",
        "You normalise each colour alone. A patch has one mean and one deviation, over all its P P C numbers.",
        _each_channel,
    ),
    (
        "every patch counted",
        "You take the mean over all patches. Only hidden patches count, where the mask is True.",
        _every_patch,
    ),
    (
        "visible patches counted",
        "You count the visible patches: True means hidden in this mask.",
        _visible_ones,
    ),
    (
        "divided by all patches",
        "You divide by the number of all patches. Divide by the number of hidden ones.",
        _by_all_patches,
    ),
    ("summed over pixels", "You add up the numbers of a patch. Take their mean.", _summed),
    ("absolute differences", "You use absolute differences; the loss is the mean of squares.", _absolute),
    (
        "the mean of the images' means",
        "You take the mean of each image first. Add up over the whole batch, then divide by the number of hidden patches.",
        _by_images,
    ),
    ("the biased variance", "Your variance divides by P P C; divide by P P C - 1 (ddof=1).", _biased),
    (
        "divided by the largest",
        "Divide by the standard deviation of the patch, not by its largest number.",
        _divided_by_largest,
    ),
    (
        "only the mean removed",
        "You subtract the mean and do not divide by the standard deviation.",
        _not_divided,
    ),
    ("norm_pix forgotten", "With norm_pix you compare with the plain pixels.", _never_normalised),
    (
        "normalised over the image",
        "You normalise over the whole image. With norm_pix each patch has its own mean and deviation.",
        _over_the_image,
    ),
    (
        "channels in front",
        "Your patches have the channels in front. The colours of one pixel belong together, as patchify puts them.",
        _other_order,
    ),
):
    mae_loss.mistake(name, hint, answer)
mae_loss.mistake(
    "gradients for visible patches",
    "Visible patches get a gradient too. They are not part of the loss: their gradient is 0.",
    backward(_mae_loss, _to_visible_too),
    gradient=True,
)
mae_loss.mistake(
    "without the 2",
    "The gradient is half of what it should be: the derivative of a square is twice the difference.",
    backward(_mae_loss, _half),
    gradient=True,
)
