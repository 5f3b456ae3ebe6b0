"""One side of a comparison in a process of its own: it builds a row's step and times it when it is told to.

It reads a line of json from stdin and answers each with one on stdout: {"row": ...} builds, {"time": n} runs n steps.
Not here: the rows (rows.py), who asks (__main__.py).
"""

import json
import os
import resource
import sys
import time

from tests.benchmarks.rows import rows

WARM_UP = 3


def waiter(side, device):
    """A function that waits until the device has done what it was asked for."""
    if device == "cpu":
        return lambda: None
    if side == "torch":
        import torch

        return torch.cuda.synchronize
    import cupy

    return cupy.cuda.Device().synchronize


def resident():
    """Bytes of memory that this process holds now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak(side, device, before):
    """The most bytes that were in use since `before`."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    if side == "torch":
        import torch

        return torch.cuda.max_memory_reserved()
    import cupy

    return cupy.get_default_memory_pool().total_bytes()


def main(side, device):
    """Answer until stdin ends."""
    if side == "torch":
        import torch

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    place = {"gpu": "cuda"}.get(device, device) if side == "torch" else device
    known, number, wait = {row.name: row for row in rows(device)}, 0, waiter(side, device)
    step, before = None, 0
    for line in sys.stdin:
        asked = json.loads(line)
        if "row" in asked:
            before = resident()
            step = getattr(known[asked["row"]], side)(place)
            steps = WARM_UP
        else:
            steps = asked["time"]
        start = time.perf_counter()
        for _ in range(steps):
            step(number)
            number += 1
        wait()
        seconds = (time.perf_counter() - start) / steps
        print(json.dumps({"seconds": seconds, "peak": peak(side, device, before)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
