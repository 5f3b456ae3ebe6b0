"""The description of a family of published models: how to build a model, its config.json, and the names of its weights.

Not here: reading files (folder.py), preparing images (preprocess.py), the families themselves (vit.py, detr.py, ...).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from minivis.listed import told
from minivis.pairs import pair
from minivis.pretrained.settings import Settings

__all__ = [
    "PublishedFamily",
    "Part",
    "Stack",
    "Transposed",
    "activation_of",
    "described_blocks",
    "hub_activation",
    "labels_of",
    "names_of",
    "sides",
    "translate",
]


class Part(NamedTuple):
    """A minivis array that is one block of rows of a published array, such as the query rows of a packed qkv.

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
    """A minivis array that is several published arrays concatenated along axis 0, such as three projections.

    Attributes
    ----------
    names : tuple of str
        The published names, in the order of the rows.
    """

    names: tuple


class Transposed(NamedTuple):
    """A minivis matrix (out, in) that is published as (in, out), for products x @ W.

    Attributes
    ----------
    name : str
        The published name.
    """

    name: str


def _never(model):
    return False


def _nothing(model):
    return {}


@dataclass(frozen=True)
class PublishedFamily:
    """A family of published models.

    Parameters
    ----------
    model_types : tuple of str
        The values of ``"model_type"`` in config.json, such as ``("vit",)``.
    build : function of (config) -> Module
        Makes the model that a parsed config.json describes. It is called inside `init.skip_init`. A setting that is absent
        has the published default of its model type; a setting that minivis does not support raises a ValueError.
    names : function of (model, dialect) -> dict
        For each name of ``model.state_dict()``, the published name, or a `Part`, `Stack` or `Transposed` of published
        arrays.
    dialects : tuple of str
        The dialects (naming schemes) that `names` knows: first "hf", the hub's, then those of the authors. For a file, the
        dialect with the most matching names is used.
    recomputed : tuple of str
        Regular expressions for whole published names that are not loaded: buffers that minivis computes itself, and weights
        that predictions do not need.
    infer : function of (shapes, config) -> dict or None
        Makes a complete config ("model_type" included) for a file in an authors' dialect, from {published name: shape} and
        an incomplete config.json. It returns None if the names are not of this family. Values that do not follow from
        either come from a table of published sizes, or a ValueError tells the user what to write. Without ``infer``,
        such files cannot be loaded.
    preprocessor : dict
        The preprocessor_config.json of the family's best known checkpoint, for folders without one.
    of : function of (model) -> bool
        Whether a model of minivis is of this family, whatever its sizes. The default is never: of two families with the same
        class of models one is found.
    describe : function of (model) -> dict
        The inverse of `build`: the config.json of a model of this family, without its classes. What it cannot say need not
        be checked here: `minivis.export` compares the model with what `build` makes of it. None: the hub has no such models.
    added : function of (model) -> dict
        {published name: array}: what a published file holds besides the model's own weights.
    """

    model_types: tuple
    build: Callable[[dict], Any]
    names: Callable[[Any, str], dict]
    dialects: tuple = ("hf",)
    recomputed: tuple = ()
    infer: Callable[[dict, dict], dict | None] | None = None
    preprocessor: dict = field(default_factory=dict)
    of: Callable[[Any], bool] = _never
    describe: Callable[[Any], dict] | None = None
    added: Callable[[Any], dict] = _nothing


def names_of(model):
    """Every name of ``model.state_dict()``, without copying arrays."""
    return [name for name, _ in [*model.named_parameters(), *model.named_buffers()]]


def translate(names, rules):
    """Translate minivis names to published names with a table of rules.

    Parameters
    ----------
    names : iterable of str
        Names of the minivis state dict.
    rules : list of (str, str or Part or Stack or Transposed)
        Pairs of a minivis name and a published name. In a minivis name, ``*`` matches any part between two dots; in the
        published name, each ``*`` is replaced by the matched parts in order. The first rule that matches a whole name is
        used.

    Returns
    -------
    dict of str to str, Part, Stack or Transposed

    Raises
    ------
    ValueError
        If no rule matches a name, because the table is incomplete.

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
            if isinstance(theirs, Part | Transposed):
                return theirs._replace(name=_filled(theirs.name, found.groups()))
            if isinstance(theirs, Stack):
                return Stack(tuple(_filled(one, found.groups()) for one in theirs.names))
            return _filled(theirs, found.groups())
    raise ValueError(f"translate: no rule for {name}")


def _filled(published, pieces):
    return published.replace("*", "{}").format(*pieces)


MOST_CLASSES = 100_000  # ImageNet-21k has 21,843


def labels_of(config):
    """The class names in a config.json, {0: "tench", ...}; LABEL_0, LABEL_1, ... if it has only the number of classes.

    Parameters
    ----------
    config : dict
        It has ``id2label``, or ``num_labels``, or neither (then there are 2 classes, as in transformers).

    Returns
    -------
    dict of int to str

    Raises
    ------
    ValueError
        If the classes are not numbered 0, 1, 2, ... like the model's outputs.

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


# transformers' name of an activation -> minivis's name
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_fast": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}


def activation_of(config, key="hidden_act", default="gelu"):
    """The activation in a config.json, by its name in `minivis.nn`.

    Parameters
    ----------
    config : dict
        A parsed config.json.
    key, default : str
        Key of the activation, and its value if the key is absent.

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


def hub_activation(name):
    """transformers' name of an activation of `minivis.nn`: the inverse of `activation_of`.

    Parameters
    ----------
    name : str

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If transformers' vision models have no such activation.

    Examples
    --------
    >>> hub_activation("gelu_tanh")
    'gelu_new'
    """
    if name not in HUB_ACTIVATIONS:
        raise ValueError(f"activation: the hub has one of {', '.join(sorted(HUB_ACTIVATIONS))}, got {name!r}")
    return HUB_ACTIVATIONS[name]


def described_blocks(given):
    """The sizes of an encoder's blocks, in the words of a config.json.

    Parameters
    ----------
    given : dict
        The arguments of the encoder's constructor.

    Returns
    -------
    dict
    """
    return {
        "hidden_size": given["width"],
        "num_hidden_layers": given["depth"],
        "num_attention_heads": given["heads"],
        "intermediate_size": round(given["width"] * given["mlp_ratio"]),
        "hidden_act": hub_activation(given["activation"]),
        "layer_norm_eps": given["eps"],
    }


HUB_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_tanh": "gelu_new",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "silu": "silu",
}


def sides(size):
    """A side or two, as config.json has them: one number for a square.

    Parameters
    ----------
    size : int or (int, int)

    Returns
    -------
    int or list of int

    Examples
    --------
    >>> sides((8, 8)), sides((8, 12))
    (8, [8, 12])
    """
    height, width = pair(size)
    return int(height) if height == width else [int(height), int(width)]
