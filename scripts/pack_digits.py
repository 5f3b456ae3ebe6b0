"""Put a trained recipe on digits into the package: weights, config, and a card with the results.

Not here: training. First, for each seed S from 0: minivis train NAME --seed S --out RUNS/S; then
python scripts/pack_digits.py NAME RUNS. Seed 0 is shipped, so nothing is selected on held-out digits.
"""

import argparse
import json
import platform
from pathlib import Path

import numpy as np

import minivis as mv
from minivis import storage
from minivis.data import digits
from minivis.metrics import accuracy
from minivis.models import LeNet5
from minivis.recipes import _digits, lenet_digits

WHAT = {
    "vit-digits": "Vision Transformer, 16 patches of 2 x 2 pixels and a class token, 4 blocks of width 64",
    "vit-scattered-digits": "Vision Transformer, 64 patches of 2 x 2 pixels and a class token, 4 blocks of width 64",
    "cnn-digits": "Convolutional network, 4 layers of 3 x 3 filters, mean over positions",
    "lenet-digits": "LeNet-5 as in its paper: table of C3, trained subsampling, distances to drawn digits, equation 9",
}
SELECTION = {
    "vit-digits": "settings chosen by cross-validation on these 1,437 digits, except the class token, which the "
    "lectures use; seed 0 is the default",
    "vit-scattered-digits": "nothing was selected: settings of vit-digits with another learning rate, no dropout and "
    "more steps; seed 0 is the default",
    "cnn-digits": "settings chosen by cross-validation on these 1,437 digits; seed 0 is the default",
    "lenet-digits": "j and the learning rate chosen on parts of these 1,437 digits; seed 0 is the default",
}
INPUT = {
    "lenet-digits": "(B, 1, 32, 32) float32, -0.1 is paper and 1.175 is ink: minivis.recipes.lenet_digits.prepare"
}
HALF = ("lenet-digits",)  # stored in half precision


def scores(model, images):
    """Logits (B, 10) as an array, of digits in which 0 is paper and 1 is ink."""
    if isinstance(model, LeNet5):
        images = lenet_digits.prepare(images)
    with mv.no_grad():
        return model(images).numpy()


def moved_by_one(model, images, labels):
    """Mean accuracy on digits moved by one pixel up, down, left and right."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    moved = [padded[:, :, y : y + 8, x : x + 8] for y, x in ((0, 1), (2, 1), (1, 0), (1, 2))]
    return round(float(np.mean([accuracy(scores(model, m), labels) for m in moved])), 4)


def card(name, runs, model):
    """The contents of the card, measured on the held-out digits with the model of seed 0."""
    metrics = {path.parent.name: json.loads(path.read_text()) for path in sorted(runs.glob("*/metrics.json"))}
    scattered = "scattered" in name
    images, labels = _digits.held_out(scattered)
    found = scores(model, images).argmax(axis=1)
    wrong = np.flatnonzero(found != labels)
    elsewhere = {"inverted": round(accuracy(scores(model, 1 - images), labels), 4)}
    if not scattered:
        elsewhere["moved by one pixel"] = moved_by_one(model, images, labels)
    return {
        "name": name,
        "what": WHAT[name],
        "input": INPUT.get(
            name, f"(B, 1, {images.shape[2]}, {images.shape[3]}) float32, 0 is paper and 1 is ink"
        ),
        "output": "(B, 10) logits of the digits 0 to 9",
        "recipe": f"minivis train {name} --seed 0",
        "data": "1,437 of the 1,797 handwritten digits in scikit-learn (UCI, doi:10.24432/C50P49)",
        "selection": SELECTION[name],
        "parameters": metrics["0"]["parameters"],
        "steps": metrics["0"]["steps"],
        "seconds": metrics["0"]["seconds"],
        "machine": f"2 cores, {platform.machine()}, one BLAS thread, NumPy {np.__version__}",
        "held-out accuracy": {
            "value": 1 - len(wrong) / len(labels),
            "correct": len(labels) - len(wrong),
            "n": len(labels),
        },
        "correct of 360 by seed": {seed: m["correct"] for seed, m in metrics.items()},
        "mistakes": [
            {"digit": int(digits.indices("held-out")[i]), "is": int(labels[i]), "taken for": int(found[i])}
            for i in wrong
        ],
        "accuracy when the held-out digits are": elsewhere,
        "not for": "handwriting that was scanned in another way, inverted colours, more than one digit in a picture, or "
        "pictures without a digit: it always names a digit",
        "license": "MIT",
    }


def main():
    """Read the runs of all seeds and write minivis/weights/NAME."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=WHAT)
    parser.add_argument("runs", type=Path, help="folder with one folder for each seed: 0, 1, 2, ...")
    options = parser.parse_args()
    target = storage.PACKAGED / options.name
    target.mkdir(parents=True, exist_ok=True)
    model = mv.load(options.runs / "0")
    mv.save(model, target, half=options.name in HALF)
    made = card(options.name, options.runs, mv.load(target))
    storage.write_files({target / "card.json": storage.pack_json(made)})
    print(f"wrote {target}: {made['held-out accuracy']['correct']} of 360")


if __name__ == "__main__":
    main()
