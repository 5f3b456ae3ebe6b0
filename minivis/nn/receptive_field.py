"""The layers that slide windows over an image, read from one forward pass: for the field of view of a model.

Not here: the formula (vision/receptive_fields.py), the table that shows it (layer_table.py).
"""

from minivis.autograd import Node
from minivis.nn.calls import tensors
from minivis.pairs import pair
from minivis.vision.receptive_fields import field_of_view

__all__ = []

SLIDING = ("conv2d", "max_pool2d", "avg_pool2d")


def sliding_layers(calls):
    """The windows between the images and the output, where the field of view is largest.

    Parameters
    ----------
    calls : list of Call
        Of `record_calls`.

    Returns
    -------
    list of (int, int, int)
        Height of the kernel, stride and dilation of each convolution and pooling that is a layer, for `field_of_view`. If
        the way branches, the branch that sees more counts: of a residual block F(x) and not the shortcut.
    """
    windows = {
        id(node): window for call in calls for node in call.nodes if (window := _window(node, call.module))
    }
    ways = {}  # id of a node -> the windows up to it
    stack = [tensor.node for tensor in tensors(calls[0].out)]
    last = [id(node) for node in stack]
    while stack:
        node = stack[-1]
        parents = [parent for _, parent in node.parents] if type(node) is Node else []
        waiting = [parent for parent in parents if id(parent) not in ways]
        if waiting:
            stack += waiting
            continue
        stack.pop()
        way = max((ways[id(parent)] for parent in parents), key=_seen, default=())
        ways[id(node)] = (*way, windows[id(node)]) if id(node) in windows else way
    return list(max((ways[node] for node in last), key=_seen, default=()))


def _seen(way):
    return field_of_view(way)[0]


def _window(node, module):
    """(kernel, stride, dilation) of an op along the rows, or None if it slides no window of a layer."""
    if node.op not in SLIDING:
        return None
    if node.op == "conv2d":
        kernel = dict(node.parents)[1].shape[2]
    elif hasattr(module, "kernel_size"):
        kernel = pair(module.kernel_size)[0]
    else:
        return None
    return kernel, pair(getattr(module, "stride", 1))[0], pair(getattr(module, "dilation", 1))[0]
