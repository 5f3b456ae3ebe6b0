"""Random predictions and targets for the tests of the set losses.

Not here: tests.
"""

from types import SimpleNamespace

import numpy as np

from minivis import Tensor, to_device

CLASSES = 4


def draw_targets(rng, counts, mask=None):
    """Objects of each image; every box lies in its image, and the first mask of all is empty."""
    targets = []
    for count in counts:
        centre, size = rng.uniform(0.25, 0.75, (count, 2)), rng.uniform(0.05, 0.5, (count, 2))
        target = {"labels": rng.integers(0, CLASSES, count), "boxes": np.concatenate([centre, size], axis=1)}
        if mask:
            target["masks"] = rng.random((count, *mask)) < 0.4
        targets.append(target)
    if mask and counts[0]:
        targets[0]["masks"][0] = False
    return targets


def draw_arrays(rng, images, queries, mask=None, boxes=True):
    """The fields of one layer, by name, in float64."""
    fields = {"logits": 2 * rng.standard_normal((images, queries, CLASSES + 1))}
    if boxes:
        fields["boxes"] = 1 / (1 + np.exp(-rng.standard_normal((images, queries, 4))))
    if mask:
        fields["masks"] = 2 * rng.standard_normal((images, queries, *mask))
    return fields


def as_output(layers, dtype=np.float64, device="cpu"):
    """An output of Tensors whose first layer is the last; returns it and the leaves."""
    leaves = [
        {name: Tensor(to_device(x.astype(dtype), device), requires_grad=True) for name, x in fields.items()}
        for fields in layers
    ]
    output, *auxiliary = [SimpleNamespace(**fields) for fields in leaves]
    output.auxiliary = auxiliary
    return output, leaves


def permuted(layers, order):
    """The same predictions with their queries in another order."""
    return [{name: x[:, order] for name, x in fields.items()} for fields in layers]
