"""Deep networks as curves: training and test error along the steps, and the length of the gradients by layer.

Not here: measuring them (recipes/depth.py, minivis/analysis/gradients.py).
"""

import numpy as np

from minivis.viz.style import COLOURS, FAINT, LINES, array, figure, label, legend

__all__ = ["gradients_by_layer", "training_errors"]


def training_errors(panels, width=None, height=3.4, title=None, caption=None):
    """Draw the errors of networks during their training: dashed on the training pictures, solid on the test pictures.

    Parameters
    ----------
    panels : dict of str to dict
        Title of a panel to its networks; name of a network to its "steps", "training error" and "test error", each with
        a row of numbers for each seed, as in the results of `minivis.recipes.depth`. A line is the mean over the seeds;
        the band goes from the lowest to the highest.
    width : float, optional
        Inches; default: 4.2 for each panel.
    height : float, default 3.4
        Inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If there is nothing to draw, or steps and errors of a network differ in shape.

    References
    ----------
    He et al., "Deep residual learning for image recognition", CVPR 2016, figures 1 and 6. Slides
    ``C/16-deeper-plain-networks-get-worse``, ``C/20-deeper-is-harder-to-optimise``.

    Examples
    --------
    >>> run = {"steps": [[10, 20]], "training error": [[0.5, 0.1]], "test error": [[0.6, 0.2]]}
    >>> fig = training_errors({"digits": {"plain 20": run}})
    >>> fig.axes[0].get_title()
    'digits'
    """
    if not panels or not all(panels.values()):
        raise ValueError("training_errors: there is no network to draw")
    fig, axes = figure(1, len(panels), width or 4.2 * len(panels), height, title, caption, sharey=True)
    for ax, (panel, networks) in zip(axes[0], panels.items(), strict=True):
        for (name, run), colour in zip(networks.items(), _colours(), strict=False):
            for metric, line in (("training error", "--"), ("test error", "-")):
                steps, errors = _rows(name, run["steps"], run[metric])
                _band(ax, steps[0], 100 * errors, colour, line, name if line == "-" else None)
        ax.set_ylim(0, 100)
        ax.grid(True, color=FAINT, linewidth=0.6)
        first = ax is axes[0, 0]
        label(ax, "training steps", "error, % (dashed: training)" if first else "", panel)
        legend(ax, fontsize=8)
    return fig


def gradients_by_layer(norms, width=6.4, height=3.6, title=None, caption=None):
    """Draw the length of the gradient in each layer, on a logarithmic scale.

    Parameters
    ----------
    norms : dict of str to array_like
        Name of a network to the lengths from the first layer to the last, (L,), or to a row for each seed, (seeds, L).
        A line is the geometric mean over the seeds; the band goes from the lowest to the highest. All above 0.
    width, height : float
        Inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If there is nothing to draw, or a length is not above 0.

    References
    ----------
    Slide ``C/19-vanishing-gradient``.

    Examples
    --------
    >>> fig = gradients_by_layer({"plain": [1e-9, 1e-6, 1e-3]})
    >>> fig.axes[0].get_yscale()
    'log'
    """
    if not norms:
        raise ValueError("gradients_by_layer: there is no network to draw")
    fig, axes = figure(1, 1, width, height, title, caption)
    ax = axes[0, 0]
    ax.set_yscale("log")
    looks = zip(_colours(), LINES * len(norms), strict=False)
    for (name, given), (colour, line) in zip(norms.items(), looks, strict=False):
        rows = np.atleast_2d(array(given, name))
        if rows.ndim != 2 or not rows.size or (rows <= 0).any():
            raise ValueError(
                f"gradients_by_layer: {name!r} needs lengths above 0, (L,) or (seeds, L), got {rows.shape}"
            )
        _band(ax, np.arange(1, rows.shape[1] + 1), rows, colour, line, name, geometric=True)
    ax.grid(True, color=FAINT, linewidth=0.6)
    label(ax, "layer, from the input to the output", "length of the gradient")
    legend(ax, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig


def _colours():
    """Colours for networks, in the order in which they are drawn."""
    return COLOURS * 4


def _rows(name, steps, errors):
    steps, errors = (np.atleast_2d(array(x, name)) for x in (steps, errors))
    if steps.shape != errors.shape or not errors.size:
        raise ValueError(
            f"training_errors: {name!r} needs steps and errors of one shape, got {steps.shape} and {errors.shape}"
        )
    return steps, errors


def _band(ax, x, rows, colour, line, name, geometric=False):
    """A line for the mean of several rows, and a band from the lowest to the highest."""
    mean = np.exp(np.log(rows).mean(axis=0)) if geometric else rows.mean(axis=0)
    ax.plot(x, mean, color=colour, linestyle=line, linewidth=1.7, label=name)
    ax.fill_between(x, rows.min(axis=0), rows.max(axis=0), color=colour, alpha=0.15, linewidth=0)
