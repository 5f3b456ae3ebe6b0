"""COCO's lists are read as they are written, to the pixel; whatever is wrong in one is named.
Not here: run lengths (vision/test_masks), pictures (test_images)."""

import copy
import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minivis.data import DataLoader
from minivis.data._coco import Photo
from minivis.data._polygons import polygon_mask
from minivis.data.coco import CocoDetection, CocoPanoptic, _normalised, collate
from minivis.vision import id2rgb, rle_decode, rle_encode
from tests.data.png import png_file

rng = np.random.default_rng(0)
PIXELS = {
    "a.png": rng.integers(0, 256, (8, 10, 3), dtype=np.uint8),
    "sub/b.png": rng.integers(0, 256, (6, 7, 3), dtype=np.uint8),
}
DISC = np.hypot(*(np.mgrid[:8, :10] - 4)) < 3
LIST = {
    "info": {"year": 2017},
    "images": [
        {"id": 42, "file_name": "a.png", "height": 8, "width": 10},
        {"id": 7, "file_name": "sub/b.png", "height": 6, "width": 7},
    ],
    "categories": [{"id": 90, "name": "dog"}, {"id": 1, "name": "person"}, {"id": 17, "name": "cat"}],
    "annotations": [
        {"id": 5, "image_id": 42, "category_id": 17, "bbox": [1, 2, 4, 3], "iscrowd": 0,
         "segmentation": [[1, 2, 5, 2, 5, 5, 1, 5], [8, 0, 9, 0, 9, 1, 8, 1]]},
        {"id": 6, "image_id": 42, "category_id": 90, "bbox": [0.0, 0.0, 10.4, 8.0], "segmentation": rle_encode(DISC)},
        {"id": 8, "image_id": 42, "category_id": 1, "bbox": [0, 0, 2, 2], "iscrowd": 1,
         "segmentation": rle_encode(DISC, compressed=False)},
    ],
}  # fmt: skip
PANOPTIC = {
    "images": LIST["images"],
    "categories": [{"id": 3, "name": "sky", "isthing": 0}, {"id": 2, "name": "cat", "isthing": 1}],
    "annotations": [
        {"image_id": 7, "file_name": "b.png", "segments_info": []},
        {"image_id": 42, "file_name": "a.png",
         "segments_info": [{"id": 70000, "category_id": 2}, {"id": 300, "category_id": 3, "iscrowd": 1}]},
    ],
}  # fmt: skip
MAP = np.where(DISC, 70000, np.where(np.arange(8)[:, None] < 2, 300, 0))


@pytest.fixture
def folder(tmp_path):
    for name, pixels in PIXELS.items():
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "photos" / name)
    (tmp_path / "maps").mkdir()
    Image.fromarray(id2rgb(MAP)).save(tmp_path / "maps" / "a.png")
    Image.fromarray(np.zeros((6, 7, 3), np.uint8)).save(tmp_path / "maps" / "b.png")
    return tmp_path


def detection(folder, content=LIST, **options):
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "list.json").write_text(text)
    return CocoDetection(folder / "photos", folder / "list.json", **options)


def panoptic(folder, content=PANOPTIC, **options):
    (folder / "list.json").write_text(json.dumps(content))
    return CocoPanoptic(folder / "photos", folder / "maps", folder / "list.json", **options)


def test_a_detection_list_is_read(folder):
    dataset = detection(folder)
    assert len(dataset) == 2 and dataset.image_ids == (42, 7) and dataset.skipped == 0
    assert dataset.names == ("person", "cat", "dog") and dataset.category_ids == (1, 17, 90)
    assert dataset.label_of == {1: 0, 17: 1, 90: 2}
    image, target = dataset[0]
    assert image.dtype == np.float32
    assert np.array_equal(image, PIXELS["a.png"].transpose(2, 0, 1).astype(np.float32) / np.float32(255))
    assert (
        target["labels"].tolist() == [1, 2]
        and target["labels"].dtype == np.int64
        and target["image_id"] == 42
    )
    np.testing.assert_allclose(target["boxes"], [[0.3, 3.5 / 8, 0.4, 3 / 8], [0.5, 0.5, 1, 1]], rtol=1e-6)
    assert target["boxes"].dtype == np.float32 and target["masks"].dtype == bool
    union = np.zeros((8, 10), bool)
    union[2:5, 1:5] = union[0, 8] = True
    assert np.array_equal(target["masks"], [union, DISC])


def test_an_image_without_objects_has_empty_targets(folder):
    _, target = detection(folder)[1]
    shapes = {name: value.shape for name, value in target.items() if name != "image_id"}
    assert shapes == {"labels": (0,), "boxes": (0, 4), "masks": (0, 6, 7), "iscrowd": (0,), "area": (0,)}


def test_crowds_boxes_alone_and_samples_of_ones_own(folder):
    _, target = detection(folder, crowds=True)[0]
    assert target["labels"].tolist() == [1, 2, 0] and target["iscrowd"].tolist() == [False, False, True]
    assert np.array_equal(target["masks"][2], DISC)
    assert "masks" not in detection(folder, masks=False)[0][1]
    dataset = detection(folder, sample=lambda image, target: (len(target["labels"]), image.shape[1]))
    assert list(dataset) == [(2, 8), (0, 6)]


def test_batches_are_padded(folder):
    loader = DataLoader(detection(folder), batch_size=2, collate=collate)
    images, valid, targets = next(iter(loader))
    assert images.shape == (2, 3, 8, 10) and images.dtype == np.float32
    assert valid.sum(axis=(1, 2)).tolist() == [80, 42] and valid[1, :6, :7].all()
    assert np.array_equal(images[1, :, :6, :7], detection(folder)[1][0]) and not images[1][:, ~valid[1]].any()
    assert [target["masks"].shape for target in targets] == [(2, 8, 10), (0, 8, 10)]
    (images, valid, (target,)) = collate([detection(folder)[0]])
    np.testing.assert_array_equal(target["boxes"], detection(folder)[0][1]["boxes"])


def test_workers_read_the_same_batches(folder):
    for dataset in (detection(folder, crowds=True), panoptic(folder)):
        (images, valid, targets), (others, areas, again) = (
            next(iter(DataLoader(dataset, batch_size=2, collate=collate, workers=workers)))
            for workers in (0, 1)
        )
        np.testing.assert_array_equal(images, others)
        np.testing.assert_array_equal(valid, areas)
        for one, other in zip(targets, again, strict=True):
            assert one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


def test_polygons_are_filled_as_by_cocos_tools():
    rows = json.loads((Path(__file__).parent / "fixtures" / "polygons.json").read_text())
    wanted = [rle_decode(row) for row in rows]
    assert sum(mask.sum() for mask in wanted) > 2000
    for row, mask in zip(rows, wanted, strict=True):
        found = polygon_mask(np.reshape(row["polygon"], (-1, 2)), *row["size"])
        np.testing.assert_array_equal(found, mask, err_msg=str(row))


def test_a_list_on_upright_pictures_is_understood(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(PIXELS["a.png"])).save(folder / "photos" / "a.png", exif=exif)
    image, _ = detection(folder)[0]
    assert np.array_equal(image, PIXELS["a.png"].transpose(2, 0, 1).astype(np.float32) / np.float32(255))


def changed(content, *path_and_value):
    """A list with one thing changed (`...` takes it away)."""
    content = copy.deepcopy(content)
    *path, last, value = path_and_value
    place = content
    for step in path:
        place = place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return content


IMAGE, CATEGORY, THING = ("images", 0), ("categories", 0), ("annotations", 0)


@pytest.mark.parametrize(
    "path_and_value, words",
    [
        (("images", ...), "needs a list of objects named 'images', got None"),
        (("images", 1, None), "entry 1 of images is no object but None; invalid='skip' leaves it out"),
        (("annotations", {}), "needs a list of objects named 'annotations', got {}"),
        (("categories", 0, 3), "list of objects named 'categories'"),
        ((*IMAGE, "id", "42"), r"annotation 5 has image_id 42, which is not in the list \('42' is\)"),
        ((*IMAGE, "id", True), "an image needs a whole number or a text named 'id', got True"),
        ((*IMAGE, "id", 42.5), r"an image needs a whole number or a text named 'id', got 42\.5"),
        ((*IMAGE, "id", 7), "two entries have image id 7"),
        ((*CATEGORY, "id", 1), "two entries have category id 1"),
        ((*THING, "id", 6), "two entries have annotation id 6"),
        ((*THING, "id", [5]), r"annotation at place 0 needs a whole number or a text named 'id', got \[5\]"),
        ((*CATEGORY, "name", ...), "category 90 needs a text named 'name', got nothing"),
        ((*CATEGORY, "id", None), "a category needs a whole number or a text named 'id', got nothing"),
        ((*IMAGE, "height", 0), "image 42 has height 0 and width 10"),
        ((*IMAGE, "width", 10.5), r"image 42 needs a whole number named 'width', got 10\.5"),
        ((*IMAGE, "width", "10"), "image 42 needs a whole number named 'width', got '10'"),
        ((*IMAGE, "width", True), "image 42 needs a whole number named 'width', got True"),
        ((*IMAGE, "height", ...), "image 42 needs a whole number named 'height', got nothing"),
        ((*IMAGE, "height", 10**9), "image 42 has height 1000000000 and width 10; expected .* at most 80000000"),
        ((*IMAGE, "file_name", ...), "image 42 has file_name None, which is no file inside"),
        ((*IMAGE, "file_name", ""), "image 42 has file_name '', which is no file inside"),
        ((*IMAGE, "file_name", "../maps/a.png"), "image 42 has file_name '../maps/a.png', which is no file inside"),
        ((*IMAGE, "file_name", "sub/../../maps/a.png"), "which is no file inside"),
        ((*IMAGE, "file_name", "..\\maps\\a.png"), "which is no file inside"),
        ((*IMAGE, "file_name", "/etc/passwd"), "'/etc/passwd', which is no file inside"),
        ((*IMAGE, "file_name", "C:\\a.png"), "which is no file inside"),
        ((*IMAGE, "file_name", "a\0.png"), "which is no file inside"),
        ((*THING, "image_id", 99), "annotation 5 has image_id 99, which is not in the list"),
        ((*THING, "category_id", 2), "annotation 5 has category_id 2, which is not in the list"),
        ((*THING, "bbox", ...), r"annotation 5 of image 42: bbox must be four numbers .* got None"),
        ((*THING, "bbox", [1, 2, 3]), "bbox must be four numbers"),
        ((*THING, "bbox", [1, 2, 3, "4"]), "bbox must be four numbers"),
        ((*THING, "bbox", [1, 2, 3, float("nan")]), "bbox must be four numbers"),
        ((*THING, "bbox", [1, 2, 3, 10**400]), "bbox must be four numbers"),
        ((*THING, "bbox", [1, 2, 0, 3]), r"bbox \[1, 2, 0, 3\] has a width or height that is not above 0"),
        ((*THING, "bbox", [1, 2, 3, -3]), "not above 0; invalid='skip' leaves it out"),
        ((*THING, "bbox", [-3, 2, 4, 3]), r"leaves the image of 8 x 10 \(height x width\)"),
        ((*THING, "bbox", [1, 2, 4, 30]), "leaves the image of 8 x 10"),
        ((*THING, "bbox", [10.5, 2, 0.5, 2]), "has nothing within the image"),
        ((*THING, "bbox", [True, 2, 4, 3]), "bbox must be four numbers"),
        ((*THING, "iscrowd", "no"), r"annotation 5 needs 1 or 0 \(true or false\) named 'iscrowd', got 'no'"),
        ((*THING, "iscrowd", 2), "named 'iscrowd', got 2"),
        ((*THING, "iscrowd", []), r"named 'iscrowd', got \[\]"),
        ((*THING, "area", "12"), "annotation 5 of image 42 needs a number named 'area', got '12'"),
        ((*THING, "area", -1), "annotation 5 of image 42 has a negative area, -1"),
        ((*THING, "area", float("nan")), "named 'area', got nan"),
    ],
)  # fmt: skip
def test_a_wrong_list_is_refused_by_name(folder, path_and_value, words):
    with pytest.raises(ValueError, match=f"^CocoDetection: .*list.json.* .*{words}") as refused:
        detection(folder, changed(LIST, *path_and_value))
    assert str(refused.value).count("list.json") == 1


@pytest.mark.parametrize(
    "text, words",
    [("", "is no json"), ('{"images": [', "is no json"), ("[1]", "must hold an object .* holds a list"),
     ("[" * 200_000, "is no json"), ("\udcff", "is no json")],
)  # fmt: skip
def test_what_is_no_list_is_refused(folder, text, words):
    (folder / "list.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=f"CocoDetection: .*list.json {words}"):
        CocoDetection(folder / "photos", folder / "list.json")


@pytest.mark.parametrize(
    "segmentation, words",
    [
        (..., r"has no segmentation \(None\); masks=False"),
        ([], "has no segmentation"),
        ("5", "has no segmentation"),
        ([[1, 2, 3, 4]], "a polygon needs three or more x, y"),
        ([[1, 2, 3, 4, 5, 6, 7]], "a polygon needs three or more"),
        ([[1, 2, 3, 4, 5, "x"]], "a polygon needs three or more"),
        ([[1, 2, 3, 4, 5, 1e9]], "within twice the image"),
        ([[1, 2, 3, 4, 5, -21]], "within twice the image"),
        ([[1, 2, 3, 4, 5, 10**400]], "a polygon needs three or more"),
        ([[1, 2, 3, 4, 5, float("nan")]], "within twice the image"),
        ([[1, 2, 3, 4, "5", "6"]], "a polygon needs three or more x, y"),
        ([[[1, 2, 3], [4, 5, 6]]], "a polygon needs three or more x, y"),
        (["x"], "a polygon needs three or more x, y, got 'x'"),
        ([rle_encode(DISC)], "a polygon needs three or more x, y, got {'"),
        ([7], "a polygon needs three or more x, y"),
        ([[]], r"a polygon needs three or more x, y, got \[\]"),
        ([1, 2, 3, 4], "a polygon needs three or more x, y"),
        ([[1, 2, 3, 3, 5, 4, 2, 2.5]], "a polygon has no area, all corners of .* lie on one line"),
        ([[4, 4, 4, 4, 4, 4]], "a polygon has no area"),
        ([[1, 3, 5, 3, 2, 3]], "a polygon has no area"),
        ({"size": [8, 10]}, "broken run lengths: rle_decode: rle must be a dict"),
        ({"size": [8, 10], "counts": "P" * 300_000}, "broken run lengths: rle_decode: .* cut off"),
        ({"size": [8, 10], "counts": [3]}, "broken run lengths: rle_decode: .* sum to 3"),
        ({"size": [8, 10], "counts": ["a"]}, "broken run lengths"),
        ({"size": [8, 10], "counts": 80}, "broken run lengths"),
        ({"size": [10, 8], "counts": [80]}, r"run lengths of size \[10, 8\], the image is \[8, 10\]"),
        ({"size": [10**6, 10**6], "counts": [10**12]}, r"run lengths of size \[1000000, 1000000\]"),
        ({"counts": [80]}, "run lengths of size None"),
    ],
)  # fmt: skip
def test_a_wrong_mask_is_refused_when_the_list_is_read(folder, segmentation, words):
    content = changed(LIST, *THING, "segmentation", segmentation)
    with pytest.raises(
        ValueError, match=f"^CocoDetection: .*annotation 5 of image 42.*{words}.*'skip' leaves it"
    ):
        detection(folder, content)
    assert len(detection(folder, content, masks=False)[0][1]["boxes"]) == 2
    with pytest.warns(UserWarning, match=f"1 entry is left out .*{words}"):
        dataset = detection(folder, content, invalid="skip")
    assert dataset[0][1]["labels"].tolist() == [2] and dataset[0][1]["masks"].shape == (1, 8, 10)


def test_missing_or_other_pictures_are_named(folder):
    gone = changed(LIST, *IMAGE, "file_name", "c.png")
    with pytest.raises(
        FileNotFoundError, match=r"1 of 2 pictures of .*list.json are missing.* is .*photos.c\.png"
    ):
        detection(folder, gone)
    with pytest.raises(FileNotFoundError, match="nothing.json"):
        CocoDetection(folder, folder / "nothing.json")
    with pytest.raises(
        ValueError, match=r"a.png has 8 x 10 pixels, but the list says 9 x 10 \(height x width\)"
    ):
        detection(folder, changed(LIST, *IMAGE, "height", 9), masks=False)[0]
    with pytest.raises(IndexError, match="samples 0 to 1, got 2"):
        detection(folder)[2]


# ---------------------------------------------------------------------------------------------------------------------
# What is written in other ways


@pytest.mark.parametrize(
    "path_and_value",
    [
        (*IMAGE, "width", 10.0),
        (*IMAGE, "id", 42.0),
        (*THING, "id", "c33c-01"),
        (*THING, "id", ...),
        (*THING, "id", None),
        (*THING, "id", 5.0),
        (*THING, "category_id", 17.0),
        (*THING, "iscrowd", ...),
        (*THING, "iscrowd", None),
        (*THING, "iscrowd", False),
        (*THING, "iscrowd", 0.0),
        (*THING, "iscrowd", "0"),
        (*THING, "iscrowd", "False"),
        (*THING, "area", None),
        ("annotations", 1, "segmentation", "size", [8.0, 10.0]),
    ],
)
def test_the_same_list_in_other_words(folder, path_and_value):
    wanted = detection(folder)[0]
    found = detection(folder, changed(LIST, *path_and_value))[0]
    np.testing.assert_array_equal(found[0], wanted[0])
    assert found[1].keys() == wanted[1].keys() and type(found[1]["image_id"]) is int
    for key, value in wanted[1].items():
        np.testing.assert_array_equal(found[1][key], value, err_msg=key)


def test_a_crowd_is_one_whatever_it_is_written_as(folder):
    for written in (1, True, "1", "true", 1.0):
        content = changed(LIST, *THING, "iscrowd", written)
        assert detection(folder, content)[0][1]["labels"].tolist() == [2]
        assert detection(folder, content, crowds=True)[0][1]["iscrowd"].tolist() == [True, False, True]


def test_ids_may_be_texts(folder):
    content = copy.deepcopy(LIST)
    for entry in content["images"] + content["annotations"] + content["categories"]:
        for key in {"id", "image_id", "category_id"} & entry.keys():
            entry[key] = f"n{entry[key]:03}"
    dataset = detection(folder, content)
    assert dataset.image_ids == ("n042", "n007") and dataset.category_ids == ("n001", "n017", "n090")
    assert dataset[0][1]["labels"].tolist() == [1, 2] and dataset[0][1]["image_id"] == "n042"
    content["annotations"][0]["image_id"] = 42
    with pytest.raises(ValueError, match="annotation 'n005' has image_id 42, which is not in the list"):
        detection(folder, content)


def test_a_polygon_may_be_written_without_its_brackets_or_in_pairs(folder):
    wanted = detection(folder, changed(LIST, *THING, "segmentation", [[1, 2, 5, 2, 5, 5, 1, 5]]))[0][1][
        "masks"
    ]
    assert wanted[0].sum() == 12
    for written in ([1, 2, 5, 2, 5, 5, 1, 5], [[[1, 2], [5, 2], [5, 5], [1, 5]]]):
        found = detection(folder, changed(LIST, *THING, "segmentation", written))[0][1]["masks"]
        np.testing.assert_array_equal(found, wanted)


def test_a_list_of_test_photos_has_no_annotations(folder):
    dataset = detection(folder, changed(LIST, "annotations", ...))
    assert [target["labels"].shape for _, target in dataset] == [(0,), (0,)]
    content = {("anotations" if key == "annotations" else key): value for key, value in LIST.items()}
    with pytest.raises(ValueError, match="list.json has 'anotations'; did you mean 'annotations'"):
        detection(folder, content)


def test_the_area_is_that_of_the_file_or_else_of_the_mask_or_box(folder):
    areas = [detection(folder, masks=masks, crowds=True)[0][1]["area"].tolist() for masks in (True, False)]
    # two polygons of 12 pixels and 1, and boxes of 4 x 3, 8 x 10 and 2 x 2
    assert areas == [[13, DISC.sum(), DISC.sum()], [12, 80, 4]]
    content = changed(LIST, *THING, "area", 900.5)
    assert detection(folder, content)[0][1]["area"].tolist() == [900.5, DISC.sum()]
    assert detection(folder, changed(LIST, *THING, "area", 0))[0][1]["area"][0] == 0


LARGE_DISC = np.hypot(*(np.mgrid[:80, :120] - 40)) < 30


def large_list():
    """A photo of 80 x 120 pixels with a polygon and a disc."""
    content = copy.deepcopy(LIST)
    content["images"] = [{"id": 42, "file_name": "large.png", "height": 80, "width": 120}]
    square = {"category_id": 17, "bbox": [20, 10, 40, 50], "segmentation": [[20, 10, 60, 10, 60, 60, 20, 60]]}
    disc = {"category_id": 1, "bbox": [11, 11, 59, 59], "segmentation": rle_encode(LARGE_DISC)}
    content["annotations"] = [{"image_id": 42, **square}, {"image_id": 42, **disc}]
    return content


@pytest.mark.parametrize(("size", "shape"), [(20, (20, 30)), ((16, 60), (16, 60)), (100, (100, 150))])
def test_photos_and_masks_have_the_size_that_is_asked_for(folder, size, shape):
    pixels = np.repeat(LARGE_DISC[..., None], 3, axis=2)
    Image.fromarray((pixels * 255).astype(np.uint8)).save(folder / "photos" / "large.png")
    whole = detection(folder, large_list())[0]
    image, target = detection(folder, large_list(), size=size)[0]
    assert image.shape == (3, *shape) and target["masks"].shape == (2, *shape)
    np.testing.assert_array_equal(target["boxes"], whole[1]["boxes"])
    scale = shape[0] * shape[1] / (80 * 120)
    # the areas stay those of the photo in its own size
    np.testing.assert_allclose(target["area"], [40 * 50, LARGE_DISC.sum()], rtol=0.06)
    np.testing.assert_allclose(target["masks"].sum(axis=(1, 2)) / scale, target["area"])
    y, x = ((np.arange(side) + 0.5) * full / side for side, full in zip(shape, (80, 120), strict=True))
    inside = (y[:, None] > 10) & (y[:, None] < 60) & (x > 20) & (x < 60)
    assert (target["masks"][0] == inside).mean() > 0.97
    assert ((image[0] > 0.5) == target["masks"][1]).mean() > 0.97
    area = detection(folder, changed(large_list(), "annotations", 0, "area", 900.5), size=size)[0][1]["area"]
    assert area[0] == 900.5


def test_a_size_makes_masks_fit_into_memory(folder, monkeypatch):
    monkeypatch.setattr("minivis.data._coco.MOST_MASK_BYTES", 2 * 80 * 120 - 1)
    Image.fromarray(np.zeros((80, 120, 3), np.uint8)).save(folder / "photos" / "large.png")
    with pytest.raises(ValueError, match="2 objects of 80 x 120 pixels: .* and a size makes them smaller"):
        detection(folder, large_list())
    assert detection(folder, large_list(), size=40)[0][1]["masks"].shape == (2, 40, 60)


# ---------------------------------------------------------------------------------------------------------------------
# What is left out


def skipped(folder, content, words, **options):
    with pytest.warns(UserWarning, match=words) as told:
        dataset = detection(folder, content, invalid="skip", **options)
    assert len(told) == 1 and dataset.skipped == len(dataset.left_out)
    assert all(why in str(told[0].message) for why in dataset.left_out[:3])
    return dataset


@pytest.mark.parametrize(
    "path_and_value, labels, why",
    [
        ((*THING, "bbox", [1, 2, 0, 3]), [2], "annotation 5 of image 42: bbox .* not above 0"),
        ((*THING, "bbox", []), [2], "bbox must be four numbers"),
        (("annotations", 0, None), [2], "entry 0 of annotations is no object but None"),
        ((*THING, "category_id", 0), [2], "annotation 5 has category_id 0"),
        ((*THING, "image_id", 99), [2], "annotation 5 has image_id 99"),
        ((*THING, "iscrowd", "maybe"), [2], "'maybe'"),
        ((*THING, "area", -3), [2], "negative area"),
        (("annotations", 1, "id", 5), [1], "two entries have annotation id 5"),
        (("annotations", 1, "segmentation", "counts", "1"), [1], "annotation 6 of image 42 has broken run lengths"),
        ((*THING, "segmentation", []), [2], "no segmentation"),
    ],
)  # fmt: skip
def test_a_wrong_entry_can_be_left_out(folder, path_and_value, labels, why):
    dataset = skipped(
        folder, changed(LIST, *path_and_value), f"list.json: 1 entry is left out .*: {why}|{why}"
    )
    assert dataset[0][1]["labels"].tolist() == labels and len(dataset) == 2


def test_of_an_object_only_the_wrong_polygons_are_left_out(folder):
    content = changed(
        LIST, *THING, "segmentation", [[14, 14, 16, 16], [1, 2, 5, 2, 5, 5, 1, 5], [3, 3, 3, 3, 3, 3]]
    )
    dataset = skipped(folder, content, "2 entries are left out")
    target = dataset[0][1]
    assert target["labels"].tolist() == [1, 2] and target["masks"][0].sum() == 12
    assert [why.split(":")[0] for why in dataset.left_out] == ["annotation 5 of image 42"] * 2


@pytest.mark.parametrize(
    "path_and_value, why",
    [
        ((*IMAGE, "file_name", "c.png"), "image 42: there is no file .*c.png"),
        ((*IMAGE, "file_name", "n" * 300), "image 42: there is no file"),
        ((*IMAGE, "file_name", "\ud800.png"), "image 42: there is no file"),
        ((*IMAGE, "file_name", "../a.png"), "image 42 has file_name '../a.png', which is no file inside"),
        ((*IMAGE, "file_name", 3), "image 42 has file_name 3"),
        ((*IMAGE, "width", 0), "image 42 has height 8 and width 0"),
        ((*IMAGE, "height", None), "image 42 needs a whole number named 'height'"),
    ],
)
def test_a_wrong_picture_is_left_out_with_its_objects(folder, path_and_value, why):
    dataset = skipped(folder, changed(LIST, *path_and_value), f"1 entry is left out .*: {why}")
    assert dataset.image_ids == (7,) and dataset[0][0].shape == (3, 6, 7)


def test_a_list_of_which_no_picture_is_left_is_refused(folder):
    content = changed(changed(LIST, *IMAGE, "file_name", "c.png"), "images", 1, "file_name", "d.png")
    with pytest.raises(FileNotFoundError, match="2 of 2 pictures of .* are missing"):
        detection(folder, content, invalid="skip")
    content = changed(changed(LIST, *IMAGE, "width", 0), "images", 1, "width", 0)
    with pytest.raises(
        ValueError, match="list.json: no image is left of 2: image 42 has height 8 and width 0"
    ):
        detection(folder, content, invalid="skip")


def test_many_reasons_are_counted(folder):
    content = copy.deepcopy(LIST)
    content["annotations"] += [{"id": 100 + i, "image_id": 7, "category_id": 1, "bbox": []} for i in range(9)]
    dataset = skipped(
        folder, content, "9 entries are left out .*annotation 100 .*annotation 102 .*; and 6 more"
    )
    assert dataset.skipped == 9 and len(dataset[0][1]["labels"]) == 2


def test_a_crowd_that_is_not_asked_for_is_not_checked(folder):
    content = changed(changed(LIST, "annotations", 2, "bbox", []), "annotations", 2, "segmentation", [])
    assert detection(folder, content)[0][1]["labels"].tolist() == [1, 2]
    with pytest.raises(ValueError, match="annotation 8 of image 42: bbox must be four numbers"):
        detection(folder, content, crowds=True)
    assert skipped(folder, content, "annotation 8", crowds=True)[0][1]["labels"].tolist() == [1, 2]


def test_what_to_do_about_wrong_entries_is_one_of_two(folder):
    with pytest.raises(ValueError, match="invalid must be 'error' or 'skip', got 'drop'"):
        detection(folder, invalid="drop")


# ---------------------------------------------------------------------------------------------------------------------
# Claims


def test_masks_of_a_mere_claim_are_never_made(folder):
    import tracemalloc

    content = copy.deepcopy(LIST)
    content["images"][1] |= {"height": 8000, "width": 10_000}
    square = {"image_id": 7, "category_id": 1, "bbox": [0, 0, 9, 9], "segmentation": [[0, 0, 9, 0, 9, 9]]}
    content["annotations"] += [square] * 12
    dataset = detection(folder, content)
    tracemalloc.start()
    with pytest.raises(ValueError, match="b.png has 6 x 7 pixels, but the list says 8000 x 10000"):
        dataset[1]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10**6
    # 14 masks of 80 million pixels are more than 1 GB, whatever the picture is
    content["annotations"] += [square] * 2
    with pytest.raises(
        ValueError, match="image 7 has 14 objects of 8000 x 10000 pixels: .* masks=False does without"
    ):
        detection(folder, content)
    assert len(detection(folder, content, masks=False)) == 2
    assert skipped(folder, content, "image 7 has 14 objects").image_ids == (42,)


def test_boxes_never_leave_their_photo_by_a_last_digit():
    draw = np.random.default_rng(3)
    leaves = 0
    for width in draw.integers(2, 5000, 300).tolist():
        x0, x1 = np.sort(draw.integers(0, width + 1, 2))
        x1 = max(x1, x0 + 1)
        box = _normalised([(x0, 0, x1, 1)], Photo(1, None, 1, int(max(width, x1))))[0].astype(float)
        low = box[0] - box[2] / 2
        high = box[0] + box[2] / 2
        sides = x0 / max(width, x1), x1 / max(width, x1)
        assert box.dtype == float and sides[0] <= low and high <= sides[1]
        np.testing.assert_allclose([low, high], sides, atol=2e-7)
        nearest = np.float32([sum(sides) / 2, sides[1] - sides[0]]).astype(float)
        leaves += nearest[0] + nearest[1] / 2 > sides[1]
    assert leaves > 50  # what rounding to the nearest would do


# ---------------------------------------------------------------------------------------------------------------------
# Which way up boxes were measured


TURNS = {2: lambda x: x[:, ::-1], 3: lambda x: x[::-1, ::-1], 4: lambda x: x[::-1], 5: lambda x: x.transpose(1, 0, 2),
         6: lambda x: np.rot90(x), 7: lambda x: x[::-1, ::-1].transpose(1, 0, 2), 8: lambda x: np.rot90(x, -1)}  # fmt: skip


def photo_and_list(folder, stored, orientation, height, width):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(folder / "photos" / "a.png", exif=exif)
    content = changed(changed(LIST, *IMAGE, "height", height), *IMAGE, "width", width)
    return content | {"annotations": []}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("height, width", [(8, 10), (9, 9)])
def test_a_list_is_of_upright_photos_unless_its_sizes_or_its_reader_say_otherwise(
    folder, orientation, height, width
):
    shown = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    content = photo_and_list(folder, TURNS[orientation](shown), orientation, height, width)
    same = np.array_equal(
        detection(folder, content)[0][0], shown.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    )
    assert same
    stored = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    content = photo_and_list(folder, stored, orientation, height, width)
    tells = orientation >= 5 and height != width  # as shown, its sides would be the other way round
    image = detection(folder, content, upright=tells)[0][0]
    assert np.array_equal(image, stored.transpose(2, 0, 1).astype(np.float32) / np.float32(255))


# ---------------------------------------------------------------------------------------------------------------------
# Panoptic maps


def test_a_panoptic_list_is_read(folder):
    dataset = panoptic(folder, crowds=True)
    assert (
        dataset.names == ("cat", "sky")
        and dataset.category_ids == (2, 3)
        and dataset.things.tolist() == [True, False]
    )
    image, target = dataset[0]
    assert image.shape == (3, 8, 10) and target["image_id"] == 42
    assert target["labels"].tolist() == [0, 1] and target["iscrowd"].tolist() == [False, True]
    assert np.array_equal(target["masks"], [MAP == 70000, MAP == 300]) and np.array_equal(
        target["panoptic"], MAP
    )
    np.testing.assert_allclose(
        target["boxes"], [[0.45, 4.5 / 8, 0.5, 5 / 8], [0.5, 1 / 8, 1, 2 / 8]], rtol=1e-6
    )
    assert target["segments"] == [
        {"id": 70000, "category_id": 0, "isthing": True, "iscrowd": False, "area": int((MAP == 70000).sum())},
        {"id": 300, "category_id": 1, "isthing": False, "iscrowd": True, "area": int((MAP == 300).sum())},
    ]
    assert target["area"].tolist() == [(MAP == 70000).sum(), (MAP == 300).sum()]
    assert dataset[1][1]["masks"].shape == (0, 6, 7) and dataset[1][1]["boxes"].shape == (0, 4)
    assert len(next(iter(DataLoader(dataset, batch_size=2, collate=collate)))[2]) == 2


def test_crowds_are_no_objects_unless_they_are_asked_for(folder):
    with_crowds = panoptic(folder, crowds=True)[0][1]
    target = panoptic(folder)[0][1]
    assert target["labels"].tolist() == [0] and target["iscrowd"].tolist() == [False]
    assert np.array_equal(target["masks"], [MAP == 70000]) and target["boxes"].shape == (1, 4)
    assert target["area"].shape == (1,) and target["segments"] == with_crowds["segments"]
    assert np.array_equal(target["panoptic"], MAP)
    bare = panoptic(folder, masks=False)[0][1]
    assert "masks" not in bare and np.array_equal(bare["boxes"], target["boxes"])


INFO = ("annotations", 1, "segments_info")


@pytest.mark.parametrize(
    "path_and_value, words",
    [
        (("annotations", 0, "image_id", 42), "image 42 has two annotations"),
        (("annotations", 0, "image_id", 8), "an annotation has image_id 8, which is not in the list"),
        (("annotations", [LIST["annotations"][0]]), "the annotation of image 42 has file_name None"),
        (("annotations", 1, "file_name", "../photos/a.png"), "which is no file inside"),
        ((*INFO, None), "the annotation of image 42 needs a list of objects named 'segments_info', got nothing"),
        ((*INFO, 0, "id", 300), "segment id 300 is there twice or not within"),
        ((*INFO, 0, "id", 0), "segment id 0 is there twice or not within 1 to 16777215"),
        ((*INFO, 0, "id", 2**24), "segment id 16777216 is"),
        ((*INFO, 0, "id", 1.5), r"a segment of the annotation of image 42 needs a whole number named 'id', got 1\.5"),
        ((*INFO, 0, "category_id", 9), "segment 70000 of the annotation of image 42 has category_id 9"),
        ((*INFO, 1, "iscrowd", "yes"), "segment 300 of the annotation of image 42 needs 1 or 0 .* got 'yes'"),
        ((*INFO, 0, "area", 0), "segment 70000 of the annotation of image 42 has area 0: no pixel shows it"),
        (("annotations", 1, ...), "image 42 has no annotation"),
        (("annotations", ...), "needs a list of objects named 'annotations', got None"),
        (("categories", 0, "isthing", ...), r"category 3 needs 1 or 0 \(true or false\) named 'isthing', got nothing"),
        (("categories", 0, "isthing", 7), "named 'isthing', got 7"),
    ],
)  # fmt: skip
def test_a_wrong_panoptic_list_is_refused_by_name(folder, path_and_value, words):
    with pytest.raises(ValueError, match=f"^CocoPanoptic: .*list.json.* .*{words}") as refused:
        panoptic(folder, changed(PANOPTIC, *path_and_value))
    assert str(refused.value).count("list.json") == 1


def test_isthing_is_read_by_name(folder):
    for yes, no in [(1, 0), (True, False), ("1", "0"), ("true", "false")]:
        content = changed(changed(PANOPTIC, "categories", 0, "isthing", no), "categories", 1, "isthing", yes)
        assert panoptic(folder, content).things.tolist() == [True, False]


@pytest.mark.parametrize(
    "path_and_value, images, why",
    [
        (("annotations", 1, "file_name", "c.png"), (7,), "image 42: there is no map .*c.png"),
        (("annotations", 1, "segments_info", None), (7,), "the annotation of image 42 needs a list"),
        (("annotations", 1, ...), (7,), "image 42 has no annotation"),
        (("annotations", 1, "image_id", 7), (7,), "image 7 has two annotations; image 42 has no annotation"),
        (("images", 0, "file_name", "c.png"), (7,), "image 42: there is no file .*c.png"),
        (
            (*INFO, 1, "category_id", 9),
            (42, 7),
            "segment 300 of the annotation of image 42 has category_id 9",
        ),
        ((*INFO, 1, "area", 0), (42, 7), "segment 300 of the annotation of image 42 has area 0"),
    ],
)
def test_wrong_entries_of_a_panoptic_list_can_be_left_out(folder, path_and_value, images, why):
    with pytest.warns(UserWarning, match=f"left out .*{why}") as told:
        dataset = panoptic(folder, changed(PANOPTIC, *path_and_value), invalid="skip")
    assert dataset.image_ids == images and len(told) == 1 and dataset.skipped == len(dataset.left_out)
    for _, target in dataset:
        numbers = {segment["id"] for segment in target["segments"]}
        assert set(np.unique(target["panoptic"]).tolist()) - {0} == numbers


def test_segments_of_the_list_or_the_map_alone_can_be_left_out(folder):
    info = [*PANOPTIC["annotations"][1]["segments_info"][:1], {"id": 9, "category_id": 3}]
    target = panoptic(folder, changed(PANOPTIC, *INFO, info), invalid="skip")[0][1]
    assert [segment["id"] for segment in target["segments"]] == [70000] and target["labels"].tolist() == [0]
    assert np.array_equal(target["panoptic"], np.where(MAP == 70000, 70000, 0))


def test_a_map_with_16_bits_is_refused_rather_than_clipped(folder):
    grey = np.where(MAP == 300, 26001, 7).astype(np.uint16)
    Image.fromarray(grey).save(folder / "maps" / "a.png")
    with pytest.raises(ValueError, match="a.png has 16 bits a colour; a panoptic map has 8"):
        panoptic(folder)[0]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in id2rgb(MAP).astype(np.uint16))
    (folder / "maps" / "a.png").write_bytes(png_file(10, 8, 16, 2, rows))
    with pytest.raises(ValueError, match="a.png has 16 bits a colour"):
        panoptic(folder)[0]


def test_thousands_of_segments_on_a_small_file_are_bounded(folder):
    """300 segments of one pixel, but 4 million pixels each: masks of 1.2 GB from a file of a few kilobytes."""
    height = width = 2000
    numbers = np.zeros((height, width), np.int32)
    numbers[0, :300] = np.arange(1, 301)
    Image.fromarray(id2rgb(numbers)).save(folder / "maps" / "a.png")
    Image.new("RGB", (width, height)).save(folder / "photos" / "a.png")
    content = changed(changed(PANOPTIC, *IMAGE, "height", height), *IMAGE, "width", width)
    content = changed(content, *INFO, [{"id": n, "category_id": 2} for n in range(1, 301)])
    with pytest.raises(
        ValueError, match="image 42 has 300 objects of 2000 x 2000 pixels: .* masks=False does without"
    ):
        panoptic(folder, content)
    start = time.process_time()
    target = panoptic(folder, content, masks=False)[0][1]
    assert time.process_time() - start < 5
    assert target["area"].tolist() == [1] * 300
    np.testing.assert_allclose(target["boxes"][:, 0], (np.arange(300) + 0.5) / width, atol=1e-7)


def test_a_map_that_does_not_fit_its_list_is_refused(folder):
    with pytest.raises(ValueError, match="segment 5 is in the list but not the map; invalid='skip'"):
        panoptic(folder, changed(PANOPTIC, "annotations", 0, "segments_info", [{"id": 5, "category_id": 2}]))[
            1
        ]
    with pytest.raises(ValueError, match="segment 300 is in the map but not the list"):
        panoptic(folder, changed(PANOPTIC, *INFO, 1, ...))[0]
    Image.fromarray(id2rgb(MAP[:, 1:])).save(folder / "maps" / "a.png")
    with pytest.raises(ValueError, match="a.png has 8 x 9 pixels, but the list says 8 x 10"):
        panoptic(folder)[0]
    (folder / "maps" / "a.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="CocoPanoptic: .*a.png is no picture"):
        panoptic(folder)[0]
    (folder / "maps" / "a.png").unlink()
    with pytest.raises(
        FileNotFoundError, match="1 of 2 maps of .*list.json are missing, the first is .*a.png, of image 42"
    ):
        panoptic(folder)
