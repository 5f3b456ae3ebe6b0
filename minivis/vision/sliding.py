"""sliding_window: score a large image by windows of the size that a model was trained on.

Strudel et al., "Segmenter: transformer for semantic segmentation", ICCV 2021, section 4.1; Zheng et al., "Rethinking
semantic segmentation from a sequence-to-sequence perspective with transformers", CVPR 2021, section 4.1.
Not here: several scales and mirrored images, which the papers add for their last figures.
"""

import numpy as np

from minivis import ops
from minivis.autograd import Tensor, no_grad
from minivis.backend import namespace
from minivis.pairs import checked_pair

__all__ = ["sliding_window"]


def sliding_window(model, images, window, stride):
    """Score images by windows that overlap: where several lie over a pixel, it gets the mean of their logits.

    The windows begin at 0, stride, 2 stride, ...; the last one of a row or a column is moved back, so that it ends with the
    image. Images whose shorter side is less than the window are enlarged until it is as long as the window, and the logits
    are made smaller again, both bilinearly.

    Parameters
    ----------
    model : callable
        Images (B, C, h, w) to logits (B, K, h, w), such as a `Segmenter`.
    images : ndarray or Tensor, shape (B, C, H, W)
    window : int or (int, int)
        Height and width of the windows, pixels. The papers have 512, 480 and 768.
    stride : int or (int, int)
        From window to window, pixels; not more than the window.

    Returns
    -------
    Tensor, shape (B, K, H, W)
        Logits. Nothing is kept for backward.

    Raises
    ------
    ValueError
        If the images have no four axes or no pixels, a size is not a whole number, the stride is not at least 1 and at most
        the window, or the logits are not as large as the window.
    TypeError
        If the model returns whole numbers.

    Notes
    -----
    The logits are averaged and resized, not the probabilities: a softmax comes last.

    References
    ----------
    The authors' code of both papers. SETR's strides are two thirds of its windows, Segmenter's 512, 320 and 512. Slide
    ``H/36-segmentation-datasets``.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.arange(30.0).reshape(1, 1, 5, 6)
    >>> np.array_equal(sliding_window(lambda crop: crop, images, window=4, stride=3), images)
    True
    """
    images = images if isinstance(images, Tensor) else Tensor(images)
    h, w = checked_pair("sliding_window", "window", window)
    down, right = checked_pair("sliding_window", "stride", stride)
    if images.ndim != 4 or not all(images.shape[2:]) or down > h or right > w:
        raise ValueError(
            f"sliding_window: needs images (B, C, H, W), and a stride from 1 to the window (images: {tuple(images.shape)}, "
            f"window {(h, w)}, stride {(down, right)})"
        )
    H, W = images.shape[2:]
    factor = max(h / H, w / W, 1)
    with no_grad():
        if factor > 1:
            larger = max(h, int(H * factor)), max(w, int(W * factor))
            images = ops.interpolate(images, larger, mode="bilinear")
        logits = _averaged(model, images, (h, w), (down, right))
        return ops.interpolate(logits, (H, W), mode="bilinear") if factor > 1 else logits


def _averaged(model, images, window, stride):
    size = images.shape[2:]
    h, w = window
    total = count = None
    rows, columns = (_starts(*along) for along in zip(size, window, stride, strict=True))
    for y in rows:
        for x in columns:
            found = model(images[:, :, y : y + h, x : x + w])
            found = found.data if isinstance(found, Tensor) else found
            _check_logits(found, (images.shape[0], h, w))
            if total is None:
                xp = namespace(found)
                total = xp.zeros((*found.shape[:2], *size), xp.promote_types(found.dtype, "float32"))
                count = xp.zeros(size, total.dtype)
            total[:, :, y : y + h, x : x + w] += found
            count[y : y + h, x : x + w] += 1
    return Tensor((total / count).astype(found.dtype, copy=False))


def _check_logits(found, expected):
    B, h, w = expected
    if found.ndim != 4 or (found.shape[0], *found.shape[2:]) != expected:
        raise ValueError(
            f"sliding_window: the model must return logits (B, K, h, w) of a window's size, ({B}, K, {h}, {w}), "
            f"got {tuple(found.shape)}"
        )
    if found.dtype.kind != "f":
        raise TypeError(
            f"sliding_window: the model must return logits, whose mean is taken, got {found.dtype.name}; labels have no mean"
        )


def _starts(length, window, stride):
    """Where windows begin along an axis: every stride, and one that ends with the axis."""
    return [*np.arange(0, length - window, stride).tolist(), length - window]
