"""Spectral norm and conditional batch norm: worked numbers, what training keeps and evaluation does not, gradients.

Not here: the laws of spectral_norm (minivis.laws), whole GANs (tests/models/test_sagan.py).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import Tensor, nn, ops
from minivis.gradcheck import check_gradient

RNG = np.random.default_rng(4)


def largest(weight):
    return np.linalg.svd(weight.reshape(len(weight), -1), compute_uv=False)[0]


def test_the_worked_power_iteration():
    weight = np.array([[3.0, 0.0], [4.0, 5.0]])
    u = np.array([1.0, 0.0])
    sigmas = [weight[1, 1] / nn.spectral_norm(weight, u, n)[0][1, 1] for n in (1, 2, 3, 4, 40)]
    assert sigmas == pytest.approx([5, 6.671746, 6.707750, 6.708198, 45**0.5], abs=1e-6)


@pytest.mark.parametrize(
    "layer, x",
    [
        (nn.Linear(6, 4, rng=0), RNG.standard_normal((2, 6), np.float32)),
        (nn.Conv2d(3, 5, 3, rng=0), RNG.standard_normal((2, 3, 4, 4), np.float32)),
        (nn.Embedding(7, 3, rng=0), np.array([1, 5])),
    ],
    ids=["Linear", "Conv2d", "Embedding"],
)
def test_after_some_calls_the_largest_singular_value_is_one(layer, x):
    wrapped = nn.SpectralNorm(layer, rng=1)
    weight = layer.weight.data.copy()
    for _ in range(60):
        y = wrapped(x)
    sigma = largest(weight)
    assert largest(nn.spectral_norm(weight, wrapped.u)[0]) == pytest.approx(1, rel=1e-3)
    assert np.array_equal(layer.weight.data, weight) and list(wrapped.state_dict())[0] == "layer.weight"
    plain = type(layer)(**layer.config)
    plain.load_state_dict({**layer.state_dict(), "weight": weight / sigma})
    np.testing.assert_allclose(y.numpy(), plain(x).numpy(), rtol=1e-3, atol=1e-5)


def test_training_moves_u_and_evaluation_does_not():
    wrapped = nn.SpectralNorm(nn.Linear(6, 4, rng=0))
    x = np.ones((1, 6), np.float32)
    before = wrapped.u.copy()
    first = wrapped.eval()(x).numpy()
    assert np.array_equal(wrapped.u, before) and np.array_equal(wrapped(x).numpy(), first)
    wrapped.train()(x)
    assert not np.array_equal(wrapped.u, before) and np.linalg.norm(wrapped.u) == pytest.approx(1, abs=1e-6)
    again = nn.SpectralNorm(nn.Linear(6, 4, rng=3), rng=9)
    again.load_state_dict(wrapped.state_dict())
    assert np.array_equal(again.eval()(x).numpy(), wrapped.eval()(x).numpy())


def test_an_error_in_the_layer_leaves_the_weight_as_it_was():
    wrapped = nn.SpectralNorm(nn.Linear(6, 4, rng=0))
    weight = wrapped.layer.weight
    with pytest.raises(ValueError, match=r"^linear"):
        wrapped(np.ones((1, 5), np.float32))
    assert wrapped.layer.weight is weight


def test_the_gradient_is_orthogonal_to_the_weight():
    weight = Tensor(RNG.standard_normal((3, 2, 2, 2)), requires_grad=True)
    u = RNG.standard_normal(3)
    divided, _ = nn.spectral_norm(weight, u, 30)
    g = RNG.standard_normal(weight.shape)
    divided.backward(g)
    assert abs((weight.grad * weight.data).sum()) < 1e-10 < abs(weight.grad).max()
    check_gradient(lambda w: nn.spectral_norm(w, u, 500)[0], weight.data)


@pytest.mark.parametrize(
    "call, complaint",
    [
        (lambda: nn.spectral_norm(np.ones(3), np.ones(3)), r"^spectral_norm: weight must be \(O, ...\).*\(3,\)"),
        (lambda: nn.spectral_norm(np.ones((3, 2)), np.ones(2)), r"^spectral_norm: .* and u \(O,\) .*\(3, 2\).*\(2,\)"),
        (lambda: nn.spectral_norm(np.ones((3, 2)), np.ones(3), -1), r"^spectral_norm: iterations must be at least 0"),
        (lambda: nn.SpectralNorm(nn.ReLU()), r"^SpectralNorm: needs a Linear, Conv2d or Embedding.*ReLU"),
        (lambda: nn.SpectralNorm(nn.ConvTranspose2d(2, 3, 2)), r"^SpectralNorm: needs a Linear"),
        (lambda: nn.ConditionalBatchNorm2d(0, 3), r"^ConditionalBatchNorm2d: num_features"),
        (
            lambda: nn.ConditionalBatchNorm2d(4, 3)(np.ones((2, 4, 2, 2), np.float32), np.array([1])),
            r"^ConditionalBatchNorm2d: x must be .* \(x: \(2, 4, 2, 2\), labels: \(1,\)\)",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_named(call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call()


def test_conditional_batch_norm_is_batch_norm_with_the_scale_of_the_class():
    norm = nn.ConditionalBatchNorm2d(3, num_classes=4)
    norm.weight.data[...] = RNG.standard_normal((4, 3))
    norm.bias.data[...] = RNG.standard_normal((4, 3))
    x = RNG.standard_normal((5, 3, 2, 2), np.float32)
    labels = np.array([0, 3, 3, 1, 0])
    y = norm(x, labels).numpy()
    standard = (x - x.mean((0, 2, 3), keepdims=True)) / np.sqrt(x.var((0, 2, 3), keepdims=True) + 1e-5)
    expected = [
        s * norm.weight.data[k, :, None, None] + norm.bias.data[k, :, None, None]
        for s, k in zip(standard, labels, strict=True)
    ]
    np.testing.assert_allclose(y, expected, atol=1e-5)
    with pytest.raises(IndexError, match="4"):
        norm(x, labels + 1)


def test_the_same_on_a_device(device):
    x = RNG.standard_normal((2, 3, 4, 4), np.float32)
    found = []
    for where in ("cpu", device):
        layers = [nn.SpectralNorm(nn.Conv2d(3, 3, 3, padding=1, rng=0)), nn.ConditionalBatchNorm2d(3, 4)]
        conv, norm = (layer.to(where) for layer in layers)
        y = norm(conv(mv.to_device(x, where)), mv.to_device(np.array([3, 0]), where))
        ops.sum(y * y * y).backward()
        found.append([y.numpy(), *(mv.to_numpy(p.grad) for layer in layers for p in layer.parameters())])
    for here, there in zip(*found, strict=True):
        np.testing.assert_allclose(here, there, rtol=1e-3, atol=1e-5)


def test_integers_are_refused_and_u_may_be_a_tensor():
    with pytest.raises(TypeError, match="spectral_norm: weight must be floating-point, got int64"):
        nn.spectral_norm(np.array([[3, 0], [4, 5]]), np.array([1.0, 0.0]))
    weight = np.array([[3.0, 0.0], [4.0, 5.0]])
    u = np.array([1.0, 0.0])
    found = nn.spectral_norm(weight, Tensor(u))
    expected = nn.spectral_norm(weight, u)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def test_labels_may_be_a_list_and_anything_else_is_refused():
    norm = nn.ConditionalBatchNorm2d(2, 3)
    assert norm(np.ones((2, 2, 1, 1), np.float32), [2, 0]).shape == (2, 2, 1, 1)
    with pytest.raises(ValueError, match=r"ConditionalBatchNorm2d: .* labels \(B,\) .*labels: int"):
        norm(np.ones((2, 2, 1, 1), np.float32), 1)
