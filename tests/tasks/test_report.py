"""The report is one file that shows names letter by letter and asks nothing from outside.

Not here: what it shows (test_training.py).
"""

import re
from html.parser import HTMLParser

from minivis import viz
from minivis.tasks.report import Report, write


def test_names_are_shown_and_never_run(tmp_path):
    bad = "<script>alert(1)</script> \"&' $x$"
    report = Report(
        title=bad,
        facts={"data": bad, bad: "x"},
        result=bad,
        stopped=True,
        figures=[(bad, viz.bars({bad: 1.0, "other": 2.0}, "y", caption=bad))],
        commands={"predict": bad},
    )
    write(report, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    texts, tags, sources = [], [], []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attributes):
            tags.append(tag)
            sources.extend(value for name, value in attributes if name in ("src", "href"))
            texts.extend(value for name, value in attributes if name == "alt")

        def handle_data(self, text):
            texts.append(text)

    Reader().feed(page)
    # the title twice, the result, two facts, a heading, a picture and its caption, a command
    assert "script" not in tags and texts.count(bad) == 9
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r"https?://", page)
    assert "stopped before its end" in page
