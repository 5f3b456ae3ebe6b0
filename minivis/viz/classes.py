"""The prediction of a classifier: the image, and beside it a bar for each of the likeliest classes.

Not here: boxes and masks (boxes.py, masks.py).
"""

import numpy as np

from minivis.viz.boxes import draw_image, picture_of, short_name
from minivis.viz.style import BLUE, INK, LITERAL, array, blank, figure

__all__ = ["classes_on_image"]


def classes_on_image(image, names, scores, size=4.0, title=None, caption=None):
    """Show an image and, beside it, the predicted probability of each class.

    Parameters
    ----------
    image : array_like, shape (H, W) or (C, H, W) with C = 1 or 3
        RGB numbers from 0 to 1, or bytes.
    names : sequence of str
        Classes, likeliest first.
    scores : array_like, shape (len(names),)
        Their probabilities.
    size : float, default 4
        Width of the image in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If the shape is not that of an image, there is no class, or names and scores differ in number.

    Examples
    --------
    >>> fig = classes_on_image(np.zeros((8, 8)), ["cat", "dog"], [0.9, 0.1])
    >>> [text.get_text() for text in fig.axes[1].texts]
    ['cat 0.90', 'dog 0.10']
    """
    picture = picture_of("classes_on_image", image)
    scores = array(scores, "scores")
    if scores.shape != (len(names),) or not len(names):
        raise ValueError(f"classes_on_image: {len(names)} names for scores of shape {scores.shape}")
    height = max(size * min(picture.shape[0] / picture.shape[1], 3), 0.42 * len(names))
    fig, axes = figure(1, 2, 2 * size, height + (0.4 if title else 0.1), title, caption)
    left, right = axes[0]
    blank(left)
    draw_image(left, picture)
    places = np.arange(len(names))
    right.barh(places, scores, height=0.22, color=BLUE)
    for place, name, score in zip(places, names, scores, strict=True):
        look = {"ha": "left", "va": "bottom", "fontsize": 10, "color": INK, **LITERAL}
        right.text(0, place - 0.18, f"{short_name(name)} {score:.2f}", **look)
    right.set(xlim=(0, 1), ylim=(len(names) - 0.6, -0.75))
    right.axis("off")
    return fig
