"""Byte pairs: a tokeniser that cuts any text into parts of words, as CLIP does, and how such parts are learnt.

Sennrich, Haddow and Birch, "Neural machine translation of rare words with subword units", ACL 2016, section 3.2, on bytes
as in Radford et al., "Language models are unsupervised multitask learners", 2019, section 2.2.
Not here: the list of merges that CLIP was published with (a file to be given), whole words (words.py).
"""

import collections
import functools
import gzip
import html
import io
import unicodedata
import zipfile

import numpy as np

from minivis.data._files import GZIP_ERRORS, open_maybe_gz, read_claimed

__all__ = [
    "BYTE_SYMBOLS",
    "END_OF_WORD",
    "BytePairTokenizer",
    "bpe_decode",
    "bpe_encode",
    "clean_text",
    "learn_merges",
    "read_merges",
    "split_text",
]

END_OF_WORD = "</w>"
CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
PUBLISHED_MERGES = 49_152 - 256 - 2  # of the longer list in the published file, CLIP uses so many
MOST_BYTES = 2**24  # of an unpacked list of merges; the published one has 3 MB
LARGEST_CACHE = 2**16  # words


def _byte_symbols():
    """A printable character for each byte: itself where it is printable, otherwise one from 256 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


_OF_BYTE = _byte_symbols()  # {byte: its character}, in the order of the ids
BYTE_SYMBOLS = tuple(_OF_BYTE.values())  # ids 0 to 255; ids 256 to 511 are the same at the end of a word
_BYTE_OF = {symbol: byte for byte, symbol in _OF_BYTE.items()}


def clean_text(text):
    """Bring a text into the form that is encoded: HTML's codes become characters, spaces are single, letters are small.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    str

    Notes
    -----
    The published tokeniser first mends texts with the package ftfy: characters that were decoded wrongly, curly quotes,
    ligatures, letters of double width, letters that are stored apart from their accents. That is not done here. On texts
    without such things both give the same ids.

    Examples
    --------
    >>> clean_text("  A photo\\n of Tom &amp;amp; Jerry ")
    'a photo of tom & jerry'
    """
    return " ".join(html.unescape(html.unescape(text)).split()).lower()


def split_text(text):
    """The words of a clean text: runs of letters, single digits, runs of other characters, and endings such as 's.

    Parameters
    ----------
    text : str
        As from `clean_text`.

    Returns
    -------
    list of str

    Examples
    --------
    >>> split_text("it's 1984, isn't it?!")
    ['it', "'s", '1', '9', '8', '4', ',', 'isn', "'t", 'it', '?!']
    """
    words = []
    start = 0
    while start < len(text):
        kind = _kind(text[start])
        end = start + 1
        ending = next((word for word in CONTRACTIONS if text.startswith(word, start)), None)
        if ending:
            end = start + len(ending)
        elif kind in ("letter", "other"):
            while end < len(text) and _kind(text[end]) == kind:
                end += 1
        if kind != "space":
            words.append(text[start:end])
        start = end
    return words


def _kind(character):
    if character.isspace():
        return "space"
    return {"L": "letter", "N": "digit"}.get(unicodedata.category(character)[0], "other")


def _symbols(word):
    """The symbols of a word before any merge: one for each byte, the last one marked as the end."""
    symbols = [_OF_BYTE[byte] for byte in word.encode("utf-8", "replace")]
    return [*symbols[:-1], symbols[-1] + END_OF_WORD]


def _merged(symbols, pair):
    """The symbols with every occurrence of a pair made one, from left to right."""
    merged = []
    place = 0
    while place < len(symbols):
        found = tuple(symbols[place : place + 2]) == pair
        merged.append("".join(pair) if found else symbols[place])
        place += 2 if found else 1
    return merged


def _parts(word, ranks):
    """A word cut into parts: of all neighbouring pairs, the one that was learnt first is merged, again and again."""
    symbols = _symbols(word)
    while len(symbols) > 1:
        pair = min(zip(symbols[:-1], symbols[1:], strict=True), key=lambda pair: ranks.get(pair, len(ranks)))
        if pair not in ranks:
            break
        symbols = _merged(symbols, pair)
    return symbols


def _vocabulary(merges):
    """{part: id}: the bytes, the bytes at the end of a word, then the result of each merge."""
    parts = [*BYTE_SYMBOLS, *(symbol + END_OF_WORD for symbol in BYTE_SYMBOLS), *map("".join, merges)]
    return {part: number for number, part in enumerate(parts)}


def bpe_encode(text, merges):
    """The ids of a text, in byte pairs.

    Each word begins as its bytes. Of all pairs of neighbours the one that stands first in the list of merges becomes one
    symbol, wherever it occurs, until no pair of the list is left. So common words end as one symbol, and rare ones as
    several; no text is impossible.

    Parameters
    ----------
    text : str
        Any text; it goes through `clean_text` and `split_text` first.
    merges : sequence of (str, str)
        Pairs of symbols, the one that was learnt first in front.

    Returns
    -------
    ndarray, shape (L,), int64
        0 to 255 are the bytes, in the order of `BYTE_SYMBOLS`; 256 to 511 the same at the end of a word; 512 + i is the
        result of merge i. No start and no end.

    References
    ----------
    Sennrich et al. 2016, algorithm 1.

    Examples
    --------
    >>> merges = [("a", "t</w>"), ("c", "at</w>")]
    >>> bpe_encode("cat at", merges)  # one symbol each
    array([513, 512])
    """
    ranks = {tuple(pair): rank for rank, pair in reversed(list(enumerate(merges)))}
    ids = _vocabulary(merges)
    words = split_text(clean_text(text))
    return np.array([ids[part] for word in words for part in _parts(word, ranks)], np.int64)


def bpe_decode(ids, merges):
    """The text of ids, with a space after every word.

    Parameters
    ----------
    ids : sequence of int
        As from `bpe_encode`.
    merges : sequence of (str, str)
        The same list.

    Returns
    -------
    str
        Clean text. Bytes that are no character of UTF-8 become question marks in a diamond.

    Raises
    ------
    ValueError
        If there is no such id.

    Examples
    --------
    >>> merges = [("a", "t</w>"), ("c", "at</w>")]
    >>> bpe_decode(bpe_encode("Cat at 7!", merges), merges)
    'cat at 7 !'
    """
    parts = {number: part for part, number in _vocabulary(merges).items()}
    if wrong := [number for number in map(int, ids) if number not in parts]:
        raise ValueError(f"bpe_decode: ids must be 0 to {len(parts) - 1}, got {wrong[0]}")
    return _text(parts[int(number)] for number in ids)


def _text(parts):
    """Parts put together again, with a space for each end of a word."""
    found = bytearray()
    for part in parts:
        whole = part.removesuffix(END_OF_WORD)
        found += bytes(_BYTE_OF[symbol] for symbol in whole)
        found += b" " if whole != part else b""
    return found.decode("utf-8", "replace").strip()


def learn_merges(texts, count):
    """Learn which pairs to merge: the most frequent pair of neighbours becomes one symbol, then the next.

    Parameters
    ----------
    texts : iterable of str
        What to learn from.
    count : int
        Largest number of merges. It ends earlier if every word is one symbol.

    Returns
    -------
    list of (str, str)
        For `bpe_encode`. Of pairs that are equally frequent the first in alphabetical order is taken.

    Raises
    ------
    ValueError
        If the count is negative.
    TypeError
        If ``texts`` is a single text.

    References
    ----------
    Sennrich et al. 2016, section 3.2.

    Examples
    --------
    >>> learn_merges(["low low low lower lower newer"], 3)
    [('l', 'o'), ('e', 'r</w>'), ('lo', 'w</w>')]
    """
    if isinstance(texts, str):
        raise TypeError(f"learn_merges: texts must be a list of texts, got one text, {texts!r:.50}")
    if count < 0:
        raise ValueError(f"learn_merges: count must be at least 0, got {count}")
    frequencies = collections.Counter(word for text in texts for word in split_text(clean_text(text)))
    words = {word: _symbols(word) for word in frequencies}
    merges = []
    while len(merges) < count:
        pairs = collections.Counter()
        for word, symbols in words.items():
            for pair in zip(symbols[:-1], symbols[1:], strict=True):
                pairs[pair] += frequencies[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = {word: _merged(symbols, best) for word, symbols in words.items()}
    return merges


def read_merges(path, most=PUBLISHED_MERGES):
    """Read a list of merges: CLIP's published file, packed or not, or ``merges.txt`` from the hub.

    Parameters
    ----------
    path : str or os.PathLike
        A text file with a line "left right" for each merge, after a first line that is not read. It may be a gzip file,
        or a Python package (.whl) with a file ``bpe_simple_vocab_16e6.txt.gz`` in it, such as clip-anytorch or
        open-clip-torch; nothing of the package is run.
    most : int, default 48894
        How many lines are used; the published file has five times as many, and CLIP uses these.

    Returns
    -------
    list of (str, str)

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged, is too long, or a line is no pair of symbols; the message names file and line.
    """
    try:
        text = _unpacked(path).decode("utf-8")
    except (*GZIP_ERRORS, zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError) as error:
        raise ValueError(f"read_merges: {path} is damaged: {error}") from None
    merges = []
    for number, line in enumerate(text.split("\n")[1 : most + 1], 2):
        pair = tuple(line.split())
        if line and len(pair) != 2:
            raise ValueError(f"read_merges: {path}, line {number}: expected two symbols, found {line!r:.60}")
        if any(set(part.removesuffix(END_OF_WORD)) - set(BYTE_SYMBOLS) for part in pair):
            raise ValueError(
                f"read_merges: {path}, line {number}: {line!r:.60} has characters that stand for no byte"
            )
        merges += [pair] if line else []
    if not merges:
        raise ValueError(f"read_merges: {path} has no merges")
    return merges


def _unpacked(path):
    """The bytes of the text file, at most `MOST_BYTES`."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as package:
            names = [name for name in package.namelist() if name.endswith("bpe_simple_vocab_16e6.txt.gz")]
            if len(names) != 1:
                raise ValueError(
                    f"read_merges: {path} has {len(names)} files bpe_simple_vocab_16e6.txt.gz, not one"
                )
            with package.open(names[0]) as packed:
                found = io.BytesIO(_bounded(packed, path))
        with gzip.open(found) as file:
            return _bounded(file, path)
    with open_maybe_gz(path) as file:
        return _bounded(file, path)


def _bounded(file, path):
    found = read_claimed(file, MOST_BYTES)
    if len(found) > MOST_BYTES:
        raise ValueError(
            f"read_merges: {path} holds more than {MOST_BYTES} bytes, which is no list of merges"
        )
    return found


class BytePairTokenizer:
    """CLIP's tokeniser: texts to ids with a start and an end, and back.

    Parameters
    ----------
    merges : str, os.PathLike, or sequence of (str, str)
        A file for `read_merges`, or a list as from `learn_merges`.

    Attributes
    ----------
    merges : list of (str, str)
    start_id, end_id : int
        The two largest ids, 49406 and 49407 with the published merges.
    pad_id : int
        0; what stands behind the end of a text plays no part.

    Raises
    ------
    FileNotFoundError, ValueError
        As for `read_merges`.

    Examples
    --------
    >>> tokenizer = BytePairTokenizer([("a", "t</w>"), ("c", "at</w>")])
    >>> tokenizer.encode("a cat", length=6)
    array([514, 320, 513, 515,   0,   0])
    >>> tokenizer.decode([514, 320, 513, 515, 0, 0]), len(tokenizer)
    ('a cat', 516)
    """

    pad_id = 0

    def __init__(self, merges):
        is_path = isinstance(merges, str) or hasattr(merges, "__fspath__")
        self.merges = read_merges(merges) if is_path else [tuple(pair) for pair in merges]
        self._ids = _vocabulary(self.merges)
        self._named = {number: part for part, number in self._ids.items()}
        ranks = {pair: rank for rank, pair in reversed(list(enumerate(self.merges)))}
        self._parts = functools.lru_cache(LARGEST_CACHE)(functools.partial(_parts, ranks=ranks))
        self.start_id = 512 + len(self.merges)
        self.end_id = self.start_id + 1

    def __len__(self):
        return self.end_id + 1

    def __reduce__(self):
        """A copy by pickle or copy is made again from the merges: the cache cannot be pickled."""
        return type(self), (self.merges,)

    def encode(self, text, length=None):
        """The ids of a text: start, parts of words, end, then zeros up to a length.

        Parameters
        ----------
        text : str
            Any text.
        length : int, optional
            Ids in the result, 77 for the published models; by default as many as the text needs.

        Returns
        -------
        ndarray, shape (L,), int64

        Raises
        ------
        ValueError
            If the text does not fit into the length.
        """
        parts = [part for word in split_text(clean_text(text)) for part in self._parts(word)]
        ids = [self.start_id, *(self._ids[part] for part in parts), self.end_id]
        if length is not None and len(ids) > length:
            raise ValueError(
                f"BytePairTokenizer: the text has {len(ids)} ids with start and end, more than length={length}: "
                f"{text!r:.60}"
            )
        return np.array(ids + [self.pad_id] * ((length or 0) - len(ids)), np.int64)

    def decode(self, ids):
        """The clean text of ids, from the start to the first end, with a space after every word."""
        ids = [int(number) for number in ids]
        ids = ids[: ids.index(self.end_id)] if self.end_id in ids else ids
        if wrong := [number for number in ids if number != self.start_id and number not in self._named]:
            raise ValueError(f"BytePairTokenizer: ids must be 0 to {self.end_id}, got {wrong[0]}")
        return _text(self._named[number] for number in ids if number != self.start_id)

    def parts(self, text):
        """The parts that a text is cut into, as texts; the last part of a word ends with a space.

        Examples
        --------
        >>> BytePairTokenizer([("a", "t</w>"), ("c", "at</w>")]).parts("Cat mat")
        ['cat ', 'm', 'at ']
        """
        found = []
        for word in split_text(clean_text(text)):
            for part in self._parts(word):
                found.append(_text([part]) + (" " if part.endswith(END_OF_WORD) else ""))
        return found
