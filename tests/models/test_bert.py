"""BERT: the published sizes, the equations, padding, and what is refused.

Not here: equality with transformers (tests/parity/test_bert_parity.py), the training recipe.
"""

import numpy as np
import pytest

import minivis as mv
from minivis import models, nn
from minivis.losses import mlm_loss
from minivis.models import BERT
from tests import strict

RNG = np.random.default_rng(5)


def small(**options):
    return BERT(**{"vocabulary": 11, "length": 9, "width": 8, "depth": 2, "heads": 2, **options})


def texts(*shape):
    return RNG.integers(0, 11, shape or (3, 7))


@pytest.mark.parametrize(
    ("build", "options", "expected"),
    [
        (models.bert_base, {}, 109_514_298),
        (models.bert_base, {"head": False, "pooler": True}, 109_482_240),
        (models.bert_large, {}, 335_174_458),
    ],
)
def test_published_sizes_have_their_exact_number_of_parameters(build, options, expected):
    with nn.init.skip_init():
        model = build(**options)
    assert sum(p.size for p in model.parameters()) == expected


def test_the_equations_by_hand():
    model = small(depth=1)
    ids = texts()
    types = RNG.integers(0, 2, ids.shape)
    model.head.bias.data = RNG.standard_normal(11).astype(np.float32)
    z = model.words.weight.data[ids] + model.positions.weight.data[:7] + model.types.weight.data[types]
    z = model.encoder(model.norm(z)).numpy()
    x = mv.ops.gelu(z @ model.head.dense.weight.data.T + model.head.dense.bias.data)
    expected = model.head.norm(x).numpy() @ model.words.weight.data.T + model.head.bias.data
    np.testing.assert_allclose(model(ids, types=types).numpy(), expected, atol=1e-6)


def test_padding_has_no_influence():
    model = small()
    ids = texts()
    valid = np.arange(7) < np.array([[7], [4], [1]])
    changed = np.where(valid, ids, (ids + 1) % 11)
    first, second = (model(x, valid).numpy()[valid] for x in (ids, changed))
    np.testing.assert_array_equal(first, second)
    alone = model(ids[1:2, :4]).numpy()[0]
    np.testing.assert_allclose(model(ids, valid).numpy()[1, :4], alone, atol=1e-6)


def test_lists_are_taken_as_arrays():
    ids = texts(2, 4)
    valid = np.arange(4) < [[4], [3]]
    np.testing.assert_array_equal(small()(ids.tolist(), valid.tolist()).numpy(), small()(ids, valid).numpy())


def test_every_place_sees_both_sides():
    model = small()
    ids = texts(1, 7)
    other = ids.copy()
    other[0, 3] = (ids[0, 3] + 1) % 11
    moved = np.abs(model(ids).numpy() - model(other).numpy()).max(axis=-1)[0]
    assert (moved > 1e-5).all()


def test_the_embeddings_are_used_twice():
    model = small()
    ids = texts()
    assert not any("decoder" in name for name, _ in model.named_parameters())
    mlm_loss(model(ids), ids, ids == ids[0, 0]).backward()
    absent = sorted(set(range(11)) - set(ids.ravel().tolist()))
    assert np.abs(model.words.weight.grad[absent]).max() > 0  # from the head
    assert all(p.grad is not None for p in model.parameters())


def test_sine_positions_have_no_parameters_and_tell_places_apart():
    model = small(positions="sine", types=0)
    assert sum(p.size for p in small(types=0).parameters()) - sum(p.size for p in model.parameters()) == 9 * 8
    y = model(np.full((1, 5), 4)).numpy()[0]
    assert np.abs(np.diff(y, axis=0)).max() > 1e-5


def test_without_positions_a_text_is_a_bag_of_words():
    model = small()
    ids = texts(2, 7)
    model.positions.weight.data[...] = 0
    order = RNG.permutation(7)
    np.testing.assert_allclose(model(ids).numpy()[:, order], model(ids[:, order]).numpy(), atol=1e-6)


def test_pre_norm_dropout_and_what_is_shown():
    model = small(norm_first=True, dropout=0.5, attention_dropout=0.25)
    assert model.encoder.norm is not None and small().encoder.norm is None
    assert {layer.self_attn.dropout.p for layer in model.encoder.layers} == {0.25}
    ids = texts()
    model.train()
    assert not np.array_equal(model(ids).numpy(), model(ids).numpy())
    model.eval()
    with nn.looking(model) as seen:
        model(ids)
    assert seen["encoder.layers.1.self_attn.weights"].shape == (3, 2, 7, 7)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dtypes(dtype):
    model = small(pooler=True).to(dtype)
    assert model(texts()).dtype == dtype and model.pooled(texts()).dtype == dtype
    assert small(head=False)(texts()).shape == (3, 7, 8)
    assert model.pooled(texts()).shape == (3, 8)


def test_it_runs_on_the_pretend_gpu():
    strict.install()
    model = small().to("strict")
    valid = np.arange(7) < np.array([[7], [4], [1]])
    chosen = np.arange(21).reshape(3, 7) % 3 == 0
    ids, valid, chosen = (mv.to_device(x, "strict") for x in (texts(), valid, chosen))
    logits = model(ids, valid)
    mlm_loss(logits, ids, chosen).backward()
    assert logits.shape == (3, 7, 11) and all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: small(width=7), "^MultiHeadAttention: 2 heads do not divide embed_dim 7"),
        (lambda: small(depth=0), "^BERT: depth must be a whole number of at least 1, got 0"),
        (lambda: small(types=-1), "^BERT: types must be a whole number of at least 0, got -1"),
        (lambda: small(types=1.5), "^BERT: types must be a whole number of at least 0, got 1.5"),
        (lambda: small(positions="none"), '^BERT: positions must be "learned" or "sine", got \'none\''),
        (
            lambda: small()(texts(7)),
            r"^BERT: ids, valid and types must have one shape \(B, N\) \(ids: \(7,\)\)",
        ),
        (
            lambda: small()(texts(2, 7), np.ones((2, 6), bool)),
            r"^BERT: ids, valid and types must have one shape \(B, N\) \(ids: \(2, 7\), valid: \(2, 6\)\)",
        ),
        (lambda: small()(texts(1, 10)), r"^BERT: a text has at most 9 words \(ids: \(1, 10\)\)"),
        (lambda: small(types=0)(texts(), types=texts()), "^BERT: the model has no embeddings of types"),
        (lambda: small().pooled(texts()), "^BERT: there is no pooler"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
