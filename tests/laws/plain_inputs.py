"""Plain random calls of each family over its whole domain, as nobody's laws draw them: general, odd, all options at once.

Not here: corners. The strategies of the laws are in minivis/laws; these are written apart from them on purpose.
"""

import math

import numpy as np

from minivis.laws.ode import Field
from tests.laws.plain_detection import PLAIN_DETECTION
from tests.laws.plain_language import PLAIN_LANGUAGE

__all__ = ["PLAIN"]


def _numbers(rng, *shape, scale=1.0):
    return (rng.standard_normal(shape) * scale).astype(np.float32)


def _some(rng, **options):
    """Options, of which each is left out now and then: its default is part of the domain."""
    return {name: value for name, value in options.items() if rng.random() < 0.7}


def _softmax(rng):
    rank = int(rng.integers(1, 5))
    x = _numbers(rng, *rng.integers(1, 6, rank), scale=rng.choice([1, 3, 40]))
    return {"x": x, **_some(rng, axis=int(rng.integers(-rank, rank)))}


def _layer_norm(rng):
    shape = tuple(int(n) for n in rng.integers(1, 6, rng.integers(1, 5)))
    last = shape[-min(len(shape), int(rng.integers(1, 3))) :]
    x = (_numbers(rng, *shape) + np.float32(rng.uniform(-2, 2))) * np.float32(rng.choice([0.01, 1, 5]))
    eps = float(rng.choice([1e-5, 1e-6, 0.1, 1.0]))
    options = _some(rng, weight=_numbers(rng, *last), bias=_numbers(rng, *last), eps=eps)
    return {"x": x, "normalized_shape": last, **options}


def _local_response_norm(rng):
    x = _numbers(rng, *rng.integers(1, 9, 2), *rng.integers(1, 4, 2), scale=rng.choice([1, 30, 1000]))
    options = _some(rng, size=int(rng.choice([1, 3, 5, 7])), alpha=float(rng.choice([1e-4, 0.01, 1.0])))
    return {"x": x, **options, **_some(rng, beta=float(rng.uniform(0.3, 2)), k=float(rng.uniform(0.5, 3)))}


def _masked_conv2d(rng):
    O, C = rng.integers(1, 7, 2)  # noqa: E741
    kernel = rng.integers(1, 5, 2)
    table = rng.random((O, C)) < rng.choice([0.3, 0.7])
    table[:, 0] |= ~table.any(axis=1)
    x = _numbers(rng, int(rng.integers(1, 4)), C, *(kernel + rng.integers(0, 4, 2)))
    return {"x": x, "weight": _numbers(rng, O, C, *kernel), "bias": _numbers(rng, O), "table": table}


def _subsample(rng):
    B, C, H, W = rng.integers(1, 5, 4)
    return {"x": _numbers(rng, B, C, 2 * H, 2 * W), "weight": _numbers(rng, C), "bias": _numbers(rng, C)}


def _bilinear_kernel(rng):
    rows, columns = (int(side) for side in rng.integers(1, 33, 2))
    return {"size": rows if rng.random() < 0.3 else (rows, columns)}


def _fcn_upsample(rng):
    return {"scores": _numbers(rng, *rng.integers(1, 6, 4)), "factor": int(rng.integers(1, 9))}


def _field_of_view(rng):
    count = int(rng.integers(1, 13))
    layers = np.stack(
        [rng.integers(1, 8, count), rng.integers(1, 4, count), rng.integers(1, 4, count)], axis=1
    )
    return {"layers": [tuple(map(int, layer)) for layer in layers]}


def _pair(rng, low, high):
    """A number for both axes or one for each, as the call says it and as a pair."""
    rows, columns = (int(n) for n in rng.integers(low, high + 1, 2))
    return ((rows, columns), (rows, columns)) if rng.random() < 0.6 else (rows, (rows, rows))


def _conv2d(rng):
    options = {}
    pairs = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}
    for name, low, high in (("stride", 1, 3), ("padding", 0, 2), ("dilation", 1, 3)):
        if rng.random() < 0.7:
            options[name], pairs[name] = _pair(rng, low, high)
    kernel = rng.integers(1, 4, 2)
    groups = int(rng.integers(1, 4))
    reach = np.array(pairs["dilation"]) * (kernel - 1) + 1 - 2 * np.array(pairs["padding"])
    H, W = np.maximum(reach, 1) + rng.integers(0, 5, 2)
    if groups > 1 or rng.random() < 0.5:
        options["groups"] = groups
    each_in, each_out = rng.integers(1, 4, 2)
    if rng.random() < 0.6:
        options["bias"] = _numbers(rng, groups * each_out)
    x = _numbers(rng, int(rng.integers(1, 4)), groups * each_in, H, W)
    return {"x": x, "weight": _numbers(rng, groups * each_out, each_in, *kernel), **options}


def _patchify(rng):
    patch = int(rng.integers(1, 5))
    rows, columns = rng.integers(1, 4, 2)
    B, C = rng.integers(1, 5, 2)
    return {"images": _numbers(rng, B, C, patch * rows, patch * columns), "patch": patch}


def _unpatchify(rng):
    given = _patchify(rng)
    B, C, height, width = given["images"].shape
    patch = given["patch"]
    tokens = _numbers(rng, B, height // patch * (width // patch), patch * patch * C)
    return {"tokens": tokens, "patch": patch, "height": height, "width": width}


def _sine_position_code(rng):
    height, width, quarter = (int(n) for n in rng.integers(1, 12, 3))
    return {"height": height, "width": width, "dim": 4 * quarter}


def _attention_distance(rng):
    heads, rows, columns = (int(n) for n in rng.integers(1, 5, 3))
    scores = rng.standard_normal((heads, rows * columns, rows * columns)) * 3
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    attention = (e / e.sum(axis=-1, keepdims=True)).astype(np.float32)
    return {"attention": attention, "patch_size": int(rng.choice([1, 4, 14, 32])), "grid": (rows, columns)}


def _conv_transpose2d(rng):
    options = {}
    pairs = {"stride": (1, 1), "padding": (0, 0), "output_padding": (0, 0)}
    for name, low, high in (("stride", 1, 3), ("padding", 0, 2)):
        if rng.random() < 0.7:
            options[name], pairs[name] = _pair(rng, low, high)
    if min(pairs["stride"]) > 1 and rng.random() < 0.7:
        options["output_padding"], pairs["output_padding"] = _pair(rng, 0, min(pairs["stride"]) - 1)
    kernel = rng.integers(1, 5, 2)
    C, O = rng.integers(1, 4, 2)  # noqa: E741
    lost = 2 * np.array(pairs["padding"]) + 1 - kernel - np.array(pairs["output_padding"])
    H, W = np.maximum(0, -(-lost // np.array(pairs["stride"]))) + 1 + rng.integers(0, 3, 2)
    if rng.random() < 0.6:
        options["bias"] = _numbers(rng, O)
    x = _numbers(rng, int(rng.integers(1, 4)), C, H, W)
    return {"x": x, "weight": _numbers(rng, C, O, *kernel), **options}


def _max_pool2d(rng):
    kernel, kernels = _pair(rng, 1, 4)
    padding, paddings = _pair(rng, 0, min(kernels) // 2)
    options = _some(rng, stride=_pair(rng, 1, 4)[0])
    if rng.random() < 0.7:
        options["padding"] = padding
    else:
        paddings = (0, 0)
    H, W = np.maximum(1, np.array(kernels) - 2 * np.array(paddings)) + rng.integers(0, 6, 2)
    x = _numbers(rng, *rng.integers(1, 4, 2), H, W) - np.float32(rng.choice([0, 5]))
    return {"x": x, "kernel_size": kernel, **options}


def _max_pool2d_with_indices(rng):
    kernel, kernels = _pair(rng, 1, 4)
    H, W = np.array(kernels) * rng.integers(1, 4, 2) + rng.integers(0, kernels)
    x = _numbers(rng, *rng.integers(1, 4, 2), H, W)
    return {"x": x.round() if rng.random() < 0.3 else x, "kernel": kernel}


def _max_unpool2d(rng):
    B, C, h, w = (int(n) for n in rng.integers(1, 5, 4))
    H, W = (int(n) for n in (h, w) + rng.integers(0, 6, 2))
    indices = np.stack([rng.choice(H * W, h * w, replace=False) for _ in range(B * C)])
    return {"x": _numbers(rng, B, C, h, w), "indices": indices.reshape(B, C, h, w), "size": (H, W)}


def _point_position_code(rng):
    lead = rng.integers(1, 4, rng.integers(0, 4))
    size = tuple(int(side) for side in rng.integers(1, 33, 2))
    points = (rng.random((*lead, 2)) * 40 - 4).astype(np.float32)
    return {"points": points, "size": size, "gaussian": _numbers(rng, 2, int(rng.integers(1, 6)))}


def _stability_score(rng):
    shape = rng.integers(1, 5, rng.integers(2, 5))
    logits = _numbers(rng, *shape, scale=rng.choice([1, 4])) + np.float32(rng.uniform(-3, 2))
    return {"logits": logits, **_some(rng, offset=float(rng.choice([0.0, 0.5, 2.0, 1.0])))}


def _coded_attention(rng):
    lead = tuple(int(n) for n in rng.integers(1, 4, rng.integers(0, 3)))
    N, M, D = (int(n) for n in rng.integers(1, 6, 3))
    scale = rng.choice([0.5, 1, 4])
    shapes = {"x": N, "context": M, "x_codes": N, "context_codes": M}
    return {name: _numbers(rng, *lead, count, D, scale=scale) for name, count in shapes.items()}


def _mask_choice(rng):
    shape = rng.integers(1, 6, 2)
    losses = np.abs(_numbers(rng, *shape, scale=rng.choice([0.3, 3])))
    estimates, ious = (rng.random(shape).astype(np.float32) for _ in range(2))
    return {"losses": losses, "estimates": estimates, "ious": ious}


def _crop_concat(rng):
    B, C, D, h, w = rng.integers(1, 5, 5)
    H, W = (h, w) + rng.integers(0, 7, 2)
    return {"skip": _numbers(rng, B, C, H, W), "up": _numbers(rng, B, D, h, w)}


def _fuse_conv_norm(rng):
    F, C, m, n = (int(k) for k in rng.integers(1, 4, 4))
    mean, gamma, beta = (_numbers(rng, F) for _ in range(3))
    return {
        "weight": _numbers(rng, F, C, m, n),
        "running_mean": mean,
        "running_var": np.abs(_numbers(rng, F)) + np.float32(0.1),
        "gamma": gamma,
        "beta": beta,
        "eps": float(rng.choice([1e-5, 0.1])),
    }


def _setr_pup_head(rng):
    B, D, C, K, h, w = (int(n) for n in rng.integers(1, 4, 6))
    D += 2
    weights = {"norm.weight": _numbers(rng, D), "norm.bias": _numbers(rng, D)}
    for i in range(int(rng.integers(1, 5 if h * w < 5 else 3))):
        weights[f"convs.{i}.weight"] = _numbers(rng, C, C if i else D, 3, 3, scale=0.5)
        weights[f"convs.{i}.bias"] = _numbers(rng, C)
        weights |= {f"norms.{i}.{name}": _numbers(rng, C) for name in ("weight", "bias", "running_mean")}
        weights[f"norms.{i}.running_var"] = rng.uniform(0.2, 3, C).astype(np.float32)
    weights |= {"classifier.weight": _numbers(rng, K, C, 1, 1), "classifier.bias": _numbers(rng, K)}
    return {"tokens": _numbers(rng, B, 1 + h * w, D), "height": h, "width": w, "weights": weights}


def _mla_fuse(rng):
    M, B, D, C, h, w = (int(n) for n in rng.integers(1, 5, 6))
    laterals = _numbers(rng, M, C, D)
    return {"maps": _numbers(rng, M, B, D, h, w), "laterals": laterals, "convs": _numbers(rng, M, C, C, 3, 3)}


def _mask_decoder(rng):
    B, N, K = (int(n) for n in rng.integers(1, 7, 3))
    D = int(rng.integers(2, 6))
    shapes = {"patches": (B, N, D), "classes": (B, K, D), "w_patch": (D, D), "w_class": (D, D)}
    arrays = {name: _numbers(rng, *shape) for name, shape in shapes.items()}
    return {**arrays, "gamma": _numbers(rng, K), "beta": _numbers(rng, K)}


def _border_weights(rng):
    labels = rng.integers(0, int(rng.integers(1, 5)), rng.integers(1, 8, 2))
    labels = np.where(rng.random(labels.shape) < rng.choice([0.0, 0.4, 0.8]), 0, labels * rng.integers(1, 4))
    return {"labels": labels, **_some(rng, w0=float(rng.uniform(0, 12)), sigma=float(rng.uniform(0.5, 6)))}


def _random_masking(rng):
    B, N, D = (int(n) for n in rng.integers(1, 9, 3))
    N += 1
    ratio = float(rng.choice([0.0, 0.25, 0.5, 0.75, 0.875]))
    return {"tokens": _numbers(rng, B, N, D), "ratio": ratio, "noise": rng.random((B, N)).astype(np.float32)}


def _restore_tokens(rng):
    B, N, D = (int(n) for n in rng.integers(1, 9, 3))
    ids = rng.permuted(np.tile(np.arange(N), (B, 1)), axis=1)
    kept = _numbers(rng, B, int(rng.integers(0, N + 1)), D)
    return {"kept": kept, "mask_token": _numbers(rng, D), "ids_restore": ids}


def _mae_loss(rng):
    patch, B, C, rows, columns = (int(n) for n in rng.integers(1, 5, 5))
    images = _numbers(rng, B, C, patch * rows, patch * columns, scale=rng.choice([0.1, 1, 5]))
    mask = rng.random((B, rows * columns)) < rng.choice([0.3, 0.75])
    mask[-1, -1] |= not mask.any()
    case = {"images": images, "prediction": _numbers(rng, *mask.shape, patch**2 * C), "mask": mask}
    return {**case, "patch": patch, **_some(rng, norm_pix=bool(patch**2 * C > 1 and rng.random() < 0.7))}


def _interpolate(rng):
    options = {}
    if rng.random() < 0.6:
        options = {"mode": "bilinear", **_some(rng, align_corners=bool(rng.random() < 0.6))}
    elif rng.random() < 0.5:
        options = {"mode": "nearest"}
    x = _numbers(rng, *rng.integers(1, 4, 2), *rng.integers(1, 7, 2))
    size = rng.integers(1, 10, 2)
    return {"x": x, "size": tuple(int(n) for n in size), **options}


def _attention(rng):
    leading = tuple(rng.integers(1, 4, rng.integers(0, 3)))
    (N, M, d, e) = rng.integers(1, 6, 4)
    q, k, v = (_numbers(rng, *leading, *shape) for shape in ((N, d), (M, d), (M, e)))
    case = {"q": q * np.float32(rng.choice([0.5, 2, 80, 3000])), "k": k, "v": v}
    return case | _some(rng, mask=_mask(rng, (*leading, N, M)))


def _mask(rng, full):
    """A mask of any shape that broadcasts, with few keys for some rows and none for others."""
    shape = [n if rng.random() < 0.7 else 1 for n in full][
        int(rng.integers(len(full))) if rng.random() < 0.6 else 0 :
    ]
    return rng.random(shape) < rng.choice([0.25, 0.6])


def _multi_head(rng):
    heads = int(rng.integers(1, 4))
    (B, N, M) = rng.integers(1, 5, 3)
    D = heads * int(rng.integers(1, 4))
    query, key, value = _numbers(rng, B, N, D), _numbers(rng, B, M, D), _numbers(rng, B, M, D)
    if rng.random() < 0.3:  # self-attention
        M, key, value = N, query, query
    weights = {f"w_{n}": _numbers(rng, D, D, scale=rng.choice([0.5, 2])) for n in "qkvo"}
    weights |= {f"b_{n}": _numbers(rng, D) for n in "qkvo"}
    case = {"query": query, "key": key, "value": value, "weights": weights, "heads": heads}
    return case | _some(rng, mask=rng.random((N, M)) < rng.choice([0.3, 0.7]))


def _cross_entropy(rng):
    B, K = (int(n) for n in rng.integers(1, 6, 2))
    logits = _numbers(rng, B, K, scale=rng.choice([1, 4, 30])) + _numbers(
        rng, B, 1, scale=rng.choice([0, 60])
    )
    return {"logits": logits, "target": rng.integers(0, K, B)}


def _residual_block(rng):
    B, D, H = rng.integers(1, 6, 3)
    shapes = {"x": (B, D), "w1": (H, D), "b1": (H,), "w2": (D, H), "b2": (D,)}
    return {name: _numbers(rng, *shape, scale=rng.choice([0.5, 1, 3])) for name, shape in shapes.items()}


def _drop_path(rng):
    rows = int(rng.choice([1, 2, 40, 300]))
    x = _numbers(rng, rows, *rng.integers(1, 4, rng.integers(0, 3)))
    rate = float(rng.choice([0, 0.1, 0.25, 0.6, 0.9, 1]))
    draws = np.random.default_rng(int(rng.integers(2**32)))
    return {"x": x, "rate": rate, "training": bool(rng.random() < 0.8), "rng": draws}


def _mask_tokens(rng):
    V = int(rng.choice([5, 30, 400]))
    shape = tuple(int(n) for n in rng.integers(1, 30, rng.integers(1, 4)))
    special = tuple(int(n) for n in rng.choice(V, int(rng.choice([1, 3, V])), replace=False))
    case = {"ids": rng.integers(0, V, shape), "rng": np.random.default_rng(int(rng.integers(2**32)))}
    case |= {"vocabulary": V, "mask_id": special[0], "special_ids": special}
    return case | _some(rng, rate=float(rng.choice([0, 0.05, 0.15, 0.4, 0.8, 1])))


def _mlm_loss(rng):
    *shape, V = (int(n) for n in rng.integers(1, 7, rng.integers(2, 5)))
    chosen = rng.random(shape) < rng.choice([0.1, 0.5, 1])
    chosen.flat[rng.integers(chosen.size)] = True
    logits = _numbers(rng, *shape, V, scale=rng.choice([1, 10]))
    return {"logits": logits, "targets": rng.integers(0, V, shape), "chosen": chosen}


def _survival_schedule(rng):
    return {"layers": int(rng.integers(1, 60)), "last": float(rng.uniform(0, 1))}


def _odeint(rng):
    speeds = tuple(float(c) for c in rng.uniform(-1, 1, 4).round(2))
    field = Field(float(rng.uniform(-1, 1)), float(rng.uniform(-0.3, 0.3)), speeds)
    t0 = float(rng.uniform(-1, 1))
    case = {"field": field, "y0": _numbers(rng, *rng.integers(1, 4, rng.integers(1, 4))), "t0": t0}
    case |= {"t1": t0 + float(rng.uniform(-1.5, 1.5)), "steps": int(rng.integers(1, 5))}
    return case | _some(rng, method=str(rng.choice(["euler", "midpoint", "rk4"])))


def _non_local(rng):
    B, C, inner, rows, columns = (int(n) for n in rng.integers(1, 4, 5))
    pool = int(rng.integers(1, 4)) if rng.random() < 0.5 else 1
    frames = (int(rng.integers(1, 4)),) if rng.random() < 0.5 else ()
    x = _numbers(rng, B, C, *frames, rows * pool, columns * pool)
    weights = {f"w_{name}": _numbers(rng, inner, C) for name in ("theta", "phi", "g")}
    options = _some(rng, form=str(rng.choice(["embedded_gaussian", "dot_product"])))
    if pool > 1:
        options["pool"] = pool
    return {"x": x, **weights, "w_z": _numbers(rng, C, inner), **options}


def _tubelet_embed(rng):
    B, C, D, t, p = (int(n) for n in rng.integers(1, 4, 5))
    T, H, W = np.array([t, p, p]) * rng.integers(1, 4, 3)
    return {
        "video": _numbers(rng, B, T, C, H, W),
        "weight": _numbers(rng, D, C, t, p, p),
        "bias": _numbers(rng, D),
    }


def _factorised_attention(rng):
    heads = int(rng.integers(1, 4))
    B, T, N = (int(n) for n in rng.integers(1, 5, 3))
    D = heads * int(rng.integers(1, 4))
    scale = rng.choice([0.5, 1.5])
    weights = {}
    for name in ("query", "key", "value", "out"):
        for axis in ("space", "time"):
            weights[f"{axis}.{name}.weight"] = _numbers(rng, D, D, scale=scale)
            weights[f"{axis}.{name}.bias"] = _numbers(rng, D)
    order = _some(rng, order=str(rng.choice(["space_time", "time_space"])))
    return {"x": _numbers(rng, B, T, N, D), "weights": weights, "heads": heads, **order}


def _factorised_heads(rng):
    B, T, N, half, width = (int(n) for n in rng.integers(1, 5, 5))
    scale = rng.choice([1, 3])
    tokens = {
        name: _numbers(rng, B, T, N, 2 * half, width, scale=scale) for name in ("query", "key", "value")
    }
    return tokens | _some(rng, order=str(rng.choice(["space_time", "time_space"])))


def _hinge_d(rng):
    scale = rng.choice([1, 3, 100])
    real, fake = (_numbers(rng, *rng.integers(1, 5, rng.integers(1, 4)), scale=scale) for _ in range(2))
    return {"real": real, "fake": fake}


def _hinge_g(rng):
    return {"fake": _hinge_d(rng)["fake"]}


def _dino_loss(rng):
    B, K = (int(n) for n in rng.integers(1, 6, 2))
    crops = int(rng.integers(2, 7))
    case = {
        "student": _numbers(rng, crops * B, K, scale=rng.choice([0.3, 1, 10])),
        "teacher": _numbers(rng, 2 * B, K),
    }
    case |= {"centre": _numbers(rng, K), "crops": crops}
    temperatures = {
        "student_temp": float(rng.uniform(0.05, 1)),
        "teacher_temp": float(rng.uniform(0.04, 0.5)),
    }
    return case | _some(rng, **temperatures)


def _update_centre(rng):
    n, K = rng.integers(1, 7, 2)
    scale = rng.choice([0.1, 1, 10])
    case = {"centre": _numbers(rng, K, scale=scale), "teacher": _numbers(rng, n, K, scale=scale)}
    return case | _some(rng, momentum=float(rng.choice([0, 1, rng.uniform(0, 1)])))


def _ema(rng):
    shape = rng.integers(1, 5, rng.integers(1, 5))
    m = float(rng.choice([0, 1, rng.uniform(0, 1), 0.996]))
    return {"teacher": _numbers(rng, *shape), "student": _numbers(rng, *shape), "m": m}


def _cosine_schedule(rng):
    steps = int(rng.integers(1, 60))
    start, end = (float(x) for x in rng.uniform(0, rng.choice([1, 20]), 2))
    return {"start": start, "end": end, "steps": steps, **_some(rng, warmup=int(rng.integers(0, steps + 1)))}


def _self_attention_2d(rng):
    B, C, D, H, W = rng.integers(1, 5, 5)
    scale = rng.choice([0.3, 1, 4])
    weights = {name: _numbers(rng, D, C, scale=scale) for name in ("wf", "wg", "wh")}
    gamma = float(rng.choice([0, 1, -0.5, 3]))
    return {"x": _numbers(rng, B, C, H, W), **weights, "wv": _numbers(rng, C, D), "gamma": gamma}


def _weight_standardized_conv2d(rng):
    B, O, C, M, N = rng.integers(1, 5, 5)  # noqa: E741
    C += M * N == 1  # a filter of one number has no variance
    weight = _numbers(rng, O, C, M, N, scale=rng.choice([0.5, 1, 3])) + np.float32(rng.uniform(-1, 1))
    padding = rng.choice(["same", "number"])
    padding = "same" if padding == "same" else int(rng.integers(0, 3))
    least = (1, 1) if padding == "same" else (M, N)
    H, W = (int(low + rng.integers(0, 5)) for low in least)
    stride = tuple(int(n) for n in rng.integers(1, 4, 2))
    options = _some(rng, stride=stride, padding=padding, eps=float(rng.choice([1e-8, 0.1, 1.0])))
    if "padding" not in options:
        H, W = H + 1, W + 1
    return {"x": _numbers(rng, B, C, H, W), "weight": weight, **options}


def _spectral_norm(rng):
    shape = rng.integers(1, 5, rng.integers(2, 5))
    weight = _numbers(rng, *shape, scale=rng.choice([0.01, 1, 50]))
    u = rng.standard_normal(shape[0]) + 1e-3
    u = (u / np.linalg.norm(u)).astype(np.float32)
    if np.linalg.norm(weight.reshape(len(u), -1).T @ u) < 0.1 * np.linalg.norm(weight):
        return _spectral_norm(rng)  # rounding would decide where u goes
    return {"weight": weight, "u": u, **_some(rng, iterations=int(rng.integers(1, 5)))}


def _kernel_regression(rng):
    n, m, d, c = (int(size) for size in rng.integers(1, 6, 4))
    places = {"queries": _numbers(rng, n, d, scale=2.0), "keys": _numbers(rng, m, d, scale=2.0)}
    return {**places, "values": _numbers(rng, m, c), **_some(rng, b=float(rng.choice([0.5, 1.3, 3])))}


def _bilateral_filter(rng):
    window = int(rng.choice([1, 3, 5]))
    rows, columns = window // 2 + rng.integers(1, 4, 2)
    channels = (int(rng.integers(1, 5)),) if rng.random() < 0.5 else ()
    scale = float(rng.choice([1, 40]))
    widths = {"b_x": scale * rng.choice([0.5, 1, 3, math.inf]), "b_p": rng.choice([0.8, 1.5, 4, math.inf])}
    image = _numbers(rng, rows, columns, *channels, scale=scale)
    return {"image": image, "window": window, **{name: float(width) for name, width in widths.items()}}


def _non_local_means(rng):
    patch, search = (int(side) for side in rng.choice([1, 3, 5], 2))
    rows, columns = patch // 2 + search // 2 + rng.integers(1, 4, 2)
    options = _some(rng, sigma=float(rng.uniform(0, 1)), b_p=float(rng.choice([1, 3])))
    image = _numbers(rng, rows, columns)
    return {"image": image, "patch": patch, "search": search, "h": float(rng.uniform(0.5, 2)), **options}


def _steering_matrices(rng):
    window = int(rng.choice([3, 5]))
    size = window // 2 + rng.integers(1, 4, 2)
    options = {name: float(rng.uniform(0.05, 2)) for name in ("lam", "lam2", "alpha")}
    return {"gx": _numbers(rng, *size), "gy": _numbers(rng, *size), "window": window, **_some(rng, **options)}


def _steering_kernel_regression(rng):
    order = int(rng.choice([0, 2]))
    window = int(rng.choice([3, 5] if order else [1, 3, 5]))
    size = window // 2 + rng.integers(1, 4, 2)
    root = _numbers(rng, *size, 2, 2, scale=0.6)
    C = root @ np.swapaxes(root, -1, -2) + np.float32(0.2) * np.eye(2, dtype=np.float32)
    case = {"image": _numbers(rng, *size), "C": C, "window": window, "h": float(rng.uniform(1.2, 2.5))}
    return case | ({"order": order} if order or rng.random() < 0.5 else {})


PLAIN = {
    "residual_block": _residual_block,
    "drop_path": _drop_path,
    "mask_tokens": _mask_tokens,
    "mlm_loss": _mlm_loss,
    "survival_schedule": _survival_schedule,
    "odeint": _odeint,
    "patchify": _patchify,
    "unpatchify": _unpatchify,
    "sine_position_code": _sine_position_code,
    "attention_distance": _attention_distance,
    "field_of_view": _field_of_view,
    "bilinear_kernel": _bilinear_kernel,
    "fcn_upsample": _fcn_upsample,
    "softmax": _softmax,
    "log_softmax": _softmax,
    "layer_norm": _layer_norm,
    "local_response_norm": _local_response_norm,
    "conv2d": _conv2d,
    "conv_transpose2d": _conv_transpose2d,
    "max_pool2d": _max_pool2d,
    "max_pool2d_with_indices": _max_pool2d_with_indices,
    "max_unpool2d": _max_unpool2d,
    "crop_concat": _crop_concat,
    "fuse_conv_norm": _fuse_conv_norm,
    "point_position_code": _point_position_code,
    "stability_score": _stability_score,
    "coded_attention": _coded_attention,
    "mask_choice": _mask_choice,
    "border_weights": _border_weights,
    "setr_pup_head": _setr_pup_head,
    "mla_fuse": _mla_fuse,
    "mask_decoder": _mask_decoder,
    "masked_conv2d": _masked_conv2d,
    "subsample": _subsample,
    "random_masking": _random_masking,
    "restore_tokens": _restore_tokens,
    "mae_loss": _mae_loss,
    "interpolate": _interpolate,
    "kernel_regression": _kernel_regression,
    "bilateral_filter": _bilateral_filter,
    "non_local_means": _non_local_means,
    "steering_matrices": _steering_matrices,
    "steering_kernel_regression": _steering_kernel_regression,
    "cross_entropy": _cross_entropy,
    "hinge_d": _hinge_d,
    "hinge_g": _hinge_g,
    "dino_loss": _dino_loss,
    "update_centre": _update_centre,
    "ema": _ema,
    "cosine_schedule": _cosine_schedule,
    "self_attention_2d": _self_attention_2d,
    "spectral_norm": _spectral_norm,
    "weight_standardized_conv2d": _weight_standardized_conv2d,
    "scaled_dot_product_attention": _attention,
    "multi_head_attention": _multi_head,
    "non_local": _non_local,
    "tubelet_embed": _tubelet_embed,
    "factorised_attention": _factorised_attention,
    "factorised_heads": _factorised_heads,
    **PLAIN_DETECTION,
    **PLAIN_LANGUAGE,
}
