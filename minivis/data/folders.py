"""Pictures sorted into folders, one for each class: FOLDER/cat/1.png, FOLDER/dog/2.jpg.
Not here: labels in lists (coco.py), random changes (transforms.py)."""

import warnings
from pathlib import Path

from minivis import foreign_words
from minivis.data._files import position
from minivis.data._sized import checked_size, read_fitted
from minivis.files import as_path

__all__ = ["ImageFolder", "split_folders"]

SUFFIXES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm",
}  # fmt: skip
# Also pictures, but Pillow cannot read them, or not on every machine.
UNREAD = {
    ".heic",
    ".heif",
    ".avif",
    ".jxl",
    ".jp2",
    ".j2k",
    ".svg",
    ".tga",
    ".psd",
    ".dng",
    ".cr2",
    ".nef",
    ".arw",
}


# What people call the folders of a data set that is split already.
SPLITS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


def split_folders(folder):
    """Find the parts of a data set that is split into folders already, such as FOLDER/train and FOLDER/val.

    Parameters
    ----------
    folder : str or os.PathLike
        The folder of the data set.

    Returns
    -------
    dict of str to pathlib.Path
        "train", "validation" and "test", as far as there are such folders. Usual names are known, in any case: train,
        training; val, valid, validation; test, testing. Empty unless there is a folder for training.

    Raises
    ------
    ValueError
        If two folders have a name of the same part.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for part in ("train", "Val"):
    ...         Path(folder, part).mkdir()
    ...     {part: path.name for part, path in split_folders(folder).items()}
    {'train': 'train', 'validation': 'Val'}
    """
    found = {}
    folders = [path for path in sorted(Path(folder).iterdir()) if path.is_dir()]
    for part, names in SPLITS.items():
        fitting = [path for path in folders if path.name.lower() in names]
        if len(fitting) > 1:
            raise ValueError(
                f"split_folders: {folder} has {fitting[0].name} and {fitting[1].name}, both for {part}; rename one"
            )
        if fitting:
            found[part] = fitting[0]
    return found if "train" in found else {}


class ImageFolder:
    """Every picture in the folders of a folder; the name of its folder is its class.

    Parameters
    ----------
    folder : str or os.PathLike
        Holds one folder of pictures for each class. Names that begin with a dot, ``__MACOSX`` and files without a
        picture's suffix are ignored; a warning lists pictures in formats that are not read (.heic, .avif ...).
    size : int or (int, int), optional
        Pixels. One number: the shorter side is resized to it, then the square in the middle is cut out. Two: height and
        width to resize to, without keeping the proportions. By default each picture keeps its own size; then batches
        need another `collate`.
    names : sequence of str, optional
        The classes in the order of their labels, such as those of another split; default: the names of the folders, in
        alphabetical order.
    split : {"train", "validation", "test"}, optional
        Of a folder that is split already, FOLDER/train/cat, FOLDER/val/cat ...: which part. The names are then those of
        all parts, so that a class has the same label in each.

    Attributes
    ----------
    names : tuple of str
        Class of each label.
    paths : list of pathlib.Path
        The pictures, sorted by class and then by name.
    labels : list of int
        Label of each picture.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    TypeError
        If `size` is not one or two integers.
    ValueError
        If it holds no folder, a class has no picture, a class folder contains a folder, `names` repeats a name or lacks that
        of a folder, or there is no part `split`.

    Warns
    -----
    UserWarning
        If pictures in formats that are not read are ignored.

    Notes
    -----
    ``dataset[i]`` is (image, label): (3, H, W) float32 in [0, 1], and an int. A picture is opened only when it is
    requested; a broken one raises an error then.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Path(folder, "ink").mkdir()
    ...     _ = Path(folder, "ink", "1.pgm").write_bytes(b"P5 2 1 255 " + bytes([0, 51]))
    ...     image, label = ImageFolder(folder)[0]
    >>> image.shape, label
    ((3, 1, 2), 0)
    """

    @foreign_words.explained
    def __init__(self, folder, size=None, names=None, split=None):
        folder = as_path(folder)
        if not folder.is_dir():
            hint = "; it is a file: give the folder of its class's folder" if folder.exists() else ""
            raise FileNotFoundError(f"ImageFolder: there is no folder {folder}{hint}")
        if split is not None:
            folder, all_names = _part(folder, split)
            names = all_names if names is None else names
        found = _class_folders(folder)
        self.names = tuple(found if names is None else names)
        self.size = checked_size("ImageFolder", size)
        self.paths = []
        self.labels = []
        if not found:
            pictures = sum(
                path.suffix.lower() in SUFFIXES and not is_hidden(path) for path in folder.iterdir()
            )
            hint = (
                f"; sort the pictures that lie in it, {pictures} of them, into such folders"
                if pictures
                else ""
            )
            raise ValueError(
                f"ImageFolder: {folder} holds no folders; expected one for each class, with its pictures{hint}"
            )
        if isinstance(names, str) or len(set(self.names)) < len(self.names):
            raise ValueError(f"ImageFolder: names must be a list of different names, got {names!r}")
        if unknown := sorted(set(found) - set(self.names)):
            raise ValueError(
                f"ImageFolder: {folder} has folders that are none of the names: {', '.join(unknown)}"
            )
        unread = []
        for name in found:
            pictures = pictures_in("ImageFolder", folder / name, unread)
            self.paths += pictures
            self.labels += [self.names.index(name)] * len(pictures)
        if unread:
            warnings.warn(told_unread("ImageFolder", folder, unread), stacklevel=2)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        i = position("ImageFolder", i, len(self))
        return read_fitted("ImageFolder", self.paths[i], self.size), self.labels[i]


def _class_folders(folder):
    """The names of the folders in a folder, in alphabetical order."""
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not is_hidden(p))


def is_hidden(path):
    """Whether a system made a file or folder for itself: .DS_Store, the notes of a Mac in an archive, previews of a disk."""
    return path.name.startswith(".") or path.name in ("__MACOSX", "@eaDir")


def _part(folder, split):
    """The folder of one part of a data set, and the classes of all parts."""
    if split not in SPLITS:
        raise ValueError(f"ImageFolder: split must be one of {', '.join(SPLITS)}, got {split!r}")
    parts = split_folders(folder)
    if split not in parts:
        there = ", ".join(path.name for path in parts.values()) or "none"
        raise ValueError(
            f"ImageFolder: {folder} has no folder for split={split!r} ({' or '.join(SPLITS[split])}); of such folders it "
            f"has {there}"
        )
    return parts[split], sorted({name for part in parts.values() for name in _class_folders(part)})


def told_unread(name, folder, unread):
    """The warning about pictures in formats that are not read."""
    first = ", ".join(str(path.relative_to(folder)) for path in unread[:3])
    return (
        f"{name}: {folder}: pictures of a kind that is not read are passed over, {len(unread)} of them: {first}"
        f"{', ...' if len(unread) > 3 else ''}; save them as PNG or JPEG"
    )


def pictures_in(name, folder, unread):
    """The pictures in a folder; those in formats that are not read are added to `unread`; ``name`` is the caller."""
    entries = sorted(p for p in folder.iterdir() if not is_hidden(p))
    if nested := [p.name for p in entries if p.is_dir()]:
        parts = split_folders(folder.parent)
        hint = (
            f"; {folder.parent.name} is split already: pass split='train'" if folder in parts.values() else ""
        )
        raise ValueError(f"{name}: {folder} holds a folder, {nested[0]}; expected pictures only{hint}")
    pictures = [p for p in entries if p.suffix.lower() in SUFFIXES]
    others = [p for p in entries if p.suffix.lower() in UNREAD]
    if not pictures:
        hint = f"; {others[0].name} is of a kind that is not read" if others else ""
        raise ValueError(
            f"{name}: {folder} holds no picture ({', '.join(sorted(SUFFIXES))}){hint}; add some, or remove the folder"
        )
    unread += others
    return pictures
