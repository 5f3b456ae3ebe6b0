"""The picture to click on: what is asked of the model, in which pixels, and what a mouse, a button or a photo does.

Not here: a browser (scripts/click_in_a_browser.py).
"""

import sys
import threading
import time
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from minivis import nn, viz
from minivis.viz.clicks import Controls

PNG, VIEW = "image/png", "application/vnd.jupyter.widget-view+json"
SIDE = 32


class Discs:
    """A model for tests: its masks are discs of three sizes around the last point, or around the middle of the box."""

    prompt_encoder = SimpleNamespace(image_size=SIDE)

    def __init__(self):
        self.embedded = 0
        self.asked = []

    def embed(self, images):
        assert images.shape == (1, 3, SIDE, SIDE) and images.dtype == np.float32
        self.embedded += 1
        self.images = images
        return images

    def answer(
        self, embedding, points=None, point_labels=None, boxes=None, masks=None, size=None, multimask=True
    ):
        self.asked.append(
            {
                "points": points,
                "point_labels": point_labels,
                "boxes": boxes,
                "masks": masks,
                "many": multimask,
            }
        )
        x, y = boxes.reshape(2, 2).mean(axis=0) if points is None else points[0, 0, -1]
        rows, columns = np.mgrid[:SIDE, :SIDE]
        far = np.hypot(rows - y, columns - x)
        many = slice(None if multimask else 1)
        masks = np.array([2.0, 4.0, 6.0])[many, None, None] - far
        return SimpleNamespace(
            masks=masks[None, None].astype(np.float32), iou=np.float32([[[0.3, 0.9, 0.6][many]]])
        )


def centre(mask):
    """x and y of the middle of a mask."""
    return np.argwhere(mask).mean(axis=0)[::-1] + 0.5


def test_a_click_is_asked_in_the_pixels_of_the_model_and_answered_in_those_of_the_picture():
    model = Discs()
    segmenter = viz.click_segmenter(model, np.full((3, 48, 64), 0.5, np.float32), point=(40, 12))
    asked = model.asked[-1]
    np.testing.assert_allclose(asked["points"], [[[[19.5, 5.5]]]])
    assert asked["point_labels"].tolist() == [[[1]]] and asked["boxes"] is None and asked["masks"] is None
    assert (model.images[0, :, :24] == 0.5).all() and (model.images[0, :, 24:] == 0).all()  # filled below
    assert segmenter.masks.shape == (3, 48, 64) and segmenter.chosen == 1
    np.testing.assert_allclose(centre(segmenter.mask), (40, 12), atol=0.5)
    segmenter.choice = 2
    assert segmenter.mask.sum() > segmenter.masks[1].sum()


def test_prompts_add_up_and_the_chosen_mask_goes_into_the_next_question():
    model = Discs()
    segmenter = viz.click_segmenter(model, np.zeros((3, SIDE, SIDE)), point=(10, 10))
    segmenter.choice = 0
    segmenter.click(20, 8, on_object=False)
    first, second = model.asked
    assert first["many"] and not second["many"] and len(segmenter.iou) == 1 and segmenter.chosen == 0
    assert second["point_labels"].tolist() == [[[1, 0]]] and second["points"].shape == (1, 1, 2, 2)
    assert second["masks"].shape == (1, 1, 1, SIDE, SIDE)
    assert (second["masks"] > 0).sum() < 20  # the smallest disc
    segmenter.draw_box(30, 20, 10, 4)
    segmenter.draw_box(9, 4, 30, 20)
    assert model.asked[-1]["boxes"].tolist() == [[[9, 4, 30, 20]]]
    assert model.embedded == 1
    segmenter.undo()
    assert segmenter.prompts[-1] == (10, 4, 30, 20)
    segmenter.clear()
    assert segmenter.mask is None and segmenter.says == "No prompt yet."
    segmenter.undo()
    segmenter.click(5, 5)
    assert (
        model.asked[-1]["masks"] is None and "1 point. Of three masks, number 1 is painted" in segmenter.says
    )


def test_what_lies_outside_is_refused_and_nothing_changes():
    segmenter = viz.click_segmenter(Discs(), np.zeros((3, SIDE, SIDE)))
    with pytest.raises(
        ValueError, match=r"click_segmenter: the prompt \(33\.0, 3\.0, 1\) leaves the picture of 32 x 32"
    ):
        segmenter.click(33, 3)
    assert segmenter.prompts == []
    with pytest.raises(ValueError, match="image_size is"):
        viz.click_segmenter(
            SimpleNamespace(prompt_encoder=SimpleNamespace(image_size=(8, 16))), np.zeros((3, 8, 8))
        )


def test_the_picture_stands_beside_the_controls_and_alone_without_ipympl(monkeypatch):
    segmenter = viz.click_segmenter(Discs(), np.zeros((3, SIDE, SIDE)), box=(4, 4, 20, 20))
    data, about = segmenter._repr_mimebundle_()
    assert data[PNG].startswith(b"\x89PNG") and VIEW in data
    assert about[PNG]["alt"].startswith("1 box. One mask: the model expects an IoU of 0.30")
    monkeypatch.setitem(sys.modules, "ipympl.backend_nbagg", None)
    data, about = segmenter._repr_mimebundle_()
    assert data[PNG].startswith(b"\x89PNG") and VIEW not in data
    assert "install ipympl" in about[PNG]["alt"]  # and it says what is missing


def mouse(controls, number, press, release=None, **held):
    """Press and release the mouse at places of the axes with this number, as the browser reports it."""
    from matplotlib.backend_bases import MouseEvent

    ax = controls.axes[number]
    for name, place in (("press", press), ("motion", release or press), ("release", release or press)):
        x, y = ax.transData.transform(place)
        event = "motion_notify_event" if name == "motion" else f"button_{name}_event"
        held = {"button": 1, **held}
        controls.canvas.callbacks.process(event, MouseEvent(event, controls.canvas, x, y, **held))


def test_a_mouse_clicks_drags_and_chooses():
    segmenter = viz.click_segmenter(Discs(), np.zeros((3, SIDE, SIDE)))
    controls = Controls(segmenter)
    controls.canvas.figure.draw_without_rendering()  # gives the axes their places
    mouse(controls, 0, (12.5, 20.25))
    np.testing.assert_allclose(segmenter.prompts, [(12.5, 20.25, 1)], atol=1e-6)
    assert "IoU of 0.90 with the object. (" in controls.says.value
    mouse(controls, 0, (3, 4), modifiers=["shift"])
    controls.kind.value = "not on it"
    mouse(controls, 0, (5, 6))
    assert [prompt[2] for prompt in segmenter.prompts] == [1, 0, 0]
    mouse(controls, 0, (25, 28), (2, 4))
    np.testing.assert_allclose(segmenter.prompts[-1], (2, 4, 25, 28), atol=1e-6)
    mouse(controls, 0, (4, 5), (40, -3))  # over the edge: the box ends there
    np.testing.assert_allclose(segmenter.prompts[-1], (4, 0, 32, 5), atol=1e-6)
    mouse(controls, 0, (9, 9), button=3)  # opens the browser's menu
    mouse(controls, 3, (4, 4))  # nothing is there: a box has one mask
    assert len(segmenter.prompts) == 5 and controls.choice.value is None
    controls.undo.click()
    controls.undo.click()
    assert len(segmenter.prompts) == 3
    controls.clear.click()
    assert segmenter.prompts == []
    mouse(controls, 0, (9, 9))
    mouse(controls, 3, (4, 4))
    assert controls.choice.value == 2 and segmenter.chosen == 2


def test_no_thread_draws_the_picture_while_another_one_paints_it(monkeypatch):
    segmenter = viz.click_segmenter(Discs(), np.zeros((3, SIDE, SIDE)), point=(3, 3))
    controls = Controls(segmenter)
    done = []
    monkeypatch.setattr(controls.canvas.figure, "draw", lambda renderer: done.append("drawn"))
    other = threading.Thread(target=controls.canvas.draw)

    def paint(axes):
        other.start()
        time.sleep(0.1)  # time enough to draw, if nothing held it back
        done.append("painted")

    monkeypatch.setattr(segmenter, "_draw", paint)
    controls.follow()
    other.join()
    assert done == ["painted", "drawn"]


def test_an_own_photo_takes_the_place_of_the_picture(tmp_path):
    model = Discs()
    segmenter = viz.click_segmenter(model, np.zeros((3, SIDE, SIDE)), point=(3, 3))
    controls = Controls(segmenter)
    path = tmp_path / "own.png"
    Image.new("RGB", (1200, 600), (255, 0, 0)).save(path)
    upload = {"name": "own.png", "type": "image/png", "size": 1, "content": memoryview(path.read_bytes())}
    upload["last_modified"] = datetime.now(UTC)
    controls.choice.value = 1
    controls.photo.value = (upload,)
    assert controls.choice.value is None  # it was chosen for the picture before
    assert segmenter.shown.shape == (3, 256, 512) and segmenter.prompts == [] and model.embedded == 2
    np.testing.assert_allclose(model.images[0, 0, :16], 1)
    controls.photo.value = ({**upload, "content": memoryview(b"no picture")},)
    assert "is no picture in JPEG" in controls.says.value and segmenter.shown.shape == (3, 256, 512)
    viz.click_segmenter(model, path, point=(100, 100))
    np.testing.assert_allclose(model.asked[-1]["points"], [[[[5.75, 5.75]]]])


def test_a_picture_that_the_model_refuses_leaves_the_one_before_as_it_is():
    segmenter = viz.click_segmenter(Discs(), np.zeros((3, SIDE, SIDE)), point=(10, 12))
    mask = segmenter.mask

    def refuse(images):
        raise ValueError("no")

    segmenter.prepare = refuse
    with pytest.raises(ValueError, match="^no$"):
        segmenter.open(np.zeros((3, 2 * SIDE, SIDE)))
    np.testing.assert_array_equal(segmenter.mask, mask)
    # still half a pixel from the middle of the pixel, not of a picture of another size
    segmenter.click(20, 8)
    np.testing.assert_allclose(segmenter.model.asked[-1]["points"], [[[[9.5, 11.5], [19.5, 7.5]]]])


@pytest.mark.parametrize("number", [-1.0, 255.0, np.nan])
def test_numbers_that_are_no_colours_are_refused(number):
    with pytest.raises(ValueError, match=r"pictures lie within \[0, 1\]"):
        viz.click_segmenter(Discs(), np.full((3, SIDE, SIDE), number))


@pytest.mark.parametrize("model", [None, "sam-shapes", nn.Linear(2, 2)])
def test_a_model_without_prompts_is_refused(model):
    with pytest.raises(TypeError, match="^click_segmenter: model must be promptable, .* as SAM is"):
        viz.click_segmenter(model, np.zeros((3, SIDE, SIDE)))
