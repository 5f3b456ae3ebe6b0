"""The shape of a loss around a model's weights: its curvature, its values on a plane.

Not here: the figures (viz/surfaces.py), training.
"""

from contextlib import contextmanager

import numpy as np

from minivis.autograd import no_grad
from minivis.backend import namespace, to_numpy
from minivis.randomness import generator

__all__ = ["hessian_eigenvalues", "loss_surface"]


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
