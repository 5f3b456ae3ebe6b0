"""The assignment solver against brute force and SciPy, with its prices as a proof, and the two examples of the slides.

Not here: the costs of a matching of predictions and objects (tests/losses).
"""

import ast
import functools
import itertools
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment as scipy_assignment

import minivis as mv
from minivis.vision import box_cxcywh_to_xyxy, generalized_box_iou, linear_sum_assignment, matching

COMPANIES = np.array([[108, 125, 150], [150, 135, 175], [122, 148, 250]])


def matrices(count, largest, seed=0):
    """Rectangular both ways, empty too; by turns normal, small whole numbers (ties) and 0 or a million."""
    rng = np.random.default_rng(seed)
    for k in range(count):
        shape = rng.integers(0, largest + 1, 2)
        yield [rng.normal(size=shape), rng.integers(-3, 4, shape), 1e6 * rng.integers(0, 2, shape)][k % 3]


@functools.cache
def orders(n, m):
    return np.array(list(itertools.permutations(range(m), n)), dtype=int)


def brute_force(cost):
    cost = cost if cost.shape[0] <= cost.shape[1] else cost.T
    return cost[np.arange(len(cost)), orders(*cost.shape)].sum(axis=1).min()


def test_the_companies_of_the_slide():
    # who makes the music, cooks, cleans
    sums = [COMPANIES[order, np.arange(3)].sum() for order in orders(3, 3)]
    assert sums == [493, 431, 525, 448, 422, 407]
    rows, columns, u, v = linear_sum_assignment(COMPANIES, return_duals=True)
    assert (rows.tolist(), columns.tolist()) == ([0, 1, 2], [2, 1, 0])
    assert COMPANIES[rows, columns].sum() == 407 == u.sum() + v.sum()  # whole numbers: the proof is exact
    assert (u[:, None] + v <= COMPANIES).all()


def test_the_five_predictions_and_two_objects_of_the_slide():
    dog, cat, nothing = np.eye(3)
    probabilities = np.array([dog, nothing, nothing, cat, nothing])
    boxes = np.array(
        [[0.3, 0.5, 0.8, 0.8], [0.9, 0.8, 0.3, 0.4], [0.1, 0.5, 0.1, 0.8], [0.7, 0.8, 0.3, 0.4], [0.7, 0.4, 0.3, 0.4]]
    )  # fmt: skip
    objects = boxes[[0, 3]]
    classes = [0, 1]
    corners = box_cxcywh_to_xyxy(boxes)
    assert (corners < 0).any() and (corners > 1).any()  # two boxes leave the image
    cost = -probabilities[:, classes]
    cost = cost + 5 * np.abs(boxes[:, None] - objects).sum(axis=-1)
    cost = cost - 2 * generalized_box_iou(corners, box_cxcywh_to_xyxy(objects))
    rows, columns = linear_sum_assignment(cost)
    assert (rows.tolist(), columns.tolist()) == ([0, 3], [0, 1])  # y1 is the dog, y4 the cat
    np.testing.assert_allclose(cost[rows, columns], -3)


def test_the_cost_is_that_of_brute_force_and_of_scipy():
    for cost in matrices(250, 7):
        rows, columns = linear_sum_assignment(cost)
        assert rows.dtype == columns.dtype == np.int64
        assert len(rows) == len(columns) == min(cost.shape) == len(set(columns.tolist()))
        assert (np.diff(rows) > 0).all()
        total = cost[rows, columns].sum()
        assert total == pytest.approx(brute_force(cost), abs=1e-9)
        assert total == pytest.approx(cost[scipy_assignment(cost)].sum(), abs=1e-9)


@pytest.mark.parametrize("shape", [(100, 8), (8, 100), (60, 60), (90, 100)])
def test_large_matrices_cost_what_scipy_says(shape):
    rng = np.random.default_rng(shape)
    for cost in (rng.normal(size=shape), rng.integers(0, 5, shape)):
        assert cost[linear_sum_assignment(cost)].sum() == pytest.approx(cost[scipy_assignment(cost)].sum())


def test_the_prices_prove_that_nothing_is_cheaper():
    for cost in itertools.chain(matrices(200, 9, seed=1), [np.random.default_rng(2).normal(size=(80, 50))]):
        rows, columns, u, v = linear_sum_assignment(cost, return_duals=True)
        size = 1e-12 * (1 + np.abs(cost).max(initial=0))
        assert (u.shape, v.shape) == (cost.shape[:1], cost.shape[1:])
        assert (u[:, None] + v <= cost + size).all()  # feasible
        # and tight
        np.testing.assert_allclose((u[:, None] + v)[rows, columns], cost[rows, columns], atol=size)
        alone_u, alone_v = np.delete(u, rows), np.delete(v, columns)
        assert not alone_u.any() and not alone_v.any()  # complementary slackness: exactly 0 without a partner
        if cost.shape[0] < cost.shape[1]:
            assert (v <= size).all()
        if cost.shape[0] > cost.shape[1]:
            assert (u <= size).all()
        assert u.sum() + v.sum() == pytest.approx(cost[rows, columns].sum(), abs=size * 100)


def test_a_constant_on_a_row_leaves_the_pairs_optimal():
    rng = np.random.default_rng(4)
    for shape in [(4, 6), (5, 5), (6, 4)]:
        cost = rng.normal(size=shape)
        shift = rng.normal(size=shape[0])[:, None] if shape[0] <= shape[1] else rng.normal(size=shape[1])
        pairs = linear_sum_assignment(cost)
        shifted = linear_sum_assignment(cost + shift)
        assert cost[pairs].sum() == pytest.approx(cost[shifted].sum())


def test_ties_are_broken_the_same_way_each_time():
    for shape in [(3, 3), (2, 4), (4, 2)]:
        rows, columns = linear_sum_assignment(np.ones(shape))
        np.testing.assert_array_equal(rows, np.arange(min(shape)))
        np.testing.assert_array_equal(columns, np.arange(min(shape)))


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
def test_nothing_to_pair(shape):
    rows, columns, u, v = linear_sum_assignment(np.zeros(shape), return_duals=True)
    assert rows.shape == columns.shape == (0,) and rows.dtype == columns.dtype == np.int64
    assert (u.shape, v.shape) == (shape[:1], shape[1:]) and not u.any() and not v.any()


def test_large_numbers_are_no_trouble():
    cost = np.array([[1e300, -1e300], [-1e300, 1e300]])
    with np.errstate(over="raise"):
        rows, columns = linear_sum_assignment(cost)
    assert columns.tolist() == [1, 0]


def test_it_takes_tensors_lists_booleans_and_arrays_of_a_device_and_leaves_them_alone(device):
    expected = [2, 1, 0]
    kept = COMPANIES.astype(np.float32)
    kept.flags.writeable = False
    given = [kept, mv.Tensor(kept, requires_grad=True), COMPANIES.tolist(), mv.to_device(kept, device)]
    for cost in given:
        rows, columns = linear_sum_assignment(cost)
        assert isinstance(columns, np.ndarray) and columns.tolist() == expected
    assert linear_sum_assignment(~np.eye(3, dtype=bool))[1].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("cost", "error", "message"),
    [
        (
            np.array([[1.0, np.nan], [0.0, 1.0]]),
            ValueError,
            r"finite.*cost\[0, 1\] is nan, one of 1.*\(2, 2\)",
        ),
        (np.array([[1.0, 2.0], [np.inf, -np.inf]]), ValueError, r"finite.*cost\[1, 0\] is inf, one of 2"),
        (np.array([[-np.inf]]), ValueError, r"cost\[0, 0\] is -inf"),
        (np.array([[1e301]]), ValueError, "at most 1e\\+300 in size"),
        (np.zeros(3), ValueError, r"linear_sum_assignment: cost must be a matrix \(N, M\) \(cost: \(3,\)\)"),
        (np.zeros((2, 3, 3)), ValueError, "must be a matrix"),
        (
            np.zeros((2, 2), complex),
            TypeError,
            "linear_sum_assignment: cost must hold real numbers, got complex128",
        ),
        (np.array([["a"]]), TypeError, "real numbers"),
    ],
)
def test_what_has_no_optimum_is_refused(cost, error, message):
    with pytest.raises(error, match=message):
        linear_sum_assignment(cost)


def test_the_solver_is_our_own():
    tree = ast.parse(Path(matching.__file__).read_text(encoding="utf-8"))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            imported.add(node.module)
        assert not (isinstance(node, ast.Call) and "import" in ast.unparse(node.func))
    assert imported == {"numpy", "minivis.backend"}
