"""The road to Faster R-CNN: regression of one box, R-CNN, SPP-net and Fast R-CNN, all on regions that others propose.

Girshick et al., CVPR 2014 (R-CNN); He et al., ECCV 2014 (SPP-net); Girshick, ICCV 2015 (Fast R-CNN).
Slides ``C/35-detection-as-regression``, ``C/38-detection-by-sliding-window``, ``C/45-rcnn``, ``C/51-rcnn-algorithm``,
``C/52-fast-rcnn``, ``C/58-fast-rcnn-heads``, ``C/59-fast-rcnn-training``, ``C/60-rcnn-times``.
Not here: proposals (vision/proposals.py), a network that proposes (faster_rcnn.py), training (recipes/detection_road.py).
"""

import numpy as np

from minivis import ops
from minivis.autograd import no_grad
from minivis.backend import device_of, to_device, to_numpy
from minivis.losses.detection import region_losses
from minivis.losses.support_vectors import svm_loss
from minivis.models.common import as_images, published
from minivis.nn import Dropout, FeaturePyramid, Linear, Module, Parameter, Sequential, init
from minivis.nn.mlp import ReLU
from minivis.vision import box_decode, box_encode, region_detections, roi_align, roi_pool, with_pictures

__all__ = [
    "RCNN",
    "FastRCNN",
    "OneMap",
    "SPPNet",
    "SingleBox",
    "fast_rcnn_vgg16",
    "ridge",
    "truncated_svd",
]

BOX_WEIGHTS = (10, 10, 5, 5)  # 1 / the standard deviations of the coded boxes


def ridge(features, targets, strength):
    """Linear regression with a penalty on the weights, in closed form.

    .. math:: \\min_{W, b} \\sum_i \\lVert t_i - W f_i - b \\rVert^2 + \\lambda \\lVert W \\rVert^2

    Parameters
    ----------
    features : ndarray, shape (N, F)
        f.
    targets : ndarray, shape (N, M)
        t.
    strength : float
        λ, positive.

    Returns
    -------
    (ndarray, ndarray), shapes (M, F) and (M,)
        W and b, in float64.

    Raises
    ------
    ValueError
        If the shapes do not fit, there is no example, or ``strength`` is not positive.

    References
    ----------
    Girshick et al. 2014, appendix C, equation 5, with λ = 1000.

    Examples
    --------
    >>> weight, bias = ridge(np.array([[0.0], [1.0], [2.0]]), np.array([[1.0], [3.0], [5.0]]), 1e-9)
    >>> weight.round(3), bias.round(3)
    (array([[2.]]), array([1.]))
    """
    if features.ndim != 2 or targets.ndim != 2 or len(features) != len(targets) or not len(features):
        raise ValueError(
            f"ridge: features must be (N, F) and targets (N, M), with at least one example (features: {features.shape}, "
            f"targets: {targets.shape})"
        )
    if not strength > 0:
        raise ValueError(f"ridge: strength must be positive, got {strength!r}")
    f, t = features.astype(np.float64), targets.astype(np.float64)
    f_mean, t_mean = f.mean(axis=0), t.mean(axis=0)
    f = f - f_mean
    t = t - t_mean
    weight = np.linalg.solve(f.T @ f + strength * np.eye(f.shape[1]), f.T @ t).T
    return weight, t_mean - weight @ f_mean


def truncated_svd(layer, rank):
    """Replace a linear layer by two thin ones that do nearly the same.

    .. math:: W \\approx U_t \\Sigma_t V_t^T

    The first layer has the weights :math:`\\Sigma_t V_t^T` and no bias, the second :math:`U_t` and the bias. Together
    t (u + v) weights take the place of u v.

    Parameters
    ----------
    layer : Linear
        With weight (u, v).
    rank : int
        t, from 1 to the smaller of u and v: how many singular values are kept, the largest.

    Returns
    -------
    Sequential
        Two `Linear` layers.

    Raises
    ------
    ValueError
        If the rank is out of range.

    References
    ----------
    Girshick 2015, section 3.1, equation 5.

    Examples
    --------
    >>> layer = Linear(6, 4, rng=0)
    >>> x = np.ones((1, 6), np.float32)
    >>> bool(np.allclose(truncated_svd(layer, 4)(x).numpy(), layer(x).numpy(), atol=1e-6))
    True
    """
    weight = to_numpy(layer.weight)
    u, v = weight.shape
    if not 1 <= rank <= min(u, v):
        raise ValueError(
            f"truncated_svd: rank must be from 1 to {min(u, v)}, got {rank} (weight: {weight.shape})"
        )
    left, values, right = np.linalg.svd(weight, full_matrices=False)
    first = Linear(v, rank, bias=False)
    second = Linear(rank, u, bias=layer.bias is not None)
    device = layer.weight.device
    first.weight = Parameter(to_device((values[:rank, None] * right[:rank]).astype(weight.dtype), device))
    second.weight = Parameter(to_device(np.ascontiguousarray(left[:, :rank]), device))
    if layer.bias is not None:
        second.bias = Parameter(layer.bias.data.copy())
    return Sequential(first, second)


class OneMap(Module):
    """A backbone and how its maps become one: what the detectors here call ``backbone``.

    Parameters
    ----------
    backbone : Module
        It has ``features(images)``, which returns maps (B, C_i, H_i, W_i), finest first, and ``channels``, the C_i.
    form : {"merged", "stacked", "last"}, default "merged"
        "merged" is a pyramid of one level, see `FeaturePyramid`: as fine as the finest map. "stacked" are all maps, enlarged
        to the finest, with nothing to learn. "last" is the last map alone.
    width : int, default 64
        Channels of the merged map.
    rng : numpy.random.Generator, int or None
        Draws the starting values; None is seed 0.

    Attributes
    ----------
    channels : int
        Of the map.

    Raises
    ------
    ValueError
        If the form is unknown.

    Examples
    --------
    >>> from minivis.models import ResNet
    >>> backbone = ResNet((1, 1), "basic", widths=(8, 16), stem_width=8, patch_stem=True, num_classes=0)
    >>> images = np.zeros((1, 3, 32, 32), np.float32)
    >>> [OneMap(backbone, form)(images).shape for form in ("merged", "stacked", "last")]
    [(1, 64, 8, 8), (1, 24, 8, 8), (1, 16, 4, 4)]
    """

    def __init__(self, backbone, form="merged", width=64, rng=None):
        if form not in ("merged", "stacked", "last"):
            raise ValueError(f'OneMap: form must be "merged", "stacked" or "last", got {form!r}')
        self.backbone, self.form = backbone, form
        self.pyramid = None
        self.channels = sum(backbone.channels) if form == "stacked" else backbone.channels[-1]
        if form == "merged":
            self.pyramid = FeaturePyramid(backbone.channels, width, levels=1, rng=init.generator(rng))
            self.channels = width

    def forward(self, images):
        """One map (B, channels, H', W') of images (B, 3, H, W)."""
        maps = self.backbone.features(images)
        if self.form == "last":
            return maps[-1]
        if self.form == "merged":
            return self.pyramid(maps)[0]
        size = tuple(maps[0].shape[2:])
        return ops.concatenate([maps[0], *(ops.interpolate(x, size=size) for x in maps[1:])], axis=1)


# ------------------------------------------------------------------ the detectors


class SingleBox(Module):
    """Detection as regression: one class and the four numbers of one box for each image.

    The last layer has as many outputs as one object needs. An image with several objects has no place for the others.

    Parameters
    ----------
    backbone : Module
        Images (B, 3, H, W) to maps (B, channels, map_size, map_size).
    channels, map_size : int
        Of the map.
    num_classes : int
        K, without background: there is always one object.
    hidden : int, default 128
        Width of the hidden layer.
    rng : numpy.random.Generator, int or None
        Draws the starting values; None is seed 0.

    Raises
    ------
    ValueError
        If a size is not a whole number of at least 1.

    References
    ----------
    Slide ``C/35-detection-as-regression``.

    Examples
    --------
    >>> from minivis.nn import Conv2d
    >>> model = SingleBox(Conv2d(3, 4, 8, stride=8), channels=4, map_size=2, num_classes=6, hidden=8)
    >>> logits, boxes = model(np.zeros((5, 3, 16, 16), np.float32))
    >>> logits.shape, boxes.shape
    ((5, 6), (5, 4))
    """

    def __init__(self, backbone, channels, map_size, num_classes, hidden=128, rng=None):
        init.check_sizes(
            "SingleBox", channels=channels, map_size=map_size, num_classes=num_classes, hidden=hidden
        )
        rng = init.generator(rng)
        self.backbone = backbone
        self.hidden = Linear(channels * map_size**2, hidden, rng=rng)
        self.head = Linear(hidden, num_classes, rng=rng)
        self.box = Linear(hidden, 4, rng=rng)

    def forward(self, images):
        """Logits (B, K) and boxes (B, 4), normalised cxcywh, of images (B, 3, H, W)."""
        x = ops.relu(self.hidden(_flat(self.backbone(as_images("SingleBox", images)))))  # (B, hidden)
        return self.head(x), ops.sigmoid(self.box(x))


class Regions(Module):
    """What R-CNN and SPP-net share: a vector for each region, then support vector machines and regression of the box.

    A small network (``hidden``, ``head``) is trained to classify regions. Then its last layer is thrown away: a linear
    SVM for each class (``svm``) reads the hidden vector, and a linear regression for each class (``regressors``) reads
    the pooled features and corrects the box.

    Parameters
    ----------
    backbone : Module
        Images to maps.
    inputs : int
        F, pooled features of a region.
    num_classes : int
        K, with the background as class 0.
    hidden : int or sequence of int
        Widths of the hidden layers.
    dropout : float
        After each hidden layer.
    rng : numpy.random.Generator, int or None
        Draws the starting values; None is seed 0.
    """

    nms_threshold = 0.3
    score_threshold = -1.0  # of the SVMs: below it, nothing counts as an object

    background = 1  # class 0 is the background

    def __init__(self, backbone, inputs, num_classes, hidden, dropout, rng):
        rng = init.generator(rng)
        self.backbone = backbone
        self.hidden, width = _hidden(inputs, hidden, dropout, rng)
        self.head = Linear(width, num_classes, rng=rng)
        self.svm = Linear(width, num_classes - 1, rng=rng)
        self.regressors = Linear(inputs, 4 * (num_classes - 1), rng=rng)

    def forward(self, images, regions):
        """Logits (R, K) of the regions of all images, for the training of the network itself."""
        return self.head(self.hidden(self.pooled(images, regions)))

    def classify(self, images, regions):
        """For each image the detections by the network's own classes and without correction of the boxes."""
        with no_grad():
            scores = to_numpy(ops.softmax(self(images, regions), axis=1))[:, 1:]
        return _by_image(
            images, regions, lambda r, rows: (r[:, None], scores[rows], {"score_threshold": 0.05})
        )

    def detect(self, images, regions):
        """For each image the detections: scores by the SVMs, boxes by the regressors.

        Parameters
        ----------
        images : ndarray or Tensor, shape (B, 3, H, W)
            From 0 to 1.
        regions : list of ndarray, shape (R_b, 4)
            The proposals of each image, xyxy in pixels.

        Returns
        -------
        list of dict
            As `region_detections`.
        """
        with no_grad():
            pooled = self.pooled(images, regions)  # (R, F)
            scores = to_numpy(self.svm(self.hidden(pooled)))  # (R, K - 1)
            deltas = to_numpy(self.regressors(pooled)).reshape(*scores.shape, 4)

        def answer(r, rows):
            return (
                box_decode(deltas[rows], r[:, None]),
                scores[rows],
                {"score_threshold": self.score_threshold},
            )

        return _by_image(images, regions, answer, self.nms_threshold)

    def fit_regressors(self, pooled, regions, boxes, labels, strength):
        """Set the regressors by `ridge`, class by class: pooled (N, F) and the regions (N, 4), objects and labels of them."""
        weight = np.zeros_like(self.regressors.weight.numpy())
        bias = np.zeros_like(self.regressors.bias.numpy())
        for label in np.unique(labels):
            mine = labels == label
            rows = slice(4 * (label - 1), 4 * label)
            weight[rows], bias[rows] = ridge(pooled[mine], box_encode(regions[mine], boxes[mine]), strength)
        device = self.regressors.weight.device
        self.regressors.weight.data = to_device(weight, device)
        self.regressors.bias.data = to_device(bias, device)

    def svm_loss(self, vectors, signs):
        """The loss of the SVMs on hidden vectors (N, hidden), see `losses.svm_loss`."""
        return svm_loss(self.svm(vectors), signs)


class RCNN(Regions):
    """R-CNN: warp each region to one size, run the whole network on each, classify its features.

    The regions are cut out with a border of ``context`` pixels (of the warped crop) around them, and height and width are
    warped to ``size`` without regard to their ratio. Behind the last map stand one or two hidden layers.

    Parameters
    ----------
    backbone : Module
        Crops (R, 3, size, size) to maps (R, channels, map_size, map_size).
    channels, map_size : int
        Of the map of a crop.
    num_classes : int
        K, with the background as class 0.
    size : int, default 32
        Side of a warped crop, pixels; the paper 227.
    context : int, default 2
        Pixels of the crop on each side that lie outside of the region; the paper 16.
    hidden : int or sequence of int, default 128
        Widths of the hidden layers; the paper's AlexNet has (4096, 4096).
    dropout : float, default 0
        After each hidden layer.
    rng : numpy.random.Generator, int or None
        Draws the starting values; None is seed 0.

    Raises
    ------
    ValueError
        If a size is not a whole number of at least 1, or the context leaves nothing of the region.

    Notes
    -----
    The network runs once for each region: two thousand times for an image in the paper. What lies outside the image is 0.

    References
    ----------
    Girshick et al. 2014, section 2 and appendix A. Slides ``C/45-rcnn``, ``C/51-rcnn-algorithm``,
    ``Z/45-classical-detection``.

    Examples
    --------
    >>> from minivis.nn import Conv2d
    >>> model = RCNN(Conv2d(3, 4, 8, stride=8), channels=4, map_size=4, num_classes=7, hidden=8)
    >>> regions = [np.array([[0.0, 0.0, 9.0, 9.0], [3.0, 4.0, 12.0, 9.0]])]
    >>> model(np.zeros((1, 3, 16, 16), np.float32), regions).shape
    (2, 7)
    """

    def __init__(
        self, backbone, channels, map_size, num_classes, size=32, context=2, hidden=128, dropout=0.0, rng=None
    ):
        init.check_sizes(
            "RCNN", channels=channels, map_size=map_size, num_classes=num_classes, size=size, hidden=hidden
        )
        if not 0 <= context < size / 2:
            raise ValueError(f"RCNN: context must be from 0 to below half of size {size}, got {context}")
        self.size, self.context = size, context
        super().__init__(backbone, channels * map_size**2, num_classes, hidden, dropout, rng)

    def crops(self, images, regions):
        """The warped crops (R, 3, size, size) of the regions of all images."""
        images = as_images("RCNN", images)
        rois = _with_pictures("RCNN", images, regions)
        sides = rois[:, 3:] - rois[:, 1:3]
        border = sides * (self.context / (self.size - 2 * self.context))
        rois[:, 1:3] -= border
        rois[:, 3:] += border
        # a warped crop is RoIAlign of the image itself
        crops = roi_align(images, _beside(rois, images), self.size, sampling=1)
        self.show(crops=lambda: crops)
        return crops

    def pooled(self, images, regions):
        """The last map of every crop as a vector, (R, F)."""
        return _flat(self.backbone(self.crops(images, regions)))


class SPPNet(Regions):
    """SPP-net: the convolutions run once on the whole image; each region is pooled from the map to one length.

    Parameters
    ----------
    backbone : Module
        Images (B, 3, H, W) to maps (B, channels, H / stride, W / stride).
    channels, stride : int
        Of the map.
    num_classes : int
        K, with the background as class 0.
    levels : sequence of int, default (4, 2, 1)
        The pyramid: n x n bins for each n. The paper's detector has (6, 3, 2, 1), 50 bins.
    hidden : int or sequence of int, default 128
        Widths of the hidden layers.
    dropout : float, default 0
        After each hidden layer.
    rng : numpy.random.Generator, int or None
        Draws the starting values; None is seed 0.

    Raises
    ------
    ValueError
        If a size is not a whole number of at least 1.

    Notes
    -----
    In the paper the convolutions stay as they are when the layers behind the pyramid are trained. Freeze ``backbone`` for
    that.

    References
    ----------
    He et al. 2014, sections 2 and 4. Slide ``C/60-rcnn-times``.

    Examples
    --------
    >>> from minivis.nn import Conv2d
    >>> model = SPPNet(Conv2d(3, 4, 4, stride=4), channels=4, stride=4, num_classes=7, hidden=8)
    >>> model.pooled(np.zeros((1, 3, 16, 16), np.float32), [np.array([[0.0, 0.0, 9.0, 9.0]])]).shape
    (1, 84)
    """

    def __init__(
        self, backbone, channels, stride, num_classes, levels=(4, 2, 1), hidden=128, dropout=0.0, rng=None
    ):
        init.check_sizes(
            "SPPNet",
            channels=channels,
            stride=stride,
            num_classes=num_classes,
            levels=tuple(levels),
            hidden=hidden,
        )
        self.stride = stride
        self.levels = tuple(levels)
        super().__init__(backbone, channels * sum(n * n for n in levels), num_classes, hidden, dropout, rng)

    def pooled(self, images, regions):
        """The pyramid of every region, (R, F): `vision.spp` of its part of the map."""
        images = as_images("SPPNet", images)
        maps = self.backbone(images)  # (B, C, H / stride, W / stride)
        rois = _beside(_with_pictures("SPPNet", images, regions), maps)
        self.show(map=lambda: maps)
        pooled = [_flat(roi_pool(maps, rois, n, 1 / self.stride)) for n in self.levels]
        return ops.concatenate(pooled, axis=1)


class FastRCNN(Module):
    """Fast R-CNN: one map, every region pooled from it to S x S cells, two heads, all trained at once.

    One head is a softmax over the classes, the other a box for each class:

    .. math:: L(p, u, t^u, v) = L_{cls}(p, u) + [u \\ge 1]\\, L_{loc}(t^u, v)

    Parameters
    ----------
    backbone : Module
        Images (B, 3, H, W) to maps (B, channels, H / stride, W / stride).
    channels, stride : int
        Of the map.
    num_classes : int
        K, with the background as class 0.
    size : int, default 7
        S.
    pooling : {"pool", "align"}, default "pool"
        `vision.roi_pool`, as published, or `vision.roi_align`, which does not round.
    hidden : int or sequence of int, default 128
        Widths of the hidden layers; with VGG-16 (4096, 4096).
    dropout : float, default 0
        After each hidden layer.
    rng : numpy.random.Generator, int or None
        Draws the starting values: those of the heads are normal with standard deviation 0.01 (classes) and 0.001 (boxes).

    Attributes
    ----------
    score_threshold, nms_threshold : float
        Of the answers: 0.05 and 0.3.

    Raises
    ------
    ValueError
        If a size is not a whole number of at least 1, or ``pooling`` is unknown.

    References
    ----------
    Girshick 2015, sections 2 and 3. Slides ``C/52-fast-rcnn``, ``C/58-fast-rcnn-heads``, ``C/59-fast-rcnn-training``.

    Examples
    --------
    >>> from minivis.nn import Conv2d
    >>> model = FastRCNN(Conv2d(3, 4, 4, stride=4), channels=4, stride=4, num_classes=7, hidden=8)
    >>> logits, deltas = model(np.zeros((1, 3, 16, 16), np.float32), [np.array([[0.0, 0.0, 9.0, 9.0]])])
    >>> logits.shape, deltas.shape
    ((1, 7), (1, 7, 4))
    """

    score_threshold = 0.05
    nms_threshold = 0.3

    background = 1  # class 0 is the background

    def __init__(
        self,
        backbone,
        channels,
        stride,
        num_classes,
        size=7,
        pooling="pool",
        hidden=128,
        dropout=0.0,
        rng=None,
    ):
        init.check_sizes(
            "FastRCNN", channels=channels, stride=stride, num_classes=num_classes, size=size, hidden=hidden
        )
        if pooling not in ("pool", "align"):
            raise ValueError(f'FastRCNN: pooling must be "pool" or "align", got {pooling!r}')
        rng = init.generator(rng)
        self.backbone = backbone
        self.stride, self.size, self.pooling = stride, size, pooling
        self.hidden, width = _hidden(channels * size**2, hidden, dropout, rng)
        self.head = Linear(width, num_classes, weight_init=_normal(0.01), rng=rng)
        self.box = Linear(width, 4 * num_classes, weight_init=_normal(0.001), rng=rng)

    def forward(self, images, regions):
        """Logits (R, K) and a coded box for each class (R, K, 4) of the regions of all images."""
        images = as_images("FastRCNN", images)
        maps = self.backbone(images)  # (B, C, H / stride, W / stride)
        rois = _beside(_with_pictures("FastRCNN", images, regions), maps)
        pool = roi_pool if self.pooling == "pool" else roi_align
        pooled = pool(maps, rois, self.size, 1 / self.stride)  # (R, C, S, S)
        self.show(map=lambda: maps, regions=lambda: pooled)
        x = self.hidden(_flat(pooled))
        return self.head(x), self.box(x).reshape(len(rois), len(self.head.weight), 4)  # (R, K), (R, K, 4)

    def losses(self, images, regions, labels, objects):
        """The two losses and their sum.

        Parameters
        ----------
        images : ndarray or Tensor, shape (B, 3, H, W)
            From 0 to 1.
        regions, objects : list of ndarray, shape (R_b, 4)
            The sampled regions of each image and the object of each, xyxy in pixels, from `region_targets`.
        labels : list of ndarray of int, shape (R_b,)
            The class of each region, 0 for background.

        Returns
        -------
        dict of Tensor
            ``class``, ``box``, ``loss``.
        """
        logits, deltas = self(images, regions)
        coded = box_encode(np.concatenate(regions), np.concatenate(objects), BOX_WEIGHTS).astype(logits.dtype)
        named, placed = region_losses(
            logits, deltas, *(_beside(x, logits) for x in (np.concatenate(labels), coded))
        )
        return {"class": named, "box": placed, "loss": named + placed}

    def detect(self, images, regions):
        """For each image the detections, as `region_detections`; arguments as in ``RCNN.detect``."""
        with no_grad():
            logits, deltas = self(images, regions)
            scores = to_numpy(ops.softmax(logits, axis=1))[:, 1:]  # (R, K - 1)
        deltas = to_numpy(deltas)[:, 1:]

        def answer(r, rows):
            boxes = box_decode(deltas[rows], r[:, None], BOX_WEIGHTS)
            return boxes, scores[rows], {"score_threshold": self.score_threshold}

        return _by_image(images, regions, answer, self.nms_threshold)


def _hidden(inputs, widths, dropout, rng):
    """Hidden layers with ReLU and dropout, and the width of the last."""
    layers = []
    for width in widths if isinstance(widths, (tuple, list)) else (widths,):
        layers += [Linear(inputs, width, rng=rng), ReLU(), Dropout(dropout, rng=rng)]
        inputs = width
    return Sequential(*layers), inputs


def _by_image(images, regions, answer, nms_threshold=0.3):
    """`region_detections` of each image; ``answer(regions, rows)`` gives boxes, scores and options for its rows."""
    height, width = images.shape[2:]
    found = []
    start = 0
    for r in regions:
        boxes, scores, options = answer(r, slice(start, start + len(r)))
        found.append(region_detections(boxes, scores, height, width, nms_threshold=nms_threshold, **options))
        start += len(r)
    return found


def _with_pictures(name, images, regions):
    """`with_pictures`, for as many lists of regions as there are images."""
    if len(regions) != len(images):
        raise ValueError(
            f"{name}: regions must be one array for each of {len(images)} images, got {len(regions)}"
        )
    return with_pictures(regions)


def _flat(x):
    """(R, C, h, w) -> (R, C h w)."""
    return ops.reshape(x, (len(x), -1)) if len(x) else ops.reshape(x, (0, int(np.prod(x.shape[1:]))))


def _beside(array, x):
    """An array of the CPU on the device of a Tensor."""
    return to_device(array, device_of(x.data))


def _normal(std):
    return lambda shape, rng: init.normal(shape, std, rng)


def _with_vgg16(num_classes, rng, **options):
    """VGG-16 without its last pooling, so that the map has stride 16; two hidden layers of 4096."""
    from minivis.models.vgg import VGG

    features = VGG(rng=rng, num_classes=1, hidden=1).features
    return FastRCNN(Sequential(*list(features)[:-1]), 512, 16, num_classes, rng=rng, **options)


fast_rcnn_vgg16 = published(
    "fast_rcnn_vgg16",
    FastRCNN,
    "VGG-16 of stride 16 under regions of 7 x 7 cells, for Pascal VOC with its background",
    134_690_729,
    21,
    build=_with_vgg16,
    example="``dropout=0.5``",
    hidden=(4096, 4096),
    dropout=0.5,
)
