"""Photos made ready for a published model: resized, cropped, normalised and padded as its preprocessor_config.json says.

Not here: the random changes of training (data/transforms.py), what becomes of the model's answers (postprocess.py).
"""

import math
from dataclasses import dataclass

import numpy as np

from minivis import backend
from minivis.data.pixels import as_bytes, resize_bytes

__all__ = ["Preprocess"]

# What transformers takes where a file does not say: ImageNet's statistics, or 0.5 for the original ViT.
MEAN, STD, HALF = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), (0.5, 0.5, 0.5)
FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
KEEPS_ASPECT = ("Detr", "MaskFormer", "Mask2Former", "ConvNext")  # a plain number is the shorter side here


@dataclass(frozen=True)
class Preprocess:
    """Turn photos into the batch a model takes: ``model.preprocess(photo)``.

    Parameters
    ----------
    size : (int, int) or None
        Height and width to resize to, whatever the photo's shape.
    shortest, longest : int or None
        Or: the shorter side to resize to, unless the longer one would then exceed `longest`.
    divisor : int, default 1
        Height and width are rounded up to a multiple of it.
    box : (int, int) or None
        Or: the largest size of the photo's shape within this height and width.
    crop : (int, int) or None
        Height and width cut out of the middle.
    resample : int, default 2
        The filter, see `minivis.data.pixels.resize_bytes`.
    scale : float, default 1/255
        What a byte is multiplied with.
    mean, std : tuple of float
        Subtracted from red, green and blue, then divided by.
    pad_to : (int, int) or None
        Height and width that batches are padded to; None is the largest of the batch.
    dtype, device
        Of the batch.
    note : str or None
        Where the settings are from, when they are not the folder's own.

    Examples
    --------
    >>> prepare = Preprocess(shortest=4, longest=6)
    >>> prepare(np.zeros((3, 10, 20), np.float32)).shape
    (1, 3, 3, 6)
    >>> images, mask = prepare.batch([np.zeros((3, 10, 20), np.float32), np.zeros((3, 8, 8), np.float32)])
    >>> images.shape, mask.sum(axis=(1, 2)).tolist()
    ((2, 3, 4, 6), [18, 16])
    """

    size: tuple | None = None
    shortest: int | None = None
    longest: int | None = None
    divisor: int = 1
    box: tuple | None = None
    crop: tuple | None = None
    resample: int = 2
    scale: float = 1 / 255
    mean: tuple = (0.0, 0.0, 0.0)
    std: tuple = (1.0, 1.0, 1.0)
    pad_to: tuple | None = None
    dtype: np.dtype = np.dtype(np.float32)
    device: str = "cpu"
    note: str | None = None

    def __call__(self, image):
        """One photo, not padded.

        Parameters
        ----------
        image : str, path, array or PIL.Image.Image
            A file; an array (3, H, W) floating in [0, 1] or (H, W, 3) bytes; see `minivis.data.pixels.as_bytes`.

        Returns
        -------
        ndarray, shape (1, 3, H', W')
            For ``model(...)``.
        """
        return backend.move(self._prepare(image)[None], self.device)

    def batch(self, images):
        """Several photos, padded at the right and the bottom with zeros, which are the mean colour, to one size.

        Parameters
        ----------
        images : list
            Photos as above, of any sizes.

        Returns
        -------
        images : ndarray, shape (B, 3, H', W')
        mask : ndarray of bool, shape (B, H', W')
            True = part of the photo, False = padding: ``model(images, mask)`` of DETR.

        Raises
        ------
        ValueError
            If there is no photo, or one is larger than `pad_to`.
        """
        if not len(images):
            raise ValueError("preprocess: images is empty: there is nothing to prepare")
        prepared = [self._prepare(image) for image in images]
        largest = tuple(max(x.shape[axis] for x in prepared) for axis in (1, 2))
        height, width = self.pad_to or largest
        if largest[0] > height or largest[1] > width:
            raise ValueError(
                f"preprocess: a photo of {largest} pixels does not fit into pad_to={self.pad_to}"
            )
        out = np.zeros((len(prepared), 3, height, width), self.dtype)
        mask = np.zeros((len(prepared), height, width), bool)
        for i, x in enumerate(prepared):
            out[i, :, : x.shape[1], : x.shape[2]] = x
            mask[i, : x.shape[1], : x.shape[2]] = True
        return backend.move(out, self.device), backend.move(mask, self.device)

    def new_size(self, height, width):
        """The height and width a photo is resized to, before the crop."""
        if self.size:
            new = self.size
        elif self.box:
            factor = min(self.box[0] / height, self.box[1] / width)
            new = int(height * factor), int(width * factor)
        elif self.shortest:
            short, long = sorted((height, width))
            side = float(self.shortest)
            if self.longest and long / short * side > self.longest:
                side = self.longest * short / long
            new_short, new_long = round(side), int(side * long / short)
            if short == new_short:
                new_long = long
            new = (new_short, new_long) if height <= width else (new_long, new_short)
        else:
            new = height, width
        return tuple(max(1, math.ceil(side / self.divisor) * self.divisor) for side in new)

    def _prepare(self, image):
        image = as_bytes(image)  # (H, W, 3)
        new = self.new_size(*image.shape[:2])
        if new != image.shape[:2]:
            image = resize_bytes(image, new, self.resample)
        if self.crop:
            image = _middle(image, *self.crop)
        x = image.astype(np.float64) * self.scale
        x = (x - np.array(self.mean)) / np.array(self.std)
        return np.ascontiguousarray(x.transpose(2, 0, 1), self.dtype)  # (3, H', W')

    @classmethod
    def from_config(cls, settings, path="preprocessor_config.json", **options):
        """Read what a preprocessor_config.json says, old or new, or timm's ``pretrained_cfg``.

        Parameters
        ----------
        settings : dict
            The parsed file.
        path : path
            Its name, for the error.
        **options
            dtype, device and note of the result.

        Returns
        -------
        Preprocess

        Raises
        ------
        ValueError
            If the file asks for what minivis does not do, or makes no sense.
        """
        try:
            return cls(**(_timm if "input_size" in settings else _hub)(settings), **options)
        except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError) as error:
            raise ValueError(
                f"from_pretrained: {path}: photos cannot be prepared by it: {error!r}"
            ) from error


def _middle(image, height, width):
    """The middle of a photo; around one that is too small it is black, as transformers has it."""
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    if top < 0 or left < 0:
        rows, columns = max(0, -top), max(0, -left)
        return _middle(np.pad(image, ((rows, rows), (columns, columns), (0, 0))), height, width)
    return image[top : top + height, left : left + width]


def _hub(settings):
    """Our settings from transformers'."""
    kind = str(settings.get("image_processor_type") or settings.get("feature_extractor_type") or "")
    found = {"resample": int(settings["resample"])}
    if settings.get("do_resize", True):
        found |= _hub_size(settings, kind)
    if settings.get("do_center_crop", "crop_size" in settings) and settings.get("crop_size"):
        found["crop"] = _pair(settings["crop_size"])
    found["scale"] = (
        float(settings.get("rescale_factor", 1 / 255)) if settings.get("do_rescale", True) else 1.0
    )
    if settings.get("do_normalize", True):
        usual = (HALF, HALF) if kind.startswith("ViT") else (MEAN, STD)
        found["mean"] = _three(settings.get("image_mean") or usual[0])
        found["std"] = _three(settings.get("image_std") or usual[1])
    if settings.get("do_pad", True) and settings.get("pad_size"):
        found["pad_to"] = _pair(settings["pad_size"])
    return found


def _hub_size(settings, kind):
    """Which of the four rules of resizing, and its numbers."""
    size = settings["size"]
    if not isinstance(size, dict):
        if isinstance(size, list):
            size = {"height": size[0], "width": size[1]}
        elif kind.startswith(KEEPS_ASPECT):
            size = {"shortest_edge": size, "longest_edge": settings.get("max_size")}
        else:
            size = {"height": size, "width": size}
    divisor = {"divisor": int(settings.get("size_divisor") or settings.get("size_divisibility") or 1)}
    if "height" in size:
        return {"size": _pair(size), **divisor}
    if "max_height" in size:
        return {"box": (int(size["max_height"]), int(size["max_width"]))}
    shortest = int(size["shortest_edge"])
    if kind.startswith(
        "ConvNext"
    ):  # also ResNet's: small pictures are cut out of larger ones, large ones are squeezed
        if shortest >= 384:
            return {"size": (shortest, shortest)}
        return {"shortest": int(shortest / settings.get("crop_pct", 224 / 256)), "crop": (shortest, shortest)}
    longest = size.get("longest_edge") or settings.get("max_size")
    return {"shortest": shortest, "longest": int(longest) if longest else None, **divisor}


def _timm(settings):
    """Our settings from timm's."""
    _, height, width = settings["input_size"]
    found = {"resample": FILTERS[settings.get("interpolation", "bicubic")]}
    found |= {"mean": _three(settings.get("mean", MEAN)), "std": _three(settings.get("std", STD))}
    share = settings.get("crop_pct", 0.875)
    if settings.get("crop_mode", "center") == "squash" or height != width:
        return {**found, "size": (height, width)}
    return {**found, "shortest": int(height / share), "crop": (height, width)}


def _pair(size):
    """Height and width, given as {"height": ..., "width": ...}, as two numbers or as one."""
    if isinstance(size, dict):
        return int(size["height"]), int(size["width"])
    return tuple(int(side) for side in size) if isinstance(size, list) else (int(size), int(size))


def _three(values):
    """One number for each colour."""
    values = tuple(float(value) for value in (values if isinstance(values, list | tuple) else [values] * 3))
    if len(values) != 3:
        raise ValueError(f"expected three numbers, one for each colour, found {len(values)}")
    return values
