"""What a student reads: for each task the points, what holds, and for what does not the smallest case and a thought.

Not here: how the verdicts were reached (judging.py), the page around it (nbgrader's).
"""

import html
import re
import textwrap

from minivis.classroom import isolation
from minivis.laws.judging.registry import PLAIN

__all__ = ["fenced", "letter", "printable", "task_html", "task_text"]

WIDTH = 100
IN_FULL = 2  # so many broken laws of a task are shown with their counterexample; the others follow from them as a rule


def headline(task):
    """A task's result in a line."""
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
    told = set()
    full = 0
    for law in task["laws"]:
        reason = law["message"].split(" within ")[0]  # the limits of two calls that hang may differ
        if law["passed"]:
            yield law, "holds"
        elif law["judged"] and (reason in told or told and law["name"] in PLAIN):  # another law says more
            yield law, "likewise"
        elif law["judged"]:
            told.add(reason)
            full += 1
            yield law, "full" if full <= IN_FULL else "short"


def _also(law, how):
    """What follows a law's sentence: it is broken like one above, or it holds and earns nothing yet."""
    if how == "likewise":
        return " (for the same reason)"
    if law["passed"] and not law["points"]:
        return " (holds; it counts once a law holds that compares with the right answer)"
    return ""


def _explained(law, how):
    """The lines under a broken law."""
    if how == "full" and law["shown"]:
        lines = [line[2:] if line.startswith("  ") else line for line in law["shown"]]
        return lines[lines.index("") + 1 :]  # the first repeat name and sentence
    if how in ("full", "short"):
        return [law["message"], f"Hint: {law['hint']}"]
    return []


def _stand_in(task):
    """One line on the functions of earlier tasks that were replaced by the right ones."""
    if not task["given"]:
        return ""
    names = ", ".join(task["given"])
    return f"Where this calls {names}, it was judged with the right {names}: mistakes made there cost nothing here."


def _untried(task):
    """One line for the laws that were not tried."""
    left = [law["name"] for law in task["laws"] if not law["judged"]]
    if not left:
        return ""
    points = sum(law["most"] for law in task["laws"] if not law["judged"])
    return f"Not tried, because the time was up ({points} points): {', '.join(left)}."


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
    """Text without what a terminal would take for a command: students' file names and errors are in it."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


def fenced(task):
    """A task's plain text as a block of Markdown, which nothing in it can end."""
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
    """The head of a student's feedback, in Markdown: the points, and what stood in the way of reading the notebook.

    Parameters
    ----------
    assignment : Assignment
    student : str
    found : dict
        As `judge_submission` returns it.
    remarks : list of str
        About the files.

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
        lines += ["", "About what was handed in:", "", *(f"- {_plain(remark)}" for remark in remarks)]
    if found["notes"]:
        lines += ["", "When the cells were run from top to bottom:", ""]
        lines += [f"- Cell {number}: {_plain(note)}" for number, note in found["notes"].items()]
    lines += ["", _closing(found), "", isolation.in_words()]
    if "seed" in found:
        lines += [
            "",
            f"The inputs of the laws were drawn from seed {found['seed']}; the same seed draws them again.",
        ]
    return "\n".join(lines) + "\n"


def _closing(found):
    laws = [law for task in found["tasks"] for law in task["laws"]]
    if not laws:
        return "No law could be tried. Mend what is named above, run the notebook from top to bottom, and hand it in again."
    if all(law["passed"] for law in laws) and not any(task["problem"] for task in found["tasks"]):
        return "Nothing to mend."
    return (
        "Under each task: the laws that were tried, and for one that is broken the smallest case found that breaks it. "
        "Mend the first one and run the check again; the others often follow from it."
    )


def _plain(text):
    """Text that Markdown shows as it is."""
    return "".join(f"\\{c}" if c in "\\*_<>|#[]`$" else c for c in printable(text)).replace("\n", " ")
