"""Markdown for several generated pages: escaped text, tables, anchors of laws.

Not here: the texts of the pages.
"""

import re


def escape(text):
    """Escape Markdown's special characters in a text."""
    return re.sub(r"([\\`*_$|<>\[\]{}])", r"\\\1", text)


def head(*titles, numbers=0):
    """The first two lines of a table; its last ``numbers`` columns are aligned to the right."""
    marks = ["---"] * (len(titles) - numbers) + ["--:"] * numbers
    return [row(*titles), f"|{'|'.join(marks)}|"]


def row(*cells):
    """A line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def laws_of(name):
    """The anchor of the laws of a function: ``box_iou`` -> laws-box-iou."""
    return f"laws-{name.replace('_', '-')}"
