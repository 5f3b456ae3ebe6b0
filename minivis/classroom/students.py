"""Whose a file is: names as Moodle and Canvas write them when they hand out a class's submissions, or plain ones.

Not here: what is in the file.
"""

import re
import unicodedata
from pathlib import Path

__all__ = ["RESERVED", "by_student", "student_of"]

# "Jane Doe_1234567_assignsubmission_file_", a folder; with the file's own name after it when folders are switched off
MOODLE = re.compile(r"(?P<student>.+?)_(?P<id>\d+)_assignsubmission_(?:file|onlinetext)_?(?:.*)")
# "doejane_LATE_12345_678901_attention-2.ipynb": login, student's number, submission's number, the file's own name
CANVAS = re.compile(r"(?P<student>.+?)(?:_LATE)?_(?P<id>\d+)_(?P<order>\d+)_.+")
# what grading itself writes; a name that begins with a dot or two underscores is not read either
RESERVED = {"feedback", "grades.csv"}
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
        they have none, the second gets a 2.
    """
    owners = {}
    for path in sorted(Path(folder).iterdir(), key=lambda path: unicodedata.normalize("NFC", path.name)):
        if path.name in RESERVED or path.name.startswith((".", "__")):
            continue
        if path.is_dir() or path.suffix.lower() in (".ipynb", ".zip"):
            student = student_of(path.name if path.is_dir() else path.stem)
            owners.setdefault(student, []).append(path)
    namesakes = {}
    for student, number in owners:
        namesakes.setdefault(_plain(student), []).append((student, number))
    found = {}
    for name, those in namesakes.items():
        for student, number in those:
            label = f"{name} {number}" if number and len(those) > 1 else name
            count = 2
            while label in found:
                label, count = f"{name} {count}", count + 1
            found[label] = owners[student, number]
    return found


def _plain(student):
    """A name that is safe as the name of a file, and no formula in a spreadsheet; letters of any script stay."""
    kept = "".join(c if c.isalnum() or c in " .-_'" or unicodedata.combining(c) else "-" for c in student)
    return re.sub(r"\s+", " ", kept).strip(" .-")[:MOST_LETTERS].rstrip(" .-") or "nameless"
