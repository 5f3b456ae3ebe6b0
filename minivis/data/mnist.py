"""MNIST and data sets in the same format (Fashion-MNIST, KMNIST ...): idx files, with or without gzip.
Not here: a download; get the four files from the data set's page and put them into one folder."""

import math
import struct
from pathlib import Path

import numpy as np

from minivis import foreign_words
from minivis.data._files import GZIP_ERRORS, MOST_BYTES, open_maybe_gz, position, read_claimed

__all__ = ["MNIST", "read_idx"]

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
PREFIXES = {"train": "train", "test": "t10k"}


def read_idx(path):
    """Read an idx file: a header with type and shape, then the numbers of an array.

    Two zero bytes, a byte for the type, a byte for the number of axes, four bytes for the length of each axis (largest
    byte first), then the numbers, last axis fastest.

    Parameters
    ----------
    path : str or os.PathLike
        The file, with or without gzip compression.

    Returns
    -------
    numpy.ndarray
        Has the shape and type in the header, in the machine's own byte order.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the header is not that of an idx file or claims more than 1 GB, or more or fewer numbers follow.

    References
    ----------
    LeCun, Cortes and Burges, "The MNIST database of handwritten digits", 1998.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "labels").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     read_idx(Path(folder, "labels"))
    array([7, 2, 1], dtype=uint8)
    """
    try:
        with open_maybe_gz(path) as file:
            magic = file.read(4)
            if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES or not 1 <= magic[3] <= 4:
                raise ValueError(
                    f"read_idx: {path} begins with {magic.hex(' ') or 'nothing'}, not as an idx file does"
                )
            dtype = np.dtype(TYPES[magic[2]])
            axes = magic[3]
            lengths = file.read(4 * axes)
            if len(lengths) < 4 * axes:
                raise ValueError(f"read_idx: {path} ends within its header")
            shape = struct.unpack(f">{axes}I", lengths)
            claimed = math.prod(shape) * dtype.itemsize
            if claimed > MOST_BYTES:
                raise ValueError(
                    f"read_idx: {path} claims shape {shape}, {claimed} bytes: more than {MOST_BYTES}"
                )
            data = read_claimed(file, claimed)
    except GZIP_ERRORS as error:
        raise ValueError(f"read_idx: {path} is a broken gzip file: {error}") from None
    if len(data) != claimed:
        found = f"only {len(data)}" if len(data) < claimed else "more"
        raise ValueError(f"read_idx: {path} claims shape {shape}, {claimed} bytes, but {found} follow")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))


class MNIST:
    """The pictures and labels of a folder with MNIST's four files.

    Parameters
    ----------
    folder : str or os.PathLike
        Holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte`` and
        ``t10k-labels-idx1-ubyte``, each with or without ``.gz``; a dot before ``idx`` is allowed.
    split : {"train", "test"}
        Which of them; "train" by default.

    Attributes
    ----------
    images : numpy.ndarray
        (B, 1, H, W) uint8, as stored: 0 is paper, 255 is ink.
    labels : numpy.ndarray
        (B,) int64.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If there is no such split, or the files are broken, of other shapes, or of different lengths.

    Notes
    -----
    ``dataset[i]`` is (image, label): (1, H, W) float32 in [0, 1], and an int.

    Examples
    --------
    >>> images = MNIST("mnist", "test")
    Traceback (most recent call last):
    ...
    FileNotFoundError: MNIST: there is no t10k-images-idx3-ubyte (with or without .gz) in mnist
    """

    @foreign_words.explained
    def __init__(self, folder, split="train"):
        if split not in PREFIXES:
            raise ValueError(f"MNIST: split must be 'train' or 'test', got {split!r}")
        paths = [
            _find(folder, f"{PREFIXES[split]}-{part}") for part in ("images-idx3-ubyte", "labels-idx1-ubyte")
        ]
        images, labels = (read_idx(path) for path in paths)
        for path, array, axes in zip(paths, (images, labels), (3, 1), strict=True):
            if array.ndim != axes or array.dtype != np.uint8:
                raise ValueError(
                    f"MNIST: {path} must hold bytes with {axes} axes, but has {array.dtype} {array.shape}"
                )
        if len(images) != len(labels):
            raise ValueError(
                f"MNIST: {paths[0]} has {len(images)} pictures, but {paths[1]} has {len(labels)} labels"
            )
        # (B, 1, H, W)
        self.images = images[:, None]
        self.labels = labels.astype(np.int64)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        i = position("MNIST", i, len(self))
        return self.images[i].astype(np.float32) / np.float32(255), int(self.labels[i])


def _find(folder, stem):
    """The path of the file, under any of its usual names."""
    for name in (stem, f"{stem}.gz", stem.replace("-idx", ".idx"), stem.replace("-idx", ".idx") + ".gz"):
        if Path(folder, name).is_file():
            return Path(folder, name)
    raise FileNotFoundError(f"MNIST: there is no {stem} (with or without .gz) in {folder}")
