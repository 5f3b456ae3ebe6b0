# %% [markdown]
# # 21. Speed: from loops to BLAS to the GPU
#
# Why the same computation can take a second or a thousandth of a second, and how to find out what slows yours down.
#
# **Goals**
#
# - You can say what limits a computation (arithmetic, memory, or the overhead of each operation) and measure it.
# - You can draw a roofline for your machine and place an operation in it.
# - You can make an operation faster without changing what it computes: vectorise, block, fuse, reuse memory.
# - You can say how the time of a training step is divided among its parts.
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
import inspect
import math
import statistics
import time

import numpy as np

import minivis as mv
from minivis import models, ops, optim, viz
from minivis.fast import blocks, softmaxes, threads
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
# $C = A B$ with $A$ $(n, n)$ and $B$ $(n, n)$: $c_{ij} = \sum_k a_{ik} b_{kj}$, which is $n^3$ multiplications and as
# many additions. The four functions below do exactly these operations. They differ in how many of the loops run in
# Python: all three, the outer two, the outer one, none.

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
    caption="The axis is logarithmic. From bar to bar more of the loops run in compiled code; in the last one all "
    "of them do, in BLAS.",
)

# %% [markdown]
# The last step gains more than the loops of Python. A library for **BLAS** (basic linear algebra subprograms; NumPy
# comes with OpenBLAS) cuts the matrices into blocks that fit into the cache. So each number that was fetched from
# memory is used many times, and one instruction multiplies eight or sixteen numbers. The gain becomes visible when
# the matrices grow:

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
    caption="With small matrices most of the time is overhead of the call. From a few hundred rows on, the rate is "
    "that of the processor.",
)

# %% [markdown]
# ## The roofline
#
# A processor can do two things at a time: compute, at most $P$ operations a second, and move bytes to and from memory, at most $M$
# a second. An operation that needs $F$ operations and moves $Q$ bytes cannot take less than
#
# $$ t \ge \max\Big(\frac{F}{P}, \frac{Q}{M}\Big), \qquad\text{so its rate is}\quad \frac{F}{t} \le \min\Big(P,\ M\,\frac{F}{Q}\Big). $$
#
# $F / Q$ is called **arithmetic intensity**. Drawn over it, the bound has the shape of a roof: it rises where memory
# is the limit, and is flat where arithmetic is (Williams, Waterman and Patterson, "Roofline: an insightful visual
# performance model", 2009). We have measured $P$. $M$ depends on where the numbers are. What was written a moment
# ago, and is not too large, is still in the **cache**, a small memory next to the processor that is several times as
# fast as the main memory. So there are two slopes: one for arrays that fit into no cache, and one for arrays as large
# as those below. We measure both by copying arrays.
#
# The points are a few operations of a ViT-Ti for eight images (1,576 tokens of width 192, arrays of 1 to 5 MB). For
# each we count the bytes that it must read and write at least.


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
    caption="The solid line is the bound; no operation is above it. The further a point lies below the line, the "
    "more time the operation wastes. The dashed line is the bound for arrays that come from main memory; "
    "operations above it found their numbers in the cache.",
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
# This shows two things. A layer norm cannot come near the rate of a product, however it is written, because it does
# too little arithmetic with each number. And there is room below the slope: several of these operations go over their
# arrays many times, and each pass costs memory traffic again.

# %% [markdown]
# ## Fuse: many steps on a few numbers
#
# GELU (chapter [07](07_transformer.ipynb)), in the approximation with tanh, is a chain of nine elementwise steps.
# NumPy does each step for the whole array, which is written to memory and read back nine times. If the array is cut
# into blocks that stay in the cache, each step finds its numbers there. Smaller blocks stay in a nearer cache, but
# each block costs nine calls. The best size lies in between.

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
block_sizes = [2**i for i in range(6, 22)]
each = [1e9 * seconds(lambda s=s: gelu_in_blocks(x, s), repeats=3) / x.size for s in block_sizes]
best = block_sizes[int(np.argmin(each))]
print(f"whole arrays {whole:.2f} ns an element; in blocks of {best:,} elements {min(each):.2f} ns")
viz.curves(
    {"in blocks": (block_sizes, each)},
    "elements of a block",
    "nanoseconds an element",
    log="xy",
    level={"whole arrays, as one writes it": whole},
    title="GELU on two million numbers",
    caption="Small blocks lose time with calls, large ones with memory. The horizontal line is the formula as one "
    "usually writes it, with a new array for every step.",
)

# %% [markdown]
# ### One loop, compiled
#
# A block still goes through the nearest cache once for every step. It would be best to take a row, do all steps with
# it, and go on to the next row. In Python such a loop costs fifty nanoseconds for each number and step. **Numba**
# compiles such a function, when it is first called, for the processor that it runs on. Here is layer norm (chapter
# [07](07_transformer.ipynb)) as loops. `fastmath` allows the compiler to add the numbers of a row in another order;
# without it, it could not process eight numbers at once.

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
took["in blocks"] = seconds(lambda: blocks.layer_norm(tokens, None, None, 1e-6)) / tokens.size
if compiled:
    import numba

    norm_compiled = numba.njit(fastmath={"contract", "nsz", "reassoc"})(norm_rows)
    took["the loops, compiled"] = seconds(lambda: norm_compiled(tokens, out)) / tokens.size
    assert np.allclose(out, norm_whole(tokens), atol=1e-5)
for name, value in took.items():
    print(f"{name:20} {1e9 * value:8.2f} ns a number")
viz.bars(
    {name: float(f"{1e9 * value:.2g}") for name, value in took.items()},
    "nanoseconds a number",
    log=True,
    title="Layer norm of 1,576 tokens of width 192",
    caption="The first and the last bar are the same loops, run by Python and compiled by Numba. Between them is "
    "layer norm in NumPy, on whole arrays and in blocks. The axis is logarithmic.",
)

# %% [markdown]
# ### Faster ways, laid over the formula
#
# Code like this is fast, and nobody wants to learn softmax from it. So minivis has both. In `minivis/ops/` every op
# stands in its **plain form**: the formula, forward and backward, in a few lines. In `minivis/fast/` there are other
# ways to the same result, and a *way* is laid over an op from outside. Here is the one for softmax, all of it:

# %%
print(inspect.getsource(softmaxes.softmax_by_rows))

# %% [markdown]
# It takes the arguments of the op, calls the same checks, and returns `(out, vjp)` as the op does. Two conditions
# decide about it. `may` says whether it can do these arguments: their device, their dtype, and what has to be
# installed. `pays` says whether they are large enough. A call takes the first way that may and pays, and otherwise
# the plain form. `routines.of(x)` finds the loops for an array: compiled ones for large float32 arrays where Numba is
# installed, otherwise blocks of NumPy, and on a GPU kernels in CUDA C++, which save the same passes over memory. (A
# compiler cannot call `exp` for eight numbers at once, so the compiled loops compute it as a polynomial.)
#
# `mv.plain()` is a block in which no way is taken. With it you can see that the results are the same. The test suite
# does so for every row of the tables of every op, values and gradients, in float16, float32 and float64. You can also
# place a mistake with it: one that goes away under `mv.plain()` is in `fast/`.

# %%
print("the ways of softmax:", [way.function.__name__ for way in ops.softmax.ways])
way = ops.softmax.ways[0]
print(
    f"does it pay? for {scores.shape}: {way.pays(scores)}; for {scores[:2, :5].shape}: {way.pays(scores[:2, :5])}"
)

fast = ops.softmax(scores)
with mv.plain():
    plain = ops.softmax(scores)
print(f"largest difference {abs(fast - plain).max():.1e}, the largest weight is {plain.max():.2f}")
np.testing.assert_allclose(fast, plain, rtol=1e-5, atol=1e-7)

# %% [markdown]
# With the same block we can measure what each way gains, forward and backward together, in the shapes of a ViT-Ti
# with eight images. The convolution is one of a ResNet, and AdamW updates a million parameters.


# %%
def both_ways(op, *shapes):
    """Seconds of an op forward and backward on random Tensors of these shapes."""
    leaves = [mv.Tensor(rng.standard_normal(shape, dtype=np.float32), requires_grad=True) for shape in shapes]
    ones = np.ones(op(*leaves).shape, np.float32)

    def run():
        for leaf in leaves:
            leaf.grad = None
        op(*leaves).backward(ones)

    return seconds(run, repeats=5)


parameter = mv.Tensor(rng.standard_normal(2**20, dtype=np.float32), requires_grad=True)
parameter.grad = rng.standard_normal(2**20, dtype=np.float32)
step_of_adamw = optim.AdamW([parameter], lr=1e-4).step
timed = {
    "softmax": lambda: both_ways(ops.softmax, scores.shape),
    "layer norm": lambda: both_ways(
        lambda x, w, b: ops.layer_norm(x, 192, w, b), tokens.shape, (192,), (192,)
    ),
    "GELU": lambda: both_ways(ops.gelu, hidden.shape),
    "attention": lambda: both_ways(ops.scaled_dot_product_attention, q.shape, k.shape, v.shape),
    "convolution": lambda: both_ways(
        lambda x, w: ops.conv2d(x, w, padding=1), (4, 64, 56, 56), (64, 64, 3, 3)
    ),
    "AdamW": lambda: seconds(step_of_adamw),
}
milliseconds = {"plain": {}, "fast": {}}
for name, measure in timed.items():
    with mv.plain():
        slow = 1e3 * measure()
    fast = 1e3 * measure()
    under = f"{name}\n{slow / fast:.1f} times"
    milliseconds["plain"][under] = float(f"{slow:.2g}")
    milliseconds["fast"][under] = float(f"{fast:.2g}")
    print(f"{name:12} plain {slow:6.2f} ms, fast {fast:6.2f} ms: {slow / fast:5.1f} times as fast")

viz.bars(
    milliseconds,
    "milliseconds",
    log=True,
    title="Plain forms and the ways laid over them",
    caption="Forward and backward in float32; the axis is logarithmic. The number under a name is the ratio of its two "
    "bars. What goes over whole arrays step by step gains most. Matrix products gain little, because BLAS does them "
    "either way. Each bar is the median of a few runs: a ratio near 1 can come out on either side of it.",
)

# %% [markdown]
# Two of the ratios need a word. GELU gains more than passes over memory: its plain form computes in float64, so that
# the smallest results keep their digits too, and its way has a formula that keeps them in float32. Attention gains
# little time at this length: nothing on one core, and somewhat more on several, because its way shares the heads
# among them. With thousands of tokens it gains memory: the weights of all pairs take gigabytes, and a way computes
# them for some queries at a time.
#
# ## New memory costs time
#
# A new array gets its memory from the operating system *when it is first touched*, in pages of 4,096 bytes or more,
# and each page is set to zero first. Here is the same product, once into a new array and once into an array that
# already exists:

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
# A training step creates and frees the same arrays again and again. So minivis asks the C library to keep memory that
# was freed (a call of `mallopt`, in `minivis/openblas.py`, which runs before NumPy is loaded). Where it was measured,
# this took a third off the step of a ViT. And backward frees every array as soon as it has been used.
#
# ## Convolution: from seven loops to one product
#
# Chapter [02](02_convolution.ipynb) wrote convolution as loops. With the patches as rows of a matrix it is one matrix
# product, which is what machines do fastest. The cost is memory: each pixel is copied once for every place of the
# kernel.

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
# We divide a training step of ViT-Ti/16 with two images of 224 x 224 into its parts. Each kind of operation is timed
# alone, forward and backward, in the shapes that the model has, and multiplied by how often it occurs. The rest is
# residual sums, copies, and the engine itself.

# %%
model = models.vit_ti16(rng=0)
optimizer = optim.AdamW(model.parameters(), lr=1e-4)
pictures = rng.standard_normal((2, 3, 224, 224), dtype=np.float32)
labels = np.array([1, 2])


def step():
    optimizer.zero_grad()
    ops.cross_entropy(model(pictures), labels).backward()
    optimizer.step()


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
    caption='The time of each kind of operation, forward and backward, times how often it occurs. "Patches" is the '
    "patch embedding, one convolution.",
)

# %% [markdown]
# ## The overhead of an operation
#
# For arrays of eight numbers the arithmetic takes almost no time. What remains is overhead: that of NumPy, and that
# of the engine, which records each operation and goes through them backwards.

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
# A ViT-Ti has some 300 operations in a step, so the engine takes about a millisecond of it. For a model of width 64
# on images of 8 x 8 the overhead is the larger part of the time; there, larger batches help.
#
# ## On a GPU
#
# Nothing in the ops changes: they take their functions from the library that the arrays belong to, and CuPy has the
# names of NumPy. But the proportions change. A large GPU multiplies hundreds of times as fast as one core, and reads
# memory a hundred times as fast. *Starting* an operation from Python still takes ten to forty microseconds. So the
# smaller the work, the larger the share of the time that is spent on starting it:

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
# With 32 images ViT-B keeps the GPU busy, and minivis takes 1.13 times as long as PyTorch. With one image neither
# does: the GPU waits for the next operation to be started, in PyTorch too. This is why small models are trained with
# large batches and why compilers fuse operations. It is also why a whole step can be recorded once and replayed (CUDA
# graphs; CuPy cannot record matrix products, so minivis does not use them).
#
# **How to look for speed**, in this order:
#
# 1. *Measure*, and compare with the bound. What is within a factor of two of it needs no more work.
# 2. Do less: leave out operations (one patch embedding instead of ten layers; windows instead of all pairs).
# 3. Turn the work into one matrix product, since machines do those fastest.
# 4. Fuse what is limited by memory; reuse memory.
# 5. Give a GPU enough work at a time.

# %% [markdown]
# ## Exercises
#
# A check by laws also asks the following of your function: float32 in gives float32 out, float64 keeps all its
# digits, the input arrays stay unchanged, and nothing is printed.
#
# ### Exercise 1: the bound
# Write `my_bound(flops, moved, peak, memory)`: the least time, in seconds, of an operation with `flops` operations
# and `moved` bytes, on a machine that does `peak` operations and moves `memory` bytes a second. Then write
# `my_bend(peak, memory)`: the intensity at which the roof bends.


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
# Write `my_softmax(x, axis=-1)` so that it creates one new array and no other array of that size. Subtract the
# maximum into it, then go on in place with `out=` and `/=`. `x` itself must stay unchanged, `axis` may be any axis,
# and numbers of a thousand must not overflow.


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
# The subtraction creates the array, and everything after it works in place. `minivis/fast/` does the same for a block
# of rows at a time.
# </details>

# %% [markdown]
# ### Exercise 3: convolution without loops over pixels
# Write `my_conv(x, w)` without padding and with stride 1: `x` is $(B, C, H, W)$, `w` is $(O, C, k_h, k_w)$. This time
# do not lay out patches: compute one matrix product for each of the $k_h k_w$ places of the kernel, and add them up.
# Hint: `x[:, :, i : i + rows, j : j + columns]` and `np.einsum("oc,bchw->bohw", ...)`.


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
# Here nothing is copied $k_h k_w$ times, but the sum goes over $y$ that many times. Which of the two is faster
# depends on the number of channels: measure it.
# </details>

# %% [markdown]
# ## Six questions
#
# Try to answer before you unfold. The code in each answer can be pasted into a cell: it shows that the answer is
# right.

# %% [markdown] tags=["question:twice-the-size"]
# **1. What happens to the work of a matrix product, and to the numbers it reads, if $n$ is doubled?**
#
# <details><summary>Answer</summary>
#
# Eight times the multiplications, but only four times the numbers. So each number that was fetched is used twice as
# often: large products are limited by arithmetic, small ones by memory and by the call.
#
# ```python
# work, read = lambda n: 2 * n**3, lambda n: 3 * n**2 * 4
# assert work(256) / work(128) == 8 and read(256) / read(128) == 4
# assert work(256) / read(256) == 2 * work(128) / read(128)
# ```
# </details>

# %% [markdown] tags=["question:twice-the-processor"]
# **2. A new processor computes twice as fast and has the same memory. Which gains more, a ReLU or a linear layer?**
#
# <details><summary>Answer</summary>
#
# The linear layer: it lies under the flat part of the roof. A ReLU does one operation for eight bytes, so it waits
# for memory as before and gains nothing.
#
# ```python
# bound = lambda peak, name: min(peak, memory * placed[name][1] / placed[name][2])
# assert bound(2 * peak, "ReLU") == bound(peak, "ReLU")
# assert bound(2 * peak, "linear") > bound(peak, "linear")
# ```
# </details>

# %% [markdown] tags=["question:one-block"]
# **3. What does GELU in blocks become if a block is as large as the whole array?**
#
# <details><summary>Answer</summary>
#
# Whole arrays again: every step goes over all two million numbers before the next begins, and each pass goes to
# main memory. The result is the same with every size; only the time differs.
#
# ```python
# part = x[:1000]
# for size in (7, 1000):
#     np.testing.assert_allclose(gelu_in_blocks(part, size), gelu_whole(part), atol=1e-6)
# ```
# </details>

# %% [markdown] tags=["question:small-arrays"]
# **4. Why is a faster way not taken for a very small array?**
#
# <details><summary>Answer</summary>
#
# It costs more to start it than the few numbers take. A way says itself when it pays; for two rows of five numbers
# the plain form of softmax is quicker.
#
# ```python
# way = ops.softmax.ways[0]
# assert way.pays(scores) and not way.pays(scores[:2, :5])
# ```
# </details>

# %% [markdown] tags=["question:patches-cost"]
# **5. A convolution as one product copies its input into patches. By what factor does a kernel of $7 \times 7$ with
# stride 1 enlarge it?**
#
# <details><summary>Answer</summary>
#
# By almost 49: each pixel, but for those near the border, is part of 49 windows. With a stride of 7 the windows do
# not overlap, and nothing is copied twice.
#
# ```python
# windows_of = np.lib.stride_tricks.sliding_window_view(np.zeros((1, 3, 70, 70), np.float32), (7, 7), axis=(2, 3))
# assert 40 < windows_of.size / (3 * 70 * 70) < 49
# assert windows_of[:, :, ::7, ::7].size == 3 * 70 * 70
# ```
# </details>

# %% [markdown] tags=["question:without-ways"]
# **6. What is different if you run a whole model inside `mv.plain()`?**
#
# <details><summary>Answer</summary>
#
# Only the time, and the last digits: sums are added in another order. A mistake that goes away inside the block is
# in one of the faster ways.
#
# ```python
# small_model = mv.load("vit-digits")
# digits_in = mv.data.digits.load("held-out")[0][:4]
# with mv.plain(), mv.no_grad():
#     by_formula = small_model(digits_in).data
# np.testing.assert_allclose(by_formula, small_model(digits_in).data, atol=1e-4)
# ```
# </details>

# %% [markdown]
# ## What you can do now
#
# - You can find out what limits a computation: arithmetic, memory, or the start of each operation. Measure which,
#   before you change anything.
# - You can place an operation under the roofline of your machine. A matrix product can reach the full arithmetic rate.
#   Elementwise steps can reach the rate of the memory, but only if they go over their data once.
# - You can make an operation faster without changing what it computes. Blocks that stay in the cache, memory that is
#   reused, and fewer operations gain more than clever single operations.
# - You can say where the time of a training step goes. A GPU has hundreds of times the arithmetic, but starting an
#   operation takes as many microseconds: give it much work at a time.
#
# Next: [22. Published weights](22_published_weights.ipynb), what is in a checkpoint, and how large models are read.
