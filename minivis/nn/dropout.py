"""Dropout and DropPath: noise in training, none in evaluation. Each owns its random generator.

Not here: the op (ops.dropout).
"""

from minivis import ops
from minivis.backend import namespace
from minivis.nn import init
from minivis.nn.module import Module, as_tensor

__all__ = ["DropPath", "Dropout"]


class Dropout(Module):
    """In training, set a random share of the elements to 0 and scale up the rest; in evaluation, do nothing.

    Parameters
    ----------
    p : float, default 0.5
        Probability of dropping an element.
    rng : numpy.random.Generator, int or None
        The layer uses a child of it (``rng.spawn``), so that dropout does not change the weights drawn from ``rng``. None
        is seed 0. The child's state is part of `Module.rng_state`.

    Raises
    ------
    ValueError
        If ``p`` is not a probability.

    Examples
    --------
    >>> import numpy as np
    >>> Dropout(0.5).eval()(np.ones(3, np.float32))
    Tensor([1., 1., 1.], shape=(3,), float32)
    """

    def __init__(self, p=0.5, *, rng=None):
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p must be a probability from 0 to 1, got {p}")
        self.p = p
        self.rng = init.generator(rng).spawn(1)[0]

    def forward(self, x):
        return ops.dropout(as_tensor(x), self.p, self.training, rng=self.rng)

    def extra_repr(self):
        return f"p={self.p}"


class DropPath(Dropout):
    """Stochastic depth: in training, drop a whole residual branch for random samples of the batch and scale up the rest.

    .. math:: y_b = \\frac{m_b}{1 - p}\\, x_b, \\qquad m_b \\sim \\mathrm{Bernoulli}(1 - p)

    Parameters
    ----------
    p : float, default 0
        Probability that a sample loses the branch.
    rng : numpy.random.Generator, int or None
        As for `Dropout`.

    References
    ----------
    Huang et al., "Deep networks with stochastic depth", ECCV 2016, equation 2. (There the factor is applied in evaluation
    instead of training.) Slide ``C/27-stochastic-depth``.

    Examples
    --------
    >>> import numpy as np
    >>> DropPath(0.5, rng=1)(np.ones((4, 1), np.float32)).numpy().ravel()
    array([...], dtype=float32)
    """

    def __init__(self, p=0.0, *, rng=None):
        super().__init__(p, rng=rng)

    def forward(self, x):
        x = as_tensor(x)
        if not self.training or not self.p:
            return x
        ones = namespace(x.data).ones((x.shape[0], *(1,) * (x.ndim - 1)), x.dtype)
        return x * ops.dropout(ones, self.p, rng=self.rng)  # (B, 1, ...): 0 or 1 / (1 - p)
