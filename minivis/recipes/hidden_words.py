"""What learning from hidden words depends on: how a network knows the positions, and how many words are hidden.

All are trainings of the model of mlm-captions, on the same captions and for the same number of steps. `results` reads what
was measured; scripts/run_ablations.py measures it again.
Not here: the recipe of the packaged model (mlm_captions.py).
"""

from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from minivis import storage
from minivis.data import DataLoader
from minivis.recipes import mlm_captions

__all__ = ["CHOICES", "results"]

RESULTS = Path(__file__).with_suffix(".json")
SEEDS = (0, 1, 2)
STEPS = 500
BATCH = 32
CAPTIONS = 16_000  # each is used a few times, every time with other words hidden
VALIDATION = 150
RATE = 0.15


def results():
    """The measured results.

    Returns
    -------
    dict
        ``results()[subject][choice][metric]`` is a list with one entry for each seed. Subjects are "positions" and "rate". The
        metrics are nats above the grammar's entropy: one for each kind of word, such as "colour", and "largest gap".

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing or broken.

    Examples
    --------
    >>> sorted(results())
    ['positions', 'rate']
    """
    return storage.read_json(RESULTS)["results"]


@lru_cache(maxsize=1)
def _captions(count):
    drawn = mlm_captions.captions(count, "train", 900)
    return np.stack([drawn[i][0] for i in range(count)])


def words(out, seed, positions="learned", spread=0.5, rate=RATE):
    """Train one model and measure it on validation captions."""
    rng = np.random.default_rng(seed)
    model = mlm_captions.small_bert(rng, positions, spread)
    batches = DataLoader(
        (_captions(CAPTIONS),),
        BATCH,
        shuffle=True,
        drop_last=True,
        rng=rng,
        transform=partial(mlm_captions.hidden, rate=rate),
    )
    mlm_captions.train(model, batches, STEPS)
    found = mlm_captions.gaps(mlm_captions.score(model, VALIDATION, "validation"))
    return {**found, "largest gap": max(map(abs, found.values()))}


def about():
    """What the file of the results says beside them."""
    return {
        "steps": STEPS,
        "training captions": f"{CAPTIONS} of the train split, {BATCH} a step, other words hidden every time",
        "metrics": f"nats above the grammar's entropy, each word of {VALIDATION} validation captions hidden alone",
        "optimiser": "AdamW, learning rate 2e-3, a tenth of the steps warm-up, cosine, decay 0.01, gradients clipped at 1",
    }


CHOICES = {
    "positions": {
        "learned, spread 0.5": (words, {}),
        "learned, spread 0.02": (words, {"spread": 0.02}),
        "sine": (words, {"positions": "sine"}),
    },
    "rate": {
        f"{100 * rate:.0f} %": (words, {"rate": rate} if rate != RATE else {})
        for rate in (0.05, RATE, 0.4, 0.75)
    },
}
