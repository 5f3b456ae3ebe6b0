"""The gradient test: a random direction and a random cotangent, one dot product. For tests, laws and learners.

Not here: which inputs are worth testing (the law catalogue, laws/).
"""

from collections import namedtuple

import numpy as np

from minivis.autograd import Tensor, no_grad
from minivis.backend import is_array, namespace, to_numpy

__all__ = ["GradientError", "check_gradient", "dot_product_test"]


class GradientError(AssertionError):
    """A backward pass does not match its forward pass."""


def check_gradient(function, *inputs, rng=None, eps=1e-6, tolerance=1e-6):
    """Check a backward pass against finite differences, along one random direction.

    For a function f, a random direction u and a random cotangent w, it computes the same number in two ways:

    .. math:: \\Big\\langle w, \\frac{f(x + \\epsilon u) - f(x - \\epsilon u)}{2 \\epsilon} \\Big\\rangle
              = \\langle J^T w, u \\rangle

    Parameters
    ----------
    function : callable
        Takes Tensors, returns a Tensor (or a list of Tensors).
    *inputs : ndarray
        float64 arrays: the point to check at, away from kinks.
    rng : numpy.random.Generator, optional
        Draws direction and cotangent; by default with a fixed seed.
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
        If an input is not float64 (float32 rounding is larger than finite differences), or the function returns no
        Tensor.

    Notes
    -----
    It costs two forward passes and one backward pass, whatever the number of elements. The cotangent must be random:
    with all ones, softmax and norms have gradient zero, and a backward that returns zeros would pass.

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
    cotangents = [rng.standard_normal(y.shape) for y in outputs]
    total = sum(((y * _like(w, y.data)).sum() for y, w in zip(outputs, cotangents, strict=True)), start=0.0)
    total.backward()
    gradients = [0.0 if leaf.grad is None else to_numpy(leaf.grad) for leaf in leaves]

    def forward(*arrays):
        with no_grad():
            moved = [Tensor(_like(a, x)) for a, x in zip(arrays, inputs, strict=True)]
            return [to_numpy(y) for y in _as_list(function(*moved))]

    host = [to_numpy(x) for x in inputs]
    found = dot_product_test(forward, host, cotangents, gradients, rng=rng, eps=eps)
    if not found.difference <= tolerance:
        raise GradientError(
            f"check_gradient: backward gives {found.got:.9g} along a random direction, finite differences "
            f"{found.expected:.9g} (relative difference {found.difference:.2g}); "
            f"inputs: {', '.join(str(tuple(x.shape)) for x in inputs)}"
        )
    return found.difference


Found = namedtuple("Found", "difference got expected")


def dot_product_test(function, inputs, cotangents, gradients, *, rng, eps=1e-6, least=1.0):
    """Compare gradients with finite differences along one random direction: <w, J u> with <J^T w, u>.

    Parameters
    ----------
    function : callable
        Takes arrays, returns a list of arrays.
    inputs : list of ndarray
        The point, float64, on the CPU.
    cotangents : list of ndarray
        w, one for each array that the function returns.
    gradients : list of ndarray
        What backward gives for w, one for each input.
    rng : numpy.random.Generator
        Draws the direction u.
    eps : float, default 1e-6
        Step of the finite difference.
    least : float, default 1
        Lower limit of the size that the difference is divided by: differences of small numbers do not count more.

    Returns
    -------
    Found
        ``difference``, relative to ``|w| |J u|`` or to ``least``; ``got`` from the gradients, ``expected`` from the
        differences.

    Examples
    --------
    >>> x = np.array([1.0, 2.0])
    >>> found = dot_product_test(lambda x: [x * x], [x], [np.ones(2)], [2 * x], rng=np.random.default_rng(0))
    >>> found.difference < 1e-6
    True
    """
    directions = [rng.standard_normal(np.shape(x)) for x in inputs]

    def along(step):
        return function(*(x + step * u for x, u in zip(inputs, directions, strict=True)))

    slopes = [(high - low) / (2 * eps) for high, low in zip(along(eps), along(-eps), strict=True)]
    pairs = list(zip(cotangents, slopes, strict=True))
    expected = float(sum((w * slope).sum() for w, slope in pairs))
    got = float(sum((g * u).sum() for g, u in zip(gradients, directions, strict=True)))
    size = sum(float(np.linalg.norm(w) * np.linalg.norm(slope)) for w, slope in pairs)
    return Found(abs(got - expected) / max(least, size), got, expected)


def _as_list(y):
    return list(y) if isinstance(y, (list, tuple)) else [y]


def _like(array, x):
    return namespace(x).asarray(np.asarray(array, dtype=to_numpy(x).dtype))
