"""DETR's set loss: the deck's example and a slow oracle, permutations, rematched layers, every edge, gradients.

Not here: transformers' loss (parity/), what bad targets are told (test_targets.py).
"""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest

from minivis import Tensor, backend, to_device, to_numpy
from minivis.gradcheck import check_gradient
from minivis.losses import HungarianMatcher, SetCriterion, dice_loss, sigmoid_focal_loss
from minivis.ops import interpolate
from minivis.vision import linear_sum_assignment
from tests.losses.predictions import CLASSES, as_output, draw_arrays, draw_targets, permuted

COUNTS = (2, 0, 3)


def batch(seed=0, queries=5, layers=3, counts=COUNTS, mask=None):
    """Arrays of every layer, the last first, of which only it has masks; and targets."""
    rng = np.random.default_rng(seed)
    fields = [draw_arrays(rng, len(counts), queries, mask=mask if i == 0 else None) for i in range(layers)]
    return fields, draw_targets(rng, counts, mask=(9, 7) if mask else None)


def loss(layers, targets, criterion=None, **kind):
    output, leaves = as_output(layers, **kind)
    terms = (criterion or SetCriterion(CLASSES))(output, targets)
    terms["loss"].backward()
    return terms, leaves


# ---------------------------------------------------------------------------------------------------------------------
# By hand: the slide "Bipartite Matching" of deck H, and a loop over everything.

DOG, CAT, NOTHING = 0, 1, 2
SLIDE_BOXES = np.array(
    [
        [0.3, 0.5, 0.8, 0.8],
        [0.9, 0.8, 0.3, 0.4],
        [0.1, 0.5, 0.1, 0.8],
        [0.7, 0.8, 0.3, 0.4],
        [0.7, 0.4, 0.3, 0.4],
    ]
)
SLIDE_TARGETS = [{"labels": np.array([DOG, CAT]), "boxes": SLIDE_BOXES[[0, 3]]}]


def test_the_matching_on_the_slide():
    logits = np.full((1, 5, 3), -1e3)
    logits[0, range(5), [DOG, NOTHING, NOTHING, CAT, NOTHING]] = 1e3  # its classes, taken as certain
    matcher = HungarianMatcher(class_weight=1, box_weight=5, giou_weight=2)
    ((queries, objects),) = matcher(logits, SLIDE_BOXES[None], SLIDE_TARGETS)
    assert queries.tolist() == [0, 3] and objects.tolist() == [0, 1]  # y1 is the dog, y4 the cat
    (costs,) = matcher.costs(logits, SLIDE_BOXES[None], SLIDE_TARGETS)
    np.testing.assert_allclose(costs[objects, queries], [-3, -3], rtol=1e-6)
    # the cat against y5, with a box like its own 0.4 higher up: no overlap in height, and they touch
    np.testing.assert_allclose(costs[1, 4], -0 + 5 * 0.4 - 2 * 0, atol=1e-6)
    output = SimpleNamespace(logits=logits, boxes=SLIDE_BOXES[None])
    np.testing.assert_allclose(
        [float(x) for x in SetCriterion(2)(output, SLIDE_TARGETS).values()], 0, atol=1e-12
    )


def slow_giou(a, b):
    def corners(c):
        return c[0] - c[2] / 2, c[1] - c[3] / 2, c[0] + c[2] / 2, c[1] + c[3] / 2

    (l1, t1, r1, b1), (l2, t2, r2, b2) = corners(a), corners(b)
    both = max(0, min(r1, r2) - max(l1, l2)) * max(0, min(b1, b2) - max(t1, t2))
    either = (r1 - l1) * (b1 - t1) + (r2 - l2) * (b2 - t2) - both
    hull = (max(r1, r2) - min(l1, l2)) * (max(b1, b2) - min(t1, t2))
    return both / either - (hull - either) / hull


def slow_terms(fields, targets, no_object):
    """One layer by loops: every way to give objects to queries is tried."""
    p = np.exp(fields["logits"]) / np.exp(fields["logits"]).sum(axis=-1, keepdims=True)
    surprise = weight = l1 = giou = 0.0
    for i, target in enumerate(targets):
        labels = target["labels"]
        boxes = target["boxes"]
        found = fields["boxes"][i]

        def cost(q, t, i=i, labels=labels, boxes=boxes, found=found):
            return (
                5 * np.abs(found[q] - boxes[t]).sum() - p[i, q, labels[t]] - 2 * slow_giou(found[q], boxes[t])
            )

        ways = itertools.permutations(range(len(found)), len(labels))
        best = min(ways, key=lambda way, cost=cost: sum(cost(q, t) for t, q in enumerate(way)))
        answers = dict.fromkeys(range(len(found)), CLASSES) | {q: labels[t] for t, q in enumerate(best)}
        for q, answer in answers.items():
            w = no_object if answer == CLASSES else 1
            surprise = surprise - w * math.log(p[i, q, answer])
            weight = weight + w
        for t, q in enumerate(best):
            l1 = l1 + np.abs(found[q] - boxes[t]).sum()
            giou = giou + 1 - slow_giou(found[q], boxes[t])
    count = max(1, sum(len(target["labels"]) for target in targets))
    return {"loss_ce": surprise / weight, "loss_bbox": l1 / count, "loss_giou": giou / count}


@pytest.mark.parametrize("counts, no_object", [(COUNTS, 0.1), ((4, 1), 0.5), ((0, 0), 0.1)])
def test_every_term_is_what_loops_and_trying_everything_give(counts, no_object):
    layers, targets = batch(counts=counts)
    weights = {"loss_ce": 2, "loss_bbox": 3, "loss_giou": 0.5}
    terms, _ = loss(layers, targets, SetCriterion(CLASSES, weights=weights, no_object=no_object))
    total = 0.0
    for suffix, fields in zip(["", "_0", "_1"], layers, strict=True):
        for name, value in slow_terms(fields, targets, no_object).items():
            np.testing.assert_allclose(terms[name + suffix].item(), value, rtol=1e-9, atol=1e-12)
            total += weights[name] * value
    np.testing.assert_allclose(terms["loss"].item(), total)
    assert len(terms) == 1 + 3 * 3


def test_mask_terms_compare_the_enlarged_masks_of_the_last_layer():
    layers, targets = batch(mask=(4, 3))
    terms, _ = loss(layers, targets)
    assert [name for name in terms if "mask" in name or "dice" in name] == ["loss_mask", "loss_dice"]
    pairs = HungarianMatcher()(layers[0]["logits"], layers[0]["boxes"], targets)
    found = np.concatenate([layers[0]["masks"][i, query] for i, (query, _) in enumerate(pairs)])
    wanted = np.concatenate([target["masks"][t] for target, (_, t) in zip(targets, pairs, strict=True)])
    found = interpolate(found[:, None], size=(9, 7), mode="bilinear")[:, 0]
    np.testing.assert_allclose(terms["loss_mask"].item(), sigmoid_focal_loss(found, wanted))
    np.testing.assert_allclose(terms["loss_dice"].item(), dice_loss(found, wanted))
    weighted = SetCriterion(CLASSES, weights={"loss_mask": 10, "loss_dice": 0})(as_output(layers)[0], targets)
    np.testing.assert_allclose(
        (weighted["loss"] - terms["loss"]).item(), 9 * terms["loss_mask"].item() - terms["loss_dice"].item()
    )


# ---------------------------------------------------------------------------------------------------------------------
# Symmetries.


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_objects_queries_and_images_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    layers, targets = batch(seed, mask=(4, 3))
    terms, leaves = loss(layers, targets)
    order = rng.permutation(5)
    shuffled = [{n: x[i] for n, x in t.items()} for t in targets for i in [rng.permutation(len(t["labels"]))]]
    images = rng.permutation(3)
    for other_layers, other_targets in [
        (layers, shuffled),
        (permuted(layers, order), targets),
        ([{n: x[images] for n, x in fields.items()} for fields in layers], [targets[i] for i in images]),
    ]:
        others, other_leaves = loss(other_layers, other_targets)
        for name, value in terms.items():
            np.testing.assert_allclose(others[name].item(), value.item(), rtol=1e-12, err_msg=name)
        # queries: gradients too
        if other_layers[0]["logits"] is not layers[0]["logits"] and other_targets is targets:
            for a, b in zip(leaves, other_leaves, strict=True):
                for name in a:
                    np.testing.assert_allclose(b[name].grad, a[name].grad[:, order], rtol=1e-9, atol=1e-15)


def test_earlier_layers_are_matched_anew_and_count_as_much():
    layers, targets = batch()
    terms, leaves = loss(layers, targets)
    alone = [loss([fields], targets) for fields in layers]
    for suffix, (own, _) in zip(["", "_0", "_1"], alone, strict=True):
        for name in ("loss_ce", "loss_bbox", "loss_giou"):
            np.testing.assert_allclose(terms[name + suffix].item(), own[name].item(), rtol=1e-12)
    np.testing.assert_allclose(terms["loss"].item(), sum(own["loss"].item() for own, _ in alone))
    for together, (_, (own,)) in zip(leaves, alone, strict=True):
        np.testing.assert_allclose(together["boxes"].grad, own["boxes"].grad, rtol=1e-9)
    matcher = HungarianMatcher()
    found = [
        np.concatenate([q for q, _ in matcher(f["logits"], f["boxes"], targets)]).tolist() for f in layers
    ]
    assert found[0] != found[1] != found[2]  # else the test would not see one matching used for all


def test_our_solver_and_scipys_give_the_same_loss():
    layers, targets = batch(queries=7, counts=(4, 7, 9))
    ours = SetCriterion(CLASSES, matcher=HungarianMatcher(solver=linear_sum_assignment))
    a = loss(layers, targets)[0]
    b = loss(layers, targets, ours)[0]
    assert {n: x.item() for n, x in a.items()} == {n: x.item() for n, x in b.items()}


def test_the_matching_has_no_gradient_and_raising_a_weight_changes_only_that_term():
    layers, targets = batch(layers=1)
    _, (leaf,) = loss(layers, targets, SetCriterion(CLASSES, weights={"loss_ce": 0}))
    assert not leaf["logits"].grad.any() and leaf["boxes"].grad.any()
    _, (leaf,) = loss(layers, targets, SetCriterion(CLASSES, weights={"loss_bbox": 0, "loss_giou": 0}))
    assert leaf["logits"].grad.any() and not leaf["boxes"].grad.any()


# ---------------------------------------------------------------------------------------------------------------------
# Edges: never NaN.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
# none; some; more objects than queries; just as many; a single query
@pytest.mark.parametrize("counts, queries", [((0, 0), 3), ((0, 2), 3), ((5, 1), 3), ((3, 3), 3), ((1, 0), 1)])
def test_any_number_of_objects_gives_finite_losses_and_gradients(counts, queries, dtype):
    layers, targets = batch(counts=counts, queries=queries, mask=(3, 3))
    terms, leaves = loss(layers, targets, dtype=dtype)
    for value in terms.values():
        assert value.dtype == dtype and value.shape == () and np.isfinite(value.item())
    for fields in leaves:
        for leaf in fields.values():
            assert leaf.grad.dtype == dtype and np.isfinite(leaf.grad).all()
    if not sum(counts):
        assert terms["loss_bbox"].item() == terms["loss_giou"].item() == terms["loss_mask"].item() == 0
        assert not leaves[0]["boxes"].grad.any() and leaves[0]["logits"].grad.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_boxes_without_area_and_certain_logits_are_finite(dtype):
    layers, targets = batch(layers=1, mask=(3, 3))
    layers[0]["boxes"][:, ::2, 2:] = 0
    layers[0]["boxes"][:, 1] = 0
    layers[0]["logits"][:] = np.where(layers[0]["logits"] > 0, 1e4, -1e4)
    layers[0]["masks"][:] = np.where(layers[0]["masks"] > 0, 1e4, -1e4)
    targets[2]["boxes"][0] = layers[0]["boxes"][2, 0]  # equal, and both without area
    targets[2]["masks"][:] = False
    terms, leaves = loss(layers, targets, dtype=dtype)
    assert np.isfinite([x.item() for x in terms.values()]).all()
    assert all(np.isfinite(leaf.grad).all() for leaf in leaves[0].values())


@pytest.mark.parametrize("field", ["logits", "boxes", "masks"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_predictions_that_are_not_finite_are_refused_by_name(field, value):
    layers, targets = batch(layers=1, mask=(3, 3))
    layers[0][field][1, 2, 0] = value  # in the image without objects, too
    with pytest.raises(ValueError, match=f"^(SetCriterion|HungarianMatcher): {field} hold NaN or infinity"):
        loss(layers, targets)


# ---------------------------------------------------------------------------------------------------------------------
# Gradients, devices, errors.


@pytest.mark.parametrize("counts", [COUNTS, (7, 1), (0, 0)])
def test_the_gradient_of_every_term(counts):
    layers, targets = batch(counts=counts, layers=2, mask=(3, 4))
    names = [(i, name) for i, fields in enumerate(layers) for name in fields]

    def terms(*leaves):
        fields = [{}, {}]
        for (i, name), leaf in zip(names, leaves, strict=True):
            fields[i][name] = leaf
        output = SimpleNamespace(**fields[0], auxiliary=[SimpleNamespace(**fields[1])])
        return list(SetCriterion(CLASSES)(output, targets).values())

    check_gradient(terms, *(layers[i][name] for i, name in names), rng=np.random.default_rng(1))


@pytest.mark.parametrize("masks_too", [False, True])
def test_it_works_on_a_device_with_targets_here_or_there(masks_too, device):
    layers, targets = batch(mask=(3, 4) if masks_too else None)
    expected, leaves = loss(layers, targets)
    moved = [{name: to_device(x, device) for name, x in target.items()} for target in targets]
    for there in (targets, moved):
        terms, found = loss(layers, there, device=device)
        for name, value in expected.items():
            assert terms[name].device == device
            np.testing.assert_allclose(terms[name].item(), value.item(), rtol=1e-12)
        np.testing.assert_allclose(to_numpy(found[0]["boxes"].grad), leaves[0]["boxes"].grad, rtol=1e-9)
    arrays = SimpleNamespace(**{name: to_device(x, device) for name, x in layers[0].items()})
    assert backend.device_of(SetCriterion(CLASSES)(arrays, targets)["loss"]) == device
    with pytest.raises(TypeError, match="^HungarianMatcher: .*different devices"):
        HungarianMatcher()(layers[0]["logits"], arrays.boxes, targets)


def test_arrays_give_arrays():
    layers, targets = batch(layers=1)
    terms = SetCriterion(CLASSES)(SimpleNamespace(**layers[0], auxiliary=None), targets)
    assert not any(isinstance(value, Tensor) for value in terms.values())
    np.testing.assert_allclose(terms["loss"], loss(layers, targets)[0]["loss"].item())


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: HungarianMatcher(0, 0, 0), "HungarianMatcher: weights must be at least 0"),
        (lambda: HungarianMatcher(-1), "HungarianMatcher: weights must be at least 0"),
        (lambda: SetCriterion(0), "SetCriterion: num_classes must be a whole number of at least 1, got 0"),
        (
            lambda: SetCriterion(2.5),
            "SetCriterion: num_classes must be a whole number of at least 1, got 2.5",
        ),
        (
            lambda: SetCriterion(3, weights={"loss_l1": 2}),
            "SetCriterion: weights has an unknown term 'loss_l1'; the terms are",
        ),
        (lambda: SetCriterion(3, weights={"loss_ce": -1}), "SetCriterion: weights must be at least 0"),
        (
            lambda: SetCriterion(3, no_object=0),
            "SetCriterion: weights must be at least 0 and no_object above it",
        ),
        (
            lambda: loss(batch()[0], batch()[1], SetCriterion(6)),
            r"SetCriterion: logits must be .* with K=6 \(logits",
        ),
        (
            lambda: loss(
                *batch(), SetCriterion(CLASSES, matcher=lambda *_: [(np.array([0]), np.array([0]))] * 9)
            ),
            r"SetCriterion: matcher must find as many pairs .*, \[2, 0, 3, 2, 0, 3, 2, 0, 3\] in 9 images, got \[1, 1",
        ),
        (
            lambda: HungarianMatcher()(np.zeros((2, 5, 3)), np.zeros((2, 4, 4)), batch()[1][:2]),
            r"HungarianMatcher: logits must be \(B, Q, K \+ 1\) and boxes \(B, Q, 4\) \(logits: \(2, 5, 3\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match="^" + message):
        call()
