"""Which loss and which start a small SAM needs, and what rounds of clicks are worth: short trainings of `sam_shapes`.

`results` reads what was measured; scripts/run_ablations.py measures it again.
Not here: the network, its prompts and its figures (sam_shapes.py), the losses (losses/prompted_masks.py).
"""

from functools import partial
from pathlib import Path

import numpy as np

from minivis import optim, storage
from minivis.recipes import _shapes, sam_shapes
from minivis.train import fit

__all__ = ["CHOICES", "results"]

RESULTS = Path(__file__).with_suffix(".json")
SEEDS = (0, 1)
STEPS = 200
SCENES = 100  # for measuring
LOSSES = {
    "focal and dice": {"focal": 20.0, "dice": 1.0, "every_estimate": True},
    "cross-entropy and dice": sam_shapes.WEIGHTS,
}
METRICS = ("1 click", "3 clicks", "box", "empty")


def results():
    """The measured results.

    Returns
    -------
    dict
        ``results()["loss and start"][choice][metric]`` and ``results()["rounds"][choice][metric]`` are lists with one entry
        for each seed. Metrics are the IoUs "1 click", "3 clicks" and "box" on scenes of the validation split, and "empty", the share of
        empty masks after one click.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing or broken.

    Examples
    --------
    >>> sorted(results()["rounds"])
    ['1 round', '3 rounds']
    """
    return storage.read_json(RESULTS)["results"]


def backbone(out):
    """Train the backbone that names pixels, for all trainings that start from one; if it is there, only read it."""
    _named_pixels(out)


def _named_pixels(out):
    rng = np.random.default_rng(0)
    return _shapes.trunk(out, sam_shapes.TRUNK_STEPS, rng, True, 0, widths=sam_shapes.TRUNK_WIDTHS)[0]


def ask(out, seed, loss, named_pixels, rounds):
    """Train with one choice and measure."""
    rng = np.random.default_rng(seed)
    if named_pixels:
        start = _named_pixels(out)
    else:
        start = _shapes.small_backbone(rng, widths=sam_shapes.TRUNK_WIDTHS)
    model = sam_shapes.small_sam(start, rng)
    question = partial(sam_shapes.prompt_loss, rounds=rounds, weights=LOSSES[loss])
    schedule = optim.one_cycle(STEPS, warmup=0.1)
    optimizer = optim.AdamW(optim.decay_groups(model, 1e-4), lr=sam_shapes.RATE, schedule=schedule)
    scenes = _shapes.loader(
        STEPS, sam_shapes.BATCH, rng, seed, sam_shapes.with_prompts, sam_shapes.prompts_of
    )
    fit(model, scenes, question, optimizer, STEPS, clip=1.0)
    found = sam_shapes.measure(model, SCENES, split="validation", clicks=3)
    return {name: found[name] for name in METRICS}


def about():
    """What the file of the results says beside them."""
    return {
        "steps": STEPS,
        "backbone": f"of those that named pixels: a ResNet of 6 convolutions, {sam_shapes.TRUNK_STEPS} steps, seed 0",
        "training pictures": f"fresh scenes of the train split, {sam_shapes.BATCH} a step, with two or three prompts each",
        "losses": "focal 20 and dice 1, as in the paper; cross-entropy 2 and dice 2; both with the error of all estimates",
        "metrics": f"on all objects of {SCENES} scenes of the validation split",
        "optimiser": f"AdamW, learning rate {sam_shapes.RATE:g}, 20 steps of warm-up, cosine, decay 1e-4, gradients clipped at 1",
    }


BEST = {"loss": "cross-entropy and dice", "named_pixels": True, "rounds": 1}
CHOICES = {
    "loss and start": {
        f"{loss}, {start}": (ask, {**BEST, "loss": loss, "named_pixels": named})
        for loss in LOSSES
        for start, named in (("from scratch", False), ("named pixels", True))
    },
    "rounds": {
        "1 round": (ask, BEST),
        "3 rounds": (ask, {**BEST, "rounds": 3}),
    },
}
