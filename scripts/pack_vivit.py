"""Put the ViViT trained on films into the package: half-precision weights, a card with results, its worst films.

Not here: training. First: minivis train vivit-films --seed 0 --out RUN; then python scripts/pack_vivit.py RUN.
Seed 0 is shipped, so nothing is selected on held-out films.
"""

import argparse
from pathlib import Path

import cards
import numpy as np

import minivis as mv
from minivis import storage, viz
from minivis.recipes import _shapes, vivit_films
from minivis.recipes.non_local_films import DIRECTIONS

NAME = "vivit-films"


def failures(model):
    """A picture of the films whose right direction gets the lowest probability, from the first hundred held-out films."""
    drawn = vivit_films.films(100, "held-out")
    films, directions = (np.stack(column) for column in zip(*(drawn[i] for i in range(100)), strict=True))
    with mv.no_grad():
        found = mv.ops.softmax(model(vivit_films.prepare(films)), axis=1).numpy()
    worst = found[np.arange(100), directions].argsort()[:4]
    titles = [
        f"{DIRECTIONS[directions[i]]}: {DIRECTIONS[found[i].argmax()]} {found[i].max():.2f}" for i in worst
    ]
    return viz.film_rows(
        films[worst],
        titles,
        caption="Left of each film: the right direction of the largest shape, then the one that was found and its probability. The "
        "worst of 100 held-out films.",
    )


def card_of(model, run, processor):
    """The contents of the card."""
    trained = storage.read_json(run / "metrics.json")
    figures = {key: round(value, 4) for key, value in vivit_films.measure(model).items() if key != "value"}
    return {
        "name": NAME,
        "what": "ViViT with a factorised encoder: 3 blocks in space and 2 in time, of width 64",
        "input": "(B, 8, 3, 64, 64) float32, RGB from -1 to 1: films of minivis.data.shapes.video with 8 frames",
        "output": "(B, 4) logits: the largest shape moves right, down, left or up",
        "recipe": f"minivis train {NAME} --seed {trained['seed']}",
        "data": "pictures and films of the train split, drawn while training, each used once",
        "selection": "settings were chosen on films of the validation split; seed 0 is the default",
        "parameters": trained["parameters"],
        "steps": trained["steps"],
        **{key: value for key, value in trained.items() if key.startswith("seconds")},
        **({_shapes.ESTIMATED: {"seconds": processor}} if processor else {}),
        "machine": cards.MACHINE,
        "weights": "half precision; the scores were measured with these weights",
        "figures": "accuracy: films with the right direction, where guessing gives 0.25; shuffled: the same films with their "
        "frames in another order, where knowing the axis gives 0.5; backwards: played backwards, with the opposite direction",
        "on 500 held-out films": figures,
        "history": cards.history_of(run),
        "failures": "failures.png",
        "not for": "videos, or other films than generated ones with eight frames",
        "license": "MIT",
    }


def main():
    """Read a run and write minivis/weights/vivit-films."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished training")
    parser.add_argument(
        "--processor", type=float, help="seconds alone, from 100 steps, where other work ran beside it"
    )
    options = parser.parse_args()
    cards.pack(NAME, options.run, card_of, failures, options.processor)


if __name__ == "__main__":
    main()
