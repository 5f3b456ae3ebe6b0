"""CIFAR-10 from its binary version: 60,000 colour photos of 32 x 32 pixels in ten classes.
Not here: a download, and the Python version: it is a pickle, and opening a pickle can run any code."""

from pathlib import Path

import numpy as np

from minivis import foreign_words
from minivis.data._files import position, read_bytes

__all__ = ["CIFAR10"]

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FILES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
RECORD = 1 + 3 * 32 * 32  # a label, then all reds, all greens, all blues, each row by row


class CIFAR10:
    """The photos and labels of a folder with CIFAR-10's binary files.

    Parameters
    ----------
    folder : str or os.PathLike
        Holds ``data_batch_1.bin`` to ``data_batch_5.bin`` and ``test_batch.bin``.
    split : {"train", "test"}
        Which files to read; "train" by default.

    Attributes
    ----------
    images : numpy.ndarray
        (B, 3, 32, 32) uint8, RGB.
    labels : numpy.ndarray
        (B,) int64 in 0..9.
    names : tuple of str
        The ten classes: from ``batches.meta.txt`` if it exists, otherwise the published names.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If there is no such split, a file is incomplete or has a label above 9, or the folder holds the Python version.

    Notes
    -----
    ``dataset[i]`` is (image, label): (3, 32, 32) float32 in [0, 1], and an int.

    References
    ----------
    Krizhevsky, "Learning multiple layers of features from tiny images", 2009.

    Examples
    --------
    >>> photos = CIFAR10("cifar-10-batches-bin", "test")
    Traceback (most recent call last):
    ...
    FileNotFoundError: CIFAR10: there is no test_batch.bin in cifar-10-batches-bin
    """

    @foreign_words.explained
    def __init__(self, folder, split="train"):
        if split not in FILES:
            raise ValueError(f"CIFAR10: split must be 'train' or 'test', got {split!r}")
        folder = Path(folder)
        if folder.is_file():
            raise ValueError(f"CIFAR10: {folder} is a file; unpack it (tar -xzf) and give the folder")
        # all files are checked before any is kept
        records = [_records(folder / name) for name in FILES[split]]
        stacked = np.concatenate(records)
        self.images = np.ascontiguousarray(stacked[:, 1:]).reshape(-1, 3, 32, 32)
        self.labels = stacked[:, 0].astype(np.int64)
        self.names = _names(folder / "batches.meta.txt")

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        i = position("CIFAR10", i, len(self))
        return self.images[i].astype(np.float32) / np.float32(255), int(self.labels[i])


def _records(path):
    """The records of a file, (n, 3073) uint8, checked."""
    if not path.is_file():
        if path.with_suffix("").is_file():
            _refuse_pickle(path.with_suffix(""))
        raise FileNotFoundError(f"CIFAR10: there is no {path.name} in {path.parent}")
    data = read_bytes("CIFAR10", path)
    if data[:1] == b"\x80" and data[-1:] == b".":  # how a pickle begins and ends
        _refuse_pickle(path)
    if not data or len(data) % RECORD:
        raise ValueError(
            f"CIFAR10: {path} has {len(data)} bytes, which is no whole number of records of {RECORD}"
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, RECORD)
    if records[:, 0].max() > 9:
        at = int((records[:, 0] > 9).argmax())
        raise ValueError(
            f"CIFAR10: {path}: record {at} has label {records[at, 0]}, but labels go from 0 to 9"
        )
    return records


def _refuse_pickle(path):
    raise ValueError(
        f"CIFAR10: {path} is of the Python version, a pickle; opening one runs whatever it says, so it is not opened. "
        "Get 'CIFAR-10 binary version (suitable for C programs)', cifar-10-binary.tar.gz, from the same page"
    )


def _names(path):
    if not path.is_file():
        return CLASSES
    names = tuple(read_bytes("CIFAR10", path, 10_000).decode("utf-8", "replace").split())
    if len(names) != 10:
        raise ValueError(f"CIFAR10: {path} must name 10 classes, but names {len(names)}")
    return names
