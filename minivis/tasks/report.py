"""The page at the end of a training: one HTML file with its pictures inside, readable offline and on a phone.

Not here: the pictures (viz/, and the files of the kinds of data), what they show.
"""

import base64
import html
from dataclasses import dataclass

from minivis.storage import write_files

__all__ = ["Report", "write"]

WIDE = 7  # inches; a wider picture has too small a text when it is as wide as a phone
STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif; color: #222; background: #fff; }
h1 { font-size: 1.6rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
p.result { font-size: 1.25rem; padding: .75rem 1rem; background: #eef5fa; border-left: .3rem solid #0072b2; }
figure { margin: 0; }
figure div { overflow-x: auto; }
figcaption { color: #444; font-size: .9rem; max-width: 42rem; }
img { max-width: 100%; height: auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; }
dt { color: #666; }
dd { margin: 0; overflow-wrap: anywhere; }
pre { margin: 0; padding: .5rem .75rem; background: #f5f5f5; white-space: pre-wrap; overflow-wrap: anywhere; }
@media (max-width: 36rem) { img.wide { max-width: 200%; } dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; } }
"""


@dataclass
class Report:
    """What `write` puts on the page.

    Attributes
    ----------
    title : str
        What was trained on what.
    facts : dict of str to str
        Data, model and training, in the order they are shown.
    result : str
        The final figure.
    stopped : bool
        Whether the training was stopped before its end.
    figures : iterable of (str, Figure)
        Headings and pictures.
    commands : dict of str to str
        What to type to repeat the training, to go on, to use the model.
    """

    title: str
    facts: dict
    result: str
    stopped: bool
    figures: object
    commands: dict


def write(report, path):
    """Write a report as one HTML file."""
    parts = [f"<h1>{_text(report.title)}</h1>", f'<p class="result">{_text(report.result)}</p>']
    if report.stopped:
        parts.append("<p>The training was stopped before its end. This is how far it has come.</p>")
    parts += [
        "<dl>",
        *(f"<dt>{_text(what)}</dt><dd>{_text(said)}</dd>" for what, said in report.facts.items()),
        "</dl>",
    ]
    for heading, figure in report.figures:
        parts += [f"<h2>{_text(heading)}</h2>", _picture(figure, heading)]
    parts.append("<h2>What to type next</h2>")
    commands = report.commands.items()
    parts += [
        "<dl>",
        *(f"<dt>{_text(what)}</dt><dd><pre>{_text(line)}</pre></dd>" for what, line in commands),
        "</dl>",
    ]
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(report.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )
    write_files({path: page.encode("utf-8")})


def _text(given):
    """A text, perhaps with names from somebody's data, as HTML that shows it letter by letter."""
    return html.escape(str(given))


def _picture(figure, heading):
    """A Figure as an image inside the page, its caption as text below it. On a phone one slides along a wide image."""
    data = base64.b64encode(figure.png(caption=False)).decode("ascii")
    shape = ' class="wide"' if figure.get_size_inches()[0] > WIDE else ""
    image = f'<img{shape} src="data:image/png;base64,{data}" alt="{_text(heading)}">'
    below = f"<figcaption>{_text(figure.caption)}</figcaption>" if figure.caption else ""
    return f"<figure><div>{image}</div>{below}</figure>"
