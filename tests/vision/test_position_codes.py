"""Sine codes by their formula, and tables resized: the same grid is the identity, prefix tokens stay.

Not here: the layers that add codes (tests/nn).
"""

import math

import numpy as np
import pytest

import minivis as mv
from minivis.gradcheck import check_gradient
from minivis.vision import (
    padded_sine_position_code,
    resize_position_table,
    sine_position_code,
    sine_position_code_1d,
)

RNG = np.random.default_rng(2)


def test_the_code_of_a_place_by_the_formula():
    code = sine_position_code_1d(50, 6, dtype="float64")
    for p in (0, 1, 49):
        for i in range(3):
            angle = p / 10000 ** (2 * i / 6)
            np.testing.assert_allclose(code[p, 2 * i : 2 * i + 2], [math.sin(angle), math.cos(angle)])
    assert sine_position_code_1d(3, 4).dtype == np.float32 and sine_position_code_1d(0, 4).shape == (0, 4)


def test_a_shift_is_a_rotation_and_similarity_depends_on_the_offset_only():
    code = sine_position_code_1d(40, 16, dtype="float64")
    similarity = code @ code.T
    for offset in (1, 7):
        np.testing.assert_allclose(np.diagonal(similarity, offset), similarity[0, offset])
    np.testing.assert_allclose(np.diagonal(similarity), 8)


def test_the_code_of_a_grid_is_row_code_beside_column_code():
    code = sine_position_code(3, 5, 8, dtype="float64")
    rows, columns = sine_position_code_1d(3, 4, dtype="float64"), sine_position_code_1d(5, 4, dtype="float64")
    assert code.shape == (3, 5, 8)
    for i in range(3):
        for j in range(5):
            np.testing.assert_array_equal(code[i, j], np.concatenate([rows[i], columns[j]]))
    assert len(np.unique(code.reshape(-1, 8).round(9), axis=0)) == 15


def test_a_normalised_code_gives_the_last_row_and_column_a_full_turn():
    code = sine_position_code(3, 5, 8, normalize=True, temperature=1.0, dtype="float64")
    np.testing.assert_allclose(code[2, 4, ::2], 0, atol=1e-5)
    np.testing.assert_allclose(code[2, 4, 1::2], 1, atol=1e-9)
    half = sine_position_code(2, 4, 8, normalize=True, dtype="float64")[0, 1]
    np.testing.assert_allclose(
        half, sine_position_code(4, 8, 8, normalize=True, dtype="float64")[1, 3], atol=1e-5
    )


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: sine_position_code_1d(3, 5), "sine_position_code_1d: dim must be even"),
        (lambda: sine_position_code(3, 3, 6), "sine_position_code: dim must be divisible by 4"),
        (lambda: sine_position_code(-1, 3, 8), "sine_position_code: dim must be"),
        (
            lambda: resize_position_table(np.zeros((1, 7, 3)), (2, 2), (3, 3)),
            "resize_position_table: table must be",
        ),
        (
            lambda: resize_position_table(np.zeros((5, 3)), (2, 2), (3, 3)),
            "resize_position_table: table must be",
        ),
        (
            lambda: resize_position_table(np.zeros((1, 5, 3)), (2, 2), (3, 3), offset=1.0),
            "resize_position_table: offset must be at least 0 and below 1, got 1.0",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_resizing_to_the_same_grid_is_the_identity_but_rows_are_not_columns():
    table = RNG.standard_normal((1, 7, 4))
    assert resize_position_table(table, (2, 3), (2, 3)) is table
    assert np.abs(resize_position_table(table, (2, 3), (3, 2)) - table).max() > 0.1


@pytest.mark.parametrize("prefix", [0, 1, 2])
def test_prefix_codes_stay_and_patches_are_interpolated(prefix):
    table = RNG.standard_normal((1, prefix + 6, 4))
    new = resize_position_table(table, (2, 3), (4, 5), prefix)
    assert new.shape == (1, prefix + 20, 4)
    np.testing.assert_array_equal(new[:, :prefix], table[:, :prefix])
    grid = table[:, prefix:].reshape(1, 2, 3, 4).transpose(0, 3, 1, 2)
    expected = mv.ops.interpolate(grid, size=(4, 5), mode="bicubic").transpose(0, 2, 3, 1).reshape(1, 20, 4)
    np.testing.assert_array_equal(new[:, prefix:], expected)


def test_an_offset_moves_the_sample_points_and_antialias_reads_every_code():
    rows = np.arange(8.0)
    table = np.broadcast_to(rows[:, None, None], (8, 4, 1)).reshape(1, 32, 1)  # a code is its row's number
    new = resize_position_table(table, (8, 4), (4, 4), 0, mode="bilinear", offset=0.1)
    places = (np.arange(4) + 0.5) * 8 / 4.1 - 0.5
    np.testing.assert_allclose(new.reshape(4, 4)[:, 0], places)
    spike = np.zeros((1, 16, 1))
    spike[0, 3] = 1  # between the sample points, were it not for antialias
    shrink = lambda antialias: resize_position_table(  # noqa: E731
        spike, (16, 1), (2, 1), 0, mode="bilinear", antialias=antialias
    )
    assert shrink(True).any() and not shrink(False)[0, 1].any()
    same = resize_position_table(table, (8, 4), (8, 4), 0, offset=0.1, antialias=True)
    assert same is table


def test_a_constant_table_stays_constant_and_gradients_flow():
    np.testing.assert_allclose(resize_position_table(np.ones((1, 7, 2)), (2, 3), (5, 4)), 1)
    check_gradient(lambda t: resize_position_table(t, (2, 3), (3, 4)), RNG.standard_normal((1, 7, 2)))
    assert resize_position_table(np.ones((1, 7, 2), np.float32), (2, 3), (5, 4)).dtype == np.float32


def test_without_padding_the_padded_code_is_the_stretched_one():
    code = padded_sine_position_code(np.ones((2, 5, 7), bool), 16)
    assert code.dtype == np.float32 and code.shape == (2, 5, 7, 16)
    np.testing.assert_allclose(code[1], sine_position_code(5, 7, 16, normalize=True), atol=2e-6)


def test_the_code_of_a_place_does_not_depend_on_the_padding():
    valid = np.zeros((3, 9, 12), bool)
    for i, (height, width) in enumerate([(9, 12), (4, 5), (0, 0)]):
        valid[i, :height, :width] = True
    code = padded_sine_position_code(valid, 8)
    np.testing.assert_array_equal(code[1, :4, :5], padded_sine_position_code(np.ones((1, 4, 5), bool), 8)[0])
    np.testing.assert_array_equal(code[2, ..., ::2], 0)  # an image that is all padding: sin 0, cos 0
    np.testing.assert_array_equal(code[2, ..., 1::2], 1)


def test_padded_codes_refuse_masks_that_are_not_boolean():
    with pytest.raises(ValueError, match="padded_sine_position_code: valid must be boolean"):
        padded_sine_position_code(np.ones((1, 2, 2)), 8)
    with pytest.raises(ValueError, match="dim divisible by 4"):
        padded_sine_position_code(np.ones((1, 2, 2), bool), 6)
