"""Running one row of tests/ops/cases here and in torch: the outputs, what was written in place, and the gradients.

Not here: the table of torch's names (torch_ops.py). Nothing here imports torch until `theirs` is called.
"""

from collections import Counter

import numpy as np

from minivis import backend, ops
from tests.ops.test_every_op import CASES, PLAIN, as_list, call, convert, fresh_rng, pull, setup
from tests.parity.torch_ops import DIFFERENT, TORCH


def rows():
    """The rows that torch can run too, by a key of their own (rows that read the same are numbered)."""
    seen = Counter()
    found = {}
    for case in CASES:
        number = seen[str(case)]
        seen[str(case)] += 1
        if not different(case) and case.op in TORCH:
            found[f"{case} #{number}" if number else str(case)] = case
    return found


def different(case):
    """Why a row is left out, or None."""
    return next((why for op, applies, why in DIFFERENT if op == case.op and applies(case.arguments)), None)


def has_gradient(case):
    return case.op not in PLAIN and bool(case.differentiable())


def ours(case):
    """The row computed by minivis, as a list of arrays: outputs, arrays written in place, gradients."""
    arguments, cotangents = setup(case)
    gradients = pull(case, fresh_rng(setup(case)[0]), cotangents)[1] if has_gradient(case) else []
    before = convert(arguments, np.copy)
    results = as_list(call(getattr(ops, case.op), fresh_rng(arguments)))
    written = [x for n, x in arguments.items() if backend.is_array(x) and not np.array_equal(x, before[n])]
    return [np.asarray(x) for x in [*results, *written, *gradients]]


def theirs(case):
    """The same by torch, in float64."""
    import torch

    arguments, cotangents = setup(case)
    leaves = []
    wanted = case.differentiable() if has_gradient(case) else ()

    def tensor(name, x):
        y = torch.tensor(np.array(x, order="C"))  # torch takes no negative strides
        if name in wanted:
            leaves.append(y.requires_grad_())
        return y

    inputs = {n: convert({n: v}, lambda x, n=n: tensor(n, x))[n] for n, v in arguments.items()}
    results = as_list(TORCH[case.op](**inputs))
    written = [
        inputs[n]
        for n, x in arguments.items()
        if backend.is_array(x) and n not in wanted and not np.array_equal(x, inputs[n].numpy())
    ]
    gradients = []
    if leaves:
        floats = [y for y in results if y.is_floating_point()]
        total = sum((y * torch.tensor(w)).sum() for y, w in zip(floats, cotangents, strict=True))
        gradients = torch.autograd.grad(total, leaves)
    return [x.detach().numpy() for x in [*results, *written, *gradients]]
