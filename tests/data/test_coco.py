"""COCO's lists are read as they are written, to the pixel; whatever is wrong in one is named.
Not here: run lengths (vision/test_masks), pictures (test_images)."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minivis.data import DataLoader
from minivis.data._polygons import polygon_mask
from minivis.data.coco import CocoDetection, CocoPanoptic, collate
from minivis.vision import id2rgb, rle_decode, rle_encode

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


def panoptic(folder, content=PANOPTIC):
    (folder / "list.json").write_text(json.dumps(content))
    return CocoPanoptic(folder / "photos", folder / "maps", folder / "list.json")


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
    assert shapes == {"labels": (0,), "boxes": (0, 4), "masks": (0, 6, 7), "iscrowd": (0,)}


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


def test_invalid_boxes_can_be_left_out(folder):
    content = copy.deepcopy(LIST)
    content["annotations"][0]["bbox"] = [1, 2, 0, 3]
    dataset = detection(folder, content, invalid="skip")
    assert dataset.skipped == 1 and dataset[0][1]["labels"].tolist() == [2]
    with pytest.raises(ValueError, match="invalid must be 'error' or 'skip', got 'drop'"):
        detection(folder, invalid="drop")


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
        (("images", ...), "list of objects named 'images'"),
        (("annotations", {}), "list of objects named 'annotations'"),
        (("categories", 0, 3), "list of objects named 'categories'"),
        ((*IMAGE, "id", "42"), "image needs a whole number 'id', got '42'"),
        ((*IMAGE, "id", True), "image needs a whole number 'id', got True"),
        ((*IMAGE, "id", 7), "two entries have image id 7"),
        ((*CATEGORY, "id", 1), "two entries have category id 1"),
        ((*THING, "id", 6), "two entries have annotation id 6"),
        ((*THING, "id", ...), "an annotation needs a whole number 'id', got None"),
        ((*CATEGORY, "name", ...), "category 90 has no name"),
        ((*IMAGE, "height", 0), "image 42 has height 0 and width 10"),
        ((*IMAGE, "width", 10.0), r"image 42 has height 8 and width 10\.0"),
        ((*IMAGE, "height", ...), "image 42 has height None"),
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
        ((*THING, "bbox", ...), r"annotation 5 \(image 42\): bbox must be four numbers .* got None"),
        ((*THING, "bbox", [1, 2, 3]), "bbox must be four numbers"),
        ((*THING, "bbox", [1, 2, 3, "4"]), "bbox must be four numbers"),
        ((*THING, "bbox", [1, 2, 3, float("nan")]), "bbox must be four numbers"),
        ((*THING, "bbox", [1, 2, 3, 10**400]), "bbox must be four numbers"),
        ((*THING, "bbox", [1, 2, 0, 3]), r"bbox \[1, 2, 0, 3\] has a width or height that is not above 0"),
        ((*THING, "bbox", [1, 2, 3, -3]), "not above 0; invalid='skip' leaves it out"),
        ((*THING, "bbox", [-3, 2, 4, 3]), r"leaves the image of 8 x 10 \(height x width\)"),
        ((*THING, "bbox", [1, 2, 4, 30]), "leaves the image of 8 x 10"),
        ((*THING, "bbox", [10.5, 2, 0.5, 2]), "has nothing within the image"),
    ],
)  # fmt: skip
def test_a_wrong_list_is_refused_by_name(folder, path_and_value, words):
    with pytest.raises(ValueError, match=f"CocoDetection: .*{words}"):
        detection(folder, changed(LIST, *path_and_value))


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
        (..., r"annotation 5 has no segmentation \(None\); masks=False"),
        ([], "has no segmentation"),
        ("5", "has no segmentation"),
        ([[1, 2, 3, 4]], "a polygon needs three or more x, y"),
        ([[1, 2, 3, 4, 5, 6, 7]], "a polygon needs three or more"),
        ([[1, 2, 3, 4, 5, "x"]], "a polygon needs three or more"),
        ([[1, 2, 3, 4, 5, 1e9]], "within twice the image"),
        ([[1, 2, 3, 4, 5, 10**400]], "a polygon needs three or more"),
        ([[1, 2, 3, 4, 5, float("nan")]], "within twice the image"),
        ({"size": [8, 10]}, "annotation 5 has broken run lengths"),
        ({"size": [8, 10], "counts": [3]}, "broken run lengths: rle_decode: .* sum to 3"),
        ({"size": [8, 10], "counts": ["a"]}, "broken run lengths"),
        ({"size": [8, 10], "counts": 80}, "broken run lengths"),
        ({"size": [10, 8], "counts": [80]}, r"run lengths of size \[10, 8\], the image is \[8, 10\]"),
        ({"size": [10**6, 10**6], "counts": [10**12]}, r"run lengths of size \[1000000, 1000000\]"),
        ({"counts": [80]}, "run lengths of size None"),
    ],
)  # fmt: skip
def test_a_wrong_mask_is_refused_when_it_is_asked_for(folder, segmentation, words):
    dataset = detection(folder, changed(LIST, *THING, "segmentation", segmentation))
    with pytest.raises(ValueError, match=f"CocoDetection: .*{words}"):
        dataset[0]
    assert (
        len(
            detection(folder, changed(LIST, *THING, "segmentation", segmentation), masks=False)[0][1]["boxes"]
        )
        == 2
    )


def test_missing_or_other_pictures_are_named(folder):
    with pytest.raises(FileNotFoundError, match=r"1 of 2 pictures are missing, the first is .*photos.c\.png"):
        detection(folder, changed(LIST, *IMAGE, "file_name", "c.png"))
    with pytest.raises(FileNotFoundError, match="nothing.json"):
        CocoDetection(folder, folder / "nothing.json")
    with pytest.raises(ValueError, match="a.png has 8 x 10 pixels, but the list says 9 x 10"):
        detection(folder, changed(LIST, *IMAGE, "height", 9), masks=False)[0]
    with pytest.raises(IndexError, match="samples 0 to 1, got 2"):
        detection(folder)[2]


def test_a_panoptic_list_is_read(folder):
    dataset = panoptic(folder)
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
    assert dataset[1][1]["masks"].shape == (0, 6, 7) and dataset[1][1]["boxes"].shape == (0, 4)
    assert len(next(iter(DataLoader(dataset, batch_size=2, collate=collate)))[2]) == 2


INFO = ("annotations", 1, "segments_info")


@pytest.mark.parametrize(
    "path_and_value, words",
    [
        (("annotations", 0, "image_id", 42), "image 42 has two annotations"),
        (("annotations", 0, "image_id", 8), "an annotation has image_id 8, which is not in the list"),
        (("annotations", [LIST["annotations"][0]]), "the annotation of image 42 has file_name None"),
        (("annotations", 1, "file_name", "../photos/a.png"), "which is no file inside"),
        ((*INFO, None), "the annotation of image 42 needs a list segments_info"),
        ((*INFO, 0, "id", 300), "segment id 300 is there twice or not within"),
        ((*INFO, 0, "id", 0), "segment id 0 is there twice or not within 1 to 16777215"),
        ((*INFO, 0, "id", 2**24), "segment id 16777216 is"),
        ((*INFO, 0, "id", 1.5), r"needs a whole number 'id', got 1\.5"),
        ((*INFO, 0, "category_id", 9), "segment 70000 of the annotation of image 42 has category_id 9"),
        (("annotations", 1, ...), "1 images have no annotation, the first is image 42"),
    ],
)  # fmt: skip
def test_a_wrong_panoptic_list_is_refused_by_name(folder, path_and_value, words):
    with pytest.raises(ValueError, match=f"CocoPanoptic: .*{words}"):
        panoptic(folder, changed(PANOPTIC, *path_and_value))


def test_a_map_that_does_not_fit_its_list_is_refused(folder):
    with pytest.raises(ValueError, match="1 segments do not match; 5 is in the list but not the map"):
        panoptic(folder, changed(PANOPTIC, "annotations", 0, "segments_info", [{"id": 5, "category_id": 2}]))[
            1
        ]
    with pytest.raises(ValueError, match="1 segments do not match; 300 is in the map but not the list"):
        panoptic(folder, changed(PANOPTIC, *INFO, 1, ...))[0]
    Image.fromarray(id2rgb(MAP[:, 1:])).save(folder / "maps" / "a.png")
    with pytest.raises(ValueError, match=r"a.png is \(8, 9\), but the list says 8 x 10"):
        panoptic(folder)[0]
    (folder / "maps" / "a.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="CocoPanoptic: .*a.png is no picture"):
        panoptic(folder)[0]
    (folder / "maps" / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match="there is no .*a.png, the map of image 42"):
        panoptic(folder)
