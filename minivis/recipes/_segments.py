"""Shared by the recipes and the chapter of Segmenter: IoU by the size of things, errors by the distance from a border, what
patches on small and on large things attend to.

Not here: the mean IoU (_shapes.py), the attention's distances and areas (analysis/).
"""

import numpy as np

from minivis.analysis import attended_area, mean_of_groups, query_distances
from minivis.autograd import no_grad
from minivis.data import DataLoader
from minivis.nn import looking
from minivis.recipes import _shapes

__all__ = ["LARGE", "SMALL", "attended", "border_errors", "iou_by_size"]

# a third of the things of the scenes have at most so many visible pixels, another third at least so many
SMALL, LARGE = 80, 190
DISTANCES = (1, 2, 3, 4, 6, 8, 12)  # pixels: the first entries of the steps of `border_errors`


def _distances_to(mask):
    from scipy.ndimage import distance_transform_edt

    return distance_transform_edt(~mask)


def iou_by_size(named, scene, kind=None):
    """Common and united pixels of small and of large things with what a model named.

    Pixels that the model gives to a class belong to the nearest thing of that class.

    Parameters
    ----------
    named : ndarray of int, shape (H, W)
        The class of each pixel, as the model has it.
    scene : Scene
        The truth.
    kind : callable, optional
        From a thing's label to the class that the model has for it; default: the label itself.

    Returns
    -------
    ndarray of int, shape (2, 2)
        Rows for small and large things; columns for common and united pixels, summed over the things.
    """
    counted = np.zeros((2, 2), np.int64)
    classes = np.array([label if kind is None else kind(label) for label in scene.labels])
    away = np.stack([_distances_to(mask) for mask in scene.masks])
    for thing, (mask, own) in enumerate(zip(scene.masks, classes, strict=True)):
        pixels = mask.sum()
        if SMALL < pixels < LARGE:
            continue
        alike = np.where((classes == own)[:, None, None], away, np.inf)
        found = (named == own) & (alike.argmin(axis=0) == thing)
        counted[int(pixels >= LARGE)] += (found & mask).sum(), (found | mask).sum()
    return counted


def border_errors(model, count=None, split="held-out", seed=None):
    """The share of wrong pixels by their distance from the nearest pixel of another segment.

    Parameters
    ----------
    model : Module
        Images to logits (B, 9, H, W).
    count, split, seed
        As for `_shapes.fresh_scenes`.

    Returns
    -------
    dict
        ``distance``: where each step begins, in pixels; ``error``: the share of wrong pixels in it; ``pixels``: the share of
        all pixels that lie in it.
    """
    wrong = np.zeros(len(DISTANCES))
    there = np.zeros(len(DISTANCES))
    for images, classes, away in DataLoader(
        _shapes.fresh_scenes(count, seed, split, sample=_with_distances), 50
    ):
        with no_grad():
            errors = model(images).numpy().argmax(axis=1) != classes
        step = np.searchsorted(DISTANCES, away, side="right") - 1
        there += np.bincount(step.ravel(), minlength=len(DISTANCES))
        wrong += np.bincount(step[errors], minlength=len(DISTANCES))
    rate = wrong / np.maximum(there, 1)
    return {"distance": list(DISTANCES), "error": rate.tolist(), "pixels": (there / there.sum()).tolist()}


def _with_distances(scene):
    away = np.zeros(scene.panoptic.shape, np.float32)
    for segment in np.unique(scene.panoptic):
        mask = scene.panoptic == segment
        away[mask] = _distances_to(~mask)[mask] if not mask.all() else np.float32(1e3)
    return scene.image, scene.semantic, away


def attended(model, count=100, split="held-out", share=0.9):
    """How far, and over what share of the image, the patches of the encoder attend: by layer and head, and for patches on small
    and on large things.

    Parameters
    ----------
    model : Segmenter
        Its encoder has no class token.
    count : int, default 100
        How many scenes.
    split : str
        Of the scenes.
    share : float, default 0.9
        As for `attended_area`.

    Returns
    -------
    dict of str to ndarray
        ``distance`` in pixels and ``area``, a share of the image, each of shape (3, L, h): for all patches, for those on
        small things, and for those on large ones.
    """
    found = {"distance": [], "area": []}
    groups = []
    for images, of_patches in DataLoader(
        _shapes.fresh_scenes(count, split=split, sample=lambda scene: _with_groups(scene, model.patch_size)),
        10,
    ):
        with no_grad(), looking(model.encoder) as seen:
            model.encoder.features(images)
        weights = [seen[f"blocks.{i}.attn.weights"] for i in range(len(model.encoder.blocks))]
        grid = tuple(int(n) for n in seen["grid"])
        found["distance"].append([query_distances(w, model.patch_size, grid) for w in weights])
        found["area"].append([attended_area(w, share) for w in weights])
        groups.append(of_patches)
    groups = np.concatenate(groups)
    result = {}
    for name, batches in found.items():
        layers = [np.concatenate(parts) for parts in zip(*batches, strict=True)]  # L x (B, h, N)
        whole = [mean_of_groups(x, np.zeros_like(groups), 1) for x in layers]
        parts = [mean_of_groups(x, groups, 2) for x in layers]
        result[name] = np.concatenate([np.stack(whole, axis=1), np.stack(parts, axis=1)])
    return result


def _with_groups(scene, patch_size):
    """The image, and for each patch 0 if most of it is a small thing, 1 if it is a large one, -1 otherwise."""
    p, q = patch_size
    H, W = scene.semantic.shape
    parts = scene.masks.reshape(-1, H // p, p, W // q, q)
    shares = parts.mean(axis=(2, 4))  # (n, rows, columns)
    pixels = scene.masks.sum(axis=(1, 2))
    thing = shares.argmax(axis=0)
    group = np.where(pixels <= SMALL, 0, np.where(pixels >= LARGE, 1, -1))[thing]
    return scene.image, np.where(shares.max(axis=0) > 0.5, group, -1).reshape(-1)
