"""Put the CLIP trained on captions into the package: half-precision weights, a card with results, its worst pictures.

Not here: training. First: minivis train clip-shapes --seed 0 --out RUN; then python scripts/pack_clip.py RUN.
Seed 0 is shipped, so nothing is selected on held-out scenes.
"""

import argparse
import os
import platform
import time
from pathlib import Path

import cards
import numpy as np

import minivis as mv
from minivis import optim, storage, viz
from minivis.data import shapes
from minivis.recipes import _shapes, clip_shapes

NAME = "clip-shapes"


def failures(model):
    """The pictures that find a wrong caption with the largest lead over their own, among the first 200 held-out ones."""
    scenes = _shapes.fresh_scenes(200, objects=1, sample=lambda scene: scene)
    scenes = [scenes[i] for i in range(len(scenes))]
    captions = clip_shapes.captions()
    with mv.no_grad():
        pictures = model.encode_image(np.stack([scene.image for scene in scenes])).numpy()
        texts = model.encode_text(clip_shapes.encoded(captions)).numpy()
    cosines = pictures @ texts.T
    right = np.array([[caption == scene.caption for caption in captions] for scene in scenes])
    lead = cosines.max(axis=1) - cosines[right]
    worst = np.argsort(-lead)[:5]
    return viz.found_captions(
        [scenes[i].image for i in worst],
        captions,
        cosines[worst],
        right=right[worst],
        caption="The five of 200 held-out pictures that are furthest from their own caption, and the three captions of all 1,344 "
        "that each finds most similar. Green: its own caption.",
    )


def seconds_of_steps(model, count=50):
    """Processor time of some steps of the training, and of drawing their scenes, in seconds."""
    rng = np.random.default_rng(0)
    start = time.process_time()
    scenes = shapes.Scenes(clip_shapes.DRAWN, "train", 5, objects=1, sample=clip_shapes.with_caption)
    batch = clip_shapes.same_ground([scenes[i] for i in range(len(scenes))])
    drawing = time.process_time() - start
    model = clip_shapes.small_clip(_shapes.small_backbone(rng, (1, 2), (48, 96)), rng)
    optimizer = optim.AdamW(optim.decay_groups(model, 0.05), lr=1e-3)
    start = time.process_time()
    for _ in range(count):
        optimizer.zero_grad()
        clip_shapes.caption_and_texture_loss(model, *batch).backward()
        optimizer.step()
    return (time.process_time() - start) / count, drawing


def card_of(model, run):
    """The contents of the card."""
    trained = storage.read_json(run / "metrics.json")
    return {
        "name": NAME,
        "what": "ResNet of 6 convolutions, 2 blocks of a ViT on its maps, a causal text encoder of 2 blocks, embeddings of 64 "
        "numbers",
        "input": "(B, 3, 64, 64) float32, RGB from 0 to 1: scenes of minivis.data.shapes with one shape; (T, 12) int64: their "
        "captions, by WordTokenizer(CAPTION_WORDS)",
        "output": "CLIPOutput: similarities of all pictures with all texts, and their embeddings",
        "recipe": f"minivis train {NAME} --seed {trained['seed']}",
        "data": "scenes of the train split, drawn while training; half of those drawn are used, each once",
        "taught before": f"the backbone named the class of every pixel for {clip_shapes.TRUNK_STEPS} steps, from labels. So "
        "shapes named in words are not zero-shot in the sense of captions alone",
        "selection": "settings were chosen on scenes of the validation split; seed 0 is the default",
        "parameters": trained["parameters"],
        "steps": trained["steps"],
        "seconds": trained["seconds"],
        "seconds for": trained["seconds for"],
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, one for BLAS and one that draws, shared with other work, "
        f"NumPy {np.__version__}",
        _shapes.ESTIMATED: time_of(model, trained),
        "weights": "half precision; the scores were measured with these weights",
        **scores_of(model),
        "history": cards.history_of(run),
        "failures": "failures.png",
        "not for": "photos, other words, or scenes with several shapes",
        "license": "MIT",
    }


def time_of(model, trained):
    """What the training takes alone, estimated."""
    step, drawing = seconds_of_steps(model)
    return {
        "seconds": round(trained["seconds for"]["backbone"] + step * trained["steps"], 1),
        "of 100 steps": round(100 * step, 1),
        "of drawing their scenes, on the other core": round(100 * drawing, 1),
    }


def scores_of(model):
    """The part of the card with the figures."""
    figures = clip_shapes.measure(model)
    return {
        "figures": "shares; retrieval among 64, where an equal caption is right too; classes by the mean of all captions with "
        "the word, and by the caption that is nearest of all",
        "on 500 held-out scenes": {
            name: round(value, 4) for name, value in figures.items() if name != "value"
        },
        "on 500 validation scenes": {
            "right words, by how many captions the embedding of a word is the mean of": {
                attribute: {size: round(share, 4) for size, share in shares.items()}
                for attribute, shares in clip_shapes.ensembles(model).items()
            }
        },
    }


def main():
    """Read a run and write minivis/weights/clip-shapes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished training")
    run = parser.parse_args().run
    cards.pack(NAME, run, card_of, failures)


if __name__ == "__main__":
    main()
