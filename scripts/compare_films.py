"""Measure minivis/recipes/non_local_films.json again: the non-local block over all frames and in each frame alone.

Three seeds each, with everything else equal: parameters, films, steps, and the backbone, which is pretrained once.
About a quarter of an hour on one core. Finished trainings are kept in the folder, so a stopped run can continue.
"""

import argparse
import platform
import time
from pathlib import Path

import numpy as np

from minivis import storage
from minivis.data import DataLoader
from minivis.data.loader import stack
from minivis.recipes import _shapes, non_local_films

CHOICES = {"over all frames": True, "in each frame": False}
SEEDS = (0, 1, 2)
STEPS = 300
PRETRAINING = 400
FILMS = 3000  # used again in every epoch: drawing new ones would take longer than training on them


def backbone(out):
    """The ResNet that all trainings begin with, pretrained on pixels once."""
    rng = np.random.default_rng(100)
    body = non_local_films.small_film_net(rng).backbone
    if not (out / "backbone" / storage.WEIGHTS).exists():
        _shapes.pretrain(body, out, PRETRAINING, rng, True, seed=100)
    storage.load(out / "backbone", into=_shapes.PixelNamer(body, rng))
    return body


def measure(out, across_frames, seed):
    """Train and measure one choice with one seed; a result that is already in `out` is only read."""
    path = out / f"{'across' if across_frames else 'within'}_seed-{seed}.json"
    if not path.exists():
        start = time.process_time()
        rng = np.random.default_rng(seed)
        model = non_local_films.small_film_net(rng, across_frames, backbone(out))
        drawn = non_local_films.Films(FILMS, "train", seed)
        films = [drawn[i] for i in range(FILMS)]
        loader = DataLoader(films, 32, shuffle=True, rng=rng, collate=stack)
        non_local_films.train(model, loader, STEPS)
        found = non_local_films.score(model, non_local_films.Films(500, "validation"))
        numbers = {name: round(value, 4) for name, value in found.items()}
        numbers["seconds"] = round(time.process_time() - start, 1)
        storage.write_files({path: storage.pack_json(numbers)})
    return storage.read_json(path)


def main():
    """Run the missing trainings, then write the json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/films"), help="folder for single runs")
    out = storage.make_folder(parser.parse_args().out)
    rows = {choice: [measure(out, across, seed) for seed in SEEDS] for choice, across in CHOICES.items()}
    content = {
        "recipe": "python scripts/compare_films.py",
        "seeds": list(SEEDS),
        "steps": STEPS,
        "training films": f"{FILMS} a seed, gone through again and again, 32 a step",
        "films": "500 of the validation split",
        "machine": f"{platform.machine()}, one core, one BLAS thread, NumPy {np.__version__}",
        "results": {
            choice: {name: [row[name] for row in of_seeds] for name in of_seeds[0]}
            for choice, of_seeds in rows.items()
        },
    }
    storage.write_files({non_local_films.RESULTS: storage.pack_json(content)})
    print(f"wrote {non_local_films.RESULTS}")


if __name__ == "__main__":
    main()
