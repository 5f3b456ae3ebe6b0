"""Ablations of the papers' choices on generated scenes: each is left out in turn, with three seeds.

Position codes (DETR's table 3), box losses (its table 4), masked attention (Mask2Former's table 4), shifted windows (Swin's
table 4). `results` reads the measured results; scripts/run_ablations.py measures them again.
Not here: the recipes of the models in the package.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np

from minivis import ops, optim, storage
from minivis.autograd import no_grad
from minivis.data import DataLoader, shapes
from minivis.data.loader import stack
from minivis.losses import HungarianMatcher, Mask2FormerCriterion, SetCriterion
from minivis.nn import Module
from minivis.nn.module import as_tensor
from minivis.recipes import _shapes, mask2former_shapes, swin_shapes
from minivis.recipes.detr_shapes import small_detr
from minivis.train import fit

__all__ = ["CHOICES", "results"]

RESULTS = Path(__file__).with_suffix(".json")
SEEDS = (0, 1, 2)
STEPS = {"backbone": 1050, "detr": 1200, "mask2former": 400, "swin": 700}
SCENES = 4000  # used again in every epoch: drawing new ones would take longer than training on them


def results():
    """The measured results.

    Returns
    -------
    dict
        ``results()[subject][choice][metric]`` is a list with one number for each seed. Subjects are "positions",
        "losses", "attention" and "windows". They were measured on the validation split, which was not used in training.

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


class Seen(Module):
    """A frozen backbone. It takes pictures, or their feature maps from `see`, which it then only splits.

    Its maps have 16 x 16 and 8 x 8 cells; the third, of 4 x 4, is the second averaged.
    """

    def __init__(self, body):
        self.body = body.requires_grad_(False)
        self.channels = (*body.channels, body.channels[-1])

    def see(self, images):
        """The two feature maps of pictures in one array, (B, C0 + C1 / 4, 16, 16)."""
        with no_grad():
            fine, coarse = (x.numpy() for x in self.body.features(images))
        return np.concatenate([fine, coarse.reshape(len(coarse), -1, *fine.shape[2:])], axis=1)

    def features(self, images):
        """The three maps."""
        seen = as_tensor(self.see(images) if images.shape[1] == 3 else images)
        (B, _, rows, columns) = seen.shape
        fine = self.channels[0]
        coarse = seen[:, fine:].reshape(B, self.channels[1], rows // 2, columns // 2)
        return [seen[:, :fine], coarse, ops.avg_pool2d(coarse, 2)]


@lru_cache(maxsize=1)
def backbone(out):
    """A backbone pretrained on pixels as in detr-shapes, in fewer steps. It is trained once for all choices and seeds."""
    rng = np.random.default_rng(0)
    body = _shapes.small_backbone(rng)
    kept = Path(out) / "backbone"
    if not (kept / "model.safetensors").exists():
        _shapes.pretrain(body, out, STEPS["backbone"], rng, True, seed=0)
    storage.load(kept, into=_shapes.PixelNamer(body, rng))
    return Seen(body)


@lru_cache(maxsize=1)
def _scenes(out, seed):
    """The training scenes of a seed: feature maps of the backbone, targets without and with grounds."""
    scenes = list(shapes.Scenes(SCENES, "train", seed, sample=lambda scene: scene))
    blocks = [scenes[i : i + 50] for i in range(0, len(scenes), 50)]
    maps = [backbone(out).see(np.stack([scene.image for scene in block])) for block in blocks]
    targets = [[scene.target(grounds) for scene in scenes] for grounds in (False, True)]
    return np.concatenate(maps), *targets


@lru_cache(maxsize=1)
def _pictures(seed):
    """The training scenes of a seed, and the class of every pixel."""
    return stack(list(shapes.Scenes(SCENES, "train", seed, sample=_shapes.with_pixels)))


def detr(out, seed, position="sine_attention", l1=5, giou=2):
    """AP and AP50 of a DETR with the given position codes and box losses."""
    rng = np.random.default_rng(seed)
    (maps, targets, _) = _scenes(out, seed)
    options = {"position": position, "feature_level": 1, "width": 64, "mlp_width": 256}
    model = small_detr(backbone(out), len(shapes.THINGS), rng, **options)
    matcher = HungarianMatcher(box_weight=l1, giou_weight=giou)
    weights = {"loss_bbox": l1, "loss_giou": giou}
    criterion = SetCriterion(len(shapes.THINGS), matcher, weights=weights, no_object=0.2)
    _fit(model, _set_loss(criterion), STEPS["detr"], rng, list(zip(maps, targets, strict=True)))
    found = _shapes.measure_boxes(model, split="validation")
    return {"AP": found["AP"], "AP50": found["AP50"]}


def mask2former(out, seed, masked=True):
    """PQ of a Mask2Former with masked attention or plain cross-attention."""
    rng = np.random.default_rng(seed)
    (maps, _, targets) = _scenes(out, seed)
    model = mask2former_shapes.small_mask2former(backbone(out), rng, masked=masked, width=64, mlp_width=256)
    criterion = Mask2FormerCriterion(len(shapes.CLASSES), points=256, rng=rng)
    _fit(model, _set_loss(criterion), STEPS["mask2former"], rng, list(zip(maps, targets, strict=True)))
    found = _shapes.measure_panoptic(model, mask2former_shapes.merge, split="validation")
    return {"PQ": found["PQ"]}


def swin(out, seed, shift=True):
    """Mean IoU of a Swin that classifies pixels, with shifted windows or with the same windows in every layer."""
    rng = np.random.default_rng(seed)
    model = _shapes.PixelNamer(swin_shapes.small_swin(rng, shift), rng)
    _fit(model, _shapes.classify, STEPS["swin"], rng, _pictures(seed), stack)
    return _shapes.measure_pixels(model, split="validation")


def _set_loss(criterion):
    return lambda model, maps, targets: criterion(model(maps), targets)["loss"]


def _fit(model, loss, steps, rng, scenes, collate=shapes.collate):
    schedule = optim.one_cycle(steps, warmup=0.1)
    optimizer = optim.AdamW(optim.decay_groups(model, 1e-4), lr=1e-3, schedule=schedule)
    fit(
        model,
        DataLoader(scenes, 16, shuffle=True, rng=rng, collate=collate),
        loss,
        optimizer,
        steps,
        clip=1.0,
    )


def about():
    """What the file of the results says beside them."""
    return {
        "steps": STEPS,
        "training scenes": f"{SCENES} a seed, gone through again and again, 16 a step",
        "scenes": "500 of the validation split",
    }


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
