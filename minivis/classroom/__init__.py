"""The classroom: assignments to hand out, graded by the laws, with words for each student.

Not loaded here: nbgrader, which only handing out and grading need (`pip install "minivis[classroom]"`).
"""

from minivis.classroom.tasks import award, awarded, find, names

__all__ = ["award", "awarded", "find", "names"]
