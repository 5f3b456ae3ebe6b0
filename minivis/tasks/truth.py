"""The pictures that a model is measured on, with what is true of each: found in a folder, or named by a list in COCO's format.

Not here: the names of the classes (class_names.py), running the model and counting (scores.py, evaluation.py).
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minivis.data import CocoDetection, CocoPanoptic
from minivis.data.folders import SPLITS
from minivis.files import as_path, read_json, some
from minivis.tasks.layouts import recognise
from minivis.tasks.sources import files_of, is_of, pictures_of

__all__ = ["HeldOut", "held_out"]

SMALL = 64  # pixels of the shorter side of a picture that is read for its boxes alone
# COCO's lists without boxes or maps of segments
OTHER_LISTS = ("captions", "person_keypoints", "stuff", "image_info")


@dataclass
class HeldOut:
    """Pictures to measure on.

    Attributes
    ----------
    kind : str
        "classes" (a class for each picture), "boxes", "masks" (a class for each pixel) or "panoptic".
    names : tuple of str
        The classes, by label.
    paths : list of Path
        The pictures.
    truth : callable
        ``truth(i)`` is what is true of picture i: an int; a dict with ``labels``, ``boxes`` (normalised cxcywh), ``iscrowd`` and
        ``area``; labels (H, W); or a dict with ``panoptic`` (H, W) and ``segments``.
    told : str
        Where they were found, for people.
    things : ndarray of bool or None
        Which classes are countable, if the data say so.
    """

    kind: str
    names: tuple
    paths: list
    truth: Callable
    told: str
    things: np.ndarray | None = None


def held_out(data, segments=False, trained=None):
    """Find the pictures to measure on.

    Parameters
    ----------
    data : str or path
        A folder as for `minivis.tasks.recognise`, or with COCO's lists, in ``annotations/`` or directly; or one such list. Of a
        divided folder the part for validation is taken.
    segments : bool, default False
        Whether a list of panoptic segments is preferred to one of boxes.
    trained : path, optional
        The folder of a training. If it was on `data`, the pictures that it kept for measuring are taken.

    Returns
    -------
    HeldOut

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or pictures of a list are missing.
    ValueError
        If nothing to measure on is recognised, or several lists fit.
    """
    path = as_path(data)
    if not path.exists():
        raise FileNotFoundError(f"evaluate: there is no {path}")
    if path.is_file():
        above = path.parent
        return _of_list(path, above.parent if above.name == "annotations" else above)
    listed = _list(path, segments)
    found = _of_folder(path) if listed is None else _of_list(listed, path)
    kept = _kept(path, trained)
    return found if kept is None else _only(found, kept)


def _of_folder(folder):
    """The pictures of a folder without lists; of a divided one those for validation."""
    parts = [one for one in sorted(folder.iterdir()) if one.name.lower() in SPLITS["validation"]]
    if parts and not (folder / "classes.txt").is_file():
        folder = parts[0]
    task = recognise(folder, share=1)
    dataset = task.validation
    paths = [task.folder / path for path in task.paths["validation"]]
    if task.kind == "masks":
        return HeldOut("masks", task.names, paths, _targets(dataset), _short(folder, folder))
    return HeldOut("classes", task.names, paths, lambda i: dataset.labels[i], _short(folder, folder))


def _short(path, folder):
    """A path for people: from the name of the folder of the data on."""
    whole = path.absolute()
    return whole.relative_to(folder.absolute().parent).as_posix()


def _kept(folder, trained):
    """The pictures that a training on this folder has kept for measuring, or None."""
    if trained is None or not (Path(trained) / "split.json").is_file():
        return None
    data = read_json(Path(trained) / "task.json", "evaluate").get("data")
    if not (isinstance(data, str) and Path(data).is_dir() and folder.samefile(data)):
        return None
    listed = read_json(Path(trained) / "split.json", "evaluate").get("validation")
    return {folder / str(path) for path in listed} if isinstance(listed, list) else None


def _only(found, kept):
    """Some of the pictures."""
    places = [i for i, path in enumerate(found.paths) if path in kept]
    if not places:
        raise ValueError(
            f"evaluate: none of the pictures that the training kept for measuring is in {found.told}"
        )
    return dataclasses.replace(
        found,
        paths=[found.paths[i] for i in places],
        truth=lambda i: found.truth(places[i]),
        told=f"{found.told}, those that the training had kept for measuring",
    )


def _list(folder, segments):
    """The list in COCO's format to measure on, or None if there is none."""
    found = [*folder.glob("*.json"), *folder.glob("annotations/*.json"), *folder.glob("val/*.json")]
    found = sorted(path for path in found if not path.name.startswith(OTHER_LISTS))
    of_segments = [path for path in found if _is_panoptic(path)]
    found = (segments and of_segments) or [path for path in found if path not in of_segments] or of_segments
    measured = [path for path in found if is_of(path, folder, SPLITS["validation"])]
    found = measured or [path for path in found if not is_of(path, folder, SPLITS["test"])]
    found = [path for path in found if _has_pictures(path)]
    if len(found) > 1:
        names = some([str(path.relative_to(folder)) for path in found])
        raise ValueError(f"evaluate: {folder} holds several lists, {names}: say which, --data {found[0]}")
    return found[0] if found else None


def _is_panoptic(path):
    return path.name.startswith("panoptic")


def _has_pictures(path):
    """Whether a json file lists pictures with what is in them."""
    try:
        return _lists_pictures(read_json(path, "evaluate"))
    except (ValueError, OSError):
        return False


def _lists_pictures(content):
    return all(isinstance(content.get(key), list) for key in ("images", "annotations", "categories"))


def _of_list(path, folder):
    """The pictures of a list of boxes or of panoptic segments."""
    content = read_json(path, "evaluate")
    if not _lists_pictures(content):
        raise ValueError(
            f"evaluate: {path} is no list in COCO's format: it must have lists named images, annotations and categories"
        )
    pictures = pictures_of(path, content, folder, "evaluate")
    first = content["annotations"][0] if content["annotations"] else None
    if isinstance(first, dict) and "segments_info" in first:
        maps = _maps(path, folder)
        dataset = CocoPanoptic(pictures, maps, path, masks=False, invalid="skip")
        return HeldOut(
            "panoptic", dataset.names, _paths(dataset, content, pictures), _targets(dataset), _short(path, folder), dataset.things
        )  # fmt: skip
    dataset = CocoDetection(pictures, path, masks=False, crowds=True, invalid="skip", size=SMALL)
    return HeldOut(
        "boxes", dataset.names, _paths(dataset, content, pictures), _targets(dataset), _short(path, folder)
    )


def _targets(dataset):
    return lambda i: dataset[i][1]


def _paths(dataset, content, pictures):
    """The picture of each sample."""
    file_of = files_of(content)
    return [pictures / file_of[number] for number in dataset.image_ids]


def _maps(path, folder):
    """The folder of the PNG files of a panoptic list: it has the name of the list."""
    places = [path.with_suffix(""), folder / path.stem, folder / "annotations" / path.stem]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise FileNotFoundError(
            f"evaluate: the maps of {path} are missing: unpack them into the folder {places[0]}"
        )
    return found
