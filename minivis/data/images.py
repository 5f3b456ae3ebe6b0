"""Photos of one's own: a picture file as an array, the right way up, whatever its colours are stored as.
Not here: resizing (geometry.py), whole folders of pictures (folders.py), the two photos that come along (photos.py)."""

import struct
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

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
    return read_pixels("read_image", path, orient, most_pixels)


def read_pixels(name, path, orient, most_pixels=MOST_PIXELS):
    """What `read_image` returns, its errors in the name of the function called."""
    pixels = _rgb(open_image(name, path, orient, most_pixels))  # (H, W, 3)
    most = 255 if pixels.dtype == np.uint8 else 65535
    image = np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32)  # (3, H, W)
    image /= np.float32(most)
    return image


@dataclass(frozen=True)
class Header:
    """What a picture file says before its pixels."""

    height: int  # as stored
    width: int
    turned: bool  # whether its camera noted that the sides are to be swapped (EXIF orientations 5 to 8)
    wide: bool  # whether it has 16 bits a number, of which Pillow may keep 8


def read_header(name, path):
    """The `Header` of a picture file, or an error in the name of the function called; no pixel is decoded."""
    with _opened(name, path, MOST_PIXELS) as image:
        raw = " ".join(
            str(tile[3]) for tile in image.tile
        )  # Pillow's names of how numbers are stored: "RGB;16B"
        wide = image.mode == "I" or image.mode.startswith("I;16") or ";16" in raw
        return Header(image.height, image.width, image.getexif().get(ORIENTATION) in (5, 6, 7, 8), wide)


def open_image(name, path, orient=False, most_pixels=MOST_PIXELS):
    """Decode a file to a Pillow image, or refuse it in the name of the function called."""
    with _opened(name, path, most_pixels) as image:
        _scale_transparency(image)
        image.load()
        return ImageOps.exif_transpose(image) if orient else image.copy()


@contextmanager
def _opened(name, path, most_pixels):
    """A Pillow image whose header speaks against nothing; what goes wrong with it becomes a ValueError with the path."""
    path = Path(path)
    try:
        with warnings.catch_warnings():
            # of size most_pixels speaks; a damaged note beside the pixels is no matter
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as image:
                complaint = _complaint(image, most_pixels)
                if complaint is None:
                    yield image
                    return
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
    raise ValueError(f"{name}: {path} {complaint}") from None


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
