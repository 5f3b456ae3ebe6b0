"""SAN: a small network computes the weights of a window from the pixels in it, one weight for every few channels.

Zhao, Jia and Koltun, "Exploring self-attention for image recognition", CVPR 2020, equations 2 to 5.
Slide ``I/19-transformers-reach-vision``.
Not here: sums over neighbourhoods (vision/neighbourhoods.py), training.
"""

import numpy as np

from minivis import backend, ops
from minivis.complaints import named
from minivis.models.common import as_images, pointwise, published
from minivis.nn import BatchNorm2d, Conv2d, Linear, Module, ReLU, Sequential, init
from minivis.precision import in_float32
from minivis.vision.neighbourhoods import add_border, device_of, neighbour_sum, neighbours

__all__ = [
    "SAN",
    "PairwiseAttention",
    "PatchwiseAttention",
    "pairwise_attention",
    "patchwise_attention",
    "san10_pairwise",
    "san10_patchwise",
    "san15_pairwise",
    "san15_patchwise",
    "san19_pairwise",
    "san19_patchwise",
]

KINDS = ("pairwise", "patchwise")
SHARE = 8  # channels that share a weight


@named
@in_float32
def pairwise_attention(x, phi, psi, beta, gamma, window):
    """Sum of the values of each pixel's neighbours; a function of the two pixels gives the weight of each neighbour.

    .. math::
        y_p = \\sum_o \\mathrm{softmax}_o\\big(\\gamma([\\varphi(x_p) - \\psi(x_{p+o}),\\; p - (p + o)])\\big)
        \\odot \\beta(x_{p+o})

    Parameters
    ----------
    x : ndarray or Tensor, shape (B, C, H, W)
        Maps.
    phi, psi : ndarray or Tensor, shape (r, C)
        Projections of a pixel and of its neighbour, which are subtracted from each other.
    beta : ndarray or Tensor, shape (D, C)
        Projection to the values.
    gamma : callable
        Maps relations (B, r + 2, k k, H W) to scores (B, D / s, k k, H W), of which each is shared by s channels. The last
        two channels are the difference of the pixels' columns and rows, each from -1 to 1 across the map.
    window : int
        k, height and width of the window in pixels.

    Returns
    -------
    ndarray or Tensor, shape (B, D, H, W)
        Outside, the map is mirrored at its border. Value channel c has the weights of score channel c mod (D / s), as
        in the published code.

    Raises
    ------
    ValueError
        If the shapes do not fit, or the channels of gamma's scores do not divide D.

    Notes
    -----
    A window is treated as a set: without the position, exchanging two neighbours changes nothing. Softmax is part of the
    published code, not of the paper's general form.

    References
    ----------
    Zhao et al. 2020, equations 2 and 3. Slide ``I/19-transformers-reach-vision``.

    Examples
    --------
    >>> import numpy as np
    >>> x, one = np.array([1.0, 2.0, 6.0]).reshape(1, 1, 1, 3), np.ones((1, 1))
    >>> pairwise_attention(x, one, one, one, lambda relations: 0 * relations[:, :1], 3).ravel()  # a mean, mirrored
    array([1.66666667, 3.        , 3.33333333])
    """
    _check("pairwise_attention", x, phi, psi, beta, window)
    positions = _positions(*x.shape[2:], device_of(x)).astype(x.dtype)
    maps = (pointwise(x, weight) for weight in (phi, psi, beta))
    return _pairwise(*maps, positions, gamma, window)[0]


@named
@in_float32
def patchwise_attention(x, phi, psi, beta, gamma, window):
    """Sum of the values of each pixel's neighbours; a function of the whole window gives all its weights at once.

    .. math:: y_p = \\sum_o \\gamma\\big([\\varphi(x_p),\\; \\psi(x_{p+o}) \\text{ for all } o]\\big)_o \\odot \\beta(x_{p+o})

    Parameters
    ----------
    x, phi, psi, beta, window
        As for `pairwise_attention`.
    gamma : callable
        Maps windows (B, r (k k + 1), H W) to weights (B, D / s, k k, H W). The first r channels are phi of the pixel; then
        psi of the neighbours: k k numbers for each of its channels.

    Returns
    -------
    ndarray or Tensor, shape (B, D, H, W)
        Outside, the map is mirrored at its border. There is no softmax.

    Raises
    ------
    ValueError
        If the shapes do not fit, or the channels of gamma's weights do not divide D.

    Notes
    -----
    gamma can tell the neighbours apart by their place, as a convolution can: a window is not a set here. If gamma is
    constant, this is a depthwise convolution.

    References
    ----------
    Zhao et al. 2020, equations 4 and 5. Slide ``I/19-transformers-reach-vision``.

    Examples
    --------
    >>> import numpy as np
    >>> x, one = np.array([1.0, 2.0, 6.0]).reshape(1, 1, 1, 3), np.ones((1, 1))
    >>> right = np.arange(9).reshape(1, 1, 9, 1) == 5  # the weight of the neighbour on the right is 1
    >>> patchwise_attention(x, one, one, one, lambda windows: right * np.ones((1, 1, 9, 3)), 3).ravel()
    array([2., 6., 2.])
    """
    _check("patchwise_attention", x, phi, psi, beta, window)
    return _patchwise(*(pointwise(x, weight) for weight in (phi, psi, beta)), gamma, window)[0]


def _pairwise(phi, psi, beta, positions, gamma, window):
    """`pairwise_attention` of maps that are already projected: output and weights (B, D / s, k k, H, W)."""
    B, _, H, W = phi.shape
    K = window * window
    content = ops.expand_dims(phi, 2) - _mirrored(psi, window)  # (B, r, k k, H, W)
    place = ops.expand_dims(positions, 1) - _mirrored(positions, window)  # (2, k k, H, W)
    place = ops.broadcast_to(ops.expand_dims(place, 0), (B, 2, K, H, W))
    relations = ops.concatenate([content, place], axis=1)
    scores = gamma(ops.reshape(relations, (B, relations.shape[1], K, H * W)))
    weights = _scores("pairwise_attention", ops.softmax(scores, axis=2), beta, window)
    return _aggregated(weights, beta, window), weights


def _patchwise(phi, psi, beta, gamma, window):
    """`patchwise_attention` of maps that are already projected: output and weights (B, D / s, k k, H, W)."""
    B, r, H, W = phi.shape
    around = ops.reshape(_mirrored(psi, window), (B, r * window**2, H * W))  # (B, r k k, H W)
    windows = ops.concatenate([ops.reshape(phi, (B, r, H * W)), around], axis=1)
    weights = _scores("patchwise_attention", gamma(windows), beta, window)
    return _aggregated(weights, beta, window), weights


def _mirrored(x, window):
    return neighbours(add_border(x, window, "reflect"), window)


def _scores(name, scores, beta, window):
    """What gamma returned, (B, D / s, k k, H W), as (B, D / s, k k, H, W)."""
    (B, D, H, W) = beta.shape
    K = window * window
    groups = scores.shape[1] if scores.ndim == 4 else 0
    if not groups or D % groups or tuple(scores.shape) != (B, groups, K, H * W):
        raise ValueError(
            f"{name}: gamma must return (B, D / s, k k, H W) = ({B}, {D} / s, {K}, {H * W}), "
            f"got {tuple(scores.shape)}"
        )
    return ops.reshape(scores, (B, groups, K, H, W))


def _aggregated(weights, beta, window):
    """The weighted sum; value channel c has weight channel c mod g."""
    (B, D, H, W) = beta.shape
    g = weights.shape[1]
    values = ops.reshape(beta, (B, D // g, g, H, W)).transpose(0, 2, 1, 3, 4)  # (B, g, s, H, W)
    y = neighbour_sum(weights, add_border(values, window, "reflect"), window)
    return ops.reshape(y.transpose(0, 2, 1, 3, 4), (B, D, H, W))


def _positions(height, width, device):
    """Column and row of each pixel, from -1 to 1: (2, H, W)."""
    rows, columns = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    return backend.to_device(np.stack([columns, rows]), device)


def _check(name, x, phi, psi, beta, window):
    init.check_sizes(name, window=window)
    shapes = {"x": x, "phi": phi, "psi": psi, "beta": beta}
    told = f"({', '.join(f'{argument}: {tuple(value.shape)}' for argument, value in shapes.items())})"
    matrices = x.ndim == 4 and all(w.ndim == 2 and w.shape[1] == x.shape[1] for w in (phi, psi, beta))
    if not matrices or phi.shape[0] != psi.shape[0]:
        raise ValueError(f"{name}: x must be (B, C, H, W), phi and psi (r, C), beta (D, C) {told}")


class PairwiseAttention(Module):
    """A layer of `pairwise_attention`, whose gamma is two 1 x 1 convolutions with norms and ReLU before each.

    Parameters
    ----------
    channels : int
        C of the input. phi and psi have r = C / 16 channels, the values D = C / 4; 8 channels share a weight.
    window : int, default 7
        k, height and width of the window in pixels.
    rng : numpy.random.Generator, int or None
        Draws the starting values, as torch does. None is seed 0.

    Raises
    ------
    ValueError
        If the channels are not divisible by 32.

    References
    ----------
    Zhao et al. 2020, figure 2 and section 4.

    Examples
    --------
    >>> import numpy as np
    >>> PairwiseAttention(32, window=3)(np.zeros((2, 32, 4, 5), np.float32)).shape
    (2, 8, 4, 5)
    """

    def __init__(self, channels, window=7, *, rng=None):
        r, D, groups = _sizes("PairwiseAttention", channels, window)
        rng = init.generator(rng)
        self.window = window
        self.phi, self.psi, self.beta = (Conv2d(channels, out, 1, rng=rng) for out in (r, r, D))
        # its bias cancels in the difference of two positions; the published network has it
        self.position = Conv2d(2, 2, 1, rng=rng)
        first = [BatchNorm2d(r + 2), ReLU(), Conv2d(r + 2, r, 1, bias=False, rng=rng)]
        self.gamma = Sequential(*first, BatchNorm2d(r), ReLU(), Conv2d(r, groups, 1, rng=rng))

    def forward(self, x):
        """Maps (B, C, H, W) -> (B, C / 4, H, W). Inside `looking` it shows ``weights``, (B, D / 8, k k, H, W)."""
        x = as_images("PairwiseAttention", x)
        dtype = self.position.weight.dtype
        positions = _positions(*x.shape[2:], self.position.weight.device).astype(dtype)
        positions = ops.squeeze(self.position(positions[None]), 0)
        y, weights = _pairwise(self.phi(x), self.psi(x), self.beta(x), positions, self.gamma, self.window)
        self.show(weights=weights)
        return y


class PatchwiseAttention(Module):
    """A layer of `patchwise_attention`, whose gamma is two 1 x 1 convolutions with norms and ReLU before each.

    Parameters
    ----------
    channels, window, rng
        As for `PairwiseAttention`.

    Raises
    ------
    ValueError
        If the channels are not divisible by 32.

    References
    ----------
    Zhao et al. 2020, figure 2 and section 4.

    Examples
    --------
    >>> import numpy as np
    >>> PatchwiseAttention(32, window=3)(np.zeros((2, 32, 4, 5), np.float32)).shape
    (2, 8, 4, 5)
    """

    def __init__(self, channels, window=7, *, rng=None):
        r, D, self.groups = _sizes("PatchwiseAttention", channels, window)
        rng = init.generator(rng)
        self.window = window
        self.phi, self.psi, self.beta = (Conv2d(channels, out, 1, rng=rng) for out in (r, r, D))
        K = window * window
        first = [BatchNorm2d(r * (K + 1)), ReLU(), Conv2d(r * (K + 1), self.groups, 1, bias=False, rng=rng)]
        last = Conv2d(self.groups, self.groups * K, 1, rng=rng)
        self.gamma = Sequential(*first, BatchNorm2d(self.groups), ReLU(), last)

    def forward(self, x):
        """Maps (B, C, H, W) -> (B, C / 4, H, W). Inside `looking` it shows ``weights``, (B, D / 8, k k, H, W)."""
        x = as_images("PatchwiseAttention", x)
        y, weights = _patchwise(self.phi(x), self.psi(x), self.beta(x), self._weights, self.window)
        self.show(weights=weights)
        return y

    def _weights(self, windows):
        B, _, N = windows.shape
        scores = self.gamma(ops.expand_dims(windows, 2))  # (B, groups k k, 1, N)
        return ops.reshape(scores, (B, self.groups, self.window**2, N))


LAYERS = {"pairwise": PairwiseAttention, "patchwise": PatchwiseAttention}


class SANBlock(Module):
    """A residual block: norm and ReLU, the attention, norm and ReLU, a 1 x 1 convolution; the sum has no ReLU.

    Parameters
    ----------
    kind : {"pairwise", "patchwise"}
        Kind of the attention.
    channels, window : int
        C and k.
    rng : numpy.random.Generator
        Draws the starting values.
    """

    def __init__(self, kind, channels, window, rng):
        self.norm = BatchNorm2d(channels)
        self.attention = LAYERS[kind](channels, window, rng=rng)
        self.inner_norm = BatchNorm2d(channels // 4)
        self.expand = Conv2d(channels // 4, channels, 1, rng=rng)

    def forward(self, x):
        y = self.attention(ops.relu(self.norm(x)))
        return x + self.expand(ops.relu(self.inner_norm(y)))


class SANStage(Module):
    """Halve the map, change its channels, then blocks, a norm and ReLU."""

    def __init__(self, kind, in_channels, channels, depth, window, rng):
        self.transition = Conv2d(in_channels, channels, 1, bias=False, rng=rng)
        self.blocks = [SANBlock(kind, channels, window, rng) for _ in range(depth)]
        self.norm = BatchNorm2d(channels)

    def forward(self, x):
        x = self.transition(ops.max_pool2d(x, 2, ceil_mode=True))
        for block in self.blocks:
            x = block(x)
        return ops.relu(self.norm(x))


class SAN(Module):
    """A network of pairwise or patchwise self-attention, without any convolution larger than 1 x 1.

    Parameters
    ----------
    kind : {"pairwise", "patchwise"}
        Kind of the attention.
    depths : sequence of int, default (2, 1, 2, 4, 1)
        Blocks in each stage.
    widths : sequence of int, default (64, 256, 512, 1024, 2048)
        Channels of each stage; they must be divisible by 32.
    windows : sequence of int, default (3, 7, 7, 7, 7)
        Height and width of the windows of each stage.
    num_classes : int, default 1000
        K. With 0 there is no head.
    channels : int, default 3
        C of the images.
    rng : numpy.random.Generator, int or None
        Draws the starting values, as torch does. None is seed 0.

    Attributes
    ----------
    channels : tuple of int
        Channels of the maps that `features` returns (not those of the images).

    Raises
    ------
    ValueError
        If ``kind`` is unknown, a size is not positive, the stages differ in number, or 32 does not divide a width.

    References
    ----------
    Zhao et al. 2020, table 1. Slide ``I/19-transformers-reach-vision``.

    Examples
    --------
    >>> import numpy as np
    >>> model = SAN("pairwise", (1, 1), widths=(32, 64), windows=(3, 3), num_classes=10)
    >>> images = np.zeros((2, 3, 16, 16), np.float32)
    >>> model(images).shape, [x.shape for x in model.features(images)]
    ((2, 10), [(2, 32, 8, 8), (2, 64, 4, 4)])
    """

    def __init__(
        self, kind="pairwise", depths=(2, 1, 2, 4, 1), widths=(64, 256, 512, 1024, 2048), windows=(3, 7, 7, 7, 7),
        num_classes=1000, channels=3, rng=None,
    ):  # fmt: skip
        if kind not in KINDS:
            raise ValueError(f"SAN: kind must be one of {', '.join(KINDS)}, got {kind!r}")
        init.check_sizes("SAN", depths=depths, widths=widths, windows=windows)
        if not len(depths) == len(widths) == len(windows):
            raise ValueError(
                f"SAN: {len(depths)} stages need as many widths and windows, got {widths} and {windows}"
            )
        rng = init.generator(rng)
        self.channels = tuple(widths)
        self.stem = Conv2d(channels, widths[0], 1, bias=False, rng=rng)
        self.stem_norm = BatchNorm2d(widths[0])
        self.stages = []
        inputs = widths[0]
        for depth, width, window in zip(depths, widths, windows, strict=True):
            self.stages.append(SANStage(kind, inputs, width, depth, window, rng))
            inputs = width
        self.head = Linear(inputs, num_classes, rng=rng) if num_classes else None

    def forward(self, images):
        """Logits (B, K) of images (B, C, H, W). Without a head: the mean of the last map, (B, channels[-1])."""
        pooled = ops.mean(self.features(images)[-1], axis=(2, 3))
        return self.head(pooled) if self.head else pooled

    def features(self, images):
        """The map after each stage, finest first: (B, channels[i], H / 2^(i + 1), W / 2^(i + 1)), sizes rounded up."""
        x = ops.relu(self.stem_norm(self.stem(as_images("SAN", images))))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


def _sizes(name, channels, window):
    """Channels of phi and psi, of the values, and of the weights."""
    init.check_sizes(name, channels=channels, window=window)
    if channels % (4 * SHARE):
        raise ValueError(f"{name}: channels must be divisible by {4 * SHARE}, got {channels}")
    return channels // 16, channels // 4, channels // 4 // SHARE


def _published(number, kind, depths, parameters):
    about = f"{kind} attention, blocks {depths} in the five stages"
    return published(f"san{number}_{kind}", SAN, about, parameters, kind=kind, depths=depths)


san10_pairwise = _published(10, "pairwise", (2, 1, 2, 4, 1), 10_531_848)
san15_pairwise = _published(15, "pairwise", (3, 2, 3, 5, 2), 14_065_436)
san19_pairwise = _published(19, "pairwise", (3, 3, 4, 6, 3), 17_596_156)
san10_patchwise = _published(10, "patchwise", (2, 1, 2, 4, 1), 11_841_124)
san15_patchwise = _published(15, "patchwise", (3, 2, 3, 5, 2), 16_181_310)
san19_patchwise = _published(19, "patchwise", (3, 3, 4, 6, 3), 20_518_470)
