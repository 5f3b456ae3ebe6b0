"""Every array of every published checkpoint has its one place in a model of ours, and every place has its array.

Not here: values (tests/parity), files (test_folder.py). The lists are in published_names.json.gz.
"""

import gzip
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from minivis.files import Stored
from minivis.nn import init
from minivis.pretrained import folder as folders
from minivis.pretrained import packing
from minivis.pretrained.family import Part
from tests.pretrained.make_published_names import FILE

LISTS = json.loads(gzip.decompress(Path(FILE).read_bytes()))
SWIN_T = {
    "model_type": "swin",
    "embed_dim": 96,
    "depths": [2, 2, 6, 2],
    "num_heads": [3, 6, 12, 24],
    "window_size": 7,
}
SWIN_B = {
    "model_type": "swin",
    "embed_dim": 128,
    "depths": [2, 2, 18, 2],
    "num_heads": [4, 8, 16, 32],
    "window_size": 7,
}
STAGES = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
DETR = {"model_type": "detr", "architectures": ["DetrForObjectDetection"], "num_labels": 91}
PANOPTIC = {"model_type": "detr", "architectures": ["DetrForSegmentation"], "num_labels": 250}
HUB_RESNET = {
    "use_timm_backbone": False,
    "use_pretrained_backbone": False,
    "backbone": None,
    "backbone_config": {"model_type": "resnet", "out_features": ["stage4"]},
}
MASK2FORMER = {
    "model_type": "mask2former",
    "architectures": ["Mask2FormerForUniversalSegmentation"],
    "backbone_config": {**SWIN_T, **STAGES},
}
DINOV2 = {"model_type": "dinov2", "architectures": ["Dinov2Model"], "image_size": 518, "patch_size": 14}
VIT_L = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
# What config.json says, as far as it matters here. Authors' files have none: it is read off the shapes.
CONFIGS = {
    "hf_vit_base_patch16_224": {"model_type": "vit", "num_labels": 1000},
    "hf_vit_large_patch16_224": {"model_type": "vit", "num_labels": 1000, **VIT_L},
    "hf_clip_vit_base_patch32": {"model_type": "clip"},
    "hf_vit_mae_base": {"model_type": "vit_mae", "architectures": ["ViTMAEForPreTraining"]},
    "hf_dino_vits16": {
        "model_type": "vit",
        "architectures": ["ViTModel"],
        "hidden_size": 384,
        "num_attention_heads": 6,
        "intermediate_size": 1536,
    },
    "hf_dinov2_base": DINOV2,
    "hf_dinov2_small": {**DINOV2, "hidden_size": 384, "num_attention_heads": 6},
    "hf_vit_hybrid_base_bit_384": {"model_type": "vit-hybrid", "image_size": 384, "num_labels": 1000},
    "hf_vivit_b_16x2_kinetics400": {
        "model_type": "vivit",
        "architectures": ["VivitForVideoClassification"],
        "num_labels": 400,
    },
    "hf_deit_base_distilled_patch16_224": {"model_type": "deit", "num_labels": 1000},
    "hf_resnet_50": {"model_type": "resnet", "num_labels": 1000},
    "hf_rtdetr_r18vd": {
        "model_type": "rt_detr",
        "architectures": ["RTDetrForObjectDetection"],
        "backbone_config": {
            "model_type": "rt_detr_resnet",
            "depths": [2, 2, 2, 2],
            "hidden_sizes": [64, 128, 256, 512],
            "layer_type": "basic",
        },
        "encoder_in_channels": [128, 256, 512],
        "hidden_expansion": 0.5,
        "decoder_layers": 3,
        "num_labels": 80,
    },
    "hf_sam_vit_base": {"model_type": "sam"},
    "hf_swin_tiny_patch4_window7_224": {**SWIN_T, "num_labels": 1000},
    "hf_swin_base_patch4_window7_224": {**SWIN_B, "num_labels": 1000},
    "hf_detr_resnet_50_main_timm": DETR,
    "hf_detr_resnet_50_no_timm": {**DETR, **HUB_RESNET},
    "hf_detr_resnet_50_panoptic_main_timm": PANOPTIC,
    "hf_detr_resnet_50_panoptic_no_timm": {**PANOPTIC, **HUB_RESNET},
    "hf_mask2former_swin_tiny_coco_instance": {**MASK2FORMER, "num_labels": 80},
    "hf_mask2former_swin_tiny_coco_panoptic": {**MASK2FORMER, "num_labels": 133},
    "hf_maskformer_swin_tiny_ade": {
        "model_type": "maskformer",
        "architectures": ["MaskFormerForInstanceSegmentation"],
        "backbone_config": {**SWIN_T, **STAGES},
        "num_labels": 150,
    },
}
# What a short config.json says of files whose names do not tell which model it is. The rest is read off the shapes.
SHORT = {
    "fb_dino_vits16": {"architecture": "dino_vits16"},
    "timm_vit_base_patch14_dinov2": {"architecture": "vit_base_patch14_dinov2"},
}
# What is in published files and not loaded, by the last piece of its name: computed again here, or never used.
SWIN_BUFFERS = {"relative_position_index"}
RECOMPUTED = {
    "hf_mask2former_swin_tiny_coco_instance": {*SWIN_BUFFERS, "empty_weight"},
    "hf_mask2former_swin_tiny_coco_panoptic": {*SWIN_BUFFERS, "empty_weight"},
    "fb_mask2former_swin_tiny_coco_panoptic": {*SWIN_BUFFERS, "empty_weight"},
    "hf_maskformer_swin_tiny_ade": {*SWIN_BUFFERS, "empty_weight", "weight", "bias"},
    "hf_rtdetr_r18vd": {"weight"},  # of the noisy queries
    "hf_sam_vit_base": {"positional_embedding"},
    "hf_swin_base_patch4_window7_224": SWIN_BUFFERS,
    "hf_swin_tiny_patch4_window7_224": SWIN_BUFFERS,
    "ms_swin_tiny_patch4_window7_224": {*SWIN_BUFFERS, "attn_mask"},
    "tv_swin_t": SWIN_BUFFERS,
}
# Published parameters that are never used: the norm after the last stage of transformers' Swin, and the classes of RT-DETR's
# noisy queries, which exist in training alone
UNUSED = {"hf_maskformer_swin_tiny_ade": 2 * 768, "hf_rtdetr_r18vd": 81 * 256}
# Lists that do not say how many parameters there are -> the same model in the hub's words
TWINS = {
    "fb_detr_resnet_50": "hf_detr_resnet_50_no_timm",
    "fb_detr_resnet_50_panoptic": "hf_detr_resnet_50_panoptic_no_timm",
    "fb_mask2former_swin_tiny_coco_panoptic": "hf_mask2former_swin_tiny_coco_panoptic",
}


def described(name, shapes):
    """The config of an authors' file, as `from_pretrained` completes it."""
    given = SHORT.get(name, {})
    found = (family.infer(shapes, given) for family in folders.families() if family.infer)
    return {**next(config for config in found if config), **given}


def opened(name):
    """(model, family, stored) of a list, as if its arrays lay in a folder."""
    shapes = {n: tuple(shape) for n, shape in LISTS[name]["shapes"].items()}
    stored = {n: Stored(Path(name), shape, "F32") for n, shape in shapes.items()}
    config = CONFIGS.get(name) or described(name, shapes)
    family = folders._family(Path(name), config)
    with init.skip_init():
        return family.build(config), family, stored


@pytest.mark.parametrize("name", LISTS)
def test_names_and_shapes_map_one_to_one(name):
    model, family, stored = opened(name)
    wanted = folders._dialect(model, family, stored)
    folders._check(Path(name), model, family, wanted, stored)  # nothing missing, nothing surplus, every shape
    left = [n for n in stored if n not in packing.published_names(wanted)]
    assert {n.split(".")[-1] for n in left} == RECOMPUTED.get(name, set())
    used = Counter(part for source in wanted.values() for part in packing.sources(source))
    counts = {source.name: source.count for source in wanted.values() if isinstance(source, Part)}
    assert used == {n: counts.get(n, 1) for n in used}
    blocks = {source for source in wanted.values() if isinstance(source, Part)}
    assert len(blocks) == sum(counts.values())  # each block of a packed array once


@pytest.mark.parametrize("name", LISTS)
def test_the_number_of_parameters_is_the_published_one(name):
    published = re.search(r"(\d+) parameters", LISTS[TWINS.get(name, name)]["about"])[1]
    ours = sum(p.size for p in opened(name)[0].parameters())
    assert ours + UNUSED.get(name, 0) == int(published)


def test_a_wide_resnet_is_a_resnet_with_wider_convolutions_inside(monkeypatch):
    shapes = {name: list(shape) for name, shape in LISTS["tv_resnet50"]["shapes"].items()}
    for name, shape in shapes.items():
        if name.startswith("layer") and (found := re.search(r"\.(conv|bn)([123])\.", name)):
            if shape and found[2] != "3":
                shape[0] *= 2
            if found[1] == "conv" and found[2] != "1":
                shape[1] *= 2
    monkeypatch.setitem(LISTS, "tv_wide_resnet50_2", {"shapes": shapes})
    model, family, stored = opened("tv_wide_resnet50_2")
    wanted = folders._dialect(model, family, stored)
    folders._check(Path("wide"), model, family, wanted, stored)
    assert sum(p.size for p in model.parameters()) == 68_883_240
    assert model.config["widening"] == 2


def test_every_family_has_a_list_and_every_list_a_family():
    kinds = {opened(name)[1].model_types for name in LISTS}
    assert kinds == {family.model_types for family in folders.families()}
