"""DINOv2: a ViT whose features serve many tasks as they are. It has layer scale, and may have gated MLPs and registers.

Oquab et al., "DINOv2: learning robust visual features without supervision", TMLR 2024; Darcet et al., "Vision
transformers need registers", ICLR 2024. It follows DINO, slide ``A/98-dino-idea``.
Not here: the ViT that it extends (vit.py), training without labels, published weights (pretrained/dinov2.py).
"""

import numpy as np

from minivis import ops
from minivis.models.common import as_images, published, small_normal
from minivis.models.vit import ViT
from minivis.nn import (
    MLP,
    Dropout,
    DropPath,
    LayerNorm,
    LayerScale,
    Linear,
    Module,
    MultiHeadAttention,
    Parameter,
    SwiGLU,
    init,
)

__all__ = [
    "DINOv2",
    "dinov2_b14",
    "dinov2_b14_registers",
    "dinov2_g14",
    "dinov2_l14",
    "dinov2_l14_registers",
    "dinov2_s14",
    "dinov2_s14_registers",
]


class ScaledBlock(Module):
    """One encoder block with a learned scale after each branch: z' = s1 MSA(LN(z)) + z, z = s2 MLP(LN(z')) + z'.

    Parameters
    ----------
    width, heads : int
        D and the number of heads.
    mlp : Module
        The second branch: an `MLP` or a `SwiGLU`.
    layer_scale, eps : float
        Start of the scales; epsilon of the norms.
    dropout, attention_dropout, drop_path : float
        As for the block of `ViT`.
    rng : numpy.random.Generator
        Draws the starting values.
    """

    def __init__(self, width, heads, mlp, layer_scale, dropout, attention_dropout, drop_path, eps, rng):
        self.norm1 = LayerNorm(width, eps)
        self.attn = MultiHeadAttention(width, heads, attention_dropout, rng=rng)
        self.ls1 = LayerScale(width, layer_scale)
        self.norm2 = LayerNorm(width, eps)
        self.mlp = mlp
        self.ls2 = LayerScale(width, layer_scale)
        self.dropout = Dropout(dropout, rng=rng)
        self.drop_path = DropPath(drop_path, rng=rng)

    def forward(self, z):
        z = z + self.drop_path(self.ls1(self.dropout(self.attn(self.norm1(z)))))
        return z + self.drop_path(self.ls2(self.dropout(self.mlp(self.norm2(z)))))


class DINOv2(ViT):
    """DINOv2: images to features of the whole picture and of every patch, or to class logits.

    .. math::
        z_0 &= [x_{class} + p_0;\\; r_1;\\; \\dots;\\; r_R;\\; x_1 E + p_1;\\; \\dots;\\; x_N E + p_N] \\\\
        z'_l &= \\lambda_l \\odot \\mathrm{MSA}(\\mathrm{LN}(z_{l-1})) + z_{l-1}, \\qquad
        z_l = \\mu_l \\odot \\mathrm{MLP}(\\mathrm{LN}(z'_l)) + z'_l

    Registers are learned tokens without a position. A large ViT stores what it knows of the whole picture in patches of
    the background; with registers it has a place for that, and the attention maps stay clean.

    Parameters
    ----------
    image_size, patch_size, width, depth, heads, mlp_ratio, channels, dropout, attention_dropout, drop_path, activation, \
    eps, rng
        As for `ViT`; the published models have patches of 14 and a table for images of 518 pixels.
    num_classes : int, default 0
        K. With 0 there is no head, and the model returns the class token.
    registers : int, default 0
        R, the number of registers; the published models with registers have 4.
    gated : bool, default False
        True makes each MLP a `SwiGLU` with two thirds of the hidden width, rounded up to a multiple of 8, as in the giant
        model.
    layer_scale : float, default 1e-5
        Start of the scales after both branches.
    mask_token : bool, default True
        Whether there is a learned token that stands for hidden patches. Training needs it; the published files have it.
    interpolate_offset : float, default 0
        As for `ViT`. The authors' models without registers have 0.1, the same weights on the model hub 0.
    antialias : bool, optional
        As for `ViT`. Default: True with registers and False without, as published.

    Attributes
    ----------
    prefix : int
        How many tokens stand before the patches in ``features``: the class token and the registers.

    Raises
    ------
    ValueError
        As for `ViT`; also if a number of registers is not a whole number of at least 0.

    References
    ----------
    Oquab et al. 2024, section 5 and table 16; Darcet et al. 2024, section 2.2. Slide ``A/98-dino-idea``.

    Examples
    --------
    >>> import numpy as np
    >>> model = DINOv2(image_size=8, patch_size=2, width=16, depth=2, heads=4, registers=3)
    >>> images = np.zeros((5, 3, 8, 8), np.float32)
    >>> model(images).shape, model.features(images).shape
    ((5, 16), (5, 20, 16))
    """

    def __init__(
        self, image_size=518, patch_size=14, width=768, depth=12, heads=12, mlp_ratio=4.0, num_classes=0, channels=3,
        registers=0, gated=False, layer_scale=1e-5, mask_token=True, dropout=0.0, attention_dropout=0.0, drop_path=0.0,
        activation="gelu", eps=1e-6, interpolate_offset=0.0, antialias=None, rng=None,
    ):  # fmt: skip
        if not hasattr(registers, "__index__") or not 0 <= registers <= init.LARGEST_SIZE:
            raise ValueError(f"DINOv2: registers must be a whole number of at least 0, got {registers!r}")
        rng = init.generator(rng)
        # what make_block needs
        self.gated = gated
        self.layer_scale = layer_scale
        super().__init__(
            image_size, patch_size, width, depth, heads, mlp_ratio, 0, channels, dropout, attention_dropout, drop_path,
            activation=activation, eps=eps, interpolate_offset=interpolate_offset,
            antialias=bool(registers) if antialias is None else antialias, rng=rng,
        )  # fmt: skip
        self.register_tokens = Parameter(small_normal((1, registers, width), rng)) if registers else None
        self.mask_token = Parameter(init.zeros((1, width))) if mask_token else None
        self.prefix = 1 + registers
        if num_classes:
            self.head = Linear(2 * width, num_classes, weight_init=small_normal, rng=rng)

    def make_block(
        self, width, heads, mlp_ratio, dropout, attention_dropout, drop_path, activation, eps, rng
    ):
        """One block, from the arguments of the ViT's block."""
        hidden = int(width * mlp_ratio)
        if self.gated:
            # three matrices instead of two
            mlp = SwiGLU(width, (int(hidden * 2 / 3) + 7) // 8 * 8, dropout=dropout, rng=rng)
        else:
            mlp = MLP(width, hidden, activation=activation, dropout=dropout, rng=rng)
        return ScaledBlock(
            width, heads, mlp, self.layer_scale, dropout, attention_dropout, drop_path, eps, rng
        )

    def forward(self, images):
        """Describe or classify images.

        Inside `looking`, it shows what `ViT` shows.

        Parameters
        ----------
        images : ndarray or Tensor, shape (B, C, H, W)
            H and W divisible by the patch side.

        Returns
        -------
        Tensor, shape (B, K)
            Logits of the class token and the mean of the patches together; without a head the class token, (B, D).
        """
        z = self.features(images)
        y = z[:, 0]
        if self.head is not None:
            y = self.head(ops.concatenate([y, z[:, self.prefix :].mean(axis=1)], axis=1))
        return y

    def features(self, images, hidden=None):
        """The normalised tokens after the last block: class token, registers, patches.

        Parameters
        ----------
        images : ndarray or Tensor, shape (B, C, H, W)
        hidden : bool ndarray, shape (B, N), optional
            True = the patch is hidden: the mask token stands in its place.

        Returns
        -------
        Tensor, shape (B, 1 + R + N, D)

        Raises
        ------
        ValueError
            If the patches do not fill the images, or ``hidden`` has another shape or the model no mask token.
        """
        images = as_images("DINOv2", images)
        grid = self.grid_of(*images.shape[2:])
        self.show(grid=lambda: np.array(grid))
        patches = self.patch_embed(images)  # (B, N, D)
        if hidden is not None:
            self._check_hidden(hidden, patches)
            patches = ops.where(hidden[..., None], self.mask_token, patches)
        z = self.with_positions(patches, grid)  # (B, 1 + N, D)
        if self.register_tokens is not None:
            registers = ops.broadcast_to(self.register_tokens, (z.shape[0], *self.register_tokens.shape[1:]))
            z = ops.concatenate([z[:, :1], registers, z[:, 1:]], axis=1)  # (B, 1 + R + N, D)
        for block in self.blocks:
            z = block(z)
        return self.norm(z)

    def _check_hidden(self, hidden, patches):
        if self.mask_token is None:
            raise ValueError("DINOv2: hidden needs mask_token=True")
        if hidden.shape != patches.shape[:2] or hidden.dtype != bool:
            raise ValueError(
                f"DINOv2: hidden must be boolean and (B, N) = {tuple(patches.shape[:2])} "
                f"(hidden: {hidden.dtype.name} {tuple(hidden.shape)})"
            )


def _published(name, width, depth, heads, parameters, registers=0, **fixed):
    about = f"patches of 14 x 14, width {width}, {depth} blocks, {heads} heads" + ", gated MLPs" * bool(fixed)
    sizes = {"width": width, "depth": depth, "heads": heads, "registers": registers, **fixed}
    about += f", {registers} registers" * bool(registers)
    return published(name, DINOv2, about, parameters, classes=0, example="``image_size=224``", **sizes)


dinov2_s14 = _published("dinov2_s14", 384, 12, 6, 22_056_576)
dinov2_b14 = _published("dinov2_b14", 768, 12, 12, 86_580_480)
dinov2_l14 = _published("dinov2_l14", 1024, 24, 16, 304_368_640)
dinov2_g14 = _published("dinov2_g14", 1536, 40, 24, 1_136_480_768, gated=True)
dinov2_s14_registers = _published("dinov2_s14_registers", 384, 12, 6, 22_058_112, 4)
dinov2_b14_registers = _published("dinov2_b14_registers", 768, 12, 12, 86_583_552, 4)
dinov2_l14_registers = _published("dinov2_l14_registers", 1024, 24, 16, 304_372_736, 4)
