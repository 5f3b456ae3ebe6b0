"""`minivis train vit-scattered-digits`: a ViT learns digits at random places on a larger canvas, in ten minutes.

If every digit is in the middle, each patch always shows the same part of a digit. Here any patch may show any part, so
the position codes have to learn where the patches are, and attention has to find the digit. The model is for looking at
its attention (notebook 08), not for speed.
Not here: the shared part of the recipes on digits (_digits.py), the model (models/vit.py), the loop (train.py).
"""

import numpy as np

from minivis import optim
from minivis.data.transforms import Compose
from minivis.models import ViT
from minivis.recipes import _digits
from minivis.train import fit

__all__ = ["measure", "run"]

STEPS = 6000


def measure(model, count=None, seed=None):
    """Accuracy on the held-out digits, each at a random place; see `recipes.measure`."""
    return _digits.measure(model, count, seed, scattered=True)


def run(out, seed=0, steps=STEPS, resume=False):
    """Train, write ``model.safetensors`` and ``metrics.json`` into `out`, print the accuracy; see `recipes.run`."""
    rng = np.random.default_rng(seed)
    # 64 tokens and a class token
    model = ViT(
        image_size=16, patch_size=2, channels=1, num_classes=10, width=64, depth=4, heads=4, mlp_ratio=2, rng=rng
    )  # fmt: skip
    loader = _digits.loader(64, rng, transform=Compose([_digits.JITTER, _digits.SCATTER]))
    schedule = optim.cosine(steps, warmup_steps=min(100, steps // 5))
    optimizer = optim.AdamW(optim.decay_groups(model, 0.05), lr=2e-3, schedule=schedule)
    facts = {"recipe": "vit-scattered-digits", "seed": seed}
    keep = {"out": out, "resume": resume, "settings": facts}
    history = fit(model, loader, _digits.loss, optimizer, steps, clip=1.0, **keep)
    return _digits.report(model, history, out, scattered=True, **facts)
