"""Random detections, masks and queries, what pycocotools and transformers make of them, and what minivis makes.

Not here: the comparison (test_metric_parity.py), the stored file (make_metric_fixtures.py).
"""

import contextlib
import copy
import io

import numpy as np

from minivis import metrics, vision

KINDS = {"boxes": "bbox", "masks": "segm"}
NAMES = "AP AP50 AP75 AP_small AP_medium AP_large AR1 AR10 AR100 AR_small AR_medium AR_large".split()


def problem(seed, kind="boxes", images=12, classes=4, most=8):
    """Draw truth and results. Coordinates are quarters of pixels and scores hundredths, so that there are ties."""
    rng = np.random.default_rng(seed)
    truth, results = [], []
    sizes = [(int(h), int(w)) for h, w in rng.integers(40, 260, (images, 2))]
    for image, (height, width) in enumerate(sizes, 1):
        for _ in range(rng.integers(0, most)):
            box = _box(rng, height, width)
            label = int(rng.integers(1, classes + 1))
            crowd = bool(rng.random() < 0.15)
            area = float(box[2] * box[3] * rng.choice([0.5, 1.0]))
            truth.append(_entry(rng, kind, image, label, box, height, width))
            truth[-1] |= {"id": len(truth), "iscrowd": int(crowd), "area": area}
            # found, more or less, perhaps twice, perhaps as another class
            for _ in range(rng.integers(0, 4)):
                near = np.round((box + rng.normal(0, 0.08, 4) * box[[2, 3, 2, 3]]) * 4) / 4
                near[2:] = np.maximum(near[2:], 0.25)
                label = label if rng.random() < 0.85 else int(rng.integers(1, classes + 1))
                results.append(_entry(rng, kind, image, label, near, height, width))
                results[-1]["score"] = float(np.round(rng.random(), 2))
        for _ in range(rng.integers(0, 14) if image % 3 == 0 else 0):  # and what is not there
            box = _box(rng, height, width)
            label = int(rng.integers(1, classes + 1))
            results.append(_entry(rng, kind, image, label, box, height, width))
            results[-1]["score"] = float(np.round(rng.random(), 2))
    return {"kind": kind, "classes": classes, "sizes": sizes, "truth": truth, "results": results}


def _box(rng, height, width):
    """A box (x, y, w, h), sides of 2 % to 90 % of the image."""
    w, h = np.maximum(np.round(rng.uniform(0.02, 0.9, 2) * [width, height] * 4) / 4, 0.25)
    x, y = np.round(rng.random(2) * [width - w, height - h] * 4) / 4
    return np.array([x, y, w, h])


def _entry(rng, kind, image, label, box, height, width):
    x, y, w, h = box.tolist()
    entry = {"image_id": image, "category_id": label}
    if kind == "boxes":
        return {**entry, "bbox": [x, y, w, h]}
    i, j = np.mgrid[:height, :width] + 0.5
    inside = ((j - x - w / 2) / w) ** 2 + ((i - y - h / 2) / h) ** 2 <= 0.25  # an ellipse, ragged
    return {**entry, "segmentation": vision.rle_encode(inside & (rng.random(inside.shape) < 0.98))}


def theirs(problem):
    """The 12 numbers of pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    problem = copy.deepcopy(problem)  # pycocotools writes into what it is given
    truth = COCO()
    with contextlib.redirect_stdout(io.StringIO()):
        truth.dataset = {
            "images": [{"id": i, "height": h, "width": w} for i, (h, w) in enumerate(problem["sizes"], 1)],
            "categories": [{"id": label} for label in range(1, problem["classes"] + 1)],
            "annotations": problem["truth"],
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(problem["results"]), KINDS[problem["kind"]])
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(NAMES, evaluation.stats.tolist(), strict=True))


def ours(problem):
    """The 12 numbers of minivis."""
    kind, sizes = problem["kind"], problem["sizes"]
    images = [_gather(problem, i, size) for i, size in enumerate(sizes, 1)]
    return metrics.average_precision(*zip(*images, strict=True), kind=kind)


def _gather(problem, image, size):
    """One image's entries as `metrics.average_precision` takes them."""
    both = []
    for listed in (problem["results"], problem["truth"]):
        entries = [entry for entry in listed if entry["image_id"] == image]
        made = {"labels": np.array([entry["category_id"] for entry in entries], int)}
        for name, key in (("scores", "score"), ("iscrowd", "iscrowd"), ("area", "area")):
            if name == "scores" if listed is problem["results"] else name != "scores":
                made[name] = np.array([entry[key] for entry in entries], float)
        if problem["kind"] == "boxes":
            boxes = np.array([entry["bbox"] for entry in entries], float).reshape(-1, 4)
            made["boxes"] = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
        else:
            masks = [vision.rle_decode(entry["segmentation"]) for entry in entries]
            made["masks"] = np.array(masks, bool).reshape(-1, *size)
        both.append(made)
    return both


def masks():
    """Masks that begin with either value, are empty, full, thin, and long enough for numbers of several characters."""
    rng = np.random.default_rng(0)
    shares = [
        (1, 1, 1.0),
        (3, 5, 0.0),
        (12, 9, 0.5),
        (9, 12, 0.1),
        (60, 70, 0.005),
        (70, 60, 0.995),
        (150, 90, 1.0),
    ]
    return [rng.random((height, width)) < share for height, width, share in shares]


def their_run_lengths(mask):
    """What pycocotools writes for a mask, and the plain lengths that it takes for the same."""
    from pycocotools import mask as api

    plain = vision.rle_encode(mask, compressed=False)
    string = api.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert api.frPyObjects(plain, *mask.shape)["counts"].decode() == string
    return {**plain, "string": string}


MERGE_THINGS = [True, True, True, False, False]


def queries(seed):
    """Draw class and mask logits of one image: coarse regions with noise on top, some queries sure, some faint."""
    rng = np.random.default_rng(seed)
    K = len(MERGE_THINGS)
    Q = int(rng.integers(4, 12))
    logits = rng.normal(0, 1, (Q, K + 1))
    logits[np.arange(Q), rng.integers(0, K + 1, Q)] += rng.choice([3, 7], Q)
    masks = np.kron(rng.normal(0, 1, (Q, 3, 4)), np.ones((4, 5))) + rng.normal(0, 0.2, (Q, 12, 20))
    masks -= rng.choice([0, 3], (Q, 1, 1))
    return {"logits": logits.round(3).tolist(), "masks": masks.round(3).tolist(), "size": [21 + seed, 33]}


def our_merge(row):
    """Segment of each pixel and the list of segments."""
    logits, masks = np.array(row["logits"]), np.array(row["masks"])
    ids, segments = vision.detr_panoptic(logits, masks, MERGE_THINGS, size=row["size"])
    told = [{key: segment[key] for key in ("id", "category_id", "isthing", "area")} for segment in segments]
    return {"ids": ids.tolist(), "segments": told}


def their_merge(row):
    """The same from transformers, which counts its segments from 0."""
    import types
    import warnings

    import torch
    from PIL import Image
    from transformers import DetrImageProcessor

    tensors = {
        "logits": row["logits"],
        "pred_masks": row["masks"],
        "pred_boxes": np.zeros((len(row["logits"]), 4)),
    }
    output = types.SimpleNamespace(
        **{name: torch.tensor(np.array(x), dtype=torch.float64)[None] for name, x in tensors.items()}
    )
    size = tuple(row["size"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (merged,) = DetrImageProcessor().post_process_panoptic(
            output, [size], [size], dict(enumerate(MERGE_THINGS))
        )
    ids = vision.rgb2id(np.array(Image.open(io.BytesIO(merged["png_string"])))) + 1
    segments = [{**segment, "id": segment["id"] + 1} for segment in merged["segments_info"]]
    told = [{key: segment[key] for key in ("id", "category_id", "isthing", "area")} for segment in segments]
    return {"ids": ids.tolist(), "segments": told}
