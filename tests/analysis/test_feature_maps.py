"""The spectrum and the receptive field, each against a case with a known answer.

Not here: what real networks give (notebook 08).
"""

import numpy as np
import pytest

from minivis import analysis
from minivis.models import CNN

RNG = np.random.default_rng(0)


def test_a_wave_stands_at_its_frequency():
    y, x = np.indices((8, 8))
    for k in (1, 2, 4):
        wave = np.cos(np.pi / 4 * k * (x + y))
        maps = np.stack([3 + wave, 3 - wave])[:, None].astype(np.float32)
        frequencies, amplitude = analysis.fourier_amplitude(maps)
        np.testing.assert_allclose(frequencies, [0, 0.25, 0.5, 0.75, 1])
        assert amplitude.dtype == np.float32 and amplitude[1:].argmax() == k - 1
        share = 1 if k == 4 else 1 / 2  # any other wave has a partner at the negative frequency
        assert amplitude[k] == pytest.approx(np.log(share / 3), abs=1e-4)


def test_blurring_damps_high_frequencies_and_a_difference_raises_them():
    x = 1 + 0.1 * RNG.standard_normal((4, 3, 9, 9))
    before = analysis.fourier_amplitude(x)[1]
    smooth = sum(np.roll(x, (i, j), (2, 3)) for i in (-1, 0, 1) for j in (-1, 0, 1)) / 9
    assert len(before) == 5
    assert analysis.fourier_amplitude(smooth)[1][-1] < before[-1] - 1
    assert analysis.fourier_amplitude(x - 0.9 * smooth)[1][-1] > before[-1] + 1


@pytest.mark.parametrize("shape", [(4, 4), (1, 1, 4, 6), (0, 1, 4, 4), (1, 1, 0, 0)])
def test_maps_without_a_spectrum_are_refused(shape):
    with pytest.raises(ValueError, match="fourier_amplitude: maps must be"):
        analysis.fourier_amplitude(np.ones(shape))


def test_the_field_of_convolutions_is_the_theoretical_one():
    model = CNN(widths=(4, 4), depth=2, rng=0)
    model.eval()

    def first(images, count):
        for layer in list(model.layers)[:count]:
            images = layer(images)
        return images

    images = RNG.standard_normal((8, 1, 16, 16)).astype(np.float32)
    # 3, 5, 7; the third has stride 2
    for count, rows in ((1, range(7, 10)), (4, range(6, 11)), (7, range(5, 12))):
        place = (8, 8) if count < 7 else (4, 4)
        seen = analysis.receptive_field(lambda x, n=count: first(x, n), images, place)
        assert seen.sum() == pytest.approx(1) and seen.dtype == np.float32
        assert np.flatnonzero(seen.any(axis=1)).tolist() == list(rows)
        assert np.flatnonzero(seen.any(axis=0)).tolist() == list(rows)
    middle = analysis.receptive_field(lambda x: first(x, 7), images)
    np.testing.assert_array_equal(middle, seen)


def test_fields_that_do_not_exist_are_refused():
    images = np.ones((1, 1, 4, 4), np.float32)
    with pytest.raises(ValueError, match="receptive_field: function must return maps"):
        analysis.receptive_field(lambda x: x.sum(), images)
    with pytest.raises(ValueError, match=r"receptive_field: place \(2, 2\) depends on no pixel"):
        analysis.receptive_field(lambda x: x * 0.0, images)
    with pytest.raises(IndexError):
        analysis.receptive_field(lambda x: x, images, (4, 0))
