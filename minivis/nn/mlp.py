"""The MLP of a transformer block, with a nonlinearity or with a gate, and activations as layers.

Not here: attention (attention.py), the block (transformer.py).
"""

from minivis import ops
from minivis.nn import init
from minivis.nn.dropout import Dropout
from minivis.nn.linear import Linear
from minivis.nn.module import Module, as_tensor

__all__ = ["GELU", "MLP", "ReLU", "SiLU", "Sigmoid", "SwiGLU", "Tanh"]


class _Activation(Module):
    """One elementwise op as a layer."""

    def forward(self, x):
        return getattr(ops, self.op)(as_tensor(x))


class ReLU(_Activation):
    """max(x, 0), elementwise."""

    op = "relu"


class SiLU(_Activation):
    """x sigmoid(x), elementwise."""

    op = "silu"


class Sigmoid(_Activation):
    """1 / (1 + exp(-x)), elementwise."""

    op = "sigmoid"


class Tanh(_Activation):
    """tanh(x), elementwise."""

    op = "tanh"


class GELU(Module):
    """x times the probability that a standard normal number is below x.

    Parameters
    ----------
    approximate : {"none", "tanh", "quick"}, default "none"
        "none" is exact, "tanh" is the tanh formula, "quick" is x sigmoid(1.702 x), which CLIP uses.
    """

    def __init__(self, approximate="none"):
        self.approximate = approximate

    def forward(self, x):
        return ops.gelu(as_tensor(x), self.approximate)

    def extra_repr(self):
        return "" if self.approximate == "none" else repr(self.approximate)


ACTIVATIONS = {
    "relu": ReLU,
    "gelu": GELU,
    "gelu_tanh": lambda: GELU("tanh"),
    "quick_gelu": lambda: GELU("quick"),
    "silu": SiLU,
}


def activation_named(name):
    """Make the activation layer with this name."""
    if name not in ACTIVATIONS:
        raise ValueError(f"activation: expected one of {', '.join(ACTIVATIONS)}, got {name!r}")
    return ACTIVATIONS[name]()


class MLP(Module):
    """Two linear layers with a nonlinearity between them, applied to each token separately.

    .. math:: y = W_2\\, \\sigma(W_1 x + b_1) + b_2

    Parameters
    ----------
    width : int
        D, the length of a token.
    hidden_width : int
        Width between the two layers; 4 D in most transformers.
    out_width : int, optional
        Width of the result; default D.
    activation : {"gelu", "relu", "gelu_tanh", "quick_gelu", "silu"}, default "gelu"
        The nonlinearity.
    dropout : float, default 0
        Dropout probability after the nonlinearity.
    rng : numpy.random.Generator, int or None
        Draws the starting values: Xavier for the weights; biases are 0. None is seed 0.

    Attributes
    ----------
    fc1, fc2 : Linear

    Notes
    -----
    It costs 2 D hidden_width multiply-adds for each token. With hidden_width = 4 D it has two thirds of the parameters of
    a transformer block.

    References
    ----------
    Vaswani et al. 2017, equation 2. Slides ``A/23-encoder``, ``C/114-transformer-block``.

    Examples
    --------
    >>> import numpy as np
    >>> MLP(4, 16)(np.ones((2, 3, 4), np.float32)).shape
    (2, 3, 4)
    """

    def __init__(self, width, hidden_width, out_width=None, activation="gelu", dropout=0.0, *, rng=None):
        rng = init.generator(rng)
        self.fc1 = Linear(width, hidden_width, weight_init=init.xavier_uniform, rng=rng)
        self.activation = activation_named(activation)
        self.dropout = Dropout(dropout, rng=rng)
        self.fc2 = Linear(hidden_width, out_width or width, weight_init=init.xavier_uniform, rng=rng)

    def forward(self, x):
        return self.fc2(self.dropout(self.activation(self.fc1(x))))


class SwiGLU(Module):
    """An MLP with a gate: one half of the hidden features decides how much of the other half passes.

    .. math:: y = W_2\\, \\bigl(\\mathrm{silu}(W x + b) \\odot (V x + c)\\bigr) + b_2

    Parameters
    ----------
    width : int
        D, the length of a token.
    hidden_width : int
        Width of the gate and of what it multiplies. Three matrices instead of two: with two thirds of the hidden width
        of an `MLP` it has as many parameters.
    out_width : int, optional
        Width of the result; default D.
    dropout : float, default 0
        Dropout probability after the product.
    rng : numpy.random.Generator, int or None
        Draws the starting values: Xavier for the weights; biases are 0. None is seed 0.

    Attributes
    ----------
    gate_up : Linear
        W and V in one layer: the first half of its outputs are the gates.
    down : Linear

    References
    ----------
    Shazeer, "GLU variants improve transformer", 2020, equation 6. Oquab et al., "DINOv2: learning robust visual features
    without supervision", TMLR 2024, section 5.

    Examples
    --------
    >>> import numpy as np
    >>> SwiGLU(4, 8)(np.ones((2, 3, 4), np.float32)).shape
    (2, 3, 4)
    """

    def __init__(self, width, hidden_width, out_width=None, dropout=0.0, *, rng=None):
        rng = init.generator(rng)
        self.gate_up = Linear(width, 2 * hidden_width, weight_init=init.xavier_uniform, rng=rng)
        self.dropout = Dropout(dropout, rng=rng)
        self.down = Linear(hidden_width, out_width or width, weight_init=init.xavier_uniform, rng=rng)

    def forward(self, x):
        gate, up = ops.split(self.gate_up(x), 2, axis=-1)  # (..., hidden_width) each
        return self.down(self.dropout(ops.silu(gate) * up))
