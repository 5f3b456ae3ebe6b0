"""`minivis train cnn-digits`: a small convolutional network on the same digits, for comparison with the transformer.

Not here: the shared part of the recipes on digits (_digits.py), the model (models/cnn.py), the loop (train.py).
"""

import numpy as np

from minivis import optim
from minivis.models import CNN
from minivis.recipes import _digits
from minivis.train import fit

__all__ = ["measure", "run"]

STEPS = 800


def measure(model, count=None, seed=None):
    """Accuracy on the held-out digits; see `recipes.measure`."""
    return _digits.measure(model, count, seed)


def run(out, seed=0, steps=STEPS, resume=False):
    """Train, write ``model.safetensors`` and ``metrics.json`` into `out`, print the accuracy; see `recipes.run`."""
    rng = np.random.default_rng(seed)
    model = CNN(channels=1, num_classes=10, widths=(32, 64), depth=2, rng=rng)
    loader = _digits.loader(batch_size=64, rng=rng)
    schedule = optim.cosine(steps, warmup_steps=min(100, steps // 5))
    optimizer = optim.AdamW(optim.decay_groups(model, 0.05), lr=3e-3, schedule=schedule)
    facts = {"recipe": "cnn-digits", "seed": seed}
    keep = {"out": out, "resume": resume, "save_every": 5, "settings": facts}
    history = fit(model, loader, _digits.loss, optimizer, steps, clip=1.0, **keep)
    return _digits.report(model, history, out, **facts)
