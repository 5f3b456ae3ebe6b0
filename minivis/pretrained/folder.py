"""Load a published folder as a model: find the files, recognise the family and the dialect, load the weights.

Not here: the families (vit.py, detr.py, ...), the preprocessing of photos (preprocess.py), downloads.
"""

import contextlib
import functools
import importlib
import logging
import math
import pkgutil
import re
from pathlib import Path

import numpy as np

from minivis import files
from minivis.files import FLOATS, as_path, hub_hint, read_array, some, stored_arrays
from minivis.foreign_words import explained
from minivis.nn import init
from minivis.pretrained.family import labels_of
from minivis.pretrained.foreign import INDEX, WEIGHTS, refuse_foreign, refuse_without_weights
from minivis.pretrained.packing import disagreements, published_names, unpacked
from minivis.pretrained.postprocess import things_for
from minivis.pretrained.preprocess import preprocess_of
from minivis.storage import with_classes

__all__ = ["from_pretrained", "model_types"]

WHO = "from_pretrained"  # every error message begins with this name
CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"


@explained
def from_pretrained(folder, dtype=None, device=None, num_classes=None, labels=None, things=None):
    """Load a published checkpoint: a folder from the model hub becomes a model that is ready to predict.

    Parameters
    ----------
    folder : str or path
        It contains ``model.safetensors`` (or its shards and ``model.safetensors.index.json``), ``config.json`` and
        ``preprocessor_config.json``. The weights may have the hub's names or those of the authors' own code; the function
        recognises them. With the authors' names config.json is optional: sizes follow from the shapes, and a config.json
        only needs the values that do not, such as ``{"id2label": {"0": "tench", ...}}``, ``{"dilation": true}`` for
        DETR-DC5, ``{"architecture": "dino_vits16"}`` where the same names are those of several models, or
        ``{"num_attention_heads": 12}`` for a size that was not published.
    dtype : dtype or str, optional
        Dtype of the parameters. The default is the dtype of the file, but float32 for half precision, which is slow and
        imprecise in NumPy.
    device : {"cpu", "gpu"}, optional
        Device of the model; the default is "cpu".
    num_classes : int, optional
        Number of classes of one's own, to train the model for them: the weights that depend on the classes are new, as
        `minivis.storage.with_classes` makes them, and the log names them. By default the published classes are kept.
    labels : list of str, optional
        Names of the classes of one's own; ``num_classes`` may then be left out.
    things : list of str or int, optional
        Names or numbers of the classes that are things, for panoptic results, instead of those that config.json lists.

    Returns
    -------
    Module
        A model from `minivis.models` in eval mode, made by its constructor (so `minivis.save` can store it), and with

        - ``labels``: {number: name} of the classes;
        - ``things``: which classes are things, for panoptic results: those listed by name as ``"things"`` in config.json,
          or the known ones of COCO, Cityscapes and ADE20K; see ``minivis.pretrained.postprocess``;
        - ``preprocess``: ``model.preprocess(photo)`` is the (1, 3, H, W) batch for the model, see `Preprocess`;
        - ``published``: the content of config.json, a dict. A model for other classes has ``new_weights`` instead, the
          names of the weights that are not trained.

    Raises
    ------
    FileNotFoundError
        If the folder or one of its files is missing.
    ValueError
        If a file is broken or in a format that could run code (.pth, .bin; the message shows how to convert it), if minivis
        does not have the model, or if weights are missing, unexpected, of the wrong shape or not finite; or if the model has no
        classes that could be exchanged.
    TypeError
        If dtype is not a floating-point dtype.

    Notes
    -----
    Arrays are read one at a time and become the parameters without a copy. If dtype is the dtype of the file, memory stays
    below 1.2 times the size of the file; for other classes it is twice that.

    Examples
    --------
    >>> from_pretrained("no-such-folder")
    Traceback (most recent call last):
    FileNotFoundError: from_pretrained: there is no folder no-such-folder
    """
    named = folder
    folder = as_path(folder)
    dtype = _floating(dtype)
    stored = _stored(folder, named)
    config = _config(folder, {name: array.shape for name, array in stored.items()})
    family = _family(folder / CONFIG, config)
    model = _build(folder / CONFIG, family, config, stored)
    wanted = _dialect(model, family, stored)
    _check(folder, model, family, wanted, stored)
    if dtype is None:
        kinds = {stored[name].kind for name in published_names(wanted)} & FLOATS.keys()
        dtype = max([np.dtype(np.float32), *(FLOATS[kind] for kind in kinds)])
    preprocess = _preprocess(folder, family, config, dtype, device or "cpu")
    arrays = dict(unpacked(wanted, lambda name: _read(stored[name].path, name, dtype)))
    model.load_state_dict(arrays, strict=False, assign=True)  # _check has already compared the names
    model.to(dtype).to(device or "cpu").eval()
    model.published, model.preprocess = config, preprocess
    # a backbone has no classes
    model.labels = {} if getattr(model, "head", True) is None else labels_of(config)
    if (num_classes, labels) != (None, None):
        return _for_other_classes(model, num_classes, labels, things)
    where = folder / CONFIG if things is None else "the argument"
    try:
        model.things = things_for(model, WHO, where, config.get("things") if things is None else things)
    except ValueError as error:
        raise ValueError(f"from_pretrained: {where}: {error}") from error
    return model


def _for_other_classes(model, num_classes, labels, things):
    """The model with new weights for other classes. Which weights are new is logged."""
    if hasattr(model, "encode_text"):
        raise ValueError(
            "from_pretrained: a CLIP has no classes to exchange: it compares a picture with any texts, so say yours in words "
            "(model.encode_text, notebook 12), or train a Linear on model.encode_image"
        )
    try:
        model = with_classes(model, num_classes, labels=labels)
        model.things = things_for(model, WHO, "a model for other classes", things)
    except ValueError as error:
        raise ValueError(f"from_pretrained: {str(error).removeprefix('with_classes: ')}") from error
    logging.getLogger("minivis").warning(
        "from_pretrained: new, and not trained yet, are %s: they depend on the %d classes; every other weight is the file's",
        some(model.new_weights, 8),
        len(model.labels),
    )
    return model


def is_published(source):
    """Whether a model's folder is a published one, rather than one of minivis or the name of a checkpoint.

    Parameters
    ----------
    source : str or path

    Returns
    -------
    bool
    """
    folder = as_path(source)
    config = folder / CONFIG
    return folder.is_dir() and not (config.is_file() and "arguments" in read_json(config))


def model_types():
    """The values of "model_type" in config.json for which minivis has a model.

    Returns
    -------
    list of str

    Examples
    --------
    >>> "vit" in model_types()
    True
    """
    return sorted(kind for family in families() for kind in family.model_types)


@functools.cache
def families():
    """Every `PublishedFamily`: the ``FAMILY`` of each module in this package that has one."""
    here = Path(__file__).parent
    modules = [importlib.import_module(f"{__package__}.{m.name}") for m in pkgutil.iter_modules([here])]
    return [module.FAMILY for module in modules if hasattr(module, "FAMILY")]


def _floating(dtype):
    if dtype is None:
        return None
    try:
        dtype = np.dtype(dtype)
    except TypeError:
        dtype = None
    if dtype is None or dtype not in FLOATS.values():
        raise TypeError("from_pretrained: dtype must be float16, float32 or float64, or left out")
    return dtype


# ---------------------------------------------------------------------------------------------------------------------
# The files


def _stored(folder, named=None):
    """{published name: Stored} for all arrays of the folder. The arrays themselves are not read yet."""
    if not folder.is_dir():
        if folder.exists():
            refuse_foreign([folder])
            raise FileNotFoundError(
                f"from_pretrained: there is no folder {folder} (it is a file: give its folder, {folder.parent})"
            )
        raise FileNotFoundError(f"from_pretrained: there is no folder {folder}{hub_hint(named or folder)}")
    if (folder / WEIGHTS).is_file():
        return stored_arrays(folder / WEIGHTS, WHO)
    if not (folder / INDEX).is_file():
        refuse_without_weights(folder)
    index = read_json(folder / INDEX).get("weight_map")
    if not isinstance(index, dict) or not all(isinstance(shard, str) for shard in index.values()):
        raise ValueError(f'from_pretrained: {folder / INDEX}: expected {{"weight_map": {{name: file}}}}')
    stored = {}
    for shard in sorted(set(index.values())):
        stored |= stored_arrays(_inside(folder, shard), WHO)
    for name, shard in index.items():
        if name not in stored or stored[name].path != folder / shard:
            raise ValueError(
                f"from_pretrained: {folder / INDEX} says that {name:.100} is in {shard}, and it is not"
            )
    return stored


def _inside(folder, shard):
    """The path of a shard. It must be in the folder itself, because an index file must not point to other places."""
    if re.search(r"[/\\:\0]", shard) or shard in ("", ".", ".."):
        raise ValueError(
            f"from_pretrained: {folder / INDEX} names the file {shard!r:.100}, which is outside the folder"
        )
    try:
        there = (folder / shard).is_file()
    except (OSError, ValueError):  # not a valid file name on this system
        there = False
    if not there:
        raise FileNotFoundError(f"from_pretrained: {folder}/{shard:.100}, named in {INDEX}, is missing")
    return folder / shard


def read_json(path):
    """The dict in a json file; raise, with the path, if the file is missing or broken."""
    return files.read_json(path, WHO)


# ---------------------------------------------------------------------------------------------------------------------
# The model


def _config(folder, shapes):
    """The content of config.json, completed from the shapes: authors' files have no config.json, and timm's is short."""
    path = folder / CONFIG
    config = read_json(path) if path.exists() else {}
    if "model_type" in config:
        return config
    if "model" in config and "arguments" in config:
        raise ValueError(
            f"from_pretrained: {folder} was written by minivis: mv.load({str(folder)!r}) brings it back"
        )
    given = {key: value for key, value in config.items() if value is not None}
    for family in families():
        try:
            if family.infer and (inferred := family.infer(shapes, given)):
                return {**inferred, **given}
        except (ValueError, KeyError, IndexError, TypeError, ZeroDivisionError) as error:
            here = "does not say enough" if path.exists() else "is missing"
            told = error if isinstance(error, ValueError) else repr(error)
            raise ValueError(
                f"from_pretrained: {path} {here}, and what it would say does not follow from the weights: {told}"
            ) from error
    if path.exists():
        raise ValueError(
            f'from_pretrained: {path} has no "model_type", and the weights\' names are of no known model'
        )
    raise FileNotFoundError(
        f"from_pretrained: {path} is missing (it lies beside the weights on the hub), and the weights' names are not those "
        "of a model that minivis knows without it"
    )


def _family(path, config):
    kind = config["model_type"]
    for family in families():
        if kind in family.model_types:
            return family
    raise ValueError(
        f"from_pretrained: {path}: minivis has no model of type {kind!r:.100}; it has {', '.join(model_types())}"
    )


def _build(path, family, config, stored=None):
    """Make the model with placeholders for its arrays. Raise if it is much larger than the stored arrays."""
    sizes = [math.prod(array.shape) for array in (stored or {}).values()]
    limit = contextlib.nullcontext() if stored is None else init.at_most(len(sizes), sum(sizes))
    try:
        with init.skip_init(), limit:
            return family.build(config)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise ValueError(f"from_pretrained: {path}: no model can be made of it: {error}") from error


def _dialect(model, family, stored):
    """{minivis name: published name, Part, Stack or Transposed} in the dialect with the most names in the file."""
    candidates = [family.names(model, dialect) for dialect in family.dialects]
    return max(candidates, key=lambda names: sum(part in stored for part in published_names(names)))


def _check(folder, model, family, wanted, stored):
    """Raise, with their names, for weights that are missing, unexpected, of the wrong shape or of an unknown dtype."""
    ours = dict([*model.named_parameters(), *model.named_buffers()])
    assert wanted.keys() == ours.keys(), "the family does not name every array of its model once"
    problems = disagreements(wanted, ours, stored, family.recomputed)
    complaints = [f"{what} {some(names, 5)}" for what, names in problems.items()]
    if complaints:
        says = f"its {CONFIG} describes" if (folder / CONFIG).exists() else "the names of its weights promise"
        raise ValueError(
            f"from_pretrained: {folder} does not hold the {type(model).__name__} that {says}: {'; '.join(complaints)}"
        )


def _read(path, name, dtype):
    """Read one array of a file and convert it to a dtype; raise if its numbers do not fit."""
    array = read_array(path, name, WHO)
    if array.dtype.kind != "f":  # the batch counter of batch norm
        return array
    lowest, highest = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise ValueError(
            f"from_pretrained: {path}: {name} holds numbers that are not finite (NaN or infinity)"
        )
    if max(-lowest, highest) > float(np.finfo(dtype).max):
        raise ValueError(f"from_pretrained: {path}: {name} holds numbers too large for {dtype}")
    return array.astype(dtype, copy=False)


def _preprocess(folder, family, config, dtype, device):
    path = folder / PREPROCESSOR
    note = None
    usual = family.preprocessor
    if path.exists():
        given = {key: value for key, value in read_json(path).items() if value is not None}
        named = given.keys() & {"image_processor_type", "feature_extractor_type"}
        fill = ("size", "resample") if named else ("size", "resample", "image_processor_type")
        settings = {key: usual[key] for key in fill if key in usual} | given
    elif isinstance(config.get("pretrained_cfg"), dict):
        settings = config["pretrained_cfg"]
        path = folder / CONFIG
    else:
        settings = usual
        note = (
            f"{path} is missing: photos are prepared as for the best known {config['model_type']} checkpoint"
        )
        logging.getLogger("minivis").warning("from_pretrained: %s", note)
    return preprocess_of(settings, dtype=dtype, device=device, note=note, path=path)
