"""A target moves as its picture does: judged by pictures whose pixels say where they come from, and boxes drawn as masks.
Not here: changes of pictures alone (test_transforms, test_multi_crop)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivis.data import DataLoader, paired
from minivis.data.coco import CocoDetection
from minivis.data.coco import collate as collate_photos
from minivis.data.color import ColorJitter
from minivis.data.shapes import Scenes, collate
from minivis.data.transforms import Resize

MOVES = {
    "flip": paired.RandomFlip(0.5, 0.5),
    "crop": paired.RandomCrop((14, 18)),
    "border": paired.RandomCrop(40),
    "iou": paired.RandomIoUCrop(),
    "both": paired.Compose([paired.RandomFlip(0.5, 0.5), paired.RandomCrop(15), paired.RandomFlip()]),
}  # these move whole pixels
RESIZES = {
    "scale": paired.RandomScale((0.5, 2)),
    "resized": paired.RandomResizedCrop((32, 24)),
    "large scale": paired.Compose([paired.RandomScale((0.3, 2)), paired.RandomCrop(30)]),
}


def places(height, width):
    """A picture (3, H, W) of row, column and 1: each pixel says where it comes from; what comes from nowhere is 0."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y, x, np.ones_like(y)]).astype(np.float64)


def sample(rng, rectangles=True, size=(24, 30)):
    """A picture of its own places with objects, boxes in whole pixels: (image, target with masks, label map)."""
    masks = np.zeros((4, *size), bool)
    for mask in masks:
        h, w = rng.integers(2, size[0] // 2), rng.integers(2, size[1] // 2)
        top, left = rng.integers(size[0] - h + 1), rng.integers(size[1] - w + 1)
        mask[top : top + h, left : left + w] = rectangles or rng.random((h, w)) < 0.5
        mask[top, left] = mask[top + h - 1, left + w - 1] = True  # its box is known
    return places(*size), target_of(masks), rng.integers(0, 5, size)


def target_of(masks):
    """The target of masks, everything counted from their pixels."""
    return {
        "labels": np.arange(len(masks)),
        "boxes": np.array([box_of(mask) for mask in masks], np.float32).reshape(-1, 4),
        "masks": masks,
        "iscrowd": np.arange(len(masks)) % 2 == 1,
        "area": masks.sum(axis=(1, 2)).astype(float),
        "image_id": 17,
    }


def box_of(mask):
    """The box of a mask by its extreme pixels, normalised cxcywh."""
    y, x = np.nonzero(mask)
    height, width = mask.shape
    x0, y0 = x.min() / width, y.min() / height
    x1, y1 = (x.max() + 1) / width, (y.max() + 1) / height
    return (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0


def moved(image, maps, fill):
    """Where the pixels of maps (..., H, W) are in a moved picture, read from its own pixels."""
    y, x, here = image.astype(int)
    return np.where(here, maps[..., y, x], fill)


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("rectangles", [True, False])
def test_masks_boxes_and_areas_go_where_the_pixels_go(name, rectangles):
    rng = np.random.default_rng(3)
    left_out = 0
    for _ in range(20):
        image, target, _ = sample(rng, rectangles)
        new_image, new = MOVES[name](image, target, rng)
        expected = moved(new_image, target["masks"], False)
        kept = new["labels"]  # labels are the numbers of the objects
        left_out += len(target["labels"]) - len(kept)
        np.testing.assert_array_equal(new["masks"], expected[kept])
        np.testing.assert_allclose(new["boxes"], [box_of(mask) for mask in expected[kept]], atol=1e-6)
        np.testing.assert_allclose(new["area"], expected[kept].sum(axis=(1, 2)))
        assert new["iscrowd"].tolist() == (kept % 2 == 1).tolist() and new["image_id"] == 17
        assert new["boxes"].dtype == np.float32 and new["masks"].dtype == bool
        if name != "iou":  # this leaves out objects by their centres
            assert set(kept) == set(np.flatnonzero(expected.any(axis=(1, 2))))
    assert (left_out == 0) == (name in ("flip", "border"))


@pytest.mark.parametrize("name", [name for name in MOVES if name != "iou"])
def test_label_maps_go_where_the_pixels_go(name):
    rng = np.random.default_rng(4)
    for _ in range(10):
        image, _, labels = sample(rng)
        new_image, new = MOVES[name](image, labels, rng)
        np.testing.assert_array_equal(new, moved(new_image, labels, 255))
    assert MOVES[name](image, 3, rng)[1] == 3


def test_an_object_of_which_one_pixel_is_left_is_kept_without_a_mask_too():
    rng = np.random.default_rng(0)
    single = 0
    for _ in range(400):
        height, width = rng.integers(4, 24, 2)
        x0 = int(rng.integers(width - 1))
        x1 = int(rng.integers(x0 + 2, width + 1))
        box = np.float32([[(x0 + x1) / 2 / width, 0.5, (x1 - x0) / width, 1]])
        # each pixel is the number of its column
        image = np.broadcast_to(np.arange(width, dtype=float), (3, height, width))
        crop = paired.RandomCrop((height, int(rng.integers(2, width))))
        piece, new = crop(image, {"boxes": box, "labels": np.array([0])}, rng)
        columns = np.count_nonzero((piece[0, 0] >= x0) & (piece[0, 0] < x1))
        single += columns == 1
        assert len(new["labels"]) == (columns > 0)
    assert single > 20


@pytest.mark.parametrize("name", MOVES | RESIZES)
def test_boxes_are_the_same_with_and_without_masks(name):
    change = (MOVES | RESIZES)[name]
    for seed in range(15):
        image, target, _ = sample(np.random.default_rng(seed))
        target["area"] = target["boxes"][:, 2:].prod(axis=1) * image[0].size
        bare = {key: value for key, value in target.items() if key != "masks"}
        _, with_masks = change(image, target, np.random.default_rng(seed))
        new_image, new = change(image, bare, np.random.default_rng(seed))
        common = np.intersect1d(with_masks["labels"], new["labels"])
        a, b = (np.searchsorted(x["labels"], common) for x in (with_masks, new))
        if name in MOVES:
            assert len(common) == len(new["labels"]) == len(with_masks["labels"])
            np.testing.assert_allclose(new["boxes"][b], with_masks["boxes"][a], atol=1e-6)
            np.testing.assert_allclose(new["area"][b], with_masks["area"][a], rtol=1e-5)
        else:  # a mask ends at a pixel, a box anywhere
            side = np.array([*new_image.shape[:0:-1]] * 2)
            assert len(common) >= len(with_masks["labels"]) - 1
            assert (np.abs(new["boxes"][b] - with_masks["boxes"][a]) * side <= 2).all()


@pytest.mark.parametrize("name", RESIZES)
def test_a_resized_box_lies_around_its_resized_mask(name):
    for seed in range(15):
        rng = np.random.default_rng(seed)
        image, target, labels = sample(rng)
        labels = target["masks"].any(axis=0).astype(int)
        new_image, new = RESIZES[name](image, target, np.random.default_rng(seed))
        _, new_labels = RESIZES[name](image, labels, np.random.default_rng(seed))
        side = np.array([*new_image.shape[:0:-1]] * 2)
        for mask, box in zip(new["masks"], new["boxes"], strict=True):
            if mask.any():  # a thin object may fall between the pixels
                assert (np.abs(np.subtract(box_of(mask), box)) * side <= 1.01).all()
        shown = new_labels == 1
        assert (shown[new["masks"].any(axis=0)]).all() and set(np.unique(new_labels)) <= {0, 1, 255}
        scale = new["area"] / np.maximum(new["masks"].sum(axis=(1, 2)), 1)
        assert (np.abs(scale[new["area"] > 60] - 1) < 0.35).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_mirroring_twice_changes_nothing(seed, height, width, vertical):
    rng = np.random.default_rng(seed)
    image = rng.random((3, height, width))
    labels = rng.integers(0, 9, (height, width))
    masks = rng.random((2, height, width)) < 0.5
    masks[:, 0, 0] = True
    target = target_of(masks)
    flip = paired.RandomFlip(horizontal=not vertical, vertical=vertical)
    once = flip(image, target, rng)
    again, back = flip(*once, rng)
    np.testing.assert_array_equal(again, image)
    np.testing.assert_allclose(back["boxes"], target["boxes"], atol=1e-7)
    np.testing.assert_array_equal(back["masks"], masks)
    np.testing.assert_array_equal(flip(*flip(image, labels, rng), rng)[1], labels)
    np.testing.assert_array_equal(once[1]["boxes"][:, 2:], target["boxes"][:, 2:])


def test_what_was_given_is_not_changed():
    image, target, labels = sample(np.random.default_rng(0))
    before = [image.copy(), labels.copy(), {key: np.copy(value) for key, value in target.items()}]
    for change in (MOVES | RESIZES).values():
        change(image, target, np.random.default_rng(1))
        if change is not MOVES["iou"]:
            change(image, labels, np.random.default_rng(1))
        np.testing.assert_array_equal(image, before[0])
        np.testing.assert_array_equal(labels, before[1])
        for key, value in before[2].items():
            np.testing.assert_array_equal(target[key], value)


def test_an_iou_crop_overlaps_an_object_as_much_as_was_drawn():
    rng = np.random.default_rng(0)
    smaller = 0
    for _ in range(30):
        image, target, _ = sample(rng)
        new_image, new = paired.RandomIoUCrop(overlaps=(0.3,))(image, target, rng)
        H, W = new_image.shape[1:]
        y0, x0 = new_image[:2, 0, 0]
        boxes = target["boxes"] * [30, 24, 30, 24]
        shared = [
            max(0, min(x0 + W, cx + w / 2) - max(x0, cx - w / 2)) * max(0, min(y0 + H, cy + h / 2) - max(y0, cy - h / 2))
            for cx, cy, w, h in boxes
        ]  # fmt: skip
        overlaps = np.array(shared) / (boxes[:, 2] * boxes[:, 3] + H * W - shared)
        if (H, W) != (24, 30):
            smaller += 1
            assert overlaps.max() >= 0.3 - 1e-6 and 0.5 <= W / H <= 2 and H >= 7 and W >= 9
            inside = (np.abs(boxes[:, :2] - [x0 + W / 2, y0 + H / 2]) < [W / 2, H / 2]).all(axis=1)
            assert new["labels"].tolist() == np.flatnonzero(inside).tolist()
    assert smaller > 3


def test_colours_change_the_picture_alone():
    image, target = Scenes(1)[0]
    new_image, new = paired.OnImage(ColorJitter(0.5, 0.5, 0.5, 0.1))(image, target, np.random.default_rng(0))
    assert new is target and new_image.shape == image.shape and np.abs(new_image - image).max() > 0.05
    with pytest.raises(
        ValueError, match=r"OnImage: the transform changed the picture's shape from \(3, 64, 64\)"
    ):
        paired.OnImage(Resize(32))(image, target, np.random.default_rng(0))  # fmt: skip


def test_a_scene_without_objects_stays_one():
    image = places(20, 20)
    for change in (MOVES | RESIZES).values():
        new = change(image, target_of(np.zeros((0, 20, 20), bool)), np.random.default_rng(0))[1]
        assert new["boxes"].shape == (0, 4) and new["masks"].shape[0] == 0 and new["labels"].shape == (0,)


CHANGE = paired.Compose([paired.RandomFlip(), paired.RandomResizedCrop(32), paired.OnImage(ColorJitter(0.4))])


def numbers(batch):
    images, targets = batch
    return [images, *(target[key] for target in targets for key in ("labels", "boxes", "masks"))]


def test_a_resumed_loader_makes_the_same_changes_with_and_without_workers():
    def loader(workers=0):
        return DataLoader(
            Scenes(6), 2, shuffle=True, collate=collate, augment=CHANGE, workers=workers, rng=np.random.default_rng(5)
        )  # fmt: skip

    first = loader()
    batches = list(first)
    again = [*first]
    assert not all(np.array_equal(a[0], b[0]) for a, b in zip(batches, again, strict=True))
    stopped = loader()
    next(iter(stopped))
    resumed = loader(workers=1)
    resumed.load_state_dict(stopped.state_dict())
    rest = list(resumed)
    assert len(rest) == 2
    for a, b in zip(batches[1:], rest, strict=True):
        for x, y in zip(numbers(a), numbers(b), strict=True):
            np.testing.assert_array_equal(x, y)


def test_arrays_are_changed_sample_by_sample():
    images = np.random.default_rng(0).random((4, 1, 8, 8))
    labels = np.arange(4)
    plain = next(iter(DataLoader((images, labels), 4)))
    batch = next(iter(DataLoader((images, labels), 4, augment=paired.RandomFlip(1))))
    np.testing.assert_array_equal(batch[0], plain[0][..., ::-1])
    np.testing.assert_array_equal(batch[1], labels)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: paired.RandomFlip(1.5), "RandomFlip: horizontal must be a probability between 0 and 1, got 1.5"),
        (lambda: paired.RandomCrop(0), "RandomCrop: size must be one or two integers of at least 1, got 0"),
        (lambda: paired.RandomScale((0, 1)), "RandomScale: scale must be above 0"),
        (lambda: paired.RandomResizedCrop(8, scale=(0, 2)), "RandomResizedCrop: scale must lie above 0"),
        (lambda: paired.RandomIoUCrop(overlaps=(2,)), "RandomIoUCrop: overlaps and p must lie between 0 and 1"),
        (lambda: change(target=np.zeros((3, 4))), "a label map of the picture's size .* got an array of shape"),
        (lambda: change(image=np.zeros((8, 8))), r"image must be floating-point numbers \(C, H, W\), got float64 \(8, 8\)"),
        (lambda: change(image=np.zeros((3, 8, 8), np.uint8)), "got uint8"),
        (lambda: change(target={"labels": np.zeros(1)}), "the target has no 'boxes', only 'labels'"),
        (lambda: change(target={"boxes": np.zeros((1, 4)), "panoptic": np.zeros((8, 8))}), "has 'panoptic', which is not moved along"),
        (lambda: change(target={"boxes": np.zeros((2, 4)), "labels": np.zeros(1)}), r"labels of shape \(1,\) do not fit to 2 boxes"),
        (lambda: change(target={"boxes": np.zeros((1, 4)), "masks": np.zeros((1, 4, 4), bool)}), "masks of shape .* do not fit"),
        (lambda: paired.RandomIoUCrop()(np.zeros((3, 8, 8)), 1, np.random.default_rng(0)), "the target must be a dict with boxes"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def change(image=None, target=0):
    image = np.zeros((3, 8, 8)) if image is None else image
    return paired.RandomFlip()(image, target, np.random.default_rng(0))


def test_a_generator_is_needed():
    with pytest.raises(TypeError, match="RandomFlip: rng must be a numpy.random.Generator, got int"):
        paired.RandomFlip()(np.zeros((3, 8, 8)), 0, 3)
    with pytest.raises(TypeError, match="Compose: every transform must be callable, got 3"):
        paired.Compose([3])


def test_photos_of_a_list_are_changed_too(tmp_path):
    from minivis.data import examples

    folder = examples.write_coco(tmp_path, count=3)
    photos = CocoDetection(folder / "images", folder / "annotations.json", size=64)
    loader = DataLoader(photos, 3, collate=collate_photos, augment=CHANGE)
    images, valid, targets = next(iter(loader))
    assert images.shape == (3, 3, 32, 32) and valid.all()
    for target in targets:
        assert target["masks"].shape == (len(target["labels"]), 32, 32) and len(target["area"]) == len(
            target["boxes"]
        )
