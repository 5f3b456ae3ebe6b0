"""CLIP's ResNet: a stem of three convolutions, averages where others skip pixels, and attention for the last pooling.

Radford et al., "Learning transferable visual models from natural language supervision", ICML 2021, section 2.4; the stem
after He et al., "Bag of tricks for image classification with convolutional neural networks", CVPR 2019, section 4.
Slide ``Z/40-clip``.
Not here: the text encoder and the loss (clip.py), the ResNet of 2016 (resnet.py), published weights (pretrained/clip.py).
"""

from minivis import ops
from minivis.models.common import as_images, he_normal, map_to_tokens, maps_after
from minivis.nn import BatchNorm2d, Conv2d, Linear, Module, Parameter, init
from minivis.nn.module import as_tensor
from minivis.pairs import pair

__all__ = ["AttentionPool", "CLIPResNet"]


def _conv_norm(in_channels, out_channels, kernel_size, rng, stride=1):
    """A convolution without bias that keeps the size but for the stride, and its batch norm."""
    options = {"stride": stride, "padding": kernel_size // 2, "bias": False, "weight_init": he_normal}
    return Conv2d(in_channels, out_channels, kernel_size, **options, rng=rng), BatchNorm2d(out_channels)


class Bottleneck(Module):
    """A residual block of 1x1, 3x3 and 1x1 convolutions; where the map shrinks, an average does it, not a stride.

    Parameters
    ----------
    in_channels, width : int
        Channels of the input and of the 3x3 convolution; the output has four times as many.
    stride : int
        1, or 2 to halve the map after the 3x3 convolution and before the 1x1 convolution of the shortcut.
    rng : numpy.random.Generator
        Draws the starting values.
    """

    def __init__(self, in_channels, width, stride, rng):
        self.stride = stride
        self.conv1, self.norm1 = _conv_norm(in_channels, width, 1, rng)
        self.conv2, self.norm2 = _conv_norm(width, width, 3, rng)
        self.conv3, self.norm3 = _conv_norm(width, 4 * width, 1, rng)
        self.norm3.weight.data[...] = 0  # a new block adds nothing
        self.shortcut = None
        if stride > 1 or in_channels != 4 * width:
            self.shortcut, self.shortcut_norm = _conv_norm(in_channels, 4 * width, 1, rng)

    def forward(self, x):
        y = ops.relu(self.norm1(self.conv1(x)))
        y = ops.relu(self.norm2(self.conv2(y)))
        y = self.norm3(self.conv3(self._smaller(y)))
        return ops.relu(y + (self.shortcut_norm(self.shortcut(self._smaller(x))) if self.shortcut else x))

    def _smaller(self, x):
        return ops.avg_pool2d(x, self.stride) if self.stride > 1 else x


class AttentionPool(Module):
    """Pool a map by attention: the mean of the cells asks, and the cells and the mean answer.

    .. math::
        q = \\bar x + p_0, \\qquad y = \\mathrm{MHA}(q,\\; [\\bar x + p_0;\\, x_1 + p_1;\\, \\dots;\\, x_N + p_N])

    Parameters
    ----------
    cells : int or (int, int)
        Rows and columns of the map.
    channels : int
        C of the map.
    heads : int
        Attention heads; they must divide C.
    width : int
        Length of the result.
    rng : numpy.random.Generator, int or None
        Draws the starting values: normal with standard deviation C ** -0.5. None is seed 0.

    Raises
    ------
    ValueError
        If the heads do not divide C; when called, for a map of another size.

    Notes
    -----
    There is one query, so the cost is linear in the number of cells.

    References
    ----------
    Radford et al. 2021, section 2.4.

    Examples
    --------
    >>> import numpy as np
    >>> AttentionPool(cells=2, channels=8, heads=2, width=5)(np.ones((3, 8, 2, 2), np.float32)).shape
    (3, 5)
    """

    def __init__(self, cells, channels, heads, width, rng=None):
        init.check_sizes("AttentionPool", cells=cells, channels=channels, heads=heads, width=width)
        if channels % heads:
            raise ValueError(f"AttentionPool: {heads} heads do not divide {channels} channels")
        rng = init.generator(rng)
        self.cells = pair(cells)
        self.heads = heads
        tokens = 1 + self.cells[0] * self.cells[1]
        self.pos_embed = Parameter(init.normal((tokens, channels), channels**-0.5, rng))

        def projection(out):
            return Linear(channels, out, weight_init=_by_width, rng=rng)

        self.query, self.key, self.value = projection(channels), projection(channels), projection(channels)
        self.out = projection(width)

    def forward(self, x):
        """Pool a map (B, C, H, W) to (B, width). Inside `looking`, it shows ``weights`` (B, h, 1, 1 + H W)."""
        x = as_tensor(x)
        if x.ndim != 4 or (x.shape[1], x.shape[2:]) != (self.pos_embed.shape[1], self.cells):
            raise ValueError(
                f"AttentionPool: x must be (B, {self.pos_embed.shape[1]}, {self.cells[0]}, {self.cells[1]}) "
                f"(x: {tuple(x.shape)})"
            )
        x = map_to_tokens(x)  # (B, H W, C)
        x = ops.concatenate([x.mean(axis=1, keepdims=True), x], axis=1) + self.pos_embed  # (B, 1 + H W, C)
        q = self._split(self.query(x[:, :1]))  # (B, h, 1, d)
        k = self._split(self.key(x))
        v = self._split(self.value(x))
        self.show(weights=lambda: ops.attention_weights(q, k))
        y = ops.scaled_dot_product_attention(q, k, v)  # (B, h, 1, d)
        return self.out(y.reshape(y.shape[0], self.pos_embed.shape[1]))  # (B, width)

    def _split(self, x):
        B, N, C = x.shape
        return x.reshape(B, N, self.heads, C // self.heads).transpose(0, 2, 1, 3)  # (B, h, N, d)


def _by_width(shape, rng):
    return init.normal(shape, shape[1] ** -0.5, rng)


class CLIPResNet(Module):
    """The ResNet of CLIP: images to embeddings.

    Parameters
    ----------
    depths : sequence of four int, default (3, 4, 6, 3)
        Blocks in each stage.
    width : int, default 64
        Channels of the 3x3 convolutions in the first stage; each stage doubles them. The last map has 32 times as many.
    embedding : int, default 1024
        Length of the result: the projection into it is a part of the attention pooling.
    heads : int, default 32
        Heads of the attention pooling.
    image_size : int or (int, int), default 224
        Height and width of the images, pixels: 32 times a cell of the last map.
    channels : int, default 3
        C of the images.
    rng : numpy.random.Generator, int or None
        Draws the starting values. None is seed 0.

    Raises
    ------
    ValueError
        If a size is not positive, or ``image_size`` is not a multiple of 32.

    References
    ----------
    Radford et al. 2021, section 2.4. Slide ``Z/40-clip``.

    Examples
    --------
    >>> import numpy as np
    >>> encoder = CLIPResNet((1, 1, 1, 1), width=4, embedding=10, heads=2, image_size=64)
    >>> encoder(np.zeros((2, 3, 64, 64), np.float32)).shape
    (2, 10)
    """

    def __init__(
        self, depths=(3, 4, 6, 3), width=64, embedding=1024, heads=32, image_size=224, channels=3, rng=None
    ):
        sizes = {"width": width, "embedding": embedding, "heads": heads, "image_size": image_size}
        init.check_sizes("CLIPResNet", depths=depths, **sizes, channels=channels)
        height, columns = pair(image_size)
        if width % 2 or height % 32 or columns % 32 or len(depths) != 4:
            raise ValueError(
                "CLIPResNet: needs four depths, an even width and images whose sides are multiples of 32 pixels, got "
                f"depths={depths}, width={width}, image_size={image_size}"
            )
        rng = init.generator(rng)
        self.image_size = (height, columns)
        self.conv1, self.norm1 = _conv_norm(channels, width // 2, 3, rng, stride=2)
        self.conv2, self.norm2 = _conv_norm(width // 2, width // 2, 3, rng)
        self.conv3, self.norm3 = _conv_norm(width // 2, width, 3, rng)
        self.stages = []
        inputs = width
        for stage, depth in enumerate(depths):
            inner = width * 2**stage
            first = Bottleneck(inputs, inner, 1 if stage == 0 else 2, rng)
            inputs = 4 * inner
            self.stages.append([first, *(Bottleneck(inputs, inner, 1, rng) for _ in range(depth - 1))])
        self.pool = AttentionPool((height // 32, columns // 32), inputs, heads, embedding, rng)

    def forward(self, images):
        """The embeddings (B, E) of images (B, C, H, W), not normalised."""
        return self.pool(self.features(images)[-1])

    def features(self, images):
        """The map after each stage, finest first: (B, 4 width 2^i, H / 4 / 2^i, W / 4 / 2^i)."""
        x = as_images("CLIPResNet", images)
        for conv, norm in [(self.conv1, self.norm1), (self.conv2, self.norm2), (self.conv3, self.norm3)]:
            x = ops.relu(norm(conv(x)))
        x = ops.avg_pool2d(x, 2)
        return maps_after(self.stages, x)
