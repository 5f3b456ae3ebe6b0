"""Multi-scale deformable attention: every query samples a few points of several maps instead of attending to every pixel.

Not here: the layer that predicts the points and their weights (models/pixel_decoder.py).
"""

from collections import namedtuple

from minivis import backend, ops
from minivis.autograd import primitive
from minivis.backend import namespace
from minivis.precision import in_float32

__all__ = ["multi_scale_deformable_attention", "multi_scale_deformable_attention_composed"]


@primitive
def multi_scale_deformable_attention(values, shapes, locations, weights):
    """Multi-scale deformable attention: a weighted sum of values sampled at a few points of several maps, for each query.

    .. math:: y_{q,h} = \\sum_{l=1}^{L} \\sum_{p=1}^{P} A_{q,h,l,p}\\; v_{l,h}(z_{q,h,l,p})

    where v_l(z) is map l at the point z, with bilinear interpolation and 0 outside the map.

    Parameters
    ----------
    values : ndarray or Tensor, shape (B, N, h, d)
        The pixels of all maps, concatenated, each map in reading order; N = sum of H_l W_l.
    shapes : list of (int, int)
        Height and width of each of the L maps, in pixels.
    locations : ndarray or Tensor, shape (B, Q, h, L, P, 2)
        The points that each query and head samples in each map: (x, y) in [0, 1] from edge to edge. Outside, the maps are 0.
    weights : ndarray or Tensor, shape (B, Q, h, L, P)
        The weight of each point. In the papers the L P weights of a query and head come from a softmax.

    Returns
    -------
    ndarray or Tensor, shape (B, Q, h d)
        The concatenated heads, in the dtype of ``values``.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    TypeError
        If an array is not floating-point.

    Notes
    -----
    Differentiable in values, locations and weights. The cost is B Q h L P 4 d multiply-adds: linear in Q, while attention
    to every pixel is linear in Q N. The result is a product with a sparse matrix that has 4 L P numbers in the row of a
    query and head; the gradient of the values is a product with its transpose. Points that are NaN count as outside.

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
    rows = values.reshape(B * N * h, d)  # one row for each pixel and head
    levels = [weights[:, :, :, level].reshape(B * Q * h, P) for level in range(L)]
    corners = list(_corners(xp, shapes, locations, N))  # four for each level
    mix = [levels[c.level] * (c.w_y * c.w_x) for c in corners]
    gather, scatter = _products(xp, mix, [c.at for c in corners], B * N * h)

    def vjp(g):
        g = g.reshape(B * Q * h, d)
        g_locations, g_weights = xp.zeros(locations.shape, g.dtype), xp.zeros(weights.shape, g.dtype)
        for c in corners:
            g_pixel = xp.einsum("rkd,rd->rk", xp.take(rows, c.at, axis=0), g)
            g_weights[:, :, :, c.level] += (g_pixel * (c.w_y * c.w_x)).reshape(B, Q, h, P)
            g_pixel *= levels[c.level]
            g_locations[:, :, :, c.level, :, 0] += (g_pixel * (c.w_y * c.slope_x)).reshape(B, Q, h, P)
            g_locations[:, :, :, c.level, :, 1] += (g_pixel * (c.slope_y * c.w_x)).reshape(B, Q, h, P)
        g_values = scatter(g).reshape(values.shape)
        return (
            g_values.astype(values.dtype, copy=False),
            None,
            g_locations.astype(locations.dtype, copy=False),
            g_weights.astype(weights.dtype, copy=False),
        )

    return gather(rows).astype(values.dtype, copy=False).reshape(B, Q, h * d), vjp


Corner = namedtuple("Corner", "level at w_y w_x slope_y slope_x")  # arrays are (B Q h, P)


def _corners(xp, shapes, locations, N):
    """The four pixels around every point, map by map: row index, weights along y and x, and the slopes of these weights."""
    B, Q, h, _, P, _ = locations.shape
    first = (xp.arange(B) * (N * h)).reshape(B, 1, 1, 1) + xp.arange(h).reshape(h, 1)
    # the row of the image's first pixel, for this head
    first = (xp.zeros((B, Q, h, P), xp.int64) + first).reshape(B * Q * h, P)
    start = 0
    for level, (H, W) in enumerate(shapes):
        x, y = (locations[:, :, :, level, :, i].reshape(B * Q * h, P) for i in (0, 1))
        for row, w_y, slope_y in _neighbours(xp, y, H):
            for column, w_x, slope_x in _neighbours(xp, x, W):
                at = first + (start + row * W + column) * h
                yield Corner(level, at, w_y, w_x, slope_y, slope_x)
        start += H * W


def _neighbours(xp, place, size):
    """The two pixels next to each place along one axis: index, weight, and the weight's derivative by the place."""
    place = xp.clip(place * size - 0.5, -2, size + 1)  # in pixels; points farther out have weight 0 as well
    low = xp.floor(place)
    for index, weight, sign in ((low, low + 1 - place, -1), (low + 1, place - low, 1)):
        inside = (index >= 0) & (index < size)
        slope = inside.astype(place.dtype) * (size * sign)
        yield xp.where(inside, index, 0).astype(xp.int64), xp.where(inside, weight, 0), slope


def _products(xp, mix, at, count):
    """Two functions of an array of rows: the products with a sparse matrix and with its transpose.

    Row r of the matrix has the numbers ``mix[c][r, k]`` in the columns ``at[c][r, k]``; it has ``count`` columns.
    """
    # SciPy's sparse product is ten times faster than gathering and scattering rows with NumPy
    if backend.device_of(mix[0]) == "cpu":
        from scipy.sparse import csr_array

        mix, at = xp.concatenate(mix, axis=1), xp.concatenate(at, axis=1)
        ends = xp.arange(mix.shape[0] + 1) * mix.shape[1]
        matrix = csr_array((mix.ravel(), at.ravel(), ends), shape=(mix.shape[0], count))
        return matrix.__matmul__, matrix.T.__matmul__

    def gather(rows):
        return sum(xp.einsum("rk,rkd->rd", m, xp.take(rows, a, axis=0)) for m, a in zip(mix, at, strict=True))

    def scatter(g):
        out = xp.zeros((count, g.shape[1]), g.dtype)
        for m, a in zip(mix, at, strict=True):
            backend.scatter_add(out, a.ravel(), (m[..., None] * g[:, None]).reshape(-1, g.shape[1]))
        return out

    return gather, scatter


@in_float32
def multi_scale_deformable_attention_composed(values, shapes, locations, weights):
    """`multi_scale_deformable_attention` written with `grid_sample`, map by map. It gives the same result and is slower.

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
        # (B h, d, Q, P)
        sampled = ops.grid_sample(ops.reshape(image, (B * h, d, H, W)), ops.reshape(grid, (B * h, Q, P, 2)))
        weight = ops.reshape(ops.transpose(weights[:, :, :, level], (0, 2, 1, 3)), (B * h, 1, Q, P))
        total = total + ops.sum(sampled * weight, axis=-1)
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
