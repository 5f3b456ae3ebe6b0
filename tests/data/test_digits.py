"""The digits are the real ones, scaled as said, and the held-out set is the one that was fixed.
Not here: how well anything learns them."""

import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from minivis.data import digits


def test_the_whole_set_is_the_known_one():
    images, labels = digits.load("all")
    assert images.shape == (1797, 1, 8, 8) and images.dtype == np.float32
    assert labels.shape == (1797,) and labels.dtype == np.int64
    assert images.min() == 0 and images.max() == 1
    assert np.array_equal(images * 16, np.rint(images * 16))  # 17 grey levels
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert zlib.crc32((images * 16).astype(np.uint8).tobytes()) == 4087501628


def test_the_held_out_set_never_moves():
    held_out = digits.indices("held-out")
    assert np.array_equal(held_out, np.random.default_rng(0).permutation(1797)[:360])
    assert held_out[:8].tolist() == [360, 1773, 1482, 600, 850, 196, 968, 1742]
    images, labels = digits.load("held-out")
    assert images.shape == (360, 1, 8, 8)
    assert zlib.crc32((images * 16).astype(np.uint8).tobytes()) == 2101772941
    assert zlib.crc32(labels.astype(np.uint8).tobytes()) == 536893166


def test_the_splits_are_disjoint_and_complete():
    train, held_out = digits.indices("train"), digits.indices("held-out")
    assert len(train) == 1437
    assert sorted([*train, *held_out]) == list(range(1797)) == digits.indices("all").tolist()


@pytest.mark.parametrize("split", digits.SPLITS)
def test_a_split_is_its_indices_of_the_whole(split):
    images, labels = digits.load("all")
    chosen = digits.indices(split)
    for got, whole in zip(digits.load(split), (images, labels), strict=True):
        assert np.array_equal(got, whole[chosen])


def test_class_names_belong_to_the_labels():
    labels = digits.load("all")[1]
    assert digits.CLASSES == tuple(str(label) for label in np.unique(labels))


def test_two_loads_share_no_memory():
    first, second = digits.load()[0], digits.load()[0]
    first[:] = 7
    assert second.max() == 1


@pytest.mark.parametrize("split", ["test", "", None, 0])
def test_an_unknown_split_is_refused(split):
    with pytest.raises(ValueError, match="digits: split must be one of 'train', 'held-out', 'all', got"):
        digits.load(split)


def test_without_scikit_learn_the_pip_line_is_given(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'digits: .* pip install "minivis\[notebooks\]"'):
        digits.load()


def test_importing_the_data_does_not_import_scikit_learn():
    heavy = "sklearn scipy matplotlib cupy torch"
    code = f"import sys, minivis.data; print(*[name for name in '{heavy}'.split() if name in sys.modules])"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_digits_for_lenet_stand_in_the_middle_and_have_its_levels():
    images, _ = digits.load("train")
    large = digits.enlarge(images[:200])
    assert large.shape == (200, 1, 32, 32) and large.dtype == np.float32
    assert large.min() == 0 and large.max() == 1
    inside = large[:, :, 6:26, 6:26]
    assert np.count_nonzero(large) == np.count_nonzero(inside)  # 20 x 20 pixels
    np.testing.assert_allclose(inside.reshape(200, 1, 4, 5, 4, 5).mean(), images[:200].mean(), atol=0.02)
    levels = digits.lenet_levels(large)
    assert levels.dtype == np.float32
    assert levels.mean() == pytest.approx(0.05, abs=0.01) and levels.var() == pytest.approx(0.11, abs=0.01)
    np.testing.assert_allclose(digits.lenet_levels(np.array([0.0, 0.5, 1.0])), [-0.1, 0.5375, 1.175])
    with pytest.raises(ValueError, match="^enlarge: images"):
        digits.enlarge(images[0])
