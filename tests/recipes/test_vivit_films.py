"""The recipe on films with ViViT and the study of its variants: films, small trainings, the checkpoint, the measured numbers.

Not here: a full training (`minivis train vivit-films`), the model by itself (tests/models/test_vivit.py).
"""

import json

import numpy as np
import pytest

import minivis as mv
from minivis import recipes, storage
from minivis.data import DataLoader, shapes
from minivis.data.loader import stack
from minivis.models.vivit import VARIANTS
from minivis.recipes import _shapes, _studies, vivit_films, vivit_variants

NAME = "vivit-films"
AT_LEAST = 0.9  # what the checkpoint reaches on 500 held-out films


def test_films_forwards_backwards_and_in_another_order():
    film = shapes.video(1, 8)
    frames, direction = vivit_films.backwards(film)
    np.testing.assert_array_equal(frames[0], film.frames[-1])
    assert sorted([direction, film.direction]) in ([0, 2], [1, 3])
    mixed, same = vivit_films.shuffled(film)
    assert same == film.direction and not np.array_equal(mixed, film.frames)
    np.testing.assert_array_equal(np.sort(mixed, axis=0), np.sort(film.frames, axis=0))
    np.testing.assert_array_equal(mixed, vivit_films.shuffled(film)[0])
    assert vivit_films.films(3)[0][0].shape == (8, 3, 64, 64)


@pytest.mark.parametrize("pool", ["token", "mean"])
def test_an_image_model_names_pixels_and_finds_the_largest_object(pool):
    model = vivit_films.PictureReader(vivit_films.small_vit(0, pool), np.random.default_rng(0))
    image, classes, box = vivit_films._picture(shapes.scene(1, objects=2))
    logits, found = model(image[None])
    assert logits.shape == (1, 9, 64, 64) and found.shape == (1, 4)
    assert classes.shape == (64, 64) and box.shape == (4,)
    assert vivit_films._read(model, image[None], classes[None], box[None]).item() > 1


@pytest.mark.parametrize("seed", [1, 2])
def test_a_small_training_learns_the_films_it_sees(seed):
    rng = np.random.default_rng(seed)
    model = vivit_films.small_vivit(rng=rng)
    drawn = vivit_films.films(6, "train", seed)
    batches = DataLoader([drawn[i] for i in range(6)], 6, rng=rng, collate=stack)
    history = vivit_films.train(model, batches, 25, every=1)
    assert history["loss"][-1] < 0.6 * history["loss"][0]


def test_a_run_writes_a_model_and_its_figures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_shapes, "COUNT", 4)
    monkeypatch.setattr(_shapes, "WORKERS", 0)
    monkeypatch.setattr(vivit_films, "VALIDATION", 2)
    metrics = recipes.run(NAME, tmp_path, seed=3, steps=1)
    assert capsys.readouterr().out.startswith("held-out accuracy ")
    assert (metrics["recipe"], metrics["seed"], metrics["steps"]) == (NAME, 3, 1)
    assert 0 <= metrics["value"] <= 1 and set(metrics["figures"]) == {"accuracy", "shuffled", "backwards"}
    assert mv.load(tmp_path)(np.zeros((1, 8, 3, 64, 64), np.float32)).shape == (1, 4)


def test_the_checkpoint_is_as_good_as_its_card_says():
    folder = storage.PACKAGED / NAME
    card = json.loads((folder / "card.json").read_text())
    model = mv.load(NAME)
    assert sum(p.size for p in model.parameters()) == card["parameters"]
    said = card["on 500 held-out films"]
    found = vivit_films.measure(model, 50)
    assert found["value"] == pytest.approx(said["accuracy"], abs=0.13)  # three standard errors of fifty films
    assert said["accuracy"] >= AT_LEAST and said["backwards"] >= AT_LEAST
    assert said["shuffled"] < 0.5  # half of them if the axis is known and its end guessed
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 530_000
    assert _shapes.seconds_alone(card) <= 900


def test_films_with_a_seed_are_others():
    model = vivit_films.small_vivit()
    first, second = (vivit_films.measure(model, 3, seed=seed) for seed in (None, 0))
    assert set(first) == set(second) == {"value", "accuracy", "shuffled", "backwards"}


# ------------------------------------------------------------------ the study


def test_the_results_are_complete_and_say_what_they_are_quoted_for():
    found = vivit_variants.results()
    assert list(found) == list(vivit_variants.CHOICES)
    rows = found["variants"]
    assert list(rows) == [*VARIANTS, "mean of frames"]
    for row in rows.values():
        assert all(len(values) == len(vivit_variants.SEEDS) for values in row.values())
        assert len(row["curve"][0]) == len(row["step"][0]) == 20
    assert max(row["accuracy"][0] for row in rows.values()) >= 0.9
    assert min(rows[variant]["accuracy"][0] for variant in VARIANTS) > 0.8
    assert max(row["shuffled"][0] for row in rows.values()) < 0.5
    assert rows["mean of frames"]["accuracy"][0] < 0.5
    costs = {name: row["multiply-adds"][0] for name, row in rows.items()}
    assert costs["joint"] == max(costs[variant] for variant in VARIANTS)


@pytest.mark.parametrize("choice", ["factorised self-attention", "mean of frames"])
def test_measuring_again_is_reading(tmp_path, monkeypatch, choice):
    for name, value in {"STEPS": 1, "PICTURE_STEPS": 1, "COUNT": 2, "CURVE": 2}.items():
        monkeypatch.setattr(vivit_variants, name, value)
    monkeypatch.setattr(_shapes, "WORKERS", 0)
    first = _studies.measure(vivit_variants.CHOICES, tmp_path, "variants", choice, 0)
    assert all(0 <= first[name] <= 1 for name in ("accuracy", "shuffled", "backwards", "axis"))
    monkeypatch.setattr(vivit_films, "fit", lambda *_, **__: pytest.fail("trained again"))
    assert _studies.measure(vivit_variants.CHOICES, tmp_path, "variants", choice, 0) == first
