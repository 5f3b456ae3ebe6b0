"""The right answers of the laws about pictures and texts are those of other programs: SciPy's sums, rules of a machine.

Not here: whether the laws notice what is wrong (test_mutation.py), the published tokeniser (tests/data/test_byte_pairs.py).
"""

import html
import math
import unicodedata

import numpy as np
import pytest
import scipy.special

from minivis.data.byte_pairs import BYTE_SYMBOLS
from minivis.laws.judging.candidate import compare
from minivis.laws.judging.registry import family_of
from tests.laws.test_references import cases_of


def clip_loss(image_features, text_features, logit_scale):
    """One pair at a time."""
    total = 0.0
    for way in ((image_features, text_features), (text_features, image_features)):
        for i, asking in enumerate(way[0]):
            cosines = [asking @ x / math.sqrt(asking @ asking) / math.sqrt(x @ x) for x in way[1]]
            z = np.exp(logit_scale) * np.array(cosines)
            total += scipy.special.logsumexp(z) - z[i]
    return total / (2 * len(image_features))


def attention_pool(x, positions, weights, heads):
    """One picture, one head, one token at a time."""
    layer = lambda name, t: weights[f"{name}.weight"] @ t + weights[f"{name}.bias"]  # noqa: E731
    out = []
    for image in x:
        tokens = [image.mean(axis=(1, 2)), *image.reshape(len(image), -1).T]
        tokens = [t + p for t, p in zip(tokens, positions, strict=True)]
        pooled = []
        for h, q in enumerate(np.split(layer("query", tokens[0]), heads)):
            scores = [q @ np.split(layer("key", t), heads)[h] / math.sqrt(len(q)) for t in tokens]
            weighted = zip(scipy.special.softmax(scores), tokens, strict=True)
            pooled.append(sum(w * np.split(layer("value", t), heads)[h] for w, t in weighted))
        out.append(layer("out", np.concatenate(pooled)))
    return np.array(out)


def bpe_encode(text, merges):
    """A word is a list of ids from the beginning on; pairs of ids have ranks, and the smallest is merged next."""
    first = {symbol: n for n, symbol in enumerate(BYTE_SYMBOLS)}
    number = {**first, **{symbol + "</w>": 256 + n for symbol, n in first.items()}}
    rank = {}
    for n, (left, right) in enumerate(merges):
        rank[number[left], number[right]] = 512 + n
        number[left + right] = 512 + n
    order = [byte for byte in range(256) if chr(byte).isprintable() and not chr(byte).isspace()]
    order += [byte for byte in range(256) if byte not in order]
    ids = []
    for word in pieces(html.unescape(html.unescape(text)).lower()):
        cut = [order.index(byte) for byte in word.encode()]
        cut[-1] += 256
        while pairs := [
            (rank[two], i) for i, two in enumerate(zip(cut, cut[1:], strict=False)) if two in rank
        ]:
            best, place = min(pairs)
            cut[place : place + 2] = [best]
        ids += cut
    return np.array(ids, np.int64)


def pieces(text):
    """Words, character by character: a new one begins where the kind changes, at each digit and at 's, 't, ..."""
    kinds = {"L": "l", "N": "n"}
    kinds = "".join("s" if c.isspace() else kinds.get(unicodedata.category(c)[0], "p") for c in text)
    found = []
    place = 0
    while place < len(text):
        ending = [e for e in ("'s", "'t", "'m", "'d", "'re", "'ve", "'ll") if text[place:].startswith(e)]
        more = len(kinds[place:]) - len(kinds[place:].lstrip(kinds[place]))
        length = len(ending[0]) if ending else 1 if kinds[place] == "n" else more
        if kinds[place] != "s":
            found.append(text[place : place + length])
        place += length
    return found


THIRD = {"clip_loss": clip_loss, "attention_pool": attention_pool, "bpe_encode": bpe_encode}


@pytest.mark.parametrize("name", THIRD)
def test_the_right_answer_is_that_of_another_program(name):
    for case in cases_of(name):
        exact = case.copy(np.float64)
        right = np.asarray(family_of(name).right(**exact.copy().everything)[0])
        compare(right, np.asarray(THIRD[name](*exact.args.values())), rtol=1e-9, atol=1e-9)
