"""Pictures sorted into folders, one for each class: FOLDER/cat/1.png, FOLDER/dog/2.jpg.
Not here: labels in lists (coco.py), random changes (transforms.py)."""

import warnings
from pathlib import Path

from minivis.data._files import position
from minivis.data.geometry import center_crop, resize
from minivis.data.images import read_image

__all__ = ["ImageFolder"]

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


class ImageFolder:
    """Every picture in the folders of a folder; the name of its folder is its class.

    Parameters
    ----------
    folder : str or os.PathLike
        Holds one folder of pictures for each class. Names that begin with a dot and files without a picture's suffix
        are ignored; a warning lists pictures in formats that are not read (.heic, .avif ...).
    size : int or (int, int), optional
        Pixels. One number: the shorter side is resized to it, then the square in the middle is cut out. Two: height and
        width to resize to, without keeping the proportions. By default each picture keeps its own size; then batches
        need another `collate`.
    names : sequence of str, optional
        The classes in the order of their labels, such as those of another split; default: the names of the folders, in
        alphabetical order.

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
    ValueError
        If it holds no folder, a class has no picture, a class folder contains a folder, or a folder is not in `names`.

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

    def __init__(self, folder, size=None, names=None):
        folder = Path(folder)
        if not folder.is_dir():
            raise FileNotFoundError(f"ImageFolder: there is no folder {folder}")
        found = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
        self.names = tuple(found if names is None else names)
        self.size = size
        self.paths = []
        self.labels = []
        if not found:
            raise ValueError(
                f"ImageFolder: {folder} holds no folders; expected one for each class, with its pictures"
            )
        if unknown := sorted(set(found) - set(self.names)):
            raise ValueError(
                f"ImageFolder: {folder} has folders that are none of the names: {', '.join(unknown)}"
            )
        unread = []
        for name in found:
            pictures = _pictures(folder / name, unread)
            self.paths += pictures
            self.labels += [self.names.index(name)] * len(pictures)
        if unread:
            first = ", ".join(str(path.relative_to(folder)) for path in unread[:3])
            warnings.warn(
                f"ImageFolder: {folder}: pictures of a kind that is not read are passed over, {len(unread)} of them: {first}"
                f"{', ...' if len(unread) > 3 else ''}; save them as PNG or JPEG",
                stacklevel=2,
            )

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        i = position("ImageFolder", i, len(self))
        image = read_image(self.paths[i])
        if self.size is not None:
            image = resize(image[None], self.size)
            image = (center_crop(image, self.size) if isinstance(self.size, int) else image)[0]
        return image, self.labels[i]


def _pictures(folder, unread):
    """The pictures of a class; those in formats that are not read are added to `unread`."""
    entries = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    if nested := [p.name for p in entries if p.is_dir()]:
        raise ValueError(f"ImageFolder: {folder} holds a folder, {nested[0]}; expected pictures only")
    pictures = [p for p in entries if p.suffix.lower() in SUFFIXES]
    others = [p for p in entries if p.suffix.lower() in UNREAD]
    if not pictures:
        hint = f"; {others[0].name} is of a kind that is not read" if others else ""
        raise ValueError(f"ImageFolder: {folder} holds no picture ({', '.join(sorted(SUFFIXES))}){hint}")
    unread += others
    return pictures
