"""Optimisers: they lower a loss, skip what has no gradient, resume exactly; schedules, groups and clipping.

Not here: equality with torch (tests/parity).
"""

import math

import numpy as np
import pytest

import minivis as mv
from minivis import nn, optim
from minivis.autograd import Tensor
from minivis.models import CNN, ViT

MAKERS = {
    "sgd": lambda p, **o: optim.SGD(p, 0.05, **o),
    "momentum": lambda p, **o: optim.SGD(p, 0.05, momentum=0.9, **o),
    "nesterov": lambda p, **o: optim.SGD(p, 0.05, momentum=0.9, nesterov=True, weight_decay=1e-4, **o),
    "adam": lambda p, **o: optim.Adam(p, 0.05, weight_decay=1e-4, **o),
    "adamw": lambda p, **o: optim.AdamW(p, 0.05, **o),
}
RNG = np.random.default_rng(0)
X = RNG.standard_normal((64, 5)).astype(np.float32)
Y = X @ RNG.standard_normal((5, 2)).astype(np.float32) + 1


def train(model, optimiser, steps):
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        device = model.weight.device
        loss = mv.ops.mse_loss(model(mv.to_device(X, device)), mv.to_device(Y, device))
        loss.backward()
        optimiser.step()
        losses.append(float(loss))
    return losses


@pytest.mark.parametrize("name", MAKERS)
def test_every_optimiser_solves_least_squares_in_float32(name):
    model = nn.Linear(5, 2)
    losses = train(model, MAKERS[name](model.parameters()), 200)
    assert losses[-1] < 0.01 < 1 < losses[0]
    assert model.weight.dtype == np.float32


@pytest.mark.parametrize("name", MAKERS)
def test_the_same_steps_on_a_device(name, device):
    models = [nn.Linear(5, 2), nn.Linear(5, 2).to(device)]
    for model in models:
        train(model, MAKERS[name](model.parameters()), 5)
    np.testing.assert_allclose(models[0].weight.data, models[1].weight.numpy(), rtol=1e-5)


def test_the_state_follows_a_model_that_is_moved(device):
    models = [nn.Linear(5, 2), nn.Linear(5, 2)]
    optimisers = [optim.AdamW(model) for model in models]
    for where in ("cpu", device, "cpu"):
        for model, optimiser in zip(models, optimisers, strict=True):
            train(model.to(where if model is models[0] else "cpu"), optimiser, 3)
    np.testing.assert_allclose(models[0].weight.data, models[1].weight.data, rtol=1e-5)


@pytest.mark.parametrize("name", MAKERS)
def test_a_saved_state_resumes_bit_for_bit(name):
    def fresh(model):
        return MAKERS[name](model.parameters(), schedule=optim.cosine(20, 4))

    straight = nn.Linear(5, 2)
    train(straight, fresh(straight), 12)
    model = nn.Linear(5, 2)
    optimiser = fresh(model)
    train(model, optimiser, 7)
    weights, state = model.state_dict(), optimiser.state_dict()
    assert all(isinstance(x, np.ndarray) for x in state.values())
    train(model, optimiser, 3)  # the saved state must not follow
    again = nn.Linear(5, 2, rng=9)
    again.load_state_dict(weights)
    resumed = fresh(again)
    resumed.load_state_dict(state)
    train(again, resumed, 5)
    for p, q in zip(straight.parameters(), again.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)


def test_steps_are_taken_in_place_and_without_a_gradient_nothing_moves():
    a, b = (
        Tensor(np.ones(3, np.float32), requires_grad=True),
        Tensor(np.ones(3, np.float32), requires_grad=True),
    )
    optimiser = optim.AdamW([a, b], lr=0.1, weight_decay=0.5)
    array, a.grad = a.data, np.ones(3, np.float32)
    optimiser.step()
    assert a.data is array and (a.data < 1).all() and (b.data == 1).all()
    assert [key for key in optimiser.state_dict() if key.startswith("1.")] == []
    optimiser.zero_grad()
    assert a.grad is None


def test_the_gradient_is_left_as_it_was():
    p = Tensor(np.ones(3), requires_grad=True)
    for name in MAKERS:
        p.grad = np.arange(3.0)
        p.grad.flags.writeable = False
        MAKERS[name]([p]).step()
        np.testing.assert_array_equal(p.grad, np.arange(3.0))


def test_groups_have_options_of_their_own():
    a, b = (Tensor(np.ones(2), requires_grad=True) for _ in range(2))
    optimiser = optim.SGD([{"params": [a], "lr": 1.0}, {"params": [b]}], lr=0.25)
    a.grad = b.grad = np.ones(2)
    optimiser.step()
    assert a.data[0] == 0 and b.data[0] == 0.75
    optimiser.param_groups[1]["lr"] = 0.5
    optimiser.step()
    assert b.data[0] == 0.25


def test_weight_decay_of_adamw_is_apart_from_the_gradient():
    p = Tensor(np.full(2, 4.0), requires_grad=True)
    p.grad = np.zeros(2)
    optim.AdamW([p], lr=0.1, weight_decay=0.5).step()
    np.testing.assert_allclose(p.data, 4 * (1 - 0.1 * 0.5))


def test_decay_groups_keep_norms_biases_class_token_and_codes_from_decaying():
    model = ViT(8, 4, 8, 1, 2, num_classes=3, channels=1)
    names = {id(p): name for name, p in model.named_parameters()}
    decay, rest = ({names[id(p)] for p in group["params"]} for group in optim.decay_groups(model, 0.1))
    assert {
        "patch_embed.proj.weight",
        "blocks.0.attn.query.weight",
        "blocks.0.mlp.fc1.weight",
        "head.weight",
    } <= decay
    assert {"cls_token", "pos_embed", "norm.weight", "blocks.0.norm1.weight", "head.bias"} <= rest
    assert len(decay) + len(rest) == len(names)
    assert [group["weight_decay"] for group in optim.decay_groups(model, 0.1)] == [0.1, 0.0]
    codes = nn.LearnedPositionCode1d(3, 4)
    assert [group["weight_decay"] for group in optim.decay_groups(codes, 0.1)] == [0.0]
    assert len(optim.decay_groups(CNN(), 0.1)[0]["params"]) == 5


@pytest.mark.parametrize(
    "make, exception, message",
    [
        (lambda p: optim.SGD([], lr=1), ValueError, "SGD: there are no parameters"),
        (lambda p: optim.AdamW([p, p]), ValueError, "AdamW: a parameter appears twice"),
        (lambda p: optim.AdamW([p * 2]), TypeError, "AdamW: params must be leaf Tensors"),
        (lambda p: optim.AdamW([p.data]), TypeError, "AdamW: params must be leaf Tensors"),
        (lambda p: optim.AdamW([p], lr=-1), ValueError, "AdamW: lr must be a number of at least 0"),
        (lambda p: optim.AdamW([p], lr=math.nan), ValueError, "AdamW: lr must be a number of at least 0"),
        (
            lambda p: optim.SGD([p], lr="fast"),
            ValueError,
            "SGD: lr must be a number of at least 0, got 'fast'",
        ),
        (lambda p: optim.AdamW([p], betas=(0.9, 1.0)), ValueError, "AdamW: betas must be two numbers"),
        (lambda p: optim.AdamW([p], betas=(0.9,)), ValueError, "AdamW: betas must be two numbers"),
        (lambda p: optim.AdamW([p], schedule=0.5), TypeError, "AdamW: schedule must be a function"),
        (lambda p: optim.clip_grad_norm([p], -1), ValueError, "clip_grad_norm: max_norm must be at least 0"),
        (
            lambda p: optim.SGD([{"params": [p], "beta": 1}], 1),
            ValueError,
            r"SGD: unknown options \['beta'\]",
        ),
        (lambda p: optim.SGD([{"lr": 1}], 1), ValueError, 'SGD: a group is a dict with "params"'),
        (lambda p: optim.cosine(5, 6), ValueError, "cosine: warmup_steps must lie in 0 to 5"),
        (lambda p: optim.one_cycle(0), ValueError, "one_cycle: needs total_steps >= 1"),
    ],
)
def test_wrong_options_are_refused(make, exception, message):
    with pytest.raises(exception, match=message):
        make(Tensor(np.ones(2), requires_grad=True))


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda state: state.pop("steps"), "no entry 'steps'"),
        (
            lambda state: state.update({"0.m": np.zeros(3)}),
            r"state 0.m must have shape \(2,\), found shape \(3,\)",
        ),
        (lambda state: state.pop("0.v"), "found nothing"),
        (
            lambda state: state.update({"steps": np.array(-1)}),
            "state steps must be a whole number of at least 0",
        ),
        (lambda state: state.update({"steps": np.array(1.5)}), "state steps must be a whole number"),
        (lambda state: state.update({"0.step": np.ones(2, int)}), "state 0.step must be a whole number"),
        (lambda state: state.update({"0.v": np.ones(2, int)}), "state 0.v must be floating, found int64"),
        (lambda state: state.update({"7.m": np.zeros(3)}), "unexpected entries in the state: 7.m"),
    ],
)
def test_a_foreign_state_is_refused_and_changes_nothing(change, message):
    p = Tensor(np.ones(2), requires_grad=True)
    p.grad = np.ones(2)
    optimiser = optim.AdamW([p])
    optimiser.step()
    state = optimiser.state_dict()
    before = {key: value.copy() for key, value in state.items()}
    change(state)
    with pytest.raises(ValueError, match=message):
        optimiser.load_state_dict(state)
    for key, value in optimiser.state_dict().items():
        np.testing.assert_array_equal(value, before[key])


def test_a_schedule_multiplies_the_learning_rate_of_every_group():
    a, b = (Tensor(np.zeros(1), requires_grad=True) for _ in range(2))
    optimiser = optim.SGD(
        [{"params": [a], "lr": 10.0}, {"params": [b]}], lr=1.0, schedule=lambda step: (1.0, 0.5)[step]
    )
    a.grad = b.grad = np.ones(1)
    assert optimiser.lr == 10
    optimiser.step()
    assert optimiser.lr == 5
    optimiser.step()
    assert a.data == -15 and b.data == -1.5


def test_cosine_warms_up_falls_and_stays():
    schedule = optim.cosine(100, 10, final=0.1)
    factors = [schedule(step) for step in range(120)]
    np.testing.assert_allclose(np.diff(factors[:10]), 0.1)
    assert max(factors) == factors[9] == factors[10] == 1
    assert (np.diff(factors[10:101]) < 0).all() and factors[55] == pytest.approx(0.55)
    assert factors[100:] == [0.1] * 20 or np.allclose(factors[100:], 0.1)
    assert optim.cosine(5, 5)(4) == 1 and optim.cosine(0)(0) == 1


def test_one_cycle_rises_and_falls():
    schedule = optim.one_cycle(100, warmup=0.3)
    factors = [schedule(step) for step in range(100)]
    assert factors[0] == pytest.approx(1 / 25) and factors[29] == pytest.approx(1)
    assert factors[99] == pytest.approx(1 / 25e4) and schedule(500) == factors[99]
    assert (np.diff(factors[:30]) > 0).all() and (np.diff(factors[29:]) < 0).all()
    assert all(0 < optim.one_cycle(n)(step) <= 1 for n in (1, 2, 3, 4) for step in range(n))


def test_clipping_scales_all_gradients_together_and_only_down():
    a, b = (Tensor(np.zeros(2), requires_grad=True) for _ in range(2))
    a.grad, b.grad = np.array([3.0, 0.0]), np.array([0.0, 4.0])
    assert optim.clip_grad_norm([a, b, Tensor(np.zeros(1), requires_grad=True)], 10.0) == 5
    assert a.grad[0] == 3
    optim.clip_grad_norm([a, b], 1.0)
    np.testing.assert_allclose([a.grad[0], b.grad[1]], [0.6, 0.8], rtol=1e-5)
    a.grad = np.array([np.nan, 1.0])
    with pytest.raises(FloatingPointError, match="clip_grad_norm: the gradient norm is nan"):
        optim.clip_grad_norm([a, b], 1.0)
    np.testing.assert_allclose(b.grad[1], 0.8, rtol=1e-5)


def test_clipping_keeps_float32_and_works_on_a_device(device):
    p = Tensor(mv.to_device(np.ones(4, np.float32), device), requires_grad=True)
    (p * p).sum().backward()
    assert optim.clip_grad_norm([p], 1.0) == 4
    assert p.grad.dtype == np.float32
    np.testing.assert_allclose(mv.to_numpy(p.grad), 0.5, rtol=1e-5)
