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


def _maybe(rng, value):
    return value if rng.random() < 0.6 else None


def _layer_norm(rng):
    shape = tuple(rng.integers(1, 6, rng.integers(1, 5)))
    last = shape[-min(len(shape), int(rng.integers(1, 3))) :]
    return {
        "x": _numbers(rng, *shape, scale=rng.choice([0.3, 1, 5])) + np.float32(rng.uniform(-2, 2)),
        "normalized_shape": tuple(int(n) for n in last),
        "weight": _maybe(rng, _numbers(rng, *last)),
        "bias": _maybe(rng, _numbers(rng, *last)),
        "eps": float(rng.choice([1e-5, 1e-6, 0.1, 1.0])),
    }


PLAIN = {"softmax": _softmax, "log_softmax": _softmax, "layer_norm": _layer_norm, **PLAIN_DETECTION}
