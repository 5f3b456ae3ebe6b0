"""The laws of setr_pup_head and mla_fuse: from the tokens of a ViT to maps, by progressive upsampling, and over several layers.

Not here: the encoder, the naive head, which is one enlargement, and the other parts of the multi-level head.
"""

import math

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, generator, integer
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import values

PUP = "A/77-progressive-upsampling"
STAGE = r"x_{l+1} = \mathrm{up}_2\big(\mathrm{ReLU}(\mathrm{BN}(W_l * x_l + b_l))\big)"
HEAD = r"y = W_K\, x_L + b_K"
TOKEN_EPS, MAP_EPS = 1e-6, 1e-5


def _layer_norm(tokens, weight, bias, eps=TOKEN_EPS):
    centred = tokens - tokens.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + eps) * weight + bias


def _conv(x, weight, bias=0):
    """A 3 x 3 convolution of maps (B, C, h, w) with a border of zeros."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))  # (B, C, h, w, 3, 3)
    y = np.tensordot(weight, windows, axes=((1, 2, 3), (1, 4, 5)))  # (O, B, h, w)
    return y.swapaxes(0, 1) + np.reshape(bias, (-1, 1, 1))


def _twice(n):
    """The (2 n, n) matrix of a bilinear enlargement by two: the edges of the images coincide."""
    u = np.clip((np.arange(2 * n) + 0.5) / 2 - 0.5, 0, n - 1)
    return np.maximum(0, 1 - np.abs(u[:, None] - np.arange(n)))


def _up(x, matrix=_twice):
    rows, columns = (matrix(n).astype(x.dtype) for n in x.shape[2:])
    return rows @ x @ columns.T


def _stored(x, w, name):
    """Batch norm with its stored statistics."""
    mean, variance, weight, bias = (
        w[f"{name}.{part}"].reshape(-1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / np.sqrt(variance + MAP_EPS) * weight + bias


def _as_rows(patches, height, width):
    """Tokens (B, h w, D) in reading order as maps (B, D, h, w)."""
    return patches.reshape(len(patches), height, width, -1).transpose(0, 3, 1, 2)


def _relu(x):
    return np.maximum(x, 0)


def _classified(x, w):
    weight = w["classifier.weight"][:, :, 0, 0]
    return np.einsum("oc,bchw->bohw", weight, x) + w["classifier.bias"].reshape(-1, 1, 1)


def _changed(
    patches=lambda tokens: tokens[:, 1:],
    normed=lambda x, w: _layer_norm(x, w["norm.weight"], w["norm.bias"]),
    as_map=_as_rows,
    conv=_conv,
    map_norm=_stored,
    activation=_relu,
    up=_up,
    at_once=False,
    end=lambda y: y,
):
    """The head, or one with another part; ``at_once``: all enlargements after the last convolution."""

    def answer(tokens, height, width, weights):
        w = weights
        x = as_map(normed(patches(tokens), w), height, width)  # (B, D, h, w)
        count = sum(name.startswith("convs.") for name in w) // 2
        for i in range(count):
            x = conv(x, w[f"convs.{i}.weight"], w[f"convs.{i}.bias"])
            x = activation(map_norm(x, w, f"norms.{i}"))
            if not at_once:
                x = up(x)
        for _ in range(count if at_once else 0):
            x = up(x)
        return np.asarray(end(_classified(x, w)), tokens.dtype)

    return answer


def _pup_head(tokens, height, width, weights):
    return _changed()(tokens, height, width, weights), None


setr_pup_head = Family(
    "setr_pup_head",
    _pup_head,
    ("tokens", "weights"),
    form="f(tokens, height, width, weights); tokens (B, 1 + h w, D), the class token first, then the patches in reading "
    "order; the result (B, K, 2^L h, 2^L w), L the number of convolutions. weights is a dict: norm.weight, norm.bias (D,), eps "
    "1e-6; convs.0.weight (C, D, 3, 3), convs.1.weight (C, C, 3, 3), ... and convs.0.bias (C,), ..., with a border of zeros; "
    "norms.0.weight, bias, running_mean, running_var (C,), ...: batch norm with stored statistics, eps 1e-5; "
    "classifier.weight (K, C, 1, 1), classifier.bias (K,). Enlargements are bilinear, align_corners False",
)


def _side(patches, height, width):
    """A square is assumed: its side is the root of the number of patches."""
    side = math.isqrt(patches.shape[1])
    if side * side != patches.shape[1]:
        return _as_rows(patches, height, width)
    return _as_rows(patches, side, side)


def _down_columns(patches, height, width):
    return _as_rows(patches, width, height).swapaxes(2, 3)


def _turned(patches, height, width):
    return _as_rows(patches, width, height)


def _batch_statistics(x, w, name):
    mean = x.mean(axis=(0, 2, 3), keepdims=True)
    variance = x.var(axis=(0, 2, 3), keepdims=True)
    weight, bias = (w[f"{name}.{part}"].reshape(-1, 1, 1) for part in ("weight", "bias"))
    return (x - mean) / np.sqrt(variance + MAP_EPS) * weight + bias


def _without_mean(x, w, name):
    return _stored(x, {**w, f"{name}.running_mean": 0 * w[f"{name}.running_mean"]}, name)


def _eps_of_maps(x, w):
    return _layer_norm(x, w["norm.weight"], w["norm.bias"], MAP_EPS)


def _stored_after_relu(x, w, name):
    return _stored(_relu(x), w, name)


def _aligned(n):
    u = np.arange(2 * n) * (n - 1) / (2 * n - 1)
    return np.maximum(0, 1 - np.abs(u[:, None] - np.arange(n)))


def _nearest(x):
    return x.repeat(2, axis=2).repeat(2, axis=3)


def _flipped(x, weight, bias):
    return _conv(x, weight[:, :, ::-1, ::-1], bias)


not_square = _changed(as_map=_side)
last_dropped = _changed(patches=lambda tokens: tokens[:, :-1])
no_norm = _changed(normed=lambda x, w: x * w["norm.weight"] + w["norm.bias"])
of_the_batch = _changed(map_norm=_batch_statistics)
no_means = _changed(map_norm=_without_mean)
relu_last = _changed(end=_relu)
all_at_once = _changed(at_once=True)
no_relu = _changed(activation=lambda x: x)


def _head(draw, height, width, convs=1, D=2, C=2, K=2, batch=2):
    """Tokens and weights with every number away from its usual starting value."""
    rng = generator(draw)
    tokens = rng.normal(size=(batch, 1 + height * width, D)).round(1)
    weights = {"norm.weight": 1 + 0.5 * rng.normal(size=D), "norm.bias": 0.5 * rng.normal(size=D)}
    for i in range(convs):
        inputs = D if i == 0 else C
        weights[f"convs.{i}.weight"] = rng.normal(size=(C, inputs, 3, 3)) / math.sqrt(inputs)
        weights[f"convs.{i}.bias"] = 0.5 * rng.normal(size=C)
        weights[f"norms.{i}.weight"] = 1 + 0.5 * rng.normal(size=C)
        weights[f"norms.{i}.bias"] = 0.5 * rng.normal(size=C)
        weights[f"norms.{i}.running_mean"] = 0.5 * rng.normal(size=C)
        weights[f"norms.{i}.running_var"] = rng.uniform(0.5, 2, C)
    weights["classifier.weight"] = rng.normal(size=(K, C, 1, 1))
    weights["classifier.bias"] = rng.normal(size=K)
    rounded = {name: x.round(1).astype(np.float32) for name, x in weights.items()}
    return {"tokens": tokens.astype(np.float32), "height": height, "width": width, "weights": rounded}


def _square(draw):
    side = integer(draw, 2, 3)
    return _head(draw, side, side, D=3)


def _one_line(draw):
    """Grids of one row or one column with 4 or 9 cells: the tokens of the turned grid come in the same order."""
    height, width = choose(draw, (1, 4), (4, 1), (1, 9), (9, 1))
    return _head(draw, height, width, D=3)


def _equal_tokens(draw):
    """Equal tokens, and a first convolution whose kernels read the middle cell alone."""
    case = _head(draw, 3, 3, convs=2, D=3)
    case["tokens"] = np.repeat(case["tokens"][:, :1], 10, axis=1)
    middle = np.zeros((3, 3), np.float32)
    middle[1, 1] = 1
    case["weights"]["convs.0.weight"] *= middle
    return case


def _sizes_of_one(draw):
    return _head(draw, 1, integer(draw, 1, 3), K=1, batch=1, D=3)


def _any_head(draw):
    size = {name: integer(draw, 1, 3) for name in ("C", "K", "batch")}
    return _head(
        draw,
        integer(draw, 1, 4),
        integer(draw, 1, 4),
        convs=integer(draw, 1, 3),
        D=integer(draw, 2, 4),
        **size,
    )


@setr_pup_head.law(
    "rows and columns are alike",
    inputs=_one_line,
    equation=r"f(t^T, w, h, W^T) = f(t, h, w, W)^T",
    slide=PUP,
    hint="The number of tokens does not tell the grid: 4 tokens may be 2 x 2 or 1 x 4. Use height and width, for the enlargements "
    "too, each side by itself.",
    mutant=not_square,
    atol=2e-4,
)
def turned(f, case):
    """A grid of one row gives the same as a grid of one column whose kernels are transposed, but turned."""
    w = case["weights"]
    kernels = {name: x.swapaxes(2, 3).copy() for name, x in w.items() if x.ndim == 4}
    column = case.replace(height=case["width"], width=case["height"], weights={**w, **kernels})
    compare(f(column), f(case).swapaxes(2, 3).astype(np.float64), atol=2e-4)


@setr_pup_head.law(
    "the class token has no influence",
    inputs=_square,
    equation=r"\partial y / \partial t_{class} = 0",
    slide=PUP,
    hint="The class token is the first. It belongs to no patch: remove it by its index, whatever the number of tokens is.",
    mutant=last_dropped,
    atol=2e-4,
)
def class_token(f, case):
    """Another class token changes nothing, bit for bit."""
    tokens = case["tokens"].copy()
    tokens[:, 0] = tokens[:, 0, ::-1] * 2 + 1
    if not np.array_equal(f(case), f(case.replace(tokens=tokens))):
        raise Broken("With another class token the output changes.")


@setr_pup_head.law(
    "tokens are normalised first",
    inputs=_square,
    equation=r"f(c\, t + d) = f(t), \quad c > 0",
    slide=PUP,
    hint="A layer norm over the channels of each token comes first: norm.weight and norm.bias.",
    mutant=no_norm,
    atol=2e-4,
)
def normalised(f, case):
    """Tokens that are all twice as large, and larger by 1, give the same output."""
    spread = np.where(np.arange(case["tokens"].shape[-1]) % 2, 1, -1).astype(np.float32)
    wide = case.replace(tokens=case["tokens"] + 2 * spread)  # no token is nearly constant
    compare(f(wide.replace(tokens=2 * wide["tokens"] + 1)), f(wide), atol=1e-3)


@setr_pup_head.law(
    "images do not mix",
    inputs=_square,
    equation=r"f([t_1, t_2]) = [f(t_1), f(t_2)]",
    slide=PUP,
    hint="Batch norm uses the stored statistics, running_mean and running_var, and not those of the batch.",
    mutant=of_the_batch,
    atol=2e-4,
)
def images_apart(f, case):
    """The first image gives the same beside another second image."""
    tokens = case["tokens"].copy()
    tokens[1] = tokens[1, :, ::-1] * 2 + 1
    compare(f(case.replace(tokens=tokens))[0], f(case)[0].astype(np.float64), atol=1e-4)


@setr_pup_head.law(
    "the classifier is linear",
    inputs=_square,
    equation=r"f(W_K, b_K) = W_K\, f(I, 0) + b_K",
    slide=PUP,
    hint="The last 1 x 1 convolution gives scores, which may be negative: no ReLU after it. It may come before the last enlargement "
    "or after it, which is the same; with a ReLU in between it is not.",
    mutant=relu_last,
    atol=2e-4,
)
def linear_at_the_end(f, case):
    """The scores are the classifier's matrix times the maps that a classifier of ones and zeros gives."""
    w = case["weights"]
    C = w["classifier.weight"].shape[1]
    unit = {
        "classifier.weight": np.eye(C, dtype=np.float32)[:, :, None, None],
        "classifier.bias": np.zeros(C, np.float32),
    }
    maps = f(case.replace(weights={**w, **unit}))
    expected = np.einsum("oc,bchw->bohw", w["classifier.weight"][:, :, 0, 0], maps)
    compare(f(case), expected + w["classifier.bias"].reshape(-1, 1, 1), atol=1e-3)


@setr_pup_head.law(
    "convolutions and enlargements take turns",
    inputs=_equal_tokens,
    equation=STAGE,
    slide=PUP,
    hint="Convolve, normalise, ReLU, enlarge by two, and again. Each convolution sees a map twice as large as the one before, so its "
    "border of zeros reaches half as far into the image.",
    mutant=all_at_once,
    atol=5e-4,
)
def turns(f, case):
    """Of equal tokens the scores are equal but for three pixels at the border, which the second convolution changes."""
    inner = f(case)[:, :, 3:-3, 3:-3]
    if not inner.size:
        raise Broken("With two convolutions and a grid of 3 x 3 the output has 12 x 12 pixels.")
    compare(inner, np.broadcast_to(inner[:, :, :1, :1], inner.shape).astype(np.float64), atol=2e-4)


@setr_pup_head.law(
    "stored means are subtracted",
    inputs=_square,
    equation=r"\mathrm{BN}(x) = \gamma\, (x - \mu) / \sqrt{\sigma^2 + \epsilon} + \beta",
    slide=PUP,
    hint="norms.i.running_mean and norms.i.running_var are used as they are; running_var is a variance, not its root.",
    mutant=no_means,
    atol=2e-4,
)
def means(f, case):
    """A number added to the bias of a convolution and to the stored mean of its norm changes nothing."""
    w = case["weights"]
    more = {name: w[name] + 1 for name in ("convs.0.bias", "norms.0.running_mean")}
    compare(f(case.replace(weights={**w, **more})), f(case).astype(np.float64), atol=2e-4)


every_family(
    setr_pup_head,
    inputs=_square,
    shapes=_sizes_of_one,
    shape_hint="The output is (B, K, 2^L h, 2^L w): 16 times the grid with four convolutions. "
    "Axes of size 1 stay.",
)
values(
    setr_pup_head,
    simplest=_square,
    words="one convolution, a square grid",
    anything=_any_head,
    hint="Any number of convolutions, channels and classes, and any grid; a grid of one row too.",
    mutant=lambda tokens, height, width, weights: (no_relu if "convs.2.weight" in weights else _changed())(
        tokens, height, width, weights
    ),
    atol=2e-3,
)
for name, hint, answer in (
    ("a square grid", "You take the root of the number of tokens for the side of the grid. Use height and width.", not_square),
    ("the last token dropped", "You removed the last token. The class token is the first.", last_dropped),
    ("no layer norm", "The tokens are not normalised: a layer norm with norm.weight and norm.bias comes first.", no_norm),
    ("statistics of the batch", "You normalise with the statistics of this batch. Use running_mean and running_var.", of_the_batch),
    ("means not subtracted", "running_mean has no effect.", no_means),
    ("a ReLU after the scores", "Your scores are never negative: no ReLU comes after the classifier.", relu_last),
    ("one enlargement at the end", "All your convolutions work on the small map. Enlarge by two after each of them.", all_at_once),
    ("no ReLU", "The ReLU after each norm is missing.", no_relu),
    ("tokens down the columns", "You read the tokens column by column. They are in reading order, row by row.",
     _changed(as_map=_down_columns)),
    ("height and width exchanged", "Your map has width rows and height columns.", _changed(as_map=_turned)),
    ("corners aligned", "The corners of your enlarged maps lie on the corners (align_corners=True). Here the edges coincide.",
     _changed(up=lambda x: _up(x, _aligned))),
    ("nearest", "You repeat each cell. The enlargement is bilinear.", _changed(up=_nearest)),
    ("the ReLU before the batch norm", "Your ReLU comes before the batch norm. The norm comes first, then the ReLU.",
     _changed(map_norm=_stored_after_relu, activation=lambda x: x)),
    ("one eps for both norms", "You add 1e-5 to the variance of the tokens too. It is 1e-6 for the tokens and 1e-5 for the maps.",
     _changed(normed=_eps_of_maps)),
    ("kernels turned around", "Your kernels are flipped. A convolution here multiplies the kernel with the window as it lies.",
     _changed(conv=_flipped)),
):  # fmt: skip
    setr_pup_head.mistake(name, hint, answer)


# ------------------------------------------------------------------ the sums over layers

MLA = "A/80-multi-level-convolutions"
FUSION = "A/81-multi-level-fusion"
SUM = r"m_l = m_{l+1} + U_l\, x_l, \quad m_{M+1} = 0"
STREAM = r"y_l = W_l * m_l"


def _lateral(maps, laterals):
    return np.einsum("mcd,mbdhw->mbchw", laterals, maps)


def _from_the_top(x):
    """The sum of each map with all deeper ones."""
    return x[::-1].cumsum(axis=0)[::-1]


def _convolved(x, convs):
    return np.stack([_conv(y, w) for y, w in zip(x, convs, strict=True)])


def _mla_fuse(maps, laterals, convs):
    return _convolved(_from_the_top(_lateral(maps, laterals)), convs).astype(maps.dtype), None


mla_fuse = Family(
    "mla_fuse",
    _mla_fuse,
    ("maps", "laterals", "convs"),
    form="f(maps, laterals, convs); maps (M, B, D, h, w) of M layers, the shallowest first; laterals (M, C, D), the 1 x 1 "
    "convolutions, and convs (M, C, C, 3, 3), with a border of zeros; the result (M, B, C, h, w), in the order of the maps. "
    "Norms, ReLUs and biases are left out",
)


def _with(total=_from_the_top, before=lambda x: x, after=lambda y: y):
    def answer(maps, laterals, convs):
        low = before(_lateral(maps, laterals))
        return after(_convolved(total(low), convs)).astype(maps.dtype)

    return answer


def _neighbours(x):
    """Each map with the next deeper one alone."""
    return x + np.concatenate([x[1:], 0 * x[:1]])


def _summed_first(maps, laterals, convs):
    """The maps are added before their 1 x 1 convolutions."""
    return _convolved(_lateral(_from_the_top(maps), laterals), convs).astype(maps.dtype)


def _convolved_first(maps, laterals, convs):
    """The 3 x 3 convolutions come before the sums."""
    return _from_the_top(_convolved(_lateral(maps, laterals), convs)).astype(maps.dtype)


def _flipped_convs(maps, laterals, convs):
    return _mla_fuse(maps, laterals, convs[..., ::-1, ::-1])[0]


def _without_convs(maps, laterals, convs):
    return _from_the_top(_lateral(maps, laterals)).astype(maps.dtype)


def _mean(x):
    count = np.arange(len(x), 0, -1).reshape(-1, 1, 1, 1, 1)
    return _from_the_top(x) / count


bottom_up = _with(total=lambda x: x.cumsum(axis=0))
the_total = _with(total=lambda x: np.broadcast_to(x.sum(axis=0), x.shape))
neighbours = _with(total=_neighbours)
with_relu = _with(after=_relu)
no_sum = _with(total=lambda x: x)
in_other_order = _with(after=lambda y: y[::-1])


def _layers(draw, M=3, D=2, C=2, batch=2, height=None, width=None):
    rng = generator(draw)
    height = integer(draw, 2, 3) if height is None else height
    width = integer(draw, 2, 4) if width is None else width
    shapes = {"maps": (M, batch, D, height, width), "laterals": (M, C, D), "convs": (M, C, C, 3, 3)}
    return {name: rng.normal(size=shape).round(1).astype(np.float32) for name, shape in shapes.items()}


def _plain(draw):
    return _layers(draw, D=3)


def _deepest_alone(draw):
    """Only the deepest map is not 0, and all layers have the same convolutions."""
    case = _layers(draw, M=4)
    case["maps"][:-1] = 0
    for name in ("laterals", "convs"):
        case[name][:] = case[name][:1]
    return case


def _one_cell(draw):
    return _layers(draw, M=integer(draw, 1, 2), C=1, D=integer(draw, 1, 2), batch=1, height=1, width=1)


def _any_layers(draw):
    size = {name: integer(draw, 1, 3) for name in ("D", "C", "batch")}
    return _layers(draw, M=integer(draw, 1, 5), height=integer(draw, 1, 4), **size)


@mla_fuse.law(
    "the deepest reaches all",
    inputs=_deepest_alone,
    equation=SUM,
    slide=MLA,
    hint="The sum runs from the deepest layer to the shallowest and is not begun anew: stream l has the maps l, l + 1, ..., M.",
    mutant=neighbours,
    atol=2e-4,
)
def deepest(f, case):
    """Where only the deepest map is not 0 and the layers have the same convolutions, all streams are the same."""
    streams = f(case)
    compare(streams[:-1], np.broadcast_to(streams[-1:], streams[:-1].shape).astype(np.float64), atol=2e-4)


@mla_fuse.law(
    "the shallowest only its own",
    inputs=_plain,
    equation=r"\partial y_l / \partial x_1 = 0, \quad l > 1",
    slide=MLA,
    hint="Information flows from deep to shallow: the first map is in the first stream alone.",
    mutant=the_total,
    atol=2e-4,
)
def shallowest(f, case):
    """Another first map changes nothing in the other streams, bit for bit."""
    maps = case["maps"].copy()
    maps[0] += 1
    if not np.array_equal(f(case)[1:], f(case.replace(maps=maps))[1:]):
        raise Broken("When the shallowest map changes, other streams than its own change too.")


@mla_fuse.law(
    "maps are projected before they are added",
    inputs=_plain,
    equation=r"f(2 x_M,\ U_M / 2) = f(x_M,\ U_M)",
    slide=MLA,
    hint="Each map passes its own 1 x 1 convolution first; the results are added.",
    mutant=_summed_first,
    atol=2e-4,
)
def projected(f, case):
    """A map twice as large with a 1 x 1 convolution half as large gives the same streams."""
    maps, laterals = case["maps"].copy(), case["laterals"].copy()
    maps[-1] *= 2
    laterals[-1] /= 2
    compare(f(case.replace(maps=maps, laterals=laterals)), f(case).astype(np.float64), atol=2e-4)


@mla_fuse.law(
    "sums are convolved",
    inputs=_plain,
    equation=STREAM,
    slide=FUSION,
    hint="The 3 x 3 convolution of a layer comes after the sum, and its result is not added to anything.",
    mutant=_convolved_first,
    atol=2e-4,
)
def convolved_last(f, case):
    """Another 3 x 3 kernel for the deepest layer changes the deepest stream alone, bit for bit."""
    convs = case["convs"].copy()
    convs[-1] += 1
    if not np.array_equal(f(case)[:-1], f(case.replace(convs=convs))[:-1]):
        raise Broken("When the kernel of the deepest layer changes, other streams than its own change too.")


@mla_fuse.law(
    "linear",
    inputs=_plain,
    equation=r"f(-x) = -f(x)",
    hint="Norms and ReLUs are left out here.",
    mutant=with_relu,
    atol=2e-4,
)
def linear(f, case):
    """Maps of the opposite sign give streams of the opposite sign."""
    compare(f(case.replace(maps=-case["maps"])), -f(case), atol=1e-4)


every_family(mla_fuse, inputs=_plain, shapes=_one_cell)
values(
    mla_fuse,
    simplest=_plain,
    words="three layers, one image",
    anything=_any_layers,
    hint="Any number of layers, one too; D and C need not be equal.",
    mutant=lambda maps, laterals, convs: (neighbours if len(maps) == 5 else _with())(maps, laterals, convs),
    atol=5e-4,
)
for name, hint, answer in (
    ("from the bottom up", "Your sums run from the shallowest layer to the deepest. The deepest map reaches all streams.", bottom_up),
    ("one sum for all", "All your streams have the sum of all layers. Stream l has the layers l, l + 1, ..., M.", the_total),
    ("neighbours alone", "Each of your streams has two layers. The sum goes on: stream l has the layers l, l + 1, ..., M.", neighbours),
    ("added before the 1 x 1", "You add the maps and project the sum. Project each map, then add.", _summed_first),
    ("added after the 3 x 3", "You add the convolved maps. Add the projected maps, then convolve each sum.", _convolved_first),
    ("nothing added", "Your streams are apart: add the deeper layers.", no_sum),
    ("the deepest first", "Your streams are in the opposite order. The shallowest is the first, as in maps.", in_other_order),
    ("a mean", "You take the mean of the layers. It is their sum.", _with(total=_mean)),
    ("no 3 x 3", "convs has no effect: each sum is convolved.", _without_convs),
    ("kernels turned around", "Your kernels are flipped. A convolution here multiplies the kernel with the window as it lies.",
     _flipped_convs),
    ("a ReLU", "Your streams are never negative. Norms and ReLUs are left out here.", with_relu),
):  # fmt: skip
    mla_fuse.mistake(name, hint, answer)
