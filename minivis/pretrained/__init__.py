"""Published checkpoints: load a folder from the model hub as a minivis model that is ready to predict, and write one.

Not here: the models (models/), minivis's own checkpoints (storage.py).
"""

from minivis.data.preprocess import Preprocess
from minivis.pretrained.folder import from_pretrained, model_types
from minivis.pretrained.hub import fetch, fetched
from minivis.pretrained.hub_layout import export
from minivis.pretrained.prediction import Prediction, predict
from minivis.pretrained.torch_states import from_torch, to_torch_state

__all__ = [
    "Prediction",
    "Preprocess",
    "export",
    "fetch",
    "fetched",
    "from_pretrained",
    "from_torch",
    "model_types",
    "predict",
    "to_torch_state",
]
