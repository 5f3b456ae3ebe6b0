"""Panoptic merge and semantic maps: against the published rules pixel by pixel, and the law that a result divides the image.

Not here: transformers' own results (tests/parity/test_metric_parity.py), panoptic quality (tests/metrics/).
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivis as mv
from minivis.gradcheck import check_gradient
from minivis.vision import detr_panoptic, id2rgb, panoptic_inference, rgb2id, semantic_inference

THINGS = np.array([True, True, False, False])
MERGES = {"detr": detr_panoptic, "mask2former": panoptic_inference}


def queries(seed, Q=None, K=4):
    """Class and mask logits of one image: coarse regions with noise on top, some queries sure, some not."""
    rng = np.random.default_rng(seed)
    Q = int(rng.integers(0, 9)) if Q is None else Q
    logits = rng.normal(0, 1, (Q, K + 1))
    logits[np.arange(Q), rng.integers(0, K + 1, Q)] += rng.choice([2, 8], Q)
    masks = np.kron(rng.normal(0, 2, (Q, 2, 3)), np.ones((3, 3))) + rng.normal(0, 0.5, (Q, 6, 9))
    return logits.astype(np.float32), (masks - rng.choice([0, 2], (Q, 1, 1))).astype(np.float32)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("name", MERGES)
@given(seed=st.integers(0, 2**32), size=st.sampled_from([None, (6, 9), (11, 13), (3, 4)]))
def test_a_panoptic_result_divides_the_image(name, seed, size):
    logits, masks = queries(seed)
    ids, segments = MERGES[name](logits, masks, THINGS, size=size)
    assert ids.shape == (size or masks.shape[1:]) and ids.dtype == np.int32
    assert [segment["id"] for segment in segments] == list(range(1, len(segments) + 1))
    assert set(np.unique(ids)) - {0} == {segment["id"] for segment in segments}
    assert all(segment["area"] == (ids == segment["id"]).sum() > 0 for segment in segments)
    assert sum(segment["area"] for segment in segments) + (ids == 0).sum() == ids.size
    assert all(segment["isthing"] is bool(THINGS[segment["category_id"]]) for segment in segments)
    stuff = [segment["category_id"] for segment in segments if not segment["isthing"]]
    assert len(stuff) == len(set(stuff)), "one segment a stuff class"
    assert all(type(segment[key]) is kind for segment in segments for key, kind in SEGMENT.items())


SEGMENT = {"id": int, "category_id": int, "isthing": bool, "score": float, "area": int}


@given(st.integers(0, 2**32))
def test_detr_leaves_no_pixel_and_no_speck(seed):
    logits, masks = queries(seed)
    ids, segments = detr_panoptic(logits, masks, THINGS, threshold=0.5)
    assert (ids == 0).all() if not segments else (ids > 0).all()
    assert all(segment["area"] > 4 and segment["score"] > 0.5 for segment in segments)


@pytest.mark.parametrize("inside", [True, False])
@given(seed=st.integers(0, 2**32))
def test_mask2former_and_maskformer_merge_as_the_published_rules_say(inside, seed):
    logits, masks = queries(seed)
    got, segments = panoptic_inference(logits, masks, THINGS, threshold=0.6, overlap=0.7, inside=inside)
    p = softmax(logits.astype(float))
    m = 1 / (1 + np.exp(-masks.astype(float)))
    sure = [q for q in range(len(p)) if p[q].argmax() < 4 and p[q].max() > 0.6]
    expected = np.zeros(masks.shape[1:], int)
    told = []
    seen = {}
    if sure:
        owner = np.array(sure)[np.stack([p[q].max() * m[q] for q in sure]).argmax(axis=0)]
        for q in sure:
            label = int(p[q].argmax())
            own = m[q] >= 0.5
            kept = (owner == q) & (own | (not inside))
            if not own.any() or not kept.any() or (owner == q).sum() / own.sum() < 0.7:
                continue
            if label not in seen or THINGS[label]:
                told.append(label)
                seen[label] = len(told)
            expected[kept] = seen[label]
    np.testing.assert_array_equal(got, expected)
    assert [segment["category_id"] for segment in segments] == told


def sure(*labels, K=4):
    """Logits of queries that are certain of their class; K says no object."""
    return np.eye(K + 1, dtype=np.float32)[list(labels)] * 20


def rows(*strings):
    """Mask logits of one row of pixels: digits and minus signs."""
    return np.array([[[float(x) for x in text.split()]] for text in strings], np.float32)


def test_each_pixel_goes_to_the_query_that_wants_it_most():
    masks = rows("9 9 9 9 9 1 1 1 1 1", "5 5 5 5 5 2 2 2 2 2", "99 99 99 99 99 99 99 99 99 99")
    ids, segments = detr_panoptic(sure(0, 2, 4), masks, THINGS)
    assert ids.tolist() == [[1] * 5 + [2] * 5]
    assert [(s["category_id"], s["area"]) for s in segments] == [(0, 5), (2, 5)]


def test_specks_of_detr_go_again_and_again_until_all_are_large():
    masks = rows(
        "9 9 9 9 0 0 0 0 0 0 0 0",  # four pixels: goes at once, and its pixels fall to the next
        "8 8 8 8 7 7 7 0 0 0 0 0",  # three pixels at first: goes too, although with the others it would have seven
        "1 1 1 1 1 1 1 5 5 5 5 5",
    )
    ids, segments = detr_panoptic(sure(0, 1, 2), masks, THINGS)
    assert ids.tolist() == [[1] * 12] and segments[0]["category_id"] == 2
    ids, segments = detr_panoptic(sure(0, 1, 2), masks, THINGS, min_area=2)
    assert [segment["area"] for segment in segments] == [4, 3, 5]
    assert detr_panoptic(sure(0, 1, 2), masks[..., :4], THINGS)[1] == []


def test_queries_of_one_stuff_class_are_one_segment_and_things_stay_apart():
    masks = rows("5 5 5 5 5 5 0 0 0 0 0 0", "0 0 0 0 0 0 5 5 5 5 5 5")
    for merge in MERGES.values():
        for label, segments in ((0, 2), (2, 1)):
            ids, told = merge(sure(label, label), masks - 1, THINGS)
            assert len(told) == segments and (ids > 0).all()
            assert sum(segment["area"] for segment in told) == 12


def test_mask2former_drops_who_is_hidden_and_leaves_void_where_nobody_is_inside():
    masks = rows("9 9 9 9 9 9 -9 -9", "1 1 1 1 1 1 1 -9", "-9 -9 -9 -9 -9 -9 -9 -1")
    ids, segments = panoptic_inference(sure(0, 1, 2), masks, THINGS)
    # the second wins 1 of its 7 pixels; the third is inside nowhere
    assert ids.tolist() == [[1, 1, 1, 1, 1, 1, 0, 0]]
    assert [segment["category_id"] for segment in segments] == [0]


def test_an_unsure_query_with_a_strong_mask_loses_to_a_sure_one():
    logits = np.log(np.array([[0.85, 0.05, 0.04, 0.03, 0.03], [0.01, 0.96, 0.01, 0.01, 0.01]], np.float32))
    masks = np.array([[[2.0] * 10], [[1.7] * 10]], np.float32)
    assert panoptic_inference(logits, masks, THINGS)[1][0]["category_id"] == 1
    assert detr_panoptic(logits, masks, THINGS, threshold=0.8)[1][0]["category_id"] == 0


@pytest.mark.parametrize("merge", MERGES.values())
def test_nobody_sure_is_void_everywhere(merge):
    masks = np.ones((2, 3, 4), np.float32)
    for logits in (np.zeros((2, 5)), sure(4, 4)):
        ids, segments = merge(logits, masks, THINGS, size=(5, 6))
        assert ids.shape == (5, 6) and not ids.any() and segments == []


@pytest.mark.parametrize("merge", MERGES.values())
def test_tensors_and_arrays_of_a_device_give_the_same(merge, device):
    logits, masks = queries(7, Q=6)
    expected = merge(logits, masks, THINGS)
    for place in (mv.Tensor, lambda x: mv.to_device(x, device)):
        ids, segments = merge(place(logits), place(masks), THINGS.tolist())
        np.testing.assert_array_equal(ids, expected[0])
        assert segments == expected[1]


# ---------------------------------------------------------------------------------------------------------------------
# Semantic maps


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_semantic_scores_are_the_votes_of_all_queries(dtype):
    images = [queries(seed, Q=5) for seed in (0, 1)]
    logits, masks = (np.stack(part).astype(dtype) for part in zip(*images, strict=True))
    got = semantic_inference(logits, masks)
    assert got.shape == (2, 4, 6, 9) and got.dtype == dtype
    for b in range(2):
        p = softmax(logits[b])
        m = 1 / (1 + np.exp(-masks[b]))
        np.testing.assert_allclose(got[b], np.einsum("qk,qhw->khw", p[:, :-1], m), rtol=1e-5)
    assert semantic_inference(logits, masks, size=(12, 10)).shape == (2, 4, 12, 10)
    assert (got.sum(axis=1) <= 5).all() and (got >= 0).all()


def test_two_certain_queries_on_two_halves_give_one_hot_scores():
    left = np.arange(6) < 3
    masks = np.where(np.stack([left, ~left]), np.inf, -np.inf)[None, :, None]  # (1, 2, 1, 6)
    logits = np.where(np.eye(4)[[1, 2]] > 0, 1e4, -1e4)[None]
    expected = np.stack([0 * left, left, ~left])[None, :, None]
    np.testing.assert_array_equal(semantic_inference(logits, masks), expected)


def test_semantic_scores_are_differentiable_and_run_on_a_device(device):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 4))
    masks = rng.normal(size=(2, 3, 2, 3))
    check_gradient(lambda c, m: semantic_inference(c, m, size=(3, 5)), logits, masks, rng=rng)
    there = semantic_inference(mv.to_device(logits, device), mv.to_device(masks, device))
    np.testing.assert_allclose(mv.to_numpy(there), semantic_inference(logits, masks))


# ---------------------------------------------------------------------------------------------------------------------
# Colours


@given(st.lists(st.integers(0, 256**3 - 1), max_size=9))
def test_colours_and_numbers_are_inverse(numbers):
    ids = np.array(numbers, np.int64)
    colours = id2rgb(ids)
    assert colours.dtype == np.uint8 and colours.shape == (len(ids), 3)
    assert rgb2id(colours).dtype == np.int32
    np.testing.assert_array_equal(rgb2id(colours), ids)


def test_red_is_the_low_byte_and_small_integers_do_not_wrap():
    assert rgb2id(np.array([[3, 2, 1], [255, 255, 255]], np.uint8)).tolist() == [3 + 512 + 65536, 256**3 - 1]
    assert id2rgb(np.array([200, 7], np.uint8)).tolist() == [[200, 0, 0], [7, 0, 0]]


@pytest.mark.parametrize(
    ("call", "kind", "complaint"),
    [
        (
            lambda: detr_panoptic(np.zeros((1, 2, 5)), np.zeros((1, 2, 3, 3)), THINGS),
            ValueError,
            r"detr_panoptic: .*those of one image.*\(logits: \(1, 2, 5\), masks: \(1, 2, 3, 3\)\)",
        ),
        (
            lambda: panoptic_inference(np.zeros((2, 5)), np.zeros((3, 3, 3)), THINGS),
            ValueError,
            r"panoptic_inference: .*\(logits: \(2, 5\), masks: \(3, 3, 3\)\)",
        ),
        (
            lambda: detr_panoptic(np.zeros((2, 4)), np.zeros((2, 3, 3)), THINGS),
            ValueError,
            r"the last of the K\+1 = 4 logits is no object \(things: \(4,\) bool\)",
        ),
        (
            lambda: detr_panoptic(np.zeros((2, 5)), np.zeros((2, 3, 3)), [0, 1, 2, 3]),
            ValueError,
            r"things must be \(K,\) boolean.*\(4,\) int64",
        ),
        (
            lambda: detr_panoptic(np.zeros((2, 5)), np.zeros((2, 3, 3), bool), THINGS),
            TypeError,
            "masks must be logits, floating-point, got bool",
        ),
        (
            lambda: semantic_inference(np.zeros((2, 5)), np.zeros((2, 3, 3))),
            ValueError,
            r"semantic_inference: .*\(logits: \(2, 5\), masks: \(2, 3, 3\)\)",
        ),
        (
            lambda: semantic_inference([[[0.0, 1.0]]], np.zeros((1, 1, 3, 3))),
            TypeError,
            "semantic_inference: logits must be an array or a Tensor, got list",
        ),
        (
            lambda: panoptic_inference([[0.0, 1.0]], np.zeros((1, 3, 3)), [True]),
            TypeError,
            "panoptic_inference: logits must be an array or a Tensor, got list",
        ),
        (lambda: rgb2id(np.zeros((2, 2, 3))), TypeError, "rgb2id: .*got float64"),
        (lambda: rgb2id(np.zeros((3, 2, 2), int)), ValueError, r"rgb2id: .*\(image: \(3, 2, 2\)\)"),
        (
            lambda: rgb2id(np.array([[0, 256, 0]])),
            ValueError,
            "rgb2id: image must lie in 0 to 255, got 0 to 256",
        ),
        (lambda: id2rgb(np.array([-1])), ValueError, "id2rgb: ids must lie in 0 to 16777215, got -1 to -1"),
        (lambda: id2rgb(np.array([0.5])), TypeError, "id2rgb: ids must be integers, got float64"),
    ],
)
def test_what_does_not_fit_is_refused(call, kind, complaint):
    with pytest.raises(kind, match=complaint):
        call()


@pytest.mark.parametrize("merge", [detr_panoptic, panoptic_inference])
def test_one_number_is_the_side_of_a_square(merge):
    logits = np.array([[9.0, 0, 0, 0, 0]])
    ids, segments = merge(logits, np.ones((1, 3, 3)), THINGS, size=6)
    np.testing.assert_array_equal(ids, np.ones((6, 6)))
    assert segments[0]["area"] == 36
