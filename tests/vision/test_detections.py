"""From the predictions of queries to lists of detections: DETR's are tested with its metrics, RT-DETR's here.

Not here: the models.
"""

import numpy as np
import pytest

from minivis import Tensor
from minivis.vision import rt_detr_detections


def logit(p):
    return np.log(p / (1 - p))


BOXES = np.arange(12.0).reshape(3, 4)


def test_the_highest_scores_of_all_queries_and_classes_are_taken():
    scores = np.array([[0.9, 0.8], [0.2, 0.1], [0.3, 0.7]])
    found = rt_detr_detections(logit(scores), BOXES)
    # as many as there are queries: the first has two classes, the second none
    assert found["labels"].tolist() == [0, 1, 1]
    np.testing.assert_allclose(found["scores"], [0.9, 0.8, 0.7])
    np.testing.assert_array_equal(found["boxes"], BOXES[[0, 0, 2]])


def test_only_scores_above_the_threshold_are_kept():
    scores = np.array([[0.9, 0.8], [0.2, 0.1], [0.3, 0.7]])
    assert rt_detr_detections(logit(scores), BOXES, threshold=0.75)["labels"].tolist() == [0, 1]
    exactly = rt_detr_detections(np.zeros((1, 1)), BOXES[:1], threshold=0.5)
    assert {name: len(x) for name, x in exactly.items()} == {"labels": 0, "scores": 0, "boxes": 0}


def test_equal_scores_come_in_the_order_of_the_queries_and_dtypes_stay():
    found = rt_detr_detections(Tensor(np.zeros((3, 2), np.float16)), Tensor(BOXES.astype(np.float32)))
    assert found["labels"].tolist() == [0, 1, 0] and found["boxes"].tolist() == BOXES[[0, 0, 1]].tolist()
    assert found["scores"].dtype == np.float16 and found["boxes"].dtype == np.float32


def test_a_batch_is_refused():
    with pytest.raises(ValueError, match=r"rt_detr_detections: logits must be \(Q, K\) and boxes \(Q, 4\)"):
        rt_detr_detections(np.zeros((1, 3, 2)), BOXES[None])
