"""Check the built book: its files, then every page in a headless Chromium; BOOK_CHECK=static leaves the browser out.

Not here: the checks in the browser (browse_book.py), the build (build_book.py).
"""

import os
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # `book` and `scripts` are folders, not packages that are installed

from book.generate import api  # noqa: E402 (it is found through the line above)

HTML = ROOT / "book" / "_build" / "html"
# attributes of elements that the browser fetches by itself
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
POINTERS = ("canonical", "author", "index", "search", "next", "prev")  # rel of a <link> that is not fetched


class Page(HTMLParser):
    """The links, fetched files and anchors of a page.

    Attributes
    ----------
    links, loads : list of str
        Addresses of ``<a>``, and of files that the browser fetches by itself.
    ids : set of str
        Targets for links on this page.
    unnamed : list of str
        Pictures without an alt text.
    """

    def __init__(self, text):
        super().__init__()
        self.links = []
        self.loads = []
        self.ids = set()
        self.unnamed = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        """Note one element."""
        found = dict(attributes)
        self.ids |= {found[key] for key in ("id", "name") if found.get(key)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        fetched = found.get(LOADED.get(tag, ""))
        if fetched and found.get("rel") not in POINTERS:
            self.loads.append(fetched)
        alt = (found.get("alt") or "").strip()
        file_name = alt.endswith((".png", ".svg"))  # Sphinx uses the file name if there is no alt text
        if tag == "img" and (not alt or file_name):
            self.unnamed.append(found.get("src", ""))


def read(html):
    """Return {path below the folder: Page} of every page of a built book."""
    files = sorted(path for path in html.rglob("*.html") if "_static" not in path.parts)
    return {path.relative_to(html).as_posix(): Page(path.read_text(encoding="utf-8")) for path in files}


def problems(html, pages):
    """Return the problems in the files of a built book, one line each."""
    found = [] if "index.html" in pages else [f"{html} has no index.html: make book"]
    for name, page in pages.items():
        found += [f"{name}: no alt text: {image[:80]}" for image in page.unnamed]
        found += [
            f"{name}: loads {url[:80]}"
            for url in page.loads
            if urlsplit(url).scheme in ("http", "https") or url[:2] == "//"
        ]
        for link in [*page.links, *page.loads]:
            where = urlsplit(link)
            if where.scheme or where.netloc:
                continue
            path = (html / name).parent / unquote(where.path) if where.path else html / name
            target = Path(os.path.normpath(path))
            known = pages.get(target.relative_to(html).as_posix()) if target.is_relative_to(html) else None
            fragment = unquote(where.fragment)
            if not target.is_file():
                found.append(f"{name}: {link} leads to nothing")
            elif known and fragment and fragment not in known.ids:
                found.append(f"{name}: {link} leads to no place on that page")
    return sorted(set(found))


def undocumented(pages):
    """Return a line for each public name of the library that is not in the reference."""
    ids = {name for path, page in pages.items() if path.startswith("api/") for name in page.ids}
    found = api.documented()
    wanted = [f"{api.module_of(part).__name__}.{name}" for part, names in found.items() for name, _ in names]
    return [f"api: {name} is not documented" for name in wanted if name not in ids]


def main():
    """Check, print the problems, and return the exit code."""
    pages = read(HTML)
    found = problems(HTML, pages) + undocumented(pages)
    how = "without a browser (BOOK_CHECK=static)"
    if os.environ.get("BOOK_CHECK") != "static":
        from scripts.browse_book import browse  # needs selenium

        # pages in _modules are source code
        with_text = [name for name in pages if not name.startswith("_modules/")]
        found += browse(HTML, with_text)
        how = "in a browser too"
    print(*found, sep="\n", end="\n" if found else "")
    print(f"{len(pages)} pages checked, {how}: {len(found) or 'no'} problem{'s' * (len(found) != 1)}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
