"""Which class of a model is meant by the name of a class in the data: by the name itself, or by WordNet's number.

Not here: the data (truth.py), what is counted then (scores.py).
"""

import re
from pathlib import Path

from minivis.files import read_json, some

__all__ = ["model_classes"]

WORDNET = re.compile(r"n\d{8}")  # the names of ImageNet's folders
# files that say what is meant by WordNet's numbers, as they are known from Kaggle, Caffe and Keras
LISTS = ("LOC_synset_mapping.txt", "synset_words.txt", "words.txt")
INDEX = "imagenet_class_index.json"


def model_classes(names, labels, folder, background=0):
    """Find the class of a model for each class of the data.

    Parameters
    ----------
    names : sequence of str
        The classes of the data.
    labels : dict of int to str
        Those of the model. A name may have synonyms, "tench, Tinca tinca".
    folder : path
        The folder of the data. In it, or in the two above, may lie a list of what WordNet's numbers mean: ``synset_words.txt``,
        ``LOC_synset_mapping.txt``, or Keras' ``imagenet_class_index.json``.
    background : int, default 0
        So many classes of the model, the first ones, are nothing that data name.

    Returns
    -------
    classes : list of int
        For each name the class of the model.
    told : str
        How they were found, for people.

    Raises
    ------
    ValueError
        If a name is none of the model's, or that of two.

    Examples
    --------
    >>> model_classes(["goldfish"], {0: "tench, Tinca tinca", 1: "goldfish, Carassius auratus"}, ".")
    ([1], 'by their names')
    """
    if not names:
        raise ValueError("evaluate: the data name no classes")
    known = {number: name for number, name in labels.items() if number >= background}
    if all(WORDNET.fullmatch(name) for name in names) and not set(names) & set(known.values()):
        return _by_wordnet(names, known, Path(folder))
    return _by_name(names, names, known), "by their names"


def _by_wordnet(names, known, folder):
    """ImageNet's folders: with a list of the numbers by name, without one by their order."""
    for place in [folder, *folder.absolute().parents[:2]]:
        for path in (place / name for name in LISTS):
            if path.is_file():
                meant = _meanings(path)
                return _by_name(names, [meant.get(name, name) for name in names], known), f"by {path.name}"
        if (place / INDEX).is_file():
            listed = read_json(place / INDEX, "evaluate")
            number = {
                str(entry[0]): int(key)
                for key, entry in listed.items()
                if isinstance(entry, list) and entry and key.isdecimal()
            }
            if set(names) <= set(number) and len(listed) == len(known):
                first = min(known)
                return [first + number[name] for name in names], f"by {INDEX}"
    if len(names) == len(known):
        order = sorted(names)
        return [sorted(known)[order.index(name)] for name in names], "by the order of WordNet's numbers"
    raise ValueError(
        f"evaluate: the classes are WordNet's numbers, {some(names)}, and nothing says what they mean: put synset_words.txt "
        f'("n01440764 tench, Tinca tinca" on each line) or {INDEX} into {folder}. Without it all {len(known)} classes of the '
        "model are needed, to be matched in order"
    )


def _meanings(path):
    """{WordNet's number: what it means}, from a file with one of them on each line."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"evaluate: {path} is no text in UTF-8; save it again as UTF-8") from None
    pairs = [line.split(maxsplit=1) for line in lines]
    return dict(pair for pair in pairs if len(pair) == 2)


def _by_name(names, meant, known):
    """The class of the model that has a name, or the same synonyms."""
    whole, single = {}, {}
    for number, name in known.items():
        whole.setdefault(_plain(name), []).append(number)
        for synonym in name.split(","):
            single.setdefault(_plain(synonym), []).append(number)
    found = [whole.get(_plain(text)) or single.get(_plain(text.split(",")[0])) for text in meant]
    if missing := [name for name, numbers in zip(names, found, strict=True) if not numbers]:
        raise ValueError(
            f"evaluate: the model does not know {some(missing, 6)}; its classes are {some(list(known.values()), 8)}: rename "
            "the classes of the data, or train the model for them (minivis train --data ... --from ...)"
        )
    if double := [name for name, numbers in zip(names, found, strict=True) if len(numbers) > 1]:
        raise ValueError(
            f"evaluate: two classes of the model are called {double[0]}, numbers {found[names.index(double[0])]}: say the whole "
            "name with its synonyms, or WordNet's number"
        )
    if len({numbers[0] for numbers in found}) < len(found):
        raise ValueError(
            f"evaluate: two classes of the data are the same class of the model: {some(names, 8)}"
        )
    return [numbers[0] for numbers in found]


def _plain(name):
    return " ".join(str(name).lower().replace("_", " ").split())
