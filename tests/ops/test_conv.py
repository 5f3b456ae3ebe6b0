"""Laws of convolution, transposed convolution, unfold and fold, beyond the laws of every op.

Each law takes the implementation to judge, so that it is also shown to reject the mistakes people make.
Not here: gradients, dtypes, errors, backends (test_every_op.py).
"""

import contextlib
import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import minivis as mv
from minivis import ops
from minivis.fast import blocks
from minivis.fast import conv as fast_conv
from minivis.ops import conv as plain_conv
from tests.fast.forcing import forced

CLOSE = {"rtol": 1e-10, "atol": 1e-10}


@pytest.fixture(scope="module", autouse=True, params=["plain", "fast"])
def way(request):
    """Run each test for the plain way, which small maps take, and for the faster one."""
    with forced() if request.param == "fast" else contextlib.nullcontext():
        yield


@dataclass(frozen=True)
class Setting:
    """Sizes and options of one convolution with ``n`` spatial axes."""

    batch: int
    groups: int
    channels: int  # of a group
    filters: int  # of a group
    spatial: tuple
    kernel: tuple
    stride: tuple
    padding: tuple
    dilation: tuple
    seed: int

    @property
    def options(self):
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }

    def arrays(self):
        """x, weight, bias."""
        rng = np.random.default_rng(self.seed)
        x = rng.standard_normal((self.batch, self.groups * self.channels, *self.spatial))
        weight = rng.standard_normal((self.groups * self.filters, self.channels, *self.kernel))
        return x, weight, rng.standard_normal(len(weight))


@st.composite
def convolutions(draw, n=2):
    """All sizes are rectangular; the input is always large enough for the kernel."""

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(n))

    kernel, padding, dilation = each(1, 3), each(0, 2), each(1, 3)
    least = [max(1, d * (k - 1) + 1 - 2 * p) for k, p, d in zip(kernel, padding, dilation, strict=True)]
    spatial = tuple(m + draw(st.integers(0, 4)) for m in least)
    counts = [draw(st.integers(1, 3)) for _ in range(4)]
    return Setting(*counts, spatial, kernel, each(1, 3), padding, dilation, draw(st.integers(0, 99)))


def rejects(law, implementation):
    """Whether the law rejects a wrong implementation, by its own assertion."""

    @settings(max_examples=200, derandomize=True, database=None, phases=[Phase.generate])
    @given(convolutions())
    def run(s):
        law(implementation, s)

    with pytest.raises(AssertionError):
        run()


# The laws


def output_size(s):
    """The number of windows that fit, by counting them."""
    return tuple(
        sum(start + d * (k - 1) < i + 2 * p for start in range(0, i + 2 * p, stride))
        for i, k, stride, p, d in zip(s.spatial, s.kernel, s.stride, s.padding, s.dilation, strict=True)
    )


def left_over(s):
    """The number of rows and columns of the padded input that no window covers."""
    sizes = zip(s.spatial, output_size(s), s.kernel, s.stride, s.padding, s.dilation, strict=True)
    return tuple(i + 2 * p - ((o - 1) * stride + d * (k - 1) + 1) for i, o, k, stride, p, d in sizes)


def loops(s, x, weight, bias):
    """The definition of convolution, one element at a time."""
    out = np.zeros((len(x), len(weight), *output_size(s)))
    for at in np.ndindex(*out.shape):
        b = at[0]
        o = at[1]
        position = at[2:]
        first = o // s.filters * s.channels
        for c, *u in np.ndindex(*weight.shape[1:]):
            steps = zip(position, u, s.stride, s.padding, s.dilation, strict=True)
            pixel = tuple(i * stride - p + d * v for i, v, stride, p, d in steps)
            if all(0 <= i < m for i, m in zip(pixel, s.spatial, strict=True)):
                out[at] += weight[(o, c, *u)] * x[(b, first + c, *pixel)]
        out[at] += bias[o]
    return out


def equals_loops(conv, s):
    x, weight, bias = s.arrays()
    np.testing.assert_allclose(conv(x, weight, bias, **s.options), loops(s, x, weight, bias), **CLOSE)


def has_adjoint(conv, transpose, s):
    """<conv(x), y> = <x, transpose(y)>, where output_padding returns to the size of x."""
    x, weight, _ = s.arrays()
    y = np.random.default_rng(s.seed + 1).standard_normal((len(x), len(weight), *output_size(s)))
    back = transpose(y, weight, output_padding=left_over(s), **s.options)
    assert back.shape == x.shape
    np.testing.assert_allclose(
        (conv(x, weight, **s.options) * y).sum(), (x * back).sum(), rtol=1e-9, atol=1e-9
    )


def groups_are_block_diagonal(conv, s):
    """A grouped convolution is a full one whose weight is zero between groups."""
    x, weight, _ = s.arrays()
    full = np.zeros((len(weight), x.shape[1], *s.kernel))
    for g in range(s.groups):
        rows, columns = slice(g * s.filters, (g + 1) * s.filters), slice(g * s.channels, (g + 1) * s.channels)
        full[rows, columns] = weight[rows]
    np.testing.assert_allclose(
        conv(x, weight, **s.options), conv(x, full, **(s.options | {"groups": 1})), **CLOSE
    )


def commutes_with_shifts(conv, s):
    """Shifting the image by whole strides shifts the result, except near the borders."""
    x, weight, _ = s.arrays()
    options = s.options | {"padding": 0}
    large = np.random.default_rng(s.seed).standard_normal((*x.shape[:2], 12, 13))
    (s_h, s_w) = s.stride
    y = conv(large, weight, **options)
    np.testing.assert_allclose(conv(large[:, :, s_h:, s_w:], weight, **options), y[:, :, 1:, 1:], **CLOSE)


def fold_is_adjoint_of_unfold(unfold, fold, s):
    x = s.arrays()[0]
    options = {"kernel_size": s.kernel, **s.options}
    del options["groups"]
    columns = unfold(x, **options)
    y = np.random.default_rng(s.seed + 1).standard_normal(columns.shape)
    np.testing.assert_allclose(
        (columns * y).sum(), (x * fold(y, s.spatial, **options)).sum(), rtol=1e-9, atol=1e-9
    )


@given(convolutions(n=1))
def test_conv1d_equals_loops(s):
    equals_loops(ops.conv1d, s)


@given(convolutions(n=2))
def test_conv2d_equals_loops(s):
    equals_loops(ops.conv2d, s)


@settings(max_examples=10)
@given(convolutions(n=3))
def test_conv3d_equals_loops(s):
    equals_loops(ops.conv3d, s)


@given(convolutions())
def test_conv_transpose2d_is_the_adjoint_of_conv2d(s):
    has_adjoint(ops.conv2d, ops.conv_transpose2d, s)


@given(convolutions())
def test_gradients_of_each_are_the_other(s):
    x, weight, _ = (mv.Tensor(a, requires_grad=True) for a in s.arrays())
    y = ops.conv2d(x, weight, **s.options)
    g = np.random.default_rng(s.seed).standard_normal(y.shape)
    y.backward(g)
    back = ops.conv_transpose2d(g, weight.data, output_padding=left_over(s), **s.options)
    np.testing.assert_allclose(x.grad, back, **CLOSE)
    z = mv.Tensor(g, requires_grad=True)
    ops.conv_transpose2d(z, weight.data, output_padding=left_over(s), **s.options).backward(x.data)
    np.testing.assert_allclose(z.grad, y.data, **CLOSE)


@given(convolutions())
def test_groups_are_block_diagonal(s):
    groups_are_block_diagonal(ops.conv2d, s)


@given(convolutions())
def test_conv2d_commutes_with_shifts(s):
    commutes_with_shifts(ops.conv2d, s)


@given(convolutions())
def test_conv2d_is_a_product_with_the_unfolded_patches(s):
    x, weight, bias = s.arrays()
    x = x[:, : s.channels]
    options = s.options | {"groups": 1}
    columns = ops.unfold(x, kernel_size=s.kernel, **{k: v for k, v in options.items() if k != "groups"})
    y = weight.reshape(len(weight), -1) @ columns + bias[:, None]  # (B, O, L)
    np.testing.assert_allclose(
        ops.conv2d(x, weight, bias, **options), y.reshape(*y.shape[:2], *output_size(s)), **CLOSE
    )


@given(convolutions())
def test_fold_is_the_adjoint_of_unfold(s):
    fold_is_adjoint_of_unfold(ops.unfold, ops.fold, s)


def test_1x1_convolution_is_a_matrix_product():
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, 5, 3, 4)), rng.standard_normal((6, 5, 1, 1))
    np.testing.assert_allclose(
        ops.conv2d(x, weight), np.einsum("oc,bchw->bohw", weight[:, :, 0, 0], x), **CLOSE
    )


@pytest.mark.parametrize("groups", [1, 3])
# tiles that divide the size, that do not, and a single tile
@pytest.mark.parametrize("batch, size", [(2, (6, 8)), (1, (7, 9)), (2, (2, 4)), (0, (6, 8))])
def test_tiles_side_by_side_are_laid_out_as_all_patches_are(groups, batch, size, monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, 6, *size))
    weight = rng.standard_normal((3, 6 // groups, 2, 4))

    def both_ways():
        y, pull = ops.conv2d.raw(x, weight, None, stride=(2, 4), groups=groups)
        g = np.random.default_rng(1).standard_normal(y.shape)
        return y, *pull(g)[:2], ops.conv_transpose2d(g, weight, stride=(2, 4), groups=groups)

    found = both_ways()
    monkeypatch.setattr(fast_conv, "_are_tiles", lambda geometry: False)
    for a, b in zip(found, both_ways(), strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("batch", [2, 0])
def test_either_order_of_a_patch_gives_the_same(groups, batch, monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, 6, 4, 5))
    weight = rng.standard_normal((12, 6 // groups, 3, 2))
    geometry = plain_conv.geometry_of("conv2d", (4, 5), (3, 2), (2, 2), 1, 1, "")
    assert fast_conv._channels_first(1, weight, geometry)  # 6 windows, 12 filters
    assert not fast_conv._channels_first(2, weight, geometry)

    def both_ways(order):
        monkeypatch.setattr(fast_conv, "_channels_first", lambda B, weight, geometry: order)
        y, pull = ops.conv2d.raw(x, weight, None, stride=2, padding=1, groups=groups)
        g = np.random.default_rng(1).standard_normal(y.shape)
        return y, *pull(g)[:2], ops.conv_transpose2d(g, weight, stride=2, padding=1, groups=groups)

    for a, b in zip(both_ways(True), both_ways(False), strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)


def test_output_size_for_all_small_settings():
    for i, k, stride, p, d in itertools.product(range(1, 8), range(1, 4), range(1, 4), range(3), range(1, 4)):
        s = Setting(1, 1, 1, 1, (i,), (k,), (stride,), (p,), (d,), 0)
        x, weight, _ = s.arrays()
        if d * (k - 1) + 1 > i + 2 * p:
            with pytest.raises(ValueError, match="larger than the padded input"):
                ops.conv1d(x, weight, **s.options)
            continue
        got = ops.conv1d(x, weight, **s.options).shape[2:]
        assert got == output_size(s) == ((i + 2 * p - d * (k - 1) - 1) // stride + 1,)


@given(convolutions())
def test_large_batches_are_worked_in_blocks(s):
    """The patches of a large batch are made for a few images at a time, with the same results."""

    def run():
        leaves = [mv.Tensor(a, requires_grad=True) for a in s.arrays()]
        y = ops.conv2d(*leaves, **s.options)
        (y * y).sum().backward()
        return [y.data, *(leaf.grad for leaf in leaves)]

    whole = run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(fast_conv._PATCH_LIMIT, "cpu", 1)
        parts = run()
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)


LARGE = [
    {"padding": 1},
    {"stride": (2, 3), "padding": (0, 2), "dilation": (2, 1)},
    {"groups": 2, "stride": 2},
]


def with_gradients(dtype, options):
    """A convolution, and its two gradients, of float32 maps large enough for the compiled kernels, if installed."""
    rng = np.random.default_rng(0)
    groups = options.get("groups", 1)
    x = rng.standard_normal((3, 8, 41, 30))
    weight = rng.standard_normal((6, 8 // groups, 3, 3))
    x, weight = (mv.Tensor(a.astype(dtype), requires_grad=True) for a in (x, weight))
    y = ops.conv2d(x, weight, **options)
    y.backward(rng.standard_normal(y.shape).astype(dtype))
    return y.data, x.grad, weight.grad


def single_equals_double(options):
    found, exact = with_gradients(np.float32, options), with_gradients(np.float64, options)
    for single, double in zip(found, exact, strict=True):
        assert single.dtype == np.float32
        np.testing.assert_allclose(single, double, rtol=1e-5, atol=1e-5 * np.abs(double).max())


@pytest.mark.parametrize("options", LARGE, ids=["padding", "stride and dilation", "groups"])
def test_large_maps_in_float32_equal_float64(options):
    single_equals_double(options)


def test_an_empty_batch_gives_zero_gradients():
    x, weight, bias = (mv.Tensor(np.ones(n), requires_grad=True) for n in ((0, 2, 5, 5), (3, 2, 3, 3), (3,)))
    y = ops.conv2d(x, weight, bias, padding=1)
    assert y.shape == (0, 3, 5, 5)
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert not weight.grad.any() and not bias.grad.any()


# Mistakes that the laws reject


def _changed(**changes):
    """conv2d with options computed from the given ones."""
    return lambda x, weight, bias=None, **options: ops.conv2d(
        x, weight, bias, **{k: changes[k](v) if k in changes else v for k, v in options.items()}
    )


def _flipped(x, weight, bias=None, **options):
    return ops.conv2d(x, weight[:, :, ::-1, ::-1], bias, **options)


def _swapped_kernel_axes(x, weight, bias=None, **options):
    return ops.conv2d(x, np.ascontiguousarray(weight.swapaxes(2, 3)).reshape(weight.shape), bias, **options)


def _no_bias(x, weight, bias=None, **options):
    return ops.conv2d(x, weight, **options)


def _one_sided_padding(x, weight, bias=None, *, padding, **options):
    (p_h, p_w) = padding
    return ops.conv2d(np.pad(x, ((0, 0), (0, 0), (0, 2 * p_h), (0, 2 * p_w))), weight, bias, **options)


def _interleaved_groups(x, weight, bias=None, *, groups, **options):
    mixed = x.reshape(len(x), -1, groups, *x.shape[2:]).swapaxes(1, 2).reshape(x.shape)
    return ops.conv2d(mixed, weight, bias, groups=groups, **options)


@pytest.mark.parametrize(
    "mutant",
    [
        _flipped,
        _swapped_kernel_axes,
        _no_bias,
        _one_sided_padding,
        _interleaved_groups,
        _changed(stride=lambda v: v[::-1]),
        _changed(padding=lambda v: v[::-1]),
        _changed(dilation=lambda v: (v[0], v[0])),
    ],
    ids=["flipped", "swapped kernel axes", "no bias", "one-sided padding", "interleaved groups", "strides", "paddings", "dilations"],
)  # fmt: skip
def test_loops_reject(mutant):
    def caught(conv, s):
        try:
            equals_loops(conv, s)
        except ValueError as error:  # a mutant may need a kernel larger than the input: that counts as caught
            raise AssertionError from error

    rejects(caught, mutant)


def test_block_diagonal_rejects_interleaved_groups():
    rejects(groups_are_block_diagonal, _interleaved_groups)


def test_adjoint_rejects_a_flipped_transpose():
    def flipped(y, weight, **options):
        return ops.conv_transpose2d(y, weight[:, :, ::-1, ::-1], **options)

    rejects(lambda transpose, s: has_adjoint(ops.conv2d, transpose, s), flipped)


def _assigning(rows, shape, kernel, out, stride, padding, dilation):
    """row2im with ``=`` instead of ``+=``: of overlapping windows it keeps only the last."""
    B, C, *spatial = shape
    rows = rows.reshape(B, *out, *kernel, C)
    padded = np.zeros((B, *(m + 2 * p for m, p in zip(spatial, padding, strict=True)), C), rows.dtype)
    for offset in np.ndindex(*kernel):
        steps = zip(offset, out, stride, dilation, strict=True)
        where = tuple(slice(i * d, i * d + o * s, s) for i, o, s, d in steps)
        padded[(slice(None), *where)] = rows[(..., *offset, slice(None))]
    inner = tuple(slice(p, p + m) for m, p in zip(spatial, padding, strict=True))
    return np.moveaxis(padded[(slice(None), *inner)], -1, 1)


def _assigning_plainly(patches, shape, geometry):
    """add_patches with ``=`` instead of ``+=``."""
    rows = np.moveaxis(patches.reshape(*patches.shape[:3], -1), (1, 2, 3), (3, 2, 1))  # (B, L, K, C)
    return _assigning(rows, shape, *geometry)


def test_adjoint_rejects_assigning_where_windows_overlap(monkeypatch):
    monkeypatch.setattr(blocks, "row2im", _assigning)
    monkeypatch.setattr(plain_conv, "add_patches", _assigning_plainly)
    rejects(lambda transpose, s: has_adjoint(ops.conv2d, transpose, s), ops.conv_transpose2d)
    rejects(lambda fold, s: fold_is_adjoint_of_unfold(ops.unfold, fold, s), ops.fold)


def test_float64_rejects_assigning_where_large_windows_overlap(monkeypatch):
    pytest.importorskip("numba")
    from minivis.fast import compiled

    monkeypatch.setattr(compiled, "row2im", _assigning)
    with pytest.raises(AssertionError):
        single_equals_double(LARGE[0])


def test_shifts_reject_a_position_dependent_filter():
    def ramp(x, weight, **options):
        y = ops.conv2d(x, weight, **options)
        return y * np.arange(1, y.shape[3] + 1)

    rejects(commutes_with_shifts, ramp)


# Worked numbers of the decks


def test_one_dimensional_convolution_of_deck_z():
    signal = np.array([1, 4, -1, 0, 2, -2, 1, 3, 3, 1])
    taps = np.array([1, 2, 0, -1])
    assert ops.conv1d(signal[None, None], taps[None, None]).ravel().tolist() == [9, 0, 1, 3, -5, -3, 6]


def test_two_dimensional_convolution_of_deck_z():
    image = np.array([[int(v) for v in row] for row in "11100 01110 00111 00110 01100".split()])
    taps = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]])
    assert ops.conv2d(image[None, None], taps[None, None])[0, 0].tolist() == [[4, 3, 4], [2, 4, 3], [2, 3, 4]]


def test_strided_convolution_and_the_way_back_of_deck_c():
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((1, 1, 4, 4)), rng.standard_normal((1, 1, 3, 3))
    y = ops.conv2d(x, weight, stride=2, padding=1)
    assert y.shape == (1, 1, 2, 2)
    # 2x2 could come from 3x3 ...
    assert ops.conv_transpose2d(y, weight, stride=2, padding=1).shape == (1, 1, 3, 3)
    # ... or from 4x4
    assert ops.conv_transpose2d(y, weight, stride=2, padding=1, output_padding=1).shape == x.shape


def test_one_dimensional_transpose_convolution_of_deck_c():
    """Inputs a, b and the filter x, y, z with stride 2: ax, ay, az + bx, by, bz."""
    (a, b) = (2.0, 3.0)
    (x, y, z) = (5.0, 7.0, 11.0)
    out = ops.conv_transpose2d(np.array([[[[a, b]]]]), np.array([[[[x, y, z]]]]), stride=(1, 2))
    assert out.ravel().tolist() == [a * x, a * y, a * z + b * x, b * y, b * z]


def test_bed_of_nails_of_deck_c_is_a_transposed_convolution():
    nails = ops.conv_transpose2d(
        np.array([[[[1.0, 2.0], [3.0, 4.0]]]]), np.ones((1, 1, 1, 1)), stride=2, output_padding=1
    )
    assert nails[0, 0].tolist() == [[1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]]
