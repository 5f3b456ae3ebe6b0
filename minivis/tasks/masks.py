"""A class for each pixel: the loss, the mean IoU, and what the report shows of it.

Not here: the models (starts.py), the training (training.py).
"""

import numpy as np

from minivis import ops
from minivis.autograd import no_grad
from minivis.data.label_maps import IGNORED
from minivis.metrics import class_iou, confusion_matrix, mean_iou

__all__ = ["Masks"]


SHOWN = 4  # pictures in the report


class Masks:
    """Semantic segmentation, for `minivis.tasks.train`.

    Parameters
    ----------
    names : sequence of str
        The classes, by label.
    """

    metric = "mIoU"
    figure = "mean IoU"
    batch_size = 16

    def __init__(self, names):
        self.names = tuple(names)

    def loss(self, model, images, labels):
        """Cross-entropy of the pixels that count; 0 for a batch that has none."""
        total = ops.cross_entropy(model(images), labels, ignore_index=IGNORED, reduction="sum")
        return total / max(1, int((labels != IGNORED).sum()))

    def name_pixels(self, model, images):
        """The class of each pixel, (B, H, W)."""
        with no_grad():
            return model(images).numpy().argmax(axis=1)

    def counts(self, model, batches):
        """How many pixels of each class (row) were given each class (column)."""
        K = len(self.names)
        counted = np.zeros((K, K), np.int64)
        for images, labels in batches:
            counted += confusion_matrix(self.name_pixels(model, images), labels, K, IGNORED)
        return counted

    def measure(self, model, batches):
        """The mean over the classes of the IoU: {"mIoU": 0 to 1}."""
        return {"mIoU": mean_iou(self.counts(model, batches))}

    def baseline(self, batches):
        """What an answer without looking gives, the most frequent class everywhere: its name and mean IoU."""
        K = len(self.names)
        there = sum(np.bincount(labels[labels != IGNORED], minlength=K) for _, labels in batches)
        counted = np.zeros((K, K), np.int64)
        counted[:, there.argmax()] = there
        return f"{self.names[there.argmax()]} everywhere", mean_iou(counted)

    def pictures(self, model, batches, colours):
        """The figures of the report."""
        from minivis import viz

        each = class_iou(self.counts(model, batches))
        there = {name: round(float(iou), 3) for name, iou in zip(self.names, each, strict=True) if iou >= 0}
        caption = "The IoU of each class over all pixels that were not trained on: common pixels divided by united ones."
        yield "Each class by itself", viz.bars(there, "IoU", "class", caption=caption)
        photos, truth, named = [], [], []
        for images, labels in batches:
            photos += [colours(image) for image in images]
            truth += list(np.where(labels == IGNORED, len(self.names), labels))  # a colour of its own
            named += list(self.name_pixels(model, images))
            if len(photos) >= SHOWN:
                break
        count = min(SHOWN, len(photos))
        caption = "Pictures that were not trained on; below each the classes of the data, and below these the classes found."
        yield (
            "Classes of the data, and classes found",
            viz.semantic_maps(
                [*truth[:count], *named[:count]],
                photos[:count],
                ["photo"] * count + ["in the data"] * count + ["found"] * count,
                [*self.names, "does not count"],
                columns=count,
                caption=caption,
            ),
        )
