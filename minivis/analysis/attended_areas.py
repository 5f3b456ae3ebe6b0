"""How much of an image a query attends to, and means over groups of queries, such as those on large things.

Not here: distances (distances.py), the masks themselves (attended.py), figures (viz/).
"""

import numpy as np

from minivis.analysis.attended import attention_masks
from minivis.backend import to_numpy

__all__ = ["attended_area", "mean_of_groups"]


def attended_area(attention, share=0.9):
    """The share of the places that hold most of a query's attention. 1 / N for a query that looks at one place.

    .. math:: \\frac{1}{N} \\min \\Big\\{ n : \\sum_{j \\le n} A_{i(j)} \\ge s \\sum_j A_{ij} \\Big\\}

    where the weights of a row are in falling order.

    Parameters
    ----------
    attention : ndarray or Tensor, shape (..., N)
        Attention weights of queries on N places, at least 0.
    share : float, default 0.9
        s, above 0 and at most 1.

    Returns
    -------
    ndarray of float64, shape (...)
        Above 0 and at most 1. Times the pixels of the image it is an area.

    Raises
    ------
    ValueError
        As `attention_masks`.

    References
    ----------
    Strudel et al., "Segmenter: transformer for semantic segmentation", ICCV 2021, section 4.5, measure areas of a similar kind by
    head and depth. Slide ``H/33-attended-area``.

    Examples
    --------
    >>> attended_area(np.array([[0.25, 0.25, 0.25, 0.25], [0.95, 0.05, 0.0, 0.0]]))
    array([1.  , 0.25])
    """
    return attention_masks(attention, share).mean(axis=-1)


def mean_of_groups(values, groups, count):
    """The mean of a quantity of queries over each group of queries, head by head.

    Parameters
    ----------
    values : ndarray, shape (B, h, N)
        One number for each head and query, such as `query_distances` or `attended_area`.
    groups : ndarray of int, shape (B, N)
        The group of each query, 0 to ``count`` - 1; -1 belongs to none.
    count : int
        How many groups there are.

    Returns
    -------
    ndarray of float64, shape (count, h)
        NaN for a group without a query. What queries of other groups have does not matter, not even if it is NaN.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a group is out of range.
    TypeError
        If the groups are not integers.

    References
    ----------
    Slide ``H/32-field-of-view-adapts``.

    Examples
    --------
    >>> mean_of_groups(np.array([[[1.0, 3.0, 10.0]]]), np.array([[0, 0, 1]]), 2)
    array([[ 2.],
           [10.]])
    """
    values, groups = to_numpy(values), to_numpy(groups)
    if values.ndim != 3 or groups.shape != (values.shape[0], values.shape[2]):
        raise ValueError(
            f"mean_of_groups: needs values (B, h, N) and groups (B, N) (values: {values.shape}, groups: {groups.shape})"
        )
    if groups.dtype.kind not in "iu":
        raise TypeError(f"mean_of_groups: groups must be integers, got {groups.dtype.name}")
    if groups.size and not (-1 <= groups.min() and groups.max() < count):
        raise ValueError(
            f"mean_of_groups: groups must be -1 to {count - 1}, got {groups.min()} to {groups.max()}"
        )
    of_heads = np.moveaxis(values.astype(np.float64), 1, -1)  # (B, N, h)
    means = np.full((count, values.shape[1]), np.nan)
    for group in range(count):
        chosen = of_heads[groups == group]  # (queries, h)
        if len(chosen):
            means[group] = chosen.mean(axis=0)
    return means
