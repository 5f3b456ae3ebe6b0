"""ViT: cut an image into patches, make each patch a token, and process the tokens with a transformer encoder.

Dosovitskiy et al., "An image is worth 16x16 words: transformers for image recognition at scale", ICLR 2021, equations 1
to 4. Slides ``A/29-vit-idea`` to ``A/41-hybrid-vit``, ``C/115-image-patches`` to ``C/123-resnet-vit-hybrid``,
``H/4-transformer-on-patches`` to ``H/8-vit-equations``, ``Z/37-vit-idea``, ``Z/38-vit-architecture``.
With `distilled` it is DeiT: Touvron et al., "Training data-efficient image transformers & distillation through
attention", ICML 2021, section 4. With a backbone it is the paper's hybrid: the patches are cut from the map of a
convolutional network.
Not here: training (recipes/), published weights (pretrained/), the teacher and its loss, the backbones (bit.py, resnet.py).
"""

import numpy as np

from minivis import ops
from minivis.autograd import no_grad
from minivis.models.common import (
    as_images,
    map_to_tokens,
    patch_projection,
    published,
    small_normal,
)
from minivis.nn import (
    MLP,
    Dropout,
    DropPath,
    LayerNorm,
    Linear,
    Module,
    MultiHeadAttention,
    Parameter,
    drop_path_rates,
    init,
    looking,
)
from minivis.pairs import pair
from minivis.vision.position_codes import resize_position_table

__all__ = [
    "ViT",
    "deit_b16",
    "deit_s16",
    "deit_ti16",
    "vit_b16",
    "vit_b32",
    "vit_h14",
    "vit_hybrid_b16",
    "vit_l16",
    "vit_l32",
    "vit_s16",
    "vit_ti16",
]


class PatchEmbed(Module):
    """Cut an image into patches and map each to a token; the arguments are those of `patch_projection`."""

    def __init__(self, channels, width, patch_size, rng):
        self.proj = patch_projection(channels, width, patch_size, rng)

    def forward(self, images):
        return map_to_tokens(self.proj(images))  # (B, N, D)


class Block(Module):
    """One encoder block: z' = MSA(LN(z)) + z (equation 2), z = MLP(LN(z')) + z' (equation 3).

    Parameters
    ----------
    width, heads : int
        D and the number of heads.
    mlp_ratio : float
        Width inside the MLP, as a multiple of D.
    dropout, attention_dropout, drop_path : float
        Probabilities of dropping: an element (after each branch and in the MLP); an attention weight; a whole branch.
    activation : str
        Activation of the MLP.
    eps : float
        Epsilon of the norms.
    rng : numpy.random.Generator
        Draws the starting values.
    """

    def __init__(self, width, heads, mlp_ratio, dropout, attention_dropout, drop_path, activation, eps, rng):
        self.norm1 = LayerNorm(width, eps)
        self.attn = MultiHeadAttention(width, heads, attention_dropout, rng=rng)
        self.norm2 = LayerNorm(width, eps)
        self.mlp = MLP(width, round(width * mlp_ratio), activation=activation, dropout=dropout, rng=rng)
        self.dropout = Dropout(dropout, rng=rng)
        self.drop_path = DropPath(drop_path, rng=rng)

    def forward(self, z):
        z = z + self.drop_path(self.dropout(self.attn(self.norm1(z))))
        return z + self.drop_path(self.dropout(self.mlp(self.norm2(z))))


class ViT(Module):
    """Vision Transformer: images to class logits, or to tokens.

    .. math::
        z_0 &= [x_{class};\\; x_1 E;\\; \\dots;\\; x_N E] + E_{pos} \\\\
        z'_l &= \\mathrm{MSA}(\\mathrm{LN}(z_{l-1})) + z_{l-1}, \\qquad z_l = \\mathrm{MLP}(\\mathrm{LN}(z'_l)) + z'_l \\\\
        y &= \\mathrm{LN}(z_L^0)

    Parameters
    ----------
    image_size : int or (int, int), default 224
        Height and width for which the position table is made. For other sizes the table is resized.
    patch_size : int or (int, int), default 16
        P.
    width : int, default 768
        D, the length of a token.
    depth : int, default 12
        Number of blocks.
    heads : int, default 12
        Number of attention heads. It must divide D.
    mlp_ratio : float, default 4
        Width inside the MLP, as a multiple of D.
    num_classes : int, default 1000
        K. With 0 there is no head, and the model returns the pooled features.
    channels : int, default 3
        C of the images.
    dropout, attention_dropout, drop_path : float, default 0
        Probabilities in training. The drop path rate rises linearly from 0 in the first block to this in the last.
    pool : {"token", "mean"}, default "token"
        Input of the head: the class token, or the mean of the patch tokens (then there is no class token).
    activation : str, default "gelu"
        Activation of the MLPs.
    eps : float, default 1e-6
        Epsilon of the norms.
    distilled : bool or "token", default False
        True adds DeiT's distillation token, a second learned token with its own head, which learns from a teacher's
        labels. "token" adds the token without its head, for DeiTs that were fine-tuned without a teacher.
    backbone : Module, optional
        Makes the hybrid: patches are cut from the backbone's last map instead of the image. The backbone must have
        ``features(images)``, ``channels`` and ``stride``, as `ResNet` and `BiT` have. ``patch_size`` is then in cells of that map
        (with 1, every cell is a token); ``image_size`` is still in pixels.
    interpolate_offset, antialias, interpolate_mode : float, bool and str, defaults 0, False and "bicubic"
        How the position table is resized for images of another size: see `resize_position_table`. DINO was published with
        an offset of 0.1, timm resizes with antialias, and SETR and Segmenter resize with ``interpolate_mode="bilinear"``.
    final_norm : bool, default True
        Whether the tokens after the last block are normalised, as equation 4 has it. SETR's encoder leaves that to the head.
    rng : numpy.random.Generator, int or None
        Draws the starting values: Xavier for projections; normal with standard deviation 0.02 for learned tokens,
        position table and heads; biases are 0. None is seed 0.

    Raises
    ------
    ValueError
        If the patches do not fill the image, the heads do not divide the width, ``pool`` is unknown, or ``distilled`` is
        given without a class token.

    Notes
    -----
    Attention costs depth * 2 N^2 D multiply-adds; all other costs are linear in the number N of patches.

    References
    ----------
    Slides ``A/31-learned-positions``, ``A/32-class-token``, ``A/33-classification-head``, ``A/41-hybrid-vit``,
    ``C/121-class-token``, ``C/123-resnet-vit-hybrid``, ``H/4-data-against-bias``, ``H/5-vision-transformer``,
    ``H/7-vit-step-by-step``, ``H/8-vit-equations``, ``H/8-weak-inductive-bias``, ``Z/38-vit-architecture``.

    Examples
    --------
    >>> import numpy as np
    >>> model = ViT(image_size=8, patch_size=2, width=16, depth=2, heads=4, num_classes=10, channels=1)
    >>> model(np.zeros((5, 1, 8, 8), np.float32)).shape
    (5, 10)
    """

    def __init__(
        self, image_size=224, patch_size=16, width=768, depth=12, heads=12, mlp_ratio=4.0, num_classes=1000, channels=3,
        dropout=0.0, attention_dropout=0.0, drop_path=0.0, pool="token", activation="gelu", eps=1e-6, distilled=False,
        backbone=None, interpolate_offset=0.0, antialias=False, interpolate_mode="bicubic", final_norm=True, rng=None,
    ):  # fmt: skip
        _check_reading(pool, distilled)
        init.check_sizes(
            "ViT", image_size=image_size, patch_size=patch_size, depth=depth, heads=heads, width=width
        )
        rng = init.generator(rng)
        self.patch_size = pair(patch_size)
        self.backbone = backbone
        self.grid = self.grid_of(*pair(image_size))
        self.pool = pool
        self.prefix = (pool == "token") + bool(distilled)  # learned tokens before the patches
        self.cls_token = Parameter(small_normal((1, 1, width), rng)) if self.prefix else None
        self.dist_token = Parameter(small_normal((1, 1, width), rng)) if distilled else None
        tokens = self.prefix + self.grid[0] * self.grid[1]
        self.pos_embed = Parameter(small_normal((1, tokens, width), rng))
        self.interpolate_offset, self.antialias = interpolate_offset, antialias
        self.interpolate_mode = interpolate_mode
        channels = channels if backbone is None else backbone.channels[-1]
        self.patch_embed = PatchEmbed(channels, width, self.patch_size, rng)
        self.dropout = Dropout(dropout, rng=rng)
        self.blocks = [
            self.make_block(width, heads, mlp_ratio, dropout, attention_dropout, rate, activation, eps, rng)
            for rate in drop_path_rates(drop_path, depth)
        ]
        self.norm = LayerNorm(width, eps) if final_norm else None
        self.head = self.head_dist = None
        if num_classes:
            self.head = Linear(width, num_classes, weight_init=small_normal, rng=rng)
        if num_classes and distilled not in (False, "token"):
            self.head_dist = Linear(width, num_classes, weight_init=small_normal, rng=rng)

    def forward(self, images):
        """Classify images.

        Inside `looking`, it shows the ``grid`` (rows and columns of patches) and the attention weights of every block,
        ``blocks.0.attn.weights``, ...

        Parameters
        ----------
        images : ndarray or Tensor, shape (B, C, H, W)
            H and W divisible by the patch side.

        Returns
        -------
        Tensor, shape (B, K)
            Logits; without a head the features, (B, D). A distilled model returns the mean of its two heads. In training it
            returns a pair, the logits of the class head and of the distillation head, because each has its own loss.
        """
        z = self.features(images)
        y = z[:, 0] if self.prefix else z.mean(axis=1)  # equation 4
        if self.head_dist is not None:
            y = self.head(y), self.head_dist(z[:, 1])
            y = y if self.training else (y[0] + y[1]) * 0.5
        elif self.head is not None:
            y = self.head(y)
        return y

    def attention_maps(self, images):
        """The attention weights: a list with one array (B, h, N, N) for each block. Nothing is kept for backward.

        If there is a class token, it is token 0; if there is a distillation token, it is token 1.
        """
        with no_grad(), looking(self) as seen:
            self.features(images)
        return [seen[f"blocks.{i}.attn.weights"] for i in range(len(self.blocks))]

    def features(self, images):
        """The normalised tokens after the last block, (B, N, D): class and distillation token (if any), then patches."""
        (z,) = self.tokens_after(images, [len(self.blocks)])
        return z if self.norm is None else self.norm(z)

    def tokens_after(self, images, blocks, without_prefix=False):
        """The tokens after chosen blocks, not normalised: for models that read a ViT at several depths.

        Parameters
        ----------
        images : ndarray or Tensor, shape (B, C, H, W)
            H and W divisible by the patch side.
        blocks : sequence of int
            Numbers of blocks, counted from 1 and rising; 0 means the tokens before the first block.
        without_prefix : bool, default False
            Remove the class token and its like before the first block, after they got their position codes: no patch
            attends to them.

        Returns
        -------
        list of Tensor, each of shape (B, N, D)
            One for each chosen block. The first ``prefix`` tokens (none with ``without_prefix``) belong to no patch; then the
            patches in reading order.

        Raises
        ------
        ValueError
            If ``blocks`` does not rise from at least 0 to at most the depth.
        """
        images = as_images("ViT", images)
        if list(blocks) != sorted(set(blocks) & set(range(len(self.blocks) + 1))) or not len(blocks):
            raise ValueError(
                f"ViT: blocks must be rising numbers from 0 to {len(self.blocks)}, got {list(blocks)}"
            )
        grid = self.grid_of(*images.shape[2:])
        self.show(grid=lambda: np.array(grid))
        maps = images if self.backbone is None else self.backbone.features(images)[-1]
        z = self.with_positions(self.patch_embed(maps), grid)
        z = z[:, self.prefix :] if without_prefix else z
        found = [z] if 0 in blocks else []
        for number, block in enumerate(self.blocks[: blocks[-1]], start=1):
            z = block(z)
            if number in blocks:
                found.append(z)
        return found

    def make_block(self, *sizes):
        """One encoder block, from the arguments of `Block`; a model with other blocks overrides it."""
        return Block(*sizes)

    def with_positions(self, patches, grid):
        """Equation 1: learned tokens before the patches (B, N, D), and the position codes added to all of them."""
        learned = [token for token in (self.cls_token, self.dist_token) if token is not None]
        z = patches
        if learned:
            tokens = [ops.broadcast_to(token, (z.shape[0], 1, z.shape[2])) for token in learned]
            z = ops.concatenate([*tokens, z], axis=1)
        table = resize_position_table(
            self.pos_embed,
            self.grid,
            grid,
            len(learned),
            offset=self.interpolate_offset,
            antialias=self.antialias,
            mode=self.interpolate_mode,
        )
        return self.dropout(z + table)

    def grid_of(self, height, width):
        """The number of rows and columns of patches in an image of so many pixels."""
        p, q = self.patch_size
        what = f"an image of {height} x {width} pixels"
        if self.backbone is not None:
            height, width = -(-height // self.backbone.stride), -(-width // self.backbone.stride)
            what = f"the backbone's map of {height} x {width} cells for {what}"
        if height % p or width % q:
            raise ValueError(f"ViT: patches of {p} x {q} do not fill {what}")
        return height // p, width // q


def _check_reading(pool, distilled):
    """Refuse values of `pool` and `distilled` that are unknown or do not go together."""
    if pool not in ("token", "mean"):
        raise ValueError(f'ViT: pool must be "token" or "mean", got {pool!r}')
    if distilled not in (True, False, "token"):
        raise ValueError(f'ViT: distilled must be True, False or "token", got {distilled!r}')
    if distilled and pool != "token":
        raise ValueError(
            f'ViT: distilled needs pool="token", because it needs a class token; got pool={pool!r}'
        )


def _published(name, patch, width, depth, heads, parameters, **fixed):
    about = (
        f"patches of {patch} x {patch}, width {width}, {depth} blocks, {heads} heads"
        + ", distilled" * bool(fixed)
    )
    sizes = {"patch_size": patch, "width": width, "depth": depth, "heads": heads, **fixed}
    return published(name, ViT, about, parameters, example="``image_size=384``, ``drop_path=0.1``", **sizes)


def _on_bit(num_classes, rng, **options):
    """A ViT whose patches are the cells of a BiT's last map."""
    from minivis.models.bit import BiT

    return ViT(num_classes=num_classes, rng=rng, **{"backbone": BiT(rng=rng), **options})


vit_ti16 = _published("vit_ti16", 16, 192, 12, 3, 5_717_416)
vit_s16 = _published("vit_s16", 16, 384, 12, 6, 22_050_664)
vit_b16 = _published("vit_b16", 16, 768, 12, 12, 86_567_656)
vit_b32 = _published("vit_b32", 32, 768, 12, 12, 88_224_232)
vit_l16 = _published("vit_l16", 16, 1024, 24, 16, 304_326_632)
vit_l32 = _published("vit_l32", 32, 1024, 24, 16, 306_535_400)
vit_h14 = _published("vit_h14", 14, 1280, 32, 16, 632_045_800)
deit_ti16 = _published("deit_ti16", 16, 192, 12, 3, 5_910_800, distilled=True)
deit_s16 = _published("deit_s16", 16, 384, 12, 6, 22_436_432, distilled=True)
deit_b16 = _published("deit_b16", 16, 768, 12, 12, 87_338_192, distilled=True)
vit_hybrid_b16 = published(
    "vit_hybrid_b16", ViT, "a BiT with 3, 4 and 9 blocks, whose cells are the patches of a ViT-B, for images of 384 pixels",
    98_950_952, example="``image_size=224``", build=_on_bit, image_size=384, patch_size=1,
)  # fmt: skip
