"""What the engine costs: forward and backward through 1,000 tiny ops, against the same NumPy calls written by hand.

Not here: how fast the mathematics is; on arrays of 8 elements only the bookkeeping counts.
"""

import json
import os
import platform
import time
from pathlib import Path

import numpy as np

import minivis as mv

RESULT = Path(__file__).parent / "results" / "engine_overhead.json"
OPS = 1000
REPEATS = 30
LIMIT = 3.5

W, B = np.full((1, 8), 1.001), np.full((1, 8), 0.001)
EYE = np.eye(8)


def tanh_by_hand(x):
    def vjp(g):
        e = np.exp(-2 * np.abs(x))
        return g * (4 * e / (1 + e) ** 2), None

    return np.tanh(x), vjp


# name: (the op on Tensors, a parameter or None, the same by hand: x -> (y, vjp), where vjp gives (dx, dparameter))
LINKS = {
    "add": (lambda x, p: x + p, B, lambda x: (x + B, lambda g: (g, g))),
    "mul": (lambda x, p: x * p, W, lambda x: (x * W, lambda g: (g * W, g * x))),
    "mul by a number": (lambda x, p: x * 1.001, None, lambda x: (x * 1.001, lambda g: (g * 1.001, None))),
    "tanh": (lambda x, p: mv.ops.tanh(x), None, tanh_by_hand),
    "relu": (lambda x, p: mv.ops.relu(x), None, lambda x: (np.maximum(x, 0), lambda g: (g * (x > 0), None))),
    "matmul 8x8": (lambda x, p: x @ p, EYE, lambda x: (x @ EYE, lambda g: (g @ EYE.T, x.T @ g))),
    "reshape": (
        lambda x, p: x.reshape(1, 8),
        None,
        lambda x: (x.reshape(1, 8), lambda g: (g.reshape(x.shape), None)),
    ),
}
LINKS_OF = {name: [name] for name in LINKS} | {"all of them in turn": list(LINKS)}


def engine(names):
    """One forward and backward with Tensors; returns nothing that outlives it."""
    links = [LINKS[name] for name in names]
    parameters = [None if p is None else mv.Tensor(p, requires_grad=True) for _, p, _ in links]
    x = mv.Tensor(np.linspace(0.1, 1, 8)[None], requires_grad=True)
    y = x
    for _ in range(OPS // len(links)):
        for (op, _, _), p in zip(links, parameters, strict=True):
            y = op(y, p)
    y.backward(np.ones((1, 8)))
    return [x.grad, *(p.grad for p in parameters if p is not None)]


def by_hand(names):
    """The same with NumPy alone."""
    links = [LINKS[name] for name in names]
    gradients = [None if p is None else np.zeros_like(p) for _, p, _ in links]
    y = np.linspace(0.1, 1, 8)[None]
    vjps = []
    for _ in range(OPS // len(links)):
        for _, _, link in links:
            y, vjp = link(y)
            vjps.append(vjp)
    g = np.ones((1, 8))
    for n in range(len(vjps) - 1, -1, -1):
        g, g_p = vjps[n](g)
        if g_p is not None:
            gradients[n % len(links)] += g_p
    return [g, *(p for p in gradients if p is not None)]


def measure():
    """Microseconds of CPU time an op of each chain, by hand and with the engine: the best of thirty rounds through all.

    What else the machine does can only add to a time, so that the best one is what the code costs.
    """
    best = dict.fromkeys(LINKS_OF, (float("inf"), float("inf")))
    for _ in range(REPEATS):
        for label, names in LINKS_OF.items():
            best[label] = tuple(map(min, best[label], (_time(by_hand, names), _time(engine, names))))
    return best


def _time(run, names):
    start = time.thread_time()
    run(names)
    return (time.thread_time() - start) / (OPS // len(names) * len(names)) * 1e6


def main():
    for names in LINKS_OF.values():
        for a, b in zip(engine(names), by_hand(names), strict=True):
            np.testing.assert_allclose(a, b)
    rows = []
    print(f"{'1,000 ops, forward and backward':33}{'NumPy':>10}{'minivis':>10}{'overhead':>11}   (us an op)")
    for label, (bare, ours) in measure().items():
        rows.append({"chain": label, "numpy_us": bare, "minivis_us": ours, "overhead_us": ours - bare})
        print(f"{label:33}{bare:10.2f}{ours:10.2f}{ours - bare:11.2f}")
    overhead = rows[-1]["overhead_us"]
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, NumPy {np.__version__}"
    print(f"engine overhead {overhead:.1f} us an op, at most {LIMIT:g}   ({machine})")
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(
        json.dumps({"machine": machine, "overhead_us": overhead, "rows": rows}, indent=1) + "\n"
    )
    return overhead


if __name__ == "__main__":
    raise SystemExit(main() > LIMIT)
