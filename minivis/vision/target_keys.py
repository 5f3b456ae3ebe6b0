"""The keys of targets and predictions of one image, the same in data sets, losses, metrics and results.

Not here: checks of the arrays (losses/targets.py, metrics/_check.py).
"""

import difflib
import warnings

import numpy as np

__all__ = []

# Keys of a target, for the T objects of an image, and of a prediction, for n detections.
TARGET_KEYS = {
    "labels": "(T,) int, the class of each object",
    "boxes": "(T, 4), normalised cxcywh unless stated otherwise",
    "masks": "(T, H, W) bool",
    "scores": "(n,), the score of each detection",
    "iscrowd": "(T,) bool: True for many objects under one mask, not separated; losses leave them out",
    "area": "(T,) square pixels, from the file: the mask's area, even where only boxes are compared",
    "image_id": "the number of the image in the data set",
    "panoptic": "(H, W) int, the number of each pixel's segment, 0 = void",
    "segments": "a list with a dict for each segment",
}
OF_EACH_OBJECT = ("labels", "boxes", "masks", "scores", "iscrowd", "area")  # the arrays whose first axis is T
# Keys of one segment of a panoptic map.
SEGMENT_KEYS = {
    "id": "its number in the map, above 0",
    "category_id": "its class as a label, 0 to K - 1",
    "isthing": "bool: whether its class is a thing (countable) or stuff",
    "iscrowd": "bool, as in a target",
    "area": "pixels",
    "score": "the score of a predicted segment",
}
OLDER = {"crowd": "iscrowd", "areas": "area"}  # older names in average_precision


def known_keys(what, given, known=None):
    """Check the keys of a target, prediction or segment, and replace older names by the ones above.

    Parameters
    ----------
    what : str
        Caller and argument, for error messages: "SetCriterion: targets".
    given : dict
        A target, a prediction or a segment.
    known : dict, optional
        The known keys; the default is `TARGET_KEYS`.

    Returns
    -------
    dict
        The dict with the names above; `given` itself if nothing changes.

    Raises
    ------
    ValueError
        If a key looks like a misspelling of a known key, or an older name and its new name have different values.

    Warns
    -----
    UserWarning
        If a key is unknown and unlike any known key.

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
            # The text does not name the caller, so that Python shows the warning only once.
            warnings.warn(f"what is known of an image has {key!r}, which nothing reads", stacklevel=1)
        named[name] = value
    return named
