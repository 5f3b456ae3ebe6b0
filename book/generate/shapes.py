"""The shape of each model at every stage, measured by running it once on an image of zeros: a table and a drawing.

Not here: counting a stage (minivis/nn/layer_table.py) or drawing it (minivis/viz/model_drawing.py). Running a model takes
seconds, so the results are kept.
"""

from pathlib import Path

import minivis as mv
from book.generate.markdown import head, row
from minivis import viz
from minivis.storage import write_files
from scripts.run_notebooks import ROOT, fingerprint

# title, a function that makes the model, the shape of its input, the depth of the table
MODELS = [
    ("The digits' CNN", lambda: mv.load("cnn-digits"), (1, 1, 8, 8), 2),
    ("The digits' ViT", lambda: mv.load("vit-digits"), (1, 1, 8, 8), 3),
    ("ViT-B/16", lambda: mv.models.vit_b16(), (1, 3, 224, 224), 2),
    ("ResNet-50", lambda: mv.models.resnet50(), (1, 3, 224, 224), 2),
    ("Swin-T", lambda: mv.models.swin_t(), (1, 3, 224, 224), 2),
    ("The scenes' DETR", lambda: mv.load("detr-shapes"), (1, 3, 64, 64), 3),
    ("DETR with ResNet-50", lambda: mv.models.detr_r50(), (1, 3, 256, 256), 3),
    ("The scenes' Mask2Former", lambda: mv.load("mask2former-shapes"), (1, 3, 64, 64), 2),
    ("Mask2Former with Swin-T", lambda: mv.models.mask2former_swin_t(), (1, 3, 256, 256), 2),
]


def pages(cache):
    """The text of all tables and the drawings, as {path: bytes}; see `tables`."""
    text = tables(cache)
    names = [f"shapes-{i}.png" for i in range(len(MODELS))]
    return {"generated/shapes.md": text.encode()} | {
        f"generated/{n}": (cache / n).read_bytes() for n in names
    }


def tables(cache):
    """The text of all tables; if library and models have not changed, it is read from the folder ``cache``.

    The drawings are there too, as ``shapes-0.png``, ``shapes-1.png``, ...
    """
    kept = cache / "shapes.md"
    made_of = f"<!-- {fingerprint(ROOT / 'minivis', Path(__file__))} -->\n"
    if kept.exists() and (text := kept.read_text(encoding="utf-8")).startswith(made_of):
        return text.removeprefix(made_of)
    texts = []
    drawings = {}
    for i, (title, make, shape, depth) in enumerate(MODELS):
        model = make()
        figure = viz.architecture(model, shape)
        drawings[cache / f"shapes-{i}.png"] = figure.png()
        texts.append(table(title, mv.summary(model, shape, depth)) + drawing(i, title, figure.caption))
    text = "\n".join(texts)
    cache.mkdir(parents=True, exist_ok=True)
    write_files({**drawings, kept: (made_of + text).encode()})
    return text


def drawing(number, title, caption):
    """The dropdown with the drawing of a model, below its table."""
    picture = f"![{title}, drawn. {caption}](/generated/shapes-{number}.png)"
    return "\n".join(["", ":::{dropdown} Drawing", picture, ":::", ""])


def table(title, summary):
    """The section of one model: its input, and a row for every stage."""
    lines = [f"## {title}", "", f"Input `{summary.inputs}`.", ""]
    lines += head("stage", "layer", "output shape", "parameters", "multiply-adds", numbers=2)
    for stage in summary.rows:
        name = "&emsp;" * stage.depth + stage.name
        shape = "not called" if stage.shape is None else stage.shape
        products = "" if stage.multiply_adds is None else f"{stage.multiply_adds:,}"
        lines.append(row(name, stage.kind, shape, f"{stage.parameters:,}", products))
    return "\n".join([*lines, ""])
