"""What the features of patches say without a label: their main directions, what stands out, and which patches match.

Not here: the models that compute the features (models/), the pictures of them (viz/features.py).
"""

import numpy as np

from minivis.backend import to_numpy

__all__ = ["foreground", "mutual_nearest", "principal_components"]


def principal_components(features, count=3, where=None):
    """The features of patches along the directions in which they differ most.

    .. math:: C = \\frac{1}{N} \\sum_i (x_i - \\bar x)(x_i - \\bar x)^T = \\sum_k \\lambda_k u_k u_k^T, \\qquad
              s_{ik} = (x_i - \\bar x) \\cdot u_k

    Parameters
    ----------
    features : ndarray or Tensor, shape (N, D)
        One row for each patch. Patches of several pictures, one below the other, get common directions.
    count : int, default 3
        How many directions; at most D.
    where : array_like of bool, shape (N,), optional
        The patches that decide the directions and the mean; default: all.

    Returns
    -------
    scores : ndarray, shape (N, count)
        s, for all patches. The sign of each direction is such that the largest of its numbers is positive.
    shares : ndarray, shape (count,)
        :math:`\\lambda_k / \\sum \\lambda`, the share of the variance along each direction.

    Raises
    ------
    ValueError
        If features are not (N, D) or not finite, where has another length or fewer than two patches, or count is out of
        range.

    References
    ----------
    Oquab et al., "DINOv2: learning robust visual features without supervision", TMLR 2024, figure 1. Slide
    ``A/98-dino-idea``.

    Examples
    --------
    >>> scores, shares = principal_components(np.array([[0.0, 1], [2, 1], [4, 1]]), count=1)
    >>> scores[:, 0].tolist(), shares.tolist()
    ([-2.0, 0.0, 2.0], [1.0])
    """
    name = "principal_components"
    x = _features(name, features, "features").astype(np.float64)
    where = np.ones(len(x), bool) if where is None else np.asarray(where)
    if where.shape != (len(x),) or where.dtype != bool or where.sum() < 2:
        raise ValueError(
            f"{name}: where must be {len(x)} truth values, two of them true, got {where.dtype.name} {where.shape}"
        )
    if not hasattr(count, "__index__") or not 1 <= count <= x.shape[1]:
        raise ValueError(f"{name}: count must be from 1 to D={x.shape[1]}, got {count!r}")
    mean = x[where].mean(axis=0)
    centred = x[where] - mean
    variances, directions = np.linalg.eigh(centred.T @ centred)  # rising
    directions = directions[:, ::-1][:, :count]  # (D, count)
    largest = np.abs(directions).argmax(axis=0)
    directions = directions * np.sign(directions[largest, np.arange(count)])
    shares = variances[::-1][:count].clip(min=0) / max(variances.clip(min=0).sum(), np.finfo(float).tiny)
    dtype = to_numpy(features).dtype
    return ((x - mean) @ directions).astype(dtype), shares.astype(dtype)


def foreground(scores, grid):
    """Which patches stand out: those on one side of a threshold, the side that touches the picture's edge less.

    The threshold is Otsu's: it parts the numbers into two groups so that the variance within the groups is least.

    .. math:: t = \\arg\\max_t\\; p_0(t)\\, p_1(t)\\, (\\mu_0(t) - \\mu_1(t))^2

    Parameters
    ----------
    scores : ndarray, shape (N,)
        A number for each patch, such as the first of its `principal_components`.
    grid : (int, int)
        Rows and columns of the patches.

    Returns
    -------
    ndarray of bool, shape (rows, columns)

    Raises
    ------
    ValueError
        If there are not rows x columns numbers, fewer than two, or one is not finite.

    References
    ----------
    Otsu, "A threshold selection method from gray-level histograms", IEEE Transactions on Systems, Man, and Cybernetics 1979.

    Examples
    --------
    >>> foreground(np.array([0.1, 0, 0, 0.2, 9, 0, 0, 0.1, 0]), (3, 3)).astype(int).tolist()
    [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    """
    scores = to_numpy(scores)
    rows, columns = grid
    if scores.shape != (rows * columns,) or scores.size < 2:
        raise ValueError(f"foreground: expected {rows} x {columns} numbers, got {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("foreground: scores must be finite")
    values = np.sort(scores.astype(np.float64))
    below = np.arange(1, len(values))  # how many are below each threshold
    sums = values.cumsum()
    means = sums[:-1] / below
    others = (sums[-1] - sums[:-1]) / (len(values) - below)
    best = int((below * (len(values) - below) * (means - others) ** 2).argmax())
    mask = (scores > (values[best] + values[best + 1]) / 2).reshape(rows, columns)
    edge = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    inside = mask[1:-1, 1:-1]
    return ~mask if inside.size and edge.mean() > inside.mean() else mask


def mutual_nearest(first, second):
    """Pairs of patches that are each other's nearest, by the cosine of their features.

    .. math:: j = \\arg\\max_j \\cos(x_i, y_j) \\quad \\text{and} \\quad i = \\arg\\max_i \\cos(x_i, y_j)

    Parameters
    ----------
    first, second : ndarray or Tensor, shape (N, D) and (M, D)
        The features of the patches of two pictures.

    Returns
    -------
    pairs : ndarray of int, shape (n, 2)
        The number of a patch in the first and in the second picture; the most similar pair comes first.
    similarities : ndarray, shape (n,)
        The cosine of each pair.

    Raises
    ------
    ValueError
        If the shapes do not fit together, or features are not finite.

    References
    ----------
    Oquab et al., "DINOv2: learning robust visual features without supervision", TMLR 2024, section 7.3.

    Examples
    --------
    >>> pairs, similarities = mutual_nearest(np.array([[1.0, 0], [0, 2]]), np.array([[0.0, 5], [1, 1]]))
    >>> pairs.tolist(), similarities.round(3).tolist()
    ([[1, 0], [0, 1]], [1.0, 0.707])
    """
    x = _features("mutual_nearest", first, "first")
    y = _features("mutual_nearest", second, "second")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"mutual_nearest: first and second differ in width: {x.shape} and {y.shape}")
    tiny = np.finfo(np.float32).tiny
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), tiny)
    y = y / np.maximum(np.linalg.norm(y, axis=1, keepdims=True), tiny)
    cosines = x @ y.T  # (N, M)
    there = cosines.argmax(axis=1)
    back = cosines.argmax(axis=0)
    mutual = np.flatnonzero(back[there] == np.arange(len(x)))
    pairs = np.stack([mutual, there[mutual]], axis=1)
    similarities = cosines[pairs[:, 0], pairs[:, 1]]
    order = np.argsort(-similarities, kind="stable")
    return pairs[order], similarities[order]


def _features(name, features, argument):
    x = to_numpy(features)
    if x.ndim != 2 or x.dtype.kind != "f" or 0 in x.shape:
        raise ValueError(f"{name}: {argument} must be (N, D) floats, got {x.dtype.name} {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"{name}: {argument} must be finite; NaN or infinity means that the model failed")
    return x.astype(np.float32) if x.dtype == np.float16 else x
