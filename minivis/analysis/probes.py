"""How good features are for telling classes apart: a linear classifier on top of them, and a vote of the nearest neighbours.

Not here: the features (a model makes them), the nearest pictures themselves (metrics/generation.py).
"""

import numpy as np

from minivis.backend import to_numpy

__all__ = ["k_nearest", "linear_probe"]


def linear_probe(train, train_labels, test, test_labels, decay=1e-3):
    """Train a linear classifier on frozen features, and return its accuracy on other features.

    .. math:: \\min_{W, b}\\; -\\frac1N \\sum_i \\log \\mathrm{softmax}(W x_i + b)_{y_i} + \\frac\\lambda2 \\lVert W \\rVert^2

    The features are standardised first, with mean and deviation of the training features. The minimum is the only one,
    so there is nothing random about the result.

    Parameters
    ----------
    train, test : array_like, shape (N, D) and (M, D)
        Features.
    train_labels, test_labels : array_like of int, shape (N,) and (M,)
        Classes.
    decay : float, default 1e-3
        lambda, the weight decay.

    Returns
    -------
    float
        The share of the M test features that get their class, 0 to 1.

    Raises
    ------
    ValueError
        If features and labels do not fit, features are not finite, all training labels are one class, or the decay is
        not above 0.

    References
    ----------
    Caron et al., "Emerging properties in self-supervised vision transformers", ICCV 2021, section 4.1, which trains
    the same classifier with SGD.

    Examples
    --------
    >>> linear_probe([[0.0], [1.0], [5.0]], [0, 0, 1], [[0.5], [6.0]], [0, 1])
    1.0
    """
    from scipy.optimize import minimize

    train, train_labels, test, test_labels = _tables("linear_probe", train, train_labels, test, test_labels)
    classes, targets = np.unique(train_labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"linear_probe: train_labels must have two classes or more, got {classes}")
    if not decay > 0:
        raise ValueError(f"linear_probe: decay must be above 0, got {decay}")
    mean, std = train.mean(axis=0), train.std(axis=0)
    std = np.where(std > 0, std, 1)
    # the last column is the bias's
    train, test = (np.c_[(x - mean) / std, np.ones(len(x))] for x in (train, test))
    one_hot = np.eye(len(classes))[targets]  # (N, K)

    def loss(flat):
        weight = flat.reshape(-1, len(classes))  # (D + 1, K)
        logits = train @ weight
        logits -= logits.max(axis=1, keepdims=True)
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        kept = np.r_[weight[:-1], 0 * weight[-1:]]  # the bias does not decay
        slope = train.T @ (np.exp(logs) - one_hot) / len(train) + decay * kept
        return -(one_hot * logs).sum() / len(train) + 0.5 * decay * (kept**2).sum(), slope.ravel()

    start = np.zeros(train.shape[1] * len(classes))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    answers = classes[(test @ found.x.reshape(-1, len(classes))).argmax(axis=1)]
    return float((answers == test_labels).mean())


def k_nearest(train, train_labels, test, test_labels, k=20, temperature=0.07, centred=False):
    """Let the k most similar training features vote on the class of each test feature; return the accuracy.

    .. math:: vote_c = \\sum_{i \\in N_k(x),\\, y_i = c} \\exp\\big(\\cos(x_i, x) / \\tau\\big)

    Nothing is trained: good features have neighbours of their own class.

    Parameters
    ----------
    train, test : array_like, shape (N, D) and (M, D)
        Features. Only their direction counts.
    train_labels, test_labels : array_like of int, shape (N,) and (M,)
        Classes.
    k : int, default 20
        How many neighbours vote; at most N.
    temperature : float, default 0.07
        tau. The smaller, the more the nearest ones decide.
    centred : bool, default False
        Subtract the mean of the training features from both first. It helps where all features point almost the same
        way, as those of an untrained network do.

    Returns
    -------
    float
        The share of the M test features that get their class, 0 to 1.

    Raises
    ------
    ValueError
        If features and labels do not fit, features are not finite, k is not between 1 and N, or the temperature is not
        above 0.

    References
    ----------
    Caron et al., "Emerging properties in self-supervised vision transformers", ICCV 2021, section 4.1 and appendix F;
    Wu et al., "Unsupervised feature learning via non-parametric instance discrimination", CVPR 2018, section 3.4.
    Slide ``A/98-dino-idea``.

    Examples
    --------
    >>> k_nearest([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], [0, 0, 1], [[2.0, 0.1], [0.1, 5.0]], [0, 1], k=1)
    1.0
    """
    train, train_labels, test, test_labels = _tables("k_nearest", train, train_labels, test, test_labels)
    if not hasattr(k, "__index__") or not 1 <= k <= len(train):
        raise ValueError(f"k_nearest: k must be a whole number between 1 and {len(train)}, got {k!r}")
    if not temperature > 0:
        raise ValueError(f"k_nearest: temperature must be above 0, got {temperature}")
    if centred:
        train, test = train - train.mean(axis=0), test - train.mean(axis=0)
    train, test = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (train, test))
    similar = test @ train.T  # (M, N)
    nearest = np.argsort(-similar, axis=1, kind="stable")[:, :k]  # (M, k)
    # the largest similarity is subtracted, so that no exponential overflows
    similar = np.take_along_axis(similar, nearest, axis=1)
    weights = np.exp((similar - similar[:, :1]) / temperature)
    classes, targets = np.unique(train_labels, return_inverse=True)
    votes = (weights[:, :, None] * np.eye(len(classes))[targets[nearest]]).sum(axis=1)  # (M, K)
    return float((classes[votes.argmax(axis=1)] == test_labels).mean())


def _tables(name, train, train_labels, test, test_labels):
    """Features as float64 and labels, checked."""
    train, test = (np.asarray(to_numpy(_listed(x)), np.float64) for x in (train, test))
    train_labels, test_labels = (np.asarray(to_numpy(_listed(x))) for x in (train_labels, test_labels))
    shapes = (
        f"(train: {train.shape}, train_labels: {train_labels.shape}, test: {test.shape}, "
        f"test_labels: {test_labels.shape})"
    )
    if train.ndim != 2 or test.ndim != 2 or train.shape[1] != test.shape[1] or 0 in train.shape + test.shape:
        raise ValueError(f"{name}: train and test must be (N, D) and (M, D), neither empty {shapes}")
    if train_labels.shape != train.shape[:1] or test_labels.shape != test.shape[:1]:
        raise ValueError(f"{name}: each row of features needs one label {shapes}")
    if not (np.isfinite(train).all() and np.isfinite(test).all()):
        raise ValueError(f"{name}: features must be finite; NaN or infinity means that the model failed")
    return train, train_labels, test, test_labels


def _listed(x):
    return np.asarray(x) if isinstance(x, list) else x
