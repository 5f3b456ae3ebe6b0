"""What minivis must know of a family of published models: how to build one, and what its weights are called elsewhere.

Not here: reading files (folder.py), preparing images (preprocess.py), the families themselves (vit.py, detr.py, ...).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from minivis.listed import told
from minivis.pretrained.settings import Settings

__all__ = ["PublishedFamily", "Part", "Stack", "activation_of", "labels_of", "names_of", "translate"]


class Part(NamedTuple):
    """Our array is one of several equal blocks, one under another, of a published one: the query rows of a packed qkv.

    Attributes
    ----------
    name : str
        The published name.
    index, count : int
        Block `index` of `count` along axis 0.
    """

    name: str
    index: int
    count: int


class Stack(NamedTuple):
    """Our array is several published ones, one under another along axis 0: a packed qkv of three projections.

    Attributes
    ----------
    names : tuple of str
        The published names, first rows first.
    """

    names: tuple


@dataclass(frozen=True)
class PublishedFamily:
    """A family of published models.

    Parameters
    ----------
    model_types : tuple of str
        What ``"model_type"`` in config.json says of it, such as ``("vit",)``.
    build : function of (config) -> Module
        Makes the model a parsed config.json describes. It is called under `init.skip_init`. Settings that a config does not
        have take the published default of its model type; one that minivis cannot honour is refused with a ValueError.
    names : function of (model, dialect) -> dict
        For each name of ``model.state_dict()``, the published name, or a `Part` or `Stack` of published arrays.
    dialects : tuple of str
        What `names` takes: "hf" (the hub's) first, then those of the authors. That of a file is the one which fits best.
    recomputed : tuple of str
        Regular expressions of whole published names that are not loaded: buffers that minivis computes itself, and weights
        that no prediction asks for.
    infer : function of (shapes, config) -> dict or None
        From {published name: shape} of a file in an authors' dialect, and the little its config.json says, what a whole one
        would say ("model_type" included); None if the names are not of this family. What neither tells is taken from a table
        of published sizes, or refused with a ValueError that says what to write. Left out, such a file is refused.
    preprocessor : dict
        What preprocessor_config.json says of the family's best known checkpoint, for folders that lack it.
    """

    model_types: tuple
    build: Callable[[dict], Any]
    names: Callable[[Any, str], dict]
    dialects: tuple = ("hf",)
    recomputed: tuple = ()
    infer: Callable[[dict, dict], dict | None] | None = None
    preprocessor: dict = field(default_factory=dict)


def names_of(model):
    """Every name of ``model.state_dict()``, without copying a single array."""
    return [name for name, _ in [*model.named_parameters(), *model.named_buffers()]]


def translate(names, rules):
    """Turn our names into published ones by a table that a reader can check line by line.

    Parameters
    ----------
    names : iterable of str
        Names of our state dict.
    rules : list of (str, str or Part or Stack)
        Our name and the published one. A ``*`` is any part of a name between two dots; those of the published name take over
        those of ours, in the order they stand. The first rule that fits a whole name is taken.

    Returns
    -------
    dict of str to str, Part or Stack

    Raises
    ------
    ValueError
        If no rule fits a name: the table is incomplete.

    Examples
    --------
    >>> translate(["blocks.3.attn.key.bias"], [("blocks.*.attn.key.*", Part("layers.*.qkv.*", 1, 3))])
    {'blocks.3.attn.key.bias': Part(name='layers.3.qkv.bias', index=1, count=3)}
    """
    rules = [(re.compile(re.escape(ours).replace(r"\*", r"([^.]+)")), theirs) for ours, theirs in rules]
    return {name: _translated(name, rules) for name in names}


def _translated(name, rules):
    for pattern, theirs in rules:
        if found := pattern.fullmatch(name):
            if isinstance(theirs, Part):
                return theirs._replace(name=_filled(theirs.name, found.groups()))
            if isinstance(theirs, Stack):
                return Stack(tuple(_filled(one, found.groups()) for one in theirs.names))
            return _filled(theirs, found.groups())
    raise ValueError(f"translate: no rule for {name}")


def _filled(published, pieces):
    return published.replace("*", "{}").format(*pieces)


MOST_CLASSES = 100_000  # ImageNet-21k has 21,843


def labels_of(config):
    """The classes a config.json names, {0: "tench", ...}; LABEL_0, LABEL_1, ... where it has only their number.

    Parameters
    ----------
    config : dict
        With ``id2label``, or ``num_labels``, or neither (2 classes, as transformers has it).

    Returns
    -------
    dict of int to str

    Raises
    ------
    ValueError
        If the classes are not numbered 0, 1, 2, ... as a model's outputs are.

    Examples
    --------
    >>> labels_of({"id2label": {"0": "cat", "1": "dog"}}), labels_of({"num_labels": 1})
    ({0: 'cat', 1: 'dog'}, {0: 'LABEL_0'})
    """
    named = Settings("labels", config).part("id2label")
    if named is None:
        count = Settings("labels", config).whole("num_labels", 2, 0, MOST_CLASSES)
        return {number: f"LABEL_{number}" for number in range(count)}
    names = named.values
    if len(names) > MOST_CLASSES or set(names) != {str(number) for number in range(len(names))}:
        first = ", ".join(list(names)[:3])
        raise ValueError(
            f"labels: id2label numbers its {len(names)} classes {first:.60}, ...; a model's outputs are counted from 0 "
            f"without gaps: write 0 to {len(names) - 1}, and be sure which output is which class"
        )
    if wrong := [name for name in names.values() if not isinstance(name, str | int | float | None)]:
        raise ValueError(f"labels: a name in id2label is {told(wrong[0])}, not a text")
    return {n: f"LABEL_{n}" if names[str(n)] is None else str(names[str(n)]) for n in range(len(names))}


# transformers' name of an activation -> ours
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}


def activation_of(config, key="hidden_act", default="gelu"):
    """The activation a config.json names, by the name it has in `minivis.nn`.

    Parameters
    ----------
    config : dict
        A parsed config.json.
    key, default : str
        Where it stands, and what it is when it does not.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If minivis has no such activation.

    Examples
    --------
    >>> activation_of({"hidden_act": "gelu_new"})
    'gelu_tanh'
    """
    name = Settings("activation", config).text(key, default)
    if name not in ACTIVATIONS:
        raise ValueError(f"activation: {key} must be one of {', '.join(ACTIVATIONS)}, found {told(name)}")
    return ACTIVATIONS[name]
