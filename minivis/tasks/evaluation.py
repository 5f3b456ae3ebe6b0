"""`minivis evaluate`: measure a model, published or one's own, on pictures whose truth is known.

Not here: finding the pictures (truth.py), the numbers for each kind (scores.py).
"""

import dataclasses
import time
from pathlib import Path

import numpy as np

from minivis.data.images import image_size, read_image
from minivis.files import as_path, make_folder, pack_json, write_files
from minivis.listed import counted
from minivis.pretrained.prediction import load, run_model, worth_reading
from minivis.progress import progress_bar
from minivis.tasks.class_names import model_classes
from minivis.tasks.scores import SCORES, SEMANTIC, answers_segments
from minivis.tasks.truth import held_out

__all__ = ["evaluate"]

RESULT = "evaluation.json"
BATCH = 8  # pictures that a classifier reads at once


def evaluate(source, data, count=None, out=None):
    """Measure a model on pictures whose truth is known, and print the result.

    Parameters
    ----------
    source : str or path
        A published folder, the folder of a training, or the name of a small model that comes with minivis.
    data : str or path
        A folder, or a list in COCO's format. What is measured follows from what it holds and from what the model answers:

        - pictures in a folder for each class, ImageNet's too: top-1 and top-5 accuracy;
        - COCO's list of boxes (``annotations/instances_val2017.json``): COCO's twelve numbers;
        - COCO's list of panoptic segments (``annotations/panoptic_val2017.json`` and the folder of maps beside it): PQ, SQ and
          RQ, also of things and of stuff; or the mean IoU of a model that only names pixels;
        - ``images/`` and ``masks/``: mean IoU.

        Of a divided folder the part for validation is taken, and of a folder that the model was trained on by `train` the
        pictures that were kept for measuring.
    count : int, optional
        So many pictures, evenly spaced in the order of the data; default: all.
    out : str or path, optional
        A folder for ``evaluation.json``: the result and how it was measured.

    Returns
    -------
    dict
        ``metric`` (the name of the main number) and ``value``, ``n``, the other numbers, and how it was measured. Numbers are from
        0 to 1, or -1 where there is no such object.

    Raises
    ------
    FileNotFoundError
        If there is no such model or data.
    ValueError
        If the model answers something else than the data ask for, does not know a class of the data, or `count` is below 1.

    Notes
    -----
    Photos are prepared as the model's own settings say. Detectors and segmenters read one photo at a time, without padding.
    Photos with a class or boxes are reduced while they are decoded, to no less than twice what the model reads. Boxes of
    classes that the data do not name are left out, as COCO's own code does; pixels of such classes are wrong.

    References
    ----------
    Russakovsky et al., "ImageNet large scale visual recognition challenge", IJCV 2015, for the top 5; Lin et al., "Microsoft
    COCO: common objects in context", ECCV 2014. Slides with such results: ``H/11-vit-results``,
    ``H/23-detr-against-faster-rcnn``, ``H/25-detr-panoptic-results``, ``H/35-segmenter-against-fcn``,
    ``H/37-segmenter-speed-and-data``.

    Examples
    --------
    >>> import tempfile
    >>> from minivis.data import examples
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = evaluate("detr-shapes", examples.write_scenes(folder, count=4))
    detr-shapes on ...
    >>> found["metric"], found["n"]
    ('AP', 4)
    """
    if count is not None and not (hasattr(count, "__index__") and count >= 1):
        raise ValueError(f"evaluate: count must be a whole number of at least 1, got {count!r:.50}")
    model = load(source)
    found = held_out(data, segments=answers_segments(model), trained=as_path(source))
    if found.kind == "panoptic" and isinstance(model, SEMANTIC):  # its classes are those of the pixels
        found = dataclasses.replace(found, kind="masks")
    _check(source, model, found)
    near = found.paths[0].parent.parent if found.kind == "classes" else Path(data)
    classes, matched = model_classes(found.names, model.labels, near, getattr(model, "background", 0))
    scores = SCORES[found.kind](model, found.names, classes, found.things)
    n = len(found.paths)
    chosen = (
        np.arange(n) if count is None else np.unique(np.linspace(0, n - 1, min(n, count)).round().astype(int))
    )
    start = time.monotonic()
    _measure(source, model, found, scores, chosen)
    seconds = time.monotonic() - start
    numbers = {name: float(value) for name, value in scores.compute().items()}
    metric = next(iter(numbers))
    result = {
        "metric": metric,
        "value": numbers[metric],
        "n": len(chosen),
        **numbers,
        "model": str(source),
        "data": str(data),
        "pictures": found.told,
        "kind": found.kind,
        "classes": len(classes),
        "classes matched": matched,
        "preprocess": _settings(model),
        "seconds": round(seconds, 1),
    }
    print(_told(result, numbers))
    if out is not None:
        out = make_folder(out, "evaluate")
        write_files({out / RESULT: pack_json(result)})
        print(f"written to {out / RESULT}")
    return result


def _settings(model):
    """How the model prepares photos, as far as it can be written down."""
    return model.preprocess.settings() if hasattr(model.preprocess, "settings") else str(model.preprocess)


def _check(source, model, found):
    """Show the model one picture: does it answer what the data ask for?"""
    _, image, prepared = _prepared(model, found.paths[0])
    output = run_model(source, model, prepared, image.shape[1:])
    scores = SCORES[found.kind]
    if not scores.fits(output):
        raise ValueError(
            f"evaluate: {found.told} asks for {scores.answers}, and {source}, a {type(model).__name__}, answers something else: "
            "name other data, or another model"
        )


def _prepared(model, path):
    """The size of a photo, the photo, and the batch of it that the model reads."""
    photo = image_size(path)
    image = read_image(path, shortest=worth_reading(model, *photo))
    return photo, image, model.preprocess(image)


def _measure(source, model, found, scores, chosen):
    """Run the model on the chosen pictures and score each answer."""
    with progress_bar(len(chosen), unit="picture") as bar:
        waiting = []
        for place, i in enumerate(chosen):
            photo, image, prepared = _prepared(model, found.paths[i])
            waiting.append((i, photo, image.shape[1:], prepared))
            full = len(waiting) == (BATCH if found.kind == "classes" else 1)
            if full or place + 1 == len(chosen):
                for group in _of_one_size(waiting):
                    _score(source, model, found, scores, group)
                for _ in waiting:
                    bar.update()
                waiting = []


def _of_one_size(waiting):
    """The pictures in groups that can be read as one batch."""
    groups = {}
    for one in waiting:
        groups.setdefault(one[-1].shape, []).append(one)
    return groups.values()


def _score(source, model, found, scores, group):
    """Run the model on a batch and score its answers, one by one."""
    batch = np.concatenate([prepared for *_, prepared in group])
    output = run_model(source, model, batch, group[0][2])
    for place, (i, photo, *_) in enumerate(group):
        own = output if len(group) == 1 else output[place : place + 1]
        scores.add(own, found.truth(i), photo, batch.shape[2:])


def _told(result, numbers):
    """The result in words: six numbers on a line."""
    shown = [f"{name} {value:.3f}" if value >= 0 else f"{name} -" for name, value in numbers.items()]
    lines = ["  ".join(shown[i : i + 6]) for i in range(0, len(shown), 6)]
    what = (
        f"{counted(result['n'], 'picture', 'pictures')} of {result['pictures']}, {counted(result['classes'], 'class', 'classes')} "
        f"matched {result['classes matched']}, {result['seconds']:.1f} s"
    )
    return "\n".join([f"{result['model']} on {what}", *lines])
