# %% [markdown]
# # 01. Autograd: the chain rule as a program
#
# To learn, a network needs to know for each of its parameters: if it were a little larger, how would the error
# change? Autograd is the program that computes all these answers at once. You will write it.
#
# **Goals**
#
# - You can measure a derivative, work one out by the chain rule, and say what each costs.
# - You can write an autograd for numbers in thirty lines, and say why gradients add where a value is used twice.
# - You can pull a gradient back through an op on arrays, undo broadcasting, and add an op of your own to minivis.
# - You can check any backward pass, and you know a common check that accepts wrong gradients.
# - You can say what each line of the engine of minivis is there for.
# - You can show why the early layers of a deep sigmoid network hardly learn, and what a shortcut changes.
#
# **Before**: the derivative of a function of one variable, and NumPy arrays with their broadcasting. Nothing about networks.
#
# **Slides**: Deck C is CPSC 425, lecture 23. A section that follows a slide names it by its tag: deck, page and a
# short name.
#
# **Time**: about 70 minutes to read, 40 more for the exercises; the cells take about 15 seconds.

# %% tags=["setup"]
import math

import numpy as np

import minivis as mv
from minivis import ops, viz
from minivis.autograd import primitive, unbroadcast
from minivis.gradcheck import GradientError, check_gradient
from minivis.laws import claims

rng = np.random.default_rng(0)

# %% [markdown]
# ## A derivative is a slope you can measure
#
# Raise $x$ by a small step $h$, see how much $f(x)$ rises, and divide: that is the slope. There are two ways:
#
# $$\text{forward:}\ \frac{f(x+h)-f(x)}{h} \qquad\qquad \text{central:}\ \frac{f(x+h)-f(x-h)}{2h}$$
#
# How small should the step be? We take a function whose slope we know (the slope of the sine is the cosine) and try.

# %%
steps = 10.0 ** np.arange(-13, 0.5, 0.5)
slope = math.cos(1.0)
forward = (np.sin(1 + steps) - np.sin(1)) / steps
central = (np.sin(1 + steps) - np.sin(1 - steps)) / (2 * steps)

viz.curves(
    {"forward": (steps, abs(forward - slope)), "central": (steps, abs(central - slope))},
    "step h",
    "error of the slope",
    log="xy",
    mark=True,
    title="The error of a measured slope, for large and small steps",
    caption="Read from right to left: as the step becomes smaller both errors fall, the central one twice as "
    "steeply. Further left they rise again. There f(x+h) and f(x-h) agree in almost all digits, and what is left "
    "of their difference is mostly rounding error.",
)

# %% [markdown]
# The forward error falls like $h$, the central one like $h^2$; rounding adds about $10^{-16}/h$. So the best choice
# is central differences in float64 with a step near $10^{-6}$. This is how every gradient in minivis is *tested*. It
# is not how gradients are *computed*, because each slope needs runs of its own: a network with 86 million parameters
# would run 172 million times for one step of learning.

# %% [markdown]
# ## The chain rule by hand
#
# Here is one neuron, with one input $x$, a weight $w$, a bias $b$ and a target $t$:
#
# $$z = wx + b, \qquad a = \sigma(z) = \frac{1}{1+e^{-z}}, \qquad C = (a - t)^2.$$
#
# By the chain rule, the slopes along the way from a number to the cost are multiplied:
#
# $$\frac{\partial C}{\partial w} = \frac{\partial C}{\partial a}\cdot\frac{\partial a}{\partial z}\cdot\frac{\partial z}{\partial w}
#   = 2(a-t)\cdot\sigma(z)\,(1-\sigma(z))\cdot x .$$
#
# We start at the cost and go back. At each step we hold one number, the slope of the cost with respect to the value
# where we are, and multiply it by one local slope. For $x=2$, $w=\tfrac12$, $b=-1$, $t=1$ the results are round
# numbers.

# %%
x = 2.0
w = 0.5
b = -1.0
t = 1.0

z = w * x + b  # forward: 0
a = 1 / (1 + math.exp(-z))  # 1/2
cost = (a - t) ** 2  # 1/4

d_cost = 1.0  # backward: the slope of the cost with respect to itself ...
d_a = d_cost * 2 * (a - t)  # ... with respect to a: -1
d_z = d_a * a * (1 - a)  # -1/4, for the slope of the sigmoid is a (1 - a)
d_w = d_z * x
d_b = d_z * 1.0
d_x = d_z * w

assert (z, a, cost) == (0, 0.5, 0.25)
assert (d_a, d_z, d_w, d_b, d_x) == (-1, -0.25, -0.5, -0.25, -0.125)
print(f"dC/dw = {d_w}, dC/db = {d_b}, dC/dx = {d_x}")

# %% [markdown]
# Note what was shared: $d_z$ was computed once and used for three slopes. A network has millions of parameters and
# one cost, so going *back* from the cost shares almost all of the work. Now compare with measured slopes.


# %%
def neuron(w, b, x):
    return (1 / (1 + math.exp(-(w * x + b))) - 1.0) ** 2


h = 1e-6
measured = [
    (neuron(w + h, b, x) - neuron(w - h, b, x)) / (2 * h),
    (neuron(w, b + h, x) - neuron(w, b - h, x)) / (2 * h),
    (neuron(w, b, x + h) - neuron(w, b, x - h)) / (2 * h),
]
np.testing.assert_allclose(measured, [d_w, d_b, d_x], atol=1e-9)
measured

# %% [markdown]
# ## Thirty lines of autograd
#
# By hand we did three things that a program can do, too:
#
# 1. while computing, **remember** which numbers each result was made of;
# 2. for each kind of step, know how to **pull** the slope at its result **back** to its inputs;
# 3. walk **backwards** from the cost.
#
# The function that pulls back is called `vjp` in minivis (the name is explained below), and the slope that comes in
# is always `g`.


# %% tags=["setup"]
class Value:
    """A number that remembers how it was made."""

    def __init__(self, data, parents=(), vjp=lambda g: ()):
        self.data = data
        self.parents = parents
        self.vjp = vjp
        self.grad = 0.0

    def __add__(self, other):
        return Value(self.data + other.data, (self, other), lambda g: (g, g))

    def __mul__(self, other):
        return Value(self.data * other.data, (self, other), lambda g: (g * other.data, g * self.data))

    def sigmoid(self):
        s = 1 / (1 + math.exp(-self.data))
        return Value(s, (self,), lambda g: (g * s * (1 - s),))

    def backward(self):
        order = []
        seen = set()

        def visit(value):  # parents before children
            if value not in seen:
                seen.add(value)
                for parent in value.parents:
                    visit(parent)
                order.append(value)

        visit(self)
        self.grad = 1.0
        for value in reversed(order):  # children before parents
            for parent, slope in zip(value.parents, value.vjp(value.grad), strict=True):
                parent.grad += slope


# %%
x = Value(2.0)
w = Value(0.5)
b = Value(-1.0)
minus_t = Value(-1.0)
difference = (w * x + b).sigmoid() + minus_t
cost = difference * difference
cost.backward()

assert (cost.data, w.grad, b.grad, x.grad) == (0.25, -0.5, -0.25, -0.125)  # as by hand
w.grad, b.grad, x.grad

# %% [markdown]
# minivis does the same for arrays: a `Tensor` is a `Value` with an array in `.data` and, after `backward`, another in
# `.grad`. It can draw the graph that it has recorded.

# %%
x, w, b = (mv.Tensor(np.float64(number), requires_grad=True) for number in (2.0, 0.5, -1.0))
product = w * x
z = product + b
a = ops.sigmoid(z)
difference = a - 1
cost = difference * difference
cost.backward(retain_graph=True)  # usually the graph is gone after backward: keep it, for the picture
assert (cost.item(), w.grad, b.grad, x.grad) == (0.25, -0.5, -0.25, -0.125)

viz.graph(
    cost,
    names={"x": x, "w": w, "b": b, "w x": product, "z": z, "a": a, "difference": difference},
    values=True,
    title="The graph that minivis recorded for the neuron",
    caption="Square boxes are the values whose gradient we asked for, with value and gradient. Round boxes are the "
    "ops, with their results. The arrows show the forward pass; backward goes against them and multiplies by a "
    "local slope at each box.",
)

# %% [markdown]
# ## Where a value is used twice, slopes add
#
# The cost above is `difference * difference`: one value, used twice. If the value rises, the product rises for two
# reasons, and the two slopes **add**. This is why `backward` has `+=`; with `=` the second use would overwrite the
# first.
#
# The order matters, too. A value may pass its slope on only when *all* its uses have contributed, so `backward`
# visits children before parents. The simple recursion, "pull back to my parents, then let each of them do the same",
# gives the right answer as well. But it visits every *path* instead of every *value*, and in $x_{k+1} = x_k + x_k$
# the number of paths doubles with each step.


# %%
def backward_by_paths(value, g=1.0):
    """Right, and hopeless: returns how many visits it made."""
    value.grad += g
    return 1 + sum(backward_by_paths(p, s) for p, s in zip(value.parents, value.vjp(g), strict=True))


def doubled(times):
    x = y = Value(1.0)
    for _ in range(times):
        y = y + y
    return x, y


visits = []
for times in range(1, 15):
    x, y = doubled(times)
    visits.append(backward_by_paths(y))
    assert x.grad == 2.0**times
assert visits == [2 ** (times + 1) - 1 for times in range(1, 15)]

# %% [markdown]
# Fourteen doublings take 32,767 visits. Sixty would take 73,000 years at a million visits a second. `backward` does
# them at once.

# %%
x, y = doubled(60)
y.backward()
assert x.grad == 2.0**60  # at once

viz.curves(
    {"by paths": (range(1, 15), visits), "each value once": (range(1, 15), range(2, 16))},
    "times a value was used twice",
    "visits",
    log="y",
    title="Visits with every path, and with every value once",
    caption="The number of visits: following every path doubles it with each shared value; visiting every value "
    "once adds one. A network with shortcuts, such as a transformer, shares a value in every layer.",
)

# %% [markdown]
# ## From numbers to arrays
#
# A layer turns thousands of numbers into thousands of numbers. Its slopes form a table, the **Jacobian** $J$, with a
# row for each output and a column for each input: $J_{ij} = \partial y_i / \partial x_j$. Here is the Jacobian of
# softmax, which turns scores into weights that sum to one, $p_i = e^{x_i} / \sum_j e^{x_j}$. We measure it column by
# column.

# %%
scores = np.array([2.0, 1.0, 0.5, 0.0, -1.0])


def measured_jacobian(f, x, h=1e-6):
    columns = []
    for j in range(x.size):
        step = h * (np.arange(x.size) == j)
        columns.append((f(x + step) - f(x - step)) / (2 * h))
    return np.stack(columns, axis=1)  # (outputs, inputs)


jacobian = measured_jacobian(ops.softmax, scores)
np.testing.assert_allclose(jacobian.sum(axis=0), 0, atol=1e-9)  # what one weight gains, the others lose

viz.heatmap(
    jacobian,
    "input: score",
    "output: weight",
    bar_label="slope",
    title="The Jacobian of softmax",
    caption="On the diagonal the slopes are positive: a higher score raises its own weight. Off the diagonal they "
    "are negative: it lowers all others. Each column sums to 0, because the weights always sum to 1. This will "
    "deceive a test below.",
)

# %% [markdown]
# Backward never needs the table itself, only the table *times* what comes in. Let $g_i = \partial C/\partial y_i$ be
# the slopes of the cost with respect to the outputs (the **cotangent**: an array of the outputs' shape). By the chain
# rule, and because slopes add, the slopes with respect to the inputs are
#
# $$\bar x_j = \sum_i g_i\, J_{ij}, \qquad\text{in short}\qquad \bar x = J^\top g .$$
#
# This is called a vector-Jacobian product, in short a **vjp**. For softmax the sum can be simplified on paper:
#
# $$\bar x_j = p_j \Big( g_j - \sum_i g_i\, p_i \Big).$$
#
# We compute the same numbers in three ways: with the table, with the formula in loops, and with the formula at once.

# %%
g = rng.standard_normal(5)
p = ops.softmax(scores)

by_loops = np.zeros(5)
for j in range(5):
    for i in range(5):
        by_loops[j] += g[i] * (p[i] * (i == j) - p[i] * p[j])

at_once = p * (g - (g * p).sum())

np.testing.assert_allclose(by_loops, jacobian.T @ g, atol=1e-8)
np.testing.assert_allclose(at_once, by_loops, atol=1e-12)
pixels = 3 * 224 * 224
print(
    f"a ReLU on one photo of 224 x 224: the Jacobian has {pixels**2:,} numbers ({pixels**2 * 4 / 1e9:.0f} GB),"
)
print(f"its vjp multiplies {pixels:,} numbers once")

# %% [markdown]
# So an op in minivis is a function that returns its result *and* its `vjp`. The catalogue has every law that softmax
# must obey, also for its gradient. `check` tests a function against all of them, on inputs that it generates.


# %%
def my_softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))  # less the largest score: same weights, no overflow
    p = e / e.sum(axis=axis, keepdims=True)

    def vjp(g):
        return (p * (g - (g * p).sum(axis=axis, keepdims=True)),)

    return p, vjp


report = mv.laws.check("softmax", my_softmax, vjp=True)
assert report.passed

# %% [markdown]
# ## The most important op: a matrix product
#
# A linear layer turns a batch $X$ of shape (B, I), with weights $W$ of shape (I, O), into $Y = XW$ of shape (B, O):
# $Y_{bo} = \sum_i X_{bi} W_{io}$. Each multiplication sends a slope to both of its factors, and all slopes that
# arrive at one place add up. First we write exactly this as loops, then the same as two matrix products.
#
# $$\bar X = \bar Y\, W^\top \qquad\qquad \bar W = X^\top\, \bar Y$$
#
# You need not memorise where the transpose goes: only one arrangement has the right shape.

# %%
X, W, G = rng.standard_normal((4, 3)), rng.standard_normal((3, 2)), rng.standard_normal((4, 2))

X_bar, W_bar = np.zeros_like(X), np.zeros_like(W)
for n in range(4):
    for i in range(3):
        for o in range(2):
            X_bar[n, i] += G[n, o] * W[i, o]
            W_bar[i, o] += G[n, o] * X[n, i]

np.testing.assert_allclose(X_bar, G @ W.T)
np.testing.assert_allclose(W_bar, X.T @ G)

x, w = mv.Tensor(X, requires_grad=True), mv.Tensor(W, requires_grad=True)
(x @ w).backward(G)  # minivis: the cotangent of the result goes in
np.testing.assert_allclose(x.grad, X_bar)
np.testing.assert_allclose(w.grad, W_bar)
w.grad

# %% [markdown]
# ## Broadcasting, backwards
#
# `Y + b` with $Y$ of shape (4, 3) and $b$ of shape (3,) uses each number of $b$ four times, once in each row. So each
# number gets four slopes, and they add. What broadcasting repeats in the forward pass is therefore **summed** in the
# backward pass, over exactly the axes that were repeated. In minivis you can see this in the code:
# `unbroadcast(g, b)` stands in the vjp of every op that broadcasts.

# %%
g = np.arange(12.0).reshape(4, 3)

for b in (np.zeros(3), np.zeros((4, 1)), np.zeros((1, 1)), np.zeros((4, 3))):
    print(f"b {b.shape!s:7} -> gradient {unbroadcast(g, b).tolist()}")

np.testing.assert_array_equal(unbroadcast(g, np.zeros(3)), g.sum(axis=0))
np.testing.assert_array_equal(unbroadcast(g, np.zeros((4, 1))), g.sum(axis=1, keepdims=True))

# %% [markdown]
# ## An op of your own
#
# This is all that is needed to add an op to minivis. *Softplus*, $\ln(1 + e^x)$, is a smooth version of ReLU, and its
# slope is the sigmoid. `@primitive` looks for Tensors among the arguments, calls your function with plain arrays, and
# remembers the vjp: steps 1 and 2 of the thirty lines.


# %%
@primitive
def softplus(x):
    out = np.logaddexp(0, x).astype(x.dtype)  # ln(e^0 + e^x), without overflow

    def vjp(g):
        return (g * ops.sigmoid(x),)

    return out, vjp


x = mv.Tensor([-2.0, 0.0, 3.0], requires_grad=True)
y = softplus(x)
y.sum().backward()

np.testing.assert_allclose(y.numpy(), ops.softplus(x.data), rtol=1e-6)
np.testing.assert_allclose(x.grad, 1 / (1 + np.exp([2.0, 0.0, -3.0])), rtol=1e-6)
check_gradient(softplus, rng.standard_normal((3, 4)))  # returns the relative difference that it found
y, x.grad

# %% [markdown]
# ## A network, its graph, and one sweep
#
# Slide `C/91-backpropagation`.
#
# **Backpropagation** learns the parameters of a network by the chain rule, applied from the output back to the input.
# The figure shows the graph that minivis recorded for a network of two layers. `relu` sets negative numbers to 0, and
# `cross_entropy` is a cost for choosing among classes (you write it in exercise 4). The arrows show the forward pass;
# `backward` goes against them.

# %% tags=["slide:C/91-backpropagation"]
x = rng.standard_normal((6, 4))  # six inputs of four numbers: data, no gradient wanted
target = np.array([0, 2, 1, 1, 0, 2])
sizes = {"w1": (4, 5), "b1": (5,), "w2": (5, 3), "b2": (3,)}
parameters = {name: mv.Tensor(rng.standard_normal(size), requires_grad=True) for name, size in sizes.items()}


def network_loss(w1, b1, w2, b2):
    hidden = ops.relu(x @ w1 + b1)  # (6, 5)
    return ops.cross_entropy(hidden @ w2 + b2, target)


loss = network_loss(**parameters)
viz.graph(
    loss,
    names=parameters,
    title="The graph that backward goes through",
    caption="Square boxes are parameters, round ones ops with the shape of their result. The input x is missing: "
    "nobody asked for its gradient, so nothing about it was recorded. Backward starts in the green box and visits "
    "each box once.",
)

# %% [markdown]
# One backward pass gives the gradient with respect to all 43 parameters. Measuring it takes two forward passes for
# each of them, 86 in all, and gives the same numbers.

# %% tags=["slide:C/91-backpropagation"]
loss.backward()

passes = 0
h = 1e-6
for parameter in parameters.values():
    measured = np.zeros(parameter.shape)
    for place in np.ndindex(parameter.shape):
        before = parameter.data[place]
        costs = []
        for moved in (before + h, before - h):
            parameter.data[place] = moved
            costs.append(network_loss(**parameters).item())
            passes += 1
        parameter.data[place] = before
        measured[place] = (costs[0] - costs[1]) / (2 * h)
    np.testing.assert_allclose(measured, parameter.grad, atol=1e-8)

assert passes == 2 * sum(p.size for p in parameters.values()) == 86
print(f"one backward pass = {passes} forward passes, and the numbers agree")

# %% [markdown]
# ## Checking a gradient, and a check that accepts anything
#
# You wrote a vjp. Is it right? Comparing the whole Jacobian is slow, but one random number is enough. Choose a random
# direction $u$ for the inputs and a random cotangent $w$ for the outputs. Then
#
# $$\Big\langle w,\ \frac{f(x+\epsilon u)-f(x-\epsilon u)}{2\epsilon}\Big\rangle = \langle \mathrm{vjp}(w),\, u\rangle$$
#
# must hold: two forward passes on the left, one backward pass on the right, whatever the size. A wrong gradient
# passes this test only by a coincidence, which with random numbers practically never happens.
#
# It is tempting to do without $w$ and to check `f(x).sum()`. That is the special case $w = (1, \ldots, 1)$. See what
# this check says about a softmax whose gradient is simply *zero*.


# %%
@primitive
def zero_softmax(x):
    return ops.softmax(x), lambda g: (np.zeros_like(x),)  # wrong, as wrong as can be


def all_ones_check(function, x, h=1e-6):
    """Compares the slope of f(x).sum() along a random direction: the tempting version."""
    leaf = mv.Tensor(x, requires_grad=True)
    u = rng.standard_normal(x.shape)
    function(leaf).sum().backward()
    measured = (function(x + h * u).sum() - function(x - h * u).sum()) / (2 * h)
    return abs(measured - (leaf.grad * u).sum()) < 1e-6


scores = rng.standard_normal((2, 5))
print("all-ones check of the zero gradient:", "passes!" if all_ones_check(zero_softmax, scores) else "fails")
assert all_ones_check(zero_softmax, scores)
try:
    check_gradient(zero_softmax, scores)
except GradientError as error:
    print("random cotangent:", error)
else:
    raise AssertionError("a zero gradient must not pass")
print(f"the right softmax: relative difference {check_gradient(ops.softmax, scores):.1e}")

# %% [markdown]
# The weights of softmax sum to one, whatever the scores. So `softmax(x).sum()` is constant, its slope *is* zero, and
# the check with ones finds the zero that it expects. (You saw this in the Jacobian: every column sums to 0.) The same
# holds for everything that normalises: the outputs of a layer norm or a batch norm always sum to 0, attention weights
# always sum to 1. Therefore the check of every op in minivis must also *reject* a planted zero gradient, and one that
# is 1 % too large.

# %% [markdown]
# ## Why early layers learn slowly
#
# Slide `C/19-vanishing-gradient`.
#
# Put four neurons in a row. Neuron $l$ has a weight $w_l$, a bias $b_l$ and a sigmoid: $z_l = w_l a_{l-1} + b_l$,
# $a_l = \sigma(z_l)$, where $a_0$ is the input. The calculation for one neuron, done for four, gives
#
# $$\frac{\partial C}{\partial b_1} = \sigma'(z_1)\; w_2\,\sigma'(z_2)\; w_3\,\sigma'(z_3)\; w_4\,\sigma'(z_4)\;\frac{\partial C}{\partial a_4}
# \qquad\text{but}\qquad
# \frac{\partial C}{\partial b_3} = \sigma'(z_3)\; w_4\,\sigma'(z_4)\;\frac{\partial C}{\partial a_4} .$$
#
# There is one factor $w\,\sigma'(z)$ for every layer above. And the slope of a sigmoid is small:
# $\sigma' = \sigma(1-\sigma)$ is a number between 0 and 1 times one minus that number, which is never more than $\tfrac14$.

# %% tags=["slide:C/19-vanishing-gradient"]
z = np.linspace(-6, 6, 241)
s = ops.sigmoid(z)
slope = s * (1 - s)
assert slope.max() == 0.25 and z[slope.argmax()] == 0  # equality at z = 0 alone

viz.curves(
    {"sigmoid": (z, s), "its slope": (z, slope)},
    "z",
    "value",
    level={"1/4": 0.25},
    title="The slope of a sigmoid is at most 1/4",
    caption="The sigmoid and its slope. The slope is largest at z = 0, where it is 1/4. Towards either side it "
    "goes to zero: a neuron whose output is near 0 or 1 passes hardly any gradient on.",
)

# %% tags=["slide:C/19-vanishing-gradient"]
weights = [mv.Tensor(w, requires_grad=True) for w in rng.standard_normal(4)]
biases = [mv.Tensor(b, requires_grad=True) for b in rng.standard_normal(4)]

a = mv.Tensor(np.float64(0.7))
slopes = []
for w, b in zip(weights, biases, strict=True):
    a = ops.sigmoid(w * a + b)
    slopes.append(a.item() * (1 - a.item()))  # sigma'(z) of this layer
cost = (a - 1) ** 2
cost.backward()

d_a4 = 2 * (a.item() - 1)
factors = [w.item() * s for w, s in zip(weights, slopes, strict=True)]  # w sigma'(z), layer by layer
by_formula = [slopes[layer] * math.prod(factors[layer + 1 :]) * d_a4 for layer in range(4)]

np.testing.assert_allclose([b.grad.item() for b in biases], by_formula)
for layer, b in enumerate(biases, start=1):
    print(f"dC/db{layer} = {b.grad.item():+.6f}")

# %% [markdown]
# The slide writes $w\,\sigma'(z) < \tfrac14$. But only $\sigma'(z) \le \tfrac14$ always holds; the bound on the
# product needs $|w| < 1$. With large weights the same product **explodes**. The cell has rows of neurons with equal
# weights, and with biases that keep every neuron at its steepest, $z = 0$. So each layer multiplies the gradient by
# exactly $w/4$.


# %% tags=["slide:C/19-vanishing-gradient"]
def bias_gradients(weight, layers=12):
    """dC/db of each layer in a row of neurons, every one of which is at z = 0."""
    biases = [mv.Tensor(np.float64(-weight * 0.5), requires_grad=True) for _ in range(layers)]
    a = 0.5
    for b in biases:
        a = ops.sigmoid(weight * a + b)
    (a - 1).backward()
    return np.array([b.grad.item() for b in biases])


rows = {w: bias_gradients(w) for w in (1.0, 2.0, 4.0, 8.0)}
for w, gradients in rows.items():
    np.testing.assert_allclose(gradients[:-1] / gradients[1:], w / 4)

layer = np.arange(1, 13)
viz.curves(
    {f"w = {w:g}": (layer, gradients) for w, gradients in rows.items()},
    "layer",
    "gradient of its bias",
    log="y",
    title="Each layer multiplies by w/4",
    caption="Read from right to left, the way backward goes. With weights below 4 the gradient vanishes on its way "
    "to layer 1; above 4 it explodes; with exactly 4 it keeps its size.",
)

# %% [markdown]
# Now a real network: 30 layers of 64 units, with random weights such that a layer roughly keeps the size of its
# input. We compare four versions: with sigmoids, with tanh (slope up to 1), with ReLU (slope 1 or 0), and with
# sigmoids *and a shortcut*. With the shortcut each layer adds to its input instead of replacing it,
# $a_l = a_{l-1} + \sigma(z_l) - \tfrac12$. The slope of the shortcut is 1, so the product of the factors becomes a
# product of (1 + factor).


# %%
def gradient_norms(activate, gain=1.0, shortcut=False, layers=30, width=64):
    """The norm of the cost's gradient with respect to the biases of each layer, at initialisation."""
    draw = np.random.default_rng(1)
    a = draw.standard_normal((32, width))
    biases = []
    for _ in range(layers):
        w = draw.standard_normal((width, width)) * gain / math.sqrt(width)
        biases.append(mv.Tensor(np.zeros(width), requires_grad=True))
        new = activate(a @ w + biases[-1])
        a = a + new if shortcut else new
    (a**2).mean().backward()
    return np.array([np.linalg.norm(b.grad) for b in biases])


# %% tags=["slide:C/19-vanishing-gradient"]
norms = {
    "sigmoid": gradient_norms(ops.sigmoid),
    "tanh": gradient_norms(ops.tanh),
    "ReLU": gradient_norms(ops.relu, gain=math.sqrt(2)),
    "sigmoid with a shortcut": gradient_norms(lambda z: ops.sigmoid(z) - 0.5, shortcut=True),
}
first_to_last = {name: norm[0] / norm[-1] for name, norm in norms.items()}
assert first_to_last["sigmoid"] < 1e-12 and first_to_last["sigmoid with a shortcut"] > 0.1

viz.curves(
    {name: (np.arange(1, 31), norm) for name, norm in norms.items()},
    "layer (1 = next to the input)",
    "norm of the bias gradient",
    log="y",
    mark=False,
    title="How much of the gradient reaches each layer",
    caption="The size of the gradient in each layer; backward goes from right to left. With sigmoids layer 1 "
    "receives almost nothing of it. The same sigmoids with a shortcut around each layer pass the gradient on to "
    "the first layer.",
)

# %%
for name, ratio in first_to_last.items():
    print(f"{name:24} layer 1 receives {ratio:8.1e} of what layer 30 receives")

# %% [markdown]
# This is why the deck calls deep networks hard to train: with one learning rate for all layers, late layers learn and
# early ones hardly change. The figure shows two remedies. One is another activation: tanh near 0, and ReLU for
# positive inputs, have slope 1. They carry the gradient as long as the weights are drawn with care. The other is the
# shortcut, which needs less care. It is the *residual* connection, the main idea of the ResNet of chapter 03; every
# layer of a transformer has two of them.

# %% [markdown]
# ## From thirty lines to the engine
#
# The engine of minivis is one file, `minivis/autograd.py`. It does what `Value` does, and it is longer because it also
#
# - computes with arrays,
# - goes back through graphs of any depth,
# - frees memory on the way,
# - never spoils a gradient that somebody else still needs,
# - and can be switched off.
#
# We build a small engine and add these one after the other. Then you read the real one, every line of it.
#
# ### Step 1: arrays instead of numbers
#
# `MiniTensor` is `Value` with an array in it. `mini_primitive` makes an op out of any function that takes arrays and
# returns `(out, vjp)`. The ops of minivis are such functions: `ops.softmax.raw` is the one behind `ops.softmax`. So
# these lines run the mathematics of the whole library. A parent is stored with its *place* among the arguments,
# because the vjp returns one gradient for each place, also for arguments that are plain arrays.

# %%
from itertools import count

births = count(1)


class MiniTensor:
    """An array that remembers how it was made."""

    def __init__(self, data, parents=(), vjp=None):
        self.data = data
        self.parents = parents  # (place, MiniTensor) pairs
        self.vjp = vjp  # None for a leaf: it was given, not computed
        self.grad = None
        self.born = next(births)  # its number; step 2 needs it


def mini_primitive(raw):
    """Make an op of a function that takes arrays and returns (out, vjp)."""

    def op(*arguments):
        arrays = [x.data if isinstance(x, MiniTensor) else x for x in arguments]
        parents = [(place, x) for place, x in enumerate(arguments) if isinstance(x, MiniTensor)]
        out, vjp = raw(*arrays)
        return MiniTensor(out, parents, vjp)

    return op


def by_recursion(root):
    """All that a tensor was made from, and itself: parents before children."""
    order = []
    seen = set()

    def visit(tensor):
        if tensor not in seen:
            seen.add(tensor)
            for _, parent in tensor.parents:
                visit(parent)
            order.append(tensor)

    visit(root)
    return order


def mini_backward(root, order):
    """Value.backward for arrays; `order` finds the order to go through."""
    root.grad = np.ones_like(root.data)
    for tensor in reversed(order(root)):
        pulled = tensor.vjp(tensor.grad) if tensor.vjp else ()
        for place, parent in tensor.parents:
            share = pulled[place]
            parent.grad = share if parent.grad is None else parent.grad + share


# %% [markdown]
# With five of the library's functions it computes the loss of the network with two layers from above, and all of its
# 43 gradients.

# %%
add, mul, matmul, relu, cross_entropy = (
    mini_primitive(op.raw) for op in (ops.add, ops.mul, ops.matmul, ops.relu, ops.cross_entropy)
)
minis = {name: MiniTensor(parameter.data) for name, parameter in parameters.items()}

hidden = relu(add(matmul(x, minis["w1"]), minis["b1"]))  # x (6, 4), hidden (6, 5)
mini_loss = cross_entropy(add(matmul(hidden, minis["w2"]), minis["b2"]), target)
mini_backward(mini_loss, by_recursion)

for name, mini in minis.items():
    np.testing.assert_allclose(mini.grad, parameters[name].grad)  # minivis' own, from above
print(
    "the mini engine and minivis agree on", ", ".join(f"{name} {m.grad.shape}" for name, m in minis.items())
)

# %% [markdown]
# ### Step 2: any depth
#
# `visit` calls itself once for each level, and Python allows about a thousand levels. So a list of our own has to take
# the place of the calls. And there is a simpler order than a search can give: **age**. An op can only take what is
# there already, so a result is younger than all it was made from. From the youngest to the oldest is children before
# parents. This is what `born` is for.


# %%
def by_birth(root):
    """All that a tensor was made from, and itself: oldest first."""
    found = [root]
    seen = {root}
    for tensor in found:  # the list grows while it is read
        for _, parent in tensor.parents:
            if parent not in seen:
                seen.add(parent)
                found.append(parent)
    return sorted(found, key=lambda tensor: tensor.born)


def deep(start, add, steps=20_000):
    y = start
    for _ in range(steps):
        y = add(y, 1.0)
    return y


leaf = MiniTensor(np.ones(1))
try:
    mini_backward(deep(leaf, add), by_recursion)
except RecursionError as error:
    print("by recursion:", str(error).split(" while")[0])
mini_backward(deep(leaf, add), by_birth)
print("by birth, 20,000 ops deep: gradient", leaf.grad)
assert leaf.grad == 1

# %% [markdown]
# ### Step 3: free what is not needed any more
#
# A vjp keeps the arrays that it needs, so the graph holds almost everything that was computed. But backward needs each
# vjp once. As soon as a node has given its gradient away, its vjp, its parents and the gradient itself can go. Only
# the gradients of the leaves are wanted in the end. So the gradients on the way now live in a dictionary, from which
# they are taken out, and the graph is **consumed** while backward goes through it.

# %%
import operator
import tracemalloc


def mini_backward_freeing(root, meet=operator.add):
    """The same, with less memory from step to step; `meet` adds two gradients that arrive at one tensor."""
    gradients = {root: np.ones_like(root.data)}
    waiting = by_birth(root)
    while waiting:
        tensor = waiting.pop()  # the youngest
        g = gradients.pop(tensor)
        if tensor.vjp is None:  # a leaf
            tensor.grad = g
            continue
        pulled = tensor.vjp(g)
        for place, parent in tensor.parents:
            share = pulled[place]
            gradients[parent] = meet(gradients[parent], share) if parent in gradients else share
        tensor.vjp = None
        tensor.parents = ()


wide = np.ones(500_000, np.float32)  # 2 MB
tanh, total = mini_primitive(ops.tanh.raw), mini_primitive(ops.sum.raw)


def forty_steps(leaf, tanh, total):
    y = leaf
    for _ in range(40):
        y = tanh(y)
    return total(y)


def megabytes(backward, make=MiniTensor, tanh=tanh, total=total):
    """The most memory that forty steps forward and backward take, and what they leave when they are done."""
    tracemalloc.start()
    leaf = make(wide)
    result = forty_steps(leaf, tanh, total)
    backward(result)
    kept, most = (size / 1e6 for size in tracemalloc.get_traced_memory())
    tracemalloc.stop()
    assert result.data.size == 1 and leaf is not None  # both are still there
    return {"at most": round(most), "at the end": round(kept)}


memory = {
    "nothing freed": megabytes(lambda y: mini_backward(y, by_birth)),
    "freed on the way": megabytes(mini_backward_freeing),
}
assert memory["nothing freed"]["at the end"] > 150 and memory["freed on the way"]["at the end"] < 5
memory

# %% [markdown]
# The forward pass has kept 40 arrays of 2 MB. Without freeing, backward adds as many gradients; with freeing, the
# memory falls while backward runs, and the gradient of the leaf is what remains. The price is that a second backward
# through the same graph is impossible.
#
# ### Step 4: never write into a gradient
#
# Where two gradients meet they are added, and it looks like a saving to add in place, `gradients[parent] += share`. But
# look at the vjp of an addition: both inputs get `g`, and this is **one array** under two names. A reshape hands out a
# view of `g`, too. Here $y = 3a + (a + b)$, so the gradient of $b$ is 1:


# %%
def gradients_of(meet):
    a = MiniTensor(np.ones(2))
    b = MiniTensor(np.ones(2))
    y = add(mul(a, 3.0), add(a, b))
    mini_backward_freeing(y, meet)
    return a.grad, b.grad


for name, meet in (("added into a new array", operator.add), ("added in place", operator.iadd)):
    of_a, of_b = gradients_of(meet)
    print(f"{name:22} dy/da = {of_a}, dy/db = {of_b}")
assert (gradients_of(operator.add)[1] == 1).all()
assert (gradients_of(operator.iadd)[1] == 4).all()  # wrong

# %% [markdown]
# First $a$ and $b$ get the same array from $a + b$. Then the share of $3a$ is added to what $a$ has, in place, and
# changes what $b$ has. So the engine never writes into a gradient that a vjp has returned. It writes into one kind of
# array only: the `.grad` of a leaf, which is a copy of its own.
#
# ### Step 5: a switch
#
# Whoever needs only the outputs needs no graph. Inside `with mv.no_grad():` an op computes and remembers nothing, and
# each array is freed as soon as the next one is there.

# %%
leaf = mv.Tensor([1.0], requires_grad=True)
with mv.no_grad():
    unrecorded = ops.tanh(leaf)
recorded = ops.tanh(leaf)
print("recorded:", recorded.node is not None, "| under no_grad:", unrecorded.node is not None)
recorded.backward()
print("after backward the vjp is", recorded.node.vjp)  # consumed, as in step 3


def wanting(array):
    return mv.Tensor(array, requires_grad=True)


memory["minivis"] = megabytes(lambda y: y.backward(), wanting, ops.tanh, ops.sum)
with mv.no_grad():
    memory["minivis, no_grad"] = megabytes(lambda y: None, wanting, ops.tanh, ops.sum)
assert memory["minivis"]["at the end"] < 5 and memory["minivis, no_grad"]["at most"] < 10

viz.bars(
    {when: {name: found[when] for name, found in memory.items()} for when in ("at most", "at the end")},
    "memory (MB)",
    title="Memory that forty steps take",
    caption="The first two pairs are the mini engine with and without freeing. Freed on the way, a backward pass takes "
    "hardly more than the forward pass has kept, and leaves the gradient of the leaf, 2 MB. minivis does the same. "
    "Under no_grad there is no backward, and only two arrays are there at a time.",
)

# %% [markdown]
# ## The engine, every line
#
# Now the real one. `code_of` shows functions and classes as they stand in `minivis/autograd.py`, without their
# docstrings.

# %%
import ast
import inspect
import re

from IPython.display import Markdown

from minivis import autograd

read = []


def code_of(*parts):
    """Show the source of functions and classes, without docstrings."""
    shown = []
    for part in parts:
        source = inspect.getsource(part)
        lines = source.splitlines()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
                text = node.body[0]
                for number in range(text.lineno - 1, text.end_lineno):
                    lines[number] = None
        code = "\n".join(line for line in lines if line is not None)
        shown.append(re.sub(r":\n\n+", ":\n", code))  # a blank line after the docstring
        read.append(part.__name__)
    return Markdown("```python\n" + "\n\n\n".join(shown) + "\n```")


# %% [markdown]
# **What is recorded.** The mini engine made its graph of tensors. Here a Tensor and its place in the graph are two
# things: a `Node` is one recorded call. It has the vjp, but no array. What the vjp does not need is freed as soon as
# nobody holds the Tensor any more, during the forward pass already. A leaf has no Node; it is a parent itself.
#
# `changed` belongs to a sixth property. A vjp often keeps the array that came in, and whoever writes into it before
# backward would get a wrong gradient without noticing. So a Tensor counts it when its data is written to by
# `x.data += ...` or by an optimiser, on the same clock as births.

# %%
code_of(autograd.Node, autograd.Tensor, autograd.mark_changed)

# %% [markdown]
# **What an op does.** `primitive` looks at the function once. Then `op` runs at each call, and it is `mini_primitive`
# with a few cases more:
#
# - `_unwrapped` takes the arrays out of the Tensors and lists the parents, as before: only those that want a gradient.
#   Keywords come after positions, each with the place of its parameter.
# - `run` is the function itself, a faster way to the same result, or the function behind a door that lets only plain
#   arrays in (float16 becomes float32, integers are refused where they have no meaning). *Usual* arrays, that is plain
#   ones of float32 or float64, go in directly.
# - An error of a wrong call gets the name of the op and all shapes.
# - Without any Tensor among the arguments the result is an array. Otherwise it is a Tensor, with a Node if somebody
#   wants a gradient and nobody has switched recording off.

# %%
code_of(autograd.primitive, autograd._unwrapped)

# %% [markdown]
# **The way back.** `_history` is `by_birth`. It also refuses a graph that was consumed, or whose arrays were written
# to, and it does so before any gradient has changed. `backpropagate` is the loop of step 3; `vjp_of` is there so that
# `debug()` can watch each vjp. `_pull_back` shares one cotangent among the parents:
#
# - A share may be a *function*: an op with an expensive gradient, such as a convolution, leaves it until somebody
#   wants it. For images and frozen weights nobody does.
# - A share must have the shape and dtype of what it belongs to. A vjp that breaks this promise is named.
# - At a Node, shares are added into a new array (step 4). At a leaf, the first share is copied into an array of its
#   own, and later ones are added to it in place. What a function has returned is new, and need not be copied.

# %%
code_of(autograd.backpropagate, autograd._history, autograd._pull_back)

# %% [markdown]
# **The switch.** `_unrecorded` is a `Switch`: blocks can be left in any order, and other threads do not see it.

# %%
code_of(autograd.recording, autograd.no_grad)

# %% [markdown]
# That was all of it: the cell below compares what was shown with what the file defines. Other files help the engine,
# and each has one task. `complaints.py` has the words of its errors. `ops/operators.py` is the table that gives Tensor
# its `+`, `@`, `[]` and methods. `dtypes.py` decides about float16, integers and foreign arrays. `broadcasting.py` has
# `unbroadcast`, `ways.py` the faster ways, `debugging.py` what `debug()` looks for, and `switches.py` the switches.

# %%
definitions = ast.parse(inspect.getsource(autograd)).body
defined = {node.name for node in definitions if isinstance(node, ast.FunctionDef | ast.ClassDef)}
assert set(read) == defined
sorted(defined)

# %% [markdown]
# ### The formula is what runs
#
# What does `run(*arrays, **options)` call? For softmax it is the function below. The engine adds nothing to the
# mathematics, so you find the formula of every op in one file of `minivis/ops/`, forward and backward.

# %%
code_of(ops.softmax)

# %% [markdown]
# `op.raw` is this function, without Tensors and without recording: that is how the mini engine could use it. For large
# arrays there are faster ways to the same result, in blocks or compiled, in the folder `minivis/fast/`; they are laid
# over the op from outside, and chapter [21](21_speed.ipynb) has them. Inside `with mv.plain():` the formula runs at any
# size. The results agree, up to the last digits.

# %%
small = rng.standard_normal((2, 5))
large = rng.standard_normal((400, 400), dtype=np.float32)
weights, vjp = ops.softmax.raw(small)
print(
    "op.raw returns",
    type(weights).__name__,
    weights.shape,
    "and a vjp, which returns",
    len(vjp(weights)),
    "array",
)
np.testing.assert_array_equal(ops.softmax(small), weights)

print("ways laid over softmax:", [way.function.__name__ for way in ops.softmax.ways])
with mv.plain():
    by_formula = ops.softmax(large)
np.testing.assert_array_equal(by_formula, ops.softmax.raw(large)[0])
print(f"400 x 400, with and without: largest difference {abs(ops.softmax(large) - by_formula).max():.0e}")
np.testing.assert_allclose(ops.softmax(large), by_formula, rtol=1e-5)

# %% [markdown]
# ### Two things to try
#
# **A second backward** is refused, because the graph is gone; pass `retain_graph=True` if you want one. It *adds* to
# `.grad`, as every use of a value does. So gradients are cleared before each step of learning; otherwise you learn
# from the sum of all steps so far.

# %%
x = mv.Tensor([3.0], requires_grad=True)
y = x * x
y.backward(retain_graph=True)
y.backward()
print("twice:", x.grad)
assert x.grad == 12  # 6 + 6
try:
    y.backward()
except RuntimeError as error:
    print("third:", error)

# %% [markdown]
# **NaN.** One bad number spreads until everything is NaN, and you notice it far from the place where it began. The
# example is the length of a vector, $\sqrt{\sum_i x_i^2}$. Its value at 0 is fine, but its slope is not: the square
# root is vertical there. `debug()` checks each op and each vjp, and names the first that makes a NaN or an infinity.


# %%
def length(x):
    return ops.sqrt((x * x).sum())


x = mv.Tensor([0.0, 0.0], requires_grad=True)
with np.errstate(all="ignore"):
    length(x).backward()
print("length 0: gradient", x.grad)
assert np.isnan(x.grad).all()

try:
    with mv.debug():
        length(mv.Tensor([0.0, 0.0], requires_grad=True)).backward()
except FloatingPointError as error:
    print("debug:", error)
else:
    raise AssertionError("debug() must find the culprit")

# %% [markdown]
# ## Learning, in three lines
#
# Now we use all of it: three spirals that no straight line separates, a network of two hidden layers, and gradient
# descent. First the points, (300, 2), and the weights. The network gives each point three scores, and the highest one
# is its answer.

# %%
turn = np.linspace(0.3, 1.0, 100)
arms = [4.5 * turn + 2 * math.pi * k / 3 for k in range(3)]
points = np.concatenate([turn[:, None] * np.stack([np.cos(a), np.sin(a)], axis=1) for a in arms])
points = (points + 0.02 * rng.standard_normal(points.shape)).astype(np.float32)  # (300, 2)
labels = np.repeat(np.arange(3), 100)

widths = [2, 32, 32, 3]
matrices = [rng.standard_normal((i, o)) * math.sqrt(2 / i) for i, o in zip(widths, widths[1:], strict=False)]
weights = [mv.Tensor(w.astype(np.float32), requires_grad=True) for w in matrices]
biases = [mv.Tensor(np.zeros(n, np.float32), requires_grad=True) for n in widths[1:]]


def scores(x):
    for w, b in zip(weights[:-1], biases[:-1], strict=True):
        x = ops.relu(x @ w + b)
    return x @ weights[-1] + biases[-1]  # (N, 3)


# %% [markdown]
# The three lines are in the loop: clear the gradients, go back, take a small step downhill.

# %%
losses = []
for _ in range(2000):
    loss = ops.cross_entropy(scores(points), labels)
    for parameter in weights + biases:
        parameter.grad = None  # 1. clear
    loss.backward()  # 2. go back
    for parameter in weights + biases:
        parameter.data -= np.float32(0.3) * parameter.grad  # 3. a step downhill
    losses.append(loss.item())

accuracy = (scores(points).data.argmax(axis=1) == labels).mean()
print(f"loss {losses[0]:.2f} -> {losses[-1]:.3f}, {accuracy:.1%} of the points right")
assert accuracy > 0.97

# %%
viz.curves(
    {"loss": losses},
    "step",
    "cross-entropy (nats)",
    log="y",
    level={"guessing: ln 3": math.log(3)},
    title="Learning",
    caption="The loss begins near the value of guessing among three classes and ends more than a thousand times "
    "lower.",
)

# %%
viz.plane(
    scores,
    points,
    labels,
    title="The class that the network gives to every point",
    caption="Every point of the plane has the colour of the class it is given. The borders follow the arms. Far "
    "from the points they are straight, because a ReLU network is linear in pieces.",
)

# %% [markdown]
# ## Exercises
#
# Write your lines in the first cell of each exercise, run it, then run the check below it. The solutions are folded
# away. A check by laws also asks the following of your function: float32 in gives float32 out, float64 keeps all its
# digits, the input arrays stay unchanged, and nothing is printed.

# %% [markdown]
# ### Exercise 1: two more steps for the thirty lines
#
# Write `exp(a)` and `div(a, b)` for Values. Each returns a `Value` with its parents and its `vjp`. A `vjp` returns a
# tuple with one slope for each parent, even if there is only one. (Hint: what is the slope of $a/b$ with respect to
# $a$, and with respect to $b$?)


# %% tags=["exercise:value-ops"]
def exp(a): ...  # your lines here


def div(a, b): ...  # and here


# %% tags=["check:value-ops"]
def slopes_of(f, *numbers):
    values = [Value(n) for n in numbers]
    f(*values).backward()
    return [v.grad for v in values]


passed = claims(
    "exp and div",
    ("exp(1) is e", lambda: exp(Value(1.0)).data, math.e, "The number inside a Value `a` is `a.data`."),
    (
        "the slope of exp at 2 is e^2",
        lambda: slopes_of(exp, 2.0),
        [math.e**2],
        "The slope of e^a is e^a. The vjp multiplies g by it, and returns a tuple.",
    ),
    ("3 / 4 is 0.75", lambda: div(Value(3.0), Value(4.0)).data, 0.75, "Divide the numbers inside."),
    (
        "the slopes of a / b at 3, 4 are 1/4 and -3/16",
        lambda: slopes_of(div, 3.0, 4.0),
        [0.25, -0.1875],
        "With respect to a it is the slope of a line; a larger b makes a / b smaller, so that slope is negative.",
    ),
    (
        "slopes go through: e^a / a at a = 2 has slope e^2 / 4",
        lambda: slopes_of(lambda a: div(exp(a), a), 2.0),
        [math.e**2 / 4],
        "Does every vjp multiply by the g it is given, and do both name all their parents?",
    ),
).passed

# %% [markdown] tags=["solution:value-ops"]
# <details><summary>Solution</summary>
#
# ```python
# def exp(a):
#     e = math.exp(a.data)
#     return Value(e, (a,), lambda g: (g * e,))
#
#
# def div(a, b):
#     return Value(a.data / b.data, (a, b), lambda g: (g / b.data, -g * a.data / b.data**2))
# ```
#
# The exponential is its own slope, so its vjp needs only the result.
#
# </details>

# %% [markdown]
# ### Exercise 2: undo broadcasting
#
# Write `undo(g, shape)`. `g` is the cotangent of something to which an array of shape `shape` was broadcast. Return
# the cotangent of that array, of shape `shape`. (Hint: NumPy adds axes in front and stretches axes of length 1. Sum
# over both kinds.)


# %% tags=["exercise:undo-broadcasting"]
def undo(g, shape): ...  # your lines here


# %% tags=["check:undo-broadcasting"]
def claim(sentence, big, small, hint):
    """A claim about `undo` for an array of shape `small` that was broadcast to the shape `big`."""
    g = np.arange(1.0, 1 + math.prod(big)).reshape(big)  # 1, 2, 3, ...
    # which number each was a copy of
    source = np.broadcast_to(np.arange(math.prod(small)).reshape(small), big)
    right = np.bincount(source.ravel(), weights=g.ravel()).reshape(small)  # a number sums what its copies get
    return sentence, lambda: undo(g, small), right, hint


passed = claims(
    "undo broadcasting",
    claim("nothing to undo: (2, 3) to (2, 3)", (2, 3), (2, 3), "Then g comes back as it is."),
    claim(
        "an axis was added: (3,) to (2, 3)",
        (2, 3),
        (3,),
        "NumPy adds axes in front. How many are there more in g than in shape? Sum over those.",
    ),
    claim(
        "an axis was stretched: (2, 1) to (2, 3)",
        (2, 3),
        (2, 1),
        "Where shape has a 1, sum over the axis, and keep it with length 1: keepdims=True.",
    ),
    claim(
        "both: (1, 3) to (4, 2, 3)",
        (4, 2, 3),
        (1, 3),
        "First sum the added axes away; then the places of the others are those of shape.",
    ),
    claim("a single number: () to (2, 3)", (2, 3), (), "Both axes were added, so both are summed away."),
    claim(
        "an axis of length 1 that stayed 1: (1, 3) to (1, 3)",
        (1, 3),
        (1, 3),
        "It was not stretched; but a sum over one number does no harm.",
    ),
).passed

# %% [markdown] tags=["solution:undo-broadcasting"]
# <details><summary>Solution</summary>
#
# ```python
# def undo(g, shape):
#     added = g.ndim - len(shape)
#     g = g.sum(axis=tuple(range(added)))
#     stretched = tuple(i for i, n in enumerate(shape) if n == 1)
#     return g.sum(axis=stretched, keepdims=True)
# ```
#
# Summing over an axis of length 1 that was never stretched changes nothing, so such an axis needs no special case.
#
# </details>

# %% [markdown]
# ### Exercise 3: log-softmax, forward and backward
#
# Write `log_softmax(x, axis=-1)` for arrays with any number of axes; it returns `(out, vjp)`, and `vjp(g)` returns a tuple of one
# array. Numbers of a thousand must not overflow.
#
# $$y_i = x_i - m - \ln\sum_j e^{x_j - m}, \qquad m = \max_j x_j$$
#
# (Hint: $\partial y_i / \partial x_j = [i = j] - p_j$, where $p$ is the softmax. For each $j$ add up what each $g_i$
# contributes.)


# %% tags=["exercise:log-softmax"]
def log_softmax(x, axis=-1): ...  # your lines here


# %% tags=["check:log-softmax"]
passed = mv.laws.check("log_softmax", log_softmax, vjp=True).passed

# %% [markdown] tags=["solution:log-softmax"]
# <details><summary>Solution</summary>
#
# ```python
# def log_softmax(x, axis=-1):
#     y = x - x.max(axis=axis, keepdims=True)
#     y = y - np.log(np.exp(y).sum(axis=axis, keepdims=True))
#
#     def vjp(g):
#         return (g - np.exp(y) * g.sum(axis=axis, keepdims=True),)
#
#     return y, vjp
# ```
#
# On paper `np.log(softmax(x))` is the same. On a computer it is infinite as soon as a weight underflows to 0.
#
# </details>

# %% [markdown]
# ### Exercise 4: cross-entropy
#
# Write `cross_entropy(logits, target)`: logits (B, K), target (B,) with class numbers. It is the mean over the batch
# of minus the log-softmax at the right class, a single number. Return `(out, vjp)`; the target has no gradient.
# Logits of a thousand must not overflow, and there must be no logarithm of 0 when a weight underflows. (Hint: the
# gradient is "weights minus one-hot, over B".)


# %% tags=["exercise:cross-entropy"]
def cross_entropy(logits, target): ...  # your lines here


# %% tags=["check:cross-entropy"]
passed = mv.laws.check("cross_entropy", cross_entropy, vjp=True).passed

# %% [markdown] tags=["solution:cross-entropy"]
# <details><summary>Solution</summary>
#
# ```python
# def cross_entropy(logits, target):
#     rows = np.arange(len(target))
#     y = logits - logits.max(axis=1, keepdims=True)
#     y = y - np.log(np.exp(y).sum(axis=1, keepdims=True))  # log-softmax (B, K)
#     out = -y[rows, target].mean()
#
#     def vjp(g):
#         p = np.exp(y)
#         p[rows, target] -= 1
#         return (g * p / len(target),)
#
#     return out, vjp
# ```
#
# The gradient lowers the weights of the wrong classes by what they have, and raises the right class by what it lacks
# to one.
#
# </details>

# %% [markdown]
# ### Exercise 5: fool the all-ones check
#
# Centring, $y = x - \text{mean}(x)$ along the last axis, is a normalisation, too. Write it as a `@primitive` of `x`
# called `centre`, with the right forward pass and a gradient that is **wrong** but passes the check with ones. Then
# write `right_centre`, whose gradient is right. (Hint for the second: what is $\partial y_i/\partial x_j$? Compare
# the vjp with the forward pass.)


# %% tags=["exercise:fool-the-check"]
def centre(x): ...  # your lines here: a @primitive with a wrong gradient


def right_centre(x): ...  # your lines here: a @primitive with the right one


# %% tags=["check:fool-the-check"]
def with_ones(function):
    """Whether a gradient passes the all-ones check, in a word."""
    leaf = mv.Tensor(rng.standard_normal((3, 4)), requires_grad=True)
    function(leaf).sum().backward()
    right = np.abs(leaf.grad).max() < 1e-9  # centred numbers always sum to 0: the slope of the sum is 0
    return "passes" if right else "fails"


def with_random(function):
    """Whether a gradient passes the check with a random cotangent."""
    function(mv.Tensor(np.ones(2))).shape  # is it written at all?
    try:
        check_gradient(function, rng.standard_normal((3, 4)))
    except GradientError:
        return "fails"
    return "passes"


rows = np.array([[1.0, 2.0, 6.0], [5.0, 5.0, 5.0]])
centred = np.array([[-2.0, -1, 3], [0, 0, 0]])
passed = claims(
    "fool the all-ones check",
    (
        "centre, with @primitive above it, centres each row",
        lambda: centre(rows),
        centred,
        "Take the mean along the last axis, with keepdims=True, and return (out, vjp).",
    ),
    (
        "its gradient passes the all-ones check",
        lambda: with_ones(centre),
        "passes",
        "There the right answer is 0. What can a vjp return that is 0 when every g is 1?",
    ),
    (
        "and fails the random one",
        lambda: with_random(centre),
        "fails",
        "This vjp is right. Here a wrong one is wanted that the all-ones check cannot tell from it.",
    ),
    (
        "right_centre centres each row",
        lambda: right_centre(rows),
        centred,
        "Its forward pass is that of centre.",
    ),
    (
        "right_centre passes the all-ones check",
        lambda: with_ones(right_centre),
        "passes",
        "Raising all numbers of a row by the same changes nothing: the cotangents of a row must sum to 0.",
    ),
    (
        "and the random one",
        lambda: with_random(right_centre),
        "passes",
        "x_j raises its own y by 1, and lowers every y of its row by 1/n. Sum g_i times that over i.",
    ),
).passed

# %% [markdown] tags=["solution:fool-the-check"]
# <details><summary>Solution</summary>
#
# ```python
# @primitive
# def centre(x):
#     return x - x.mean(axis=-1, keepdims=True), lambda g: (np.zeros_like(x),)
#
#
# @primitive
# def right_centre(x):
#     return x - x.mean(axis=-1, keepdims=True), lambda g: (g - g.mean(axis=-1, keepdims=True),)
# ```
#
# The Jacobian of centring is symmetric, $[i=j] - 1/n$, so its vjp is centring again. Centring a vector of ones gives
# zero, and the check with ones sees nothing else.
#
# </details>

# %% [markdown]
# ## Six questions
#
# Try to answer before you unfold. The code in each answer can be pasted into a cell: it shows that the answer is
# right.

# %% [markdown] tags=["question:smaller-step"]
# **1. What would happen to the error of a central difference if its step were $10^{-9}$ instead of $10^{-6}$?**
#
# <details><summary>Answer</summary>
#
# It would be larger, by a factor of more than 10. The error of the formula falls like $h^2$, but it is already tiny
# at $10^{-6}$. What is left is rounding, about $10^{-16}/h$, and that grows as the step shrinks.
#
# ```python
# error = lambda h: abs((math.sin(1 + h) - math.sin(1 - h)) / (2 * h) - math.cos(1))
# assert error(1e-9) > 10 * error(1e-6)
# ```
# </details>

# %% [markdown] tags=["question:equals"]
# **2. What would the gradient of $x \cdot x$ at $x = 3$ be if `backward` had `=` in place of `+=`?**
#
# <details><summary>Answer</summary>
#
# 3 instead of 6. The product sends a slope of 3 to each of its two factors, and both factors are $x$. With `=` the
# second slope replaces the first.
#
# ```python
# x = Value(3.0)
# y = x * x
# y.backward()
# assert y.vjp(1.0) == (3.0, 3.0) and x.grad == 6.0
# ```
# </details>

# %% [markdown] tags=["question:more-rows"]
# **3. A bias of shape (3,) is added to 400 rows instead of 4. What happens to its gradient, if every cotangent is
# 1?**
#
# <details><summary>Answer</summary>
#
# It is a hundred times as large: each number of the bias is used 400 times, and the slopes of all uses add.
# Therefore losses are usually means over a batch and not sums.
#
# ```python
# few, many = (unbroadcast(np.ones((rows, 3)), np.zeros(3)) for rows in (4, 400))
# assert (many == 100 * few).all()
# ```
# </details>

# %% [markdown] tags=["question:half-a-slope"]
# **4. A row of twelve sigmoid neurons has weights of 2, and each is at its steepest. How much of the gradient of
# the last bias reaches the first?**
#
# <details><summary>Answer</summary>
#
# $(2/4)^{11}$, one part in 2048. Each of the eleven layers between them multiplies by $w/4 = 1/2$.
#
# ```python
# found = bias_gradients(2.0)
# assert np.isclose(found[0] / found[-1], 0.5**11)
# ```
# </details>

# %% [markdown] tags=["question:second-backward"]
# **5. What happens if you call `backward` a second time on the same result?**
#
# <details><summary>Answer</summary>
#
# An error. The first call frees each vjp and its arrays as soon as it has used them, so there is nothing left to go
# back through. `retain_graph=True` in the first call keeps them.
#
# ```python
# y = ops.tanh(mv.Tensor([1.0], requires_grad=True))
# y.backward()
# told = ""
# try:
#     y.backward()
# except RuntimeError as error:
#     told = str(error)
# assert "retain_graph" in told
# ```
# </details>

# %% [markdown] tags=["question:constant"]
# **6. What is the gradient of `softmax(x).sum()`, and why is that a bad test of softmax?**
#
# <details><summary>Answer</summary>
#
# Zero, for every $x$: the weights always sum to 1. A backward pass that returns nothing but zeros would pass the
# test, and so would one that is twice too large.
#
# ```python
# x = mv.Tensor([2.0, -1.0, 0.5], requires_grad=True)
# ops.softmax(x).sum().backward()
# assert np.allclose(x.grad, 0, atol=1e-6)
# ```
# </details>

# %% [markdown]
# ## What you can do now
#
# - You can measure a slope, and work one out: the chain rule multiplies along a path and adds over paths.
# - You can write an autograd: remember, pull back, go backwards, each value once. Where a value is used several times
#   its gradients add: shared values, broadcast biases, the rows of a batch.
# - You can add an op to minivis: a forward pass and a vjp. The Jacobian is never built.
# - You can check a gradient with a random cotangent, and you know why a cotangent of ones accepts wrong gradients of
#   everything that normalises.
# - You can say why a product of many small slopes vanishes and one of many large slopes explodes. Shortcuts turn the
#   product of slopes into a product of (1 + slope), so the gradient reaches the early layers.
# - You can read the engine: it walks from the youngest result to the oldest, frees what is used up, and never writes
#   into a gradient that a vjp has returned.
#
# Next: [02. Convolution](02_convolution.ipynb), the op that made deep networks see.
