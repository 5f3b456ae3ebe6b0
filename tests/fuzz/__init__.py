"""`make fuzz`: every reader of files is given broken copies of small valid folders, and may only refuse them in words.

Not here: how files are broken (mutators.py), how a reader is watched (watching.py), the readers (*_readers.py).
"""

import fnmatch
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Reader", "gather"]

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Reader:
    """One way to read files from a folder. Every file ``*_readers.py`` beside this one has a list of them, ``READERS``.

    Parameters
    ----------
    name : str
        As the table shows it, such as "mv.load".
    seeds : function of (folder)
        Writes a small valid folder, always the same. Files of a few kilobytes: each mutant is written anew.
    read : function of (folder) -> object
        Reads all of it, as a user would: every sample of a data set, not only its list. It may succeed, or raise a
        ValueError, OSError or TypeError whose text names the folder or one of its files. It must leave the files of
        a folder that it refuses as they are.
    whole : function of (folder), optional
        Called after `read` has refused a folder: raises if what `read` was to change is changed by half.
    """

    name: str
    seeds: Callable[[Path], None]
    read: Callable[[Path], Any]
    whole: Callable[[Path], None] | None = None


def gather(files="*_readers.py", names=("*",)):
    """The readers of the files that fit a pattern, those whose names fit one of `names`."""
    found = []
    for path in sorted(HERE.glob(files)):
        spec = importlib.util.spec_from_file_location(f"tests.fuzz.{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found += module.READERS
    return [reader for reader in found if any(fnmatch.fnmatch(reader.name, name) for name in names)]
