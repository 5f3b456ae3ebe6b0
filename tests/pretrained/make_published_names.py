"""Write published_names.json.gz: the names and shapes of published checkpoints, from lists with a line for each array.

Lists that are not in the folder stay as they are in the file. A list is a text file NAME_keys.txt of lines "name<TAB>[shape]", perhaps followed by "<TAB>buffer", and comments with "#".
Run from the repository's root:  python -m tests.pretrained.make_published_names FOLDER_OF_LISTS
"""

import gzip
import json
import sys
from pathlib import Path

FILE = Path(__file__).parent / "published_names.json.gz"
NAMES = (
    "fb_detr_resnet_50", "fb_detr_resnet_50_panoptic", "fb_dino_vits16", "fb_dinov2_vitb14",
    "fb_mask2former_swin_tiny_coco_panoptic", "fb_sam_vit_b", "hf_clip_vit_base_patch32",
    "hf_deit_base_distilled_patch16_224", "hf_detr_resnet_50_main_timm", "hf_detr_resnet_50_no_timm",
    "hf_detr_resnet_50_panoptic_main_timm", "hf_detr_resnet_50_panoptic_no_timm", "hf_dino_vits16",
    "hf_dinov2_base", "hf_dinov2_small", "hf_mask2former_swin_tiny_coco_instance",
    "hf_mask2former_swin_tiny_coco_panoptic", "hf_maskformer_swin_tiny_ade", "hf_resnet_50", "hf_rtdetr_r18vd",
    "hf_sam_vit_base", "hf_swin_base_patch4_window7_224", "hf_swin_tiny_patch4_window7_224", "hf_vit_base_patch16_224",
    "hf_vit_hybrid_base_bit_384", "hf_vit_large_patch16_224", "hf_vit_mae_base", "hf_vivit_b_16x2_kinetics400",
    "ms_swin_tiny_patch4_window7_224", "openai_clip_rn50", "openai_clip_vit_b_32",
    "timm_deit_base_distilled_patch16_224", "timm_resnet50", "timm_swin_tiny_patch4_window7_224",
    "timm_vit_base_patch14_dinov2", "timm_vit_base_patch16_224", "timm_vit_base_r50_s16_384",
    "timm_vit_large_patch16_224", "tv_alexnet", "tv_fasterrcnn_resnet50_fpn",
    "tv_fasterrcnn_resnet50_fpn_published", "tv_fcn_resnet50", "tv_maskrcnn_resnet50_fpn",
    "tv_maskrcnn_resnet50_fpn_published", "tv_resnet18", "tv_resnet50", "tv_swin_t", "tv_vgg11", "tv_vgg16",
    "tv_vgg16_bn", "tv_vgg19_bn", "tv_vit_b_16",
)  # fmt: skip


def read(path):
    """What a list says of its origin, and {name: shape}."""
    lines = path.read_text(encoding="utf-8").splitlines()
    about = next(line.lstrip("# ") for line in lines if line.startswith("#"))
    rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return {"about": about, "shapes": {name: json.loads(shape) for name, shape, *_ in rows}}


def main(folder):
    kept = json.loads(gzip.decompress(FILE.read_bytes()))
    paths = {name: Path(folder) / f"{name}_keys.txt" for name in NAMES}
    lists = {name: read(path) if path.exists() else kept[name] for name, path in paths.items()}
    text = json.dumps(lists, separators=(",", ":"))
    FILE.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(f"{len(lists)} lists, {FILE.stat().st_size / 1024:.0f} KB: {FILE}")


if __name__ == "__main__":
    main(*sys.argv[1:])
