"""minivis' own functions keep the laws they teach, gradients included.

Not here: the laws of every op on every backend (tests/ops).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import laws
from minivis.laws.judging import candidate
from minivis.laws.judging.registry import family_of


@pytest.fixture(autouse=True)
def no_hurry(monkeypatch):
    """What is compiled on the first call does not count as slow."""
    monkeypatch.setattr(candidate, "FIRST_LIMIT", 60.0)
    monkeypatch.setattr(candidate, "TOTAL_LIMIT", 120.0)


def multi_head_attention(query, key, value, weights, heads, mask=None):
    """The layer, filled with the given weights."""
    layer = mv.nn.MultiHeadAttention(query.shape[-1], heads)
    names = {"query": "q", "key": "k", "value": "v", "out": "o"}
    state = {f"{long}.weight": weights[f"w_{n}"] for long, n in names.items()}
    layer.load_state_dict(state | {f"{long}.bias": weights[f"b_{n}"] for long, n in names.items()})
    for parameter, given in zip(layer.parameters(), [weights["w_q"]] * 8, strict=True):
        parameter.data = parameter.data.astype(given.dtype)
    return layer(query, key, value, mask=mask).numpy()


def factorised_attention(x, weights, heads, order="space_time"):
    """The function, with two layers filled with the given weights."""
    layers = {}
    for axis in ("space", "time"):
        layers[axis] = mv.nn.MultiHeadAttention(x.shape[-1], heads)
        state = {name: weights[f"{axis}.{name}"] for name in layers[axis].state_dict()}
        layers[axis].load_state_dict(state)
        for parameter in layers[axis].parameters():
            parameter.data = parameter.data.astype(x.dtype)
    return mv.vision.factorised_attention(x, **layers, order=order).numpy()


def residual_block(x, w1, b1, w2, b2):
    """As in models/cifar_resnet.py, with matrices in the place of convolutions."""
    branch = mv.ops.linear(mv.ops.relu(mv.ops.linear(x, w1, b1)), w2, b2)
    return mv.ops.relu(x + branch)


def max_pool2d_with_indices(x, kernel):
    return mv.ops.max_pool2d(x, kernel, return_indices=True)


def max_unpool2d(x, indices, size):
    """The op, which wants the sizes of windows: here each value has a window as large as fits."""
    kernel = tuple(n // m for n, m in zip(size, x.shape[2:], strict=True))
    # the last window, with the rest
    last = [n - (m - 1) * k for n, m, k in zip(size, x.shape[2:], kernel, strict=True)]
    return mv.ops.max_unpool2d(x, indices, tuple(last), kernel)


def attention_pool(x, positions, weights, heads):
    """The layer, filled with the given weights."""
    layer = mv.models.AttentionPool(x.shape[2:], x.shape[1], heads, len(weights["out.bias"]))
    layer.to(x.dtype).load_state_dict({"pos_embed": positions, **weights})
    return layer(x).numpy()


def setr_pup_head(tokens, height, width, weights):
    """The head, filled with the given weights; the model has removed the class token before."""
    K, C = weights["classifier.weight"].shape[:2]
    convs = sum(name.startswith("convs.") for name in weights) // 2
    head = mv.models.PUPHead(tokens.shape[2], K, C, convs).eval().to(tokens.dtype)
    head.load_state_dict(weights, strict=False)
    return head(tokens[:, 1:], (height, width)).numpy()


def mla_fuse(maps, laterals, convs):
    """The function takes layers; here they are made of the given weights."""
    lateral_layers = [lambda x, w=w: mv.ops.conv2d(x, w[:, :, None, None]) for w in laterals]
    conv_layers = [lambda x, w=w: mv.ops.conv2d(x, w, padding=1) for w in convs]
    return np.stack(mv.models.mla_fuse(maps, lateral_layers, conv_layers))


def panoptic_inference(class_logits, mask_logits, things, threshold, overlap):
    """The function, with the classes of its segments alone."""
    ids, segments = mv.vision.panoptic_inference(
        class_logits, mask_logits, things, threshold=threshold, overlap=overlap
    )
    return ids, np.array([segment["category_id"] for segment in segments], int)


def semantic_inference(class_logits, mask_logits):
    """The function, which takes batches, for one image."""
    return mv.vision.semantic_inference(class_logits[None], mask_logits[None])[0]


OTHER_FORMS = {  # functions of the library that are called in another way than the laws call them
    "attention_pool": attention_pool,
    "bpe_encode": mv.data.byte_pairs.bpe_encode,
    "factorised_attention": factorised_attention,
    "max_pool2d_with_indices": max_pool2d_with_indices,
    "max_unpool2d": max_unpool2d,
    "mla_fuse": mla_fuse,
    "multi_head_attention": multi_head_attention,
    "panoptic_inference": panoptic_inference,
    "residual_block": residual_block,
    "semantic_inference": semantic_inference,
    "setr_pup_head": setr_pup_head,
}


def ours(name):
    if name in OTHER_FORMS:
        return OTHER_FORMS[name]
    return next(
        getattr(home, name)
        for home in (mv.ops, mv.vision, mv.losses, mv.models, mv.nn, mv.analysis, mv.averaging, mv.optim)
        if hasattr(home, name)
    )


def with_vjp(name):
    """The function as ``(out, vjp)``: an op has that form of its own, anything else is recorded by Tensors."""
    function, family = ours(name), family_of(name)
    if hasattr(function, "raw"):
        return function

    def recorded(*args, **options):
        given = dict(zip(family.parameters, args, strict=False))
        tensors = {n: mv.Tensor(given[n], requires_grad=True) for n in family.arrays}
        whole = function(**{**given, **tensors}, **options)
        out, *beside = whole if isinstance(whole, tuple) else (whole,)

        def vjp(g):
            out.backward(g)
            return tuple(x.grad for x in tensors.values())

        return (out.numpy(), *beside) if beside else out.numpy(), vjp

    return recorded


@pytest.mark.parametrize("name", laws.names())
def test_minivis_keeps_the_law(name):
    report = laws.judge(name, ours(name))
    assert report.passed, str(report)
    if name != "multi_head_attention" and any(law.gradient for law in family_of(name).laws):
        report = laws.judge(name, with_vjp(name), vjp=True)
        assert report.passed, str(report)


def test_the_laws_need_no_tensor():
    assert isinstance(ours("softmax")(np.zeros(3)), np.ndarray)


def test_a_position_code_in_float32_alone_is_right():
    def answer(points, size, gaussian):
        sides = np.array([size[1], size[0]], points.dtype)
        angles = np.float32(2 * np.pi) * ((2 * (points + np.float32(0.5)) / sides - 1) @ gaussian)
        return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1).astype(gaussian.dtype)

    for seed in range(12):
        report = laws.judge("point_position_code", answer, seed=seed, only=["agrees on anything"])
        assert report.passed, str(report)
