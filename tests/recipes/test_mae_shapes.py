"""The recipe of the masked autoencoder: inpainting, probes, short trainings from two seeds, the checkpoint and its study.

Not here: the model (tests/models/test_mae.py).
"""

import json

import numpy as np
import pytest

import minivis as mv
from minivis import cli, recipes, storage, train
from minivis.recipes import _shapes, _studies, mae_shapes, masking_ratio
from minivis.vision import patchify

# what the checkpoint reaches: the error of hidden patches below that of inpainting with mean colours, and below the best
AT_LEAST = {"fall below mean colours": 0.25, "fall": 0.0}


@pytest.fixture
def quick(monkeypatch):
    """Trainings that measure themselves on a few scenes and draw few."""
    monkeypatch.setattr(_shapes, "COUNT", 4)
    monkeypatch.setattr(mae_shapes, "VALIDATION", 4)
    run = mae_shapes.run
    monkeypatch.setattr(mae_shapes, "run", lambda *args, **options: run(*args, **options, batch=8, pool=32))


def test_two_seeds_learn(tmp_path, capsys, quick):
    weights = {}
    for seed in (1, 2):
        out = tmp_path / str(seed)
        assert cli.main(["train", "mae-shapes", "--steps", "40", "--seed", str(seed), "--out", str(out)]) == 0
        assert capsys.readouterr().out.startswith("held-out fall")
        metrics = json.loads((out / "metrics.json").read_text())
        assert (metrics["seed"], metrics["steps"], metrics["recipe"]) == (seed, 40, "mae-shapes")
        losses = json.loads((out / train.HISTORY).read_text())["loss"]
        assert np.mean(losses[-3:]) < 0.8 * losses[0]
        weights[seed] = mv.load(out).state_dict()
    drawn = [key for key, value in weights[1].items() if value.ndim > 1 and "pos_embed" not in key]
    assert not any(np.array_equal(weights[1][key], weights[2][key]) for key in drawn)


def test_a_resume_is_exact(tmp_path, quick):
    recipes.run("mae-shapes", tmp_path / "whole", steps=4)
    usual = train.take_turns
    taken = []

    def stopping(*args):
        taken.append(1)
        if len(taken) == 3:
            raise KeyboardInterrupt
        return usual(*args)

    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(train, "take_turns", stopping)
        recipes.run("mae-shapes", tmp_path / "parts", steps=4)
    recipes.run("mae-shapes", tmp_path / "parts", steps=4, resume=True)
    whole, parts = ((tmp_path / name / storage.WEIGHTS).read_bytes() for name in ("whole", "parts"))
    assert whole == parts


def test_inpainting():
    images = np.zeros((1, 1, 16, 24), np.float32)
    images[..., :8] = 1  # a column of patches is white
    mask = np.array([[False, True, False, False, True, False]])
    images[:, :, :, 8:16] = np.nan  # hidden: nothing may read it
    found = {
        name: guess[0, [1, 4]] for name, guess in mae_shapes.inpaintings(np.nan_to_num(images), mask).items()
    }
    np.testing.assert_allclose(found["mean"], 0.5)
    assert set(np.unique(found["nearest"])) <= {0.0, 1.0}
    np.testing.assert_allclose(found["distance"], 0.5, atol=1e-6)
    ramp = 1 - np.arange(1, 9) / 9  # from the white pixel before it to the black one behind it
    np.testing.assert_allclose(
        found["harmonic"].reshape(2, 8, 8), np.broadcast_to(ramp, (2, 8, 8)), atol=1e-5
    )


def test_inpainting_reads_no_hidden_pixel():
    images = mae_shapes.floats(mae_shapes.pictures(2, "validation"))
    mask = np.random.default_rng(0).random((2, 64)) < 0.75
    other = mv.vision.unpatchify(np.where(mask[..., None], 9.0, patchify(images, 8)), 8, 64, 64).astype(
        np.float32
    )
    once, again = (mae_shapes.inpaintings(x, mask) for x in (images, other))
    for name in once:
        np.testing.assert_allclose(once[name][mask], again[name][mask], atol=1e-5, err_msg=name)


def test_probes_find_what_is_there_and_nothing_else():
    def told(images):  # the brightness of each patch, and of the picture's upper left corner
        patches = patchify(images, 8)
        return {
            "whole": {"noise": np.random.default_rng(0).random((len(images), 3))},
            "patches": patches[..., :96],
        }

    found = mae_shapes.probes(told, train=120, test=60)
    assert set(found) == {"shape from noise", "patch", "patch of a thing"}
    assert found["shape from noise"] < 0.5 < found["patch"]


def test_the_checkpoint_is_as_good_as_its_card_says():
    folder = storage.PACKAGED / "mae-shapes"
    card = json.loads((folder / "card.json").read_text())
    assert sum(p.size for p in mv.load("mae-shapes").parameters()) == card["parameters"]
    said = card["on 500 held-out scenes"]
    found = recipes.measure("mae-shapes", count=50)
    assert found.pop("value") == found["fall"]
    assert found.keys() == said.keys()
    assert found["error"] == pytest.approx(said["error"], abs=0.05)
    for figure, least in AT_LEAST.items():
        assert said[figure] >= least
    best = min(said[name] for name in ("mean", "nearest", "distance", "harmonic"))
    assert said["fall"] == pytest.approx(1 - said["error"] / best, abs=1e-3)
    assert (folder / storage.WEIGHTS).stat().st_size <= 900_000
    assert _shapes.seconds_alone(card) <= 900
    assert (folder / card["failures"]).exists() and card["recipe"] == "minivis train mae-shapes --seed 0"


def test_the_study_is_complete():
    found = masking_ratio.results()["ratio"]
    assert list(found) == list(masking_ratio.CHOICES["ratio"])
    for metrics in found.values():
        assert all(len(values) == len(masking_ratio.SEEDS) for values in metrics.values())


def test_a_choice_is_measured_once_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(masking_ratio, "STEPS", 1)
    monkeypatch.setattr(masking_ratio, "HELD_OUT", 2)
    monkeypatch.setattr(masking_ratio, "_pool", lambda: mae_shapes.pictures(64))
    monkeypatch.setattr(mae_shapes, "probes", lambda features: {"patch": 0.5})
    first = _studies.measure(masking_ratio.CHOICES, tmp_path, "ratio", "0.50", 0)
    assert set(first) == {"error", "harmonic", "patch", "seconds"}
    monkeypatch.setattr(mae_shapes, "train", lambda *_: pytest.fail("trained again"))
    assert _studies.measure(masking_ratio.CHOICES, tmp_path, "ratio", "0.50", 0) == first
