"""Large pictures are reduced while they are decoded: to the mean of squares of pixels, in little memory.
Not here: pictures in their own size (test_images)."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from minivis.data import image_size, read_image
from minivis.data._sized import read_fitted
from minivis.data.geometry import center_crop, resize
from minivis.data.photos import china
from tests.data.test_images import write

rng = np.random.default_rng(0)
NOISE = rng.integers(0, 256, (26, 37, 3), dtype=np.uint8)


def box_mean(image, f):
    """The mean of each square of f x f pixels; at the right and lower edge of what is left of it."""
    sums, counts = (
        np.add.reduceat(np.add.reduceat(x, range(0, x.shape[1], f), 1), range(0, x.shape[2], f), 2)
        for x in (image.astype(float), np.ones(image.shape))
    )
    return sums / counts


def kinds():
    """Pictures of every way to store colours: (name, Pillow image, options)."""
    clear = np.dstack([NOISE, rng.integers(0, 256, NOISE.shape[:2], dtype=np.uint8)])
    exif = Image.Exif()
    exif[0x0112] = 6
    yield "colours.png", Image.fromarray(NOISE), {}
    yield "grey.png", Image.fromarray(NOISE[..., 0]), {}
    yield "palette.png", Image.fromarray(NOISE).quantize(16), {}
    yield "clear-palette.png", Image.fromarray(NOISE).quantize(16), {"transparency": 3}
    yield "alpha.png", Image.fromarray(clear), {}
    yield "alpha-grey.png", Image.fromarray(clear).convert("LA"), {}
    yield "bits.png", Image.fromarray(NOISE[..., 0] > 99), {}
    yield "wide.png", Image.fromarray(NOISE[..., 0].astype(np.uint16) * 251), {}
    yield "wide.tiff", Image.fromarray(NOISE[..., 0].astype(np.uint16) * 251), {}
    yield "print.tiff", Image.fromarray(np.dstack([NOISE, NOISE[..., 0]]), "CMYK"), {}
    yield "lossless.webp", Image.fromarray(NOISE), {"lossless": True}
    yield "one.gif", Image.fromarray(NOISE).quantize(16), {}
    yield "side.png", Image.fromarray(NOISE), {"exif": exif}


KINDS = list(kinds())


@pytest.mark.parametrize(("name", "image", "options"), KINDS, ids=[kind[0] for kind in KINDS])
def test_a_reduced_picture_is_the_mean_of_squares(tmp_path, monkeypatch, name, image, options):
    path = write(tmp_path / name, image, **options)
    stored = read_image(path, orient=False)

    def upright(pixels):
        return np.rot90(pixels, -1, axes=(1, 2)) if "exif" in options else pixels

    np.testing.assert_array_equal(read_image(path), upright(stored))
    assert image_size(path) == read_image(path).shape[1:]
    for strip in (2**20, 50):  # in one piece, and in strips of few rows
        monkeypatch.setattr("minivis.data.images.STRIP", strip)
        for shortest, f in [(26, 1), (14, 1), (13, 2), (9, 2), (8, 3), (5, 5), (1, 26)]:
            read = read_image(path, shortest=shortest, orient=False)
            assert read.dtype == np.float32
            np.testing.assert_allclose(read, box_mean(stored, f), atol=0.7 / 255)  # Pillow may round 0.6 down
    turned = read_image(path, shortest=8)
    np.testing.assert_array_equal(turned, upright(read_image(path, shortest=8, orient=False)))


def test_a_jpeg_is_nearly_the_mean_of_squares(tmp_path):
    pixels = (china(size=(216, 320)).transpose(1, 2, 0) * 255).astype(np.uint8)
    path = write(tmp_path / "a.jpg", pixels, quality=95, subsampling=0)
    whole = read_image(path, orient=False)
    for f in (2, 4, 8, 16, 24):  # 16 and 24: an eighth while decoding, the rest afterwards
        shortest = 216 // f
        read = read_image(path, shortest=shortest, orient=False)
        used = f if f <= 8 else 8 * (27 // shortest)
        expected = box_mean(whole, used)
        assert read.shape == expected.shape
        assert np.abs(read - expected).mean() < 1 / 255
        assert np.abs(read - expected).max() < 6 / 255


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [8, (6, 8), (8, 5)])
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_picture_of_a_data_set_is_nearly_what_resizing_the_whole_gives(tmp_path, name, size, orientation):
    """The whole picture, averaged by the resizing alone, against one that was reduced before."""
    pixels = (china(size=(107, 160)).transpose(1, 2, 0) * 255).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95, "subsampling": 0} if name == "a.jpg" else {}
    path = write(tmp_path / name, pixels, exif=exif, **options)
    whole = resize(read_image(path)[None], size)
    whole = center_crop(whole, size)[0] if isinstance(size, int) else whole[0]
    read = read_fitted("test", path, size)
    assert read.shape == whole.shape and not np.array_equal(read, whole)
    np.testing.assert_allclose(read, whole, atol=0.02)
    assert np.abs(read - whole).mean() < 0.005


def test_a_picture_is_never_reduced_below_its_size_or_made_larger(tmp_path):
    path = write(tmp_path / "a.png", NOISE)
    assert np.array_equal(read_image(path, shortest=100), read_image(path))
    with pytest.raises(
        ValueError, match="^read_image: shortest must be a whole number of at least 1 pixel, got 0"
    ):
        read_image(path, shortest=0)


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux does")
@pytest.mark.parametrize(("name", "most"), [("a.jpg", 25), ("a.png", 60)])
def test_a_large_photo_takes_little_memory(tmp_path, name, most):
    """8 million pixels: 24 MB as bytes, 96 MB as numbers; a PNG has to be decoded to bytes."""
    path = write(tmp_path / name, Image.effect_noise((400, 320), 90).resize((3200, 2500), 0).convert("RGB"))
    code = (
        "import resource, sys\n"
        "from minivis.data import read_image\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "before = peak()\n"
        "assert max(read_image(sys.argv[1], shortest=448).shape) < 900\n"
        "print(peak() - before)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=60)
    assert int(run.stdout) < most, run.stderr
