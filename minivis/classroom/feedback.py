"""What a student reads about each task: the points, and for each broken law the smallest case that breaks it and a hint.

Not here: how the laws are judged (judging.py), the same as a page with colours and the student's code (pages.py).
"""

import re
import textwrap

from minivis.classroom import isolation
from minivis.laws.judging.registry import PLAIN

__all__ = ["also", "case", "closing", "fenced", "letter", "parts", "printable", "stand_in", "status", "task_text",
           "unwritten", "untried"]  # fmt: skip

WIDTH = 100
IN_FULL = 2  # broken laws of a task shown with a counterexample; the others usually have the same cause


def unwritten(task):
    """Whether nothing has been written for a task: its function is still the one that was handed out."""
    judged = [law for law in task["laws"] if law["judged"] and not law["passed"]]
    return bool(judged) and all("raised a NotImplementedError" in law["message"] for law in judged)


def status(task):
    """A task's result in one or two sentences, without its points."""
    laws = task["laws"]
    if task["problem"]:
        return task["problem"]
    if unwritten(task):
        return "Nothing is written here yet."
    broken = [law for law in laws if not law["passed"]]
    if not broken:
        return "Every law holds. Well done."
    first = f"the first to look at is “{broken[0]['name']}”."
    if len(broken) < len(laws):
        return f"{len(laws) - len(broken)} of {len(laws)} laws hold; {first}"
    return f"None of the laws holds; {first}"


def parts(task):
    """(law, how to show it) for each law that was tried: "holds", "full", "short" or "likewise"."""
    told = set()  # reasons that the page has given
    full = IN_FULL if unwritten(task) else 0  # a call of an empty function explains nothing
    for law in task["laws"]:
        reason = law["message"].split(" within ")[0]  # two calls that hang may have different time limits
        if law["passed"]:
            yield law, "holds"
        elif law["judged"] and (reason in told or told and law["name"] in PLAIN):  # a law above says more
            yield law, "likewise"
        elif law["judged"]:
            told.add(reason)
            full += 1
            yield law, "full" if full <= IN_FULL else "short"


def also(law, how):
    """What follows a law's sentence: it is broken for the same reason as one above, or it holds and earns nothing yet."""
    if how == "likewise":
        return "(for the same reason)"
    if law["passed"] and not law["points"]:
        return "(holds, but earns no points until a law that compares with the right answer holds too)"
    return ""


def case(law):
    """The smallest call that breaks a law, as lines: the call, its arguments, the expected result and the given one."""
    lines = law["shown"]
    if not lines:
        return []
    # what comes before the first empty line and after the last one repeats name, sentence, message and hint
    last = len(lines) - 1 - lines[::-1].index("")
    return [line.removeprefix("  ") for line in lines[lines.index("") + 1 : last]]


def _explained(law, how):
    """The lines under a broken law."""
    if how == "full" and law["shown"]:
        lines = [line.removeprefix("  ") for line in law["shown"]]
        return lines[lines.index("") + 1 :]
    if how in ("full", "short"):
        return [law["message"], f"Hint: {law['hint']}"]
    return []


def stand_in(task):
    """One line on the functions of earlier tasks that were replaced by the right ones."""
    if not task["given"]:
        return ""
    names = ", ".join(task["given"])
    return f"Where this calls {names}, it was judged with the right {names}: your mistakes there cost no points here."


def untried(task):
    """One line for the laws that were not tried."""
    left = [law["name"] for law in task["laws"] if not law["judged"]]
    if not left:
        return ""
    points = sum(law["most"] for law in task["laws"] if not law["judged"])
    return f"Not tried, because the time ran out ({points} points): {', '.join(left)}."


def task_text(task):
    """A task's feedback as plain text."""
    lines = textwrap.wrap(f"{task['name']}: {task['points']} of {task['most']} points. {status(task)}", WIDTH)
    if task["laws"]:
        lines += [*textwrap.wrap(f"Called as {task['form']}", WIDTH, subsequent_indent="          "), ""]
    if told := stand_in(task):
        lines += [*textwrap.wrap(told, WIDTH), ""]
    for law, how in parts(task):
        mark = "✓" if law["passed"] else "✗"
        line = f"{mark} {law['points']}/{law['most']} {law['name']}: {law['sentence']} {also(law, how)}"
        lines += textwrap.wrap(line, WIDTH, subsequent_indent="      ")
        if explained := _explained(law, how):
            lines += [f"      {line}".rstrip() for line in explained] + [""]
    lines += textwrap.wrap(untried(task), WIDTH, subsequent_indent="      ")
    return printable("\n".join(lines).rstrip()) + "\n"


def printable(text):
    """Text without control characters, which could command a terminal: students' file names and errors are in it."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


def fenced(task):
    """A task's plain text as a code block of Markdown; no backticks in the text can end the block early."""
    fence = max(["``", *re.findall("`+", task["text"])], key=len) + "`"
    return f"{fence}text\n{task['text']}{fence}\n"


def letter(assignment, student, found, remarks):
    """The head of a student's feedback, in Markdown: the points, and problems with the files and cells.

    Parameters
    ----------
    assignment : Assignment
    student : str
    found : dict
        As `judge_submission` returns it.
    remarks : list of str
        Remarks on the files.

    Returns
    -------
    str
    """
    points = sum(task["points"] for task in found["tasks"])
    lines = [
        f"# Feedback: {assignment.title}",
        "",
        f"**{student}: {points} of {assignment.most} points.**",
        "",
    ]
    lines += [f"- {task['name']}: {task['points']} of {task['most']}" for task in found["tasks"]]
    if remarks:
        lines += ["", "Remarks on your files:", "", *(f"- {_plain(remark)}" for remark in remarks)]
    if found["notes"]:
        lines += ["", "Problems when the cells were run from top to bottom:", ""]
        lines += [f"- Cell {number}: {_plain(note)}" for number, note in found["notes"].items()]
    lines += ["", closing(found), "", isolation.in_words()]
    if "seed" in found:
        lines += [
            "",
            f"The inputs of the laws were drawn from seed {found['seed']}; the same seed gives the same inputs.",
        ]
    return "\n".join(lines) + "\n"


def closing(found):
    """What to do next, in a sentence or two."""
    laws = [law for task in found["tasks"] for law in task["laws"]]
    if not laws:
        return "No law could be tried. Fix the problems, run the notebook from top to bottom, and hand it in again."
    if all(law["passed"] for law in laws) and not any(task["problem"] for task in found["tasks"]):
        return "Nothing to fix."
    return (
        "Each task lists the laws that were tried. A broken law comes with the smallest case found that breaks it. "
        "Fix the first one and run the check again; this often fixes the others too."
    )


def _plain(text):
    """Text with Markdown's special characters escaped."""
    return "".join(f"\\{c}" if c in "\\*_<>|#[]`$" else c for c in printable(text)).replace("\n", " ")
