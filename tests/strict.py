"""A pretend GPU for tests: its arrays compute with NumPy but refuse to mix with NumPy's, as CuPy's do.

Not here: tests. `install()` teaches minivis this array library under the device name "strict".
"""

import contextlib
import types

import numpy as np

from minivis import backend

_reading = True  # whether the host may read from the device, see `no_reads`
NAMES = set()  # every NumPy name that was used: (name, number of positional arguments, keywords)


class StrictArray:
    """An array that lives on the pretend GPU. Not an ndarray subclass: nothing converts it silently."""

    __slots__ = ("host",)
    __array_ufunc__ = None
    __array_priority__ = 1000

    def __init__(self, host):
        self.host = np.asarray(host)

    def __array__(self, *args, **kwargs):
        raise TypeError("strict: implicit conversion of a device array to NumPy; use to_numpy")

    shape = property(lambda self: self.host.shape)
    dtype = property(lambda self: self.host.dtype)
    ndim = property(lambda self: self.host.ndim)
    size = property(lambda self: self.host.size)
    strides = property(lambda self: self.host.strides)
    nbytes = property(lambda self: self.host.nbytes)
    itemsize = property(lambda self: self.host.itemsize)
    flags = property(lambda self: self.host.flags)
    T = property(lambda self: StrictArray(self.host.T))

    def item(self):
        return _read(self).item()

    def __len__(self):
        return len(self.host)

    def __iter__(self):
        return (StrictArray(part) for part in self.host)

    def __bool__(self):
        return bool(_read(self))

    def __float__(self):
        return float(_read(self))

    def __int__(self):
        return int(_read(self))

    def __repr__(self):
        return f"StrictArray({self.host!r})"

    __hash__ = None

    def __getitem__(self, index):
        return StrictArray(self.host[_unwrap(index, indexing=True)])

    def __setitem__(self, index, value):
        self.host[_unwrap(index, indexing=True)] = _unwrap(value)


def _read(x):
    assert _reading, "strict: the host reads from the device, and waits for it"
    return x.host


@contextlib.contextmanager
def no_reads():
    """Inside, it is an error that the host reads anything from the device: a GPU would have to be waited for."""
    global _reading
    _reading = False
    try:
        yield
    finally:
        _reading = True


def _unwrap(x, indexing=False):
    """The host values behind device arrays; a NumPy array among them is a leak."""
    if isinstance(x, StrictArray):
        return x.host
    if isinstance(x, np.ndarray) or (isinstance(x, np.generic) and not indexing):
        raise TypeError(f"strict: a NumPy {type(x).__name__} of shape {np.shape(x)} met a device array")
    if isinstance(x, (list, tuple)):
        return type(x)(_unwrap(part, indexing) for part in x)
    return x


def _wrap(x):
    if isinstance(x, (np.ndarray, np.generic)):
        return StrictArray(x)
    if isinstance(x, (list, tuple)) and any(isinstance(part, np.ndarray) for part in x):
        return type(x)(_wrap(part) for part in x)
    return x


def _note(name, args=(), kwargs=()):
    NAMES.add((name, len(args), tuple(sorted(kwargs))))


def _lifted(function, name=None):
    def call(*args, **kwargs):
        if name is not None:
            _note(name, args, kwargs)
        return _wrap(function(*_unwrap(args), **{k: _unwrap(v) for k, v in kwargs.items()}))

    return call


def _in_place(operator):
    def apply(self, other):
        result = getattr(self.host, operator)(_unwrap(other))
        assert result is not NotImplemented
        return self

    return apply


for _name in (
    "add sub mul truediv floordiv mod pow radd rsub rmul rtruediv rpow matmul rmatmul neg pos abs invert "
    "eq ne lt le gt ge and or xor rand ror"
).split():
    _method = f"__{_name}__"

    def _operator(self, *other, _method=_method):
        result = getattr(self.host, _method)(*_unwrap(other))
        return result if result is NotImplemented else StrictArray(result)

    setattr(StrictArray, _method, _operator)
for _name in "iadd isub imul itruediv ipow iand ior".split():
    setattr(StrictArray, f"__{_name}__", _in_place(f"__{_name}__"))
for _name in (
    "sum mean max min argmax argmin argsort any all prod cumsum reshape transpose swapaxes ravel astype copy squeeze "
    "round clip repeat take nonzero var std flatten"
).split():

    def _call(self, *args, _name=_name, **kwargs):
        _note(f"ndarray.{_name}", args, kwargs)
        return _wrap(getattr(self.host, _name)(*_unwrap(args), **{k: _unwrap(v) for k, v in kwargs.items()}))

    setattr(StrictArray, _name, _call)


class StrictNamespace(types.ModuleType):
    """NumPy's functions on device arrays; remembers which names and keywords were used (see `NAMES`)."""

    def __init__(self, module=np, prefix=""):
        super().__init__("strict")
        self._module, self._prefix = module, prefix

    def __getattr__(self, name):
        value = getattr(self._module, name)
        full = self._prefix + name
        if isinstance(value, types.ModuleType):
            return StrictNamespace(value, full + ".")
        if isinstance(value, type) or not callable(value):
            _note(full)
            return value
        if name in ("asarray", "array", "ascontiguousarray"):  # cupy's take host arrays: an explicit move

            def moved(x, *args, **kwargs):
                _note(full, (x, *args), kwargs)
                return StrictArray(value(_to_host(x), *args, **kwargs))

            return moved
        return _lifted(value, full)


def _to_host(x):
    if isinstance(x, (list, tuple)):
        return [_to_host(part) for part in x]
    return x.host if isinstance(x, StrictArray) else x


def install():
    """Make the device "strict" known to minivis; idempotent."""
    xp = StrictNamespace()

    def function(name):
        from scipy import special

        return lambda x: StrictArray(getattr(special, name)(x.host))

    backend.register(
        StrictArray,
        xp,
        "strict",
        to_host=_read,
        from_host=lambda x: StrictArray(np.array(x)),
        special=function,
        scatter_add=lambda out, index, values: np.add.at(out.host, _unwrap(index, True), _unwrap(values)),
    )
    return xp


class Routines(types.ModuleType):
    """The routines of NumPy (minivis/fast/blocks.py) on device arrays."""

    def __getattr__(self, name):
        from minivis.fast import blocks

        return _lifted(getattr(blocks, name))
