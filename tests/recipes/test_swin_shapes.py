"""The recipe of the small Swin: what it is asked, that it trains, saves the classifier alone and resumes.

Not here: a full training (`minivis train swin-shapes`), what every recipe promises (test_recipes.py).
"""

import json

import numpy as np
import pytest

import minivis as mv
from minivis import recipes
from minivis.data.shapes import CLASSES, Scenes, scene
from minivis.models import Swin
from minivis.recipes import swin_shapes


def test_the_model_is_small_enough_to_come_along():
    model = swin_shapes.small_swin(rng=0)
    assert sum(p.size for p in model.parameters()) * 2 < 3 * 2**20  # in half precision
    assert [b.attn.shift for stage in model.stages for b in stage.blocks] == [(0, 0), (2, 2)] * 3
    apart = swin_shapes.small_swin(rng=0, shift=False)
    assert {b.attn.shift for stage in apart.stages for b in stage.blocks} == {(0, 0)}


def test_the_projection_starts_with_pixels_standardised():
    model, images = swin_shapes.small_swin(rng=3), np.random.default_rng(0).random((2, 3, 64, 64), np.float32)
    plain = Swin(**model.config, rng=3)
    np.testing.assert_allclose(
        model.proj(images).numpy(), plain.proj((images - 0.5) / 0.25).numpy(), atol=1e-5
    )


def test_each_token_is_asked_for_the_pixels_below_it():
    drawn = scene(seed=5, objects=1)
    image, label, pixels = swin_shapes.sample(drawn)
    assert label == drawn.labels[0] and image is drawn.image
    cells = pixels.reshape(8, 8, 8, 8)
    for row, column in ((0, 0), (3, 5), (7, 2)):
        expected = drawn.semantic[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        np.testing.assert_array_equal(cells[row, column], expected)
    both = swin_shapes.WithPixels(swin_shapes.small_swin(rng=0), np.random.default_rng(0))
    both.probe.weight.data[...] = 0  # now a token says the same whatever it sees
    both.probe.bias.data[...] = 50 * np.eye(len(CLASSES))[pixels.reshape(64, 64)[27]].ravel()
    same = np.tile(pixels.reshape(64, 64)[27], 64)[None]
    found = swin_shapes.loss(both, image[None], np.array([label]), same)
    picture = mv.ops.cross_entropy(both(image[None]), np.array([label]))
    assert float(found) == pytest.approx(float(picture), abs=1e-5)


def test_the_pictures_it_is_measured_on_are_never_trained_on():
    images, labels = swin_shapes.held_out(20)
    assert images.shape == (20, 3, 64, 64) and labels.shape == (20,)
    held = Scenes(500, "held-out", objects=1)
    np.testing.assert_array_equal(images[7], held.scene(7).image)
    assert held.first + 500 <= Scenes(1, "validation").first < Scenes(1, "train").first


def test_a_short_run_saves_the_classifier_alone_and_goes_on(tmp_path):
    metrics = recipes.run("swin-shapes", tmp_path, seed=3, steps=4)
    assert metrics["n"] == 500 and metrics["metric"] == "held-out accuracy" and metrics["steps"] == 4
    model = mv.load(tmp_path)
    assert type(model) is Swin and sum(p.size for p in model.parameters()) == metrics["parameters"]
    images, labels = swin_shapes.held_out()
    assert np.mean(swin_shapes.predict(model, images).argmax(1) == labels) == metrics["value"]
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "metrics.json").unlink()  # as if stopped before the report
    assert recipes.run("swin-shapes", tmp_path, seed=3, steps=4, resume=True) == metrics
    assert (tmp_path / "model.safetensors").read_bytes() == weights
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics


def test_pixels_are_learnt_at_once_from_two_seeds():
    for seed in (1, 2):
        _, history = swin_shapes.train(24, seed, every=8)
        assert history["loss"][-1] < history["loss"][0] - 0.7
