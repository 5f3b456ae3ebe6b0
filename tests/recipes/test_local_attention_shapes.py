"""local-attention-shapes: outlines, a training from two seeds, the shipped model, the comparison of four layers.

Not here: a full training (`minivis train local-attention-shapes`), the layers (tests/models).
"""

import json

import numpy as np
import pytest

import minivis as mv
from minivis import recipes, storage
from minivis.data import shapes
from minivis.pretrained.own import load_ready
from minivis.recipes import _shapes
from minivis.recipes import local_attention_shapes as recipe

NAME = "local-attention-shapes"


def test_the_four_networks_have_the_same_number_of_parameters():
    sizes = [sum(p.size for p in recipe.small_net(layer, 0).parameters()) for layer in recipe.LAYERS]
    assert max(sizes) / min(sizes) < 1.015


def test_an_outline_is_where_another_object_begins():
    scene = shapes.scene(3)
    image, edge = recipe.outlines(scene)
    assert image is scene.image and edge.dtype == np.int64 and edge.shape == (64, 64)
    objects = np.where(scene.panoptic <= len(scene.labels), scene.panoptic, 0)
    for y, x in np.ndindex(64, 64):
        around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        others = [objects[r, c] for r, c in around if 0 <= r < 64 and 0 <= c < 64]
        assert edge[y, x] == any(other != objects[y, x] for other in others)


def test_scenes_are_cut_into_quarters():
    x = np.arange(2 * 4 * 4).reshape(2, 1, 4, 4)
    quarters = recipe._quarters(x)
    assert quarters.shape == (8, 1, 2, 2)
    assert quarters[2, 0].tolist() == [[2, 3], [6, 7]] and quarters[5, 0].tolist() == [[24, 25], [28, 29]]


def test_two_seeds_train_and_neither_loads(tmp_path, monkeypatch):
    monkeypatch.setattr(_shapes, "COUNT", 4)
    weights = []
    for seed in (1, 2):
        recipes.run(NAME, tmp_path / str(seed), seed=seed, steps=10)
        metrics = json.loads((tmp_path / str(seed) / "metrics.json").read_text())
        assert (metrics["metric"], metrics["seed"], metrics["recipe"]) == ("held-out F1", seed, NAME)
        losses = json.loads((tmp_path / str(seed) / "history.json").read_text())["loss"]
        assert losses[-1] < 0.8 * losses[0]
        weights.append(mv.load(tmp_path / str(seed)).state_dict())
    for key, value in weights[0].items():
        assert value.ndim == 1 or not np.array_equal(value, weights[1][key]), key


def test_the_shipped_model_is_as_good_as_its_card_says():
    folder = storage.PACKAGED / NAME
    card = json.loads((folder / "card.json").read_text())
    model = mv.load(NAME)
    assert sum(p.size for p in model.parameters()) == card["parameters"]
    found = recipe.measure(model, 60)
    assert found["value"] == found["F1"] == pytest.approx(card["on 500 held-out scenes"]["F1"], abs=0.02)
    assert (folder / storage.WEIGHTS).stat().st_size <= 500_000 and (folder / card["failures"]).exists()


def test_it_cannot_be_shown_a_photo():
    with pytest.raises(ValueError, match=r"^predict: local-attention-shapes finds the outlines of shapes"):
        load_ready(NAME)


def test_the_comparison_is_complete_and_a_run_is_measured_once(tmp_path, monkeypatch):
    found = recipe.results()
    assert set(found) == set(recipe.LAYERS)
    for row in found.values():
        assert all(len(row[name]) == len(recipe.SEEDS) for name in ("F1", "precision", "recall", "seconds"))
    monkeypatch.setattr(recipe, "COMPARED", {"steps": 2, "batch_size": 2})
    monkeypatch.setattr(_shapes, "COUNT", 2)
    first = recipe.compare(tmp_path, ("relation",), (5,))
    monkeypatch.setattr(recipe, "_trained", lambda *_: pytest.fail("trained again"))
    assert recipe.compare(tmp_path, ("relation",), (5,)) == first
    assert set(first["relation"]) == {"F1", "precision", "recall", "seconds", "parameters"}


def test_multiply_adds_of_a_window_are_those_of_the_formulas():
    found = recipe.window_costs((1, 3), channels=8, side=6, repeats=1)
    pixels = 36
    assert found["layers"]["convolution"]["multiply_adds"] == [pixels * 64, pixels * 9 * 64]
    attention = [3 * 64 + 2 * 8 * k * k + 8 * k for k in (1, 3)]  # projections, window, offsets
    assert found["layers"]["local attention"]["multiply_adds"] == [pixels * cost for cost in attention]
    assert all(len(row["seconds"]) == 2 for row in found["layers"].values())
