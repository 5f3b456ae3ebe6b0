"""Small random MaskFormers of transformers with a Swin or a ResNet inside, and what they compute; the first is stored.

Written with torch 2.13.0 and transformers 4.57.6, seeds as given, from the repository's root, with the extras dev and
parity:  python -m tests.parity.make_maskformer_fixtures
"""

from tests.parity.make_mask2former_fixtures import RESNET, STAGES, SWIN
from tests.parity.torch_published import images, main, publish

SMALL = {"fpn_feature_size": 32, "mask_feature_size": 4, "num_labels": 5}  # divided into 32 groups
DECODER = {
    "d_model": 32,
    "num_queries": 3,
    "decoder_layers": 2,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 4,
    "dropout": 0.0,
}


def maskformer(backbone, seed=0, size=(33, 42), described=None, decoder=None, **options):
    """A function that publishes a MaskFormer with a "swin" or "resnet", and what it makes of pictures of one size.

    Auxiliary predictions are not compared: with them transformers computes something else than the authors' code.
    """

    def make(folder):
        import torch
        import transformers

        torch.set_default_dtype(torch.float64)
        kind, small = {
            "swin": (transformers.SwinConfig, SWIN),
            "resnet": (transformers.ResNetConfig, RESNET),
        }[backbone]
        inside = kind(**{**small, "out_features": STAGES, **(described or {})})
        config = transformers.MaskFormerConfig(
            backbone_config=inside,
            decoder_config=transformers.DetrConfig(**{**DECODER, **(decoder or {})}),
            **{**SMALL, **options},
        )
        model = transformers.MaskFormerForInstanceSegmentation(config).double()
        outputs = {"logits": "class_queries_logits", "masks": "masks_queries_logits"}
        publish(folder, model, images(2, 3, *size, seed=seed), outputs=outputs, seed=seed)

    return make


STORED = {
    "maskformer": maskformer("swin", seed=30),
}
LIVE = {
    "maskformer, resnet": maskformer("resnet", seed=31, size=(37, 50), described={"layer_type": "basic"}),
    "maskformer, bottlenecks, one head, four decoder layers, no projection": maskformer(
        "resnet", seed=32, size=(64, 33), described={"hidden_sizes": [8, 12, 16, 32]}, mask_feature_size=32,
        decoder={"decoder_attention_heads": 1, "decoder_layers": 4},
    ),
    "maskformer, swin, eight heads": maskformer(
        "swin", seed=33, size=(61, 35), described={"embed_dim": 8, "num_heads": [1, 2, 4, 8], "window_size": 4},
        fpn_feature_size=64, decoder={"d_model": 64, "decoder_attention_heads": 8},
    ),
}  # fmt: skip

if __name__ == "__main__":
    main(STORED)
