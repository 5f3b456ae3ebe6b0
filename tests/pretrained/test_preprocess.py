"""Photos are prepared as transformers prepares them, and in every form people have them in.

Not here: how a folder finds its settings (test_folder.py), the reading of image files (tests/data).
"""

import importlib.util

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from minivis.data.pixels import as_bytes, resize_bytes
from minivis.pretrained import Preprocess
from tests.pretrained.make_preprocess_fixtures import FILE, PHOTOS, ROWS, photo, theirs

STORED = load_file(FILE)
BYTES = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
has_transformers = all(importlib.util.find_spec(name) for name in ("torch", "transformers"))


@pytest.mark.parametrize("size", PHOTOS)
@pytest.mark.parametrize("key", ROWS)
def test_a_photo_is_prepared_as_transformers_did(key, size):
    got = Preprocess.from_config(ROWS[key])(photo(*size))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got[0], STORED[f"{key}|{size[0]}x{size[1]}"], rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(not has_transformers, reason="needs the parity extra")
@pytest.mark.parametrize("seed", range(6))
def test_photos_of_random_sizes_are_prepared_as_transformers_does(seed):
    for settings in ROWS.values():
        size = np.random.default_rng(seed).integers(5, 60, 2)
        np.testing.assert_allclose(
            Preprocess.from_config(settings)(photo(*size))[0], theirs(settings, *size), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize(
    "photo_size, expected",
    [
        ((480, 640), (800, 1066)),
        ((427, 640), (800, 1199)),
        ((300, 1000), (400, 1333)),
        ((1000, 300), (1333, 400)),
    ],
)
def test_the_shorter_side_grows_to_800_unless_the_longer_would_exceed_1333(photo_size, expected):
    assert Preprocess(shortest=800, longest=1333).new_size(*photo_size) == expected


def test_a_photo_may_be_very_long():
    assert Preprocess(shortest=8, longest=16)(np.zeros((3, 1, 1000), np.float32)).shape == (1, 3, 1, 16)


def test_batches_are_padded_and_the_mask_says_where():
    prepare = Preprocess(shortest=8, longest=16, mean=(0.5,) * 3, std=(0.5,) * 3, dtype=np.dtype(np.float64))
    images, mask = prepare.batch([photo(10, 20), photo(30, 20)])
    assert images.shape == (2, 3, 12, 16) and images.dtype == np.float64
    assert mask.dtype == bool and [m.sum() for m in mask] == [8 * 16, 12 * 8]
    np.testing.assert_array_equal(images[1:, :, :12, :8], prepare(photo(30, 20)))
    assert not images[~np.broadcast_to(mask[:, None], images.shape)].any()
    padded, mask = Preprocess(shortest=8, longest=16, pad_to=(20, 24)).batch([photo(10, 20)])
    assert padded.shape == (1, 3, 20, 24) and mask.sum() == 8 * 16
    with pytest.raises(ValueError, match="does not fit into pad_to"):
        Preprocess(pad_to=(4, 4)).batch([photo(10, 20)])
    with pytest.raises(ValueError, match="images is empty"):
        prepare.batch([])


def test_a_photo_may_come_in_many_forms(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(BYTES).save(path)
    floats = BYTES.transpose(2, 0, 1).astype(np.float32) / 255
    for form in (
        path,
        str(path),
        Image.fromarray(BYTES),
        BYTES,
        BYTES.transpose(2, 0, 1),
        floats,
        floats.astype("f8"),
    ):
        np.testing.assert_array_equal(as_bytes(form), BYTES)
    grey = BYTES[..., 0]
    for form in (grey, grey[None], Image.fromarray(grey), grey / np.float32(255)):
        np.testing.assert_array_equal(as_bytes(form), np.repeat(grey[..., None], 3, axis=2))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    np.testing.assert_array_equal(as_bytes(deep)[..., 1], grey)
    clear = Image.fromarray(np.dstack([BYTES, np.zeros((6, 5), np.uint8)]))
    assert (as_bytes(clear) == 255).all()


def test_a_picture_three_pixels_wide_is_told_by_its_numbers():
    wide = np.zeros((3, 4, 3), np.float32)  # floating-point pictures have their channels first
    assert as_bytes(wide).shape == (4, 3, 3)
    assert as_bytes(np.zeros((3, 4, 3), np.uint8)).shape == (3, 4, 3)  # bytes last, if both fit


@pytest.mark.parametrize(
    "image, error, message",
    [
        (
            np.zeros((2, 4, 4)),
            ValueError,
            r"must be \(3, H, W\), \(H, W, 3\) or \(H, W\), got shape \(2, 4, 4\)",
        ),
        (np.zeros((1, 3, 4, 4)), ValueError, "got shape"),
        (np.zeros((3, 0, 4)), ValueError, "got shape"),
        (np.full((3, 4, 4), 200.0), ValueError, r"within \[0, 1\], got 200 to 200"),
        (np.full((3, 4, 4), np.nan), ValueError, "within"),
        (np.zeros((3, 4, 4), int), TypeError, "must hold bytes or floating-point numbers, got int64"),
        ([[1]], TypeError, "must be a path, an array or a Pillow image, got list"),
    ],
)
def test_what_is_no_picture_is_refused(image, error, message):
    with pytest.raises(error, match=message):
        as_bytes(image)


def test_resizing_knows_pillows_filters():
    assert resize_bytes(BYTES, (2, 7), 0).shape == (2, 7, 3)
    with pytest.raises(ValueError):
        resize_bytes(BYTES, (2, 7), 9)
