"""Models on disk: a folder with the weights (safetensors) and the constructor's arguments (json); models for other classes.

Not here: the state of a training run (train.py), published checkpoints (pretrained/), files that could run code.
"""

import copy
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
from minivis.listed import counted
from minivis.model_notes import NOTES, read_notes, written_notes
from minivis.nn import init

__all__ = ["load", "names", "save", "with_classes"]

WEIGHTS, CONFIG = "model.safetensors", "config.json"
# Names that have changed since version 0.1 wrote its folders. Arguments of a model's constructor: old -> new ...
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

TORCH = (".pth", ".pt", ".ckpt", ".bin", ".pkl")
PACKAGED = Path(__file__).parent / "weights"  # the checkpoints that come with minivis


def save(model, folder, half=False):
    """Save a model in a folder for `load`.

    Parameters
    ----------
    model : Module
        The model. `load` can rebuild the models of `minivis.models`; of other models only the weights are saved.
    folder : str or path
        Created if it does not exist. It then holds ``model.safetensors`` (one array for each entry of
        ``model.state_dict()``, and a checksum) and ``config.json``: the constructor and its arguments, and if the model has
        them ``labels`` (the classes' names), ``things``, ``preprocess`` (the preparation of photos, a
        `minivis.pretrained.Preprocess`) and ``published``, as `minivis.from_pretrained` and `with_classes` set them.
    half : bool, default False
        Store float32 as float16: half the size, three significant digits.

    Raises
    ------
    TypeError
        If `model` is not a Module, or is one of `minivis.models` and was made with an argument that json cannot hold.
    OSError
        If the folder cannot be made or written, or the disk is full. Then earlier files are unchanged.
    ValueError
        If `half` is True and a weight is too large for float16 (65504).

    Warns
    -----
    UserWarning
        If `load` would not give the same model back. It says what would be lost: a layer that was replaced, a dtype, an
        attribute that was added, or labels that do not fit.

    Notes
    -----
    Both files are written beside the old ones and replace them only when they are complete. If the model was changed
    after it was made, ``config.json`` says so. `load` then refuses to rebuild it and names the change. Names in
    ``config.json`` may be edited by hand.

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
    notes, unwritten = written_notes(model)
    for reason in [*lost, *unwritten]:
        warnings.warn(
            f"save: mv.load({str(folder)!r}) will not give the same model back: {reason}", stacklevel=2
        )
    said = json.dumps(config, sort_keys=True)
    folder = make_folder(folder)
    write_files(
        {folder / WEIGHTS: pack_arrays(arrays, config=said), folder / CONFIG: pack_json({**config, **notes})},
    )


def load(source, into=None):
    """Load a saved model, ready to predict (in eval mode, on the CPU).

    Parameters
    ----------
    source : str or path
        A folder that `save` wrote, or the name of a checkpoint that comes with minivis (see `names`). If both exist,
        the folder is used.
    into : Module, optional
        Load the weights into this model. Needed for models that are not in `minivis.models`.

    Returns
    -------
    Module
        `into`, or a new model. Parameters have the model's dtype, even if they were stored in another one. ``labels``,
        ``things``, ``preprocess`` and ``published`` are set as they were when it was saved.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or name, or one of the two files is missing.
    ValueError
        If a file is truncated, damaged or foreign, names a model that is not in `minivis.models`, or the weights do not
        fit. Then `into` is unchanged.

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
        said = json.dumps({key: x for key, x in config.items() if key not in NOTES}, sort_keys=True)
        if notes.get("config") not in (None, said):
            raise ValueError(
                f"load: {folder / CONFIG} does not belong to the {WEIGHTS} beside it: expected {notes['config']}, found "
                f"{said}; save the model again"
            )
        model = _rebuilt(folder / CONFIG, config, arrays.values()) if into is None else into
    except RecursionError as error:
        raise ValueError(f"load: {folder / CONFIG} is nested too deeply to describe a model") from error
    beside = read_notes(config, folder / CONFIG)
    own = {name: x for name, x in [*model.named_parameters(), *model.named_buffers()]}
    # a new model has only placeholders, so it takes the arrays themselves
    model.load_state_dict(check_arrays(folder / WEIGHTS, arrays, own), assign=into is None)
    for name, value in beside.items():
        setattr(model, name, value)
    return model.eval()


def with_classes(model, num_classes=None, rng=None, *, labels=None):
    """Make a model for other classes from a trained one: the weights that depend on the classes are new, the others kept.

    Parameters
    ----------
    model : Module
        One that is made with ``num_classes``. It is not changed, and shares nothing with the new one.
    num_classes : int, optional
        Number of classes. A background, which detectors with regions count as their class 0, is not one of them.
    rng : numpy.random.Generator, int or None
        Draws the new weights, as the model's constructor does. None is seed 0.
    labels : list of str, optional
        Names of the classes, in the order of their numbers.

    Returns
    -------
    Module
        A model of the same kind, dtype, device and mode, with

        - ``new_weights``: the names of the weights that are new, so not trained yet;
        - ``labels``: {number: name}; without `labels` the names are "class 0", "class 1", ...; the background of a detector
          with regions is number 0, so that its classes begin with 1;
        - ``preprocess``: that of `model`, if it has one.

    Raises
    ------
    TypeError
        If `model` is not a Module.
    ValueError
        If the model has no classes of its own, or the number is below 1 or not that of the labels.

    Notes
    -----
    Which weights depend on the classes follows from their shapes: those that another number of classes changes. They are
    new even if the number stays the same, because the classes are others.

    Examples
    --------
    >>> model = with_classes(load("vit-digits"), labels=["cat", "dog"])
    >>> model.new_weights, model.labels
    (['head.weight', 'head.bias'], {0: 'cat', 1: 'dog'})
    """
    _check_model("with_classes", model)
    names = _class_names(model, num_classes, labels)
    background = getattr(model, "background", 0)
    made = _with(model, copy.deepcopy, background + len(names), init.generator(rng))
    with init.skip_init():
        shapes = _shapes(made)
        others = _shapes(_with(made, lambda inner: inner, background + len(names) + 1, None))
    parameters = dict(model.named_parameters())
    old = {name: p.data for name, p in parameters.items()} | dict(model.named_buffers())
    kept = {
        name: old[name]
        for name, shape in shapes.items()
        if name in old and shape == others[name] == tuple(old[name].shape)
    }
    if kept.keys() == shapes.keys():
        raise ValueError(
            f"with_classes: this {type(model).__name__} is a backbone: with other num_classes too it has no head. Put a layer "
            "of your own behind its features"
        )
    like = next(iter(old.values()))
    made.to(like.dtype).to(backend.device_of(like)).load_state_dict(kept, strict=False)
    for name, p in made.named_parameters():
        p.requires_grad = parameters[name].requires_grad if name in kept else True
    made.new_weights = [name for name in shapes if name not in kept]
    made.labels = dict(enumerate([*["background"] * background, *names]))
    if hasattr(model, "preprocess"):
        made.preprocess = model.preprocess
    return made.train(model.training)


def names():
    """The checkpoints that come with minivis. Each is described in ``weights/NAME/card.json``.

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
    """The description for rebuilding a model: its constructor as "file.Name" in minivis.models, and the arguments."""
    home, _, file = type(model).__module__.rpartition(".")
    if home != "minivis.models":
        return {"model": None, "class": type(model).__qualname__}
    arguments = {
        name: describe(value) if hasattr(value, "state_dict") else value
        for name, value in model.config.items()
    }  # an argument may be a model (a backbone), with its own description
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
        whole = f": give the model itself, mv.{name}(model, ...)" if isinstance(model, dict) else ""
        raise TypeError(f"{name}: expected a model (a Module), got {type(model).__name__}{whole}")


def _class_names(model, num_classes, labels):
    """The names of new classes, from their number or a list of them."""
    if "num_classes" not in model.config:
        raise ValueError(
            f"with_classes: {type(model).__name__} is not made with num_classes, so there are no classes to exchange: put a "
            "layer of your own behind its features"
        )
    if labels is None:
        if not hasattr(num_classes, "__index__") or isinstance(num_classes, bool) or num_classes < 1:
            raise ValueError(
                f"with_classes: num_classes must be a whole number of at least 1, got {num_classes!r:.100}; or give labels, "
                "the names of the classes"
            )
        return [f"class {number}" for number in range(num_classes)]
    if isinstance(labels, str) or not all(isinstance(label, str) for label in labels) or not len(labels):
        raise ValueError(f"with_classes: labels must be a list of the classes' names, got {labels!r:.100}")
    if num_classes not in (None, len(labels)):
        raise ValueError(
            f"with_classes: num_classes is {num_classes}, but labels has {counted(len(labels), 'name', 'names')}"
        )
    return list(labels)


def _with(model, inner, num_classes, rng):
    """A model made as another one was, but for its number of classes; ``inner(module)`` is what models inside become."""
    arguments = {
        name: inner(value) if hasattr(value, "state_dict") else value for name, value in model.config.items()
    }
    if "rng" in inspect.signature(type(model)).parameters:
        arguments["rng"] = rng
    return type(model)(**arguments | {"num_classes": num_classes})


def _twin(config):
    """The model that `load` would make from a description, or None; and a list of reasons if there is none."""
    if config["model"] is None:  # the user rebuilds it and knows that
        return None, []
    try:
        with init.skip_init():
            return _build(CONFIG, json.loads(json.dumps(config))), []
    except ValueError as error:
        return None, [f"it cannot be rebuilt ({str(error).removeprefix('load: ')})"]


def _changed(model, twin, name):
    """How a model differs from the one that its constructor makes, as text for the user."""
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
    """The properties of a model that are not saved, one line each."""
    if kinds := {p.dtype.name for p in model.parameters()} - {"float32"}:
        yield f"parameters in {' and '.join(sorted(kinds))} come back as float32"
    beside = [
        name
        for name, value in vars(model).items()
        if name not in vars(twin) and name not in (*NOTES, "new_weights", "training") and name[0] != "_"
        # generators are for training, and the checkpoints of a training keep them
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
    """The folder for a path or a name."""
    folder = as_path(source)
    if folder.suffix.lower() in TORCH:
        raise ValueError(
            f"load: {folder} is a file of PyTorch, which could run code and is not read. Where PyTorch is, write the weights with "
            f"safetensors.torch.save_file(model.state_dict(), {WEIGHTS!r}); mv.from_pretrained(folder) reads published models"
        )
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
    """The model that a config.json describes, with placeholder arrays that may not be larger than those in the file."""
    sizes = [x.size for x in arrays]
    with init.skip_init(), init.at_most(len(sizes), sum(sizes)):
        return _build(path, config)


def _build(path, config):
    """Call the constructor that a config names. Only classes of minivis.models are allowed."""
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
        for key, value in _renamed_arguments(path, name, arguments).items()
    }
    try:
        for key, value in arguments.items():
            _check_argument(found, key, value)
        return found(**arguments)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(f"load: {path}: {name} cannot be made of these arguments: {error}") from error


def _renamed_arguments(path, name, arguments):
    """The arguments of a constructor with their current names (some had other names in version 0.1)."""
    renamed = RENAMED_ARGUMENTS.get(name, {})
    if twice := [old for old in arguments if renamed.get(old) in arguments]:
        raise ValueError(f"load: {path}: {name} is given {renamed[twice[0]]} twice: as {twice[0]} too")
    return {renamed.get(key, key): value for key, value in arguments.items()}


def _class(path, name):
    """The class of a model, from its name "file.Name" in minivis.models."""
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
    """Refuse an argument whose type does not fit the constructor's default."""
    parameter = inspect.signature(found).parameters.get(key)
    default = None if parameter is None or parameter.default is parameter.empty else parameter.default
    single = isinstance(default, float)
    numbers = value if isinstance(value, list) and not single else [value]
    if not single:  # anchors: a list of sizes for each map
        numbers = [n for one in numbers for n in (one if isinstance(one, list) else [one])]
    if key == "backbone" or key.endswith(("encoder", "_decoder")):  # a model inside the model
        fits = hasattr(value, "state_dict") or value is None
    elif isinstance(default, bool | str):
        kinds = (bool, int) if isinstance(default, bool) else (str,)  # ResNet's dilated is False, True or 2
        fits = type(value) in kinds or isinstance(value, str) and default is False
    else:  # a number, or sizes, or None in their place; if the default is None, also a bool or a name
        fits = all(type(n) in (int, float) and math.isfinite(n) for n in numbers)
        fits = fits or value is None and not single or default is None and isinstance(value, bool | str)
    if not fits:
        raise ValueError(f"{key} must be like {default!r}, got {value!r:.100}")


def check_arrays(path, found, expected):
    """Return the arrays of a file in the dtypes that a model expects; an error names what does not fit.

    Parameters
    ----------
    path : path
        The file, for the error.
    found, expected : dict of str to ndarray
        The arrays of the file, and the ``state_dict()`` of the model.
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
    """The arrays of a file with their current names (an earlier version wrote some under other names)."""
    names = {name: name for name in found}
    for old, new in RENAMED_WEIGHTS.items():
        for name in names:
            current = re.sub(old, new, name)
            if name not in expected and current in expected and current not in found:
                names[name] = current
    return {names[name]: x for name, x in found.items()}


def _converted(path, name, x, dtype):
    """Convert an array to the dtype that a model expects; refuse numbers that are too large for it."""
    with np.errstate(over="ignore"):
        y = x.astype(dtype, copy=False)
    if x.dtype.itemsize > dtype.itemsize and not np.array_equal(np.isinf(x), np.isinf(y)):
        raise ValueError(f"load: {path}: {name} holds numbers too large for {dtype.name}")
    return y
