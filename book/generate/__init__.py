"""The generated pages of the book: each file here makes text for Sphinx from something in the project.

Not here: pages written by hand (the folder above), writing files (scripts/build_book.py).
"""

from pathlib import Path

from book.generate import api, chapters, law_pages, pictures, published, shapes, slide_map, troubles
from minivis import laws

__all__ = ["pages"]

BENCHMARK = Path(__file__).parents[2] / "tests" / "benchmarks" / "results" / "against_pytorch_cpu.md"


def pages(notebooks, executed, cache):
    """Return all generated files: whole pages, and parts that pages written by hand include.

    Parameters
    ----------
    notebooks, executed, cache : Path
        The folders of the notebooks, of their executed copies, and of results that are costly to compute.

    Returns
    -------
    dict of str to bytes
        By path below the source folder.
    """
    texts = {
        "generated/slides.md": slide_map.page(notebooks, laws.catalogue()),
        "generated/troubles.md": troubles.table(),
        "generated/published_families.md": published.families(),
        "generated/published_results.md": published.results(notebooks),
        "generated/benchmark.md": BENCHMARK.read_text(encoding="utf-8"),
        **law_pages.pages(),
        **api.pages(),
    }
    written = {name: text.encode() for name, text in texts.items()}
    return written | shapes.pages(cache) | pictures.pages(executed) | chapters.pages(notebooks, executed)
