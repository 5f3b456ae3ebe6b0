"""Published checkpoints: a folder as it lies on the hub becomes a minivis model, ready to predict.

Not here: the models (models/), our own checkpoints (storage.py), any download.
"""

from minivis.pretrained.folder import from_pretrained, model_types
from minivis.pretrained.preprocess import Preprocess

__all__ = ["Preprocess", "from_pretrained", "model_types"]
