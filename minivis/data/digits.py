"""1,797 real handwritten digits of 8 x 8 pixels, with one fixed held-out set.
Not here: a validation split; take it from "train", because held-out digits are only for reporting."""

import numpy as np

from minivis.data import geometry
from minivis.data._check import check_images
from minivis.data._sklearn import sklearn_datasets

__all__ = ["CLASSES", "SIZE", "SPLITS", "enlarge", "indices", "lenet_levels", "load"]

CLASSES = tuple("0123456789")
SPLITS = ("train", "held-out", "all")
SIZE = 1797  # pictures in the whole set
PAPER = -0.1  # LeNet's levels of grey
INK = 1.175
HELD_OUT = 360  # pictures, about one in five; no setting may be chosen on them


def indices(split="train"):
    r"""Return which of the 1,797 digits belong to a split.

    With :math:`\pi` the permutation that ``numpy.random.default_rng(0)`` draws, the held-out set is
    :math:`\{\pi_0, \dots, \pi_{359}\}` and the training set is all the rest.

    Parameters
    ----------
    split : {"train", "held-out", "all"}
        Which part; "train" by default.

    Returns
    -------
    numpy.ndarray
        (B,) int64 positions in the whole set; B is 1437, 360 or 1797. "all" is in increasing order, the other two
        are shuffled.

    Raises
    ------
    ValueError
        If `split` is none of the three names.

    Examples
    --------
    >>> indices("held-out")[:3]
    array([ 360, 1773, 1482])
    """
    if split not in SPLITS:
        raise ValueError(f"digits: split must be one of {', '.join(map(repr, SPLITS))}, got {split!r}")
    if split == "all":
        return np.arange(SIZE)
    order = np.random.default_rng(0).permutation(SIZE)
    return order[:HELD_OUT] if split == "held-out" else order[HELD_OUT:]


def load(split="train"):
    r"""Load real handwritten digits as pictures and labels, ready for a model.

    Pen strokes were scanned at 32 x 32 in black and white and counted in blocks of 4 x 4, so a pixel holds
    one of 17 grey levels, :math:`x = \text{count} / 16`; 0 is paper and 1 is ink.

    Parameters
    ----------
    split : {"train", "held-out", "all"}
        The training digits (1437), the held-out digits (360), or both in their stored order (1797). Choose all
        settings (a width, a learning rate, a number of steps) on "train" alone.

    Returns
    -------
    images : numpy.ndarray
        (B, 1, 8, 8) float32 in [0, 1].
    labels : numpy.ndarray
        (B,) int64 in 0..9, positions in `CLASSES`.

    Raises
    ------
    ValueError
        If `split` is none of the three names.
    ImportError
        If scikit-learn, whose package contains the pictures, is not installed. Nothing is downloaded.

    References
    ----------
    E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository,
    1998, doi:10.24432/C50P49 (its test part).

    Examples
    --------
    >>> images, labels = load("held-out")
    >>> images.shape, labels.shape
    ((360, 1, 8, 8), (360,))
    """
    chosen = indices(split)
    stored = sklearn_datasets("digits").load_digits()
    images = stored.images.astype(np.float32)[:, None] / 16  # (1797, 1, 8, 8)
    return images[chosen], stored.target.astype(np.int64)[chosen]


def enlarge(images):
    r"""Draw the digits as LeNet wants them: 20 x 20 pixels in the middle of 32 x 32.

    Parameters
    ----------
    images : numpy.ndarray
        (B, 1, 8, 8) floating, 0 is paper and 1 is ink.

    Returns
    -------
    numpy.ndarray
        (B, 1, 32, 32) of the dtype of `images`, still 0 and 1. The pixels in between follow from a cubic, and what it
        puts outside 0 to 1 is cut off. `lenet_levels` makes LeNet's levels of grey of them.

    References
    ----------
    LeCun et al., "Gradient-based learning applied to document recognition", 1998, section II-B. Slide ``Z/12-lenet``.

    Examples
    --------
    >>> enlarge(np.ones((2, 1, 8, 8), np.float32)).shape
    (2, 1, 32, 32)
    """
    check_images("enlarge", images)
    digit = geometry.resize(images, (20, 20), mode="bicubic").clip(0, 1)
    return np.pad(digit, ((0, 0), (0, 0), (6, 6), (6, 6)))


def lenet_levels(images):
    """Change the levels of grey to LeNet's, -0.1 for paper and 1.175 for ink.

    The paper chose them for about mean 0 and variance 1. These digits, drawn by `enlarge`, have mean 0.05 and variance
    0.11.

    Parameters
    ----------
    images : numpy.ndarray
        Floating, 0 is paper and 1 is ink.

    Returns
    -------
    numpy.ndarray
        Shape and dtype of `images`.

    References
    ----------
    LeCun et al. 1998, section II-B. Slide ``Z/12-lenet``.

    Examples
    --------
    >>> lenet_levels(np.array([0.0, 1.0]))
    array([-0.1  ,  1.175])
    """
    return (images * (INK - PAPER) + PAPER).astype(images.dtype)
