"""Small random DINOv2s of transformers, and what they compute; the first of each is stored.

Written with torch 2.13.0 and transformers 4.57.6, seeds as given, from the repository's root, with the extras dev and
parity:  python -m tests.parity.make_dinov2_fixtures
"""

from tests.parity.torch_published import images, main, publish

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "mlp_ratio": 2,
    "patch_size": 4,
    "image_size": 12,
    "num_labels": 5,
}


def dinov2(seed=0, size=(12, 12), kind="Dinov2Model", **options):
    """A function that publishes a DINOv2, and what it makes of pictures of a given size."""

    def make(folder):
        import torch
        import transformers

        torch.set_default_dtype(torch.float64)
        family = "Dinov2WithRegisters" if "Registers" in kind else "Dinov2"
        config = getattr(transformers, f"{family}Config")(**{**SMALL, **options})
        model = getattr(transformers, kind)(config)
        outputs = ["logits"] if "Classification" in kind else {"tokens": "last_hidden_state"}
        publish(folder, model, images(2, config.num_channels, *size, seed=seed), outputs=outputs, seed=seed)

    return make


STORED = {
    "dinov2": dinov2(seed=0, size=(8, 20)),
    "dinov2-registers": dinov2(seed=1, size=(20, 8), kind="Dinov2WithRegistersForImageClassification"),
}
LIVE = {
    "dinov2, the table's size": dinov2(seed=2, num_attention_heads=4, hidden_act="gelu_new"),
    "dinov2, larger pictures": dinov2(seed=3, size=(20, 24)),
    "dinov2, gated": dinov2(seed=4, use_swiglu_ffn=True, mlp_ratio=4),
    "dinov2, classifier": dinov2(seed=5, kind="Dinov2ForImageClassification"),
    "dinov2, classifier, gated": dinov2(seed=6, kind="Dinov2ForImageClassification", use_swiglu_ffn=True),
    "dinov2, registers": dinov2(seed=7, kind="Dinov2WithRegistersModel", num_register_tokens=3),
    "dinov2, registers, smaller pictures": dinov2(seed=8, size=(4, 8), kind="Dinov2WithRegistersModel"),
    "dinov2, registers, gated": dinov2(seed=9, kind="Dinov2WithRegistersModel", use_swiglu_ffn=True),
}

if __name__ == "__main__":
    main(STORED)
