"""The gradient check finds wrong gradients, and only those."""

import numpy as np
import pytest

import minivis as mv
from minivis.autograd import primitive
from minivis.gradcheck import GradientError, check_gradient

X = np.random.default_rng(0).standard_normal((3, 4))


def test_right_gradients_pass():
    assert check_gradient(mv.ops.softmax, X) < 1e-6
    assert check_gradient(lambda x, y: mv.ops.split(x @ y, 2, axis=1), X, X.T[:, :2].copy()) < 1e-6


@pytest.mark.parametrize("scale", [0.0, 1.01, -1.0])
def test_wrong_gradients_are_found_even_where_the_sum_of_outputs_is_constant(scale):
    @primitive
    def softmax(x):
        out, vjp = mv.ops.softmax.raw(x)
        return out, lambda g: (scale * vjp(g)[0],)

    with pytest.raises(GradientError, match=r"backward gives .* finite differences .*inputs: \(3, 4\)"):
        check_gradient(softmax, X)


@pytest.mark.parametrize("function", [lambda x: np.ones(2), lambda x: x.detach()])
def test_a_function_without_a_graph_is_refused(function):
    with pytest.raises(
        TypeError, match="check_gradient: function must return Tensors that depend on its inputs"
    ):
        check_gradient(function, X)


def test_float32_is_refused():
    with pytest.raises(TypeError, match="float64"):
        check_gradient(mv.ops.exp, X.astype(np.float32))
