"""Mask2Former's set loss and its points: slow oracles, seeds, permutations, every edge, gradients.

Not here: transformers' loss (parity/), what bad targets are told (test_targets.py).
"""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest

from minivis import to_device, to_numpy
from minivis.gradcheck import check_gradient
from minivis.losses import Mask2FormerCriterion, MaskMatcher, sample_points, uncertain_points
from minivis.ops import grid_sample
from minivis.vision import linear_sum_assignment
from tests.losses.predictions import CLASSES, as_output, draw_arrays, draw_targets, permuted

COUNTS = (2, 0, 3)


def batch(seed=0, queries=5, layers=2, counts=COUNTS):
    """Arrays of every layer, the last first, and targets."""
    rng = np.random.default_rng(seed)
    fields = [draw_arrays(rng, len(counts), queries, mask=(4, 3), boxes=False) for _ in range(layers)]
    return fields, draw_targets(rng, counts, mask=(9, 7))


def loss(layers, targets, criterion=None, **kind):
    output, leaves = as_output(layers, **kind)
    terms = (criterion or Mask2FormerCriterion(CLASSES, points=20))(output, targets)
    terms["loss"].backward()
    return terms, leaves


# ---------------------------------------------------------------------------------------------------------------------
# Points.


def slow_read(image, x, y):
    """The value at (x, y), shares of width and height: a mean of the four pixels around, nothing outside."""
    H, W = image.shape
    column, row = x * W - 0.5, y * H - 0.5
    value = 0.0
    for u, v in itertools.product(range(H), range(W)):
        value += image[u, v] * max(0, 1 - abs(row - u)) * max(0, 1 - abs(column - v))
    return value


def test_points_are_read_between_pixels():
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((2, 3, 4, 5))
    points = rng.random((2, 6, 2))
    expected = [
        [[slow_read(image, x, y) for x, y in row] for image in images]
        for images, row in zip(maps, points, strict=True)
    ]
    np.testing.assert_allclose(sample_points(maps, points), expected)
    check_gradient(lambda m: sample_points(m, points), maps)
    centres = (np.stack(np.meshgrid(np.arange(5), np.arange(4)), axis=-1).reshape(1, -1, 2) + 0.5) / (5, 4)
    np.testing.assert_allclose(sample_points(maps[:1], centres), maps[:1].reshape(1, 3, 20))
    border = np.array([[[0, 0], [1, 0], [0, 1], [1, 1], [0.999, 0.5]]])
    for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-12)):
        some = maps[:1].astype(dtype)
        there = border.astype(dtype)
        read = sample_points(some, there)
        assert read.dtype == dtype
        expected = grid_sample(some, (2 * there - 1)[:, :, None])[..., 0]
        np.testing.assert_allclose(read, expected, rtol=0, atol=tolerance)
    for outside in (-1e-6, 1 + 1e-6, np.nan):
        with pytest.raises(ValueError, match="^sample_points: points must lie in 0 to 1"):
            sample_points(maps[:1], np.full((1, 1, 2), outside))
    with pytest.raises(
        ValueError, match=r"^sample_points: maps must be \(N, C, H, W\) and points .*maps: \(2, 3, 4, 5\)"
    ):
        sample_points(maps, points[:1])


@pytest.mark.parametrize("importance, undecided", [(0, 0), (0.75, 6), (1, 8)])
def test_uncertain_points_are_the_least_decided_of_those_drawn_and_some_at_random(
    importance, undecided, device
):
    logits = np.random.default_rng(1).standard_normal((3, 6, 5))
    points = uncertain_points(logits, 8, oversample=3, importance=importance, rng=2)
    rng = np.random.default_rng(2)
    drawn = rng.random((3, 24, 2))
    rest = rng.random((3, 8 - undecided, 2))
    for i in range(3):
        nearest = sorted(drawn[i].tolist(), key=lambda xy, i=i: abs(slow_read(logits[i], *xy)))[:undecided]
        assert sorted(points[i, :undecided].tolist()) == sorted(nearest)
        np.testing.assert_array_equal(points[i, undecided:], rest[i])
    assert uncertain_points(logits.astype(np.float32), 8).dtype == np.float32
    assert uncertain_points(logits[:0], 8).shape == (0, 8, 2)
    moved = uncertain_points(to_device(logits, device), 8, importance=importance, rng=2)
    np.testing.assert_array_equal(to_numpy(moved), points)


def test_a_seed_decides_the_points():
    logits = np.random.default_rng(1).standard_normal((2, 6, 5))
    same = [uncertain_points(logits, 9, rng=rng) for rng in (3, np.random.default_rng(3), 3)]
    assert (same[0] == same[1]).all() and (same[0] == same[2]).all()
    assert (uncertain_points(logits, 9, rng=4) != same[0]).all(axis=2).any()


# ---------------------------------------------------------------------------------------------------------------------
# The loss, against loops.


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


def slow_compare(z, t):
    """Mean cross-entropy and dice loss of points."""
    entropy = sum(
        -math.log(sigmoid(a)) * b - math.log(sigmoid(-a)) * (1 - b) for a, b in zip(z, t, strict=True)
    )
    overlap = sum(sigmoid(a) * b for a, b in zip(z, t, strict=True))
    total = sum(map(sigmoid, z)) + sum(t)
    return entropy / len(z), 1 - (2 * overlap + 1) / (total + 1)


def slow_terms(fields, targets, rng, points=6):
    """One layer by loops: every way to give objects to queries is tried."""
    p = np.exp(fields["logits"]) / np.exp(fields["logits"]).sum(axis=-1, keepdims=True)
    where = rng.random((len(targets), points, 2))
    surprise = 0.0
    weight = 0.0
    pairs = []

    def read(image, at):
        return [slow_read(image, x, y) for x, y in at]

    for i, target in enumerate(targets):
        labels = target["labels"]
        found = [read(mask, where[i]) for mask in fields["masks"][i]]
        wanted = [read(mask, where[i]) for mask in target["masks"]]
        costs = np.zeros((len(found), len(wanted)))
        for q, t in itertools.product(range(len(found)), range(len(wanted))):
            entropy, dice = slow_compare(found[q], wanted[t])
            costs[q, t] = 5 * entropy + 5 * dice - 2 * p[i, q, labels[t]]
        ways = itertools.permutations(range(len(found)), len(wanted))
        best = min(ways, key=lambda way, costs=costs: sum(costs[q, t] for t, q in enumerate(way)))
        answers = dict.fromkeys(range(len(found)), CLASSES) | {q: labels[t] for t, q in enumerate(best)}
        for q, answer in answers.items():
            w = 0.1 if answer == CLASSES else 1
            surprise = surprise - w * math.log(p[i, q, answer])
            weight = weight + w
        pairs += sorted((i, q, t) for t, q in enumerate(best))
    found = np.array([fields["masks"][i, q] for i, q, _ in pairs]).reshape(-1, 4, 3)
    chosen = uncertain_points(found, points, rng=rng)
    compared = [
        slow_compare(read(found[n], chosen[n]), read(targets[i]["masks"][t], chosen[n]))
        for n, (i, _, t) in enumerate(pairs)
    ]
    entropy, dice = np.sum(compared, axis=0) / len(pairs) if pairs else (0, 0)
    return {"loss_ce": surprise / weight, "loss_mask": entropy, "loss_dice": dice}


@pytest.mark.parametrize("counts", [COUNTS, (4, 1), (0, 0)])
def test_every_term_is_what_loops_and_trying_everything_give(counts):
    layers, targets = batch(counts=counts)
    terms, _ = loss(layers, targets, Mask2FormerCriterion(CLASSES, points=6, rng=5))
    rng = np.random.default_rng(5)
    total = 0.0
    # the matching's points, then those of the masks
    for suffix, fields in zip(["", "_0"], layers, strict=True):
        for name, value in slow_terms(fields, targets, rng).items():
            np.testing.assert_allclose(terms[name + suffix].item(), value, rtol=1e-9, atol=1e-12)
            total += (2 if name == "loss_ce" else 5) * value
    np.testing.assert_allclose(terms["loss"].item(), total)
    assert len(terms) == 1 + 2 * 3


def test_earlier_layers_are_matched_anew_at_new_points():
    layers, targets = batch(layers=3)
    terms, _ = loss(layers, targets, Mask2FormerCriterion(CLASSES, points=20, rng=1))
    one = Mask2FormerCriterion(CLASSES, points=20, rng=np.random.default_rng(1))
    for suffix, fields in zip(["", "_0", "_1"], layers, strict=True):
        own, _ = loss([fields], targets, one)
        for name in ("loss_ce", "loss_mask", "loss_dice"):
            np.testing.assert_allclose(terms[name + suffix].item(), own[name].item(), rtol=1e-12)


def test_a_seed_decides_the_loss_and_each_call_draws_anew():
    layers, targets = batch()
    criterion, again = (Mask2FormerCriterion(CLASSES, points=20, rng=6) for _ in range(2))
    first, second = (loss(layers, targets, criterion)[0]["loss"].item() for _ in range(2))
    assert first != second
    assert [loss(layers, targets, again)[0]["loss"].item() for _ in range(2)] == [first, second]
    # so a training that was interrupted can go on with the same points
    state = criterion.rng.bit_generator.state
    third = loss(layers, targets, criterion)[0]["loss"].item()
    criterion.rng.bit_generator.state = state
    assert loss(layers, targets, criterion)[0]["loss"].item() == third


def test_the_order_of_objects_does_not_matter_at_all_and_that_of_queries_only_moves_points():
    layers, targets = batch()
    terms, _ = loss(layers, targets, Mask2FormerCriterion(CLASSES, points=3000))
    rng = np.random.default_rng(0)
    order = np.array([3, 0, 4, 2, 1])
    shuffled = [{n: x[i] for n, x in t.items()} for t in targets for i in [rng.permutation(len(t["labels"]))]]
    others, _ = loss(layers, shuffled, Mask2FormerCriterion(CLASSES, points=3000))
    for name, value in terms.items():
        np.testing.assert_allclose(others[name].item(), value.item(), rtol=1e-12)
    others, _ = loss(permuted(layers, order), targets, Mask2FormerCriterion(CLASSES, points=3000))
    for name, value in terms.items():
        np.testing.assert_allclose(others[name].item(), value.item(), rtol=1e-12 if "_ce" in name else 0.03)


def test_our_solver_and_scipys_find_the_same_pairs():
    (fields, _), targets = batch(queries=6, counts=(4, 6, 8))
    found = [
        MaskMatcher(points=30, solver=solver)(fields["logits"], fields["masks"], targets)
        for solver in (None, linear_sum_assignment)
    ]
    for (q1, t1), (q2, t2) in zip(*found, strict=True):
        assert q1.tolist() == q2.tolist() and t1.tolist() == t2.tolist()


# ---------------------------------------------------------------------------------------------------------------------
# Edges: never NaN.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("counts, queries", [((0, 0), 3), ((0, 2), 3), ((5, 1), 3), ((3, 3), 3), ((1, 0), 1)])
def test_any_number_of_objects_gives_finite_losses_and_gradients(counts, queries, dtype):
    layers, targets = batch(counts=counts, queries=queries)
    terms, leaves = loss(layers, targets, dtype=dtype)
    for value in terms.values():
        assert value.dtype == dtype and value.shape == () and np.isfinite(value.item())
    for fields in leaves:
        for leaf in fields.values():
            assert leaf.grad.dtype == dtype and np.isfinite(leaf.grad).all()
    if not sum(counts):
        assert terms["loss_mask"].item() == terms["loss_dice"].item() == 0
        assert not leaves[0]["masks"].grad.any() and leaves[0]["logits"].grad.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("full", [False, True])
def test_empty_and_full_masks_and_certain_logits_are_finite(full, dtype):
    layers, targets = batch()
    for fields in layers:
        for x in fields.values():
            x[:] = np.where(x > 0, 1e4, -1e4)
    for target in targets:
        target["masks"][:] = full
    terms, leaves = loss(layers, targets, dtype=dtype)
    assert np.isfinite([x.item() for x in terms.values()]).all()
    assert all(np.isfinite(leaf.grad).all() for fields in leaves for leaf in fields.values())


@pytest.mark.parametrize("field", ["logits", "masks"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_predictions_that_are_not_finite_are_refused_by_name(field, value):
    layers, targets = batch()
    layers[1][field][1, 2, 0] = value  # in an earlier layer, in the image without objects
    with pytest.raises(ValueError, match=f"^MaskMatcher: {field} hold NaN or infinity"):
        loss(layers, targets)


# ---------------------------------------------------------------------------------------------------------------------
# Gradients, devices, errors.


@pytest.mark.parametrize("counts", [COUNTS, (7, 1), (0, 0)])
def test_the_gradient_of_every_term(counts):
    layers, targets = batch(counts=counts)
    names = [(i, name) for i, fields in enumerate(layers) for name in fields]

    def terms(*leaves):
        fields = [{}, {}]
        for (i, name), leaf in zip(names, leaves, strict=True):
            fields[i][name] = leaf
        output = SimpleNamespace(**fields[0], auxiliary=[SimpleNamespace(**fields[1])])
        return list(Mask2FormerCriterion(CLASSES, points=11, rng=1)(output, targets).values())

    check_gradient(terms, *(layers[i][name] for i, name in names), rng=np.random.default_rng(1))


def test_it_works_on_a_device_with_targets_here_or_there(device):
    layers, targets = batch()
    expected, leaves = loss(layers, targets)
    moved = [{name: to_device(x, device) for name, x in target.items()} for target in targets]
    for there in (targets, moved):
        terms, found = loss(layers, there, device=device)
        for name, value in expected.items():
            assert terms[name].device == device
            np.testing.assert_allclose(terms[name].item(), value.item(), rtol=1e-12)
        np.testing.assert_allclose(to_numpy(found[0]["masks"].grad), leaves[0]["masks"].grad, rtol=1e-9)
    with pytest.raises(TypeError, match="^MaskMatcher: .*different devices"):
        MaskMatcher(points=3)(layers[0]["logits"], to_device(layers[0]["masks"], device), targets)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: MaskMatcher(0, 0, 0), "MaskMatcher: weights must be at least 0"),
        (lambda: MaskMatcher(points=0), "MaskMatcher: points and oversample must be at least 1"),
        (
            lambda: Mask2FormerCriterion(4, points=0),
            "Mask2FormerCriterion: points and oversample must be at least 1",
        ),
        (
            lambda: Mask2FormerCriterion(4, oversample=0.5),
            "Mask2FormerCriterion: points and oversample must be",
        ),
        (lambda: Mask2FormerCriterion(4, importance=1.2), "Mask2FormerCriterion: .*importance lie in 0 to 1"),
        (
            lambda: Mask2FormerCriterion(4, weights={"loss_bbox": 1}),
            "Mask2FormerCriterion: weights has an unknown term 'loss_bbox'",
        ),
        (
            lambda: Mask2FormerCriterion(4, no_object=0),
            "Mask2FormerCriterion: weights must be at least 0 and no_object",
        ),
        (
            lambda: uncertain_points(np.zeros((1, 2, 2)), 4, importance=2),
            "uncertain_points: .*importance lie in",
        ),
        (
            lambda: loss(*batch(), Mask2FormerCriterion(6)),
            r"Mask2FormerCriterion: logits must be .* with K=6 \(logits",
        ),
        (
            lambda: MaskMatcher()(np.zeros((2, 5, 3)), np.zeros((2, 4, 4, 4)), batch()[1][:2]),
            r"MaskMatcher: logits must be \(B, Q, K \+ 1\) and masks \(B, Q, h, w\) \(logits: \(2, 5, 3\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match="^" + message):
        call()
