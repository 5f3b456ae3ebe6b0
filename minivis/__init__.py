"""minivis: how computers came to see with transformers, from scratch on NumPy and CuPy.

Not loaded here: anything heavier than NumPy. The submodules below load when they are first used.
"""

import importlib
import importlib.util

from minivis import foreign_words, openblas, ops  # noqa: F401  (openblas comes first: it must see that NumPy is not loaded yet)
from minivis.autograd import Tensor, debug, no_grad
from minivis.backend import to_device, to_numpy
from minivis.ways import plain

__version__ = "0.1.0"

# attribute -> the module that defines it, or None for a submodule (imported on first use, PEP 562)
_LAZY = {
    **dict.fromkeys(
        [
            "analysis",
            "classroom",
            "data",
            "gradcheck",
            "laws",
            "losses",
            "metrics",
            "models",
            "nn",
            "optim",
            "pretrained",
            "recipes",
            "train",
            "vision",
            "viz",
        ]
    ),
    **dict.fromkeys(["export", "from_pretrained", "from_torch", "to_torch_state"], "minivis.pretrained"),
    "save": "minivis.storage",
    "load": "minivis.storage",
    "summary": "minivis.nn.layer_table",
}

__all__ = ["Tensor", "debug", "no_grad", "ops", "plain", "to_device", "to_numpy", *sorted(_LAZY)]


def __getattr__(name):
    if name not in _LAZY:
        raise foreign_words.no_name("minivis", name)
    home = _LAZY[name]
    try:
        value = (
            importlib.import_module(f"minivis.{name}")
            if home is None
            else getattr(importlib.import_module(home), name)
        )
    except ModuleNotFoundError as error:
        if error.name != f"minivis.{name}":
            raise
        raise AttributeError(f"module 'minivis' has no attribute {name!r}") from None
    globals()[name] = value
    return value


def __dir__():
    return sorted([*globals(), *_LAZY])


if importlib.util.find_spec("minivis.fast"):  # without that folder minivis is only slower
    importlib.import_module("minivis.fast")
