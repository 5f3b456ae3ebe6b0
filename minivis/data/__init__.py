"""Real pictures, batches, and random changes of pictures (augmentation).
Not here: drawing pictures (minivis.viz), moving a batch to the GPU (minivis.to_device)."""

from minivis.data import (
    byte_pairs,
    cifar,
    coco,
    color,
    digits,
    folders,
    geometry,
    images,
    mnist,
    multi_crop,
    photos,
    pipes,
    shapes,
    transforms,
    words,
)
from minivis.data.images import read_image
from minivis.data.loader import DataLoader

__all__ = [
    "DataLoader",
    "byte_pairs",
    "cifar",
    "coco",
    "color",
    "digits",
    "folders",
    "geometry",
    "images",
    "mnist",
    "multi_crop",
    "photos",
    "pipes",
    "read_image",
    "shapes",
    "transforms",
    "words",
]
