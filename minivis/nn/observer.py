"""looking: collect from outside what the layers of a model compute on the way, such as attention weights.

Not here: which arrays a layer shows (see its docstring), pictures of them (viz/).
"""

from contextlib import contextmanager

from minivis.autograd import Tensor
from minivis.switches import Switch

__all__ = ["looking"]

_lookers = Switch("minivis_looking")


@contextmanager
def looking(model):
    """Collect the arrays that the layers of a model show inside the block: attention weights, grids, windows, masks.

    Parameters
    ----------
    model : Module
        The model whose layers are observed.

    Yields
    ------
    dict of str to ndarray
        The arrays in the order of the calls. A key is the layer's name in ``model.named_modules()``, a dot, and the name
        of the array: ``blocks.3.attn.weights``. Arrays that the model itself shows have no layer name in front. If a layer
        is called again, its arrays get the keys ``blocks.3.attn#1.weights``, then ``#2``, ... The arrays have no
        graph; what the layer computed stays on the model's device.

    Raises
    ------
    TypeError
        If ``model`` is not a Module.

    Notes
    -----
    Layers compute the extra arrays only inside such a block. Blocks may be nested, for the same model or for different
    ones, and left in any order. Calls in another thread are not observed.

    References
    ----------
    It works like ``sow`` in flax, which also collects arrays under the names of modules.

    Examples
    --------
    >>> import numpy as np
    >>> from minivis import nn
    >>> attention = nn.MultiHeadAttention(8, num_heads=2)
    >>> with looking(attention) as seen:
    ...     y = attention(np.ones((1, 5, 8), np.float32))
    >>> {name: array.shape for name, array in seen.items()}
    {'weights': (1, 2, 5, 5)}
    """
    if not hasattr(model, "named_modules"):
        raise TypeError(f"looking: model must be a Module, got {type(model).__name__}")
    looker = _Looker(model)
    with _lookers.on(looker):
        yield looker.seen


def show(module, **shown):
    """Give arrays to all `looking` blocks that observe the module; functions are called only if there is such a block."""
    if not _lookers.is_on():
        return
    watching = [looker for looker in _lookers.values() if id(module) in looker.names]
    for what, value in shown.items() if watching else ():
        value = value() if callable(value) else value
        value = value.data if isinstance(value, Tensor) else value
        for looker in watching:
            looker.add(module, what, value)


class _Looker:
    """One `looking` block: the names of the observed modules, and the arrays seen so far."""

    def __init__(self, model):
        self.seen = {}
        self.names = {id(module): name for name, module in model.named_modules()}
        self._model = model  # keeps the modules alive, so that no other object gets one of these ids

    def add(self, module, what, value):
        name = self.names[id(module)]
        number = 0
        key = f"{name}.{what}" if name else what
        while key in self.seen:
            number += 1
            key = f"{name}#{number}.{what}"
        self.seen[key] = value
