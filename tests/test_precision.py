"""Every function and layer outside ops/ that takes floats: float16, float32 and float64 in, the same out, and the same numbers.

The yardstick is float64 on the same, already rounded inputs; it is checked for itself beside each subject's other tests.
A new function joins with a row in ROWS, or with a reason in EXEMPT. Not here: ops (tests/ops), models (tests/models).
"""

import copy
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from minivis import backend, losses, metrics, nn, ops, optim, vision
from minivis.autograd import Tensor

# Relative to the largest number of an output or gradient. A result of float16 is off by 5e-4 where it is rounded once.
TOLERANCE = {"float16": 1e-3, "float32": 3e-6, "float64": 1e-12}


@dataclass(frozen=True)
class Row:
    """A call: ``call(*arrays)`` with the arrays that ``draw(rng)`` makes in float64, or ``call(layer, *arrays)``."""

    name: str
    draw: object
    call: object
    layer: object = None  # made anew for every dtype
    pulled: bool = True  # whether it has gradients
    keeps: bool = True  # whether floats come out in the dtype that went in
    steps: float = 1  # how many roundings to the narrow dtype follow one another: layers hand halves on

    def __str__(self):
        return self.name


def normal(*shapes, scale=1.0):
    return lambda rng: [scale * rng.standard_normal(shape) for shape in shapes]


def uniform(*shapes, low=0.0, high=1.0):
    return lambda rng: [rng.uniform(low, high, shape) for shape in shapes]


def boxes(*counts, side=(50, 3000), to=3000):
    """xyxy in pixels, beyond the range in which float16 has every pixel, with areas that it has not."""

    def draw(rng):
        corners = [rng.uniform(0, to, (n, 2)) for n in counts]
        return [np.concatenate([xy, xy + rng.uniform(*side, xy.shape)], axis=1) for xy in corners]

    return draw


def shares(*counts):
    """cxcywh in shares of an image."""
    return lambda rng: [
        np.concatenate([rng.uniform(0.2, 0.8, (n, 2)), rng.uniform(0.02, 0.4, (n, 2))], axis=1)
        for n in counts
    ]


def also(*draws):
    return lambda rng: [x for draw in draws for x in draw(rng)]


def segments(result):
    ids, found = result
    return [ids, np.array([segment["score"] for segment in found])]


MASKS = np.random.default_rng(5).random((3, 40, 50)) < 0.3
PIXELS = np.random.default_rng(6).random((2, 70_000)) < 0.5
TARGETS = [
    {"labels": np.array([1, 0]), "boxes": np.array([[0.3, 0.4, 0.2, 0.3], [0.6, 0.5, 0.3, 0.1]]), "masks": MASKS[:2]},
    {"labels": np.array([2]), "boxes": np.array([[0.5, 0.5, 0.5, 0.4]]), "masks": MASKS[2:]},
]  # fmt: skip
OVERLAPS = np.maximum(0, np.random.default_rng(8).uniform(-2, 1, (40, 9)))
THINGS = np.array([True, False, True])
SETS = also(normal((2, 5, 4)), lambda rng: [np.stack(shares(5, 5)(rng))])
MASK_SETS = normal((2, 5, 4), (2, 5, 20, 25), scale=3)
STEERING = also(uniform((9, 8)), lambda rng: [np.broadcast_to([[0.7, 0.2], [0.2, 0.3]], (9, 8, 2, 2))])
MAPS = [(200, 150), (9, 7)]
SAMPLED = also(
    normal((1, 200 * 150 + 63, 2, 3)),
    uniform((1, 4, 2, 2, 5, 2), low=0.05, high=0.95),
    uniform((1, 4, 2, 2, 5)),
)
PLACES = np.random.default_rng(7).random((2, 30, 2))


def criterion(make, *fields):
    def call(*arrays):
        terms = make()(SimpleNamespace(**dict(zip(fields, arrays, strict=True)), auxiliary=None), TARGETS)
        return list(terms.values())

    return call


def stepped(make):
    """A parameter after three steps along one gradient."""

    def call(start, grad):
        p = Tensor(start.copy(), requires_grad=True)
        optimiser = make([p])
        for _ in range(3):
            p.grad = grad
            optimiser.step()
        return p.data

    return call


def clipped(*grads):
    parameters = [Tensor(np.zeros_like(g), requires_grad=True) for g in grads]
    for p, g in zip(parameters, grads, strict=True):
        p.grad = g.copy()
    norm = optim.clip_grad_norm(parameters, 1e3)
    return [np.float64(norm), *(p.grad for p in parameters)]


def clipped_one_by_one(*grads):
    parameters = [Tensor(np.zeros_like(g), requires_grad=True) for g in grads]
    for p, g in zip(parameters, grads, strict=True):
        p.grad = g.copy()
    norms = optim.clip_each_grad_norm(parameters, 1e3)
    return [*np.array(norms), *(p.grad for p in parameters)]


def precision(name, found, scores):
    metric = metrics.AveragePrecision()
    there = [{"boxes": boxes(6)(np.random.default_rng(1))[0].astype(found.dtype), "labels": np.zeros(6, int)}]
    found = [{"boxes": found, "scores": scores, "labels": np.zeros(len(found), int)}]
    if name == "average_precision":
        return np.array(list(metrics.average_precision(found, there).values()))
    metric.update(found, there)
    return np.array(list(metric.compute().values()))


def near_the_truth(rng):
    true = boxes(6)(np.random.default_rng(1))[0]
    return [true + rng.uniform(-40, 40, true.shape), rng.random(6)]


TOKENS = (2, 6, 8)
REGIONS = also(normal((1, 4, 200, 190)), boxes(9, side=(50, 900)))


def rois_of(boxes):
    """Regions of the first picture."""
    raw = boxes.data if isinstance(boxes, Tensor) else boxes
    return np.concatenate([0 * raw[:, :1], raw], axis=1)


MAP = (2, 8, 6, 5)
VISION = [
    Row("attention_distance", uniform((2, 150, 150)), lambda a: vision.attention_distance(a, 160, (10, 15)), pulled=False),
    Row("batched_nms", also(boxes(40), uniform(40)), lambda b, s: vision.batched_nms(b, s, np.arange(40) % 3, 0.3), pulled=False),
    Row("anchor_boxes", normal(1), lambda x: vision.anchor_boxes(3, 2000, 16, [32, 64], [0.5, 1], dtype=x.dtype), pulled=False),
    Row("bilinear_kernel", normal(1), lambda x: vision.bilinear_kernel(7, x.dtype), pulled=False),
    Row("bilateral_filter", uniform((9, 8, 3)), lambda x: vision.bilateral_filter(x, 5, 0.5, 2.0), pulled=False),
    Row("bilateral_kernel", uniform((9, 8, 3)), lambda x: vision.bilateral_kernel(x, (4, 4), 5, 0.5, 2.0), pulled=False),
    Row("box_area", boxes(9, side=(20, 250)), vision.box_area),
    Row("box_cxcywh_to_xyxy", uniform((9, 4), low=2000, high=4000), vision.box_cxcywh_to_xyxy),
    Row("box_decode", also(normal((9, 4), scale=0.2), boxes(9)), vision.box_decode),
    Row("box_encode", boxes(9, 9), lambda p, b: vision.box_encode(p, b, (10, 10, 5, 5))),
    Row("box_iou", boxes(9, 7), vision.box_iou),
    Row("box_xyxy_to_cxcywh", uniform((9, 4), low=30_000, high=60_000), vision.box_xyxy_to_cxcywh),
    Row("boxes_to_masks", boxes(9), lambda b: vision.boxes_to_masks(b, 3, 4000), pulled=False),
    Row("clip_boxes", boxes(9), lambda b: vision.clip_boxes(b, 2500, 2300)),
    Row("coded_attention", normal((2, 5, 6), (2, 7, 6), (2, 5, 6), (2, 7, 6)), vision.coded_attention),
    Row("crop_concat", normal((1, 2, 6, 5), (1, 3, 3, 3)), vision.crop_concat),
    Row("cyclic_shift", normal((1, 4, 6, 2)), lambda x: vision.cyclic_shift(x, (1, 2))),
    Row("detr_detections", also(normal((9, 4)), shares(9)), lambda z, b: [*vision.detr_detections(z, b).values()], pulled=False),
    Row("detr_panoptic", normal((6, 4), (6, 9, 11), scale=3), lambda z, m: segments(vision.detr_panoptic(z, m, THINGS, (30, 40), 0.4)), pulled=False, keeps=False),
    Row("fcn_upsample", normal((1, 2, 5, 6), scale=300), lambda x: vision.fcn_upsample(x, 4)),
    Row("fuse_conv_norm", also(normal((3, 2, 3, 3), (3,)), uniform((3,), low=1000, high=60_000), normal((3,), (3,))), lambda *arrays: [*vision.fuse_conv_norm(*arrays)], pulled=False, steps=2),
    Row("gaussian_filter", uniform((9, 8, 3)), lambda x: vision.gaussian_filter(x, 5, 2.0), pulled=False),
    Row("gaussian_kernel", normal(1), lambda x: vision.gaussian_kernel(5, 2.0, x.dtype), pulled=False),
    Row("generalized_box_iou", boxes(9, 7), vision.generalized_box_iou),
    Row("graph_segmentation", uniform((9, 8, 3)), lambda x: vision.graph_segmentation(x, 0.3), pulled=False, keeps=False),
    Row("hierarchical_grouping", uniform((9, 8, 3)), lambda x: vision.hierarchical_grouping(x, np.arange(72).reshape(9, 8) // 7), pulled=False, keeps=False),
    Row("image_gradients", uniform((9, 8), high=200), lambda x: vision.image_gradients(x), pulled=False),
    Row("kernel_regression", normal((5, 3), (6, 3), (6, 2)), lambda q, k, v: vision.kernel_regression(q, k, v, 0.8)),
    Row("level_of", boxes(40), lambda b: vision.level_of(b), pulled=False),
    Row("linear_sum_assignment", uniform((9, 7), high=1000), lambda c: [*vision.linear_sum_assignment(c)], pulled=False),
    Row("match_anchors", uniform((40, 5)), lambda x: vision.match_anchors(x), pulled=False),
    Row("masks_in_photo", normal((2, 5, 6)), lambda x: vision.masks_in_photo(x, (20, 24), (15, 24), (31, 50)), steps=2),
    Row("mask_decoder", normal((2, 40, 300), (2, 7, 300), (300, 300), (300, 300), (7,), (7,)), lambda *arrays: vision.mask_decoder(*arrays)),
    Row("mask_targets", also(uniform((3, 50, 70)), lambda rng: [np.array([[3.5, 4.25, 40.5, 30], [50, 20, 69, 45], [1, 1, 4, 40]])]), lambda m, b: vision.mask_targets(m, b, np.arange(3), 14, "torchvision"), pulled=False),
    Row("multi_scale_deformable_attention", SAMPLED, lambda v, at, w: vision.multi_scale_deformable_attention(v, MAPS, at, w), steps=3),
    Row("multi_scale_deformable_attention_composed", SAMPLED, lambda v, at, w: vision.multi_scale_deformable_attention_composed(v, MAPS, at, w), steps=3),
    Row("add_border", normal((2, 3, 4, 5)), lambda x: vision.add_border(x, 5, "reflect")),
    Row("neighbour_scores", normal((1, 2, 600, 3, 4), (1, 2, 600, 5, 6)), lambda q, k: vision.neighbour_scores(q, k, 3)),
    Row("neighbour_softmax", normal((1, 2, 9, 3, 4), scale=30), lambda s: vision.neighbour_softmax(s, 3), steps=2),
    Row("neighbour_sum", normal((1, 2, 25, 3, 4), (1, 2, 6, 7, 8)), lambda w, v: vision.neighbour_sum(w, v, 5)),
    Row("neighbours", normal((2, 5, 6)), lambda x: vision.neighbours(x, 3)),
    Row("non_local", normal((1, 3, 2, 4, 6), (2, 3), (2, 3), (2, 3), (3, 2)), lambda x, *w: vision.non_local(x, *w, pool=2), steps=8),
    Row("non_local_weights", normal((2, 5, 4), (2, 7, 4)), lambda a, b: vision.non_local_weights(a, b, "dot_product"), steps=3),
    Row("nms", also(boxes(40), uniform(40)), lambda b, s: vision.nms(b, s, 0.3), pulled=False),
    Row("non_local_means", uniform((9, 8, 3)), lambda x: vision.non_local_means(x, 3, 5, 0.3, 0.1), pulled=False),
    Row("non_local_means_kernel", uniform((9, 8, 3)), lambda x: vision.non_local_means_kernel(x, (4, 4), 3, 5, 0.3), pulled=False),
    Row("original_anchor_boxes", normal(1), lambda x: vision.original_anchor_boxes(2, 3, dtype=x.dtype), pulled=False),
    Row("panoptic_inference", normal((6, 4), (6, 9, 11), scale=3), lambda z, m: segments(vision.panoptic_inference(z, m, THINGS, (30, 40), 0.4, 0.1)), pulled=False, keeps=False),
    Row("paste_masks", also(uniform((3, 28, 28)), lambda rng: [np.array([[2101, -40, 2600, 900], [3001, -9, 3090, 4], [100, 1, 140, 60]])]), lambda m, b: vision.paste_masks(m, b, 5, 4000)),
    Row("patchify", normal((1, 2, 4, 6)), lambda x: vision.patchify(x, 2)),
    Row("point_position_code", normal((2, 4)), lambda g: vision.point_position_code(PLACES * 60, (48, 64), g)),
    Row("points_in_picture", uniform((4, 2), high=3000), lambda p: vision.points_in_picture(p, (480, 640), (768, 1024)), pulled=False),
    Row("random_masking", normal((2, 7, 3)), lambda x: vision.random_masking(x, 0.5, np.arange(14).reshape(2, 7) * 3 % 7)[0]),
    Row("region_detections", also(boxes(12), uniform((12, 3))), lambda b, s: [*vision.region_detections(b[:, None], s, 2500, 2300).values()], pulled=False),
    Row("region_targets", boxes(40), lambda b: [*vision.region_targets(b, b[:5], np.arange(1, 6))], pulled=False),
    Row("resize_position_table", normal((1, 1 + 14 * 14, 3)), lambda x: vision.resize_position_table(x, (14, 14), (21, 18))),
    Row("restore_tokens", normal((2, 3, 5), (5,)), lambda x, m: vision.restore_tokens(x, m, np.arange(14).reshape(2, 7) * 3 % 7)),
    Row("roi_align", REGIONS, lambda x, b: vision.roi_align(x, rois_of(b), (3, 2), 1 / 16)),
    Row("roi_pool", REGIONS, lambda x, b: vision.roi_pool(x, rois_of(b), (3, 2), 1 / 16)),
    Row("rt_detr_anchors", normal(1), lambda x: vision.rt_detr_anchors([(3, 2000)], dtype=x.dtype)[0], pulled=False),
    Row("rt_detr_detections", also(normal((9, 4)), shares(9)), lambda z, b: [*vision.rt_detr_detections(z, b).values()], pulled=False),
    Row("semantic_inference", normal((1, 100, 4), (1, 100, 5, 6)), lambda z, m: vision.semantic_inference(z, m, (10, 12))),
    Row("selective_search", uniform((24, 24, 3)), lambda x: vision.selective_search(x), pulled=False, keeps=False),
    Row("sine_position_code", normal(1), lambda x: vision.sine_position_code(3, 3000, 8, dtype=x.dtype), pulled=False),
    Row("sine_position_code_1d", normal(1), lambda x: vision.sine_position_code_1d(5000, 8, dtype=x.dtype), pulled=False),
    Row("soft_nms", also(boxes(40), uniform(40)), lambda b, s: [*vision.soft_nms(b, s)], pulled=False),
    Row("sliding_window", normal((1, 2, 7, 9), scale=300), lambda x: vision.sliding_window(lambda crop: 3 * crop, x, 4, 3).data, pulled=False, steps=2),
    Row("spp", normal((2, 3, 13, 10)), lambda x: vision.spp(x, (6, 3, 2, 1))),
    Row("steering_kernel", STEERING, lambda x, C: vision.steering_kernel(C, (4, 4), 5, 2.0), pulled=False),
    Row("steering_kernel_regression", STEERING, lambda x, C: vision.steering_kernel_regression(x, C, 5, 2.0, 2), pulled=False),
    Row("steering_matrices", uniform((9, 8), (9, 8), high=200), lambda x, y: vision.steering_matrices(x, y, 5), pulled=False),
    Row("central_frame_kernel", normal((3, 2, 2, 2)), lambda x: vision.central_frame_kernel(x, 2), pulled=False),
    Row("inflated_kernel", normal((3, 2, 2, 2)), lambda x: vision.inflated_kernel(x, 3), pulled=False),
    Row("tubelet_embed", normal((1, 4, 2, 4, 6), (3, 2, 2, 2, 2), (3,)), vision.tubelet_embed, steps=2),
    Row("uniform_frames", normal((2, 6, 3)), lambda x: vision.uniform_frames(x, 3)),
    Row("factorised_attention", normal((1, 3, 4, 2)), lambda x: vision.factorised_attention(x, lambda y: y * 0.5, lambda y: y * 0.25), steps=4),
    Row("factorised_heads", normal((1, 3, 4, 2, 5), (1, 3, 4, 2, 5), (1, 3, 4, 2, 5)), vision.factorised_heads, steps=2),
    Row("unpatchify", normal((1, 6, 8)), lambda x: vision.unpatchify(x, 2, 4, 6)),
    Row("window_partition", normal((1, 4, 6, 2)), lambda x: vision.window_partition(x, 2)),
    Row("window_reverse", normal((6, 2, 2, 2)), lambda x: vision.window_reverse(x, 2, 4, 6)),
    Row("darknet_to_grid", normal((2, 4 * 13)), lambda x: vision.darknet_to_grid(x, 2, 2, 3)),
    Row("dimension_clusters", uniform((20, 2), low=20, high=400), lambda s: vision.dimension_clusters(s, 3, 0), pulled=False),
    Row("grid_cells", shares(9), lambda b: [*vision.grid_cells(b, 7)], pulled=False),
    Row("grid_detections", also(lambda rng: [shares(18)(rng)[0].reshape(1, 3, 3, 2, 4)], uniform((1, 3, 3, 2, 2))), lambda b, s: [*vision.grid_detections(b, s, (300, 400))[0].values()], pulled=False),
    Row("grid_to_darknet", normal((2, 2, 13)), lambda x: vision.grid_to_darknet(x, 2)),
    Row("yolo_boxes", normal((3, 4, 13)), lambda x: vision.yolo_boxes(x, 2)),
    Row("yolo_decode", also(normal((3, 4, 2, 6)), uniform((2, 2), high=9)), lambda x, a: vision.yolo_decode(x, a.data), steps=2),
    Row("with_pictures", boxes(9), lambda b: vision.with_pictures([b, b[:4]]), pulled=False, keeps=False),
]  # fmt: skip
LOSSES = [
    Row("FocalMatcher", SETS, lambda z, b: losses.FocalMatcher().costs(z, b, TARGETS), pulled=False, keeps=False),
    Row("HungarianMatcher", SETS, lambda z, b: losses.HungarianMatcher().costs(z, b, TARGETS), pulled=False, keeps=False),
    Row("Mask2FormerCriterion", MASK_SETS, criterion(lambda: losses.Mask2FormerCriterion(3, points=500), "logits", "masks")),
    Row("MaskFormerCriterion", MASK_SETS, criterion(lambda: losses.MaskFormerCriterion(3), "logits", "masks")),
    Row("MaskFormerMatcher", MASK_SETS, lambda z, m: losses.MaskFormerMatcher().costs(z, m, TARGETS), pulled=False, keeps=False),
    Row("MaskMatcher", MASK_SETS, lambda z, m: losses.MaskMatcher(points=500).costs(z, m, TARGETS), pulled=False, keeps=False),
    Row("RTDETRCriterion", SETS, criterion(lambda: losses.RTDETRCriterion(4), "logits", "boxes")),
    Row("SetCriterion", also(SETS, normal((2, 5, 20, 25))), criterion(lambda: losses.SetCriterion(3), "logits", "boxes", "masks")),
    Row("box_giou_loss", shares(300, 300), losses.box_giou_loss),
    Row("box_giou_loss", boxes(300, 300), losses.box_giou_loss),
    Row("box_l1_loss", uniform((300, 4), (300, 4), high=2000), losses.box_l1_loss),
    Row("clip_loss", normal((50, 70), (50, 70), scale=300), lambda u, v: losses.clip_loss(u, v, 2.0)),
    Row("dice_loss", normal(PIXELS.shape, scale=3), lambda z: losses.dice_loss(z, PIXELS)),
    Row("dice_loss", normal(PIXELS.shape, scale=3), lambda z: losses.dice_loss(z, PIXELS, reduction="none")),
    Row("dino_loss", normal((12, 700), (8, 700), (700,)), lambda s, t, c: losses.dino_loss(s, t, c.data, crops=3)),
    Row("mask_choice", uniform((40, 3), (40, 3), (40, 3)), losses.mask_choice, pulled=False),
    Row("update_centre", normal((700,), (8, 700)), losses.update_centre, pulled=False),
    Row("hinge_d", normal((3_000,), (2, 2_000)), losses.hinge_d),
    Row("hinge_g", normal((3_000,)), losses.hinge_g),
    Row("mae_loss", normal((2, 3, 30, 40), (2, 12, 300)), lambda x, p: losses.mae_loss(x, p, np.arange(24).reshape(2, 12) % 4 > 0, 10)),
    Row("mae_target", uniform((2, 3, 30, 40), high=300), lambda x: losses.mae_target(x, 10, norm_pix=True), steps=2),
    Row("mask_loss", normal((3, 2, 150, 150), scale=3), lambda z: losses.mask_loss(z, np.array([1, 0, 1]), PIXELS.reshape(-1)[:67_500].reshape(3, 150, 150))),
    Row("mlm_loss", normal((40, 50, 9)), lambda z: losses.mlm_loss(z, np.arange(2000).reshape(40, 50) % 9, np.arange(2000).reshape(40, 50) % 7 < 3)),
    Row("proposal_losses", normal((3_000,), (3_000, 4), (3_000, 4)), lambda z, d, t: list(losses.proposal_losses(z, d, np.arange(3_000) % 2, t))),
    Row("region_losses", normal((3_000, 3), (3_000, 3, 4), (3_000, 4)), lambda z, d, t: list(losses.region_losses(z, d, np.arange(3_000) % 3, t))),
    Row("sam_loss", also(normal((2, 3, 3, 150, 150), scale=3), uniform((2, 3, 3))), lambda z, u: list(losses.sam_loss(z, u, PIXELS.reshape(-1)[:135_000].reshape(2, 3, 150, 150)).values())),
    Row("sample_points", normal((2, 3, 40, 2000)), lambda m: losses.sample_points(m, PLACES)),
    Row("varifocal_loss", normal((40, 9), scale=3), lambda z: losses.varifocal_loss(z, OVERLAPS, OVERLAPS > 0)),
    Row("sigmoid_focal_loss", normal(PIXELS.shape, scale=3), lambda z: losses.sigmoid_focal_loss(z, PIXELS)),
    Row("yolo_batch_loss", uniform((2, 5, 5, 13)), lambda p: losses.yolo_batch_loss(p, TARGETS)),
    Row("yolo_loss", uniform((5, 5, 13)), lambda p: losses.yolo_loss(p, TARGETS[0]["boxes"], TARGETS[0]["labels"], 5, 2)),
    Row("yolo_targets", uniform((2, 5, 5, 13)), lambda p: [*losses.yolo_targets(p, TARGETS)], pulled=False, keeps=False),
    Row("yolo_v2_loss", normal((2, 5, 4, 2, 8)), lambda p: losses.yolo_v2_loss(p, TARGETS, np.array([[1.0, 2.0], [2.0, 1.0]]))),
    Row("svm_loss", normal((9, 3)), lambda z: losses.svm_loss(z, np.array([-1, 1, 0] * 9).reshape(9, 3))),
    Row("uncertain_points", normal((2, 40, 2000)), lambda z: losses.uncertain_points(z, 50), pulled=False, keeps=False),
]  # fmt: skip
FEATURES = also(normal((60, 5)), lambda rng: [rng.standard_normal((50, 5)) + 0.3])
METRICS = [
    Row("AveragePrecision", near_the_truth, lambda b, s: precision("AveragePrecision", b, s), pulled=False, keeps=False),
    Row("accuracy", normal((50, 4)), lambda z: np.float64(metrics.accuracy(z, np.arange(50) % 4, k=2)), pulled=False, keeps=False),
    Row("frechet_distance", FEATURES, lambda a, b: np.float64(metrics.frechet_distance(a, b)), pulled=False, keeps=False),
    Row("nearest_neighbours", FEATURES, lambda a, b: metrics.nearest_neighbours(b, a)[1], pulled=False, keeps=False),
    Row("precision_recall", FEATURES, lambda a, b: np.array(metrics.precision_recall(a, b)), pulled=False, keeps=False),
    Row("proposal_recall", boxes(9, 30), lambda b, p: np.float64(metrics.proposal_recall([b], [p], 0.1)), pulled=False, keeps=False),
    Row("psnr", uniform((9, 8), (9, 8)), lambda x, y: np.float64(metrics.psnr(x, y)), pulled=False, keeps=False),
    Row("average_precision", near_the_truth, lambda b, s: precision("average_precision", b, s), pulled=False, keeps=False),
]  # fmt: skip
OPTIM = [
    Row("SGD", normal(9, 9), stepped(lambda p: optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.1)), pulled=False, steps=3),
    Row("Adam", normal(9, 9, scale=300), stepped(lambda p: optim.Adam(p, 1.0)), pulled=False, steps=3),
    Row("AdamW", normal(9, 9, scale=300), stepped(lambda p: optim.AdamW(p, 1.0)), pulled=False, steps=3),
    Row("clip_each_grad_norm", normal(70_000, (3, 4), scale=100), clipped_one_by_one, pulled=False, keeps=False),
    Row("clip_grad_norm", normal(70_000, (3, 4), scale=100), clipped, pulled=False, keeps=False),
]  # fmt: skip
forward = lambda layer, *x: layer(*x)  # noqa: E731
NN = [
    Row("AvgPool2d", normal(MAP), forward, lambda: nn.AvgPool2d(2)),
    Row("BatchNorm2d", normal(MAP, scale=300), forward, lambda: nn.BatchNorm2d(8)),
    Row("ConditionalBatchNorm2d", normal(MAP, scale=300), lambda layer, x: layer(x, np.arange(len(x.data)) % 3), lambda: nn.ConditionalBatchNorm2d(8, 3), steps=3),
    Row("Conv2d", normal(MAP), forward, lambda: nn.Conv2d(8, 4, 3, padding=1), steps=2),
    Row("ConvTranspose2d", normal(MAP), forward, lambda: nn.ConvTranspose2d(8, 4, 3, stride=2), steps=2),
    Row("DropPath", normal(TOKENS), forward, lambda: nn.DropPath(0.5), steps=2),
    Row("DropPath", normal(TOKENS), forward, lambda: nn.DropPath(0.3, per="batch").eval()),
    Row("Dropout", normal(TOKENS), forward, lambda: nn.Dropout(0.25), steps=2),
    Row("Embedding", normal(1), lambda layer, x: layer(np.arange(4_000) % 3), lambda: nn.Embedding(3, 4)),
    Row("FeaturePyramid", normal(MAP), lambda layer, x: layer([x])[0], lambda: nn.FeaturePyramid((8,), 4), steps=4),
    Row("Flatten", normal(MAP), forward, nn.Flatten),
    Row("FrozenBatchNorm2d", normal(MAP, scale=300), forward, lambda: nn.FrozenBatchNorm2d(8), steps=2),
    Row("GELU", normal(TOKENS), forward, nn.GELU, steps=2),
    Row("GroupNorm", normal(MAP, scale=300), forward, lambda: nn.GroupNorm(2, 8)),
    Row("Identity", normal(TOKENS), forward, nn.Identity),
    Row("LayerNorm", normal((2, 600), scale=300), forward, lambda: nn.LayerNorm(600)),
    Row("LayerScale", normal(TOKENS), forward, lambda: nn.LayerScale(8, 0.5)),
    Row("LearnedPositionCode1d", normal(TOKENS), lambda layer, x: x + layer(x), lambda: nn.LearnedPositionCode1d(9, 8), steps=2),
    Row("LearnedPositionCode2d", normal(MAP), lambda layer, x: x + layer(x), lambda: nn.LearnedPositionCode2d(9, 9, 8), steps=2),
    Row("Linear", normal((5_000, 8)), forward, lambda: nn.Linear(8, 4), steps=2),
    Row("LocalResponseNorm", normal(MAP, scale=30), forward, nn.LocalResponseNorm),
    Row("MLP", normal(TOKENS), forward, lambda: nn.MLP(8, 16), steps=4),
    Row("MaxPool2d", normal(MAP), forward, lambda: nn.MaxPool2d(2)),
    Row("ModuleList", normal(TOKENS), lambda layers, x: layers[0](x), lambda: nn.ModuleList([nn.Linear(8, 4)]), steps=2),
    Row("MultiHeadAttention", normal(TOKENS), forward, lambda: nn.MultiHeadAttention(8, 2), steps=8),
    Row("ReLU", normal(TOKENS), forward, nn.ReLU),
    Row("Sequential", normal(TOKENS), forward, lambda: nn.Sequential(nn.Linear(8, 4), nn.Tanh()), steps=4),
    Row("SiLU", normal(TOKENS), forward, nn.SiLU, steps=2),
    Row("Sigmoid", normal(TOKENS), forward, nn.Sigmoid, steps=2),
    Row("SinePositionCode1d", normal((1, 5_000, 8)), lambda layer, x: x + layer(x), lambda: nn.SinePositionCode1d(8), steps=2),
    Row("SinePositionCode2d", normal((1, 8, 3, 3_000)), lambda layer, x: x + layer(x), lambda: nn.SinePositionCode2d(8), steps=2),
    Row("SpectralNorm", normal((5_000, 8)), forward, lambda: nn.SpectralNorm(nn.Linear(8, 4)).eval(), steps=4),
    Row("SwiGLU", normal(TOKENS), forward, lambda: nn.SwiGLU(8, 16), steps=6),
    Row("Tanh", normal(TOKENS), forward, nn.Tanh, steps=2),
    Row("Transformer", normal(1), lambda layer, x: layer(np.arange(12).reshape(2, 6) % 5, np.arange(8).reshape(2, 4) % 5), lambda: nn.Transformer(8, 2, 1, 1, 16, source_vocabulary=5, target_vocabulary=5), steps=20),
    Row("TransformerDecoder", normal(TOKENS, (2, 4, 8)), forward, lambda: nn.TransformerDecoder([nn.TransformerDecoderLayer(8, 2, 16) for _ in range(2)]), steps=20),
    Row("TransformerDecoderLayer", normal(TOKENS, (2, 4, 8)), forward, lambda: nn.TransformerDecoderLayer(8, 2, 16), steps=15),
    Row("TransformerEncoder", normal(TOKENS), forward, lambda: nn.TransformerEncoder([nn.TransformerEncoderLayer(8, 2, 16) for _ in range(2)]), steps=15),
    Row("TransformerEncoderLayer", normal(TOKENS), forward, lambda: nn.TransformerEncoderLayer(8, 2, 16), steps=10),
    Row("WeightStandardizedConv2d", normal(MAP), forward, lambda: nn.WeightStandardizedConv2d(MAP[1], 4, 3), steps=2),
    Row("WindowAttention", normal((1, 6, 8, 8)), forward, lambda: nn.WindowAttention(8, 2, (3, 4), (1, 2)), steps=8),
    Row("spectral_norm", normal((4, 3, 2, 2), (4,)), lambda w, u: nn.spectral_norm(w, u.data)[0], steps=2),
    Row("weight_standardized_conv2d", normal((2, 3, 5, 6), (4, 3, 3, 2)), lambda x, w: nn.weight_standardized_conv2d(x, w, 2), steps=2),
]  # fmt: skip
ROWS = {vision: VISION, losses: LOSSES, metrics: METRICS, optim: OPTIM, nn: NN}
EXEMPT = {
    "no floats: masks": ["mask_dice", "mask_iou", "masks_to_boxes", "rle_decode", "rle_encode", "padded_sine_position_code", "border_weights", "central_click", "next_click", "uniform_click"],
    "no floats: integers": ["balanced_sample", "id2rgb", "mask_tokens", "rgb2id", "PanopticQuality", "panoptic_quality", "class_iou", "confusion_matrix", "mean_iou", "segment_boxes"],
    "counts pixels, and rounding moves some across a threshold": ["FoundMask", "automatic_masks", "stability_score"],
    "no arrays": ["point_grid", "cell_centres", "crop_offsets", "field_of_view", "neighbour_mask", "relative_position_index", "shifted_window_mask", "constant", "cosine", "one_cycle", "decay_groups", "drop_path_rates", "survival_schedule", "sliding_windows", "cosine_schedule", "follow", "ReduceLROnPlateau"],
    "computes nothing by itself": ["Module", "Parameter", "Optimizer", "ResidualLayer", "looking"],
}  # fmt: skip
EVERY = [row for rows in ROWS.values() for row in rows]


def test_every_public_function_has_a_row_or_a_reason():
    for package, rows in ROWS.items():
        public = {name for name in package.__all__ if callable(getattr(package, name))}
        named = {row.name for row in rows}
        excused = {name for names in EXEMPT.values() for name in names}
        assert public - named - excused == set(), (
            f"{package.__name__}: no row in ROWS and no reason in EXEMPT"
        )
        assert named <= public and not named & excused


def run(row, arrays, layer, cotangent=1.0):
    """Outputs as arrays and, where there are any, the gradients of the arrays and of the layer's parameters."""
    leaves = [Tensor(x, requires_grad=True) for x in arrays] if row.pulled else arrays
    out = row.call(*([layer] if layer else []), *leaves)
    outputs = out if isinstance(out, list) else [out]
    if not row.pulled:
        return outputs, []
    total = 0
    for i, y in enumerate(outputs):
        g = np.random.default_rng(i).uniform(0.5, 1, y.shape).astype(np.float64)
        total = total + ops.sum(y.astype(np.float64) * (cotangent * g))
    total.backward()
    parameters = layer.parameters() if layer else []
    gradients = [x.grad for x in (*leaves, *parameters) if x.grad is not None]
    return [y.data for y in outputs], gradients


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("row", EVERY, ids=str)
def test_the_dtype_stays_and_the_numbers_are_those_of_float64(row, dtype):
    arrays = [x.astype(dtype) for x in row.draw(np.random.default_rng(0))]
    layer = row.layer and row.layer().to(dtype)
    twin = copy.deepcopy(layer) and copy.deepcopy(layer).to("float64")
    wide = [x.astype(np.float64) for x in arrays]
    pulled = run(row, wide, copy.deepcopy(twin))[1]
    largest = max((np.abs(g).max() for g in pulled), default=1)  # a mean over many pixels has tiny gradients:
    cotangent = min(2.0**14, 2.0 ** -np.round(np.log2(largest)))  # measured where float16 has normal numbers
    outputs, gradients = run(row, arrays, layer, cotangent)
    wanted, pulled = run(row, wide, twin, cotangent)
    assert len(gradients) == len(pulled) and bool(gradients) == row.pulled
    for got, right in zip(outputs, wanted, strict=True):
        got, right = backend.to_numpy(got), backend.to_numpy(right)
        if right.dtype.kind == "f":
            assert got.dtype == dtype or (not row.keeps and got.dtype.kind == "f")
            assert np.abs(got - right).max(initial=0) <= row.steps * TOLERANCE[dtype] * np.abs(right).max(
                initial=0
            )
        else:
            np.testing.assert_array_equal(got, right)
    for got, right in zip(gradients, pulled, strict=True):
        assert got.dtype == dtype
        assert np.abs(got - right).max() <= row.steps * TOLERANCE[dtype] * largest * cotangent
    if layer:
        assert {p.dtype.name for p in layer.parameters()} <= {dtype}


ON_A_DEVICE = [
    row for row in [*VISION, *LOSSES] if row.name.startswith(("box_", "generalized", "paste")) and row.pulled
]


@pytest.mark.parametrize("row", ON_A_DEVICE, ids=str)
def test_halves_are_widened_on_a_device_too(row, device):
    arrays = [x.astype(np.float16) for x in row.draw(np.random.default_rng(0))]
    leaves = [Tensor(backend.move(x, device), requires_grad=True) for x in arrays]
    out = row.call(*leaves)
    (wanted,), _ = run(row, arrays, None)
    assert out.dtype == np.float16
    np.testing.assert_allclose(out.numpy(), wanted, rtol=1e-3)
    ops.mean(out.astype(np.float64)).backward()
    assert all(x.grad.dtype == np.float16 for x in leaves)
