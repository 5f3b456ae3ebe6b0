"""The three layouts of a folder of data: pictures sorted into classes, boxes in COCO's format, a map of classes for each picture.

Not here: dividing the pictures into those to train on and those to measure on (layouts.py).
"""

import warnings
from dataclasses import dataclass, field

from minivis.data import CocoDetection, ImageFolder, MaskFolder
from minivis.data.folders import SPLITS, SUFFIXES, is_hidden, split_folders
from minivis.data.label_maps import class_names
from minivis.files import read_json, some

__all__ = ["Found", "Source", "files_of", "find", "is_of", "pictures_of"]


@dataclass
class Source:
    """A data set and its pictures.

    Attributes
    ----------
    dataset : object
        `ImageFolder`, `CocoDetection` or `MaskFolder`.
    paths : list of str
        The picture of each sample, relative to the folder of the data.
    strata : list or None
        For each picture what should be equally frequent in all parts, such as its class.
    """

    dataset: object
    paths: list
    strata: list | None


@dataclass
class Found:
    """A layout: one source, or two if the folder is divided already.

    Attributes
    ----------
    kind : str
        "classes", "boxes" or "masks".
    whole, train, validation : Source or None
        Either `whole`, or both others.
    notes : list of str
        Parts of the folder and pictures that are not used.
    """

    kind: str
    whole: Source | None = None
    train: Source | None = None
    validation: Source | None = None
    notes: list = field(default_factory=list)


def find(folder):
    """The layout of a folder.

    Parameters
    ----------
    folder : Path
        Where the data are.

    Returns
    -------
    Found or None
        None if it has none of the three.

    Raises
    ------
    ValueError
        If it has one, but there is something wrong with it.
    FileNotFoundError
        If pictures of a list are missing.
    """
    with warnings.catch_warnings(record=True) as passed_over:
        warnings.simplefilter("always")
        found = _masks(folder) or _boxes(folder) or _classes(folder)
    if found is not None:
        found.notes += [str(one.message) for one in passed_over if issubclass(one.category, UserWarning)]
    return found


# ------------------------------------------------------------------ pictures sorted into classes, and maps of classes


def _classes(folder):
    """Pictures in folders, one for each class."""
    parts = split_folders(folder)
    classes = _folders(parts.get("train", folder))
    if not any(_has_pictures(one) for one in classes):
        return None
    if other := [one for one in classes if (one / "images").is_dir()]:
        raise ValueError(
            f"recognise: {folder} holds pictures sorted into classes, and {other[0].name}, which has data of another kind: give "
            f"{other[0]} or the folder of the classes, and not both"
        )
    names = [one.name for one in classes]

    def read(part):
        dataset = ImageFolder(part, names=names)
        return Source(dataset, _relative(dataset.paths, folder), dataset.labels)

    return _by_part("classes", folder, parts, read)


def _masks(folder):
    """images/ and masks/."""
    parts = {} if _is_mask_folder(folder) else split_folders(folder)
    if not _is_mask_folder(parts.get("train", folder)):
        return None
    # of a divided folder it may lie beside the parts
    names = class_names(folder) if (folder / "classes.txt").is_file() else None

    def read(part):
        own = None if (part / "classes.txt").is_file() else names
        dataset = MaskFolder(part, names=own)
        return Source(dataset, _relative(dataset.paths, folder), None)

    return _by_part("masks", folder, parts, read)


def _by_part(kind, folder, parts, read):
    """The layout of a folder, or of the parts of a divided folder."""
    notes = [f"{parts['test'].name}/ is left alone"] if "test" in parts else []
    if "validation" in parts:
        both = {part: read(parts[part]) for part in ("train", "validation")}
        return Found(kind, **both, notes=notes)
    return Found(kind, whole=read(parts.get("train", folder)), notes=notes)


def _is_mask_folder(folder):
    return (folder / "images").is_dir() and (folder / "masks").is_dir()


# ------------------------------------------------------------------ COCO's format


def _boxes(folder):
    """A list in COCO's format, or one for each part."""
    places = [folder, folder / "annotations", *split_folders(folder).values()]
    lists = {
        path: content for place in places for path in sorted(place.glob("*.json")) if (content := _coco(path))
    }
    by_part = {part: [path for path in lists if is_of(path, folder, words)] for part, words in SPLITS.items()}
    assigned = [path for paths in by_part.values() for path in paths]
    by_part["train"] = by_part["train"] or [path for path in lists if path not in assigned]
    if not by_part["train"]:
        return None
    for paths in (by_part["train"], by_part["validation"]):
        if len(paths) > 1:
            raise ValueError(
                f"recognise: {folder} holds several lists in COCO's format, {some(_relative(paths, folder))}: keep the one to "
                "use, or name them instances_train.json and instances_val.json"
            )
    sources = {
        part: _listed(path, lists[path], folder) for part in ("train", "validation") for path in by_part[part]
    }
    notes = [f"{path} is left alone" for path in _relative(by_part["test"], folder)]
    if len(sources) == 1:
        return Found("boxes", whole=sources["train"], notes=notes)
    return Found("boxes", **sources, notes=notes)


def _coco(path):
    """The content of a json file if it is a list of pictures with boxes, otherwise None."""
    try:
        content = read_json(path, "recognise")
    except (ValueError, OSError):
        return None
    listed = all(isinstance(content.get(key), list) for key in ("images", "annotations", "categories"))
    return content if listed and content["images"] and isinstance(content["images"][0], dict) else None


def is_of(path, folder, words):
    """Whether one of the words begins a word in the name of a list, or of the folder that it lies in."""
    text = "_".join(path.relative_to(folder).with_suffix("").parts).lower().replace("-", "_")
    return any(part.startswith(word) for part in text.split("_") for word in words)


def _listed(path, content, folder):
    """The pictures of a list."""
    images = pictures_of(path, content, folder)
    file_of = files_of(content)
    if not content["categories"]:
        raise ValueError(f"recognise: {path} names no categories, which are the classes of its boxes")
    dataset = CocoDetection(images, path, masks=False, invalid="skip")
    paths = _relative([images / file_of[number] for number in dataset.image_ids], folder)
    return Source(dataset, paths, _rarest(content["annotations"], dataset.image_ids))


def pictures_of(path, content, folder, who="recognise"):
    """The folder of the pictures of a list: a folder of its name, ``images``, or that of the list.

    Parameters
    ----------
    path, content : Path and dict
        The list.
    folder : Path
        The folder of the data.
    who : str
        The function that asks, for the error.
    """
    first = next(iter(files_of(content).values()), None)
    if first is None:
        raise ValueError(f"{who}: {path} lists no pictures")
    stem = path.stem.removeprefix("instances_").removeprefix("panoptic_")
    inside = [folder / stem, folder / "images" / stem, folder / "images", path.parent / "images"]
    places = [*inside, path.parent, folder]
    images = next((place for place in places if (place / first).is_file()), None)
    if images is None:
        looked = some([str(place) for place in dict.fromkeys(places) if place.is_dir()], 4)
        raise FileNotFoundError(
            f"{who}: {path} lists {first!r}, which is in none of {looked}: put the pictures into {folder / 'images'}"
        )
    return images


def files_of(content):
    """The file name of each picture of a list, by its number."""
    return {
        entry.get("id"): str(entry.get("file_name"))
        for entry in content["images"]
        if isinstance(entry, dict) and isinstance(entry.get("id"), int | str)
    }


def _rarest(annotations, images):
    """For each picture the class of its objects that is rarest in the list, as a number; the last number without objects."""
    pairs = [(a.get("image_id"), a.get("category_id")) for a in annotations if isinstance(a, dict)]
    pairs = [pair for pair in pairs if all(isinstance(number, int | str) for number in pair)]
    counts = {}
    for _, category in pairs:
        counts[category] = counts.get(category, 0) + 1
    order = {category: place for place, category in enumerate(sorted(counts, key=counts.get))}
    found = dict.fromkeys(images, len(order))
    for image, category in pairs:
        if image in found:
            found[image] = min(found[image], order[category])
    return [found[image] for image in images]


# ------------------------------------------------------------------ looking around


def _folders(folder):
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path))


def _has_pictures(folder):
    return any(path.suffix.lower() in SUFFIXES and not is_hidden(path) for path in folder.iterdir())


def _relative(paths, folder):
    return [path.relative_to(folder).as_posix() for path in paths]
