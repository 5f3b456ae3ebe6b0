"""What is counted for each kind of truth: right classes, COCO's average precision, the mean IoU, the panoptic quality.

Each takes one picture after the other. Not here: the metrics themselves (metrics/), the loop (evaluation.py).
"""

import numpy as np

from minivis import ops
from minivis.autograd import Tensor
from minivis.backend import to_numpy
from minivis.metrics import AveragePrecision, PanopticQuality, class_iou, confusion_matrix
from minivis.models import FCN, SETR, DilatedFCN, MaskFormer, Segmenter, SkipFCN, UNet
from minivis.pretrained import postprocess
from minivis.tasks.masks import IGNORED
from minivis.vision import box_cxcywh_to_xyxy, semantic_inference

__all__ = ["SCORES", "SEMANTIC", "answers_segments"]

# models that name pixels and do not tell objects apart
SEMANTIC = (FCN, SETR, DilatedFCN, Segmenter, SkipFCN, UNet)


def answers_segments(model):
    """Whether a model answers about every pixel: with masks, or with a class for each."""
    if hasattr(model, "rpn"):  # the masks of a Mask R-CNN belong to its boxes
        return False
    masks = hasattr(model, "pixel_decoder") or getattr(model, "mask_head", None) is not None
    return masks or isinstance(model, SEMANTIC)


class TopClasses:
    """Whether the true class is the likeliest one, and whether it is among the five likeliest."""

    answers = "a class for each picture"

    def __init__(self, model, names, classes, things):
        self.classes = np.array(classes)
        self.ranks = []

    @staticmethod
    def fits(output):
        """Whether a model's output can be scored so."""
        return isinstance(output, Tensor) and output.ndim == 2

    def add(self, output, truth, photo, read):
        """Score the output (1, K) for one picture."""
        scores = to_numpy(output)[0]
        own = self.classes[truth]
        # classes with the same score count against the answer, and so does NaN
        self.ranks.append(int((~(scores < scores[own])).sum()) - 1)

    def compute(self):
        """The shares, by name; the first is the one to report."""
        ranks = np.array(self.ranks)
        return {"top-1": float((ranks < 1).mean()), "top-5": float((ranks < 5).mean())}


class Detections:
    """COCO's twelve numbers about boxes."""

    answers = "boxes"

    def __init__(self, model, names, classes, things):
        self.label_of = {own: label for label, own in enumerate(classes)}
        self.metric = AveragePrecision()

    @staticmethod
    def fits(output):
        """Whether a model's output can be scored so."""
        if isinstance(output, list):
            return isinstance(output[0], dict)
        return getattr(output, "boxes", None) is not None

    def add(self, output, truth, photo, read):
        """Score the boxes in one picture of `photo` pixels, which the model has read with `read` pixels (height, width)."""
        if isinstance(output, list):
            scaled = {name: output[0][name] for name in ("boxes", "labels", "scores")}
            found = postprocess.regions(scaled, read, photo, 0.0)
        else:
            found = postprocess.detections(output, photo, 0.0)
        kept = np.isin(found["labels"], list(self.label_of))
        labels = np.array([self.label_of[int(own)] for own in found["labels"][kept]], np.int64)
        found = {"boxes": found["boxes"][kept], "scores": found["scores"][kept], "labels": labels}
        height, width = photo
        boxes = box_cxcywh_to_xyxy(truth["boxes"]) * np.array([width, height, width, height])
        there = {name: truth[name] for name in ("labels", "iscrowd", "area")}
        self.metric.update([found], [{**there, "boxes": boxes}])

    def compute(self):
        """COCO's numbers, by name; the first is the one to report."""
        return self.metric.compute()


class Pixels:
    """The mean over the classes of the IoU of all their pixels."""

    answers = "a class for each pixel"

    def __init__(self, model, names, classes, things):
        self.classes = classes
        # one class more: what the model knows and the data do not
        self.counts = np.zeros((len(classes) + 1, len(classes) + 1), np.int64)

    @staticmethod
    def fits(output):
        """Whether a model's output can be scored so."""
        return isinstance(output, Tensor) and output.ndim == 4 or getattr(output, "masks", None) is not None

    def add(self, output, truth, photo, read):
        """Score the map of one picture: logits (1, K, h, w), or masks with a class each."""
        truth = _classes_of(truth) if isinstance(truth, dict) else truth
        scores = output if isinstance(output, Tensor) else semantic_inference(output.logits, output.masks)
        found = likeliest(to_numpy(scores)[0], truth.shape)
        label_of = np.full(scores.shape[1], len(self.classes))
        label_of[self.classes] = np.arange(len(self.classes))
        self.counts += confusion_matrix(label_of[found], truth, len(self.counts), IGNORED)

    def compute(self):
        """The numbers, by name; the first is the one to report."""
        if not self.counts[:, :-1].any():
            raise ValueError("evaluate: no pixel of these pictures has a class")
        each = class_iou(self.counts)[:-1]
        right = np.trace(self.counts) / max(1, self.counts.sum())
        return {"mIoU": float(each[each >= 0].mean()), "right pixels": float(right)}


class Segments:
    """The panoptic quality, of all classes, of things and of stuff."""

    answers = "panoptic segments"

    def __init__(self, model, names, classes, things):
        self.things = model.things
        self.inside = not isinstance(model, MaskFormer)  # each model as its authors do it
        self.label_of = {own: label for label, own in enumerate(classes)}
        self.metric = PanopticQuality(things)

    @staticmethod
    def fits(output):
        """Whether a model's output can be scored so."""
        return getattr(output, "masks", None) is not None

    def add(self, output, truth, photo, read):
        """Score the segments of one picture."""
        size = truth["panoptic"].shape
        ids, segments = postprocess.segments(output, self.things, size, inside=self.inside)
        kept = [segment for segment in segments if segment["category_id"] in self.label_of]
        ids = np.where(np.isin(ids, [segment["id"] for segment in kept]), ids, 0)
        found = [{"id": s["id"], "category_id": self.label_of[s["category_id"]]} for s in kept]
        self.metric.update([(ids, found)], [(truth["panoptic"], truth["segments"])])

    def compute(self):
        """The qualities, by name; the first is the one to report."""
        return self.metric.compute()


def _classes_of(truth):
    """The class of each pixel (H, W) in a panoptic map; where there is no segment, and in crowds, none counts."""
    labels = np.full(truth["panoptic"].shape, IGNORED)
    for segment in truth["segments"]:
        if not segment["iscrowd"]:
            labels[truth["panoptic"] == segment["id"]] = segment["category_id"]
    return labels


def likeliest(scores, size):
    """The class with the highest score (K, h, w) at each pixel of another size; one class at a time, to spare memory."""
    best = np.full(size, -np.inf, np.float32)
    found = np.zeros(size, np.int64)
    for k in range(len(scores)):
        here = ops.interpolate(scores[None, k : k + 1], tuple(size), mode="bilinear")[0, 0]
        better = here > best
        found[better] = k
        np.maximum(best, here, out=best)
    return found


SCORES = {"classes": TopClasses, "boxes": Detections, "masks": Pixels, "panoptic": Segments}
