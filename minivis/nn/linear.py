"""Linear and Embedding, the layers that own one matrix; and Flatten and Identity, which own nothing.

Not here: two linear layers with a nonlinearity between them (mlp.py).
"""

import math

from minivis import ops
from minivis.nn import init
from minivis.nn.module import Module, Parameter, as_tensor

__all__ = ["Embedding", "Flatten", "Identity", "Linear"]


class Linear(Module):
    """A fully connected layer: every output is a weighted sum of all inputs plus a bias.

    .. math:: y = x W^T + b

    Parameters
    ----------
    in_features, out_features : int
        Lengths of the last axis of input and output.
    bias : bool, default True
        Whether there is a bias b.
    weight_init : callable, optional
        ``weight_init(shape, rng)`` draws the weight, and the bias starts at 0. Without it both start as in torch:
        uniform within 1 / sqrt(in_features).
    rng : numpy.random.Generator, int or None
        Draws the starting values; None is seed 0.

    Attributes
    ----------
    weight : Parameter, shape (out_features, in_features)
    bias : Parameter, shape (out_features,), or None

    Raises
    ------
    ValueError
        If a size is not a whole number of at least 1.

    References
    ----------
    Slides ``A/25-queries-keys-values``, ``C/90-layer-types``.

    Examples
    --------
    >>> import numpy as np
    >>> Linear(3, 2)(np.ones((5, 3), np.float32)).shape
    (5, 2)
    """

    def __init__(self, in_features, out_features, bias=True, *, weight_init=None, rng=None):
        init.check_sizes("Linear", in_features=in_features, out_features=out_features)
        rng = init.generator(rng)
        self.weight = Parameter((weight_init or init.kaiming_uniform)((out_features, in_features), rng))
        bound = 0.0 if weight_init else 1 / math.sqrt(max(1, in_features))
        self.bias = Parameter(init.uniform((out_features,), bound, rng)) if bias else None

    def forward(self, x):
        return ops.linear(x, self.weight, self.bias)

    def extra_repr(self):
        out_features, in_features = self.weight.shape
        return f"{in_features}, {out_features}" + (", bias=False" if self.bias is None else "")


class Embedding(Module):
    """A table with one learned row for each of K symbols.

    Parameters
    ----------
    num_embeddings : int
        K, the number of rows.
    embedding_dim : int
        D, the length of a row.
    rng : numpy.random.Generator, int or None
        Draws the starting values: standard normal, as in torch. None is seed 0.

    Attributes
    ----------
    weight : Parameter, shape (num_embeddings, embedding_dim)

    Examples
    --------
    >>> import numpy as np
    >>> Embedding(10, 4)(np.array([[1, 2, 3]])).shape
    (1, 3, 4)
    """

    def __init__(self, num_embeddings, embedding_dim, *, rng=None):
        self.weight = Parameter(init.normal((num_embeddings, embedding_dim), 1.0, init.generator(rng)))

    def forward(self, indices):
        return ops.embedding(indices, self.weight)

    def extra_repr(self):
        return ", ".join(map(str, self.weight.shape))


class Flatten(Module):
    """Merge all axes except the batch into one: (B, ...) -> (B, product of the others)."""

    def forward(self, x):
        x = as_tensor(x)
        return ops.reshape(x, (x.shape[0], math.prod(x.shape[1:])))


class Identity(Module):
    """Return the input."""

    def forward(self, x):
        return as_tensor(x)
