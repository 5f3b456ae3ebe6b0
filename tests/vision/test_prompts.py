"""Position codes of points and stability of masks: dtypes, arrays of every kind, and what is refused.

Not here: their numbers (tests/laws), the model that uses them (tests/models/test_sam.py).
"""

import numpy as np
import pytest

import minivis as mv
from minivis.vision import point_position_code, points_in_picture, stability_score

RNG = np.random.default_rng(0)
GAUSSIAN = RNG.standard_normal((2, 4))


def test_whole_numbers_are_points_and_the_dtype_is_that_of_the_frequencies():
    points = np.array([[3, 4], [0, 999]])
    for dtype in ("float16", "float32", "float64"):
        code = point_position_code(points, (1000, 800), GAUSSIAN.astype(dtype))
        assert code.dtype == dtype and code.shape == (2, 8)
        exact = point_position_code(points.astype(float), (1000, 800), GAUSSIAN.astype(dtype).astype(float))
        assert np.abs(code - exact).max() < {"float16": 1e-3, "float32": 1e-5, "float64": 1e-12}[dtype]


def test_nearby_points_have_similar_codes():
    points = np.array([[20.0, 20.0], [21.0, 20.0], [40.0, 20.0]])
    here, near, far = point_position_code(points, (64, 64), RNG.standard_normal((2, 64)))
    assert here @ near > 1.2 * (here @ far)


def test_points_on_a_device_stay_there(device):
    points, gaussian = (mv.to_device(x, device) for x in (RNG.uniform(0, 9, (2, 3, 2)), GAUSSIAN))
    code = point_position_code(points, (9, 9), gaussian)
    assert mv.backend.device_of(code) == device and code.shape == (2, 3, 8)
    score = stability_score(mv.to_device(RNG.standard_normal((2, 3, 4)), device))
    assert mv.backend.device_of(score) == device and score.shape == (2,)


def test_the_score_falls_with_the_offset_and_lies_between_0_and_1():
    logits = 3 * RNG.standard_normal((5, 8, 8))
    scores = np.array([stability_score(logits, offset) for offset in (0.0, 0.5, 1.0, 2.0, 4.0)])
    assert (np.diff(scores, axis=0) <= 0).all() and (scores >= 0).all() and (scores[0] == 1).all()
    assert stability_score(mv.Tensor(logits)).dtype == np.float64
    assert stability_score(logits.astype(np.float16)).dtype == np.float32
    assert stability_score(np.full((2, 2), -np.inf)) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: point_position_code(np.zeros(3), (4, 4), GAUSSIAN), r"points must be \(..., 2\), x and y"),
        (lambda: point_position_code(np.zeros(2), (4, 4), GAUSSIAN[0]), r"gaussian: \(4,\)"),
        (lambda: point_position_code(np.zeros(2), (4, 0), GAUSSIAN), "must be positive, got 4 x 0"),
        (lambda: point_position_code(np.zeros(2), (4, np.nan), GAUSSIAN), "must be positive, got 4 x nan"),
        (lambda: points_in_picture(np.zeros(3), (4, 4), (8, 8)), r"points must be \(..., 2\) or boxes"),
        (
            lambda: points_in_picture(np.zeros(2), (4, 0), (8, 8)),
            r"sizes must be positive, got photo \(4, 0\)",
        ),
        (lambda: stability_score(np.zeros(3)), r"logits must be \(..., H, W\)"),
        (lambda: stability_score(np.zeros((3, 3)), -1.0), "offset at least 0"),
        (lambda: stability_score(np.zeros((3, 3)), np.nan), "offset at least 0"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_frequencies_that_are_whole_numbers_are_refused():
    with pytest.raises(TypeError, match="point_position_code: gaussian must be floating-point, got int64"):
        point_position_code(np.zeros(2), (4, 4), np.ones((2, 4), int))


def test_points_may_be_a_tensor_and_a_list_is_named():
    found = points_in_picture(mv.Tensor(np.array([6.0, 8.0])), (16, 12), (32, 6))
    np.testing.assert_array_equal(found, [3.0, 16.0])
    for function in (points_in_picture, point_position_code):
        with pytest.raises(
            TypeError, match=f"^{function.__name__}: points must be an array or a Tensor, got list"
        ):
            function([[6.0, 8.0]], (16, 12), (32, 6))
    with pytest.raises(TypeError, match="^stability_score: logits must be an array or a Tensor, got list"):
        stability_score([[1.0]])
