"""The BLAS kernel that minivis asks for: before NumPy, on CPUs that have it, never over the user's head."""

import os
import subprocess
import sys

import pytest

from minivis import blas_kernel

FLAGS = "fpu sse2 avx2 avx512f avx512dq avx512cd avx512bw avx512vl"


@pytest.fixture
def cpu(monkeypatch, tmp_path):
    """Pretend a CPU with these flags, and that NumPy has not been loaded."""
    monkeypatch.setenv("OPENBLAS_CORETYPE", "")  # so that what `choose` sets is taken back afterwards
    monkeypatch.delenv("OPENBLAS_CORETYPE")
    monkeypatch.delitem(sys.modules, "numpy")

    def pretend(flags):
        path = tmp_path / "cpuinfo"
        path.write_text(f"processor\t: 0\nflags\t\t: {flags}\nprocessor\t: 1\nflags\t\t: {flags}\n")
        monkeypatch.setattr(blas_kernel, "_CPU", str(path))

    return pretend


def test_it_asks_where_the_cpu_has_every_part(cpu):
    cpu(FLAGS)
    assert blas_kernel.choose() and os.environ["OPENBLAS_CORETYPE"] == "SkylakeX"


@pytest.mark.parametrize("missing", ["avx512f", "avx512vl"])
def test_it_does_not_ask_where_a_part_is_missing(cpu, missing):
    cpu(FLAGS.replace(missing, ""))
    assert not blas_kernel.choose() and "OPENBLAS_CORETYPE" not in os.environ


def test_it_never_overrides_the_user(cpu, monkeypatch):
    cpu(FLAGS)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert not blas_kernel.choose() and os.environ["OPENBLAS_CORETYPE"] == "Haswell"


def test_it_does_nothing_where_the_flags_cannot_be_read_or_numpy_is_there_already(cpu, monkeypatch, tmp_path):
    monkeypatch.setattr(blas_kernel, "_CPU", str(tmp_path / "none"))
    assert not blas_kernel.choose()
    cpu(FLAGS)
    monkeypatch.setitem(sys.modules, "numpy", os)
    assert not blas_kernel.choose() and "OPENBLAS_CORETYPE" not in os.environ


@pytest.mark.skipif(not blas_kernel._NEEDED <= blas_kernel._cpu_flags(), reason="this CPU has no AVX-512")
def test_the_command_line_loads_numpy_with_that_kernel():
    code = (
        "import minivis.cli, numpy, threadpoolctl; "
        "print(*(x['architecture'] for x in threadpoolctl.threadpool_info() if x['internal_api'] == 'openblas'))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}

    def kernels(**extra):
        run = [sys.executable, "-c", code]
        return set(subprocess.check_output(run, env={**environment, **extra}, text=True).split())

    if not kernels():
        pytest.skip("NumPy here is built on another BLAS than OpenBLAS")
    assert kernels() == {"SkylakeX"}
    assert kernels(OPENBLAS_CORETYPE="Haswell") == {"Haswell"}
