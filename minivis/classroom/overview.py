"""The teacher's page: how the class did, by task and by law, what went wrong most often, and where to look.

Not here: grading (grading.py), the pages of the students (pages.py).
"""

import json
import re
import statistics
import unicodedata

from minivis.classroom.feedback import printable, unwritten
from minivis.classroom.gradebook import COURSE
from minivis.classroom.pages import filled
from minivis.classroom.tables import read_grades, write_table
from minivis.laws.judging.registry import family_of
from minivis.storage import write_files

__all__ = ["class_results", "keep_verdicts", "summary", "write_overview"]

LAW_COLUMNS = ["student", "task", "law", "points", "max", "holds", "mistake"]
KEPT = ("name", "passed", "judged", "points", "most", "message", "hint", "mistake")  # of a verdict on a law
MOST_MISTAKES = 12  # shown on the page
BINS = 10  # of the histogram of points
# words in a verdict -> what went wrong, for all students alike
PROBLEMS = {
    "There is no notebook": "no notebook that can be read",
    "Python cannot read it": "a syntax error in the task's cell",
    "does not define": "the function is missing, or has another name",
    "time for the whole submission ran out": "the time ran out before this task",
    "It could not be judged": "could not be judged",
    "ended the": "ends the Python process",
    "raised a NotImplementedError": "nothing written yet",
    "did not come back": "does not come back: an endless loop",
}


def keep_verdicts(folder, assignment, student, found, remarks):
    """Write the verdicts on one submission to the disk, so that the page also shows students who are not graded again.

    Parameters
    ----------
    folder : Path
        The folder of the submissions.
    assignment : Assignment
    student : str
    found : dict
        As `judge_submission` returns it.
    remarks : list of str
        Remarks on the files.
    """
    tasks = [
        {
            "name": task["name"],
            "problem": task["problem"],
            "laws": [{key: law[key] for key in KEPT} for law in task["laws"]],
        }
        for task in found["tasks"]
    ]
    kept = {"tasks": tasks, "remarks": remarks, "seed": found.get("seed")}
    place = folder / COURSE / "verdicts" / assignment.name
    place.mkdir(parents=True, exist_ok=True)
    write_files({place / f"{student}.json": json.dumps(kept, indent=1).encode()})


def class_results(folder, assignment):
    """How the class did so far, from ``grades.csv`` and the verdicts that were kept.

    Parameters
    ----------
    folder : Path
        The folder of the submissions.
    assignment : Assignment

    Returns
    -------
    dict
        ``students`` (name, points, total, most, remarks), ``middle`` (mean and median in a sentence), ``tasks``
        with their laws, ``mistakes`` with the most common first, ``verdicts`` of each student, ``seeds``.
    """
    grades = read_grades(folder / "grades.csv")
    place = folder / COURSE / "verdicts" / assignment.name
    order = sorted(grades, key=_by_name)
    found = {student: _kept(place / f"{student}.json") for student in order}
    kept = {student: verdicts for student, verdicts in found.items() if verdicts}
    students = [_student(name, grades[name], kept.get(name)) for name in order]
    return {
        "students": students,
        "middle": _middle(students),
        "tasks": [_task(task, students, kept) for task in assignment.tasks],
        "mistakes": _mistakes(kept),
        "verdicts": kept,
        "seeds": sorted({each["seed"] for each in kept.values() if each["seed"] is not None}),
    }


def write_overview(folder, assignment, beside=()):
    """Write ``overview-NAME.html`` and the table of laws ``laws-NAME.csv`` from everything that was graded so far.

    Parameters
    ----------
    folder : Path
        The folder of the submissions; both files are written into it.
    assignment : Assignment
    beside : list of str
        Remarks on files that are no hand-ins.
    """
    results = class_results(folder, assignment)
    table = f"laws-{assignment.name}.csv"
    write_table(folder / table, LAW_COLUMNS, list(_law_rows(results["verdicts"])))
    students = results["students"]
    page = filled(
        "overview.html",
        title=assignment.title,
        table=table,
        students=students,
        columns=list(dict.fromkeys(name for student in students for name in student["points"])),
        middle=results["middle"],
        histogram=_histogram(students),
        tasks=results["tasks"],
        mistakes=results["mistakes"][:MOST_MISTAKES],
        class_size=len(results["verdicts"]),
        beside=[printable(remark) for remark in beside],
        seeds=results["seeds"],
    )
    write_files({folder / f"overview-{assignment.name}.html": page})


def summary(folder, assignment):
    """How the class did, in three lines for a terminal: list of str."""
    results = class_results(folder, assignment)
    tasks = ", ".join(f"{task['name']} {task['share']} %" for task in results["tasks"])
    common = "; ".join(
        f"{each['task']}: {each['label']} ({each['count']})" for each in results["mistakes"][:2]
    )
    return [
        f"The class: {results['middle']}",
        f"Points earned by task: {tasks}.",
        f"Most common mistakes: {common}." if common else "Nobody lost a point.",
    ]


def _kept(file):
    """What `keep_verdicts` wrote; None if there is no such file, or if it is damaged."""
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None


def _by_name(name):
    """The order of a list of names: accents and case do not count."""
    plain = unicodedata.normalize("NFKD", name)
    return "".join(c for c in plain if not unicodedata.combining(c)).casefold(), name


def _number(text):
    """A number of the table of grades; 0 for what a teacher left empty or wrote in words."""
    try:
        value = float(text)
    except ValueError:
        return 0
    return int(value) if value.is_integer() else value


def _student(name, rows, kept):
    """What the page shows of a student: points, and remarks on the files."""
    points = {task: _number(got) for task, got, *_ in rows}
    return {
        "name": name,
        "points": points,
        "total": _number(sum(points.values())),
        "most": _number(sum(_number(most) for _, _, most, *_ in rows)),
        "remarks": [printable(remark) for remark in kept["remarks"]] if kept else [],
    }


def _middle(students):
    """Mean and median in a sentence."""
    totals = [student["total"] for student in students]
    if not totals:
        return ""
    most = max(student["most"] for student in students)
    full = sum(total >= most for total in totals)
    mean = statistics.fmean(totals)
    return f"{len(totals)} students; mean {mean:.1f}, median {statistics.median(totals):g} of {most:g} points; {full} with all points."


def _histogram(students):
    """(label, count, percent of the highest column) for each range of points."""
    most = max((student["most"] for student in students), default=0)
    if not most:
        return []
    counts = [0] * BINS
    for student in students:
        counts[min(int(BINS * student["total"] / most), BINS - 1)] += 1
    edges = [most * i / BINS for i in range(BINS + 1)]
    labels = [f"{low:g}–{high:g}" for low, high in zip(edges, edges[1:], strict=False)]
    return [
        (label, count, round(100 * count / max(counts))) for label, count in zip(labels, counts, strict=True)
    ]


def _task(task, students, kept):
    """How the class did in a task: its share of the points, and for each law the share of students who hold it."""
    points = [student["points"].get(task.name, 0) for student in students]
    verdicts = [each for one in kept.values() for each in one["tasks"] if each["name"] == task.name]
    held = {law["name"]: 0 for each in verdicts for law in each["laws"]}
    for each in verdicts:
        for law in each["laws"]:
            held[law["name"]] += bool(law["passed"])
    sentences = {law.name: law.sentence for law in family_of(task.family).laws}
    mean = statistics.fmean(points) if points else 0
    return {
        "name": task.name,
        "most": task.most,
        "mean": f"{mean:.1f}",
        "share": round(100 * mean / task.most),
        "full": sum(got >= task.most for got in points),
        "laws": [
            {
                "name": name,
                "sentence": sentences[name],
                "count": held.get(name, 0),
                "share": round(100 * held.get(name, 0) / max(len(verdicts), 1)),
                "points": worth,
            }
            for name, worth in task.points.items()
        ],
    }


def _mistakes(kept):
    """What went wrong, the most common first: task, label, hint, and who."""
    found = {}
    for student, one in kept.items():
        wrong = {task["name"]: _wrong(task) for task in one["tasks"]}
        first = next(iter(wrong.values()))
        if len(wrong) > 1 and first and all(each == first for each in wrong.values()):
            wrong = {"every task": first}
        for task, labels in wrong.items():
            for label, hint in labels:
                found.setdefault((task, label), {"hint": hint, "who": []})["who"].append(student)
    listed = [
        {
            "task": task,
            "label": label,
            "count": len(entry["who"]),
            "share": round(100 * len(entry["who"]) / len(kept)),
            **entry,
        }
        for (task, label), entry in found.items()
    ]
    return sorted(listed, key=lambda each: -each["count"])


def _wrong(task):
    """(label, hint) for what is wrong with a task: known mistakes, or the law that is broken first."""
    broken = [law for law in task["laws"] if law["judged"] and not law["passed"]]
    words = task["problem"] or (broken[0]["message"] if broken else "")
    if not words:
        return []
    known = {law["mistake"]: law["hint"] for law in broken if law["mistake"]}
    if known and not unwritten(task):
        return list(known.items())
    for part, label in PROBLEMS.items():
        if part in words:
            return [(label, "")]
    if not broken:
        return [(printable(words), "")]
    if raised := re.search(r"raised an? (\w+)", words):
        return [(f"raises {raised[1]}", "")]
    return [(f"breaks “{broken[0]['name']}”", printable(broken[0]["hint"]))]


def _law_rows(kept):
    """The rows of the table of laws."""
    for student, one in kept.items():
        for task in one["tasks"]:
            for law in task["laws"]:
                holds = "yes" if law["passed"] else "no" if law["judged"] else "not tried"
                yield student, task["name"], law["name"], law["points"], law["most"], holds, law["mistake"]
