"""Reads your own photos: a picture file as an RGB array, the right way up, for all storage formats of colours.
Not here: resizing (geometry.py), whole folders of pictures (folders.py), the two photos of the package (photos.py)."""

import numbers

import numpy as np
from PIL import Image

from minivis.data._decode import BROKEN, MOST_PIXELS, open_image, oriented, read_size

__all__ = ["image_size", "read_image"]

STRIP = 2**20  # pixels that are converted at a time while a picture is reduced


def read_image(path, orient=True, most_pixels=MOST_PIXELS, shortest=None):
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
    shortest : int, optional
        The picture may be reduced by a whole number :math:`f`, as long as its shorter side keeps at least so many pixels.
        Each pixel is then the mean of a square of :math:`f \times f`. A JPEG of 48 million pixels takes 1200 MB to read,
        but 30 MB if `shortest` is 448. By default it is not reduced.

    Returns
    -------
    numpy.ndarray
        (3, H, W) float32 in [0, 1], RGB; if it was reduced, its sides are the picture's divided by :math:`f`, rounded up.
        Grey pictures have three equal channels; palettes become colours;
        transparent pixels are blended with white.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a picture that can be read, ends too early, claims too many pixels, or stores numbers
        without a known value of white (floating point, 32 bits); if `shortest` is below 1.

    Notes
    -----
    Pillow decodes. A WebP file with more than two million pixels but almost no bytes, which can only be blank, is refused.
    Of RGB colours with 16 bits each, Pillow keeps the upper 8, also of the transparent colour. Colour profiles are
    not applied. The factor :math:`f` is the largest possible one. A JPEG is first reduced by 2, 4 or 8 while it is decoded,
    which is faster, then by a whole number; on average its means differ from the exact ones by less than one in 255,
    and by more at sharp edges between colours.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "grey.pgm").write_bytes(b"P5 2 1 255 " + bytes([0, 51]))
    ...     read_image(Path(folder, "grey.pgm"))[0]
    array([[0. , 0.2]], dtype=float32)
    """
    if shortest is not None and not (isinstance(shortest, numbers.Integral) and shortest >= 1):
        raise ValueError(f"read_image: shortest must be a whole number of at least 1 pixel, got {shortest!r}")
    decoded = open_image("read_image", path, most_pixels, shortest=shortest)
    pixels = as_floats("read_image", path, decoded.image, shortest)
    return oriented(pixels, decoded.orientation) if orient else pixels


def image_size(path):
    """Read the height and width of a picture file, the right way up; the pixels are not decoded.

    Parameters
    ----------
    path : str or os.PathLike
        As for `read_image`.

    Returns
    -------
    (int, int)
        Height and width in pixels, as `read_image` returns them without ``shortest``.

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_image`, for what is wrong in the beginning of the file.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "grey.pgm").write_bytes(b"P5 2 1 255 " + bytes([0, 51]))
    ...     image_size(Path(folder, "grey.pgm"))
    (1, 2)
    """
    return read_size("image_size", path)


def as_floats(name, path, image, shortest=None):
    """The colours of a Pillow image as `read_image` returns them."""
    factor = reduction(image, shortest)
    try:
        pixels = _reduced(image, factor) if factor > 1 else _rgb(image)  # (H, W, 3)
    except BROKEN as error:
        raise ValueError(f"{name}: {path} is a broken picture: {error}") from None
    most = 255 if pixels.dtype == np.uint8 else 65535
    floats = np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32)  # (3, H, W)
    floats /= np.float32(most)
    return floats


def reduction(image, shortest):
    """By which whole number a Pillow image is reduced if its shorter side has to keep so many pixels."""
    return max(1, min(image.size) // shortest) if shortest else 1


def _reduced(image, factor):
    """Colours of a Pillow image, the mean of each square of factor x factor pixels; (H/f, W/f, 3).

    The colours are converted and averaged strip by strip: of the whole picture only the stored bytes are in memory.
    """
    rows = factor * max(1, STRIP // (factor * image.width))
    strips = []
    for top in range(0, image.height, rows):
        strip = _rgb(image.crop((0, top, image.width, min(top + rows, image.height))))
        if strip.dtype == np.uint8:
            strips.append(np.asarray(Image.fromarray(strip).reduce(factor)))
        else:  # grey with 16 bits: Pillow reduces it as 32 bits
            grey = Image.fromarray(strip[..., 0].astype(np.int32)).reduce(factor)
            strips.append(np.repeat(np.asarray(grey).astype(np.uint16)[..., None], 3, axis=2))
    return np.concatenate(strips)


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
