"""DINO as pictures: the views of a picture, what each head attends to, entropies along a training, answers of a teacher.

Not here: making the views (data/multi_crop.py), measuring (recipes/dino_digits.py, recipes/collapse.py).
"""

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from minivis.analysis.attended import attention_masks, jaccard
from minivis.viz.pictures import channels_last
from minivis.viz.style import (
    BLUE,
    COLOURS,
    FAINT,
    GREEN,
    GREY,
    INK,
    LINES,
    ORANGE,
    SEQUENTIAL,
    VERMILION,
    array,
    blank,
    colour_bar,
    figure,
    label,
    legend,
)

__all__ = ["class_attention", "collapse_curves", "multi_crop_views", "teacher_answers"]


def multi_crop_views(image, boxes, views, global_views=2, size=1.5, title=None, caption=None):
    """Show a picture, the pieces that were cut out of it, and the views that were made of them.

    Parameters
    ----------
    image : array_like, shape (C, H, W)
        The picture; C is 1 or 3.
    boxes : array_like, shape (V, 4)
        Left, top, right, bottom of each piece, in pixels, as `RandomResizedCrop.with_boxes` returns them.
    views : sequence of array_like, each of shape (C, h, w)
        The views, in the order of the boxes. Their sizes are drawn in proportion.
    global_views : int, default 2
        How many of them, the first ones, the teacher sees too.
    size : float, default 1.5
        Width of the picture in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If boxes and views do not fit together.

    References
    ----------
    Slide ``A/102-multi-crop``.

    Examples
    --------
    >>> fig = multi_crop_views(np.zeros((1, 8, 8)), [[0, 0, 6, 6], [2, 2, 5, 5]], [np.zeros((1, 8, 8)), np.zeros((1, 4, 4))])
    >>> [ax.get_title() for ax in fig.axes]
    ['the picture', 'view 1: both', 'view 2: both']
    """
    image, boxes = array(image, "image"), array(boxes, "boxes")
    views = [array(view, "views") for view in views]
    if boxes.shape != (len(views), 4) or not views or any(view.ndim != 3 for view in (image, *views)):
        shapes = ", ".join(str(view.shape) for view in views)
        raise ValueError(
            f"multi_crop_views: needs one box for each view, (V, 4), and pictures (C, H, W), got boxes {boxes.shape} and views "
            f"{shapes}"
        )
    count = 1 + len(views)
    columns = count if count <= 7 else -(-count // 2)
    rows = -(-count // columns)
    fig, axes = figure(rows, columns, size * columns, 1.25 * size * rows, title, caption)
    for ax in axes.flat:
        blank(ax)
    _show(axes.flat[0], image)
    axes.flat[0].set_title("the picture", fontsize=9, color=INK)
    largest = max(max(view.shape[1:]) for view in views)
    for i, (ax, view, box) in enumerate(zip(list(axes.flat)[1:], views, boxes, strict=False)):
        colour = BLUE if i < global_views else ORANGE
        left, top, right, bottom = box
        frame = {"fill": False, "edgecolor": colour, "linewidth": 1.6}
        axes.flat[0].add_patch(Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, **frame))
        _show(ax, view)
        middle = [(n - 1) / 2 for n in view.shape[1:]]
        ax.set_xlim(middle[1] - largest / 2, middle[1] + largest / 2)
        ax.set_ylim(middle[0] + largest / 2, middle[0] - largest / 2)
        ax.add_patch(Rectangle((-0.5, -0.5), view.shape[2], view.shape[1], **frame))
        who = "both" if i < global_views else "student"
        ax.set_title(f"view {i + 1}: {who}", fontsize=9, color=INK)
    return fig


def class_attention(images, attention, truth=None, share=0.6, size=1.1, title=None, caption=None):
    """Show what the class token attends to, head by head: a row for each picture, a column for each head.

    The frame of cells is drawn around those that together hold a share of the attention. With the truth, the number below
    each map is the overlap (Jaccard) of these cells with it.

    Parameters
    ----------
    images : array_like, shape (B, C, H, W)
        The pictures; C is 1 or 3.
    attention : array_like, shape (B, h, rows, columns)
        Attention weights of the class token to the cells of each picture.
    truth : array_like of bool, shape (B, 1, rows, columns), optional
        The cells of the object.
    share : float, default 0.6
        See `minivis.analysis.attention_masks`.
    size : float, default 1.1
        Width of a map in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    References
    ----------
    Caron et al., "Emerging properties in self-supervised vision transformers", ICCV 2021, figures 1 and 3. Slide
    ``A/104-dino-attention``.

    Examples
    --------
    >>> fig = class_attention(np.zeros((2, 1, 8, 8)), np.ones((2, 3, 4, 4)))
    >>> [ax.get_title() for ax in fig.axes[:4]]
    ['picture', 'head 1', 'head 2', 'head 3']
    """
    images, attention = array(images, "images"), array(attention, "attention")
    if images.ndim != 4 or attention.ndim != 4 or len(images) != len(attention) or not attention.size:
        raise ValueError(
            f"class_attention: needs images (B, C, H, W) and attention (B, h, rows, columns), got {images.shape} and "
            f"{attention.shape}"
        )
    B, heads, rows, columns = attention.shape
    masks = attention_masks(attention.reshape(B, heads, -1), share).reshape(attention.shape)
    overlap = None
    if truth is not None:
        if np.shape(truth) != (B, 1, rows, columns):
            raise ValueError(
                f"class_attention: truth must be (B, 1, rows, columns) = {(B, 1, rows, columns)}, got {np.shape(truth)}"
            )
        overlap = jaccard(masks, np.asarray(truth, bool))
    height = B * (size + (0.22 if overlap is not None else 0.0)) + 0.35
    fig, axes = figure(B, 1 + heads, size * (1 + heads), height, title, caption)
    for i in range(B):
        _show(axes[i, 0], images[i])
        for head in range(heads):
            ax = axes[i, 1 + head]
            ax.imshow(attention[i, head], cmap="inferno", interpolation="nearest")
            _outline(ax, masks[i, head])
            if overlap is not None:
                ax.set_xlabel(f"{overlap[i, head]:.2f}", fontsize=8, color=INK)
    for ax in axes.flat:
        blank(ax)
    for ax, name in zip(axes[0], ["picture", *[f"head {head + 1}" for head in range(heads)]], strict=True):
        ax.set_title(name, fontsize=9, color=INK)
    return fig


def collapse_curves(runs, classes, metrics=("entropy", "entropy of the mean"), width=None, height=3.3, title=None, caption=None):  # fmt: skip
    """Draw the entropy of a teacher's answers along trainings: a panel for each training, a line for each metric.

    Parameters
    ----------
    runs : dict of str to dict
        Title of a panel to its "steps" and its metrics, each with a row of numbers for each seed, as in the results of
        `minivis.recipes.collapse`. A line is the mean over the seeds; the band goes from the lowest to the highest.
    classes : int
        K: a line is drawn at log K, the entropy of the uniform answer.
    metrics : sequence of str
        Which metrics are drawn.
    width : float, optional
        Inches; default: 2.5 for each panel, and the legend.
    height : float, default 3.3
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
        If there is nothing to draw, or steps and a metric differ in shape.

    References
    ----------
    Caron et al. 2021, figure 7. Slide ``A/103-avoiding-collapse``.

    Examples
    --------
    >>> run = {"steps": [[0, 10]], "entropy": [[4.8, 3.0]], "entropy of the mean": [[4.8, 4.5]]}
    >>> fig = collapse_curves({"whole": run}, classes=128)
    >>> fig.axes[0].get_title()
    'whole'
    """
    if not runs:
        raise ValueError("collapse_curves: there is no training to draw")
    fig, axes = figure(1, len(runs), width or 2.5 * len(runs) + 1.4, height, title, caption, sharey=True)
    for ax, (panel, run) in zip(axes[0], runs.items(), strict=True):
        ax.axhline(np.log(classes), color=INK, linewidth=0.9, linestyle=":", label=f"log {classes}")
        for metric, colour, line in zip(metrics, (VERMILION, BLUE, GREEN, *COLOURS), LINES, strict=False):
            steps, rows = (np.atleast_2d(array(x, panel)) for x in (run["steps"], run[metric]))
            if steps.shape != rows.shape or not rows.size:
                raise ValueError(
                    f"collapse_curves: {panel!r} needs steps and {metric} of one shape, got {steps.shape} and {rows.shape}"
                )
            ax.plot(
                steps[0],
                rows.mean(axis=0),
                color=colour,
                linestyle=line,
                linewidth=1.7,
                label=_of_whom(metric),
            )
            ax.fill_between(
                steps[0], rows.min(axis=0), rows.max(axis=0), color=colour, alpha=0.15, linewidth=0
            )
        ax.grid(True, color=FAINT, linewidth=0.6)
        ax.set_ylim(0, 1.08 * np.log(classes))
        label(ax, "training steps", "entropy, nats" if ax is axes[0, 0] else "", panel)
    # not above the panels, where the title stands
    handles, names = axes[0, 0].get_legend_handles_labels()
    legend(fig, handles=handles, labels=names, loc="outside right upper", fontsize=9)
    return fig


def teacher_answers(scores, centre, temperature=0.04, student_temp=0.1, title=None, caption=None, height=3.0):
    """Draw a teacher's answers to several pictures: the softmax alone, centred, sharpened, and both.

    Parameters
    ----------
    scores : array_like, shape (B, K)
        The teacher's scores; each picture is a row of each panel.
    centre : array_like, shape (K,)
        Their moving mean.
    temperature : float, default 0.04
        The teacher's, which sharpens. Without it the scores are divided by ``student_temp``.
    student_temp : float, default 0.1
        See above.
    title, caption : str, optional
        Above and below.
    height : float, default 3
        Inches.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If scores and centre do not fit.

    References
    ----------
    Slides ``A/100-centring-and-cross-entropy``, ``A/101-temperature-softmax``, ``A/103-avoiding-collapse``.

    Examples
    --------
    >>> fig = teacher_answers(np.eye(4), np.full(4, 0.25))
    >>> fig.axes[3].get_title()
    'centred and sharpened'
    """
    scores = array(scores, "scores").astype(np.float64)
    centre = array(centre, "centre")
    if scores.ndim != 2 or not scores.size or centre.shape != scores.shape[1:]:
        raise ValueError(
            f"teacher_answers: needs scores (B, K) and a centre (K,), got {scores.shape} and {centre.shape}"
        )
    order = np.argsort(-centre, kind="stable")  # what all pictures have in common stands on the left
    panels = {
        "neither": scores / student_temp,
        "sharpened": scores / temperature,
        "centred": (scores - centre) / student_temp,
        "centred and sharpened": (scores - centre) / temperature,
    }
    fig, axes = figure(1, 4, 11.0, height, title, caption, sharey=True)
    for ax, (name, logits) in zip(axes[0], panels.items(), strict=True):
        likely = np.exp(logits - logits.max(axis=1, keepdims=True))
        likely = (likely / likely.sum(axis=1, keepdims=True))[:, order]
        # small probabilities are many, and should be seen too
        look = {"cmap": SEQUENTIAL, "norm": PowerNorm(0.4, 0, 1), "interpolation": "nearest"}
        shown = ax.imshow(likely, aspect="auto", **look)
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))
        label(ax, "answer, by its centre", "picture" if ax is axes[0, 0] else "", name)
    colour_bar(fig, shown, list(axes[0]), "probability").set_ticks([0, 0.01, 0.1, 0.3, 1])
    return fig


def _of_whom(metric):
    return {"entropy": "of each answer", "entropy of the mean": "of the mean answer"}.get(metric, metric)


def _show(ax, image):
    """An image (C, H, W) without smoothing."""
    ax.imshow(np.clip(channels_last(image), 0, 1), cmap=GREY, vmin=0, vmax=1, interpolation="nearest")


def _outline(ax, mask):
    """The border of a mask's cells."""
    rows, columns = mask.shape
    padded = np.pad(mask, 1)
    for i, j in zip(*np.nonzero(padded[:, 1:] != padded[:, :-1]), strict=True):  # left and right borders
        ax.plot([j - 0.5] * 2, [i - 1.5, i - 0.5], color="white", linewidth=1)
    for i, j in zip(*np.nonzero(padded[1:] != padded[:-1]), strict=True):
        ax.plot([j - 1.5, j - 0.5], [i - 0.5] * 2, color="white", linewidth=1)
    ax.set_xlim(-0.5, columns - 0.5)
    ax.set_ylim(rows - 0.5, -0.5)
