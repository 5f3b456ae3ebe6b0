"""Decodes picture files with Pillow, after a check of the header: no memory is allocated for sizes that only a header claims.
Not here: conversion of the colours (images.py)."""

import io
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from minivis.data._files import read_bytes

MOST_PIXELS = 80_000_000  # about 1 GB as float32: more than cameras make, less than a forged header claims
# Only these, because Pillow decodes some other formats with external programs (EPS with Ghostscript).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
# The most pixels that one byte of a compressed file can hold. PNG: deflate unpacks a byte to at most 1032 bytes of at most
# 8 pixels. GIF: the longest string has 3838 pixels in 12 bits. JPEG: a block of 8 x 8 pixels takes at least a bit. WebP
# has no such limit, but a file with more pixels a byte than this is blank.
DENSEST = {"PNG": 8 * 1032, "GIF": 2600, "JPEG": 512, "WEBP": 2000, "unpacked": 8}
SMALL = 2**21  # pixels; smaller pictures are always decoded
ORIENTATION = 0x0112  # EXIF tag for the orientation of the camera
SIDEWAYS = (5, 6, 7, 8)  # its values for a picture whose height and width are exchanged
# Pillow multiplies greys of fewer than 8 bits by these factors
SCALES = {"1": 255, "L;2": 85, "L;4": 17}
# errors that Pillow's decoders raise on broken bytes
BROKEN = (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, ArithmeticError, struct.error)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded file: the picture as it is stored, its size (height, width), and how the camera was held.

    A JPEG may be decoded at a fraction of its size; ``size`` is that of the whole picture.
    """

    image: Image.Image
    size: tuple
    orientation: int  # EXIF's number; 1 is upright
    fraction: int = 1  # the whole picture's size by that of ``image``: 1, 2, 4 or 8

    @property
    def upright_size(self):
        """The size of the whole picture, the right way up."""
        return self.size[::-1] if self.orientation in SIDEWAYS else self.size


def open_image(name, path, most_pixels=MOST_PIXELS, check=None, shortest=None):
    """Decode a file to a Pillow image; errors begin with `name`, the caller.

    Parameters
    ----------
    name, path, most_pixels
        As for `read_image`.
    check : callable, optional
        ``check(image)`` is called before the pixels are decoded; it returns None, or why the picture is refused.
    shortest : int, optional
        A JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, as long as its shorter side keeps so many pixels.

    Returns
    -------
    Decoded
    """
    return _with_opened(name, path, most_pixels, check, lambda image: _decoded(image, shortest))


def read_size(name, path):
    """Height and width of a picture the right way up, from the beginning of its file."""

    def size(image):
        return Decoded(image, (image.height, image.width), _orientation(image)).upright_size

    return _with_opened(name, path, MOST_PIXELS, None, size)


def _with_opened(name, path, most_pixels, check, use):
    """What `use` returns for a picture whose header was read and accepted; errors begin with `name`."""
    path = Path(path)
    try:
        # The whole file first: Pillow reads as many bytes as a number in the file claims, and Python would allocate them.
        content = read_bytes(name, path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{name}: there is no file {path.absolute()}") from None
    try:
        complaint = _webp_complaint(content, most_pixels)
        with warnings.catch_warnings():
            # most_pixels limits the size instead of Pillow's warning; damaged metadata does not matter
            warnings.simplefilter("ignore")
            if not complaint:
                with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                    complaint = _complaint(image, len(content), most_pixels) or (check and check(image))
                    if not complaint:
                        return use(image)
    except Image.DecompressionBombError as error:
        complaint = f"claims more than most_pixels={most_pixels}: {error}"
    except UnidentifiedImageError:
        complaint = f"is no picture in {', '.join(FORMATS)}{_what_it_is(content)}"
    except BROKEN as error:
        complaint = f"is a broken picture: {error}"
    raise ValueError(f"{name}: {path} {complaint}")


def _what_it_is(content):
    """What the bytes of a file are that is no picture, and what to do about it; empty if that is unknown."""
    start = content[:64].lstrip().lower()
    if not content:
        return "; it is empty: copy it again"
    if start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"mif1", b"avif"):
        return "; it is an HEIC or AVIF picture by another name, as telephones make them: save it as JPEG"
    if start.startswith(b"version https://git-lfs"):
        return "; it is a pointer of Git LFS, which only says where the picture is: `git lfs pull` in its folder brings it"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "; it is a web page: download the picture again"
    return ""


def is_wide(image):
    """Whether a picture that is not decoded yet has 16 bits a number, of which Pillow may keep only 8."""
    # Pillow's names for storage formats, such as "RGB;16B"
    raw = " ".join(str(tile[3]) for tile in image.tile)
    return image.mode == "I" or image.mode.startswith("I;16") or ";16" in raw


def _decoded(image, shortest):
    """Decode the pixels of an opened file; a damaged EXIF note is ignored."""
    size = image.height, image.width
    drafted = None
    _scale_transparency(image)
    if shortest and min(size) >= 2 * shortest and image.format == "JPEG":
        # JPEG stores blocks of 8 x 8 pixels as waves; without the fastest waves a block has fewer pixels
        drafted = image.draft(None, (shortest, shortest))
    image.load()
    return Decoded(image, size, _orientation(image), round(size[1] / drafted[1][2]) if drafted else 1)


def oriented(pixels, orientation):
    """Pixels (..., H, W) of a stored picture, turned the right way up by EXIF's number."""
    if orientation in SIDEWAYS:
        pixels = pixels.swapaxes(-2, -1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[..., ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[..., ::-1, :]
    return np.ascontiguousarray(pixels)


def _orientation(image):
    """How the camera was held, by the EXIF note of a picture; 1 (upright) if there is none or it is damaged."""
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except BROKEN:
        return 1
    return orientation if orientation in range(1, 9) else 1


def _scale_transparency(image):
    """Convert the transparent colour of a PNG to the scale of its pixels, which Pillow does not do."""
    clear = image.info.get("transparency")
    if image.format != "PNG" or not image.tile:
        return
    raw = image.tile[0][3]
    if isinstance(clear, int) and raw in SCALES:
        image.info["transparency"] = clear * SCALES[raw]
    elif isinstance(clear, bytes):  # one byte for each colour of a palette
        image.info["transparency"] = clear[:256]
    elif isinstance(clear, tuple) and raw == "RGB;16B":
        image.info["transparency"] = tuple(number >> 8 for number in clear)


def _complaint(image, count, most_pixels):
    """Why a picture is refused by its header and `count`, the bytes of its file; None if it is accepted."""
    unpacked = image.tile and all(tile[0] == "raw" for tile in image.tile)
    if why := _too_many(*image.size, "unpacked" if unpacked else image.format, count, most_pixels):
        return why
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        kind = "floating-point" if image.mode == "F" else "32-bit"
        return f"stores {kind} numbers and does not say which of them is white; write it as an 8- or 16-bit picture"
    return None


def _webp_complaint(content, most_pixels):
    """Why a WebP file is refused by its size: Pillow allocates the pixels as soon as it opens the file."""
    if content[:4] != b"RIFF" or content[8:12] != b"WEBP":
        return None
    kind, head = content[12:16], content[20:30]
    if kind == b"VP8X":  # width - 1 and height - 1 in three bytes each
        width, height = (1 + int.from_bytes(head[at : at + 3], "little") for at in (4, 7))
    elif kind == b"VP8L":  # width - 1 and height - 1 in 14 bits each
        bits = int.from_bytes(head[1:5], "little")
        width = 1 + (bits & 0x3FFF)
        height = 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (int.from_bytes(head[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    return _too_many(width, height, "WEBP", len(content), most_pixels)


def _too_many(width, height, kind, count, most_pixels):
    """Why a file of `count` bytes cannot or must not have so many pixels; None if it may."""
    if width * height > most_pixels:
        return f"claims {width} x {height} pixels, more than most_pixels={most_pixels}"
    if kind in DENSEST and width * height > SMALL + DENSEST[kind] * count:
        return f"claims {width} x {height} pixels, more than {count} bytes ({kind}) can hold"
    return None
