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
SURE = 0.5  # lowest score of a box that is drawn


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
                kept = found["scores"] >= SURE
                shown += 2 * [colours(photo)]
                boxes += [truth["boxes"], found["boxes"][kept]]
                labels += [truth["labels"], found["labels"][kept]]
                scores += [None, found["scores"][kept]]
            if len(shown) >= 2 * SHOWN:
                break
        first = slice(0, 2 * SHOWN)
        titles = ["in the data", "found"] * (len(shown[first]) // 2)
        caption = f"Pictures that were not trained on: left the boxes of the data, right those found with a score of at least {SURE}."
        yield (
            "Boxes of the data, and boxes found",
            viz.boxes_on_images(
                shown[first],
                boxes[first],
                labels[first],
                scores[first],
                self.names,
                titles=titles,
                columns=4,
                caption=caption,
            ),
        )


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
