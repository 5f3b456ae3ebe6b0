"""Reads pictures at the size that a data set returns; one of a list is decoded only if its header has the listed size.
Not here: the list (_coco.py), resizing of batches (geometry.py)."""

import numpy as np

from minivis.data._decode import is_wide, open_image
from minivis.data.geometry import resize, resized_size
from minivis.data.images import as_floats


def read_fitted(name, path, size):
    """A picture (3, H, W), resized; for one number as size, the square in the middle."""
    decoded = open_image(name, path, shortest=_least(size))
    image = as_floats(name, path, decoded.upright, _least(size))
    return middle(_resized(image, size, decoded.upright_size), size)


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
    ways = [(decoded.stored, decoded.stored_size), (decoded.upright, decoded.upright_size)]
    for image, found in reversed(ways) if upright else ways:
        if found == listed:
            return _resized(as_floats(name, photo.path, image, _least(size)), size, listed)
    raise ValueError(f"{name}: {photo.path} {_sizes(decoded.stored_size, listed, said)}")


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

    return open_image(name, path, check=unfit).stored.convert("RGB")


def nearest(maps, height, width):
    """Maps or masks (..., H, W) at another size: the nearest pixel, because numbers of classes have no mean."""
    H, W = maps.shape[-2:]
    rows = ((np.arange(height) + 0.5) * (H / height)).astype(int)
    columns = ((np.arange(width) + 0.5) * (W / width)).astype(int)
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


def _resized(image, size, full):
    """A picture (3, H, W) that may have been reduced, resized as the whole picture of size `full` would be."""
    return image if size is None else resize(image[None], resized_size(size, *full))[0]


def _sizes(found, listed, said):
    return f"has {found[0]} x {found[1]} pixels, but {said} {listed[0]} x {listed[1]} (height x width)"
