"""What is saved of a model beside its weights: the names of its classes, which are things, how photos are prepared for it.

Not here: the files (storage.py), the preparation itself (data/preprocess.py), finding all this for published models (pretrained/).
"""

import json

from minivis import listed

__all__ = ["NOTES", "read_notes", "written_notes"]

NOTES = ("labels", "things", "preprocess", "published")
MOST_CLASSES = 100_000  # ImageNet-21k has 21,843


def written_notes(model):
    """The notes of a model for a json file, and what of them cannot be written.

    Parameters
    ----------
    model : Module
        Perhaps with ``labels``, ``things``, ``preprocess`` and ``published``, as `minivis.from_pretrained` sets them.

    Returns
    -------
    notes : dict
        Only what the model has.
    lost : list of str
        A reason for each note that is not written.

    Examples
    --------
    >>> from minivis.nn import Linear
    >>> model = Linear(3, 2)
    >>> model.labels = {0: "cat", 1: "dog"}
    >>> written_notes(model)
    ({'labels': ['cat', 'dog']}, [])
    """
    notes = {}
    lost = []
    for name in NOTES:
        value = getattr(model, name, None)
        if value is None:
            continue
        try:
            notes[name] = WRITE[name](value)
        except (TypeError, ValueError) as error:
            lost.append(f"{name} is not saved: {error}")
    K = model.config.get("num_classes")
    for name in ("labels", "things"):
        if K and notes.get(name) and len(notes[name]) != K:
            told = listed.counted(len(notes[name]), "entry", "entries")
            lost.append(f"{name} has {told}, but the model has {listed.counted(K, 'class', 'classes')}")
    return notes, lost


def read_notes(config, path):
    """The notes in a config.json, each checked, as the attributes of a model.

    Parameters
    ----------
    config : dict
        The parsed file.
    path : path
        For error messages.

    Returns
    -------
    dict
        ``labels`` {number: name}, ``things`` a list of bool, ``preprocess`` a Preprocess, ``published`` a dict: those that
        the file has.

    Raises
    ------
    ValueError
        If a note is of the wrong kind.

    Examples
    --------
    >>> read_notes({"labels": ["cat", "dog"], "things": [True, True]}, "config.json")
    {'labels': {0: 'cat', 1: 'dog'}, 'things': [True, True]}
    """
    read = {"labels": _labels, "things": _things, "preprocess": _preprocess, "published": _published}
    return {name: read[name](config[name], path) for name in NOTES if config.get(name) is not None}


def _labels(names, path):
    texts = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not texts or len(names) > MOST_CLASSES:
        raise ValueError(
            f"load: {path}: labels must be a list of the classes' names, got {listed.told(names)}"
        )
    return dict(enumerate(names))


def _things(flags, path):
    told = isinstance(flags, list) and all(isinstance(flag, bool) for flag in flags)
    if not told or len(flags) > MOST_CLASSES:
        raise ValueError(
            f"load: {path}: things must be a list of true and false, one for each class, got {listed.told(flags)}"
        )
    return flags


def _preprocess(settings, path):
    from minivis.data.preprocess import Preprocess  # it brings Pillow, which not every model needs

    return Preprocess.from_settings(settings, path)


def _published(config, path):
    if not isinstance(config, dict):
        raise ValueError(f"load: {path}: published must be an object {{...}}, got {listed.told(config)}")
    return config


def _written_labels(labels):
    """{0: "cat", 1: "dog"}, or a list of the names, as a list."""
    named = labels if isinstance(labels, dict) else dict(enumerate(labels))
    if set(named) != set(range(len(named))):
        raise ValueError(
            f"its classes must be numbered from 0 without gaps, {{0: name, 1: name, ...}}, got {listed.told(labels)}"
        )
    return [str(named[number]) for number in range(len(named))]


def _written_preprocess(preprocess):
    if not hasattr(preprocess, "settings"):
        raise TypeError("it is code; a minivis.pretrained.Preprocess would be saved")
    return preprocess.settings()


def _written_published(config):
    return json.loads(json.dumps(config))


WRITE = {
    "labels": _written_labels,
    "things": lambda things: [bool(thing) for thing in things],
    "preprocess": _written_preprocess,
    "published": _written_published,
}
