"""Plain random calls of each family over its whole domain, as nobody's laws draw them: general, odd, all options at once.

Not here: corners. The strategies of the laws are in minivis/laws; these are written apart from them on purpose.
"""

import numpy as np

from tests.laws.plain_detection import PLAIN_DETECTION

__all__ = ["PLAIN"]


def _numbers(rng, *shape, scale=1.0):
    return (rng.standard_normal(shape) * scale).astype(np.float32)


def _some(rng, **options):
    """Options, of which each is left out now and then: its default is part of the domain."""
    return {name: value for name, value in options.items() if rng.random() < 0.7}


def _softmax(rng):
    rank = int(rng.integers(1, 5))
    x = _numbers(rng, *rng.integers(1, 6, rank), scale=rng.choice([1, 3, 40]))
    return {"x": x, **_some(rng, axis=int(rng.integers(-rank, rank)))}


def _layer_norm(rng):
    shape = tuple(int(n) for n in rng.integers(1, 6, rng.integers(1, 5)))
    last = shape[-min(len(shape), int(rng.integers(1, 3))) :]
    x = (_numbers(rng, *shape) + np.float32(rng.uniform(-2, 2))) * np.float32(rng.choice([0.01, 1, 5]))
    eps = float(rng.choice([1e-5, 1e-6, 0.1, 1.0]))
    options = _some(rng, weight=_numbers(rng, *last), bias=_numbers(rng, *last), eps=eps)
    return {"x": x, "normalized_shape": last, **options}


PLAIN = {"softmax": _softmax, "log_softmax": _softmax, "layer_norm": _layer_norm, **PLAIN_DETECTION}
