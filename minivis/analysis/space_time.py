"""What the tokens of a film take from each other in a ViViT: weights of one block, laid out in time and place.

Not here: the models (models/vivit.py), pictures of the weights (viz/video.py).
"""

import numpy as np

__all__ = ["space_time_attention"]


def space_time_attention(seen, block=0):
    """The attention weights of one block of a ViViT, each from one token (time and place) to another; means over the heads.

    Parameters
    ----------
    seen : dict of str to ndarray
        What `minivis.nn.looking` has collected while the model ran on films.
    block : int, default 0
        Number of the block.

    Returns
    -------
    dict of str to ndarray, shape (B, T, N, T, N)
        Weights of each token, over all tokens that it sees. The keys are the steps: "joint" for model 1, "space" and "time"
        for the others. Class tokens are left out, so that a row may sum to less than 1. In model 2 the "time" is that of its
        second encoder: what a frame takes from another is shared out among the tokens of that frame, as its class token does.

    Raises
    ------
    ValueError
        If there is no such block, or these are not the weights of a ViViT.

    Examples
    --------
    >>> seen = {"grid": np.array([2, 1, 3]), "blocks.0.self_attn.weights": np.full((1, 4, 7, 7), 1 / 7)}
    >>> {step: weights.shape for step, weights in space_time_attention(seen).items()}
    {'joint': (1, 2, 3, 2, 3)}
    """
    name = f"blocks.{block}.self_attn."
    if "grid" not in seen or not any(key.startswith(name) for key in seen):
        raise ValueError(
            f"space_time_attention: there are no weights of block {block} of a ViViT in {list(seen)}"
        )
    T, rows, columns = (int(n) for n in seen["grid"])
    N = rows * columns
    if f"{name}space_weights" in seen:  # half of the heads for each
        space, time = (seen[f"{name}{step}_weights"].mean(axis=2) for step in ("space", "time"))
        return {"space": _in_space(space), "time": _in_time(time)}
    # (B, 1 + T N, 1 + T N), or (B, T, N, N) with or without a class token
    weights = seen[f"{name}weights"].mean(axis=-3)
    if weights.ndim == 3:
        return {"joint": weights[:, -T * N :, -T * N :].reshape(-1, T, N, T, N)}
    if f"blocks.{block}.time_attn.weights" in seen:
        return {
            "space": _in_space(weights),
            "time": _in_time(seen[f"blocks.{block}.time_attn.weights"].mean(axis=2)),
        }
    found = {"space": _in_space(weights[:, :, 1:, 1:])}
    later = seen.get(f"temporal.{name}weights")
    if later is not None:
        frames = later.mean(axis=1)[:, 1:, 1:]  # (B, T, T)
        shares = weights[:, :, 0, 1:]  # (B, T, N): what the class token of a frame takes from its places
        both = frames[:, :, None, :, None] * shares[:, None, None]  # (B, T, 1, T, N)
        found["time"] = np.broadcast_to(both, (len(both), T, N, T, N))
    return found


def _in_space(weights):
    """(B, T, N, N) -> (B, T, N, T, N): nothing from other frames."""
    B, T, N, _ = weights.shape
    found = np.zeros((B, T, N, T, N), weights.dtype)
    for t in range(T):
        found[:, t, :, t] = weights[:, t]
    return found


def _in_time(weights):
    """(B, N, T, T) -> (B, T, N, T, N): nothing from other places."""
    B, N, T, _ = weights.shape
    found = np.zeros((B, T, N, T, N), weights.dtype)
    for n in range(N):
        found[:, :, n, :, n] = weights[:, n]
    return found
