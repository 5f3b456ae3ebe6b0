"""Regularisation by noise: dropout.

Not here: the layer, which is on in training only (nn/dropout.py), weight decay (minivis/optim.py).
"""

from minivis.autograd import primitive
from minivis.backend import namespace

__all__ = ["dropout"]


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
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p must be a probability from 0 to 1, got {p}")
    if not training or p == 0:
        return x, lambda g: (g,)
    if not hasattr(rng, "random"):
        raise ValueError(
            f"dropout: pass rng, a numpy.random.Generator, for example numpy.random.default_rng(0), got {rng!r}"
        )
    keep = rng.random(x.shape, dtype="float32") >= p if p < 1 else rng.random(x.shape, dtype="float32") > 1
    factor = xp.asarray(keep).astype(x.dtype) * (1 / (1 - p) if p < 1 else 0.0)
    return x * factor, lambda g: (g * factor,)
