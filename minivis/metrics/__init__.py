"""How good an answer is: numbers between 0 and 1 that people compare models by.

Not here: losses (losses/, ops/loss.py), which are made to be differentiated rather than read.
"""

from minivis.metrics.accuracy import accuracy

__all__ = ["accuracy"]
