"""Loss surfaces as maps with contour lines; several networks share one scale.

Not here: computing them (minivis/analysis/loss_shape.py).
"""

import numpy as np
from matplotlib.colors import LogNorm, Normalize

from minivis.viz.style import INK, SEQUENTIAL, array, colour_bar, figure, label

__all__ = ["loss_surfaces"]


def loss_surfaces(surfaces, columns=None, log=False, title=None, caption=None):
    """Draw loss surfaces side by side on one scale: dark is low, and a cross marks the model.

    Parameters
    ----------
    surfaces : dict of str to (array_like, array_like)
        Name to the result of `minivis.analysis.loss_surface`: steps (n,) and values (n, n).
    columns : int, optional
        Pictures in a row; default: all.
    log : bool, default False
        Colours and contour lines at equal ratios instead of equal differences; every loss must be above 0.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If there is no surface, values and steps do not fit, or ``log`` is True and a loss is not above 0.

    References
    ----------
    Slide ``A/38-attention-flattens-the-loss``.

    Examples
    --------
    >>> steps = np.linspace(-1, 1, 5)
    >>> fig = loss_surfaces({"a bowl": (steps, steps[:, None] ** 2 + steps**2)})
    >>> fig.axes[0].get_title()
    'a bowl'
    """
    surfaces = {n: (array(s, "steps"), array(v, "values")) for n, (s, v) in surfaces.items()}
    if not surfaces:
        raise ValueError("loss_surfaces: there is no surface to draw")
    for name, (steps, values) in surfaces.items():
        if steps.ndim != 1 or values.shape != (len(steps),) * 2:
            raise ValueError(
                f"loss_surfaces: {name!r} needs steps (n,) and values (n, n), got {steps.shape} and {values.shape}"
            )
    low, high = (f([f(v) for _, v in surfaces.values()]) for f in (np.min, np.max))
    if log and low <= 0:
        raise ValueError(f"loss_surfaces: log=True needs losses above 0, got {low:.3g}")
    high = high if high > low else low + 1
    levels = np.geomspace(low, high, 15) if log else np.linspace(low, high, 15)
    scale = LogNorm(low, high) if log else Normalize(low, high)
    columns = min(columns or len(surfaces), len(surfaces))
    rows = -(-len(surfaces) // columns)
    fig, axes = figure(rows, columns, 2.5 * columns + 0.9, 2.6 * rows + 0.4 * bool(title), title, caption)
    for ax in axes.flat[len(surfaces) :]:
        ax.set_axis_off()
    for ax, (name, (steps, values)) in zip(axes.flat, surfaces.items(), strict=False):
        drawn = ax.contourf(steps, steps, values, levels=levels, cmap=SEQUENTIAL, norm=scale)
        ax.contour(steps, steps, values, levels=levels, colors="white", linewidths=0.4)
        ax.plot(0, 0, "+", color="white", markersize=9, markeredgewidth=1.6)
        ax.set_aspect("equal")
        first = ax in axes[:, 0]
        label(ax, "second direction", "first direction" if first else "", name)
        ax.tick_params(labelcolor=INK, labelsize=8)
    bar = colour_bar(fig, drawn, axes, "loss, nats")
    bar.set_ticks(levels[::2], labels=[f"{level:.2g}" for level in levels[::2]], minor=False)
    bar.minorticks_off()
    return fig
