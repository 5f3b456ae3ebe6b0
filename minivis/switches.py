"""Switch: a setting that is on inside `with` blocks, which may be left in any order.

Not here: the settings themselves (recording in autograd.py, checks in debugging.py, starting values in nn/init.py,
observers in nn/observer.py).
"""

import inspect
from contextlib import ContextDecorator
from contextvars import ContextVar

__all__ = ["Switch"]


class Switch:
    """A switch that is on inside ``with switch.on():``, and off again when the last such block is left.

    Each block has its own entry, so the order of leaving does not matter: the blocks of two generators that take turns
    overlap without one lying inside the other. Other threads do not see a block. If a generator is continued in another
    thread and leaves its block there, the block also ends in the first thread.

    Parameters
    ----------
    name : str
        Name of its context variable.

    Examples
    --------
    >>> quiet = Switch("quiet")
    >>> with quiet.on():
    ...     print(quiet.is_on())
    True
    >>> quiet.is_on()
    False

    A block can carry a value, which can be read inside it:

    >>> with quiet.on("library"), quiet.on("museum"):
    ...     quiet.values()
    ['library', 'museum']
    """

    __slots__ = ("_blocks",)

    def __init__(self, name):
        self._blocks = ContextVar(name, default=())

    def is_on(self):
        """Whether we are inside a block."""
        blocks = self._blocks.get()
        return bool(blocks) and any(blocks)

    def on(self, value=None):
        """A block, which may carry a value. As a decorator, it makes each call of the function a block."""
        return _Block(self._blocks, value)

    def values(self):
        """The values of the blocks that we are inside, outermost first."""
        return [value for block in self._blocks.get() for value in block]


class _Block(ContextDecorator):
    """One block of a switch."""

    def __init__(self, blocks, value):
        self._blocks = blocks
        self._value = value

    def _recreate_cm(self):
        return _Block(self._blocks, self._value)  # each call of a decorated function is a block of its own

    def __call__(self, function):
        if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
            raise TypeError(
                f"{function.__name__}: a generator or coroutine runs after the call that made it, so that a decorator does "
                "nothing here; write `with` inside it instead"
            )
        return super().__call__(function)

    def __enter__(self):
        # A list, because all copies of a context share it: when it is emptied, the block is over in each of them.
        self._block = [self._value]
        self._blocks.set((*self._blocks.get(), self._block))

    def __exit__(self, *_):
        self._block.clear()
        self._blocks.set(tuple(other for other in self._blocks.get() if other))
