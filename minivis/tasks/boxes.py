"""Boxes around objects: the losses of the two detectors, COCO's average precision, and what the report shows of it.

Not here: the models (starts.py), the training (training.py).
"""

import numpy as np

from minivis.autograd import no_grad
from minivis.losses import HungarianMatcher, SetCriterion
from minivis.metrics import AveragePrecision
from minivis.models import FasterRCNN
from minivis.vision import box_cxcywh_to_xyxy, detr_detections

__all__ = ["Boxes"]

SHOWN = 6  # pictures in the report
SURE = 0.5  # lowest score of a box that is drawn, unless a detector is less sure of all


class Boxes:
    """Detection, for `minivis.tasks.train`.

    Parameters
    ----------
    names : sequence of str
        The classes, by label.
    """

    metric = "AP50"
    figure = "AP50"
    batch_size = 16

    def __init__(self, names):
        self.names = tuple(names)
        self.criterion = SetCriterion(len(names), HungarianMatcher(), no_object=0.2)

    def loss(self, model, images, valid, targets):
        """The losses of the model's paper: of a set of boxes, or of proposals and regions."""
        if isinstance(model, FasterRCNN):
            photos, targets = _in_pixels(images, valid, targets)
            return model.losses(photos, [{**t, "labels": t["labels"] + 1} for t in targets])["loss"]
        return self.criterion(_all(model, images, valid), targets)["loss"]

    def find(self, model, images, valid):
        """What a model finds in each photo: labels as the data have them, scores, and boxes (xyxy in pixels)."""
        with no_grad():
            if isinstance(model, FasterRCNN):
                found = model([image[:, :h, :w] for image, (h, w) in zip(images, _sizes(valid), strict=True)])
                return [{**one, "labels": one["labels"] - 1} for one in found]
            output = _all(model, images, valid)
        made = []
        for logits, boxes, (h, w) in zip(
            output.logits.numpy(), output.boxes.numpy(), _sizes(valid), strict=True
        ):
            one = detr_detections(logits, boxes)
            made.append({**one, "boxes": _corners(one["boxes"], h, w)})
        return made

    def measure(self, model, batches):
        """COCO's scores: {"AP50": ..., "AP": ...}, 0 to 1; AP50 counts a box as right from an IoU of 0.5 on."""
        metric = AveragePrecision()
        for images, valid, targets in batches:
            metric.update(self.find(model, images, valid), _in_pixels(images, valid, targets)[1])
        found = metric.compute()
        if found["AP"] < 0:
            raise ValueError(
                "train: none of the pictures to measure on has a box, so there is nothing to measure: give more pictures, or "
                "another seed, which divides them in another way"
            )
        return {"AP50": found["AP50"], "AP": found["AP"]}

    def baseline(self, batches):
        """There is no answer without looking that is right about boxes."""
        return None

    def pictures(self, model, batches, colours):
        """The figures of the report."""
        from minivis import viz

        shown, boxes, labels, scores = [], [], [], []
        for images, valid, targets in batches:
            photos, there = _in_pixels(images, valid, targets)
            for photo, truth, found in zip(photos, there, self.find(model, images, valid), strict=True):
                shown += 2 * [colours(photo)]
                boxes += [truth["boxes"], found["boxes"]]
                labels += [truth["labels"], found["labels"]]
                scores += [None, found["scores"]]
            if len(shown) >= 2 * SHOWN:
                break
        first = slice(0, 2 * SHOWN)
        least = _lowest_drawn(scores[first][1::2], sum(map(len, boxes[first][::2])))
        kept = [slice(None) if of is None else of >= least for of in scores[first]]
        titles = ["in the data", "found"] * (len(kept) // 2)
        caption = (
            "Pictures that were not trained on: left the boxes of the data, right those found with a score of at least "
            f"{least:.2g}. Does each thing have a box of its class? minivis predict draws boxes from a score of 0.7 on, or from "
            "that of --threshold on."
        )
        yield (
            "Boxes of the data, and boxes found",
            viz.boxes_on_images(
                shown[first],
                [box[k] for box, k in zip(boxes, kept, strict=False)],
                [label[k] for label, k in zip(labels, kept, strict=False)],
                [None if of is None else of[k] for of, k in zip(scores, kept, strict=False)],
                self.names,
                titles=titles,
                columns=4,
                caption=caption,
            ),
        )


def _lowest_drawn(scores, count):
    """The lowest score of a box that is drawn: SURE, or so low that there are as many boxes as the data have."""
    ordered = np.sort(np.concatenate(scores))[::-1]
    place = min(count, len(ordered)) - 1
    return min(SURE, float(np.floor(100 * ordered[place])) / 100) if place >= 0 else SURE


def _all(model, images, valid):
    """The output of a DETR. It needs no mask if no photo is padded."""
    return model(images) if valid.all() else model(images, valid)


def _sizes(valid):
    """Height and width of each photo of a padded batch."""
    return [(int(one[:, 0].sum()), int(one[0].sum())) for one in valid]


def _corners(boxes, height, width):
    """xyxy in pixels from cxcywh between 0 and 1."""
    return box_cxcywh_to_xyxy(boxes) * np.array([width, height, width, height], boxes.dtype)


def _in_pixels(images, valid, targets):
    """The photos of a batch without their padding, and targets with boxes as xyxy in their pixels."""
    sizes = _sizes(valid)
    photos = [image[:, :h, :w] for image, (h, w) in zip(images, sizes, strict=True)]
    boxes = [{**t, "boxes": _corners(t["boxes"], h, w)} for t, (h, w) in zip(targets, sizes, strict=True)]
    return photos, boxes
