"""`minivis train vivit-films`: a small ViViT learns which way the largest object of a short film moves.

One frame does not show that: the same film with its frames in another order has no direction. As in the paper, the network
starts from an image model: a small ViT first learns, on single pictures, the class of every pixel and the box of the largest
object. Then it sees films. From random weights it still guesses after hundreds of steps; vivit_variants.py measures that.
Not here: the model (models/vivit.py), the loop (train.py), the comparison of the variants (vivit_variants.py).
"""

from pathlib import Path

import numpy as np

from minivis import ops, optim
from minivis.autograd import no_grad
from minivis.data import DataLoader, shapes
from minivis.data.loader import stack
from minivis.models import ViT, ViViT
from minivis.nn import Linear, Module
from minivis.recipes import _shapes
from minivis.recipes.non_local_films import DIRECTIONS, Films
from minivis.train import fit
from minivis.vision import sine_position_code, sine_position_code_1d, unpatchify

__all__ = [
    "PictureReader",
    "backwards",
    "films",
    "image_model",
    "measure",
    "prepare",
    "run",
    "score",
    "shuffled",
    "small_vit",
    "small_vivit",
    "train",
]

STEPS = 4000
PICTURE_STEPS = 4000
FRAMES = 8
VALIDATION = 200  # films that are scored now and then during training
PATCH = 8
TUBELET = (2, PATCH, PATCH)
SIZES = {"width": 64, "heads": 4, "mlp_ratio": 2.0}
DEPTH, TEMPORAL_DEPTH = 3, 2
TEMPERATURE = 20  # of the sines that the positions start from: there are few of them
BEST = "factorised encoder"


# ------------------------------------------------------------------ films


def films(count, split="train", seed=0, sample=None):
    """Films of 8 frames; a sample is (frames (8, 3, 64, 64), direction of the largest object).

    Parameters
    ----------
    count, split, seed
        As for `minivis.data.shapes.Scenes`.
    sample : callable, optional
        Makes another sample of a film; `shuffled` puts its frames in another order.
    """
    return Films(count, split, seed, sample=sample or _directed, frames=FRAMES)


def _directed(film):
    return film.frames, film.direction


def shuffled(film):
    """A sample whose frames are in another order, drawn from the film itself: the same in every call."""
    order = np.random.default_rng(int(film.masks.sum())).permutation(len(film.frames))
    return film.frames[order], film.direction


def backwards(film):
    """A sample whose frames run backwards, and the direction that it has then."""
    return film.frames[::-1].copy(), (film.direction + 2) % len(DIRECTIONS)


def prepare(pictures):
    """Films or pictures with their numbers between -1 and 1, as ViViT is published."""
    return 2 * pictures - 1


# ------------------------------------------------------------------ the image model


def small_vit(rng=None, pool="token"):
    """The image model: three blocks, patches of 8 x 8 pixels, positions that start as sines.

    ``pool`` is as for `ViT`: with a class token for models 1 and 2, without one for models 3 and 4.
    """
    options = {"depth": DEPTH, "num_classes": 0, "activation": "gelu_tanh", "pool": pool}
    model = ViT(shapes.SIZE, PATCH, **options, **SIZES, rng=rng)
    model.pos_embed.data[0, model.prefix :] = _places(*model.grid)
    return model


def _places(rows, columns):
    code = sine_position_code(rows, columns, SIZES["width"], temperature=TEMPERATURE, normalize=True)
    return code.reshape(rows * columns, -1)


class PictureReader(Module):
    """A ViT whose patches name their pixels, and whose class token, or mean, gives the box of the largest object.

    Parameters
    ----------
    vit : ViT
        Without a head.
    rng : numpy.random.Generator
        Draws the starting values of the two linear layers.
    """

    def __init__(self, vit, rng):
        self.vit = vit
        self.pixels = Linear(SIZES["width"], PATCH * PATCH * len(shapes.CLASSES), rng=rng)
        self.box = Linear(SIZES["width"], 4, rng=rng)

    def forward(self, images):
        """Logits (B, K, H, W) of the pixels of images (B, 3, H, W), and boxes (B, 4), cxcywh between 0 and 1."""
        tokens = self.vit.features(prepare(images))
        logits = unpatchify(self.pixels(tokens[:, self.vit.prefix :]), PATCH, *images.shape[2:])
        return logits, self.box(tokens[:, 0] if self.vit.prefix else tokens.mean(axis=1))


def _picture(scene):
    """The sample of a picture: image, class of every pixel, box of the largest object."""
    largest = scene.masks.sum(axis=(1, 2)).argmax()
    return scene.image, scene.semantic, scene.boxes[largest]


def _read(model, images, classes, boxes):
    logits, found = model(images)
    return ops.cross_entropy(logits, classes) + 5 * ops.l1_loss(found, boxes)


def image_model(out, steps, rng, resume=False, seed=0, pool="token"):
    """Train the ViT that the films start from, on pictures of two objects.

    Parameters
    ----------
    out : str or path
        The log and the checkpoint are in ``out/pictures``.
    steps : int
        Optimiser steps.
    rng : numpy.random.Generator
        Draws the starting values and the order of the pictures.
    resume, seed
        As for `recipes.run`.
    pool : {"token", "mean"}
        As for `ViT`.

    Returns
    -------
    (ViT, float)
        The model, and the seconds of its training.
    """
    model = PictureReader(small_vit(rng, pool), rng)
    batches = _shapes.loader(steps, 32, rng, 600_000 + seed, _picture, stack, objects=2)
    schedule = optim.one_cycle(steps, warmup=0.1)
    optimizer = optim.AdamW(optim.decay_groups(model, 0.01), lr=2e-3, schedule=schedule)
    keep = {"out": Path(out) / "pictures", "resume": resume, "settings": {"recipe": "pictures", "seed": seed}}
    return model.vit, fit(model, batches, _read, optimizer, steps, clip=1.0, **keep)["seconds"][-1]


# ------------------------------------------------------------------ the model of films


def small_vivit(variant=BEST, rng=None):
    """A small ViViT of any variant, for films of 8 frames; its positions start as sines.

    Parameters
    ----------
    variant : str
        As for `ViViT`.
    rng : numpy.random.Generator, int or None
        Draws the starting values.

    Returns
    -------
    ViViT
        Films (B, 8, 3, 64, 64) to the logits (B, 4) of the directions right, down, left, up.

    Examples
    --------
    >>> small_vivit()(np.zeros((1, 8, 3, 64, 64), np.float32)).shape
    (1, 4)
    """
    options = {"depth": DEPTH, "temporal_depth": TEMPORAL_DEPTH, "num_classes": len(DIRECTIONS)}
    model = ViViT(variant, FRAMES, shapes.SIZE, TUBELET, **options, **SIZES, rng=rng)
    T, rows, columns = model.grid
    places = _places(rows, columns)
    times = sine_position_code_1d(T, SIZES["width"], temperature=TEMPERATURE)
    if model.temporal is not None:
        model.pos_embed.data[0, 1:] = places
        model.temporal.pos_embed.data[0, 1:] = times
    else:
        both = places + times[:, None]
        model.pos_embed.data[0, -T * rows * columns :] = both.reshape(-1, SIZES["width"])
    return model


def loss(model, pictures, directions):
    """Cross-entropy of the directions."""
    return ops.cross_entropy(model(prepare(pictures)), directions)


def train(model, batches, steps, lr=1e-3, **options):
    """Train on films: the same for every model that is compared."""
    schedule = optim.one_cycle(steps, warmup=0.1)
    groups = optim.decay_groups(model, 0.05)
    optimizer = optim.AdamW(groups, lr=lr, betas=(0.9, 0.99), schedule=schedule)
    return fit(model, batches, loss, optimizer, steps, clip=1.0, **options)


def run(out, seed=0, steps=STEPS, resume=False):
    """Train, write ``model.safetensors`` and ``metrics.json`` into `out`, print the accuracy; see `recipes.run`."""
    rng = np.random.default_rng(seed)
    facts = {"recipe": "vivit-films", "seed": seed}
    vit, before = image_model(out, max(1, steps * PICTURE_STEPS // STEPS), rng, resume, seed)
    model = small_vivit(rng=rng).start_from(vit)

    def evaluate(model):
        return {"validation accuracy": score(model, films(VALIDATION, "validation"))}

    drawn = films(16 * steps, "train", seed)
    batches = DataLoader(drawn, 16, rng=rng, collate=stack, workers=_shapes.WORKERS)
    history = train(model, batches, steps, out=out, resume=resume, settings=facts, evaluate=evaluate)
    seconds = {"pictures": before, "films": history["seconds"][-1]}
    found = _figures(model, _shapes.COUNT, 0)
    return _shapes.write_report(model, out, "accuracy", found, seconds, steps=steps, **facts)


# ------------------------------------------------------------------ measuring


def score(model, drawn, modulo=4):
    """The share of films whose direction is right; with ``modulo=2``, of those whose axis is right."""
    right = []
    for frames, directions in DataLoader(drawn, 50):
        with no_grad():
            found = model(prepare(frames)).numpy().argmax(axis=1)
        right.append(found % modulo == directions % modulo)
    return float(np.concatenate(right).mean())


def _figures(model, count, seed):
    drawn = {"accuracy": None, "shuffled": shuffled, "backwards": backwards}
    return {name: score(model, films(count, "held-out", seed, sample)) for name, sample in drawn.items()}


def measure(model, count=None, seed=None):
    """Accuracy on held-out films, on them with their frames in another order, and backwards; see `recipes.measure`.

    Backwards the opposite direction is right. In another order none is, but the axis still shows: a model that knows it and
    guesses between its two ends is right half of the time.
    """
    found = _figures(model, count or _shapes.COUNT, 0 if seed is None else 1 + seed)
    return _shapes.with_value("accuracy", found)
