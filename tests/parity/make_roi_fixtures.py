"""Write tests/parity/fixtures/rois.npz: what torchvision's own Python gives for regions, box codes, anchors and matches.

Written with torch 2.13.0 and torchvision 0.28.0, from the repository's root, with the extras dev and parity and
torchvision:  python -m tests.parity.make_roi_fixtures
"""

import inspect
import sys
from pathlib import Path

import numpy as np

from tests.parity.make_torchvision_fixtures import torchvision_models

ROIS = Path(__file__).parent / "fixtures" / "rois.npz"
# name -> options of roi_align: size, scale, sampling, aligned
ALIGN = {
    "aligned": ((3, 2), 0.5, 2, True),
    "not aligned": (2, 0.25, 2, False),
    "adaptive": ((2, 3), 0.5, 0, True),
    "adaptive, not aligned": (3, 1.0, 0, False),
    "one sample": (7, 1.0, 1, True),
}
SHAPE = (2, 3, 9, 11)


def inputs(scale):
    """Features, and regions that lie inside, reach up to one cell beyond a border, or are tiny.

    Farther out torchvision's compiled operator is 0, as ours is, while its Python repeats the border.
    """
    rng = np.random.default_rng(14)
    low = rng.uniform(-0.9, 9, (12, 2))
    cells = np.concatenate([low, low + rng.uniform(0, 8, (12, 2))], axis=1)
    cells[0, 2:] = cells[0, :2] + 0.05
    cells = np.minimum(cells, np.tile(SHAPE[:1:-1], 2))
    return rng.standard_normal(SHAPE), np.concatenate([rng.integers(0, 2, (12, 1)), cells / scale], axis=1)


def coded():
    """Proposals, boxes, deltas of which some are beyond the clamp, and a table of overlaps with ties."""
    rng = np.random.default_rng(15)
    low = rng.uniform(0, 90, (2, 8, 2))
    proposals, boxes = np.concatenate([low, low + rng.uniform(3, 60, (2, 8, 2))], axis=-1)
    overlaps = rng.integers(1, 20, (40, 5)) / 20
    overlaps[::3] *= 0.3
    return proposals, boxes, rng.normal(0, 3, (8, 4)), overlaps


def cotangent(shape):
    return np.random.default_rng([16, *shape]).standard_normal(shape)


def aligned(name):
    """torchvision's RoIAlign, written in Python, and its gradient."""
    import torch
    from torchvision.ops.roi_align import _roi_align

    size, scale, sampling, centred = ALIGN[name]
    size = size if isinstance(size, tuple) else (size, size)
    features, rois = inputs(scale)
    x = torch.tensor(features, requires_grad=True)
    out = inspect.unwrap(_roi_align)(x, torch.tensor(rois), scale, *size, sampling, centred)
    out.backward(torch.tensor(cotangent(tuple(out.shape))))
    return out.detach().numpy(), x.grad.numpy()


def theirs():
    """Everything that is stored, by name."""
    import torch

    if "torchvision" not in sys.modules:
        torchvision_models()
    from torchvision.models.detection import _utils, anchor_utils, image_list
    from torchvision.ops.poolers import LevelMapper

    found = {}
    for name in ALIGN:
        found[f"{name}: out"], found[f"{name}: gradient"] = aligned(name)
    proposals, boxes, deltas, overlaps = (torch.tensor(x) for x in coded())
    coder = _utils.BoxCoder((10.0, 10.0, 5.0, 5.0))
    found["encoded"] = coder.encode_single(boxes, proposals)
    found["decoded"] = coder.decode_single(deltas, proposals)
    found["matches"] = _utils.Matcher(0.7, 0.3, allow_low_quality_matches=True)(overlaps.T)
    sizes = (32, 64), (16,)
    ratios = (0.5, 1.0, 2.0), (0.5, 2.0)
    maps = [torch.zeros(1, 1, 3, 4), torch.zeros(1, 1, 2, 3)]
    images = image_list.ImageList(torch.zeros(1, 3, 24, 32), [(24, 32)])
    found["anchors"] = anchor_utils.AnchorGenerator(sizes, ratios)(images, maps)[0]
    sides = torch.tensor([[0, 0, side, 2 * side] for side in np.geomspace(5, 900, 40)], dtype=torch.float64)
    found["levels"] = LevelMapper(2, 5)([sides]) + 2
    return {name: np.asarray(x) for name, x in found.items()}


def main():
    import torch

    found = theirs()
    import torchvision

    versions = np.array([f"torch {torch.__version__}", f"torchvision {torchvision.__version__}"])
    np.savez_compressed(ROIS, versions=versions, **found)
    print(f"{ROIS.stat().st_size / 1024:.0f} KB: {ROIS}")


if __name__ == "__main__":
    main()
