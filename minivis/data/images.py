"""Photos of one's own: a picture file as an array, the right way up, whatever its colours are stored as.
Not here: resizing (geometry.py), whole folders of pictures (folders.py), the two photos that come along (photos.py)."""

import io
import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from minivis.data._files import read_bytes

__all__ = ["read_image"]

MOST_PIXELS = 80_000_000  # about 1 GB as float32: more than cameras make, less than a forged header claims
# Named, because Pillow would hand some of the others to programs outside (EPS to Ghostscript).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
ORIENTATION = 0x0112  # the number of EXIF's note of how a camera was held
SCALES = {"1": 255, "L;2": 85, "L;4": 17}  # of greys with fewer than 8 bits, which Pillow brings to 0 to 255
# What Pillow's decoders raise on broken bytes.
BROKEN = (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, ArithmeticError, struct.error)


def read_image(path, orient=True, most_pixels=MOST_PIXELS):
    r"""Read a picture file as red, green and blue numbers from 0 to 1.

    A stored number :math:`v` of :math:`b` bits becomes :math:`x = v / (2^b - 1)`: bytes are divided by 255,
    16-bit greys by 65535.

    Parameters
    ----------
    path : str or os.PathLike
        JPEG, PNG, WebP, GIF (its first picture), BMP, TIFF or PPM.
    orient : bool, default True
        Turn the picture as its camera noted in EXIF; False gives the pixels as they are stored.
    most_pixels : int
        A file that claims more (80 million by default) is refused before its pixels are read.

    Returns
    -------
    numpy.ndarray
        (3, H, W) float32 in [0, 1], RGB. Grey pictures have three equal channels; palettes are looked up;
        where a picture is transparent it lies on white.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no picture that can be read, ends too early, claims too many pixels, or stores numbers of
        which it is not said what white is (floating point, 32 bits).

    Notes
    -----
    Pillow decodes. Of colours with 16 bits each it keeps the upper 8, also of the one that is transparent. Colour
    profiles are not applied.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "grey.pgm").write_bytes(b"P5 2 1 255 " + bytes([0, 51]))
    ...     read_image(Path(folder, "grey.pgm"))[0]
    array([[0. , 0.2]], dtype=float32)
    """
    stored, upright = open_image("read_image", path, most_pixels)
    return as_floats(upright if orient else stored)


def as_floats(image):
    """The colours of a Pillow image as `read_image` returns them."""
    pixels = _rgb(image)  # (H, W, 3)
    most = 255 if pixels.dtype == np.uint8 else 65535
    floats = np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32)  # (3, H, W)
    floats /= np.float32(most)
    return floats


def open_image(name, path, most_pixels=MOST_PIXELS, check=None):
    """Decode a file to a Pillow image, or refuse it in the name of the function called.

    Parameters
    ----------
    name, path, most_pixels
        As for `read_image`.
    check : callable, optional
        ``check(image)`` looks at the header, before a pixel is decoded, and returns what speaks against it in words.

    Returns
    -------
    stored, upright : PIL.Image.Image
        As it is stored, and turned as its camera noted; often the same.
    """
    path = Path(path)
    try:
        # All at once: Pillow asks a file for as many bytes as any number in it claims, and Python would make room for them.
        content = io.BytesIO(read_bytes(name, path))
        with warnings.catch_warnings():
            # of size most_pixels speaks; a damaged note beside the pixels is no matter
            warnings.simplefilter("ignore")
            with Image.open(content, formats=FORMATS) as image:
                complaint = _complaint(image, most_pixels) or (check and check(image))
                if not complaint:
                    _scale_transparency(image)
                    image.load()
                    stored = image.copy()
                    return stored, _upright(image, stored)
    except FileNotFoundError:
        raise FileNotFoundError(f"{name}: there is no file {path.absolute()}") from None
    except (IsADirectoryError, PermissionError):
        raise  # they name the path themselves
    except Image.DecompressionBombError as error:
        complaint = f"claims more than most_pixels={most_pixels}: {error}"
    except UnidentifiedImageError:
        complaint = f"is no picture in {', '.join(FORMATS)}"
    except BROKEN as error:
        complaint = f"is a broken picture: {error}"
    raise ValueError(f"{name}: {path} {complaint}")


def is_wide(image):
    """Whether a picture whose pixels are not decoded yet has 16 bits a number, of which Pillow may keep 8."""
    raw = " ".join(str(tile[3]) for tile in image.tile)  # Pillow's names of how numbers are stored: "RGB;16B"
    return image.mode == "I" or image.mode.startswith("I;16") or ";16" in raw


def _upright(image, stored):
    """The picture turned as its camera noted (EXIF); one with a damaged note is not."""
    try:
        return ImageOps.exif_transpose(image) if image.getexif().get(ORIENTATION, 1) != 1 else stored
    except BROKEN:
        return stored


def _scale_transparency(image):
    """Bring the transparent colour of a PNG to the scale of its pixels, which Pillow leaves to whoever asks for it."""
    clear = image.info.get("transparency")
    if image.format != "PNG" or not image.tile:
        return
    raw = image.tile[0][3]
    if isinstance(clear, int) and raw in SCALES:
        image.info["transparency"] = clear * SCALES[raw]
    elif isinstance(clear, tuple) and raw == "RGB;16B":
        image.info["transparency"] = tuple(number >> 8 for number in clear)


def _complaint(image, most_pixels):
    """Why a picture is not to be decoded, judged by its header; None where nothing speaks against it."""
    width, height = image.size
    if width * height > most_pixels:
        return f"claims {width} x {height} pixels, more than most_pixels={most_pixels}"
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        kind = "floating-point" if image.mode == "F" else "32-bit"
        return f"stores {kind} numbers and does not say which of them is white; write it as an 8- or 16-bit picture"
    return None


def _rgb(image):
    """Colours of a Pillow image, (H, W, 3) uint8, or uint16 where it has 16-bit greys."""
    if image.mode == "I" or image.mode.startswith("I;16"):  # Pillow's own conversion would clip them at 255
        grey = np.asarray(image).astype(np.uint16)
        clear = image.info.get("transparency")
        if isinstance(clear, int):
            grey[grey == clear] = 65535  # on white
        return np.broadcast_to(grey[..., None], (*grey.shape, 3))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image)
    return np.asarray(image.convert("RGB"))
