"""Pictures with a class for every pixel: FOLDER/images/1.jpg, FOLDER/masks/1.png, FOLDER/classes.txt.
Not here: panoptic maps, which also number the objects (coco.py)."""

import warnings

import numpy as np

from minivis import foreign_words
from minivis.data._coco import Photo
from minivis.data._decode import open_image
from minivis.data._files import position
from minivis.data._sized import checked_size, middle, nearest, read_listed
from minivis.data.folders import pictures_in, told_unread
from minivis.data.geometry import resized_size
from minivis.files import as_path

__all__ = ["IGNORED", "MaskFolder"]

IGNORED = 255  # the number of pixels without a class, as in Pascal VOC and Cityscapes


class MaskFolder:
    """Pictures with a label map each, for semantic segmentation: the class of every pixel.

    Parameters
    ----------
    folder : str or os.PathLike
        Holds a folder ``images`` with pictures, a folder ``masks`` with a PNG of the same name for each, and
        ``classes.txt`` with the names of the classes, one a line: the first is class 0. A pixel of a mask is the number
        of its class, as a grey or as a place in a palette; 255 is no class.
    size : int or (int, int), optional
        Pixels. One number: the shorter side is resized to it, then the square in the middle is cut out. Two: height and
        width to resize to. By default each picture keeps its own size.
    names : sequence of str, optional
        The classes by number; then ``classes.txt`` is not needed.

    Attributes
    ----------
    names : tuple of str
        The classes by number.
    paths : list of pathlib.Path
        The pictures, sorted by name.

    Raises
    ------
    FileNotFoundError
        If the folder, ``images``, ``masks``, ``classes.txt`` or the mask of a picture is missing.
    TypeError
        If `size` is not one or two integers.
    ValueError
        If there is no picture, two have the same name, or there is no class or more than 255. When a sample is
        requested: if a mask has colours instead of numbers, another size than its picture, or a number without a class.

    Warns
    -----
    UserWarning
        If pictures in formats that are not read are ignored; when a sample is requested, if there are two classes and its
        mask has 0 and 255 alone, as programs for drawing write black and white.

    Notes
    -----
    ``dataset[i]`` is (image, labels): (3, H, W) float32 in [0, 1] and (H, W) int64. A pixel without a class stays 255: pass
    ``ignore_index=255`` to the loss and to `minivis.metrics.confusion_matrix`. A mask is resized by taking the nearest pixel:
    the mean of two classes would be a third one. Large pictures are reduced while they are decoded.

    References
    ----------
    Everingham et al., "The Pascal visual object classes challenge", IJCV 2010, section 3.3, for the number 255.

    Examples
    --------
    >>> import tempfile
    >>> from minivis.data import examples
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     dataset = MaskFolder(examples.write_mask_folder(folder, count=2), size=32)
    ...     image, labels = dataset[0]
    >>> image.shape, labels.shape
    ((3, 32, 32), (32, 32))
    """

    @foreign_words.explained
    def __init__(self, folder, size=None, names=None):
        folder = as_path(folder)
        for part in (folder, folder / "images", folder / "masks"):
            if not part.is_dir():
                raise FileNotFoundError(
                    f"MaskFolder: there is no folder {part}; expected {folder.name}/images with pictures and "
                    f"{folder.name}/masks with a PNG of the same name for each"
                )
        self.names = class_names(folder) if names is None else tuple(map(str, names))
        if not 0 < len(self.names) <= IGNORED:
            raise ValueError(
                f"MaskFolder: {folder} must have 1 to {IGNORED} classes, but names {len(self.names)}"
            )
        self.size = checked_size("MaskFolder", size)
        unread = []
        self.paths = pictures_in("MaskFolder", folder / "images", unread)
        self._masks = _masks_of(self.paths, folder / "masks")
        if unread:
            warnings.warn(told_unread("MaskFolder", folder, unread), stacklevel=2)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        i = position("MaskFolder", i, len(self))
        labels = _read_labels(self._masks[i])
        # the mask has the size of the picture as it is shown or as it is stored; its own camera's note does not count
        photo = Photo(i, self.paths[i], *labels.shape)
        image = read_listed("MaskFolder", photo, upright=True, size=self.size, said="its mask has")
        numbers = np.unique(labels)
        if (wrong := numbers[(numbers >= len(self.names)) & (numbers != IGNORED)]).size:
            raise ValueError(
                f"MaskFolder: {self._masks[i]} has pixels of class {wrong[0]}, but the {len(self.names)} classes are "
                f"0 to {len(self.names) - 1}, and {IGNORED} for none"
            )
        if len(self.names) == 2 and numbers.tolist() == [0, IGNORED]:
            warnings.warn(
                f"MaskFolder: {self._masks[i]} has only 0 and {IGNORED}, and {IGNORED} is no class. If it means "
                f"{self.names[1]!r}, save the masks with 0 and 1",
                stacklevel=2,
            )
        if self.size is not None:
            labels = middle(nearest(labels, *resized_size(self.size, *labels.shape)), self.size)
        return middle(image, self.size), labels.astype(np.int64)


def class_names(folder):
    """The classes in classes.txt; a line of white space at the end does not count."""
    path = folder / "classes.txt"
    if not path.is_file():
        raise FileNotFoundError(
            f"MaskFolder: there is no {path}; write the names of the classes into it, one a line, the first for class 0 "
            "(or pass names=)"
        )
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"MaskFolder: {path} is no text in UTF-8; save it again as UTF-8") from None
    names = tuple(line.strip() for line in lines)
    if not all(names):
        raise ValueError(
            f"MaskFolder: line {names.index('') + 1} of {path} is empty; each line names a class, the first is class 0"
        )
    return names


def _masks_of(paths, folder):
    """The mask of each picture."""
    masks = [folder / f"{path.stem}.png" for path in paths]
    if missing := [(path, mask) for path, mask in zip(paths, masks, strict=True) if not mask.is_file()]:
        raise FileNotFoundError(
            f"MaskFolder: {len(missing)} of {len(paths)} pictures have no mask; the first is {missing[0][0]}, its mask "
            f"would be {missing[0][1]}"
        )
    if len(set(masks)) < len(masks):
        twice = next(path for i, path in enumerate(paths) if masks.index(masks[i]) < i)
        raise ValueError(
            f"MaskFolder: two pictures are called {twice.stem}; which of them has {twice.stem}.png?"
        )
    return masks


def _read_labels(path):
    """The class of each pixel of a mask file, (H, W) uint8, as it is stored."""
    stored = open_image("MaskFolder", path).image
    labels = np.asarray(stored)
    if labels.ndim != 2:
        raise ValueError(
            f"MaskFolder: {path} has colours ({stored.mode}); a mask holds the number of the class in each pixel, as a grey "
            "(8 bits) or a place in a palette"
        )
    if labels.dtype != np.uint8 and labels.max(initial=0) > IGNORED:
        raise ValueError(f"MaskFolder: {path} has the number {labels.max()}, more than {IGNORED}")
    return labels.astype(np.uint8)
