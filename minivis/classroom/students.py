"""Which student a file belongs to, from its name: as Moodle or Canvas writes it, or a plain name.

Not here: the content of the file (submission.py).
"""

import re
import unicodedata
import zipfile
from pathlib import Path

__all__ = ["RESERVED", "by_student", "not_read", "student_of"]

# a folder "Jane Doe_1234567_assignsubmission_file_"; if folders are switched off, a file with its own name after that
MOODLE = re.compile(r"(?P<student>.+?)_(?P<id>\d+)_assignsubmission_(?:file|onlinetext)_?(?:.*)")
# "doejane_LATE_12345_678901_attention-2.ipynb": login, student's number, submission's number, the file's own name
CANVAS = re.compile(r"(?P<student>.+?)(?:_LATE)?_(?P<id>\d+)_(?P<order>\d+)_.+")
# written by grading itself; names that begin with a dot or two underscores are not read either
RESERVED = {"feedback", "grades.csv"}
OVERVIEW = re.compile(r"overview-.+\.html|laws-.+\.csv")  # for the teacher, one of each assignment
# endings of hand-ins; for those other than .ipynb and .zip the student is told what to hand in instead
ENDING = re.compile(
    r"(\.ipynb(\.txt|\.json)?|\.zip|(\.tar)?\.(gz|bz2|xz)|\.tar|\.tgz|\.7z|\.rar)\Z", re.IGNORECASE
)
COPY = re.compile(r"(?P<student>.+?)(?: ?\(\d+\)|-Copy\d+)")  # as browsers and Jupyter name a second one
MOST_LETTERS = 50  # of a student's name: file systems allow 255 bytes, up to four of them for one letter


def student_of(name):
    """The student in a name, and the number that a learning management system has added.

    Parameters
    ----------
    name : str
        Name of a folder, or of a file without its ending.

    Returns
    -------
    student, number : str

    Examples
    --------
    >>> student_of("Jane Doe_1234567_assignsubmission_file_")
    ('Jane Doe', '1234567')
    >>> student_of("doejane_LATE_12345_678901_attention-2")
    ('doejane', '12345')
    >>> student_of("ada")
    ('ada', '')
    """
    name = unicodedata.normalize("NFC", name).strip()
    match = MOODLE.fullmatch(name) or CANVAS.fullmatch(name)
    return (match["student"].strip(), match["id"]) if match else (name, "")


def by_student(folder):
    """The paths that each student handed in.

    Parameters
    ----------
    folder : Path
        One sub-folder, ``.ipynb`` or ``.zip`` for each student; several files of one student belong together.

    Returns
    -------
    dict
        Student -> list of paths, in the order of the names. If two students have the same name, their numbers are added;
        without numbers, the second gets a 2. "ada (1)" and "ada-Copy1" belong to ada, if there is an ada.
    """
    owners = {}
    for path in _paths(folder):
        if not _why_not_read(path):
            owners.setdefault(student_of(_stem(path)), []).append(path)
    for student, number in list(owners):
        copy = COPY.fullmatch(student)
        if copy and (copy["student"], number) in owners:
            owners[copy["student"], number] += owners.pop((student, number))
    namesakes = {}
    for student, number in owners:
        namesakes.setdefault(_plain(student), []).append((student, number))
    found = {}
    taken = set()  # without case: on some file systems Ada and ada are the same file
    for name, those in namesakes.items():
        for student, number in those:
            label = f"{name} {number}" if number and len(those) > 1 else name
            count = 2
            while label.casefold() in taken:
                label = f"{name} {count}"
                count += 1
            taken.add(label.casefold())
            found[label] = owners[student, number]
    return found


def not_read(folder):
    """The files in the folder that are not read as hand-ins.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    list of str
        For each of these files: why it is not read, and what to do.
    """
    return [f"{path.name} {why}" for path in _paths(folder) if (why := _why_not_read(path))]


def _paths(folder):
    """The paths in a folder, without those that grading writes and without hidden ones."""
    paths = sorted(Path(folder).iterdir(), key=lambda path: unicodedata.normalize("NFC", path.name))
    ours = {path for path in paths if path.name in RESERVED or OVERVIEW.fullmatch(path.name)}
    return [path for path in paths if path not in ours and not path.name.startswith((".", "__"))]


def _stem(path):
    """The name of a folder, or of a file without its ending."""
    ending = ENDING.search(path.name)
    if path.is_dir():
        return path.name
    return path.name[: ending.start()] if ending else path.stem


def _why_not_read(path):
    """Why a path is not read as a hand-in; an empty string if it is one."""
    if path.is_dir():
        return ""
    if path.suffix.lower() == ".zip" and (count := _students_inside(path)) > 1:
        return f"holds the work of {count} students: unpack it, and grade the unpacked folder"
    if ENDING.search(path.name) or student_of(path.stem)[1]:
        return ""
    return "is not read: a hand-in is a folder, an .ipynb or a .zip"


def _students_inside(path):
    """How many students have files in an archive, by the names that a learning management system gives."""
    if not path.is_file() or student_of(path.stem)[1]:  # such a name: the archive of one student
        return 0
    try:
        with zipfile.ZipFile(path) as archive:
            firsts = {name.replace("\\", "/").split("/")[0] for name in archive.namelist()}
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return 0
    named = [
        first for first in firsts if MOODLE.fullmatch(first) or first.lower().endswith((".ipynb", ".zip"))
    ]
    return len({student for student in map(student_of, named) if student[1]})


def _plain(student):
    """A name that is safe as a file name and is no formula in a spreadsheet; letters of any script stay."""
    kept = "".join(c if c.isalnum() or c in " .,()-_'" or unicodedata.combining(c) else "-" for c in student)
    kept = re.sub(r"^[^\w(]+", "", re.sub(r"\s+", " ", kept))
    return kept[:MOST_LETTERS].rstrip(" .,-") or "nameless"
