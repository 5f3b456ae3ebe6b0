"""The tokeniser of words: there and back, what is refused, and that it knows every caption of scenes.

Not here: what is learnt from captions (tests/recipes/test_mlm_captions.py).
"""

import numpy as np
import pytest

from minivis.data import shapes
from minivis.data.words import SPECIAL, WordTokenizer, split_words

CAPTIONS = [shapes.scene(seed).caption for seed in range(60)]


def test_captions_of_scenes_come_back():
    tokenizer = WordTokenizer(shapes.CAPTION_WORDS)
    assert len(tokenizer) == 30 and tokenizer.words[:4] == SPECIAL
    for caption in CAPTIONS:
        ids = tokenizer.encode(caption, 48)
        assert ids.dtype == np.int64 and ids.shape == (48,)
        assert tokenizer.decode(ids) == caption
        n = len(split_words(caption))
        assert (ids[0], ids[n + 1]) == (tokenizer.start_id, tokenizer.end_id)
        assert (ids[n + 2 :] == tokenizer.pad_id).all() and (ids[1 : n + 1] > tokenizer.mask_id).all()


def test_every_word_of_the_vocabulary_occurs_in_captions():
    found = WordTokenizer.from_texts(CAPTIONS)
    assert set(found.words) == set(WordTokenizer(shapes.CAPTION_WORDS).words)
    assert list(found.words[4:]) == sorted(found.words[4:])


def test_a_hidden_word_is_a_word():
    tokenizer = WordTokenizer.from_texts(["a ring, a [MASK]"])
    assert tokenizer.words == (*SPECIAL, ",", "a", "ring")
    assert tokenizer.encode("[MASK] ring").tolist() == [1, 3, 6, 2]
    assert tokenizer.ids([",", "ring"]).tolist() == [4, 6] and tokenizer.ids([]).dtype == np.int64


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda t: t.encode("a rnig"),
            r"^WordTokenizer: 'rnig' is not in the vocabulary; near it are 'ring'",
        ),
        (lambda t: t.encode("a [END]"), r"^WordTokenizer: '\[END\]' is not in the vocabulary"),
        (lambda t: t.ids(["x"]), "^WordTokenizer: 'x' is not in the vocabulary"),
        (lambda t: t.encode("a ring a ring", 5), "^WordTokenizer: the text has 4 words"),
        (lambda t: t.decode([4, 7]), "^WordTokenizer: words have numbers 0 to 6, got 7"),
        (lambda t: t.decode([-1]), "^WordTokenizer: words have numbers 0 to 6, got -1"),
        (lambda t: WordTokenizer(["a", "b", "a"]), "^WordTokenizer: 'a' stands in words more than once"),
        (lambda t: WordTokenizer(["a b"]), "^WordTokenizer: 'a b' is not one word"),
        (lambda t: WordTokenizer(["a,"]), "^WordTokenizer: 'a,' is not one word"),
        (lambda t: WordTokenizer(["[MASK]"]), r"^WordTokenizer: '\[MASK\]' stands in words more than once"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(WordTokenizer([",", "a", "ring"]))


@pytest.mark.parametrize("make", [WordTokenizer, WordTokenizer.from_texts])
def test_a_single_text_is_no_list_of_words(make):
    with pytest.raises(TypeError, match="^WordTokenizer: .* must be a list of .*, got one text, 'a ring'"):
        make("a ring")
