"""Generated scenes: textured shapes on textured grounds, with every kind of label. No files, no downloads.

Not here: drawing a scene (_drawing.py), pictures of results (viz/), readers of real data sets (coco.py, folders.py ...).
"""

from dataclasses import dataclass

import numpy as np

from minivis.data._drawing import CLASSES, HUES, STUFF, TEXTURES, THINGS, draw_ground, paint, place
from minivis.pairs import checked_pair

__all__ = [
    "CAPTION_WORDS",
    "CLASSES",
    "COLOURS",
    "SIZE",
    "STUFF",
    "TEXTURES",
    "THINGS",
    "Scene",
    "Scenes",
    "Video",
    "collate",
    "scene",
    "video",
]

COLOURS = tuple(HUES)
# every word of the captions of scenes, for a WordTokenizer: its numbers follow from this order
CAPTION_WORDS = (",", "a", "an", "and", "on", *COLOURS, *TEXTURES, *THINGS, *STUFF)

SIZE = 64  # pixels; what the small models were trained on
SPLITS = {"held-out": 0, "validation": 1, "train": 2}  # blocks of scene seeds, in units of BLOCK
BLOCK = 10**12


@dataclass(frozen=True)
class Scene:
    """One generated picture and all its labels; ``n`` objects, numbered from back to front.

    Attributes
    ----------
    image : ndarray, shape (3, H, W), float32
        RGB in [0, 1].
    labels : ndarray, shape (n,), int64
        Which of `THINGS` each object is.
    boxes : ndarray, shape (n, 4), float32
        Normalised cxcywh: the smallest box around the visible part of the object.
    masks : ndarray, shape (n, H, W), bool
        The visible pixels of the object; no pixel belongs to two objects.
    semantic : ndarray, shape (H, W), int64
        Which of `CLASSES` each pixel shows.
    panoptic : ndarray, shape (H, W), int32
        Segment number of each pixel: 1 to n are the objects, then one for each ground.
    segments : list of dict
        For each segment ``id``, ``category_id`` (index in `CLASSES`), ``isthing``, ``area`` (pixels).
    caption : str
        The scene in words.
    """

    image: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    masks: np.ndarray
    semantic: np.ndarray
    panoptic: np.ndarray
    segments: list
    caption: str

    @property
    def label(self):
        """Class of the whole picture, for classifiers: the class of the object with the most visible pixels."""
        return int(self.labels[self.masks.sum(axis=(1, 2)).argmax()])

    def target(self, grounds=False):
        """The target of a set loss: ``labels``, ``boxes``, ``masks``; with `grounds` each ground is a segment too."""
        if not grounds:
            return {"labels": self.labels, "boxes": self.boxes, "masks": self.masks}
        masks = np.stack([self.panoptic == segment["id"] for segment in self.segments])
        labels = np.array([segment["category_id"] for segment in self.segments])
        return {"labels": labels, "boxes": _boxes(masks), "masks": masks}


@dataclass(frozen=True)
class Video:
    """A short film: the shapes of a scene move in straight lines over a still ground.

    Attributes
    ----------
    frames : ndarray, shape (T, 3, H, W), float32
        RGB in [0, 1].
    labels : ndarray, shape (n,), int64
        Which of `THINGS` each object is.
    boxes : ndarray, shape (T, n, 4), float32
        Normalised cxcywh of the visible part; zeros in frames in which an object is hidden.
    masks : ndarray, shape (T, n, H, W), bool
        The visible pixels of each object.
    velocities : ndarray, shape (n, 2), float32
        Horizontal (to the right) and vertical (downward) move from frame to frame, in image sizes.
    direction : int
        0 to 3: the largest object moves right, down, left, up.
    caption : str
        The film in words.
    """

    frames: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    masks: np.ndarray
    velocities: np.ndarray
    direction: int
    caption: str


def scene(seed=0, size=SIZE, objects=None):
    """Draw one scene; the same seed and size give the same scene on every machine.

    Parameters
    ----------
    seed : int, default 0
        Number of the scene, not negative.
    size : int or (int, int), default 64
        Height and width, pixels, at least 32.
    objects : int, optional
        Number of objects, 1 to 8, if they fit; by default random, with mean four. One object is for classification.

    Returns
    -------
    Scene

    Raises
    ------
    ValueError
        If the seed is negative, the size is too small, or `objects` is below 1 or above 8.

    Examples
    --------
    >>> s = scene(seed=3)
    >>> s.image.shape, s.boxes.shape == (len(s.labels), 4)
    ((3, 64, 64), True)
    >>> print(s.caption)
    a blue checked triangle, a red striped star, a green checked star on grass, sand and water
    """
    height, width, rng = begin("scene", seed, size, objects)
    count = 1 + int(rng.binomial(7, 3 / 7)) if objects is None else objects
    ground = draw_ground(rng, height, width)
    placed = place(rng, count, height, width)
    image, masks = paint(ground, placed, height, width)
    image = np.clip(image + rng.normal(0, 0.02, image.shape), 0, 1).astype(np.float32)
    semantic = ground[1].copy()
    for label, mask in zip([shape["kind"] for shape in placed], masks, strict=True):
        semantic[mask] = label
    panoptic, segments = _segments(masks, placed, semantic)
    labels = np.array([shape["kind"] for shape in placed], np.int64)
    return Scene(
        image, labels, _boxes(masks), masks, semantic, panoptic, segments, _caption(placed, segments)
    )


def video(seed=0, frames=8, size=SIZE, objects=None):
    """Draw a short film of moving shapes.

    Parameters
    ----------
    seed : int, default 0
        Number of the film.
    frames : int, default 8
        T, at least 1.
    size : int or (int, int), default 64
        Height and width, pixels, at least 32.
    objects : int, optional
        Number of objects, 1 to 8; by default one or two.

    Returns
    -------
    Video

    Raises
    ------
    ValueError
        As `scene`, and if there are no frames.

    Examples
    --------
    >>> film = video(seed=1, frames=4)
    >>> film.frames.shape, film.caption
    ((4, 3, 64, 64), 'a green dotted star moves left, a blue plain cross moves down on grass, sand and water')
    """
    if frames < 1:
        raise ValueError(f"video: frames must be at least 1, got {frames}")
    height, width, rng = begin("video", seed, size, objects)
    ground = draw_ground(rng, height, width)
    placed = place(rng, int(rng.integers(1, 3)) if objects is None else objects, height, width)
    directions = rng.integers(4, size=len(placed))
    # a quarter to half of the image in the whole film
    speeds = rng.uniform(0.25, 0.5, size=len(placed)) / max(1, frames - 1)
    steps = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])[directions] * speeds[:, None]
    grain = rng.normal(0, 0.02, (3, height, width))
    pictures, masks = [], []
    for t in range(frames):
        middle = t - (frames - 1) / 2  # the objects reach their placed positions in the middle of the film
        moved = [
            shape | {"left": shape["left"] + middle * dx * width, "top": shape["top"] + middle * dy * height}
            for shape, (dx, dy) in zip(placed, steps, strict=True)
        ]
        image, visible = paint(ground, moved, height, width)
        pictures.append(np.clip(image + grain, 0, 1).astype(np.float32))
        masks.append(visible)
    masks = np.stack(masks)
    largest = int(masks.sum(axis=(0, 2, 3)).argmax())
    words = ("right", "down", "left", "up")
    what = ", ".join(f"{_words(s)} moves {words[d]}" for s, d in zip(placed, directions, strict=True))
    grounds = _listed([CLASSES[k] for k in np.unique(ground[1])])
    return Video(
        np.stack(pictures),
        np.array([shape["kind"] for shape in placed], np.int64),
        np.stack([_boxes(m) for m in masks]),
        masks,
        steps.astype(np.float32),
        int(directions[largest]),
        f"{what} on {grounds}",
    )


class Scenes:
    """A data set of scenes, drawn on request: for a `DataLoader`, with `collate`.

    Parameters
    ----------
    count : int
        Number of scenes.
    split : {"train", "validation", "held-out"}, default "train"
        No two splits share a scene. Use held-out scenes only for the last measurement.
    seed : int, default 0
        Which part of the split: different seeds have different scenes.
    size : int or (int, int), default 64
        Pixels.
    objects : int, optional
        Number of objects in each scene; by default random, 1 to 8.
    sample : callable, optional
        ``sample(scene) -> tuple`` makes a sample of a `Scene`; by default (image, target) with
        ``target = scene.target()``.

    Raises
    ------
    ValueError
        If there is no such split, or it does not have so many scenes for `count` and `seed`.

    Examples
    --------
    >>> image, target = Scenes(10)[0]
    >>> image.shape, sorted(target)
    ((3, 64, 64), ['boxes', 'labels', 'masks'])
    """

    STRETCH = 10**6  # scenes for each seed

    def __init__(self, count, split="train", seed=0, size=SIZE, objects=None, sample=None):
        if split not in SPLITS:
            raise ValueError(f"Scenes: split must be one of {', '.join(SPLITS)}, got {split!r}")
        if not 0 < count <= self.STRETCH or not 0 <= seed < BLOCK // self.STRETCH:
            raise ValueError(
                f"Scenes: count must be 1 to {self.STRETCH} and seed 0 to {BLOCK // self.STRETCH - 1}, "
                f"got count={count}, seed={seed}"
            )
        self.count = count
        self.first = SPLITS[split] * BLOCK + seed * self.STRETCH
        self.size = size
        self.objects = objects
        self.sample = sample or _with_target

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        return self.sample(self.scene(i))

    def scene(self, i):
        """Scene number `i` of the data set."""
        if not 0 <= i < self.count:
            raise IndexError(f"Scenes: there are scenes 0 to {self.count - 1}, got {i}")
        return scene(self.first + i, self.size, self.objects)


def collate(samples):
    """Make a batch of scenes: images are stacked, targets of different lengths become a list.

    Parameters
    ----------
    samples : list of (ndarray, target)
        Images (3, H, W) of one size, each with its target.

    Returns
    -------
    (ndarray, list)
        Images (B, 3, H, W) and the B targets.

    Examples
    --------
    >>> images, targets = collate([Scenes(10)[0], Scenes(10)[1]])
    >>> images.shape, len(targets)
    ((2, 3, 64, 64), 2)
    """
    return np.stack([image for image, _ in samples]), [target for _, target in samples]


def _with_target(drawn):
    return drawn.image, drawn.target()


def begin(name, seed, size, objects=None):
    """Check the arguments; return height, width and the generator for the seed."""
    height, width = checked_pair(name, "size", size, least=32)
    if not hasattr(seed, "__index__") or seed < 0:
        raise ValueError(f"{name}: seed must be a whole number of at least 0, got {seed!r:.100}")
    if objects is not None and not 1 <= objects <= 8:
        raise ValueError(f"{name}: objects must be 1 to 8, got {objects}")
    return height, width, np.random.default_rng([seed, len(name)])


def _boxes(masks):
    """Normalised cxcywh (n, 4) around the true pixels of masks (n, H, W); zeros where there are none."""
    n, height, width = masks.shape
    boxes = np.zeros((n, 4), np.float32)
    for k, mask in enumerate(masks):
        y, x = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(y):
            top = y[0] / height
            bottom = (y[-1] + 1) / height
            left = x[0] / width
            right = (x[-1] + 1) / width
            boxes[k] = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
    return boxes


def _segments(masks, placed, semantic):
    """The panoptic map (H, W) and its segments."""
    panoptic = np.zeros(semantic.shape, np.int32)
    segments = []
    kinds = [shape["kind"] for shape in placed] + [
        k for k in range(len(THINGS), len(CLASSES)) if (semantic == k).any()
    ]
    for number, kind in enumerate(kinds):
        mask = masks[number] if number < len(placed) else semantic == kind
        panoptic[mask] = number + 1
        segment = {
            "id": number + 1,
            "category_id": int(kind),
            "isthing": number < len(placed),
            "area": int(mask.sum()),
        }
        segments.append(segment)
    return panoptic, segments


def _words(shape):
    article = "an" if shape["colour"] == "orange" else "a"
    return f"{article} {shape['colour']} {shape['texture']} {THINGS[shape['kind']]}"


def _listed(words):
    """["a", "b", "c"] -> "a, b and c"."""
    return " and ".join([*filter(None, [", ".join(words[:-1])]), *words[-1:]])


def _caption(placed, segments):
    grounds = _listed([CLASSES[s["category_id"]] for s in segments if not s["isthing"]])
    return ", ".join(_words(shape) for shape in placed) + (f" on {grounds}" if grounds else "")
