"""Every law of every family: the right answer keeps it, its mutant breaks it and nothing else, it says what it should.

Not here: particular wrong answers (test_mistakes.py), hangs and other bad manners (test_manners.py).
"""

import pytest

from minivis import laws
from minivis.laws.catalogue import family_of

LAWS = [pytest.param(law, id=f"{law.family}-{law.name.replace(' ', '_')}") for law in laws.catalogue()]


def forward(name):
    """The right answer's output alone, as a learner would write it."""
    right = family_of(name).right
    return lambda *args, **options: right(*args, **options)[0]


@pytest.mark.parametrize("law", LAWS)
def test_the_mutant_is_rejected_by_its_law_alone(law):
    report = laws.judge(law.family, law.mutant, vjp=law.gradient)
    assert [verdict.name for verdict in report if not verdict.passed] == [law.name]
    assert report[law.name].message and report[law.name].hint


@pytest.mark.parametrize("name", ["linear_sum_assignment", "nms"])
def test_what_breaks_ties_by_chance_is_not_passed_by_chance(name):
    (law,) = [law for law in family_of(name).laws if law.name == "same again"]
    assert not any(laws.judge(name, law.mutant, only=[law.name]).passed for _ in range(200))


@pytest.mark.parametrize("name", laws.names())
def test_the_right_answer_passes_in_time(name):
    report = laws.judge(name, forward(name))
    assert report.passed, str(report)
    assert report.seconds < 3
    if any(law.gradient for law in family_of(name).laws):
        report = laws.judge(name, family_of(name).right, vjp=True)
        assert report.passed, str(report)
        assert report.seconds < 3


@pytest.mark.parametrize("law", LAWS)
def test_a_law_speaks_to_a_learner(law):
    assert law.sentence.endswith((".", "!")) and "\n" not in law.sentence
    assert len(law.hint) > 30
    assert law.slide == "" or law.slide[:3] in ("I: ", "H: ", "C: ", "Z: ", "A: ")


def test_names_are_unique_and_in_order():
    assert laws.names()[0] == "softmax"
    for name in laws.names():
        own = [law.name for law in family_of(name).laws]
        assert len(own) == len(set(own))
    assert {law.family for law in laws.catalogue()} == set(laws.names())
