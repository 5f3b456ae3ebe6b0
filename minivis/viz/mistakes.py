"""What mistakes do to a model's features: how far they move, and how often they are taken for another place.

Not here: making the mistakes and measuring them (notebook 22).
"""

from minivis.viz.style import COLOURS, FAINT, INK, LITERAL, MARKERS, array, figure, label, legend

__all__ = ["effects_of_mistakes"]

LEAST = 1e-4  # changes below are drawn here


def effects_of_mistakes(rows, names, title=None, caption=None):
    """Draw two effects of each mistake, on several pictures.

    Parameters
    ----------
    rows : dict of str to array_like
        A mistake to (P, 2): for each of P pictures the change of the features relative to their length, and the share of
        places, 0 to 1, that are no longer recognised. The first is on top.
    names : sequence of str
        The P pictures.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown. On the left the changes on a logarithmic axis, on the right the shares.

    Raises
    ------
    ValueError
        If there is nothing to draw, or a mistake has not two numbers for each picture.

    Examples
    --------
    >>> fig = effects_of_mistakes({"another eps": [[0.004, 0.0]]}, ["tower"])
    >>> [ax.get_xscale() for ax in fig.axes]
    ['log', 'linear']
    """
    drawn = {name: array(values, name) for name, values in rows.items()}
    if not drawn or any(values.shape != (len(names), 2) for values in drawn.values()):
        shapes = ", ".join(f"{name}: {values.shape}" for name, values in drawn.items())
        raise ValueError(
            f"effects_of_mistakes: every mistake needs ({len(names)}, 2) numbers; got {shapes or 'none'}"
        )
    fig, axes = figure(1, 2, 9.6, 1.3 + 0.27 * len(drawn), title, caption)
    left, right = axes[0]
    for ax, which in ((left, 0), (right, 1)):
        for row, values in enumerate(drawn.values()):
            for i, value in enumerate(values[:, which]):
                look = {"color": COLOURS[i % 7], "markersize": 7, "alpha": 0.85, "markeredgewidth": 0}
                value = max(value, LEAST) if ax is left else value
                ax.plot(value, row, MARKERS[i % 7], label=names[i] if row == 0 else None, **look)
        ax.set_yticks(range(len(drawn)), list(drawn) if ax is left else [], **LITERAL)
        ax.set_ylim(len(drawn) - 0.5, -0.5)
        ax.grid(True, color=FAINT, linewidth=0.6)
    left.set_xscale("log")
    left.set_xlim(LEAST / 1.5, 5)
    left.axvline(1, color=INK, linewidth=0.8, linestyle="--")
    right.set_xlim(-0.04, 1.04)
    legend(right, fontsize=9, loc="upper right")
    label(left, "change of the features, relative to their length", "")
    label(right, "share of patches taken for another place", "")
    return fig
