"""What the recipes on handwritten digits share: the pictures, the loss, the report on the held-out digits.

Not here: any choice that decides how good a model gets; those stand in the recipe.
"""

from pathlib import Path

from minivis import ops, storage
from minivis.autograd import no_grad
from minivis.data import DataLoader, digits
from minivis.data.transforms import RandomAffine
from minivis.metrics import accuracy

__all__ = ["loader", "loss", "report"]


def loader(batch_size, rng):
    """The training digits for ever: shuffled, and each time turned, moved, scaled and slanted a little."""
    jitter = RandomAffine(degrees=8, translate=0.06, scale=(0.9, 1.1), shear=5)
    return DataLoader(
        digits.load("train"), batch_size, shuffle=True, drop_last=True, rng=rng, transform=jitter
    )


def loss(model, images, labels):
    """Cross-entropy with soft targets: 0.9 for the right digit, the rest shared by all ten."""
    return ops.cross_entropy(model(images), labels, label_smoothing=0.1)


def report(model, history, out, **facts):
    """Measure a finished model on the held-out digits, once; write ``metrics.json``; print the result."""
    images, labels = digits.load("held-out")
    with no_grad():
        value = accuracy(model(images).numpy(), labels)
    n = len(labels)
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
