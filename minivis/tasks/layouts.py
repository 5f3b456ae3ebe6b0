"""What a folder of one's own data holds: pictures sorted into classes, boxes in COCO's format, or a map of classes for each.

Not here: reading the pictures (data/), models and their training (training.py).
"""

from dataclasses import dataclass, field
from pathlib import Path

from minivis.data import CocoDetection, ImageFolder, MaskFolder, Subset, split
from minivis.data.folders import SUFFIXES
from minivis.files import as_path, read_json, some

__all__ = ["Task", "recognise"]

KNOWN = """\
  pictures sorted into classes    FOLDER/cat/1.jpg, FOLDER/dog/2.jpg ...   (or FOLDER/train/cat/..., FOLDER/val/cat/...)
  boxes in COCO's format          FOLDER/images/1.jpg ... and FOLDER/annotations.json   (or annotations/instances_*.json)
  a class for each pixel          FOLDER/images/1.jpg ..., FOLDER/masks/1.png ... and FOLDER/classes.txt"""
TRAIN = ("train", "training")
VALIDATION = ("val", "valid", "validation")
TEST = ("test", "testing")  # never used for training, and not for choosing a model either


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
        What else there is to say about the folder, such as a part that is not used.
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
        raise FileNotFoundError(f"recognise: there is no folder {folder}")
    if not 0 < share <= 1:
        raise ValueError(f"recognise: share must be above 0 and at most 1, got {share}")
    found = _masks(folder) or _boxes(folder) or _classes(folder)
    if found is None:
        raise ValueError(
            f"recognise: {folder} has none of the layouts that are known. It holds {_seen(folder)}; known are\n{KNOWN}"
        )
    return _divided(folder, found, share, seed, divided)


@dataclass
class _Found:
    """A layout before its division: one source for all pictures, or one each for training and for validation."""

    kind: str
    whole: object = None  # each is a `_Source`
    train: object = None
    validation: object = None
    notes: list = field(default_factory=list)


@dataclass
class _Source:
    """A dataset, where its pictures are, and what its parts should have alike: a label for each picture, or None."""

    dataset: object
    paths: list
    strata: list | None


# ------------------------------------------------------------------ the three layouts


def _classes(folder):
    """Pictures in folders, one for each class."""
    parts = _parts(folder)
    if parts["train"] is None:
        if not any(_has_pictures(inside) for inside in _folders(folder)):
            return None
        return _Found("classes", whole=_sorted_pictures(folder, folder))
    if not any(_has_pictures(inside) for inside in _folders(parts["train"])):
        return None
    names = [inside.name for inside in _folders(parts["train"])]
    return _in_parts("classes", parts, lambda part: _sorted_pictures(part, folder, names))


def _sorted_pictures(part, folder, names=None):
    dataset = ImageFolder(part, names=names)
    return _Source(dataset, [_relative(path, folder) for path in dataset.paths], dataset.labels)


def _masks(folder):
    """images/ and masks/."""

    def of(part):
        return (part / "images").is_dir() and (part / "masks").is_dir()

    parts = _parts(folder)
    if of(folder):
        return _Found("masks", whole=_mapped_pictures(folder, folder))
    if parts["train"] is None or not of(parts["train"]):
        return None
    return _in_parts("masks", parts, lambda part: _mapped_pictures(part, folder))


def _mapped_pictures(part, folder):
    names = None
    listed = folder / "classes.txt"
    if part != folder and listed.is_file() and not (part / "classes.txt").is_file():
        names = listed.read_text(encoding="utf-8").split("\n")
        names = [name.strip() for name in names if name.strip()]
    dataset = MaskFolder(part, names=names)
    return _Source(dataset, [_relative(path, folder) for path in dataset.paths], None)


def _boxes(folder):
    """A list in COCO's format, or two."""
    places = [folder, folder / "annotations", *_folders(folder)]
    lists = sorted({path for place in places if place.is_dir() for path in place.glob("*.json")})
    lists = {path: content for path in lists if (content := _coco_content(path)) is not None}
    parts = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
    by_part = {
        part: [path for path in lists if _is_of(path, folder, words)] for part, words in parts.items()
    }
    rest = [path for path in lists if not any(path in paths for paths in by_part.values())]
    train = by_part["train"] or rest
    if not train:
        return None
    if len(train) > 1 or len(by_part["validation"]) > 1:
        several = [_relative(path, folder) for path in (train if len(train) > 1 else by_part["validation"])]
        raise ValueError(
            f"recognise: {folder} holds several lists in COCO's format, {some(several)}: keep the one to use, or name them "
            "instances_train.json and instances_val.json"
        )
    if not by_part["validation"]:
        found = _Found("boxes", whole=_listed_pictures(train[0], lists[train[0]], folder))
    else:
        sources = [
            _listed_pictures(path, lists[path], folder) for path in (train[0], by_part["validation"][0])
        ]
        found = _Found("boxes", train=sources[0], validation=sources[1])
    found.notes += [f"{_relative(path, folder)} is left alone" for path in by_part["test"]]
    return found


def _coco_content(path):
    """The content of a json file if it is a list of pictures with boxes, otherwise None."""
    try:
        content = read_json(path, "recognise")
    except (ValueError, OSError):
        return None
    listed = all(isinstance(content.get(key), list) for key in ("images", "annotations", "categories"))
    return content if listed and content["images"] and isinstance(content["images"][0], dict) else None


def _is_of(path, folder, words):
    """Whether the name of a list, or of the folder it lies in, has one of the words at a place where a word begins."""
    text = "_".join(path.relative_to(folder).with_suffix("").parts).lower().replace("-", "_")
    return any(part.startswith(word) for part in text.split("_") for word in words)


def _listed_pictures(path, content, folder):
    names = [str(entry.get("file_name", "")) for entry in content["images"] if isinstance(entry, dict)]
    stem = path.stem.removeprefix("instances_")
    places = (folder / stem, folder / "images" / stem, folder / "images", path.parent / "images", path.parent, folder)
    images = next((place for place in places if (place / names[0]).is_file()), None)
    if images is None:
        looked = some([str(place) for place in dict.fromkeys(places) if place.is_dir()], 4)
        raise FileNotFoundError(
            f"recognise: {path} lists {names[0]!r}, which is in none of the folders {looked}: put the pictures into "
            f"{folder / 'images'}"
        )
    dataset = CocoDetection(images, path, masks=False, invalid="skip")
    file_of = {entry.get("id"): name for entry, name in zip(content["images"], names, strict=True)}
    paths = [_relative(images / file_of[number], folder) for number in dataset.image_ids]
    return _Source(dataset, paths, _rarest(content, dataset.image_ids))


def _rarest(content, images):
    """For each picture the class of its objects that is rarest in the list, or -1 without objects."""
    counts = {}
    for entry in content["annotations"]:
        if isinstance(entry, dict):
            counts[entry.get("category_id")] = counts.get(entry.get("category_id"), 0) + 1
    order = {category: place for place, category in enumerate(sorted(counts, key=counts.get))}
    found = dict.fromkeys(images, len(order))
    for entry in content["annotations"]:
        if isinstance(entry, dict) and entry.get("image_id") in found:
            number = entry["image_id"]
            found[number] = min(found[number], order[entry.get("category_id")])
    return [found[number] for number in images]


# ------------------------------------------------------------------ the division


def _in_parts(kind, parts, read):
    """A layout whose pictures are divided already."""
    notes = [f"{parts['test'].name}/ is left alone"] if parts["test"] else []
    if parts["validation"] is None:
        return _Found(kind, whole=read(parts["train"]), notes=notes)
    return _Found(kind, train=read(parts["train"]), validation=read(parts["validation"]), notes=notes)


def _divided(folder, found, share, seed, before):
    """The `Task` of a layout."""
    first = found.whole or found.train
    common = {"kind": found.kind, "folder": folder, "names": tuple(first.dataset.names), "notes": found.notes}
    if found.whole is None:
        train, validation = found.train, found.validation
        if tuple(validation.dataset.names) != common["names"]:
            raise ValueError(
                f"recognise: {folder}: the classes of the two parts differ: {some(common['names'], 6)}; "
                f"{some(validation.dataset.names, 6)}"
            )
        paths = {"train": train.paths, "validation": validation.paths}
        if set(paths["train"]) & set(paths["validation"]):
            raise ValueError(f"recognise: {folder}: pictures are in both parts, such as {sorted(set(paths['train']) & set(paths['validation']))[0]}")
        if share == 1:
            return Task(**common, train=None, validation=validation.dataset, paths={"train": [], "validation": validation.paths}, divided="the part of the folder")
        return Task(
            **common, train=train.dataset, validation=validation.dataset, paths=paths, divided="as the folder is divided"
        )
    source = found.whole
    if share == 1:
        paths = {"train": [], "validation": source.paths}
        return Task(**common, train=None, validation=source.dataset, paths=paths, divided="all of them")
    parts, divided = _chosen(folder, source, share, seed, before)
    paths = {name: [source.paths[i] for i in part] for name, part in zip(("train", "validation"), parts, strict=True)}
    train, validation = (Subset(source.dataset, part) for part in parts)
    return Task(**common, train=train, validation=validation, paths=paths, divided=divided)


def _chosen(folder, source, share, seed, before):
    """The numbers of the pictures of the two parts, and a sentence about them."""
    if before is not None:
        place = {path: i for i, path in enumerate(source.paths)}
        wanted = [before["train"], before["validation"]]
        if gone := [path for paths in wanted for path in paths if path not in place]:
            raise FileNotFoundError(
                f"recognise: {some(gone)} of the earlier division is gone from {folder}: put it back, or train into another folder"
            )
        return [[place[path] for path in paths] for paths in wanted], "divided as before"
    if len(source.paths) < 2:
        raise ValueError(
            f"recognise: {folder} holds {len(source.paths)} picture; at least two are needed, one to train on and one to "
            "measure on"
        )
    given = len(source.paths) if source.strata is None else source.strata
    parts = split(given, (1 - share, share), seed)
    return parts, f"{100 * share:.0f} % of each class, drawn with seed {seed}" if source.strata else f"{100 * share:.0f} %, drawn with seed {seed}"


# ------------------------------------------------------------------ looking around


def _folders(folder):
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _parts(folder):
    """The folders of the parts of a divided folder, or None for each that is not there."""
    by_name = {path.name.lower(): path for path in _folders(folder)}
    words = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
    return {part: next((by_name[w] for w in names if w in by_name), None) for part, names in words.items()}


def _has_pictures(folder):
    return any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())


def _relative(path, folder):
    return path.relative_to(folder).as_posix()


def _seen(folder):
    """What lies in a folder, for an error."""
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    names = [path.name + ("/" if path.is_dir() else "") for path in inside]
    return some(names, 6) if names else "nothing"
