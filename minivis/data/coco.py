"""COCO's formats: photos with boxes and masks from one json file, and panoptic maps from json and PNG files.
Not here: a download, the scores of results (minivis.metrics), captions and keypoints."""

import numpy as np

from minivis.data._coco import box_of, read_list, read_listed, whole
from minivis.data._files import inside, position
from minivis.data._polygons import polygon_mask
from minivis.data.images import open_image
from minivis.vision import rgb2id, rle_decode

__all__ = ["CocoDetection", "CocoPanoptic", "collate"]


class CocoDetection:
    """Photos with the box, class and mask of every object: COCO's ``instances`` files, and all written like them.

    Parameters
    ----------
    images : str or os.PathLike
        The folder that the file names in the list are relative to.
    annotations : str or os.PathLike
        The json file.
    masks : bool, default True
        Give masks too; False for a list that has boxes only, or to be quicker.
    crowds : bool, default False
        Give crowd regions too (``iscrowd`` is 1: many objects under one mask); a detector is not trained on them.
    invalid : {"error", "skip"}
        What to do about a box without area or outside its photo: refuse the list (default), or leave these boxes out
        and count them in ``skipped``. One pixel beyond the edge is taken for rounding and cut off.
    sample : callable, optional
        ``sample(image, target) -> tuple``, for each sample; by default (image, target).

    Attributes
    ----------
    names : tuple of str
        Name of each class, by label.
    category_ids : tuple of int
        The list's own number of each class: label k stands for ``category_ids[k]``; the numbers rise.
    label_of : dict of int to int
        The other way: the list's number to label.
    image_ids : tuple of int
        The list's number of each photo, in the order of the list.
    skipped : int
        How many boxes were left out as invalid.

    Raises
    ------
    FileNotFoundError
        If the list or a photo is missing.
    ValueError
        If the list is no json, lacks a part, repeats an id, names an unknown image or category, claims a size below 1
        or above 80 million pixels, or has a box that is none; or if a file name leaves the folder.

    Notes
    -----
    ``dataset[i]`` is (image, target). The image is (3, H, W) float32 in [0, 1]; the target a dict with ``labels``
    (T,) int64, ``boxes`` (T, 4) float32 normalised cxcywh, ``masks`` (T, H, W) bool, ``iscrowd`` (T,) bool and
    ``image_id``. Photo and masks are decoded when they are asked for, and what is wrong with them is told then.

    References
    ----------
    Lin et al., "Microsoft COCO: common objects in context", ECCV 2014.

    Examples
    --------
    >>> photos = CocoDetection("val2017", "instances_val2017.json")
    Traceback (most recent call last):
    ...
    FileNotFoundError: [Errno 2] No such file or directory: 'instances_val2017.json'
    """

    def __init__(self, images, annotations, masks=True, crowds=False, invalid="error", sample=None):
        if invalid not in ("error", "skip"):
            raise ValueError(f"CocoDetection: invalid must be 'error' or 'skip', got {invalid!r}")
        content, self._images, categories = read_list("CocoDetection", annotations, images)
        _keep_categories(self, categories)
        self.image_ids = tuple(self._images)
        self.masks, self.sample, self.skipped = masks, sample or _pair, 0
        self._objects = {number: [] for number in self._images}
        seen = set()
        for entry in content["annotations"]:
            thing = f"annotation {whole('CocoDetection', 'an annotation', 'id', entry)}"
            if entry["id"] in seen:
                raise ValueError(f"CocoDetection: two entries have annotation id {entry['id']}")
            seen.add(entry["id"])
            image = self._images[whole("CocoDetection", thing, "image_id", entry, self._images)]
            label = self.label_of[whole("CocoDetection", thing, "category_id", entry, self.label_of)]
            box = box_of(entry.get("bbox"), image.height, image.width)
            if isinstance(box, str):
                if invalid == "error":
                    raise ValueError(
                        f"CocoDetection: {thing} (image {image.id}): {box}; invalid='skip' leaves it out"
                    )
                self.skipped += 1
            elif crowds or not entry.get("iscrowd"):
                drawn = entry.get("segmentation") if masks else None  # most of the memory of a long list
                self._objects[image.id].append((entry["id"], label, box, drawn, entry.get("iscrowd")))

    def __len__(self):
        return len(self.image_ids)

    def __getitem__(self, i):
        image = self._images[self.image_ids[position("CocoDetection", i, len(self))]]
        objects = self._objects[image.id]
        target = {
            "labels": np.array([label for _, label, *_ in objects], np.int64),
            "boxes": _normalised([box for _, _, box, *_ in objects], image),
            "iscrowd": np.array([bool(crowd) for *_, crowd in objects], bool),
            "image_id": image.id,
        }
        if self.masks:
            masks = [_mask(f"annotation {number}", drawn, image) for number, _, _, drawn, _ in objects]
            target["masks"] = np.array(masks, bool).reshape(-1, image.height, image.width)
        return self.sample(read_listed("CocoDetection", image), target)


class CocoPanoptic:
    """Photos whose every pixel belongs to a segment: COCO's panoptic json file and its folder of PNG files.

    Parameters
    ----------
    images : str or os.PathLike
        The folder of the photos.
    segmentations : str or os.PathLike
        The folder of the PNG files: a pixel's segment is red + 256 green + 65536 blue, and 0 is nobody's.
    annotations : str or os.PathLike
        The json file.
    sample : callable, optional
        ``sample(image, target) -> tuple``, for each sample; by default (image, target).

    Attributes
    ----------
    names, category_ids, label_of, image_ids
        As in `CocoDetection`.
    things : numpy.ndarray
        (K,) bool: which classes are things, counted one by one; the others are stuff.

    Raises
    ------
    FileNotFoundError
        If the list, a photo or a PNG file is missing.
    ValueError
        As `CocoDetection`, and if an image has no annotation or two. When a sample is asked for: if its PNG file is of
        another size, or holds a segment that the list does not have, or lacks one.

    Notes
    -----
    ``dataset[i]`` is (image, target). The target is a dict with ``labels`` (T,), ``boxes`` (T, 4) around the pixels of
    each segment, ``masks`` (T, H, W), ``iscrowd`` (T,), ``image_id``, and as the scores want it ``panoptic`` (H, W) int32
    and ``segments``, a list of dicts with ``id``, ``category_id`` (the label), ``isthing``, ``iscrowd`` and ``area``.

    References
    ----------
    Kirillov et al., "Panoptic segmentation", CVPR 2019.

    Examples
    --------
    >>> photos = CocoPanoptic("val2017", "panoptic_val2017", "panoptic_val2017.json")
    Traceback (most recent call last):
    ...
    FileNotFoundError: [Errno 2] No such file or directory: 'panoptic_val2017.json'
    """

    def __init__(self, images, segmentations, annotations, sample=None):
        name = "CocoPanoptic"
        content, self._images, categories = read_list(name, annotations, images)
        _keep_categories(self, categories)
        self.things = np.array([bool(entry.get("isthing")) for entry in categories.values()], bool)
        self.image_ids, self.sample, self._maps = tuple(self._images), sample or _pair, {}
        for entry in content["annotations"]:
            number = whole(name, "an annotation", "image_id", entry, self._images)
            what = f"the annotation of image {number}"
            if number in self._maps:
                raise ValueError(f"{name}: image {number} has two annotations")
            path = inside(name, segmentations, entry.get("file_name"), what)
            if not path.is_file():
                raise FileNotFoundError(f"{name}: there is no {path}, the map of image {number}")
            self._maps[number] = path, _segments(name, what, entry.get("segments_info"), self.label_of)
        if bare := [number for number in self.image_ids if number not in self._maps]:
            raise ValueError(f"{name}: {len(bare)} images have no annotation, the first is image {bare[0]}")

    def __len__(self):
        return len(self.image_ids)

    def __getitem__(self, i):
        image = self._images[self.image_ids[position("CocoPanoptic", i, len(self))]]
        path, segments = self._maps[image.id]
        numbers = rgb2id(np.asarray(open_image("CocoPanoptic", path).convert("RGB")))  # (H, W)
        if numbers.shape != (image.height, image.width):
            raise ValueError(
                f"CocoPanoptic: {path} is {numbers.shape}, but the list says {image.height} x {image.width}"
            )
        found, areas = np.unique(numbers[numbers > 0], return_counts=True)
        if odd := sorted(set(found.tolist()) ^ set(segments)):
            where = "the list but not the map" if odd[0] in segments else "the map but not the list"
            raise ValueError(
                f"CocoPanoptic: {path}: {len(odd)} segments do not match; {odd[0]} is in {where}"
            )
        masks = np.array([numbers == number for number in segments], bool).reshape(-1, *numbers.shape)
        area = dict(zip(found.tolist(), areas.tolist(), strict=True))
        labels = [label for label, _ in segments.values()]
        target = {
            "labels": np.array(labels, np.int64),
            "boxes": _normalised([_around(mask) for mask in masks], image),
            "masks": masks,
            "iscrowd": np.array([crowd for _, crowd in segments.values()], bool),
            "image_id": image.id,
            "panoptic": numbers,
            "segments": [
                {
                    "id": n,
                    "category_id": k,
                    "isthing": bool(self.things[k]),
                    "iscrowd": crowd,
                    "area": area[n],
                }
                for n, (k, crowd) in segments.items()
            ],
        }
        return self.sample(read_listed("CocoPanoptic", image), target)


def collate(samples):
    """Make a batch of photos of different sizes: each lies in the upper left corner, with zeros around.

    Parameters
    ----------
    samples : list of (ndarray, dict)
        Images (3, H, W) with their targets, as the data sets of this file give them.

    Returns
    -------
    images : numpy.ndarray
        (B, 3, H, W) float32, as high and wide as the highest and the widest.
    valid : numpy.ndarray
        (B, H, W) bool, True where there is photo: the `mask` of a detector.
    targets : list of dict
        The B targets; boxes stay relative to their own photo. Masks are padded with False, as the images are.

    Examples
    --------
    >>> images, valid, targets = collate([(np.ones((3, 2, 4)), {}), (np.ones((3, 3, 3)), {})])
    >>> images.shape, valid.sum(axis=(1, 2))
    ((2, 3, 3, 4), array([8, 9]))
    """
    height, width = (max(image.shape[axis] for image, _ in samples) for axis in (1, 2))
    images, valid = (
        np.zeros((len(samples), 3, height, width), np.float32),
        np.zeros((len(samples), height, width), bool),
    )
    targets = []
    for i, (image, target) in enumerate(samples):
        h, w = image.shape[1:]
        images[i, :, :h, :w], valid[i, :h, :w] = image, True
        if "masks" in target:
            target = target | {"masks": np.pad(target["masks"], ((0, 0), (0, height - h), (0, width - w)))}
        targets.append(target)
    return images, valid, targets


def _pair(image, target):
    return image, target


def _keep_categories(dataset, categories):
    """Labels 0, 1, ... for the list's numbers in rising order, and the way back."""
    dataset.category_ids = tuple(categories)
    dataset.names = tuple(entry["name"] for entry in categories.values())
    dataset.label_of = {number: label for label, number in enumerate(categories)}


def _normalised(corners, image):
    """Corners in pixels as (T, 4) normalised cxcywh."""
    x0, y0, x1, y1 = np.array(corners, float).reshape(-1, 4).T
    sides = np.array([image.width, image.height, image.width, image.height])
    return (np.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], axis=1) / sides).astype(np.float32)


def _around(mask):
    """The smallest box around the pixels of a mask, (x0, y0, x1, y1)."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def _segments(name, what, entries, label_of):
    """{segment number: (label, crowd)} of one annotation, checked."""
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{name}: {what} needs a list segments_info")
    segments = {}
    for entry in entries:
        number = whole(name, f"a segment of {what}", "id", entry)
        if number in segments or not 0 < number < 2**24:
            raise ValueError(
                f"{name}: {what}: segment id {number} is there twice or not within 1 to {2**24 - 1}"
            )
        category = whole(name, f"segment {number} of {what}", "category_id", entry, label_of)
        segments[number] = label_of[category], bool(entry.get("iscrowd"))
    return segments


def _mask(what, drawn, image):
    """The mask of one object: the union of its polygons, or its run lengths."""
    size = [image.height, image.width]
    if isinstance(drawn, dict):
        if drawn.get("size") != size:
            raise ValueError(
                f"CocoDetection: {what} has run lengths of size {drawn.get('size')!r:.40}, the image is {size}"
            )
        try:
            return rle_decode(drawn)
        except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
            raise ValueError(f"CocoDetection: {what} has broken run lengths: {error}") from None
    if not isinstance(drawn, list) or not drawn:
        raise ValueError(
            f"CocoDetection: {what} has no segmentation ({drawn!r:.40}); masks=False reads boxes only"
        )
    mask = np.zeros(size, bool)
    for polygon in drawn:
        try:
            corners = np.array(polygon, float).reshape(-1, 2)
        except (ValueError, TypeError, OverflowError):
            corners = np.zeros((0, 2))
        # Corners far outside are a mistake, and would cost memory in proportion.
        if len(corners) < 3 or not (np.abs(corners) <= 2 * max(size)).all():
            raise ValueError(
                f"CocoDetection: {what}: a polygon needs three or more x, y within twice the image, got {polygon!r:.60}"
            )
        mask |= polygon_mask(corners, *size)
    return mask
