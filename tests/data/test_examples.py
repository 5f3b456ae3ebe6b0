"""The written data sets are read by the readers of their formats, agree with what was drawn, and are the same every time.
Not here: the drawing (test_shapes), label maps (test_label_maps)."""

import numpy as np
import pytest

from minivis.data import CocoDetection, ImageFolder, examples


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize(
    "write", [examples.write_image_folder, examples.write_coco, examples.write_mask_folder]
)
def test_a_seed_writes_the_same_files_every_time_and_another_other_ones(tmp_path, write):
    first, again, other = (
        files(write(tmp_path / name, seed=seed, count=5)) for name, seed in (("a", 1), ("b", 1), ("c/d", 2))
    )
    assert first == again and sorted(first) and first != other


def test_the_image_folder_has_as_many_pictures_of_each_class_in_two_formats(tmp_path):
    dataset = ImageFolder(examples.write_image_folder(tmp_path, count=10))
    assert dataset.names == ("beach", "lake", "meadow")
    assert np.bincount(dataset.labels).tolist() == [4, 3, 3]
    # most pixels are nearest to the colour of sand, water or grass
    colours = np.array([[0.83, 0.74, 0.52], [0.22, 0.42, 0.66], [0.33, 0.52, 0.20]])[:, :, None]
    nearest = [np.square(image.reshape(3, -1) - colours).sum(axis=1).argmin(axis=0) for image, _ in dataset]
    found = [np.bincount(pixels, minlength=3).argmax() for pixels in nearest]
    assert np.equal(found, dataset.labels).mean() >= 0.9
    starts = {path.suffix: path.read_bytes()[:3] for path in dataset.paths}
    assert starts == {".jpg": b"\xff\xd8\xff", ".png": b"\x89PN"}
    assert len({image.shape for image, _ in dataset}) > 5
    with pytest.raises(ValueError, match="write_image_folder: count must be at least 3, got 2"):
        examples.write_image_folder(tmp_path, count=2)


def test_the_coco_folder_has_boxes_around_its_masks(tmp_path):
    examples.write_coco(tmp_path, count=4)
    dataset = CocoDetection(tmp_path / "images", tmp_path / "annotations.json")
    assert dataset.names == ("round", "angular", "spiky") and dataset.category_ids == (1, 3, 7)
    for _, target in dataset:
        height, width = target["masks"].shape[1:]
        for mask, (cx, cy, w, h), area in zip(target["masks"], target["boxes"], target["area"], strict=True):
            y, x = np.nonzero(mask)
            found = [x.min(), x.max() + 1, y.min(), y.max() + 1]
            box = [(cx - w / 2) * width, (cx + w / 2) * width, (cy - h / 2) * height, (cy + h / 2) * height]
            np.testing.assert_allclose(box, found, atol=1e-3)
            assert area == len(y)
    with pytest.raises(ValueError, match="write_coco: count must be at least 1, got 0"):
        examples.write_coco(tmp_path, count=0)
