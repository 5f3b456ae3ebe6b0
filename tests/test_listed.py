"""A value of json is read as what it should be, or refused by the names of its entry and key.

Not here: what the readers make of it (data/test_coco.py).
"""

import json

import pytest

from minivis.listed import flag, identity, number, objects, text, told, whole

READ = {
    whole: {"3": 3, "3.0": 3, "-2": -2, "0": 0, "1e3": 1000},
    number: {"3": 3.0, "2.5": 2.5, "-0.5": -0.5},
    flag: {"1": True, "0": False, "1.0": True, "true": True, "false": False, '"0"': False, '"1"': True, '"False"': False, '" TRUE "': True},
    text: {'"a"': "a", '"0"': "0"},
    identity: {"3": 3, "3.0": 3, '"3"': "3", '"c33c-01"': "c33c-01"},
    objects: {"[]": [], '[{"a": 1}]': [{"a": 1}]},
}  # fmt: skip
EVERYTHING = ["3", "3.5", "true", "false", '"3"', '""', '"no"', "[]", "[3]", "{}", "NaN", "Infinity", "-1e999", "2", "1" * 400,
              '[{"a": 1}]', '[[{}]]', "1e308"]  # fmt: skip


@pytest.mark.parametrize("read", READ)
def test_what_a_value_may_be_written_as(read):
    for written, wanted in READ[read].items():
        got = read("image 7", {"key": json.loads(written)}, "key")
        assert got == wanted and type(got) is type(wanted), written


@pytest.mark.parametrize("read", READ)
def test_anything_else_is_refused_by_name(read):
    fits = {
        whole: {"3", "2", "1" * 400, "1e308"},
        number: {"3", "3.5", "2", "1e308"},
        flag: {"true", "false"},
        text: {'"3"', '"no"'},
        identity: {"3", "2", '"3"', '"no"', "1" * 400, "1e308"},
        objects: {"[]", '[{"a": 1}]'},
    }
    for written in EVERYTHING:
        entry = {"key": json.loads(written)}
        if written in fits[read]:
            read("image 7", entry, "key")
        else:
            with pytest.raises(ValueError, match=r"^image 7 needs .* named 'key', got "):
                read("image 7", entry, "key", default=0)


@pytest.mark.parametrize("read", READ)
def test_what_is_missing_or_null_is_the_default_or_refused(read):
    for entry in ({}, {"key": None}):
        assert read("image 7", entry, "key", default=0) == 0
        with pytest.raises(ValueError, match="^image 7 needs .* named 'key', got nothing$"):
            read("image 7", entry, "key")


def test_values_are_told_in_a_few_words():
    deep = json.loads("[" * 400 + "]" * 400)
    for value in ("x" * 10**6, list(range(10**6)), deep, {"a": deep}, 10**300):
        assert len(told(value)) < 400
    assert told([1, "b", None]) == "[1, 'b', None]"
