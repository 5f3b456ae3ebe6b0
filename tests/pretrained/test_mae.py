"""Published masked autoencoders: the authors' names, what follows from shapes, the encoder alone, broken settings.

Not here: the hub's names (test_published_names.py), values (tests/parity).
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import minivis as mv
from minivis import models
from minivis.files import Stored
from minivis.nn import init
from minivis.pretrained import folder as folders
from minivis.pretrained import mae

SOURCE = Path(__file__).parent.parent / "parity" / "published" / "mae"


def of_authors(width=768, depth=12, inside=3072, decoder=512, decoder_depth=8, patch=16, side=14):
    """{name: shape} as the authors' code names the arrays of a masked autoencoder."""
    tokens = 1 + side * side

    def block(name, d, hidden):
        return {
            f"{name}.norm1.weight": (d,), f"{name}.norm1.bias": (d,),
            f"{name}.attn.qkv.weight": (3 * d, d), f"{name}.attn.qkv.bias": (3 * d,),
            f"{name}.attn.proj.weight": (d, d), f"{name}.attn.proj.bias": (d,),
            f"{name}.norm2.weight": (d,), f"{name}.norm2.bias": (d,),
            f"{name}.mlp.fc1.weight": (hidden, d), f"{name}.mlp.fc1.bias": (hidden,),
            f"{name}.mlp.fc2.weight": (d, hidden), f"{name}.mlp.fc2.bias": (d,),
        }  # fmt: skip

    shapes = {
        "cls_token": (1, 1, width), "pos_embed": (1, tokens, width), "mask_token": (1, 1, decoder),
        "decoder_pos_embed": (1, tokens, decoder), "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,), "norm.weight": (width,), "norm.bias": (width,),
        "decoder_embed.weight": (decoder, width), "decoder_embed.bias": (decoder,), "decoder_norm.weight": (decoder,),
        "decoder_norm.bias": (decoder,), "decoder_pred.weight": (3 * patch**2, decoder), "decoder_pred.bias": (3 * patch**2,),
    }  # fmt: skip
    for i in range(depth):
        shapes |= block(f"blocks.{i}", width, inside)
    for i in range(decoder_depth):
        shapes |= block(f"decoder_blocks.{i}", decoder, 4 * decoder)
    return shapes


def test_the_authors_file_is_recognised_by_its_names():
    shapes = of_authors()
    assert len(shapes) == 254
    config = folders._config(Path("nowhere"), shapes)
    family = folders._family(Path("base"), config)
    with init.skip_init():
        model = family.build(config)
    stored = {name: Stored(Path("base"), shape, "F32") for name, shape in shapes.items()}
    wanted = folders._dialect(model, family, stored)
    folders._check(Path("base"), model, family, wanted, stored)  # every array has its one place
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 111_907_840
    assert isinstance(model, models.MAE) and len(model.decoder_blocks) == 8 and model.encoder.norm.eps == 1e-6


def test_the_largest_size_follows_from_its_shapes():
    found = mae.infer(of_authors(1280, 32, 5120, patch=14, side=16))
    keys = ("num_attention_heads", "decoder_num_attention_heads", "image_size", "decoder_num_hidden_layers")
    assert [found[key] for key in keys] == [16, 16, 224, 8]
    encoder = {name: shape for name, shape in of_authors().items() if "decoder" not in name}
    assert mae.infer(encoder) is None  # a ViT
    with pytest.raises(
        ValueError, match="vit_mae: the number of heads does not follow from a decoder of width 256"
    ):
        mae.infer(of_authors(decoder=256))
    assert (
        mae.infer(of_authors(decoder=256), {"decoder_num_attention_heads": 8})["decoder_hidden_size"] == 256
    )


def test_names_of_the_authors_hold_the_same_model(tmp_path):
    hub = mv.from_pretrained(SOURCE)
    arrays = {}
    parts = {}
    for ours, theirs in mae.names(hub, "authors").items():
        array = dict(hub.state_dict())[ours]
        if isinstance(theirs, str):
            arrays[theirs] = array
        else:
            parts.setdefault(theirs.name, {})[theirs.index] = array
    arrays |= {name: np.concatenate([found[i] for i in range(3)]) for name, found in parts.items()}
    save_file(arrays, tmp_path / "model.safetensors")
    given = {
        "num_attention_heads": 2,
        "decoder_num_attention_heads": 2,
        "norm_pix_loss": True,
        "layer_norm_eps": 1e-12,
    }
    (tmp_path / "config.json").write_text(json.dumps(given))
    model = mv.from_pretrained(tmp_path)
    images = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    noise = np.random.default_rng(1).random((1, 16))
    np.testing.assert_array_equal(
        model(images, noise).prediction.numpy(), hub(images, noise).prediction.numpy()
    )
    assert model.norm_pix and not model.encoder.pos_embed.requires_grad and model.labels == {}


def test_the_encoder_of_the_hub_is_a_vit(tmp_path):
    arrays = load_file(SOURCE / "model.safetensors")
    encoder = {name.removeprefix("vit."): x for name, x in arrays.items() if name.startswith("vit.")}
    save_file(encoder, tmp_path / "model.safetensors")
    config = json.loads((SOURCE / "config.json").read_text()) | {"architectures": ["ViTMAEModel"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model, whole = mv.from_pretrained(tmp_path), mv.from_pretrained(SOURCE)
    images = np.random.default_rng(0).standard_normal((1, 3, 16, 16))
    assert isinstance(model, models.ViT)
    np.testing.assert_array_equal(model.features(images).numpy(), whole.encoder.features(images).numpy())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mask_ratio": 1.0}, "mask_ratio must be between 0 and 1"),
        ({"norm_pix_loss": "yes"}, "norm_pix_loss"),
        ({"decoder_num_attention_heads": 3}, "3 heads do not divide embed_dim 8"),
        ({"decoder_hidden_size": 2**20}, "the model would have far more"),
        ({"qkv_bias": False}, "qkv_bias is false"),
        ({"decoder_num_hidden_layers": 3}, "it lacks decoder.decoder_layers.2"),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(tmp_path, settings, words):
    for name in ("model.safetensors", "config.json"):
        shutil.copy(SOURCE / name, tmp_path / name)
    config = json.loads((tmp_path / "config.json").read_text()) | settings
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=rf"from_pretrained: .*{tmp_path.name}.*{words}"):
        mv.from_pretrained(tmp_path)
