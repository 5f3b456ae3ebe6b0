"""looking: see what the layers of a model compute on the way, such as attention weights, from outside.

Not here: what a layer shows (each says so in its docstring), pictures of it (viz/).
"""

from contextlib import contextmanager

from minivis.autograd import Tensor
from minivis.switches import Switch

__all__ = ["looking"]

_lookers = Switch("minivis_looking")


@contextmanager
def looking(model):
    """Collect what the layers of a model show while the block is open: attention weights, grids, windows, masks.

    Parameters
    ----------
    model : Module
        Whose layers are looked at.

    Yields
    ------
    dict of str to ndarray
        In the order of the calls. A key is the layer's name in ``model.named_modules()``, a dot, and what is shown:
        ``blocks.3.attn.weights``; what the model itself shows has no name in front. What a layer shows a second time, because
        it is called again, stands under ``blocks.3.attn#1.weights``, then ``#2``, ... Arrays only, without a
        graph; what the layer computed stays on the model's device.

    Raises
    ------
    TypeError
        If ``model`` is no Module.

    Notes
    -----
    Layers compute what they show only when somebody looks. Blocks may be nested, for the same model or for different ones,
    and left in any order; what runs in another thread is not seen.

    References
    ----------
    The model of it is ``sow`` in flax, which collects under the names of modules too.

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
    """Show arrays to whoever looks at a module; a function is called only then, and returns what is shown."""
    if not _lookers.is_on():
        return
    watching = [looker for looker in _lookers.values() if id(module) in looker.names]
    for what, value in shown.items() if watching else ():
        value = value() if callable(value) else value
        value = value.data if isinstance(value, Tensor) else value
        for looker in watching:
            looker.add(module, what, value)


class _Looker:
    """One who looks: the names of the modules that are looked at, and what was seen."""

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
