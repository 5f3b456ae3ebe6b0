"""MaskFormer's set loss: slow oracles, permutations, every edge, gradients.

Not here: transformers' loss (parity/), what bad targets are told (test_targets.py), points (test_mask_prediction.py).
"""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest

from minivis import to_device, to_numpy
from minivis.gradcheck import check_gradient
from minivis.losses import MaskFormerCriterion, MaskFormerMatcher
from minivis.ops import interpolate
from minivis.vision import linear_sum_assignment
from tests.losses.predictions import CLASSES, as_output, draw_arrays, draw_targets, permuted

COUNTS = (2, 0, 3)
KINDS = {"focal": (1, 20, 1), "cross_entropy": (2, 5, 5)}


def batch(seed=0, queries=5, layers=2, counts=COUNTS):
    """Arrays of every layer, the last first, and targets, whose sides are no multiples of the predicted ones."""
    rng = np.random.default_rng(seed)
    fields = [draw_arrays(rng, len(counts), queries, mask=(4, 3), boxes=False) for _ in range(layers)]
    return fields, draw_targets(rng, counts, mask=(9, 7))


def criterion(kind="focal"):
    weights = dict(zip(("loss_ce", "loss_mask", "loss_dice"), KINDS[kind], strict=True))
    return MaskFormerCriterion(CLASSES, weights=weights, mask_loss=kind)


def loss(layers, targets, function=None, **kind):
    output, leaves = as_output(layers, **kind)
    terms = (function or criterion())(output, targets)
    terms["loss"].backward()
    return terms, leaves


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


def slow_compare(z, t, kind):
    """The loss of the pixels and the dice loss of one mask, pixel by pixel."""
    pixels = 0.0
    for a, b in zip(np.ravel(z), np.ravel(t), strict=True):
        right = sigmoid(a) if b else sigmoid(-a)
        share = 0.25 if b else 0.75
        pixels -= math.log(right) * (share * (1 - right) ** 2 if kind == "focal" else 1)
    overlap = sum(sigmoid(a) * b for a, b in zip(np.ravel(z), np.ravel(t), strict=True))
    total = sum(map(sigmoid, np.ravel(z))) + np.sum(t)
    return pixels / np.size(z), 1 - (2 * overlap + 1) / (total + 1)


def nearest(mask, height, width):
    """Each pixel of the smaller mask is the pixel of the larger one above and to the left of which it begins."""
    H, W = mask.shape
    return [[mask[int(i * H / height), int(j * W / width)] for j in range(width)] for i in range(height)]


def slow_terms(fields, targets, kind):
    """One layer by loops: every way to give segments to queries is tried."""
    p = np.exp(fields["logits"]) / np.exp(fields["logits"]).sum(axis=-1, keepdims=True)
    by_class, by_mask, by_dice = KINDS[kind]
    surprise, weight = 0.0, 0.0
    compared = []
    for i, target in enumerate(targets):
        labels = target["labels"]
        queries = range(p.shape[1])
        count = len(labels)
        costs = np.zeros((len(queries), count))
        for q, t in itertools.product(queries, range(count)):
            pixels, dice = slow_compare(fields["masks"][i, q], nearest(target["masks"][t], 4, 3), kind)
            costs[q, t] = by_mask * pixels + by_dice * dice - by_class * p[i, q, labels[t]]
        ways = itertools.permutations(queries, count)
        best = min(ways, key=lambda way, costs=costs: sum(costs[q, t] for t, q in enumerate(way)))
        answers = dict.fromkeys(queries, CLASSES) | {q: labels[t] for t, q in enumerate(best)}
        for q, answer in answers.items():
            w = 0.1 if answer == CLASSES else 1
            surprise -= w * math.log(p[i, q, answer])
            weight += w
        for t, q in enumerate(best):
            large = interpolate(fields["masks"][i : i + 1, q : q + 1], size=(9, 7), mode="bilinear")
            compared.append(slow_compare(large, target["masks"][t], kind))
    pixels, dice = np.sum(compared, axis=0) / len(compared) if compared else (0, 0)
    return {"loss_ce": surprise / weight, "loss_mask": pixels, "loss_dice": dice}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("counts", [COUNTS, (4, 1), (0, 0)])
def test_every_term_is_what_loops_and_trying_everything_give(kind, counts):
    layers, targets = batch(counts=counts)
    terms, _ = loss(layers, targets, criterion(kind))
    total = 0.0
    for suffix, fields in zip(["", "_0"], layers, strict=True):
        for (name, value), weight in zip(slow_terms(fields, targets, kind).items(), KINDS[kind], strict=True):
            np.testing.assert_allclose(terms[name + suffix].item(), value, rtol=1e-9, atol=1e-12)
            total += weight * value
    np.testing.assert_allclose(terms["loss"].item(), total)
    assert len(terms) == 1 + 2 * 3


def test_the_order_of_segments_and_of_queries_does_not_matter():
    layers, targets = batch()
    terms, _ = loss(layers, targets)
    rng = np.random.default_rng(0)
    shuffled = [{n: x[i] for n, x in t.items()} for t in targets for i in [rng.permutation(len(t["labels"]))]]
    order = np.array([3, 0, 4, 2, 1])
    for others in (loss(layers, shuffled)[0], loss(permuted(layers, order), targets)[0]):
        for name, value in terms.items():
            np.testing.assert_allclose(others[name].item(), value.item(), rtol=1e-12)


def test_the_matcher_takes_the_weights_and_the_kind_of_the_loss():
    matcher = criterion("cross_entropy").matcher
    assert (matcher.class_weight, matcher.mask_weight, matcher.dice_weight) == (2, 5, 5)
    assert matcher.mask_loss == "cross_entropy" and MaskFormerCriterion(3).matcher.mask_weight == 20
    # one mask fits a little better everywhere, the other far better inside alone
    masks = np.array([[[[1.0, 1, -1, -1, -1, -1]], [[4.0, 4, 0.5, 0.5, 0.5, 0.5]]]])
    truth = np.array([[[True, True, False, False, False, False]]])
    costs = {
        kind: MaskFormerMatcher(0, 1, 0, mask_loss=kind).costs(np.zeros((1, 2, 3)), masks, [{"labels": [0], "masks": truth}])[0]
        for kind in KINDS
    }  # fmt: skip
    for kind, (row,) in costs.items():
        expected = [slow_compare(mask, truth[0], kind)[0] for mask in masks[0]]
        np.testing.assert_allclose(row, expected)


def test_our_solver_and_scipys_find_the_same_pairs():
    (fields, _), targets = batch(queries=6, counts=(4, 6, 8))
    found = [
        MaskFormerMatcher(solver=solver)(fields["logits"], fields["masks"], targets)
        for solver in (None, linear_sum_assignment)
    ]
    for (q1, t1), (q2, t2) in zip(*found, strict=True):
        assert q1.tolist() == q2.tolist() and t1.tolist() == t2.tolist()


# ---------------------------------------------------------------------------------------------------------------------
# Edges: never NaN.


@pytest.mark.parametrize("counts, queries", [((0, 0), 3), ((0, 2), 3), ((5, 1), 3), ((1, 0), 1)])
def test_any_number_of_segments_gives_finite_losses_and_gradients(counts, queries):
    layers, targets = batch(counts=counts, queries=queries)
    terms, leaves = loss(layers, targets, dtype=np.float32)
    for value in terms.values():
        assert value.dtype == np.float32 and value.shape == () and np.isfinite(value.item())
    for fields in leaves:
        for leaf in fields.values():
            assert leaf.grad.dtype == np.float32 and np.isfinite(leaf.grad).all()
    if not sum(counts):
        assert terms["loss_mask"].item() == terms["loss_dice"].item() == 0
        assert not leaves[0]["masks"].grad.any() and leaves[0]["logits"].grad.any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("full", [False, True])
def test_empty_and_full_masks_and_certain_logits_are_finite(full, kind):
    layers, targets = batch()
    for fields in layers:
        for x in fields.values():
            x[:] = np.where(x > 0, 1e4, -1e4)
    for target in targets:
        target["masks"][:] = full
    terms, leaves = loss(layers, targets, criterion(kind), dtype=np.float32)
    assert np.isfinite([x.item() for x in terms.values()]).all()
    assert all(np.isfinite(leaf.grad).all() for fields in leaves for leaf in fields.values())


def test_predictions_that_are_not_finite_are_refused_by_name():
    layers, targets = batch()
    layers[1]["masks"][1, 2, 0] = np.nan  # in an earlier layer, in the image without segments
    with pytest.raises(ValueError, match="^MaskFormerMatcher: masks hold NaN or infinity"):
        loss(layers, targets)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_every_term(kind):
    layers, targets = batch()
    names = [(i, name) for i, fields in enumerate(layers) for name in fields]

    def terms(*leaves):
        fields = [{}, {}]
        for (i, name), leaf in zip(names, leaves, strict=True):
            fields[i][name] = leaf
        output = SimpleNamespace(**fields[0], auxiliary=[SimpleNamespace(**fields[1])])
        return list(criterion(kind)(output, targets).values())

    check_gradient(terms, *(layers[i][name] for i, name in names), rng=np.random.default_rng(1))


def test_it_works_on_a_device(device):
    layers, targets = batch()
    expected, leaves = loss(layers, targets)
    terms, found = loss(layers, targets, device=device)
    for name, value in expected.items():
        assert terms[name].device == device
        np.testing.assert_allclose(terms[name].item(), value.item(), rtol=1e-12)
    np.testing.assert_allclose(to_numpy(found[0]["masks"].grad), leaves[0]["masks"].grad, rtol=1e-9)
    with pytest.raises(TypeError, match="^MaskFormerMatcher: .*different devices"):
        MaskFormerMatcher()(layers[0]["logits"], to_device(layers[0]["masks"], device), targets)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: MaskFormerMatcher(0, 0, 0), "MaskFormerMatcher: weights must be at least 0"),
        (lambda: MaskFormerMatcher(mask_loss="bce"), "MaskFormerMatcher: mask_loss must be one of focal, cross_entropy"),
        (lambda: MaskFormerCriterion(4, mask_loss="bce"), "MaskFormerCriterion: mask_loss must be one of focal"),
        (lambda: MaskFormerCriterion(4, weights={"loss_bbox": 1}), "MaskFormerCriterion: weights has an unknown term"),
        (lambda: MaskFormerCriterion(4, no_object=0), "MaskFormerCriterion: weights must be at least 0 and no_object"),
        (lambda: loss(*batch(), MaskFormerCriterion(6)), r"MaskFormerCriterion: logits must be .* with K=6 \(logits"),
        (
            lambda: MaskFormerCriterion(CLASSES, matcher=lambda *given: [(np.array([0]), np.array([0]))] * 3)(
                as_output(batch()[0])[0], batch()[1]
            ),
            "MaskFormerCriterion: matcher must find as many pairs",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
