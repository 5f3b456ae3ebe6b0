"""Laws of multi-head attention and of the transformer layers: equivariance, no leak, causality, heads side by side.

Not here: equality with torch (tests/parity), one attention as an op (tests/ops).
"""

import numpy as np
import pytest

from minivis import Tensor, nn, ops
from minivis.models import ViT

RNG = np.random.default_rng(5)


def tokens(*shape):
    return RNG.standard_normal(shape)


def attention(**options):
    layer = nn.MultiHeadAttention(8, 2, rng=1, **options).to("float64")
    for p in layer.parameters():
        p.data += 0.3 * RNG.standard_normal(p.shape)  # biases too
    return layer


def test_it_equals_heads_computed_one_by_one():
    layer = attention(kdim=6, vdim=5)
    x = tokens(3, 4, 8)
    y = (tokens(3, 7, 6), tokens(3, 7, 5))
    heads = []
    for i in range(2):
        rows = slice(4 * i, 4 * i + 4)
        q, k, v = (
            a @ p.weight.data[rows].T + p.bias.data[rows]
            for a, p in zip((x, *y), (layer.query, layer.key, layer.value), strict=True)
        )
        scores = np.exp(q @ k.swapaxes(1, 2) / np.sqrt(4))
        heads.append(scores / scores.sum(axis=-1, keepdims=True) @ v)
    expected = np.concatenate(heads, axis=-1) @ layer.out.weight.data.T + layer.out.bias.data
    np.testing.assert_allclose(layer(x, *y).numpy(), expected, rtol=1e-12)


def test_weights_are_those_used_and_their_rows_sum_to_one():
    layer = attention()
    x = tokens(3, 5, 8)
    mask = RNG.random((3, 5, 5)) < 0.5
    mask[0, 2] = False
    with nn.looking(layer) as seen:
        y = layer(x, mask=mask)
    weights = seen["weights"]
    assert type(weights) is np.ndarray and weights.shape == (3, 2, 5, 5)
    np.testing.assert_allclose(
        weights.sum(axis=-1), np.broadcast_to(mask.any(-1)[:, None], (3, 2, 5)), atol=1e-12
    )
    assert not weights[np.broadcast_to(~mask[:, None], weights.shape)].any()
    v = (x @ layer.value.weight.data.T + layer.value.bias.data).reshape(3, 5, 2, 4).transpose(0, 2, 1, 3)
    gathered = (weights @ v).transpose(0, 2, 1, 3).reshape(3, 5, 8)
    np.testing.assert_allclose(
        y.numpy(), gathered @ layer.out.weight.data.T + layer.out.bias.data, rtol=1e-10
    )
    np.testing.assert_array_equal(y.numpy(), layer(x, mask=mask).numpy())


def test_permuting_the_tokens_permutes_the_output():
    order = RNG.permutation(6)
    x = tokens(2, 6, 8)
    for layer in (attention(), nn.TransformerEncoderLayer(8, 2, 12, norm_first=True).to("float64")):
        np.testing.assert_allclose(layer(x[:, order]).numpy(), layer(x).numpy()[:, order], atol=1e-12)


def test_a_position_code_breaks_the_equivariance():
    order = RNG.permutation(6)
    x = tokens(2, 6, 8)
    code = nn.SinePositionCode1d(8)
    layer = attention()
    x = x + code(x)
    assert np.abs(layer(x[:, order]).numpy() - layer(x).numpy()[:, order]).max() < 1e-12
    plain = x - code(x)
    moved = plain[:, order] + code(x)
    assert np.abs(layer(moved).numpy() - layer(x).numpy()[:, order]).max() > 1e-2


def test_a_masked_key_cannot_leak():
    layer = attention()
    x = tokens(2, 3, 8)
    memory = tokens(2, 5, 8)
    valid = np.array([[True, True, False, True, False], [True, True, True, True, True]])
    changed = memory.copy()
    changed[~valid] = 1e6 * RNG.standard_normal((2, 8))
    a, b = (layer(x, m, mask=valid[:, None, :]).numpy() for m in (memory, changed))
    np.testing.assert_array_equal(a, b)
    leaf = Tensor(memory, requires_grad=True)
    layer(Tensor(x), leaf, mask=valid[:, None, :]).backward(tokens(2, 3, 8))
    assert not leaf.grad[~valid].any() and leaf.grad[valid].any(axis=-1).all()


def test_a_query_that_may_attend_to_nothing_gets_the_output_bias_and_poisons_nobody():
    layer = attention()
    x = tokens(2, 3, 8)
    mask = np.ones((3, 3), bool)
    mask[1] = False
    leaf = Tensor(x, requires_grad=True)
    y = layer(leaf, mask=mask)
    np.testing.assert_array_equal(y.numpy()[:, 1], np.broadcast_to(layer.out.bias.data, (2, 8)))
    y.backward(tokens(2, 3, 8))
    assert all(np.isfinite(g).all() for g in (leaf.grad, *(p.grad for p in layer.parameters())))


def test_masks_of_two_three_and_four_axes_mean_the_same():
    layer = attention()
    x = tokens(2, 4, 8)
    mask = RNG.random((4, 4)) < 0.6
    y = layer(x, mask=mask).numpy()
    np.testing.assert_array_equal(layer(x, mask=np.stack([mask, mask])).numpy(), y)
    np.testing.assert_array_equal(layer(x, mask=mask[None, None]).numpy(), y)
    np.testing.assert_array_equal(layer(x, mask=Tensor(mask)).numpy(), y)
    with pytest.raises(TypeError, match="mask must be boolean, True = may be attended"):
        layer(x, mask=mask.astype(float))


def causal_models():
    encoder = nn.TransformerEncoderLayer(8, 2, 12).to("float64")
    decoder = nn.TransformerDecoderLayer(8, 2, 12, norm_first=True).to("float64")
    whole = nn.Transformer(8, 2, 1, 2, 12).to("float64")
    memory = tokens(2, 3, 8)
    return {
        "attention": lambda x: attention_layer(x, is_causal=True),
        "encoder": lambda x: encoder(x, is_causal=True),
        "decoder": lambda x: decoder(x, memory, is_causal=True),
        "transformer": lambda x: whole(memory, x),
    }


attention_layer = attention()
CAUSAL = causal_models()


@pytest.mark.parametrize("name", CAUSAL)
def test_causal_outputs_depend_on_the_past_only(name):
    x = tokens(2, 6, 8)
    y = CAUSAL[name](x).numpy()
    for n in (1, 3):
        np.testing.assert_allclose(CAUSAL[name](x[:, :n]).numpy(), y[:, :n], atol=1e-12)
    changed = x.copy()
    changed[:, 4:] += 10
    np.testing.assert_array_equal(CAUSAL[name](changed).numpy()[:, :4], y[:, :4])
    assert (np.abs(CAUSAL[name](changed).numpy()[:, 4:] - y[:, 4:]) > 1e-3).any()


def test_the_decoder_reads_the_memory_through_its_mask():
    layer = nn.TransformerDecoderLayer(8, 2, 12).to("float64")
    x = tokens(2, 3, 8)
    memory = tokens(2, 4, 8)
    mask = np.array([True, True, False, True])[None, :]
    changed = memory.copy()
    changed[:, 2] += 5
    np.testing.assert_array_equal(layer(x, memory, None, mask).numpy(), layer(x, changed, None, mask).numpy())
    assert np.abs(layer(x, memory).numpy() - layer(x, changed).numpy()).max() > 1e-3


def test_pre_norm_leaves_a_clean_residual_path_and_post_norm_normalises_the_result():
    x = tokens(2, 3, 8)
    pre, post = (
        nn.TransformerEncoderLayer(8, 2, 12, norm_first=first).to("float64") for first in (True, False)
    )
    for layer in (pre, post):
        for last in (layer.self_attn.out, layer.mlp.fc2):
            last.weight.data[...] = 0
    np.testing.assert_array_equal(pre(x).numpy(), x)
    np.testing.assert_allclose(post(x).numpy().mean(axis=-1), 0, atol=1e-12)


def test_attention_dropout_acts_in_training_only_and_on_weights():
    layer = attention(dropout=0.5)
    x = tokens(2, 5, 8)
    first = layer(x).numpy()
    assert not np.array_equal(first, layer(x).numpy())
    np.testing.assert_array_equal(layer.eval()(x).numpy(), layer(x).numpy())
    layer.train()
    mean = np.mean([layer(x).numpy() for _ in range(3000)], axis=0)
    np.testing.assert_allclose(mean, layer.eval()(x).numpy(), atol=0.1)


def test_a_transformer_with_vocabularies_gives_logits_and_learns_to_copy():
    from minivis import optim

    model = nn.Transformer(16, 2, 1, 1, 32, norm_first=True, source_vocabulary=6, target_vocabulary=7, rng=0)
    rng = np.random.default_rng(0)
    optimiser = optim.Adam(model, lr=5e-3)

    def batch():
        source = rng.integers(0, 6, (32, 4))
        return source, np.concatenate([np.full((32, 1), 6), source[:, :-1]], axis=1)

    for _ in range(120):
        source, target = batch()
        optimiser.zero_grad()
        loss = ops.cross_entropy(model(source, target).reshape(-1, 7), source.reshape(-1))
        loss.backward()
        optimiser.step()
    source, target = batch()
    logits = model(source, target)
    assert logits.shape == (32, 4, 7) and logits.dtype == np.float32
    assert (logits.numpy().argmax(-1) == source).mean() > 0.95
    with pytest.raises(ValueError, match="give both source_vocabulary and target_vocabulary"):
        nn.Transformer(source_vocabulary=3)


def test_weights_of_a_model_and_of_its_layers_agree():
    model = ViT(8, 4, 8, 2, 2, num_classes=3, channels=1).eval()
    images = RNG.standard_normal((2, 1, 8, 8)).astype(np.float32)
    with nn.looking(model) as seen:
        logits = model(images)
    assert {name: a.shape for name, a in seen.items() if "attn" in name} == {
        f"blocks.{i}.attn.weights": (2, 2, 5, 5) for i in range(2)
    }
    np.testing.assert_array_equal(logits.numpy(), model(images).numpy())
    for i, a in enumerate(model.attention_maps(images)):
        np.testing.assert_array_equal(a, seen[f"blocks.{i}.attn.weights"])


def test_a_bias_and_any_leading_axes():
    layer = attention()
    x = tokens(2, 3, 5, 8)  # a batch of 2, 3 windows each, 5 tokens
    bias = Tensor(tokens(2, 5, 5), requires_grad=True)
    mask = RNG.random((3, 5, 5)) < 0.7  # one for each window
    with nn.looking(layer) as seen:
        y = layer(x, mask=mask, bias=bias)
    assert seen["weights"].shape == (2, 3, 2, 5, 5) and y.shape == x.shape
    for i in range(3):
        np.testing.assert_allclose(
            y.numpy()[:, i], layer(x[:, i], mask=mask[i], bias=bias).numpy(), rtol=1e-12
        )
    for_heads = np.broadcast_to(mask[:, None], (2, 3, 2, 5, 5))
    np.testing.assert_array_equal(layer(x, mask=for_heads).numpy(), layer(x, mask=mask).numpy())
    np.testing.assert_allclose(
        layer(x[0, 0], bias=bias).numpy(), layer(x, bias=bias).numpy()[0, 0], rtol=1e-12
    )
    y.sum().backward()
    assert bias.grad.shape == (2, 5, 5) and np.abs(bias.grad).max() > 0
    with pytest.raises(ValueError, match=r"must be \(\.\.\., N, D\)"):
        layer(tokens(8))


def test_the_layer_keeps_the_laws_of_multi_head_attention(capsys):
    from minivis import laws

    def by_layer(query, key, value, weights, heads, mask=None):
        layer = nn.MultiHeadAttention(query.shape[-1], heads, kdim=key.shape[-1], vdim=value.shape[-1])
        parts = {"query": "q", "key": "k", "value": "v", "out": "o"}
        state = {f"{name}.weight": weights[f"w_{letter}"] for name, letter in parts.items()}
        state |= {f"{name}.bias": weights[f"b_{letter}"] for name, letter in parts.items()}
        layer.to(query.dtype).load_state_dict(state)
        return layer(query, key, value, mask).numpy()

    assert laws.check("multi_head_attention", by_layer).passed, capsys.readouterr().out


@pytest.mark.parametrize(
    "form", ["padded keys", "one mask for all", "a mask for each query", "a mask for each head"]
)
def test_tokens_that_nobody_may_attend_to_may_be_nan(form):
    layer = attention(kdim=6, vdim=5)
    x = tokens(2, 4, 8)
    y = tokens(2, 7, 6)
    z = tokens(2, 7, 5)
    seen = np.array([[True] * 5 + [False] * 2, [True] * 3 + [False] * 4])
    mask = {
        "padded keys": seen[:, None],
        "one mask for all": np.broadcast_to(seen[0], (4, 7)),
        "a mask for each query": (RNG.random((2, 4, 7)) < 0.8) & seen[:, None],
        "a mask for each head": (RNG.random((2, 2, 4, 7)) < 0.8) & seen[:, None, None],
    }[form]
    seen = np.stack([seen[0], seen[0]]) if mask.ndim == 2 else seen
    results = []
    for filled in (0.0, np.nan):
        inputs = [
            Tensor(np.where(keep, a, filled), requires_grad=True)
            for a, keep in ((x, True), (y, seen[..., None]), (z, seen[..., None]))
        ]
        layer.zero_grad()
        out = layer(*inputs, mask=mask)
        out.backward(np.cos(np.arange(out.size)).reshape(out.shape))
        results.append([out.data, *(a.grad for a in inputs), *(p.grad for p in layer.parameters())])
    for clean, dirty in zip(*results, strict=True):
        np.testing.assert_array_equal(dirty, clean)
        assert np.isfinite(dirty).all()
