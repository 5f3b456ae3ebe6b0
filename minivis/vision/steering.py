"""Steering kernels (LARK): a kernel that stretches along edges, from the gradients around each place; regression with it.

Positions and gradients are (x, y): x to the right, y down. The image is mirrored at its border, as in filters.py.
Not here: kernels that follow intensities (filters.py).
"""

import math

import numpy as np

from minivis.autograd import Tensor
from minivis.backend import check_floating, namespace
from minivis.precision import in_float32
from minivis.vision.filters import (
    as_image,
    check_width,
    kernel_of,
    mirrored,
    reach_of,
    shifted,
    steps,
    surroundings,
    weighted_mean,
)

__all__ = ["image_gradients", "steering_kernel", "steering_kernel_regression", "steering_matrices"]

RIDGE = 1e-10  # of the weights: where only one pixel has a say, the slopes become 0


@in_float32
def image_gradients(image, window=5, h=1.0):
    r"""The slope of a grey image at each pixel: that of the plane that fits best to the window around it.

    .. math:: g_x = \frac{\sum_l k_l \, \Delta x_l \, y_l}{\sum_l k_l \, \Delta x_l^2}, \qquad
        k_l = e^{-(\Delta x_l^2 + \Delta y_l^2) / (2 h^2)}

    Parameters
    ----------
    image : ndarray, shape (H, W)
        Floating-point.
    window : int, default 5
        Side of the window in pixels, odd, at least 3.
    h : float, default 1
        Standard deviation of the weights in pixels. The larger, the less noise and the less detail.

    Returns
    -------
    ndarray, shape (2, H, W)
        gx and gy: the change per pixel to the right and down, in the dtype of ``image``.

    Raises
    ------
    ValueError
        If ``image`` is not (H, W) with pixels, the window is not odd or smaller than 3, or ``h`` is not positive.
    TypeError
        If ``image`` is not floating-point.

    References
    ----------
    Takeda, Farsiu and Milanfar, "Kernel regression for image processing and reconstruction", IEEE Transactions on Image
    Processing 2007, section II: the first estimate that their program makes.

    Examples
    --------
    >>> gx, gy = image_gradients(np.array([[0.0, 1, 2, 3, 4]] * 5))
    >>> gx[2, 2].round(6), gy[2, 2].round(6)
    (np.float64(1.0), np.float64(0.0))
    """
    name = "image_gradients"
    image = _grey(name, image)
    check_width(name, "h", h)
    reach = reach_of(name, "window", window)
    if reach < 1:
        raise ValueError(f"{name}: window must be at least 3 pixels, got {window}")
    height, width = image.shape
    padded = mirrored(image, reach)
    gx, gy, squares = 0.0, 0.0, 0.0
    for dy in steps(reach):
        for dx in steps(reach):
            # relative to that of the nearest neighbours, so that it does not vanish for a small h
            weight = math.exp((1 - max(dx**2 + dy**2, 1)) / 2 / h / h)
            values = weight * shifted(padded, reach, dy, dx, height, width)
            gx = gx + dx * values
            gy = gy + dy * values
            squares += weight * dx**2
    return namespace(image).stack([gx / squares, gy / squares])


def steering_matrices(gx, gy, window, lam=1.0, lam2=0.01, alpha=0.5):
    r"""How the kernel of each pixel is stretched and turned, from the gradients in the window around it.

    The gradients of the M pixels of the window are the rows of a matrix G (M, 2), with singular values s_1 >= s_2 and
    right singular vectors v_1 (across the edge) and v_2 (along it).

    .. math::
        C = \gamma \Big(\rho\, v_1 v_1^T + \frac{1}{\rho}\, v_2 v_2^T\Big), \qquad
        \rho = \frac{s_1 + \lambda'}{s_2 + \lambda'}, \qquad
        \gamma = \Big(\frac{s_1 s_2 + \lambda''}{M}\Big)^\alpha

    Parameters
    ----------
    gx, gy : ndarray, shape (H, W)
        Gradients to the right and down, floating-point, of an image with values from 0 to 255: with values from 0 to 1
        lambda' = 1 leaves every kernel round.
    window : int
        Side of the window in pixels, odd. M is its square.
    lam : float, default 1
        lambda': the larger, the rounder the kernels.
    lam2 : float, default 0.01
        lambda'': keeps kernels on flat ground finite. The authors' program has 1e-7; see Notes.
    alpha : float, default 0.5
        How strongly kernels shrink where there is much structure.

    Returns
    -------
    ndarray, shape (H, W, 2, 2)
        Symmetric and positive definite, det C = gamma^2, in the order (x, y) and the dtype of ``gx``.

    Raises
    ------
    ValueError
        If the gradients are not (H, W) with pixels and of one shape, the window is not odd, or a parameter is not
        positive.
    TypeError
        If they are not floating-point.

    Notes
    -----
    On a straight edge without any noise s_2 = 0, and gamma = (lambda''/M)^alpha. With 1e-7 the kernel is then so wide that
    it blurs the edge; real images have noise, generated ones need 0.01. Computed in float64, because s_1 s_2 is small
    against s_1^2 there.

    References
    ----------
    Takeda, Farsiu and Milanfar, "Kernel regression for image processing and reconstruction", IEEE Transactions on Image
    Processing 2007, equations 25 to 30. Slide ``A/10-lark``.

    Examples
    --------
    >>> flat = np.zeros((1, 1))
    >>> steering_matrices(flat, flat, 3, lam2=0.09)[0, 0].round(6)  # a round kernel: 0.1 on the diagonal
    array([[0.1, 0. ],
           [0. , 0.1]])
    """
    gx, gy = (_grey("steering_matrices", g, argument) for g, argument in ((gx, "gx"), (gy, "gy")))
    if gx.shape != gy.shape:
        raise ValueError(f"steering_matrices: gx and gy must have one shape (gx: {gx.shape}, gy: {gy.shape})")
    reach = reach_of("steering_matrices", "window", window)
    for argument, value in (("lam", lam), ("lam2", lam2), ("alpha", alpha)):
        check_width("steering_matrices", argument, value)
    s1, s2, (cos, sin) = _singular_values(gx, gy, reach)
    longer = (s1 + lam) / (s2 + lam)
    gamma = ((s1 * s2 + lam2) / window**2) ** alpha
    xp = namespace(gx)
    across = gamma * longer
    along = gamma / longer
    cxx = across * cos**2 + along * sin**2
    cyy = across * sin**2 + along * cos**2
    cxy = (across - along) * cos * sin
    rows = [xp.stack([cxx, cxy], axis=-1), xp.stack([cxy, cyy], axis=-1)]  # (H, W, 2) each
    return xp.stack(rows, axis=-2).astype(gx.dtype)  # (H, W, 2, 2)


def _singular_values(gx, gy, reach):
    """s_1 and s_2 of the gradients in each window, and v_1 = (cos, sin): (H, W) each, float64."""
    xp = namespace(gx)
    height, width = gx.shape
    padded = [mirrored(g.astype(xp.float64), reach) for g in (gx, gy)]

    def samples():
        for dy in steps(reach):
            for dx in steps(reach):
                yield tuple(shifted(g, reach, dy, dx, height, width) for g in padded)

    xx = sum(x * x for x, _ in samples())
    yy = sum(y * y for _, y in samples())
    xy = sum(x * y for x, y in samples())
    angle = xp.arctan2(2 * xy, xx - yy) / 2  # where the sum of (x cos + y sin)^2 is largest
    cos, sin = xp.cos(angle), xp.sin(angle)
    # not from the eigenvalues of [[xx, xy], [xy, yy]]: the smaller one would be lost in rounding
    s1 = sum((x * cos + y * sin) ** 2 for x, y in samples()) ** 0.5
    s2 = sum((y * cos - x * sin) ** 2 for x, y in samples()) ** 0.5
    return s1, s2, (cos, sin)


def steering_kernel_regression(image, C, window, h, order=0):
    r"""Fit a constant or a curved surface around each pixel, with weights that stretch along edges; return its height.

    .. math::
        \min_\beta \sum_l K_l \big(y_l - \beta_0 - \beta_1 \Delta x_l - \dots\big)^2, \qquad
        K_l = \sqrt{\det C_l}\; e^{-\Delta p_l^T C_l\, \Delta p_l / (2 h^2)}

    Here Delta p_l is the difference of **positions** of neighbour l and the pixel. C belongs to the neighbour.

    Parameters
    ----------
    image : ndarray, shape (H, W)
        Grey, floating-point.
    C : ndarray, shape (H, W, 2, 2)
        Steering matrices in the order (x, y), from `steering_matrices`.
    window : int
        Side of the window in pixels, odd.
    h : float
        Width of the kernels in pixels: with C = I, the standard deviation of a Gaussian.
    order : {0, 2}, default 0
        0: a weighted mean. 2: a surface with 1, dx, dy, dx^2, dx dy and dy^2, which follows slopes and curves.

    Returns
    -------
    ndarray, shape (H, W)
        beta_0, in the dtype of ``image``.

    Raises
    ------
    ValueError
        If the shapes do not fit, the window is not odd, ``h`` is not positive or ``order`` is not 0 or 2.
    TypeError
        If an array is not floating-point.

    Notes
    -----
    Not differentiable. At the border image and matrices are mirrored as they are, as in the authors' program. Their global
    smoothing mu is part of ``h`` here. Computed in float64. Order 2 adds 1e-10 of the sum of weights to the diagonal of
    the equations (not to that of beta_0), so that they can be solved where only one pixel has a say.

    References
    ----------
    Takeda, Farsiu and Milanfar, "Kernel regression for image processing and reconstruction", IEEE Transactions on Image
    Processing 2007, equations 10 and 24. Slides ``A/7-kernels-that-adapt``, ``A/10-lark``.

    Examples
    --------
    >>> along_x = np.broadcast_to(np.diag([0.01, 100.0]), (3, 3, 2, 2))  # long to the right, thin down
    >>> stripes = np.array([[1.0, 1, 1], [5, 5, 5], [1, 1, 1]])
    >>> steering_kernel_regression(stripes, along_x, 3, h=1.0)[1].round(6)  # averaged along the stripe only
    array([5., 5., 5.])
    """
    name = "steering_kernel_regression"
    image = _grey(name, image)
    C = _checked_matrices(name, C)
    if tuple(C.shape[:2]) != tuple(image.shape):
        raise ValueError(
            f"{name}: C must have a matrix for each pixel (image: {image.shape}, C: {tuple(C.shape)})"
        )
    check_width(name, "h", h)
    if order not in (0, 2):
        raise ValueError(f"{name}: order must be 0 or 2, got {order!r}")
    reach = reach_of(name, "window", window)
    height, width = image.shape
    padded = mirrored(image.astype("float64"), reach)
    weights = _steering_terms(mirrored(C, reach), reach, h)
    terms = ((at, weight, shifted(padded, reach, *at, height, width)) for at, weight in weights)
    if order == 0:
        return weighted_mean(((weight, values) for _, weight, values in terms), image)
    return _height_of_surface(terms, max(reach, 1), image)


def steering_kernel(C, place, window, h):
    """The weights of `steering_kernel_regression` (order 0) at one place.

    Parameters
    ----------
    C : ndarray, shape (H, W, 2, 2)
        As for `steering_kernel_regression`.
    place : (int, int)
        Row and column of the pixel.
    window, h
        As for `steering_kernel_regression`.

    Returns
    -------
    ndarray, shape (window, window)
        Weights that sum to 1, in the dtype of ``C``.

    Raises
    ------
    ValueError
        As for `steering_kernel_regression`, and if ``place`` is not in the image.
    TypeError
        If ``C`` is not floating-point.

    Examples
    --------
    >>> along_x = np.broadcast_to(np.diag([0.01, 100.0]), (3, 3, 2, 2))
    >>> steering_kernel(along_x, (1, 1), 3, h=1.0).round(2)
    array([[0.  , 0.  , 0.  ],
           [0.33, 0.33, 0.33],
           [0.  , 0.  , 0.  ]])
    """
    C = C.data if isinstance(C, Tensor) else C
    check_width("steering_kernel", "h", h)
    reach = reach_of("steering_kernel", "window", window)
    around = surroundings("steering_kernel", _checked_matrices("steering_kernel", C), place, reach)
    return kernel_of(_steering_terms(around, reach, h), reach, around).astype(C.dtype)


def _steering_terms(padded, reach, h):
    """Yield each shift of the window and the weights (H, W) of the pixels at that distance, by their own matrices."""
    height, width = (n - 2 * reach for n in padded.shape[:2])
    xp = namespace(padded)
    cxx, cxy, cyy = padded[..., 0, 0], padded[..., 0, 1], padded[..., 1, 1]
    root = xp.maximum(cxx * cyy - cxy**2, (1e-16 * (cxx + cyy)) ** 2) ** 0.5  # not negative by rounding
    for dy in steps(reach):
        for dx in steps(reach):
            square = dx**2 * cxx + 2 * dx * dy * cxy + dy**2 * cyy
            with np.errstate(under="ignore", over="ignore"):
                weight = root * xp.exp(-square / 2 / h / h)
            yield (dy, dx), shifted(weight, reach, dy, dx, height, width)


def _height_of_surface(terms, scale, image):
    """beta_0 of the surface of order 2 at each pixel; distances are divided by ``scale``, which changes no height."""
    xp = namespace(image)
    left, right = 0.0, 0.0
    for (dy, dx), weight, values in terms:
        x, y = dx / scale, dy / scale
        surface = np.array([1, x, y, x * x, x * y, y * y])
        left = left + weight[..., None, None] * xp.asarray(np.outer(surface, surface))  # (H, W, 6, 6)
        right = right + (weight * values)[..., None] * xp.asarray(surface)  # (H, W, 6)
    ridge = xp.asarray(np.diag([0.0, 1, 1, 1, 1, 1]) * RIDGE)
    beta = xp.linalg.solve(left + ridge * left[..., :1, :1], right[..., None])  # (H, W, 6, 1)
    return beta[..., 0, 0].astype(image.dtype)


def _grey(name, image, argument="image"):
    """A grey image as an array; raise if it is none."""
    image = as_image(name, image, argument)
    if image.ndim != 2:
        raise ValueError(
            f"{name}: {argument} must be (H, W) with pixels ({argument}: {tuple(image.shape)}); "
            f"for colour call it for each channel"
        )
    return image


def _checked_matrices(name, C):
    """Steering matrices as an array of float64; raise if they are none."""
    C = C.data if isinstance(C, Tensor) else C
    if C.ndim != 4 or tuple(C.shape[2:]) != (2, 2) or not C.size:
        raise ValueError(f"{name}: C must be (H, W, 2, 2) (C: {tuple(C.shape)})")
    check_floating(name, C, "C")
    return C.astype("float64")
