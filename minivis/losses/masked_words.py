"""Masked language modelling: hide some words of a text, and the loss of predicting them.

Not here: hiding patches of a picture (MAE), the network that predicts (models/bert.py).
"""

import numpy as np

from minivis import ops
from minivis.autograd import Tensor
from minivis.complaints import named

__all__ = ["mask_tokens", "mlm_loss"]

MASKED, RANDOM = 0.8, 0.1  # of the chosen words; the rest stays as it is


def mask_tokens(ids, rng, vocabulary, mask_id, special_ids, rate=0.15):
    """Choose words that a network shall predict, and hide most of them.

    Every word that is not special is chosen with probability ``rate``, by itself. Of the chosen words, 80 % are replaced
    by ``[MASK]``, 10 % by a word drawn from the whole vocabulary, and 10 % stay as they are. The network cannot tell the
    last two kinds from words that were not chosen, so it needs a good representation of every word.

    Parameters
    ----------
    ids : integer ndarray, any shape
        Numbers of words, 0 to ``vocabulary`` - 1.
    rng : numpy.random.Generator
        Draws what is chosen and what replaces it.
    vocabulary : int
        V, the number of words.
    mask_id : int
        Number of ``[MASK]``.
    special_ids : sequence of int
        Words that are never chosen, such as the beginning of a text and its padding.
    rate : float, default 0.15
        Share of the other words that is chosen, 0 to 1.

    Returns
    -------
    inputs : ndarray, shape and dtype of ids
        What the network sees.
    targets : ndarray, shape and dtype of ids
        A copy of ``ids``: what it shall predict.
    chosen : ndarray of bool, shape of ids
        True where a word counts in the loss, also where it stays as it is.

    Raises
    ------
    ValueError
        If ``rate`` is not a probability, a number is none of a word, or the dtype of ``ids`` has no room for all words.
    TypeError
        If ``ids``, ``vocabulary`` or ``mask_id`` are not integers, or ``rng`` is no generator.

    Notes
    -----
    The published code of BERT chooses a fixed number of words of every text. Here, as in most later code, each word is
    chosen by itself: the number varies, and may be 0. The words are drawn on the CPU.

    References
    ----------
    Devlin et al., "BERT: pre-training of deep bidirectional transformers for language understanding", NAACL 2019,
    section 3.1 and appendix A.1. Slide ``C/125-masked-modelling``.

    Examples
    --------
    >>> ids = np.array([1, 4, 5, 6, 7, 2])
    >>> inputs, targets, chosen = mask_tokens(ids, np.random.default_rng(2), 8, 3, (0, 1, 2, 3), rate=0.5)
    >>> inputs, chosen
    (array([1, 3, 5, 3, 7, 2]), array([False,  True, False,  True, False, False]))
    """
    ids = np.array(ids)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"mask_tokens: ids must be integers, got {ids.dtype.name}")
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"mask_tokens: rng must be a numpy.random.Generator, got {type(rng).__name__}")
    if not 0 <= rate <= 1:
        raise ValueError(f"mask_tokens: rate must lie in 0 to 1, got {rate}")
    if not hasattr(vocabulary, "__index__") or not hasattr(mask_id, "__index__"):
        raise TypeError(
            f"mask_tokens: vocabulary and mask_id must be whole numbers, got {vocabulary!r} and {mask_id!r}"
        )
    if vocabulary - 1 > np.iinfo(ids.dtype).max:  # a drawn word would become another one
        raise ValueError(
            f"mask_tokens: {ids.dtype.name} has no room for {vocabulary} words, use int64 for ids"
        )
    everything = np.concatenate([ids.ravel(), [mask_id]])
    if everything.min() < 0 or everything.max() >= vocabulary:
        raise ValueError(
            f"mask_tokens: words have numbers 0 to {vocabulary - 1}, got {everything.min()} to {everything.max()} "
            f"(ids: {ids.shape}, mask_id: {mask_id})"
        )
    chosen = (rng.random(ids.shape) < rate) & ~np.isin(ids, list(special_ids))
    how = rng.random(ids.shape)  # drawn apart from the choice: what is chosen has small numbers there
    drawn = rng.integers(vocabulary, size=ids.shape)
    inputs = ids.copy()
    masked = chosen & (how < MASKED)
    random = chosen & (how >= MASKED) & (how < MASKED + RANDOM)
    inputs[masked] = mask_id
    inputs[random] = drawn[random]
    return inputs, ids, chosen


@named
def mlm_loss(logits, targets, chosen):
    """The loss of masked language modelling: the mean cross-entropy of the chosen words; all others do not count.

    .. math:: L = -\\frac{1}{\\lvert M \\rvert} \\sum_{i \\in M} \\ln p_{i, t_i}, \\qquad p_i = \\mathrm{softmax}(z_i)

    Parameters
    ----------
    logits : ndarray or Tensor, shape (..., V)
        Scores of all words of the vocabulary, for every position.
    targets : integer ndarray, shape (...)
        The right words, 0 to V - 1.
    chosen : bool ndarray, shape (...)
        M: True where a word counts, as `mask_tokens` returns it.

    Returns
    -------
    ndarray or Tensor, shape ()
        Nats.

    Raises
    ------
    ValueError
        If the shapes do not fit, or no word is chosen: then there is no mean.
    TypeError
        If ``chosen`` is not boolean.

    Notes
    -----
    Differentiable in ``logits``; logits of words that are not chosen have the gradient 0.

    References
    ----------
    Devlin et al. 2019, section 3.1. Slide ``C/125-masked-modelling``; the sum there has no minus sign: it is the
    log-likelihood.

    Examples
    --------
    >>> logits = np.log([[0.5, 0.5], [0.25, 0.75]])
    >>> round(float(mlm_loss(logits, np.array([0, 0]), np.array([False, True]))), 4)  # -ln 0.25
    1.3863
    """
    targets, chosen = (x.data if isinstance(x, Tensor) else x for x in (targets, chosen))
    if logits.shape[:-1] != targets.shape or chosen.shape != targets.shape:
        raise ValueError("logits must be (..., V), targets and chosen (...)")
    if chosen.dtype.kind != "b":
        raise TypeError(f"chosen must be boolean, got {chosen.dtype.name}")
    if not chosen.any():
        raise ValueError("no word is chosen, so there is no mean")
    return ops.cross_entropy(ops.getitem(logits, chosen), targets[chosen])
