"""The chapters: executed notebooks, with an anchor at every slide, links inside the book, and alt texts.

Not here: executing the notebooks (scripts/run_notebooks.py).
"""

import re

import nbformat
from nbformat import v4

WIDGET = "application/vnd.jupyter.widget-view+json"  # needs a kernel, unlike the picture in the same output


def pages(notebooks, executed):
    """Return {path: bytes} of the chapters; raises a FileNotFoundError if a notebook was not executed."""
    found = {}
    for path in sorted(notebooks.glob("*.ipynb")):
        copy = executed / path.name
        if not copy.exists():
            raise FileNotFoundError(f"{copy} does not exist; run: make notebooks")
        try:
            chapter = for_the_book(nbformat.read(copy, as_version=4))
        except ValueError as error:
            raise ValueError(f"{copy}: {error}") from None
        found[f"notebooks/{path.name}"] = nbformat.writes(chapter).encode()
    return found


def for_the_book(notebook):
    """Return an executed notebook as a page of the book."""
    cells = []
    for cell, anchors in zip(notebook.cells, anchors_of(notebook), strict=True):
        if "contents" in cell.metadata.get("tags", []):  # a page of the book has its contents at the side
            continue
        if cell.cell_type == "markdown":
            cell.source = inside(cell.source)
        else:
            static(cell)
        if anchors:
            targets = "\n".join(f"({anchor})=" for anchor in anchors)
            cells.append(v4.new_markdown_cell(targets, id=f"at-{cell.id}"))
        cells.append(cell)
    return nbformat.from_dict(
        {**notebook, "cells": cells, "metadata": {"kernelspec": notebook.metadata.kernelspec}}
    )


def anchors_of(notebook):
    """The anchors of each cell: ``slide-h-4-slug`` for the tag slide:H/4-slug; for the second cell of a slide with -2."""
    seen = {}
    found = []
    for cell in notebook.cells:
        slides = [tag for tag in cell.metadata.get("tags", []) if tag.startswith("slide:")]
        for slide in slides:
            seen[slide] = seen.get(slide, 0) + 1
        found.append([anchor(slide) + (f"-{seen[slide]}" if seen[slide] > 1 else "") for slide in slides])
    return found


def anchor(slide):
    """The anchor of a slide's first cell, from its tag."""
    return re.sub(r"[^a-z0-9]+", "-", slide.lower())


def inside(markdown):
    """Replace links to files of the library by links to their source in the book."""
    markdown = re.sub(r"\]\(\.\./(minivis/[\w/]+)\.py\)", r"](source:\1)", markdown)
    return re.sub(r"\[([^\]]+)\]\(\.\./minivis[^)]*\)", r"\1", markdown)  # data and folders: not in the book


def static(cell):
    """Remove outputs that need a kernel, and make each picture's caption its alt text."""
    for output in cell.get("outputs", []):
        output.get("data", {}).pop(WIDGET, None)
        if "image/png" in output.get("data", {}):
            cell.metadata["mystnb"] = {"image": {"alt": caption_of(cell, output)}}


def caption_of(cell, output):
    """The caption of a picture that a cell has drawn: its alt text."""
    caption = output.metadata.get("image/png", {}).get("alt")
    if not caption:
        raise ValueError(f"{cell.id} draws a picture without a caption")
    return caption
