"""The non-local operation: each place of a map, in space and time, gets a weighted mean over all places.

Not here: the block with its parameters and norms, and networks with such blocks (models/non_local.py).
"""

import math

from minivis import ops
from minivis.complaints import named

__all__ = ["non_local", "non_local_weights"]

FORMS = ("embedded_gaussian", "gaussian", "dot_product", "concatenation")


@named
def non_local(x, w_theta, w_phi, w_g, w_z, form="embedded_gaussian", pool=1, *, w_f=None, scale=1.0):
    """Add to each place of a map what all places hold, weighted by how they relate to it.

    .. math::
        z_i = W_z y_i + x_i, \\qquad
        y_i = \\frac{1}{\\mathcal{C}(x)} \\sum_j f(x_i, x_j)\\, W_g x_j

    Parameters
    ----------
    x : ndarray or Tensor, shape (B, C, H, W) or (B, C, T, H, W)
        Maps, or maps of the T frames of a film. The sum runs over all places of all frames.
    w_theta, w_phi : ndarray or Tensor, shape (C', C)
        Embeddings of the query and of the keys. They may be None for the form "gaussian", which has none.
    w_g : ndarray or Tensor, shape (C', C)
        Makes the values.
    w_z : ndarray or Tensor, shape (C, C')
        The projection back. With zeros the result is ``x``.
    form : {"embedded_gaussian", "gaussian", "dot_product", "concatenation"}
        How two places relate, see `non_local_weights`.
    pool : int, default 1
        Keys and values come from a max-pooled input, with windows of ``pool`` x ``pool`` in each frame. The output keeps
        the size of ``x``. What is left over at the lower and right border belongs to no window.
    w_f : ndarray or Tensor, shape (2 C',), optional
        For "concatenation".
    scale : float, default 1
        Factor on the products of the Gaussian forms. The paper has none; published code has ``C' ** -0.5``.

    Returns
    -------
    ndarray or Tensor
        Shape and dtype of ``x``.

    Raises
    ------
    ValueError
        If ``x`` has neither 4 nor 5 axes, a weight does not fit it, the map is smaller than ``pool``, the form is
        unknown, or a weight that the form needs is missing.

    Notes
    -----
    Differentiable in ``x`` and the weights. With N places and M keys it takes 2 N M C' multiply-adds besides the
    projections. Max pooling and a linear map do not commute: code that pools after the projection computes something
    else.

    References
    ----------
    Wang et al., "Non-local neural networks", CVPR 2018, equations 1 to 6. Slides ``A/13-non-local-block``,
    ``C/112-attention-in-existing-cnns``. The slide's formula has neither :math:`W_z` nor the sum with ``x``.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([1.0, 2.0]).reshape(1, 1, 1, 2)
    >>> one = np.ones((1, 1))
    >>> (non_local(x, one, one, one, one) - x).round(3), (non_local(x, one, one, one, one, "dot_product") - x)
    (array([[[[1.731, 1.881]]]]), array([[[[2.5, 5. ]]]]))
    """
    _check(x, w_theta, w_phi, w_g, w_z, w_f, form)
    places = _places(x)  # (B, N, C)
    pooled = _places(pooled_in_space(x, pool))  # (B, M, C)
    gaussian = form == "gaussian"
    theta = places if gaussian else ops.linear(places, w_theta)  # (B, N, C')
    phi = pooled if gaussian else ops.linear(pooled, w_phi)  # (B, M, C')
    weights = non_local_weights(theta, phi, form, w_f=w_f, scale=scale)
    y = ops.matmul(weights, ops.linear(pooled, w_g))  # (B, N, C')
    z = ops.transpose(ops.linear(y, w_z), (0, 2, 1))  # (B, C, N)
    return ops.add(ops.reshape(z, x.shape), x)


@named
def non_local_weights(theta, phi, form="embedded_gaussian", *, w_f=None, scale=1.0):
    """How much each place takes from each other place: f(x_i, x_j) / C(x).

    .. math::
        \\text{Gaussian:}\\ \\mathrm{softmax}_j(\\theta_i^\\top \\phi_j) \\qquad
        \\text{dot product:}\\ \\tfrac{1}{M} \\theta_i^\\top \\phi_j \\qquad
        \\text{concatenation:}\\ \\tfrac{1}{M} \\mathrm{ReLU}(w_f^\\top [\\theta_i, \\phi_j])

    Parameters
    ----------
    theta : ndarray or Tensor, shape (B, N, C')
        Embeddings of the N places that ask.
    phi : ndarray or Tensor, shape (B, M, C')
        Embeddings of the M places that are asked.
    form : {"embedded_gaussian", "gaussian", "dot_product", "concatenation"}
        In "gaussian" theta and phi are the places themselves; the formula is that of "embedded_gaussian".
    w_f : ndarray or Tensor, shape (2 C',), optional
        For "concatenation".
    scale : float, default 1
        Factor on the products of the Gaussian forms.

    Returns
    -------
    ndarray or Tensor, shape (B, N, M)
        Only in the Gaussian forms does a row sum to 1.

    Raises
    ------
    ValueError
        If the form is unknown, the shapes do not fit, or ``w_f`` is missing.

    References
    ----------
    Wang et al. 2018, equations 2 to 5. Slide ``A/13-non-local-block``.

    Examples
    --------
    >>> import numpy as np
    >>> theta, phi = np.ones((1, 1, 2)), np.array([[[0.0, 1], [1, 2]]])
    >>> non_local_weights(theta, phi, "dot_product")
    array([[[0.5, 1.5]]])
    """
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
    if theta.ndim != 3 or phi.ndim != 3 or (theta.shape[0], theta.shape[2]) != (phi.shape[0], phi.shape[2]):
        raise ValueError("theta must be (B, N, C') and phi (B, M, C')")
    keys, width = phi.shape[1:]
    if form == "concatenation":
        _check_w_f(w_f, width)
        # w_f^T [theta, phi] is a sum of two numbers, one of each place
        asking = ops.matmul(theta, ops.reshape(w_f[:width], (width, 1)))  # (B, N, 1)
        asked = ops.matmul(phi, ops.reshape(w_f[width:], (width, 1)))  # (B, M, 1)
        return ops.relu(ops.add(asking, ops.transpose(asked, (0, 2, 1)))) / keys  # (B, N, M)
    products = ops.matmul(theta, ops.transpose(phi, (0, 2, 1)))  # (B, N, M)
    if form == "dot_product":
        return products / keys
    return ops.softmax(ops.mul(products, scale), axis=-1)


def _places(x):
    """The places of maps (B, C, ...) as a set, (B, N, C), frame by frame and row by row."""
    B, C = x.shape[:2]
    return ops.transpose(ops.reshape(x, (B, C, math.prod(x.shape[2:]))), (0, 2, 1))


def pooled_in_space(x, pool):
    """Maps (B, C, H, W) or (B, C, T, H, W), max-pooled in each frame."""
    if not (hasattr(pool, "__index__") and 1 <= pool <= min(x.shape[-2:])):
        raise ValueError(
            f"non_local: pool must be 1 to the side of the map, got {pool!r} (x: {tuple(x.shape)})"
        )
    if pool == 1:
        return x
    if x.ndim == 4:
        return ops.max_pool2d(x, pool)
    B, C, T, H, W = x.shape
    y = ops.max_pool2d(ops.reshape(x, (B, C * T, H, W)), pool)  # each channel by itself
    return ops.reshape(y, (B, C, T, *y.shape[2:]))


def _check_w_f(w_f, width):
    if w_f is None or tuple(w_f.shape) != (2 * width,):
        found = "it is missing" if w_f is None else f"got {tuple(w_f.shape)}"
        raise ValueError(
            f"the form concatenation needs w_f, of shape (2 C',) with C'={width}, the width of theta: {found}"
        )


def _check(x, w_theta, w_phi, w_g, w_z, w_f, form):
    if form not in FORMS:
        raise ValueError(f"non_local: form must be one of {', '.join(FORMS)}, got {form!r}")
    if x.ndim not in (4, 5):
        raise ValueError(f"non_local: x must be (B, C, H, W) or (B, C, T, H, W) (x: {tuple(x.shape)})")
    C = x.shape[1]
    embedding = {} if form == "gaussian" else {"w_theta": w_theta, "w_phi": w_phi}
    for name, weight in {**embedding, "w_g": w_g}.items():
        if weight is None or weight.ndim != 2 or weight.shape[1] != C:
            found = None if weight is None else tuple(weight.shape)
            raise ValueError(f"non_local: {name} must be (C', C={C}) (x: {tuple(x.shape)}, {name}: {found})")
    if embedding and w_theta.shape != w_phi.shape:
        raise ValueError(
            f"non_local: w_theta and w_phi must have one shape (w_theta: {tuple(w_theta.shape)}, "
            f"w_phi: {tuple(w_phi.shape)})"
        )
    if form == "concatenation":
        _check_w_f(w_f, w_theta.shape[0])
    if tuple(w_z.shape) != (C, w_g.shape[0]):
        raise ValueError(
            f"non_local: w_z must be (C={C}, C'={w_g.shape[0]}) (w_z: {tuple(w_z.shape)}, w_g: {tuple(w_g.shape)})"
        )
