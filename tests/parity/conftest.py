"""What the rows of parity change in PyTorch is undone after each test. Not here: the rows."""

import sys

import pytest


@pytest.fixture(autouse=True)
def default_dtype_stays():
    """The rows compute in float64, which PyTorch's constructors have to be told."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_default_dtype(sys.modules["torch"].float32)
