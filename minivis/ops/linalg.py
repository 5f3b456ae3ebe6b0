"""Products: matmul, einsum, linear.

Not here: convolution (conv.py) and attention (attention.py).
"""

import numpy as np

from minivis.autograd import primitive, unbroadcast
from minivis.backend import meet, namespace
from minivis.complaints import named
from minivis.ways import with_ways

__all__ = ["einsum", "linear", "matmul"]


@primitive(dtypes="numbers")
def matmul(x, y):
    """Matrix product over the last two axes; leading axes are a batch and broadcast.

    .. math:: Z = X Y, \\qquad \\bar X = \\bar Z Y^T, \\quad \\bar Y = X^T \\bar Z

    Parameters
    ----------
    x : ndarray or Tensor, shape (..., n, k) or (k,)
        Left factor; a vector is a row.
    y : ndarray or Tensor, shape (..., k, m) or (k,)
        Right factor; a vector is a column.

    Returns
    -------
    ndarray or Tensor, shape (..., n, m)
        Without n if ``x`` is a vector, without m if ``y`` is one.

    Raises
    ------
    ValueError
        If the inner lengths differ or the batch axes do not broadcast.

    Notes
    -----
    n * k * m multiply-adds for each matrix of the batch.

    Examples
    --------
    >>> import numpy as np
    >>> matmul(np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]]))
    array([[11.]])
    """
    xp = namespace(x, y)
    if not x.ndim or not y.ndim or x.shape[-1] != y.shape[-2 if y.ndim > 1 else 0]:
        raise ValueError(f"matmul: inner lengths differ (x: {tuple(x.shape)}, y: {tuple(y.shape)})")

    x, y = meet(x, y)

    def vjp(g):
        if x.ndim > 1 and y.ndim > 1:
            return unbroadcast(g @ y.swapaxes(-1, -2), x), unbroadcast(x.swapaxes(-1, -2) @ g, y)
        # a vector is a matrix with one row (on the left) or one column (on the right)
        a = x if x.ndim > 1 else x[None, :]
        b = y if y.ndim > 1 else y[:, None]
        if x.ndim == 1:
            g = g[None] if y.ndim == 1 else g[..., None, :]
        if y.ndim == 1:
            g = g[..., None]
        g_a = unbroadcast(g @ b.swapaxes(-1, -2), a)
        g_b = unbroadcast(a.swapaxes(-1, -2) @ g, b)
        return g_a.reshape(x.shape), g_b.reshape(y.shape)

    return xp.matmul(x, y), vjp


@named
def einsum(subscripts, *operands):
    """Sum of products, written with one letter for each axis (Einstein's notation).

    Parameters
    ----------
    subscripts : str
        For example ``"bnd,bmd->bnm"``. Letters that repeat in one operand (diagonals) and ``...`` are not supported;
        the output must be written.
    *operands : ndarray or Tensor
        One for each part between commas.

    Returns
    -------
    ndarray or Tensor
        With the axes after the arrow.

    Raises
    ------
    ValueError
        If the subscripts do not fit the operands.

    Notes
    -----
    The cotangent of an operand is also an einsum: swap its letters with those of the output.

    Examples
    --------
    >>> import numpy as np
    >>> einsum("ij,j->i", np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, 1.0]))
    array([3., 7.])
    """
    inputs, arrow, output = subscripts.replace(" ", "").partition("->")
    parts = inputs.split(",")
    if not arrow or "." in subscripts or any(len(set(p)) != len(p) for p in [*parts, output]):
        raise ValueError(
            f"einsum: {subscripts!r} must name its output after ->, without ... and without a letter twice in one part"
        )
    sizes = {}
    for part, x in zip(parts, operands, strict=False):
        for letter, n in zip(part, x.shape, strict=False):
            if sizes.setdefault(letter, n) != n:
                raise ValueError(
                    f"einsum: {letter} is both {sizes[letter]} and {n} {_shapes(parts, operands)}"
                )
    if len(parts) != len(operands) or any(len(p) != x.ndim for p, x in zip(parts, operands, strict=True)):
        raise ValueError(f"einsum: {subscripts!r} does not fit the operands {_shapes(parts, operands)}")
    if not set(output) <= set("".join(parts)):
        raise ValueError(f"einsum: {subscripts!r} has an output letter that no operand has")
    return _einsum(*operands, parts=tuple(parts), output=output)


def _shapes(parts, operands):
    return "(" + ", ".join(f"{p}: {tuple(x.shape)}" for p, x in zip(parts, operands, strict=False)) + ")"


@primitive(dtypes="numbers")
def _einsum(*operands, parts, output):
    """`einsum` after its checks; ``parts`` has one string of letters for each operand."""
    xp = namespace(*operands)

    def vjp(g):
        cotangents = []
        for i, (part, x) in enumerate(zip(parts, operands, strict=True)):
            others = [p for j, p in enumerate(parts) if j != i]
            known = "".join(a for a in part if a in output or any(a in p for p in others))
            letters = ",".join([output, *others])
            arrays = [g, *(y for j, y in enumerate(operands) if j != i)]
            cotangent = xp.einsum(f"{letters}->{known}", *arrays, optimize=True)
            # if only this operand has a letter, it was summed over: the cotangent is repeated along that axis
            cotangent = xp.broadcast_to(
                cotangent.reshape([n if a in known else 1 for a, n in zip(part, x.shape, strict=True)]),
                x.shape,
            )
            cotangents.append(cotangent.astype(x.dtype, copy=False))
        return tuple(cotangents)

    return xp.asarray(xp.einsum(f"{','.join(parts)}->{output}", *operands, optimize=True)), vjp


@primitive(dtypes="numbers")
def linear(x, weight, bias=None):
    """An affine map of the last axis: the fully connected layer.

    .. math:: y = x W^T + b, \\qquad \\bar x = \\bar y W, \\quad \\bar W = \\bar y^T x, \\quad \\bar b = \\sum \\bar y

    Parameters
    ----------
    x : ndarray or Tensor, shape (..., in)
        Any number of leading axes.
    weight : ndarray or Tensor, shape (out, in)
        As in ``torch.nn.Linear``.
    bias : ndarray or Tensor, shape (out,), optional
        Added to every row.

    Returns
    -------
    ndarray or Tensor, shape (..., out)
        In the dtype of ``x``.

    Raises
    ------
    ValueError
        If ``in`` differs between ``x`` and ``weight``, or ``bias`` does not fit.

    Notes
    -----
    in * out multiply-adds for each row.

    Examples
    --------
    >>> import numpy as np
    >>> linear(np.array([[1.0, 2.0]]), np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([10.0, 20.0]))
    array([[13., 22.]])
    """
    xp = namespace(x, weight, bias)
    if weight.ndim != 2 or not x.ndim or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"linear: the last axis of x must match in of weight (out, in) (x: {tuple(x.shape)}, "
            f"weight: {tuple(weight.shape)})"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"linear: bias must be (out,) (bias: {tuple(bias.shape)}, weight: {tuple(weight.shape)})"
        )
    x, weight, bias = meet(x, weight, bias)
    rows = x.reshape(-1, x.shape[-1]) if x.size else x.reshape(int(np.prod(x.shape[:-1])), x.shape[-1])
    out = rows @ weight.T
    if bias is not None:
        out += bias

    def vjp(g):
        g = g.reshape(len(rows), len(weight))
        return (
            lambda: xp.matmul(g, weight).reshape(x.shape).astype(x.dtype, copy=False),
            lambda: xp.matmul(g.T, rows).astype(weight.dtype, copy=False),
            None if bias is None else sum_of_rows(g).astype(bias.dtype, copy=False),
        )

    return out.reshape(*x.shape[:-1], weight.shape[0]), vjp


@with_ways
def sum_of_rows(g):
    """The sum of the rows of a matrix, (n, m) to (m,)."""
    return g.sum(axis=0)
