"""The two photos are the real ones, the right way up and in the right colours.
Not here: resizing itself (test_geometry)."""

import sys

import numpy as np
import pytest

from minivis.data import photos
from minivis.data.geometry import resize


@pytest.mark.parametrize("name", photos.names())
def test_a_photo_is_float_rgb_channels_first(name):
    photo = getattr(photos, name)()
    assert photo.shape == (3, 427, 640) and photo.dtype == np.float32 and photo.flags.c_contiguous
    assert photo.min() >= 0 and 0.9 < photo.max() <= 1
    assert np.array_equal(photo, photos.load(name))
    assert name in photos.CREDITS


def test_the_colours_are_where_they_belong():
    sky, petals = photos.china()[:, 20, 500], photos.flower()[:, 150, 240]
    red, green, blue = sky
    assert min(sky) > 0.7 and blue > red  # top right of the tower: pale blue
    red, green, blue = petals
    assert red > green > blue  # orange


def test_a_photo_comes_in_any_size():
    assert photos.china(size=224).shape == (3, 224, 335)
    small = photos.flower(size=(30, 50))
    assert small.shape == (3, 30, 50) and small.dtype == np.float32
    assert np.array_equal(small, resize(photos.flower()[None], (30, 50))[0])
    assert small.min() >= 0 and small.max() <= 1


def test_two_loads_share_no_memory():
    first = photos.china()
    first[:] = 7
    assert photos.china().max() <= 1


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="photos: name must be one of 'china', 'flower', got 'cat'"):
        photos.load("cat")
    with pytest.raises(ValueError, match="resize: size must be .* got 0"):
        photos.china(size=0)


def test_without_scikit_learn_the_pip_line_is_given(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'photos: .* pip install "minivis\[notebooks\]"'):
        photos.china()
