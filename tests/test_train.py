"""Training: it learns, it says so readably, and neither kill -9 nor Ctrl-C nor a full disk costs more than time.

Not here: what the recipes reach (recipes/), optimisers and schedules (test_optim.py), files of models (test_storage.py).
"""

import errno
import json
import os
import platform
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from safetensors.numpy import save_file

import minivis as mv
from minivis import locking, nn, ops, optim, storage, train
from minivis.data import DataLoader
from minivis.files import open_arrays
from minivis.locking import LOCK

IMAGES = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
LABELS = (IMAGES[:, 0] > 0).astype(np.int64)


def cross_entropy(model, x, labels):
    return ops.cross_entropy(model(x), labels)


def noise(x, rng):
    return x + rng.normal(0, 0.1, x.shape).astype(np.float32)


def parts(seed=0, steps=40, lr=0.01, rng=None, **options):
    """A small training in which everything is random that can be: weights, order, noise, dropout; and batch norm."""
    rng = np.random.default_rng(seed) if rng is None else rng
    model = nn.Sequential(
        nn.Linear(6, 16, rng=rng),
        nn.LayerNorm(16),
        nn.GELU(),
        nn.Dropout(0.3, rng=rng),
        nn.Linear(16, 2, rng=rng),
    )
    loader = DataLoader((IMAGES, LABELS), 8, shuffle=True, rng=rng, transform=noise, **options)
    optimizer = optim.AdamW(model.parameters(), lr=lr, schedule=optim.cosine(steps, warmup_steps=5))
    return model, loader, cross_entropy, optimizer, steps


def bits(model):
    return {name: x.tobytes() for name, x in model.state_dict().items()}


def accuracy(model):
    return {"accuracy": (model(IMAGES).numpy().argmax(1) == LABELS).mean()}


# ---------------------------------------------------------------------------------------------------------------------
# Learning


def test_it_learns_and_keeps_a_history():
    model, *rest = parts(steps=100)
    history = train.fit(model, *rest, evaluate=accuracy, every=30)
    assert list(history) == ["step", "loss", "lr", "seconds", "accuracy"]
    assert history["step"] == [30, 60, 90, 100]
    assert history["loss"][-1] < 0.5 * history["loss"][0] and history["accuracy"][-1] > 0.9
    assert history["accuracy"][-1] == accuracy(model)["accuracy"] and not model.training
    assert history["seconds"] == sorted(history["seconds"])


def test_the_loss_of_a_row_is_the_mean_since_the_row_before():
    seen = []

    def watched(model, x, labels):
        value = cross_entropy(model, x, labels)
        seen.append(value.item())
        return value

    model, loader, _, optimizer, _ = parts()
    history = train.fit(model, loader, watched, optimizer, 7, every=3)
    assert history["loss"] == pytest.approx([np.mean(seen[:3]), np.mean(seen[3:6]), seen[6]], rel=1e-12)


def test_fit_is_train_step_again_and_again():
    (fitted, *rest), (model, loader, loss, optimizer, steps) = parts(), parts()
    train.fit(fitted, *rest, clip=0.5)
    epochs = -(-steps // len(loader))
    batches = [batch for _ in range(epochs) for batch in loader][:steps]
    for batch in batches:
        train.train_step(model, loss, batch, optimizer, clip=0.5)
    assert bits(model) == bits(fitted)


def test_evaluating_changes_nothing():
    (watched, *rest), (alone, *others) = parts(), parts()

    def evaluate(model):
        assert not model.training and not model(IMAGES).requires_grad
        return accuracy(model)

    train.fit(watched, *rest, evaluate=evaluate, every=1)
    train.fit(alone, *others)
    assert bits(watched) == bits(alone)


def test_clipping_bounds_the_step():
    def moved(clip):
        model, loader, loss, _, _ = parts()
        before = np.concatenate([x.ravel() for x in model.state_dict().values()])
        train.fit(model, loader, loss, optim.SGD(model.parameters(), lr=1.0), 1, clip=clip)
        return np.linalg.norm(np.concatenate([x.ravel() for x in model.state_dict().values()]) - before)

    assert moved(None) > 0.1 and moved(0.01) == pytest.approx(0.01, rel=1e-3)


# ---------------------------------------------------------------------------------------------------------------------
# Resuming


def stop_at(step, loss=cross_entropy):
    """A loss during which, at a step, something stops the training: the return value lets it happen."""
    calls = []

    def stopping(model, x, labels):
        calls.append(None)
        if len(calls) == step:
            signal.raise_signal(signal.SIGINT)
        return loss(model, x, labels)

    return stopping


def test_ctrl_c_leaves_a_usable_checkpoint_and_says_so(tmp_path, capsys):
    whole, *rest = parts()
    expected = train.fit(whole, *rest, every=7)
    model, loader, _, optimizer, steps = parts()
    with pytest.raises(KeyboardInterrupt):
        train.fit(model, loader, stop_at(17), optimizer, steps, every=7, out=tmp_path)
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"fit: stopped after step 17 of 40; {tmp_path} holds model and checkpoint, resume goes on from there"
    )
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert bits(mv.load(tmp_path, into=parts()[0])) == bits(model)  # the step was finished, not cut in half
    resumed, *rest = parts()
    history = train.fit(resumed, *rest, every=7, out=tmp_path, resume=True)
    assert bits(resumed) == bits(whole)
    assert {**history, "seconds": None} == {**expected, "seconds": None}
    assert json.loads((tmp_path / "history.json").read_text()) == history


def test_a_second_ctrl_c_does_not_wait(tmp_path):
    def stubborn(model, x, labels):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("still here")

    model, loader, _, optimizer, steps = parts()
    with pytest.raises(KeyboardInterrupt):
        train.fit(model, loader, stubborn, optimizer, steps, out=tmp_path)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("at", [1, 6, 7, 8, 39])
def test_a_resume_is_exact_wherever_it_stopped(tmp_path, at):
    """7 steps are an epoch: at its first, in its middle, at its end; the resumed objects may have been used before."""
    whole, *rest = parts()
    train.fit(whole, *rest)
    model, loader, loss, optimizer, steps = parts()
    with pytest.raises(KeyboardInterrupt):
        train.fit(model, loader, stop_at(at), optimizer, steps, out=tmp_path)
    next(iter(loader))
    train.fit(model, loader, loss, optimizer, steps, out=tmp_path, resume=True)
    assert bits(model) == bits(whole)


CHILD = """
    import sys
    sys.path.insert(0, sys.argv[1])
    import numpy as np
    from minivis import nn, ops, optim, train
    from minivis.data import DataLoader
    from minivis.models import ViT

    rng = np.random.default_rng(3)
    images = rng.normal(size=(40, 1, 8, 8)).astype(np.float32)
    labels = rng.integers(10, size=40)
    model = ViT(image_size=8, patch_size=2, channels=1, num_classes=10, width=16, depth=2, heads=2,
                dropout=0.2, drop_path=0.2, rng=rng)
    loader = DataLoader((images, labels), 16, shuffle=True, rng=rng,
                        transform=lambda x, rng: x + rng.normal(size=x.shape).astype(np.float32))
    optimizer = optim.AdamW(optim.decay_groups(model, 0.05), schedule=optim.one_cycle(150))
    train.fit(model, loader, lambda m, x, y: ops.cross_entropy(m(x), y), optimizer, 150, clip=1.0,
              out=sys.argv[2], resume="--resume" in sys.argv, save_every=0)
"""


def child(folder, *options):
    return [sys.executable, "-c", textwrap.dedent(CHILD), os.getcwd(), folder, *options]


def test_kill_9_and_resume_give_the_same_bits(tmp_path):
    subprocess.run(child(tmp_path / "whole"), check=True, capture_output=True, timeout=60)
    checkpoint = tmp_path / "killed" / train.CHECKPOINT
    kills = 0
    for at in (20, 90):
        process = subprocess.Popen(child(tmp_path / "killed", "--resume"), stderr=subprocess.DEVNULL)
        while process.poll() is None and (not checkpoint.exists() or step_of(checkpoint) < at):
            time.sleep(0.002)
        process.kill()
        kills += process.wait() == -signal.SIGKILL
    assert kills == 2 and 90 <= step_of(checkpoint) < 150
    subprocess.run(child(tmp_path / "killed", "--resume"), check=True, capture_output=True, timeout=60)
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    # no temporary file left
    assert sorted(os.listdir(tmp_path / "killed")) == sorted(os.listdir(tmp_path / "whole"))


def step_of(checkpoint):
    """From its header alone: a training that is watched must not end meanwhile."""
    with open_arrays(checkpoint) as file:
        return json.loads(file.metadata()["run"])["step"]


def test_a_finished_training_is_not_repeated(tmp_path):
    model, *rest = parts()
    history = train.fit(model, *rest, out=tmp_path)
    again, loader, _, optimizer, steps = parts()
    assert train.fit(again, loader, None, optimizer, steps, out=tmp_path, resume=True) == history
    assert bits(again) == bits(model)


def test_resume_without_a_checkpoint_starts_at_the_beginning(tmp_path):
    (model, *rest), (other, *others) = parts(), parts()
    train.fit(model, *rest, out=tmp_path / "new", resume=True)
    train.fit(other, *others)
    assert bits(model) == bits(other)


def test_an_earlier_run_is_not_overwritten(tmp_path):
    train.fit(*parts(), out=tmp_path / "run")
    mv.save(nn.Linear(2, 2), tmp_path / "model")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    for folder, resume in [("run", False), ("model", False), ("model", True)]:
        with pytest.raises(FileExistsError, match=rf"^fit: .*{folder} holds .* not overwritten"):
            train.fit(*parts(seed=1), out=tmp_path / folder, resume=resume)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"settings": {"seed": 1}}, "seed was 0, now 1"),
        ({"settings": {}}, "seed was 0, now None"),
        ({"seed": 1}, "loader was"),
        ({"steps": 39}, "steps was 40, now 39; optimizer differ too"),
        ({"lr": 0.02}, "optimizer was"),
        ({"clip": 1.0}, "clip was None, now 1.0"),
        ({"drop_last": True}, "loader was"),
        ({"model": nn.Linear(6, 2)}, "model was"),
        (
            {"model": nn.Sequential(nn.Linear(6, 2))},
            "model.* is of another model: it lacks 0.*|checkpoint.safetensors",
        ),
    ],
)
def test_a_resume_with_other_settings_is_refused_and_changes_nothing(tmp_path, changed, complaint):
    train.fit(*parts(), out=tmp_path, settings={"seed": 0})
    replaced = changed.pop("model", None)
    fit_options = {"settings": changed.pop("settings", {"seed": 0})}
    fit_options["clip"] = changed.pop("clip", None)
    model, loader, loss, optimizer, steps = parts(**changed)
    if replaced is not None:
        model = replaced
        optimizer = optim.AdamW(replaced.parameters(), lr=0.01, schedule=optimizer.schedule)
    before = bits(model), optimizer.state_dict(), loader.state_dict()
    with pytest.raises(ValueError, match=complaint):
        train.fit(model, loader, loss, optimizer, steps, out=tmp_path, resume=True, **fit_options)
    assert (bits(model), optimizer.state_dict(), loader.state_dict()) == before


def test_a_bad_checkpoint_is_refused_and_changes_nothing(tmp_path):
    train.fit(*parts(), out=tmp_path)
    path = tmp_path / train.CHECKPOINT
    whole = path.read_bytes()
    arrays, notes = storage.read_arrays(path)
    arrays.pop("model.0.weight")
    foreign = (
        storage.pack_arrays(arrays),
        storage.pack_arrays(arrays, run=notes["run"]),
        storage.pack_arrays({}, run="3"),
    )
    for content in (whole[:100], whole[:-1], b"", *foreign, storage.pack_arrays({}, run='{"step": 3}')):
        path.write_bytes(content)
        model, *rest = parts(seed=0)
        before = bits(model)
        with pytest.raises(
            ValueError, match=rf"{path}: expected|{path} is of another model: it lacks 0.weight"
        ):
            train.fit(model, *rest, out=tmp_path, resume=True)
        assert bits(model) == before and path.read_bytes() == content


def everything(model, loader, optimizer, folder):
    """All that a resume could change."""
    moments = {name: x.tobytes() for name, x in optimizer.state_dict().items()}
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return bits(model), moments, loader.state_dict(), loader._continue, json.dumps(model.rng_state()), files


def refused(folder, complaint):
    """Resume, expect to be refused in words that name the file, and that nothing has changed."""
    model, loader, loss, optimizer, steps = parts(seed=0)
    before = everything(model, loader, optimizer, folder)
    with pytest.raises(ValueError, match=complaint) as caught:
        train.fit(model, loader, loss, optimizer, steps, out=folder, resume=True)
    assert str(folder / train.CHECKPOINT) in str(caught.value)
    assert everything(model, loader, optimizer, folder) == before


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A checkpoint as earlier versions wrote it, without a checksum that would hide what is behind it."""
    folder = tmp_path_factory.mktemp("finished")
    train.fit(*parts(), out=folder)
    return storage.read_arrays(folder / train.CHECKPOINT)


def broken(folder, finished, change):
    """Write the checkpoint with something changed: ``change(arrays, state)`` in place."""
    arrays = dict(finished[0])
    state = json.loads(finished[1]["run"])
    change(arrays, state)
    save_file(arrays, folder / train.CHECKPOINT, metadata={"run": json.dumps(state)})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda arrays, state: state.update(step=-1), "step must be a whole number from 0 to 40, found -1"),
        (lambda arrays, state: state.update(step=41), "from 0 to 40, found 41"),
        (lambda arrays, state: state.update(step="3"), "from 0 to 40, found '3'"),
        (lambda arrays, state: state.update(history=[1]), "history must be columns of numbers"),
        (lambda arrays, state: state["history"].update(loss=["x"]), "history must be columns of numbers"),
        (
            lambda arrays, state: state["history"]["loss"].append(1.0),
            "history must be columns .* of one length",
        ),
        (lambda arrays, state: state.update(losses=3), "losses must be numbers"),
        (lambda arrays, state: state.update(seconds=-1), "seconds one of at least 0"),
        (lambda arrays, state: state.update(seconds=None), "seconds one of at least 0"),
        (lambda arrays, state: state.update(rng=3), "settings, rng and loader must be objects"),
        (lambda arrays, state: state.pop("loader"), "found none .*loader"),
        (lambda arrays, state: state.update(settings=None), "must be objects"),
        (
            lambda arrays, state: state["loader"].update(handed_out=99),
            "does not fit this training.*handed_out=99",
        ),
        (lambda arrays, state: state["loader"].update(epoch="x"), "does not fit this training.*epoch"),
        (lambda arrays, state: state["rng"].pop("3.rng"), "does not fit this training: load_rng_state"),
        (
            lambda arrays, state: state["rng"].update({"3.rng": 5}),
            "does not fit this training: load_rng_state: 3.rng",
        ),
        (
            lambda arrays, state: state["rng"]["3.rng"]["state"].update(inc=-1),
            "load_rng_state: 3.rng is not a state of a PCG64",
        ),
        (
            lambda arrays, state: arrays.update({"optimizer.steps": np.array(-4)}),
            "state steps must be a whole number",
        ),
        (
            lambda arrays, state: arrays.update({"optimizer.steps": np.zeros(2)}),
            "state steps must be a whole number",
        ),
        (
            lambda arrays, state: arrays.update({"optimizer.0.step": np.array(2.5)}),
            "state 0.step must be a whole number",
        ),
        (lambda arrays, state: arrays.pop("optimizer.0.m"), "state 0.m must have shape"),
        (
            lambda arrays, state: arrays.update({"optimizer.0.m": np.zeros((16, 6), int)}),
            "state 0.m must be floating",
        ),
        (lambda arrays, state: arrays.update({"optimizer.99.m": np.zeros(2)}), "unexpected entries"),
        (
            lambda arrays, state: arrays.update({"model.0.weight": np.zeros((16, 7), "f4")}),
            "0.weight: expected",
        ),
    ],
)
def test_a_checkpoint_that_cannot_be_is_refused_and_changes_nothing(tmp_path, finished, change, complaint):
    broken(tmp_path, finished, change)
    refused(tmp_path, complaint)


def test_an_unchanged_checkpoint_without_checksum_is_taken(tmp_path, finished):
    broken(tmp_path, finished, lambda arrays, state: None)
    model, *rest = parts(seed=0)
    train.fit(model, *rest, out=tmp_path, resume=True)
    assert bits(model) == {
        n.removeprefix("model."): x.tobytes() for n, x in finished[0].items() if n.startswith("model.")
    }


def test_every_flipped_bit_in_a_checkpoint_is_noticed(tmp_path):
    train.fit(*parts(), out=tmp_path)
    path = tmp_path / train.CHECKPOINT
    for other in tmp_path.iterdir():
        if other != path:
            other.unlink()
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    body = 8 + int.from_bytes(whole[:8], "little")
    for at in rng.integers(body, len(whole), 60):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        refused(tmp_path, "is damaged: .* checksum")


# ---------------------------------------------------------------------------------------------------------------------
# Two at once


def test_a_second_training_in_the_same_folder_is_refused(tmp_path):
    """The second begins while the first is at step 5, in the same process; the first ends as if alone."""
    tried = []

    def meanwhile(model, x, labels):
        if len(tried) == 4:
            before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
            for resume in (False, True):
                with pytest.raises(
                    BlockingIOError, match=rf"^fit: .* in use by process {os.getpid()} on .*two at once"
                ):
                    train.fit(*parts(seed=1), out=tmp_path, resume=resume)
            assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
        tried.append(None)
        return cross_entropy(model, x, labels)

    (model, loader, _, optimizer, steps), (alone, *rest) = parts(), parts()
    train.fit(model, loader, meanwhile, optimizer, steps, out=tmp_path, save_every=0)
    train.fit(alone, *rest)
    assert bits(model) == bits(alone) and len(tried) == 40
    assert sorted(os.listdir(tmp_path)) == [
        "checkpoint.safetensors",
        "config.json",
        "history.csv",
        "history.json",
        "model.safetensors",
    ]


def test_a_second_process_in_the_same_folder_is_refused(tmp_path):
    first = subprocess.Popen(child(tmp_path), stderr=subprocess.DEVNULL)
    try:
        while not (tmp_path / train.CHECKPOINT).exists():
            assert first.poll() is None
            time.sleep(0.01)
        os.kill(first.pid, signal.SIGSTOP)  # it cannot end before the second has tried
        second = subprocess.run(child(tmp_path, "--resume"), capture_output=True, text=True, timeout=60)
        assert second.returncode == 1 and f"in use by process {first.pid} on" in second.stderr
    finally:
        os.kill(first.pid, signal.SIGCONT)
        assert first.wait() == 0
    assert step_of(tmp_path / train.CHECKPOINT) == 150


@pytest.mark.parametrize("left", [b"", b"{}", b'{"process": 1, "machine": "elsewhere", "since": "then"}'])
def test_a_lock_that_nobody_holds_is_taken_over(tmp_path, left):
    (tmp_path / LOCK).write_bytes(left)
    train.fit(*parts(), out=tmp_path)
    assert not (tmp_path / LOCK).exists()


def test_the_lock_is_given_back_when_training_fails(tmp_path):
    model, loader, _, optimizer, steps = parts()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            train.fit(model, loader, lambda *batch: 1 / 0, optimizer, steps, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="asks POSIX for locks")
def test_where_the_system_has_no_locks_the_owner_decides(tmp_path, monkeypatch):
    def none(*arguments):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locking.fcntl, "flock", none)
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
    )
    here = platform.node()
    since = {"since": "2026-11-30 10:00"}
    for process, machine, free in (
        (int(gone.stdout), here, True),
        (os.getpid(), here, False),
        (os.getpid(), "elsewhere", False),
    ):
        (tmp_path / LOCK).write_text(json.dumps({"process": process, "machine": machine, **since}))
        if not free:
            with pytest.raises(
                BlockingIOError, match=f"process {process} on {machine}, since 2026.*delete .*{LOCK}"
            ):
                train.fit(*parts(), out=tmp_path)
        else:
            train.fit(*parts(), out=tmp_path)
            assert not (tmp_path / LOCK).exists()


# ---------------------------------------------------------------------------------------------------------------------
# What goes wrong


def test_nan_stops_with_the_step_and_advice_and_keeps_the_weights(tmp_path):
    seen = []

    def breaking(model, x, labels):
        seen.append(bits(model))
        return cross_entropy(model, x * (np.nan if len(seen) == 5 else 1), labels)

    model, loader, _, optimizer, steps = parts()
    with pytest.raises(
        FloatingPointError, match=r"^fit: step 5: the loss is nan \(learning rate 0.01\). Try .*clip"
    ):
        train.fit(model, loader, breaking, optimizer, steps, out=tmp_path, save_every=0)
    assert bits(model) == seen[4] and step_of(tmp_path / train.CHECKPOINT) == 4


@pytest.mark.parametrize("clip", [None, 1.0])
def test_an_infinite_gradient_stops_before_any_weight_is_changed(clip):
    def breaking(model, x, labels):
        return cross_entropy(model, x, labels) + 0 * ops.sqrt(ops.sum(model[0].weight * 0))  # slope 1 / 0

    model, loader, _, optimizer, steps = parts()
    with (
        np.errstate(all="ignore"),
        pytest.raises(FloatingPointError, match=r"^fit: step 1: .*gradient norm is nan"),
    ):
        train.fit(model, loader, breaking, optimizer, steps, clip=clip)
    assert bits(model) == bits(parts()[0])


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    real = os.fsync
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 11:  # three files a checkpoint: the second file of the fourth
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    whole, *rest = parts()
    train.fit(whole, *rest)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"^save: cannot write .*No space left") as failure:
        train.fit(*parts(), out=tmp_path, save_every=0)
    assert failure.value.errno == errno.ENOSPC and step_of(tmp_path / train.CHECKPOINT) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [train.CHECKPOINT, train.TABLE, train.HISTORY]
    model, *rest = parts()
    train.fit(model, *rest, out=tmp_path, resume=True)
    assert bits(model) == bits(whole)


def test_an_unwritable_folder_is_found_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"^save: cannot write to the folder .*file"):
        model, loader, _, optimizer, steps = parts()
        train.fit(model, loader, None, optimizer, steps, out=tmp_path / "file")


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (
            lambda model, x, y: ops.cross_entropy(model(x), y, reduction="none"),
            r"one element, got a Tensor of shape \(8,\)",
        ),
        (lambda model, x, y: 0.5, "one element, got float"),
    ],
)
def test_a_loss_that_is_no_single_tensor_is_named(value, complaint):
    model, loader, _, optimizer, steps = parts()
    with pytest.raises(TypeError, match=f"^fit: loss must return a Tensor of {complaint}"):
        train.fit(model, loader, value, optimizer, steps)


def test_an_optimizer_of_another_model_is_refused():
    model, loader, loss, _, steps = parts()
    with pytest.raises(ValueError, match=r"^fit: optimizer holds no parameter of this model"):
        train.fit(model, loader, loss, parts()[3], steps)


def test_settings_that_cannot_be_saved_are_refused_before_training(tmp_path):
    model, *rest = parts()
    with pytest.raises(TypeError, match=r"^fit: settings must be json-able"):
        train.fit(model, *rest, out=tmp_path, settings={"when": object()})
    assert bits(model) == bits(parts()[0]) and list(tmp_path.iterdir()) == []


def test_an_evaluation_that_returns_no_dict_is_named():
    with pytest.raises(TypeError, match=r"^fit: evaluate must return a dict of numbers, got float"):
        train.fit(*parts(), evaluate=lambda model: 0.5)


def test_batches_that_run_out_are_named():
    model, loader, loss, optimizer, _ = parts()
    for batches in ([], iter(list(loader))):
        with pytest.raises(ValueError, match=r"^fit: loader has no batches \(left\)"):
            train.fit(model, batches, loss, optimizer, 40)
    train.fit(model, list(loader), loss, optimizer, 40)  # a list can be looped over again


def test_a_loader_that_cannot_be_resumed_is_named(tmp_path):
    model, loader, loss, optimizer, steps = parts()
    with pytest.raises(TypeError, match=r"^fit: out needs a loader that can be resumed"):
        train.fit(model, list(loader), loss, optimizer, steps, out=tmp_path)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": -3}, "steps"),
        ({"steps": 2.5}, "steps"),
        ({"epochs": 0}, "epochs"),
        ({"epochs": 1, "accumulate": 0}, "accumulate"),
        ({"steps": 5, "every": 0}, "every"),
    ],
)
def test_impossible_numbers_are_named(options, name):
    model, loader, loss, optimizer, _ = parts()
    with pytest.raises(ValueError, match=rf"^fit: {name} must be a whole number of at least 1"):
        train.fit(model, loader, loss, optimizer, **options)
