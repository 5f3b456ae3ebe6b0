"""The road of detectors in one table: what each costs for an image, how well it finds objects, what it took to train.

Regression of one box, a sliding window, R-CNN, SPP-net, Fast R-CNN with RoIPool and with RoIAlign, then the detectors that
come with minivis: Faster R-CNN, YOLO, DETR. All see the same scenes. `results` reads what was measured;
scripts/run_ablations.py measures it again. The costs fall as on slide ``C/60-rcnn-times``: in R-CNN the network runs for
every region, in SPP-net and Fast R-CNN once, and then the proposals take nearly all of the time. What is found differs: R-CNN
finds most of those three, because each crop is enlarged to 32 x 32 pixels.
Not here: the networks (models/rcnn.py and others), proposals (vision/proposals.py), the figure (viz/detection_road.py).
"""

import time
from functools import lru_cache
from pathlib import Path

import numpy as np

from minivis import ops, optim, storage
from minivis.autograd import no_grad
from minivis.data import DataLoader, shapes
from minivis.data.loader import stack
from minivis.losses import balanced_sample
from minivis.metrics import AveragePrecision, proposal_recall
from minivis.models import RCNN, FastRCNN, OneMap, SingleBox, SPPNet
from minivis.recipes import _shapes
from minivis.train import fit
from minivis.vision import (
    box_iou,
    detr_detections,
    region_targets,
    selective_search,
    sliding_windows,
)

__all__ = ["CHOICES", "prepare", "proposals", "results"]

RESULTS = Path(__file__).with_suffix(".json")
SEEDS = (0,)
STEPS = {"backbone": 1500, "one box": 600, "crops": 400, "pyramid": 400, "Fast R-CNN": 700, "machines": 400}
SCENES = 1500  # training scenes with proposals; drawing and searching new ones would take longer than training on them
VECTORS = 400  # scenes whose regions the support vector machines learn from
COUNT = 200  # held-out scenes
PROPOSALS = 200  # of an image
WINDOWS = (9, 13, 19, 28)  # sides of the sliding window, pixels
WINDOW_STEP = 3
K = len(shapes.THINGS) + 1  # class 0 is background
SHIPPED = {"Faster R-CNN": "faster-rcnn-shapes", "YOLO": "yolo-shapes", "DETR": "detr-shapes"}


def results():
    """The measured results.

    Returns
    -------
    dict
        ``results()[subject][method][metric]`` is a list with one number for each seed. For the subject "methods" the
        metrics are "AP50" and "AP" on held-out scenes; "proposals", "network" and "rest", seconds of processor time for an
        image, and "seconds an image", their sum; "regions", how many the network looked at; "parameters" and "training seconds".
        For "one object" they are the "AP50" and "AP" of the regression of one box on scenes with one object, and with
        several. For "recall" they are the "recall" of objects at an IoU of 0.5 by the first "count" proposals, a list each.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing or broken.

    Examples
    --------
    >>> sorted(results())
    ['methods', 'one object', 'recall']
    """
    return storage.read_json(RESULTS)["results"]


# ------------------------------------------------------------------ scenes and their proposals


def proposals(scene):
    """The boxes that the detectors with regions are given: the first 200 of `vision.selective_search`.

    Parameters
    ----------
    scene : data.shapes.Scene
        A generated scene.

    Returns
    -------
    ndarray of float32, shape (N, 4)
        xyxy in pixels, the most promising first.

    Examples
    --------
    >>> proposals(shapes.scene(3)).shape[1]
    4
    """
    return selective_search(np.moveaxis(scene.image, 0, 2))[:PROPOSALS]


def _objects(scene):
    """Boxes (xyxy in pixels) and labels from 1 of the objects of a scene."""
    return _shapes.in_pixels(scene.boxes, *scene.image.shape[1:]), scene.labels + 1


class Proposed:
    """Scenes with their objects and regions, kept in memory; an item is (image, boxes, labels, regions).

    In the regions the objects come first, as in the published trainings, then the proposals.
    """

    def __init__(self, count, split, seed):
        self.items = []
        for i in range(count):
            scene = shapes.Scenes(count, split, seed).scene(i)
            boxes, labels = _objects(scene)
            self.items.append((scene.image, boxes, labels, np.concatenate([boxes, proposals(scene)])))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


@lru_cache(maxsize=1)
def _scenes(seed):
    """The training scenes of a seed, and the seconds that their proposals took."""
    start = time.process_time()
    return Proposed(SCENES, "train", 10 + seed), time.process_time() - start


class Sampled:
    """Turns scenes into a batch of sampled regions; half of the scenes are mirrored. A `DataLoader`'s collate."""

    def __init__(self, count, positive, background, rng):
        self.count, self.positive, self.background, self.rng = count, positive, background, rng

    def __call__(self, samples):
        columns = zip(*[self._one(*sample) for sample in samples], strict=True)
        images, regions, targets, objects = columns
        return np.stack(images), list(regions), list(targets), list(objects)

    def _one(self, image, boxes, labels, regions):
        if self.rng.random() < 0.5:
            image = np.ascontiguousarray(image[:, :, ::-1])
            boxes, regions = (_mirrored(x, image.shape[2]) for x in (boxes, regions))
        targets, objects = region_targets(regions, boxes, labels, background=self.background)
        chosen = balanced_sample(targets, self.count, self.positive, self.rng)
        return image, regions[chosen], targets[chosen], objects[chosen]


def _mirrored(boxes, width):
    return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)


# ------------------------------------------------------------------ trainings


def _backbone(out, seed):
    """The backbone that has learned to name pixels, and the seconds of its training."""
    rng = np.random.default_rng(seed)
    folder = Path(out) / f"trunk_seed-{seed}"
    return _shapes.trunk(folder, STEPS["backbone"], rng, True, seed)


def _kept(out, name, seed, model, train):
    """The model, trained by ``train()`` or read from the folder, and the seconds that ``train()`` returned."""
    folder = Path(out) / f"{name}_seed-{seed}"
    if not (folder / "seconds.json").exists():
        seconds = train()
        storage.save(model, folder)
        storage.write_files({folder / "seconds.json": storage.pack_json({"seconds": seconds})})
    storage.load(folder, into=model)
    return model.eval(), storage.read_json(folder / "seconds.json")["seconds"]


def _train(model, batches, loss, steps):
    """Train with AdamW; the seconds of processor time."""
    start = time.process_time()
    schedule = optim.one_cycle(steps, warmup=0.1)
    optimizer = optim.AdamW(optim.decay_groups(model, 1e-4), lr=1e-3, schedule=schedule)
    fit(model, batches, loss, optimizer, steps, clip=5.0)
    return time.process_time() - start


def _batches(scenes, batch_size, count, background, rng):
    collate = Sampled(count, 0.25, background, rng)
    return DataLoader(scenes, batch_size, shuffle=True, drop_last=True, collate=collate, rng=rng)


def _classes(model, images, regions, targets, objects):
    return ops.cross_entropy(model(images, regions), np.concatenate(targets))


def prepare(out, seed):
    """Train what several methods share, before they run side by side: the backbone and the network for crops.

    Parameters
    ----------
    out : str or path
        Folder for the trained networks; what is there already is not trained again.
    seed : int
        One of `SEEDS`.
    """
    _crops(out, seed)


def _crops(out, seed):
    """The network for crops, trained to name them, and the seconds so far."""
    backbone, before = _backbone(out, seed)
    rng = np.random.default_rng(seed)
    model = RCNN(OneMap(backbone, "last"), backbone.channels[-1], 4, K, rng=rng)

    def train():
        scenes, searching = _scenes(seed)
        batches = _batches(scenes, 8, 16, (0.0, 0.5), rng)
        return before + searching + _train(model, batches, _classes, STEPS["crops"])

    return _kept(out, "crops", seed, model, train)


def _rcnn(out, seed):
    model, before = _crops(out, seed)
    rng = np.random.default_rng(seed)
    return _kept(out, "rcnn", seed, model, lambda: before + _finish(model, _scenes(seed)[0], rng))


def _sppnet(out, seed):
    """The backbone is frozen, as published; only what stands behind the pyramid learns."""
    backbone, before = _backbone(out, seed)
    rng = np.random.default_rng(seed)
    features = OneMap(backbone, "stacked").requires_grad_(False)
    model = SPPNet(features, features.channels, 4, K, rng=rng)

    def train():
        scenes, searching = _scenes(seed)
        batches = _batches(scenes, 16, 32, (0.0, 0.5), rng)
        seconds = _train(model, batches, _classes, STEPS["pyramid"])
        return before + searching + seconds + _finish(model, scenes, rng)

    return _kept(out, "sppnet", seed, model, train)


def _fast_rcnn(out, seed, pooling):
    backbone, before = _backbone(out, seed)
    rng = np.random.default_rng(seed)
    model = FastRCNN(OneMap(backbone, rng=rng), 64, 4, K, pooling=pooling, rng=rng)

    def train():
        scenes, searching = _scenes(seed)
        batches = _batches(scenes, 16, 32, (0.0, 0.5), rng)
        seconds = _train(model, batches, lambda m, *batch: m.losses(*batch)["loss"], STEPS["Fast R-CNN"])
        return before + searching + seconds

    return _kept(out, f"fast-rcnn-{pooling}", seed, model, train)


def _one_box(out, seed):
    """The network for one box, trained on scenes with one object."""
    backbone, before = _backbone(out, seed)
    rng = np.random.default_rng(seed)
    model = SingleBox(OneMap(backbone, "last"), backbone.channels[-1], 8, K - 1, rng=rng)

    def loss(model, images, labels, boxes):
        logits, found = model(images)
        return ops.cross_entropy(logits, labels) + 5 * ops.l1_loss(found, boxes)

    def train():
        steps = STEPS["one box"]
        scenes = shapes.Scenes(32 * steps, "train", seed, objects=1, sample=_one_object)
        return before + _train(model, DataLoader(scenes, 32, collate=stack, rng=rng), loss, steps)

    return _kept(out, "one-box", seed, model, train)


def _one_object(scene):
    return scene.image, scene.labels[0], scene.boxes[0]


def _finish(model, scenes, rng):
    """Support vector machines and regressors of the boxes, on what the trained network says of regions. The seconds."""
    start = time.process_time()
    vectors, signs, near = [], [], []
    for image, boxes, labels, regions in [scenes[i] for i in range(min(VECTORS, len(scenes)))]:
        regions = regions[: len(boxes) + 64]
        with no_grad():
            pooled = model.pooled(image[None], [regions])
            vectors.append(model.hidden(pooled).numpy())
        signs.append(_signs(regions, boxes, labels))
        overlaps = box_iou(regions, boxes)
        best = overlaps.argmax(axis=1)
        close = overlaps.max(axis=1) > 0.6
        near.append((pooled.numpy()[close], regions[close], boxes[best[close]], labels[best[close]]))
    model.fit_regressors(*(np.concatenate(column) for column in zip(*near, strict=True)), strength=100.0)
    _fit_svms(model, np.concatenate(vectors), np.concatenate(signs), rng)
    return time.process_time() - start


def _signs(regions, boxes, labels):
    """For each region and class: 1 for an object of it, -1 where no object of it has an IoU of 0.3 or more, 0 otherwise."""
    signs = np.full((len(regions), K - 1), -1)
    for k in range(1, K):
        mine = boxes[labels == k]
        if len(mine):
            signs[box_iou(regions, mine).max(axis=1) >= 0.3, k - 1] = 0
    signs[np.arange(len(boxes)), labels - 1] = 1  # the objects themselves come first
    return signs


def _fit_svms(model, vectors, signs, rng, batch=2048):
    """AdamW on the loss of the support vector machines; a quarter of the examples of a batch are members of a class."""
    members = np.flatnonzero((signs > 0).any(axis=1))
    others = np.flatnonzero(~(signs > 0).any(axis=1))
    steps = STEPS["machines"]
    schedule = optim.cosine(steps, warmup_steps=min(20, steps // 2))
    optimizer = optim.AdamW(optim.decay_groups(model.svm, 1e-3), lr=1e-2, schedule=schedule)
    for _ in range(steps):
        rows = np.concatenate([rng.choice(members, batch // 4), rng.choice(others, 3 * batch // 4)])
        optimizer.zero_grad()
        model.svm_loss(vectors[rows], signs[rows]).backward()
        optimizer.step()


# ------------------------------------------------------------------ measuring


def _held_out(objects=None):
    scenes = shapes.Scenes(COUNT, "held-out", objects=objects)
    return [scenes.scene(i) for i in range(COUNT)]


def _row(model, training, network, answer, propose=None, first_label=1):
    """A row of the table.

    ``network(image, regions)`` is everything from pixels to scores; ``answer(image, regions)`` gives the detections and
    runs the network too. What it takes longer is the rest.
    """
    metric = AveragePrecision()
    seconds = dict.fromkeys(("proposals", "network", "rest"), 0.0)
    regions = None
    looked = 0
    for scene in _held_out():
        image = scene.image[None]
        if propose:
            spent, boxes = _clocked(propose, scene)
            seconds["proposals"] += spent
            regions = [boxes]
            looked += len(boxes)
        with no_grad():
            spent, _ = _clocked(network, image, regions)
            both, found = _clocked(answer, image, regions)
        seconds["network"] += spent
        seconds["rest"] += max(0.0, both - spent)
        boxes, labels = _objects(scene)
        metric.update(found, [{"boxes": boxes, "labels": labels - 1 + first_label}])
    scores = metric.compute()
    seconds = {name: value / COUNT for name, value in seconds.items()}
    return {
        "AP50": scores["AP50"],
        "AP": scores["AP"],
        **seconds,
        "seconds an image": sum(seconds.values()),
        "regions": looked / COUNT,
        "parameters": int(sum(p.size for p in model.parameters())),
        "training seconds": training,
    }


def _clocked(function, *args):
    """The seconds of processor time of a call, and its result."""
    start = time.process_time()
    result = function(*args)
    return time.process_time() - start, result


def one_box(out, seed, several=False):
    """Regression of one box, on scenes with one object (or several): AP50 and AP."""
    model, _ = _one_box(out, seed)
    metric = AveragePrecision()
    for scene in _held_out(None if several else 1):
        boxes, labels = _objects(scene)
        metric.update(_single(model, scene.image[None]), [{"boxes": boxes, "labels": labels}])
    scores = metric.compute()
    return {"AP50": scores["AP50"], "AP": scores["AP"]}


def _single(model, image):
    """The one detection of `SingleBox`, in pixels."""
    with no_grad():
        logits, boxes = (x.numpy() for x in model(image))
    scores = ops.softmax(logits, axis=1)
    boxes = _shapes.in_pixels(boxes, *image.shape[2:])
    return [{"boxes": boxes, "labels": scores.argmax(axis=1) + 1, "scores": scores.max(axis=1)}]


def regression(out, seed):
    """The row of the regression of one box, on scenes with any number of objects."""
    model, training = _one_box(out, seed)
    return _row(model, training, lambda image, _: model(image), lambda image, _: _single(model, image))


def sliding_window(out, seed):
    """The row of the sliding window: the network for crops at every place, in several sizes."""
    model, training = _crops(out, seed)
    everywhere = sliding_windows(shapes.SIZE, shapes.SIZE, WINDOWS, WINDOW_STEP)
    return _row(model, training, model, model.classify, lambda scene: everywhere)


def rcnn(out, seed):
    """The row of R-CNN."""
    model, training = _rcnn(out, seed)
    return _row(model, training, _all_of(model), model.detect, proposals)


def sppnet(out, seed):
    """The row of SPP-net."""
    model, training = _sppnet(out, seed)
    return _row(model, training, _all_of(model), model.detect, proposals)


def _all_of(model):
    """The whole network of R-CNN or SPP-net: vectors, support vector machines, regressors."""

    def network(image, regions):
        pooled = model.pooled(image, regions)
        return model.svm(model.hidden(pooled)), model.regressors(pooled)

    return network


def fast_rcnn(out, seed, pooling="pool"):
    """The row of Fast R-CNN."""
    model, training = _fast_rcnn(out, seed, pooling)
    return _row(model, training, model, model.detect, proposals)


def shipped(out, seed, name):
    """The row of a detector that comes with minivis; the training is that of its card, whatever the seed."""
    model = storage.load(name)
    card = storage.read_json(Path(storage.__file__).parent / "weights" / name / "card.json")
    answer = ANSWERS[name]
    first = int(answer is _region_answer)  # the label of the first class: 0 is background there

    def find(image, _):
        return answer(model, image)

    return _row(model, _shapes.seconds_alone(card), lambda image, _: model(image), find, first_label=first)


def _set_answer(model, image):
    """Of DETR, in pixels."""
    output = model(image)
    found = detr_detections(output.logits.numpy()[0], output.boxes.numpy()[0])
    return [{**found, "boxes": _shapes.in_pixels(found["boxes"], *image.shape[2:])}]


def _region_answer(model, image):
    """Of Faster R-CNN, which answers with boxes, suppression included."""
    return model(image)


def _cell_answer(model, image):
    """Of YOLO."""
    return model.detect(image)


ANSWERS = {
    "faster-rcnn-shapes": _region_answer,
    "yolo-shapes": _cell_answer,
    "detr-shapes": _set_answer,
}


def recall(out, seed):
    """How many objects the first proposals cover."""
    counts = [1, 2, 5, 10, 20, 50, 100, 200]
    pairs = [(_objects(scene)[0], proposals(scene)) for scene in _held_out()]
    found = [proposal_recall(*zip(*pairs, strict=True), 0.5, count) for count in counts]
    return {"count": counts, "recall": found}


def about():
    """What the file of the results says beside them."""
    return {
        "steps": STEPS,
        "scenes": f"{COUNT} held-out scenes; regions of {SCENES} training scenes, at most {PROPOSALS} proposals an image",
        "seconds": "of one thread, by the processor's clock; of the training with the backbone and the proposals; the shipped "
        "detectors: as on their cards",
        "sliding window": f"windows of {WINDOWS} pixels, every {WINDOW_STEP} pixels",
        "optimiser": "AdamW, learning rate 1e-3 in one cycle, decay 1e-4",
    }


CHOICES = {
    "methods": {
        "regression of one box": (regression, {}),
        "sliding window": (sliding_window, {}),
        "R-CNN": (rcnn, {}),
        "SPP-net": (sppnet, {}),
        "Fast R-CNN, RoIPool": (fast_rcnn, {"pooling": "pool"}),
        "Fast R-CNN, RoIAlign": (fast_rcnn, {"pooling": "align"}),
        **{method: (shipped, {"name": name}) for method, name in SHIPPED.items() if name in storage.names()},
    },
    "one object": {
        "one object": (one_box, {"several": False}),
        "several": (one_box, {"several": True}),
    },
    "recall": {"Selective Search": (recall, {})},
}
