"""Random changes of a picture together with its target: boxes, masks and label maps move along.
Not here: changes of pictures alone, for classifiers (transforms.py, multi_crop.py); `OnImage` takes them over."""

from dataclasses import dataclass

import numpy as np

from minivis.data import multi_crop, transforms
from minivis.data._check import check_interval, check_rng, pair
from minivis.data._sized import nearest
from minivis.data.geometry import resize
from minivis.data.label_maps import IGNORED
from minivis.vision import box_cxcywh_to_xyxy, box_xyxy_to_cxcywh

__all__ = [
    "Compose",
    "OnImage",
    "RandomCrop",
    "RandomFlip",
    "RandomIoUCrop",
    "RandomResizedCrop",
    "RandomScale",
]

# entries of a target with one row for each object
PER_OBJECT = ("labels", "boxes", "masks", "iscrowd", "area")
ROUNDING = 1e-3  # pixels that the corners of a box may be off, because boxes are stored as float32


@dataclass(frozen=True)
class Compose(transforms.Compose):
    """Apply several changes, one after the other.

    Parameters
    ----------
    transforms : sequence of callable
        Each called as ``transform(image, target, rng)``; it returns image and target.

    Raises
    ------
    TypeError
        If one of them cannot be called.

    Notes
    -----
    Give it to a loader, ``DataLoader(dataset, augment=Compose([...]))``: each sample is changed with the random numbers of its
    batch, so a resumed training sees the same pictures. An image is (C, H, W), floating. A target is a label (it stays), a
    label map (H, W), or a dict with ``boxes`` (T, 4) normalised cxcywh, ``labels`` (T,), and optionally ``masks`` (T, H, W),
    ``iscrowd`` and ``area`` (T,), as `CocoDetection` and `minivis.data.shapes.Scenes` return it.

    Examples
    --------
    >>> from minivis.data.color import ColorJitter
    >>> from minivis.data.shapes import Scenes
    >>> change = Compose([RandomFlip(), RandomResizedCrop(48), OnImage(ColorJitter(0.4, 0.4, 0.4, 0.1))])
    >>> image, target = change(*Scenes(1)[0], np.random.default_rng(0))
    >>> image.shape, target["masks"].shape[1:]
    ((3, 48, 48), (48, 48))
    """

    def __call__(self, image, target, rng):
        for transform in self.transforms:
            image, target = transform(image, target, rng)
        return image, target


@dataclass(frozen=True)
class OnImage:
    """Change the picture alone, for changes that move no pixel: colours, blur.

    Parameters
    ----------
    transform : callable
        ``transform(images, rng)`` for a batch of pictures, such as `minivis.data.color.ColorJitter`.

    Raises
    ------
    ValueError
        If the picture has another size afterwards: then its target would not fit any more.

    Examples
    --------
    >>> from minivis.data.color import ColorJitter
    >>> image, label = OnImage(ColorJitter(brightness=(0.5, 0.5)))(np.ones((3, 1, 1)), 7, np.random.default_rng(0))
    >>> image.ravel(), label
    (array([0.5, 0.5, 0.5]), 7)
    """

    transform: object

    def __call__(self, image, target, rng):
        _check_pair("OnImage", image, target, rng)
        changed = self.transform(image[None], rng)[0]
        if changed.shape != image.shape:
            raise ValueError(
                f"OnImage: the transform changed the picture's shape from {image.shape} to {changed.shape}; use one that "
                "leaves the pixels in their places, or a change of minivis.data.paired"
            )
        return changed, target


@dataclass(frozen=True)
class RandomFlip:
    """Mirror a picture and its target, left to right or top to bottom, each with a given probability.

    Parameters
    ----------
    horizontal : float, default 0.5
        Probability of mirroring left to right. Use 0 if the sides mean something, as in texts.
    vertical : float, default 0
        Probability of mirroring top to bottom, for pictures without an up, such as those from above.

    Raises
    ------
    ValueError
        If a probability is not between 0 and 1.

    Examples
    --------
    >>> target = {"labels": np.array([0]), "boxes": np.array([[0.25, 0.5, 0.5, 1.0]])}
    >>> image, target = RandomFlip(horizontal=1)(np.zeros((3, 4, 4)), target, np.random.default_rng(0))
    >>> target["boxes"]
    array([[0.75, 0.5 , 0.5 , 1.  ]])
    """

    horizontal: float = 0.5
    vertical: float = 0.0

    def __post_init__(self):
        for name in ("horizontal", "vertical"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"RandomFlip: {name} must be a probability between 0 and 1, got {getattr(self, name)}"
                )

    def __call__(self, image, target, rng):
        _check_pair("RandomFlip", image, target, rng)
        draws = rng.random(2)
        for axis, drawn, p in ((-1, draws[0], self.horizontal), (-2, draws[1], self.vertical)):
            if drawn < p:
                image, target = _mirrored(image, target, axis)
        return image, target


@dataclass(frozen=True)
class RandomCrop:
    """Cut a piece of a fixed size out of a picture, at a random place.

    A box is cut at the edge of the piece. An object is left out if nothing of its mask, or less than one pixel of the width or
    height of its box, is left. With masks, the box of a cut object is the smallest one around what is left.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the piece, in pixels. If the picture is smaller, it gets a black border at the right and at the
        bottom, where label maps are 255 (no class).

    Raises
    ------
    ValueError
        If the size is below 1.

    References
    ----------
    The rules for boxes are those of DETR's crop (Carion et al., "End-to-end object detection with transformers", ECCV 2020,
    A.4), but for the least width and height, which are torchvision's (``SanitizeBoundingBoxes``).

    Examples
    --------
    >>> image, labels = RandomCrop(3)(np.ones((3, 2, 5)), np.zeros((2, 5), int), np.random.default_rng(0))
    >>> labels
    array([[  0,   0,   0],
           [  0,   0,   0],
           [255, 255, 255]])
    """

    size: int | tuple

    def __post_init__(self):
        pair("RandomCrop", "size", self.size)

    def __call__(self, image, target, rng):
        _check_pair("RandomCrop", image, target, rng)
        height, width = pair("RandomCrop", "size", self.size)
        top = int(rng.integers(max(0, image.shape[1] - height) + 1))
        left = int(rng.integers(max(0, image.shape[2] - width) + 1))
        return _cropped(image, target, (left, top, left + width, top + height))


@dataclass(frozen=True)
class RandomScale:
    r"""Resize a picture by a random factor; the proportions stay.

    Parameters
    ----------
    scale : (float, float), default (0.5, 2)
        The factor is uniform in this interval, above 0.

    Raises
    ------
    ValueError
        If `scale` is not an interval above 0.

    Notes
    -----
    With scale (0.1, 2) and a `RandomCrop` after it, this is the large-scale jittering of Ghiasi et al.

    References
    ----------
    Ghiasi et al., "Simple copy-paste is a strong data augmentation method for instance segmentation", CVPR 2021, section 3.

    Examples
    --------
    >>> image, label = RandomScale((2, 2))(np.ones((3, 2, 5)), 0, np.random.default_rng(0))
    >>> image.shape
    (3, 4, 10)
    """

    scale: tuple = (0.5, 2.0)

    def __post_init__(self):
        check_interval("RandomScale", "scale", self.scale)
        if self.scale[0] == 0:
            raise ValueError(f"RandomScale: scale must be above 0, got {self.scale}")

    def __call__(self, image, target, rng):
        _check_pair("RandomScale", image, target, rng)
        factor = rng.uniform(*self.scale)
        return _resized(image, target, [max(1, round(factor * side)) for side in image.shape[1:]])


@dataclass(frozen=True)
class RandomResizedCrop:
    """Cut a rectangle of random size and place out of a picture, and resize it to a fixed size.

    The rectangle is drawn as in `minivis.data.multi_crop.RandomResizedCrop`. What happens to objects at its edge is
    described in `RandomCrop`.

    Parameters
    ----------
    size : int or (int, int)
        Height and width of the result, in pixels.
    scale : (float, float), default (0.3, 1)
        Share of the picture's area. For classifiers it often begins at 0.08; then most objects of a scene are lost.
    ratio : (float, float), default (3/4, 4/3)
        Width over height.

    Raises
    ------
    ValueError
        If an interval is empty or reaches beyond what is possible.

    References
    ----------
    Szegedy et al., "Going deeper with convolutions", CVPR 2015, section 6.

    Examples
    --------
    >>> crop = RandomResizedCrop(8)
    >>> image, labels = crop(np.zeros((3, 22, 22)), np.zeros((22, 22), int), np.random.default_rng(0))
    >>> image.shape, labels.shape
    ((3, 8, 8), (8, 8))
    """

    size: int | tuple
    scale: tuple = (0.3, 1.0)
    ratio: tuple = (3 / 4, 4 / 3)

    def __post_init__(self):
        multi_crop.RandomResizedCrop(self.size, self.scale, self.ratio)  # checks

    def __call__(self, image, target, rng):
        _check_pair("RandomResizedCrop", image, target, rng)
        draw = multi_crop.RandomResizedCrop(self.size, self.scale, self.ratio)
        image, target = _cropped(image, target, draw.box(*image.shape[1:], rng))
        return _resized(image, target, pair("RandomResizedCrop", "size", self.size))


@dataclass(frozen=True)
class RandomIoUCrop:
    r"""Cut a piece that overlaps some object by a drawn amount, as SSD was trained; large and small objects come out of it.

    First a least overlap is drawn from `overlaps`: 1 keeps the whole picture. Then pieces are drawn with sides of 0.3 to 1
    times those of the picture and a ratio of 1/2 to 2, until the IoU of a piece with the box of some object reaches the
    overlap, at most 40 times; after that the picture stays whole. Objects whose centre is not in the piece are left out.

    Parameters
    ----------
    overlaps : sequence of float, default (0, 0.1, 0.3, 0.5, 0.7, 0.9, 1)
        The least IoUs.
    p : float, default 1
        Probability of cutting at all.

    Raises
    ------
    ValueError
        If an overlap or `p` is not between 0 and 1, or the target has no boxes.

    References
    ----------
    Liu et al., "SSD: single shot multibox detector", ECCV 2016, section 2.2, with the shortest side of the published code.

    Examples
    --------
    >>> target = {"labels": np.array([3]), "boxes": np.array([[0.5, 0.5, 0.2, 0.2]])}
    >>> image, target = RandomIoUCrop()(np.zeros((3, 40, 60)), target, np.random.default_rng(1))
    >>> image.shape, target["boxes"].round(2)
    ((3, 40, 60), array([[0.5, 0.5, 0.2, 0.2]]))
    """

    overlaps: tuple = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
    p: float = 1.0

    def __post_init__(self):
        if not len(self.overlaps) or not all(0 <= share <= 1 for share in (*self.overlaps, self.p)):
            raise ValueError(
                f"RandomIoUCrop: overlaps and p must lie between 0 and 1, got {self.overlaps} and {self.p}"
            )

    def __call__(self, image, target, rng):
        _check_pair("RandomIoUCrop", image, target, rng)
        if not isinstance(target, dict):
            raise ValueError("RandomIoUCrop: the target must be a dict with boxes; for others use RandomCrop")
        least = rng.choice(self.overlaps)
        if least == 1 or rng.random() >= self.p or not len(target["boxes"]):
            return image, target
        H, W = image.shape[1:]
        corners = _corners(target["boxes"], H, W)
        centres = (corners[:, :2] + corners[:, 2:]) / 2
        for _ in range(40):
            height, width = (max(1, round(rng.uniform(0.3, 1) * side)) for side in (H, W))
            top, left = int(rng.integers(H - height + 1)), int(rng.integers(W - width + 1))
            piece = np.array([left, top, left + width, top + height])
            inside = ((centres > piece[:2]) & (centres < piece[2:])).all(axis=1)
            if 0.5 <= width / height <= 2 and inside.any():
                if _overlap(piece, corners[inside]).max() >= least:
                    return _cropped(image, _only(target, inside), piece.tolist())
        return image, target


# ---------------------------------------------------------------------------------------------------------------------
# Moving a picture with its target


def _mirrored(image, target, axis):
    image = np.flip(image, axis)
    if isinstance(target, dict):
        boxes = target["boxes"].copy()
        place = 0 if axis == -1 else 1  # of the centre's coordinate
        boxes[:, place] = 1 - boxes[:, place]
        masks = {"masks": np.flip(target["masks"], axis)} if "masks" in target else {}
        return image, target | {"boxes": boxes} | masks
    return image, np.flip(target, axis) if _is_map(target) else target


def _resized(image, target, size):
    H, W = image.shape[1:]
    image = resize(image[None], tuple(size))[0]
    if isinstance(target, dict):
        new = {}
        if "masks" in target:
            new["masks"] = nearest(target["masks"], *size)
        if "area" in target:
            new["area"] = target["area"] * (size[0] * size[1] / (H * W))
        return image, target | new
    return image, nearest(target, *size) if _is_map(target) else target


def _cropped(image, target, piece):
    """The part inside a piece (left, top, right, bottom), whole pixels; it may reach beyond the picture."""
    H, W = image.shape[1:]
    image = _cut(image, piece, 0)
    if isinstance(target, dict):
        return image, _cropped_objects(target, H, W, piece)
    return image, _cut(target, piece, IGNORED) if _is_map(target) else target


def _cropped_objects(target, H, W, piece):
    left, top, right, bottom = piece
    height, width = bottom - top, right - left
    whole = _corners(target["boxes"], H, W) - [left, top, left, top]
    corners = np.clip(whole, 0, [width, height, width, height])
    cut = (np.abs(corners - whole) > ROUNDING).any(axis=1)
    sides = corners[:, 2:] - corners[:, :2]
    kept = ~cut | (sides >= 1 - ROUNDING).all(axis=1)
    share = sides.prod(axis=1) / np.maximum((whole[:, 2:] - whole[:, :2]).prod(axis=1), 1e-12)
    new = dict(target)
    if "masks" in target:
        new["masks"] = _cut(target["masks"], piece, False)
        pixels = new["masks"].sum(axis=(1, 2))
        kept = ~cut | (pixels > 0)
        share = pixels / np.maximum(target["masks"].sum(axis=(1, 2)), 1)
        for k in np.flatnonzero(cut & kept):
            corners[k] = _around(new["masks"][k])
    if "area" in target:
        new["area"] = np.where(cut, target["area"] * share, target["area"])
    boxes = box_xyxy_to_cxcywh(corners / [width, height, width, height])
    new["boxes"] = boxes.astype(target["boxes"].dtype)
    return _only(new, kept)


def _only(target, kept):
    """The objects of a target for which `kept` is True."""
    return target | {name: target[name][kept] for name in PER_OBJECT if name in target}


def _corners(boxes, H, W):
    """Normalised boxes as corners (T, 4) in pixels, float64."""
    return box_cxcywh_to_xyxy(boxes.astype(np.float64).reshape(-1, 4)) * [W, H, W, H]


def _around(mask):
    """Corners of the smallest box around the pixels of a mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def _overlap(piece, corners):
    """IoU of a piece with each of the boxes, all as corners."""
    shared = np.minimum(piece[2:], corners[:, 2:]) - np.maximum(piece[:2], corners[:, :2])
    shared = np.maximum(shared, 0).prod(axis=1)
    own = (corners[:, 2:] - corners[:, :2]).prod(axis=1)
    return shared / ((piece[2:] - piece[:2]).prod() + own - shared)


def _cut(x, piece, fill):
    """The piece (left, top, right, bottom) of an array (..., H, W), with `fill` outside the array."""
    left, top, right, bottom = piece
    H, W = x.shape[-2:]
    inside = x[..., max(top, 0) : bottom, max(left, 0) : right]
    if inside.shape[-2:] == (bottom - top, right - left):
        return inside
    border = [(0, 0)] * (x.ndim - 2) + [(0, max(0, bottom - H)), (0, max(0, right - W))]
    return np.pad(inside, border, constant_values=fill)


def _is_map(target):
    """Whether a target is a label map (H, W)."""
    return isinstance(target, np.ndarray) and target.ndim == 2


def _check_pair(name, image, target, rng):
    """Raise an error unless image and target fit together, and everything in the target can be moved along."""
    check_rng(name, rng)
    if (
        not isinstance(image, np.ndarray)
        or image.ndim != 3
        or image.dtype.kind != "f"
        or not min(image.shape[1:])
    ):
        what = f"{image.dtype.name} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"{name}: image must be floating-point numbers (C, H, W), got {what}")
    if isinstance(target, dict):
        _check_objects(name, image, target)
    elif np.ndim(target) and not (_is_map(target) and target.shape == image.shape[1:]):
        raise ValueError(
            f"{name}: a target is a label, a label map of the picture's size or a dict with boxes; got an array of shape "
            f"{np.shape(target)} for a picture of shape {image.shape}"
        )


def _check_objects(name, image, target):
    if "boxes" not in target:
        raise ValueError(f"{name}: the target has no 'boxes', only {', '.join(map(repr, target))}")
    if others := [key for key in target if key not in PER_OBJECT and np.ndim(target[key])]:
        raise ValueError(
            f"{name}: the target has {others[0]!r}, which is not moved along; leave it out with the data set's sample="
        )
    shapes = {key: np.shape(target[key]) for key in PER_OBJECT if key in target}
    count = len(target["boxes"])
    wrong = [key for key, shape in shapes.items() if shape[0] != count]
    if "masks" in target and target["masks"].shape[1:] != image.shape[1:]:
        wrong.append("masks")
    if wrong:
        raise ValueError(
            f"{name}: {wrong[0]} of shape {shapes[wrong[0]]} do not fit to {count} boxes and a picture of shape {image.shape}"
        )
