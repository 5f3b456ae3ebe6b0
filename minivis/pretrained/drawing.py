"""`minivis show`: draw the architecture of a model, given by name or folder, as in papers.

Not here: the drawing (viz/model_drawing.py), predictions for a photo (prediction.py).
"""

import difflib
import inspect
import re
from pathlib import Path

from minivis import models, storage
from minivis.files import as_path, hub_hint, read_json
from minivis.models import size_table
from minivis.nn import init
from minivis.pairs import pair
from minivis.pretrained.folder import CONFIG, WEIGHTS, from_pretrained

__all__ = ["names", "show"]

INPUT = r"\(B, ((\d+, )?\d+, \d+, \d+)\)"  # the shape of the images, or of the films, in a model card
SUFFIXES = (".png", ".svg", ".pdf")


def names():
    """The names that `show` knows: the small models that come with minivis, then the published sizes.

    Returns
    -------
    list of str

    Examples
    --------
    >>> {"detr-shapes", "vit_b16"} <= set(names())
    True
    """
    return [*storage.names(), *_published()]


def show(source, out=None, size=None, closed=()):
    """Draw the architecture of a model and write the picture.

    Parameters
    ----------
    source : str or path
        A name from `names`, or the folder of a published or trained checkpoint. If a folder of that name exists, it is used.
    out : str or path, optional
        The picture to write; the suffix chooses PNG, SVG or PDF. The default is the name with ``-architecture.png`` at the
        end, in the current folder.
    size : int, optional
        Height and width of the image passed through the model, in pixels. The default is the size the model was made for.
    closed : sequence of str
        Names of modules to draw as one box.

    Returns
    -------
    Path
        Path of the picture.

    Raises
    ------
    FileNotFoundError
        If there is no such model, or the folder of ``out`` does not exist.
    ValueError
        If a file is broken, the suffix is unknown, or the model does not accept an image of this size.
    """
    from minivis import viz

    out = Path(out or f"{as_path(source).resolve().name}-architecture.png")
    if out.suffix.lower() not in SUFFIXES:
        raise ValueError(f"show: {out.name} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    if not out.absolute().parent.is_dir():
        raise FileNotFoundError(f"show: there is no folder {out.absolute().parent} to write {out.name} into")
    model = _find(source)
    given, words = _input(source, model, size)
    try:
        figure = viz.architecture(model, given, closed)
    except (ValueError, MemoryError) as error:
        if str(error).startswith("architecture:"):
            raise
        raise ValueError(f"show: {source} with {words}: {error}; choose another size") from error
    figure.save(out)
    print(f"{type(model).__name__}, passed {words}: drawn on {out}")
    return out


def _published():
    """Constructors of published sizes, by name."""
    found = {name: getattr(models, name) for name in models.__all__}
    return {
        name: build
        for name, build in found.items()
        if not isinstance(build, type) and next(iter(inspect.signature(build).parameters)) == "num_classes"
    }


def _find(source):
    """Load or make the model with this name or folder."""
    folder = as_path(source)
    if any((folder / file).is_file() for file in (CONFIG, WEIGHTS)):
        # the files of authors have no config.json
        own = (folder / CONFIG).is_file() and "arguments" in read_json(folder / CONFIG)
        return storage.load(folder) if own else from_pretrained(folder, dtype="float32")
    if not folder.exists() and str(source) in _published():
        with init.skip_init():  # the drawing needs only shapes
            return _published()[str(source)]()
    if folder.exists() or str(source) in storage.names():
        return storage.load(source)
    closest = difflib.get_close_matches(str(source), names(), n=1)
    raise FileNotFoundError(
        f"show: there is no folder {source} and no model of that name"
        + (f"; did you mean {closest[0]!r}?" if closest else f" (there are: {', '.join(names())})")
        + hub_hint(source)
    )


def _input(source, model, size):
    """What is passed through the model, and its name: the example of a model that takes no picture, or a picture."""
    if hasattr(model, "example"):
        if size is not None:
            raise ValueError(
                f"show: {type(model).__name__} takes no picture, so --size has no meaning for it"
            )
        return model.example(), "an example of its input"
    shape = _input_shape(source, model, size)
    return shape, f"a {'film' if len(shape) == 5 else 'picture'} {shape}"


def _input_shape(source, model, size):
    """Shape (1, C, H, W) of an image for the model: C of its first convolution, H and W for which it was made.

    For a model of films the shape is (1, T, C, H, W).
    """
    # the first of its parts that was made for a size, such as the encoder of a masked autoencoder
    made = next((m.config for m in model.modules() if "image_size" in getattr(m, "config", {})), {})
    kernel = next((p.shape for p in model.parameters() if p.ndim in (4, 5)), (1, 3))
    channels = kernel[1]
    film = (made["frames"],) if "frames" in made else ()
    if size is not None:
        return (1, *film, channels, size, size)
    card = (as_path(source) if as_path(source).is_dir() else storage.PACKAGED / str(source)) / "card.json"
    if card.is_file() and (told := re.match(INPUT, str(read_json(card).get("input")))):
        return (1, *map(int, told[1].split(", ")))
    if not as_path(source).exists() and str(source) in size_table.INPUTS:
        return size_table.INPUTS[str(source)]
    height, width = pair(made.get("image_size", 224))
    return (1, *film, channels, height, width)
