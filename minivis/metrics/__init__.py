"""Metrics: numbers for comparing the predictions of models with the truth.

Not here: losses (losses/, ops/loss.py), which are for training.
"""

from minivis.metrics.classification import accuracy
from minivis.metrics.confusion import class_iou, confusion_matrix, mean_iou
from minivis.metrics.detection import AveragePrecision, average_precision
from minivis.metrics.generation import frechet_distance, nearest_neighbours, precision_recall
from minivis.metrics.panoptic import PanopticQuality, panoptic_quality
from minivis.metrics.pictures import psnr
from minivis.metrics.proposals import proposal_recall

__all__ = [
    "AveragePrecision",
    "PanopticQuality",
    "accuracy",
    "average_precision",
    "class_iou",
    "confusion_matrix",
    "frechet_distance",
    "mean_iou",
    "nearest_neighbours",
    "panoptic_quality",
    "precision_recall",
    "proposal_recall",
    "psnr",
]
