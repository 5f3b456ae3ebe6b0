"""The same weights under two sets of names: minivis's, and published ones, by which arrays may be joined, cut or transposed.

Not here: the names themselves (vit.py, detr.py, ...), reading files (folder.py), writing them (hub_layout.py).
"""

import re

import numpy as np

from minivis.files import FLOATS
from minivis.pretrained.family import Part, Stack, Transposed

__all__ = ["disagreements", "packed", "published_names", "recomputed", "sources", "unpacked"]


def published_names(names):
    """Every published name in a mapping, each once, in order.

    Parameters
    ----------
    names : dict of str to str, Part, Stack or Transposed
        As ``PublishedFamily.names`` returns it.

    Returns
    -------
    dict of str to None

    Examples
    --------
    >>> list(published_names({"query": Part("qkv", 0, 2), "key": Part("qkv", 1, 2), "out": "proj"}))
    ['qkv', 'proj']
    """
    return dict.fromkeys(name for source in names.values() for name in sources(source))


def unpacked(names, read):
    """Yield (minivis name, array) of published arrays. Each is read once.

    Parameters
    ----------
    names : dict of str to str, Part, Stack or Transposed
        As ``PublishedFamily.names`` returns it.
    read : function of (published name) -> ndarray
        Reads one array.

    Yields
    ------
    (str, ndarray)
        Blocks of a joined array share its memory.

    Examples
    --------
    >>> names = {"query": Part("qkv", 0, 2), "key": Part("qkv", 1, 2)}
    >>> dict(unpacked(names, {"qkv": np.arange(4)}.get))
    {'query': array([0, 1]), 'key': array([2, 3])}
    """
    joined = {}
    for name, source in names.items():
        if isinstance(source, Part):
            if source.name not in joined:
                joined[source.name] = read(source.name)
            yield name, np.split(joined[source.name], source.count)[source.index]
        elif isinstance(source, Transposed):
            yield name, read(source.name).T
        elif isinstance(source, Stack):
            yield name, np.concatenate([read(part) for part in source.names])
        else:
            yield name, read(source)


def packed(names, arrays):
    """The published arrays of a model: the inverse of `unpacked`.

    Parameters
    ----------
    names : dict of str to str, Part, Stack or Transposed
        As ``PublishedFamily.names`` returns it.
    arrays : dict of str to ndarray
        By minivis's names.

    Returns
    -------
    dict of str to ndarray

    Examples
    --------
    >>> names = {"query": Part("qkv", 0, 2), "key": Part("qkv", 1, 2)}
    >>> packed(names, {"query": np.array([0, 1]), "key": np.array([2, 3])})
    {'qkv': array([0, 1, 2, 3])}
    """
    found = dict.fromkeys(published_names(names))
    blocks = {}
    for name, source in names.items():
        if isinstance(source, Part):
            blocks.setdefault(source.name, {})[source.index] = arrays[name]
        elif isinstance(source, Transposed):
            found[source.name] = arrays[name].T
        elif isinstance(source, Stack):
            found |= dict(zip(source.names, np.split(arrays[name], len(source.names)), strict=True))
        else:
            found[source] = arrays[name]
    for name, rows in blocks.items():
        found[name] = np.concatenate([rows[index] for index in range(len(rows))])
    return found


def disagreements(names, shapes, stored, ignored=()):
    """What is wrong with published arrays, for an error message: missing, unexpected, or of another shape or kind.

    Parameters
    ----------
    names : dict of str to str, Part, Stack or Transposed
        The published names of the model's arrays.
    shapes : dict of str to ndarray
        The model's own arrays, by minivis's names.
    stored : dict of str to Stored
        The published arrays that there are.
    ignored : sequence of str
        Regular expressions for published names that may be there as well.

    Returns
    -------
    dict of str to list of str
        The complaint and the names it is about; only those with names.
    """
    published = published_names(names)
    problems = {
        "it lacks": [n for n in published if n not in stored],
        "it also has": [n for n in stored if n not in published and not recomputed(n, ignored)],
        "of another shape than expected are": [],
        "not stored as float16, bfloat16, float32 or float64 are": [],
    }
    for name, source in names.items():
        shape = _expected(tuple(shapes[name].shape), source)
        floating = shapes[name].dtype.kind == "f"
        for part in (part for part in sources(source) if part in stored):
            _, found, kind = stored[part]
            if found != shape:
                problems["of another shape than expected are"].append(f"{part} ({found}, not {shape})")
            elif floating and kind not in FLOATS:
                problems["not stored as float16, bfloat16, float32 or float64 are"].append(f"{part} ({kind})")
    return {what: list(dict.fromkeys(said)) for what, said in problems.items() if said}


def recomputed(name, patterns):
    """Whether one of the regular expressions matches a whole published name."""
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def sources(source):
    """The published names of one minivis array, as a tuple."""
    if isinstance(source, Part | Transposed):
        return (source.name,)
    return source.names if isinstance(source, Stack) else (source,)


def _expected(shape, source):
    """The shape of a published array, from the shape of the minivis array."""
    if isinstance(source, Part):
        return (shape[0] * source.count, *shape[1:])
    if isinstance(source, Stack):
        return (shape[0] // len(source.names), *shape[1:])
    return shape[::-1] if isinstance(source, Transposed) else shape
