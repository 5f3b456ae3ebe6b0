"""What excites a channel most: for each channel of a map, the pieces of pictures at its largest values.

Not here: the size of such a piece (vision/receptive_fields.py, or `receptive_field`), the figure (viz/trained_networks.py).
"""

import numpy as np

from minivis.backend import to_numpy
from minivis.dtypes import whole

__all__ = ["favourite_patches"]


def favourite_patches(maps, images, size, stride, start=0, count=9):
    """For each channel, the pieces of images at which it has its largest values, at most one piece from each image.

    .. math:: place_{bc} = \\arg\\max_{ij} f(I_b)_{cij}, \\qquad patch_{bc} = I_b[\\,start + stride\\; place_{bc},\\; size\\,]

    Parameters
    ----------
    maps : ndarray or Tensor, shape (B, C, H', W')
        What a layer computed for the images.
    images : ndarray or Tensor, shape (B, 3, H, W) or (B, 1, H, W)
        The images.
    size : int
        Side of the receptive field of the layer, in pixels.
    stride : int
        Pixels between the receptive fields of neighbouring places.
    start : int, default 0
        Where the receptive field of place 0 begins; it is negative by the padding of the layers, in pixels.
    count : int, default 9
        How many pieces for each channel; at most B.

    Returns
    -------
    patches : ndarray, shape (C, count, 3, size, size) or (C, count, 1, size, size)
        The largest value first, in the dtype of the images. What lies outside an image is NaN (for integers 0).
    values : ndarray, shape (C, count)
        The value of the channel at each piece.

    Raises
    ------
    ValueError
        If maps and images do not fit together, or a number is out of range.

    References
    ----------
    Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, figure 2, which shows such
    pieces beside its reconstructions. Slide ``Z/22-activations-made-visible``.

    Examples
    --------
    >>> image = np.zeros((1, 1, 4, 4))
    >>> image[0, 0, 2:, 2:] = [[1, 2], [3, 4]]
    >>> patches, values = favourite_patches(image[:, :, ::2, ::2], image, size=2, stride=2, count=1)
    >>> patches[0, 0, 0].tolist(), values.tolist()
    ([[1.0, 2.0], [3.0, 4.0]], [[1.0]])
    """
    maps, images = to_numpy(maps), to_numpy(images)
    if maps.ndim != 4 or images.ndim != 4 or len(maps) != len(images) or 0 in maps.shape or 0 in images.shape:
        raise ValueError(
            "favourite_patches: maps must be (B, C, H', W') of images (B, C, H, W), none of them empty "
            f"(maps: {maps.shape}, images: {images.shape})"
        )
    numbers = whole((size, stride, start, count))
    if numbers is None or size < 1 or stride < 1 or not 1 <= count <= len(images):
        raise ValueError(
            "favourite_patches: size, stride, start and count must be whole numbers, size and stride must be positive, count 1 "
            f"to {len(images)}, the number of images (size {size}, stride {stride}, start {start}, count {count})"
        )
    flat = maps.reshape(*maps.shape[:2], -1)  # (B, C, H' W')
    best = flat.argmax(axis=2)  # (B, C): the best place of each image
    values = flat.max(axis=2)
    falling = -values.astype(np.float64)  # of unsigned integers, -0 would come before -1
    order = np.argsort(falling, axis=0, kind="stable")[:count]  # (count, C): images, the largest value first
    rows, columns = np.divmod(np.take_along_axis(best, order, 0), maps.shape[3])
    patches = [
        [
            _cut(images[order[i, c]], start + stride * rows[i, c], start + stride * columns[i, c], size)
            for i in range(count)
        ]
        for c in range(maps.shape[1])
    ]
    return np.array(patches), np.take_along_axis(values, order, 0).T


def _cut(image, top, left, size):
    """A square of an image (C, H, W); what lies outside is NaN, or 0 for integers."""
    C, H, W = image.shape
    outside = np.nan if image.dtype.kind == "f" else 0
    patch = np.full((C, size, size), outside, image.dtype)
    rows = slice(max(top, 0), max(min(top + size, H), 0))
    columns = slice(max(left, 0), max(min(left + size, W), 0))
    inside = image[:, rows, columns]
    down, right = rows.start - top, columns.start - left
    patch[:, down : down + inside.shape[1], right : right + inside.shape[2]] = inside
    return patch
