"""Non-local networks: a ResNet with blocks in which each place of a picture or a film attends to all places.

Wang et al., "Non-local neural networks", CVPR 2018, equations 1 to 6, section 4. Slides ``A/13-non-local-block``,
``A/14-non-local-correlations``, ``C/112-attention-in-existing-cnns``.
Not here: the operation without parameters (vision/non_local_operation.py), convolution over time, training (recipes/).
"""

import math

from minivis import ops
from minivis.models.common import as_images, published
from minivis.nn import BatchNorm2d, Conv2d, Module, SinePositionCode2d, init
from minivis.nn.module import Parameter, as_tensor
from minivis.vision.non_local_operation import FORMS, non_local_weights, pooled_in_space

__all__ = ["NonLocalBlock", "NonLocalResNet", "non_local_resnet50"]

TEMPERATURE = 20  # of the position codes: maps have few cells, and longer waves would hardly change over them


class NonLocalBlock(Module):
    """A residual block that gives each place a weighted mean over all places of the picture, or of all frames of a film.

    .. math:: z_i = W_z y_i + x_i, \\qquad y_i = \\sum_j \\frac{f(x_i, x_j)}{\\mathcal{C}(x)}\\, g(x_j)

    At the start it computes z = x, so that it can be put into a trained network without changing its output.

    Parameters
    ----------
    channels : int
        C of the map.
    inner : int, optional
        C', the channels of theta, phi and g; default half of ``channels``.
    form : {"embedded_gaussian", "gaussian", "dot_product", "concatenation"}, default "embedded_gaussian"
        How two places relate, see `minivis.vision.non_local_weights`.
    pool : int, default 1
        phi and g read the map max-pooled by this factor in each frame: a quarter of the keys with 2.
    scale : bool, default False
        Divide the products of the Gaussian forms by the square root of C', as published code does. The paper has no
        scale.
    norm : bool, default True
        Batch norm after W_z with gain 0 at the start, as published. Without it W_z itself starts at 0.
    std : float, default 0.01
        Standard deviation of the starting weights, as published. They are made for a trained network; in one that learns
        from scratch theta and phi would hardly move at first.
    rng : numpy.random.Generator, int or None
        Draws the starting values; None is seed 0.

    Raises
    ------
    ValueError
        If a size is not a whole number of at least 1, or the form is unknown.

    Notes
    -----
    While somebody is `minivis.nn.looking`, it shows ``weights``, (B, N, M): f(x_i, x_j) / C(x), places frame by frame and
    row by row.

    References
    ----------
    Wang et al. 2018, equations 1 to 6, figure 2. Slides ``A/13-non-local-block``, ``C/106-cnn-with-self-attention``.

    Examples
    --------
    >>> import numpy as np
    >>> block = NonLocalBlock(8, pool=2)
    >>> film = np.ones((1, 8, 3, 4, 6), np.float32)  # 3 frames
    >>> bool((block(film).numpy() == film).all())
    True
    """

    def __init__(
        self, channels, inner=None, form="embedded_gaussian", pool=1, scale=False, norm=True, std=0.01, rng=None
    ):  # fmt: skip
        inner = max(1, channels // 2) if inner is None else inner
        init.check_sizes("NonLocalBlock", channels=channels, inner=inner, pool=pool)
        if form not in FORMS:
            raise ValueError(f"NonLocalBlock: form must be one of {', '.join(FORMS)}, got {form!r}")
        rng = init.generator(rng)
        drawn = {"weight_init": lambda shape, rng: init.normal(shape, std, rng), "rng": rng}
        self.form, self.pool = form, pool
        embedded = form != "gaussian"
        self.scale = (inner if embedded else channels) ** -0.5 if scale else 1.0
        self.theta = Conv2d(channels, inner, 1, **drawn) if embedded else None
        self.phi = Conv2d(channels, inner, 1, **drawn) if embedded else None
        self.g = Conv2d(channels, inner, 1, **drawn)
        self.relation = Parameter(init.normal((2 * inner,), std, rng)) if form == "concatenation" else None
        self.out = Conv2d(inner, channels, 1, **(drawn if norm else {"weight_init": init.zeros}))
        self.norm = BatchNorm2d(channels) if norm else None
        if norm:
            self.norm.weight.data[...] = 0

    def forward(self, x):
        """Map x (B, C, H, W) or (B, C, T, H, W) -> z of the same shape."""
        x = as_tensor(x)
        if x.ndim not in (4, 5):
            raise ValueError(
                f"NonLocalBlock: x must be (B, C, H, W) or (B, C, T, H, W) (x: {tuple(x.shape)})"
            )
        pooled = _column(pooled_in_space(x, self.pool))  # (B, C, M, 1)
        places = _column(x)  # (B, C, N, 1)
        embedded = self.form != "gaussian"
        theta = _as_set(self.theta(places) if embedded else places)  # (B, N, C')
        phi = _as_set(self.phi(pooled) if embedded else pooled)  # (B, M, C')
        weights = non_local_weights(theta, phi, self.form, w_f=self.relation, scale=self.scale)
        self.show(weights=weights)
        y = weights @ _as_set(self.g(pooled))  # (B, N, C')
        z = self.out(y.transpose(0, 2, 1).reshape(len(y), y.shape[2], y.shape[1], 1))  # (B, C, N, 1)
        z = self.norm(z) if self.norm else z
        return z.reshape(*x.shape) + x


def _column(x):
    """Maps (B, C, ...) with all places in one column, (B, C, N, 1): 1 x 1 convolutions and norms do not mind."""
    return x.reshape(*x.shape[:2], math.prod(x.shape[2:]), 1)


def _as_set(x):
    """(B, C, N, 1) -> (B, N, C)."""
    return x.reshape(*x.shape[:3]).transpose(0, 2, 1)


class NonLocalResNet(Module):
    """A ResNet with non-local blocks put between its blocks, for pictures and for films.

    The convolutions see one frame at a time. Only the non-local blocks join the frames, and the mean at the end if there
    is one.

    Parameters
    ----------
    backbone : ResNet
        With its head. It may be trained already: at the start the blocks change nothing.
    places : sequence of int, default (4, 6, 8, 10, 12)
        After which residual blocks a non-local block stands, counted from 0 through all stages. The default is the
        published one for ResNet-50: every other block of the second and third stage.
    form, pool, scale, norm, std
        As for `NonLocalBlock`.
    across_frames : bool, default True
        Attend to all frames. With False each frame attends to itself alone, with the same parameters: for comparison.
    codes : bool, default False
        Add sines of row and column to the map before each non-local block, so that what a place holds says where it is.
        The paper has none.
    read : {"mean", "places"}, default "mean"
        Classify the whole picture or film by the mean over all places and frames, or each place of the last frame by
        itself: then the frames before it count only as far as the non-local blocks bring them there.
    rng : numpy.random.Generator, int or None
        Draws the starting values of the blocks; None is seed 0.

    Raises
    ------
    ValueError
        If a place does not exist or ``read`` is unknown; when called, if the input has neither 4 nor 5 axes.

    References
    ----------
    Wang et al. 2018, section 4.1. Slides ``A/14-non-local-correlations``, ``C/112-attention-in-existing-cnns``.

    Examples
    --------
    >>> import numpy as np
    >>> from minivis.models import ResNet
    >>> backbone = ResNet((1, 2), "basic", widths=(8, 16), stem_width=8, num_classes=4, patch_stem=True)
    >>> model = NonLocalResNet(backbone, places=(1,))
    >>> model(np.ones((2, 3, 32, 32), np.float32)).shape, model(np.ones((2, 5, 3, 32, 32), np.float32)).shape
    ((2, 4), (2, 4))
    """

    def __init__(
        self, backbone, places=(4, 6, 8, 10, 12), form="embedded_gaussian", pool=1, scale=False, norm=True, std=0.01,
        across_frames=True, codes=False, read="mean", rng=None,
    ):  # fmt: skip
        widths = [C for stage, C in zip(backbone.stages, backbone.channels, strict=True) for _ in stage]
        if not set(places) <= set(range(len(widths))):
            raise ValueError(f"NonLocalResNet: places must be 0 to {len(widths) - 1}, got {places!r:.100}")
        if read not in ("mean", "places"):
            raise ValueError(f'NonLocalResNet: read must be "mean" or "places", got {read!r}')
        rng = init.generator(rng)
        options = {"form": form, "pool": pool, "scale": scale, "norm": norm, "std": std, "rng": rng}
        self.backbone = backbone
        self.across_frames, self.read = across_frames, read
        self.relations = [NonLocalBlock(C, **options) if i in places else None for i, C in enumerate(widths)]
        self.codes = [SinePositionCode2d(C, TEMPERATURE, normalize=True) for C in widths] if codes else None

    @property
    def channels(self):
        """Channels of the maps that `features` returns."""
        return self.backbone.channels

    def forward(self, images):
        """Logits (B, K) of images (B, C, H, W) or films (B, T, C, H, W); for each place (B, K, H', W')."""
        images = as_tensor(images)
        maps = self.features(images)[-1]  # (B T, C', H', W')
        T = images.shape[1] if images.ndim == 5 else 1
        maps = maps.reshape(len(images), T, *maps.shape[1:])  # (B, T, C', H', W')
        head = self.backbone.head or (lambda x: x)
        if self.read == "places":
            return head(maps[:, -1].transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)  # (B, K, H', W')
        return head(ops.mean(maps, axis=(1, 3, 4)))

    def features(self, images):
        """The map after each stage, finest first. Of a film they are those of all its frames, (B T, ...)."""
        images = as_tensor(images)
        T = images.shape[1] if images.ndim == 5 else 1
        if images.ndim == 5:
            images = images.reshape(len(images) * T, *images.shape[2:])  # (B T, C, H, W)
        x = ops.relu(self.backbone.stem(as_images("NonLocalResNet", images)))
        if self.backbone.pool:
            x = self.backbone.pool(x)
        maps = []
        number = 0
        for stage in self.backbone.stages:
            for block in stage:
                x = self._related(number, block(x), T)
                number += 1
            maps.append(x)
        return maps

    def _related(self, number, x, T):
        """What follows a residual block: a non-local block on its maps (B T, C, H, W), or nothing."""
        relation = self.relations[number]
        if relation is None:
            return x
        x = x + self.codes[number](x) if self.codes else x
        if T == 1 or not self.across_frames:
            return relation(x)
        films = x.reshape(len(x) // T, T, *x.shape[1:]).transpose(0, 2, 1, 3, 4)  # (B, C, T, H, W)
        return relation(films).transpose(0, 2, 1, 3, 4).reshape(*x.shape)


def _in_resnet50(num_classes, rng, **options):
    """A new ResNet-50 with non-local blocks."""
    from minivis.models.resnet import resnet50

    return NonLocalResNet(resnet50(num_classes, rng=rng), **options, rng=rng)


non_local_resnet50 = published(
    "non_local_resnet50",
    NonLocalResNet,
    "ResNet-50 with two non-local blocks in its second and three in its third stage",
    32_915_496,
    example="``pool=2``, ``scale=True``",
    build=_in_resnet50,
)
