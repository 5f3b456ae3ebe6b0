"""Small random RT-DETRs of transformers, and what they compute; one of them is stored.

Written with torch 2.13.0 and transformers 4.57.6, seeds as given, from the repository's root, with the extras dev and
parity:  python -m tests.parity.make_rt_detr_fixtures
"""

import contextlib

from tests.parity.make_torchvision_fixtures import torchvision_models
from tests.parity.torch_published import images, main, publish

RESNET = {"embedding_size": 4, "hidden_sizes": [4, 6, 8, 12], "depths": [1, 2, 1, 1], "layer_type": "basic"}
SMALL = {
    "encoder_hidden_dim": 8,
    "encoder_in_channels": [6, 8, 12],
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 6,
    "hidden_expansion": 0.5,
    "d_model": 8,
    "num_queries": 5,
    "decoder_in_channels": [8, 8, 8],
    "decoder_ffn_dim": 6,
    "decoder_layers": 2,
    "decoder_attention_heads": 2,
    "decoder_n_points": 2,
    "num_labels": 4,
}


def rt_detr(seed=0, size=(64, 96), described=None, **options):
    """A function that publishes an RT-DETR, and what it makes of pictures of one size."""

    def make(folder):
        import torch

        with contextlib.suppress(ImportError):  # transformers imports it where it is there
            torchvision_models()
        import transformers

        torch.set_default_dtype(torch.float64)
        backbone = transformers.RTDetrResNetConfig(
            **{**RESNET, "out_indices": [2, 3, 4], **(described or {})}
        )
        config = transformers.RTDetrConfig(backbone_config=backbone, **{**SMALL, **options})
        model = transformers.RTDetrForObjectDetection(config).double()
        outputs = {
            "logits": "logits",
            "boxes": "pred_boxes",
            "auxiliary.0.logits": "enc_topk_logits",
            "auxiliary.0.boxes": "enc_topk_bboxes",
        }
        if config.decoder_layers > 1:
            outputs |= {
                "auxiliary.1.logits": "intermediate_logits.:.0",
                "auxiliary.1.boxes": "intermediate_reference_points.:.0",
            }
        publish(folder, model, images(2, 3, *size, seed=seed), outputs=outputs, seed=seed)

    return make


STORED = {
    "rt-detr": rt_detr(seed=50),
}
LIVE = {
    "rt-detr, bottlenecks, wide encoder, no third convolution": rt_detr(
        seed=51,
        size=(96, 64),
        described={"layer_type": "bottleneck", "hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 2, 1]},
        encoder_in_channels=[24, 32, 40],
        encoder_hidden_dim=12,
        decoder_in_channels=[12, 12, 12],
        hidden_expansion=1.0,
        encoder_attention_heads=3,
    ),
    "rt-detr, one layer, many queries": rt_detr(
        seed=52, size=(64, 64), decoder_layers=1, num_queries=60, decoder_n_points=4
    ),
    "rt-detr, no attention, anchors at the border that are not valid": rt_detr(
        seed=53, size=(32, 480), encoder_layers=0, num_queries=200, num_labels=1
    ),
}

if __name__ == "__main__":
    main(STORED)
