"""The common style of every picture: size, colours, title, caption, labelled axes, and how Jupyter shows it.

Not here: pyplot. A Figure is not part of any global state: it need not be closed, and Jupyter shows it once.
"""

import io
import textwrap
from pathlib import Path

import matplotlib.figure
import numpy as np
from matplotlib.colors import to_rgb

from minivis.autograd import Tensor
from minivis.backend import to_numpy
from minivis.data.color import LUMA
from minivis.storage import write_files

__all__ = ["COLOURS", "DIVERGING", "SEQUENTIAL", "Figure", "figure", "label"]

# Okabe and Ito's palette for all kinds of colour vision, without its yellow, which is too faint on white.
BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, BLACK = COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000",
)  # fmt: skip
# Curves and dots differ in more than colour.
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)))
MARKERS = "osD^vPX"
# Colour maps for amounts, for signed numbers (purple < 0 < orange), and for images.
SEQUENTIAL, DIVERGING, GREY = "viridis", "PuOr_r", "gray"
INK, FAINT = "#222222", "#d9d9d9"
DPI = 100
LINE = 0.17  # inches of a line of the caption
LITERAL = {"parse_math": False}  # for texts from users: a dollar sign in a name does not begin a formula


class Figure(matplotlib.figure.Figure):
    """A matplotlib figure that knows its caption and shows itself in Jupyter, once, as a PNG with the caption as alt text.

    Attributes
    ----------
    caption : str or None
        What the picture shows, as one line.
    """

    caption = None
    below = None  # the text at the lower edge, which is the caption in several lines

    def png(self, caption=True):
        """The picture as the bytes of a PNG file; without the caption for a page that has it as text."""
        if self.below is None or caption:
            return self._png()
        width, height = self.get_size_inches()
        self._show_below(False, width, height - LINE * len(self.below.get_text().splitlines()))
        try:
            return self._png()
        finally:
            self._show_below(True, width, height)

    def _show_below(self, shown, width, height):
        """Show the caption or not, in a picture of this size in inches."""
        self.below.set_visible(shown)
        self.below.set_in_layout(shown)
        self.set_size_inches(width, height)

    def _png(self):
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=DPI)
        return buffer.getvalue()

    def save(self, path):
        """Write the picture; the suffix decides the format (.png, .svg, .pdf). The file is written whole or not at all."""
        path = Path(path)
        buffer = io.BytesIO()
        self.savefig(buffer, format=path.suffix[1:] or "png", dpi=DPI)
        write_files({path: buffer.getvalue()})

    def __repr__(self):
        size = "x".join(f"{inches * DPI:.0f}" for inches in self.get_size_inches())
        return f"<Figure {size}: {self.caption}>" if self.caption else f"<Figure {size}>"

    def _repr_mimebundle_(self, include=None, exclude=None):
        about = {"needs_background": "light"}
        if self.caption:
            about["alt"] = self.caption
        return {"image/png": self.png(), "text/plain": repr(self)}, {"image/png": about}


def figure(rows=1, columns=1, width=6.4, height=4.0, title=None, caption=None, **options):
    """An empty figure in the common style, and its axes.

    Parameters
    ----------
    rows, columns : int, default 1
        The grid of axes.
    width, height : float, default 6.4 and 4.0
        Size of title and axes together, in inches of 100 pixels; the caption is added to the height.
    title : str, optional
        Drawn above.
    caption : str, optional
        What the picture shows, in one or two sentences; drawn below, and the alt text in Jupyter.
    **options
        Passed to matplotlib's ``Figure.subplots``: ``sharex``, ``width_ratios``, ...

    Returns
    -------
    tuple of (Figure, ndarray)
        The figure and its axes, an array of shape (rows, columns).

    Examples
    --------
    >>> fig, axes = figure(1, 2, title="Two empty axes")
    >>> axes.shape
    (1, 2)
    """
    lines = textwrap.wrap(caption, width=max(20, int(width * 14)), break_on_hyphens=False) if caption else []
    fig = Figure(
        figsize=(width, height + LINE * len(lines)), dpi=DPI, layout="constrained", facecolor="white"
    )
    fig.get_layout_engine().set(w_pad=0.06, h_pad=0.06)
    if title:
        fig.suptitle(title, fontsize=12, color=INK, **LITERAL)
    if lines:
        fig.caption = " ".join(lines)
        look = {"fontsize": 9, "color": "#444444", "linespacing": 1.35, **LITERAL}
        fig.below = fig.supxlabel("\n".join(lines), x=0.015, ha="left", **look)
    axes = fig.subplots(rows, columns, squeeze=False, **options)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=9, color="#888888", labelcolor=INK)
    return fig, axes


def label(ax, x="", y="", title=""):
    """Name the axes of one plot, and the plot.

    Parameters
    ----------
    ax : matplotlib Axes
        One of those that `figure` returns.
    x, y, title : str
        Texts; an empty one is left out.
    """
    ax.set_xlabel(x, fontsize=10, color=INK, **LITERAL)
    ax.set_ylabel(y, fontsize=10, color=INK, **LITERAL)
    ax.set_title(title, fontsize=10, color=INK, **LITERAL)


def legend(ax, **options):
    """A legend with texts that are not read as formulas, and without a frame unless the options ask for one."""
    drawn = ax.legend(**{"frameon": False, **options})
    for text in drawn.get_texts():
        text.set(**LITERAL)
    return drawn


def blank(ax):
    """Remove ticks and frame, for images and drawings."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)


def colour_bar(fig, picture, axes, text=""):
    """A slim colour bar beside one or several axes, labelled with its quantity."""
    bar = fig.colorbar(picture, ax=axes, shrink=0.85, pad=0.02, aspect=25)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)
    bar.set_label(text, fontsize=9, **LITERAL)
    return bar


def greyscale(picture):
    """An image (H, W) or (H, W, 3) as its perceived brightness (H, W)."""
    return picture if picture.ndim == 2 else picture @ np.array(LUMA)


def ink_on(colour):
    """The colour for a text on a background: white if the background is dark, black if it is light."""
    return "white" if np.dot(to_rgb(colour), LUMA) < 0.55 else "black"


def limits(values, signed, low=None, high=None):
    """The values at the two ends of a colour map: symmetric around 0 if signed; never equal."""
    finite = values[np.isfinite(values)]
    if signed:
        reach = max(abs(low or 0), abs(high or 0)) or float(np.abs(finite).max(initial=0)) or 1.0
        return -reach, reach
    low = float(finite.min()) if low is None and finite.size else low or 0.0
    high = float(finite.max()) if high is None and finite.size else high if high is not None else 1.0
    return low, high if high > low else low + 1.0


def array(x, name="x"):
    """The NumPy array of a Tensor, an array on any device, or nested lists."""
    if not isinstance(x, Tensor | np.ndarray):
        x = np.asarray(x) if isinstance(x, list | tuple | int | float | range) else x
    x = to_numpy(x)
    if x.dtype == bool:
        return x.astype(np.float32)
    if x.dtype.kind not in "fiu":
        raise TypeError(f"viz: {name} must hold real numbers, got {x.dtype.name} {x.shape}")
    return x
