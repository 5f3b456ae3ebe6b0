"""State dicts of PyTorch: weights go to it and come back, by minivis's names or by published ones.

Not here: files (storage.py, hub_layout.py), tables of published names (vit.py, detr.py, ...). PyTorch is imported only where a
tensor of it is made.
"""

import contextlib
from collections.abc import Mapping

import numpy as np

from minivis import backend
from minivis.autograd import Tensor
from minivis.files import FLOATS, Stored, some
from minivis.listed import counted
from minivis.nn import MultiHeadAttention, TransformerDecoderLayer, TransformerEncoderLayer
from minivis.pretrained.family import Part, names_of
from minivis.pretrained.hub_layout import family_of
from minivis.pretrained.packing import disagreements, packed, published_names, unpacked

__all__ = ["from_torch", "to_torch_state"]

# PyTorch's batch norm counts its batches; nothing is lost where one side does not
COUNTER = "num_batches_tracked"
# what wrappers put before every name: DataParallel and DistributedDataParallel, torch.compile
WRAPPERS = ("module.", "_orig_mod.")
KINDS = {dtype.name: kind for kind, dtype in FLOATS.items() if kind != "BF16"}  # NumPy has no bfloat16


def to_torch_state(model, dialect=None):
    """The weights of a model as a state dict for PyTorch: tensors by name.

    Parameters
    ----------
    model : Module
    dialect : str, optional
        Whose names: by default minivis's own. "torch" has those of PyTorch's layers, which differ in attention
        (``in_proj_weight``) and inside its Transformer layers. "hf" has the model hub's; other dialects, such as "timm" or
        "torchvision", depend on the model, and the error for a wrong one lists them.

    Returns
    -------
    dict of str to torch.Tensor
        On the CPU, with the dtypes of the model. They share no memory with it.

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    TypeError
        If `model` is not a Module.
    ValueError
        If the model has no names in this dialect.

    Notes
    -----
    ``torch_model.load_state_dict(mv.to_torch_state(model))`` loads a model that is built alike there. `minivis.export`
    writes a folder that transformers loads by itself.

    Examples
    --------
    >>> from minivis import nn
    >>> to_torch_state(nn.Linear(3, 2), "timm")
    Traceback (most recent call last):
    ValueError: to_torch_state: this Linear has no names in the dialect 'timm'; it has torch
    """
    if not hasattr(model, "state_dict"):
        raise TypeError(f"to_torch_state: expected a model (a Module), got {type(model).__name__}")
    names = _named(model, dialect)
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "to_torch_state: PyTorch is not installed here: pip install torch; or write a file that it reads elsewhere with "
            "mv.export(model, folder) or mv.save(model, folder)"
        ) from error
    own = {name: backend.to_numpy(x) for name, x in model.state_dict().items()}
    return {name: torch.from_numpy(np.array(x, order="C")) for name, x in packed(names, own).items()}


def from_torch(state, into):
    """Load weights of PyTorch into a model of minivis.

    Parameters
    ----------
    state : torch.nn.Module, or dict of str to torch.Tensor
        A model of PyTorch or its ``state_dict()``, on any device; bfloat16 too. The names are minivis's, those of PyTorch's
        layers, or any that `minivis.from_pretrained` reads for this kind of model; which of them is recognised.
    into : Module
        A model of the same sizes. Its weights keep their dtype and device.

    Returns
    -------
    Module
        `into`.

    Raises
    ------
    TypeError
        If `state` is neither, or `into` is not a Module.
    ValueError
        If weights are missing, unexpected, of another shape or too large for the model's dtype; the message names them. Nothing
        was changed.

    Notes
    -----
    The counter ``num_batches_tracked`` of PyTorch's batch norm may be missing or left over. The prefix that
    DataParallel and torch.compile put before every name is taken off.

    A file is read by PyTorch first: ``mv.from_torch(torch.load("model.pth", weights_only=True), model)``.

    Examples
    --------
    >>> from minivis import nn
    >>> layer = from_torch({"weight": np.ones((2, 3)), "bias": np.zeros(2)}, nn.Linear(3, 2))
    >>> layer.weight.numpy().dtype, float(layer.weight.numpy().sum())
    (dtype('float32'), 6.0)
    """
    if not hasattr(into, "load_state_dict") or not hasattr(into, "named_buffers"):
        raise TypeError(f"from_torch: into must be a model (a Module), got {type(into).__name__}")
    found = _without_prefix({name: _array(name, x) for name, x in _state(state).items()})
    stored = {name: Stored(None, x.shape, KINDS.get(x.dtype.name, x.dtype.name)) for name, x in found.items()}
    own = dict([*into.named_parameters(), *into.named_buffers()])
    names, ignored = _recognised(into, stored)
    names = {ours: theirs for ours, theirs in names.items() if not _lacks_a_counter(theirs, stored)}
    problems = disagreements(names, own, stored, ignored)
    if problems:
        said = "; ".join(f"{what} {some(those, 5)}" for what, those in problems.items())
        raise ValueError(f"from_torch: the state does not fit this {type(into).__name__}: {said}")
    arrays = {name: _within_range(name, x, own[name].dtype) for name, x in unpacked(names, found.get)}
    into.load_state_dict(arrays, strict=False)
    return into


def _within_range(name, x, dtype):
    """An array, which must not hold numbers that become infinite in the dtype of the model."""
    if x.dtype.kind == "f" and x.dtype.itemsize > np.dtype(dtype).itemsize:
        if (np.abs(x[np.isfinite(x)]) > np.finfo(dtype).max).any():
            raise ValueError(f"from_torch: {name} holds numbers too large for {np.dtype(dtype).name}")
    return x


def _named(model, dialect):
    """{minivis name: published name, Part, Stack or Transposed} in one dialect."""
    if dialect is None:
        return {name: name for name in names_of(model)}
    known = _dialects(model)
    if dialect not in known:
        raise ValueError(
            f"to_torch_state: this {type(model).__name__} has no names in the dialect {dialect!r:.100}; it has "
            f"{', '.join(known)}"
        )
    return known[dialect]


def _dialects(model):
    """{dialect: names} of all dialects in which every weight of a model has a name."""
    found = {"torch": torch_names(model)}
    family = family_of(model)
    for dialect in family.dialects if family else ():
        with contextlib.suppress(ValueError):  # a part that these models do not have there
            found[dialect] = family.names(model, dialect)
    return found


def torch_names(model):
    """The names of a model's weights where PyTorch's own layers stand in the places of minivis's.

    Parameters
    ----------
    model : Module

    Returns
    -------
    dict of str to str or Part

    Examples
    --------
    >>> names = torch_names(MultiHeadAttention(8, 2))
    >>> names["key.weight"], names["out.bias"]
    (Part(name='in_proj_weight', index=1, count=3), 'out_proj.bias')
    """
    names = {name: name for name in names_of(model)}
    for path, layer in model.named_modules():
        home = f"{path}." if path else ""
        if isinstance(layer, TransformerEncoderLayer | TransformerDecoderLayer):
            moved = (("mlp.fc1.", "linear1."), ("mlp.fc2.", "linear2."), ("cross_attn.", "multihead_attn."))
            names |= {ours: _moved(theirs, home, moved) for ours, theirs in names.items()}
    for path, layer in model.named_modules():
        if type(layer) is MultiHeadAttention:
            names |= _packed_attention(names, f"{path}." if path else "", layer)
    return names


def _moved(name, home, pairs):
    for ours, theirs in pairs:
        if name.startswith(home + ours):
            return home + theirs + name[len(home + ours) :]
    return name


def _packed_attention(names, home, layer):
    """The names of one attention: three projections in one array if they are of one shape, and the last."""
    together = layer.query.weight.shape == layer.key.weight.shape == layer.value.weight.shape
    found = {}
    for i, role in enumerate(("query", "key", "value")):
        for kind in ("weight", "bias"):
            name = f"{home}{role}.{kind}"
            if name in names:
                above = names[name].removesuffix(f"{role}.{kind}")
                alone = kind == "weight" and not together
                found[name] = (
                    f"{above}{role[0]}_proj_weight" if alone else Part(f"{above}in_proj_{kind}", i, 3)
                )
    for kind in ("weight", "bias"):
        if (name := f"{home}out.{kind}") in names:
            found[name] = names[name].removesuffix(f"out.{kind}") + f"out_proj.{kind}"
    return found


def _state(state):
    """The dict of tensors of a state dict or a model."""
    if hasattr(state, "state_dict"):
        state = state.state_dict()
    if not isinstance(state, Mapping):
        file = ": torch.load(path, weights_only=True) reads a file" if isinstance(state, str) else ""
        raise TypeError(
            f"from_torch: expected a model of PyTorch or its state_dict(), got {type(state).__name__}{file}"
        )
    if wrong := [key for key in state if not isinstance(key, str)]:
        raise TypeError(f"from_torch: the names of weights must be texts, got {wrong[0]!r:.100}")
    if inside := [key for key, value in state.items() if isinstance(value, Mapping) and value]:
        raise ValueError(
            f"from_torch: this is a checkpoint with more than weights in it ({some([str(key) for key in state], 5)}): give the "
            f"state dict inside, perhaps state[{inside[0]!r}]"
        )
    return state


def _array(name, x):
    """A tensor as a NumPy array; bfloat16, which NumPy does not have, as float32."""
    if isinstance(x, np.ndarray | Tensor):
        return x.numpy() if isinstance(x, Tensor) else x
    try:
        x = x.detach().cpu()
        return np.asarray((x.float() if str(x.dtype) == "torch.bfloat16" else x).numpy())
    except (AttributeError, TypeError, RuntimeError) as error:
        raise TypeError(
            f"from_torch: {name!s:.100} cannot become an array: it is a {type(x).__name__} ({error!s:.200})"
        ) from error


def _without_prefix(found):
    while prefix := next((p for p in WRAPPERS if found and all(name.startswith(p) for name in found)), None):
        found = {name.removeprefix(prefix): x for name, x in found.items()}
    return found


def _recognised(model, stored):
    """The names of the model's weights in the dialect with the most names in the state; and what may be left over."""
    family = family_of(model)
    counters = rf"(.*\.)?{COUNTER}"
    candidates = [_named(model, None), *_dialects(model).values()]
    best = max(candidates, key=lambda names: sum(name in stored for name in published_names(names)))
    if stored and not any(name in stored for name in published_names(best)):
        raise ValueError(
            f"from_torch: none of the {counted(len(stored), 'name', 'names')} ({some(list(stored))}) is one of this "
            f"{type(model).__name__} ({some(list(published_names(best)))})"
        )
    return best, (counters, *(family.recomputed if family else ()))


def _lacks_a_counter(source, stored):
    return isinstance(source, str) and source.endswith(COUNTER) and source not in stored
