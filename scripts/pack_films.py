"""Put the model trained on films into the package: half-precision weights, a card with results, its worst films.

Not here: training. First: minivis train non-local-films --seed 0 --out RUN; then python scripts/pack_films.py RUN.
Seed 0 is shipped, so nothing is selected on held-out films.
"""

import argparse
from pathlib import Path

import cards
import numpy as np

import minivis as mv
from minivis import storage, viz
from minivis.recipes import non_local_films

NAME = "non-local-films"


def failures(model):
    """A picture of the films whose right direction gets the lowest probability, from the first hundred held-out films."""
    films = non_local_films.Films(100, "held-out", sample=lambda film: film)
    films = [films[i] for i in range(len(films))]
    with mv.no_grad():
        logits = model(np.stack([film.frames for film in films])).numpy()
    found = mv.ops.softmax(logits, axis=1)[:, : non_local_films.STILL].sum(axis=(2, 3))
    found = found / found.sum(axis=1, keepdims=True)
    worst = found[np.arange(len(films)), [film.direction for film in films]].argsort()[:4]
    words = non_local_films.DIRECTIONS
    titles = []
    for i in worst:
        said = found[i].argmax()
        titles += [f"{words[films[i].direction]}: {words[said]} {found[i, said]:.2f}", "", "", ""]
    return viz.images(
        [frame for i in worst for frame in films[i].frames],
        titles,
        columns=4,
        caption="A film in each row. The titles: the right direction of the largest shape, then the one that was found and "
        "its share. The worst of 100 held-out films.",
    )


def card_of(model, run, processor):
    """The contents of the card."""
    trained = storage.read_json(run / "metrics.json")
    figures = {
        key: round(value, 4) for key, value in non_local_films.measure(model).items() if key != "value"
    }
    return {
        "name": NAME,
        "what": "ResNet of 6 convolutions with one non-local block over 4 frames of 8 x 8 places",
        "input": "(B, 4, 3, 64, 64) float32, RGB from 0 to 1: films of minivis.data.shapes.video with 4 frames",
        "output": "(B, 5, 8, 8) logits for each place of the last frame: moves right, down, left, up, or still",
        "recipe": f"minivis train {NAME} --seed {trained['seed']}",
        "data": "scenes and films of the train split, drawn while training, each used once",
        "selection": "settings were chosen on films of the validation split; seed 0 is the default",
        "parameters": trained["parameters"],
        "steps": trained["steps"],
        **{key: value for key, value in trained.items() if key.startswith("seconds")},
        **({"cpu seconds of the process that trains": processor} if processor else {}),
        "machine": cards.MACHINE,
        "weights": "half precision; the scores were measured with these weights",
        "figures": "accuracy: films with the right direction of the largest shape, where guessing gives 0.25; places: those "
        "on shapes that have the right direction",
        "on 500 held-out films": figures,
        "on 100 validation films": {
            "attention of places on objects": {
                k: round(v, 4) for k, v in non_local_films.matched(model).items()
            }
        },
        "history": cards.history_of(run),
        "failures": "failures.png",
        "not for": "videos, or other films than generated ones with four frames",
        "license": "MIT",
    }


def main():
    """Read a run and write minivis/weights/non-local-films."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished training")
    parser.add_argument(
        "--processor", type=float, help="seconds of processor time, where other work ran beside it"
    )
    options = parser.parse_args()
    cards.pack(NAME, options.run, card_of, failures, options.processor)


if __name__ == "__main__":
    main()
