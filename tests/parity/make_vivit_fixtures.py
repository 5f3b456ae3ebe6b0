"""Small random ViViTs of transformers, as classifier and as backbone, and what they compute; the first of each is stored.

Written with torch 2.13.0 and transformers 4.57.6, seeds as given, from the repository's root, with the extras dev and
parity:  python -m tests.parity.make_vivit_fixtures
"""

import importlib.util

from tests.parity.make_torchvision_fixtures import torchvision_models
from tests.parity.torch_published import images, main, publish

SMALL = {
    "image_size": 8,
    "num_frames": 4,
    "tubelet_size": [2, 4, 4],
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "num_labels": 5,
}


def vivit(seed=0, kind="VivitForVideoClassification", **options):
    """A function that publishes a ViViT and what it makes of two films."""

    def make(folder):
        import torch
        import transformers

        if importlib.util.find_spec("torchvision"):
            torchvision_models()  # transformers' ViViT imports it where it is there
        torch.set_default_dtype(torch.float64)
        config = transformers.VivitConfig(**{**SMALL, **options})
        classifies = kind != "VivitModel"
        model = getattr(transformers, kind)(config, **({} if classifies else {"add_pooling_layer": False}))
        side = config.image_size
        films = images(2, config.num_frames, config.num_channels, side, side, seed=seed)
        outputs = ["logits"] if classifies else {"tokens": "last_hidden_state"}
        publish(folder, model, films, outputs=outputs, seed=seed)

    return make


STORED = {"vivit": vivit(seed=0)}
LIVE = {
    "vivit, tokens": vivit(seed=1, kind="VivitModel"),
    "vivit, single frames, one channel": vivit(seed=2, tubelet_size=[1, 4, 4], num_channels=1),
    "vivit, one tubelet in time, four heads": vivit(
        seed=3, num_frames=3, tubelet_size=[3, 2, 2], num_attention_heads=4
    ),
    "vivit, another epsilon and activation": vivit(seed=4, layer_norm_eps=1e-3, hidden_act="gelu"),
}

if __name__ == "__main__":
    main(STORED)
