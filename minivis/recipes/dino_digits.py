"""`minivis train dino-digits`: a small ViT learns from handwritten digits without a label, and its attention finds the stroke.

Each picture is one digit of 10 to 13 pixels on an empty canvas of 22 x 22. Student and teacher see pieces of it.
Not here: the two networks (models/dino.py), the loss (losses/self_distillation.py), what collapses (collapse.py).
"""

from pathlib import Path

import numpy as np

from minivis import analysis, optim, storage
from minivis.autograd import no_grad
from minivis.data import DataLoader, digits, geometry
from minivis.data.multi_crop import MultiCrop, RandomResizedCrop
from minivis.data.transforms import ColorJitter, Compose
from minivis.models import DINO, ConvStem, ViT, start_small
from minivis.train import fit

__all__ = ["answers", "canvas", "measure", "pictures", "run", "small_dino", "train"]

STEPS = 500
BATCH = 48
SIDE = 22  # of the canvas, pixels
SIDES = (10, 11, 12, 13)  # of a digit
INK = 0.1  # a token with a pixel that is darker belongs to the digit
RATE, MOMENTUM, CLIP = 1e-3, 0.99, 3.0
TEMPERATURE = 0.04  # of the teacher
FROZEN = 30  # steps in which the last layer does not learn
KNOWN = None  # training digits that a measurement may look at; None is all


def multi_crop(large, small):
    """Two large views, of 40 to 100 % of a picture, and four small ones, of 30 to 60 %, in pixels; brightness and contrast vary.

    Smaller shares than these mostly show empty paper, of which nothing can be learned.
    """
    jitter = ColorJitter(brightness=0.4, contrast=0.4)
    pieces = [RandomResizedCrop(large, (0.4, 1.0))] * 2 + [RandomResizedCrop(small, (0.3, 0.6))] * 4
    return MultiCrop([Compose([piece, jitter]) for piece in pieces])


VIEWS = multi_crop(20, 12)


def canvas(images, rng):
    """Digits (B, 1, 8, 8), each enlarged to a random size and put at a random place of an empty canvas (B, 1, 22, 22)."""
    out = np.zeros((len(images), 1, SIDE, SIDE), np.float32)
    sides = rng.choice(SIDES, len(images))
    for side in SIDES:
        chosen = np.flatnonzero(sides == side)
        for place, digit in zip(chosen, geometry.resize(images[chosen], (side, side)), strict=True):
            top, left = rng.integers(SIDE - side + 1, size=2)
            out[place, 0, top : top + side, left : left + side] = digit[0]
    return out


def small_dino(rng, channels=1, small=True, **options):
    """A DINO for small pictures: tokens of 2 x 2 pixels from a convolution, 3 blocks of width 64, 128 scores.

    With `small`, its attention begins almost uniform (see `start_small`). Otherwise the best of its heads may look at the ink
    by chance, before it has learned anything, and keeps what it has.
    """
    stem = ConvStem(channels, 64, rng)
    backbone = ViT(
        20, patch_size=1, width=64, depth=3, heads=4, mlp_ratio=2, num_classes=0, channels=channels, backbone=stem, rng=rng
    )  # fmt: skip
    backbone = start_small(backbone, rng) if small else backbone
    sizes = {"K": 128, "hidden": 128, "bottleneck": 64, "batch_norm": True}
    return DINO(backbone, **{**sizes, **options}, rng=rng)


def views(images, rng):
    """The views of digits (B, 1, 8, 8): each digit stands at one place, and the views are pieces of that picture."""
    return VIEWS(canvas(images, rng), rng)


def loss(model, views, labels):
    """DINO's loss. The labels are not looked at."""
    return model(views).loss


def train(model, steps, rng, momentum=MOMENTUM, data=None, views=views, **keep):
    """Train student and teacher on digits, or on ``data`` with their ``views``; see `fit` for ``keep``."""
    warmup = min(50, steps // 5)
    data = digits.load("train") if data is None else data
    loader = DataLoader(data, BATCH, shuffle=True, drop_last=True, rng=rng, transform=views)
    rates = optim.follow(optim.cosine_schedule(RATE, 1e-6, steps, warmup))
    optimizer = optim.AdamW(
        optim.decay_groups(model.student, 0.04), lr=1.0, betas=(0.9, 0.99), schedule=rates
    )
    follow = optim.cosine_schedule(momentum, 1.0 if momentum else 0.0, steps)

    def before_step(model, optimizer, step):
        optim.clip_each_grad_norm(model.student, CLIP)
        if step < min(FROZEN, steps // 5):
            model.student.head.last_layer.zero_grad()

    def after_step(model, step):
        model.follow(follow[step - 1])

    return fit(model, loader, loss, optimizer, steps, before_step=before_step, after_step=after_step, **keep)


# ------------------------------------------------------------------ measuring


def pictures(split="held-out", seed=0, count=None):
    """Digits on their canvas (B, 1, 22, 22), the same in every call with one seed, and their labels."""
    images, labels = digits.load(split)
    return canvas(images[:count], np.random.default_rng(seed)), labels[:count]


def in_batches(function, images, size=100):
    """What a function gives for images, as one array; nothing is kept for backward."""
    with no_grad():
        return np.concatenate([function(images[i : i + size]) for i in range(0, len(images), size)])


def class_attention(backbone, images):
    """The attention of the class token to the patches in the last block, (B, h, rows, columns)."""

    def attention(images):
        weights = backbone.attention_maps(images)[-1][:, :, 0, 1:]
        return weights.reshape(*weights.shape[:2], images.shape[2] // 2, images.shape[3] // 2)

    return in_batches(attention, images)


def ink(images):
    """Which tokens of 2 x 2 pixels a digit touches, (B, 1, rows, columns)."""
    B, _, H, W = images.shape
    return (images > INK).reshape(B, 1, H // 2, 2, W // 2, 2).any(axis=(3, 5))


def overlaps(backbone, images):
    """Jaccard of each head's mask (60 % of the class token's attention) with the ink, (B, h)."""
    attention = class_attention(backbone, images)
    masks = analysis.attention_masks(attention.reshape(*attention.shape[:2], -1)).reshape(attention.shape)
    return analysis.jaccard(masks, ink(images))


def answers(network, images, centre, temperature):
    """A teacher's probabilities (B, K) of images."""
    scores = in_batches(lambda part: network(part).numpy(), images).astype(np.float64)
    scores = (scores - centre) / temperature
    likely = np.exp(scores - scores.max(axis=1, keepdims=True))
    return likely / likely.sum(axis=1, keepdims=True)


def entropies(probabilities):
    """The mean entropy of each answer, and the entropy of the mean answer, in nats: both log K if all are uniform."""

    def entropy(p):
        return -(p * np.log(np.maximum(p, 1e-30))).sum(axis=-1)

    return float(entropy(probabilities).mean()), float(entropy(probabilities.mean(axis=0)))


def features(backbone, images):
    """The class token (B, D) of images."""
    return in_batches(lambda part: backbone(part).numpy(), images)


def watched(model):
    """Numbers for the history, on training digits at other places than those of the training."""
    images, _ = pictures("train", 1, 240)
    likely = answers(model.teacher, images, model.centre, model.teacher_temp)
    each, mean = entropies(likely)
    jaccard = overlaps(model.teacher.backbone, images).mean(axis=0).max()
    return {"jaccard": jaccard, "entropy": each, "entropy of the mean": mean}


def measure(network, count=None, seed=None):
    """How well the attention of a network covers the ink of held-out digits, and what its features know of their classes.

    Parameters
    ----------
    network : MultiCropNetwork
        The teacher, in eval mode.
    count : int, optional
        Held-out digits, at most 360: the default.
    seed : int, optional
        Of other places and sizes than those of the card.

    Returns
    -------
    dict of str to float
        ``value``: the mean Jaccard of the ink and the places that hold 60 % of the class token's attention in the last
        block, for the head that is best on 400 training digits. ``linear`` and ``k-NN``: accuracy of a linear probe and of
        k nearest neighbours (k = 20, centred) among the training digits. ``entropy`` and ``entropy of the mean``: of the
        answers, in nats, with the mean of the training digits' scores as the centre.
    """
    seed = 0 if seed is None else 1 + seed
    train, train_labels = pictures("train", 1000 + seed, KNOWN)
    images, labels = pictures("held-out", seed, count)
    head = overlaps(network.backbone, train[:400]).mean(axis=0).argmax()
    known, found = (features(network.backbone, x) for x in (train, images))
    centre = in_batches(lambda part: network(part).numpy(), train[:400]).mean(axis=0)
    each, mean = entropies(answers(network, images, centre, TEMPERATURE))
    return {
        "value": overlaps(network.backbone, images)[:, head].mean(),
        "linear": analysis.linear_probe(known, train_labels, found, labels),
        "k-NN": analysis.k_nearest(known, train_labels, found, labels, centred=True),
        "entropy": each,
        "entropy of the mean": mean,
        "head": int(head),
    }


def run(out, seed=0, steps=STEPS, resume=False):
    """Train, write the model, the teacher alone in ``teacher`` and ``metrics.json`` into `out`; see `recipes.run`."""
    rng = np.random.default_rng(seed)
    model = small_dino(rng)
    facts = {"recipe": "dino-digits", "seed": seed}
    history = train(model, steps, rng, out=out, resume=resume, settings=facts, evaluate=watched)
    storage.save(model.teacher, Path(out) / "teacher")
    found = measure(model.teacher)
    metrics = {
        "metric": "Jaccard of the class token's attention and the ink",
        "n": len(digits.indices("held-out")),
        **found,
        "seconds": round(history["seconds"][-1], 1),
        "steps": history["step"][-1],
        "parameters": sum(p.size for p in model.teacher.parameters()),
        **facts,
    }
    storage.write_files({Path(out) / "metrics.json": storage.pack_json(metrics)})
    print(
        f"attention on the ink: Jaccard {found['value']:.3f}; linear probe {100 * found['linear']:.1f} %, nearest "
        f"neighbours {100 * found['k-NN']:.1f} %"
    )
    return metrics
