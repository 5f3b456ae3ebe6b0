"""The doctor in every situation it should recognise, each made up: what it says, what to do, and the exit code.

Not here: a claim about the machine that runs this; only that the real report is whole and readable.
"""

import io
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import types
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

from minivis import doctor
from minivis.doctor import Finding

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_real_report_is_whole_and_this_machine_can_run_minivis():
    result = subprocess.run(
        [sys.executable, "-m", "minivis", "doctor"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert (result.returncode, result.stderr) == (0, "")
    subjects = re.findall(r"(?m)^  (?:ok|note)\s+(\S+)  ", result.stdout)
    assert [subjects.count(name) for name in ("Python", "NumPy", "BLAS", "Threads", "Disk")] == [1] * 5
    assert result.stdout.splitlines()[-1].startswith("minivis can be used here")


def test_packages_are_those_of_the_project():
    needed = {found.name: str(found.specifier) for found in map(Requirement, PROJECT["dependencies"])}
    assert {package: f">={oldest}" for package, (_, oldest) in doctor.NEEDED.items()} == needed
    extras = PROJECT["optional-dependencies"]
    assert doctor.OPTIONAL.keys() <= {Requirement(line).name for line in extras["notebooks"] + extras["fast"]}


def test_report_is_aligned_and_ends_with_the_verdict():
    findings = [
        Finding("ok", "Python", "3.12"),
        Finding("note", "Disk", "full", "make room"),
        Finding("broken", "x", "y"),
    ]
    assert doctor.report(findings).splitlines() == [
        "  ok      Python  3.12",
        "  note    Disk    full",
        "                  -> make room",
        "  broken  x       y",
        "",
        "minivis cannot be fully used here: 1 problem above, each with what to do.",
    ]
    assert doctor.report(findings[:2]).endswith(
        "can be used here. 1 note above: it works, and could be better."
    )
    assert doctor.report(findings[:1]).endswith("minivis can be used here, and nothing could be better.")


@pytest.mark.parametrize(("states", "code"), [(["ok", "note"], 0), (["ok", "broken", "note"], 1)])
def test_exit_code(monkeypatch, states, code):
    monkeypatch.setattr(doctor, "examine", lambda: [Finding(state, "x", "y") for state in states])
    assert doctor.main(io.StringIO()) == code


def test_a_look_that_fails_is_a_finding(monkeypatch):
    def _disk():
        raise RuntimeError("no such luck\nand more")

    monkeypatch.setattr(doctor, "_disk", _disk)
    assert doctor.examine()[-1] == Finding("note", "disk", "could not be examined: no such luck")


# ---------------------------------------------------------------------------------------------------------------------
# Python and packages


@pytest.mark.parametrize(
    ("version", "state"), [((3, 10, 9), "broken"), ((3, 11, 0), "ok"), ((3, 14, 0), "broken")]
)
def test_python(monkeypatch, version, state):
    with monkeypatch.context() as patch:
        patch.setattr(doctor, "sys", types.SimpleNamespace(version_info=version, executable="/bin/python"))
        (found,) = doctor._python()
    assert found.state == state and ("3.11, 3.12 or 3.13" in found.todo) == (state == "broken")


def installed(monkeypatch, **versions):
    """Pretend these versions are installed (None: not), whatever is; `_` stands for the hyphen."""
    versions = {name.replace("_", "-"): version for name, version in versions.items()}
    real = metadata.version

    def version(package):
        found = versions[package] if package in versions else real(package)
        if found is None:
            raise metadata.PackageNotFoundError(package)
        return found

    monkeypatch.setattr(metadata, "version", version)


def find(findings, subject):
    (found,) = [finding for finding in findings if finding.subject == subject]
    return found


def test_a_missing_needed_package_is_broken(monkeypatch):
    installed(monkeypatch, safetensors=None)
    found = find(doctor._needed(), "safetensors")
    assert (found.state, found.says) == ("broken", "not installed")
    assert found.todo == f'{sys.executable} -m pip install --upgrade "safetensors>=0.4.3"'


@pytest.mark.parametrize(
    ("version", "state"),
    [("0.4.2", "broken"), ("0.4.3", "ok"), ("0.10.0rc1", "ok"), ("0.4", "broken"), ("1.0", "ok")],
)
def test_a_version_too_old_is_broken(monkeypatch, version, state):
    installed(monkeypatch, safetensors=version)
    assert find(doctor._needed(), "safetensors").state == state


def test_a_path_with_spaces_can_be_pasted(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/my things/python")
    assert doctor._pip("tqdm") == '"/my things/python" -m pip install tqdm'


def test_a_package_that_does_not_load_is_broken(monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    found = find(doctor._needed(), "safetensors")
    assert found.state == "broken" and "does not load" in found.says and "pip install" in found.todo


def test_a_missing_optional_package_is_a_note_with_its_pip_line(monkeypatch):
    installed(monkeypatch, scikit_learn=None)
    found = find(doctor._optional(), "scikit-learn")
    assert (found.state, found.says) == ("note", "not installed (the handwritten digits and two photos)")
    assert found.todo.endswith("-m pip install scikit-learn")


# ---------------------------------------------------------------------------------------------------------------------
# BLAS and threads


def blas(monkeypatch, kernel="Haswell", threads=2, features=("AVX2",), chosen=None):
    """Pretend NumPy came with this BLAS on this CPU."""
    build = {"Build Dependencies": {"blas": {"name": "scipy-openblas", "version": "0.3.31"}}}
    config = {**build, "SIMD Extensions": {"baseline": ["SSE"], "found": list(features)}}
    monkeypatch.setattr(np, "show_config", lambda mode: config)
    loaded = {"user_api": "blas", "architecture": kernel, "num_threads": threads}
    monkeypatch.setattr(doctor, "_loaded_blas", lambda: loaded)
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    if chosen:
        monkeypatch.setenv("OPENBLAS_CORETYPE", chosen)


@pytest.mark.parametrize("features", [("AVX2", "AVX512F", "AVX512_SKX"), ("X86_V3", "X86_V4")])
def test_an_avx2_kernel_on_an_avx512_cpu_gets_the_export_line(monkeypatch, features):
    blas(monkeypatch, "Haswell", features=features)
    kernel, cpu = doctor._blas()
    assert kernel == Finding("ok", "BLAS", "scipy-openblas 0.3.31, kernel Haswell")
    assert cpu.state == "note" and cpu.todo.startswith("export OPENBLAS_CORETYPE=SkylakeX")
    monkeypatch.setattr(sys, "platform", "win32")
    assert doctor._blas()[1].todo.startswith("setx OPENBLAS_CORETYPE SkylakeX")


def test_the_users_own_choice_is_named(monkeypatch):
    blas(monkeypatch, "Haswell", features=["X86_V4"], chosen="Haswell")
    assert doctor._blas()[1].state == "note" and "(OPENBLAS_CORETYPE=Haswell)" in doctor._blas()[1].says
    blas(monkeypatch, "SkylakeX", features=["X86_V4"], chosen="SkylakeX")
    assert (
        doctor._blas()[1].state == "ok"
        and "with AVX-512 (OPENBLAS_CORETYPE=SkylakeX)" in doctor._blas()[1].says
    )


@pytest.mark.parametrize(
    ("kernel", "features"), [("SkylakeX", ["AVX512F"]), ("Haswell", ["AVX2"]), ("neoversen1", ["NEON"])]
)
def test_a_kernel_that_suits_the_cpu_is_fine(monkeypatch, kernel, features):
    blas(monkeypatch, kernel, features=features)
    assert [found.state for found in doctor._blas()] == ["ok", "ok"]


def test_an_unknown_kernel_says_how_to_know(monkeypatch):
    blas(monkeypatch)
    monkeypatch.setattr(doctor, "_loaded_blas", lambda: None)
    (found,) = doctor._blas()
    assert found.state == "note" and found.todo.endswith("pip install threadpoolctl")


def test_threadpoolctl_may_be_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert doctor._loaded_blas() is None


@pytest.mark.parametrize(("threads", "cores", "state"), [(2, 2, "ok"), (1, 4, "ok"), (64, 2, "note")])
def test_more_threads_than_cores(monkeypatch, threads, cores, state):
    blas(monkeypatch, threads=threads)
    monkeypatch.setattr(doctor, "_usable_cores", lambda: cores)
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
    (found,) = doctor._threads()
    assert found.state == state and f"OMP_NUM_THREADS={threads}" in found.says
    assert found.todo.startswith("export OMP_NUM_THREADS=2") == (state == "note")


@pytest.mark.parametrize(
    ("limit", "cores"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 8), ("", 8), (None, 8)]
)
def test_cores_of_a_container(monkeypatch, tmp_path, limit, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(8), raising=False)
    file = tmp_path / "cpu.max"
    if limit is not None:
        file.write_text(limit + "\n")
    assert doctor._usable_cores(file) == cores


def test_cores_where_affinity_is_unknown(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert doctor._usable_cores(tmp_path / "none") == 6


# ---------------------------------------------------------------------------------------------------------------------
# GPU


def runtime(driver=13000, built=13000, devices=1, **also):
    properties = {"name": b"A GPU", "totalGlobalMem": 8 * 2**30, "major": 9, "minor": 0}
    members = dict(
        driverGetVersion=lambda: driver, runtimeGetVersion=lambda: built, getDeviceCount=lambda: devices
    )
    return types.SimpleNamespace(**{**members, "getDeviceProperties": lambda index: properties, **also})


def gpu(monkeypatch, distributions=("cupy-cuda13x",), driver=True, **members):
    """Pretend these CuPy packages are installed; NumPy plays CuPy."""
    monkeypatch.setattr(doctor, "_distributions", lambda prefix: dict.fromkeys(distributions, "14.2.0"))
    monkeypatch.setattr(doctor, "_has_nvidia_driver", lambda: driver)
    numpy = dict(
        arange=np.arange, tanh=np.tanh, float32=np.float32, cuda=types.SimpleNamespace(runtime=runtime())
    )
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(**{**numpy, **members}))
    return {found.subject: found for found in doctor._gpu()}


def raising(error):
    def function(*arguments, **options):
        raise error

    return function


def with_runtime(**changes):
    return types.SimpleNamespace(runtime=runtime(**changes))


def test_a_gpu_that_computes(monkeypatch):
    found = gpu(monkeypatch)
    assert [finding.state for finding in found.values()] == ["ok", "ok", "ok"]
    assert found["CUDA"].says == "driver for CUDA 13.0, CuPy built for 13.0"
    assert found["GPU"].says == "A GPU, 8 GiB, compute capability 9.0, computes"


@pytest.mark.parametrize(
    ("driver", "state", "todo"), [(False, "ok", ""), (True, "note", "pip install cupy-cuda13x")]
)
def test_without_cupy(monkeypatch, driver, state, todo):
    found = gpu(monkeypatch, distributions=(), driver=driver)["GPU"]
    assert found.state == state and found.todo.endswith(todo)


def test_two_cupys(monkeypatch):
    found = gpu(monkeypatch, distributions=("cupy-cuda13x", "cupy-cuda12x"))["CuPy"]
    assert found.state == "note" and found.todo.endswith("pip uninstall cupy-cuda12x")


def test_a_cupy_that_does_not_load(monkeypatch):
    gpu(monkeypatch)
    monkeypatch.setitem(sys.modules, "cupy", None)
    (found,) = doctor._gpu()
    assert "does not load" in found.says and "--force-reinstall cupy-cuda13x" in found.todo


@pytest.mark.parametrize(
    ("members", "subject", "says", "todo"),
    [
        (dict(cuda=with_runtime(driver=0)), "CUDA", "no NVIDIA driver", "nvidia.com/drivers"),
        (
            dict(cuda=with_runtime(driver=12040)),
            "CUDA",
            "CUDA 12.4, CuPy built for 13.0: the driver is too old",
            "cupy-cuda12x",
        ),
        (dict(cuda=with_runtime(devices=0)), "GPU", "no CUDA device", "CUDA_VISIBLE_DEVICES"),
        (
            dict(cuda=with_runtime(getDeviceCount=raising(RuntimeError("cudaErrorNoDevice")))),
            "GPU",
            "cudaErrorNoDevice",
            "nvidia-smi",
        ),
        (
            dict(tanh=raising(RuntimeError("libnvrtc.so not found"))),
            "GPU",
            "cannot compute: libnvrtc.so not found",
            "[ctk]",
        ),
        (dict(tanh=np.zeros_like), "GPU", "computes wrongly", "update the driver"),
    ],
)
def test_a_gpu_that_cannot_be_used_is_a_note(monkeypatch, members, subject, says, todo):
    found = gpu(monkeypatch, **members)[subject]
    assert found.state == "note" and says in found.says and todo in found.todo


def test_installed_distributions_are_found_by_prefix():
    assert doctor._distributions("numpy") == {"numpy": np.__version__}
    assert doctor._distributions("nump") == {}


# ---------------------------------------------------------------------------------------------------------------------
# Disk


@pytest.mark.parametrize(
    ("reason", "platform", "nbgrader", "state", "says"),
    [
        ("", "linux", True, "ok", "isolated: a submission sees its own files and nothing else (bubblewrap)"),
        ("no bwrap", "linux", True, "note", "not isolated: no bwrap"),
        ("no bwrap", "linux", False, "ok", "not isolated: no bwrap"),
        ("no bwrap", "darwin", True, "ok", "not isolated: no bwrap"),
    ],
)
def test_grading(monkeypatch, reason, platform, nbgrader, state, says):
    from minivis.classroom import isolation

    monkeypatch.setattr(isolation, "why_not", lambda: reason)
    monkeypatch.setattr(doctor.sys, "platform", platform)
    monkeypatch.setattr(doctor, "_distributions", lambda name: {name: "1"} if nbgrader else {})
    (found,) = doctor._grading()
    assert (found.state, found.subject, found.says, bool(found.todo)) == (
        state,
        "Grading",
        says,
        state == "note",
    )


def test_disk(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Usage = namedtuple("Usage", "free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: Usage(5 * 2**30))
    (found,) = doctor._disk()
    assert (found.state, found.says) == ("ok", f"5.0 GiB free in {tmp_path}")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: Usage(2**29))
    (found,) = doctor._disk()
    assert found.state == "note" and "make room" in found.todo
    monkeypatch.setattr(tempfile, "TemporaryFile", raising(PermissionError("Permission denied")))
    (found,) = doctor._disk()
    assert found.state == "note" and "--out DIR" in found.todo and "Permission denied" in found.says


def test_published_weights(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (found,) = doctor._published()
    assert (found.state, found.says) == ("ok", "none fetched: minivis fetch lists them")
    folder = tmp_path / "minivis" / "published" / "resnet-50"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").touch()
    (found,) = doctor._published()
    assert found.says == f"resnet-50 in {folder.parent}"
