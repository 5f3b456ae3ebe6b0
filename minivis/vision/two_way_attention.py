"""Attention between tokens and a picture in which the position codes enter the scores alone: the core of SAM's two-way layers.

Not here: the learned projections, heads and norms around it (models/sam.py), attention without codes (ops/attention.py).
"""

from minivis import ops
from minivis.complaints import named

__all__ = ["coded_attention"]


@named
def coded_attention(x, context, x_codes, context_codes):
    r"""Add to each vector what it attends to; position codes say where vectors lie, and are not handed on.

    .. math::
        y_i = x_i + \sum_j \frac{e^{s_{ij}}}{\sum_k e^{s_{ik}}}\, z_j, \qquad
        s_{ij} = \frac{(x_i + c_i) \cdot (z_j + d_j)}{\sqrt D}

    In a layer of SAM's decoder this is done twice: x are the tokens and z the cells of the picture, and then the other way
    around.

    Parameters
    ----------
    x : ndarray or Tensor, shape (..., N, D)
        The vectors that ask.
    context : ndarray or Tensor, shape (..., M, D)
        z, the vectors that are asked; M is at least 1.
    x_codes, context_codes : ndarray or Tensor, shapes (..., N, D) and (..., M, D)
        Their position codes, c and d.

    Returns
    -------
    ndarray or Tensor, shape (..., N, D)

    Raises
    ------
    ValueError
        If the shapes do not fit, or there is nothing to attend to.

    Notes
    -----
    Differentiable in all four.

    References
    ----------
    Kirillov et al. 2023, appendix A. Slide ``A/91-sam-decoder-layer``.

    Examples
    --------
    >>> import numpy as np
    >>> x, codes = np.zeros((1, 2)), np.array([[30.0, 0.0]])
    >>> context, places = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.0, 0.0], [9.0, 0.0]])
    >>> coded_attention(x, context, codes, places).round(3)  # the second lies where the first asks
    array([[0., 1.]])
    """
    shapes = [tuple(a.shape) for a in (x, context, x_codes, context_codes)]
    if min(map(len, shapes)) < 2 or shapes[0] != shapes[2] or shapes[1] != shapes[3]:
        raise ValueError(
            f"coded_attention: x and x_codes must be (..., N, D), context and context_codes (..., M, D), got {shapes}"
        )
    if shapes[0][:-2] != shapes[1][:-2] or shapes[0][-1] != shapes[1][-1] or not shapes[1][-2]:
        raise ValueError(
            f"coded_attention: x and context need the same leading axes and D, and M at least 1, got {shapes[:2]}"
        )
    asks, answers = x + x_codes, context + context_codes
    return x + ops.scaled_dot_product_attention(asks, answers, context)
