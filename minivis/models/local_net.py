"""A small network that names the class of every pixel, with one of four layers in its blocks: made to compare them.

Not here: the layers (nn/conv.py, sasa.py, lr_net.py), the training and the comparison (recipes/).
"""

from minivis import ops
from minivis.models.common import NORMS, as_images
from minivis.models.local_resnet import Bottleneck
from minivis.nn import Conv2d, Module, init

__all__ = ["LocalNet"]

LAYERS = ("convolution", "attention", "relation", "pointwise")


class LocalNet(Module):
    """Images to the class of each pixel: patches, residual blocks on a map, and classes for the pixels of each patch.

    Parameters
    ----------
    layer : {"convolution", "attention", "relation", "pointwise"}, default "attention"
        The layer inside each block: a convolution of the window's size, `LocalAttention`, `LocalRelation`, or a 1 x 1
        convolution, which sees no neighbours.
    num_classes : int, default 10
        K.
    width : int, default 64
        Channels of the map.
    inner : int, default 36
        Channels inside a block.
    depth : int, default 4
        Number of blocks.
    window : int, default 5
        Height and width of the windows, in patches. "pointwise" does not use it.
    heads : int, default 3
        Heads of "attention".
    group_size : int, default 8
        Channels of "relation" that share weights.
    patch_size : int, default 4
        Height and width of a patch, in pixels.
    channels : int, default 3
        C of the images.
    rng : numpy.random.Generator, int or None
        Draws the starting values. None is seed 0.

    Raises
    ------
    ValueError
        If ``layer`` is unknown, a size is not positive, or the window of a convolution is even; when called, if a side is no multiple of the patch size.

    References
    ----------
    The blocks of SASA and LR-Net. Slides ``A/15-stand-alone-self-attention``, ``A/16-local-relation-layer``.

    Examples
    --------
    >>> import numpy as np
    >>> LocalNet("relation", num_classes=5, depth=1)(np.zeros((2, 3, 16, 24), np.float32)).shape
    (2, 5, 16, 24)
    """

    def __init__(
        self, layer="attention", num_classes=10, width=64, inner=36, depth=4, window=5, heads=3, group_size=8,
        patch_size=4, channels=3, rng=None,
    ):  # fmt: skip
        if layer not in LAYERS:
            raise ValueError(f"LocalNet: layer must be one of {', '.join(LAYERS)}, got {layer!r}")
        init.check_sizes(
            "LocalNet", width=width, inner=inner, depth=depth, window=window, patch_size=patch_size
        )
        if layer == "convolution" and window % 2 == 0:
            raise ValueError(f"LocalNet: the window of a convolution must be odd, got {window}")
        rng = init.generator(rng)
        self.patch_size = patch_size
        self.stem = Conv2d(channels, width, patch_size, stride=patch_size, rng=rng)
        self.norm = NORMS["group"](width)
        layers = [_layer(layer, inner, window, heads, group_size, rng) for _ in range(depth)]
        self.blocks = [Bottleneck(made, width, inner, width, 1, "group", rng) for made in layers]
        self.head = Conv2d(width, num_classes * patch_size**2, 1, rng=rng)

    def forward(self, images):
        """Logits (B, K, H, W) of images (B, C, H, W), whose sides are multiples of the patch size."""
        images = as_images("LocalNet", images)
        P = self.patch_size
        if images.shape[2] % P or images.shape[3] % P:
            raise ValueError(f"LocalNet: sides must be multiples of patch_size={P} (images: {images.shape})")
        x = ops.relu(self.norm(self.stem(images)))
        for block in self.blocks:
            x = block(x)
        y = self.head(x)  # (B, K P P, H/P, W/P)
        B, outputs, rows, columns = y.shape
        K = outputs // P**2
        y = y.reshape(B, K, P, P, rows, columns).transpose(0, 1, 4, 2, 5, 3)  # (B, K, rows, P, columns, P)
        return y.reshape(B, K, rows * P, columns * P)


def _layer(kind, inner, window, heads, group_size, rng):
    # the models are imported here: a network of one paper does not depend on another's
    from minivis.models.lr_net import LocalRelation
    from minivis.models.sasa import LocalAttention

    if kind == "attention":
        return LocalAttention(inner, inner, heads, window, rng=rng)
    if kind == "relation":
        return LocalRelation(inner, window, group_size, rng=rng)
    side = window if kind == "convolution" else 1
    return Conv2d(inner, inner, side, padding=side // 2, bias=False, weight_init=init.kaiming_normal, rng=rng)
