"""The recipe on captions: its batches and captions, that a small training learns, and the checkpoint as good as its card says.

Not here: a full training (`minivis train clip-shapes`), the model by itself (tests/models/test_clip.py).
"""

import json
import math

import numpy as np
import pytest

import minivis as mv
from minivis import optim, recipes, storage
from minivis.data import DataLoader, shapes
from minivis.data.loader import stack
from minivis.recipes import _shapes, _studies, clip_shapes, contrast
from minivis.train import fit

NAME = "clip-shapes"
# what the checkpoint reaches on 500 held-out scenes, with some room
AT_LEAST = {"retrieval": 0.9, "colour": 0.93, "shape": 0.7, "texture": 0.4}


def scenes(count, seed=0):
    return shapes.Scenes(count, "train", seed, objects=1, sample=clip_shapes.with_caption)


def test_every_caption_of_one_shape_is_listed_once():
    captions = clip_shapes.captions()
    assert len(set(captions)) == len(captions) == 8 * 4 * 6 * 7
    drawn = shapes.Scenes(60, "train", 3, objects=1)
    assert all(drawn.scene(i).caption in captions for i in range(60))
    assert clip_shapes.encoded(captions).shape == (1344, clip_shapes.LENGTH)


def test_a_batch_has_few_grounds():
    drawn = scenes(clip_shapes.DRAWN)
    samples = [drawn[i] for i in range(clip_shapes.DRAWN)]
    images, tokens = clip_shapes.same_ground(samples)
    assert images.shape == (clip_shapes.BATCH, 3, 64, 64)
    first = clip_shapes.TOKENIZER.decode(samples[0][1]).split(" on ")[1]
    grounds = [clip_shapes.TOKENIZER.decode(row).split(" on ")[1] for row in tokens]
    assert grounds[0] == first
    changes = sum(a != b for a, b in zip(grounds, grounds[1:], strict=False))
    assert changes == len(set(grounds)) - 1 <= 3


def test_the_question_of_textures_is_asked_of_four_captions():
    """An untrained model does not know: CLIP's loss, and ln 4 more or less."""
    rng = np.random.default_rng(0)
    model = clip_shapes.small_clip(_shapes.small_backbone(rng, (1, 1), (8, 8)), rng)
    model.logit_scale.data[...] = -4  # all cosines the same
    drawn = scenes(4)
    batch = stack([drawn[i] for i in range(4)])
    with mv.no_grad():
        more = clip_shapes.caption_and_texture_loss(model, *batch) - clip_shapes.caption_loss(model, *batch)
    assert float(more) == pytest.approx(math.log(4), abs=0.03)


def test_zero_shot_needs_texts_for_every_word():
    with pytest.raises(
        ValueError, match="^zero_shot: attribute must be one of colour, shape, texture, got 'size'"
    ):
        clip_shapes.zero_shot(None, "size")
    with pytest.raises(ValueError, match="needs a text that contains it"):
        clip_shapes.zero_shot(None, "colour", ["a red plain ring on sand"])


@pytest.mark.parametrize("seed", [1, 2])
def test_a_small_training_learns_the_captions_it_sees(seed):
    rng = np.random.default_rng(seed)
    model = clip_shapes.small_clip(_shapes.small_backbone(rng, (1, 1), (16, 16)), rng)
    drawn = scenes(8, seed)
    batches = DataLoader([drawn[i] for i in range(8)], 8, rng=rng, collate=stack)
    optimizer = optim.AdamW(optim.decay_groups(model, 0.05), lr=2e-3, betas=(0.9, 0.98))
    history = fit(model, batches, clip_shapes.caption_loss, optimizer, 16, clip=1.0, every=1)
    assert history["loss"][-1] < 0.6 * history["loss"][0]


def test_a_run_writes_a_model_and_its_figures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_shapes, "COUNT", 4)
    monkeypatch.setattr(_shapes, "WORKERS", 0)
    monkeypatch.setattr(clip_shapes, "TRUNK_STEPS", 1)
    monkeypatch.setattr(clip_shapes, "VALIDATION", 3)
    monkeypatch.setattr(clip_shapes, "DRAWN", 8)
    monkeypatch.setattr(clip_shapes, "BATCH", 4)
    metrics = recipes.run(NAME, tmp_path, seed=3, steps=2)
    assert capsys.readouterr().out.startswith("held-out retrieval ")
    assert (metrics["recipe"], metrics["seed"], metrics["steps"]) == (NAME, 3, 2)
    assert {"retrieval", "image to text", "text to image", "colour", "shape", "texture"} < set(
        metrics["figures"]
    )
    out = mv.load(tmp_path)(
        np.zeros((2, 3, 64, 64), np.float32), clip_shapes.encoded(["a red plain ring on sand"])
    )
    assert out.logits_per_image.shape == (2, 1)


def test_the_checkpoint_is_as_good_as_its_card_says():
    folder = storage.PACKAGED / NAME
    card = json.loads((folder / "card.json").read_text())
    model = mv.load(NAME)
    assert sum(p.size for p in model.parameters()) == card["parameters"]
    said = card["on 500 held-out scenes"]
    found = clip_shapes.measure(model, 64)
    for name, least in AT_LEAST.items():
        assert said[name] >= least
        assert found[name] == pytest.approx(said[name], abs=0.2)  # three standard errors of 64 scenes
    assert (folder / storage.WEIGHTS).stat().st_size <= 1_000_000
    assert _shapes.seconds_alone(card) <= 900


def test_scenes_with_a_seed_are_others():
    model = mv.load(NAME)
    first, second = (clip_shapes.measure(model, 3, seed=seed) for seed in (None, 0))
    assert list(first)[0] == "value" and set(first) == set(second)


# ------------------------------------------------------------------ the study


def test_the_results_of_the_study_are_complete():
    found = contrast.results()
    assert {subject: list(choices) for subject, choices in found.items()} == {
        subject: list(choices) for subject, choices in contrast.CHOICES.items()
    }
    for choices in found.values():
        for metrics in choices.values():
            assert {"retrieval", "colour", "shape", "texture", "factor"} < set(metrics)
            assert all(len(values) == len(contrast.SEEDS) for values in metrics.values())


def test_measuring_again_is_reading(tmp_path, monkeypatch):
    monkeypatch.setattr(contrast, "PICTURES", 64)
    monkeypatch.setitem(
        contrast.CHOICES["temperature"], "a factor of 1", (contrast.learn, {"factor": 1.0, "batch": 32})
    )
    monkeypatch.setattr(contrast, "HELD_OUT", 4)
    monkeypatch.setattr(clip_shapes, "TRUNK_STEPS", 1)
    monkeypatch.setattr(_shapes, "WORKERS", 0)
    first = _studies.measure(contrast.CHOICES, tmp_path, "temperature", "a factor of 1", 0)
    assert 0 <= first["retrieval"] <= 1 and first["factor"] == 1
    monkeypatch.setattr(contrast, "fit", lambda *_, **__: pytest.fail("trained again"))
    assert _studies.measure(contrast.CHOICES, tmp_path, "temperature", "a factor of 1", 0) == first
