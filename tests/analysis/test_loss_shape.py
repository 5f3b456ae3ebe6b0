"""The curvature and the surface of the loss, each against a case with a known answer.

Not here: what real networks give (notebook 08).
"""

import numpy as np
import pytest

from minivis import analysis, nn, ops
from minivis.models import ViT

RNG = np.random.default_rng(0)


class Quadratic(nn.Module):
    """The loss w A w / 2 with a known Hessian A, its parameter in two pieces; and one parameter that it does not use."""

    def __init__(self, matrix):
        n = len(matrix)
        self.matrix = matrix
        self.first = nn.Parameter(RNG.standard_normal((2, 2)))
        self.second = nn.Parameter(RNG.standard_normal(n - 4))
        self.unused = nn.Parameter(np.ones(3))
        self.dropout = nn.Dropout(0.5)

    def loss(self):
        w = ops.concatenate([self.first.reshape(4), self.second])
        return 0.5 * (self.dropout(w) * (self.matrix @ w)).sum()


def quadratic(eigenvalues):
    basis, _ = np.linalg.qr(RNG.standard_normal((len(eigenvalues),) * 2))
    return Quadratic(basis * np.array(eigenvalues) @ basis.T)


@pytest.mark.parametrize(
    "which, expected", [("LM", [9, 5, -7]), ("LA", [9, 5, 1]), ("SA", [0, -2, -7]), ("BE", [9, 5, -7])]
)
def test_eigenvalues_of_a_known_hessian(which, expected):
    model = quadratic([9, 5, 1, 0.5, 0, -2, -7])
    found = analysis.hessian_eigenvalues(model, Quadratic.loss, 3, which, tolerance=1e-8)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_model_is_left_as_it_was():
    model = quadratic([3, 2, 1, 1, 1, 1, -1])
    model.train()
    model.first.grad = grad = np.ones((2, 2))
    arrays = [p.data for p in model.parameters()]
    analysis.hessian_eigenvalues(model, Quadratic.loss, 1)
    analysis.loss_surface(model, Quadratic.loss, points=3)
    with pytest.raises(ZeroDivisionError):
        analysis.loss_surface(model, lambda m: 1 / 0)
    assert model.training and model.dropout.training and model.first.grad is grad
    assert all(p.data is x for p, x in zip(model.parameters(), arrays, strict=True))


def test_curvature_of_a_vit_is_a_second_difference_of_its_loss():
    model = ViT(4, 2, 8, 1, 2, num_classes=3, channels=1, rng=0).to("float64")
    x = RNG.standard_normal((6, 1, 4, 4))
    y = np.arange(6) % 3

    def loss(m):
        return ops.cross_entropy(m(x), y)

    (largest,) = analysis.hessian_eigenvalues(model, loss, 1, "LA", tolerance=1e-6)
    dense = np.zeros((sum(p.size for p in model.parameters()),) * 2)
    parameters = model.parameters()

    def gradient():
        for p in parameters:
            p.grad = None
        loss(model).backward()
        return np.concatenate([p.grad.ravel() for p in parameters])

    row = 0
    for p in parameters:
        for i in range(p.size):
            old = p.data.flat[i]
            p.data.flat[i] = old + 1e-5
            up = gradient()
            p.data.flat[i] = old - 1e-5
            dense[row] = (up - gradient()) / 2e-5
            p.data.flat[i] = old
            row += 1
    assert largest == pytest.approx(np.linalg.eigvalsh((dense + dense.T) / 2)[-1], rel=1e-4)


def test_float32_is_refused_for_curvature():
    with pytest.raises(TypeError, match=r"hessian_eigenvalues: .*float64, got float32; use model.to"):
        analysis.hessian_eigenvalues(nn.Linear(2, 2), lambda m: m.weight.sum())


def test_a_surface_has_the_model_in_its_middle_and_moves_filters_by_their_own_length():
    model = nn.Linear(3, 2)
    model.weight.data[1] *= 100
    start = model.weight.data.copy()
    seen = []

    def loss(m):
        seen.append((m.weight.data - start, m.bias.data - bias))
        return (m.weight * m.weight).sum()

    bias = model.bias.data.copy()
    steps, values = analysis.loss_surface(model, loss, reach=0.5, points=3)
    assert steps.tolist() == [-0.5, 0, 0.5] and values.shape == (3, 3)
    assert values[1, 1] == pytest.approx(float((start**2).sum()), rel=1e-6)
    for moved, still in (seen[1], seen[3], seen[5], seen[7]):  # along one direction only
        np.testing.assert_allclose(
            np.linalg.norm(moved, axis=1), 0.5 * np.linalg.norm(start, axis=1), rtol=1e-4
        )
        assert not still.any()


def test_a_surface_needs_a_middle():
    with pytest.raises(ValueError, match="loss_surface: points must be odd.* got 4"):
        analysis.loss_surface(nn.Linear(2, 2), lambda m: m.weight.sum(), points=4)
