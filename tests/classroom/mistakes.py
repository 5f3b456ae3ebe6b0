"""Known wrong answers to each task: what people write, as a change of the solution, and the laws that it must cost.

Not here: the grading. The mistakes are those that other implementations made and those of the laws' own mutants.
"""

from dataclasses import dataclass

from minivis.laws.judging.registry import ANYTHING, GRADIENTS, SIMPLEST, SIMPLEST_GRADIENTS

__all__ = ["ALL", "MISTAKES", "Mistake"]

ALL = {"*"}  # every law of a task: none is left that compares with the right answer and holds
S, A, GS, GA = SIMPLEST, ANYTHING, SIMPLEST_GRADIENTS, GRADIENTS


@dataclass(frozen=True)
class Mistake:
    """A wrong line in a task's cell, and the laws that it costs there; later tasks are judged with the right function."""

    task: str
    story: str
    old: str
    new: str
    breaks: set


MISTAKES = {
    "convolution": [
        Mistake("conv2d", "kernel axes swapped", "filters[..., m, n])\n    y", "filters[..., n % kh, m % kw])\n    y",
                ALL),
        Mistake("conv2d", "bias forgotten", "return y if bias is None else y + bias[:, None, None]", "return y", {"bias", A}),
        Mistake("conv2d", "padded above and left only", "(ph, ph), (pw, pw)))\n    (B", "(2 * ph, 0), (2 * pw, 0)))\n    (B",
                {"padding", A}),
        Mistake("backward", "= for += in col2im", "g_padded[..., down, right] += ", "g_padded[..., down, right] = ",
                {"gradient of x", GA, GS}),
        Mistake("backward", "bias averaged", "g.sum(axis=(0, 2, 3))", "g.mean(axis=(0, 2, 3))", {"gradient of bias", GA}),
        Mistake("backward", "first image only", "g_filters[..., m, n] = np.einsum(\"bgoij,bgcij->goc\", shared, padded[..., down, right])",
                "g_filters[..., m, n] = np.einsum(\"bgoij,bgcij->goc\", shared[:1], padded[:1, ..., down, right])", {"gradient of weight", GA}),
        Mistake("max-pooling", "padded with zeros", "constant_values=-np.inf", "constant_values=0", {"padding never wins", A}),
        Mistake("max-pooling", "window turned", "(kh, kw), axis=(2, 3))", "(kw, kh), axis=(2, 3))", {"rectangular windows", A}),
        Mistake("max-pooling", "stride ignored", "pair(kernel_size if stride is None else stride)", "pair(kernel_size)", {"stride", "rectangular windows", "padding", "padding never wins", A}),
    ],
    "autograd": [
        Mistake("softmax", "nothing subtracted", "np.exp(x - x.max(axis=axis, keepdims=True))", "np.exp(x)", {"large logits", A, GA}),
        Mistake("softmax", "always the last axis", "y = e / e.sum(axis=axis, keepdims=True)", "y = e / e.sum(axis=-1, keepdims=True)", {"any axis", "gradient of x", A, GA}),
        Mistake("softmax", "only the diagonal of the Jacobian", "(y * (g - (g * y).sum(axis=axis, keepdims=True)),)", "(g * y * (1 - y),)", {"gradient of x", "cotangent left alone", GA, GS}),
        Mistake("layer-norm", "mean of squares less square of mean", "(centred**2).mean(axis=axes, keepdims=True)",
                "((x**2).mean(axis=axes, keepdims=True) - x.mean(axis=axes, keepdims=True) ** 2)", {"far from zero"}),
        Mistake("layer-norm", "the deviation taken for a constant", "- stretched.mean(axis=axes, keepdims=True) - along", "- stretched.mean(axis=axes, keepdims=True)",
                {"gradient of x", GA, GS}),
        Mistake("layer-norm", "eps outside of the root", "np.sqrt((centred**2).mean(axis=axes, keepdims=True) + eps)", "np.sqrt((centred**2).mean(axis=axes, keepdims=True)) + eps", {"eps under the root", "gradient of x", "gradient of weight", A, GA, GS, S}),
        Mistake("cross-entropy", "sum for mean", "return -log_p[rows, target].mean(), vjp", "return -log_p[rows, target].sum(), vjp", {"mean over the batch", A, S}),
        Mistake("cross-entropy", "gradient of the sum", "g / len(logits), logits", "g, logits", {"gradient of logits", GA, GS}),
        Mistake("cross-entropy", "log of softmax", "log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))", "log_p = np.log(np.exp(shifted) / np.exp(shifted).sum(axis=-1, keepdims=True))", {"sure and wrong"}),
    ],
    "attention": [
        Mistake("attention", "scale forgotten", " / math.sqrt(q.shape[-1])", "", {"scale", A, S}),
        Mistake("attention", "mask on the wrong axis", "np.where(mask, scores, -np.inf)", "np.where(np.swapaxes(mask, -1, -2) if mask.ndim > 1 and mask.shape[-1] == mask.shape[-2] else ~mask, scores, -np.inf)", {"mask", "no leak", "nothing to see", A}),
        Mistake("attention", "-1e9 for what is forbidden", "-np.inf)", "np.float32(-1e9))", {"nothing to see", A}),
        Mistake("backward", "scale forgotten on the way back", "g_q = g_s @ k * scale", "g_q = g_s @ k", {"gradient of q", GA, GS}),
        Mistake("backward", "scores for weights", "g_v = np.swapaxes(p, -1, -2) @ g", "g_v = np.swapaxes(np.where(p > 0, scores, 0), -1, -2) @ g", {"gradient of v", GA, GS}),
        Mistake("backward", "writes into g", "g_p = g @ np.swapaxes(v, -1, -2)", "g_p = g @ np.swapaxes(v, -1, -2)\n        kept = g.copy()\n        g *= 0\n        g = kept", {"cotangent left alone"}),
        Mistake("multi-head", "width of all heads in the scale", "split(query, \"q\")", "split(query, \"q\") / math.sqrt(heads)", {"heads", A}),
        Mistake("multi-head", "weights not transposed", "weights[\"w_\" + name].T", "weights[\"w_\" + name]", {"weights are (out, in)", A, S}),
        Mistake("multi-head", "keys for values", "split(value, \"v\")", "split(key, \"v\")", {"values of their own", A}),
    ],
    "residual": [
        Mistake("block", "the ReLU before the sum", "s = x + r @ w2.T + b2\n", "s = x + np.maximum(r @ w2.T + b2, 0)\n", ALL),
        Mistake("block", "shortcut forgotten on the way back", "g_s + g_a @ w1", "g_a @ w1", {"gradient of x", GA, GS}),
        Mistake("block", "no ReLU on the way back", "(g_s @ w2) * (a > 0)", "g_s @ w2", {"gradient of x", "gradient of w1", "gradient of b1", GA, GS}),
        Mistake("block", "gradients of the biases averaged", "g_a.sum(axis=0), g_s.T @ r, g_s.sum(axis=0)", "g_a.mean(axis=0), g_s.T @ r, g_s.mean(axis=0)", {"gradient of b1", "gradient of b2", GA, GS}),
        Mistake("block", "the first layer before its ReLU", "g_s.T @ r", "g_s.T @ a", {"gradient of w2", GA, GS}),
        Mistake("block", "no ReLU at the end", "return np.maximum(s, 0), vjp", "return s, vjp", {"ReLU at the end", "a branch of zeros hands on x", A, S}),
        Mistake("stochastic-depth", "single numbers dropped", "keep = rng.random(len(x)) >= rate\n    keep = keep.reshape(len(x), *[1] * (x.ndim - 1)).astype(x.dtype)", "keep = (rng.random(x.shape) >= rate).astype(x.dtype)", ALL),
        Mistake("stochastic-depth", "no factor in training", " / (1 - rate)\n", "\n", ALL),
        Mistake("stochastic-depth", "kept as often as it should be dropped", ">= rate", "< rate", {"as often as asked", A}),
        Mistake("stochastic-depth", "scaled in evaluation too", "if not training:\n        return x\n", "if not training:\n        return x * (1 - rate)\n", {"nothing changes in evaluation", A}),
        Mistake("stochastic-depth", "0/0 at rate 1", "if rate == 1:", "if rate > 1:", {"rate 1 drops everything", A}),
        Mistake("stochastic-depth", "the whole batch at once", "rng.random(len(x)) >= rate", "np.repeat(rng.random() >= rate, len(x))", ALL),
        Mistake("ode", "the third stage from the first", "k3 = field(y + h / 2 * k2,", "k3 = field(y + h / 2 * k1,", {"four stages in space", A}),
        Mistake("ode", "the time of the beginning", "k = field(y + h / 2 * k1, t + h / 2)", "k = field(y + h / 2 * k1, t)", {"the midpoint is a time", A}),
        Mistake("ode", "forwards only", "h = (t1 - t0) / steps", "h = abs(t1 - t0) / steps", {"backwards", A}),
        Mistake("ode", "one step too many", "for j in range(steps)", "for j in range(steps + 1)", ALL),
        Mistake("ode", "time stands still", "t = t0 + j * h", "t = t0", {"time goes on", A}),
        Mistake("ode", "all four stages count alike", "k = (k1 + 2 * k2 + 2 * k3 + k4) / 6", "k = (k1 + k2 + k3 + k4) / 4", {"four stages in time", "four stages in space", A}),
    ],
    "vit": [
        Mistake("patchify", "patches column by column", "x.transpose(0, 2, 4, 3, 5, 1)", "x.transpose(0, 4, 2, 3, 5, 1)", {"patches in reading order", A, S}),
        Mistake("patchify", "channels first in a token", "x.transpose(0, 2, 4, 3, 5, 1)", "x.transpose(0, 2, 4, 1, 3, 5)", {"channels last", A, S}),
        Mistake("patchify", "reshaped without moving", "x = x.transpose(0, 2, 4, 3, 5, 1)  # (B, H/P, W/P, P, P, C)", "x = images.transpose(0, 2, 3, 1)", {"a token is a square", A, S}),
        Mistake("unpatchify", "pixels column by column", "x.transpose(0, 5, 1, 3, 2, 4)", "x.transpose(0, 5, 1, 4, 2, 3)", {"pixels in reading order", A, S}),
        Mistake("unpatchify", "channels first in a token", "p, q, tokens.shape[2] // (p * q))\n    x = x.transpose(0, 5, 1, 3, 2, 4)", "tokens.shape[2] // (p * q), p, q)\n    x = x.transpose(0, 3, 1, 4, 2, 5)", {"channels last", A, S}),
        Mistake("unpatchify", "reshaped without moving", "x = x.transpose(0, 5, 1, 3, 2, 4)  # (B, C, H/P, P, W/P, P)", "x = x.reshape(len(tokens), height, width, -1).transpose(0, 3, 1, 2)", {"a token is a square", A, S}),
        Mistake("position", "counted from 1", "angle = np.arange(n)[:, None] * wave", "angle = np.arange(1, n + 1)[:, None] * wave", {"counted from 0", A, S}),
        Mistake("position", "sines first, then cosines", "np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(n, half)", "np.concatenate([np.sin(angle), np.cos(angle)], axis=-1)", {"in turn", A, S}),
        Mistake("position", "column first", "np.concatenate([rows, columns], axis=-1)", "np.concatenate([columns, rows], axis=-1)", {"row first", A, S}),
        Mistake("distance", "in patches", "((y[:, None] - y) * p) ** 2.0 + ((x[:, None] - x) * q) ** 2.0", "(y[:, None] - y) ** 2.0 + (x[:, None] - x) ** 2.0", {"in pixels", A, S}),
        Mistake("distance", "along the streets", "np.sqrt(((y[:, None] - y) * p) ** 2.0 + ((x[:, None] - x) * q) ** 2.0)", "(abs(y[:, None] - y) * p + abs(x[:, None] - x) * q)", {"as the crow flies", A, S}),
        Mistake("distance", "rows taken for columns", "np.divmod(np.arange(rows * columns), columns)", "np.divmod(np.arange(rows * columns), rows)", {"rows and columns", A}),
    ],
    "kernels": [
        Mistake("bilateral", "a 2 in the denominator", "keepdims=True) / b_x**2)", "keepdims=True) / (2 * b_x**2))", {"similar pixels count more", A, S}),
        Mistake("bilateral", "distance not squared", "math.exp(-((dy - reach) ** 2 + (dx - reach) ** 2) / b_p**2)", "math.exp(-math.hypot(dy - reach, dx - reach) / b_p)", {"near pixels count more", A, S}),
        Mistake("bilateral", "each channel by itself", "((other - pixels) ** 2).sum(axis=2, keepdims=True)", "((other - pixels) ** 2)", {"one weight for all channels", A}),
        Mistake("bilateral", "the edge pixel repeated", "(0, 0)), mode=\"reflect\")", "(0, 0)), mode=\"symmetric\")", {"mirrored border", A, S}),
        Mistake("bilateral", "black beyond the border", "(0, 0)), mode=\"reflect\")", "(0, 0)))", {"mirrored border", A, S}),
        Mistake("bilateral", "not divided by the sum of weights", "(total / weights).reshape", "(total / window**2).reshape", {"similar pixels count more", "near pixels count more", "one weight for all channels", A, S}),
        Mistake("non-local-means", "the sum over the patch", "((other - mine) ** 2).mean(axis=(2, 3))", "((other - mine) ** 2).sum(axis=(2, 3))", {"the mean over the patch", A, S}),
        Mistake("non-local-means", "the noise once", "squares - 2 * sigma**2", "squares - sigma**2", {"noise is forgiven", A}),
        Mistake("non-local-means", "weights above 1", "np.maximum(squares - 2 * sigma**2, 0)", "squares - 2 * sigma**2", {"noise is forgiven", A}),
        Mistake("non-local-means", "h not squared", "np.exp(-excess / h**2)", "np.exp(-excess / h)", {"the mean over the patch", "noise is forgiven", "twins far apart", A, S}),
        Mistake("non-local-means", "single pixels", "((other - mine) ** 2).mean(axis=(2, 3))", "((other - mine) ** 2)[:, :, margin, margin]", {"the mean over the patch", A, S}),
        Mistake("non-local-means", "the edge pixel repeated", "reach + margin, mode=\"reflect\")", "reach + margin, mode=\"symmetric\")", {"mirrored border", A, S}),
        Mistake("attention", "b not squared", "(differences**2).sum(axis=2) / b**2", "(differences**2).sum(axis=2) / b", {"the width", A}),
        Mistake("attention", "0/0 far away", "np.exp(scores - scores.max(axis=1, keepdims=True))", "np.exp(scores)", {"far from every key", A}),
        Mistake("attention", "softmax over the queries", "weights / weights.sum(axis=1, keepdims=True) @", "weights / weights.sum(axis=0) @", ALL),
        Mistake("attention", "along the streets", "(differences**2).sum(axis=2)", "np.abs(differences).sum(axis=2) ** 2", {"all features count", A}),
        Mistake("attention", "one feature alone", "(differences**2).sum(axis=2)", "(differences**2)[:, :, 0]", {"all features count", A}),
        Mistake("attention", "not divided", "weights / weights.sum(axis=1, keepdims=True) @", "weights / weights.shape[1] @", ALL),
    ],
    "swin": [
        Mistake("partition", "windows column by column", "x.transpose(0, 1, 3, 2, 4, 5)", "x.transpose(0, 3, 1, 2, 4, 5)", {"windows in reading order", A, S}),
        Mistake("partition", "window turned", "m, n = pair(window)", "n, m = pair(window)", {"height and width of a window", A}),
        Mistake("partition", "reshaped without moving", "x.transpose(0, 1, 3, 2, 4, 5).reshape", "x.reshape", {"a window is a square", A, S}),
        Mistake("reverse", "windows column by column", "height // m, width // n, m, n, windows.shape[3])\n    return x.transpose(0, 1, 3, 2, 4, 5)", "width // n, height // m, m, n, windows.shape[3])\n    return x.transpose(0, 2, 3, 1, 4, 5)", {"windows in reading order", A, S}),
        Mistake("reverse", "window turned", "m, n = pair(window)", "n, m = pair(window)", {"height and width of a window", A}),
        Mistake("reverse", "reshaped without moving", "x.transpose(0, 1, 3, 2, 4, 5).reshape", "x.reshape", {"a window is a square", A, S}),
        Mistake("mask", "no mask at all", "return piece[:, :, None] == piece[:, None, :]", "return np.ones((len(piece), m * n, m * n), bool)", ALL),
        Mistake("mask", "slice from -0", "around_below = np.arange(height) >= height - down\n    around_right = np.arange(width) >= width - right", "around_below = np.zeros(height, bool)\n    around_below[-down:] = True\n    around_right = np.arange(width) >= width - right if right else np.arange(width) > width // 2", {"no shift, no mask", "rows and columns by their own shift", A}),
        Mistake("mask", "shifts swapped", "down, right = pair(shift)", "right, down = pair(shift)", {"rows and columns by their own shift", A}),
        Mistake("bias-index", "axes swapped", "return dy * (2 * n - 1) + dx", "return dx * (2 * m - 1) + dy", {"row by row", A, S}),
        Mistake("bias-index", "key minus query", "dy = y[:, None] - y + m - 1\n    dx = x[:, None] - x + n - 1", "dy = y - y[:, None] + m - 1\n    dx = x - x[:, None] + n - 1", {"query minus key", A, S}),
        Mistake("bias-index", "the other side's length", "dy * (2 * n - 1) + dx", "dy * (2 * m - 1) + dx", {"as many numbers as offsets", A}),
    ],
    "detr": [
        Mistake("corners", "whole size to each side", "boxes[..., 2:] / 2", "boxes[..., 2:]", {"half to each side", A, S}),
        Mistake("corners", "corner and size", "[centre - half, centre + half]", "[centre - half, 2 * half]", ALL),
        Mistake("corners", "width taken for height", "boxes[..., 2:] / 2", "boxes[..., :1:-1] / 2", {"width along x", A, S}),
        Mistake("giou", "0 / 0", "part / np.where(whole > 0, whole, 1)", "part / whole", {"empty boxes", A}),
        Mistake("giou", "IoU alone", "return share(both, either) - share(around - either, around)", "return share(both, either)", {"formula", "the further, the lower", A, S}),
        Mistake("giou", "box by box", "a = boxes1[:, None]\n    b = boxes2[None]", "k = min(len(boxes1), len(boxes2))\n    a = boxes1[:k]\n    b = boxes2[:k]", ALL),
        Mistake("matching", "greedy", "return rows, min(ways, key=lambda columns: cost[rows, columns].sum())",
                "left, chosen = cost.astype(float).copy(), np.zeros(len(rows), np.int64)\n    for _ in rows:\n        i, j = np.unravel_index(left.argmin(), left.shape)\n        chosen[i], left[i], left[:, j] = j, np.inf, np.inf\n    return rows, chosen",
                {"least cost", A, S}),
        Mistake("matching", "each row for itself", "return rows, min(ways, key=lambda columns: cost[rows, columns].sum())", "return rows, cost.argmin(axis=1)", {"one to one", "nothing to pair", A, S}),
        Mistake("matching", "first columns only", "range(cost.shape[1]), len(cost)", "range(len(cost)), len(cost)", {"more columns than rows", "more rows than columns", A}),
    ],
    "unet": [
        Mistake("transposed-convolution", "the kernel turned around", "weight[:, :, m, n])", "weight[:, :, kh - 1 - m, kw - 1 - n])", {"adjoint of conv2d", A, S}),
        Mistake("transposed-convolution", "painted over", "y[:, :, down, right] += ", "y[:, :, down, right] = ", ALL),
        Mistake("transposed-convolution", "strides exchanged", "(sh, sw), (ph, pw), (eh, ew) = pair(stride)", "(sw, sh), (ph, pw), (eh, ew) = pair(stride)", {"stride", A}),
        Mistake("transposed-convolution", "cut off at the end alone", "y[:, :, ph : rows - ph, pw : columns - pw]", "y[:, :, : rows - 2 * ph, : columns - 2 * pw]", {"padding crops", "output_padding", A}),
        Mistake("transposed-convolution", "zeros in the added rows", "pw : columns - pw]\n", "pw : columns - pw]\n    y[:, :, y.shape[2] - eh :] = 0\n    y[:, :, :, y.shape[3] - ew :] = 0\n", {"output_padding", A}),
        Mistake("transposed-convolution", "bias forgotten", "return y if bias is None else y + bias[:, None, None]", "return y", {"bias", A}),
        Mistake("max-unpooling", "a bed of nails", "return y.reshape(B, C, H, W), vjp", "y = np.zeros((B, C, H, W), x.dtype)\n    y[:, :, : h * (H // h) : H // h, : w * (W // w) : W // w] = x\n    return y, vjp", {"where the maximum was", A, S}),
        Mistake("max-unpooling", "columns first", "return y.reshape(B, C, H, W), vjp", "return y.reshape(B, C, W, H).swapaxes(2, 3), vjp", {"where the maximum was", "rectangular planes", "sizes that the pooling rounded down", A, S}),
        Mistake("max-unpooling", "the first plane's places for all", "places = indices.reshape(B, C, h * w)", "places = np.broadcast_to(indices.reshape(B, C, h * w)[:1, :1], (B, C, h * w))", {"where the maximum was", "gradient of x", A, GA}),
        Mistake("max-unpooling", "not zero elsewhere", "y = np.zeros((B, C, H * W), x.dtype)", "y = np.full((B, C, H * W), x.min(), x.dtype)", {A, S}),
        Mistake("max-unpooling", "the first numbers of g", "picked = np.take_along_axis(g.reshape(B, C, H * W), places, axis=2)", "picked = g.reshape(B, C, H * W)[:, :, : h * w]", {"gradient of x", GA, GS}),
        Mistake("max-unpooling", "the first plane's places on the way back", "places, axis=2)\n        return", "places, axis=2)\n        picked = g.reshape(B, C, H * W)[:, :, places[0, 0]]\n        return", {"gradient of x", GA}),
        Mistake("crop-and-concatenate", "up first", "[middle, up]", "[up, middle]", {"skip first, then up", A, S}),
        Mistake("crop-and-concatenate", "cropped at the corner", "top, left = (H - h) // 2, (W - w) // 2", "top, left = 0, 0", {"the middle", "odd differences", "rows and columns", A, S}),
        Mistake("crop-and-concatenate", "rounded up", "top, left = (H - h) // 2, (W - w) // 2", "top, left = (H - h + 1) // 2, (W - w + 1) // 2", {"odd differences", A}),
        Mistake("crop-and-concatenate", "the rows' number for both", "(H - h) // 2, (W - w) // 2", "(H - h) // 2, (H - h) // 2", {"rows and columns", A}),
        Mistake("crop-and-concatenate", "up to -0, and not an odd row more", "top : top + h, left : left + w", "top:-top, left:-left", {"skip first, then up", "odd differences", "rows and columns", A}),
        Mistake("crop-and-concatenate", "resized", "skip[:, :, top : top + h, left : left + w]", "skip[:, :, np.arange(h) * H // h][..., np.arange(w) * W // w]", {"the middle", "odd differences", "rows and columns", A, S}),
    ],
    "masked-attention": [
        Mistake("masked-attention", "-100 for what is forbidden", "np.where(mask, scores, -np.inf)", "scores + np.where(mask, 0, -100).astype(scores.dtype)", {"no leak", "nothing to see", "gradient of q", A, GA}),
        Mistake("masked-attention", "indexed with a mask of fewer axes", "scores = np.where(mask, scores, -np.inf)", "scores[~mask] = -np.inf", {"mask broadcasts", A, GA}),
        Mistake("masked-attention", "True taken for forbidden", "np.where(mask, scores, -np.inf)", "np.where(mask, -np.inf, scores)", {"mask", "no leak", "nothing to see", "gradient of q", "gradient of k", "gradient of v", A, GA}),
        Mistake("dice", "overlap counted once", "(2 * overlap + 1)", "(overlap + 1)", ALL),
        Mistake("dice", "all masks as one", "(p * targets).sum(axis=1)\n    total = p.sum(axis=1) + targets.sum(axis=1)", "(p * targets).sum()\n    total = p.sum() + targets.sum()", {"each mask by itself", A, S}),
        Mistake("dice", "no smoothing", "(2 * overlap + 1) / (total + 1)", "2 * overlap / np.maximum(total, 1e-6)", {"nothing to find", A, S}),
        Mistake("focal", "plain cross-entropy", "wrong**gamma * ", "", {"easy pixels count less", "gamma is 2", A, S}),
        Mistake("focal", "alpha for everybody", "np.where(targets > 0.5, alpha, 1 - alpha).astype(logits.dtype)", "alpha", {"alpha", A, S}),
        Mistake("focal", "log of a sigmoid", "np.logaddexp(0, -s)", "-np.log(1 - wrong)", {"sure and wrong", A}),
    ],
}  # fmt: skip
