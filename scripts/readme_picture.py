"""Draw the README's picture from the checkpoint in the package: digits, and where the class token looks.

Not here: training (minivis train vit-digits). Usage: python scripts/readme_picture.py
"""

from pathlib import Path

import numpy as np

import minivis as mv
from minivis import viz

TARGET = Path(__file__).resolve().parent.parent / "book" / "pictures" / "vit-digits-attention.png"


def main():
    """Write book/pictures/vit-digits-attention.png."""
    model = mv.load("vit-digits")
    model.eval()
    images, labels = mv.data.digits.load("held-out")
    chosen = [int(np.flatnonzero(labels == c)[1]) for c in range(10)]
    maps = model.attention_maps(images[chosen])[-1][:, :, 0, 1:].mean(axis=1)  # (10, N): from the class token
    guesses = mv.to_numpy(model(images[chosen])).argmax(axis=1)
    fig, axes = viz.figure(2, 10, width=9.6, height=2.2)
    for column, (i, looks) in enumerate(zip(chosen, maps, strict=True)):
        top, bottom = axes[:, column]
        top.imshow(images[i, 0], cmap="gray")
        bottom.imshow(looks.reshape(model.grid), cmap="inferno", vmin=0)
        viz.label(top, title=f"read as {guesses[column]}")
        for ax in (top, bottom):
            ax.set_xticks([])
            ax.set_yticks([])
    viz.label(axes[0, 0], y="digit", title=f"read as {guesses[0]}")
    viz.label(axes[1, 0], y="attention")
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    fig.save(TARGET)
    print(f"wrote {TARGET}")


if __name__ == "__main__":
    main()
