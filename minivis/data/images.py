"""Reads your own photos: a picture file as an RGB array, the right way up, for all storage formats of colours.
Not here: resizing (geometry.py), whole folders of pictures (folders.py), the two photos of the package (photos.py)."""

import numpy as np
from PIL import Image

from minivis.data._decode import BROKEN, MOST_PIXELS, open_image

__all__ = ["read_image"]


def read_image(path, orient=True, most_pixels=MOST_PIXELS):
    r"""Read a picture file as red, green and blue numbers from 0 to 1.

    A stored number :math:`v` of :math:`b` bits becomes :math:`x = v / (2^b - 1)`: bytes are divided by 255,
    16-bit greys by 65535.

    Parameters
    ----------
    path : str or os.PathLike
        JPEG, PNG, WebP, GIF (its first picture), BMP, TIFF or PPM.
    orient : bool, default True
        Rotate the picture by the camera's EXIF note; False returns the pixels as they are stored.
    most_pixels : int
        A file that claims more pixels (default 80 million), or more than its bytes can hold, is refused before its
        pixels are decoded.

    Returns
    -------
    numpy.ndarray
        (3, H, W) float32 in [0, 1], RGB. Grey pictures have three equal channels; palettes become colours;
        transparent pixels are blended with white.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a picture that can be read, ends too early, claims too many pixels, or stores numbers
        without a known value of white (floating point, 32 bits).

    Notes
    -----
    Pillow decodes. A WebP file with more than two million pixels but almost no bytes, which can only be blank, is refused.
    Of RGB colours with 16 bits each, Pillow keeps the upper 8, also of the transparent colour. Colour profiles are
    not applied.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "grey.pgm").write_bytes(b"P5 2 1 255 " + bytes([0, 51]))
    ...     read_image(Path(folder, "grey.pgm"))[0]
    array([[0. , 0.2]], dtype=float32)
    """
    stored, upright = open_image("read_image", path, most_pixels)
    return as_floats("read_image", path, upright if orient else stored)


def as_floats(name, path, image):
    """The colours of a Pillow image as `read_image` returns them."""
    try:
        pixels = _rgb(image)  # (H, W, 3)
    except BROKEN as error:
        raise ValueError(f"{name}: {path} is a broken picture: {error}") from None
    most = 255 if pixels.dtype == np.uint8 else 65535
    floats = np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32)  # (3, H, W)
    floats /= np.float32(most)
    return floats


def _rgb(image):
    """Colours of a Pillow image, (H, W, 3) uint8, or uint16 for 16-bit greys."""
    if image.mode == "I" or image.mode.startswith("I;16"):  # Pillow's own conversion would clip them at 255
        grey = np.asarray(image).astype(np.uint16)
        clear = image.info.get("transparency")
        if isinstance(clear, int):
            grey[grey == clear] = 65535  # white
        return np.broadcast_to(grey[..., None], (*grey.shape, 3))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image)
    return np.asarray(image.convert("RGB"))
