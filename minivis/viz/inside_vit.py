"""From inside a ViT: where a token looks in each of several images, and how each step changes the highest frequency.

Not here: one image with many maps (attention.py), computing the numbers (analysis/).
"""

import numpy as np

from minivis.viz.boxes import picture_of
from minivis.viz.style import COLOURS, FAINT, LITERAL, array, blank, figure, label

__all__ = ["amplitude_by_step", "attention_below_images"]


def attention_below_images(images, maps, size=1.2, title=None, caption=None):
    """Show images in a row, and below each the attention map of one token in it: bright cells have large weights.

    Parameters
    ----------
    images : sequence of array_like, each (H, W) or (C, H, W)
        Numbers from 0 to 1.
    maps : array_like, shape (n, rows, columns)
        A map for each image, each drawn on its own scale from 0.
    size : float, default 1.2
        Width of an image in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If there is no image, or images and maps differ in number.

    References
    ----------
    Slides ``A/35-output-token-attention``, ``H/10-attention-finds-the-object``.

    Examples
    --------
    >>> fig = attention_below_images(np.ones((3, 1, 8, 8)), np.ones((3, 4, 4)))
    >>> [ax.get_ylabel() for ax in fig.axes if ax.get_ylabel()]
    ['image', 'attention']
    """
    pictures = [picture_of("attention_below_images", image) for image in images]
    maps = array(maps, "maps")
    if not pictures or maps.ndim != 3 or len(maps) != len(pictures):
        raise ValueError(
            "attention_below_images: give a map (rows, columns) for each image, at least one; "
            f"got {len(pictures)} images and maps {maps.shape}"
        )
    tall = pictures[0].shape[0] / pictures[0].shape[1]
    width = max(size * len(pictures) + 0.3, 3.2)
    fig, axes = figure(2, len(pictures), width, 2 * size * tall + 0.5, title, caption)
    for ax, picture in zip(axes[0], pictures, strict=True):
        ax.imshow(np.clip(picture, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    for ax, one in zip(axes[1], maps, strict=True):
        ax.imshow(one, cmap="inferno", vmin=0, interpolation="nearest")
    for ax in axes.flat:
        blank(ax)
    label(axes[0, 0], "", "image")
    label(axes[1, 0], "", "attention")
    return fig


def amplitude_by_step(networks, shaded="attention", height=3.6, title=None, caption=None):
    """Draw the relative log amplitude of one frequency after each step of networks side by side, on one scale.

    Parameters
    ----------
    networks : dict of str to dict of str to float
        Name of a network to its steps in order: name of the step to the value after it. The first is the input.
    shaded : str, default "attention"
        The way to each step whose name begins with this word gets a grey band.
    height : float, default 3.6
        Inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown. A line that falls means that the step smooths the maps.

    Raises
    ------
    ValueError
        If there is no network, or one has no steps.

    References
    ----------
    Slide ``A/40-attention-dampens-high-frequencies``.

    Examples
    --------
    >>> fig = amplitude_by_step({"ViT": {"patches": -2.0, "attention 1": -2.4, "MLP 1": -2.3}})
    >>> [text.get_text() for text in fig.axes[0].get_xticklabels()]
    ['patches', 'attention 1', 'MLP 1']
    """
    if not networks or not all(networks.values()):
        raise ValueError("amplitude_by_step: give at least one network, each with at least one step")
    lengths = [len(steps) for steps in networks.values()]
    layout = {"sharey": True, "width_ratios": [max(3, n) for n in lengths]}
    fig, axes = figure(1, len(networks), 1.2 + 0.56 * sum(lengths), height, title, caption, **layout)
    for ax, (name, steps) in zip(axes[0], networks.items(), strict=True):
        for i, step in enumerate(steps):
            if step.startswith(shaded) and i:
                ax.axvspan(i - 1, i, color="#dddddd", linewidth=0)
        ax.plot(range(len(steps)), list(steps.values()), marker="o", color=COLOURS[0])
        ax.set_xticks(
            range(len(steps)), list(steps), rotation=40, ha="right", rotation_mode="anchor", **LITERAL
        )
        ax.grid(True, axis="y", color=FAINT, linewidth=0.6)
        ax.set_axisbelow(True)
        label(ax, "", "Δ(π), natural logarithm" if ax is axes[0, 0] else "", name)
    return fig
