"""Generated pictures of one pipe on mottled ground, with its mask and its box: for segmenting what a detector has found.

Not here: scenes of shapes (shapes.py), models, pictures of results (viz/).
"""

import math
from dataclasses import dataclass

import numpy as np

from minivis.data.shapes import BLOCK, SPLITS, begin

__all__ = ["Pipe", "Pipes", "pipe"]

SIZE = 64
# earth, gravel, moss, sand
GROUNDS = ((0.45, 0.36, 0.27), (0.55, 0.50, 0.42), (0.38, 0.40, 0.33), (0.62, 0.52, 0.36))
# steel, and three paints
PAINTS = ((0.55, 0.60, 0.66), (0.25, 0.45, 0.72), (0.75, 0.30, 0.22), (0.85, 0.75, 0.30))
RUST = (0.50, 0.25, 0.12)


@dataclass(frozen=True)
class Pipe:
    """A generated picture of a pipe.

    Attributes
    ----------
    image : ndarray, shape (3, H, W), float32
        RGB in [0, 1].
    mask : ndarray, shape (H, W), bool
        The pixels of the pipe.
    box : ndarray, shape (4,), float32
        xyxy in pixels: the smallest box around the pipe.
    bent : bool
        Whether it has a bend.
    """

    image: np.ndarray
    mask: np.ndarray
    box: np.ndarray
    bent: bool


def pipe(seed=0, size=SIZE):
    """Draw a pipe, straight or with one bend; the same seed and size give the same picture on every machine.

    The pipe is lit from the side, has darker joints at equal distances and some rust. The ground has blotches of several
    sizes, so that no single colour tells the two apart.

    Parameters
    ----------
    seed : int, default 0
        Number of the picture, not negative.
    size : int or (int, int), default 64
        Height and width, pixels, at least 32.

    Returns
    -------
    Pipe

    Raises
    ------
    ValueError
        If the seed is negative or no whole number, or the size is too small.

    References
    ----------
    Slide ``A/94-sam-for-pipes``, which shows pictures from industrial inspection.

    Examples
    --------
    >>> drawn = pipe(seed=2)
    >>> drawn.image.shape, drawn.mask.shape, drawn.box.tolist()
    ((3, 64, 64), (64, 64), [6.0, 22.0, 42.0, 48.0])
    """
    height, width, rng = begin("pipe", seed, size)
    ground = _ground(rng, height, width)
    corners, radius, bent = _course(rng, height, width)
    across, along, mask = _coordinates(corners, radius, height, width)
    image = np.where(mask, _surface(rng, across, along, radius, height, width), ground)
    image = np.clip(image + rng.normal(0, 0.02, image.shape), 0, 1).astype(np.float32)
    y, x = np.nonzero(mask)
    box = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1], np.float32)
    return Pipe(image, mask, box, bent)


class Pipes:
    """A data set of pictures of pipes, drawn on request: for a `DataLoader`.

    Parameters
    ----------
    count : int
        Number of pictures, at most a million.
    split : {"train", "validation", "held-out"}, default "train"
        No two splits share a picture.
    size : int or (int, int), default 64
        Pixels.
    sample : callable, optional
        ``sample(pipe) -> tuple`` makes a sample of a `Pipe`; by default (image, mask, box).

    Raises
    ------
    ValueError
        If there is no such split, or it does not have so many pictures.

    Examples
    --------
    >>> image, mask, box = Pipes(10, "validation")[9]
    >>> image.shape, box.shape
    ((3, 64, 64), (4,))
    """

    def __init__(self, count, split="train", size=SIZE, sample=None):
        if split not in SPLITS:
            raise ValueError(f"Pipes: split must be one of {', '.join(SPLITS)}, got {split!r}")
        if not 0 < count <= 10**6:
            raise ValueError(f"Pipes: count must be 1 to {10**6}, got {count}")
        self.count = count
        self.first = SPLITS[split] * BLOCK
        self.size = size
        self.sample = sample or _parts

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        if not 0 <= i < self.count:
            raise IndexError(f"Pipes: there are pictures 0 to {self.count - 1}, got {i}")
        return self.sample(pipe(self.first + i, self.size))


def _parts(drawn):
    return drawn.image, drawn.mask, drawn.box


def _blotches(rng, cells, height, width):
    """Smooth noise (H, W) with a variance of about 1: random numbers at the corners of cells, interpolated between them."""
    corners = rng.normal(size=(cells + 1, cells + 1))
    rows, columns = (np.linspace(0, cells, side, endpoint=False) for side in (height, width))
    top, left = rows.astype(int), columns.astype(int)
    y, x = (part * part * (3 - 2 * part) for part in (rows - top, columns - left))  # no kinks at the corners
    y = y[:, None]
    upper = corners[top][:, left] * (1 - x) + corners[top][:, left + 1] * x
    lower = corners[top + 1][:, left] * (1 - x) + corners[top + 1][:, left + 1] * x
    return 1.5 * (upper * (1 - y) + lower * y)


def _ground(rng, height, width):
    """Colours (3, H, W) of the ground."""
    colour = np.array(GROUNDS[rng.integers(len(GROUNDS))]) + rng.uniform(-0.05, 0.05, 3)
    light = sum(0.06 * _blotches(rng, cells, height, width) for cells in (3, 7, 15)) + 0.03 * rng.normal(
        size=(height, width)
    )
    return colour[:, None, None] + light


def _course(rng, height, width):
    """The corners of the middle line, two or three points (x, y) in pixels; half the thickness; whether there is a bend."""
    side = min(height, width)
    radius = rng.uniform(0.035, 0.08) * side
    length = rng.uniform(0.6, 1.0) * side
    angle = rng.uniform(0, math.pi)
    middle = np.array([width, height]) * rng.uniform(0.35, 0.65, 2)
    bent = bool(rng.uniform() < 0.4)
    turn = rng.choice([-1, 1]) * rng.uniform(0.6, 1.4) if bent else 0.0
    half = [length / 2 * np.array([math.cos(a), math.sin(a)]) for a in (angle, angle + turn)]
    return [middle - half[0], middle, middle + half[1]], radius, bent


def _coordinates(corners, radius, height, width):
    """For each pixel its distance from the middle line with a sign, the way along the line, and whether it is on the pipe."""
    y, x = np.mgrid[:height, :width] + 0.5
    across, along = np.full((2, height, width), np.inf)
    before = 0.0
    for start, end in zip(corners, corners[1:], strict=False):
        length = math.dist(start, end)
        dx, dy = (end - start) / length
        t = (x - start[0]) * dx + (y - start[1]) * dy
        d = (y - start[1]) * dx - (x - start[0]) * dy
        nearer = (t >= 0) & (t <= length) & (np.abs(d) < np.abs(across))
        across = np.where(nearer, d, across)
        along = np.where(nearer, before + t, along)
        before += length
    bend = np.hypot(x - corners[1][0], y - corners[1][1])  # the outside of a bend is round
    outside = ~(np.abs(across) <= radius) & (bend <= radius)
    across = np.where(outside, bend, across)
    along = np.where(outside, before / 2, along)
    return across, along, np.abs(across) <= radius


def _surface(rng, across, along, radius, height, width):
    """Colours (3, H, W) of the pipe: round, lit from one side, with joints and rust."""
    colour = np.array(PAINTS[rng.integers(len(PAINTS))]) * rng.uniform(0.85, 1.1)
    sideways = np.clip(across / radius, -1, 1)
    light = 0.65 + 0.35 * np.sqrt(1 - sideways**2) + rng.choice([-1, 1]) * 0.15 * sideways
    every = rng.uniform(0.25, 0.4) * min(height, width)
    ways = np.where(np.isfinite(along), along, 0.0)
    joint = (ways + rng.uniform(0, every)) % every < 1.5
    surface = colour[:, None, None] * np.where(joint, 0.6 * light, light)
    rusty = _blotches(rng, 9, height, width) > 1.0
    rust = np.array(RUST)[:, None, None] * light
    return np.where(rusty, 0.4 * surface + 0.6 * rust, surface)
