"""SASA: a ResNet whose 3 x 3 convolutions are replaced by attention to the neighbours of each pixel.

Ramachandran et al., "Stand-alone self-attention in vision models", NeurIPS 2019, equations 2 to 4.
Slide ``A/15-stand-alone-self-attention``.
Not here: sums over neighbourhoods (vision/neighbourhoods.py), training (recipes/).
"""

from minivis import ops
from minivis.complaints import named
from minivis.models.common import NORMS, he_normal, in_groups, pointwise, published, summed
from minivis.models.local_resnet import LocalResNet
from minivis.nn import Conv2d, Module, Parameter, init
from minivis.precision import in_float32
from minivis.vision.neighbourhoods import add_border, neighbour_scores, neighbour_softmax

__all__ = [
    "LocalAttention",
    "SASAResNet",
    "local_attention",
    "sasa_resnet26",
    "sasa_resnet38",
    "sasa_resnet50",
]

BORDERS = ("masked", "zeros")
STEMS = ("convolution", "attention")


@named
@in_float32
def local_attention(x, w_q, w_k, w_v, rel_rows, rel_cols, heads, window, border="masked"):
    """Attention of each pixel to the pixels of a window around it.

    .. math::
        y_p = \\sum_{o} \\mathrm{softmax}_o\\big(q_p \\cdot (k_{p+o} + r_o)\\big)\\, v_{p+o},
        \\qquad r_o = [\\,r^{rows}_{o_y};\\; r^{cols}_{o_x}\\,]

    with q = W_q x, k = W_k x, v = W_v x, for each head by itself. The scores are not divided by the root of d.

    Parameters
    ----------
    x : ndarray or Tensor, shape (B, C, H, W)
        Maps.
    w_q, w_k, w_v : ndarray or Tensor, shape (D, C)
        Projections of each pixel to queries, keys and values. Head i has the channels i D/h to (i + 1) D/h.
    rel_rows, rel_cols : ndarray or Tensor, shape (k, D / h / 2) or (h, k, D / h / 2)
        The embeddings of row and column offsets, from -(k // 2) on; shared by the heads, or one table for each. Rows
        belong to the first half of a head's channels, columns to the second.
    heads : int
        h.
    window : int
        k, height and width of the window in pixels.
    border : {"masked", "zeros"}, default "masked"
        "masked": only neighbours inside the map take part. "zeros": the map is surrounded with zeros, which take part as
        keys and values that are 0, as in published code.

    Returns
    -------
    ndarray or Tensor, shape (B, D, H, W)

    Raises
    ------
    ValueError
        If the shapes do not fit, the heads do not divide D into halves, or ``border`` is unknown.

    Notes
    -----
    3 D C multiply-adds for each pixel, a third of a 3 x 3 convolution, and 2 k^2 D for the window: the number of
    parameters does not grow with the area of the window. Memory: h k^2 scores for each pixel.

    References
    ----------
    Ramachandran et al. 2019, equations 2 and 4. Slide ``A/15-stand-alone-self-attention``.

    Examples
    --------
    >>> import numpy as np
    >>> x, one, zero = np.ones((1, 2, 3, 3)), np.eye(2), np.zeros((3, 1))
    >>> corner = [local_attention(x, 0 * one, one, one, zero, zero, 1, 3, b)[0, 0, 0, 0] for b in ("masked", "zeros")]
    >>> np.round(corner, 3)  # 4 neighbours, or 4 and 5 zeros
    array([1.   , 0.444])
    """
    weights = _weights(x, w_q, w_k, rel_rows, rel_cols, heads, window, border)
    if tuple(w_v.shape) != tuple(w_q.shape):
        raise ValueError(
            f"local_attention: w_v must be (D, C) as w_q (w_q: {tuple(w_q.shape)}, w_v: {tuple(w_v.shape)})"
        )
    return summed(weights, in_groups(pointwise(x, w_v), heads), window)


class LocalAttention(Module):
    """A layer of `local_attention`.

    Parameters
    ----------
    in_channels, out_channels : int
        C and D.
    heads : int, default 8
        h. They must divide D into even parts.
    window : int, default 7
        k, height and width of the window in pixels.
    shared : bool, default False
        Whether all heads share the embeddings of the offsets.
    border : {"masked", "zeros"}, default "masked"
        As for `local_attention`.
    rng : numpy.random.Generator, int or None
        Draws the starting values: He's from the fan-out for the projections, standard normal for embeddings. None is seed 0.

    Attributes
    ----------
    w_q, w_k, w_v : Parameter, shape (D, C)
    rel_rows, rel_cols : Parameter, shape (h, k, D / h / 2), or (k, D / h / 2) if they are shared

    Raises
    ------
    ValueError
        If a size is not positive, the heads do not divide D into even parts, or ``border`` is unknown.

    References
    ----------
    Ramachandran et al. 2019, section 3. Slide ``A/15-stand-alone-self-attention``.

    Examples
    --------
    >>> import numpy as np
    >>> from minivis.nn import looking
    >>> layer = LocalAttention(3, 8, heads=2, window=5)
    >>> with looking(layer) as seen:
    ...     y = layer(np.zeros((1, 3, 4, 6), np.float32))
    >>> y.shape, seen["weights"].shape
    ((1, 8, 4, 6), (1, 2, 25, 4, 6))
    """

    def __init__(
        self, in_channels, out_channels, heads=8, window=7, shared=False, border="masked", *, rng=None
    ):
        init.check_sizes(
            "LocalAttention", in_channels=in_channels, out_channels=out_channels, heads=heads, window=window
        )
        if out_channels % (2 * heads):
            raise ValueError(
                f"LocalAttention: {heads} heads must divide out_channels={out_channels} into even parts"
            )
        _check_border("LocalAttention", border)
        rng = init.generator(rng)
        self.heads, self.window, self.border = heads, window, border
        self.w_q, self.w_k, self.w_v = (
            Parameter(he_normal((out_channels, in_channels), rng)) for _ in range(3)
        )
        shape = (window, out_channels // heads // 2)
        shape = shape if shared else (heads, *shape)
        self.rel_rows, self.rel_cols = (Parameter(init.normal(shape, 1.0, rng)) for _ in range(2))

    def forward(self, x):
        """Maps (B, C, H, W) -> (B, D, H, W). Inside `looking` it shows ``weights``, (B, h, k k, H, W)."""
        weights = _weights(
            x, self.w_q, self.w_k, self.rel_rows, self.rel_cols, self.heads, self.window, self.border
        )
        self.show(weights=weights)
        return summed(weights, in_groups(pointwise(x, self.w_v), self.heads), self.window)

    def extra_repr(self):
        D, C = self.w_q.shape
        return f"{C}, {D}, heads={self.heads}, window={self.window}"


def _weights(x, w_q, w_k, rel_rows, rel_cols, heads, window, border):
    """The attention weights, (B, h, k k, H, W)."""
    _check(x, w_q, w_k, rel_rows, rel_cols, heads, window, border)
    B, _, H, W = x.shape
    q = in_groups(pointwise(x, w_q), heads)  # (B, h, d, H, W)
    k = in_groups(pointwise(x, w_k), heads)
    half = q.shape[2] // 2
    tokens = ops.reshape(q, (B, heads, 2 * half, H * W))
    rows = ops.reshape(ops.matmul(rel_rows, tokens[:, :, :half]), (B, heads, window, 1, H, W))
    cols = ops.reshape(ops.matmul(rel_cols, tokens[:, :, half:]), (B, heads, 1, window, H, W))
    offsets = rows + cols  # (B, h, k, k, H, W): q . r
    scores = neighbour_scores(q, add_border(k, window), window)
    scores = scores + ops.reshape(offsets, (B, heads, window * window, H, W))
    return neighbour_softmax(scores, window) if border == "masked" else ops.softmax(scores, axis=2)


def _check(x, w_q, w_k, rel_rows, rel_cols, heads, window, border):
    init.check_sizes("local_attention", heads=heads, window=window)
    _check_border("local_attention", border)
    shapes = {"x": x, "w_q": w_q, "w_k": w_k, "rel_rows": rel_rows, "rel_cols": rel_cols}
    told = f"({', '.join(f'{name}: {tuple(value.shape)}' for name, value in shapes.items())})"
    if x.ndim != 4 or w_q.ndim != 2 or w_q.shape[1] != x.shape[1] or tuple(w_k.shape) != tuple(w_q.shape):
        raise ValueError(f"local_attention: x must be (B, C, H, W), w_q and w_k (D, C) {told}")
    D = w_q.shape[0]
    if D % (2 * heads):
        raise ValueError(f"local_attention: {heads} heads must divide D={D} into even parts {told}")
    table = (window, D // heads // 2)
    if any(tuple(rel.shape) not in (table, (heads, *table)) for rel in (rel_rows, rel_cols)):
        raise ValueError(
            f"local_attention: rel_rows and rel_cols must be {table} or {(heads, *table)}: "
            f"(k, D / h / 2), for each head or for all {told}"
        )
    if rel_rows.ndim != rel_cols.ndim:
        raise ValueError(f"local_attention: rel_rows and rel_cols must have the same shape {told}")


def _check_border(name, border):
    if border not in BORDERS:
        raise ValueError(f"{name}: border must be one of {', '.join(BORDERS)}, got {border!r}")


class ConvolutionStem(Module):
    """The stem of ResNet: a 7 x 7 convolution of stride 2, a norm, ReLU and max pooling."""

    def __init__(self, channels, width, norm, rng):
        self.conv = Conv2d(
            channels, width, 7, 2, padding=3, bias=False, weight_init=init.kaiming_normal, rng=rng
        )
        self.norm = NORMS[norm](width)

    def forward(self, images):
        return ops.max_pool2d(ops.relu(self.norm(self.conv(images))), 3, stride=2, padding=1)


class AttentionStem(Module):
    """A stem of attention whose values depend on the place in the window, so that it can see edges in raw pixels.

    .. math:: v_o = \\sum_m p(o, m)\\, W_m x, \\qquad
        p(o, m) = \\mathrm{softmax}_m\\big((e^{rows}_{o_y} + e^{cols}_{o_x}) \\cdot \\nu_m\\big)

    Then a norm, ReLU and 4 x 4 max pooling.

    Parameters
    ----------
    channels, width : int
        C of the images and D of the map.
    heads, window, mixtures : int
        h, k and the number of matrices W_m.
    norm, rng
        As for `SASAResNet`.
    """

    def __init__(self, channels, width, norm, rng, heads=8, window=4, mixtures=4):
        self.heads, self.window = heads, window
        self.w_q, self.w_k = (Parameter(he_normal((width, channels), rng)) for _ in range(2))
        self.w_v = Parameter(init.normal((mixtures, width, channels), (2 / width) ** 0.5, rng))
        self.rows, self.cols, self.mixtures = (
            Parameter(init.normal((count, width), width**-0.25, rng)) for count in (window, window, mixtures)
        )
        self.norm = NORMS[norm](width)

    def forward(self, images):
        q = in_groups(pointwise(images, self.w_q), self.heads)
        k = in_groups(pointwise(images, self.w_k), self.heads)
        weights = neighbour_softmax(neighbour_scores(q, add_border(k, self.window), self.window), self.window)
        self.show(weights=weights)
        places = ops.expand_dims(self.rows, 1) + ops.expand_dims(self.cols, 0)  # (k, k, D)
        places = ops.reshape(places, (self.window**2, -1))
        shares = ops.softmax(places @ ops.transpose(self.mixtures), axis=1)  # (k k, M): p(o, m)
        y = 0
        for m, w_v in enumerate(self.w_v):
            values = in_groups(pointwise(images, w_v), self.heads)
            y = y + summed(weights * ops.reshape(shares[:, m], (-1, 1, 1)), values, self.window)
        return ops.max_pool2d(ops.relu(self.norm(y)), 4, ceil_mode=True)


class SASAResNet(LocalResNet):
    """A ResNet whose 3 x 3 convolutions are `LocalAttention`: images to class logits, or to maps of several resolutions.

    Parameters
    ----------
    depths : sequence of int, default (3, 4, 6, 3)
        Blocks in each stage.
    width : int, default 64
        Channels of the stem, and inside the blocks of the first stage; each later stage doubles it. A stage's map has four
        times as many.
    heads : int, default 8
        Heads of each attention.
    window : int, default 7
        Height and width of the windows, in pixels of the map.
    stem : {"convolution", "attention"}, default "convolution"
        The first layers: ResNet's, or `AttentionStem`.
    shared : bool, default False
        Whether the heads share the embeddings of offsets. The paper's sizes fit both.
    border : {"masked", "zeros"}, default "masked"
        As for `local_attention`.
    num_classes : int, default 1000
        K. With 0 there is no head.
    channels : int, default 3
        C of the images.
    norm : {"batch", "frozen", "group"}, default "batch"
        Kind of norm.
    rng : numpy.random.Generator, int or None
        Draws the starting values. None is seed 0.

    Attributes
    ----------
    channels : tuple of int
        Channels of the maps that `features` returns (not those of the images).

    Raises
    ------
    ValueError
        If a size is not positive, or ``stem``, ``norm`` or ``border`` is unknown.

    References
    ----------
    Ramachandran et al. 2019, sections 3 and 4. Slide ``A/15-stand-alone-self-attention``.

    Examples
    --------
    >>> import numpy as np
    >>> model = SASAResNet((1, 1), width=16, heads=2, window=3, num_classes=10)
    >>> images = np.zeros((2, 3, 32, 32), np.float32)
    >>> model(images).shape, [x.shape for x in model.features(images)]
    ((2, 10), [(2, 64, 8, 8), (2, 128, 4, 4)])
    """

    def __init__(
        self, depths=(3, 4, 6, 3), width=64, heads=8, window=7, stem="convolution", shared=False, border="masked",
        num_classes=1000, channels=3, norm="batch", rng=None,
    ):  # fmt: skip
        init.check_sizes("SASAResNet", depths=depths, width=width, heads=heads, window=window)
        if stem not in STEMS:
            raise ValueError(f"SASAResNet: stem must be one of {', '.join(STEMS)}, got {stem!r}")
        if norm not in NORMS:
            raise ValueError(f"SASAResNet: norm must be one of {', '.join(NORMS)}, got {norm!r}")
        rng = init.generator(rng)
        make = ConvolutionStem if stem == "convolution" else AttentionStem
        inner = [width * 2**stage for stage in range(len(depths))]

        def layer(width):
            return LocalAttention(width, width, heads, window, shared, border, rng=rng)

        widths = [4 * D for D in inner]
        super().__init__(
            make(channels, width, norm, rng), width, layer, depths, inner, widths, num_classes, norm, rng
        )


def _published(name, depths, parameters):
    about = f"blocks {depths} in the four stages, windows of 7 x 7, 8 heads"
    return published(
        name, SASAResNet, about, parameters, example='``stem="attention"``, ``shared=True``', depths=depths
    )


sasa_resnet26 = _published("sasa_resnet26", (1, 2, 4, 1), 10_342_632)
sasa_resnet38 = _published("sasa_resnet38", (2, 3, 5, 2), 14_190_632)
sasa_resnet50 = _published("sasa_resnet50", (3, 4, 6, 3), 18_038_632)
