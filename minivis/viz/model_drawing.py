"""A drawing of a model, as in papers: stages as boxes with shapes and parameters, repeated layers as one box, and arrows.

Not here: the parts and arrows (module_tree.py, data_flow.py), their places (flow_layout.py).
"""

from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.path import Path

from minivis.viz.box_text import PIECES, SIZE, numbers, text_width
from minivis.viz.data_flow import diagram
from minivis.viz.flow_layout import LINE, PAD, STACK, WORD_GAP, arrange
from minivis.viz.style import BLUE, FAINT, GREEN, INK, LITERAL, ORANGE, PINK, blank, figure

__all__ = ["architecture"]

WIDTH = 3.6  # inches of 100 pixels: a phone's screen
GREY, SOFT, LINES = "#7d7d7d", "#5a5a5a", "#6b6b6b"
# edge and background of a box
LOOKS = {
    "attention": (ORANGE, "#fdf0d5"),
    "convolution": (GREEN, "#dcf2ea"),
    "linear": (BLUE, "#e3eff7"),
    "norm": (GREY, "#eeeeee"),
    "other": (GREY, "#f8f8f8"),
    "learned": (PINK, "#f9e9f2"),
    "end": (INK, "white"),
}
CONTAINER = "#f4f4f4"


def architecture(model, input, closed=(), title=None, caption=None):
    """Draw any model from one forward pass: its stages, their shapes and parameters, and the flow between them.

    Read it from top to bottom. Repeated layers are one box with ``× n``; the inside is drawn for the first block of each
    kind. A Parameter that enters between the layers (queries, position codes, a class token) comes from the side. The
    drawing is as wide as a phone.

    Parameters
    ----------
    model : Module
        A model of this library or your own. It runs once, in evaluation mode, and is not changed.
    input : ndarray, Tensor, or tuple
        Its input: an array, a tuple of several arguments, or a shape such as ``(1, 3, 224, 224)`` for a float32 array
        of zeros.
    closed : sequence of str, default ()
        Names of modules to draw as one box, such as ``["backbone"]``.
    title, caption : str, optional
        Above and below; default: the model's class and size, and a legend of the drawing.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    TypeError
        If ``model`` is not a Module.
    ValueError
        If a name in ``closed`` is not a module of the model.
    RuntimeError
        Inside `no_grad`, where nothing is recorded.

    Notes
    -----
    Arrows are read from the tape: they show where gradients flow, and boolean masks. Values that a model computes from
    ``x.data`` are not on the tape and have no arrows.

    Examples
    --------
    >>> from minivis import nn
    >>> fig = architecture(nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)), (1, 3))
    >>> [text.get_text() for text in fig.axes[0].texts][:4]
    ['x', '1 × 3', '0', 'Linear']
    """
    shown = diagram(model, input, closed)
    layout = arrange(shown, WIDTH - 2 * PAD)
    total = numbers(sum(p.size for p in model.parameters())) or "no"
    title = f"{type(model).__name__}: {total} parameters" if title is None else title
    caption = _how_to_read(shown, layout) if caption is None else caption
    head = 0.4 if title else 0.1
    fig, axes = figure(1, 1, WIDTH, layout.h + head + 0.2, title, caption)
    fig.set_layout_engine("none")
    total_height = fig.get_size_inches()[1]
    if caption:
        fig._supxlabel.set_y(0.06 / total_height)
    if title:
        _fit_title(fig, total_height)
    ax = axes[0, 0]
    blank(ax)
    ax.set_position([0, 1 - (head + layout.h + 0.04) / total_height, 1, (layout.h + 0.08) / total_height])
    ax.set(xlim=(-PAD, WIDTH - PAD), ylim=(layout.h + 0.04, -0.04))
    _draw(ax, layout, 0.0, 0.0, 2)
    return fig


def _fit_title(fig, height):
    """Put the title near the upper edge, in a smaller font if it is too long."""
    text = fig._suptitle
    text.set(x=0.5, y=1 - 0.09 / height, va="top")
    wide = text_width(text.get_text()) * 12 / SIZE
    text.set_fontsize(max(SIZE, min(12, 12 * (WIDTH - 2 * PAD) / wide)))


def _how_to_read(shown, layout):
    """The default caption: the meaning of the boxes, numbers and colours that occur in the drawing."""
    parts = list(_all_parts(shown))
    words = {"attention": "orange: attention", "convolution": "green: convolutions", "linear": "blue: linear layers",
             "norm": "grey: norms"}  # fmt: skip
    coloured = {part.family for part in parts if part.role == "stage" or len(part.name) > 1}
    colours = [text for family, text in words.items() if family in coloured]
    if any(part.role == "learned" for part in parts):
        colours.append("pink: parameters that enter from the side")
    lines = ["Each box: name, class, output shape, number of parameters (right)."]
    if any(part.times > 1 and not part.beside for part in parts):
        lines.append("× n: n such layers, one after another.")
    if any(part.inside for part in parts):
        lines.append("Inside a block, only shapes that differ from the block's are written.")
    if _has_words(layout):
        lines.append("Words at an arrow: ops between the boxes.")
    if any(route.back for route in layout.routes):
        lines.append("A dashed arrow leads back.")
    if any(part.role == "made" for part in parts):
        lines.append("A mask has no gradient, so no arrow shows where it comes from.")
    if _end_without_arrow(shown):
        lines.append("What a box without an arrow out has found is used further down, without a gradient.")
    return " ".join(lines) + (f" {'; '.join(colours).capitalize()}." if colours else "")


def _all_parts(shown):
    for part in shown.parts:
        yield part
        if part.inside:
            yield from _all_parts(part.inside)


def _end_without_arrow(shown):
    """Whether a box leads nowhere, although something comes after it: an output, or a box that it does not feed."""
    starts = {arrow.start for arrow in shown.arrows}
    *earlier, last = [part.key for part in shown.parts if part.role in ("stage", "output")] or [None]
    outputs = {part.key for part in shown.parts if part.role == "output"}
    return any(key and key not in starts and key not in outputs for key in earlier)


def _has_words(layout):
    written = any(
        route.words and (route.lane is None or route.end.part.role == "join") for route in layout.routes
    )
    return written or any(_has_words(box.inner) for box in layout.boxes.values() if box.inner)


def _draw(ax, layout, left, top, order):
    """Draw one diagram with its corner at (left, top); ``order`` is the z-order of its lowest layer."""
    for frame in layout.frames:
        _card(
            ax,
            left + frame.x,
            top + frame.y,
            frame.w,
            frame.h,
            FAINT,
            CONTAINER,
            order,
            f"frame:{frame.path}",
        )
    for route in layout.routes:
        _draw_route(ax, route, layout, left, top, order + 1)
    for frame in layout.frames:  # titles of containers hide the arrows that pass below them
        tall = len(frame.lines) * LINE + 0.02
        ground = Rectangle(
            (left + frame.x + 0.02, top + frame.y + 0.02), frame.w - 0.04, tall, color=CONTAINER
        )
        ax.add_patch(ground)
        ground.set_zorder(order + 2)
        where = (left + frame.x + PAD, top + frame.y + PAD / 2, frame.w - 2 * PAD)
        _write(ax, frame.lines, *where, order + 3, f"frame:{frame.path}")
    for box in layout.boxes.values():
        for pill in (box.left_pill, box.right_pill):
            if pill:
                _draw_pill(ax, pill, box, left, top, order + 2)
        _draw_box(ax, box, left, top, order + 2)


def _draw_box(ax, box, left, top, order):
    """Draw a box with its lines: on a pile of cards if it repeats, and with its inside if it is opened."""
    part = box.part
    x, y = left + box.x, top + box.y
    name = f"box:{part.key}"
    if part.role == "join":
        _draw_join(ax, box, x, y, order, name)
    elif box.h:
        role = {"stage": part.family, "learned": "learned"}.get(part.role, "end")
        edge, ground = LOOKS[role]
        for i in (2, 1) if part.times > 1 else ():
            _card(ax, x + i * STACK, y + i * STACK, box.w, box.h, edge, ground, order, None)
        _card(ax, x, y, box.w, box.h, edge, "white" if part.inside else ground, order, name)
        if part.inside:
            _card(ax, x, y, box.w, box.head, edge, ground, order, None)
            _draw(ax, box.inner, x + PAD, y + box.head, order + 1)
        _write(ax, box.lines, x + PAD, y + PAD * 0.7, box.w - 2 * PAD, order + 1, name)


def _draw_join(ax, box, x, y, order, name):
    """Draw a sign in a circle, or the name of an op."""
    part = box.part
    sign = len(part.name) == 1
    edge, ground = LOOKS["end" if sign or part.family == "other" else part.family]
    if sign:
        ax.add_patch(
            Circle(
                (x + box.w / 2, y + box.h / 2), box.h / 2, fc=ground, ec=edge, lw=1.1, zorder=order, gid=name
            )
        )
    else:
        _card(ax, x, y, box.w, box.h, edge, ground, order, name, round=box.h / 2)
    look = {"ha": "center", "va": "center", "color": INK, "zorder": order + 1, "gid": name, **LITERAL}
    size = SIZE + 2 if sign else SIZE
    ax.text(x + box.w / 2, y + box.h / 2 - 0.005 * sign, part.name, fontsize=size, **look)


def _card(ax, x, y, w, h, edge, ground, order, name, round=0.05):
    style = f"round,pad=0,rounding_size={round}"
    ax.add_patch(
        FancyBboxPatch((x, y), w, h, boxstyle=style, ec=edge, fc=ground, lw=1.1, zorder=order, gid=name)
    )


def _write(ax, lines, x, y, w, order, name):
    """Write lines of text below a corner: pieces from the left, and one at the right."""
    look = {"va": "center", "fontsize": SIZE, "zorder": order, "gid": name, **LITERAL}
    for i, line in enumerate(lines):
        middle = y + (i + 0.5) * LINE
        at = x
        for text, bold, faint in line.left:
            weight = "bold" if bold else "normal"
            ax.text(at, middle, text, ha="left", color=SOFT if faint else INK, fontweight=weight, **look)
            at += text_width(text, bold) + PIECES
        if line.right:
            weight = "bold" if line.strong else "normal"
            ax.text(x + w, middle, line.right, ha="right", color=INK, fontweight=weight, **look)


def _draw_pill(ax, pill, box, left, top, order):
    """Draw values from the side and their arrow: sideways into a join, down into a box."""
    x, y = left + pill.x, top + pill.y
    look = LOOKS["learned" if all(part.role == "learned" for part in pill.parts) else "end"]
    name = f"pill:{box.part.key}:{pill.parts[0].key}"
    if box.part.role == "join":
        middle = top + box.y + box.h / 2
        _arrow(ax, [(x + pill.w, middle), (left + box.x, middle)], order)
    else:
        middle = x + pill.w / 2
        _arrow(ax, [(middle, y + pill.h), (middle, top + box.y)], order)
    _card(ax, x, y, pill.w, pill.h, *look, order, name, round=0.08)
    _write(ax, pill.lines, x + PAD, y + PAD / 2, pill.w - 2 * PAD, order + 1, name)


def _draw_route(ax, route, layout, left, top, order):
    start, end = route.start, route.end
    points = (
        _down(start, end, _row_bottom(start, layout)) if route.lane is None else _along_lane(route, layout)
    )
    points = [(left + x, top + y) for x, y in points]
    _arrow(ax, points, order, dashed=route.back, head=end.h > 0)
    if route.lane is not None and (not start.h or start.part.role == "join"):
        ax.add_patch(Circle(points[0], 0.022, color=LINES, zorder=order))
    look = {"fontsize": SIZE, "color": SOFT, "style": "italic", "zorder": order + 4, **LITERAL}
    look["gid"] = f"ops:{start.part.key}:{end.part.key}"
    if route.words and route.lane is None:
        bends = len(points) > 2
        x = points[-1][0] if bends else points[0][0]
        y = points[1][1] + 0.12 if bends else points[0][1] + WORD_GAP / 2
        side = 1 if x + 0.06 + text_width(route.words) < WIDTH - 2 * PAD else -1
        look["ha"] = "left" if side > 0 else "right"
        ax.text(x + side * 0.06, y, route.words, va="center", **look)
    elif route.words and end.part.role == "join":
        x, y = points[-2]
        ax.text(x - 0.06, y - 0.03, route.words, va="bottom", ha="right", **look)


def _down(start, end, below=None):
    """Points from the bottom of a box to the top of one in the next row, or to the side of a join that is not below it.

    A line that goes across does so under ``below``, the lowest point of the row in which it starts.
    """
    xs = start.centre
    xe = end.centre
    y = start.bottom
    pills = end.left_pill or end.right_pill
    if end.part.role != "join" and not pills and end.x + 0.1 <= xs <= end.x + end.w - 0.1:
        xe = xs
    elif start.part.role != "join" and start.x + 0.1 <= xe <= start.x + start.w - 0.1:
        xs = xe
    if abs(xs - xe) < 0.02:
        return [(xe, y), (xe, end.y)]
    if end.part.role == "join" and not pills:
        middle = end.y + end.h / 2
        return [(xs, y), (xs, middle), (end.x if xs < xe else end.x + end.w, middle)]
    between = (y if below is None else below) + 0.08
    return [(xs, y), (xs, between), (xe, between), (xe, end.y)]


def _along_lane(route, layout):
    """Points to the right, along the lane, and back; they pass below or above boxes that are not the last of their row."""
    start, end, lane = route.start, route.end, route.lane
    if start.h and start.part.role != "join" and _is_last(start, layout):
        points = [(start.x + start.w + start.pile, start.bottom - 0.09), (lane, start.bottom - 0.09)]
    else:
        straight = [_down(r.start, r.end)[0][0] for r in layout.routes if r.start is start and r.lane is None]
        below = _row_bottom(start, layout) + 0.06
        begin = [(straight[0], below)] if straight else [(start.centre, start.bottom), (start.centre, below)]
        points = [*begin, (lane, below)]
    if end.h and _is_last(end, layout):
        height = end.h / 2 if end.part.role == "join" else 0.09
        return [*points, (lane, end.y + height), (end.x + end.w + end.pile * (end.h > 0), end.y + height)]
    x = end.centre + (0.12 if end.h else 0.0)
    return [*points, (lane, end.y - 0.09), (x, end.y - 0.09), (x, end.y)]


def _row_bottom(box, layout):
    """The lowest point of all boxes in the row of a box."""
    return max(other.bottom for other in layout.boxes.values() if other.row == box.row)


def _is_last(box, layout):
    return all(other.x <= box.x for other in layout.boxes.values() if other.row == box.row)


def _arrow(ax, points, order, dashed=False, head=True):
    """Draw a line through points, with round corners and a head."""
    vertices = [points[0]]
    codes = [Path.MOVETO]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        vertices += [_towards(corner, before), corner, _towards(corner, after)]
        codes += [Path.LINETO, Path.CURVE3, Path.CURVE3]
    path = Path([*vertices, points[-1]], [*codes, Path.LINETO])
    look = {
        "color": LINES,
        "linewidth": 1.1,
        "linestyle": "--" if dashed else "-",
        "shrinkA": 0,
        "shrinkB": 0,
    }
    style = "-|>" if head else "-"
    ax.add_patch(
        FancyArrowPatch(path=path, arrowstyle=style, mutation_scale=8, zorder=order, gid="arrow", **look)
    )


def _towards(corner, other, radius=0.04):
    """A point near a corner, towards another point."""
    dx, dy = other[0] - corner[0], other[1] - corner[1]
    length = max(1e-9, (dx * dx + dy * dy) ** 0.5)
    step = min(radius, length / 2) / length
    return corner[0] + dx * step, corner[1] + dy * step
