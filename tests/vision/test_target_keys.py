"""One vocabulary: what data sets and models hand out, losses and scores understand, under the same keys.

Not here: what each loss and score makes of it.
"""

import json
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from minivis.data import coco, shapes
from minivis.losses import HungarianMatcher, Mask2FormerCriterion, MaskMatcher, SetCriterion
from minivis.metrics import average_precision, panoptic_quality
from minivis.vision import detr_detections, detr_panoptic, id2rgb, panoptic_inference, rle_encode
from minivis.vision.target_keys import OF_EACH_OBJECT, OLDER, SEGMENT_KEYS, TARGET_KEYS, known_keys

CLASSES, SIDE = 11, 64
RNG = np.random.default_rng(0)


def read_from_coco(folder):
    """The targets of a photo with an object and a crowd, from either kind of list."""
    numbers = np.zeros((SIDE, SIDE), int)
    numbers[4:20, 8:40], numbers[30:60, 5:50] = 7, 300
    Image.new("RGB", (SIDE, SIDE)).save(folder / "a.png")
    Image.fromarray(id2rgb(numbers)).save(folder / "map.png")
    images = [{"id": 1, "file_name": "a.png", "height": SIDE, "width": SIDE}]
    objects = [
        {"id": 1, "image_id": 1, "category_id": 3, "bbox": [8, 4, 32, 16], "area": 500, "segmentation": rle_encode(numbers == 7)},
        {"id": 2, "image_id": 1, "category_id": 3, "bbox": [5, 30, 45, 30], "iscrowd": 1, "segmentation": rle_encode(numbers == 300)},
    ]  # fmt: skip
    segments = [{"id": 7, "category_id": 3}, {"id": 300, "category_id": 3, "iscrowd": 1}]
    maps = [{"image_id": 1, "file_name": "map.png", "segments_info": segments}]
    kinds = [{"id": 3, "name": "cat", "isthing": 1}]
    for name, annotations in (("detection.json", objects), ("panoptic.json", maps)):
        content = {"images": images, "annotations": annotations, "categories": kinds}
        (folder / name).write_text(json.dumps(content))
    detection = coco.CocoDetection(folder, folder / "detection.json", crowds=True)
    panoptic = coco.CocoPanoptic(folder, folder, folder / "panoptic.json", crowds=True)
    return detection[0][1], panoptic[0][1]


@pytest.fixture
def targets(tmp_path):
    detection, panoptic = read_from_coco(tmp_path)
    scene = shapes.scene(3)
    return {
        "CocoDetection": detection,
        "CocoPanoptic": panoptic,
        "scene": scene.target(),
        "scene with grounds": scene.target(grounds=True),
    }


class Noting(dict):
    """A dict that notes the keys it is asked for."""

    def __init__(self, given, asked):
        super().__init__(given)
        self.asked = asked

    def __getitem__(self, key):
        self.asked.add(key)
        return super().__getitem__(key)

    def __contains__(self, key):
        self.asked.add(key)
        return super().__contains__(key)

    def get(self, key, default=None):
        self.asked.add(key)
        return super().get(key, default)


def consume(target):
    """Hand a target to whatever takes one."""
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(1, 5, CLASSES + 1))
    boxes = rng.uniform(0.3, 0.6, (1, 5, 4))
    masks = rng.normal(size=(1, 5, 16, 16))
    output = SimpleNamespace(logits=logits, boxes=boxes, masks=masks, auxiliary=[])
    SetCriterion(CLASSES)(output, [target])
    HungarianMatcher()(logits, boxes, [target])
    Mask2FormerCriterion(CLASSES, points=9)(output, [target])
    MaskMatcher(points=9)(logits, masks, [target])
    found = {**target, "scores": np.ones(len(target["labels"]))}
    for kind, sizes in (("boxes", [(SIDE, SIDE)]), ("masks", None)):
        assert average_precision([found], [target], sizes, kind)["AP"] == 1
    coco.collate([(np.zeros((3, SIDE, SIDE)), target), (np.zeros((3, SIDE + 1, 9)), target)])
    if "segments" in target:
        division = target["panoptic"], [Noting(s, target.asked) for s in target["segments"]]
        things = np.ones(CLASSES, bool)
        ids, segments = detr_panoptic(logits[0], rng.normal(size=(5, SIDE, SIDE)), things, threshold=0)
        panoptic_quality([(ids, [Noting(s, target.asked) for s in segments])], [division], things)
        assert panoptic_quality([division], [division], things)["PQ"] == 1


@pytest.mark.parametrize("name", ["CocoDetection", "CocoPanoptic", "scene", "scene with grounds"])
def test_what_data_sets_hand_out_is_understood_by_losses_and_scores(targets, name):
    asked = set()
    target = Noting(targets[name], asked)
    assert target.keys() <= TARGET_KEYS.keys()
    assert all(segment.keys() <= SEGMENT_KEYS.keys() for segment in target.get("segments", []))
    assert all(len(target[key]) == len(target["labels"]) for key in OF_EACH_OBJECT if key in target)
    consume(target)  # warnings are errors here
    assert (
        {"labels", "boxes", "masks", "iscrowd", "area", "scores"}
        <= asked
        <= TARGET_KEYS.keys() | SEGMENT_KEYS.keys()
    )


def test_what_models_find_is_told_in_the_same_words():
    logits = RNG.normal(size=(5, 4))
    boxes = RNG.uniform(0.3, 0.6, (5, 4))
    assert detr_detections(logits, boxes).keys() <= TARGET_KEYS.keys()
    for merge in (detr_panoptic, panoptic_inference):
        _, segments = merge(logits, RNG.normal(size=(5, 9, 9)), np.ones(3, bool), threshold=0)
        assert segments and all(segment.keys() <= SEGMENT_KEYS.keys() for segment in segments)
    assert all(segment.keys() <= SEGMENT_KEYS.keys() for segment in shapes.scene(1).segments)


def test_a_crowd_of_the_reader_is_a_crowd_to_the_score(targets):
    """pycocotools: a detection inside a crowd is neither right nor wrong."""
    target = targets["CocoDetection"]
    inside = np.array([[20, 45, 20, 20], [30, 40, 20, 10]]) / SIDE
    found = {
        "boxes": np.concatenate([target["boxes"][:1], inside]),
        "labels": np.zeros(3, int),
        "scores": np.array([0.9, 0.95, 0.93]),
    }
    result = average_precision([found], [target], [(SIDE, SIDE)])
    # the file's 500, not the box's 512
    assert result["AP"] == result["AP_small"] == 1 and result["AP_medium"] == -1
    alone = {key: value[:1] for key, value in target.items() if key in OF_EACH_OBJECT}
    assert average_precision([found], [alone], [(SIDE, SIDE)])["AP"] == pytest.approx(1 / 3)


def with_crowds(target, places, rng):
    """A target with crowds put in at these places, of any label, box and mask."""
    count = len(places)
    T = len(target["labels"])
    crowds = {
        "labels": rng.integers(0, CLASSES, count),
        "boxes": rng.uniform(0.3, 0.6, (count, 4)),
        "masks": rng.random((count, SIDE, SIDE)) < 0.5,
    }
    at = np.asarray(places) - np.arange(count)
    mixed = {key: np.insert(target[key], at, crowds[key], axis=0) for key in ("labels", "boxes", "masks")}
    return mixed | {"iscrowd": np.insert(np.zeros(T, bool), at, True)}


def test_crowds_change_no_loss_and_no_matching():
    rng = np.random.default_rng(5)
    scenes = [shapes.scene(seed).target() for seed in (3, 8)]
    mixed = [with_crowds(scenes[0], [0, 2], rng), with_crowds(scenes[1], [1], rng)]
    own = [np.flatnonzero(~target["iscrowd"]) for target in mixed]
    assert [len(places) for places in own] == [len(target["labels"]) for target in scenes]
    logits = rng.normal(size=(2, 9, CLASSES + 1))
    boxes = rng.uniform(0.3, 0.6, (2, 9, 4))
    masks = rng.normal(size=(2, 9, 16, 16))
    output = SimpleNamespace(logits=logits, boxes=boxes, masks=masks, auxiliary=[])
    for criterion in (lambda: SetCriterion(CLASSES), lambda: Mask2FormerCriterion(CLASSES, points=30)):
        wanted, found = criterion()(output, scenes), criterion()(output, mixed)
        assert {key: float(value) for key, value in found.items()} == {
            key: float(v) for key, v in wanted.items()
        }
    for matcher, field in ((lambda: HungarianMatcher(), boxes), (lambda: MaskMatcher(points=30), masks)):
        wanted, found = matcher()(logits, field, scenes), matcher()(logits, field, mixed)
        for i in range(2):
            np.testing.assert_array_equal(found[i][0], wanted[i][0])
            np.testing.assert_array_equal(found[i][1], own[i][wanted[i][1]])
            assert not mixed[i]["iscrowd"][found[i][1]].any()


def test_an_image_of_crowds_alone_asks_for_nothing():
    target = {"labels": np.array([1, 1]), "boxes": np.full((2, 4), 0.5), "iscrowd": np.array([1, 1])}
    output = SimpleNamespace(logits=np.zeros((1, 3, CLASSES + 1)), boxes=np.full((1, 3, 4), 0.5))
    terms = SetCriterion(CLASSES)(output, [target])
    assert float(terms["loss_bbox"]) == float(terms["loss_giou"]) == 0


@pytest.mark.parametrize("crowd", [[0, 2], [0.5, 0], [0], [[0, 1]], [np.nan, 0]])
def test_a_wrong_iscrowd_is_refused(crowd):
    target = {"labels": np.array([1, 1]), "boxes": np.full((2, 4), 0.5), "iscrowd": np.array(crowd)}
    with pytest.raises(ValueError, match=r"^HungarianMatcher: iscrowd must be \(T,\) boolean"):
        HungarianMatcher()(np.zeros((1, 3, CLASSES + 1)), np.full((1, 3, 4), 0.5), [target])
    found = {**target, "scores": np.ones(2)}
    with pytest.raises(ValueError, match="^AveragePrecision: targets: iscrowd must be"):
        average_precision([{k: v for k, v in found.items() if k != "iscrowd"}], [target], [(9, 9)])


GOOD = {"labels": np.array([0]), "boxes": np.array([[0.5, 0.5, 0.2, 0.2]])}
FOUND = GOOD | {"scores": np.array([0.7])}


def loss_of(target):
    output = SimpleNamespace(logits=np.zeros((1, 3, CLASSES + 1)), boxes=np.full((1, 3, 4), 0.5))
    return SetCriterion(CLASSES)(output, [target])


@pytest.mark.parametrize(
    "key, meant",
    [
        ("is_crowd", "iscrowd"),
        ("iscrowds", "iscrowd"),
        ("Area", "area"),
        ("mask", "masks"),
        ("imageid", "image_id"),
    ],
)
def test_a_misspelt_key_is_told(key, meant):
    target = {**GOOD, key: np.zeros(1)}
    with pytest.raises(ValueError, match=f"^SetCriterion: targets have '{key}', .* did you mean '{meant}'"):
        loss_of(target)
    with pytest.raises(
        ValueError, match=f"^AveragePrecision: targets have '{key}', .* did you mean '{meant}'"
    ):
        average_precision([FOUND], [target], [(9, 9)])
    with pytest.raises(ValueError, match=f"^AveragePrecision: predictions have '{key}'"):
        average_precision([{**FOUND, key: 1}], [GOOD], [(9, 9)])


def test_a_key_that_nothing_reads_is_told_once_and_does_no_harm():
    target = {**GOOD, "weather": "rain"}
    with pytest.warns(UserWarning, match="has 'weather', which nothing reads"):
        assert average_precision([FOUND], [target], [(9, 9)])["AP"] == 1
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")  # as in a user's session
        for _ in range(5):
            assert float(loss_of(target)["loss"]) == float(loss_of(GOOD)["loss"])
    assert len(told) == 1


def test_older_names_are_understood():
    assert OLDER == {"crowd": "iscrowd", "areas": "area"}
    target = {**GOOD, "crowd": np.array([True]), "areas": np.array([5.0])}
    assert known_keys("f", target).keys() == {"labels", "boxes", "iscrowd", "area"}
    assert average_precision([FOUND], [target], [(9, 9)])["AP"] == -1
    both = target | {"iscrowd": np.array([True])}
    assert known_keys("f", both)["iscrowd"] == [True]
    with pytest.raises(ValueError, match="f have 'crowd' and 'iscrowd', which are two names of one thing"):
        known_keys("f", target | {"iscrowd": np.array([False])})
