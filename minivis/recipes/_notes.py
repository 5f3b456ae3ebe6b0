"""What the recipes' models are told of their pictures: the names of the classes, which are things, how photos become such pictures.

Not here: where these notes are kept (model_notes.py), models that name nothing in one photo (pretrained/own.py).
"""

from minivis import storage
from minivis.data import shapes
from minivis.data.preprocess import Preprocess
from minivis.models import SAM, LeNet5
from minivis.pretrained.own import NOT_NAMED

__all__ = ["add_notes"]

# a photo of ink on paper becomes one channel, in which ink is 1: 1 - byte / 255
INK = {"grey": True, "scale": -1 / 255, "mean": (-1.0, -1.0, -1.0)}


def add_notes(name, out):
    """Add the notes of a recipe to the model that its training has left in a folder."""
    if name in NOT_NAMED or name.rpartition("-")[2] not in NOTES:
        return
    model = storage.load(out)
    NOTES[name.rpartition("-")[2]](model)
    storage.save(model, out)


def _tell_of_digits(model):
    """Handwritten digits: one grey channel in which ink is 1."""
    side = model.config.get("image_size", 8)
    model.labels = {digit: str(digit) for digit in range(10)}
    finish = "lenet" if isinstance(model, LeNet5) else None
    model.preprocess = Preprocess(size=(side, side), finish=finish, **INK)


def _tell_of_shapes(model):
    """Generated scenes: the colours are not normalised."""
    model.preprocess = Preprocess(size=(shapes.SIZE, shapes.SIZE))
    if isinstance(model, SAM):  # it names nothing
        model.labels = {}
        model.things = []
        return
    background = getattr(model, "background", 0)
    names = ["background"] * background + list(shapes.CLASSES)
    model.labels = dict(enumerate(names[: model.config["num_classes"]]))
    model.things = [name in shapes.THINGS for name in model.labels.values()]


NOTES = {"digits": _tell_of_digits, "shapes": _tell_of_shapes}
