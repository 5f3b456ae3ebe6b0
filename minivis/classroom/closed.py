"""Stand-ins for libraries that contain ready answers: a submission can import them, but not call them.

Not here: a sandbox. A determined student can get around this; it only stops library calls that were left in by mistake.
"""

import importlib.abc
import importlib.machinery
import sys
import types

__all__ = ["CLOSED", "Closed", "close"]

CLOSED = ("minivis", "scipy", "torch", "torchvision", "tensorflow", "keras", "jax", "flax", "cupy", "autograd", "sklearn",
          "skimage", "cv2", "transformers", "timm", "einops", "hypothesis")  # fmt: skip
# calls that do nothing while grading: checks and pictures
SILENT = ("minivis.classroom.award", "minivis.laws.check", "minivis.viz.")


class Closed(Exception):
    """A function of a closed library was called."""


class StandIn(types.ModuleType):
    """A module, function or class of a closed library: every name exists, every call is refused."""

    __path__ = ()
    __all__ = ()

    def __getattr__(self, name):
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return StandIn(f"{self.__name__}.{name}")

    def __call__(self, *args, **options):
        if self.__name__.startswith(SILENT):
            return None
        raise Closed(f"This uses the library's own: {self.__name__}.")

    def __mro_entries__(self, bases):
        raise Closed(f"This uses the library's own: {self.__name__}.")


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds every module of the closed libraries, installed or not."""

    def __init__(self, closed):
        self.closed = frozenset(closed)

    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] in self.closed:
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec):
        return StandIn(spec.name)

    def exec_module(self, module):
        pass


def close(libraries=CLOSED):
    """Replace libraries by stand-ins, in this process and from now on.

    Parameters
    ----------
    libraries : iterable of str
        Names of top-level packages.
    """
    for name in list(sys.modules):
        if name.partition(".")[0] in libraries:
            del sys.modules[name]
    sys.meta_path.insert(0, _Finder(libraries))
