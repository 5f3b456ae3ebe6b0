"""A picture to click on: a promptable model answers each click with masks, in a notebook or by calls from Python.

Not here: the model (models/sam.py), pictures of given prompts and masks (prompts.py), the other controls (widgets.py).
"""

import html
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np
from matplotlib.backend_bases import MouseButton
from matplotlib.patches import Rectangle

from minivis.autograd import no_grad
from minivis.data.geometry import resize
from minivis.data.images import read_image
from minivis.data.pixels import as_bytes
from minivis.vision.unprompted_masks import masks_in_photo
from minivis.viz.boxes import draw_image
from minivis.viz.masks import paint_masks
from minivis.viz.prompts import CLICKS
from minivis.viz.style import BLACK, SKY, array, blank, figure, label

__all__ = ["ClickSegmenter", "click_segmenter"]

LARGEST = 512  # pixels: a photo is shown no larger
DRAG = 6  # pixels on the screen: the mouse has moved less than this between press and release of a click
WIDTH, HEIGHT = 8.0, 3.1  # inches
KINDS = {"on the object": 1, "not on it": 0}  # and the labels of such points
LEGEND = " A green star lies on the object, a red cross beside it; the white frame is a box."
TO_CLICK = ' To click on it, install ipympl, pip install "minivis[notebooks]", and start the notebook again.'


class ClickSegmenter:
    """A picture, prompts on it, and a model's masks for them. Jupyter shows it as a picture to click on.

    The picture is embedded once. A single click may mean several things: it is answered with three masks and an estimate of
    the IoU of each. A box and several prompts are answered with one mask. The mask that counts goes into the next question
    as a mask prompt, as in the training with clicks.

    Parameters
    ----------
    model, image, prepare
        As for `click_segmenter`.

    Attributes
    ----------
    prompts : list of tuple
        ``(x, y, label)`` for a point, ``(x0, y0, x1, y1)`` for a box, in the order in which they were given. The unit is a
        pixel of the shown picture, whose upper left corner is (0, 0): the middle of the first pixel is (0.5, 0.5).
    choice : int or None
        Which of three masks the user has chosen, 0 to 2; None takes the one with the highest estimate.

    Examples
    --------
    >>> from minivis import load
    >>> from minivis.data import shapes
    >>> segmenter = ClickSegmenter(load("sam-shapes"), shapes.scene(4).image)
    >>> segmenter.click(30.5, 40.5)
    >>> segmenter.prompts, segmenter.masks.shape
    ([(30.5, 40.5, 1)], (3, 64, 64))
    """

    def __init__(self, model, image, prepare=None):
        self.model, self.prepare = model, prepare
        self.choice = None
        self.open(image)

    def open(self, image):
        """Show another picture, without prompts; the model embeds it.

        Parameters
        ----------
        image : str, path or array
            As for `click_segmenter`.
        """
        shown = read_image(image) if isinstance(image, str | Path) else _channels_first(image)
        longest = max(shown.shape[1:])
        if longest > LARGEST:
            shown = resize(shown[None], _scaled(shown.shape[1:], LARGEST / longest))[0]
        side = _input_size(self.model)
        scale = side / max(shown.shape[1:])
        inside = _scaled(shown.shape[1:], scale)  # the picture's part of the model's input
        fitted = shown[None] if scale == 1 else resize(shown[None], inside).clip(0, 1)
        fitted = fitted if self.prepare is None else self.prepare(fitted)
        empty = [(0, 0), (0, 0), *((0, side - length) for length in inside)]
        with no_grad():
            embedding = self.model.embed(np.pad(fitted, empty).astype(np.float32))
        # only now: a picture that the model refuses leaves the one before as it is
        self.shown, self.scale, self._inside = shown, scale, inside
        self._embedding = embedding
        self._input = (side, side)
        self.prompts, self._answers = [], []

    def click(self, x, y, on_object=True):
        """Ask with one more point.

        Parameters
        ----------
        x, y : float
            Pixels of the shown picture, from its upper left corner.
        on_object : bool, default True
            Whether the point lies on the object; otherwise the mask should leave it out.
        """
        self._ask((float(x), float(y), KINDS["on the object" if on_object else "not on it"]))

    def draw_box(self, x0, y0, x1, y1):
        """Ask with a box; it replaces an earlier one.

        Parameters
        ----------
        x0, y0, x1, y1 : float
            Two opposite corners, in pixels of the shown picture.
        """
        self._ask((*map(float, (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))),))

    def undo(self):
        """Take back the last prompt, if there is one."""
        self.prompts, self._answers = self.prompts[:-1], self._answers[:-1]

    def clear(self):
        """Take back all prompts."""
        self.prompts, self._answers = [], []

    def _ask(self, prompt):
        height, width = self.shown.shape[1:]
        inside = all(0 <= x <= width for x in _xs(prompt)) and all(0 <= y <= height for y in _ys(prompt))
        if not inside:
            raise ValueError(
                f"click_segmenter: the prompt {prompt} leaves the picture of {height} x {width} pixels"
            )
        prompts = [*self.prompts, prompt]
        points = [prompt for prompt in prompts if len(prompt) == 3]
        boxes = [prompt for prompt in prompts if len(prompt) == 4]
        given = {"size": self._input, "multimask": len(prompts) == len(points) == 1}
        if points:
            places = np.array([[[point[:2] for point in points]]])  # (1, 1, n, 2)
            given["points"] = places * self.scale - 0.5  # the model counts from the middle of the first pixel
            given["point_labels"] = np.array([[[point[2] for point in points]]])
        if boxes:
            given["boxes"] = np.array([[boxes[-1]]]) * self.scale  # (1, 1, 4)
        if self._answers:
            given["masks"] = self._answers[-1][0][None, None, self.chosen, None]  # (1, 1, 1, h, w)
        with no_grad():
            answer = self.model.answer(self._embedding, **given)
        self._answers.append((array(answer.masks)[0, 0], array(answer.iou)[0, 0]))
        self.prompts = prompts

    @property
    def iou(self):
        """The model's estimates of the IoU of its M masks, 3 or 1, ndarray (M,); None before the first prompt."""
        return self._answers[-1][1] if self._answers else None

    @property
    def chosen(self):
        """The number of the mask that counts: the user's choice, or the one with the highest estimate."""
        return int(self.iou.argmax()) if self.choice is None else min(self.choice, len(self.iou) - 1)

    @property
    def masks(self):
        """The masks in the pixels of the shown picture, ndarray of bool (M, H, W); None before the first prompt."""
        if not self._answers:
            return None
        return masks_in_photo(self._answers[-1][0], self._input, self._inside, self.shown.shape[1:]) > 0

    @property
    def mask(self):
        """The mask that counts, ndarray of bool (H, W); None before the first prompt."""
        return self.masks[self.chosen] if self._answers else None

    @property
    def says(self):
        """What is seen, in words."""
        if not self._answers:
            return "No prompt yet."
        points = sum(len(prompt) == 3 for prompt in self.prompts)
        boxes = int(any(len(prompt) == 4 for prompt in self.prompts))
        asked = [f"{n} {name}{'s' * (n > 1)}" for n, name in ((points, "point"), (boxes, "box")) if n]
        which = (
            "One mask: " if len(self.iou) == 1 else f"Of three masks, number {self.chosen + 1} is painted: "
        )
        return f"{' and '.join(asked)}. {which}the model expects an IoU of {self.iou[self.chosen]:.2f} with the object."

    def figure(self):
        """The picture with its prompts and the mask that counts, and the three masks beside it.

        Returns
        -------
        Figure
        """
        return self._painted(self.says + LEGEND)

    def _painted(self, caption):
        fig, axes = _empty(caption)
        self._draw(axes)
        return fig

    def _draw(self, axes):
        for ax in axes:
            ax.clear()
        main, *small = axes
        draw_image(main, self.shown.transpose(1, 2, 0))
        label(main, "x in pixels", "y in pixels")
        masks = self.masks
        if masks is not None:
            paint_masks(main, self.mask[None], [SKY], None, 0.5)
        for prompt in self.prompts:
            _mark(main, prompt)
        for number, ax in enumerate(small):
            blank(ax)
            if masks is None or number >= len(masks):
                continue
            ax.imshow(masks[number], cmap="gray", vmin=0, vmax=1)
            label(ax, title=f"mask {number + 1}: IoU {self.iou[number]:.2f}?")
            if number == self.chosen:
                ax.spines[:].set(visible=True, color=SKY, linewidth=3)

    def widget(self):
        """The picture to click on and its controls, as an ipywidget.

        A click is a point on the object; with the shift key, or after "not on it" was pressed, one that is not. A drag
        draws a box. A click on one of the three masks chooses it.

        Returns
        -------
        ipywidgets.VBox
            The controls, the canvas, and a line that says what is seen.
        """
        return Controls(self).box

    def _repr_mimebundle_(self, include=None, exclude=None):
        caption = self.says + LEGEND
        try:
            controls = self.widget()._repr_mimebundle_()
        except ImportError:  # without ipywidgets or ipympl: only the picture
            controls = {}
            caption += TO_CLICK
        picture, about = self._painted(caption)._repr_mimebundle_()
        return {**controls, **picture}, about


class Controls:
    """The widgets around a `ClickSegmenter`: they call its methods, and paint it again."""

    def __init__(self, segmenter):
        import ipywidgets

        self.segmenter = segmenter
        # JupyterLab has messages handled by several threads: none may draw what another one is painting
        self.lock = threading.RLock()
        fig, self.axes = _empty(None)
        self.canvas = _canvas(fig, self.lock)
        self.kind = ipywidgets.ToggleButtons(options=list(KINDS), description="a click is")
        self.choice = ipywidgets.ToggleButtons(
            options=[("best estimate", None), *((f"mask {n + 1}", n) for n in range(3))], description="paint"
        )
        self.undo, self.clear = (ipywidgets.Button(description=text) for text in ("undo", "clear"))
        self.photo = ipywidgets.FileUpload(accept="image/*", description="own photo")
        self.says = ipywidgets.HTML()
        buttons = ipywidgets.HBox([self.undo, self.clear, self.photo])
        self.box = ipywidgets.VBox([self.kind, self.choice, buttons, self.canvas, self.says])
        self.pressed, self.frame = None, None
        self._connect()
        self.follow()

    def _connect(self):
        self.undo.on_click(lambda _: self.follow(self.segmenter.undo))
        self.clear.on_click(lambda _: self.follow(self._begin, self.segmenter.clear))
        self.choice.observe(lambda _: self.follow(self._choose), "value")
        self.photo.observe(lambda _: self.follow(self._upload), "value")
        for event, handle in (("press", self._press), ("release", self._release)):
            self.canvas.mpl_connect(f"button_{event}_event", handle)
        self.canvas.mpl_connect("motion_notify_event", self._move)

    def follow(self, act=None, *given):
        """Do something, then show what has come of it, or why it was refused."""
        with self.lock:
            self._follow(act, *given)

    def _follow(self, act, *given):
        begin = time.perf_counter()
        try:
            if act is not None:
                act(*given)
            took = f" ({1000 * (time.perf_counter() - begin):.0f} ms)" if self.segmenter.prompts else ""
            self.says.value = html.escape(self.segmenter.says + took)
        except (OSError, ValueError) as error:
            self.says.value = html.escape(str(error))
        self.segmenter._draw(self.axes)
        self.canvas.draw_idle()

    def _begin(self, act, *given):
        """Ask about something else: the mask that was chosen is no longer meant."""
        self.choice.value = None
        act(*given)

    def _choose(self):
        self.segmenter.choice = self.choice.value

    def _upload(self):
        for upload in self.photo.value:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "photo")
                path.write_bytes(upload["content"])
                self._begin(self.segmenter.open, path)

    def _press(self, event):
        if event.button != MouseButton.LEFT:
            return
        if event.inaxes is self.axes[0]:
            self.pressed = event
        elif event.inaxes in self.axes:
            number = self.axes.index(event.inaxes) - 1
            if self.segmenter.iou is not None and number < len(self.segmenter.iou):
                self.choice.value = number

    def _move(self, event):
        """Draw the frame of a box that is being drawn."""
        if self.pressed is None or not _far(self.pressed, event):
            return
        x, y = self._within(event)
        corner = self._within(self.pressed)
        with self.lock:
            if self.frame is None:
                self.frame = self.axes[0].add_patch(Rectangle(corner, 0, 0, fill=False, edgecolor="white"))
            self.frame.set(width=x - corner[0], height=y - corner[1])
        self.canvas.draw_idle()

    def _release(self, event):
        begun = self.pressed
        self.pressed = self.frame = None
        if begun is None:
            return
        start = self._within(begun)
        if not _far(begun, event):
            on_object = bool(KINDS[self.kind.value]) and "shift" not in begun.modifiers
            self.follow(self.segmenter.click, *start, on_object)
        else:
            self.follow(self.segmenter.draw_box, *start, *self._within(event))

    def _within(self, event):
        """The place of an event, brought into the picture: a box may end beyond the edge."""
        height, width = self.segmenter.shown.shape[1:]
        x, y = event.xdata, event.ydata
        if event.inaxes is not self.axes[0]:
            x, y = self.axes[0].transData.inverted().transform((event.x, event.y))
        return min(max(x, 0), width), min(max(y, 0), height)


def _empty(caption):
    """A figure with four axes: the picture to click on, and the three masks."""
    fig, axes = figure(1, 4, width=WIDTH, height=HEIGHT, width_ratios=[2, 1, 1, 1], caption=caption)
    return fig, list(axes[0])


def _canvas(fig, lock):
    """The widget that shows a figure, and reports what the mouse does on it; it draws while it has the lock."""
    from ipympl.backend_nbagg import Canvas, FigureManager

    with warnings.catch_warnings():
        # ipympl 0.10 passes an argument too many to traitlets
        warnings.simplefilter("ignore", DeprecationWarning)
        canvas = Canvas(fig)
        FigureManager(canvas, 0)
    draw = canvas.draw

    def draw_alone():
        with lock:
            draw()

    canvas.draw = draw_alone
    canvas.toolbar_visible = canvas.header_visible = canvas.footer_visible = False
    return canvas


def _mark(ax, prompt):
    """Draw a point or a box."""
    if len(prompt) == 4:
        x0, y0, x1, y1 = prompt
        for colour, line, width in ((BLACK, "-", 2.4), ("white", "--", 1.6)):
            ax.add_patch(
                Rectangle(
                    (x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linestyle=line, linewidth=width
                )
            )
        return
    x, y, kind = prompt
    marker, colour, area = CLICKS[kind]
    ax.scatter([x], [y], s=area, c=colour, marker=marker, edgecolors="white", linewidths=1.0, zorder=5)


def _far(press, release):
    """Whether the mouse has moved so far between two events that it draws a box."""
    return max(abs(press.x - release.x), abs(press.y - release.y)) >= DRAG


def _xs(prompt):
    return prompt[::2] if len(prompt) == 4 else prompt[:1]


def _ys(prompt):
    return prompt[1::2] if len(prompt) == 4 else prompt[1:2]


def _scaled(size, scale):
    """Height and width times a factor, whole numbers, at least 1."""
    return tuple(max(1, int(length * scale + 0.5)) for length in size)


def _channels_first(image):
    """A picture of any form as (3, H, W) float32 in [0, 1]; floats keep their digits."""
    image = array(image, "image")
    whole = as_bytes(image)  # refuses what is no picture
    if image.dtype.kind == "f" and image.ndim == 3 and image.shape[0] == 3:
        return image.astype(np.float32)
    return (whole / np.float32(255)).transpose(2, 0, 1)


def _input_size(model):
    """The side of the square that a promptable model takes, in pixels."""
    if not hasattr(model, "prompt_encoder"):
        raise TypeError(
            "click_segmenter: model must be promptable, with embed, answer and prompt_encoder, as SAM is; "
            f"got {type(model).__name__}"
        )
    size = np.unique(model.prompt_encoder.image_size)
    if len(size) != 1:
        raise ValueError(f"click_segmenter: the model must take square pictures, its image_size is {size}")
    return int(size[0])


def click_segmenter(model, image, point=None, box=None, prepare=None):
    """Show a picture to click on: the model's mask follows at once.

    Parameters
    ----------
    model : Module
        Promptable: ``model.embed(images)`` is called once, ``model.answer(embedding, points=..., point_labels=...,
        boxes=..., masks=..., size=...)`` for each prompt, as `SAM` has them. ``model.prompt_encoder.image_size`` is the side of its
        input.
    image : str, path or array
        A photo, or (3, H, W) numbers from 0 to 1. It is scaled so that its longer side fits the model's input, and the
        rest is filled with zeros.
    point : (float, float), optional
        The first prompt: a point on the object, x and y in pixels of the picture.
    box : (float, float, float, float), optional
        The first prompt, or the second one: x0, y0, x1, y1.
    prepare : callable, optional
        Turns the scaled picture (1, 3, h, w) into what the model has been trained with, for example by subtracting a mean.

    Returns
    -------
    ClickSegmenter
        To be shown. Without a kernel that runs, or without ipympl, it is a picture of the first prompts.

    Raises
    ------
    ValueError
        If the picture cannot be read or its numbers do not lie from 0 to 1, or a prompt lies outside of it.
    TypeError
        If the model cannot be asked with prompts.

    Examples
    --------
    >>> from minivis import load
    >>> from minivis.data import shapes
    >>> segmenter = click_segmenter(load("sam-shapes"), shapes.scene(4).image, box=(10, 12, 40, 30))
    >>> segmenter.mask.shape, segmenter.says[:20]
    ((64, 64), '1 box. One mask: the')
    """
    segmenter = ClickSegmenter(model, image, prepare)
    if point is not None:
        segmenter.click(*point)
    if box is not None:
        segmenter.draw_box(*box)
    return segmenter
