"""`evaluate` on data in the published formats: each number is computed a second time from the scenes themselves.

Not here: the metrics (tests/metrics), finding a class by its name (test_class_names.py).
"""

import json
import shutil
import warnings

import numpy as np
import pytest
from PIL import Image

import minivis as mv
from minivis import cli, metrics, tasks
from minivis.data import CocoDetection, CocoPanoptic, digits, examples, shapes
from minivis.vision import box_cxcywh_to_xyxy, detr_detections, panoptic_inference

COUNT = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A few scenes with COCO's lists. Nobody changes them."""
    return examples.write_scenes(tmp_path_factory.mktemp("scenes"), count=COUNT)


@pytest.fixture(scope="module")
def scenes():
    """The same scenes, and their pictures as bytes would hold them."""
    drawn = [shapes.scene(examples.FIRST + i) for i in range(COUNT)]
    return drawn, np.stack([np.rint(one.image * 255) / 255 for one in drawn]).astype(np.float32)


def run(name, images):
    with mv.no_grad():
        return mv.load(name)(images)


def test_the_lists_say_what_the_scenes_hold(folder, scenes):
    lists = folder / "annotations"
    boxes = CocoDetection(folder / "val", lists / "instances_val.json")
    maps = CocoPanoptic(folder / "val", lists / "panoptic_val", lists / "panoptic_val.json")
    assert boxes.names == shapes.THINGS and maps.names == shapes.CLASSES
    for i, one in enumerate(scenes[0]):
        image, target = boxes[i]
        np.testing.assert_allclose(image, scenes[1][i], atol=1e-6)
        np.testing.assert_array_equal(target["labels"], one.labels)
        np.testing.assert_array_equal(target["masks"], one.masks)
        np.testing.assert_array_equal(maps[i][1]["panoptic"], one.panoptic)
        assert [s["category_id"] for s in maps[i][1]["segments"]] == [s["category_id"] for s in one.segments]


def test_boxes(folder, scenes, capsys):
    result = tasks.evaluate("detr-shapes", folder)
    output = run("detr-shapes", scenes[1])
    found, truth = [], []
    for logits, boxes, one in zip(output.logits.data, output.boxes.data, scenes[0], strict=True):
        detected = detr_detections(logits, boxes)
        found.append({**detected, "boxes": box_cxcywh_to_xyxy(detected["boxes"]) * 64})
        area = one.masks.sum(axis=(1, 2)).astype(float)
        truth.append({"boxes": box_cxcywh_to_xyxy(one.boxes) * 64, "labels": one.labels, "area": area})
    for name, value in metrics.average_precision(found, truth).items():
        assert result[name] == pytest.approx(value, abs=1e-4), name
    assert (result["metric"], result["n"], result["classes"]) == ("AP", COUNT, 6)
    said = capsys.readouterr().out
    assert "6 pictures" in said and f"AP50 {result['AP50']:.3f}" in said and "AP_large -" in said


def test_segments(folder, scenes):
    result = tasks.evaluate("mask2former-shapes", folder)
    output = run("mask2former-shapes", scenes[1])
    things = np.arange(9) < 6
    found = [
        panoptic_inference(logits, masks, things, (64, 64))
        for logits, masks in zip(output.logits.data, output.masks.data, strict=True)
    ]
    truth = [(one.panoptic, one.segments) for one in scenes[0]]
    for name, value in metrics.panoptic_quality(found, truth, things).items():
        assert result[name] == pytest.approx(value, abs=2e-3), name
    assert result["metric"] == "PQ" and result["pictures"].endswith("panoptic_val.json")


def test_pixels_of_a_panoptic_list_and_of_a_folder_of_masks(folder, scenes, tmp_path):
    named = run("unet-shapes", scenes[1]).data.argmax(axis=1)
    truth = np.stack([one.semantic for one in scenes[0]])
    expected = metrics.mean_iou(metrics.confusion_matrix(named, truth, 9))
    assert tasks.evaluate("unet-shapes", folder)["mIoU"] == pytest.approx(expected, abs=2e-3)
    # the same pictures with a map each; only three classes count
    (tmp_path / "masks").mkdir()
    shutil.copytree(folder / "val", tmp_path / "images")
    (tmp_path / "classes.txt").write_text("water\nstar\nsand\n")
    kept = np.full(9, 255, np.uint8)
    kept[[8, 3, 7]] = 0, 1, 2
    for i, semantic in enumerate(truth):
        Image.fromarray(kept[semantic]).save(tmp_path / "masks" / f"{i:03}.png")
    result = tasks.evaluate("unet-shapes", tmp_path)
    counts = np.zeros((4, 4), int)
    own = np.full(9, 3)
    own[[8, 3, 7]] = 0, 1, 2
    np.add.at(counts, (kept[truth[kept[truth] < 255]], own[named[kept[truth] < 255]]), 1)
    each = [counts[k, k] / (counts[k].sum() + counts[:, k].sum() - counts[k, k]) for k in range(3)]
    assert result["mIoU"] == pytest.approx(np.mean(each), abs=2e-3)
    assert result["right pixels"] == pytest.approx(np.trace(counts) / counts.sum(), abs=2e-3)


def test_classes_are_matched_by_name_and_counted_among_all_of_the_model(tmp_path):
    pictures, labels = digits.load("held-out")
    some = [label for label in (3, 7, 9) for _ in range(8)]
    order = [i for label in (3, 7, 9) for i in np.flatnonzero(labels == label)[:8]]
    for n, i in enumerate(order):
        (tmp_path / "val" / str(labels[i])).mkdir(parents=True, exist_ok=True)
        paper = np.rint(255 * (1 - pictures[i, 0])).astype(np.uint8)
        Image.fromarray(paper).save(tmp_path / "val" / str(labels[i]) / f"{n:02}.png")
    result = tasks.evaluate("vit-digits", tmp_path, out=tmp_path / "out")
    scores = run("vit-digits", pictures[order]).data
    assert result["top-1"] == pytest.approx(metrics.accuracy(scores, np.array(some)), abs=1e-6)
    assert result["top-5"] == pytest.approx(metrics.accuracy(scores, np.array(some), k=5), abs=1e-6)
    assert (result["n"], result["classes"], result["classes matched"]) == (24, 3, "by their names")
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text()) == result
    # evenly spaced, so that every class has its pictures
    assert tasks.evaluate("vit-digits", tmp_path, count=3)["n"] == 3


def test_only_the_pictures_that_a_training_kept_are_measured(folder, tmp_path):
    model = mv.load("unet-shapes")
    mv.save(model, tmp_path)
    (tmp_path / "task.json").write_text(json.dumps({"data": str(folder)}))
    (tmp_path / "split.json").write_text(
        json.dumps({"train": [], "validation": ["val/001.png", "val/004.png"]})
    )
    result = tasks.evaluate(tmp_path, folder)
    assert result["n"] == 2 and "kept for measuring" in result["pictures"]
    (tmp_path / "split.json").write_text(json.dumps({"train": [], "validation": ["val/999.png"]}))
    with pytest.raises(ValueError, match="evaluate: none of the pictures that the training kept"):
        tasks.evaluate(tmp_path, folder)


def test_of_several_lists_the_one_for_validation_is_taken(folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "coco")
    lists = copied / "annotations"
    for name in ("captions_val", "person_keypoints_val", "instances_train"):
        shutil.copy(lists / "instances_val.json", lists / f"{name}.json")
    assert tasks.evaluate("yolo-shapes", copied, count=1)["pictures"] == "coco/annotations/instances_val.json"
    shutil.copy(lists / "instances_val.json", lists / "instances_val2.json")
    with pytest.raises(ValueError, match=r"evaluate: .* holds several lists, .*say which"):
        tasks.evaluate("yolo-shapes", copied)
    shutil.rmtree(lists / "panoptic_val")
    with pytest.raises(FileNotFoundError, match=r"evaluate: the maps of .* unpack them into"):
        tasks.evaluate("maskformer-shapes", lists / "panoptic_val.json")


def test_what_does_not_fit_is_refused(folder, data, tmp_path):
    for model, given, says in [
        ("vit-digits", folder, "asks for boxes, and vit-digits, a ViT, answers something else"),
        ("detr-shapes", data["classes"], "asks for a class for each picture"),
        ("detr-shapes", data["boxes"], "the model does not know round, angular, spiky"),
        ("detr-shapes", tmp_path, "none of the layouts"),
    ]:
        with pytest.raises(ValueError, match=says):
            tasks.evaluate(model, given)
    with pytest.raises(FileNotFoundError, match="evaluate: there is no"):
        tasks.evaluate("detr-shapes", tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="minivis fetch sam-vit-base"):
        tasks.evaluate("sam-vit-base", folder)


def test_the_command(folder, capsys):
    assert cli.main(["evaluate", "faster-rcnn-shapes", "--data", str(folder), "--count", "2"]) == 0
    assert "faster-rcnn-shapes on 2 pictures of" in capsys.readouterr().out
    assert cli.main(["evaluate", "vit-digits", "--data", str(folder)]) == 2
    assert "answers something else" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"images": []}, "lists no pictures"),
        ({"categories": []}, "the data name no classes"),
        ({"annotations": 5}, "must have lists named images, annotations and categories"),
    ],
)
def test_a_list_that_says_too_little_is_refused(folder, tmp_path, change, says):
    content = json.loads((folder / "annotations" / "instances_val.json").read_text())
    shutil.copytree(folder / "val", tmp_path / "list")
    (tmp_path / "list.json").write_text(json.dumps(content | change))
    with pytest.raises(ValueError, match=f"^evaluate: .*{says}"), warnings.catch_warnings(action="ignore"):
        tasks.evaluate("detr-shapes", tmp_path / "list.json")


def test_entries_that_are_none_are_passed_over(folder, tmp_path):
    content = json.loads((folder / "annotations" / "instances_val.json").read_text())
    shutil.copytree(folder / "val", tmp_path / "val")
    content["images"] += [5, {"id": {}, "file_name": "x"}]
    (tmp_path / "instances_val.json").write_text(json.dumps(content))
    with pytest.warns(UserWarning, match="left out"):
        found = tasks.evaluate("detr-shapes", tmp_path)
    assert found["AP"] == tasks.evaluate("detr-shapes", folder)["AP"] and found["n"] == COUNT


@pytest.mark.parametrize("count", [0, "x", 1.5])
def test_a_count_that_is_none(folder, count):
    with pytest.raises(ValueError, match="^evaluate: count must be a whole number of at least 1"):
        tasks.evaluate("detr-shapes", folder, count=count)


def test_answers_that_are_no_numbers_are_wrong_answers(folder, tmp_path):
    model = mv.load("swin-shapes")
    model.head.weight.data = np.full_like(model.head.weight.numpy(), np.nan)
    mv.save(model, tmp_path / "model")
    for name in model.labels.values():
        (tmp_path / "data" / name).mkdir(parents=True)
        shutil.copy(folder / "val" / "000.png", tmp_path / "data" / name)
    found = tasks.evaluate(tmp_path / "model", tmp_path / "data")
    assert (found["top-1"], found["top-5"]) == (0, 0)


def test_pictures_without_a_pixel_of_a_class_have_no_mean_iou(tmp_path):
    examples.write_mask_folder(tmp_path, count=1)
    model = mv.load("segmenter-shapes")
    (tmp_path / "classes.txt").write_text("\n".join(model.labels.values()))
    for path in (tmp_path / "masks").iterdir():
        with Image.open(path) as mask:
            everywhere = Image.new("L", mask.size, 255)
        everywhere.save(path)
    with pytest.raises(ValueError, match="^evaluate: no pixel of these pictures has a class"):
        tasks.evaluate("segmenter-shapes", tmp_path)
