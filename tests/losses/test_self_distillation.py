"""DINO's loss and centre: worked numbers, who gets a gradient, what is refused.

Not here: their laws (minivis.laws).
"""

import math

import numpy as np
import pytest

from minivis import Tensor, plain, to_device
from minivis.losses import dino_loss, update_centre


def scores(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_answers_that_say_nothing_cost_the_logarithm_of_their_number():
    K = 65_536
    with plain():  # no time for compiling a faster way
        loss = dino_loss(np.zeros((2, K)), np.zeros((2, K)), np.zeros(K), crops=2)
    assert float(loss) == pytest.approx(11.090355, abs=1e-5) and math.log(K) == pytest.approx(
        11.090355, abs=1e-6
    )


def test_two_large_and_eight_small_views_make_eighteen_terms():
    student = scores(10, 5)
    teacher = scores(2, 5, seed=1)
    K = 5
    terms = []
    for i in range(2):
        wanted = np.exp(teacher[i] / 0.04 - np.logaddexp.reduce(teacher[i] / 0.04))
        terms += [
            -wanted @ (student[v] / 0.1 - np.logaddexp.reduce(student[v] / 0.1)) for v in range(10) if v != i
        ]
    assert len(terms) == 18
    assert float(dino_loss(student, teacher, np.zeros(K), crops=10)) == pytest.approx(
        np.mean(terms), rel=1e-12
    )


def test_a_teacher_of_one_view_has_as_many_terms_as_there_are_others():
    student = scores(3, 4)
    teacher = scores(1, 4, seed=1)
    both = np.concatenate([teacher, teacher])
    # a second view of the teacher, the same as the first: each term with it is there twice, or new
    one = dino_loss(student, teacher, np.zeros(4), crops=3)
    two = dino_loss(student, both, np.zeros(4), crops=3)
    first = dino_loss(student[[1, 0, 2]], teacher, np.zeros(4), crops=3)
    assert float(two) == pytest.approx((float(one) + float(first)) / 2)


def test_the_teacher_gets_no_gradient():
    student, teacher = (Tensor(scores(4, 3, seed=i), requires_grad=True) for i in (0, 1))
    dino_loss(student, teacher, np.zeros(3), crops=2).backward()
    assert teacher.grad is None and np.abs(student.grad).max() > 0
    assert np.allclose(student.grad.sum(axis=1), 0)


def test_the_centre_moves_to_the_mean_after_many_batches():
    centre = np.zeros(3)
    teacher = scores(8, 3)
    for _ in range(200):
        centre = update_centre(centre, teacher)
    assert np.allclose(centre, teacher.mean(axis=0))


@pytest.mark.parametrize(
    "call, error, complaint",
    [
        (
            lambda: dino_loss(scores(2, 3), scores(2, 3), np.zeros(3), crops=1),
            ValueError,
            r"^dino_loss: there is no pair of different views: crops must be at least 2, got 1",
        ),
        (
            lambda: dino_loss(scores(5, 3), scores(2, 3), np.zeros(3), crops=2),
            ValueError,
            r"^dino_loss: with 2 views, student must have .*\(student: \(5, 3\) float64",
        ),
        (
            lambda: dino_loss(scores(4, 3), scores(6, 3), np.zeros(3), crops=2),
            ValueError,
            r"^dino_loss: with 2 views",
        ),
        (
            lambda: dino_loss(scores(4, 3), scores(4, 2), np.zeros(3), crops=2),
            ValueError,
            r"^dino_loss: student must be \(V B, K\)",
        ),
        (
            lambda: dino_loss(scores(4, 3), scores(4, 3), np.zeros(3), crops=2, teacher_temp=0),
            ValueError,
            r"^dino_loss: temperatures must be above 0, got 0.1 and 0",
        ),
        (
            lambda: dino_loss(np.zeros((4, 3), int), scores(4, 3), np.zeros(3), crops=2),
            TypeError,
            r"^dino_loss: student must be floating-point, got int64",
        ),
        (
            lambda: update_centre(np.zeros(3), scores(0, 3)),
            ValueError,
            r"^update_centre: centre must be \(K,\) and teacher \(n, K\) with at least one row",
        ),
        (lambda: update_centre(np.zeros(2), scores(4, 3)), ValueError, r"^update_centre: centre must be"),
        (
            lambda: update_centre(np.zeros(3), scores(4, 3), 1.5),
            ValueError,
            r"^update_centre: momentum must be between 0 and 1, got 1.5",
        ),
        (
            lambda: update_centre(np.zeros(3, int), scores(4, 3)),
            TypeError,
            r"^update_centre: centre must be floating-point",
        ),
    ],
)
def test_mistakes_are_named(call, error, complaint):
    with pytest.raises(error, match=complaint):
        call()


def test_the_same_on_a_device(device):
    student = scores(6, 4)
    teacher = scores(4, 4, seed=1)
    centre = scores(4, seed=2)
    there = [to_device(x, device) for x in (student, teacher, centre)]
    tensor = Tensor(there[0], requires_grad=True)
    loss = dino_loss(tensor, *there[1:], crops=3)
    loss.backward()
    assert loss.device == device
    assert float(loss.numpy()) == pytest.approx(float(dino_loss(student, teacher, centre, crops=3)))
    moved = update_centre(there[2], there[1])
    assert np.allclose(np.asarray(Tensor(moved).numpy()), update_centre(centre, teacher))


def test_everything_may_be_a_tensor():
    arrays = scores(6, 4), scores(4, 4, seed=1), scores(4, seed=2)
    loss = dino_loss(*map(Tensor, arrays), crops=3)
    assert float(loss.numpy()) == pytest.approx(float(dino_loss(*arrays, crops=3)))
