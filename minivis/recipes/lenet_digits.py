"""`minivis train lenet-digits`: LeNet-5 as in its paper, with its loss, on digits drawn at 32 x 32 pixels.

Not here: the shared part of the recipes on digits (_digits.py), the model and its loss (models/lenet.py), the loop
(train.py). The paper's optimiser scaled each weight's step by its own curvature; here AdamW scales it by its gradients.
"""

import numpy as np

from minivis import optim
from minivis.data import digits
from minivis.models import LeNet5, lenet_loss
from minivis.recipes import _digits
from minivis.train import fit

__all__ = ["measure", "prepare", "run"]

STEPS = 3000
J = 1.0  # the penalty of "none of the digits" in equation 9


def prepare(images):
    """What LeNet-5 takes, (B, 1, 32, 32), of the digits (B, 1, 8, 8)."""
    return digits.lenet_levels(digits.enlarge(images))


def changed(images, rng):
    """The same for training: rotated, moved, scaled and slanted a little once they are large."""
    return digits.lenet_levels(_digits.JITTER(digits.enlarge(images), rng))


def loss(model, images, labels):
    """Equation 9 of the paper."""
    return lenet_loss(model(images), labels, J)


def measure(model, count=None, seed=None):
    """Accuracy on the held-out digits; see `recipes.measure`."""
    return _digits.measure(model, count, seed, prepare=prepare)


def run(out, seed=0, steps=STEPS, resume=False):
    """Train, write ``model.safetensors`` and ``metrics.json`` into `out`, print the accuracy; see `recipes.run`."""
    rng = np.random.default_rng(seed)
    model = LeNet5(rng=rng)
    loader = _digits.loader(batch_size=64, rng=rng, transform=changed)
    schedule = optim.cosine(steps, warmup_steps=min(100, steps // 5))
    optimizer = optim.AdamW(model, lr=2e-3, schedule=schedule)
    facts = {"recipe": "lenet-digits", "seed": seed}
    keep = {"out": out, "resume": resume, "save_every": 5, "settings": facts}
    history = fit(model, loader, loss, optimizer, steps, clip=10.0, **keep)
    return _digits.report(model, history, out, prepare=prepare, **facts)
