"""Ask OpenBLAS for its AVX-512 kernels where the CPU has them. It looks once, when NumPy loads, so this comes before.

Not here: what was found in the end; `minivis doctor` reports that.
"""

import os
import sys

__all__ = ["choose"]

_NEEDED = {
    "avx512f",
    "avx512bw",
    "avx512cd",
    "avx512dq",
    "avx512vl",
}  # what OpenBLAS's SkylakeX kernels are built of
_CPU = "/proc/cpuinfo"  # Linux; elsewhere nobody asks, and OpenBLAS chooses for itself


def choose():
    """Set ``OPENBLAS_CORETYPE`` for this process and its children, unless it is set or NumPy has been loaded already.

    Some builds of OpenBLAS take AVX2 kernels on a CPU that has AVX-512, which halves the speed of a large product.

    Returns
    -------
    bool
        Whether it was set here.
    """
    if "numpy" in sys.modules or "OPENBLAS_CORETYPE" in os.environ or not _NEEDED <= _cpu_flags():
        return False
    os.environ["OPENBLAS_CORETYPE"] = "SkylakeX"
    return True


def _cpu_flags():
    """What the first core can do, in the kernel's words; nothing where that is not to be read."""
    try:
        with open(_CPU, encoding="ascii", errors="replace") as file:
            line = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return set()
    return set(line.partition(":")[2].split())


choose()
