"""One side of a comparison in a process of its own: it builds a row's step and times it when it is told to.

It reads a line of json from stdin and answers each with one on stdout: {"row": ...} builds, {"time": n} runs n steps.
Not here: the rows (rows.py), who asks (__main__.py).
"""

import gc
import json
import os
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


def status(key):
    """A line of /proc/self/status in bytes: what this process holds now (VmRSS), or held at most (VmHWM)."""
    with open("/proc/self/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith(key))
    return 1024 * int(line.split()[1])


def forget_peak():
    """The most that was held so far no longer counts (Linux)."""
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def peak(side, device, before):
    """The most bytes that were in use since `before`."""
    if device == "cpu":
        return status("VmHWM") - before
    if side == "torch":
        import torch

        return torch.cuda.max_memory_reserved()
    import minivis as mv

    return mv.backend.peak_memory()


def forget_gpu(side):
    """What earlier rows held on the GPU no longer counts."""
    gc.collect()
    if side == "torch":
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    else:
        import minivis as mv

        mv.backend.peak_memory(reset=True)


def main(side, device):
    """Answer until stdin ends."""
    if side == "torch":
        import torch

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        torch.backends.cudnn.allow_tf32 = False  # float32 on both sides
    place = {"gpu": "cuda"}.get(device, device) if side == "torch" else device
    known = {row.name: row for row in rows(device)}
    number = 0
    wait = waiter(side, device)
    step = None
    before = 0
    for line in sys.stdin:
        asked = json.loads(line)
        if "row" in asked:
            step = None
            if device == "gpu":
                forget_gpu(side)
            else:
                forget_peak()
            before = status("VmRSS")
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
