"""Load a model of minivis for photos: what it knows of them is saved with it.

Not here: the files of its weights (storage.py), what is saved beside them (model_notes.py).
"""

from pathlib import Path

from minivis import storage
from minivis.files import as_path, read_json
from minivis.model_notes import NOTES
from minivis.pretrained.postprocess import things_for

__all__ = ["load_ready"]

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


def load_ready(source, things=None):
    """Load a minivis checkpoint that can be shown photos.

    Parameters
    ----------
    source : str or path
        As for `minivis.load`: a name, or the folder of a finished training.
    things : list of str or int, optional
        Names or numbers of the classes that are things, instead of those that were saved.

    Returns
    -------
    Module
        With ``labels`` and ``preprocess``.

    Raises
    ------
    ValueError
        If nothing was saved with the model about its pictures, or `things` has an unknown class.

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
    if not hasattr(model, "preprocess") and recipe in storage.names():
        # a training of an earlier version, which saved no notes: those of the recipe's packaged model
        packaged = storage.load(recipe)
        for name in NOTES:
            if hasattr(packaged, name):
                setattr(model, name, getattr(packaged, name))
    if not hasattr(model, "preprocess"):
        raise ValueError(
            f"predict: {source} is a model of minivis that does not know what its pictures look like: set model.preprocess = "
            'minivis.pretrained.Preprocess(size=(224, 224), ...) and model.labels = {0: "cat", ...}, and save it again'
        )
    if not hasattr(model, "labels"):
        model.labels = {n: f"class {n}" for n in range(model.config.get("num_classes", 0))}
    if things is not None or not any(getattr(model, "things", ())):
        model.things = things_for(model, "predict", source, things)
    return model


def _recipe(source):
    """The recipe of a checkpoint, from the metrics of its training, its card or its name."""
    for name in ("metrics.json", "card.json"):
        path = as_path(source) / name
        if path.is_file():
            told = read_json(path, "predict")
            return str(told.get("name") or told.get("recipe") or "")
    return Path(source).name
