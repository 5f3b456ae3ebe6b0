"""Changes the values of pixels: colour jitter, and the normalisation that networks expect.
Not here: moving pixels (geometry.py)."""

from dataclasses import dataclass

import numpy as np

from minivis.data._check import check_images, check_interval, check_rng

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "LUMA", "ColorJitter", "Normalize", "grayscale"]

# Mean and standard deviation of R, G and B over ImageNet's training pictures in [0, 1], as in torchvision's
# documentation of its models; most published vision networks were trained with these numbers.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Perceived brightness of R, G and B (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)


def grayscale(images):
    r"""Turn colours into grey of the same perceived brightness.

    .. math:: g = 0.299 R + 0.587 G + 0.114 B

    Parameters
    ----------
    images : numpy.ndarray
        (B, C, H, W) floating; RGB if C is 3. For any other C the result is the mean of the channels.

    Returns
    -------
    numpy.ndarray
        (B, 1, H, W) of the dtype of `images`.

    Raises
    ------
    ValueError
        If `images` is not four-dimensional.
    TypeError
        If `images` is not a NumPy array of floating-point numbers.

    Examples
    --------
    >>> grayscale(np.ones((1, 3, 1, 1), np.float32)).round(3)
    array([[[[1.]]]], dtype=float32)
    """
    check_images("grayscale", images)
    if images.shape[1] != 3:
        return images.mean(axis=1, keepdims=True)
    return (images * np.array(LUMA, images.dtype)[:, None, None]).sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class ColorJitter:
    r"""Change brightness, contrast, saturation and hue of each picture by amounts drawn for that picture.

    With a factor :math:`f`: brightness is :math:`f x`; contrast blends with the picture's mean grey
    :math:`\bar g`, :math:`f x + (1 - f) \bar g`; saturation blends with the grey picture, :math:`f x + (1 -
    f) g`, where :math:`g = 0.299 R + 0.587 G + 0.114 B`. Hue turns the circle of colours, red, green, blue and back, by a
    share of a full turn. In this order, each cut to [0, 1].

    Parameters
    ----------
    brightness, contrast, saturation : float or (float, float)
        The factor is drawn from this interval; a number :math:`a` means :math:`[\max(0, 1 - a), 1 + a]`. 0 (the
        default) changes nothing.
    hue : float
        The turn is drawn from this share of a full one to either side, at most 0.5; 0 by default.

    Raises
    ------
    ValueError
        If a number or interval is negative, the hue is above 0.5, or saturation or hue is used on pictures without three
        channels.

    Notes
    -----
    Pictures must be in [0, 1], so use it before `Normalize`.

    Examples
    --------
    >>> ColorJitter(brightness=(0.5, 0.5))(np.ones((1, 1, 1, 2)), np.random.default_rng(0))
    array([[[[0.5, 0.5]]]])
    """

    brightness: float | tuple = 0.0
    contrast: float | tuple = 0.0
    saturation: float | tuple = 0.0
    hue: float = 0.0

    def __post_init__(self):
        if not 0 <= self.hue <= 0.5:
            raise ValueError(f"ColorJitter: hue must be between 0 and 0.5, got {self.hue}")
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
        for name, used in (("saturation", self.saturation != (1, 1)), ("hue", self.hue)):
            if used and images.shape[1] != 3:
                raise ValueError(
                    f"ColorJitter: {name} needs C=3 channels, R, G and B (images: {images.shape})"
                )

        def blend(images, other, interval):
            f = rng.uniform(*interval, (len(images), 1, 1, 1)).astype(images.dtype)
            return images if interval == (1, 1) else np.clip(f * images + (1 - f) * other, 0, 1)

        images = blend(images.copy(), 0, self.brightness)
        images = blend(images, grayscale(images).mean(axis=(1, 2, 3), keepdims=True), self.contrast)
        images = blend(images, grayscale(images), self.saturation)
        return _turn_hue(images, rng.uniform(-self.hue, self.hue, len(images))) if self.hue else images


def _turn_hue(images, turns):
    """Turn the hue of RGB pictures in [0, 1], each by a share of a full turn; brightest and darkest value stay."""
    value = images.max(axis=1)  # (B, H, W)
    spread = value - images.min(axis=1)
    red, green, blue = images.transpose(1, 0, 2, 3)
    safe = np.where(spread > 0, spread, 1)
    sixth = np.where(
        value == red,
        (green - blue) / safe,
        np.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sixth = sixth + 6 * turns.astype(images.dtype)[:, None, None]  # hue in sixths of a turn

    def channel(offset):
        place = (sixth + offset) % 6
        return value - spread * np.clip(np.minimum(place, 4 - place), 0, 1)

    return np.stack([channel(5), channel(3), channel(1)], axis=1).astype(images.dtype)


@dataclass(frozen=True)
class Normalize:
    r"""Give each colour channel mean 0 and standard deviation 1, with the known statistics of a data set.

    .. math:: y_c = (x_c - \mu_c) / \sigma_c

    Parameters
    ----------
    mean, std : sequence of float
        :math:`\mu` and :math:`\sigma`, one number for each channel; :math:`\sigma` above 0. Most published networks
        expect `IMAGENET_MEAN` and `IMAGENET_STD` for RGB pictures in [0, 1].

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
        """Undo the normalisation: turn the input of a network back into a picture."""
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
