"""Whose a file is: names as Moodle and Canvas write them when they hand out a class's submissions, or plain ones.

Not here: what is in the file.
"""

import re
import unicodedata
import zipfile
from pathlib import Path

__all__ = ["RESERVED", "by_student", "not_read", "student_of"]

# "Jane Doe_1234567_assignsubmission_file_", a folder; with the file's own name after it when folders are switched off
MOODLE = re.compile(r"(?P<student>.+?)_(?P<id>\d+)_assignsubmission_(?:file|onlinetext)_?(?:.*)")
# "doejane_LATE_12345_678901_attention-2.ipynb": login, student's number, submission's number, the file's own name
CANVAS = re.compile(r"(?P<student>.+?)(?:_LATE)?_(?P<id>\d+)_(?P<order>\d+)_.+")
# what grading itself writes; a name that begins with a dot or two underscores is not read either
RESERVED = {"feedback", "grades.csv"}
# what a hand-in's name may end with, beside .ipynb and .zip: what is wrong with the file its student is told
ENDING = re.compile(
    r"(\.ipynb(\.txt|\.json)?|\.zip|(\.tar)?\.(gz|bz2|xz)|\.tar|\.tgz|\.7z|\.rar)\Z", re.IGNORECASE
)
COPY = re.compile(r"(?P<student>.+?)(?: ?\(\d+\)|-Copy\d+)")  # as browsers and Jupyter name a second one
MOST_LETTERS = 50  # of a student's name: file systems allow 255 bytes, and a letter has up to four


def student_of(name):
    """The student and, where a learning management system gives one, the number in a name.

    Parameters
    ----------
    name : str
        Of a folder, or of a file without its ending.

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
    """Who handed in what.

    Parameters
    ----------
    folder : Path
        With one sub-folder, ``.ipynb`` or ``.zip`` for each student; several files of one student belong together.

    Returns
    -------
    dict
        Student -> list of paths, in the order of the names. Two students of one name get their numbers added; where
        they have none, the second gets a 2. "ada (1)" and "ada-Copy1" are ada's, where there is an ada.
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
    taken = set()  # as file systems see it that take Ada and ada for one
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
    """What lies beside the hand-ins and is taken for none.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    list of str
        For each of these files, why, and what to do.
    """
    return [f"{path.name} {why}" for path in _paths(folder) if (why := _why_not_read(path))]


def _paths(folder):
    """What lies in a folder, but for what grading itself writes and what is hidden."""
    paths = sorted(Path(folder).iterdir(), key=lambda path: unicodedata.normalize("NFC", path.name))
    return [path for path in paths if path.name not in RESERVED and not path.name.startswith((".", "__"))]


def _stem(path):
    """The name of a folder, or of a file without its ending."""
    ending = ENDING.search(path.name)
    if path.is_dir():
        return path.name
    return path.name[: ending.start()] if ending else path.stem


def _why_not_read(path):
    """Why a path is nobody's hand-in; an empty string where it is one."""
    if path.is_dir():
        return ""
    if path.suffix.lower() == ".zip" and (count := _students_inside(path)) > 1:
        return f"holds the work of {count} students: unpack it, and grade the folder that comes out"
    if ENDING.search(path.name) or student_of(path.stem)[1]:
        return ""
    return "is not read: a hand-in is a folder, an .ipynb or a .zip"


def _students_inside(path):
    """How many students' names, as a learning management system gives them, there are in an archive."""
    if not path.is_file() or student_of(path.stem)[1]:  # the archive of one student, named by such a system
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
    """A name that is safe as the name of a file, and no formula in a spreadsheet; letters of any script stay."""
    kept = "".join(c if c.isalnum() or c in " .,()-_'" or unicodedata.combining(c) else "-" for c in student)
    kept = re.sub(r"^[^\w(]+", "", re.sub(r"\s+", " ", kept))
    return kept[:MOST_LETTERS].rstrip(" .,-") or "nameless"
