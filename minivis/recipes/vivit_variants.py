"""The four variants of ViViT on the same films: how often each is right, what it costs, how soon it learns.

Beside them stand the mean over single frames, which knows no order, and one variant from random weights: for hundreds of
steps it only guesses. `results` reads what was measured; scripts/run_ablations.py measures it again.
Not here: the films, the image model that all start from, and the packaged model (vivit_films.py).
"""

import time
from pathlib import Path

import numpy as np

from minivis import storage
from minivis.data import DataLoader, shapes
from minivis.data.loader import stack
from minivis.models.vivit import VARIANTS
from minivis.nn import Linear, Module
from minivis.nn.layer_table import summary
from minivis.recipes import _shapes, vivit_films
from minivis.recipes.non_local_films import DIRECTIONS

__all__ = ["CHOICES", "MeanOfFrames", "prepare", "results"]

RESULTS = Path(__file__).with_suffix(".json")
SEEDS = (0,)
STEPS = 800
PICTURE_STEPS = 1500
COUNT = 500  # validation films
CURVE = 100  # validation films that are scored now and then


def results():
    """The measured results.

    Returns
    -------
    dict
        ``results()[subject][choice][metric]`` is a list with one entry for each seed. Subjects are "variants", all from the
        same image model, and "from random weights". Metrics are "accuracy" on validation films; "shuffled", the same films
        with their frames in another order; "backwards", the films played backwards, where the opposite direction is right;
        "axis", how often at least the axis of the motion is right; "step" and "curve",
        lists of steps and of the accuracy then; "training seconds" of processor time for all steps; "parameters" and
        "multiply-adds" for one film.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing or broken.

    Examples
    --------
    >>> list(results())
    ['variants', 'from random weights']
    """
    return storage.read_json(RESULTS)["results"]


class MeanOfFrames(Module):
    """The image model on each frame, and the mean of its class tokens: what can be said without time.

    Parameters
    ----------
    vit : ViT
        With a class token, without a head.
    rng : numpy.random.Generator
        Draws the starting values of the head.
    """

    def __init__(self, vit, rng):
        self.vit = vit
        self.head = Linear(vit.pos_embed.shape[2], len(DIRECTIONS), rng=rng)

    def forward(self, video):
        """Films (B, T, 3, H, W) -> logits (B, 4)."""
        B, T, *image = video.shape
        tokens = self.vit.features(video.reshape(B * T, *image))[:, 0]
        return self.head(tokens.reshape(B, T, -1).mean(axis=1))


def prepare(out, seed):
    """Train the two image models that the choices of a seed start from; what is there already is only read.

    Parameters
    ----------
    out : str or path
        Folder of the study.
    seed : int
        One of `SEEDS`.

    Returns
    -------
    dict of str to ViT
        "token", with a class token as models 1 and 2 have, and "mean", without, as models 3 and 4.
    """
    folder = Path(out) / f"seed-{seed}"
    found = {}
    for pool in ("token", "mean"):
        rng = np.random.default_rng(seed)
        found[pool], _ = vivit_films.image_model(folder / pool, PICTURE_STEPS, rng, True, seed, pool)
    return found


def variant(out, seed, kind, start="image model"):
    """Train one choice and measure it."""
    rng = np.random.default_rng([seed, 1])
    if kind == "mean of frames":
        model = MeanOfFrames(prepare(out, seed)["token"], rng)
    else:
        model = vivit_films.small_vivit(kind, rng)
        if start == "image model":
            pool = "mean" if model.cls_token is None else "token"
            model.start_from(prepare(out, seed)[pool])
    asked = _Curve()
    batches = DataLoader(
        vivit_films.films(16 * STEPS, "train", 100 + seed),
        16,
        rng=rng,
        collate=stack,
        workers=_shapes.WORKERS,
    )
    begin = time.process_time()
    history = vivit_films.train(model, batches, STEPS, evaluate=asked)
    seconds = time.process_time() - begin - asked.seconds
    costs = summary(model, (1, vivit_films.FRAMES, 3, shapes.SIZE, shapes.SIZE), depth=0)
    return {
        **_scores(model),
        "step": history["step"],
        "curve": history["accuracy"],
        "training seconds": seconds,
        "parameters": int(costs.parameters),
        "multiply-adds": int(costs.multiply_adds),
    }


class _Curve:
    """Scores a model on a few films during its training, and adds up the seconds that this takes."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self, model):
        begin = time.process_time()
        accuracy = vivit_films.score(model, vivit_films.films(CURVE, "validation", 1))
        self.seconds += time.process_time() - begin
        return {"accuracy": accuracy}


def _scores(model):
    """How often the direction is right, also on films in another order and backwards; how often at least the axis."""
    found = {"accuracy": vivit_films.films(COUNT, "validation")}
    for name in ("shuffled", "backwards"):
        found[name] = vivit_films.films(COUNT, "validation", sample=getattr(vivit_films, name))
    scores = {name: vivit_films.score(model, drawn) for name, drawn in found.items()}
    return {**scores, "axis": vivit_films.score(model, found["accuracy"], modulo=2)}


def about():
    """What the file of the results says beside them."""
    return {
        "steps": STEPS,
        "image model": f"a ViT that named pixels and found the largest object for {PICTURE_STEPS} steps",
        "training films": "fresh films of the train split, 16 a step",
        "metrics": f"on {COUNT} films of the validation split; the curve on {CURVE} others of it",
        "optimiser": "AdamW, learning rate 1e-3, betas 0.9 and 0.99, a tenth of the steps of warm-up, cosine, decay 0.05",
    }


CHOICES = {
    "variants": {
        **{kind: (variant, {"kind": kind}) for kind in VARIANTS},
        "mean of frames": (variant, {"kind": "mean of frames"}),
    },
    "from random weights": {
        "factorised encoder": (variant, {"kind": "factorised encoder", "start": "random weights"}),
    },
}
