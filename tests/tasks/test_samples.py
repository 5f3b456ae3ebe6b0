"""What a network learns from is what it will be shown: sizes, colours, targets, and random changes that fit together.

Not here: the changes themselves (tests/data/test_paired.py), the data sets (tests/data).
"""

import numpy as np
import pytest
from PIL import Image

from minivis.data import ImageFolder, MaskFolder
from minivis.data.preprocess import Preprocess
from minivis.tasks.boxes import Boxes, _lowest_drawn
from minivis.tasks.classes import Classes
from minivis.tasks.masks import Masks
from minivis.tasks.samples import Batch, Changes, Samples, loader

rng = np.random.default_rng(0)
PREPARE = Preprocess(shortest=32, crop=(32, 32), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


def photos(folder, *sizes):
    """Random pictures of these heights and widths, in one class."""
    (folder / "a").mkdir()
    for place, (height, width) in enumerate(sizes):
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "a" / f"{place}.png")
    return ImageFolder(folder)


def test_a_network_learns_from_what_it_will_be_shown(tmp_path):
    dataset = photos(tmp_path, (40, 60), (60, 33))
    samples = Samples(dataset, dataset.paths, PREPARE)
    for _ in range(2):  # read, and kept
        images, labels = next(iter(loader(samples, Batch("classes", PREPARE), 2)))
        wanted = np.concatenate([PREPARE(path) for path in dataset.paths])
        assert images.dtype == np.float32 and np.abs(images - wanted).max() < 1e-6
        assert labels.tolist() == [0, 0]
    shown = Batch("classes", PREPARE).colours(images[0])
    assert np.abs(shown - samples[0][0]).max() < 1e-6


def test_large_photos_are_reduced_while_they_are_read(tmp_path, monkeypatch):
    dataset = photos(tmp_path, (200, 330), (127, 300))
    seen = []
    read = ImageFolder.__getitem__

    def watched(self, i):
        seen.append(self.size)
        return read(self, i)

    monkeypatch.setattr(ImageFolder, "__getitem__", watched)
    samples = Samples(dataset, dataset.paths, PREPARE)
    reduced = [samples[i][0] for i in range(2)]
    assert seen == [(66, 110), None]  # a third of the first keeps 64 pixels; half of the second would not
    assert dataset.size is None
    assert [x.shape for x in reduced] == [(3, 32, 32)] * 2
    # the mean of a photo stays
    assert abs(reduced[0].mean() - 0.5) < 0.02


def test_a_map_gets_the_size_of_its_photo(tmp_path):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    (tmp_path / "classes.txt").write_text("left\nright\n")
    mask = np.zeros((20, 40), np.uint8)
    mask[:, 20:] = 1
    mask[:, 18:22] = 255
    Image.fromarray(np.stack([mask] * 3, axis=-1)).save(tmp_path / "images" / "x.png")
    Image.fromarray(mask).save(tmp_path / "masks" / "x.png")
    dataset = MaskFolder(tmp_path)
    square = Preprocess(size=(16, 16))
    image, labels = Samples(dataset, dataset.paths, square)[0]
    assert image.shape == (3, 16, 16) and labels.shape == (16, 16)
    assert (labels[:, :7] == 0).all() and (labels[:, 9:] == 1).all() and (labels[:, 7:9] == 255).all()


def test_random_changes_keep_box_and_thing_together():
    """A white square on black, and its box: after any change the box is still around the white pixels."""
    image = np.zeros((3, 64, 64), np.float32)
    image[:, 16:40, 24:56] = 0.9
    boxes = np.array([[40 / 64, 28 / 64, 32 / 64, 24 / 64]], np.float32)
    sample = image, {"labels": np.array([1]), "boxes": boxes}
    mirrored = 0
    for seed in range(20):
        changed, target = Changes(flip=True)(*sample, np.random.default_rng(seed))
        assert changed.shape == image.shape and target["labels"].tolist() == [1]
        rows, columns = np.nonzero(changed[0] > changed[0].max() / 2)
        (x, y, w, h) = target["boxes"][0] * 64
        found = [x - w / 2, x + w / 2, y - h / 2, y + h / 2]
        assert (
            np.abs(np.array(found) - [columns.min(), columns.max() + 1, rows.min(), rows.max() + 1]).max() < 2
        )
        still, _ = Changes(flip=False)(*sample, np.random.default_rng(seed))
        mirrored += not np.array_equal(still, changed)
    assert 4 < mirrored < 16


class Finder:
    """A detector that answers with the boxes it was given, moved by some pixels."""

    def __init__(self, answers):
        self.answers = answers

    def __call__(self, images, mask=None):
        from types import SimpleNamespace

        from minivis.autograd import Tensor

        logits = np.full((len(images), 2, 3), -9.0, np.float32)
        boxes = np.zeros((len(images), 2, 4), np.float32)
        for i, (labels, found) in enumerate(self.answers):
            logits[i, :, 2] = 0
            for q, (label, box) in enumerate(zip(labels, found, strict=True)):
                logits[i, q, label] = 9
                boxes[i, q] = box
        return SimpleNamespace(logits=Tensor(logits), boxes=Tensor(boxes), auxiliary=[])


def test_ap_of_photos_of_different_sizes():
    """Two photos, one padded; one of the two objects is found, the other one has the wrong class: AP is 1/2."""
    samples = [
        (
            np.zeros((3, 20, 40), np.float32),
            {"labels": np.array([0]), "boxes": np.array([[0.5, 0.5, 0.5, 0.5]], np.float32)},
        ),
        (
            np.zeros((3, 40, 20), np.float32),
            {"labels": np.array([1]), "boxes": np.array([[0.3, 0.3, 0.2, 0.4]], np.float32)},
        ),
    ]
    batch = Batch("boxes", Preprocess())(samples)
    assert batch[0].shape == (2, 3, 40, 40) and batch[1].sum(axis=(1, 2)).tolist() == [800, 800]
    kind = Boxes(["cat", "dog"])
    right = Finder([([0], [[0.5, 0.5, 0.5, 0.5]]), ([1], [[0.3, 0.3, 0.2, 0.4]])])
    assert kind.measure(right, [batch]) == pytest.approx({"AP50": 1, "AP": 1})
    half = Finder([([0], [[0.5, 0.5, 0.5, 0.5]]), ([0], [[0.9, 0.9, 0.1, 0.1]])])
    found = kind.measure(half, [batch])
    assert found["AP50"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("scores", "count", "least"),
    [
        ([[0.9, 0.6], [0.8, 0.1]], 3, 0.5),  # sure of as many as there are
        ([[0.405, 0.1], [0.309]], 2, 0.3),  # the two best ones are drawn
        ([[0.2], []], 5, 0.2),  # fewer found than there are
        ([[], []], 5, 0.5),
        ([[0.3]], 0, 0.5),
    ],
)
def test_the_report_shows_boxes_of_a_detector_that_is_not_sure(scores, count, least):
    assert _lowest_drawn([np.array(one) for one in scores], count) == pytest.approx(least)


def test_answers_without_looking():
    images = np.zeros((2, 3, 4, 4), np.float32)
    batches = [(images, np.array([1, 0])), (images, np.array([0, 0]))]
    assert Classes(["a", "b"]).baseline(batches) == ("always a", 0.75)
    maps = np.array([[[0, 1], [1, 255]], [[1, 1], [0, 1]]])
    # b everywhere: 5 of the 7 pixels that count are right, which is its IoU; that of a is 0
    assert Masks(["a", "b"]).baseline([(images, maps)]) == ("b everywhere", pytest.approx(5 / 14))
    assert Boxes(["a"]).baseline(batches) is None
