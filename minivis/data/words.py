"""A tokeniser of whole words: a text becomes whole numbers, for texts of few different words such as captions of scenes.

Not here: words cut into parts, as published language models have them.
"""

import difflib
import re

import numpy as np

__all__ = ["SPECIAL", "WordTokenizer", "split_words"]

SPECIAL = ("[PAD]", "[START]", "[END]", "[MASK]")  # ids 0 to 3 of every tokeniser
PAD, START, END, MASK = range(len(SPECIAL))


def split_words(text):
    """The words of a text; a comma is a word of its own.

    Parameters
    ----------
    text : str
        Words with spaces between them.

    Returns
    -------
    list of str

    Examples
    --------
    >>> split_words("a red ring, a cross")
    ['a', 'red', 'ring', ',', 'a', 'cross']
    """
    return re.findall(r",|[^\s,]+", text)


class WordTokenizer:
    """Maps the words of a text to whole numbers and back. A text begins with ``[START]`` and ends with ``[END]``.

    Four special words stand first: ``[PAD]`` is 0 and fills a text up to a length, ``[START]`` is 1, ``[END]`` is 2, and
    ``[MASK]``, which stands for a hidden word, is 3.

    Parameters
    ----------
    words : sequence of str
        The vocabulary without the special words, in the order of their numbers.

    Attributes
    ----------
    words : tuple of str
        All words, the special ones first.
    pad_id, start_id, end_id, mask_id : int
        Numbers of the special words.
    special_ids : tuple of int
        All four.

    Raises
    ------
    ValueError
        If a word is there twice, is empty, or contains a space or a comma beside other characters.
    TypeError
        If ``words`` is a single text.

    Examples
    --------
    >>> tokenizer = WordTokenizer(["a", "red", "ring", ",", "star"])
    >>> tokenizer.encode("a ring, a star", length=8)
    array([1, 4, 6, 7, 4, 8, 2, 0])
    >>> tokenizer.decode([1, 4, 5, 3, 7, 4, 8, 2, 0])
    'a red [MASK], a star'
    """

    pad_id, start_id, end_id, mask_id = PAD, START, END, MASK
    special_ids = (PAD, START, END, MASK)

    def __init__(self, words):
        if isinstance(words, str):
            raise TypeError(f"WordTokenizer: words must be a list of words, got one text, {words!r:.50}")
        words = tuple(words)
        for word in words:
            if not isinstance(word, str) or split_words(word) != [word]:
                raise ValueError(f"WordTokenizer: {word!r} is not one word")
        self.words = SPECIAL + words
        twice = sorted({word for word in words if self.words.count(word) > 1})
        if twice:
            raise ValueError(f"WordTokenizer: {', '.join(map(repr, twice))} stands in words more than once")
        self._numbers = {word: number for number, word in enumerate(self.words)}

    @classmethod
    def from_texts(cls, texts):
        """A tokeniser of all words that occur in some texts, in alphabetical order."""
        if isinstance(texts, str):
            raise TypeError(f"WordTokenizer: texts must be a list of texts, got one text, {texts!r:.50}")
        return cls(sorted({word for text in texts for word in split_words(text)} - {SPECIAL[MASK]}))

    def __len__(self):
        return len(self.words)

    def encode(self, text, length=None):
        """The numbers of a text: ``[START]``, its words, ``[END]``, then ``[PAD]`` up to a length.

        Parameters
        ----------
        text : str
            May contain ``[MASK]``.
        length : int, optional
            Numbers in the result; by default as many as the text needs.

        Returns
        -------
        ndarray, shape (L,), int64

        Raises
        ------
        ValueError
            If a word is not in the vocabulary, or the text does not fit into the length.
        """
        words = split_words(text)
        ids = [START, *(self._number(word, text) for word in words), END]
        if length is not None and len(ids) > length:
            raise ValueError(
                f"WordTokenizer: the text has {len(words)} words, which with [START] and [END] are more than "
                f"length={length}: {text!r}"
            )
        return np.array(ids + [PAD] * ((length or 0) - len(ids)), np.int64)

    def decode(self, ids):
        """The text of numbers: ``[PAD]``, ``[START]`` and ``[END]`` are left out, a comma follows its word directly.

        Parameters
        ----------
        ids : sequence of int, shape (L,)
            Numbers of words.

        Returns
        -------
        str

        Raises
        ------
        ValueError
            If a number is none of a word.
        """
        ids = [int(number) for number in ids]
        wrong = [number for number in ids if not 0 <= number < len(self)]
        if wrong:
            raise ValueError(f"WordTokenizer: words have numbers 0 to {len(self) - 1}, got {wrong[0]}")
        shown = [self.words[number] for number in ids if number not in (PAD, START, END)]
        return " ".join(shown).replace(" ,", ",")

    def ids(self, words):
        """The numbers of a list of words, without ``[START]`` and ``[END]``: int64, shape (len(words),)."""
        return np.array([self._number(word, word) for word in words], np.int64)

    def _number(self, word, text):
        number = self._numbers.get(word)
        if number is None or number in (PAD, START, END):
            near = difflib.get_close_matches(word, self.words[len(SPECIAL) :])
            hint = f"; near it are {', '.join(map(repr, near))}" if near else ""
            raise ValueError(f"WordTokenizer: {word!r} is not in the vocabulary{hint} (the text: {text!r})")
        return number
