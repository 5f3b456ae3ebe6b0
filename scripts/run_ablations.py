"""Measure minivis/recipes/ablations.json again: every choice with three seeds; less than an hour on two cores.

Finished trainings are kept in the folder, so a stopped run can continue. The choices are in minivis/recipes/ablations.py.
"""

import argparse
import os
import platform
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from minivis import storage
from minivis.data.loader import end_with_parent
from minivis.recipes import ablations


def main():
    """Run the missing trainings, then write the json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"), help="folder for single runs")
    parser.add_argument("--jobs", type=int, default=2, help="how many trainings at a time")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes below
    context = get_context("spawn")
    with ProcessPoolExecutor(options.jobs, context, end_with_parent) as pool:
        pool.submit(ablations.backbone, str(options.out)).result()
        choices = {  # each training once; ordered by seed, so that a process can use its scenes again
            (function, *sorted(changes.items()), seed): (subject, choice, seed)
            for seed in ablations.SEEDS
            for subject, choices in ablations.CHOICES.items()
            for choice, (function, changes) in choices.items()
        }
        runs = [pool.submit(ablations.measure, options.out, *choice) for choice in choices.values()]
        for run in tqdm(as_completed(runs), total=len(runs), desc="trainings"):
            run.result()
    found = {
        subject: {choice: _columns(options.out, subject, choice) for choice in choices}
        for subject, choices in ablations.CHOICES.items()
    }
    seconds = [storage.read_json(path)["seconds"] for path in options.out.glob("*_seed-*.json")]
    content = {
        "recipe": "python scripts/run_ablations.py",
        "seeds": list(ablations.SEEDS),
        "steps": ablations.STEPS,
        "training scenes": f"{ablations.SCENES} a seed, gone through again and again, 16 a step",
        "scenes": "500 of the validation split",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, one BLAS thread a training, NumPy {np.__version__}",
        "seconds of one core": {"a run, at most": max(seconds), "all runs": round(sum(seconds), 1)},
        "results": found,
    }
    storage.write_files({ablations.RESULTS: storage.pack_json(content)})
    print(f"wrote {ablations.RESULTS}")


def _columns(out, subject, choice):
    """For each metric the list of its values, one a seed."""
    rows = [ablations.measure(out, subject, choice, seed) for seed in ablations.SEEDS]
    return {name: [row[name] for row in rows] for name in rows[0]}


if __name__ == "__main__":
    main()
