"""Small random ViTs and DeiTs of transformers, and what they compute; the first of each is stored.

Written with torch 2.13.0 and transformers 4.57.6, seeds as given, from the repository's root, with the extras dev and
parity:  python -m tests.parity.make_vit_fixtures
"""

from tests.parity.torch_published import images, main, publish

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "patch_size": 4,
    "num_labels": 5,
}


def vit(seed=0, size=(8, 12), given=None, kind="ViTForImageClassification", **options):
    """A function that publishes a ViT made for pictures of one size, and what it makes of pictures of a given size."""

    def make(folder):
        import torch
        import transformers

        torch.set_default_dtype(torch.float64)
        config = transformers.ViTConfig(**{**SMALL, "image_size": list(size), **options})
        if kind == "ViTModel":
            model = transformers.ViTModel(config, add_pooling_layer=False)
            outputs = {"tokens": "last_hidden_state"}
        else:
            model = getattr(transformers, kind)(config)
            outputs = ["logits"]
        batch = images(2, config.num_channels, *(given or size), seed=seed)
        resize = given is not None and given != size
        publish(
            folder,
            model,
            batch,
            outputs=outputs,
            seed=seed,
            **{"interpolate_pos_encoding": True} if resize else {},
        )

    return make


def deit(seed=0, size=(12, 8), kind="DeiTForImageClassificationWithTeacher", **options):
    """A function that publishes a DeiT with a distillation token."""

    def make(folder):
        import torch
        import transformers

        torch.set_default_dtype(torch.float64)
        config = transformers.DeiTConfig(**{**SMALL, "image_size": list(size), **options})
        model = getattr(transformers, kind)(config)
        publish(folder, model, images(2, 3, *size, seed=seed), seed=seed)

    return make


STORED = {
    "vit": vit(seed=0),
    "deit": deit(seed=1),
}
LIVE = {
    "vit, one head, tanh GELU": vit(seed=2, num_attention_heads=1, hidden_act="gelu_new", num_channels=1),
    "vit, eight heads, oblong patches": vit(
        seed=3, num_attention_heads=8, patch_size=[3, 5], size=(9, 25), layer_norm_eps=1e-6
    ),
    "vit, pictures of another size": vit(seed=4, size=(8, 8), given=(20, 12)),
    "vit without a head": vit(seed=5, kind="ViTModel"),
    "deit, fine-tuned without a teacher": deit(seed=7, kind="DeiTForImageClassification"),
    "deit, one layer, four heads": deit(seed=6, num_hidden_layers=1, num_attention_heads=4),
}

if __name__ == "__main__":
    main(STORED)
