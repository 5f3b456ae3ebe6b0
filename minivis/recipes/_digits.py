"""Shared by the recipes on handwritten digits: the pictures, the loss, the report on the held-out digits.

Not here: settings that decide how good a model gets; they are in its recipe.
"""

from pathlib import Path

import numpy as np

from minivis import ops, storage
from minivis.autograd import no_grad
from minivis.data import DataLoader, digits
from minivis.data.transforms import RandomAffine, RandomCrop
from minivis.metrics import accuracy

__all__ = ["SCATTER", "held_out", "loader", "loss", "measure", "report"]

# puts a digit of 8 x 8 pixels at a random place inside an empty canvas of 16 x 16
SCATTER = RandomCrop(16, padding=8)


JITTER = RandomAffine(degrees=8, translate=0.06, scale=(0.9, 1.1), shear=5)


def loader(batch_size, rng, transform=JITTER):
    """The training digits: shuffled every epoch, and each time rotated, moved, scaled and slanted a little."""
    return DataLoader(
        digits.load("train"), batch_size, shuffle=True, drop_last=True, rng=rng, transform=transform
    )


def held_out(scattered=False, seed=None):
    """The held-out digits and their labels; with `scattered`, each digit is at its own place, the same in every call.

    With a seed, each is first rotated, moved, scaled and slanted a little, as in training: other pictures of it.
    """
    images, labels = digits.load("held-out")
    rng = np.random.default_rng(0 if seed is None else 1 + seed)
    if seed is not None:
        images = JITTER(images, rng)
    return (SCATTER(images, rng) if scattered else images), labels


def loss(model, images, labels):
    """Cross-entropy with soft targets: 0.9 for the right digit, the rest shared by all ten."""
    return ops.cross_entropy(model(images), labels, label_smoothing=0.1)


def measure(model, count=None, seed=None, scattered=False, prepare=None):
    """Accuracy on the held-out digits, or on the first ``count`` of them; see `recipes.measure`.

    ``prepare(images)`` makes of the digits what the model takes; without it they are taken as they are.
    """
    images, labels = held_out(scattered, seed)
    count = min(count or len(labels), len(labels))
    images = prepare(images[:count]) if prepare else images[:count]
    with no_grad():
        return {"value": accuracy(model(images).numpy(), labels[:count]), "n": count}


def report(model, history, out, scattered=False, prepare=None, **facts):
    """Measure a finished model on the held-out digits, once; write ``metrics.json``; print the result."""
    value, n = measure(model, scattered=scattered, prepare=prepare).values()
    correct = round(value * n)
    metrics = {
        "metric": "held-out accuracy",
        "value": value,
        "n": n,
        "correct": correct,
        "seconds": round(history["seconds"][-1], 1),
        "steps": history["step"][-1],
        "parameters": sum(p.size for p in model.parameters()),
        **facts,
    }
    storage.write_files({Path(out) / "metrics.json": storage.pack_json(metrics)})
    print(f"held-out accuracy {100 * value:.1f} % ({correct} of {n})")
    return metrics
