"""The layers and models that are compared with torch and transformers: how both are built, filled and called.

Not here: the comparison (test_nn_parity.py). Weights and inputs are drawn from the rows' names, so only results are
stored. Nothing here imports torch until `theirs` is called.
"""

import re
import warnings
import zlib
from dataclasses import dataclass, field

import numpy as np

from minivis import Tensor, nn
from minivis.models import ViT

# Published name -> ours, applied in this order; torch packs three projections into one.
RENAMES = [
    (r"^vit\.embeddings\.cls_token$", "cls_token"),
    (r"^vit\.embeddings\.position_embeddings$", "pos_embed"),
    (r"^vit\.embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^vit\.encoder\.layer\.(\d+)\.attention\.attention\.", r"blocks.\1.attn."),
    (r"^vit\.encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"blocks.\1.attn.out."),
    (r"^vit\.encoder\.layer\.(\d+)\.intermediate\.dense\.", r"blocks.\1.mlp.fc1."),
    (r"^vit\.encoder\.layer\.(\d+)\.output\.dense\.", r"blocks.\1.mlp.fc2."),
    (r"^vit\.encoder\.layer\.(\d+)\.layernorm_before\.", r"blocks.\1.norm1."),
    (r"^vit\.encoder\.layer\.(\d+)\.layernorm_after\.", r"blocks.\1.norm2."),
    (r"^vit\.layernorm\.", "norm."),
    (r"^classifier\.", "head."),
    (r"multihead_attn", "cross_attn"),
    (r"out_proj\.", "out."),
    (r"\blinear1\.", "mlp.fc1."),
    (r"\blinear2\.", "mlp.fc2."),
    (r"\b([qkv])_proj_weight$", lambda m: {"q": "query", "k": "key", "v": "value"}[m[1]] + ".weight"),
]


def our_names(name):
    """Our names of what torch calls ``name``: one, or three for a packed projection."""
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    packed = re.fullmatch(r"(.*)in_proj_(weight|bias)", name)
    return [f"{packed[1]}{p}.{packed[2]}" for p in ("query", "key", "value")] if packed else [name]


def draw(name, *shape):
    """Normal values that depend on the name only."""
    return np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)


@dataclass(frozen=True)
class Row:
    """One comparison: our module, torch's module, the inputs by name and shape, and options of the call."""

    key: str
    ours: object
    theirs: object
    inputs: dict
    options: dict = field(default_factory=dict)
    their_options: dict = field(default_factory=dict)

    def arrays(self):
        return {n: draw(f"{self.key} {n}", *shape) for n, shape in self.inputs.items()}

    def weight(self, name, shape):
        """A random value for every parameter and statistic: around 1 for scales, of moderate size for the rest."""
        values = draw(f"{self.key} {name}", *shape) * 0.3
        scale = "norm" in name and name.endswith("weight")
        return np.abs(values) + 0.5 if name.endswith("running_var") else values + 1 if scale else values


def _mask(*shape, share=0.6):
    """True = may be attended; the diagonal is always allowed, so that torch makes no NaN."""
    mask = np.random.default_rng(7).random(shape) < share
    i = np.arange(min(shape[-2:]))
    mask[..., i, i] = True
    return mask


CAUSAL5 = np.tril(np.ones((5, 5), bool))
VALID = np.array([[True] * 4, [True, True, True, False], [True, False, True, True]])  # (B, M)


def _attention(torch, **options):
    """torch's attention, called as ours: the weights are averaged over heads unless told otherwise."""
    layer = torch.nn.MultiheadAttention(8, 2, batch_first=True, **options)
    return lambda q, k=None, v=None, **o: layer(
        q, q if k is None else k, (q if k is None else k) if v is None else v, need_weights=False, **o
    )[0], layer


def _plain(layer):
    return layer, layer


def _hf_vit(torch, image_size=(12, 16), resize=False):
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=20,
        image_size=image_size,
        patch_size=4,
        num_channels=2,
        layer_norm_eps=1e-6,
        num_labels=5,
        attn_implementation="sdpa",  # "eager" takes its softmax in float32
    )
    model = ViTForImageClassification(config)
    return lambda x: model(x, interpolate_pos_encoding=resize).logits, model


def _vit(image_size=(12, 16)):
    return ViT(image_size, 4, 12, 2, 3, mlp_ratio=20 / 12, num_classes=5, channels=2)


TOKENS = {"x": (3, 5, 8)}
PAIR = {"x": (3, 5, 8), "memory": (3, 4, 8)}

ROWS = [
    Row("attention self", lambda: nn.MultiHeadAttention(8, 2), lambda t: _attention(t), {"q": (3, 5, 8)}),
    Row(
        "attention self masked",
        lambda: nn.MultiHeadAttention(8, 2),
        lambda t: _attention(t),
        {"q": (3, 5, 8)},
        {"mask": _mask(5, 5)},
        {"attn_mask": ~_mask(5, 5)},  # torch: True = may not
    ),
    Row(
        "attention self without bias",
        lambda: nn.MultiHeadAttention(8, 2, bias=False),
        lambda t: _attention(t, bias=False),
        {"q": (3, 5, 8)},
        {"is_causal": True},
        {"attn_mask": ~CAUSAL5},
    ),
    Row(
        "attention cross padded",
        lambda: nn.MultiHeadAttention(8, 2, kdim=6, vdim=7),
        lambda t: _attention(t, kdim=6, vdim=7),
        {"q": (3, 5, 8), "k": (3, 4, 6), "v": (3, 4, 7)},
        {"mask": VALID[:, None, :]},
        {"key_padding_mask": ~VALID},
    ),
    *(
        Row(
            f"encoder layer {'pre' if pre else 'post'} {activation}",
            lambda pre=pre, activation=activation: nn.TransformerEncoderLayer(
                8, 2, 12, activation=activation, norm_first=pre
            ),
            lambda t, pre=pre, activation=activation: _plain(
                t.nn.TransformerEncoderLayer(
                    8, 2, 12, dropout=0, activation=activation, batch_first=True, norm_first=pre
                )
            ),
            TOKENS,
            {"mask": _mask(5, 5)},
            {"src_mask": ~_mask(5, 5)},
        )
        for pre in (False, True)
        for activation in ("relu", "gelu")
    ),
    *(
        Row(
            f"decoder layer {'pre' if pre else 'post'}",
            lambda pre=pre: nn.TransformerDecoderLayer(8, 2, 12, layer_norm_eps=1e-3, norm_first=pre),
            lambda t, pre=pre: _plain(
                t.nn.TransformerDecoderLayer(
                    8, 2, 12, dropout=0, layer_norm_eps=1e-3, batch_first=True, norm_first=pre
                )
            ),
            PAIR,
            {"is_causal": True, "memory_mask": VALID[:, None, :]},
            {"tgt_mask": ~CAUSAL5, "memory_key_padding_mask": ~VALID},
        )
        for pre in (False, True)
    ),
    *(
        Row(
            f"transformer {'pre' if pre else 'post'}",
            lambda pre=pre: nn.Transformer(8, 2, 2, 2, 12, activation="gelu", norm_first=pre),
            lambda t, pre=pre: _plain(
                t.nn.Transformer(
                    8, 2, 2, 2, 12, dropout=0, activation="gelu", batch_first=True, norm_first=pre
                )
            ),
            {"source": (3, 4, 8), "target": (3, 5, 8)},
            {"source_mask": VALID[:, None, :], "memory_mask": VALID[:, None, :]},
            {"tgt_mask": ~CAUSAL5, "src_key_padding_mask": ~VALID, "memory_key_padding_mask": ~VALID},
        )
        for pre in (False, True)
    ),
    Row("vit", _vit, _hf_vit, {"images": (2, 2, 12, 16)}),
    Row(
        "vit other image size",
        lambda: _vit((16, 16)),
        lambda t: _hf_vit(t, (16, 16), resize=True),
        {"images": (2, 2, 20, 12)},
    ),
    Row(
        "batch norm training",
        lambda: nn.BatchNorm2d(4),
        lambda t: _plain(t.nn.BatchNorm2d(4)),
        {"x": (3, 4, 2, 5)},
    ),
    Row(
        "batch norm evaluation",
        lambda: nn.BatchNorm2d(4).eval(),
        lambda t: _plain(t.nn.BatchNorm2d(4).eval()),
        {"x": (3, 4, 2, 5)},
    ),
    Row(
        "batch norm cumulative",
        lambda: nn.BatchNorm2d(4, momentum=None),
        lambda t: _plain(t.nn.BatchNorm2d(4, momentum=None)),
        {"x": (3, 4, 2, 5)},
    ),
    Row(
        "group norm",
        lambda: nn.GroupNorm(2, 4, eps=1e-3),
        lambda t: _plain(t.nn.GroupNorm(2, 4, eps=1e-3)),
        {"x": (3, 4, 2, 5)},
    ),
    Row(
        "convolution",
        lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), groups=2),
        lambda t: _plain(t.nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), groups=2)),
        {"x": (3, 4, 5, 4)},
    ),
    Row(
        "transposed convolution",
        lambda: nn.ConvTranspose2d(4, 6, (3, 2), stride=2, padding=(1, 0), output_padding=1, groups=2),
        lambda t: _plain(
            t.nn.ConvTranspose2d(4, 6, (3, 2), stride=2, padding=(1, 0), output_padding=1, groups=2)
        ),
        {"x": (3, 4, 5, 4)},
    ),
]


def ours(row):
    """The row by minivis, in float64: the output, the gradients of inputs and parameters, and the statistics."""
    module = row.ours().to("float64")
    state = {n: row.weight(n, x.shape) if x.dtype.kind == "f" else x for n, x in module.state_dict().items()}
    module.load_state_dict(state)
    inputs = {n: Tensor(x, requires_grad=True) for n, x in row.arrays().items()}
    y = module(*inputs.values(), **row.options)
    y.backward(draw(f"{row.key} cotangent", *y.shape))
    return {
        "output": y.numpy(),
        **{f"gradient of {n}": x.grad for n, x in inputs.items()},
        **{f"gradient of {n}": p.grad for n, p in module.named_parameters()},
        **{f"after {n}": x for n, x in module.named_buffers()},
    }


def theirs(row):
    """The same by torch or transformers, under our names."""
    import torch

    torch.set_default_dtype(torch.float64)
    # torch's Transformer has an option that does not suit pre-norm, and no way to say so
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "enable_nested_tensor")
        call, module = row.theirs(torch)
    with torch.no_grad():
        for name, p in [*module.named_parameters(), *module.named_buffers()]:
            names = our_names(name)
            if p.dtype == torch.float64:
                shape = (p.shape[0] // len(names), *p.shape[1:]) if len(names) > 1 else p.shape
                p.copy_(torch.tensor(np.concatenate([np.atleast_1d(row.weight(n, shape)) for n in names])))
    inputs = {n: torch.tensor(x, requires_grad=True) for n, x in row.arrays().items()}
    y = call(*inputs.values(), **{n: torch.tensor(m) for n, m in row.their_options.items()})
    y.backward(torch.tensor(draw(f"{row.key} cotangent", *y.shape)))
    found = {"output": y.detach().numpy(), **{f"gradient of {n}": x.grad.numpy() for n, x in inputs.items()}}
    for name, p in module.named_parameters():
        names = our_names(name)
        for ours, g in zip(names, p.grad.chunk(len(names)), strict=True):
            found[f"gradient of {ours}"] = g.numpy()
    return found | {f"after {our_names(n)[0]}": b.numpy() for n, b in module.named_buffers()}
