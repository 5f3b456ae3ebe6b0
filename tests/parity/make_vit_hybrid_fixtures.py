"""Small random ViT hybrids of transformers, and what they compute; the first is stored.

Written with torch 2.13.0 and transformers 4.57.6, seeds as given, from the repository's root, with the extras dev and
parity:  python -m tests.parity.make_vit_hybrid_fixtures
"""

from tests.parity.make_vit_fixtures import SMALL
from tests.parity.torch_published import images, main, publish

BIT = {
    "model_type": "bit",
    "global_padding": "same",
    "layer_type": "bottleneck",
    "embedding_dynamic_padding": True,
    "embedding_size": 8,
    "hidden_sizes": [32, 64],
    "depths": [1, 1],
    "num_groups": 2,
    "out_features": ["stage2"],
}


def hybrid(seed=0, size=(19, 16), kind="ViTHybridForImageClassification", bit=None, **options):
    """A function that publishes a ViT hybrid."""

    def make(folder):
        import torch
        from transformers.models.deprecated import vit_hybrid

        torch.set_default_dtype(torch.float64)
        backbone = {**BIT, **(bit or {})}
        stride = 4 * 2 ** (len(backbone["depths"]) - 1)
        width = backbone["hidden_sizes"][len(backbone["depths"]) - 1]
        given = {**SMALL, "patch_size": 1, "image_size": list(size), **options}
        given["backbone_featmap_shape"] = [1, width, *(-(-side // stride) for side in size)]
        # its way to start weights fails without a mask token; all are drawn anew anyway
        vit_hybrid.ViTHybridPreTrainedModel._init_weights = lambda self, module: None
        config = vit_hybrid.ViTHybridConfig(backbone_config=backbone, **given)
        model = getattr(vit_hybrid, kind)(config)
        outputs = ["logits"] if "Classification" in kind else {"tokens": "last_hidden_state"}
        publish(folder, model, images(2, config.num_channels, *size, seed=seed), outputs=outputs, seed=seed)

    return make


STORED = {"vit-hybrid": hybrid(seed=0)}
LIVE = {
    "vit-hybrid, two blocks in a stage": hybrid(seed=4, bit={"depths": [2, 1]}),
    "vit-hybrid, three stages, eps of timm": hybrid(
        seed=1, size=(33, 40), layer_norm_eps=1e-6,
        bit={"depths": [1, 2, 1], "hidden_sizes": [32, 32, 64], "out_features": ["stage3"]},
    ),
    "vit-hybrid, patches of 2 x 2 cells": hybrid(seed=2, size=(25, 31), patch_size=2, num_attention_heads=4),
    "vit-hybrid without a head": hybrid(seed=3, size=(16, 16), kind="ViTHybridModel"),
}  # fmt: skip

if __name__ == "__main__":
    main(STORED)
