"""Each kind of data from the folder to the report: what is written, what is measured, and that a resume is exact.

Not here: how good the models get, which takes minutes.
"""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

import minivis as mv
from minivis import tasks
from minivis.autograd import no_grad
from minivis.cli import main
from minivis.locking import alone_in
from minivis.pretrained.prediction import predict
from minivis.tasks import recognise

# small random networks in the layout of the hub
PUBLISHED = Path(__file__).parents[1] / "parity" / "published"
KINDS = {
    "classes": ("cnn", "accuracy", 3),
    "boxes": ("detr", "AP50", 1),
    "masks": ("unet", "mIoU", 1),
}
SMALL = {"size": 16, "batch": 8, "source": "scratch"}


@pytest.fixture(scope="session")
def trained(data, tmp_path_factory):
    """A training of two epochs for each kind, by kind: its folder and its result."""
    made = {}
    for kind, (model, *_) in KINDS.items():
        out = tmp_path_factory.mktemp("out") / kind
        made[kind] = out, tasks.train(data[kind], model, out, epochs=2, **SMALL)
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_written(data, trained, kind):
    out, metrics = trained[kind]
    _, metric, n = KINDS[kind]
    written = {path.name for path in out.iterdir()}
    assert written >= {
        "model.safetensors",
        "config.json",
        "split.json",
        "task.json",
        "history.json",
        "history.csv",
    }
    assert json.loads((out / "split.json").read_text()) == recognise(data[kind]).paths
    assert json.loads((out / "metrics.json").read_text()) == metrics
    assert (metrics["metric"], metrics["n"]) == (
        metric,
        max(n, round(0.2 * (15 if kind == "classes" else 8))),
    )
    history = json.loads((out / "history.json").read_text())
    assert metrics["value"] == max(history[metric])  # the best weights are those that are kept
    page = (out / "report.html").read_text()
    assert f"{metrics['value']:.3f}" in page and page.count("data:image/png;base64,") >= 2


def test_the_accuracy_is_that_of_the_saved_model(data, trained):
    out, metrics = trained["classes"]
    model = mv.load(out)
    names = recognise(data["classes"]).names
    paths = json.loads((out / "split.json").read_text())["validation"]
    right = 0
    for path in paths:
        with no_grad():
            found = int(model(model.preprocess(data["classes"] / path)).numpy().argmax())
        right += model.labels[found] == path.split("/")[0]
    assert metrics["accuracy"] == pytest.approx(right / len(paths))
    assert tuple(model.labels.values()) == names
    frequent = metrics["baseline"]
    assert frequent == {"always beach": pytest.approx(1 / 3)}


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_can_be_shown_a_photo(data, trained, tmp_path, capsys, kind):
    photo = next((data["masks"] / "images").iterdir())
    predict(trained[kind][0], photo, tmp_path / "found.png")
    assert (tmp_path / "found.png").is_file()
    assert capsys.readouterr().out


def test_resume_is_exact_and_trains_on(data, trained, tmp_path):
    out, _ = trained["classes"]
    again = tasks.train(data["classes"], "cnn", tmp_path / "again", epochs=2, **SMALL)
    first, second = (
        folder.joinpath("model.safetensors").read_bytes() for folder in (out, tmp_path / "again")
    )
    assert first == second and again["steps"] == 4  # 12 pictures, 8 in a batch
    longer = tasks.train(out=tmp_path / "again", epochs=3, resume=True)
    assert longer["steps"] == 6
    assert json.loads((tmp_path / "again" / "task.json").read_text())["epochs"] == 3
    once_more = tasks.train(out=tmp_path / "again", resume=True)
    assert once_more["value"] == longer["value"] and once_more["steps"] == 6
    with pytest.raises(ValueError, match=r"was begun with size 16, not 32: only epochs and patience"):
        tasks.train(out=tmp_path / "again", size=32, resume=True)
    assert json.loads((tmp_path / "again" / "task.json").read_text())["size"] == 16


def test_ctrl_c_leaves_a_model_a_report_and_the_way_on(data, tmp_path, monkeypatch, capsys):
    from minivis.tasks.classes import Classes

    measure = Classes.measure
    calls = []

    def stop(self, model, batches):
        calls.append(1)
        if len(calls) == 2:  # the first call looks whether there is an accuracy
            signal.raise_signal(signal.SIGINT)
        return measure(self, model, batches)

    monkeypatch.setattr(Classes, "measure", stop)
    with pytest.raises(KeyboardInterrupt):
        tasks.train(data["classes"], "cnn", tmp_path / "out", epochs=3, **SMALL)
    assert "stopped before its end" in (tmp_path / "out" / "report.html").read_text()
    out = tmp_path / "out"
    assert f"minivis train --resume --out {out}\n" in capsys.readouterr().out  # to the end that was asked for
    assert tasks.train(out=tmp_path / "out", resume=True)["steps"] == 6


@pytest.mark.parametrize("call", ["measure", "loss"])
def test_ctrl_c_before_the_first_measurement_leaves_the_way_on(data, tmp_path, monkeypatch, capsys, call):
    from minivis.tasks.classes import Classes

    usual = getattr(Classes, call)

    def stop(*args):
        signal.raise_signal(signal.SIGINT)
        return usual(*args)

    monkeypatch.setattr(Classes, call, stop)
    with pytest.raises(KeyboardInterrupt):
        tasks.train(data["classes"], "cnn", tmp_path / "out", epochs=1, **SMALL)
    assert capsys.readouterr().out.endswith("so there is no report yet\n")
    monkeypatch.undo()
    assert tasks.train(out=tmp_path / "out", resume=True)["steps"] == 2


def test_broken_pictures_are_left_out_with_a_note(data, tmp_path, capsys):
    shutil.copytree(data["classes"], tmp_path / "places")
    (tmp_path / "places" / "lake" / "text.jpg").write_text("no picture")
    broken = tmp_path / "places" / "beach" / "half.jpg"
    whole = next((tmp_path / "places" / "beach").glob("*.jpg")).read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "out"
    tasks.train(tmp_path / "places", "cnn", out, epochs=1, **SMALL)
    said = capsys.readouterr().out
    assert (
        "note" in said
        and "2 of 17 pictures cannot be read" in said
        and "half.jpg is a broken picture" in said
    )
    parts = json.loads((out / "split.json").read_text())
    assert sorted(parts["train"] + parts["validation"]) == sorted(
        sum(recognise(data["classes"]).paths.values(), [])
    )


def test_if_most_pictures_are_broken_the_training_says_so(tmp_path):
    for name in ("a/1", "a/2", "b/3", "b/4"):
        path = tmp_path / "pets" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("no picture")
    with pytest.raises(ValueError, match="train: 4 of 4 pictures cannot be read: .*and 1 more"):
        tasks.train(tmp_path / "pets", "cnn", tmp_path / "out", **SMALL)


def test_fewer_epochs_are_refused_before_anything_is_written(data, trained):
    out, _ = trained["classes"]
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(
        ValueError, match="was begun with 2 epochs; with --resume there can be more, but not fewer, 1"
    ):
        tasks.train(out=out, epochs=1, resume=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_the_command_does_the_same(data, trained, tmp_path, capsys):
    words = f"train --data {data['masks']} --model unet --out {tmp_path / 'out'} --epochs 2 --size 16 --batch 8 --from scratch"
    assert main(words.split()) == 0
    printed = capsys.readouterr().out
    assert "6 to train on, 2 to measure on" in printed and "begins    with random weights" in printed
    first, second = (
        out.joinpath("model.safetensors").read_bytes() for out in (trained["masks"][0], tmp_path / "out")
    )
    assert first == second


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({}, ValueError, "by --out DIR"),
        ({"out": "x"}, ValueError, "by --data FOLDER"),
        (
            {"data": "classes", "model": "detr"},
            ValueError,
            "detr answers with boxes, and these data have a class for each",
        ),
        ({"data": "boxes", "model": "resnet50"}, ValueError, "resnet50 is none of the models"),
        (
            {"data": "classes", "source": "detr-shapes"},
            ValueError,
            "detr-shapes is a DETR, and cnn, vit, resnet or swin",
        ),
        (
            {"data": "masks", "source": "segmenter-shapes", "model": "unet"},
            ValueError,
            "is a Segmenter, and unet is",
        ),
        ({"data": "classes", "source": "vit-digits"}, ValueError, "does not read photos in colour"),
        ({"data": "classes", "share": 1}, ValueError, "share must be above 0 and below 1"),
        ({"data": "boxes", "source": PUBLISHED / "mask-rcnn"}, ValueError, "learns masks of objects too"),
        (
            {"data": "boxes", "source": PUBLISHED / "faster-rcnn", "size": 64},
            ValueError,
            "leave out the size",
        ),
        ({"data": "classes", "size": 20}, ValueError, "size must be a multiple of 16"),
        ({"out": "nothing", "resume": True}, FileNotFoundError, "holds no training of one's own data"),
    ],
)
def test_what_does_not_go_together(data, tmp_path, options, error, says):
    options = {**options, "data": data.get(options.get("data"))}
    out = options.pop("out", None if len(options) < 2 and not options["data"] else "out")
    with pytest.raises(error, match=says):
        tasks.train(**options, out=None if out is None else tmp_path / out)


@pytest.mark.parametrize(("kind", "source"), [("classes", "deit"), ("boxes", "detr")])
def test_a_published_network_gets_ones_own_classes(data, tmp_path, capsys, kind, source):
    """DeiT answers with two heads in training; DETR reads photos of different sizes, padded to one."""
    tasks.train(data[kind], source=PUBLISHED / source, size=32, epochs=1, out=tmp_path / "out")
    assert "head.weight" in capsys.readouterr().out  # what is new
    trained = mv.load(tmp_path / "out")
    before = mv.from_pretrained(PUBLISHED / source)
    assert tuple(trained.labels.values()) == recognise(data[kind]).names
    assert trained.preprocess.mean == before.preprocess.mean
    photo = next((data["masks"] / "images").iterdir())
    assert min(trained.preprocess(photo).shape[2:]) == 32


def test_the_division_of_a_training_that_is_running_is_not_overwritten(data, trained, tmp_path):
    shutil.copytree(trained["classes"][0], tmp_path / "out")
    for name in ("checkpoint.safetensors", "model.safetensors"):  # its first checkpoint is still to come
        (tmp_path / "out" / name).unlink()
    before = (tmp_path / "out" / "split.json").read_bytes()
    with (
        alone_in(tmp_path / "out", "fit"),
        pytest.raises(BlockingIOError, match="^train: .* is in use by process"),
    ):
        tasks.train(data["classes"], "cnn", tmp_path / "out", seed=5, epochs=1, **SMALL)
    assert (tmp_path / "out" / "split.json").read_bytes() == before


def test_options_that_are_missing_have_their_defaults(trained, tmp_path):
    shutil.copytree(trained["classes"][0], tmp_path / "out")
    (tmp_path / "out" / "task.json").write_text("{}")
    with pytest.raises(ValueError, match="^train: say which folder holds the pictures"):
        tasks.train(out=tmp_path / "out", resume=True)
    written = json.loads((trained["classes"][0] / "task.json").read_text())
    kept = {
        **{name: value for name, value in written.items() if name not in ("seed", "flip", "share")},
        "epochs": None,
    }
    (tmp_path / "out" / "task.json").write_text(json.dumps(kept))
    assert tasks.train(out=tmp_path / "out", resume=True, epochs=2)["steps"] == 4


def test_an_earlier_training_is_not_overwritten(data, trained):
    before = (trained["classes"][0] / "model.safetensors").read_bytes()
    with pytest.raises(FileExistsError, match="holds an earlier training"):
        tasks.train(data["classes"], out=trained["classes"][0])
    assert (trained["classes"][0] / "model.safetensors").read_bytes() == before


def test_words_of_the_command_that_do_not_go_together(capsys, tmp_path):
    assert main(["train", "vit-digits", "--data", str(tmp_path)]) == 2
    assert "--data is for your own pictures" in capsys.readouterr().err
    assert main(["train", "vit-digits", "--from", "x"]) == 2
    assert "--from is for your own pictures" in capsys.readouterr().err
    assert main(["train", "--data", str(tmp_path), "--steps", "3"]) == 2
    assert "say --epochs" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", "--data", str(tmp_path), "--lr", "0"])
    assert "is not a number above 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ({"epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
        ({"batch": 0}, "batch must be a whole number of at least 1"),
        ({"seed": "x"}, "seed must be a whole number of at least 0"),
        ({"lr": float("nan")}, "lr must be a number of at least 0, got nan"),
        ({"model": []}, "model must be a text"),
        ({"flip": 1}, "flip must be True or False, got 1"),
    ],
)
def test_an_option_of_the_wrong_kind_is_named(data, trained, tmp_path, option, complaint):
    with pytest.raises(ValueError, match=f"^train: {complaint}"):
        tasks.train(data["classes"], **{"model": "cnn", "out": tmp_path / "out"} | SMALL | option)
    assert not (tmp_path / "out").exists()
    out, _ = trained["classes"]
    shutil.copytree(out, tmp_path / "edited")
    written = json.loads((out / "task.json").read_text())
    (tmp_path / "edited" / "task.json").write_text(json.dumps(written | option))
    with pytest.raises(ValueError, match=rf"^train: .*task.json: {complaint}"):
        tasks.train(out=tmp_path / "edited", resume=True)


def test_what_cannot_become_a_training_is_refused_before_it_begins(data, tmp_path):
    pets = tmp_path / "pets"
    shutil.copytree(data["classes"], pets)
    for out in (pets, pets / "out"):
        with pytest.raises(
            ValueError, match="lies in the folder of the pictures, .*: say another by --out DIR"
        ):
            tasks.train(pets, "cnn", out, **SMALL)
    for folder in sorted(pets.iterdir())[1:]:
        shutil.rmtree(folder)
    with pytest.raises(ValueError, match="^train: .* has one class, beach: at least two are needed"):
        tasks.train(pets, "cnn", tmp_path / "out", **SMALL)
    boxes = tmp_path / "boxes"
    shutil.copytree(data["boxes"], boxes)
    content = json.loads((boxes / "annotations.json").read_text())
    (boxes / "annotations.json").write_text(json.dumps(content | {"annotations": []}))
    with pytest.raises(ValueError, match="^train: none of the pictures to measure on has a box"):
        tasks.train(boxes, "detr", tmp_path / "out", **SMALL)


def test_a_batch_without_a_pixel_that_counts_has_no_loss():
    from minivis.models import UNet
    from minivis.tasks.masks import Masks

    model = UNet((4, 8), 3, channels=3, padded=True, norm="batch", dropout=0.0, rng=0)
    images = np.random.default_rng(0).normal(size=(2, 3, 16, 16)).astype(np.float32)
    labels = np.full((2, 16, 16), 255)
    loss = Masks(["a", "b", "c"]).loss(model, images, labels)
    loss.backward()
    assert loss.item() == 0 and all(not p.grad.any() for p in model.parameters())
    labels[0, 0, :2] = 1, 2
    logits = model(images).numpy()[0, :, 0, :2].astype(np.float64)  # (3 classes, 2 pixels)
    expected = np.mean([np.log(np.exp(logits[:, i]).sum()) - logits[i + 1, i] for i in range(2)])
    assert Masks(["a", "b", "c"]).loss(model, images, labels).item() == pytest.approx(expected, rel=1e-5)


def test_names_from_a_list_move_no_cursor(data, tmp_path, capsys):
    shutil.copytree(data["boxes"], tmp_path / "boxes")
    listed = tmp_path / "boxes" / "annotations.json"
    content = json.loads(listed.read_text())
    content["categories"][0]["name"] = "\x1b[2Jcat"
    listed.write_text(json.dumps(content))
    tasks.train(tmp_path / "boxes", "detr", tmp_path / "out", epochs=1, **SMALL)
    assert all(line.isprintable() for line in capsys.readouterr().out.splitlines())
