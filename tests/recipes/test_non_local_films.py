"""The recipe on films: its labels, that a small training learns, and the checkpoint as good as its card says.

Not here: a full training (`minivis train non-local-films`), the model by itself (tests/models/test_non_local.py).
"""

import json

import numpy as np
import pytest

import minivis as mv
from minivis import recipes, storage
from minivis.data import DataLoader, shapes
from minivis.data.loader import stack
from minivis.recipes import _shapes, non_local_films

NAME = "non-local-films"
AT_LEAST = 0.75  # what the checkpoint reaches on 500 held-out films, with some room


def test_what_moves_where_is_read_off_the_masks_and_velocities():
    film = shapes.video(1, 4)  # a star moves left, a cross moves down
    moving = non_local_films.motion(film)
    assert moving.shape == (8, 8) and set(np.unique(moving)) == {1, 2, 4}
    for row, column in np.ndindex(8, 8):
        covered = film.masks[-1, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8].mean(axis=(1, 2))
        expected = (2, 1)[covered.argmax()] if covered.sum() >= 0.5 else 4
        assert moving[row, column] == expected
    assert [non_local_films.DIRECTIONS[k] for k in (1, 2)] == ["down", "left"]


def test_no_two_splits_share_a_film():
    first = {split: non_local_films.Films(1, split)[0][0] for split in shapes.SPLITS}
    assert not np.array_equal(first["train"], first["held-out"])
    assert not np.array_equal(first["validation"], first["held-out"])
    with pytest.raises(IndexError, match="^Films: there are films 0 to 0, got 1"):
        non_local_films.Films(1).scene(1)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_small_training_learns_the_films_it_sees(seed):
    rng = np.random.default_rng(seed)
    model = non_local_films.small_film_net(rng)
    drawn = non_local_films.Films(8, "train", seed)
    films = [drawn[i] for i in range(6)]
    history = non_local_films.train(model, DataLoader(films, 6, rng=rng, collate=stack), 14, every=1)
    assert history["loss"][-1] < 0.6 * history["loss"][0]


def test_a_run_writes_a_model_and_its_figures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_shapes, "COUNT", 4)
    monkeypatch.setattr(non_local_films, "VALIDATION", 2)
    metrics = recipes.run(NAME, tmp_path, seed=3, steps=2)
    assert capsys.readouterr().out.startswith("held-out accuracy ")
    assert (metrics["recipe"], metrics["seed"], metrics["steps"]) == (NAME, 3, 2)
    assert 0 <= metrics["value"] <= 1 and set(metrics["figures"]) == {"accuracy", "places"}
    assert mv.load(tmp_path)(np.zeros((1, 4, 3, 64, 64), np.float32)).shape == (1, 5, 8, 8)


def test_the_checkpoint_is_as_good_as_its_card_says():
    folder = storage.PACKAGED / NAME
    card = json.loads((folder / "card.json").read_text())
    model = mv.load(NAME)
    assert sum(p.size for p in model.parameters()) == card["parameters"]
    said = card["on 500 held-out films"]
    found = non_local_films.measure(model, 50)
    assert found["value"] == pytest.approx(said["accuracy"], abs=0.15)  # three standard errors of fifty films
    assert said["accuracy"] >= AT_LEAST
    assert (folder / storage.WEIGHTS).stat().st_size <= 1_000_000
    assert card["cpu seconds of the process that trains"] <= 900
    matched = card["on 100 validation films"]["attention of places on objects"]
    again = non_local_films.matched(model, 10)
    assert again["object"] == pytest.approx(matched["object"], abs=0.2)
    assert matched["object"] > 3 * matched["chance"] and matched["outside"] > 0.3


def test_films_with_a_seed_are_others():
    model = non_local_films.small_film_net(0)
    first, second = (non_local_films.measure(model, 3, seed=seed) for seed in (None, 0))
    assert set(first) == set(second) == {"value", "accuracy", "places"}


def test_the_comparison_is_complete_and_the_block_over_all_frames_wins():
    found = non_local_films.compared()
    assert list(found) == ["over all frames", "in each frame"]
    assert all(len(row["accuracy"]) == 3 for row in found.values())
    assert min(found["over all frames"]["accuracy"]) > max(found["in each frame"]["accuracy"])
