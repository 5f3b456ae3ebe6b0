"""Hide tokens at random, and put those that are left back in their places: both ends of a masked autoencoder.

Not here: the model (models/mae.py), its loss (losses/masked_modelling.py), masking words.
"""

from minivis import ops
from minivis.autograd import Tensor
from minivis.backend import namespace
from minivis.complaints import named
from minivis.debugging import may_read

__all__ = ["random_masking", "restore_tokens"]


@named
def random_masking(tokens, ratio, noise):
    """Keep a random part of the tokens of each image, and remember where each token stood.

    Every token has a random number, its noise. The tokens with the smallest noise are kept, in the order of their noise;
    all others are hidden. So each image keeps exactly the same number of tokens, N (1 - ratio) rounded down, and its tokens
    can still be stacked in one array.

    Parameters
    ----------
    tokens : ndarray or Tensor, shape (B, N, D)
        Any tokens; their position codes must have been added already, because the order is lost here.
    ratio : float
        Share of tokens to hide, at least 0 and less than 1.
    noise : ndarray, shape (B, N)
        Random numbers, such as ``rng.random((B, N))``.

    Returns
    -------
    kept : ndarray or Tensor, shape (B, K, D)
        The tokens with the K smallest numbers, K = int(N (1 - ratio)).
    mask : bool ndarray, shape (B, N)
        **True = hidden**, the tokens to be predicted. This is MAE's meaning; elsewhere in minivis True is visible.
    ids_restore : ndarray of int, shape (B, N)
        The rank of each token's noise: token n stands at ``ids_restore[b, n]`` in the list of kept and then hidden tokens.

    Raises
    ------
    ValueError
        If the shapes do not fit, or the ratio is not at least 0 and less than 1.

    Notes
    -----
    Differentiable in ``tokens``. `restore_tokens` is the way back. To sort once gives the token at each rank, to sort this
    order again gives the rank of each token. K is computed in floating point, as in the published code: of 10 tokens and a
    ratio of 0.9 none is kept, because 1 - 0.9 is slightly less than 0.1 there.

    References
    ----------
    He et al., "Masked autoencoders are scalable vision learners", CVPR 2022, section 3, "simple implementation". Slide
    ``C/125-masked-modelling``.

    Examples
    --------
    >>> import numpy as np
    >>> tokens = np.array([[[10.0], [20.0], [30.0], [40.0]]])
    >>> kept, mask, ids_restore = random_masking(tokens, 0.5, np.array([[0.9, 0.2, 0.8, 0.1]]))
    >>> kept.ravel(), mask, ids_restore
    (array([40., 20.]), array([[ True, False,  True, False]]), array([[3, 1, 2, 0]]))
    """
    noise = noise.data if isinstance(noise, Tensor) else noise
    if tokens.ndim != 3 or tuple(noise.shape) != tuple(tokens.shape[:2]):
        raise ValueError("tokens must be (B, N, D) and noise (B, N)")
    if not 0 <= ratio < 1:
        raise ValueError(f"ratio must be at least 0 and less than 1, got {ratio}")
    xp = namespace(noise)
    B, N, _ = tokens.shape
    order = xp.argsort(noise, axis=1)  # the token at each rank
    ids_restore = xp.argsort(order, axis=1)  # the rank of each token
    K = int(N * (1 - ratio))
    kept = tokens[xp.arange(B)[:, None], order[:, :K]]  # (B, K, D)
    return kept, ids_restore >= K, ids_restore


@named
def restore_tokens(kept, mask_token, ids_restore):
    """Put kept tokens back in their places, and the mask token in all others.

    Parameters
    ----------
    kept : ndarray or Tensor, shape (B, K, D)
        Tokens of the places with rank 0 to K - 1.
    mask_token : ndarray or Tensor, shape (D,) or (1, 1, D)
        One vector that stands for every hidden token.
    ids_restore : ndarray of int, shape (B, N)
        The rank of each place, as `random_masking` returns it.

    Returns
    -------
    ndarray or Tensor, shape (B, N, D)
        At place n the kept token of rank ``ids_restore[b, n]``, or the mask token if no token of this rank was kept.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    IndexError
        If a rank is not one of 0 to N - 1.
    TypeError
        If the ranks are not integers.

    Notes
    -----
    Differentiable in ``kept`` and ``mask_token``. All hidden places are alike until position codes are added.

    References
    ----------
    He et al. 2022, section 3, "MAE decoder". Slide ``C/125-masked-modelling``.

    Examples
    --------
    >>> import numpy as np
    >>> kept = np.array([[[40.0], [20.0]]])
    >>> restore_tokens(kept, np.array([-1.0]), np.array([[3, 1, 2, 0]])).ravel()
    array([-1., 20., -1., 40.])
    """
    ids_restore = ids_restore.data if isinstance(ids_restore, Tensor) else ids_restore
    if kept.ndim != 3 or ids_restore.ndim != 2 or ids_restore.shape[0] != kept.shape[0]:
        raise ValueError("kept must be (B, K, D) and ids_restore (B, N)")
    B, K, D = kept.shape
    N = ids_restore.shape[1]
    if mask_token.size != D or mask_token.shape[-1] != D or K > N:
        raise ValueError("mask_token must be (D,), and not more tokens kept than there are places")
    if ids_restore.dtype.kind not in "iu":
        raise TypeError(f"ids_restore must be integers, got {ids_restore.dtype.name}")
    if may_read(ids_restore) and ids_restore.size and not 0 <= ids_restore.min() <= ids_restore.max() < N:
        raise IndexError(
            f"ids_restore must be ranks, 0 to {N - 1}, got {ids_restore.min()} to {ids_restore.max()}"
        )
    hidden = ops.broadcast_to(ops.reshape(mask_token, (1, 1, D)), (B, N - K, D))
    everything = ops.concatenate([kept, hidden], axis=1)  # (B, N, D), by rank
    return everything[namespace(ids_restore).arange(B)[:, None], ids_restore]
