"""Models on disk: a folder with the weights (safetensors) and the arguments that rebuild the model (json).

Not here: the state of a training run (train.py), published checkpoints of others (pretrained/), and any file that could run code.
"""

import contextlib
import difflib
import importlib
import json
import os
import pkgutil
from pathlib import Path

import numpy as np

from minivis import backend

__all__ = ["load", "names", "save"]

WEIGHTS, CONFIG = "model.safetensors", "config.json"
PACKAGED = Path(__file__).parent / "weights"  # the checkpoints that come with minivis


def save(model, folder, half=False):
    """Write a model into a folder, from which `load` brings it back.

    Parameters
    ----------
    model : Module
        What to save. One of `minivis.models` can be rebuilt by `load`; of any other the weights are kept.
    folder : str or path
        Made if it is not there. It then holds ``model.safetensors`` (one array for each entry of
        ``model.state_dict()``) and ``config.json`` (the constructor and its arguments).
    half : bool, default False
        Store float32 as float16: half the size, three significant digits.

    Raises
    ------
    TypeError
        If `model` is no Module.
    OSError
        If the folder cannot be made or written, or the disk is full. What was there before is then untouched.
    ValueError
        If `half` is asked for and a weight is too large for float16 (65504).

    Notes
    -----
    Both files are written beside the old ones and put in their place only when they are complete.

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
    folder = make_folder(folder)
    write_files(
        {
            folder / WEIGHTS: pack_arrays(arrays, config=json.dumps(config, sort_keys=True)),
            folder / CONFIG: pack_json(config),
        }
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
        If a file is truncated or foreign, names a model that is not of `minivis.models`, or the weights do not fit.
        `into` is then unchanged.

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
    if notes.get("config") not in (None, json.dumps(config, sort_keys=True)):
        raise ValueError(
            f"load: {folder / CONFIG} does not belong to the {WEIGHTS} beside it: expected "
            f"{notes['config']}, found {json.dumps(config, sort_keys=True)}; save the model again"
        )
    model = _build(folder / CONFIG, config) if into is None else into
    model.load_state_dict(check_arrays(folder / WEIGHTS, arrays, model.state_dict()))
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
    return {"model": f"{file}.{type(model).__qualname__}", "arguments": arguments}


def _check_model(name, model):
    if not hasattr(model, "state_dict"):
        raise TypeError(f"{name}: expected a model (a Module), got {type(model).__name__}")


def _stored(name, x, half):
    x = backend.to_numpy(x)
    if not half or x.dtype != np.float32:
        return x
    if x.size and np.abs(x).max() > np.finfo(np.float16).max:
        raise ValueError(f"save: {name} is too large for half precision: {np.abs(x).max():.3g} > 65504")
    return x.astype(np.float16)


def _find(source):
    """The folder that a path or a name means."""
    folder = Path(source)
    if (folder / WEIGHTS).exists() or (folder / CONFIG).exists():
        return folder
    if str(source) in names():
        return PACKAGED / str(source)
    if folder.is_dir():
        raise FileNotFoundError(
            f"load: {folder} holds no {WEIGHTS}; a training run that did not finish goes on with resume"
        )
    if folder.exists():
        raise FileNotFoundError(f"load: {folder} is a file; give the folder it is in, {folder.parent}")
    near = difflib.get_close_matches(str(source), names(), n=1)
    raise FileNotFoundError(
        f"load: there is no folder {folder}, and no checkpoint of that name comes with minivis"
        + (f"; did you mean {near[0]!r}?" if near else f" (there are: {', '.join(names())})")
    )


def _build(path, config):
    """Call the constructor a config names, if it is a class of minivis.models: nothing else can be reached."""
    if config.get("model", "") is None:
        raise ValueError(
            f"load: {path} is of a model that minivis cannot rebuild ({config.get('class')}): make one, and load "
            "into it with mv.load(folder, into=model)"
        )
    name, arguments = config.get("model"), config.get("arguments")
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise ValueError(
            f'load: {path}: expected {{"model": "file.Name", "arguments": {{...}}}}, found {config}'
        )
    from minivis import models

    file, _, constructor = name.partition(".")
    if file not in {module.name for module in pkgutil.iter_modules(models.__path__)}:
        raise ValueError(f"load: {path} names {name!r}, which is not in minivis.models")
    home = importlib.import_module(f"minivis.models.{file}")
    found = vars(home).get(constructor)
    if not isinstance(found, type) or found.__module__ != home.__name__ or not hasattr(found, "state_dict"):
        raise ValueError(f"load: {path} names {name!r}, which is no model of minivis.models.{file}")
    arguments = {
        key: _build(path, value) if isinstance(value, dict) and "model" in value else value
        for key, value in arguments.items()
    }
    try:
        return found(**arguments)
    except (TypeError, ValueError, MemoryError) as error:
        raise ValueError(f"load: {path}: {name} cannot be made of these arguments: {error}") from error


def check_arrays(path, found, expected):
    """Return the arrays of a file in the dtypes a model expects; refuse, by name, what does not fit.

    Parameters
    ----------
    path : path
        The file, for the error.
    found, expected : dict of str to ndarray
        What the file holds, and the ``state_dict()`` it is for.
    """
    missing, foreign = [n for n in expected if n not in found], [n for n in found if n not in expected]
    if missing or foreign:
        complaints = [
            f"{what} {_some(names)}" for what, names in [("lacks", missing), ("also has", foreign)] if names
        ]
        raise ValueError(f"load: {path} is of another model: it {' and '.join(complaints)}")
    for name, wanted in expected.items():
        has, kinds = found[name], {found[name].dtype.kind, wanted.dtype.kind}
        if has.shape != tuple(wanted.shape) or len(kinds) > 1:
            raise ValueError(
                f"load: {path}: {name}: expected {wanted.dtype.name} {tuple(wanted.shape)}, "
                f"found {has.dtype.name} {has.shape}"
            )
    return {name: found[name].astype(wanted.dtype, copy=False) for name, wanted in expected.items()}


def _some(names):
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def make_folder(folder):
    """Make a folder if need be, and find out now, not after an hour of training, whether it can be written to."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe.{os.getpid()}.tmp"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _named(error, f"save: cannot write to the folder {folder}: {error.strerror}") from error
    return folder


def write_files(contents):
    """Write several files so that a reader, or a crash, finds each either old or complete, never half-written.

    Parameters
    ----------
    contents : dict of path to bytes
        The files, all in folders that exist. No file is replaced before all of them are on the disk.

    Raises
    ------
    OSError
        Of the kind that arose, with the path and whether the old files are untouched. No temporary file is left.
    """
    temporary = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in contents}
    replaced = []
    try:
        for path, content in contents.items():
            with open(temporary[path], "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # on the disk before the name points to it
        for path in contents:
            os.replace(temporary[path], path)
            replaced.append(path.name)
    except OSError as error:
        before = (
            f"{', '.join(replaced)} is new already: save again" if replaced else "what was there is untouched"
        )
        raise _named(error, f"save: cannot write {path}: {error.strerror}; {before}") from error
    finally:
        for left in temporary.values():
            with contextlib.suppress(OSError):
                left.unlink()


def _named(error, message):
    """An OSError of the same kind and number whose message is ours."""
    named = type(error)(message)
    named.errno = error.errno
    return named


def pack_arrays(arrays, **notes):
    """The bytes of a safetensors file that holds arrays, and texts by name in its header."""
    from safetensors.numpy import save as pack

    # safetensors writes the memory of an array as it lies: transposed views must be laid out first
    return pack(
        {name: np.asarray(backend.to_numpy(x), order="C") for name, x in arrays.items()}, metadata=notes
    )


def read_arrays(path):
    """Return (arrays, notes) of a safetensors file; a missing, truncated or foreign file is refused by its path."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"load: {path} is missing")
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except (
        SafetensorError,
        TypeError,
        AttributeError,
    ) as error:  # the latter two: a dtype NumPy does not have
        size = Path(path).stat().st_size
        raise ValueError(
            f"load: {path}: expected a safetensors file, found {size} bytes that are none ({error})"
        ) from error


def pack_json(content):
    """The bytes of a json file, indented for people."""
    return (json.dumps(content, indent=2) + "\n").encode()


def read_json(path):
    """Return the dict in a json file; a missing, truncated or foreign file is refused by its path."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"load: {path} is missing")
    try:
        content = json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError) as error:  # the latter: thousands of brackets
        raise ValueError(f"load: {path}: expected json, found something else ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"load: {path}: expected a json object, found {type(content).__name__}")
    return content
