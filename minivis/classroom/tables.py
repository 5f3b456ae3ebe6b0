"""The tables that grading writes: grades.csv, and the verdict on each law of each student.

Not here: what the rows say (grading.py, overview.py).
"""

import csv
import io

from minivis.storage import write_files

__all__ = ["COLUMNS", "read_grades", "write_grades", "write_table"]

COLUMNS = ["student", "task", "points", "max"]


def read_grades(path):
    """Read the table of grades.

    Parameters
    ----------
    path : Path
        ``grades.csv``; a spreadsheet program may have saved it again.

    Returns
    -------
    dict
        Student -> list of rows (task, points, most), all strings; empty if there is no file.

    Raises
    ------
    ValueError
        If it has other columns.
    """
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8-sig") as file:
        lines = list(csv.reader(file))
    if not lines or lines[0] != COLUMNS:
        raise ValueError(f"assignment grade: {path} does not begin with {','.join(COLUMNS)}; move it away")
    found = {}
    for line in filter(None, lines[1:]):  # spreadsheets leave empty lines
        found.setdefault(line[0], []).append(tuple(line[1:]))
    return found


def write_grades(path, rows):
    """Write the table of grades: ``rows`` as `read_grades` returns them, the students in the order of their names."""
    write_table(path, COLUMNS, [(student, *row) for student in sorted(rows) for row in rows[student]])


def write_table(path, columns, rows):
    """Write a table as CSV, so that Excel and Python's ``csv`` read the same names from it.

    Excel takes a file for the computer's old 8-bit encoding, and shows umlauts wrongly, unless it begins with a byte
    order mark. So the mark is there where a letter needs it; without such letters the file is plain ASCII.
    Python reads both with ``encoding="utf-8-sig"``.

    Parameters
    ----------
    path : Path
        Written whole or not at all.
    columns : list of str
        The first line.
    rows : list of tuple
        Commas and quotes in them are quoted; characters that UTF-8 cannot encode become "?".
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    encoding = "utf-8" if text.getvalue().isascii() else "utf-8-sig"
    write_files({path: text.getvalue().encode(encoding, "replace")})
