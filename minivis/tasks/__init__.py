"""Training on one's own pictures: recognise what a folder holds, train a model on it, report how well it does, measure a model.

Not here: the trainings of the small models that come with minivis (recipes/).
"""

from minivis.tasks.evaluation import evaluate
from minivis.tasks.layouts import Task, recognise
from minivis.tasks.training import train

__all__ = ["Task", "evaluate", "recognise", "train"]
