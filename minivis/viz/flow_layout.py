"""The places of the boxes of a diagram: one column as wide as a phone, rows from top to bottom, and lanes at the right for
arrows that pass rows.

Not here: the diagram (data_flow.py), its rows (flow_rows.py), colours and lines (model_drawing.py). All lengths are in
inches.
"""

from dataclasses import dataclass, field

from minivis.viz.box_text import (
    Line,
    in_words,
    line_width,
    numbers,
    shape_lines,
    short_shape,
    text_width,
    titled,
    wrapped,
)
from minivis.viz.flow_rows import from_the_side, in_order, lanes_of, rows_of, spans_of

__all__ = []

LINE, PAD = 0.165, 0.07  # height of a line of text; gap between a text and its frame
GAP, WORD_GAP = 0.2, 0.3  # gap between rows without and with ops written at an arrow
COLUMN_GAP = 0.1
LANE = 0.13
JOIN = 0.2  # height of a join
REACH = 0.16  # length of an arrow from the side
STACK = 0.045  # offset of each card of a pile


@dataclass
class Box:
    """A part with its place: left, top, width, height; y grows downward from the top of its diagram."""

    part: object
    w: float
    lines: list = field(default_factory=list)
    inner: object = None
    left_pill: object = None  # values that enter from the side: Pills
    right_pill: object = None
    row: int = 0
    x: float = 0.0
    y: float = 0.0
    h: float = 0.0
    head: float = 0.0  # height of the lines

    @property
    def centre(self):
        """x of its middle; for a pile, of the whole pile."""
        return self.x + (self.w + self.pile) / 2

    @property
    def pile(self):
        """Width of the cards that are visible behind it."""
        return 2 * STACK if self.part.times > 1 else 0.0

    @property
    def bottom(self):
        """y of its lower edge; for a pile, of the lowest card."""
        return self.y + self.h + self.pile


@dataclass
class Pill:
    """A small box of values that enter from the side."""

    parts: list
    lines: list
    w: float
    h: float
    x: float = 0.0
    y: float = 0.0


@dataclass
class Route:
    """An arrow between neighbouring rows, or along a lane (its x), with the ops that are written beside it."""

    start: object
    end: object
    words: str
    lane: float | None = None
    back: bool = False


@dataclass
class Frame:
    """A container: its lines of text, left, top, width, height."""

    path: str
    lines: list
    x: float
    y: float
    w: float
    h: float


@dataclass
class Layout:
    """All boxes, arrows and frames of a diagram, and its width and height."""

    boxes: dict
    routes: list
    frames: list
    w: float
    h: float


def arrange(diagram, width, plain_shape=None):
    """Give every part of a diagram a place.

    Parameters
    ----------
    diagram : Diagram
        The parts and arrows.
    width : float
        Width of the whole diagram.
    plain_shape : tuple, optional
        A shape that is not written: inside a block, the shape of the block's result.

    Returns
    -------
    Layout
    """
    return _Arranger(diagram, plain_shape).layout(width)


class _Arranger:
    """The steps from a diagram to a layout."""

    def __init__(self, diagram, plain_shape):
        self.diagram = diagram
        self.plain_shape = plain_shape
        self.side = from_the_side(diagram)
        self.arrows = [a for a in diagram.arrows if a.start not in self.side and a.start != a.end]
        order, self.back = in_order(
            [part for part in diagram.parts if part.key not in self.side], self.arrows
        )
        self.rows = rows_of(order, [a for a in self.arrows if a not in self.back], self._least_width)
        row_of = {part.key: r for r, row in enumerate(self.rows) for part in row}
        self.far = [a for a in self.arrows if a in self.back or row_of[a.end] - row_of[a.start] != 1]
        self.lanes, self.lane_count = lanes_of(self.far, row_of)
        self.spans = spans_of(diagram, self.rows)
        self.boxes = {}
        self.frames = {}

    def _least_width(self, part):
        """The width of a join and the names beside it."""
        beside = self._beside(part)
        names = [text_width(other.name) + 2 * PAD + REACH for other in beside]
        return max(names) + text_width(part.name) + 0.2 if part.role == "join" and names else 0.0

    def _beside(self, part):
        """The parts that enter a part from the side."""
        starts = {a.start for a in self.diagram.arrows if a.end == part.key and a.start in self.side}
        return [other for other in self.diagram.parts if other.key in starts]

    def layout(self, width):
        """The layout of the whole diagram."""
        self.room = width - (self.lane_count * LANE + 0.05 if self.lane_count else 0)
        for r, row in enumerate(self.rows):
            self._fill(row, r)
        height = self._place_rows()
        routes = [
            Route(
                self.boxes[a.start],
                self.boxes[a.end],
                ", ".join(dict.fromkeys(a.ops[-2:])),
                self.room + 0.1 + self.lanes[a] * LANE if a in self.lanes else None,
                a in self.back,
            )
            for a in self.arrows
        ]
        return Layout(self.boxes, routes, list(self.frames.values()), width, height)

    def _fill(self, row, r):
        """Place the boxes of one row side by side, in the order of the boxes that lead to them."""

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
        """Add pills for values from the side: learned values on the left, others on the right; all on the left of a join."""
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

    def _place_rows(self):
        """Place the rows one under another; returns the total height."""
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


def _write(box, plain_shape):
    """Set the lines and the height of a box; if it is opened, also the layout of its inside."""
    part = box.part
    nested = plain_shape is not None
    if part.role == "join":
        _write_join(box)
        return
    if part.role == "input" and nested or part.role == "output" and not part.name:
        return  # an input or output of a block is its frame: no height
    room = box.w - 2 * PAD
    box.lines = _end_lines(part, room) if part.role != "stage" else _stage_lines(part, plain_shape, room)
    box.h = box.head = len(box.lines) * LINE + 2 * PAD * 0.7
    if part.inside:
        box.inner = arrange(part.inside, room, part.shapes[0][1] if part.shapes else ())
        box.h += box.inner.h
    widest = max(line_width(line) for line in box.lines) + 2 * PAD
    if part.role != "stage" and widest < box.w:
        box.x += (box.w - widest) / 2
        box.w = widest


def _write_join(box):
    """Set the text and the size of a join: a sign in a circle, or a word."""
    name = box.part.name
    box.lines = [Line([(name, len(name) == 1, False)])]
    w = JOIN if len(name) == 1 else text_width(name) + 0.2
    box.x += (box.w - w) / 2
    box.w = w
    box.h = JOIN


def _stage_lines(part, plain_shape, room):
    """Name, class and repetitions; then shape and parameters. Without a shape, everything is on one line."""
    tag = f"× {part.times}" if part.times > 1 else ""
    tag = f"{part.times} side by side" if part.beside else tag
    count = (
        f"{part.times} × {numbers(part.each)}" if part.times > 1 and part.each else numbers(part.parameters)
    )
    shapes = [(letters, shape) for letters, shape in part.shapes if shape != plain_shape]
    if shapes or part.inside:
        lines = titled(part.name, part.kind, tag, room, strong=True) + shape_lines(shapes, count, room)
    else:
        lines = titled(part.name, part.kind, " ".join(filter(None, (tag, count))), room)
    return lines + ([Line([(f"called {part.calls} times", False, True)])] if part.calls > 1 else [])


def _end_lines(part, room):
    """An input or output: its name, its shape."""
    shape = in_words(*part.shapes[0]) if part.shapes else ""
    both = Line([(part.name, True, False), (shape, False, False)])
    if line_width(both) <= room:
        return [both]
    return [*wrapped(part.name, room, True), *shape_lines(part.shapes, "", room)]


def _pill(parts, room):
    """The pill of values that enter from one side, each on one line if there is room."""
    lines = []
    for part in parts:
        # a position code that was called twice may have two shapes
        shape = part.shapes[0][1] if part.shapes and part.calls == 1 else None
        text = "" if shape is None else in_words("", shape)
        one = Line([(part.name, False, False), (text, False, True)])
        short = "" if shape is None else short_shape(shape, room - 2 * PAD)
        two = [*wrapped(part.name, room - 2 * PAD), *wrapped(short, room - 2 * PAD, faint=True)]
        lines += [one] if line_width(one) <= room - 2 * PAD else two
    w = max(line_width(line) for line in lines) + 2 * PAD
    return Pill(parts, lines, w, len(lines) * LINE + PAD)


def _hang(box, y):
    """Place the pills above a box, left and right of the arrow in the middle."""
    if box.part.role == "join":
        return
    for pill, side in ((box.left_pill, -1), (box.right_pill, 1)):
        if pill:
            pill.y = y
            pill.x = box.centre + side * (0.1 + pill.w / 2) - pill.w / 2


def _put(box, y):
    """Place a box at its height; the pill of a join is beside it, with its middle at the same height."""
    pill = box.left_pill if box.part.role == "join" else None
    box.y = y + (max(0.0, pill.h - box.h) / 2 if pill else 0.0)
    if pill:
        pill.y = box.y + (box.h - pill.h) / 2
        pill.x = box.x - REACH - pill.w
