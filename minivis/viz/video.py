"""Films and ViViT: frames in rows, which tokens see which, what a place of a film looks at.

Not here: the weights (analysis/space_time.py), one non-local block (films.py), curves and bars (charts.py).
"""

from matplotlib.patches import Rectangle

from minivis.viz.attention import cross, draw_over
from minivis.viz.boxes import picture_of
from minivis.viz.style import COLOURS, LITERAL, array, blank, figure, label

__all__ = ["film_rows", "space_time_pattern", "video_attention"]

STEPS = {"joint": COLOURS[0], "space": COLOURS[0], "time": COLOURS[1]}  # a colour for each kind of attention
FAINT = "#cccccc"


def film_rows(films, titles=None, size=1.0, title=None, caption=None):
    """Show films, one in each row, frame after frame.

    Parameters
    ----------
    films : sequence of array_like, shape (T, C, H, W) or (T, H, W)
        Films of one length.
    titles : sequence of str, optional
        One for each film, at the left of its row.
    size : float, default 1.0
        Width of a frame in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If there is no film, their lengths differ, or there is another number of titles.

    References
    ----------
    Slide ``A/108-vivit-idea``.

    Examples
    --------
    >>> import numpy as np
    >>> len(film_rows([np.zeros((3, 8, 8))] * 2, ["one", "two"]).axes)
    6
    """
    rows = [[picture_of("film_rows", frame) for frame in film] for film in films]
    lengths = {len(row) for row in rows}
    if len(lengths) != 1 or (titles is not None and len(titles) != len(rows)):
        raise ValueError(
            f"film_rows: films must have one length and a title each, got lengths {sorted(lengths)} and "
            f"{0 if titles is None else len(titles)} titles for {len(rows)} films"
        )
    T = lengths.pop()
    height = len(rows) * size + (0.75 if title else 0.4)
    fig, axes = figure(len(rows), T, T * size + (1.3 if titles else 0.2), height, title, caption)
    for r, row in enumerate(rows):
        for t, picture in enumerate(row):
            ax = axes[r, t]
            blank(ax)
            ax.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            if r == 0:
                label(ax, title=f"frame {t + 1}" if t == 0 else f"{t + 1}")
        if titles is not None:
            axes[r, 0].set_ylabel(str(titles[r]), rotation=0, ha="right", va="center", fontsize=9)
    return fig


def space_time_pattern(patterns, query, grid, size=0.62, title=None, caption=None):
    """Draw which tokens of a film one token sees, for each variant a row of frames.

    Parameters
    ----------
    patterns : dict of str to (dict of str to array_like, shape (T, N))
        For each variant, and for each of its steps ("joint", "space" or "time"), the weights of the token that asks. A token
        with a weight above 0 is seen.
    query : (int, int)
        Time and place of the token that asks; it is marked with a cross.
    grid : (int, int)
        Rows and columns of the N places.
    size : float, default 0.62
        Side of a frame in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown. Blue: seen together or in space. Orange: seen in time. Both: the token is split.

    Raises
    ------
    ValueError
        If weights do not fit the grid, or a step has another name.

    References
    ----------
    Arnab et al. 2021, figures 4 to 6. Slide ``A/109-four-variants``.

    Examples
    --------
    >>> seen = {"space": [[1, 1], [0, 0]], "time": [[1, 0], [1, 0]]}
    >>> fig = space_time_pattern({"split": seen}, (0, 0), (1, 2))
    >>> len(fig.axes)
    2
    """
    patterns = {name: {step: array(w, step) for step, w in steps.items()} for name, steps in patterns.items()}
    shapes = {w.shape for steps in patterns.values() for w in steps.values()}
    rows, columns = grid
    if len(shapes) != 1 or next(iter(shapes))[1:] != (rows * columns,):
        raise ValueError(f"space_time_pattern: weights must be (T, {rows} x {columns}), got {sorted(shapes)}")
    if unknown := {step for steps in patterns.values() for step in steps} - STEPS.keys():
        raise ValueError(f"space_time_pattern: steps are {', '.join(STEPS)}, got {sorted(unknown)}")
    T = shapes.pop()[0]
    side = size * max(1, columns / rows)
    height = len(patterns) * (size + 0.12) + (0.8 if title else 0.45)
    fig, axes = figure(len(patterns), T, T * side + 2.6, height, title, caption)
    for row, (name, steps) in enumerate(patterns.items()):
        for t in range(T):
            ax = axes[row, t]
            blank(ax)
            ax.set(xlim=(0, columns), ylim=(rows, 0), aspect="equal")
            for n in range(rows * columns):
                _cell(ax, divmod(n, columns), [step for step, w in steps.items() if w[t, n] > 0])
            if t == query[0]:
                y, x = divmod(query[1], columns)
                ax.plot([x + 0.5], [y + 0.5], "+", color="black", markersize=9, markeredgewidth=2)
            if row == 0:
                label(ax, title=f"time {t + 1}" if t == 0 else f"{t + 1}")
        axes[row, 0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9, **LITERAL)
    return fig


def _cell(ax, place, steps):
    """One token: white if nobody sees it, in the colour of the step that does, in stripes for two."""
    y, x = place
    for i, step in enumerate(steps):
        width = 1 / len(steps)
        ax.add_patch(Rectangle((x + i * width, y), width, 1, color=STEPS[step], linewidth=0))
    ax.add_patch(
        Rectangle((x, y), 1, 1, fill=False, edgecolor=FAINT if not steps else "white", linewidth=0.7)
    )


def video_attention(frames, rows, query=None, size=1.5, title=None, caption=None):
    """Show what one token of a film takes from the tokens of all times, in several models or steps: a row for each.

    Parameters
    ----------
    frames : array_like, shape (T, C, H, W) or (T, H, W)
        A frame for each step in time, drawn in grey.
    rows : dict of str to array_like, shape (T, rows, columns)
        Names and weights of the token that asks. Each row has its own scale. Bright: large.
    query : (int, int, int), optional
        Time, row and column of the token that asks, marked with a cross. A class token has no place.
    size : float, default 1.5
        Width of a frame in inches.
    title, caption : str, optional
        Above and below.

    Returns
    -------
    Figure
        To be shown.

    Raises
    ------
    ValueError
        If weights do not fit the frames, or the query lies outside.

    References
    ----------
    Slides ``A/113-spatio-temporal-attention``, ``A/118-factorised-self-attention``, ``A/119-factorised-heads``.

    Examples
    --------
    >>> import numpy as np
    >>> fig = video_attention(np.zeros((2, 8, 8)), {"joint": np.ones((2, 4, 4))}, (1, 0, 0))
    >>> [ax.get_title() for ax in fig.axes]
    ['time 1', 'time 2 asks']
    """
    pictures = [picture_of("video_attention", frame) for frame in frames]
    rows = {name: array(weights, name) for name, weights in rows.items()}
    T = len(pictures)
    if wrong := [w.shape for w in rows.values() if w.ndim != 3 or len(w) != T]:
        raise ValueError(f"video_attention: weights must be (T={T}, rows, columns), got {wrong[0]}")
    cells = next(iter(rows.values())).shape
    inside = query is None or (len(query) == 3 and all(0 <= q < n for q, n in zip(query, cells, strict=True)))
    if not inside:
        raise ValueError(
            f"video_attention: query must be (time, row, column) inside {cells}, got {tuple(query)}"
        )
    height = len(rows) * size + (0.75 if title else 0.4)
    fig, axes = figure(len(rows), T, T * size + 1.7, height, title, caption)
    for row, (name, weights) in enumerate(rows.items()):
        top = float(weights.max()) or 1.0
        for t, (ax, picture) in enumerate(zip(axes[row], pictures, strict=True)):
            blank(ax)
            draw_over(ax, picture, weights[t] / top)
            asks = query is not None and t == query[0]
            if asks:
                cross(ax, query[1:], weights.shape[1:], picture.shape)
            if row == 0:
                label(ax, title=f"time {t + 1}" + (" asks" if asks else ""))
        axes[row, 0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9, **LITERAL)
    return fig
