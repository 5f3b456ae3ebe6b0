"""The peak signal-to-noise ratio. Not here: other metrics."""

import math

import numpy as np
import pytest

import minivis as mv
from minivis.metrics import psnr


def test_ten_decibels_are_a_tenth_of_the_error():
    zeros = np.zeros((3, 4))
    for error, expected in ((0.1, 20.0), (0.01, 40.0), (1.0, 0.0)):
        assert psnr(zeros + error, zeros) == pytest.approx(expected)
    assert psnr(zeros + 25.5, zeros, peak=255) == pytest.approx(20.0)
    assert psnr(zeros, zeros) == math.inf


def test_it_is_that_of_the_noise():
    rng = np.random.default_rng(0)
    picture = rng.random((3, 200, 200)).astype(np.float32)
    noisy = picture + rng.normal(0, 0.05, picture.shape).astype(np.float32)
    assert psnr(noisy, picture) == pytest.approx(20 * math.log10(1 / 0.05), abs=0.05)
    assert psnr(mv.Tensor(noisy), picture) == psnr(noisy, picture)


def test_halves_and_whole_numbers_are_compared_exactly():
    assert psnr(np.array([200], np.uint8), np.array([210], np.uint8), 255) == pytest.approx(28.13, abs=0.01)
    assert psnr(np.float16([300]), np.float16([0]), 300) == pytest.approx(0.0)
    # 20 log10(255 / 10): the square of a uint8 is not taken as one
    assert psnr(np.array([200], np.uint8), np.array([210], np.uint8), np.uint8(255)) == pytest.approx(
        28.13, abs=0.01
    )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((np.zeros(3), np.zeros(4)), r"psnr: image and target .* \(image: \(3,\), target: \(4,\)\)"),
        ((np.zeros((0, 3)), np.zeros((0, 3))), "with pixels"),
        ((np.zeros(3), np.zeros(3), 0), "psnr: peak must be positive, got 0"),
    ],
)
def test_bad_input_is_told(args, message):
    with pytest.raises(ValueError, match=message):
        psnr(*args)
