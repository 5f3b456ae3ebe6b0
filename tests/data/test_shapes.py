"""Generated scenes: everything a scene promises, over many of them; splits that share nothing; films."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivis.data import DataLoader, _drawing, shapes

SCENES = [shapes.scene(seed) for seed in range(200)]


@given(st.integers(0, 2**31), st.sampled_from([64, (32, 57), (90, 41)]))
def test_labels_agree_with_one_another(seed, size):
    s = shapes.scene(seed, size)
    n = len(s.labels)
    (height, width) = s.image.shape[1:]
    assert (height, width) == (size if isinstance(size, tuple) else (size, size))
    assert s.image.dtype == np.float32 and 0 <= s.image.min() and s.image.max() <= 1
    assert 1 <= n <= 8 and s.masks.shape == (n, height, width) and s.boxes.shape == (n, 4)
    assert s.masks.sum(axis=0).max() <= 1, "a pixel shows one object"
    for k in range(n):
        rows, columns = np.nonzero(s.masks[k])
        cx, cy, w, h = s.boxes[k] * [width, height, width, height]
        np.testing.assert_allclose(
            [cx - w / 2, cx + w / 2, cy - h / 2, cy + h / 2],
            [columns.min(), columns.max() + 1, rows.min(), rows.max() + 1],
            atol=1e-4,
        )
        assert (s.semantic[s.masks[k]] == s.labels[k]).all() and (s.panoptic[s.masks[k]] == k + 1).all()
    assert sum(segment["area"] for segment in s.segments) == height * width, "segments fill the image"
    for segment in s.segments:
        mask = s.panoptic == segment["id"]
        assert mask.sum() == segment["area"] > 0 and (s.semantic[mask] == segment["category_id"]).all()
        assert segment["isthing"] == (segment["category_id"] < len(shapes.THINGS))


def test_scenes_are_as_rich_as_promised():
    counts = [len(s.labels) for s in SCENES]
    sides = np.concatenate([s.boxes[:, 2:] for s in SCENES])
    assert min(counts) == 1 and max(counts) == 8 and 3.5 < np.mean(counts) < 4.5
    assert sides.min() >= 0.12 and sides.max() <= 0.6 and sides.max() > 0.5
    labels = np.concatenate([s.labels for s in SCENES])
    assert np.bincount(labels, minlength=6).min() > len(labels) / 10, "all classes are common"
    assert {int(k) for s in SCENES for k in np.unique(s.semantic)} == set(range(9))


def test_part_of_an_object_is_hidden_in_a_third_of_the_scenes():
    def has_occlusion(seed):
        height, width, rng = shapes.begin("scene", seed, 64, None)
        count = 1 + int(rng.binomial(7, 3 / 7))
        _drawing.draw_ground(rng, height, width)
        covered = np.zeros((height, width), int)
        for shape in _drawing.place(rng, count, height, width):
            rows, columns, mask = _drawing.cover(shape, height, width)
            covered[rows, columns] += mask
        return (covered > 1).any()

    assert np.mean([has_occlusion(seed) for seed in range(200)]) >= 0.3


def test_the_same_seed_is_the_same_scene_and_another_is_another():
    again = shapes.scene(7)
    np.testing.assert_array_equal(again.image, SCENES[7].image)
    assert again.caption == SCENES[7].caption and SCENES[8].caption != SCENES[7].caption


def test_splits_share_no_scene():
    firsts = {
        (split, seed): shapes.Scenes(shapes.Scenes.STRETCH, split, seed).first
        for split in ("train", "validation", "held-out")
        for seed in (0, 1, 999_999)
    }
    starts = sorted(firsts.values())
    assert min(np.diff(starts)) >= shapes.Scenes.STRETCH
    np.testing.assert_array_equal(shapes.Scenes(5, "held-out").scene(3).image, SCENES[3].image)


def test_target_with_grounds_fills_the_image():
    for s in SCENES[:20]:
        target = s.target(grounds=True)
        assert (target["masks"].sum(axis=0) == 1).all()
        assert len(target["labels"]) == len(target["boxes"]) == len(s.segments)
        n = len(s.labels)
        np.testing.assert_array_equal(target["boxes"][:n], s.boxes)
        assert (target["labels"][n:] >= len(shapes.THINGS)).all()


def test_one_object_makes_a_picture_to_classify():
    for seed in range(20):
        s = shapes.scene(seed, objects=1)
        assert len(s.labels) == 1 and s.label == s.labels[0]


def test_workers_give_the_same_batches():
    def batches(workers):
        scenes = shapes.Scenes(10, size=32)
        return list(DataLoader(scenes, 4, shuffle=True, collate=shapes.collate, workers=workers))

    for (images, targets), (others, again) in zip(batches(0), batches(1), strict=True):
        np.testing.assert_array_equal(images, others)
        for one, other in zip(targets, again, strict=True):
            assert all(np.array_equal(one[name], other[name]) for name in one)


def test_a_loop_that_is_left_early_ends_its_workers():
    loader = DataLoader(shapes.Scenes(100, size=32), 2, collate=shapes.collate, workers=1)
    loop = iter(loader)
    next(loop)
    loop.close()
    assert loader.state_dict()["handed_out"] == 1
    next(iter(loader))


def test_workers_end_with_a_process_that_is_killed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal\n"
        "from minivis.data import DataLoader, _drawing, shapes\n"
        "if __name__ == '__main__':\n"
        "    import multiprocessing\n"
        "    loop = iter(DataLoader(shapes.Scenes(100, size=32), 2, collate=shapes.collate, workers=1))\n"
        "    next(loop)\n"
        "    print(multiprocessing.active_children()[0].pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, text=True, timeout=60)
    worker = int(run.stdout)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail(f"process {worker} is still there")


@pytest.mark.parametrize("seed", range(5))
def test_things_in_a_video_move_as_it_says(seed):
    film = shapes.video(seed, frames=6)
    assert film.frames.shape == (6, 3, 64, 64) and film.frames.dtype == np.float32
    assert film.masks.sum(axis=1).max() <= 1
    moves = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])[film.direction]
    largest = film.masks.sum(axis=(0, 2, 3)).argmax()
    velocity = film.velocities[largest]
    assert (np.sign(velocity) == moves).all()
    areas = film.masks[:, largest].sum(axis=(1, 2))
    whole = [t for t in range(6) if areas[t] == areas.max()]
    middle = film.boxes[whole, largest, :2]
    if len(whole) > 1 and len(film.labels) == 1:
        np.testing.assert_allclose(middle[-1] - middle[0], velocity * (whole[-1] - whole[0]), atol=2 / 64)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: shapes.scene(-1), "seed must be a whole number of at least 0, got -1"),
        (lambda: shapes.scene(0, 16), "size must be an integer of at least 32, or two of them, got 16"),
        (lambda: shapes.scene(0, objects=9), "objects must be 1 to 8, got 9"),
        (lambda: shapes.video(0, frames=0), "frames must be at least 1"),
        (lambda: shapes.Scenes(5, "test"), "held-out, validation, train, got 'test'"),
        (lambda: shapes.Scenes(0), "count must be 1 to"),
        (lambda: DataLoader(shapes.Scenes(5), workers=-1), "workers must be 0 or more, got -1"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_scene_that_is_not_there():
    with pytest.raises(IndexError, match="scenes 0 to 4"):
        shapes.Scenes(5)[5]
