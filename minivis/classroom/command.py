"""`minivis assignment list | release | grade | solution`: what each action prints, and its exit code.

Not here: reading the command line (minivis/cli.py), releasing (handing_out.py) and grading (grading.py).
"""

import sys
from pathlib import Path

__all__ = ["run"]


def run(options):
    """Carry out `minivis assignment ...` and return its exit code.

    Parameters
    ----------
    options : Namespace
        ``action`` and its options, as minivis/cli.py reads them.

    Returns
    -------
    int
    """
    actions = {"list": _list, "release": _release, "grade": _grade, "solution": _solution}
    return actions[options.action](options)


def _list(options):
    from minivis.classroom.tasks import find, names

    found = [find(name) for name in names()]
    width = max(len(assignment.name) for assignment in found)
    if sys.stdout.isatty():
        print("The assignments, in the order of the course:")
    for assignment in found:
        tasks = ", ".join(task.name for task in assignment.tasks)
        print(f"{assignment.name:{width}}  {assignment.title}; {assignment.most} points: {tasks}")
    return 0


def _release(options):
    from minivis.classroom.handing_out import release

    path = release(options.name, options.folder)
    print(f"{path}: hand out this notebook")
    return 0


def _solution(options):
    from minivis.classroom.handing_out import solution

    print(solution(options.name), end="")
    return 0


def _grade(options):
    from minivis.classroom.feedback import printable
    from minivis.classroom.grading import NOT_READ, grade, new_seed
    from minivis.classroom.isolation import in_words
    from minivis.classroom.overview import summary
    from minivis.classroom.tables import read_grades
    from minivis.classroom.tasks import find

    seed = new_seed() if options.seed is None else options.seed
    told = grade(options.name, options.folder, options.student, seed=seed)
    for student, remarks in told.items():
        for remark in remarks:
            print(printable(f"{student}: {remark}"), file=sys.stderr)
    told.pop(NOT_READ, None)
    folder = Path(options.folder)
    for student, rows in read_grades(folder / "grades.csv").items():
        if student in told:
            points, most = (sum(float(row[column]) for row in rows) for column in (1, 2))
            print(f"{student}: {points:g} of {most:g}")
    assignment = find(options.name)
    print(
        f"{len(told)} graded: {folder / 'grades.csv'} has the points, {folder / 'feedback'} a page for each student."
    )
    for line in summary(folder, assignment):
        print(printable(line))
    print(f"More about the class, for you alone: {folder / f'overview-{assignment.name}.html'}")
    print(f"The inputs of the laws were drawn from seed {seed}; --seed {seed} draws the same inputs again.")
    print(in_words())
    return 0
