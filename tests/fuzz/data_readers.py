"""Readers of data sets and pictures: COCO's lists, panoptic maps, MNIST's and CIFAR's files, folders, pictures of every kind.

Not here: models and runs (checkpoint_readers.py).
"""

import gzip
import json
import struct

import numpy as np
from PIL import Image

from minivis.data import MaskFolder, image_size, read_image
from minivis.data.cifar import CIFAR10
from minivis.data.coco import CocoDetection, CocoPanoptic
from minivis.data.folders import ImageFolder
from minivis.data.mnist import MNIST, read_idx
from minivis.vision import id2rgb, rle_encode
from tests.data.png import png_file
from tests.fuzz import Reader

HEIGHT, WIDTH = 24, 32


def noise(height=HEIGHT, width=WIDTH):
    """A picture that is no single colour, and packs well."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 8 % 256, y * 10 % 256, (x + y) * 4 % 256], axis=-1).astype(np.uint8)


def disc():
    return np.hypot(*(np.mgrid[:HEIGHT, :WIDTH] - 12)) < 7


# ---------------------------------------------------------------------------------------------------------------------
# COCO


def photos(folder):
    """Three photos, one of them turned by its camera, and the entries of a list."""
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(noise()).save(folder / "a.png")
    Image.fromarray(noise()).save(folder / "b.jpg", quality=50)
    Image.fromarray(noise(WIDTH, HEIGHT)).save(folder / "c.jpg", quality=50, exif=turned)
    return [
        {"id": i, "file_name": name, "height": HEIGHT, "width": WIDTH}
        for i, name in [(1, "a.png"), (2, "b.jpg"), (3, "c.jpg")]
    ]


def detection(folder, one=False):
    """Polygons, run lengths of both kinds, a crowd; with `one` photo half of all broken files are the list."""
    segmentations = [
        [[2, 3, 12, 3, 12, 11, 2, 11], [14.5, 3, 20, 3, 17, 9.25]],
        rle_encode(disc()),
        rle_encode(disc(), compressed=False),
    ]
    images = photos(folder)
    if one:
        (folder / "b.jpg").unlink()
        (folder / "c.jpg").unlink()
        images = [*images[:1], images[0] | {"id": 2, "name": "the same"}]
    objects = [
        {"id": i + 1, "image_id": images[i % len(images)]["id"], "category_id": 1 + 4 * (i % 2), "bbox": [2, 3, 18.5, 12],
         "area": 90.5, "iscrowd": int(i == 2), "segmentation": segmentation}
        for i, segmentation in enumerate(segmentations)
    ]  # fmt: skip
    kinds = [{"id": 1, "name": "cat"}, {"id": 5, "name": "dog"}]
    content = {"images": images, "annotations": objects, "categories": kinds}
    (folder / "list.json").write_text(json.dumps(content))


def one_photo(folder):
    detection(folder, one=True)


def panoptic(folder):
    numbers = np.where(disc(), 70_000, np.where(np.arange(HEIGHT)[:, None] < 6, 300, 0))
    Image.fromarray(id2rgb(numbers)).save(folder / "map.png")
    Image.fromarray(id2rgb(numbers)).convert("P", palette=Image.Palette.ADAPTIVE).save(folder / "palette.png")
    segments = [{"id": 70_000, "category_id": 1, "area": 140}, {"id": 300, "category_id": 5, "iscrowd": 1}]
    maps = [
        {"image_id": i, "file_name": name, "segments_info": segments}
        for i, name in [(1, "map.png"), (2, "palette.png"), (3, "map.png")]
    ]
    kinds = [{"id": 1, "name": "cat", "isthing": 1}, {"id": 5, "name": "sky", "isthing": 0}]
    content = {"images": photos(folder), "annotations": maps, "categories": kinds}
    (folder / "list.json").write_text(json.dumps(content))


def read_detection(folder, **options):
    return list(CocoDetection(folder, folder / "list.json", crowds=True, **options))


def read_panoptic(folder, **options):
    return list(CocoPanoptic(folder, folder, folder / "list.json", crowds=True, **options))


# ---------------------------------------------------------------------------------------------------------------------
# Arrays in files


def idx(array, kind):
    big = array.astype(array.dtype.newbyteorder(">"))
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape) + big.tobytes()


def mnist(folder):
    images = noise(5, 20).reshape(5, 10, 6)
    labels = np.arange(5, dtype=np.uint8)
    (folder / "train-images-idx3-ubyte").write_bytes(idx(images, 8))
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(labels, 8))
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images, 8), mtime=0))
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels, 8), mtime=0))
    (folder / "floats").write_bytes(idx(np.linspace(0, 1, 12).reshape(3, 4), 14))


def read_mnist(folder):
    return list(MNIST(folder)), list(MNIST(folder, "test")), read_idx(folder / "floats")


def cifar(folder):
    record = bytes([3]) + noise(32, 32).transpose(2, 0, 1).tobytes()
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        (folder / name).write_bytes(record)
    (folder / "batches.meta.txt").write_text("\n".join("abcdefghij"))


def read_cifar(folder):
    return list(CIFAR10(folder)), list(CIFAR10(folder, "test"))


# ---------------------------------------------------------------------------------------------------------------------
# Pictures


def classes(folder):
    for name in ("cat", "dog"):
        (folder / name).mkdir()
        Image.fromarray(noise()).save(folder / name / "1.png")
        Image.fromarray(noise()).save(folder / name / "2.jfif", "JPEG", quality=50)
    (folder / "dog" / "notes.txt").write_text("no picture")


def read_classes(folder):
    return list(ImageFolder(folder, size=8))


def pngs(folder):
    """PNG as it is seldom written: bits, palettes, transparency, 16 bits a colour."""
    image = Image.fromarray(noise())
    image.save(folder / "rgb.png")
    image.convert("1").save(folder / "bits.png")
    image.convert("P", palette=Image.Palette.ADAPTIVE, colors=16).save(folder / "palette.png", transparency=1)
    alpha = np.dstack([noise(), noise()[..., 0]])
    Image.fromarray(alpha).save(folder / "rgba.png")
    Image.fromarray(alpha).convert("LA").save(folder / "la.png")
    Image.fromarray(noise()[..., 0].astype(np.uint16) * 200).save(folder / "grey16.png")
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in noise().astype(np.uint16) * 257)
    (folder / "rgb16.png").write_bytes(png_file(WIDTH, HEIGHT, 16, 2, rows, (0, 2570, 0)))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in noise()[..., 0].astype(np.uint16) * 257)
    (folder / "grey16-transparent.png").write_bytes(png_file(WIDTH, HEIGHT, 16, 0, rows, (2056,)))
    (folder / "grey4.png").write_bytes(png_file(8, 2, 4, 0, b"\0\x01\x23\x45\x67\0\x89\xab\xcd\xef", (3,)))


def pictures(folder):
    """Pictures of all other kinds."""
    turned = Image.Exif()
    turned[0x0112] = 8
    turned[0x010F] = "camera"
    image = Image.fromarray(noise())
    image.save(folder / "turned.jpg", quality=50, exif=turned)
    image.save(folder / "progressive.jpg", quality=50, progressive=True)
    image.convert("CMYK").save(folder / "cmyk.jpg", quality=50)
    image.convert("P").save(folder / "one.gif", transparency=3)
    image.save(folder / "two.gif", save_all=True, append_images=[image.rotate(180)])
    image.save(folder / "lossy.webp", quality=50)
    image.save(folder / "lossless.webp", lossless=True)
    image.save(folder / "two.webp", save_all=True, append_images=[image.rotate(180)])
    image.save(folder / "plain.tiff")
    image.save(folder / "packed.tiff", compression="tiff_lzw")
    image.save(folder / "rgb.bmp")
    image.convert("P").save(folder / "palette.bmp")
    image.save(folder / "rgb.ppm")
    (folder / "text.pgm").write_bytes(b"P2 # a comment\n4 2 15\n" + b"0 1 2 3 4 5 6 7\n")


def read_pictures(folder):
    return [read_image(path, orient) for path in sorted(folder.iterdir()) for orient in (True, False)]


def read_reduced(folder):
    """Pictures at a third of their size: (pictures, sizes)."""
    paths = sorted(folder.iterdir())
    return [read_image(path, shortest=8) for path in paths], [image_size(path) for path in paths]


def label_maps(folder):
    for part in ("images", "masks"):
        (folder / part).mkdir()
    numbers = Image.fromarray((disc() * 1 + noise()[..., 0] // 128).astype(np.uint8))
    palette = Image.fromarray(np.array(numbers), "P")
    palette.putpalette(list(range(96)))
    for i, mask in enumerate([numbers, palette]):
        Image.fromarray(noise()).save(folder / "images" / f"{i}.jpg", quality=50)
        mask.save(folder / "masks" / f"{i}.png")
    (folder / "classes.txt").write_text("road\nsky\ncar\n")


READERS = [
    Reader("CocoDetection", detection, read_detection),
    Reader(
        "CocoDetection skip", detection, lambda folder: read_detection(folder, invalid="skip", upright=False)
    ),
    Reader("CocoDetection boxes", one_photo, lambda folder: read_detection(folder, masks=False)),
    Reader("CocoDetection small", detection, lambda folder: read_detection(folder, size=10)),
    Reader("CocoPanoptic", panoptic, read_panoptic),
    Reader("CocoPanoptic skip", panoptic, lambda folder: read_panoptic(folder, invalid="skip", masks=False)),
    Reader("MNIST", mnist, read_mnist),
    Reader("CIFAR10", cifar, read_cifar),
    Reader("ImageFolder", classes, read_classes),
    Reader("read_image PNG", pngs, read_pictures),
    Reader("read_image others", pictures, read_pictures),
    Reader("read_image reduced PNG", pngs, read_reduced),
    Reader("read_image reduced", pictures, read_reduced),
    Reader("MaskFolder", label_maps, lambda folder: list(MaskFolder(folder, size=10))),
]
