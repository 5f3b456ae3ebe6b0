"""The losses of YOLO: worked numbers, gradients, batches, cells with two objects, a device.

Not here: what the laws check (tests/laws), the dtypes (tests/test_precision.py).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import losses, ops, vision
from minivis.gradcheck import check_gradient

RNG = np.random.default_rng(11)
NOTHING = {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, int)}
TARGETS = [
    {"boxes": np.array([[0.3, 0.4, 0.3, 0.3], [0.7, 0.6, 0.2, 0.4]]), "labels": np.array([1, 0])},
    NOTHING,
    {"boxes": np.array([[1.0, 1.0, 0.5, 0.2]]), "labels": np.array([2])},
]
ANCHORS = np.array([[1.0, 1.0], [2.0, 1.5]])


def at_the_objects(S=4, C=3):
    """A prediction whose boxes overlap their objects, away from ties."""
    prediction = RNG.uniform(0.2, 0.8, (3, S, S, 10 + C))
    for i, target in enumerate(TARGETS):
        rows, columns, offsets = vision.grid_cells(target["boxes"], S)
        prediction[i, rows, columns, 5:7] = offsets + 0.05
        prediction[i, rows, columns, 7:9] = target["boxes"][:, 2:] * 1.1
    return prediction


def test_the_same_error_counts_more_for_a_small_box():
    def cost(found, true):
        prediction = np.zeros((1, 1, 6))
        prediction[0, 0] = (
            0.5,
            0.5,
            found,
            found,
            found**2 / true**2 if found < true else true**2 / found**2,
            1,
        )
        box = np.array([[0.5, 0.5, true, true]])
        return float(losses.yolo_loss(prediction, box, np.array([0]), 1, 1)) / (5 * 2)

    assert cost(0.2, 0.1) == pytest.approx(0.0171573, abs=1e-7)
    assert cost(0.9, 0.8) == pytest.approx(0.0029437, abs=1e-7)


def test_a_perfect_prediction_costs_nothing_and_a_batch_is_the_mean():
    prediction = at_the_objects()
    single = [
        float(losses.yolo_loss(p, t["boxes"], t["labels"], 4, 2))
        for p, t in zip(prediction, TARGETS, strict=True)
    ]
    assert float(losses.yolo_batch_loss(prediction, TARGETS)) == pytest.approx(np.mean(single))
    wanted, _ = losses.yolo_targets(prediction, TARGETS)
    exact, _ = losses.yolo_targets(wanted, TARGETS)  # now the IoU of the responsible boxes is 1
    assert float(losses.yolo_batch_loss(exact, TARGETS)) == pytest.approx(0, abs=1e-12)
    assert exact[..., 4:10:5].sum() == pytest.approx(3)


def test_gradients_are_those_of_differences_with_the_overlap_as_a_constant():
    prediction = mv.Tensor(at_the_objects(), requires_grad=True)
    wanted, weights = losses.yolo_targets(prediction, TARGETS)
    losses.yolo_batch_loss(prediction, TARGETS).backward()
    expected = 2 * weights * (prediction.numpy() - wanted) / 3
    root = np.isin(np.arange(13), [2, 3, 7, 8])
    p = prediction.numpy()[..., root]
    t = wanted[..., root]
    expected[..., root] = weights[..., root] * (1 - np.sqrt(t / p)) / 3
    np.testing.assert_allclose(prediction.grad, expected, atol=1e-12)
    check_gradient(
        lambda x: losses.yolo_v2_loss(x, [TARGETS[0]], ANCHORS, object_weight=0, ignore=1.0),
        RNG.standard_normal((1, 4, 4, 2, 8)),
    )


@pytest.mark.parametrize("size", [0.0, -0.3, 1e-12])
def test_roots_of_nothing_and_of_negative_sizes_have_finite_slopes(size):
    prediction = np.full((1, 2, 2, 7), 0.1, np.float32)
    prediction[..., 2:4] = size
    x = mv.Tensor(prediction, requires_grad=True)
    loss = losses.yolo_batch_loss(
        x, [{"boxes": np.array([[0.5, 0.5, 0.2, 0.2]]), "labels": np.array([0])}], 1
    )
    loss.backward()
    assert np.isfinite(float(loss)) and np.isfinite(x.grad).all()
    assert (x.grad[0, 1, 1, 2:4] < 0).all()  # the sizes should grow


def test_of_two_objects_in_a_cell_the_later_one_counts():
    one = {"boxes": np.array([[0.2, 0.2, 0.1, 0.1]]), "labels": np.array([0])}
    two = {"boxes": np.array([[0.3, 0.3, 0.4, 0.4], [0.2, 0.2, 0.1, 0.1]]), "labels": np.array([1, 0])}
    prediction = RNG.uniform(0.1, 0.9, (1, 2, 2, 12))
    assert float(losses.yolo_batch_loss(prediction, [two])) == float(
        losses.yolo_batch_loss(prediction, [one])
    )


def test_the_second_version_by_hand():
    prediction = np.zeros((1, 2, 2, 2, 7))
    target = {"boxes": np.array([[0.25, 0.25, 0.5, 0.5]]), "labels": np.array([1])}
    # the cell (0, 0); the first anchor is 1 x 1 cell, as the object is: its box is right already
    parts = {"confidence": 5 * (0.5 - 1) ** 2, "class": np.log(2), "empty": 7 * 0.5**2}
    assert float(losses.yolo_v2_loss(prediction, [target], ANCHORS)) == pytest.approx(sum(parts.values()))
    # the second box of the cell has IoU 1 / 3: with a lower limit it is left out
    parts["empty"] = 6 * 0.5**2
    assert float(losses.yolo_v2_loss(prediction, [target], ANCHORS, ignore=0.3)) == pytest.approx(
        sum(parts.values())
    )
    prediction[0, 0, 0, 0, 2:4] = 0.5, -0.5  # t_w and t_h: a squared error of 0.5, with the factor 2 - 1/4
    w, h = np.exp([0.5, -0.5])
    parts |= {"box": 1.75 * 0.5, "confidence": 5 * (0.5 - h / (1 + w * h - h)) ** 2, "empty": 7 * 0.5**2}
    assert float(losses.yolo_v2_loss(prediction, [target], ANCHORS)) == pytest.approx(sum(parts.values()))


def test_the_same_on_a_device(device):
    prediction = at_the_objects().astype(np.float32)
    grids = RNG.standard_normal((3, 4, 4, 2, 8)).astype(np.float32)
    for call, given in (
        (losses.yolo_batch_loss, prediction),
        (lambda p, t: losses.yolo_v2_loss(p, t, ANCHORS), grids),
    ):
        found = []
        for where in ("cpu", device):
            x = mv.Tensor(mv.to_device(given, where), requires_grad=True)
            loss = call(x, TARGETS)
            loss.backward()
            found.append((float(loss), mv.to_numpy(x.grad)))
        (a, da), (b, db) = found
        assert a == pytest.approx(b, rel=1e-5)
        np.testing.assert_allclose(da, db, atol=1e-5)


def test_no_pictures_with_objects_and_arrays_stay_arrays():
    out = losses.yolo_batch_loss(np.ones((2, 3, 3, 12), np.float32), [NOTHING, NOTHING])
    assert not isinstance(out, mv.Tensor) and out.dtype == np.float32 and float(out) == 9
    assert float(ops.sum(losses.yolo_targets(np.ones((1, 3, 3, 12)), [NOTHING])[1])) == 9


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: losses.yolo_loss(np.zeros((7, 7, 12)), np.zeros((0, 4)), np.zeros(0, int), 6, 2), r"^yolo_loss: .* S=6"),
        (lambda: losses.yolo_batch_loss(np.zeros((1, 7, 7, 10)), [NOTHING]), "^yolo_loss: .*at least one class"),
        (lambda: losses.yolo_batch_loss(np.zeros((2, 7, 7, 12)), [NOTHING]), "^yolo_loss: 2 images are predicted"),
        (lambda: losses.yolo_batch_loss(np.zeros((3, 7, 7, 12)), TARGETS), r"^yolo_loss: label 2 in targets"),
        (lambda: losses.yolo_v2_loss(np.zeros((1, 7, 7, 2, 5)), [NOTHING], ANCHORS), "^yolo_v2_loss: prediction must be"),
        (lambda: losses.yolo_v2_loss(np.zeros((1, 7, 7, 3, 7)), [NOTHING], ANCHORS), r"^yolo_v2_loss: .*anchors: \(2, 2\)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_integers_and_other_mistakes_are_refused_by_name():
    for call, message in (
        (lambda: losses.yolo_batch_loss(np.zeros((1, 3, 3, 12), int), [NOTHING]), "^yolo_loss: prediction must be floating"),
        (lambda: losses.yolo_v2_loss(np.zeros((1, 3, 3, 2, 7), int), [NOTHING], ANCHORS), "^yolo_v2_loss: prediction must be"),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=message):
            call()
    # there is no class for "no object"
    one_more = {"boxes": np.full((1, 4), 0.5), "labels": np.array([2])}
    with pytest.raises(ValueError, match="label 2 in .*, 0 to 1 .the number"):
        losses.yolo_batch_loss(np.zeros((1, 3, 3, 12)), [one_more])


def test_anchors_may_be_a_list():
    prediction = RNG.standard_normal((1, 3, 3, 2, 7))
    given = [
        float(losses.yolo_v2_loss(prediction, [NOTHING], one))
        for one in (ANCHORS, np.array(ANCHORS).tolist())
    ]
    assert given[0] == given[1]
