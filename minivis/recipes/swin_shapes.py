"""`minivis train swin-shapes`: a small Swin learns to name the shape in a generated scene, and every pixel on the way.

From labels alone the first thousands of scenes teach it next to nothing: colours, textures and grounds say nothing about
the shape, and the outline is far from the label. Scenes come with a map of what every pixel shows, so the tokens of the
second stage are asked for that too, by one linear layer that is thrown away afterwards.
Not here: the scenes (data/shapes.py), the model (models/swin.py), the loop (train.py).
"""

from pathlib import Path

import numpy as np

from minivis import ops, optim, storage
from minivis.autograd import no_grad
from minivis.data import DataLoader
from minivis.data.shapes import CLASSES, THINGS, Scenes
from minivis.metrics import accuracy
from minivis.models import Swin
from minivis.nn import Linear, Module
from minivis.train import fit
from minivis.vision import window_partition

__all__ = ["held_out", "predict", "run", "small_swin", "train"]

STEPS = 12000
PATCH = 4


def small_swin(rng=None, shift=True):
    """The model: maps of 16 x 16, 8 x 8 and 4 x 4 tokens, windows of 4 x 4, 0.9 million parameters."""
    model = Swin(
        patch_size=PATCH,
        width=48,
        depths=(2, 2, 2),
        heads=(3, 6, 12),
        window=4,
        mlp_ratio=2,
        num_classes=len(THINGS),
        shift=shift,
        rng=rng,
    )
    # pixels are 0 to 1; start as if they were (x - 0.5) / 0.25, or the mean colour drowns all differences in the norm
    weight, bias = model.proj.weight.data, model.proj.bias.data
    weight *= 4
    bias -= 0.5 * weight.sum(axis=(1, 2, 3))
    return model


class WithPixels(Module):
    """The classifier and one linear layer: each token of the second map names the class of the 8 x 8 pixels below it."""

    cell = 2 * PATCH

    def __init__(self, model, rng):
        self.model = model
        self.probe = Linear(model.channels[1], len(CLASSES) * self.cell**2, rng=rng)

    def forward(self, images):
        return self.model(images)


def sample(scene):
    """What the loader hands out of a scene: image, class of its object, class of every pixel, cell by cell."""
    cells = window_partition(scene.semantic[None, :, :, None], WithPixels.cell)
    return scene.image, scene.label, cells.reshape(-1)


def loss(both, images, labels, pixels):
    """Cross-entropy of the picture's class and of the pixels' classes."""
    maps = both.model.features(images)
    scores = both.probe(maps[1].transpose(0, 2, 3, 1)).reshape(-1, len(CLASSES))  # (B H W, K)
    picture = ops.cross_entropy(both.model.classify(maps[-1]), labels)
    return picture + ops.cross_entropy(scores, pixels.reshape(-1))


def held_out(count=500, split="held-out"):
    """The scenes a finished model is measured on: images (count, 3, 64, 64) and labels, one object in each."""
    scenes = Scenes(count, split, objects=1, sample=lambda scene: (scene.image, scene.label))
    return next(iter(DataLoader(scenes, batch_size=count)))


def predict(model, images, batch_size=100):
    """Logits (B, K) of many images, some at a time."""
    with no_grad():
        parts = [model(images[i : i + batch_size]).numpy() for i in range(0, len(images), batch_size)]
    return np.concatenate(parts)


def train(steps, seed=0, shift=True, **options):
    """Train a small Swin, its windows shifted or not: (model, history). The options are those of `fit`."""
    rng = np.random.default_rng(seed)
    both = WithPixels(small_swin(rng, shift), rng)
    scenes = Scenes(32 * steps, "train", seed=seed, objects=1, sample=sample)  # each is seen once
    loader = DataLoader(scenes, 32, rng=rng, workers=1)
    schedule = optim.cosine(steps, warmup_steps=min(100, steps // 5))
    optimizer = optim.AdamW(optim.decay_groups(both, 0.01), lr=1e-3, betas=(0.9, 0.99), schedule=schedule)
    history = fit(both, loader, loss, optimizer, steps, clip=1.0, **options)
    return both.model, history


def run(out, seed=0, steps=STEPS, resume=False):
    """Train, write ``model.safetensors`` and ``metrics.json`` into `out`, print the accuracy; see `recipes.run`."""
    facts = {"recipe": "swin-shapes", "seed": seed}
    model, history = train(steps, seed, out=out, resume=resume, settings=facts)
    storage.save(model, out)  # without the layer for pixels
    return report(model, history, out, **facts)


def report(model, history, out, **facts):
    """Measure a finished model on the held-out scenes, once; write ``metrics.json``; print the result."""
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
