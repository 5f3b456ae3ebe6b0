"""The common part of COCO's two kinds of lists: images, categories, and the treatment of invalid entries.
Not here: annotations (coco.py), masks (_drawn.py), the pictures (_sized.py)."""

import difflib
import os
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from minivis.data._decode import MOST_PIXELS
from minivis.data._files import inside, read_json
from minivis.data.geometry import resized_size
from minivis.listed import identity, objects, text, told, whole

MOST_MASK_BYTES = 2**30  # for the masks of one photo, with one byte for each pixel of each mask


@dataclass(frozen=True, slots=True)
class Photo:
    """One image of a list."""

    id: int | str
    path: Path
    height: int
    width: int


class CocoList:
    """A list that is being read: its images and categories, and the entries that were left out.

    Parameters
    ----------
    name : str
        Name of the caller, for errors.
    path, folder : path
        The json file, and the folder of the photos.
    invalid : {"error", "skip"}
        Whether an invalid entry raises an error or is left out.
    """

    def __init__(self, name, path, folder, invalid):
        if invalid not in ("error", "skip"):
            raise ValueError(f"{name}: invalid must be 'error' or 'skip', got {invalid!r}")
        self.name, self.path, self.invalid = name, path, invalid
        self.left_out = []  # a sentence for each entry
        self._gone = set()  # ids of images that were left out; their annotations are left out too
        self.content = read_json(name, path)
        self.categories = self._read_categories()  # by id, in increasing order
        self.photos = self._read_photos(folder)  # by id, in the order of the list

    def entries(self, key, needed=True):
        """The objects of the list named `key` in the file."""
        entries = self.content.get(key)
        if key not in self.content and not needed:
            near = difflib.get_close_matches(key, self.content, n=1, cutoff=0.8)
            if near:
                raise ValueError(f"{self.name}: {self.path} has {near[0]!r}; did you mean {key!r}?")
            return []
        if not isinstance(entries, list):
            raise ValueError(
                f"{self.name}: {self.path} needs a list of objects named {key!r}, got {told(entries)}"
            )
        for place, entry in enumerate(entries):
            if not isinstance(entry, dict):
                self.leave_out(f"entry {place} of {key} is no object but {told(entry)}")
        return [entry for entry in entries if isinstance(entry, dict)]

    @contextmanager
    def refusing(self):
        """An error in this block refuses the list, also with invalid="skip"."""
        try:
            yield
        except ValueError as error:
            raise ValueError(f"{self.name}: {self.path}: {error}") from None

    @contextmanager
    def entry(self):
        """An error in this block is about one entry: it refuses the list, or with invalid="skip" leaves the entry out."""
        try:
            yield
        except ValueError as error:
            self.leave_out(str(error))

    def leave_out(self, why):
        """Note why an entry is left out; with invalid="error", refuse the list."""
        if self.invalid == "error":
            raise ValueError(f"{self.name}: {self.path}: {why}; invalid='skip' leaves it out")
        self.left_out.append(why)

    def leave_out_photo(self, number, why=None):
        """Leave out an image and its annotations; `why` is None if the reason was noted already."""
        if why is not None:
            self.leave_out(why)
        self._gone.add(number)
        del self.photos[number]

    def check_masks(self, counts, size=None):
        """Leave out images whose masks would be too large for one array; `counts` has the number of objects by image id."""
        for photo in list(self.photos.values()):
            height, width = photo.height, photo.width
            if size is not None:
                height, width = resized_size(size, height, width)
            needed = counts[photo.id] * height * width
            if needed > MOST_MASK_BYTES:
                self.leave_out_photo(
                    photo.id,
                    f"image {told(photo.id)} has {counts[photo.id]} objects of {height} x {width} pixels: "
                    f"their masks would take {needed} bytes, more than {MOST_MASK_BYTES}; masks=False does without, and a size makes them smaller",
                )

    def photo_of(self, what, entry):
        """The image of an annotation; None if the image was left out."""
        number = identity(what, entry, "image_id")
        if number in self._gone:
            return None
        return _found(what, "image_id", number, self.photos)

    def label_of(self, what, entry, labels):
        """The label of an annotation's category."""
        return _found(what, "category_id", identity(what, entry, "category_id"), labels)

    def finish(self):
        """Warn once of all entries that were left out; refuse the list if no image is left."""
        if self.content["images"] and not self.photos:
            raise ValueError(
                f"{self.name}: {self.path}: no image is left of {len(self.content['images'])}: {self.left_out[0]}"
            )
        if count := len(self.left_out):
            first = "; ".join(self.left_out[:3]) + (f"; and {count - 3} more" if count > 3 else "")
            entries = "1 entry is" if count == 1 else f"{count} entries are"
            warnings.warn(
                f"{self.name}: {self.path}: {entries} left out (dataset.left_out lists all): {first}",
                stacklevel=4,
            )

    def _read_categories(self):
        found = {}
        with self.refusing():
            for entry in objects("the list", self.content, "categories"):
                number = identity("a category", entry)
                if number in found:
                    raise ValueError(f"two entries have category id {told(number)}")
                text(f"category {told(number)}", entry, "name")
                found[number] = entry
        # Numbers in increasing order, then texts (some lists have a few).
        return dict(sorted(found.items(), key=lambda item: (isinstance(item[0], str), item[0])))

    def _read_photos(self, folder):
        self.photos = {}
        missing = []
        entries = self.entries("images")
        for entry in entries:
            with self.entry():
                number = identity("an image", entry)
                if number in self.photos or number in self._gone:
                    raise ValueError(f"two entries have image id {told(number)}")
                self._gone.add(number)  # removed again below, if the image is valid
                photo = _photo(number, entry, folder)
                if os.path.isfile(photo.path):
                    self.photos[number] = photo
                    self._gone.remove(number)
                else:
                    missing.append(photo)
        if missing and (self.invalid == "error" or not self.photos):
            raise FileNotFoundError(
                f"{self.name}: {len(missing)} of {len(entries)} pictures of {self.path} are missing, the first is "
                f"{missing[0].path}; invalid='skip' does without them, unless all are missing"
            )
        self.left_out += [f"image {told(photo.id)}: there is no file {photo.path}" for photo in missing]
        return self.photos


def _photo(number, entry, folder):
    what = f"image {told(number)}"
    height, width = whole(what, entry, "height"), whole(what, entry, "width")
    if min(height, width) < 1 or height * width > MOST_PIXELS:
        raise ValueError(
            f"{what} has height {told(height)} and width {told(width)}; expected numbers above 0, at most {MOST_PIXELS} "
            "pixels together"
        )
    return Photo(number, inside(folder, entry.get("file_name"), what), height, width)


def _found(what, key, number, among):
    if number in among:
        return among[number]
    other = str(number) if isinstance(number, int) else int(number) if number.isdecimal() else None
    hint = f" ({told(other)} is)" if other in among else ""
    raise ValueError(f"{what} has {key} {told(number)}, which is not in the list{hint}")


def read_box(what, bbox, height, width):
    """Corners (x0, y0, x1, y1) of a box [x, y, width, height], cut at the image; raises an error for an invalid box."""
    numbers = isinstance(bbox, list) and len(bbox) == 4 and all(type(n) in (int, float) for n in bbox)
    if not numbers or not all(-1e9 < n < 1e9 for n in bbox):
        raise ValueError(f"{what}: bbox must be four numbers [x, y, width, height], got {told(bbox)}")
    x, y, w, h = bbox
    if w <= 0 or h <= 0:
        raise ValueError(f"{what}: bbox {bbox} has a width or height that is not above 0")
    # One pixel beyond the edge may be rounding, more is an error.
    if x < -1 or y < -1 or x + w > width + 1 or y + h > height + 1:
        raise ValueError(f"{what}: bbox {bbox} leaves the image of {height} x {width} (height x width)")
    x0 = max(x, 0.0)
    y0 = max(y, 0.0)
    x1 = min(x + w, width)
    y1 = min(y + h, height)
    if x1 <= x0 or y1 <= y0:
        raise ValueError(f"{what}: bbox {bbox} has nothing within the image")
    return x0, y0, x1, y1
