"""The contrastive loss of CLIP: in a batch, each picture must find its text, and each text its picture.

Not here: the encoders (models/clip.py), losses that compare views of one picture.
"""

import math

from minivis import ops
from minivis.autograd import Tensor
from minivis.backend import namespace, to_numpy
from minivis.complaints import named
from minivis.debugging import may_read
from minivis.precision import rounded, widened

__all__ = ["clip_loss"]

LARGEST_EXPONENT = 709  # exp of more is no float


@named
def clip_loss(image_features, text_features, logit_scale, same=None):
    """Cross-entropy of the right text for each picture, and of the right picture for each text; their mean, in nats.

    .. math::
        L = \\frac12 \\Big( -\\frac1N \\sum_i \\log \\frac{e^{z_{ii}}}{\\sum_j e^{z_{ij}}}
            - \\frac1N \\sum_j \\log \\frac{e^{z_{jj}}}{\\sum_i e^{z_{ij}}} \\Big), \\qquad
        z_{ij} = e^{s}\\, \\frac{u_i \\cdot v_j}{\\lVert u_i \\rVert \\lVert v_j \\rVert}

    It is the mean over rows of the table of similarities, plus the mean over its columns, halved. A model that knows
    nothing has the loss ln N.

    Parameters
    ----------
    image_features : ndarray or Tensor, shape (N, E)
        u; of any length, because they are brought to length 1 here.
    text_features : ndarray or Tensor, shape (N, E)
        v: text i belongs to picture i.
    logit_scale : float, ndarray or Tensor of one number
        s, the logarithm of the factor of the cosines. CLIP learns it.
    same : bool ndarray, shape (N, N), optional
        True at (i, j) if text j fits picture i as well as its own text does, as a caption that occurs twice in the batch.
        Those that fit share the target equally, in rows and in columns. By default text i alone fits picture i.

    Returns
    -------
    ndarray or Tensor, shape ()
        At least 0; 0 for a batch of one pair.

    Raises
    ------
    ValueError
        If the features are not (N, E) alike, there is no pair, ``logit_scale`` is more than one number or too large, or
        ``same`` is not (N, N) with True for every pair.
    TypeError
        If features are not floating-point.

    Notes
    -----
    Differentiable in the features and in ``logit_scale``. Features of zeros have no direction: their cosine with
    everything is 0.

    References
    ----------
    Radford et al., "Learning transferable visual models from natural language supervision", ICML 2021, figure 3.
    Slide ``Z/40-clip``.

    Examples
    --------
    >>> import numpy as np
    >>> clip_loss(np.eye(2), np.eye(2), 0.0).round(6)  # two orthogonal pairs: ln(1 + 1 / e)
    np.float64(0.313262)
    """
    same = same.data if isinstance(same, Tensor) else same
    _check(image_features, text_features, logit_scale, same)
    u, v = ops.normalize(widened(image_features)), ops.normalize(widened(text_features))
    factor = math.exp(logit_scale) if isinstance(logit_scale, int | float) else ops.exp(widened(logit_scale))
    logits = factor * (u @ v.T)  # (N, N)
    back = None if same is None else same.T
    loss = (_row_by_row(logits, same) + _row_by_row(logits.T, back)) * 0.5
    return rounded(loss, image_features.dtype)


def _row_by_row(logits, same):
    """The mean cross-entropy of the rows: the right column is that of the row's own number, or any that is the same."""
    if same is None:
        xp = namespace(logits.data if isinstance(logits, Tensor) else logits)
        return ops.cross_entropy(logits, xp.arange(len(logits)))
    target = same / same.sum(axis=1, keepdims=True)
    return ops.sum(ops.log_softmax(logits, axis=1) * -target.astype(logits.dtype)) / len(logits)


def _check(image_features, text_features, logit_scale, same):
    for name, features in [("image_features", image_features), ("text_features", text_features)]:
        if features.dtype.kind != "f":
            raise TypeError(f"{name} must be floating-point, got {features.dtype.name}")
    shape = tuple(image_features.shape)
    if len(shape) != 2 or shape != tuple(text_features.shape) or not shape[0]:
        raise ValueError("image_features and text_features must be (N, E) alike, with at least one pair")
    if isinstance(logit_scale, int | float):
        if logit_scale > LARGEST_EXPONENT:
            raise ValueError(
                f"logit_scale is the logarithm of the factor, and exp({logit_scale:g}) is too large"
            )
    elif logit_scale.size != 1:
        raise ValueError("logit_scale must be one number")
    if same is None:
        return
    if same.dtype != bool or tuple(same.shape) != (shape[0], shape[0]):
        raise ValueError(f"same must be boolean ({shape[0]}, {shape[0]}), got {same.dtype.name}")
    if may_read(same) and not to_numpy(same).diagonal().all():
        raise ValueError("same must be True for every picture and its own text")
