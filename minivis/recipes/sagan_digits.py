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

__all__ = ["measure", "run"]

STEPS = 3000
BATCH = 32
EMA = 0.995
RATES = {"discriminator": 1e-3, "generator": 2e-4}
JUDGE = "cnn-digits"  # trained on the same digits, by another recipe


def small_sagan(attention=True, rng=None):
    """A SAGAN for digits of 8 x 8 pixels, with attention over all 64 of them in both networks, or without."""
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
    """Train a SAGAN on digits (images, labels): first the discriminator takes a step, then the generator."""
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
