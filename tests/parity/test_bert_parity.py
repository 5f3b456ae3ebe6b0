"""BERT, filled with the weights of a BertForMaskedLM, computes its logits, its loss and every gradient.

Not here: the model by itself (tests/models/test_bert.py).
"""

import importlib.util

import numpy as np
import pytest
from safetensors.numpy import load_file

import minivis as mv
from minivis.losses import mlm_loss
from minivis.pretrained.family import names_of, translate
from tests.parity.make_bert_fixtures import CASES, SMALL, STORED, made

LAYER = "bert.encoder.layer.*."
NAMES = [
    ("words.weight", "bert.embeddings.word_embeddings.weight"),
    ("positions.weight", "bert.embeddings.position_embeddings.weight"),
    ("types.weight", "bert.embeddings.token_type_embeddings.weight"),
    ("norm.*", "bert.embeddings.LayerNorm.*"),
    ("encoder.layers.*.self_attn.out.*", LAYER + "attention.output.dense.*"),
    ("encoder.layers.*.self_attn.*.*", LAYER + "attention.self.*.*"),
    ("encoder.layers.*.norm1.*", LAYER + "attention.output.LayerNorm.*"),
    ("encoder.layers.*.mlp.fc1.*", LAYER + "intermediate.dense.*"),
    ("encoder.layers.*.mlp.fc2.*", LAYER + "output.dense.*"),
    ("encoder.layers.*.norm2.*", LAYER + "output.LayerNorm.*"),
    ("head.dense.*", "cls.predictions.transform.dense.*"),
    ("head.norm.*", "cls.predictions.transform.LayerNorm.*"),
    ("head.bias", "cls.predictions.bias"),
]
has_torch = all(importlib.util.find_spec(name) for name in ("torch", "transformers"))


def ours(options, arrays, dtype):
    """Our model with the same weights, and the names of these."""
    given = {**SMALL, "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12, **options}
    model = mv.models.BERT(
        vocabulary=given["vocab_size"],
        length=given["max_position_embeddings"],
        width=given["hidden_size"],
        depth=given["num_hidden_layers"],
        heads=given["num_attention_heads"],
        mlp_ratio=given["intermediate_size"] / given["hidden_size"],
        types=given["type_vocab_size"],
        activation={"gelu": "gelu", "gelu_new": "gelu_tanh"}[given["hidden_act"]],
        eps=given["layer_norm_eps"],
    )
    names = translate(names_of(model), NAMES)
    model.load_state_dict({name: arrays[f"weight.{theirs}"] for name, theirs in names.items()}, assign=True)
    return model.to(dtype), names


def assert_equal(options, arrays):
    batch = {name[6:]: x for name, x in arrays.items() if name.startswith("batch.")}
    weights = {name for name in arrays if name.startswith("weight.")}
    for dtype, tolerance in ((np.float64, 1e-6), (np.float32, 1e-4)):
        model, names = ours(options, arrays, dtype)
        assert {f"weight.{name}" for name in names.values()} == weights, "every weight is used once"
        logits = model(batch["ids"], batch["valid"], batch["types"])
        loss = mlm_loss(logits, batch["targets"], batch["chosen"])
        loss.backward()
        assert logits.dtype == dtype
        valid = batch["valid"]
        compared = {
            "logits": (logits.numpy()[valid], arrays["logits"][valid]),
            "loss": (loss.numpy(), arrays["loss"]),
        }
        for name, (got, expected) in compared.items():
            assert np.abs(got - expected).max() <= tolerance * np.abs(expected).max(), name
        largest = max(np.abs(arrays[f"grad.{name}"]).max() for name in names.values())
        for name, p in model.named_parameters():
            assert np.abs(p.grad - arrays[f"grad.{names[name]}"]).max() <= tolerance * largest, name


def test_the_stored_model():
    assert_equal({}, load_file(STORED))


def test_the_comparison_sees_a_wrong_weight():
    arrays = load_file(STORED)
    name = "weight.cls.predictions.transform.LayerNorm.weight"
    with pytest.raises(AssertionError):
        assert_equal({}, {**arrays, name: arrays[name] * 1.001})


@pytest.mark.skipif(not has_torch, reason="needs the parity extra")
@pytest.mark.parametrize("case", CASES)
def test_a_model_made_now(case):
    options, seed = CASES[case]
    assert_equal(options, made(options, seed))
