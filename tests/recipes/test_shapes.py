"""The recipes on generated scenes train from scratch and resume; the checkpoints are as good as their cards say.

Not here: a full training (half an hour each: `minivis train detr-shapes`), the scenes (tests/data/test_shapes.py).
"""

import json

import numpy as np
import pytest

import minivis as mv
from minivis import cli, recipes, storage, train
from minivis.recipes import _shapes, _studies, ablations

AT_LEAST = {  # what the checkpoints reach on 500 held-out scenes, by the name of the figure
    "swin-shapes": {"accuracy": 0.97},
    "detr-shapes": {"AP50": 0.80, "AP": 0.50},
    "detr-panoptic-shapes": {"PQ": 0.50},
    "fcn-shapes": {"mIoU": 0.80},
    "faster-rcnn-shapes": {"AP50": 0.88, "AP": 0.64},
    "mask-rcnn-shapes": {"AP50": 0.85},
    "mask2former-shapes": {"PQ": 0.60},
    "maskformer-shapes": {"PQ": 0.60, "mIoU": 0.65},
    "setr-shapes": {"mIoU": 0.75},
    "yolo-shapes": {"AP50": 0.86},
    "segmenter-shapes": {"mIoU": 0.55},
    "unet-shapes": {"mIoU": 0.85},
}
NAMES = sorted(AT_LEAST)
# Segmenter's first attention is not drawn: its positions and most of its queries and keys start alike
ALIKE = {"segmenter-shapes": ("encoder.pos_embed", "attn.query.weight", "attn.key.weight")}
# these may take half an hour, the others a quarter
LONG = {"swin-shapes", "detr-shapes", "detr-panoptic-shapes", "mask2former-shapes", "segmenter-shapes"}


@pytest.fixture
def quick(monkeypatch):
    """Recipes that measure themselves on a few scenes only, at the end and along the way."""
    drawn = _shapes.fresh_scenes
    monkeypatch.setattr(_shapes, "COUNT", 8)
    monkeypatch.setattr(
        _shapes, "fresh_scenes", lambda count=None, *args, **options: drawn(8, *args, **options)
    )


@pytest.mark.parametrize("name", NAMES)
def test_two_seeds_train_and_neither_loads(tmp_path, capsys, quick, monkeypatch, name):
    monkeypatch.setattr(_shapes, "WORKERS", 0)  # starting a process takes longer than these trainings
    load = _shapes.loader
    monkeypatch.setattr(
        _shapes, "loader", lambda steps, batch_size, *args, **options: load(steps, 8, *args, **options)
    )
    weights = {}
    shipped = mv.load(name).state_dict()
    for seed in (1, 2):
        out = tmp_path / str(seed)
        assert cli.main(["train", name, "--steps", "16", "--seed", str(seed), "--out", str(out)]) == 0
        assert capsys.readouterr().out.startswith("held-out ")
        metrics = json.loads((out / "metrics.json").read_text())
        assert (metrics["seed"], metrics["steps"], metrics["recipe"], metrics["n"]) == (seed, 16, name, 8)
        weights[seed] = mv.load(out).state_dict()
        # U-Net has no backbone that is trained before it, and Segmenter trains in two rounds
        first = {"unet-shapes": out, "segmenter-shapes": out / "first"}.get(name, out / "backbone")
        losses = json.loads((first / train.HISTORY).read_text())["loss"]
        assert np.mean(losses[-3:]) < np.mean(losses[:3]), (
            "it learns to name pixels, and that is where it begins"
        )
    for key, value in weights[1].items():
        if value.ndim > 1 and not key.endswith(ALIKE.get(name, ())):  # norms and biases start alike
            assert not np.array_equal(value, weights[2][key]), key
            assert np.abs(value - shipped[key]).mean() > 0.2 * np.abs(shipped[key]).mean(), key


def test_a_run_in_stages_resumes_bit_for_bit(tmp_path, quick):
    recipes.run("detr-shapes", tmp_path / "whole", steps=6)
    recipes.run("detr-shapes", tmp_path / "parts", steps=6)
    # as if it had ended between the two stages
    for name in (train.CHECKPOINT, storage.WEIGHTS, "metrics.json"):
        (tmp_path / "parts" / name).unlink()
    recipes.run("detr-shapes", tmp_path / "parts", steps=6, resume=True)
    whole, parts = ((tmp_path / run / storage.WEIGHTS).read_bytes() for run in ("whole", "parts"))
    assert whole == parts


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_is_as_good_as_its_card_says(name):
    folder = storage.PACKAGED / name
    card = json.loads((folder / "card.json").read_text())
    model = mv.load(name)
    assert sum(p.size for p in model.parameters()) == card["parameters"]
    found = recipes.measure(name)
    assert found.pop("value") == next(found[figure] for figure in AT_LEAST[name])
    said = card["on 500 held-out scenes"]
    assert {key: float(value) for key, value in found.items()} == pytest.approx(said, abs=2e-3)
    for figure, least in AT_LEAST[name].items():
        assert said[figure] >= least
    assert (folder / storage.WEIGHTS).stat().st_size <= 3_000_000
    assert _shapes.seconds_alone(card) <= (1800 if name in LONG else 900)
    assert (folder / card["failures"]).exists() and card["recipe"] == f"minivis train {name} --seed 0"


def test_mask2former_is_better_than_detr_at_panoptic_segmentation():
    cards = [
        json.loads((storage.PACKAGED / name / "card.json").read_text())
        for name in ("detr-panoptic-shapes", "mask2former-shapes")
    ]
    detr, mask2former = (card["on 500 held-out scenes"]["PQ"] for card in cards)
    assert mask2former > detr


def test_all_checkpoints_together_are_small():
    assert sum(path.stat().st_size for path in storage.PACKAGED.rglob("*.safetensors")) <= 25_000_000


def test_the_ablations_are_complete():
    found = ablations.results()
    for subject, choices in ablations.CHOICES.items():
        assert list(found[subject]) == list(choices)
        for metrics in found[subject].values():
            assert all(len(values) == len(ablations.SEEDS) for values in metrics.values())
            assert all(
                0 <= value <= 1 for name, values in metrics.items() if name != "seconds" for value in values
            )
    assert max(max(row["seconds"]) for choices in found.values() for row in choices.values()) <= 240


def test_a_choice_is_measured_once_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(ablations, "STEPS", dict.fromkeys(ablations.STEPS, 2))
    monkeypatch.setattr(ablations, "SCENES", 32)
    monkeypatch.setattr(_shapes, "COUNT", 4)
    first = _studies.measure(ablations.CHOICES, tmp_path, "attention", "plain", 0)
    monkeypatch.setattr(ablations, "_fit", lambda *_: pytest.fail("trained again"))
    assert (
        _studies.measure(ablations.CHOICES, tmp_path, "attention", "plain", 0) == first
        and 0 <= first["PQ"] <= 1
    )


@pytest.mark.parametrize("subject, metrics", [("losses", {"AP", "AP50"}), ("windows", {"mIoU"})])
def test_every_kind_of_choice_runs(tmp_path, monkeypatch, subject, metrics):
    monkeypatch.setattr(ablations, "STEPS", dict.fromkeys(ablations.STEPS, 2))
    monkeypatch.setattr(ablations, "SCENES", 32)
    monkeypatch.setattr(_shapes, "COUNT", 4)
    for choice in ablations.CHOICES[subject]:
        found = _studies.measure(ablations.CHOICES, tmp_path, subject, choice, 0)
        assert set(found) == metrics | {"seconds"} and all(0 <= found[name] <= 1 for name in metrics)
