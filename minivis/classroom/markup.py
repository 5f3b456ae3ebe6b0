"""Students' Markdown as harmless HTML: without scripts, styles, and pictures or frames from other sites.

Not here: code, which pages always show as text.
"""

import html
import re

__all__ = ["harmless", "quoted"]

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
    page = markdown2html(markdown.replace("attachment:", ""))
    page = re.sub(r'<a class="anchor-link"[^>]*>[^<]*</a>', "", page)
    return _block(bleach.clean(page, tags=TAGS, attributes=ATTRIBUTES, protocols=PROTOCOLS))


def quoted(text):
    """Any text as HTML that shows it unchanged."""
    return _block(f"<pre>{html.escape(text)}</pre>")


def _block(page):
    """HTML without empty lines: after one a Markdown renderer would read Markdown again."""
    page = "\n".join(page.strip().splitlines())
    return "<div>\n" + re.sub(r"\n(?=\s*\n)", "&#10;", page) + "\n</div>"
