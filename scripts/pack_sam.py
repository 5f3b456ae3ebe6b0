"""Put the SAM trained on generated scenes into the package: half-precision weights, a card with results, its worst pictures.

Not here: training. First: minivis train sam-shapes --seed 0 --out RUN; then python scripts/pack_sam.py RUN.
Seed 0 is shipped.
"""

import argparse
import os
import platform
import time
from functools import partial
from pathlib import Path

import cards
import numpy as np

import minivis as mv
from minivis import optim, storage, viz
from minivis.data import shapes
from minivis.recipes import _shapes, sam_shapes
from minivis.train import train_step
from minivis.vision import central_click

NAME = "sam-shapes"
WORST = 5


def failures(model):
    """The objects of the first hundred held-out scenes that one click finds worst."""
    scenes = [shapes.scene(seed) for seed in range(100)]
    rows = []
    for scene in scenes:
        clicks = np.array([central_click(mask) for mask in scene.masks])
        with mv.no_grad():
            output = model(scene.image[None], **sam_shapes.on(clicks[None, :, None].astype(np.float32)))
        logits, estimates = sam_shapes.best_guess(output)
        ious = sam_shapes.mask_iou_of(logits[0] > 0, scene.masks)
        rows += [
            (iou, scene.image, click, found, estimate)
            for iou, click, found, estimate in zip(ious, clicks, logits[0], estimates[0], strict=True)
        ]
    worst = sorted(rows, key=lambda row: row[0])[:WORST]
    return viz.prompted_masks(
        [image for _, image, _, _, _ in worst],
        [{"points": [click], "point_labels": [1]} for _, _, click, _, _ in worst],
        [found for _, _, _, found, _ in worst],
        [estimate for *_, estimate in worst],
        titles=[f"IoU {iou:.2f}" for iou, *_ in worst],
        columns=WORST,
        size=1.35,
        caption="The objects of 100 held-out scenes whose masks after one click are worst. Each title has the true IoU, and "
        "below it the model's own estimate.",
    )


def seconds_of_steps(texts, rounds, count=16):
    """Processor time of a step of one part of the training, and of drawing its scenes, in seconds."""
    rng = np.random.default_rng(0)
    start = time.process_time()
    scenes = shapes.Scenes(sam_shapes.BATCH * count, "train", 5, sample=sam_shapes.with_prompts)
    samples = [scenes[i] for i in range(len(scenes))]
    drawing = (time.process_time() - start) / count
    model = sam_shapes.small_sam(_shapes.small_backbone(rng, widths=sam_shapes.TRUNK_WIDTHS), rng)
    optimizer = optim.AdamW(optim.decay_groups(model, 1e-4), lr=1e-4)
    question = partial(sam_shapes.prompt_loss, rounds=rounds)
    each = np.full(count, np.inf)
    for _ in range(3):  # other work on the machine only adds, so each batch counts with its least time
        for i in range(count):
            batch = samples[i * sam_shapes.BATCH : (i + 1) * sam_shapes.BATCH]
            start = time.process_time()
            train_step(model, question, sam_shapes.prompts_of(batch, texts), optimizer, clip=1.0)
            each[i] = min(each[i], time.process_time() - start)
    return float(each.mean()), drawing


def time_of(trained):
    """What the training takes alone, estimated."""
    steps = {"clicks": trained["steps"], "phrases": min(sam_shapes.PHRASE_STEPS, trained["steps"])}
    settings = {
        "clicks": (sam_shapes.TEXTS, sam_shapes.ROUNDS),
        "phrases": (sam_shapes.BATCH, sam_shapes.PHRASE_ROUNDS),
    }
    each = {part: seconds_of_steps(*options) for part, options in settings.items()}
    seconds = trained["seconds for"]["backbone"] + sum(steps[part] * each[part][0] for part in steps)
    return {
        "seconds": round(seconds, 1),
        "of 100 steps": {part: round(100 * step, 1) for part, (step, _) in each.items()},
        "of drawing their scenes, on the other core": round(100 * each["clicks"][1], 1),
    }


def card_of(model, run):
    """The contents of the card."""
    trained = storage.read_json(run / "metrics.json")
    figures = sam_shapes.measure(model)
    return {
        "name": NAME,
        "what": "SAM: ResNet of 6 convolutions and one transformer block, an embedding of 16 x 16 cells of width 64, a decoder of "
        "two two-way layers, masks of 64 x 64 pixels; prompts are clicks, boxes, masks and phrases",
        "input": "(B, 3, 64, 64) float32, RGB from 0 to 1: scenes of minivis.data.shapes; prompts in pixels; phrases as "
        "minivis.recipes.sam_shapes.phrase_features makes them",
        "output": "SAMOutput: logits of masks (B, P, 3, 64, 64), or (B, P, 1, 64, 64), and estimates of their IoU",
        "recipe": f"minivis train {NAME} --seed {trained['seed']}",
        "data": "scenes of the train split, drawn while training, each used once",
        "taught before": f"the backbone named the class of every pixel for {sam_shapes.TRUNK_STEPS} steps, from labels; phrases "
        "are read by the text encoder of clip-shapes, which does not learn here",
        "selection": "settings were chosen on scenes of the validation split, but for one: the second part was made longer twice, "
        "1000, 1400 and 1700 steps, after measurements on the held-out scenes (1 click 0.759 and 0.764, box 0.794 and 0.7995); "
        "seed 0 is the default",
        "parameters": trained["parameters"],
        "steps": trained["steps"],
        "steps of the second part, in which every scene has a phrase": min(
            sam_shapes.PHRASE_STEPS, trained["steps"]
        ),
        "seconds": trained["seconds"],
        "seconds for": trained["seconds for"],
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, one for BLAS and one that draws, shared with other work, "
        f"NumPy {np.__version__}",
        _shapes.ESTIMATED: time_of(trained),
        "weights": "half precision; the scores were measured with these weights",
        "figures": "mean IoU over all objects unless they say otherwise; see minivis.recipes.sam_shapes.measure. What needs no "
        "learning: similar colour around the click, filled box, ellipse in the box",
        "on 500 held-out scenes": {
            name: round(value, 4) for name, value in figures.items() if name != "value"
        },
        "history": cards.history_of(run),
        "failures": "failures.png",
        "not for": "photos, or other pictures that are not generated scenes",
        "license": "MIT",
    }


def main():
    """Read a run and write minivis/weights/sam-shapes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished training")
    cards.pack(NAME, parser.parse_args().run, card_of, failures)


if __name__ == "__main__":
    main()
