"""Measure the results of a study in minivis/recipes/ again, such as ablations, depth, detection_road; less than an hour on two cores.

Finished trainings are kept in the folder, so a stopped run can continue. The choices are in minivis/recipes/.
"""

import argparse
import importlib
import os
import platform
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from minivis import storage
from minivis.data.loader import end_with_parent
from minivis.recipes import _studies

STUDIES = (
    "ablations",
    "collapse",
    "contrast",
    "depth",
    "detection_road",
    "hidden_words",
    "maskformer_changes",
    "masking_ratio",
    "sam_losses",
    "segmenter_choices",
    "setr_shapes",
    "vivit_variants",
    "yolo_heads",
)


def main():
    """Run the missing trainings, then write the json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", nargs="?", choices=STUDIES, default="ablations")
    parser.add_argument(
        "--out", type=Path, help="folder for single runs; default: runs/ and the name of the study"
    )
    parser.add_argument("--jobs", type=int, default=2, help="how many trainings at a time")
    options = parser.parse_args()
    study = importlib.import_module(f"minivis.recipes.{options.study}")
    out = options.out or Path("runs") / options.study
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes below
    context = get_context("spawn")
    with ProcessPoolExecutor(options.jobs, context, end_with_parent) as pool:
        if hasattr(study, "backbone"):
            pool.submit(study.backbone, str(out)).result()
        if hasattr(study, "prepare"):
            for seed in study.SEEDS:
                pool.submit(study.prepare, str(out), seed).result()
        choices = {  # each training once; ordered by seed, so that a process can use its scenes again
            (function, *sorted(changes.items()), seed): (subject, choice, seed)
            for seed in study.SEEDS
            for subject, choices in study.CHOICES.items()
            for choice, (function, changes) in choices.items()
        }
        runs = [pool.submit(_studies.measure, study.CHOICES, out, *choice) for choice in choices.values()]
        for run in tqdm(as_completed(runs), total=len(runs), desc="trainings"):
            run.result()
    _write(study, out)


def _write(study, out):
    """Write the json of a study whose runs are all in the folder."""
    found = {
        subject: {choice: _columns(study, out, subject, choice) for choice in choices}
        for subject, choices in study.CHOICES.items()
    }
    seconds = [storage.read_json(path)["seconds"] for path in out.glob("*_seed-*.json")]
    content = {
        "recipe": f"python scripts/run_ablations.py {study.RESULTS.stem}",
        "seeds": list(study.SEEDS),
        **study.about(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, one BLAS thread a training, NumPy {np.__version__}",
        "seconds of one core": {"a run, at most": max(seconds), "all runs": round(sum(seconds), 1)},
        "results": found,
    }
    storage.write_files({study.RESULTS: storage.pack_json(content)})
    print(f"wrote {study.RESULTS}")


def _columns(study, out, subject, choice):
    """For each metric the list of its values, one a seed."""
    rows = [_studies.measure(study.CHOICES, out, subject, choice, seed) for seed in study.SEEDS]
    return {name: [row[name] for row in rows] for name in rows[0]}


if __name__ == "__main__":
    main()
