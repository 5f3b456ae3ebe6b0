"""Lines of text for the boxes of a drawing, wrapped to the width of a box: names, classes, shapes, numbers of parameters.

Not here: the places of the boxes (flow_layout.py). All lengths are in inches.
"""

from dataclasses import dataclass
from functools import lru_cache

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

__all__ = []

SIZE = 9  # points; at least 8 when the drawing is shrunk to a page of 360 pixels with margins
PIECES = 0.07  # gap between the pieces of a line


@dataclass
class Line:
    """One line of a box: (text, bold, faint) pieces from the left, and a text at the right."""

    left: list
    right: str = ""
    strong: bool = False  # the text at the right


def numbers(count):
    """A number of parameters in few characters.

    Examples
    --------
    >>> [numbers(n) for n in (650, 1234, 999_950, 86_567_656, 0)]
    ['650', '1.2 K', '1.0 M', '86.6 M', '']
    """
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " K")):
        if count >= 0.9995 * size:
            return f"{count / size:.1f}{letter}" if count < 99.95 * size else f"{count / size:.0f}{letter}"
    return str(count) if count else ""


def titled(name, kind, right, room, strong=False):
    """Name and class on one line if there is room, otherwise on several; ``right`` ends the last line of the name."""
    kind = "" if kind == name else kind
    one = Line([(name, True, False), (kind, False, True)] if kind else [(name, True, False)], right, strong)
    if line_width(one) <= room:
        return [one]
    lines = wrapped(name, room, True)
    last = Line(lines[-1].left, right, strong)
    lines[-1:] = [last] if line_width(last) <= room else [lines[-1], Line([(right, strong, False)])]
    return lines + (wrapped(kind, room, faint=True) if kind else [])


def shape_lines(shapes, count, room):
    """Lines with the shapes, and the number of parameters at the right end of the last one."""
    lines = []
    for letters, shape in shapes[:3]:
        long = Line([(in_words(letters, shape), False, False)])
        fits = line_width(long) <= room - text_width(count) - 0.1
        lines += [long] if fits else wrapped(short_shape(shape, room), room)
    if len(shapes) > 3:
        lines.append(Line([(f"and {len(shapes) - 3} more", False, True)]))
    if not count:
        return lines
    last = Line(lines[-1].left, count) if lines else Line([], count)
    return [*lines[:-1], last] if line_width(last) <= room else [*lines, Line([], count)]


def in_words(letters, shape):
    """A shape with its letters, such as ``(B, N, D) = 1 × 17 × 64``."""
    lengths = " × ".join(map(str, shape)) or "1"
    return f"{letters} = {lengths}" if letters else lengths


def short_shape(shape, room):
    """A shape without letters; without spaces too if there is little room."""
    text = in_words("", shape)
    return text if text_width(text) <= room else text.replace(" ", "")


def wrapped(text, room, bold=False, faint=False):
    """A text on several lines, broken after spaces, dots, commas or underscores, or before a capital, if possible."""
    lines = []
    while text:
        end = len(text)
        while end > 1 and text_width(text[:end].strip(), bold) > room:
            words = [i + 1 for i in range(end - 1) if text[i].islower() and text[i + 1].isupper()]
            breaks = words + [i + 1 for i in range(end - 1) if text[i] in " ._,×"]
            end = max((i for i in breaks if i < end), default=end - 1)
        lines.append(Line([(text[:end].strip(), bold, faint)]))
        text = text[end:]
    return lines


def line_width(line):
    """Width of a line, with the gaps between its pieces."""
    pieces = [text_width(text, bold) for text, bold, _ in line.left]
    right = [text_width(line.right, line.strong) + 0.06] if line.right else []
    return sum(pieces + right) + PIECES * max(0, len(pieces + right) - 1)


@lru_cache(4096)
def text_width(text, bold=False):
    """Width of a text in the common font size."""
    renderer = _renderer()
    font = FontProperties(size=SIZE, weight="bold" if bold else "normal")
    return renderer.get_text_width_height_descent(text, font, ismath=False)[0] / 100 if text else 0.0


@lru_cache(1)
def _renderer():
    return FigureCanvasAgg(Figure(dpi=100)).get_renderer()
