"""How far attention looks, in pixels.

Not here: the figures (viz/), class tokens.
"""

from minivis.backend import namespace
from minivis.pairs import checked_pair
from minivis.precision import in_float32

__all__ = ["attention_distance", "query_distances"]


@in_float32
def attention_distance(attention, patch_size, grid):
    """The mean distance between a query patch and the patches it attends to. Small means local, like a convolution.

    .. math:: \\bar d = \\frac{1}{N} \\sum_i \\frac{\\sum_j A_{ij} \\lVert x_i - x_j \\rVert}{\\sum_j A_{ij}}

    where x are the centres of the patches, in pixels.

    Parameters
    ----------
    attention : ndarray, shape (..., N, N)
        Attention weights among patches, without the class token: ``weights[..., 1:, 1:]``. Rows are normalised to sum 1
        again. A row of zeros counts as distance 0.
    patch_size : int or (int, int)
        Height and width of a patch, pixels.
    grid : (int, int)
        Rows and columns of patches; their product is N.

    Returns
    -------
    ndarray, shape (...)
        In pixels, between 0 and the diagonal of the image. There is one value for each batch element and head.

    Raises
    ------
    ValueError
        If ``attention`` is not square or N is not the size of the grid.

    References
    ----------
    Dosovitskiy et al. 2021, figure 7 (right) and appendix D.7. Slides ``A/36-attention-distance``,
    ``A/37-attention-distance-against-receptive-field``, ``H/10-inside-vit``, ``H/19-why-attention-for-detection``.

    Examples
    --------
    >>> import numpy as np
    >>> attention_distance(np.full((2, 2), 0.5), 16, (1, 2))
    array(8.)
    """
    return namespace(attention).asarray(
        _distances("attention_distance", attention, patch_size, grid).mean(axis=-1)
    )


@in_float32
def query_distances(attention, patch_size, grid):
    """The mean distance from each patch to the patches it attends to: `attention_distance` before the mean over the patches.

    .. math:: d_i = \\frac{\\sum_j A_{ij} \\lVert x_i - x_j \\rVert}{\\sum_j A_{ij}}

    Parameters
    ----------
    attention, patch_size, grid
        As for `attention_distance`.

    Returns
    -------
    ndarray, shape (..., N)
        In pixels.

    Raises
    ------
    ValueError
        As `attention_distance`.

    References
    ----------
    Strudel et al., "Segmenter: transformer for semantic segmentation", ICCV 2021, figure 8. Slide ``H/32-field-of-view-adapts``.

    Examples
    --------
    >>> import numpy as np
    >>> query_distances(np.array([[1.0, 0.0], [0.5, 0.5]]), 16, (1, 2))
    array([0., 8.])
    """
    return _distances("query_distances", attention, patch_size, grid)


def _distances(name, attention, patch_size, grid):
    """The mean distance of each query, (..., N)."""
    p, q = checked_pair(name, "patch_size", patch_size)
    rows, columns = checked_pair(name, "grid", grid)
    if attention.ndim < 2 or tuple(attention.shape[-2:]) != (rows * columns,) * 2:
        raise ValueError(
            f"{name}: attention must be (..., N, N) with N = {rows} x {columns} patches, without the class "
            f"token (attention: {tuple(attention.shape)})"
        )
    xp = namespace(attention)
    y, x = (a.reshape(-1) for a in xp.meshgrid(xp.arange(rows) * p, xp.arange(columns) * q, indexing="ij"))
    distance = xp.sqrt((y[:, None] - y) ** 2.0 + (x[:, None] - x) ** 2.0).astype(attention.dtype)  # (N, N)
    total = attention.sum(axis=-1)
    return (attention * distance).sum(axis=-1) / xp.where(total == 0, 1, total)  # (..., N)
