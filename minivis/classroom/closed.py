"""Stand-ins for the libraries that have the answers ready: they can be imported, and refuse to be called.

Not here: a sandbox. Whoever wants to can get around this; it keeps an honest mistake from being graded as work.
"""

import importlib.abc
import importlib.machinery
import sys
import types

__all__ = ["CLOSED", "Closed", "close"]

CLOSED = ("minivis", "scipy", "torch", "torchvision", "tensorflow", "keras", "jax", "flax", "cupy", "autograd", "sklearn",
          "skimage", "cv2", "transformers", "timm", "einops", "hypothesis")  # fmt: skip
# calls that do nothing: checks, pictures
SILENT = ("minivis.classroom.award", "minivis.laws.check", "minivis.viz.")


class Closed(Exception):
    """Something of a closed library was called."""


class StandIn(types.ModuleType):
    """A module, function or class of a closed library: every name is there, no call goes through."""

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
    """Finds every module of the closed libraries, wherever it would lie: installed or not."""

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
    """From now on, in this process, these libraries are stand-ins.

    Parameters
    ----------
    libraries : iterable of str
        Names of top-level packages.
    """
    for name in list(sys.modules):
        if name.partition(".")[0] in libraries:
            del sys.modules[name]
    sys.meta_path.insert(0, _Finder(libraries))
