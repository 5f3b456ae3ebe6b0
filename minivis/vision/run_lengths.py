"""Run-length encoding of masks as in COCO's files, as a list or packed into a string.

Not here: reading those files and polygons (data/coco.py).
"""

import reprlib

import numpy as np

from minivis.backend import to_numpy
from minivis.vision.masks import as_masks

__all__ = ["rle_decode", "rle_encode"]

MOST_PIXELS = 80_000_000  # in a mask: more than photographs have; a damaged file may claim far more
MOST_GROUPS = 7  # groups of 5 bits: with MOST_PIXELS, lengths and differences fit into 28 bits and a sign


def rle_encode(mask, compressed=True):
    """Encode a mask as the lengths of its runs, as COCO's files do.

    The pixels are read column by column, from top to bottom. The lengths are those of alternating runs of False and True,
    starting with False, so the first length is 0 if the first pixel is True.

    Parameters
    ----------
    mask : ndarray, shape (H, W)
        Boolean, True = object.
    compressed : bool, default True
        Pack the lengths into a string. From the fourth run on, the difference to the length two runs before is stored,
        because runs in neighbouring columns have similar lengths. A number is split into groups of 5 bits, low bits
        first; 32 is added if another group follows, and 48 to make it a printable character.

    Returns
    -------
    dict
        ``size``: [H, W]; ``counts``: a string, or a list of int if not compressed. `json` can write it.

    Raises
    ------
    TypeError
        If the mask is not boolean.
    ValueError
        If it is not (H, W).

    References
    ----------
    Lin et al., "Microsoft COCO", ECCV 2014. The string has the format of COCO's mask API.

    Examples
    --------
    >>> rle_encode(np.array([[False, True], [True, True]]), compressed=False)
    {'size': [2, 2], 'counts': [1, 3]}
    >>> rle_encode(np.array([[False, True], [True, True]]))
    {'size': [2, 2], 'counts': '13'}
    """
    mask = to_numpy(as_masks("rle_encode", mask))
    if mask.ndim != 2:
        raise ValueError(f"rle_encode: mask must be (H, W), one mask at a time (mask: {mask.shape})")
    pixels = mask.reshape(-1, order="F")
    ends = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    counts = np.diff([0, *ends, pixels.size]).tolist()
    if pixels.size and pixels[0]:
        counts.insert(0, 0)
    return {"size": list(mask.shape), "counts": _pack(counts) if compressed else counts}


def rle_decode(rle):
    """Decode a mask from its run lengths: the inverse of `rle_encode`.

    Parameters
    ----------
    rle : dict
        ``size``: [H, W]; ``counts``: a list of lengths, or the compressed string (str or bytes).

    Returns
    -------
    numpy.ndarray, shape (H, W)
        Boolean.

    Raises
    ------
    ValueError
        If a key is missing, the string is damaged, the lengths do not fill the image, or the image has more than 80
        million pixels.

    Examples
    --------
    >>> rle_decode({"size": [2, 2], "counts": "13"})
    array([[False,  True],
           [ True,  True]])
    """
    height, width, counts = checked_lengths("rle_decode", rle)
    pixels = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return np.ascontiguousarray(pixels.reshape(height, width, order="F"))


def checked_lengths(name, rle):
    """Height, width and lengths (R,); raise if the lengths do not fill the image. ``name`` is used in error messages."""
    if not isinstance(rle, dict) or not {"size", "counts"} <= rle.keys():
        raise ValueError(f"{name}: rle must be a dict with 'size' and 'counts', got {reprlib.repr(rle)}")
    size, counts = rle["size"], rle["counts"]
    whole = isinstance(size, (list, tuple)) and all(isinstance(n, (int, np.integer)) for n in size)
    if not whole or len(size) != 2 or min(size) < 0 or size[0] * size[1] > MOST_PIXELS:
        raise ValueError(
            f"{name}: size must be [height, width], two integers, at most {MOST_PIXELS} pixels together, "
            f"got {reprlib.repr(size)}"
        )
    counts = _unpack(name, counts) if isinstance(counts, (str, bytes)) else _listed(name, counts)
    height, width = (int(side) for side in size)
    least = counts.min(initial=0)
    total = counts.sum()
    if total != height * width or least < 0:
        raise ValueError(
            f"{name}: the run lengths must not be negative and fill size {height} x {width} = {height * width} "
            f"pixels, but they sum to {total} and the least is {least}"
        )
    return height, width, counts


def _pack(counts):
    """Lengths to characters."""
    text = []
    for i, count in enumerate(counts):
        left = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            bits = left & 31
            left = left >> 5
            more = left != (-1 if bits & 16 else 0)  # bit 16 of the last group is the sign
            text.append(chr(48 + bits + 32 * more))
    return "".join(text)


def _listed(name, counts):
    """A list of lengths as an array (R,)."""
    try:
        lengths = np.array(counts if len(counts) else [0])
        numbers = lengths.ndim == 1 and lengths.dtype.kind in "iuf" and np.abs(lengths).max() <= MOST_PIXELS
        if numbers and (lengths % 1 == 0).all():  # 3.0 is a whole number
            return lengths.astype(np.int64)
    except (TypeError, ValueError):  # not a list, or a list of lists of different lengths
        pass
    raise ValueError(
        f"{name}: counts must be a string or a list of integers, at most {MOST_PIXELS} each, "
        f"got {reprlib.repr(counts)}"
    )


def _unpack(name, text):
    """Characters to lengths (R,), in time linear in the number of characters."""
    text = text.decode("latin-1") if isinstance(text, bytes) else text
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.int64) - 48
    if (wrong := np.flatnonzero((codes < 0) | (codes >= 64))).size:
        at = int(wrong[0])
        raise ValueError(f"{name}: counts has the character {text[at]!r} at {at}, which is no group of bits")
    ends = np.flatnonzero(codes & 32 == 0) + 1  # a number ends where no group follows
    if len(codes) != ends.max(initial=0):
        raise ValueError(f"{name}: counts ends in the middle of a number: the string is cut off")
    groups = np.diff(ends, prepend=0)
    if groups.max(initial=0) > MOST_GROUPS:
        raise ValueError(
            f"{name}: counts has a number of {groups.max()} groups of bits; lengths have at most {MOST_GROUPS}"
        )
    place = np.arange(len(codes)) - np.repeat(ends - groups, groups)  # index of a group in its number
    values = np.add.reduceat((codes & 31) << 5 * place, ends - groups)
    values -= (codes[ends - 1] >> 4 & 1) << 5 * groups  # the sign
    for first in (1, 2):  # from the fourth on, differences to the length two before
        values[first::2] = np.cumsum(values[first::2])
    return values
