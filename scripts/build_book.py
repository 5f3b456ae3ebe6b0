"""Build the book: write its pages into build/book/source, then run Sphinx, which writes book/_build/html.

Not here: executing notebooks, which `make book` does before; the texts of generated pages (book/generate).
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # `book` and `scripts` are folders, not packages that are installed

from book import generate  # noqa: E402 (it is found through the line above)
from minivis.storage import write_files  # noqa: E402

BOOK = ROOT / "book"
BUILT = ROOT / "build" / "book"
HTML = BOOK / "_build" / "html"


def by_hand():
    """{name: bytes} of what is written by hand: pages, their pictures, references."""
    paths = [*BOOK.glob("*.md"), *BOOK.glob("pictures/*.png"), BOOK / "references.bib"]
    found = {path.relative_to(BOOK).as_posix(): path.read_bytes() for path in paths}
    return found | {"CHANGELOG.md": (ROOT / "CHANGELOG.md").read_bytes()}


def lay_out(source):
    """Write all present pages into a folder (written by hand, generated, executed), and remove all other files."""
    wanted = by_hand()
    wanted |= generate.pages(ROOT / "notebooks", ROOT / "build" / "notebooks", BUILT)
    for name, content in wanted.items():
        path = source / name
        if not path.exists() or path.read_bytes() != content:  # Sphinx rebuilds pages with a new file time
            path.parent.mkdir(parents=True, exist_ok=True)
            write_files({path: content})
    for path in source.rglob("*"):
        if path.is_file() and path.relative_to(source).as_posix() not in wanted:
            path.unlink()


def remove_stale(html, source):
    """Remove built pages whose source no longer exists; Sphinx does not remove them."""
    for page in html.rglob("*.html"):
        name = page.relative_to(html).with_suffix("").as_posix()
        if name.startswith("_static") or name in {"genindex", "py-modindex", "search", "_modules/index"}:
            continue
        if name.startswith("_modules/"):
            origin = ROOT / name.removeprefix("_modules/")
            suffixes = (".py", "/__init__.py")
        else:
            origin = source / name
            suffixes = (".md", ".rst", ".ipynb")
        if not any(Path(f"{origin}{suffix}").exists() for suffix in suffixes):
            page.unlink()


def lead_back(html, modules):
    """Correct the links from source pages back to the reference: Sphinx assumes one public module for all names of a file."""
    link = re.compile(r'(class="viewcode-back" href="[./]*/api/)([\w.]+)\.html#([\w.]+)')
    longest_first = sorted(modules, key=len, reverse=True)

    def right(found):
        before, module, place = found.groups()
        home = next(name for name in longest_first if place.startswith(f"{name}."))
        return f"{before}{module}.html#{module}{place.removeprefix(home)}"

    for page in (html / "_modules").rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        if (better := link.sub(right, text)) != text:
            page.write_text(better, encoding="utf-8")


def main():
    """Write the pages and build the book; return Sphinx's exit code."""
    # in the book extra; the functions above are tested without it
    from sphinx.cmd.build import main as sphinx_build

    source = BUILT / "source"
    lay_out(source)
    folders = ["-c", BOOK, "-d", BUILT / "doctrees", source, HTML]
    code = sphinx_build(["-b", "html", "-j", "2", "-q", "-W", "--keep-going", *map(str, folders)])
    if code:  # otherwise the next build would skip pages with warnings, and pass
        (BUILT / "doctrees" / "environment.pickle").unlink(missing_ok=True)
        return code
    remove_stale(HTML, source)
    lead_back(HTML, [generate.api.module_of(part).__name__ for part in generate.api.PARTS])
    print(f"the book: {HTML / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
