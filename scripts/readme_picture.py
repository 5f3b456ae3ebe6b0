"""Draw the README's picture from a checkpoint in the package: scattered digits, and the attention of the class token.

Not here: training (minivis train vit-scattered-digits). Usage: python scripts/readme_picture.py
"""

from pathlib import Path

import numpy as np

import minivis as mv
from minivis import viz
from minivis.data.transforms import RandomCrop

TARGET = Path(__file__).resolve().parent.parent / "book" / "pictures" / "vit-digits-attention.png"
BLOCK = 2  # counted from 0: the block in which the class token attends to the digit most


def main():
    """Write book/pictures/vit-digits-attention.png."""
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
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    fig.save(TARGET)
    print(f"wrote {TARGET}")


if __name__ == "__main__":
    main()
