"""Switch: something that holds inside a `with` block, whatever the order in which blocks are left.

Not here: what is switched (recording in autograd.py, checks in debugging.py, starting values in nn/init.py, who looks in
nn/observer.py).
"""

import inspect
from contextlib import ContextDecorator
from contextvars import ContextVar

__all__ = ["Switch"]


class Switch:
    """A switch that is on inside the blocks ``with switch.on():``, and off again when the last of them is left.

    Each block is an entry of its own, so that it does not matter who leaves first: the blocks of two generators that take
    turns overlap without one lying inside the other. Other threads do not see a block, and one that is left in another
    thread, as that of a generator which a worker goes on with, is over in the first one too.

    Parameters
    ----------
    name : str
        Of its context variable.

    Examples
    --------
    >>> quiet = Switch("quiet")
    >>> with quiet.on():
    ...     print(quiet.is_on())
    True
    >>> quiet.is_on()
    False

    A block can carry a value for whoever asks inside it:

    >>> with quiet.on("library"), quiet.on("museum"):
    ...     quiet.values()
    ['library', 'museum']
    """

    __slots__ = ("_blocks",)

    def __init__(self, name):
        self._blocks = ContextVar(name, default=())

    def is_on(self):
        """Whether a block was entered here that is not left."""
        blocks = self._blocks.get()
        return bool(blocks) and any(blocks)

    def on(self, value=None):
        """The block, which may carry a value; also a decorator of a function, whose calls are blocks then."""
        return _Block(self._blocks, value)

    def values(self):
        """What the blocks carry that were entered here and are not left, the first first."""
        return [value for block in self._blocks.get() for value in block]


class _Block(ContextDecorator):
    """One block of a switch, from when it is entered until it is left."""

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
        # A list, because one that is emptied is seen in every context that it was copied to.
        self._block = [self._value]
        self._blocks.set((*self._blocks.get(), self._block))

    def __exit__(self, *_):
        self._block.clear()
        self._blocks.set(tuple(other for other in self._blocks.get() if other))
