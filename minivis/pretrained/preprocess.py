"""Photos made ready for a published model: resized, cropped, normalised and padded as its preprocessor_config.json says.

Not here: the random changes of training (data/transforms.py), what becomes of the model's answers (postprocess.py).
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
    """What a processor of transformers does where its file does not say, or says null."""

    square: bool  # what a plain number as size means: both sides, or else the shorter one
    statistics: tuple
    resample: int | None  # None: it has changed between versions
    crop: int | None = None


# by the beginning of its name; the first that fits
KINDS = {
    "ViTHybrid": Kind(False, HALF, 3, 224),
    "ViT": Kind(True, HALF, 2),
    "DeiT": Kind(True, HALF, 3, 224),
    "Beit": Kind(True, HALF, 3, 224),
    "CLIP": Kind(False, CLIP, 3, 224),
    "Bit": Kind(False, CLIP, 3, 224),
    "ConvNext": Kind(False, HALF, None),
    **dict.fromkeys(
        ["Detr", "ConditionalDetr", "DeformableDetr", "MaskFormer", "Mask2Former"],
        Kind(False, IMAGENET, 2),
    ),
}
# no published model sees more; a file's numbers are not to fill the memory
MOST_SIDE, MOST_PIXELS = (2**13, 2**22)


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
    file : str or None
        The file they are from, for errors.

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
    file: str | None = None

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
                f"preprocess: a photo of {largest} pixels does not fit into pad_to={self.pad_to}{self._by()}"
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
            new_short = round(side)
            new_long = int(side * long / short)
            if short == new_short:
                new_long = long
            new = (new_short, new_long) if height <= width else (new_long, new_short)
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
        """Read what a preprocessor_config.json says, old or new, or timm's ``pretrained_cfg``.

        Parameters
        ----------
        settings : dict
            The parsed file. Null is as good as absent: transformers' default for that kind of processor.
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
            said = Settings("it", settings)
            found = (_hub if said.get("input_size") is None else _timm)(said)
        except (ValueError, ArithmeticError) as error:
            raise ValueError(f"from_pretrained: {path}: photos cannot be prepared by it: {error}") from error
        return cls(**found, **{"file": str(path), **options})


def _middle(image, height, width):
    """The middle of a photo; around one that is too small it is black, as transformers has it."""
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    if top < 0 or left < 0:
        rows, columns = max(0, -top), max(0, -left)
        return _middle(np.pad(image, ((rows, rows), (columns, columns), (0, 0))), height, width)
    return image[top : top + height, left : left + width]


def _hub(said):
    """Our settings from transformers'."""
    name = said.get("image_processor_type") or said.get("feature_extractor_type") or ""
    kind = next((KINDS[start] for start in KINDS if str(name).startswith(start)), None)
    found = {"resample": _filter(said, kind)}
    if said.flag("do_resize", True):
        found |= _resizing(said, str(name), kind)
    usual = kind.crop if kind else None
    crops = said.flag("do_center_crop", bool(usual or said.get("crop_size")))
    if crops and (said.get("crop_size") or usual):
        found["crop"] = _sides(said, "crop_size", usual)
    found["scale"] = (
        said.number("rescale_factor", 1 / 255, 1e-9, 1e9) if said.flag("do_rescale", True) else 1.0
    )
    if said.flag("do_normalize", True):
        mean, std = kind.statistics if kind else (None, None)
        found["mean"] = _three(said, "image_mean", mean, -1e9)
        found["std"] = _three(said, "image_std", std, 1e-9)
    if said.flag("do_pad", True) and said.get("pad_size"):
        found["pad_to"] = _sides(said, "pad_size")
    return found


def _filter(said, kind):
    """The filter of resizing, a number of Pillow's or its name."""
    value = said.get("resample", kind.resample if kind else None)
    if isinstance(value, str) and value in FILTERS:
        return FILTERS[value]
    if type(value) is not int or value not in FILTERS.values():
        raise ValueError(
            f"resample must be a number from 0 to 5, or one of {', '.join(FILTERS)}, got {told(value)}"
        )
    return value


def _resizing(said, name, kind):
    """Which of the four rules of resizing, and its numbers."""
    divisor = {
        "divisor": said.whole("size_divisor", said.whole("size_divisibility", 1, 0, MOST_SIDE), 0, MOST_SIDE)
        or 1
    }
    if isinstance(said.get("size"), dict):
        size = said.part("size")
    elif isinstance(said.get("size"), list) or (kind and kind.square):
        return {"size": _sides(said, "size"), **divisor}
    elif kind:
        size = Settings("it", {"shortest_edge": said.whole("size", None, 1, MOST_SIDE)})
    else:
        raise ValueError(
            f"size is {told(said.get('size'))}, and what that means to a {told(name)} is not known: write "
            '{"height": ..., "width": ...} or {"shortest_edge": ...}'
        )
    if size.get("height") is not None:
        return {"size": _sides(said, "size"), **divisor}
    if size.get("max_height") is not None:
        return {"box": _sides(Settings("it", {"size": {k[4:]: v for k, v in size.values.items()}}), "size")}
    shortest = size.whole("shortest_edge", None, 1, MOST_SIDE)
    # also ResNet's: small pictures are cut out of larger ones, large ones are squeezed
    if name.startswith("ConvNext"):
        if shortest >= 384:
            return {"size": (shortest, shortest)}
        larger = int(shortest / said.number("crop_pct", 224 / 256, 0.01, 1))
        return {"shortest": larger, "crop": (shortest, shortest)}
    longest = size.whole("longest_edge", said.whole("max_size", 0, 0, MOST_SIDE), 0, MOST_SIDE)
    return {"shortest": shortest, "longest": longest or None, **divisor}


def _timm(said):
    """Our settings from timm's."""
    channels, *sides = said.wholes("input_size", ())
    if channels != 3 or len(sides) != 2:
        raise ValueError(f"input_size must be [3, height, width], got {told([channels, *sides])}")
    height, width = _checked("input_size", *sides)
    name, mode = said.text("interpolation", "bicubic"), said.text("crop_mode", "center")
    if name not in FILTERS or mode not in ("center", "squash"):
        raise ValueError(f"interpolation {told(name)} with crop_mode {told(mode)} is not what minivis does")
    found = {"resample": FILTERS[name]}
    found |= {"mean": _three(said, "mean", IMAGENET[0], -1e9), "std": _three(said, "std", IMAGENET[1], 1e-9)}
    if mode == "squash" or height != width:
        return {**found, "size": (height, width)}
    return {
        **found,
        "shortest": int(height / said.number("crop_pct", 0.875, 0.01, 1)),
        "crop": (height, width),
    }


def _sides(said, key, usual=None):
    """Height and width, given as {"height": ..., "width": ...}, as two numbers or as one."""
    if isinstance(said.get(key), dict):
        size = said.part(key)
        return _checked(
            key, size.whole("height", None, 1, MOST_SIDE), size.whole("width", None, 1, MOST_SIDE)
        )
    sides = said.pair(key, usual)
    return _checked(key, *(sides if isinstance(sides, tuple) else (sides, sides)))


def _checked(key, height, width):
    if height * width > MOST_PIXELS:
        raise ValueError(
            f"{key} of {height} x {width} pixels is more than any model sees: at most {MOST_PIXELS} pixels"
        )
    return height, width


def _three(said, key, usual, least):
    """One number for each colour."""
    values = said.get(key, usual)
    if values is None:
        raise ValueError(f"{key} is missing, and what is usual for this kind of processor is not known")
    values = values if isinstance(values, list | tuple) else [values] * 3
    if len(values) != 3:
        raise ValueError(f"{key}: expected three numbers, one for each colour, found {len(values)}")
    return tuple(Settings("it", {key: value}).number(key, None, least, 1e9) for value in values)
