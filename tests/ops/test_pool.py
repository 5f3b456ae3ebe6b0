"""Laws of pooling and unpooling, beyond the laws of every op, and mistakes that these laws reject.

Not here: gradients, dtypes, errors, backends (test_every_op.py).
"""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import minivis as mv
from minivis import ops
from minivis.fast import conv as conv_file
from tests.fast.forcing import forced

CLOSE = {"rtol": 1e-12, "atol": 1e-12}


@dataclass(frozen=True)
class Setting:
    """Sizes and options of one pooling; ``values`` decides what the image holds."""

    shape: tuple
    kernel: tuple
    stride: tuple
    padding: tuple
    dilation: tuple
    ceil_mode: bool
    values: str
    seed: int

    @property
    def options(self):
        return {"stride": self.stride, "padding": self.padding, "ceil_mode": self.ceil_mode}

    def image(self):
        x = np.random.default_rng(self.seed).standard_normal(self.shape)
        return {"any": x, "negative": -1 - abs(x), "ties": np.round(x), "nan": np.where(x > 1, np.nan, x)}[
            self.values
        ]


@st.composite
def poolings(draw, dilated=True):
    """All sizes are rectangular; every window holds at least one pixel of the image."""

    def each(low, high):
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    kernel = each(1, 4)
    dilation = each(1, 3) if dilated else (1, 1)
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    least = [max(d, d * (k - 1) + 1 - 2 * p) for k, p, d in zip(kernel, padding, dilation, strict=True)]
    shape = (*each(1, 2), *(m + draw(st.integers(0, 5)) for m in least))
    values = draw(st.sampled_from(["any", "negative", "ties", "nan"]))
    return Setting(
        shape, kernel, each(1, 4), padding, dilation, draw(st.booleans()), values, draw(st.integers(0, 99))
    )


def rejects(law, implementation, strategy=None):
    """Whether the law rejects a wrong implementation, by its own assertion."""

    @settings(max_examples=200, derandomize=True, database=None, phases=[Phase.generate])
    @given(poolings() if strategy is None else strategy)
    def run(s):
        law(implementation, s)

    with pytest.raises(AssertionError):
        run()


# The laws


def starts(i, k, stride, p, d, ceil_mode):
    """First positions of the windows along one axis, found by moving along the padded axis step by step."""
    full = d * (k - 1) + 1
    found = []
    at = -p
    while at + full <= i + p:
        found.append(at)
        at += stride
    # pixels are left over, and the next window starts on the image
    if ceil_mode and found[-1] + full < i + p and at < i:
        found.append(at)
    return found


def windows(s):
    """For every window: its position in the result, and its pixels of the image, row by row."""
    axes = zip(s.shape[2:], s.kernel, s.stride, s.padding, s.dilation, strict=True)
    tops, lefts = (starts(*axis, s.ceil_mode) for axis in axes)
    (k_h, k_w) = s.kernel
    (d_h, d_w) = s.dilation
    (H, W) = s.shape[2:]
    for i, top in enumerate(tops):
        for j, left in enumerate(lefts):
            pixels = [(top + u * d_h, left + v * d_w) for u in range(k_h) for v in range(k_w)]
            yield (i, j), [(r, c) for r, c in pixels if 0 <= r < H and 0 <= c < W]


def maxima_equal_loops(max_pool, s):
    """Values and positions: NaN counts as the largest, and of equal elements (or several NaN) the first is taken."""
    x = s.image()
    y, indices = max_pool(x, s.kernel, dilation=s.dilation, return_indices=True, **s.options)
    found = list(windows(s))
    assert y.shape == indices.shape == (*s.shape[:2], *(n + 1 for n in found[-1][0]))
    for b, c in np.ndindex(*s.shape[:2]):
        for at, pixels in found:
            best = pixels[0]
            for pixel in pixels:
                if x[b, c][pixel] > x[b, c][best] or np.isnan(x[b, c][pixel]) > np.isnan(x[b, c][best]):
                    best = pixel
            np.testing.assert_array_equal(y[b, c][at], x[b, c][best])
            assert indices[b, c][at] == best[0] * s.shape[3] + best[1]


def means_equal_loops(avg_pool, s, count_include_pad):
    """Padding counts only up to the end of the padded image."""
    x = s.image()
    y = avg_pool(x, s.kernel, count_include_pad=count_include_pad, **s.options)
    (H, W) = s.shape[2:]
    (p_h, p_w) = s.padding
    (s_h, s_w) = s.stride
    (k_h, k_w) = s.kernel
    for (i, j), pixels in windows(s):
        top, left = i * s_h - p_h, j * s_w - p_w
        full = (min(top + k_h, H + p_h) - top) * (min(left + k_w, W + p_w) - left)
        total = sum(x[:, :, r, c] for r, c in pixels)
        np.testing.assert_allclose(
            y[:, :, i, j], total / (full if count_include_pad else len(pixels)), **CLOSE
        )


@st.composite
def disjoint(draw):
    """A random image, with a kernel and a stride whose windows do not overlap, and rows and columns left over."""
    kernel = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    stride = tuple(k + draw(st.integers(0, 1)) for k in kernel)
    spatial = [
        draw(st.integers(0, 2)) * s + k + draw(st.integers(0, s - 1))
        for k, s in zip(kernel, stride, strict=True)
    ]
    return np.random.default_rng(draw(st.integers(0, 99))).standard_normal((2, 2, *spatial)), kernel, stride


def unpooling_keeps_maxima_in_place(max_unpool, x, kernel, stride):
    """The result is the image at the maxima and 0 elsewhere."""
    y, indices = ops.max_pool2d(x, kernel, stride, return_indices=True)
    back = max_unpool(y, indices, kernel, stride, output_size=x.shape[2:])
    chosen = np.isin(x, y)
    assert chosen.sum() == y.size
    np.testing.assert_array_equal(back, np.where(chosen, x, 0))


@given(poolings())
def test_max_pool2d_equals_loops(s):
    maxima_equal_loops(ops.max_pool2d, s)


@given(poolings(dilated=False), st.booleans())
def test_avg_pool2d_equals_loops(s, count_include_pad):
    means_equal_loops(ops.avg_pool2d, s, count_include_pad)


@given(poolings(dilated=False))
def test_the_maximum_is_at_least_the_mean_of_the_same_elements(s):
    x = np.nan_to_num(s.image())
    mean = ops.avg_pool2d(x, s.kernel, count_include_pad=False, **s.options)
    assert (ops.max_pool2d(x, s.kernel, **s.options) >= mean - 1e-12).all()


@given(disjoint())
def test_unpooling_keeps_maxima_in_place(drawn):
    unpooling_keeps_maxima_in_place(ops.max_unpool2d, *drawn)


@pytest.mark.parametrize("limit", [0, 2**21, 1], ids=["plain", "all at once", "image by image"])
@given(s=poolings())
def test_the_gradient_of_max_pool2d_lands_on_the_maxima(s, limit):
    x = mv.Tensor(s.image(), requires_grad=True)
    with pytest.MonkeyPatch.context() as patch, forced() if limit else mv.plain():
        patch.setitem(conv_file._PATCH_LIMIT, "cpu", limit)
        y, indices = ops.max_pool2d(x, s.kernel, dilation=s.dilation, return_indices=True, **s.options)
    g = np.random.default_rng(1).standard_normal(y.shape)
    y.backward(g)
    expected = np.zeros((s.shape[0] * s.shape[1], s.shape[2] * s.shape[3]))
    np.add.at(
        expected,
        (np.arange(len(expected))[:, None], indices.reshape(len(expected), -1)),
        g.reshape(len(expected), -1),
    )
    np.testing.assert_allclose(x.grad, expected.reshape(s.shape), **CLOSE)


@given(st.tuples(*[st.integers(1, 8)] * 2), st.tuples(*[st.integers(1, 9)] * 2))
def test_adaptive_avg_pool2d_equals_loops(spatial, size):
    x = np.random.default_rng(0).standard_normal((2, 2, *spatial))
    y = ops.adaptive_avg_pool2d(x, size)
    assert y.shape == (2, 2, *size)
    for at in np.ndindex(*size):
        rows, columns = (
            slice(i * n // m, int(np.ceil((i + 1) * n / m)))
            for i, n, m in zip(at, spatial, size, strict=True)
        )
        np.testing.assert_allclose(y[(..., *at)], x[:, :, rows, columns].mean(axis=(2, 3)), **CLOSE)


def test_subsampling_a_bed_of_nails_gives_the_input_back():
    x = np.random.default_rng(0).uniform(0.1, 1.0, (2, 3, 4, 5))
    nails = ops.conv_transpose2d(x, np.eye(3)[:, :, None, None], stride=(2, 3), output_padding=(1, 2))
    assert nails.shape == (2, 3, 8, 15)
    np.testing.assert_array_equal(ops.max_pool2d(nails, (2, 3)), x)
    np.testing.assert_array_equal(nails[:, :, ::2, ::3], x)


def test_infinities_stay_where_they_are():
    x = np.zeros((1, 1, 4, 4))
    x[0, 0, 1, 1], x[0, 0, 2, 3] = np.inf, np.nan
    for pool in (ops.avg_pool2d, ops.max_pool2d):
        np.testing.assert_array_equal(pool(x, 2)[0, 0], [[np.inf, 0], [0, np.nan]])
    np.testing.assert_array_equal(ops.adaptive_avg_pool2d(x, 2)[0, 0], [[np.inf, 0], [0, np.nan]])


def test_a_window_of_minus_infinity_points_at_its_first_pixel():
    x = mv.Tensor(np.full((1, 1, 3, 3), -np.inf), requires_grad=True)
    y, indices = ops.max_pool2d(x, 3, stride=2, padding=1, return_indices=True)
    assert np.isneginf(y.data).all()
    assert indices.ravel().tolist() == [0, 1, 3, 4]
    y.backward(np.ones(y.shape))
    assert x.grad[0, 0].tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]


def test_a_window_that_misses_the_image_gives_minus_infinity_and_no_gradient():
    x = mv.Tensor(np.array([[[[5.0]]]]), requires_grad=True)
    y, indices = ops.max_pool2d(x, (1, 2), padding=(0, 1), dilation=3, ceil_mode=True, return_indices=True)
    assert (y.data.tolist(), indices.tolist()) == ([[[[-np.inf]]]], [[[[0]]]])
    y.backward(np.ones(y.shape))
    assert not x.grad.any()


def test_integers_are_pooled_without_a_detour_over_floats():
    least = np.iinfo(np.int64).min
    y = ops.max_pool2d(np.array([[[[least, least + 1], [3, 2**60 + 1]]]]), (1, 2), stride=1, padding=(0, 1))
    assert y.dtype == np.int64
    assert y[0, 0].tolist() == [[least, least + 1, least + 1], [3, 2**60 + 1, 2**60 + 1]]


def test_a_maximum_shared_by_two_windows_is_placed_once_and_gets_one_gradient():
    values = mv.Tensor(np.array([[[[2.0, 3.0]]]]), requires_grad=True)
    y = ops.max_unpool2d(values, np.array([[[[1, 1]]]]), kernel_size=(1, 2), stride=1)
    assert y.data.ravel().tolist() == [0, 3, 0]
    y.backward(np.array([[[[5.0, 7.0, 11.0]]]]))
    assert values.grad.ravel().tolist() == [0, 7]


# Mistakes that the laws reject


def _zero_padding(x, kernel, *, padding=0, **options):
    (p_h, p_w) = padding
    padded = np.pad(x, ((0, 0), (0, 0), (p_h, p_h), (p_w, p_w)))
    y, indices = ops.max_pool2d(padded, kernel, **options)
    return y, ((indices // padded.shape[3]) - p_h) * x.shape[3] + indices % padded.shape[3] - p_w


def _last_of_equal(x, kernel, **options):
    """If the pixel to the right is equally large, it is taken as the maximum."""
    y, indices = ops.max_pool2d(x, kernel, **options)
    flat = x.reshape(*x.shape[:2], -1)
    later = np.take_along_axis(
        flat, np.minimum(indices + 1, flat.shape[2] - 1).reshape(*x.shape[:2], -1), axis=2
    )
    return y, indices + (later.reshape(y.shape) == y)


def _changed(**changes):
    return lambda x, kernel, **options: ops.max_pool2d(
        x, kernel, **{k: changes[k](v) if k in changes else v for k, v in options.items()}
    )


@pytest.mark.parametrize(
    "mutant",
    [
        _zero_padding,
        _last_of_equal,
        lambda x, kernel, **options: ops.max_pool2d(x, kernel[::-1], **options),
        _changed(stride=lambda v: v[::-1]),
        _changed(padding=lambda v: v[::-1]),
        _changed(dilation=lambda v: v[::-1]),
        _changed(ceil_mode=lambda v: False),
        lambda x, kernel, **options: ops.max_pool2d(np.nan_to_num(x), kernel, **options),
    ],
    ids="zero_padding last_of_equal kernel_axes strides paddings dilations no_ceil_mode nan_dropped".split(),
)
def test_loops_reject(mutant):
    def caught(max_pool, s):
        try:
            maxima_equal_loops(max_pool, s)
        except ValueError as error:  # a mutant may need a larger image: that counts as caught
            raise AssertionError from error

    rejects(caught, mutant)


@pytest.mark.parametrize("count_include_pad", [True, False])
def test_means_reject_counting_the_padding_the_other_way(count_include_pad):
    def other(x, kernel, count_include_pad, **options):
        return ops.avg_pool2d(x, kernel, count_include_pad=not count_include_pad, **options)

    def law(avg_pool, s):
        means_equal_loops(avg_pool, s, count_include_pad)

    rejects(law, other, poolings(dilated=False))


def test_unpooling_rejects_the_corner_of_every_window():
    def corner(y, indices, kernel, stride, output_size):
        rows = np.arange(y.shape[2])[:, None] * stride[0]
        columns = np.arange(y.shape[3]) * stride[1]
        at = np.broadcast_to(rows * output_size[1] + columns, y.shape)
        return ops.max_unpool2d(y, at, kernel, stride, output_size=output_size)

    rejects(lambda unpool, drawn: unpooling_keeps_maxima_in_place(unpool, *drawn), corner, disjoint())


# Worked numbers of the decks


def test_max_pooling_of_deck_c():
    x = np.array([[[[1, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]]]])
    y, indices = ops.max_pool2d(x, 2, return_indices=True)
    assert y[0, 0].tolist() == [[5, 6], [7, 8]]
    back = ops.max_unpool2d(np.array([[[[1, 2], [3, 4]]]]), indices, 2)
    assert back[0, 0].tolist() == [[0, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0], [3, 0, 0, 4]]
