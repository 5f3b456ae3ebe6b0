"""From pixels to masks to Mask2Former: classes of pixels against classes of masks, then each change of Mask2Former alone.

All read the maps of one backbone that stays as it is. `results` reads what was measured; scripts/run_ablations.py measures it
again.
Not here: the training of the model in the package (maskformer_shapes.py), masked attention with more seeds (ablations.py).
"""

import time
import tracemalloc
from functools import lru_cache
from pathlib import Path

import numpy as np

from minivis import ops, optim, storage
from minivis.autograd import no_grad
from minivis.data import DataLoader, shapes
from minivis.data.loader import stack
from minivis.losses import Mask2FormerCriterion, MaskFormerCriterion
from minivis.models import Mask2Former
from minivis.models.common import map_to_tokens
from minivis.models.mask_classification import constant, grid_codes, top_down
from minivis.nn import Conv2d, Module, Parameter
from minivis.recipes import _shapes, ablations, maskformer_shapes
from minivis.train import fit

__all__ = ["CHOICES", "PerPixel", "Seen", "between", "results"]

RESULTS = Path(__file__).with_suffix(".json")
SEEDS = (0, 1, 2)
STEPS = 500
SCENES = 3000  # used again in every epoch: drawing new ones would take longer than training on them
VALIDATION = 300
BATCH = 16
POINTS = 256


def results():
    """The measured results.

    Returns
    -------
    dict
        ``results()[subject][choice][metric]`` is a list with one number for each seed. Subjects are "classes" (of pixels, or
        of masks), "changes" (of Mask2Former, added to MaskFormer one at a time, and all together), and "as published" (what
        the model in the package does otherwise). Metrics: "mIoU", "PQ", "PQ_things",
        "PQ_stuff" on scenes of the validation split; "seconds a step" of processor time; "megabytes of the loss": what the
        loss of one batch keeps in memory for the backward pass; "PQ, a segment a class", of pixels alone.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing or broken.

    Examples
    --------
    >>> sorted(results())
    ['as published', 'changes', 'classes']
    """
    return storage.read_json(RESULTS)["results"]


class Seen(ablations.Seen):
    """A frozen backbone of two maps, 16 x 16 and 8 x 8 cells. It takes pictures, or their maps from `see`."""

    def __init__(self, body):
        super().__init__(body)
        self.channels = body.channels

    def features(self, images):
        """The two maps, finer first."""
        return super().features(images)[:2]


def prepare(out, seed):
    """Train the backbone, if it is not there; it is the same for all seeds."""
    frozen_backbone(out)


@lru_cache(maxsize=1)
def frozen_backbone(out):
    """The backbone of maskformer-shapes as it is before its second part. It is trained once for all choices and seeds."""
    steps = maskformer_shapes.STEPS // 2
    body, _ = _shapes.trunk(out, steps, np.random.default_rng(0), True, 0, **maskformer_shapes.TRUNK)
    return Seen(body)


@lru_cache(maxsize=1)
def _scenes(out):
    """The training scenes: feature maps of the backbone, targets with grounds, and the classes of the pixels."""
    scenes = list(shapes.Scenes(SCENES, "train", 0, sample=lambda scene: scene))
    blocks = [scenes[i : i + 50] for i in range(0, len(scenes), 50)]
    maps = [frozen_backbone(out).see(np.stack([scene.image for scene in block])) for block in blocks]
    targets = [scene.target(grounds=True) for scene in scenes]
    return np.concatenate(maps), targets, [scene.semantic for scene in scenes]


# ------------------------------------------------------------------ a class for each pixel


class PerPixel(Module):
    """The encoder and the pixel decoder of MaskFormer, and one linear layer: the class of every pixel.

    Parameters
    ----------
    body : Module
        The backbone.
    rng : numpy.random.Generator
        Draws the starting values.
    """

    def __init__(self, body, rng):
        self.backbone = body
        self.pixel_decoder = maskformer_shapes.small_maskformer(body, rng).pixel_decoder
        channels = self.pixel_decoder.mask_features.weight.shape[0]
        self.classify = Conv2d(channels, len(shapes.CLASSES), 1, rng=rng)

    def forward(self, images):
        """Logits (B, K, H, W) of images (B, 3, H, W), or of their maps."""
        pixels, _ = self.pixel_decoder(self.backbone.features(images))
        return ops.interpolate(self.classify(pixels), size=(shapes.SIZE, shapes.SIZE), mode="bilinear")

    def answers(self, images):
        """Panoptic maps by connected regions, and the classes of the pixels (B, H, W)."""
        named = self(images).numpy().argmax(axis=1)
        return [maskformer_shapes.regions(one, _shapes.THINGS) for one in named], named


def per_pixel(out, seed):
    """A class for each pixel: cross-entropy of all pixels."""
    rng = np.random.default_rng(seed)
    model = PerPixel(frozen_backbone(out), rng)
    (maps, _, classes) = _scenes(out)
    seconds = _fit(model, _shapes.classify, rng, list(zip(maps, classes, strict=True)), stack)
    found = _measured(model.answers)
    joined = maskformer_shapes.measure_answers(_a_segment_a_class(model), VALIDATION, "validation")
    return {**found, "PQ, a segment a class": joined["PQ"], "seconds a step": seconds}


def _a_segment_a_class(model):
    """All pixels of a class are one segment: what the classes of pixels say without guessing at regions."""
    nothing = np.zeros(len(shapes.CLASSES), bool)

    def answers(images):
        maps, named = model.answers(images)
        return [maskformer_shapes.regions(one, nothing) for one in named], named

    return answers


# ------------------------------------------------------------------ a class for each mask


class _Pyramid(Module):
    """MaskFormer's pixel decoder, with what the decoder layers of Mask2Former ask for.

    ``levels`` is 1 or 2: they read the map after the encoder, or also the finest map of the pyramid.
    """

    def __init__(self, decoder, levels):
        self.decoder, self.levels = decoder, levels

    def forward(self, maps):
        *fine, coarsest = maps
        decoder = self.decoder
        coarse = decoder._encode(decoder.input_proj(coarsest))
        y = top_down(ops.relu(decoder.stem(coarse)), fine[::-1], decoder.lateral, decoder.output, "nearest")
        return decoder.mask_features(y), *_for_layers([coarse, y][: self.levels])


def _for_layers(maps):
    """Tokens, position codes and sizes of maps, coarsest first."""
    codes = [constant(grid_codes, x, *x.shape[2:], x.shape[1]) for x in maps]
    return [map_to_tokens(x) for x in maps], codes, [x.shape[2:] for x in maps]


class _Coarsest(Module):
    """A pixel decoder of which the decoder layers see only the coarsest map."""

    def __init__(self, decoder):
        self.decoder = decoder

    def forward(self, maps):
        pixels, *rest = self.decoder(maps)
        return pixels, *(values[:1] for values in rest)


def between(
    body, rng, masked=False, scales=False, map_first=False, learned=False, deformable=False, norm_first=True
):
    """A model between MaskFormer and Mask2Former. Without changes it computes what `small_maskformer` does.

    Parameters
    ----------
    body : Module
        A backbone with maps of two sizes.
    rng : numpy.random.Generator
        Draws the starting values.
    masked : bool
        Masked attention.
    scales : bool
        The decoder layers read two maps in turn, the coarse one first, instead of the coarse one.
    map_first : bool
        A decoder layer begins with attention to the map, not with self-attention.
    learned : bool
        The queries' features are learned, and predict masks before the first layer.
    deformable : bool
        Deformable attention among both maps in the pixel decoder, instead of plain attention on the coarse one.
    norm_first : bool
        Norms before the branches; False is as published.

    Returns
    -------
    Mask2Former
    """
    reference = maskformer_shapes.small_maskformer(body, rng, norm_first=norm_first)
    (queries, width) = reference.queries.shape
    levels = 2 if scales else 1
    model = Mask2Former(
        body, len(shapes.CLASSES), queries, width, heads=4, decoder_depth=len(reference.transformer.decoder),
        pixel_depth=1, mlp_width=64, pixel_mlp_width=64, mask_width=reference.mask_head[-1].weight.shape[0],
        levels=2 if deformable else levels, groups=8, masked=masked, self_first=not map_first,
        learned_features=learned, norm_first=norm_first, rng=rng,
    )  # fmt: skip
    if not deformable:
        model.pixel_decoder = _Pyramid(reference.pixel_decoder, levels)
    elif not scales:
        model.pixel_decoder = _Coarsest(model.pixel_decoder)
    model.levels = levels
    if not scales:  # one map needs no code of its own
        model.level_embed = Parameter(np.zeros((1, width), np.float32), requires_grad=False)
    return model


def masks(out, seed, loss="cross-entropy", **changes):
    """A class for each mask: MaskFormer with the given changes, or none; ``loss`` is one of `LOSSES`."""
    rng = np.random.default_rng(seed)
    build = between if changes else maskformer_shapes.small_maskformer
    model = build(frozen_backbone(out), rng, **changes)
    compare = LOSSES[loss](rng)

    def set_loss(model, maps, targets):
        return compare(model(maps), targets)["loss"]

    (maps, targets, _) = _scenes(out)
    seconds = _fit(model, set_loss, rng, list(zip(maps, targets, strict=True)), shapes.collate)
    found = _measured(maskformer_shapes.answers(model))
    kept = _kept(model, compare, maps[:BATCH], targets[:BATCH])
    return {**found, "megabytes of the loss": kept, "seconds a step": seconds}


def _kept(model, compare, maps, targets):
    """Megabytes that the loss of one batch keeps for its backward pass, beside the model's own."""
    output = model(maps)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    value = compare(output, targets)["loss"]
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del value
    return (after - before) / 1e6


def _fit(model, loss, rng, scenes, collate):
    """Train; returns the seconds of processor time of a step."""
    schedule = optim.one_cycle(STEPS, warmup=0.1)
    optimizer = optim.AdamW(optim.decay_groups(model, 1e-4), lr=1e-3, schedule=schedule)
    batches = DataLoader(scenes, BATCH, shuffle=True, drop_last=True, rng=rng, collate=collate)
    start = time.process_time()
    fit(model, batches, loss, optimizer, STEPS, clip=1.0)
    return (time.process_time() - start) / STEPS


def _measured(answers):
    """The figures on scenes of the validation split."""
    with no_grad():
        found = maskformer_shapes.measure_answers(answers, VALIDATION, "validation")
    return {name: found[name] for name in ("mIoU", "PQ", "PQ_things", "PQ_stuff")}


def about():
    """What the file of the results says beside them."""
    return {
        "steps": {"backbone": maskformer_shapes.STEPS // 2, "each": STEPS},
        "training scenes": f"{SCENES}, gone through again and again, {BATCH} a step",
        "metrics": f"{VALIDATION} scenes of the validation split; things of pixels alone are connected regions of "
        f"{maskformer_shapes.LEAST} pixels or more",
        "points": f"{POINTS} a mask, otherwise {shapes.SIZE**2} pixels",
    }


ALL = {"masked": True, "scales": True, "map_first": True, "learned": True, "deformable": True}
LOSSES = {
    "cross-entropy": lambda _: maskformer_shapes.criterion(),
    "focal": lambda _: MaskFormerCriterion(len(shapes.CLASSES)),
    "points": lambda rng: Mask2FormerCriterion(len(shapes.CLASSES), points=POINTS, rng=rng),
}
CHOICES = {
    "classes": {"of pixels": (per_pixel, {}), "of masks": (masks, {})},
    "changes": {
        "MaskFormer": (masks, {}),
        "masked attention": (masks, {"masked": True}),
        "maps in turn": (masks, {"scales": True}),
        "map before self-attention": (masks, {"map_first": True}),
        "learned query features": (masks, {"learned": True}),
        "deformable pixel decoder": (masks, {"deformable": True}),
        "loss at points": (masks, {"loss": "points"}),
        "all together": (masks, {**ALL, "loss": "points"}),
    },
    "as published": {
        "ours": (masks, {}),
        "norms after the branches": (masks, {"norm_first": False}),
        "focal loss 20, dice 1, class 1": (masks, {"loss": "focal"}),
    },
}
