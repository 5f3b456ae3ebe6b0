"""Changes to a batch of pictures: fixed ones that fit it to a network, and random ones (augmentation).
Not here: moving pixels (geometry.py), changing colours (color.py), or moving a picture's boxes and masks along (paired.py)."""

from dataclasses import dataclass

import numpy as np

from minivis.data import geometry
from minivis.data._check import check_crop, check_images, check_interval, check_rng, pair
from minivis.data.color import IMAGENET_MEAN, IMAGENET_STD, ColorJitter, Normalize

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "Normalize",
    "RandomAffine",
    "RandomCrop",
    "RandomHorizontalFlip",
    "Resize",
]


@dataclass(frozen=True)
class Compose:
    """Apply several transforms, one after the other.

    Parameters
    ----------
    transforms : sequence of callable
        Each called as ``transform(images, rng)``.

    Raises
    ------
    TypeError
        If one of them cannot be called.

    Examples
    --------
    >>> ready = Compose([Resize(32), CenterCrop(28), Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    >>> ready(np.zeros((2, 3, 40, 60), np.float32)).shape
    (2, 3, 28, 28)
    """

    transforms: tuple

    def __post_init__(self):
        object.__setattr__(self, "transforms", tuple(self.transforms))
        for transform in self.transforms:
            if not callable(transform):
                raise TypeError(f"Compose: every transform must be callable, got {transform!r}")

    def __call__(self, images, rng=None):
        for transform in self.transforms:
            images = transform(images, rng)
        return images


@dataclass(frozen=True)
class Resize:
    """Resize pictures; see `minivis.data.geometry.resize`.

    Parameters
    ----------
    size : int or (int, int)
        Height and width in pixels; one number is the new shorter side.
    mode : {"bilinear", "bicubic", "nearest"}
        How pixels are averaged; "bilinear" by default.

    Examples
    --------
    >>> Resize(4)(np.zeros((1, 1, 8, 16), np.float32)).shape
    (1, 1, 4, 8)
    """

    size: int | tuple
    mode: str = "bilinear"

    def __call__(self, images, rng=None):
        return geometry.resize(images, self.size, self.mode)


@dataclass(frozen=True)
class CenterCrop:
    """Keep the middle of pictures; see `minivis.data.geometry.center_crop`.

    Parameters
    ----------
    size : int or (int, int)
        Height and width to keep, in pixels.

    Examples
    --------
    >>> CenterCrop(4)(np.zeros((1, 1, 8, 16), np.float32)).shape
    (1, 1, 4, 4)
    """

    size: int | tuple

    def __call__(self, images, rng=None):
        return geometry.center_crop(images, self.size)


@dataclass(frozen=True)
class RandomCrop:
    """Cut a piece out of each picture, each at its own random place.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the piece, in pixels.
    padding : int or (int, int)
        Zeros added around the picture first: rows above and below, columns left and right; none by default.

    Raises
    ------
    ValueError
        If the piece is larger than the padded pictures.

    Examples
    --------
    >>> RandomCrop(8, padding=1)(np.ones((5, 1, 8, 8), np.float32), np.random.default_rng(0)).shape
    (5, 1, 8, 8)
    """

    size: int | tuple
    padding: int | tuple = 0

    def __call__(self, images, rng):
        check_images("RandomCrop", images)
        check_rng("RandomCrop", rng)
        rows, columns = pair("RandomCrop", "padding", self.padding, least=0)
        padded = np.pad(images, ((0, 0), (0, 0), (rows, rows), (columns, columns)))
        size = check_crop("RandomCrop", padded, self.size)
        # (B, C, tops, lefts, h, w)
        pieces = np.lib.stride_tricks.sliding_window_view(padded, size, axis=(2, 3))
        B, _, tops, lefts = pieces.shape[:4]
        top, left = rng.integers(tops, size=B), rng.integers(lefts, size=B)
        return pieces[np.arange(B), :, top, left]


@dataclass(frozen=True)
class RandomHorizontalFlip:
    """Mirror each picture left to right with a given probability.

    Parameters
    ----------
    p : float
        Probability of mirroring; 0.5 by default. Do not use it for digits: a mirrored 2 is not a 2.

    Raises
    ------
    ValueError
        If `p` is not between 0 and 1.

    Examples
    --------
    >>> RandomHorizontalFlip(p=1)(np.arange(3.0).reshape(1, 1, 1, 3), np.random.default_rng(0))
    array([[[[2., 1., 0.]]]])
    """

    p: float = 0.5

    def __post_init__(self):
        if not 0 <= self.p <= 1:
            raise ValueError(f"RandomHorizontalFlip: p must be between 0 and 1, got {self.p}")

    def __call__(self, images, rng):
        check_images("RandomHorizontalFlip", images)
        check_rng("RandomHorizontalFlip", rng)
        mirrored = rng.random(len(images)) < self.p
        return np.where(mirrored[:, None, None, None], images[..., ::-1], images)


@dataclass(frozen=True)
class RandomAffine:
    r"""Rotate, shift, scale and slant each picture a little, by random amounts.

    Every amount is uniform: the angle in :math:`[-d, d]`, the shift in :math:`[-tW, tW]` across and
    :math:`[-tH, tH]` down, the scale in its interval, the slant in :math:`[-\phi, \phi]`. The map is the one
    of `minivis.data.geometry.affine_matrix`; pixels in between are bilinear.

    Parameters
    ----------
    degrees : float
        Largest rotation :math:`d` in both directions, degrees; 0 by default.
    translate : float or (float, float)
        Largest shift :math:`t`, as a fraction of the picture's width and height; 0 by default.
    scale : (float, float)
        Least and greatest enlargement, above 0; (1, 1) by default.
    shear : float
        Largest slant :math:`\phi` in both directions, degrees, below 90; 0 by default.
    fill : float
        The value outside the picture; 0 by default.

    Raises
    ------
    ValueError
        If an amount is negative, `scale` is not an interval above 0, or `shear` reaches 90 degrees.

    Examples
    --------
    >>> jitter = RandomAffine(degrees=10, translate=0.1, scale=(0.9, 1.1))
    >>> jitter(np.zeros((64, 1, 8, 8), np.float32), np.random.default_rng(0)).shape
    (64, 1, 8, 8)
    """

    degrees: float = 0.0
    translate: float | tuple = 0.0
    scale: tuple = (1.0, 1.0)
    shear: float = 0.0
    fill: float = 0.0

    def __post_init__(self):
        for name in ("degrees", "translate", "shear"):
            amount = np.asarray(getattr(self, name))
            shapes = [(), (2,)] if name == "translate" else [()]
            if amount.shape not in shapes or not np.all((amount >= 0) & (amount < np.inf)):
                raise ValueError(
                    f"RandomAffine: {name} must be a number of at least 0, got {getattr(self, name)!r}"
                )
        if self.shear >= 90:
            raise ValueError(f"RandomAffine: shear must be below 90 degrees, got {self.shear}")
        check_interval("RandomAffine", "scale", self.scale)
        if self.scale[0] == 0:
            raise ValueError(f"RandomAffine: scale must be above 0, got {self.scale}")

    def __call__(self, images, rng):
        check_images("RandomAffine", images)
        check_rng("RandomAffine", rng)
        B, _, H, W = images.shape
        matrix = geometry.affine_matrix(
            angle=rng.uniform(-self.degrees, self.degrees, B),
            translate=rng.uniform(-1, 1, (B, 2)) * np.multiply(self.translate, (W, H)),
            scale=rng.uniform(*self.scale, B),
            shear=rng.uniform(-self.shear, self.shear, B),
        )
        return geometry.affine(images, matrix, self.fill)
