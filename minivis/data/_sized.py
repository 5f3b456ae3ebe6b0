"""Reads pictures at the size that a data set returns; one of a list is decoded only if its header has the listed size.
Not here: the list (_coco.py), resizing of batches (geometry.py)."""

import numpy as np

from minivis.data._check import pair
from minivis.data._decode import SIDEWAYS, is_wide, open_image, oriented
from minivis.data.geometry import FILTERS, resize_part, resized_size
from minivis.data.images import as_floats, reduction


def checked_size(name, size):
    """A size of a data set: None, an integer or two, above 0; anything else is an error of ``name``."""
    if size is not None:
        pair(name, "size", size)
    return size


def read_fitted(name, path, size):
    """A picture (3, H, W), resized; for one number as size, the square in the middle."""
    decoded = open_image(name, path, shortest=_least(size))
    return middle(_resized(name, path, decoded, decoded.orientation, size), size)


def read_listed(name, photo, upright, size=None, said="the list says"):
    """The pixels of a listed photo, rotated so that they have the size in the list, then resized.

    A camera that was held on its side notes this in EXIF. The list may describe the stored pixels or the upright picture;
    the size shows which, unless the picture is square or upside down. Then `upright` decides.
    """
    listed = photo.height, photo.width

    def other_size(image):
        if listed not in ((image.height, image.width), (image.width, image.height)):
            return _sizes((image.height, image.width), listed, said)
        return None

    decoded = open_image(name, photo.path, check=other_size, shortest=_least(size))
    fitting = [
        orientation
        for orientation, found in ((1, decoded.size), (decoded.orientation, decoded.upright_size))
        if found == listed
    ]
    if not fitting:
        raise ValueError(f"{name}: {photo.path} {_sizes(decoded.size, listed, said)}")
    return _resized(name, photo.path, decoded, fitting[-1 if upright else 0], size)


def open_map(name, path, photo):
    """The panoptic map of a listed photo as a Pillow image in RGB."""
    listed = photo.height, photo.width

    def unfit(image):
        if (image.height, image.width) != listed:
            return _sizes((image.height, image.width), listed, "the list says")
        if is_wide(image):
            return (
                "has 16 bits a colour; a panoptic map has 8, and a segment's number is red + 256 green + 65536 blue "
                "(minivis.vision.id2rgb makes colours of numbers)"
            )
        return None

    return open_image(name, path, check=unfit).image.convert("RGB")


def nearest(maps, height, width):
    """Maps or masks (..., H, W) at another size: the nearest pixel, because numbers of classes have no mean."""
    H, W = maps.shape[-2:]
    # the pixel in which the middle of the new one lies, (i + 1/2) H / height, in whole numbers
    rows = (2 * np.arange(height) + 1) * H // (2 * height)
    columns = (2 * np.arange(width) + 1) * W // (2 * width)
    return maps[..., rows[:, None], columns]


def middle(maps, size):
    """The square in the middle of (..., H, W) for one number as size; otherwise everything."""
    if size is None or np.ndim(size):
        return maps
    top, left = ((side - size) // 2 for side in maps.shape[-2:])
    return maps[..., top : top + size, left : left + size].copy()


def _least(size):
    """Pixels that the shorter side of a picture must keep when it is reduced before it is resized to `size`.

    Twice the new size: then resizing averages over two pixels or more, and the result hardly shows what happened before.
    """
    return None if size is None else 2 * int(np.max(size))


def _resized(name, path, decoded, orientation, size):
    """A decoded picture (3, H, W), resized as the whole picture would be, and turned."""
    pixels = as_floats(name, path, decoded.image, _least(size))  # (3, H/f, W/f)
    if size is not None:
        turned = orientation in SIDEWAYS
        new = resized_size(size, *(decoded.size[::-1] if turned else decoded.size))
        # What is left at the right and lower edge of the squares that were averaged has a pixel too, but counts less.
        factor = decoded.fraction * reduction(decoded.image, _least(size))
        box = (0, 0, decoded.size[1] / factor, decoded.size[0] / factor)
        pixels = resize_part(pixels[None], new[::-1] if turned else new, FILTERS["bilinear"], box)[0]
    return oriented(pixels, orientation)


def _sizes(found, listed, said):
    return f"has {found[0]} x {found[1]} pixels, but {said} {listed[0]} x {listed[1]} (height x width)"
