"""What feature maps hold and see: their spectrum, the pixels on which a position depends.

Not here: the figures (viz/), the models and data to analyse (notebooks).
"""

import numpy as np

from minivis.autograd import Tensor
from minivis.backend import namespace, to_numpy
from minivis.randomness import generator

__all__ = ["fourier_amplitude", "receptive_field"]


def fourier_amplitude(maps):
    """The amplitude of feature maps at each spatial frequency, relative to their mean brightness.

    .. math:: \\Delta(f) = \\log \\overline{|F(f, f)|} - \\log \\overline{|F(0, 0)|}

    F is the two-dimensional Fourier transform of a map, read along its diagonal. The mean is over images and channels.

    Parameters
    ----------
    maps : ndarray or Tensor, shape (B, C, H, H)
        Square feature maps, or images.

    Returns
    -------
    frequencies : ndarray, shape (H // 2 + 1,)
        In units of pi radians per position, from 0 to 1 for even H. At 1, the values alternate from one position to the
        next.
    amplitude : ndarray, shape (H // 2 + 1,)
        Relative log amplitude (natural logarithm); the first is 0.

    Raises
    ------
    ValueError
        If the maps are not square or empty.

    Notes
    -----
    The published code takes the mean of logarithms. We take the logarithm of the mean, so that a channel that is 0
    everywhere (possible after ReLU) does not count.

    References
    ----------
    Park and Kim, "How do vision transformers work?", ICLR 2022, figures 2 and 8. Slide
    ``A/40-attention-dampens-high-frequencies``.

    Examples
    --------
    >>> board = np.indices((4, 4)).sum(axis=0) % 2  # a chessboard of 0 and 1: its mean is 1/2, and 1/2 is what alternates
    >>> frequencies, amplitude = fourier_amplitude(board[None, None])
    >>> float(frequencies[2]), float(amplitude[2])
    (1.0, 0.0)
    """
    maps = to_numpy(maps)
    if maps.ndim != 4 or maps.shape[2] != maps.shape[3] or 0 in maps.shape:
        raise ValueError(
            f"fourier_amplitude: maps must be (B, C, H, H), square and not empty (maps: {tuple(maps.shape)})"
        )
    k = np.arange(maps.shape[2] // 2 + 1)
    amplitude = np.abs(np.fft.fft2(maps)).mean(axis=(0, 1))[k, k]
    log_amplitude = np.log(np.maximum(amplitude, np.finfo(amplitude.dtype).tiny))
    return 2 * k / maps.shape[2], log_amplitude - log_amplitude[0]


def receptive_field(function, images, place=None, rng=None):
    """How much one position of a feature map depends on each pixel: its effective receptive field.

    .. math:: S_{yx} \\propto \\overline{\\Big| \\frac{\\partial \\langle w, f(I)_{:, place} \\rangle}{\\partial I_{cyx}} \\Big|}

    where w is a random direction in the channels of that position, and the mean is over the images I and their
    channels c.

    Parameters
    ----------
    function : callable
        Takes images as a Tensor (B, C, H, W), returns a Tensor of maps (B, C', H', W').
    images : ndarray, shape (B, C, H, W)
        The receptive field depends on the image; the result is the average over these.
    place : (int, int), optional
        Row and column in the map; default: the middle, (H' // 2, W' // 2).
    rng : numpy.random.Generator, int or None
        Draws w; None is seed 0.

    Returns
    -------
    ndarray, shape (H, W)
        The share of each pixel: at least 0, with sum 1.

    Raises
    ------
    ValueError
        If the function returns no maps, or the position does not depend on any pixel.
    IndexError
        If the position is outside the map.

    Notes
    -----
    The pixels whose share is not 0 are the theoretical receptive field. Like every backward pass, this adds gradients
    to the parameters of the network.

    References
    ----------
    Luo et al., "Understanding the effective receptive field in deep convolutional neural networks", NeurIPS 2016,
    section 2; Raghu et al., "Do vision transformers see like convolutional neural networks?", NeurIPS 2021, figure 6.
    Slide ``A/37-attention-distance-against-receptive-field``.

    Examples
    --------
    >>> from minivis import ops
    >>> blur = np.ones((1, 1, 1, 3), np.float32)
    >>> receptive_field(lambda x: ops.conv2d(x, blur, padding=(0, 1)), np.zeros((1, 1, 1, 5), np.float32))
    array([[0.        , 0.33333334, 0.33333334, 0.33333334, 0.        ]],
          dtype=float32)
    """
    rng = generator(rng)
    images = Tensor(images, requires_grad=True)
    maps = function(images)
    if getattr(maps, "ndim", 0) != 4:
        raise ValueError(f"receptive_field: function must return maps (B, C, H, W), got {maps!r:.80}")
    row, column = (n // 2 for n in maps.shape[2:]) if place is None else place
    w = np.zeros(maps.shape, maps.dtype)
    w[:, :, row, column] = rng.standard_normal(maps.shape[:2])
    maps.backward(namespace(maps.data).asarray(w))
    seen = 0 if images.grad is None else np.abs(to_numpy(images.grad)).mean(axis=(0, 1))  # (H, W)
    if not np.any(seen):
        raise ValueError(f"receptive_field: place {(row, column)} depends on no pixel of the images")
    return seen / seen.sum()
