"""Films as pictures: where one place of one frame looks in all frames.

Not here: attention maps over a single image (attention.py), the weights; `mv.nn.looking(model)` collects them.
"""

import numpy as np

from minivis.viz.attention import cross, draw_over
from minivis.viz.boxes import gallery, picture_of
from minivis.viz.style import array

__all__ = ["film_attention"]


def film_attention(frames, weights, query, masks=None, size=1.9, title=None, caption=None):
    """Show how much one place of one frame takes from each place of every frame.

    Parameters
    ----------
    frames : array_like, shape (T, C, H, W) or (T, H, W)
        The film, drawn in grey.
    weights : array_like, shape (T, rows, columns)
        Weights of one query over all cells of all frames. All frames share one scale. Bright: large.
    query : (frame, row, column)
        The cell that asks, marked with a cross.
    masks : array_like of bool, shape (T, H, W), optional
        Pixels of the object that the query lies on; their edge is drawn in white.
    size : float, default 1.9
        Width of a frame in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown. In every other frame a ring marks the largest weight.

    Raises
    ------
    ValueError
        If weights or masks do not fit the frames, or the query lies outside.

    References
    ----------
    Wang et al., "Non-local neural networks", CVPR 2018, figure 3. Slide ``A/14-non-local-correlations``.

    Examples
    --------
    >>> fig = film_attention(np.zeros((3, 8, 8)), np.ones((3, 4, 4)), (2, 1, 1))
    >>> [ax.get_title() for ax in fig.axes]
    ['frame 1', 'frame 2', 'frame 3 asks']
    """
    name = "film_attention"
    pictures = [picture_of(name, frame) for frame in frames]
    weights = array(weights, "weights")
    if weights.ndim != 3 or len(weights) != len(pictures):
        raise ValueError(f"{name}: weights must be (T={len(pictures)}, rows, columns), got {weights.shape}")
    if len(query) != 3 or not all(0 <= q < n for q, n in zip(query, weights.shape, strict=True)):
        raise ValueError(
            f"{name}: query must be (frame, row, column) inside {weights.shape}, got {tuple(query)}"
        )
    if masks is not None and np.shape(masks) != (len(pictures), *pictures[0].shape[:2]):
        raise ValueError(f"{name}: masks must be (T, H, W) as the frames, got {np.shape(masks)}")
    titles = [f"frame {t + 1}" + (" asks" if t == query[0] else "") for t in range(len(pictures))]
    fig, axes = gallery(name, pictures, titles, min(len(pictures), 8), size, title, caption)
    top = float(weights.max()) or 1.0
    for t, (ax, picture) in enumerate(zip(axes, pictures, strict=True)):
        draw_over(ax, picture, weights[t] / top)
        if masks is not None:
            ax.contour(np.asarray(masks[t], float), levels=[0.5], colors="white", linewidths=1.2)
        if t == query[0]:
            cross(ax, query[1:], weights.shape[1:], picture.shape)
        else:
            _ring(ax, weights[t], picture.shape)
    return fig


def _ring(ax, one, shape):
    """A ring around the cell with the largest weight."""
    cell = np.unravel_index(one.argmax(), one.shape)
    y, x = (float(c + 0.5) * s / g - 0.5 for c, s, g in zip(cell, shape[:2], one.shape, strict=True))
    for colour, width in (("black", 3.5), ("white", 1.8)):
        ax.plot([x], [y], "o", markersize=13, fillstyle="none", color=colour, markeredgewidth=width)
