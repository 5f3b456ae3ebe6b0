"""What the papers' choices are worth at the size of the generated scenes: each left out in turn, three seeds each.

Position codes (DETR's table 3), box losses (its table 4), masked attention (Mask2Former's table 4), shifted windows (Swin's
table 4). `results` reads what was measured; scripts/run_ablations.py measures it again.
Not here: the recipes of the models that come with minivis.
"""

import time
from pathlib import Path

import numpy as np

from minivis import optim, storage
from minivis.data import DataLoader, shapes
from minivis.data.loader import stack
from minivis.losses import HungarianMatcher, Mask2FormerCriterion, SetCriterion
from minivis.recipes import _shapes, mask2former_shapes, swin_shapes
from minivis.recipes.detr_shapes import small_detr
from minivis.train import fit

__all__ = ["CHOICES", "measure", "results"]

RESULTS = Path(__file__).with_suffix(".json")
SEEDS = (0, 1, 2)
STEPS = {"backbone": 1500, "detr": 1500, "mask2former": 700, "swin": 1400}
SCENES = 6000  # gone through again and again: to draw new ones would take longer than to learn from them


def results():
    """What was measured.

    Returns
    -------
    dict
        ``results()[subject][choice][metric]`` is a list with one number a seed. Subjects are "positions", "losses",
        "attention" and "windows". Scenes are those of the validation split, which nothing was trained on.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing or broken.

    Examples
    --------
    >>> sorted(results())
    ['attention', 'losses', 'positions', 'windows']
    """
    return storage.read_json(RESULTS)["results"]


def backbone(out, seed):
    """A small backbone that can name pixels: trained once for each seed, the same for all choices, and frozen then."""
    rng = np.random.default_rng(seed)
    body = _shapes.small_backbone(rng, (1, 1, 1), (48, 96, 96))
    _shapes.pretrain(body, Path(out) / f"seed-{seed}", STEPS["backbone"], rng, True, seed=seed)
    return body.freeze(2)  # the third stage, which only Mask2Former uses, has learnt nothing yet


def detr(out, seed, position="sine_attention", l1=5, giou=2):
    """A DETR with other position codes or another box loss: AP and AP50."""
    body, rng = backbone(out, seed), np.random.default_rng(seed)
    model = small_detr(
        body, len(shapes.THINGS), rng, position=position, feature_level=1, width=64, mlp_width=256
    )
    matcher = HungarianMatcher(box_weight=l1, giou_weight=giou)
    criterion = SetCriterion(
        len(shapes.THINGS), matcher, weights={"loss_bbox": l1, "loss_giou": giou}, no_object=0.2
    )

    def loss(model, images, targets):
        return criterion(model(images), targets)["loss"]

    _fit(model, loss, STEPS["detr"], seed, rng, _shapes.with_boxes)
    found = _shapes.measure_boxes(model, split="validation")
    return {"AP": found["AP"], "AP50": found["AP50"]}


def mask2former(out, seed, masked=True):
    """A Mask2Former whose queries look inside their masks only, or everywhere: PQ."""
    body, rng = backbone(out, seed), np.random.default_rng(seed)
    model = mask2former_shapes.small_mask2former(body, rng, masked=masked, width=64, mlp_width=256)
    criterion = Mask2FormerCriterion(len(shapes.CLASSES), points=256, rng=rng)

    def loss(model, images, targets):
        return criterion(model(images), targets)["loss"]

    _fit(model, loss, STEPS["mask2former"], seed, rng, _shapes.with_grounds)
    found = _shapes.measure_panoptic(model, mask2former_shapes.merge, split="validation")
    return {"PQ": found["PQ"]}


def swin(out, seed, shift=True):
    """A Swin with shifted windows, or with the same windows in every layer, that names pixels: mean IoU."""
    rng = np.random.default_rng(seed)
    model = _shapes.PixelNamer(swin_shapes.small_swin(rng, shift), rng)
    _fit(model, _shapes.classify, STEPS["swin"], seed, rng, _shapes.with_pixels, stack)
    return _shapes.measure_pixels(model, split="validation")


def _fit(model, loss, steps, seed, rng, sample, collate=shapes.collate):
    optimizer = optim.AdamW(
        optim.decay_groups(model, 1e-4), lr=1e-3, schedule=optim.one_cycle(steps, warmup=0.1)
    )
    scenes = list(shapes.Scenes(SCENES, "train", seed, sample=sample))
    batches = DataLoader(scenes, 16, shuffle=True, rng=rng, collate=collate)
    fit(model, batches, loss, optimizer, steps, clip=1.0)


CHOICES = {
    "positions": {
        "none": (detr, {"position": "none"}),
        "sine at the input": (detr, {"position": "sine_input"}),
        "learned at every attention": (detr, {"position": "learned_attention"}),
        "sine in the decoder only": (detr, {"position": "sine_decoder"}),
        "sine at every attention": (detr, {}),
    },
    "losses": {"L1 only": (detr, {"giou": 0}), "GIoU only": (detr, {"l1": 0}), "L1 and GIoU": (detr, {})},
    "attention": {"masked": (mask2former, {}), "plain": (mask2former, {"masked": False})},
    "windows": {"shifted": (swin, {}), "unshifted": (swin, {"shift": False})},
}


def measure(out, subject, choice, seed):
    """Train and measure one choice with one seed; what is in `out` already is not trained again.

    Parameters
    ----------
    out : str or path
        Folder for the results of single runs.
    subject, choice : str
        One of `CHOICES`, and one of its choices.
    seed : int
        0 to 2 for the committed results.

    Returns
    -------
    dict
        Metrics, and the ``seconds`` of training and measuring.
    """
    function, options = CHOICES[subject][choice]
    same = "_".join([function.__name__, *(f"{name}-{value}" for name, value in sorted(options.items()))])
    path = storage.make_folder(out) / f"{same}_seed-{seed}.json"  # what two subjects share is trained once
    if not path.exists():
        start = time.monotonic()
        found = function(out, seed, **options)
        numbers = {name: round(float(value), 4) for name, value in found.items()}
        numbers["seconds"] = round(time.monotonic() - start, 1)
        storage.write_files({path: storage.pack_json(numbers)})
    return storage.read_json(path)
