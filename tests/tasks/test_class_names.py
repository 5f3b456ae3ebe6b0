"""Which class of a model is meant by a folder's name, WordNet's numbers included; what is ambiguous or unknown is refused.

Not here: the measurement itself (test_evaluation.py).
"""

import json

import pytest

from minivis.tasks.class_names import model_classes

LABELS = {0: "tench, Tinca tinca", 1: "crane", 2: "goldfish, Carassius auratus", 3: "crane"}
NUMBERS = ["n01440764", "n01443537"]


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["goldfish", "tench"], [2, 0]),
        (["Tinca_tinca"], [0]),
        (["GOLDFISH, carassius auratus"], [2]),
    ],
)
def test_names_and_synonyms(names, classes, tmp_path):
    assert model_classes(names, LABELS, tmp_path) == (classes, "by their names")


def test_the_background_is_not_named(tmp_path):
    labels = {0: "background", 1: "cat"}
    assert model_classes(["cat"], labels, tmp_path, background=1)[0] == [1]
    with pytest.raises(ValueError, match="evaluate: the model does not know background"):
        model_classes(["background"], labels, tmp_path, background=1)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["goldfish", "shark"], "evaluate: the model does not know shark; its classes are tench"),
        (["crane"], r"evaluate: two classes of the model are called crane, numbers \[1, 3\]"),
        (["tench", "Tinca tinca"], "evaluate: two classes of the data are the same"),
        (NUMBERS, "evaluate: the classes are WordNet's numbers, .*put synset_words.txt"),
    ],
)
def test_what_is_not_certain_is_refused(names, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        model_classes(names, LABELS, tmp_path)


def test_wordnets_numbers_by_a_list(tmp_path):
    lines = "n01440764 tench, Tinca tinca\nn01443537 goldfish, Carassius auratus\nn09999999 nothing\n"
    (tmp_path / "synset_words.txt").write_text(lines)
    inside = tmp_path / "val"
    inside.mkdir()
    assert model_classes(NUMBERS, LABELS, inside) == ([0, 2], "by synset_words.txt")


def test_wordnets_numbers_by_keras_list_and_by_order(tmp_path):
    labels = {0: "first", 1: "second"}
    assert model_classes(NUMBERS[::-1], labels, tmp_path) == ([1, 0], "by the order of WordNet's numbers")
    listed = {"0": ["n01443537", "goldfish"], "1": ["n01440764", "tench"]}
    (tmp_path / "imagenet_class_index.json").write_text(json.dumps(listed))
    assert model_classes(NUMBERS, labels, tmp_path) == ([1, 0], "by imagenet_class_index.json")


def test_lines_that_say_nothing_are_passed_over(tmp_path):
    labels = {0: "tench, Tinca tinca", 1: "goldfish"}
    lines = ["\ufeffn01440764\ttench, Tinca tinca", "n01443537\t", "", "n01443537 goldfish"]
    (tmp_path / "words.txt").write_text("\n".join(lines), "utf-8")
    assert model_classes(["n01443537", "n01440764"], labels, tmp_path)[0] == [1, 0]
    (tmp_path / "words.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="words.txt is no text in UTF-8"):
        model_classes(["n01443537", "n01440764"], labels, tmp_path)
