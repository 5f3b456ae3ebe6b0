"""How large the gradients are in each layer.

Not here: checking that they are right (gradcheck.py), the figures (viz/depth.py).
"""

import numpy as np

from minivis.backend import to_numpy

__all__ = ["gradient_norms"]


def gradient_norms(model, loss):
    """The length of the gradient of each parameter: where it is tiny, a layer learns nothing.

    .. math:: \\lVert \\partial L / \\partial w_l \\rVert_2

    Parameters
    ----------
    model : Module
        It stays in its mode. Its gradients are restored afterwards; batch norms see the images as in any forward pass.
    loss : callable
        Takes the model, returns a scalar Tensor.

    Returns
    -------
    dict of str to float
        Name of the parameter to the length of its gradient, in the order of `Module.named_parameters`. A parameter on
        which the loss does not depend has 0.

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010,
    section 4. Slide ``C/19-vanishing-gradient``.

    Examples
    --------
    >>> from minivis import nn
    >>> model = nn.Linear(2, 1)
    >>> gradient_norms(model, lambda m: 3 * m(np.array([[3.0, 4.0]], np.float32)).sum())
    {'weight': 15.0, 'bias': 3.0}
    """
    named = list(model.named_parameters())
    before = [p.grad for _, p in named]
    try:
        for _, p in named:
            p.grad = None
        loss(model).backward()
        return {name: _length(p.grad) for name, p in named}
    finally:
        for (_, p), grad in zip(named, before, strict=True):
            p.grad = grad


def _length(grad):
    """The Euclidean length, summed in float64."""
    return 0.0 if grad is None else float(np.linalg.norm(to_numpy(grad).astype(np.float64)))
