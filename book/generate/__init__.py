"""The pages that are generated: each file here turns one thing the project already knows into text for Sphinx.

Not here: pages written by hand (the folder above), and writing files, which scripts/build_book.py does.
"""

from pathlib import Path

from book.generate import api, chapters, law_pages, pictures, shapes, slide_map, troubles
from minivis import laws

__all__ = ["pages"]

BENCHMARK = Path(__file__).parents[2] / "tests" / "benchmarks" / "results" / "against_pytorch_cpu.md"


def pages(notebooks, executed, cache):
    """Return everything that is generated, for a page of its own or for one written by hand to include.

    Parameters
    ----------
    notebooks, executed, cache : Path
        The folders of the notebooks, of their executed copies, and one for what is costly to compute.

    Returns
    -------
    dict of str to bytes
        By path below the source folder.
    """
    texts = {
        "generated/slides.md": slide_map.page(notebooks, laws.catalogue()),
        "generated/troubles.md": troubles.table(),
        "generated/benchmark.md": BENCHMARK.read_text(encoding="utf-8"),
        **law_pages.pages(),
        **api.pages(),
    }
    written = {name: text.encode() for name, text in texts.items()}
    return written | shapes.pages(cache) | pictures.pages(executed) | chapters.pages(notebooks, executed)
