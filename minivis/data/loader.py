"""Batches of a data set: shuffled again every epoch, and resumable at any batch.
Not here: the move to the GPU. A batch has NumPy arrays, made on request, or a little earlier by a worker process."""

import collections
import multiprocessing
import operator
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.reduction import ForkingPickler

import numpy as np

from minivis import foreign_words

__all__ = ["DataLoader", "stack"]


def stack(samples):
    """Turn a list of samples into a batch: one stacked array for each entry of a sample.

    Parameters
    ----------
    samples : list of tuple
        Each sample is a tuple of arrays or numbers; all samples have the same length and the same shapes.

    Returns
    -------
    tuple of numpy.ndarray
        One array for each place in the tuple, with a new first axis of length ``len(samples)``.

    Raises
    ------
    ValueError
        If samples have different lengths or shapes, such as scenes with one box and with three: then pass your
        own `collate` to the loader.
    TypeError
        If a sample is not a tuple.

    Examples
    --------
    >>> stack([([1, 2], 0), ([3, 4], 1)])
    (array([[1, 2],
           [3, 4]]), array([0, 1]))
    """
    if not all(isinstance(sample, (tuple, list)) for sample in samples):
        raise TypeError(f"stack: every sample must be a tuple such as (image, label), got {samples[0]!r:.60}")
    counts = sorted({len(sample) for sample in samples})
    if len(counts) > 1:
        raise ValueError(
            f"stack: the samples hold different numbers of things: {', '.join(map(str, counts))}"
        )
    batch = []
    for place, column in enumerate(zip(*samples, strict=True)):
        shapes = [np.shape(item) for item in column]
        if len(set(shapes)) > 1:
            raise ValueError(
                f"stack: entry {place} of the samples has different shapes: {shapes}; pass your own collate"
            )
        batch.append(np.stack(column))
    return tuple(batch)


class DataLoader:
    r"""Return a data set batch by batch, in a new random order every epoch.

    Every batch is a pure function of three numbers: a seed (drawn once from `rng`), the epoch, and the
    batch's place in it. With :math:`\pi` the permutation of the epoch and :math:`b` the batch size, batch
    :math:`i` holds the samples :math:`\pi_{ib}, \dots, \pi_{ib + b - 1}`. So a checkpoint has to remember only
    three numbers.

    Parameters
    ----------
    dataset : numpy.ndarray, tuple of numpy.ndarray, or object with ``len()`` and ``[i]``
        Arrays with the same first length, such as ``(images, labels)``; or any object whose ``dataset[i]`` is
        one sample, a tuple such as (image, label).
    batch_size : int
        Samples in a batch, at least 1; 32 by default.
    shuffle : bool
        Draw a new order every epoch; by default the order is that of the data set.
    rng : numpy.random.Generator, optional
        The seed is drawn from it, once, when the loader is made; None means ``numpy.random.default_rng(0)``.
    drop_last : bool
        Leave out a last batch that would be smaller than the others; False by default.
    transform : callable, optional
        ``transform(images, rng) -> images``, applied to the first array of every batch, such as those in
        `minivis.data.transforms`. Each batch has its own `rng`.
    collate : callable, optional
        ``collate(list of samples) -> tuple``, for a data set that is not arrays; `stack` by default.
    augment : callable, optional
        ``augment(image, target, rng) -> (image, target)``, applied to every sample before `collate`, such as those in
        `minivis.data.paired`. It draws from the batch's `rng`, before `transform` does.
    workers : int
        Processes that make batches ahead of time, for samples that take long to make, such as drawn scenes. The
        batches do not depend on their number; 0, the default, makes them in this process. The data set is sent to
        each process, so its class and functions must be importable there: in a file, not in a notebook's cell.

    Raises
    ------
    ValueError
        If the data set is empty, its arrays differ in length, `batch_size` is below 1, `workers` below 0, or
        `drop_last` leaves no batch.
    TypeError
        If `dataset` is none of the three kinds, `batch_size` is not an integer, `rng` is not a Generator, or
        `transform`, `collate` or `augment` is not a function; and, when a loop begins, if one of them cannot be sent to the
        `workers`.

    Notes
    -----
    A ``for`` loop runs one epoch; ``len(loader)`` is its number of batches. If a loop ends early, the next loop
    starts a new epoch. Only after `load_state_dict` the next loop starts in the middle of an epoch.

    Examples
    --------
    >>> loader = DataLoader((np.arange(5), np.arange(5) ** 2), batch_size=2)
    >>> [labels.tolist() for numbers, labels in loader]
    [[0, 1], [4, 9], [16]]
    """

    @foreign_words.explained
    def __init__(
        self,
        dataset,
        batch_size=32,
        shuffle=False,
        rng=None,
        drop_last=False,
        transform=None,
        collate=stack,
        workers=0,
        augment=None,
    ):
        self.dataset = _as_dataset(dataset)
        self.samples = len(self.dataset[0]) if isinstance(self.dataset, tuple) else len(self.dataset)
        self.batch_size = _as_index("batch_size", batch_size)
        self.shuffle, self.drop_last = bool(shuffle), bool(drop_last)
        self.transform, self.collate, self.augment = transform, collate, augment
        for name, function in (("transform", transform), ("collate", collate), ("augment", augment)):
            if not (callable(function) or (function is None and name != "collate")):
                raise TypeError(f"DataLoader: {name} must be a function, got {function!r:.60}")
        rng = np.random.default_rng(0) if rng is None else rng
        if not isinstance(rng, np.random.Generator):
            raise TypeError(
                f"DataLoader: rng must be a numpy.random.Generator such as numpy.random.default_rng(0), "
                f"got {type(rng).__name__}"
            )
        self.workers = _as_index("workers", workers)
        self._check_sizes()
        self._seed = int(rng.integers(2**63))
        self._epoch = 0  # the epoch that is running, or the next one
        self._handed_out = 0  # number of its batches that were returned
        self._continue = False  # True: the next loop continues that epoch instead of starting another

    def _check_sizes(self):
        if self.samples == 0:
            raise ValueError("DataLoader: dataset is empty (0 samples)")
        if self.batch_size < 1:
            raise ValueError(f"DataLoader: batch_size must be at least 1, got {self.batch_size}")
        if self.workers < 0:
            raise ValueError(f"DataLoader: workers must be 0 or more, got {self.workers}")
        if len(self) == 0:
            raise ValueError(
                f"DataLoader: drop_last leaves no batch: batch_size={self.batch_size}, "
                f"but dataset has {self.samples} samples"
            )

    def __len__(self):
        """Count the batches of one epoch."""
        return self.samples // self.batch_size if self.drop_last else -(-self.samples // self.batch_size)

    def __repr__(self):
        return (
            f"DataLoader({self.samples} samples, batch_size={self.batch_size}, shuffle={self.shuffle}, "
            f"drop_last={self.drop_last}: {len(self)} batches)"
        )

    def __iter__(self):
        """Run one epoch, or the rest of the one that a loaded state was in."""
        if self._handed_out and not self._continue:  # the last loop ended early
            self._epoch = self._epoch + 1
            self._handed_out = 0
        self._continue = False
        epoch = self._epoch
        order = self.order(self._epoch)
        indices = range(self._handed_out, len(self))
        batches = map(lambda index: _make(*self._task(epoch, index, order)), indices)
        if self.workers:
            batches = self._made_ahead(self._task(epoch, index, order) for index in indices)
        for index, batch in zip(indices, batches, strict=True):
            self._epoch = epoch
            self._handed_out = index + 1
            yield batch
        self._epoch = epoch + 1
        self._handed_out = 0

    def order(self, epoch):
        """Return the order of the samples in an epoch, (samples,) int64; the loader's place does not change."""
        if not self.shuffle:
            return np.arange(self.samples)
        return self._rng(epoch).permutation(self.samples)

    def batch(self, epoch, index):
        """Return batch number `index` of an epoch; the loader's place does not change.

        Parameters
        ----------
        epoch : int
            Which epoch, from 0.
        index : int
            Which batch of it, from 0 to ``len(loader) - 1``.

        Returns
        -------
        tuple of numpy.ndarray
            The batch that the loop returns there.

        Raises
        ------
        ValueError
            If there is no such batch.
        """
        if epoch < 0 or not 0 <= index < len(self):
            raise ValueError(
                f"DataLoader: no batch {index} in epoch {epoch}: an epoch has batches 0 to {len(self) - 1}"
            )
        return _make(*self._task(epoch, index, self.order(epoch)))

    def state_dict(self):
        """Return the place in the data as a small dict of numbers that json can hold.

        Returns
        -------
        dict
            Seed, epoch and number of its batches already returned; also samples, batch size, shuffle and
            drop_last, so that `load_state_dict` can check that the state fits.

        Notes
        -----
        A batch counts as soon as the loop returns it. To save in the middle of a step, take the state from before
        the step.
        """
        place = {"seed": self._seed, "epoch": self._epoch, "handed_out": self._handed_out}
        return place | self._shape()

    def load_state_dict(self, state):
        """Go to a saved place: the next loop returns exactly the remaining batches of the epoch.

        Parameters
        ----------
        state : dict
            The result of `state_dict` of a loader with the same data set and settings. It does not contain the data
            and the transform.

        Raises
        ------
        ValueError
            If an entry is missing or impossible, or the state comes from a loader with other samples, batch size,
            shuffle or drop_last. The loader is then unchanged.
        """
        for name, mine in self._shape().items():
            if name in state and state[name] != mine:
                raise ValueError(
                    f"DataLoader: the state has {name}={state[name]}, but this loader has {name}={mine}"
                )
        missing = [name for name in self.state_dict() if name not in state]
        if missing:
            raise ValueError(f"DataLoader: the state has no {', '.join(missing)}; it holds {sorted(state)}")
        seed, epoch, handed_out = (_as_index(name, state[name]) for name in ("seed", "epoch", "handed_out"))
        if seed < 0 or epoch < 0 or not 0 <= handed_out <= len(self):
            raise ValueError(
                f"DataLoader: the state is no place in the data: seed={seed}, epoch={epoch}, "
                f"handed_out={handed_out} of {len(self)} batches"
            )
        self._seed = seed
        self._epoch = epoch
        self._handed_out = handed_out
        self._continue = True

    def _shape(self):
        names = ("samples", "batch_size", "shuffle", "drop_last")
        return {name: getattr(self, name) for name in names}

    def _rng(self, *place):
        # A spawn key, not a list of seeds: default_rng([5]) and default_rng([5, 0]) are the same stream.
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=place))

    def _task(self, epoch, index, order):
        """Everything that a batch depends on."""
        chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
        return self.dataset, self.augment, self.collate, self.transform, chosen, self._rng(epoch, index)

    def _made_ahead(self, tasks):
        """The batches of tasks, in order, each made by a worker process while earlier ones are in use."""
        pool = ProcessPoolExecutor(
            self.workers,
            multiprocessing.get_context("spawn"),  # a fork would copy the locks of running threads
            initializer=_begin_worker,
            initargs=(self.dataset, self.augment, self.collate, self.transform),
        )
        waiting = collections.deque()
        try:
            for *_, chosen, rng in tasks:
                waiting.append(self._sent(pool, chosen, rng))
                if len(waiting) > 2 * self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise RuntimeError(
                "DataLoader: a worker process ended before its batch was made. Mostly it could not import the data set's "
                "class, collate or transform (they must stand in a file, not in a notebook's cell), or the script that "
                "uses workers lacks `if __name__ == '__main__':`, or there was not enough memory. With workers=0 batches "
                "are made here"
            ) from None
        finally:  # also when the loop is left early
            pool.shutdown(cancel_futures=True)

    def _sent(self, pool, chosen, rng):
        """A future of one batch; the first call starts the processes and sends them the data set and the functions."""
        try:
            return pool.submit(_make_in_worker, chosen, rng)
        except Exception:
            for name in ("augment", "collate", "transform", "dataset"):
                try:
                    ForkingPickler.dumps(getattr(self, name))
                except Exception as error:
                    raise TypeError(
                        f"DataLoader: {name} cannot be sent to a worker process ({error}): functions and classes must stand "
                        "at the top of a file, no lambda and nothing defined inside a function; or leave workers=0"
                    ) from None
            raise


def _make(dataset, augment, collate, transform, chosen, rng):
    """Make one batch."""
    if isinstance(dataset, tuple) and augment is None:
        batch = tuple(array[chosen] for array in dataset)
    else:
        several = isinstance(dataset, tuple)
        samples = [tuple(array[i] for array in dataset) if several else dataset[int(i)] for i in chosen]
        batch = tuple(collate(samples if augment is None else [augment(*sample, rng) for sample in samples]))
    return batch if transform is None else (transform(batch[0], rng), *batch[1:])


_worker = ()  # in a worker process: data set, augment, collate, transform


def _begin_worker(*what):
    global _worker
    _worker = what
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the training process ends this one
    end_with_parent()


def end_with_parent():
    """End this process as soon as the process that started it has ended, even if that was killed."""

    def wait():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _make_in_worker(chosen, rng):
    return _make(*_worker, chosen, rng)


def _as_dataset(dataset):
    """Return arrays as a tuple, checked for one length; return any other data set with len() and [i] as it is."""
    if isinstance(dataset, np.ndarray):
        dataset = (dataset,)
    if (
        isinstance(dataset, tuple | list)
        and dataset
        and all(isinstance(part, np.ndarray) for part in dataset)
    ):
        shapes = [part.shape for part in dataset]
        if any(len(shape) == 0 or shape[0] != shapes[0][0] for shape in shapes):
            raise ValueError(
                f"DataLoader: the arrays of dataset must share their first length, got shapes {shapes}"
            )
        return tuple(dataset)
    # A tuple must be a tuple of arrays; strings and dicts have len() and [ ] too, but no samples 0, 1, 2, ...
    if isinstance(dataset, tuple | str | bytes | dict) or not (
        hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
    ):
        raise TypeError(
            f"DataLoader: dataset must be an array, a tuple of arrays, or an object with len() and [i], "
            f"got {_kind(dataset)}"
        )
    return dataset


def _kind(dataset):
    if not isinstance(dataset, tuple):
        return type(dataset).__name__
    return f"a tuple of {', '.join(type(part).__name__ for part in dataset) or 'nothing'}"


def _as_index(name, value):
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise TypeError(f"DataLoader: {name} must be an integer, got {value!r}")
