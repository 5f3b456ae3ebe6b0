"""Recall of proposals, counted by hand.

Not here: making proposals (tests/vision/test_proposals.py).
"""

import math

import numpy as np
import pytest

from minivis.metrics import proposal_recall

BOXES = [np.array([[0.0, 0, 4, 4], [10, 10, 14, 14]]), np.empty((0, 4)), np.array([[0.0, 0, 2, 2]])]
PROPOSALS = [
    np.array([[0.0, 0, 4, 3], [10, 10, 14, 12]]),
    np.array([[0.0, 0, 1, 1]]),
    np.array([[5.0, 5, 6, 6], [0, 0, 2, 2]], np.float32),
]


@pytest.mark.parametrize(
    ("threshold", "count", "share"), [(0.5, None, 1), (0.6, None, 2 / 3), (0.5, 1, 1 / 3), (0.9, None, 1 / 3), (0.5, 0, 0)]
)  # fmt: skip
def test_the_share_that_is_covered(threshold, count, share):
    assert proposal_recall(BOXES, PROPOSALS, threshold, count) == pytest.approx(share)


def test_no_objects_and_mistakes():
    assert math.isnan(proposal_recall([np.empty((0, 4))], PROPOSALS[:1]))
    with pytest.raises(ValueError, match="3 of objects, 2 of proposals"):
        proposal_recall(BOXES, PROPOSALS[:2])
    with pytest.raises(ValueError, match="threshold must be above 0"):
        proposal_recall(BOXES, PROPOSALS, 0.0)
    with pytest.raises(ValueError, match="count must be None or at least 0, got -1"):
        proposal_recall(BOXES, PROPOSALS, count=-1)
