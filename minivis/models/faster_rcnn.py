"""Faster R-CNN: a small network proposes regions of a feature map; a second one names each region and corrects its box.

Ren et al., "Faster R-CNN", NeurIPS 2015, figure 2, on a feature pyramid: Lin et al., CVPR 2017, section 4.
Slides ``C/52-fast-rcnn``, ``C/58-fast-rcnn-heads``, ``C/59-fast-rcnn-training``, ``C/62-faster-rcnn``.
Not here: anchors, the coding of boxes, RoIAlign and suppression (vision/), the four losses (losses/detection.py), the mask
head (mask_rcnn.py), the detectors before this one (rcnn.py).
"""

import math
from typing import NamedTuple

import numpy as np

from minivis import ops
from minivis.autograd import Tensor
from minivis.backend import check_floating, device_of, to_device, to_numpy
from minivis.losses.detection import balanced_sample, proposal_losses, region_losses
from minivis.losses.targets import complete
from minivis.models.common import published
from minivis.nn import Conv2d, FeaturePyramid, Linear, Module, init
from minivis.nn.module import as_tensor
from minivis.precision import rounded, widened
from minivis.vision import (
    anchor_boxes,
    batched_nms,
    box_decode,
    box_encode,
    box_iou,
    clip_boxes,
    level_of,
    match_anchors,
    region_detections,
    roi_align,
)

__all__ = ["FasterRCNN", "fasterrcnn_resnet50_fpn"]

MEAN = (0.485, 0.456, 0.406)  # of R, G, B over ImageNet, and the standard deviations
STD = (0.229, 0.224, 0.225)
STRIDE = 32  # pictures are padded to a multiple of it, so that all maps have whole cells
SMALLEST_PROPOSAL = 1e-3  # pixels; smaller proposals are dropped
BOX_WEIGHTS = (10, 10, 5, 5)  # 1 / the standard deviations of the coded boxes


class Pictures(NamedTuple):
    """Pictures as the network reads them.

    Attributes
    ----------
    batch : Tensor, shape (B, 3, H, W)
        Normalised, resized, and padded with zeros at the bottom and the right.
    sizes : list of (int, int)
        Height and width of each without its padding.
    originals : list of (int, int)
        Height and width of each as it was given.
    """

    batch: Tensor
    sizes: list
    originals: list


class Samples(NamedTuple):
    """The regions of a batch that take part in the loss.

    Attributes
    ----------
    boxes : list of ndarray, shape (R_b, 4)
        The regions of each picture, in pixels of the batch.
    labels : list of ndarray of int64, shape (R_b,)
        The class of each region, 0 for background.
    objects : list of ndarray of int64, shape (R_b,)
        The index of the object that each region overlaps most; 0 where there is none.
    """

    boxes: list
    labels: list
    objects: list


def normal_01(shape, rng):
    """Starting values of the heads: normal with standard deviation 0.01."""
    return init.normal(shape, 0.01, rng)


def normal_001(shape, rng):
    """Starting values of the last layer for boxes: normal with standard deviation 0.001."""
    return init.normal(shape, 0.001, rng)


class RegionProposalNetwork(Module):
    """Slide over every map of the pyramid; say for each anchor how likely it is an object, and how to move it there.

    Parameters
    ----------
    width : int
        Channels of the maps.
    sizes : sequence of sequence of float
        For each map the sizes of its anchors, pixels.
    ratios : sequence of float
        Heights divided by widths.
    published_anchors : bool
        Torchvision's anchors, rounded and around the corners of the cells.
    rng : numpy.random.Generator
        Draws the starting values.
    """

    def __init__(self, width, sizes, ratios, published_anchors, rng):
        self.sizes = [tuple(one) for one in sizes]
        self.ratios = tuple(ratios)
        self.options = {"rounded": published_anchors, "centred": not published_anchors}
        A = len(self.sizes[0]) * len(self.ratios)
        self.conv = Conv2d(width, width, 3, padding=1, weight_init=normal_01, rng=rng)
        self.objectness = Conv2d(width, A, 1, weight_init=normal_01, rng=rng)
        self.deltas = Conv2d(width, 4 * A, 1, weight_init=normal_01, rng=rng)

    def forward(self, maps):
        """Logits (B, N) and coded boxes (B, N, 4) of all N anchors: map by map, cell by cell, anchor by anchor."""
        logits, deltas = [], []
        for x in maps:
            x = ops.relu(self.conv(x))
            logits.append(_by_anchor(self.objectness(x), 1))
            deltas.append(_by_anchor(self.deltas(x), 4))
        self.show(objectness=lambda: ops.sigmoid(ops.concatenate(logits, axis=1)[..., 0]))
        return ops.concatenate(logits, axis=1)[..., 0], ops.concatenate(deltas, axis=1)

    def anchors(self, maps, batch):
        """The anchors (N_l, 4) of each map for a batch (B, C, H, W): arrays on the CPU, in pixels."""
        H, W = batch.shape[2:]
        dtype = np.promote_types(batch.dtype, np.float32)
        found = []
        for x, sizes in zip(maps, self.sizes, strict=True):
            rows, columns = x.shape[2:]
            stride = (H // rows, W // columns)
            boxes = anchor_boxes(rows, columns, stride, sizes, self.ratios, **self.options, dtype=dtype)
            found.append(boxes)
        return found

    def propose(self, logits, deltas, anchors, sizes, before, after, threshold):
        """The best boxes of each picture, (n, 4) arrays on the CPU, best first.

        For each map the ``before`` best anchors are moved and clipped to the picture; those that overlap a better one of
        their map by more than ``threshold`` are dropped, and ``after`` of all are kept. No gradient flows into the boxes.
        """
        ends = np.cumsum([len(boxes) for boxes in anchors])
        levels = np.repeat(np.arange(len(anchors)), [len(boxes) for boxes in anchors])
        anchors = np.concatenate(anchors)
        found = []
        for scores, moves, (height, width) in zip(
            widened(to_numpy(logits)), widened(to_numpy(deltas)), sizes, strict=True
        ):
            parts = np.split(np.arange(len(scores)), ends[:-1])
            best = np.concatenate([part[ops.argsort(-scores[part])[:before]] for part in parts])
            boxes = clip_boxes(box_decode(moves[best], anchors[best]), height, width)
            large = ((boxes[:, 2:] - boxes[:, :2]) >= SMALLEST_PROPOSAL).all(axis=1)
            best, boxes = best[large], boxes[large]
            kept = batched_nms(boxes, scores[best], levels[best], threshold)[:after]
            found.append(boxes[kept])
        self.show(proposals=lambda: found[0])
        return found

    def losses(self, logits, deltas, anchors, targets, rng, samples, positive, iou):
        """The first two of the four losses: object or background, and the boxes of the anchors that are objects."""
        anchors = np.concatenate(anchors)
        chosen, labels, coded = [], [], []
        for number, target in enumerate(targets):
            boxes = target["boxes"].astype(anchors.dtype, copy=False)
            matched = match_anchors(box_iou(anchors, boxes), *iou)
            label = np.where(matched >= 0, 1, np.where(matched == -1, -1, 0))
            sample = balanced_sample(label, samples, positive, rng)
            chosen.append(sample + number * len(anchors))
            labels.append(label[sample])
            coded.append(_coded(anchors[sample], boxes, np.maximum(matched[sample], 0)))
        chosen, labels, coded = (_beside(np.concatenate(x), logits) for x in (chosen, labels, coded))
        logits = ops.take(ops.reshape(logits, (-1,)), chosen)
        deltas = ops.take(ops.reshape(deltas, (-1, 4)), chosen)
        return proposal_losses(logits, deltas, labels, coded)


class RegionHead(Module):
    """Turn the S x S cells of a region into one vector: two fully connected layers, or a lighter form for small models.

    Parameters
    ----------
    width : int
        Channels of the map.
    size : int
        S, cells along each side of a region.
    hidden : int
        Length of the vector.
    light : bool
        A 3 x 3 convolution of stride 2 in the place of the first fully connected layer.
    rng : numpy.random.Generator
        Draws the starting values: torch's.
    """

    def __init__(self, width, size, hidden, light, rng):
        if light:
            self.first = Conv2d(width, width, 3, stride=2, padding=1, rng=rng)
        else:
            self.first = Linear(width * size**2, hidden, rng=rng)
        inputs = width * ((size + 1) // 2) ** 2 if light else hidden
        self.second = Linear(inputs, hidden, rng=rng)
        self.light = light

    def forward(self, regions):
        """Vectors (R, hidden) of regions (R, C, S, S)."""
        x = regions if self.light else _flat(regions)
        x = _flat(ops.relu(self.first(x)))
        return ops.relu(self.second(x))


class FasterRCNN(Module):
    """Faster R-CNN on a feature pyramid: pictures to a list of boxes, each with a class and a score.

    .. math::
        P = \\mathrm{pyramid}(\\mathrm{backbone}(x)), \\quad R = \\mathrm{NMS}(\\mathrm{decode}(\\mathrm{RPN}(P))), \\quad
        p = \\mathrm{softmax}(W_c h), \\quad t = W_t h, \\qquad h = \\mathrm{head}(\\mathrm{RoIAlign}(P, R))

    Everything is trained at once with four losses: `losses`.

    Parameters
    ----------
    backbone : Module
        It has ``features(images)``, which returns a list of maps (B, C_i, H_i, W_i), finest first, and ``channels``, the
        C_i.
    num_classes : int
        K, with the background, which is class 0.
    width : int, default 256
        Channels of the pyramid.
    anchor_sizes : sequence of sequence of float, default ((32,), (64,), (128,), (256,), (512,))
        For each level of the pyramid, finest first, the sizes of its anchors, pixels. With one level more than the backbone
        has maps, the last level has half the resolution of the coarsest map, and only proposals are made from it. With
        fewer, the coarser maps are only added to the finer ones.
    anchor_ratios : sequence of float, default (0.5, 1, 2)
        Heights of anchors divided by their widths.
    hidden : int, default 1024
        Length of the vector that describes a region.
    light_head : bool, default False
        Begin the head with a convolution of stride 2 instead of a fully connected layer, for small models.
    published_form : bool, default False
        As torchvision: anchors are rounded and lie around the corners of the cells, and RoIAlign reads half a cell too far
        to the lower right (``aligned=False``). Its weights need that.
    before_nms, after_nms : (int, int), defaults (2000, 1000)
        Number of proposals of each level before suppression, and of a picture after it: in training, and otherwise.
    anchor_iou : (float, float), default (0.7, 0.3)
        An anchor is an object from the first IoU on, or if it is the best of an object; it is background below the second.
    region_iou : float, default 0.5
        A region is an object from this IoU on.
    anchor_samples, region_samples : int, defaults 256 and 512
        Anchors and regions of a picture that take part in the loss.
    region_positive : float, default 0.25
        The share of the sampled regions that may be objects. For anchors it is a half.
    min_size, max_size : int, defaults 800 and 1333
        Pictures are resized so that the shorter side has ``min_size`` pixels, or less if the longer one would have more than
        ``max_size``. With ``min_size`` None they stay as they are.
    mean, std : sequence of float or None
        Colours are normalised with them; default those of ImageNet. With ``mean`` None they stay as they are.
    score_threshold, nms_threshold : float, defaults 0.05 and 0.5
        Only boxes with a larger score are kept; of two boxes of a class that overlap more than this, the worse one is.
    detections : int, default 100
        Most boxes of a picture.
    rng : numpy.random.Generator, int or None
        Draws the starting values: normal in the proposal network and the last layers, torch's in the rest. The samples of
        training are drawn from a child of it, ``sampler``. None is seed 0.

    Attributes
    ----------
    min_size, max_size, score_threshold, nms_threshold, detections
        As given; they may be changed at any time. A saved model comes back with those that it was made with.
    sampler : numpy.random.Generator
        Its state is part of `Module.rng_state`, so that a training can be resumed.

    Raises
    ------
    ValueError
        If a size is not positive, the levels do not fit the backbone, or, when called, the pictures or targets do not fit.

    Notes
    -----
    Proposals and boxes are chosen on the CPU. They are no functions with a gradient: only the losses are.

    References
    ----------
    Ren et al. 2015, section 3; Girshick, "Fast R-CNN", ICCV 2015, section 2; Lin et al. 2017, section 4. Slides
    ``C/52-fast-rcnn``, ``C/58-fast-rcnn-heads``, ``C/62-faster-rcnn``.

    Examples
    --------
    >>> from minivis.models import ResNet
    >>> backbone = ResNet((1, 1), "basic", widths=(8, 16), stem_width=8, num_classes=0)
    >>> model = FasterRCNN(backbone, 4, width=8, anchor_sizes=[(16, 32)], hidden=16, min_size=None, detections=3,
    ...                    score_threshold=0)
    >>> found = model([np.zeros((3, 40, 64), np.float32)])[0]
    >>> found["boxes"].shape, found["labels"].shape, found["scores"].shape
    ((3, 4), (3,), (3,))
    """

    background = 1  # class 0 is the background
    region_size = 7  # cells along each side of a region
    needed = ("boxes",)  # of a target, besides its labels
    proposal_nms = 0.7  # of two proposals of a level that overlap more than this, the worse one is dropped

    def __init__(
        self, backbone, num_classes, width=256, anchor_sizes=((32,), (64,), (128,), (256,), (512,)),
        anchor_ratios=(0.5, 1, 2), hidden=1024, light_head=False, published_form=False, before_nms=(2000, 1000),
        after_nms=(2000, 1000), anchor_iou=(0.7, 0.3), region_iou=0.5, anchor_samples=256, region_samples=512,
        region_positive=0.25, min_size=800, max_size=1333, mean=MEAN, std=STD, score_threshold=0.05, nms_threshold=0.5,
        detections=100, rng=None,
    ):  # fmt: skip
        init.check_sizes(
            "FasterRCNN", num_classes=num_classes, width=width, hidden=hidden, anchor_samples=anchor_samples,
            region_samples=region_samples, detections=detections, before_nms=before_nms, after_nms=after_nms,
        )  # fmt: skip
        counts = {len(sizes) for sizes in anchor_sizes}
        if not 1 <= len(anchor_sizes) <= len(backbone.channels) + 1 or len(counts) != 1:
            raise ValueError(
                f"FasterRCNN: anchor_sizes must have 1 to {len(backbone.channels) + 1} levels for a backbone of "
                f"{len(backbone.channels)} maps, all with the same number of sizes, got {anchor_sizes!r}"
            )
        rng = init.generator(rng)
        self.num_classes = num_classes
        self.aligned = not published_form
        self.before_nms, self.after_nms = tuple(before_nms), tuple(after_nms)
        self.anchor_iou = tuple(anchor_iou)
        self.region_iou = region_iou
        self.anchor_samples, self.region_samples = anchor_samples, region_samples
        self.region_positive = region_positive
        self.min_size, self.max_size, self.mean, self.std = min_size, max_size, mean, std
        self.score_threshold, self.nms_threshold, self.detections = score_threshold, nms_threshold, detections
        self.backbone = backbone
        self.pyramid = FeaturePyramid(tuple(backbone.channels), width, len(anchor_sizes), rng)
        self.rpn = RegionProposalNetwork(width, anchor_sizes, anchor_ratios, published_form, rng)
        self.head = RegionHead(width, self.region_size, hidden, light_head, rng)
        self.class_head = Linear(hidden, num_classes, weight_init=normal_01, rng=rng)
        self.box_head = Linear(hidden, 4 * num_classes, weight_init=normal_001, rng=rng)
        self.sampler = rng.spawn(1)[0]

    def forward(self, images):
        """Detect objects.

        Inside `looking`, the model shows ``rpn.objectness``, the probabilities (B, N) of all anchors, and
        ``rpn.proposals`` (n, 4), the proposals of the first picture in pixels of the resized picture, best first.

        Parameters
        ----------
        images : list of ndarray or Tensor, shape (3, H, W) each, or one of shape (B, 3, H, W)
            Pictures in [0, 1].

        Returns
        -------
        list of dict
            For each picture ``boxes`` (n, 4), left, top, right, bottom in pixels of the picture as given, ``labels`` (n,)
            int64, 1 to K - 1, and ``scores`` (n,), in order of decreasing score; arrays on the CPU.
        """
        if not len(images):
            return []
        pictures, _ = self.prepare(images)
        maps = self.features(pictures)
        logits, deltas = self.rpn(maps)
        anchors = self.rpn.anchors(maps, pictures.batch)
        proposals = self.rpn.propose(
            logits,
            deltas,
            anchors,
            pictures.sizes,
            self.before_nms[1],
            self.after_nms[1],
            self.proposal_nms,
        )
        found = self.detect(maps, proposals, pictures)
        found = self.complete(found, maps, pictures)
        found = [self.finish(one, *sizes) for one, *sizes in zip(found, *pictures[1:], strict=True)]
        return [{**one, "boxes": rounded(one["boxes"], one["scores"].dtype)} for one in found]

    def losses(self, images, targets, rng=None):
        """The four losses of Faster R-CNN and their sum.

        Parameters
        ----------
        images : list of ndarray or Tensor, or one of shape (B, 3, H, W)
            As for `forward`.
        targets : list of dict
            For each picture ``boxes`` (T, 4), left, top, right, bottom in pixels of the picture as given, and ``labels``
            (T,) of int, 1 to K - 1. T may be 0. Crowds, ``iscrowd``, are left out.
        rng : numpy.random.Generator, int or None
            Draws the samples; default the model's ``sampler``.

        Returns
        -------
        dict of str to Tensor, shape ()
            ``objectness`` and ``proposal_box``, of the region proposal network; ``class`` and ``box``, of the regions;
            ``loss``, their sum.
        """
        rng = self.sampler if rng is None else init.generator(rng)
        pictures, targets = self.prepare(images, targets)
        maps = self.features(pictures)
        losses = {}

        logits, deltas = self.rpn(maps)
        anchors = self.rpn.anchors(maps, pictures.batch)
        losses["objectness"], losses["proposal_box"] = self.rpn.losses(
            logits, deltas, anchors, targets, rng, self.anchor_samples, 0.5, self.anchor_iou
        )
        proposals = self.rpn.propose(
            logits, deltas, anchors, pictures.sizes, self.before_nms[0], self.after_nms[0], self.proposal_nms
        )

        samples = self.sample(proposals, targets, rng)
        logits, deltas = self.describe(maps, samples.boxes, pictures)
        coded = [
            _coded(*one, BOX_WEIGHTS)
            for one in zip(samples.boxes, (t["boxes"] for t in targets), samples.objects, strict=True)
        ]
        labels, coded = (_beside(np.concatenate(x), logits) for x in (samples.labels, coded))
        losses["class"], losses["box"] = region_losses(logits, deltas, labels, coded)

        losses.update(self.more_losses(samples, maps, pictures, targets))
        return {**losses, "loss": sum(losses.values())}

    # ------------------------------------------------------------------ for a detector with another head

    def complete(self, found, maps, pictures):
        """Add to the dicts of `detect` what another head says about their boxes. Here: nothing."""
        return found

    def more_losses(self, samples, maps, pictures, targets):
        """The losses of another head, by name, for `Samples` of regions. Here: none."""
        return {}

    def finish(self, found, size, original):
        """Bring one dict of `detect` from the resized picture of ``size`` to the ``original`` one, (H, W) both."""
        height, width = (there / here for there, here in zip(original, size, strict=True))
        scale = np.array([width, height, width, height], found["boxes"].dtype)
        return {**found, "boxes": found["boxes"] * scale}

    # ------------------------------------------------------------------ the steps

    def prepare(self, images, targets=None):
        """`Pictures` of a list of images, and the targets for them, resized as the images are."""
        images = [as_tensor(image) for image in images]
        self._check_pictures(images)
        originals = [tuple(image.shape[1:]) for image in images]
        images = [self._resized(self._normalised(image)) for image in images]
        sizes = [tuple(image.shape[1:]) for image in images]
        H, W = (STRIDE * math.ceil(max(sides) / STRIDE) for sides in zip(*sizes, strict=True))
        padded = [ops.pad(x, ((0, 0), (0, H - x.shape[1]), (0, W - x.shape[2]))) for x in images]
        pictures = Pictures(ops.stack(padded), sizes, originals)
        if targets is None:
            return pictures, None
        targets = complete(self._name, targets, len(images), self.needed)
        triples = zip(targets, sizes, originals, strict=True)
        return pictures, [self.prepare_target(*triple) for triple in triples]

    def prepare_target(self, target, size, original):
        """Check one target and bring its boxes from the original picture to the resized one: arrays on the CPU."""
        labels = to_numpy(target["labels"])
        boxes = widened(to_numpy(target["boxes"]))
        shapes = f"(boxes: {tuple(boxes.shape)}, labels: {tuple(labels.shape)})"
        if boxes.ndim != 2 or boxes.shape[1] != 4 or labels.shape != boxes.shape[:1]:
            raise ValueError(f"{self._name}: a target must have boxes (T, 4) and labels (T,) {shapes}")
        if not ((boxes[:, 2:] > boxes[:, :2]).all() and np.isfinite(boxes).all()):
            raise ValueError(
                f"{self._name}: a target has boxes without width or height, or of numbers that are not finite {shapes}"
            )
        if labels.size and labels.dtype.kind not in "iu":
            raise TypeError(f"{self._name}: labels must be integers, got {labels.dtype.name}")
        if labels.size and not 1 <= labels.min() <= labels.max() < self.num_classes:
            raise ValueError(
                f"{self._name}: labels must be 1 to {self.num_classes - 1}, 0 is the background, got {labels.min()} to "
                f"{labels.max()}"
            )
        height, width = (there / here for there, here in zip(size, original, strict=True))
        scale = np.array([width, height, width, height], boxes.dtype)
        return {**target, "boxes": boxes * scale, "labels": labels.astype(np.int64)}

    def features(self, pictures):
        """The maps of the pyramid."""
        return self.pyramid(self.backbone.features(pictures.batch))

    def pool(self, maps, boxes, pictures, size):
        """The ``size`` x ``size`` cells of each region of each picture: (R, C, size, size), from the level that fits."""
        maps = maps[: len(self.pyramid.output)]
        numbers = np.repeat(np.arange(len(boxes)), [len(one) for one in boxes])
        boxes = np.concatenate(boxes)
        rois = np.concatenate([numbers[:, None].astype(boxes.dtype), boxes], axis=1)  # (R, 5)
        scales = [x.shape[2] / pictures.batch.shape[2] for x in maps]
        lowest, highest = (round(-math.log2(scale)) for scale in (scales[0], scales[-1]))
        levels = level_of(boxes, lowest, highest) - lowest
        chosen = [np.flatnonzero(levels == level) for level in range(len(maps))]
        parts = [
            roi_align(x, _beside(rois[rows], x), size, scale, sampling=2, aligned=self.aligned)
            for x, rows, scale in zip(maps, chosen, scales, strict=True)
        ]
        if len(parts) == 1:
            return parts[0]
        back = np.argsort(np.concatenate(chosen), kind="stable")
        return ops.take(ops.concatenate(parts), _beside(back, maps[0]))

    def describe(self, maps, boxes, pictures):
        """Logits (R, K) and coded boxes for every class (R, K, 4) of the regions of all pictures."""
        x = self.head(self.pool(maps, boxes, pictures, self.region_size))
        return self.class_head(x), ops.reshape(self.box_head(x), (len(x), self.num_classes, 4))

    def sample(self, proposals, targets, rng):
        """`Samples` of the proposals and the true boxes of each picture, which are proposals too."""
        samples = Samples([], [], [])
        for boxes, target in zip(proposals, targets, strict=True):
            true = target["boxes"].astype(boxes.dtype, copy=False)
            boxes = np.concatenate([boxes, true])
            iou = box_iou(boxes, true) if len(true) else np.zeros((len(boxes), 1), boxes.dtype)
            objects = iou.argmax(axis=1)
            known = target["labels"] if len(true) else np.zeros(1, np.int64)
            labels = np.where(iou.max(axis=1) >= self.region_iou, known[objects], 0)
            chosen = balanced_sample(labels, self.region_samples, self.region_positive, rng)
            for part, values in zip(samples, (boxes, labels, objects), strict=True):
                part.append(values[chosen])
        return samples

    def detect(self, maps, proposals, pictures):
        """For each picture a dict of ``boxes``, ``labels`` and ``scores``, in pixels of the batch."""
        logits, deltas = self.describe(maps, proposals, pictures)
        dtype = logits.dtype
        scores = to_numpy(ops.softmax(widened(logits), axis=-1))
        deltas = widened(to_numpy(deltas))
        found = []
        start = 0
        for boxes, (height, width) in zip(proposals, pictures.sizes, strict=True):
            rows = slice(start, start + len(boxes))
            # (R, K - 1, 4): without the background
            moved = box_decode(deltas[rows, 1:], boxes[:, None], BOX_WEIGHTS)
            options = self.score_threshold, self.nms_threshold, self.detections
            one = region_detections(moved, scores[rows, 1:], height, width, *options)
            found.append({**one, "scores": rounded(one["scores"], dtype)})
            start = rows.stop
        return found

    @property
    def _name(self):
        return type(self).__name__

    def _check_pictures(self, images):
        shapes = f"(images: {[tuple(image.shape) for image in images]})"
        if not images or any(image.ndim != 3 or not image.size for image in images):
            raise ValueError(
                f"{self._name}: images must be a list of (C, H, W) with pixels, or one array (B, C, H, W) {shapes}"
            )
        for image in images:
            check_floating(self._name, image, "images")
            if self.mean is not None and len(image) != len(self.mean):
                raise ValueError(
                    f"{self._name}: images must have C={len(self.mean)} channels (an image: {tuple(image.shape)})"
                )

    def _normalised(self, image):
        if self.mean is None:
            return image
        mean, std = (_beside(np.array(x, image.dtype)[:, None, None], image) for x in (self.mean, self.std))
        return (image - mean) / std

    def _resized(self, image):
        """The picture with its shorter side at ``min_size`` and its longer one at most at ``max_size``."""
        if self.min_size is None:
            return image
        sides = image.shape[1:]
        scale = min(self.min_size / min(sides), self.max_size / max(sides))
        size = tuple(max(1, math.floor(side * scale)) for side in sides)
        return ops.interpolate(image[None], size=size, mode="bilinear")[0]


def _by_anchor(x, numbers):
    """A map (B, A * n, H, W) with one row for each anchor of each cell: (B, H W A, n)."""
    B, C, H, W = x.shape
    x = ops.reshape(x, (B, C // numbers, numbers, H, W))
    return ops.reshape(ops.transpose(x, (0, 3, 4, 1, 2)), (B, H * W * C // numbers, numbers))


def _flat(x):
    """(R, ...) -> (R, product of the others)."""
    return ops.reshape(x, (x.shape[0], math.prod(x.shape[1:])))


def _coded(regions, boxes, objects, weights=(1, 1, 1, 1)):
    """The box of each region's object, coded against the region; 0 where a picture has no objects."""
    if not len(boxes):
        return np.zeros_like(regions)
    return box_encode(regions, boxes[objects].astype(regions.dtype, copy=False), weights)


def _beside(x, other):
    """An array of the CPU on the device of another."""
    return to_device(x, device_of(other.data))


def _on_resnet50(num_classes, rng, norm="frozen", **options):
    """Faster R-CNN on a ResNet-50, in the form of the published weights."""
    from minivis.models.resnet import ResNet

    eps = 0.0 if norm == "frozen" else 1e-5
    backbone = ResNet((3, 4, 6, 3), num_classes=0, norm=norm, eps=eps, rng=rng)
    return FasterRCNN(backbone, num_classes, rng=rng, **{"published_form": True, **options})


fasterrcnn_resnet50_fpn = published(
    "fasterrcnn_resnet50_fpn", FasterRCNN, "ResNet-50 with frozen norms and a pyramid of five maps, as torchvision has it",
    41_755_286, 91, '``min_size=480``; also ``norm="batch"``', build=_on_resnet50,
)  # fmt: skip
