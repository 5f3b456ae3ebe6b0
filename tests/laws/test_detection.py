"""Detection's laws against answers written otherwise, right and wrong, of the kind people write.

Not here: the mutants of the catalogue (test_catalogue.py), minivis' own functions (test_minivis.py).
"""

import itertools

import numpy as np
import pytest
import scipy.optimize
import scipy.special

from minivis import laws


def iou(boxes1, boxes2, eps=0.0, plus=0.0, union=None, least=0.0):
    """IoU pair by pair, as in a first attempt; ``plus`` is the 1 of those who count pixels."""
    out = np.zeros((len(boxes1), len(boxes2)), boxes1.dtype)
    for i, a in enumerate(boxes1):
        for j, b in enumerate(boxes2):
            w = min(a[2], b[2]) - max(a[0], b[0]) + plus
            h = min(a[3], b[3]) - max(a[1], b[1]) + plus
            shared = max(w, least) * max(h, least)
            areas = [(c[2] - c[0] + plus) * (c[3] - c[1] + plus) for c in (a, b)]
            whole = union(*areas) if union else areas[0] + areas[1] - shared
            out[i, j] = shared / (whole + eps) if whole + eps > 0 else 0
    return out


def giou(boxes1, boxes2, eps=1e-7, below="enclosure", clip=lambda sides: np.clip(sides, 0, None)):
    a = boxes1[:, None]
    b = boxes2[None]
    inner = clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]))
    outer = np.maximum(a[..., 2:], b[..., 2:]) - np.minimum(a[..., :2], b[..., :2])
    area = [(c[..., 2] - c[..., 0]) * (c[..., 3] - c[..., 1]) for c in (a, b)]
    shared, enclosure = inner.prod(-1), outer.prod(-1)
    union = area[0] + area[1] - shared
    return shared / (union + eps) - (enclosure - union) / (
        (enclosure if below == "enclosure" else union) + eps
    )


def split(boxes):
    cx, cy, w, h = np.moveaxis(boxes, -1, 0)
    return np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], axis=-1)


def brute_force(cost):
    if cost.shape[0] > cost.shape[1]:
        columns, rows = brute_force(cost.T)
        return rows, columns
    rows = np.arange(len(cost))
    orders = itertools.permutations(range(cost.shape[1]), len(cost))
    best = min(orders, key=lambda order: sum(cost[i, j] for i, j in enumerate(order)))
    return rows, np.array(best, dtype=int)


def suppress(
    boxes, scores, threshold, reverse=True, keep=lambda overlap, threshold: overlap <= threshold, order=None
):
    """With a list that shrinks; ties the other way around than a stable sort has them."""
    left = list(np.argsort(scores, kind="stable"))
    left = left[::-1] if reverse else left
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [i for i in left if keep(iou(boxes[[best]], boxes[[i]])[0, 0], threshold)]
    return np.array(kept, dtype=int)


def dice(logits, targets, smooth=1, axis=1):
    p = scipy.special.expit(logits)
    score = (2 * (p * targets).sum(axis) + smooth) / (p.sum(axis) + targets.sum(axis) + smooth)
    return np.mean(1 - score)


def focal(logits, targets, alpha=0.25, gamma=2):
    ce = np.logaddexp(0, logits) - logits * targets
    p = scipy.special.expit(logits)
    p_t = p * targets + (1 - p) * (1 - targets)
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    return (weight * ce * (1 - p_t) ** gamma).mean(axis=1).mean()


RIGHT = [
    ("box_iou", iou),
    ("box_iou", lambda a, b: iou(a, b, eps=1e-7)),
    ("generalized_box_iou", giou),
    ("generalized_box_iou", lambda a, b: giou(a, b, eps=1e-9)),
    ("box_cxcywh_to_xyxy", split),
    ("linear_sum_assignment", scipy.optimize.linear_sum_assignment),
    ("linear_sum_assignment", brute_force),
    ("linear_sum_assignment", lambda cost: [part[::-1].tolist() for part in brute_force(cost)] if cost.size else
     brute_force(cost)),
    ("nms", suppress),
    ("dice_loss", dice),
    ("sigmoid_focal_loss", focal),
]  # fmt: skip


@pytest.mark.parametrize(("name", "right"), RIGHT, ids=[f"{n}-{i}" for i, (n, _) in enumerate(RIGHT)])
def test_another_right_answer_passes_in_time(name, right):
    report = laws.judge(name, right)
    assert report.passed, str(report)
    assert report.seconds < 3


def by_shape(cost):
    """Right for squares; anything else is cut to one."""
    n = min(cost.shape)
    return scipy.optimize.linear_sum_assignment(cost[:n, :n])


def apart_along_both(sides):
    return np.where((sides < 0).all(axis=-1, keepdims=True), 0, sides)


def subtracts(cost):
    if cost.size:
        cost -= cost.min(axis=1, keepdims=True)
    return scipy.optimize.linear_sum_assignment(cost)


WRONG = [
    ("box_iou", "shared over covered", lambda a, b: iou(a, b, plus=1.0)),
    ("box_iou", "shared over covered", lambda a, b: iou(a, b, union=lambda a, b: a + b)),
    ("box_iou", "shared over covered", lambda a, b: iou(split(a), split(b))),
    ("box_iou", "any unit", lambda a, b: iou(a, b, eps=1e-2)),
    ("box_iou", "agrees on anything", lambda a, b: iou(a, b, least=1.0)),
    ("generalized_box_iou", "formula", lambda a, b: giou(a, b, below="union")),
    ("generalized_box_iou", "from -1 to 1", lambda a, b: giou(a, b, below="union")),
    ("generalized_box_iou", "the further, the lower", iou),
    ("generalized_box_iou", "empty boxes", lambda a, b: giou(a, b, eps=0)),
    ("generalized_box_iou", "agrees on anything", lambda a, b: giou(a, b, clip=apart_along_both)),  # passed once
    ("generalized_box_iou", "agrees on anything", lambda a, b: giou(a, b, clip=lambda s: np.maximum(s, -1))),  # too
    ("box_cxcywh_to_xyxy", "half to each side", lambda boxes: np.concatenate(
        [boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], axis=-1)),
    ("box_xyxy_to_cxcywh", "size", lambda boxes: np.concatenate(
        [(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:]], axis=-1)),
    ("linear_sum_assignment", "one to one", lambda cost: (np.arange(len(cost)), cost.argmin(axis=1))),
    ("linear_sum_assignment", "least cost", lambda cost: scipy.optimize.linear_sum_assignment(-cost)),
    ("linear_sum_assignment", "more columns than rows", by_shape),
    ("linear_sum_assignment", "more rows than columns", by_shape),
    ("linear_sum_assignment", "inputs left alone", subtracts),
    ("linear_sum_assignment", "least cost", lambda cost: brute_force(cost)[1]),
    ("nms", "the best stays", lambda b, s, t: suppress(b, s, t, reverse=False)),
    ("nms", "overlap is IoU", lambda b, s, t: suppress(b, s, t, keep=lambda overlap, t: overlap == 0)),
    ("nms", "no two overlap", lambda b, s, t: np.argsort(-s, kind="stable")),
    ("nms", "exactly the threshold", lambda b, s, t: suppress(b, s, t, keep=lambda overlap, t: overlap < t)),
    ("nms", "whole numbers", lambda b, s, t: b[suppress(b, s, t)][:, 0]),
    ("dice_loss", "nothing to find", lambda logits, targets: dice(logits, targets, smooth=1e-6)),
    ("dice_loss", "each mask by itself", lambda logits, targets: dice(logits, targets, axis=None)),
    ("dice_loss", "twice the overlap over the sum", lambda logits, targets: dice(np.sign(logits) * 30, targets)),
    ("dice_loss", "shape", lambda logits, targets: 1 - dice(logits, targets) * np.ones(len(logits))),
    ("sigmoid_focal_loss", "alpha", lambda x, t, alpha=0.25, gamma=2: focal(x, t, 1 - alpha, gamma)),
    ("sigmoid_focal_loss", "easy pixels count less", lambda x, t, alpha=0.25, gamma=2: focal(x, t, alpha, 0)),
    ("sigmoid_focal_loss", "mean over pixels and masks", lambda x, t, alpha=0.25, gamma=2: focal(
        x, t, alpha, gamma) * len(x)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "law", "wrong"), WRONG, ids=[f"{n}-{law}" for n, law, _ in WRONG])
def test_a_wrong_answer_breaks_the_law_about_it(name, law, wrong):
    report = laws.judge(name, wrong)
    verdict = report[law]
    assert verdict.judged and not verdict.passed
    assert "Hint: " in str(report)
    assert report.seconds < 5


@pytest.mark.parametrize(
    "nothing",
    [None, (), (np.arange(2),), 3.0, (np.arange(2), np.arange(3)), ("a", "b"), np.arange(3), {0: 1}],
)
def test_an_assignment_that_is_no_pair_of_lists_is_told_in_words(nothing):
    report = laws.judge("linear_sum_assignment", lambda cost: nothing)
    assert not report["least cost"].passed
    assert "could not be compared" not in str(report["least cost"].message)


def test_indices_out_of_range_are_told_in_words():
    report = laws.judge(
        "linear_sum_assignment", lambda cost: (np.arange(min(cost.shape)), np.full(min(cost.shape), 99))
    )
    assert "A row or column does not exist" in report["least cost"].message
    report = laws.judge("nms", lambda boxes, scores, threshold: np.arange(len(boxes)) + 7)
    assert "comes twice" in report["the best stays"].message
