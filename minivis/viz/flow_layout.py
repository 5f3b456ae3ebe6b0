"""Where the boxes of a diagram stand: one column as wide as a phone, rows from top to bottom, lanes at the right for arrows
that pass rows.

Not here: what is in the diagram (data_flow.py), colours and strokes (architecture.py). All lengths are in inches.
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
    footer: list = field(default_factory=list)
    inner: object = None
    left_pill: object = None  # values from the side: Pills
    right_pill: object = None
    row: int = 0
    x: float = 0.0
    y: float = 0.0
    h: float = 0.0

    @property
    def centre(self):
        """x of its middle."""
        return self.x + self.w / 2

    @property
    def bottom(self):
        """y of its lower edge."""
        return self.y + self.h


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
    side = _from_the_side(diagram)
    main = [part for part in diagram.parts if part.key not in side]
    arrows = [a for a in diagram.arrows if a.start not in side and a.start != a.end]
    order, back = _sorted(main, arrows)
    rows = _rows(order, [a for a in arrows if a not in back], diagram.frames)
    row_of = {part.key: r for r, row in enumerate(rows) for part in row}
    far = [a for a in arrows if a in back or row_of[a.end] - row_of[a.start] != 1]
    lanes, count = _lanes(far, row_of)
    room = width - (count * LANE + 0.05 if count else 0)
    frames = _frames(diagram, rows)
    boxes = {}
    for r, row in enumerate(rows):
        inset = PAD * sum(first <= r <= last for first, last in frames.values())
        _fill_row(boxes, row, inset, room - 2 * inset, r, plain_shape, arrows)
    _add_pills(boxes, diagram, side)
    placed, height = _stand(boxes, rows, arrows, far, frames, diagram, room)
    routes = [
        Route(boxes[a.start], boxes[a.end], ", ".join(a.ops[-2:]), _lane_x(lanes.get(a), room), a in back)
        for a in arrows
    ]
    return Layout(boxes, routes, placed, width, height)


def _from_the_side(diagram):
    """Keys of what is no row of its own: learned values, masks, constants, and inside a block all inputs but the first."""
    reached = {a.end for a in diagram.arrows}
    nested = all(part.name == "" for part in diagram.parts if part.role == "output")
    inputs = [part.key for part in diagram.parts if part.role == "input"]
    found = {part.key for part in diagram.parts if part.role in ("learned", "made")}
    found |= {p.key for p in diagram.parts if p.role == "stage" and p.key not in reached and not p.parameters}
    found |= set(inputs[1:]) if nested else set()
    # a value that nothing else leads to is the beginning of a column
    return {key for key in found if all(_others(diagram, a.end, found) for a in diagram.arrows if a.start == key)}


def _others(diagram, end, side):
    return any(a.end == end and a.start not in side for a in diagram.arrows)


def _sorted(parts, arrows):
    """Parts such that arrows point forward, and the arrows that cannot, since they close a circle (Kahn's method)."""
    waiting = list(parts)
    back = []
    found = []
    while waiting:
        open_keys = {part.key for part in waiting}
        into = {a.end for a in arrows if a.start in open_keys and a.end in open_keys and a not in back}
        ready = next((part for part in waiting if part.key not in into), None)
        if ready is None:
            ready = waiting[0]
            back += [a for a in arrows if a.end == ready.key and a.start in open_keys]
        waiting.remove(ready)
        found.append(ready)
    return found, back


def _rows(order, arrows, frames):
    """Parts in rows: each below all that it needs, what feeds one container alone close to it, large ones alone."""
    level = {}
    for part in order:
        level[part.key] = max((level[a.start] + 1 for a in arrows if a.end == part.key), default=0)
    by_key = {part.key: part for part in order}
    for part in reversed(order):  # a layer of a container that was fed from outside moves down to where it is needed
        ends = [a.end for a in arrows if a.start == part.key]
        starts = [a.start for a in arrows if a.end == part.key]
        same = all(by_key[end].frames == part.frames for end in ends)
        if part.frames and ends and same and all(by_key[s].frames != part.frames for s in starts):
            level[part.key] = min(level[end] for end in ends) - 1
        if part.role == "output":
            level[part.key] = max(level.values())
    rows = []
    for depth in range(max(level.values(), default=-1) + 1):
        row = [part for part in order if level[part.key] == depth]
        tall = [part for part in row if part.inside]
        small = [part for part in row if not part.inside]
        for i in range(0, len(small), 3):
            rows.append(small[i : i + 3])
        rows += [[part] for part in tall]
    return [row for row in rows if row]


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


def _lane_x(lane, room):
    return None if lane is None else room + 0.1 + lane * LANE


def _frames(diagram, rows):
    """For each container that holds nothing foreign between its rows: its first and last row, outer ones first."""
    found = {}
    for path in sorted(diagram.frames, key=len):
        held = [r for r, row in enumerate(rows) if any(path in part.frames for part in row)]
        within = [part for row in rows[held[0] : held[-1] + 1] for part in row] if held else []
        if len(within) > 1 and all(path in part.frames or part.role == "join" for part in within):
            found[path] = (held[0], held[-1])
    return found


def _fill_row(boxes, row, left, room, r, plain_shape, arrows):
    """Boxes of one row side by side, ordered as what leads to them."""

    def wish(part):
        starts = [boxes[a.start].centre for a in arrows if a.end == part.key and a.start in boxes]
        return sum(starts) / len(starts) if starts else 0.0

    row = sorted(row, key=wish) if r else row
    w = (room - COLUMN_GAP * (len(row) - 1)) / len(row)
    for i, part in enumerate(row):
        pile = 2 * STACK if part.times > 1 else 0.0
        box = Box(part, w - pile, row=r, x=left + i * (w + COLUMN_GAP))
        _write(box, plain_shape)
        boxes[part.key] = box


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
    if part.role in ("input", "output") and part.name == "" or part.role == "input" and plain_shape is not None:
        box.h = 0.0  # an end of a block: its frame
        return
    tag = f"× {part.times}" if part.times > 1 else ""
    if part.beside:
        tag = f"{part.times} side by side"
    count = numbers(part.parameters)
    shapes = [(letters, shape) for letters, shape in part.shapes if shape != plain_shape]
    if part.inside:
        box.lines = titled(part.name, part.kind, tag, inside, strong=True)
        shape = part.shapes[0][1] if part.shapes else ()
        box.inner = arrange(part.inside, box.w - 2 * PAD, shape)
        each = f"{part.times} × {numbers(part.parameters // part.times)}" if part.times > 1 else count
        box.footer = shape_lines(shapes, each, inside)
        box.h = len(box.lines) * LINE + box.inner.h + len(box.footer) * LINE + 2 * PAD
        return
    if part.role in ("input", "output"):
        box.lines = _end_lines(part, inside)
    elif shapes:
        box.lines = titled(part.name, part.kind, tag, inside, strong=True) + shape_lines(shapes, count, inside)
    else:
        box.lines = titled(part.name, part.kind, " ".join(filter(None, (tag, count))), inside)
    if part.calls > 1:
        box.lines.append(Line([(f"called {part.calls} times", False, True)]))
    box.h = len(box.lines) * LINE + 2 * PAD * 0.7
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
    letters, plain = part.shapes[0] if part.shapes else ("", ())
    return [*_wrapped(part.name, room, True), *_wrapped(in_words("", plain), room)]


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
    lines = [*_wrapped(name, room, True), *(_wrapped(kind, room, faint=True) if kind and kind != name else [])]
    last = Line(lines[-1].left, right, strong)
    return [*lines[:-1], last] if line_width(last) <= room else [*lines, Line([(right, strong, False)])]


def shape_lines(shapes, count, room):
    """Shapes, and the number of parameters at the right of the last."""
    lines = []
    for letters, shape in shapes[:3]:
        long = Line([(in_words(letters, shape), False, False)])
        short = in_words("", shape)
        lines += [long] if line_width(long) <= room - text_width(count) - 0.1 else _wrapped(short, room)
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


def _wrapped(text, room, bold=False, faint=False):
    """A text on as many lines as it takes, broken after a space, dot, comma or underscore where there is one."""
    lines = []
    while text:
        end = len(text)
        while end > 1 and text_width(text[:end].strip(), bold) > room:
            breaks = [i + 1 for i in range(end - 1) if text[i] in " ._,"]
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


def _add_pills(boxes, diagram, side):
    """Pills for what comes from the side, at every box that it enters: learned values left, others right."""
    for box in boxes.values():
        starts = [a.start for a in diagram.arrows if a.end == box.part.key and a.start in side]
        parts = [part for part in diagram.parts if part.key in starts]
        if not parts:
            continue
        room = (box.w - 0.3) / 2 if box.part.role != "join" else box.x - 0.25
        learned = [part for part in parts if part.role == "learned"]
        others = [part for part in parts if part.role != "learned"]
        if box.part.role == "join" or not others or not learned:
            pill = _pill(parts, room)
            box.left_pill, box.right_pill = (pill, None) if box.part.role == "join" or learned else (None, pill)
        else:
            box.left_pill, box.right_pill = _pill(learned, room), _pill(others, room)


def _pill(parts, room):
    lines = []
    for part in parts:
        shape = in_words("", part.shapes[0][1]) if part.shapes else ""
        one = Line([(part.name, True, False), (shape, False, False)])
        two = [*_wrapped(part.name, room - 2 * PAD, True), *_wrapped(shape, room - 2 * PAD)]
        lines += [one] if line_width(one) <= room - 2 * PAD else two
    w = max(line_width(line) for line in lines) + 2 * PAD
    return Pill(parts, lines, w, len(lines) * LINE + PAD)


def _stand(boxes, rows, arrows, far, frames, diagram, room):
    """Let the rows stand one under another; returns the containers' frames and the height of all."""
    y = 0.0
    tops = {}
    placed = {}
    for r, row in enumerate(rows):
        here = [boxes[part.key] for part in row]
        opening = [path for path, (first, _) in frames.items() if first == r]
        words = any(a.ops for a in arrows if a not in far and boxes[a.end].row == r)
        if r:
            y += WORD_GAP if words else GAP
        for path in opening:
            name, kind, count = diagram.frames[path]
            inset = PAD * sum(a <= r <= b and len(p) < len(path) for p, (a, b) in frames.items())
            lines = titled(name, kind, numbers(count), room - 2 * inset - 2 * PAD)
            placed[path] = Frame(path, lines, inset, y, room - 2 * inset, 0.0)
            y += len(lines) * LINE + PAD + (GAP if r else 0.08)
        pills = [pill for box in here if box.part.role != "join" for pill in (box.left_pill, box.right_pill) if pill]
        if pills:
            _hang(here, y)
            y += max(pill.h for pill in pills) + GAP * 0.9
        for box in here:
            pill = box.left_pill if box.part.role == "join" else None
            box.y = y + (max(0.0, pill.h - box.h) / 2 if pill else 0.0)
            if pill:
                pill.y = box.y + (box.h - pill.h) / 2
                pill.x = box.x - 0.16 - pill.w
        y = max(max(box.bottom for box in here), max((b.left_pill.y + b.left_pill.h for b in here if b.left_pill), default=y))
        y += 2 * STACK if any(box.part.times > 1 for box in here) else 0.0
        for path in [path for path, (_, last) in reversed(frames.items()) if last == r]:
            y += PAD
            placed[path].h = y - placed[path].y
    return list(placed.values()), y


def _hang(boxes, y):
    """The pills above the boxes of a row, left and right of the arrow in the middle."""
    for box in boxes:
        if box.part.role == "join":
            continue
        for pill, side in ((box.left_pill, -1), (box.right_pill, 1)):
            if pill:
                pill.y = y
                pill.x = box.centre + side * (0.1 + pill.w / 2) - pill.w / 2
