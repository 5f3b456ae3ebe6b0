# %% [markdown]
# # Residual networks: a block, stochastic depth, and steps through time
#
# You write a residual block with its backward pass, the rule that drops blocks at random, and the steps of which a
# residual block is the simplest.
#
# **Rules.** Fill in the cells that say `YOUR CODE HERE`, and keep the names and the arguments. Use Python and NumPy.
# During grading `minivis.ops`, SciPy and PyTorch are not available: calling a ready-made function earns no points.
#
# **Checks.** Under each task a cell tries *laws*: properties that hold for every input. It shows the smallest case
# that breaks a law, and counts the points. After you hand in, more laws are tried; the text of the task says
# everything that they ask for. The outputs in your notebook are not read.
#
# **Time**: planned for 60 to 90 minutes. **Before**: the chapter "From LeNet to ResNet".

# %%
import numpy as np

from minivis.classroom import award

# %% [markdown]
# ## Task 1: a residual block and its way back (15 points)
#
# A block learns what to *add* to its input. To keep it small, its two layers are matrices here, not convolutions, and
# it has no norm. For a batch $x$ $(B, D)$, with weights $W_1$ $(H, D)$ and $W_2$ $(D, H)$ (out, in) and biases $b_1$
# $(H)$, $b_2$ $(D)$:
#
# $$a = x W_1^T + b_1, \qquad s = x + \mathrm{ReLU}(a)\, W_2^T + b_2, \qquad y = \mathrm{ReLU}(s).$$
#
# Write `residual_block(x, w1, b1, w2, b2)`. It returns `(y, vjp)`. `vjp(g)` takes the cotangent of $y$, $(B, D)$, and
# returns a tuple with the five gradients, in the order of the arguments. Begin at the end: what of `g` passes the last
# ReLU? Then $x$ has two ways to $s$: its gradient is the sum of two parts. A ReLU at exactly 0 is not tested. Do not
# change the arrays that you are given.


# %% tags=["task:block"]
def residual_block(x, w1, b1, w2, b2):
    ### BEGIN SOLUTION
    a = x @ w1.T + b1
    r = np.maximum(a, 0)
    s = x + r @ w2.T + b2

    def vjp(g):
        g_s = g * (s > 0)
        g_a = (g_s @ w2) * (a > 0)
        return g_s + g_a @ w1, g_a.T @ x, g_a.sum(axis=0), g_s.T @ r, g_s.sum(axis=0)

    return np.maximum(s, 0), vjp
    ### END SOLUTION


# %% tags=["check:block"]
award(
    "residual_block",
    residual_block,
    {
        "the simplest form": 1,
        "a branch of zeros hands on x": 1,
        "ReLU at the end": 1,
        "gradients of the simplest form": 2,
        "gradient of x": 1,
        "gradient of w1": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 2,
        "gradients agree on anything": 3,
        "gradient of b1": 1,
        "gradient of w2": 1,
        "gradient of b2": 1,
        ### END HIDDEN TESTS
    },
    vjp=True,
)

# %% [markdown]
# ## Task 2: stochastic depth (9 points)
#
# In training, a residual branch is dropped at random: then the block is only its shortcut. Here each sample has its
# own draw. `drop_path(x, rate, training, rng)` takes what a branch has computed, $(B, \dots)$ with any number of axes:
#
# $$y_b = \frac{m_b}{1 - r}\, x_b, \qquad m_b = 0 \text{ with probability } r, \text{ else } 1.$$
#
# A sample is dropped as a whole. What stays is divided by $1 - r$, so that the mean is right. In evaluation
# (`training` is False) nothing changes. With $r = 1$ everything is 0. `rng` is a `numpy.random.Generator`;
# `rng.random(n)` draws $n$ numbers from $[0, 1)$.


# %% tags=["task:stochastic-depth"]
def drop_path(x, rate, training, rng):
    ### BEGIN SOLUTION
    if not training:
        return x
    if rate == 1:
        return np.zeros_like(x)
    keep = rng.random(len(x)) >= rate
    keep = keep.reshape(len(x), *[1] * (x.ndim - 1)).astype(x.dtype)
    return x * keep / (1 - rate)
    ### END SOLUTION


# %% tags=["check:stochastic-depth"]
award(
    "drop_path",
    drop_path,
    {
        "the simplest form": 2,
        "nothing changes in evaluation": 1,
        "whole samples": 1,
        "what stays is scaled up": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 2,
        "as often as asked": 1,
        "rate 1 drops everything": 1,
        ### END HIDDEN TESTS
    },
)

# %% [markdown]
# ## Task 3: steps through time (12 points)
#
# A residual block $y + G(y)$ is one step of a path with the velocity $G$. Let $\frac{dy}{dt} = f(y, t)$ and
# $y(t_0) = y_0$. With $n$ steps of length $h = (t_1 - t_0) / n$, step $j = 0, \dots, n - 1$ begins at
# $t = t_0 + j h$ and goes from $y$ to $y + h k$:
#
# | method | velocity $k$ of the step |
# |---|---|
# | `"euler"` | $f(y, t)$ |
# | `"midpoint"` | $f(y + \frac h2 k_1, t + \frac h2)$ with $k_1 = f(y, t)$ |
# | `"rk4"` | $(k_1 + 2 k_2 + 2 k_3 + k_4) / 6$ with $k_2 = f(y + \frac h2 k_1, t + \frac h2)$, $k_3 = f(y + \frac h2 k_2, t + \frac h2)$, $k_4 = f(y + h k_3, t + h)$ |
#
# Write `odeint(field, y0, t0, t1, steps, method="euler")`. It returns $y(t_1)$, of the shape of `y0`. `field(y, t)`
# returns the velocity. With $t_1 < t_0$ the path is followed backwards.


# %% tags=["task:ode"]
def odeint(field, y0, t0, t1, steps, method="euler"):
    ### BEGIN SOLUTION
    h = (t1 - t0) / steps
    y = y0
    for j in range(steps):
        t = t0 + j * h
        k1 = k = field(y, t)
        if method == "midpoint":
            k = field(y + h / 2 * k1, t + h / 2)
        if method == "rk4":
            k2 = field(y + h / 2 * k1, t + h / 2)
            k3 = field(y + h / 2 * k2, t + h / 2)
            k4 = field(y + h * k3, t + h)
            k = (k1 + 2 * k2 + 2 * k3 + k4) / 6
        y = y + h * k
    return y
    ### END SOLUTION


# %% tags=["check:ode"]
award(
    "odeint",
    odeint,
    {
        "the simplest form": 2,
        "constant velocity": 1,
        "the midpoint is a state": 1,
        "four stages in space": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 3,
        "time goes on": 1,
        "the midpoint is a time": 1,
        "four stages in time": 1,
        "backwards": 1,
        ### END HIDDEN TESTS
    },
)
