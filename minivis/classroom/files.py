"""Reading the files of a hand-in: from folders and archives, without links and devices, up to a limit.

Not here: finding the notebook among them (submission.py), whose they are (students.py).
"""

import contextlib
import zipfile
from pathlib import PurePosixPath

__all__ = ["MOST_BYTES", "MOST_FILES", "all_files"]

# limits of one submission, so that an archive cannot fill the disk
MOST_FILES = 200
MOST_BYTES = 50 * 2**20


def all_files(paths, remarks):
    """Read what a student handed in.

    Parameters
    ----------
    paths : list of Path
        Folders, files and archives.
    remarks : list of str
        A remark is added for each file that is left out.

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
        # notebooks first, so that other files cannot use up the limit
        entries.sort(key=lambda entry: ".ipynb" not in entry[0].lower())
        for path, length, content in entries:
            if count == MOST_FILES or size + length > MOST_BYTES:
                left_out.append(path)
                continue
            try:
                files.append((path, content()))
            # the type of the error depends on the compression and on whether the entry is encrypted
            except Exception as error:
                remarks.append(f"{path} could not be read: {type(error).__name__}: {error}")
            count += 1
            size += length
    if left_out:
        what = left_out[0] + (f" and {len(left_out) - 1} more were" if len(left_out) > 1 else " was")
        remarks.append(
            f"Not everything was read: {what} left out. A submission has at most {MOST_FILES} files and "
            f"{MOST_BYTES >> 20} MiB: hand in only the notebook and the files that it needs."
        )
    return files


def _belongs(path, remarks):
    """Whether a file belongs to the submission: it is not hidden and its path stays inside the folder."""
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or parts[0].startswith(("/", "\\")) or ":" in parts[0]:
        remarks.append(f"{path} was left out: it points outside of its folder.")
        return False
    return not _hidden(path)


def _hidden(path):
    """Whether a file was made by a system, such as .ipynb_checkpoints."""
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(path).parts)


def _entries(paths, remarks, archives):
    """For every file: its relative path, its size in bytes, and a function that reads its content."""
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
    # ValueError: a name in it is not UTF-8
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        remarks.append(f"{file.name} could not be opened as an archive: {error}")


def _bounded(archive, entry):
    """The content of an entry, cut at the size that the archive states."""
    with archive.open(entry) as file:
        return file.read(min(entry.file_size, MOST_BYTES))
