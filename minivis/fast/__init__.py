"""Faster ways to what ops and the optimisers compute, laid over them from above. Take this folder away: all still computes.

A file here is named as the one whose functions it makes faster. Below these stand the routines that they call: blocks.py
(NumPy), compiled.py (Numba), cuda.py (CuPy), and threads.py. Not here: formulas to learn from; those are in ops/.
"""

from minivis.fast import activation, attention, conv, linalg, normalization, optim, pool, softmaxes

__all__ = ["activation", "attention", "conv", "linalg", "normalization", "optim", "pool", "softmaxes"]
