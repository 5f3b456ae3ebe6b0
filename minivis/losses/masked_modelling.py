"""The losses of masked modelling: only what was hidden counts.

Not here: hiding patches (vision/masking.py), hiding words.
"""

from minivis import ops
from minivis.autograd import Tensor
from minivis.complaints import named
from minivis.debugging import may_read
from minivis.precision import rounded, widened
from minivis.vision.patches import patchify

__all__ = ["mae_loss", "mae_target"]

EPS = 1e-6  # of the variance of a patch, as published


@named
def mae_target(images, patch, norm_pix=False):
    """What a masked autoencoder has to predict: the pixels of each patch, or with `norm_pix` its normalised pixels.

    Parameters
    ----------
    images : ndarray or Tensor, shape (B, C, H, W)
        Floating-point; H and W divisible by the patch side.
    patch : int or (int, int)
        Height and width of a patch, pixels.
    norm_pix : bool, default False
        Subtract from each patch the mean of its P P C numbers and divide by their standard deviation. The variance has
        the divisor P P C - 1.

    Returns
    -------
    ndarray or Tensor, shape (B, N, P P C)
        Patches as `patchify` orders them.

    Raises
    ------
    ValueError
        If the patches do not fill the image, or patches of one number shall be normalised.

    References
    ----------
    He et al. 2022, section 3, "Reconstruction target".

    Examples
    --------
    >>> import numpy as np
    >>> mae_target(np.array([[[[1.0, 2.0], [3.0, 4.0]]]]), 2, norm_pix=True).round(6)
    array([[[-1.161895, -0.387298,  0.387298,  1.161895]]])
    """
    target = patchify(images, patch)  # (B, N, P P C)
    if not norm_pix:
        return target
    numbers = target.shape[-1]
    if numbers < 2:
        raise ValueError("norm_pix needs patches of at least two numbers")
    wide = widened(target)
    centred = wide - ops.mean(wide, axis=-1, keepdims=True)
    variance = ops.sum(centred**2, axis=-1, keepdims=True) / (numbers - 1)
    return rounded(centred / (variance + EPS) ** 0.5, target.dtype)


@named
def mae_loss(images, prediction, mask, patch, norm_pix=False):
    """Mean squared error of the pixels of the hidden patches; visible patches do not count.

    .. math:: L = \\frac{1}{\\lvert M \\rvert} \\sum_{n \\in M} \\frac{1}{P^2 C} \\lVert \\hat x_n - x_n \\rVert^2

    where M are the hidden patches of all images.

    Parameters
    ----------
    images : ndarray or Tensor, shape (B, C, H, W)
        The whole images.
    prediction : ndarray or Tensor, shape (B, N, P P C)
        The predicted pixels of each patch, in the order of `patchify`.
    mask : bool ndarray, shape (B, N)
        **True = hidden**, as `random_masking` returns it: MAE's meaning, opposite to that of other masks in minivis.
    patch : int or (int, int)
        Height and width of a patch, pixels.
    norm_pix : bool, default False
        Compare with the normalised pixels of each patch, see `mae_target`. The published training does; the published
        code's default does not.

    Returns
    -------
    ndarray or Tensor, shape ()

    Raises
    ------
    ValueError
        If the shapes do not fit, or no patch is hidden: then there is nothing to take a mean of.
    TypeError
        If the mask is not boolean, or the prediction not floating-point.

    Notes
    -----
    Differentiable in ``prediction``. Without `norm_pix` the visible pixels of ``images`` do not matter.

    References
    ----------
    He et al. 2022, section 3, "Reconstruction target". Slide ``C/125-masked-modelling``.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.array([[[[1.0, 2.0, 5.0, 5.0], [3.0, 4.0, 5.0, 5.0]]]])
    >>> float(mae_loss(images, np.zeros((1, 2, 4)), np.array([[True, False]]), 2))  # (1 + 4 + 9 + 16) / 4
    7.5
    """
    target = mae_target(images, patch, norm_pix)
    mask = mask.data if isinstance(mask, Tensor) else mask
    if tuple(prediction.shape) != tuple(target.shape) or tuple(mask.shape) != tuple(target.shape[:2]):
        raise ValueError(
            f"for images of {target.shape[1]} patches, prediction must be (B, N, P P C) and mask (B, N)"
        )
    if mask.dtype != bool:
        raise TypeError(f"mask must be boolean, True = hidden, got {mask.dtype.name}")
    if prediction.dtype.kind != "f":
        raise TypeError(f"prediction must be floating-point, got {prediction.dtype.name}")
    hidden = mask.sum()
    if may_read(hidden) and not hidden:
        raise ValueError("no patch is hidden, so there is nothing to compare")
    # NaN in visible patches stays out
    error = ops.where(mask[..., None], widened(prediction) - widened(target), 0.0)
    of_patch = ops.mean(error**2, axis=-1)  # (B, N)
    return rounded(ops.sum(of_patch) / hidden.astype(of_patch.dtype), prediction.dtype)
