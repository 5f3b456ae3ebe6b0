"""A published folder, loaded here, computes what transformers computed with it: outputs and every gradient.

Not here: which models there are (make_*_fixtures.py). Where torch is installed, more of them are made on the spot.
"""

import functools
import importlib
import importlib.util
import types
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import minivis as mv
from minivis.pretrained import folder as folders
from minivis.pretrained.family import Part, Stack, Transposed

HERE = Path(__file__).parent
STORED = sorted(path.parent for path in (HERE / "published").glob("*/expected.safetensors"))
MAKERS = [
    importlib.import_module(f"tests.parity.{path.stem}") for path in sorted(HERE.glob("make_*_fixtures.py"))
]
LIVE = {key: make for module in MAKERS for key, make in getattr(module, "LIVE", {}).items()}
has_torch = all(importlib.util.find_spec(name) for name in ("torch", "transformers"))


def differences(folder, dtype):
    """The largest relative error of each output, and of each gradient relative to the largest of all."""
    model = mv.from_pretrained(folder, dtype=dtype)
    expected = load_file(folder / "expected.safetensors")
    kinds = ("images", "mask", "noise", "tokens")
    inputs = [expected[f"input.{name}"] for name in kinds if f"input.{name}" in expected]
    inputs = [x.astype(dtype) if x.dtype.kind == "f" else x for x in inputs]
    prompts = {name[7:]: x for name, x in expected.items() if name.startswith("prompt.")}
    answer = functools.partial(model, **prompts) if prompts else model
    got = answers(answer, inputs, outputs(expected))
    loss = sum((y * expected[f"cotangent.{name}"].astype(dtype)).sum() for name, y in got.items())
    loss.backward()
    found = {}
    for name, y in got.items():
        assert y.dtype == dtype and y.shape == expected[f"output.{name}"].shape, name
        found[f"output.{name}"] = relative(y.numpy(), expected[f"output.{name}"])
    gradients = {name[5:]: g for name, g in expected.items() if name.startswith("grad.")}
    largest = max(np.abs(g).max() for g in gradients.values())
    for name, (ours, theirs) in paired(model, folder, gradients).items():
        assert ours.shape == theirs.shape and ours.dtype == dtype, name
        found[f"grad.{name}"] = np.abs(ours - theirs).max() / largest
    return found


def outputs(expected):
    return [name[7:] for name in expected if name.startswith("output.")]


def relative(got, expected):
    return np.abs(got - expected).max() / max(1e-30, np.abs(expected).max())


def answers(model, inputs, names):
    """{name: Tensor}; a name is a path of attributes and numbers, such as auxiliary.0.boxes."""
    if names == ["tokens"]:
        return {"tokens": model.features(*inputs)}
    found = model.both(*inputs) if "auxiliary" in names else model(*inputs)
    if "contrastive" in names:
        u, v = found.image_embeddings, found.text_embeddings
        loss = mv.losses.clip_loss(u, v, model.logit_scale)
        found = types.SimpleNamespace(contrastive=loss, **found._asdict())
    if isinstance(found, mv.Tensor):
        return {"logits": found}
    step = lambda x, piece: x[int(piece)] if piece.isdigit() else getattr(x, piece)  # noqa: E731
    return {name: functools.reduce(step, name.split("."), found) for name in names}


def paired(model, folder, gradients):
    """{our name: (our gradient, theirs)} of every parameter that learns."""
    stored = folders._stored(folder)
    family = folders._family(folder, model.published)
    wanted = folders._dialect(model, family, stored)
    pairs = {}
    for name, p in model.named_parameters():
        source = wanted[name]
        if isinstance(source, Part):
            theirs = np.split(gradients[source.name], source.count)[source.index]
        elif isinstance(source, Stack):
            theirs = np.concatenate([gradients[one] for one in source.names])
        elif isinstance(source, Transposed):
            theirs = gradients[source.name].T
        elif source in gradients or p.requires_grad:
            # no gradient: it takes no part in these outputs
            theirs = gradients.get(source, np.zeros(p.shape))
        else:
            continue
        pairs[name] = (np.zeros(p.shape, p.dtype) if p.grad is None else p.grad, theirs)
    return pairs


def assert_parity(folder):
    for dtype, tolerance in ((np.float64, 1e-6), (np.float32, 1e-4)):
        found = differences(folder, np.dtype(dtype))
        wrong = {name: float(x) for name, x in found.items() if not x <= tolerance}
        assert not wrong, f"{dtype.__name__}: {wrong}"


@pytest.mark.parametrize("folder", STORED, ids=lambda path: path.name)
def test_a_stored_model_computes_what_transformers_did(folder):
    assert_parity(folder)


def test_there_are_stored_models():
    assert len(STORED) >= 2


def test_the_comparison_sees_a_wrong_weight(tmp_path):
    from safetensors.numpy import save_file

    source = HERE / "published" / "resnet"
    weights = load_file(source / "model.safetensors")
    name = next(n for n, x in weights.items() if x.ndim == 2)
    save_file({**weights, name: weights[name] * 1.001}, tmp_path / "model.safetensors")
    for other in ("config.json", "expected.safetensors"):
        (tmp_path / other).write_bytes((source / other).read_bytes())
    with pytest.raises(AssertionError):
        assert_parity(tmp_path)


@pytest.mark.skipif(not has_torch, reason="needs the parity extra")
@pytest.mark.parametrize("key", LIVE)
def test_a_model_made_now_computes_the_same(key, tmp_path):
    LIVE[key](tmp_path)
    assert_parity(tmp_path)
