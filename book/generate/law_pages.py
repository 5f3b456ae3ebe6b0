"""The law pages: for each function with laws, the name, sentence, equation, hint and mutant of each law, the known
mistakes, and how many mutants of the right answer the laws rejected.

Not here: the laws, and judging a function by them (minivis/laws).
"""

import ast
import functools
import inspect
import json
import textwrap
from pathlib import Path

from book.generate.markdown import escape, head, laws_of, row
from minivis import analysis, laws, losses, models, nn, ops, vision
from minivis.laws.judging.registry import PLAIN, family_of

MUTATION = Path(__file__).parents[2] / "tests" / "laws" / "results" / "mutation.json"


def pages():
    """Return {path: text}: an index, and a page for each function with laws."""
    families = laws.names()
    lines = head("function", "called as", "laws", "the first law")
    for name in families:
        family = family_of(name)
        first = escape(one_line(family.laws[0].sentence))
        lines.append(row(f"[{name}](#{laws_of(name)})", f"`{family.form}`", len(family.laws), first))
    lines += ["", *mutation_table()]
    lines += ["", "```{toctree}", ":hidden:", "", *(f"/laws/{name}" for name in families), "```", ""]
    return {"generated/laws.md": "\n".join(lines), **{f"laws/{name}.md": page(name) for name in families}}


def mutation_table():
    """The table of mutation testing: how many mutants of each right answer the laws rejected."""
    lines = head("function", "mutants", "of these wrong", "rejected")
    rows = json.loads(MUTATION.read_text(encoding="utf-8"))
    lines += [row(f"`{r['family']}`", r["mutants"], r["differing"], r["rejected"]) for r in rows]
    sums = [sum(r[key] for r in rows) for key in ("mutants", "differing", "rejected")]
    lines.append(row("all together", *(f"**{number:,}**" for number in sums)))
    return [
        "## Do the laws find what is wrong?",
        "",
        "Each mutant is the right answer with one change: an operator, a number, an axis, a comparison, a pair or a "
        "statement. A mutant counts as wrong if its result differs on more than one in twenty plain random inputs. "
        "The laws should reject every wrong mutant. `make mutation` runs this again.",
        "",
        *lines,
    ]


def page(name):
    """The page of one function."""
    family = family_of(name)
    home = next(
        (
            f"{home.__name__}.{name}"
            for home in (ops, vision, losses, nn, models, analysis)
            if hasattr(home, name)
        ),
        "",
    )
    lines = [
        f"({laws_of(name)})=",
        f"# {name}",
        "",
        f'Called as `{family.form}`; your answer is judged by `mv.laws.check("{name}", yours)`, or in a shell by',
        f"`minivis check {name} answer.py:yours`. {f'The library’s own is {{py:func}}`{home}`.' if home else ''}",
        "",
    ]
    gradient = False
    for law in family.laws:
        if law.gradient and not gradient:
            lines += [
                "## With a backward pass",
                "",
                "With `vjp=True`, these laws judge a function that returns `(out, vjp)`.",
                "",
            ]
        gradient = law.gradient
        lines += entry(law)
    return "\n".join([*lines, *known_mistakes(family)])


def known_mistakes(family):
    """The common mistakes that are recognised by their answers, with their hints, in a dropdown."""
    lines = [
        "## Known mistakes",
        "",
        "If your function gives the same answers as one of these, you get its hint.",
        "",
    ]
    lines += ["::::{dropdown} The mistakes and their hints", ""]
    known = dict.fromkeys((m.name, m.hint) for m in family.mistakes)
    lines += [f"- **{escape(name)}**: {escape(one_line(hint))}" for name, hint in known]
    return [*lines, "::::", ""]


def entry(law):
    """One law: what it promises, and folded away what helps when it is broken."""
    says = f"**{escape(law.name)}**: {one_line(law.sentence)}"
    if law.slide:
        says += f" *(slide {escape(law.slide)})*"
    lines = [says, ""]
    if law.equation:
        lines += ["$$", law.equation, "$$", ""]
    lines += [
        f"::::{{dropdown}} Hint, and a mistake that this law {'rejects' if law.name in PLAIN else 'alone explains'}",
        "",
        escape(one_line(law.hint)),
        "",
    ]
    return [*lines, "```python", source_of(law.mutant), "```", "::::", ""]


def one_line(text):
    """A text without its line breaks."""
    return " ".join(text.split())


def source_of(mutant):
    """The source of a mutant: of the function itself, or of the change that makes it from a right answer."""
    if isinstance(mutant, functools.partial):
        given = ", ".join(f"{name}={value!r}" for name, value in mutant.keywords.items())
        return f"{source_of(mutant.func)}\n\n# called with {given}"
    within = inspect.getclosurevars(mutant).nonlocals
    code = (within["change"] if inspect.isfunction(within.get("change")) else mutant).__code__
    text, functions = functions_of(code.co_filename)
    first = next((line, column) for line, _, column, _ in code.co_positions() if line and column)
    around = [n for n in functions if (n.lineno, n.col_offset) <= first <= (n.end_lineno, n.end_col_offset)]
    node = [n for n in around if arguments_of(n) == code.co_varnames[: code.co_argcount]][-1]  # the innermost
    segment = ast.get_source_segment(text, node)
    if isinstance(node, ast.FunctionDef):
        segment = textwrap.dedent(" " * node.col_offset + segment)
    else:  # a lambda begins in the middle of a line
        opening, _, rest = segment.partition("\n")
        segment = f"{opening}\n{textwrap.dedent(rest)}".rstrip()
    steps = next((value for value in within.values() if isinstance(value, dict)), {})  # the changed steps
    for step, part in steps.items():
        if inspect.isfunction(part):
            segment += f"\n\n# its step {step!r}:\n{source_of(part)}"
    return segment


@functools.cache
def functions_of(file):
    """The text of a file, and the syntax of all functions in it, the outer before the inner."""
    with open(file, encoding="utf-8") as opened:
        text = opened.read()
    return text, [
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Lambda | ast.FunctionDef)
    ]


def arguments_of(node):
    """The names of a function's arguments, from its syntax."""
    return tuple(a.arg for a in [*node.args.posonlyargs, *node.args.args])
