"""ResNet for small images such as CIFAR-10's, as deep as one likes: 6n + 2 layers. Also the plain network without shortcuts.

He et al., "Deep residual learning for image recognition", CVPR 2016, section 4.2; stochastic depth after Huang et al.,
ECCV 2016. Slides ``C/16-deeper-plain-networks-get-worse`` to ``C/23-residual-learning``, ``C/27-stochastic-depth``.
Not here: the networks for ImageNet (resnet.py), wide ones (wide_resnet.py), training (recipes/).
"""

from minivis import ops
from minivis.models.common import as_images, published
from minivis.nn import BatchNorm2d, Conv2d, DropPath, Linear, Module, init, survival_schedule

__all__ = ["CifarResNet", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110"]

ACTIVATIONS = {"relu": ops.relu, "sigmoid": ops.sigmoid}


class ConvNorm(Module):
    """A 3 x 3 or 1 x 1 convolution, then batch norm; without the norm the convolution has a bias.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, stride : int
        As for `Conv2d`.
    norm : bool
        Whether batch norm follows.
    rng : numpy.random.Generator
        Draws the starting values, He's.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride, norm, rng):
        options = {
            "padding": kernel_size // 2,
            "bias": not norm,
            "weight_init": init.kaiming_normal,
            "rng": rng,
        }
        self.conv = Conv2d(in_channels, out_channels, kernel_size, stride, **options)
        self.norm = BatchNorm2d(out_channels) if norm else None

    def forward(self, x):
        y = self.conv(x)
        return self.norm(y) if self.norm else y


class Block(Module):
    """Two convolutions, and around them the shortcut: y = ReLU(b F(x) + x), where b says whether F survives.

    Parameters
    ----------
    in_channels, out_channels, stride : int
        As for `Conv2d`; the first convolution has the stride.
    residual : bool
        Whether there is a shortcut. Without it, y = ReLU(F(x)).
    shortcut : {"zeros", "projection"}
        What the shortcut does where shapes change, see `CifarResNet`.
    activation : {"relu", "sigmoid"}
        What follows each layer.
    norm : bool
        Whether batch norm follows each convolution.
    survival : float
        Probability that F survives in training.
    rng : numpy.random.Generator
        Draws the starting values and what survives.
    """

    def __init__(
        self, in_channels, out_channels, stride, residual, shortcut, activation, norm, survival, rng
    ):
        self.activation = activation
        self.residual = residual
        self.stride = stride
        self.new_channels = out_channels - in_channels
        self.first = ConvNorm(in_channels, out_channels, 3, stride, norm, rng)
        self.second = ConvNorm(out_channels, out_channels, 3, 1, norm, rng)
        projects = residual and shortcut == "projection" and (stride > 1 or self.new_channels)
        self.projection = ConvNorm(in_channels, out_channels, 1, stride, norm, rng) if projects else None
        self.drop_path = DropPath(1 - survival, per="batch", rng=rng)

    def forward(self, x):
        if not self.residual:
            return ACTIVATIONS[self.activation](self.branch(x))
        y = self.drop_path.added(self.shortcut(x), lambda: self.branch(x))
        return ACTIVATIONS[self.activation](y)

    def branch(self, x):
        """F(x), the two convolutions."""
        return self.second(ACTIVATIONS[self.activation](self.first(x)))

    def shortcut(self, x):
        """The input in the shape of the output. With zeros: every second pixel, and new channels that are 0."""
        if self.projection:
            return self.projection(x)
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        return ops.pad(x, ((0, 0), (0, self.new_channels), (0, 0), (0, 0))) if self.new_channels else x


class CifarResNet(Module):
    """A residual network for small images with 6n + 2 layers: small images to class logits.

    .. math:: y = \\mathrm{ReLU}(b\\, F(x) + x), \\qquad b \\sim \\mathrm{Bernoulli}(p_l)

    One 3 x 3 convolution, three stages with n blocks of two 3 x 3 convolutions each, the mean over positions, one linear
    layer. The second and third stage halve the map and have twice the channels.

    Parameters
    ----------
    depth : int, default 20
        Layers with weights, 6n + 2.
    width : int, default 16
        Channels of the first stage.
    num_classes : int, default 10
        K.
    channels : int, default 3
        C of the images.
    residual : bool, default True
        False leaves the shortcuts out: the plain network of the same depth and size.
    shortcut : {"zeros", "projection"}, default "zeros"
        Where the shapes of x and F(x) differ: "zeros" takes every second pixel and adds channels that are 0, which needs
        no parameters (the paper's option A); "projection" is a 1 x 1 convolution with norm (option B).
    survival : float, default 1
        Stochastic depth: the probability p_L that the last block's F survives a training step, see
        `nn.survival_schedule`. With 1 nothing is dropped. All images of a batch lose a block together; in evaluation F
        is multiplied by its probability.
    activation : {"relu", "sigmoid"}, default "relu"
        What follows each layer. The sigmoid shows why gradients vanish.
    norm : bool, default True
        Whether batch norm follows each convolution. Without it convolutions have a bias.
    rng : numpy.random.Generator, int or None
        Draws the starting values, He's, and what survives. None is seed 0.

    Attributes
    ----------
    blocks : list of Block
        All blocks in order.

    Raises
    ------
    ValueError
        If ``depth`` is not 6n + 2, a size is not positive, an option is unknown, or ``survival`` is not a probability or
        is below 1 without shortcuts: then nothing would be left of a dropped block.

    References
    ----------
    He et al. 2016, section 4.2, table 6 and figure 6; Huang et al. 2016, equations 1 to 5. Slides
    ``C/16-deeper-plain-networks-get-worse``, ``C/23-residual-learning``, ``C/27-stochastic-depth``.

    Examples
    --------
    >>> import numpy as np
    >>> model = CifarResNet(depth=14, width=4)
    >>> model(np.zeros((2, 3, 16, 16), np.float32)).shape, len(model.blocks)
    ((2, 10), 6)
    """

    def __init__(
        self, depth=20, width=16, num_classes=10, channels=3, residual=True, shortcut="zeros", survival=1.0,
        activation="relu", norm=True, rng=None,
    ):  # fmt: skip
        init.check_sizes("CifarResNet", depth=depth, width=width, num_classes=num_classes, channels=channels)
        if depth < 8 or depth % 6 != 2:
            raise ValueError(
                f"CifarResNet: depth must be 6n + 2 with n at least 1: 8, 14, 20, ..., got {depth}"
            )
        if shortcut not in ("zeros", "projection"):
            raise ValueError(f'CifarResNet: shortcut must be "zeros" or "projection", got {shortcut!r}')
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"CifarResNet: activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}"
            )
        if not 0 <= survival <= 1 or (survival < 1 and not residual):
            raise ValueError(
                f"CifarResNet: survival must be a probability, and 1 if residual=False, got {survival} "
                f"(residual={residual})"
            )
        rng = init.generator(rng)
        self.activation = activation
        self.stem = ConvNorm(channels, width, 3, 1, norm, rng)
        self.blocks = []
        n = (depth - 2) // 6
        survivals = survival_schedule(3 * n, survival)
        for number, probability in enumerate(survivals):
            stage, place = divmod(number, n)
            inputs = width * 2**stage // (2 if stage and not place else 1)
            stride = 2 if stage and not place else 1
            options = (residual, shortcut, activation, norm, float(probability), rng)
            self.blocks.append(Block(inputs, width * 2**stage, stride, *options))
        self.head = Linear(4 * width, num_classes, rng=rng)

    def forward(self, images):
        """Logits (B, K) of images (B, C, H, W)."""
        return self.head(ops.mean(self.features(images)[-1], axis=(2, 3)))

    def features(self, images):
        """The map after the stem and after each block: 3n + 1 maps, (B, width 2^i, H / 2^i, W / 2^i) in stage i."""
        maps = [ACTIVATIONS[self.activation](self.stem(as_images("CifarResNet", images)))]
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return maps


def _published(depth, parameters):
    about = f"{depth} layers for images of 32 x 32 pixels"
    example = "``residual=False``, ``survival=0.5``"
    return published(f"resnet{depth}", CifarResNet, about, parameters, 10, example, depth=depth)


resnet20 = _published(20, 269_722)
resnet32 = _published(32, 464_154)
resnet44 = _published(44, 658_586)
resnet56 = _published(56, 853_018)
resnet110 = _published(110, 1_727_962)
