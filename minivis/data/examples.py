"""Writes small data sets to disk in the usual formats, as a task of one's own would have them: drawn, so there is no download.
Not here: reading them (folders.py, coco.py, label_maps.py), drawing the scenes (shapes.py)."""

import io
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from minivis.data.label_maps import IGNORED
from minivis.data.shapes import BLOCK, CLASSES, STUFF, THINGS, scene
from minivis.files import pack_json, write_files
from minivis.vision import id2rgb, rle_encode

__all__ = ["write_coco", "write_image_folder", "write_mask_folder", "write_scenes"]

SIDES = (72, 128)  # pixels: the shortest and the longest side of a picture
FIRST = 3 * BLOCK  # the first scene: none that a model of the package was trained or measured on
# the classes of the image folder, and the ground that most of each picture shows
PLACES = {"beach": "sand", "lake": "water", "meadow": "grass"}
# The categories of the COCO folder: id, name, and the shapes that belong to it. Real lists have gaps between their ids too.
CATEGORIES = {
    1: ("round", ("circle", "ring")),
    3: ("angular", ("square", "triangle")),
    7: ("spiky", ("star", "cross")),
}
# The classes of the mask folder.
PIXEL_CLASSES = (*STUFF, "object")


def write_image_folder(folder, seed=0, count=240):
    """Write a folder of pictures sorted into classes: FOLDER/beach/000.png, FOLDER/lake/001.jpg ...

    The class is the ground that covers most of the picture: sand is a beach, water a lake, grass a meadow. Other grounds and
    some objects are beside it, so that not every picture is easy. Pictures have different sizes, and half of them are JPEG, half
    PNG.

    Parameters
    ----------
    folder : str or os.PathLike
        Created if it does not exist.
    seed : int, default 0
        Another seed draws other pictures.
    count : int, default 240
        Number of pictures, at least one for each of the three classes.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    ValueError
        If `count` is below 3.

    Examples
    --------
    >>> import tempfile
    >>> from minivis.data import ImageFolder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ImageFolder(write_image_folder(folder, count=6)).names
    ('beach', 'lake', 'meadow')
    """
    _check_count("write_image_folder", count, len(PLACES))
    left = {place: count // len(PLACES) + (i < count % len(PLACES)) for i, place in enumerate(PLACES)}
    place_of = {CLASSES.index(ground): place for place, ground in PLACES.items()}
    files = {}
    for drawn in _scenes(seed, most_objects=3):
        pixels = {place: (drawn.semantic == ground).sum() for ground, place in place_of.items()}
        place = max(pixels, key=pixels.get)
        if left[place]:
            left[place] -= 1
            suffix = "jpg" if len(files) % 2 else "png"
            files[f"{place}/{len(files):03}.{suffix}"] = _packed(_bytes_of(drawn.image), suffix)
        if len(files) == count:
            return _write(folder, files)


def write_coco(folder, seed=0, count=60):
    """Write photos with boxes and masks in COCO's format: FOLDER/images/000.jpg and FOLDER/annotations.json.

    Parameters
    ----------
    folder : str or os.PathLike
        Created if it does not exist.
    seed : int, default 0
        Another seed draws other pictures.
    count : int, default 60
        Number of pictures, at least 1, with one to five objects of three categories each.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    ValueError
        If `count` is below 1.

    Examples
    --------
    >>> import tempfile
    >>> from minivis.data import CocoDetection
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     folder = write_coco(folder, count=2)
    ...     CocoDetection(folder / "images", folder / "annotations.json").names
    ('round', 'angular', 'spiky')
    """
    _check_count("write_coco", count, 1)
    category_of = {kind: number for number, (_, kinds) in CATEGORIES.items() for kind in kinds}
    images, annotations = [], []
    files = {}
    for i, drawn in enumerate(islice(_scenes(seed, most_objects=5), count)):
        height, width = drawn.image.shape[1:]
        name = f"{i:03}.jpg"
        files[f"images/{name}"] = _packed(_bytes_of(drawn.image), "jpg")
        images.append({"id": i + 1, "file_name": name, "height": height, "width": width})
        for label, mask in zip(drawn.labels, drawn.masks, strict=True):
            category = category_of[THINGS[label]]
            about = {"id": len(annotations) + 1, "image_id": i + 1, "category_id": category, "iscrowd": 0}
            annotations.append(about | _outline(mask))
    categories = [{"id": number, "name": name} for number, (name, _) in CATEGORIES.items()]
    listed = {"images": images, "annotations": annotations, "categories": categories}
    return _write(folder, files | {"annotations.json": pack_json(listed)})


def write_mask_folder(folder, seed=0, count=60):
    """Write pictures with a class for every pixel: FOLDER/images/000.jpg, FOLDER/masks/000.png and FOLDER/classes.txt.

    Parameters
    ----------
    folder : str or os.PathLike
        Created if it does not exist.
    seed : int, default 0
        Another seed draws other pictures.
    count : int, default 60
        Number of pictures, at least 1. The four classes are three grounds and the objects on them; pixels at the outline
        of an object have no class (255), as in Pascal VOC.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    ValueError
        If `count` is below 1.

    Examples
    --------
    >>> import tempfile
    >>> from minivis.data import MaskFolder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     MaskFolder(write_mask_folder(folder, count=2)).names
    ('grass', 'sand', 'water', 'object')
    """
    _check_count("write_mask_folder", count, 1)
    files = {"classes.txt": "\n".join([*PIXEL_CLASSES, ""]).encode()}
    for i, drawn in enumerate(islice(_scenes(seed, most_objects=5), count)):
        files[f"images/{i:03}.jpg"] = _packed(_bytes_of(drawn.image), "jpg")
        files[f"masks/{i:03}.png"] = _packed(_label_map(drawn), "png")
    return _write(folder, files)


def write_scenes(folder, seed=0, count=60, size=64):
    """Write scenes with the lists that COCO has, and with the classes that the small models of the package know.

    FOLDER/val/000.png ..., FOLDER/annotations/instances_val.json with boxes and masks of the objects, panoptic_val.json with the
    segments of objects and grounds, and their maps in FOLDER/annotations/panoptic_val/000.png.

    Parameters
    ----------
    folder : str or os.PathLike
        Created if it does not exist.
    seed : int, default 0
        Another seed draws other scenes. None of them was used to train a model of the package.
    count : int, default 60
        Number of scenes.
    size : int or (int, int), default 64
        Height and width in pixels; the small models were trained on 64.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    ValueError
        If `count` is below 1.

    Examples
    --------
    >>> import tempfile
    >>> from minivis.data import CocoPanoptic
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     lists = write_scenes(folder, count=2) / "annotations"
    ...     scenes = CocoPanoptic(f"{folder}/val", lists / "panoptic_val", lists / "panoptic_val.json")
    >>> len(scenes), scenes.names[-3:], int(scenes.things.sum())
    (2, ('grass', 'sand', 'water'), 6)
    """
    _check_count("write_scenes", count, 1)
    files = {}
    images, objects, maps = [], [], []
    for i in range(count):
        drawn = scene(FIRST + 10**6 * seed + i, size)
        height, width = drawn.image.shape[1:]
        name = f"{i:03}.png"
        files[f"val/{name}"] = _packed(_bytes_of(drawn.image), "png")
        files[f"annotations/panoptic_val/{name}"] = _packed(id2rgb(drawn.panoptic), "png")
        images.append({"id": i + 1, "file_name": name, "height": height, "width": width})
        for label, mask in zip(drawn.labels.tolist(), drawn.masks, strict=True):
            about = {"id": len(objects) + 1, "image_id": i + 1, "category_id": label + 1, "iscrowd": 0}
            objects.append(about | _outline(mask))
        segments = [{**one, "category_id": one["category_id"] + 1, "iscrowd": 0} for one in drawn.segments]
        maps.append({"image_id": i + 1, "file_name": name, "segments_info": segments})
    kinds = [one | {"isthing": int(one["name"] in THINGS)} for one in _categories(CLASSES)]
    lists = {
        "instances_val": {"images": images, "annotations": objects, "categories": _categories(THINGS)},
        "panoptic_val": {"images": images, "annotations": maps, "categories": kinds},
    }
    return _write(folder, files | {f"annotations/{name}.json": pack_json(one) for name, one in lists.items()})


def _categories(names):
    return [{"id": label + 1, "name": name} for label, name in enumerate(names)]


def _check_count(name, count, least):
    if count < least:
        raise ValueError(f"{name}: count must be at least {least}, got {count}")


def _scenes(seed, most_objects):
    """Scenes of random sizes, without end."""
    rng = np.random.default_rng(seed)
    number = FIRST + 10**6 * seed
    while True:
        size = tuple(rng.integers(SIDES[0], SIDES[1] + 1, 2).tolist())
        yield scene(number, size, int(rng.integers(1, most_objects + 1)))
        number += 1


def _bytes_of(image):
    """A picture (3, H, W) in [0, 1] as (H, W, 3) bytes."""
    return np.rint(image.transpose(1, 2, 0) * 255).astype(np.uint8)


def _packed(pixels, suffix):
    """Bytes of a picture file."""
    buffer = io.BytesIO()
    options = {"quality": 90} if suffix == "jpg" else {}
    Image.fromarray(pixels).save(buffer, {"jpg": "JPEG", "png": "PNG"}[suffix], **options)
    return buffer.getvalue()


def _outline(mask):
    """Box, area and mask of an object as COCO's lists have them."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    return {
        "bbox": [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top],
        "area": int(mask.sum()),
        "segmentation": rle_encode(mask),
    }


def _label_map(drawn):
    """The class of each pixel (H, W) uint8: grounds from 0, then objects; 255 at the outlines of objects."""
    labels = np.where(drawn.masks.any(axis=0), len(STUFF), drawn.semantic - len(THINGS))
    # an outline: a pixel and its neighbour below or to the right do not belong to the same segment
    below = drawn.panoptic[1:] != drawn.panoptic[:-1]
    right = drawn.panoptic[:, 1:] != drawn.panoptic[:, :-1]
    objects = drawn.panoptic <= len(drawn.labels)
    labels[:-1][below & (objects[1:] | objects[:-1])] = IGNORED
    labels[:, :-1][right & (objects[:, 1:] | objects[:, :-1])] = IGNORED
    return labels.astype(np.uint8)


def _write(folder, files):
    """Write files into a folder, each whole or not at all."""
    folder = Path(folder)
    for parent in {(folder / name).parent for name in files}:
        parent.mkdir(parents=True, exist_ok=True)
    write_files({folder / name: content for name, content in files.items()})
    return folder
