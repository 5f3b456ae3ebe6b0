# ruff: noqa: F403 (a flat list of names is the purpose of this file)
"""Losses of several steps: for masks, for boxes, and the set losses that first match predictions to objects.

Not here: losses that are one op (ops/loss.py), metrics (metrics/).
"""

from minivis import foreign_words
from minivis.losses.adversarial import *
from minivis.losses.boxes import *
from minivis.losses.chosen_masks import *
from minivis.losses.contrastive import *
from minivis.losses.detection import *
from minivis.losses.mask_classification import *
from minivis.losses.mask_prediction import *
from minivis.losses.masked_modelling import *
from minivis.losses.masked_words import *
from minivis.losses.masks import *
from minivis.losses.points import *
from minivis.losses.prompted_masks import *
from minivis.losses.region_masks import *
from minivis.losses.rt_detr import *
from minivis.losses.self_distillation import *
from minivis.losses.set_prediction import *
from minivis.losses.support_vectors import *
from minivis.losses.yolo import *

__all__ = sorted(name for name, value in globals().items() if callable(value))


def __getattr__(name):
    raise foreign_words.no_name(__name__, name)
