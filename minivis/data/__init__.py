"""Real pictures, batches, and the random changes that make few pictures into many.
Not here: the drawing of pictures (minivis.viz) and what moves a batch to the GPU (minivis.to_device)."""

from minivis.data import (
    cifar,
    coco,
    color,
    digits,
    folders,
    geometry,
    images,
    mnist,
    photos,
    shapes,
    transforms,
)
from minivis.data.images import read_image
from minivis.data.loader import DataLoader

__all__ = [
    "DataLoader",
    "cifar",
    "coco",
    "color",
    "digits",
    "folders",
    "geometry",
    "images",
    "mnist",
    "photos",
    "read_image",
    "shapes",
    "transforms",
]
