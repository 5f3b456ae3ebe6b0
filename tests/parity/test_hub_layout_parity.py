"""transformers loads what `minivis.export` wrote, without a weight missing or left over, and computes the same.

Not here: the models (exported_rows.py), what needs no torch (tests/pretrained/test_hub_layout.py).
"""

import importlib.util
import warnings

import numpy as np
import pytest

import minivis as mv
from minivis.autograd import no_grad
from minivis.pretrained import Preprocess, resnet, vivit
from minivis.pretrained.preprocess import preprocess_of
from tests.parity.exported_rows import ROWS, randomised
from tests.parity.make_torchvision_fixtures import torchvision_models

has_torch = all(importlib.util.find_spec(name) for name in ("torch", "transformers"))
RESNET = resnet.FAMILY.preprocessor
VIVIT = vivit.FAMILY.preprocessor
pytestmark = pytest.mark.skipif(not has_torch, reason="needs the parity extra")


def exported(model, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # these models know nothing of photos
        return mv.export(model, folder)


def loaded(row, folder, dtype):
    """The model of transformers, after a look at what it found in the folder."""
    import torch
    import transformers

    torchvision_models()  # transformers imports it where it is there
    torch.set_default_dtype(getattr(torch, dtype))  # some tables are made in it
    kind = getattr(transformers, row.auto)
    model, said = kind.from_pretrained(
        folder, output_loading_info=True, dtype=getattr(torch, dtype), **row.options
    )
    assert not {key: names for key, names in said.items() if names}
    return model.eval()


def answers(row, model, theirs, dtype):
    """{name: (ours, theirs)} of every output."""
    import torch

    rng = np.random.default_rng(1)
    images = rng.standard_normal(row.shape).astype(dtype)
    ours = {}
    options = {}
    if row.auto == "AutoModelForMaskGeneration":
        points = rng.uniform(0, 64, (1, 2, 3, 2))
        labels = rng.integers(0, 2, (1, 2, 3))
        ours = {"points": points.astype(dtype), "point_labels": labels}
        options = {
            "input_points": torch.from_numpy(points.astype(dtype)),
            "input_labels": torch.from_numpy(labels),
        }
    elif "image_embeddings" in row.outputs:
        tokens = np.array([[3, 5, 1, 0, 0, 0, 0], [4, 6, 7, 8, 1, 0, 0]])
        ours = {"tokens": tokens}
        options = {"input_ids": torch.from_numpy(tokens)}
    elif "prediction" in row.outputs:
        noise = rng.random((2, 16))
        ours = {"noise": noise}
        options = {"noise": torch.from_numpy(noise)}
    with no_grad():
        answer = model.features if list(row.outputs) == ["tokens"] else model
        found = answer(images, **ours)
    with torch.no_grad():
        other = (
            theirs(torch.from_numpy(images), **options)
            if "input_ids" not in options
            else theirs(pixel_values=torch.from_numpy(images), **options)
        )
    single = isinstance(found, mv.Tensor)
    return {
        name: (found if single else getattr(found, name), getattr(other, their).numpy())
        for name, their in row.outputs.items()
    }


@pytest.mark.parametrize("name", ROWS)
def test_transformers_computes_the_same_with_an_exported_model(name, tmp_path):
    row = ROWS[name]
    model = randomised(row.make(np.random.default_rng(0)), np.random.default_rng(2))
    exported(model, tmp_path)
    for dtype, tolerance in (("float64", 1e-6), ("float32", 1e-4)):
        pairs = answers(row, model.to(dtype), loaded(row, tmp_path, dtype), dtype)
        for output, (ours, theirs) in pairs.items():
            ours = ours.numpy().reshape(theirs.shape)
            assert np.abs(ours - theirs).max() <= tolerance * max(1e-30, np.abs(theirs).max()), (
                output,
                dtype,
            )


PREPARED = {
    "a square": ("vit", Preprocess(size=(40, 40), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))),
    "a crop": ("vit", Preprocess(shortest=50, crop=(40, 36), resample=3)),
    "no size": ("vit", Preprocess(mean=(0.5, 0.4, 0.3))),
    "a crop of more": ("resnet", preprocess_of({**RESNET, "size": {"shortest_edge": 56}})),
    "sides": ("detr", Preprocess(shortest=50, longest=60, std=(0.2, 0.3, 0.4))),
    "a rectangle": ("rt-detr", Preprocess(size=(64, 96))),
    "a multiple": ("maskformer, swin", Preprocess(shortest=50, longest=90, divisor=32, mean=(0.5, 0.4, 0.3))),
    "a border": ("sam", Preprocess(longest=64, pad_to=(64, 64), always_pad=True, mean=(0.5, 0.4, 0.3))),
    "frames of a film": (
        "vivit",
        preprocess_of({**VIVIT, "size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}),
    ),
    "clip": ("clip", Preprocess(shortest=40, crop=(32, 32), resample=3)),
}


@pytest.mark.parametrize("name", PREPARED)
def test_transformers_prepares_a_photo_as_the_exported_model_did(name, tmp_path):
    import transformers

    torchvision_models()
    kind, prepare = PREPARED[name]
    model = ROWS[kind].make(np.random.default_rng(0))
    model.preprocess = prepare
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        mv.export(model, tmp_path)
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path, use_fast=False)
    image = np.random.default_rng(3).integers(0, 256, (90, 121, 3), np.uint8)
    film = kind == "vivit"
    theirs = processor([[image]] if film else image, return_tensors="np")["pixel_values"]
    theirs = theirs[:, 0] if film else theirs
    ours = prepare(image)
    assert theirs.shape == ours.shape and np.abs(theirs - ours).max() <= 1e-5
