"""Files that people hand around: safetensors and json, written whole or not at all, read with doubt.

Not here: what is in them (storage.py, train.py, pretrained/), data sets (data/), any file that could run code.
"""

import contextlib
import hashlib
import json
import os
import re
from collections import namedtuple
from pathlib import Path

import numpy as np

from minivis import backend

__all__ = [
    "FLOATS",
    "Stored",
    "as_path",
    "hub_hint",
    "make_folder",
    "open_arrays",
    "pack_arrays",
    "pack_json",
    "read_array",
    "read_arrays",
    "read_json",
    "some",
    "stored_arrays",
    "write_files",
]

CHECKSUM = "sha256"  # the note in a file's header that holds it

# An array in a file, as its header tells: which file, its shape, its dtype in safetensors' words.
Stored = namedtuple("Stored", "path shape kind")
# A bfloat16 is the upper half of a float32; NumPy has no such dtype, so it is read as one.
FLOATS = {"F16": "float16", "BF16": "float32", "F32": "float32", "F64": "float64"}
FLOATS = {kind: np.dtype(name) for kind, name in FLOATS.items()}


def as_path(text):
    """A path in which a leading ~ is one's home, unless there is a file of that very name."""
    path = Path(text)
    if path.exists():
        return path
    with contextlib.suppress(RuntimeError):  # ~somebody who is not there
        return path.expanduser()
    return path


def hub_hint(name):
    """What to do about a name that is no folder, if it looks like one on the model hub; else an empty string."""
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", str(name)):
        return ""
    return (
        f"; nothing is downloaded: if you mean the model hub's, get its files from https://huggingface.co/{name} "
        "and give the folder they are in"
    )


def some(names, limit=3):
    """The first names of many, and how many more there are."""
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def make_folder(folder):
    """Make a folder if need be, and find out now, not after an hour of training, whether it can be written to."""
    folder = as_path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe.{os.getpid()}.tmp"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise named(error, f"save: cannot write to the folder {folder}: {error.strerror}") from error
    return folder


def write_files(contents):
    """Write several files so that a reader, or a crash, finds each either old or complete, never half-written.

    Parameters
    ----------
    contents : dict of path to bytes
        The files, all in folders that exist. No file is replaced before all of them are on the disk.

    Raises
    ------
    OSError
        Of the kind that arose, with the path and whether the old files are untouched. No temporary file is left.
    """
    temporary = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in contents}
    replaced = []
    try:
        for path, content in contents.items():
            with open(temporary[path], "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # on the disk before the name points to it
        for path in contents:
            os.replace(temporary[path], path)
            replaced.append(path.name)
    except OSError as error:
        before = (
            f"{', '.join(replaced)} is new already: save again" if replaced else "what was there is untouched"
        )
        raise named(error, f"save: cannot write {path}: {error.strerror}; {before}") from error
    finally:
        for left in temporary.values():
            with contextlib.suppress(OSError):
                left.unlink()


def named(error, message):
    """An OSError of the same kind and number whose message is ours."""
    ours = type(error)(message)
    ours.errno = error.errno
    return ours


def pack_arrays(arrays, **notes):
    """The bytes of a safetensors file that holds arrays, texts by name in its header, and a checksum of all that."""
    from safetensors.numpy import save as pack

    # safetensors writes the memory of an array as it lies: transposed views must be laid out first
    arrays = {name: np.asarray(backend.to_numpy(x), order="C") for name, x in arrays.items()}
    arrays = {name: x.astype(x.dtype.newbyteorder("<"), copy=False) for name, x in arrays.items()}
    return _notes_in_order(pack(arrays, metadata={**notes, CHECKSUM: _checksum(arrays, notes)}))


def _notes_in_order(content):
    """The same file with the notes in its header sorted: safetensors has them in another order each time."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the numbers begin at a multiple of 8
    return b"".join([len(text).to_bytes(8, "little"), text, memoryview(content)[8 + length :]])


def _checksum(arrays, notes):
    """A digest of everything a file says: names, dtypes, shapes and numbers of its arrays, and its notes."""
    names = sorted(arrays)
    said = [notes, [(name, arrays[name].dtype.str, arrays[name].shape) for name in names]]
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for name in names:
        digest.update(arrays[name].data)
    return digest.hexdigest()


def pack_json(content):
    """The bytes of a json file, indented for people."""
    return (json.dumps(content, indent=2) + "\n").encode()


# ---------------------------------------------------------------------------------------------------------------------
# Reading. `who` is the function that a person called: it begins the error.


def read_json(path, who="load"):
    """Return the dict in a json file; a missing, truncated or foreign file is refused by its path."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{who}: {path} is missing")
    try:
        content = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # the latter: thousands of brackets
        raise ValueError(
            f"{who}: {path}: expected json, found something else ({_what(path) or error})"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{who}: {path}: expected a json object, found {type(content).__name__}")
    return content


def open_arrays(path, who="load"):
    """Open a safetensors file, of which the header is then read and nothing else."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{who}: {path} is missing")
    try:
        return safe_open(path, framework="numpy")
    except (SafetensorError, OSError) as error:
        size = path.stat().st_size
        raise ValueError(
            f"{who}: {path}: expected a safetensors file, found {size} bytes that are none ({_what(path) or error})"
        ) from error


def stored_arrays(path, who="load"):
    """{name: Stored} of a safetensors file, from its header."""
    with open_arrays(path, who) as file:
        slices = {name: file.get_slice(name) for name in file.keys()}
        return {name: Stored(path, tuple(x.get_shape()), x.get_dtype()) for name, x in slices.items()}


def read_array(path, name, who="load"):
    """One array of a file, bfloat16 as float32. Opened anew for each, so that pages that were read do not stay in memory."""
    with open_arrays(path, who) as file:
        return _array(file, path, name, who)


def _array(file, path, name, who):
    kind = file.get_slice(name).get_dtype()
    if kind == "BF16":
        return _bfloat16(path, name)
    try:
        return file.get_tensor(name)
    except (TypeError, AttributeError) as error:
        raise ValueError(
            f"{who}: {path}: {name} holds numbers of the type {kind}, which NumPy does not have: save them as float32"
        ) from error


def _bfloat16(path, name):
    """Sign, exponent and seven bits of fraction: the upper half of a float32. The file was checked when it was opened."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        told = json.loads(file.read(length))[name]
        start, end = told["data_offsets"]
        file.seek(8 + length + start)
        halves = np.frombuffer(file.read(end - start), "<u2")
    return (halves.astype(np.uint32) << 16).view(np.float32).reshape(told["shape"])


def read_arrays(path, who="load"):
    """Return (arrays, notes) of a safetensors file of minivis; one that is damaged, or another kind of file, is refused."""
    with open_arrays(path, who) as file:
        arrays = {name: _array(file, Path(path), name, who) for name in file.keys()}
        notes = file.metadata() or {}
    told = notes.pop(CHECKSUM, None)
    if told is not None and told != _checksum(arrays, notes):  # files of earlier versions have none
        raise ValueError(
            f"{who}: {path} is damaged: what it holds does not agree with the checksum it was written with; take "
            "another copy, or save it again"
        )
    return arrays, notes


def _what(path):
    """What a file is that is not what its name says, with what to do about it; None where it is not known."""
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS, which only says where the file is: fetch it with `git lfs pull` in its folder"
    if start.startswith((b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        return "it is a pickle by another name, or a zip archive, and not opened, because it could run code"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page: the download went wrong"
    return None
