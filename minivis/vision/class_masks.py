"""mask_decoder: how much each patch is like each class, as Segmenter's decoder ends.

Strudel et al., "Segmenter: transformer for semantic segmentation", ICCV 2021, section 3.2. Slide
``H/31-segmenter``.
Not here: the transformer before it (models/segmenter.py), scores of masks and classes of queries (panoptic.py).
"""

from minivis import ops
from minivis.complaints import named
from minivis.precision import in_float32

__all__ = ["mask_decoder"]


@named
@in_float32
def mask_decoder(patches, classes, w_patch, w_class, gamma, beta, eps=1e-5):
    """The mask of each class: the cosine of each patch with each class, then a norm over the classes.

    .. math::
        c_{kn} &= \\frac{(x_n W_p) \\cdot (z_k W_c)}{\\lVert x_n W_p \\rVert \\, \\lVert z_k W_c \\rVert} \\\\
        y_{kn} &= \\gamma_k \\frac{c_{kn} - \\mu_n}{\\sqrt{\\sigma_n^2 + \\epsilon}} + \\beta_k

    where the mean and the variance of a patch n are those of its K cosines.

    Parameters
    ----------
    patches : ndarray or Tensor, shape (B, N, D)
        The patches after the decoder's transformer.
    classes : ndarray or Tensor, shape (B, K, D)
        The class embeddings after it.
    w_patch, w_class : ndarray or Tensor, shape (D, D)
        The vectors are rows, and the matrix stands on their right: ``patches @ w_patch``.
    gamma, beta : ndarray or Tensor, shape (K,)
        Scale and shift of each class.
    eps : float, default 1e-5
        Added to the variance.

    Returns
    -------
    ndarray or Tensor, shape (B, K, N)
        Scores. Scaling a vector by a positive number changes nothing. With one class all scores are beta.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Notes
    -----
    A vector of zeros has the cosine 0 with everything, and a gradient of zeros where it comes from the norm. With two
    classes only the order of the two cosines is left.

    References
    ----------
    Strudel et al. 2021, section 3.2; the authors' code for the norm over the classes. Slide
    ``H/31-segmenter``.

    Examples
    --------
    >>> import numpy as np
    >>> one = np.eye(2)
    >>> patches = np.array([[[0.9, 0.1]]])  # its cosines with two classes are as 0.9 to 0.1
    >>> mask_decoder(patches, one[None], one, one, np.ones(2), np.zeros(2)).round(4)
    array([[[ 1.],
            [-1.]]])
    """
    _check(patches, classes, w_patch, w_class, gamma, beta)
    x = ops.normalize(ops.matmul(patches, w_patch), axis=-1)  # (B, N, D)
    z = ops.normalize(ops.matmul(classes, w_class), axis=-1)  # (B, K, D)
    cosines = ops.matmul(x, ops.transpose(z, (0, 2, 1)))  # (B, N, K)
    scores = ops.layer_norm(cosines, gamma.shape, gamma, beta, eps)
    return ops.transpose(scores, (0, 2, 1))  # (B, K, N)


def _check(patches, classes, w_patch, w_class, gamma, beta):
    B, N, D = patches.shape if patches.ndim == 3 else (None, None, None)
    K = classes.shape[1] if classes.ndim == 3 else None
    fits = (
        None not in (B, K)
        and tuple(classes.shape) == (B, K, D)
        and tuple(w_patch.shape) == tuple(w_class.shape) == (D, D)
        and tuple(gamma.shape) == tuple(beta.shape) == (K,)
    )
    if not fits:
        arrays = {
            "patches": patches, "classes": classes, "w_patch": w_patch, "w_class": w_class, "gamma": gamma, "beta": beta,
        }  # fmt: skip
        shapes = ", ".join(f"{name}: {tuple(array.shape)}" for name, array in arrays.items())
        raise ValueError(
            f"mask_decoder: needs patches (B, N, D), classes (B, K, D), w_patch and w_class (D, D), gamma and beta (K,) "
            f"({shapes})"
        )
