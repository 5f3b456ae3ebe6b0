# %% [markdown]
# # Autograd: ops with their backward passes
#
# You write three ops of a classifier with their backward passes, in NumPy: softmax, layer norm, cross-entropy.
#
# **Rules.** Fill in the cells that say `YOUR CODE HERE`, and keep the names and the arguments. Use Python and NumPy.
# During grading `minivis.ops`, SciPy and PyTorch are not available: calling a ready-made function earns no points.
#
# **Checks.** Under each task a cell tries *laws*: properties that hold for every input. It shows the smallest case
# that breaks a law, and counts the points. After you hand in, more laws are tried; the text of the task says
# everything that they ask for. The outputs in your notebook are not read.
#
# **Time**: planned for 60 to 90 minutes. **Before**: the chapter on autograd.

# %%
import numpy as np

from minivis.classroom import award

# %% [markdown]
# ## What an op is
#
# An op returns its output and a function `vjp`. `vjp(g)` takes the **cotangent** of the output,
# $g = \partial L / \partial y$, an array of the shape of the output. It returns a tuple with
# $\partial L / \partial x$ for each input array, in the order of the arguments. The Jacobian $J$ is never built;
# `vjp` computes $g^T J$ directly. Here is an example:


# %%
def multiply(x, y):
    def vjp(g):
        return g * y, g * x

    return x * y, vjp


# %% [markdown]
# `g` belongs to the caller: read it, but do not write to it. float32 in gives float32 out, in the backward pass too.
#
# ## Task 1: softmax (8 points)
#
# $$y_i = \frac{e^{x_i}}{\sum_j e^{x_j}} = \frac{e^{x_i - m}}{\sum_j e^{x_j - m}}, \qquad m = \max_j x_j, \qquad
# \bar x_i = y_i \Big( g_i - \sum_j g_j y_j \Big)$$
#
# along one `axis` of an array of any rank. Logits go up to $10^4$: use the second form.


# %% tags=["task:softmax"]
def softmax(x, axis=-1):
    ### BEGIN SOLUTION
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    y = e / e.sum(axis=axis, keepdims=True)

    def vjp(g):
        return (y * (g - (g * y).sum(axis=axis, keepdims=True)),)

    return y, vjp
    ### END SOLUTION


# %% tags=["check:softmax"]
award(
    "softmax",
    softmax,
    {
        "the simplest form": 1,
        "any axis": 1,
        "gradients of the simplest form": 1,
        "gradient of x": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 1,
        "large logits": 1,
        "gradients agree on anything": 1,
        "cotangent left alone": 1,
        ### END HIDDEN TESTS
    },
    vjp=True,
)

# %% [markdown]
# ## Task 2: layer norm (14 points)
#
# Each token is centred and scaled by itself, then multiplied by a learned weight, and a learned bias is added:
#
# $$\hat x = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}}, \qquad y = \hat x \odot \mathrm{weight} + \mathrm{bias},$$
#
# with mean $\mu$ and (biased) variance $\sigma^2$ over the last axes: `normalized_shape` is a tuple with as many
# numbers as there are such axes. `weight` and `bias` have that shape, or are None. Compute the variance of the
# centred numbers: $E[x^2] - \mu^2$ loses its digits far from zero. Backward, with $\hat g = g \odot \mathrm{weight}$
# and means over the same axes,
#
# $$\bar x = \frac{\hat g - \mathrm{mean}(\hat g) - \hat x\, \mathrm{mean}(\hat g \odot \hat x)}{\sqrt{\sigma^2 + \epsilon}}, \qquad
# \overline{\mathrm{weight}} = \sum_{\text{tokens}} g \odot \hat x, \qquad \overline{\mathrm{bias}} = \sum_{\text{tokens}} g .$$
#
# `vjp(g)` returns the gradients of `x`, `weight` and `bias`, None where the argument was None.


# %% tags=["task:layer-norm"]
def layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    ### BEGIN SOLUTION
    axes = tuple(range(-len(normalized_shape), 0))
    tokens = tuple(range(x.ndim - len(normalized_shape)))
    centred = x - x.mean(axis=axes, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=axes, keepdims=True) + eps)
    unit = centred / deviation
    y = unit if weight is None else unit * weight
    y = y if bias is None else y + bias

    def vjp(g):
        stretched = g if weight is None else g * weight
        along = unit * (stretched * unit).mean(axis=axes, keepdims=True)
        g_x = (stretched - stretched.mean(axis=axes, keepdims=True) - along) / deviation
        g_weight = None if weight is None else (g * unit).sum(axis=tokens)
        g_bias = None if bias is None else g.sum(axis=tokens)
        return g_x, g_weight, g_bias

    return y, vjp
    ### END SOLUTION


# %% tags=["check:layer-norm"]
award(
    "layer_norm",
    layer_norm,
    {
        "the simplest form": 1,
        "variance 1": 1,
        "each token by itself": 1,
        "weight": 1,
        "bias": 1,
        "gradients of the simplest form": 1,
        "gradient of x": 2,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 1,
        "far from zero": 1,
        "eps under the root": 1,
        "gradients agree on anything": 1,
        "gradient of weight": 1,
        "gradient of bias": 1,
        ### END HIDDEN TESTS
    },
    vjp=True,
)

# %% [markdown]
# ## Task 3: cross-entropy (8 points)
#
# The loss of a classifier is minus the logarithm of the probability that it gives to the true class. Take the
# **mean** over the batch, in nats:
#
# $$L = -\frac1B \sum_b \log \mathrm{softmax}(x_b)_{t_b}, \qquad
# \bar x_{b} = \frac{g}{B} \big( \mathrm{softmax}(x_b) - \mathrm{onehot}(t_b) \big) .$$
#
# `logits` is $(B, K)$, `target` is $(B,)$ and holds integers. On a computer a probability of $e^{-1000}$ is 0 and its
# logarithm infinite, so use $\log \mathrm{softmax}(x)_t = (x_t - m) - \log \sum_j e^{x_j - m}$. `vjp(g)` takes a
# number and returns the tuple `(g_logits,)`.


# %% tags=["task:cross-entropy"]
def cross_entropy(logits, target):
    ### BEGIN SOLUTION
    rows = np.arange(len(logits))
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))

    def vjp(g):
        g_logits = np.exp(log_p)
        g_logits[rows, target] -= 1
        return (g_logits * np.asarray(g / len(logits), logits.dtype),)

    return -log_p[rows, target].mean(), vjp
    ### END SOLUTION


# %% tags=["check:cross-entropy"]
award(
    "cross_entropy",
    cross_entropy,
    {
        "the simplest form": 1,
        "mean over the batch": 1,
        "gradients of the simplest form": 1,
        "gradient of logits": 2,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 1,
        "sure and wrong": 1,
        "gradients agree on anything": 1,
        ### END HIDDEN TESTS
    },
    vjp=True,
)
