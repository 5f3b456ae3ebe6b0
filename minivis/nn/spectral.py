"""SpectralNorm and ConditionalBatchNorm2d: how GANs keep their layers in bounds, and tell them the class.

Not here: the mathematics (ops/spectral.py, ops/normalization.py), other norms (norm.py).
"""

import numpy as np

from minivis import ops
from minivis.nn import init
from minivis.nn.module import Module, Parameter, as_tensor
from minivis.nn.norm import BatchNorm2d

__all__ = ["ConditionalBatchNorm2d", "SpectralNorm"]


class SpectralNorm(Module):
    """A layer whose weight is divided by its largest singular value in every call.

    .. math:: y = \\mathrm{layer}_{\\hat W}(x), \\qquad \\hat W = W / \\sigma(W)

    The discriminator of a GAN then cannot change faster than its input, whatever it learns. In training each call takes
    one step of the power iteration; in evaluation u stays as it is.

    Parameters
    ----------
    layer : Module
        A `Linear`, `Conv2d` or `Embedding`: its ``weight`` is (O, ...).
    rng : numpy.random.Generator, int or None
        Draws the first u; None is seed 0.

    Attributes
    ----------
    layer : Module
        Its weight is what is trained and saved: it is not divided.
    u : ndarray, shape (O,)
        A buffer: the left vector of the power iteration, of length 1.

    Raises
    ------
    ValueError
        If the layer has no weight of that form.

    Notes
    -----
    The first few calls after the start underestimate sigma, because u is drawn at random.

    References
    ----------
    Miyato et al., "Spectral normalization for generative adversarial networks", ICLR 2018, algorithm 1; Zhang et al.,
    "Self-attention generative adversarial networks", ICML 2019, section 4.1.

    Examples
    --------
    >>> import numpy as np
    >>> from minivis import nn
    >>> layer = SpectralNorm(nn.Linear(2, 2, bias=False))
    >>> layer.layer.weight.data = np.array([[30.0, 0.0], [0.0, 1.0]], np.float32)
    >>> for _ in range(20):
    ...     y = layer(np.eye(2, dtype=np.float32))
    >>> y.numpy().round(3)
    array([[1.   , 0.   ],
           [0.   , 0.033]], dtype=float32)
    """

    def __init__(self, layer, *, rng=None):
        weight = getattr(layer, "weight", None)
        if not isinstance(weight, Parameter) or weight.ndim < 2 or hasattr(layer, "output_padding"):
            raise ValueError(
                f"SpectralNorm: needs a Linear, Conv2d or Embedding, whose weight is (O, ...), got {layer!r:.80}"
            )
        self.layer = layer
        u = init.normal(weight.shape[:1], 1.0, init.generator(rng))
        self.u = u / max(1e-12, float((u * u).sum() ** 0.5))

    def forward(self, *inputs):
        weight = self.layer.weight
        divided, u = ops.spectral_norm(weight, self.u, 1 if self.training else 0)
        if self.training:
            self.u[...] = u
        self.layer.weight = divided  # for this call only: what is trained stays the weight itself
        try:
            return self.layer(*inputs)
        finally:
            self.layer.weight = weight


class ConditionalBatchNorm2d(Module):
    """Batch norm whose scale and shift depend on the class of the image: how a generator is told what to draw.

    .. math:: y = \\gamma_k\\, \\frac{x - \\mu}{\\sqrt{\\sigma^2 + \\epsilon}} + \\beta_k

    Parameters
    ----------
    num_features : int
        C of the maps (B, C, H, W).
    num_classes : int
        K.
    eps : float, default 1e-5
        Added to the variance.
    momentum : float, default 0.1
        Weight of the new batch in the running statistics.

    Attributes
    ----------
    norm : BatchNorm2d
        Without scale and shift; it has the running statistics, which all classes share.
    weight, bias : Parameter, shape (K, C)
        Scale and shift of each channel for each class; they start at 1 and 0.

    Raises
    ------
    ValueError
        If maps and labels do not fit.
    IndexError
        If a label is not one of the K classes.

    References
    ----------
    Dumoulin et al., "A learned representation for artistic style", ICLR 2017, equation 5; Zhang et al.,
    "Self-attention generative adversarial networks", ICML 2019, section 5.

    Examples
    --------
    >>> import numpy as np
    >>> norm = ConditionalBatchNorm2d(3, num_classes=10)
    >>> norm(np.ones((2, 3, 4, 4), np.float32), np.array([7, 0])).shape
    (2, 3, 4, 4)
    """

    def __init__(self, num_features, num_classes, eps=1e-5, momentum=0.1):
        init.check_sizes("ConditionalBatchNorm2d", num_features=num_features, num_classes=num_classes)
        self.norm = BatchNorm2d(num_features, eps=eps, momentum=momentum, affine=False)
        self.weight = Parameter(init.ones((num_classes, num_features)))
        self.bias = Parameter(init.zeros((num_classes, num_features)))

    def forward(self, x, labels):
        x = as_tensor(x)
        labels = np.asarray(labels) if isinstance(labels, (list, tuple)) else labels
        K, C = self.weight.shape
        shape = getattr(labels, "shape", None)
        if x.ndim != 4 or x.shape[1] != C or shape is None or tuple(shape) != x.shape[:1]:
            raise ValueError(
                f"ConditionalBatchNorm2d: x must be (B, C={C}, H, W) and labels (B,) "
                f"(x: {tuple(x.shape)}, labels: {type(labels).__name__ if shape is None else tuple(shape)})"
            )
        scale = ops.embedding(labels, self.weight).reshape(len(labels), C, 1, 1)
        shift = ops.embedding(labels, self.bias).reshape(len(labels), C, 1, 1)
        return self.norm(x) * scale + shift

    def extra_repr(self):
        K, C = self.weight.shape
        return f"{C}, {K} classes, eps={self.norm.eps:g}, momentum={self.norm.momentum}"
