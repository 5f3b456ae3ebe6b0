"""Regularisation by noise: dropout, stochastic depth.

Not here: the layers, which are on in training only (nn/dropout.py), weight decay (minivis/optim.py).
"""

from minivis.autograd import primitive
from minivis.backend import namespace

__all__ = ["drop_path", "dropout"]


@primitive
def dropout(x, p=0.5, training=True, *, rng=None):
    """Set a random share of the elements to 0 and scale up the rest, so that the mean is kept.

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.
    p : float, default 0.5
        Probability of dropping an element, 0 to 1 (1 drops everything).
    training : bool, default True
        False returns ``x`` as it is.
    rng : numpy.random.Generator
        Source of randomness; required if elements are dropped. Numbers are drawn on the CPU on every device.

    Returns
    -------
    ndarray or Tensor
        Shape and dtype of ``x``.

    Raises
    ------
    ValueError
        If ``p`` is not a probability, or ``rng`` is missing.

    References
    ----------
    Srivastava et al., "Dropout", JMLR 2014, section 4.

    Examples
    --------
    >>> import numpy as np
    >>> dropout(np.ones(4), p=0.5, rng=np.random.default_rng(0))
    array([2., 2., 2., 0.])
    """
    xp = namespace(x)
    check_probability("dropout", "p", p)
    if not training or p == 0:
        return x, lambda g: (g,)
    keep = _kept("dropout", x.shape, p, rng)
    factor = xp.asarray(keep).astype(x.dtype) * (1 / (1 - p) if p < 1 else 0.0)
    return x * factor, lambda g: (g * factor,)


@primitive
def drop_path(x, rate=0.0, training=True, rng=None, *, per="sample"):
    """Stochastic depth: drop a whole residual branch, for random samples or for the whole batch.

    .. math::

        \\text{per sample, in training:} \\quad y_b &= \\frac{m_b}{1 - rate}\\, x_b,
        \\qquad m_b \\sim \\mathrm{Bernoulli}(1 - rate)

        \\text{per batch, in training:} \\quad y &= m\\, x, \\qquad m \\sim \\mathrm{Bernoulli}(1 - rate)

        \\text{per batch, in evaluation:} \\quad y &= (1 - rate)\\, x

    Parameters
    ----------
    x : ndarray or Tensor, shape (B, ...)
        What the branch has computed.
    rate : float, default 0
        Probability of dropping the branch, 0 to 1; 1 drops it always.
    training : bool, default True
        Whether to drop. In evaluation the branch of a sample is kept as it is, that of a batch is scaled.
    rng : numpy.random.Generator
        Source of randomness; required if branches are dropped. Numbers are drawn on the CPU on every device.
    per : {"sample", "batch"}, default "sample"
        "sample" is what today's libraries do. "batch" is the paper's rule: one draw for all samples, no factor in
        training, and the factor 1 - rate in evaluation. The mean is the same.

    Returns
    -------
    ndarray or Tensor
        Shape and dtype of ``x``.

    Raises
    ------
    ValueError
        If ``rate`` is not a probability, ``per`` is unknown, ``rng`` is missing, or x has no batch axis.

    References
    ----------
    Huang et al., "Deep networks with stochastic depth", ECCV 2016, equations 2 and 5. Slide ``C/27-stochastic-depth``.

    Examples
    --------
    >>> import numpy as np
    >>> drop_path(np.ones((3, 2)), 0.5, True, np.random.default_rng(2))
    array([[2., 2.],
           [0., 0.],
           [0., 0.]])
    """
    check_probability("drop_path", "rate", rate)
    if per not in ("sample", "batch"):
        raise ValueError(f'drop_path: per must be "sample" or "batch", got {per!r}')
    if not x.ndim:
        raise ValueError("drop_path: x must have a batch axis, (B, ...) (x: ())")
    if rate == 0 or (not training and per == "sample"):
        return x, lambda g: (g,)
    if not training:
        return x * (1 - rate), lambda g: (g * (1 - rate),)
    draws = x.shape[0] if per == "sample" else 1
    keep = _kept("drop_path", (draws, *(1,) * (x.ndim - 1)), rate, rng)  # (B, 1, ...) or (1, 1, ...)
    factor = namespace(x).asarray(keep).astype(x.dtype)
    if per == "sample" and rate < 1:
        factor = factor / (1 - rate)
    return x * factor, lambda g: (g * factor,)


def check_probability(function, name, value):
    """Raise unless a value is a probability."""
    if not 0 <= value <= 1:
        raise ValueError(f"{function}: {name} must be a probability from 0 to 1, got {value}")


def _kept(function, shape, p, rng):
    """Draw what is kept: booleans, False with probability p; all False if p is 1."""
    if not hasattr(rng, "random"):
        raise ValueError(
            f"{function}: pass rng, a numpy.random.Generator, for example numpy.random.default_rng(0), got {rng!r}"
        )
    drawn = rng.random(shape, dtype="float32")
    return drawn >= p if p < 1 else drawn > 1
