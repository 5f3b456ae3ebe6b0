"""What a token attends to, as a mask: the places that hold most of its attention, and how well they cover an object.

Not here: the attention weights (`nn.looking`, ``ViT.attention_maps``), distances between tokens (distances.py), figures (viz/).
"""

import numpy as np

from minivis.backend import to_numpy

__all__ = ["attention_masks", "jaccard"]


def attention_masks(weights, share=0.6):
    """The places with the largest attention weights that together hold a share of the attention.

    .. math:: \\min n: \\quad \\sum_{i \\le n} a_{(i)} \\ge s \\sum_i a_i, \\qquad a_{(1)} \\ge a_{(2)} \\ge \\dots

    Parameters
    ----------
    weights : ndarray or Tensor, shape (..., N)
        Attention to N places, at least 0. Rows need not sum to 1: the weight of a class token on itself may be left out.
    share : float, default 0.6
        s, above 0 and at most 1.

    Returns
    -------
    ndarray of bool, shape (..., N)
        True for places that are kept, at least one in each row.

    Raises
    ------
    ValueError
        If there is no place, a weight is negative or not finite, or the share is not in that range.

    References
    ----------
    Caron et al., "Emerging properties in self-supervised vision transformers", ICCV 2021, section 4.2.2 and figure 4, which keep
    60 %. Slide ``A/104-dino-attention``.

    Examples
    --------
    >>> attention_masks(np.array([0.1, 0.5, 0.2, 0.2]))
    array([False,  True,  True, False])
    """
    weights = to_numpy(weights)
    weights = weights.astype(np.result_type(weights.dtype, np.float32))
    if weights.ndim < 1 or not weights.shape[-1]:
        raise ValueError(
            f"attention_masks: weights must be (..., N) with N of at least 1, got {weights.shape}"
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError("attention_masks: weights must be finite and at least 0")
    if not 0 < share <= 1:
        raise ValueError(f"attention_masks: share must be above 0 and at most 1, got {share}")
    order = np.argsort(-weights, axis=-1, kind="stable")
    falling = np.take_along_axis(weights, order, axis=-1)
    before = falling.cumsum(axis=-1) - falling  # what the larger ones hold
    kept = before < share * weights.sum(axis=-1, keepdims=True)
    kept[..., 0] = True
    masks = np.empty(kept.shape, bool)
    np.put_along_axis(masks, order, kept, axis=-1)
    return masks


def jaccard(masks, truth):
    """The overlap of two masks of each picture: common pixels over the pixels of either.

    .. math:: J = \\frac{\\lvert M \\cap T \\rvert}{\\lvert M \\cup T \\rvert}

    Parameters
    ----------
    masks, truth : ndarray of bool, shapes (..., H, W)
        They broadcast: one truth (B, 1, H, W) for the masks of all heads (B, h, H, W).

    Returns
    -------
    ndarray of float64, shape (...)
        0 to 1; 1 for two empty masks.

    Raises
    ------
    ValueError
        If the two do not have pixels of one shape.
    TypeError
        If they are not boolean.

    References
    ----------
    Caron et al. 2021, section 4.2.2. Slide ``A/104-dino-attention``.

    Examples
    --------
    >>> jaccard(np.array([[True, True, False]]), np.array([[False, True, True]])).round(3)
    np.float64(0.333)
    """
    masks, truth = to_numpy(masks), to_numpy(truth)
    if masks.dtype != bool or truth.dtype != bool:
        raise TypeError(
            f"jaccard: masks and truth must be boolean, got {masks.dtype.name} and {truth.dtype.name}"
        )
    if masks.ndim < 2 or masks.shape[-2:] != truth.shape[-2:]:
        raise ValueError(
            f"jaccard: masks and truth must be (..., H, W) with one H and W (masks: {masks.shape}, truth: {truth.shape})"
        )
    common = (masks & truth).sum(axis=(-2, -1))
    either = (masks | truth).sum(axis=(-2, -1))
    return np.where(either > 0, common / np.maximum(either, 1), 1.0)
