"""A residual network as a path: its blocks are steps of Euler's method, and smaller steps approach one path.

Not here: the solvers (tests/analysis/test_ode.py), the accuracy (tests/recipes/test_depth.py).
"""

import numpy as np
import pytest

import minivis as mv
from minivis.models import ODENet
from tests import strict

RNG = np.random.default_rng(5)


def images(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def small(**options):
    model = ODENet(**{"blocks": 2, "width": 4, "num_classes": 3, "rng": 0, **options})
    for velocity in model.velocities:
        velocity.conv2.weight.data[...] = 0.1 * RNG.standard_normal(velocity.conv2.weight.shape)
    return model.eval()


def test_a_block_is_a_residual_block():
    model = small()
    states = model.states(images(2, 1, 8, 8))
    for j, velocity in enumerate(model.velocities):
        np.testing.assert_allclose(
            states[j + 1].numpy(), (states[j] + velocity(states[j])).numpy(), rtol=1e-5
        )


def test_two_half_steps_with_the_same_weights():
    model = small(blocks=1)
    start, end = model.states(images(2, 1, 8, 8), steps=2)
    (velocity,) = model.velocities
    middle = start + velocity(start) * 0.5
    np.testing.assert_allclose(end.numpy(), (middle + velocity(middle) * 0.5).numpy(), rtol=1e-5)


def test_smaller_steps_approach_one_path():
    model = small().to("float64")
    x = images(2, 1, 8, 8).astype(np.float64)
    exact = model(x, steps=64, method="rk4").numpy()
    errors = [np.abs(model(x, steps=n).numpy() - exact).max() for n in (8, 16, 32)]
    np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 2, atol=0.3)


def test_a_new_network_does_not_move():
    states = ODENet(blocks=3, width=4).states(images(2, 1, 8, 8))
    np.testing.assert_array_equal(states[0].numpy(), states[3].numpy())


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="ODENet: blocks must be a whole number"):
        ODENet(blocks=0)
    with pytest.raises(ValueError, match="ODENet: images must be"):
        small()(np.zeros((1, 8, 8), np.float32))
    with pytest.raises(ValueError, match="odeint: method must be"):
        small()(images(1, 1, 8, 8), method="rk5")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_dtype_stays(dtype):
    assert small().to(dtype)(images(1, 1, 8, 8).astype(dtype), steps=2).dtype == dtype


def test_it_runs_on_the_pretend_gpu():
    strict.install()
    logits = small().to("strict")(mv.to_device(images(2, 1, 8, 8), "strict"), steps=2)
    mv.ops.cross_entropy(logits, mv.to_device(np.array([0, 2]), "strict")).backward()
    assert logits.shape == (2, 3)
