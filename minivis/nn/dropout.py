"""Dropout and DropPath: noise in training, none in evaluation. Each owns its random generator. Rates for each depth.

Not here: the ops (ops.dropout, ops.drop_path).
"""

import numpy as np

from minivis import ops
from minivis.nn import init
from minivis.nn.module import Module, as_tensor
from minivis.ops.regularization import check_probability

__all__ = ["DropPath", "Dropout", "drop_path_rates", "survival_schedule"]


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
        check_probability(type(self).__name__, "p", p)
        self.p = p
        self.rng = init.generator(rng).spawn(1)[0]

    def forward(self, x):
        return ops.dropout(as_tensor(x), self.p, self.training, rng=self.rng)

    def extra_repr(self):
        return f"p={self.p}"


class DropPath(Dropout):
    """Stochastic depth: in training, drop a whole residual branch, for random samples of the batch or for all of it.

    .. math:: y_b = \\frac{m_b}{1 - p}\\, x_b, \\qquad m_b \\sim \\mathrm{Bernoulli}(1 - p)

    Parameters
    ----------
    p : float, default 0
        Probability that a sample, or the batch, loses the branch.
    per : {"sample", "batch"}, default "sample"
        "sample" is the rule above, that of today's libraries: nothing changes in evaluation. "batch" is the paper's: one
        draw for the whole batch, y = m x in training and y = (1 - p) x in evaluation.
    rng : numpy.random.Generator, int or None
        As for `Dropout`.

    Raises
    ------
    ValueError
        If ``p`` is not a probability, or ``per`` is unknown.

    References
    ----------
    Huang et al., "Deep networks with stochastic depth", ECCV 2016, equations 2 and 5. Slide ``C/27-stochastic-depth``.

    Examples
    --------
    >>> import numpy as np
    >>> DropPath(0.5, rng=1)(np.ones((4, 1), np.float32)).numpy().ravel()
    array([...], dtype=float32)
    >>> DropPath(0.5, per="batch").eval()(np.ones(2, np.float32))
    Tensor([0.5, 0.5], shape=(2,), float32)
    """

    def __init__(self, p=0.0, per="sample", *, rng=None):
        super().__init__(p, rng=rng)
        if per not in ("sample", "batch"):
            raise ValueError(f'DropPath: per must be "sample" or "batch", got {per!r}')
        self.per = per

    def forward(self, x):
        x = as_tensor(x)
        if not self.p or (not self.training and self.per == "sample"):
            return x  # no op on the tape, so that a drawing of the model does not show it
        return as_tensor(ops.drop_path(x, self.p, self.training, self.rng, per=self.per))

    def added(self, x, branch):
        """The sum x + branch(), as a residual block needs it. A branch that the whole batch loses is not computed.

        Parameters
        ----------
        x : Tensor, shape (B, ...)
            What the shortcut brings.
        branch : callable
            Takes nothing and returns what to add, a Tensor of the same shape.

        Returns
        -------
        Tensor
            Shape of ``x``.
        """
        if self.per == "batch" and self.training and self.p:
            return x if self.rng.random() < self.p else x + branch()
        return x + self(branch())

    def extra_repr(self):
        return f"p={self.p}" + (", per batch" if self.per == "batch" else "")


def survival_schedule(layers, last=0.5):
    """The probability that each residual branch of a deep network survives, by the paper's linear rule.

    .. math:: p_l = 1 - \\frac{l}{L} (1 - p_L), \\qquad l = 1, \\dots, L

    Parameters
    ----------
    layers : int
        L, the number of branches.
    last : float, default 0.5
        The survival probability of the last branch, p_L.

    Returns
    -------
    ndarray of float64, shape (L,)
        Falling from nearly 1 to ``last``. Their sum is the expected number of branches that survive.

    Raises
    ------
    ValueError
        If ``layers`` is not a whole number of at least 1, or ``last`` is not a probability.

    References
    ----------
    Huang et al., "Deep networks with stochastic depth", ECCV 2016, equation 4. Slide ``C/27-stochastic-depth``.

    Examples
    --------
    >>> survival_schedule(4)
    array([0.875, 0.75 , 0.625, 0.5  ])
    >>> float(survival_schedule(54).sum().round(9))  # of the 54 branches of a ResNet with 110 layers
    40.25
    """
    init.check_sizes("survival_schedule", layers=layers)
    check_probability("survival_schedule", "last", last)
    return 1 - np.arange(1, layers + 1) / layers * (1 - last)


def drop_path_rates(last, count):
    """The rates with which transformers drop their branches: from 0 in the first to ``last`` in the last.

    .. math:: r_i = \\frac{i}{n - 1}\\, last, \\qquad i = 0, \\dots, n - 1

    `survival_schedule` is the paper's rule, in which the first branch is already dropped now and then.

    Parameters
    ----------
    last : float
        The rate of the last branch.
    count : int
        n, the number of branches.

    Returns
    -------
    list of float
        For `DropPath`.

    References
    ----------
    Touvron et al., "Training data-efficient image transformers", ICML 2021, section 6, whose code has this rule.

    Examples
    --------
    >>> drop_path_rates(0.5, 3)
    [0.0, 0.25, 0.5]
    """
    return [last * i / max(1, count - 1) for i in range(count)]
