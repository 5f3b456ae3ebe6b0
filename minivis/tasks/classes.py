"""A class for each picture: the loss, the accuracy, and what the report shows of it.

Not here: the models (starts.py), the training (training.py).
"""

import numpy as np

from minivis import ops
from minivis.autograd import no_grad
from minivis.metrics import accuracy, confusion_matrix

__all__ = ["Classes"]


class Classes:
    """Classification, for `minivis.tasks.train`.

    Parameters
    ----------
    names : sequence of str
        The classes, by label.
    """

    metric = "accuracy"
    figure = "accuracy"
    batch_size = 32

    def __init__(self, names):
        self.names = tuple(names)

    def loss(self, model, images, labels):
        """Cross-entropy with soft targets: 0.9 for the right class, the rest shared by all."""
        scores = model(images)
        heads = scores if isinstance(scores, tuple) else (scores,)  # a DeiT has two in training
        return sum(ops.cross_entropy(head, labels, label_smoothing=0.1) for head in heads) / len(heads)

    def answers(self, model, batches):
        """The scores (n, K) of all pictures, and their labels (n,)."""
        scores, labels = [], []
        for images, there in batches:
            with no_grad():
                scores.append(model(images).numpy())
            labels.append(there)
        return np.concatenate(scores), np.concatenate(labels)

    def measure(self, model, batches):
        """The share of right answers: {"accuracy": 0 to 1}."""
        return {"accuracy": accuracy(*self.answers(model, batches))}

    def baseline(self, batches):
        """What an answer without looking gives, always the most frequent class of these pictures: its name and accuracy."""
        counts = np.bincount(np.concatenate([labels for _, labels in batches]))
        return f"always {self.names[counts.argmax()]}", float(counts.max() / counts.sum())

    def pictures(self, model, batches, colours):
        """The figures of the report."""
        from minivis import viz

        scores, labels = self.answers(model, batches)
        found = scores.argmax(axis=1)
        counts = confusion_matrix(found, labels, len(self.names))
        yield "Which class is taken for which", viz.confusion_matrix(counts, self.names)
        sure = ops.softmax(scores, axis=-1).max(axis=1)
        images = [colours(image) for batch, _ in batches for image in batch]
        yield "The worst mistakes", viz.worst_mistakes(images, labels, found, sure, self.names)
