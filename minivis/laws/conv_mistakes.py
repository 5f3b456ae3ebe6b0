"""Common mistakes in both convolutions, forward and backward.

Not here: mistakes in conv2d or conv_transpose2d alone (conv.py, conv_transpose.py).
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
    """A change that uses other values of options: each rule maps the passed value to the used one."""

    def change(right, args, options):
        used = {n: rules[n](value) if n in rules else value for n, value in options.items()}
        return right(*args, **used)[0]

    return change


def swapped(value):
    """(rows, columns) taken for (columns, rows)."""
    return value[::-1] if isinstance(value, tuple) else value


def in_a_strided_branch(right, args, options):
    """Padding taken for (columns, rows), but only in calls with a stride."""
    strided = both(options.get("stride", 1)) != (1, 1)
    return changed(**{"padding": swapped} if strided else {})(right, args, options)


def other_weight(rule):
    """A change that uses another weight: ``rule(weight)``."""
    return lambda right, args, options: right(args[0], rule(args[1]), *args[2:], **options)[0]


def turned(kernel):
    """A kernel flipped along both axes."""
    return kernel[..., ::-1, ::-1]


def unturned(right):
    """Backward with a flipped kernel."""

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
    """x's gradient with = instead of +=: only the last kernel element that covers a pixel counts."""

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
        "The kernel is flipped. Convolution in mathematics flips it, in deep learning not: element (0, 0) belongs to the "
        "upper left pixel of the window.",
        other_weight(turned),
    ),
    (
        "rows and columns of the kernel exchanged",
        "The last axis of weight runs from left to right in the image; here it runs downwards.",
        other_weight(lambda kernel: np.swapaxes(kernel, 2, 3)),
    ),
    (
        "bias forgotten",
        "Only the bias is missing: add bias[:, None, None].",
        changed(bias=lambda bias: None),
    ),
    (
        "stride exchanged",
        "The first number of stride is for the rows, the second for the columns; you exchanged them.",
        changed(stride=swapped),
    ),
    (
        "padding exchanged",
        "The first number of padding is for above and below, the second for left and right; you exchanged them.",
        changed(padding=swapped),
    ),
)
BACKWARD = (
    (
        "the kernel turned around on the way back",
        "The kernel is flipped in the gradient of x. Kernel element (m, n) sends g back to the same pixel that it read in "
        "the forward pass.",
        unturned,
    ),
    (
        "= for += on the way back",
        "Several kernel elements read the same pixel of x: their gradients add up, += and not =.",
        last_wins,
    ),
    (
        "the first image only",
        "The gradient of weight comes from the first image alone. Every image of the batch used the same kernel: sum over "
        "all of them.",
        first_image,
    ),
    (
        "weight averaged over the batch",
        "The gradient of weight is a sum over the batch, not a mean. If the loss is a mean, g already contains the factor.",
        batch_mean,
    ),
    (
        "bias averaged",
        "The gradient of bias is the sum of g over batch, rows and columns, not the mean.",
        averaged,
    ),
)


def declare_mistakes(family):
    """Declare the mistakes of this file for one of the two convolutions."""
    for name, hint, change in FORWARD:
        family.mistake(name, hint, mutated(family.right, change))
    for name, hint, wrong in BACKWARD:
        family.mistake(name, hint, wrong(family.right), gradient=True)
