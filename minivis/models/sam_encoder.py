"""Image encoders for SAM: the published one, a ViT that mostly attends in windows, and a small one on any backbone's maps.

Kirillov et al., "Segment anything", ICCV 2023, appendix A; Li et al., "Exploring plain vision transformer backbones for
object detection", ECCV 2022. Slide ``A/87-sam-image-encoder``.
Not here: prompts and the mask decoder (sam.py), cutting maps into windows (vision/windows.py).
"""

import numpy as np

from minivis import backend, ops
from minivis.models.common import LayerNorm2d, as_images, map_to_tokens, patch_projection, small_normal
from minivis.nn import (
    MLP,
    Conv2d,
    LayerNorm,
    Module,
    MultiHeadAttention,
    Parameter,
    Sequential,
    SinePositionCode2d,
    TransformerEncoderLayer,
    init,
)
from minivis.pairs import pair
from minivis.vision.windows import pad_to_multiple, window_partition, window_reverse

__all__ = ["MapEncoder", "SAMImageEncoder"]


class MapEncoder(Module):
    """A small image encoder on the last two maps of any backbone.

    The coarser map passes through transformer blocks, so that every cell knows the whole picture. It is enlarged and
    added to the finer map, as in a feature pyramid, so that edges stay where they are.

    Parameters
    ----------
    backbone : Module
        With ``features(images)``, maps from fine to coarse, and ``channels``, the channels of each, as `ResNet` has them.
    width : int
        D of the embedding, divisible by 4.
    depth : int, default 1
        Number of transformer blocks on the coarser map.
    heads : int, default 4
        Their heads.
    mlp_ratio : float, default 4
        Width inside their MLPs, as a multiple of D.
    rng : numpy.random.Generator, int or None
        Draws the starting values; None is seed 0.

    Raises
    ------
    ValueError
        If the backbone has fewer than two maps, or a size does not fit.

    References
    ----------
    Slide ``A/87-sam-image-encoder``: any network that makes such an embedding would do.

    Examples
    --------
    >>> from minivis.models import ResNet
    >>> backbone = ResNet((1, 1), "basic", widths=(8, 16), stem_width=8, num_classes=0)
    >>> MapEncoder(backbone, width=16, heads=2)(np.zeros((2, 3, 64, 48), np.float32)).shape
    (2, 16, 16, 12)
    """

    def __init__(self, backbone, width, depth=1, heads=4, mlp_ratio=4.0, rng=None):
        init.check_sizes("MapEncoder", width=width, heads=heads)
        if not hasattr(depth, "__index__") or depth < 0:
            raise ValueError(f"MapEncoder: depth must be a whole number of at least 0, got {depth!r:.100}")
        if len(backbone.channels) < 2:
            raise ValueError("MapEncoder: the backbone needs at least two maps, and has one")
        if width % 4:
            raise ValueError(f"MapEncoder: width must be divisible by 4, got {width}")
        rng = init.generator(rng)
        self.backbone = backbone
        fine, coarse = backbone.channels[-2:]
        self.coarse = Conv2d(coarse, width, 1, rng=rng)
        self.position = SinePositionCode2d(width)
        options = {"activation": "gelu", "norm_first": True, "rng": rng}
        hidden = round(width * mlp_ratio)
        self.blocks = [TransformerEncoderLayer(width, heads, hidden, **options) for _ in range(depth)]
        self.fine = Conv2d(fine, width, 1, rng=rng)
        self.output = Conv2d(width, width, 3, padding=1, bias=False, rng=rng)
        self.norm = LayerNorm2d(width)

    def forward(self, images):
        """The embedding (B, D, h, w) of images (B, C, H, W), as large as the backbone's last map but one."""
        *_, fine, coarse = self.backbone.features(as_images("MapEncoder", images))
        x = self.coarse(coarse)
        shape = x.shape
        x = map_to_tokens(x + self.position(x))  # (B, N, D)
        for block in self.blocks:
            x = block(x)
        x = x.transpose(0, 2, 1).reshape(shape)
        x = self.fine(fine) + ops.interpolate(x, size=tuple(fine.shape[2:]))
        return self.norm(self.output(x))


class RelativeAttention(MultiHeadAttention):
    """Self-attention on a map with a bias that follows from the query and from how far the key is, down and to the right.

    .. math:: A_{ij} = \\frac{q_i \\cdot k_j}{\\sqrt d} + q_i \\cdot R^h_{y_i - y_j} + q_i \\cdot R^w_{x_i - x_j}

    The tables have a vector for each distance of rows and one for each distance of columns. The queries in the bias are
    not divided by the root of d.

    Parameters
    ----------
    width, heads : int
        D and the number of heads.
    grid : (int, int)
        Rows and columns of the maps.
    qkv_bias : bool
        Whether queries, keys and values have biases.
    rng : numpy.random.Generator
        Draws the starting values; the tables start at 0.
    """

    def __init__(self, width, heads, grid, qkv_bias, rng):
        super().__init__(width, heads, rng=rng)
        if not qkv_bias:
            self.query.bias = self.key.bias = self.value.bias = None
        rows, columns = grid
        self.grid = grid
        self.relative_rows = Parameter(init.zeros((2 * rows - 1, width // heads)))
        self.relative_columns = Parameter(init.zeros((2 * columns - 1, width // heads)))

    def forward(self, x):
        """Attend in maps (B, H, W, D). Inside `looking`, it shows ``weights`` (B, h, N, N)."""
        B, H, W, D = x.shape
        tokens = x.reshape(B, H * W, D)
        q, k, v = (self._split(layer(tokens)) for layer in (self.query, self.key, self.value))
        bias = self._bias(q, H, W)
        self.show(weights=lambda: ops.attention_weights(q, k, bias=bias))
        heads = ops.scaled_dot_product_attention(q, k, v, bias=bias)
        return self.out(self._join(heads)).reshape(B, H, W, D)

    def _bias(self, q, H, W):
        """The bias (B, h, N, N) of queries (B, h, N, d): the sum of one for the rows and one for the columns."""
        B, h, N, d = q.shape
        q = q.reshape(B, h, H, W, d)
        rows = ops.take(self.relative_rows, _distances(H, q.device), axis=0)  # (H, H, d)
        columns = ops.take(self.relative_columns, _distances(W, q.device), axis=0)  # (W, W, d)
        down = q @ rows.transpose(0, 2, 1)  # (B, h, H, W, H)
        right = q.transpose(0, 1, 3, 2, 4) @ columns.transpose(0, 2, 1)  # (B, h, W, H, W)
        right = right.transpose(0, 1, 3, 2, 4)  # (B, h, H, W, W)
        bias = down.reshape(B, h, H, W, H, 1) + right.reshape(B, h, H, W, 1, W)
        return bias.reshape(B, h, N, N)


def _distances(n, device):
    """Row of the table for query i and key j: i - j, counted from 0, (n, n)."""
    place = np.arange(n)
    return backend.to_device(place[:, None] - place[None, :] + n - 1, device)


class WindowBlock(Module):
    """A block of the image encoder: attention in windows, or in the whole map, then an MLP, with pre-norms.

    Parameters
    ----------
    width, heads : int
        D and the number of heads.
    mlp_ratio : float
        Width inside the MLP, as a multiple of D.
    window : int
        Side of the windows in cells; 0 attends in the whole map.
    grid : (int, int)
        Rows and columns of the map.
    qkv_bias : bool
        Whether queries, keys and values have biases.
    eps : float
        Epsilon of the norms.
    rng : numpy.random.Generator
        Draws the starting values.
    """

    def __init__(self, width, heads, mlp_ratio, window, grid, qkv_bias, eps, rng):
        self.window = window
        self.norm1 = LayerNorm(width, eps)
        attend_in = (window, window) if window else grid
        self.attn = RelativeAttention(width, heads, attend_in, qkv_bias, rng)
        self.norm2 = LayerNorm(width, eps)
        self.mlp = MLP(width, int(width * mlp_ratio), rng=rng)

    def forward(self, x):
        """Maps (B, H, W, D) to maps (B, H, W, D)."""
        x = x + self._attend(self.norm1(x))
        return x + self.mlp(self.norm2(x))

    def _attend(self, x):
        """Windows that leave the map are filled with zeros at the bottom and right, after the norm; these are attended to."""
        if not self.window:
            return self.attn(x)
        H, W = x.shape[1:3]
        x = pad_to_multiple(x, self.window, self.window)
        height, width = x.shape[1:3]
        windows = self.attn(window_partition(x, self.window))
        return window_reverse(windows, self.window, height, width)[:, :H, :W]


class SAMImageEncoder(Module):
    """The image encoder of SAM: a plain ViT that attends in windows, but in a few blocks to the whole picture.

    Attention among all 64 x 64 patches of a picture of 1024 x 1024 pixels is costly: a window of 14 x 14 has a twentieth
    of the cost. Four blocks of the whole picture are enough to join the windows. A neck of two convolutions makes of the
    tokens an embedding of D channels.

    Parameters
    ----------
    image_size : int or (int, int), default 1024
        Height and width of the images in pixels.
    patch_size : int, default 16
        P.
    width : int, default 768
        Length of a token.
    depth : int, default 12
        Number of blocks.
    heads : int, default 12
        Heads of every attention. They must divide the width.
    mlp_ratio : float, default 4
        Width inside the MLPs, as a multiple of the width.
    out_width : int, default 256
        D of the embedding.
    window : int, default 14
        Side of the windows, in patches. 0: all blocks attend to the whole picture.
    whole : sequence of int, default (2, 5, 8, 11)
        The blocks that attend to the whole picture, counted from 0.
    qkv_bias : bool, default True
        Whether queries, keys and values have biases.
    channels : int, default 3
        C of the images.
    eps : float, default 1e-6
        Epsilon of the norms.
    rng : numpy.random.Generator, int or None
        Draws the starting values; the position tables of attention start at 0. None is seed 0.

    Raises
    ------
    ValueError
        If a size does not fit; when called, if the images have another size.

    Notes
    -----
    The published encoder was trained as a masked autoencoder (`MAE`) with 14 x 14 patches before it learned to segment.

    References
    ----------
    Kirillov et al. 2023, appendix A; Li et al. 2022. Slide ``A/87-sam-image-encoder``.

    Examples
    --------
    >>> encoder = SAMImageEncoder(40, 8, width=16, depth=2, heads=2, out_width=12, window=3, whole=(1,))
    >>> encoder(np.zeros((2, 3, 40, 40), np.float32)).shape
    (2, 12, 5, 5)
    """

    def __init__(
        self, image_size=1024, patch_size=16, width=768, depth=12, heads=12, mlp_ratio=4.0, out_width=256, window=14,
        whole=(2, 5, 8, 11), qkv_bias=True, channels=3, eps=1e-6, rng=None,
    ):  # fmt: skip
        init.check_sizes(
            "SAMImageEncoder", image_size=image_size, patch_size=patch_size, width=width, depth=depth,
            heads=heads, out_width=out_width, channels=channels,
        )  # fmt: skip
        self.image_size = pair(image_size)
        if any(side % patch_size for side in self.image_size) or width % heads:
            raise ValueError(
                f"SAMImageEncoder: patches of {patch_size} must fill the image {self.image_size}, and {heads} heads divide "
                f"the width {width}"
            )
        if not hasattr(window, "__index__") or window < 0 or not set(whole) <= set(range(depth)):
            raise ValueError(
                f"SAMImageEncoder: window must be a whole number of at least 0 and whole name blocks 0 to {depth - 1}, got {window}, {whole}"
            )
        rng = init.generator(rng)
        grid = tuple(side // patch_size for side in self.image_size)
        self.patch_embed = patch_projection(channels, width, (patch_size, patch_size), rng)
        self.pos_embed = Parameter(small_normal((1, *grid, width), rng))
        self.blocks = [
            WindowBlock(width, heads, mlp_ratio, 0 if i in whole else window, grid, qkv_bias, eps, rng)
            for i in range(depth)
        ]
        self.neck = Sequential(
            Conv2d(width, out_width, 1, bias=False, rng=rng),
            LayerNorm2d(out_width),
            Conv2d(out_width, out_width, 3, padding=1, bias=False, rng=rng),
            LayerNorm2d(out_width),
        )

    def forward(self, images):
        """The embedding (B, D, H / P, W / P) of images (B, C, H, W).

        Inside `looking`, the blocks show their attention weights, ``blocks.0.attn.weights``, (B nW, h, N, N) in windows and
        (B, h, N, N) in the whole picture.
        """
        images = as_images("SAMImageEncoder", images)
        if tuple(images.shape[2:]) != tuple(self.image_size):
            raise ValueError(
                f"SAMImageEncoder: images must have {self.image_size[0]} x {self.image_size[1]} pixels; scale the longer side "
                f"and pad at the bottom and right (images: {tuple(images.shape)})"
            )
        x = self.patch_embed(images).transpose(0, 2, 3, 1) + self.pos_embed  # (B, h, w, width)
        for block in self.blocks:
            x = block(x)
        return self.neck(x.transpose(0, 3, 1, 2))  # (B, D, h, w)
