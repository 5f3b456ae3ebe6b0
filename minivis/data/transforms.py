"""Changes to a batch of pictures that make it fit a network, or make few pictures into many by chance.
Not here: the arithmetic of moving pixels (geometry.py), and changes to boxes or masks that go with a picture."""

from dataclasses import dataclass

import numpy as np

from . import geometry
from .geometry import check_crop, check_images, pair

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

# Mean and standard deviation of R, G and B over ImageNet's training pictures scaled to [0, 1]: the figures that
# torchvision's documentation of its models gives, and that most published vision networks were trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# How bright an eye finds R, G and B (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Compose:
    """Do several transforms, one after the other.

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
    """Bring pictures to a size; see `minivis.data.geometry.resize`.

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
    """Cut a piece out of each picture, at a place drawn for that picture.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the piece, in pixels.
    padding : int or (int, int)
        Rows above and below, columns left and right, of zeros put around the picture before; none by default.

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
        pieces = np.lib.stride_tricks.sliding_window_view(
            padded, size, axis=(2, 3)
        )  # (B, C, tops, lefts, h, w)
        B, _, tops, lefts = pieces.shape[:4]
        top, left = rng.integers(tops, size=B), rng.integers(lefts, size=B)
        return pieces[np.arange(B), :, top, left]


@dataclass(frozen=True)
class RandomHorizontalFlip:
    """Mirror each picture left to right, or leave it, as a coin falls.

    Parameters
    ----------
    p : float
        Probability of the mirror picture; 0.5 by default. Not for digits: a mirrored 2 is no 2.

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
    r"""Turn, shift, scale and slant each picture a little, by amounts drawn for that picture.

    Every amount is uniform: the angle in :math:`[-d, d]`, the shift in :math:`[-tW, tW]` across and :math:`[-tH, tH]`
    down, the scale in its interval, the slant in :math:`[-\phi, \phi]`. The map is the one of
    `minivis.data.geometry.affine_matrix`; pixels in between are bilinear.

    Parameters
    ----------
    degrees : float
        Largest rotation :math:`d` either way, degrees; 0 by default.
    translate : float or (float, float)
        Largest shift :math:`t`, as a fraction of the picture's width and height; 0 by default.
    scale : (float, float)
        Least and greatest enlargement, above 0; (1, 1) by default.
    shear : float
        Largest slant :math:`\phi` either way, degrees, below 90; 0 by default.
    fill : float
        What comes in from outside; 0 by default.

    Raises
    ------
    ValueError
        If an amount is negative, `scale` is no interval above 0, or `shear` reaches 90 degrees.

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


@dataclass(frozen=True)
class ColorJitter:
    r"""Change brightness, contrast and saturation of each picture by factors drawn for that picture.

    With a factor :math:`f`: brightness is :math:`f x`; contrast blends with the picture's mean grey :math:`\bar g`,
    :math:`f x + (1 - f) \bar g`; saturation blends with the grey picture, :math:`f x + (1 - f) g`, where
    :math:`g = 0.299 R + 0.587 G + 0.114 B`. In this order, each cut to [0, 1].

    Parameters
    ----------
    brightness, contrast, saturation : float or (float, float)
        The interval the factor is drawn from; a number :math:`a` is :math:`[\max(0, 1 - a), 1 + a]`. 0 (the default)
        leaves pictures as they are.

    Raises
    ------
    ValueError
        If a number or interval is negative, or saturation is asked of pictures without three channels.

    Notes
    -----
    For pictures in [0, 1]: before `Normalize`, not after.

    Examples
    --------
    >>> ColorJitter(brightness=(0.5, 0.5))(np.ones((1, 1, 1, 2)), np.random.default_rng(0))
    array([[[[0.5, 0.5]]]])
    """

    brightness: float | tuple = 0.0
    contrast: float | tuple = 0.0
    saturation: float | tuple = 0.0

    def __post_init__(self):
        for name in ("brightness", "contrast", "saturation"):
            amount = getattr(self, name)
            if np.ndim(amount) == 0:
                if not amount >= 0:
                    raise ValueError(f"ColorJitter: {name} must be at least 0, got {amount}")
                amount = (max(0, 1 - amount), 1 + amount)
            check_interval("ColorJitter", name, amount)
            object.__setattr__(self, name, tuple(amount))

    def __call__(self, images, rng):
        check_images("ColorJitter", images)
        check_rng("ColorJitter", rng)
        if self.saturation != (1, 1) and images.shape[1] != 3:
            raise ValueError(
                f"ColorJitter: saturation needs C=3 channels, R, G and B (images: {images.shape})"
            )

        def blend(images, other, interval):
            f = rng.uniform(*interval, (len(images), 1, 1, 1)).astype(images.dtype)
            return images if interval == (1, 1) else np.clip(f * images + (1 - f) * other, 0, 1)

        images = blend(images.copy(), 0, self.brightness)
        images = blend(images, grayscale(images).mean(axis=(1, 2, 3), keepdims=True), self.contrast)
        return blend(images, grayscale(images), self.saturation)


@dataclass(frozen=True)
class Normalize:
    r"""Give each colour channel mean 0 and standard deviation 1, by figures known beforehand.

    .. math:: y_c = (x_c - \mu_c) / \sigma_c

    Parameters
    ----------
    mean, std : sequence of float
        :math:`\mu` and :math:`\sigma`, one of each a channel; :math:`\sigma` above 0. `IMAGENET_MEAN` and
        `IMAGENET_STD` are what most published networks expect of RGB pictures in [0, 1].

    Raises
    ------
    ValueError
        If `mean` and `std` differ in length or from the pictures' channels, or a `std` is not above 0.

    Examples
    --------
    >>> Normalize([0.5], [0.25])(np.float32([[[[0, 0.5, 1]]]]))
    array([[[[-2.,  0.,  2.]]]], dtype=float32)
    """

    mean: tuple
    std: tuple

    def __post_init__(self):
        for name in ("mean", "std"):
            object.__setattr__(self, name, tuple(float(v) for v in np.atleast_1d(getattr(self, name))))
        if len(self.mean) != len(self.std) or not all(s > 0 for s in self.std):
            raise ValueError(
                f"Normalize: mean and std must have one entry a channel, std above 0, got mean={self.mean}, "
                f"std={self.std}"
            )

    def __call__(self, images, rng=None):
        mean, std = self._figures(images)
        return (images - mean) / std

    def inverse(self, images):
        """Undo it: turn what a network was given back into a picture, to look at."""
        mean, std = self._figures(images)
        return images * std + mean

    def _figures(self, images):
        check_images("Normalize", images)
        if images.shape[1] != len(self.mean):
            raise ValueError(
                f"Normalize: images have C={images.shape[1]} channels but mean and std have {len(self.mean)} "
                f"(images: {images.shape})"
            )
        return (np.array(v, images.dtype)[:, None, None] for v in (self.mean, self.std))


def grayscale(images):
    """Return the grey of each pixel, (B, 1, H, W): by `LUMA` where there are three channels, else their mean."""
    if images.shape[1] != 3:
        return images.mean(axis=1, keepdims=True)
    return (images * np.array(LUMA, images.dtype)[:, None, None]).sum(axis=1, keepdims=True)


def check_interval(name, argument, interval):
    """Refuse what is not (least, greatest) with 0 <= least <= greatest."""
    if np.shape(interval) != (2,) or not 0 <= interval[0] <= interval[1] < np.inf:
        raise ValueError(f"{name}: {argument} must be (least, greatest), neither below 0, got {interval!r}")


def check_rng(name, rng):
    """Refuse a missing generator: a random transform with a seed of its own would repeat itself every batch."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"{name}: rng must be a numpy.random.Generator, got {type(rng).__name__}")
