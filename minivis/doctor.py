"""`minivis doctor`: check Python, packages, BLAS, threads, grading, GPU, weights and disk, and say how to solve each problem.

It imports each package, including CuPy, to see that it works. Not here: repairs; the doctor changes nothing.
"""

import functools
import importlib
import math
import os
import platform
import shutil
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

__all__ = ["Finding", "examine", "main", "report"]

# package: (module, oldest version that works); a test checks that pyproject.toml says the same
NEEDED = {
    "numpy": ("numpy", "2"),
    "scipy": ("scipy", "1.13"),
    "matplotlib": ("matplotlib", "3.9"),
    "hypothesis": ("hypothesis", "6.100"),
    "pillow": ("PIL", "10.3"),
    "safetensors": ("safetensors", "0.4.3"),
    "tqdm": ("tqdm", "4.66"),
}
# package: (module, what it is for)
OPTIONAL = {
    "jupyterlab": ("jupyterlab", "the notebooks"),
    "ipykernel": ("ipykernel", "the notebooks"),
    "ipywidgets": ("ipywidgets", "sliders in the notebooks"),
    "ipympl": ("ipympl", "clicks on pictures in the notebooks"),
    "scikit-learn": ("sklearn", "the handwritten digits and two photos"),
    "numba": ("numba", "compiled loops: training takes a quarter less time"),
}
AVX2_KERNELS = {"Haswell", "Zen"}  # OpenBLAS uses these on a CPU that it does not know
BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "OMP_NUM_THREADS")
PATIENCE = "OPENBLAS_THREAD_TIMEOUT"  # how long an idle OpenBLAS thread keeps its core


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Parameters
    ----------
    state : str
        ``"ok"``, ``"note"`` (works, could be better) or ``"broken"`` (something needed does not work).
    subject : str
        What was checked.
    says : str
        What was found.
    todo : str
        What to do about it; empty if there is nothing to do.
    """

    state: str
    subject: str
    says: str
    todo: str = ""


_ok, _note, _broken = (functools.partial(Finding, state) for state in ("ok", "note", "broken"))


def main(stream=None):
    """Print the report and return the exit code: 0 if minivis can be used here, 1 if something required is broken.

    Parameters
    ----------
    stream : text file, optional
        Where to print the report; default: stdout.

    Returns
    -------
    int
        0 or 1.
    """
    findings = examine()
    print(report(findings), file=stream)
    return int(any(finding.state == "broken" for finding in findings))


def examine():
    """Check this machine, one subject after the other.

    Returns
    -------
    list of Finding
        In the order of the report. If a check itself fails, that is a finding too.

    Examples
    --------
    >>> examine()[0].subject
    'Python'
    """
    findings = []
    for look in (_python, _needed, _blas, _threads, _optional, _grading, _gpu, _published, _disk):
        try:
            findings += look()
        except Exception as error:
            findings.append(
                Finding("note", look.__name__.strip("_"), f"could not be examined: {_line(error)}")
            )
    return findings


def report(findings):
    """Format findings as aligned text with a verdict in the last line.

    Parameters
    ----------
    findings : list of Finding
        What `examine` returned.

    Returns
    -------
    str
        One line for each finding, followed by an indented line that says what to do.

    Examples
    --------
    >>> print(report([Finding("note", "CuPy", "not installed", "pip install cupy-cuda13x")]))
      note    CuPy  not installed
                    -> pip install cupy-cuda13x
    <BLANKLINE>
    minivis can be used here. 1 note above: it works, and could be better.
    """
    width = max(len(finding.subject) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"  {finding.state:<6}  {finding.subject:<{width}}  {finding.says}")
        if finding.todo:
            lines += textwrap.indent(f"-> {finding.todo}", " " * (width + 12)).splitlines()
    broken, notes = ([finding.state for finding in findings].count(state) for state in ("broken", "note"))
    if broken:
        verdict = (
            f"minivis cannot be fully used here: {_count(broken, 'problem')} above, each with what to do."
        )
    elif notes:
        verdict = f"minivis can be used here. {_count(notes, 'note')} above: it works, and could be better."
    else:
        verdict = "minivis can be used here, and nothing could be better."
    return "\n".join([*lines, "", verdict])


def _python():
    says = f"{platform.python_version()} on {platform.system()} {platform.machine()} ({sys.executable})"
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return [_ok("Python", says)]
    return [_broken("Python", says, "use Python 3.11, 3.12 or 3.13: make PYTHON=python3.12 setup")]


def _needed():
    found = []
    for package, (module, oldest) in NEEDED.items():
        name = _title(package)
        install = _pip(f'--upgrade "{package}>={oldest}"')
        version, problem = _load(package, module)
        if problem:
            found.append(_broken(name, problem, install))
        elif _numbers(version) < _numbers(oldest):
            found.append(_broken(name, f"{version} is too old", install))
        else:
            found.append(_ok(name, version))
    return found


def _optional():
    found = []
    for package, (module, use) in OPTIONAL.items():
        version, problem = _load(package, module)
        if problem:
            found.append(_note(_title(package), f"{problem} ({use})", _pip(package)))
        else:
            found.append(_ok(_title(package), version))
    return found


def _blas():
    import numpy

    config = numpy.show_config(mode="dicts")
    build = config["Build Dependencies"]["blas"]
    says = f"{build['name']} {build.get('version', '')}".strip()
    loaded = _loaded_blas()
    if loaded is None:
        return [_note("BLAS", f"{says}; its kernel and threads are not known", _pip("threadpoolctl"))]
    kernel = loaded.get("architecture", "")
    found = [_ok("BLAS", f"{says}, kernel {kernel}" if kernel else says)]
    wide = any(name.startswith("AVX512") or name == "X86_V4" for name in config["SIMD Extensions"]["found"])
    chosen = os.environ.get("OPENBLAS_CORETYPE")
    because = f" (OPENBLAS_CORETYPE={chosen})" if chosen else ""
    if wide and kernel in AVX2_KERNELS:
        says = f"has AVX-512, which the BLAS kernel {kernel} does not use{because}: large products could be faster"
        todo = f"{_setenv('OPENBLAS_CORETYPE', 'SkylakeX')}   (before Python starts)"
        found.append(_note("CPU", says, todo))
    else:
        found.append(_ok("CPU", f"{platform.machine()}, {'with' if wide else 'without'} AVX-512{because}"))
    return found


def _threads():
    cores = _usable_cores()
    asked = ", ".join(
        f"{name}={os.environ[name]}" for name in (*BLAS_THREADS, PATIENCE) if name in os.environ
    )
    threads = (_loaded_blas() or {}).get("num_threads")
    says = f"{_count(cores, 'core')} to use"
    says += f", BLAS uses {_count(threads, 'thread')}" if threads else ""
    says += f" ({asked})" if asked else ""
    if threads and threads > cores:
        todo = f"{_setenv('OMP_NUM_THREADS', cores)}   (more threads than cores wait for one another)"
        return [_note("Threads", says, todo)]
    return [_ok("Threads", says)]


def _grading():
    from minivis.classroom import isolation

    reason = isolation.why_not()
    if not reason:
        return [_ok("Grading", "isolated: a submission sees its own files and nothing else (bubblewrap)")]
    says = f"not isolated: {reason}"
    if sys.platform == "linux" and _distributions("nbgrader"):
        return [_note("Grading", says, "see the teacher's guide: students' code would run with your rights")]
    return [_ok("Grading", says)]


def _gpu():
    installed = _distributions("cupy")
    if not installed:
        if not _has_nvidia_driver():
            return [_ok("GPU", "no NVIDIA driver here, and no CuPy: minivis computes on the CPU")]
        return [_note("GPU", "an NVIDIA driver is here, CuPy is not installed", _pip("cupy-cuda13x"))]
    if len(installed) > 1:
        todo = f"keep one: {sys.executable} -m pip uninstall {' '.join(sorted(installed)[:-1])}"
        return [_note("CuPy", f"installed more than once: {', '.join(sorted(installed))}", todo)]
    ((package, version),) = installed.items()
    found = [_ok("CuPy", f"{version} ({package})")]
    try:
        cupy = importlib.import_module("cupy")
        runtime = cupy.cuda.runtime
        driver, built = runtime.driverGetVersion(), runtime.runtimeGetVersion()
    except Exception as error:
        return [
            _note("CuPy", f"{version} does not load: {_line(error)}", _pip(f"--force-reinstall {package}"))
        ]
    if driver == 0:
        todo = "install one from nvidia.com/drivers if this machine has an NVIDIA GPU; the CPU works without"
        return [*found, _note("CUDA", "no NVIDIA driver", todo)]
    says = f"driver for CUDA {_cuda(driver)}, CuPy built for {_cuda(built)}"
    if driver // 1000 < built // 1000:
        todo = f"update the driver, or {_pip(f'cupy-cuda{driver // 1000}x')} after uninstalling {package}"
        return [*found, _note("CUDA", f"{says}: the driver is too old", todo)]
    return [*found, _ok("CUDA", says), *_device(cupy)]


def _device(cupy):
    runtime = cupy.cuda.runtime
    try:
        if not runtime.getDeviceCount():
            raise RuntimeError("no CUDA device")
        device = runtime.getDeviceProperties(0)
    except Exception as error:
        return [
            _note("GPU", _line(error), "nvidia-smi shows what the driver sees; check CUDA_VISIBLE_DEVICES")
        ]
    says = f"{device['name'].decode()}, {device['totalGlobalMem'] / 2**30:.0f} GiB, "
    says += f"compute capability {device['major']}.{device['minor']}"
    try:  # a kernel that must be compiled, and a product from cuBLAS
        x = cupy.arange(6, dtype=cupy.float32).reshape(2, 3)
        total = float(cupy.tanh(0 * x + 1).sum() + (x @ x.T).sum())
    except Exception as error:
        todo = _pip('"cupy-cuda13x[ctk]"') + "   (the CUDA libraries as packages)"
        return [_note("GPU", f"{says}, but it cannot compute: {_line(error)}", todo)]
    if not math.isclose(total, 6 * math.tanh(1) + 83, rel_tol=1e-5):  # x x^T is [[5, 14], [14, 50]]
        return [_note("GPU", f"{says}, but it computes wrongly", "update the driver and CuPy")]
    return [_ok("GPU", f"{says}, computes")]


def _published():
    from minivis.pretrained import hub

    here = [name for name in hub.KNOWN if hub.fetched(name)]
    says = (
        f"{', '.join(here)} in {hub.fetched(here[0]).parent}"
        if here
        else "none fetched: minivis fetch lists them"
    )
    return [_ok("Published weights", says)]


def _disk():
    here = Path.cwd()
    free = shutil.disk_usage(here).free / 2**30
    says = f"{free:.1f} GiB free in {here}"
    try:
        with tempfile.TemporaryFile(dir=here):
            pass
    except OSError as error:
        todo = "results need a folder of yours: minivis train NAME --out DIR"
        return [_note("Disk", f"{says}, but nothing can be written there: {_line(error)}", todo)]
    if free < 1:
        return [_note("Disk", says, "make room: a training run keeps its checkpoints there")]
    return [_ok("Disk", says)]


def _load(package, module):
    """The installed version of a package, and a text that says what is wrong with it (empty if nothing is)."""
    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        return "", "not installed"
    try:
        importlib.import_module(module)
    except Exception as error:
        return version, f"{version} does not load: {_line(error)}"
    return version, ""


def _loaded_blas():
    """What threadpoolctl knows about NumPy's BLAS (kernel, threads); None if it is not installed."""
    try:
        threadpoolctl = importlib.import_module("threadpoolctl")
    except ImportError:
        return None
    return next((found for found in threadpoolctl.threadpool_info() if found["user_api"] == "blas"), None)


def _usable_cores(limit=Path("/sys/fs/cgroup/cpu.max")):
    """The number of cores that this process may use. A container may have fewer than the machine: see ``limit``."""
    affinity = getattr(os, "sched_getaffinity", None)  # only on Linux
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = limit.read_text().split()
        return min(cores, max(1, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no such control group, or no limit ("max")
        return cores


def _has_nvidia_driver():
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia/version").exists()


def _distributions(prefix):
    """Installed packages `prefix` or `prefix-...`: CuPy has a name for each CUDA version."""
    names = {str(found.metadata["Name"]).lower(): found.version for found in metadata.distributions()}
    return {
        name: version for name, version in names.items() if name == prefix or name.startswith(f"{prefix}-")
    }


def _numbers(version):
    """The leading numbers of a version, for comparisons: "2.10.0rc1" -> (2, 10, 0)."""
    leading = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        leading.append(int(digits or 0))
        if digits != part:
            break
    return tuple(leading)


def _title(package):
    return {"numpy": "NumPy", "scipy": "SciPy", "jupyterlab": "JupyterLab", "pillow": "Pillow"}.get(
        package, package
    )


def _pip(what):
    python = f'"{sys.executable}"' if " " in sys.executable else sys.executable
    return f"{python} -m pip install {what}"


def _setenv(name, value):
    return f"setx {name} {value}" if sys.platform == "win32" else f"export {name}={value}"


def _cuda(number):
    return f"{number // 1000}.{number % 1000 // 10}"


def _count(number, noun):
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _line(error):
    """The first line of an exception's message, or the name of its type."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
