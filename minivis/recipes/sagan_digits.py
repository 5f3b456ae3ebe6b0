"""`minivis train sagan-digits`: a generator learns to draw handwritten digits, a discriminator to tell them from real ones.

Not here: the two networks (models/sagan.py), how they take turns (train.py), the measures (metrics/generation.py).
"""

from pathlib import Path

import numpy as np

from minivis import losses, ops, optim, storage
from minivis.autograd import no_grad
from minivis.data import DataLoader, digits
from minivis.metrics import accuracy, frechet_distance, nearest_neighbours, precision_recall
from minivis.models import SAGAN
from minivis.train import fit

__all__ = ["judged", "measure", "real_digits", "run", "small_sagan", "train"]

STEPS = 2000
BATCH = 32
EMA = 0.995  # momentum of the averaged weights, which are the ones that draw
RATES = {"discriminator": 1e-3, "generator": 2e-4}  # a faster generator learns one picture of each digit
COUNT = 500  # drawn digits, when it is measured
JUDGE = "cnn-digits"  # trained on the same training digits, by another recipe


def small_sagan(attention=True, rng=None):
    """A SAGAN for digits of 8 x 8 pixels, with attention over all 64 places in both networks, or without."""
    return SAGAN(
        image_size=8, channels=1, num_classes=10, latent_size=32, generator_widths=(48, 48, 24),
        discriminator_widths=(24, 48, 48), strides=(1, 2, 1), attention=8 if attention else 0, rng=rng,
    )  # fmt: skip


def discriminator_loss(model, images, labels):
    """Hinge loss of real digits and as many drawn ones of the same classes."""
    real = model.discriminator(2 * images - 1, labels)
    return losses.hinge_d(real, model.discriminator(model.draw(labels), labels))


def generator_loss(model, images, labels):
    """Minus the mean score of drawn digits of these classes."""
    return losses.hinge_g(model.discriminator(model.draw(labels), labels))


def train(model, data, steps, rng, **keep):
    """Train a SAGAN on digits (images, labels): on every batch first the discriminator takes a step, then the generator."""
    loader = DataLoader(data, BATCH, shuffle=True, drop_last=True, rng=rng)
    optimizers = {
        name: optim.Adam(getattr(model, name), lr=rate, betas=(0.0, 0.9)) for name, rate in RATES.items()
    }
    turns = {"discriminator": discriminator_loss, "generator": generator_loss}
    return fit(model, loader, turns, optimizers, steps, ema=EMA, **keep)


def judged(images):
    """What the judge says of digits (B, 1, 8, 8): its features (B, 64) and its logits (B, 10)."""
    judge = storage.load(JUDGE)
    with no_grad():
        features = ops.mean(judge.layers(images), axis=(2, 3))
        return features.numpy(), judge.head(features).numpy()


def drawn(model, count=COUNT, seed=None):
    """Digits (count, 1, 8, 8) that a model draws, as many of each class, and their classes.

    The noise of the card has the seed None; every other seed gives other noise.
    """
    labels = np.arange(count) % 10
    with no_grad():
        return model(labels, rng=np.random.default_rng(0 if seed is None else 1 + seed)).numpy(), labels


def _compared(images, held_out):
    """How digits compare with the held-out ones: in the judge's features, and in pixels with the training digits."""
    features = judged(images)[0]
    precision, recall = precision_recall(judged(held_out)[0], features)
    return {
        "precision": precision,
        "recall": recall,
        "frechet": frechet_distance(judged(held_out)[0], features),
        "nearest training digit": float(nearest_neighbours(images, digits.load("train")[0])[1].mean()),
    }


def real_digits(count=COUNT):
    """The same measures for real digits: `count` training digits compared with the held-out ones.

    Only "nearest training digit" is that of the held-out digits, because training digits would find themselves.
    """
    held_out = digits.load("held-out")[0]
    real = _compared(digits.load("train")[0][:count], held_out)
    return real | {
        "nearest training digit": float(nearest_neighbours(held_out, digits.load("train")[0])[1].mean())
    }


def measure(model, count=COUNT, seed=None):
    """Draw digits and compare them with the held-out ones.

    Parameters
    ----------
    model : SAGAN
        In eval mode.
    count : int, default 500
        Digits to draw, as many of each class.
    seed : int, optional
        Of the noise; None is the noise of the card.

    Returns
    -------
    dict of str to float
        ``value``: the share that the judge, a classifier, reads as the digit that was asked for. ``precision`` and
        ``recall`` by the third nearest neighbour, and ``frechet``, in the features of the judge. ``nearest training digit``:
        the mean distance in pixels, each 0 to 1, to the nearest training digit.
    """
    if count < 4:
        raise ValueError(
            f"recipes: sagan-digits needs a count of at least 4, for third neighbours, got {count}"
        )
    images, labels = drawn(model, count, seed)
    return {
        "value": accuracy(judged(images)[1], labels),
        **_compared(images, digits.load("held-out")[0]),
    }


def run(out, seed=0, steps=STEPS, resume=False, attention=True):
    """Train, write ``model.safetensors`` and ``metrics.json`` into `out`, print the measures; see `recipes.run`."""
    rng = np.random.default_rng(seed)
    model = small_sagan(attention, rng)
    facts = {"recipe": "sagan-digits", "seed": seed} | ({} if attention else {"attention": False})
    keep = {"out": out, "resume": resume, "save_every": 5, "settings": facts}
    history = train(model, digits.load("train"), steps, rng, **keep)
    found = measure(model, COUNT)
    metrics = {
        "metric": "drawn digits that a classifier reads as meant",
        "n": COUNT,
        **found,
        "seconds": round(history["seconds"][-1], 1),
        "steps": history["step"][-1],
        "parameters": sum(p.size for p in model.parameters()),
        **facts,
    }
    storage.write_files({Path(out) / "metrics.json": storage.pack_json(metrics)})
    print(
        f"drawn digits read as meant {100 * found['value']:.1f} %, precision {found['precision']:.2f}, recall "
        f"{found['recall']:.2f}, Frechet distance {found['frechet']:.2f}"
    )
    return metrics
