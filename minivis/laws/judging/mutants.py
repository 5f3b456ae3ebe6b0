"""Making a mutant: a wrong answer that is the right one with one thing changed.

Not here: the mutants themselves; they stand with the laws that reject them.
"""

import functools

__all__ = ["backward", "changed_leaves", "mutated"]


def mutated(right, change):
    """A mutant: ``change(right, args, options)`` returns what stands in the right answer's place."""

    @functools.wraps(right)
    def mutant(*args, **options):
        return change(right, args, options)

    return mutant


def backward(right, change):
    """A mutant with the right output: ``change(g, pulled, args, options)`` returns its cotangents.

    ``pulled`` are the right ones of ``g``; ``args`` are all arguments but those passed by name, which are ``options``.
    """

    def wrong(right, args, options):
        out, vjp = right(*args, **options)
        return out, lambda g: change(g, vjp(g), args, options)

    return mutated(right, wrong)


def changed_leaves(pulled, change):
    """A tuple of cotangents (arrays, dicts of arrays or None) with each array changed."""
    return tuple(_each(d, change) for d in pulled)


def _each(d, change):
    if isinstance(d, dict):
        return {name: change(leaf) for name, leaf in d.items()}
    return None if d is None else change(d)
