"""What the published DINOv2-S knows of two photographs: the tokens that transformers computes, a few of each.

Written with torch 2.13.0 and transformers 4.57.6, from the repository's root, with the extras dev and parity, after
``minivis fetch dinov2-small``:  python -m tests.parity.make_photo_fixtures
"""

from pathlib import Path

import numpy as np

import minivis as mv
from minivis.data import photos

FILE = Path(__file__).parent / "fixtures" / "dinov2_photos.npz"
TOKENS = [0, 1, 100, 200, 256]  # the class token, and patches from the first to the last
MODEL = "dinov2-small"


def photographs():
    """The two photographs of `minivis.data.photos`, (H, W, 3) uint8 as a file holds them."""
    return {
        name: np.round(255 * photos.load(name).transpose(1, 2, 0)).astype(np.uint8) for name in photos.names()
    }


def main():
    import torch
    import transformers

    folder = mv.pretrained.fetched(MODEL)
    model = transformers.Dinov2Model.from_pretrained(folder).eval()
    prepare = transformers.BitImageProcessor.from_pretrained(folder)
    found = {}
    for name, photo in photographs().items():
        pixels = prepare(images=photo, return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            found[name] = model(pixels).last_hidden_state[0, TOKENS].numpy()
    np.savez_compressed(FILE, **found)
    print(f"{', '.join(found)}: {FILE.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
