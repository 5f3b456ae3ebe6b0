"""Shared by the readers of data sets: checked json, paths that stay inside a folder, complete files.
Not here: the single formats; each has its own file."""

import gzip
import json
import operator
import os
import stat
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from minivis.listed import told

MOST_BYTES = 2**30  # in one file; the largest data set that is read here has 550 MB


def read_json(name, path):
    """The object in a json file; an error says where the json is broken."""
    try:
        content = json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(f"{name}: there is no file {path}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: {path} is no json: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{name}: {path} must hold an object {{...}}, but holds a {type(content).__name__}")
    return content


def inside(folder, relative, what):
    """The path of a file that a list names; an error if it would be outside the folder."""
    # Only the text is checked, not links: the folder's owner made the links, but not the names in the list.
    text = relative if isinstance(relative, str) else ""
    parts = PurePosixPath(text.replace("\\", "/")).parts
    if (
        not parts
        or "\0" in text
        or ".." in parts
        or text.startswith(("/", "\\"))
        or PureWindowsPath(text).drive
    ):
        raise ValueError(f"{what} has file_name {told(relative)}, which is no file inside {folder}")
    return Path(folder, *parts)


def read_bytes(name, path, most=MOST_BYTES):
    """All bytes of a file; one with more than `most` is refused before it is read."""
    about = os.stat(path)
    # for a folder, read_bytes below raises the system's own error
    if not stat.S_ISREG(about.st_mode) and not stat.S_ISDIR(about.st_mode):
        raise ValueError(f"{name}: {path} is no file: a pipe, a device or the like")
    if (size := about.st_size) > most:
        raise ValueError(f"{name}: {path} has {size} bytes, more than the {most} that are read")
    return Path(path).read_bytes()


def read_claimed(file, count):
    """The bytes that a header claims, and one more if more follow; memory is allocated only for bytes that are in the file."""
    parts = []
    left = count + 1
    while left and (part := file.read(min(left, 2**20))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def open_maybe_gz(path):
    """A binary file to read from, decompressed while reading if it is a gzip file."""
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if packed else open(path, "rb")


GZIP_ERRORS = (EOFError, zlib.error, gzip.BadGzipFile)


def position(name, i, count):
    """A sample's index as an int from 0; negative ones count from the end. IndexError ends a `for` loop over the set."""
    i = operator.index(i)
    if not -count <= i < count:
        raise IndexError(f"{name}: there are samples 0 to {count - 1}, got {i}")
    return i % count
