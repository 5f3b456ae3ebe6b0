"""What keeps DINO from collapsing: short trainings without centring, without sharpening, without the slow teacher.

Without a label, a student and a teacher agree most easily if both give the same answer to every picture. `results` reads what
was measured along the trainings; scripts/run_ablations.py measures it again.
Not here: the training itself (dino_digits.py), the figures (viz/self_distillation.py).
"""

from pathlib import Path

import numpy as np

from minivis import analysis, ops, storage
from minivis.data import shapes
from minivis.recipes import dino_digits

__all__ = ["CHOICES", "results"]

RESULTS = Path(__file__).with_suffix(".json")
SEEDS = (0, 1, 2)
STEPS = 150
EVERY = 15  # steps between two measurements
SHOWN, KNOWN = 240, 480  # pictures that are measured, and other ones that vote on their classes
CROPS = 1500  # training pictures of coloured scenes
SIDE = 22  # of a crop of a scene, pixels
SMALLER = dino_digits.multi_crop(16, 10)  # views of fewer tokens than in dino_digits, to save time


def results():
    """The measured results.

    Returns
    -------
    dict
        ``results()["digits"][choice][metric]`` is a list with one entry for each seed, a list along the "steps" of the training.
        Choices are "whole", "no centring", "no sharpening" and "no slow teacher". Metrics are "entropy" of each of the teacher's
        answers, "entropy of the mean" answer, both in nats, "k-NN" accuracy, and the "loss". In ``results()["scenes"]["whole"]``
        the metrics are "colour" and "shape": k-NN accuracies along the steps of a training on coloured scenes.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing or broken.

    Examples
    --------
    >>> sorted(results()["digits"])
    ['no centring', 'no sharpening', 'no slow teacher', 'whole']
    """
    return storage.read_json(RESULTS)["results"]


def _views(digits, rng):
    return SMALLER(dino_digits.canvas(digits, rng), rng)


def on_digits(out, seed, centre_momentum=0.9, teacher_temp=0.04, momentum=dino_digits.MOMENTUM):
    """Entropies and k-NN accuracy along a training on digits."""
    rng = np.random.default_rng(seed)
    model = dino_digits.small_dino(
        rng, small=False, centre_momentum=centre_momentum, teacher_temp=teacher_temp
    )
    images, labels = dino_digits.pictures("train", 1)
    shown = images[:SHOWN]
    known = images[-KNOWN:]

    def evaluate(model):
        likely = dino_digits.answers(model.teacher, shown, model.centre, teacher_temp)
        each, mean = dino_digits.entropies(likely)
        found, voting = (dino_digits.features(model.teacher.backbone, x) for x in (shown, known))
        right = analysis.k_nearest(voting, labels[-KNOWN:], found, labels[:SHOWN], centred=True)
        return {"entropy": each, "entropy of the mean": mean, "k-NN": right}

    start = evaluate(model.eval())
    options = {"momentum": momentum, "views": _views, "evaluate": evaluate, "every": EVERY}
    history = dino_digits.train(model, STEPS, rng, **options)
    columns = {"steps": [0, *history["step"]], "loss": [np.log(len(model.centre)), *history["loss"]]}
    return columns | {name: [first, *history[name]] for name, first in start.items()}


def coloured(count, split="train", seed=0):
    """Pictures (count, 3, 22, 22) in [0, 1] of one shape each, cut out of scenes; its colour, a word, and its shape, a number."""
    scenes = shapes.Scenes(count, split, seed, objects=1, sample=_crop)
    images, colours, labels = zip(*(scenes[i] for i in range(count)), strict=True)
    return np.stack(images), np.array(colours), np.array(labels)


def _crop(scene):
    """A square of twice the object's side around it; the second word of the caption is its colour."""
    size = scene.image.shape[1]
    x, y, width, height = scene.boxes[0] * size
    half = max(width, height)
    rows, columns = (slice(max(0, round(c - half)), min(size, round(c + half))) for c in (y, x))
    cut = ops.interpolate(scene.image[None, :, rows, columns], (SIDE, SIDE), mode="bilinear")[0]
    return cut, scene.caption.split()[1], scene.label


def on_scenes(out, seed):
    """k-NN accuracy of the colour and of the shape along a training on coloured scenes."""
    rng = np.random.default_rng(seed)
    model = dino_digits.small_dino(rng, channels=3, small=False)
    images, colours, labels = coloured(CROPS + SHOWN + KNOWN, seed=seed)
    shown = slice(CROPS, CROPS + SHOWN)
    known = slice(CROPS + SHOWN, None)

    def evaluate(model):
        found, voting = (dino_digits.features(model.teacher.backbone, images[x]) for x in (shown, known))
        return {
            name: analysis.k_nearest(voting, words[known], found, words[shown], centred=True)
            for name, words in (("colour", colours), ("shape", labels))
        }

    start = evaluate(model.eval())
    options = {"data": (images[:CROPS], labels[:CROPS]), "views": SMALLER, "evaluate": evaluate}
    history = dino_digits.train(model, STEPS, rng, every=EVERY, **options)
    return {
        "steps": [0, *history["step"]],
        **{name: [first, *history[name]] for name, first in start.items()},
    }


def about():
    """What the file of the results says beside them."""
    return {
        "steps": STEPS,
        "training": "as in dino_digits.py: all 1437 digits, 48 a step, 128 scores; 2 + 4 views of 16 and 10 pixels, Xavier's starting values",
        "measured": f"on {SHOWN} training digits at other places; {KNOWN} others vote, k = 20",
        "scenes": f"{CROPS} crops around one shape, {SIDE} x {SIDE} pixels; the same views and network, three channels",
    }


CHOICES = {
    "digits": {
        "whole": (on_digits, {}),
        "no centring": (on_digits, {"centre_momentum": 1.0}),
        "no sharpening": (on_digits, {"teacher_temp": 0.1}),
        "no slow teacher": (on_digits, {"momentum": 0.0}),
    },
    "scenes": {"whole": (on_scenes, {})},
}
