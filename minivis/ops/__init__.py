# ruff: noqa: F403 (the flat list of ops is the purpose of this file)
"""Differentiable ops on Tensors and arrays, all in one namespace: ``mv.ops.softmax(x)``. Each file has one idea.

Not here: anything that owns parameters (nn/).
"""

from minivis import foreign_words
from minivis.ops import operators  # noqa: F401 (binds Tensor's operators)
from minivis.ops.activation import *
from minivis.ops.arithmetic import *
from minivis.ops.attention import *
from minivis.ops.conv import *
from minivis.ops.functions import *
from minivis.ops.index import *
from minivis.ops.linalg import *
from minivis.ops.loss import *
from minivis.ops.normalization import *
from minivis.ops.pool import *
from minivis.ops.reduce import *
from minivis.ops.regularization import *
from minivis.ops.resample import *
from minivis.ops.shape import *
from minivis.ops.softmaxes import *

# everything that `import *` has brought, without the submodules
__all__ = sorted(name for name, value in globals().items() if callable(value))


def __getattr__(name):
    raise foreign_words.no_name(__name__, name)
