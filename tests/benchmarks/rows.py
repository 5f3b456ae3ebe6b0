"""What is measured: each row as a step in minivis and the same step in eager PyTorch, with the work that it is made of.

Where DeZero (the NumPy engine of the book "Deep Learning from Scratch 3") can do the step, it does it too. A step takes
its number, so that its inputs differ from those before and nothing can be remembered.
Not here: how a step is timed (side.py), which process runs it and what is written (__main__.py).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

import minivis as mv
from minivis import models, ops, optim

SEVERAL = 4  # inputs that the steps take in turn


@dataclass(frozen=True)
class Row:
    """One comparison.

    ``minivis(device)``, ``torch(device)`` and ``dezero(device)`` build a step: a function of the step's number. ``work()``
    is (floating-point operations, bytes that must be read or written at least). The bars are ratios of our time to
    PyTorch's. Rows of one series differ in a size only: (name of the series, size).
    """

    name: str
    minivis: Callable
    torch: Callable
    work: Callable
    at_least: float | None = None
    aim: float | None = None
    memory: float | None = None  # the bar for the ratio of peaks
    dezero: Callable | None = None
    series: tuple | None = None

    def sides(self, device):
        """Who can do it."""
        return ["minivis", "torch"] + (["dezero"] if self.dezero and device == "cpu" else [])


def draw(*shape, seed=0):
    """Random inputs for `SEVERAL` steps, float32."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape, dtype=np.float32) for _ in range(SEVERAL)]


def classes(batch, count):
    """Random classes for `SEVERAL` steps."""
    return [np.random.default_rng(i).integers(0, count, batch) for i in range(SEVERAL)]


# ------------------------------------------------------------------ a model, trained or only asked


def training(make, shape, count):
    """The minivis side of a training step with AdamW."""

    def build(device):
        model = make().to(device)
        optimizer = optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)
        images = [mv.to_device(x, device) for x in draw(*shape)]
        labels = [mv.to_device(x, device) for x in classes(shape[0], count)]

        def step(i):
            optimizer.zero_grad()
            ops.cross_entropy(model(images[i % SEVERAL]), labels[i % SEVERAL]).backward()
            optimizer.step()

        return step

    return build


def torch_training(make, shape, count):
    """The same in PyTorch."""

    def build(device):
        import torch

        model = make().to(device).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)
        images = [torch.from_numpy(x).to(device) for x in draw(*shape)]
        labels = [torch.from_numpy(x).to(device) for x in classes(shape[0], count)]

        def step(i):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(images[i % SEVERAL]).logits, labels[i % SEVERAL])
            loss.backward()
            optimizer.step()

        return step

    return build


def asking(make, shape):
    """The minivis side of a forward pass."""

    def build(device):
        model = make().to(device).eval()
        images = [mv.to_device(x, device) for x in draw(*shape)]

        def step(i):
            with mv.no_grad():
                model(images[i % SEVERAL])

        return step

    return build


def torch_asking(make, shape):
    """The same in PyTorch."""

    def build(device):
        import torch

        model = make().to(device).eval()
        images = [torch.from_numpy(x).to(device) for x in draw(*shape)]

        def step(i):
            with torch.no_grad():
                model(images[i % SEVERAL])

        return step

    return build


def model_work(make, shape, passes):
    """Work of a model: its multiply-adds, each two operations, and its parameters, read in each pass."""

    def work():
        found = mv.summary(make(), shape)
        return 2 * found.multiply_adds * passes, 4 * found.parameters * passes

    return work


def trained(name, make, theirs, shape, count=1000, **bars):
    """The row of a training step."""
    work = model_work(make, shape, 3)  # backward is twice a forward
    return Row(name, training(make, shape, count), torch_training(theirs, shape, count), work, **bars)


def asked(name, make, theirs, shape, **more):
    """The row of a forward pass."""
    return Row(name, asking(make, shape), torch_asking(theirs, shape), model_work(make, shape, 1), **more)


# ------------------------------------------------------------------ the models as transformers builds them


def their_vit(width, depth, heads, size, patch, count):
    """A ViT of transformers."""

    def make():
        from transformers import ViTConfig, ViTForImageClassification

        sizes = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": depth}
        options = {"image_size": size, "patch_size": patch, "num_labels": count, "num_attention_heads": heads}
        dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        return ViTForImageClassification(ViTConfig(**sizes, **options, **dropout))

    return make


def their_resnet(depths, kind, widths):
    """A ResNet of transformers."""

    def make():
        from transformers import ResNetConfig, ResNetForImageClassification

        config = ResNetConfig(depths=depths, layer_type=kind, hidden_sizes=widths, num_labels=1000)
        return ResNetForImageClassification(config)

    return make


def their_swin():
    """Swin-T of transformers."""
    from transformers import SwinConfig, SwinForImageClassification

    return SwinForImageClassification(SwinConfig(num_labels=1000))


def their_detr():
    """DETR-R50 of transformers, with the backbone of its own."""
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    backbone = ResNetConfig(out_features=["stage4"])
    config = DetrConfig(use_timm_backbone=False, use_pretrained_backbone=False, backbone_config=backbone)
    return DetrForObjectDetection(config)


# ------------------------------------------------------------------ models on images of several sizes


def swin(size, **bars):
    """The row of Swin-T's forward pass on one image."""
    series = ("Swin-T forward, with pixels", size**2)
    name = f"Swin-T, {size} x {size}, forward"
    return asked(name, models.swin_t, their_swin, (1, 3, size, size), series=series, **bars)


def vit(size):
    """The row of ViT-Ti/16's forward pass on one image."""

    def make():
        return models.ViT(image_size=size, patch_size=16, width=192, depth=12, heads=3, num_classes=1000)

    series = ("ViT-Ti/16 forward, with tokens", (size // 16) ** 2)
    theirs = their_vit(192, 12, 3, size, 16, 1000)
    return asked(f"ViT-Ti/16, {size} x {size}, forward", make, theirs, (1, 3, size, size), series=series)


# ------------------------------------------------------------------ single ops


def import_dezero():
    """DeZero 0.0.13, which asks NumPy for a name that NumPy has dropped since."""
    vars(np)["int"] = int
    import dezero

    return dezero


def op(name, ours, theirs, shapes, flops, in_dezero=None, **more):
    """The row of one op, forward and backward, with inputs of these shapes; ``in_dezero`` where DeZero has it."""

    def inputs():
        return list(zip(*(draw(*shape, seed=i) for i, shape in enumerate(shapes)), strict=True))

    def build(device):
        leaves = [
            [mv.Tensor(mv.to_device(x, device), requires_grad=True) for x in group] for group in inputs()
        ]
        ones = mv.to_device(np.ones(ours(*leaves[0]).shape, np.float32), device)

        def step(i):
            for leaf in leaves[i % SEVERAL]:
                leaf.grad = None
            ours(*leaves[i % SEVERAL]).backward(ones)

        return step

    def torch_build(device):
        import torch

        leaves = [[torch.from_numpy(x).to(device).requires_grad_() for x in group] for group in inputs()]
        ones = torch.ones_like(theirs(torch, *leaves[0]))

        def step(i):
            for leaf in leaves[i % SEVERAL]:
                leaf.grad = None
            theirs(torch, *leaves[i % SEVERAL]).backward(ones)

        return step

    def dezero_build(device):
        dezero = import_dezero()
        leaves = [[dezero.Variable(x) for x in group] for group in inputs()]
        ones = dezero.Variable(np.ones(in_dezero(dezero, *leaves[0]).shape, np.float32))

        def step(i):
            for leaf in leaves[i % SEVERAL]:
                leaf.cleargrad()
            out = in_dezero(dezero, *leaves[i % SEVERAL])
            out.grad = ones
            out.backward()

        return step

    touched = 4 * 4 * sum(int(np.prod(shape)) for shape in shapes)  # in, out, and both cotangents
    more |= {"dezero": dezero_build if in_dezero else None}
    return Row(name, build, torch_build, lambda: (flops, touched), **more)


def attention(tokens):
    """The row of attention alone: one image, 3 heads of 64."""
    shapes = [(1, 3, tokens, 64)] * 3
    return op(
        f"attention, {tokens} tokens",
        lambda q, k, v: ops.scaled_dot_product_attention(q, k, v),
        lambda torch, q, k, v: torch.nn.functional.scaled_dot_product_attention(q, k, v),
        shapes,
        3 * 2 * 2 * 3 * tokens**2 * 64,
        series=("attention alone, with tokens", tokens) if tokens >= 256 else None,  # fewer: mostly overhead
    )


def convolution(channels, out, kernel, stride, size, batch=4):
    """The row of one convolution."""
    padding = kernel // 2
    side = (size + 2 * padding - kernel) // stride + 1
    return op(
        f"conv {channels} to {out}, {kernel} x {kernel} / {stride}, {size} x {size}, batch {batch}",
        lambda x, w: ops.conv2d(x, w, stride=stride, padding=padding),
        lambda torch, x, w: torch.nn.functional.conv2d(x, w, stride=stride, padding=padding),
        [(batch, channels, size, size), (out, channels, kernel, kernel)],
        3 * 2 * batch * out * side * side * channels * kernel * kernel,
        in_dezero=lambda dezero, x, w: dezero.functions_conv.conv2d(x, w, stride=stride, pad=padding),
    )


def adamw():
    """The row of AdamW alone: the parameters of a ViT-Ti."""
    shapes = [p.shape for p in models.vit_ti16().parameters()]

    def build(device):
        leaves = [mv.Tensor(mv.to_device(np.ones(s, np.float32), device), requires_grad=True) for s in shapes]
        optimizer = optim.AdamW(leaves, lr=1e-4, weight_decay=0.01)
        grads = [[mv.to_device(x, device) for x in draw(*shape)] for shape in shapes]

        def step(i):
            for leaf, grad in zip(leaves, grads, strict=True):
                leaf.grad = grad[i % SEVERAL]
            optimizer.step()

        return step

    def torch_build(device):
        import torch

        leaves = [torch.ones(tuple(s), device=device, requires_grad=True) for s in shapes]
        optimizer = torch.optim.AdamW(leaves, lr=1e-4, weight_decay=0.01)
        grads = [[torch.from_numpy(x).to(device) for x in draw(*shape)] for shape in shapes]

        def step(i):
            for leaf, grad in zip(leaves, grads, strict=True):
                leaf.grad = grad[i % SEVERAL]
            optimizer.step()

        return step

    count = sum(int(np.prod(shape)) for shape in shapes)
    return Row("AdamW, 5.7 million parameters", build, torch_build, lambda: (12 * count, 7 * 4 * count))


def chain():
    """The row of a chain of 1,000 tiny ops, forward and backward: what an op costs whatever its size."""

    def links(x, tanh):
        for _ in range(250):
            x = tanh((x * 1.001 + 0.001).reshape(1, 8))
        return x

    def ours(x):
        return links(x, ops.tanh)

    def theirs(torch, x):
        return links(x, torch.tanh)

    def in_dezero(dezero, x):
        return links(x, dezero.functions.tanh)

    return op("chain of 1,000 tiny ops", ours, theirs, [(1, 8)], 1000 * 8, in_dezero)


def rows(device):
    """The rows for a device."""
    small = {"image_size": 32, "patch_size": 4, "width": 64, "depth": 4, "heads": 4, "num_classes": 10}
    tokens, hidden = (8 * 197, 192), (8 * 197, 768)
    found = [
        trained(
            "ViT-Ti/16, 224 x 224, batch 8, training step",
            models.vit_ti16,
            their_vit(192, 12, 3, 224, 16, 1000),
            (8, 3, 224, 224),
            at_least=1.0,
            aim=0.75,
            memory=1.2,
        ),
        trained(
            "ViT of width 64, 4 layers, 32 x 32, batch 64, training step",
            lambda: models.ViT(**small),
            their_vit(64, 4, 4, 32, 4, 10),
            (64, 3, 32, 32),
            10,
            at_least=1.2,
            aim=0.8,
        ),
        swin(224, at_least=1.3, aim=0.8),
        trained(
            "ResNet-18, 64 x 64, batch 16, training step",
            models.resnet18,
            their_resnet([2, 2, 2, 2], "basic", [64, 128, 256, 512]),
            (16, 3, 64, 64),
            at_least=2.0,
            aim=1.2,
        ),
        asked(
            "ResNet-50, 224 x 224, forward",
            models.resnet50,
            their_resnet([3, 4, 6, 3], "bottleneck", [256, 512, 1024, 2048]),
            (1, 3, 224, 224),
        ),
        asked(
            "DETR-R50, 480 x 640, forward",
            models.detr_r50,
            lambda: their_detr(),
            (1, 3, 480, 640),
            at_least=1.6,
            aim=1.0,
        ),
        *(swin(size) for size in (448, 896)),
        *(vit(size) for size in (224, 448, 896)),
        *(attention(n) for n in (64, 256, 1024, 4096)),
        convolution(3, 64, 7, 2, 224),
        convolution(64, 64, 3, 1, 56),
        convolution(128, 128, 3, 1, 28),
        convolution(256, 256, 3, 1, 14),
        convolution(256, 64, 1, 1, 56),
        convolution(3, 192, 16, 16, 224),
        op(
            "layer norm, 1576 x 192",
            lambda x, w, b: ops.layer_norm(x, 192, w, b),
            lambda torch, x, w, b: torch.nn.functional.layer_norm(x, (192,), w, b, 1e-6),
            [tokens, (192,), (192,)],
            20 * 1576 * 192,
        ),
        op(
            "softmax, 4728 x 197",
            lambda x: ops.softmax(x),
            lambda torch, x: torch.softmax(x, -1),
            [(4728, 197)],
            10 * 4728 * 197,
            in_dezero=lambda dezero, x: dezero.functions.softmax(x),
        ),
        op(
            "exact GELU, 1576 x 768",
            lambda x: ops.gelu(x),
            lambda torch, x: torch.nn.functional.gelu(x),
            [hidden],
            40 * 1576 * 768,
        ),
        adamw(),
        chain(),
    ]
    if device == "cpu":
        return found
    return [
        trained(
            "ViT-B/16, 224 x 224, batch 32, training step",
            models.vit_b16,
            their_vit(768, 12, 12, 224, 16, 1000),
            (32, 3, 224, 224),
            at_least=1.5,
            aim=1.0,
        ),
        *(replace(row, at_least=None, aim=None, memory=None) for row in found),  # those bars are for CPUs
    ]
