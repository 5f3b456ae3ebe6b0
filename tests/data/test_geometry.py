"""Resizing, cropping, flipping and affine maps against their formulas, SciPy, and what must stay as it is.
Not here: what is drawn by chance (test_transforms)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from minivis.data.geometry import FILTERS, affine, affine_matrix, center_crop, horizontal_flip, resize

sides = st.integers(1, 9)
dtypes = st.sampled_from([np.float32, np.float64])
modes = st.sampled_from(sorted(FILTERS))


@st.composite
def pictures(draw, least=0):
    shape = draw(st.integers(least, 3)), draw(st.integers(0, 3)), draw(sides), draw(sides)
    images = np.random.default_rng(draw(st.integers(0, 99))).random(shape).astype(draw(dtypes))
    images.flags.writeable = False
    return images


def same(got, want):
    assert got.dtype == want.dtype and np.array_equal(got, want)


# -- resize ----------------------------------------------------------------------------------------


def resize_matrix(old, new, mode):
    """Return the (new, old) weights of the formula in the docstring of `resize`."""
    kernels = {
        "bilinear": (1, lambda t: max(0, 1 - abs(t))),
        "bicubic": (
            2,
            lambda t: (
                1.5 * abs(t) ** 3 - 2.5 * t * t + 1
                if abs(t) < 1
                else (-0.5 * abs(t) ** 3 + 2.5 * t * t - 4 * abs(t) + 2 if abs(t) < 2 else 0)
            ),
        ),
    }
    s = old / new
    kernel = kernels[mode][1]
    weights = np.array(
        [[kernel((j + 0.5 - (i + 0.5) * s) / max(s, 1)) for j in range(old)] for i in range(new)], float
    )
    return weights / weights.sum(axis=1, keepdims=True)


@given(pictures(), sides, sides, st.sampled_from(["bilinear", "bicubic"]))
def test_resize_is_its_formula(images, height, width, mode):
    rows, columns = resize_matrix(images.shape[2], height, mode), resize_matrix(images.shape[3], width, mode)
    got = resize(images, (height, width), mode)
    assert got.dtype == images.dtype
    np.testing.assert_allclose(got, rows @ images.astype(float) @ columns.T, rtol=0, atol=2e-6)


@given(pictures(), modes)
def test_resize_to_its_own_size_is_the_identity(images, mode):
    got = resize(images, images.shape[2:], mode)
    same(got, images.astype(np.float32).astype(images.dtype))  # Pillow computes in single precision
    assert not np.shares_memory(got, images)


@given(pictures(), sides, st.integers(1, 4))
def test_resize_to_the_nearest_pixel_repeats_pixels(images, factor, _):
    H, W = images.shape[2:]
    want = images.astype(np.float32).repeat(factor, axis=2).repeat(factor, axis=3).astype(images.dtype)
    same(resize(images, (H * factor, W * factor), "nearest"), want)


@given(pictures(), sides, sides, st.sampled_from(["bilinear", "bicubic"]))
def test_resize_commutes_with_the_mirror(images, height, width, mode):
    left = resize(horizontal_flip(images), (height, width), mode)
    np.testing.assert_allclose(
        left, horizontal_flip(resize(images, (height, width), mode)), rtol=0, atol=2e-6
    )


def test_shrinking_averages_every_pixel():
    # (1, 1, 64, 64): nearest pixels would see one colour
    stripes = np.tile(np.float32([0, 1]), (1, 1, 64, 32))
    assert np.abs(resize(stripes, 8)[..., 1:-1] - 0.5).max() < 0.02
    assert resize(stripes, 8, "nearest").std() == 0


@pytest.mark.parametrize(
    ("shape", "want"), [((20, 30), (10, 15)), ((30, 20), (15, 10)), ((427, 640), (10, 14))]
)
def test_one_number_is_the_shorter_side(shape, want):
    assert resize(np.zeros((1, 1, *shape), np.float32), 10).shape == (1, 1, *want)


# -- crop and flip ---------------------------------------------------------------------------------


@given(pictures(), st.data())
def test_center_crop_leaves_the_middle(images, data):
    H, W = images.shape[2:]
    height, width = data.draw(st.integers(1, H)), data.draw(st.integers(1, W))
    got = center_crop(images, (height, width))
    top, left = (H - height) // 2, (W - width) // 2
    same(got, images[:, :, top:, left:][:, :, :height, :width])
    assert 0 <= (H - height - top) - top <= 1 and 0 <= (W - width - left) - left <= 1
    assert not np.shares_memory(got, images)


@given(pictures())
def test_two_mirrors_are_none(images):
    once = horizontal_flip(images)
    assert not np.shares_memory(once, images)
    same(horizontal_flip(once), images)
    for column in range(images.shape[3]):
        assert np.array_equal(once[..., column], images[..., -1 - column])


# -- affine ----------------------------------------------------------------------------------------

angles = st.floats(-180, 180)
shifts = st.tuples(st.floats(-5, 5), st.floats(-5, 5))
scales = st.floats(0.3, 3)
shears = st.floats(-60, 60)


@given(pictures(), st.floats(-2, 2))
def test_the_identity_matrix_changes_nothing(images, fill):
    got = affine(images, affine_matrix(), fill)
    same(got, images)
    assert not np.shares_memory(got, images)


@given(pictures(), st.integers(-10, 10), st.integers(-10, 10), st.sampled_from([0.0, -1.5]))
def test_a_shift_by_whole_pixels_rolls_and_fills(images, right, down, fill):
    got = affine(images, affine_matrix(translate=(right, down)), fill)
    H, W = images.shape[2:]
    want = np.roll(images, (down, right), axis=(2, 3))
    row = np.arange(H)[:, None] - down
    column = np.arange(W) - right
    inside = (row >= 0) & (row < H) & (column >= 0) & (column < W)
    same(got, np.where(inside, want, images.dtype.type(fill)))


@given(pictures(), st.integers(-4, 4))
def test_a_quarter_turn_is_rot90(images, quarters):
    side = min(images.shape[2:])
    square = images[:, :, :side, :side]
    want = np.rot90(square, quarters, axes=(2, 3))
    np.testing.assert_allclose(affine(square, affine_matrix(angle=90 * quarters)), want, rtol=0, atol=1e-6)


@given(pictures())
def test_a_matrix_that_mirrors_is_the_mirror(images):
    same(affine(images, [[-1, 0, 0], [0, 1, 0]]), horizontal_flip(images))


@given(pictures(), angles, shifts, scales, shears, st.floats(-1, 1))
def test_affine_agrees_with_scipy(images, angle, shift, scale, shear, fill):
    matrix = affine_matrix(angle, shift, scale, shear)
    (a, b, u), (c, d, v) = matrix
    middle = (np.array(images.shape[2:]) - 1) / 2
    linear = np.array([[d, c], [b, a]])  # SciPy puts rows before columns
    offset = middle + (v, u) - linear @ middle
    got = affine(images, matrix, fill)
    assert got.dtype == images.dtype and got.shape == images.shape
    for image, moved in zip(
        images.reshape(-1, *images.shape[2:]), got.reshape(-1, *images.shape[2:]), strict=True
    ):
        want = ndimage.affine_transform(
            image.astype(float), linear, offset, order=1, mode="grid-constant", cval=fill
        )
        np.testing.assert_allclose(moved, want, rtol=0, atol=1e-5)


@given(pictures(least=1), st.data())
def test_each_picture_has_its_own_matrix(images, data):
    B = len(images)
    angle = data.draw(st.lists(angles, min_size=B, max_size=B))
    matrices = affine_matrix(angle, scale=1.2)
    assert matrices.shape == (B, 2, 3)
    got = affine(images, matrices)
    for i in range(B):
        same(got[i : i + 1], affine(images[i : i + 1], affine_matrix(angle[i], scale=1.2)))


@given(angles, shifts, scales, shears, st.tuples(st.floats(-9, 9), st.floats(-9, 9)))
def test_the_matrix_takes_a_moved_point_back(angle, shift, scale, shear, point):
    x, y = point
    x += np.tan(np.radians(shear)) * y  # slant: lower rows (y > 0) go right
    turn = np.radians(angle)  # counter-clockwise as seen, with y pointing down
    x, y = np.cos(turn) * x + np.sin(turn) * y, -np.sin(turn) * x + np.cos(turn) * y
    x, y = scale * x + shift[0], scale * y + shift[1]
    np.testing.assert_allclose(
        affine_matrix(angle, shift, scale, shear) @ (x, y, 1), point, rtol=0, atol=1e-9
    )


def test_a_dot_goes_where_it_is_sent():
    dot = np.zeros((1, 1, 5, 5), np.float32)
    dot[0, 0, 2, 4] = 1  # right of the middle
    turned = affine(dot, affine_matrix(angle=90))
    assert np.unravel_index(turned.argmax(), (5, 5)) == (0, 2)  # above it
    slanted = affine(np.roll(dot, (2, -2), (2, 3)), affine_matrix(shear=45))
    assert np.unravel_index(slanted.argmax(), (5, 5)) == (4, 4)  # from the bottom's middle to its right


# -- bad input -------------------------------------------------------------------------------------

CALLS = {
    "resize": lambda images: resize(images, 2),
    "center_crop": lambda images: center_crop(images, 2),
    "horizontal_flip": horizontal_flip,
    "affine": lambda images: affine(images, affine_matrix()),
}
ONE = np.zeros((2, 3, 4, 5), np.float32)


@pytest.mark.parametrize("name", CALLS)
def test_what_is_no_batch_of_pictures_is_refused(name):
    call = CALLS[name]
    with pytest.raises(ValueError, match=rf"^{name}: images must have four axes .* got shape \(3, 4, 5\)"):
        call(ONE[0])
    with pytest.raises(TypeError, match=rf"^{name}: images must be .* got dtype uint8; .* / 255"):
        call(ONE.astype(np.uint8))
    with pytest.raises(TypeError, match=rf"^{name}: images must be a NumPy array .* got list"):
        call(ONE.tolist())


@pytest.mark.parametrize("name", CALLS)
def test_strided_and_read_only_pictures_are_read(name):
    images = np.random.default_rng(0).random((3, 2, 8, 12), np.float32)[::2, :, ::2, ::-3]
    images.flags.writeable = False
    same(CALLS[name](images), CALLS[name](np.ascontiguousarray(images)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: resize(ONE, 0), ValueError, "resize: size must be one or two integers of at least 1, got 0"),
        (lambda: resize(ONE, (2, -1)), ValueError, r"resize: size must be .* got \(2, -1\)"),
        (lambda: resize(ONE, (2, 2, 2)), ValueError, r"resize: size must be .* got \(2, 2, 2\)"),
        (lambda: resize(ONE, 2.5), TypeError, "resize: size must be an integer or two of them, got 2.5"),
        (lambda: resize(ONE, "2"), TypeError, "resize: size must be an integer or two of them, got '2'"),
        (lambda: resize(ONE, None), TypeError, "resize: size must be an integer or two of them, got None"),
        (
            lambda: resize(ONE, 2, "lanczos"),
            ValueError,
            "resize: mode must be one of .*'bilinear'.* got 'lanczos'",
        ),
        (
            lambda: resize(ONE[..., :0], 2),
            ValueError,
            r"resize: images has no pixels \(images: \(2, 3, 4, 0\)\)",
        ),
        (
            lambda: center_crop(ONE, (5, 5)),
            ValueError,
            r"center_crop: the crop 5 x 5 is larger than the pictures \(images: \(2, 3, 4, 5\)\)",
        ),
        (lambda: center_crop(ONE, 0), ValueError, "center_crop: size must be .* at least 1, got 0"),
        (lambda: affine(ONE, np.eye(3)), ValueError, r"affine: matrix .* \(2, 3, 4, 5\), matrix: \(3, 3\)"),
        (lambda: affine(ONE, np.ones((3, 2, 3))), ValueError, r"affine: matrix .* matrix: \(3, 2, 3\)"),
        (lambda: affine(ONE, np.full((2, 3), np.nan)), ValueError, "affine: matrix must be finite"),
        (lambda: affine_matrix(scale=0), ValueError, "affine_matrix: scale must be above 0, got 0"),
        (
            lambda: affine_matrix(scale=[1, -1]),
            ValueError,
            r"affine_matrix: scale must be above 0, got \[1, -1\]",
        ),
        (lambda: affine_matrix(scale=np.nan), ValueError, "affine_matrix: scale must be above 0, got nan"),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        call()


def test_a_batch_without_pictures_or_pixels_stays_one():
    for shape in [(0, 3, 4, 5), (2, 0, 4, 5)]:
        empty = np.zeros(shape, np.float32)
        assert resize(empty, (2, 3)).shape == (*shape[:2], 2, 3)
        assert center_crop(empty, 2).shape == (*shape[:2], 2, 2)
        assert horizontal_flip(empty).shape == affine(empty, affine_matrix()).shape == shape
    assert affine(ONE[..., :0], affine_matrix()).shape == (2, 3, 4, 0)
