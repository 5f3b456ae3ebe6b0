"""What OpenBLAS and malloc are asked for. OpenBLAS looks at its environment once, when NumPy loads, so this comes before.

Its AVX-512 kernels where the CPU has them: some builds take AVX2 ones there, which halves the speed of a large product.
And threads that sleep soon after a product: they would otherwise wait for the next one for tens of milliseconds without
rest, and take half a core from whatever else runs on threads (fast/threads.py).
Not here: what was found in the end; `minivis doctor` reports that.
"""

import ctypes
import os
import sys

__all__ = ["choose"]

# what OpenBLAS's SkylakeX kernels are built of
_NEEDED = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
_CPU = "/proc/cpuinfo"  # Linux; elsewhere nobody asks, and OpenBLAS chooses for itself
_PATIENCE = "20"  # a thread waits for 2^20 ticks of the CPU clock, under half a millisecond; by itself OpenBLAS takes 2^26


def choose():
    """Set ``OPENBLAS_CORETYPE`` and ``OPENBLAS_THREAD_TIMEOUT`` for this process and its children.

    What is set already stays, and nothing is set where NumPy has been loaded.

    Returns
    -------
    dict
        What was set here.
    """
    if "numpy" in sys.modules:
        return {}
    wanted = {"OPENBLAS_THREAD_TIMEOUT": _PATIENCE}
    if _cpu_flags() >= _NEEDED:
        wanted["OPENBLAS_CORETYPE"] = "SkylakeX"
    new = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(new)
    return new


def _cpu_flags():
    """What the first core can do, in the kernel's words; nothing where that is not to be read."""
    try:
        with open(_CPU, encoding="ascii", errors="replace") as file:
            line = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return set()
    return set(line.partition(":")[2].split())


def _keep_freed_memory():
    """Let glibc reuse the memory of freed arrays instead of returning it to the system: a third off a training step.

    Fresh pages cost about 0.1 ms a megabyte, and an autograd engine makes and frees the same large arrays in every
    step. Whoever has set glibc's own variables (MALLOC_...) has decided already.
    """
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(-3, 2**25)  # M_MMAP_THRESHOLD: the largest glibc accepts
        mallopt(-1, 2**30)  # M_TRIM_THRESHOLD


choose()
_keep_freed_memory()
