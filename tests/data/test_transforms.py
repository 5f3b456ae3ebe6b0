"""What transforms do to pictures by chance: within the bounds asked for, picture by picture, repeatably.
Not here: the arithmetic of moving pixels (test_geometry)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from minivis.data import geometry, transforms
from minivis.data.color import LUMA, grayscale
from minivis.data.transforms import (
    CenterCrop,
    ColorJitter,
    Compose,
    Normalize,
    RandomAffine,
    RandomCrop,
    RandomHorizontalFlip,
    Resize,
)

RANDOM = {
    "RandomCrop": RandomCrop((3, 4), padding=(1, 0)),
    "RandomHorizontalFlip": RandomHorizontalFlip(),
    "RandomAffine": RandomAffine(20, 0.2, (0.8, 1.2), 10, fill=0.5),
    "ColorJitter": ColorJitter(0.4, 0.4, 0.4),
}
FIXED = {
    "Resize": Resize((3, 4)),
    "CenterCrop": CenterCrop((3, 4)),
    "Normalize": Normalize(transforms.IMAGENET_MEAN, transforms.IMAGENET_STD),
    "Compose": Compose([Resize((6, 4)), Normalize([0.5] * 3, [0.5] * 3)]),
}
ALL = RANDOM | FIXED
seeds = st.integers(0, 2**32)


def rng(seed=0):
    return np.random.default_rng(seed)


def colour_pictures(B=6, H=6, W=7, dtype=np.float32, seed=1):
    images = rng(seed).random((B, 3, H, W)).astype(dtype)
    images.flags.writeable = False
    return images


@pytest.mark.parametrize("name", ALL)
@given(seed=seeds, dtype=st.sampled_from([np.float32, np.float64]), B=st.integers(0, 4))
def test_every_transform_keeps_its_promises(name, seed, dtype, B):
    images = colour_pictures(B, dtype=dtype)
    got = ALL[name](images, rng(seed))
    assert got.dtype == dtype and got.ndim == 4 and got.shape[:2] == (B, 3)
    assert not np.shares_memory(got, images) and got.flags.writeable
    assert np.array_equal(got, ALL[name](images, rng(seed)))


@pytest.mark.parametrize("name", RANDOM)
def test_chance_differs_from_picture_to_picture_and_needs_a_generator(name):
    images = np.repeat(colour_pictures(1), 32, axis=0)
    got = RANDOM[name](images, rng())
    assert len(np.unique(got.reshape(32, -1), axis=0)) > 1
    assert not np.array_equal(got, RANDOM[name](images, rng(1)))
    with pytest.raises(TypeError, match=f"^{name}: rng must be a numpy.random.Generator, got NoneType"):
        RANDOM[name](images, None)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'rng'"):
        RANDOM[name](images)


@pytest.mark.parametrize("name", FIXED)
def test_what_is_fixed_needs_no_generator(name):
    images = colour_pictures()
    assert np.array_equal(FIXED[name](images), FIXED[name](images, rng()))


@pytest.mark.parametrize("name", RANDOM | {"Normalize": 0})
def test_what_is_no_batch_of_pictures_is_refused(name):
    with pytest.raises(ValueError, match=rf"^{name}: images must have four axes .* got shape \(3, 6, 7\)"):
        ALL[name](colour_pictures()[0], rng())
    with pytest.raises(TypeError, match=rf"^{name}: images must be .* got dtype uint8"):
        ALL[name](colour_pictures().astype(np.uint8), rng())


# -- crop and flip ---------------------------------------------------------------------------------


@given(st.data(), seeds)
def test_a_random_crop_is_a_piece_of_its_picture(data, seed):
    H, W = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 7))
    rows, columns = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))
    size = data.draw(st.integers(1, H + 2 * rows)), data.draw(st.integers(1, W + 2 * columns))
    B, C = data.draw(st.integers(0, 4)), data.draw(st.integers(1, 2))
    images = 1 + np.arange(B * C * H * W, dtype=np.float32).reshape(B, C, H, W)
    got = RandomCrop(size, (rows, columns))(images, rng(seed))
    assert got.shape == (B, C, *size)
    padded = np.pad(images, ((0, 0), (0, 0), (rows, rows), (columns, columns)))
    for picture, piece in zip(padded, got, strict=True):
        places = np.ndindex(H + 2 * rows - size[0] + 1, W + 2 * columns - size[1] + 1)
        assert any(np.array_equal(piece, picture[:, y : y + size[0], x : x + size[1]]) for y, x in places)


def test_every_place_is_cropped_equally_often():
    images = np.broadcast_to(np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4), (6000, 1, 3, 4))
    corners = RandomCrop((2, 2))(images, rng())[:, 0, 0, 0].astype(int)
    counts = np.bincount(corners)
    assert counts.nonzero()[0].tolist() == [0, 1, 2, 4, 5, 6]
    assert abs(counts[counts > 0] - 1000).max() < 150  # five standard deviations


@given(seeds, st.sampled_from([0, 0.3, 1]))
def test_each_picture_is_mirrored_or_not(seed, p):
    images = colour_pictures(40)
    got = RandomHorizontalFlip(p)(images, rng(seed))
    mirror = geometry.horizontal_flip(images)
    flipped = [np.array_equal(a, b) for a, b in zip(got, mirror, strict=True)]
    assert np.array_equal(got, np.where(np.array(flipped)[:, None, None, None], mirror, images))
    assert 0 < sum(flipped) < 40 if 0 < p < 1 else sum(flipped) == 40 * p


# -- affine ----------------------------------------------------------------------------------------


def test_affine_by_nothing_changes_nothing():
    images = colour_pictures()
    assert np.array_equal(RandomAffine()(images, rng()), images)


def measured(**amounts):
    """Draw 2000 matrices through the transform; return linear parts and shifts of the motion itself."""
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(geometry, "affine", lambda images, matrix, fill: seen.append(matrix))
        RandomAffine(**amounts)(np.zeros((2000, 1, 10, 20), np.float32), rng())
    (matrix,) = seen
    linear = np.linalg.inv(matrix[:, :, :2])
    return linear, -(linear @ matrix[:, :, 2:])[..., 0]


@pytest.mark.parametrize(("translate", "across", "down"), [(0.1, 2, 1), ((0.2, 0), 4, 0)])
def test_shifts_fill_the_range_asked_for(translate, across, down):
    linear, shift = measured(translate=translate)
    np.testing.assert_allclose(linear, np.broadcast_to(np.eye(2), linear.shape), atol=1e-12)
    np.testing.assert_allclose(shift.min(axis=0), (-across, -down), atol=0.02)
    np.testing.assert_allclose(shift.max(axis=0), (across, down), atol=0.02)
    assert np.all(np.abs(shift) <= (across, down))


def test_angles_scales_and_slants_fill_the_range_asked_for():
    linear, _ = measured(degrees=30)
    angle = np.degrees(np.arctan2(linear[:, 0, 1], linear[:, 0, 0]))
    assert -30 <= angle.min() < -29.8 and 29.8 < angle.max() <= 30
    linear, _ = measured(scale=(0.5, 2))
    assert 0.5 <= linear[:, 0, 0].min() < 0.51 and 1.99 < linear[:, 0, 0].max() <= 2
    linear, _ = measured(shear=45)
    slant = np.degrees(np.arctan(linear[:, 0, 1]))
    assert -45 <= slant.min() < -44.7 and 44.7 < slant.max() <= 45
    np.testing.assert_allclose(linear[:, 1], np.broadcast_to([0, 1], (2000, 2)), atol=1e-12)


def test_what_comes_in_from_outside_is_the_fill():
    got = RandomAffine(translate=0.5, fill=0.25)(np.ones((50, 1, 8, 8), np.float32), rng())
    assert got.min() == 0.25 and got.max() == 1


# -- colour ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "enhancer"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
    ],
)
@given(factor=st.floats(0, 3), seed=seeds)
def test_colour_changes_are_pillow_s(name, enhancer, factor, seed):
    bytes_ = rng(seed).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    image = (bytes_.transpose(2, 0, 1)[None] / 255).astype(np.float32)
    got = ColorJitter(**{name: (factor, factor)})(image, rng())
    want = np.asarray(enhancer(Image.fromarray(bytes_)).enhance(factor)).transpose(2, 0, 1)[None] / 255
    # Pillow rounds the grey (times 1 - factor) and the result
    np.testing.assert_allclose(got, want, rtol=0, atol=3.1 / 255)


@given(seeds, st.floats(0, 2), st.floats(0, 2), st.floats(0, 2))
def test_colours_stay_colours(seed, brightness, contrast, saturation):
    got = ColorJitter(brightness, contrast, saturation)(colour_pictures(), rng(seed))
    assert got.min() >= 0 and got.max() <= 1


def test_no_jitter_is_the_identity():
    images = colour_pictures()
    got = ColorJitter()(images, rng())
    assert np.array_equal(got, images) and not np.shares_memory(got, images)


def test_a_number_is_an_interval_about_one():
    assert ColorJitter(0.25, 2, [0.5, 3]) == ColorJitter((0.75, 1.25), (0, 3), (0.5, 3))
    factors = ColorJitter(brightness=0.25)(np.full((2000, 1, 1, 1), 0.5), rng()) / 0.5
    assert 0.75 <= factors.min() < 0.751 and 1.249 < factors.max() <= 1.25


def test_grey_pictures_have_brightness_and_contrast_but_no_saturation():
    grey = colour_pictures()[:, :1]
    assert ColorJitter(0.4, 0.4)(grey, rng()).shape == grey.shape
    half = ColorJitter(contrast=(0, 0))(grey, rng())  # nothing but the mean is left
    np.testing.assert_allclose(
        half, np.broadcast_to(grey.mean((1, 2, 3), keepdims=True), grey.shape), atol=1e-6
    )
    with pytest.raises(ValueError, match=r"ColorJitter: saturation needs C=3 .*\(images: \(6, 1, 6, 7\)\)"):
        ColorJitter(saturation=0.1)(grey, rng())


# -- normalise, compose ----------------------------------------------------------------------------


def test_normalised_pictures_have_the_figures_asked_for_and_come_back():
    images = colour_pictures()
    mean, std = images.mean((0, 2, 3)), images.std((0, 2, 3))
    normalize = Normalize(mean, std)
    got = normalize(images)
    np.testing.assert_allclose(got.mean((0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(got.std((0, 2, 3)), 1, atol=1e-6)
    back = normalize.inverse(got)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, images, atol=1e-6)


def test_the_imagenet_figures_are_the_published_ones():
    assert transforms.IMAGENET_MEAN == (0.485, 0.456, 0.406)
    assert transforms.IMAGENET_STD == (0.229, 0.224, 0.225)
    assert sum(LUMA) == pytest.approx(1)


def test_grey_is_the_weighted_sum_of_three_channels_and_the_mean_of_others():
    images = colour_pictures()
    want = 0.299 * images[:, :1] + 0.587 * images[:, 1:2] + 0.114 * images[:, 2:]
    got = grayscale(images)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        grayscale(images[:, :2]), images[:, :2].mean(1, keepdims=True), rtol=0, atol=1e-6
    )
    with pytest.raises(ValueError, match="grayscale: images must have four axes"):
        grayscale(images[0])


def test_compose_goes_from_first_to_last_with_one_stream_of_chance():
    images = colour_pictures()
    flip = RandomHorizontalFlip()
    crop = RandomCrop(3)
    one = rng(5)
    want = crop(flip(images, one), one)
    assert np.array_equal(Compose([flip, crop])(images, rng(5)), want)
    assert np.array_equal(Compose([Compose([flip]), Compose([crop])])(images, rng(5)), want)
    assert np.array_equal(Compose([])(images), images)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Compose([Resize(2), 3]), TypeError, "Compose: every transform must be callable, got 3"),
        (lambda: CenterCrop(9)(colour_pictures()), ValueError, "center_crop: the crop 9 x 9 is larger"),
        (
            lambda: RandomCrop((9, 7), padding=1)(colour_pictures(), rng()),
            ValueError,
            r"RandomCrop: the crop 9 x 7 is larger than the pictures \(images: \(6, 3, 8, 9\)\)",
        ),
        (lambda: RandomCrop(0)(colour_pictures(), rng()), ValueError, "RandomCrop: size must be .* got 0"),
        (
            lambda: RandomCrop(2, -1)(colour_pictures(), rng()),
            ValueError,
            "RandomCrop: padding must be .* got -1",
        ),
        (
            lambda: RandomHorizontalFlip(1.5),
            ValueError,
            "RandomHorizontalFlip: p must be between 0 and 1, got 1.5",
        ),
        (
            lambda: RandomAffine(degrees=-1),
            ValueError,
            "RandomAffine: degrees must be a number of at least 0, got -1",
        ),
        (lambda: RandomAffine(degrees=np.inf), ValueError, "RandomAffine: degrees must be .* got inf"),
        (
            lambda: RandomAffine(translate=(0.1, -1)),
            ValueError,
            r"RandomAffine: translate must be .* \(0.1, -1\)",
        ),
        (
            lambda: RandomAffine(translate=(1, 1, 1)),
            ValueError,
            r"RandomAffine: translate must be .* \(1, 1, 1\)",
        ),
        (lambda: RandomAffine(shear=90), ValueError, "RandomAffine: shear must be below 90 degrees, got 90"),
        (
            lambda: RandomAffine(scale=(0, 1)),
            ValueError,
            r"RandomAffine: scale must be above 0, got \(0, 1\)",
        ),
        (lambda: RandomAffine(scale=(2, 1)), ValueError, r"RandomAffine: scale must be \(least, greatest\)"),
        (
            lambda: RandomAffine(scale=1.1),
            ValueError,
            r"RandomAffine: scale must be \(least, greatest\).* got 1.1",
        ),
        (
            lambda: ColorJitter(brightness=-0.1),
            ValueError,
            "ColorJitter: brightness must be at least 0, got -0.1",
        ),
        (
            lambda: ColorJitter(contrast=(-1, 1)),
            ValueError,
            r"ColorJitter: contrast must be .* got \(-1, 1\)",
        ),
        (lambda: ColorJitter(saturation=(1, 2, 3)), ValueError, "ColorJitter: saturation must be"),
        (
            lambda: Normalize([0.5, 0.5], [1]),
            ValueError,
            "Normalize: mean and std must have one entry a channel",
        ),
        (lambda: Normalize([0.5], [0]), ValueError, "Normalize: .* std above 0"),
        (
            lambda: Normalize([0.5], [1])(colour_pictures()),
            ValueError,
            r"Normalize: images have C=3 channels but mean and std have 1 \(images: \(6, 3, 6, 7\)\)",
        ),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        call()
