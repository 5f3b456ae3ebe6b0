"""The recipe sagan-digits: two seeds learn, a resume is exact, the shipped generator is as good as its card says.

Not here: what every recipe promises (test_recipes.py), a full training (`minivis train sagan-digits`).
"""

import json

import numpy as np
import pytest

import minivis as mv
from minivis import cli, recipes, storage, train
from minivis.data import digits
from minivis.recipes import sagan_digits

NAME = "sagan-digits"


@pytest.fixture
def few(monkeypatch):
    """Recipes that measure themselves on a few drawings only."""
    monkeypatch.setattr(sagan_digits, "COUNT", 20)


def test_two_seeds_train_and_say_what_they_reach(tmp_path, capsys, few, monkeypatch):
    monkeypatch.setattr(sagan_digits, "BATCH", 16)
    weights = []
    for seed in (1, 2):
        out = tmp_path / str(seed)
        assert cli.main(["train", NAME, "--steps", "12", "--seed", str(seed), "--out", str(out)]) == 0
        assert capsys.readouterr().out.startswith("drawn digits read as meant ")
        metrics = json.loads((out / "metrics.json").read_text())
        assert (metrics["seed"], metrics["steps"], metrics["recipe"], metrics["n"]) == (seed, 12, NAME, 20)
        history = json.loads((out / train.HISTORY).read_text())
        # the discriminator learns to tell them apart
        assert np.mean(history["discriminator_loss"][-3:]) < 0.8 * history["discriminator_loss"][0]
        model = mv.load(out)
        weights.append(model.state_dict())
        with recipes.one_thread():  # as in the training: the order of sums depends on the number of threads
            again = sagan_digits.measure(model, 20)
        assert {name: metrics[name] for name in again} == again
    assert not np.array_equal(
        weights[0]["generator.conv.layer.weight"], weights[1]["generator.conv.layer.weight"]
    )


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path, few, monkeypatch):
    monkeypatch.setattr(sagan_digits, "BATCH", 4)
    recipes.run(NAME, tmp_path / "whole", steps=4)
    real = sagan_digits.generator_loss
    calls = []

    def stopping(*batch):
        calls.append(None)
        if len(calls) == 3:
            raise RuntimeError("the power is cut")
        return real(*batch)

    monkeypatch.setattr(sagan_digits, "generator_loss", stopping)
    keep = {"save_every": 0}
    original = sagan_digits.fit
    monkeypatch.setattr(sagan_digits, "fit", lambda *a, **k: original(*a, **{**k, **keep}))
    with pytest.raises(RuntimeError, match="power"):
        recipes.run(NAME, tmp_path / "parts", steps=4)
    monkeypatch.setattr(sagan_digits, "generator_loss", real)
    recipes.run(NAME, tmp_path / "parts", steps=4, resume=True)
    whole, parts = ((tmp_path / run / storage.WEIGHTS).read_bytes() for run in ("whole", "parts"))
    assert whole == parts


def test_the_shipped_generator_is_as_good_as_its_card_says():
    folder = storage.PACKAGED / NAME
    card = json.loads((folder / "card.json").read_text())
    model = mv.load(NAME)
    assert sum(p.size for p in model.parameters()) == card["parameters"]
    found = sagan_digits.measure(model)
    said = card["500 drawn digits beside 360 held-out ones"]
    assert found == pytest.approx(said, rel=5e-3, abs=4e-3)
    assert found["value"] >= 0.95 and found["recall"] >= 0.35
    assert sagan_digits.real_digits() == pytest.approx(card["500 training digits in their place"], rel=1e-3)
    # it draws no training digit by heart: its drawings are not nearer to them than new digits are
    assert (
        found["nearest training digit"]
        > 0.8 * card["500 training digits in their place"]["nearest training digit"]
    )
    assert (folder / storage.WEIGHTS).stat().st_size <= 500_000


def test_other_noise_gives_other_digits_of_the_same_quality():
    model = mv.load(NAME)
    one, other, first = (sagan_digits.drawn(model, 50, seed)[0] for seed in (None, 5, 0))
    assert not np.array_equal(one, first)
    assert not np.array_equal(one, other)
    assert sagan_digits.measure(model, 100, seed=5)["value"] >= 0.9


def test_the_judge_reads_real_digits():
    images, labels = digits.load("held-out")
    features, logits = sagan_digits.judged(images)
    assert features.shape == (360, 64) and (logits.argmax(1) == labels).mean() > 0.99


def test_too_few_drawn_digits_have_no_third_neighbour():
    with pytest.raises(ValueError, match="recipes: sagan-digits needs a count of at least 4, .* got 3"):
        recipes.measure("sagan-digits", 3)
