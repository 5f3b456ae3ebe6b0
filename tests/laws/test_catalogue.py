"""Every law of every family: the right answer keeps it, its mutant breaks it, it says what it should.

A mutant of another law than the value laws is rejected by no other law than these; what "agrees on anything" alone
rejects is a wrong answer that once passed.

Not here: particular wrong answers (test_mistakes.py), hangs and other bad manners (judging/test_sandbox.py).
"""

import tomllib
from pathlib import Path

import numpy as np
import pytest

from minivis import laws
from minivis.laws.judging import checking
from minivis.laws.judging.checking import drawn
from minivis.laws.judging.registry import ANYTHING, GRADIENTS, PLAIN, SIMPLEST, SIMPLEST_GRADIENTS, family_of

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SLIDES = {
    f"{slide['deck']}/{slide['number']}-{slide['slug']}"
    for slide in tomllib.loads((NOTEBOOKS / "slides.toml").read_text(encoding="utf-8"))["slide"]
}
LAWS = [pytest.param(law, id=f"{law.family}-{law.name.replace(' ', '_')}") for law in laws.catalogue()]


def forward(name):
    """The right answer's output alone, as a learner would write it."""
    right = family_of(name).right
    return lambda *args, **options: right(*args, **options)[0]


@pytest.fixture
def first_counterexample(monkeypatch):
    """Verdicts with the first case that breaks a law: looking for a smaller one changes no verdict, and takes most of the time."""
    monkeypatch.setattr(checking, "SHRINKS", 0)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.usefixtures("first_counterexample")
def test_the_mutant_is_rejected_by_its_law(law):
    report = laws.judge(law.family, law.mutant, vjp=law.gradient)
    broken = [verdict for verdict in report if not verdict.passed]
    assert report[law.name] in broken
    assert report[law.name].message and report[law.name].hint
    if law.name in (ANYTHING, GRADIENTS):
        assert len(broken) == 1
    elif law.name not in PLAIN:
        assert [v.name for v in broken if v.name not in PLAIN] == [law.name]


@pytest.mark.parametrize("name", laws.names())
def test_every_family_compares_any_calls_with_the_right_answer(name):
    family = family_of(name)
    whole = [family.law_named(ANYTHING)] + [family.law_named(GRADIENTS)] * bool(has_gradients(name))
    for law in whole:
        assert law.value and law.holds is not None
        assert len({case.key() for case in drawn(law, law.examples)}) >= 150
    assert family.law_named(SIMPLEST).value
    assert not has_gradients(name) or family.law_named(SIMPLEST_GRADIENTS).value


@pytest.mark.parametrize("name", laws.names())
def test_known_mistakes_are_recognised_and_get_their_own_hint(name):
    family = family_of(name)
    own = {m.name for m in family.mistakes if not m.gradient}
    assert len(own) >= 4, f"{name} knows only {sorted(own)}"
    for mistake in family.mistakes:
        report = laws.judge(name, mistake.answer, vjp=mistake.gradient)
        told = [v for v in report if not v.passed and v.mistake]
        assert told, f"{mistake.name}: {report}"
        assert {v.mistake for v in told} == {mistake.name}
        assert all(v.hint == mistake.hint for v in told)


@pytest.mark.parametrize("name", laws.names())
@pytest.mark.parametrize("constant", [np.zeros_like, np.ones_like], ids=["zeros", "ones"])
@pytest.mark.usefixtures("first_counterexample")
def test_no_constant_keeps_a_law_that_compares_with_the_right_answer(name, constant):
    family = family_of(name)

    def filled(value):
        if isinstance(value, tuple):
            return tuple(map(filled, value))
        if isinstance(value, dict):
            return {key: filled(part) for key, part in value.items()}
        return None if value is None else constant(np.asarray(value))

    def backward(*args, **options):
        out, vjp = family.right(*args, **options)
        return out, lambda g: filled(tuple(vjp(g)))

    forward_laws, gradient_laws = (
        [law.name for law in family.laws if law.value and law.gradient == gradient]
        for gradient in (False, True)
    )
    report = laws.judge(name, lambda *a, **o: filled(family.right(*a, **o)[0]), only=forward_laws)
    assert not any(verdict.passed for verdict in report)
    if gradient_laws:
        report = laws.judge(name, backward, vjp=True, only=gradient_laws)
        assert not any(verdict.passed for verdict in report)


def has_gradients(name):
    return any(law.gradient for law in family_of(name).laws)


@pytest.mark.parametrize("name", laws.names())
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_right_answer_passes_whatever_the_seed(name, seed):
    if has_gradients(name):  # every law, those of the output too
        assert laws.judge(name, family_of(name).right, vjp=True, seed=seed).passed
    else:
        assert laws.judge(name, forward(name), seed=seed).passed


def test_the_seed_decides_what_is_drawn():
    def inputs_for(seed):
        seen = []

        def looks(x, axis=-1):
            seen.append((x.tobytes(), axis))
            return forward("softmax")(x, axis)

        laws.judge("softmax", looks, seed=seed)
        return seen

    assert inputs_for(5) == inputs_for(5) != inputs_for(6)


@pytest.mark.parametrize("name", ["anchor_boxes", "linear_sum_assignment", "nms"])
@pytest.mark.usefixtures("first_counterexample")
def test_what_answers_by_chance_is_not_passed_by_chance(name):
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
    assert law.slide in SLIDES | {""}


def test_names_are_unique_and_in_order():
    assert laws.names()[0] == "softmax"
    for name in laws.names():
        own = [law.name for law in family_of(name).laws]
        assert len(own) == len(set(own))
    assert {law.family for law in laws.catalogue()} == set(laws.names())


def test_each_call_of_a_case_draws_the_same():
    (case,) = drawn(family_of("drop_path").law_named(ANYTHING), 1)
    first, second = (case.copy()["rng"].random(3) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert case.key() == case.copy().key()
