"""The API reference: a page for each public part of the library; every public name is on exactly one of them.

Not here: the docstrings, which autodoc reads, and their tests (tests/test_docstrings.py).
"""

import ast
import importlib
import inspect
import sys
import types
from pathlib import Path

# Part of the library -> its title for readers, in the order of the index.
PARTS = {
    "minivis": "The names that everyone needs, at the top",
    "ops": "Differentiable functions",
    "nn": "Layers",
    "nn.init": "Starting values of parameters",
    "vision": "Filters and the geometry of vision",
    "models": "Models, one paper a file",
    "losses": "Losses of detection and segmentation",
    "optim": "Optimisers and schedules",
    "train": "Training",
    "averaging": "Averages of weights",
    "metrics": "Metrics",
    "laws": "Judging an answer by laws",
    "viz": "Pictures",
    "analysis": "Looking inside a trained network",
    "data": "Images and batches",
    "data.shapes": "Generated scenes",
    "data.digits": "Handwritten digits",
    "data.photos": "Two photos",
    "data.pipes": "Pictures of pipes",
    "data.images": "Picture files",
    "data.transforms": "Random changes of pictures",
    "data.paired": "Random changes of pictures and their targets",
    "data.multi_crop": "Several views of a picture",
    "data.geometry": "Moving pixels",
    "data.color": "Colours",
    "data.pixels": "Bytes and sizes",
    "data.loader": "Batches ahead of time",
    "data.folders": "Folders of images",
    "data.label_maps": "Folders of label maps",
    "data.subsets": "Splits and subsets",
    "data.examples": "Sample data on disk",
    "data.coco": "COCO",
    "data.cifar": "CIFAR-10",
    "data.mnist": "MNIST",
    "data.words": "Words as numbers",
    "data.byte_pairs": "Parts of words as numbers",
    "pretrained": "Published checkpoints",
    "storage": "Our own checkpoints",
    "recipes": "The small trainings",
    "recipes.ablations": "Ablations of the papers' choices",
    "recipes.collapse": "What keeps DINO from collapsing",
    "recipes.clip_shapes": "Pictures and captions of shapes",
    "recipes.contrast": "What counts when a CLIP learns",
    "recipes.depth": "What depth does",
    "recipes.detection_road": "The road of detectors in one table",
    "recipes.fcn_shapes": "What finer maps are worth",
    "recipes.hidden_words": "What learning from hidden words depends on",
    "recipes.local_attention_shapes": "Four layers compared on outlines",
    "recipes.mae_shapes": "A masked autoencoder against inpainting, and what it has learned",
    "recipes.maskformer_changes": "From classes of pixels to Mask2Former, one change at a time",
    "recipes.masking_ratio": "How much a masked autoencoder should hide",
    "recipes.non_local_films": "What joining the frames of a film is worth",
    "recipes.setr_shapes": "Three decoders for SETR",
    "recipes.sam_losses": "Which loss and which start a small SAM needs",
    "recipes.sam_shapes": "Shapes by clicks, boxes and phrases",
    "recipes.vivit_films": "Films from an image model",
    "recipes.vivit_variants": "Four variants of ViViT on the same films",
    "recipes.yolo_heads": "What the head of YOLO does",
    "tasks": "Your own pictures",
    "autograd": "For those who write an op",
    "ways": "Faster ways to the same",
    "gradcheck": "Checking a gradient",
    "backend": "CPU and GPU",
    "doctor": "What this machine has",
}


def module_of(part):
    """The module of a part: ``"ops"`` -> minivis.ops."""
    return importlib.import_module("minivis" if part == "minivis" else f"minivis.{part}")


def documented():
    """Return {part: [(name, object), ...]}: every public name, at the first part that has it."""
    seen = set()
    found = {}
    for part in PARTS:
        found[part] = []
        module = module_of(part)
        for name in module.__all__:
            thing = getattr(module, name)
            if isinstance(thing, types.ModuleType) or (callable(thing) and id(thing) in seen):
                continue  # it has its own page, or is on an earlier one
            seen.add(id(thing))
            found[part].append((name, thing))
    return found


def elsewhere(part, found):
    """Return {name: where it is documented} for the public names of a part that are on an earlier page."""
    homes = {
        id(thing): f"{module_of(p).__name__}.{name}" for p, names in found.items() for name, thing in names
    }
    module = module_of(part)
    own = {name for name, _ in found[part]}
    others = {name: id(getattr(module, name)) for name in module.__all__ if name not in own}
    return {name: homes[thing] for name, thing in others.items() if thing in homes}


def file_of(name, thing, module):
    """The file of the library that defines a name; for a constant, the file with the name in its ``__all__``."""
    if callable(thing):
        return Path(inspect.getsourcefile(inspect.unwrap(thing)))
    within = [m for n, m in sys.modules.items() if n.startswith(f"{module.__name__}.")]
    files = [m for m in within if name in getattr(m, "__all__", ())]
    return Path((files or [module])[0].__file__)


def opening(file):
    """The description of a file of the library: the first paragraph of its docstring, without "Not here"."""
    return (
        ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))).split("\n\n")[0].split("\nNot here")[0]
    )


def directive(name, thing):
    """The autodoc directive of one public name; for a class with its own documented members."""
    if isinstance(thing, type):
        kind = "exception" if issubclass(thing, BaseException) else "class"
        own = [n for n, v in vars(thing).items() if not n.startswith("_") and v.__doc__ and is_ours(v)]
        return [
            f".. auto{kind}:: {name}",
            "   :show-inheritance:",
            *([f"   :members: {', '.join(own)}"] if own else []),
            "",
        ]
    return [f".. auto{'function' if callable(thing) else 'data'}:: {name}", ""]


def is_ours(member):
    """Whether a member of a class is a method or a property that is defined in this library."""
    function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
    return inspect.isfunction(function) and function.__module__.startswith("minivis")


def page(part, found):
    """The text of a part's page: a table of its names, then each name in full, file by file."""
    module = module_of(part)
    what = PARTS[part] if PARTS[part][1].isupper() else PARTS[part][0].lower() + PARTS[part][1:]  # not cOCO
    lines = heading(f"{module.__name__}: {what}", "=")
    lines += [f".. module:: {module.__name__}", "", opening(Path(module.__file__)), ""]
    same = elsewhere(part, found)
    if same:
        lines += [
            "Documented elsewhere: " + ", ".join(f":py:obj:`~{home}`" for home in same.values()) + ".",
            "",
        ]
    pages = [name for name in PARTS if name.rpartition(".")[0] == (part if part != "minivis" else "")]
    if part != "minivis" and pages:  # the index lists the parts of minivis itself
        lines += ["Parts: " + ", ".join(f":py:mod:`minivis.{name}`" for name in pages) + ".", ""]
    files = {}
    for name, thing in found[part]:
        files.setdefault(file_of(name, thing, module), []).append((name, thing))
    if sum(map(len, files.values())) > 3:
        lines += [".. autosummary::", "   :nosignatures:", ""]
        lines += [*(f"   {name}" for name, _ in sorted(found[part])), ""]
    for file, names in files.items():
        if len(files) > 1:
            lines += [*heading(file.stem.replace("_", " ").capitalize(), "-"), opening(file), ""]
        for name, thing in names:
            lines += directive(name, thing)
    return "\n".join(lines)


def heading(text, under):
    """A heading of reStructuredText."""
    return [text, under * len(text), ""]


def pages():
    """Return {path: text} of the reference: its index and a page for each part."""
    found = documented()
    index = [
        *heading("API reference", "="),
        "Every public name, by part of the library. ``mv`` stands for ``import minivis as mv``. Each entry has a link",
        "to its source.",
        "",
        ".. list-table::",
        "",
        *(f"   * - :py:mod:`{module_of(part).__name__}`\n     - {PARTS[part]}" for part in PARTS),
        "",
        ".. toctree::",
        "   :hidden:",
        "",
        *(f"   {module_of(part).__name__}" for part in PARTS),
        "",
    ]
    texts = {f"api/{module_of(part).__name__}.rst": page(part, found) for part in PARTS}
    return {"api/index.rst": "\n".join(index), **texts}
