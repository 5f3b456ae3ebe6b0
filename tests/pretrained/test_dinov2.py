"""Folders of DINO and DINOv2: which file is of whom, what is read off the shapes, and what is refused.

Not here: what the models compute (tests/parity), every name of the published files (test_published_names.py).
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import minivis as mv
from minivis.nn import init
from minivis.pretrained import dino, dinov2, vit
from tests.parity import make_photo_fixtures as of_photos

PUBLISHED = Path(__file__).parent.parent / "parity" / "published"


def backbone(width, patch=16, depth=12, channels=3, side=14):
    """The shapes of a ViT without a head in the names of its authors, as far as they matter."""
    return {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + side * side, width),
        "patch_embed.proj.weight": (width, channels, patch, patch),
        "blocks.0.mlp.fc1.weight": (4 * width, width),
        "blocks.0.mlp.fc2.weight": (width, 4 * width),
        **{f"blocks.{i}.attn.qkv.weight": (3 * width, width) for i in range(depth)},
    }


def scaled(width, depth=12, **more):
    """The shapes of a DINOv2 in the names of its authors, as far as they matter."""
    shapes = backbone(width, 14, depth, side=37) | {f"blocks.{i}.ls1.gamma": (width,) for i in range(depth)}
    return shapes | {"mask_token": (1, width)} | more


@pytest.mark.parametrize(
    ("name", "width", "patch", "heads"),
    [
        ("dino_vits16", 384, 16, 6),
        ("dino_vits8", 384, 8, 6),
        ("dino_vitb16", 768, 16, 12),
        ("dino_vitb8", 768, 8, 12),
    ],
)
def test_the_name_of_a_dino_says_its_heads_and_how_positions_are_resized(name, width, patch, heads):
    shapes = backbone(width, patch, side=224 // patch)
    config = dino.infer(shapes, {"architecture": name})
    assert config["num_attention_heads"] == heads and config["image_size"] == [224, 224]
    with init.skip_init():
        model = dino.build(config)
    assert model.interpolate_offset == 0.1 and not model.antialias and model.head is None
    assert model.config["eps"] == 1e-6


def test_a_file_that_may_be_of_dino_or_of_timm_is_refused():
    shapes = backbone(768)
    assert dino.infer(shapes) is None
    with pytest.raises(
        ValueError,
        match=re.escape('write a config.json that says which it is, {"architecture": "dino_vits16"}'),
    ):
        vit.infer(shapes)
    config = vit.infer(shapes, {"architecture": "vit_base_patch16_224"})
    assert config["interpolate_antialias"] and "interpolate_offset" not in config
    with_head = shapes | {"head.weight": (1000, 768)}
    assert vit.infer(with_head)["num_labels"] == 1000  # DINO's files have no head


def test_a_dino_of_another_size_than_its_name_says_is_refused():
    with pytest.raises(
        ValueError,
        match="dino: dino_vits16 has width 384 and patches of 16 x 16, the file's .* 768 and .* 8 x 8",
    ):
        dino.infer(backbone(768, 8), {"architecture": "dino_vits16"})


@pytest.mark.parametrize(("width", "depth", "heads"), [(384, 12, 6), (768, 12, 12), (1024, 24, 16)])
def test_the_authors_dinov2_need_no_config(width, depth, heads):
    config = dinov2.infer(scaled(width, depth))
    assert config["num_attention_heads"] == heads and config["image_size"] == [518, 518]
    assert (config["interpolate_offset"], config["interpolate_antialias"]) == (0.1, False)
    registers = dinov2.infer(scaled(width, depth, register_tokens=(1, 4, width)))
    assert registers["model_type"] == "dinov2_with_registers" and registers["num_register_tokens"] == 4
    assert (registers["interpolate_offset"], registers["interpolate_antialias"]) == (0.0, True)


def test_the_giant_is_gated():
    shapes = scaled(1536, 40)
    del shapes["blocks.0.mlp.fc1.weight"]
    config = dinov2.infer(shapes | {"blocks.0.mlp.w12.weight": (8192, 1536)})
    assert config["use_swiglu_ffn"] and config["num_attention_heads"] == 24
    del shapes["mask_token"]
    shapes |= {"blocks.0.mlp.fc1.weight": (8192, 1536), "blocks.0.mlp.fc2.weight": (1536, 4096)}
    of_timm = dinov2.infer(shapes, {"architecture": "vit_giant_patch14_dinov2.lvd142m"})
    assert of_timm["use_swiglu_ffn"] and of_timm["interpolate_antialias"] and not of_timm["use_mask_token"]


@pytest.mark.parametrize(
    ("shapes", "given", "message"),
    [
        (scaled(640), None, "the number of heads does not follow from 12 blocks of width 640"),
        (scaled(384) | {"pos_embed": (1, 8, 384)}, None, "size does not follow from 7 patches"),
        ({n: s for n, s in scaled(384).items() if n != "mask_token"}, None, "several models of timm"),
        (scaled(384), {"architecture": "deit3_small_patch16_224"}, "a model of timm that minivis does not have"),
        (scaled(384), {"architecture": "vit_small_patch14_reg4_dinov2"}, "that minivis does not have"),
    ],
)  # fmt: skip
def test_what_does_not_follow_from_the_shapes_is_asked_for(shapes, given, message):
    with pytest.raises(ValueError, match=f"^dinov2: .*{message}"):
        dinov2.infer(shapes, given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"qkv_bias": False}, "dinov2: qkv_bias must be True, found False"),
        ({"num_register_tokens": 2}, "of another shape than expected are .*register_tokens"),
        ({"use_swiglu_ffn": True}, "it lacks .*weights_in"),
        ({"num_attention_heads": 3}, "no model can be made of it"),
        ({"image_size": "large"}, "needs a whole number named 'image_size'"),
        ({"interpolate_offset": 2}, "interpolate_offset must be between 0 and 1"),
    ],
)
def test_a_config_that_does_not_fit_is_refused_by_its_setting(tmp_path, changes, message):
    source = PUBLISHED / "dinov2"
    (tmp_path / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes())
    config = json.loads((source / "config.json").read_text()) | changes
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=f"from_pretrained: {re.escape(str(tmp_path))}.*{message}"):
        mv.from_pretrained(tmp_path)


def test_a_missing_layer_scale_is_named(tmp_path):
    weights = load_file(PUBLISHED / "dinov2-backbone" / "model.safetensors")
    del weights["encoder.layer.1.layer_scale2.lambda1"]
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((PUBLISHED / "dinov2-backbone" / "config.json").read_bytes())
    with pytest.raises(ValueError, match=r"it lacks encoder\.layer\.1\.layer_scale2\.lambda1"):
        mv.from_pretrained(tmp_path)


def test_a_config_may_choose_the_rule_of_resizing():
    config = json.loads((PUBLISHED / "dinov2-backbone" / "config.json").read_text())
    model = dinov2.build({**config, "interpolate_offset": 0.1, "interpolate_antialias": True})
    assert (model.interpolate_offset, model.antialias) == (0.1, True)
    assert (dinov2.build(config).interpolate_offset, dinov2.build(config).antialias) == (0.0, False)


@pytest.mark.skipif(
    mv.pretrained.fetched(of_photos.MODEL) is None, reason="needs `minivis fetch dinov2-small`, 88 MB"
)
def test_the_published_weights_see_in_two_photographs_what_transformers_sees():
    pytest.importorskip("sklearn")
    model = mv.from_pretrained(mv.pretrained.fetched(of_photos.MODEL))
    with np.load(of_photos.FILE) as expected, mv.no_grad():
        for name, photo in of_photos.photographs().items():
            tokens = model.features(model.preprocess(photo)).numpy()
            assert tokens.shape == (1, 1 + 16 * 16, 384)
            np.testing.assert_allclose(tokens[0, of_photos.TOKENS], expected[name], rtol=0, atol=1e-4)
