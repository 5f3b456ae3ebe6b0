"""`minivis predict`: what is said of a photo and drawn on it, by published models and by our own.

Not here: the pictures' looks (tests/viz), the merging of masks (tests/vision), numbers of models (tests/parity).
"""

import csv
import importlib.util
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

import minivis as mv
from minivis import cli, recipes, viz
from minivis.data import shapes
from minivis.models import DETR
from minivis.pretrained import from_pretrained, own, postprocess, prediction
from minivis.pretrained.description import describe, printable
from minivis.storage import with_classes

PUBLISHED = Path(__file__).parent.parent / "parity" / "published"
# they name nothing in one photo
OTHERWISE = {"clip": "texts", "clip-authors-resnet": "texts", "mae": "hidden patches", "vivit": "films"}
KINDS = sorted(
    path.name for path in PUBLISHED.iterdir() if "backbone" not in path.name and path.name not in OTHERWISE
)
has_torch = all(importlib.util.find_spec(name) for name in ("torch", "transformers"))


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(path)
    return path


class Backbone(mv.nn.Module):
    """Mean colours of squares of 16 pixels: as little of a backbone as there can be."""

    channels = (3,)

    def __init__(self):
        self.config = {}

    def features(self, images):
        return [mv.ops.avg_pool2d(images, 16)]


def answer(logits, boxes=None, masks=None):
    return SimpleNamespace(logits=np.float32([logits]), boxes=boxes, masks=masks)


def test_classes_are_sorted_and_sum_to_one_at_most():
    labels, scores = postprocess.classes(np.log(np.float32([0.1, 0.5, 0.15, 0.05, 0.2])), count=3)
    assert labels.tolist() == [1, 4, 2]
    np.testing.assert_allclose(scores, [0.5, 0.2, 0.15], rtol=1e-6)


def test_detections_are_in_pixels_of_the_photo_surest_first():
    probabilities = np.array([[0.75, 0.05, 0.2], [0.05, 0.9, 0.05], [0.1, 0.1, 0.8], [0.6, 0.3, 0.1]])
    boxes = np.float32([[[0.5, 0.5, 0.5, 1.0], [0.25, 0.75, 0.5, 0.5], [0.5] * 4, [0.5] * 4]])
    found = postprocess.detections(answer(np.log(probabilities), boxes), (100, 200))
    assert found["labels"].tolist() == [1, 0]
    np.testing.assert_allclose(found["scores"], [0.9, 0.75], rtol=1e-6)
    np.testing.assert_allclose(found["boxes"], [[0, 50, 100, 100], [50, 0, 150, 100]], rtol=1e-6)
    assert len(postprocess.detections(answer(np.log(probabilities), boxes), (100, 200), 0.5)["boxes"]) == 3
    two = SimpleNamespace(logits=np.zeros((2, 1, 3)), boxes=np.zeros((2, 1, 4)))
    with pytest.raises(ValueError, match="detections: expected the answer about one photo"):
        postprocess.detections(two, (10, 10))


def test_segments_are_merged_as_the_models_authors_do():
    masks = np.float32([[[[9, 9, -9, -9]], [[-9, -9, 9, -9]]]])
    logits = [[9, 0, 0], [9, 0, 0]]
    things = np.array([True, False])
    by_mask2former, found = postprocess.segments(answer(logits, masks=masks), things, (1, 4))
    assert by_mask2former.tolist() == [[1, 1, 2, 0]] and [s["category_id"] for s in found] == [0, 0]
    large = postprocess.segments(answer(logits, np.zeros((1, 2, 4)), masks), things, (30, 40))[0]
    # DETR leaves no pixel without a segment
    assert large.shape == (30, 40) and set(np.unique(large)) == {1, 2}
    assert postprocess.segments(answer(logits, masks=masks), things, (1, 4), 0.99999)[1] == []


def test_which_published_classes_are_things():
    assert [postprocess.countable(K).sum() for K in (250, 133, 80, 150, 0)] == [91, 80, 80, 0, 0]


CITYSCAPES = ["road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation", "terrain",
              "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"]  # fmt: skip


def test_cityscapes_has_eight_things_wherever_they_stand():
    for names in (CITYSCAPES, CITYSCAPES[::-1], CITYSCAPES[11:]):
        things = postprocess.things_of(dict(enumerate(names)))
        assert {name for name, thing in zip(names, things, strict=True) if thing} == set(CITYSCAPES[11:])


def test_ade20k_has_a_hundred_things():
    names = ["wall", "building", "sky", "floor", *map(str, range(4, 150))]
    things = postprocess.things_of(dict(enumerate(names)))
    assert sum(things) == 100 and [things[i] for i in (0, 7, 12, 21, 20)] == [False, True, True, False, True]


def test_other_classes_are_told_by_their_owner():
    labels = {0: "lawn", 1: "dog", 2: "7"}
    assert postprocess.things_of(labels) is None
    for said, things in ((["dog"], [1]), ([1, "7"], [1, 2]), (["2"], [2]), ([], [])):
        assert np.flatnonzero(postprocess.things_of(labels, said)).tolist() == things
    with pytest.raises(ValueError, match="things: there is no class 'cat'; there are lawn, dog, 7"):
        postprocess.things_of(labels, ["dog", "cat"])
    with pytest.raises(ValueError, match="things must be a list of names or numbers of classes, got 'dog'"):
        postprocess.things_of(labels, "dog")


def panoptic(folder, **config):
    """The published Mask2Former of 5 classes, with the names and things of a config."""
    shutil.copytree(PUBLISHED / "mask2former", folder)
    told = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(told))
    small = {
        "size": {"height": 32, "width": 32},
        "resample": 2,
        "image_processor_type": "Mask2FormerImageProcessor",
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(small))
    return folder


def test_a_panoptic_model_of_unknown_classes_is_told_of(tmp_path, caplog):
    model = from_pretrained(panoptic(tmp_path / "a"))
    assert not any(model.things)
    assert "a/config.json does not say which of its 5 classes are things" in caplog.text
    caplog.clear()
    model = from_pretrained(
        panoptic(tmp_path / "b", id2label={str(i): f"k{i}" for i in range(5)}, things=["k1", 4])
    )
    assert model.things == [False, True, False, False, True] and caplog.text == ""
    with pytest.raises(ValueError, match="c/config.json: things: there is no class 'k9'"):
        from_pretrained(panoptic(tmp_path / "c", things=["k9"]))


class TwoNeighbours:
    """A panoptic model that sees two neighbours of class 0, left and right, and does not know what can be counted."""

    labels = {0: "car", 1: "road"}
    things = [False, False]

    def preprocess(self, image):
        return image[None]

    def __call__(self, images):
        left = np.where(np.arange(40) < 20, 9.0, -9.0) * np.ones((30, 1))
        return answer([[9.0, 0, 0], [9.0, 0, 0]], masks=np.float32([[left, -left]]))


def test_names_from_a_file_move_no_cursor(tmp_path, photo, capsys, monkeypatch):
    names = ["plain", "\x1b[2Jerased", "two\nlines", "half \ud800", "a\x00b", "\u202eturned"]
    model = from_pretrained(PUBLISHED / "vit")
    model.labels = dict(enumerate(names[:5]))
    monkeypatch.setattr(prediction, "load", lambda source, things=None: model)
    model.preprocess = lambda image: np.zeros((1, 3, 8, 12))
    assert cli.main(["predict", "hub", str(photo), "--out", str(tmp_path / "x.png")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and all(line.isprintable() for line in lines)
    assert {line.split("  ")[1] for line in lines[:5]} == {
        "plain", "\ufffd[2Jerased", "two lines", "half \ufffd", "a\ufffdb",
    }  # fmt: skip
    assert printable(names[5]) == "\ufffdturned"


def test_things_can_be_said_on_the_command_line(tmp_path, photo, capsys, monkeypatch):
    def load(source, things=None):
        model = TwoNeighbours()
        if things is not None:
            model.things = postprocess.things_of(model.labels, things)
        return model

    monkeypatch.setattr(prediction, "load", load)
    out = ["--out", str(tmp_path / "x.png")]
    for more, segments in (
        ([], "1 segment"),
        (["--things", "car"], "2 segments"),
        (["--things", "0"], "2 segments"),
        (["--things", "road"], "1 segment"),
    ):
        assert cli.main(["predict", "hub", str(photo), *out, *more]) == 0
        assert capsys.readouterr().out.splitlines()[0] == segments
    assert cli.main(["predict", "hub", str(photo), *out, "--things", "lorry"]) == 2
    assert "there is no class 'lorry'; there are car, road" in capsys.readouterr().err


def test_things_that_are_said_are_known_while_a_model_is_loaded(tmp_path, caplog):
    folder = panoptic(tmp_path / "hub", id2label={str(i): f"k{i}" for i in range(5)}, things=["k0"])
    model = prediction.load(folder, ["k1", "4"])
    assert model.things == [False, True, False, False, True]
    assert from_pretrained(folder, labels=["car", "road"], things=["road"]).things == [False, True]
    mv.save(model, tmp_path / "own")
    assert prediction.load(tmp_path / "own", [2]).things == [False, False, True, False, False]
    assert "which of its" not in caplog.text
    for load in (prediction.load, from_pretrained):
        with pytest.raises(ValueError, match="things: there is no class 'lorry'; there are k0, k1"):
            load(folder, things=["lorry"])


def give_it_colours(folder):
    """Let a detector of one-channel pictures take three, and return its config, if it has one."""
    if not (folder / "config.json").exists():
        return {}
    config = json.loads((folder / "config.json").read_text())
    backbone = config.get("backbone_config") or {}
    if backbone.get("num_channels") == 1:
        weights = load_file(folder / "model.safetensors")
        (first,) = [
            name for name, x in weights.items() if x.ndim == 4 and x.shape[1] == 1 and "embedder" in name
        ]
        weights[first] = np.repeat(weights[first] / 3, 3, axis=1)
        save_file(weights, folder / "model.safetensors")
        config["backbone_config"]["num_channels"] = config["num_channels"] = 3
        (folder / "config.json").write_text(json.dumps(config))
    return config


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_published_model_says_and_draws_something(name, photo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(PUBLISHED / name, "hub")
    side = 64 if name == "alexnet" else 32  # of 32 pixels nothing is left at its last pooling
    small = {"size": {"height": side, "width": side}, "resample": 2}
    config = give_it_colours(Path("hub"))
    if "image_size" in config:  # 2 x 3 patches or windows need not fill a square
        side = config["image_size"]
        small["size"] = dict(
            zip(("height", "width"), side if isinstance(side, list) else (side, side), strict=True)
        )
    if name == "sam":
        small = {"image_processor_type": "SamImageProcessor", "size": {"longest_edge": 40}}
    Path("hub/preprocessor_config.json").write_text(json.dumps(small))
    assert cli.main(["predict", "hub", str(photo), "--threshold", "0"]) == 0
    said = capsys.readouterr()
    assert said.err == "" and said.out.splitlines()[-1] == "drawn on photo-predicted.png"
    assert len(said.out.splitlines()) > 1
    with Image.open("photo-predicted.png") as drawn:
        assert drawn.width >= 600 and np.asarray(drawn).std() > 10


@pytest.mark.parametrize("name", OTHERWISE)
def test_models_that_name_nothing_in_a_photo_say_what_to_call(name, photo, capsys):
    assert cli.main(["predict", str(PUBLISHED / name), str(photo)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert OTHERWISE[name] in said and "notebook" in said


@pytest.mark.parametrize("name", own.NOT_NAMED)
def test_our_models_that_name_nothing_in_a_photo_say_where_they_are_used(name, photo, capsys):
    assert cli.main(["predict", name, str(photo)]) == 2
    assert f"minivis: predict: {name} {own.NOT_NAMED[name]}" in capsys.readouterr().err


def test_settings_that_the_model_cannot_read_are_told(photo, tmp_path, capsys):
    shutil.copytree(PUBLISHED / "vit", tmp_path / "hub")
    small = {"size": {"height": 7, "width": 12}, "resample": 2, "image_mean": 0.5, "image_std": 0.5}
    (tmp_path / "hub" / "preprocessor_config.json").write_text(json.dumps(small))
    assert cli.main(["predict", str(tmp_path / "hub"), str(photo), "--out", str(tmp_path / "x.png")]) == 2
    assert (
        "hub: the model cannot read a photo as its settings prepare it, (1, 3, 7, 12): ViT: patches"
        in capsys.readouterr().err
    )


def test_missing_settings_are_noted_once(photo, tmp_path, caplog):
    assert cli.main(["predict", str(PUBLISHED / "vit"), str(photo), "--out", str(tmp_path / "x.png")]) == 0
    assert [record.getMessage().split(": ")[0] for record in caplog.records] == ["from_pretrained"]


@pytest.mark.parametrize(
    "name, labels",
    [("vit-digits", 10), ("vit-scattered-digits", 10), ("cnn-digits", 10), ("lenet-digits", 10)],
)
def test_our_own_models_go_by_their_names(name, labels, photo, tmp_path, capsys):
    out = tmp_path / "x.png"
    assert cli.main(["predict", name, str(photo), "--out", str(out)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6 and out.stat().st_size > 3000
    assert len(own.load_ready(name).labels) == labels


def test_a_digit_on_paper_is_read(tmp_path, capsys):
    from minivis.data import digits

    images, labels = digits.load("held-out")
    right = 0
    # ink is dark on paper, and a photo is larger
    for image, label in zip(images[:20], labels[:20], strict=True):
        paper = np.kron(1 - image[0], np.ones((8, 8)))
        Image.fromarray(np.rint(paper * 255).astype(np.uint8)).save(tmp_path / "digit.png")
        prediction.predict("vit-digits", tmp_path / "digit.png", tmp_path / "out.png")
        right += capsys.readouterr().out.split()[1] == str(label)
    assert right >= 19


def test_a_training_of_ones_own_knows_its_classes(photo, tmp_path, monkeypatch):
    """A finished training has its notes; one of an earlier version, without any, gets those of its recipe."""
    scene = shapes.scene(seed=3)
    monkeypatch.setattr(
        recipes._recipe("swin-shapes"), "run", lambda out, **_: mv.save(mv.load("swin-shapes"), out)
    )
    recipes.run("swin-shapes", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["labels"] == list(shapes.THINGS) and config["preprocess"] == {"size": [64, 64]}
    bare = {name: config[name] for name in ("model", "arguments")}
    (tmp_path / "metrics.json").write_text(json.dumps({"recipe": "swin-shapes"}))
    for told in (config, bare):
        (tmp_path / "config.json").write_text(json.dumps(told))
        model = prediction.load(tmp_path)
        assert list(model.labels.values()) == list(shapes.THINGS) and all(model.things)
        np.testing.assert_allclose(model.preprocess(scene.image)[0], scene.image, atol=0.5 / 255)
    (tmp_path / "metrics.json").unlink()
    with pytest.raises(ValueError, match="does not know what its pictures look like: set model.preprocess ="):
        prediction.load(tmp_path)


def test_a_detector_of_ours_draws_boxes(photo):
    model = DETR(
        Backbone(), 6, queries=5, width=16, heads=2, encoder_depth=1, decoder_depth=1, mlp_width=16
    ).eval()
    model.labels, model.preprocess = (
        getattr(mv.load("detr-shapes"), name) for name in ("labels", "preprocess")
    )
    image = shapes.scene(seed=1).image
    lines, _, _, figure = describe(model, model(model.preprocess(image)), image, threshold=0.0)
    assert lines[0] == "5 objects with a score above 0" and " from (" in lines[1]
    assert lines[1].split()[1] in shapes.THINGS and isinstance(figure, viz.Figure)


@pytest.mark.parametrize("name", ["faster-rcnn-shapes", "mask-rcnn-shapes", "yolo-shapes"])
def test_detectors_that_return_boxes_draw_them_in_pixels_of_the_photo(name, tmp_path, capsys):
    scene = shapes.scene(seed=5)
    photo = np.kron(scene.image.transpose(1, 2, 0), np.ones((4, 4, 1)))
    Image.fromarray(np.rint(photo * 255).astype(np.uint8)).save(tmp_path / "scene.png")
    out = tmp_path / "found.png"
    asked = ["predict", name, str(tmp_path / "scene.png"), "--out", str(out), "--threshold", "0.5"]
    assert cli.main(asked) == 0
    said = capsys.readouterr().out.splitlines()
    assert out.stat().st_size > 3000 and said[0].endswith("objects with a score above 0.5")
    true = {shapes.THINGS[label]: box for label, box in zip(scene.labels, scene.boxes, strict=True)}
    found = re.match(r"[01]\.\d+  (\w+)  from \((-?\d+), (-?\d+)\) to \((-?\d+), (-?\d+)\)", said[1])
    corners = np.array([float(x) for x in found.groups()[1:]]) / 256
    there = mv.vision.box_cxcywh_to_xyxy(true[found[1]])
    assert mv.vision.box_iou(corners[None], there[None].astype(float))[0, 0] > 0.7


def test_masks_are_brought_to_the_photo_and_weak_objects_left_out():
    masks = np.zeros((2, 1, 4, 4), np.float16)
    masks[0, 0, :, 2:] = 1
    found = {
        "boxes": np.array([[2.0, 0, 4, 4]] * 2),
        "labels": np.array([3, 1]),
        "scores": np.array([0.9, 0.2]),
    }
    kept = postprocess.regions({**found, "masks": masks}, (4, 4), (8, 6), 0.5)
    assert kept["labels"].tolist() == [3] and kept["boxes"].tolist() == [[3, 0, 6, 8]]
    np.testing.assert_array_equal(kept["masks"], [np.tile(np.arange(6) >= 3, (8, 1))])


def test_a_detector_of_regions_does_not_name_the_background():
    labels = own.load_ready("mask-rcnn-shapes").labels
    assert labels == {0: "background"} | {1 + i: name for i, name in enumerate(shapes.THINGS)}
    assert own.load_ready("yolo-shapes").labels == dict(enumerate(shapes.THINGS))


# ---------------------------------------------------------------------------------------------------------------------
# Several photos


@pytest.fixture
def photos(tmp_path):
    """A folder with three scenes, two of one stem and one in a folder of its own, a file that is no picture, and notes of a Mac."""
    for name in ("sub", "__MACOSX"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "._a.jpg").write_bytes(b"a note")
    (tmp_path / "photos" / "__MACOSX" / "a.jpg").write_bytes(b"a note")
    for number, name in enumerate(("a.jpg", "a.png", "sub/b.png")):
        scene = np.kron(shapes.scene(seed=number).image.transpose(1, 2, 0), np.ones((2, 2, 1)))
        Image.fromarray(np.rint(scene * 255).astype(np.uint8)).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "c.jpg").write_text("no picture")
    return tmp_path / "photos"


def test_a_folder_of_photos_is_drawn_and_tabled_and_a_broken_one_passed_over(photos, tmp_path, capsys):
    out = tmp_path / "found"
    assert cli.main(["predict", "detr-shapes", str(photos), "--out", str(out)]) == 1
    said = capsys.readouterr()
    assert re.fullmatch(r"c\.jpg +passed over: .*c\.jpg is no picture in JPEG.*\n", said.err)
    lines = said.out.splitlines()
    assert [line.split()[0] for line in lines] == ["a.jpg", "a.png", "sub/b.png", "3"]
    assert lines[-1] == f"3 photos drawn in {out}, 1 passed over; the table is {out / 'predictions.csv'}"
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert files == ["a-predicted.png", "a.png-predicted.png", "predictions.csv", "sub/b-predicted.png"]
    with open(out / "predictions.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["photo", "class", "score", "x0", "y0", "x1", "y1"]
    first = [row for row in rows if row["photo"] == "sub/b.png"]
    scene = shapes.scene(seed=2)
    true = 128 * mv.vision.box_cxcywh_to_xyxy(scene.boxes)
    for row in first:  # each is near an object of its class, in pixels of the photo
        near = true[scene.labels == shapes.THINGS.index(row["class"])]
        box = np.array([[float(row[name]) for name in ("x0", "y0", "x1", "y1")]])
        assert mv.vision.box_iou(box, near.astype(float)).max() > 0.5
    # the pictures in the folder itself: a second time they are not taken for photos
    prediction.predict("detr-shapes", photos, photos)
    assert [path.name for path in prediction._listed([photos]).values()] == [
        "a.jpg",
        "a.png",
        "c.jpg",
        "b.png",
    ]


def test_several_photos_of_a_classifier_have_a_row_each(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["predict", "vit-digits", "photos/a.jpg", "photos/sub/b.png"]) == 0
    rows = Path("predictions/predictions.csv").read_text(encoding="utf-8-sig").splitlines()
    assert rows[0] == "photo,class,score" and [row.split(",")[0] for row in rows[1:]] == ["a.jpg", "b.png"]
    assert "2 photos drawn in predictions; the table is" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "out", "message"),
    [
        (["photos/a.jpg", "photos/nothing.jpg"], "x", "there is no photo photos/nothing.jpg"),
        (["empty"], "x", "there is no picture in the folder empty"),
        (["photos"], "x.png", "out must be a folder for 4 photos, got x.png"),
        (["photos/a.jpg", "a-predicted.png"], ".", "a-predicted.png would overwrite a photo"),
        (["one/a.jpg", "two/a.jpg", "two/a.png"], "one", None),
    ],
)
def test_nothing_is_written_over_and_mistakes_are_told_before_the_work(
    given, out, message, photos, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    shutil.copy(photos / "a.jpg", "a-predicted.png")
    for folder in ("one", "two"):
        Path(folder).mkdir()
        for name in ("a.jpg", "a.png"):
            shutil.copy(photos / name, folder)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    if message is None:
        found = prediction.predict("vit-digits", given, out)
        assert len({one.picture for one in found}) == 3
    else:
        with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)):
            prediction.predict("vit-digits", given, out)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_large_photo_is_reduced_and_its_boxes_are_those_of_the_photo(tmp_path, capsys):
    """Of 3,200 x 4,800 pixels a quarter is read; the corners are nevertheless 50 and 75 times those of the scene."""
    scene = shapes.scene(seed=5)
    large = np.kron(
        np.rint(scene.image.transpose(1, 2, 0) * 255).astype(np.uint8), np.ones((50, 75, 1), np.uint8)
    )
    Image.fromarray(large).save(tmp_path / "large.jpg")
    model = prediction.load("yolo-shapes")
    output, image, _, size, photo = prediction._answered("yolo-shapes", model, tmp_path / "large.jpg", 0.5)
    assert image.shape == (3, 800, 1200) and photo == (3200, 4800)
    best = describe(model, output, image, 0.5, size, photo).rows[0]
    true = mv.vision.box_cxcywh_to_xyxy(scene.boxes) * [4800, 3200, 4800, 3200]
    box = np.array([[best["x0"], best["y0"], best["x1"], best["y1"]]], float)
    near = true[scene.labels == shapes.THINGS.index(best["class"])]
    assert mv.vision.box_iou(box, near).max() > 0.7


def test_a_panoptic_model_of_ones_own_says_how_its_things_are_named(photo, tmp_path, caplog):
    other = with_classes(mv.load("mask2former-shapes"), labels=["lawn", "dog"])
    mv.save(other, tmp_path / "run")
    assert prediction.load(tmp_path / "run").things == [False, False]
    assert "which of its 2 classes are things" in caplog.text and "--things car person" in caplog.text
    caplog.clear()
    other.labels = dict(enumerate(CITYSCAPES[10:12]))
    other = with_classes(other, labels=CITYSCAPES)
    mv.save(other, tmp_path / "run")
    assert sum(prediction.load(tmp_path / "run").things) == 8 and caplog.text == ""


def test_a_model_of_ones_own_is_shown_a_photo(photo, tmp_path, capsys):
    """A published checkpoint gets three classes, is saved, and names them."""
    model = mv.from_pretrained(PUBLISHED / "resnet", dtype="float32", labels=["cat", "dog", "$1 bill"])
    mv.save(model, tmp_path / "run", half=True)
    assert cli.main(["predict", str(tmp_path / "run"), str(photo), "--out", str(tmp_path / "x.png")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split("  ")[1] for line in lines[:3]} == {"cat", "dog", "$1 bill"}


def test_without_names_the_models_are_listed(capsys):
    assert cli.main(["predict"]) == 0
    assert "vit-digits" in capsys.readouterr().out
    assert cli.main(["predict", "vit-digits"]) == 2
    assert "minivis predict vit-digits PHOTO" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["vit-digts", "photo.png"], "did you mean 'vit-digits'?"),
        (["vit-digits", "nothing.png"], "nothing.png"),
        (["vit-digits", "text.png"], "text.png"),
        (["vit-digits", "photo.png", "--out", "photo.png"], "out is the photo itself"),
        (["vit-digits", "photo.png", "--out", "there/x.png"], "there is no folder"),
        (["vit-digits", "photo.png", "--threshold", "2"], "threshold must be within [0, 1], got 2.0"),
    ],
)
def test_mistakes_are_one_line(arguments, message, photo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("text.png").write_text("no picture")
    before = photo.read_bytes()
    assert cli.main(["predict", *arguments]) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and said.out == ""
    assert photo.read_bytes() == before


def test_a_backbone_without_a_head_has_no_classes_to_tell(photo):
    model = SimpleNamespace(labels={})
    with pytest.raises(ValueError, match="this checkpoint is a backbone"):
        describe(model, mv.Tensor(np.zeros((1, 4))), np.zeros((3, 4, 4)))


@pytest.mark.skipif(not has_torch, reason="needs the parity extra")
def test_boxes_on_a_photo_are_those_of_transformers(tmp_path):
    import torch
    import transformers

    from tests.parity.torch_published import randomise

    resnet = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], layer_type="basic"
    )
    sizes = {
        "encoder_layers": 1,
        "decoder_layers": 2,
        "encoder_ffn_dim": 16,
        "decoder_ffn_dim": 16,
        "d_model": 16,
    }
    config = transformers.DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, backbone_config=resnet,
        num_queries=6, num_labels=4, encoder_attention_heads=2, decoder_attention_heads=2, **sizes,
    )  # fmt: skip
    theirs = randomise(transformers.DetrForObjectDetection(config), 3).eval()
    processor = transformers.DetrImageProcessor(size={"shortest_edge": 64, "longest_edge": 90})
    theirs.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (50, 77, 3), dtype=np.uint8)
    with torch.no_grad():
        output = theirs(**processor(Image.fromarray(image), return_tensors="pt"))
    (expected,) = processor.post_process_object_detection(output, threshold=0.0, target_sizes=[(50, 77)])
    ours = from_pretrained(tmp_path)
    found = postprocess.detections(ours(ours.preprocess(image)), (50, 77), threshold=0.0)
    order = np.argsort(-expected["scores"].numpy(), kind="stable")
    for name, tolerance in (("scores", 1e-4), ("labels", 0), ("boxes", 1e-2)):
        np.testing.assert_allclose(found[name], expected[name].numpy()[order], atol=tolerance)


def test_a_folder_as_out_gets_the_picture_and_no_photo_is_said(tmp_path, photo, capsys):
    assert prediction.predict("swin-shapes", photo, tmp_path) == tmp_path / "photo-predicted.png"
    assert (tmp_path / "photo-predicted.png").is_file()
    with pytest.raises(ValueError, match="^predict: no photo was given"):
        prediction.predict("swin-shapes", [])
