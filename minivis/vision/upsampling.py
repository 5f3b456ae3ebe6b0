"""Upsampling with fixed bilinear kernels, as fully convolutional networks do it, and where the cells of their maps lie.

Not here: transposed convolution (ops/conv.py), resizing to any size (ops/resample.py), the networks (models/fcn.py).
"""

import numpy as np

from minivis import backend, ops
from minivis.autograd import Tensor
from minivis.backend import check_floating, device_of
from minivis.complaints import named
from minivis.dtypes import whole
from minivis.pairs import checked_pair
from minivis.precision import in_float32

__all__ = ["bilinear_kernel", "cell_centres", "crop_offsets", "fcn_upsample"]


def bilinear_kernel(size, dtype="float32"):
    r"""The kernel of a transposed convolution that interpolates: highest in the middle, and falling to each side.

    .. math::
        k_{ij} = h_i h_j, \qquad h_i = 1 - \frac{\lvert i - c \rvert}{f}, \qquad f = \lceil s / 2 \rceil,
        \qquad c = \frac{s - 1}{2}

    Parameters
    ----------
    size : int or (int, int)
        s, its side, or height and width: 2 f for a stride of f if the kernel is even, 2 f - 1 if it is odd.
    dtype : dtype, default "float32"
        Dtype of the result.

    Returns
    -------
    numpy.ndarray, shape (s, s)
        Weights that sum to f^2. Those that are f apart sum to 1 along each axis: with stride f every output pixel away from
        the border gets the total weight 1.

    Raises
    ------
    ValueError
        If a size is not a whole number of at least 1.
    TypeError
        If the dtype is not floating-point.

    References
    ----------
    Long et al., "Fully convolutional networks for semantic segmentation", CVPR 2015, section 3.3. Slide
    ``C/83-transpose-convolution``.

    Examples
    --------
    >>> bilinear_kernel(4)[1]
    array([0.1875, 0.5625, 0.5625, 0.1875], dtype=float32)
    """
    if np.dtype(dtype).kind != "f":
        raise TypeError(f"bilinear_kernel: dtype must be floating-point, got {np.dtype(dtype).name}")
    rows, columns = (_heights(side) for side in checked_pair("bilinear_kernel", "size", size))
    return np.outer(rows, columns).astype(dtype)


def _heights(side):
    """The kernel along one axis."""
    factor = (side + 1) // 2
    return 1 - np.abs(np.arange(side) - (side - 1) / 2) / factor


@named
@in_float32
def fcn_upsample(scores, factor, cut=True):
    """Enlarge score maps by a whole factor: a transposed convolution with `bilinear_kernel`, each class by itself.

    Parameters
    ----------
    scores : ndarray or Tensor, shape (B, K, H, W)
        Score maps of K classes.
    factor : int
        f. The stride is f, and the kernel has a side of 2 f, or 2 f - 1 if f is odd.
    cut : bool, default True
        Cut f // 2 pixels off each side, so that the result covers the same square of the image as the input. Without this
        the border stays, and the model cuts out the image at its own place, see `crop_offsets`.

    Returns
    -------
    ndarray or Tensor, shape (B, K, f H, f W)
        Away from the border as ``interpolate(mode="bilinear")``. At the border the missing neighbours count as 0, so the
        numbers are smaller. With ``cut=False`` each side has f pixels more, or f - 1 if f is odd.

    Raises
    ------
    ValueError
        If ``scores`` is not (B, K, H, W), or the factor is not a whole number of at least 1.
    TypeError
        If ``scores`` is not floating-point.

    Notes
    -----
    Differentiable in ``scores``. At most 4 f^2 multiply-adds for each cell and class.

    References
    ----------
    Long et al. 2015, section 3.3. Slides ``C/74-down-and-up``, ``C/83-transpose-convolution``.

    Examples
    --------
    >>> fcn_upsample(np.ones((1, 1, 1, 3)), 2)[0, 0]
    array([[0.5625, 0.75  , 0.75  , 0.75  , 0.75  , 0.5625],
           [0.5625, 0.75  , 0.75  , 0.75  , 0.75  , 0.5625]])
    """
    factor = _whole("fcn_upsample", "factor", factor)
    if scores.ndim != 4:
        raise ValueError(f"fcn_upsample: scores must be (B, K, H, W) (scores: {tuple(scores.shape)})")
    check_floating("fcn_upsample", scores, "scores")
    K = scores.shape[1]
    kernel = bilinear_kernel(2 * factor - factor % 2, scores.dtype)
    device = scores.device if isinstance(scores, Tensor) else device_of(scores)
    weight = np.broadcast_to(kernel, (K, 1, *kernel.shape))  # one filter for each class
    weight = backend.to_device(weight, device)
    return ops.conv_transpose2d(scores, weight, stride=factor, padding=factor // 2 if cut else 0, groups=K)


def cell_centres(layers):
    """Where the cells of a map lie in the image: cell i of an axis has its centre at pixel ``stride * i + offset``.

    A layer with kernel k, stride s and padding p reads cells i s - p to i s - p + k - 1, so that its cell i has its centre
    above cell i s + (k - 1) / 2 - p of the map before.

    .. math:: o_l = o_{l-1} + \\Big(\\frac{k_l - 1}{2} - p_l\\Big) S_{l-1}, \\qquad S_l = S_{l-1} s_l

    Parameters
    ----------
    layers : sequence of (int, int, int)
        (kernel, stride, padding) of each convolution or pooling, from the image on.

    Returns
    -------
    (int, float)
        Stride and offset in pixels. Pixel 0 has its centre at 0.

    Raises
    ------
    ValueError
        If a layer is not three whole numbers, or a kernel or stride is below 1 or a padding below 0.

    References
    ----------
    Long et al. 2015, section 3.2. Slide ``C/72-fully-convolutional``.

    Examples
    --------
    >>> cell_centres([(3, 1, 1), (2, 2, 0)])  # a pooling of 2 x 2: its first cell lies between the first two pixels
    (2, 0.5)
    """
    stride = 1
    offset = 0.0
    for i, layer in enumerate(layers):
        numbers = whole(layer)
        numbers = numbers if isinstance(numbers, tuple) else ()
        if len(numbers) != 3 or min(numbers[:2]) < 1 or numbers[2] < 0:
            raise ValueError(
                "cell_centres: layers must be (kernel, stride, padding), whole numbers of at least 1, 1 and 0 "
                f"(layer {i}: {layer})"
            )
        kernel, step, padding = numbers
        offset += ((kernel - 1) / 2 - padding) * stride
        stride *= step
    return stride, offset


def crop_offsets(maps):
    """Where to cut maps that are enlarged and added, from coarse to fine, so that their cells lie above one another.

    A map is enlarged by `fcn_upsample` without its cut to the stride of the next, which is cut to its size and added; the
    last sum is enlarged to pixels, and the image is cut out of it. A kernel of side k puts cell i of the coarse map at cell
    f i + (k - 1) / 2 of the fine one.

    Parameters
    ----------
    maps : sequence of (int, float)
        (stride, offset) of the centres of each map's cells, as `cell_centres` returns them, from coarse to fine.

    Returns
    -------
    tuple of int
        For each map after the first: how many of its rows and columns lie before the enlarged coarser map. Last: how many
        pixels of the enlarged sum lie before the image.

    Raises
    ------
    ValueError
        If a stride is below 1 or no multiple of the next, or the cells do not lie above one another: the offset would not be whole.

    References
    ----------
    Long et al. 2015, section 4.2 and the authors' networks, whose offsets are numbers in a file. Slide
    ``C/72-fully-convolutional``.

    Examples
    --------
    >>> crop_offsets([(32, 12.5)]), crop_offsets([(32, 12.5), (16, -91.5), (8, -95.5)])  # FCN-32s, FCN-8s
    ((19,), (5, 9, 31))
    """
    maps = [tuple(one) for one in maps]
    if not maps or any(len(one) != 2 or not one[0] >= 1 for one in maps):
        raise ValueError(
            f"crop_offsets: maps must be at least one (stride, offset), strides of 1 or more (maps: {maps})"
        )
    (stride, offset), *others = maps
    found = []
    for fine, start in [*others, (1, 0.0)]:
        factor, rest = divmod(stride, fine)
        if rest:
            raise ValueError(
                f"crop_offsets: stride {stride} is no multiple of the next, {fine} (maps: {maps})"
            )
        kernel = 2 * factor - factor % 2
        offset -= (kernel - 1) / 2 * fine  # of the enlarged map
        shift = (offset - start) / fine
        last = len(found) == len(others)
        found.append(-shift if last else shift)
        if found[-1] % 1:
            raise ValueError(
                f"crop_offsets: the cells do not lie above one another, the offset would be {found[-1]:g} (maps: {maps})"
            )
        stride = fine
    return tuple(int(n) for n in found)


def _whole(name, argument, number):
    """A whole number of at least 1."""
    if not hasattr(number, "__index__") or number < 1:
        raise ValueError(f"{name}: {argument} must be a whole number of at least 1, got {number!r:.100}")
    return int(number)
