"""Swin: attention in small windows that are shifted in every other block, on maps that get coarser stage by stage.

Liu et al., "Swin Transformer: hierarchical vision transformer using shifted windows", ICCV 2021,
equations 1 to 4, table 7. Slides ``A/43-scale-varies`` to ``A/50-swin-architecture``.
Not here: the attention (nn/window_attention.py), published weights (pretrained/swin.py), training (recipes/).
"""

from minivis.autograd import no_grad
from minivis.models.common import as_images, patch_projection, published, small_normal
from minivis.nn import (
    MLP,
    Dropout,
    DropPath,
    LayerNorm,
    Linear,
    Module,
    WindowAttention,
    drop_path_rates,
    init,
    looking,
)
from minivis.pairs import pair
from minivis.vision.windows import pad_to_multiple

__all__ = ["Swin", "swin_b", "swin_s", "swin_t"]


class SwinBlock(Module):
    """One block on a map: z_hat = (S)W-MSA(LN(z)) + z, then MLP(LN(z_hat)) + z_hat (equation 3).

    Parameters
    ----------
    width, heads : int
        D and the number of heads.
    window, shift : (int, int)
        Height and width of the windows, and the shift along each axis, in tokens.
    drop_path : float
        Probability of dropping a whole branch.
    options : dict
        mlp_ratio, qkv_bias, dropout, attention_dropout, activation, eps, shrink: as for `Swin`.
    rng : numpy.random.Generator
        Draws the starting values.
    """

    def __init__(self, width, heads, window, shift, drop_path, options, rng):
        eps, dropout = options["eps"], options["dropout"]
        self.norm1 = LayerNorm(width, eps)
        attention = {key: options[key] for key in ("shrink", "qkv_bias", "attention_dropout")}
        self.attn = WindowAttention(width, heads, window, shift, **attention, rng=rng)
        self.norm2 = LayerNorm(width, eps)
        hidden = int(width * options["mlp_ratio"])
        self.mlp = MLP(width, hidden, activation=options["activation"], dropout=dropout, rng=rng)
        self.dropout = Dropout(dropout, rng=rng)
        self.drop_path = DropPath(drop_path, rng=rng)

    def forward(self, z):
        """Map z (B, H, W, D) -> a map of the same shape."""
        z_hat = z + self.drop_path(self.dropout(self.attn(self.norm1(z))))
        return z_hat + self.drop_path(self.dropout(self.mlp(self.norm2(z_hat))))


class PatchMerging(Module):
    """Halve the height and width of a map and double its channels: a norm and a linear layer on each 2 x 2 neighbours.

    Parameters
    ----------
    width : int
        D of the input map; the output has 2 D.
    eps, rng
        As for `Swin`.

    References
    ----------
    Slide ``A/44-windows-and-merging``.
    """

    def __init__(self, width, eps, rng):
        self.norm = LayerNorm(4 * width, eps)
        self.reduction = Linear(4 * width, 2 * width, bias=False, weight_init=init.xavier_uniform, rng=rng)

    def forward(self, x):
        x = pad_to_multiple(x, 2, 2)
        B, H, W, D = x.shape
        x = x.reshape(B, H // 2, 2, W // 2, 2, D).transpose(0, 1, 3, 4, 2, 5)  # the left column first
        return self.reduction(self.norm(x.reshape(B, H // 2, W // 2, 4 * D)))  # (B, H/2, W/2, 2 D)


class Stage(Module):
    """Blocks on maps of one size. Every stage except the first begins with a `PatchMerging`."""

    def __init__(self, merge, blocks):
        self.merge, self.blocks = merge, blocks

    def forward(self, x):
        """Map x (B, H, W, D) -> the map after the last block."""
        x = x if self.merge is None else self.merge(x)
        for block in self.blocks:
            x = block(x)
        return x


class Swin(Module):
    """Swin Transformer: images to class logits, or to maps of four sizes for detection and segmentation.

    .. math::
        \\hat z_l &= \\mathrm{W\\text{-}MSA}(\\mathrm{LN}(z_{l-1})) + z_{l-1}, &
        z_l &= \\mathrm{MLP}(\\mathrm{LN}(\\hat z_l)) + \\hat z_l \\\\
        \\hat z_{l+1} &= \\mathrm{SW\\text{-}MSA}(\\mathrm{LN}(z_l)) + z_l, &
        z_{l+1} &= \\mathrm{MLP}(\\mathrm{LN}(\\hat z_{l+1})) + \\hat z_{l+1}

    Parameters
    ----------
    patch_size : int or (int, int), default 4
        Height and width of a patch in pixels, and so the stride of the finest map.
    width : int, default 96
        D of the first stage; each later stage doubles it.
    depths : sequence of int, default (2, 2, 6, 2)
        Number of blocks of each stage.
    heads : sequence of int, default (3, 6, 12, 24)
        Attention heads of each stage. They must divide its width.
    window : int or (int, int), default 7
        Height and width of the windows, in tokens.
    mlp_ratio : float, default 4
        Width inside the MLP, as a multiple of the stage's width.
    num_classes : int, default 1000
        K. With 0 there is no head, and the model returns the pooled features.
    channels : int, default 3
        C of the images.
    qkv_bias : bool, default True
        Whether queries, keys and values have a bias.
    dropout, attention_dropout, drop_path : float, default 0
        Probabilities in training. The drop path rate rises linearly from 0 in the first block to this in the last.
    shift : bool, default True
        Shift the windows of every other block by half a window. Without the shift, information never crosses a window's
        border within a stage; False is there for comparison.
    shrink : bool, default True
        On a map that is not larger than the window, use one window of the map's size and no shift. False pads and shifts
        there too, as published backbones do.
    feature_norms : bool, default False
        Make a backbone: each stage's map gets its own norm, and there is no last norm and no head. ``model(images)`` then
        returns ``model.features(images)``.
    activation : str, default "gelu"
        Activation of the MLPs.
    eps : float, default 1e-5
        Epsilon of the norms.
    rng : numpy.random.Generator, int or None
        Draws the starting values: Xavier for projections, normal with standard deviation 0.02 for bias tables and head;
        biases are 0. None is seed 0.

    Attributes
    ----------
    channels : tuple of int
        Channels of the maps that `features` returns: D, 2 D, 4 D, ... (not those of the images).

    Raises
    ------
    ValueError
        If a size is not positive, the heads do not divide the width, or ``depths`` and ``heads`` differ in length.

    Notes
    -----
    With windows of M x M tokens, attention costs 2 M^2 HW D multiply-adds in each block instead of 2 (HW)^2 D: it is
    linear in the number of tokens. Images may have any height and width: they are padded at the bottom and right.

    References
    ----------
    Slides ``A/43-scale-varies``, ``A/45-hierarchy-for-dense-prediction``, ``A/50-swin-architecture``.

    Examples
    --------
    >>> import numpy as np
    >>> model = Swin(patch_size=2, width=8, depths=(2, 2), heads=(2, 4), window=4, num_classes=10)
    >>> images = np.zeros((5, 3, 16, 24), np.float32)
    >>> model(images).shape, [tuple(m.shape) for m in model.features(images)]
    ((5, 10), [(5, 8, 8, 12), (5, 16, 4, 6)])
    """

    def __init__(
        self, patch_size=4, width=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24), window=7, mlp_ratio=4.0,
        num_classes=1000, channels=3, qkv_bias=True, dropout=0.0, attention_dropout=0.0, drop_path=0.0, shift=True,
        shrink=True, feature_norms=False, activation="gelu", eps=1e-5, rng=None,
    ):  # fmt: skip
        init.check_sizes(
            "Swin", patch_size=patch_size, width=width, depths=depths, heads=heads, window=window
        )
        if len(depths) != len(heads):
            raise ValueError(f"Swin: depths {depths} and heads {heads} must have a number for each stage")
        rng = init.generator(rng)
        self.channels = tuple(width * 2**stage for stage in range(len(depths)))
        self.patch_size = pair(patch_size)
        self.proj = patch_projection(channels, width, self.patch_size, rng)
        self.patch_norm = LayerNorm(width, eps)
        self.dropout = Dropout(dropout, rng=rng)
        self.stages = self._stages(rng)
        self.norm = self.head = self.feature_norms = None
        if feature_norms:
            self.feature_norms = [LayerNorm(D, eps) for D in self.channels]
            return
        last = self.channels[-1]
        self.norm = LayerNorm(last, eps)
        self.head = Linear(last, num_classes, weight_init=small_normal, rng=rng) if num_classes else None

    def _stages(self, rng):
        options = self.config
        rates = iter(drop_path_rates(options["drop_path"], sum(options["depths"])))
        window = pair(options["window"])
        stages = []
        half = tuple(side // 2 for side in window)
        for stage, (width, depth, heads) in enumerate(
            zip(self.channels, options["depths"], options["heads"], strict=True)
        ):
            merge = PatchMerging(width // 2, options["eps"], rng) if stage else None
            shifts = [half if i % 2 and options["shift"] else (0, 0) for i in range(depth)]
            blocks = [SwinBlock(width, heads, window, shift, next(rates), options, rng) for shift in shifts]
            stages.append(Stage(merge, blocks))
        return stages

    def forward(self, images):
        """Classify images.

        Inside `looking`, every block shows its windows and its attention weights: ``stages.0.blocks.0.attn.windows``,
        ``stages.0.blocks.0.attn.attention.weights``, ... (see `minivis.nn.WindowAttention`).

        Parameters
        ----------
        images : ndarray or Tensor, shape (B, C, H, W)
            Any size.

        Returns
        -------
        Tensor, shape (B, K)
            Logits; without a head the features, (B, D); with ``feature_norms`` the maps that `features` returns.
        """
        if self.feature_norms is not None:
            return self.features(images)
        return self.classify(self.features(images)[-1])

    def classify(self, last):
        """Logits (B, K) from the last map of `features`: normalise its tokens, take their mean and apply the head."""
        y = self.norm(last.transpose(0, 2, 3, 1)).mean(axis=(1, 2))
        return y if self.head is None else self.head(y)

    def features(self, images):
        """The map of every stage, finest first: a list of (B, C_i, H_i, W_i), with C_i as in ``channels``.

        With patches of 4, H_i is the image's height divided by 4, 8, 16, 32, rounded up. The maps are normalised only if
        the model has ``feature_norms``.
        """
        images = as_images("Swin", images)
        p, q = self.patch_size
        x = self.proj(pad_to_multiple(images, p, q, axis=2)).transpose(0, 2, 3, 1)  # (B, H/P, W/P, D)
        x = self.dropout(self.patch_norm(x))
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        if self.feature_norms is not None:
            maps = [norm(x) for norm, x in zip(self.feature_norms, maps, strict=True)]
        return [x.transpose(0, 3, 1, 2) for x in maps]

    def attention_maps(self, images):
        """The attention weights: for each block an array (B, nW, h, N, N). Nothing is kept for backward."""
        with no_grad(), looking(self) as seen:
            self.features(images)
        return [array for name, array in seen.items() if name.endswith(".attn.attention.weights")]


def _published(name, width, depths, heads, parameters):
    about = f"patches of 4 x 4, windows of 7 x 7, width {width}, {sum(depths)} blocks in stages of {depths}"
    sizes = {"width": width, "depths": depths, "heads": heads}
    example = "``window=12``, ``drop_path=0.2``, ``feature_norms=True``"
    return published(name, Swin, about, parameters, example=example, **sizes)


swin_t = _published("swin_t", 96, (2, 2, 6, 2), (3, 6, 12, 24), 28_288_354)
swin_s = _published("swin_s", 96, (2, 2, 18, 2), (3, 6, 12, 24), 49_606_258)
swin_b = _published("swin_b", 128, (2, 2, 18, 2), (4, 8, 16, 32), 87_768_224)
