"""A drawing of a Tensor's computation graph, which backward goes through: leaves above, result below.

Not here: values that need no gradient; the engine does not record them.
"""

from collections import Counter, defaultdict

import numpy as np
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

from minivis.autograd import Tensor
from minivis.backend import to_numpy
from minivis.viz.style import BLUE, GREEN, INK, LITERAL, ORANGE, blank, figure

__all__ = ["graph"]

MOST = 120  # nodes; a larger graph cannot be read
# inches: distance of levels, height of a box with one line, height of each further line
LEVEL, BOX, LINE = 0.78, 0.24, 0.17
LEAF, OP, RESULT = (ORANGE, "#fdf0d5", "square"), (BLUE, "#e3eff7", "round"), (GREEN, "#dcf2ea", "round")


def graph(tensor, names=None, values=False, title=None, caption=None):
    """Draw how a Tensor was computed: leaves are square and orange, ops round and blue, the result round and green.

    Arrows follow the forward pass. Backward goes through them in reverse, and adds up the gradients of all arrows that
    leave one box.

    Parameters
    ----------
    tensor : Tensor
        The result; it must be part of a graph that backward has not consumed.
    names : dict of str to Tensor, optional
        Names of leaves and intermediate results.
    values : bool, default False
        Also write values and gradients of leaves, named Tensors and the result: the number itself if there is one
        element, otherwise the root mean square.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    TypeError
        If it is not a Tensor.
    ValueError
        If nothing was recorded, backward has consumed the graph, or it has too many nodes to read.

    Examples
    --------
    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> fig = graph((x * x).sum(), names={"x": x})
    >>> [text.get_text().split()[0] for text in fig.axes[0].texts if text.get_text() != "×2"]
    ['x', 'mul', 'sum']
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"graph: expected a Tensor, got {type(tensor).__name__}")
    if tensor.node is None:
        raise ValueError(
            "graph: nothing was recorded: no input had requires_grad=True, or it was under no_grad()"
        )
    nodes, edges = _walk(tensor.node)
    tensors = {id(t.node or t): (name, t) for name, t in (names or {}).items()}
    texts = {key: _text(node, *tensors.get(key, ("", None)), tensor, values) for key, node in nodes.items()}
    rows, chains = _levels(nodes, edges)
    widths = defaultdict(
        lambda: 0.12, {k: 0.09 * max(map(len, t.split("\n"))) + 0.2 for k, t in texts.items()}
    )
    light = {key for key, node in nodes.items() if isinstance(node, Tensor)}
    x = _place(_order(rows, chains), chains, widths, light)
    tall = BOX + LINE * max(t.count("\n") for t in texts.values())
    level = LEVEL - BOX - LINE + tall
    places = {key: (x[key], -level * depth) for depth, row in enumerate(rows) for key in row}
    right = max(x[k] + widths[k] / 2 for k in x)
    bottom = -level * (len(rows) - 1)
    height = tall - bottom + 0.3
    fig, axes = figure(
        1, 1, max(right + 0.3, 4.6 if caption else 3.0), height + (0.4 if title else 0.1), title, caption
    )
    ax = axes[0, 0]
    blank(ax)
    ax.set(xlim=(-0.1, right + 0.1), ylim=(bottom - tall / 2 - 0.1, tall / 2 + 0.1), aspect="equal")
    _draw_edges(ax, chains, places, tall)
    for key, text in texts.items():
        look = LEAF if isinstance(nodes[key], Tensor) else RESULT if key == id(tensor.node) else OP
        _draw_box(ax, places[key], (widths[key], tall), text, look)
    return fig


def _walk(root):
    """Every Node and leaf above the root, parents before children, and a count for each edge (parent, child)."""
    nodes = {}
    edges = Counter()
    stack = [(root, False)]
    while stack:
        node, done = stack.pop()
        if done:
            nodes.setdefault(id(node), node)
        elif id(node) not in nodes:
            stack.append((node, True))
            if not isinstance(node, Tensor):
                if node.vjp is None:
                    raise ValueError(
                        f"graph: the graph behind {node.op} was consumed by backward; draw it before, or pass retain_graph=True"
                    )
                stack += [(parent, False) for parent in reversed(_parents(node))]
        if len(nodes) > MOST:
            raise ValueError(
                f"graph: a picture with more than {MOST} nodes cannot be read; draw a smaller example"
            )
    for key, node in nodes.items():
        edges.update((id(parent), key) for parent in _parents(node))
    return nodes, edges


def _parents(node):
    """The nodes and leaves that backward passes its gradient to; a leaf has none."""
    return [parent for _, parent in getattr(node, "parents", ())]


def _text(node, name, tensor, result, values):
    """The text of a box: name or op, and shape; with ``values`` also the numbers."""
    if isinstance(node, Tensor):
        name = name or "leaf"
        tensor = node
    elif node is result.node:
        name = f"{name} = {node.op}" if name else node.op
        tensor = result
    else:
        name = f"{name} = {node.op}" if name else node.op
    known = values and tensor is not None  # a scalar whose number is written needs no line "scalar"
    lines = [name] if known and not node.shape else [name, str(tuple(node.shape)) if node.shape else "scalar"]
    if known:
        lines.append(_number("", tensor.data))
        if tensor.grad is not None:
            lines.append(_number("grad ", tensor.grad))
    return "\n".join(lines)


def _number(what, data):
    """The number itself if there is one element, otherwise the root mean square."""
    data = to_numpy(data)
    return f"{what}{data.item():.4g}" if data.size == 1 else f"{what}rms {np.sqrt(np.mean(data**2)):.3g}"


def _levels(nodes, edges):
    """Rows of keys from the leaves down, and for each edge its chain of keys: in each row that it passes it has a bend."""
    depth = dict.fromkeys(nodes, 0)
    for key, node in nodes.items():
        for parent in _parents(node):
            depth[key] = max(depth[key], depth[id(parent)] + 1)
    for key, node in nodes.items():  # a leaf goes one row above the first op that reads it
        if isinstance(node, Tensor):
            depth[key] = min(depth[child] for parent, child in edges if parent == key) - 1
    rows = [[] for _ in range(max(depth.values()) + 1)]
    for key in nodes:
        rows[depth[key]].append(key)
    chains = {}
    for (parent, child), count in edges.items():
        bends = [(parent, child, d) for d in range(depth[parent] + 1, depth[child])]
        for bend in bends:
            rows[bend[2]].append(bend)
        chains[parent, child] = ([parent, *bends, child], count)
    return rows, chains


def _neighbours(chains):
    """Keys above and keys below each key."""
    above, below = defaultdict(list), defaultdict(list)
    for chain, _ in chains.values():
        for upper, lower in zip(chain, chain[1:], strict=False):
            above[lower].append(upper)
            below[upper].append(lower)
    return above, below


def _order(rows, chains):
    """Sort each row by the mean place of its neighbours, down and up a few times, for fewer crossings (Sugiyama's method)."""
    above, below = _neighbours(chains)
    for sweep in range(8):
        near = above if sweep % 2 == 0 else below
        for row in rows if sweep % 2 == 0 else reversed(rows):
            at = {key: i / len(r) for r in rows for i, key in enumerate(r)}
            row.sort(key=lambda k, at=at, near=near: np.mean([at[n] for n in near[k]]) if near[k] else at[k])
    return rows


def _place(rows, chains, widths, light):
    """The x of every key: as near as possible to the mean of its neighbours, in order and without overlap.

    Light keys (the leaves) have a small weight, so that a chain of ops stays straight.
    """
    above, below = _neighbours(chains)
    x = {}
    for row in rows:
        at = 0.0
        for key in row:
            x[key] = at + widths[key] / 2
            at = at + widths[key] + 0.22
    weights = {key: 0.02 if key in light else 1.0 for key in x}
    for sweep in range(40):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            near = [above[k] + below[k] for k in row]
            want = [np.average([x[n] for n in ns], weights=[weights[n] for n in ns]) for ns in near]
            x.update(zip(row, _apart(want, [widths[k] for k in row], [weights[k] for k in row]), strict=True))
    leftmost = min(x[k] - widths[k] / 2 for k in x)
    return {k: v - leftmost for k, v in x.items()}


def _apart(want, widths, weights, gap=0.22):
    """The places of boxes in a row that do not touch, nearest to the wanted ones by weighted squares.

    Minus the places of tightly packed boxes, the wanted places must become a sequence that never falls: isotonic
    regression, by pooling adjacent boxes that would overlap.
    """
    half = np.asarray(widths) / 2
    packed = np.concatenate([[0.0], np.cumsum(half[:-1] + half[1:] + gap)])
    blocks = []
    for mean, weight in zip(want - packed, weights, strict=True):
        count = 1
        while blocks and blocks[-1][0] > mean:
            other, mass, n = blocks.pop()
            mean = (mean * weight + other * mass) / (weight + mass)
            weight, count = weight + mass, count + n
        blocks.append((mean, weight, count))
    return (packed + np.repeat([b[0] for b in blocks], [b[2] for b in blocks])).tolist()


def _draw_edges(ax, chains, places, tall):
    """A smooth arrow for each edge, from the bottom of a box to the top of another; ×2 if the value is used twice."""
    for chain, count in chains.values():
        points = [(x, y + side * tall / 2) for x, y in map(places.get, chain) for side in (1, -1)]
        # From the bottom of the first box to the top of the last; straight down past the rows in between.
        points = points[1:-1]
        vertices = points[:1]
        codes = [Path.MOVETO]
        for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
            vertices += [(x0, (y0 + y1) / 2), (x1, (y0 + y1) / 2), (x1, y1)]
            codes += [Path.CURVE4] * 3
        look = {
            "arrowstyle": "-|>",
            "mutation_scale": 9,
            "color": "#777777",
            "linewidth": 1.1,
            "shrinkA": 0,
            "shrinkB": 0,
        }
        ax.add_patch(FancyArrowPatch(path=Path(vertices, codes), **look))
        if count > 1:
            x, y = (points[0][0] + points[1][0]) / 2, (points[0][1] + points[1][1]) / 2
            ax.text(x + 0.1, y, f"×{count}", fontsize=8, color=INK, va="center")


def _draw_box(ax, place, size, text, look):
    """One box with its text."""
    (x, y), (wide, tall), (edge, fill, shape) = place, size, look
    style = "round,pad=0,rounding_size=0.14" if shape == "round" else "square,pad=0"
    corner = (x - wide / 2, y - tall / 2)
    ax.add_patch(
        FancyBboxPatch(corner, wide, tall, boxstyle=style, edgecolor=edge, facecolor=fill, linewidth=1.4)
    )
    ax.text(x, y, text, ha="center", va="center", fontsize=9, color=INK, linespacing=1.2, **LITERAL)
