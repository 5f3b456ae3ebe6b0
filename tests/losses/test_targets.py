"""Targets are checked before a loss is computed, and what is wrong is said so that one can mend it.

Not here: what the losses make of good targets.
"""

from types import SimpleNamespace

import numpy as np
import pytest

from minivis import Tensor
from minivis.losses import (
    HungarianMatcher,
    Mask2FormerCriterion,
    MaskFormerCriterion,
    MaskFormerMatcher,
    MaskMatcher,
    SetCriterion,
)
from tests.losses.predictions import CLASSES, draw_arrays, draw_targets

RNG = np.random.default_rng(4)
FIELDS = draw_arrays(RNG, 2, 5, mask=(4, 4))
GOOD = draw_targets(RNG, (2, 3), mask=(8, 8))
OUTPUT = SimpleNamespace(**FIELDS, auxiliary=[])
CALLS = {
    "SetCriterion": lambda t: SetCriterion(CLASSES)(OUTPUT, t),
    "HungarianMatcher": lambda t: HungarianMatcher()(FIELDS["logits"], FIELDS["boxes"], t),
    "Mask2FormerCriterion": lambda t: Mask2FormerCriterion(CLASSES, points=9)(OUTPUT, t),
    "MaskFormerCriterion": lambda t: MaskFormerCriterion(CLASSES)(OUTPUT, t),
    "MaskFormerMatcher": lambda t: MaskFormerMatcher()(FIELDS["logits"], FIELDS["masks"], t),
    "MaskMatcher": lambda t: MaskMatcher(points=9)(FIELDS["logits"], FIELDS["masks"], t),
}


def changed(**entries):
    """Good targets but for some entries of the second image."""
    return [GOOD[0], {**GOOD[1], **entries}]


def boxes(*row):
    return np.array([row, *GOOD[1]["boxes"][1:]])


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    "targets, error, message",
    [
        (GOOD[0], TypeError, "targets must be a list with a dict for each image, got dict"),
        ([GOOD[0], GOOD[1]["labels"]], TypeError, "got a list of dict, ndarray"),
        (GOOD[:1], ValueError, "2 images are predicted, but targets has 1 of them"),
        ([GOOD[0], {"boxes": GOOD[1]["boxes"]}], ValueError, r"targets\[1\] lacks 'labels'; it has 'boxes'"),
        (
            changed(labels=np.zeros((3, 1), int)),
            ValueError,
            r"labels must be \(T,\) \(targets\[1\]\['labels'\]: \(3, 1\)",
        ),
        (changed(labels=np.zeros(3)), TypeError, r"labels must be integers, got float64 in targets\[1\]"),
        (
            changed(labels=np.array([0, 5, 1])),
            ValueError,
            r"label 5 in targets\[1\] is out of range for 4 classes, 0 to 3 ",
        ),
        (changed(labels=np.array([0, 4, 1])), ValueError, "4 stands for no object"),
        (changed(labels=np.array([0, -1, 1])), ValueError, "label -1 "),
    ],
)
def test_labels_that_do_not_fit_are_refused(name, targets, error, message):
    with pytest.raises(error, match=f"^{name}: .*{message}"):
        CALLS[name](targets)


@pytest.mark.parametrize("name", ["SetCriterion", "HungarianMatcher"])
@pytest.mark.parametrize(
    "targets, message",
    [
        ([GOOD[0], {"labels": GOOD[1]["labels"], "masks": GOOD[1]["masks"]}], r"targets\[1\] lacks 'boxes'"),
        (
            changed(boxes=GOOD[1]["boxes"][:2]),
            r"one for each label \(targets\[1\]\['boxes'\]: \(2, 4\), labels: \(3,\)\)",
        ),
        (changed(boxes=GOOD[1]["boxes"][:, :3]), r"boxes must be \(T, 4\)"),
        (
            changed(boxes=boxes(30, 20, 12, 18)),
            r"\(30, 20, 12, 18\) in targets\[1\] looks like pixels: divide by the image",
        ),
        (changed(boxes=boxes(0.5, 0.5, -0.1, 0.2)), "has a negative width or height"),
        (changed(boxes=boxes(0.5, 1.2, 0.1, 0.2)), "has its centre outside the image"),
        (changed(boxes=boxes(0.5, np.nan, 0.1, 0.2)), "is not finite"),
        (changed(boxes=boxes(0.5, np.inf, 0.1, 0.2)), "is not finite"),
    ],
)
def test_boxes_that_do_not_fit_are_refused(name, targets, message):
    with pytest.raises(ValueError, match=f"^{name}: .*{message}"):
        CALLS[name](targets)


@pytest.mark.parametrize("name", [name for name in CALLS if name != "HungarianMatcher"])
@pytest.mark.parametrize(
    "targets, message",
    [
        ([GOOD[0], {"labels": GOOD[1]["labels"], "boxes": GOOD[1]["boxes"]}], r"targets\[1\] lacks 'masks'"),
        (changed(masks=GOOD[1]["masks"][:2]), r"one for each label \(targets\[1\]\['masks'\]: \(2, 8, 8\)"),
        (changed(masks=GOOD[1]["masks"][0]), r"masks must be \(T, H, W\)"),
        (changed(masks=GOOD[1]["masks"] * 255), "masks must be boolean, got other values than 0 and 1"),
    ],
)
def test_masks_that_do_not_fit_are_refused(name, targets, message):
    with pytest.raises(ValueError, match=f"^{name}: .*{message}"):
        CALLS[name](targets)


def corners(boxes):
    centre = boxes[:, :2]
    half = boxes[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=1)


@pytest.mark.parametrize("seed", range(20))
def test_corners_of_a_batch_are_recognised_and_centres_never_taken_for_them(seed):
    rng = np.random.default_rng(seed)
    targets = draw_targets(rng, (4, 3))
    HungarianMatcher()(FIELDS["logits"], FIELDS["boxes"], targets)
    wrong = [{**target, "boxes": corners(target["boxes"])} for target in targets]
    with pytest.raises(
        ValueError, match=r"all 7 of the batch look like corners .* mv.vision.box_xyxy_to_cxcywh"
    ):
        HungarianMatcher()(FIELDS["logits"], FIELDS["boxes"], wrong)


def test_boxes_may_leave_the_image_or_have_no_area():
    outside = np.array([[0.3, 0.5, 0.8, 0.8], [0.9, 0.9, 0.6, 0.6], [0.0, 1.0, 0.0, 0.0]])
    terms = CALLS["SetCriterion"](changed(boxes=outside))
    assert np.isfinite([float(x) for x in terms.values()]).all()


def test_lists_tensors_and_masks_of_0_and_1_are_welcome():
    like = [
        {"labels": t["labels"].tolist(), "boxes": Tensor(t["boxes"]), "masks": t["masks"].astype(np.uint8)}
        for t in GOOD
    ]
    for name in ("SetCriterion", "Mask2FormerCriterion", "MaskFormerCriterion"):
        a, b = CALLS[name](GOOD), CALLS[name](like)
        assert {n: float(x) for n, x in a.items()} == {n: float(x) for n, x in b.items()}


def test_smaller_masks_are_padded_at_the_bottom_and_at_the_right():
    small = changed(masks=GOOD[1]["masks"][:, :5, :7])
    padded = changed(masks=np.pad(GOOD[1]["masks"][:, :5, :7], ((0, 0), (0, 3), (0, 1))))
    for name in ("SetCriterion", "Mask2FormerCriterion", "MaskFormerCriterion"):
        a, b = CALLS[name](small), CALLS[name](padded)
        assert {n: float(x) for n, x in a.items()} == {n: float(x) for n, x in b.items()}
