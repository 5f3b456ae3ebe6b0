"""Splits a data set, for example into samples to train on and samples to judge by; a part of a data set.
Not here: data sets, batches (loader.py)."""

import numbers

import numpy as np

from minivis.data._files import position

__all__ = ["Subset", "split"]


def split(labels, shares=(0.8, 0.2), seed=0):
    r"""Divide the samples of a data set at random, each class in the same proportions.

    A class of :math:`n` samples gives part :math:`i` its share :math:`s_i n`, rounded so that the parts add up to
    :math:`n`: first :math:`\lfloor s_i n \rfloor`, then one more for the largest remainders. If the class has as many
    samples as there are parts, each part gets at least one.

    Parameters
    ----------
    labels : sequence or int
        The label of each sample, such as ``dataset.labels``. A number: that many samples without labels.
    shares : sequence of float, default (0.8, 0.2)
        The share of each part; above 0, with the sum 1.
    seed : int, default 0
        Another seed draws another split; the same seed the same one.

    Returns
    -------
    list of numpy.ndarray
        For each part the numbers of its samples, int64, in increasing order. Every sample is in exactly one part.

    Raises
    ------
    TypeError
        If `labels` are neither a list nor a number.
    ValueError
        If there are fewer samples than parts, the shares do not add up to 1, or a part would be empty.

    Examples
    --------
    >>> train, validation = split([0, 0, 0, 0, 1, 1, 1, 1], shares=(0.75, 0.25))
    >>> len(train), len(validation)
    (6, 2)
    """
    shares = np.asarray(shares, float)
    if shares.ndim != 1 or not (shares > 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise ValueError(f"split: shares must be above 0 and add up to 1, got {shares.tolist()}")
    if np.ndim(labels) == 0:
        if not isinstance(labels, numbers.Integral):
            raise TypeError(
                f"split: labels must be a list of labels or a number of samples, got {labels!r:.60}"
            )
        labels = np.zeros(max(0, labels), int)
    labels = np.asarray(labels)
    if labels.ndim != 1 or len(labels) < len(shares):
        raise ValueError(
            f"split: {len(shares)} parts need at least as many samples in one list, got labels of shape {labels.shape}"
        )
    rng = np.random.default_rng(seed)
    part_of = np.empty(len(labels), int)
    for label in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels == label))
        part_of[own] = np.repeat(np.arange(len(shares)), _counts(len(own), shares))
    parts = [np.flatnonzero(part_of == part) for part in range(len(shares))]
    if empty := [shares[i] for i, part in enumerate(parts) if not len(part)]:
        raise ValueError(
            f"split: the part with the share {empty[0]:g} of {len(labels)} samples would be empty; give it a larger share"
        )
    return parts


def _counts(count, shares):
    """How many of the samples of a class each part gets."""
    exact = count * shares
    counts = np.floor(exact + 1e-9).astype(int)
    more = np.argsort(-(exact - counts), kind="stable")[: count - counts.sum()]
    counts[more] += 1
    if count >= len(shares):
        while counts.min() == 0:  # a small class: from the part with most samples to one without any
            counts[counts.argmax()] -= 1
            counts[counts.argmin()] += 1
    return counts


class Subset:
    """Some samples of a data set, in a given order; it is a data set itself.

    Parameters
    ----------
    dataset : object with ``len()`` and ``[i]``
        Such as an `ImageFolder`.
    indices : sequence of int
        The numbers of the samples, such as one of the parts that `split` returns. A number may be there twice.

    Attributes
    ----------
    names : tuple of str
        The class names of the data set, if it has any.
    labels : list of int
        The labels of the chosen samples, if the data set has a list of labels.

    Raises
    ------
    TypeError
        If `indices` are not integers.
    IndexError
        If the data set has no sample of such a number.

    Examples
    --------
    >>> odd = Subset(["a", "b", "c", "d"], [1, 3])
    >>> len(odd), odd[1]
    (2, 'd')
    """

    def __init__(self, dataset, indices):
        indices = np.asarray(indices)
        if indices.ndim != 1 or (indices.dtype.kind not in "iu" and indices.size):
            raise TypeError(
                f"Subset: indices must be a list of integers, got {indices.dtype.name} {indices.shape}"
            )
        self.dataset = dataset
        self.indices = [position("Subset", i, len(dataset)) for i in indices]
        if hasattr(dataset, "names"):
            self.names = dataset.names
        if hasattr(dataset, "labels"):
            self.labels = [dataset.labels[i] for i in self.indices]

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, i):
        return self.dataset[self.indices[position("Subset", i, len(self))]]
