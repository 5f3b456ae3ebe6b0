"""How good generated pictures are: Frechet distance, precision and recall, nearest neighbours. All compare features.

Not here: the features; a trained classifier gives them (recipes/sagan_digits.py), or the pixels themselves.
"""

import numpy as np

from minivis.backend import to_numpy

__all__ = ["frechet_distance", "nearest_neighbours", "precision_recall"]


def frechet_distance(real, generated):
    """The distance between two sets of features, each described by its mean and covariance. FID is this on Inception.

    .. math:: d = \\lVert \\mu_r - \\mu_g \\rVert^2
        + \\mathrm{tr}\\big(\\Sigma_r + \\Sigma_g - 2 (\\Sigma_r \\Sigma_g)^{1/2}\\big)

    Parameters
    ----------
    real, generated : array_like, shape (N, D) and (M, D)
        Features; N and M may differ, and must be at least 2.

    Returns
    -------
    float
        At least 0; 0 where mean and covariance agree. Its unit is that of the features, squared, so only distances in
        one feature space can be compared. With few samples it is too large: compare with the distance between two sets
        of real pictures of the same numbers.

    Raises
    ------
    ValueError
        If the features are not two tables with the same number of columns, or hold NaN or infinity.

    References
    ----------
    Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash equilibrium", NeurIPS 2017,
    equation 6.

    Examples
    --------
    >>> round(frechet_distance([[0.0], [2.0]], [[3.0], [5.0]]), 6)  # the same spread, 3 further
    9.0
    """
    real, generated = _tables("frechet_distance", real, generated, least=2)
    means = real.mean(axis=0) - generated.mean(axis=0)
    one, other = (np.cov(x, rowvar=False).reshape(x.shape[1], x.shape[1]) for x in (real, generated))
    root = _square_root(one)
    # the product of two covariances has the eigenvalues of root other root, which is symmetric
    mixed = np.linalg.eigvalsh(root @ other @ root).clip(0)
    return max(0.0, float(means @ means + np.trace(one) + np.trace(other) - 2 * np.sqrt(mixed).sum()))


def precision_recall(real, generated, k=3):
    """How many generated pictures look real, and how many real ones the generator could have made.

    The real set is described by balls: one around each picture, as large as the distance to its k-th nearest neighbour
    in the set. Precision is the share of generated pictures that lie in one of them. Recall is the other way around:
    the share of real pictures that lie in a ball of the generated set. A generator that has learned a single good picture
    of each class has high precision and low recall.

    Parameters
    ----------
    real, generated : array_like, shape (N, D) and (M, D)
        Features; each set has more than k rows.
    k : int, default 3
        Which neighbour a ball reaches to.

    Returns
    -------
    precision, recall : float
        0 to 1.

    Raises
    ------
    ValueError
        If the features are not two tables with the same number of columns, or k is not between 1 and the number of rows
        minus 1.

    Notes
    -----
    Both depend on N, M and k, so compare only values with the same ones. Costs N M + N^2 + M^2 distances.

    References
    ----------
    Kynkäänniemi et al., "Improved precision and recall metric for assessing generative models", NeurIPS 2019,
    equations 1 and 2.

    Examples
    --------
    >>> real = [[0.0], [1.0], [10.0], [11.0]]
    >>> precision_recall(real, [[0.4], [0.5]], k=1)  # both look real; they cover none of the real ones
    (1.0, 0.0)
    """
    real, generated = _tables("precision_recall", real, generated, least=2)
    if not hasattr(k, "__index__") or not 1 <= k < min(len(real), len(generated)):
        raise ValueError(
            f"precision_recall: k must be a whole number between 1 and the number of rows minus 1, got {k} "
            f"(real: {real.shape}, generated: {generated.shape})"
        )
    between = _distances(real, generated)
    in_real = between <= _radii(real, k)[:, None]
    in_generated = between <= _radii(generated, k)[None]
    return float(in_real.any(axis=0).mean()), float(in_generated.any(axis=1).mean())


def nearest_neighbours(queries, references, k=1):
    """The nearest rows of a table for each query: has a generator only learned its training pictures by heart?

    Parameters
    ----------
    queries, references : array_like, shape (N, ...) and (M, ...)
        Pictures or features; all axes but the first are one vector.
    k : int, default 1
        How many, at most M.

    Returns
    -------
    indices : ndarray of int64, shape (N, k)
        Rows of ``references``, the nearest first; of equally near ones the first in the table.
    distances : ndarray of float64, shape (N, k)
        Euclidean.

    Raises
    ------
    ValueError
        If the two do not have rows of one shape, there is no row, a row holds NaN or infinity, or k is not between 1
        and M.

    Examples
    --------
    >>> nearest_neighbours([[0.0], [9.0]], [[10.0], [1.0]])
    (array([[1],
           [0]]), array([[1.],
           [1.]]))
    """
    queries, references = (
        to_numpy(np.asarray(x) if isinstance(x, list) else x) for x in (queries, references)
    )
    if queries.shape[1:] != references.shape[1:] or not len(queries) or not len(references):
        raise ValueError(
            f"nearest_neighbours: queries and references must have rows of one shape "
            f"(queries: {queries.shape}, references: {references.shape})"
        )
    if not hasattr(k, "__index__") or not 1 <= k <= len(references):
        raise ValueError(
            f"nearest_neighbours: k must be a whole number between 1 and {len(references)}, got {k}"
        )
    queries, references = (x.reshape(len(x), -1).astype(np.float64) for x in (queries, references))
    if not (np.isfinite(queries).all() and np.isfinite(references).all()):
        raise ValueError(
            "nearest_neighbours: rows must be finite; NaN or infinity means that the model failed"
        )
    distances = _distances(queries, references)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distances, order, axis=1)


def _tables(name, real, generated, least):
    """Both sets of features as float64."""
    tables = [
        np.asarray(to_numpy(np.asarray(x) if isinstance(x, list) else x), np.float64)
        for x in (real, generated)
    ]
    shapes = " and ".join(str(x.shape) for x in tables)
    fit = all(x.ndim == 2 and len(x) >= least for x in tables) and tables[0].shape[1] == tables[1].shape[1]
    if not fit or not tables[0].shape[1]:
        raise ValueError(
            f"{name}: real and generated must be (N, D) and (M, D) with N, M >= {least}, got {shapes}"
        )
    if not all(np.isfinite(x).all() for x in tables):
        raise ValueError(f"{name}: features must be finite; NaN or infinity means that the model failed")
    return tables


def _square_root(covariance):
    """The symmetric root of a covariance matrix."""
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(values.clip(0)) @ vectors.T


def _distances(a, b):
    """Euclidean distances (N, M): of differences, not of squares, so that equal rows have distance 0 exactly."""
    return np.stack([np.sqrt(((row - b) ** 2).sum(axis=1)) for row in a])


def _radii(features, k):
    """The distance of each row to its k-th nearest neighbour, itself not counted."""
    return np.partition(_distances(features, features), k, axis=1)[:, k]
