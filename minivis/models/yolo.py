"""YOLO: one network looks at the image once and predicts, for each cell of a grid, boxes, confidences and classes.

Redmon et al., "You only look once: unified, real-time object detection", CVPR 2016, sections 2 and 2.1, figures 2 and 3.
Slides ``C/63-yolo-output``, ``C/67-yolo-channels``, ``Z/44-yolo``.
Not here: the loss (losses/yolo.py), decoding (vision/yolo_grid.py), the first layers (darknet.py), version 2 (yolo_v2.py).
"""

from minivis import ops
from minivis.autograd import no_grad
from minivis.backend import to_numpy
from minivis.models.common import NORMS, as_images, published
from minivis.models.leaky import LeakyConv, leaky_relu
from minivis.nn import Conv2d, Dropout, Linear, Module, init
from minivis.vision.yolo_grid import grid_detections, yolo_boxes

__all__ = ["YOLO", "yolo_v1"]


class YOLO(Module):
    """A backbone, a few convolutions, and a head that predicts for each cell of a grid: B boxes and C classes.

    A box is x, y, width, height and a confidence: the probability of an object times the expected IoU. The classes are
    predicted once for a cell, given that there is an object. There is no class for the background.

    Parameters
    ----------
    backbone : Module
        ``features(images)`` returns maps, of which the last is used; ``channels`` are their channels.
    num_classes : int
        C.
    boxes_per_cell : int, default 2
        B. The paper has 2; the authors' last configuration has 3.
    neck : sequence of int, default (128, 128)
        Channels of the 3 x 3 convolutions behind the backbone.
    strides : sequence of int, optional
        Their strides; None is 1 for all.
    norm : {"batch", "frozen", "group"} or None
        Kind of norm in these convolutions.
    head : {"convolutional", "connected"}, default "convolutional"
        "connected": two linear layers over the whole map, as in the paper; each cell can see the whole image, and the
        image must have one size. "convolutional": a 1 x 1 convolution, the same for each cell, as in all later versions.
    grid : int, default 7
        S, for a connected head: the map before it must have S x S cells. Otherwise the map's size is the grid.
    hidden : int, default 4096
        Width of the first linear layer of a connected head.
    dropout : float, default 0.5
        Probability with which a number of that layer is set to 0 in training.
    rng : numpy.random.Generator, int or None
        Draws the starting values and the dropout; None is seed 0.

    Attributes
    ----------
    boxes_per_cell : int
        B.

    Raises
    ------
    ValueError
        If a size is not positive, ``head`` or ``norm`` is unknown, or ``neck`` and ``strides`` differ in length.

    Notes
    -----
    The last layer is linear, as in the paper: confidences and class scores are squared-error estimates of probabilities and
    may be a little below 0 or above 1. For width and height the head gives the roots, which are squared, as in the authors'
    program: so a width is never negative, and the square root of the loss has no infinite slope.

    References
    ----------
    Redmon et al. 2016, sections 2 and 2.1. Slides ``C/63-yolo-output``, ``C/67-yolo-channels``, ``Z/44-yolo``.

    Examples
    --------
    >>> import numpy as np
    >>> from minivis.models import ResNet
    >>> backbone = ResNet((1, 1), "basic", widths=(8, 16), stem_width=8, num_classes=0)
    >>> model = YOLO(backbone, num_classes=6, neck=(16,))
    >>> images = np.zeros((2, 3, 64, 64), np.float32)
    >>> model(images).shape  # 2 boxes of 5 numbers, 6 classes
    (2, 8, 8, 16)
    >>> sorted(model.eval().detect(images)[0])
    ['boxes', 'labels', 'scores']
    """

    def __init__(
        self, backbone, num_classes, boxes_per_cell=2, neck=(128, 128), strides=None, norm=None, head="convolutional",
        grid=7, hidden=4096, dropout=0.5, rng=None,
    ):  # fmt: skip
        sizes = {"num_classes": num_classes, "boxes_per_cell": boxes_per_cell, "grid": grid, "hidden": hidden}
        init.check_sizes("YOLO", neck=neck, **sizes)
        strides = (1,) * len(neck) if strides is None else strides
        init.check_sizes("YOLO", strides=tuple(strides))
        if len(strides) != len(neck):
            raise ValueError(f"YOLO: {len(neck)} convolutions need as many strides, got {strides}")
        if head not in ("convolutional", "connected"):
            raise ValueError(f'YOLO: head must be "convolutional" or "connected", got {head!r}')
        if norm not in (None, *NORMS):
            raise ValueError(f"YOLO: norm must be None or one of {', '.join(NORMS)}, got {norm!r}")
        rng = init.generator(rng)
        self.boxes_per_cell, self.grid = boxes_per_cell, grid
        self.backbone = backbone
        channels = backbone.channels[-1]
        self.neck = []
        for width, stride in zip(neck, strides, strict=True):
            self.neck.append(LeakyConv(channels, width, 3, stride, norm, rng))
            channels = width
        outputs = 5 * boxes_per_cell + num_classes
        if head == "convolutional":
            self.head = Conv2d(channels, outputs, 1, rng=rng)
        else:
            self.head = ConnectedHead(channels * grid * grid, hidden, grid, outputs, dropout, rng)

    def forward(self, images):
        """Predict the grid: for each cell B times x, y, width, height, confidence, then the class scores.

        Parameters
        ----------
        images : ndarray or Tensor, shape (B, 3, H, W)
            In the range that the backbone was trained for.

        Returns
        -------
        Tensor, shape (B, S, S, 5 B + C)
            x and y in cells, from the upper left corner of the cell; width and height as fractions of the image.

        Raises
        ------
        ValueError
            If ``images`` has another number of axes, or a connected head gets a map of another size.
        """
        x = self.backbone.features(as_images("YOLO", images))[-1]
        for layer in self.neck:
            x = layer(x)
        if isinstance(self.head, ConnectedHead):
            if x.shape[2:] != (self.grid, self.grid):
                raise ValueError(
                    f"YOLO: a connected head needs a map of {self.grid} x {self.grid} cells, got {x.shape[2]} x "
                    f"{x.shape[3]} (images: {tuple(images.shape)})"
                )
            y = self.head(x)  # (B, S, S, 5 B + C)
        else:
            y = self.head(x).transpose(0, 2, 3, 1)  # (B, S, S, 5 B + C)
        return self._with_squares(y)

    def _with_squares(self, y):
        """Square the numbers that stand for width and height."""
        B = self.boxes_per_cell
        boxes = y[..., : 5 * B].reshape(*y.shape[:-1], B, 5)
        root = boxes[..., 2:4]
        boxes = ops.concatenate([boxes[..., :2], root * root, boxes[..., 4:]], axis=-1)
        return ops.concatenate([boxes.reshape(*y.shape[:-1], 5 * B), y[..., 5 * B :]], axis=-1)

    def detect(self, images, score_threshold=0.05, nms_threshold=0.5):
        """Find objects: the score of a box for a class is its confidence times the cell's class score.

        Parameters
        ----------
        images : ndarray or Tensor, shape (B, 3, H, W)
            As for a call.
        score_threshold : float, default 0.05
            Boxes with a smaller score are left out. The score of a box for each class counts by itself.
        nms_threshold : float, default 0.5
            Of two boxes of one class with a larger IoU only the better one stays.

        Returns
        -------
        list of dict
            For each image ``boxes (n, 4)``, left, top, right, bottom in pixels, ``labels (n,)`` from 0, and ``scores (n,)``,
            the best first; arrays on the CPU.
        """
        images = as_images("YOLO", images)
        with no_grad():
            prediction = to_numpy(self(images))
        B = self.boxes_per_cell
        boxes = yolo_boxes(prediction, B)
        scores = prediction[..., 4 : 5 * B : 5, None] * prediction[..., None, 5 * B :]  # (B, S, S, b, C)
        return grid_detections(boxes, scores, images.shape[2:], score_threshold, nms_threshold)


class ConnectedHead(Module):
    """Two linear layers over the whole map: any place can predict any cell.

    Parameters
    ----------
    inputs, hidden, grid, outputs : int
        Numbers in the map and in the hidden layer, S, and numbers for each cell.
    dropout : float
        Probability with which a hidden number is set to 0 in training.
    rng : numpy.random.Generator
        Draws the starting values.
    """

    def __init__(self, inputs, hidden, grid, outputs, dropout, rng):
        self.shape = grid, grid, outputs
        self.first = Linear(inputs, hidden, rng=rng)
        self.dropout = Dropout(dropout, rng=rng)
        self.second = Linear(hidden, grid * grid * outputs, rng=rng)

    def forward(self, x):
        y = leaky_relu(self.first(x.reshape(len(x), self.first.weight.shape[1])))  # (B, hidden)
        return self.second(self.dropout(y)).reshape(len(x), *self.shape)


def _of_the_paper(num_classes, rng, **options):
    from minivis.models.darknet import YOLO_V1, Darknet

    backbone = Darknet(**YOLO_V1, num_classes=0, rng=rng)
    sizes = {"neck": (1024,) * 4, "strides": (1, 2, 1, 1), "head": "connected"}
    return YOLO(backbone, num_classes, rng=rng, **{**sizes, **options})


yolo_v1 = published(
    "yolo_v1",
    YOLO,
    "24 convolutions and two linear layers, for images of 448 x 448 pixels and VOC's classes",
    271_703_550,
    classes=20,
    example="``boxes_per_cell=3``",
    build=_of_the_paper,
)
