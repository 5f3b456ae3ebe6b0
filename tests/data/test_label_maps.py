"""Folders of pictures with label maps are read as they lie on people's disks; wrong ones are named.
Not here: pictures (test_images), panoptic maps (test_coco)."""

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from minivis.data import DataLoader, MaskFolder, examples
from minivis.data._sized import nearest

rng = np.random.default_rng(0)
LABELS = rng.choice([0, 1, 2, 255], (6, 9)).astype(np.uint8)
PICTURE = rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Two pictures with masks, three classes, and what a system leaves behind."""
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for name in ("a.JPG", "b.png"):
        Image.fromarray(PICTURE).save(tmp_path / "images" / name)
    Image.fromarray(LABELS).save(tmp_path / "masks" / "a.png")
    Image.fromarray(LABELS[::-1].copy()).save(tmp_path / "masks" / "b.png")
    for name in ("images/.DS_Store", "images/Thumbs.db", "masks/unused.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "classes.txt").write_text("Straße\n$5 bill\ncar\n\n", encoding="utf-8-sig")
    return tmp_path


def test_a_pixel_has_the_class_of_its_mask(folder):
    dataset = MaskFolder(folder)
    assert dataset.names == ("Straße", "$5 bill", "car") and len(dataset) == 2
    assert [path.name for path in dataset.paths] == ["a.JPG", "b.png"]
    image, labels = dataset[1]
    np.testing.assert_array_equal(image, PICTURE.transpose(2, 0, 1).astype(np.float32) / np.float32(255))
    assert labels.dtype == np.int64 and labels.tolist() == LABELS[::-1].tolist()
    assert dataset[-2][1].tolist() == LABELS.tolist()
    assert MaskFolder(folder, names=["x", "y", "z"]).names == ("x", "y", "z")
    images, batch = DataLoader(dataset, 2).batch(0, 0)
    assert images.shape == (2, 3, 6, 9) and batch.shape == (2, 6, 9)


def test_every_way_to_store_numbers_is_read(folder):
    path = folder / "masks" / "a.png"
    palette = Image.fromarray(LABELS, "P")
    palette.putpalette(rng.integers(0, 256, 768).tolist())
    for image in (palette, Image.fromarray(LABELS.astype(np.uint16))):
        image.save(path)
        assert MaskFolder(folder)[0][1].tolist() == LABELS.tolist()
    Image.fromarray(LABELS == 1).save(path)
    assert MaskFolder(folder)[0][1].tolist() == (LABELS == 1).astype(int).tolist()


@pytest.mark.parametrize("size", [8, (5, 7), (30, 44)])
def test_a_resized_mask_lies_on_its_resized_picture_and_mixes_no_classes(tmp_path, size):
    """A picture whose brightness is its class; large ones are reduced while they are decoded."""
    labels = np.repeat(np.repeat(rng.choice([0, 100, 200], (5, 7)).astype(np.uint8), 20, 0), 20, 1)
    labels = np.pad(labels, ((0, 3), (0, 6)), mode="edge")
    for part, name in (("images", "a.png"), ("masks", "a.png")):
        (tmp_path / part).mkdir()
        Image.fromarray(labels).save(tmp_path / part / name)
    image, new = MaskFolder(tmp_path, size, names=[str(k) for k in range(201)])[0]
    assert new.shape == image.shape[1:] == ((8, 8) if size == 8 else size)
    assert set(np.unique(new)) <= {0, 100, 200}
    agree = np.abs(image[0] * 255 - new) < 50
    assert agree.mean() > 0.7  # elsewhere a border is blurred
    if size == (30, 44):  # in the middle of the tiles nothing is blurred
        assert agree.mean() > 0.85


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (5, 7), (6, 9), (7, 30), (41, 9)])
def test_the_nearest_pixel_is_the_one_under_the_middle_of_the_new_one(height, width):
    new = nearest(LABELS, height, width)
    for y in range(height):
        for x in range(width):
            under = [int(Fraction(2 * i + 1, 2 * n) * full) for i, n, full in ((y, height, 6), (x, width, 9))]
            assert new[y, x] == LABELS[tuple(under)]


@pytest.mark.parametrize("upright", [True, False])
def test_a_mask_of_a_turned_photo_has_its_upright_or_its_stored_size(folder, upright):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PICTURE).save(folder / "images" / "b.png", exif=exif)
    labels = np.rot90(LABELS, -1) if upright else LABELS
    Image.fromarray(np.ascontiguousarray(labels)).save(folder / "masks" / "b.png")
    image, new = MaskFolder(folder)[1]
    shown = np.rot90(PICTURE, -1) if upright else PICTURE
    np.testing.assert_allclose(image, shown.transpose(2, 0, 1) / 255, atol=1e-6)
    assert new.tolist() == labels.tolist()


def wrong_mask(pixels):
    return lambda folder: Image.fromarray(pixels).save(folder / "masks" / "a.png")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (wrong_mask(LABELS[:5]), "a.JPG has 6 x 9 pixels, but its mask has 5 x 9"),
        (wrong_mask(np.where(LABELS == 1, 7, LABELS).astype(np.uint8)), "a.png has pixels of class 7, but the 3 classes are 0 to 2, and 255"),
        (wrong_mask(PICTURE), r"a.png has colours \(RGB\); a mask holds the number of the class"),
        (wrong_mask(np.full((6, 9), 700, np.uint16)), "has the number 700, more than 255"),
        (lambda folder: (folder / "masks" / "a.png").write_bytes(b"GIF"), "a.png is no picture"),
        (lambda folder: (folder / "images" / "a.JPG").write_bytes(b"GIF"), "a.JPG is no picture"),
        (lambda folder: (folder / "classes.txt").write_text("a\n\nb\n"), "line 2 of .*classes.txt is empty"),
        (lambda folder: (folder / "classes.txt").write_text(""), "must have 1 to 255 classes, but names 0"),
        (lambda folder: (folder / "classes.txt").write_bytes(b"Stra\xdfe"), "classes.txt is no text in UTF-8"),
        (lambda folder: (folder / "images" / "a.png").write_bytes(b""), "two pictures are called a; which"),
        (lambda folder: [path.unlink() for path in folder.glob("images/*.*")], "images holds no picture"),
        (lambda folder: (folder / "images" / "x").mkdir(), "images holds a folder, x"),
    ],
)  # fmt: skip
def test_wrong_folders_are_named(folder, damage, words):
    damage(folder)
    with pytest.raises(ValueError, match=f"^MaskFolder: .*{words}"):
        MaskFolder(folder)[0]


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ("classes.txt", "there is no .*classes.txt; write the names of the classes into it, one a line"),
        (
            "masks/b.png",
            "1 of 2 pictures have no mask; the first is .*b.png, its mask would be .*masks.b.png",
        ),
        ("images", "there is no folder .*images; expected"),
    ],
)
def test_what_is_missing_is_named(folder, gone, words):
    (folder / gone).rename(folder / "elsewhere")
    with pytest.raises(FileNotFoundError, match=f"^MaskFolder: {words}"):
        MaskFolder(folder)


def test_black_and_white_masks_are_warned_of(folder):
    wrong_mask(np.where(LABELS > 0, 255, 0).astype(np.uint8))(folder)
    with pytest.warns(UserWarning, match=r"has only 0 and 255, and 255 is no class. If it means 'car'"):
        MaskFolder(folder, names=["road", "car"])[0]


def test_written_examples_are_read(tmp_path):
    dataset = MaskFolder(examples.write_mask_folder(tmp_path, count=4))
    seen = np.unique(np.concatenate([labels.ravel() for _, labels in dataset]))
    assert dataset.names == ("grass", "sand", "water", "object") and set(seen) <= {0, 1, 2, 3, 255}
    assert {3, 255} <= set(seen)
    with pytest.raises(ValueError, match="write_mask_folder: count must be at least 1, got 0"):
        examples.write_mask_folder(tmp_path, count=0)
