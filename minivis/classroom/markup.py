"""Markdown as HTML: students' without anything that acts or loads, the assignment's with its formulas as pictures.

Not here: code, which pages always show as text.
"""

import functools
import html
import re

from minivis.classroom.formulas import drawn

__all__ = ["harmless", "quoted", "with_formulas"]

TAGS = """a abbr b blockquote br code dd del div dl dt em h1 h2 h3 h4 h5 h6 hr i li ol p pre span strong sub sup table tbody
td th thead tr ul""".split()
ATTRIBUTES = {"a": ["href", "title"], "abbr": ["title"]}
PROTOCOLS = ["http", "https", "mailto"]


def harmless(markdown):
    """A student's Markdown as one block of HTML, which a Markdown renderer does not change.

    Parameters
    ----------
    markdown : str

    Returns
    -------
    str
        Tags that are not allowed are shown as text.

    Examples
    --------
    >>> print(harmless("**no** <script>alert(1)</script>"))
    <div>
    <p><strong>no</strong> &lt;script&gt;alert(1)&lt;/script&gt;</p>
    </div>
    """
    import bleach
    from nbconvert.filters import markdown2html

    # attachments are not kept, and a link to a missing one is an error
    page = _unlinked(markdown2html(markdown.replace("attachment:", "")))
    return _block(bleach.clean(page, tags=TAGS, attributes=ATTRIBUTES, protocols=PROTOCOLS))


def quoted(text):
    """Any text as HTML that shows it unchanged."""
    return _block(f"<pre>{html.escape(text)}</pre>")


@functools.lru_cache(maxsize=256)  # every page of a class has the text of the assignment
def with_formulas(markdown):
    """The Markdown of an assignment as HTML, with formulas that need neither a script nor a network.

    Parameters
    ----------
    markdown : str
        Text of the teacher; that of a student goes through `harmless`.

    Returns
    -------
    str

    Examples
    --------
    >>> page = with_formulas("The *length* $x^2$")
    >>> page.startswith('<p>The <em>length</em> <svg class="formula"')
    True
    """
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Pictures(IPythonRenderer):
        def inline_math(self, body):
            return drawn(body)

        def block_math(self, body):
            return f'<span class="display">{drawn(body, display=True)}</span>'

    return _unlinked(MarkdownWithMath(renderer=Pictures(escape=True)).render(markdown))


def _unlinked(page):
    """HTML without the links that nbconvert adds to headings."""
    return re.sub(r'<a class="anchor-link"[^>]*>[^<]*</a>', "", page)


def _block(page):
    """HTML without empty lines: after one a Markdown renderer would read Markdown again."""
    page = "\n".join(page.strip().splitlines())
    return "<div>\n" + re.sub(r"\n(?=\s*\n)", "&#10;", page) + "\n</div>"
