"""The files of a hand-in: folders walked, archives opened, links and devices left out, and no more than there may be.

Not here: what is in them (submission.py), whose they are (students.py).
"""

import contextlib
import zipfile
from pathlib import PurePosixPath

__all__ = ["MOST_BYTES", "MOST_FILES", "all_files"]

# of one submission: an archive must not fill the disk
MOST_FILES = 200
MOST_BYTES = 50 * 2**20


def all_files(paths, remarks):
    """Read what a student handed in.

    Parameters
    ----------
    paths : list of Path
        Folders, files and archives.
    remarks : list of str
        What is left out, and why, is added to it.

    Returns
    -------
    list of (str, bytes)
        Relative path and content.
    """
    files, left_out = [], []
    count = 0
    size = 0
    with contextlib.ExitStack() as archives:
        entries = [entry for entry in _entries(paths, remarks, archives) if _belongs(entry[0], remarks)]
        # the notebook is read first, whatever else there is
        entries.sort(key=lambda entry: ".ipynb" not in entry[0].lower())
        for path, length, content in entries:
            if count == MOST_FILES or size + length > MOST_BYTES:
                left_out.append(path)
                continue
            try:
                files.append((path, content()))
            # each compression has its own for a damaged entry, an encrypted one another
            except Exception as error:
                remarks.append(f"{path} could not be read: {type(error).__name__}: {error}")
            count += 1
            size += length
    if left_out:
        what = left_out[0] + (f" and {len(left_out) - 1} more were" if len(left_out) > 1 else " was")
        remarks.append(
            f"Not everything was read: {what} left out. A submission has at most {MOST_FILES} files and "
            f"{MOST_BYTES >> 20} MiB: hand in the notebook, and what it needs."
        )
    return files


def _belongs(path, remarks):
    """Whether a file is one of the submission's: not hidden, not made by a system, not outside of its folder."""
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or parts[0].startswith(("/", "\\")) or ":" in parts[0]:
        remarks.append(f"{path} was left out: it points outside of its folder.")
        return False
    return not _hidden(path)


def _hidden(path):
    """Whether it is .ipynb_checkpoints and the like."""
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(path).parts)


def _entries(paths, remarks, archives):
    """Relative path, size in bytes, and a function that reads the content, for every file."""
    for path in paths:
        inside = sorted(path.rglob("*")) if path.is_dir() and not path.is_symlink() else [path]
        for file in inside:
            relative = file.name if file == path else file.relative_to(path).as_posix()
            if _hidden(relative):
                continue
            if file.is_symlink() or not (file.is_file() or file.is_dir()):
                remarks.append(f"{relative} is a link or a device, not a file, and was left out.")
            elif file.suffix.lower() == ".zip" and file.is_file():
                yield from _archive(file, remarks, archives)
            elif file.is_file():
                yield relative, file.stat().st_size, file.read_bytes


def _archive(file, remarks, archives):
    try:
        archive = archives.enter_context(zipfile.ZipFile(file))
        for entry in archive.infolist():
            if not entry.is_dir():
                name = entry.filename.replace("\\", "/")
                yield str(PurePosixPath(name)), entry.file_size, lambda e=entry: _bounded(archive, e)
    # ValueError: its names are no UTF-8
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        remarks.append(f"{file.name} is no archive that can be opened: {error}")


def _bounded(archive, entry):
    """The content of an entry, no longer than it says it is."""
    with archive.open(entry) as file:
        return file.read(min(entry.file_size, MOST_BYTES))
