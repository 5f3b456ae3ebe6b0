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
from minivis.pretrained.preprocess import preprocess_of
from tests.pretrained.make_preprocess_fixtures import FILE, PHOTOS, ROWS, photo, theirs

STORED = load_file(FILE)
BYTES = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
has_transformers = all(importlib.util.find_spec(name) for name in ("torch", "transformers"))


@pytest.mark.parametrize("size", PHOTOS)
@pytest.mark.parametrize("key", ROWS)
def test_a_photo_is_prepared_as_transformers_did(key, size):
    got = preprocess_of(ROWS[key])(photo(*size))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got[0], STORED[f"{key}|{size[0]}x{size[1]}"], rtol=1e-5, atol=1e-5)


# what processors do where their file says little
BARE = [
    {"image_processor_type": "ViTImageProcessor", "size": 22},
    {"image_processor_type": "DeiTImageProcessor", "size": 30},
    {"image_processor_type": "BeitImageProcessor", "size": 30, "crop_size": 20},
    {"image_processor_type": "CLIPImageProcessor", "size": 22, "crop_size": 20},
    {"image_processor_type": "CLIPImageProcessor", "size": 22, "do_center_crop": False},
    {
        "image_processor_type": "BitImageProcessor",
        "size": {"shortest_edge": 25},
        "crop_size": {"height": 22, "width": 22},
    },
    {"image_processor_type": "DetrImageProcessor", "size": {"shortest_edge": 20, "longest_edge": None}},
]


@pytest.mark.skipif(not has_transformers, reason="needs the parity extra")
@pytest.mark.parametrize("seed", range(6))
def test_photos_of_random_sizes_are_prepared_as_transformers_does(seed):
    for settings in [*ROWS.values(), *BARE]:
        size = np.random.default_rng(seed).integers(5, 60, 2)
        np.testing.assert_allclose(
            preprocess_of(settings)(photo(*size))[0], theirs(settings, *size), rtol=1e-5, atol=1e-5
        )


COLOURS = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


@pytest.mark.parametrize(
    ("settings", "size", "crop"),
    [  # what transformers 4.57 does with a photo of 480 x 640, read off its processors
        ({"image_processor_type": "ViTImageProcessor", "size": 224}, (224, 224), None),
        ({"image_processor_type": "ViTImageProcessorFast", "size": 224}, (224, 224), None),
        ({"image_processor_type": "BeitImageProcessor", "size": 256}, (256, 256), (224, 224)),
        ({"feature_extractor_type": "DeiTFeatureExtractor", "size": 256}, (256, 256), (224, 224)),
        (
            {"image_processor_type": "DeiTImageProcessor", "size": 256, "do_center_crop": False},
            (256, 256),
            None,
        ),
        (
            {"image_processor_type": "DeiTImageProcessor", "size": 256, "crop_size": 200},
            (256, 256),
            (200, 200),
        ),
        ({"image_processor_type": "CLIPImageProcessor", "size": 224}, (224, 298), (224, 224)),
        (
            {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 256}},
            (256, 341),
            (224, 224),
        ),
        ({"image_processor_type": "DetrImageProcessor", "size": 800, "max_size": 1333}, (800, 1066), None),
        (
            {"image_processor_type": "DetrImageProcessor", "size": {"shortest_edge": 800}, "max_size": 1000},
            (750, 1000),
            None,
        ),
        (
            {
                "image_processor_type": "DetrImageProcessor",
                "size": {"shortest_edge": 800, "longest_edge": None},
            },
            (800, 1066),
            None,
        ),
        (
            {"image_processor_type": "DetrImageProcessor", "size": {"max_height": 600, "max_width": 600}},
            (450, 600),
            None,
        ),
        (
            {"image_processor_type": "Other", "size": {"height": 24, "width": 32}, "resample": 2},
            (24, 32),
            None,
        ),
    ],
)
def test_a_size_means_what_it_means_to_that_processor(settings, size, crop):
    found = preprocess_of({**COLOURS, **settings})
    assert (found.new_size(480, 640), found.crop) == (size, crop)


def test_null_is_as_good_as_absent():
    nulls = ["do_center_crop", "crop_size", "size_divisor", "pad_size", "rescale_factor", "do_normalize", "do_rescale", "resample",
             "image_mean", "image_std", "do_resize", "max_size", "data_format"]  # fmt: skip
    said = {
        "image_processor_type": "DetrImageProcessorFast",
        "size": {"shortest_edge": 800, "longest_edge": 1333},
    }
    found = preprocess_of({**said, **dict.fromkeys(nulls)})
    bare = preprocess_of(said)
    assert found == bare
    assert (found.scale, found.mean, found.resample) == (1 / 255, (0.485, 0.456, 0.406), 2)


@pytest.mark.parametrize(("name", "number"), [("bicubic", 3), ("bilinear", 2), ("lanczos", 1), (0, 0)])
def test_a_filter_may_be_named(name, number):
    assert preprocess_of({**COLOURS, "size": {"height": 8, "width": 8}, "resample": name}).resample == number


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resample": "PIL.Image.BICUBIC"}, "resample must be a number from 0 to 5, or one of nearest"),
        ({"resample": 255}, "resample must be a number from 0 to 5"),
        ({"resample": True}, "resample must be a number from 0 to 5"),
        ({"size": []}, "needs a list of whole numbers named 'size'"),
        ({"size": [224]}, "size must be one number or two"),
        ({"size": None}, "size is None, and what that means to a '' is not known"),
        ({"size": 224}, "size is 224, and what that means to a '' is not known: write"),
        ({"size": {"longest_edge": 640}}, "needs a whole number named 'shortest_edge', got nothing"),
        ({"size": {"height": 10**9, "width": 1}}, "height must be between 1 and 8192"),
        ({"size": {"height": 8000, "width": 8000}}, "size of 8000 x 8000 pixels is more than any model sees"),
        ({"size": {"shortest_edge": 10**9}}, "shortest_edge must be between 1 and 8192"),
        ({"crop_size": {"height": 8000, "width": 8000}}, "crop_size of 8000 x 8000 pixels"),
        ({"pad_size": {"height": 10**9, "width": 3}}, "height must be between"),
        ({"size_divisor": 10**9}, "size_divisor must be between"),
        ({"rescale_factor": "1/255"}, "needs a number named 'rescale_factor'"),
        ({"image_std": [0, 1, 1]}, "image_std must be between 1e-09 and 1e"),
        ({"image_mean": None}, "image_mean is missing"),
        ({"do_resize": "perhaps"}, "named 'do_resize'"),
        ({"input_size": [1, 28, 28]}, r"input_size must be \[3, height, width\]"),
        ({"input_size": [3, 28, 28], "interpolation": "random"}, "interpolation 'random'"),
        ({"input_size": [3, 28, 28], "crop_mode": "border"}, "crop_mode 'border' is not what minivis does"),
        ({"input_size": [3, 28, 28], "crop_pct": 0}, "crop_pct must be between"),
    ],
)
def test_settings_that_cannot_be_are_named(settings, message):
    usual = {"size": {"height": 8, "width": 8}, "resample": 2, **COLOURS}
    with pytest.raises(
        ValueError, match=f"^from_pretrained: there.json: photos cannot be prepared by it: .*{message}"
    ):
        preprocess_of({**usual, **settings}, path="there.json")


def test_a_photo_of_extreme_shape_is_refused_before_it_is_resized():
    prepare = Preprocess(shortest=800, file="hub/preprocessor_config.json")
    assert prepare.new_size(1, 5) == (800, 4000)
    with pytest.raises(
        ValueError, match="photo of 1 x 1000 pixels would become 800 x 800000 by hub/pre.*less extreme"
    ):
        prepare(np.zeros((3, 1, 1000), np.float32))
    assert Preprocess().new_size(6000, 8000) == (6000, 8000)  # a large photo may stay as large as it is


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
