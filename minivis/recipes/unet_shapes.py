"""`minivis train unet-shapes`: a small U-Net learns to name every pixel of generated scenes, from scratch.

Not here: the shared part of the recipes on scenes (_shapes.py), the model (models/unet.py), the loop (train.py).
"""

import numpy as np

from minivis import optim
from minivis.data import shapes
from minivis.data.loader import stack
from minivis.models import UNet
from minivis.recipes import _shapes
from minivis.train import fit

__all__ = ["measure", "run", "small_unet"]

STEPS = 3000
WIDTHS = (10, 20, 48, 96, 96)  # few channels where maps are large, which is where the time goes
BATCH = 16


def small_unet(rng=None, **options):
    """The model: maps of 64 x 64 down to 4 x 4 cells, padded, with batch norm; 0.7 million parameters."""
    options = {"padded": True, "norm": "batch", "dropout": 0.0, **options}
    return UNet(WIDTHS, len(shapes.CLASSES), channels=3, rng=rng, **options)


def measure(model, count=None, seed=None):
    """Mean IoU over the nine classes; see `recipes.measure`."""
    return _shapes.with_value("mIoU", _shapes.measure_pixels(model, count, seed=seed))


def run(out, seed=0, steps=STEPS, resume=False):
    """Train, write ``model.safetensors`` and ``metrics.json`` into `out`, print the mIoU; see `recipes.run`."""
    rng = np.random.default_rng(seed)
    facts = {"recipe": "unet-shapes", "seed": seed}
    model = small_unet(rng)

    def evaluate(model):
        return {"validation mIoU": _shapes.measure_pixels(model, 100, "validation")["mIoU"]}

    schedule = optim.one_cycle(steps, warmup=0.1)
    optimizer = optim.AdamW(optim.decay_groups(model, 1e-4), lr=3e-3, schedule=schedule)
    batches = _shapes.loader(steps, BATCH, rng, seed, _shapes.with_pixels, stack)
    keep = {"out": out, "resume": resume, "settings": facts, "evaluate": evaluate}
    history = fit(model, batches, _shapes.classify, optimizer, steps, clip=1.0, **keep)
    seconds = {"pixels": history["seconds"][-1]}
    return _shapes.write_report(model, out, "mIoU", measure(model), seconds, steps=steps, **facts)
