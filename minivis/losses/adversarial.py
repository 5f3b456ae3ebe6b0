"""The hinge loss of adversarial training: what the discriminator learns, and what the generator learns.

Not here: the networks (models/sagan.py), how they take turns (train.py).
"""

from minivis import ops
from minivis.complaints import named
from minivis.precision import widened

__all__ = ["hinge_d", "hinge_g"]


@named
def hinge_d(real, fake):
    """The hinge loss of a discriminator: real pictures should score above 1, generated ones below -1.

    .. math:: L_D = \\frac1n \\sum_i \\max(0,\\, 1 - D(x_i)) + \\frac1m \\sum_j \\max(0,\\, 1 + D(G(z_j)))

    What is on the right side of its margin adds nothing and has no gradient.

    Parameters
    ----------
    real : ndarray or Tensor, any shape
        Scores D(x) of real pictures.
    fake : ndarray or Tensor, any shape
        Scores D(G(z)) of generated pictures. Their number may differ.

    Returns
    -------
    ndarray or Tensor, shape ()
        At least 0; 2 for a discriminator that scores everything 0.

    Raises
    ------
    ValueError
        If there are no scores.
    TypeError
        If scores are not floating-point.

    References
    ----------
    Lim and Ye, "Geometric GAN", 2017; Miyato et al., "Spectral normalization for generative adversarial networks",
    ICLR 2018, equation 16; Zhang et al., "Self-attention generative adversarial networks", ICML 2019, equation 4.

    Examples
    --------
    >>> import numpy as np
    >>> float(hinge_d(np.array([2.0, 0.5]), np.array([-2.0, 0.5])))  # (0 + 0.5) / 2 + (0 + 1.5) / 2
    1.0
    """
    _check(real=real, fake=fake)
    loss = ops.mean(ops.relu(1 - widened(real))) + ops.mean(ops.relu(1 + widened(fake)))
    return loss.astype(real.dtype)


@named
def hinge_g(fake):
    """The loss of a generator against the hinge loss: minus the mean score of its pictures.

    .. math:: L_G = -\\frac1m \\sum_j D(G(z_j))

    It has no margin: the generator goes on raising the scores of its pictures.

    Parameters
    ----------
    fake : ndarray or Tensor, any shape
        Scores D(G(z)) of generated pictures.

    Returns
    -------
    ndarray or Tensor, shape ()

    Raises
    ------
    ValueError
        If there are no scores.
    TypeError
        If scores are not floating-point.

    References
    ----------
    Miyato et al. 2018, equation 17; Zhang et al. 2019, equation 4.

    Examples
    --------
    >>> import numpy as np
    >>> float(hinge_g(np.array([-2.0, 0.5])))
    0.75
    """
    _check(fake=fake)
    return -ops.mean(fake)


def _check(**scores):
    for name, x in scores.items():
        if x.dtype.kind != "f":
            raise TypeError(f"{name} must be floating-point, got {x.dtype.name}")
        if not x.size:
            raise ValueError(f"the mean over no scores is not defined: {name} is empty")
