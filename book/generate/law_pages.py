"""The law table: for each function that has laws, each law's name, sentence, equation, hint and mutant.

Not here: the laws (minivis/laws) and how a function is judged by them.
"""

import ast
import functools
import inspect
import textwrap

from book.generate.slide_map import plain
from minivis import laws, losses, nn, ops, vision
from minivis.laws.catalogue import family_of


def pages():
    """Return {path: text}: an index, and a page for each function that has laws."""
    families = laws.names()
    lines = ["| function | called as | laws | the first of them |", "|---|---|---|---|"]
    for name in families:
        family = family_of(name)
        count, first = len(family.laws), plain(sentence(family.laws[0]))
        lines.append(f"| [{name}](#laws-{slug(name)}) | `{family.form}` | {count} | {first} |")
    lines += ["", "```{toctree}", ":hidden:", "", *(f"/laws/{name}" for name in families), "```", ""]
    return {"generated/laws.md": "\n".join(lines), **{f"laws/{name}.md": page(name) for name in families}}


def page(name):
    """The page of one function."""
    family = family_of(name)
    home = next(
        (f"minivis.{home.__name__[8:]}.{name}" for home in (ops, vision, losses, nn) if hasattr(home, name)),
        "",
    )
    lines = [f"(laws-{slug(name)})=", f"# {name}", ""]
    lines += [
        f'Called as `{family.form}`; your answer is judged by `mv.laws.check("{name}", yours)`, or in a shell by'
    ]
    lines += [
        f"`minivis check {name} answer.py:yours`. {f'The library’s own is {{py:func}}`{home}`.' if home else ''}",
        "",
    ]
    gradient = False
    for law in family.laws:
        if law.gradient and not gradient:
            lines += [
                "## With a backward pass",
                "",
                "These are asked with `vjp=True`, of a function that returns",
                "`(out, vjp)`.",
                "",
            ]
        gradient = law.gradient
        lines += entry(law)
    return "\n".join(lines)


def entry(law):
    """One law: what it promises, and folded away what helps when it is broken."""
    says = f"**{plain(law.name)}**: {sentence(law)}" + (f" *({plain(law.slide)})*" if law.slide else "")
    lines = [says, ""]
    if law.equation:
        lines += ["$$", law.equation, "$$", ""]
    hint, code = " ".join(law.hint.split()), source_of(law.mutant)
    lines += ["::::{dropdown} Hint, and a mistake that this law alone finds", "", plain(hint), ""]
    return [*lines, "```python", code, "```", "::::", ""]


def sentence(law):
    """The promise of a law, on one line."""
    return " ".join(law.sentence.split())


def slug(name):
    """A name as it stands in an anchor."""
    return name.replace("_", "-")


def source_of(mutant):
    """The source of a mutant: of the function itself, or of what makes it of a right answer."""
    if isinstance(mutant, functools.partial):
        given = ", ".join(f"{name}={value!r}" for name, value in mutant.keywords.items())
        return f"{source_of(mutant.func)}\n\n# called with {given}"
    within = inspect.getclosurevars(mutant).nonlocals
    code = (within["change"] if inspect.isfunction(within.get("change")) else mutant).__code__
    text, functions = functions_of(code.co_filename)
    line, column = next(
        (at[0], at[2]) for at in code.co_positions() if at[0] and at[2]
    )  # of its first instruction
    around = [
        n for n in functions if (n.lineno, n.col_offset) <= (line, column) <= (n.end_lineno, n.end_col_offset)
    ]
    node = [n for n in around if arguments_of(n) == code.co_varnames[: code.co_argcount]][-1]  # the innermost
    segment = ast.get_source_segment(text, node)
    if isinstance(node, ast.FunctionDef):
        segment = textwrap.dedent(" " * node.col_offset + segment)
    else:  # a lambda begins in the middle of a line
        first, _, rest = segment.partition("\n")
        segment = f"{first}\n{textwrap.dedent(rest)}".rstrip()
    parts = next(
        (value for value in within.values() if isinstance(value, dict)), {}
    )  # steps that it does otherwise
    for step, part in parts.items():
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
