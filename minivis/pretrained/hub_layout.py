"""Write a model in the layout of the model hub, which transformers reads: `minivis.export`.

Not here: what each family says of its models (vit.py, detr.py, ...), the settings of photos (preprocess.py), minivis's own
folders (storage.py), state dicts of PyTorch (torch_states.py).
"""

import logging
import sys
import warnings

import numpy as np

from minivis import backend, storage
from minivis.files import as_path, make_folder, pack_arrays, pack_json, write_files
from minivis.listed import counted
from minivis.nn import FrozenBatchNorm2d, init
from minivis.pretrained.folder import CONFIG, PREPROCESSOR, families, from_pretrained, is_published, read_json
from minivis.pretrained.foreign import INDEX, WEIGHTS
from minivis.pretrained.packing import packed, recomputed
from minivis.pretrained.preprocess import hub_settings

__all__ = ["export", "export_from", "family_of"]

# arguments of constructors that say how to train and where to start: predictions do not depend on them
TRAINING = {
    "attention_dropout",
    "decoder_dropout",
    "drop_path",
    "dropout",
    "layer_scale",
    "rng",
    "temperature",
}
# arguments whose effect shows in the shapes, or in another argument where they are None
SHOWN_BY_SHAPES = {"decoder_mlp_ratio", "image_width", "iou_width", "mask_width", "mlp_ratio", "text_width", "widths"}  # fmt: skip


def export(model, folder, overwrite=False):
    """Write a model as the model hub has it, for transformers and everything that reads the hub's folders.

    Parameters
    ----------
    model : Module
        A model of a kind that transformers has: ViT and DeiT, the ViT hybrid, Swin, ResNet, DINOv2, DETR, RT-DETR,
        MaskFormer, Mask2Former, SAM, CLIP, ViViT or MAE, published or of sizes of your own. Its ``labels``, ``things`` and
        ``preprocess`` are written too, if it has them.
    folder : str or path
        Created if it does not exist. It then holds ``config.json``, ``model.safetensors`` and ``preprocessor_config.json``.
    overwrite : bool, default False
        Replace a model that is already in the folder.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    TypeError
        If `model` is not a Module.
    FileExistsError
        If there is a model in the folder already, and `overwrite` is False.
    ValueError
        If transformers has no such model, or one whose settings cannot say what this one does; the message names the
        argument. Then nothing is written.
    OSError
        If the folder cannot be made or written. Then earlier files are unchanged.

    Warns
    -----
    UserWarning
        If the preparation of photos is missing, or is one that the hub's processors do not have (digits in grey, for
        example): then there is no ``preprocessor_config.json``.

    Notes
    -----
    Weights keep their dtype. `minivis.from_pretrained` reads the folder back, bit for bit. In transformers,
    ``AutoModelForImageClassification.from_pretrained(folder)`` does (``AutoModelForObjectDetection`` for a DETR, and so
    on); classes without a head, such as ViTModel, take ``add_pooling_layer=False``, because minivis has no such layer.

    What only trains is lost where the hub has no word for it: the rate of ``drop_path``, for example.

    Examples
    --------
    >>> import tempfile
    >>> from minivis.models import ViT
    >>> with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
    ...     sorted(p.name for p in export(ViT(16, 4, width=8, depth=1, heads=2, num_classes=3), folder).iterdir())
    ['config.json', 'model.safetensors']
    """
    if not hasattr(model, "state_dict"):
        raise TypeError(f"export: expected a model (a Module), got {type(model).__name__}")
    folder = as_path(folder)
    _check_folder(folder, overwrite)
    config, arrays = published(model)
    prepared = _prepared(model)
    folder = make_folder(folder, "export")
    contents = {
        folder / WEIGHTS: pack_arrays(arrays, format="pt"),  # without this note transformers does not read it
        folder / CONFIG: pack_json(config),
    }
    if prepared is not None:
        contents[folder / PREPROCESSOR] = pack_json(prepared)
    write_files(contents)
    if prepared is None:  # that of the model before
        (folder / PREPROCESSOR).unlink(missing_ok=True)
    return folder


def export_from(source, folder, overwrite=False):
    """Export a stored model, and print what was written and how it is read.

    Parameters
    ----------
    source : str or path
        The folder of a trained or published model, or the name of one that comes with minivis.
    folder, overwrite
        As for `export`.
    """
    model = from_pretrained(source) if is_published(source) else storage.load(source)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        folder = export(model, folder, overwrite)
    for one in caught:
        print(one.message, file=sys.stderr)
    kind = read_json(folder / CONFIG)["architectures"][0]
    there = [name for name in (CONFIG, WEIGHTS, PREPROCESSOR) if (folder / name).exists()]
    print(f"{folder}: {', '.join(there)}")
    print(f"transformers reads it: transformers.{kind}.from_pretrained({str(folder)!r})")


def published(model):
    """The config.json and the arrays of a model, as the hub has them.

    Parameters
    ----------
    model : Module

    Returns
    -------
    config : dict
    arrays : dict of str to ndarray
        By published names.

    Raises
    ------
    ValueError
        If the hub has no such model.
    """
    family = family_of(model)
    kind = type(model).__name__
    if family is None or family.describe is None:
        raise ValueError(
            f"export: transformers has no model like this {kind}: mv.save(model, folder) keeps it for minivis, and "
            "mv.to_torch_state(model) gives its weights to PyTorch"
        )
    try:
        config = {**family.describe(model), **_classes(model)}
        with init.skip_init():
            twin = family.build(config)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"export: this {kind} has no form in transformers: {error}") from error
    if lost := next(_lost(model, twin), None):
        raise ValueError(
            f"export: transformers' {config['architectures'][0]} cannot say {lost}. mv.to_torch_state(model) gives the weights "
            "to PyTorch, without a form that transformers reads"
        )
    names = family.names(model, "hf")
    own = {name: backend.to_numpy(x) for name, x in model.state_dict().items()}
    arrays = {n: x for n, x in packed(names, own).items() if not recomputed(n, family.recomputed)}
    dtype = next(x.dtype for x in own.values() if x.dtype.kind == "f")
    for name, x in family.added(model).items():
        arrays[name] = x.astype(dtype) if x.dtype.kind == "f" else x
    if config.get("interpolate_offset") or "interpolate_antialias" in config:
        logging.getLogger("minivis").warning(
            "export: transformers resizes the position table in its own way, so for images of another size than %s it will "
            "differ a little",
            config["image_size"],
        )
    return {**config, "torch_dtype": dtype.name}, arrays


def family_of(model):
    """The published family of a model, or None.

    Parameters
    ----------
    model : Module

    Returns
    -------
    PublishedFamily or None
    """
    return next((family for family in families() if family.of(model)), None)


def _check_folder(folder, overwrite):
    """Refuse a folder with another model in it."""
    if folder.is_file():
        raise FileExistsError(f"export: {folder} is a file: name a folder")
    if (folder / INDEX).exists():
        raise FileExistsError(
            f"export: {folder} holds a model in several files, which would stay beside the new one: name another folder"
        )
    there = [name for name in (WEIGHTS, CONFIG, PREPROCESSOR) if (folder / name).exists()]
    if there and not overwrite:
        raise FileExistsError(
            f"export: {folder} holds a model already ({', '.join(there)}): name another folder, or pass overwrite=True "
            "(--overwrite) to replace it"
        )


def _classes(model):
    """What config.json says of the classes."""
    K = model.config.get("num_classes") or 0
    if not K:
        return {}
    labels = getattr(model, "labels", None) or {number: f"LABEL_{number}" for number in range(K)}
    names = {
        number: str(name)
        for number, name in (labels if isinstance(labels, dict) else dict(enumerate(labels))).items()
    }
    if set(names) != set(range(K)):
        raise ValueError(
            f"model.labels names {counted(len(names), 'class', 'classes')}, but the model has {K}, from 0 to {K - 1}"
        )
    found = {
        "id2label": {str(number): names[number] for number in range(K)},
        "label2id": {names[number]: number for number in range(K)},
    }
    things = getattr(model, "things", None) or []
    masks = hasattr(model, "pixel_decoder") or getattr(model, "mask_head", None)
    if masks and any(things):
        found["things"] = [number for number, thing in enumerate(things) if thing]
    return found


def _lost(model, twin, path=""):
    """What of a model config.json cannot say: how it differs from the one that is built of it."""
    for name, value in model.config.items():
        other = twin.config.get(name)
        if name in TRAINING:
            continue
        if hasattr(value, "state_dict") and type(value) is type(other):
            yield from _lost(value, other, f"{path}{name}.")
        elif not _alike(name, value, other, model, twin):
            yield f"{path}{name}={value!r:.100}"
    if path:
        return
    own, its = _parts(model), _parts(twin)
    for name in {**own, **its}:
        if own.get(name) != its.get(name):
            yield f"{name}, which was changed after the model was made: {own.get(name)}, not {its.get(name)}"


def _alike(name, value, other, model, twin):
    """Whether an argument of two models says the same."""
    if name in SHOWN_BY_SHAPES:  # compared with the parts
        return True
    if name == "norm" and (value, other) == ("batch", "frozen"):  # the same, but in training
        return True
    if name == "feature_level":
        return value % len(model.backbone.channels) == other % len(twin.backbone.channels)
    if value is None and hasattr(model, name):
        return getattr(model, name) == getattr(twin, name)
    return _plain(value) == _plain(other)


def _plain(value):
    """A size in one form: a pair of equal numbers is one number, and a list is a tuple."""
    if isinstance(value, list | tuple | np.ndarray):
        values = tuple(_plain(x) for x in value)
        return values[0] if len(values) == 2 and values[0] == values[1] else values
    return value


def _parts(model):
    """{name: description} of the layers and arrays of a model, as far as predictions depend on them."""
    layers = {
        name: f"{type(layer).__name__}({layer.extra_repr()})"
        for name, layer in model.named_modules()
        if name and not _training_alone(layer)
    }
    arrays = {
        name: tuple(x.shape)
        for name, x in [*model.named_parameters(), *model.named_buffers()]
        if not name.endswith("num_batches_tracked")
    }
    return layers | arrays


def _training_alone(layer):
    """Whether a layer does nothing in predictions, or is a batch norm, of which there are two kinds."""
    return type(layer).__name__ in ("BatchNorm2d", "Dropout", "DropPath") or isinstance(
        layer, FrozenBatchNorm2d
    )


def _prepared(model):
    """The content of preprocessor_config.json, or None, with a warning."""
    preprocess = getattr(model, "preprocess", None)
    if preprocess is None:
        warnings.warn(
            f"export: model.preprocess is not set, so there is no {PREPROCESSOR}: set it to a minivis.pretrained.Preprocess that "
            "says how photos are prepared for this model, and export again",
            stacklevel=3,
        )
        return None
    try:
        return hub_settings(preprocess, family_of(model).preprocessor["image_processor_type"])
    except ValueError as error:
        warnings.warn(
            f"export: there is no {PREPROCESSOR}, because {error}: prepare the photos yourself", stacklevel=3
        )
        return None
