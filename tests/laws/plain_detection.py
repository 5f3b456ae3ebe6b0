"""Plain random calls of the families of detection and segmentation (see plain_inputs.py).

Not here: corners. The strategies of the laws are in minivis/laws; these are written apart from them on purpose.
"""

import numpy as np

from minivis.laws.san import OfPairs, OfWindows

__all__ = ["PLAIN_DETECTION"]


def _corners(rng, *leading):
    """Boxes of any place and size: two random points each, the smaller coordinates first."""
    points = np.sort(rng.random((*leading, 2, 2)) * 2 - 0.5, axis=-2)
    return (points.reshape(*leading, 4) * rng.choice([1, 20, 640])).astype(np.float32)


def _any_leading(rng):
    return rng.integers(1, 5, int(rng.integers(0, 4)))


def _boxes_by_corners(rng):
    return {"boxes": _corners(rng, *_any_leading(rng))}


def _boxes_by_centres(rng):
    corners = _corners(rng, *_any_leading(rng))
    low = corners[..., :2]
    high = corners[..., 2:]
    return {"boxes": np.concatenate([(low + high) / 2, high - low], axis=-1)}


def _two_lists(rng):
    """Both in one unit; no two sides coincide, where gradients have several right answers."""
    N, M = rng.integers(1, 6, 2)
    boxes = _corners(rng, N + M)
    return {"boxes1": boxes[:N], "boxes2": boxes[N:]}


def _costs(rng):
    cost = rng.standard_normal(rng.integers(1, 6, 2))
    if rng.random() < 0.3:
        cost = np.rint(cost)  # ties
    return {"cost": (cost * rng.choice([0.1, 1, 100]) + rng.choice([0, 5, -50])).astype(np.float32)}


def _scored_boxes(rng):
    N = int(rng.integers(0, 13))
    centres = rng.integers(0, 3, (N, 2)) * 2 + 0.4 * rng.standard_normal((N, 2))  # around nine places
    half = rng.uniform(0.4, 1.2, (N, 2))
    scores = rng.random(N)
    return {
        "boxes": (np.concatenate([centres - half, centres + half], axis=1) * rng.choice([0.2, 50])).astype(
            np.float32
        ),
        "scores": (scores.round(1) if rng.random() < 0.2 else scores).astype(np.float32),
        "threshold": float(rng.uniform(0.05, 0.9)),
    }


def _pairs_of_boxes(rng):
    """As many proposals as boxes, none without area."""
    N = int(rng.integers(1, 6))
    low = rng.normal(0, 10, (2, N, 2))
    both = np.concatenate([low, low + rng.uniform(0.3, 20, (2, N, 2))], axis=-1) * rng.choice([0.05, 1, 30])
    return both.astype(np.float32)


def _weighted(rng, **arrays):
    if rng.random() < 0.6:
        arrays["weights"] = tuple(float(w) for w in rng.uniform(0.2, 10, 4))
    return arrays


def _box_encode(rng):
    proposals, boxes = _pairs_of_boxes(rng)
    return _weighted(rng, proposals=proposals, boxes=boxes)


def _box_decode(rng):
    proposals, _ = _pairs_of_boxes(rng)
    deltas = rng.standard_normal((len(proposals), 4)) * rng.choice([0.3, 1, 6])
    return _weighted(rng, deltas=deltas.astype(np.float32), proposals=proposals)


def _anchor_boxes(rng):
    height, width = (int(n) for n in rng.integers(1, 7, 2))
    sizes, ratios = (rng.uniform(0.2, 9, int(rng.integers(1, 4))).tolist() for _ in range(2))
    return {
        "height": height,
        "width": width,
        "stride": int(rng.integers(1, 33)),
        "sizes": sizes,
        "ratios": ratios,
    }


def _match_anchors(rng):
    A, T = int(rng.integers(1, 12)), int(rng.integers(0, 5))
    iou = (rng.permutation(A * T) / max(A * T, 1)).reshape(A, T) * rng.uniform(0.3, 1) + 0.0007
    if T == 1 and rng.random() < 0.5:
        iou = iou.round(1) * 0.99  # ties, and overlaps of nothing
    options = {"high": float(rng.uniform(0.5, 0.8)), "low": float(rng.uniform(0.1, 0.5))}
    return {"iou": iou.astype(np.float32), **(options if rng.random() < 0.5 else {})}


def _soft_nms(rng):
    given = _scored_boxes(rng)
    given["scores"] = (rng.permutation(len(given["boxes"])) + rng.uniform(0.6, 0.9)).astype(np.float32) / 13
    del given["threshold"]
    options = {"sigma": float(rng.uniform(0.1, 1)), "threshold": float(rng.uniform(0.01, 0.4))}
    return {**given, **{name: value for name, value in options.items() if rng.random() < 0.6}}


def _feature_map(rng):
    shape = int(rng.integers(1, 3)), int(rng.integers(1, 3)), *(int(n) for n in rng.integers(1, 9, 2))
    return rng.standard_normal(shape).astype(np.float32)


def _regions(rng, images, scale):
    R = int(rng.integers(1, 4))
    low = rng.uniform(-3, 8, (R, 2))
    boxes = np.concatenate([low, low + rng.uniform(0, 9, (R, 2))], axis=1) / scale
    return np.concatenate([rng.integers(0, images, (R, 1)), boxes], axis=1).astype(np.float32)


def _region_call(rng):
    features = _feature_map(rng)
    scale = float(rng.choice([1, 0.5, 0.125]))
    size = _one_or_two(rng, rng.integers(1, 5, 2))
    return {"features": features, "rois": _regions(rng, len(features), scale), "size": size, "scale": scale}


def _roi_pool(rng):
    given = _region_call(rng)
    if rng.random() < 0.3:
        given["rois"] = np.round(given["rois"] * 2) / 2  # halves
        given["rois"][:, 0] = np.floor(given["rois"][:, 0])
    return given


def _roi_align(rng):
    given = _region_call(rng)
    if rng.random() < 0.6:
        given["sampling"] = int(rng.integers(1, 4))
    if rng.random() < 0.6:
        given["aligned"] = bool(rng.random() < 0.4)
    return given


def _spp(rng):
    return {"x": _feature_map(rng), "levels": tuple(int(n) for n in rng.integers(1, 6, rng.integers(1, 4)))}


def _masks(rng):
    shape = rng.integers(1, 5), rng.integers(1, 9)
    return {
        "logits": (rng.standard_normal(shape) * rng.choice([1, 4, 200])).astype(np.float32),
        "targets": (rng.random(shape) < rng.choice([0.1, 0.5, 0.9])).astype(np.float32),
    }


def _focal(rng):
    options = {"alpha": float(rng.uniform(0.05, 0.95)), "gamma": float(rng.choice([0, 0.5, 1, 2, 2.5, 4]))}
    return {**_masks(rng), **{name: value for name, value in options.items() if rng.random() < 0.7}}


def _masks_of_regions(rng):
    R, K, m = (int(n) for n in rng.integers((0, 1, 1), 5))
    targets = rng.random((R, m, m))
    return {
        "logits": (rng.standard_normal((R, K, m, m)) * rng.choice([1, 4, 200])).astype(np.float32),
        "labels": rng.integers(0, K, R),
        "targets": (targets if rng.random() < 0.3 else targets < 0.4).astype(np.float32),
    }


def _pasted(rng):
    height, width = (int(n) for n in rng.integers(1, 9, 2))
    low = rng.uniform(-0.5, 0.8, 2) * [width, height]
    box = np.concatenate([low, low + rng.uniform(0.05, 1.2, 2) * [width, height]])
    mask = rng.random(rng.integers(1, 7, 2))
    return {"mask": mask.astype(np.float32), "box": box.astype(np.float32), "height": height, "width": width}


def _one_or_two(rng, sides):
    """A number for both sides where they are equal, a pair otherwise (or now and then then too)."""
    a, b = (int(side) for side in sides)
    return a if a == b and rng.random() < 0.8 else (a, b)


def _window(rng):
    m, n = rng.integers(1, 5, 2)
    return _one_or_two(rng, (m, m) if rng.random() < 0.4 else (m, n))


def _windowed(rng):
    window = _window(rng)
    m, n = window if isinstance(window, tuple) else (window, window)
    (B, C), (rows, columns) = rng.integers(1, 4, 2), rng.integers(1, 4, 2)
    return (int(B), int(rows * m), int(columns * n), int(C)), window


def _partition(rng):
    shape, window = _windowed(rng)
    return {"x": rng.standard_normal(shape).astype(np.float32), "window": window}


def _reverse(rng):
    (B, H, W, C), window = _windowed(rng)
    m, n = window if isinstance(window, tuple) else (window, window)
    windows = rng.standard_normal((B * H * W // (m * n), m, n, C)).astype(np.float32)
    return {"windows": windows, "window": window, "height": H, "width": W}


def _shifted(rng):
    (_, H, W, _), window = _windowed(rng)
    m, n = window if isinstance(window, tuple) else (window, window)
    shift = rng.integers(0, m), rng.integers(0, n)
    return {"height": H, "width": W, "window": window, "shift": _one_or_two(rng, shift)}


def _deformable(rng):
    B, Q, h, P, d = (int(size) for size in rng.integers(1, 4, 5))
    shapes = [(int(H), int(W)) for H, W in rng.integers(1, 6, (int(rng.integers(1, 4)), 2))]
    L = len(shapes)
    N = sum(H * W for H, W in shapes)
    arrays = {
        "values": rng.standard_normal((B, N, h, d)),
        "locations": rng.uniform(-0.4, 1.4, (B, Q, h, L, P, 2)),
        "weights": rng.uniform(-0.5, 1, (B, Q, h, L, P)),
    }
    return {"shapes": shapes, **{name: array.astype(np.float32) for name, array in arrays.items()}}


def _local_attention(rng):
    B, C, heads, half, H, W = (int(n) for n in rng.integers(1, (3, 5, 4, 3, 6, 6)))
    window = 2 * int(rng.integers(0, 4)) + 1
    D = 2 * heads * half
    shapes = {"x": (B, C, H, W), "w_q": (D, C), "w_k": (D, C), "w_v": (D, C)}
    shapes |= {"rel_rows": (window, half), "rel_cols": (window, half)}
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    return {**arrays, "heads": heads, "window": window}


def _local_relation(rng):
    B, m, groups, H, W = (int(n) for n in rng.integers(1, (3, 4, 4, 6, 6)))
    window = 2 * int(rng.integers(0, 4)) + 1
    C = m * groups
    shapes = {"x": (B, C, H, W), "w_q": (groups, C), "w_k": (groups, C), "geometry": (groups, window, window)}
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    kind = {"similarity": str(rng.choice(["product", "squared", "absolute"]))} if rng.random() < 0.8 else {}
    return {**arrays, "groups": groups, "window": window, **kind}


def _self_attention(places):
    """Both forms: ``places`` is whether gamma reads whole windows."""

    def inputs(rng):
        B, C, r, g, copies, H, W = (int(n) for n in rng.integers(1, (3, 4, 4, 4, 3, 6, 6)))
        window = 2 * int(rng.integers(0, 3)) + 1
        K = window * window
        shapes = {"x": (B, C, H, W), "phi": (r, C), "psi": (r, C), "beta": (g * copies, C)}
        arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
        if places:
            matrix = rng.standard_normal((g * K, r * (K + 1)))
            gamma = OfWindows(matrix / 2, rng.standard_normal((g, K)) / 2)
        else:
            gamma = OfPairs(rng.standard_normal((g, r + 2)), squared=rng.random() < 0.5, scale=2.0)
        return {**arrays, "gamma": gamma, "window": window}

    return inputs


def _grid_with_objects(rng):
    """Objects in different cells; of the boxes that a cell predicts, at least one is near its object."""
    S, B, C = (int(n) for n in rng.integers(1, (6, 4, 5)))
    cells = rng.permutation(S * S)[: rng.integers(0, 5)]
    prediction = rng.normal(0.3, 0.4, (S, S, 5 * B + C))
    for i in range(B):
        prediction[..., 5 * i + 2 : 5 * i + 4] = rng.uniform(0.05, 0.4, (S, S, 2))
    boxes = np.empty((len(cells), 4))
    for box, cell in zip(boxes, cells, strict=True):
        row, column = divmod(int(cell), S)
        place = rng.uniform(0.05, 0.95, 2)
        box[:] = [*(place + (column, row)) / S, *rng.uniform(0.2, 0.9, 2)]
        own = 5 * int(rng.integers(B))
        prediction[row, column, own : own + 4] = [*place, *box[2:]] + rng.normal(0, 0.03, 4)
    return {
        "prediction": prediction.astype(np.float32),
        "boxes": boxes.astype(np.float32),
        "classes": rng.integers(0, C, len(cells)),
        "grid": S,
        "B": B,
    }


def _grid_of_anchors(rng):
    H, W, A, more = (int(n) for n in rng.integers(1, (7, 7, 5, 5)))
    prediction = rng.standard_normal((H, W, A, 4 + more)) * rng.choice([0.3, 1, 3])
    return {
        "prediction": prediction.astype(np.float32),
        "anchors": rng.uniform(0.2, 9, (A, 2)).astype(np.float32),
    }


def _sizes_of_boxes(rng):
    N = int(rng.integers(2, 31))
    sizes = (rng.uniform(0.05, 1, (N, 2)) * rng.choice([1, 13, 416])).astype(np.float32)
    if rng.random() < 0.3:
        sizes = np.concatenate([sizes, sizes[: N // 3]])
    k = int(rng.integers(1, min(6, N) + 1))
    return {"sizes": sizes, "k": k, "rng": np.random.default_rng(int(rng.integers(2**32)))}


def _picture(rng):
    shape = *rng.integers(1, 7, 2), *([(), (3,), (2,)][rng.integers(3)])
    image = rng.random(shape) if rng.random() < 0.5 else rng.integers(0, 3, shape) + 0.05 * rng.random(shape)
    options = {"min_size": int(rng.integers(1, 6))} if rng.random() < 0.5 else {}
    return {"image": image.astype(np.float32), "k": float(rng.choice([0.05, 0.2, 0.7, 2])), **options}


def _segmented(rng):
    """Pictures whose segments are rectangles or scattered pixels."""
    H, W = rng.integers(3, 7, 2)
    rows, columns = np.sort(rng.integers(0, 3, H)), np.sort(rng.integers(0, 2, W))
    labels = 2 * rows[:, None] + columns if rng.random() < 0.7 else rng.integers(0, 4, (H, W))
    shape = H, W, *([(), (3,)][rng.integers(2)])
    image = rng.uniform(0, 1, shape) * rng.choice([0.3, 1])
    options = {"weights": tuple(rng.integers(0, 3, 4).tolist())} if rng.random() < 0.6 else {}
    return {"image": image.astype(np.float32), "labels": labels + int(rng.integers(0, 3)), **options}


def _queries(rng):
    Q, K, H, W = (int(n) for n in rng.integers(1, (6, 5, 5, 5)))
    shapes = {"class_logits": (Q, K + 1), "mask_logits": (Q, H, W)}
    return {name: (2 * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}


def _queries_to_merge(rng):
    """Queries that own rectangles, which overlap, and are sure of their classes, or not."""
    Q, K, H, W = (int(n) for n in rng.integers((1, 1, 2, 2), (7, 5, 7, 7)))
    classes = rng.standard_normal((Q, K + 1)) + 4 * np.eye(K + 1)[rng.integers(0, K + 1, Q)]
    masks = rng.uniform(-3, -0.2, (Q, H, W))
    for mask in masks:
        top, left = rng.integers(0, (H, W))
        inside = mask[top : top + rng.integers(1, H + 1), left : left + rng.integers(1, W + 1)]
        inside[...] = rng.uniform(0.2, 3, inside.shape)
    return {
        "class_logits": classes.astype(np.float32),
        "mask_logits": masks.astype(np.float32),
        "things": rng.random(K) < 0.5,
        "threshold": float(rng.uniform(0, 0.9)),
        "overlap": float(rng.uniform(0, 1)),
    }


PLAIN_DETECTION = {
    "box_cxcywh_to_xyxy": _boxes_by_centres,
    "box_xyxy_to_cxcywh": _boxes_by_corners,
    "box_iou": _two_lists,
    "generalized_box_iou": _two_lists,
    "linear_sum_assignment": _costs,
    "box_encode": _box_encode,
    "box_decode": _box_decode,
    "anchor_boxes": _anchor_boxes,
    "match_anchors": _match_anchors,
    "roi_pool": _roi_pool,
    "roi_align": _roi_align,
    "spp": _spp,
    "graph_segmentation": _picture,
    "hierarchical_grouping": _segmented,
    "nms": _scored_boxes,
    "soft_nms": _soft_nms,
    "dice_loss": _masks,
    "sigmoid_focal_loss": _focal,
    "mask_loss": _masks_of_regions,
    "paste_masks": _pasted,
    "semantic_inference": _queries,
    "panoptic_inference": _queries_to_merge,
    "window_partition": _partition,
    "window_reverse": _reverse,
    "shifted_window_mask": _shifted,
    "relative_position_index": lambda rng: {"window": _window(rng)},
    "multi_scale_deformable_attention": _deformable,
    "local_attention": _local_attention,
    "local_relation": _local_relation,
    "pairwise_attention": _self_attention(places=False),
    "patchwise_attention": _self_attention(places=True),
    "yolo_loss": _grid_with_objects,
    "yolo_decode": _grid_of_anchors,
    "dimension_clusters": _sizes_of_boxes,
}
