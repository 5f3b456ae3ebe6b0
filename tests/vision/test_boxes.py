"""Boxes against counted pixels, by hand and at the edges: formats, IoU, GIoU, what has no area, gradients, clipping.

Not here: the laws for learners (tests/laws).
"""

import numpy as np
import pytest

import minivis as mv
from minivis.gradcheck import check_gradient
from minivis.vision import (
    box_area,
    box_cxcywh_to_xyxy,
    box_iou,
    box_xyxy_to_cxcywh,
    clip_boxes,
    generalized_box_iou,
)

RNG = np.random.default_rng(3)
MEASURES = [box_iou, generalized_box_iou]
# A point, two lines, a square, points elsewhere, the largest box promised, one too small for the area's reciprocal
DEGENERATE = np.array(
    [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 1, 1], [1, 1, 1, 1], [0.5, 0.5, 0.5, 0.5],
     [-1e6, -1e6, 1e6, 1e6], [1e6, 1e6, 1e6, 1e6], [0, 0, 1e-20, 1e-20], [0, 0, 1e-30, 1], [0, 0, 1e-8, 1e-9]]
)  # fmt: skip


def random_boxes(*shape, size=0.6):
    return box_cxcywh_to_xyxy(
        np.concatenate([RNG.random((*shape, 2)), size * RNG.random((*shape, 2))], axis=-1)
    )


def test_the_formats_by_hand_and_back_again():
    np.testing.assert_array_equal(box_cxcywh_to_xyxy(np.array([[0.5, 0.25, 1.0, 0.5]])), [[0, 0, 1, 0.5]])
    np.testing.assert_array_equal(box_xyxy_to_cxcywh(np.array([[0.0, 0.0, 1.0, 0.5]])), [[0.5, 0.25, 1, 0.5]])
    for shape in [(), (3,), (2, 3), (0,), (2, 0)]:
        boxes = RNG.random((*shape, 4))
        np.testing.assert_allclose(box_xyxy_to_cxcywh(box_cxcywh_to_xyxy(boxes)), boxes, atol=1e-15)
        assert box_cxcywh_to_xyxy(boxes.astype(np.float32)).dtype == np.float32
    check_gradient(box_cxcywh_to_xyxy, RNG.random((3, 4)))
    check_gradient(box_xyxy_to_cxcywh, RNG.random((3, 4)))


def test_areas_are_counted_pixels():
    grid = np.arange(9) + 0.5
    corners = np.sort(RNG.integers(0, 10, (40, 2, 2)), axis=1)
    boxes = corners.reshape(40, 4).astype(np.float32)
    x1, y1, x2, y2 = boxes.T[..., None]
    inside_x, inside_y = (x1 < grid) & (grid < x2), (y1 < grid) & (grid < y2)
    masks = (inside_y[:, :, None] & inside_x[:, None, :]).reshape(40, -1).astype(int)
    both = masks @ masks.T
    either = masks.sum(1)[:, None] + masks.sum(1) - both
    expected = np.divide(both, either, out=np.zeros(both.shape), where=either > 0)
    np.testing.assert_array_equal(box_area(boxes), masks.sum(1))
    np.testing.assert_allclose(box_iou(boxes, boxes), expected, rtol=1e-6)
    low = np.minimum(corners[:, None, 0], corners[None, :, 0])
    high = np.maximum(corners[:, None, 1], corners[None, :, 1])
    enclosure = (high - low).prod(axis=-1)
    lost = np.divide(enclosure - either, enclosure, out=np.zeros(both.shape), where=enclosure > 0)
    np.testing.assert_allclose(generalized_box_iou(boxes, boxes), expected - lost, rtol=1e-5, atol=1e-6)


def test_giou_by_hand():
    a = np.array([[0.0, 0.0, 4.0, 2.0]])
    for other, iou, giou in [
        ([0, 0, 4, 2], 1, 1),
        ([1, 0, 3, 2], 1 / 2, 1 / 2),  # inside: the enclosure is the union
        ([2, 0, 6, 2], 1 / 3, 1 / 3),  # side by side: the same
        ([2, 1, 6, 3], 2 / 14, 2 / 14 - 4 / 18),
        ([4, 0, 8, 2], 0, 0),  # touching
        ([6, 0, 10, 2], 0, -4 / 20),
        ([4, 2, 8, 4], 0, -16 / 32),  # touching in a corner
    ]:
        b = np.array([other], dtype=float)
        assert box_iou(a, b).item() == pytest.approx(iou)
        assert generalized_box_iou(a, b).item() == pytest.approx(giou)


@pytest.mark.parametrize("measure", MEASURES)
def test_all_pairs_are_each_pair_and_leading_axes_broadcast(measure):
    a, b = random_boxes(5), random_boxes(3)
    table = measure(a, b)
    assert table.shape == (5, 3)
    for i in range(5):
        for j in range(3):
            assert table[i, j] == measure(a[i], b[j], pairwise=False)
    np.testing.assert_array_equal(measure(a[:, None], b, pairwise=False), table)
    batch = random_boxes(2, 5)
    np.testing.assert_array_equal(measure(batch, b), np.stack([measure(boxes, b) for boxes in batch]))
    for n, m in [(0, 3), (5, 0), (0, 0)]:
        assert measure(a[:n], b[:m]).shape == (n, m)


def test_giou_stays_within_its_bounds():
    for size in (0.01, 0.6, 3):
        a, b = random_boxes(60, size=size), random_boxes(50, size=size)
        iou, giou = box_iou(a, b), generalized_box_iou(a, b)
        assert (0 <= iou).all() and (iou <= 1).all()
        assert (-1 < giou).all() and (giou <= iou + 1e-12).all()
        np.testing.assert_allclose(giou.T, generalized_box_iou(b, a), atol=1e-12)
        np.testing.assert_array_equal(np.diag(generalized_box_iou(a, a)), 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("measure", MEASURES)
def test_degenerate_boxes_are_finite_forward_and_backward(measure, dtype):
    boxes = DEGENERATE.astype(dtype)
    a, b = mv.Tensor(boxes, requires_grad=True), mv.Tensor(boxes, requires_grad=True)
    with np.errstate(all="raise", under="ignore"):
        out = measure(a, b)
        out.backward(np.full(out.shape, -7, dtype))
    for values in (out.numpy(), a.grad, b.grad):
        assert values.dtype == dtype and np.isfinite(values).all()
    assert (np.abs(out.numpy()) <= 1).all()


def test_degenerate_boxes_have_the_promised_values():
    point, same, line, square, far = DEGENERATE[[0, 0, 1, 3, 4]][:, None]
    assert box_iou(point, same) == 0 and generalized_box_iou(point, same) == 0  # not 0 / 0
    assert box_iou(point, square) == 0 and generalized_box_iou(point, square) == 0  # nested, none of it lost
    assert generalized_box_iou(point, line) == 0  # an enclosure without area
    assert generalized_box_iou(point, far) == -1  # an enclosure of which nothing is covered
    assert box_iou(DEGENERATE[6:7], DEGENERATE[6:7]) == 1


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("pairwise", [True, False])
def test_gradients(measure, pairwise):
    a, b = random_boxes(4), random_boxes(4)
    check_gradient(lambda a, b: measure(a, b, pairwise=pairwise), a, b)
    nested = np.array([[0.1, 0.1, 0.9, 0.8]]), np.array([[0.3, 0.2, 0.6, 0.7]])
    check_gradient(lambda a, b: measure(a, b, pairwise=pairwise), *nested)


def test_boxes_apart_are_pulled_together_by_giou_alone():
    here = np.array([0.0, 0, 1, 1])
    there = mv.Tensor([3.0, 0, 4, 1], requires_grad=True)
    box_iou(here.astype(np.float32), there, pairwise=False).backward()
    np.testing.assert_array_equal(there.grad, 0)
    there.grad = None
    generalized_box_iou(here.astype(np.float32), there, pairwise=False).backward()
    assert there.grad[0] + there.grad[2] < 0  # a larger GIoU lies to the left, and with a larger box
    np.testing.assert_allclose(there.grad, [-1 / 4, 0, 2 / 16, 0])  # of (1 + x2 - x1) / x2 - 1


@pytest.mark.parametrize("measure", MEASURES)
def test_float32_stays_and_agrees_with_float64(measure):
    a, b = random_boxes(6), random_boxes(5)
    out = measure(a.astype(np.float32), b.astype(np.float32))
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, measure(a, b), atol=3e-6)


@pytest.mark.parametrize("far", [2e18, 4e18, 2e19, 1e30, 1e38])
@pytest.mark.parametrize("measure", MEASURES)
def test_boxes_of_float32_so_far_out_that_areas_overflow_are_measured_by_their_ratios(measure, far):
    shapes = np.array([[-1, -1, 1, 1], [0, 0, 1, 1], [-1, 0.5, 0.25, 1], [0.5, -1, 0.75, 1]])
    far_out = (far * shapes).astype(np.float32)
    near = shapes.astype(np.float32)
    a, b = (mv.Tensor(boxes, requires_grad=True) for boxes in (far_out, near))
    out, wanted = measure(a, a.detach()), measure(b, b.detach())
    np.testing.assert_allclose(out.data, wanted.data, rtol=3e-6, atol=3e-7)
    assert out.dtype == np.float32
    for y in (out, wanted):
        y.backward(np.arange(16, dtype=np.float32).reshape(4, 4))
    np.testing.assert_allclose(a.grad.astype(np.float64) * far, b.grad, rtol=3e-5, atol=3e-5)


def test_far_and_near_boxes_in_one_list_do_not_disturb_one_another():
    near = random_boxes(6, size=3).astype(np.float32)
    far = np.array([[-3e20, -3e20, 3e20, 3e20]], np.float32)
    for measure in MEASURES:
        np.testing.assert_allclose(
            measure(np.concatenate([far, near]), near)[1:], measure(near, near), atol=1e-6
        )
    kept = mv.vision.nms(np.concatenate([far, far, near[:1], near[:1]]), np.arange(4.0), 0.5)
    np.testing.assert_array_equal(kept, [3, 1])


def test_boxes_of_halves_are_measured_in_float32():
    """3,000 x 2,000 pixels: the area is infinite in float16."""
    a = np.array([[0, 0, 3000, 2000], [8, 8, 16, 12]], np.float16)
    b = np.array([[0, 0, 3000, 1000], [8, 8, 12, 12]], np.float16)
    np.testing.assert_array_equal(box_iou(a, b), np.array([[0.5, 16 / 6e6], [32 / 3e6, 0.5]], np.float16))
    np.testing.assert_array_equal(np.diag(generalized_box_iou(a, b)), [0.5, 0.5])
    np.testing.assert_array_equal(mv.vision.nms(a[[0, 0, 1]], np.array([1, 2, 3], np.float16), 0.5), [2, 1])


def test_clipping_cuts_what_leaves_the_image():
    boxes = np.array([[-1.0, 1, 3, 9], [1, 1, 2, 2], [7, 8, 9, 10], [-3, -3, -1, -1]])
    np.testing.assert_array_equal(
        clip_boxes(boxes, height=6, width=4), [[0, 1, 3, 6], [1, 1, 2, 2], [4, 6, 4, 6], [0, 0, 0, 0]]
    )
    assert clip_boxes(boxes.astype(np.float32), 6, 4).dtype == np.float32
    assert clip_boxes(np.zeros((0, 4)), 6, 4).shape == (0, 4)
    check_gradient(lambda x: clip_boxes(x, 6, 4), boxes)


def test_all_of_it_works_on_a_device(device):
    a, b = random_boxes(4), random_boxes(3)
    on = [mv.to_device(x, device) for x in (a, b)]
    for measure in MEASURES:
        np.testing.assert_array_equal(mv.to_numpy(measure(*on)), measure(a, b))
    for function in (box_area, box_cxcywh_to_xyxy, box_xyxy_to_cxcywh, lambda x: clip_boxes(x, 0.5, 0.7)):
        np.testing.assert_array_equal(mv.to_numpy(function(on[0])), function(a))
    with pytest.raises(ValueError, match="negative width or height"):
        box_area(mv.to_device(a[:, ::-1].copy(), device))


BOX = np.array([[0.0, 0.0, 1.0, 1.0]])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: box_iou(np.ones((2, 3)), BOX), ValueError, r"box_iou: boxes1 must be \(..., 4\).*\(2, 3\)"),
        (lambda: generalized_box_iou(BOX, np.float64(1)), ValueError, "generalized_box_iou: boxes2 must be"),
        (lambda: box_iou(BOX[0], BOX), ValueError, r"box_iou: for all pairs boxes must be \(N, 4\)"),
        (
            lambda: box_iou(np.zeros((2, 4)), np.zeros((3, 4)), pairwise=False),
            ValueError,
            r"box_iou: the axes before the last do not broadcast \(boxes1: \(2, 4\), boxes2: \(3, 4\)\)",
        ),
        (
            lambda: generalized_box_iou(BOX, np.array([[0.5, 0.5, 0.2, 0.6]])),
            ValueError,
            r"boxes2 has boxes of negative width or height, the first is \[0.5, 0.5, 0.2, 0.6\].*\(cx, cy, w, h\)",
        ),
        (lambda: box_area(-BOX), ValueError, "box_area: boxes has boxes of negative width"),
        (lambda: box_iou(BOX.astype(int), BOX), TypeError, "box_iou: boxes1 must be floating-point, got int64"),
        (lambda: box_cxcywh_to_xyxy(np.zeros((4, 5))), ValueError, "box_cxcywh_to_xyxy: boxes must be"),
        (lambda: box_xyxy_to_cxcywh(np.zeros(4, int)), TypeError, "box_xyxy_to_cxcywh: boxes must be floating"),
        (lambda: box_cxcywh_to_xyxy(np.zeros(4, int)), TypeError, "box_cxcywh_to_xyxy: boxes must be floating"),
        (lambda: box_xyxy_to_cxcywh(np.zeros(5)), ValueError, "box_xyxy_to_cxcywh: boxes must be"),
        (lambda: clip_boxes(np.zeros(3), 1, 1), ValueError, "clip_boxes: boxes must be"),
        (lambda: clip_boxes(np.zeros(4, int), 1, 1), TypeError, "clip_boxes: boxes must be floating"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
