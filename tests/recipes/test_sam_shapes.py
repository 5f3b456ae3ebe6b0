"""The recipe of the small SAM: its prompts, rounds of clicks, figures, that it learns, the checkpoint as good as its card says.

Not here: a full training (`minivis train sam-shapes`), the model by itself (tests/models/test_sam.py), clicks and loss by
themselves (tests/vision/test_clicks.py, tests/losses/test_prompted_masks.py).
"""

import json

import numpy as np
import pytest

import minivis as mv
from minivis import cli, recipes, storage, train
from minivis.data import shapes
from minivis.models import SAMOutput
from minivis.recipes import _shapes, _studies, sam_losses, sam_shapes

NAME = "sam-shapes"
# what the checkpoint reaches on 500 held-out scenes
AT_LEAST = {
    "1 click": 0.72,
    "3 clicks": 0.78,
    "box": 0.80,
    "text": 0.5,
}


class Oracle(mv.nn.Module):
    """Answers with the object under the last click that lies on one, or in a box; the embedding is a map of the objects."""

    def embed(self, images):
        numbers = np.stack([self.maps[image.tobytes()] for image in images])  # (B, H, W)
        return mv.Tensor(numbers[:, None].astype(np.float32))

    def answer(
        self, embedding, points=None, point_labels=None, boxes=None, masks=None, texts=None, multimask=True
    ):
        B = len(embedding)
        logits = np.full((B, 1, 3 if multimask else 1, 64, 64), -1.0, np.float32)
        for i, objects in enumerate(embedding.numpy()[:, 0]):
            if points is not None and boxes is None:
                x, y = points[i, 0, 0].astype(int)
                logits[i, 0, -1][objects == objects[y, x]] = 1
        estimates = np.zeros(logits.shape[:3], np.float32)
        estimates[..., -1] = 1
        return SAMOutput(mv.Tensor(logits), mv.Tensor(estimates))


def test_phrases_fit_one_object_alone():
    for seed in range(20):
        scene = shapes.scene(seed)
        words = [one.split()[1:] for one in scene.caption.split(" on ")[0].split(", ")]
        found = sam_shapes.phrases_of(scene)
        assert len(found) == len(scene.labels)
        for own, phrases in zip(words, found, strict=True):
            assert shapes.THINGS.index(own[2]) == scene.labels[words.index(own)] or words.count(own) > 1
            for phrase in phrases:
                assert phrase in sam_shapes.PHRASES
                assert [set(phrase.split()[1:]) <= set(other) for other in words].count(True) == 1
                assert set(phrase.split()[1:]) <= set(own)
    assert len(sam_shapes.PHRASES) == len(set(sam_shapes.PHRASES)) == 9 * 5 * 6


def test_features_of_phrases_are_the_text_encoders():
    from minivis.recipes import clip_shapes

    found = sam_shapes.phrase_features(["a ring", "a red plain ring"])
    with mv.no_grad():
        expected = (
            mv.load("clip-shapes").encode_text(clip_shapes.encoded(["a ring", "a red plain ring"])).numpy()
        )
    np.testing.assert_allclose(found, 8 * expected, rtol=1e-5, atol=1e-6)
    assert np.mean(found**2) == pytest.approx(1, abs=1e-3)
    with pytest.raises(ValueError, match="^phrase_features: 'a red house' is no phrase"):
        sam_shapes.phrase_features(["a red house"])


def test_the_prompts_of_a_scene_mean_its_objects():
    drawn = shapes.Scenes(12, "train", 4)
    samples = [sam_shapes.with_prompts(drawn.scene(i)) for i in range(12)]
    for scene, (image, masks, click, box, phrase) in zip(map(drawn.scene, range(12)), samples, strict=True):
        np.testing.assert_array_equal(image, scene.image)
        objects = [int(np.flatnonzero((scene.masks == mask).all(axis=(1, 2)))[0]) for mask in masks]
        assert masks[0][click[1], click[0]]
        if len(scene.labels) > 1:
            assert objects[0] != objects[1]
        exact = _shapes.in_pixels(scene.boxes[objects[1]], 64, 64)
        assert (np.abs(box - exact) <= 0.5 * np.tile(exact[2:] - exact[:2], 2)).all() and (box != exact).any()
        if phrase >= 0:
            assert sam_shapes.PHRASES[phrase] in sam_shapes.phrases_of(scene)[objects[2]]
    images, masks, clicks, boxes, rows, phrases, seed = sam_shapes.prompts_of(samples)
    assert (images.shape, masks.shape) == ((12, 3, 64, 64), (12, 3, 64, 64))
    assert (clicks.shape, boxes.shape) == ((12, 1, 1, 2), (12, 1, 4))
    assert len(rows) == len(phrases) == sam_shapes.TEXTS and (phrases >= 0).all()
    assert seed == sam_shapes.prompts_of(samples)[-1]


def test_a_round_adds_a_click_on_what_is_wrong_and_the_last_answer():
    truth = np.zeros((2, 1, 64, 64), bool)
    truth[:, :, 10:20, 10:20] = True
    logits = np.where(truth, 3.0, -3.0).astype(np.float32)
    logits[0, 0, 40, 50] = 3.0  # a pixel too many
    logits[1, 0, 12, 13] = -3.0  # and one that is missing
    prompt = sam_shapes.more_clicks({"boxes": np.zeros((2, 1, 4))}, logits, truth)
    np.testing.assert_array_equal(prompt["points"][:, 0, 0], [[50, 40], [13, 12]])
    np.testing.assert_array_equal(prompt["point_labels"][:, 0, 0], [0, 1])
    assert prompt["masks"].shape == (2, 1, 1, 64, 64) and "boxes" in prompt
    again = sam_shapes.more_clicks(prompt, logits, truth, np.random.default_rng(0))
    assert again["points"].shape == (2, 1, 2, 2)
    np.testing.assert_array_equal(again["points"][:, :, 0], prompt["points"][:, :, 0])


def test_the_best_guess_has_the_highest_estimate():
    masks = mv.Tensor(np.arange(2 * 3 * 4.0).reshape(1, 2, 3, 2, 2))
    estimates = mv.Tensor(np.array([[[0.1, 0.9, 0.3], [0.5, 0.2, 0.4]]]))
    chosen, sure = sam_shapes.best_guess(SAMOutput(masks, estimates))
    np.testing.assert_array_equal(chosen[0], masks.numpy()[0, [0, 1], [1, 0]])
    np.testing.assert_array_equal(sure, [[0.9, 0.5]])


def test_figures_of_a_model_that_knows_the_objects(monkeypatch):
    scenes = [shapes.scene(seed) for seed in range(3)]
    model = Oracle()
    model.maps = {scene.image.tobytes(): scene.panoptic for scene in scenes}
    found = sam_shapes.measure(model, 3)
    assert found["value"] == found["1 click"] == found["best of 3"] == found["5 clicks"] == 1
    assert found["box"] == found["text"] == 0 and found["empty"] == 0
    assert found["estimate error"] == found["estimate correlation"] == 0
    masks = [mask for scene in scenes for mask in scene.masks]
    filled = []
    for mask in masks:
        y, x = np.nonzero(mask)
        filled.append(mask.sum() / ((np.ptp(y) + 1) * (np.ptp(x) + 1)))
    assert found["filled box"] == pytest.approx(np.mean(filled))
    assert 0.6 < found["ellipse in the box"] < 0.85
    assert 0.3 < found["similar colour around the click"] < 1


def test_simple_ways():
    image = np.zeros((3, 8, 8))
    image[:, 1:4, 2:6] = 1.0
    image[:, 6, 6] = 1.0
    expected = image[0] > 0
    expected[6, 6] = False
    np.testing.assert_array_equal(sam_shapes.similar_colour(image, (3, 2)), expected)
    np.testing.assert_array_equal(sam_shapes.in_box((2, 1, 6, 4), (8, 8)), expected)
    assert np.count_nonzero(sam_shapes.in_ellipse((0, 0, 64, 32), (64, 64))) == pytest.approx(
        np.pi * 512, rel=0.02
    )


# ------------------------------------------------------------------ training


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(_shapes, "COUNT", 2)
    monkeypatch.setattr(_shapes, "WORKERS", 0)
    monkeypatch.setattr(sam_shapes, "BATCH", 4)
    monkeypatch.setattr(sam_shapes, "TEXTS", 1)
    measure = sam_shapes.measure
    found = {}

    def once(model, count=None, **options):
        """Measure on two scenes, and only the first time: trainings so short ask for it after every step."""
        key = tuple(options.items())
        found[key] = found.get(key) or measure(model, 2, **options)
        return found[key]

    monkeypatch.setattr(sam_shapes, "measure", once)


def test_two_seeds_train_and_neither_loads(tmp_path, capsys, quick, monkeypatch):
    monkeypatch.setattr(sam_shapes, "TRUNK_STEPS", 1)
    monkeypatch.setattr(sam_shapes, "PHRASE_STEPS", 1)
    weights = {}
    shipped = mv.load(NAME).state_dict()
    for seed in (1, 2):
        out = tmp_path / str(seed)
        assert cli.main(["train", NAME, "--steps", "6", "--seed", str(seed), "--out", str(out)]) == 0
        assert capsys.readouterr().out.startswith("held-out 1 click ")
        metrics = json.loads((out / "metrics.json").read_text())
        assert (metrics["seed"], metrics["steps"], metrics["recipe"]) == (seed, 6, NAME)
        weights[seed] = mv.load(out).state_dict()
        losses = json.loads((out / "clicks" / train.HISTORY).read_text())["loss"]
        assert np.mean(losses[-3:]) < losses[0]
    for key, value in weights[1].items():
        if value.ndim > 1:
            assert not np.array_equal(value, weights[2][key]), key
            assert np.abs(value - shipped[key]).mean() > 0.1 * np.abs(shipped[key]).mean(), key


def test_the_checkpoint_is_as_good_as_its_card_says():
    folder = storage.PACKAGED / NAME
    card = json.loads((folder / "card.json").read_text())
    model = mv.load(NAME)
    assert sum(p.size for p in model.parameters()) == card["parameters"]
    said = card["on 500 held-out scenes"]
    found = recipes.measure(NAME, count=30)
    assert found.pop("value") == found["1 click"]
    assert found.keys() == said.keys()
    for figure, least in AT_LEAST.items():
        assert said[figure] >= least
        assert found[figure] == pytest.approx(said[figure], abs=0.06)
    # better than what needs no learning
    assert said["1 click"] > said["similar colour around the click"]
    assert said["box"] > max(said["filled box"], said["ellipse in the box"])
    assert said["text"] > said["text: any object"]
    assert said["best of 3"] >= said["1 click"] and said["5 clicks"] > said["1 click"]
    assert (folder / storage.WEIGHTS).stat().st_size <= 810_000
    assert _shapes.seconds_alone(card) <= 900
    assert (folder / card["failures"]).exists() and card["recipe"] == f"minivis train {NAME} --seed 0"


# ------------------------------------------------------------------ the study


def test_the_study_is_complete():
    found = sam_losses.results()
    assert {subject: list(choices) for subject, choices in found.items()} == {
        subject: list(choices) for subject, choices in sam_losses.CHOICES.items()
    }
    for choices in found.values():
        for metrics in choices.values():
            assert all(len(values) == len(sam_losses.SEEDS) for values in metrics.values())


def test_a_choice_is_measured_once_and_kept(tmp_path, monkeypatch, quick):
    monkeypatch.setattr(sam_losses, "STEPS", 1)
    monkeypatch.setattr(sam_shapes, "TRUNK_STEPS", 1)
    first = _studies.measure(
        sam_losses.CHOICES, tmp_path, "loss and start", "focal and dice, named pixels", 0
    )
    assert set(first) == {*sam_losses.METRICS, "seconds"}
    monkeypatch.setattr(sam_losses, "fit", lambda *_: pytest.fail("trained again"))
    again = _studies.measure(
        sam_losses.CHOICES, tmp_path, "loss and start", "focal and dice, named pixels", 0
    )
    assert again == first
