"""A residual network as a differential equation: steps of Euler, midpoint and Runge-Kutta, and their gradients.

Not here: networks (models/), steps of a size that adapts itself.
"""

import numbers

from minivis.autograd import Node, Tensor, recording
from minivis.backend import check_floating, namespace

__all__ = ["odeint", "odeint_adjoint"]


def _euler(field, y, t, h):
    return field(y, t)


def _midpoint(field, y, t, h):
    return field(y + field(y, t) * (h / 2), t + h / 2)


def _rk4(field, y, t, h):
    k1 = field(y, t)
    k2 = field(y + k1 * (h / 2), t + h / 2)
    k3 = field(y + k2 * (h / 2), t + h / 2)
    k4 = field(y + k3 * h, t + h)
    return (k1 + k2 * 2 + k3 * 2 + k4) / 6


# name -> the mean velocity during a step of length h that begins at (y, t)
METHODS = {"euler": _euler, "midpoint": _midpoint, "rk4": _rk4}


def odeint(field, y0, t0, t1, steps, method="euler", *, path=False):
    """Solve a differential equation with steps of one size. A step of Euler's method is a residual block.

    .. math::

        \\frac{dy}{dt} &= f(y, t), \\qquad y(t_0) = y_0, \\qquad h = (t_1 - t_0) / steps

        \\text{Euler:} \\quad y_{j+1} &= y_j + h\\, f(y_j, t_j)

        \\text{midpoint:} \\quad y_{j+1} &= y_j + h\\, f\\big(y_j + \\tfrac h2 f(y_j, t_j),\\; t_j + \\tfrac h2\\big)

        \\text{Runge-Kutta:} \\quad y_{j+1} &= y_j + \\tfrac h6 (k_1 + 2 k_2 + 2 k_3 + k_4)

    with :math:`k_1 = f(y_j, t_j)`, :math:`k_2 = f(y_j + \\tfrac h2 k_1, t_j + \\tfrac h2)`,
    :math:`k_3 = f(y_j + \\tfrac h2 k_2, t_j + \\tfrac h2)` and :math:`k_4 = f(y_j + h k_3, t_j + h)`.

    Parameters
    ----------
    field : callable
        ``field(y, t)`` returns the velocity, of the shape of y. It may be a layer.
    y0 : float, ndarray or Tensor
        Where the path begins, any shape; floating-point.
    t0, t1 : float
        First and last time; with t1 < t0 the path is followed backwards.
    steps : int
        Number of steps, at least 1.
    method : {"euler", "midpoint", "rk4"}, default "euler"
        "rk4" is the classical method of Runge and Kutta. When the steps double, the error is divided by about 2, 4 and
        16.
    path : bool, default False
        Whether to return all states instead of the last.

    Returns
    -------
    ndarray or Tensor, or list of them
        The state at t1, in shape and dtype of ``y0``; with ``path`` the steps + 1 states from y0 on.

    Raises
    ------
    ValueError
        If ``method`` is unknown, ``steps`` is not a whole number of at least 1, or the field returns another shape.
    TypeError
        If ``y0`` is an array of integers.

    Notes
    -----
    With Tensors it is differentiable, by backpropagation through the steps, which keeps all states in memory.
    `odeint_adjoint` keeps only the last.

    References
    ----------
    Chen et al., "Neural ordinary differential equations", NeurIPS 2018, equations 1 to 3. Slide ``C/28-resnet-as-ode``.

    Examples
    --------
    >>> growth = lambda y, t: y
    >>> [odeint(growth, 1.0, 0, 1, steps) for steps in (1, 2, 4)]  # e is 2.71828
    [2.0, 2.25, 2.44140625]
    >>> round(odeint(growth, 1.0, 0, 1, 1, "rk4"), 6)
    2.708333
    """
    if method not in METHODS:
        raise ValueError(f"odeint: method must be one of {', '.join(METHODS)}, got {method!r}")
    if not hasattr(steps, "__index__") or steps < 1:
        raise ValueError(f"odeint: steps must be a whole number of at least 1, got {steps!r}")
    if hasattr(y0, "dtype"):
        check_floating("odeint", y0, "y0")
    # NumPy's own float64 would turn states of float32 into float64
    t0, t1 = (float(t) if isinstance(t, numbers.Real) else t for t in (t0, t1))
    velocity = METHODS[method]
    h = (t1 - t0) / steps
    states = [y0]
    for j in range(steps):
        y = states[-1] + velocity(field, states[-1], t0 + j * h, h) * h
        found, expected = (getattr(x, "shape", ()) for x in (y, y0))
        if found != expected:
            raise ValueError(
                f"odeint: field must return the shape of y (y: {expected}, y + h field(y, t): {found})"
            )
        states = [*states, y] if path else [y]
    return states if path else states[0]


def odeint_adjoint(field, y1, g, t0, t1, steps, method="euler", parameters=()):
    """The gradients of `odeint` by the adjoint method: a second equation, solved backwards in time from the last state.

    .. math::

        a(t) = \\frac{\\partial L}{\\partial y(t)}, \\qquad \\frac{da}{dt} = -a^T \\frac{\\partial f}{\\partial y}, \\qquad
        \\frac{\\partial L}{\\partial \\theta} = -\\int_{t_1}^{t_0} a^T \\frac{\\partial f}{\\partial \\theta}\\, dt

    The states y(t) are not kept: they are computed again, backwards.

    Parameters
    ----------
    field : callable
        ``field(y, t)`` takes a Tensor and returns one.
    y1 : ndarray or Tensor
        The last state, as `odeint` has returned it.
    g : ndarray or Tensor
        The gradient of the loss with respect to it, a(t1), of the same shape.
    t0, t1, steps, method
        As for `odeint`.
    parameters : iterable of Tensor
        What the field contains and gradients are wanted of. They require gradients.

    Returns
    -------
    y0 : ndarray
        The first state, computed backwards.
    gradient : ndarray
        The gradient with respect to it, a(t0).
    gradients : list of ndarray
        Those of the parameters, in the dtype of ``y1``. The ``grad`` of everything in the field stays as it is.

    Raises
    ------
    ValueError
        As `odeint`, and if ``g`` has another shape than ``y1``, a parameter requires no gradient, or it is called under
        `no_grad`, where the field cannot be differentiated.

    Notes
    -----
    Its memory does not grow with the steps. The gradients are those of the equation, not those of the steps: with Euler's
    method they differ from backpropagation by a term in h, which halves when the steps double.

    References
    ----------
    Chen et al., "Neural ordinary differential equations", NeurIPS 2018, equations 4 and 5, algorithm 1. Slide
    ``C/28-resnet-as-ode``.

    Examples
    --------
    >>> import numpy as np
    >>> growth = lambda y, t: y
    >>> y0, gradient, _ = odeint_adjoint(growth, np.array([np.e]), np.ones(1), 0, 1, 100, "rk4")
    >>> gradient.round(5)  # dy(1)/dy(0) = e
    array([2.71828])
    """
    y1, g = (x.data if isinstance(x, Tensor) else x for x in (y1, g))
    parameters = list(parameters)
    if y1.shape != g.shape:
        raise ValueError(f"odeint_adjoint: g must have the shape of y1 (y1: {y1.shape}, g: {g.shape})")
    if not recording() or not all(p.requires_grad for p in parameters):
        raise ValueError(
            "odeint_adjoint: it differentiates the field, so call it outside of no_grad, with parameters that require "
            "gradients"
        )
    xp = namespace(y1)
    parts = [y1, g, *(xp.zeros(p.shape, y1.dtype) for p in parameters)]

    def backwards(state, t):
        y, a, *_ = _split(state, parts)
        velocity, pulled = _pulled(field, y, t, a, parameters)
        return _joined(xp, [velocity, *(-d for d in pulled)])

    end = odeint(backwards, _joined(xp, parts), t1, t0, steps, method)
    y0, gradient, *gradients = _split(end, parts)
    return y0, gradient, gradients


def _pulled(field, y, t, a, parameters):
    """The velocity at (y, t), and a^T df/dy and a^T df/dtheta."""
    wanted = [Tensor(y, requires_grad=True), *parameters]
    velocity = field(wanted[0], t)
    if not isinstance(velocity, Tensor):
        velocity = Tensor(velocity)
    leaves = _leaves(velocity)
    before = [leaf.grad for leaf in leaves]
    try:
        for leaf in leaves:
            leaf.grad = None
        if velocity.requires_grad:
            velocity.backward(a)
        xp = namespace(y)
        reached = {id(leaf): leaf.grad for leaf in leaves}
        found = [reached.get(id(x)) for x in wanted]
        return velocity.data, [
            xp.zeros(x.shape, y.dtype) if d is None else d for x, d in zip(wanted, found, strict=True)
        ]
    finally:
        for leaf, grad in zip(leaves, before, strict=True):
            leaf.grad = grad


def _leaves(tensor):
    """Every Tensor that a backward pass from here would give a gradient, also those that nobody asked for."""
    found, seen, waiting = [], set(), [tensor.node or tensor]
    while waiting:
        x = waiting.pop()
        if id(x) not in seen:
            seen.add(id(x))
            if isinstance(x, Node):
                waiting += [parent for _, parent in x.parents]
            elif x.requires_grad:
                found.append(x)
    return found


def _joined(xp, parts):
    """Arrays as one long vector."""
    return xp.concatenate([part.reshape(-1) for part in parts])


def _split(vector, like):
    """A long vector as arrays of the given shapes."""
    found = []
    at = 0
    for part in like:
        found.append(vector[at : at + part.size].reshape(part.shape))
        at += part.size
    return found
