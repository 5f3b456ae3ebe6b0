"""LeNet-5: the network of 1998 that read handwritten digits, as its paper has it, and in the form in which it is taught now.

LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998, section II-B.
Slide ``Z/12-lenet``.
Not here: training (recipes/lenet_digits.py), the drawing of the digits at 32 x 32 pixels.
"""

import numpy as np

from minivis import ops
from minivis.autograd import Tensor
from minivis.backend import check_floating, namespace
from minivis.complaints import named
from minivis.debugging import may_read
from minivis.models.common import as_images
from minivis.nn import AvgPool2d, Conv2d, Linear, MaxPool2d, Module, Parameter, init
from minivis.nn.module import as_tensor
from minivis.ops.index import check_range
from minivis.precision import in_float32

__all__ = ["LeNet5", "ModernLeNet5", "lenet_loss", "masked_conv2d", "squash", "subsample"]

# which of the 6 maps of S2 each of the 16 maps of C3 sees (table I of the paper)
NEIGHBOURS = [
    *([i, (i + 1) % 6, (i + 2) % 6] for i in range(6)),
    *([i, (i + 1) % 6, (i + 2) % 6, (i + 3) % 6] for i in range(6)),
    [0, 1, 3, 4],
    [1, 2, 4, 5],
    [0, 2, 3, 5],
    [0, 1, 2, 3, 4, 5],
]
CONNECTIONS = np.array([[source in row for source in range(6)] for row in NEIGHBOURS])  # (16, 6)

# the digits 0 to 9 as pictures of 7 x 12 pixels, side by side
DIGITS = """
.......  .......  .......  .......  .......  .......  .......  .......  .......  .......
..###..  ...#...  ..###..  ..###..  ....#..  .#####.  ..####.  .#####.  ..###..  ..###..
.#...#.  ..##...  .#...#.  .#...#.  ...##..  .#.....  .#.....  .....#.  .#...#.  .#...#.
.#...#.  .#.#...  .....#.  .....#.  ...##..  .#.....  .#.....  .....#.  .#...#.  .#...#.
.#...#.  ...#...  .....#.  .....#.  ..#.#..  .#.....  .#.....  ....#..  .#...#.  .#...#.
.#...#.  ...#...  ....#..  ..###..  ..#.#..  .####..  .####..  ....#..  ..###..  .#...#.
.#...#.  ...#...  ....#..  .....#.  .#..#..  .....#.  .#...#.  ....#..  .#...#.  ..####.
.#...#.  ...#...  ...#...  .....#.  .#####.  .....#.  .#...#.  ...#...  .#...#.  .....#.
.#...#.  ...#...  ..#....  .....#.  ....#..  .....#.  .#...#.  ...#...  .#...#.  .....#.
.#...#.  ...#...  .#.....  .#...#.  ....#..  .#...#.  .#...#.  ...#...  .#...#.  .....#.
..###..  .#####.  .#####.  ..###..  ....#..  ..###..  ..###..  ...#...  ..###..  .####..
.......  .......  .......  .......  .......  .......  .......  .......  .......  .......
"""


def bitmaps():
    """The pictures of the ten digits: float32 (10, 84), +1 for ink and -1 for paper, rows from above."""
    lines = DIGITS.split("\n")[1:-1]
    pictures = [[line[9 * digit : 9 * digit + 7] for line in lines] for digit in range(10)]
    return np.array(
        [[1 if dot == "#" else -1 for row in rows for dot in row] for rows in pictures], np.float32
    )


@named
@in_float32
def squash(x):
    """LeNet's activation: a hyperbolic tangent that is 1 at 1 and -1 at -1.

    .. math:: f(x) = 1.7159 \\tanh\\left(\\tfrac{2}{3} x\\right)

    Parameters
    ----------
    x : ndarray or Tensor
        Any shape.

    Returns
    -------
    ndarray or Tensor
        Shape and dtype of ``x``, between -1.7159 and 1.7159.

    Raises
    ------
    TypeError
        If ``x`` is not floating-point.

    References
    ----------
    LeCun et al. 1998, equation 6 and appendix A.

    Examples
    --------
    >>> squash(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-1.,  0.,  1.])
    """
    check_floating("squash", x)
    return 1.7159 * ops.tanh(x * (2 / 3))


@named
def masked_conv2d(x, weight, bias, table):
    """A convolution in which each output map sees only some of the input maps.

    .. math:: y_o = b_o + \\sum_{c:\\ T_{oc}} w_{oc} * x_c

    Parameters
    ----------
    x : ndarray or Tensor, shape (B, C, H, W)
        Input maps.
    weight : ndarray or Tensor, shape (O, C, kh, kw)
        Kernels. Those that the table forbids have no effect and get the gradient 0.
    bias : ndarray or Tensor, shape (O,)
        Added to each output map.
    table : ndarray of bool, shape (O, C)
        True where output map o sees input map c.

    Returns
    -------
    ndarray or Tensor, shape (B, O, H - kh + 1, W - kw + 1)
        Dtype of ``x``.

    Raises
    ------
    ValueError
        If the table is not boolean (O, C), or the other shapes do not fit.

    Notes
    -----
    LeNet's table breaks the symmetry: output maps that see different inputs have to learn different things. It also
    saves weights: 60 kernels instead of 96.

    References
    ----------
    LeCun et al. 1998, table I. Slide ``Z/12-lenet``.

    Examples
    --------
    >>> one_each = np.eye(2, dtype=bool)
    >>> masked_conv2d(np.ones((1, 2, 3, 3)), np.ones((2, 2, 3, 3)), np.zeros(2), one_each).ravel()
    array([9., 9.])
    """
    if weight.ndim != 4 or table.dtype != bool or tuple(table.shape) != tuple(weight.shape[:2]):
        raise ValueError(
            f"masked_conv2d: table must be of bool, (O, C) for weight (O, C, kh, kw) (weight: {tuple(weight.shape)}, "
            f"table: {tuple(table.shape)} {table.dtype})"
        )
    allowed = table[:, :, None, None]  # (O, C, 1, 1)
    return ops.conv2d(x, ops.where(allowed, weight, 0), bias)


@named
@in_float32
def subsample(x, weight, bias):
    """Halve maps: the sum of each square of 2 x 2 numbers, times one weight of the map, plus one bias.

    .. math:: y_{cij} = w_c \\left( x_{c,2i,2j} + x_{c,2i,2j+1} + x_{c,2i+1,2j} + x_{c,2i+1,2j+1} \\right) + b_c

    Parameters
    ----------
    x : ndarray or Tensor, shape (B, C, H, W)
        Maps of even height and width.
    weight, bias : ndarray or Tensor, shape (C,)
        One number for each map.

    Returns
    -------
    ndarray or Tensor, shape (B, C, H / 2, W / 2)
        Dtype of ``x``.

    Raises
    ------
    ValueError
        If height or width is odd, or weight and bias are not (C,).

    References
    ----------
    LeCun et al. 1998, section II-B, layer S2. Slide ``Z/12-lenet``.

    Examples
    --------
    >>> subsample(np.full((1, 1, 2, 2), 3.0), np.array([0.5]), np.array([1.0])).item()  # 0.5 * 12 + 1
    7.0
    """
    if (
        x.ndim != 4
        or x.shape[2] % 2
        or x.shape[3] % 2
        or {tuple(weight.shape), tuple(bias.shape)} != {x.shape[1:2]}
    ):
        raise ValueError(
            f"subsample: x must be (B, C, H, W) with H and W even, weight and bias (C,) (x: {tuple(x.shape)}, "
            f"weight: {tuple(weight.shape)}, bias: {tuple(bias.shape)})"
        )
    sums = 4 * ops.avg_pool2d(x, 2)
    return sums * weight.reshape(-1, 1, 1) + bias.reshape(-1, 1, 1)


@named
def lenet_loss(logits, target, j=1.0):
    """The loss of LeNet-5: push the right class up, and the others down as long as they are not far away already.

    .. math:: E = \\frac{1}{P} \\sum_p \\left( y_{D_p} + \\log\\left( e^{-j} + \\sum_i e^{-y_i} \\right) \\right)

    y are the penalties, and the logits are -y. Without e to the power of -j this is the cross-entropy.

    Parameters
    ----------
    logits : ndarray or Tensor, shape (B, K)
        Minus the penalties, as `LeNet5` returns them.
    target : integer ndarray, shape (B,)
        Labels.
    j : float, default 1.0
        The penalty of an answer that is none of the classes. It must be positive. A class with a much larger penalty is
        left alone.

    Returns
    -------
    float or Tensor
        The mean over the batch.

    Raises
    ------
    ValueError
        If ``j`` is not positive, or the shapes do not fit.
    IndexError
        If a label is not one of the K classes.

    References
    ----------
    LeCun et al. 1998, equation 9.

    Examples
    --------
    >>> round(float(lenet_loss(np.array([[-3.0, -80.0]]), np.array([0]), j=3.0)), 4)  # the class, or none of them: log 2
    0.6931
    """
    if not j > 0 or logits.ndim != 2:
        raise ValueError(
            f"lenet_loss: needs logits (B, K) and j above 0 (logits: {tuple(logits.shape)}, j {j})"
        )
    target = _labels(target, logits.shape[1])
    with_none_of_them = ops.pad(logits, ((0, 0), (0, 1)), value=-j)  # (B, K + 1)
    return ops.cross_entropy(with_none_of_them, target)


def _labels(target, classes):
    """The labels, checked: to cross_entropy the answer "none of them" would be a class like the others."""
    target = target.data if isinstance(target, Tensor) else target
    if may_read(target):
        check_range("lenet_loss", "target", target, classes, "label", 0)
        return target
    # reading the labels of a GPU would mean waiting: there a wrong one makes the loss NaN
    return namespace(target).where((target >= 0) & (target < classes), target, classes + 1)


class MaskedConv2d(Module):
    """`masked_conv2d` as a layer. It owns only the kernels that the table allows.

    Parameters
    ----------
    table : ndarray of bool, shape (O, C)
        True where output map o sees input map c.
    kernel_size : int
        Side of the kernels.
    rng : numpy.random.Generator
        Draws the starting values.

    Attributes
    ----------
    weight : Parameter, shape (table.sum(), kernel_size, kernel_size)
        The allowed kernels, row by row of the table.
    bias : Parameter, shape (O,)
    """

    def __init__(self, table, kernel_size, rng):
        self._table = table
        self._places = np.flatnonzero(table)  # where the kernels stand in a table of all of them
        self.kernel_size = kernel_size
        fan_in = table.sum(axis=1) * kernel_size**2
        bounds = 2.4 / fan_in.repeat(table.sum(axis=1))  # a bound for each kernel
        drawn = init.uniform((int(table.sum()), kernel_size, kernel_size), 1.0, rng)
        self.weight = Parameter(drawn * bounds[:, None, None].astype(np.float32))
        self.bias = Parameter(init.uniform((len(table),), 1.0, rng) * (2.4 / fan_in).astype(np.float32))

    def forward(self, x):
        O, C = self._table.shape
        side = self.kernel_size
        none = namespace(self.weight.data).zeros((O * C, side, side), dtype=self.weight.dtype)
        kernels = ops.scatter_add(none, self._places, self.weight).reshape(O, C, side, side)
        return masked_conv2d(as_tensor(x), kernels, self.bias, self._table)

    def extra_repr(self):
        O, C = self._table.shape
        return f"{C}, {O}, {(self.kernel_size,) * 2}, {len(self.weight)} of {O * C} kernels"


class Subsample(Module):
    """`subsample` as a layer: a weight and a bias for each map.

    Parameters
    ----------
    channels : int
        C.
    rng : numpy.random.Generator
        Draws the starting values.
    """

    kernel_size = stride = 2

    def __init__(self, channels, rng):
        self.weight = Parameter(init.uniform((channels,), 2.4 / 4, rng))
        self.bias = Parameter(init.uniform((channels,), 2.4 / 4, rng))

    def forward(self, x):
        return subsample(as_tensor(x), self.weight, self.bias)


class RadialBasis(Module):
    """The squared distance of a vector to each of K fixed ones: Gaussian radial basis functions, without the exponential.

    .. math:: y_i = \\sum_j (x_j - w_{ij})^2

    Parameters
    ----------
    centres : ndarray, shape (K, D)
        The fixed vectors. They are a buffer and are not trained.
    """

    def __init__(self, centres):
        self.centres = centres

    def forward(self, x):
        difference = as_tensor(x)[:, None, :] - self.centres  # (B, K, D)
        return ops.sum(difference * difference, axis=2)  # (B, K)


class LeNet5(Module):
    """LeNet-5 as in its paper: images of 32 x 32 pixels to ten logits.

    C1, C3 and C5 are convolutions with 5 x 5 kernels, S2 and S4 halve the maps, F6 is linear; `squash` follows each of
    them. Each output is minus the squared distance between the 84 numbers of F6 and a fixed picture of a digit. So F6
    learns to draw the digit that it reads, with 7 x 12 pixels. The pictures are drawn by minivis: the paper shows its own
    for all of ASCII.

    Parameters
    ----------
    rng : numpy.random.Generator, int or None
        Draws the starting values: uniform within 2.4 / (inputs of a unit). None is seed 0.

    Attributes
    ----------
    output.centres : ndarray, shape (10, 84)
        The pictures, +1 and -1.

    Raises
    ------
    ValueError
        If images are not (B, 1, 32, 32).

    Notes
    -----
    60,000 parameters and 340,908 connections, as the paper says. The paper's outputs are penalties, where small is good;
    here the logits are minus the penalties, so that large is good, as in every model.
    In images paper is -0.1 and ink 1.175, see `minivis.data.digits.lenet_levels`. Inside `looking` the model shows
    the maps after each layer under the layer's name, and the drawing as ``f6``, (B, 12, 7).

    References
    ----------
    LeCun et al. 1998, section II-B and figure 2. Slide ``Z/12-lenet``.

    Examples
    --------
    >>> model = LeNet5()
    >>> model(np.zeros((2, 1, 32, 32), np.float32)).shape, sum(p.size for p in model.parameters())
    ((2, 10), 60000)
    """

    def __init__(self, rng=None):
        rng = init.generator(rng)
        self.c1 = Conv2d(1, 6, 5, weight_init=_within_fan_in, rng=rng)
        self.s2 = Subsample(6, rng)
        self.c3 = MaskedConv2d(CONNECTIONS, 5, rng)
        self.s4 = Subsample(16, rng)
        self.c5 = Conv2d(16, 120, 5, weight_init=_within_fan_in, rng=rng)
        self.f6 = Linear(120, 84, weight_init=_within_fan_in, rng=rng)
        self.output = RadialBasis(bitmaps())

    def forward(self, images):
        """Logits (B, 10) of images (B, 1, 32, 32): minus the penalties."""
        return -self.penalties(images)

    def penalties(self, images):
        """The paper's outputs (B, 10): the squared distances of `draw` to the pictures of the digits."""
        return self.output(self.draw(images))

    def draw(self, images):
        """The 84 numbers of F6, (B, 84): the picture of 12 x 7 pixels that the network makes of each image."""
        x = as_images("LeNet5", images)
        if x.shape[1:] != (1, 32, 32):
            raise ValueError(f"LeNet5: images must be (B, 1, 32, 32) (images: {tuple(x.shape)})")
        c1 = squash(self.c1(x))  # (B, 6, 28, 28)
        s2 = squash(self.s2(c1))  # (B, 6, 14, 14)
        c3 = squash(self.c3(s2))  # (B, 16, 10, 10)
        s4 = squash(self.s4(c3))  # (B, 16, 5, 5)
        c5 = squash(self.c5(s4))  # (B, 120, 1, 1)
        f6 = squash(self.f6(c5.reshape(len(x), 120)))  # (B, 84)
        self.show(c1=c1, s2=s2, c3=c3, s4=s4, c5=c5, f6=lambda: f6.reshape(len(x), 12, 7))
        return f6

    def connections(self):
        """The number of connections of each layer: a dict, with the layers' names in the paper.

        A connection is an addend of a unit: a product of a number and a weight, or a bias. A weight that is used at 784
        positions makes 784 connections.
        """
        positions = {"c1": 28 * 28, "s2": 14 * 14, "c3": 10 * 10, "s4": 5 * 5, "c5": 1, "f6": 1}
        found = {}
        for name, count in positions.items():
            layer = getattr(self, name)
            weights = 4 * layer.weight.size if name in ("s2", "s4") else layer.weight.size
            found[name.upper()] = count * (weights + layer.bias.size)
        return {**found, "output": self.output.centres.size}


def _within_fan_in(shape, rng):
    """The paper's starting values: uniform within 2.4 / (inputs of a unit)."""
    return init.uniform(shape, 2.4 / int(np.prod(shape[1:])), rng)


ACTIVATIONS = {"relu": ops.relu, "sigmoid": ops.sigmoid, "tanh": ops.tanh}
POOLINGS = {"max": MaxPool2d, "average": AvgPool2d}


class ModernLeNet5(Module):
    """LeNet-5 as it is taught now: C3 sees all maps, the pooling has no weights, the last layer is linear.

    Parameters
    ----------
    num_classes : int, default 10
        K.
    channels : int, default 1
        C of the images.
    image_size : {32, 28}, default 32
        Side of the images. Those of 28 x 28 pixels, as MNIST's, are padded by 2 pixels.
    pooling : {"max", "average"}, default "max"
        How maps are halved.
    activation : {"relu", "sigmoid", "tanh"}, default "relu"
        After every layer but the last.
    rng : numpy.random.Generator, int or None
        Draws the starting values, as torch does; None is seed 0.

    Raises
    ------
    ValueError
        If an option is unknown or a size is not positive, or images do not have ``image_size``.

    Notes
    -----
    61,706 parameters for 10 classes and 1 channel, whatever the pooling.

    References
    ----------
    LeCun et al. 1998, section II-B; Zhang et al., "Dive into deep learning", section 7.6. Slide ``Z/12-lenet``.

    Examples
    --------
    >>> model = ModernLeNet5()
    >>> model(np.zeros((2, 1, 32, 32), np.float32)).shape, sum(p.size for p in model.parameters())
    ((2, 10), 61706)
    """

    def __init__(self, num_classes=10, channels=1, image_size=32, pooling="max", activation="relu", rng=None):
        init.check_sizes("ModernLeNet5", num_classes=num_classes, channels=channels)
        for name, value, known in (
            ("image_size", image_size, (32, 28)),
            ("pooling", pooling, tuple(POOLINGS)),
            ("activation", activation, tuple(ACTIVATIONS)),
        ):
            if value not in known:
                raise ValueError(f"ModernLeNet5: {name} must be one of {known}, got {value!r}")
        rng = init.generator(rng)
        self.image_size = image_size
        self.c1 = Conv2d(channels, 6, 5, padding=(32 - image_size) // 2, rng=rng)
        self.s2 = POOLINGS[pooling](2)
        self.c3 = Conv2d(6, 16, 5, rng=rng)
        self.s4 = POOLINGS[pooling](2)
        self.c5 = Linear(400, 120, rng=rng)
        self.f6 = Linear(120, 84, rng=rng)
        self.output = Linear(84, num_classes, rng=rng)
        self.activation = activation

    def forward(self, images):
        """Logits (B, K) of images (B, C, image_size, image_size)."""
        x = as_images("ModernLeNet5", images)
        if x.shape[2:] != (self.image_size, self.image_size):
            raise ValueError(
                f"ModernLeNet5: images must be {self.image_size} x {self.image_size} (images: {tuple(x.shape)})"
            )
        activation = ACTIVATIONS[self.activation]
        x = self.s2(activation(self.c1(x)))  # (B, 6, 14, 14)
        x = self.s4(activation(self.c3(x)))  # (B, 16, 5, 5)
        x = activation(self.c5(x.reshape(len(x), 400)))  # (B, 120)
        x = activation(self.f6(x))  # (B, 84)
        return self.output(x)
