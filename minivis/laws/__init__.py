"""The laws that each function of minivis promises to keep, for the test suite, the learner and the teacher.

Not here: the functions themselves; the laws judge plain NumPy functions and need none of them.
"""

import importlib

from minivis.laws.catalogue import Law, catalogue, names
from minivis.laws.checking import check, judge
from minivis.laws.report import Report, Verdict
from minivis.laws.worker import judge_apart

__all__ = ["Law", "Report", "Verdict", "catalogue", "check", "judge", "judge_apart", "names"]

for _file in (
    "softmax", "normalize", "conv", "conv_transpose", "pool", "resample", "attention", "multi_head", "loss", "patches",
    "position", "distance", "boxes", "overlaps", "assignment", "nms", "mask_losses", "windows", "shifted_windows",
    "deformable",
):  # fmt: skip
    importlib.import_module(f"minivis.laws.{_file}")  # a family is known once its file is read
