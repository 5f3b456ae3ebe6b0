"""The law table: nothing of the catalogue is left out, and a mutant's source is what was written.

Not here: the laws themselves (tests/laws).
"""

import ast
import functools

import pytest

from book.generate import law_pages
from book.generate.markdown import escape
from minivis import laws
from minivis.laws.judging.registry import family_of


def test_every_law_stands_on_its_page_with_all_that_belongs_to_it():
    pages = law_pages.pages()
    for law in laws.catalogue():
        page = pages[f"laws/{law.family}.md"]
        assert law_pages.one_line(law.sentence) in page and law.equation in page, (law.family, law.name)
        assert escape(law_pages.one_line(law.hint)) in page, (law.family, law.name)
        for mistake in family_of(law.family).mistakes:
            assert escape(law_pages.one_line(mistake.hint)) in page, (law.family, mistake.name)
    assert all(f"/laws/{name}\n" in pages["generated/laws.md"] for name in laws.names())
    assert all(f"| `{name}` |" in pages["generated/laws.md"] for name in laws.names())


@pytest.mark.parametrize("name", laws.names())
def test_the_source_of_every_mutant_is_python(name):
    for law in laws.catalogue():
        if law.family == name:
            ast.parse(law_pages.source_of(law.mutant))


def made_of(change):
    return lambda *args: change(*args)


def test_the_source_of_a_mutant_is_what_was_written():
    def inner(x):
        return [
            x,
        ]

    assert law_pages.source_of(inner) == "def inner(x):\n    return [\n        x,\n    ]"
    one = lambda a: a + 1
    two = lambda b: b + 2
    assert [law_pages.source_of(f) for f in (one, two)] == ["lambda a: a + 1", "lambda b: b + 2"]
    assert law_pages.source_of(made_of(two)) == "lambda b: b + 2"  # what was changed, not what changes it
    assert law_pages.source_of(functools.partial(one, a=3)) == "lambda a: a + 1\n\n# called with a=3"
