"""Write preprocess.safetensors: what the image processors of transformers make of small random photos.

Written with transformers 4.57.6 and Pillow 12, seed 0, from the repository's root, with the extras dev and parity:
python -m tests.pretrained.make_preprocess_fixtures
"""

import contextlib
from pathlib import Path

import numpy as np

from tests.parity.make_torchvision_fixtures import torchvision_models

FILE = Path(__file__).parent / "preprocess.safetensors"
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
# preprocessor_config.json as published, new and old, with sizes as small as the photos here
ROWS = {
    "vit": {"image_processor_type": "ViTImageProcessor", "size": {"height": 14, "width": 16}, "resample": 2, **HALF},
    "vit, old": {"feature_extractor_type": "ViTFeatureExtractor", "size": 12, "resample": 3, **IMAGENET},
    "deit, old": {
        "feature_extractor_type": "DeiTFeatureExtractor",
        "size": 16,
        "crop_size": 12,
        "do_center_crop": True,
        "resample": 3,
        **IMAGENET,
    },
    "deit, crop larger than the photo": {
        "image_processor_type": "DeiTImageProcessor",
        "size": {"height": 9, "width": 8},
        "crop_size": {"height": 12, "width": 13},
        "do_center_crop": True,
        "resample": 3,
        **IMAGENET,
    },
    "resnet": {
        "image_processor_type": "ConvNextImageProcessor",
        "size": {"shortest_edge": 14},
        "crop_pct": 0.875,
        "resample": 3,
        **IMAGENET,
    },
    "resnet, old": {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 14, "crop_pct": 0.8, "resample": 2, **IMAGENET},
    "detr": {
        "image_processor_type": "DetrImageProcessor",
        "size": {"shortest_edge": 16, "longest_edge": 27},
        "resample": 2,
        "do_pad": True,
        **IMAGENET,
    },
    "detr, old": {"feature_extractor_type": "DetrFeatureExtractor", "size": 16, "max_size": 24, "resample": 2, **IMAGENET},
    "detr, largest box": {
        "image_processor_type": "DetrImageProcessor",
        "size": {"max_height": 16, "max_width": 20},
        "resample": 2,
        **IMAGENET,
    },
    "mask2former": {
        "image_processor_type": "Mask2FormerImageProcessor",
        "size": {"shortest_edge": 20, "longest_edge": 40},
        "size_divisor": 8,
        "resample": 2,
        **IMAGENET,
    },
    "maskformer": {
        "image_processor_type": "MaskFormerImageProcessor",
        "size": {"shortest_edge": 18, "longest_edge": 50},
        "size_divisor": 8,
        "resample": 2,
        **IMAGENET,
    },
    "mask2former, sides that are no multiples": {
        "image_processor_type": "Mask2FormerImageProcessor",
        "size": {"height": 30, "width": 20},
        "resample": 2,
        **IMAGENET,
    },
    "maskformer, old": {
        "feature_extractor_type": "MaskFormerFeatureExtractor",
        "size": 14,
        "max_size": 25,
        "size_divisibility": 32,
        "reduce_labels": True,
        "ignore_index": 255,
        "resample": 2,
        **IMAGENET,
    },
    "rt-detr": {"image_processor_type": "RTDetrImageProcessor", "size": {"height": 14, "width": 16}, "resample": 2},
    "rt-detr, normalised": {
        "image_processor_type": "RTDetrImageProcessor",
        "size": {"height": 12, "width": 12},
        "resample": 2,
        "do_normalize": True,
        "do_pad": False,
        **IMAGENET,
    },
    "sam": {
        "image_processor_type": "SamImageProcessor",
        "size": {"longest_edge": 24},
        "pad_size": {"height": 24, "width": 24},
        "resample": 2,
        **IMAGENET,
    },
    "nothing at all": {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 5, "width": 5},
        "resample": 2,
        "do_resize": False,
        "do_normalize": False,
        "do_rescale": False,
        **HALF,
    },
}  # fmt: skip
PHOTOS = [(20, 33), (31, 18), (16, 16)]


def photo(height, width):
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def theirs(settings, height, width):
    """What transformers makes of a photo, (3, H', W')."""
    with contextlib.suppress(ImportError):  # SAM's processor imports it where it is there
        torchvision_models()
    import transformers

    kind = settings.get("image_processor_type") or settings["feature_extractor_type"]
    processor = getattr(transformers, kind.replace("FeatureExtractor", "ImageProcessor"))
    return processor.from_dict(dict(settings))([photo(height, width)], return_tensors="np")["pixel_values"][0]


def main():
    from safetensors.numpy import save_file

    found = {f"{key}|{h}x{w}": theirs(settings, h, w) for key, settings in ROWS.items() for h, w in PHOTOS}
    save_file({name: np.ascontiguousarray(x, np.float32) for name, x in found.items()}, FILE)
    print(f"{len(found)} photos, {FILE.stat().st_size / 1024:.0f} KB: {FILE}")


if __name__ == "__main__":
    main()
