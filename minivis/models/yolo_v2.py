"""YOLO v2: anchors from clusters of box sizes, centres that stay in their cells, a softmax of classes for each anchor.

Redmon and Farhadi, "YOLO9000: better, faster, stronger", CVPR 2017, section 2. Slide ``C/65-yolo-v2``.
Not here: the loss (losses/yolo.py), decoding and clusters (vision/yolo_grid.py), the backbone (darknet.py), the training on
images of several sizes, the tree of 9,000 classes.
"""

import numpy as np

from minivis import ops
from minivis.autograd import no_grad
from minivis.backend import to_numpy
from minivis.models.common import NORMS, as_images, published
from minivis.models.leaky import LeakyConv
from minivis.nn import Conv2d, Module, init
from minivis.precision import rounded, widened
from minivis.vision.yolo_grid import grid_detections, yolo_decode

__all__ = ["YOLOv2", "yolo_v2_coco", "yolo_v2_voc"]

# from the authors' configurations, in cells of 32 pixels
VOC_ANCHORS = 1.3221, 1.73145, 3.19275, 4.00944, 5.05587, 8.09892, 9.47112, 4.84053, 11.2364, 10.0071
COCO_ANCHORS = 0.57273, 0.677385, 1.87446, 2.06253, 3.33843, 5.47434, 7.88282, 3.52778, 9.77052, 9.16828


class YOLOv2(Module):
    """A backbone, a few convolutions, and for each cell and anchor t_x, t_y, t_w, t_h, t_o and class logits.

    Parameters
    ----------
    backbone : Module
        ``features(images)`` returns maps; ``channels`` are their channels. The last one is the grid.
    num_classes : int
        C.
    anchors : sequence of float, or of (float, float), default: VOC's five
        Width and height of the first anchor, then those of the second, and so on, in cells: see
        `vision.dimension_clusters`.
    neck : sequence of int, default (128, 128)
        Channels of the 3 x 3 convolutions behind the backbone.
    passthrough : int, default 0
        Channels to which the map before the last one, of twice the size, is reduced; its 2 x 2 places become channels, and
        one more convolution reads both. 0 leaves it out.
    norm : {"batch", "frozen", "group"} or None, default "batch"
        Kind of norm in these convolutions.
    rng : numpy.random.Generator, int or None
        Draws the starting values; None is seed 0.

    Attributes
    ----------
    anchors : tuple of (float, float)
        Width and height of each anchor.

    Raises
    ------
    ValueError
        If a size is not positive, ``norm`` is unknown, the anchors are not pairs of positive numbers, or the backbone has no
        map for the passthrough.

    Notes
    -----
    The authors' program orders the places of the passthrough in another way (`reorg`), so its weights would not fit.

    References
    ----------
    Redmon and Farhadi 2017, section 2 and figure 3. Slide ``C/65-yolo-v2``.

    Examples
    --------
    >>> from minivis.models import ResNet
    >>> backbone = ResNet((1, 1), "basic", widths=(8, 16), stem_width=8, num_classes=0)
    >>> model = YOLOv2(backbone, 6, anchors=(1.5, 1.5, 3, 2), neck=(16,))
    >>> model(np.zeros((2, 3, 64, 64), np.float32)).shape
    (2, 8, 8, 2, 11)
    """

    def __init__(
        self,
        backbone,
        num_classes,
        anchors=VOC_ANCHORS,
        neck=(128, 128),
        passthrough=0,
        norm="batch",
        rng=None,
    ):
        init.check_sizes("YOLOv2", num_classes=num_classes, neck=neck)
        if norm not in (None, *NORMS):
            raise ValueError(f"YOLOv2: norm must be None or one of {', '.join(NORMS)}, got {norm!r}")
        pairs = np.asarray(anchors, np.float64)
        flat = pairs.ndim == 1 or pairs.ndim == 2 and pairs.shape[1] == 2
        if not flat or pairs.size % 2 or not pairs.size or not ((pairs > 0) & np.isfinite(pairs)).all():
            raise ValueError(
                f"YOLOv2: anchors must be width, height, width, height, ... above 0, or pairs, got {anchors!r}"
            )
        if passthrough and (
            not hasattr(passthrough, "__index__") or passthrough < 0 or len(backbone.channels) < 2
        ):
            raise ValueError(
                "YOLOv2: passthrough must be a whole number of channels, 0 or more, and needs a backbone of two maps, got "
                f"{passthrough!r} and {len(backbone.channels)} maps"
            )
        rng = init.generator(rng)
        self.anchors = tuple(map(tuple, pairs.reshape(-1, 2).tolist()))
        self.backbone = backbone
        *_, before, channels = (0, *backbone.channels)
        self.neck = []
        for width in neck:
            self.neck.append(LeakyConv(channels, width, 3, 1, norm, rng))
            channels = width
        self.reduce = LeakyConv(before, passthrough, 1, 1, norm, rng) if passthrough else None
        self.merge = LeakyConv(4 * passthrough + channels, channels, 3, 1, norm, rng) if passthrough else None
        self.head = Conv2d(channels, len(self.anchors) * (5 + num_classes), 1, rng=rng)

    def forward(self, images):
        """Predict t_x, t_y, t_w, t_h, t_o and class logits.

        Parameters
        ----------
        images : ndarray or Tensor, shape (B, 3, H, W)
            In the range that the backbone was trained for.

        Returns
        -------
        Tensor, shape (B, rows, columns, A, 5 + C)
            `vision.yolo_decode` makes boxes of it.
        """
        maps = self.backbone.features(as_images("YOLOv2", images))
        x = maps[-1]
        for layer in self.neck:
            x = layer(x)
        if self.reduce:
            x = self.merge(ops.concatenate([places_to_channels(self.reduce(maps[-2])), x], axis=1))
        y = self.head(x).transpose(0, 2, 3, 1)  # (B, rows, columns, A (5 + C))
        A = len(self.anchors)
        return y.reshape(*y.shape[:3], A, y.shape[3] // A)

    def detect(self, images, score_threshold=0.05, nms_threshold=0.5):
        """Find objects: the score of a box for a class is its confidence times the softmax of the class.

        Parameters
        ----------
        images : ndarray or Tensor, shape (B, 3, H, W)
            As for a call.
        score_threshold, nms_threshold : float, defaults 0.05 and 0.5
            As for `YOLO.detect`.

        Returns
        -------
        list of dict
            For each image ``boxes (n, 4)``, left, top, right, bottom in pixels, ``labels (n,)`` from 0, and ``scores (n,)``,
            the best first; arrays on the CPU.
        """
        images = as_images("YOLOv2", images)
        with no_grad():
            prediction = to_numpy(self(images))
        wide = widened(prediction)
        boxes = yolo_decode(wide, np.array(self.anchors, wide.dtype))
        scores = ops.sigmoid(wide[..., 4:5]) * ops.softmax(wide[..., 5:], axis=-1)  # (B, rows, columns, A, C)
        found = grid_detections(boxes, scores, images.shape[2:], score_threshold, nms_threshold)
        dtype = prediction.dtype
        return [
            {**one, "boxes": rounded(one["boxes"], dtype), "scores": rounded(one["scores"], dtype)}
            for one in found
        ]


def places_to_channels(x):
    """Each 2 x 2 places of a map become channels of one: (B, C, 2 H, 2 W) -> (B, 4 C, H, W)."""
    B, C, H, W = x.shape
    if H % 2 or W % 2:
        raise ValueError(f"YOLOv2: the map before the last must have even sides, got {H} x {W}")
    x = x.reshape(B, C, H // 2, 2, W // 2, 2).transpose(0, 3, 5, 1, 2, 4)  # (B, 2, 2, C, H, W)
    return x.reshape(B, 4 * C, H // 2, W // 2)


def _built(anchors):
    def build(num_classes, rng, **options):
        from minivis.models.darknet import Darknet

        backbone = Darknet(num_classes=0, rng=rng)
        sizes = {"neck": (1024, 1024), "passthrough": 64, "anchors": anchors}
        return YOLOv2(backbone, num_classes, rng=rng, **{**sizes, **options})

    return build


yolo_v2_voc = published(
    "yolo_v2_voc",
    YOLOv2,
    "Darknet-19, passthrough, 5 anchors, for images of 416 x 416 pixels and VOC's classes",
    50_655_389,
    classes=20,
    example="``anchors=...``",
    build=_built(VOC_ANCHORS),
)
yolo_v2_coco = published(
    "yolo_v2_coco",
    YOLOv2,
    "Darknet-19, passthrough, 5 anchors, for images of 416 x 416 pixels and COCO's 80 classes",
    50_962_889,
    classes=80,
    example="``anchors=...``",
    build=_built(COCO_ANCHORS),
)
