"""Laws of resizing and sampling, beyond the laws of every op, and mistakes that these laws reject.

The tables of expected numbers are PyTorch's. Not here: gradients, dtypes, errors, backends (test_every_op.py).
"""

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from minivis import ops

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
MODES = [  # every way to interpolate
    {"mode": "nearest"},
    {"mode": "bilinear"},
    {"mode": "bilinear", "align_corners": True},
    {"mode": "bilinear", "antialias": True},
    {"mode": "bicubic"},
    {"mode": "bicubic", "align_corners": True},
    {"mode": "bicubic", "antialias": True},
]
sides = st.tuples(st.integers(1, 7), st.integers(1, 7))
modes = st.sampled_from(MODES)
seeds = st.integers(0, 99)


def image(spatial, seed=0):
    return np.random.default_rng(seed).standard_normal((2, 2, *spatial))


def rejects(law, implementation, *strategies):
    """Whether the law rejects a wrong implementation, by its own assertion."""

    @settings(max_examples=200, derandomize=True, database=None, phases=[Phase.generate])
    @given(st.tuples(*strategies))
    def run(drawn):
        law(implementation, *drawn)

    with pytest.raises(AssertionError):
        run()


# interpolate


def resizing_to_the_same_size_changes_nothing(interpolate, spatial, options, seed):
    x = image(spatial, seed)
    np.testing.assert_allclose(interpolate(x, size=spatial, **options), x, **CLOSE)


def a_constant_stays_constant(interpolate, spatial, size, options):
    np.testing.assert_allclose(
        interpolate(np.full((1, 1, *spatial), 3.0), size=size, **options), 3.0, **CLOSE
    )


def rows_and_columns_are_alike(interpolate, spatial, size, options, seed):
    """Resizing commutes with transposing, if the two sizes are exchanged too."""
    x = image(spatial, seed)
    y = interpolate(x, size=size, **options)
    assert y.shape == (2, 2, *size)
    np.testing.assert_allclose(
        interpolate(x.swapaxes(2, 3), size=size[::-1], **options), y.swapaxes(2, 3), **CLOSE
    )


def mirroring_commutes(interpolate, spatial, size, options, seed):
    """Mirroring commutes with resizing, except for nearest, which rounds down, and for one column with align_corners."""
    if options["mode"] != "nearest" and not (options.get("align_corners") and size[1] == 1):
        x = image(spatial, seed)
        y = interpolate(x, size=size, **options)
        np.testing.assert_allclose(interpolate(x[..., ::-1], size=size, **options), y[..., ::-1], **CLOSE)


def nearest_up_then_mean_pooling_is_nothing(interpolate, spatial, factor, seed):
    x = image(spatial, seed)
    up = interpolate(x, scale_factor=factor, mode="nearest")
    np.testing.assert_allclose(ops.avg_pool2d(up, factor), x, **CLOSE)


def bilinear_is_exact_on_affine_images(interpolate, spatial, size, align_corners, seed):
    """Everywhere with align_corners; otherwise at every position between centres of input pixels."""
    a, b, c = np.random.default_rng(seed).standard_normal(3)
    (H, W), (H_out, W_out) = spatial, size
    x = a + b * np.arange(H)[:, None] + c * np.arange(W)
    if align_corners:
        rows, columns = np.linspace(0, H - 1, H_out), np.linspace(0, W - 1, W_out)
    else:
        rows = (np.arange(H_out) + 0.5) * H / H_out - 0.5
        columns = (np.arange(W_out) + 0.5) * W / W_out - 0.5
    y = interpolate(x[None, None], size=size, mode="bilinear", align_corners=align_corners)[0, 0]
    inside = ((rows >= 0) & (rows <= H - 1))[:, None] & (columns >= 0) & (columns <= W - 1)
    assert inside.any() or not align_corners
    np.testing.assert_allclose(y[inside], (a + b * rows[:, None] + c * columns)[inside], **CLOSE)


@given(sides, modes, seeds)
def test_resizing_to_the_same_size_changes_nothing(spatial, options, seed):
    resizing_to_the_same_size_changes_nothing(ops.interpolate, spatial, options, seed)


@given(sides, sides, modes)
def test_a_constant_stays_constant(spatial, size, options):
    a_constant_stays_constant(ops.interpolate, spatial, size, options)


@given(sides, sides, modes, seeds)
def test_rows_and_columns_are_alike(spatial, size, options, seed):
    rows_and_columns_are_alike(ops.interpolate, spatial, size, options, seed)


@given(sides, sides, modes, seeds)
def test_mirroring_commutes(spatial, size, options, seed):
    mirroring_commutes(ops.interpolate, spatial, size, options, seed)


@given(sides, st.tuples(st.integers(1, 4), st.integers(1, 4)), seeds)
def test_nearest_up_then_mean_pooling_is_nothing(spatial, factor, seed):
    nearest_up_then_mean_pooling_is_nothing(ops.interpolate, spatial, factor, seed)


@given(sides, sides, st.booleans(), seeds)
def test_bilinear_is_exact_on_affine_images(spatial, size, align_corners, seed):
    bilinear_is_exact_on_affine_images(ops.interpolate, spatial, size, align_corners, seed)


def test_bicubic_reproduces_straight_lines_only_with_the_antialias_kernel():
    """Keys' kernel reproduces straight lines only for a = -0.5; a = -0.75 is sharper, but not exact."""
    x = np.arange(9.0) * np.ones((1, 1, 3, 1))
    places = (np.arange(23) + 0.5) * 9 / 23 - 0.5
    inside = (places >= 1) & (places <= 7)
    exact, sharp = (
        ops.interpolate(x, size=(3, 23), mode="bicubic", antialias=a)[0, 0, 0] for a in (True, False)
    )
    np.testing.assert_allclose(exact[inside], places[inside], **CLOSE)
    assert 0.01 < abs(sharp - places)[inside].max() < 0.1


def test_antialias_lets_every_pixel_have_its_say():
    """Away from the borders every input pixel has the same weight; without antialias half of them are not read."""
    x = np.eye(16).reshape(16, 1, 1, 16)
    wide = ops.interpolate(x, size=(1, 4), mode="bilinear", antialias=True).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(wide[6:-6], 0.25, **CLOSE)
    assert (wide > 0.1).all()
    narrow = ops.interpolate(x, size=(1, 4), mode="bilinear").sum(axis=(1, 2, 3))
    assert (narrow == 0).sum() == 8


def test_a_nan_stays_where_it_is():
    x = np.zeros((1, 1, 5, 5))
    x[0, 0, 2, 2] = np.nan
    for options, reach in (({"mode": "nearest"}, 2), ({"mode": "bilinear"}, 4), ({"mode": "bicubic"}, 8)):
        assert np.isnan(ops.interpolate(x, size=(10, 10), **options)).sum() == reach**2


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_nearest_resizes_labels_too(dtype):
    x = np.array([[[[0, 1], [1, 0]]]]).astype(dtype)
    y = ops.interpolate(x, size=(2, 4))
    assert y.dtype == dtype
    assert y[0, 0].astype(int).tolist() == [[0, 0, 1, 1], [1, 1, 0, 0]]


def test_bilinear_weights_do_not_drift_over_a_long_line():
    """float32 coordinates of a thousand pixels lose digits, but no more than one rounding."""
    x = np.arange(1000.0).reshape(1, 1, 1, 1000)
    for options in MODES[1:3]:
        high, low = (
            ops.interpolate(x.astype(t), size=(1, 1777), **options) for t in (np.float64, np.float32)
        )
        np.testing.assert_allclose(low, high, rtol=2e-7, atol=1e-4)


TORCH_INTERPOLATE = [
    ({"size": 7, "mode": "nearest"}, [1, 1, 2, 4, 4, 8, 3]),
    ({"size": 3, "mode": "nearest"}, [1, 2, 8]),
    ({"scale_factor": 1.7, "mode": "nearest"}, [1, 1, 2, 2, 4, 4, 8, 3]),
    ({"scale_factor": 2.1, "mode": "nearest"}, [1, 1, 2, 2, 4, 4, 8, 8, 3, 3]),
    ({"size": 8, "mode": "bilinear"}, [1, 1.4375, 2.125, 3.375, 5.25, 7.75, 5.1875, 3]),
    ({"size": 3, "mode": "bilinear"}, [1.333333, 4, 4.666667]),
    (
        {"scale_factor": 1.7, "mode": "bilinear"},
        [1, 1.382353, 1.970588, 3.117647, 4.588235, 6.941176, 6.382353, 3.441176],
    ),
    (
        {"size": 8, "mode": "bilinear", "align_corners": True},
        [1, 1.571429, 2.285714, 3.428571, 5.142857, 7.428571, 5.857143, 3],
    ),
    ({"size": 3, "mode": "bilinear", "antialias": True}, [1.428571, 4.444444, 5.142857]),
    ({"size": 7, "mode": "bicubic"}, [0.921283, 1.370262, 2.462099, 4, 7.578717, 6.3207, 2.606414]),
    (
        {"scale_factor": 1.7, "mode": "bicubic"},
        [0.902624, 1.233017, 1.935744, 2.800408, 4.729347, 7.646734, 6.923061, 3.379656],
    ),
    (
        {"size": 7, "mode": "bicubic", "align_corners": True},
        [1, 1.462963, 2.518519, 4, 7.407407, 6.87037, 3],
    ),
    ({"size": 3, "mode": "bicubic", "antialias": True}, [1.230769, 4.64186, 5.261538]),
    (
        {"size": 7, "mode": "bicubic", "antialias": True},
        [0.941748, 1.426593, 2.440233, 4, 7.45481, 6.063712, 2.708738],
    ),
]


@pytest.mark.parametrize(
    ("options", "expected"), TORCH_INTERPOLATE, ids=lambda v: str(v) if isinstance(v, dict) else ""
)
def test_interpolate_agrees_with_torch(options, expected):
    line = np.array([1.0, 2, 4, 8, 3])
    for shape, across in ((1, 5), (0, 1)), ((5, 1), (1, 0)):
        both = {
            k: tuple(v if a else 1 for a in across) if k in ("size", "scale_factor") else v
            for k, v in options.items()
        }
        np.testing.assert_allclose(
            ops.interpolate(line.reshape(1, 1, *shape), **both).ravel(), expected, atol=1e-6
        )


def _changed(**changes):
    return lambda x, **options: ops.interpolate(
        x, **{k: changes[k](v) if k in changes else v for k, v in options.items()}
    )


def test_laws_of_interpolate_reject_mistakes():
    swapped = _changed(size=lambda v: v[::-1])
    rejects(rows_and_columns_are_alike, swapped, sides, sides, modes, seeds)
    down = _changed(mode=lambda v: "nearest")  # rounds down instead of interpolating
    other_corners = _changed(align_corners=lambda v: not v)
    rejects(bilinear_is_exact_on_affine_images, down, sides, sides, st.just(False), seeds)
    rejects(bilinear_is_exact_on_affine_images, other_corners, sides, sides, st.booleans(), seeds)
    rejects(
        nearest_up_then_mean_pooling_is_nothing,
        _changed(mode=lambda v: "bilinear"),
        sides,
        st.tuples(*[st.integers(1, 4)] * 2),
        seeds,
    )
    up_left = lambda x, size, **o: ops.interpolate(x, size=tuple(n + 1 for n in size), **o)[..., :-1, :-1]  # noqa: E731
    rejects(mirroring_commutes, up_left, sides, sides, modes, seeds)
    rejects(resizing_to_the_same_size_changes_nothing, up_left, sides, modes, seeds)
    dark = lambda x, **o: ops.interpolate(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), **o)  # noqa: E731 (zeros outside)
    rejects(a_constant_stays_constant, dark, sides, sides, modes)


# grid_sample


def centres(n, align_corners):
    """The normalised coordinates of the pixels of one axis."""
    if align_corners:
        return np.linspace(-1, 1, n) if n > 1 else np.zeros(1)
    return (np.arange(n) + 0.5) * 2 / n - 1


def grid_of(y, x):
    """The grid (1, H, W, 2) with rows at ``y`` and columns at ``x``."""
    return np.stack(np.broadcast_arrays(x[None, :], y[:, None]), axis=-1)[None]


def the_identity_grid_changes_nothing(grid_sample, spatial, options, seed):
    x = image(spatial, seed)[:1]
    grid = grid_of(*(centres(n, options["align_corners"]) for n in spatial))
    np.testing.assert_allclose(grid_sample(x, grid, **options), x, rtol=1e-9, atol=1e-9)


def padded(x, by, mode):
    """The image, padded as ``padding_mode`` says."""
    widths = ((0, 0), (0, 0), (by, by), (by, by))
    return np.pad(x, widths, mode={"zeros": "constant", "border": "edge"}.get(mode, mode))


def integer_steps_read_the_padded_image(grid_sample, spatial, mode, padding_mode, align_corners, seed):
    """Points at pixel centres, inside and outside, read exactly the pixels of the padded image."""
    if align_corners and 1 in spatial:
        return  # a single pixel: no distance between pixels to scale by
    x = image(spatial, seed)[:1]
    steps = [2 / (n - 1) if align_corners else 2 / n for n in spatial]
    places = [
        centres(n, align_corners)[0] + np.arange(-4, n + 4) * s for n, s in zip(spatial, steps, strict=True)
    ]
    outside = {"reflection": "reflect" if align_corners else "symmetric"}.get(padding_mode, padding_mode)
    y = grid_sample(x, grid_of(*places), mode=mode, padding_mode=padding_mode, align_corners=align_corners)
    np.testing.assert_allclose(y, padded(x, 4, outside), rtol=1e-9, atol=1e-9)


grid_modes = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["bilinear", "nearest"]),
        "padding_mode": st.sampled_from(["zeros", "border", "reflection"]),
        "align_corners": st.booleans(),
    }
)


@given(sides, grid_modes, seeds)
def test_the_identity_grid_changes_nothing(spatial, options, seed):
    the_identity_grid_changes_nothing(ops.grid_sample, spatial, options, seed)


@given(sides, grid_modes, seeds)
def test_integer_steps_read_the_padded_image(spatial, options, seed):
    integer_steps_read_the_padded_image(ops.grid_sample, spatial, seed=seed, **options)


@given(sides, sides, st.booleans(), seeds)
def test_a_regular_grid_is_bilinear_interpolation(spatial, size, align_corners, seed):
    x = image(spatial, seed)[:1]
    if align_corners and 1 in size:
        return  # interpolate reads a single row at the corner, a grid of one row reads the middle
    grid = grid_of(*(centres(n, align_corners) for n in size))
    y = ops.grid_sample(x, grid, padding_mode="border", align_corners=align_corners)
    expected = ops.interpolate(x, size=size, mode="bilinear", align_corners=align_corners)
    np.testing.assert_allclose(y, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_points_that_are_not_finite_do_no_harm(mode, padding_mode):
    points = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0])
    grid = grid_of(np.zeros(1), points)
    # infinity has no mirror image
    with np.errstate(invalid="ignore" if padding_mode == "reflection" else "warn"):
        y = ops.grid_sample(np.ones((1, 1, 3, 3)), grid, mode=mode, padding_mode=padding_mode)
    assert np.isfinite(y).all()
    assert y[0, 0, 0, -1] == 1


def test_pixels_of_a_large_image_are_counted_exactly():
    """float32 holds whole numbers up to 2^24: indices of pixels in larger images must not be computed in float32."""
    x = np.zeros((1, 1, 2, 2**23 + 2), np.float32)
    x[0, 0, 1, -3:] = 1, 2, 3
    corner = np.ones((1, 1, 1, 2), np.float32)
    assert ops.grid_sample(x, corner, align_corners=True).item() == 3


def test_points_of_an_image_of_one_pixel():
    x = np.array([[[[7.0]]]])
    grid = grid_of(np.zeros(1), np.array([-3.0, 0.0, 0.4]))
    for padding_mode in ("border", "reflection"):
        for align_corners in (False, True):
            y = ops.grid_sample(x, grid, padding_mode=padding_mode, align_corners=align_corners)
            np.testing.assert_allclose(y, 7, **CLOSE)


POINTS = [-1.7, -1.0, -0.9, -0.4, 0.0, 0.3, 0.8, 1.0, 1.3, 2.9]
TORCH_GRID_SAMPLE = {
    ("bilinear", "zeros", False): [0, 0.5, 0.75, 2, 4, 7, 3, 1.5, 0, 0],
    ("bilinear", "zeros", True): [0, 1, 1.2, 2.4, 4, 6.4, 5, 3, 1.2, 0],
    ("bilinear", "border", False): [1, 1, 1, 2, 4, 7, 3, 3, 3, 3],
    ("bilinear", "border", True): [1, 1, 1.2, 2.4, 4, 6.4, 5, 3, 3, 3],
    ("bilinear", "reflection", False): [2.5, 1, 1, 2, 4, 7, 3, 3, 4.25, 1],
    ("bilinear", "reflection", True): [2.8, 1, 1.2, 2.4, 4, 6.4, 5, 3, 6, 1.2],
    ("nearest", "zeros", False): [0, 1, 1, 2, 4, 8, 3, 3, 0, 0],
    ("nearest", "border", False): [1, 1, 1, 2, 4, 8, 3, 3, 3, 3],
    ("nearest", "reflection", False): [2, 1, 1, 2, 4, 8, 3, 3, 3, 1],
    ("nearest", "reflection", True): [2, 1, 1, 2, 4, 8, 3, 3, 8, 1],
}


@pytest.mark.parametrize("options", TORCH_GRID_SAMPLE, ids=str)
def test_grid_sample_agrees_with_torch(options):
    mode, padding_mode, align_corners = options
    line = np.array([1.0, 2, 4, 8, 3])
    zero = np.zeros(1)
    across = ops.grid_sample(line.reshape(1, 1, 1, 5), grid_of(zero, np.array(POINTS)), *options)
    down = ops.grid_sample(
        line.reshape(1, 1, 5, 1), grid_of(np.array(POINTS), zero), mode, padding_mode, align_corners
    )
    np.testing.assert_allclose(across.ravel(), TORCH_GRID_SAMPLE[options], atol=1e-9)
    np.testing.assert_allclose(down.ravel(), TORCH_GRID_SAMPLE[options], atol=1e-9)


def test_laws_of_grid_sample_reject_mistakes():
    def rows_first(x, grid, *args, **options):
        return ops.grid_sample(x, grid[..., ::-1], *args, **options)

    def other_corners(x, grid, *, align_corners, **options):
        return ops.grid_sample(x, grid, align_corners=not align_corners, **options)

    def border_always(x, grid, *, padding_mode, **options):
        return ops.grid_sample(x, grid, padding_mode="border", **options)

    def steps(grid_sample, spatial, options, seed):
        integer_steps_read_the_padded_image(grid_sample, spatial, seed=seed, **options)

    for mutant in (rows_first, other_corners):
        rejects(the_identity_grid_changes_nothing, mutant, sides, grid_modes, seeds)
    for mutant in (rows_first, other_corners, border_always):
        rejects(steps, mutant, sides, grid_modes, seeds)


# Worked numbers of the decks


def test_nearest_neighbour_of_deck_c():
    y = ops.interpolate(np.array([[[[1.0, 2.0], [3.0, 4.0]]]]), size=4, mode="nearest")
    assert y[0, 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
