"""A residual network as a path through time: each block is a velocity, and a step may be divided into smaller ones.

Chen et al., "Neural ordinary differential equations", NeurIPS 2018, section 3. Slide ``C/28-resnet-as-ode``.
Not here: the solvers (analysis/ode.py), its training (recipes/depth.py).
"""

from minivis import ops
from minivis.analysis import odeint
from minivis.models.common import as_images
from minivis.nn import BatchNorm2d, Conv2d, Linear, Module, init

__all__ = ["ODENet"]


class Velocity(Module):
    """How fast a map changes: two convolutions, each after norm and ReLU. It keeps the shape.

    Parameters
    ----------
    width : int
        Channels of the map.
    rng : numpy.random.Generator
        Draws the starting values of the first convolution; the second starts at 0, so that nothing moves at first.
    """

    def __init__(self, width, rng):
        options = {"padding": 1, "bias": False, "rng": rng}
        self.norm1 = BatchNorm2d(width)
        self.conv1 = Conv2d(width, width, 3, weight_init=init.kaiming_normal, **options)
        self.norm2 = BatchNorm2d(width)
        self.conv2 = Conv2d(width, width, 3, weight_init=init.zeros, **options)

    def forward(self, x):
        y = self.conv1(ops.relu(self.norm1(x)))
        return self.conv2(ops.relu(self.norm2(y)))


class ODENet(Module):
    """Residual blocks y + G(y) read as steps of Euler's method with h = 1, which can be refined after training.

    .. math::

        \\text{block } j: \\quad y_{j+1} = y_j + G_j(y_j)
        \\qquad\\text{refined:}\\quad y \\leftarrow y + \\tfrac1m G_j(y), \\quad m \\text{ times}

    The velocity is that of block j during the whole time from j to j + 1. The network after refinement has the same
    weights and m times as many layers.

    Parameters
    ----------
    blocks : int, default 6
        Residual blocks of the one stage.
    width : int, default 16
        Channels of the map.
    num_classes : int, default 10
        K.
    channels : int, default 1
        C of the images.
    rng : numpy.random.Generator, int or None
        Draws the starting values. None is seed 0.

    Attributes
    ----------
    velocities : list of Velocity
        G of each block.

    Raises
    ------
    ValueError
        If a size is not a whole number of at least 1.

    Notes
    -----
    Nothing follows the sum: with a ReLU behind it, a block would be no step of Euler's method.

    References
    ----------
    Chen et al. 2018, equations 1 and 2. Slide ``C/28-resnet-as-ode``.

    Examples
    --------
    >>> import numpy as np
    >>> model = ODENet(blocks=2, width=4).eval()
    >>> images = np.zeros((3, 1, 8, 8), np.float32)
    >>> model(images).shape, model(images, steps=4, method="midpoint").shape
    ((3, 10), (3, 10))
    """

    def __init__(self, blocks=6, width=16, num_classes=10, channels=1, rng=None):
        init.check_sizes("ODENet", blocks=blocks, width=width, num_classes=num_classes, channels=channels)
        rng = init.generator(rng)
        self.stem = Conv2d(channels, width, 3, stride=2, padding=1, weight_init=init.kaiming_normal, rng=rng)
        self.velocities = [Velocity(width, rng) for _ in range(blocks)]
        self.norm = BatchNorm2d(width)
        self.head = Linear(width, num_classes, rng=rng)

    def forward(self, images, steps=1, method="euler"):
        """Logits (B, K) of images (B, C, H, W), with ``steps`` steps of a method of `analysis.odeint` for each block."""
        y = ops.relu(self.norm(self.states(images, steps, method)[-1]))
        return self.head(ops.mean(y, axis=(2, 3)))

    def states(self, images, steps=1, method="euler"):
        """The map at the times 0, 1, ..., blocks: each (B, width, H / 2, W / 2)."""
        states = [self.stem(as_images("ODENet", images))]
        for j, velocity in enumerate(self.velocities):
            # the weights of a block do not change during its time
            field = lambda y, t, velocity=velocity: velocity(y)  # noqa: E731
            states.append(odeint(field, states[-1], j, j + 1, steps, method))
        return states
