"""COCO's formats: photos with boxes and masks from one json file, and panoptic maps from json and PNG files.
Not here: a download, scores (minivis.metrics), captions and keypoints."""

import math
from dataclasses import dataclass

import numpy as np

from minivis import foreign_words
from minivis.data._coco import CocoList, read_box
from minivis.data._drawn import Polygons, Runs, read_drawing
from minivis.data._files import position
from minivis.data._maps import places, read_map, read_segments
from minivis.data._sized import checked_size, read_listed
from minivis.listed import flag, identity, number, told

__all__ = ["CocoDetection", "CocoPanoptic", "collate"]


@dataclass(frozen=True, slots=True)
class _Object:
    """One annotation of a photo."""

    label: int
    box: tuple  # corners in pixels
    area: float  # from the file, NaN if it has none
    crowd: bool
    drawn: Polygons | Runs | None


class CocoDetection:
    """Photos with the box, class and mask of every object: COCO's ``instances`` files, and files in the same format.

    Parameters
    ----------
    images : str or os.PathLike
        The folder that the file names in the list are relative to.
    annotations : str or os.PathLike
        The json file. Without ``annotations`` in it, as in COCO's lists of test photos, there are no objects.
    masks : bool, default True
        Return masks too; False for a list with boxes only, or for speed.
    crowds : bool, default False
        Return crowd regions too (``iscrowd`` is 1: many objects in one mask). Average precision uses them, the losses
        do not.
    invalid : {"error", "skip"}
        What to do about an invalid entry: a missing photo, a box without area or outside its photo, an invalid mask, an
        unknown image or category. "error" (default) refuses the list. "skip" leaves the entry out, and all objects of
        a photo that is left out; a warning at the end says how many, and ``left_out`` lists them. Of an object with
        several polygons only the invalid ones are left out. One pixel beyond the edge counts as rounding and is cut off.
    sample : callable, optional
        ``sample(image, target) -> tuple``, for each sample; by default (image, target).
    upright : bool, default True
        Whether boxes refer to photos as they are shown (True) or as they are stored. It matters only for photos that the
        camera marked as rotated and whose size in the list fits both: square, mirrored or upside-down ones.
    size : int or (int, int), optional
        Pixels. One number: the shorter side of a photo is resized to it, and the longer side keeps the proportions. Two:
        height and width to resize to. By default each photo keeps its own size.

    Attributes
    ----------
    names : tuple of str
        Name of each class, by label.
    category_ids : tuple of int or str
        The list's own number of each class, in increasing order: label k is class ``category_ids[k]``.
    label_of : dict
        The inverse: the list's number to label.
    image_ids : tuple of int or str
        The list's number of each photo, in the order of the list.
    left_out : tuple of str
        A sentence for each entry that was left out.
    skipped : int
        The number of entries that were left out.

    Raises
    ------
    FileNotFoundError
        If the list or a photo is missing.
    TypeError
        If `size` is not one or two integers.
    ValueError
        If the list is not json, lacks a part, repeats an id, names an unknown image or category, has a size below 1 or
        above 80 million pixels, an invalid box or mask, a photo whose masks would take more than 1 GB, or a file name
        outside the folder.

    Warns
    -----
    UserWarning
        Once, if entries were left out.

    Notes
    -----
    ``dataset[i]`` is (image, target). The image is (3, H, W) float32 in [0, 1]; the target is a dict with ``labels``
    (T,) int64, ``boxes`` (T, 4) float32 normalised cxcywh, ``masks`` (T, H, W) bool, ``iscrowd`` (T,) bool, ``area``
    (T,) float64 square pixels from the file, and ``image_id``. A photo is decoded only when it is requested; broken
    bytes or another size than in the list raise an error then. With `size`, large photos are reduced while they are
    decoded, polygons are filled at the new size, and run lengths are resized by taking the nearest pixel; ``area`` stays
    that of the photo in its own size, by which COCO sorts objects into small, medium and large ones.

    References
    ----------
    Lin et al., "Microsoft COCO: common objects in context", ECCV 2014.

    Examples
    --------
    >>> photos = CocoDetection("val2017", "instances_val2017.json")
    Traceback (most recent call last):
    ...
    FileNotFoundError: CocoDetection: there is no file instances_val2017.json
    """

    @foreign_words.explained
    def __init__(
        self, images, annotations, masks=True, crowds=False, invalid="error", sample=None, upright=True, size=None
    ):  # fmt: skip
        listed = CocoList("CocoDetection", annotations, images, invalid)
        self.size = checked_size("CocoDetection", size)
        self.masks = masks
        self.sample = sample or _pair
        self.upright = upright
        _keep_categories(self, listed.categories)
        self._objects = {number: [] for number in listed.photos}
        seen = set()
        for place, entry in enumerate(listed.entries("annotations", needed=False)):
            wrong = []
            with listed.entry():
                what = _named(place, entry, seen)
                crowd = flag(what, entry, "iscrowd", default=False)
                photo = listed.photo_of(what, entry) if crowds or not crowd else None
                if photo is not None:
                    self._objects[photo.id].append(self._read(listed, what, entry, photo, crowd, wrong))
            for why in wrong:
                listed.leave_out(why)
        if masks:
            listed.check_masks({image: len(things) for image, things in self._objects.items()}, size)
        _keep_photos(self, listed)

    def _read(self, listed, what, entry, photo, crowd, wrong):
        """One object of a photo, checked; a sentence for each invalid part of its mask is added to `wrong`."""
        label = listed.label_of(what, entry, self.label_of)
        what = f"{what} of image {told(photo.id)}"
        box = read_box(what, entry.get("bbox"), photo.height, photo.width)
        area = number(what, entry, "area", default=math.nan)
        if area < 0:
            raise ValueError(f"{what} has a negative area, {area}")
        drawn = None
        if self.masks:
            drawn = read_drawing(what, entry.get("segmentation"), photo.height, photo.width, wrong)
        return _Object(label, box, area, crowd, drawn)

    def __len__(self):
        return len(self.image_ids)

    def __getitem__(self, i):
        photo = self._photos[self.image_ids[position("CocoDetection", i, len(self))]]
        # First, before masks are allocated: it checks the size that the list claims.
        image = read_listed("CocoDetection", photo, self.upright, self.size)
        objects = self._objects[photo.id]
        target = {
            "labels": np.array([thing.label for thing in objects], np.int64),
            "boxes": _normalised([thing.box for thing in objects], photo),
            "iscrowd": np.array([thing.crowd for thing in objects], bool),
            "area": np.array([thing.area for thing in objects], np.float64),
            "image_id": photo.id,
        }
        x0, y0, x1, y1 = np.array([thing.box for thing in objects], float).reshape(-1, 4).T
        own = (x1 - x0) * (y1 - y0)  # used if the file has no area
        if self.masks:
            target["masks"] = np.zeros((len(objects), *image.shape[1:]), bool)
            for thing, mask in zip(objects, target["masks"], strict=True):
                thing.drawn.fill(mask, photo.height, photo.width)
            shown = image.shape[1] * image.shape[2]
            own = target["masks"].sum(axis=(1, 2)) * (photo.height * photo.width / shown)
        target["area"] = np.where(np.isnan(target["area"]), own, target["area"])
        return self.sample(image, target)


class CocoPanoptic:
    """Photos in which every pixel belongs to a segment: COCO's panoptic json file and its folder of PNG files.

    Parameters
    ----------
    images : str or os.PathLike
        The folder of the photos.
    segmentations : str or os.PathLike
        The folder of the PNG files: a pixel's segment is red + 256 green + 65536 blue; 0 is no segment.
    annotations : str or os.PathLike
        The json file.
    sample : callable, optional
        ``sample(image, target) -> tuple``, for each sample; by default (image, target).
    masks : bool, default True
        Return a mask of each segment too; False if the map is enough, or there are very many segments.
    crowds : bool, default False
        Return crowds among the objects too (``iscrowd`` is 1: many objects in one segment). ``segments`` always includes
        them, for the scores.
    invalid : {"error", "skip"}
        As in `CocoDetection`. "skip" also leaves out a photo without a map, and a segment that is only in the list or
        only in the PNG file: its pixels then belong to no segment.
    upright : bool, default True
        As in `CocoDetection`.

    Attributes
    ----------
    names, category_ids, label_of, image_ids, left_out, skipped
        As in `CocoDetection`.
    things : numpy.ndarray
        (K,) bool: True for things (countable objects), False for stuff.

    Raises
    ------
    FileNotFoundError
        If the list, a photo or a PNG file is missing.
    ValueError
        As `CocoDetection`, and if an image has no annotation or two, or a category does not say whether it is a thing.
        When a sample is requested: if its PNG file has another size or 16 bits a colour, or, unless ``invalid`` is
        "skip", has other segments than the list.

    Warns
    -----
    UserWarning
        Once, if entries were left out.

    Notes
    -----
    ``dataset[i]`` is (image, target). The target is a dict with ``labels`` (T,), ``boxes`` (T, 4) around the pixels of
    each segment, ``masks`` (T, H, W), ``iscrowd`` (T,), ``area`` (T,) in pixels, ``image_id``, and for the scores
    ``panoptic`` (H, W) int32 and ``segments``, a list of dicts with ``id``, ``category_id`` (the label), ``isthing``,
    ``iscrowd`` and ``area``.

    References
    ----------
    Kirillov et al., "Panoptic segmentation", CVPR 2019.

    Examples
    --------
    >>> photos = CocoPanoptic("val2017", "panoptic_val2017", "panoptic_val2017.json")
    Traceback (most recent call last):
    ...
    FileNotFoundError: CocoPanoptic: there is no file panoptic_val2017.json
    """

    @foreign_words.explained
    def __init__(
        self, images, segmentations, annotations, sample=None, masks=True, crowds=False, invalid="error", upright=True
    ):  # fmt: skip
        listed = CocoList("CocoPanoptic", annotations, images, invalid)
        self.masks = masks
        self.crowds = crowds
        self.sample = sample or _pair
        self.upright = upright
        self._lenient = invalid == "skip"
        _keep_categories(self, listed.categories)
        with listed.refusing():
            things = [flag(f"category {told(k)}", entry, "isthing") for k, entry in listed.categories.items()]
        self.things = np.array(things, bool)
        self._maps = read_segments(listed, segmentations, self.label_of)
        if masks:
            listed.check_masks({image: len(segments) for image, (_, segments) in self._maps.items()})
        _keep_photos(self, listed)

    def __len__(self):
        return len(self.image_ids)

    def __getitem__(self, i):
        photo = self._photos[self.image_ids[position("CocoPanoptic", i, len(self))]]
        path, segments = self._maps[photo.id]
        image = read_listed("CocoPanoptic", photo, self.upright)
        numbers, segments = read_map(path, photo, segments, self._lenient)  # (H, W)
        shown, slices = places(numbers, segments)
        areas = np.bincount(shown.ravel(), minlength=len(segments) + 1)[1:]
        kept = [k for k, segment in enumerate(segments) if self.crowds or not segment.crowd]
        target = {
            "labels": np.array([segments[k].label for k in kept], np.int64),
            "boxes": _normalised([_corners(*slices[k]) for k in kept], photo),
            "iscrowd": np.array([segments[k].crowd for k in kept], bool),
            "area": areas[kept].astype(np.float64),
            "image_id": photo.id,
            "panoptic": numbers,
            "segments": [self._described(*pair) for pair in zip(segments, areas.tolist(), strict=True)],
        }
        if self.masks:
            target["masks"] = np.zeros((len(kept), photo.height, photo.width), bool)
            for mask, k in zip(target["masks"], kept, strict=True):
                mask[slices[k]] = shown[slices[k]] == k + 1
        return self.sample(image, target)

    def _described(self, segment, area):
        """A segment as a dict for the scores."""
        return {
            "id": segment.number,
            "category_id": segment.label,
            "isthing": bool(self.things[segment.label]),
            "iscrowd": segment.crowd,
            "area": area,
        }


def collate(samples):
    """Make a batch of photos of different sizes: each is in the upper left corner, padded with zeros.

    Parameters
    ----------
    samples : list of (ndarray, dict)
        Images (3, H, W) with their targets, from the data sets of this file.

    Returns
    -------
    images : numpy.ndarray
        (B, 3, H, W) float32, with the largest height and the largest width.
    valid : numpy.ndarray
        (B, H, W) bool, True on pixels of the photo: the `mask` of a detector.
    targets : list of dict
        The B targets; boxes stay relative to their own photo. Masks are padded with False, as the images are.

    Examples
    --------
    >>> images, valid, targets = collate([(np.ones((3, 2, 4)), {}), (np.ones((3, 3, 3)), {})])
    >>> images.shape, valid.sum(axis=(1, 2))
    ((2, 3, 3, 4), array([8, 9]))
    """
    height, width = (max(image.shape[axis] for image, _ in samples) for axis in (1, 2))
    images = np.zeros((len(samples), 3, height, width), np.float32)
    valid = np.zeros((len(samples), height, width), bool)
    targets = []
    for i, (image, target) in enumerate(samples):
        h, w = image.shape[1:]
        images[i, :, :h, :w] = image
        valid[i, :h, :w] = True
        if "masks" in target:
            target = target | {"masks": np.pad(target["masks"], ((0, 0), (0, height - h), (0, width - w)))}
        targets.append(target)
    return images, valid, targets


def _pair(image, target):
    return image, target


def _named(place, entry, seen):
    """The name of an annotation in errors: its id, or its place in the list if it has none."""
    own = identity(f"the annotation at place {place}", entry, default=f"at place {place}")
    if "id" in entry and own in seen:
        raise ValueError(f"two entries have annotation id {told(own)}")
    seen.add(own)
    return f"annotation {told(own)}"


def _keep_categories(dataset, categories):
    """Set the labels 0, 1, ... for the list's numbers in increasing order, and the inverse."""
    dataset.category_ids = tuple(categories)
    dataset.names = tuple(entry["name"] for entry in categories.values())
    dataset.label_of = {number: label for label, number in enumerate(categories)}


def _keep_photos(dataset, listed):
    """Set the photos that remain after reading, and the entries that were left out."""
    listed.finish()
    dataset._photos = listed.photos
    dataset.image_ids = tuple(listed.photos)
    dataset.left_out, dataset.skipped = tuple(listed.left_out), len(listed.left_out)


def _normalised(corners, photo):
    """Corners in pixels as (T, 4) normalised cxcywh, rounded inwards, so that rounding moves no box out of its photo."""
    # (T, 2 corners, x and y)
    corners = np.array(corners, float).reshape(-1, 2, 2) / [photo.width, photo.height]
    low, high = corners[:, 0], corners[:, 1]
    centre = ((low + high) / 2).astype(np.float32)
    most = 2 * np.maximum(np.minimum(centre - low, high - centre), 0)
    size = most.astype(np.float32)
    size = np.where(size > most, np.nextafter(size, np.float32(0)), size)
    return np.concatenate([centre, size], axis=1)


def _corners(rows, columns):
    """Slices of rows and columns as (x0, y0, x1, y1)."""
    return columns.start, rows.start, columns.stop, rows.stop
