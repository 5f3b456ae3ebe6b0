"""Small random Mask2Formers of transformers with a Swin or a ResNet inside, and what they compute; the first is stored.

Written with torch 2.13.0 and transformers 4.57.6, seeds as given, from the repository's root, with the extras dev and
parity:  python -m tests.parity.make_mask2former_fixtures
"""

from tests.parity.torch_published import images, main, publish

STAGES = ["stage1", "stage2", "stage3", "stage4"]
SWIN = {"embed_dim": 2, "depths": [2, 1, 1, 1], "num_heads": [1, 2, 1, 2], "window_size": 3, "mlp_ratio": 1.0}
RESNET = {"embedding_size": 4, "hidden_sizes": [8, 12, 16, 20], "depths": [1, 2, 1, 1]}
SMALL = {
    "feature_size": 32,  # the least: it is divided into 32 groups
    "hidden_dim": 32,
    "mask_feature_size": 4,
    "num_queries": 3,
    "num_labels": 5,
    "num_attention_heads": 2,
    "encoder_layers": 1,
    "decoder_layers": 3,  # of which one is the prediction before the first
    "dim_feedforward": 4,
    "encoder_feedforward_dim": 4,
    "dropout": 0.0,
}


def mask2former(backbone, seed=0, size=(33, 42), described=None, **options):
    """A function that publishes a Mask2Former with a "swin" or "resnet", and what it makes of pictures of one size."""

    def make(folder):
        import torch
        import transformers

        torch.set_default_dtype(torch.float64)
        kind, small = {
            "swin": (transformers.SwinConfig, SWIN),
            "resnet": (transformers.ResNetConfig, RESNET),
        }[backbone]
        inside = kind(**{**small, "out_features": STAGES, **(described or {})})
        config = transformers.Mask2FormerConfig(backbone_config=inside, **{**SMALL, **options})
        config.output_auxiliary_logits = True
        # one bias starts in float32
        model = transformers.Mask2FormerForUniversalSegmentation(config).double()
        outputs = {
            "logits": "class_queries_logits",
            "masks": "masks_queries_logits",
            "auxiliary.0.logits": "auxiliary_logits.0.class_queries_logits",
            "auxiliary.1.masks": "auxiliary_logits.1.masks_queries_logits",
        }
        publish(folder, model, images(2, 3, *size, seed=seed), outputs=outputs, seed=seed)

    return make


STORED = {
    "mask2former": mask2former("swin", seed=20),
}
LIVE = {
    "mask2former, resnet": mask2former("resnet", seed=21, size=(37, 50), described={"layer_type": "basic"}),
    "mask2former, bottlenecks, one head, four decoder layers": mask2former(
        "resnet", seed=22, size=(64, 33), num_attention_heads=1, decoder_layers=5, mask_feature_size=32
    ),
    "mask2former, swin, eight heads, two pixel layers": mask2former(
        "swin",
        seed=23,
        size=(61, 35),
        described={
            "embed_dim": 8,
            "num_heads": [1, 2, 4, 8],
            "window_size": 4,
        },  # of 2 channels norms are ill-conditioned
        num_attention_heads=8,
        encoder_layers=2,
        feature_size=64,
        hidden_dim=64,
    ),
}

if __name__ == "__main__":
    main(STORED)
