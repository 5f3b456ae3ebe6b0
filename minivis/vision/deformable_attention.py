"""Multi-scale deformable attention: every query reads a few points of several maps, instead of every pixel.

Not here: the layer that predicts the points and their weights (models/mask2former.py).
"""

import itertools

from minivis import backend, ops
from minivis.autograd import primitive
from minivis.backend import namespace

__all__ = ["multi_scale_deformable_attention", "multi_scale_deformable_attention_composed"]


@primitive
def multi_scale_deformable_attention(values, shapes, locations, weights):
    """Let each query read a few points of several maps, between pixels too, and mix what it finds.

    .. math:: y_{q,h} = \\sum_{l=1}^{L} \\sum_{p=1}^{P} A_{q,h,l,p}\\; v_{l,h}(z_{q,h,l,p})

    where v_l(z) is map l read bilinearly at the point z, and 0 outside the map.

    Parameters
    ----------
    values : ndarray or Tensor, shape (B, N, h, d)
        The pixels of all maps one after another, each map in reading order; N = sum of H_l W_l.
    shapes : list of (int, int)
        Height and width of every map, L of them, pixels.
    locations : ndarray or Tensor, shape (B, Q, h, L, P, 2)
        Where each query and head reads in each map: (x, y) in [0, 1], from edge to edge; points beyond find zeros.
    weights : ndarray or Tensor, shape (B, Q, h, L, P)
        How much each point counts; in the papers the L P weights of a query and head come from a softmax.

    Returns
    -------
    ndarray or Tensor, shape (B, Q, h d)
        The heads side by side, in the dtype of ``values``.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    TypeError
        If an array is not floating-point.

    Notes
    -----
    Differentiable in values, locations and weights. B Q h L P 4 d multiply-adds: linear in the number of queries, where
    attention to every pixel is linear in Q times N. It is a product with a sparse matrix that has 4 L P numbers in the row
    of a query, and its backward is the product with the transpose. Points that are NaN lie outside.

    References
    ----------
    Zhu et al., "Deformable DETR: deformable transformers for end-to-end object detection", ICLR 2021, equation 3. Cheng et
    al., "Masked-attention mask transformer for universal image segmentation", CVPR 2022, section 3.2.1.

    Examples
    --------
    >>> import numpy as np
    >>> values = np.array([1.0, 3.0]).reshape(1, 2, 1, 1)  # one map of one row
    >>> middle, all_of_it = np.full((1, 1, 1, 1, 1, 2), 0.5), np.ones((1, 1, 1, 1, 1))
    >>> multi_scale_deformable_attention(values, [(1, 2)], middle, all_of_it)
    array([[[2.]]])
    """
    xp = namespace(values, locations, weights)
    _check(values, shapes, locations, weights)
    (B, N, h, d), (_, Q, _, L, P) = values.shape, weights.shape
    rows, A = (
        values.reshape(B * N * h, d),
        weights.reshape(B * Q * h, L * P),
    )  # one head of a pixel, of a query, in each
    corners = _corners(xp, shapes, locations, N)
    at = [first + second for (first, _, _), (second, _, _) in corners]
    mix = [(w_y * w_x * A).astype(rows.dtype, copy=False) for (_, w_y, _), (_, w_x, _) in corners]

    def vjp(g):
        g = g.reshape(B * Q * h, d)
        g_A, g_x, g_y = 0, 0, 0
        for a, ((_, w_y, slope_y), (_, w_x, slope_x)) in zip(at, corners, strict=True):
            found = xp.einsum("rkd,rd->rk", xp.take(rows, a, axis=0), g)
            g_A = g_A + found * (w_y * w_x)
            g_x = g_x + found * (w_y * slope_x)
            g_y = g_y + found * (slope_y * w_x)
        g_locations = xp.stack([g_x * A, g_y * A], axis=-1).reshape(locations.shape)
        return (
            _scatter(xp, mix, at, g, rows).reshape(values.shape),
            None,
            g_locations.astype(locations.dtype, copy=False),
            g_A.reshape(weights.shape).astype(weights.dtype, copy=False),
        )

    return _gather(xp, mix, at, rows).reshape(B, Q, h * d), vjp


def _corners(xp, shapes, locations, N):
    """The four pixels around every point, each as its row and its column: (index, share, slope) of (B Q h, L P)."""
    B, Q, h, L, P, _ = locations.shape
    H, W = (xp.asarray([[side] for side in sides]) for sides in zip(*shapes, strict=True))  # (L, 1)
    starts = itertools.accumulate((height * width for height, width in shapes[:-1]), initial=0)
    image = (xp.arange(B) * N).reshape(B, 1, 1, 1, 1) + xp.asarray([[start] for start in starts])
    head = xp.arange(h).reshape(h, 1, 1)
    height, width = (max(sides) for sides in zip(*shapes, strict=True))
    columns = [(at * h + head, *rest) for at, *rest in _neighbours(xp, locations[..., 0], W, width)]
    rows = [((image + at * W) * h, *rest) for at, *rest in _neighbours(xp, locations[..., 1], H, height)]
    columns, rows = (
        [[part.reshape(B * Q * h, L * P) for part in parts] for parts in pair] for pair in (columns, rows)
    )
    return list(itertools.product(rows, columns))


def _neighbours(xp, place, size, largest):
    """The two pixels beside each place along one axis: index, share, and how fast the share grows with the place."""
    scale = size.astype(place.dtype)
    place = xp.clip(place * scale - 0.5, -2, largest + 1)  # in pixels; nothing is read beyond
    low = xp.floor(place)
    for index, share, sign in ((low, low + 1 - place, -1), (low + 1, place - low, 1)):
        inside = (index >= 0) & (index < scale)
        yield xp.where(inside, index, 0).astype(xp.int64), xp.where(inside, share, 0), inside * (scale * sign)


def _gather(xp, mix, at, rows):
    """Row r of the result is the sum of ``mix[c][r, k] * rows[at[c][r, k]]`` over c and k: a sparse matrix times rows."""
    if backend.device_of(rows) == "cpu":
        return _sparse(xp, mix, at, rows) @ rows
    return sum(xp.einsum("rk,rkd->rd", m, xp.take(rows, a, axis=0)) for m, a in zip(mix, at, strict=True))


def _scatter(xp, mix, at, g, rows):
    """The adjoint of `_gather` in its rows: the transposed matrix times g."""
    if backend.device_of(g) == "cpu":
        return _sparse(xp, mix, at, rows).T @ g
    out = xp.zeros(rows.shape, g.dtype)
    for m, a in zip(mix, at, strict=True):
        backend.scatter_add(out, a.ravel(), (m[..., None] * g[:, None]).reshape(-1, g.shape[1]))
    return out


def _sparse(xp, mix, at, rows):
    """The matrix of all shares, (B h Q, B h N): NumPy gathers and scatters rows ten times slower than SciPy multiplies."""
    from scipy.sparse import csr_array

    mix, at = xp.concatenate(mix, axis=1), xp.concatenate(at, axis=1)
    first = xp.arange(mix.shape[0] + 1) * mix.shape[1]
    return csr_array((mix.ravel(), at.ravel(), first), shape=(mix.shape[0], rows.shape[0]))


def multi_scale_deformable_attention_composed(values, shapes, locations, weights):
    """`multi_scale_deformable_attention` written with `grid_sample`, one map after another. Equal, and slower.

    Parameters
    ----------
    values, shapes, locations, weights
        As for `multi_scale_deformable_attention`.

    Returns
    -------
    ndarray or Tensor, shape (B, Q, h d)

    Examples
    --------
    >>> import numpy as np
    >>> values, middle = np.array([1.0, 3.0]).reshape(1, 2, 1, 1), np.full((1, 1, 1, 1, 1, 2), 0.5)
    >>> multi_scale_deformable_attention_composed(values, [(1, 2)], middle, np.ones((1, 1, 1, 1, 1)))
    array([[[2.]]])
    """
    _check(values, shapes, locations, weights)
    (B, _, h, d), (_, Q, _, _, P, _) = values.shape, locations.shape
    start, total = 0, 0
    for level, (H, W) in enumerate(shapes):
        image = ops.transpose(values[:, start : start + H * W], (0, 2, 3, 1))  # (B, h, d, H W)
        grid = ops.transpose(locations[:, :, :, level] * 2 - 1, (0, 2, 1, 3, 4))  # (B, h, Q, P, 2)
        found = ops.grid_sample(
            ops.reshape(image, (B * h, d, H, W)), ops.reshape(grid, (B * h, Q, P, 2))
        )  # (B h, d, Q, P)
        share = ops.reshape(ops.transpose(weights[:, :, :, level], (0, 2, 1, 3)), (B * h, 1, Q, P))
        total = total + ops.sum(found * share, axis=-1)
        start += H * W
    return ops.transpose(ops.reshape(total, (B, h * d, Q)), (0, 2, 1))


def _check(values, shapes, locations, weights):
    name = "multi_scale_deformable_attention"
    told = (
        f"(values: {tuple(values.shape)}, shapes: {[tuple(shape) for shape in shapes]}, "
        f"locations: {tuple(locations.shape)}, weights: {tuple(weights.shape)})"
    )
    for argument, x in (("values", values), ("locations", locations), ("weights", weights)):
        if x.dtype.kind != "f":
            raise TypeError(f"{name}: {argument} must be floating-point, got {x.dtype.name} {told}")
    pixels = sum(H * W for H, W in shapes)
    if values.ndim != 4 or not shapes or values.shape[1] != pixels:
        raise ValueError(
            f"{name}: values must be (B, N, h, d) with N = {pixels}, the pixels of all shapes {told}"
        )
    B, _, h, _ = values.shape
    if locations.ndim != 6 or locations.shape[-1] != 2 or weights.ndim != 5:
        raise ValueError(f"{name}: locations must be (B, Q, h, L, P, 2) and weights (B, Q, h, L, P) {told}")
    if tuple(locations.shape[:-1]) != tuple(weights.shape) or (B, h, len(shapes)) != (
        weights.shape[0],
        *weights.shape[2:4],
    ):
        raise ValueError(
            f"{name}: locations and weights must share B and h with values and L with shapes {told}"
        )
