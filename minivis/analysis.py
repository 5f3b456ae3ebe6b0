"""Analyse a network: the spectrum of its maps, attention distance, receptive field, curvature and surface of its loss.

Not here: the figures (viz/), and the models and data to analyse (notebooks).
"""

from contextlib import contextmanager

import numpy as np

from minivis.autograd import Tensor, no_grad
from minivis.backend import namespace, to_numpy
from minivis.pairs import checked_pair
from minivis.precision import in_float32
from minivis.randomness import generator

__all__ = [
    "attention_distance",
    "fourier_amplitude",
    "hessian_eigenvalues",
    "loss_surface",
    "receptive_field",
]


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


@in_float32
def attention_distance(attention, patch_size, grid):
    """The mean distance between a query patch and the patches it attends to. Small means local, like a convolution.

    .. math:: \\bar d = \\frac{1}{N} \\sum_i \\frac{\\sum_j A_{ij} \\lVert x_i - x_j \\rVert}{\\sum_j A_{ij}}

    where x are the centres of the patches, in pixels.

    Parameters
    ----------
    attention : ndarray, shape (..., N, N)
        Attention weights among patches, without the class token: ``weights[..., 1:, 1:]``. Rows are normalised to sum 1
        again. A row of zeros counts as distance 0.
    patch_size : int or (int, int)
        Height and width of a patch, pixels.
    grid : (int, int)
        Rows and columns of patches; their product is N.

    Returns
    -------
    ndarray, shape (...)
        In pixels, between 0 and the diagonal of the image. There is one value for each batch element and head.

    Raises
    ------
    ValueError
        If ``attention`` is not square or N is not the size of the grid.

    References
    ----------
    Dosovitskiy et al. 2021, figure 7 (right) and appendix D.7. Slides ``A/36-attention-distance``,
    ``A/37-attention-distance-against-receptive-field``, ``H/10-inside-vit``, ``H/19-why-attention-for-detection``.

    Examples
    --------
    >>> attention_distance(np.full((2, 2), 0.5), 16, (1, 2))
    array(8.)
    """
    p, q = checked_pair("attention_distance", "patch_size", patch_size)
    rows, columns = checked_pair("attention_distance", "grid", grid)
    if attention.ndim < 2 or tuple(attention.shape[-2:]) != (rows * columns,) * 2:
        raise ValueError(
            f"attention_distance: attention must be (..., N, N) with N = {rows} x {columns} patches, without the class "
            f"token (attention: {tuple(attention.shape)})"
        )
    xp = namespace(attention)
    y, x = (a.reshape(-1) for a in xp.meshgrid(xp.arange(rows) * p, xp.arange(columns) * q, indexing="ij"))
    distance = xp.sqrt((y[:, None] - y) ** 2.0 + (x[:, None] - x) ** 2.0).astype(attention.dtype)  # (N, N)
    total = attention.sum(axis=-1)
    each = (attention * distance).sum(axis=-1) / xp.where(total == 0, 1, total)  # (..., N)
    return xp.asarray(each.mean(axis=-1))


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


def hessian_eigenvalues(model, loss, count=5, which="LM", tolerance=1e-2, step=1e-5, rng=None):
    """The curvature of the loss at a model's weights, in the directions where it is largest.

    The Hessian H holds all second derivatives, too many to store. Lanczos' method needs only products with H, and a
    product is a difference of two gradients:

    .. math:: H v \\approx \\frac{\\nabla L(w + \\epsilon v) - \\nabla L(w - \\epsilon v)}{2 \\epsilon}

    Parameters
    ----------
    model : Module
        With float64 parameters: ``model.to("float64")``. It is evaluated in eval mode and restored afterwards.
    loss : callable
        Takes the model, returns a scalar Tensor. It must always return the same for the same weights.
    count : int, default 5
        How many eigenvalues.
    which : {"LM", "LA", "SA", "BE"}, default "LM"
        "LM": the largest in magnitude. "LA": the largest. "SA": the smallest (most negative). "BE": half from each end.
    tolerance : float, default 1e-2
        Relative error allowed in an eigenvalue.
    step : float, default 1e-5
        Epsilon, for a v of length 1.
    rng : numpy.random.Generator, int or None
        Draws Lanczos' first vector; None is seed 0.

    Returns
    -------
    ndarray, shape (count,)
        The eigenvalues in descending order. If one is negative, the loss curves down along its direction and is not
        convex here.

    Raises
    ------
    TypeError
        If a parameter is not float64: rounding in float32 is larger than the differences of gradients.

    Notes
    -----
    Every product costs two backward passes; some 20 to 60 products are needed.

    References
    ----------
    Park and Kim, "How do vision transformers work?", ICLR 2022, figure 4 and appendix. Slides
    ``A/38-attention-flattens-the-loss``, ``A/39-negative-curvature-on-little-data``.

    Examples
    --------
    >>> from minivis import nn
    >>> model = nn.Linear(3, 1, bias=False).to("float64")
    >>> bowl = lambda m: (m.weight * m.weight * np.array([1.0, -2.0, 4.0])).sum()
    >>> hessian_eigenvalues(model, bowl, count=2).round(3)
    array([ 8., -4.])
    """
    from scipy.sparse.linalg import LinearOperator, eigsh

    rng = generator(rng)
    with _explored(model) as parameters:
        if wrong := [p.dtype.name for p in parameters if p.dtype != np.float64]:
            raise TypeError(
                f'hessian_eigenvalues: parameters must be float64, got {wrong[0]}; use model.to("float64")'
            )
        start = [p.data for p in parameters]

        def gradient(move):
            _move(parameters, start, move)
            for p in parameters:
                p.grad = None
            loss(model).backward()
            return np.concatenate(
                [np.zeros(p.size) if p.grad is None else to_numpy(p.grad).ravel() for p in parameters]
            )

        def product(v):
            epsilon = step / np.linalg.norm(v)
            v = np.ravel(v)
            return (gradient(epsilon * v) - gradient(-epsilon * v)) / (2 * epsilon)

        size = sum(p.size for p in parameters)
        hessian = LinearOperator((size, size), matvec=product, dtype=np.float64)
        first = rng.standard_normal(size)
        found = eigsh(hessian, count, which=which, v0=first, tol=tolerance, return_eigenvectors=False)
    return np.sort(found)[::-1]


def loss_surface(model, loss, reach=1.0, points=11, rng=None):
    """The loss on a plane through a model's weights, spanned by two random directions.

    .. math:: L(w + a d_1 + b d_2), \\qquad a, b \\in [-reach, reach]

    Each filter of a direction (a row of a matrix) has the length of the model's filter that it changes. Otherwise the
    surfaces of two networks could not be compared: a ReLU network can have weights ten times as large and compute the
    same.

    Parameters
    ----------
    model : Module
        It is evaluated in eval mode and restored afterwards.
    loss : callable
        Takes the model, returns a scalar Tensor. It must always return the same for the same weights.
    reach : float, default 1
        Largest step. A step of 1 along a direction changes each filter by its own length.
    points : int, default 11
        Number of steps along each direction; odd, so that the model itself is in the middle.
    rng : numpy.random.Generator, int or None
        Draws the directions; None is seed 0.

    Returns
    -------
    steps : ndarray, shape (points,)
        The values of a, and of b.
    values : ndarray, shape (points, points)
        The loss; a varies along rows (axis 0), b along columns (axis 1).

    Raises
    ------
    ValueError
        If ``points`` is even.

    References
    ----------
    Li et al., "Visualizing the loss landscape of neural nets", NeurIPS 2018, section 4 (as there, biases and norms are
    not changed). Slide ``A/38-attention-flattens-the-loss``.

    Examples
    --------
    >>> from minivis import nn
    >>> model = nn.Linear(1, 1, bias=False)
    >>> model.weight.data[...] = 3
    >>> loss = lambda m: (m.weight * m.weight).sum()
    >>> sorted(float(v) for v in loss_surface(model, loss, points=3)[1][1])  # the direction is 3 long, as the weight is
    [0.0, 9.0, 36.0]
    """
    if points % 2 == 0:
        raise ValueError(f"loss_surface: points must be odd, so that the model is one of them, got {points}")
    rng = generator(rng)
    steps = np.linspace(-reach, reach, points)
    values = np.zeros((points, points))
    with _explored(model) as parameters, no_grad():
        start = [p.data for p in parameters]
        d1, d2 = (np.concatenate([_like_filters(x, rng) for x in start]) for _ in range(2))
        for i, a in enumerate(steps):
            for j, b in enumerate(steps):
                _move(parameters, start, a * d1 + b * d2)
                values[i, j] = float(loss(model))
    return steps, values


def _like_filters(weight, rng):
    """A random direction for one parameter, flat float64, with filters as long as the parameter's; 0 for vectors."""
    weight = to_numpy(weight)
    if weight.ndim < 2:
        return np.zeros(weight.size)
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    random = rng.standard_normal(rows.shape)
    random *= np.linalg.norm(rows, axis=1, keepdims=True) / np.linalg.norm(random, axis=1, keepdims=True)
    return random.ravel()


def _move(parameters, start, move):
    """Set the parameters to ``start`` plus their parts of the long vector ``move``."""
    at = 0
    for p, x in zip(parameters, start, strict=True):
        part = move[at : at + x.size].reshape(x.shape)
        p.data = x + namespace(x).asarray(part.astype(x.dtype))
        at += x.size


@contextmanager
def _explored(model):
    """The trained parameters of a model. It is in eval mode inside the block and is restored afterwards."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    modes = [(module, module.training) for _, module in model.named_modules()]
    before = [(p.data, p.grad) for p in parameters]
    model.eval()
    try:
        yield parameters
    finally:
        for module, training in modes:
            module.training = training
        for p, (data, grad) in zip(parameters, before, strict=True):
            p.data, p.grad = data, grad
