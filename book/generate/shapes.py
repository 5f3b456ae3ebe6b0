"""The shape of each model at every stage, measured by running it once on an image of zeros: a table and a drawing.

Not here: how a stage is counted (minivis/nn/layer_table.py) or drawn (minivis/viz/model_drawing.py). Running takes
seconds, so what was found is kept.
"""

from pathlib import Path

import minivis as mv
from book.generate.markdown import head, row
from minivis import viz
from minivis.storage import write_files
from scripts.run_notebooks import ROOT, fingerprint

# title, how the model is made, the shape of its input, how deep to look
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
    """The text of all tables and the drawings that it shows, as {path: bytes}; see `tables`."""
    text = tables(cache)
    names = [f"shapes-{i}.png" for i in range(len(MODELS))]
    return {"generated/shapes.md": text.encode()} | {
        f"generated/{n}": (cache / n).read_bytes() for n in names
    }


def tables(cache):
    """The text of all tables; what was measured for this library and these models is read from the folder ``cache``.

    The drawings lie there too, as ``shapes-0.png``, ``shapes-1.png``, ...
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
    """What shows the drawing of a model below its table, when it is asked for."""
    picture = f"![{title}, drawn. {caption}](/generated/shapes-{number}.png)"
    return "\n".join(["", ":::{dropdown} The same as a drawing", picture, ":::", ""])


def table(title, summary):
    """One model's section: what it is fed, and a row for every stage."""
    lines = [f"## {title}", "", f"Input `{summary.inputs}`.", ""]
    lines += head("stage", "layer", "output shape", "parameters", "multiply-adds", numbers=2)
    for stage in summary.rows:
        name = "&emsp;" * stage.depth + stage.name
        shape = "not called" if stage.shape is None else stage.shape
        products = "" if stage.multiply_adds is None else f"{stage.multiply_adds:,}"
        lines.append(row(name, stage.kind, shape, f"{stage.parameters:,}", products))
    return "\n".join([*lines, ""])
