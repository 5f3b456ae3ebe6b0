"""Kernel regression: each query gets a mean of values, weighted by how near their keys are. Filters and attention are cases of it.

Not here: the filters (filters.py), attention with dot products (ops/attention.py).
"""

from minivis import ops
from minivis.precision import in_float32

__all__ = ["kernel_regression"]


@in_float32
def kernel_regression(queries, keys, values, b=1.0):
    """A mean of all values for each query; the nearer the key of a value, the larger its weight (Nadaraya and Watson).

    .. math::
        y_i = \\sum_j w_{ij} v_j, \\qquad w_{ij} = \\mathrm{softmax}_j\\big(-\\lVert q_i - k_j \\rVert^2 / b^2\\big)

    With queries and keys that are intensity and place of each pixel, divided by their widths, this is the bilateral
    filter with the whole image as its window. With dot products as scores it is attention.

    Parameters
    ----------
    queries : ndarray or Tensor, shape (N, D)
        What each result is asked for.
    keys : ndarray or Tensor, shape (M, D)
        The address of each value.
    values : ndarray or Tensor, shape (M, C)
        What is averaged.
    b : float, default 1
        Width of the kernel, in the unit of queries and keys.

    Returns
    -------
    ndarray or Tensor, shape (N, C)

    Raises
    ------
    ValueError
        If the shapes do not fit, there are no keys, or ``b`` is not positive.

    Notes
    -----
    Differentiable in queries, keys and values. N M (D + C) multiply-adds. Far from all keys the nearest key decides: the
    largest score of each query is subtracted before exp, as in softmax.

    References
    ----------
    Nadaraya, "On estimating regression", Theory of Probability and its Applications 1964. Watson, "Smooth regression
    analysis", Sankhya A 1964. Slides ``A/7-kernels-that-adapt``, ``A/8-bilateral-filter``.

    Examples
    --------
    >>> import numpy as np
    >>> keys = np.array([[0.0], [1.0]])
    >>> kernel_regression(np.array([[0.0], [0.5]]), keys, np.array([[0.0], [10.0]])).round(2)
    array([[2.69],
           [5.  ]])
    """
    shapes = tuple(tuple(x.shape) for x in (queries, keys, values))
    told = "(queries: {}, keys: {}, values: {})".format(*shapes)
    if any(len(shape) != 2 for shape in shapes) or shapes[0][1] != shapes[1][1]:
        raise ValueError(f"kernel_regression: queries must be (N, D), keys (M, D) and values (M, C) {told}")
    if len(keys) != len(values) or not len(keys):
        raise ValueError(f"kernel_regression: there must be a key for each value, and at least one {told}")
    if not b > 0:
        raise ValueError(f"kernel_regression: b must be positive, got {b!r}")
    differences = ops.expand_dims(queries, 1) - ops.expand_dims(keys, 0)  # (N, M, D)
    scores = -ops.sum((differences / float(b)) ** 2, axis=2)  # (N, M)
    return ops.softmax(scores, axis=1) @ values
