"""`minivis train swin-shapes`: a small Swin learns to name the shape in a generated scene.

With labels of whole pictures alone it learns almost nothing from thousands of scenes: colours, textures and grounds do
not depend on the shape. So it first learns to classify pixels, as the backbones of the other recipes do, and then the
shape.
Not here: the shared part of the recipes on scenes (_shapes.py), the model (models/swin.py), the loop (train.py).
"""

import numpy as np

from minivis import optim
from minivis.autograd import no_grad
from minivis.data import DataLoader, shapes
from minivis.data.loader import stack
from minivis.metrics import accuracy
from minivis.models import Swin
from minivis.recipes import _shapes
from minivis.train import fit

__all__ = ["measure", "measure_labels", "run", "small_swin"]

STEPS = 4000


def small_swin(rng=None, shift=True):
    """The model: maps of 16 x 16, 8 x 8 and 4 x 4 tokens, windows of 4 x 4, 0.9 million parameters."""
    options = {"depths": (2, 2, 2), "heads": (3, 6, 12), "window": 4, "mlp_ratio": 2}
    model = Swin(patch_size=4, width=48, num_classes=len(shapes.THINGS), shift=shift, rng=rng, **options)
    # Pixels are 0 to 1. Start as if they were (x - 0.5) / 0.25: otherwise the mean colour dominates after the norm.
    weight, bias = model.proj.weight.data, model.proj.bias.data
    weight *= 4
    bias -= 0.5 * weight.sum(axis=(1, 2, 3))
    return model


def measure(model, count=None, seed=None):
    """Accuracy on scenes with one object; see `recipes.measure`."""
    return _shapes.with_value("accuracy", measure_labels(model, count, seed=seed))


def measure_labels(model, count=None, split="held-out", seed=None):
    """Accuracy on scenes with one object that were not used in training: {"accuracy": 0 to 1}."""
    scenes = _shapes.fresh_scenes(count, seed, split, objects=1, sample=_labelled)
    scores, labels = [], []
    for images, there in DataLoader(scenes, 100):
        with no_grad():
            scores.append(model(images).numpy())
        labels.append(there)
    return {"accuracy": accuracy(np.concatenate(scores), np.concatenate(labels))}


def run(out, seed=0, steps=STEPS, resume=False):
    """Train, write ``model.safetensors`` and ``metrics.json`` into `out`, print the accuracy; see `recipes.run`."""
    rng = np.random.default_rng(seed)
    facts = {"recipe": "swin-shapes", "seed": seed}
    model = small_swin(rng)
    before = _shapes.pretrain(model, out, max(1, steps * 3 // 4), rng, resume, seed)

    def evaluate(model):
        return {"validation accuracy": measure_labels(model, 200, "validation")["accuracy"]}

    schedule = optim.one_cycle(steps, warmup=0.1)
    optimizer = optim.AdamW(optim.decay_groups(model, 0.01), lr=1e-3, betas=(0.9, 0.99), schedule=schedule)
    batches = _shapes.loader(steps, 32, rng, seed, _labelled, stack, objects=1)
    keep = {"out": out, "resume": resume, "settings": facts, "evaluate": evaluate}
    history = fit(model, batches, _shapes.classify, optimizer, steps, clip=1.0, **keep)
    seconds = {"pixels": before, "shapes": history["seconds"][-1]}
    return _shapes.write_report(model, out, "accuracy", measure_labels(model), seconds, steps=steps, **facts)


def _labelled(scene):
    return scene.image, scene.label
