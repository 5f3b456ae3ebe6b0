"""Picture files of every kind become the same numbers, the right way up; broken ones are named.
Not here: whole folders of them (test_folders)."""

import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from minivis.data import read_image
from tests.data.png import png_file

rng = np.random.default_rng(0)
COLOURS = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)


def write(path, pixels, **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tiff", "a.ppm", "a.webp"])
def test_bytes_become_numbers_from_0_to_1(tmp_path, name):
    lossless = {"lossless": True} if name.endswith("webp") else {}
    image = read_image(write(tmp_path / name, COLOURS, **lossless))
    assert image.shape == (3, 5, 7) and image.dtype == np.float32 and image.flags.c_contiguous
    np.testing.assert_array_equal(image, COLOURS.transpose(2, 0, 1).astype(np.float32) / np.float32(255))


def test_jpeg_is_nearly_the_same_and_takes_str(tmp_path):
    smooth = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    image = read_image(str(write(tmp_path / "a.jpg", smooth, quality=95)))
    np.testing.assert_allclose(image[:, 8, 8], [200 / 255, 100 / 255, 50 / 255], atol=0.02)


def test_grey_pictures_have_three_equal_channels(tmp_path):
    for name, pixels, most in [
        ("a.png", COLOURS[..., 0], 255),
        ("b.png", COLOURS[..., 0].astype(np.uint16) * 257, 65535),
        ("b.tiff", COLOURS[..., 0].astype(np.uint16) * 200, 65535),
        ("c.png", COLOURS[..., 0] > 99, 1),
    ]:
        image = read_image(write(tmp_path / name, pixels))
        for channel in image:
            np.testing.assert_allclose(channel, pixels / most, rtol=1e-6)
    (tmp_path / "d.pgm").write_bytes(b"P5 2 1 65535 " + struct.pack(">2H", 65535, 13107))
    np.testing.assert_allclose(read_image(tmp_path / "d.pgm")[2], [[1, 0.2]], rtol=1e-6)


def test_palettes_are_looked_up(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [2, 0]], np.uint8), "L").convert("P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    for name in ("a.png", "a.gif"):
        read = read_image(write(tmp_path / name, image))
        assert read[:, 0, 0].tolist() == [1, 0, 0] and read[:, 1, 0].tolist() == [0, 0, 1]


def test_what_is_transparent_lies_on_white(tmp_path):
    pixels = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 51]]], np.uint8)
    image = read_image(write(tmp_path / "a.png", pixels))
    np.testing.assert_allclose(image[:, 0].T, [[1, 0, 0], [1, 1, 1], [0.8, 0.8, 0.8]], atol=1e-6)
    grey = read_image(write(tmp_path / "b.png", Image.fromarray(pixels).convert("LA")))
    assert grey[:, 0, 1].tolist() == [1, 1, 1]
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "L").convert("P")
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette = read_image(write(tmp_path / "c.png", palette, transparency=1))
    assert palette[:, 0].T.tolist() == [[1, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_grey_lies_on_white_at_every_depth(tmp_path, depth):
    most = 2**depth - 1
    greys = rng.integers(0, most + 1, (4, 16))
    for clear in {0, most, most // 3, int(greys[2, 2])}:
        rows = [
            np.unpackbits(row.astype(">u2").view(np.uint8)).reshape(16, 16)[:, 16 - depth :] for row in greys
        ]
        packed = b"".join(b"\0" + np.packbits(row).tobytes() for row in rows)
        (tmp_path / "a.png").write_bytes(png_file(16, 4, depth, 0, packed, (clear,)))
        wanted = np.where(greys == clear, 1, greys / most)
        np.testing.assert_allclose(read_image(tmp_path / "a.png")[1], wanted, rtol=1e-6, err_msg=str(clear))


def test_a_transparent_colour_of_16_bits_lies_on_white(tmp_path):
    colours = np.array([[[652, 6699, 23923], [60000, 6699, 23923]]])
    (tmp_path / "a.png").write_bytes(
        png_file(2, 1, 16, 2, b"\0" + colours.astype(">u2").tobytes(), (652, 6699, 23923))
    )
    image = read_image(tmp_path / "a.png")
    assert image[:, 0, 0].tolist() == [1, 1, 1]
    np.testing.assert_allclose(image[:, 0, 1], colours[0, 1] / 65535, atol=1 / 255)  # the upper 8 bits


def test_cmyk_is_converted(tmp_path):
    image = read_image(write(tmp_path / "a.tiff", Image.new("CMYK", (2, 2), (0, 255, 255, 0))))
    assert image[:, 0, 0].tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    "orientation, upright",
    [(1, lambda x: x), (3, lambda x: x[::-1, ::-1]), (6, lambda x: np.rot90(x, -1)), (8, np.rot90),
     (2, lambda x: x[:, ::-1]), (5, lambda x: x.transpose(1, 0, 2))],
)  # fmt: skip
def test_the_picture_is_turned_as_the_camera_noted(tmp_path, orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(tmp_path / "a.png", COLOURS, exif=exif)
    wanted = upright(COLOURS).transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(read_image(path), wanted)
    stored = COLOURS.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(read_image(path, orient=False), stored)


def test_an_animation_gives_its_first_picture(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "a.gif")[:, 0, 0].tolist() == [1, 0, 0]


def huge_png():
    """A PNG of 80 bytes that claims 100,000 x 100,000 pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def webp(kind, head):
    return b"RIFF" + struct.pack("<I", 60) + b"WEBP" + kind + struct.pack("<I", 40) + head + bytes(40)


def claiming(kind, width, height):
    """A small picture of a kind that claims to be large."""
    buffer = io.BytesIO()
    Image.fromarray(COLOURS).save(buffer, kind)
    data = bytearray(buffer.getvalue())
    if kind == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", height, width)
    else:  # GIF: of the screen, and of the picture
        at = data.index(b"\x2c") + 5
        data[6:10] = data[at : at + 4] = struct.pack("<HH", width, height)
    return bytes(data)


def png(**options):
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "is no picture in JPEG.*; it is empty"),
        (b"hello", "is no picture in JPEG"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "is an HEIC or AVIF picture by another name, .*: save it as JPEG"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "is a pointer of Git LFS"),
        (b"<!DOCTYPE html><html>", "is a web page: download the picture again"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is no picture in JPEG"),
        (png()[:2000], "is a broken picture"),
        (png()[:40], "is (a broken|no) picture"),
        (huge_png(), "more than most_pixels=80000000"),
        (b"P5 9000 9000 255 ", "claims 9000 x 9000 pixels, more than"),
        (b"P5 8000 8000 255 ", "claims 8000 x 8000 pixels, more than 17 bytes .unpacked. can hold"),
        (b"P5 80 80 255 ", "is a broken picture"),
        (claiming("JPEG", 9000, 9000), "claims 9000 x 9000 pixels, more than most_pixels"),
        (claiming("JPEG", 8000, 9000), "claims 8000 x 9000 pixels, more than [0-9]+ bytes .JPEG. can hold"),
        (claiming("GIF", 8000, 9000), "claims 8000 x 9000 pixels, more than [0-9]+ bytes .GIF. can hold"),
        (webp(b"VP8X", bytes(4) + b"\xff\xff\x00\xff\xff\x00"), "claims 65536 x 65536 pixels, more than most"),
        (webp(b"VP8X", bytes(4) + b"\x8f\x0f\x00\xff\x0f\x00"), "claims 3984 x 4096 pixels, more than [0-9]+ bytes .WEBP. can hold"),
        (webp(b"VP8L", b"\x2f\xff\x0f\xff\x03"), "claims 4096 x 4093 pixels, more than [0-9]+ bytes .WEBP. can hold"),
        (webp(b"VP8 ", b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 4000, 3000)), "claims 4000 x 3000 pixels, more than"),
    ],
    ids=[str(i) for i in range(19)],
)  # fmt: skip
def test_a_broken_file_is_named(tmp_path, data, words):
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"read_image: .*a.png {words}" if "claims" in words else f"read_image: .*a.png .*{words}"):  # fmt: skip
        read_image(path)


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="bounds memory as Linux does")
def test_what_a_file_claims_is_not_allocated(tmp_path):
    """Pillow makes room for a WebP's pixels when it opens it, and for all bytes that a chunk of a PNG claims."""
    code = (
        "import resource, sys\n"
        "from minivis.data import read_image\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 50 * 2**20,) * 2)\n"
        "try:\n"
        "    print('read', read_image(sys.argv[1]).shape)\n"
        "except ValueError as error:\n"
        "    print('refused', error)\n"
    )
    long_chunk = png()[:33] + struct.pack(">I", 2**31 - 1) + png()[37:]  # its pixels are all there
    for data, outcome in [
        (webp(b"VP8X", bytes(4) + b"\x00\x20\x00\x00\x20\x00"), "refused read_image: "),
        (claiming("JPEG", 8000, 9000), "refused read_image: "),
        (long_chunk, "read (3, 64, 64)"),
    ]:
        (tmp_path / "a").write_bytes(data)
        command = [sys.executable, "-c", code, tmp_path / "a"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert run.stdout.startswith(outcome), run.stderr


@pytest.mark.parametrize(
    "name, options",
    [
        ("a.png", {}),
        ("a.gif", {}),
        ("a.jpg", {"quality": 10}),
        ("b.jpg", {"progressive": True, "quality": 5}),
    ],
)
def test_what_packs_best_is_read_all_the_same(tmp_path, name, options):
    """A blank picture of 12 million pixels: nothing packs better."""
    kind = "1" if name == "a.png" else "L"
    path = write(tmp_path / name, Image.new(kind, (4000, 3000)), optimize=True, **options)
    assert path.stat().st_size < 60_000
    assert read_image(path).shape == (3, 3000, 4000)


def test_a_damaged_note_beside_the_pixels_is_no_matter(tmp_path):
    path = write(tmp_path / "a.jpg", COLOURS, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert read_image(path).shape == (3, 5, 7)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_is_refused_rather_than_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ValueError, match="^read_image: [^:]*a.png is no file: a pipe, a device or the like"):
        read_image(tmp_path / "a.png")


def test_every_damage_is_a_value_error_or_harmless(tmp_path):
    path = tmp_path / "a"
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM"):
        buffer = io.BytesIO()
        Image.fromarray(COLOURS).save(buffer, kind)
        whole = buffer.getvalue()
        for _ in range(40):
            data = bytearray(whole[: rng.integers(1, len(whole) + 1)])
            data[rng.integers(len(data))] = rng.integers(256)
            path.write_bytes(data)
            try:
                assert read_image(path, most_pixels=10**6).shape[0] == 3
            except ValueError as error:
                assert str(error).startswith("read_image: "), kind


def test_numbers_without_a_white_are_refused(tmp_path):
    for pixels, kind in [
        (np.ones((2, 2), np.float32), "floating-point"),
        (np.ones((2, 2), np.int32), "32-bit"),
    ]:
        with pytest.raises(ValueError, match=rf"a.tiff stores {kind} numbers .* 8- or 16-bit"):
            read_image(write(tmp_path / "a.tiff", pixels))


def test_a_missing_file_or_a_folder_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^read_image: there is no file .*nothing\.png$"):
        read_image(tmp_path / "nothing.png")
    with pytest.raises(IsADirectoryError):
        read_image(tmp_path)
    with pytest.raises(ValueError, match="claims 7 x 5 pixels, more than most_pixels=34"):
        read_image(write(tmp_path / "a.png", COLOURS), most_pixels=34)
