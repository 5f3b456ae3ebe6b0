"""State dicts of PyTorch without PyTorch: names, packing, dtypes and errors, with stand-ins for tensors.

Not here: real tensors (tests/parity/test_torch_states_parity.py).
"""

import sys
import types

import numpy as np
import pytest

import minivis as mv
from minivis import models, nn
from tests.parity.exported_rows import ROWS, randomised, vit


class Tensor:
    """As much of a tensor as is needed: what `detach`, `cpu` and `float` give, and `numpy` where NumPy has the dtype."""

    def __init__(self, array, dtype="torch.float32"):
        self.array = np.asarray(array)
        self.dtype = dtype

    def detach(self):
        return self

    def cpu(self):
        return self

    def float(self):
        return Tensor(self.array.astype(np.float32))

    def numpy(self):
        if self.dtype == "torch.bfloat16":
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.array


@pytest.fixture
def torch(monkeypatch):
    """A stand-in for the module."""
    module = types.SimpleNamespace(from_numpy=Tensor)
    monkeypatch.setitem(sys.modules, "torch", module)


def tensors(state):
    return {name: Tensor(x) for name, x in state.items()}


def plain(rng):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, rng=rng), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2, rng=rng)
    )


MADE = {
    "plain": (plain, (None, "torch")),
    "attention": (lambda rng: nn.MultiHeadAttention(8, 2, rng=rng), (None, "torch")),
    "encoder": (
        lambda rng: nn.TransformerEncoder([nn.TransformerEncoderLayer(8, 2, 12, rng=rng)]),
        (None, "torch"),
    ),
    "decoder": (lambda rng: nn.TransformerDecoderLayer(8, 2, 12, rng=rng), (None, "torch")),
    "cnn": (lambda rng: models.CNN(1, (4,), 1, 2, rng=rng), (None, "torch")),
    "vit": (vit, (None, "torch", "hf", "timm", "tv")),
    "swin": (ROWS["swin"].make, (None, "hf", "ms", "timm", "tv")),
    "detr": (ROWS["detr"].make, (None, "torch", "hf", "hf_timm", "fb")),
    "clip": (ROWS["clip"].make, (None, "hf", "openai")),
}


@pytest.mark.parametrize("name", MADE)
def test_weights_go_and_come_back_by_every_name(name, torch):
    make, dialects = MADE[name]
    rng = np.random.default_rng(0)
    model = randomised(make(rng), rng)
    own = {name: x.copy() for name, x in model.state_dict().items()}
    for dialect in dialects:
        state = mv.to_torch_state(model, dialect)
        assert any((own[name] != x).any() for name, x in randomised(model, rng).state_dict().items())
        assert mv.from_torch(state, into=model) is model
        assert all(np.array_equal(own[name], x) for name, x in model.state_dict().items()), dialect


def test_torchs_attention_has_one_array_for_three_projections(torch):
    layer = randomised(nn.MultiHeadAttention(8, 2), np.random.default_rng(0))
    state = mv.to_torch_state(layer, "torch")
    assert list(state) == ["in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"]
    parts = [getattr(layer, role).weight.numpy() for role in ("query", "key", "value")]
    assert np.array_equal(state["in_proj_weight"].array, np.concatenate(parts))


def test_torchs_transformer_layers_have_their_own_names(torch):
    layer = nn.TransformerDecoderLayer(8, 2, 12)
    names = mv.to_torch_state(nn.Sequential(layer), "torch")
    assert {n.removeprefix("0.").rsplit(".", 1)[0] for n in names if "in_proj" not in n} == {
        "self_attn.out_proj", "multihead_attn.out_proj", "linear1", "linear2", "norm1", "norm2", "norm3",
    }  # fmt: skip
    assert {n for n in names if "in_proj" in n} == {
        f"0.{part}.in_proj_{kind}" for part in ("self_attn", "multihead_attn") for kind in ("weight", "bias")
    }


def test_a_state_shares_no_memory_with_the_model(torch):
    for dialect in (None, "torch"):
        layer = nn.Linear(3, 2, rng=0)
        state = mv.to_torch_state(layer, dialect)
        state["weight"].array[:] = 7
        assert not (layer.weight.numpy() == 7).any()
        mv.from_torch(state, into=layer)
        state["weight"].array[:] = 8
        assert (layer.weight.numpy() == 7).all()


def test_bfloat16_becomes_the_dtype_of_the_model():
    state = {
        "weight": Tensor(np.full((2, 3), 1.5), "torch.bfloat16"),
        "bias": Tensor(np.zeros(2), "torch.bfloat16"),
    }
    for dtype in ("float32", "float64", "float16"):
        layer = mv.from_torch(state, into=nn.Linear(3, 2).to(dtype))
        assert layer.weight.dtype == dtype and (layer.weight.numpy() == 1.5).all()


def test_a_module_may_be_given_itself():
    source = types.SimpleNamespace(
        state_dict=lambda: tensors({"weight": np.ones((2, 3)), "bias": np.zeros(2)})
    )
    assert (mv.from_torch(source, into=nn.Linear(3, 2)).weight.numpy() == 1).all()


def test_the_prefixes_of_wrappers_are_taken_off():
    for prefix in ("module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."):
        state = tensors({f"{prefix}weight": np.ones((2, 3)), f"{prefix}bias": np.zeros(2)})
        assert (mv.from_torch(state, into=nn.Linear(3, 2)).weight.numpy() == 1).all()


def test_counters_of_batch_norms_may_be_there_or_not():
    norm = nn.BatchNorm2d(2)
    norm.num_batches_tracked += 3
    state = {n: np.full(2, 0.5) for n in ("weight", "bias", "running_mean", "running_var")}
    assert int(mv.from_torch(tensors(state), into=norm).num_batches_tracked) == 3
    mv.from_torch(tensors({**state, "num_batches_tracked": np.int64(9)}), into=norm)
    assert int(norm.num_batches_tracked) == 9 and (norm.running_var == 0.5).all()
    frozen = nn.FrozenBatchNorm2d(2)
    mv.from_torch(tensors({**state, "num_batches_tracked": np.int64(9)}), into=frozen)
    assert (frozen.running_mean == 0.5).all()


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"weight": np.ones((2, 3))}, "it lacks bias"),
        ({"weight": np.ones((2, 3)), "bias": np.ones(2), "scale": np.ones(2)}, "it also has scale"),
        ({"weight": np.ones((3, 2)), "bias": np.ones(2)}, r"of another shape than expected are weight \(\(3, 2\), not \(2, 3\)\)"),
        ({"weight": np.ones((2, 3)), "bias": np.ones(2, int)}, r"not stored as float16, bfloat16, float32 or float64 are bias \(int64\)"),
        ({"conv.kernel": np.ones(3)}, r"none of the 1 name \(conv\.kernel\) is one of this Linear \(weight, bias\)"),
        ({}, "it lacks weight, bias"),
        ({"weight": np.full((2, 3), 1e39), "bias": np.ones(2)}, "weight holds numbers too large for float32"),
    ],
    ids=["lacks", "also", "shape", "kind", "names", "empty", "large"],
)  # fmt: skip
def test_what_does_not_fit_is_named_and_nothing_is_loaded(state, said):
    layer = nn.Linear(3, 2, rng=0)
    before = {name: x.copy() for name, x in layer.state_dict().items()}
    with pytest.raises(ValueError, match=f"^from_torch: .*{said}"):
        mv.from_torch(tensors(state), into=layer)
    assert all(np.array_equal(before[name], x) for name, x in layer.state_dict().items())


def test_what_is_no_state_is_refused_with_what_to_give():
    layer = nn.Linear(3, 2)
    with pytest.raises(
        ValueError, match=r"more than weights in it \(epoch, model\).*perhaps state\['model'\]"
    ):
        mv.from_torch({"epoch": 3, "model": tensors(layer.state_dict())}, into=layer)
    with pytest.raises(TypeError, match=r"got str: torch\.load\(path, weights_only=True\) reads a file"):
        mv.from_torch("model.pth", into=layer)
    with pytest.raises(TypeError, match="from_torch: weight cannot become an array: it is a list"):
        mv.from_torch({"weight": [[1.0]]}, into=layer)
    with pytest.raises(TypeError, match=r"from_torch: the names of weights must be texts, got 0"):
        mv.from_torch({0: np.ones(1)}, into=layer)
    with pytest.raises(TypeError, match=r"into must be a model \(a Module\), got dict"):
        mv.from_torch({}, into={})


def test_a_dialect_that_a_model_does_not_have_is_refused_with_those_it_has():
    with pytest.raises(
        ValueError, match="this ViT has no names in the dialect 'fb'; it has torch, hf, timm, tv"
    ):
        mv.to_torch_state(vit(0), "fb")
    # the hub has no names for learned position codes
    model = models.DETR(
        models.ResNet((1,), "basic", (8,), 8, num_classes=0),
        2,
        3,
        8,
        2,
        1,
        1,
        8,
        position="learned_attention",
    )
    with pytest.raises(ValueError, match="this DETR has no names in the dialect 'hf'; it has torch"):
        mv.to_torch_state(model, "hf")
    with pytest.raises(TypeError, match=r"to_torch_state: expected a model \(a Module\), got dict"):
        mv.to_torch_state({})


def test_without_pytorch_it_is_said_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"to_torch_state: PyTorch is not installed.*mv\.export"):
        mv.to_torch_state(nn.Linear(3, 2))


def test_a_model_on_andevice_goes_and_comes_back(torch, device, tmp_path):
    layer = nn.MultiHeadAttention(8, 2, rng=0)
    own = {name: x.copy() for name, x in layer.state_dict().items()}
    layer.to(device)
    state = mv.to_torch_state(layer, "torch")
    assert type(state["in_proj_weight"].array) is np.ndarray
    fresh = nn.MultiHeadAttention(8, 2, rng=1).to(device)
    back = mv.from_torch(state, into=fresh).to("cpu").state_dict()
    assert all(np.array_equal(back[name], x) for name, x in own.items())
