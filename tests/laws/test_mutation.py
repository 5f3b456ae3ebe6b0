"""A sample of the catalogue's mutants: each one that differs from the right answer is rejected by the laws.

Not here: all of them (``make mutation``, the table in tests/laws/results).
"""

import json

import numpy as np
import pytest

from minivis import laws
from minivis.laws.judging.registry import family_of
from tests.laws import mutation

SAMPLE = 12  # mutants a family


@pytest.mark.parametrize("name", laws.names())
def test_a_sample_of_mutants_is_rejected(name):
    every = list(mutation.mutants(name))
    rng = np.random.default_rng(list(name.encode()))
    chosen = [every[i] for i in rng.permutation(len(every))[:SAMPLE]]
    cases = mutation.plain_cases(name, 60)
    assert [mutant.words for mutant in chosen if mutation.tried(mutant, cases) is False] == []


def test_a_wrong_answer_is_not_taken_for_the_right_one():
    """The machine itself: a mutant that differs is seen to differ, and one that the laws accept is seen to pass."""
    every = list(mutation.mutants("softmax"))
    cases = mutation.plain_cases("softmax", 60)
    found = [mutation.tried(mutant, cases) for mutant in every]
    assert sum(rejected is True for rejected in found) > 10
    right = mutation.Mutant("softmax", "nothing", family_of("softmax").right)
    assert mutation.tried(right, cases) is None
    assert mutation.accepted(right, gradient=True)


def test_the_table_says_that_all_are_rejected():
    table = json.loads(mutation.TABLE.read_text(encoding="utf-8"))
    assert [row["family"] for row in table] == laws.names()
    for row in table:
        assert row["mutants"] >= row["differing"] == row["rejected"] > 0
