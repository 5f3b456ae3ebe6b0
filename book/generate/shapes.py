"""The shape of each model at every stage, measured by running it once on an image of zeros: a table and a drawing;
and what every published size has and costs.

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
    ("The films' non-local network", lambda: mv.load("non-local-films"), (1, 4, 3, 64, 64), 3),
    ("The films' ViViT", lambda: mv.load("vivit-films"), (1, 8, 3, 64, 64), 3),
    ("Swin-T", lambda: mv.models.swin_t(), (1, 3, 224, 224), 2),
    ("The scenes' DETR", lambda: mv.load("detr-shapes"), (1, 3, 64, 64), 3),
    ("DETR with ResNet-50", lambda: mv.models.detr_r50(), (1, 3, 256, 256), 3),
    ("RT-DETR with ResNet-18-D", lambda: mv.models.rtdetr_r18vd(), (1, 3, 256, 256), 1),
    ("MaskFormer with Swin-T", lambda: mv.models.maskformer_swin_t(), (1, 3, 256, 256), 2),
    ("The scenes' Mask2Former", lambda: mv.load("mask2former-shapes"), (1, 3, 64, 64), 2),
    ("Mask2Former with Swin-T", lambda: mv.models.mask2former_swin_t(), (1, 3, 256, 256), 2),
]


def pages(cache):
    """The text of all tables and the drawings, as {path: bytes}; see `tables` and `size_table`."""
    text = {"shapes.md": tables(cache), "sizes.md": size_table(cache)}
    names = [f"shapes-{i}.png" for i in range(len(MODELS))]
    return {f"generated/{name}": there.encode() for name, there in text.items()} | {
        f"generated/{n}": (cache / n).read_bytes() for n in names
    }


def tables(cache):
    """The text of all tables; if library and models have not changed, it is read from the folder ``cache``.

    The drawings are there too, as ``shapes-0.png``, ``shapes-1.png``, ...
    """
    return _kept(cache / "shapes.md", lambda: _tables(cache))


def size_table(cache):
    """The text of the table of all published sizes, kept as `tables` are: every model runs once for it."""
    return _kept(cache / "sizes.md", lambda: sizes(mv.models.complexity()))


def _kept(path, make):
    """A text from the file at ``path``; made and written where library or models have changed since."""
    made_of = f"<!-- {fingerprint(ROOT / 'minivis', Path(__file__))} -->\n"
    if path.exists() and (text := path.read_text(encoding="utf-8")).startswith(made_of):
        return text.removeprefix(made_of)
    text = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_files({path: (made_of + text).encode()})
    return text


def _tables(cache):
    texts = []
    drawings = {}
    for i, (title, make, shape, depth) in enumerate(MODELS):
        model = make()
        figure = viz.architecture(model, shape)
        drawings[cache / f"shapes-{i}.png"] = figure.png()
        texts.append(table(title, mv.summary(model, shape, depth)) + drawing(i, title, figure.caption))
    cache.mkdir(parents=True, exist_ok=True)
    write_files(drawings)
    return "\n".join(texts)


def drawing(number, title, caption):
    """The dropdown with the drawing of a model, below its table."""
    picture = f"![{title}, drawn. {caption}](/generated/shapes-{number}.png)"
    return "\n".join(["", ":::{dropdown} Drawing", picture, ":::", ""])


def sizes(found):
    """The section on the published sizes: what each has and costs, beside the published figures, and who published them."""
    lines = ["Each count beside the figure that its source gives, for the same input.", ""]
    lines += head("model", "pixels", "parameters", "published", "multiply-adds", "published", numbers=4)
    sources = {}
    for model in found.rows:
        told, cost = model.published.cells()
        shape = "×".join(map(str, model.input[-2:] if len(model.input) > 2 else model.input[1:]))
        name = f"{{py:obj}}`{model.name} <minivis.models.{model.name}>`"
        lines.append(row(name, shape, f"{model.parameters:,}", told, model.cost(), cost))
        if model.published.source:
            sources.setdefault(model.published.source, []).append(f"`{model.name}`")
    lines += ["", *head("published by", "models")]
    lines += [row(source, ", ".join(names)) for source, names in sources.items()]
    return "\n".join([*lines, ""])


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
