"""Converts pictures of any form to bytes, and resizes bytes as published models did in their training.
Not here: reading files (images.py), resizing batches of floats (geometry.py)."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from minivis.data.images import _rgb, read_image

__all__ = ["as_bytes", "resize_bytes"]


def as_bytes(image):
    """Convert a picture of any common form to (H, W, 3) bytes, RGB.

    Parameters
    ----------
    image : str, path, array or PIL.Image.Image
        A file; (3, H, W), (1, H, W) or (H, W) floating in [0, 1], as elsewhere in minivis; (H, W, 3), (3, H, W) or (H, W)
        bytes; or a Pillow image.

    Returns
    -------
    numpy.ndarray
        (H, W, 3) uint8.

    Raises
    ------
    ValueError
        If the shape is not that of a picture, or floating-point numbers are not within [0, 1].
    TypeError
        If it is none of these.

    Examples
    --------
    >>> as_bytes(np.ones((3, 2, 4), np.float32)).shape
    (2, 4, 3)
    """
    if isinstance(image, str | Path):
        image = read_image(image)
    elif isinstance(image, Image.Image):
        image = _rgb(ImageOps.exif_transpose(image))
        image = image if image.dtype == np.uint8 else image / np.float32(65535)
    if not isinstance(image, np.ndarray):
        raise TypeError(
            f"as_bytes: image must be a path, an array or a Pillow image, got {type(image).__name__}"
        )
    shape = image.shape
    if image.ndim == 2:
        image = image[..., None]
    elif image.ndim == 3 and shape[0] in (1, 3) and (shape[2] != 3 or image.dtype.kind == "f"):
        image = image.transpose(1, 2, 0)  # (H, W, C)
    if image.ndim != 3 or image.shape[2] not in (1, 3) or 0 in shape:
        raise ValueError(f"as_bytes: image must be (3, H, W), (H, W, 3) or (H, W), got shape {shape}")
    if image.dtype.kind == "f":
        if not (image.min() >= 0 and image.max() <= 1):  # also refuses NaN
            raise ValueError(
                f"as_bytes: floating-point pictures lie within [0, 1], got {image.min():.3g} to {image.max():.3g}"
            )
        image = np.rint(image * 255).astype(np.uint8)
    elif image.dtype != np.uint8:
        raise TypeError(f"as_bytes: image must hold bytes or floating-point numbers, got {image.dtype.name}")
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


def resize_bytes(image, size, resample=2):
    """Resize a picture of bytes, antialiased, and round to bytes again.

    Parameters
    ----------
    image : numpy.ndarray
        (H, W, 3) uint8.
    size : (int, int)
        New height and width in pixels.
    resample : int, default 2
        Pillow's number of the filter, as in preprocessor_config.json: 0 nearest, 1 Lanczos, 2 bilinear, 3 bicubic, 4 box,
        5 Hamming.

    Returns
    -------
    numpy.ndarray
        (size[0], size[1], 3) uint8.

    Raises
    ------
    ValueError
        If there is no such filter or `size` is below 1.

    Examples
    --------
    >>> resize_bytes(np.zeros((4, 4, 3), np.uint8), (2, 3)).shape
    (2, 3, 3)
    """
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling(resample)))
