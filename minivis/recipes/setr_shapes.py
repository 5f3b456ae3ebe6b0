"""`minivis train setr-shapes`: a small ViT and a decoder name every pixel of a generated scene.

The encoder learns with the naive decoder first; then a new decoder takes its place, and both learn on. `results` reads what
the three decoders reach after the same encoder and the same steps; scripts/run_ablations.py measures it again.
Not here: the shared part of the recipes on scenes (_shapes.py), the network (models/setr.py), the loop (train.py).
"""

from pathlib import Path

import numpy as np

from minivis import optim
from minivis.data import shapes
from minivis.data.loader import stack
from minivis.models import SETR, ViT
from minivis.recipes import _shapes
from minivis.recipes.fcn_shapes import measure_borders
from minivis.train import fit
from minivis.vision import sine_position_code

__all__ = ["measure", "run", "small_encoder", "small_setr"]

RESULTS = Path(__file__).with_suffix(".json")
STEPS = 3000
PATCH = 4
WIDTH = 64
CHANNELS = 32
DECODERS = ("naive", "pup", "mla")
BEST = "pup"  # of the three in the table
BATCH = 16
SEEDS = (0, 1, 2)
COMPARED = {"steps": 250, "scenes": 1600}


def small_encoder(rng=None):
    """The encoder: 256 tokens of 4 x 4 pixels, width 64, 4 blocks, no class token; 0.15 million parameters.

    The position table is learned but begins with sine codes, in which neighbours are alike: a table that begins with noise
    needs hundreds of steps more before attention can tell where a patch lies.
    """
    grid = shapes.SIZE // PATCH
    encoder = ViT(
        shapes.SIZE, PATCH, WIDTH, 4, 4, mlp_ratio=2.0, num_classes=0, pool="mean", final_norm=False, rng=rng
    )
    codes = sine_position_code(grid, grid, WIDTH, temperature=100.0).reshape(1, -1, WIDTH)
    encoder.pos_embed.data[...] = 0.5 * codes
    return encoder


def small_setr(encoder, rng=None, decoder=BEST):
    """The model: an encoder of `small_encoder` and one of the three decoders with 32 channels.

    Examples
    --------
    >>> model = small_setr(small_encoder())
    >>> model(np.zeros((1, 3, 64, 64), np.float32)).shape
    (1, 9, 64, 64)
    """
    return SETR(encoder, len(shapes.CLASSES), decoder, channels=CHANNELS, rng=rng)


def measure(model, count=None, seed=None):
    """Mean IoU, and the shares of right pixels at outlines and elsewhere; see `recipes.measure`."""
    return _shapes.with_value("mIoU", measure_borders(model, count, seed=seed))


def run(out, seed=0, steps=STEPS, resume=False):
    """Train, write ``model.safetensors`` and ``metrics.json`` into `out`, print the mean IoU; see `recipes.run`."""
    rng = np.random.default_rng(seed)
    facts = {"recipe": "setr-shapes", "seed": seed}
    encoder, before = _encoder(out, steps // 2, rng, seed, resume)
    model = small_setr(encoder, rng)

    def evaluate(model):
        return {"validation mIoU": _shapes.measure_pixels(model, 100, "validation")["mIoU"]}

    seconds = _train(
        model, steps - steps // 2, rng, seed, out=out, resume=resume, settings=facts, evaluate=evaluate
    )
    seconds = {"backbone": before, "pixels": seconds}
    return _shapes.write_report(model, out, "mIoU", measure_borders(model), seconds, steps=steps, **facts)


def _encoder(out, steps, rng, seed, resume):
    """An encoder that has learned with the naive decoder, and the seconds of its training."""
    encoder = small_encoder(rng)
    model = small_setr(encoder, rng, "naive")
    keep = {"out": Path(out) / "backbone", "resume": resume, "settings": {"recipe": "naive", "seed": seed}}
    return encoder, _train(model, steps, rng, 500_000 + seed, **keep)


def _train(model, steps, rng, seed, **keep):
    """Train on fresh scenes; returns the seconds."""
    batches = _shapes.loader(steps, BATCH, rng, seed, _shapes.with_pixels, stack)
    return _fit(model, batches, steps, **keep)


def _fit(model, batches, steps, **keep):
    schedule = optim.one_cycle(steps, warmup=0.1)
    optimizer = optim.AdamW(optim.decay_groups(model, 1e-4), lr=2e-3, schedule=schedule)
    return fit(model, batches, _shapes.classify, optimizer, steps, clip=1.0, **keep)["seconds"][-1]
