"""Several random views of each picture, as DINO learns from: pieces of random size, changed colours, blur, solarisation.
Not here: random changes that keep the picture whole (transforms.py), what is learned from the views (models/dino.py)."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from minivis.data._check import check_images, check_interval, check_rng, pair
from minivis.data.color import ColorJitter, grayscale
from minivis.data.geometry import FILTERS
from minivis.data.transforms import Compose, RandomHorizontalFlip

__all__ = [
    "GaussianBlur",
    "MultiCrop",
    "RandomApply",
    "RandomGrayscale",
    "RandomResizedCrop",
    "Solarize",
    "dino_views",
]


@dataclass(frozen=True)
class RandomResizedCrop:
    r"""Cut a rectangle of random size and place out of each picture, and resize it to a fixed size.

    The area is a share :math:`a` of the picture's, uniform in `scale`; the ratio :math:`r` of width to height is
    log-uniform in `ratio`. With sides :math:`\sqrt{a H W r}` and :math:`\sqrt{a H W / r}`, rounded. If the piece does not
    fit, both are drawn again, at most ten times; after that the largest possible piece with an allowed ratio is taken from
    the middle.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the result, in pixels.
    scale : (float, float)
        The interval of :math:`a`; (0.08, 1) by default.
    ratio : (float, float)
        The interval of :math:`r`; (3/4, 4/3) by default.
    mode : {"bicubic", "bilinear", "nearest"}
        How pixels are averaged; "bicubic" by default. The result is cut to the range of the picture.

    Raises
    ------
    ValueError
        If an interval is empty or reaches beyond what is possible, `mode` is unknown, or the pictures have no pixels.

    References
    ----------
    Szegedy et al., "Going deeper with convolutions", CVPR 2015, section 6.

    Examples
    --------
    >>> crop = RandomResizedCrop(8, scale=(0.05, 0.4))
    >>> crop(np.zeros((5, 1, 22, 22), np.float32), np.random.default_rng(0)).shape
    (5, 1, 8, 8)
    """

    size: int | tuple
    scale: tuple = (0.08, 1.0)
    ratio: tuple = (3 / 4, 4 / 3)
    mode: str = "bicubic"

    def __post_init__(self):
        pair("RandomResizedCrop", "size", self.size)
        for name, most in (("scale", 1), ("ratio", np.inf)):
            check_interval("RandomResizedCrop", name, getattr(self, name))
            if not 0 < getattr(self, name)[0] <= getattr(self, name)[1] <= most:
                raise ValueError(
                    f"RandomResizedCrop: {name} must lie above 0{' and at most at 1' * (most == 1)}, "
                    f"got {getattr(self, name)!r}"
                )
        if self.mode not in FILTERS:
            known = ", ".join(map(repr, FILTERS))
            raise ValueError(f"RandomResizedCrop: mode must be one of {known}, got {self.mode!r}")

    def __call__(self, images, rng):
        return self.with_boxes(images, rng)[0]

    def with_boxes(self, images, rng):
        """The pieces, and where they were: boxes (B, 4) of whole pixels, left, top, right, bottom."""
        check_images("RandomResizedCrop", images)
        check_rng("RandomResizedCrop", rng)
        B, C, H, W = images.shape
        if not H * W:
            raise ValueError(f"RandomResizedCrop: images has no pixels (images: {images.shape})")
        height, width = pair("RandomResizedCrop", "size", self.size)
        out = np.empty((B, C, height, width), images.dtype)
        boxes = np.array([self.box(H, W, rng) for _ in range(B)]).reshape(B, 4)
        for image, (left, top, right, bottom), target in zip(images, boxes, out, strict=True):
            piece = image[:, top:bottom, left:right]
            for plane, to in zip(piece.astype(np.float32), target, strict=True):
                resized = Image.fromarray(plane).resize((width, height), FILTERS[self.mode])
                to[:] = np.clip(resized, image.min(), image.max())  # a cubic filter overshoots
        return out, boxes

    def box(self, height, width, rng):
        """A random piece of a picture: left, top, right, bottom."""
        low, high = np.log(self.ratio)
        for _ in range(10):
            area = rng.uniform(*self.scale) * height * width
            ratio = np.exp(rng.uniform(low, high))
            w = round(float(np.sqrt(area * ratio)))
            h = round(float(np.sqrt(area / ratio)))
            if 0 < w <= width and 0 < h <= height:
                left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
                return left, top, left + w, top + h
        w = min(width, max(1, round(height * self.ratio[1])))
        h = min(height, max(1, round(width / self.ratio[0])))
        left, top = (width - w) // 2, (height - h) // 2
        return left, top, left + w, top + h


@dataclass(frozen=True)
class RandomApply:
    """Apply a transform to a random share of the pictures.

    Parameters
    ----------
    transform : callable
        Called as ``transform(images, rng)`` with all pictures; the result must have their shape.
    p : float
        Probability for each picture; 0.5 by default.

    Raises
    ------
    ValueError
        If `p` is not between 0 and 1.

    Examples
    --------
    >>> RandomApply(Solarize(), p=0.0)(np.ones((1, 1, 1, 2)), np.random.default_rng(0))
    array([[[[1., 1.]]]])
    """

    transform: object
    p: float = 0.5

    def __post_init__(self):
        if not 0 <= self.p <= 1:
            raise ValueError(f"RandomApply: p must be between 0 and 1, got {self.p}")

    def __call__(self, images, rng):
        check_images("RandomApply", images)
        check_rng("RandomApply", rng)
        chosen = rng.random(len(images)) < self.p
        if not chosen.any():
            return images.copy()
        return np.where(chosen[:, None, None, None], self.transform(images, rng), images)


@dataclass(frozen=True)
class RandomGrayscale:
    """Turn a random share of the pictures grey; they keep their number of channels.

    Parameters
    ----------
    p : float
        Probability for each picture; 0.2 by default.

    Raises
    ------
    ValueError
        If `p` is not between 0 and 1.

    Examples
    --------
    >>> RandomGrayscale(1.0)(np.ones((1, 3, 2, 2), np.float32), np.random.default_rng(0)).shape
    (1, 3, 2, 2)
    """

    p: float = 0.2

    def __post_init__(self):
        RandomApply(_gray, self.p)

    def __call__(self, images, rng):
        return RandomApply(_gray, self.p)(images, rng)


def _gray(images, rng):
    return np.broadcast_to(grayscale(images), images.shape)


@dataclass(frozen=True)
class GaussianBlur:
    r"""Blur each picture with a Gaussian of random width, :math:`\sigma` uniform in an interval.

    Parameters
    ----------
    sigma : (float, float)
        The interval, in pixels; (0.1, 2) by default.

    Raises
    ------
    ValueError
        If the interval is negative or empty.

    Notes
    -----
    At the border the picture is mirrored. The Gaussian is cut off at four standard deviations.

    Examples
    --------
    >>> GaussianBlur((1.0, 1.0))(np.ones((1, 1, 4, 4)), np.random.default_rng(0)).round(6).min()
    np.float64(1.0)
    """

    sigma: tuple = (0.1, 2.0)

    def __post_init__(self):
        check_interval("GaussianBlur", "sigma", self.sigma)

    def __call__(self, images, rng):
        from scipy.ndimage import gaussian_filter

        check_images("GaussianBlur", images)
        check_rng("GaussianBlur", rng)
        widths = rng.uniform(*self.sigma, len(images))
        blurred = [
            gaussian_filter(image, (0, sigma, sigma)) for image, sigma in zip(images, widths, strict=True)
        ]
        return np.array(blurred, images.dtype).reshape(images.shape)


@dataclass(frozen=True)
class Solarize:
    r"""Invert the bright half of the values: :math:`1 - x` where :math:`x \ge` the threshold.

    Parameters
    ----------
    threshold : float
        From which value on; 0.5 by default.

    Examples
    --------
    >>> Solarize()(np.array([[[[0.2, 0.5, 0.9]]]])).round(3)
    array([[[[0.2, 0.5, 0.1]]]])
    """

    threshold: float = 0.5

    def __call__(self, images, rng=None):
        check_images("Solarize", images)
        return np.where(images >= self.threshold, 1 - images, images).astype(images.dtype)


@dataclass(frozen=True)
class MultiCrop:
    """Make several views of each picture: a list with one batch for each view.

    Parameters
    ----------
    views : sequence of callable
        Each makes one view, as ``view(images, rng)``; the large ones first. `dino_views` has the published ones.

    Raises
    ------
    ValueError
        If there are no views.
    TypeError
        If one of them cannot be called.

    References
    ----------
    Caron et al., "Unsupervised learning of visual features by contrasting cluster assignments", NeurIPS 2020, section
    3.2; Caron et al., "Emerging properties in self-supervised vision transformers", ICCV 2021, section 3.1. Slide
    ``A/102-multi-crop``.

    Examples
    --------
    >>> two_large_one_small = MultiCrop([RandomResizedCrop(16, (0.4, 1))] * 2 + [RandomResizedCrop(8, (0.05, 0.4))])
    >>> [view.shape for view in two_large_one_small(np.zeros((5, 1, 22, 22), np.float32), np.random.default_rng(0))]
    [(5, 1, 16, 16), (5, 1, 16, 16), (5, 1, 8, 8)]
    """

    views: tuple

    def __post_init__(self):
        object.__setattr__(self, "views", tuple(self.views))
        if not self.views:
            raise ValueError("MultiCrop: views is empty")
        for view in self.views:
            if not callable(view):
                raise TypeError(f"MultiCrop: every view must be callable, got {view!r}")

    def __call__(self, images, rng):
        check_rng("MultiCrop", rng)
        return [view(images, rng) for view in self.views]


def dino_views(size=224, local_size=96, scale=(0.4, 1.0), local_scale=(0.05, 0.4), local=8):
    """The views of DINO for coloured pictures: two large and several small ones.

    Each is a `RandomResizedCrop`, mirrored with probability 0.5, with jittered colours (0.8) and grey (0.2). The first
    large view is always blurred, the second with probability 0.1 and then solarised with 0.2, a small one blurred with
    0.5.

    Parameters
    ----------
    size, local_size : int
        Sides of the large and the small views, pixels; 224 and 96 by default.
    scale, local_scale : (float, float)
        The shares of the picture that they show; (0.4, 1) and (0.05, 0.4) by default. The published long trainings have
        (0.25, 1) and (0.05, 0.25).
    local : int
        How many small views; 8 by default, 10 in the long trainings.

    Returns
    -------
    MultiCrop
        For pictures in [0, 1]. Normalise its views afterwards.

    Raises
    ------
    ValueError
        If a number is out of range.

    References
    ----------
    Caron et al. 2021, section 3.2; ``DataAugmentationDINO`` of its published code. Slide ``A/102-multi-crop``.

    Examples
    --------
    >>> len(dino_views().views)
    10
    """
    if not hasattr(local, "__index__") or local < 0:
        raise ValueError(f"dino_views: local must be a whole number of at least 0, got {local!r}")
    jitter = ColorJitter(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)
    colours = [RandomHorizontalFlip(), RandomApply(jitter, 0.8), RandomGrayscale(0.2)]
    large, small = RandomResizedCrop(size, scale), RandomResizedCrop(local_size, local_scale)
    first = Compose([large, *colours, GaussianBlur()])
    second = Compose([large, *colours, RandomApply(GaussianBlur(), 0.1), RandomApply(Solarize(), 0.2)])
    return MultiCrop([first, second, *[Compose([small, *colours, RandomApply(GaussianBlur(), 0.5)])] * local])
