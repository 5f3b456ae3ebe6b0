"""random_masking and restore_tokens beyond their laws: worked numbers, gradients, devices, refusals.

Not here: their laws (tests/laws).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import ops
from minivis.gradcheck import check_gradient
from minivis.vision import random_masking, restore_tokens

RNG = np.random.default_rng(0)
TOKENS = RNG.standard_normal((2, 7, 3))
NOISE = RNG.random((2, 7))


@pytest.mark.parametrize(("patches", "kept", "hidden"), [(196, 49, 147), (49, 12, 37), (64, 16, 48)])
def test_worked_numbers(patches, kept, hidden):
    visible, mask, ids = random_masking(np.zeros((1, patches, 1)), 0.75, RNG.random((1, patches)))
    assert (visible.shape[1], mask.sum()) == (kept, hidden)
    assert sorted(ids[0]) == list(range(patches))


def test_restoring_kept_and_hidden_tokens_gives_the_tokens_back():
    kept, mask, ids = random_masking(TOKENS, 0.5, NOISE)
    there = restore_tokens(kept, np.full(3, 9.0), ids)
    np.testing.assert_array_equal(there[~mask], TOKENS[~mask])
    np.testing.assert_array_equal(there[mask], 9.0)
    everything, mask, ids = random_masking(TOKENS, 0.0, NOISE)
    assert not mask.any()
    np.testing.assert_array_equal(restore_tokens(everything, np.zeros(3), ids), TOKENS)


def test_gradients_reach_tokens_and_the_mask_token():
    _, _, ids = random_masking(TOKENS, 0.5, NOISE)
    check_gradient(lambda tokens: random_masking(tokens, 0.5, NOISE)[0], TOKENS)
    check_gradient(lambda kept, token: restore_tokens(kept, token, ids), TOKENS[:, :3], TOKENS[0, 0])
    token = mv.Tensor(np.zeros((1, 1, 3)), requires_grad=True)
    ops.sum(restore_tokens(mv.Tensor(TOKENS[:, :3]), token, ids)).backward()
    # four hidden places in each of two images
    np.testing.assert_array_equal(token.grad, np.full((1, 1, 3), 8.0))


def test_the_same_on_a_device(device):
    there = [mv.to_device(x, device) for x in (TOKENS, NOISE)]
    kept, mask, ids = random_masking(there[0], 0.5, there[1])
    for got, expected in zip((kept, mask, ids), random_masking(TOKENS, 0.5, NOISE), strict=True):
        np.testing.assert_array_equal(mv.to_numpy(got), expected)
    back = restore_tokens(kept, there[0][0, 0], ids)
    np.testing.assert_array_equal(mv.to_numpy(back)[~mv.to_numpy(mask)], TOKENS[~mv.to_numpy(mask)])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: random_masking(TOKENS, 1.0, NOISE),
            "random_masking: ratio must be at least 0 and less than 1, got 1.0",
        ),
        (
            lambda: random_masking(TOKENS, 0.5, NOISE[:, 1:]),
            r"random_masking: tokens must be \(B, N, D\) and noise \(B, N\)",
        ),
        (
            lambda: restore_tokens(TOKENS, np.zeros(2), NOISE.argsort(1)),
            r"restore_tokens: mask_token must be \(D,\)",
        ),
        (lambda: restore_tokens(TOKENS, np.zeros(3), np.zeros((1, 7), int)), "restore_tokens: kept must be"),
    ],
)
def test_what_does_not_fit_is_refused(call, words):
    with pytest.raises(ValueError, match=f"^{words}"):
        call()


@pytest.mark.parametrize("rank", [7, -1])
def test_a_rank_out_of_range_is_refused(rank):
    with pytest.raises(
        IndexError, match=f"^restore_tokens: ids_restore must be ranks, 0 to 6, got {rank} to {rank}"
    ):
        restore_tokens(TOKENS, np.zeros(3), np.full((2, 7), rank))


def test_ranks_are_integers():
    for kind in (float, bool):
        with pytest.raises(TypeError, match="^restore_tokens: ids_restore must be integers, got"):
            restore_tokens(TOKENS, np.zeros(3), np.ones((2, 7), kind))


def test_noise_and_ranks_may_be_tensors():
    kept, mask, ids = random_masking(mv.Tensor(TOKENS), 0.5, mv.Tensor(NOISE))
    np.testing.assert_array_equal(ids, NOISE.argsort(1).argsort(1))
    back = restore_tokens(kept, np.zeros(3), mv.Tensor(ids)).numpy()
    np.testing.assert_array_equal(back, np.where(mask[..., None], 0, TOKENS))
