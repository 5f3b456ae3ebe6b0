"""The Markdown that several generated pages have in common: escaped text, tables, where a function's laws stand.

Not here: what the pages say.
"""

import re


def escape(text):
    """Text in which no character is Markdown."""
    return re.sub(r"([\\`*_$|<>\[\]{}])", r"\\\1", text)


def head(*titles, numbers=0):
    """The first two lines of a table; its last columns, as many as ``numbers`` says, stand at the right."""
    marks = ["---"] * (len(titles) - numbers) + ["--:"] * numbers
    return [row(*titles), f"|{'|'.join(marks)}|"]


def row(*cells):
    """A line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def laws_of(name):
    """The anchor of the laws of a function: ``box_iou`` -> laws-box-iou."""
    return f"laws-{name.replace('_', '-')}"
