"""What a folder of one's own data holds: pictures sorted into classes, boxes in COCO's format, or a map of classes for each.

Not here: reading the pictures (data/), models and their training (training.py).
"""

from dataclasses import dataclass, field
from pathlib import Path

from minivis.data import Subset, split
from minivis.files import as_path, some
from minivis.tasks.sources import Source, find

__all__ = ["Task", "recognise"]

KNOWN = """\
  pictures sorted into classes    FOLDER/cat/1.jpg, FOLDER/dog/2.jpg ...   (or FOLDER/train/cat/..., FOLDER/val/cat/...)
  boxes in COCO's format          FOLDER/images/1.jpg ... and FOLDER/annotations.json   (or annotations/instances_*.json)
  a class for each pixel          FOLDER/images/1.jpg ..., FOLDER/masks/1.png ... and FOLDER/classes.txt"""
FEW = 10  # pictures of a class; with fewer, its figures are chance


@dataclass
class Task:
    """Data of one kind with its split: what `recognise` returns.

    Attributes
    ----------
    kind : str
        "classes" (a class for each picture), "boxes" or "masks" (a class for each pixel).
    folder : Path
        Where the data are.
    names : tuple of str
        The classes, by label.
    train, validation : dataset
        ``dataset[i]`` is (image, target), the image (3, H, W) float32 in [0, 1] in the photo's own size. The target is an int; a
        dict with ``labels`` and ``boxes`` as of `CocoDetection`; or labels (H, W) as of `MaskFolder`. `train` is None if all
        data were asked for as validation.
    paths : dict of str to list of str
        The pictures of ``"train"`` and of ``"validation"``, relative to the folder, in the order of the two datasets.
    divided : str
        How the two parts came about, as a sentence for people.
    notes : list of str
        What else there is to say about the folder, such as a part or pictures that are not used, or classes with few pictures.
    """

    kind: str
    folder: Path
    names: tuple
    train: object
    validation: object
    paths: dict
    divided: str
    notes: list = field(default_factory=list)

    def __str__(self):
        what = {
            "classes": f"pictures sorted into {len(self.names)} classes",
            "boxes": f"pictures with boxes of {len(self.names)} classes (COCO's format)",
            "masks": f"pictures with a map of {len(self.names)} classes each",
        }[self.kind]
        counts = f"{len(self.paths['train'])} to train on, {len(self.paths['validation'])} to measure on"
        return f"{self.folder}: {what}: {some(self.names, 6)}; {counts} ({self.divided})"


def recognise(folder, share=0.2, seed=0, divided=None):
    """Find out which of three layouts a folder of data has, and divide its pictures into two parts.

    Parameters
    ----------
    folder : str or path
        Pictures sorted into folders (``CLASS/1.jpg``), COCO's boxes (``images/`` and ``annotations.json``), or a map of
        classes for each picture (``images/`` and ``masks/``). Each may be divided already, into ``train/`` and ``val/`` or into
        ``annotations/instances_train.json`` and ``instances_val.json``: this division is then kept.
    share : float, default 0.2
        The part of the pictures that is kept for measuring, if the folder is not divided. With 1 all pictures are, and of a
        divided folder those for measuring alone.
    seed : int, default 0
        Which pictures these are. Every class gets its share.
    divided : dict of str to list of str, optional
        ``paths`` of an earlier `Task`: the same division again. Pictures that have come since then are left out.

    Returns
    -------
    Task

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or a picture of `divided` is gone.
    ValueError
        If none of the layouts fits, the data are faulty, or there are fewer than two pictures.

    Examples
    --------
    >>> import tempfile
    >>> from minivis.data import examples
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = examples.write_image_folder(folder, count=10)
    ...     task = recognise(folder)
    >>> task.kind, len(task.train) > len(task.validation)
    ('classes', True)
    """
    folder = as_path(folder)
    if not folder.is_dir():
        hint = (
            f"; it is a file: give the folder of the data, such as {folder.parent}" if folder.exists() else ""
        )
        raise FileNotFoundError(f"recognise: there is no folder {folder}{hint}")
    if not 0 < share <= 1:
        raise ValueError(f"recognise: share must be above 0 and at most 1, got {share}")
    found = find(folder)
    if found is None:
        raise ValueError(
            f"recognise: {folder} has none of the layouts that are known. It holds {_seen(folder)}; known are\n{KNOWN}"
        )
    if found.whole is not None:
        return _divide(folder, found, share, seed, divided)
    return _as_divided(folder, found, share)


def _as_divided(folder, found, share):
    """The `Task` of a folder that is divided already."""
    train, validation = found.train, found.validation
    if tuple(train.dataset.names) != tuple(validation.dataset.names):
        told = [some(part.dataset.names, 6) for part in (train, validation)]
        raise ValueError(f"recognise: {folder}: the classes of the two parts differ: {told[0]}; {told[1]}")
    if both := sorted(set(train.paths) & set(validation.paths)):
        raise ValueError(f"recognise: {folder}: pictures are in both parts: {some(both)}")
    sources = [None if share == 1 else train, validation]
    return _task(folder, found, validation.dataset.names, sources, "as the folder is divided")


def _divide(folder, found, share, seed, before):
    """The `Task` of a folder whose pictures are divided here."""
    source = found.whole
    names = source.dataset.names
    if share == 1:
        return _task(folder, found, names, [None, source], "all of them")
    if before is None:
        if len(source.paths) < 2:
            raise ValueError(
                f"recognise: {folder} holds one picture; at least two are needed, one to train on and one to measure on"
            )
        parts = split(len(source.paths) if source.strata is None else source.strata, (1 - share, share), seed)
        told = f"{100 * share:.3g} % of each class, drawn with seed {seed}"
        told = told.replace(" of each class", "") if source.strata is None else told
    else:
        parts = _again(folder, source.paths, before)
        told = "divided as before"
    sources = [Source(Subset(source.dataset, part), [source.paths[i] for i in part], None) for part in parts]
    return _task(folder, found, names, sources, told)


def _again(folder, paths, before):
    """The numbers of the pictures of each part of an earlier division."""
    parts = [before.get(part) for part in ("train", "validation")]
    if not all(isinstance(part, list) and part for part in parts):
        raise ValueError(
            'recognise: the earlier division must have a list of pictures for "train" and one for "validation"'
        )
    place = {path: i for i, path in enumerate(paths)}
    listed = [str(path) for part in parts for path in part]
    if gone := [path for path in listed if path not in place]:
        raise FileNotFoundError(
            f"recognise: {gone[0]} of the earlier division is not in {folder}: put it back, or begin anew in another folder"
        )
    if len(set(listed)) < len(listed):
        raise ValueError(
            "recognise: the earlier division has a picture twice, so that one to measure on may be one to train on"
        )
    return [[place[path] for path in part] for part in parts]


def _task(folder, found, names, sources, divided):
    """A `Task` of two sources; the first may be None."""
    paths = [[] if source is None else source.paths for source in sources]
    datasets = [None if source is None else source.dataset for source in sources]
    paths = dict(zip(("train", "validation"), paths, strict=True))
    notes = found.notes + (_few(folder, names, found) if found.kind == "classes" else [])
    return Task(found.kind, folder, tuple(names), *datasets, paths, divided, notes)


def _few(folder, names, found):
    """A note on classes with few pictures, in a list; empty if there are none."""
    sources = [source for source in (found.whole, found.train, found.validation) if source is not None]
    labels = [label for source in sources for label in source.strata]
    counts = {name: labels.count(number) for number, name in enumerate(names)}
    few = [f"{name} ({count})" for name, count in counts.items() if count < FEW]
    return [f"few pictures of {some(few, 6)}: what is measured for so few is chance"] if few else []


def _seen(folder):
    """What lies in a folder, for an error."""
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return some([path.name + "/" * path.is_dir() for path in inside], 6) or "nothing"
