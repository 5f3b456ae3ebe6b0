"""A picture file decoded by Pillow, once its header has been looked at: nothing is allocated because a file claims it.
Not here: what becomes of the colours (images.py)."""

import io
import struct
import warnings
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from minivis.data._files import read_bytes

MOST_PIXELS = 80_000_000  # about 1 GB as float32: more than cameras make, less than a forged header claims
# Named, because Pillow would hand some of the others to programs outside (EPS to Ghostscript).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
# The most pixels that a byte of a packed file holds: deflate makes 1032 bytes of one, and a byte of a PNG is 8 pixels at
# most; GIF's longest string stands for 3838 pixels in 12 bits; JPEG needs a bit for each block of 8 x 8, and a byte has
# 8; WebP knows no bound, but what is smaller than this is blank.
DENSEST = {"PNG": 8 * 1032, "GIF": 2600, "JPEG": 512, "WEBP": 2000, "unpacked": 8}
SMALL = 2**21  # pixels that are not worth a question
ORIENTATION = 0x0112  # the number of EXIF's note of how a camera was held
SCALES = {"1": 255, "L;2": 85, "L;4": 17}  # of greys with fewer than 8 bits, which Pillow brings to 0 to 255
# What Pillow's decoders raise on broken bytes.
BROKEN = (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, ArithmeticError, struct.error)


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
        content = read_bytes(name, path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{name}: there is no file {path.absolute()}") from None
    try:
        complaint = _webp_complaint(content, most_pixels)
        with warnings.catch_warnings():
            # of size most_pixels speaks; a damaged note beside the pixels is no matter
            warnings.simplefilter("ignore")
            if not complaint:
                with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                    complaint = _complaint(image, len(content), most_pixels) or (check and check(image))
                    if not complaint:
                        return _decoded(image)
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


def _decoded(image):
    """The picture as it is stored, and as its camera noted it is to be turned (EXIF); one with a damaged note is not."""
    _scale_transparency(image)
    image.load()
    stored = image.copy()
    try:
        turned = image.getexif().get(ORIENTATION, 1) != 1
        return stored, ImageOps.exif_transpose(image) if turned else stored
    except BROKEN:
        return stored, stored


def _scale_transparency(image):
    """Bring what a PNG says of transparency to the scale of its pixels, which Pillow leaves to whoever asks for it."""
    clear = image.info.get("transparency")
    if image.format != "PNG" or not image.tile:
        return
    raw = image.tile[0][3]
    if isinstance(clear, int) and raw in SCALES:
        image.info["transparency"] = clear * SCALES[raw]
    elif isinstance(clear, bytes):  # of each colour of a palette
        image.info["transparency"] = clear[:256]
    elif isinstance(clear, tuple) and raw == "RGB;16B":
        image.info["transparency"] = tuple(number >> 8 for number in clear)


def _complaint(image, count, most_pixels):
    """Why a picture in a file of so many bytes is not to be decoded, judged by its header; None where nothing is."""
    unpacked = image.tile and all(tile[0] == "raw" for tile in image.tile)
    if why := _too_many(*image.size, "unpacked" if unpacked else image.format, count, most_pixels):
        return why
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        kind = "floating-point" if image.mode == "F" else "32-bit"
        return f"stores {kind} numbers and does not say which of them is white; write it as an 8- or 16-bit picture"
    return None


def _webp_complaint(content, most_pixels):
    """The same of a WebP file's size alone: Pillow makes room for its pixels when it opens it."""
    if content[:4] != b"RIFF" or content[8:12] != b"WEBP":
        return None
    kind, head = content[12:16], content[20:30]
    if kind == b"VP8X":  # three bytes each, less one
        width, height = (1 + int.from_bytes(head[at : at + 3], "little") for at in (4, 7))
    elif kind == b"VP8L":  # 14 bits each, less one
        bits = int.from_bytes(head[1:5], "little")
        width = 1 + (bits & 0x3FFF)
        height = 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (int.from_bytes(head[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    return _too_many(width, height, "WEBP", len(content), most_pixels)


def _too_many(width, height, kind, count, most_pixels):
    """Why a file of so many bytes cannot have these pixels, or is not to be asked for them; None where it may."""
    if width * height > most_pixels:
        return f"claims {width} x {height} pixels, more than most_pixels={most_pixels}"
    if kind in DENSEST and width * height > SMALL + DENSEST[kind] * count:
        return f"claims {width} x {height} pixels, more than {count} bytes ({kind}) can hold"
    return None
