"""What every test shares: Hypothesis profiles, a headless matplotlib, and GPU tests that say why they are skipped.

Not here: fixtures of one subject; they stand beside its tests.
"""

import importlib.util
import os

import pytest
from hypothesis import HealthCheck, settings

from tests import strict

os.environ.setdefault("MPLBACKEND", "Agg")  # before anything imports matplotlib: no window, no display

# A shared machine is slow, not wrong: no profile has a deadline, and only `thorough` minds slow generation.
settings.register_profile("dev", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True, database=None, print_blob=True)
settings.register_profile("thorough", max_examples=1000, deadline=None)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") == "true" else "dev")
settings.load_profile(PROFILE)


@pytest.fixture(params=["strict", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request):
    """A device other than the CPU: the pretend GPU of tests/strict.py, and a real one where there is one."""
    strict.install()
    return request.param


def why_no_gpu():
    """Return why GPU tests cannot run here, or an empty string when they can."""
    if importlib.util.find_spec("cupy") is None:
        return "CuPy is not installed"
    import cupy

    try:
        return "" if cupy.cuda.runtime.getDeviceCount() else "no CUDA device"
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CuPy finds no usable CUDA device: {error}"


def pytest_collection_modifyitems(items):
    """Skip what is marked `gpu` where there is no GPU; ask CuPy only when there is such a test."""
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu and (reason := why_no_gpu()):
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_report_header():
    """Name the Hypothesis profile: it decides whether a failure can be drawn again."""
    return f"hypothesis profile: {PROFILE} (choose with HYPOTHESIS_PROFILE=dev|ci|thorough)"
