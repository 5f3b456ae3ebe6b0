"""`minivis train segmenter-shapes`: a small Segmenter learns to name every pixel of generated scenes, without a convolution.

A ViT from linear patches learns from scratch what the paper's has learned from ImageNet, so it starts where a convolution
starts: `look_nearby` makes each head of the encoder begin with a neighbour of each patch. Nothing of this is fixed.
Not here: the shared part of the recipes on scenes (_shapes.py), the model (models/segmenter.py), the loop (train.py), the
study of patches, decoders and data (segmenter_choices.py).
"""

from pathlib import Path

import numpy as np

from minivis import ops, optim
from minivis.autograd import Tensor
from minivis.data import shapes
from minivis.data.loader import stack
from minivis.models import Segmenter, ViT
from minivis.nn import Conv2d, Module
from minivis.recipes import _shapes
from minivis.train import fit

__all__ = ["baselines", "look_nearby", "measure", "run", "small_segmenter"]

ROUNDS = (3000, 1600, 1400)  # steps
STEPS = sum(ROUNDS)
BATCH = 16
RATE = 2e-3
# where the heads of the four blocks begin to look: rows and columns of patches from the one that asks
OFFSETS = (
    ((0, -1), (0, 1), (-1, 0), (1, 0)),
    ((-1, -1), (1, 1), (-1, 1), (1, -1)),
    ((0, -2), (0, 2), (-2, 0), (2, 0)),
    ((0, 0), (2, 2), (-2, 2), (0, 0)),
)
STRENGTH = 2.0  # of the position codes
SHARPNESS = 2.0  # of queries and keys: in the first block 0.6 of the attention lie on the neighbour


def small_segmenter(rng=None, patch_size=4, decoder="mask", num_classes=9):
    """The model: 16 x 16 patches of width 64, four blocks of an encoder and two of a decoder; 0.23 million parameters."""
    encoder = ViT(shapes.SIZE, patch_size, 64, 4, 4, 2, num_classes=0, pool="mean", rng=rng)
    model = Segmenter(encoder, num_classes, decoder, mlp_ratio=2, rng=rng)
    # Pixels are 0 to 1. Start as if they were (x - 0.5) / 0.25: otherwise the mean colour dominates after the norm.
    first = encoder.patch_embed.proj
    first.weight.data *= 4
    first.bias.data -= 0.5 * first.weight.data.sum(axis=(1, 2, 3))
    look_nearby(encoder)
    return model


def look_nearby(encoder, offsets=OFFSETS, sharpness=SHARPNESS):
    """Give a ViT without a class token starting values with which each head looks at a neighbour of each patch.

    The positions become sines and cosines of the row and the column. A rotation turns the code of a place into that of its
    neighbour, so queries that rotate and keys that do not have their largest product at the neighbour.

    Parameters
    ----------
    encoder : ViT
        Its position table, and half of its query and key weights, are replaced.
    offsets : sequence of sequences of (int, int)
        For each block and head the rows and columns from a patch to the one where it looks.
    sharpness : float
        Factor of queries and of keys.
    """
    width = encoder.pos_embed.shape[-1]
    frequencies = np.geomspace(1.6, 0.2, width // 4)  # radians for each patch: waves of 4 to 31 patches
    rows, columns = (place.reshape(-1, 1) * frequencies for place in np.indices(encoder.grid))
    waves = [np.stack([np.sin(x), np.cos(x)], axis=-1).reshape(len(x), -1) for x in (rows, columns)]
    encoder.pos_embed.data[...] = STRENGTH * np.concatenate(waves, axis=1)
    for block, of_heads in zip(encoder.blocks, offsets, strict=True):
        d = width // block.attn.num_heads
        for head, offset in enumerate(of_heads):
            own = slice(head * d, (head + 1) * d)
            for layer, steps in ((block.attn.query, offset), (block.attn.key, (0, 0))):
                rotated = _rotation(frequencies, steps, d)
                layer.weight.data[own] = layer.weight.data[own] / 2 + sharpness * rotated


def _rotation(frequencies, offset, rows):
    """A matrix (rows, D) that picks some of the waves of a position code and moves them on by an offset."""
    matrix = np.zeros((rows, 4 * len(frequencies)))
    chosen = np.linspace(0, len(frequencies) - 1, rows // 4).round().astype(int)
    pairs = [(axis, wave) for axis in (0, 1) for wave in chosen]
    for row, (axis, wave) in enumerate(pairs):
        angle = frequencies[wave] * offset[axis]
        sine = 2 * (axis * len(frequencies) + wave)
        turn = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
        matrix[2 * row : 2 * row + 2, sine : sine + 2] = turn
    return matrix


def measure(model, count=None, seed=None):
    """Mean IoU over the nine classes; see `recipes.measure`."""
    return _shapes.with_value("mIoU", _shapes.measure_pixels(model, count, seed=seed))


def run(out, seed=0, steps=STEPS, resume=False):
    """Train, write ``model.safetensors`` and ``metrics.json`` into `out`, print the mIoU; see `recipes.run`.

    There are three rounds, each with a warm-up and a decay of the learning rate. The first, in ``out/first``, ends when shapes
    begin to be told apart; each of the others begins with the weights of the one before.
    """
    rng = np.random.default_rng(seed)
    facts = {"recipe": "segmenter-shapes", "seed": seed}
    model = small_segmenter(rng)

    def evaluate(model):
        return {"validation mIoU": _shapes.measure_pixels(model, 100, "validation")["mIoU"]}

    seconds = {}
    first, second = (max(1, steps * count // STEPS) for count in ROUNDS[:2])
    rounds = {
        "first": (first, Path(out) / "first", seed),
        "second": (second, Path(out) / "second", 10_000 + seed),
        "third": (steps - first - second, out, 20_000 + seed),
    }
    for part, (count, folder, scenes) in rounds.items():
        keep = {"out": folder, "resume": resume, "settings": facts, "evaluate": evaluate}
        seconds[part] = _train(model, count, rng, scenes, **keep)
    return _shapes.write_report(
        model, out, "mIoU", _shapes.measure_pixels(model), seconds, steps=steps, **facts
    )


def _train(model, steps, rng, seed, **keep):
    """One round on fresh scenes; returns its seconds."""
    schedule = optim.one_cycle(steps, warmup=0.1)
    optimizer = optim.AdamW(optim.decay_groups(model, 0.05), lr=RATE, schedule=schedule)
    batches = _shapes.loader(steps, BATCH, rng, seed, _shapes.with_pixels, stack)
    history = fit(model, batches, _shapes.classify, optimizer, steps, clip=1.0, **keep)
    return history["seconds"][-1]


# ------------------------------------------------------------------ what is easier


def baselines(count=None, steps=300):
    """The mean IoU of simpler answers on held-out scenes.

    Parameters
    ----------
    count : int, optional
        How many scenes; default 500.
    steps : int, default 300
        Of the training of the second one.

    Returns
    -------
    dict of str to float
        ``most frequent class``: the same answer everywhere. ``one linear layer``: each patch of 4 x 4 pixels scored by itself,
        and the scores enlarged as Segmenter's. ``untrained``: the network before its training.
    """
    rng = np.random.default_rng(0)
    layer = Conv2d(3, len(shapes.CLASSES), 4, stride=4, rng=rng)
    optimizer = optim.AdamW(layer, lr=1e-2, schedule=optim.one_cycle(steps, warmup=0.1))
    batches = _shapes.loader(steps, BATCH, rng, 30_000, _shapes.with_pixels, stack)
    fit(_Enlarged(layer), batches, _shapes.classify, optimizer, steps, clip=1.0)
    answers = {
        "most frequent class": _Always(_most_frequent()),
        "one linear layer": _Enlarged(layer),
        "untrained": small_segmenter(rng).eval(),
    }
    return {name: round(_shapes.measure_pixels(model, count)["mIoU"], 4) for name, model in answers.items()}


class _Enlarged(Module):
    """A layer whose map of scores is enlarged to the size of the image."""

    def __init__(self, layer):
        self.layer = layer

    def forward(self, images):
        return ops.interpolate(self.layer(images), images.shape[2:], mode="bilinear")


class _Always(Module):
    """The same class for every pixel."""

    def __init__(self, number):
        self.number = number

    def forward(self, images):
        scores = np.zeros((len(images), len(shapes.CLASSES), *images.shape[2:]), np.float32)
        scores[:, self.number] = 1
        return Tensor(scores)


def _most_frequent(count=200):
    """The class with the most pixels in training scenes."""
    scenes = shapes.Scenes(count, "train", 0)
    pixels = [
        np.bincount(scenes.scene(i).semantic.ravel(), minlength=len(shapes.CLASSES)) for i in range(count)
    ]
    return int(np.sum(pixels, axis=0).argmax())
