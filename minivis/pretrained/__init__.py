"""Published checkpoints: a folder as it lies on the hub becomes a minivis model, ready to predict.

Not here: the models (models/), our own checkpoints (storage.py).
"""

from minivis.pretrained.family import Family, Part, Stack, labels_of, names_of, translate

__all__ = ["Family", "Part", "Stack", "labels_of", "names_of", "translate"]
