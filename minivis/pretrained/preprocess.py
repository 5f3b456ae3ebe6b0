"""Preprocess photos for a published model: resize, crop, normalise and pad as in its preprocessor_config.json.

Not here: random augmentations for training (data/transforms.py), processing the model's output (postprocess.py).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minivis import backend
from minivis.data.pixels import as_bytes, resize_bytes
from minivis.listed import told
from minivis.pretrained.settings import Settings

__all__ = ["Preprocess"]

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}


class Kind(NamedTuple):
    """The defaults of a processor of transformers, for values that are absent or null in its file."""

    square: bool  # whether a plain number as size is the length of both sides, or of the shorter side
    statistics: tuple
    resample: int | None  # None: the default differs between versions of transformers
    crop: int | None = None
    divisor: int = 1
    normalize: bool = True


# keys are beginnings of the processor's name; the first match counts
KINDS = {
    "ViTHybrid": Kind(False, HALF, 3, 224),
    "ViT": Kind(True, HALF, 2),
    "DeiT": Kind(True, HALF, 3, 224),
    "Beit": Kind(True, HALF, 3, 224),
    "CLIP": Kind(False, CLIP, 3, 224),
    "Bit": Kind(False, CLIP, 3, 224),
    "ConvNext": Kind(False, HALF, None),
    "Vivit": Kind(False, HALF, 2, 224),
    "Sam": Kind(False, IMAGENET, 2),
    **dict.fromkeys(
        ["Detr", "ConditionalDetr", "DeformableDetr"],
        Kind(False, IMAGENET, 2),
    ),
    "RTDetr": Kind(False, IMAGENET, 2, normalize=False),
    **dict.fromkeys(["MaskFormer", "Mask2Former"], Kind(False, IMAGENET, 2, divisor=32)),
}
# no published model has larger images; the limits protect the memory from wrong numbers in a file
MOST_SIDE, MOST_PIXELS = (2**13, 2**22)


@dataclass(frozen=True)
class Preprocess:
    """Preprocess photos into a batch for a model: ``model.preprocess(photo)``.

    One of ``size``, ``shortest``, ``longest`` and ``box`` gives the size; without them photos are not resized.

    Parameters
    ----------
    size : (int, int) or None
        Height and width after resizing; the aspect ratio may change.
    shortest, longest : int or None
        Length of the shorter side after resizing. It is less if the longer side would exceed `longest`. With `longest`
        alone, this is the length of the longer side.
    divisor : int, default 1
        Height and width are rounded up to a multiple of it.
    box : (int, int) or None
        Largest height and width after resizing; the aspect ratio is kept.
    crop : (int, int) or None
        Height and width of the crop from the middle.
    resample : int, default 2
        The filter, see `minivis.data.pixels.resize_bytes`.
    scale : float, default 1/255
        Factor for the bytes.
    mean, std : tuple of float
        For each of red, green and blue: the mean is subtracted, then the result is divided by std.
    pad_to : (int, int) or None
        Height and width to which batches are padded; None uses the largest height and width in the batch.
    always_pad : bool, default False
        Whether a single photo is padded to `pad_to` too, for a model that takes images of one size only.
    dtype, device
        Dtype and device of the batch.
    note : str or None
        The source of the settings, if they are not from the folder itself.
    file : str or None
        The file of the settings, for error messages.

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
    always_pad: bool = False
    dtype: np.dtype = np.dtype(np.float32)
    device: str = "cpu"
    note: str | None = None
    file: str | None = None

    def __call__(self, image):
        """Preprocess one photo, without padding unless `always_pad` is set.

        Parameters
        ----------
        image : str, path, array or PIL.Image.Image
            A file, or an array: (3, H, W) floating-point in [0, 1], or (H, W, 3) bytes; see `minivis.data.pixels.as_bytes`.

        Returns
        -------
        ndarray, shape (1, 3, H', W')
            The input for ``model(...)``.
        """
        if self.always_pad:
            return self.batch([image])[0]
        return backend.move(self._prepare(image)[None], self.device)

    def batch(self, images):
        """Preprocess several photos and pad them to one size, at the right and bottom, with zeros (the mean colour).

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
                f"preprocess: a photo of {largest} pixels does not fit into pad_to={self.pad_to}{self._by()}"
            )
        out = np.zeros((len(prepared), 3, height, width), self.dtype)
        mask = np.zeros((len(prepared), height, width), bool)
        for i, x in enumerate(prepared):
            out[i, :, : x.shape[1], : x.shape[2]] = x
            mask[i, : x.shape[1], : x.shape[2]] = True
        return backend.move(out, self.device), backend.move(mask, self.device)

    def new_size(self, height, width):
        """The height and width of a photo after resizing, before the crop."""
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
            new_short = round(side)
            new_long = int(side * long / short)
            if short == new_short:
                new_long = long
            new = (new_short, new_long) if height <= width else (new_long, new_short)
        elif self.longest:
            factor = self.longest / max(height, width)
            new = int(height * factor + 0.5), int(width * factor + 0.5)
        else:
            new = height, width
        new = tuple(max(1, math.ceil(side / self.divisor) * self.divisor) for side in new)
        if math.prod(new) > max(MOST_PIXELS, height * width):
            raise ValueError(
                f"preprocess: a photo of {height} x {width} pixels would become {new[0]} x {new[1]}{self._by()}: cut it to a "
                "less extreme shape, or set another size"
            )
        return new

    def _by(self):
        return f" by {self.file}" if self.file else ""

    def _prepare(self, image):
        image = as_bytes(image)  # (H, W, 3)
        new = self.new_size(*image.shape[:2])
        if new != image.shape[:2]:
            image = resize_bytes(image, new, self.resample)
        if self.crop:
            image = _middle(image, *self.crop)
        x = image.astype(np.float64)
        x *= self.scale
        x -= np.array(self.mean)
        x /= np.array(self.std)
        return np.ascontiguousarray(x.transpose(2, 0, 1), self.dtype)  # (3, H', W')

    @classmethod
    def from_config(cls, settings, path="preprocessor_config.json", **options):
        """Make a Preprocess from a preprocessor_config.json, old or new, or from timm's ``pretrained_cfg``.

        Parameters
        ----------
        settings : dict
            The parsed file. For values that are absent or null, transformers' default for that processor is used.
        path : path
            Name of the file, for error messages.
        **options
            dtype, device and note of the result.

        Returns
        -------
        Preprocess

        Raises
        ------
        ValueError
            If the file has invalid settings, or settings that minivis does not support.
        """
        try:
            checked = Settings("it", settings)
            found = (_hub if checked.get("input_size") is None else _timm)(checked)
        except (ValueError, ArithmeticError) as error:
            raise ValueError(f"from_pretrained: {path}: photos cannot be prepared by it: {error}") from error
        return cls(**found, **{"file": str(path), **options})


def _middle(image, height, width):
    """Crop the middle of a photo. A photo that is too small is padded with black, as in transformers."""
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    if top < 0 or left < 0:
        rows, columns = max(0, -top), max(0, -left)
        return _middle(np.pad(image, ((rows, rows), (columns, columns), (0, 0))), height, width)
    return image[top : top + height, left : left + width]


def _hub(settings):
    """Fields of Preprocess from transformers' settings."""
    name = settings.get("image_processor_type") or settings.get("feature_extractor_type") or ""
    kind = next((KINDS[start] for start in KINDS if str(name).startswith(start)), None)
    found = {"resample": _filter(settings, kind)}
    if settings.flag("do_resize", True):
        found |= _resizing(settings, str(name), kind)
    usual = kind.crop if kind else None
    crops = settings.flag("do_center_crop", bool(usual or settings.get("crop_size")))
    if crops and (settings.get("crop_size") or usual):
        found["crop"] = _sides(settings, "crop_size", usual)
    film = str(name).startswith("Vivit")
    rescales = settings.flag("do_rescale", True)
    usual = 1 / 127.5 if film else 1 / 255
    found["scale"] = settings.number("rescale_factor", usual, 1e-9, 1e9) if rescales else 1.0
    if settings.flag("do_normalize", kind.normalize if kind else True):
        mean, std = kind.statistics if kind else (None, None)
        found["mean"] = _three(settings, "image_mean", mean, -1e9)
        found["std"] = _three(settings, "image_std", std, 1e-9)
    # bytes become -1 to 1 before the mean is subtracted
    if film and rescales and settings.flag("offset", True):
        found["mean"] = tuple(1 + value for value in found.get("mean", (0.0, 0.0, 0.0)))
    if settings.flag("do_pad", True) and settings.get("pad_size"):
        found["pad_to"] = _sides(settings, "pad_size")
    if str(name).startswith("Sam"):  # its image encoder takes one size only
        longest = found.get("longest", 1024)
        found = {"pad_to": (longest, longest), "always_pad": True, **found}
    return found


def _filter(settings, kind):
    """The filter for resizing: Pillow's number, given as number or name."""
    value = settings.get("resample", kind.resample if kind else None)
    if isinstance(value, str) and value in FILTERS:
        return FILTERS[value]
    if type(value) is not int or value not in FILTERS.values():
        raise ValueError(
            f"resample must be a number from 0 to 5, or one of {', '.join(FILTERS)}, got {told(value)}"
        )
    return value


def _resizing(settings, name, kind):
    """The fields of Preprocess for resizing, from one of transformers' four ways to write them."""
    if name.startswith("Sam"):
        size = settings.part("size") or Settings("it", {"longest_edge": 1024})
        return {"longest": size.whole("longest_edge", None, 1, MOST_SIDE)}
    usual = settings.whole("size_divisibility", kind.divisor if kind else 1, 0, MOST_SIDE)
    divisor = {"divisor": settings.whole("size_divisor", usual, 0, MOST_SIDE) or 1}
    if isinstance(settings.get("size"), dict):
        size = settings.part("size")
    elif isinstance(settings.get("size"), list) or (kind and kind.square):
        return {"size": _sides(settings, "size"), **divisor}
    elif kind:
        size = Settings("it", {"shortest_edge": settings.whole("size", None, 1, MOST_SIDE)})
    else:
        raise ValueError(
            f"size is {told(settings.get('size'))}, and what that means to a {told(name)} is not known: write "
            '{"height": ..., "width": ...} or {"shortest_edge": ...}'
        )
    if size.get("height") is not None:
        return {"size": _sides(settings, "size"), **divisor}
    if size.get("max_height") is not None:
        return {"box": _sides(Settings("it", {"size": {k[4:]: v for k, v in size.values.items()}}), "size")}
    shortest = size.whole("shortest_edge", None, 1, MOST_SIDE)
    # also ResNet's: below 384 resize larger and crop; from 384 on resize to a square
    if name.startswith("ConvNext"):
        if shortest >= 384:
            return {"size": (shortest, shortest)}
        larger = int(shortest / settings.number("crop_pct", 224 / 256, 0.01, 1))
        return {"shortest": larger, "crop": (shortest, shortest)}
    longest = size.whole("longest_edge", settings.whole("max_size", 0, 0, MOST_SIDE), 0, MOST_SIDE)
    return {"shortest": shortest, "longest": longest or None, **divisor}


def _timm(settings):
    """Fields of Preprocess from timm's settings."""
    channels, *sides = settings.wholes("input_size", ())
    if channels != 3 or len(sides) != 2:
        raise ValueError(f"input_size must be [3, height, width], got {told([channels, *sides])}")
    height, width = _checked("input_size", *sides)
    name, mode = settings.text("interpolation", "bicubic"), settings.text("crop_mode", "center")
    if name not in FILTERS or mode not in ("center", "squash"):
        raise ValueError(f"interpolation {told(name)} with crop_mode {told(mode)} is not what minivis does")
    found = {"resample": FILTERS[name]}
    found |= {
        "mean": _three(settings, "mean", IMAGENET[0], -1e9),
        "std": _three(settings, "std", IMAGENET[1], 1e-9),
    }
    if mode == "squash" or height != width:
        return {**found, "size": (height, width)}
    return {
        **found,
        "shortest": int(height / settings.number("crop_pct", 0.875, 0.01, 1)),
        "crop": (height, width),
    }


def _sides(settings, key, usual=None):
    """Height and width, from {"height": ..., "width": ...}, from two numbers or from one."""
    if isinstance(settings.get(key), dict):
        size = settings.part(key)
        return _checked(
            key, size.whole("height", None, 1, MOST_SIDE), size.whole("width", None, 1, MOST_SIDE)
        )
    sides = settings.pair(key, usual)
    return _checked(key, *(sides if isinstance(sides, tuple) else (sides, sides)))


def _checked(key, height, width):
    if height * width > MOST_PIXELS:
        raise ValueError(
            f"{key} of {height} x {width} pixels is more than any model sees: at most {MOST_PIXELS} pixels"
        )
    return height, width


def _three(settings, key, usual, least):
    """A number for each of the three colours."""
    values = settings.get(key, usual)
    if values is None:
        raise ValueError(f"{key} is missing, and what is usual for this kind of processor is not known")
    values = values if isinstance(values, list | tuple) else [values] * 3
    if len(values) != 3:
        raise ValueError(f"{key}: expected three numbers, one for each colour, found {len(values)}")
    return tuple(Settings("it", {key: value}).number(key, None, least, 1e9) for value in values)
