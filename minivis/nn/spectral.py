"""SpectralNorm and ConditionalBatchNorm2d: how GANs keep their layers in bounds, and tell them the class.

Not here: the mathematics of batch norm (ops/normalization.py), other norms (norm.py).
"""

import numpy as np

from minivis import ops
from minivis.autograd import Tensor
from minivis.backend import check_floating, namespace
from minivis.complaints import named
from minivis.nn import init
from minivis.nn.module import Module, Parameter, as_tensor
from minivis.nn.norm import BatchNorm2d
from minivis.precision import rounded, widened

__all__ = ["ConditionalBatchNorm2d", "SpectralNorm", "spectral_norm"]


def _check(weight, u):
    if weight.ndim < 2 or u.shape != weight.shape[:1]:
        raise ValueError("weight must be (O, ...) with two axes or more, and u (O,)")


@named
def spectral_norm(weight, u, iterations=1, eps=1e-12):
    """Divide a weight by its largest singular value, so that the layer enlarges no vector.

    .. math:: v \\leftarrow \\frac{W^T u}{\\lVert W^T u \\rVert}, \\quad u \\leftarrow \\frac{W v}{\\lVert W v \\rVert},
        \\qquad \\hat W = \\frac{W}{\\sigma}, \\quad \\sigma = u^T W v

    In the backward pass u and v are constants, but sigma depends on W, so that the gradient is orthogonal to W:

    .. math:: \\bar W = \\frac{1}{\\sigma} \\big(G - \\langle G, \\hat W \\rangle\\, u v^T\\big),
        \\quad G = \\bar{\\hat W}

    One iteration in every training step is enough: the weight changes little between two steps, and u is kept.

    Parameters
    ----------
    weight : ndarray or Tensor, shape (O, ...)
        Of a convolution (O, C, kh, kw): a matrix with a row for each output channel.
    u : ndarray or Tensor, shape (O,)
        The left vector so far; any vector that is not orthogonal to the first singular vector will do.
    iterations : int, default 1
        Steps of the power iteration. With 0, u stays as it is, up to its length, and v fits it; for evaluation.
    eps : float, default 1e-12
        Vectors shorter than this are divided by it.

    Returns
    -------
    weight : ndarray or Tensor
        The divided weight, in shape and dtype of ``weight``.
    u : ndarray, shape (O,)
        The new left vector, of length 1, for the next call.

    Raises
    ------
    ValueError
        If u does not fit the weight, or ``iterations`` is negative.
    TypeError
        If the weight or u is not floating-point.

    Notes
    -----
    Differentiable in the weight. A weight of zeros has no largest singular value to divide by: the result is NaN. For a convolution this bounds the matrix of the filters, not
    the convolution itself, whose norm can be larger by a factor up to sqrt(kh kw).

    References
    ----------
    Miyato et al., "Spectral normalization for generative adversarial networks", ICLR 2018, equations 8 and 12, algorithm 1;
    Zhang et al., "Self-attention generative adversarial networks", ICML 2019, section 4.1.

    Examples
    --------
    >>> import numpy as np
    >>> weight, u = spectral_norm(np.array([[3.0, 0.0], [4.0, 5.0]]), np.array([1.0, 0.0]))  # sigma is 5 after one step
    >>> weight[0], u
    (array([0.6, 0. ]), array([0.6, 0.8]))
    """
    raw, u = (x.data if isinstance(x, Tensor) else x for x in (weight, u))
    check_floating("spectral_norm", raw, "weight")
    check_floating("spectral_norm", u, "u")
    _check(raw, u)
    if iterations < 0:
        raise ValueError(f"iterations must be at least 0, got {iterations}")
    matrix = widened(raw).reshape(raw.shape[0], -1)
    left = _unit(widened(u), eps)
    right = _unit(matrix.T @ left, eps)
    for i in range(iterations):
        right = _unit(matrix.T @ left, eps) if i else right
        left = _unit(matrix @ right, eps)
    wide = widened(weight)
    sigma = ops.sum(wide * namespace(raw).outer(left, right).reshape(raw.shape))  # u^T W v
    return rounded(wide / sigma, raw.dtype), rounded(left, raw.dtype)


def _unit(vector, eps):
    """A vector divided by its length."""
    length = namespace(vector).sqrt((vector * vector).sum())
    return vector / length.clip(eps)


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
        divided, u = spectral_norm(weight, self.u, 1 if self.training else 0)
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
