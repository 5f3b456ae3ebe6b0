"""The laws of minivis's functions: properties that each must have, for the test suite, the learner and the teacher.

Each file here holds the laws of one family of functions and has the name of the library's file; `judging/` draws
inputs, runs a function, judges it and reports.

Not here: the functions themselves; the laws judge plain NumPy functions and need none of them.
"""

import importlib

from minivis.laws.judging.checking import check, judge
from minivis.laws.judging.exercises import above, at_least, at_most, below, between, claims
from minivis.laws.judging.registry import Law, catalogue, names
from minivis.laws.judging.report import Report, Verdict
from minivis.laws.judging.worker import judge_apart

__all__ = [
    "Law",
    "Report",
    "Verdict",
    "above",
    "at_least",
    "at_most",
    "below",
    "between",
    "catalogue",
    "check",
    "claims",
    "judge",
    "judge_apart",
    "names",
]

for _file in (
    "softmaxes", "normalization", "local_response", "conv", "conv_transpose", "pool", "lenet", "resample",
    "filters", "regression", "steering", "attention", "multi_head", "loss", "patches", "position_codes",
    "distances", "receptive_fields", "boxes", "overlaps", "box_coding", "anchors", "rois", "matching",
    "suppression", "proposals", "masks", "region_masks", "prompts", "two_way_attention", "chosen_masks",
    "panoptic", "windows", "shifted_windows", "deformable_attention", "cifar_resnet", "sasa", "lr_net", "san",
    "non_local_operation", "adversarial", "sagan", "spectral", "self_distillation", "averaging", "optim",
    "regularization", "ode", "yolo", "yolo_grid", "upsampling", "max_unpooling", "cropping", "setr",
    "loss_weights", "contrastive", "byte_pairs", "clip_resnet", "tubelets", "factorised", "masked_words",
    "masking", "masked_modelling", "weight_standardization", "class_masks", "fusion",
):  # fmt: skip
    importlib.import_module(f"minivis.laws.{_file}")  # importing a file registers its families
