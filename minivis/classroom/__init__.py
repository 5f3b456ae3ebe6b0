"""The classroom: assignments to hand out, graded by the laws, with written feedback for each student.

Not here: nbgrader, which only releasing and grading import (`pip install "minivis[classroom]"`).
"""

from minivis.classroom.tasks import award, awarded, find, names

__all__ = ["award", "awarded", "find", "names"]
