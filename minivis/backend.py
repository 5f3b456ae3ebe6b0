"""Find the array library of an array, move arrays between devices, and wrap the few functions that differ.

Not here: mathematics. Only this file and fast/cuda*.py use CuPy.
"""

import sys
import warnings

import numpy as np

__all__ = [
    "ArrayError",
    "allow_tf32",
    "as_array",
    "available",
    "device_of",
    "erf",
    "erfcx",
    "check_floating",
    "is_array",
    "meet",
    "namespace",
    "peak_memory",
    "plain",
    "register",
    "scatter_add",
    "to_device",
    "to_numpy",
]


class ArrayError(TypeError):
    """An argument is not an array, or arrays are on different devices."""


class _Library:
    """An array library: its NumPy-like namespace, its device, how to copy to and from the host, special functions."""

    __slots__ = ("namespace", "device", "to_host", "from_host", "special", "scatter_add")

    def __init__(self, namespace, device, to_host, from_host, special, scatter_add):
        self.namespace, self.device = namespace, device
        self.to_host, self.from_host = to_host, from_host
        self.special, self.scatter_add = special, scatter_add


def _numpy_special(name):
    from scipy import special

    return getattr(special, name)


def _numpy_scatter_add(out, index, values):
    """``np.add.at``. Many whole rows are added by a product with a sparse matrix of ones, which is faster."""
    rows = index[0] if isinstance(index, tuple) and len(index) == 1 else index
    whole = isinstance(rows, np.ndarray) and rows.dtype.kind in "iu" and out.ndim > 1
    if not whole or values.size < 2**12 or not out.dtype == values.dtype in ("float32", "float64"):
        np.add.at(out, index, values)
        return
    from scipy.sparse import csr_array

    n = rows.size
    picks = csr_array((np.ones(n, out.dtype), rows.ravel() % len(out), np.arange(n + 1)), (n, len(out)))
    out += (picks.T @ values.reshape(n, -1)).reshape(out.shape)


_NUMPY = _Library(np, "cpu", np.asarray, np.asarray, _numpy_special, _numpy_scatter_add)
_LIBRARIES = {np.ndarray: _NUMPY}
_SCALARS = {float, int, bool, type(None)}  # types that fit every array library


def register(array_type, namespace, device, to_host, from_host, special, scatter_add):
    """Add an array library. CuPy is added when its first array is seen; tests add a pretend GPU.

    Parameters
    ----------
    array_type : type
        The library's array class.
    namespace : module
        Its NumPy-like functions.
    device : str
        Its name for `to_device`.
    to_host, from_host : callable
        Array to ``numpy.ndarray`` and back.
    special : callable
        ``special(name)`` returns its version of a function of ``scipy.special``, such as "erf".
    scatter_add : callable
        ``scatter_add(out, index, values)``, in place, summing repeated indices.
    """
    _LIBRARIES[array_type] = _Library(namespace, device, to_host, from_host, special, scatter_add)


def _register_cupy():
    import cupy
    from cupyx.scipy import special

    def special_function(name):
        return getattr(special, name)

    register(cupy.ndarray, cupy, "gpu", cupy.asnumpy, cupy.asarray, special_function, cupy.add.at)


def _library(x):
    """The library of an array, or None for anything that is not an array."""
    found = _LIBRARIES.get(type(x))
    if found is None and type(x) not in _SCALARS:
        return _unusual_library(x)
    return found


def _unusual_library(x):
    """`_library` of a subclass of ndarray such as numpy.memmap, of a NumPy scalar, or of the first CuPy array."""
    if isinstance(x, (np.ndarray, np.generic)):
        return _NUMPY
    if type(x).__module__.split(".")[0] == "cupy" and hasattr(x, "__cuda_array_interface__"):
        _register_cupy()
    return _LIBRARIES.get(type(x))


def is_array(x):
    """Whether ``x`` is an array of a known library. Tensors, lists and numbers (also NumPy's) are not."""
    return _library(x) is not None and not isinstance(x, np.generic)


def namespace(*arrays):
    """Return the NumPy-like namespace that computes with these arrays.

    Parameters
    ----------
    *arrays : ndarray
        Arrays of one library. Arguments that are not arrays (a number, None) are ignored.

    Returns
    -------
    module
        ``numpy`` for CPU arrays, ``cupy`` for GPU arrays.

    Raises
    ------
    ArrayError
        If the arrays live on different devices, or there is no array among them.

    Examples
    --------
    >>> namespace(np.zeros(3)).__name__
    'numpy'
    """
    libraries = {found for x in arrays if (found := _LIBRARIES.get(type(x)) or _library(x))}
    if len(libraries) != 1:
        raise ArrayError(_not_one_library(arrays))
    return libraries.pop().namespace


def _not_one_library(values):
    arrays = [x for x in values if is_array(x)]
    if arrays:
        return (
            f"arrays on different devices: {' and '.join(map(describe, arrays))}; "
            'move them to one with mv.to_device(x, "cpu") or mv.to_device(x, "gpu")'
        )
    kinds = ", ".join(type(x).__name__ for x in values if x is not None) or "None"
    return f"expected an array or a Tensor, got {kinds}; wrap lists and numbers in mv.Tensor(...)"


def device_of(x):
    """The device of an array: ``"cpu"``, ``"gpu"``, or the device name of a library that was added by `register`."""
    return _library(x).device


def describe(x):
    """An array as text for an error: dtype, shape, device."""
    return f"{x.dtype.name} {tuple(x.shape)} on {device_of(x)}"


def plain(x):
    """Convert an array for ops: a plain, aligned ndarray of numbers in native byte order. Usually ``x`` itself.

    Otherwise a view if the memory can stay as it is (``np.memmap``, ``np.matrix``), or a copy.

    Raises
    ------
    TypeError
        For an array of objects.

    Warns
    -----
    UserWarning
        If a masked array loses its mask.

    Examples
    --------
    >>> plain(np.ones(2, ">f4")).dtype.isnative, type(plain(np.ma.array([1.0, 2.0])))
    (True, <class 'numpy.ndarray'>)
    """
    if type(x) is np.ndarray and x.dtype.isnative and x.flags.aligned and not x.dtype.hasobject:
        return x
    return _made_plain(x) if isinstance(x, np.ndarray) else x


def _made_plain(x):
    """`plain` for a NumPy array that needs a conversion."""
    if isinstance(x, np.ma.MaskedArray) and (hidden := int(np.ma.getmaskarray(x).sum())):
        warnings.warn(
            f"a masked array loses its mask here, and {hidden} masked elements count as the values behind it; "
            "x.filled(value) or x.compressed() says what you mean",
            stacklevel=5,
        )
    x = np.asarray(x)
    if x.dtype.hasobject:
        raise TypeError(
            f"expected numbers, got an array of objects of shape {x.shape}; x.astype(np.float32) makes numbers of them"
        )
    if not x.dtype.isnative:
        return x.astype(x.dtype.newbyteorder("="))
    return x if x.flags.aligned else x.copy()


def as_array(x, like=None):
    """Turn lists and numbers into arrays. Arrays of numbers are only made `plain`.

    Parameters
    ----------
    x : array_like
        Lists and Python numbers become float32 (bool stays bool); arrays keep their dtype.
    like : ndarray, optional
        Put a converted ``x`` on the device of this array.

    Returns
    -------
    ndarray

    Raises
    ------
    TypeError
        If ``x`` is not made of numbers.

    Examples
    --------
    >>> as_array([1, 2]).dtype
    dtype('float32')
    """
    array = plain(x) if is_array(x) else _converted(x, like)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"expected numbers, got {type(x).__name__} {x!r:.60}")
    return array


def _converted(x, like):
    """Make an array of a list or number: Python numbers become float32; bool and NumPy scalars keep their dtype."""
    array = np.asarray(x)
    if array.dtype.kind in "iuf" and not isinstance(x, np.generic):
        array = array.astype(np.float32)
    return array if like is None else _library(like).from_host(array)


def to_numpy(x):
    """Return a Tensor or array as a ``numpy.ndarray`` on the host, without a copy if it is one already.

    Examples
    --------
    >>> to_numpy(np.ones(2))
    array([1., 1.])
    """
    x = getattr(x, "data", x) if not is_array(x) else x
    library = _library(x)
    return np.asarray(x) if library is None else library.to_host(x)


def available(device):
    """Whether a device can be used here: ``"cpu"`` always, ``"gpu"`` if CuPy finds one."""
    if device == "cpu":
        return True
    if any(library.device == device for library in _LIBRARIES.values()):
        return True
    if device != "gpu":
        return False
    try:
        import cupy

        if cupy.cuda.runtime.getDeviceCount() == 0:
            return False
    except Exception:  # no CuPy, no driver, or a driver too old: each raises another error
        return False
    _register_cupy()
    return True


def move(array, device):
    """`to_device` for a raw array."""
    if device_of(array) == device:
        return array
    if not available(device):
        known = sorted({library.device for library in _LIBRARIES.values()} | {"gpu"})
        if device not in known:
            gpu = "; a graphics card is 'gpu' here" if str(device).startswith(("cuda", "mps")) else ""
            raise ValueError(f"to_device: unknown device {device!r}; known are {', '.join(known)}{gpu}")
        raise RuntimeError("to_device: no GPU can be used here; `minivis doctor` says why and what to do")
    target = next(library for library in _LIBRARIES.values() if library.device == device)
    return target.from_host(to_numpy(array))


def to_device(x, device):
    """Move an array or a Tensor to ``"cpu"`` or ``"gpu"``.

    Parameters
    ----------
    x : ndarray or Tensor
        What to move. A moved Tensor leaves its graph: the result is a leaf with the same ``requires_grad``.
    device : {"cpu", "gpu"}
        The device to move to.

    Returns
    -------
    ndarray or Tensor
        The same kind as ``x``; ``x`` itself if it is on that device already.

    Raises
    ------
    ValueError
        For an unknown device name.
    RuntimeError
        If no GPU can be used here.

    Examples
    --------
    >>> to_device(np.ones(2), "cpu")
    array([1., 1.])
    """
    if is_array(x):
        return move(x, device)
    moved = move(x.data, device)
    return x if moved is x.data else type(x)(moved, requires_grad=x.requires_grad)


def allow_tf32(allowed=True):
    """Let matrix products of float32 arrays on the GPU round their factors to TF32, for several times the speed.

    TF32 keeps 10 of float32's 23 mantissa bits: results differ by about 1e-3 of their size. It is off unless you turn
    it on here or with CuPy's environment variable ``CUPY_TF32``.

    Parameters
    ----------
    allowed : bool, default True
        False goes back to float32.

    Raises
    ------
    RuntimeError
        If no GPU can be used here.

    References
    ----------
    NVIDIA, "A100 Tensor Core GPU architecture", 2020.
    """
    linalg = _gpu("allow_tf32")._core._routines_linalg
    kind = linalg.COMPUTE_TYPE_TF32 if allowed else linalg.COMPUTE_TYPE_DEFAULT
    linalg.set_compute_type(np.float32, kind)


def peak_memory(reset=False):
    """The most GPU memory that was reserved for arrays since the last reset: the size of CuPy's memory pool.

    The pool keeps the memory of freed arrays for later ones, so unused memory in it counts too.

    Parameters
    ----------
    reset : bool, default False
        First return unused memory of the pool to the GPU, so that earlier work does not count.

    Returns
    -------
    int
        Bytes.

    Raises
    ------
    RuntimeError
        If no GPU can be used here.
    """
    pool = _gpu("peak_memory").get_default_memory_pool()
    if reset:
        pool.free_all_blocks()
    return pool.total_bytes()


def _gpu(name):
    """CuPy, for the function ``name``, which needs a GPU."""
    if not available("gpu"):
        raise RuntimeError(f"{name}: no GPU can be used here; `minivis doctor` says why and what to do")
    import cupy

    return cupy


def meet(*arrays):
    """Convert integers and booleans to the dtype of the floats among the operands: float32 stays float32, as in torch.

    Parameters
    ----------
    *arrays : ndarray or None
        Operands of one op. NumPy would compute float32 with int64 in float64.

    Returns
    -------
    sequence of ndarray or None
        The converted operands; unchanged if there is no float among them.

    Examples
    --------
    >>> [x.dtype.name for x in meet(np.ones(2, np.float32), np.arange(2))]
    ['float32', 'float32']
    """
    for x in arrays:
        if x is not None and x.dtype is not arrays[0].dtype:
            break
    else:  # all of one dtype, the usual case
        return arrays
    floats = [dtype for dtype in {x.dtype for x in arrays if x is not None} if dtype.kind == "f"]
    if not floats:
        return arrays
    floating = np.result_type(*floats)  # of several, the widest
    return [x.astype(floating) if x is not None and x.dtype.kind in "iub" else x for x in arrays]


def check_floating(name, x, parameter="x"):
    """Refuse an array that is not floating-point, for the op ``name``."""
    if x.dtype.kind != "f":
        raise TypeError(
            f"{name}: {parameter} must be floating-point, got {x.dtype.name}; "
            f"{parameter}.astype(np.float32) makes it so ({parameter}: {tuple(x.shape)})"
        )


def erf(x):
    """The error function of an array, elementwise, in its own dtype."""
    return _library(x).special("erf")(x)


def erfcx(x):
    """exp(x^2) (1 - erf(x)) of an array, elementwise, in its own dtype."""
    return _library(x).special("erfcx")(x)


def scatter_add(out, index, values):
    """``out[index] += values`` in place; repeated indices add up (plain ``+=`` would count each once)."""
    _library(out).scatter_add(out, index, values)


if "cupy" in sys.modules:  # CuPy was imported before minivis: add it now
    available("gpu")
