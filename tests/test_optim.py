"""Optimisers: they lower a loss, skip what has no gradient, resume exactly; schedules, groups and clipping.

Not here: equality with torch (tests/parity).
"""

import copy
import math
import pickle
import signal

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
    array = a.data
    a.grad = np.ones(3, np.float32)
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
        (
            lambda p: optim.cosine_schedule(1, 0, 0),
            ValueError,
            "cosine_schedule: steps must be a whole number",
        ),
        (
            lambda p: optim.cosine_schedule(1, 0, 5, 6),
            ValueError,
            "cosine_schedule: warmup must be .* from 0 to 5",
        ),
        (lambda p: optim.follow([]), ValueError, r"follow: values must be \(steps,\)"),
        (
            lambda p: optim.clip_each_grad_norm(p, -1),
            ValueError,
            "clip_each_grad_norm: max_norm must be at least 0",
        ),
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


def test_the_schedules_of_dino_are_those_of_its_code():
    rates = optim.cosine_schedule(5e-4, 1e-6, steps=1000, warmup=100)
    np.testing.assert_allclose(rates[:100], np.linspace(0, 5e-4, 100))
    np.testing.assert_allclose(
        rates[100:], 1e-6 + 0.5 * (5e-4 - 1e-6) * (1 + np.cos(np.pi * np.arange(900) / 900))
    )
    assert rates[-1] > 1e-6  # the end itself is not reached
    decay, momentum = optim.cosine_schedule(0.04, 0.4, 800), optim.cosine_schedule(0.996, 1.0, 800)
    assert decay[0] == pytest.approx(0.04) and momentum[0] == pytest.approx(0.996)
    assert momentum[400] == pytest.approx(0.998)
    assert (np.diff(decay) > 0).all() and decay[-1] < 0.4
    assert optim.cosine_schedule(1.0, 0.0, 3, warmup=3).tolist() == [0, 0.5, 1]
    assert optim.cosine_schedule(1.0, 0.0, 1, warmup=1).tolist() == [0]


def test_a_schedule_that_follows_an_array_stays_at_its_last_value():
    p = Tensor([1.0], requires_grad=True)
    optimizer = optim.SGD([p], lr=1.0, schedule=optim.follow(np.array([0.5, 0.25])))
    found = []
    for _ in range(3):
        found.append(optimizer.lr)
        optimizer.step()
    assert found == [0.5, 0.25, 0.25]
    assert pickle.loads(pickle.dumps(optimizer.schedule))(1) == 0.25


# arguments, quarters of the values, and the factors after each of them in torch 2.13, with min_lr and eps=0
PLATEAUS = [
    (
        {"mode": "max", "factor": 0.5, "patience": 2, "threshold": 0.05},
        [3, 4, 4, 4, 3, 3, 3, 5, 5, 5, 6, 6, 7, 6, 7, 8, 7, 6, 5, 3, 2, 2, 1, 1],
        [1] * 4 + [0.5] * 14 + [0.25] * 3 + [0.125] * 3,
    ),
    (
        {"mode": "min", "factor": 0.1, "patience": 0, "cooldown": 2, "min_factor": 0.002},
        [19, 18, 15, 14, 13, 13, 11, 10, 8, 7, 8, 6, 6, 7, 5, 5, 5, 4, 2, 2, 3, 1, 2, 1],
        [1] * 5 + [0.1] * 5 + [0.01] * 3 + [0.002] * 11,
    ),
    (
        {"mode": "min", "factor": 0.3, "patience": 1, "threshold": 0.0, "cooldown": 1},
        [10, 12, 12, 11, 10, 10, 10, 10, 10, 10, 12, 10, 10, 9, 9, 7, 6, 5, 6, 7, 5, 4, 4, 1],
        [1] * 2 + [0.3] * 3 + [0.09] * 3 + [0.027] * 3 + [0.0081] * 8 + [0.00243] * 5,
    ),
    (
        {"mode": "max", "factor": 0.25, "patience": 1, "threshold": 0.1, "min_factor": 0.02},
        [1, 1, 3, 4, 4, 4, 4, 7, 6, 6, 7, 8, 8, 7, 7, 7, 9, 10, 10, 12, 12, 13, 14, 15],
        [1] * 5 + [0.25] * 4 + [0.0625] * 4 + [0.02] * 11,
    ),
]


@pytest.mark.parametrize(("options", "quarters", "expected"), PLATEAUS)
def test_a_plateau_lowers_the_rate_when_torch_does_and_after_a_resume_too(options, quarters, expected):
    optimizer = optim.SGD(nn.Linear(2, 2), lr=2.0, schedule=optim.ReduceLROnPlateau(**options))
    found = []
    for quarter in quarters:
        optimizer.schedule.step(quarter / 4)
        found.append(optimizer.lr / 2)
        state = optimizer.state_dict()
        optimizer = optim.SGD(nn.Linear(2, 2), lr=2.0, schedule=optim.ReduceLROnPlateau(**options))
        optimizer.load_state_dict(state)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_on_a_plateau_a_share_of_a_negative_best_counts_and_nan_never_does():
    schedule = optim.ReduceLROnPlateau("min", 0.5, patience=0, threshold=0.1)
    found = []
    for value in (math.nan, -1.0, -1.05, -1.2, math.nan):
        schedule.step(value)
        found.append(schedule(0))
    assert found == [0.5, 0.5, 0.25, 0.25, 0.125]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda state: state.pop("schedule.best"), "the state must have now, best, waited, cooling"),
        (lambda state: state.update({"schedule.now": np.array(1.5)}), "the state is impossible"),
        (lambda state: state.update({"schedule.waited": np.array(0.5)}), "the state is impossible"),
        (lambda state: state.update({"schedule.best": np.zeros(2)}), "the state must be single numbers"),
    ],
)
def test_a_broken_state_of_a_plateau_is_refused_and_changes_nothing(change, complaint):
    optimizer = optim.SGD(nn.Linear(2, 2), lr=2.0, schedule=optim.ReduceLROnPlateau(patience=0))
    for value in (2, 1):
        optimizer.schedule.step(value)
    before = optimizer.state_dict()
    state = dict(before)
    change(state)
    with pytest.raises(ValueError, match=f"^ReduceLROnPlateau: {complaint}"):
        optimizer.load_state_dict(state)
    assert optimizer.state_dict() == before
    with pytest.raises(ValueError, match="unexpected entries in the state: schedule.best"):
        optim.SGD(nn.Linear(2, 2), lr=2.0).load_state_dict(before)


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "up"},
        {"factor": 1},
        {"factor": -0.1},
        {"patience": -1},
        {"cooldown": 0.5},
        {"threshold": math.nan},
    ],
)
def test_an_impossible_plateau_is_named(options):
    with pytest.raises(ValueError, match=f"^ReduceLROnPlateau: {next(iter(options))} must be"):
        optim.ReduceLROnPlateau(**options)


def test_each_gradient_is_clipped_by_itself():
    large, small, none = (Tensor(np.zeros(2), requires_grad=True) for _ in range(3))
    large.grad, small.grad = np.array([30.0, 40.0]), np.array([0.3, 0.4])
    assert optim.clip_each_grad_norm([large, small, none], 3.0) == pytest.approx([50, 0.5])
    np.testing.assert_allclose(large.grad, [1.8, 2.4])
    np.testing.assert_allclose(small.grad, [0.3, 0.4])
    small.grad[0] = np.nan
    with pytest.raises(FloatingPointError):
        optim.clip_each_grad_norm([large, small], 3.0)


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


def by_the_book(name, start, grads):
    """The parameters after these gradients, in float64, from the equations in the docstrings, with MAKERS' options."""
    x, m, v = (np.array(a, np.float64) for a in (start, np.zeros_like(start), np.zeros_like(start)))
    decay = {"nesterov": 1e-4, "adam": 1e-4, "adamw": 0.01}.get(name, 0.0)
    for t, g in enumerate(np.asarray(grads, np.float64), 1):
        if name in ("adam", "adamw"):
            g = g + decay * x if name == "adam" else g
            m = 0.9 * m + 0.1 * g
            v = 0.999 * v + 0.001 * g * g
            x = x * (1 - 0.05 * decay) if name == "adamw" else x
            x = x - 0.05 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        else:
            g = g + decay * x
            m = m * (0 if name == "sgd" else 0.9) + g
            x = x - 0.05 * (g + 0.9 * m if name == "nesterov" else m)
    return x


@pytest.mark.parametrize("dtype, rtol", [("float16", 5e-3), ("float32", 2e-6), ("float64", 1e-13)])
@pytest.mark.parametrize("name", MAKERS)
def test_every_dtype_follows_the_equations_and_keeps_itself(name, dtype, rtol):
    """Squares of these gradients leave the range of float16 on both sides; its parameters round at every step."""
    start = np.linspace(1, 3, 6).astype(dtype)
    grads = (np.array([3e2, -3e2, 1e2, 1e-4, -1e-4, 0.5]) * np.linspace(1, 2, 4)[:, None]).astype(dtype)
    if name in ("sgd", "momentum", "nesterov"):
        grads /= 100  # their steps grow with the gradient
    p = Tensor(start.copy(), requires_grad=True)
    optimiser = MAKERS[name]([p])
    for g in grads:
        p.grad = g
        optimiser.step()
    assert p.dtype == dtype
    kept = {x.dtype for key, x in optimiser.state_dict().items() if "step" not in key}
    assert kept == {np.dtype("float64" if dtype == "float64" else "float32")}
    np.testing.assert_allclose(p.data, by_the_book(name, start, grads), rtol=rtol)


def test_the_state_of_halves_is_saved_and_resumed_in_float32():
    models = [nn.Linear(5, 2).to("float16") for _ in range(2)]
    optimisers = [optim.AdamW(model, 0.01) for model in models]
    # squares vanish in float16
    gradients = [np.full(p.shape, 1e-4, np.float16) for p in models[0].parameters()]

    def step(model, optimiser):
        for p, g in zip(model.parameters(), gradients, strict=True):
            p.grad = g
        optimiser.step()

    step(models[0], optimisers[0])
    models[1].load_state_dict(models[0].state_dict())
    optimisers[1].load_state_dict(optimisers[0].state_dict())
    for model, optimiser in zip(models, optimisers, strict=True):
        step(model, optimiser)
    for p, q in zip(models[0].parameters(), models[1].parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)


NORMS = {  # gradients, and the length that follows from them without squaring anything in their dtype
    "70,000 half ones": ([np.ones(70_000, np.float16)], math.sqrt(70_000)),
    "half at its end": ([np.full(10_000, 65504, np.float16)], 65504 * 100),
    "half below its normal numbers": ([np.full(4, 6e-8, np.float16)], 2 * float(np.float16(6e-8))),
    "float32 of 1e20": ([np.array([1e20, -1e20, 1e20, -1e20], np.float32)], 2 * float(np.float32(1e20))),
    "float32 at its end": ([np.full(4, 3e38, np.float32)], 2 * float(np.float32(3e38))),
    "float32 of 1e-30": ([np.full(4, 1e-30, np.float32)], 2 * float(np.float32(1e-30))),
    "float64 of 1e200": ([np.full(4, -1e200)], 2e200),
    "large and small": ([np.full(4, 1e20, np.float32), np.full(4, 1e-20, np.float32)], 2 * float(np.float32(1e20))),
    "halves and floats": ([np.full(9, 300, np.float16), np.full(16, 1e5, np.float32)], math.hypot(900, 4e5)),
    "nothing": ([np.zeros(3, np.float32), np.zeros((0, 2), np.float32)], 0.0),
}  # fmt: skip


@pytest.mark.parametrize("name", NORMS)
def test_clipping_measures_and_scales_what_has_no_square(name):
    grads, length = NORMS[name]
    parameters = [Tensor(np.zeros_like(g), requires_grad=True) for g in grads]
    for p, g in zip(parameters, grads, strict=True):
        p.grad = g.copy()
    assert optim.clip_grad_norm(parameters, math.inf) == pytest.approx(length, rel=2e-7, abs=0)
    for p, g in zip(parameters, grads, strict=True):
        np.testing.assert_array_equal(p.grad, g)
    limit = length / 3 if length > 1e-3 else 1.0
    optim.clip_grad_norm(parameters, limit)
    for p, g in zip(parameters, grads, strict=True):
        assert p.grad.dtype == g.dtype
        wanted = np.asarray(g, np.float64) * min(1, limit / (length + 1e-6))
        np.testing.assert_allclose(
            p.grad, wanted.astype(g.dtype), rtol=1e-3 if g.dtype == "float16" else 1e-6
        )


def test_clipping_reports_infinity_only_where_there_is_one():
    p = Tensor(np.zeros(2, np.float32), requires_grad=True)
    for wrong in (math.inf, math.nan):
        p.grad = np.array([wrong, 1e30], np.float32)
        with pytest.raises(FloatingPointError, match="clip_grad_norm: the gradient norm is"):
            optim.clip_grad_norm([p], 1.0)
        assert p.grad[1] == np.float32(1e30)


# Copies


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda pair: pickle.loads(pickle.dumps(pair)),
}


def both_orders(model, optimiser, how):
    yield COPIES[how]((model, optimiser))
    yield COPIES[how]((optimiser, model))[::-1]


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("name", MAKERS)
def test_model_and_optimiser_copied_together_go_on_bit_for_bit(name, how):
    model = nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.2), nn.Linear(4, 2))
    model.weight = model[0].weight  # `train` looks at it: one parameter under two names
    optimiser = MAKERS[name](optim.decay_groups(model, 1e-3), schedule=optim.one_cycle(20))
    train(model, optimiser, 3)
    for twin, copied in both_orders(model, optimiser, how):
        assert copied.steps == 3 and copied.lr == optimiser.lr
        assert {id(p) for group in copied.param_groups for p in group["params"]} == set(
            map(id, twin.parameters())
        )
        for key, value in optimiser.state_dict().items():
            np.testing.assert_array_equal(copied.state_dict()[key], value)
    before = model.state_dict()
    losses = train(twin, copied, 4)
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[key])  # the copy is a copy
    assert train(model, optimiser, 4) == losses
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)


@pytest.mark.parametrize("how", COPIES)
def test_an_optimiser_copied_alone_has_parameters_of_its_own(how):
    model = nn.Linear(5, 2)
    optimiser = optim.AdamW(model, 0.05, schedule=optim.cosine(20))
    train(model, optimiser, 3)
    before = model.state_dict()
    copied = COPIES[how](optimiser)
    (group,) = copied.param_groups
    for p, q in zip(group["params"], model.parameters(), strict=True):
        assert type(p) is nn.Parameter and not np.shares_memory(p.data, q.data)
        p.grad = q.grad
    copied.step()
    optimiser.step()  # the same step
    for p, q in zip(group["params"], model.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)
    assert any((before[key] != value).any() for key, value in model.state_dict().items())


# Whole steps or none


class Interrupted(optim.SGD):
    """Somebody presses Ctrl-C while the first parameter changes, as often as it says."""

    presses = 1

    def _update(self, parameter, grad, state, group, lr):
        super()._update(parameter, grad, state, group, lr)
        for _ in range(self.presses):
            signal.raise_signal(signal.SIGINT)
        self.presses = 0


def test_ctrl_c_waits_for_the_end_of_a_step():
    parameters = [Tensor(np.ones(2), requires_grad=True) for _ in range(3)]
    for p in parameters:
        p.grad = np.ones(2)
    optimiser = Interrupted(parameters, lr=1.0)
    with pytest.raises(KeyboardInterrupt):
        optimiser.step()
    assert [p.data.tolist() for p in parameters] == [[0, 0]] * 3 and optimiser.steps == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    optimiser.step()
    assert parameters[0].data.tolist() == [-1, -1] and optimiser.steps == 2
    optimiser.presses = 2
    with pytest.raises(KeyboardInterrupt):
        optimiser.step()
    assert parameters[2].data.tolist() == [-1, -1] and optimiser.steps == 2  # the second did not wait


def test_a_wrong_gradient_is_refused_before_anything_changes():
    a, b = (Tensor(np.ones(2), requires_grad=True) for _ in range(2))
    a.grad, b.grad = np.ones(2), np.ones(1)  # which NumPy would stretch
    optimiser = optim.AdamW([a, b])
    with pytest.raises(ValueError, match=r"AdamW: a gradient has shape \(1,\), its parameter \(2,\)"):
        optimiser.step()
    assert a.data.tolist() == [1, 1] and optimiser.steps == 0
    b.grad = np.ones(2)
    optimiser.step()
    np.testing.assert_array_equal(a.data, b.data)


@pytest.mark.parametrize("dtype, size", [("float16", 300), ("float32", 1e20)])
def test_halves_and_large_gradients_on_a_device(dtype, size, device):
    results = []
    for where in ("cpu", device):
        p = Tensor(mv.to_device(np.ones(50, dtype), where), requires_grad=True)
        p.grad = mv.to_device(np.full(50, size, dtype), where)
        norm = optim.clip_grad_norm([p], size)
        assert norm == pytest.approx(size * math.sqrt(50), rel=1e-3)
        optimiser = optim.AdamW([p], 0.1)
        p.grad = p.grad / (1 if dtype == "float16" else size)
        optimiser.step()
        assert p.dtype == dtype
        results.append(mv.to_numpy(p.data))
    np.testing.assert_allclose(*results, rtol=1e-6)
