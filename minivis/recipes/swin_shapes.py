"""`minivis train swin-shapes`: a small Swin learns what a generated scene shows, with fresh scenes in every batch.

Not here: the scenes (data/shapes.py), the model (models/swin.py), the loop (train.py).
"""

from pathlib import Path

import numpy as np

from minivis import ops, optim, storage
from minivis.autograd import no_grad
from minivis.data import DataLoader
from minivis.data.shapes import THINGS, Scenes
from minivis.metrics import accuracy
from minivis.models import Swin
from minivis.train import fit

__all__ = ["held_out", "run", "sample", "small_swin"]

STEPS = 4000


def sample(scene):
    """What the loader hands out of a scene: (image, class of its object)."""
    return scene.image, scene.label


def held_out(count=500, split="held-out"):
    """The scenes a finished model is measured on, once: images (count, 3, 64, 64) and labels."""
    scenes = Scenes(count, split, objects=1, sample=sample)
    return next(iter(DataLoader(scenes, batch_size=count)))


def small_swin(rng=None, **options):
    """The model: maps of 16 x 16, 8 x 8 and 4 x 4 tokens, windows of 4 x 4, 1.3 million parameters."""
    options = {"depths": (2, 2, 2), "heads": (3, 6, 12), "window": 4, "drop_path": 0.0, **options}
    return Swin(patch_size=4, width=48, num_classes=len(THINGS), rng=rng, **options)


def predict(model, images, batch=100):
    """Logits as an array, in batches, without recording."""
    with no_grad():
        return np.concatenate([model(images[i : i + batch]).numpy() for i in range(0, len(images), batch)])


def loss(model, images, labels):
    """Cross-entropy."""
    return ops.cross_entropy(model(images), labels, label_smoothing=0.05)


def run(out, seed=0, steps=STEPS, resume=False):
    """Train, write ``model.safetensors`` and ``metrics.json`` into `out`, print the accuracy; see `recipes.run`."""
    rng = np.random.default_rng(seed)
    model = small_swin(rng)
    scenes = Scenes(64 * steps, "train", seed=seed, objects=1, sample=sample)  # each is seen once
    loader = DataLoader(scenes, 64, rng=rng, workers=1)
    schedule = optim.cosine(steps, warmup_steps=min(200, steps // 5))
    optimizer = optim.AdamW(optim.decay_groups(model, 0.05), lr=1e-3, schedule=schedule)
    facts = {"recipe": "swin-shapes", "seed": seed}
    validation = held_out(split="validation")

    def evaluate(model):
        return {"validation accuracy": accuracy(predict(model, validation[0]), validation[1])}

    keep = {"out": out, "resume": resume, "settings": facts, "evaluate": evaluate}
    history = fit(model, loader, loss, optimizer, steps, clip=1.0, **keep)
    return report(model, history, out, **facts)


def report(model, history, out, **facts):
    """Measure a finished model on held-out scenes, once; write ``metrics.json``; print the result."""
    images, labels = held_out()
    value, n = accuracy(predict(model, images), labels), len(labels)
    metrics = {
        "metric": "held-out accuracy",
        "value": value,
        "n": n,
        "correct": round(value * n),
        "seconds": round(history["seconds"][-1], 1),
        "steps": history["step"][-1],
        "parameters": sum(p.size for p in model.parameters()),
        **facts,
    }
    storage.write_files({Path(out) / "metrics.json": storage.pack_json(metrics)})
    print(f"held-out accuracy {100 * value:.1f} % ({metrics['correct']} of {n})")
    return metrics
