"""Which library an array belongs to, and moving between devices. The pretend GPU stands in for a real one.

Not here: CuPy itself; `pytest -m gpu` runs the ops on it (tests/ops).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import backend
from tests import strict

strict.install()


def test_the_array_decides():
    assert backend.namespace(np.ones(2)) is np
    assert backend.namespace(None, 2.0, np.ones(2)) is np
    assert backend.is_array(np.ones(2))
    assert not backend.is_array(np.float64(2))
    assert not backend.is_array([1.0])
    x = mv.to_device(np.ones(2), "strict")
    assert backend.device_of(x) == "strict"


def test_moving_there_and_back():
    x = mv.Tensor(np.arange(3.0), requires_grad=True)
    there = mv.to_device(x, "strict")
    assert there.device == "strict"
    assert there.requires_grad
    assert mv.to_device(x, "cpu") is x
    np.testing.assert_array_equal(mv.to_numpy(there), x.data)
    np.testing.assert_array_equal(mv.to_numpy(mv.to_device(there, "cpu")), x.data)
    (there * there).sum().backward()
    assert backend.device_of(there.grad) == "strict"
    np.testing.assert_array_equal(mv.to_numpy(there.grad), 2 * x.data)


def test_mixed_devices_are_refused_by_name():
    x = mv.Tensor(np.ones(3))
    y = mv.to_device(np.ones(3), "strict")
    with pytest.raises(TypeError, match=r"^add: arrays on different devices: .*cpu and .*strict; move them"):
        x + mv.Tensor(y)


def test_unknown_devices_and_missing_gpus_say_what_to_do():
    with pytest.raises(ValueError, match="unknown device 'tpu'; known are cpu, gpu"):
        mv.to_device(np.ones(2), "tpu")
    if not backend.available("gpu"):
        with pytest.raises(RuntimeError, match="minivis doctor"):
            mv.to_device(np.ones(2), "gpu")


def test_scatter_add_counts_repeated_indices():
    out = np.zeros(3)
    backend.scatter_add(out, np.array([0, 0, 2]), np.array([1.0, 2.0, 3.0]))
    assert out.tolist() == [3, 0, 3]


def test_erf_keeps_the_dtype():
    assert backend.erf(np.ones(2, np.float32)).dtype == np.float32


def test_where_several_floats_meet_integers_follow_the_widest():
    # float32 cannot hold that integer
    one = np.ones(1, np.float32)
    two = np.ones(1)
    whole = np.array([2**24 + 1])
    for operands in ((one, whole, two), (two, one, whole), (whole, two, one)):
        assert 2**24 + 1 in [float(x[0]) for x in backend.meet(*operands)]
    assert [x.dtype for x in backend.meet(one, whole)] == [np.float32, np.float32]
    assert isinstance(mv.to_numpy(np.float32(2)), np.ndarray)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
@pytest.mark.parametrize(
    "shape, index_shape", [((5, 3, 7), (40, 9)), ((70, 2), (3000,)), ((1, 4096), (2,)), ((3, 5), (0,))]
)
def test_many_rows_are_added_as_numpy_adds_them(shape, index_shape, dtype):
    rng = np.random.default_rng(0)
    index = rng.integers(-shape[0], shape[0], index_shape)
    values = (10 * rng.standard_normal((*index_shape, *shape[1:]))).astype(dtype)
    start = (10 * rng.standard_normal(shape)).astype(dtype)
    expected, *found = (start.copy() for _ in range(3))
    np.add.at(expected, index, values)
    # sums are a few hundred
    rounding = 2000 * np.finfo(dtype).eps if dtype in (np.float32, np.float64) else 0
    for out, at in zip(found, (index, (index,)), strict=True):
        backend.scatter_add(out, at, values)
        np.testing.assert_allclose(out, expected, rtol=0, atol=rounding)
