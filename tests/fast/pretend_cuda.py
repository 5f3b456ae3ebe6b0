"""CuPy on the CPU, as far as minivis/fast needs it: NumPy's functions, and CUDA C++ compiled by a C++ compiler.

Not here: tests, speed. A block's threads are real threads and `__syncthreads` a real barrier; to exchange a value within a
warp the whole block meets.
"""

import atexit
import ctypes
import functools
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import numpy as np

import minivis.fast

COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
WORD = {"float32": "float", "float64": "double", "int64": "long long", "bool": "unsigned char"}
WORD |= {"int": "long long", "float": "double"}  # of Python

SHIM = """
#include <barrier>
#include <cmath>
#include <thread>
#include <vector>
using std::exp, std::fabs, std::log, std::rint, std::sqrt;
template <typename T> T erfcx(T x) { return T(std::exp((long double)x * x) * std::erfc((long double)x)); }
#define __device__
#define __global__
#define __shared__ static  // one block at a time
struct Index { unsigned x; };
static thread_local Index threadIdx;
static Index blockIdx, blockDim;
static std::barrier<>* gate;
#define __syncthreads() gate->arrive_and_wait()
static double shared_memory[1 << 15];  // stands for `extern __shared__`
template <typename T> T __shfl_xor_sync(unsigned, T mine, int lane) {
    static T told[2][1024];
    static thread_local int turn = 0;  // nobody writes where others may still read: that was a barrier ago
    turn = 1 - turn;
    told[turn][threadIdx.x] = mine;
    __syncthreads();
    return told[turn][threadIdx.x ^ lane];
}
template <typename F>
void launch(unsigned grid, unsigned block, F kernel) {
    for (blockIdx.x = 0, blockDim.x = block; blockIdx.x < grid; ++blockIdx.x) {
        std::barrier<> all(block);
        gate = &all;
        std::vector<std::thread> threads;
        for (unsigned i = 0; i < block; ++i) threads.emplace_back([=] { threadIdx.x = i; kernel(); });
        for (auto& thread : threads) thread.join();
    }
}
"""


OPTIONS = ["-std=c++20", "-O1", "-fPIC", "-pthread"]


@functools.cache
def shim():
    """The header that every source begins with; the compiler reads the standard library for it once."""
    folder = tempfile.mkdtemp(prefix="minivis_cuda_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    header = Path(folder) / "shim.h"
    header.write_text(SHIM)
    command = [COMPILER, *OPTIONS, "-x", "c++-header", "shim.h", "-o", "shim.h.gch"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return str(header)


@functools.cache
def compiled(source):
    """The function `run` of a C++ source, through a shared library."""
    folder = Path(tempfile.mkdtemp(prefix="minivis_cuda_"))
    try:
        (folder / "source.cpp").write_text(source)
        command = [COMPILER, *OPTIONS, "-shared", "-include", shim(), "source.cpp", "-o", "lib.so"]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return ctypes.CDLL(str(folder / "lib.so")).run
    finally:
        shutil.rmtree(folder)


class ElementwiseKernel:
    """`cupy.ElementwiseKernel` where every parameter has the type T."""

    def __init__(self, in_params, out_params, operation, name):
        self.inputs, self.outputs = ([p.split()[1] for p in ps.split(",")] for ps in (in_params, out_params))
        self.operation, self.name = operation, name

    def source(self, word, before):
        """One element of the loop as a function of pointers and the position i."""
        inputs = [f"const {word}* in_{p}" for p in self.inputs]
        outputs = [f"{word}* out_{p}" for p in self.outputs]
        bind = [f"const T {p} = in_{p}[i];" for p in self.inputs] + [
            f"T& {p} = out_{p}[i];" for p in self.outputs
        ]
        arguments = ", ".join([*inputs, *outputs])
        return f"{before} void {self.name}({arguments}, long long i) {{ using T = {word}; {' '.join(bind)} {self.operation} }}"

    def __call__(self, *args):
        arrays = [x for x in args if isinstance(x, np.ndarray)]
        shape = np.broadcast_shapes(*(x.shape for x in arrays))
        dtype = arrays[0].dtype
        given = args[len(self.inputs) :]
        inputs = [np.array(np.broadcast_to(x, shape), dtype) for x in args[: len(self.inputs)]]
        outputs = [np.array(x) for x in given] or [np.empty(shape, dtype) for _ in self.outputs]
        names = [f"p{n}" for n in range(len(inputs) + len(outputs))]
        word = WORD[dtype.name]
        parameters = ", ".join(f"{word}* {p}" for p in names)
        loop = f"for (long long i = 0; i < n; ++i) {self.name}({', '.join(names)}, i);"
        run = compiled(
            f'{self.source(word, "static")}\nextern "C" void run(long long n, {parameters}) {{ {loop} }}'
        )
        run(ctypes.c_longlong(inputs[0].size), *(ctypes.c_void_p(x.ctypes.data) for x in [*inputs, *outputs]))
        for target, x in zip(given, outputs, strict=False):
            target[...] = x
        return outputs[0] if len(outputs) == 1 else tuple(outputs)


class RawModule:
    """`cupy.RawModule` with one-dimensional grids."""

    def __init__(self, code, options, name_expressions):
        self.name_expressions = name_expressions
        self.code = code
        self.here = code.replace("extern __shared__ double memory[]", "double* memory = shared_memory")

    def get_function(self, name):
        assert name in self.name_expressions

        def kernel(grid, block, args, shared_mem=0):
            assert shared_mem <= 2**18
            words = [
                f"{WORD[x.dtype.name]}*" if isinstance(x, np.ndarray) else WORD[type(x).__name__]
                for x in args
            ]
            names = [f"p{n}" for n in range(len(args))]
            parameters = ", ".join(f"{w} {n}" for w, n in zip(words, names, strict=True))
            call = f"launch(grid, block, [=] {{ {name}({', '.join(names)}); }});"
            run = compiled(
                f'{self.here}\nextern "C" void run(unsigned grid, unsigned block, {parameters}) {{ {call} }}'
            )
            assert all(not isinstance(x, np.ndarray) or x.flags.c_contiguous for x in args)
            pointers = [
                ctypes.c_void_p(x.ctypes.data)
                if isinstance(x, np.ndarray)
                else {int: ctypes.c_longlong, float: ctypes.c_double}[type(x)](x)
                for x in args
            ]
            run(*grid, *block, *pointers)

        return kernel


class Device:
    """`cupy.cuda.Device`: bytes of shared memory for a block."""

    def __init__(self, number):
        self.attributes = {"MaxSharedMemoryPerBlockOptin": 2**17}


def load(name="cuda"):
    """minivis/fast/NAME.py, with this file in the place of CuPy, in that module only."""
    cupy = types.ModuleType("cupy")
    cupy.__getattr__ = lambda name: getattr(np, name)
    cupy.ElementwiseKernel, cupy.RawModule = ElementwiseKernel, RawModule
    cupy.cuda = types.SimpleNamespace(Device=Device, runtime=types.SimpleNamespace(getDevice=lambda: 0))
    modules = {"cupy": cupy, "cupy.lib": np.lib, "cupy.lib.stride_tricks": np.lib.stride_tricks}
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        path = Path(minivis.fast.__file__).parent / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"pretend_{name}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        for name, value in before.items():
            if value is None:
                del sys.modules[name]
            else:
                sys.modules[name] = value
