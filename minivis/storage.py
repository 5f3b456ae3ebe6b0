"""Models on disk: a folder with the weights (safetensors) and the arguments that rebuild the model (json).

Not here: the state of a training run (train.py), published checkpoints of others (pretrained/), and any file that could run code.
"""

import difflib
import importlib
import inspect
import json
import math
import operator
import pkgutil
import re
import warnings
from pathlib import Path

import numpy as np

from minivis import backend
from minivis.files import (
    as_path,
    hub_hint,
    make_folder,
    pack_arrays,
    pack_json,
    read_arrays,
    read_json,
    some,
    write_files,
)
from minivis.nn import init

__all__ = ["load", "names", "save"]

WEIGHTS, CONFIG = "model.safetensors", "config.json"
# What has another name than in the folders that version 0.1 wrote. Arguments of a model's constructor: old -> new ...
RENAMED_ARGUMENTS = {
    "detr.DETR": {"encoder_layers": "encoder_depth", "decoder_layers": "decoder_depth"},
    "mask2former.Mask2Former": {"decoder_layers": "decoder_depth", "pixel_layers": "pixel_depth"},
    "resnet.ResNet": {"channels_in": "channels"},
    "swin.Swin": {"in_channels": "channels"},
}
# ... and weights: a pattern of the old name -> the new one.
RENAMED_WEIGHTS = {
    r"(stages\.\d+\.blocks\.\d+\.attn)\.(query|key|value|out)\.": r"\1.attention.\2.",  # Swin's
}

PACKAGED = Path(__file__).parent / "weights"  # the checkpoints that come with minivis


def save(model, folder, half=False):
    """Write a model into a folder, from which `load` brings it back.

    Parameters
    ----------
    model : Module
        What to save. One of `minivis.models` can be rebuilt by `load`; of any other the weights are kept.
    folder : str or path
        Made if it is not there. It then holds ``model.safetensors`` (one array for each entry of
        ``model.state_dict()``, and a checksum) and ``config.json`` (the constructor and its arguments).
    half : bool, default False
        Store float32 as float16: half the size, three significant digits.

    Raises
    ------
    TypeError
        If `model` is no Module, or one of `minivis.models` that was made with an argument which json cannot hold.
    OSError
        If the folder cannot be made or written, or the disk is full. What was there before is then untouched.
    ValueError
        If `half` is asked for and a weight is too large for float16 (65504).

    Warns
    -----
    UserWarning
        If `load` would not give the same model back, and what would be lost: a layer that was replaced, a dtype,
        what `minivis.from_pretrained` put beside the weights (labels, the preparation of photos).

    Notes
    -----
    Both files are written beside the old ones and put in their place only when they are complete. What was changed after
    the model was made is recorded in ``config.json``; `load` then refuses to make the model and says by name what was changed.

    Examples
    --------
    >>> import tempfile
    >>> from minivis import nn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(nn.Linear(3, 2), folder)
    ...     sorted(path.name for path in Path(folder).iterdir())
    ['config.json', 'model.safetensors']
    """
    _check_model("save", model)
    arrays = {name: _stored(name, x, half) for name, x in model.state_dict().items()}
    config = describe(model)
    twin, lost = _twin(config)
    if twin is not None:
        changed = list(_changed(model, twin, config["model"]))
        lost = [*changed, *_beside(model, twin)]
        config |= {"changed": changed} if changed else {}
    for reason in lost:
        warnings.warn(
            f"save: mv.load({str(folder)!r}) will not give the same model back: {reason}", stacklevel=2
        )
    said = json.dumps(config, sort_keys=True)
    folder = make_folder(folder)
    write_files(
        {folder / WEIGHTS: pack_arrays(arrays, config=said), folder / CONFIG: pack_json(config)},
    )


def load(source, into=None):
    """Bring a saved model back, ready to predict (in eval mode, on the CPU).

    Parameters
    ----------
    source : str or path
        A folder that `save` wrote, or the name of a checkpoint that comes with minivis (see `names`). A folder
        that exists comes first.
    into : Module, optional
        Load the weights into this model, which is needed for a model that is not of `minivis.models`.

    Returns
    -------
    Module
        `into`, or a new model. Parameters keep the model's dtype, whatever float they were stored as.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or name, or one of the two files is missing.
    ValueError
        If a file is truncated, damaged or foreign, names a model that is not of `minivis.models`, or the weights do not
        fit. `into` is then unchanged.

    Examples
    --------
    >>> model = load("vit-digits")
    >>> model(np.zeros((1, 1, 8, 8), np.float32)).shape
    (1, 10)
    """
    if into is not None:
        _check_model("load", into)
    folder = _find(source)
    config = read_json(folder / CONFIG)
    arrays, notes = read_arrays(folder / WEIGHTS)
    try:
        said = json.dumps(config, sort_keys=True)
        if notes.get("config") not in (None, said):
            raise ValueError(
                f"load: {folder / CONFIG} does not belong to the {WEIGHTS} beside it: expected {notes['config']}, found "
                f"{said}; save the model again"
            )
        model = _rebuilt(folder / CONFIG, config, arrays.values()) if into is None else into
    except RecursionError as error:
        raise ValueError(f"load: {folder / CONFIG} is nested too deeply to describe a model") from error
    own = {name: x for name, x in [*model.named_parameters(), *model.named_buffers()]}
    # a new model takes the arrays themselves: its own are placeholders
    model.load_state_dict(check_arrays(folder / WEIGHTS, arrays, own), assign=into is None)
    model.eval()
    return model


def names():
    """The checkpoints that come with minivis, each with a card beside it: ``weights/NAME/card.json``.

    Returns
    -------
    list of str
        Names for `load`.

    Examples
    --------
    >>> "vit-digits" in names()
    True
    """
    return sorted(path.parent.name for path in PACKAGED.glob(f"*/{WEIGHTS}"))


def describe(model):
    """What rebuilds a model: its constructor as "file.Name" below minivis.models, and the constructor's arguments."""
    home, _, file = type(model).__module__.rpartition(".")
    if home != "minivis.models":
        return {"model": None, "class": type(model).__qualname__}
    arguments = {
        name: describe(value) if hasattr(value, "state_dict") else value
        for name, value in model.config.items()
    }  # a backbone is an argument too, with arguments of its own
    for name, value in arguments.items():
        try:
            # NumPy's integers, such as labels.max() + 1, are integers too
            arguments[name] = json.loads(json.dumps(value, default=operator.index))
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"save: {type(model).__name__} was made with {name}={value!r:.100}, which {CONFIG} cannot hold ({error}): make it "
                "with plain numbers and texts"
            ) from error
    return {"model": f"{file}.{type(model).__qualname__}", "arguments": arguments}


def _check_model(name, model):
    if not hasattr(model, "state_dict"):
        raise TypeError(f"{name}: expected a model (a Module), got {type(model).__name__}")


def _twin(config):
    """The model that `load` would make of a description, or None, and why there is none, one line each."""
    if config["model"] is None:  # its owner rebuilds it, and knows
        return None, []
    try:
        with init.skip_init():
            return _build(CONFIG, json.loads(json.dumps(config))), []
    except ValueError as error:
        return None, [f"it cannot be rebuilt ({str(error).removeprefix('load: ')})"]


def _changed(model, twin, name):
    """How a model differs from the one that its constructor makes: what has to be done again before its weights fit."""
    own, its = _shapes(model), _shapes(twin)
    if changed := [name for name in {**own, **its} if own.get(name) != its.get(name)]:
        yield (
            f"{some(changed)} are not as {name} makes them with the arguments in {CONFIG}. Was a layer "
            "replaced? Build the model that way again and load into it: mv.load(folder, into=model)"
        )
    elif repr(model) != repr(twin):
        pairs = zip(repr(model).splitlines(), repr(twin).splitlines(), strict=False)
        mine, made = next(((a, b) for a, b in pairs if a != b), (model, twin))
        yield f"{str(mine).strip():.100} will be {str(made).strip():.100} again"


def _beside(model, twin):
    """What of a model is neither in its description nor in its weights, one line each."""
    if kinds := {p.dtype.name for p in model.parameters()} - {"float32"}:
        yield f"parameters in {' and '.join(sorted(kinds))} come back as float32"
    beside = [
        name
        for name, value in vars(model).items()
        if name not in vars(twin) and name != "training" and name[0] != "_"
        # a generator draws during training; checkpoints of a training keep it
        if not isinstance(value, np.random.Generator)
    ]
    if beside:
        yield f"{', '.join(beside)} are not saved; keep what they were made from, or set them again"


def _shapes(model):
    return {name: tuple(x.shape) for name, x in [*model.named_parameters(), *model.named_buffers()]}


def _stored(name, x, half):
    x = backend.to_numpy(x)
    if not half or x.dtype != np.float32:
        return x
    if x.size and np.abs(x).max() > np.finfo(np.float16).max:
        raise ValueError(f"save: {name} is too large for half precision: {np.abs(x).max():.3g} > 65504")
    return x.astype(np.float16)


def _find(source):
    """The folder that a path or a name means."""
    folder = as_path(source)
    if (folder / WEIGHTS).exists() or (folder / CONFIG).exists():
        return folder
    if str(source) in names():
        return PACKAGED / str(source)
    if folder.is_dir():
        others = sorted(path.name for path in folder.glob("*.safetensors"))
        there = f" (there is {some(others)})" if others else ""
        raise FileNotFoundError(
            f"load: {folder} holds no {WEIGHTS}{there}; a training run that did not finish goes on with resume"
        )
    if folder.exists():
        raise FileNotFoundError(f"load: {folder} is a file; give the folder it is in, {folder.parent}")
    near = difflib.get_close_matches(str(source), names(), n=1)
    raise FileNotFoundError(
        f"load: there is no folder {folder}, and no checkpoint of that name comes with minivis"
        + (f"; did you mean {near[0]!r}?" if near else f" (there are: {', '.join(names())})")
        + hub_hint(source)
    )


def _rebuilt(path, config, arrays):
    """The model a config.json describes, with placeholders for its arrays: it may be no larger than those of the file."""
    sizes = [x.size for x in arrays]
    with init.skip_init(), init.at_most(len(sizes), sum(sizes)):
        return _build(path, config)


def _build(path, config):
    """Call the constructor a config names, if it is a class of minivis.models: nothing else can be reached."""
    if config.get("model", "") is None:
        raise ValueError(
            f"load: {path} is of a model that minivis cannot rebuild ({config.get('class')}): make one, and load "
            "into it with mv.load(folder, into=model)"
        )
    if "model_type" in config:
        raise ValueError(
            f"load: {path} is of a published checkpoint: mv.from_pretrained({str(path.parent)!r}) reads it"
        )
    name, arguments = config.get("model"), config.get("arguments")
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise ValueError(
            f'load: {path}: expected {{"model": "file.Name", "arguments": {{...}}}}, found {config!r:.300}'
        )
    if changed := config.get("changed"):
        raise ValueError(
            f"load: {path}: the model was changed after it was made: {changed!r:.500}. Make one, change it the same way, and "
            "load into it with mv.load(folder, into=model)"
        )
    found = _class(path, name)
    arguments = {
        key: _build(path, value) if isinstance(value, dict) and "model" in value else value
        for key, value in _with_names_of_today(path, name, arguments).items()
    }
    try:
        for key, value in arguments.items():
            _check_argument(found, key, value)
        return found(**arguments)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(f"load: {path}: {name} cannot be made of these arguments: {error}") from error


def _with_names_of_today(path, name, arguments):
    """The arguments of a constructor, where version 0.1 wrote some under other names."""
    renamed = RENAMED_ARGUMENTS.get(name, {})
    if twice := [old for old in arguments if renamed.get(old) in arguments]:
        raise ValueError(f"load: {path}: {name} is given {renamed[twice[0]]} twice: as {twice[0]} too")
    return {renamed.get(key, key): value for key, value in arguments.items()}


def _class(path, name):
    """The model class "file.Name" below minivis.models."""
    from minivis import models

    file, _, constructor = name.partition(".")
    if file not in {module.name for module in pkgutil.iter_modules(models.__path__)}:
        raise ValueError(f"load: {path} names {name!r:.100}, which is not in minivis.models")
    home = importlib.import_module(f"minivis.models.{file}")
    found = vars(home).get(constructor)
    if not isinstance(found, type) or found.__module__ != home.__name__ or not hasattr(found, "state_dict"):
        raise ValueError(f"load: {path} names {name!r:.100}, which is no model of minivis.models.{file}")
    return found


def _check_argument(found, key, value):
    """Refuse an argument that is of another kind than the default of the constructor's."""
    parameter = inspect.signature(found).parameters.get(key)
    default = None if parameter is None or parameter.default is parameter.empty else parameter.default
    numbers = value if isinstance(value, list) and not isinstance(default, float) else [value]
    if key == "backbone":
        fits = hasattr(value, "state_dict") or value is None
    elif isinstance(default, bool | str):
        fits = type(value) is type(default) or isinstance(value, str) and default is False
    else:  # a number, or sizes in a list; where the default is None, that or a name too
        fits = all(type(n) in (int, float) and math.isfinite(n) for n in numbers)
        fits = fits or default is None and isinstance(value, bool | str | None)
    if not fits:
        raise ValueError(f"{key} must be like {default!r}, got {value!r:.100}")


def check_arrays(path, found, expected):
    """Return the arrays of a file in the dtypes a model expects; refuse, by name, what does not fit.

    Parameters
    ----------
    path : path
        The file, for the error.
    found, expected : dict of str to ndarray
        What the file holds, and the ``state_dict()`` it is for.
    """
    found = _renamed(found, expected)
    missing, foreign = [n for n in expected if n not in found], [n for n in found if n not in expected]
    if missing or foreign:
        complaints = [
            f"{what} {some(names)}" for what, names in [("lacks", missing), ("also has", foreign)] if names
        ]
        raise ValueError(f"load: {path} is of another model: it {' and '.join(complaints)}")
    for name, wanted in expected.items():
        has = found[name]
        kinds = {found[name].dtype.kind, wanted.dtype.kind}
        if has.shape != tuple(wanted.shape) or len(kinds) > 1:
            raise ValueError(
                f"load: {path}: {name}: expected {wanted.dtype.name} {tuple(wanted.shape)}, "
                f"found {has.dtype.name} {has.shape}"
            )
    return {name: _converted(path, name, found[name], wanted.dtype) for name, wanted in expected.items()}


def _renamed(found, expected):
    """The arrays of a file under the names that a model expects, where an earlier version wrote them under others."""
    names = {name: name for name in found}
    for old, new in RENAMED_WEIGHTS.items():
        for name in names:
            if name not in expected and (today := re.sub(old, new, name)) in expected and today not in found:
                names[name] = today
    return {names[name]: x for name, x in found.items()}


def _converted(path, name, x, dtype):
    """An array in the dtype a model expects, if that can hold its numbers."""
    with np.errstate(over="ignore"):
        y = x.astype(dtype, copy=False)
    if x.dtype.itemsize > dtype.itemsize and not np.array_equal(np.isinf(x), np.isinf(y)):
        raise ValueError(f"load: {path}: {name} holds numbers too large for {dtype.name}")
    return y
