# ruff: noqa: F403 (a flat list of names is the purpose of this file)
"""Layers: modules that own parameters. Names and weight layouts are PyTorch's; the mathematics is in ops/.

Not here: whole models (models/), training (optim.py, train.py).
"""

from minivis import foreign_words
from minivis.nn import init  # noqa: F401 (mv.nn.init.xavier_uniform)
from minivis.nn.attention import *
from minivis.nn.conv import *
from minivis.nn.dropout import *
from minivis.nn.feature_pyramid import *
from minivis.nn.linear import *
from minivis.nn.mlp import *
from minivis.nn.module import *
from minivis.nn.norm import *
from minivis.nn.observer import *
from minivis.nn.pool import *
from minivis.nn.position import *
from minivis.nn.spectral import *
from minivis.nn.transformer import *
from minivis.nn.weight_standardization import *
from minivis.nn.window_attention import *

_FUNCTIONS = [
    "drop_path_rates",
    "looking",
    "spectral_norm",
    "survival_schedule",
    "weight_standardized_conv2d",
]
__all__ = sorted([*_FUNCTIONS, *(name for name, value in globals().items() if isinstance(value, type))])


def __getattr__(name):
    raise foreign_words.no_name(__name__, name)
