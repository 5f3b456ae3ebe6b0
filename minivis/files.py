"""Read and write safetensors and json: writing is all or nothing, and nothing in a file is trusted when reading.

Not here: the contents of the files (storage.py, train.py, pretrained/), data sets (data/), files that could run code.
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

CHECKSUM = "sha256"  # its key in the header of a file

# An array in a file, from the header: the file, the shape, and the name of the dtype in safetensors.
Stored = namedtuple("Stored", "path shape kind")
# NumPy has no bfloat16. It is the upper half of a float32, so it is read as float32.
FLOATS = {"F16": "float16", "BF16": "float32", "F32": "float32", "F64": "float64"}
FLOATS = {kind: np.dtype(name) for kind, name in FLOATS.items()}


def as_path(text):
    """A path in which a leading ~ is the user's home, unless a file with exactly this name exists."""
    path = Path(text)
    if path.exists():
        return path
    with contextlib.suppress(RuntimeError):  # ~name of a user that does not exist
        return path.expanduser()
    return path


def hub_hint(name):
    """A hint for a name that is not a folder but looks like a name on the model hub; otherwise an empty string."""
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", str(name)):
        return ""
    return (
        f"; nothing is downloaded by itself: if you mean the model hub's, https://huggingface.co/{name}, "
        f"`minivis fetch {name}` brings it and says in which folder it is"
    )


def some(names, limit=3):
    """The first names of a list, and how many more there are, as text."""
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def make_folder(folder, who="save"):
    """Make a folder if it does not exist, and check now, before hours of training, that it can be written to."""
    folder = as_path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe.{os.getpid()}.tmp"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise named(error, f"{who}: cannot write to the folder {folder}: {error.strerror}") from error
    return folder


def write_files(contents):
    """Write several files so that each is always either old or complete, never half-written, even after a crash.

    Parameters
    ----------
    contents : dict of path to bytes
        The files; their folders must exist. No file is replaced before all new ones are on the disk.

    Raises
    ------
    OSError
        With the original type; the message has the path and says whether the old files are unchanged. No temporary file
        is left.
    """
    temporary = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in contents}
    replaced = []
    try:
        for path, content in contents.items():
            with open(temporary[path], "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # it must be on the disk before it is renamed
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
    """An OSError of the same type and number with another message."""
    renamed = type(error)(message)
    renamed.errno = error.errno
    return renamed


def pack_arrays(arrays, **notes):
    """The bytes of a safetensors file with arrays, notes (texts in the header), and a checksum of both."""
    from safetensors.numpy import save as pack

    # safetensors writes the memory of an array as it is, so transposed views must be copied first
    arrays = {name: np.asarray(backend.to_numpy(x), order="C") for name, x in arrays.items()}
    arrays = {name: x.astype(x.dtype.newbyteorder("<"), copy=False) for name, x in arrays.items()}
    return _notes_in_order(pack(arrays, metadata={**notes, CHECKSUM: _checksum(arrays, notes)}))


def _notes_in_order(content):
    """The same file with sorted notes in its header, because safetensors writes them in a different order each time."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the arrays begin at a multiple of 8 bytes
    return b"".join([len(text).to_bytes(8, "little"), text, memoryview(content)[8 + length :]])


def _checksum(arrays, notes):
    """A digest of the names, dtypes, shapes and numbers of all arrays, and of the notes."""
    names = sorted(arrays)
    header = [notes, [(name, arrays[name].dtype.str, arrays[name].shape) for name in names]]
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in names:
        digest.update(arrays[name].data)
    return digest.hexdigest()


def pack_json(content):
    """The bytes of a json file, indented for people."""
    return (json.dumps(content, indent=2) + "\n").encode()


# ---------------------------------------------------------------------------------------------------------------------
# Reading. Errors begin with `who`, the function that the user called.


def read_json(path, who="load"):
    """Return the dict in a json file. The error for a missing, truncated or foreign file names its path."""
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
    """Open a safetensors file. Only its header is read now."""
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
    """A dict of name to `Stored` for a safetensors file, from its header."""
    with open_arrays(path, who) as file:
        slices = {name: file.get_slice(name) for name in file.keys()}
        return {name: Stored(path, tuple(x.get_shape()), x.get_dtype()) for name, x in slices.items()}


def read_array(path, name, who="load"):
    """One array of a file, bfloat16 as float32. The file is opened for each array, so that its pages leave memory."""
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
    """Read a bfloat16 array as float32, whose upper half it is. The file was checked when it was opened."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[name]
        start, end = entry["data_offsets"]
        file.seek(8 + length + start)
        halves = np.frombuffer(file.read(end - start), "<u2")
    return (halves.astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])


def read_arrays(path, who="load"):
    """Return (arrays, notes) of a safetensors file of minivis. Damaged files and other kinds of files are refused."""
    with open_arrays(path, who) as file:
        arrays = {name: _array(file, Path(path), name, who) for name in file.keys()}
        notes = file.metadata() or {}
    expected = notes.pop(CHECKSUM, None)  # None in files of earlier versions
    if expected is not None and expected != _checksum(arrays, notes):
        raise ValueError(
            f"{who}: {path} is damaged: what it holds does not agree with the checksum it was written with; take "
            "another copy, or save it again"
        )
    return arrays, notes


def _what(path):
    """The real kind of a file that is not what its name says, and what to do about it; None if it is unknown."""
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS, which only says where the file is: fetch it with `git lfs pull` in its folder"
    if start.startswith((b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        return "it is a pickle by another name, or a zip archive, and not opened, because it could run code"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page: the download went wrong"
    return None
