"""MAE, the masked autoencoder: a ViT sees a quarter of an image's patches, a small decoder paints the others.

He et al., "Masked autoencoders are scalable vision learners", CVPR 2022, section 3. Slides ``C/125-masked-modelling``,
``A/87-sam-image-encoder``.
Not here: the ViT (vit.py), hiding and restoring tokens (vision/masking.py), the loss (losses/masked_modelling.py), training
(recipes/).
"""

from typing import NamedTuple

import numpy as np

from minivis import ops
from minivis.autograd import Tensor, no_grad
from minivis.backend import namespace
from minivis.losses.masked_modelling import EPS, mae_loss
from minivis.models.common import as_images, published
from minivis.nn import LayerNorm, Linear, Module, Parameter, TransformerEncoderLayer, init
from minivis.vision.masking import random_masking, restore_tokens
from minivis.vision.patches import patchify, unpatchify
from minivis.vision.position_codes import sine_position_code

__all__ = ["MAE", "MAEOutput", "mae_b16", "mae_h14", "mae_l16", "mae_position_table"]


class MAEOutput(NamedTuple):
    """What a masked autoencoder makes of a batch of images.

    Attributes
    ----------
    prediction : Tensor, shape (B, N, P P C)
        The pixels of every patch, in the order of `minivis.vision.patchify`; with ``norm_pix`` its normalised pixels.
    mask : bool ndarray, shape (B, N)
        True = hidden.
    loss : Tensor, shape ()
        `minivis.losses.mae_loss` of both.
    """

    prediction: Tensor
    mask: np.ndarray
    loss: Tensor


def mae_position_table(height, width, dim, *, temperature=10000.0, dtype="float32"):
    """MAE's fixed position codes: those of `sine_position_code` in another order, and zeros for the class token.

    Parameters
    ----------
    height, width : int
        Rows and columns of patches.
    dim : int
        D, divisible by 4.
    temperature : float, default 10000
        The wavelengths range from 2 pi to nearly 2 pi times this, in patches. Over a grid of few patches the longer ones
        hardly change.
    dtype : dtype, default "float32"
        Dtype of the result.

    Returns
    -------
    ndarray, shape (1, 1 + height width, dim)
        The first row belongs to the class token. The first half of a code tells the column, the second the row; each half
        has first all its sines, then all its cosines.

    Raises
    ------
    ValueError
        If ``dim`` is not divisible by 4 or a size is negative.

    References
    ----------
    He et al. 2022, appendix A.1, "ViT architecture".

    Examples
    --------
    >>> mae_position_table(2, 3, 4)[0, [0, 6]].round(2)  # the class token; row 1 and column 2
    array([[ 0.  ,  0.  ,  0.  ,  0.  ],
           [ 0.91, -0.42,  0.84,  0.54]], dtype=float32)
    """
    code = sine_position_code(height, width, dim, temperature=temperature, dtype=dtype)
    code = code.reshape(height * width, 2, dim // 4, 2)  # row or column, wavelength, sine or cosine
    code = code[:, ::-1].swapaxes(2, 3).reshape(1, height * width, dim)
    return np.concatenate([np.zeros((1, 1, dim), code.dtype), code], axis=1)


class MAE(Module):
    """Masked autoencoder: hide most patches of an image, encode the rest, and predict the pixels of the hidden ones.

    The encoder is a ViT that never sees a hidden patch, so at a ratio of 0.75 it works on a quarter of the tokens. The
    decoder gets its tokens back in their places, with a learned mask token in all others, and is thrown away after
    training.

    Parameters
    ----------
    encoder : ViT
        With a class token, and no backbone. Its position table is replaced by fixed sine codes, which are not trained.
        After training ``model.encoder`` is a ViT like any other: ``model.encoder.features(images)``.
    decoder_width, decoder_depth, decoder_heads : int, default 512, 8, 16
        Sizes of the decoder.
    decoder_mlp_ratio : float, default 4
        Width inside the decoder's MLPs, as a multiple of its width.
    ratio : float, default 0.75
        Share of the patches that are hidden.
    norm_pix : bool, default False
        Predict normalised pixels, see `minivis.losses.mae_loss`.
    activation : str, default "gelu"
        Activation of the decoder's MLPs.
    eps : float, default 1e-6
        Epsilon of the decoder's norms.
    temperature : float, default 10000
        Of the sine codes, see `mae_position_table`.
    rng : numpy.random.Generator, int or None
        Draws the starting values, and later which patches are hidden; None is seed 0.

    Raises
    ------
    ValueError
        If a size is not positive, the ratio is not at least 0 and less than 1, or the encoder has no class token.

    References
    ----------
    He et al. 2022, section 3 and appendix A.1. Slides ``C/125-masked-modelling``, ``A/87-sam-image-encoder``.

    Examples
    --------
    >>> from minivis.models import ViT
    >>> encoder = ViT(image_size=16, patch_size=4, width=16, depth=1, heads=2, num_classes=0)
    >>> model = MAE(encoder, decoder_width=8, decoder_depth=1, decoder_heads=2)
    >>> output = model(np.zeros((2, 3, 16, 16), np.float32))
    >>> output.prediction.shape, output.mask.sum(axis=1)
    ((2, 16, 48), array([12, 12]))
    """

    head = None  # it has no classes

    def __init__(
        self, encoder, decoder_width=512, decoder_depth=8, decoder_heads=16, decoder_mlp_ratio=4.0, ratio=0.75,
        norm_pix=False, activation="gelu", eps=1e-6, temperature=10000.0, rng=None,
    ):  # fmt: skip
        init.check_sizes(
            "MAE", decoder_width=decoder_width, decoder_depth=decoder_depth, decoder_heads=decoder_heads
        )
        if not 0 <= ratio < 1:
            raise ValueError(f"MAE: ratio must be at least 0 and less than 1, got {ratio}")
        if encoder.prefix != 1 or encoder.backbone is not None:
            raise ValueError("MAE: encoder must be a ViT with one class token and without a backbone")
        rng = init.generator(rng)
        self.ratio = ratio
        self.norm_pix = norm_pix
        self.patch_size = encoder.patch_size
        self.grid = encoder.grid
        self.encoder = encoder
        (width, channels, p, q) = encoder.patch_embed.proj.weight.shape
        encoder.pos_embed = _fixed_codes(self.grid, width, temperature)
        self.decoder_embed = Linear(width, decoder_width, weight_init=init.xavier_uniform, rng=rng)
        self.mask_token = Parameter(init.normal((1, 1, decoder_width), 0.02, rng))
        self.decoder_pos_embed = _fixed_codes(self.grid, decoder_width, temperature)
        options = {"activation": activation, "layer_norm_eps": eps, "norm_first": True}
        hidden = round(decoder_width * decoder_mlp_ratio)
        self.decoder_blocks = [
            TransformerEncoderLayer(decoder_width, decoder_heads, hidden, **options, rng=rng)
            for _ in range(decoder_depth)
        ]
        self.decoder_norm = LayerNorm(decoder_width, eps)
        self.decoder_pred = Linear(decoder_width, p * q * channels, weight_init=init.xavier_uniform, rng=rng)
        self.rng = rng

    def forward(self, images, noise=None, rng=None, ratio=None):
        """Hide patches, predict them, and compare.

        Inside `looking`, it shows the ``mask`` (B, N), True = hidden.

        Parameters
        ----------
        images : ndarray or Tensor, shape (B, C, H, W)
            Images of the encoder's size. Published models have pixels of mean 0 and standard deviation 1.
        noise : ndarray, shape (B, N), optional
            A random number for each patch: those with the largest are hidden. Default: drawn.
        rng : numpy.random.Generator, optional
            Draws the noise; default the model's own.
        ratio : float, optional
            Another share of patches to hide than the model's.

        Returns
        -------
        MAEOutput
        """
        images = as_images("MAE", images)
        latent, mask, ids_restore = self.encode(images, noise, rng, ratio)
        prediction = self.decode(latent, ids_restore)
        self.show(mask=lambda: mask)
        loss = mae_loss(images, prediction, mask, self.patch_size, self.norm_pix)
        return MAEOutput(prediction, mask, loss)

    def encode(self, images, noise=None, rng=None, ratio=None):
        """The encoder on the visible patches alone.

        Parameters
        ----------
        images, noise, rng, ratio
            As for `forward`.

        Returns
        -------
        latent : Tensor, shape (B, 1 + K, D)
            The normalised class token, then the K kept tokens in the order of their noise.
        mask, ids_restore : ndarray, shape (B, N)
            As `minivis.vision.random_masking` returns them.
        """
        images = as_images("MAE", images)
        encoder = self.encoder
        z = encoder.patch_embed(images)  # (B, N, D)
        B, N, D = z.shape
        if images.shape[2:] != tuple(n * p for n, p in zip(self.grid, self.patch_size, strict=True)):
            raise ValueError(
                f"MAE: the position codes are made for {self.grid[0]} x {self.grid[1]} patches of "
                f"{self.patch_size} pixels (images: {tuple(images.shape)})"
            )
        if noise is None:
            noise = namespace(z.data).asarray((rng or self.rng).random((B, N)))
        z = z + encoder.pos_embed[:, 1:]  # before hiding: afterwards nothing tells where a token stood
        kept, mask, ids_restore = random_masking(z, self.ratio if ratio is None else ratio, noise)
        first = ops.broadcast_to(encoder.cls_token + encoder.pos_embed[:, :1], (B, 1, D))
        z = ops.concatenate([first, kept], axis=1)  # (B, 1 + K, D)
        for block in encoder.blocks:
            z = block(z)
        return encoder.norm(z), mask, ids_restore

    def decode(self, latent, ids_restore):
        """The decoder: encoded tokens (B, 1 + K, D) and the rank of each place (B, N) to pixels (B, N, P P C)."""
        z = self.decoder_embed(latent)  # (B, 1 + K, decoder width)
        patches = restore_tokens(z[:, 1:], self.mask_token, ids_restore)  # (B, N, decoder width)
        z = ops.concatenate([z[:, :1], patches], axis=1) + self.decoder_pos_embed
        for block in self.decoder_blocks:
            z = block(z)
        return self.decoder_pred(self.decoder_norm(z))[:, 1:]

    def reconstruct(self, images, noise=None, rng=None, ratio=None):
        """The images with their hidden patches painted by the model. Nothing is kept for backward.

        Parameters
        ----------
        images, noise, rng, ratio
            As for `forward`.

        Returns
        -------
        pictures : ndarray, shape (B, C, H, W)
            Visible patches are those of ``images``. With ``norm_pix`` the prediction is multiplied by the true patch's
            standard deviation and its mean is added, which no model could know: then only the pattern is predicted.
        mask : bool ndarray, shape (B, N)
            True = hidden.
        """
        with no_grad():
            images = as_images("MAE", images)
            prediction, mask, _ = self(images, noise, rng, ratio)
        there = patchify(images.data, self.patch_size)  # (B, N, P P C)
        painted = prediction.data
        if self.norm_pix:
            spread = (there.var(axis=-1, ddof=1, keepdims=True) + EPS) ** 0.5
            painted = painted * spread + there.mean(axis=-1, keepdims=True)
        patches = namespace(mask).where(mask[..., None], painted, there)
        return unpatchify(patches, self.patch_size, *images.shape[2:]), mask


def _fixed_codes(grid, width, temperature):
    """The position table as a parameter that is saved and counted, and not trained."""
    table = init.zeros((1, 1 + grid[0] * grid[1], width))  # raises for the sizes of a broken file
    table[...] = mae_position_table(*grid, width, temperature=temperature)
    return Parameter(table, requires_grad=False)


def _published(name, patch, width, depth, heads, parameters):
    def build(num_classes, rng, **options):
        from minivis.models.vit import ViT

        sizes = {"patch_size": patch, "width": width, "depth": depth, "heads": heads}
        own = {key: options.pop(key) for key in ("image_size", "channels", "drop_path") if key in options}
        encoder = ViT(num_classes=num_classes, rng=rng, **sizes, **own)
        proj = encoder.patch_embed.proj
        # as a linear layer on flattened patches
        flat = init.xavier_uniform((width, proj.weight[0].size), rng)
        proj.weight = Parameter(flat.reshape(proj.weight.shape))
        return MAE(encoder, rng=rng, **options)

    about = f"a ViT with patches of {patch} x {patch}, width {width}, {depth} blocks and {heads} heads, and its decoder"
    return published(name, MAE, about, parameters, 0, "``norm_pix=True``, ``image_size=384``", build)


mae_b16 = _published("mae_b16", 16, 768, 12, 12, 111_907_840)
mae_l16 = _published("mae_l16", 16, 1024, 24, 16, 329_541_888)
mae_h14 = _published("mae_h14", 14, 1280, 32, 16, 657_074_508)
