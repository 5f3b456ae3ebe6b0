"""`minivis predict`: apply a model to photos, draw the classes, boxes or masks on them, and write a table of them.

Not here: the models, the preparation of photos (data/preprocess.py), one photo's result in words (description.py).
"""

import contextlib
import csv
import functools
import io
import sys
from pathlib import Path
from typing import NamedTuple

from minivis.autograd import no_grad
from minivis.data.folders import SUFFIXES, is_hidden
from minivis.data.images import image_size, read_image
from minivis.files import as_path, make_folder, write_files
from minivis.listed import counted
from minivis.models import CLIP, MAE, RTDETR, SAM, YOLO, ViViT, YOLOv2
from minivis.pretrained import hub
from minivis.pretrained.description import describe, printable
from minivis.pretrained.folder import from_pretrained, is_published
from minivis.pretrained.own import load_ready
from minivis.vision import automatic_masks

__all__ = ["Prediction", "predict", "worth_reading"]

# what cannot be drawn on one photo, and where to look instead
OTHERWISE = {
    CLIP: "compares pictures with texts: call model.encode_image and model.encode_text, as notebook 12 does",
    MAE: "paints hidden patches: viz.masked_pictures draws them, as in notebook 09",
    ViViT: "watches films, arrays (B, T, C, H, W): call it with some, as notebook 13 does",
}
ENDING = "-predicted.png"
TABLE = "predictions.csv"
COLUMNS = ("photo", "class", "score", "x0", "y0", "x1", "y1", "share")
DRAWN = 800  # pixels of the shorter side that a drawing needs at least


class Prediction(NamedTuple):
    """What became of one of several photos.

    Attributes
    ----------
    photo : Path
        The photo.
    picture : Path or None
        The photo with the predictions drawn on; None if the photo could not be read.
    rows : list of dict
        ``class`` and ``score``, and the corners ``x0, y0, x1, y1`` of a box in pixels of the photo, or ``share``, the part of
        the photo that a segment covers; one row for each object or segment, or for the likeliest class.
    error : str or None
        Why the photo could not be read.
    """

    photo: Path
    picture: Path | None
    rows: list
    error: str | None


def predict(source, photos, out=None, threshold=None, things=None):
    """Apply a model to one photo or several, print the predictions and draw them on the photos.

    Parameters
    ----------
    source : str or path
        A published folder, the folder of a finished training, or the name of a small model that comes with minivis.
    photos : str or path, or list of these
        Picture files, and folders: of a folder all pictures are taken, those in its folders too, but not hidden ones and
        those that `predict` has drawn. A large photo is reduced while it is decoded.
    out : str or path, optional
        For one photo the picture to write, or a folder for it; the default is the photo's name with ``-predicted.png`` at the
        end, in the current folder. For several photos, or a folder, the folder to write their pictures and a table, ``predictions.csv``, into;
        the default is ``predictions``.
    threshold : float, optional
        Minimal score of a box or mask. The default is 0.7 for boxes, 0.5 for RT-DETR's, 0.85 for DETR's masks, 0.8 for those of
        MaskFormer and Mask2Former, and 0.88 for the IoU that a SAM expects of a mask (0.7 for a small SAM). A SAM is asked
        about a grid of points.
    things : list of str, optional
        Names or numbers of the classes that are things, for a panoptic model for which this is unknown.

    Returns
    -------
    Path, or list of Prediction
        For one photo the path of the picture. For several what became of each: a broken photo is reported and passed over.

    Raises
    ------
    FileNotFoundError
        If there is no such model, photo or picture in a folder.
    ValueError
        If a file of the model or the only photo is broken, a picture would overwrite a photo, the threshold is not within
        [0, 1], or `things` names a class that the model does not have.

    Examples
    --------
    >>> import tempfile
    >>> from minivis.data import examples
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     photos = examples.write_image_folder(folder, count=4)
    ...     found = predict("swin-shapes", photos, f"{folder}/out")
    beach/001.jpg ...
    4 photos drawn in ...
    >>> found[0].rows[0]["class"], found[0].error is None
    ('triangle', True)
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise ValueError(f"predict: threshold must be within [0, 1], got {threshold}")
    given = [photos] if isinstance(photos, str | Path) else list(photos)
    if not given:
        raise ValueError("predict: no photo was given: name pictures, or folders that hold some")
    if len(given) == 1 and not as_path(given[0]).is_dir():
        return _predict_one(source, as_path(given[0]), out, threshold, things)
    return _predict_many(source, _listed(given), Path(out or "predictions"), threshold, things)


def _predict_one(source, photo, out, threshold, things):
    out = Path(out or ".")
    if out.is_dir():
        out /= f"{photo.stem}{ENDING}"
    image_size(photo)  # before the model, so that a missing photo is reported at once
    if out.exists() and out.samefile(photo):
        raise ValueError(f"predict: out is the photo itself, {photo}: name another file")
    if not out.absolute().parent.is_dir():
        raise FileNotFoundError(
            f"predict: there is no folder {out.absolute().parent} to write {out.name} into"
        )
    model = _ready(source, things)
    described = describe(model, *_answered(source, model, photo, threshold))
    print(*described.lines, sep="\n")
    described.figure.save(out)
    print(f"drawn on {out}")
    return out


def _predict_many(source, photos, out, threshold, things):
    from tqdm.auto import tqdm

    if out.is_file() or out.suffix.lower() in SUFFIXES:
        raise ValueError(
            f"predict: out must be a folder for {counted(len(photos), 'photo', 'photos')}, got {out}"
        )
    pictures = _pictures(photos, out)
    model = _ready(source, things)
    out = make_folder(out, "predict")
    results = []
    wide = max(len(name) for name in photos)
    for name, path in tqdm(photos.items(), "photos", unit="photo", disable=None, dynamic_ncols=True):
        try:
            answered = _answered(source, model, path, threshold)
        except (ValueError, OSError) as error:
            why = str(error).removeprefix("image_size: ").removeprefix("read_image: ")
            results.append(Prediction(path, None, [], why))
            tqdm.write(f"{printable(name):{wide}}  passed over: {why}", file=sys.stderr)
            continue
        described = describe(model, *answered)
        pictures[name].parent.mkdir(parents=True, exist_ok=True)
        described.figure.save(pictures[name])
        results.append(Prediction(path, pictures[name], described.rows, None))
        tqdm.write(f"{printable(name):{wide}}  {described.summary}", file=sys.stdout)
    write_files({out / TABLE: _table(photos, results)})
    broken = sum(result.error is not None for result in results)
    told = f", {broken} passed over" if broken else ""
    print(
        f"{counted(len(results) - broken, 'photo', 'photos')} drawn in {out}{told}; the table is {out / TABLE}"
    )
    return results


def _answered(source, model, photo, threshold):
    """Read a photo and run the model on it: the arguments of `describe` after the model."""
    height, width = image_size(photo)
    image = read_image(photo, shortest=worth_reading(model, height, width, DRAWN))
    batch = model.preprocess(image)
    output = run_model(source, model, batch, image.shape[1:], threshold)
    return output, image, threshold, batch.shape[2:], (height, width)


def worth_reading(model, height, width, least=1):
    """How many pixels of the shorter side of a photo are worth reading: twice what the model resizes it to, and `least`.

    Parameters
    ----------
    model : Module
        With ``preprocess``.
    height, width : int
        Of the photo.
    least : int, default 1
        What else needs so many.

    Returns
    -------
    int or None
        None for all of them.
    """
    if not hasattr(model.preprocess, "new_size"):
        return None
    needed = min(model.preprocess.new_size(height, width))
    if getattr(model, "min_size", None):  # a detector with regions resizes photos itself
        needed = model.min_size
    return max(2 * needed, least)


def _listed(given):
    """{name: path} of all photos, those in folders too. A name is the path as it was given, or from the folder on."""
    photos = {}
    for path in map(as_path, given):
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            inside = [p for p in inside if not p.name.endswith(ENDING)]
            inside = [p for p in inside if not any(map(is_hidden, (p, *p.relative_to(path).parents)))]
            if not inside:
                raise FileNotFoundError(f"predict: there is no picture in the folder {path}")
            found = {p.relative_to(path).as_posix(): p for p in inside}
        elif not path.exists():
            raise FileNotFoundError(f"predict: there is no photo {path}")
        else:
            found = {path.name: path}
        for name, photo in found.items():
            photos[name if name not in photos else photo.as_posix()] = photo
    return photos


def _pictures(photos, out):
    """{name of a photo: the picture to write}: no two alike, and none that is one of the photos."""
    pictures = {}
    taken = set()
    for name in photos:
        inside = Path(*[part for part in Path(name).parts if part not in (Path(name).anchor, "..")])
        picture = out / inside.with_name(inside.stem + ENDING)
        if picture in taken:  # cat.jpg beside cat.png
            picture = out / inside.with_name(inside.name + ENDING)
        if picture in taken:
            raise ValueError(
                f"predict: two photos would both be drawn as {picture}: show them one after the other"
            )
        taken.add(picture)
        pictures[name] = picture
    own = {path.resolve() for path in photos.values()}
    if clash := [picture for picture in pictures.values() if picture.resolve() in own]:
        raise ValueError(
            f"predict: the picture {clash[0]} would overwrite a photo: name another folder with out"
        )
    return pictures


def _table(photos, results):
    """The rows of all photos as the bytes of a csv file; a photo in which nothing was found has a row of its name."""
    rows = [
        {"photo": name, **row}
        for name, result in zip(photos, results, strict=True)
        if result.error is None
        for row in result.rows or [{}]
    ]
    text = io.StringIO()
    used = [column for column in COLUMNS if any(row.get(column) is not None for row in rows)]
    writer = csv.DictWriter(text, used, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: f"{x:.4g}" if isinstance(x, float) else x for key, x in row.items()})
    return text.getvalue().encode("utf-8-sig")  # so that spreadsheets know that it is UTF-8


def _ready(source, things):
    """The model, with the things that the user has named."""
    model = load(source, things)
    if type(model) in OTHERWISE:
        raise ValueError(f"predict: {source} {OTHERWISE[type(model)]}")
    return model


def load(source, things=None):
    """Load a model that is ready for photos: a published one, or one of minivis.

    Parameters
    ----------
    source : str or path
        A folder; the name of a small model that comes with minivis; or that of a checkpoint which `minivis fetch` has brought.
    things : list of str, optional
        Names or numbers of the classes that are things; see `predict`.
    """
    place = as_path(source)
    if not place.exists():
        with contextlib.suppress(ValueError):  # it is no such name
            place = hub.fetched(source) or source
        if source in hub.KNOWN and place == source:
            raise FileNotFoundError(
                f"load: {source} is not on this machine yet: `minivis fetch {source}` brings it"
            )
    if is_published(place):
        return from_pretrained(place, dtype="float32", things=things)
    return load_ready(place, things)


def run_model(source, model, batch, photo=None, threshold=None):
    """The model's output for a preprocessed photo. Raise a clear error if model and preprocessing do not fit together.

    ``photo`` is the height and width of the photo itself. A SAM answers with a list of `FoundMask`.
    """
    # a YOLO itself returns its grid, an RT-DETR its queries
    answer = model.detect if isinstance(model, RTDETR | YOLO | YOLOv2) else model
    if isinstance(model, SAM):
        picture = model.preprocess.new_size(*photo)
        options = {"picture": picture, "photo": photo}
        if min(model.prompt_encoder.grid) < 32:  # of a small picture the border is a larger part
            options |= {"side": min(model.prompt_encoder.grid), "iou": 0.7, "stability": 0.9}
        options |= {} if threshold is None else {"iou": threshold}
        answer = functools.partial(automatic_masks, model, **options)
    try:
        with no_grad():
            return answer(batch)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"predict: {source}: the model cannot read a photo as its settings prepare it, {tuple(batch.shape)}: {error}"
        ) from error
