"""The right answers of detection's families are right on any calls: against answers written otherwise, by loops or by
SciPy, and their gradients against finite differences.

Not here: whether wrong answers are found (test_catalogue.py, test_detection.py).
"""

import numpy as np
import pytest
import scipy.ndimage
import scipy.optimize

from minivis import vision
from minivis.laws.judging.candidate import Candidate, numerical_gradient
from minivis.laws.judging.checking import drawn
from minivis.laws.judging.gradient_laws import cotangent
from minivis.laws.judging.registry import family_of
from minivis.laws.judging.sandbox import Alarm
from minivis.laws.judging.value_laws import ANYTHING, GRADIENTS
from tests.laws.mutation import plain_cases
from tests.laws.plain_detection import PLAIN_DETECTION
from tests.laws.test_detection import dice, focal, giou, iou, split, suppress
from tests.models import test_lr_net, test_san, test_sasa
from tests.vision.test_rois import align_by_loops, pool_by_loops


def centred(boxes):
    left, top, right, bottom = np.moveaxis(boxes, -1, 0)
    return np.stack(
        [left + (right - left) / 2, top + (bottom - top) / 2, right - left, bottom - top], axis=-1
    )


def two(value):
    return value if isinstance(value, tuple) else (value, value)


def code(proposals, boxes, weights=(1, 1, 1, 1)):
    """One box at a time."""
    found = []
    for (a, b, c, d), (left, top, right, bottom) in zip(proposals, boxes, strict=True):
        way = ((left + right) - (a + c)) / 2, ((top + bottom) - (b + d)) / 2
        found.append([way[0] / (c - a), way[1] / (d - b), np.log((right - left) / (c - a)), np.log((bottom - top) / (d - b))])  # fmt: skip
    return np.array(found) * weights


def decode(deltas, proposals, weights=(1, 1, 1, 1)):
    found = []
    for (dx, dy, dw, dh), (a, b, c, d) in zip(deltas / np.array(weights), proposals, strict=True):
        w, h = (c - a) * min(np.exp(dw), 62.5), (d - b) * min(np.exp(dh), 62.5)
        x, y = (a + c) / 2 + dx * (c - a), (b + d) / 2 + dy * (d - b)
        found.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    return np.array(found)


def anchors(height, width, stride, sizes, ratios):
    """From centres and areas, cell after cell."""
    found = []
    for cell in range(height * width):
        for ratio in ratios:
            for size in sizes:
                w = np.sqrt(size * size / ratio)
                x = stride * (cell % width + 0.5)
                y = stride * (cell // width + 0.5)
                found.append([x - w / 2, y - w * ratio / 2, x + w / 2, y + w * ratio / 2])
    return np.array(found, np.float32)


def match(iou, high=0.7, low=0.3):
    """An anchor at a time: is it the best of an object?"""
    found = []
    for row in iou:
        best = -2 if not len(row) or row.max() < low else -1
        own = [t for t, u in enumerate(row) if u >= high or (u > 0 and u == iou[:, t].max())]
        found.append(int(row.argmax()) if own else best)
    return np.array(found)


def soften(boxes, scores, sigma=0.5, threshold=0.001):
    """With the shape of the list changing: each taken box is cut out of it."""
    left = [[s, -i, i] for i, s in enumerate(scores)]
    found = []
    while left and max(left)[0] >= threshold:
        score, _, best = max(left)
        found.append((best, score))
        left = [row for row in left if row[2] != best]
        for row in left:
            row[0] *= np.exp(-(iou(boxes[best : best + 1], boxes[row[2] : row[2] + 1])[0, 0] ** 2) / sigma)
    return np.array([i for i, _ in found], int), np.array([s for _, s in found])


def pyramid(x, levels):
    """Each level is the pooling of the whole map."""
    B, _, H, W = x.shape
    whole = np.array([[b, 0, 0, W - 1, H - 1] for b in range(B)])
    return np.concatenate([pool_by_loops(x, whole, (n, n)).reshape(B, -1) for n in levels], axis=1)


def cut(x, window):
    m, n = two(window)
    return np.array(
        [
            image[top : top + m, left : left + n]
            for image in x
            for top in range(0, x.shape[1], m)
            for left in range(0, x.shape[2], n)
        ]
    )


def put_together(windows, window, height, width):
    m, n = two(window)
    left = iter(windows)
    x = np.empty((len(windows) * m * n // (height * width), height, width, windows.shape[3]))
    for image in x:
        for top in range(0, height, m):
            for start in range(0, width, n):
                image[top : top + m, start : start + n] = next(left)
    return x


def regions_meet(height, width, window, shift):
    """As in Swin's own code: the shifted map is painted in nine regions."""
    (m, n), (down, right) = two(window), two(shift)
    painted = np.zeros((1, height, width, 1))
    rows, columns = (
        [slice(0, size - side), slice(size - side, size - by), slice(size - by, size)]
        for size, side, by in ((height, m, down), (width, n, right))
    )
    for number, (row, column) in enumerate((r, c) for r in rows for c in columns):
        painted[0, row, column] = number
    region = cut(painted, window).reshape(-1, m * n)
    return region[:, :, None] == region[:, None]


def offsets_in_order(window):
    """Each pair's place in the sorted list of all offsets."""
    m, n = two(window)
    places = [(y, x) for y in range(m) for x in range(n)]
    order = {o: i for i, o in enumerate((y, x) for y in range(1 - m, m) for x in range(1 - n, n))}
    return np.array([[order[q[0] - k[0], q[1] - k[1]] for k in places] for q in places])


def read_by_scipy(values, shapes, locations, weights):
    B, Q, heads, L, P, _ = locations.shape
    out = np.zeros((B, Q, heads, values.shape[3]))
    for b, q, h, d in np.ndindex(out.shape):
        start = 0
        for level, (H, W) in enumerate(shapes):
            image = values[b, start : start + H * W, h, d].reshape(H, W)
            x, y = locations[b, q, h, level].T
            at = np.array([y * H - 0.5, x * W - 0.5])
            read = scipy.ndimage.map_coordinates(image, at, order=1, mode="grid-constant")
            out[b, q, h, d] += weights[b, q, h, level] @ read
            start += H * W
    return out.reshape(B, Q, -1)


def mask_loss(logits, labels, targets):
    """One cell after the other."""
    losses = []
    for r, i, j in np.ndindex(targets.shape):
        z = logits[r, labels[r], i, j]
        t = targets[r, i, j]
        losses.append(t * np.logaddexp(0, -z) + (1 - t) * np.logaddexp(0, z))
    return np.mean(losses) if losses else 0.0


def paste(mask, box, height, width):
    """SciPy's sampling of the mask at the centres of the pixels."""
    (h, w) = mask.shape
    (left, top, right, bottom) = box
    if right <= left or bottom <= top:
        return np.zeros((height, width))
    rows = (np.arange(height) + 0.5 - top) / (bottom - top) * h - 0.5
    columns = (np.arange(width) + 0.5 - left) / (right - left) * w - 0.5
    at = np.meshgrid(rows, columns, indexing="ij")
    return scipy.ndimage.map_coordinates(mask, at, order=1, mode="grid-constant")


def loss_of_yolo(prediction, boxes, classes, grid, B):
    """With the whole grid at once, and a target for each of its numbers."""
    S = grid
    y, x = np.mgrid[:S, :S]
    found = prediction[..., : 5 * B].reshape(S, S, B, 5)
    middle = (found[..., :2] + np.stack([x, y], axis=-1)[:, :, None]) / S
    corners = np.concatenate([middle - found[..., 2:4] / 2, middle + found[..., 2:4] / 2], axis=-1)
    weight = np.full((S, S, B), 0.5)
    wanted = np.zeros((S, S, B))
    loss = 0
    for (cx, cy, w, h), k in zip(boxes, classes, strict=True):
        column, row = (min(int(np.floor(S * c)), S - 1) for c in (cx, cy))
        there = np.array([[cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]])
        overlap = iou(corners[row, column], there)[:, 0]
        best = overlap.argmax()
        weight[row, column, best] = 1
        wanted[row, column, best] = overlap[best]
        p = found[row, column, best]
        errors = [
            p[0] - (S * cx - column),
            p[1] - (S * cy - row),
            np.sqrt(p[2]) - np.sqrt(w),
            np.sqrt(p[3]) - np.sqrt(h),
        ]
        loss += 5 * np.dot(errors, errors)
        scores = prediction[row, column, 5 * B :].copy()
        scores[k] -= 1
        loss += np.dot(scores, scores)
    return loss + (weight * (found[..., 4] - wanted) ** 2).sum()


def boxes_of_yolo(prediction, anchors):
    """All cells at once, by tanh, and with the size as a power of e."""
    H, W = prediction.shape[:2]
    y, x = np.mgrid[:H, :W]
    corner = np.stack([x, y], axis=-1)[:, :, None]
    centre = (corner + 0.5 + 0.5 * np.tanh(prediction[..., :2] / 2)) / (W, H)
    return np.concatenate([centre, np.e ** (prediction[..., 2:4] + np.log(anchors / (W, H)))], axis=-1)


def anchors_by_loops(sizes, k, rng):
    """k-means with loops, and its result is compared by its properties (`Family.same`)."""
    anchors = list(rng.permutation(np.unique(sizes, axis=0))[:k])
    for _ in range(100):
        clusters = [[] for _ in anchors]
        for w, h in sizes:
            shared = [min(w, a) * min(h, b) for a, b in anchors]
            overlap = [s / (w * h + a * b - s) for s, (a, b) in zip(shared, anchors, strict=True)]
            clusters[int(np.argmax(overlap))].append((w, h))
        if not all(clusters):
            return anchors_by_loops(sizes, k, rng)  # another start
        anchors = [np.mean(cluster, axis=0) for cluster in clusters]
    return np.array(sorted(anchors, key=np.prod))


def grown(image, k, min_size=1):
    """Segments as sets of pixels; the edges of each pixel are listed one by one."""
    H, W = image.shape[:2]
    home = {(y, x): {(y, x)} for y in range(H) for x in range(W)}
    heaviest = {pixel: 0.0 for pixel in home}  # of the segment that began at a pixel: the smallest of its set
    edges = []
    for y, x in home:
        for q in ((y, x + 1), (y + 1, x - 1), (y + 1, x), (y + 1, x + 1)):
            if q in home:
                edges.append((float(np.linalg.norm(np.atleast_1d(image[y, x] - image[q]))), (y, x), q))
    edges.sort(key=lambda edge: edge[0])
    for small in (False, True):
        for weight, p, q in edges:
            A, B = home[p], home[q]
            bounds = [heaviest[min(C)] + k / len(C) for C in (A, B)]
            if A is not B and (min(len(A), len(B)) < min_size if small else weight <= min(bounds)):
                both = A | B
                heaviest[min(both)] = weight
                home.update(dict.fromkeys(both, both))
    return np.array([[W * min(home[y, x])[0] + min(home[y, x])[1] for x in range(W)] for y in range(H)])


def scores_by_loops(class_logits, mask_logits):
    (Q, K) = class_logits.shape
    (H, W) = mask_logits.shape[1:]
    found = np.zeros((K - 1, H, W))
    for k, y, x, q in np.ndindex(K - 1, H, W, Q):
        share = np.exp(-np.logaddexp.reduce(class_logits[q] - class_logits[q, k]))
        found[k, y, x] += share * np.exp(-np.logaddexp(0, -mask_logits[q, y, x]))
    return found


def merged_by_loops(class_logits, mask_logits, things, threshold, overlap):
    """Pixel after pixel, with sets of pixels for every query."""
    p = np.exp(class_logits) / np.exp(class_logits).sum(axis=1)[:, None]
    sure = [q for q, row in enumerate(p) if row[:-1].max(initial=0) > max(row[-1], threshold)]
    pixels = list(np.ndindex(mask_logits.shape[1:]))
    won = {q: set() for q in sure}
    for at in pixels:
        if sure:
            won[max(sure, key=lambda q: p[q].max() / (1 + np.exp(-mask_logits[q][at])))].add(at)
    segments = []  # of a class and its pixels
    for q in sure:
        label = int(p[q].argmax())
        own = {at for at in pixels if mask_logits[q][at] >= 0}
        if not won[q] & own or len(won[q]) / len(own) < overlap:
            continue
        same = [at for known, at in segments if known == label and not things[label]]
        if same:
            same[0].update(won[q] & own)
        else:
            segments.append((label, won[q] & own))
    ids = np.zeros(mask_logits.shape[1:], int)
    for number, (_, owned) in enumerate(segments, start=1):
        ids[tuple(np.array(sorted(owned)).T)] = number
    return ids, np.array([label for label, _ in segments], int)


OTHERWISE = {
    "graph_segmentation": grown,
    "hierarchical_grouping": vision.hierarchical_grouping,
    "box_cxcywh_to_xyxy": split,
    "box_xyxy_to_cxcywh": centred,
    "box_iou": iou,
    "generalized_box_iou": lambda a, b: giou(a, b, eps=1e-30),
    "linear_sum_assignment": scipy.optimize.linear_sum_assignment,
    "box_encode": code,
    "box_decode": decode,
    "anchor_boxes": anchors,
    "match_anchors": match,
    "roi_pool": lambda x, rois, size, scale: pool_by_loops(x, rois, two(size), scale),
    "roi_align": lambda x, rois, size, scale, sampling=2, aligned=True: align_by_loops(
        x, rois, two(size), scale, sampling, aligned
    ),
    "spp": pyramid,
    "nms": suppress,
    "soft_nms": soften,
    "dice_loss": dice,
    "sigmoid_focal_loss": focal,
    "mask_loss": mask_loss,
    "paste_masks": paste,
    "semantic_inference": scores_by_loops,
    "panoptic_inference": merged_by_loops,
    "window_partition": cut,
    "window_reverse": put_together,
    "shifted_window_mask": regions_meet,
    "relative_position_index": offsets_in_order,
    "multi_scale_deformable_attention": read_by_scipy,
    "local_attention": test_sasa.by_loops,
    "local_relation": test_lr_net.by_loops,
    "pairwise_attention": lambda *args: test_san.by_loops("pairwise", *args),
    "patchwise_attention": lambda *args: test_san.by_loops("patchwise", *args),
    "yolo_loss": loss_of_yolo,
    "yolo_decode": boxes_of_yolo,
    "dimension_clusters": anchors_by_loops,
}


def calls(name, law):
    """Calls as the law draws them, and plain ones that are drawn apart from it."""
    return [
        case.copy(np.float64) for case in drawn(family_of(name).law_named(law), 40, 1) + plain_cases(name, 20)
    ]


@pytest.mark.parametrize("name", OTHERWISE)
def test_the_right_answer_is_that_of_others(name):
    right = family_of(name).right
    if name == "dimension_clusters":  # another start can end otherwise: compare properties
        with Alarm() as alarm:
            candidate = Candidate(OTHERWISE[name], family_of(name), False, alarm)
            for case in calls(name, ANYTHING)[::3]:
                family_of(name).same(candidate, case)
        return
    for case in calls(name, ANYTHING):
        got, expected = (answer(*case.args.values(), **case.options) for answer in (right, OTHERWISE[name]))
        got = got[0]
        if name == "linear_sum_assignment":  # there may be several of the same cost
            got, expected = case["cost"][got].sum(), case["cost"][expected].sum()
        if name == "nms" and len(np.unique(case["scores"])) < len(case["scores"]):
            continue  # ties: the law "ties" has more to say
        if name == "graph_segmentation":  # any numbers
            got, expected = (family_of(name).whole(labels) for labels in (got, expected))
        if name == "hierarchical_grouping" and not np.array_equal(got, expected):  # ties, broken otherwise
            with Alarm() as alarm:
                family_of(name).same(Candidate(OTHERWISE[name], family_of(name), False, alarm), case)
            continue
        pairs = zip(got, expected, strict=True) if isinstance(got, tuple) else [(got, expected)]
        for one, other in pairs:
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in OTHERWISE if family_of(name).law_named(GRADIENTS)])
def test_its_gradients_are_those_of_finite_differences(name):
    family = family_of(name)
    for case in calls(name, GRADIENTS)[::3]:
        out, vjp = family.right(**case.everything)
        g = cotangent(np.shape(out)).astype(np.float64)
        pulled = vjp(g)
        names = family.arrays if len(pulled) == len(family.arrays) else family.parameters
        for array, gradient in zip(names, pulled, strict=False):
            if gradient is None:
                continue
            step = 1e-6 * np.abs(case[array]).max(initial=0)
            (true,) = numerical_gradient(lambda c: family.right(**c.everything)[0], case, array, g, step)
            np.testing.assert_allclose(
                gradient, true, rtol=1e-6, atol=1e-7 * (1 + np.abs(gradient).max(initial=0))
            )


def test_no_family_is_missing():
    assert set(OTHERWISE) == set(PLAIN_DETECTION)
