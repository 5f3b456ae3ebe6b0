"""Real pictures, batches, and random changes of pictures (augmentation).
Not here: drawing pictures (minivis.viz), moving a batch to the GPU (minivis.to_device)."""

from minivis import foreign_words
from minivis.data import (
    byte_pairs,
    cifar,
    coco,
    color,
    digits,
    examples,
    folders,
    geometry,
    images,
    label_maps,
    mnist,
    multi_crop,
    paired,
    photos,
    pipes,
    shapes,
    subsets,
    transforms,
    words,
)
from minivis.data.coco import CocoDetection, CocoPanoptic
from minivis.data.folders import ImageFolder
from minivis.data.images import image_size, read_image
from minivis.data.label_maps import MaskFolder
from minivis.data.loader import DataLoader
from minivis.data.subsets import Subset, split

__all__ = [
    "CocoDetection",
    "CocoPanoptic",
    "DataLoader",
    "ImageFolder",
    "MaskFolder",
    "Subset",
    "byte_pairs",
    "cifar",
    "coco",
    "color",
    "digits",
    "examples",
    "folders",
    "geometry",
    "image_size",
    "images",
    "label_maps",
    "mnist",
    "multi_crop",
    "paired",
    "photos",
    "pipes",
    "read_image",
    "shapes",
    "split",
    "subsets",
    "transforms",
    "words",
]


def __getattr__(name):
    raise foreign_words.no_name(__name__, name)
