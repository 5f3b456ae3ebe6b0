"""Put the model trained on captions into the package: half-precision weights, a card with results, its worst places.

Not here: training. First: minivis train mlm-captions --seed 0 --out RUN; then python scripts/pack_captions.py RUN.
Seed 0 is shipped, so nothing is selected on held-out captions.
"""

import argparse
import textwrap
from pathlib import Path

import cards
import numpy as np

from minivis import storage, viz
from minivis.recipes import mlm_captions

NAME = "mlm-captions"
WORST = 6


def failures(model):
    """A picture of the hidden words that cost most above the grammar's entropy, one of a caption, of a hundred."""
    found = [
        (cost - np.log(len(mlm_captions.fitting(words, place))), words, place)
        for words, place, cost in mlm_captions.hidden_one_by_one(model, 100)
    ]
    by_caption = {
        tuple(words): (gap, words, place) for gap, words, place in sorted(found, key=lambda one: one[0])
    }
    worst = sorted(by_caption.values(), key=lambda one: -one[0])[:WORST]
    texts = [_hidden(words, place) for _, words, place in worst]
    return viz.hidden_words(
        [textwrap.shorten(text[::-1], 76, placeholder=" ...")[::-1] for text in texts],
        [mlm_captions.predict(model, text)[0] for text in texts],
        mlm_captions.TOKENIZER.words,
        [words[place] for _, words, place in worst],
        [mlm_captions.fitting(words, place) for _, words, place in worst],
        caption="The right word is bold; bars of words that the grammar does not allow are hatched. The worst of 100 held-out "
        "captions, each with the place where the right word gets least, compared with what the grammar leaves. Only the first "
        "is wrong: its caption has eight objects, and few of the training captions are so long.",
    )


def _hidden(words, place):
    return mlm_captions.as_text([*words[:place], "[MASK]", *words[place + 1 :]])


def card_of(model, run):
    """The contents of the card."""
    trained = storage.read_json(run / "metrics.json")
    figures = {key: round(value, 4) for key, value in mlm_captions.measure(model).items() if key != "value"}
    return {
        "name": NAME,
        "what": "BERT of 2 post-norm layers of width 64 and 4 heads, learned positions, tied head",
        "input": "(B, N) int64, N at most 48: captions of minivis.data.shapes as numbers of recipes.mlm_captions.TOKENIZER",
        "output": "(B, N, 30) logits of the words at every place",
        "recipe": f"minivis train {NAME} --seed {trained['seed']}",
        "data": "captions of scenes of the train split, drawn while training, each used once",
        "selection": "settings were chosen on captions of the validation split; seed 0 is the default",
        "parameters": trained["parameters"],
        "steps": trained["steps"],
        **{key: value for key, value in trained.items() if key.startswith("seconds")},
        "machine": cards.MACHINE,
        "weights": "half precision; the figures were measured with these weights",
        "figures": "nats: the cross-entropy of each kind of word, when it alone is hidden, beside the entropy that the grammar "
        "leaves there; largest gap: the largest difference of the two",
        "on 500 held-out scenes": figures,
        "history": cards.history_of(run),
        "failures": "failures.png",
        "not for": "any other text than captions of generated scenes",
        "license": "MIT",
    }


def main():
    """Read a run and write minivis/weights/mlm-captions."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished training")
    run = parser.parse_args().run
    cards.pack(NAME, run, card_of, failures)


if __name__ == "__main__":
    main()
