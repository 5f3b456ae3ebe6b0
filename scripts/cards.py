"""Shared by the scripts that put a trained model into the package: parts of its card.

Not here: what a card says of its model (pack_digits.py, pack_shapes.py and others).
"""

import io
import os
import platform

import numpy as np
from PIL import Image

import minivis as mv
from minivis import storage

MACHINE = (
    f"{os.cpu_count()} cores, {platform.machine()}, one for BLAS and one that draws, NumPy {np.__version__}"
)


def history_of(run):
    """The columns of a training's history that stand in the card, with four digits."""
    return {
        column: [value if isinstance(value, int) else float(f"{value:.4g}") for value in values]
        for column, values in storage.read_json(run / "history.json").items()
        if column in ("step", "loss") or column.startswith("validation")
    }


def save_failures(figure, folder, colours=256):
    """Write failures.png into a folder, with a palette: a third of the bytes."""
    picture = Image.open(io.BytesIO(figure.png())).convert("RGB").quantize(colours)
    packed = io.BytesIO()
    picture.save(packed, "png", optimize=True)
    storage.write_files({folder / "failures.png": packed.getvalue()})


def pack(name, run, card_of, failures, *options):
    """Write minivis/weights/NAME: the weights of a training in half precision, their card, and a picture of failures.

    ``card_of(model, run, *options)`` gives the card and ``failures(model)`` the figure, of the model as it is stored.
    """
    target = storage.PACKAGED / name
    storage.save(mv.load(run), target, half=True)
    model = mv.load(target)
    card = card_of(model, run, *options)
    save_failures(failures(model), target)
    storage.write_files({target / "card.json": storage.pack_json(card)})
    print(f"wrote {target}: { ({key: value for key, value in card.items() if key.startswith('on ')}) }")
