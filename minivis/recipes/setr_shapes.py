"""`minivis train setr-shapes`: a transformer over the cells of a small map, and a decoder, name every pixel of a generated scene.

SETR's encoder comes from ImageNet. Here a small convolutional backbone learns to name pixels first, and the tokens are the
cells of its map, as in ViT's hybrid. The encoder then learns with the naive decoder; at last a new decoder takes its place,
and all learn on. `results` reads what the three decoders reach from the same encoder; scripts/run_ablations.py measures it again.
Not here: the shared part of the recipes on scenes (_shapes.py), the network (models/setr.py), the loop (train.py).
"""

from functools import lru_cache
from pathlib import Path

import numpy as np

from minivis import optim, storage
from minivis.data import DataLoader, shapes
from minivis.data.loader import stack
from minivis.metrics import confusion_matrix, mean_iou
from minivis.models import SETR, ViT
from minivis.recipes import _shapes
from minivis.recipes.fcn_shapes import measure_borders
from minivis.train import fit
from minivis.vision import sine_position_code

__all__ = ["CHOICES", "baselines", "results", "small_encoder", "small_setr"]

RESULTS = Path(__file__).with_suffix(".json")
STEPS = 4000
WIDTHS = (32, 64)  # channels of the two maps of the backbone
WIDTH, DEPTH, HEADS = 40, 4, 4
CHANNELS = 24
BATCH = 16
RATE = 2e-3
BACKBONE_RATE = RATE / 10  # the paper's heads learn ten times as fast as what was pretrained
BEST = "pup"  # the best of the three in the table
SEEDS = (0, 1, 2)
COMPARED = {"steps": 1000, "scenes": 3200}


def small_encoder(backbone, rng=None):
    """The encoder: 64 tokens, the cells of the backbone's second map, width 40, 4 blocks, no class token.

    The position table is learned. It begins with sine codes, in which neighbours are alike: attention can use them from the
    first step.

    Parameters
    ----------
    backbone : ResNet
        Of two stages, with strides of 4 and 8.
    rng : numpy.random.Generator, int or None
        Draws the starting values.

    Returns
    -------
    ViT
        Without a final norm, which SETR's heads have.
    """
    sizes = {"patch_size": 1, "width": WIDTH, "depth": DEPTH, "heads": HEADS, "mlp_ratio": 1.5}
    encoder = ViT(
        shapes.SIZE, **sizes, num_classes=0, pool="mean", backbone=backbone, final_norm=False, rng=rng
    )
    codes = sine_position_code(*encoder.grid, WIDTH, temperature=100.0)  # (8, 8, D)
    encoder.pos_embed.data[...] = 0.5 * codes.reshape(1, -1, WIDTH)
    return encoder


def small_setr(encoder, rng=None, decoder=BEST):
    """The model: an encoder of `small_encoder` and one of the three decoders, with 24 channels.

    Parameters
    ----------
    encoder : ViT
        It is taken over, not copied.
    rng : numpy.random.Generator, int or None
        Draws the starting values of the decoder.
    decoder : str
        As for `SETR`.

    Returns
    -------
    SETR
        Images (B, 3, H, W) to the logits (B, 9, H, W) of `data.shapes.CLASSES`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> model = small_setr(small_encoder(_shapes.small_backbone(rng, widths=WIDTHS), rng), rng)
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
    encoder, seconds = _encoder(out, steps, rng, seed, resume)
    model = small_setr(encoder, rng)

    def evaluate(model):
        return {"validation mIoU": _shapes.measure_pixels(model, 100, "validation")["mIoU"]}

    keep = {"out": out, "resume": resume, "settings": facts, "evaluate": evaluate}
    seconds["pixels"] = _train(model, steps, rng, seed, **keep)
    return _shapes.write_report(model, out, "mIoU", measure_borders(model), seconds, steps=steps, **facts)


def _encoder(out, steps, rng, seed, resume):
    """An encoder that has learned with the naive decoder, and the seconds of its training and of its backbone's."""
    trunk, before = _shapes.trunk(out, max(1, steps * 3 // 8), rng, resume, seed, widths=WIDTHS)
    encoder = small_encoder(trunk, rng)
    keep = {"out": Path(out) / "encoder", "resume": resume, "settings": {"recipe": "naive", "seed": seed}}
    seconds = _train(small_setr(encoder, rng, "naive"), max(1, steps // 4), rng, 700_000 + seed, **keep)
    return encoder, {"backbone": before, "encoder": seconds}


def _train(model, steps, rng, seed, **keep):
    """Train on fresh scenes; returns the seconds."""
    batches = _shapes.loader(steps, BATCH, rng, seed, _shapes.with_pixels, stack)
    return _fit(model, batches, steps, **keep)


def _fit(model, batches, steps, **keep):
    schedule = optim.one_cycle(steps, warmup=0.1)
    optimizer = optim.AdamW(_groups(model), lr=RATE, schedule=schedule)
    return fit(model, batches, _shapes.classify, optimizer, steps, clip=1.0, **keep)["seconds"][-1]


def _groups(model):
    """The parameters of the backbone with a smaller learning rate than the others."""
    pretrained = {id(p) for p in model.encoder.backbone.parameters()}
    groups = []
    for group in optim.decay_groups(model, 1e-4):
        for inside, lr in ((True, BACKBONE_RATE), (False, RATE)):
            chosen = [p for p in group["params"] if (id(p) in pretrained) == inside]
            groups.append({**group, "params": chosen, "lr": lr})
    return groups


# ------------------------------------------------------------------ the comparison


def backbone(out):
    """Train the encoder that the decoders share: that of the recipe with seed 0."""
    _encoder(out, STEPS, np.random.default_rng(0), 0, True)


def _decoder(out, seed, decoder):
    """A new decoder on the common encoder, which learns on: what `measure_borders` finds."""
    encoder, _ = _encoder(out, STEPS, np.random.default_rng(0), 0, True)
    rng = np.random.default_rng(seed)
    model = small_setr(encoder, rng, decoder)
    batches = DataLoader(
        _pool(COMPARED["scenes"], seed), BATCH, shuffle=True, drop_last=True, rng=rng, collate=stack
    )
    _fit(model, batches, COMPARED["steps"])
    found = measure_borders(model, split="validation")
    return {**found, "parameters of the decoder": sum(p.size for p in model.head.parameters())}


@lru_cache(maxsize=1)
def _pool(count, seed):
    """Training scenes that the decoders share: drawing them takes longer than training on them."""
    return list(shapes.Scenes(count, "train", 100 + seed, sample=_shapes.with_pixels))


CHOICES = {"decoders": {name: (_decoder, {"decoder": name}) for name in ("naive", "pup", "mla")}}


def about():
    """What the committed results say of how they were measured."""
    return {
        "steps": COMPARED["steps"],
        "batch_size": BATCH,
        "training scenes": COMPARED["scenes"],
        "encoder": "that of the recipe with seed 0, after 1,500 steps of its backbone and 1,000 with the naive decoder, the same "
        "for all; it is trained on",
        "scenes": "500 of the validation split",
    }


def results():
    """The measured results of the three decoders.

    Returns
    -------
    dict
        ``results()[decoder]`` has the lists ``mIoU``, ``at borders``, ``elsewhere``, ``parameters of the decoder`` and
        ``seconds`` (of one core), with a number for each seed. Decoders are "naive", "pup" and "mla".

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing or broken.

    Examples
    --------
    >>> sorted(results())
    ['mla', 'naive', 'pup']
    """
    return storage.read_json(RESULTS)["results"]["decoders"]


def baselines(run, count=None):
    """Mean IoU of simpler answers, on held-out scenes.

    Parameters
    ----------
    run : str or path
        Folder of a finished training, for its backbone.
    count : int, optional
        As for `recipes.measure`.

    Returns
    -------
    dict of str to float
        ``most frequent class``: the same answer everywhere. ``the backbone and one linear layer``: how the backbone was trained,
        each of its cells names its 8 x 8 pixels, without a transformer.
    """
    rng = np.random.default_rng(0)
    namer = _shapes.PixelNamer(_shapes.small_backbone(rng, widths=WIDTHS), rng)
    storage.load(Path(run) / "backbone", into=namer)
    counts = np.zeros(len(shapes.CLASSES), np.int64)
    for _, classes in shapes.Scenes(200, "train", 1, sample=_shapes.with_pixels):
        counts += np.bincount(classes.reshape(-1), minlength=len(counts))
    table = np.zeros((len(counts),) * 2, np.int64)
    for _, classes in _shapes.fresh_scenes(count, sample=_shapes.with_pixels):
        table += confusion_matrix(np.full(classes.shape, counts.argmax()), classes, len(counts))
    return {
        "most frequent class": mean_iou(table),
        "the backbone and one linear layer": _shapes.measure_pixels(namer.eval(), count)["mIoU"],
    }
