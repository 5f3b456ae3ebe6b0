"""The optimisers and schedules that are compared with torch.optim: the same options, gradients and steps for both.

Not here: the comparison (test_nn_parity.py). Nothing here imports torch until `theirs` is called.
"""

import numpy as np

from minivis import Tensor, optim
from tests.parity.nn_rows import draw

STEPS = 7
SHAPES = [(3, 2), (4,), (2, 2)]  # the last never has a gradient
SKIPPED = 3  # the step at which the second has no gradient either

# key -> (our class, torch's name, options of both)
OPTIMISERS = {
    "sgd": (optim.SGD, "SGD", {"lr": 0.1}),
    "sgd momentum": (optim.SGD, "SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05}),
    "sgd nesterov": (optim.SGD, "SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1}),
    "adam": (optim.Adam, "Adam", {"lr": 0.1, "weight_decay": 0.1}),
    "adamw": (optim.AdamW, "AdamW", {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.3}),
    "adamw defaults": (optim.AdamW, "AdamW", {}),
}
ONE_CYCLE = {"short": (11, 0.3), "even": (40, 0.5), "tiny warm-up": (100, 0.05)}


def _gradient(i, step):
    return None if i == 2 or (i == 1 and step == SKIPPED) else draw(f"gradient {i} {step}", *SHAPES[i])


def ours_optimiser(key):
    kind, _, options = OPTIMISERS[key]
    leaves = [Tensor(draw(f"start {i}", *shape), requires_grad=True) for i, shape in enumerate(SHAPES)]
    optimiser = kind([{"params": leaves[:1], "lr": 0.03}, {"params": leaves[1:]}], **({"lr": 1e-3} | options))
    for step in range(STEPS):
        for i, leaf in enumerate(leaves):
            leaf.grad = _gradient(i, step)
        optimiser.step()
    return [leaf.data for leaf in leaves]


def theirs_optimiser(key):
    import torch

    _, name, options = OPTIMISERS[key]
    leaves = [torch.tensor(draw(f"start {i}", *shape), requires_grad=True) for i, shape in enumerate(SHAPES)]
    kind = getattr(torch.optim, name)
    optimiser = kind([{"params": leaves[:1], "lr": 0.03}, {"params": leaves[1:]}], **options)
    for step in range(STEPS):
        for i, leaf in enumerate(leaves):
            g = _gradient(i, step)
            leaf.grad = None if g is None else torch.tensor(g)
        optimiser.step()
    return [leaf.detach().numpy() for leaf in leaves]


def ours_one_cycle(key):
    total, warmup = ONE_CYCLE[key]
    schedule = optim.one_cycle(total, warmup)
    return [np.array([schedule(step) for step in range(total)])]


def theirs_one_cycle(key):
    import torch

    total, warmup = ONE_CYCLE[key]
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 1.0, total_steps=total, pct_start=warmup, cycle_momentum=False
    )
    factors = []
    for step in range(total):
        factors.append(scheduler.get_last_lr()[0])
        optimiser.step()
        if step < total - 1:
            scheduler.step()
    return [np.array(factors)]


def _clipped():
    return [draw("clip a", 3, 2), draw("clip b", 4)]


def ours_clip():
    leaves = [Tensor(np.zeros_like(g), requires_grad=True) for g in _clipped()]
    for leaf, g in zip(leaves, _clipped(), strict=True):
        leaf.grad = g
    norm = optim.clip_grad_norm(leaves, 0.7)
    return [np.array(norm), *(leaf.grad for leaf in leaves)]


def theirs_clip():
    import torch

    leaves = [torch.zeros(g.shape, dtype=torch.float64, requires_grad=True) for g in _clipped()]
    for leaf, g in zip(leaves, _clipped(), strict=True):
        leaf.grad = torch.tensor(g)
    norm = torch.nn.utils.clip_grad_norm_(leaves, 0.7)
    return [norm.numpy(), *(leaf.grad.numpy() for leaf in leaves)]


def ours():
    """Every row by minivis: key -> list of arrays."""
    return {
        **{f"optimiser {key}": ours_optimiser(key) for key in OPTIMISERS},
        **{f"one cycle {key}": ours_one_cycle(key) for key in ONE_CYCLE},
        "clip": ours_clip(),
    }


def theirs():
    """Every row by torch: key -> list of arrays."""
    return {
        **{f"optimiser {key}": theirs_optimiser(key) for key in OPTIMISERS},
        **{f"one cycle {key}": theirs_one_cycle(key) for key in ONE_CYCLE},
        "clip": theirs_clip(),
    }
