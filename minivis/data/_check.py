"""Checks of arguments for functions that change pictures; errors begin with the name of the caller.
Not here: checks that only one function needs; they are in that function."""

import operator

import numpy as np


def check_images(name, images):
    """Raise an error unless `images` is a NumPy batch of pictures."""
    if not isinstance(images, np.ndarray) or not np.issubdtype(images.dtype, np.floating):
        found = f"dtype {images.dtype}" if isinstance(images, np.ndarray) else type(images).__name__
        hint = "; for bytes: images.astype('float32') / 255" if found == "dtype uint8" else ""
        raise TypeError(f"{name}: images must be a NumPy array of floating-point numbers, got {found}{hint}")
    if images.ndim != 4:
        raise ValueError(f"{name}: images must have four axes (B, C, H, W), got shape {images.shape}")


def check_crop(name, images, size):
    """Return the crop's height and width; raise an error if it is larger than the pictures."""
    height, width = pair(name, "size", size)
    if height > images.shape[2] or width > images.shape[3]:
        raise ValueError(
            f"{name}: the crop {height} x {width} is larger than the pictures (images: {images.shape})"
        )
    return height, width


def pair(name, argument, value, least=1):
    """Return one integer as (value, value) and two as they are; raise an error for anything else."""
    try:
        parts = (
            (operator.index(value),) * 2 if np.ndim(value) == 0 else tuple(operator.index(v) for v in value)
        )
    except TypeError:
        raise TypeError(f"{name}: {argument} must be an integer or two of them, got {value!r}") from None
    if len(parts) != 2 or min(parts) < least:
        raise ValueError(f"{name}: {argument} must be one or two integers of at least {least}, got {value!r}")
    return parts


def check_interval(name, argument, interval):
    """Raise an error unless `interval` is (least, greatest) with 0 <= least <= greatest."""
    if np.shape(interval) != (2,) or not 0 <= interval[0] <= interval[1] < np.inf:
        raise ValueError(f"{name}: {argument} must be (least, greatest), neither below 0, got {interval!r}")


def check_rng(name, rng):
    """Raise an error without a generator: a transform with its own fixed seed would do the same to every batch."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"{name}: rng must be a numpy.random.Generator, got {type(rng).__name__}")
