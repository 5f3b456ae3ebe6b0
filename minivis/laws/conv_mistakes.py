"""The mistakes that people make in both convolutions, forward and back.

Not here: those of conv2d or conv_transpose2d alone (conv.py, conv_transpose.py).
"""

import numpy as np

from minivis.laws.judging.mutants import backward, mutated

__all__ = [
    "both",
    "in_a_strided_branch",
    "averaged",
    "changed",
    "declare_mistakes",
    "first_image",
    "other_weight",
    "swapped",
    "unturned",
]


def both(value):
    """An int or a pair, as a pair."""
    return value if isinstance(value, tuple) else (value, value)


def changed(**rules):
    """A change that hears something else for an option: each rule maps what was passed to what is used."""

    def change(right, args, options):
        heard = {n: rules[n](value) if n in rules else value for n, value in options.items()}
        return right(*args, **heard)[0]

    return change


def swapped(value):
    """(rows, columns) heard as (columns, rows)."""
    return value[::-1] if isinstance(value, tuple) else value


def in_a_strided_branch(right, args, options):
    """Padding heard as (columns, rows), but only where there is a stride."""
    strided = both(options.get("stride", 1)) != (1, 1)
    return changed(**{"padding": swapped} if strided else {})(right, args, options)


def other_weight(rule):
    """A change that takes another weight: ``rule(weight)``."""
    return lambda right, args, options: right(args[0], rule(args[1]), *args[2:], **options)[0]


def turned(kernel):
    """A kernel turned around."""
    return kernel[..., ::-1, ::-1]


def unturned(right):
    """Backward with the kernel turned around."""

    def change(g, pulled, args, options):
        other = right(args[0], turned(args[1]), *args[2:], **options)[1]
        return other(g)[0], *pulled[1:]

    return backward(right, change)


def first_image(right):
    """The weight's gradient from the first image of the batch only."""

    def change(g, pulled, args, options):
        only = right(args[0][:1], *args[1:], **options)[1]
        return pulled[0], only(g[:1])[1], pulled[2]

    return backward(right, change)


def averaged(right):
    """The bias' gradient as a mean."""
    return backward(right, lambda g, pulled, args, options: (*pulled[:2], g.mean(axis=(0, 2, 3))))


def batch_mean(right):
    """The weight's gradient as a mean over the batch."""
    return backward(right, lambda g, pulled, args, options: (pulled[0], pulled[1] / len(args[0]), pulled[2]))


def last_wins(right):
    """x's gradient with = for +=: of all kernel elements that meet a pixel, the last one counts."""

    def change(g, pulled, args, options):
        x, kernel = args[:2]
        d = np.zeros_like(x)
        for m, n in np.ndindex(kernel.shape[2:]):
            one = np.zeros_like(kernel)
            one[..., m, n] = 1
            met = right(x, one, **options)[1](np.ones_like(g))[0] != 0
            d = np.where(met, right(x, one * kernel, **options)[1](g)[0], d)
        return d, *pulled[1:]

    return backward(right, change)


FORWARD = (
    (
        "the kernel turned around",
        "The kernel is flipped. Mathematics turns it around; deep learning does not: element (0, 0) belongs to the upper "
        "left pixel of the window.",
        other_weight(turned),
    ),
    (
        "rows and columns of the kernel exchanged",
        "The last axis of weight runs along the rows of the image, from left to right; here it runs downwards.",
        other_weight(lambda kernel: np.swapaxes(kernel, 2, 3)),
    ),
    (
        "bias forgotten",
        "The outputs are right but for the bias: add bias[:, None, None].",
        changed(bias=lambda bias: None),
    ),
    (
        "stride exchanged",
        "The first number of stride is for the rows, the second for the columns; here it is the other way around.",
        changed(stride=swapped),
    ),
    (
        "padding exchanged",
        "The first number of padding is for above and below, the second for left and right; here it is the other way "
        "around.",
        changed(padding=swapped),
    ),
)
BACKWARD = (
    (
        "the kernel turned around on the way back",
        "The gradient of x reads the kernel the wrong way around. Kernel element (m, n) sends g back to the very pixel "
        "it met on the way forward.",
        unturned,
    ),
    (
        "= for += on the way back",
        "A pixel of x meets several kernel elements: their gradients add up, += and not =.",
        last_wins,
    ),
    (
        "the first image only",
        "The gradient of weight comes from the first image alone: every image of the batch used the same kernel, sum over "
        "all of them.",
        first_image,
    ),
    (
        "weight averaged over the batch",
        "The gradient of weight is a sum over the batch, not a mean. If the loss is a mean, g is small enough already.",
        batch_mean,
    ),
    (
        "bias averaged",
        "The gradient of bias is the sum of g over batch, rows and columns, not the mean.",
        averaged,
    ),
)


def declare_mistakes(family):
    """Declare what both convolutions know."""
    for name, hint, change in FORWARD:
        family.mistake(name, hint, mutated(family.right, change))
    for name, hint, wrong in BACKWARD:
        family.mistake(name, hint, wrong(family.right), gradient=True)
