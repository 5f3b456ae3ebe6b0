"""Draws generated scenes: wavy grounds, textured shapes, and the places of shapes.

Not here: the labels of a scene (shapes.py), pictures of results (viz/).
"""

import colorsys
import math

import numpy as np

__all__ = ["CLASSES", "STUFF", "THINGS", "cover", "draw_ground", "paint", "place"]

THINGS = ("circle", "square", "triangle", "star", "ring", "cross")  # countable objects: labels 0 to 5
STUFF = ("grass", "sand", "water")  # uncountable ground: labels 6 to 8
CLASSES = THINGS + STUFF
SMALLEST, LARGEST = 0.12, 0.6  # sides of a visible box, as a fraction of the image's
VISIBLE = 0.55  # at least this fraction of each object is visible, otherwise another place is drawn
OVERLAP = 0.2  # probability that an object may hide part of another; then two scenes in five have occlusion
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


def _grid(height, width):
    """Pixel centres (y, x), in units of the shorter side."""
    side = min(height, width)
    return (np.arange(height)[:, None] + 0.5) / side, (np.arange(width)[None, :] + 0.5) / side


# ------------------------------------------------------------------ grounds


def draw_ground(rng, height, width):
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
        # the centre of a star is not the centre of its box
        return _inside_star(0.951 * u, 0.9045 * v - 0.0955)
    squared = u * u + v * v
    return (squared <= 1) & (squared >= 0.27) if name == "ring" else squared <= 1


def _inside_star(u, v):
    """A five-pointed star of outer radius 1, one point up."""
    radius = np.hypot(u, v)
    fifth = 2 * math.pi / 5
    inner = 0.42
    # angle from the nearest point of the star, 0 to fifth / 2
    angle = np.abs((np.arctan2(u, -v) + fifth / 2) % fifth - fifth / 2)
    # The edge from the point (1, angle 0) to the notch (inner, fifth / 2), as a line in polar coordinates
    edge = inner * math.sin(fifth / 2) / (inner * np.sin(fifth / 2 - angle) + np.sin(angle))
    return radius <= edge


def _draw_shape(rng, height, width, largest):
    """The look and the place of a new object: a dict with its box in whole pixels."""
    low = [math.ceil(SMALLEST * side) for side in (height, width)]
    high = [max(least, math.floor(largest * side)) for least, side in zip(low, (height, width), strict=True)]
    scale = rng.uniform(math.log(SMALLEST), math.log(largest))
    aspect = rng.uniform(-0.3, 0.3)
    h, w = (
        min(max(round(math.exp(scale + sign * aspect) * side), least), most)
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


def cover(shape, height, width):
    """The window of the image a shape lies in and which of its pixels it covers: (rows, columns, mask)."""
    top, left, h, w = shape["top"], shape["left"], shape["height"], shape["width"]
    rows = slice(max(0, math.floor(top)), max(0, min(height, math.ceil(top + h))))
    columns = slice(max(0, math.floor(left)), max(0, min(width, math.ceil(left + w))))
    v = (np.arange(rows.start, rows.stop)[:, None] + 0.5 - top) * (2 / h) - 1
    u = (np.arange(columns.start, columns.stop)[None, :] + 0.5 - left) * (2 / w) - 1
    within = (np.abs(u) <= 1) & (np.abs(v) <= 1)
    return rows, columns, within & _inside(shape["kind"], u, v)


def place(rng, count, height, width):
    """Place objects one by one, each in front of the earlier ones; none may hide too much of another."""
    owner = np.full((height, width), -1)
    placed = []
    areas = []
    least = np.array([SMALLEST * height, SMALLEST * width])
    for attempt in range(40 * count):
        largest = LARGEST if attempt < 15 * count else 0.25  # small objects still fit into a crowded image
        shape = _draw_shape(rng, height, width, largest)
        rows, columns, mask = cover(shape, height, width)
        before = owner[rows, columns].copy()
        owner[rows, columns] = np.where(mask, len(placed), before)
        areas.append(np.count_nonzero(mask))
        touched = [*(set(before[mask].tolist()) - {-1}), len(placed)]
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
    """Whether enough of an object is visible: its area, and both sides of its box."""
    if np.count_nonzero(visible) < area:
        return False
    extent = [np.flatnonzero(visible.any(axis=axis)) for axis in (1, 0)]
    return all(line[-1] + 1 - line[0] >= side for line, side in zip(extent, least, strict=True))


def paint(ground, placed, height, width):
    """Paint objects over the ground: (image (3, H, W), visible masks (n, H, W))."""
    image = ground[0].copy()
    owner = np.full((height, width), -1)
    y, x = _grid(height, width)
    for number, shape in enumerate(placed):
        rows, columns, mask = cover(shape, height, width)
        dark = _texture(shape, y[rows] - shape["top"] / min(height, width), x[:, columns])
        colours = np.where(dark, shape["dark"][:, None, None], shape["light"][:, None, None])
        image[:, rows, columns] = np.where(mask, colours, image[:, rows, columns])
        owner[rows, columns][mask] = number
    return image, owner == np.arange(len(placed))[:, None, None]


def _texture(shape, y, x):
    """True where a shape has its darker colour."""
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
