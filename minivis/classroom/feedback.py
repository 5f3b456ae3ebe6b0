"""What a student reads about each task: the points, and for each broken law the smallest case that breaks it and a hint.

Not here: how the laws are judged (judging.py), the page around it (nbgrader's).
"""

import html
import re
import textwrap

from minivis.classroom import isolation
from minivis.laws.judging.registry import PLAIN

__all__ = ["fenced", "letter", "printable", "task_html", "task_text"]

WIDTH = 100
IN_FULL = 2  # broken laws of a task shown with a counterexample; the others usually have the same cause


def headline(task):
    """A task's result in one line."""
    laws = task["laws"]
    line = f"{task['name']}: {task['points']} of {task['most']} points."
    if task["problem"]:
        return f"{line} {task['problem']}"
    broken = [law for law in laws if not law["passed"]]
    if not broken:
        return f"{line} Every law holds. Well done."
    first = f"the first to look at is “{broken[0]['name']}”."
    if len(broken) < len(laws):
        return f"{line} {len(laws) - len(broken)} of {len(laws)} laws hold; {first}"
    return f"{line} None of the laws holds; {first}"


def _parts(task):
    """(law, how to show it) for each law that was tried: "holds", "full", "short" or "likewise"."""
    told = set()  # reasons that the page has given
    full = 0
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


def _also(law, how):
    """What follows a law's sentence: it is broken for the same reason as one above, or it holds and earns nothing yet."""
    if how == "likewise":
        return " (for the same reason)"
    if law["passed"] and not law["points"]:
        return " (holds, but earns no points until a law that compares with the right answer holds too)"
    return ""


def _explained(law, how):
    """The lines under a broken law."""
    if how == "full" and law["shown"]:
        lines = [line[2:] if line.startswith("  ") else line for line in law["shown"]]
        return lines[lines.index("") + 1 :]  # the lines before the empty one repeat name and sentence
    if how in ("full", "short"):
        return [law["message"], f"Hint: {law['hint']}"]
    return []


def _stand_in(task):
    """One line on the functions of earlier tasks that were replaced by the right ones."""
    if not task["given"]:
        return ""
    names = ", ".join(task["given"])
    return f"Where this calls {names}, it was judged with the right {names}: your mistakes there cost no points here."


def _untried(task):
    """One line for the laws that were not tried."""
    left = [law["name"] for law in task["laws"] if not law["judged"]]
    if not left:
        return ""
    points = sum(law["most"] for law in task["laws"] if not law["judged"])
    return f"Not tried, because the time ran out ({points} points): {', '.join(left)}."


def task_text(task):
    """A task's feedback as plain text."""
    lines = textwrap.wrap(headline(task), WIDTH)
    if task["laws"]:
        lines += [*textwrap.wrap(f"Called as {task['form']}", WIDTH, subsequent_indent="          "), ""]
    if stand_in := _stand_in(task):
        lines += [*textwrap.wrap(stand_in, WIDTH), ""]
    for law, how in _parts(task):
        mark = "✓" if law["passed"] else "✗"
        also = _also(law, how)
        line = f"{mark} {law['points']}/{law['most']} {law['name']}: {law['sentence']}{also}"
        lines += textwrap.wrap(line, WIDTH, subsequent_indent="      ")
        if explained := _explained(law, how):
            lines += [f"      {line}".rstrip() for line in explained] + [""]
    lines += textwrap.wrap(_untried(task), WIDTH, subsequent_indent="      ")
    return printable("\n".join(lines).rstrip()) + "\n"


def printable(text):
    """Text without control characters, which could command a terminal: students' file names and errors are in it."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


def fenced(task):
    """A task's plain text as a code block of Markdown; no backticks in the text can end the block early."""
    fence = max(["``", *re.findall("`+", task["text"])], key=len) + "`"
    return f"{fence}text\n{task['text']}{fence}\n"


def task_html(task):
    """The same as HTML, for nbgrader's page."""
    parts = [f"<p><strong>{html.escape(headline(task))}</strong></p>"]
    if task["laws"]:
        parts.append(f"<p>Called as <code>{html.escape(task['form'])}</code></p>")
    if stand_in := _stand_in(task):
        parts.append(f"<p>{html.escape(stand_in)}</p>")
    for law, how in _parts(task):
        sign, colour = ("✓", "#1b7f3b") if law["passed"] else ("✗", "#b3261e")
        also = f"<em>{_also(law, how)}</em>"
        parts.append(
            f'<div style="margin:0.2em 0"><span style="color:{colour}">{sign}</span> {law["points"]}/{law["most"]} '
            f"<strong>{html.escape(law['name'])}</strong>: {html.escape(law['sentence'])}{also}</div>"
        )
        if explained := _explained(law, how):
            style = f"margin:0.2em 0 0.8em 1.5em;border-left:3px solid {colour};padding-left:0.8em"
            parts.append(f'<pre style="{style}">{html.escape(chr(10).join(explained).strip(chr(10)))}</pre>')
    if untried := _untried(task):
        parts.append(f"<p>{html.escape(untried)}</p>")
    return "\n".join(parts)


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
    lines += ["", _closing(found), "", isolation.in_words()]
    if "seed" in found:
        lines += [
            "",
            f"The inputs of the laws were drawn from seed {found['seed']}; the same seed gives the same inputs.",
        ]
    return "\n".join(lines) + "\n"


def _closing(found):
    laws = [law for task in found["tasks"] for law in task["laws"]]
    if not laws:
        return "No law could be tried. Fix the problems above, run the notebook from top to bottom, and hand it in again."
    if all(law["passed"] for law in laws) and not any(task["problem"] for task in found["tasks"]):
        return "Nothing to fix."
    return (
        "Each task lists the laws that were tried. A broken law comes with the smallest case found that breaks it. "
        "Fix the first one and run the check again; this often fixes the others too."
    )


def _plain(text):
    """Text with Markdown's special characters escaped."""
    return "".join(f"\\{c}" if c in "\\*_<>|#[]`$" else c for c in printable(text)).replace("\n", " ")
