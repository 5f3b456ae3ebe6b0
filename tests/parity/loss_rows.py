"""The set losses that are compared with transformers: predictions, targets, and both ways to compute every term.

Not here: the comparison (test_loss_parity.py). Predictions and targets are drawn from the rows' names, so only results
are stored. Nothing here imports torch until `theirs` is called.
"""

import contextlib
import zlib
from dataclasses import dataclass, field
from types import SimpleNamespace
from unittest import mock

import numpy as np

from minivis import Tensor
from minivis.losses import (
    FocalMatcher,
    HungarianMatcher,
    Mask2FormerCriterion,
    MaskFormerCriterion,
    MaskFormerMatcher,
    MaskMatcher,
    RTDETRCriterion,
    SetCriterion,
)
from tests.parity.make_torchvision_fixtures import torchvision_models

CLASSES = 4
SEED = 20  # of the points of Mask2Former: torch.rand is given the same numbers in the same order


@dataclass(frozen=True)
class Row:
    """One comparison: which loss, how many objects the images have, sizes and options."""

    key: str
    counts: tuple
    queries: int = 6
    layers: int = 1
    grid: tuple | None = None  # of predicted masks
    sizes: tuple = ()  # of the masks of each image
    weights: dict = field(default_factory=dict)
    matcher: tuple = (1, 5, 2)
    no_object: float = 0.1
    sampling: dict | None = None  # Mask2Former's
    whole: bool = False  # whole masks are matched, as by MaskFormer
    focal: tuple | None = None  # RT-DETR's: alpha and gamma of the matcher, and of the loss

    def rng(self):
        return np.random.default_rng(zlib.crc32(self.key.encode()))

    def predictions(self):
        """The fields of every layer, the last layer first: arrays by name."""
        rng = self.rng()
        shape = (len(self.counts), self.queries)
        layers = []
        for i in range(self.layers):
            fields = {"logits": 2 * rng.standard_normal((*shape, CLASSES + (self.focal is None)))}
            if self.sampling is None and not self.whole:
                fields["boxes"] = 1 / (1 + np.exp(-rng.standard_normal((*shape, 4))))
            if self.grid and (self.sampling or self.whole or i == 0):
                fields["masks"] = 2 * rng.standard_normal((*shape, *self.grid))
            layers.append(fields)
        return layers

    def targets(self):
        rng = np.random.default_rng(zlib.crc32(f"{self.key} targets".encode()))
        targets = []
        for i, count in enumerate(self.counts):
            target = {"labels": rng.integers(0, CLASSES, count)}
            centre, size = rng.uniform(0.2, 0.8, (count, 2)), rng.uniform(0.05, 0.4, (count, 2))
            target["boxes"] = np.concatenate([centre, size], axis=1)
            if self.grid:
                size = self.sizes[i % len(self.sizes)]
                target["masks"] = rng.random((count, *size)) < rng.choice([0, 0.3, 0.7], (count, 1, 1))
            targets.append(target)
        return targets

    def cotangent(self, name):
        """How much a term counts beside the total when gradients are compared."""
        return np.random.default_rng(zlib.crc32(f"{self.key} {name}".encode())).standard_normal()


RTDETR = {"matcher": (2, 5, 2), "focal": (0.25, 2.0, 0.75, 2.0)}
POINTS = {"points": 30, "oversample": 3.0, "importance": 0.75}
ROWS = [
    Row("detr", (2, 4, 3)),
    Row("detr layers, an image without objects", (2, 0, 4), layers=3),
    Row("detr, more objects than queries", (5, 1, 3), queries=3, layers=2),
    Row("detr, nothing anywhere", (0, 0), layers=2),
    Row("detr weights", (2, 3), layers=2, weights={"loss_bbox": 0.5, "loss_giou": 3}, matcher=(2, 0, 1), no_object=0.4),
    Row("panoptic", (2, 0, 4), layers=2, grid=(4, 5), sizes=((9, 13),)),
    Row("panoptic sizes", (2, 3, 1), grid=(5, 4), sizes=((9, 7), (12, 6)), weights={"loss_mask": 2, "loss_dice": 0.7}),
    Row("panoptic, more objects than queries", (4, 1), queries=2, grid=(3, 3), sizes=((6, 6),)),
    Row("mask2former", (2, 4, 3), grid=(5, 7), sizes=((20, 28),), sampling=POINTS, matcher=(2, 5, 5)),
    Row(
        "mask2former layers, an image without objects", (2, 0, 3), layers=3, grid=(4, 4), sizes=((13, 13),),
        sampling=POINTS, matcher=(2, 5, 5),
    ),
    Row(
        "mask2former, more objects than queries", (5, 1), queries=3, layers=2, grid=(4, 6), sizes=((8, 12),),
        sampling=POINTS, matcher=(2, 5, 5),
    ),
    Row("mask2former, nothing anywhere", (0, 0), grid=(4, 4), sizes=((8, 8),), sampling=POINTS, matcher=(2, 5, 5)),
    Row(
        "mask2former options", (3, 2), layers=2, grid=(6, 5), sizes=((9, 9),), matcher=(1, 3, 2), no_object=0.3,
        weights={"loss_ce": 1, "loss_mask": 3, "loss_dice": 2}, sampling={"points": 17, "oversample": 2.5, "importance": 1.0},
    ),
    Row("maskformer", (2, 4, 3), grid=(5, 7), sizes=((20, 28),), matcher=(1, 20, 1), whole=True),
    Row(
        "maskformer layers, an image without objects, sizes that do not divide", (2, 0, 3), layers=3, grid=(4, 6),
        sizes=((13, 15),), matcher=(1, 20, 1), whole=True,
    ),
    Row(
        "maskformer, more objects than queries", (5, 1), queries=3, layers=2, grid=(4, 6), sizes=((8, 12),),
        matcher=(1, 20, 1), whole=True,
    ),
    Row("maskformer, nothing anywhere", (0, 0), grid=(4, 4), sizes=((8, 8),), matcher=(1, 20, 1), whole=True),
    Row(
        "maskformer options", (3, 2), layers=2, grid=(6, 5), sizes=((9, 9),), matcher=(1, 3, 2), no_object=0.3,
        weights={"loss_ce": 2, "loss_mask": 3, "loss_dice": 2}, whole=True,
    ),
    Row("rt-detr", (2, 4, 3), layers=2, **RTDETR),
    Row("rt-detr layers, an image without objects", (2, 0, 4), layers=4, **RTDETR),
    Row("rt-detr, more objects than queries", (5, 1, 3), queries=3, layers=2, **RTDETR),
    Row("rt-detr, nothing anywhere", (0, 0), layers=3, **RTDETR),
    Row(
        "rt-detr options", (2, 3), layers=3, weights={"loss_vfl": 2, "loss_bbox": 0.5, "loss_giou": 3}, matcher=(1, 0, 1),
        focal=(0.4, 1.5, 0.6, 1.5),
    ),
]  # fmt: skip


def _gathered(row, layers, loss, terms, gradient):
    """Every term, and the gradients of the total and a random mixture of the terms."""
    found = {"loss": loss, **terms}
    for i, fields in enumerate(layers):
        found |= {f"gradient of {name} {i}": gradient(x) for name, x in fields.items()}
    return found


def ours(row):
    """The row by minivis, in float64."""
    layers = [
        {name: Tensor(x, requires_grad=True) for name, x in fields.items()} for fields in row.predictions()
    ]
    output, *auxiliary = [SimpleNamespace(**fields) for fields in layers]
    output.auxiliary = auxiliary
    if row.focal:
        matcher = FocalMatcher(*row.matcher, *row.focal[:2])
        criterion = RTDETRCriterion(CLASSES, matcher, row.weights, *row.focal[2:])
    elif row.whole:
        criterion = MaskFormerCriterion(CLASSES, MaskFormerMatcher(*row.matcher), row.weights, row.no_object)
    elif row.sampling is None:
        criterion = SetCriterion(CLASSES, HungarianMatcher(*row.matcher), row.weights, row.no_object)
    else:
        rng = np.random.default_rng(SEED)
        matcher = MaskMatcher(*row.matcher, points=row.sampling["points"], rng=rng)
        criterion = Mask2FormerCriterion(
            CLASSES, matcher, row.weights, row.no_object, rng=rng, **row.sampling
        )
    terms = criterion(output, row.targets())
    mixture = sum((value * row.cotangent(name) for name, value in terms.items()), terms["loss"])
    mixture.backward()
    terms = {name: value.numpy() for name, value in terms.items()}
    return _gathered(row, layers, terms.pop("loss"), terms, lambda x: x.grad)


def _detr_loss(torch, row, layers, targets):
    from transformers import DetrConfig
    from transformers.loss.loss_for_object_detection import ForObjectDetectionLoss, ForSegmentationLoss

    weights = {"loss_bbox": 5, "loss_giou": 2, "loss_mask": 1, "loss_dice": 1, **row.weights}
    names = {"loss_bbox": "bbox", "loss_giou": "giou", "loss_mask": "mask", "loss_dice": "dice"}
    config = DetrConfig(
        num_labels=CLASSES,
        auxiliary_loss=row.layers > 1,
        decoder_layers=row.layers,
        eos_coefficient=row.no_object,
        class_cost=row.matcher[0],
        bbox_cost=row.matcher[1],
        giou_cost=row.matcher[2],
        **{f"{names[name]}_loss_coefficient": weight for name, weight in weights.items()},
    )
    labels = [{("class_labels" if name == "labels" else name): x for name, x in t.items()} for t in targets]
    last, *earlier = layers
    stacks = [torch.stack([fields[name] for fields in [*earlier, last]]) for name in ("logits", "boxes")]
    masks = [last["masks"]] if row.grid else []
    function = ForSegmentationLoss if row.grid else ForObjectDetectionLoss
    loss, terms, _ = function(last["logits"], labels, "cpu", last["boxes"], *masks, config, *stacks)
    return loss, {name: x for name, x in terms.items() if "cardinality" not in name}


def _rt_detr_loss(torch, row, layers, targets):
    """Their auxiliary outputs are the decoder layers, then the chosen pixels; ours begin with these."""
    from transformers import RTDetrConfig
    from transformers.loss.loss_rt_detr import RTDetrForObjectDetectionLoss

    weights = {"loss_vfl": 1, "loss_bbox": 5, "loss_giou": 2, **row.weights}
    alpha, gamma, *of_loss = row.focal
    config = RTDetrConfig(
        num_labels=CLASSES,
        matcher_class_cost=row.matcher[0],
        matcher_bbox_cost=row.matcher[1],
        matcher_giou_cost=row.matcher[2],
        matcher_alpha=alpha,
        matcher_gamma=gamma,
        focal_loss_alpha=of_loss[0],
        focal_loss_gamma=of_loss[1],
        **{f"weight_{name}": weight for name, weight in weights.items()},
    )
    labels = [{"class_labels": t["labels"], "boxes": t["boxes"]} for t in targets]
    last, pixels, *earlier = layers
    decoder = [*earlier, last]
    loss, terms, _ = RTDetrForObjectDetectionLoss(
        last["logits"],
        labels,
        "cpu",
        last["boxes"],
        config,
        outputs_class=torch.stack([x["logits"] for x in decoder], dim=1),
        outputs_coord=torch.stack([x["boxes"] for x in decoder], dim=1),
        enc_topk_logits=pixels["logits"],
        enc_topk_bboxes=pixels["boxes"],
    )
    found = {}
    for name, x in terms.items():
        term, _, number = name.partition("_aux_")
        ours = f"{term}_{(int(number) + 1) % len(decoder)}" if number else term
        found[ours] = x / weights[term]
    return loss, found


def _mask2former_loss(torch, row, layers, targets):
    from transformers import Mask2FormerConfig
    from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

    weights = {"loss_ce": 2, "loss_mask": 5, "loss_dice": 5, **row.weights}
    config = Mask2FormerConfig(
        class_weight=row.matcher[0],
        mask_weight=row.matcher[1],
        dice_weight=row.matcher[2],
        no_object_weight=row.no_object,
        train_num_points=row.sampling["points"],
        oversample_ratio=row.sampling["oversample"],
        importance_sample_ratio=row.sampling["importance"],
        num_labels=CLASSES,
    )
    rng = np.random.default_rng(SEED)
    with mock.patch.object(torch, "rand", lambda *shape, device=None: torch.tensor(rng.random(shape))):
        return _of_masks(torch, Mask2FormerLoss(config, weights), weights, layers, targets)


def _maskformer_loss(torch, row, layers, targets):
    from transformers.models.maskformer.modeling_maskformer import MaskFormerHungarianMatcher, MaskFormerLoss

    weights = {"loss_ce": 1, "loss_mask": 20, "loss_dice": 1, **row.weights}
    loss = MaskFormerLoss(CLASSES, MaskFormerHungarianMatcher(*row.matcher), weights, row.no_object)
    return _of_masks(torch, loss, weights, layers, targets)


def _of_masks(torch, function, weights, layers, targets):
    """The weighted sum of the terms, as the model adds them, and the terms."""
    last, *earlier = [
        {"class_queries_logits": x["logits"], "masks_queries_logits": x["masks"]} for x in layers
    ]
    terms = function(
        mask_labels=[t["masks"].to(torch.float64) for t in targets],
        class_labels=[t["labels"] for t in targets],
        auxiliary_predictions=earlier,
        **last,
    )
    terms = {name.replace("cross_entropy", "ce"): x for name, x in terms.items()}
    loss = sum(x * weights[name.rstrip("_0123456789")] for name, x in terms.items())
    return loss, terms


def theirs(row):
    """The same by transformers, under our names."""
    import torch

    with contextlib.suppress(ImportError):  # transformers imports it where it is there
        torchvision_models()
    torch.set_default_dtype(torch.float64)
    layers = [
        {name: torch.tensor(x, requires_grad=True) for name, x in fields.items()}
        for fields in row.predictions()
    ]
    targets = [{name: torch.tensor(x) for name, x in target.items()} for target in row.targets()]
    function = _maskformer_loss if row.whole else _mask2former_loss if row.sampling else _detr_loss
    function = _rt_detr_loss if row.focal else function
    loss, terms = function(torch, row, layers, targets)
    mixture = loss + sum(x * row.cotangent(name) for name, x in {"loss": loss, **terms}.items())
    mixture.backward()
    terms = {name: x.detach().numpy() for name, x in terms.items()}
    return _gathered(row, layers, loss.detach().numpy(), terms, lambda x: x.grad.numpy())
