"""SAM's loss: against loops over masks and pixels, which masks learn, half precision, a device, what is refused.

Not here: focal and dice loss (test_masks.py).
"""

import math

import numpy as np
import pytest

import minivis as mv
from minivis.gradcheck import check_gradient
from minivis.losses import sam_loss

RNG = np.random.default_rng(4)
MASKS = 2 * RNG.standard_normal((2, 3, 3, 4, 5))
IOU = RNG.random((2, 3, 3))
TARGETS = RNG.random((2, 3, 4, 5)) < 0.4


def slow(masks, iou, targets, focal=20.0, dice=1.0, cross_entropy=0.0, iou_weight=1.0, every=False):
    """The loss, prompt by prompt, mask by mask, pixel by pixel."""
    total = 0.0
    for b, p in np.ndindex(masks.shape[:2]):
        losses, errors = [], []
        for m in range(masks.shape[2]):
            sums = dict.fromkeys(("focal", "entropy", "both", "either", "overlap", "area"), 0.0)
            for z, t in zip(masks[b, p, m].ravel(), targets[b, p].ravel(), strict=True):
                chance = 1 / (1 + math.exp(-z))
                right = chance if t else 1 - chance
                sums["focal"] -= (0.25 if t else 0.75) * (1 - right) ** 2 * math.log(right)
                sums["entropy"] -= math.log(right)
                sums["overlap"] += chance * t
                sums["area"] += chance + t
                sums["both"] += z > 0 and t
                sums["either"] += z > 0 or t
            n = targets[b, p].size
            overlap = 1 - (2 * sums["overlap"] + 1) / (sums["area"] + 1)
            losses.append(focal * sums["focal"] / n + dice * overlap + cross_entropy * sums["entropy"] / n)
            errors.append((iou[b, p, m] - sums["both"] / sums["either"]) ** 2)
        total += min(losses) + iou_weight * (np.mean(errors) if every else errors[int(np.argmin(losses))])
    return total / iou.shape[0] / iou.shape[1]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"focal": 0.0, "dice": 2.0, "cross_entropy": 2.0},
        {"focal": 3.0, "dice": 0.0, "cross_entropy": 1.0, "iou_weight": 0.5, "every_estimate": True},
    ],
)
def test_it_is_what_loops_give_and_differentiable(options):
    expected = slow(
        MASKS,
        IOU,
        TARGETS,
        **{key.replace("every_estimate", "every"): value for key, value in options.items()},
    )
    found = sam_loss(MASKS, IOU, TARGETS, **options)
    assert float(found["loss"]) == pytest.approx(expected, rel=1e-12)
    weights = {
        "focal": 20.0,
        "dice": 1.0,
        "cross_entropy": 0.0,
        "iou": options.get("iou_weight", 1.0),
    } | options
    terms = sum(weights[name] * value for name, value in found.items() if name not in ("loss", "best"))
    assert float(terms) == pytest.approx(expected, rel=1e-12)
    assert {
        name for name, weight in weights.items() if weight and name in ("focal", "dice", "cross_entropy")
    } <= set(found)
    check_gradient(
        lambda z, u: sam_loss(z, u, TARGETS, **options)["loss"], MASKS, IOU, rng=np.random.default_rng(0)
    )


def test_only_the_best_mask_of_a_prompt_learns():
    z, u = mv.Tensor(MASKS, requires_grad=True), mv.Tensor(IOU, requires_grad=True)
    sam_loss(z, u, TARGETS)["loss"].backward()
    learns = (z.grad != 0).any(axis=(3, 4))
    assert (learns.sum(axis=2) == 1).all() and len(np.unique(learns.argmax(axis=2))) > 1
    np.testing.assert_array_equal(u.grad != 0, learns)
    u = mv.Tensor(IOU, requires_grad=True)
    sam_loss(MASKS, u, TARGETS, every_estimate=True)["loss"].backward()
    assert (u.grad != 0).all()


def test_the_best_mask_reports_its_iou_and_two_empty_masks_are_the_same():
    masks = np.full((1, 1, 2, 2, 4), -5.0)
    masks[0, 0, 1, 0, :2] = 5.0
    truth = np.zeros((1, 1, 2, 4), bool)
    truth[0, 0, 0, 1:3] = True
    by_dice = sam_loss(masks, np.zeros((1, 1, 2)), truth, focal=0.0)
    assert float(by_dice["best"]) == pytest.approx(1 / 3)
    nothing = sam_loss(masks[:, :, :1], np.ones((1, 1, 1)), np.zeros((1, 1, 2, 4), bool))
    assert float(nothing["best"]) == 1 and float(nothing["iou"]) == 0


def test_half_precision_and_a_device(device):
    exact = float(sam_loss(MASKS, IOU, TARGETS)["loss"])
    half = sam_loss(MASKS.astype(np.float16), IOU.astype(np.float16), TARGETS)
    assert all(value.dtype == np.float16 for value in half.values())
    assert float(half["loss"]) == pytest.approx(exact, rel=2e-3)
    there = [mv.to_device(x, device) for x in (MASKS, IOU, TARGETS)]
    assert float(mv.to_numpy(sam_loss(*there)["loss"])) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize(
    "arguments, options, kind, complaint",
    [
        (
            (MASKS[0], IOU, TARGETS),
            {},
            ValueError,
            r"sam_loss: masks must be \(B, P, M, H, W\).*masks: \(3, 3, 4, 5\)",
        ),
        ((MASKS, IOU[:, :, :1], TARGETS), {}, ValueError, r"sam_loss: masks must .*iou: \(2, 3, 1\)"),
        (
            (MASKS, IOU, TARGETS[..., :1]),
            {},
            ValueError,
            r"sam_loss: targets must be .*targets: \(2, 3, 4, 1\)",
        ),
        (
            (MASKS, IOU, TARGETS * np.uint8(255)),
            {},
            ValueError,
            "sam_loss: targets must be boolean, got other values than 0 and 1",
        ),
        ((MASKS[:0], IOU[:0], TARGETS[:0]), {}, ValueError, "sam_loss: the mean over nothing"),
        (
            (MASKS > 0, IOU, TARGETS),
            {},
            TypeError,
            "sam_loss: masks and iou must be floating-point, got bool",
        ),
        ((MASKS, IOU, TARGETS), {"dice": -1.0}, ValueError, "sam_loss: weights must be at least 0"),
        (
            (MASKS, IOU, TARGETS),
            {"dice": 0.0, "focal": 0.0},
            ValueError,
            "sam_loss: weights must be at least 0, and one",
        ),
    ],
)
def test_it_refuses(arguments, options, kind, complaint):
    with pytest.raises(kind, match=f"^{complaint}"):
        sam_loss(*arguments, **options)
