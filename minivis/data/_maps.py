"""Panoptic maps: the segments of a picture in the list, the PNG file with their pixels, and their places.
Not here: the data set (coco.py), the colours of segment numbers (minivis.vision.rgb2id)."""

import os
from dataclasses import dataclass

import numpy as np

from minivis.data._files import inside
from minivis.data._sized import open_map
from minivis.listed import flag, number, objects, told, whole
from minivis.vision import rgb2id


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of a map, from the list."""

    number: int  # its number in the map
    label: int
    crowd: bool


def read_segments(listed, folder, labels):
    """PNG file and segments of each image of a list; images without valid ones are left out or raise an error."""
    maps = {}
    seen = set()
    for entry in listed.entries("annotations"):
        wrong = []
        with listed.entry():
            photo = listed.photo_of("an annotation", entry)
            if photo is None:
                continue
            what = f"the annotation of image {told(photo.id)}"
            if photo.id in seen:
                raise ValueError(f"image {told(photo.id)} has two annotations")
            seen.add(photo.id)
            path = inside(folder, entry.get("file_name"), what)
            maps[photo.id] = path, _segments(listed, what, entry, labels, wrong)
        for why in wrong:
            listed.leave_out(why)
    missing = {image: path for image, (path, _) in maps.items() if not os.path.isfile(path)}
    if missing and listed.invalid == "error":
        image, path = next(iter(missing.items()))
        raise FileNotFoundError(
            f"{listed.name}: {len(missing)} of {len(maps)} maps of {listed.path} are missing, the first is {path}, of "
            f"image {told(image)}; invalid='skip' does without these images"
        )
    for image in list(listed.photos):
        if image in missing:
            listed.leave_out_photo(image, f"image {told(image)}: there is no map {missing[image]}")
        elif image not in seen:
            listed.leave_out_photo(image, f"image {told(image)} has no annotation")
        elif image not in maps:  # the error in its annotation is noted already
            listed.leave_out_photo(image)
    return maps


def _segments(listed, what, entry, labels, wrong):
    """The segments of one annotation, checked; a sentence for each invalid one is added to `wrong`."""
    segments = []
    seen = set()
    for part in objects(what, entry, "segments_info"):
        try:
            n = whole(f"a segment of {what}", part, "id")
            if n in seen or not 0 < n < 2**24:
                raise ValueError(
                    f"{what}: segment id {told(n)} is there twice or not within 1 to {2**24 - 1}"
                )
            seen.add(n)
            this = f"segment {n} of {what}"
            label = listed.label_of(this, part, labels)
            if number(this, part, "area", default=1) <= 0:
                raise ValueError(f"{this} has area {told(part['area'])}: no pixel shows it")
            segments.append(Segment(n, label, flag(this, part, "iscrowd", default=False)))
        except ValueError as error:
            wrong.append(str(error))
    return segments


def read_map(path, photo, segments, lenient):
    """The segment number of each pixel, (H, W) int32, and the segments.

    If map and list have different segments, an error is raised; if `lenient`, only the common ones are kept.
    """
    numbers = rgb2id(np.asarray(open_map("CocoPanoptic", path, photo)))  # (H, W)
    found = set(np.unique(numbers).tolist()) - {0}
    if odd := sorted(found ^ {segment.number for segment in segments}):
        if not lenient:
            where = "the map but not the list" if odd[0] in found else "the list but not the map"
            more = f", and {len(odd) - 1} more do not match" if len(odd) > 1 else ""
            raise ValueError(
                f"CocoPanoptic: {path}: segment {odd[0]} is in {where}{more}; invalid='skip' leaves it out"
            )
        segments = [segment for segment in segments if segment.number in found]
        numbers[np.isin(numbers, odd)] = 0
    return numbers, segments


def places(numbers, segments):
    """The segment of each pixel, (H, W) int32: 1, 2, ... in the order of `segments`, 0 for none; and the segments' boxes.

    The boxes are pairs of slices, rows and columns.
    """
    from scipy.ndimage import find_objects

    ids = np.array([0, *(segment.number for segment in segments)])
    order = np.argsort(ids)
    shown = order[np.searchsorted(ids, numbers, sorter=order)].astype(np.int32)
    return shown, find_objects(shown, max_label=len(segments))
