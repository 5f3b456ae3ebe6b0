"""The model that a training of one's own begins with: new and sized to the data, or a trained one with a new head.

Not here: the networks (models/), reading their files (pretrained/), the training (training.py).
"""

import dataclasses

from minivis import models, storage
from minivis.data.color import IMAGENET_MEAN, IMAGENET_STD
from minivis.data.preprocess import Preprocess
from minivis.files import some
from minivis.pretrained.prediction import load
from minivis.recipes import detr_shapes, segmenter_shapes
from minivis.recipes._regions import SMALL
from minivis.recipes._shapes import small_backbone

__all__ = ["MODELS", "SCRATCH", "Start", "start"]

SCRATCH = "scratch"  # the word for `--from` that asks for random weights
SIZE = 64  # pixels of the sides of a picture, for a model without a size of its own
LARGE = 5_000_000  # parameters, from which on a model is trained further with small steps


@dataclasses.dataclass
class Start:
    """A model before its training.

    Attributes
    ----------
    model : Module
        With ``labels``, ``things`` and ``preprocess``.
    origin : str
        Where its weights come from, for people.
    rate : float
        The learning rate that suits it.
    """

    model: object
    origin: str
    rate: float


@dataclasses.dataclass
class _Entry:
    """A name for `--model`: the kind of data, the class, how to make a small one, and the trained one to begin with."""

    kind: str
    of: type
    make: object  # make(num_classes, size, rng)
    trained: str = SCRATCH
    rate: float = 1e-3


def _vit(K, size, rng):
    patch = 8 if size < 128 else 16
    return models.ViT(size, patch, 96, 4, 4, 2, num_classes=K, dropout=0.1, rng=rng)


def _cnn(K, size, rng):
    return models.CNN(channels=3, widths=(16, 32, 64, 96), depth=1, num_classes=K, rng=rng)


def _resnet(K, size, rng):
    return models.ResNet((1, 1, 1), "basic", widths=(32, 64, 128), stem_width=32, num_classes=K, rng=rng)


def _swin(K, size, rng):
    return models.Swin(4, 48, (2, 2, 2), (3, 6, 12), 4, 2, num_classes=K, rng=rng)


def _detr(K, size, rng):
    return detr_shapes.small_detr(small_backbone(rng), K, rng)


def _faster_rcnn(K, size, rng):
    return models.FasterRCNN(small_backbone(rng), K + 1, rng=rng, **SMALL)  # class 0 is the background


def _unet(K, size, rng):
    return models.UNet((16, 32, 64, 96), K, channels=3, padded=True, norm="batch", dropout=0.0, rng=rng)


def _segmenter(K, size, rng):
    return segmenter_shapes.small_segmenter(rng, num_classes=K)


MODELS = {
    "cnn": _Entry("classes", models.CNN, _cnn, rate=2e-3),
    "vit": _Entry("classes", models.ViT, _vit, rate=1e-3),
    "resnet": _Entry("classes", models.ResNet, _resnet, rate=2e-3),
    "swin": _Entry("classes", models.Swin, _swin, "swin-shapes", 1e-3),
    "detr": _Entry("boxes", models.DETR, _detr, "detr-shapes", 5e-4),
    "faster-rcnn": _Entry("boxes", models.FasterRCNN, _faster_rcnn, "faster-rcnn-shapes", 5e-4),
    "unet": _Entry("masks", models.UNet, _unet, rate=3e-3),
    "segmenter": _Entry("masks", models.Segmenter, _segmenter, "segmenter-shapes", 1e-3),
}
# models that are trained further if they are given, and not made here
ONLY_TRAINED = {
    "classes": (models.AlexNet, models.VGG),
    "boxes": (),
    "masks": (models.DilatedFCN, models.FCN, models.SETR, models.SkipFCN),
}
USUAL = {"classes": "resnet", "boxes": "detr", "masks": "unet"}  # without `--model`


def start(kind, names, model=None, source=None, size=None, rng=None):
    """Make the model that a training begins with.

    Parameters
    ----------
    kind : str
        Of the data: "classes", "boxes" or "masks".
    names : sequence of str
        The classes.
    model : str, optional
        A name in `MODELS`; default: the usual one of the kind, or that of `source`.
    source : str or path, optional
        A checkpoint to begin with: a name that comes with minivis, the folder of a training, or a published folder;
        "scratch" for random weights. Default: the one of the package that suits the model, if there is one.
    size : int, optional
        Pixels of the sides of a picture; default: those of the checkpoint, or 64.
    rng : numpy.random.Generator, optional
        Draws what is new.

    Returns
    -------
    Start

    Raises
    ------
    ValueError
        If the model is unknown, does not fit the data, or the checkpoint is no model of that name.
    """
    _check(kind, model, size)
    if model is None:
        model = USUAL[kind] if source in (None, SCRATCH) else None
    source = MODELS[model].trained if source is None else source
    if source == SCRATCH:
        return _new(kind, names, model, size, rng)
    return _trained(kind, names, model, source, size, rng)


def _check(kind, model, size):
    fits = [name for name, entry in MODELS.items() if entry.kind == kind]
    what = {"classes": "a class for each picture", "boxes": "boxes", "masks": "a class for each pixel"}[kind]
    if model is not None and model not in fits:
        why = f"answers with {_what(model)}" if model in MODELS else "is none of the models"
        raise ValueError(f"train: {model} {why}, and these data have {what}: use {_one_of(fits)}")
    if size is not None and (size % 16 or not 16 <= size <= 1024):
        raise ValueError(f"train: size must be a multiple of 16, from 16 to 1024, got {size}")


def _one_of(names):
    """Names as a choice: "cnn, vit or resnet"."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def _what(model):
    return {"classes": "a class for the picture", "boxes": "boxes", "masks": "a class for each pixel"}[
        MODELS[model].kind
    ]


def _new(kind, names, model, size, rng):
    """A small model with random weights."""
    entry = MODELS[model]
    size = size or SIZE
    made = entry.make(len(names), size, rng)
    sides = {"shortest": size, "crop": (size, size)} if kind == "classes" else {"size": (size, size)}
    # the small networks of the recipes begin with weights for colours from 0 to 1
    colours = {} if model in ("segmenter", "faster-rcnn") else {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    background = ["background"] * getattr(made, "background", 0)
    made.labels = dict(enumerate([*background, *names]))
    made.things = _things(made)
    made.preprocess = Preprocess(**sides, **colours)
    return Start(made, "random weights", entry.rate)


def _trained(kind, names, model, source, size, rng):
    """A trained model with a new head for other classes."""
    found = load(source)
    _check_trained(kind, model, source, found)
    preprocess = found.preprocess
    if size is not None and getattr(found, "min_size", None):
        raise ValueError(
            f"train: {source} resizes photos itself, to {found.min_size} pixels: leave out the size"
        )
    made = storage.with_classes(found, rng=rng, labels=list(names))
    made.things = _things(made)
    made.preprocess = preprocess if size is None else _sized(preprocess, size)
    rates = [entry.rate for entry in MODELS.values() if isinstance(found, entry.of)]
    large = sum(p.size for p in made.parameters()) > LARGE
    origin = f"the weights of {source}; new: {some(made.new_weights, 4)}"
    return Start(made, origin, 5e-5 if large else min(rates, default=1e-3))


def _check_trained(kind, model, source, found):
    """Refuse a checkpoint that is another model than asked for, or cannot learn from these data."""
    by_name = {name: entry.of for name, entry in MODELS.items() if entry.kind == kind}
    wanted = (by_name[model],) if model else (*by_name.values(), *ONLY_TRAINED[kind])
    if not isinstance(found, wanted):
        names = model or _one_of(by_name)
        raise ValueError(f"train: {source} is a {type(found).__name__}, and {names} is needed")
    if found.config.get("masks") or "masks" in getattr(found, "needed", ()):
        raise ValueError(f"train: {source} learns masks of objects too, and these data have boxes only")
    if not isinstance(found.preprocess, Preprocess) or found.config.get("channels", 3) != 3:
        raise ValueError(
            f"train: {source} does not read photos in colour: begin with another checkpoint, or with {SCRATCH}"
        )


def _sized(preprocess, size):
    """The same preprocessing with another size."""
    if preprocess.shortest and preprocess.longest:
        longest = round(preprocess.longest * size / preprocess.shortest)
        return dataclasses.replace(preprocess, shortest=size, longest=longest)
    if preprocess.shortest:
        return dataclasses.replace(preprocess, shortest=size, crop=(size, size))
    return dataclasses.replace(preprocess, size=(size, size), box=None, longest=None, crop=None)


def _things(model):
    """Which classes are countable: of boxes all but the background."""
    return [number >= getattr(model, "background", 0) for number in model.labels]
