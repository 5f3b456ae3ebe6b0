"""Every op of minivis as PyTorch writes it: one row an op, with the arguments of our op by the same names.

Not here: running the rows (op_rows.py) and comparing them (test_op_parity.py). The table can be read without torch.
"""

try:
    import torch
    from torch.nn import functional as F
except ImportError:
    torch = F = None


def _axes(x, axis):
    return tuple(range(x.ndim)) if axis is None else axis


def _pad(x, pad_width, value=0):
    widths = (
        [pad_width] * x.ndim if isinstance(pad_width, int) or isinstance(pad_width[0], int) else pad_width
    )
    widths = [(w, w) if isinstance(w, int) else tuple(w) for w in widths]
    # torch starts at the last axis
    return F.pad(x, [n for pair in reversed(widths) for n in pair], value=value)


def _expand_dims(x, axis):
    axes = axis if isinstance(axis, tuple) else (axis,)
    n = x.ndim + len(axes)
    for a in sorted(a % n for a in axes):
        x = x.unsqueeze(a)
    return x


def _allowed(q, k, mask, is_causal):
    """One boolean mask of both: torch refuses a mask together with is_causal."""
    if not is_causal:
        return mask
    causal = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()
    return causal if mask is None else causal & mask


def _attention(q, k, v, mask=None, bias=None, *, is_causal=False):
    """torch has one argument for both: a boolean mask, or numbers to add, -inf where nothing may be attended."""
    allowed = _allowed(q, k, mask, is_causal)
    if bias is not None:
        allowed = bias if allowed is None else torch.where(allowed, bias, -torch.inf)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)


def _attention_weights(q, k, mask=None, bias=None, *, is_causal=False):
    """The weights are the attention to the unit vectors."""
    values = torch.eye(k.shape[-2], dtype=k.dtype).expand(*k.shape[:-2], -1, -1)
    return _attention(q, k, values, mask, bias, is_causal=is_causal)


def _interpolate(x, size=None, scale_factor=None, mode="nearest", align_corners=False, antialias=False):
    corners = None if mode == "nearest" else align_corners
    return F.interpolate(x, size, scale_factor, mode, align_corners=corners, antialias=antialias)


TORCH = {
    # elementwise
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "pow": lambda x, exponent: x**exponent,
    "neg": lambda x: torch.neg(x),
    "abs": lambda x: torch.abs(x),
    "exp": lambda x: torch.exp(x),
    "log": lambda x: torch.log(x),
    "sqrt": lambda x: torch.sqrt(x),
    "rsqrt": lambda x: torch.rsqrt(x),
    "sin": lambda x: torch.sin(x),
    "cos": lambda x: torch.cos(x),
    "tanh": lambda x: torch.tanh(x),
    "erf": lambda x: torch.erf(x),
    "sigmoid": lambda x: torch.sigmoid(x),
    "relu": lambda x: F.relu(x),
    "silu": lambda x: F.silu(x),
    "softplus": lambda x, **options: F.softplus(x, **options),
    "gelu": lambda x, approximate="none": (
        x * torch.sigmoid(1.702 * x) if approximate == "quick" else F.gelu(x, approximate=approximate)
    ),
    "clip": lambda x, min=None, max=None: torch.clamp(x, min, max),
    "maximum": lambda x, y: torch.maximum(x, torch.as_tensor(y, dtype=x.dtype)),
    "minimum": lambda x, y: torch.minimum(x, torch.as_tensor(y, dtype=x.dtype)),
    "where": lambda condition, x, y: torch.where(condition, x, y),
    # reductions
    "sum": lambda x, axis=None, keepdims=False: torch.sum(x, _axes(x, axis), keepdims),
    "mean": lambda x, axis=None, keepdims=False: torch.mean(x, _axes(x, axis), keepdims),
    "var": lambda x, axis=None, correction=1, keepdims=False: torch.var(
        x, _axes(x, axis), correction=correction, keepdim=keepdims
    ),
    # amax shares the gradient among ties, ours gives it to the first: the rows have no ties
    "max": lambda x, axis=None, keepdims=False: torch.amax(x, _axes(x, axis), keepdims),
    "min": lambda x, axis=None, keepdims=False: torch.amin(x, _axes(x, axis), keepdims),
    "logsumexp": lambda x, axis, keepdims=False: torch.logsumexp(x, axis, keepdims),
    "argmax": lambda x, axis=None, keepdims=False: torch.argmax(x, axis, keepdims),
    "argsort": lambda x, axis=-1, descending=False: torch.argsort(
        x, dim=axis, descending=descending, stable=True
    ),
    "topk": lambda x, k, axis=-1, largest=True: tuple(torch.topk(x, k, axis, largest)),
    # shape
    "reshape": lambda x, shape: torch.reshape(x, shape),
    "transpose": lambda x, axes=None: torch.permute(x, axes or tuple(reversed(range(x.ndim)))),
    "moveaxis": lambda x, source, destination: torch.moveaxis(x, source, destination),
    "expand_dims": _expand_dims,
    "squeeze": lambda x, axis=None: torch.squeeze(x) if axis is None else torch.squeeze(x, axis),
    "broadcast_to": lambda x, shape: torch.broadcast_to(x, shape),
    "concatenate": lambda arrays, axis=0: torch.concatenate(arrays, axis),
    "stack": lambda arrays, axis=0: torch.stack(arrays, axis),
    "split": lambda x, indices_or_sections, axis=0: torch.tensor_split(x, indices_or_sections, axis),
    "pad": _pad,
    "roll": lambda x, shift, axis=None: torch.roll(x, shift, axis),
    "flip": lambda x, axis=None: torch.flip(x, (axis,) if isinstance(axis, int) else _axes(x, axis)),
    # indexing; torch's gather and index_add take no negative indices
    "getitem": lambda x, index: x[index],
    "take": lambda x, indices, axis=0: x[(slice(None),) * (axis % x.ndim) + (indices,)],
    "take_along_axis": lambda x, indices, axis=-1: torch.take_along_dim(x, indices % x.shape[axis], axis),
    "scatter_add": lambda x, indices, values, axis=0: torch.index_add(
        x, axis, indices % x.shape[axis], values
    ),
    "embedding": lambda indices, weight: F.embedding(torch.as_tensor(indices), weight),
    # products
    "matmul": lambda x, y: torch.matmul(x, y),
    "einsum": lambda subscripts, operands: torch.einsum(subscripts, *operands),
    "linear": lambda x, weight, bias=None: F.linear(x, weight, bias),
    # neural
    "softmax": lambda x, axis=-1: torch.softmax(x, axis),
    "log_softmax": lambda x, axis=-1: torch.log_softmax(x, axis),
    "layer_norm": lambda x, normalized_shape, **options: F.layer_norm(
        x, (normalized_shape,) if isinstance(normalized_shape, int) else normalized_shape, **options
    ),
    "group_norm": lambda x, num_groups, **options: F.group_norm(x, num_groups, **options),
    "batch_norm": lambda x, running_mean, running_var, **options: F.batch_norm(
        x, running_mean, running_var, **options
    ),
    # torch divides alpha by the size of the window, and needs an axis of positions
    "local_response_norm": lambda x, size=5, alpha=1e-4, beta=0.75, k=2.0: F.local_response_norm(
        x[..., None], size, alpha * size, beta, k
    )[..., 0],
    "normalize": lambda x, p=2.0, axis=1, eps=1e-12: F.normalize(x, p, axis, eps),
    "dropout": lambda x, p=0.5, training=True: F.dropout(x, p, training),
    # torch has no such op; in evaluation the paper's rule scales, the other leaves x as it is
    "drop_path": lambda x, rate=0.0, training=True, per="sample": (1 - rate) * x if per == "batch" else 1 * x,
    "scaled_dot_product_attention": _attention,
    "attention_composed": _attention,
    "attention_weights": _attention_weights,
    # convolution, pooling, resampling: the parameter lists are torch's
    "conv1d": lambda **arguments: F.conv1d(**_input(arguments)),
    "conv2d": lambda **arguments: F.conv2d(**_input(arguments)),
    "conv3d": lambda **arguments: F.conv3d(**_input(arguments)),
    "conv_transpose2d": lambda **arguments: F.conv_transpose2d(**_input(arguments)),
    "unfold": lambda **arguments: F.unfold(**_input(arguments)),
    "fold": lambda **arguments: F.fold(**_input(arguments)),
    "max_pool2d": lambda **arguments: F.max_pool2d(**_input(arguments)),
    "max_unpool2d": lambda **arguments: F.max_unpool2d(**_input(arguments)),
    "avg_pool2d": lambda **arguments: F.avg_pool2d(**_input(arguments)),
    "adaptive_avg_pool2d": lambda **arguments: F.adaptive_avg_pool2d(**_input(arguments)),
    "interpolate": _interpolate,
    "grid_sample": lambda **arguments: F.grid_sample(
        **{"mode": "bilinear", "padding_mode": "zeros", "align_corners": False} | _input(arguments)
    ),
    # losses
    "cross_entropy": lambda logits, target, **options: F.cross_entropy(logits, target, **options),
    "binary_cross_entropy_with_logits": lambda logits, target, **options: F.binary_cross_entropy_with_logits(
        logits, target.to(logits.dtype), **options
    ),  # torch refuses booleans
    "l1_loss": lambda prediction, target, **options: F.l1_loss(prediction, target, **options),
    "smooth_l1_loss": lambda prediction, target, **options: F.smooth_l1_loss(prediction, target, **options),
    "mse_loss": lambda prediction, target, **options: F.mse_loss(prediction, target, **options),
}


def _input(arguments):
    """Our ``x`` is torch's ``input``."""
    return {"input" if name == "x" else name: value for name, value in arguments.items()}


# Rows that torch cannot run, or where it means something else by the same words: (op, which rows, why).
DIFFERENT = [
    ("sum", lambda a: a.get("axis") == (), "torch reads an empty tuple of axes as all axes, NumPy as none"),
    ("dropout", lambda a: a.get("training", True), "another stream of random numbers"),
    ("drop_path", lambda a: a.get("training", True), "another stream of random numbers"),
    ("scaled_dot_product_attention", lambda a: "rng" in a, "another stream of random numbers"),
    ("attention_composed", lambda a: "rng" in a, "another stream of random numbers"),
    (
        "max_unpool2d",
        lambda a: a.get("stride") == 1,
        "a position twice: torch also gives a gradient to the value that was overwritten",
    ),
    ("getitem", lambda a: "-2" in str(a["index"]), "torch has no negative steps"),
]
