"""Shared by the scripts that put a trained model into the package: parts of its card.

Not here: what a card says of its model (pack_digits.py, pack_shapes.py and others).
"""

import io
import os
import platform

import numpy as np
from PIL import Image

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


def save_failures(figure, folder):
    """Write failures.png into a folder, with a palette: a third of the bytes."""
    picture = Image.open(io.BytesIO(figure.png())).convert("RGB").quantize(256)
    packed = io.BytesIO()
    picture.save(packed, "png", optimize=True)
    storage.write_files({folder / "failures.png": packed.getvalue()})
