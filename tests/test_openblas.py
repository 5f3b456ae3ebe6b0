"""What minivis asks OpenBLAS for: before NumPy, AVX-512 on CPUs that have it, never over the user's head."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minivis import openblas

FLAGS = "fpu sse2 avx2 avx512f avx512dq avx512cd avx512bw avx512vl"


@pytest.fixture
def cpu(monkeypatch, tmp_path):
    """Pretend a CPU with these flags, and that NumPy has not been loaded."""
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_THREAD_TIMEOUT"):
        monkeypatch.setenv(name, "")  # so that what `choose` sets is taken back afterwards
        monkeypatch.delenv(name)
    monkeypatch.delitem(sys.modules, "numpy")

    def pretend(flags):
        path = tmp_path / "cpuinfo"
        path.write_text(f"processor\t: 0\nflags\t\t: {flags}\nprocessor\t: 1\nflags\t\t: {flags}\n")
        monkeypatch.setattr(openblas, "_CPU", str(path))

    return pretend


def test_it_asks_where_the_cpu_has_every_part(cpu):
    cpu(FLAGS)
    assert openblas.choose() == {"OPENBLAS_CORETYPE": "SkylakeX", "OPENBLAS_THREAD_TIMEOUT": "20"}
    assert os.environ["OPENBLAS_CORETYPE"] == "SkylakeX" and os.environ["OPENBLAS_THREAD_TIMEOUT"] == "20"


@pytest.mark.parametrize("missing", ["avx512f", "avx512vl"])
def test_it_asks_for_no_kernels_where_a_part_is_missing(cpu, missing):
    cpu(FLAGS.replace(missing, ""))
    assert openblas.choose() == {"OPENBLAS_THREAD_TIMEOUT": "20"} and "OPENBLAS_CORETYPE" not in os.environ


@pytest.mark.parametrize("name, own", [("OPENBLAS_CORETYPE", "Haswell"), ("OPENBLAS_THREAD_TIMEOUT", "26")])
def test_it_never_overrides_the_user(cpu, name, own, monkeypatch):
    cpu(FLAGS)
    monkeypatch.setenv(name, own)
    assert name not in openblas.choose() and os.environ[name] == own


def test_it_does_nothing_where_the_flags_cannot_be_read_or_numpy_is_there_already(cpu, monkeypatch, tmp_path):
    monkeypatch.setattr(openblas, "_CPU", str(tmp_path / "none"))
    assert "OPENBLAS_CORETYPE" not in openblas.choose()
    monkeypatch.delenv("OPENBLAS_THREAD_TIMEOUT")
    cpu(FLAGS)
    monkeypatch.setitem(sys.modules, "numpy", os)
    assert openblas.choose() == {} and "OPENBLAS_THREAD_TIMEOUT" not in os.environ


def test_make_and_minivis_ask_for_the_same():
    makefile = (Path(__file__).parent.parent / "Makefile").read_text(encoding="utf-8")
    assert f"export OPENBLAS_THREAD_TIMEOUT ?= {openblas._PATIENCE}\n" in makefile


@pytest.mark.skipif(not openblas._NEEDED <= openblas._cpu_flags(), reason="this CPU has no AVX-512")
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
