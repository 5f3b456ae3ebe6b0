"""Which of several masks for one prompt learns, and which one is shown.

Not here: the losses of masks (masks.py), SAM's whole loss, which applies this to masks (prompted_masks.py).
"""

from minivis.backend import namespace
from minivis.complaints import named
from minivis.losses.sets import raw
from minivis.precision import rounded, widened

__all__ = ["mask_choice"]


@named
def mask_choice(losses, estimates, ious):
    r"""What several masks for each prompt cost in training, and how good the masks are that the estimates choose.

    .. math::
        L = \frac 1 P \sum_p \min_m \ell_{pm} + \frac{1}{P M} \sum_{p, m} (\hat u_{pm} - u_{pm})^2, \qquad
        U = \frac 1 P \sum_p u_{p m^*}, \quad m^* = \arg\max_m \hat u_{pm}

    In training the truth is known, and only the mask with the least loss learns. At use it is not known, and the mask with the
    highest estimate is shown.

    Parameters
    ----------
    losses : ndarray or Tensor, shape (P, M)
        The loss of each of M masks for each of P prompts.
    estimates : ndarray or Tensor, shape (P, M)
        The estimated IoU of each mask; of equal ones the first is shown.
    ious : ndarray or Tensor, shape (P, M)
        The true IoU.

    Returns
    -------
    ndarray, shape (2,)
        L, and the mean true IoU of the masks that are shown, U; in the dtype of ``losses``.

    Raises
    ------
    ValueError
        If the shapes differ, are not (P, M), or there is nothing in them.
    TypeError
        If an argument is not floating-point.

    Notes
    -----
    Not differentiable: `sam_loss` is.

    References
    ----------
    Kirillov et al. 2023, section 3. Slides ``A/92-sam-output-tokens`` and ``A/93-sam-losses``.

    Examples
    --------
    >>> import numpy as np
    >>> mask_choice(np.array([[3.0, 1.0]]), np.array([[0.5, 0.75]]), np.array([[0.5, 0.25]]))
    array([1.125, 0.25 ])
    """
    if losses.ndim != 2 or not tuple(losses.shape) == tuple(estimates.shape) == tuple(ious.shape):
        raise ValueError("losses, estimates and ious must be (P, M), of one shape")
    if not all(losses.shape):
        raise ValueError("there must be prompts and masks")
    losses, estimates, ious = raw(losses), raw(estimates), raw(ious)
    kinds = [x.dtype.name for x in (losses, estimates, ious)]
    if any(not kind.startswith("float") for kind in kinds):
        raise TypeError(f"losses, estimates and ious must be floating-point, got {', '.join(kinds)}")
    xp = namespace(losses)
    dtype = losses.dtype
    losses, estimates, ious = widened(losses), widened(estimates), widened(ious)
    cost = losses.min(axis=1).mean() + ((estimates - ious) ** 2).mean()
    shown = ious[xp.arange(len(ious)), estimates.argmax(axis=1)].mean()
    return rounded(xp.stack([cost, shown]), dtype)
