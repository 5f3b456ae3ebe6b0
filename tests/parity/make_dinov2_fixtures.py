"""Small random DINOs and DINOv2s of transformers, and what they compute; the first of each is stored.

The rows of the authors' files have the weights in the authors' names, and the position table resized in the authors' way.

Written with torch 2.13.0 and transformers 4.57.6, seeds as given, from the repository's root, with the extras dev and
parity:  python -m tests.parity.make_dinov2_fixtures
"""

from tests.parity.make_vit_fixtures import vit
from tests.parity.torch_published import images, main, publish, rename

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


AUTHORS = [
    (r"^embeddings\.(\w+_token)", r"\1"),
    (r"^embeddings\.register_tokens", "register_tokens"),
    (r"^embeddings\.position_embeddings", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
    (r"^encoder\.layer\.", "blocks."),
    (r"attention\.attention\.query\.(.*)", r"attn.qkv.\1#0"),
    (r"attention\.attention\.key\.(.*)", r"attn.qkv.\1#1"),
    (r"attention\.attention\.value\.(.*)", r"attn.qkv.\1#2"),
    (r"attention\.output\.dense", "attn.proj"),
    (r"layer_scale(.)\.lambda1", r"ls\1.gamma"),
    (r"layernorm_before", "norm1"),
    (r"layernorm_after", "norm2"),
    (r"intermediate\.dense", "mlp.fc1"),
    (r"output\.dense", "mlp.fc2"),
    (r"weights_in", "w12"),
    (r"weights_out", "w3"),
    (r"^layernorm", "norm"),
]
TIMM = [*AUTHORS, (r"w12", "fc1"), (r"w3", "fc2")]


def authors(make, config, rules=AUTHORS, **how):
    """A function that publishes what `make` does, in the authors' names, its position table resized in their way."""

    def remake(folder):
        from transformers.models.dinov2.modeling_dinov2 import Dinov2Embeddings
        from transformers.models.vit.modeling_vit import ViTEmbeddings

        kinds = [Dinov2Embeddings, ViTEmbeddings]
        before = [kind.interpolate_pos_encoding for kind in kinds]
        try:
            for kind in kinds:
                kind.interpolate_pos_encoding = lambda self, z, *size: resized(self, *size, **how)
            make(folder)
        finally:
            for kind, method in zip(kinds, before, strict=True):
                kind.interpolate_pos_encoding = method
        rename(folder, rules, config)

    return remake


def resized(embeddings, height, width, offset=0.0, antialias=False):
    """The position table for a picture, by the rule of the authors: a factor from the new size and an offset."""
    import torch

    table, side = embeddings.position_embeddings, embeddings.patch_size
    old = round((table.shape[1] - 1) ** 0.5)
    factors = [(length // side + offset) / old for length in (height, width)]
    patches = table[:, 1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    patches = torch.nn.functional.interpolate(
        patches, scale_factor=factors, mode="bicubic", antialias=antialias
    )
    return torch.cat([table[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)


STORED = {
    "dinov2": dinov2(seed=0, size=(20, 8), kind="Dinov2WithRegistersForImageClassification"),
    "dinov2-backbone": dinov2(seed=1, size=(8, 20), use_swiglu_ffn=True),
}
HEADS = {"num_attention_heads": 2}
DINO = {"hidden_size": 384, "intermediate_size": 32, "num_attention_heads": 6, "patch_size": 16}
LIVE = {
    "dinov2, the table's size": dinov2(seed=2, num_attention_heads=4, hidden_act="gelu_new"),
    "dinov2, larger pictures": dinov2(seed=3, size=(20, 24)),
    "dinov2, gated": dinov2(seed=4, use_swiglu_ffn=True, mlp_ratio=4),
    "dinov2, classifier": dinov2(seed=5, kind="Dinov2ForImageClassification"),
    "dinov2, classifier, gated": dinov2(seed=6, kind="Dinov2ForImageClassification", use_swiglu_ffn=True),
    "dinov2, registers": dinov2(seed=7, kind="Dinov2WithRegistersModel", num_register_tokens=3),
    "dinov2, registers, smaller pictures": dinov2(seed=8, size=(4, 8), kind="Dinov2WithRegistersModel"),
    "dinov2, registers, gated": dinov2(seed=9, kind="Dinov2WithRegistersModel", use_swiglu_ffn=True),
    "dinov2 of the authors": authors(dinov2(seed=10, size=(20, 8)), HEADS, offset=0.1),
    "dinov2 of the authors, gated": authors(
        dinov2(seed=11, size=(12, 16), use_swiglu_ffn=True, mlp_ratio=4), HEADS, offset=0.1
    ),
    "dinov2 of timm": authors(
        dinov2(seed=12, size=(8, 28), use_mask_token=False, use_swiglu_ffn=True, mlp_ratio=4),
        {**HEADS, "architecture": "vit_giant_patch14_dinov2"}, TIMM, antialias=True,
    ),
    "dino of the authors": authors(
        vit(seed=13, size=(48, 48), given=(64, 32), kind="ViTModel", layer_norm_eps=1e-6, **DINO),
        {"architecture": "dino_vits16"}, offset=0.1,
    ),
    "vit of timm without a head": authors(
        vit(seed=14, size=(48, 48), given=(32, 16), kind="ViTModel", layer_norm_eps=1e-6, **DINO),
        {"architecture": "vit_small_patch16_224", "num_attention_heads": 6}, antialias=True,
    ),
}  # fmt: skip

if __name__ == "__main__":
    main(STORED)
