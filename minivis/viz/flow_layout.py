"""Where the boxes of a diagram stand: one column as wide as a phone, rows from top to bottom, lanes at the right for arrows
that pass rows.

Not here: what is in the diagram (data_flow.py), colours and strokes (model_drawing.py). All lengths are in inches.
"""

from dataclasses import dataclass, field
from functools import lru_cache

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

__all__ = []

SIZE = 9  # points: on a page of 360 pixels with margins still 8
LINE, PAD = 0.165, 0.07  # height of a line of text; between a text and its frame
GAP, WORD_GAP = 0.2, 0.3  # between rows; where ops are written at an arrow
COLUMN_GAP = 0.1
LANE = 0.13
JOIN = 0.2  # height of a join
NARROW = 2.6  # that much of the width is there in any case
REACH = 0.16  # length of an arrow from the side
STACK = 0.045  # by how much each card of a pile sticks out


@dataclass
class Line:
    """One line of a box: (text, bold, faint) pieces from the left, and a text at the right."""

    left: list
    right: str = ""
    strong: bool = False  # the text at the right


@dataclass
class Box:
    """A part with its place: left, top, width, height; y grows downward from the top of its diagram."""

    part: object
    w: float
    lines: list = field(default_factory=list)
    inner: object = None
    left_pill: object = None  # values from the side: Pills
    right_pill: object = None
    row: int = 0
    x: float = 0.0
    y: float = 0.0
    h: float = 0.0
    head: float = 0.0  # height of the lines

    @property
    def centre(self):
        """x of its middle; of a pile, of the whole pile."""
        return self.x + (self.w + self.pile) / 2

    @property
    def pile(self):
        """By how much the cards behind it stick out."""
        return 2 * STACK if self.part.times > 1 else 0.0

    @property
    def bottom(self):
        """y of its lower edge; of a pile, of the lowest card."""
        return self.y + self.h + self.pile


@dataclass
class Pill:
    """A small box of values that come from the side."""

    parts: list
    lines: list
    w: float
    h: float
    x: float = 0.0
    y: float = 0.0


@dataclass
class Route:
    """An arrow: between neighbouring rows, or along a lane (its x), with the ops that are written at it."""

    start: object
    end: object
    words: str
    lane: float | None = None
    back: bool = False


@dataclass
class Frame:
    """A container: the lines at its top, left, top, width, height."""

    path: str
    lines: list
    x: float
    y: float
    w: float
    h: float


@dataclass
class Layout:
    """All boxes, arrows and frames of a diagram, and how much room they take."""

    boxes: dict
    routes: list
    frames: list
    w: float
    h: float


def numbers(count):
    """A number of parameters in few letters.

    Examples
    --------
    >>> [numbers(n) for n in (650, 1234, 999_950, 86_567_656, 0)]
    ['650', '1.2 K', '1.0 M', '86.6 M', '']
    """
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " K")):
        if count >= 0.99995 * size:
            return f"{count / size:.1f}{letter}" if count < 99.95 * size else f"{count / size:.0f}{letter}"
    return str(count) if count else ""


def arrange(diagram, width, plain_shape=None):
    """Give every part of a diagram a place.

    Parameters
    ----------
    diagram : Diagram
        What is drawn.
    width : float
        Of the whole.
    plain_shape : tuple, optional
        A shape that need not be written: inside a block, that of the block.

    Returns
    -------
    Layout
    """
    return _Arranger(diagram, plain_shape).layout(width)


class _Arranger:
    """The steps on the way from a diagram to a layout."""

    def __init__(self, diagram, plain_shape):
        self.diagram = diagram
        self.plain_shape = plain_shape
        self.side = _from_the_side(diagram)
        self.arrows = [a for a in diagram.arrows if a.start not in self.side and a.start != a.end]
        order, self.back = _sorted([part for part in diagram.parts if part.key not in self.side], self.arrows)
        self.rows = _rows(order, [a for a in self.arrows if a not in self.back], self._least_width)
        row_of = {part.key: r for r, row in enumerate(self.rows) for part in row}
        self.far = [a for a in self.arrows if a in self.back or row_of[a.end] - row_of[a.start] != 1]
        self.lanes, self.lane_count = _lanes(self.far, row_of)
        self.spans = _frames(diagram, self.rows)
        self.boxes = {}
        self.frames = {}

    def _least_width(self, part):
        """What a join and the names beside it take."""
        beside = self._beside(part)
        names = [text_width(other.name) + 2 * PAD + REACH for other in beside]
        return max(names) + text_width(part.name) + 0.2 if part.role == "join" and names else 0.0

    def _beside(self, part):
        """The parts that come to a part from the side."""
        starts = {a.start for a in self.diagram.arrows if a.end == part.key and a.start in self.side}
        return [other for other in self.diagram.parts if other.key in starts]

    def layout(self, width):
        """All of it."""
        self.room = width - (self.lane_count * LANE + 0.05 if self.lane_count else 0)
        for r, row in enumerate(self.rows):
            self._fill(row, r)
        height = self._stand()
        routes = [
            Route(
                self.boxes[a.start],
                self.boxes[a.end],
                ", ".join(a.ops[-2:]),
                self.room + 0.1 + self.lanes[a] * LANE if a in self.lanes else None,
                a in self.back,
            )
            for a in self.arrows
        ]
        return Layout(self.boxes, routes, list(self.frames.values()), width, height)

    def _fill(self, row, r):
        """Boxes of one row side by side, ordered as what leads to them."""

        def wish(part):
            starts = [a.start for a in self.arrows if a.end == part.key and a.start in self.boxes]
            return sum(self.boxes[key].centre for key in starts) / len(starts) if starts else 0.0

        inset = PAD * sum(first <= r <= last for first, last in self.spans.values())
        w = (self.room - 2 * inset - COLUMN_GAP * (len(row) - 1)) / len(row)
        for i, part in enumerate(sorted(row, key=wish)):
            box = Box(part, w, row=r, x=inset + i * (w + COLUMN_GAP))
            box.w -= box.pile
            _write(box, self.plain_shape)
            self._add_pills(box, w)
            self.boxes[part.key] = box

    def _add_pills(self, box, column):
        """Pills for what comes from the side: learned values left, others right; all left of a join."""
        parts = self._beside(box.part)
        if not parts:
            return
        if box.part.role == "join":
            left = box.centre - column / 2
            words = max(text_width(part.name) for part in parts) + 2 * PAD
            room = max(box.x - left - REACH, min(words, column - box.w - REACH))
            pill = box.left_pill = _pill(parts, room)
            box.x = max(box.x, left + pill.w + REACH)
            return
        learned = [part for part in parts if part.role == "learned"]
        others = [part for part in parts if part.role != "learned"]
        box.left_pill = _pill(learned, box.w / 2 - 0.1) if learned else None
        box.right_pill = _pill(others, box.w / 2 - 0.1) if others else None

    def _stand(self):
        """Let the rows stand one under another; returns the height of all."""
        y = 0.0
        for r, row in enumerate(self.rows):
            here = [self.boxes[part.key] for part in row]
            words = any(a.ops for a in self.arrows if a not in self.far and self.boxes[a.end].row == r)
            y += 0.0 if r == 0 else WORD_GAP if words else GAP
            for path in [path for path, (first, _) in self.spans.items() if first == r]:
                y = self._open_frame(path, y, r)
            pills = [
                p for box in here if box.part.role != "join" for p in (box.left_pill, box.right_pill) if p
            ]
            for box in here:
                _hang(box, y)
            y += max(pill.h for pill in pills) + 0.9 * GAP if pills else 0.0
            for box in here:
                _put(box, y)
            y = max(
                [box.bottom for box in here] + [b.left_pill.y + b.left_pill.h for b in here if b.left_pill]
            )
            for path in [path for path, (_, last) in reversed(self.spans.items()) if last == r]:
                y += PAD
                self.frames[path].h = y - self.frames[path].y
        return y

    def _open_frame(self, path, y, r):
        name, kind, count = self.diagram.frames[path]
        around = [span for other, span in self.spans.items() if path.startswith(f"{other}.")]
        inset = PAD * len(around)
        lines = titled(name, kind, numbers(count), self.room - 2 * inset - 2 * PAD)
        self.frames[path] = Frame(path, lines, inset, y, self.room - 2 * inset, 0.0)
        return y + len(lines) * LINE + PAD + (GAP if r else 0.08)


def _from_the_side(diagram):
    """Keys of what is no row of its own: learned values, masks, constants, and inside a block all inputs but the first."""
    reached = {a.end for a in diagram.arrows}
    nested = all(part.name == "" for part in diagram.parts if part.role == "output")
    inputs = [part.key for part in diagram.parts if part.role == "input"]
    found = {part.key for part in diagram.parts if part.role in ("learned", "made")}
    found |= {p.key for p in diagram.parts if p.role == "stage" and p.key not in reached and not p.parameters}
    found |= set(inputs[1:]) if nested else set()
    # a value that nothing else leads to is the beginning of a column
    return {
        key for key in found if all(_others(diagram, a.end, found) for a in diagram.arrows if a.start == key)
    }


def _others(diagram, end, side):
    return any(a.end == end and a.start not in side for a in diagram.arrows)


def _sorted(parts, arrows):
    """Parts such that arrows point forward, those of a container together, and the arrows that close a circle.

    Kahn's method; of what is ready, first what is in the container of the part before.
    """
    waiting = list(parts)
    back = []
    found = []
    while waiting:
        open_keys = {part.key for part in waiting}
        into = {a.end for a in arrows if a.start in open_keys and a.end in open_keys and a not in back}
        ready = [part for part in waiting if part.key not in into]
        if not ready:
            ready = waiting[:1]
            back += [a for a in arrows if a.end == ready[0].key and a.start in open_keys]
        frames = found[-1].frames if found else ()
        chosen = max(ready, key=lambda part: _depth_in_common(part.frames, frames))  # the first of several
        waiting.remove(chosen)
        found.append(chosen)
    return found, back


def _depth_in_common(first, second):
    return sum(a == b for a, b in zip(first, second, strict=False))


def _rows(order, arrows, least_width):
    """Parts in rows: side by side stand ends, layers that read the same, and layers of one kind that need not wait."""
    rows = []
    row_of = {}
    for part in order:
        starts = {a.start for a in arrows if a.end == part.key}
        earliest = 1 + max((row_of[start] for start in starts), default=-1)
        free = [r for r in range(earliest, len(rows)) if _fits(part, rows[r], least_width)]
        siblings = {a.end for a in arrows if a.start in starts}
        beside = [r for r in free if r == len(rows) - 1 and any(other.key in siblings for other in rows[r])]
        beside += [r for r in free if all(_same_kind(part, other) for other in rows[r])]
        if not beside:
            rows.append([])
        row_of[part.key] = beside[0] if beside else len(rows) - 1
        rows[row_of[part.key]].append(part)
    return rows


def _fits(part, row, least_width):
    """Whether a row has room for one more, and is in the same containers."""
    columns = len(row) + 1
    if columns > 3 or columns * max(map(least_width, [part, *row])) > NARROW:
        return False
    ends = ("input", "output")
    return not any(
        other.inside
        or part.inside
        or other.frames != part.frames
        or (other.role in ends) != (part.role in ends)
        for other in row
    )


def _same_kind(part, other):
    return part.role == other.role and (
        part.kind == other.kind if part.kind else part.role != "join" or part.name == other.name
    )


def _lanes(far, row_of):
    """A lane for each target that arrows reach past other rows: the shorter, the further inside. Also how many."""
    spans = {}
    for a in far:
        low, high = sorted((row_of[a.start], row_of[a.end]))
        before = spans.get(a.end, (low, high))
        spans[a.end] = (min(low, before[0]), max(high, before[1]))
    taken = []
    lane_of = {}
    for end, (low, high) in sorted(spans.items(), key=lambda item: item[1][1] - item[1][0]):
        lane = next((i for i, used in enumerate(taken) if all(high <= a or b <= low for a, b in used)), None)
        if lane is None:
            lane = len(taken)
            taken.append([])
        taken[lane].append((low, high))
        lane_of[end] = lane
    return {a: lane_of[a.end] for a in far}, len(taken)


def _frames(diagram, rows):
    """For each container that holds nothing foreign between its rows: its first and last row, outer ones first."""
    found = {}
    for path in sorted(diagram.frames, key=len):
        held = [r for r, row in enumerate(rows) if any(path in part.frames for part in row)]
        within = [part for row in rows[held[0] : held[-1] + 1] for part in row] if held else []
        if len(within) > 1 and all(path in part.frames or part.role == "join" for part in within):
            found[path] = (held[0], held[-1])
    return found


def _write(box, plain_shape):
    """The lines of a box, and its height; of an opened one also what is inside."""
    part = box.part
    inside = box.w - 2 * PAD
    if part.role == "join":
        sign = len(part.name) == 1
        box.lines = [Line([(part.name, sign, False)])]
        w = JOIN if sign else text_width(part.name) + 0.2
        box.x += (box.w - w) / 2
        box.w = w
        box.h = JOIN
        return
    if (
        part.role in ("input", "output")
        and part.name == ""
        or part.role == "input"
        and plain_shape is not None
    ):
        box.h = 0.0  # an end of a block: its frame
        return
    tag = f"× {part.times}" if part.times > 1 else ""
    if part.beside:
        tag = f"{part.times} side by side"
    count = numbers(part.parameters)
    shapes = [(letters, shape) for letters, shape in part.shapes if shape != plain_shape]
    if part.times > 1 and part.each:
        count = f"{part.times} × {numbers(part.each)}"
    if part.inside:
        shape = part.shapes[0][1] if part.shapes else ()
        box.inner = arrange(part.inside, box.w - 2 * PAD, shape)
    if part.role in ("input", "output"):
        box.lines = _end_lines(part, inside)
    elif shapes or part.inside:
        box.lines = titled(part.name, part.kind, tag, inside, strong=True) + shape_lines(
            shapes, count, inside
        )
    else:
        box.lines = titled(part.name, part.kind, " ".join(filter(None, (tag, count))), inside)
    if part.calls > 1:
        box.lines.append(Line([(f"called {part.calls} times", False, True)]))
    box.h = box.head = len(box.lines) * LINE + 2 * PAD * 0.7
    if box.inner:
        box.h += box.inner.h
    widest = max(line_width(line) for line in box.lines) + 2 * PAD
    if part.role in ("input", "output") and widest < box.w:
        box.x += (box.w - widest) / 2
        box.w = widest


def _end_lines(part, room):
    """An input or output: its name, its shape."""
    shape = in_words(*part.shapes[0]) if part.shapes else ""
    both = Line([(part.name, True, False), (shape, False, False)])
    if line_width(both) <= room:
        return [both]
    return [*_wrapped(part.name, room, True), *shape_lines(part.shapes, "", room)]


def titled(name, kind, right, room, strong=False):
    """Name and class on one line, or on two, or on as many as it takes."""
    one = Line([(name, True, False), (kind, False, True)], right, strong)
    if kind == name or not kind:
        one = Line([(name, True, False)], right, strong)
    if line_width(one) <= room:
        return [one]
    first = Line([(name, True, False)], right, strong)
    if line_width(first) <= room:
        return [first, *(_wrapped(kind, room, faint=True) if kind else [])]
    lines = [
        *_wrapped(name, room, True),
        *(_wrapped(kind, room, faint=True) if kind and kind != name else []),
    ]
    last = Line(lines[-1].left, right, strong)
    return [*lines[:-1], last] if line_width(last) <= room else [*lines, Line([(right, strong, False)])]


def shape_lines(shapes, count, room):
    """Shapes, and the number of parameters at the right of the last."""
    lines = []
    for letters, shape in shapes[:3]:
        long = Line([(in_words(letters, shape), False, False)])
        fits = line_width(long) <= room - text_width(count) - 0.1
        lines += [long] if fits else _wrapped(_short(shape, room), room)
    if len(shapes) > 3:
        lines.append(Line([(f"and {len(shapes) - 3} more", False, True)]))
    if not count:
        return lines
    last = Line(lines[-1].left, count) if lines else Line([], count)
    return [*lines[:-1], last] if line_width(last) <= room else [*lines, Line([], count)]


def in_words(letters, shape):
    """A shape as it is written: ``(B, N, D) = 1 × 17 × 64``."""
    lengths = " × ".join(map(str, shape)) or "1"
    return f"{letters} = {lengths}" if letters else lengths


def _short(shape, room):
    """A shape without letters, and without spaces where there is little room."""
    text = in_words("", shape)
    return text if text_width(text) <= room else text.replace(" ", "")


def _wrapped(text, room, bold=False, faint=False):
    """A text on as many lines as it takes, broken after a space, dot, comma or underscore where there is one."""
    lines = []
    while text:
        end = len(text)
        while end > 1 and text_width(text[:end].strip(), bold) > room:
            breaks = [i + 1 for i in range(end - 1) if text[i] in " ._,×"]
            end = max((i for i in breaks if i < end), default=end - 1)
        lines.append(Line([(text[:end].strip(), bold, faint)]))
        text = text[end:]
    return lines


def line_width(line):
    """How wide a line is, with room between its pieces."""
    pieces = [text_width(text, bold) for text, bold, _ in line.left]
    right = [text_width(line.right, line.strong) + 0.06] if line.right else []
    return sum(pieces + right) + 0.07 * max(0, len(pieces + right) - 1)


@lru_cache(4096)
def text_width(text, bold=False):
    """Width of a text in the size of all texts."""
    renderer = _renderer()
    font = FontProperties(size=SIZE, weight="bold" if bold else "normal")
    return renderer.get_text_width_height_descent(text, font, ismath=False)[0] / 100 if text else 0.0


@lru_cache(1)
def _renderer():
    return FigureCanvasAgg(Figure(dpi=100)).get_renderer()


def _pill(parts, room):
    """The values that come from one side, each on one line where there is room."""
    lines = []
    for part in parts:
        shape = in_words("", part.shapes[0][1]) if part.shapes else ""
        one = Line([(part.name, False, False), (shape, False, True)])
        short = _short(part.shapes[0][1], room - 2 * PAD) if part.shapes else ""
        two = [*_wrapped(part.name, room - 2 * PAD), *_wrapped(short, room - 2 * PAD, faint=True)]
        lines += [one] if line_width(one) <= room - 2 * PAD else two
    w = max(line_width(line) for line in lines) + 2 * PAD
    return Pill(parts, lines, w, len(lines) * LINE + PAD)


def _hang(box, y):
    """The pills above a box, left and right of the arrow in the middle."""
    if box.part.role == "join":
        return
    for pill, side in ((box.left_pill, -1), (box.right_pill, 1)):
        if pill:
            pill.y = y
            pill.x = box.centre + side * (0.1 + pill.w / 2) - pill.w / 2


def _put(box, y):
    """A box at its height; beside a join its pill, whose middle is at the same height."""
    pill = box.left_pill if box.part.role == "join" else None
    box.y = y + (max(0.0, pill.h - box.h) / 2 if pill else 0.0)
    if pill:
        pill.y = box.y + (box.h - pill.h) / 2
        pill.x = box.x - REACH - pill.w
