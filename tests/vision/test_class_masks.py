"""The mask decoder: worked numbers, vectors of zeros, gradients, half precision, refusals.

Not here: its laws (tests/laws), the transformer before it (tests/models/test_segmenter.py).
"""

import numpy as np
import pytest

import minivis as mv
from minivis.gradcheck import check_gradient
from minivis.vision import mask_decoder

RNG = np.random.default_rng(31)


def drawn(B=2, N=4, K=3, D=5):
    shapes = ((B, N, D), (B, K, D), (D, D), (D, D), (K,), (K,))
    return [RNG.standard_normal(shape) for shape in shapes]


def test_two_classes_leave_only_the_order():
    first = np.array([0.9, np.sqrt(1 - 0.9**2)])
    second = np.array([0.1, np.sqrt(1 - 0.1**2)])
    patches = np.array([[[1.0, 0.0]]])
    classes = np.stack([first, second])[None]
    scores = mask_decoder(patches, classes, np.eye(2), np.eye(2), np.ones(2), np.zeros(2))
    np.testing.assert_allclose(scores[0, :, 0], [0.999969, -0.999969], atol=5e-7)


def test_vectors_of_zeros_have_the_cosine_0():
    patches, classes, w_patch, w_class, _, _ = drawn()
    patches[0, 1] = 0
    classes[1, 2] = 0
    gamma = np.ones(3)
    beta = np.array([0.5, -1.0, 2.0])
    tensors = [mv.Tensor(x, requires_grad=True) for x in (patches, classes)]
    scores = mask_decoder(*tensors, w_patch, w_class, gamma, beta)
    np.testing.assert_allclose(scores.numpy()[0, :, 1], beta, atol=1e-12)  # all its cosines are equal
    scores.backward(RNG.standard_normal(scores.shape))
    assert np.isfinite(scores.numpy()).all() and all(np.isfinite(t.grad).all() for t in tensors)


def test_the_gradient_is_right():
    check_gradient(mask_decoder, *drawn())


def test_half_precision_and_arrays_of_tensors():
    args = [x.astype(np.float16) for x in drawn()]
    found = mask_decoder(*args)
    assert found.dtype == np.float16
    exact = mask_decoder(*(x.astype(np.float64) for x in args))
    np.testing.assert_allclose(found, exact, atol=2e-2)


@pytest.mark.parametrize(
    "place, shape",
    [(0, ()), (0, (2, 4)), (1, (2, 3, 4)), (1, (1, 3, 5)), (2, (5, 4)), (4, (2,)), (5, (3, 1))],
)
def test_what_does_not_fit_is_refused(place, shape):
    args = drawn()
    args[place] = np.zeros(shape)
    with pytest.raises(ValueError, match=r"mask_decoder: needs patches \(B, N, D\), classes \(B, K, D\)"):
        mask_decoder(*args)
