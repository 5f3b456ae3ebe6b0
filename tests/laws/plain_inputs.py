"""Plain random calls of each family over its whole domain, as nobody's laws draw them: general, odd, all options at once.

Not here: corners. The strategies of the laws are in minivis/laws; these are written apart from them on purpose.
"""

import numpy as np

from tests.laws.plain_detection import PLAIN_DETECTION

__all__ = ["PLAIN"]


def _numbers(rng, *shape, scale=1.0):
    return (rng.standard_normal(shape) * scale).astype(np.float32)


def _softmax(rng):
    rank = int(rng.integers(1, 5))
    return {
        "x": _numbers(rng, *rng.integers(1, 6, rank), scale=rng.choice([1, 3, 40])),
        "axis": int(rng.integers(-rank, rank)),
    }


PLAIN = {"softmax": _softmax, "log_softmax": _softmax, **PLAIN_DETECTION}
