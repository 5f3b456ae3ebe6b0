"""Published RT-DETRs: where files have their heads, settings that cannot be honoured, photos, predictions.

Not here: what transformers computes (tests/parity), the published list of names (test_published_names.py).
"""

import contextlib
import importlib.util
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

import minivis as mv
from minivis.nn import init
from minivis.pretrained import rt_detr
from minivis.pretrained.prediction import describe, predict, run_model
from minivis.vision import box_cxcywh_to_xyxy, rt_detr_detections
from tests.parity.make_torchvision_fixtures import torchvision_models
from tests.parity.torch_published import FOLDER

HUB = FOLDER / "rt-detr"
has_transformers = all(importlib.util.find_spec(name) for name in ("torch", "transformers"))
CONFIG = json.loads((HUB / "config.json").read_text())


@pytest.mark.parametrize("kept", ["beside the model", "both"])
def test_files_may_have_the_heads_beside_the_model_or_twice(tmp_path, kept):
    arrays = load_file(HUB / "model.safetensors")
    heads = {n: x for n, x in arrays.items() if n.startswith(("model.decoder.class_", "model.decoder.bbox_"))}
    assert len(heads) == 2 * (2 + 6)  # each of two layers has one linear layer and an MLP of three
    beside = {name.removeprefix("model.decoder."): x for name, x in heads.items()}
    others = {name: x for name, x in arrays.items() if name not in heads}
    shutil.copy(HUB / "config.json", tmp_path)
    save_file(others | beside | (heads if kept == "both" else {}), tmp_path / "model.safetensors")
    images = load_file(HUB / "expected.safetensors")["input.images"]
    again, model = mv.from_pretrained(tmp_path), mv.from_pretrained(HUB)
    np.testing.assert_array_equal(again(images).logits.numpy(), model(images).logits.numpy())
    np.testing.assert_array_equal(again(images).boxes.numpy(), model(images).boxes.numpy())


@pytest.mark.parametrize("beside", [False, True])
def test_a_file_without_one_of_its_heads_is_refused_by_name(tmp_path, beside):
    arrays = load_file(HUB / "model.safetensors")
    if beside:
        for name in [n for n in arrays if n.startswith(("model.decoder.class_", "model.decoder.bbox_"))]:
            arrays[name.removeprefix("model.decoder.")] = arrays.pop(name)
    lost = ("" if beside else "model.decoder.") + "class_embed.1.bias"
    del arrays[lost]
    shutil.copy(HUB / "config.json", tmp_path)
    save_file(arrays, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=f"does not hold the RTDETR .*: it lacks {lost}"):
        mv.from_pretrained(tmp_path)


def test_a_config_that_says_little_means_the_published_sizes():
    with init.skip_init():
        model = rt_detr.build({"model_type": "rt_detr", "num_labels": 80})
    assert sum(p.size for p in model.parameters()) == 42_891_372 - 81 * 256
    assert model.backbone.config["variant"] == "d" and model.config["queries"] == 300


def test_photos_are_prepared_as_published():
    model = mv.from_pretrained(HUB, dtype="float32")
    batch = model.preprocess(np.full((3, 30, 40), 0.5, np.float32))
    assert batch.shape == (1, 3, 640, 640) and batch.dtype == np.float32
    np.testing.assert_allclose(batch, 128 / 255, rtol=1e-6)  # not normalised


def test_a_photo_gets_boxes_where_a_sigmoid_is_high(tmp_path, capsys):
    folder = shutil.copytree(HUB, tmp_path / "model")
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_processor_type": "RTDetrImageProcessor", "size": {"height": 64, "width": 64}, "resample": 2})
    )  # fmt: skip
    colours = np.random.default_rng(0).integers(0, 255, (50, 100, 3), dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / "photo.png")
    predict(folder, tmp_path / "photo.png", tmp_path / "out.png", threshold=0.3)
    told = capsys.readouterr().out.splitlines()
    model = mv.from_pretrained(folder, dtype="float32")
    batch = model.preprocess(tmp_path / "photo.png")
    assert batch.shape == (1, 3, 64, 64)
    y = model(batch)
    scores = 1 / (1 + np.exp(-y.logits.numpy()[0]))
    best = sorted(((scores[q, k], q, k) for q in range(5) for k in range(4)), reverse=True)[:5]
    best = [row for row in best if row[0] > 0.3]
    assert best and told[0] == f"{len(best)} object{'s' * (len(best) > 1)} with a score above 0.3"
    for line, (score, q, k) in zip(told[1:], best, strict=False):
        x, y0, w, h = y.boxes.numpy()[0, q] * [100, 50, 100, 50]
        corners = [round(float(v)) for v in (x - w / 2, y0 - h / 2, x + w / 2, y0 + h / 2)]
        assert line.startswith(f"{score:.3f}  LABEL_{k}  from ({corners[0]}, {corners[1]}) to ({corners[2]}")
    with Image.open(tmp_path / "out.png") as drawn:
        assert drawn.size[0] > 100


def test_the_usual_threshold_is_half():
    model = mv.from_pretrained(HUB, dtype="float32")
    photo = np.zeros((3, 20, 20), np.float32)
    found = run_model(HUB, model, np.zeros((1, 3, 64, 64), np.float32))
    assert describe(model, found, photo, size=(64, 64))[0][0].endswith("with a score above 0.5")


@pytest.mark.skipif(not has_transformers, reason="needs the parity extra")
@pytest.mark.parametrize("threshold", [0.2, 0.5])
def test_detections_are_those_of_transformers(threshold):
    with contextlib.suppress(ImportError):  # transformers imports it where it is there
        torchvision_models()
    import torch
    from transformers import RTDetrImageProcessor

    rng = np.random.default_rng(4)
    logits = 2 * rng.standard_normal((2, 7, 3))
    boxes = rng.uniform(0.2, 0.6, (2, 7, 4))
    output = SimpleNamespace(logits=torch.tensor(logits), pred_boxes=torch.tensor(boxes))
    sizes = [(40, 60), (33, 21)]
    theirs = RTDetrImageProcessor().post_process_object_detection(output, threshold, sizes)
    for i, (height, width) in enumerate(sizes):
        corners = box_cxcywh_to_xyxy(boxes[i]) * [width, height, width, height]
        ours = rt_detr_detections(logits[i], corners, threshold)
        for name in ("scores", "labels", "boxes"):
            np.testing.assert_allclose(ours[name], theirs[i][name].numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"normalize_before": True}, "rt_detr: normalize_before must be False, found True"),
        ({"learn_initial_query": True}, "rt_detr: learn_initial_query must be False"),
        ({"eval_size": [640, 640]}, "rt_detr: eval_size must be None"),
        ({"decoder_activation_function": "gelu"}, "rt_detr: decoder_activation_function must be 'relu'"),
        ({"attention_dropout": 0.1}, "rt_detr: attention_dropout must be 0.0, found 0.1"),
        ({"num_feature_levels": 4}, "rt_detr: encoder_in_channels must be "),
        ({"encoder_in_channels": [6, 8, 16]}, r"rt_detr: encoder_in_channels must be \[6, 8, 12\]"),
        ({"encode_proj_layers": [1, 2]}, r"rt_detr: encode_proj_layers must be \[2\]"),
        ({"use_timm_backbone": True}, "rt_detr: use_timm_backbone must be False"),
        ({"backbone_config": {"model_type": "hgnet_v2"}}, "backbone_config: model_type must be 'rt_detr_resnet'"),
        (
            {"backbone_config": {**CONFIG["backbone_config"], "hidden_sizes": [6, 6, 8, 12]}},
            r"rt_detr: basic blocks need a first stage as wide as the stem .* found \[4, 6, 6, 8, 12\]",
        ),
        (
            {"backbone_config": {**CONFIG["backbone_config"], "layer_type": "bottleneck"}},
            r"rt_detr: bottlenecks need a first stage wider than the stem, found \[4, 4, 6, 8, 12\]",
        ),
    ],
)  # fmt: skip
def test_settings_that_minivis_does_not_have_are_refused(changed, message):
    with init.skip_init(), pytest.raises(ValueError, match=message):
        rt_detr.build({**CONFIG, **changed})
