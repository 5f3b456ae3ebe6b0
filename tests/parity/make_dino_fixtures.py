"""Write tests/parity/fixtures/dino.npz: what PyTorch gives for a head of DINO, its loss, its gradients and one step.

Run from the repository's root, with the extras dev and parity (torch 2.13.0): python -m tests.parity.make_dino_fixtures
The head is built of torch's own layers and its weight norm, and each term of the loss is made by itself, pair by pair.
"""

import numpy as np

from tests.parity.make_nn_fixtures import FOLDER

DINO = FOLDER / "dino.npz"
WIDTH, HIDDEN, BOTTLENECK, K, B, CROPS = 5, 7, 4, 11, 3, 4


def arrays(batch_norm, seed=0):
    """Weights by minivis' names, features of all views, and the teacher's scores: everything random."""
    rng = np.random.default_rng(seed)
    sizes = [(WIDTH, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, BOTTLENECK)]
    found = {}
    for i, (before, after) in enumerate(sizes):
        found[f"linears.{i}.weight"] = rng.normal(size=(after, before))
        found[f"linears.{i}.bias"] = rng.normal(size=after)
    for i in range(2 * batch_norm):
        found |= {f"norms.{i}.{name}": rng.normal(size=HIDDEN) for name in ("weight", "bias")}
    found["last_layer.weight"] = rng.normal(size=(K, BOTTLENECK))
    features = rng.normal(size=(CROPS * B, WIDTH))
    return found, features, rng.uniform(-1, 1, (2 * B, K)), rng.normal(size=K) * 0.1


def theirs(batch_norm):
    """Scores, loss, and the gradients of features and weights."""
    import torch
    from torch import nn

    weights, features, teacher, centre = arrays(batch_norm)
    layers = []
    for i, (before, after) in enumerate([(WIDTH, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, BOTTLENECK)]):
        linear = nn.Linear(before, after)
        norm = [nn.BatchNorm1d(HIDDEN)] if batch_norm and i < 2 else []
        parts = {"linears": linear, **({"norms": norm[0]} if norm else {})}
        for kind, part in parts.items():
            for name in ("weight", "bias"):
                setattr(part, name, nn.Parameter(torch.tensor(weights[f"{kind}.{i}.{name}"])))
        layers += [linear, *norm, *([nn.GELU()] if i < 2 else [])]
    mlp = nn.Sequential(*layers).double()
    last = nn.utils.parametrizations.weight_norm(nn.Linear(BOTTLENECK, K, bias=False).double())
    length, direction = last.parametrizations.weight.original0, last.parametrizations.weight.original1
    length.data.fill_(1)
    direction.data = torch.tensor(weights["last_layer.weight"])
    x = torch.tensor(features, requires_grad=True)
    student = last(nn.functional.normalize(mlp(x), dim=-1, p=2))
    answers = torch.softmax((torch.tensor(teacher) - torch.tensor(centre)) / 0.05, dim=-1).chunk(2)
    pieces = (student / 0.1).chunk(CROPS)
    terms = [
        (-q * torch.log_softmax(piece, dim=-1)).sum(dim=-1).mean()
        for i, q in enumerate(answers)
        for v, piece in enumerate(pieces)
        if v != i
    ]
    loss = sum(terms) / len(terms)
    loss.backward()
    moved = 0.9 * torch.tensor(centre) + 0.1 * torch.tensor(teacher).mean(dim=0)
    found = {"student": student, "loss": loss, "centre": moved, "gradient features": x.grad}
    found["gradient last"] = direction.grad
    found["gradient first"] = mlp[0].weight.grad
    return {name: value.detach().numpy() for name, value in found.items()}


def main():
    results = {batch_norm: theirs(batch_norm) for batch_norm in (False, True)}
    np.savez_compressed(
        DINO, **{f"{int(key)}|{n}": x for key, found in results.items() for n, x in found.items()}
    )
    print(f"{DINO.stat().st_size / 1024:.0f} KB: {DINO}")


if __name__ == "__main__":
    main()
