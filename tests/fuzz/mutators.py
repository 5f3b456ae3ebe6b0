"""How a valid file is broken: bytes anywhere; and by structure, so that what is broken lies behind the first check.

Not here: which files (*_readers.py). All is drawn from one generator: the same seed breaks the same file the same way.
"""

import gzip
import io
import json
import struct
import zipfile
import zlib
from pathlib import PurePosixPath

__all__ = ["changed_json", "mutate"]


def mutate(files, rng):
    """Break one file of a folder, or two.

    Parameters
    ----------
    files : dict of str to bytes
        A valid folder: relative path and content.
    rng : random.Random
        What is broken, and how.

    Returns
    -------
    files : dict of str to bytes
        The broken folder.
    told : str
        What was done.
    """
    files = dict(files)
    told = []
    for _ in range(1 if rng.random() < 0.9 else 2):
        path = rng.choice(sorted(files))
        if rng.random() < 0.03:
            others = sorted(files)
            changed, what = rng.choice(
                [(None, "removed"), (b"", "emptied"), (files[other := rng.choice(others)], f"is now {other}")]
            )
        else:
            changed, what = broken(path, files[path], rng)
        told.append(f"{path}: {what}")
        if changed is None:
            if len(files) > 1:
                del files[path]
        else:
            files[path] = changed
    return files, "; ".join(told)


def broken(path, content, rng):
    """One file, broken by its structure where it has one and still holds it, else anywhere."""
    kind = PurePosixPath(path).suffix.lower()
    way = {".json": changed_json, ".ipynb": changed_json, ".safetensors": _safetensors, ".npz": _zip, ".zip": _zip, ".gz": _gzip,
           ".png": _png, ".npy": _npy}.get(kind)  # fmt: skip
    if way and rng.random() < 0.75:
        try:
            return way(content, rng)
        except (ValueError, OSError, struct.error, zipfile.BadZipFile, zlib.error, EOFError, RecursionError):
            pass  # it was broken before
    return _bytes(content, rng)


# ---------------------------------------------------------------------------------------------------------------------
# Bytes

HUGE = [2**31 - 1, 2**31, 2**32 - 1, 2**24, 10**9, 2**16 - 1]


def _bytes(content, rng):
    if not content:
        return bytes(rng.randrange(256) for _ in range(rng.randrange(1, 40))), "random bytes"
    # half of all changes near the start, where headers are
    at = rng.randrange(min(len(content), 64)) if rng.random() < 0.5 else rng.randrange(len(content))
    way = rng.choice(["bit", "bit", "byte", "cut", "insert", "splice", "huge", "huge", "swap"])
    data = bytearray(content)
    if way == "bit":
        bit = rng.randrange(8)
        data[at] ^= 1 << bit
        return bytes(data), f"bit {bit} of byte {at} flipped"
    if way == "byte":
        data[at] = rng.choice([0, 255, 127, 128, 32, 10, rng.randrange(256)])
        return bytes(data), f"byte {at} is now {data[at]}"
    if way == "cut":
        return content[:at], f"cut off after {at} bytes"
    if way == "insert":
        more = bytes(rng.randrange(256) for _ in range(rng.choice([1, 2, 8, 100, 5000])))
        return content[:at] + more + content[at:], f"{len(more)} bytes inserted at {at}"
    if way == "splice":
        length = rng.randrange(1, max(2, len(content) // 4))
        start = rng.randrange(len(content))
        piece = content[start : start + length]
        return content[:at] + piece + content[
            at + len(piece) :
        ], f"{len(piece)} bytes from {start} copied to {at}"
    if way == "huge":
        order = rng.choice(["<", ">"])
        number = rng.choice(HUGE)
        data[at : at + 4] = struct.pack(f"{order}I", number)
        return bytes(data), f"the four bytes at {at} are now {number} ({order})"
    other = rng.randrange(len(content))
    data[at], data[other] = data[other], data[at]
    return bytes(data), f"bytes {at} and {other} swapped"


# ---------------------------------------------------------------------------------------------------------------------
# json: a value, a key, or the number of entries

RAW = "\0raw%d\0"  # stands for text that json.dumps would not write
TEXTS = ["1e309", "-1e309", "NaN", "1" + "0" * 400, "1" * 5000, "[" * 2000 + "]" * 2000, "-0.0", "1.0", "0.5"]
ODD = [None, "", "x", "0", "-1", "false", "\0", "../x", "a" * 10_000, "\ud800", True, False, 0, 1, -1, 2, 3, 7, 1.5, -0.5,
       1e-9, 1e30, 255, 256, 65_536, 10**6, 10**9, 2**31, 2**53 + 1, 2**63, 2**64, 10**18, [], {}, [[]], [None], [0], [1, 2],
       [1, 2, 3, 4], {"": 0}, {"0": None}, {"a": {"b": [1]}}]  # fmt: skip


def changed_json(content, rng):
    """The bytes of a json file with one thing changed, and what."""
    value = json.loads(content)
    raws = []
    value, told = _changed(value, rng, raws)
    text = json.dumps(value)
    for i, raw in enumerate(raws):
        text = text.replace(json.dumps(RAW % i), raw)
    return text.encode("utf-8", "surrogatepass"), told


def _odd(rng, raws):
    """A value that is odd almost anywhere, and what it is."""
    way = rng.random()
    if way < 0.15:
        raws.append(rng.choice(TEXTS))
        return RAW % (len(raws) - 1), f"{raws[-1][:20]}"
    if way < 0.2:
        return [0] * 100_000, "a list of 100,000 zeros"
    odd = rng.choice(ODD)
    return odd, f"{odd!r:.40}"


def _near(value, rng):
    """A value of the same type, a little or much larger."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice(
            [
                value + 1,
                value - 1,
                -value,
                value * 2,
                value * 1000,
                value * 10**8,
                value // 2,
                float(value % 2**60),
            ]
        )
    if isinstance(value, float):
        return rng.choice(
            [-value, value * 1e10, value + 1, int(value) if abs(value) < 1e300 else 0, str(value)]
        )
    if isinstance(value, str):
        return rng.choice([value + "x", value[:-1], value.upper(), value * 100, f" {value}"])
    return [value]


def _changed(value, rng, raws, path="$"):
    """The value with one change somewhere inside, the deeper the likelier, and what it is."""
    if isinstance(value, str) and len(value) > 20 and value[:1] in "{[":
        # json within json: the notes of a checkpoint
        inside = json.loads(value)
        inner = []
        inside, told = _changed(inside, rng, inner, f"{path}|")
        text = json.dumps(inside)
        for i, raw in enumerate(inner):
            text = text.replace(json.dumps(RAW % i), raw)
        return text, told
    deeper = isinstance(value, dict | list) and value and rng.random() < 0.85
    if not deeper:
        if rng.random() < 0.35:
            near = _near(value, rng)
            return near, f"{path}: {value!r:.40} is now {near!r:.40}"
        odd, name = _odd(rng, raws)
        return odd, f"{path}: {value!r:.40} is now {name}"
    key = rng.choice(sorted(value, key=str)) if isinstance(value, dict) else rng.randrange(len(value))
    way = rng.random()
    here = f"{path}.{key}"
    if way > 0.2:
        inside, told = _changed(value[key], rng, raws, here)
        if isinstance(value, dict):
            return {**value, key: inside}, told
        return [*value[:key], inside, *value[key + 1 :]], told
    if isinstance(value, list):
        if way < 0.07:
            return value[:key] + value[key + 1 :], f"{here} dropped"
        if way < 0.14:
            return value[: key + 1] + value[key:], f"{here} doubled"
        return value[: key + 1] * 500, f"{path} repeated to {500 * (key + 1)} entries"
    rest = {name: x for name, x in value.items() if name != key}
    if way < 0.1:
        return rest, f"{here} dropped"
    new = rng.choice([key + "x", "", key.upper(), "0", "-1", rng.choice(sorted(value))])
    return {**rest, new: value[key]}, f"{here} renamed to {new!r}"


# ---------------------------------------------------------------------------------------------------------------------
# Containers, packed again so that what was changed inside is reached


def _safetensors(content, rng):
    length = int.from_bytes(content[:8], "little")
    head = content[8 : 8 + length]
    data = content[8 + length :]
    if rng.random() < 0.3 and data:
        data, told = _bytes(data, rng)
        told = f"data: {told}"
    else:
        head, told = changed_json(head, rng)
        told = f"header: {told}"
    return len(head).to_bytes(8, "little") + head + data, told


def _zip(content, rng):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    name = rng.choice(sorted(members))
    members[name], told = broken(name, members[name], rng)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, inside in members.items():
            archive.writestr(member, inside)
    return out.getvalue(), f"{name}: {told}"


def _gzip(content, rng):
    inside, told = _bytes(gzip.decompress(content), rng)
    return gzip.compress(inside, 1, mtime=0), f"unpacked: {told}"


def _npy(content, rng):
    """An array file: its header is a Python dict as text."""
    length = int.from_bytes(content[8:10], "little")
    head = content[10 : 10 + length]
    data = content[10 + length :]
    old, new = rng.choice([(b"<", b">"), (b"(", b"(9"), (b"(", b"(99999999999, "), (b"f4", b"f8"), (b"f", b"O"), (b"i", b"c"),
                           (b"False", b"True"), (b"shape", b"shame"), (b",", b", -1,")])  # fmt: skip
    head = head.replace(old, new, 1)
    return content[:8] + len(head).to_bytes(2, "little") + head + data, f"header: {old!r} is now {new!r}"


def _png(content, rng):
    """A PNG: one chunk is changed, and its checksum is right again."""
    chunks = []
    at = 8
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    i = rng.choice([0, 0, rng.randrange(len(chunks))])
    kind, data = chunks[i]
    if kind == b"IHDR" and len(data) == 13:
        fields = list(struct.unpack(">IIBBBBB", data))
        place = rng.randrange(7)
        fields[place] = (
            rng.choice([0, 1, 2, 3, 4, 6, 8, 16])
            if place > 1
            else rng.choice([0, 1, 7, 5000, 10**5, 2**31 - 1])
        )
        data = struct.pack(">IIBBBBB", *fields)
        told = f"field {place} of the header is now {fields[place]}"
    else:
        data, told = _bytes(data, rng)
    chunks[i] = (kind, data)
    packed = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return content[:8] + b"".join(packed), f"chunk {kind.decode('latin-1')}: {told}"
