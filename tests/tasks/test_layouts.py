"""The three layouts are told apart, divided once, and never mixed; what is none of them is described.

Not here: the training (test_training.py).
"""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from minivis.tasks import recognise

PICTURE = Image.fromarray(np.zeros((20, 24, 3), np.uint8))


def pictures(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        PICTURE.save(folder / name)


def coco(path, names, categories=("cat", "dog")):
    """A list in COCO's format: one box in each picture, of one class after the other."""
    images = [{"id": 10 + i, "file_name": name, "height": 20, "width": 24} for i, name in enumerate(names)]
    kinds = [{"id": 3 * i + 1, "name": name} for i, name in enumerate(categories)]
    boxes = [
        {"id": i, "image_id": 10 + i, "category_id": kinds[i % len(kinds)]["id"], "bbox": [1, 2, 10, 8]}
        for i in range(len(names))
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": boxes, "categories": kinds}))


@pytest.mark.parametrize(("kind", "count"), [("classes", 15), ("boxes", 8), ("masks", 8)])
def test_the_kind_is_recognised_and_every_picture_is_in_one_part(data, kind, count):
    task = recognise(data[kind])
    train, validation = task.paths["train"], task.paths["validation"]
    assert task.kind == kind
    assert (len(task.train), len(task.validation)) == (len(train), len(validation))
    assert len(set(train) | set(validation)) == len(train) + len(validation) == count
    assert all((data[kind] / path).is_file() for path in [*train, *validation])
    image, target = task.train[0]
    assert image.ndim == 3 and image.shape[0] == 3
    assert {"classes": int, "boxes": dict, "masks": np.ndarray}[kind] is type(target)


def test_the_division_depends_on_the_seed_alone_and_gives_each_class_its_share(data):
    first, again, other = (recognise(data["classes"], seed=seed) for seed in (1, 1, 2))
    assert first.paths == again.paths != other.paths
    classes = [path.split("/")[0] for path in first.paths["validation"]]
    assert sorted(classes) == ["beach", "lake", "meadow"]  # one fifth of five each


def test_rare_boxes_are_in_both_parts(tmp_path):
    names = [f"{i}.png" for i in range(10)]
    pictures(tmp_path / "images", *names)
    coco(tmp_path / "annotations.json", names)
    content = json.loads((tmp_path / "annotations.json").read_text())
    for place, box in enumerate(content["annotations"]):
        box["category_id"] = 1 if place < 8 else 4  # two dogs in ten pictures
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    for seed in range(5):
        task = recognise(tmp_path, seed=seed)
        labels = [int(task.validation[i][1]["labels"][0]) for i in range(len(task.validation))]
        assert sorted(labels) == [0, 0, 1] and task.names == ("cat", "dog")


def test_an_earlier_division_stays_when_pictures_come(tmp_path, data):
    shutil.copytree(data["classes"], tmp_path / "pets")
    before = recognise(tmp_path / "pets", seed=5)
    pictures(tmp_path / "pets", "beach/new.png", "meadow/0.png")
    again = recognise(tmp_path / "pets", seed=6, divided=before.paths)
    assert again.paths == before.paths
    assert [label for _, label in map(again.train.__getitem__, range(3))] == before.train.labels[:3]
    (tmp_path / "pets" / before.paths["train"][2]).unlink()
    with pytest.raises(FileNotFoundError, match=r"recognise: .* of the earlier division is not in"):
        recognise(tmp_path / "pets", divided=before.paths)


def test_parts_that_are_there_are_kept_and_the_test_pictures_are_left_alone(tmp_path):
    pictures(tmp_path, "train/a/1.png", "train/b/2.png", "valid/b/3.png", "test/a/4.png")
    task = recognise(tmp_path)
    assert task.paths == {"train": ["train/a/1.png", "train/b/2.png"], "validation": ["valid/b/3.png"]}
    assert task.validation[0][1] == 1  # b, although there is no a
    assert task.notes[0] == "test/ is left alone" and "few pictures of a (1), b (2)" in task.notes[1]
    assert "as the folder is divided" in str(task)


def test_without_a_part_for_measuring_the_pictures_to_train_on_are_divided(tmp_path):
    pictures(tmp_path, *(f"train/{name}/{i}.png" for name in "ab" for i in range(5)), "test/a/9.png")
    task = recognise(tmp_path)
    assert (len(task.train), len(task.validation)) == (8, 2)
    assert not any(path.startswith("test") for paths in task.paths.values() for path in paths)


def test_lists_in_the_places_of_coco_and_of_roboflow(tmp_path):
    pictures(tmp_path / "coco", "train2017/1.png", "train2017/2.png", "val2017/3.png")
    coco(tmp_path / "coco/annotations/instances_train2017.json", ["1.png", "2.png"])
    coco(tmp_path / "coco/annotations/instances_val2017.json", ["3.png"])
    (tmp_path / "coco/annotations/captions_train2017.json").write_text('{"images": [], "annotations": []}')
    task = recognise(tmp_path / "coco")
    assert task.paths == {
        "train": ["train2017/1.png", "train2017/2.png"],
        "validation": ["val2017/3.png"],
    }
    pictures(tmp_path / "other", "train/1.png", "valid/2.png")
    coco(tmp_path / "other/train/_annotations.coco.json", ["1.png"])
    coco(tmp_path / "other/valid/_annotations.coco.json", ["2.png"])
    task = recognise(tmp_path / "other")
    assert task.kind == "boxes" and task.paths["validation"] == ["valid/2.png"]


def test_all_pictures_for_measuring(data):
    task = recognise(data["masks"], share=1)
    assert task.train is None and len(task.validation) == 8 and task.paths["train"] == []


def test_classes_beside_the_parts_of_maps(tmp_path, data):
    for part in ("train", "val"):
        shutil.copytree(data["masks"], tmp_path / part)
        (tmp_path / part / "classes.txt").unlink()
    shutil.copy(data["masks"] / "classes.txt", tmp_path)
    task = recognise(tmp_path)
    assert task.names == recognise(data["masks"]).names and len(task.validation) == 8


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda folder: None, ValueError, "It holds nothing; known are"),
        (lambda folder: pictures(folder, "1.png", "2.png"), ValueError, "It holds 1.png, 2.png; known are"),
        (lambda folder: pictures(folder, "a/1.png"), ValueError, "one picture; at least two"),
        (lambda folder: pictures(folder, "a/b/1.png", "c/1.png"), ValueError, "holds a folder, b"),
        (
            lambda folder: pictures(folder, "a/images/1.png", "c/1.png"),
            ValueError,
            "a, which has data of another kind",
        ),
        (lambda folder: coco(folder / "a.json", ["1.png"]), FileNotFoundError, "put the pictures into"),
        (
            lambda folder: [coco(folder / name, ["1.png"]) for name in ("a.json", "b.json")],
            ValueError,
            "several lists",
        ),
        (lambda folder: pictures(folder, "train/a/1.png", "val/b/1.png"), ValueError, "none of the names: b"),
    ],
)
def test_what_is_none_of_them_is_described(tmp_path, make, error, says):
    make(tmp_path)
    with pytest.raises(error, match=says):
        recognise(tmp_path)


def test_the_same_picture_in_both_parts(tmp_path):
    pictures(tmp_path / "images", "1.png", "2.png")
    coco(tmp_path / "instances_train.json", ["1.png", "2.png"])
    coco(tmp_path / "instances_val.json", ["2.png"])
    with pytest.raises(ValueError, match=r"pictures are in both parts: images/2\.png"):
        recognise(tmp_path)
    coco(tmp_path / "instances_val.json", ["1.png"], ("cat", "cow"))
    with pytest.raises(ValueError, match="the classes of the two parts differ: cat, dog; cat, cow"):
        recognise(tmp_path)


def test_what_systems_and_telephones_put_into_a_folder(tmp_path):
    pictures(
        tmp_path,
        *(f"{name}/{i}.png" for name in ("$a", "ü <b>") for i in range(10)),
        "__MACOSX/._1.png",
        ".x/1.png",
    )
    (tmp_path / "$a" / "._0.png").write_bytes(b"a note of a Mac")
    (tmp_path / "ü <b>" / "1.HEIC").write_bytes(b"")
    task = recognise(tmp_path)
    assert task.names == ("$a", "ü <b>") and len(task.train) + len(task.validation) == 20
    assert len(task.notes) == 1 and "1 of them: ü <b>/1.HEIC; save" in task.notes[0]


@pytest.mark.parametrize("share", [0, 1.5])
def test_a_share_that_is_none(data, share):
    with pytest.raises(ValueError, match="share must be above 0"):
        recognise(data["classes"], share=share)


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="recognise: there is no folder"):
        recognise(tmp_path / "none")
    pictures(tmp_path, "1.png")
    with pytest.raises(FileNotFoundError, match="it is a file: give the folder"):
        recognise(tmp_path / "1.png")


@pytest.mark.parametrize(
    ("change", "error", "complaint"),
    [
        (
            lambda paths: {"train": paths["train"]},
            ValueError,
            'must have a list of pictures for "train" and one',
        ),
        (
            lambda paths: {**paths, "validation": []},
            ValueError,
            'must have a list of pictures for "train" and one',
        ),
        (lambda paths: {**paths, "train": 5}, ValueError, 'must have a list of pictures for "train" and one'),
        (
            lambda paths: {**paths, "train": [["a"]]},
            FileNotFoundError,
            r"\['a'\] of the earlier division is not in",
        ),
        (lambda paths: {**paths, "validation": paths["train"]}, ValueError, "has a picture twice"),
    ],
)
def test_an_edited_division_is_checked(data, change, error, complaint):
    paths = recognise(data["classes"]).paths
    with pytest.raises(error, match=f"^recognise: .*{complaint}"):
        recognise(data["classes"], divided=change(paths))


def test_a_list_with_odd_entries_is_still_a_list(tmp_path, data):
    shutil.copytree(data["boxes"], tmp_path / "boxes")
    listed = tmp_path / "boxes" / "annotations.json"
    content = json.loads(listed.read_text())
    content["annotations"] += [
        {**content["annotations"][0], "id": 10**6, "category_id": []},
        {"image_id": {}},
        None,
    ]
    listed.write_text(json.dumps(content))
    found = recognise(tmp_path / "boxes")
    assert found.kind == "boxes" and any("left out" in note for note in found.notes)
    listed.write_text(json.dumps({**content, "categories": []}))
    with pytest.raises(ValueError, match="names no categories"):
        recognise(tmp_path / "boxes")


def test_class_names_that_are_no_text_are_refused_by_name(tmp_path, data):
    shutil.copytree(data["masks"], tmp_path / "masks")
    (tmp_path / "masks" / "classes.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="classes.txt is no text in UTF-8"):
        recognise(tmp_path / "masks")
