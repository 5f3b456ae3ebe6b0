"""The bilateral filter is OpenCV's, with its disk and its colour distance: against stored results.

Where OpenCV is installed, it is asked again. Not here: the slide's form (tests/vision/test_filters.py).
"""

import importlib.util
import math

import numpy as np
import pytest

from minivis.vision import bilateral_filter
from tests.parity.make_filter_fixtures import FILTERS, ROWS, image_of, theirs

STORED = np.load(FILTERS, allow_pickle=False)


def ours(name, **options):
    """b = sqrt(2) sigma: the slide's exponents have no 2 in the denominator."""
    _, window, *sigmas = ROWS[name]
    widths = (math.sqrt(2) * sigma for sigma in sigmas)
    return bilateral_filter(
        STORED[f"{name}: image"], window, *widths, **{"disk": True, "colour": "l1", **options}
    )


@pytest.mark.parametrize("name", ROWS)
def test_the_bilateral_filter_is_that_of_opencv(name):
    assert ours(name).dtype == np.float32
    np.testing.assert_allclose(ours(name), STORED[f"{name}: expected"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ROWS)
def test_the_comparison_sees_a_square_window(name):
    assert np.abs(ours(name, disk=False) - STORED[f"{name}: expected"]).max() > 1e-3


def test_the_comparison_sees_the_norm_of_colours():
    assert np.abs(ours("colour, 5", colour="euclidean") - STORED["colour, 5: expected"]).max() > 1e-3


@pytest.mark.skipif(importlib.util.find_spec("cv2") is None, reason="needs opencv-python-headless")
@pytest.mark.parametrize("name", ROWS)
def test_the_stored_results_are_what_opencv_gives_now(name):
    np.testing.assert_array_equal(STORED[f"{name}: image"], image_of(name))
    np.testing.assert_allclose(theirs(name), STORED[f"{name}: expected"], atol=1e-6)
