"""Texts about values and ops in a drawing: shapes with letters, names of outputs, words and families of ops.

Not here: which values are drawn (data_flow.py).
"""

from dataclasses import fields, is_dataclass

from minivis.autograd import Node, Tensor

__all__ = []

INPUTS = {3: "(B, N, D)", 4: "(B, C, H, W)"}  # tokens, images: the same everywhere in the library
# ops that are not named at an arrow: they only rearrange numbers, or apply a constant
QUIET = {"reshape", "transpose", "swapaxes", "moveaxis", "broadcast_to", "expand_dims", "squeeze", "astype",
         "dropout", "mul", "div", "neg", "sub", "pad"}  # fmt: skip
SIGNS = {"add": "+", "sub": "−", "mul": "×", "div": "÷", "concatenate": "concat",
         "scaled_dot_product_attention": "attention"}  # fmt: skip
PICK = "pick"  # indexing, such as one token or the last layer
WORDS = {"max_pool2d": "max pool", "avg_pool2d": "mean pool", "getitem": PICK, "interpolate": "resize",
         "concatenate": "concat", "add": "+ constant"}  # fmt: skip


def named_outputs(out):
    """(name, Tensor) for each result of a module: fields of a record, elements of a list; one Tensor has no name."""
    if isinstance(out, Tensor):
        return [("", out)]
    named = is_dataclass(out) or isinstance(out, dict)
    found = [(name, x) for name, x in _pairs(out) if isinstance(x, Tensor)]
    for name, value in _pairs(out) if named else []:
        if isinstance(value, (list, tuple)):
            found += [(f"{name} {i}", x) for i, x in enumerate(value) if isinstance(x, Tensor)]
    if named:
        return found
    return [("", found[0][1])] if len(found) == 1 else [(f"output {i}", x) for i, x in found]


def _pairs(out):
    if is_dataclass(out):
        return [(field.name, getattr(out, field.name)) for field in fields(out)]
    if isinstance(out, dict):
        return [(str(key), value) for key, value in out.items()]
    return list(enumerate(out)) if isinstance(out, (list, tuple)) else []


def shape_of(value):
    """(letters, lengths) of a shape; the letters are found from the ops that made the value, if possible."""
    shape = tuple(value.shape)
    return (letters_of(value) if isinstance(value, Node) else "", shape)


def letters_of(node):
    """(B, N, D) for tokens; (B, C, H, W) for a map; (B, H, W, D) for a map whose layers work on the last axis."""
    axes = len(node.shape)
    seen = set()
    stack = [(node, False)] if axes in (3, 4) else []
    while stack:
        node, last_axis = stack.pop()
        of_maps = any(word in node.op for word in ("conv2d", "pool2d", "batch_norm", "group_norm"))
        of_tokens = any(word in node.op for word in ("linear", "layer_norm"))
        if axes == 3 and (of_maps or of_tokens):
            return "(B, N, D)"
        if of_maps:
            return "(B, H, W, D)" if last_axis else "(B, C, H, W)"
        if node.op == "stack" or axes == 4 and node.op == "reshape" and not last_axis:
            return ""
        seen.add(id(node))
        before = [p for _, p in node.parents if isinstance(p, Node) and id(p) not in seen]
        stack += [(parent, last_axis or of_tokens) for parent in reversed(before)]
    return ""


def family_of(ops):
    """The kind of a layer, from the names of its ops."""
    families = [
        ("attention", "attention"),
        ("neighbour_sum", "attention"),
        ("conv", "convolution"),
        ("linear", "linear"),
        ("norm", "norm"),
    ]
    return next((family for word, family in families if any(word in op for op in ops)), "other")
