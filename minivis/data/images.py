"""Photos of one's own: a picture file as an array, the right way up, whatever its colours are stored as.
Not here: resizing (geometry.py), whole folders of pictures (folders.py), the two photos that come along (photos.py)."""

import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

__all__ = ["read_image"]

MOST_PIXELS = 80_000_000  # about 1 GB as float32: more than cameras make, less than a forged header claims
# Named, because Pillow would hand some of the others to programs outside (EPS to Ghostscript).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
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
    Pillow decodes. Of colours with 16 bits each it keeps the upper 8. Colour profiles are not applied.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "grey.pgm").write_bytes(b"P5 2 1 255 " + bytes([0, 51]))
    ...     read_image(Path(folder, "grey.pgm"))[0]
    array([[0. , 0.2]], dtype=float32)
    """
    pixels = _rgb(open_image("read_image", path, orient, most_pixels))  # (H, W, 3)
    most = 255 if pixels.dtype == np.uint8 else 65535
    return np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32) / np.float32(most)


def open_image(name, path, orient=False, most_pixels=MOST_PIXELS):
    """Decode a file to a Pillow image, or refuse it in the name of the function called."""
    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of size most_pixels speaks; a damaged note beside the pixels is no matter
            with Image.open(path, formats=FORMATS) as image:
                complaint = _complaint(image, most_pixels)
                if complaint is None:
                    image.load()
                    return ImageOps.exif_transpose(image) if orient else image.copy()
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
        return np.repeat(grey[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image)
    return np.asarray(image.convert("RGB"))
