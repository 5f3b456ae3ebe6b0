"""Read how a published model prepares photos: its preprocessor_config.json becomes a `Preprocess`; and back.

Not here: the preparation itself (data/preprocess.py), processing the model's output (postprocess.py).
"""

from typing import NamedTuple

from minivis.data.preprocess import MOST_SIDE, USUAL, Preprocess, sides_within
from minivis.listed import told
from minivis.pretrained.settings import Settings

__all__ = ["hub_settings", "preprocess_of"]

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}


class Kind(NamedTuple):
    """The defaults of a processor of transformers, for values that are absent or null in its file."""

    square: bool  # whether a plain number as size is the length of both sides, or of the shorter side
    statistics: tuple
    resample: int | None  # None: the default differs between versions of transformers
    crop: int | None = None
    divisor: int = 1
    normalize: bool = True


# keys are beginnings of the processor's name; the first match counts
KINDS = {
    "ViTHybrid": Kind(False, HALF, 3, 224),
    "ViT": Kind(True, HALF, 2),
    "DeiT": Kind(True, HALF, 3, 224),
    "Beit": Kind(True, HALF, 3, 224),
    "CLIP": Kind(False, CLIP, 3, 224),
    "Bit": Kind(False, CLIP, 3, 224),
    "ConvNext": Kind(False, HALF, None),
    "Vivit": Kind(False, HALF, 2, 224),
    "Sam": Kind(False, IMAGENET, 2),
    **dict.fromkeys(
        ["Detr", "ConditionalDetr", "DeformableDetr"],
        Kind(False, IMAGENET, 2),
    ),
    "RTDetr": Kind(False, IMAGENET, 2, normalize=False),
    **dict.fromkeys(["MaskFormer", "Mask2Former"], Kind(False, IMAGENET, 2, divisor=32)),
}


def preprocess_of(settings, path="preprocessor_config.json", **options):
    """Make a `Preprocess` from a preprocessor_config.json, old or new, or from timm's ``pretrained_cfg``.

    Parameters
    ----------
    settings : dict
        The parsed file. For values that are absent or null, transformers' default for that processor is used.
    path : path
        Name of the file, for error messages.
    **options
        dtype, device and note of the result.

    Returns
    -------
    Preprocess

    Raises
    ------
    ValueError
        If the file has invalid settings, or settings that minivis does not support.

    Examples
    --------
    >>> settings = {"image_processor_type": "ViTImageProcessor", "size": {"height": 8, "width": 8}}
    >>> preprocess_of(settings).size
    (8, 8)
    """
    try:
        checked = Settings("it", settings)
        found = (_hub if checked.get("input_size") is None else _timm)(checked)
    except (ValueError, ArithmeticError) as error:
        raise ValueError(f"from_pretrained: {path}: photos cannot be prepared by it: {error}") from error
    return Preprocess(**found, **{"file": str(path), **options})


# the settings of a size that the processors of transformers obey; what else is in their files, they pass over
SIZES = {
    "ViTHybrid": {"size", "shortest", "crop"},
    "ViT": {"size"},
    "DeiT": {"size", "crop"},
    "CLIP": {"size", "shortest", "crop"},
    "Bit": {"size", "shortest", "crop"},
    "ConvNext": {"shortest", "crop"},
    "Vivit": {"size", "shortest", "crop"},
    "Sam": {"longest", "pad_to", "always_pad"},
    **dict.fromkeys(["Detr", "RTDetr"], {"size", "shortest", "longest", "box", "pad_to"}),
    **dict.fromkeys(["MaskFormer", "Mask2Former"], {"size", "shortest", "longest", "divisor", "pad_to"}),
}
CLASSIFIERS = ("ViT", "DeiT", "Bit", "ConvNext", "Vivit", "CLIP")
ANY_SIZE = "BitImageProcessor"  # for a classifier whose own processor knows fewer sizes


def hub_settings(preprocess, processor):
    """The preprocessor_config.json of a `Preprocess`: the inverse of `preprocess_of`.

    Parameters
    ----------
    preprocess : Preprocess
    processor : str
        transformers' class of the model's family, such as "ViTImageProcessor". Another one is taken if this one does not
        know a size that keeps the aspect ratio, or a crop.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If no processor does the same; the message names the setting.

    Examples
    --------
    >>> hub_settings(Preprocess(size=(8, 8)), "ViTImageProcessor")["size"]
    {'height': 8, 'width': 8}
    """
    if not hasattr(preprocess, "settings"):
        raise ValueError("model.preprocess is code, which a file of settings cannot hold")
    if special := [name for name in ("grey", "finish") if getattr(preprocess, name)]:
        raise ValueError(f"the hub's processors cannot say {special[0]}={getattr(preprocess, special[0])!r}")
    if preprocess.scale <= 0:
        raise ValueError(f"the hub's processors cannot say scale={preprocess.scale:g}")
    others = [ANY_SIZE] if processor.startswith(CLASSIFIERS) else []
    unsaid = []
    for name in dict.fromkeys([processor, *others]):
        settings = _written(preprocess, name)
        if not (wrong := _unsaid(preprocess, settings, name)):
            return settings
        unsaid += wrong
    raise ValueError(f"the hub's {processor} cannot say {unsaid[0]}={getattr(preprocess, unsaid[0])!r}")


def _unsaid(preprocess, settings, name):
    """The fields of a `Preprocess` that do not come back from settings written for one processor."""
    known = next(SIZES[start] for start in SIZES if name.startswith(start))
    if (
        name.startswith(("Detr", "RTDetr", "MaskFormer", "Mask2Former"))
        and preprocess.shortest
        and not preprocess.longest
    ):
        return ["longest"]
    read = preprocess_of(settings)
    usual = set().union(*SIZES.values()) - known  # these must have their defaults
    return [
        field
        for field, default in USUAL.items()
        if not _close(default if field in usual else getattr(read, field), getattr(preprocess, field))
    ]


def _close(a, b):
    """Whether two settings are equal but for the rounding of a mean that is moved by 1."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(_close(x, y) for x, y in zip(a, b, strict=True))
    return abs(a - b) <= 1e-12 * abs(a) if isinstance(a, float) and isinstance(b, float) else a == b


def _written(preprocess, name):
    """The settings of a `Preprocess` in the words of one processor, as far as it has words for them."""
    film = name.startswith("Vivit")
    size = _written_size(preprocess)
    mean = [m - 1 for m in preprocess.mean] if film else list(preprocess.mean)
    std = list(preprocess.std)
    return {
        "image_processor_type": name,
        "do_resize": size is not None,
        **({"size": size} if size else {}),
        "resample": preprocess.resample,
        "do_rescale": True,
        "rescale_factor": preprocess.scale,
        "do_normalize": (mean, std) != ([0.0] * 3, [1.0] * 3),
        "image_mean": mean,
        "image_std": std,
        **({"offset": True} if film else {}),
        **_written_frame(preprocess, name),
    }


def _written_frame(preprocess, name):
    """The settings of crops and borders."""
    crop, pad_to = preprocess.crop, preprocess.pad_to
    if name.startswith("ConvNext") and crop and preprocess.shortest:  # it resizes to more, and crops
        return {"size": {"shortest_edge": crop[0]}, "crop_pct": crop[0] / preprocess.shortest}
    written = {"do_pad": True, "pad_size": _two(pad_to)} if pad_to else {}
    if name.startswith(("MaskFormer", "Mask2Former")):
        written["size_divisor"] = preprocess.divisor
    if "crop" in next(SIZES[start] for start in SIZES if name.startswith(start)):
        written |= {"do_center_crop": True, "crop_size": _two(crop)} if crop else {"do_center_crop": False}
    return written


def _written_size(preprocess):
    if preprocess.size:
        return _two(preprocess.size)
    if preprocess.box:
        return {f"max_{side}": value for side, value in _two(preprocess.box).items()}
    edges = {"shortest_edge": preprocess.shortest, "longest_edge": preprocess.longest}
    return {key: value for key, value in edges.items() if value} or None


def _two(sides):
    return {"height": sides[0], "width": sides[1]}


def _hub(settings):
    """Fields of Preprocess from transformers' settings."""
    name = settings.get("image_processor_type") or settings.get("feature_extractor_type") or ""
    kind = next((KINDS[start] for start in KINDS if str(name).startswith(start)), None)
    found = {"resample": _filter(settings, kind)}
    if settings.flag("do_resize", True):
        found |= _resizing(settings, str(name), kind)
    usual = kind.crop if kind else None
    crops = settings.flag("do_center_crop", bool(usual or settings.get("crop_size")))
    if crops and (settings.get("crop_size") or usual):
        found["crop"] = _sides(settings, "crop_size", usual)
    film = str(name).startswith("Vivit")
    rescales = settings.flag("do_rescale", True)
    usual = 1 / 127.5 if film else 1 / 255
    found["scale"] = settings.number("rescale_factor", usual, 1e-9, 1e9) if rescales else 1.0
    if settings.flag("do_normalize", kind.normalize if kind else True):
        mean, std = kind.statistics if kind else (None, None)
        found["mean"] = _three(settings, "image_mean", mean, -1e9)
        found["std"] = _three(settings, "image_std", std, 1e-9)
    # bytes become -1 to 1 before the mean is subtracted
    if film and rescales and settings.flag("offset", True):
        found["mean"] = tuple(1 + value for value in found.get("mean", (0.0, 0.0, 0.0)))
    if settings.flag("do_pad", True) and settings.get("pad_size"):
        found["pad_to"] = _sides(settings, "pad_size")
    if str(name).startswith("Sam"):  # its image encoder takes one size only
        longest = found.get("longest", 1024)
        found = {"pad_to": (longest, longest), "always_pad": True, **found}
    return found


def _filter(settings, kind):
    """The filter for resizing: Pillow's number, given as number or name."""
    value = settings.get("resample", kind.resample if kind else None)
    if isinstance(value, str) and value in FILTERS:
        return FILTERS[value]
    if type(value) is not int or value not in FILTERS.values():
        raise ValueError(
            f"resample must be a number from 0 to 5, or one of {', '.join(FILTERS)}, got {told(value)}"
        )
    return value


def _resizing(settings, name, kind):
    """The fields of Preprocess for resizing, from one of transformers' four ways to write them."""
    if name.startswith("Sam"):
        size = settings.part("size") or Settings("it", {"longest_edge": 1024})
        return {"longest": size.whole("longest_edge", None, 1, MOST_SIDE)}
    usual = settings.whole("size_divisibility", kind.divisor if kind else 1, 0, MOST_SIDE)
    divisor = {"divisor": settings.whole("size_divisor", usual, 0, MOST_SIDE) or 1}
    if isinstance(settings.get("size"), dict):
        size = settings.part("size")
    elif isinstance(settings.get("size"), list) or (kind and kind.square):
        return {"size": _sides(settings, "size"), **divisor}
    elif kind:
        size = Settings("it", {"shortest_edge": settings.whole("size", None, 1, MOST_SIDE)})
    else:
        raise ValueError(
            f"size is {told(settings.get('size'))}, and what that means to a {told(name)} is not known: write "
            '{"height": ..., "width": ...} or {"shortest_edge": ...}'
        )
    if size.get("height") is not None:
        return {"size": _sides(settings, "size"), **divisor}
    if size.get("max_height") is not None:
        return {"box": _sides(Settings("it", {"size": {k[4:]: v for k, v in size.values.items()}}), "size")}
    shortest = size.whole("shortest_edge", None, 1, MOST_SIDE)
    # also ResNet's: below 384 resize larger and crop; from 384 on resize to a square
    if name.startswith("ConvNext"):
        if shortest >= 384:
            return {"size": (shortest, shortest)}
        larger = int(shortest / settings.number("crop_pct", 224 / 256, 0.01, 1))
        return {"shortest": larger, "crop": (shortest, shortest)}
    longest = size.whole("longest_edge", settings.whole("max_size", 0, 0, MOST_SIDE), 0, MOST_SIDE)
    return {"shortest": shortest, "longest": longest or None, **divisor}


def _timm(settings):
    """Fields of Preprocess from timm's settings."""
    channels, *sides = settings.wholes("input_size", ())
    if channels != 3 or len(sides) != 2:
        raise ValueError(f"input_size must be [3, height, width], got {told([channels, *sides])}")
    height, width = sides_within("input_size", *sides)
    name, mode = settings.text("interpolation", "bicubic"), settings.text("crop_mode", "center")
    if name not in FILTERS or mode not in ("center", "squash"):
        raise ValueError(f"interpolation {told(name)} with crop_mode {told(mode)} is not what minivis does")
    found = {"resample": FILTERS[name]}
    found |= {
        "mean": _three(settings, "mean", IMAGENET[0], -1e9),
        "std": _three(settings, "std", IMAGENET[1], 1e-9),
    }
    if mode == "squash" or height != width:
        return {**found, "size": (height, width)}
    return {
        **found,
        "shortest": int(height / settings.number("crop_pct", 0.875, 0.01, 1)),
        "crop": (height, width),
    }


def _sides(settings, key, usual=None):
    """Height and width, from {"height": ..., "width": ...}, from two numbers or from one."""
    if isinstance(settings.get(key), dict):
        size = settings.part(key)
        return sides_within(
            key, size.whole("height", None, 1, MOST_SIDE), size.whole("width", None, 1, MOST_SIDE)
        )
    sides = settings.pair(key, usual)
    return sides_within(key, *(sides if isinstance(sides, tuple) else (sides, sides)))


def _three(settings, key, usual, least):
    """A number for each of the three colours."""
    values = settings.get(key, usual)
    if values is None:
        raise ValueError(f"{key} is missing, and what is usual for this kind of processor is not known")
    values = values if isinstance(values, list | tuple) else [values] * 3
    if len(values) != 3:
        raise ValueError(f"{key}: expected three numbers, one for each colour, found {len(values)}")
    return tuple(Settings("it", {key: value}).number(key, None, least, 1e9) for value in values)
