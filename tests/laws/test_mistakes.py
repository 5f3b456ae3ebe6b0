"""Wrong answers of the kind people write, each caught by the law that is about it; right answers written otherwise.

Not here: the mutants of the catalogue (test_catalogue.py).
"""

import math

import numpy as np
import pytest
import scipy.signal
import scipy.special

from minivis import laws
from minivis.laws.judging.registry import family_of
from minivis.laws.judging.value_laws import GRADIENTS, SIMPLEST_GRADIENTS


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def attention(scale=math.sqrt, fill=-np.inf, invert=False, axis=-1):
    """An attention with one thing or another done wrong."""

    def f(q, k, v, mask=None):
        scores = q @ np.swapaxes(k, -1, -2) / scale(q.shape[-1])
        if mask is not None:
            scores = np.where(mask ^ invert, scores, np.float32(fill))
        with np.errstate(invalid="ignore"):
            p = np.nan_to_num(softmax(scores, axis))
        return p @ v

    return f


def conv_loops(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Convolution as on the slide: one loop for each index."""
    sy, sx = stride if isinstance(stride, tuple) else (stride, stride)
    py, px = padding if isinstance(padding, tuple) else (padding, padding)
    dy, dx = dilation if isinstance(dilation, tuple) else (dilation, dilation)
    B, C, H, W = x.shape
    O, c, M, N = weight.shape  # noqa: E741
    rows, columns = (H + 2 * py - dy * (M - 1) - 1) // sy + 1, (W + 2 * px - dx * (N - 1) - 1) // sx + 1
    y = np.zeros((B, O, rows, columns), x.dtype)
    for b in range(B):
        for o in range(O):
            for i in range(rows):
                for j in range(columns):
                    total = 0.0 if bias is None else bias[o]
                    for k in range(c):
                        for m in range(M):
                            for n in range(N):
                                row, column = i * sy + m * dy - py, j * sx + n * dx - px
                                if 0 <= row < H and 0 <= column < W:
                                    channel = o // (O // groups) * c + k
                                    total += x[b, channel, row, column] * weight[o, k, m, n]
                    y[b, o, i, j] = total
    return y


def conv_scipy(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    def two(value):
        return value if isinstance(value, tuple) else (value, value)

    (sy, sx), (py, px), (dy, dx) = two(stride), two(padding), two(dilation)
    x = np.pad(x, ((0, 0), (0, 0), (py, py), (px, px)))
    wide = np.zeros(
        (*weight.shape[:2], (weight.shape[2] - 1) * dy + 1, (weight.shape[3] - 1) * dx + 1), x.dtype
    )
    wide[:, :, ::dy, ::dx] = weight
    each_in = x.shape[1] // groups
    each_out = len(weight) // groups
    images = [
        [
            sum(
                scipy.signal.correlate2d(image[o // each_out * each_in + c], wide[o, c], "valid")
                for c in range(each_in)
            )[::sy, ::sx]
            for o in range(len(weight))
        ]
        for image in x
    ]
    y = np.array(images, x.dtype)
    return y if bias is None else y + bias[:, None, None]


def pool_loops(x, kernel_size, stride=None, padding=0):
    two = lambda value: value if isinstance(value, tuple) else (value, value)  # noqa: E731
    (M, N) = two(kernel_size)
    (sy, sx) = two(kernel_size if stride is None else stride)
    (py, px) = two(padding)
    B, C, H, W = x.shape
    y = np.empty((B, C, (H + 2 * py - M) // sy + 1, (W + 2 * px - N) // sx + 1), x.dtype)
    for i in range(y.shape[2]):
        for j in range(y.shape[3]):
            top, left = i * sy - py, j * sx - px
            y[:, :, i, j] = x[:, :, max(top, 0) : top + M, max(left, 0) : left + N].max(axis=(2, 3))
    return y


def norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    rows = x.reshape(-1, math.prod(normalized_shape))
    mean = rows.sum(axis=1, keepdims=True) / rows.shape[1]
    y = np.array([(r - m) / math.sqrt(((r - m) ** 2).mean() + eps) for r, m in zip(rows, mean, strict=True)])
    y = y.astype(x.dtype).reshape(x.shape)
    return (y if weight is None else y * weight) + (0 if bias is None else bias)


RIGHT = {
    "softmax": lambda x, axis=-1: scipy.special.softmax(x, axis=axis),
    "log_softmax": lambda x, axis=-1: scipy.special.log_softmax(x, axis=axis),
    "layer_norm": norm,
    "conv2d": conv_loops,
    "max_pool2d": pool_loops,
    "scaled_dot_product_attention": attention(),
    "cross_entropy": lambda logits, target: np.mean(
        [scipy.special.logsumexp(row) - row[t] for row, t in zip(logits, target, strict=True)],
        dtype=logits.dtype,
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_another_right_answer_passes_in_time(name):
    report = laws.judge(name, RIGHT[name])
    assert report.passed, str(report)
    assert report.seconds < 3


def test_scipy_convolution_passes():
    report = laws.judge("conv2d", conv_scipy)
    assert report.passed, str(report)


def maximum_of_all(q, k, v, mask=None):
    """Masked attention that takes its maximum over forbidden keys too."""
    scores = q @ np.swapaxes(k, -1, -2) / math.sqrt(q.shape[-1])
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    e = e if mask is None else e * mask
    total = e.sum(axis=-1, keepdims=True)
    return e / np.where(total == 0, 1, total) @ v


def left_padding_of_the_rows(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """The left side is padded by what belongs above and below."""
    py, px = padding if isinstance(padding, tuple) else (padding, padding)
    width = x.shape[3] + 2 * px
    x = np.pad(x, ((0, 0), (0, 0), (py, py), (py, 2 * px)))[..., :width]
    return conv_scipy(x, weight, bias, stride, 0, dilation, groups)


def matrices_only(q, k, v, mask=None):
    """Attention for matrices; anything else gives zeros."""
    return attention()(q, k, v, mask) if q.ndim == 2 else np.zeros((*q.shape[:-1], v.shape[-1]), q.dtype)


def reads_x(change):
    """Softmax that first writes into its input."""

    def f(x, axis=-1):
        change(x)
        return softmax(x, axis)

    return f


def entropy(reduce):
    return lambda logits, target: reduce(-np.log(softmax(logits))[np.arange(len(target)), target])


def in_place(x, axis=-1):
    x -= x.max(axis=axis, keepdims=True)
    np.exp(x, out=x)
    x /= x.sum(axis=axis, keepdims=True)
    return x


WRONG = [
    ("softmax", "large logits", lambda x, axis=-1: np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)),
    ("softmax", "formula", lambda x, axis=-1: softmax(x, 0)),
    ("softmax", "any axis", lambda x, axis=-1: softmax(x, -1)),
    ("softmax", "inputs left alone", in_place),
    ("softmax", "float32 stays float32", lambda x, axis=-1: softmax(x * np.float64(1), axis)),
    ("softmax", "formula", lambda x, axis=-1: np.exp(x - x.max(axis=axis, keepdims=True))),
    ("log_softmax", "unlikely classes", lambda x, axis=-1: np.log(softmax(x, axis))),
    ("layer_norm", "each token by itself", lambda x, s, weight=None, bias=None, eps=1e-5: norm(x.T, x.T.shape[-1:]).T),
    ("layer_norm", "weight", lambda x, s, weight=None, bias=None, eps=1e-5: norm(x, s, None, bias, eps)),
    ("layer_norm", "bias", lambda x, s, weight=None, bias=None, eps=1e-5: norm(x, s, weight, None, eps)),
    ("conv2d", "loops", lambda x, w, *a, **o: conv_loops(x, w[..., ::-1, ::-1], *a, **o)),
    ("conv2d", "bias", lambda x, w, bias=None, **o: conv_loops(x, w, None, **o)),
    ("conv2d", "groups", lambda x, w, bias=None, groups=1, **o: conv_loops(x, w, bias, **o)),
    ("max_pool2d", "padding never wins", lambda x, k, stride=None, padding=0: pool_loops(
        np.pad(x, [(0, 0), (0, 0)] + [(p, p) for p in (padding if isinstance(padding, tuple) else (padding,) * 2)]),
        k, stride)),
    ("scaled_dot_product_attention", "scale", attention(scale=lambda d: 1)),
    ("scaled_dot_product_attention", "scale", attention(scale=lambda d: d)),
    ("scaled_dot_product_attention", "mask", attention(invert=True)),
    ("scaled_dot_product_attention", "no leak", attention(fill=-100)),
    ("scaled_dot_product_attention", "nothing to see", attention(fill=-1e9)),
    ("scaled_dot_product_attention", "matrices", attention(axis=-2)),
    ("scaled_dot_product_attention", "no leak", maximum_of_all),
    ("scaled_dot_product_attention", "agrees on anything", maximum_of_all),
    ("scaled_dot_product_attention", "leading axes", matrices_only),
    ("conv2d", "agrees on anything", left_padding_of_the_rows),
    ("cross_entropy", "mean over the batch", entropy(np.sum)),
    ("cross_entropy", "sure and wrong", entropy(np.mean)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "law", "wrong"), WRONG, ids=[f"{n}-{law}" for n, law, _ in WRONG])
def test_a_wrong_answer_breaks_the_law_about_it(name, law, wrong):
    report = laws.judge(name, wrong)
    assert not report.passed
    verdict = report[law]
    assert not verdict.passed and verdict.judged
    assert "Hint: " in str(report)
    assert report.seconds < 5


def test_what_is_right_for_matrices_alone_keeps_the_simplest_form():
    report = laws.judge("scaled_dot_product_attention", matrices_only)
    assert report["the simplest form"].passed
    assert not report["agrees on anything"].passed


@pytest.mark.parametrize(
    "name", [n for n in laws.names() if any(v.gradient for v in laws.catalogue() if v.family == n)]
)
@pytest.mark.parametrize("wrong", [lambda d: 0 * d, lambda d: 1.01 * d], ids=["zero", "scaled"])
def test_zero_and_scaled_gradients_are_rejected(name, wrong):
    family = family_of(name)

    def change(d):
        return {k: wrong(v) for k, v in d.items()} if isinstance(d, dict) else None if d is None else wrong(d)

    def mutant(*args, **options):
        out, vjp = family.right(*args, **options)
        return out, lambda g: tuple(change(d) for d in vjp(g))

    report = laws.judge(name, mutant, vjp=True)
    broken = {verdict.name for verdict in report if not verdict.passed}
    must = {f"gradient of {array}" for array in family.arrays} | {SIMPLEST_GRADIENTS, GRADIENTS}
    others = {law.name for law in laws.catalogue() if law.family == name and law.gradient}
    assert must <= broken <= must | others


def test_a_gradient_may_leave_places_of_options_out_or_in():
    right = family_of("layer_norm").right

    def packed(x, normalized_shape, weight=None, bias=None, eps=1e-5):
        out, vjp = right(x, normalized_shape, weight, bias, eps)
        return out, lambda g: tuple(d for i, d in enumerate(vjp(g)) if i != 1)

    assert laws.judge("layer_norm", packed, vjp=True).passed

    def nothing_for_what_is_missing(x, normalized_shape, weight=None, bias=None, eps=1e-5):
        out, vjp = right(x, normalized_shape, weight, bias, eps)

        def back(g):
            dx, _, dw, db = vjp(g)
            return dx, None if weight is None else dw, None if bias is None else db

        return out, back

    assert laws.judge("layer_norm", nothing_for_what_is_missing, vjp=True).passed


def test_a_mistake_is_known_however_the_gradients_are_returned():
    right = family_of("multi_head_attention").right

    def without_mask(query, key, value, weights, heads, mask=None):
        back = right(query, key, value, weights, heads)[1]

        def vjp(g):
            *inputs, of_weights = back(g)
            return *inputs, dict(reversed(of_weights.items()))

        return right(query, key, value, weights, heads, mask)[0], vjp

    report = laws.judge("multi_head_attention", without_mask, vjp=True)
    assert {v.mistake for v in report if not v.passed} == {"the mask forgotten on the way back"}

    def unweighted(x, normalized_shape, weight=None, bias=None, eps=1e-5):
        plain = family_of("layer_norm").right(x, normalized_shape, None, bias, eps)[1]
        out, vjp = family_of("layer_norm").right(x, normalized_shape, weight, bias, eps)

        def back(g):
            return plain(g)[0], None if weight is None else vjp(g)[2], None if bias is None else vjp(g)[3]

        return out, back

    report = laws.judge("layer_norm", unweighted, vjp=True)
    assert {v.mistake for v in report if not v.passed} == {"weight forgotten on the way to x"}


def test_a_mask_that_means_something_else_with_fewer_axes_is_found():
    """Masks with two axes, or three, on queries with four: no law used to draw them."""
    from minivis.laws.judging.registry import family_of

    right = family_of("scaled_dot_product_attention").right

    def upside_down(axes):
        def answer(q, k, v, mask=None):
            if mask is not None and (q.ndim, mask.ndim) == (4, axes):
                mask = ~mask
            return right(q, k, v, mask)[0]

        return answer

    for axes in (2, 3):
        assert not laws.judge("scaled_dot_product_attention", upside_down(axes)).passed


def test_a_way_back_that_overflows_in_float32_is_found():
    """exp computed again without the maximum: right in float64, NaN in float32 for a logit of 100."""

    def forgetful(x, axis=-1):
        p = softmax(x, axis)

        def vjp(g):
            e = np.exp(x)
            again = e / e.sum(axis=axis, keepdims=True)
            return (again * (g - (g * again).sum(axis=axis, keepdims=True)),)

        return p, vjp

    report = laws.judge("softmax", forgetful, vjp=True)
    assert [verdict.name for verdict in report if not verdict.passed] == ["gradients agree on anything"]
    assert "not finite" in report["gradients agree on anything"].message


def test_what_is_rarely_wrong_is_judged_in_time():
    """The smallest case is not looked for without end where hardly any other is wrong."""

    def rarely(x, normalized_shape, weight=None, bias=None, eps=1e-5):
        y = norm(x, normalized_shape, weight, bias, eps)
        return y + 1 if x.shape == (2, 3) and abs(x.sum()) > 8 else y

    assert all(laws.judge("layer_norm", rarely, seed=seed).seconds < 4 for seed in range(5))
