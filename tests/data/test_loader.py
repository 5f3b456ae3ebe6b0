"""The loader hands out every sample once, repeats itself for the same seed, and resumes to the exact batch.
Not here: what the transforms do to a picture (test_transforms)."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivis.data import DataLoader
from minivis.data.loader import stack


def noisy(images, rng):
    """Stand for any random transform."""
    return images + rng.normal(size=images.shape)


@st.composite
def settings_of_a_loader(draw):
    samples = draw(st.integers(1, 20))
    drop_last = draw(st.booleans())
    return {
        "samples": samples,
        "seed": draw(st.integers(0, 2**32)),
        "options": {
            "batch_size": draw(st.integers(1, samples if drop_last else 25)),
            "shuffle": draw(st.booleans()),
            "drop_last": drop_last,
            "transform": draw(st.sampled_from([None, noisy])),
        },
    }


def build(settings, **changes):
    numbers = np.arange(settings["samples"])
    rng = np.random.default_rng(settings["seed"])
    return DataLoader((numbers / 1.0, numbers), rng=rng, **(settings["options"] | changes))


def epochs(loader, count):
    return [batch for _ in range(count) for batch in loader]


def equal(left, right):
    return len(left) == len(right) and all(
        len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
        for a, b in zip(left, right, strict=True)
    )


@given(settings_of_a_loader())
def test_an_epoch_holds_every_sample_exactly_once(settings):
    loader = build(settings)
    for _ in range(2):
        batches = list(loader)
        assert len(batches) == len(loader)
        sizes = [len(labels) for _, labels in batches]
        assert all(size == loader.batch_size for size in sizes[:-1])
        seen = np.concatenate([labels for _, labels in batches]).tolist()
        assert len(set(seen)) == len(seen)
        left_out = settings["samples"] - len(seen)
        assert left_out == (settings["samples"] % loader.batch_size if loader.drop_last else 0)


@given(settings_of_a_loader())
def test_the_same_seed_gives_the_same_batches(settings):
    assert equal(epochs(build(settings), 3), epochs(build(settings), 3))


@given(settings_of_a_loader(), st.data())
def test_a_saved_place_gives_exactly_the_batches_that_were_to_come(settings, data):
    whole = epochs(build(settings), 3)
    stop = data.draw(st.integers(0, len(whole)), label="killed after this many batches")
    first = build(settings)
    seen = []
    while len(seen) < stop:
        for batch in first:
            seen.append(batch)
            if len(seen) == stop:
                break
    state = json.loads(json.dumps(first.state_dict()))
    other = build(settings | {"seed": settings["seed"] + 1})  # the state brings the seed
    other.load_state_dict(state)
    rest = epochs(other, 4)[: len(whole) - stop]
    assert equal(seen + rest, whole)


@given(settings_of_a_loader(), st.data())
def test_a_batch_is_a_function_of_epoch_and_place_alone(settings, data):
    loader = build(settings)
    whole = epochs(loader, 3)
    state = loader.state_dict()
    at = data.draw(st.integers(0, len(whole) - 1))
    assert equal([loader.batch(*divmod(at, len(loader)))], [whole[at]])
    assert loader.state_dict() == state


def test_shuffling_changes_from_epoch_to_epoch_and_with_the_seed():
    def orders(seed):
        loader = DataLoader(np.arange(50), batch_size=50, shuffle=True, rng=np.random.default_rng(seed))
        return [batch[0].tolist() for batch in epochs(loader, 2)]

    (a, b), (c, _) = orders(0), orders(1)
    assert a != b and a != c and a != list(range(50))


def test_without_shuffle_the_order_is_the_data_set_s_own():
    assert [x.tolist() for (x,) in DataLoader(np.arange(5), batch_size=2)] == [[0, 1], [2, 3], [4]]


def test_the_transform_sees_new_random_numbers_in_every_batch_and_epoch():
    loader = DataLoader(np.zeros((4, 3)), batch_size=2, transform=noisy)
    draws = np.stack([x for (x,) in epochs(loader, 2)])
    assert len(np.unique(draws)) == draws.size


def test_the_transform_changes_the_first_array_only():
    loader = DataLoader((np.zeros(4), np.arange(4)), batch_size=4, transform=lambda x, rng: x + 1)
    ((images, labels),) = loader
    assert images.tolist() == [1, 1, 1, 1] and labels.tolist() == [0, 1, 2, 3]


def test_no_rng_means_seed_zero():
    default = DataLoader(np.arange(9), batch_size=4, shuffle=True)
    seeded = DataLoader(np.arange(9), batch_size=4, shuffle=True, rng=np.random.default_rng(0))
    assert equal(list(default), list(seeded))


def test_looking_at_one_batch_loses_no_sample_of_the_next_epoch():
    loader = DataLoader(np.arange(6), batch_size=2, shuffle=True)
    next(iter(loader))
    assert sorted(np.concatenate([x for (x,) in loader]).tolist()) == [0, 1, 2, 3, 4, 5]


def test_only_the_first_loop_after_loading_starts_in_the_middle():
    loader = DataLoader(np.arange(6), batch_size=2)
    loader.load_state_dict(loader.state_dict() | {"epoch": 4, "handed_out": 1})
    (first,) = next(iter(loader))
    assert first.tolist() == [2, 3]
    assert [x.tolist() for (x,) in loader] == [[0, 1], [2, 3], [4, 5]]
    assert loader.state_dict()["epoch"] == 6


def test_batches_are_copies_and_keep_their_dtype():
    images = np.zeros((4, 1, 2, 2), np.float32)
    images.flags.writeable = False
    (batch,) = next(iter(DataLoader(images, batch_size=4)))
    batch += 1
    assert batch.dtype == np.float32 and images.sum() == 0


def test_any_object_with_length_and_items_is_a_data_set():
    class Squares:
        def __len__(self):
            return 5

        def __getitem__(self, i):
            assert isinstance(i, int) and 0 <= i < 5
            return np.full((1, 2, 2), i, np.float32), i * i

    images, labels = next(iter(DataLoader(Squares(), batch_size=3)))
    assert images.shape == (3, 1, 2, 2) and images.dtype == np.float32 and labels.tolist() == [0, 1, 4]
    rows = [([1], "a"), ([2, 3], "b")]
    (batch,) = DataLoader(
        rows, batch_size=2, collate=lambda samples: ([box for box, _ in samples], len(samples))
    )
    assert batch == ([[1], [2, 3]], 2)


def test_the_repr_says_how_many():
    assert repr(DataLoader(np.zeros(5), batch_size=2)) == (
        "DataLoader(5 samples, batch_size=2, shuffle=False, drop_last=False: 3 batches)"
    )


def test_samples_that_are_no_tuples_are_named():
    with pytest.raises(
        TypeError, match=r"stack: every sample must be a tuple such as \(image, label\), got 1"
    ):
        next(iter(DataLoader([1, 2, 3], batch_size=2)))


@pytest.mark.parametrize(
    ("dataset", "options", "error", "message"),
    [
        (np.zeros((0, 3)), {}, ValueError, "dataset is empty"),
        ([], {}, ValueError, "dataset is empty"),
        ((np.zeros((4, 1)), np.zeros(3)), {}, ValueError, r"first length, got shapes \[\(4, 1\), \(3,\)\]"),
        (np.float32([1, 2]).sum(keepdims=True).reshape(()), {}, ValueError, r"got shapes \[\(\)\]"),
        (
            (),
            {},
            TypeError,
            "dataset must be an array, a tuple of arrays, or an object .* got a tuple of nothing",
        ),
        ((np.zeros(2), [0, 1]), {}, TypeError, "got a tuple of ndarray, list"),
        (np.zeros(2), {"transform": 3}, TypeError, "transform must be a function, got 3"),
        (np.zeros(2), {"collate": None}, TypeError, "collate must be a function, got None"),
        (([1, 2], [3, 4]), {}, TypeError, "got a tuple of list, list"),
        ({"images": 1}, {}, TypeError, "got dict"),
        (iter([1]), {}, TypeError, "got list_iterator"),
        (np.zeros(4), {"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        (np.zeros(4), {"batch_size": -2}, ValueError, "batch_size must be at least 1, got -2"),
        (np.zeros(4), {"batch_size": 2.0}, TypeError, "batch_size must be an integer, got 2.0"),
        (np.zeros(4), {"rng": 0}, TypeError, "rng must be a numpy.random.Generator .* got int"),
        (
            np.zeros(4),
            {"batch_size": 5, "drop_last": True},
            ValueError,
            "leaves no batch: .*=5, .* 4 samples",
        ),
    ],
)
def test_bad_input_is_named(dataset, options, error, message):
    with pytest.raises(error, match=f"DataLoader: .*{message}"):
        DataLoader(dataset, **options)


def test_samples_of_different_shapes_are_named():
    loader = DataLoader([(np.zeros(2), 0), (np.zeros(3), 1)], batch_size=2)
    with pytest.raises(ValueError, match=r"stack: entry 0 .* \[\(2,\), \(3,\)\]; pass your own collate"):
        next(iter(loader))
    with pytest.raises(ValueError, match="stack: the samples hold different numbers of things: 1, 2"):
        stack([(1,), (1, 2)])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"samples": 5}, ValueError, "the state has samples=5, but this loader has samples=6"),
        ({"batch_size": 3}, ValueError, "the state has batch_size=3, but this loader has batch_size=2"),
        ({"shuffle": False}, ValueError, "the state has shuffle=False"),
        ({"epoch": -1}, ValueError, "no place in the data: .*epoch=-1"),
        ({"handed_out": 4}, ValueError, "no place in the data: .*handed_out=4 of 3 batches"),
        ({"seed": "a"}, TypeError, "seed must be an integer, got 'a'"),
        ({"epoch": None}, TypeError, "epoch must be an integer, got None"),
    ],
)
def test_a_foreign_state_is_refused_and_changes_nothing(change, error, message):
    loader = DataLoader(np.arange(6), batch_size=2, shuffle=True)
    next(iter(loader))
    before = loader.state_dict()
    with pytest.raises(error, match=f"DataLoader: .*{message}"):
        loader.load_state_dict(before | change)
    del (short := dict(before))["epoch"]
    with pytest.raises(ValueError, match="DataLoader: the state has no epoch"):
        loader.load_state_dict(short)
    assert loader.state_dict() == before


@pytest.mark.parametrize(("epoch", "index"), [(0, 3), (0, -1), (-1, 0)])
def test_a_batch_that_does_not_exist_is_refused(epoch, index):
    loader = DataLoader(np.arange(6), batch_size=2)
    with pytest.raises(ValueError, match=f"DataLoader: no batch {index} in epoch {epoch}"):
        loader.batch(epoch, index)


# ---------------------------------------------------------------------------------------------------------------------
# Workers


class Held:
    """A data set that holds something."""

    def __init__(self, held):
        self.held = held

    def __len__(self):
        return 4

    def __getitem__(self, i):
        return np.zeros(2), i


PAIR = (np.zeros((4, 2)), np.zeros(4))


@pytest.mark.parametrize(
    "dataset, options, words",
    [
        (
            PAIR,
            {"transform": lambda images, rng: images},
            "transform cannot be sent to a worker process .*lambda",
        ),
        (Held(1), {"collate": lambda samples: ()}, "collate cannot be sent"),
        (
            Held(lambda: 1),
            {},
            "dataset cannot be sent .*functions and classes must stand at the top of a file",
        ),
        (
            Held(i for i in range(3)),
            {},
            "dataset cannot be sent to a worker process .*generator.* or leave workers=0",
        ),
    ],
)
def test_what_cannot_be_sent_to_workers_is_named(dataset, options, words):
    loader = DataLoader(dataset, batch_size=2, workers=1, **options)
    with pytest.raises(TypeError, match=f"^DataLoader: {words}"):
        next(iter(loader))
    loader = DataLoader(dataset, batch_size=2, **options)  # the same, made here
    assert len(loader.batch(0, 0)) == 0 if "collate" in options else len(loader.batch(0, 0)[0]) == 2


def test_a_worker_that_ends_is_explained(tmp_path):
    script = tmp_path / "script.py"  # without if __name__ == "__main__": each worker would start workers
    script.write_text(
        "import numpy as np\n"
        "from minivis.data import DataLoader\n"
        "next(iter(DataLoader((np.zeros((4, 3)),), 2, workers=1)))\n"
    )
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert "RuntimeError: DataLoader: a worker process ended before its batch was made" in run.stderr
