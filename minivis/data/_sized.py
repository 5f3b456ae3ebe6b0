"""Reads the pictures of a list; each is decoded only if its header has the size that the list states.
Not here: the list (_coco.py), pictures that are not in a list (images.py)."""

from minivis.data._decode import is_wide, open_image
from minivis.data.images import as_floats


def read_listed(name, photo, upright):
    """The pixels of a listed photo, rotated so that they have the size in the list.

    A camera that was held on its side notes this in EXIF. The list may describe the stored pixels or the upright picture;
    the size shows which, unless the picture is square or upside down. Then `upright` decides.
    """
    size = photo.height, photo.width

    def other_size(image):
        if size not in ((image.height, image.width), (image.width, image.height)):
            return _sizes(image, size)
        return None

    stored, shown = open_image(name, photo.path, check=other_size)
    for image in (shown, stored) if upright else (stored, shown):
        if (image.height, image.width) == size:
            return as_floats(name, photo.path, image)
    raise ValueError(f"{name}: {photo.path} {_sizes(stored, size)}")


def open_map(name, path, photo):
    """The panoptic map of a listed photo as a Pillow image in RGB."""

    def unfit(image):
        if (image.height, image.width) != (photo.height, photo.width):
            return _sizes(image, (photo.height, photo.width))
        if is_wide(image):
            return (
                "has 16 bits a colour; a panoptic map has 8, and a segment's number is red + 256 green + 65536 blue "
                "(minivis.vision.id2rgb makes colours of numbers)"
            )
        return None

    return open_image(name, path, check=unfit)[0].convert("RGB")


def _sizes(image, size):
    return (
        f"has {image.height} x {image.width} pixels, but the list says {size[0]} x {size[1]} (height x width)"
    )
