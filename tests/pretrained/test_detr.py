"""ResNet and DETR in every dialect: the same weights by other names are the same model. And what a config may not say.

Not here: full-size lists of names (test_published_names.py), parity with transformers (tests/parity).
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import minivis as mv
from minivis import nn
from minivis.pretrained import detr, resnet

PUBLISHED = Path(__file__).parents[1] / "parity" / "published"
HEADS = {"detr": 2, "detr-panoptic": 8}


def resnet_as_torchvision(name):
    """A name of transformers' ResNet in torchvision's words: written by hand, apart from the tables it judges."""
    name = re.sub(r"^resnet\.", "", name)
    name = name.replace("embedder.embedder.convolution", "conv1").replace(
        "embedder.embedder.normalization", "bn1"
    )
    name = name.replace("shortcut.convolution", "downsample.0").replace(
        "shortcut.normalization", "downsample.1"
    )
    name = re.sub(r"layer\.(\d)\.convolution", lambda m: f"conv{int(m[1]) + 1}", name)
    name = re.sub(r"layer\.(\d)\.normalization", lambda m: f"bn{int(m[1]) + 1}", name)
    name = re.sub(r"encoder\.stages\.(\d)\.layers\.", lambda m: f"layer{int(m[1]) + 1}.", name)
    return name.replace("classifier.1", "fc")


def detr_with_timm(name):
    return re.sub(r"(conv_encoder\.model\.)(.+)", lambda m: m[1] + resnet_as_torchvision(m[2]), name)


WORDS = [
    (r"model\.backbone\.conv_encoder\.model\.", "backbone.0.body."),
    (r"model\.input_projection", "input_proj"),
    (r"model\.query_position_embeddings", "query_embed"),
    (r"model\.decoder\.layernorm", "transformer.decoder.norm"),
    (r"model\.(encoder|decoder)\.layers", r"transformer.\1.layers"),
    (r"encoder_attn_layer_norm", "norm2"),
    (r"self_attn_layer_norm", "norm1"),
    (r"(encoder\.layers\.\d+)\.final_layer_norm", r"\1.norm2"),
    (r"(decoder\.layers\.\d+)\.final_layer_norm", r"\1.norm3"),
    (r"encoder_attn", "multihead_attn"),
    (r"\.fc(\d)\.", r".linear\1."),
    (r"class_labels_classifier", "class_embed"),
    (r"bbox_predictor", "bbox_embed"),
]


def detr_of_the_authors(arrays):
    """The arrays of transformers' DETR as the authors store them: query, key and value packed into one."""
    found = {}
    for name, x in arrays.items():
        name = detr_with_timm(name)
        for hub, theirs in WORDS:
            name = re.sub(hub, theirs, name)
        found[name] = x
    for name in [n for n in found if ".q_proj." in n]:
        packed = name.replace("q_proj.", "in_proj_")
        found[packed] = np.concatenate([found.pop(name.replace("q_proj", f"{role}_proj")) for role in "qkv"])
    return found


def outcome(folder, name):
    expected = load_file(PUBLISHED / name / "expected.safetensors")
    inputs = [expected[f"input.{key}"] for key in ("images", "mask") if f"input.{key}" in expected]
    y = mv.from_pretrained(folder)(*inputs)
    return (
        [y.numpy()]
        if isinstance(y, mv.Tensor)
        else [x.numpy() for x in (y.logits, y.boxes, y.masks) if x is not None]
    )


def write(folder, arrays, config=None):
    folder.mkdir(exist_ok=True)
    save_file({name: np.asarray(x, order="C") for name, x in arrays.items()}, folder / "model.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def same(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def published(name):
    return load_file(PUBLISHED / name / "model.safetensors"), json.loads(
        (PUBLISHED / name / "config.json").read_text()
    )


def test_a_resnet_of_torchvision_needs_no_config(tmp_path):
    arrays, _ = published("resnet")
    write(tmp_path, {resnet_as_torchvision(name): x for name, x in arrays.items()})
    same(outcome(tmp_path, "resnet"), outcome(PUBLISHED / "resnet", "resnet"))


def test_a_resnet_counts_its_batches_as_published():
    arrays, _ = published("resnet")
    model = mv.from_pretrained(PUBLISHED / "resnet")
    assert (
        model.stem.norm.num_batches_tracked
        == arrays["resnet.embedder.embedder.normalization.num_batches_tracked"]
    )
    assert model.stem.norm.num_batches_tracked.dtype == np.int64


@pytest.mark.parametrize("name", HEADS)
def test_a_detr_with_timms_backbone_is_the_same_model(tmp_path, name):
    arrays, config = published(name)
    renamed = {detr_with_timm(n): x for n, x in arrays.items()}
    assert renamed.keys() != arrays.keys()
    write(tmp_path, renamed, {**config, "use_timm_backbone": True})
    same(outcome(tmp_path, name), outcome(PUBLISHED / name, name))


@pytest.mark.parametrize("name", HEADS)
def test_a_detr_of_the_authors_is_the_same_model(tmp_path, name):
    arrays, _ = published(name)
    config = {f"{part}_attention_heads": HEADS[name] for part in ("encoder", "decoder")}  # shapes do not tell
    write(tmp_path, detr_of_the_authors(arrays), config if name == "detr" else None)
    same(outcome(tmp_path, name), outcome(PUBLISHED / name, name))


def test_the_heads_of_a_detr_of_ones_own_are_asked_for(tmp_path):
    arrays, _ = published("detr")
    write(tmp_path, detr_of_the_authors(arrays))
    with pytest.raises(
        ValueError, match="number of heads does not follow from 1 and 2 layers of width 16 and 12"
    ):
        mv.from_pretrained(tmp_path)


def test_whether_a_detr_is_dilated_is_asked_for(tmp_path, caplog):
    arrays, _ = published("detr-panoptic")
    write(tmp_path, detr_of_the_authors(arrays))
    mv.from_pretrained(tmp_path)
    assert "dilated (DC5) does not show in its weights" in caplog.text
    caplog.clear()
    for dilated in (False, None):
        write(tmp_path, detr_of_the_authors(arrays), {"dilation": dilated})
        mv.from_pretrained(tmp_path)
        assert ("DC5" in caplog.text) == (dilated is None)


@pytest.mark.parametrize("inside", ["", "_backbone."])
def test_a_detr_that_transformers_5_saved_is_the_same_model(tmp_path, inside):
    arrays, config = published("detr")
    tiny = {"layer_type": "basic", "depths": [1, 1, 1, 1], "hidden_sizes": [4, 8, 8, 12], "embedding_size": 4}
    timm = {"model_type": "timm_backbone", "backbone": "tiny", "num_channels": 3, "features_only": True, "out_indices": [1, 2, 3, 4],
            "use_pretrained_backbone": True, "freeze_batch_norm_2d": True, "output_stride": None}  # fmt: skip
    config = {key: value for key, value in config.items() if "backbone" not in key} | {
        "backbone_config": timm
    }
    renamed = {
        re.sub(r"conv_encoder\.model\.", rf"conv_encoder.model.{inside}", detr_with_timm(n)): x
        for n, x in arrays.items()
    }
    write(tmp_path, renamed, config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(detr.BACKBONES, "tiny", tiny)
        same(outcome(tmp_path, "detr"), outcome(PUBLISHED / "detr", "detr"))


def test_batch_counts_beside_frozen_norms_are_left_alone(tmp_path):
    arrays, config = published("detr")
    norm = "model.backbone.conv_encoder.model.embedder.embedder.normalization."
    write(tmp_path, {**arrays, f"{norm}num_batches_tracked": np.array(7)}, config)
    same(outcome(tmp_path, "detr"), outcome(PUBLISHED / "detr", "detr"))
    write(tmp_path, {**arrays, f"{norm}momentum": np.zeros(1)}, config)
    with pytest.raises(ValueError, match=f"it also has {norm}momentum"):
        mv.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "config, depths, dilated",
    [
        ({}, (3, 4, 6, 3), False),
        ({"backbone": "resnet101"}, (3, 4, 23, 3), False),
        ({"backbone": "resnet50.a1_in1k", "dilation": True}, (3, 4, 6, 3), True),
        (
            {"backbone_kwargs": {"output_stride": 16, "in_chans": 3, "out_indices": [1, 2, 3, 4]}},
            (3, 4, 6, 3),
            True,
        ),
        ({"backbone": "resnet34", "dilation": None}, (3, 4, 6, 3), False),
        (
            {
                "backbone_config": {
                    "model_type": "timm_backbone",
                    "backbone": "resnet101",
                    "output_stride": 16,
                }
            },
            (3, 4, 23, 3),
            True,
        ),
        (
            {"use_timm_backbone": False, "backbone": None, "backbone_config": {"depths": [1, 1]}},
            (1, 1),
            False,
        ),
        ({"use_timm_backbone": False, "backbone": None}, (3, 4, 6, 3), False),
    ],
)
def test_a_backbone_is_described_or_named(config, depths, dilated):
    if "'depths'" in str(config):
        config = {**config, "backbone_config": {**config["backbone_config"], "hidden_sizes": [8, 16]}}
    with nn.init.skip_init():
        made = detr.build({"num_labels": 2, **config}).backbone.config
    assert (made["depths"], made["dilated"], made["norm"]) == (depths, dilated, "frozen")
    assert made["kind"] == ("basic" if config.get("backbone") == "resnet34" else "bottleneck")


@pytest.mark.parametrize(
    "build, config, message",
    [
        (resnet.build, {"hidden_act": "gelu"}, "resnet: hidden_act must be 'relu', found 'gelu'"),
        (resnet.build, {"downsample_in_bottleneck": True}, "resnet: downsample_in_bottleneck must be False"),
        (detr.build, {"activation_function": "gelu"}, "detr: activation_function must be 'relu'"),
        (detr.build, {"position_embedding_type": "learned"}, "detr: position_embedding_type must be 'sine'"),
        (
            detr.build,
            {"encoder_ffn_dim": 8},
            "encoder_ffn_dim and decoder_ffn_dim must be equal, found 8 and 2048",
        ),
        (detr.build, {"backbone": "vgg16"}, "detr: backbone must be one of resnet18, .*, found 'vgg16'"),
        (
            detr.build,
            {"backbone_kwargs": {"stem_type": "deep"}},
            "backbone_kwargs: minivis does not know stem_type",
        ),
        (detr.build, {"backbone_kwargs": {"output_stride": 8}}, "output_stride must be 16 or 32, found 8"),
        (
            detr.build,
            {"backbone_config": {"model_type": "timm_backbone", "backbone": "convnext_tiny"}},
            "backbone must be one of resnet18, .*, found 'convnext_tiny'",
        ),
        (
            detr.build,
            {"encoder_layers": "six"},
            "detr needs a whole number named 'encoder_layers', got 'six'",
        ),
        (detr.build, {"dropout": 1}, "detr: dropout must be between 0 and 1, got 1"),
        (detr.build, {"backbone": "resnet18", "dilation": True}, "dilated backbone of basic blocks"),
        (detr.build, {"backbone_config": {"model_type": "swin"}}, "must be of a resnet, found 'swin'"),
    ],
)
def test_a_config_that_cannot_be_honoured_is_refused(build, config, message):
    with nn.init.skip_init(), pytest.raises(ValueError, match=message):
        build({"num_labels": 2, **config})
