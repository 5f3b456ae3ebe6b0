"""Detectors beside each other: what an image costs, how well the objects are found, and where the time goes.

Not here: measuring it (recipes/detection_road.py), boxes on a picture (boxes.py).
"""

import numpy as np

from minivis.viz.style import COLOURS, FAINT, INK, LITERAL, MARKERS, array, figure, label, legend

__all__ = ["cost_of_detectors"]

PARTS = ("proposals", "network", "rest")


def cost_of_detectors(methods, width=9.6, height=4.2, title=None, caption=None):
    """Draw detectors by their seconds for an image and their AP50, and the parts of these seconds as bars.

    Parameters
    ----------
    methods : dict of str to dict
        Name of a detector to its "AP50", "proposals", "network" and "rest", each a number or a list with one number for
        each seed, as in the results of `minivis.recipes.detection_road`. The figure shows the means.
    width, height : float
        Inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown: on the left AP50 against the seconds on a logarithmic axis, on the right a bar for each detector.

    Raises
    ------
    ValueError
        If there is nothing to draw, or a detector takes no time.

    References
    ----------
    Slide ``C/60-rcnn-times``.

    Examples
    --------
    >>> row = {"AP50": [0.8], "proposals": [0.1], "network": [0.02], "rest": [0.01]}
    >>> fig = cost_of_detectors({"Fast R-CNN": row})
    >>> fig.axes[0].get_xscale()
    'log'
    """
    if not methods:
        raise ValueError("cost_of_detectors: there is no detector to draw")
    means = {
        name: {part: float(np.mean(array(row[part], part))) for part in ("AP50", *PARTS)}
        for name, row in methods.items()
    }
    seconds = {name: sum(row[part] for part in PARTS) for name, row in means.items()}
    if min(seconds.values()) <= 0:
        raise ValueError(f"cost_of_detectors: {min(seconds, key=seconds.get)!r} takes no time")
    fig, axes = figure(1, 2, width, height, title, caption)
    left, right = axes[0]
    left.set_xscale("log")
    for i, (name, row) in enumerate(means.items()):
        turn = i // len(COLOURS)  # from the second round on, a colour has another marker
        look = {"marker": MARKERS[(i + turn) % len(MARKERS)], "color": COLOURS[i % len(COLOURS)]}
        left.plot(
            seconds[name], row["AP50"], linestyle="", markersize=8, markeredgecolor=INK, label=name, **look
        )
    left.set_ylim(0, 1)
    left.grid(True, color=FAINT, linewidth=0.6)
    label(left, "seconds for an image", "AP50 on held-out scenes")
    legend(left, fontsize=8, loc="best")
    places = np.arange(len(means))
    begin = np.zeros(len(means))
    for part, colour in zip(PARTS, COLOURS, strict=False):
        lengths = np.array([row[part] for row in means.values()])
        right.barh(places, lengths, left=begin, color=colour, label=part)
        begin += lengths
    for place, total in zip(places, begin, strict=True):
        right.text(total, place, f" {1000 * total:.0f} ms", va="center", fontsize=8, color=INK)
    right.set_xlim(0, 1.2 * begin.max())
    right.set_yticks(places, list(means), fontsize=8, **LITERAL)
    right.invert_yaxis()
    label(right, "seconds for an image, by part")
    legend(right, fontsize=8, loc="lower right")
    return fig
