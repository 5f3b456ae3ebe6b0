"""Generated scenes: textured shapes on textured grounds, with every kind of label there is. No files, no downloads.

Not here: the drawing of results (viz/), readers of real data sets (coco.py, folders.py ...).
"""

import colorsys
import math
from dataclasses import dataclass

import numpy as np

__all__ = ["CLASSES", "SIZE", "STUFF", "THINGS", "Scene", "Scenes", "Video", "collate", "scene", "video"]

THINGS = ("circle", "square", "triangle", "star", "ring", "cross")  # what can be counted: labels 0 to 5
STUFF = ("grass", "sand", "water")  # what cannot: labels 6 to 8
CLASSES = THINGS + STUFF
SIZE = 64  # pixels; what the small models were trained on
SMALLEST, LARGEST = 0.12, 0.6  # sides of a visible box, as a fraction of the image's
VISIBLE = 0.55  # of an object at least this part can be seen, else another place is drawn
OVERLAP = 0.2  # chance that an object may stay where it would hide part of another; two scenes in five then have occlusion
SPLITS = {"held-out": 0, "validation": 1, "train": 2}  # blocks of scene seeds, in units of BLOCK
BLOCK = 10**12

HUES = {
    "red": 0,
    "orange": 30,
    "yellow": 55,
    "green": 120,
    "cyan": 185,
    "blue": 220,
    "purple": 275,
    "pink": 325,
}
TEXTURES = ("plain", "striped", "checked", "dotted")
GROUNDS = {"grass": (0.33, 0.52, 0.20), "sand": (0.83, 0.74, 0.52), "water": (0.22, 0.42, 0.66)}


@dataclass(frozen=True)
class Scene:
    """One generated picture and all that is known about it; ``n`` objects, numbered from back to front.

    Attributes
    ----------
    image : ndarray, shape (3, H, W), float32
        RGB in [0, 1].
    labels : ndarray, shape (n,), int64
        Which of `THINGS` each object is.
    boxes : ndarray, shape (n, 4), float32
        Normalised cxcywh: the smallest box around what can be seen of the object.
    masks : ndarray, shape (n, H, W), bool
        The pixels that show the object; no pixel shows two.
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
        """Class of the whole picture, for classifiers: that of the object that shows the most pixels."""
        return int(self.labels[self.masks.sum(axis=(1, 2)).argmax()])

    def target(self, grounds=False):
        """What a set loss is given: ``labels``, ``boxes``, ``masks``; with `grounds` each ground is a segment too."""
        if not grounds:
            return {"labels": self.labels, "boxes": self.boxes, "masks": self.masks}
        masks = np.stack([self.panoptic == segment["id"] for segment in self.segments])
        labels = np.array([segment["category_id"] for segment in self.segments])
        return {"labels": labels, "boxes": _boxes(masks), "masks": masks}


@dataclass(frozen=True)
class Video:
    """A short film: the shapes of a scene, each moving straight on over a ground that stays.

    Attributes
    ----------
    frames : ndarray, shape (T, 3, H, W), float32
        RGB in [0, 1].
    labels : ndarray, shape (n,), int64
        Which of `THINGS` each object is.
    boxes : ndarray, shape (T, n, 4), float32
        Normalised cxcywh of what can be seen; zeros in frames in which an object is hidden.
    masks : ndarray, shape (T, n, H, W), bool
        The pixels that show each object.
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
        Which scene, not negative.
    size : int or (int, int), default 64
        Height and width, pixels, at least 32.
    objects : int, optional
        How many, 1 to 8, if they fit; by default drawn: four in the mean. One object makes a picture to classify.

    Returns
    -------
    Scene

    Raises
    ------
    ValueError
        If the seed is negative, the size too small, or there are to be fewer than 1 or more than 8 objects.

    Examples
    --------
    >>> s = scene(seed=3)
    >>> s.image.shape, s.boxes.shape == (len(s.labels), 4)
    ((3, 64, 64), True)
    >>> print(s.caption)
    a blue checked triangle, a red striped star, a green checked star on grass, sand and water
    """
    height, width, rng = _begin("scene", seed, size, objects)
    count = 1 + int(rng.binomial(7, 3 / 7)) if objects is None else objects
    ground = _draw_ground(rng, height, width)
    placed = _place(rng, count, height, width)
    image, masks = _paint(ground, placed, height, width)
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
        Which film.
    frames : int, default 8
        T, at least 1.
    size : int or (int, int), default 64
        Height and width, pixels, at least 32.
    objects : int, optional
        How many, 1 to 8; by default one or two.

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
    height, width, rng = _begin("video", seed, size, objects)
    ground = _draw_ground(rng, height, width)
    placed = _place(rng, int(rng.integers(1, 3)) if objects is None else objects, height, width)
    directions = rng.integers(4, size=len(placed))
    speeds = rng.uniform(0.25, 0.5, size=len(placed)) / max(
        1, frames - 1
    )  # a quarter to half of the image in all
    steps = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])[directions] * speeds[:, None]
    grain = rng.normal(0, 0.02, (3, height, width))
    pictures, masks = [], []
    for t in range(frames):
        middle = t - (frames - 1) / 2  # the scene as it was placed is the middle of the film
        moved = [
            shape | {"left": shape["left"] + middle * dx * width, "top": shape["top"] + middle * dy * height}
            for shape, (dx, dy) in zip(placed, steps, strict=True)
        ]
        image, visible = _paint(ground, moved, height, width)
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
    """A data set of scenes, drawn when they are asked for: for a `DataLoader`, with `collate`.

    Parameters
    ----------
    count : int
        How many.
    split : {"train", "validation", "held-out"}, default "train"
        No two splits share a scene. Held-out scenes are for the last measurement, and for nothing else.
    seed : int, default 0
        Which stretch of the split: other seeds, other scenes.
    size : int or (int, int), default 64
        Pixels.
    objects : int, optional
        In each scene; by default drawn, 1 to 8.
    sample : callable, optional
        ``sample(scene) -> tuple`` makes a sample of a `Scene`; by default (image, target) with
        ``target = scene.target()``.

    Raises
    ------
    ValueError
        If there is no such split, or `count` and `seed` leave it.

    Examples
    --------
    >>> image, target = Scenes(10)[0]
    >>> image.shape, sorted(target)
    ((3, 64, 64), ['boxes', 'labels', 'masks'])
    """

    STRETCH = 10**6  # scenes to a seed

    def __init__(self, count, split="train", seed=0, size=SIZE, objects=None, sample=None):
        if split not in SPLITS:
            raise ValueError(f"Scenes: split must be one of {', '.join(SPLITS)}, got {split!r}")
        if not 0 < count <= self.STRETCH or not 0 <= seed < BLOCK // self.STRETCH:
            raise ValueError(
                f"Scenes: count must be 1 to {self.STRETCH} and seed 0 to {BLOCK // self.STRETCH - 1}, "
                f"got count={count}, seed={seed}"
            )
        self.count, self.first = count, SPLITS[split] * BLOCK + seed * self.STRETCH
        self.size, self.objects, self.sample = size, objects, sample or _with_target

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
    """Make a batch of (image, target) samples: images (B, 3, H, W) and the list of their B targets."""
    return np.stack([image for image, _ in samples]), [target for _, target in samples]


def _with_target(drawn):
    return drawn.image, drawn.target()


def _begin(name, seed, size, objects):
    """Checked height, width and the generator of a seed."""
    height, width = size if isinstance(size, (tuple, list)) else (size, size)
    if min(height, width) < 32:
        raise ValueError(f"{name}: size must be at least 32 pixels, got {height} x {width}")
    if seed < 0:
        raise ValueError(f"{name}: seed must not be negative, got {seed}")
    if objects is not None and not 1 <= objects <= 8:
        raise ValueError(f"{name}: objects must be 1 to 8, got {objects}")
    return height, width, np.random.default_rng([seed, len(name)])


def _grid(height, width):
    """Pixel centres (y, x), in units of the shorter side."""
    side = min(height, width)
    return (np.arange(height)[:, None] + 0.5) / side, (np.arange(width)[None, :] + 0.5) / side


# ------------------------------------------------------------------ grounds


def _draw_ground(rng, height, width):
    """One to three grounds with a wavy border between them: (colours (3, H, W), labels (H, W))."""
    y, x = _grid(height, width)
    kinds = rng.permutation(len(STUFF))[: rng.choice([1, 2, 3], p=[0.25, 0.45, 0.3])]
    angle, phase = rng.uniform(0, 2 * math.pi, 2)
    along = (x / x.max() - 0.5) * math.cos(angle) + (y / y.max() - 0.5) * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    place = along + 0.05 * np.sin(rng.uniform(4, 9) * across + phase)
    borders = {1: [], 2: [rng.uniform(-0.2, 0.2)], 3: [rng.uniform(-0.25, -0.1), rng.uniform(0.1, 0.25)]}
    which = np.searchsorted(borders[len(kinds)], place)
    labels = len(THINGS) + kinds[which]
    light = {
        "grass": 0.10 * rng.normal(size=(height, width)) + 0.05 * np.sin(60 * x + 9 * np.sin(9 * y)),
        "sand": 0.05 * rng.normal(size=(height, width)),
        "water": 0.09 * np.sin(45 * y + 3 * np.sin(11 * x + phase)),
    }
    image = np.empty((3, height, width))
    for k in kinds:
        mask = labels == len(THINGS) + k
        colour = np.array(GROUNDS[STUFF[k]]) * rng.uniform(0.85, 1.15) + rng.uniform(-0.04, 0.04, 3)
        image[:, mask] = colour[:, None] + light[STUFF[k]][mask]
    return image, labels


# ------------------------------------------------------------------ shapes


def _inside(kind, u, v):
    """Whether points (u to the right, v downward, both -1 to 1 across the box) belong to a shape."""
    name = THINGS[kind]
    if name == "square":
        return np.ones(np.broadcast_shapes(u.shape, v.shape), bool)
    if name == "triangle":
        return np.abs(u) <= (v + 1) / 2
    if name == "cross":
        return (np.abs(u) <= 0.34) | (np.abs(v) <= 0.34)
    if name == "star":
        return _inside_star(0.951 * u, 0.9045 * v - 0.0955)  # the star's own box is not centred on it
    squared = u * u + v * v
    return (squared <= 1) & (squared >= 0.27) if name == "ring" else squared <= 1


def _inside_star(u, v):
    """A five-pointed star of outer radius 1, one point up."""
    radius, fifth, inner = np.hypot(u, v), 2 * math.pi / 5, 0.42
    angle = np.abs(
        (np.arctan2(u, -v) + fifth / 2) % fifth - fifth / 2
    )  # from the nearest point, 0 to fifth / 2
    # The edge from the point (1, angle 0) to the notch (inner, fifth / 2), as a line in polar coordinates
    edge = inner * math.sin(fifth / 2) / (inner * np.sin(fifth / 2 - angle) + np.sin(angle))
    return radius <= edge


def _draw_shape(rng, height, width, largest):
    """What a new object looks like and where it stands: a dict with its box in whole pixels."""
    low = [math.ceil(SMALLEST * side) for side in (height, width)]
    high = [max(least, math.floor(largest * side)) for least, side in zip(low, (height, width), strict=True)]
    scale, aspect = rng.uniform(math.log(SMALLEST), math.log(largest)), rng.uniform(-0.3, 0.3)
    h, w = (
        int(np.clip(round(math.exp(scale + sign * aspect) * side), least, most))
        for sign, side, least, most in zip((-1, 1), (height, width), low, high, strict=True)
    )
    colour = list(HUES)[rng.integers(len(HUES))]
    hue = (HUES[colour] + rng.uniform(-8, 8)) / 360 % 1
    value = rng.uniform(0.75, 1)
    return {
        "kind": int(rng.integers(len(THINGS))),
        "top": int(rng.integers(height - h + 1)),
        "left": int(rng.integers(width - w + 1)),
        "height": h,
        "width": w,
        "colour": colour,
        "texture": TEXTURES[rng.integers(len(TEXTURES))],
        "light": np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.7, 0.95), value)),
        "dark": np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.7, 0.95), value * 0.55)),
        "period": rng.uniform(0.07, 0.12),
        "angle": rng.uniform(0, math.pi),
    }


def _cover(shape, height, width):
    """The window of the image a shape lies in and which of its pixels it covers: (rows, columns, mask)."""
    top, left, h, w = shape["top"], shape["left"], shape["height"], shape["width"]
    rows = slice(max(0, math.floor(top)), max(0, min(height, math.ceil(top + h))))
    columns = slice(max(0, math.floor(left)), max(0, min(width, math.ceil(left + w))))
    v = (np.arange(rows.start, rows.stop)[:, None] + 0.5 - top) * (2 / h) - 1
    u = (np.arange(columns.start, columns.stop)[None, :] + 0.5 - left) * (2 / w) - 1
    within = (np.abs(u) <= 1) & (np.abs(v) <= 1)
    return rows, columns, within & _inside(shape["kind"], u, v)


def _place(rng, count, height, width):
    """Put objects on the image one after another, each before those placed so far, none hidden too much by another."""
    owner, placed, areas = np.full((height, width), -1), [], []
    least = np.array([SMALLEST * height, SMALLEST * width])
    for attempt in range(40 * count):
        largest = LARGEST if attempt < 15 * count else 0.25  # where it is crowded, something small still fits
        shape = _draw_shape(rng, height, width, largest)
        rows, columns, mask = _cover(shape, height, width)
        before = owner[rows, columns].copy()
        owner[rows, columns] = np.where(mask, len(placed), before)
        areas.append(mask.sum())
        touched = [k for k in np.unique(before[mask]) if k >= 0] + [len(placed)]
        welcome = len(touched) == 1 or (
            rng.uniform() < OVERLAP and all(placed[k]["colour"] != shape["colour"] for k in touched[:-1])
        )
        if welcome and all(_seen(owner == k, VISIBLE * areas[k], least) for k in touched):
            placed.append(shape)
            if len(placed) == count:
                break
        else:
            owner[rows, columns] = before
            areas.pop()
    return placed


def _seen(visible, area, least):
    """Whether enough of an object is left to see: its area, and both sides of its box."""
    if visible.sum() < area:
        return False
    extent = [np.flatnonzero(visible.any(axis=axis)) for axis in (1, 0)]
    return all(line[-1] + 1 - line[0] >= side for line, side in zip(extent, least, strict=True))


def _paint(ground, placed, height, width):
    """Objects over the ground: (image (3, H, W), visible masks (n, H, W))."""
    image = ground[0].copy()
    owner = np.full((height, width), -1)
    y, x = _grid(height, width)
    for number, shape in enumerate(placed):
        rows, columns, mask = _cover(shape, height, width)
        dark = _texture(shape, y[rows] - shape["top"] / min(height, width), x[:, columns])
        colours = np.where(dark, shape["dark"][:, None, None], shape["light"][:, None, None])
        image[:, rows, columns] = np.where(mask, colours, image[:, rows, columns])
        owner[rows, columns][mask] = number
    return image, owner == np.arange(len(placed))[:, None, None]


def _texture(shape, y, x):
    """Where a shape has its darker colour."""
    period, name = shape["period"], shape["texture"]
    along = (x * math.cos(shape["angle"]) + y * math.sin(shape["angle"])) / period % 1
    across = (y * math.cos(shape["angle"]) - x * math.sin(shape["angle"])) / period % 1
    if name == "striped":
        return along < 0.5
    if name == "checked":
        return (along < 0.5) ^ (across < 0.5)
    if name == "dotted":
        return (along - 0.5) ** 2 + (across - 0.5) ** 2 < 0.1
    return np.zeros(along.shape, bool)


# ------------------------------------------------------------------ labels


def _boxes(masks):
    """Normalised cxcywh (n, 4) around the true pixels of masks (n, H, W); zeros where there are none."""
    n, height, width = masks.shape
    boxes = np.zeros((n, 4), np.float32)
    for k, mask in enumerate(masks):
        y, x = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(y):
            top, bottom, left, right = y[0] / height, (y[-1] + 1) / height, x[0] / width, (x[-1] + 1) / width
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
