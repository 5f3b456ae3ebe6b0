"""Prepare photos for a model: resize, crop, normalise and pad, by settings that a json file can hold.
Not here: random augmentations for training (transforms.py), the settings of published models (pretrained/preprocess.py)."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from minivis import backend
from minivis.data import digits
from minivis.data.pixels import as_bytes, resize_bytes
from minivis.listed import flag, number, told, whole

__all__ = ["Preprocess"]

# no published model has larger images; the limits protect the memory from wrong numbers in a file
MOST_SIDE, MOST_PIXELS = (2**13, 2**22)


# the last steps by name: functions of (1, C, H, W)
FINISH = {"lenet": lambda x: digits.lenet_levels(digits.enlarge(x))}


@dataclass(frozen=True, repr=False)
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
    grey : bool, default False
        Whether the three channels become one, their mean, at the end.
    finish : str or None
        One more step at the end, by name. There is "lenet": a digit is drawn as LeNet-5 takes it, see
        `minivis.data.digits.enlarge`.
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
    grey: bool = False
    finish: str | None = None
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
            The input for ``model(...)``; with `grey` it has one channel.
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
        out = np.zeros((len(prepared), len(prepared[0]), height, width), self.dtype)
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
        x = x.mean(axis=2, keepdims=True) if self.grey else x
        x = np.ascontiguousarray(x.transpose(2, 0, 1), self.dtype)  # (3, H', W'), or (1, H', W')
        return FINISH[self.finish](x[None])[0] if self.finish else x

    def settings(self):
        """The settings that differ from their defaults, as json can hold them: for `from_settings`.

        Dtype and device are the model's own, and where the settings come from is not one of them.

        Returns
        -------
        dict

        Examples
        --------
        >>> Preprocess(size=(8, 8), grey=True).settings()
        {'size': [8, 8], 'grey': True}
        """
        own = {name: getattr(self, name) for name, usual in USUAL.items() if getattr(self, name) != usual}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in own.items()}

    def __repr__(self):
        told = [f"{name}={getattr(self, name)!r}" for name in USUAL if getattr(self, name) != USUAL[name]]
        return f"Preprocess({', '.join(told)})"

    @classmethod
    def from_settings(cls, settings, path="config.json"):
        """Make a Preprocess of what `settings` returned, with every value checked.

        Parameters
        ----------
        settings : dict
            From a file that anybody may have written.
        path : path
            The file, for error messages.

        Returns
        -------
        Preprocess

        Raises
        ------
        ValueError
            If a setting is unknown, of the wrong kind, or out of range.

        Examples
        --------
        >>> Preprocess.from_settings({"size": [8, 8], "grey": True}).size
        (8, 8)
        """
        try:
            if not isinstance(settings, dict) or not settings.keys() <= USUAL.keys():
                raise ValueError(f"expected settings out of {', '.join(USUAL)}, got {told(settings)}")
            found = {name: _read(name, settings) for name, value in settings.items() if value is not None}
        except ValueError as error:
            raise ValueError(f"load: {path}: photos cannot be prepared by its preprocess: {error}") from error
        return cls(**found, file=str(path))


def _middle(image, height, width):
    """Crop the middle of a photo. A photo that is too small is padded with black, as in transformers."""
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    if top < 0 or left < 0:
        rows, columns = max(0, -top), max(0, -left)
        return _middle(np.pad(image, ((rows, rows), (columns, columns), (0, 0))), height, width)
    return image[top : top + height, left : left + width]


# the settings that a file holds, and their defaults
USUAL = {
    field.name: field.default
    for field in dataclasses.fields(Preprocess)
    if field.name not in ("dtype", "device", "note", "file")
}


def _read(name, settings):
    """One setting of a file, checked by the kind of its default."""
    if name in ("size", "box", "crop", "pad_to"):
        return sides_within(name, *_numbers(name, settings[name], 2, whole, 1, MOST_SIDE))
    if name in ("mean", "std"):
        return tuple(_numbers(name, settings[name], 3, number, 1e-9 if name == "std" else -1e9, 1e9))
    if name in ("grey", "always_pad"):
        return flag("it", settings, name)
    if name == "finish":
        if settings[name] not in FINISH:
            raise ValueError(f"finish must be one of {', '.join(FINISH)}, got {told(settings[name])}")
        return settings[name]
    if name == "scale":
        return _within(name, number("it", settings, name), -1e9, 1e9)
    least, most = (0, 5) if name == "resample" else (1, MOST_SIDE)
    return _within(name, whole("it", settings, name), least, most)


def _numbers(name, values, count, read, least, most):
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"{name} must be a list of {count} numbers, got {told(values)}")
    return [_within(name, read("it", {name: value}, name), least, most) for value in values]


def _within(name, value, least, most):
    if not least <= value <= most:
        raise ValueError(f"{name} must be between {least:g} and {most:g}, got {told(value)}")
    return value


def sides_within(name, height, width):
    """Height and width from a file; refuse more pixels than any model sees."""
    if height * width > MOST_PIXELS:
        raise ValueError(
            f"{name} of {height} x {width} pixels is more than any model sees: at most {MOST_PIXELS} pixels"
        )
    return height, width
