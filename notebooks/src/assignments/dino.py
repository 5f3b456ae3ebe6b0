# %% [markdown]
# # Learning without labels: a student, a teacher, and what they must not do
#
# DINO trains a vision transformer without a single label. A student sees pieces of a picture and learns to answer as its
# teacher does for other pieces of the same picture; the teacher is a moving average of the student. You write the three
# parts that make it work: the loss, the centre that keeps one answer from winning, and the moving average.
#
# **Rules.** Fill in the cells that say `YOUR CODE HERE`, and keep the names and the arguments. Use Python and NumPy.
# During grading `minivis.ops`, SciPy and PyTorch are not available: calling a ready-made function earns no points.
#
# **Checks.** Under each task a cell tries *laws*: properties that hold for every input. It shows the smallest case
# that breaks a law, and counts the points. After you hand in, more laws are tried; the text of the task says
# everything that they ask for. The outputs in your notebook are not read.
#
# **Time**: planned for 45 to 75 minutes. **Before**: the chapter on DINO.

# %%
import numpy as np

from minivis.classroom import award

# %% [markdown]
# ## Task 1: the loss and its gradient (20 points)
#
# Each of $B$ pictures is cut into $V$ views, the first two of them large. The student gives $K$ scores $s$ for every view, the
# teacher $K$ scores $t$ for the two large ones. Both become probabilities:
#
# $$P_t = \mathrm{softmax}\Big(\frac{t - c}{\tau_t}\Big), \qquad P_s = \mathrm{softmax}\Big(\frac{s}{\tau_s}\Big)$$
#
# The centre $c$ is subtracted from the teacher's scores alone, *before* they are divided by the temperature. The loss is the mean
# cross-entropy over all pairs of *different* views, and over the pictures:
#
# $$L = \frac{1}{2V - 2} \sum_{i=1}^{2} \sum_{v \ne i} \frac1B \sum_b \Big(-\sum_k P_t^{ib}(k)\, \log P_s^{vb}(k)\Big)$$
#
# Write `dino_loss(student, teacher, centre, crops, student_temp=0.1, teacher_temp=0.04)`. `student` is $(V B, K)$, *view after
# view*: first the $B$ pictures of view 1, then those of view 2, and so on. `teacher` is $(2 B, K)$ in the same order, `centre`
# $(K)$, `crops` is $V$. Scores may be large: where $P_s$ underflows to 0, its logarithm must not be computed from it.
#
# The function returns `(loss, vjp)`. `vjp(g)` takes a number, the gradient of the loss, and returns a tuple with one array: the
# gradient of `student`, $(V B, K)$. The teacher gets none. For one term, the gradient of a cross-entropy by the scores that
# went into the softmax is $P_s - P_t$.


# %% tags=["task:loss"]
def dino_loss(student, teacher, centre, crops, student_temp=0.1, teacher_temp=0.04):
    ### BEGIN SOLUTION
    def log_softmax(x):
        shifted = x - x.max(axis=-1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))

    B = len(teacher) // 2
    K = student.shape[1]
    answers = np.exp(log_softmax((teacher - centre) / teacher_temp)).reshape(2, B, K)
    logs = log_softmax(student / student_temp).reshape(crops, B, K)
    wanted = np.zeros_like(logs)
    for i in range(2):
        for v in range(crops):
            if v != i:
                wanted[v] += answers[i]
    terms = (2 * crops - 2) * B
    loss = -(wanted * logs).sum() / terms

    def vjp(g):
        count = wanted.sum(axis=-1, keepdims=True)  # of the teacher's answers for this view: 1 or 2
        slope = (np.exp(logs) * count - wanted) / (terms * student_temp)
        return (g * slope.reshape(student.shape),)

    return loss, vjp
    ### END SOLUTION


# %% tags=["check:loss"]
award(
    "dino_loss",
    dino_loss,
    {
        "the simplest form": 2,
        "never the same view": 2,
        "small views count too": 1,
        "a mean over the pictures": 1,
        "only the teacher is centred": 2,
        "gradients of the simplest form": 2,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 3,
        "view after view": 1,
        "the teacher has a temperature of its own": 1,
        "the student has a temperature of its own": 1,
        "scores of any size": 1,
        "gradient of student": 1,
        "gradients agree on anything": 2,
        ### END HIDDEN TESTS
    },
    vjp=True,
)

# %% [markdown]
# ## Task 2: the centre (8 points)
#
# Without a centre, one of the $K$ scores would grow for all pictures, and both networks would always give this one answer. So
# the mean of the teacher's scores is subtracted. One batch is too small for a mean, so the old centre keeps a share $m$:
#
# $$c \leftarrow m\, c + (1 - m)\, \frac1n \sum_{i=1}^{n} t_i$$
#
# Write `update_centre(centre, teacher, momentum=0.9)` for `centre` $(K)$ and `teacher` $(n, K)$, scores as they come out of the
# network. It returns a new centre $(K)$ and changes neither argument.


# %% tags=["task:centre"]
def update_centre(centre, teacher, momentum=0.9):
    ### BEGIN SOLUTION
    mean = teacher.mean(axis=0)
    return momentum * centre + (1 - momentum) * mean
    ### END SOLUTION


# %% tags=["check:centre"]
award(
    "update_centre",
    update_centre,
    {
        "the simplest form": 2,
        "momentum is what stays": 1,
        "the mean of the batch": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 2,
        "a centre for each score": 1,
        "inputs left alone": 1,
        ### END HIDDEN TESTS
    },
)

# %% [markdown]
# ## Task 3: the moving average (8 points)
#
# The teacher's weights $\theta_t$ are not trained. After each step of the student they move a little towards the student's
# weights $\theta_s$:
#
# $$\theta_t \leftarrow m\, \theta_t + (1 - m)\, \theta_s$$
#
# Write `ema(teacher, student, m)` for two arrays of one shape, with any number of axes. It returns a new array in the dtype of
# the two, and changes neither. $m$ may be anything from 0 to 1, both included.


# %% tags=["task:moving-average"]
def ema(teacher, student, m):
    ### BEGIN SOLUTION
    return m * teacher + (1 - m) * student
    ### END SOLUTION


# %% tags=["check:moving-average"]
award(
    "ema",
    ema,
    {
        "the simplest form": 2,
        "m = 1 keeps the teacher": 1,
        ### BEGIN HIDDEN TESTS
        "agrees on anything": 2,
        "m = 0 copies the student": 1,
        "many small steps add up": 1,
        "inputs left alone": 1,
        ### END HIDDEN TESTS
    },
)
