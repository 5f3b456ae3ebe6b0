"""Hiding words and the loss of predicting them: the worked numbers, and what is refused.

Not here: their laws (tests/laws).
"""

import numpy as np
import pytest

import minivis as mv
from minivis.losses import mask_tokens, mlm_loss

SPECIAL = (0, 1, 2, 3)


def test_the_worked_numbers():
    """P([MASK]) = 0.12, random 0.015, kept 0.015; of 512 words 76.8 are scored on average."""
    ids = np.random.default_rng(0).integers(4, 1000, (400, 512))
    inputs, _, chosen = mask_tokens(ids, np.random.default_rng(1), 1000, 3, SPECIAL)
    masked = chosen & (inputs == 3)
    kept = chosen & (inputs == ids)
    shares = [masked.mean(), kept.mean(), (chosen & ~masked & ~kept).mean()]
    np.testing.assert_allclose(shares, [0.12, 0.015, 0.015], atol=0.001)
    assert chosen.sum(axis=1).mean() == pytest.approx(76.8, abs=2)


def test_the_same_seed_hides_the_same():
    ids = np.arange(20).reshape(2, 10)
    first, second = (mask_tokens(ids, np.random.default_rng(4), 20, 3, SPECIAL) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    first[1][...] = 0
    assert ids[0, 1] == 1, "targets are a copy"


def test_ids_keep_their_dtype_and_no_word_needs_to_be_chosen():
    inputs, targets, chosen = mask_tokens(
        np.array([[0, 1, 2]], np.int32), np.random.default_rng(0), 9, 3, SPECIAL
    )
    assert inputs.dtype == targets.dtype == np.int32 and not chosen.any()
    assert mask_tokens(np.zeros((0, 4), int), np.random.default_rng(0), 9, 3, SPECIAL)[2].shape == (0, 4)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_only_chosen_words_get_a_gradient(dtype):
    logits = mv.Tensor(np.random.default_rng(2).standard_normal((2, 3, 5)).astype(dtype), requires_grad=True)
    chosen = np.array([[True, False, False], [False, True, True]])
    loss = mlm_loss(logits, np.array([[1, 2, 3], [0, 4, 1]]), chosen)
    loss.backward()
    assert loss.dtype == dtype and not logits.grad[~chosen].any() and logits.grad[chosen].all()
    rows = mv.ops.cross_entropy(logits.numpy()[chosen], np.array([1, 4, 1]))
    assert float(loss.numpy()) == pytest.approx(float(rows))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: hide(np.array([1.0])), TypeError, "^mask_tokens: ids must be integers, got float64"),
        (lambda: hide(np.array([9])), ValueError, "^mask_tokens: words have numbers 0 to 8, got 3 to 9"),
        (lambda: hide(np.array([-1])), ValueError, "^mask_tokens: words have numbers 0 to 8, got -1 to 3"),
        (lambda: hide(np.array([1]), 1.5), ValueError, "^mask_tokens: rate must lie in 0 to 1, got 1.5"),
        (
            lambda: hide(np.array([1], np.int8), V=200),
            ValueError,
            "^mask_tokens: int8 has no room for 200 words",
        ),
        (
            lambda: hide(np.array([1]), V=9.5),
            TypeError,
            "^mask_tokens: vocabulary and mask_id must be whole .*9.5 and 3",
        ),
        (
            lambda: hide(np.array([1]), rng=7),
            TypeError,
            "^mask_tokens: rng must be a numpy.random.Generator, got int",
        ),
        (lambda: loss((2, 3, 5), (2, 3), (2, 2)), ValueError, r"^mlm_loss: logits must be \(..., V\)"),
        (lambda: loss((2, 5), (2, 3), (2, 3)), ValueError, r"^mlm_loss: logits must be \(..., V\)"),
        (lambda: loss((2, 5), (2,), (2,), int), TypeError, "^mlm_loss: chosen must be boolean, got int64"),
        (lambda: loss((2, 5), (2,), (2,), np.zeros), ValueError, "^mlm_loss: no word is chosen"),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def hide(ids, rate=0.15, V=9, rng=None):
    return mask_tokens(ids, np.random.default_rng(0) if rng is None else rng, V, 3, SPECIAL, rate)


def test_ids_of_few_bits_get_every_word():
    """Of 200 words in a byte, all are drawn; of 300, the largest would come out as others."""
    ids = np.zeros(20000, np.uint8)
    inputs, _, _ = mask_tokens(ids, np.random.default_rng(0), 200, 3, (), rate=1.0)
    assert set(np.unique(inputs)) == set(range(200))


def test_everything_may_be_a_tensor():
    arrays = np.arange(6.0).reshape(1, 2, 3), np.array([[0, 2]]), np.array([[True, True]])
    # the rows are 0 1 2 and 3 4 5, the words the first and the last: mean of log(sum) - 0 and log(sum) - 2
    expected = np.log(np.exp([0, 1, 2]).sum()) - 1
    assert float(mlm_loss(*map(mv.Tensor, arrays)).numpy()) == pytest.approx(expected)


def loss(logits, targets, chosen, kind=bool):
    given = np.zeros(chosen, bool) if kind is np.zeros else np.ones(chosen, kind)
    return mlm_loss(np.zeros(logits), np.zeros(targets, int), given)
