"""SETR's heads of mmsegmentation with random weights, and what they compute; results are stored.

Written with torch 2.13.0 and the files of mmsegmentation 1.2.2 (Apache 2.0), which must lie on the path; mmcv and mmengine
need not be there, small stand-ins take their places:  python -m tests.parity.make_setr_fixtures
Not here: what only the authors' code has: the naive head without an enlargement, and aligned corners.
"""

import importlib.util
import re
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minivis import Tensor
from minivis.models import MLAHead, NaiveHead, PUPHead
from tests.parity.make_segmenter_fixtures import from_file, pretend
from tests.parity.nn_rows import draw

STORED = Path(__file__).parent / "fixtures" / "setr.npz"
FLOATS = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class Row:
    """One head: its kind, D, K, its own channels, convolutions or layers, factor; the tokens' maps (B, H, W)."""

    key: str
    kind: str = "up"
    width: int = 6
    classes: int = 5
    channels: int = 4
    count: int = 1
    factor: int = 2
    kernel: int = 3
    train: bool = False
    map: tuple = (2, 3, 2)

    def maps(self):
        """The encoder's maps, each (B, D, H, W): one, or one for each layer."""
        B, H, W = self.map
        count = self.count if self.kind == "mla" else 1
        return [draw(f"{self.key} map {i}", B, self.width, H, W) for i in range(count)]

    def cotangent(self, shape):
        return draw(f"{self.key} cotangent", *shape)

    def weight(self, name, shape):
        """A random value for every weight, by its published name; variances are positive."""
        values = draw(f"{self.key} {name}", *shape)
        if name.endswith("running_var"):
            return 0.5 + values**2
        return 0.5 * values + (name.endswith("weight") and len(shape) == 1)


ROWS = [
    Row("naive", factor=4, kernel=1),
    Row("naive in training", factor=4, kernel=1, train=True, map=(2, 2, 5)),
    Row("progressive", count=4),
    Row("progressive in training", count=2, train=True, classes=1, map=(3, 1, 4)),
    Row("auxiliary of the progressive", factor=4),
    Row("multi-level", "mla", count=4, factor=4),
    Row("multi-level in training", "mla", count=2, channels=6, factor=4, train=True, map=(2, 1, 3)),
]


def head(row):
    """Our head of a row, in float64."""
    sizes = row.width, row.classes
    if row.kind == "mla":
        made = MLAHead(*sizes, row.count, row.channels, row.factor, align_corners=False)
    elif row.kernel == 1:
        made = NaiveHead(*sizes, row.channels, row.factor)
    else:
        made = PUPHead(*sizes, row.channels, row.count, row.factor)
    return made.train(row.train).to("float64")


def their_name(name, row):
    """mmsegmentation's name of a weight of ours, or None for what it has not: biases before a norm."""
    if row.kind != "mla":
        for ours, theirs in (
            (r"^conv_norm\.", "up_convs.0.0.bn."),
            (r"^conv\.", "up_convs.0.0.conv."),
            (r"^norms\.(\d+)\.", r"up_convs.\1.0.bn."),
            (r"^convs\.(\d+)\.", r"up_convs.\1.0.conv."),
            (r"^classifier\.", "conv_seg."),
        ):
            name = re.sub(ours, theirs, name)
        return None if name.endswith("conv.bias") else name
    deepest_first = re.match(r"(convs|narrow)\.(\d+)\.(\d+)(.*)", name)
    if deepest_first:
        part, layer, inside, rest = deepest_first.groups()
        layer = row.count - 1 - int(layer)  # the shallowest is the last
        if part == "convs":
            return f"neck.mla.feat_extract.{layer}.{'conv' if inside == '0' else 'bn'}{rest}"
        return f"head.up_convs.{layer}.{int(inside) // 3}.{'conv' if int(inside) % 3 == 0 else 'bn'}{rest}"
    name = re.sub(r"^norms\.", "neck.norm.", name)
    name = re.sub(r"^classifier\.", "head.conv_seg.", name)
    return re.sub(
        r"^laterals\.(\d+)\.(\d)",
        lambda m: f"neck.mla.channel_proj.{m[1]}.{'conv' if m[2] == '0' else 'bn'}",
        name,
    )


def to_ours(name, x, row):
    """A weight of mmsegmentation in our form: two differences of the multi-level head's classifier.

    It is 1 x 1 where ours, as the authors', is 3 x 3; and it reads the streams from the deepest to the shallowest.
    """
    if name != "head.conv_seg.weight":
        return x
    deepest_first = x.reshape(row.classes, row.count, -1, 1, 1)
    return np.pad(deepest_first[:, ::-1].reshape(x.shape), ((0, 0), (0, 0), (1, 1), (1, 1)))


def to_theirs(name, x, row):
    """The gradient of a weight of ours in mmsegmentation's form."""
    if name != "head.conv_seg.weight":
        return x
    shallow_first = x[:, :, 1:2, 1:2].reshape(row.classes, row.count, -1, 1, 1)
    return shallow_first[:, ::-1].reshape(*x.shape[:2], 1, 1)


def ours(row):
    """The scores and all gradients of our head, by mmsegmentation's names."""
    model = head(row)
    state = model.state_dict()
    for name, x in state.items():
        theirs = their_name(name, row)
        if name.rpartition(".")[2] in FLOATS:
            shape = (*x.shape[:2], 1, 1) if theirs == "head.conv_seg.weight" else x.shape
            state[name] = to_ours(theirs, row.weight(theirs, shape), row) if theirs else np.zeros(x.shape)
    model.load_state_dict(state)
    maps = row.maps()
    B, H, W = row.map
    tokens = [Tensor(x.reshape(B, -1, H * W).swapaxes(1, 2), requires_grad=True) for x in maps]
    scores = model(tokens if row.kind == "mla" else tokens[0], (H, W))
    scores.backward(row.cotangent(scores.shape))
    found = {"scores": scores.numpy()}
    for i, x in enumerate(tokens):
        found[f"gradient map {i}"] = x.grad.swapaxes(1, 2).reshape(maps[i].shape)
    for name, p in model.named_parameters():
        if theirs := their_name(name, row):
            found[f"gradient {theirs}"] = to_theirs(theirs, p.grad, row)
    return found


# ------------------------------------------------------------------ mmsegmentation


def theirs(row):
    """The same of mmsegmentation's head, which for the multi-level one has its neck before it."""
    import torch

    torch.set_default_dtype(torch.float64)
    try:
        whole = _made(row)
        whole.train(row.train)
        state = {
            name: torch.tensor(row.weight(name, tuple(x.shape))) if name.rpartition(".")[2] in FLOATS else x
            for name, x in whole.state_dict().items()
        }
        whole.load_state_dict(state)
        maps = [torch.tensor(x, requires_grad=True) for x in row.maps()]
        scores = whole(maps)
        scores.backward(torch.tensor(row.cotangent(tuple(scores.shape))))
    finally:
        torch.set_default_dtype(torch.float32)
    found = {"scores": scores.detach().numpy()}
    found |= {f"gradient map {i}": x.grad.numpy() for i, x in enumerate(maps)}
    return found | {f"gradient {name}": p.grad.numpy() for name, p in whole.named_parameters()}


def _made(row):
    """Their head of a row as a module of a list of maps, from their files, with stand-ins for what those import."""
    from torch import nn

    classes = _classes()
    norm = {"type": "BN"}
    if row.kind != "mla":
        head = classes["setr_up_head"].SETRUPHead(
            in_channels=row.width, channels=row.channels, num_classes=row.classes, num_convs=row.count,
            up_scale=row.factor, kernel_size=row.kernel, norm_cfg=norm,
        )  # fmt: skip
        head.forward = lambda maps, run=head.forward: run(maps[0])
        return head

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.neck = classes["mla_neck"].MLANeck([row.width] * row.count, row.channels, norm_cfg=norm)
            self.head = classes["setr_mla_head"].SETRMLAHead(
                mla_channels=row.channels // 2, up_scale=row.factor, in_channels=[row.channels] * row.count,
                channels=row.count * row.channels // 2, num_classes=row.classes, norm_cfg=norm,
            )  # fmt: skip

        def forward(self, maps):
            return self.head(self.neck(maps))

    return Both()


def _classes():
    """The modules of the three files."""
    import torch.nn.functional as F
    from torch import nn

    class ConvModule(nn.Module):
        """mmcv's: a convolution without a bias, batch norm, ReLU."""

        def __init__(self, in_channels, out_channels, kernel_size, norm_cfg, act_cfg, stride=1, padding=0):
            super().__init__()
            self.conv = nn.Conv2d(
                in_channels, out_channels, kernel_size, stride, padding, bias=norm_cfg is None
            )
            self.bn = nn.BatchNorm2d(out_channels)

        def forward(self, x):
            return F.relu(self.bn(self.conv(x)))

    class Head(nn.Module):
        """mmsegmentation's base class, as far as these heads use it."""

        def __init__(self, in_channels, channels, num_classes, norm_cfg, init_cfg=None, input_transform=None):
            super().__init__()
            self.in_channels, self.channels = in_channels, channels
            self.norm_cfg = norm_cfg
            self.act_cfg = {"type": "ReLU"}
            self.align_corners = False
            self.conv_seg = nn.Conv2d(channels, num_classes, 1)

        def _transform_inputs(self, x):
            return x

        def cls_seg(self, x):
            return self.conv_seg(x)

    registry = types.SimpleNamespace(register_module=lambda: lambda cls: cls)
    norm_layer = lambda config, size: ("ln", nn.LayerNorm(size, eps=config["eps"]))  # noqa: E731
    given = {
        "mmcv.cnn": {"ConvModule": ConvModule, "build_norm_layer": norm_layer},
        "mmseg.registry": {"MODELS": registry},
        "mmseg.models.decode_heads.decode_head": {"BaseDecodeHead": Head},
    }
    root = importlib.util.find_spec("mmseg").submodule_search_locations[0]
    before = set(sys.modules)
    try:
        for name, contents in given.items():
            pretend(name, contents)
        wrappers = from_file("mmseg.models.utils.wrappers", root)
        pretend("mmseg.models.utils", {"Upsample": wrappers.Upsample})
        return {
            name: from_file(f"mmseg.models.{folder}.{name}", root)
            for folder, name in (
                ("decode_heads", "setr_up_head"), ("decode_heads", "setr_mla_head"), ("necks", "mla_neck")
            )
        }  # fmt: skip
    finally:
        for name in set(sys.modules) - before:
            if name.startswith(("mmcv", "mmengine", "mmseg")):
                del sys.modules[name]


def load(key):
    """The stored results of a row."""
    with np.load(STORED, allow_pickle=False) as stored:
        return {name.removeprefix(f"{key}/"): x for name, x in stored.items() if name.startswith(f"{key}/")}


if __name__ == "__main__":
    results = {f"{row.key}/{name}": x for row in ROWS for name, x in theirs(row).items()}
    np.savez_compressed(STORED, **results)
    print(f"{STORED}: {STORED.stat().st_size:,} bytes")
