"""Helpers shared by the set losses: solve the matching, compute the class loss, reduce losses, sum up the terms.

Not here: the costs of a pair and the losses of boxes and masks (set_prediction.py, mask_prediction.py).
"""

import numpy as np

from minivis import ops
from minivis.backend import ArrayError, is_array, namespace
from minivis.precision import rounded

__all__ = []


def raw(x):
    """The array of a Tensor, outside the graph: no gradient flows through a matching."""
    return x if is_array(x) else x.data


def check_finite(name, **predictions):
    """Raise for predictions with NaN or infinity, because with such costs no matching is the cheapest."""
    for argument, x in predictions.items():
        xp = namespace(x)
        if not bool(xp.isfinite(x).all()):
            raise ValueError(
                f"{name}: {argument} hold NaN or infinity: has the training diverged? ({argument}: {tuple(x.shape)})"
            )


def check_predictions(name, logits, shape, no_object=True, **field):
    """Raise if the shapes or devices of logits and ``field`` do not fit; return their array namespace.

    ``shape`` has one letter for each axis of the field, such as "BQ4". ``no_object``: the logits have a class of that name.
    """
    ((argument, x),) = field.items()
    least = 1 + no_object
    if logits.ndim != 3 or logits.shape[2] < least or x.ndim != len(shape) or x.shape[:2] != logits.shape[:2]:
        raise ValueError(
            f"{name}: logits must be (B, Q, K{' + 1' * no_object}) and {argument} ({', '.join(shape)}) (logits: "
            f"{tuple(logits.shape)}, {argument}: {tuple(x.shape)})"
        )
    try:
        xp = namespace(logits, x)
    except ArrayError as error:
        raise TypeError(f"{name}: {error}") from None
    check_finite(name, logits=logits, **field)
    return xp


def solve(costs, solver):
    """Assign the objects of each image to queries, given the costs (T, Q): a list of (queries, objects)."""
    if solver is None:
        from scipy.optimize import linear_sum_assignment as solver
    return [solver(cost.T) for cost in costs]  # rows are queries, in increasing order


def checked_weights(name, num_classes, published, weights, no_object=None):
    """The weights of the terms: the published ones, overridden by the user's; ``no_object`` is that class's, if there is one."""
    weights = weights or {}
    if unknown := [key for key in weights if key not in published]:
        raise ValueError(
            f"{name}: weights has an unknown term {unknown[0]!r}; the terms are {', '.join(published)}"
        )
    if not hasattr(num_classes, "__index__") or num_classes < 1:
        raise ValueError(
            f"{name}: num_classes must be a whole number of at least 1, got {num_classes!r:.100}"
        )
    if not min([0, *weights.values()]) >= 0 or not (no_object is None or no_object > 0):
        and_no_object = ("", "") if no_object is None else (" and no_object above it", f" and {no_object}")
        raise ValueError(
            f"{name}: weights must be at least 0{and_no_object[0]}, got {weights}{and_no_object[1]}"
        )
    return {**published, **weights}


def check_classes(name, logits, num_classes, no_object=True):
    """Raise for logits that do not have K classes and, with ``no_object``, that one."""
    if logits.ndim != 3 or logits.shape[2] != num_classes + no_object:
        expected = "K + 1), the last class no-object," if no_object else "K)"
        raise ValueError(
            f"{name}: logits must be (B, Q, {expected} with K={num_classes} (logits: {tuple(logits.shape)})"
        )


def flat(name, pairs, objects, queries, layers):
    """The pairs of all layers and images as two arrays: indices into L B Q queries and into the objects."""
    counts = [len(query) for query, _ in pairs]
    expected = np.tile(np.minimum(objects.counts, queries), layers)
    if counts != expected.tolist():
        raise ValueError(
            f"{name}: matcher must find as many pairs as the smaller of queries and objects, {expected.tolist()} "
            f"in {len(expected)} images, got {counts}"
        )
    query = np.concatenate([query for query, _ in pairs]) + np.repeat(np.arange(len(pairs)) * queries, counts)
    target = np.concatenate([target for _, target in pairs])
    return query, target + np.repeat(np.tile(objects.starts, layers), counts)


def reduce_sets(losses, normalizer, reduction, dtype):
    """Reduce the losses of boxes or masks, (N,): return all of them, or their sum divided by a normaliser."""
    if reduction == "none":
        return rounded(losses, dtype)
    if reduction != "mean":
        raise ValueError(f'reduction must be "mean" or "none", got {reduction!r}')
    normalizer = losses.shape[0] if normalizer is None else normalizer
    if not normalizer > 0:
        raise ValueError("the mean over nothing is not defined; give a normalizer of at least 1")
    return rounded(ops.sum(losses) / normalizer, dtype)


def class_loss(logits, query, labels, no_object, layers):
    """Cross-entropy of every layer, (L,): the target is the object's label for a matched query, otherwise no-object.

    It is a weighted mean. The weights are 1, except for no-object.
    """
    xp = namespace(raw(logits))
    K = logits.shape[2] - 1
    answers = np.full(logits.shape[0] * logits.shape[1], K)
    answers[query] = labels
    weight = np.ones(K + 1, logits.dtype)
    weight[K] = no_object
    entropies = ops.cross_entropy(
        ops.reshape(logits, (-1, K + 1)), xp.asarray(answers), xp.asarray(weight), reduction="none"
    )
    divisor = weight[answers].reshape(layers, -1).sum(axis=1)
    return by_layer(entropies, layers) / xp.asarray(divisor)


def by_layer(losses, layers):
    """The sum of the losses (L M,) of each layer, (L,)."""
    return ops.sum(ops.reshape(losses, (layers, losses.shape[0] // layers)), axis=1)


def total(terms, weights, predictions):
    """The weighted sum of all terms, each (L,), and every term by name: the last layer's, then ``_0`` and so on.

    If all predictions are float16, the results are too.
    """
    loss = sum(ops.sum(values) * weights[name] for name, values in terms.items())
    named = {name: ops.getitem(values, 0) for name, values in terms.items()}
    for name, values in terms.items():
        named |= {f"{name}_{i}": ops.getitem(values, i + 1) for i in range(values.shape[0] - 1)}
    named = {"loss": loss, **named}
    if all(x.dtype == np.float16 for x in predictions):
        named = {name: rounded(value, np.float16) for name, value in named.items()}
    return named
