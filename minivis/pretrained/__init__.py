"""Published checkpoints: load a folder from the model hub as a minivis model that is ready to predict.

Not here: the models (models/), minivis's own checkpoints (storage.py).
"""

from minivis.data.preprocess import Preprocess
from minivis.pretrained.folder import from_pretrained, model_types
from minivis.pretrained.hub import fetch, fetched
from minivis.pretrained.prediction import Prediction, predict

__all__ = ["Prediction", "Preprocess", "fetch", "fetched", "from_pretrained", "model_types", "predict"]
