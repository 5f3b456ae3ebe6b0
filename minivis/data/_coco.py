"""What COCO's two kinds of lists have in common: images and categories, each checked before anything is kept.
Not here: their annotations (coco.py), masks from polygons (_polygons.py)."""

from dataclasses import dataclass
from pathlib import Path

from minivis.data._files import inside, read_json
from minivis.data.images import MOST_PIXELS, read_image


@dataclass(frozen=True)
class Listed:
    """One image of a list."""

    id: int
    path: Path
    height: int
    width: int


def read_list(name, annotations, folder):
    """The json object, its images by id, and its categories by id in rising order."""
    content = read_json(name, annotations)
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list) or not all(
            isinstance(entry, dict) for entry in content[key]
        ):
            raise ValueError(f"{name}: {annotations} must hold a list of objects named {key!r}")
    images = _by_id(name, "image", content["images"])
    categories = _by_id(name, "category", content["categories"])
    listed = {}
    for number, entry in images.items():
        sides = height, width = entry.get("height"), entry.get("width")
        if not all(type(side) is int and side > 0 for side in sides) or height * width > MOST_PIXELS:
            raise ValueError(
                f"{name}: image {number} has height {height!r:.40} and width {width!r:.40}; expected whole numbers above "
                f"0, at most {MOST_PIXELS} pixels together"
            )
        listed[number] = Listed(
            number, inside(name, folder, entry.get("file_name"), f"image {number}"), *sides
        )
    missing = [image.path for image in listed.values() if not image.path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{name}: {len(missing)} of {len(listed)} pictures are missing, the first is {missing[0]}"
        )
    for number, entry in categories.items():
        if not isinstance(entry.get("name"), str):
            raise ValueError(f"{name}: category {number} has no name")
    return content, listed, dict(sorted(categories.items()))


def _by_id(name, what, entries):
    found = {}
    for entry in entries:
        number = whole(name, what, "id", entry)
        if number in found:
            raise ValueError(f"{name}: two entries have {what} id {number}")
        found[number] = entry
    return found


def whole(name, what, key, entry, among=None):
    """A whole number of an entry, and, with `among`, one of those there are."""
    number = entry.get(key)
    if type(number) is not int:
        raise ValueError(f"{name}: {what} needs a whole number {key!r}, got {number!r:.40}")
    if among is not None and number not in among:
        raise ValueError(f"{name}: {what} has {key} {number}, which is not in the list")
    return number


def read_listed(name, image):
    """The pixels of a listed image, of the size that the list claims."""
    size = (image.height, image.width)
    for orient in (
        False,
        True,
    ):  # boxes are mostly measured on the pixels as stored, seldom on the upright picture
        pixels = read_image(image.path, orient=orient)
        if pixels.shape[1:] == size:
            return pixels
    raise ValueError(
        f"{name}: {image.path} has {pixels.shape[1]} x {pixels.shape[2]} pixels, but the list says {size[0]} x {size[1]}"
    )


def box_of(bbox, height, width):
    """Corners (x0, y0, x1, y1) of a box [x, y, width, height] cut at the image, or what is wrong with it, in words."""
    numbers = isinstance(bbox, list) and len(bbox) == 4 and all(type(n) in (int, float) for n in bbox)
    if not numbers or not all(-1e9 < n < 1e9 for n in bbox):
        return f"bbox must be four numbers [x, y, width, height], got {bbox!r:.60}"
    x, y, w, h = bbox
    if w <= 0 or h <= 0:
        return f"bbox {bbox} has a width or height that is not above 0"
    if x < -1 or y < -1 or x + w > width + 1 or y + h > height + 1:  # a pixel is rounding, more is a mistake
        return f"bbox {bbox} leaves the image of {height} x {width} (height x width)"
    x0, y0, x1, y1 = max(x, 0.0), max(y, 0.0), min(x + w, width), min(y + h, height)
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else f"bbox {bbox} has nothing within the image"
