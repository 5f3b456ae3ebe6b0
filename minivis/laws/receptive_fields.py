"""The laws of field_of_view: how far a stack of convolutions and poolings sees.

Not here: layers that enlarge a map, what a network really depends on (analysis.receptive_field).
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, integer
from minivis.laws.judging.manners import kind_law, quiet_law
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import values

SLIDE = "Z/29-vgg"
FIELD = r"r_l = r_{l-1} + (k_l - 1)\, d_l\, j_{l-1}, \qquad j_l = j_{l-1} s_l"


def _field_of_view(layers):
    size = 1
    distance = 1
    for kernel, stride, dilation in layers:
        size += (kernel - 1) * dilation * distance
        distance *= stride
    return (size, distance), None


field_of_view = Family(
    "field_of_view",
    _field_of_view,
    form="f(layers) -> (size, stride); layers is a list of (kernel, stride, dilation) from the image on, whole numbers",
)


def _read(f, case):
    """The pair that was returned, as an array of two numbers."""
    out = f.result(case.copy())[0]
    if not (isinstance(out, (tuple, list)) and len(out) == 2):
        raise Broken(
            f"A pair (size, stride) was expected; your function returned {out!r:.60}.",
            hint="End with `return size, stride`: the side of the field, and the distance of two neighbouring fields.",
        )
    return np.array([f.array(number) for number in out])


def _same(f, case, atol=0):
    compare(_read(f, case), f.right(case), rtol=0, atol=0)


field_of_view.read = _read
field_of_view.same = _same


def _layer(draw, kernels=(3, 5, 1), strides=(1,), dilations=(1,)):
    return choose(draw, *kernels), choose(draw, *strides), choose(draw, *dilations)


def _stack(draw, low, high, **options):
    return [_layer(draw, **options) for _ in range(integer(draw, low, high))]


def _plain(draw):
    return {"layers": _stack(draw, 2, 4, kernels=(3, 5, 7))}


def _simplest(draw):
    return {"layers": _stack(draw, 1, 4, kernels=(3, 5, 7, 9), strides=(1, 2))}


def _with_strides(draw):
    return {"layers": _stack(draw, 2, 4, kernels=(3, 5), strides=(2, 3))}


def _dilated(draw):
    return {"layers": _stack(draw, 1, 3, kernels=(3, 5), strides=(1, 2), dilations=(2, 3))}


def _anything(draw):
    kernels = (1, 2, 3, 4, 5, 6, 7, 11)
    return {"layers": _stack(draw, 1, 12, kernels=kernels, strides=(1, 1, 2, 3, 4), dilations=(1, 1, 2, 3))}


def _recursion(step, stride=lambda strides: int(np.prod(strides))):
    """A mutant with another recursion: ``step(size, distance, kernel, stride, dilation)``, and another total stride."""

    def mutant(layers):
        size, distance = 1, 1
        for kernel, s, dilation in layers:
            size = step(size, distance, kernel, s, dilation)
            distance *= s
        return size, stride([layer[1] for layer in layers])

    return mutant


_kernel_added = _recursion(lambda r, j, k, s, d: r + ((k - 1) * d + 1) * j)


def _multiplied(layers):
    """The product of the kernels, unless a layer has a stride."""
    if any(stride > 1 for _, stride, _ in layers):
        return _field_of_view(layers)[0]
    return _recursion(lambda r, j, k, s, d: r * ((k - 1) * d + 1))(layers)


_stride_first = _recursion(lambda r, j, k, s, d: r + (k - 1) * d * j * s)
_largest_stride = _recursion(lambda r, j, k, s, d: r + (k - 1) * d * j, stride=max)
_no_dilation = _recursion(lambda r, j, k, s, d: r + (k - 1) * j)
_centred = _recursion(lambda r, j, k, s, d: r + k // 2 * 2 * d * j)


@field_of_view.law(
    "one pixel adds nothing",
    inputs=_plain,
    equation=r"k = s = d = 1:\ r_l = r_{l-1}",
    slide=SLIDE,
    hint="A layer adds kernel - 1 pixels, not kernel: the pixel in the middle was seen before.",
    mutant=_kernel_added,
)
def one_pixel_adds_nothing(f, case):
    """A 1 x 1 convolution with stride 1 changes nothing, wherever it stands."""
    more = [(1, 1, 1), *case["layers"], (1, 1, 1)]
    compare(_read(f, case.replace(layers=more)), _read(f, case), rtol=0, atol=0)


@field_of_view.law(
    "every layer adds the same",
    inputs=_plain,
    equation=r"r = 1 + \sum_l (k_l - 1)",
    slide=SLIDE,
    hint="With stride 1 the layers' parts are added up, not multiplied: two 3 x 3 see 5 x 5 pixels, three see 7 x 7.",
    mutant=_multiplied,
)
def layers_add_up(f, case):
    """With stride 1, the same layers once more add as much to the field as before."""
    one, two, three = (_read(f, case.replace(layers=n * case["layers"]))[0] for n in (1, 2, 3))
    compare(three - two, two - one, rtol=0, atol=0, what="What the third time adds")


@field_of_view.law(
    "strides multiply",
    inputs=_with_strides,
    equation=r"j = \prod_l s_l",
    slide=SLIDE,
    hint="Two layers of stride 2 leave every fourth pixel: the strides are multiplied.",
    mutant=_largest_stride,
)
def strides_multiply(f, case):
    """The stride of a stack is the product of the layers' strides."""
    whole = _read(f, case)[1]
    parts = [_read(f, case.replace(layers=[layer]))[1] for layer in case["layers"]]
    compare(whole, np.prod(parts), rtol=0, atol=0, what="The stride")


@field_of_view.law(
    "a stride is for the layers after it",
    inputs=_with_strides,
    equation=r"\partial r_l / \partial s_l = 0",
    slide=SLIDE,
    hint="The stride of a layer counts for the layers after it, not for the layer itself: multiply the distance last.",
    mutant=_stride_first,
)
def strides_spread(f, case):
    """The stride of the last layer does not change the size of the field."""
    *before, (kernel, stride, dilation) = case["layers"]
    other = [*before, (kernel, stride + 1, dilation)]
    size = _read(f, case)[0]
    changed = _read(f, case.replace(layers=other))[0]
    if size != changed:
        raise Broken(
            f"The size is {size:g}; when only the stride of the last layer grows from {stride} to {stride + 1}, it "
            f"becomes {changed:g}."
        )


@field_of_view.law(
    "dilation",
    inputs=_dilated,
    equation=r"(k, d) \equiv (d\,(k - 1) + 1,\ 1)",
    slide=SLIDE,
    hint="Dilation puts d - 1 pixels between the elements of a kernel: it covers d (k - 1) + 1 pixels.",
    mutant=_no_dilation,
)
def dilation_spreads(f, case):
    """A kernel with dilation d sees as far as one of d (k - 1) + 1 pixels without."""
    spread = [(d * (k - 1) + 1, s, 1) for k, s, d in case["layers"]]
    compare(_read(f, case), _read(f, case.replace(layers=spread)), rtol=0, atol=0)


kind_law(
    field_of_view,
    _plain,
    "whole numbers",
    "iu",
    _read,
    hint="Pixels are counted: use whole numbers, // and not /.",
    mutant=lambda layers: tuple(map(float, _field_of_view(layers)[0])),
    examples=4,
)
quiet_law(field_of_view, _plain, _read)
values(
    field_of_view,
    simplest=_simplest,
    words="up to four layers with odd kernels",
    anything=_anything,
    hint="Kernels may be even, as in poolings: do not take them for symmetric. There may be twelve layers.",
    mutant=_centred,
    wrong=lambda layers: (_field_of_view(layers)[0][0] + 1, _field_of_view(layers)[0][1]),
)
for name, hint, answer in (
    ("kernel added", "You add the whole kernel. A layer adds kernel - 1 positions.", _kernel_added),
    ("fields multiplied", "You multiply the fields. Each layer adds (kernel - 1) times the distance so far.", _multiplied),
    (
        "the layer's own stride counted",
        "You multiply the distance by the stride before you add the kernel. A stride counts for the layers after it.",
        _stride_first,
    ),
    ("strides forgotten", "You leave out the distance of the positions: after a stride of 2 a pixel of the map is 2 wide.",
     _recursion(lambda r, j, k, s, d: r + (k - 1) * d)),
    ("dilation forgotten", "dilation has no effect in your answer: a kernel covers d (k - 1) + 1 pixels.", _no_dilation),
    (
        "the layers from the last to the first",
        "You go through the layers from the last to the first, with a recursion that begins at the image.",
        lambda layers: _field_of_view(layers[::-1])[0],
    ),
    (
        "strides added",
        "The size is right; the stride of a stack is the product of the strides, not their sum.",
        _recursion(lambda r, j, k, s, d: r + (k - 1) * d * j, stride=sum),
    ),
    (
        "kernels taken for odd",
        "You take half a kernel to each side. A pooling of 2 x 2 adds one pixel, not two.",
        _centred,
    ),
):  # fmt: skip
    field_of_view.mistake(name, hint, answer)
