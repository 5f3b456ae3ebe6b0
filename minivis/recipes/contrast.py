"""What counts when a CLIP learns from captions: a backbone that named pixels before, the temperature, the batch, the loss.

All choices see the same number of pictures. `results` reads what was measured; scripts/run_ablations.py measures it again.
Not here: the network and the recipe of the packaged model (clip_shapes.py).
"""

import functools
import math
from pathlib import Path

import numpy as np

from minivis import optim, storage
from minivis.data.loader import stack
from minivis.losses import clip_loss
from minivis.recipes import _shapes, clip_shapes
from minivis.train import fit

__all__ = ["CHOICES", "results"]

RESULTS = Path(__file__).with_suffix(".json")
SEEDS = (0, 1)
PICTURES = 9600  # 150 steps of 64
HELD_OUT = 500


def results():
    """The measured results.

    Returns
    -------
    dict
        ``results()[subject][choice][metric]`` is a list with one entry for each seed. Subjects are "start", "temperature",
        "pictures in a batch", "batches" and "loss". Metrics are those of ``clip_shapes.measure`` on held-out pictures, and
        "factor", the factor of the cosines at the end.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing or broken.

    Examples
    --------
    >>> list(results()["start"])
    ['after naming pixels', 'captions alone']
    """
    return storage.read_json(RESULTS)["results"]


def learn(out, seed, start="pixels", factor=None, batch=64, same_ground=False, textures=False):
    """Train a small CLIP in one way and measure it; a `factor` of the cosines is fixed, otherwise it is learnt."""
    rng = np.random.default_rng(seed)
    backbone = _shapes.small_backbone(rng, (1, 2), (48, 96))
    if start == "pixels":
        backbone, _ = _shapes.trunk(out, clip_shapes.TRUNK_STEPS, np.random.default_rng(0), True, 0)
    model = clip_shapes.small_clip(backbone, rng)
    steps = max(1, PICTURES // batch)
    loss = clip_shapes.caption_and_texture_loss if textures else clip_shapes.caption_loss
    if factor is not None:
        loss = functools.partial(_fixed, scale=math.log(factor))
    schedule = optim.one_cycle(steps, warmup=0.1)
    optimizer = optim.AdamW(optim.decay_groups(model, 0.05), lr=1e-3, betas=(0.9, 0.98), schedule=schedule)
    drawn, collate = (clip_shapes.DRAWN, clip_shapes.same_ground) if same_ground else (batch, stack)
    batches = _shapes.loader(steps, drawn, rng, 1000 + seed, clip_shapes.with_caption, collate, objects=1)
    fit(model, batches, loss, optimizer, steps, clip=1.0, after_step=_limited)
    found = clip_shapes.measure(model, HELD_OUT)
    end = factor or math.exp(float(model.logit_scale.data))
    return {**{name: value for name, value in found.items() if name != "value"}, "factor": end}


def _fixed(model, images, tokens, scale):
    u, v = model.encode_image(images), model.encode_text(tokens)
    return clip_loss(u, v, scale, same=clip_shapes.same_captions(tokens))


def _limited(model, step):
    model.limit_scale()


def about():
    """What the file of the results says beside them."""
    return {
        "pictures": f"{PICTURES}, each used once: {PICTURES // 64} steps of 64, more of fewer",
        "backbone": f"a ResNet of 6 convolutions that named pixels for {clip_shapes.TRUNK_STEPS} steps, seed 0, in all but one",
        "metrics": f"on {HELD_OUT} held-out pictures of one shape",
        "optimiser": "AdamW, learning rate 1e-3, a tenth of the steps for warm-up, cosine, decay 0.05",
    }


PLAIN = (learn, {})
CHOICES = {
    "start": {"after naming pixels": PLAIN, "captions alone": (learn, {"start": "nothing"})},
    "temperature": {
        "learnt": PLAIN,
        "a factor of 14": (learn, {"factor": 14.0}),
        "a factor of 1": (learn, {"factor": 1.0}),
    },
    "pictures in a batch": {"16": (learn, {"batch": 16}), "64": PLAIN, "256": (learn, {"batch": 256})},
    "batches": {"at random": PLAIN, "of one ground": (learn, {"same_ground": True})},
    "loss": {"CLIP's": PLAIN, "and the texture": (learn, {"textures": True})},
}
