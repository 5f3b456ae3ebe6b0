"""Small random masked autoencoders of transformers, and what they compute with given noise; the first is stored.

Written with torch 2.13.0 and transformers 4.57.6, seeds as given, from the repository's root, with the extras dev and
parity:  python -m tests.parity.make_mae_fixtures
"""

import contextlib
import functools

from tests.parity.make_torchvision_fixtures import torchvision_models
from tests.parity.torch_published import images, main, publish

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "patch_size": 4,
    "image_size": 16,
    "decoder_hidden_size": 8,
    "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 12,
}


def mae(seed=0, kind="ViTMAEForPreTraining", **options):
    """A function that publishes a masked autoencoder, and its prediction and loss for given noise."""

    def make(folder):
        import torch
        import transformers

        with contextlib.suppress(ImportError):  # transformers imports it where it is there
            torchvision_models()

        torch.set_default_dtype(torch.float64)
        config = transformers.ViTMAEConfig(**{**SMALL, **options})
        model = getattr(transformers, kind)(config)
        batch = images(2, config.num_channels, config.image_size, config.image_size, seed=seed)
        patches = (config.image_size // config.patch_size) ** 2
        noise = torch.rand(2, patches, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        fixed = () if kind == "ViTMAEModel" else ("position_embeddings", "decoder_pos_embed")
        given = {"fixed": fixed, "seed": seed}
        if kind == "ViTMAEModel":
            # nothing hidden, and the patches in reading order; a ViT of ours takes no noise
            noise = torch.arange(patches, dtype=torch.float64).expand(2, -1)
            model.forward = functools.partial(model.forward, noise=noise)
            publish(folder, model, batch, outputs={"tokens": "last_hidden_state"}, **given)
        else:
            outputs = {"prediction": "logits", "loss": "loss"}
            publish(folder, model, batch, outputs=outputs, noise=noise, **given)

    return make


STORED = {"mae": mae(seed=0, norm_pix_loss=True)}
LIVE = {
    "mae, plain pixels": mae(seed=1),
    "mae, half hidden, one channel, tanh GELU": mae(seed=2, mask_ratio=0.5, num_channels=1, hidden_act="gelu_new"),
    "mae, an odd number of patches": mae(seed=3, image_size=20, layer_norm_eps=1e-6, norm_pix_loss=True),
    "mae, other sizes": mae(
        seed=4, hidden_size=24, num_attention_heads=4, decoder_num_hidden_layers=1, decoder_num_attention_heads=4,
        decoder_intermediate_size=20, image_size=12,
    ),
    "mae, the encoder alone": mae(seed=5, kind="ViTMAEModel", mask_ratio=0.0),
}  # fmt: skip

if __name__ == "__main__":
    main(STORED)
