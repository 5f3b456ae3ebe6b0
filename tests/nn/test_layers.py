"""Laws of layers beyond those of their op: dtypes, Tensors out, training and evaluation, running statistics, no leaks.

Not here: equality with torch (tests/parity), attention (test_attention.py).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import backend, nn
from minivis.autograd import Tensor
from minivis.gradcheck import check_gradient

RNG = np.random.default_rng(3)
TOKENS = RNG.standard_normal((2, 5, 8))
MAPS = RNG.standard_normal((2, 8, 6, 4))

LAYERS = {
    "linear": (lambda: nn.Linear(8, 3), TOKENS, (2, 5, 3)),
    "linear without bias": (lambda: nn.Linear(8, 3, bias=False), TOKENS, (2, 5, 3)),
    "layer norm": (lambda: nn.LayerNorm(8), TOKENS, (2, 5, 8)),
    "layer norm over two axes": (lambda: nn.LayerNorm((5, 8), elementwise_affine=False), TOKENS, (2, 5, 8)),
    "mlp": (lambda: nn.MLP(8, 12, 4), TOKENS, (2, 5, 4)),
    "gated mlp": (lambda: nn.SwiGLU(8, 12, 4), TOKENS, (2, 5, 4)),
    "layer scale": (lambda: nn.LayerScale(8, 0.5), TOKENS, (2, 5, 8)),
    "attention": (lambda: nn.MultiHeadAttention(8, 2), TOKENS, (2, 5, 8)),
    "encoder layer": (lambda: nn.TransformerEncoderLayer(8, 2, 12), TOKENS, (2, 5, 8)),
    "encoder": (
        lambda: nn.TransformerEncoder([nn.TransformerEncoderLayer(8, 2, 12)], nn.LayerNorm(8)),
        TOKENS,
        (2, 5, 8),
    ),
    "conv": (lambda: nn.Conv2d(8, 4, (3, 1), padding=(1, 0)), MAPS, (2, 4, 6, 4)),
    "depthwise conv": (lambda: nn.Conv2d(8, 8, 3, 2, 1, groups=8, bias=False), MAPS, (2, 8, 3, 2)),
    "transposed conv": (lambda: nn.ConvTranspose2d(8, 4, 2, stride=2), MAPS, (2, 4, 12, 8)),
    "batch norm": (lambda: nn.BatchNorm2d(8), MAPS, (2, 8, 6, 4)),
    "frozen batch norm": (lambda: nn.FrozenBatchNorm2d(8), MAPS, (2, 8, 6, 4)),
    "max pooling": (lambda: nn.MaxPool2d(2), MAPS, (2, 8, 3, 2)),
    "mean pooling": (lambda: nn.AvgPool2d((3, 2), stride=1), MAPS, (2, 8, 4, 3)),
    "local response norm": (nn.LocalResponseNorm, MAPS, (2, 8, 6, 4)),
    "group norm": (lambda: nn.GroupNorm(4, 8), MAPS, (2, 8, 6, 4)),
    "learned code": (lambda: Plus(nn.LearnedPositionCode1d(7, 8)), TOKENS, (2, 5, 8)),
    "learned grid code": (lambda: Plus(nn.LearnedPositionCode2d(7, 9, 8)), MAPS, (2, 8, 6, 4)),
    "sine code": (lambda: Plus(nn.SinePositionCode1d(8)), TOKENS, (2, 5, 8)),
    "sine grid code": (lambda: Plus(nn.SinePositionCode2d(8, normalize=True)), MAPS, (2, 8, 6, 4)),
    "dropout": (lambda: nn.Dropout(0.5), TOKENS, (2, 5, 8)),
    "drop path": (lambda: nn.DropPath(0.5), TOKENS, (2, 5, 8)),
    "flatten": (nn.Flatten, MAPS, (2, 192)),
    "identity": (nn.Identity, MAPS, (2, 8, 6, 4)),
    **{
        name: (lambda name=name: getattr(nn, name)(), TOKENS, (2, 5, 8))
        for name in ("ReLU", "GELU", "SiLU", "Sigmoid", "Tanh")
    },
}


def test_a_gated_mlp_by_hand():
    layer = nn.SwiGLU(8, 3, rng=0)
    layer.gate_up.bias.data[...] = RNG.standard_normal(6)
    layer.down.bias.data[...] = RNG.standard_normal(8)
    hidden = TOKENS @ layer.gate_up.weight.data.T + layer.gate_up.bias.data
    gate = hidden[..., :3]
    up = hidden[..., 3:]
    expected = gate / (1 + np.exp(-gate)) * up @ layer.down.weight.data.T + layer.down.bias.data
    np.testing.assert_allclose(layer(TOKENS).numpy(), expected, atol=1e-6)


def test_a_layer_scale_multiplies_each_feature_by_its_own_number():
    layer = nn.LayerScale(8)
    assert layer.weight.dtype == np.float32
    np.testing.assert_array_equal(layer.weight.numpy(), np.full(8, np.float32(1e-5)))
    layer.weight.data[...] = np.arange(8)
    np.testing.assert_allclose(layer(TOKENS).numpy(), TOKENS * np.arange(8))
    with pytest.raises(ValueError, match="LayerScale: width must be a whole number of at least 1, got 0"):
        nn.LayerScale(0)
    for width in (1, 7):  # a single number would be broadcast without a word
        with pytest.raises(ValueError, match=rf"^LayerScale: x must be \(..., D={width}\) \(x: \(.*8\)\)"):
            nn.LayerScale(width)(TOKENS)


class Plus(nn.Module):
    """Tokens plus their position code."""

    def __init__(self, position):
        self.position = position

    def forward(self, x):
        return Tensor(x) * 1.0 + self.position(x) if not isinstance(x, Tensor) else x + self.position(x)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_takes_arrays_or_tensors_and_keeps_float32(name):
    make, x, shape = LAYERS[name]
    x = x.astype(np.float32)
    x.flags.writeable = False
    y = make()(x)
    assert isinstance(y, Tensor) and y.shape == shape and y.dtype == np.float32
    leaf = Tensor(x, requires_grad=True)
    y = make()(leaf)
    y.backward(np.ones(shape, np.float32))
    assert leaf.grad.dtype == np.float32 and leaf.grad.shape == x.shape


@pytest.mark.parametrize("name", LAYERS)
def test_the_same_result_and_gradients_on_a_device(name, device):
    make, x, shape = LAYERS[name]
    g = np.random.default_rng(0).standard_normal(shape)  # in float64: a difference is no rounding

    def run(device):
        layer = make().to("float64").to(device)
        leaf = Tensor(mv.to_device(x, device), requires_grad=True)
        y = layer(leaf)
        y.backward(mv.to_device(g, device))
        found = [
            y.data,
            leaf.grad,
            *(p.grad for p in layer.parameters()),
            *(b for _, b in layer.named_buffers()),
        ]
        assert all(backend.device_of(a) == device for a in found)
        return [mv.to_numpy(a) for a in found]

    for a, b in zip(run("cpu"), run(device), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", [n for n in LAYERS if "drop" not in n and n != "ReLU"])
def test_the_gradients_of_a_layer_are_right(name):
    make, x, _ = LAYERS[name]
    layer = make().to("float64")
    for p in layer.parameters():  # not the initial values 0 and 1, which hide mistakes
        p.data += 0.1 * np.random.default_rng(p.size).standard_normal(p.shape)
    parameters = layer.parameters()

    def run(x, *values):
        for p, value in zip(parameters, values, strict=True):
            copied = value * 1.0  # an op in the graph, so that gradients reach the leaf
            p.data, p.node = copied.data, copied.node
        return layer(x)

    check_gradient(run, x, *(p.data for p in parameters))


def test_gelu_and_activation_names():
    x = np.linspace(-3, 3, 7)
    np.testing.assert_array_equal(nn.GELU("tanh")(x).numpy(), mv.ops.gelu(x, "tanh"))
    assert repr(nn.GELU("quick")) == "GELU('quick')"
    with pytest.raises(ValueError, match="activation: expected one of relu, gelu"):
        nn.MLP(2, 2, activation="swish")


def test_embedding_looks_up_rows_and_sends_gradients_back_to_them():
    table = nn.Embedding(4, 2)
    table(np.array([1, 1, 3])).sum().backward()
    np.testing.assert_array_equal(table.weight.grad, [[0, 0], [2, 2], [0, 0], [1, 1]])
    with pytest.raises(IndexError, match="embedding: index 4"):
        table(np.array([4]))


def test_dropout_in_training_keeps_the_mean_and_in_evaluation_does_nothing():
    x = np.ones((100, 100), np.float32)
    layer = nn.Dropout(0.25)
    y = layer(x).numpy()
    assert set(np.unique(y)) == {0, np.float32(1 / 0.75)} and abs(y.mean() - 1) < 0.03
    assert not np.array_equal(y, layer(x).numpy())
    assert layer.eval()(x).data is x
    with pytest.raises(ValueError, match="Dropout: p must be a probability"):
        nn.Dropout(1.5)


def test_drop_path_drops_whole_samples_and_scales_the_others_once():
    x = RNG.standard_normal((1000, 3, 2)).astype(np.float32)
    layer = nn.DropPath(0.2)
    factor = layer(x).numpy() / x
    per_sample = factor.reshape(1000, -1)
    np.testing.assert_allclose(per_sample, per_sample[:, :1] * np.ones(6), rtol=1e-5)
    kept = per_sample[:, 0] > 0
    np.testing.assert_allclose(per_sample[kept, 0], 1 / 0.8, rtol=1e-5)
    assert abs(kept.mean() - 0.8) < 0.05
    assert np.array_equal(layer.eval()(x).numpy(), x)
    with pytest.raises(TypeError, match="rng: expected a numpy.random.Generator"):
        nn.DropPath(0.5, rng=0.5)
    assert not nn.DropPath(1.0)(x).numpy().any()  # and no division by zero


def test_drop_path_by_the_papers_rule_drops_the_batch_and_scales_in_evaluation():
    x = RNG.standard_normal((5, 3)).astype(np.float32)
    layer = nn.DropPath(0.25, per="batch", rng=3)
    drawn = [layer(x).numpy() for _ in range(400)]
    kept = [y.any() for y in drawn]
    assert all(np.array_equal(y, x if k else 0 * x) for y, k in zip(drawn, kept, strict=True))
    assert abs(np.mean(kept) - 0.75) < 0.1
    np.testing.assert_allclose(layer.eval()(x).numpy(), 0.75 * x, rtol=1e-6)
    with pytest.raises(ValueError, match='DropPath: per must be "sample" or "batch"'):
        nn.DropPath(0.5, per="row")


@pytest.mark.parametrize("per", ["sample", "batch"])
def test_a_sum_with_a_dropped_branch_has_the_mean_of_the_rule(per):
    x = np.ones((2, 1), np.float32)
    layer = nn.DropPath(0.5, per=per, rng=1)
    calls = []

    def branch():
        calls.append(1)
        return Tensor(2 * x)

    sums = [layer.added(Tensor(x), branch).numpy() for _ in range(300)]
    assert abs(np.mean(sums) - (3 if per == "sample" else 2)) < 0.3
    # a dropped branch is not computed
    assert len(calls) == 300 if per == "sample" else 100 < len(calls) < 200
    np.testing.assert_allclose(layer.eval().added(Tensor(x), branch).numpy(), 3 if per == "sample" else 2)


def test_the_two_schedules_of_stochastic_depth():
    survival = nn.survival_schedule(54, 0.5)
    assert survival.sum() == pytest.approx(40.25) and survival[0] == pytest.approx(0.99074, abs=5e-6)
    assert survival[-1] == 0.5 and (np.diff(survival) < 0).all()
    assert nn.drop_path_rates(0.5, 1) == [0.0]
    with pytest.raises(ValueError, match="survival_schedule: layers must be a whole number"):
        nn.survival_schedule(0)
    with pytest.raises(ValueError, match="survival_schedule: last must be a probability"):
        nn.survival_schedule(3, 2)


def test_batch_norm_learns_statistics_in_training_and_uses_them_in_evaluation():
    layer = nn.BatchNorm2d(3, momentum=0.5)
    x = RNG.standard_normal((4, 3, 5, 5)) * 2 + np.arange(3).reshape(3, 1, 1)
    layer.to("float64")
    y = layer(x).numpy()
    np.testing.assert_allclose(y.mean(axis=(0, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(axis=(0, 2, 3)), 1, rtol=1e-4)
    np.testing.assert_allclose(layer.running_mean, 0.5 * x.mean(axis=(0, 2, 3)))
    np.testing.assert_allclose(layer.running_var, 0.5 + 0.5 * x.var(axis=(0, 2, 3), ddof=1))
    before = layer.state_dict()
    y = layer.eval()(x).numpy()
    column = (1, 3, 1, 1)
    expected = (x - before["running_mean"].reshape(column)) / np.sqrt(
        before["running_var"].reshape(column) + 1e-5
    )
    np.testing.assert_allclose(y, expected)
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert layer.num_batches_tracked == 1


def test_batch_norm_without_running_statistics_uses_the_batch_always():
    layer = nn.BatchNorm2d(3, track_running_stats=False)
    x = RNG.standard_normal((4, 3, 5, 5)).astype(np.float32)
    assert list(layer.state_dict()) == ["weight", "bias"]
    np.testing.assert_array_equal(layer(x).numpy(), layer.eval()(x).numpy())


def test_frozen_batch_norm_is_batch_norm_in_evaluation_and_learns_nothing():
    rng = np.random.default_rng(3)
    norm = nn.BatchNorm2d(8).eval()
    frozen = nn.FrozenBatchNorm2d(8)
    state = {name: rng.random(8, dtype=np.float32) + 0.5 for name in frozen.state_dict()}
    frozen.load_state_dict(state)
    norm.load_state_dict({**state, "num_batches_tracked": np.array(3)})
    x = MAPS.astype(np.float32)
    np.testing.assert_allclose(frozen(x).numpy(), norm(x).numpy(), atol=1e-5)
    assert frozen.train()(x).numpy().tobytes() == frozen.eval()(x).numpy().tobytes()
    assert not frozen.parameters() and list(frozen.state_dict()) == [
        "weight",
        "bias",
        "running_mean",
        "running_var",
    ]
    assert {b.dtype.name for _, b in frozen.to("float64").named_buffers()} == {"float64"}
    with pytest.raises(ValueError, match=r"FrozenBatchNorm2d: x must be \(B, C=8, H, W\)"):
        frozen(x[:, :4])


def test_batch_norm_refuses_a_single_value_a_channel_and_counts_nothing():
    layer = nn.BatchNorm2d(3)
    with pytest.raises(ValueError, match="batch_norm: training needs more than one value"):
        layer(np.ones((1, 3, 1, 1), np.float32))
    assert layer.num_batches_tracked == 0
    assert layer.eval()(np.ones((1, 3, 1, 1), np.float32)).shape == (1, 3, 1, 1)
    with pytest.raises(ValueError, match=r"BatchNorm2d: x must be \(B, C, H, W\)"):
        layer(np.ones((2, 3), np.float32))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: nn.GroupNorm(3, 8), "GroupNorm: 3 groups do not divide 8"),
        (lambda: nn.Conv2d(3, 8, 3, groups=2), "Conv2d: groups=2 must divide 3 and 8"),
        (lambda: nn.ConvTranspose2d(4, 3, 3, groups=2), "ConvTranspose2d: groups=2 must divide 4 and 3"),
        (lambda: nn.MultiHeadAttention(8, 3), "MultiHeadAttention: 3 heads do not divide embed_dim 8"),
        (lambda: nn.Linear(-1, 3), "Linear: in_features must be a whole number of at least 1, got -1"),
        (lambda: nn.Linear(3, 2.5), "Linear: out_features must be a whole number"),
        (
            lambda: nn.Conv2d(3, 8, (3, 0)),
            r"Conv2d: kernel_size must be a whole number of at least 1, got \(3, 0\)",
        ),
        (lambda: nn.ConvTranspose2d(3, "8", 3), "ConvTranspose2d: out_channels must be a whole number"),
        (lambda: nn.LocalResponseNorm(0), "LocalResponseNorm: size must be"),
        (lambda: nn.LayerNorm(4.0), "LayerNorm: normalized_shape must be a whole number"),
        (lambda: nn.BatchNorm2d(0), "BatchNorm2d: num_features must be a whole number"),
        (lambda: nn.MultiHeadAttention(8, 0), "MultiHeadAttention: num_heads must be a whole number"),
        (lambda: nn.LearnedPositionCode2d(2, 2, 3), "LearnedPositionCode2d: width must be even"),
    ],
)
def test_layers_refuse_sizes_that_do_not_fit(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "layer, shape, message",
    [
        (nn.LearnedPositionCode1d(3, 4), (1, 5, 4), "N at most 3"),
        (nn.LearnedPositionCode2d(3, 4, 8), (1, 8, 4, 4), "H at most 3"),
        (nn.SinePositionCode1d(4), (1, 5, 6), "D=4"),
        (nn.SinePositionCode2d(4), (1, 8, 3, 3), "D=4"),
        (nn.MultiHeadAttention(4, 2), (4,), r"query, key and value must be \(\.\.\., N, D\)"),
        (nn.Linear(4, 2), (3, 5), "linear: the last axis of x"),
        (nn.Conv2d(3, 2, 5), (1, 3, 4, 4), "larger than the padded input"),
    ],
)
def test_layers_refuse_inputs_that_do_not_fit(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer(np.zeros(shape, np.float32))


@pytest.mark.parametrize("name", LAYERS)
def test_empty_batches_give_empty_results(name):
    make, x, shape = LAYERS[name]
    for layer in (make().eval(), make()):
        if layer.training and name == "batch norm":
            continue  # raises an error for a batch without statistics, see below
        y = layer(x[:0].astype(np.float32))
        assert y.shape == (0, *shape[1:]) and y.dtype == np.float32
        if layer.parameters():
            y.backward(y.data)
            assert all(not p.grad.any() for p in layer.parameters())


@pytest.mark.parametrize("name", [n for n in LAYERS if "code" not in n])
def test_a_list_is_taken_as_floats_or_refused_in_words(name):
    make, x, shape = LAYERS[name]
    try:
        assert make()(x.tolist()).shape == shape
    except TypeError as error:
        assert "an array or a Tensor, got list; wrap" in str(error)


def test_pixels_from_0_to_255_stay_float32_in_a_network():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 6, 4), dtype=np.uint8)
    for name in ("conv", "transposed conv", "batch norm", "group norm"):
        y = LAYERS[name][0]()(pixels)
        assert y.dtype == np.float32
        np.testing.assert_allclose(y.numpy(), LAYERS[name][0]()(pixels.astype(np.float32)).numpy(), atol=1e-5)
