"""What enters an op: arrays of other libraries and files, float16, integers, NumPy's numbers.

Not here: the same for every op by its rows (tests/ops/test_every_op.py).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import backend, nn, ops
from minivis.autograd import Tensor, primitive
from minivis.dtypes import at_least_float32, whole
from tests.fast.forcing import forced


def test_a_plain_array_enters_as_it_is():
    for dtype in (np.float16, np.float32, np.float64, np.int64, np.uint8, bool):
        x = np.ones((2, 3), dtype)
        assert backend.as_array(x) is x
        assert Tensor(x).data is x


def test_a_memory_map_is_not_read_in(tmp_path):
    x = np.memmap(tmp_path / "x", np.float32, "w+", shape=(3,))
    inside = Tensor(x).data
    assert type(inside) is np.ndarray and np.shares_memory(inside, x)


def test_arrays_of_no_numbers_are_refused():
    for x in (np.array([1, None]), np.array(["a"]), np.array(["2026"], "M8[Y]")):
        with pytest.raises(TypeError, match="^Tensor: expected numbers, got"):
            Tensor(x)
    with pytest.raises(TypeError, match="^exp: expected numbers, got an array of objects"):
        mv.ops.exp(np.array([1.0, None]))


def test_a_mask_is_not_left_out_in_silence():
    x = np.ma.array([1.0, 2.0, 99.0], mask=[0, 0, 1])
    for take in (Tensor, mv.ops.exp, mv.ops.argmax):
        with pytest.warns(UserWarning, match="loses its mask here, and 1 masked elements"):
            take(x)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_a_matrix_multiplies_element_by_element():
    m = np.matrix([[1.0, 2.0], [3.0, 4.0]])
    a = np.asarray(m)
    for product in (Tensor(m) * Tensor(a), Tensor(a) * m, m * Tensor(a), Tensor(mv.ops.mul(m, a))):
        assert product.data.tolist() == [[1, 4], [9, 16]]
    assert mv.ops.sum(Tensor(m), 1).shape == (2,)
    assert Tensor(m)[0].shape == (2,)


def test_data_put_into_a_tensor_later_is_seen_to_as_well():
    x = Tensor(np.ones(3, np.float32), requires_grad=True)
    x.data = np.arange(3, dtype=">f4")
    y = mv.ops.softmax(x)
    assert y.dtype.isnative
    np.testing.assert_allclose(y.data, mv.ops.softmax(np.arange(3, dtype=np.float32)))
    x.data = np.arange(3, dtype=np.float32).view(np.memmap)
    x.backward(np.array([1.0, 2.0, 3.0], np.float32))
    assert type(x.grad) is np.ndarray and x.grad.tolist() == [1, 2, 3]


def test_the_sum_of_a_cotangent_over_a_batch_does_not_stop_at_2048():
    bias = Tensor(np.zeros(2, np.float16), requires_grad=True)
    for joined in (
        lambda: Tensor(np.zeros((5000, 2), np.float16)) + bias,
        lambda: mv.ops.broadcast_to(bias, (5000, 2)),
        lambda: mv.ops.where(np.ones((5000, 1), bool), bias, np.zeros((5000, 2), np.float16)),
    ):
        bias.grad = None
        joined().backward(np.ones((5000, 2), np.float16))
        assert bias.grad.dtype == np.float16
        assert bias.grad.tolist() == [5000, 5000]


@primitive
def square_mean(x, weight=1.0):
    """The mean of squares, as a reader would write it: nothing in it knows of float16."""
    y = weight * (x * x).mean()
    return y, lambda g: (lambda: g * weight * 2 * x / x.size, (g * y / weight).sum())


def test_an_op_of_ones_own_gets_float16_right_for_free():
    x = Tensor(np.full(400, 200.0, np.float16), requires_grad=True)
    w = Tensor(np.array(0.5, np.float16), requires_grad=True)
    y = square_mean(x, weight=w)
    assert y.dtype == np.float16
    assert y.data == 20000  # the sum of the squares is beyond float16
    y.backward()
    assert x.grad.dtype == w.grad.dtype == np.float16
    np.testing.assert_allclose(x.grad, np.full(400, 0.5), rtol=1e-3)
    with pytest.raises(TypeError, match="^square_mean: x must be floating-point, got int64"):
        square_mean(np.arange(3))
    with pytest.raises(TypeError, match="^square_mean: weight must be floating-point, got int64"):
        square_mean(np.ones(3, np.float32), np.array(2))  # would make float64
    with pytest.raises(TypeError, match="^square_mean: weight must be floating-point, got int64"):
        square_mean(np.ones(3, np.float16), np.array(2))


@pytest.mark.parametrize("weight", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_norms_keep_the_dtype_of_x_whatever_that_of_the_weight_is(dtype, weight):
    x = np.array([[1.0, 3.0], [3.0, 1.0]], dtype)
    w, b = np.array([[2.0, 1.0], [0.0, 1.0]], weight)
    zeros = np.zeros(2, dtype)
    for norm, right in (
        (lambda *p: mv.ops.layer_norm(p[0], 2, *p[1:], eps=0.0), [[-2, 2], [2, 0]]),
        (lambda *p: mv.ops.group_norm(p[0], 1, *p[1:], eps=0.0), [[-2, 2], [2, 0]]),
        (lambda *p: mv.ops.batch_norm(p[0], None, None, *p[1:], training=True, eps=0.0), [[-2, 2], [2, 0]]),
        (lambda *p: mv.ops.batch_norm(p[0], zeros, zeros + 1, *p[1:], eps=0.0), [[2, 4], [6, 2]]),
    ):
        for around in (mv.plain, forced):
            leaves = [Tensor(p, requires_grad=True) for p in (x, w, b)]
            with around():
                y = norm(*leaves)
                y.sum().backward()
            assert y.dtype == dtype
            np.testing.assert_allclose(y.data, right, atol=1e-3)
            assert [leaf.grad.dtype for leaf in leaves] == [dtype, weight, weight]


def test_running_statistics_of_float16_are_updated_in_place():
    mean, var = np.zeros(1, np.float16), np.ones(1, np.float16)
    x = np.full((40, 1), 300.0, np.float16) + np.tile([[8.0], [-8.0]], (20, 1)).astype(np.float16)
    y = mv.ops.batch_norm(x, mean, var, training=True)
    np.testing.assert_allclose(y, np.tile([[1.0], [-1.0]], (20, 1)), rtol=1e-3)
    np.testing.assert_allclose([mean[0], var[0]], [30, 0.9 + 6.4 * 40 / 39], rtol=1e-3)
    mean[:] = 300
    z = mv.ops.batch_norm(x, mean, np.full(1, 4e-6, np.float16), eps=1e-5)  # a sum that float16 would round
    right = (x.astype(float) - 300) / np.sqrt(float(np.float16(4e-6)) + 1e-5)
    np.testing.assert_allclose(z, right, rtol=1e-3)


def test_clip_of_integers_stays_in_their_dtype():
    x = np.array([-128, -3, 0, 5, 127], np.int8)
    for low, high, right in (
        (-2, 3, [-2, -2, 0, 3, 3]),
        (None, 300, x),
        (np.int8(0), np.array(4), [0, 0, 0, 4, 4]),
    ):
        y = mv.ops.clip(x, low, high)
        assert y.dtype == np.int8
        assert y.tolist() == list(right)
    for dtype in (np.float16, np.float32):
        assert mv.ops.clip(np.ones(2, dtype), 0.1, 2).dtype == dtype


def test_numpy_functions_of_a_tensor_say_what_to_write():
    with pytest.raises(TypeError, match=r"x.sum\(\), or np.sum\(x.numpy\(\)\)"):
        np.sum(Tensor([1.0, 2.0]))


def test_whole():
    assert [whole(x) for x in (3, np.int8(3), np.array(3), [1, np.int64(2)], np.array([1, 2]))] == [
        3,
        3,
        3,
        (1, 2),
        (1, 2),
    ]
    assert [whole(x) for x in (1.5, np.array(1.5), [1, 2.0], np.ones((2, 2), int), "3", None)] == [None] * 6
    assert at_least_float32(np.dtype(np.float16)) == np.float32
    assert at_least_float32(np.dtype(np.float64)) == np.float64


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_options_that_are_numpys_numbers_do_not_change_the_dtype(dtype):
    x, labels, rng = np.ones((2, 3, 4), dtype), np.array([[0] * 4] * 2), np.random.default_rng(0)
    rate = np.linspace(0, 1, 3)[1]  # a np.float64
    results = {
        "drop_path": ops.drop_path(x, rate, True, rng),
        "per batch": ops.drop_path(x, rate, False, per="batch"),
        "dropout": ops.dropout(x, rate, rng=rng),
        "smooth_l1_loss": ops.smooth_l1_loss(x, 0 * x, beta=rate),
        "softplus": ops.softplus(x, beta=rate, threshold=rate),
        "label_smoothing": ops.cross_entropy(x, labels, label_smoothing=rate),
        "attention": ops.scaled_dot_product_attention(x, x, x, dropout_p=rate, rng=rng),
        "normalize": ops.normalize(x, rate * 4, eps=rate),
    }
    assert {name: y.dtype.name for name, y in results.items() if y.dtype != dtype} == {}
    assert nn.DropPath(nn.survival_schedule(3)[0])(x).dtype == dtype
