"""The tables of the page on published weights: the families that minivis reads, and the results that the decks show.

Not here: the checkpoints (minivis/pretrained/checkpoints.py), the results (notebooks/published_results.toml).
"""

import tomllib

from book.generate.markdown import escape, head, row
from minivis.pretrained import checkpoints

__all__ = ["families", "results"]

RESULTS = "published_results.toml"


def families():
    """The table of families: a known checkpoint a row, with what downloads it."""
    lines = head("family", "download", "licence", "size", numbers=1)
    for one in checkpoints.table():
        download = f"`{one['command']}`<br>{escape(one['repository'])}"
        if not one["repository"]:
            download = f"torchvision's `{one['name']}`, see below"
        size = f"{one['parameters']}\N{NO-BREAK SPACE}M<br>{one['MB']}\N{NO-BREAK SPACE}MB"
        lines.append(row(escape(one["family"]), download, escape(one["licence"]), size))
    return "\n".join(lines) + "\n"


def results(notebooks):
    """The results tables, each with its source and the command that measures such a row.

    Parameters
    ----------
    notebooks : Path
        The folder of the notebooks, where the results are stored.
    """
    parts = []
    for one in tomllib.loads((notebooks / RESULTS).read_text(encoding="utf-8"))["table"]:
        columns = one["columns"]
        parts += [f"**{one['paper']}**, {one['place']} (slide `{one['slide']}`): {one['says']}.", ""]
        titles = [escape(name.replace("_", " ")) for name in columns]  # so that a long title can be broken
        parts += head(*titles, numbers=len(columns) - 1)
        parts += [row(*(escape(str(cell)) for cell in cells)) for cells in one["rows"]]
        parts += ["", f"`{one['command']}`", ""]
    return "\n".join(parts) + "\n"
