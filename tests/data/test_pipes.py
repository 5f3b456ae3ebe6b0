"""Generated pictures of pipes: the same for a seed, mask and box agree, splits, what is refused.

Not here: scenes of shapes (test_shapes.py).
"""

import numpy as np
import pytest

from minivis.data import DataLoader
from minivis.data.pipes import Pipes, pipe


def test_mask_and_box_agree_and_the_pipe_is_one_piece():
    from scipy.ndimage import label

    bends = set()
    for seed in range(30):
        drawn = pipe(seed, (48, 80))
        assert drawn.image.shape == (3, 48, 80) and drawn.image.dtype == np.float32
        assert drawn.image.min() >= 0 and drawn.image.max() <= 1
        inside = np.zeros_like(drawn.mask)
        x0, y0, x1, y1 = drawn.box.astype(int)
        inside[y0:y1, x0:x1] = True
        assert not (drawn.mask & ~inside).any()
        assert drawn.mask[y0].any() and drawn.mask[y1 - 1].any()
        assert drawn.mask[:, x0].any() and drawn.mask[:, x1 - 1].any()
        assert label(drawn.mask, np.ones((3, 3)))[1] == 1 and 0.02 < drawn.mask.mean() < 0.25
        bends.add(drawn.bent)
    assert bends == {True, False}


def test_a_straight_pipe_lies_on_a_line():
    drawn = next(p for p in map(pipe, range(20)) if not p.bent)
    places = np.argwhere(drawn.mask) - np.argwhere(drawn.mask).mean(axis=0)
    across, along = np.linalg.eigvalsh(places.T @ places / len(places)) ** 0.5
    assert along > 3 * across


def test_a_seed_decides_everything():
    first, again, other = pipe(1), pipe(1), pipe(2)
    np.testing.assert_array_equal(first.image, again.image)
    assert not np.array_equal(first.image, other.image)


def test_splits_share_no_picture_and_can_be_loaded():
    splits = [Pipes(4, split) for split in ("train", "validation", "held-out")]
    images = {image.tobytes() for drawn in splits for image, _, _ in (drawn[i] for i in range(4))}
    assert len(images) == 12
    images, masks, boxes = next(iter(DataLoader(splits[0], 3)))
    assert images.shape == (3, 3, 64, 64) and masks.shape == (3, 64, 64) and boxes.shape == (3, 4)
    assert Pipes(1, sample=lambda drawn: (drawn.bent,))[0][0] in (True, False)


@pytest.mark.parametrize(
    "call, complaint",
    [
        (lambda: pipe(-1), "pipe: seed must be a whole number of at least 0, got -1"),
        (lambda: pipe(0.5), "pipe: seed must be a whole number of at least 0, got 0.5"),
        (lambda: pipe(0, 16), "pipe: size must be an integer of at least 32, or two of them, got 16"),
        (lambda: pipe(0, (40, 40, 3)), "pipe: size must be an integer of at least 32"),
        (lambda: Pipes(3, "test"), "Pipes: split must be one of held-out, validation, train, got 'test'"),
        (lambda: Pipes(0), "Pipes: count must be 1 to 1000000, got 0"),
    ],
)
def test_it_refuses(call, complaint):
    with pytest.raises(ValueError, match=f"^{complaint}"):
        call()
    with pytest.raises(IndexError, match="^Pipes: there are pictures 0 to 2, got 3"):
        Pipes(3)[3]
