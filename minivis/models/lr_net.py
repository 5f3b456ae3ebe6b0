"""Local relation networks: the weights of a window come from how similar two pixels are, and from where they are.

Hu et al., "Local relation networks for image recognition", ICCV 2019, equations 2 to 5.
Slides ``A/16-local-relation-layer``, ``A/17-local-relation-weights``, ``A/18-geometric-prior``.
Not here: sums over neighbourhoods (vision/neighbourhoods.py), training (recipes/).
"""

import functools

import numpy as np

from minivis import backend, ops
from minivis.complaints import named
from minivis.models.common import NORMS, he_normal, in_groups, pointwise, published, summed
from minivis.models.local_resnet import LocalResNet, PointNorm
from minivis.nn import Module, Parameter, init
from minivis.precision import in_float32
from minivis.vision.neighbourhoods import add_border, neighbour_softmax, neighbours

__all__ = ["LRNet", "LocalRelation", "local_relation", "lr_net26", "lr_net50"]

SIMILARITIES = {
    "product": lambda q, k: q * k,
    "squared": lambda q, k: -((q - k) * (q - k)),
    "absolute": lambda q, k: -ops.abs(q - k),
}


@named
@in_float32
def local_relation(x, w_q, w_k, geometry, groups, window, similarity="product"):
    """Sum of the neighbours of each pixel, weighted by how they relate to it in content and in position.

    .. math::
        y_{c,p} = \\sum_o \\omega_{g,o}(p)\\, x_{c,p+o}, \\qquad
        \\omega_{g,o}(p) = \\mathrm{softmax}_o\\big(\\Phi(q_{g,p}, k_{g,p+o}) + f_{g,o}\\big)

    with q = W_q x and k = W_k x: one number for each pixel and group. Channel c belongs to group g = floor(c / m), with m
    channels in a group. The values are x itself, without a projection.

    Parameters
    ----------
    x : ndarray or Tensor, shape (B, C, H, W)
        Maps.
    w_q, w_k : ndarray or Tensor, shape (groups, C)
        Projections to the query and the key of each group.
    geometry : ndarray or Tensor, shape (groups, k, k)
        The geometric prior f of each offset; row and column k // 2 belong to the pixel itself.
    groups : int
        Number of groups of channels that share their weights; m = C / groups, rounded up. The last group may be shorter.
    window : int
        k, height and width of the window in pixels.
    similarity : {"product", "squared", "absolute"}, default "product"
        Phi: q k, -(q - k)^2 or -abs(q - k).

    Returns
    -------
    ndarray or Tensor, shape (B, C, H, W)
        Only neighbours inside the map take part.

    Raises
    ------
    ValueError
        If the shapes do not fit or ``similarity`` is unknown.

    Notes
    -----
    2 C groups multiply-adds for each pixel, and k^2 C for the sum. The published operator gives neighbours outside the map
    the similarity -100 instead of leaving them out: their weights are 0 too, as long as the others are near 0.

    References
    ----------
    Hu et al. 2019, equations 2 and 3, table 1. Slides ``A/16-local-relation-layer``, ``A/17-local-relation-weights``.

    Examples
    --------
    >>> import numpy as np
    >>> x, one = np.array([0.0, 1.0]).reshape(1, 1, 1, 2), np.ones((1, 1))
    >>> y = local_relation(x, one, one, np.zeros((1, 3, 3)), 1, 3, "squared")
    >>> round(float(y[0, 0, 0, 0]), 4)  # 0 and 1 with the weights 1 and exp(-1), divided by their sum
    0.2689
    """
    return _summed(x, _weights(x, w_q, w_k, geometry, groups, window, similarity), groups, window)


def _weights(x, w_q, w_k, geometry, groups, window, similarity):
    """The aggregation weights, (B, groups, k k, H, W)."""
    _check(x, w_q, w_k, geometry, groups, window, similarity)
    q = ops.expand_dims(pointwise(x, w_q), 2)  # (B, groups, 1, H, W)
    k = neighbours(add_border(pointwise(x, w_k), window), window)  # (B, groups, k k, H, W)
    prior = ops.reshape(geometry, (groups, window * window, 1, 1))
    return neighbour_softmax(SIMILARITIES[similarity](q, k) + prior, window)


def _summed(x, weights, groups, window):
    C = x.shape[1]
    missing = -C % groups if C >= groups else groups - C
    x = ops.pad(x, [(0, 0), (0, missing), (0, 0), (0, 0)]) if missing else x
    y = summed(weights, in_groups(x, groups), window)
    return y[:, :C] if missing else y


def _check(x, w_q, w_k, geometry, groups, window, similarity):
    init.check_sizes("local_relation", groups=groups, window=window)
    if similarity not in SIMILARITIES:
        raise ValueError(
            f"local_relation: similarity must be one of {', '.join(SIMILARITIES)}, got {similarity!r}"
        )
    shapes = {"x": x, "w_q": w_q, "w_k": w_k, "geometry": geometry}
    told = f"({', '.join(f'{name}: {tuple(value.shape)}' for name, value in shapes.items())})"
    if x.ndim != 4 or any(tuple(w.shape) != (groups, x.shape[1]) for w in (w_q, w_k)):
        raise ValueError(f"local_relation: x must be (B, C, H, W), w_q and w_k ({groups}, C) {told}")
    if tuple(geometry.shape) != (groups, window, window):
        raise ValueError(
            f"local_relation: geometry must be {(groups, window, window)}: (groups, k, k) {told}"
        )


class LocalRelation(Module):
    """A layer of `local_relation`, then a 1 x 1 convolution. A small network computes the prior from the offset.

    .. math:: f_g(o) = W_2\\, \\mathrm{ReLU}(W_1 o), \\qquad o = (o_y, o_x) \\in [-1, 1]^2

    Parameters
    ----------
    channels : int
        C of input and output.
    window : int, default 7
        k, height and width of the window in pixels.
    group_size : int, default 8
        m, at most how many channels share their weights; there are C / m groups, rounded up.
    similarity : {"product", "squared", "absolute"}, default "product"
        As for `local_relation`.
    rng : numpy.random.Generator, int or None
        Draws the starting values: He's. None is seed 0.

    Attributes
    ----------
    w_q, w_k : Parameter, shape (groups, C)
    w_hidden, w_prior : Parameter, shapes (groups, 2) and (groups, groups)
        W_1 and W_2 of the prior. They have no biases, so the prior grows or falls linearly from the centre outwards.
    w_out : Parameter, shape (C, C)
        The convolution at the end.

    Raises
    ------
    ValueError
        If a size is not positive or ``similarity`` is unknown.

    References
    ----------
    Hu et al. 2019, section 3.2 and equation 5. Slides ``A/16-local-relation-layer``, ``A/18-geometric-prior``.

    Examples
    --------
    >>> import numpy as np
    >>> from minivis.nn import looking
    >>> layer = LocalRelation(12, window=5, group_size=4)
    >>> with looking(layer) as seen:
    ...     y = layer(np.zeros((1, 12, 4, 6), np.float32))
    >>> y.shape, {name: array.shape for name, array in seen.items()}
    ((1, 12, 4, 6), {'prior': (3, 5, 5), 'weights': (1, 3, 25, 4, 6)})
    """

    def __init__(self, channels, window=7, group_size=8, similarity="product", *, rng=None):
        init.check_sizes("LocalRelation", channels=channels, window=window, group_size=group_size)
        if similarity not in SIMILARITIES:
            raise ValueError(
                f"LocalRelation: similarity must be one of {', '.join(SIMILARITIES)}, got {similarity!r}"
            )
        rng = init.generator(rng)
        self.groups = -(-channels // group_size)
        self.window, self.similarity = window, similarity
        self.w_q, self.w_k = (
            Parameter(init.normal((self.groups, channels), channels**-0.5, rng)) for _ in range(2)
        )
        self.w_hidden = Parameter(he_normal((self.groups, 2), rng))
        self.w_prior = Parameter(he_normal((self.groups, self.groups), rng))
        self.w_out = Parameter(he_normal((channels, channels), rng))

    def prior(self):
        """The geometric prior of each group and offset, (groups, k, k)."""
        offsets = _offsets(self.window, self.w_hidden.device).astype(self.w_hidden.dtype)
        f = ops.relu(offsets @ ops.transpose(self.w_hidden)) @ ops.transpose(self.w_prior)  # (k k, groups)
        return ops.reshape(ops.transpose(f), (self.groups, self.window, self.window))

    def forward(self, x):
        """Maps (B, C, H, W) -> the same shape.

        Inside `looking` it shows ``prior``, (groups, k, k), and ``weights``, (B, groups, k k, H, W).
        """
        prior = self.prior()
        weights = _weights(x, self.w_q, self.w_k, prior, self.groups, self.window, self.similarity)
        self.show(prior=prior, weights=weights)
        return pointwise(_summed(x, weights, self.groups, self.window), self.w_out)

    def extra_repr(self):
        return f"{self.w_q.shape[1]}, window={self.window}, groups={self.groups}, {self.similarity}"


@functools.lru_cache(maxsize=64)
def _offsets(window, device):
    """Row and column of each offset of a window, (k k, 2), from -1 to 1."""
    place = np.arange(window) - window // 2
    grid = np.stack(np.meshgrid(place, place, indexing="ij"), axis=-1).reshape(-1, 2)
    return backend.to_device(grid / max(1, window // 2), device)


class RelationStem(Module):
    """A 1 x 1 convolution, a local relation layer, and average and max pooling: a quarter of the image's size.

    Parameters
    ----------
    channels, width : int
        C of the images and of the map.
    layer : Module
        The local relation layer for ``width`` channels.
    norm, rng
        As for `LRNet`.
    """

    def __init__(self, channels, width, layer, norm, rng):
        self.first = PointNorm(channels, width, 1, norm, rng)
        self.layer = layer
        self.norm = NORMS[norm](width)

    def forward(self, images):
        y = self.layer(ops.relu(self.first(images)))
        y = ops.avg_pool2d(y, 2, ceil_mode=True)
        return ops.max_pool2d(ops.relu(self.norm(y)), 3, stride=2, padding=1)


class LRNet(LocalResNet):
    """A ResNet whose spatial convolutions are all `LocalRelation`: images to class logits, or to maps.

    Parameters
    ----------
    depths : sequence of int, default (3, 4, 6, 3)
        Blocks in each stage.
    inner : sequence of int, optional
        Channels inside the blocks of each stage; default 100, 200, 400, 800.
    widths : sequence of int, optional
        Channels of each stage's map; default 256, 512, 1024, 2048.
    stem_width : int, default 64
        Channels of the stem.
    window, group_size, similarity
        As for `LocalRelation`.
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
        If a size is not positive, ``norm`` or ``similarity`` is unknown, or the stages differ in number.

    Notes
    -----
    Hu et al. published the operator, but no network. The sizes here are those that give the parameters they print, 23.3
    and 14.7 million. 100 is no multiple of 8: the last group has 4 channels. Stride is average pooling.

    References
    ----------
    Hu et al. 2019, table 2. Slides ``A/16-local-relation-layer``, ``A/17-local-relation-weights``, ``A/18-geometric-prior``.

    Examples
    --------
    >>> import numpy as np
    >>> model = LRNet((1, 1), inner=(12, 24), widths=(16, 32), stem_width=8, window=3, num_classes=10)
    >>> images = np.zeros((2, 3, 32, 32), np.float32)
    >>> model(images).shape, [x.shape for x in model.features(images)]
    ((2, 10), [(2, 16, 8, 8), (2, 32, 4, 4)])
    """

    def __init__(
        self, depths=(3, 4, 6, 3), inner=None, widths=None, stem_width=64, window=7, group_size=8,
        similarity="product", num_classes=1000, channels=3, norm="batch", rng=None,
    ):  # fmt: skip
        init.check_sizes("LRNet", depths=depths, stem_width=stem_width)
        if norm not in NORMS:
            raise ValueError(f"LRNet: norm must be one of {', '.join(NORMS)}, got {norm!r}")
        rng = init.generator(rng)
        inner = inner or [100 * 2**stage for stage in range(len(depths))]
        widths = widths or [256 * 2**stage for stage in range(len(depths))]

        def layer(width):
            return LocalRelation(width, window, group_size, similarity, rng=rng)

        stem = RelationStem(channels, stem_width, layer(stem_width), norm, rng)
        super().__init__(stem, stem_width, layer, depths, inner, widths, num_classes, norm, rng)


def _published(name, depths, parameters):
    about = f"blocks {depths} in the four stages, windows of 7 x 7, 8 channels in a group"
    return published(name, LRNet, about, parameters, example='``similarity="squared"``', depths=depths)


lr_net26 = _published("lr_net26", (2, 2, 2, 2), 14_620_724)
lr_net50 = _published("lr_net50", (3, 4, 6, 3), 23_396_317)
