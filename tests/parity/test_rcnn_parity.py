"""A Faster or Mask R-CNN of torchvision, loaded here, finds the same boxes and masks, and has the same losses and gradients.

Not here: which detectors (make_rcnn_fixtures.py). Where torchvision is installed, more of them are made on the spot.
"""

import numpy as np
import pytest
from safetensors.numpy import load_file

import minivis as mv
from minivis.pretrained import folder as folders
from tests.parity import make_rcnn_fixtures as made

LOSSES = {
    "objectness": "loss_objectness",
    "proposal_box": "loss_rpn_box_reg",
    "class": "loss_classifier",
    "box": "loss_box_reg",
    "mask": "loss_mask",
}
OPTIONS = {"box_detections_per_img": "detections", "box_nms_thresh": "nms_threshold"}


def loaded(folder, dtype, masks, norm, seed, sizes=made.SIZES, kind=None, widths=None, width=None, **options):
    """A detector of ours with the options of a row, and the row's pictures and targets."""
    model = mv.from_pretrained(folder, dtype=dtype)
    model.anchor_samples = model.region_samples = made.ALL
    model.before_nms, model.after_nms = ((n, n) for n in made.PROPOSALS.values())
    settings = {"min_size": 64, "max_size": 90, "box_detections_per_img": 6, **options}
    for name, value in settings.items():
        setattr(model, OPTIONS.get(name, name), value)
    images, targets = made.examples(sizes, 5, seed)
    return model, [image.astype(dtype) for image in images], targets


def differences(model, images, targets, folder, expected):
    """The largest difference of each output in its own unit, of each loss, and of each gradient in shares of the largest."""
    found = {}
    for i, one in enumerate(model(images)):
        theirs = {name.split(".")[2]: x for name, x in expected.items() if name.startswith(f"output.{i}.")}
        assert one.keys() == theirs.keys() and len(theirs["boxes"]) >= 5
        np.testing.assert_array_equal(one["labels"], theirs["labels"])
        for name in theirs.keys() - {"labels"}:
            assert one[name].shape == theirs[name].shape
            found[f"{i}.{name}"] = np.abs(one[name] - theirs[name]).max()
    losses = model.losses(images, targets)
    losses["loss"].backward()
    for ours, theirs in LOSSES.items():
        assert (ours in losses) == (f"loss.{theirs}" in expected)
        if ours in losses:
            assert expected[f"loss.{theirs}"] > 1e-5
            found[ours] = abs(float(losses[ours]) / expected[f"loss.{theirs}"] - 1)
    assert sum(float(losses[name]) for name in LOSSES if name in losses) == pytest.approx(
        float(losses["loss"])
    )
    gradients = {name[5:]: g for name, g in expected.items() if name.startswith("grad.")}
    largest = max(np.abs(g).max() for g in gradients.values())
    wanted = folders._dialect(model, folders._family(folder, model.published), folders._stored(folder))
    parameters = dict(model.named_parameters())
    compared = {theirs: ours for ours, theirs in wanted.items() if theirs in gradients}
    assert compared.keys() == gradients.keys() and len(compared) > 20
    for theirs, ours in compared.items():
        found[f"grad.{theirs}"] = np.abs(parameters[ours].grad - gradients[theirs]).max() / largest
    return found


def assert_parity(folder, expected, row, dtype=np.float64, tolerance=1e-6):
    found = differences(*loaded(folder, dtype, **row), folder, expected)
    # a box in pixels; torchvision holds the factor from the resized picture to the given one in float32
    limits = {"boxes": 50 * tolerance}
    wrong = {name: float(x) for name, x in found.items() if not x <= limits.get(name[2:], tolerance)}
    assert not wrong, f"{np.dtype(dtype).name}: {wrong}"


@pytest.mark.parametrize("name", made.STORED)
def test_a_stored_detector_finds_what_torchvision_did(name):
    folder = made.FOLDER / name
    expected = load_file(folder / "detections.safetensors")
    assert_parity(folder, expected, made.STORED[name])


def test_float32_finds_the_same():
    folder = made.FOLDER / "mask-rcnn"
    expected = load_file(folder / "detections.safetensors")
    assert_parity(folder, expected, made.STORED["mask-rcnn"], np.float32, 1e-3)


def test_the_losses_see_other_anchors():
    folder = made.FOLDER / "faster-rcnn"
    model, *others = loaded(folder, np.float64, **made.STORED["faster-rcnn"])
    expected = load_file(folder / "detections.safetensors")
    model.rpn.options = {"rounded": False, "centred": False}  # only the rounding is not torchvision's
    found = model.losses(*others)
    assert abs(float(found["proposal_box"]) / expected["loss.loss_rpn_box_reg"] - 1) > 1e-4


@pytest.mark.skipif(not made.has_torchvision, reason="needs torchvision")
@pytest.mark.parametrize("name", made.LIVE_ROWS)
def test_a_detector_made_now_finds_the_same(name, tmp_path):
    from safetensors.torch import save_file

    row = made.LIVE_ROWS[name]
    options = {key: value for key, value in row.items() if key != "sizes"}
    model = made.prepared(**options)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    expected = made.computed(model, *made.examples(row.get("sizes", made.SIZES), 5, row["seed"]))
    assert_parity(tmp_path, expected, row)
