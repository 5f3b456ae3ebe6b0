"""The gradient check: a random direction and a random cotangent, one dot product. For tests and for learners.

Not here: the law catalogue (laws/), which calls the same idea on plain functions.
"""

import numpy as np

from minivis.autograd import Tensor, no_grad
from minivis.backend import is_array, namespace, to_numpy

__all__ = ["GradientError", "check_gradient"]


class GradientError(AssertionError):
    """A backward pass does not match its forward pass."""


def check_gradient(function, *inputs, rng=None, eps=1e-6, tolerance=1e-6):
    """Check a backward pass against finite differences, along one random direction.

    For a function f, a random direction u and a random cotangent w, two ways to the same number:

    .. math:: \\Big\\langle w, \\frac{f(x + \\epsilon u) - f(x - \\epsilon u)}{2 \\epsilon} \\Big\\rangle
              = \\langle J^T w, u \\rangle

    Parameters
    ----------
    function : callable
        Takes Tensors, returns a Tensor (or a list of Tensors).
    *inputs : ndarray
        float64 arrays; the point to check at, away from kinks.
    rng : numpy.random.Generator, optional
        Where direction and cotangent come from; a fixed seed if left out.
    eps : float, default 1e-6
        Step of the finite difference.
    tolerance : float, default 1e-6
        Allowed difference, relative to the size of the terms.

    Returns
    -------
    float
        The relative difference found.

    Raises
    ------
    GradientError
        If the two numbers differ.
    TypeError
        If an input is not float64 (finite differences drown in float32 rounding), or the function returns no Tensor.

    Notes
    -----
    It costs two forward passes and one backward pass whatever the number of elements. The cotangent is random, because
    with all ones a softmax or a norm has gradient zero, and a backward that returns zeros would pass.

    References
    ----------
    Slide ``C/91-backpropagation``.

    Examples
    --------
    >>> check_gradient(lambda x: x * x, np.array([1.0, 2.0])) < 1e-6
    True
    """
    rng = np.random.default_rng(0) if rng is None else rng
    for x in inputs:
        if not is_array(x) or x.dtype != np.float64:
            raise TypeError(
                "check_gradient: inputs must be float64 arrays (float32 is too coarse for differences)"
            )
    leaves = [Tensor(x, requires_grad=True) for x in inputs]
    outputs = _as_list(function(*leaves))
    if not all(isinstance(y, Tensor) and y.requires_grad for y in outputs):
        raise TypeError(
            "check_gradient: function must return Tensors that depend on its inputs, made of minivis's ops"
        )
    cotangents = [_like(rng.standard_normal(y.shape), y.data) for y in outputs]
    total = sum(((y * w).sum() for y, w in zip(outputs, cotangents, strict=True)), start=0.0)
    total.backward()
    directions = [rng.standard_normal(x.shape) for x in inputs]
    pulled = [
        float((to_numpy(leaf.grad) * u).sum()) if leaf.grad is not None else 0.0
        for leaf, u in zip(leaves, directions, strict=True)
    ]

    def along(step):
        with no_grad():
            moved = [Tensor(x + _like(step * u, x)) for x, u in zip(inputs, directions, strict=True)]
            return [to_numpy(y.data) for y in _as_list(function(*moved))]

    terms = [
        (to_numpy(w) * ((high - low) / (2 * eps))).sum()
        for w, high, low in zip(cotangents, along(eps), along(-eps), strict=True)
    ]
    expected = float(sum(terms))
    got = sum(pulled)
    scale = max(1.0, sum(abs(t) for t in terms), sum(abs(p) for p in pulled))
    difference = abs(expected - got) / scale
    if not difference <= tolerance:
        raise GradientError(
            f"check_gradient: backward gives {got:.9g} along a random direction, finite differences {expected:.9g} "
            f"(relative difference {difference:.2g}); inputs: {', '.join(str(tuple(x.shape)) for x in inputs)}"
        )
    return difference


def _as_list(y):
    return list(y) if isinstance(y, (list, tuple)) else [y]


def _like(array, x):
    return namespace(x).asarray(np.asarray(array, dtype=to_numpy(x).dtype))
