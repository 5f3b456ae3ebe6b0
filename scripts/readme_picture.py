"""Draw the README's pictures: the attention of a class token, answers to prompts, the studies of depth and of detectors.

Not here: training (minivis train vit-scattered-digits, scripts/run_ablations.py depth). Usage: python scripts/readme_picture.py
"""

from pathlib import Path

import numpy as np

import minivis as mv
from minivis import viz
from minivis.data.transforms import RandomCrop
from minivis.recipes import depth, detection_road, sam_shapes
from minivis.vision import central_click, next_click

FOLDER = Path(__file__).resolve().parent.parent / "book" / "pictures"
BLOCK = 2  # counted from 0: the block in which the class token attends to the digit most


def attention_picture():
    """Ten digits, and where the class token looks."""
    model = mv.load("vit-scattered-digits")
    images, labels = mv.data.digits.load("held-out")
    images = RandomCrop(16, padding=8)(images, np.random.default_rng(0))
    chosen = [int(np.flatnonzero(labels == c)[0]) for c in range(10)]
    attention = model.attention_maps(images[chosen])[BLOCK]  # (10, h, 1 + N, 1 + N)
    maps = attention[:, :, 0, 1:].mean(axis=1)  # (10, N): from the class token
    with mv.no_grad():
        guesses = model(images[chosen]).numpy().argmax(axis=1)
    fig, axes = viz.figure(2, 10, width=9.6, height=2.3)
    for column, (i, looks) in enumerate(zip(chosen, maps, strict=True)):
        top, bottom = axes[:, column]
        top.imshow(images[i, 0], cmap="gray")
        bottom.imshow(looks.reshape(model.grid), cmap="inferno", vmin=0)
        viz.label(top, y="image" if column == 0 else "", title=f"read as {guesses[column]}")
        viz.label(bottom, y="attention" if column == 0 else "")
        for ax in (top, bottom):
            ax.set_xticks([])
            ax.set_yticks([])
    return fig


def prompts_picture(number=72):
    """A held-out scene, and what the small SAM answers to a click, to a second one, to a box and to a phrase."""
    model = mv.load("sam-shapes")
    scene = mv.data.shapes.Scenes(number + 1, "held-out", 0, sample=lambda scene: scene)[number]
    thing = scene.masks[0]
    boxed = np.argwhere(scene.masks[1])
    phrase = sam_shapes.phrases_of(scene)[1][0]
    with mv.no_grad():
        embedding = model.embed(scene.image[None])

        def ask(**prompt):
            prompt = {name: np.asarray(part)[None, None] for name, part in prompt.items()}
            output = model.answer(embedding, **prompt, multimask=False)
            return output.masks.numpy()[0, 0, 0], float(output.iou.numpy()[0, 0, 0])

        click = {"points": [central_click(thing)], "point_labels": [1]}
        first = ask(**click)
        place, label = next_click(first[0] > 0, thing)
        both = {"points": [*click["points"], place], "point_labels": [1, label]}
        box = [*boxed.min(axis=0)[::-1], *boxed.max(axis=0)[::-1] + 1]
        answers = [
            first,
            ask(**both, masks=first[0][None]),
            ask(boxes=np.array(box, float)),
            ask(texts=sam_shapes.phrase_features([phrase])[0]),
        ]
    prompts = [click, both, {"boxes": box}, {"text": phrase}]
    titles = ["a click", "a second click", "a box", None]
    return viz.prompted_masks(scene.image, prompts, *map(list, zip(*answers, strict=True)), titles)


def depth_picture():
    """The errors of plain and residual networks along their training."""
    found = depth.results()
    return viz.training_errors({"crops of scenes": found["scenes"], "digits": found["digits"]}, width=9.6)


def road_picture():
    """What the detectors before transformers cost and find."""
    return viz.cost_of_detectors(detection_road.results()["methods"])


def main():
    """Write the pictures into book/pictures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, draw in {
        "vit-digits-attention": attention_picture,
        "prompts": prompts_picture,
        "plain-and-residual": depth_picture,
        "detectors": road_picture,
    }.items():
        draw().save(FOLDER / f"{name}.png")
        print(f"wrote {FOLDER / name}.png")


if __name__ == "__main__":
    main()
