"""The laws of random_masking and restore_tokens: which tokens are hidden, and the way back to their places.

Not here: the loss of the hidden patches (masked_modelling.py), the networks between the two.
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, distinct, generator, integer, normals
from minivis.laws.judging.manners import every_family, kind_law
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import values

SLIDE = "C/125-masked-modelling"
COUNT = r"K = \lfloor N (1 - r) \rfloor"
BACK = r"[\text{kept},\ \text{hidden}]_{b,\ \text{ids}_{b,n}} = \text{tokens}_{b,n}"

# ---------------------------------------------------------------------------------------------------------------------
# random_masking


def _random_masking(tokens, ratio, noise):
    kept = int(tokens.shape[1] * (1 - ratio))
    order = np.argsort(noise, axis=1)  # the token at each rank
    ids_restore = np.argsort(order, axis=1)  # the rank of each token
    return (tokens[np.arange(len(tokens))[:, None], order[:, :kept]], ids_restore >= kept, ids_restore), None


random_masking = Family(
    "random_masking",
    _random_masking,
    ("tokens",),
    form="f(tokens, ratio, noise) -> (kept, mask, ids_restore); tokens (B, N, D), ratio from 0 to below 1, noise (B, N); kept "
    "(B, K, D) with K = int(N * (1 - ratio)): the tokens with the smallest noise, the smallest first; mask (B, N), True = "
    "hidden; ids_restore (B, N): the rank of each token's noise, from 0",
)


def _parts(out):
    """The three parts of what a function returned."""
    if not isinstance(out, (tuple, list)) or len(out) != 3:
        raise Broken(
            f"Three arrays were expected, (kept, mask, ids_restore); your function returned a {type(out).__name__}.",
            hint="End with `return kept, mask, ids_restore`.",
        )
    return out


def _part(f, case, number):
    return f.array(_parts(f.result(case.copy())[0])[number])


def _mask(f, case):
    return _part(f, case, 1)


NAMES = ("The kept tokens", "The mask", "ids_restore")


def _all_agree(f, case, atol=2e-5):
    expected, _ = f.family.right(**case.copy(np.float64).everything)
    for number, what in enumerate(NAMES):
        got = _part(f, case, number)
        got = got.astype(np.float64) if got.dtype == bool else got
        compare(got, expected[number].astype(np.float64), atol=atol, what=what)


random_masking.main = lambda out: _parts(out)[0]
random_masking.whole = lambda out: np.concatenate([np.ravel(part).astype(float) for part in _parts(out)])
random_masking.read = lambda f, case: random_masking.whole(f.result(case.copy())[0])
random_masking.same = _all_agree


# One image of four tokens, half of them hidden, unless a law is about that; so each law finds one mistake alone


def _tokens(draw, shape, ratio):
    noise = generator(draw).permuted(np.arange(1, shape[0] * shape[1] + 1)).reshape(shape[:2]) / 100
    return {"tokens": distinct(draw, shape), "ratio": ratio, "noise": noise.astype(np.float32)}


def _plain(draw):
    return _tokens(draw, (2, 4, integer(draw, 1, 2)), 0.5)


def _one_image(draw):
    return _tokens(draw, (1, choose(draw, 4, 8), 1), choose(draw, 0.5, 0.75))


def _several_images(draw):
    return _tokens(draw, (integer(draw, 2, 3), 4, 1), 0.5)


def _odd(draw):
    return _tokens(draw, (2, choose(draw, 5, 7, 9), 2), choose(draw, 0.5, 0.25))


def _any_shape(draw):
    return _tokens(draw, (integer(draw, 1, 2), choose(draw, 2, 4), integer(draw, 1, 2)), 0.5)


def _anything(draw):
    N = integer(draw, 2, 12)
    # no product N (1 - ratio) near a whole number, where rounding would decide
    ratios = (0.0, 0.25, 0.5, 0.75) if N % 5 == 0 else (0.0, 0.25, 0.5, 0.75, 0.6, 0.9)
    shape = (integer(draw, 1, 3), N, integer(draw, 1, 4))
    noise = generator(draw).random(shape[:2])
    return {"tokens": normals(draw, shape), "ratio": choose(draw, *ratios), "noise": noise.astype(np.float32)}


def _masked(count=lambda N, ratio: int(N * (1 - ratio)), order=lambda noise: np.argsort(noise, axis=1)):
    """A mutant with another number of kept tokens, or another order."""

    def mutant(tokens, ratio, noise):
        K = count(tokens.shape[1], ratio)
        ids = order(noise)
        ids_restore = np.argsort(ids, axis=1)
        return tokens[np.arange(len(tokens))[:, None], ids[:, :K]], ids_restore >= K, ids_restore

    return mutant


def _changed(change):
    """A mutant: ``change(kept, mask, ids_restore, tokens, noise)`` of the right answer."""

    def mutant(tokens, ratio, noise):
        return change(*_random_masking(tokens, ratio, noise)[0], tokens, noise)

    return mutant


def _in_reading_order(kept, mask, ids_restore, tokens, noise):
    return tokens[~mask].reshape(kept.shape), mask, ids_restore


_rounded_up = _masked(lambda N, ratio: N - int(N * ratio))
_to_nearest = _masked(lambda N, ratio: round(N * (1 - ratio)))
_never_all = _masked(lambda N, ratio: min(int(N * (1 - ratio)), N - 1))
_ratio_kept = _masked(lambda N, ratio: int(N * ratio))
_largest_kept = _masked(order=lambda noise: np.argsort(-noise, axis=1))
_one_for_all = _masked(order=lambda noise: np.repeat(np.argsort(noise[:1], axis=1), len(noise), axis=0))
_sorted_once = _changed(lambda kept, mask, ids, tokens, noise: (kept, mask, np.argsort(noise, axis=1)))
_true_for_visible = _changed(lambda kept, mask, ids, tokens, noise: (kept, ~mask, ids))
_mask_by_rank = _changed(lambda kept, mask, ids, tokens, noise: (kept, np.sort(mask, axis=1), ids))
_old_order = _changed(_in_reading_order)
_mask_of_numbers = _changed(lambda kept, mask, ids, tokens, noise: (kept, mask.astype(np.float32), ids))


def _numbers_of(f, case, number):
    """One part of the output, in the shape that it should have: the law "shape" checks that of the kept tokens."""
    expected = random_masking.right(**case.copy(np.float64).everything)[0][number].astype(np.float64)
    got = _part(f, case, number)
    if got.size != expected.size:
        raise Broken(f"{NAMES[number]}: shape {got.shape}; {expected.shape} was expected.")
    return got.reshape(expected.shape).astype(np.float64), expected


def _part_agrees(number):
    def agrees(f, case):
        compare(*_numbers_of(f, case, number), what=NAMES[number])

    return agrees


@random_masking.law(
    "as many as promised",
    inputs=_odd,
    equation=COUNT,
    slide=SLIDE,
    hint="What does not divide is hidden: K = int(N * (1 - ratio)) tokens are kept. With 49 tokens and a ratio of 0.75 these "
    "are 12, and 37 are hidden.",
    mutant=_rounded_up,
    right_too=False,
)
def exact_number(f, case):
    """Exactly int(N (1 - ratio)) tokens of each image are kept, and all others are hidden."""
    _numbers_of(f, case, 0)  # refuses another number


for _number, _name, _sentence, _equation, _hint, _mutant in (
    (
        1,
        "the smallest noise stays",
        "The tokens with the smallest noise are visible (mask False), the others are hidden (mask True).",
        r"m_{b,n} = [\, \text{ids}_{b,n} \ge K \,]",
        "Sort the noise upwards and keep the first K. The mask is True where a token is hidden, and it stands in the order of "
        "the tokens, not in that of the noise.",
        _true_for_visible,
    ),
    (
        0,
        "kept by their noise",
        "The kept tokens stand in the order of their noise, the smallest first.",
        r"\text{kept}_{b,k} = \text{tokens}_{b,\ \text{order}_{b,k}}",
        "The kept tokens come in the order of their noise, the smallest first; ids_restore counts on this order.",
        _old_order,
    ),
    (
        2,
        "the way back",
        "ids_restore tells where each token went: a token of rank r stands at place r of the kept and then hidden ones.",
        BACK,
        "np.argsort(noise) tells which token stands at each rank. The way back asks the opposite, the rank of each token: "
        "np.argsort of that order once more.",
        _sorted_once,
    ),
):
    random_masking.law(
        _name,
        sentence=_sentence,
        inputs=_one_image,
        equation=_equation,
        slide=SLIDE,
        hint=_hint,
        mutant=_mutant,
        value=True,
        right_too=False,
    )(_part_agrees(_number))


@random_masking.law(
    "each image for itself",
    inputs=_several_images,
    equation=r"\text{order}_b = \operatorname{argsort} \epsilon_b",
    slide=SLIDE,
    hint="Sort along the tokens of each image (axis=1), and pick with the image's own order.",
    mutant=_one_for_all,
)
def each_for_itself(f, case):
    """Every image has its own order: it gives the same in a batch as alone."""
    for b in range(len(case["noise"])):
        alone = case.replace(tokens=case["tokens"][b : b + 1], noise=case["noise"][b : b + 1])
        for number, what in enumerate(NAMES):
            together = _part(f, case, number)[b]
            compare(together.ravel(), _part(f, alone, number).ravel(), what=f"{what} of image {b}")


kind_law(
    random_masking,
    _plain,
    "True and False",
    "b",
    _mask,
    hint="A comparison makes the mask: ids_restore >= K is True for hidden tokens.",
    mutant=_mask_of_numbers,
)
every_family(random_masking, inputs=_plain, shapes=_any_shape)
values(
    random_masking,
    simplest=_one_image,
    words="one image, tokens of one number",
    anything=_anything,
    hint="Any number of images, tokens and numbers in a token, and any ratio from 0 on: with a ratio of 0 nothing is hidden.",
    mutant=_never_all,
)
for name, hint, answer in (
    (
        "sorted once",
        "Your ids_restore tells which token stands at each rank. It should tell the rank of each token: sort that order again.",
        _sorted_once,
    ),
    (
        "the largest noise kept",
        "You keep the tokens with the largest noise. Sort upwards, and keep the first K.",
        _largest_kept,
    ),
    (
        "True for visible",
        "Your mask is the opposite: True means hidden here, because the loss is taken where it is True.",
        _true_for_visible,
    ),
    (
        "the mask in the order of the noise",
        "Your mask has first all visible and then all hidden tokens: that is the order of the noise. Bring it to the order of "
        "the tokens, with ids_restore.",
        _mask_by_rank,
    ),
    (
        "one token too many",
        "Where the ratio does not divide the tokens, you keep one too many: round K down, int(N * (1 - ratio)).",
        _rounded_up,
    ),
    (
        "rounded to the nearest",
        "You round K to the nearest number. Round it down: int(N * (1 - ratio)).",
        _to_nearest,
    ),
    (
        "the ratio kept",
        "You keep as many tokens as should be hidden: the ratio is the share of the hidden ones.",
        _ratio_kept,
    ),
    (
        "one order for all images",
        "You use the order of the first image for all. Each image has its own noise.",
        _one_for_all,
    ),
    (
        "kept in the old order",
        "Your kept tokens stand in the order of the image. ids_restore counts on the order of the noise: the smallest first.",
        _old_order,
    ),
):
    random_masking.mistake(name, hint, answer)

# ---------------------------------------------------------------------------------------------------------------------
# restore_tokens


def _restore_tokens(kept, mask_token, ids_restore):
    B, K, D = kept.shape
    hidden = np.broadcast_to(mask_token, (B, ids_restore.shape[1] - K, D))
    return np.concatenate([kept, hidden], axis=1)[np.arange(B)[:, None], ids_restore], None


restore_tokens = Family(
    "restore_tokens",
    _restore_tokens,
    ("kept", "mask_token"),
    form="f(kept, mask_token, ids_restore) -> (B, N, D); kept (B, K, D), mask_token (D,), ids_restore (B, N): the rank of each "
    "place; a place with rank r below K gets kept[b, r], every other place the mask token",
)


def _ranks(draw, B, N):
    return generator(draw).permuted(np.tile(np.arange(N), (B, 1)), axis=1)


def _kept(draw, B, N, K, D):
    kept = distinct(draw, (B, K, D)) + np.float32(100)
    return {
        "kept": kept,
        "mask_token": -distinct(draw, (D,)) - np.float32(100),
        "ids_restore": _ranks(draw, B, N),
    }


def _one_restored(draw):
    N = integer(draw, 3, 6)
    return _kept(draw, 1, N, integer(draw, 1, N - 1), 1)


def _plainly_kept(draw):
    return _kept(draw, 2, 5, 2, integer(draw, 1, 2))


def _nothing_hidden(draw):
    N = integer(draw, 4, 6)
    return _kept(draw, 1, N, N, 1)


def _only_hidden(draw):
    return _kept(draw, 2, integer(draw, 1, 3), 0, 2)


def _any_kept(draw):
    N = integer(draw, 1, 3)
    return _kept(draw, integer(draw, 1, 2), N, integer(draw, 1, N), integer(draw, 1, 2))


def _anything_kept(draw):
    B, N, D = integer(draw, 1, 3), integer(draw, 1, 9), integer(draw, 1, 4)
    kept = normals(draw, (B, integer(draw, 0, N), D))
    kept = kept.round() if choose(draw, False, False, True) else kept
    return {"kept": kept, "mask_token": normals(draw, (D,)), "ids_restore": _ranks(draw, B, N)}


def _restored(
    pick=lambda everything, ids: everything[np.arange(len(ids))[:, None], ids], hidden=lambda token: token
):
    """A mutant that picks in another way, or has something else for hidden tokens."""

    def mutant(kept, mask_token, ids_restore):
        B, K, D = kept.shape
        rest = np.broadcast_to(hidden(mask_token), (B, ids_restore.shape[1] - K, D))
        return pick(np.concatenate([kept, rest], axis=1), ids_restore)

    return mutant


def _hidden_first(kept, mask_token, ids_restore):
    B, K, D = kept.shape
    rest = np.broadcast_to(mask_token, (B, ids_restore.shape[1] - K, D))
    return np.concatenate([rest, kept], axis=1)[np.arange(B)[:, None], ids_restore]


def _filled_in_reading_order(kept, mask_token, ids_restore):
    out = _restore_tokens(kept, mask_token, ids_restore)[0]
    out[ids_restore < kept.shape[1]] = kept.reshape(-1, kept.shape[2])
    return out


def _one_hidden(kept, mask_token, ids_restore):
    """The mask token once, and zeros after it."""
    out = _restore_tokens(kept, mask_token, ids_restore)[0]
    out[ids_restore > kept.shape[1]] = 0
    return out


def _zeros_taken_for_hidden(kept, mask_token, ids_restore):
    """Every number that is 0 replaced by that of the mask token."""
    out = _restore_tokens(kept, np.zeros_like(mask_token), ids_restore)[0]
    return np.where(out == 0, mask_token, out)


_opposite_way = _restored(
    lambda everything, ids: everything[np.arange(len(ids))[:, None], np.argsort(ids, axis=1)]
)
_first_for_all = _restored(lambda everything, ids: everything[:, ids[0]])
_zeros_hidden = _restored(hidden=lambda token: np.zeros_like(token))
_not_moved = _restored(lambda everything, ids: everything)


def _tokens_agree(f, case):
    """The numbers are right, in whatever shape: the law "shape" checks that."""
    got = f(case)
    expected = f.right(case)
    if got.size != expected.size:
        raise Broken(f"The output has shape {got.shape}; {expected.shape} was expected.")
    compare(got.reshape(expected.shape), expected)


for _name, _sentence, _inputs, _equation, _hint, _mutant in (
    (
        "kept tokens in their places",
        "If every token was kept, each goes back to the place it came from.",
        _nothing_hidden,
        r"y_{b,n} = \text{kept}_{b,\ \text{ids}_{b,n}}",
        "ids_restore[b, n] is the rank of place n: place n takes the token of that rank. Picking with ids_restore does it; "
        "writing to the places ids_restore is the opposite way.",
        _opposite_way,
    ),
    (
        "the mask token in all others",
        "Where no token was kept, the mask token stands, the same in every such place.",
        _only_hidden,
        r"y_{b,n} = m \quad \text{if} \quad \text{ids}_{b,n} \ge K",
        "Append the mask token N - K times to the kept tokens, and then pick. Zeros would be another token than the learned one.",
        _zeros_hidden,
    ),
):
    restore_tokens.law(
        _name,
        sentence=_sentence,
        inputs=_inputs,
        equation=_equation,
        slide=SLIDE,
        hint=_hint,
        mutant=_mutant,
        value=True,
        right_too=False,
    )(_tokens_agree)


@restore_tokens.law(
    "each image with its own places",
    inputs=_plainly_kept,
    equation=r"y_{b,n} = [\text{kept},\, m, \dots, m]_{b,\ \text{ids}_{b,n}}",
    slide=SLIDE,
    hint="Pick image by image: everything[np.arange(B)[:, None], ids_restore], or np.take_along_axis.",
    mutant=_first_for_all,
)
def own_places(f, case):
    """Every image has its own ranks: it gives the same in a batch as alone."""
    for b in range(len(case["kept"])):
        alone = case.replace(kept=case["kept"][b : b + 1], ids_restore=case["ids_restore"][b : b + 1])
        compare(f(case)[b].ravel(), f(alone).ravel(), what=f"Image {b}")


every_family(restore_tokens, inputs=_plainly_kept, shapes=_any_kept)
values(
    restore_tokens,
    simplest=_one_restored,
    words="one image, tokens of one number",
    anything=_anything_kept,
    hint="Any number of tokens may be kept, from none to all, and a kept token may hold zeros. Write down kept and hidden tokens "
    "by rank, then pick for each place.",
    mutant=_zeros_taken_for_hidden,
)
for name, hint, answer in (
    (
        "the opposite way",
        "You move the token of place n to its rank. The way back is the opposite: place n takes the token of rank ids_restore[n].",
        _opposite_way,
    ),
    (
        "the mask tokens first",
        "You put the mask tokens before the kept ones. The kept tokens have the ranks 0 to K - 1.",
        _hidden_first,
    ),
    (
        "filled in reading order",
        "You fill the visible places from left to right. The kept tokens are in the order of their noise: look up the rank of "
        "each place.",
        _filled_in_reading_order,
    ),
    (
        "zeros for hidden tokens",
        "Hidden places are zero in your answer. There stands the mask token, a learned vector.",
        _zeros_hidden,
    ),
    (
        "one mask token",
        "Only one hidden place has the mask token, the others are zero. Append it N - K times.",
        _one_hidden,
    ),
    (
        "not moved",
        "Your tokens are still in the order of their ranks, kept ones first. Pick them with ids_restore.",
        _not_moved,
    ),
    (
        "the first image's places for all",
        "You use the ranks of the first image for all. Each image has its own.",
        _first_for_all,
    ),
):
    restore_tokens.mistake(name, hint, answer)
