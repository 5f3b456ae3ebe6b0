"""How close one picture is to another: the peak signal-to-noise ratio.

Not here: metrics of predictions about pictures (classification.py, detection.py and the others).
"""

import math

import numpy as np

from minivis.backend import to_numpy

__all__ = ["psnr"]


def psnr(image, target, peak=1.0):
    r"""Peak signal-to-noise ratio of a picture against the true one, in decibels: the larger, the closer.

    .. math:: 10 \log_{10} \frac{\text{peak}^2}{\frac1n \sum_i (x_i - y_i)^2}

    Parameters
    ----------
    image, target : ndarray
        The picture and the true one, of one shape.
    peak : float, default 1
        The largest value that a picture may have: 1, or 255.

    Returns
    -------
    float
        Decibels. 10 more are a tenth of the mean squared error; equal pictures give ``math.inf``.

    Raises
    ------
    ValueError
        If the shapes differ, there are no pixels, or `peak` is not positive.

    Notes
    -----
    Noise of standard deviation sigma gives 20 log10(peak / sigma): 20 dB for sigma = 0.1.

    Examples
    --------
    >>> psnr(np.full((4, 4), 0.1), np.zeros((4, 4)))
    20.0
    """
    image, target = to_numpy(image), to_numpy(target)
    if image.shape != target.shape or not image.size:
        raise ValueError(
            f"psnr: image and target must have one shape, with pixels (image: {image.shape}, target: {target.shape})"
        )
    if not peak > 0:
        raise ValueError(f"psnr: peak must be positive, got {peak!r}")
    peak = float(peak)  # the square of a uint8 would overflow
    error = np.mean((image.astype(np.float64) - target.astype(np.float64)) ** 2)
    return 10 * math.log10(peak**2 / error) if error else math.inf
