"""The comparison of SETR's decoders: its results are complete and say what they are quoted for, and it can be measured again.

Not here: the network (tests/models/test_setr.py), its training and checkpoint (test_shapes.py).
"""

import json

import numpy as np
import pytest

from minivis import storage
from minivis.data import shapes
from minivis.models import MLAHead, NaiveHead, PUPHead
from minivis.recipes import _shapes, _studies, setr_shapes


def encoder(rng):
    return setr_shapes.small_encoder(_shapes.small_backbone(rng, widths=(8, 8)), rng)


def test_the_results_are_complete():
    found = setr_shapes.results()
    assert list(found) == ["naive", "pup", "mla"]
    for numbers in found.values():
        assert set(numbers) == {"mIoU", "at borders", "elsewhere", "parameters of the decoder", "seconds"}
        assert all(len(values) == len(setr_shapes.SEEDS) for values in numbers.values())


def test_progressive_upsampling_names_most_pixels_and_the_largest_decoder_does_not():
    naive, pup, mla = (setr_shapes.results()[name] for name in ("naive", "pup", "mla"))
    for figure in ("mIoU", "at borders"):
        assert min(pup[figure]) > max(naive[figure]) > min(naive[figure]) > max(mla[figure])
    assert (
        naive["parameters of the decoder"]
        < pup["parameters of the decoder"]
        < mla["parameters of the decoder"]
    )


def test_the_decoders_differ_and_the_encoder_is_taken_over():
    rng = np.random.default_rng(0)
    shared = encoder(rng)
    kinds = {"naive": NaiveHead, "pup": PUPHead, "mla": MLAHead}
    for name, kind in kinds.items():
        model = setr_shapes.small_setr(shared, rng, name)
        assert model.encoder is shared and isinstance(model.head, kind)
        assert model(np.zeros((1, 3, 64, 64), np.float32)).shape == (1, 9, 64, 64)
    assert len(model.head.norms) == 4 and shared.prefix == 0


def test_neighbours_begin_with_codes_that_are_alike():
    codes = encoder(np.random.default_rng(0)).pos_embed.data[0].reshape(8, 8, -1)
    near, far = ((codes[3, 3] * codes[place]).sum() for place in ((3, 4), (3, 7)))
    assert near > 1.2 * far


def test_what_was_pretrained_learns_more_slowly():
    rng = np.random.default_rng(0)
    model = setr_shapes.small_setr(encoder(rng), rng)
    rates = {}
    for group in setr_shapes._groups(model):
        rates |= {id(p): group["lr"] for p in group["params"]}
    assert len(rates) == len(model.parameters())
    for name, p in model.named_parameters():
        assert rates[id(p)] == (2e-4 if "backbone" in name else 2e-3), name


@pytest.fixture
def short(monkeypatch):
    drawn = _shapes.fresh_scenes
    monkeypatch.setattr(_shapes, "WORKERS", 0)
    monkeypatch.setattr(setr_shapes, "STEPS", 3)
    monkeypatch.setattr(setr_shapes, "BATCH", 4)
    monkeypatch.setattr(setr_shapes, "WIDTHS", (8, 8))
    monkeypatch.setattr(setr_shapes, "COMPARED", {"steps": 2, "scenes": 8})
    monkeypatch.setattr(_shapes, "fresh_scenes", lambda *_, **options: drawn(4, **options))
    setr_shapes._pool.cache_clear()
    yield
    setr_shapes._pool.cache_clear()


def test_a_choice_is_measured_once_and_kept(tmp_path, monkeypatch, short):
    setr_shapes.backbone(tmp_path)
    first = _studies.measure(setr_shapes.CHOICES, tmp_path, "decoders", "mla", 0)
    assert 0 <= first["mIoU"] <= 1 and first["parameters of the decoder"] > 1000
    monkeypatch.setattr(setr_shapes, "_fit", lambda *_, **__: pytest.fail("trained again"))
    assert _studies.measure(setr_shapes.CHOICES, tmp_path, "decoders", "mla", 0) == first
    assert len(shapes.CLASSES) == 9


def test_the_card_compares_with_simpler_answers():
    card = json.loads((storage.PACKAGED / "setr-shapes" / "card.json").read_text())
    simpler = card["baselines, mIoU on the same scenes"]
    assert set(simpler) == {"most frequent class", "the backbone and one linear layer"}
    assert max(simpler.values()) < card["on 500 held-out scenes"]["mIoU"]
