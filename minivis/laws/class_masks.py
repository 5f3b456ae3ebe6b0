"""The laws of mask_decoder: cosines of patches and classes, then a norm over the classes.

Not here: the transformer before it, vectors of zeros.
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, generator, integer, normals
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.registry import Family
from minivis.laws.judging.value_laws import values

SLIDE = "H/31-segmenter"
COSINE = r"c_{kn} = \frac{(x_n W_p) \cdot (z_k W_c)}{\lVert x_n W_p \rVert \, \lVert z_k W_c \rVert}"
NORM = r"y_{kn} = \gamma_k \frac{c_{kn} - \mu_n}{\sqrt{\sigma_n^2 + \epsilon}} + \beta_k"
EPS = 1e-5


def _unit(x, axis=-1):
    length = np.sqrt((x * x).sum(axis=axis, keepdims=True))
    return x / np.where(length > 0, length, 1)


def _cosines(patches, classes, w_patch, w_class):
    """(B, N, K)."""
    return _unit(patches @ w_patch) @ _unit(classes @ w_class).swapaxes(1, 2)


def _normed(x, axis, ddof=0):
    """Mean 0 and variance 1 along an axis."""
    centred = x - x.mean(axis=axis, keepdims=True)
    return centred / np.sqrt(x.var(axis=axis, keepdims=True, ddof=ddof) + EPS)


def _decode(patches, classes, w_patch, w_class, gamma, beta):
    y = _normed(_cosines(patches, classes, w_patch, w_class), -1) * gamma + beta
    return y.swapaxes(1, 2)


def _mask_decoder(patches, classes, w_patch, w_class, gamma, beta):
    return _decode(patches, classes, w_patch, w_class, gamma, beta), None


mask_decoder = Family(
    "mask_decoder",
    _mask_decoder,
    ("patches", "classes", "w_patch", "w_class", "gamma", "beta"),
    form="f(patches, classes, w_patch, w_class, gamma, beta) -> (B, K, N); patches (B, N, D), classes (B, K, D), w_... (D, D), "
    "multiplied from the right: patches @ w_patch; gamma and beta (K,); the norm is over the K classes, with 1e-5 added to "
    "the variance",
)
family = mask_decoder


def _case(patches, classes, w_patch=None, w_class=None, gamma=None, beta=None):
    """A call in which what is not given plays no part."""
    one = np.eye(patches.shape[-1])
    K = classes.shape[1]
    given = {
        "patches": patches,
        "classes": classes,
        "w_patch": one if w_patch is None else w_patch,
        "w_class": one if w_class is None else w_class,
        "gamma": np.ones(K) if gamma is None else gamma,
        "beta": np.zeros(K) if beta is None else beta,
    }
    return {name: np.asarray(array, np.float32) for name, array in given.items()}


# As many patches as classes, both the corners of one regular polygon: of length 1, and each patch has the same cosines as
# each class, in another order, so that a norm over either axis is the same; two equal images. A law changes one of these


def _corners(count, turn=0.0):
    angles = 2 * np.pi * np.arange(count) / count + turn
    return np.stack([[np.cos(angles), np.sin(angles)]] * 2).swapaxes(1, 2)  # (2, count, 2)


def _polygon(draw):
    corners = _corners(integer(draw, 3, 5), choose(draw, 0.0, 0.5, 1.0))
    return corners, corners.copy()


def _rotation(a):
    return np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])


def _square(draw):
    """A square has corners without rounding errors."""
    corners = _corners(4).round() * choose(draw, 1, -1)
    return _case(corners, corners)


def _long_classes(draw):
    patches, classes = _polygon(draw)
    return _case(patches, classes * generator(draw).choice([0.5, 2.0, 3.0, 10.0], classes.shape[1])[:, None])


def _short_patches(draw):
    patches, classes = _polygon(draw)
    return _case(patches * choose(draw, 1e-3, 2e-3, 5e-4), classes)


def _turned(draw):
    patches, classes = _polygon(draw)
    return _case(patches, classes, _rotation(choose(draw, 0.3, 0.7, -0.4)))


def _anywhere(draw):
    """The corners are not those of a regular polygon."""
    angles = generator(draw).uniform(0, 2 * np.pi, integer(draw, 3, 5))
    angles[:3] = choose(draw, (0.0, 0.5, 2.0), (0.0, 1.0, 3.0))
    points = np.stack([[np.cos(angles), np.sin(angles)]] * 2).swapaxes(1, 2)
    return _case(points, points)


def _scaled_classes(draw):
    patches, classes = _polygon(draw)
    K = classes.shape[1]
    return _case(patches, classes, gamma=1 + np.arange(K) / 2, beta=np.arange(K) - choose(draw, 1.0, 3.0))


def _two_images(draw):
    patches, classes = _polygon(draw)
    classes[1] = classes[1] @ _rotation(choose(draw, 0.5, 1.0))
    return _case(patches, classes)


def _one_class(draw):
    patch = _corners(1, choose(draw, 0.0, 0.5, 1.0))
    return _case(np.repeat(patch, integer(draw, 1, 3), axis=1), _corners(1))


def _drawn(draw, B, N, K, D):
    """Vectors of lengths that are not small."""
    patches, classes = normals(draw, (B, N, D)), normals(draw, (B, K, D))
    patches[..., 0] += np.where(patches[..., 0] < 0, -0.5, 0.5).astype(np.float32)
    classes[..., 0] += np.where(classes[..., 0] < 0, -0.5, 0.5).astype(np.float32)
    w_patch, w_class = (normals(draw, (D, D), 0.3) + np.eye(D, dtype=np.float32) for _ in range(2))
    return _case(patches, classes, w_patch, w_class, normals(draw, (K,)), normals(draw, (K,)))


def _simplest(draw):
    """One image, three classes, matrices that change nothing."""
    case = _drawn(draw, 1, 2, 3, 2)
    return _case(case["patches"], case["classes"])


def _any_shape(draw):
    return _drawn(draw, integer(draw, 1, 2), integer(draw, 1, 2), integer(draw, 1, 2), 2)


def _anything(draw):
    """Now and then the classes are nearly alike, at right angles to the patches, so that epsilon counts."""
    N, K, D = integer(draw, 1, 6), integer(draw, 1, 5), integer(draw, 2, 5)
    case = _drawn(draw, integer(draw, 1, 3), N, K, D)
    if choose(draw, False, False, False, True):
        case["patches"][..., -1] = 0
        case["classes"] *= np.float32(0.005)
        case["classes"][..., -1] = 1
        for name in ("w_patch", "w_class"):
            case[name][-1] = 0
            case[name][:, -1] = 0
            case[name][-1, -1] = 1
    return case


# Wrong answers


def _with(unit_patch=_unit, unit_class=_unit, norm=lambda c: _normed(c, -1), scale=True):
    """A mutant, made of parts: unit lengths of both kinds of vectors, and the norm of the cosines (B, N, K)."""

    def answer(patches, classes, w_patch, w_class, gamma, beta):
        c = unit_patch(patches @ w_patch) @ unit_class(classes @ w_class).swapaxes(1, 2)
        y = norm(c)
        y = y * gamma + beta if scale else y
        return y.swapaxes(1, 2).astype(patches.dtype)

    return answer


def _changed(change):
    """The right answer for other arguments."""

    def answer(*args):
        given = change(dict(zip(family.parameters, args, strict=True)))
        return _decode(**given)

    return answer


def _as_it_is(x):
    return x


def _transposed(given):
    return {**given, "w_patch": given["w_patch"].T, "w_class": given["w_class"].T}


def _exchanged(given):
    return {**given, "w_patch": given["w_class"], "w_class": given["w_patch"]}


def _first_classes(given):
    return {**given, "classes": np.broadcast_to(given["classes"][:1], given["classes"].shape)}


def _eps_outside(c):
    return (c - c.mean(axis=-1, keepdims=True)) / (c.std(axis=-1, keepdims=True) + EPS)


def _not_for_one(c):
    return c if c.shape[-1] == 1 else _normed(c, -1)


def _softmax(axis):
    def norm(c):
        e = np.exp(c - c.max(axis=axis, keepdims=True))
        return e / e.sum(axis=axis, keepdims=True)

    return norm


def _before_the_matrices(patches, classes, w_patch, w_class, gamma, beta):
    c = (_unit(patches) @ w_patch) @ (_unit(classes) @ w_class).swapaxes(1, 2)
    return (_normed(c, -1) * gamma + beta).swapaxes(1, 2)


def _patches_first(*args):
    return _decode(*args).swapaxes(1, 2)


def _before_the_matrices_in_large(*args):
    return _before_the_matrices(*args) if args[0].shape[2] > 3 else _decode(*args)


_long = _with(unit_class=_as_it_is)
_short = _with(unit_patch=_as_it_is)
_over_patches = _with(norm=lambda c: _normed(c, 1))
_unscaled = _with(scale=False)


@family.law(
    "the length of a class does not count",
    inputs=_long_classes,
    equation=COSINE,
    slide=SLIDE,
    hint="Divide each class vector by its length, after its matrix: otherwise long classes win everywhere.",
    mutant=_long,
)
def length_of_a_class(f, case):
    """A class vector that is made longer has the same cosines."""
    z = case["classes"]
    unit = z / np.sqrt((z * z).sum(axis=-1, keepdims=True))
    compare(f(case), f(case.replace(classes=unit)).astype(np.float64))


@family.law(
    "the length of a patch does not count",
    inputs=_short_patches,
    equation=COSINE,
    slide=SLIDE,
    hint="Divide each patch vector by its length. The norm over the classes nearly does the same, but not for short vectors, "
    "because of its epsilon.",
    mutant=_short,
)
def length_of_a_patch(f, case):
    """A patch vector that is a thousandth as long has the same scores."""
    compare(f(case), f(case.replace(patches=case["patches"] * np.float32(1000))).astype(np.float64))


family.agrees(
    "vectors are rows",
    "Patches and classes are rows, so their matrices are multiplied from the right.",
    inputs=_turned,
    equation="x_n W_p",
    hint="patches @ w_patch: a linear layer of the library would multiply by the transpose.",
    mutant=_changed(_transposed),
)
family.agrees(
    "the norm is over the classes",
    "The mean and the variance are those of the K cosines of one patch.",
    inputs=_anywhere,
    equation=NORM,
    slide=SLIDE,
    hint="Over which axis are your mean and variance? A patch is compared with all classes, and these numbers are normalised.",
    mutant=_over_patches,
)
family.agrees(
    "each class has its scale and shift",
    "After the norm each class has a factor gamma and a shift beta of its own.",
    inputs=_scaled_classes,
    equation=NORM,
    hint="gamma and beta have a number for each class: y = gamma * normalised + beta.",
    mutant=_unscaled,
)
family.agrees(
    "each image has its own classes",
    "The class vectors have seen the image: they differ from image to image.",
    inputs=_two_images,
    equation=COSINE,
    hint="Do you use classes[0] for the whole batch?",
    mutant=_changed(_first_classes),
)
family.agrees(
    "one class alone",
    "With one class the norm leaves nothing: with beta = 0 every score is 0.",
    inputs=_one_class,
    equation=r"K = 1:\ y_{1n} = \beta_1",
    hint="A single number minus its own mean is 0. Do not leave the norm out for K = 1.",
    mutant=_with(norm=_not_for_one),
    value=False,
)
every_family(
    family,
    inputs=_square,
    shapes=_any_shape,
    wrong_shape=lambda *args: _decode(*args)[0] if len(args[0]) == 1 else _decode(*args),
    shape_hint="(B, K, N): a batch of one image has its axis too, and the classes come before the patches.",
)
values(
    family,
    simplest=_simplest,
    words="one image, three classes, matrices that change nothing",
    anything=_anything,
    hint="These inputs have several images, other numbers of patches than of classes, and matrices that stretch: divide by "
    "the lengths after the matrices.",
    mutant=_before_the_matrices_in_large,
)
for name, hint, answer in (
    (
        "no unit lengths",
        "You never divide by the lengths: the scores are products, not cosines. Divide patches and classes by theirs.",
        _with(unit_patch=_as_it_is, unit_class=_as_it_is),
    ),
    ("long classes", "You do not divide the class vectors by their length.", _long),
    ("long patches", "You do not divide the patch vectors by their length.", _short),
    (
        "lengths before the matrices",
        "You divide by the lengths before the matrices. The matrices stretch: divide after them.",
        _before_the_matrices,
    ),
    (
        "lengths along the wrong axis",
        "You divide each feature by its length over all tokens. The length of a token is that over its features.",
        _with(unit_patch=lambda x: _unit(x, 1), unit_class=lambda x: _unit(x, 1)),
    ),
    (
        "the norm over the patches",
        "Your mean and variance are those of a class over all patches. They should be those of a patch over all classes.",
        _over_patches,
    ),
    (
        "no norm",
        "You return the cosines: the norm over the classes comes after them.",
        _with(norm=_as_it_is),
    ),
    (
        "a softmax over the patches",
        "You have a softmax over the patches. Here is no softmax: a norm over the classes.",
        _with(norm=_softmax(1)),
    ),
    (
        "a softmax over the classes",
        "You have a softmax over the classes. It belongs to the loss: here is a norm over the classes.",
        _with(norm=_softmax(-1)),
    ),
    (
        "K - 1 in the variance",
        "You divide the variance by K - 1. A layer norm divides by K.",
        _with(norm=lambda c: _normed(c, -1, ddof=int(c.shape[-1] > 1))),
    ),
    (
        "epsilon outside of the root",
        "You add epsilon to the root of the variance: add it to the variance, under the root.",
        _with(norm=_eps_outside),
    ),
    ("gamma and beta left out", "You do not use gamma and beta.", _unscaled),
    (
        "patches before classes",
        "Your result is (B, N, K). The classes come first: (B, K, N).",
        _patches_first,
    ),
    ("matrices transposed", "You multiply by the transposes: patches @ w_patch.", _changed(_transposed)),
    ("matrices exchanged", "w_patch and w_class are exchanged.", _changed(_exchanged)),
    (
        "the classes of the first image",
        "You use the class vectors of the first image for all images.",
        _changed(_first_classes),
    ),
):
    family.mistake(name, hint, answer)
