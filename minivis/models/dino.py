"""DINO: a vision transformer that learns without labels, from a teacher that is a moving average of itself.

Caron et al., "Emerging properties in self-supervised vision transformers", ICCV 2021, sections 3.1 and 3.2. Slides
``A/98-dino-idea`` to ``A/104-dino-attention``.
Not here: the backbone (vit.py), the loss (losses/self_distillation.py), the views (data/multi_crop.py), training (recipes/).
"""

import copy
import math
from dataclasses import dataclass
from itertools import groupby

from minivis import ops
from minivis.autograd import Tensor, no_grad
from minivis.averaging import ema
from minivis.losses.self_distillation import dino_loss, update_centre
from minivis.models.common import as_images, he_normal, small_normal
from minivis.nn import GELU, BatchNorm2d, Conv2d, Dropout, GroupNorm, Linear, Module, Parameter, init
from minivis.nn.module import as_tensor

__all__ = [
    "ConvStem",
    "DINO",
    "DINOHead",
    "DINOOutput",
    "MultiCropNetwork",
    "dino_vitb16",
    "dino_vits16",
    "start_small",
]


class WeightNormLinear(Module):
    """A linear layer without bias whose rows have a fixed length: w = g v / ||v||, where g is 1 and not trained."""

    def __init__(self, in_features, out_features, rng):
        bound = 1 / math.sqrt(in_features)
        self.weight = Parameter(init.uniform((out_features, in_features), bound, rng))  # v
        self.gain = Parameter(init.ones((out_features, 1)))  # g
        self.gain.requires_grad = False

    def forward(self, x):
        return ops.linear(x, self.gain * ops.normalize(self.weight, axis=1))


class DINOHead(Module):
    """From the features of a picture to K scores: an MLP, length 1, then the product with K directions of length 1.

    .. math:: y = \\frac{\\mathrm{MLP}(x)}{\\lVert \\mathrm{MLP}(x) \\rVert}, \\qquad s_k = \\frac{v_k^T y}{\\lVert v_k \\rVert}

    The K directions are like the classes of a classifier, but nobody says what they stand for. After training the head
    is thrown away, and the backbone's features are used.

    Parameters
    ----------
    width : int
        D, the length of the features.
    K : int, default 65536
        Number of scores.
    hidden : int, default 2048
        Width inside the MLP, which has three linear layers.
    bottleneck : int, default 256
        Length of the vector y.
    batch_norm : bool, default False
        Whether batch norm follows the first two linear layers. The paper's ViTs have none; small batches of small
        pictures, whose features are nearly the same at the start, may need it.
    rng : numpy.random.Generator, int or None
        Draws the starting values: normal with standard deviation 0.02, truncated; biases are 0. None is seed 0.

    Raises
    ------
    ValueError
        If a size is not a whole number of at least 1, or the features do not have the length D.

    Notes
    -----
    Parameters for D = 384: 22,352,128; of these the K = 65,536 lengths g are 1 and are not trained.

    References
    ----------
    Caron et al. 2021, section 3.1 and appendix C. Slide ``A/100-centring-and-cross-entropy``.

    Examples
    --------
    >>> import numpy as np
    >>> scores = DINOHead(8, K=16, hidden=12, bottleneck=4)(np.ones((2, 8), np.float32))
    >>> scores.shape, bool(abs(scores.numpy()).max() <= 1)
    ((2, 16), True)
    """

    def __init__(self, width, K=65536, hidden=2048, bottleneck=256, batch_norm=False, rng=None):
        init.check_sizes("DINOHead", width=width, K=K, hidden=hidden, bottleneck=bottleneck)
        rng = init.generator(rng)
        sizes = [(width, hidden), (hidden, hidden), (hidden, bottleneck)]
        self.linears = [Linear(*pair, weight_init=small_normal, rng=rng) for pair in sizes]
        self.norms = [BatchNorm2d(hidden), BatchNorm2d(hidden)] if batch_norm else []
        self.activation = GELU()
        self.last_layer = WeightNormLinear(bottleneck, K, rng)

    def forward(self, x):
        """Scores (B, K) between -1 and 1 of features (B, D)."""
        x = as_tensor(x)
        width = self.linears[0].weight.shape[1]
        if x.ndim != 2 or x.shape[1] != width:
            raise ValueError(f"DINOHead: features must be (B, D={width}) (features: {tuple(x.shape)})")
        for i, linear in enumerate(self.linears[:-1]):
            x = linear(x)
            if self.norms:
                x = self.norms[i](x.reshape(*x.shape, 1, 1)).reshape(x.shape)
            x = self.activation(x)
        return self.last_layer(ops.normalize(self.linears[-1](x), axis=1))


class ConvStem(Module):
    """A 3 x 3 convolution of stride 2, a norm and GELU: the backbone of a hybrid `ViT` for small pictures.

    With ``ViT(patch_size=1, backbone=ConvStem(...))`` each token begins from a neighbourhood of 3 x 3 pixels, which overlaps
    with the next one. Then a token knows from the start whether an edge goes through it; a linear map of 2 x 2 pixels has to
    learn that.

    Parameters
    ----------
    channels : int
        C of the images.
    width : int
        Channels of the map.
    rng : numpy.random.Generator, int or None
        Draws the starting values, He's; None is seed 0.

    Attributes
    ----------
    channels : tuple of int
        Channels of the maps that `features` returns.
    stride : int
        2.

    References
    ----------
    Xiao et al., "Early convolutions help transformers see better", NeurIPS 2021, section 4, which has four of them.

    Examples
    --------
    >>> import numpy as np
    >>> [maps.shape for maps in ConvStem(1, 16).features(np.zeros((5, 1, 22, 22), np.float32))]
    [(5, 16, 11, 11)]
    """

    stride = 2

    def __init__(self, channels, width, rng=None):
        init.check_sizes("ConvStem", channels=channels, width=width)
        self.conv = Conv2d(
            channels, width, 3, stride=2, padding=1, weight_init=he_normal, rng=init.generator(rng)
        )
        self.norm = GroupNorm(1, width)
        self.activation = GELU()
        self.channels = (width,)

    def forward(self, images):
        return self.features(images)[-1]

    def features(self, images):
        """A list with the one map (B, D, H / 2, W / 2)."""
        return [self.activation(self.norm(self.conv(as_images("ConvStem", images))))]


class MultiCropNetwork(Module):
    """A backbone and its head, for views of several sizes: one pass of the backbone for each size, one of the head for all.

    Parameters
    ----------
    backbone : Module
        Gives features (B, D) of images, such as ``ViT(num_classes=0)``. Its constructor has an argument ``width``, which is D.
    K, hidden, bottleneck, batch_norm, rng
        See `DINOHead`.

    Raises
    ------
    ValueError
        If the backbone has no width.

    References
    ----------
    Caron et al. 2021, section 3.1, and ``MultiCropWrapper`` of its published code. Slide ``A/102-multi-crop``.

    Examples
    --------
    >>> import numpy as np
    >>> from minivis.models import ViT
    >>> vit = ViT(8, patch_size=2, width=16, depth=1, heads=2, num_classes=0, channels=1)
    >>> network = MultiCropNetwork(vit, K=5, hidden=8, bottleneck=4)
    >>> network([np.zeros((3, 1, side, side), np.float32) for side in (8, 8, 4)]).shape
    (9, 5)
    """

    def __init__(self, backbone, K=65536, hidden=2048, bottleneck=256, batch_norm=False, rng=None):
        width = getattr(backbone, "config", {}).get("width")
        if width is None:
            raise ValueError(
                f"MultiCropNetwork: backbone must have been made with a width, as a ViT is, got {type(backbone).__name__}"
            )
        self.backbone = backbone
        self.head = DINOHead(width, K, hidden, bottleneck, batch_norm, rng)

    def forward(self, views):
        """Scores (V B, K) of one batch of images, or of a list of V batches, view after view."""
        return self.head(self.features(views))

    def features(self, views):
        """The backbone's features (V B, D): no head."""
        views = list(views) if isinstance(views, (list, tuple)) else [views]
        parts = []
        for _, same in groupby(views, key=lambda view: tuple(view.shape[1:])):
            same = list(same)
            parts.append(self.backbone(ops.concatenate(same, axis=0) if len(same) > 1 else same[0]))
        return ops.concatenate(parts, axis=0) if len(parts) > 1 else as_tensor(parts[0])


@dataclass
class DINOOutput:
    """What `DINO` returns for the views of a batch.

    Attributes
    ----------
    student : Tensor, shape (V B, K)
        The student's scores of all views, view after view.
    teacher : Tensor, shape (G B, K)
        The teacher's scores of the first G views. They have no gradient.
    loss : Tensor, shape ()
        `dino_loss` of both, with the centre from before this batch.
    """

    student: Tensor
    teacher: Tensor
    loss: Tensor


class DINO(Module):
    """A student and its teacher: one architecture, two sets of weights. Only the student learns by gradients.

    In training, a call computes the loss and then updates the centre; `follow` moves the teacher after the optimiser's
    step. Nobody tells either network what is in a picture.

    Parameters
    ----------
    backbone : Module
        Gives features (B, D) of images, such as ``ViT(num_classes=0)``. The teacher gets a copy.
    K : int, default 65536
        Number of scores of the heads.
    hidden, bottleneck, batch_norm
        See `DINOHead`.
    student_temp, teacher_temp : float, defaults 0.1 and 0.04
        Temperatures, see `dino_loss`. The attribute ``teacher_temp`` may be changed during training: the paper's longer
        trainings raise it to 0.07.
    centre_momentum : float, default 0.9
        See `update_centre`. 1 leaves the centre at 0: no centring.
    global_views : int, default 2
        G, the number of views that the teacher sees too: the first ones.
    rng : numpy.random.Generator, int or None
        Draws the starting values of the heads; None is seed 0.

    Attributes
    ----------
    student, teacher : MultiCropNetwork
        At first the teacher is a copy of the student. It drops nothing: drop path and dropout are the student's.
    centre : ndarray, shape (K,)
        A buffer: the moving mean of the teacher's scores.

    Raises
    ------
    ValueError
        If there are no two views or fewer than G, or they do not have one batch size.

    References
    ----------
    Caron et al. 2021, algorithm 1. Slides ``A/98-dino-idea``, ``A/99-student-and-teacher``, ``A/103-avoiding-collapse``.

    Examples
    --------
    >>> import numpy as np
    >>> from minivis.models import ViT
    >>> model = DINO(ViT(8, patch_size=2, width=16, depth=1, heads=2, num_classes=0, channels=1), K=32, hidden=16, bottleneck=8)
    >>> output = model([np.zeros((3, 1, side, side), np.float32) for side in (8, 8, 4, 4)])
    >>> output.student.shape, output.teacher.shape, output.loss.shape
    ((12, 32), (6, 32), ())
    """

    def __init__(
        self, backbone, K=65536, hidden=2048, bottleneck=256, batch_norm=False, student_temp=0.1, teacher_temp=0.04,
        centre_momentum=0.9, global_views=2, rng=None,
    ):  # fmt: skip
        init.check_sizes("DINO", global_views=global_views)
        self.student = MultiCropNetwork(backbone, K, hidden, bottleneck, batch_norm, init.generator(rng))
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        for module in self.teacher.modules():
            if isinstance(module, Dropout):  # and drop path
                module.p = 0.0
        self.centre = init.zeros((K,))
        self.student_temp, self.teacher_temp = student_temp, teacher_temp
        self.centre_momentum, self.global_views = centre_momentum, global_views

    def forward(self, views):
        """Compare student and teacher on the views of a batch.

        Parameters
        ----------
        views : list of ndarray or Tensor, each of shape (B, C, H, W)
            V views of the same B pictures; the first G are large. Sizes may differ between views.

        Returns
        -------
        DINOOutput
        """
        views = self._checked(views)
        student = self.student(views)
        with no_grad():
            teacher = self.teacher(views[: self.global_views])
        temperatures = self.student_temp, self.teacher_temp
        loss = dino_loss(student, teacher, self.centre, len(views), *temperatures)
        if self.training:
            self.centre[...] = update_centre(self.centre, teacher, self.centre_momentum)
        return DINOOutput(student, teacher, loss)

    def follow(self, momentum):
        """Move the weights of the teacher towards those of the student; see `minivis.averaging.ema`.

        Running statistics of batch norm stay the teacher's own.
        """
        student = {name: p.data for name, p in self.student.named_parameters()}
        teacher = {name: p.data for name, p in self.teacher.named_parameters()}
        self.teacher.load_state_dict(ema(teacher, student, momentum), strict=False)

    def features(self, images):
        """The teacher's features (B, D) of images (B, C, H, W): the class token, for a `ViT`."""
        return self.teacher.features(images)

    def example(self):
        """The inputs of one call, for drawings and tables: one picture, seen twice in full."""
        side, channels = self.student.backbone.config["image_size"], self.student.backbone.config["channels"]
        return ([init.zeros((1, channels, side, side))] * max(2, self.global_views),)

    def _checked(self, views):
        """The views as Tensors on the model's device."""
        if not isinstance(views, (list, tuple)) or len(views) < max(2, self.global_views):
            found = f"{len(views)} views" if isinstance(views, (list, tuple)) else type(views).__name__
            raise ValueError(
                f"DINO: views must be a list of two or more, the first {self.global_views} of them for the teacher too, "
                f"got {found}"
            )
        if len({view.shape[0] for view in views}) > 1 or any(view.ndim != 4 for view in views):
            shapes = ", ".join(str(tuple(view.shape)) for view in views)
            raise ValueError(f"DINO: every view must be (B, C, H, W) with one B, got {shapes}")
        return list(views)


def start_small(module, rng=None):
    """Draw the weights of all linear layers again, with a standard deviation of 0.02, as DINO's published code does.

    The scores of an attention layer are then close to 0, so that an untrained network attends to all tokens alike.

    Parameters
    ----------
    module : Module
        Its linear layers change in place: normal weights, truncated at 0.04; biases are 0.
    rng : numpy.random.Generator, int or None
        Draws the values; None is seed 0.

    Returns
    -------
    Module
        The same.

    References
    ----------
    ``vision_transformer.py`` of the published code of Caron et al. 2021.

    Examples
    --------
    >>> from minivis.nn import Linear
    >>> bool(abs(start_small(Linear(8, 8)).weight.numpy()).max() <= 0.04)
    True
    """
    rng = init.generator(rng)
    for layer in module.modules():
        if isinstance(layer, Linear):
            layer.weight.data = small_normal(layer.weight.shape, rng)
            if layer.bias is not None:
                layer.bias.data = init.zeros(layer.bias.shape)
    return module


def dino_vits16(rng=None, **options):
    """dino_vits16: two ViTs with patches of 16 x 16, width 384, 12 blocks, 6 heads, and heads with 65,536 scores.

    44,017,792 parameters in each network, 21,665,664 of them in the backbone.

    Parameters
    ----------
    rng : numpy.random.Generator, int or None
        Draws the starting values; None is seed 0.
    **options
        Arguments of `DINO`, for example ``K=4096``.

    Returns
    -------
    DINO
    """
    return _published(384, 6, rng, options)


def dino_vitb16(rng=None, **options):
    """dino_vitb16: two ViTs with patches of 16 x 16, width 768, 12 blocks, 12 heads, and heads with 65,536 scores.

    108,937,216 parameters in each network, 85,798,656 of them in the backbone.

    Parameters
    ----------
    rng, **options
        As for `dino_vits16`.

    Returns
    -------
    DINO
    """
    return _published(768, 12, rng, options)


def _published(width, heads, rng, options):
    """The paper's sizes; drop path is the student's alone."""
    from minivis.models.vit import ViT

    rng = init.generator(rng)
    backbone = ViT(224, 16, width, 12, heads, num_classes=0, drop_path=0.1, rng=rng)
    return DINO(start_small(backbone, rng), rng=rng, **options)
