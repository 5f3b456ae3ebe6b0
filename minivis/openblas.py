"""Settings for OpenBLAS and malloc. OpenBLAS reads its environment once, when NumPy loads, so this runs before.

OpenBLAS should use its AVX-512 kernels on a CPU that has AVX-512: some builds choose AVX2 there, and a large product
then takes twice as long. Its threads should sleep soon after a product: by default they wait for the next one in a
busy loop of tens of milliseconds, which takes half a core from other threads (fast/threads.py). Not here: which
kernels are used in the end (`minivis doctor` reports it).
"""

import ctypes
import os
import sys

__all__ = ["choose"]

# CPU features that OpenBLAS's SkylakeX kernels need
_NEEDED = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
_CPU = "/proc/cpuinfo"  # on Linux; on other systems OpenBLAS chooses its kernels itself
_PATIENCE = "20"  # a thread waits for 2^20 CPU clock ticks, under half a millisecond; the default is 2^26


def choose():
    """Set ``OPENBLAS_CORETYPE`` and ``OPENBLAS_THREAD_TIMEOUT`` for this process and its children.

    Variables that are set already are kept. Nothing is set if NumPy has been loaded.

    Returns
    -------
    dict
        The variables that were set.
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
    """The features of the first core, named as in Linux; empty if they cannot be read."""
    try:
        with open(_CPU, encoding="ascii", errors="replace") as file:
            line = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return set()
    return set(line.partition(":")[2].split())


def _keep_freed_memory():
    """Let glibc reuse the memory of freed arrays instead of returning it: a training step takes a third less time.

    Fresh pages cost about 0.1 ms per megabyte, and an autograd engine makes and frees the same large arrays in every
    step. If glibc's own variables (MALLOC_...) are set, nothing is changed.
    """
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(-3, 2**25)  # M_MMAP_THRESHOLD: the largest glibc accepts
        mallopt(-1, 2**30)  # M_TRIM_THRESHOLD


choose()
_keep_freed_memory()
