"""How much to hide: masked autoencoders that hide a quarter to nine tenths of the patches, and what each has learned.

All train for the same number of steps on the same scenes. `results` reads what was measured; scripts/run_ablations.py measures
it again.
Not here: the network, its training and the probes (mae_shapes.py).
"""

from functools import lru_cache
from pathlib import Path

import numpy as np

from minivis import storage
from minivis.recipes import mae_shapes

__all__ = ["CHOICES", "results"]

RESULTS = Path(__file__).with_suffix(".json")
SEEDS = (0, 1)
STEPS = 400
SCENES = 8000
HELD_OUT = 300


def results():
    """The measured results.

    Returns
    -------
    dict
        ``results()["ratio"][choice][metric]`` is a list with one entry for each seed. Metrics: "error" on hidden patches of
        held-out scenes at the ratio of the training, or at 0.75 for "untrained"; "harmonic", that of the best inpainting there;
        and the accuracies of ``mae_shapes.probes``.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing or broken.

    Examples
    --------
    >>> sorted(results()["ratio"])
    ['0.25', '0.50', '0.75', '0.90', 'untrained']
    """
    return storage.read_json(RESULTS)["results"]


@lru_cache(maxsize=1)
def _pool():
    return mae_shapes.pictures(SCENES)


def hide(out, seed, ratio):
    """Train with one ratio and measure; without a ratio, measure the network as it is before training."""
    rng = np.random.default_rng(seed)
    model = mae_shapes.small_mae(rng, ratio or 0.75)
    if ratio:
        mae_shapes.train(model, _pool(), rng, STEPS, lr=2e-3)
    found = mae_shapes.measured(model.eval(), HELD_OUT)
    errors = {"error": found["error"], "harmonic": found["harmonic"]}
    return {**errors, **mae_shapes.probes(mae_shapes.of_encoder(model))}


def about():
    """What the file of the results says beside them."""
    return {
        "steps": STEPS,
        "training pictures": f"{SCENES} scenes of the train split, 64 a step, each second one mirrored",
        "metrics": f"errors on {HELD_OUT} held-out scenes; linear classifiers on 1500 scenes, their accuracy on 500 others",
        "optimiser": "AdamW, learning rate 2e-3, 40 steps of warm-up, cosine, decay 0.05, gradients clipped at 1",
    }


CHOICES = {
    "ratio": {
        "untrained": (hide, {"ratio": None}),
        **{f"{ratio:.2f}": (hide, {"ratio": ratio}) for ratio in (0.25, 0.5, 0.75, 0.9)},
    },
}
