"""`minivis train vit-digits`: a Vision Transformer learns real handwritten digits, from scratch, in a minute.

Not here: the shared part of the recipes on digits (_digits.py), the model (models/vit.py), the loop (train.py).
"""

import numpy as np

from minivis import optim
from minivis.models import ViT
from minivis.recipes import _digits
from minivis.train import fit

__all__ = ["measure", "run"]

STEPS = 1600


def measure(model, count=None, seed=None):
    """Accuracy on the held-out digits; see `recipes.measure`."""
    return _digits.measure(model, count, seed)


def run(out, seed=0, steps=STEPS, resume=False):
    """Train, write ``model.safetensors`` and ``metrics.json`` into `out`, print the accuracy; see `recipes.run`."""
    rng = np.random.default_rng(seed)
    # 16 tokens and a class token
    model = ViT(
        image_size=8, patch_size=2, channels=1, num_classes=10, width=64, depth=4, heads=4, mlp_ratio=2, dropout=0.1, rng=rng
    )  # fmt: skip
    loader = _digits.loader(batch_size=64, rng=rng)
    schedule = optim.cosine(steps, warmup_steps=min(100, steps // 5))
    optimizer = optim.AdamW(optim.decay_groups(model, 0.05), lr=3e-3, schedule=schedule)
    facts = {"recipe": "vit-digits", "seed": seed}
    keep = {"out": out, "resume": resume, "save_every": 5, "settings": facts}
    history = fit(model, loader, _digits.loss, optimizer, steps, clip=1.0, **keep)
    return _digits.report(model, history, out, **facts)
