# ruff: noqa: F403 (a flat list of names is the purpose of this file)
"""Analyse a network: the spectrum of its maps, attention distance, receptive field, curvature and surface of its loss.

Not here: the figures (viz/), and the models and data to analyse (notebooks).
"""

from minivis.analysis.attended import *
from minivis.analysis.attended_areas import *
from minivis.analysis.distances import *
from minivis.analysis.favourites import *
from minivis.analysis.feature_maps import *
from minivis.analysis.gradients import *
from minivis.analysis.loss_shape import *
from minivis.analysis.ode import *
from minivis.analysis.patch_features import *
from minivis.analysis.probes import *
from minivis.analysis.space_time import *

__all__ = sorted(name for name, value in globals().items() if callable(value))
