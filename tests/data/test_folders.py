"""Folders of pictures, CIFAR-10's and MNIST's files are read as they were written; broken ones are named.
Not here: the pictures themselves (test_images), COCO (test_coco)."""

import gzip
import math
import struct

import numpy as np
import pytest
from PIL import Image

from minivis.data import DataLoader
from minivis.data.cifar import CIFAR10
from minivis.data.folders import ImageFolder, split_folders
from minivis.data.mnist import MNIST, read_idx

rng = np.random.default_rng(0)


def same(image, stored):
    """Whether an image is the stored bytes, as numbers from 0 to 1."""
    return image.dtype == np.float32 and np.array_equal(image, stored.astype(np.float32) / np.float32(255))


# ---------------------------------------------------------------------------------------------------------------------
# Folders


@pytest.fixture
def pets(tmp_path):
    """cat/{a,b}.png, dog/c.png of different sizes, and what is to be passed over."""
    pixels = {}
    for name, shape in [("cat/b.png", (6, 8)), ("cat/a.PNG", (6, 6)), ("dog/c.png", (9, 5))]:
        pixels[name] = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels[name]).save(tmp_path / name)
    for name in ("cat/notes.txt", "cat/.hidden.png", "readme.md"):
        (tmp_path / name).write_text("no picture")
    (tmp_path / ".cache").mkdir()
    return tmp_path, pixels


def test_folders_are_classes(pets):
    folder, pixels = pets
    dataset = ImageFolder(folder)
    assert dataset.names == ("cat", "dog") and len(dataset) == 3
    assert [path.name for path in dataset.paths] == ["a.PNG", "b.png", "c.png"]
    assert [label for _, label in dataset] == [0, 0, 1]
    assert same(dataset[1][0], pixels["cat/b.png"].transpose(2, 0, 1)) and dataset[-1][0].shape == (3, 9, 5)
    assert [label for _, label in ImageFolder(folder, names=["bird", "dog", "cat"])] == [2, 2, 1]


def test_a_folder_that_is_split_already_has_the_same_labels_in_each_part(tmp_path):
    for name in ("train/cat/1", "train/dog/2", "train/Vögel/3", "Val/dog/4", "train/cat/5", "notes/x/6"):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
    (tmp_path / ".test").mkdir()
    train, validation = (ImageFolder(tmp_path, split=part) for part in ("train", "validation"))
    assert train.names == validation.names == ("Vögel", "cat", "dog")
    assert train.labels == [0, 1, 1, 2] and validation.labels == [2]
    assert {part: path.name for part, path in split_folders(tmp_path).items()} == {
        "train": "train",
        "validation": "Val",
    }
    assert split_folders(tmp_path / "train") == {}
    with pytest.raises(
        ValueError,
        match="has no folder for split='test' .test or testing.; of such folders it has train, Val",
    ):
        ImageFolder(tmp_path, split="test")  # fmt: skip
    with pytest.raises(ValueError, match="split must be one of train, validation, test, got 'val'"):
        ImageFolder(tmp_path, split="val")
    with pytest.raises(ValueError, match="Val holds a folder, .*pass split='train'"):
        ImageFolder(tmp_path)
    (tmp_path / "valid").mkdir()
    with pytest.raises(ValueError, match="has Val and valid, both for validation; rename one"):
        split_folders(tmp_path)


def test_what_systems_leave_behind_is_no_class_and_no_picture(pets):
    folder, _ = pets
    for name in (
        "__MACOSX/cat/._a.png",
        "@eaDir/x.png",
        "cat/Thumbs.db",
        "cat/._a.png",
        "dog/@eaDir/y.png",
        ".DS_Store",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"nothing")  # fmt: skip
    dataset = ImageFolder(folder)
    assert dataset.names == ("cat", "dog") and len(dataset) == 3


@pytest.mark.parametrize(
    ("size", "error"), [(0, ValueError), ((1, 2, 3), ValueError), (16.5, TypeError), ("16", TypeError)]
)
def test_a_size_is_checked_when_the_data_set_is_made(pets, size, error):
    with pytest.raises(error, match="^ImageFolder: size must be"):
        ImageFolder(pets[0], size)


def test_what_people_give_instead_of_a_folder_of_folders_is_told(pets):
    folder, _ = pets
    with pytest.raises(
        ValueError, match="cat holds no folders; .*; sort the pictures that lie in it, 2 of them"
    ):
        ImageFolder(folder / "cat")
    with pytest.raises(FileNotFoundError, match="no folder .*c.png; it is a file: give the folder"):
        ImageFolder(folder / "dog" / "c.png")
    for names in ("cat", ["cat", "dog", "cat"]):
        with pytest.raises(ValueError, match="names must be a list of different names, got"):
            ImageFolder(folder, names=names)


def test_pictures_are_known_by_any_of_their_suffixes(pets):
    folder, pixels = pets
    for name in ("cat/c.jfif", "cat/d.JPE", "cat/e.jpeg"):
        Image.fromarray(pixels["cat/b.png"]).save(folder / name, "JPEG")
    dataset = ImageFolder(folder)
    assert [path.name for path in dataset.paths[:5]] == ["a.PNG", "b.png", "c.jfif", "d.JPE", "e.jpeg"]
    assert all(image.shape == (3, 6, 8) for image, _ in list(dataset)[1:5])


def test_pictures_that_are_passed_over_are_told(pets):
    folder, _ = pets
    for i in range(4):
        (folder / "dog" / f"{i}.HEIC").write_bytes(b"")
    with pytest.warns(
        UserWarning, match=r"4 of them: dog.0\.HEIC, dog.1\.HEIC, dog.2\.HEIC, \.\.\.; save them as"
    ):
        assert len(ImageFolder(folder)) == 3
    (folder / "dog" / "c.png").unlink()
    with pytest.raises(ValueError, match="dog holds no picture .*; 0.HEIC is of a kind that is not read"):
        ImageFolder(folder)


def test_folders_make_batches(pets):
    folder, pixels = pets
    images, labels = next(iter(DataLoader(ImageFolder(folder, size=5), batch_size=3)))
    assert images.shape == (3, 3, 5, 5) and images.dtype == np.float32 and labels.tolist() == [0, 0, 1]
    assert same(images[2], pixels["dog/c.png"][2:7].transpose(2, 0, 1))  # 9 x 5: the middle
    assert next(iter(DataLoader(ImageFolder(folder, size=(4, 7)))))[0].shape == (3, 3, 4, 7)


def test_wrong_folders_are_named(pets):
    folder, _ = pets
    with pytest.raises(FileNotFoundError, match="there is no folder .*nowhere"):
        ImageFolder(folder / "nowhere")
    with pytest.raises(ValueError, match="cat holds no folders; expected one for each class"):
        ImageFolder(folder / "cat")
    with pytest.raises(ValueError, match="folders that are none of the names: dog"):
        ImageFolder(folder, names=["cat"])
    (folder / "dog" / "c.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ValueError, match=r"ImageFolder: .*c.png is"):
        ImageFolder(folder)[2]
    with pytest.raises(IndexError, match="samples 0 to 2, got 3"):
        ImageFolder(folder)[3]
    (folder / "dog" / "c.png").unlink()
    with pytest.raises(ValueError, match="dog holds no picture"):
        ImageFolder(folder)
    (folder / "dog" / "inner").mkdir()
    with pytest.raises(ValueError, match="dog holds a folder, inner"):
        ImageFolder(folder)


# ---------------------------------------------------------------------------------------------------------------------
# MNIST


def idx(array, kind=0x08):
    """The bytes of an idx file."""
    big = array.astype(array.dtype.newbyteorder(">"))
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape) + big.tobytes()


def write_mnist(folder, images, labels, prefix="train", dot="-", pack=False):
    for part, array in ((f"images{dot}idx3-ubyte", images), (f"labels{dot}idx1-ubyte", labels)):
        data = idx(array)
        (folder / (f"{prefix}-{part}" + ".gz" * pack)).write_bytes(gzip.compress(data) if pack else data)


@pytest.mark.parametrize("options", [{}, {"pack": True}, {"dot": "."}, {"dot": ".", "pack": True}])
def test_mnist_files_are_read(tmp_path, options):
    images = rng.integers(0, 256, (5, 4, 3), dtype=np.uint8)
    labels = np.array([7, 0, 9, 1, 7], np.uint8)
    write_mnist(tmp_path, images, labels, **options)
    write_mnist(tmp_path, images[:2], labels[:2], prefix="t10k", **options)
    dataset = MNIST(tmp_path)
    assert len(dataset) == 5 and dataset.images.shape == (5, 1, 4, 3) and dataset.labels.dtype == np.int64
    assert same(dataset[3][0], images[3:4]) and [label for _, label in dataset] == labels.tolist()
    assert len(MNIST(tmp_path, "test")) == 2
    batch, numbers = DataLoader(dataset, batch_size=5).batch(0, 0)
    assert batch.shape == (5, 1, 4, 3) and numbers.tolist() == labels.tolist()


def test_idx_files_of_every_type(tmp_path):
    for kind, dtype in [(8, "u1"), (9, "i1"), (11, "i2"), (12, "i4"), (13, "f4"), (14, "f8")]:
        array = rng.integers(0, 100, (2, 3)).astype(dtype)
        (tmp_path / "a").write_bytes(idx(array, kind))
        read = read_idx(tmp_path / "a")
        assert read.dtype == np.dtype(dtype) and np.array_equal(read, array)


GOOD = idx(np.arange(6, dtype=np.uint8).reshape(2, 3))


@pytest.mark.parametrize(
    "data, words",
    [
        (b"", "begins with nothing, not as an idx file"),
        (b"\0\0\x08", "begins with 00 00 08, not as"),
        (b"\x89PNG" + bytes(20), "begins with 89 50 4e 47"),
        (b"\0\0\x07\1" + bytes(20), "begins with 00 00 07 01"),
        (b"\0\0\x08\0" + bytes(20), "begins with 00 00 08 00"),
        (GOOD[:9], "ends within its header"),
        (GOOD[:-1], r"claims shape \(2, 3\), 6 bytes, but only 5 follow"),
        (GOOD + b"x", "6 bytes, but more follow"),
        (gzip.compress(GOOD)[:-9], "is a broken gzip file"),
        (gzip.compress(GOOD)[:12] + b"????" + gzip.compress(GOOD)[16:], "is a broken gzip file"),
        (gzip.compress(GOOD + bytes(10**6)), "6 bytes, but more follow"),
        (struct.pack(">4B2I", 0, 0, 14, 2, 2**31, 2**31), "claims shape .* more than 1073741824"),
        (gzip.compress(struct.pack(">4B4I", 0, 0, 8, 4, *[2**32 - 1] * 4)), "more than 1073741824"),
    ],
    ids=[str(i) for i in range(13)],  # packed bytes hold the time: as names of tests they would differ from run to run
)  # fmt: skip
def test_broken_idx_files_are_named(tmp_path, data, words):
    (tmp_path / "numbers").write_bytes(data)
    with pytest.raises(ValueError, match=f"read_idx: .*numbers .*{words}"):
        read_idx(tmp_path / "numbers")


def test_a_packed_file_is_unpacked_no_further_than_it_claims(tmp_path):
    import tracemalloc

    (tmp_path / "a").write_bytes(gzip.compress(GOOD + bytes(10**8)))
    tracemalloc.start()
    with pytest.raises(ValueError, match="more follow"):
        read_idx(tmp_path / "a")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000


@pytest.mark.parametrize("pack", [False, True])
def test_nothing_is_allocated_on_a_headers_claim(tmp_path, pack):
    import tracemalloc

    data = struct.pack(">4BI", 0, 0, 8, 1, 10**9) + b"few"
    (tmp_path / "a").write_bytes(gzip.compress(data) if pack else data)
    tracemalloc.start()
    with pytest.raises(
        ValueError, match=r"claims shape \(1000000000,\), 1000000000 bytes, but only 3 follow"
    ):
        read_idx(tmp_path / "a")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000


def test_wrong_mnist_folders_are_named(tmp_path):
    images = np.zeros((3, 2, 2), np.uint8)
    labels = np.zeros(3, np.uint8)
    with pytest.raises(FileNotFoundError, match="MNIST: there is no train-images-idx3-ubyte .* in "):
        MNIST(tmp_path)
    with pytest.raises(ValueError, match="split must be 'train' or 'test', got 'dev'"):
        MNIST(tmp_path, "dev")
    write_mnist(tmp_path, images, labels[:2])
    with pytest.raises(ValueError, match="has 3 pictures, but .* has 2 labels"):
        MNIST(tmp_path)
    write_mnist(tmp_path, labels, labels)
    with pytest.raises(ValueError, match=r"must hold bytes with 3 axes, but has uint8 \(3,\)"):
        MNIST(tmp_path)


# ---------------------------------------------------------------------------------------------------------------------
# CIFAR-10


def write_cifar(path, images, labels):
    records = np.concatenate([np.array(labels, np.uint8)[:, None], images.reshape(len(images), -1)], axis=1)
    path.write_bytes(records.tobytes())


@pytest.fixture
def cifar(tmp_path):
    images = rng.integers(0, 256, (12, 3, 32, 32), dtype=np.uint8)
    for i in range(5):
        write_cifar(tmp_path / f"data_batch_{i + 1}.bin", images[2 * i : 2 * i + 2], [i, 9 - i])
    write_cifar(tmp_path / "test_batch.bin", images[10:], [3, 4])
    return tmp_path, images


def test_cifar_is_read(cifar):
    folder, images = cifar
    train = CIFAR10(folder)
    test = CIFAR10(folder, "test")
    assert len(train) == 10 and train.labels.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    assert same(train[5][0], images[5]) and train[5][1] == 7
    assert same(test[-1][0], images[11]) and test.names[test[-1][1]] == "deer"
    batch, labels = DataLoader(test, batch_size=2).batch(0, 0)
    assert batch.shape == (2, 3, 32, 32) and labels.dtype == np.int64
    (folder / "batches.meta.txt").write_text("\n".join("abcdefghij") + "\n\n")
    assert CIFAR10(folder).names == tuple("abcdefghij")
    (folder / "batches.meta.txt").write_text("a\nb\n")
    with pytest.raises(ValueError, match="must name 10 classes, but names 2"):
        CIFAR10(folder)


def test_wrong_cifar_folders_are_named(cifar):
    folder, images = cifar
    with pytest.raises(ValueError, match="split must be 'train' or 'test', got 'val'"):
        CIFAR10(folder, "val")
    path = folder / "data_batch_3.bin"
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(ValueError, match=rf"data_batch_3.bin has {len(data) - 1} bytes, .* records of 3073"):
        CIFAR10(folder)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="has 0 bytes"):
        CIFAR10(folder)
    write_cifar(path, images[:2], [1, 10])
    with pytest.raises(ValueError, match="record 1 has label 10"):
        CIFAR10(folder)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="there is no data_batch_3.bin in"):
        CIFAR10(folder)
    with pytest.raises(ValueError, match="is a file; unpack it"):
        CIFAR10(folder / "test_batch.bin")


def test_a_pickle_is_never_opened(cifar, tmp_path):
    folder, _ = cifar

    harmful = b"\x80\x04cos\nsystem\n(S'touch " + str(tmp_path / "touched").encode() + b"'\ntR."
    path = folder / "test_batch.bin"
    path.write_bytes(harmful)
    with pytest.raises(ValueError, match="is of the Python version, a pickle.*cifar-10-binary.tar.gz"):
        CIFAR10(folder, "test")
    path.rename(folder / "test_batch")
    with pytest.raises(ValueError, match="test_batch is of the Python version, a pickle"):
        CIFAR10(folder, "test")
    assert not (tmp_path / "touched").exists()


def test_a_file_that_is_too_long_is_not_read(cifar):
    folder, _ = cifar
    with open(folder / "test_batch.bin", "r+b") as file:
        file.truncate(3073 * math.ceil(2**30 / 3073))  # holes: it takes no room on the disk
    with pytest.raises(ValueError, match="more than the 1073741824 that are read"):
        CIFAR10(folder, "test")
