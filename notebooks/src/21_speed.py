# %% [markdown]
# # 21. Speed: from loops to BLAS to the GPU
#
# Why the same sum takes a second or a thousandth of one, and how to find out which of the two yours is.
#
# **Goals**
#
# - You can say what limits a computation: arithmetic, memory, or bookkeeping; and measure which.
# - You can draw a roofline for the machine in front of you and place an operation on it.
# - You can make an operation faster without changing what it computes: vectorise, block, fuse, reuse memory.
# - You can account for the time of a training step, part by part.
#
# **Before**: convolution from [02](02_convolution.ipynb), attention from [05](05_attention.ipynb), the Vision
# Transformer from [08](08_vit.ipynb).
#
# **Slides**: none; this chapter goes beyond the decks.
#
# **Time**: about 45 minutes to read, 45 more for the exercises; the cells take about 20 seconds. All numbers below
# are measured on the machine that runs this page: yours will differ, their order hardly.

# %% tags=["setup"]
import importlib.util
import math
import statistics
import time

import numpy as np

import minivis as mv
from minivis import models, ops, optim, viz
from minivis.kernels import numpy as plain
from minivis.kernels import threads
from minivis.laws import above, claims

rng = np.random.default_rng(0)


def seconds(run, repeats=7):
    """The median time of a call, after one to warm up."""
    run()
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


# %% [markdown]
# ## One product, four ways
#
# $C = A B$ with $A$ $(n, n)$ and $B$ $(n, n)$: $c_{ij} = \sum_k a_{ik} b_{kj}$, which is $n^3$ multiplications and as many additions. The four
# functions below do exactly these. They differ in how much is left to Python: all of it, the outer two loops, the outer loop,
# nothing.

# %%
n = 96
A, B = rng.standard_normal((2, n, n), dtype=np.float32)


def by_loops(A, B):
    rows = A.tolist()
    inner = range(len(B))
    columns = range(B.shape[1])
    other = B.tolist()
    return np.array([[sum(row[k] * other[k][j] for k in inner) for j in columns] for row in rows], np.float32)


def by_dots(A, B):
    return np.array([[A[i] @ B[:, j] for j in range(B.shape[1])] for i in range(len(A))])


def by_rows(A, B):
    return np.array([row @ B for row in A])


ways = {"loops": by_loops, "n² dot products": by_dots, "n rows": by_rows, "one product": lambda A, B: A @ B}
speed = {}
for name, way in ways.items():
    assert np.allclose(way(A, B), A @ B, atol=1e-4)
    speed[name] = 2 * n**3 / seconds(lambda way=way: way(A, B), repeats=3) / 1e9
    print(f"{name:16} {speed[name]:9.3f} billion operations a second")
assert speed["one product"] > 100 * speed["loops"]
viz.bars(
    speed,
    "GFLOP/s",
    log=True,
    title=f"The same {n} x {n} product",
    caption="Note the logarithmic axis. Each step hands more of the loop to compiled code, and the last one to BLAS.",
)

# %% [markdown]
# The last step is not only about Python. A library for **BLAS** (basic linear algebra subprograms; NumPy comes with OpenBLAS)
# cuts the matrices into blocks that fit the cache, so that each number that was fetched from memory is used many times, and multiplies
# eight or sixteen of them with one instruction. How much that is worth shows when the matrices grow:

# %%
sizes = [16, 32, 64, 128, 256, 512, 1024]
product = {}
for n in sizes:
    A, B = rng.standard_normal((2, n, n), dtype=np.float32)
    product[n] = 2 * n**3 / seconds(lambda A=A, B=B: A @ B) / 1e9
peak = 1e9 * max(product.values())
print(f"at best {peak / 1e9:.0f} billion operations a second")
viz.curves(
    {"A @ B": (sizes, list(product.values()))},
    "n",
    "GFLOP/s",
    log="xy",
    title="What a matrix product reaches",
    caption="Small products pay for the call and never fill the machine; from a few hundred on the rate is the processor's.",
)

# %% [markdown]
# ## The roofline
#
# A processor can do two things at a time: compute, at most $P$ operations a second, and move bytes to and from memory, at most $M$
# a second. An operation that needs $F$ operations and moves $Q$ bytes cannot take less than
#
# $$ t \ge \max\Big(\frac{F}{P}, \frac{Q}{M}\Big), \qquad\text{so its rate is}\quad \frac{F}{t} \le \min\Big(P,\ M\,\frac{F}{Q}\Big). $$
#
# $F / Q$ is called **arithmetic intensity**. Drawn over it the bound is a roof: a slope where memory decides, flat where
# arithmetic does (Williams, Waterman and Patterson, "Roofline: an insightful visual performance model", 2009). We have measured $P$.
# $M$ depends on where the numbers are. What was written a moment ago, and is not too large, still lies in the **cache**, a small memory
# next to the processor that is several times as fast as the main one. So there are two slopes: one for arrays that fit into no cache, and one for
# arrays as large as those below. We measure both by copying.
#
# The points are a few operations of a ViT-Ti, eight images at a time (1,576 tokens of width 192, arrays of 1 to 5 MB), each with the bytes that it
# must read and write at least.


# %%
def copied(size):
    """Bytes a second, read and written, when all cores copy an array of so many numbers."""
    source, target = np.ones(size, np.float32), np.empty(size, np.float32)

    def run():  # a part of the array for each core
        threads.over(size, lambda start, stop: np.copyto(target[start:stop], source[start:stop]))

    return 2 * source.nbytes / seconds(run)


tokens, hidden = (rng.standard_normal((1576, width), dtype=np.float32) for width in (192, 768))
weight = rng.standard_normal((768, 192), dtype=np.float32)
scores = rng.standard_normal((24 * 197, 197), dtype=np.float32)
q, k, v = rng.standard_normal((3, 24, 197, 64), dtype=np.float32)
memory = copied(2**24)  # 64 MB
cache = max(copied(x.size) for x in (tokens, scores, hidden))
print(f"{peak / 1e9:.0f} GFLOP/s; {memory / 1e9:.1f} GB/s from memory, {cache / 1e9:.1f} GB/s from the cache")
print(f"the roof bends at {peak / memory:.0f} operations a byte, or at {peak / cache:.0f}")

# %%
placed = {  # name: (run, floating-point operations, bytes)
    "ReLU": (lambda: ops.relu(hidden), hidden.size, 2 * hidden.nbytes),
    "layer norm": (lambda: ops.layer_norm(tokens, 192), 8 * tokens.size, 2 * tokens.nbytes),
    "softmax": (lambda: ops.softmax(scores), 10 * scores.size, 2 * scores.nbytes),
    "GELU": (lambda: ops.gelu(hidden), 20 * hidden.size, 2 * hidden.nbytes),
    "linear": (
        lambda: ops.linear(tokens, weight),
        2 * tokens.size * 768,
        tokens.nbytes + weight.nbytes + hidden.nbytes,
    ),
    "attention": (
        lambda: ops.scaled_dot_product_attention(q, k, v),
        2 * 2 * 24 * 197 * 197 * 64,
        4 * q.nbytes,
    ),
}
fig, axes = viz.figure(
    width=6.6,
    height=4.2,
    title="A roofline of this machine",
    caption="The solid line is the bound: nothing is above it, and an operation stands as far below it as it wastes. The dashed line would be the "
    "bound if every array came from memory; what is above it found its numbers in the cache.",
)
# operations a byte
ax = axes[0, 0]
intensity = np.geomspace(0.05, 2000, 200)
for speed, line, name in ((cache, "-", "bound: from the cache"), (memory, "--", "from memory")):
    roof = np.minimum(peak, speed * intensity) / 1e9
    ax.plot(intensity, roof, line, color=viz.COLOURS[6], label=name)
for i, (name, (run, flops, moved)) in enumerate(placed.items()):
    rate = flops / seconds(run)
    bound = min(peak, cache * flops / moved)
    print(
        f"{name:10} {flops / moved:7.2f} operations a byte, {rate / 1e9:7.2f} GFLOP/s, {rate / bound:4.0%} of the bound"
    )
    # below it; half as much again is for a machine that was busy while its bound was measured
    assert rate < 1.5 * bound
    ax.plot(flops / moved, rate / 1e9, "osD^vP"[i], color=viz.COLOURS[i], markersize=8, label=name)
ax.set_xscale("log")
ax.set_yscale("log")
ax.legend(frameon=False, fontsize=9, loc="lower right")
viz.label(ax, "arithmetic intensity, operations a byte", "GFLOP/s")
fig

# %% [markdown]
# Two lessons. A layer norm cannot come near the rate of a product, however it is written: it has too little to do with each
# number. And below the slope there is room: several of these operations pass over their arrays many times, and each pass is paid for as if it were the
# only one.

# %% [markdown]
# ## Fuse: many steps on a few numbers
#
# GELU (chapter [07](07_transformer.ipynb)), in the approximation with tanh, is a chain of nine elementwise steps. NumPy does one after the other on the whole
# array, which goes to memory and back nine times. Cut into blocks that stay in the cache, the same steps find their numbers at hand. The
# smaller the block the nearer the cache, but each block pays for nine calls; in between lies the best.

# %%
x = rng.standard_normal(2**21, dtype=np.float32)
c = math.sqrt(2 / math.pi)
a = 0.044715


def gelu_whole(x):
    return 0.5 * x * (1 + np.tanh(c * (x + a * x * x * x)))


def gelu_in_blocks(x, size):
    out = np.empty_like(x)
    scratch = np.empty(size, np.float32)
    for start in range(0, len(x), size):
        v, y = x[start : start + size], out[start : start + size]
        t = scratch[: len(v)]
        np.multiply(v, v, out=t)
        t *= a
        t += 1
        t *= v
        t *= c
        np.tanh(t, out=t)
        t += 1
        np.multiply(v, t, out=y)
        y *= 0.5
    return out


assert np.allclose(gelu_whole(x), gelu_in_blocks(x, 2**14), atol=1e-6)
whole = 1e9 * seconds(lambda: gelu_whole(x), repeats=3) / x.size
blocks = [2**i for i in range(6, 22)]
each = [1e9 * seconds(lambda s=s: gelu_in_blocks(x, s), repeats=3) / x.size for s in blocks]
best = blocks[int(np.argmin(each))]
print(f"whole arrays {whole:.2f} ns an element; in blocks of {best:,} elements {min(each):.2f} ns")
viz.curves(
    {"in blocks": (blocks, each)},
    "elements of a block",
    "nanoseconds an element",
    log="xy",
    level={"whole arrays, as one writes it": whole},
    title="GELU on two million numbers",
    caption="Small blocks pay for calls, large ones for memory. The level is the formula as one writes it: with a fresh array for every step.",
)

# %% [markdown]
# ### One loop, compiled
#
# A block still goes through the nearest cache once for every step. Best would be the loop that we began with: take a row, do all
# steps with it, go on to the next. In Python that costs fifty nanoseconds a number and step. **Numba** compiles such a function for the
# processor that it runs on, when it is first called. Here is layer norm (chapter [07](07_transformer.ipynb)) as loops. `fastmath` lets the compiler add up a row in
# another order, without which it could not do eight numbers at once.

# %%
compiled = importlib.util.find_spec("numba") is not None  # comes with `make`; otherwise pip install numba


def norm_rows(x, y):
    for r in range(x.shape[0]):
        total, squares = np.float32(0), np.float32(0)
        for i in range(x.shape[1]):
            total += x[r, i]
        mean = total / np.float32(x.shape[1])
        for i in range(x.shape[1]):
            squares += (x[r, i] - mean) * (x[r, i] - mean)
        scale = np.float32(1) / np.sqrt(squares / np.float32(x.shape[1]) + np.float32(1e-6))
        for i in range(x.shape[1]):
            y[r, i] = (x[r, i] - mean) * scale


def norm_whole(x):
    centred = x - x.mean(axis=1, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(axis=1, keepdims=True) + 1e-6)


tokens = rng.standard_normal((8 * 197, 192), dtype=np.float32)
out = np.empty_like(tokens)
norm_rows(tokens[:2], out[:2])
assert np.allclose(out[:2], norm_whole(tokens[:2]), atol=1e-5)
took = {"loops in Python": seconds(lambda: norm_rows(tokens[:20], out[:20]), repeats=3) / tokens[:20].size}
took["whole arrays"] = seconds(lambda: norm_whole(tokens)) / tokens.size
took["in blocks"] = seconds(lambda: plain.layer_norm(tokens, None, None, 1e-6)) / tokens.size
if compiled:
    import numba

    fast = numba.njit(fastmath={"contract", "nsz", "reassoc"})(norm_rows)
    took["the loops, compiled"] = seconds(lambda: fast(tokens, out)) / tokens.size
    assert np.allclose(out, norm_whole(tokens), atol=1e-5)
for name, value in took.items():
    print(f"{name:20} {1e9 * value:8.2f} ns a number")
viz.bars(
    {name: float(f"{1e9 * value:.2g}") for name, value in took.items()},
    "nanoseconds a number",
    log=True,
    title="Layer norm of 1,576 tokens of width 192",
    caption="The same loops twice: run by Python, and compiled by Numba.",
)

# %% [markdown]
# The files of `minivis.kernels` do this for softmax, layer norm, GELU and AdamW, where it pays, and nowhere else: an op is read more often than it
# is run. `kernels/numpy.py` has them in blocks, `kernels/compiled.py` as such loops, for large float32 arrays and where Numba is installed;
# laws hold the fast forms to the plain ones. One thing a compiler cannot do for eight numbers at once is a call of `exp`, so there it is a polynomial. On a GPU the
# same fusion is a kernel in CUDA C++, and saves the same passes.
#
# ## Fresh memory is not free
#
# An array that is made anew gets its memory from the operating system *when it is first touched*: a page at a time, 4,096 bytes
# or more, and each page is cleared first. The same product into an array that is there already:

# %%
size = 2**24
y = np.ones(size, np.float32)
kept = np.ones(size, np.float32)


def fresh():
    return np.multiply(y, 2)


def reused():
    return np.multiply(y, 2, out=kept)


try:  # page faults are counted by Unix
    import resource

    def faults(run):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        run()
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    print(f"page faults of one call: fresh {faults(fresh):,}, reused {faults(reused):,}")
except ImportError:
    pass
times = {"fresh": 1e3 * seconds(fresh), "reused": 1e3 * seconds(reused)}
print(f"fresh {times['fresh']:.1f} ms, reused {times['reused']:.1f} ms for {y.nbytes >> 20} MB")

# %% [markdown]
# A training step makes and frees the same arrays again and again. So minivis asks the C library to keep what was freed (`kernels/numpy.py`,
# one line with `mallopt`), which took a third off a ViT's step where it was measured; and the tape frees every array as soon as backward has used it.
#
# ## Convolution: from seven loops to one product
#
# Chapter [02](02_convolution.ipynb) wrote convolution as loops. Laid out as rows of a matrix, the patches turn it into one matrix product, which is
# where the machine is fast. The price is memory: each pixel is copied once for every place of the kernel.

# %% tags=["setup"]
images = rng.standard_normal((1, 3, 24, 24), dtype=np.float32)
kernel = rng.standard_normal((8, 3, 3, 3), dtype=np.float32)


def conv_by_loops(x, w):
    (B, _, H, W), (O, _, kh, kw) = x.shape, w.shape
    y = np.zeros((B, O, H - kh + 1, W - kw + 1), x.dtype)
    for b in range(B):
        for o in range(O):
            for i in range(y.shape[2]):
                for j in range(y.shape[3]):
                    y[b, o, i, j] = (x[b, :, i : i + kh, j : j + kw] * w[o]).sum()
    return y


def conv_by_product(x, w):
    O, C, kh, kw = w.shape
    # (B, C, H', W', kh, kw): a view
    windows = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), axis=(2, 3))
    B, _, rows, columns = windows.shape[:4]
    # here it is copied
    patches = windows.transpose(0, 2, 3, 1, 4, 5).reshape(B * rows * columns, C * kh * kw)
    return (patches @ w.reshape(O, -1).T).reshape(B, rows, columns, O).transpose(0, 3, 1, 2)


assert np.allclose(conv_by_loops(images, kernel), conv_by_product(images, kernel), atol=1e-4)
assert np.allclose(conv_by_product(images, kernel), ops.conv2d(images, kernel), atol=1e-4)
slow, fast = (seconds(lambda f=f: f(images, kernel), repeats=3) for f in (conv_by_loops, conv_by_product))
print(f"loops {1e3 * slow:.1f} ms, one product {1e3 * fast:.2f} ms: {slow / fast:.0f} times as fast")
print(f"a map of {images.nbytes / 1e3:.1f} kB becomes patches of {22 * 22 * 27 * 4 / 1e3:.1f} kB")
assert slow > 10 * fast

# %% [markdown]
# ## Where the time of a step goes
#
# A training step of ViT-Ti/16 with two images of 224 x 224, taken apart: each kind of operation timed alone, forward and backward, in
# the shapes that the model has, times how often it occurs. What the parts do not explain is left over: residual sums, copies, and the engine
# itself.

# %%
model = models.vit_ti16(rng=0)
optimizer = optim.AdamW(model.parameters(), lr=1e-4)
pictures = rng.standard_normal((2, 3, 224, 224), dtype=np.float32)
labels = np.array([1, 2])


def step():
    optimizer.zero_grad()
    ops.cross_entropy(model(pictures), labels).backward()
    optimizer.step()


def both_ways(op, *shapes):
    """Seconds of an op forward and backward on random Tensors of these shapes."""
    leaves = [mv.Tensor(rng.standard_normal(shape, dtype=np.float32), requires_grad=True) for shape in shapes]
    ones = np.ones(op(*leaves).shape, np.float32)

    def run():
        for leaf in leaves:
            leaf.grad = None
        op(*leaves).backward(ones)

    return seconds(run, repeats=5)


step()  # so that every parameter has a gradient
N = 2 * 197
D = 192
parts = {
    "linear": 12
    * (
        both_ways(ops.linear, (N, D), (3 * D, D), (3 * D,))
        + both_ways(ops.linear, (N, D), (D, D), (D,))
        + both_ways(ops.linear, (N, D), (4 * D, D), (4 * D,))
        + both_ways(ops.linear, (N, 4 * D), (D, 4 * D), (D,))
    ),
    "patches": both_ways(
        lambda x, w, b: ops.conv2d(x, w, b, stride=16), (2, 3, 224, 224), (D, 3, 16, 16), (D,)
    ),
    "attention": 12 * both_ways(ops.scaled_dot_product_attention, *[(2, 3, 197, 64)] * 3),
    "GELU": 12 * both_ways(ops.gelu, (N, 4 * D)),
    "layer norm": 25 * both_ways(lambda x, w, b: ops.layer_norm(x, D, w, b), (N, D), (D,), (D,)),
    "AdamW": seconds(optimizer.step, repeats=5),
}
whole = seconds(step, repeats=5)
parts["left over"] = max(0.0, whole - sum(parts.values()))
flops = 3 * 2 * mv.summary(model, pictures).multiply_adds  # backward is twice a forward
print(
    f"a step takes {1e3 * whole:.0f} ms; its products alone would take {1e3 * flops / peak:.0f} ms at the best rate measured above"
)
viz.bars(
    {name: round(1e3 * value, 1) for name, value in parts.items()},
    "milliseconds",
    title=f"A step of ViT-Ti/16, two images: {1e3 * whole:.0f} ms",
    caption="Each kind of operation, forward and backward, times how often it occurs. Patches: their embedding, one convolution.",
)

# %% [markdown]
# ## What an operation costs, whatever its size
#
# On arrays of eight numbers the arithmetic is nothing, and what remains is bookkeeping: NumPy's own, and that of the engine, which notes
# each operation on the tape and walks it backwards.

# %%
links = 1000
p = np.full((1, 8), 1.001)


def with_engine():
    y = mv.Tensor(np.ones((1, 8)), requires_grad=True)
    for _ in range(links):
        y = y * p
    y.backward(np.ones((1, 8)))


def with_numpy():
    y = np.ones((1, 8))
    for _ in range(links):
        y = y * p
    g = np.ones((1, 8))
    for _ in range(links):
        g = g * p


engine, bare = (1e6 * seconds(f) / links for f in (with_engine, with_numpy))
print(f"a product forward and backward: NumPy {bare:.1f} µs, with the engine {engine:.1f} µs")

# %% [markdown]
# A ViT-Ti has some 300 operations in a step, so that the engine costs about a millisecond of it. For a model of width 64 on
# images of 8 x 8 it is the larger part; there, larger batches are the cure.
#
# ## On a GPU
#
# Nothing in the ops changes: they take their functions from the library that the arrays belong to, and CuPy has NumPy's names. What changes is the
# balance. A large GPU multiplies hundreds of times as fast as one core, and reads memory a hundred times as fast, but *starting* an operation still takes
# Python its microseconds, ten to forty of them. So the smaller the work, the more of the time is spent on starting it:

# %%
# `make bench-gpu` on an NVIDIA H100 80GB, float32, CuPy 14.2 and PyTorch 2.11, eager; milliseconds
# (tests/benchmarks/results/against_pytorch_gpu.json)
on_gpu = {
    "ViT-B/16, 32 images, step": (106, 93.0, 65.2),
    "ViT-Ti/16, 8 images, step": (59.5, 32.1, 1.16),
    "Swin-T, 1 image, forward": (53.8, 18.0, 0.174),
    "ResNet-50, 1 image, forward": (27.2, 5.82, 0.158),
}
print(f"{'':28} minivis  PyTorch  bound by arithmetic or memory")
for name, (ours, theirs, bound) in on_gpu.items():
    print(
        f"{name:28} {ours:7.1f}  {theirs:7.1f}  {bound:6.2f}: {bound / ours:4.0%} of ours, {bound / theirs:4.0%} of theirs"
    )

# %% [markdown]
# With 32 images ViT-B keeps the GPU busy, and minivis takes 1.13 times as long as PyTorch. With one image nobody does: the GPU waits for the next
# operation to be started, in PyTorch too. That is why small models are trained with large batches, why compilers fuse operations, and why
# a whole step can be recorded once and replayed (CUDA graphs; CuPy cannot record matrix products, so that minivis does without).
#
# **In what order to look for speed**, then:
#
# 1. *Measure*, and compare with the bound. What is within a factor of two of it is done.
# 2. Do less: an operation that is not there is the fastest (one patch embedding instead of ten layers; windows instead of all pairs).
# 3. Make it one product: matrix products are where machines are fast.
# 4. Fuse what is bound by memory; reuse the memory.
# 5. Give a GPU enough to do.

# %% [markdown]
# ## Exercises
#
# Where a check asks the laws, it asks for good manners too: float32 in gives float32 out, float64 keeps all its
# digits, the arrays that come in stay as they are, and nothing is printed.
#
# ### Exercise 1: the bound
# Write `my_bound(flops, moved, peak, memory)`: the least time, in seconds, of an operation with `flops` operations and `moved` bytes on a machine
# of `peak` operations and `memory` bytes a second. Then `my_bend(peak, memory)`: the intensity at which the roof bends.


# %% tags=["exercise:bound"]
def my_bound(flops, moved, peak, memory): ...  # your lines here


def my_bend(peak, memory): ...  # your lines here


# %% tags=["check:bound"]
passed = claims(
    "my_bound",
    (
        "much arithmetic: arithmetic decides",
        lambda: my_bound(1e12, 1e6, 1e11, 1e10),
        10.0,
        "The operations alone take flops / peak, the bytes alone moved / memory. The slower of the two decides.",
    ),
    (
        "few operations: memory decides",
        lambda: my_bound(1e6, 1e10, 1e11, 1e10),
        1.0,
        "Here the bytes take a second and the operations almost nothing. The two go on at the same time.",
    ),
    (
        "an empty operation takes no time",
        lambda: my_bound(0, 0, 1e11, 1e10),
        0.0,
        "Nothing to compute and nothing to move: 0 / peak and 0 / memory.",
    ),
    (
        "my_bend: 10 operations a byte for 1e11 operations and 1e10 bytes a second",
        lambda: my_bend(1e11, 1e10),
        10.0,
        "At the bend F / P = Q / M. Solve that for F / Q.",
    ),
).passed

# %% [markdown] tags=["solution:bound"]
# <details><summary>Solution</summary>
#
# ```python
# def my_bound(flops, moved, peak, memory):
#     return max(flops / peak, moved / memory)
#
# def my_bend(peak, memory):
#     return peak / memory
# ```
#
# At the bend $F / P = Q / M$, so $F / Q = P / M$.
# </details>

# %% [markdown]
# ### Exercise 2: a softmax in place
# Write `my_softmax(x, axis=-1)` that makes one new array and no other as large: subtract the maximum into it, then go on in place with
# `out=`, `/=`. `x` itself must stay as it is, `axis` may be any, and numbers of a thousand must not overflow.


# %% tags=["exercise:softmax"]
def my_softmax(x, axis=-1): ...  # your lines here


# %% tags=["check:softmax"]
passed = mv.laws.check("softmax", my_softmax).passed

# %% [markdown] tags=["solution:softmax"]
# <details><summary>Solution</summary>
#
# ```python
# def my_softmax(x, axis=-1):
#     y = x - x.max(axis=axis, keepdims=True)
#     np.exp(y, out=y)
#     y /= y.sum(axis=axis, keepdims=True)
#     return y
# ```
#
# The subtraction makes the array, everything after works in it. `kernels/numpy.py` does the same a block of rows at a time.
# </details>

# %% [markdown]
# ### Exercise 3: convolution without loops over pixels
# Write `my_conv(x, w)`, no padding, stride 1: `x` is $(B, C, H, W)$, `w` is $(O, C, k_h, k_w)$. This time without laying out patches: one matrix product for
# each of the $k_h k_w$ places of the kernel, and their sum. Hint: `x[:, :, i : i + rows, j : j + columns]` and `np.einsum("oc,bchw->bohw", ...)`.


# %% tags=["exercise:conv"]
def my_conv(x, w): ...  # your lines here


# %% tags=["check:conv"]
map_, filters = rng.standard_normal((2, 3, 9, 7)), rng.standard_normal((4, 3, 2, 3))
passed = claims(
    "my_conv",
    (
        "it is the convolution",
        lambda: my_conv(map_, filters),
        ops.conv2d(map_, filters),
        "At the place (i, j) of the kernel the part of x that begins there, as large as the result, meets w[:, :, i, j].",
    ),
    (
        "also with a kernel of one pixel",
        lambda: my_conv(map_, filters[..., :1, :1]),
        ops.conv2d(map_, filters[..., :1, :1]),
        "Take the number of places from w.shape.",
    ),
    (
        "also where the kernel covers the map",
        lambda: my_conv(map_[..., :2, :3], filters),
        ops.conv2d(map_[..., :2, :3], filters),
        "The result has H - kh + 1 rows and W - kw + 1 columns: here one of each.",
    ),
    (
        "ten times as fast as loops over pixels",
        lambda: (
            seconds(lambda: conv_by_loops(images, kernel), 3) / seconds(lambda: my_conv(images, kernel), 3)
        ),
        above(10),
        "Loop over the places of the kernel only, 9 here; all pixels go through one np.einsum together.",
    ),
).passed

# %% [markdown] tags=["solution:conv"]
# <details><summary>Solution</summary>
#
# ```python
# def my_conv(x, w):
#     rows, columns = x.shape[2] - w.shape[2] + 1, x.shape[3] - w.shape[3] + 1
#     return sum(
#         np.einsum("oc,bchw->bohw", w[:, :, i, j], x[:, :, i : i + rows, j : j + columns], optimize=True)
#         for i in range(w.shape[2])
#         for j in range(w.shape[3])
#     )
# ```
#
# Nothing is copied $k_h k_w$ times, but the sum passes over $y$ as often. Which of the two forms wins depends on the channels: measure.
# </details>

# %% [markdown]
# ## What to take away
#
# - Time is bounded by arithmetic, by memory or by starting operations; measure which before changing anything.
# - A matrix product reaches the machine's arithmetic; elementwise steps reach its memory, and only if they pass over it once.
# - Blocks that stay in the cache, memory that is reused, and fewer operations are worth more than clever ones.
# - A GPU has hundreds of times the arithmetic and the same few microseconds to start with: give it much at a time.
#
# This is the last chapter so far. The models whose time was worth saving are in [08](08_vit.ipynb) and [15](15_detr.ipynb).
