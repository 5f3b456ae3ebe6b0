"""Rows shared among threads: each row once, the same bits for any number of threads, no writes after the end.

Not here: what the routines compute (test_routines.py).
"""

import os
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivis.fast import blocks as plain
from minivis.fast import threads


@pytest.fixture(params=["1", "2", "3", "5"])
def some_threads(request, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", request.param)
    return int(request.param)


@given(st.integers(0, 60), st.integers(0, 9))
def test_every_row_is_done_once(n, least):
    seen = np.zeros(n, int)

    def run(start, stop):
        seen[start:stop] += 1

    threads.over(n, run, least)
    assert (seen == 1).all()


def test_it_takes_as_many_threads_as_it_may(some_threads):
    assert threads.count() == some_threads
    names = set()
    all_here = threading.Barrier(some_threads)

    def run(start, stop):
        all_here.wait(timeout=30)  # passes only if all run at the same time
        names.add(threading.current_thread().name)

    threads.over(100, run)
    assert len(names) == some_threads


@pytest.mark.parametrize("asked", ["", "0", "many"])
def test_without_a_number_there_is_one_a_core(asked, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert 1 <= threads.count() <= os.cpu_count()


def test_a_thread_does_not_share_its_share(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    inner = []

    def run(start, stop):
        if threading.current_thread() is not threading.main_thread():
            threads.over(90, lambda a, b: inner.append((a, b)))

    threads.over(3, run)
    assert inner == [(0, 90)] * 2


@pytest.mark.parametrize("where", [0, 2])
def test_an_exception_comes_out_when_nobody_writes_any_more(where, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    ended = []

    def run(start, stop):
        if start == where:
            raise ZeroDivisionError
        time.sleep(0.05)
        ended.append(start)

    with pytest.raises(ZeroDivisionError):
        threads.over(3, run)
    assert len(ended) == 2


def test_ctrl_c_waits_for_the_others_too(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    ended = []

    def run(start, stop):
        if start == 0:
            raise KeyboardInterrupt
        time.sleep(0.05)
        ended.append(start)

    with pytest.raises(KeyboardInterrupt):
        threads.over(2, run)
    assert ended == [1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # this test forks beside threads
def test_a_forked_process_has_threads_of_its_own(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    threads.over(2, lambda a, b: None)
    child = os.fork()
    if not child:
        seen = np.zeros(2, int)
        threads.over(2, lambda a, b: seen.__setitem__(slice(a, b), 1))
        os._exit(int(seen.sum()))
    for _ in range(300):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.1)
    else:
        os.kill(child, 9)
    assert done and os.waitstatus_to_exitcode(status) == 2


def test_blas_has_its_threads_back_afterwards():
    pytest.importorskip("threadpoolctl")
    before = [library.num_threads for library in threads._blas()]
    for library in threads._blas():
        library.set_num_threads(2)
    try:
        with threads.blas_alone():
            assert all(library.num_threads == 1 for library in threads._blas())
            with threads.blas_alone():
                pass
            assert all(library.num_threads == 1 for library in threads._blas())
        assert all(library.num_threads == 2 for library in threads._blas())
        with pytest.raises(ZeroDivisionError), threads.blas_alone():
            raise ZeroDivisionError
        assert all(library.num_threads == 2 for library in threads._blas())
    finally:
        for library, count in zip(threads._blas(), before, strict=True):
            library.set_num_threads(count)


def windows(routines, x):
    """The windows of 40 maps, and the sum after adding them back."""
    shape = (40, 8, 30, 30)
    geometry = ((3, 2), (15, 29), (2, 1), (1, 0), (1, 1))
    rows = routines.im2row(x[:3000, :96].reshape(shape), *geometry)
    return rows, routines.row2im(rows, shape, *geometry)


CALLS = {
    "im2row and row2im": windows,
    "gelu": lambda routines, x: routines.gelu(x, "none"),
    "softmax": lambda routines, x: routines.softmax(x, -1),
    "softmax_vjp": lambda routines, x: routines.softmax_vjp(x, x[::-1], -1),
    "layer_norm": lambda routines, x: routines.layer_norm(x, x[0], x[1], 1e-5),
    "layer_norm_vjp": lambda routines, x: routines.layer_norm_vjp(x, x[::-1], x[:, :1], x[0]),
    "layer_norm_vjp, no weight": lambda routines, x: routines.layer_norm_vjp(x, x[::-1], x[:, :1], None)[0],
}


@pytest.fixture(params=["plain", "compiled"])
def routines(request, monkeypatch):
    """The routines of NumPy, and those of Numba, which here use threads for small arrays too."""
    if request.param == "plain":
        return plain
    pytest.importorskip("numba")
    from minivis.fast import compiled

    monkeypatch.setattr(compiled, "_LEAST_FOR_A_THREAD", 2**12)
    return compiled


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_number_of_threads_gives_the_same_bits(routines, name, dtype, monkeypatch):
    if routines is not plain and dtype == np.float64:
        pytest.skip("compiled routines are for float32")
    x = np.random.default_rng(0).standard_normal((3001, 97)).astype(dtype)
    found = []
    for count in ("1", "2", "3", "2"):
        monkeypatch.setenv("OMP_NUM_THREADS", count)
        result = CALLS[name](routines, x)
        found.append(result if isinstance(result, tuple) else (result,))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_adamw_is_the_same_with_any_number_of_threads_and_on_views_with_gaps(routines, dtype, monkeypatch):
    rng = np.random.default_rng(0)
    found = []
    start = (rng.standard_normal((4, 300, 1001)) ** 2).astype(dtype)
    for count, step in (("1", 1), ("3", 1), ("2", 2), ("2", -1)):  # -1: only the gradient is not contiguous
        monkeypatch.setenv("OMP_NUM_THREADS", count)
        wide = np.repeat(start, abs(step), axis=-1)
        arrays = [x[..., :: abs(step)] for x in wide]
        if step < 0:
            arrays[1] = np.asfortranarray(arrays[1])
        routines.adamw_step(*arrays, lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.1, step=3)
        found.append(np.stack(arrays))
    for other in found[1:]:
        exact = dtype == np.float64
        np.testing.assert_allclose(other, found[0], rtol=1e-12 if exact else 1e-5, atol=0 if exact else 1e-6)
    assert not np.allclose(found[0][0], start[0])
