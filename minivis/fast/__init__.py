"""Faster ways for ops and optimisers. They are added from outside: without this folder everything still works.

A file here has the name of the file whose functions it makes faster. These files call the routines of blocks.py
(NumPy), compiled.py (Numba) and cuda.py (CuPy), which use threads.py. Not here: formulas to learn from (ops/).
"""

from minivis.fast import activation, attention, conv, linalg, normalization, optim, pool, rois, softmaxes

__all__ = ["activation", "attention", "conv", "linalg", "normalization", "optim", "pool", "rois", "softmaxes"]
