"""How the pages are laid out for Sphinx, and what is put right after it.

Not here: Sphinx, which make installs for the book alone.
"""

import re

from scripts import build_book


def test_pages_are_laid_out_and_only_what_changed_is_written(tmp_path, monkeypatch):
    pages = {"generated/a.md": b"a", "api/b.rst": b"b"}
    monkeypatch.setattr(build_book.generate, "pages", lambda *folders: pages)
    build_book.lay_out(tmp_path)
    assert (tmp_path / "generated" / "a.md").read_bytes() == b"a"
    assert (tmp_path / "index.md").read_bytes() == (build_book.BOOK / "index.md").read_bytes()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    pages = {"generated/a.md": b"changed"}
    build_book.lay_out(tmp_path)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert before.keys() - after.keys() == {tmp_path / "api" / "b.rst"}
    assert {path for path in after if after[path] != before[path]} == {tmp_path / "generated" / "a.md"}


def test_the_pictures_of_a_page_come_with_it():
    laid_out = build_book.by_hand()
    pages = {name: content.decode() for name, content in laid_out.items() if name.endswith(".md")}
    shown = [
        picture
        for text in pages.values()
        for picture in re.findall(r"^```\{image\} (\S+)", text, re.MULTILINE)
    ]
    assert shown and set(shown) <= laid_out.keys()


def test_pages_without_a_source_are_removed(tmp_path):
    html, source = tmp_path / "html", tmp_path / "source"
    pages = ("kept", "minivis.ops", "gone", "search", *(f"_modules/{of}" for of in ("index", "minivis/gone", "minivis/ops", "minivis/ops/conv")))  # fmt: skip
    for name in (f"{page}.html" for page in pages):
        (html / name).parent.mkdir(parents=True, exist_ok=True)
        (html / name).touch()
    source.mkdir()
    for name in ("kept.md", "minivis.ops.rst"):
        (source / name).touch()
    build_book.remove_stale(html, source)
    left = {path.relative_to(html).as_posix().removesuffix(".html") for path in html.rglob("*.html")}
    assert set(pages) - left == {"gone", "_modules/minivis/gone"}


def test_source_leads_back_to_where_a_name_is_public(tmp_path):
    page = tmp_path / "_modules" / "reduce.html"
    page.parent.mkdir()
    link = '<a class="viewcode-back" href="../api/minivis.{}.html#{}">'
    page.write_text(link.format("ops", "minivis.sum") + link.format("nn.init", "minivis.nn.init.uniform"))
    build_book.lead_back(tmp_path, ["minivis", "minivis.ops", "minivis.nn", "minivis.nn.init"])
    right = link.format("ops", "minivis.ops.sum") + link.format("nn.init", "minivis.nn.init.uniform")
    assert page.read_text() == right
