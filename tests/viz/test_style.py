"""The common frame of pictures: texts that can be read on their ground, and files that others can open.

Not here: the pictures.
"""

import os

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from minivis import viz
from minivis.viz.boxes import _PALETTE
from minivis.viz.style import greyscale, ink_on


def contrast(colour, ink):
    """WCAG's ratio of two colours, 1 to 21."""
    values = np.array([to_rgb(colour), to_rgb(ink)])
    linear = np.where(values <= 0.03928, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    low, high = sorted(linear @ [0.2126, 0.7152, 0.0722])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colour", _PALETTE)
def test_a_tag_can_be_read_on_every_colour_of_the_palette(colour):
    assert contrast(colour, ink_on(colour)) > 3.4


def test_grey_is_as_bright_as_the_colour_looks():
    np.testing.assert_allclose(greyscale(np.ones((2, 3, 3))), np.ones((2, 3)))
    red, green, blue = (greyscale(np.eye(3)[i].reshape(1, 1, 3)).item() for i in range(3))
    assert blue < red < green
    assert greyscale(np.full((2, 2), 0.5)).shape == (2, 2)


@pytest.mark.skipif(os.name != "posix", reason="other systems have no such rights")
def test_a_saved_picture_may_be_read_by_whoever_may_read_new_files(tmp_path):
    (tmp_path / "new").touch()
    viz.images(np.zeros((2, 2))).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "new").stat().st_mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "new"]


def test_rows_of_numbers_are_one_image_and_not_several():
    rows = [[0, 1, 0.5], [1, 0, 0.5]]
    assert [ax.images[0].get_array().shape for ax in viz.images(rows).axes] == [(2, 3)]
    assert [ax.images[0].get_array().shape for ax in viz.images([rows, rows]).axes] == [(2, 3)] * 2
