"""Run lengths: how COCO's files hold masks, plain or packed into a string.

Not here: the reader of those files, and of polygons (data/coco.py).
"""

import numpy as np

from minivis.backend import to_numpy
from minivis.vision.masks import as_masks

__all__ = ["rle_decode", "rle_encode"]


def rle_encode(mask, compressed=True):
    """Write a mask as the lengths of its runs, as COCO's files do.

    The pixels are read column by column, top to bottom; the lengths are those of the runs of False, True, False ...
    in turn, so the first is 0 where the first pixel is True.

    Parameters
    ----------
    mask : ndarray, shape (H, W)
        Boolean, True = object.
    compressed : bool, default True
        Pack the lengths into a string: from the fourth run on the difference to the last but one is written (runs in
        neighbouring columns are of like length), in groups of 5 bits, low ones first, each plus 32 when another
        follows, plus 48 to be a printable character.

    Returns
    -------
    dict
        ``size``: [H, W]; ``counts``: a string, or a list of int when not compressed. Fit for `json`.

    Raises
    ------
    TypeError
        If the mask is not boolean.
    ValueError
        If it is not (H, W).

    References
    ----------
    Lin et al., "Microsoft COCO", ECCV 2014; the string is that of its mask API.

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
    """Make the mask of its run lengths again: the inverse of `rle_encode`.

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
        If the string is damaged or the lengths do not fill the image.

    Examples
    --------
    >>> rle_decode({"size": [2, 2], "counts": "13"})
    array([[False,  True],
           [ True,  True]])
    """
    height, width = rle["size"]
    counts = rle["counts"]
    counts = _unpack(counts) if isinstance(counts, (str, bytes)) else list(counts)
    if sum(counts) != height * width or min(counts, default=0) < 0:
        raise ValueError(
            f"rle_decode: the run lengths must not be negative and fill size {height} x {width} = {height * width} "
            f"pixels, but they sum to {sum(counts)} and the least is {min(counts, default=0)}"
        )
    pixels = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return np.ascontiguousarray(pixels.reshape(height, width, order="F"))


def _pack(counts):
    """Lengths -> characters."""
    text = []
    for i, count in enumerate(counts):
        left = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            bits, left = left & 31, left >> 5
            more = left != (-1 if bits & 16 else 0)  # bit 16 of the last group is the sign
            text.append(chr(48 + bits + 32 * more))
    return "".join(text)


def _unpack(text):
    """Characters -> lengths."""
    text = text.decode("latin-1") if isinstance(text, bytes) else text
    counts, groups = [], []
    for at, character in enumerate(text):
        code = ord(character) - 48
        if not 0 <= code < 64:
            raise ValueError(
                f"rle_decode: counts has the character {character!r} at {at}, which is no group of bits"
            )
        groups.append(code & 31)
        if not code & 32:
            value = sum(bits << 5 * i for i, bits in enumerate(groups))
            value -= (groups[-1] >> 4) << 5 * len(groups)  # the sign
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            groups = []
    if groups:
        raise ValueError("rle_decode: counts ends in the middle of a number: the string is cut off")
    return counts
