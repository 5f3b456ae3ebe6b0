"""The packaged models and new trainings know their classes, and how a photo becomes such a picture as they were trained on.

Not here: how notes are saved and read (test_storage.py), predictions (pretrained/test_prediction.py).
"""

import json

import numpy as np
import pytest

from minivis import storage
from minivis.data import digits, shapes
from minivis.model_notes import written_notes
from minivis.pretrained.own import NOT_NAMED
from minivis.recipes import _notes

NAMED = [name for name in storage.names() if name not in NOT_NAMED]


@pytest.mark.parametrize("name", NAMED)
def test_a_packaged_model_has_the_notes_of_its_recipe(name):
    model = storage.load(name)
    config = json.loads((storage.PACKAGED / name / "config.json").read_text())
    told = {note: config[note] for note in ("labels", "things", "preprocess") if note in config}
    assert written_notes(model) == (told, []) and told["preprocess"]["size"] in ([8, 8], [16, 16], [64, 64])
    _notes.NOTES[name.rpartition("-")[2]](model)
    assert written_notes(model)[0] == told
    if name != "sam-shapes":
        assert set(model.labels.values()) <= {*shapes.CLASSES, *digits.CLASSES, "background"}


def test_a_photo_of_ink_on_paper_becomes_a_digit():
    photo = np.random.default_rng(0).random((3, 8, 8)).astype(np.float32)
    ink = 1 - (np.rint(photo * 255) / 255).mean(axis=0)
    for name in ("vit-digits", "cnn-digits"):
        x = storage.load(name).preprocess(photo)
        assert x.shape == (1, 1, 8, 8) and x.dtype == np.float32
        np.testing.assert_allclose(x[0, 0], ink, atol=1e-6)
    x = storage.load("lenet-digits").preprocess(photo)
    expected = digits.lenet_levels(digits.enlarge(ink[None, None].astype(np.float32)))
    np.testing.assert_allclose(x, expected, atol=1e-5)
    assert storage.load("lenet-digits").preprocess.batch([photo, photo])[0].shape == (2, 1, 32, 32)


def test_a_model_that_names_nothing_gets_no_notes(tmp_path):
    storage.save(storage.load("mae-shapes"), tmp_path)
    before = (tmp_path / "config.json").read_bytes()
    _notes.add_notes("mae-shapes", tmp_path)
    assert (tmp_path / "config.json").read_bytes() == before
