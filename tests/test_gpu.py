"""What only a GPU has: a training step that never waits, labels that are checked without looking, TF32, its memory.

Not here: that every op gives the same on every device; each op's own tests have that.
"""

import sys
import types

import numpy as np
import pytest

import minivis as mv
from minivis import backend, models, nn, ops, optim
from tests import strict

MODELS = {
    "ViT": lambda: models.ViT(image_size=16, patch_size=8, width=16, depth=2, heads=2, num_classes=4),
    "Swin": lambda: models.Swin(width=8, depths=(2, 2), heads=(1, 2), window=4, num_classes=4),
    "ResNet": lambda: models.ResNet((1, 1), "basic", widths=(8, 16), stem_width=8, num_classes=4),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_training_step_never_waits_for_the_gpu(name):
    strict.install()
    model = MODELS[name]().to("strict").train()
    optimizer = optim.AdamW(optim.decay_groups(model, 0.1), lr=1e-3)
    images = mv.to_device(np.ones((2, 3, 32, 32), np.float32), "strict")
    labels = np.array([1, 2])
    images = images[:, :, :16, :16] if name == "ViT" else images
    before = mv.to_numpy(model.parameters()[0].data).copy()
    labels = mv.to_device(labels, "strict")
    with strict.no_reads():
        for _ in range(2):
            optimizer.zero_grad()
            ops.cross_entropy(model(images), labels, label_smoothing=0.1).backward()
            optimizer.step()
    assert not np.array_equal(mv.to_numpy(model.parameters()[0].data), before)


def test_the_pretended_gpu_notices_who_waits():
    strict.install()
    x = mv.to_device(np.ones(2), "strict")
    for read in (
        lambda: float(x.sum()),
        lambda: bool((x > 0).all()),
        lambda: mv.to_numpy(x),
        lambda: x[0].item(),
    ):
        read()
        with strict.no_reads(), pytest.raises(AssertionError, match="waits"):
            read()


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_wrong_label_makes_nan_and_debug_names_it(device, reduction):
    logits = np.zeros((3, 4), np.float32)
    labels = np.array([0, 4, -100])
    x = mv.Tensor(mv.to_device(logits, device), requires_grad=True)
    loss = ops.cross_entropy(x, mv.to_device(labels, device), reduction=reduction)
    assert loss.dtype == np.float32
    if reduction == "none":
        expected = [np.log(4), np.nan, 0]
        np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-6)
    else:
        assert np.isnan(loss.item())
    loss.backward(mv.to_device(np.ones(loss.shape, np.float32), device))
    assert np.isnan(mv.to_numpy(x.grad)[1]).all()
    with mv.debug(), pytest.raises(IndexError, match="target 4 is out of range for K=4"):
        ops.cross_entropy(x, mv.to_device(labels, device))


@pytest.mark.parametrize(("look_up", "wrong"), [(ops.take, (-3, 2)), (ops.embedding, (-1, 2))])
def test_a_row_that_does_not_exist_is_nan_and_debug_names_it(device, look_up, wrong):
    table = mv.Tensor(
        mv.to_device(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), device), requires_grad=True
    )

    def rows(indices):
        indices = mv.to_device(np.array(indices), device)
        return look_up(table, indices) if look_up is ops.take else look_up(indices, table)

    found = rows([1, *wrong])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.numpy(), [[3, 4], [np.nan] * 2, [np.nan] * 2])
    for i in wrong:
        with mv.debug(), pytest.raises(IndexError, match=f"{i} in indices is out of range"):
            rows([i])


def test_indices_along_another_axis_are_looked_at_too(device):
    x = mv.to_device(np.ones((2, 3, 4)), device)
    indices = mv.to_device(np.array([[0, 3], [-4, 2]]), device)
    found = mv.to_numpy(ops.take(x, indices, axis=1))
    assert found.shape == (2, 2, 2, 4)
    np.testing.assert_array_equal(np.isnan(found).all(axis=(0, 3)), [[False, True], [True, False]])


def test_integers_have_no_nan_and_are_always_checked(device):
    with pytest.raises(IndexError, match="out of range"):
        ops.take(mv.to_device(np.arange(3), device), mv.to_device(np.array([3]), device))


def test_clipping_waits_once(device, monkeypatch):
    """The norm is added up where the gradients are."""
    model = nn.Linear(3, 2).to(device)
    model(mv.to_device(np.ones((4, 3), np.float32), device)).sum().backward()
    reads = []
    monkeypatch.setattr(strict, "_read", lambda x: reads.append(x) or x.host)
    norm = optim.clip_grad_norm(model, 1.0)
    assert norm == pytest.approx(np.sqrt(6 * 16 + 2 * 16), rel=1e-6)
    assert device != "strict" or len(reads) == 1


def test_what_only_a_gpu_has_says_so_without_one(monkeypatch):
    monkeypatch.setattr(backend, "available", lambda device: False)
    for function in (backend.allow_tf32, backend.peak_memory):
        with pytest.raises(
            RuntimeError, match=f"^{function.__name__}: no GPU can be used here; `minivis doctor`"
        ):
            function()


def test_what_cupy_is_asked_for(monkeypatch):
    """With a CuPy that only notes what it is told."""
    told = []
    linalg = types.SimpleNamespace(
        COMPUTE_TYPE_TF32=7, COMPUTE_TYPE_DEFAULT=1, set_compute_type=lambda *args: told.append(args)
    )
    pool = types.SimpleNamespace(free_all_blocks=lambda: told.append("freed"), total_bytes=lambda: 512)
    cupy = types.SimpleNamespace(
        _core=types.SimpleNamespace(_routines_linalg=linalg), get_default_memory_pool=lambda: pool
    )
    monkeypatch.setattr(backend, "available", lambda device: True)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    backend.allow_tf32()
    backend.allow_tf32(False)
    assert told == [(np.float32, 7), (np.float32, 1)]
    assert backend.peak_memory() == backend.peak_memory(reset=True) == 512
    assert told[2:] == ["freed"]


@pytest.mark.gpu
def test_tf32_is_used_when_it_is_allowed_and_not_before():
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(256, 256)).astype(np.float32) for _ in range(2))
    exact = a.astype(np.float64) @ b.astype(np.float64)

    def error():
        product = mv.to_numpy(mv.to_device(a, "gpu") @ mv.to_device(b, "gpu"))
        return np.abs(product - exact).max() / np.abs(exact).max()

    assert error() < 1e-6
    backend.allow_tf32()
    try:
        assert 1e-5 < error() < 1e-2
    finally:
        backend.allow_tf32(False)
    assert error() < 1e-6


@pytest.mark.gpu
def test_the_peak_counts_what_was_held():
    before = backend.peak_memory(reset=True)
    x = mv.to_device(np.ones(2**20, np.float32), "gpu")
    assert backend.peak_memory() >= before + 2**22
    del x
    assert backend.peak_memory() >= before + 2**22  # the pool keeps it
    assert backend.peak_memory(reset=True) <= before + 2**21
