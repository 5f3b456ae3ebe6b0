"""`minivis train maskformer-shapes`: a small MaskFormer learns panoptic segmentation of generated scenes.

Not here: the shared part of the recipes on scenes (_shapes.py), the model (models/maskformer.py), the loss (losses/), the loop.
"""

import numpy as np

from minivis import optim
from minivis.autograd import no_grad
from minivis.data import DataLoader, shapes
from minivis.losses import MaskFormerCriterion
from minivis.metrics import PanopticQuality, confusion_matrix, mean_iou
from minivis.models import MaskFormer
from minivis.recipes import _shapes
from minivis.train import fit
from minivis.vision import panoptic_inference, semantic_inference

__all__ = ["measure", "measure_answers", "merge", "regions", "run", "small_maskformer"]

STEPS = 3000
TRUNK = {"widths": (32, 64)}  # the backbone of the recipes that ask for a small one
WEIGHTS = {"loss_ce": 2, "loss_mask": 5, "loss_dice": 5}
LEAST = 16  # pixels of a region that counts as a thing


def merge(logits, masks, things, size):
    """The panoptic map of one scene; the threshold is low, because the model was trained for minutes, not for days."""
    return panoptic_inference(logits, masks, things, size, threshold=0.5, overlap=0.7, inside=False)


def small_maskformer(backbone, rng, **options):
    """The model: one encoder layer and three decoder layers on a map of 8 x 8 cells; masks of 16 x 16; 0.4 million parameters."""
    options = {
        "queries": 16,  # there can be 8 objects and 3 grounds
        "width": 64,
        "heads": 4,
        "decoder_depth": 3,
        "mlp_width": 64,
        "mask_width": 32,
        "pixel_encoder_depth": 1,
        "groups": 8,
        "dropout": 0.0,
        "norm_first": True,  # in a trial of 300 steps, things were found earlier than with norms after the branches
        **options,
    }
    return MaskFormer(backbone, len(shapes.CLASSES), rng=rng, **options)


def criterion():
    """The loss: cross-entropy instead of the focal loss, with the weights of Mask2Former.

    The published loss is a little better after 500 steps: see ``results()["as published"]`` of maskformer_changes.
    """
    return MaskFormerCriterion(len(shapes.CLASSES), weights=WEIGHTS, mask_loss="cross_entropy")


def measure(model, count=None, seed=None):
    """Panoptic quality with its parts, and the mean IoU of semantic inference; see `recipes.measure`."""
    return _shapes.with_value("PQ", measure_answers(answers(model), count, seed=seed))


def answers(model):
    """What a mask classifier answers: a function from images to the panoptic maps and the classes of the pixels."""

    def of(images):
        output = model(images)
        size = images.shape[2:]
        pairs = zip(output.logits.numpy(), output.masks.numpy(), strict=True)
        maps = [merge(logits, masks, _shapes.THINGS, size) for logits, masks in pairs]
        return maps, semantic_inference(output.logits, output.masks, size).numpy().argmax(axis=1)

    return of


def measure_answers(answers, count=None, split="held-out", seed=None):
    """Panoptic quality and mean IoU on scenes not used in training.

    Parameters
    ----------
    answers : callable
        ``answers(images)`` returns the panoptic map of each image, and the classes (B, H, W) of their pixels.
    count, split, seed
        As for `_shapes.measure_panoptic`.

    Returns
    -------
    dict of str to float
        As `PanopticQuality` has them, and ``mIoU``.
    """
    quality = PanopticQuality(_shapes.THINGS)
    counted = np.zeros((len(shapes.CLASSES),) * 2, np.int64)
    scenes = _shapes.fresh_scenes(count, seed, split, sample=_panoptic)
    for images, truth in DataLoader(scenes, 50, collate=shapes.collate):
        with no_grad():
            maps, named = answers(images)
        quality.update(maps, truth)
        there = np.stack([_classes(*one) for one in truth])
        counted += confusion_matrix(named, there, len(shapes.CLASSES))
    return {**quality.compute(), "mIoU": mean_iou(counted)}


def _panoptic(scene):
    return scene.image, (scene.panoptic, scene.segments)


def _classes(ids, segments):
    """The class of each pixel, from a panoptic map without void."""
    kinds = np.zeros(1 + ids.max(), np.int64)
    for segment in segments:
        kinds[segment["id"]] = segment["category_id"]
    return kinds[ids]


def regions(named, things, least=LEAST):
    """The panoptic map that follows from the classes of pixels alone: a connected region of a thing's class is an object.

    Parameters
    ----------
    named : ndarray of int, shape (H, W)
        The class of each pixel.
    things : array of bool, shape (K,)
        True for things. The pixels of other classes are one segment each, connected or not.
    least : int
        Regions of things with fewer pixels are left out.

    Returns
    -------
    ids : numpy.ndarray, shape (H, W)
        int32, the number of each pixel's segment; 0 for those left out.
    segments : list of dict
        ``id``, ``category_id``, ``isthing`` and ``area`` of each segment.

    Examples
    --------
    >>> ids, segments = regions(np.array([[0, 0, 1, 0], [0, 0, 1, 1]]), [True, False], least=2)
    >>> ids.tolist(), [segment["category_id"] for segment in segments]
    ([[1, 1, 2, 0], [1, 1, 2, 2]], [0, 1])
    """
    from scipy.ndimage import label

    ids = np.zeros(named.shape, np.int32)
    segments = []
    for kind in np.unique(named).tolist():
        inside = named == kind
        parts = label(inside)[0] if things[kind] else inside.astype(int)
        for part in range(1, 1 + parts.max()):
            area = int((parts == part).sum())
            if area >= (least if things[kind] else 1):
                segment = {"id": len(segments) + 1, "category_id": kind, "isthing": bool(things[kind])}
                segments.append({**segment, "area": area})
                ids[parts == part] = segment["id"]
    return ids, segments


def run(out, seed=0, steps=STEPS, resume=False):
    """Train, write ``model.safetensors`` and ``metrics.json`` into `out`, print the result; see `recipes.run`."""
    rng = np.random.default_rng(seed)
    facts = {"recipe": "maskformer-shapes", "seed": seed}
    backbone, before = _shapes.trunk(out, max(1, steps // 2), rng, resume, seed, **TRUNK)
    model = small_maskformer(backbone, rng)
    compare = criterion()

    def loss(model, images, targets):
        return compare(model(images), targets)["loss"]

    def evaluate(model):
        found = measure_answers(answers(model), 100, "validation")
        return {f"validation {name}": found[name] for name in ("PQ", "PQ_things", "PQ_stuff", "mIoU")}

    schedule = optim.one_cycle(steps, warmup=0.1)
    optimizer = optim.AdamW(optim.decay_groups(model, 1e-4), lr=1e-3, schedule=schedule)
    batches = _shapes.loader(steps, 24, rng, seed, sample=_shapes.with_grounds)
    keep = {"out": out, "resume": resume, "settings": facts, "evaluate": evaluate}
    every = max(1, steps // 30)
    history = fit(model, batches, loss, optimizer, steps, clip=1.0, every=every, **keep)
    seconds = {"backbone": before, "segments": history["seconds"][-1]}
    found = measure_answers(answers(model))
    return _shapes.write_report(model, out, "PQ", found, seconds, steps=steps, **facts)
