"""The laws of patchify and unpatchify: the place of each number of an image in the tokens.

Not here: the learned embedding of patches, windows.
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.gradient_laws import gradients
from minivis.laws.judging.inputs import choose, integer, normals, numbers
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.mutants import mutated
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import gradient_values, values

PATCHES = r"x \in \mathbb R^{H \times W \times C} \to x_p \in \mathbb R^{N \times P^2 C}, \quad N = HW / P^2"
VIT = "H/5-vision-transformer"


def _patchify(images, patch):
    B, C, H, W = images.shape
    P = patch
    rows = H // patch
    columns = W // patch
    x = images.reshape(B, C, rows, P, columns, P).transpose(0, 2, 4, 3, 5, 1)  # (B, rows, columns, P, P, C)
    return x.reshape(B, rows * columns, P * P * C), lambda g: (_unpatchify(g, patch, H, W)[0],)


def _unpatchify(tokens, patch, height, width):
    B, _, features = tokens.shape
    P = patch
    C = features // patch**2
    x = tokens.reshape(B, height // P, width // P, P, P, C).transpose(0, 5, 1, 3, 2, 4)
    return x.reshape(B, C, height, width), lambda g: (_patchify(g, patch)[0],)


patchify = Family(
    "patchify",
    _patchify,
    ("images",),
    form="f(images, patch); images (B, C, H, W) -> (B, N, P P C): patches in reading order, in each its pixels in "
    "reading order, in each its channels",
)
unpatchify = Family(
    "unpatchify",
    _unpatchify,
    ("tokens",),
    form="f(tokens, patch, height, width); tokens (B, N, P P C) -> (B, C, height, width)",
)


def _count(*shape):
    """Numbers that are all different, so that each can be found again."""
    return np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)


# Each law about order varies one order alone: with one pixel in a patch, or one channel, the other orders agree


def _patches(draw, patch, rows, columns, channels, batch=2):
    return {"images": _count(batch, channels, rows * patch, columns * patch), "patch": patch}


def _patch_order(draw):
    return _patches(draw, 1, integer(draw, 2, 3), integer(draw, 2, 3), 2)


def _pixel_order(draw):
    return _patches(draw, integer(draw, 2, 3), 1, 1, 1)


def _channel_order(draw):
    case = _patches(draw, 2, 1, 1, integer(draw, 2, 3))
    return {**case, "images": case["images"] + case["images"].swapaxes(2, 3)}  # rows and columns alike


def _grid(draw):
    return _patches(draw, 2, 1, integer(draw, 2, 3), 1)


def _size_one(draw):
    return _patches(draw, integer(draw, 1, 2), *(integer(draw, 1, 2) for _ in range(3)), integer(draw, 1, 2))


def _drawn(draw):
    shape = (2, integer(draw, 1, 2), 2 * integer(draw, 1, 2), 2 * integer(draw, 1, 3))
    return {"images": numbers(draw, shape), "patch": choose(draw, 2, 1)}


def _one_image(draw):
    rows, columns = integer(draw, 2, 3), integer(draw, 2, 3)
    return {"images": normals(draw, (1, 2, 2 * rows, 2 * columns)), "patch": 2}


def _anything(draw):
    patch = integer(draw, 1, 4)
    shape = (
        integer(draw, 1, 2),
        integer(draw, 1, 4),
        patch * integer(draw, 1, 3),
        patch * integer(draw, 1, 3),
    )
    return {"images": normals(draw, shape), "patch": patch}


def _of_tokens(of_images):
    """The same cases for unpatchify."""

    def inputs(draw):
        case = of_images(draw)
        height, width = case["images"].shape[2:]
        tokens = _patchify(_shuffled(draw, case["images"]), case["patch"])[0]
        return {"tokens": tokens, "patch": case["patch"], "height": height, "width": width}

    return inputs


def _shuffled(draw, images):
    return images * np.float32(choose(draw, 1, -1))


def _rearranged(split, order):
    """A mutant of patchify that reshapes to ``split`` and then transposes in another ``order``."""

    def mutant(images, patch):
        B, C, H, W = images.shape
        P = patch
        rows = H // patch
        columns = W // patch
        x = images.reshape([{"B": B, "C": C, "P": P, "h": rows, "w": columns}[axis] for axis in split])
        return x.transpose(order).reshape(B, rows * columns, P * P * C)

    return mutant


def _put_back(order, axes):
    """A mutant of unpatchify: tokens split into ``order``, then transposed by ``axes``."""

    def mutant(tokens, patch, height, width):
        B, _, features = tokens.shape
        P = patch
        rows = height // patch
        columns = width // patch
        by = {"B": B, "C": features // P**2, "P": P, "h": rows, "w": columns}
        return tokens.reshape([by[axis] for axis in order]).transpose(axes).reshape(B, by["C"], height, width)

    return mutant


def _blind_reshape(images, patch):
    """Rows of the image cut into pieces: right only if a patch is one pixel, or as wide as the image."""
    B, C, H, W = images.shape
    x = images.transpose(0, 2, 3, 1)
    return x.reshape(B, (H // patch) * (W // patch), patch * patch * C)


def _blind_reshape_back(tokens, patch, height, width):
    B, _, features = tokens.shape
    return tokens.reshape(B, height, width, features // patch**2).transpose(0, 3, 1, 2)


def _squares(f, case):
    """Each token holds the right pixels, in any order."""
    got = f(case)
    expected = f.right(case)
    if got.shape != expected.shape:
        raise Broken(f"The output has shape {got.shape}; {expected.shape} was expected.")
    if got.ndim == 4:  # images: look at their squares
        got, expected = (_patchify(images, case["patch"])[0] for images in (got, expected))
    compare(np.sort(got, axis=-1), np.sort(expected, axis=-1), what="The pixels of the tokens, sorted,")


for family, of, mutants in (
    (
        patchify,
        lambda inputs: inputs,
        {
            "patches": _rearranged("BChPwP", (0, 4, 2, 3, 5, 1)),
            "pixels": _rearranged("BChPwP", (0, 2, 4, 5, 3, 1)),
            "channels": _rearranged("BChPwP", (0, 2, 4, 1, 3, 5)),
            "grid": _blind_reshape,
        },
    ),
    (
        unpatchify,
        _of_tokens,
        {
            "patches": _put_back("BwhPPC", (0, 5, 2, 3, 1, 4)),
            "pixels": _put_back("BhwPPC", (0, 5, 1, 4, 2, 3)),
            "channels": _put_back("BhwCPP", (0, 3, 1, 4, 2, 5)),
            "grid": _blind_reshape_back,
        },
    ),
):
    family.agrees(
        "patches in reading order",
        "Token 0 is the upper left patch, token 1 the patch to its right, and so on, row by row.",
        inputs=of(_patch_order),
        equation=PATCHES,
        slide=VIT,
        hint="The row of the patch comes before its column: (..., rows, columns, ...) before the last reshape.",
        mutant=mutants["patches"],
    )
    family.agrees(
        "pixels in reading order",
        "A token holds the pixels of its patch row by row.",
        inputs=of(_pixel_order),
        equation=PATCHES,
        slide=VIT,
        hint="The row inside the patch comes before the column inside the patch.",
        mutant=mutants["pixels"],
    )
    family.agrees(
        "channels last",
        "In a token the channels of one pixel are neighbours.",
        inputs=of(_channel_order),
        equation=PATCHES,
        slide=VIT,
        hint="Red, green and blue of a pixel are neighbours in the token: C is the last axis there, although it comes before "
        "H and W in an image.",
        mutant=mutants["channels"],
    )
    family.law(
        "a token is a square",
        value=True,
        sentence="Each token holds the pixels of one square of the image, not a piece of its rows.",
        inputs=of(_grid),
        equation=PATCHES,
        slide="C/115-image-patches",
        hint="A reshape alone cuts rows into pieces. Split H into (rows, P) and W into (columns, P), bring the two P "
        "together with transpose, then reshape.",
        mutant=mutants["grid"],
    )(_squares)


def _first_only(right, args, options):
    out = right(*args, **options)[0]
    return out[0] if len(out) == 1 else out


for family, of in ((patchify, lambda inputs: inputs), (unpatchify, _of_tokens)):
    mutant = mutated(family.right, _first_only)
    hint = "A batch of one image is a batch too: its axis stays."
    every_family(family, inputs=of(_drawn), shapes=of(_size_one), wrong_shape=mutant, shape_hint=hint)


def _reshaped_back(right, args, options):
    """Backward by a reshape to the input's shape, without undoing the transpose."""
    out, _ = right(*args, **options)
    return out, lambda g: (g.reshape(args[0].shape),)


for family, name in ((patchify, "images"), (unpatchify, "tokens")):
    gradients(
        family,
        inputs=_drawn if family is patchify else _of_tokens(_drawn),
        equation={
            name: r"\langle g, \mathrm{patchify}(x) \rangle = \langle \mathrm{unpatchify}(g), x \rangle"
        },
        hints={name: "Forward only moves numbers: move each g back to the place that its number came from."},
        mutants={name: mutated(family.right, _reshaped_back)},
    )


def _three_channels(change):
    """A mutant that is wrong only for several patches of several pixels with three or more channels."""

    def mutant(right, args, options):
        patch = args[1]
        features = args[0].shape[1] * patch**2 if args[0].ndim == 4 else args[0].shape[2]
        pixels = args[0][0].size // features * patch**2
        odd = features // patch**2 > 2 and patch > 1 and pixels > patch**2
        return change(right, args) if odd else right(*args, **options)

    return mutant


def _in_front(right, args):
    """Right, except that the channels of a token come before its pixels."""
    if right is _patchify:
        return _rearranged("BChPwP", (0, 2, 4, 1, 3, 5))(*args), None
    return _put_back("BhwCPP", (0, 3, 1, 4, 2, 5))(*args), None


def _as_it_lies(right, args):
    out, _ = right(*args)
    return out, lambda g: (g.reshape(args[0].shape),)


WHOLE = "a batch of one, several channels, patches of several pixels, several rows and columns of patches"
for family, of, wrong in (
    (
        patchify,
        lambda inputs: inputs,
        {
            "cut without moving": _blind_reshape,
            "patches column by column": _rearranged("BChPwP", (0, 4, 2, 3, 5, 1)),
            "pixels column by column": _rearranged("BChPwP", (0, 2, 4, 5, 3, 1)),
            "channels in front": _rearranged("BChPwP", (0, 2, 4, 1, 3, 5)),
        },
    ),
    (
        unpatchify,
        _of_tokens,
        {
            "cut without moving": _blind_reshape_back,
            "patches column by column": _put_back("BwhPPC", (0, 5, 2, 3, 1, 4)),
            "pixels column by column": _put_back("BhwPPC", (0, 5, 1, 4, 2, 3)),
            "channels in front": _put_back("BhwCPP", (0, 3, 1, 4, 2, 5)),
        },
    ),
):
    values(
        family,
        simplest=of(_one_image),
        words="one image of two channels, patches of 2 x 2 pixels",
        anything=of(_anything),
        hint=f"Name each axis after the first reshape, and its place after the transpose. These inputs have {WHOLE}, all at "
        "once.",
        mutant=lambda *args, right=family.right: _three_channels(_in_front)(right, args, {})[0],
    )
    hints = {
        "cut without moving": "A reshape alone moves no number: it cuts the rows of the image into pieces. Split height "
        "and width, transpose, and only then reshape.",
        "patches column by column": "The patches come column by column. They should come row by row: the row of the patch "
        "before its column.",
        "pixels column by column": "In each patch the pixels come column by column. The row inside the patch comes before "
        "the column inside it.",
        "channels in front": "In a token all of channel 0 comes before all of channel 1. The channels of one pixel belong "
        "together: C is the last axis of a token.",
    }
    for name, answer in wrong.items():
        family.mistake(name, hints[name], answer)
    gradient_values(
        family,
        simplest=of(_one_image),
        words="one image of two channels, patches of 2 x 2 pixels",
        anything=of(_anything),
        hint="The backward pass moves each number back, for any number of channels and patches.",
        mutant=lambda *args, right=family.right: _three_channels(_as_it_lies)(right, args, {}),
    )
    family.mistake(
        "reshaped without moving back",
        "The gradient has the right shape, but its numbers are still in the order of the output. Undo the transpose too.",
        mutated(family.right, _reshaped_back),
        gradient=True,
    )
