"""The study of depth: its results are complete and say what they are quoted for, and it can be measured again.

Not here: the networks (tests/models/test_cifar_resnet.py), the figures (tests/viz/test_depth.py).
"""

import numpy as np
import pytest

from minivis.data import shapes
from minivis.recipes import _studies, depth


def test_the_results_are_complete():
    found = depth.results()
    assert {subject: list(choices) for subject, choices in found.items()} == {
        subject: list(choices) for subject, choices in depth.CHOICES.items()
    }
    for subject, choices in found.items():
        for metrics in choices.values():
            assert all(len(values) == len(depth.SEEDS) for values in metrics.values())
            if subject == "gradients":
                assert np.shape(metrics["norms"]) == (len(depth.SEEDS), 55)
            elif subject != "refinement":
                assert (
                    np.shape(metrics["steps"])
                    == np.shape(metrics["training error"])
                    == np.shape(metrics["test error"])
                )


def last(subject, choice, metric):
    return np.array([errors[-1] for errors in depth.results()[subject][choice][metric]])


@pytest.mark.parametrize("subject", ["scenes", "digits"])
def test_the_deeper_plain_network_is_worse_also_on_what_it_was_trained_on(subject):
    for metric in ("training error", "test error"):
        assert last(subject, "plain 56", metric).min() > last(subject, "plain 20", metric).max() + 0.2
        assert last(subject, "residual 56", metric).max() < 0.1


def test_smaller_steps_with_the_same_weights_keep_the_accuracy():
    errors = np.array(depth.results()["refinement"]["ten blocks"]["test error"])
    assert errors[:, 0].max() < 0.05
    assert (errors[:, 1] - errors[:, 0]).max() < 0.02


def test_a_refinable_network_learns(monkeypatch):
    monkeypatch.setattr(depth, "BATCH", 16)
    model = depth.refinable(steps=2)
    images = np.zeros((2, 1, 8, 8), np.float32)
    before, after = (model(images, steps=n).numpy() for n in (1, 2))
    assert len(model.velocities) == 10 and not np.array_equal(before, after)
    assert model.velocities[0].conv2.weight.data.any()  # it began at 0


def test_crops_are_the_same_again_and_show_every_shape():
    images, labels = depth.crops(60, "train", 1)
    assert images.shape == (60, 3, 16, 16) and images.dtype == np.float32
    assert -1 <= images.min() and images.max() <= 1
    assert set(labels) == set(range(len(shapes.THINGS)))
    depth.crops.cache_clear()
    np.testing.assert_array_equal(depth.crops(60, "train", 1)[0], images)


def test_measuring_again_is_reading(tmp_path, monkeypatch):
    monkeypatch.setattr(depth, "STEPS", dict.fromkeys(depth.STEPS, 2))
    monkeypatch.setattr(depth, "CROPS", 40)
    monkeypatch.setattr(depth, "HELD_OUT", 20)
    first = _studies.measure(depth.CHOICES, tmp_path, "scenes", "residual 20", 0)
    assert first["steps"] == [1, 2] and all(0 <= error <= 1 for error in first["test error"])
    monkeypatch.setattr(depth, "_errors", lambda *_: pytest.fail("trained again"))
    assert _studies.measure(depth.CHOICES, tmp_path, "scenes", "residual 20", 0) == first
    norms = _studies.measure(depth.CHOICES, tmp_path, "gradients", "plain, sigmoid", 0)["norms"]
    assert len(norms) == 55 and norms[0] < 1e-20 < norms[-1]  # they vanish
