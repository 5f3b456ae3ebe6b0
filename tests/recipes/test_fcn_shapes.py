"""The study of skips: its results are complete and say what they are quoted for, and it can be measured again.

Not here: the network (tests/models/test_fcn.py), its training and checkpoint (test_shapes.py).
"""

import numpy as np
import pytest

import minivis as mv
from minivis.data import shapes
from minivis.recipes import _shapes, fcn_shapes


def test_the_results_are_complete():
    found = fcn_shapes.results()
    assert list(found) == list(fcn_shapes.FORMS)
    for numbers in found.values():
        assert set(numbers) == {"mIoU", "at borders", "elsewhere", "seconds"}
        assert all(len(values) == len(fcn_shapes.SEEDS) for values in numbers.values())


def test_each_finer_map_helps_above_all_at_borders():
    coarse, middle, fine = (fcn_shapes.results()[f"stride {stride}"] for stride in (16, 8, 4))
    for figure in ("mIoU", "at borders"):
        assert max(coarse[figure]) < min(middle[figure]) and max(middle[figure]) < min(fine[figure])
    gain = {
        figure: np.subtract(fine[figure], coarse[figure]).mean() for figure in ("at borders", "elsewhere")
    }
    assert gain["at borders"] > 1.5 * gain["elsewhere"]


def test_the_backbone_is_taken_over_and_the_scores_begin_at_zero():
    rng = np.random.default_rng(0)
    backbone = _shapes.small_backbone(rng, widths=(16, 24))
    before = backbone.state_dict()
    model = fcn_shapes.small_fcn(backbone, rng, skips=1)
    after = model.backbone.state_dict()
    assert all(np.array_equal(before[name], after[name]) for name in before) and len(after) > len(before)
    assert not model(np.zeros((1, 3, 32, 32), np.float32)).numpy().any()


class Painted(mv.nn.Module):
    """Names every pixel by looking into the answers, but those of one class in the upper half."""

    def __init__(self, answers, wrong):
        self.answers, self.wrong = answers, wrong

    def forward(self, images):
        logits = np.eye(len(shapes.CLASSES), dtype=np.float32)[self.answers.pop(0)].transpose(0, 3, 1, 2)
        logits[:, :, :32] = np.where(self.wrong, -logits[:, :, :32], logits[:, :, :32])
        return mv.Tensor(logits)


@pytest.mark.parametrize("wrong", [False, True])
def test_what_is_measured(wrong):
    scenes = [scene.semantic for scene in map(_shapes.fresh_scenes(6).scene, range(6))]
    found = fcn_shapes.measure_borders(Painted([np.stack(scenes)], wrong), 6)
    if not wrong:
        assert found == {"mIoU": 1.0, "at borders": 1.0, "elsewhere": 1.0}
    else:
        there = [fcn_shapes.outlines(_shapes.fresh_scenes(6).scene(i))[1] == 1 for i in range(6)]
        lower = sum(t[32:].sum() for t in there) / sum(t.sum() for t in there)
        assert found["at borders"] == pytest.approx(lower) and 0 < found["mIoU"] < 0.6


def test_measuring_again_is_reading(tmp_path, monkeypatch):
    monkeypatch.setattr(fcn_shapes, "COMPARED", {"steps": 2, "batch_size": 2, "scenes": 4})
    monkeypatch.setattr(fcn_shapes, "STEPS", 3)
    monkeypatch.setattr(_shapes, "COUNT", 4)
    monkeypatch.setattr(_shapes, "WORKERS", 0)
    first = fcn_shapes.compare(tmp_path, seeds=(0,))
    assert all(0 <= numbers["mIoU"][0] <= 1 for numbers in first.values())
    monkeypatch.setattr(fcn_shapes, "_fit", lambda *_: pytest.fail("trained again"))
    assert fcn_shapes.compare(tmp_path, seeds=(0,)) == first
