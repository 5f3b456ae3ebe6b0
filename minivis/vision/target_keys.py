"""What the things known of one image are called, in every part of minivis: in data sets, losses, metrics, results.

Not here: what each part does with them, and whether the arrays fit (losses/targets.py, metrics/_check.py).
"""

import difflib
import warnings

import numpy as np

__all__ = []

# Of T objects of an image, a target; and of n detections, a prediction.
TARGET_KEYS = {
    "labels": "(T,) int, the class of each object",
    "boxes": "(T, 4), normalised cxcywh unless it is said otherwise",
    "masks": "(T, H, W) bool",
    "scores": "(n,), how sure a detection is",
    "iscrowd": "(T,) bool: many objects under one mask that nobody told apart; no loss asks for them",
    "area": "(T,) square pixels, as the file has it: of the mask even where only boxes are compared",
    "image_id": "the list's number of the image",
    "panoptic": "(H, W) int, the number of each pixel's segment, 0 = void",
    "segments": "a list of dicts, one a segment",
}
OF_EACH_OBJECT = ("labels", "boxes", "masks", "scores", "iscrowd", "area")  # the arrays whose first axis is T
# Of one segment of a panoptic map.
SEGMENT_KEYS = {
    "id": "its number in the map, above 0",
    "category_id": "its class as a label, 0 to K - 1",
    "isthing": "bool: whether the class is counted one by one",
    "iscrowd": "bool, as in a target",
    "area": "pixels",
    "score": "how sure a found segment is",
}
OLDER = {"crowd": "iscrowd", "areas": "area"}  # what average_precision called them first


def known_keys(what, given, known=None):
    """Return what is known of an image under the names above; tell of a key that nothing reads.

    Parameters
    ----------
    what : str
        Who asks and for what, for the error: "SetCriterion: targets".
    given : dict
        A target, a prediction or a segment.
    known : dict, optional
        The keys there are; `TARGET_KEYS` by default.

    Returns
    -------
    dict
        `given` itself where it needs no change.

    Raises
    ------
    ValueError
        If a key looks like a misspelling of a known one, or a thing is given under two names and differs.

    Warns
    -----
    UserWarning
        If a key is like none of the known.

    Examples
    --------
    >>> known_keys("f: targets", {"labels": [0], "is_crowd": [1]})
    Traceback (most recent call last):
    ...
    ValueError: f: targets have 'is_crowd', which nothing reads; did you mean 'iscrowd'?
    """
    known = TARGET_KEYS if known is None else known
    if given.keys() <= known.keys():
        return given
    named = {}
    for key, value in given.items():
        name = OLDER.get(key, key)
        if name != key and name in given and not np.array_equal(value, given[name]):
            raise ValueError(
                f"{what} have {key!r} and {name!r}, which are two names of one thing, and they differ"
            )
        if name not in known:
            near = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=0.8)
            if near:
                raise ValueError(f"{what} have {key!r}, which nothing reads; did you mean {near[0]!r}?")
            # In the same words whoever asks: so Python tells it once.
            warnings.warn(f"what is known of an image has {key!r}, which nothing reads", stacklevel=1)
        named[name] = value
    return named
