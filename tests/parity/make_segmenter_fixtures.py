"""Segmenter's decoder of mmsegmentation with random weights, and what it computes; results are stored.

Written with torch 2.13.0 and the files of mmsegmentation 1.2.2 (Apache 2.0), which must lie on the path; mmcv and mmengine
need not be there, small stand-ins take their places:  python -m tests.parity.make_segmenter_fixtures
"""

import importlib.util
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minivis import Tensor
from minivis.models.segmenter import MaskTransformer
from tests.parity.nn_rows import draw

STORED = Path(__file__).parent / "fixtures" / "segmenter.npz"


@dataclass(frozen=True)
class Row:
    """One decoder: width of the encoder, classes, own width, depth and heads; and its map (B, H, W)."""

    key: str
    inputs: int = 6
    classes: int = 5
    width: int = 8
    depth: int = 2
    heads: int = 2
    map: tuple = (2, 3, 4)

    def features(self):
        """The encoder's map, (B, C, H, W)."""
        B, H, W = self.map
        return draw(f"{self.key} features", B, self.inputs, H, W)

    def cotangent(self):
        B, H, W = self.map
        return draw(f"{self.key} cotangent", B, self.classes, H, W)

    def weight(self, name, shape):
        """A random value for every weight, by its published name: around 1 for scales of norms."""
        values = draw(f"{self.key} {name}", *shape) * 0.3
        scale = name.endswith(("norm.weight", "ln1.weight", "ln2.weight"))
        return values + 1 if scale else values


ROWS = [
    Row("two blocks"),
    Row("one class", classes=1, depth=1),
    Row("a wide encoder", inputs=10, classes=7, width=6, depth=1, heads=3, map=(1, 5, 2)),
]


def our_names(name):
    """Our names of what mmsegmentation calls ``name``: one, or three for a packed projection."""
    for theirs, ours in (
        ("dec_proj", "embed"),
        ("cls_emb", "class_tokens"),
        ("patch_proj.weight", "proj_patch"),
        ("classes_proj.weight", "proj_class"),
        ("decoder_norm", "norm"),
        (".ln1.", ".norm1."),
        (".ln2.", ".norm2."),
        (".attn.attn.", ".self_attn."),
        ("out_proj", "out"),
        (".ffn.layers.0.0.", ".mlp.fc1."),
        (".ffn.layers.1.", ".mlp.fc2."),
        ("layers.", "blocks."),
    ):
        name = name.replace(theirs, ours)
    before, packed, kind = name.partition("in_proj_")
    return [f"{before}{part}.{kind}" for part in ("query", "key", "value")] if packed else [name]


def published_shapes(row):
    """The published names of a decoder's weights, and their shapes."""
    D = row.width
    hidden = 4 * D
    K = row.classes
    shapes = {"dec_proj.weight": (D, row.inputs), "dec_proj.bias": (D,), "cls_emb": (1, K, D)}
    shapes |= {"patch_proj.weight": (D, D), "classes_proj.weight": (D, D)}
    norms = {"decoder_norm": D, "mask_norm": K}
    for i in range(row.depth):
        at = f"layers.{i}"
        norms |= {f"{at}.ln1": D, f"{at}.ln2": D}
        layers = {"attn.attn.out_proj": (D, D), "ffn.layers.0.0": (hidden, D), "ffn.layers.1": (D, hidden)}
        for name, shape in layers.items():
            shapes |= {f"{at}.{name}.weight": shape, f"{at}.{name}.bias": shape[:1]}
        shapes |= {f"{at}.attn.attn.in_proj_weight": (3 * D, D), f"{at}.attn.attn.in_proj_bias": (3 * D,)}
    return shapes | {f"{name}.{kind}": (n,) for name, n in norms.items() for kind in ("weight", "bias")}


def ours(row):
    """The scores of our decoder and all gradients, by mmsegmentation's names."""
    sizes = (row.inputs, row.classes, row.width, row.depth, row.heads)
    model = MaskTransformer(*sizes, mlp_ratio=4, dropout=0.0, eps=1e-5, rng=np.random.default_rng(0))
    model.to("float64")
    state = {}
    for name, shape in published_shapes(row).items():
        names = our_names(name)
        parts = np.split(row.weight(name, shape), len(names))
        for own, part in zip(names, parts, strict=True):
            # their projections are linear layers, ours are multiplied from the right; their class tokens have a batch axis
            state[own] = part.T if own.startswith("proj_") else part[0] if own == "class_tokens" else part
    model.load_state_dict(state)
    features = row.features()
    (B, C, H, W), K = features.shape, row.classes
    tokens = Tensor(features.reshape(B, C, H * W).swapaxes(1, 2), requires_grad=True)
    scores = model(tokens)
    scores.backward(row.cotangent().reshape(B, K, H * W))
    found = {"scores": scores.numpy().reshape(B, K, H, W)}
    found["gradient features"] = tokens.grad.swapaxes(1, 2).reshape(B, C, H, W)
    gradients = {name: p.grad for name, p in model.named_parameters()}
    for name, shape in published_shapes(row).items():
        parts = [gradients[own].T if own.startswith("proj_") else gradients[own] for own in our_names(name)]
        found[f"gradient {name}"] = np.concatenate(parts).reshape(shape)
    return found


# ------------------------------------------------------------------ mmsegmentation


def is_there():
    """Whether torch and the files of mmsegmentation can be found."""
    return all(importlib.util.find_spec(name) is not None for name in ("torch", "mmseg"))


def theirs(row):
    """The same of mmsegmentation's head."""
    import torch

    torch.set_default_dtype(torch.float64)
    try:
        head = _head()(
            in_channels=row.inputs, num_classes=row.classes, num_layers=row.depth, num_heads=row.heads,
            embed_dims=row.width, drop_path_rate=0.0,
        )  # fmt: skip
        shapes = {name: tuple(p.shape) for name, p in head.named_parameters()}
        assert shapes == published_shapes(row)
        head.load_state_dict({name: torch.tensor(row.weight(name, shape)) for name, shape in shapes.items()})
        features = torch.tensor(row.features(), requires_grad=True)
        scores = head(features)
        scores.backward(torch.tensor(row.cotangent()))
    finally:
        torch.set_default_dtype(torch.float32)
    found = {"scores": scores.detach().numpy(), "gradient features": features.grad.numpy()}
    return found | {f"gradient {name}": p.grad.numpy() for name, p in head.named_parameters()}


def _head():
    """The class of the head, from its own file and that of its blocks, with stand-ins for what they import."""
    from torch import nn

    class Attention(nn.Module):
        """mmcv's: torch's attention of the tokens with themselves, and the residual."""

        def __init__(self, embed_dims, num_heads, attn_drop, proj_drop, batch_first, bias):
            super().__init__()
            self.attn = nn.MultiheadAttention(embed_dims, num_heads, bias=bias, batch_first=batch_first)

        def forward(self, x, identity):
            return identity + self.attn(x, x, x, need_weights=False)[0]

    class FFN(nn.Module):
        """mmcv's: two linear layers with GELU between them, and the residual."""

        def __init__(self, embed_dims, feedforward_channels, **_):
            super().__init__()
            first = nn.Sequential(nn.Linear(embed_dims, feedforward_channels), nn.GELU())
            self.layers = nn.Sequential(first, nn.Linear(feedforward_channels, embed_dims))

        def forward(self, x, identity):
            return identity + self.layers(x)

    class Head(nn.Module):
        """mmsegmentation's base class, as far as this head uses it."""

        def __init__(self, in_channels, num_classes):
            super().__init__()
            self.num_classes = num_classes
            self.conv_seg = None

        def _transform_inputs(self, x):
            return x

    def norm(config, size, postfix):
        return f"ln{postfix}", nn.LayerNorm(size, eps=config.get("eps", 1e-5))

    registry = types.SimpleNamespace(register_module=lambda: lambda cls: cls)
    given = {
        "mmcv.cnn": {"build_norm_layer": norm},
        "mmcv.cnn.bricks.transformer": {"FFN": FFN, "MultiheadAttention": Attention},
        "mmengine.logging": {"print_log": None},
        "mmengine.model": {"BaseModule": nn.Module, "ModuleList": nn.ModuleList},
        "mmengine.model.weight_init": dict.fromkeys(
            ("constant_init", "kaiming_init", "trunc_normal_", "trunc_normal_init")
        ),
        "mmengine.runner.checkpoint": {"CheckpointLoader": None, "load_state_dict": None},
        "mmseg.registry": {"MODELS": registry},
        "mmseg.models.utils": {"PatchEmbed": None, "resize": None},
        "mmseg.models.decode_heads.decode_head": {"BaseDecodeHead": Head},
    }
    root = importlib.util.find_spec("mmseg").submodule_search_locations[0]
    before = set(sys.modules)
    try:
        for name, contents in given.items():
            pretend(name, contents)
        for name in ("mmseg.models.backbones.vit", "mmseg.models.decode_heads.segmenter_mask_head"):
            module = from_file(name, root)
        return module.SegmenterMaskTransformerHead
    finally:
        for name in set(sys.modules) - before:
            if name.startswith(("mmcv", "mmengine", "mmseg")):
                del sys.modules[name]


def pretend(name, contents):
    """A module with these names in it, and empty packages above it."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        module = sys.modules.setdefault(".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
        module.__path__ = []
    for key, value in contents.items():
        setattr(module, key, value)


def from_file(name, root):
    """A module from its file below a folder, without running the packages around it."""
    pretend(name.rpartition(".")[0], {})
    path = Path(root).joinpath(*name.split(".")[1:]).with_suffix(".py")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def load(key):
    """The stored results of a row."""
    with np.load(STORED, allow_pickle=False) as stored:
        return {name.removeprefix(f"{key}/"): x for name, x in stored.items() if name.startswith(f"{key}/")}


if __name__ == "__main__":
    results = {f"{row.key}/{name}": x for row in ROWS for name, x in theirs(row).items()}
    np.savez_compressed(STORED, **results)
    print(f"{STORED}: {STORED.stat().st_size:,} bytes")
