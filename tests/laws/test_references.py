"""The right answers that the laws compare with are right: on plain calls over the whole domain, and their gradients.

Each is compared with minivis' own function, which was written apart from it, and where there is one with a third
answer: SciPy's, or loops as on the slide. Gradients are compared with differences of the answer itself.
Not here: whether the laws notice what is wrong (test_mutation.py).
"""

import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import scipy.special

from minivis.laws.judging.candidate import Candidate, compare
from minivis.laws.judging.checking import drawn
from minivis.laws.judging.gradient_laws import cotangent
from minivis.laws.judging.inputs import leaves
from minivis.laws.judging.registry import family_of
from minivis.laws.judging.sandbox import Alarm
from minivis.laws.judging.value_laws import ANYTHING, GRADIENTS, gradients_agree
from tests.laws.mutation import plain_cases
from tests.laws.plain_inputs import PLAIN
from tests.laws.test_minivis import no_hurry, ours, with_vjp
from tests.laws.test_mistakes import RIGHT, attention

CASES = 60
__all__ = ["no_hurry"]  # a fixture of every test here
DIFFERENTIABLE = [name for name in PLAIN if family_of(name).arrays and family_of(name).law_named(GRADIENTS)]


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def conv_transpose(x, weight, bias=None, stride=1, padding=0, output_padding=0):
    """Zeros between the pixels, then SciPy's full convolution."""
    (sy, sx), (py, px), (oy, ox) = pair(stride), pair(padding), pair(output_padding)
    # noqa: E741
    (B, C, H, W) = x.shape
    O = weight.shape[1]
    spread = np.zeros((B, C, (H - 1) * sy + 1, (W - 1) * sx + 1))
    spread[:, :, ::sy, ::sx] = x
    channels = [
        [sum(scipy.signal.convolve2d(spread[b, c], weight[c, o]) for c in range(C)) for o in range(O)]
        for b in range(B)
    ]
    whole = np.pad(channels, ((0, 0), (0, 0), (0, oy), (0, ox)))
    out = whole[:, :, py : whole.shape[2] - py, px : whole.shape[3] - px]
    return out if bias is None else out + bias[:, None, None]


def interpolate(x, size, mode="nearest", align_corners=False):
    """SciPy's sampling of a picture at given places, of which those outside are moved to the edge."""

    def places(old, new):
        i = np.arange(new)
        if mode == "nearest":
            return i * old // new
        return i * (old - 1) / (new - 1 or 1) if align_corners else (i + 0.5) * old / new - 0.5

    grid = np.meshgrid(places(x.shape[2], size[0]), places(x.shape[3], size[1]), indexing="ij")
    planes = [
        scipy.ndimage.map_coordinates(p, grid, order=1, mode="nearest") for p in x.reshape(-1, *x.shape[2:])
    ]
    return np.reshape(planes, (*x.shape[:2], *size))


def max_pool2d_with_indices(x, kernel):
    """One window at a time, pixel by pixel; a later pixel wins only if it is larger."""
    M, N = pair(kernel)
    shape = (*x.shape[:2], x.shape[2] // M, x.shape[3] // N)
    maxima = np.full(shape, -np.inf)
    indices = np.zeros(shape, int)
    for b, c, i, j in np.ndindex(shape):
        for row, column in np.ndindex(M, N):
            y, z = i * M + row, j * N + column
            if x[b, c, y, z] > maxima[b, c, i, j]:
                maxima[b, c, i, j] = x[b, c, y, z]
                indices[b, c, i, j] = sum(x.shape[3] for _ in range(y)) + z
    return maxima, indices


def max_unpool2d(x, indices, size):
    out = np.zeros((*x.shape[:2], *size))
    for b, c, i, j in np.ndindex(x.shape):
        out[b, c, *divmod(indices[b, c, i, j], size[1])] = x[b, c, i, j]
    return out


def setr_pup_head(tokens, height, width, weights):
    """One pixel at a time: SciPy's filters, and its interpolation with the outermost cells repeated."""
    w = weights
    x = np.empty((len(tokens), tokens.shape[2], height, width))
    for b, i, j in np.ndindex(len(tokens), height, width):
        t = tokens[b, 1 + i * width + j].astype(np.float64)
        x[b, :, i, j] = w["norm.weight"] * (t - t.mean()) / np.sqrt(t.var() + 1e-6) + w["norm.bias"]
    stage = 0
    while f"convs.{stage}.weight" in w:
        scale = w[f"norms.{stage}.weight"] / np.sqrt(w[f"norms.{stage}.running_var"] + 1e-5)
        shift = (w[f"convs.{stage}.bias"] - w[f"norms.{stage}.running_mean"]) * scale
        y = _filtered(x, w[f"convs.{stage}.weight"]) * scale[:, None, None]
        y = np.maximum(0, y + (shift + w[f"norms.{stage}.bias"])[:, None, None])
        x = scipy.ndimage.zoom(y, (1, 1, 2, 2), order=1, mode="nearest", grid_mode=True)
        stage += 1
    scores = np.tensordot(w["classifier.weight"][:, :, 0, 0], x, axes=(1, 1)).swapaxes(0, 1)
    return scores + w["classifier.bias"][:, None, None]


def _filtered(x, kernels):
    """Each output channel as the sum of SciPy's correlations of the input channels."""
    return np.array(
        [
            [sum(scipy.ndimage.correlate(c, k, mode="constant") for c, k in zip(image, kernel, strict=True)) for kernel in kernels]
            for image in x
        ]
    )  # fmt: skip


def mla_fuse(maps, laterals, convs):
    """Each stream by itself, with SciPy's filters."""
    streams = []
    for layer in range(len(maps)):
        low = [
            np.tensordot(laterals[k], maps[k], axes=(1, 1)).swapaxes(0, 1) for k in range(layer, len(maps))
        ]
        streams.append(_filtered(np.sum(low, axis=0, dtype=np.float64), convs[layer]))
    return np.array(streams)


def fuse_conv_norm(weight, running_mean, running_var, gamma, beta, eps=1e-5):
    """One number at a time: what batch norm makes of a single weight, and of nothing."""
    fused = np.empty(weight.shape)
    bias = np.empty(len(weight))
    for o, c, i, j in np.ndindex(weight.shape):
        spread = math.sqrt(running_var[o] + eps)
        bias[o] = gamma[o] * (0 - running_mean[o]) / spread + beta[o]
        fused[o, c, i, j] = gamma[o] * (weight[o, c, i, j] - running_mean[o]) / spread + beta[o] - bias[o]
    return fused, bias


def crop_concat(skip, up):
    """One pixel at a time."""
    B, D, h, w = up.shape
    C = skip.shape[1]
    top, left = (math.floor((m - n) / 2) for m, n in zip(skip.shape[2:], (h, w), strict=True))
    out = np.empty((B, C + D, h, w))
    for b, c, i, j in np.ndindex(out.shape):
        out[b, c, i, j] = skip[b, c, i + top, j + left] if c < C else up[b, c - C, i, j]
    return out


def border_weights(labels, w0=10.0, sigma=5.0):
    """SciPy's distance transforms, and the share of each class counted."""
    objects = [n for n in range(1, labels.max() + 1) if (labels == n).any()]
    near = np.sort([scipy.ndimage.distance_transform_edt(labels != n) for n in objects], axis=0)
    out = np.empty(labels.shape)
    kinds = np.unique(labels > 0)
    for place in np.ndindex(labels.shape):
        share = np.mean((labels > 0) == (labels[place] > 0))
        out[place] = 1 / (len(kinds) * share)
        if len(objects) > 1:
            d = near[0][place] + near[1][place]
            out[place] += w0 * math.exp(-d * d / (2 * sigma * sigma))
    return out.astype(np.float32)


def mask_decoder(patches, classes, w_patch, w_class, gamma, beta):
    """One patch at a time, with the angles between it and the classes."""
    out = np.empty((len(patches), classes.shape[1], patches.shape[1]))
    for b, n in np.ndindex(patches.shape[:2]):
        patch = sum(number * row for number, row in zip(patches[b, n], w_patch, strict=True))
        others = [sum(number * row for number, row in zip(z, w_class, strict=True)) for z in classes[b]]
        cosines = [float(patch @ z / (math.hypot(*patch) * math.hypot(*z))) for z in others]
        mean = math.fsum(cosines) / len(cosines)
        spread = math.sqrt(math.fsum((c - mean) ** 2 for c in cosines) / len(cosines) + 1e-5)
        out[b, :, n] = [g * (c - mean) / spread + h for g, c, h in zip(gamma, cosines, beta, strict=True)]
    return out


def multi_head(query, key, value, weights, heads, mask=None):
    """One image and one head at a time, with the head's rows of the weights."""
    w = weights
    d = query.shape[-1] // heads
    out = np.empty_like(query)
    for image in range(len(query)):
        parts = []
        for head in range(heads):
            rows = slice(head * d, head * d + d)
            inputs = (("q", query), ("k", key), ("v", value))
            q, k, v = (x[image] @ w[f"w_{n}"][rows].T + w[f"b_{n}"][rows] for n, x in inputs)
            parts.append(attention()(q, k, v, mask))
        out[image] = np.hstack(parts) @ w["w_o"].T + w["b_o"]
    return out


def local_response_norm(x, size=5, alpha=1e-4, beta=0.75, k=2.0):
    """The sum over the window as a correlation with ones along the channels."""
    sums = scipy.ndimage.correlate1d(x * x, np.ones(size), axis=1, mode="constant")
    return x * np.exp(-beta * np.log(k + alpha * sums))


def masked_conv2d(x, weight, bias, table):
    """One pair of maps at a time, with SciPy's correlation."""
    out = (
        np.zeros((len(x), len(weight), *(np.array(x.shape[2:]) - weight.shape[2:] + 1))) + bias[:, None, None]
    )
    for image, picture in enumerate(x):
        for o, c in np.argwhere(table):
            out[image, o] += scipy.signal.correlate2d(picture[c], weight[o, c], "valid")
    return out


def subsample(x, weight, bias):
    """Each of the four pixels from its own slice."""
    sums = x[:, :, ::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, ::2] + x[:, :, 1::2, 1::2]
    return np.einsum("bchw,c->bchw", sums, weight) + bias.reshape(1, -1, 1, 1)


def point_position_code(points, size, gaussian):
    """One number of one point at a time: the imaginary and the real part of a wave."""
    height, width = size
    waves = gaussian.shape[1]
    code = np.empty((*points.shape[:-1], 2 * waves))
    for at in np.ndindex(points.shape[:-1]):
        x, y = points[at]
        for i in range(waves):
            turns = (2 * (x + 0.5) / width - 1) * gaussian[0, i] + (2 * (y + 0.5) / height - 1) * gaussian[
                1, i
            ]
            wave = np.exp(2j * math.pi * turns)
            code[at][i], code[at][waves + i] = wave.imag, wave.real
    return code


def stability_score(logits, offset=1.0):
    """The IoU of two sets of pixels."""
    score = np.empty(logits.shape[:-2])
    for at in np.ndindex(score.shape):
        high, low = ({*zip(*np.nonzero(logits[at] > o), strict=True)} for o in (offset, -offset))
        score[at] = len(high & low) / len(high | low) if low else 0
    return score


def coded_attention(x, context, x_codes, context_codes):
    """One vector at a time, its weights from a list of scores."""
    out = np.array(x, np.float64)
    for at in np.ndindex(x.shape[:-1]):
        one = (*at[:-1],)
        scores = [
            sum((a + c) * (b + d) for a, c, b, d in zip(x[at], x_codes[at], key, place, strict=True))
            for key, place in zip(context[one], context_codes[one], strict=True)
        ]
        e = [math.exp((score - max(scores)) / math.sqrt(x.shape[-1])) for score in scores]
        for weight, key in zip(e, context[one], strict=True):
            out[at] += weight / sum(e) * key
    return out


def mask_choice(losses, estimates, ious):
    """Prompt by prompt, with sorted lists."""
    costs, errors, shown = [], [], []
    for of_losses, of_estimates, of_ious in zip(losses, estimates, ious, strict=True):
        costs.append(sorted(of_losses)[0])
        errors += [(float(e) - float(u)) ** 2 for e, u in zip(of_estimates, of_ious, strict=True)]
        best = sorted(range(len(of_ious)), key=lambda m, e=of_estimates: (-e[m], m))[0]
        shown.append(of_ious[best])
    return np.array([sum(costs) / len(costs) + sum(errors) / len(errors), sum(shown) / len(shown)])


def bilinear_kernel(size):
    """Two boxes of the width of a pixel's cell, f wide each, laid over one another: their overlap is the kernel."""
    sides = []
    for side in pair(size):
        factor = math.ceil(side / 2)
        box = np.ones(factor)
        triangle = np.convolve(box, box) / factor  # odd: 2 f - 1 weights, the highest in the middle
        if side % 2 == 0:  # between two cells: the mean of neighbours
            triangle = np.convolve(triangle, [0.5, 0.5])
        sides.append(triangle)
    return np.array([[row * column for column in sides[1]] for row in sides[0]], np.float32)


def fcn_upsample(scores, factor):
    """SciPy's interpolation of a picture with a border of zeros, which is as wide as a cell."""
    B, K, H, W = scores.shape
    places = [1 + (np.arange(factor * n) - (factor - 1) / 2) / factor for n in (H, W)]
    grid = np.meshgrid(*places, indexing="ij")
    padded = np.pad(scores, ((0, 0), (0, 0), (1, 1), (1, 1))).reshape(-1, H + 2, W + 2)
    planes = [scipy.ndimage.map_coordinates(plane, grid, order=1) for plane in padded]
    return np.reshape(planes, (B, K, factor * H, factor * W))


def field_of_view(layers):
    """The first and the last pixel of a position and of its neighbour, backwards through the layers."""

    def pixels(place):
        first = last = place
        for kernel, stride, dilation in layers[::-1]:
            first = first * stride
            last = last * stride + (kernel - 1) * dilation
        return first, last

    (first, last), (next_first, _) = pixels(0), pixels(1)
    return last - first + 1, next_first - first


def patchify(images, patch):
    B, _, H, W = images.shape
    corners = [(y, x) for y in range(0, H, patch) for x in range(0, W, patch)]
    squares = [[image[:, y : y + patch, x : x + patch] for y, x in corners] for image in images]
    return np.array(squares).transpose(0, 1, 3, 4, 2).reshape(B, len(corners), -1)


def unpatchify(tokens, patch, height, width):
    images = np.empty((len(tokens), tokens.shape[2] // patch**2, height, width))
    for b, rows in enumerate(tokens):
        for n, token in enumerate(rows):
            y = n // (width // patch) * patch
            x = n % (width // patch) * patch
            images[b, :, y : y + patch, x : x + patch] = token.reshape(patch, patch, -1).transpose(2, 0, 1)
    return images


def sine_position_code(height, width, dim):
    code = np.empty((height, width, dim))
    for y, x, i in np.ndindex(code.shape):
        place, number = (y, i) if i < dim // 2 else (x, i - dim // 2)
        angle = place / 10000 ** (number // 2 * 2 / (dim // 2))
        code[y, x, i] = math.cos(angle) if number % 2 else math.sin(angle)
    return code


def attention_distance(attention, patch_size, grid):
    out = np.zeros(len(attention))
    for head, i, j in np.ndindex(attention.shape):
        steps = i // grid[1] - j // grid[1], i % grid[1] - j % grid[1]
        out[head] += attention[head, i, j] * math.hypot(*steps) * patch_size / attention.shape[1]
    return out


def residual_block(x, w1, b1, w2, b2):
    """One number after the other."""
    y = np.empty_like(x)
    for n, i in np.ndindex(y.shape):
        inner = [
            max(0.0, sum(w * v for w, v in zip(row, x[n], strict=True)) + b)
            for row, b in zip(w1, b1, strict=True)
        ]
        y[n, i] = max(0.0, x[n, i] + b2[i] + sum(w * v for w, v in zip(w2[i], inner, strict=True)))
    return y


def drop_path(x, rate, training, rng):
    """One sample after the other."""
    if not training:
        return x
    out = np.zeros_like(x)
    for i, sample in enumerate(x):
        if rng.random() >= rate:
            out[i] = sample / (1 - rate)
    return out


def mask_tokens(ids, rng, vocabulary, mask_id, special_ids, rate=0.15):
    """Word by word, with the numbers drawn in the same order."""
    choice = rng.random(ids.shape)
    how = rng.random(ids.shape)
    words = rng.integers(vocabulary, size=ids.shape)
    inputs = ids.copy()
    chosen = np.zeros(ids.shape, bool)
    for place, word in np.ndenumerate(ids):
        if word not in special_ids and choice[place] < rate:
            chosen[place] = True
            if how[place] < 0.8:
                inputs[place] = mask_id
            elif how[place] < 0.9:
                inputs[place] = words[place]
    return inputs, ids, chosen


def mlm_loss(logits, targets, chosen):
    """Word by word."""
    losses = [scipy.special.logsumexp(logits[i]) - logits[i][targets[i]] for i in zip(*np.nonzero(chosen))]  # noqa: B905
    return sum(losses) / len(losses)


def survival_schedule(layers, last):
    return np.interp(np.arange(1, layers + 1), [0, layers], [1, last])


def odeint(field, y0, t0, t1, steps, method="euler"):
    """The table of coefficients of any explicit method: what each stage takes of the earlier ones, and the weights."""
    stages, weights = {
        "euler": ([[]], [1]),
        "midpoint": ([[], [1 / 2]], [0, 1]),
        "rk4": ([[], [1 / 2], [0, 1 / 2], [0, 0, 1]], [1 / 6, 1 / 3, 1 / 3, 1 / 6]),
    }[method]
    h = (t1 - t0) / steps
    y = y0
    for t in t0 + h * np.arange(steps):
        k = []
        for row in stages:
            k.append(
                field(y + h * sum((a * v for a, v in zip(row, k, strict=True)), 0 * y), t + h * sum(row))
            )
        y = y + h * sum(b * v for b, v in zip(weights, k, strict=True))
    return y


def non_local(x, w_theta, w_phi, w_g, w_z, form="embedded_gaussian", pool=1):
    """One place after another, and for each one all keys; a picture is a film of one frame."""
    films = x if x.ndim == 5 else x[:, :, None]
    out = films.copy()
    (B, _, T, H, W) = films.shape
    for b, t, y, c in np.ndindex(B, T, H, W):
        weights, found = [], []
        for s, v, u in np.ndindex(T, H // pool, W // pool):
            window = films[b, :, s, v * pool : (v + 1) * pool, u * pool : (u + 1) * pool]
            key = window.max(axis=(1, 2))
            weights.append((w_theta @ films[b, :, t, y, c]) @ (w_phi @ key))
            found.append(w_g @ key)
        weights = np.array(weights)
        if form == "dot_product":
            weights = weights / len(weights)
        else:
            weights = np.exp(weights) / np.exp(weights).sum()
        out[b, :, t, y, c] += w_z @ (weights @ np.array(found))
    return out.reshape(x.shape)


def self_attention_2d(x, wf, wg, wh, wv, gamma):
    """One place at a time, as in the equations."""
    B, C, H, W = x.shape
    out = x.copy()
    for b in range(B):
        places = [x[b, :, i, j] for i, j in np.ndindex(H, W)]
        for (row, column), here in zip(np.ndindex(H, W), places, strict=True):
            scores = [(wf @ other) @ (wg @ here) for other in places]
            beta = scipy.special.softmax(scores)
            mixed = sum(share * (wh @ other) for share, other in zip(beta, places, strict=True))
            out[b, :, row, column] += gamma * (wv @ mixed)
    return out


def spectral_norm(weight, u, iterations=1):
    """By the eigenvectors of W W^T: powers of a matrix multiply each part of u by a power of its eigenvalue."""
    matrix = np.array([np.ravel(row) for row in weight])
    eigenvalues, vectors = np.linalg.eigh(matrix @ matrix.T)
    parts = vectors.T @ u
    powers = (eigenvalues.clip(0) / eigenvalues.max()) ** iterations
    new = vectors @ (powers * parts)
    new /= np.linalg.norm(new)
    before = vectors @ (powers / np.where(eigenvalues > 0, eigenvalues, 1) * eigenvalues.max() * parts)
    right = matrix.T @ before
    return weight / (new @ matrix @ right / np.linalg.norm(right)), new


def weight_standardized_conv2d(x, weight, stride=1, padding="same", eps=1e-8):
    """One output at a time; the rows of TensorFlow's padding are found by trying."""
    count = weight[0].size
    strides = pair(stride)
    out_size = []
    before = []
    for length, k, s, p in zip(x.shape[2:], weight.shape[2:], strides, pair(padding), strict=True):
        if padding == "same":
            rows = -(-length // s)
            p = 0
            while length + p < (rows - 1) * s + k:
                p += 1
        else:
            rows = (length + 2 * p - k) // s + 1
            p = 2 * p
        out_size.append(rows)
        before.append(p // 2)
    out = np.zeros((len(x), len(weight), *out_size))
    for b, o, i, j in np.ndindex(out.shape):
        mean = weight[o].sum() / count
        deviation = math.sqrt(((weight[o] - mean) ** 2).sum() / count + eps)
        for c, m, n in np.ndindex(weight.shape[1:]):
            row, column = i * strides[0] + m - before[0], j * strides[1] + n - before[1]
            if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
                out[b, o, i, j] += (weight[o, c, m, n] - mean) / deviation * x[b, c, row, column]
    return out


def mirror(n, length):
    """The pixel that stands for pixel n of a row, also beyond its ends."""
    while not 0 <= n < length:
        n = -n if n < 0 else 2 * (length - 1) - n
    return n


def around(image, i, j, window):
    """(dy, dx, row, column) for each place of the window around a pixel, mirrored at the border."""
    r = window // 2
    for dy, dx in np.ndindex(window, window):
        yield dy - r, dx - r, mirror(i + dy - r, len(image)), mirror(j + dx - r, image.shape[1])


def kernel_regression(queries, keys, values, b=1.0):
    out = np.empty((len(queries), values.shape[1]))
    for i, query in enumerate(queries):
        scores = [-sum(((a - k) / b) ** 2 for a, k in zip(query, key, strict=True)) for key in keys]
        out[i] = np.average(values, axis=0, weights=[math.exp(s - max(scores)) for s in scores])
    return out


def bilateral_filter(image, window, b_x, b_p):
    out = np.empty_like(image)
    for i, j in np.ndindex(image.shape[:2]):
        weights, values = [], []
        for dy, dx, y, x in around(image, i, j, window):
            alike = math.exp(-np.sum((image[i, j] - image[y, x]) ** 2) / b_x**2)
            weights.append(alike * math.exp(-(dy**2 + dx**2) / b_p**2))
            values.append(image[y, x])
        out[i, j] = np.average(values, axis=0, weights=weights)
    return out


def non_local_means(image, patch, search, h, sigma=0.0, b_p=math.inf):
    def patch_at(i, j):
        rows = [mirror(i + o - patch // 2, len(image)) for o in range(patch)]
        columns = [mirror(j + o - patch // 2, image.shape[1]) for o in range(patch)]
        return image[np.ix_(rows, columns)]

    out = np.empty_like(image)
    for i, j in np.ndindex(image.shape):
        weights, values = [], []
        for dy, dx, _, _ in around(image, i, j, search):
            other = patch_at(i + dy, j + dx)
            excess = max(np.mean((patch_at(i, j) - other) ** 2) - 2 * sigma**2, 0)
            weights.append(math.exp(-excess / h**2 - (dy**2 + dx**2) / b_p**2))
            values.append(other[patch // 2, patch // 2])
        out[i, j] = np.average(values, weights=weights)
    return out


def steering_matrices(gx, gy, window, lam=1.0, lam2=0.01, alpha=0.5):
    """By the eigenvalues of the products of gradients."""
    out = np.empty((*gx.shape, 2, 2))
    for i, j in np.ndindex(gx.shape):
        G = np.array([[gx[y, x], gy[y, x]] for _, _, y, x in around(gx, i, j, window)])
        squares, v = np.linalg.eigh(G.T @ G)  # the smaller first
        s2, s1 = np.sqrt(np.maximum(squares, 0))
        stretched = np.diag([(s2 + lam) / (s1 + lam), (s1 + lam) / (s2 + lam)])
        out[i, j] = ((s1 * s2 + lam2) / len(G)) ** alpha * v @ stretched @ v.T
    return out


def steering_kernel_regression(image, C, window, h, order=0):
    """Least squares, pixel by pixel."""
    out = np.empty_like(image)
    for i, j in np.ndindex(image.shape):
        rows, values = [], []
        for dy, dx, y, x in around(image, i, j, window):
            place = np.array([dx, dy])
            k = math.sqrt(np.linalg.det(C[y, x])) * math.exp(-place @ C[y, x] @ place / (2 * h**2))
            surface = [1, dx, dy, dx * dx, dx * dy, dy * dy] if order else [1]
            rows.append(np.multiply(surface, math.sqrt(k)))
            values.append(image[y, x] * math.sqrt(k))
        out[i, j] = np.linalg.lstsq(np.array(rows), np.array(values))[0][0]
    return out


def random_masking(tokens, ratio, noise):
    """Count for each token how many have less noise."""
    B, N, D = tokens.shape
    K = math.floor(N * (1 - ratio))
    kept = np.empty((B, K, D))
    ranks = np.empty((B, N), int)
    for b, n in np.ndindex(B, N):
        ranks[b, n] = sum(other < noise[b, n] for other in noise[b])
        if ranks[b, n] < K:
            kept[b, ranks[b, n]] = tokens[b, n]
    return kept, ranks >= K, ranks


def restore_tokens(kept, mask_token, ids_restore):
    B, N = ids_restore.shape
    out = np.empty((B, N, kept.shape[2]))
    for b, n in np.ndindex(B, N):
        rank = ids_restore[b, n]
        out[b, n] = kept[b, rank] if rank < kept.shape[1] else mask_token
    return out


def mae_loss(images, prediction, mask, patch, norm_pix=False):
    """One hidden patch at a time."""
    columns = images.shape[3] // patch
    losses = []
    for b, n in zip(*np.nonzero(mask), strict=True):
        top = n // columns * patch
        left = n % columns * patch
        there = np.moveaxis(images[b, :, top : top + patch, left : left + patch], 0, 2).ravel()
        if norm_pix:
            there = (there - np.mean(there)) / math.sqrt(np.var(there, ddof=1) + 1e-6)
        losses.append(np.mean((prediction[b, n] - there) ** 2))
    return np.mean(losses)


def dino_loss(student, teacher, centre, crops, student_temp=0.1, teacher_temp=0.04):
    """One pair of views and one picture at a time, with SciPy's softmax and its logarithm."""
    B = len(student) // crops
    terms = []
    for i, v, b in np.ndindex(2, crops, B):
        if v != i:
            wanted = scipy.special.softmax((teacher[i * B + b] - centre) / teacher_temp)
            terms.append(-wanted @ scipy.special.log_softmax(student[v * B + b] / student_temp))
    return math.fsum(terms) / len(terms)


def cosine_schedule(start, end, steps, warmup=0):
    """One step at a time."""
    found = [start * j / max(1, warmup - 1) for j in range(warmup)]
    n = steps - warmup
    found += [end + (start - end) * math.cos(math.pi * i / (2 * n)) ** 2 for i in range(n)]
    return np.array(found)


def tubelet_embed(video, weight, bias):
    """One token at a time: the numbers of its block times those of the kernel."""
    B, T, _, H, W = video.shape
    D, _, t, p, q = weight.shape
    out = np.empty((B, T // t, (H // p) * (W // q), D))
    for b, k, n, d in np.ndindex(out.shape):
        i, j = divmod(n, W // q)
        block = video[b, k * t : (k + 1) * t, :, i * p : (i + 1) * p, j * q : (j + 1) * q]
        out[b, k, n, d] = sum((block[s] * weight[d, :, s]).sum() for s in range(t)) + bias[d]
    return out


def factorised_attention(x, weights, heads, order="space_time"):
    """One frame at a time in space, one place at a time in time."""

    def attended(tokens, axis):
        own = {f"{kind}_{name[0]}": weights[f"{axis}.{name}.{long}"]
               for name in ("query", "key", "value", "out") for kind, long in (("w", "weight"), ("b", "bias"))}  # fmt: skip
        return multi_head(tokens[None], tokens[None], tokens[None], own, heads)[0]

    for axis in order.split("_"):
        out = x.copy()
        for b in range(len(x)):
            if axis == "space":
                for t in range(x.shape[1]):
                    out[b, t] += attended(x[b, t], axis)
            else:
                for n in range(x.shape[2]):
                    out[b, :, n] += attended(x[b, :, n], axis)
        x = out
    return x


def factorised_heads(query, key, value, order="space_time"):
    """One head and one frame, or one place, at a time."""
    B, T, N, h, _ = query.shape
    attend = attention()
    out = np.empty(query.shape)
    for b, i in np.ndindex(B, h):
        q, k, v = (x[b, :, :, i] for x in (query, key, value))
        if order.split("_")[i >= h // 2] == "space":
            out[b, :, :, i] = [attend(q[t], k[t], v[t]) for t in range(T)]
        else:
            for n in range(N):
                out[b, :, n, i] = attend(q[:, n], k[:, n], v[:, n])
    return out


THIRD = RIGHT | {
    "random_masking": random_masking,
    "restore_tokens": restore_tokens,
    "mae_loss": mae_loss,
    "dino_loss": dino_loss,
    "update_centre": lambda centre, teacher, momentum=0.9: np.array(
        [
            momentum * c + (1 - momentum) * math.fsum(t) / len(t)
            for c, t in zip(centre, teacher.T, strict=True)
        ]
    ),
    "ema": lambda teacher, student, m: student + m * (teacher - student),
    "cosine_schedule": cosine_schedule,
    "residual_block": residual_block,
    "drop_path": drop_path,
    "mask_tokens": mask_tokens,
    "mlm_loss": mlm_loss,
    "survival_schedule": survival_schedule,
    "odeint": odeint,
    "hinge_d": lambda real, fake: (
        sum(max(0, 1 - r) for r in real.flat) / real.size + sum(max(0, 1 + f) for f in fake.flat) / fake.size
    ),
    "hinge_g": lambda fake: sum(-f for f in fake.flat) / fake.size,
    "self_attention_2d": self_attention_2d,
    "spectral_norm": spectral_norm,
    "weight_standardized_conv2d": weight_standardized_conv2d,
    "conv_transpose2d": conv_transpose,
    "max_pool2d_with_indices": max_pool2d_with_indices,
    "max_unpool2d": max_unpool2d,
    "crop_concat": crop_concat,
    "fuse_conv_norm": fuse_conv_norm,
    "point_position_code": point_position_code,
    "stability_score": stability_score,
    "coded_attention": coded_attention,
    "mask_choice": mask_choice,
    "border_weights": border_weights,
    "setr_pup_head": setr_pup_head,
    "mla_fuse": mla_fuse,
    "mask_decoder": mask_decoder,
    "field_of_view": field_of_view,
    "bilinear_kernel": bilinear_kernel,
    "fcn_upsample": fcn_upsample,
    "interpolate": interpolate,
    "local_response_norm": local_response_norm,
    "masked_conv2d": masked_conv2d,
    "subsample": subsample,
    "kernel_regression": kernel_regression,
    "bilateral_filter": bilateral_filter,
    "non_local_means": non_local_means,
    "steering_matrices": steering_matrices,
    "steering_kernel_regression": steering_kernel_regression,
    "multi_head_attention": multi_head,
    "patchify": patchify,
    "unpatchify": unpatchify,
    "sine_position_code": sine_position_code,
    "attention_distance": attention_distance,
    "non_local": non_local,
    "tubelet_embed": tubelet_embed,
    "factorised_attention": factorised_attention,
    "factorised_heads": factorised_heads,
}


def cases_of(name):
    """Plain calls and those that "agrees on anything" draws."""
    return plain_cases(name, CASES, seed=7) + drawn(family_of(name).law_named(ANYTHING), CASES, seed=7)


@pytest.mark.parametrize("name", THIRD)
def test_the_right_answer_is_that_of_scipy_or_of_loops(name):
    for case in cases_of(name):
        exact = case.copy(np.float64)
        main = family_of(name).main
        right = np.asarray(main(family_of(name).right(**exact.copy().everything)[0]))
        third = np.asarray(main(THIRD[name](*exact.args.values(), **exact.options)))
        compare(
            right, third.reshape(right.shape), rtol=1e-6, atol=1e-6 if right.dtype == np.float32 else 1e-9
        )


@pytest.mark.parametrize("name", PLAIN)
def test_the_right_answer_is_that_of_minivis(name):
    family = family_of(name)
    with Alarm() as alarm:
        for case in cases_of(name):
            family.same(Candidate(ours(name), family, False, alarm), case.copy(np.float64))
        if name in DIFFERENTIABLE and name != "multi_head_attention":
            # away from kinks, unlike plain calls
            for case in drawn(family.law_named(GRADIENTS), CASES, seed=7):
                gradients_agree(Candidate(with_vjp(name), family, True, alarm), case)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradients_are_those_of_differences(name):
    """<g, f(x + h v) - f(x - h v)> / 2h = <vjp(g), v> along random directions v, extrapolated to h = 0."""
    family = family_of(name)
    rng = np.random.default_rng(7)
    with Alarm() as alarm:
        candidate = Candidate(family.right, family, True, alarm)
        for case in drawn(family.law_named(GRADIENTS), CASES, seed=7):
            exact = case.copy(np.float64)
            g = cotangent(candidate.right(exact).shape)
            for argument, pulled in candidate.pull(exact, g).items():
                v = [rng.standard_normal(leaf.shape) for leaf in leaves(exact[argument])]
                got = sum(float((d * along).sum()) for d, along in zip(leaves(pulled), v, strict=True))
                coarse, fine = (slope(candidate, exact, argument, v, g, h) for h in (2e-6, 1e-6))
                expected = (4 * fine - coarse) / 3
                assert got == pytest.approx(expected, rel=1e-5, abs=1e-6), case


def slope(candidate, case, argument, v, g, h):
    """The slope of <g, f> where one argument moves along v."""
    sides = []
    for step in (h, -h):
        moved = case.copy()
        for leaf, along in zip(leaves(moved[argument]), v, strict=True):
            leaf += step * along
        sides.append(float((g * candidate.right(moved)).sum()))
    return (sides[0] - sides[1]) / (2 * h)
