"""The laws of mask_choice: the least loss decides which mask learns, the highest estimate which one is shown.

Not here: the losses of masks (masks.py).
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, generator, integer
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.registry import Family
from minivis.laws.judging.value_laws import values

SLIDE = "A/92-sam-output-tokens"
PARTS = ("The cost in training", "The mean IoU of the masks that are shown")
SHOWN = r"U = \frac 1 P \sum_p u_{p m^*}, \quad m^* = \arg\max_m \hat u_{pm}"


def _least(losses):
    return losses.min(axis=1).mean()


def _squares(estimates, ious):
    return ((estimates - ious) ** 2).mean()


def _by_estimate(losses, estimates, ious):
    return ious[np.arange(len(ious)), estimates.argmax(axis=1)].mean()


def _one_of_both(f, case, part):
    """Compare the cost, part 0, or the IoU of what is shown, part 1."""
    given = (case[name].astype(np.float64) for name in ("losses", "estimates", "ious"))
    compare(
        f(case).ravel()[part : part + 1],
        _mask_choice(*given)[0][part : part + 1],
        atol=2e-5,
        what=PARTS[part],
    )


def _changed(
    least=_least, error=lambda losses, estimates, ious: _squares(estimates, ious), shown=_by_estimate
):
    """The answer with another part."""

    def answer(losses, estimates, ious):
        cost = least(losses) + error(losses, estimates, ious)
        return np.array([cost, shown(losses, estimates, ious)]).astype(losses.dtype)

    return answer


def _mask_choice(losses, estimates, ious):
    return _changed()(losses, estimates, ious), None


mask_choice = Family(
    "mask_choice",
    _mask_choice,
    ("losses", "estimates", "ious"),
    form="f(losses, estimates, ious), each (P, M) for M masks of each of P prompts -> (2,): the mean over the prompts of the least loss, "
    "plus the mean squared error of all estimates; and the mean true IoU of the masks with the highest estimates",
)


def _distinct(draw, shape):
    """Numbers with two digits, no two of them equal."""
    numbers = np.arange(1, 2 * int(np.prod(shape)) + 1)
    return generator(draw).permutation(numbers)[: int(np.prod(shape))].reshape(shape).astype(np.float32)


def _call(draw, P=2, M=3):
    shares = [_distinct(draw, (P, M)) / (2 * P * M) for _ in range(2)]
    return {"losses": _distinct(draw, (P, M)) / 4, "estimates": shares[0], "ious": shares[1]}


def _right_estimates(draw, P=1, M=3):
    case = _call(draw, P, M)
    return {**case, "estimates": case["ious"].copy()}


def _nothing_lost(draw):
    """All losses are 0: what is left is the error of the estimates."""
    case = _call(draw)
    return {**case, "losses": 0 * case["losses"]}


def _misleading(draw):
    """The mask with the highest estimate has neither the least loss nor the highest IoU."""
    return {
        "losses": np.float32([[1, 3, 2]]) / integer(draw, 1, 4),
        "estimates": np.float32([[0.25, 0.875, 0.5]]),
        "ious": np.float32([[0.5, 0.25, 0.75]]) / choose(draw, 1, 2),
    }


def _equal_estimates(draw):
    """The first mask is the best one."""
    case = _call(draw)
    estimates = np.full((2, 3), choose(draw, 0.5, 0.25), np.float32)
    return {**case, "estimates": estimates, "ious": -np.sort(-case["ious"], axis=1)}


def _one_mask(draw):
    return _right_estimates(draw, integer(draw, 2, 3), 1)


def _any_shape(draw):
    return _call(draw, choose(draw, 1, 2, 3), choose(draw, 1, 3))


def _anything(draw):
    return _call(draw, integer(draw, 1, 6), integer(draw, 1, 5))


_mean_loss = _changed(least=lambda losses: losses.mean())
_over_prompts = _changed(least=lambda losses: losses.min(axis=0).mean())
_of_everything = _changed(least=lambda losses: losses.min())
_summed = _changed(least=lambda losses: losses.min(axis=1).sum())
_largest = _changed(least=lambda losses: losses.max(axis=1).mean())
_absolute = _changed(error=lambda losses, e, u: abs(e - u).mean())
_no_error = _changed(error=lambda losses, e, u: 0)
_of_the_best = _changed(
    error=lambda losses, e, u: ((e - u)[np.arange(len(e)), losses.argmin(axis=1)] ** 2).mean()
)
_towards_one = _changed(error=lambda losses, e, u: ((e - 1) ** 2).mean())
_shows_least_loss = _changed(shown=lambda losses, e, u: u[np.arange(len(u)), losses.argmin(axis=1)].mean())
_shows_best = _changed(shown=lambda losses, e, u: u.max(axis=1).mean())
_shows_estimate = _changed(shown=lambda losses, e, u: e.max(axis=1).mean())
_shows_last = _changed(shown=lambda losses, e, u: u[np.arange(len(u)), -1 - e[:, ::-1].argmax(axis=1)].mean())
_one_for_all = _changed(shown=lambda losses, e, u: u[:, e.mean(axis=0).argmax()].mean())

for _part, _name, _sentence, _inputs, _equation, _hint, _mutant in (
    (
        0,
        "the least loss",
        "With right estimates a prompt costs the least of its losses.",
        _right_estimates,
        r"P = 1,\ \hat u = u \;\Rightarrow\; L = \min_m \ell_m",
        "losses.min(axis=1) is the least of each prompt; then the mean over the prompts.",
        _mean_loss,
    ),
    (
        0,
        "all estimates learn",
        "Where nothing is lost, the cost is the mean squared error of all estimates.",
        _nothing_lost,
        r"\ell = 0 \;\Rightarrow\; L = \tfrac{1}{P M} \sum_{p, m} (\hat u_{pm} - u_{pm})^2",
        "The mean over all P M estimates, each compared with the true IoU of its mask.",
        _of_the_best,
    ),
    (
        1,
        "shown by the estimate",
        "The mask with the highest estimate is shown, even if another one is better.",
        _misleading,
        SHOWN,
        "At use the truth is not known: estimates.argmax(axis=1) chooses, and ious say how good the choice was.",
        _shows_best,
    ),
    (
        1,
        "of equal estimates the first",
        "Of equal estimates the first mask is shown.",
        _equal_estimates,
        r"\hat u_{p1} = \hat u_{p2} = \dots \;\Rightarrow\; m^* = 1",
        "np.argmax returns the first of equal ones.",
        _shows_last,
    ),
    (
        0,
        "a single mask",
        "With one mask for each prompt, and right estimates, the cost is the mean of the losses.",
        _one_mask,
        r"M = 1,\ \hat u = u \;\Rightarrow\; L = \tfrac 1 P \sum_p \ell_p",
        "The mean over the prompts, also if there is one mask: a sum grows with P.",
        _summed,
    ),
):
    mask_choice.law(
        _name,
        sentence=_sentence,
        equation=_equation,
        hint=_hint,
        inputs=_inputs,
        mutant=_mutant,
        slide=SLIDE,
        value=True,
        right_too=False,
    )(lambda f, case, part=_part: _one_of_both(f, case, part))

every_family(
    mask_choice,
    inputs=_call,
    shapes=_any_shape,
    wrong_shape=lambda *args: _mask_choice(*args)[0][None],
    shape_hint="Two numbers in one array: shape (2,), without further axes.",
)
values(
    mask_choice,
    simplest=lambda draw: _call(draw, 1, 2),
    words="one prompt, two masks",
    anything=_anything,
    hint="Each prompt chooses for itself: argmax along axis 1, and then the true IoU at that place.",
    mutant=_one_for_all,
)
for name, hint, answer in (
    ("the mean of all losses", "All masks learn here. Only the one with the least loss does.", _mean_loss),
    ("the least over the prompts", "You take the least along axis 0. Each prompt has its own least loss: axis 1.", _over_prompts),
    ("the least of everything", "You take one least loss for all prompts.", _of_everything),
    ("a sum over the prompts", "You sum over the prompts. It is the mean.", _summed),
    ("the largest loss", "You take the largest loss.", _largest),
    ("absolute errors", "The errors of the estimates are squared.", _absolute),
    ("no error of the estimates", "The error of the estimates is missing.", _no_error),
    ("the error of the best alone", "The errors of all estimates count, not only that of the best mask.", _of_the_best),
    ("estimates pushed to 1", "The estimates are compared with the true IoU, not with 1.", _towards_one),
    ("shown by the loss", "At use the losses are not known: the estimate chooses.", _shows_least_loss),
    ("shown by the truth", "At use the true IoU is not known: the estimate chooses.", _shows_best),
    ("the estimate itself", "You return the highest estimate. It is the true IoU of that mask.", _shows_estimate),
    ("the last of equal ones", "Of equal estimates the first is shown.", _shows_last),
    ("one choice for all prompts", "Each prompt chooses its own mask.", _one_for_all),
):  # fmt: skip
    mask_choice.mistake(name, hint, answer)
