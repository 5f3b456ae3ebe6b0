"""The laws of window_partition and window_reverse: the place of each token of a map in the windows.

Not here: the mask of shifted windows and their relative positions (shifted_windows.py), padding to whole windows.
"""

import numpy as np

from minivis.laws.judging.gradient_laws import gradients
from minivis.laws.judging.inputs import choose, integer, normals, numbers, sizes
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.mutants import mutated
from minivis.laws.judging.registry import Family
from minivis.laws.judging.value_laws import gradient_values, values

WINDOWS = (
    r"x \in \mathbb R^{B \times H \times W \times C} \to \mathbb R^{B\,HW/M^2 \times M \times M \times C}"
)
LOCAL = "A/44-windows-and-merging"


def _sides(window):
    return window if isinstance(window, tuple) else (window, window)


def _partition(x, window):
    (B, H, W, C) = x.shape
    (m, n) = _sides(window)
    out = x.reshape(B, H // m, m, W // n, n, C).transpose(0, 1, 3, 2, 4, 5)  # (B, H/m, W/n, m, n, C)
    return out.reshape(-1, m, n, C), lambda g: (_reverse(g, window, H, W)[0],)


def _reverse(windows, window, height, width):
    (m, n) = _sides(window)
    C = windows.shape[3]
    x = windows.reshape(-1, height // m, width // n, m, n, C).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(-1, height, width, C), lambda g: (_partition(g, window)[0],)


partition = Family(
    "window_partition",
    _partition,
    ("x",),
    form="f(x, window); x (B, H, W, C), window a number or (height, width) -> (B nW, height, width, C): the windows of "
    "each map in reading order",
)
reverse = Family(
    "window_reverse",
    _reverse,
    ("windows",),
    form="f(windows, window, height, width); windows (B nW, ...) as window_partition makes them -> (B, height, width, C)",
)


# Each law about order has one of these alone: several windows, several tokens in a window, several maps, long windows


def _maps(batch, height, width, channels, window):
    x = np.arange(1, 1 + batch * height * width * channels, dtype=np.float32)  # all different
    return {"x": x.reshape(batch, height, width, channels), "window": window}


def _many_windows(draw):
    return _maps(1, integer(draw, 2, 3), integer(draw, 2, 4), 2, 1)


def _one_window(draw):
    M = integer(draw, 2, 3)
    return _maps(1, M, M, 2, M)


def _side_by_side(draw):
    case = _maps(1, 2, 2 * integer(draw, 2, 3), 2, 2)
    case["x"][:, 1, 0::2] = case["x"][:, 0, 1::2]  # a window is the same with rows and columns exchanged
    return case


def _many_maps(draw):
    return _maps(integer(draw, 2, 3), 1, integer(draw, 2, 3), 2, 1)


def _long_windows(draw):
    n = integer(draw, 2, 3)
    return _maps(1, n, n, 2, (1, n))


def _any_size(draw):
    M = integer(draw, 1, 2)
    return _maps(
        integer(draw, 1, 2), M * integer(draw, 1, 2), M * integer(draw, 1, 2), integer(draw, 1, 2), M
    )


def _drawn(draw):
    M = choose(draw, 2, 1)
    return {"x": numbers(draw, (2, M * integer(draw, 1, 2), M * integer(draw, 1, 3), 2)), "window": M}


def _one_map(draw):
    return {"x": normals(draw, (1, 2 * integer(draw, 2, 3), 2 * integer(draw, 2, 3), 2)), "window": 2}


def _anything(draw):
    window = choose(draw, 2, (1, 2), (2, 1), 1, (2, 2), 3, (2, 3), (3, 2), (1, 4), (4, 1), (3, 4))
    B, rows, columns, C = sizes(draw, 4, 1, 3)
    m, n = _sides(window)
    return {"x": normals(draw, (B, m * rows, n * columns, C)), "window": window}


def _of_windows(of_maps):
    """The same cases for window_reverse."""

    def inputs(draw):
        case = of_maps(draw)
        _, height, width, _ = case["x"].shape
        windows = _partition(case["x"], case["window"])[0]
        return {"windows": windows, "window": case["window"], "height": height, "width": width}

    return inputs


def _cut(split, order):
    """A mutant of window_partition: the map reshaped to ``split``, transposed to ``order``, reshaped to windows."""

    def mutant(x, window):
        (B, H, W, C) = x.shape
        (m, n) = _sides(window)
        sizes = {"B": B, "h": H // m, "m": m, "w": W // n, "n": n, "C": C}
        x = x.reshape([sizes[axis] for axis in split])
        return x.transpose([split.index(axis) for axis in order]).reshape(-1, m, n, C)

    return mutant


def _put_back(split, order):
    """A mutant of window_reverse: the windows reshaped to ``split``, transposed to ``order``, reshaped to maps."""

    def mutant(windows, window, height, width):
        (m, n) = _sides(window)
        C = windows.shape[3]
        sizes = {"h": height // m, "m": m, "w": width // n, "n": n, "C": C}
        sizes["B"] = windows.shape[0] // (sizes["h"] * sizes["w"])
        x = windows.reshape([sizes[axis] for axis in split])
        return x.transpose([split.index(axis) for axis in order]).reshape(-1, height, width, C)

    return mutant


def _turned(right):
    """A mutant with the sides of the window exchanged."""

    def mutant(x, window, *size):
        m, n = _sides(window)
        out = right(x.reshape(-1, n, m, x.shape[3]) if size else x, (n, m), *size)[0]
        return out if size else out.reshape(-1, m, n, x.shape[3])

    return mutant


for family, of, mutants in (
    (
        partition,
        lambda inputs: inputs,
        {
            "windows": _cut("BhmwnC", "BwhmnC"),
            "tokens": _cut("BhmwnC", "BhwnmC"),
            "squares": lambda x, window: x.reshape(-1, *_sides(window), x.shape[3]),
            "maps": _cut("BhmwnC", "hwBmnC"),
            "sides": _turned(_partition),
        },
    ),
    (
        reverse,
        _of_windows,
        {
            "windows": _put_back("BwhmnC", "BhmwnC"),
            "tokens": _put_back("BhwnmC", "BhmwnC"),
            "squares": lambda windows, window, height, width: windows.reshape(
                -1, height, width, windows.shape[3]
            ),
            "maps": _put_back("hwBmnC", "BhmwnC"),
            "sides": _turned(_reverse),
        },
    ),
):
    family.agrees(
        "windows in reading order",
        "Window 0 is the upper left one, window 1 the one to its right, and so on, row by row.",
        inputs=of(_many_windows),
        equation=WINDOWS,
        slide=LOCAL,
        hint="The row of the window comes before its column: (..., rows, columns, ...) before the reshape that joins them.",
        mutant=mutants["windows"],
    )
    family.agrees(
        "tokens stay in order",
        "Inside a window the tokens have the same rows and columns as in the map.",
        value=False,  # there is one window: returning the input is right
        inputs=of(_one_window),
        equation=WINDOWS,
        slide=LOCAL,
        hint="Height comes before width inside the window too: do you exchange rows and columns of a window?",
        mutant=mutants["tokens"],
    )
    family.agrees(
        "a window is a square",
        "Each window holds a square of the map, not a piece of its rows.",
        inputs=of(_side_by_side),
        equation=WINDOWS,
        slide=LOCAL,
        hint="A reshape alone cuts rows into pieces. Split H into (rows, M) and W into (columns, M), bring the two M "
        "together with transpose, then reshape.",
        mutant=mutants["squares"],
    )
    family.agrees(
        "map after map",
        "All windows of the first map come before those of the second.",
        inputs=of(_many_maps),
        equation=WINDOWS,
        slide=LOCAL,
        hint="The first axis joins batch and windows, with the batch first. The mask, which is given for each window, relies "
        "on that order.",
        mutant=mutants["maps"],
    )
    family.agrees(
        "height and width of a window",
        "A window need not be square: its sides are (height, width).",
        inputs=of(_long_windows),
        equation=r"x \to \mathbb R^{B\,HW/(M_h M_w) \times M_h \times M_w \times C}",
        slide="",
        hint="H is split by the window's height and W by its width.",
        mutant=mutants["sides"],
    )
    shape_hint = "The output has four axes, also with one map, one window or one channel."
    every_family(
        family,
        inputs=of(_drawn),
        shapes=of(_any_size),
        wrong_shape=mutated(family.right, lambda right, a, o: _without_channels(right(*a, **o)[0])),
        shape_hint=shape_hint,
    )


def _without_channels(out):
    return out[..., 0] if out.shape[-1] == 1 else out


def _reshaped_back(right, args, options):
    """Backward by a reshape, without undoing the transpose."""
    out, _ = right(*args, **options)
    return out, lambda g: (g.reshape(args[0].shape),)


for family, name, pulled in ((partition, "x", "reverse"), (reverse, "windows", "partition")):
    gradients(
        family,
        inputs=_drawn if family is partition else _of_windows(_drawn),
        equation={name: rf"\bar x = \mathrm{{{pulled}}}(g)"},
        hints={name: "Forward only moves numbers: move each g back to the place that its number came from."},
        mutants={name: mutated(family.right, _reshaped_back)},
    )


def _several_maps(right, args, options):
    """Whether there are several maps, each with several rows of windows that are not square."""
    shape = args[0].shape if right is _partition else right(*args, **options)[0].shape
    m, n = _sides(args[1])
    return shape[0] > 1 and shape[1] > m and m != n


def _maps_mixed(right, args, options):
    out = right(*args, **options)[0]
    if not _several_maps(right, args, options):
        return out
    if right is _partition:
        return _cut("BhmwnC", "hwBmnC")(*args)
    return _put_back("hwBmnC", "BhmwnC")(*args)


def _mixed_back(right, args, options):
    out, vjp = right(*args, **options)
    if not _several_maps(right, args, options):
        return out, vjp
    return out, lambda g: (g.reshape(args[0].shape),)


HINTS = {
    "cut without moving": "A reshape alone moves no number: it cuts the rows of the map into pieces. Split height and "
    "width, transpose, and only then reshape.",
    "windows column by column": "The windows come column by column. They should come row by row: the row of the window "
    "before its column.",
    "windows turned over": "Inside each window you exchange rows and columns: height comes before width there too.",
    "maps inside windows": "The first axis begins with the first window of every map. It should begin with all windows of "
    "the first map: the batch comes first.",
    "sides of the window exchanged": "A window is (height, width): the rows of the map are split by its height, the columns "
    "by its width.",
}
for family, of, answers in (
    (
        partition,
        lambda inputs: inputs,
        [
            lambda x, window: x.reshape(-1, *_sides(window), x.shape[3]),
            _cut("BhmwnC", "BwhmnC"),
            _cut("BhmwnC", "BhwnmC"),
            _cut("BhmwnC", "hwBmnC"),
            _turned(_partition),
        ],
    ),
    (
        reverse,
        _of_windows,
        [
            lambda windows, window, height, width: windows.reshape(-1, height, width, windows.shape[3]),
            _put_back("BwhmnC", "BhmwnC"),
            _put_back("BhwnmC", "BhmwnC"),
            _put_back("hwBmnC", "BhmwnC"),
            _turned(_reverse),
        ],
    ),
):
    plain = {
        "simplest": of(_one_map),
        "words": "one map of two channels, windows of 2 x 2",
        "anything": of(_anything),
        "hint": "Name each axis after the first reshape, and its place after the transpose. These inputs have several maps, "
        "several rows and columns of windows, and windows that are not square, all at once.",
    }
    values(family, **plain, mutant=mutated(family.right, _maps_mixed))
    for (name, hint), answer in zip(HINTS.items(), answers, strict=True):
        family.mistake(name, hint, answer)
    gradient_values(family, **plain, mutant=mutated(family.right, _mixed_back))
    family.mistake(
        "reshaped without moving back",
        "The gradient has the right shape, but its numbers are still in the order of the output. Undo the transpose too.",
        mutated(family.right, _reshaped_back),
        gradient=True,
    )
