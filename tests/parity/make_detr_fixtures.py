"""Small random DETRs of transformers, and what they compute; detector and segmenter are stored.

Written with torch 2.13.0 and transformers 4.57.6, seeds as given, from the repository's root, with the extras dev and
parity:  python -m tests.parity.make_detr_fixtures

transformers' own auxiliary outputs are not those of the authors: asked for, they change the main output too. Here they are
made as the authors do, from the states of the decoder between its layers.
"""

import types

from tests.parity.torch_published import images, main, publish

BACKBONE = {"embedding_size": 4, "hidden_sizes": [4, 8, 8, 12], "depths": [1, 1, 1, 1]}
SMALL = {
    "d_model": 16,
    "num_queries": 5,
    "num_labels": 3,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_ffn_dim": 12,
    "decoder_ffn_dim": 12,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
}


def detr(seed=0, size=(33, 65), inside=((33, 65), (26, 40)), backbone=(), panoptic=False, **options):
    """A function that publishes a DETR and what it makes of padded pictures; ``inside`` is None or their sizes."""

    def make(folder):
        import torch
        import transformers

        torch.set_default_dtype(torch.float64)
        channels = options.get("num_channels", 3)
        stages = [f"stage{i}" for i in (1, 2, 3, 4)]
        body = transformers.ResNetConfig(
            **{**BACKBONE, "out_features": stages, "num_channels": channels, **dict(backbone)}
        )
        config = transformers.DetrConfig(
            use_timm_backbone=False,
            use_pretrained_backbone=False,
            backbone=None,
            backbone_config=body,
            **{**SMALL, **options},
        )
        kind = transformers.DetrForSegmentation if panoptic else transformers.DetrForObjectDetection
        model = kind(config)
        model.forward = as_the_authors(model, model.detr if panoptic else model, model.forward)
        batch = images(len(inside or "12"), channels, *size, seed=seed)
        mask = None
        if inside is not None:
            mask = torch.zeros(len(inside), *size, dtype=torch.bool)
            for i, (height, width) in enumerate(inside):
                mask[i, :height, :width] = True
            batch = batch * mask[:, None]
        outputs = ["logits", "boxes"] + ["masks"] * panoptic
        for i in range(config.decoder_layers - 1):
            outputs += [f"auxiliary.{i}.logits", f"auxiliary.{i}.boxes"]
        publish(folder, model, batch, mask, outputs, seed=seed)

    return make


def as_the_authors(model, detector, forward):
    """The forward of a model, with the answers of every decoder layer, by our names."""

    def wrapped(pixel_values, pixel_mask=None):
        found = forward(pixel_values, pixel_mask=pixel_mask, output_hidden_states=True)
        detr = detector.model
        earlier = []
        for state in found.decoder_hidden_states[1:-1]:  # the first is the input, the last is normalised
            state = detr.decoder.layernorm(state)
            boxes = detector.bbox_predictor(state).sigmoid()
            earlier.append({"logits": detector.class_labels_classifier(state), "boxes": boxes})
        masks = None if model is detector else found.pred_masks
        return types.SimpleNamespace(
            logits=found.logits, boxes=found.pred_boxes, masks=masks, auxiliary=earlier
        )

    return wrapped


# width and heads add up to a multiple of 8
HEADS = {"encoder_attention_heads": 8, "decoder_attention_heads": 8}
STORED = {
    "detr": detr(seed=0, backbone={"layer_type": "basic"}),
    "detr-panoptic": detr(seed=1, panoptic=True, num_channels=1, num_queries=4, **HEADS),
}
ONE = {"encoder_attention_heads": 1, "decoder_attention_heads": 1}
LIVE = {
    "detr, one head, no mask": detr(seed=2, size=(97, 65), inside=None, **ONE),
    "detr, eight heads, deeper": detr(
        seed=3,
        size=(101, 67),
        inside=((101, 33), (64, 67), (1, 1)),
        encoder_layers=3,
        decoder_layers=1,
        **HEADS,
    ),
    "detr panoptic, no mask, odd size": detr(seed=4, size=(75, 131), inside=None, panoptic=True, **HEADS),
    "detr panoptic, wider": detr(
        seed=5, size=(96, 64), inside=((95, 33), (40, 64)), panoptic=True, d_model=32, num_queries=7, **HEADS
    ),
}

if __name__ == "__main__":
    main(STORED)
