"""Force faster ways wherever they are possible, also where they do not pay. Not here: tests."""

import contextlib
import importlib
import pkgutil
import sys

import minivis as mv
from minivis.fast import routines
from tests import strict


def functions():
    """Every function of minivis that has a faster way, by name."""
    for module in pkgutil.walk_packages(mv.__path__, "minivis."):
        if (
            module.name.split(".")[1] in ("ops", "vision", "losses", "optim", "fast")
            and ".cuda" not in module.name
        ):
            with contextlib.suppress(ImportError):  # Numba is not installed
                importlib.import_module(module.name)
    found = {}
    for name, module in sorted(sys.modules.items()):
        if name.startswith("minivis."):
            for value in vars(module).values():
                ways = getattr(value, "ways", None)
                if isinstance(ways, list) and ways and callable(value):
                    found[id(ways)] = value
    return {f.__name__: f for f in found.values()}


FUNCTIONS = functions()
MOST = max(len(f.ways) for f in FUNCTIONS.values())


@contextlib.contextmanager
def on_strict():
    """Inside, the pretend GPU has routines, so that the faster ways are taken for its arrays too."""
    routines.register("strict", strict.Routines("strict_routines"))
    try:
        yield
    finally:
        del routines._BY_DEVICE["strict"]


@contextlib.contextmanager
def forced(number=0, compiled=True):
    """In the block, each function takes its faster way number ``number`` (or its last) if it can; yields the names taken.

    With ``compiled`` the loops are Numba's, also for small arrays of float32; otherwise they are NumPy's.
    """
    taken = set()
    before = [(way, way.function, way.pays) for f in FUNCTIONS.values() for way in f.ways]
    there = routines.numba_is_there
    least = routines.LARGE

    def noting(function):
        def call(*args, **options):
            taken.add(function.__name__)
            return function(*args, **options)

        return call

    try:
        for f in FUNCTIONS.values():
            for n, way in enumerate(f.ways):
                picked = n == min(number, len(f.ways) - 1)
                way.pays = lambda *args, picked=picked, **options: picked
                way.function = noting(way.function)
        routines.LARGE = 1
        if not compiled:
            routines.numba_is_there = lambda: False
        yield taken
    finally:
        routines.numba_is_there = there
        routines.LARGE = least
        for way, function, pays in before:
            way.function = function
            way.pays = pays
