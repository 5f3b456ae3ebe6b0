"""Formulas as pictures inside a page: TeX to SVG, drawn by matplotlib, so that a page needs no script and no network.

Not here: the Markdown around them (markup.py). What matplotlib cannot draw is shown as TeX.
"""

import contextlib
import functools
import html
import logging
import re

__all__ = ["drawn"]

UNITS = 100  # of the drawing, to the height of a letter
# TeX that matplotlib does not know -> what it knows
KNOWN = [
    (r"\\begin\{cases\}(.*?)\\\\(.*?)\\end\{cases\}", r"\\left\\{\\genfrac{}{}{0}{}{\1}{\2}\\right."),
    (r"(?<!\\)&", r"\\quad "),
    (r"\\mathrel\{\+\}", "+"),
    (r"\\[Bb]igg?[lr]?\s*(?=\(|\[|\\lfloor)", r"\\left"),
    (r"\\[Bb]igg?[lr]?\s*(?=\)|\]|\\rfloor)", r"\\right"),
    (r"\\[Bb]igg?[lrm]?(?![a-zA-Z])", ""),
    (r"\\[td]frac(?![a-zA-Z])", r"\\frac"),
    (r"\\frac\s*([^\s{\\])\s*([^\s{\\])", r"\\frac{\1}{\2}"),
    (r"\\frac(\{[^{}]*\})\s*([^\s{\\])", r"\\frac\1{\2}"),
    (r"\\(sqrt|mathbb|mathcal)\s*([^\s{\[\\])", r"\\\1{\2}"),
    (r"\\[lr]Vert(?![a-zA-Z])", r"\\Vert "),
    (r"\\[lr]vert(?![a-zA-Z])", "|"),
    (r"\\([lg])e(?![a-zA-Z])", r"\\\1eq"),
    (r"\\iff(?![a-zA-Z])", r"\\Leftrightarrow"),
    (r"\\implies(?![a-zA-Z])", r"\\Rightarrow"),
    (r"\\bmod(?![a-zA-Z])", r"\\ \\mathrm{mod}\\ "),
    (r"\\textstyle(?![a-zA-Z])", ""),
    (r"\s+", " "),
]


@functools.lru_cache(maxsize=1024)  # the pages of a class show the same formulas
def drawn(tex, display=False):
    """A formula as HTML: one picture, or several beside each other where the formula has wide spaces.

    Parameters
    ----------
    tex : str
        TeX without dollar signs. It must come from the assignment: what a student wrote could take too long.
    display : bool
        Whether it stands alone, so that its fractions may be tall.

    Returns
    -------
    str
        ``<svg>`` in the colour and size of the text around it; ``<code>`` with the TeX where it cannot be drawn.

    Examples
    --------
    >>> drawn("x^2")[:54]
    '<svg class="formula" role="img" aria-label="x^2" viewB'
    >>> drawn("x^")
    '<code>x^</code>'
    """
    pieces = re.split(r"\\qq?uad(?![a-zA-Z])", tex)
    for parts in (pieces, [tex]):  # whole, if a wide space stands inside of brackets
        with contextlib.suppress(ValueError):  # matplotlib cannot read it
            return "&emsp;".join(_picture(part, display) for part in parts if part.strip())
    return f"<code>{html.escape(tex)}</code>"


def _picture(tex, display):
    """One formula as SVG; its baseline is that of the text."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    known = tex
    for pattern, replacement in KNOWN:
        known = re.sub(pattern, replacement, known, flags=re.DOTALL)
    if display:
        known = known.replace(r"\frac", r"\dfrac")
    font = FontProperties(math_fontfamily="stix")
    with _quiet():
        path = TextPath((0, 0), f"${known.strip()}$", size=UNITS, prop=font)
    box = path.get_extents().padded(UNITS / 20)
    width, height, below = (round(length / UNITS, 2) for length in (box.width, box.height, -box.y0))
    view = f"{box.x0:.0f} {-box.y1:.0f} {box.width:.0f} {box.height:.0f}"
    return (
        f'<svg class="formula" role="img" aria-label="{html.escape(tex.strip())}" viewBox="{view}" '
        f'style="width:{width}em;height:{height}em;vertical-align:{-below}em"><path d="{_outline(path)}"/></svg>'
    )


@contextlib.contextmanager
def _quiet():
    """Hide matplotlib's remarks on the glue between letters."""
    log = logging.getLogger("matplotlib.mathtext")
    kept = log.disabled
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = kept


def _outline(path):
    """A matplotlib path as the attribute ``d`` of an SVG path, whose y axis points downward."""
    letters = {path.MOVETO: "M", path.LINETO: "L", path.CURVE3: "Q", path.CURVE4: "C", path.CLOSEPOLY: "Z"}
    steps = []
    for numbers, code in path.iter_segments(simplify=False):
        numbers = [] if code == path.CLOSEPOLY else numbers * ([1, -1] * (len(numbers) // 2))
        steps.append(letters[code] + " ".join(f"{number:.0f}" for number in numbers))
    return "".join(steps)
