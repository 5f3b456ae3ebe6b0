"""The laws of bpe_encode: any text becomes the ids of byte pairs, and nothing of it is lost.

Not here: how merges are learnt, start and end, the published list of merges.
"""

import html
import itertools
import re

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, generator, integer
from minivis.laws.judging.manners import kind_law, quiet_law, shape_law
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import values

END = "</w>"
RANKS = r"(a, b) = \arg\min_{\text{neighbours}} \mathrm{rank}(a, b)"
PIECES = re.compile(r"'(?:s|t|re|ve|m|ll|d)|[^\W\d_]+|\d|(?:[^\w\s]|_)+")
PRINTABLE = (*range(33, 127), *range(161, 173), *range(174, 256))
BYTES = (*PRINTABLE, *(byte for byte in range(256) if byte not in PRINTABLE))  # the order of ids 0 to 255
CHARACTER = {byte: chr(byte if byte in PRINTABLE else 68 + place) for place, byte in enumerate(BYTES)}


def _words(text, lower=str.lower):
    """The words of a text: cleaned, then cut into letters, single digits and other characters."""
    return PIECES.findall(lower(" ".join(html.unescape(html.unescape(text)).split())))


def _symbols(word):
    symbols = [CHARACTER[byte] for byte in word.encode()]
    return [*symbols[:-1], symbols[-1] + END]


def _bpe_encode(text, merges):
    ids = [CHARACTER[byte] for byte in BYTES]
    ids = [*ids, *(symbol + END for symbol in ids), *(left + right for left, right in merges)]
    found = []
    for word in _words(text):
        parts = _symbols(word)
        for left, right in merges:
            place = 0
            while place < len(parts) - 1:
                if parts[place] == left and parts[place + 1] == right:
                    parts[place : place + 2] = [left + right]
                place += 1
        found.extend(ids.index(part) for part in parts)
    return np.array(found, np.int64), None


bpe_encode = Family(
    "bpe_encode",
    _bpe_encode,
    form="f(text, merges) -> array or list of ids; merges is a list of pairs of symbols, the first learnt in front; 0 to 255 "
    "are the bytes in the order of minivis.data.byte_pairs.BYTE_SYMBOLS, 256 to 511 the same at the end of a word (with "
    "</w> behind), 512 + i is merge i; clean_text and split_text of that file give the words",
)


def _read(f, case):
    """The ids that were returned, as an array."""
    out = f.result(case.copy())[0]
    if isinstance(out, list):
        if not all(isinstance(number, int | np.integer) for number in out):
            raise Broken(f"Whole numbers were expected; your function returned {out!r:.60}.")
        return np.array(out, np.int64)
    return f.array(out)


def _agree(got, expected):
    """Compare ids. Another number of them is no mistake of shapes, so the hint stays that of the law."""
    if got.shape != expected.shape and got.ndim == 1:
        raise Broken(f"{len(expected)} ids were expected, got {len(got)}.", expected=expected, got=got)
    compare(got, expected, rtol=0, atol=0)


def _same(f, case, atol=0):
    _agree(_read(f, case), f.right(case))


bpe_encode.read = _read
bpe_encode.same = _same


def _learnt(text, count):
    """Merges of a text: the most frequent pair of neighbours, again and again."""
    words = [_symbols(word) for word in _words(text)]
    merges = []
    for _ in range(count):
        pairs = [pair for word in words for pair in itertools.pairwise(word)]
        if not pairs:
            break
        best = min(set(pairs), key=lambda pair: (-pairs.count(pair), pair))
        merges.append(best)
        words = [_joined(word, best) for word in words]
    return merges


def _joined(parts, pair):
    parts = list(parts)
    place = 0
    while place < len(parts) - 1:
        if tuple(parts[place : place + 2]) == pair:
            parts[place : place + 2] = ["".join(pair)]
        place += 1
    return parts


def _encoding(words=_words, symbols=_symbols, parts=None, number=None):
    """The encoding with another part; unknown symbols have the id 0."""

    def answer(text, merges):
        alphabet = [CHARACTER[byte] for byte in (number or BYTES)]
        ids = [*alphabet, *(symbol + END for symbol in alphabet), *("".join(pair) for pair in merges)]
        ids = {part: n for n, part in reversed(list(enumerate(ids)))}
        found = []
        for word in words(text):
            cut = symbols(word)
            if parts:
                cut = parts(cut, merges)
            else:
                for pair in merges:
                    cut = _joined(cut, pair)
            found += [ids.get(part, 0) for part in cut]
        return np.array(found, np.int64)

    return answer


def _longest(cut, merges):
    """The longest part of the list that the rest of the word begins with."""
    known = {"".join(pair) for pair in merges}
    found = []
    while cut:
        n = next(n for n in range(len(cut), 0, -1) if n == 1 or "".join(cut[:n]) in known)
        found.append("".join(cut[:n]))
        cut = cut[n:]
    return found


def _once(cut, merges):
    """One pass through the list, in which each pair is merged where it comes first alone."""
    for pair in merges:
        place = next((i for i, two in enumerate(itertools.pairwise(cut)) if two == tuple(pair)), None)
        if place is not None:
            cut = [*cut[:place], "".join(pair), *cut[place + 2 :]]
    return cut


def _last_first(cut, merges):
    for pair in reversed(merges):
        cut = _joined(cut, pair)
    return cut


def _only_latin(word):
    return _symbols(word.encode("ascii", "ignore").decode() or "?")


as_written = _encoding(words=lambda text: _words(text, lower=lambda text: text))
one_word = _encoding(words=lambda text: _words(text.replace(" ", "")))
no_html = _encoding(words=lambda text: PIECES.findall(" ".join(text.split()).lower()))
greedy = _encoding(parts=_longest)
first_place = _encoding(parts=_once)
last_first = _encoding(parts=_last_first)
no_merges = _encoding(parts=lambda cut, merges: cut)
no_end = _encoding(symbols=lambda word: [CHARACTER[byte] for byte in word.encode()])
only_latin = _encoding(symbols=_only_latin)
plain_bytes = _encoding(number=range(256))


def _joined_digits(text):
    """Words as they should be, but runs of digits whole."""
    return re.findall(r"\d+|[^\W\d_]+|(?:[^\w\s]|_)+", " ".join(html.unescape(html.unescape(text)).split()).lower())  # fmt: skip


long_numbers = _encoding(words=_joined_digits)

COMMON = ("low", "lower", "lowest", "new", "newer", "wide", "cat", "bat", "banana", "mississippi")
RARE = ("élan", "straße", "猫", "кот", "née", "🐈", "ñandú", "çok")
OTHER = ("7", "42", "!", "?!", ",", "don't", "we're", "#1", "a_b", "(x)")


def _text(draw, *kinds, low=1, high=6):
    """Words of some kinds, with a space between them."""
    rng = generator(draw)
    words = [word for kind in kinds for word in kind]
    return " ".join(rng.choice(words, integer(draw, low, high)))


def _merges(draw, *kinds, most=24):
    rng = generator(draw)
    words = [word for kind in kinds for word in kind]
    text = " ".join(rng.choice(words, 10))
    return _learnt(text, choose(draw, 6, 12, most))


def _plain(draw):
    return {"text": _text(draw, COMMON), "merges": _merges(draw, COMMON)}


def _two_words(draw):
    return {"text": _text(draw, COMMON, low=2, high=4), "merges": _merges(draw, COMMON)}


def _with_capitals(draw):
    text = _text(draw, COMMON)
    return {"text": choose(draw, text.upper(), text.title()), "merges": _merges(draw, COMMON)}


def _any_language(draw):
    return {"text": _text(draw, RARE, high=1), "merges": _merges(draw, RARE, COMMON)}


def _a_number(draw):
    return {"text": f"{integer(draw, 10, 2030)}", "merges": _merges(draw, COMMON)}


def _one_word(draw):
    word = choose(draw, "aba", "abba", "abcabca")
    return {"text": word, "merges": choose(draw, [], [("b", "c")])}


def _ranked(draw):
    """Words in which the longest part at the front is not what the merges make."""
    word = choose(draw, "abcde", "abcdabcde", "eabcde")
    return {"text": word, "merges": [("b", "c"), ("a", "b"), ("c", "d")]}


def _empty_or_not(draw):
    return {"text": choose(draw, "", "a", "  ", "low lower"), "merges": choose(draw, [], [("l", "o")])}


def _anything(draw):
    kinds = choose(draw, (COMMON,), (COMMON, RARE), (COMMON, OTHER), (RARE, OTHER), (COMMON, RARE, OTHER))
    text = _text(draw, *kinds, low=0, high=8)
    text = choose(
        draw, text, text, text.title(), f" {text}\n\t{text}", f"{text} &amp; {text}", f"{text} &amp;lt;"
    )
    return {"text": text, "merges": choose(draw, [], _merges(draw, *kinds), _merges(draw, *kinds, most=60))}


def _parts_of(ids, merges):
    """The parts that ids stand for."""
    alphabet = [CHARACTER[byte] for byte in BYTES]
    parts = [*alphabet, *(symbol + END for symbol in alphabet), *("".join(pair) for pair in merges)]
    ids = np.ravel(ids).astype(int)
    if len(ids) and not 0 <= ids.min() <= ids.max() < len(parts):
        raise Broken(f"Ids are from 0 to {len(parts) - 1}; yours are from {ids.min()} to {ids.max()}.")
    return [parts[number] for number in ids]


@bpe_encode.law(
    "nothing is lost",
    inputs=_any_language,
    equation=r"\mathrm{decode}(\mathrm{encode}(t)) = t",
    hint="A character that is not ASCII has two to four bytes in UTF-8: word.encode('utf-8'). Each byte is a symbol.",
    mutant=only_latin,
)
def nothing_is_lost(f, case):
    """The ids of a word, put together again, give the word, in any language."""
    byte = {character: number for number, character in CHARACTER.items()}
    parts = "".join(_parts_of(_read(f, case), case["merges"])).replace(END, "")
    word = bytes(byte[character] for character in parts).decode("utf-8", "replace")
    if word != case["text"]:
        raise Broken(f"The ids stand for the word {word!r}; it was {case['text']!r}.")


@bpe_encode.law(
    "words by themselves",
    inputs=_two_words,
    equation=r"\mathrm{encode}(t\ u) = \mathrm{encode}(t)\,\mathrm{encode}(u)",
    hint="Cut the text into words first, and merge inside each word alone.",
    mutant=one_word,
)
def words_by_themselves(f, case):
    """The ids of two words with a space between them are those of the first, then those of the second."""
    first, _, rest = case["text"].partition(" ")
    parts = [np.ravel(_read(f, case.replace(text=text))) for text in (first, rest)]
    _agree(_read(f, case), np.concatenate(parts))


@bpe_encode.law(
    "capital letters",
    inputs=_with_capitals,
    equation=r"\mathrm{encode}(\mathrm{upper}(t)) = \mathrm{encode}(\mathrm{lower}(t))",
    hint="clean_text makes all letters small.",
    mutant=as_written,
)
def capitals(f, case):
    """Capital letters have the ids of small ones."""
    _agree(_read(f, case), _read(f, case.replace(text=case["text"].lower())))


@bpe_encode.law(
    "first learnt, first merged",
    inputs=_ranked,
    equation=RANKS,
    hint="Not the longest part that fits: look for the pair with the smallest rank in the whole word, merge it, look again.",
    mutant=greedy,
)
def first_learnt(f, case):
    """Of all pairs of neighbours, the one that stands first in the list is merged next."""
    cut, right = (
        [part.removesuffix(END) for part in _parts_of(ids, case["merges"])]
        for ids in (_read(f, case), f.right(case))
    )
    if cut != right:
        raise Broken(f"The parts are {cut}; {right} were expected.")


@bpe_encode.law(
    "digits one by one",
    inputs=_a_number,
    hint="split_text gives the digits of 1984 as four words, so each has the id of a byte at the end of a word.",
    mutant=long_numbers,
)
def digits_one_by_one(f, case):
    """The ids of a number are those of its digits."""
    digits = [np.ravel(_read(f, case.replace(text=digit))) for digit in case["text"]]
    _agree(_read(f, case), np.concatenate(digits))


@bpe_encode.law(
    "the end of a word",
    inputs=_one_word,
    equation=r"\text{aba} \to a,\ b,\ a\text{</w>}",
    hint="Before any merge, </w> is put behind the last symbol of the word.",
    mutant=no_end,
)
def end_of_a_word(f, case):
    """A letter at the end of a word has another id than the same letter at the beginning, larger by 256."""
    ids = _read(f, case)
    if ids[-1] != ids[0] + 256:
        raise Broken(f"The first letter has the id {ids[0]}, the same letter at the end {ids[-1]}.")


shape_law(
    bpe_encode,
    _empty_or_not,
    _read,
    sentence="There is an array of ids also for an empty text, and for a text of one symbol.",
    hint="An empty text has no ids: the result still has one axis.",
    mutant=lambda text, merges: np.squeeze(_bpe_encode(text, merges)[0]),
)
kind_law(
    bpe_encode,
    _plain,
    "whole numbers",
    "iu",
    _read,
    hint="Ids pick rows of a table: use integers.",
    mutant=lambda text, merges: _bpe_encode(text, merges)[0].astype(float),
    examples=4,
)
quiet_law(bpe_encode, _plain, _read)
values(
    bpe_encode,
    simplest=_plain,
    words="small letters and spaces",
    anything=_anything,
    hint="A text may be empty, have other letters than Latin ones, punctuation, HTML's codes and several spaces.",
    mutant=no_html,
    wrong=no_merges,
)
for name, hint, answer in (
    ("no merges", "These are the bytes of the words: merge pairs until none of the list is left.", no_merges),
    ("the longest part", "You take the longest part that fits. The pair that was learnt first is merged first.", greedy),
    ("the last merge first", "You go through the merges from the last to the first.", last_first),
    ("one place alone", "A pair is merged wherever it occurs in the word, not at its first place alone.", first_place),
    ("no end of the word", "The last symbol of a word has </w> behind it, before any merge.", no_end),
    ("the whole text as one word", "You merge across words. Cut the text into words first.", one_word),
    ("capital letters kept", "Make all letters small first: clean_text.", as_written),
    ("numbers whole", "Each digit is a word of its own.", long_numbers),
    ("other alphabets lost", "Letters outside ASCII are lost. Encode the word as UTF-8 and take its bytes.", only_latin),
    (
        "bytes in their own order",
        "Your first ids are the values of the bytes. They are places in BYTE_SYMBOLS: printable characters come first.",
        plain_bytes,
    ),
):  # fmt: skip
    bpe_encode.mistake(name, hint, answer)
