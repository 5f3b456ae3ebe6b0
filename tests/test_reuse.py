"""No buffer is written to while somebody else still needs it: random graphs, kept graphs, backwards that fail half-way.

The reference is a tape that copies whatever it hands on. Not here: the rules of the engine one by one (test_autograd.py).
"""

import inspect
import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivis as mv
from minivis import autograd, dtypes, ops
from minivis.autograd import primitive

SHAPE = (3, 4)


class Fails(Exception):
    pass


@primitive
def fragile(x, fuse):
    """The identity; its vjp raises while the fuse is lit, and hands out its argument itself otherwise."""

    def vjp(g):
        if fuse["lit"]:
            raise Fails
        return (g,)

    return x, vjp


# Ops that hand out views, their own argument, or what they have kept; each takes two arrays of SHAPE.
LINKS = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: ops.tanh(x * y),
    "twice": lambda x, y: x + x,
    "square": lambda x, y: ops.tanh(x * x),
    "tanh": lambda x, y: ops.tanh(x),
    "relu": lambda x, y: ops.relu(x),
    "gelu": lambda x, y: ops.gelu(x),
    "softmax": lambda x, y: ops.softmax(x, axis=-1),
    "layer_norm": lambda x, y: ops.layer_norm(
        x, 4, eps=1.0
    ),  # smaller, and a constant row would blow up rounding
    "there and back": lambda x, y: x.transpose(1, 0).reshape(4, 3).transpose(1, 0),
    "flat": lambda x, y: (x.reshape(12) + y.reshape(12)).reshape(*SHAPE),
    "cut": lambda x, y: ops.concatenate([x[:1], y[1:]], axis=0),
    "row": lambda x, y: x.sum(axis=0, keepdims=True) + y,
    "attention": lambda x, y: ops.scaled_dot_product_attention(x, y, y),
    "linear": lambda x, y: ops.tanh(
        ops.linear(x, y.transpose(1, 0) @ x)
    ),  # its cotangents are made when asked for
    "product": lambda x, y: ops.tanh(x @ (y.transpose(1, 0) @ x)),
}


@st.composite
def graphs(draw):
    """A list of (name of a link, places of its operands): places 0 and 1 are leaves, later ones are results."""
    names = draw(st.lists(st.sampled_from([*LINKS, "fragile"]), min_size=1, max_size=12))
    return [(name, draw(st.integers(0, i + 1)), draw(st.integers(0, i + 1))) for i, name in enumerate(names)]


def build(graph, leaves, fuse):
    """Every Tensor of the graph; the last one is the sum of all that nobody else used."""
    values = list(leaves)
    used = set()
    for name, i, j in graph:
        x, y = values[i], values[j]
        values.append(fragile(x, fuse) if name == "fragile" else LINKS[name](x, y))
        used |= {i, j}
    ends = [value for i, value in enumerate(values) if i not in used]
    total = ends[0]
    for end in ends[1:]:
        total = total + end
    return [*values, total]


def start(seed):
    rng = np.random.default_rng(seed)
    leaves = [mv.Tensor(rng.normal(size=SHAPE), requires_grad=True) for _ in range(2)]
    return leaves, rng.normal(size=SHAPE)


def by_copies(root, cotangent, leaves):
    """The gradients of leaves by a tape that owns every array it touches."""
    order = []
    seen = set()

    def visit(node):
        if node is None or id(node) in seen or isinstance(node, mv.Tensor):
            return
        seen.add(id(node))
        for _, parent in node.parents:
            visit(parent)
        order.append(node)

    visit(root.node)
    pulled = {id(root.node or root): cotangent.copy()}
    for node in reversed(order):
        parts = dtypes.made(node.vjp(pulled.pop(id(node)).copy()))
        for place, parent in node.parents:
            pulled[id(parent)] = pulled.get(id(parent), 0) + parts[place].copy()
    return [pulled.get(id(leaf), np.zeros(SHAPE)) for leaf in leaves]


def kept(tensors):
    return [tensor.data.copy() for tensor in tensors]


def unchanged(tensors, before):
    return all(np.array_equal(tensor.data, old) for tensor, old in zip(tensors, before, strict=True))


def gradients(leaves):
    return [np.zeros(SHAPE) if leaf.grad is None else leaf.grad for leaf in leaves]


def apart(leaves, others):
    """Whether no gradient shares memory with another, or with anything that lives."""
    grads = [leaf.grad for leaf in leaves if leaf.grad is not None]
    pairs = [(a, b) for i, a in enumerate(grads) for b in [*grads[:i], *others]]
    return not any(np.shares_memory(a, b) for a, b in pairs)


def close(found, expected):
    return all(np.allclose(a, b, rtol=1e-9, atol=1e-9) for a, b in zip(found, expected, strict=True))


def once(graph, seed):
    """Backward gives the gradients of the copying tape, and changes nothing but them."""
    leaves, cotangent = start(seed)
    tensors = build(graph, leaves, {"lit": False})
    if not tensors[-1].node:
        return True
    expected = by_copies(tensors[-1], cotangent, leaves)
    before = kept(tensors)
    given = cotangent.copy()
    tensors[-1].backward(cotangent)
    alone = apart(leaves, [cotangent, *(tensor.data for tensor in tensors)])
    return (
        close(gradients(leaves), expected)
        and unchanged(tensors, before)
        and alone
        and np.array_equal(cotangent, given)
    )


def twice(graph, seed):
    """A kept graph gives the same gradients again, whatever was done to the first ones; then they add up."""
    leaves, cotangent = start(seed)
    tensors = build(graph, leaves, {"lit": False})
    if not tensors[-1].node:
        return True
    expected = by_copies(tensors[-1], cotangent, leaves)
    tensors[-1].backward(cotangent, retain_graph=True)
    for leaf in leaves:
        if leaf.grad is not None:
            leaf.grad *= np.nan  # somebody clips, or overwrites
            leaf.grad = None
    tensors[-1].backward(cotangent, retain_graph=True)
    first = close(gradients(leaves), expected)
    tensors[-1].backward(cotangent)
    return first and close(gradients(leaves), [2 * x for x in expected])


def failing(graph, seed):
    """A backward that fails half-way spoils nothing: values stay, and the kept graph can be walked again."""
    leaves, cotangent = start(seed)
    fuse = {"lit": True}
    tensors = build(graph, leaves, fuse)
    if not tensors[-1].node:
        return True
    before = kept(tensors)
    try:
        tensors[-1].backward(cotangent, retain_graph=True)
    except Fails:
        pass
    fuse["lit"] = False
    for leaf in leaves:
        leaf.grad = None
    expected = by_copies(tensors[-1], cotangent, leaves)
    tensors[-1].backward(cotangent)
    return unchanged(tensors, before) and close(gradients(leaves), expected)


PROPERTIES = [once, twice, failing]


@pytest.mark.parametrize("holds", PROPERTIES)
@given(graph=graphs(), seed=st.integers(0, 99))
def test_no_buffer_is_reused_while_it_lives(holds, graph, seed):
    assert holds(graph, seed)


MUTANTS = {
    "a sum written into what a vjp handed out": (
        "cotangents[parent] = cotangents[parent] + share if parent in cotangents else share",
        "cotangents[parent] = operator.iadd(cotangents[parent], share) if parent in cotangents else share",
    ),
    "the first cotangent of a leaf is not copied": (
        "namespace(parent._data).array(share)",
        "namespace(parent._data).asarray(share)",
    ),
    "what a vjp handed out is taken for new": ("as_array(share) if new else", "as_array(share) if True else"),
    "a graph is consumed although it was to be kept": ("if not retain_graph:", "if True:"),
    "nodes take their turn as they were found": ('sorted(nodes, key=attrgetter("born"))', "nodes[::-1]"),
    "a fan-out forgets all but the last": (
        "cotangents[parent] = cotangents[parent] + share if parent in cotangents else share",
        "cotangents[parent] = share",
    ),
}
# Graphs that the search finds soon, one of which tells each mutant from the engine.
KNOWN = [
    [("add", 0, 1), ("add", 2, 0), ("add", 3, 0)],
    [("fragile", 0, 0), ("add", 2, 0), ("add", 3, 2)],
    [("fragile", 0, 0)],
    [("twice", 0, 0), ("mul", 2, 0), ("add", 3, 2)],
]


@pytest.mark.parametrize("name", MUTANTS)
def test_engines_that_reuse_too_much_are_found(name, monkeypatch):
    right, wrong = MUTANTS[name]
    parts = (autograd.backpropagate, autograd._history, autograd._pull_back)
    source = "".join(map(inspect.getsource, parts))
    assert right in source
    scope = {**vars(autograd), "operator": operator}
    exec(source.replace(right, wrong), scope)
    monkeypatch.setattr(autograd, "backpropagate", scope["backpropagate"])

    def found(holds, graph):
        try:
            return not holds(graph, 0)
        except (RuntimeError, KeyError):  # consumed; before its turn
            return True

    assert any(found(holds, graph) for holds in PROPERTIES for graph in KNOWN)
