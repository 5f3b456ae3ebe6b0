"""Load the small models that come with minivis and add labels and preprocessing, as published models have.

Not here: their training (recipes/), the files of their weights (storage.py).
"""

from pathlib import Path

from minivis import storage
from minivis.data import digits, shapes
from minivis.files import as_path, read_json
from minivis.models.faster_rcnn import FasterRCNN
from minivis.models.lenet import LeNet5
from minivis.models.sam import SAM
from minivis.pretrained.preprocess import Preprocess

__all__ = ["load_ready"]


def load_ready(source):
    """Load a minivis checkpoint and add the attributes that `from_pretrained` adds to a published one.

    Parameters
    ----------
    source : str or path
        As for `minivis.load`: a name, or the folder of a finished training.

    Returns
    -------
    Module
        With ``labels``, ``things`` and ``preprocess``.

    Raises
    ------
    ValueError
        If the checkpoint's recipe is unknown, so that the preprocessing of photos is unknown too.

    Examples
    --------
    >>> load_ready("vit-digits").labels[7]
    '7'
    """
    model = storage.load(source)
    recipe = _recipe(source)
    if recipe in NOT_NAMED:
        raise ValueError(
            f"predict: {source} {NOT_NAMED[recipe]}, and that cannot be drawn here: call it with an array"
        )
    kind = recipe.rpartition("-")[2]
    if kind not in READY:
        raise ValueError(
            f"predict: {source} is a model of minivis, but it is not known what its pictures look like: only models of "
            f"the recipes *-{', *-'.join(READY)} can be shown a photo; call any other with an array"
        )
    READY[kind](model)
    return model


def _recipe(source):
    """The recipe of a checkpoint, from the metrics of its training, its card or its name."""
    for name in ("metrics.json", "card.json"):
        path = as_path(source) / name
        if path.is_file():
            told = read_json(path, "predict")
            return str(told.get("name") or told.get("recipe") or "")
    return Path(source).name


def _digits(model):
    """Handwritten digits: one grey channel in which ink is 1."""
    side = model.config.get("image_size", 8)
    square = Preprocess(size=(side, side))
    model.labels = {digit: str(digit) for digit in range(10)}
    model.things = [True] * 10

    def ink(photo):
        return 1 - square(photo).mean(axis=1, keepdims=True)  # (1, 1, side, side)

    enlarged = isinstance(model, LeNet5)
    model.preprocess = (lambda photo: digits.lenet_levels(digits.enlarge(ink(photo)))) if enlarged else ink


def _shapes(model):
    """Generated scenes: the colours are not normalised."""
    model.preprocess = Preprocess(size=(shapes.SIZE, shapes.SIZE))
    if isinstance(model, SAM):  # it names nothing
        model.labels, model.things = {}, []
        return
    K = model.config["num_classes"]
    first = int(isinstance(model, FasterRCNN))  # its class 0 is the background
    names = shapes.CLASSES[: K - first]
    model.labels = dict(enumerate(["background", *names][1 - first :]))
    model.things = [name in shapes.THINGS for name in model.labels.values()]


# recipes whose output is neither classes nor boxes nor segments
NOT_NAMED = {
    "clip-shapes": "compares pictures with texts (notebook 12)",
    "dino-digits": "gives features and 128 answers without names (notebook 11)",
    "local-attention-shapes": "finds the outlines of shapes",
    "mae-shapes": "paints hidden patches (notebook 09)",
    "mlm-captions": "reads captions (notebook 09)",
    "non-local-films": "watches films (notebook 06)",
    "sagan-digits": "draws digits (notebook 06)",
    "vivit-films": "watches films (notebook 13)",
}
READY = {"digits": _digits, "shapes": _shapes}
