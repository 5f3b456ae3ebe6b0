"""Segmenter: a ViT reads patches, and a second transformer compares them with a learned embedding of each class.

Strudel, Garcia, Laptev and Schmid, "Segmenter: transformer for semantic segmentation", ICCV 2021, section 3. Slides
``H/30-segmentation-as-sequence``, ``H/31-segmenter``, ``H/31-segmenter-sizes``, ``H/34-patch-size``.
Not here: the ViT (vit.py), the comparison (vision/class_masks.py), inference by windows (vision/sliding.py), training
(recipes/).
"""

from minivis import ops
from minivis.autograd import no_grad
from minivis.models.common import as_images, published, small_normal
from minivis.nn import LayerNorm, Linear, Module, Parameter, TransformerEncoderLayer, init
from minivis.vision.class_masks import mask_decoder

__all__ = ["Segmenter", "segmenter_base", "segmenter_large", "segmenter_small", "segmenter_tiny"]


class LinearDecoder(Module):
    """Segmenter's baseline: one linear layer scores each patch by itself, (B, N, D) to (B, K, N)."""

    def __init__(self, inputs, num_classes, rng):
        self.head = Linear(inputs, num_classes, weight_init=small_normal, rng=rng)

    def forward(self, patches):
        return self.head(patches).transpose(0, 2, 1)  # (B, K, N)


class MaskTransformer(Module):
    """Segmenter's decoder: class tokens join the patches in a transformer, and are compared with them after it.

    .. math::
        [x;\\; z] &= \\mathrm{LN}\\left(\\mathrm{Blocks}([x_0 W + b;\\; c])\\right) \\\\
        y &= \\mathrm{mask\\_decoder}(x, z)

    Parameters
    ----------
    inputs : int
        Width of the encoder's tokens.
    num_classes : int
        K.
    width, depth, heads : int
        D, the number of blocks, and of attention heads.
    mlp_ratio : float
        Width inside the MLPs, as a multiple of D.
    dropout : float
        Probability of dropping, in training: of attention weights, inside the MLPs and after both branches.
    eps : float
        Epsilon of the norms.
    rng : numpy.random.Generator
        Draws the starting values.
    """

    def __init__(self, inputs, num_classes, width, depth, heads, mlp_ratio, dropout, eps, rng):
        self.embed = Linear(inputs, width, weight_init=small_normal, rng=rng)
        self.class_tokens = Parameter(small_normal((num_classes, width), rng))
        self.blocks = [
            TransformerEncoderLayer(
                width, heads, round(width * mlp_ratio), dropout, "gelu", eps, norm_first=True, rng=rng
            )
            for _ in range(depth)
        ]
        self.norm = LayerNorm(width, eps)
        self.proj_patch = Parameter(init.normal((width, width), width**-0.5, rng))
        self.proj_class = Parameter(init.normal((width, width), width**-0.5, rng))
        self.mask_norm = LayerNorm(num_classes, eps)

    def forward(self, patches):
        x, z = self.embed_both(patches)
        norm = self.mask_norm
        return mask_decoder(x, z, self.proj_patch, self.proj_class, norm.weight, norm.bias, norm.eps)

    def embed_both(self, patches):
        """The patches (B, N, D) and the class embeddings (B, K, D) after the blocks."""
        x = self.embed(patches)
        B, N, D = x.shape
        classes = ops.broadcast_to(self.class_tokens, (B, *self.class_tokens.shape))
        x = ops.concatenate([x, classes], axis=1)  # (B, N + K, D)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return x[:, :N], x[:, N:]


class Segmenter(Module):
    """Segmenter: images to a score of every class at every pixel, without any convolution.

    The encoder maps each patch to a token that has seen the whole image. The decoder scores the tokens, and bilinear
    interpolation brings the scores to pixels. An image that the patches do not fill is padded with zeros below and at the
    right; the padding is cut off at the end.

    Parameters
    ----------
    encoder : ViT
        Without a head (``num_classes=0``) and without a backbone.
    num_classes : int
        K.
    decoder : {"mask", "linear"}, default "mask"
        "mask" is the mask transformer: one learned token for each class joins the patches, and the score of a patch for a
        class is their cosine after the transformer, normalised over the classes. "linear" scores each patch by one linear
        layer.
    decoder_depth : int, default 2
        Blocks of the mask transformer.
    decoder_width, decoder_heads : int, optional
        Its width and heads; default those of the encoder.
    mlp_ratio : float, default 4
        Width inside its MLPs, as a multiple of its width.
    dropout : float, default 0
        In the mask transformer. The authors have 0.1, and a drop path of 0.1 in the encoder.
    eps : float, default 1e-5
        Epsilon of the decoder's norms.
    rng : numpy.random.Generator, int or None
        Draws the decoder's starting values; None is seed 0.

    Raises
    ------
    ValueError
        If a size is not positive, ``decoder`` is unknown, the heads do not divide the width, or the encoder has a backbone
        or a head.

    References
    ----------
    Strudel et al. 2021, section 3; the authors' code for padding. Slides ``H/30-segmentation-as-sequence``,
    ``H/31-segmenter``, ``H/31-segmenter-sizes``, ``H/33-class-embeddings-cluster``, ``H/34-patch-size``.

    Examples
    --------
    >>> import numpy as np
    >>> from minivis.models import ViT
    >>> encoder = ViT(image_size=16, patch_size=4, width=16, depth=1, heads=2, num_classes=0)
    >>> model = Segmenter(encoder, num_classes=5)
    >>> model(np.zeros((2, 3, 16, 13), np.float32)).shape, model.class_tokens.shape
    ((2, 5, 16, 13), (5, 16))
    """

    def __init__(
        self, encoder, num_classes, decoder="mask", decoder_depth=2, decoder_width=None, decoder_heads=None, mlp_ratio=4.0,
        dropout=0.0, eps=1e-5, rng=None,
    ):  # fmt: skip
        if decoder not in ("mask", "linear"):
            raise ValueError(f'Segmenter: decoder must be "mask" or "linear", got {decoder!r}')
        if not hasattr(encoder, "pos_embed") or encoder.backbone is not None or encoder.head is not None:
            raise ValueError("Segmenter: encoder must be a ViT without a backbone and without a head")
        inputs = encoder.pos_embed.shape[-1]
        width = decoder_width or inputs
        heads = decoder_heads or encoder.blocks[0].attn.num_heads
        init.check_sizes(
            "Segmenter", num_classes=num_classes, decoder_depth=decoder_depth, heads=heads, width=width
        )
        rng = init.generator(rng)
        self.encoder = encoder
        self.patch_size = encoder.patch_size
        if decoder == "linear":
            self.decoder = LinearDecoder(inputs, num_classes, rng)
        else:
            self.decoder = MaskTransformer(
                inputs, num_classes, width, decoder_depth, heads, mlp_ratio, dropout, eps, rng
            )

    def forward(self, images):
        """Score every class at every pixel.

        Inside `looking`, it shows ``masks`` (B, K, h, w), the scores of the patches, and the attention weights of encoder
        and decoder: ``encoder.blocks.0.attn.weights``, ``decoder.blocks.0.self_attn.weights``, ... In the decoder the classes
        are the last K tokens.

        Parameters
        ----------
        images : ndarray or Tensor, shape (B, C, H, W)
            Of any size. Published models have pixels of mean 0.5 and standard deviation 0.5.

        Returns
        -------
        Tensor, shape (B, K, H, W)
            Logits.
        """
        images = as_images("Segmenter", images)
        patches, (h, w) = self.patches(images)
        y = self.decoder(patches)  # (B, K, N)
        y = y.reshape(*y.shape[:2], h, w)
        self.show(masks=lambda: y)
        H, W = images.shape[2:]
        p, q = self.patch_size
        y = ops.interpolate(y, (h * p, w * q), mode="bilinear")
        return y[:, :, :H, :W]  # (B, K, H, W)

    def patches(self, images):
        """The encoder's patch tokens (B, N, D) of padded images, and the (rows, columns) of patches."""
        images = as_images("Segmenter", images)
        H, W = images.shape[2:]
        p, q = self.patch_size
        below, right = -H % p, -W % q
        if below or right:
            images = ops.pad(images, ((0, 0), (0, 0), (0, below), (0, right)))
        tokens = self.encoder.features(images)[:, self.encoder.prefix :]
        return tokens, ((H + below) // p, (W + right) // q)

    @property
    def class_tokens(self):
        """The learned embedding of each class, (K, D), as it enters the mask transformer."""
        self._needs_classes("class_tokens")
        return self.decoder.class_tokens

    def class_embeddings(self, images):
        """The embedding of each class after the mask transformer, (B, K, D): it has seen the image. Nothing is kept for
        backward."""
        self._needs_classes("class_embeddings")
        with no_grad():
            return self.decoder.embed_both(self.patches(images)[0])[1]

    def _needs_classes(self, what):
        if isinstance(self.decoder, LinearDecoder):
            raise ValueError(f"Segmenter: {what} needs the mask decoder; this model has a linear one")


def _build(
    num_classes, rng, image_size, patch_size, width, depth, heads, decoder="mask", drop_path=0.1, dropout=0.1,
    distilled=False, **options,
):  # fmt: skip
    """A Segmenter on a new ViT."""
    from minivis.models.vit import ViT

    encoder = ViT(
        image_size, patch_size, width, depth, heads, num_classes=0, drop_path=drop_path, eps=1e-5, distilled=distilled,
        interpolate_mode="bilinear",
        rng=rng,
    )  # fmt: skip
    return Segmenter(encoder, num_classes, decoder, dropout=dropout, rng=rng, **options)


def _published(name, image_size, width, depth, heads, parameters):
    about = f"ViT of {depth} blocks, width {width}, patches of 16 x 16, for windows of {image_size} pixels"
    sizes = {"image_size": image_size, "patch_size": 16, "width": width, "depth": depth, "heads": heads}
    example = '``decoder="linear"``, ``patch_size=8``'
    return published(name, Segmenter, about, parameters, 150, example, build=_build, **sizes)


segmenter_tiny = _published("segmenter_tiny", 512, 192, 12, 3, 6_713_388)
segmenter_small = _published("segmenter_small", 512, 384, 12, 6, 26_033_964)
segmenter_base = _published("segmenter_base", 512, 768, 12, 12, 102_497_580)
segmenter_large = _published("segmenter_large", 640, 1024, 24, 16, 333_234_476)
