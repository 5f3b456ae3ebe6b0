"""The laws of tubelet_embed: which numbers of a film a token holds, and which number of the kernel belongs to each.

Not here: positions, picking frames, kernels that come from an image model.
"""

import numpy as np

from minivis.laws.judging.inputs import integer, normals, numbers
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.registry import Family
from minivis.laws.judging.value_laws import values

EMBED = r"v'_i = W_e v_i + b, \quad W_e \in \mathbb R^{D \times C t P P}"
SLIDE = "A/110-video-tokens"
BLOCK = "A/111-tubelet-embedding"


def _blocks(video, weight):
    """The numbers of each tubelet, (B, T/t, N, C, t, P, P)."""
    B, T, C, H, W = video.shape
    _, _, t, p, q = weight.shape
    x = video.reshape(B, T // t, t, C, H // p, p, W // q, q).transpose(0, 1, 4, 6, 3, 2, 5, 7)
    return x.reshape(B, T // t, (H // p) * (W // q), C, t, p, q)


def _embedded(blocks, weight, bias):
    return np.einsum("bsncijk,dcijk->bsnd", blocks, weight) + bias


def _tubelet_embed(video, weight, bias):
    return _embedded(_blocks(video, weight), weight, bias), None


tubelet_embed = Family(
    "tubelet_embed",
    _tubelet_embed,
    ("video", "weight", "bias"),
    form="f(video, weight, bias); video (B, T, C, H, W), weight (D, C, t, P, P), bias (D,) -> (B, T/t, N, D): for each step in "
    "time N = HW / P^2 tokens in reading order",
)
family = tubelet_embed


# Each law varies one order alone: the other axes have size 1, or their numbers are alike. The biases are 0


def _case(video, weight, bias=None):
    weight = np.asarray(weight, np.float32)
    bias = np.zeros(len(weight), np.float32) if bias is None else bias
    return {"video": np.asarray(video, np.float32), "weight": weight, "bias": bias}


def _count(*shape):
    """Numbers that are all different."""
    return np.arange(1, np.prod(shape) + 1).reshape(shape)


def _patches(draw):
    """Single frames, patches of one pixel."""
    rows, columns = integer(draw, 2, 3), integer(draw, 2, 3)
    return _case(_count(1, 1, 1, rows, columns), np.ones((1, 1, 1, 1, 1)))


def _pixels(draw):
    """One patch of one channel."""
    side = integer(draw, 2, 3)
    return _case(_count(1, 1, 1, side, side), _count(1, 1, 1, side, side))


def _channels(draw):
    """One patch of several channels; a channel has the same weight at all pixels."""
    C = integer(draw, 2, 3)
    weight = np.broadcast_to(_count(1, C, 1, 1, 1), (1, C, 1, 2, 2))
    return _case(_count(1, 1, C, 2, 2), weight)


def _following(draw):
    """Several tubelets of one pixel; each frame has the same weight."""
    t = integer(draw, 2, 3)
    return _case(_count(1, 2 * t, 1, 1, 1), np.ones((1, 1, t, 1, 1)))


def _one_frame(draw):
    """One tubelet whose kernel looks at one frame alone."""
    t = integer(draw, 2, 3)
    weight = np.zeros((1, 1, t, 1, 1))
    weight[:, :, integer(draw, 0, 1) * (t - 1)] = 1
    return _case(_count(1, t, 1, 1, 1), weight)


def _with_bias(draw):
    D = integer(draw, 1, 3)
    return _case(np.zeros((1, 1, 1, 1, 1)), np.zeros((D, 1, 1, 1, 1)), np.abs(numbers(draw, (D,))) + 1)


def _small(draw, drawn=numbers, B=1, T=2, t=1, C=1, D=2, P=1, rows=1, columns=2):
    return {
        "video": drawn(draw, (B, T, C, rows * P, columns * P)),
        "weight": drawn(draw, (D, C, t, P, P)),
        "bias": drawn(draw, (D,)),
    }


def _any_size(draw):
    names = ("B", "C", "D", "P", "rows", "columns", "t")
    sizes = {name: integer(draw, 1, 2) for name in names}
    return _small(draw, T=sizes["t"] * integer(draw, 1, 2), **sizes)


def _simplest(draw):
    return _small(draw, normals, T=1, columns=1, C=integer(draw, 1, 3), D=integer(draw, 1, 3))


def _anything(draw):
    t = integer(draw, 1, 3)
    names = ("C", "D", "P", "rows", "columns")
    sizes = {name: integer(draw, 1, 3) for name in names}
    return _small(draw, normals, B=integer(draw, 1, 2), T=t * integer(draw, 1, 3), t=t, **sizes)


# Wrong answers


def _in_one_row(video, weight, bias):
    """Right but for the axes of time and place, which are one."""
    flat = _blocks(video, weight).reshape(len(video), -1, weight[0].size)
    return flat @ weight.reshape(len(weight), -1).T + bias


def _arranged(order):
    """Numbers of a tubelet in another order than those of the kernel: ``order`` permutes (C, t, P, P)."""

    def wrong(video, weight, bias):
        blocks = _blocks(video, weight)
        flat = blocks.transpose(0, 1, 2, *(3 + axis for axis in order)).reshape(*blocks.shape[:3], -1)
        return flat @ weight.reshape(len(weight), -1).T + bias

    return wrong


def _column_by_column(video, weight, bias):
    B, T, C, H, W = video.shape
    _, _, t, p, q = weight.shape
    out = _tubelet_embed(video, weight, bias)[0]
    out = out.reshape(B, T // t, H // p, W // q, -1).swapaxes(2, 3)
    return out.reshape(B, T // t, -1, len(weight))


def _with_strides(video, weight, bias):
    """A tubelet of frames that lie T/t apart."""
    B, T, *rest = video.shape
    t = weight.shape[2]
    video = video.reshape(B, t, T // t, *rest).swapaxes(1, 2).reshape(B, T, *rest)
    return _tubelet_embed(video, weight, bias)[0]


def _backwards(video, weight, bias):
    return _tubelet_embed(video, weight[:, :, ::-1], bias)[0]


def _without_bias(video, weight, bias):
    return _tubelet_embed(video, weight, 0 * bias)[0]


def _mean_of_frames(video, weight, bias):
    return _tubelet_embed(video, weight / weight.dtype.type(weight.shape[2]), bias)[0]


def _one_frame_only(video, weight, bias):
    """Uniform frame sampling: the first frame of each tubelet, with the kernel summed over time."""
    first = video[:, :: weight.shape[2]]
    return _tubelet_embed(first, weight.sum(axis=2, keepdims=True), bias)[0]


def _time_last(video, weight, bias):
    """The tokens of a place together, (B, N, T/t, D), as (B, T/t, N, D)."""
    out = _tubelet_embed(video, weight, bias)[0]
    return out.swapaxes(1, 2).reshape(out.shape)


def _frames_before_channels(video, weight, bias):
    return _arranged((1, 0, 2, 3))(video, weight, bias)


def _one_step_lost(video, weight, bias):
    """For several films of one tubelet in time, the axis of time is lost."""
    out = _tubelet_embed(video, weight, bias)[0]
    return out[:, 0] if len(video) > 1 and out.shape[1] == 1 else out


def _several_of_each(video, weight, bias):
    """Wrong only where a tubelet has several frames, channels and pixels."""
    several = min(weight.shape[1:]) > 1
    return (_frames_before_channels if several else lambda *x: _tubelet_embed(*x)[0])(video, weight, bias)


# The laws


family.agrees(
    "patches in reading order",
    "The tokens of one step in time are the patches of the frame, row by row.",
    inputs=_patches,
    equation=EMBED,
    slide=SLIDE,
    hint="The row of the patch comes before its column: (..., rows, columns, ...) before the last reshape.",
    mutant=_column_by_column,
)
family.agrees(
    "a pixel meets its own weight",
    "The pixel in row i and column j of a patch is multiplied by the weight in row i and column j.",
    inputs=_pixels,
    equation=EMBED,
    slide=SLIDE,
    hint="Flatten the patch and the kernel in the same order, row by row.",
    mutant=_arranged((0, 1, 3, 2)),
)
family.agrees(
    "a channel meets its own weight",
    "The kernel has its channels first, (D, C, t, P, P); the film has them after the frames.",
    inputs=_channels,
    equation=EMBED,
    slide=SLIDE,
    hint="A reshape of the kernel has the order (C, t, P, P): bring the axes of the film into this order too.",
    mutant=_arranged((1, 2, 3, 0)),
)
family.agrees(
    "frames that follow each other",
    "A tubelet of t frames holds t frames that follow each other; the next tubelet begins after them.",
    inputs=_following,
    equation=r"\text{tubelet } k = \text{frames } k t, \dots, k t + t - 1",
    slide=BLOCK,
    hint="Split the frames into (T/t, t), not into (t, T/t).",
    mutant=_with_strides,
)
family.agrees(
    "a frame meets its own weight",
    "With a kernel that is zero at all frames but one, only that frame of a tubelet counts.",
    inputs=_one_frame,
    equation=r"E = [0, \dots, E_{image}, \dots, 0]",
    slide="A/112-positions-from-images",
    hint="Frame 0 of the kernel belongs to the first frame of a tubelet: nothing is turned round, as in the convolution of "
    "deep learning.",
    mutant=_backwards,
)
family.agrees(
    "bias",
    "Every token gets the bias; an empty film gives nothing else.",
    inputs=_with_bias,
    equation=EMBED,
    slide=SLIDE,
    hint="Add b, one number for each feature, after the matrix product.",
    mutant=_without_bias,
)
every_family(
    family,
    inputs=_small,
    shapes=_any_size,
    wrong_shape=_one_step_lost,
    shape_hint="One step in time is a step too: its axis stays, also if all frames are in one tubelet.",
)
values(
    family,
    simplest=_simplest,
    words="one frame of one pixel: a linear map of its channels",
    anything=_anything,
    hint="These films have several frames, channels and pixels in a tubelet, all at once: flatten them in the kernel's order, "
    "(C, t, P, P).",
    mutant=_several_of_each,
)
for name, hint, answer in (
    (
        "channels last",
        "You flatten a tubelet with its channels last, but the kernel (D, C, t, P, P) has them first.",
        _arranged((1, 2, 3, 0)),
    ),
    (
        "frames before channels",
        "You flatten a tubelet as (t, C, P, P). The kernel has the channels first: (C, t, P, P).",
        _frames_before_channels,
    ),
    (
        "frames that lie apart",
        "Your tubelets hold frames that lie T/t apart. Split the frames into (T/t, t), not into (t, T/t).",
        _with_strides,
    ),
    (
        "the kernel backwards in time",
        "You turn the kernel round in time. Its frame 0 belongs to the first frame of a tubelet.",
        _backwards,
    ),
    (
        "one frame of each tubelet",
        "You use the first frame of each tubelet alone. That is uniform frame sampling; a tubelet covers all its frames.",
        _one_frame_only,
    ),
    (
        "the mean over the frames",
        "You average over the frames of a tubelet. The product is a sum; only the *inflated* kernel has a factor 1/t, and it "
        "is already in the weights.",
        _mean_of_frames,
    ),
    (
        "all tokens in one row",
        "Your result is (B, T/t N, D). Time and place keep axes of their own: (B, T/t, N, D).",
        _in_one_row,
    ),
    (
        "place before time",
        "The tokens of a place come together. The result is (B, T/t, N, D): first all places of the first step in time.",
        _time_last,
    ),
    (
        "no bias",
        "The bias is missing.",
        _without_bias,
    ),
):
    family.mistake(name, hint, answer)
