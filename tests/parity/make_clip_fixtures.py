"""Small random CLIPs of transformers and of the authors' code, and what they compute; the first of each kind are stored.

Written with torch 2.13.0, transformers 4.57.6 and clip-anytorch 2.6.0 (unpacked somewhere on PYTHONPATH: only its
model.py is loaded), seeds as given, from the repository's root:  python -m tests.parity.make_clip_fixtures
"""

import functools
import importlib.util

import numpy as np

from tests.parity.make_torchvision_fixtures import torchvision_models
from tests.parity.torch_published import images, main, publish

VOCABULARY = 20
LENGTH = 7
TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": LENGTH,
}
IMAGE = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "image_size": 8,
    "patch_size": 4,
}
OUTPUTS = ("logits_per_image", "logits_per_text")


def texts(seed, count, end):
    """Random texts of different lengths, with the end symbol at the end and 0 behind it."""
    import torch

    rng = np.random.default_rng(seed)
    tokens = np.zeros((count, LENGTH), np.int64)
    for row in tokens:
        n = rng.integers(1, LENGTH)
        row[:n] = rng.integers(3, VOCABULARY - 1, n)
        row[n] = end
    return torch.from_numpy(tokens)


def hub(seed=0, end=2, embedding=12, text=None, image=None, count=3):
    """A function that publishes a CLIP of transformers; with the end symbol 2 of old files, the largest number ends a text."""

    def make(folder):
        import torch
        import transformers

        torchvision_models()  # transformers' CLIP needs it to load
        torch.set_default_dtype(torch.float64)
        symbols = {"eos_token_id": end, "bos_token_id": 1, "pad_token_id": 0}
        config = transformers.CLIPConfig(
            text_config={**TEXT, **symbols, **(text or {})},
            vision_config={**IMAGE, **(image or {})},
            projection_dim=embedding,
        )
        model = transformers.CLIPModel(config)
        side = config.vision_config.image_size
        outputs = {name: name for name in OUTPUTS}
        outputs |= {"image_embeddings": "image_embeds", "text_embeddings": "text_embeds"}
        tokens = texts(seed, count, VOCABULARY - 1 if end == 2 else end)
        publish(
            folder,
            model,
            images(count, config.vision_config.num_channels, side, side, seed=seed),
            outputs=outputs | {"contrastive": "loss"},
            seed=seed,
            tokens=tokens,
            return_loss=True,
        )

    return make


@functools.cache
def authors_code():
    """The module clip.model of the authors' package, without the rest of it; None where it is not installed."""
    package = importlib.util.find_spec("clip")
    if package is None or not package.submodule_search_locations:
        return None
    path = f"{package.submodule_search_locations[0]}/model.py"
    spec = importlib.util.spec_from_file_location("clip_model", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _published(kind):
    """The authors' class with names for its two answers, and weights in single precision, to store as such."""
    import torch
    from safetensors.torch import save_file

    class Published(kind):
        def forward(self, pixel_values, input_ids):
            with torch.no_grad():
                for x in [*self.parameters(), *self.buffers()]:
                    x.copy_(x.float())
            return dict(zip(OUTPUTS, super().forward(pixel_values, input_ids), strict=True))

        def save_pretrained(self, folder):
            folder.mkdir(exist_ok=True)
            arrays = {
                name: x.float() if x.is_floating_point() else x for name, x in self.state_dict().items()
            }
            save_file(arrays, folder / "model.safetensors")

    return Published


def authors(seed=0, side=8, layers=1, width=64, patch=4, embedding=12, text_width=64, text_layers=1):
    """A function that publishes a CLIP of the authors' code; four numbers as layers make a ResNet."""

    def make(folder):
        import torch

        code = authors_code()
        # theirs computes in float32 always
        code.LayerNorm.forward = torch.nn.LayerNorm.forward
        torch.set_default_dtype(torch.float64)
        model = code.CLIP(
            embedding,
            side,
            layers,
            width,
            patch,
            LENGTH,
            VOCABULARY,
            text_width,
            text_width // 64,
            text_layers,
        )
        model.__class__ = _published(code.CLIP)
        tokens = texts(seed, 3, VOCABULARY - 1)
        publish(folder, model, images(3, 3, side, side, seed=seed), outputs=OUTPUTS, seed=seed, tokens=tokens)

    return make


STORED = {
    "clip": hub(seed=0),
    "clip-authors-resnet": authors(seed=1, side=32, layers=(1, 1, 1, 1), width=2),
}
LIVE = {
    "clip, an end symbol of its own": hub(seed=3, end=1, count=4),
    "clip, one head, GELU, one channel": hub(
        seed=4,
        embedding=5,
        text={"num_attention_heads": 1, "hidden_act": "gelu"},
        image={"num_attention_heads": 8, "hidden_act": "gelu", "num_channels": 1, "patch_size": 2},
    ),
}
if authors_code() is not None:
    LIVE |= {
        "clip of the authors": authors(seed=2),
        "clip of the authors, two layers": authors(
            seed=5, layers=2, width=128, text_width=128, text_layers=2
        ),
        "clip of the authors, a deeper ResNet": authors(seed=6, side=64, layers=(2, 1, 2, 1), width=4),
    }

if __name__ == "__main__":
    main(STORED)
