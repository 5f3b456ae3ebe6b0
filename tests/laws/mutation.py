"""The catalogue under mutation: each family's reference answer with one thing changed, and whether the laws notice.

``python -m tests.laws.mutation`` tries every mutant and writes the table; test_mutation.py tries a sample.
A mutant counts when it differs from the right answer on more than one plain random input in twenty.
"""

import argparse
import ast
import inspect
import json
import multiprocessing
import sys
import types
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from minivis import laws
from minivis.laws.judging.candidate import Candidate
from minivis.laws.judging.checking import smallest_broken
from minivis.laws.judging.inputs import Case
from minivis.laws.judging.registry import ANYTHING, GRADIENTS, family_of
from minivis.laws.judging.sandbox import Alarm
from minivis.laws.judging.value_laws import gradients_agree
from tests.laws.mutants import changed
from tests.laws.plain_inputs import PLAIN

TABLE = Path(__file__).parent / "results" / "mutation.json"
SHARE = 0.05  # of plain inputs on which a mutant must differ to count


@dataclass(frozen=True)
class Mutant:
    """A reference answer with one change; ``answer`` returns ``(out, vjp)`` like it."""

    family: str
    words: str
    answer: object

    def forward(self, *args, **options):
        """Its output alone."""
        return self.answer(*args, **options)[0]


def mutants(name):
    """All mutants of a family's reference answer, in the order of its source."""
    right = family_of(name).right
    namespace, definitions = _source_of(right)
    for number, definition in enumerate(definitions):
        for words, other in changed(definition):
            body = [*definitions[:number], other, *definitions[number + 1 :]]
            answer = _compiled(right, namespace, body)
            if answer is not None:
                yield Mutant(name, f"{getattr(definition, 'name', 'right')}, {words}", answer)


def _source_of(right):
    """The names that a reference answer's module knows, and the definitions that the answer is made of."""
    module = sys.modules[right.__module__]
    known, place = {}, {}  # in the order of the sources: a default argument is what stood above it
    for i, other in enumerate(_law_modules(module)):
        for node in ast.parse(inspect.getsource(other)).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name not in known:
                known[node.name] = node
                place[node.name] = (-i, node.lineno)
    reached = []
    waiting = [right.__name__] if right.__name__ in known else list(right.__code__.co_names)
    while waiting:
        name = waiting.pop(0)
        if name in known and name not in reached:
            reached.append(name)
            waiting += [n.id for n in ast.walk(known[name]) if isinstance(n, ast.Name)]
    namespace = {}
    for other in reversed(_law_modules(module)):
        namespace |= vars(other)
    namespace["_reversed_divmod"] = lambda a, b: divmod(b, a)
    return namespace, [known[name] for name in sorted(reached, key=place.get)]


def _law_modules(module):
    """A family's module, and those of the laws from which it takes functions."""
    own = {getattr(value, "__module__", "") for value in vars(module).values() if inspect.isfunction(value)}
    others = sorted(n for n in own - {module.__name__} if n.startswith("minivis.laws."))
    return [module] + [sys.modules[n] for n in others if not n.startswith("minivis.laws.judging.")]


def _compiled(right, namespace, body):
    names = dict(namespace)
    try:
        exec(compile(ast.Module(body=body, type_ignores=[]), f"<mutant of {right.__name__}>", "exec"), names)
    except Exception:  # a decorator or default that no longer works: nothing that a learner could write
        return None
    if right.__name__ in {node.name for node in body}:
        return names[right.__name__]
    return types.FunctionType(right.__code__, names, right.__name__, right.__defaults__, right.__closure__)


def plain_cases(name, count, seed=0):
    """Plain random calls over the whole domain, drawn without Hypothesis and without the laws' own strategies."""
    rng = np.random.default_rng([seed, *name.encode()])
    family = family_of(name)
    return [Case.of(name, family.parameters, PLAIN[name](rng)) for _ in range(count)]


def differs(mutant, cases, gradient):
    """Whether a mutant's output (or its gradients) differ from the right ones on more than `SHARE` of the cases."""
    family = family_of(mutant.family)
    wrong = 0
    with Alarm() as alarm, np.errstate(all="ignore"):
        for tried, case in enumerate(cases):
            candidate = Candidate(mutant.answer if gradient else mutant.forward, family, gradient, alarm)
            try:
                (gradients_agree if gradient else family.same)(candidate, case)
            except Exception:  # Broken, or arrays that cannot be compared
                wrong += 1
            if wrong > SHARE * len(cases):
                return True
            if wrong + len(cases) - tried - 1 <= SHARE * len(cases):
                return False
    return False


def accepted(mutant, gradient):
    """Whether every law lets a mutant through."""
    given = mutant.answer if gradient else mutant.forward
    return not _breaks_the_whole(mutant.family, given, gradient) and (
        laws.judge(mutant.family, given, gradient).passed
    )


def _breaks_the_whole(name, given, gradient):
    """Whether a function breaks "agrees on anything": as `judge` finds it, but no smaller case is looked for."""
    family = family_of(name)
    with Alarm() as alarm, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        candidate = Candidate(given, family, gradient, alarm)

        def broken_by(law, case):
            try:
                law.holds(candidate, case)
            except Exception as error:  # Broken, or arrays that cannot be compared
                return error
            return None

        law = family.law_named(GRADIENTS if gradient else ANYTHING)
        return smallest_broken(law, broken_by, may_shrink=lambda: False)[1] is not None


def tried(mutant, cases):
    """What came of a mutant: None where it is as good as the right answer, else whether it was rejected."""
    if differs(mutant, cases, gradient=False):
        return not accepted(mutant, gradient=False)
    if family_of(mutant.family).law_named(GRADIENTS) is not None and differs(mutant, cases, gradient=True):
        return not accepted(mutant, gradient=True)
    return None


def survey(name, count=100):
    """Try every mutant of a family: a row of the table, and the words of those that were let through."""
    cases = plain_cases(name, count)
    found = [(mutant.words, tried(mutant, cases)) for mutant in mutants(name)]
    counted = [rejected for _, rejected in found if rejected is not None]
    row = {"family": name, "mutants": len(found), "differing": len(counted), "rejected": sum(counted)}
    return row, [words for words, rejected in found if rejected is False]


def main():
    """Try everything, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("families", nargs="*", help="default: all, and the table is written")
    chosen = parser.parse_args().families or laws.names()
    rows = {}
    with multiprocessing.get_context("fork").Pool() as pool:
        for row, through in tqdm(pool.imap_unordered(survey, chosen), total=len(chosen), unit="family"):
            rows[row["family"]] = row
            for words in through:
                tqdm.write(f"{row['family']}: let through: {words}")
    for name in chosen:
        row = rows[name]
        print(
            f"{name:34} {row['mutants']:5} mutants {row['differing']:5} differ {row['rejected']:5} rejected"
        )
    if chosen == laws.names():
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text(json.dumps([rows[name] for name in chosen], indent=1) + "\n", encoding="utf-8")
    return any(row["rejected"] < row["differing"] for row in rows.values())


if __name__ == "__main__":
    sys.exit(main())
