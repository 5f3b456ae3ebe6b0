"""The laws of odeint: steps of Euler, midpoint and Runge-Kutta.

Not here: gradients, steps of a size that adapts itself.
"""

from dataclasses import dataclass

from minivis.laws.judging.inputs import choose, generator, integer, numbers, sizes, without_defaults
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.mutants import mutated
from minivis.laws.judging.registry import Family
from minivis.laws.judging.value_laws import values

SLIDE = "C/28-resnet-as-ode"
EULER = r"y_{j+1} = y_j + h\, f(y_j, t_j), \quad h = (t_1 - t_0) / \text{steps}"
MIDPOINT = r"y_{j+1} = y_j + h\, f\big(y_j + \tfrac h2 f(y_j, t_j),\; t_j + \tfrac h2\big)"
RK4 = r"y_{j+1} = y_j + \tfrac h6 (k_1 + 2 k_2 + 2 k_3 + k_4)"


@dataclass(frozen=True)
class Field:
    """The field f(y, t) = a y + b y^2 + c_0 + c_1 t + c_2 t^2 + c_3 t^3.

    Parameters
    ----------
    a, b : float
        How the velocity depends on the state.
    c : tuple of float
        How it depends on the time.
    """

    a: float = 0.0
    b: float = 0.0
    c: tuple = ()

    @property
    def coefficients(self):
        """All numbers in a row, for sending the field to another process (classroom/wire.py)."""
        return (self.a, self.b, *self.c)

    def __call__(self, y, t):
        return self.a * y + self.b * y * y + sum(c * t**k for k, c in enumerate(self.c))


def _odeint(field, y0, t0, t1, steps, method="euler"):
    h = (t1 - t0) / steps
    y = y0
    for j in range(steps):
        t = t0 + j * h
        k = field(y, t)
        if method == "midpoint":
            k = field(y + h / 2 * k, t + h / 2)
        if method == "rk4":
            k2 = field(y + h / 2 * k, t + h / 2)
            k3 = field(y + h / 2 * k2, t + h / 2)
            k4 = field(y + h * k3, t + h)
            k = (k + 2 * k2 + 2 * k3 + k4) / 6
        y = y + h * k
    return y, None


odeint = Family(
    "odeint",
    _odeint,
    ("y0",),
    form='f(field, y0, t0, t1, steps, method="euler") -> y(t1), of the shape of y0; field(y, t) returns the velocity; '
    'method is "euler", "midpoint" or "rk4"',
)


def _change(stage=None, time=None, step=None, count=None, initial_time=False):
    """A mutant: another state or time of a stage, another step or number of steps.

    ``stage(k, k2, k3)`` gives what the third stage takes, ``time(j)`` the share of h that is added to the time of stage
    j, ``step(t0, t1, steps)`` the step, ``count(steps)`` how many.
    """

    def mutant(field, y0, t0, t1, steps, method="euler"):
        h = (step or (lambda a, b, n: (b - a) / n))(t0, t1, steps)
        share = time or (lambda j: (0, 0.5, 0.5, 1)[j])
        y = y0
        for j in range(count(steps) if count else steps):
            t = t0 if initial_time else t0 + j * h
            k = field(y, t)
            if method == "midpoint":
                k = field(y + h / 2 * k, t + h * share(1))
            if method == "rk4":
                k2 = field(y + h / 2 * k, t + h * share(1))
                k3 = field(y + h / 2 * (stage(k, k2) if stage else k2), t + h * share(2))
                k4 = field(y + h * k3, t + h * share(3))
                k = (k + 2 * k2 + 2 * k3 + k4) / 6
            y = y + h * k
        return y

    return mutant


def _explicit(method):
    """A mutant that has ``method`` as its default."""
    return lambda field, y0, t0, t1, steps, method=method: _odeint(field, y0, t0, t1, steps, method)[0]


def _two_stages(change):
    """A mutant with ``change(field, y, t, h)`` in the place of the midpoint method."""

    def mutant(field, y0, t0, t1, steps, method="euler"):
        if method != "midpoint":
            return _odeint(field, y0, t0, t1, steps, method)[0]
        h = (t1 - t0) / steps
        y = y0
        for j in range(steps):
            y = y + h * change(field, y, t0 + j * h, h)
        return y

    return mutant


_velocity_used_again = _two_stages(lambda field, y, t, h: field(y, t + h / 2))
_time_of_the_beginning = _two_stages(lambda field, y, t, h: field(y + h / 2 * field(y, t), t))


def _heun(field, y, t, h):
    """The mean of the velocities at both ends of a step."""
    k = field(y, t)
    return (k + field(y + h * k, t + h)) / 2


_stages_at_t = _change(time=lambda j: 0.5 if j == 1 else 0.0)  # leaves the midpoint method as it is
_first_slope_again = _change(stage=lambda k, k2: k)
_h_forgotten = _change(step=lambda a, b, n: 1.0 if b > a else -1.0)
_forwards_only = _change(step=lambda a, b, n: abs(b - a) / n)
_time_stands_still = _change(initial_time=True)
_one_step_too_many = _change(count=lambda n: n + 1)
_points_for_steps = _change(step=lambda a, b, n: (b - a) / max(1, n - 1))
_rk4_alone = mutated(_odeint, lambda right, a, o: right(*a[:5], "rk4")[0])


# One step of length 1, unless a law is about the steps


def _one_step(draw, field, method):
    t0 = float(integer(draw, -1, 1))
    y0 = numbers(draw, (integer(draw, 2, 4),))
    return {"field": field, "y0": y0, "t0": t0, "t1": t0 + 1, "steps": 1, "method": method}


def _constant(draw):
    case = _one_step(draw, Field(c=(choose(draw, 1.0, -2.0, 0.5),)), choose(draw, "euler", "midpoint", "rk4"))
    return case | {"t1": case["t0"] + choose(draw, 2.0, 0.5, 3.0)}


def _in_time(draw):
    steps = integer(draw, 2, 3)
    case = _one_step(draw, Field(c=(0.0, choose(draw, 1.0, -1.0))), "euler")
    return case | {"t1": case["t0"] + steps, "steps": steps}


def _back(draw):
    case = _one_step(draw, Field(c=(choose(draw, 1.0, -2.0, 0.5),)), choose(draw, "euler", "midpoint", "rk4"))
    return case | {"t1": case["t0"] - 1}


def _by_default(draw):
    case = _one_step(draw, Field(a=choose(draw, 1.0, -0.5, 2.0), c=(1.0,)), "euler")
    return {name: value for name, value in case.items() if name != "method"}


odeint.agrees(
    "constant velocity",
    "With a constant velocity v the state moves by v (t1 - t0), whatever the method.",
    inputs=_constant,
    equation=r"f = v \;\Rightarrow\; y(t_1) = y_0 + v\, (t_1 - t_0)",
    slide=SLIDE,
    hint="Each step moves the state by h times the velocity, with h = (t1 - t0) / steps.",
    mutant=_h_forgotten,
)
odeint.agrees(
    "time goes on",
    "Each step takes the velocity at its own time.",
    inputs=_in_time,
    equation=EULER,
    slide=SLIDE,
    hint="Step j begins at t0 + j h: does your loop change t?",
    mutant=_time_stands_still,
)
odeint.agrees(
    "Euler unless asked",
    "Without a method the steps are Euler's: y + h f(y, t).",
    inputs=_by_default,
    equation=EULER,
    slide=SLIDE,
    hint='The default of method is "euler", one evaluation of the field for each step.',
    mutant=_explicit("midpoint"),
)
odeint.agrees(
    "the midpoint is a state",
    "The midpoint method takes the velocity at the state that half a step of Euler reaches.",
    inputs=lambda draw: _one_step(draw, Field(a=choose(draw, 1.0, -0.5, 2.0), c=(1.0,)), "midpoint"),
    equation=MIDPOINT,
    slide=SLIDE,
    hint="First go half a step: y + h/2 f(y, t). The velocity there is the one to use for the whole step.",
    mutant=_velocity_used_again,
)
odeint.agrees(
    "the midpoint is a time",
    "The midpoint method takes the velocity at the time t + h/2.",
    inputs=lambda draw: _one_step(draw, Field(c=(0.0, choose(draw, 1.0, -1.0, 2.0))), "midpoint"),
    equation=MIDPOINT,
    slide=SLIDE,
    hint="The second evaluation is at t + h/2, not at t.",
    mutant=_time_of_the_beginning,
)
odeint.agrees(
    "four stages in time",
    "Runge-Kutta is exact if the velocity is a cubic in t alone: the stages are at t, t + h/2 twice, and t + h.",
    inputs=lambda draw: _one_step(
        draw, Field(c=tuple(choose(draw, 1.0, -1.0, 2.0) for _ in range(4))), "rk4"
    ),
    equation=RK4,
    slide=SLIDE,
    hint="k2 and k3 are at t + h/2 and k4 is at t + h: which time do you pass to the field?",
    mutant=_stages_at_t,
)
odeint.agrees(
    "four stages in space",
    "Each stage of Runge-Kutta starts from the stage before it.",
    inputs=lambda draw: _one_step(draw, Field(a=choose(draw, 1.0, -1.5, 2.0)), "rk4"),
    equation=r"k_3 = f(y + \tfrac h2 k_2, t + \tfrac h2), \quad k_4 = f(y + h\, k_3, t + h)",
    slide=SLIDE,
    hint="k3 is computed with k2, and k4 with k3, each from the y at the beginning of the step.",
    mutant=_first_slope_again,
)
odeint.agrees(
    "backwards",
    "With t1 < t0 the steps go backwards.",
    inputs=_back,
    equation=r"h = (t_1 - t_0) / \text{steps} < 0",
    slide=SLIDE,
    hint="h is negative then: no absolute value, and no loop with `while t < t1`.",
    mutant=_forwards_only,
)


def _shapes(draw):
    case = _one_step(draw, Field(a=0.5), "euler")
    return case | {"y0": numbers(draw, sizes(draw, 3, 1, 2))}


every_family(odeint, inputs=lambda draw: _one_step(draw, Field(a=0.5, c=(1.0, 1.0)), "rk4"), shapes=_shapes)


def _anything(draw):
    rng = generator(draw)
    field = Field(
        round(rng.uniform(-1, 1), 2),
        round(rng.uniform(-0.2, 0.2), 2),
        tuple(round(c, 2) for c in rng.uniform(-1, 1, integer(draw, 0, 4))),
    )
    t0 = round(rng.uniform(-1, 1), 2)
    case = {"field": field, "y0": numbers(draw, sizes(draw, integer(draw, 1, 3), 1, 3)), "t0": t0}
    case |= {"t1": round(t0 + rng.uniform(-1.5, 1.5), 2), "steps": integer(draw, 1, 4)}
    return case | without_defaults({"method": choose(draw, "euler", "midpoint", "rk4")}, method="euler")


def _first_step_only(field, y0, t0, t1, steps, method="euler"):
    """Runge-Kutta in the first step, Euler in the others."""
    if method != "rk4" or steps < 3:
        return _odeint(field, y0, t0, t1, steps, method)[0]
    h = (t1 - t0) / steps
    return _odeint(field, _odeint(field, y0, t0, t0 + h, 1, "rk4")[0], t0 + h, t1, steps - 1)[0]


values(
    odeint,
    simplest=lambda draw: _one_step(draw, Field(a=choose(draw, 1.0, 0.5, -1.0), c=(1.0,)), "euler"),
    words="one step of Euler",
    anything=_anything,
    hint="Several steps, each method, forwards and backwards, a velocity that depends on y and t: follow two steps by hand.",
    mutant=_first_step_only,
)
for name, hint, answer in (
    ("h left out", "The velocity is not multiplied by the step h = (t1 - t0) / steps.", _h_forgotten),
    ("time stands still", "All steps use the time t0. Step j begins at t0 + j h.", _time_stands_still),
    ("one step too many", "You make steps + 1 steps, so you end behind t1.", _one_step_too_many),
    (
        "points in the place of steps",
        "linspace(t0, t1, steps) has steps - 1 intervals. h is (t1 - t0) / steps.",
        _points_for_steps,
    ),
    (
        "the velocity of the beginning",
        "Your midpoint method uses the velocity at y, not at the state half a step further.",
        _velocity_used_again,
    ),
    (
        "the time of the beginning",
        "Your midpoint method evaluates the field at t. The middle of the step is at t + h/2.",
        _time_of_the_beginning,
    ),
    (
        "the mean of both ends",
        "This is Heun's method: the mean of the velocities at t and t + h. The midpoint method takes the one at t + h/2.",
        _two_stages(_heun),
    ),
    ("the third stage from the first", "k3 is computed with k1. It starts from k2.", _first_slope_again),
    ("forwards only", "With t1 < t0 the step h is negative. Do not take its absolute value.", _forwards_only),
):
    odeint.mistake(name, hint, answer)
