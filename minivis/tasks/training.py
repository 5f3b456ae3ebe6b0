"""Train a model on one's own pictures without code: `minivis train --data FOLDER`.

Not here: what the folder holds (layouts.py), the model (starts.py), losses and scores of each kind (classes.py, boxes.py,
masks.py), the loop (train.py), the page at the end (report.py).
"""

import math
import shlex
from pathlib import Path

import numpy as np

from minivis import optim, storage
from minivis.files import as_path, make_folder, read_json
from minivis.locking import alone_in
from minivis.pretrained.description import printable
from minivis.progress import progress_bar
from minivis.recipes import one_thread
from minivis.tasks.boxes import Boxes
from minivis.tasks.classes import Classes
from minivis.tasks.layouts import recognise
from minivis.tasks.masks import Masks
from minivis.tasks.report import Report, write
from minivis.tasks.samples import Batch, Changes, Samples, loader
from minivis.tasks.starts import MODELS, start
from minivis.train import CHECKPOINT, HISTORY, fit

__all__ = ["train"]

KINDS = {"classes": Classes, "boxes": Boxes, "masks": Masks}
OPTIONS, SPLIT, METRICS, REPORT = "task.json", "split.json", "metrics.json", "report.html"
STEPS = 300  # updates that small data get, if nothing else is asked for
MOST_EPOCHS = 100
FEW = 4  # pictures of a batch at least, if there are so many: batch norm needs several
MOST_PIXELS = 2**20  # of a batch, if nothing else is asked for: large networks keep kilobytes for each pixel
ROWS = 20  # measurements during a training, about


def train(
    data=None, model=None, out=None, *, source=None, epochs=None, size=None, batch=None, lr=None, seed=None, share=None,
    flip=None, patience=None, resume=False,
):  # fmt: skip
    """Train a model on a folder of pictures, measure it on pictures that it was not trained on, and write a report.

    Parameters
    ----------
    data : str or path
        A folder in one of the layouts of `recognise`. With `resume` it may be left out.
    model : str, optional
        "cnn", "vit", "resnet" or "swin" for classes of pictures; "detr" or "faster-rcnn" for boxes; "unet" or "segmenter" for
        a class of each pixel. Default: resnet, detr, unet, or the kind of `source`.
    out : str or path, optional
        Folder for the results; default: ``runs/`` and the name of the data's folder.
    source : str or path, optional
        A checkpoint to begin with, which gets a new head: a name that comes with minivis, such as "detr-shapes", the folder
        of a training or a published folder. "scratch" begins with random weights. Default: a checkpoint of minivis for swin,
        detr, faster-rcnn and segmenter, random weights for the others.
    epochs : int, optional
        How often each picture is seen; default: as many as make 300 updates, from 5 to 100.
    size : int, optional
        Pixels of the sides of a picture, a multiple of 16; default: those of the checkpoint, or 64.
    batch : int, optional
        Pictures of an update; default: 32 or 16, fewer if there are few.
    lr : float, optional
        Learning rate; default: one that suits the model.
    seed : int, default 0
        Of the division, the starting weights, the order and the random changes. The same seed gives the same result.
    share : float, default 0.2
        The part of the pictures kept for measuring, if the folder is not divided already.
    flip : bool, default True
        Whether pictures are mirrored at random in training. False for what is not the same in a mirror, such as letters or
        left and right hands.
    patience : int, optional
        Stop when so many measurements in a row have not been better than the best.
    resume : bool, default False
        Go on with the training in `out`. Options that are left out are those it was begun with; with more `epochs` it is
        trained on.

    Returns
    -------
    dict
        The contents of ``metrics.json``: metric, value (0 to 1), n, and others.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or nothing to resume.
    FileExistsError
        If `out` holds an earlier training and `resume` is False.
    BlockingIOError
        If another training is running in `out`.
    ValueError
        If the layout is not known, the model does not fit the data, or an option is not possible.
    KeyboardInterrupt
        After Ctrl-C, when the step is done and the checkpoint and the report so far are written. Before the first
        measurement there is no report.

    Notes
    -----
    `out` then holds the model (for `minivis.load` and `minivis predict`), ``split.json`` (which picture was in which part),
    ``task.json`` (the options), ``history.json`` and ``history.csv``, ``metrics.json`` and ``report.html``.
    """
    given = {
        "data": None if data is None else str(data), "model": model, "source": None if source is None else str(source),
        "epochs": epochs, "size": size, "batch": batch, "lr": lr, "seed": seed, "share": share, "flip": flip,
        "patience": patience,
    }  # fmt: skip
    _check_options(given, "train")
    out = as_path(out or _usual_folder(data))
    options, divided = _begun(out, given) if resume else (_filled(given), None)
    if not resume:
        _check_outside(out, as_path(options["data"]))
        _check_free(out)
    with one_thread():
        return _Training(options, out, divided).run(resume)


# the kind of each option, and the least of a number
ALLOWED = {
    "data": (str, None), "model": (str, None), "source": (str, None), "epochs": (int, 1), "size": (int, 16), "batch": (int, 1),
    "lr": ((int, float), 0), "seed": (int, 0), "share": ((int, float), 0), "flip": (bool, None), "patience": (int, 1),
}  # fmt: skip


def _check_options(options, where):
    """Refuse an option of the wrong kind."""
    for name, (kinds, least) in ALLOWED.items():
        value = options.get(name)
        fits = isinstance(value, kinds) and (kinds is bool or not isinstance(value, bool))
        if value is not None and not (fits and (least is None or least <= value < math.inf)):
            kind = {str: "a text", bool: "True or False", int: "a whole number"}.get(kinds, "a number")
            more = "" if least is None else f" of at least {least}"
            raise ValueError(f"{where}: {name} must be {kind}{more}, got {value!r:.50}")


def _check_outside(out, data):
    """Refuse to write into the pictures: they would be another data set afterwards."""
    if out.resolve().is_relative_to(data.resolve()):
        raise ValueError(f"train: {out} lies in the folder of the pictures, {data}: say another by --out DIR")


def _usual_folder(data):
    if data is None:
        raise ValueError("train: say which folder holds the training to go on with, by --out DIR")
    return Path("runs") / as_path(data).absolute().name


def _filled(given):
    """The options with their defaults."""
    if given["data"] is None:
        raise ValueError("train: say which folder holds the pictures, by --data FOLDER")
    if given["share"] is not None and not 0 < given["share"] < 1:
        raise ValueError(f"train: share must be above 0 and below 1, got {given['share']}")
    usual = {"seed": 0, "share": 0.2, "flip": True}
    return {name: usual.get(name) if value is None else value for name, value in given.items()}


def _begun(out, given):
    """The options that a training was begun with, changed by those given now; and its division."""
    if not (out / OPTIONS).is_file():
        if (out / CHECKPOINT).exists() or given["data"] is None:
            raise FileNotFoundError(
                f"train: {out} holds no training of one's own data ({OPTIONS} is missing)"
            )
        return _filled(given), None  # nothing was begun: begin now
    options = read_json(out / OPTIONS, "train")
    _check_options(options, f"train: {out / OPTIONS}")
    told = {name: value for name, value in given.items() if value is not None}
    fixed = {name: value for name, value in told.items() if name not in ("data", "epochs", "patience")}
    if other := [name for name, value in fixed.items() if options.get(name) != value]:
        was = options.get(other[0], "left to minivis")
        raise ValueError(
            f"train: the training in {out} was begun with {other[0]} {was}, not {told[other[0]]}: only epochs and patience can "
            "change with --resume; for the rest begin anew in another folder"
        )
    planned = options.get("epochs") or 0
    if (out / CHECKPOINT).exists() and told.get("epochs", planned) < planned:
        raise ValueError(
            f"train: the training in {out} was begun with {planned} epochs; with --resume there can be more, but not "
            f"fewer, {told['epochs']}: leave out the epochs, or begin anew in another folder"
        )
    return _filled({**dict.fromkeys(given), **options, **told}), read_json(out / SPLIT, "train")


def _check_free(out):
    if (out / CHECKPOINT).exists() or (out / storage.WEIGHTS).exists():
        raise FileExistsError(
            f"train: {out} holds an earlier training, which is not overwritten: go on with it by --resume, choose another "
            "folder by --out, or delete it"
        )


class _Training:
    """One training: data, model and how both are put together."""

    def __init__(self, options, out, divided):
        self.options, self.out = options, out
        of_model, of_order = np.random.default_rng(options["seed"]).spawn(2)
        self.task = recognise(options["data"], options["share"], options["seed"], divided)
        self.kind = KINDS[self.task.kind]([printable(name) for name in self.task.names])
        if self.task.kind == "classes" and len(self.task.names) < 2:
            raise ValueError(
                f"train: {self.task.folder} has one class, {self.task.names[0]}: at least two are needed, a folder for each"
            )
        wanted = options["model"], options["source"], options["size"]
        self.start = start(self.task.kind, self.task.names, *wanted, of_model)
        self.model = self.start.model
        prepare = self.model.preprocess
        self.changes = Changes(options["flip"])
        self.batch = Batch(self.task.kind, prepare)
        paths = {part: [self.task.folder / path for path in paths] for part, paths in self.task.paths.items()}
        self.train = Samples(self.task.train, paths["train"], prepare)
        self.validation = Samples(self.task.validation, paths["validation"], prepare)
        self.leave_out_broken()
        few = min(len(self.train), max(FEW, len(self.train) // 4))
        room = max(1, MOST_PIXELS // math.prod(self.train[0][0].shape[1:]))
        usual = min(self.kind.batch_size, few, room)
        batch_size = usual if options["batch"] is None else options["batch"]
        self.loader = loader(self.train, self.batch, batch_size, self.changes, of_order)
        self.measured = loader(self.validation, self.batch, 2 * batch_size)
        usual = min(MOST_EPOCHS, max(5, -(-STEPS // len(self.loader))))
        self.epochs = usual if options["epochs"] is None else options["epochs"]
        self.rate = self.start.rate if options["lr"] is None else options["lr"]

    def leave_out_broken(self):
        """Read every picture once, before hours of training, and leave out those that cannot be read, with a note."""
        parts = {"train": self.train, "validation": self.validation}
        count = sum(len(samples) for samples in parts.values())
        with progress_bar(count, unit="picture") as bar:
            broken = [why for samples in parts.values() for why in samples.leave_out_broken(bar.update)]
        if not broken:
            return
        more = f"; and {len(broken) - 3} more" if len(broken) > 3 else ""
        told = f"{len(broken)} of {count} pictures cannot be read: {'; '.join(broken[:3])}{more}"
        if 2 * len(broken) > count or not all(len(samples) for samples in parts.values()):
            raise ValueError(f"train: {told}")
        self.task.notes.append(f"{told}; they are left out")
        for part, samples in parts.items():
            self.task.paths[part] = [self.task.paths[part][i] for i in samples.order]

    def run(self, resume):
        """Train, measure, and write everything."""
        make_folder(self.out, "train")
        options = {name: value for name, value in self.options.items() if value is not None}
        options |= {"data": str(Path(options["data"]).absolute()), "epochs": self.epochs}
        written = {SPLIT: self.task.paths, OPTIONS: options}
        # a training that is running keeps its division; `fit` takes the lock for itself
        with alone_in(self.out, "train"):
            storage.write_files({self.out / name: storage.pack_json(what) for name, what in written.items()})
        print(_table(self.facts()), flush=True)
        try:
            history = self.fit(resume)
        except KeyboardInterrupt:
            if history := self.measured_so_far():
                self.finish(history, stopped=True)
            else:
                print("stopped before the first measurement, so there is no report yet")
            raise
        return self.finish(history)

    def measured_so_far(self):
        """The history of a training that was stopped, or None if it has no row yet."""
        path = self.out / HISTORY
        return (read_json(path, "train") if path.exists() else None) or None

    def facts(self):
        """What is trained on what and how: a name and a sentence each."""
        size = self.train[0][0].shape[1:]
        parameters = sum(p.size for p in self.model.parameters())
        batches = len(self.loader)
        return {
            "data": str(self.task),
            **({"note": "; ".join(self.task.notes)} if self.task.notes else {}),
            "model": f"{self.name}, {_counted(parameters)} parameters, pictures of {size[0]} x {size[1]} pixels",
            "begins": f"with {self.start.origin}",
            "training": f"{self.epochs} epochs of {batches} batches of {self.loader.batch_size} pictures; AdamW, learning "
            f"rate {self.rate:g} with warm-up and cosine",
            "judging": f"the weights with the best {self.kind.metric} are kept; they are chosen by the pictures that are "
            "measured on, so on others expect a little less (minivis evaluate measures on others)",
            "changes": str(self.changes),
        }

    @property
    def name(self):
        """What the model is called on the command line."""
        fits = (name for name, entry in MODELS.items() if isinstance(self.model, entry.of))
        return self.options["model"] or next(fits, type(self.model).__name__)

    def fit(self, resume):
        """The training itself."""
        updates = self.epochs * len(self.loader)
        schedule = optim.cosine(updates, warmup_steps=min(100, updates // 10))
        optimizer = optim.AdamW(optim.decay_groups(self.model, 0.02), lr=self.rate, schedule=schedule)
        return fit(
            self.model,
            self.loader,
            self.kind.loss,
            optimizer,
            epochs=self.epochs,
            clip=1.0,
            evaluate=lambda model: self.kind.measure(model, self.measured),
            every=len(self.loader) * max(1, self.epochs // ROWS),
            monitor=self.kind.metric,
            patience=self.options["patience"],
            out=self.out,
            resume=resume,
            settings={"seed": self.options["seed"], "classes": list(self.task.names), "lr": self.rate},
        )

    def finish(self, history, stopped=False):
        """Measure the model, write ``metrics.json`` and the report, and say what to do next."""
        found = self.kind.measure(self.model, self.measured)
        n = len(self.validation)
        metrics = {"metric": self.kind.metric, "value": float(found[self.kind.metric]), "n": n}
        metrics |= {name: float(value) for name, value in found.items()}
        baseline = self.kind.baseline(self.measured)
        metrics |= {} if baseline is None else {"baseline": {baseline[0]: baseline[1]}}
        metrics |= {"seconds": round(history["seconds"][-1], 1), "steps": history["step"][-1]}
        compared = "" if baseline is None else f" ({baseline[0]}: {baseline[1]:.3f})"
        result = (
            f"{self.kind.figure}: {metrics['value']:.3f} on {n} pictures that were not trained on{compared}"
        )
        commands = self.commands(stopped)
        page = Report(
            title=f"{self.name}, trained on {self.task.folder.name}",
            facts=self.facts(),
            result=result,
            stopped=stopped,
            figures=self.figures(history),
            commands=commands,
        )
        write(page, self.out / REPORT)
        storage.write_files({self.out / METRICS: storage.pack_json(metrics)})
        print(printable(result), _table({"report": self.out / REPORT, **commands}), sep="\n")
        return metrics

    def figures(self, history):
        """Headings and pictures of the report."""
        from minivis import viz

        yield "The training", viz.training_curves(history, self.kind.metric)
        yield from self.kind.pictures(self.model, self.measured, self.batch.colours)

    def commands(self, stopped):
        """What to type next: after Ctrl-C go on to the end, otherwise as long again."""
        again = f"minivis train --data {_quoted(self.options['data'])} --out DIR"
        again += f" --model {self.name}" if self.name in MODELS else ""
        changed = ("source", "epochs", "size", "batch", "lr", "seed", "share", "patience")
        usual = _filled({**dict.fromkeys(self.options), "data": ""})
        told = {name: self.options[name] for name in changed if self.options[name] != usual.get(name)}
        for name, value in told.items():
            again += f" --{'from' if name == 'source' else name} {_quoted(value)}"
        again += "" if self.options["flip"] else " --no-flip"
        out = _quoted(self.out)
        return {
            "predict": f"minivis predict {out} PHOTO",
            "go on": f"minivis train --resume --out {out}"
            + ("" if stopped else f" --epochs {2 * self.epochs}"),
            "repeat": again,
        }


def _counted(parameters):
    """A number of parameters with two digits that count, for people."""
    rounded = round(parameters, 2 - len(str(parameters)))
    return f"{rounded / 1e6:g} million" if rounded >= 1e6 else f"{rounded:,}"


def _quoted(given):
    return shlex.quote(str(given))


def _table(lines):
    """Names and texts below each other."""
    return "\n".join(f"{name:<10}{printable(str(said))}" for name, said in lines.items())
