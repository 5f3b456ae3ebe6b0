"""Write tests/parity/fixtures/filters.npz: small images and what OpenCV's bilateral filter makes of them.

Run from the repository's root in an environment with NumPy and opencv-python-headless:
python tests/parity/make_filter_fixtures.py
Not here: scikit-image, whose bilateral filter has its spatial weights in the wrong places.
"""

from pathlib import Path

import numpy as np

FILTERS = Path(__file__).parent / "fixtures" / "filters.npz"
# name -> shape, window, sigma of the intensities, sigma of the distance
ROWS = {
    "grey, 3": ((9, 11), 3, 0.2, 1.0),
    "grey, 5": ((12, 10), 5, 0.3, 1.5),
    "grey, 9": ((16, 17), 9, 0.1, 3.0),
    "colour, 5": ((10, 12, 3), 5, 0.3, 1.5),
    "colour, 7": ((11, 9, 3), 7, 0.6, 2.5),
}


def image_of(name):
    """A gradient, a step and noise, from 0 to 1."""
    shape = ROWS[name][0]
    rng = np.random.default_rng(list(name.encode()))
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = 0.3 * y / shape[0] + 0.5 * (x > shape[1] // 2)
    image = image if len(shape) == 2 else image[..., None] * rng.uniform(0.3, 1, shape[2])
    return np.clip(image + rng.normal(0.1, 0.05, shape), 0, 1).astype(np.float32)


def theirs(name):
    """OpenCV's answer; its border is mirrored without repeating the edge."""
    import cv2

    _, window, sigma_x, sigma_p = ROWS[name]
    return cv2.bilateralFilter(image_of(name), window, sigma_x, sigma_p, borderType=cv2.BORDER_REFLECT_101)


def main():
    import cv2

    arrays = {}
    for name in ROWS:
        arrays[f"{name}: image"] = image_of(name)
        arrays[f"{name}: expected"] = theirs(name)
    np.savez_compressed(FILTERS, versions=np.array([f"opencv {cv2.__version__}"]), **arrays)
    print(f"{len(ROWS)} rows, {FILTERS.stat().st_size / 1024:.0f} KB: {FILTERS}")


if __name__ == "__main__":
    main()
