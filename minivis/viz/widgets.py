"""Pictures with controls: explore attention, shifted windows, and the weights of a matching cost.

Not here: the pictures themselves (attention.py, pictures.py, matching.py), which are shown without controls if no kernel runs.
"""

import base64
import functools
import html

import numpy as np

from minivis.vision.matching import linear_sum_assignment
from minivis.vision.windows import cyclic_shift, shifted_window_mask, window_partition, window_reverse
from minivis.viz.attention import attention_maps
from minivis.viz.matching import cost_matrix
from minivis.viz.pictures import images
from minivis.viz.style import FAINT, VERMILION, array

__all__ = ["Explorer", "attention_explorer", "matching_playground", "window_painter"]

CELL = 26  # pixels, the side of a square to click on


class Explorer:
    """A picture with controls. Jupyter shows both; without a running kernel it shows only the picture.

    Parameters
    ----------
    draw : callable
        ``draw(**chosen)`` returns a Figure with a caption.
    start : dict
        The first choice, by name.
    choices : dict
        The possible choices, by name: a list of values or of (label, value), shown as a slider; or ``(rows, columns)``,
        shown as squares to click on. The choice is then the number of a square, row by row.

    Raises
    ------
    ValueError
        If the first choice is none of the possible ones.

    Examples
    --------
    >>> from minivis.viz import images
    >>> levels = Explorer(lambda level: images(np.full((2, 2), level), caption="Grey."), {"level": 0}, {"level": [0, 1]})
    >>> levels.figure(level=1).caption
    'Grey.'
    """

    def __init__(self, draw, start, choices):
        self.draw, self.start, self.choices = draw, start, choices
        if start.keys() != choices.keys():
            raise ValueError(
                f"Explorer: start has the names {list(start)}, but the choices are {list(choices)}"
            )
        for name, chosen in start.items():
            if chosen not in _values(choices[name]):
                raise ValueError(
                    f"Explorer: {name}={chosen!r} is none of the choices: {_values(choices[name])}"
                )

    def figure(self, **chosen):
        """The picture for some choices; the other controls are as at the start.

        Parameters
        ----------
        **chosen
            Choices, by the name of the control.

        Returns
        -------
        Figure
        """
        return self.draw(**{**self.start, **chosen})

    def widget(self):
        """The controls and the picture that follows them, as an ipywidget.

        Returns
        -------
        ipywidgets.VBox
            The controls, and the picture last.
        """
        import ipywidgets

        # the widgets that hold the values, and the widgets that are shown
        controls = {}
        shown = []
        for name, choices in self.choices.items():
            if isinstance(choices, tuple):
                controls[name], box = _squares(name, self.start[name], *choices)
            else:
                options = {"options": choices, "value": self.start[name], "description": name}
                controls[name] = box = ipywidgets.SelectionSlider(**options, continuous_update=False)
            shown.append(box)
        picture = ipywidgets.HTML()  # ipywidgets.Image has no alt text

        def follow(change=None):
            picture.value = _html(self.figure(**{name: control.value for name, control in controls.items()}))

        for control in controls.values():
            control.observe(follow, "value")
        follow()
        return ipywidgets.VBox([*shown, picture])

    def _repr_mimebundle_(self, include=None, exclude=None):
        picture, about = self.figure()._repr_mimebundle_()
        try:
            controls = self.widget()._repr_mimebundle_()
        except ImportError:  # without ipywidgets: only the picture
            controls = {}
        return {**controls, **picture}, about


def _squares(name, start, rows, columns):
    """A grid of squares to click on: the widget that holds the number of the last one clicked, and the grid with its name."""
    import ipywidgets

    chosen = ipywidgets.IntText(start)
    layout = ipywidgets.Layout(width="auto", height="auto", margin="0", padding="0")
    squares = [
        ipywidgets.Button(layout=layout, tooltip=f"row {row}, column {column}")
        for row in range(rows)
        for column in range(columns)
    ]

    def paint(change=None):
        for number, square in enumerate(squares):
            square.style.button_color = VERMILION if number == chosen.value else FAINT

    for number, square in enumerate(squares):
        square.on_click(lambda _, number=number: setattr(chosen, "value", number))
    chosen.observe(paint, "value")
    paint()
    cells = {"grid_template_columns": f"repeat({columns}, {CELL}px)", "grid_auto_rows": f"{CELL}px"}
    grid = ipywidgets.GridBox(squares, layout=ipywidgets.Layout(**cells, grid_gap="2px"))
    return chosen, ipywidgets.VBox([ipywidgets.Label(name), grid])


def _values(choices):
    """The values that one control can have."""
    if isinstance(choices, tuple):
        return range(choices[0] * choices[1])
    return [choice[1] if isinstance(choice, tuple) else choice for choice in choices]


def _html(figure):
    picture = base64.b64encode(figure.png()).decode()
    return f'<img alt="{html.escape(figure.caption or "")}" src="data:image/png;base64,{picture}">'


def attention_explorer(attention, image, grid, layer=None, head="mean", query=None):
    """Choose a layer, a head and a patch, and see which patches it attends to.

    Parameters
    ----------
    attention : array_like, shape (L, h, N, N)
        Weights of every layer and head for one image: rows are queries, columns keys. If there is one token more
        than the grid has cells, the first is a class token.
    image : array_like, shape (H, W) or (C, H, W)
        The image.
    grid : (int, int)
        Rows and columns of patches.
    layer : int, optional
        The first choice; default: the last layer.
    head : int or "mean", default "mean"
        The first choice.
    query : int, optional
        The first patch, counted row by row; default: the one in the middle.

    Returns
    -------
    Explorer
        To be shown.

    Raises
    ------
    ValueError
        If the number of tokens does not fit the grid.

    Examples
    --------
    >>> explorer = attention_explorer(np.full((2, 3, 16, 16), 1 / 16), np.ones((8, 8)), grid=(4, 4))
    >>> explorer.figure(layer=0, head=2, patch=5).caption
    'Layer 1, head 3: attention weights of the patch with the cross. Bright patches have the largest weights.'
    """
    attention = array(attention, "attention")
    (rows, columns) = grid
    tokens = rows * columns
    if (
        attention.ndim != 4
        or attention.shape[2] != attention.shape[3]
        or attention.shape[3] - tokens not in (0, 1)
    ):
        raise ValueError(
            f"attention_explorer: attention must be (layers, heads, N, N) with the N = {tokens} patches of a grid of "
            f"{rows} x {columns}, and a class token or none before them, got {attention.shape}"
        )
    patches = attention[:, :, -tokens:, -tokens:]

    def draw(layer, head, patch):
        weights = patches[layer].mean(axis=0) if head == "mean" else patches[layer, head]
        who = "mean over heads" if head == "mean" else f"head {head + 1}"
        return attention_maps(
            weights[patch].reshape(rows, columns),
            image=image,
            query=divmod(patch, columns),
            size=3.2,
            caption=f"Layer {layer + 1}, {who}: attention weights of the patch with the cross. "
            "Bright patches have the largest weights.",
        )

    layers, heads = ([(str(n + 1), n) for n in range(count)] for count in attention.shape[:2])
    middle = rows // 2 * columns + columns // 2
    start = {
        "layer": len(layers) - 1 if layer is None else layer,
        "head": head,
        "patch": middle if query is None else query,
    }
    choices = {"layer": layers, "head": [("mean", "mean"), *heads], "patch": (rows, columns)}
    return Explorer(draw, start, choices)


def window_painter(height, width, window, shift=None, token=0):
    """Click on a token of a map, and see which tokens it attends to in its shifted window.

    Parameters
    ----------
    height, width : int
        Size of the map, in tokens.
    window : int
        Side of a window, in tokens; divides both.
    shift : int, optional
        The first choice, in tokens; default: half a window.
    token : int, default 0
        The first choice, counted row by row.

    Returns
    -------
    Explorer
        To be shown.

    Examples
    --------
    >>> window_painter(8, 8, 4).figure(shift=2, token=0).caption
    'Shift 2: the white token attends to 4 tokens, to itself and to the grey ones.'
    """

    def draw(shift, token):
        here = np.zeros((1, height, width, 1))
        here[0, token // width, token % width] = 1
        cut = window_partition(cyclic_shift(here, shift), window).reshape(-1, window * window, 1)
        # Column of the mask: the tokens that attend to this one. The mask is symmetric, so it attends to the same tokens.
        seen = shifted_window_mask(height, width, window, shift) @ cut
        paint = (0.5 * seen + 0.5 * cut).reshape(-1, window, window, 1)
        rolled = window_reverse(paint, window, height, width)
        return images(
            [cyclic_shift(rolled, -shift)[0, ..., 0], rolled[0, ..., 0]],
            titles=["on the map", "on the rolled map"],
            size=2.8,
            vmin=0,
            vmax=1,
            caption=f"Shift {shift}: the white token attends to {int(seen.sum())} tokens, to itself and to the grey ones.",
        )

    start = {"shift": window // 2 if shift is None else shift, "token": token}
    return Explorer(draw, start, {"shift": list(range(window)), "token": (height, width)})


def matching_playground(costs, weights=None, **names):
    """Choose the weights in a matching cost, and see which pairs have the lowest total.

    Parameters
    ----------
    costs : dict of str to array_like, shape (Q, T)
        The terms of the cost, by name: a number for each pair of a prediction and a target.
    weights : dict of str to number, optional
        The first choice, each 0, 0.5, 1, 2, 5 or 10; default: 1 each.
    **names
        Passed to `cost_matrix`: ``x_names``, ``y_names``, ``values``, ...

    Returns
    -------
    Explorer
        To be shown.

    Examples
    --------
    >>> parts = {"class": [[0, 1], [1, 0]], "L1": [[1, 0], [0, 1]]}
    >>> matching_playground(parts, {"class": 2, "L1": 1}).figure().caption
    'Cost = 2 × class + 1 × L1. The framed pairs have the lowest total, 2.00.'
    """
    costs = {name: array(cost, name).astype(np.float64) for name, cost in costs.items()}

    def draw(**weights):
        total = functools.reduce(np.add, (weights[name] * cost for name, cost in costs.items()))
        pairs = linear_sum_assignment(total)
        words = " + ".join(f"{weight:g} × {name}" for name, weight in weights.items())
        caption = f"Cost = {words}. The framed pairs have the lowest total, {total[pairs].sum():.2f}."
        return cost_matrix(total, pairs, caption=caption, **names)

    start = {**dict.fromkeys(costs, 1), **(weights or {})}
    return Explorer(draw, start, dict.fromkeys(costs, [0, 0.5, 1, 2, 5, 10]))
