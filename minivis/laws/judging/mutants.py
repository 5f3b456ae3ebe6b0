"""Making a mutant: the right answer with one thing changed.

Not here: the mutants themselves; each stands with the law that rejects it.
"""

import functools

__all__ = ["backward", "changed_leaves", "changed_output", "mutated"]


def mutated(right, change):
    """A mutant: it returns ``change(right, args, options)`` in the place of the right answer."""

    @functools.wraps(right)
    def mutant(*args, **options):
        return change(right, args, options)

    return mutant


def backward(right, change):
    """A mutant with the right output and wrong gradients: ``change(g, pulled, args, options)``.

    ``pulled`` are the right gradients for ``g``; ``args`` are the arguments by position, ``options`` those by name.
    """

    def wrong(right, args, options):
        out, vjp = right(*args, **options)
        return out, lambda g: change(g, vjp(g), args, options)

    return mutated(right, wrong)


def changed_output(out, change):
    """An output with ``change`` applied to it, or to the first part of several."""
    return (change(out[0]), *out[1:]) if isinstance(out, tuple) else change(out)


def changed_leaves(pulled, change):
    """A tuple of gradients (arrays, dicts of arrays or None) with ``change`` applied to each array."""
    return tuple(_each(d, change) for d in pulled)


def _each(d, change):
    if isinstance(d, dict):
        return {name: change(leaf) for name, leaf in d.items()}
    return None if d is None else change(d)
