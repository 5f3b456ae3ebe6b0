"""Put a model trained on generated scenes into the package: half-precision weights, a card with results, its worst pictures.

Not here: training. First: minivis train NAME --seed 0 --out RUN; then python scripts/pack_shapes.py NAME RUN.
Seed 0 is shipped, so nothing is selected on held-out scenes.
"""

import argparse
import importlib
import json
from pathlib import Path

import cards
import numpy as np

import minivis as mv
from minivis import storage, viz
from minivis.data import shapes
from minivis.recipes import (
    _regions,
    _shapes,
    detr_panoptic_shapes,
    local_attention_shapes,
    mae_shapes,
    mask2former_shapes,
    maskformer_shapes,
    segmenter_shapes,
    setr_shapes,
)

WHAT = {
    "local-attention-shapes": "Attention to windows of 5 x 5 cells of 2 x 2 pixels, 4 blocks",
    "swin-shapes": "Swin Transformer, maps of 16 x 16, 8 x 8 and 4 x 4 tokens, windows of 4 x 4",
    "detr-shapes": "DETR, ResNet of 6 convolutions, 64 tokens of width 96, 2 encoder and 3 decoder layers, 16 queries",
    "detr-panoptic-shapes": "DETR with a mask head, boxes and masks of shapes and grounds, otherwise as detr-shapes",
    "faster-rcnn-shapes": "Faster R-CNN, ResNet of 6 convolutions, 768 anchors on a map of 16 x 16 cells, 48 proposals",
    "fcn-shapes": "Fully convolutional network, ResNet of 9 convolutions, scores of strides 16, 8 and 4 added up",
    "mae-shapes": "Masked autoencoder, patches of 8 x 8, encoder of width 96 and 4 blocks, decoder of width 64 and 2 blocks",
    "mask-rcnn-shapes": "Mask R-CNN: Faster R-CNN as in faster-rcnn-shapes, and masks of 14 x 14 cells",
    "segmenter-shapes": "Segmenter, patches of 4 x 4, encoder of width 64 and 4 blocks, mask transformer of 2 blocks",
    "setr-shapes": "SETR with progressive upsampling, ResNet of 6 convolutions, 64 tokens of width 40, 4 blocks",
    "unet-shapes": "U-Net with padding and batch norm, five levels of 10 to 96 channels",
    "mask2former-shapes": "Mask2Former, ResNet of 8 convolutions, 4 decoder layers with masked attention, 16 queries",
    "maskformer-shapes": "MaskFormer, ResNet of 6 convolutions, 1 encoder and 3 decoder layers of width 64, 16 queries",
    "yolo-shapes": "YOLO v1, ResNet of 7 convolutions, 2 more of width 128, a grid of 8 x 8 cells with 2 boxes each",
}
OUTPUT = {
    "local-attention-shapes": "logits (B, 2, 64, 64); class 1 is the outline of a shape",
    "swin-shapes": "(B, 6) logits of circle, square, triangle, star, ring, cross; for scenes with one object",
    "detr-shapes": "logits (B, 16, 7) and boxes (B, 16, 4), normalised cxcywh; class 6 is no object",
    "detr-panoptic-shapes": "logits (B, 16, 10), boxes (B, 16, 4), masks (B, 16, 16, 16); class 9 is no object",
    "faster-rcnn-shapes": "for each picture boxes (n, 4), xyxy in pixels, labels (n,) from 1 and scores (n,)",
    "fcn-shapes": "logits (B, 9, 64, 64) of 6 shapes and 3 grounds",
    "mae-shapes": "prediction (B, 64, 192) of the pixels of each patch, mask (B, 64), True = hidden, and their loss",
    "mask-rcnn-shapes": "for each picture boxes (n, 4), xyxy in pixels, labels (n,) from 1, scores (n,), masks (n, 1, H, W)",
    "segmenter-shapes": "logits (B, 9, 64, 64) of 6 shapes and 3 grounds",
    "setr-shapes": "logits (B, 9, 64, 64) of 6 shapes and 3 grounds",
    "unet-shapes": "logits (B, 9, 64, 64) of 6 shapes and 3 grounds",
    "mask2former-shapes": "logits (B, 16, 10) and masks (B, 16, 16, 16); class 9 is no object",
    "maskformer-shapes": "logits (B, 16, 10) and masks (B, 16, 16, 16); class 9 is no object",
    "yolo-shapes": "(B, 8, 8, 16): for each cell twice x, y, width, height, confidence, then 6 class scores",
}
INPUT = {
    "mae-shapes": "(B, 3, 64, 64) float32, scenes of minivis.data.shapes with (RGB - 0.5) * 4: minivis.recipes.mae_shapes.scaled",
}
DATA = {
    "mae-shapes": "16,000 scenes of the train split, used again in every epoch, half of them mirrored",
    "local-attention-shapes": "2,000 scenes of the train split, used again in every epoch, in quarters of 32 x 32 pixels",
}
NOT_FOR = {
    "mae-shapes": "photos: it has seen generated scenes alone",
    "local-attention-shapes": "photos: it knows the outlines of generated shapes alone",
}
MERGES = {
    "detr-panoptic-shapes": detr_panoptic_shapes.merge,
    "mask2former-shapes": mask2former_shapes.merge,
    "maskformer-shapes": maskformer_shapes.merge,
}
REGIONS = {"faster-rcnn-shapes": "boxes", "mask-rcnn-shapes": "masks"}
COLOURS = {"maskformer-shapes": 64, "setr-shapes": 64}  # of the palette of failures.png
WORST = 4


def measure(name, model):
    """Scores of a model on the 500 held-out scenes, with four digits."""
    found = importlib.import_module(f"minivis.recipes.{name.replace('-', '_')}").measure(model)
    return {key: round(float(value), 4) for key, value in found.items() if key != "value"}


def failures(name, model):
    """A picture of the scenes on which the model is worst, from the first hundred held-out scenes."""
    scenes = [shapes.scene(seed, objects=1 if name == "swin-shapes" else None) for seed in range(100)]
    images = np.stack([scene.image for scene in scenes])
    if name == "mae-shapes":
        return _painted(images, model)
    if name in REGIONS:
        return _found(scenes, _regions.detect(model, images), REGIONS[name])
    if name == "yolo-shapes":
        return _worst_boxes(scenes, [_in_shares(found) for found in model.detect(images, 0.3)])
    with mv.no_grad():
        output = model(images)
    if name == "swin-shapes":
        return _mistaken(scenes, output.numpy())
    if name == "local-attention-shapes":
        return _outlines(scenes, output.numpy())
    if name in ("fcn-shapes", "segmenter-shapes", "setr-shapes", "unet-shapes"):
        return _named_pixels(scenes, output.numpy())
    return _boxes(scenes, output) if name == "detr-shapes" else _segments(scenes, output, MERGES[name])


def _mistaken(scenes, logits):
    """The scenes whose right class gets the lowest probability."""
    probabilities = mv.ops.softmax(logits)
    right = probabilities[np.arange(len(scenes)), [scene.label for scene in scenes]]
    worst = right.argsort()[: 2 * WORST]
    titles = [
        f"{shapes.THINGS[scenes[i].label]}: {shapes.THINGS[logits[i].argmax()]} {probabilities[i].max():.2f}"
        for i in worst
    ]
    caption = "Each title: the right class, then the predicted class and its probability. The worst of 100 held-out scenes."
    return viz.images([scenes[i].image for i in worst], titles, columns=WORST, caption=caption)


def _painted(images, model):
    """The scenes with the largest error on hidden patches."""
    there = mae_shapes.scaled(images)
    painted, mask = model.reconstruct(there, rng=np.random.default_rng(0))
    worst = np.argsort(-np.square(painted - there).mean(axis=(1, 2, 3)))[:WORST]
    return viz.masked_pictures(
        images[worst],
        mask[worst],
        mae_shapes.PATCH,
        {"painted": painted[worst] / 4 + 0.5},
        caption="The scenes with the largest error of 100 held-out ones. Textures and small shapes that are hidden as a whole "
        "cannot be known.",
    )


def learned(name, model):
    """For a model trained without labels: accuracies of linear classifiers on its features, before training, and on pixels."""
    if name != "mae-shapes":
        return {}
    sources = {
        "trained": mae_shapes.of_encoder(model),
        "untrained": mae_shapes.of_encoder(mae_shapes.small_mae().eval()),
    }
    found = {
        name: mae_shapes.probes(source)
        for name, source in {**sources, "pixels": mae_shapes.of_pixels}.items()
    }
    rounded = {name: {key: round(value, 4) for key, value in rows.items()} for name, rows in found.items()}
    return {"accuracy of linear classifiers on features": rounded}


def compared(name, run):
    """The scores of simpler answers on the same scenes, for a recipe that has some."""
    if name == "maskformer-shapes":
        return {"baselines, things are connected regions of a class": _of_pixels(run)}
    if name == "segmenter-shapes":
        return {"baselines, mIoU on the same scenes": segmenter_shapes.baselines()}
    if name == "setr-shapes":
        found = {answer: round(value, 4) for answer, value in setr_shapes.baselines(run).items()}
        return {"baselines, mIoU on the same scenes": found}
    return {}


def _of_pixels(run):
    """What one class everywhere and what the class of each pixel alone would reach, with connected regions as things."""
    rng = np.random.default_rng(0)
    namer = _shapes.PixelNamer(_shapes.small_backbone(rng, **maskformer_shapes.TRUNK), rng)
    storage.load(run / "backbone", into=namer)
    most = int(np.bincount(np.concatenate([shapes.scene(i).semantic.ravel() for i in range(100)])).argmax())
    named = {
        f"{shapes.CLASSES[most]} everywhere": lambda images: np.full((len(images), *images.shape[2:]), most),
        "the backbone before the second part, a class for each pixel": lambda images: (
            namer(images).numpy().argmax(axis=1)
        ),
    }
    found = {name: maskformer_shapes.measure_answers(_by_regions(of)) for name, of in named.items()}
    chosen = ("PQ", "PQ_things", "PQ_stuff", "mIoU")
    return {name: {key: round(row[key], 4) for key in chosen} for name, row in found.items()}


def _by_regions(named):
    """Panoptic maps that follow from the classes of pixels, and these classes, of the function ``named(images)``."""

    def answers(images):
        classes = named(images)
        return [maskformer_shapes.regions(one, _shapes.THINGS) for one in classes], classes

    return answers


def _outlines(scenes, logits):
    """The scenes with the lowest F1 of the outline's pixels."""
    there = np.stack([local_attention_shapes.outlines(scene)[1] == 1 for scene in scenes])
    found = logits[:, 1] > logits[:, 0]
    scores = 2 * (found & there).sum((1, 2)) / np.maximum(1, found.sum((1, 2)) + there.sum((1, 2)))
    worst = np.argsort(scores)[:WORST]
    pictures = [scenes[i].image for i in worst]
    edges = [*pictures, *(there[i] for i in worst), *(found[i] for i in worst)]
    titles = (
        [f"scene {i}" for i in worst]
        + ["its outlines"] * WORST
        + [f"found: F1 {scores[i]:.2f}" for i in worst]
    )
    return viz.images(
        [edge if edge.ndim == 3 else edge.astype(np.float32) for edge in edges],
        titles,
        columns=WORST,
        caption="Top: the scenes. Middle: the true outlines. Bottom: the predictions. The worst of 100 held-out scenes.",
    )


def _named_pixels(scenes, logits):
    """The scenes with the fewest right pixels."""
    named = logits.argmax(axis=1)
    there = np.stack([scene.semantic for scene in scenes])
    scores = (named == there).mean(axis=(1, 2))
    worst = np.argsort(scores)[:WORST]
    titles = [f"scene {i}" for i in worst] + ["its classes"] * WORST
    titles += [f"named: {scores[i]:.2f} right" for i in worst]
    return viz.semantic_maps(
        [there[i] for i in worst] + [named[i] for i in worst],
        [scenes[i].image for i in worst],
        titles,
        shapes.CLASSES,
        columns=WORST,
        caption="Top: the scenes. Middle: the true classes of the pixels. Bottom: the predictions. The worst of 100 held-out scenes.",
    )


def _boxes(scenes, output):
    found = [
        mv.vision.detr_detections(logits, boxes, threshold=0.5)
        for logits, boxes in zip(output.logits.numpy(), output.boxes.numpy(), strict=True)
    ]
    return _worst_boxes(scenes, found)


def _in_shares(found):
    """Detections with their boxes as fractions of the image."""
    return {**found, "boxes": mv.vision.box_xyxy_to_cxcywh(found["boxes"]) / shapes.SIZE}


def _worst_boxes(scenes, found):
    """The scenes with the lowest AP."""
    scores = [
        mv.metrics.average_precision([f], [s.target()], sizes=[s.image.shape[1:]])["AP"]
        for f, s in zip(found, scenes, strict=True)
    ]
    worst = np.argsort(scores)[:WORST]
    chosen = [scenes[i] for i in worst]
    return viz.boxes_on_images(
        [scene.image for scene in chosen] * 2,
        [scene.boxes for scene in chosen] + [found[i]["boxes"] for i in worst],
        [scene.labels for scene in chosen] + [found[i]["labels"] for i in worst],
        names=shapes.THINGS,
        normalised=True,
        titles=[f"scene {i}" for i in worst] + [f"found: AP {scores[i]:.2f}" for i in worst],
        columns=WORST,
        caption="Top: the true objects. Bottom: the predictions. The worst of 100 held-out scenes.",
    )


def _found(scenes, found, kind):
    """The scenes with the lowest AP of a detector that returns boxes in pixels, or boolean masks."""
    there = [{"labels": scene.labels, "masks": scene.masks, "boxes": _corners(scene)} for scene in scenes]
    scores = [
        mv.metrics.average_precision([f], [t], kind=kind)["AP"] for f, t in zip(found, there, strict=True)
    ]
    worst = np.argsort(scores)[:WORST]
    sure = [{key: x[f["scores"] > 0.5] for key, x in f.items()} for f in found]
    shown = [there[i] for i in worst] + [sure[i] for i in worst]
    given = {key: [one[key] for one in shown] for key in ("labels", "boxes")}
    options = {
        "names": shapes.THINGS,
        "titles": [f"scene {i}" for i in worst] + [f"found: AP {scores[i]:.2f}" for i in worst],
        "columns": WORST,
        "caption": "Top: the true objects. Bottom: those found with a score above 0.5. The worst of 100 held-out scenes.",
    }
    images = [scenes[i].image for i in worst] * 2
    if kind == "masks":
        return viz.masks_on_images(images, [one["masks"] for one in shown], labels=given["labels"], **options)
    return viz.boxes_on_images(images, **given, **options)


def _corners(scene):
    """The boxes of a scene, xyxy in pixels."""
    return _shapes.in_pixels(scene.boxes, *scene.image.shape[1:])


def _segments(scenes, output, merge):
    pairs = zip(output.logits.numpy(), output.masks.numpy(), strict=True)
    found = [merge(logits, masks, _shapes.THINGS, (shapes.SIZE, shapes.SIZE)) for logits, masks in pairs]
    there = [(scene.panoptic, scene.segments) for scene in scenes]
    scores = [
        mv.metrics.panoptic_quality([f], [t], _shapes.THINGS)["PQ"] for f, t in zip(found, there, strict=True)
    ]
    worst = np.argsort(scores)[:WORST]
    return viz.panoptic_on_images(
        [scenes[i].image for i in worst] * 2,
        [there[i] for i in worst] + [found[i] for i in worst],
        names=shapes.CLASSES,
        titles=[f"scene {i}" for i in worst] + [f"found: PQ {scores[i]:.2f}" for i in worst],
        columns=WORST,
        caption="Top: the true segments. Bottom: the predictions. The worst of 100 held-out scenes.",
    )


def main():
    """Read a run and write minivis/weights/NAME."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=WHAT)
    parser.add_argument("run", type=Path, help="folder of a finished training")
    parser.add_argument("--cpu-seconds", type=float, help="of the last part of the training, drawing too")
    options = parser.parse_args()
    name = options.name
    trained = json.loads((options.run / "metrics.json").read_text())
    target = storage.PACKAGED / name
    storage.save(mv.load(options.run), target, half=True)
    model = mv.load(target)
    figures = measure(name, model)
    last = [*trained.get("seconds for", ["all"])][-1]
    card = {
        "name": name,
        "what": WHAT[name],
        "input": INPUT.get(name, "(B, 3, 64, 64) float32, RGB from 0 to 1: scenes of minivis.data.shapes"),
        "output": OUTPUT[name],
        "recipe": f"minivis train {name} --seed {trained['seed']}",
        "data": DATA.get(name, "scenes of the train split, drawn while training, each used once"),
        "selection": "settings were chosen on scenes of the validation split; seed 0 is the default",
        "parameters": trained["parameters"],
        "steps": trained["steps"],
        **{key: value for key, value in trained.items() if key.startswith("seconds")},
        **({} if options.cpu_seconds is None else {"CPU seconds for": {last: options.cpu_seconds}}),
        "machine": cards.MACHINE,
        "weights": "half precision; the scores were measured with these weights",
        "on 500 held-out scenes": figures,
        **learned(name, model),
        **compared(name, options.run),
        "history": cards.history_of(options.run),
        "failures": "failures.png",
        "not for": NOT_FOR.get(
            name, "photos, or other pictures that are not generated scenes: it always names shapes"
        ),
        "license": "MIT",
    }
    cards.save_failures(failures(name, model), target, COLOURS.get(name, 256))
    storage.write_files({target / "card.json": storage.pack_json(card)})
    print(f"wrote {target}: {figures}")


if __name__ == "__main__":
    main()
