"""The laws of mask_tokens and mlm_loss: masked language modelling.

Not here: a fixed number of hidden words in every text, which the published code of BERT has.
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.inputs import choose, generator, integer, normals, sizes
from minivis.laws.judging.manners import every_family, quiet_law, shape_law
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import values

SLIDE = "C/125-masked-modelling"
CHOICE = r"c_i \sim \mathrm{Bernoulli}(r)"
SHARES = r"\Pr(\text{[MASK]}) = 0.8, \quad \Pr(\text{random}) = \Pr(\text{kept}) = 0.1"
LOSS = r"L = -\frac{1}{|M|} \sum_{i \in M} \log p_{i, t_i}"


def _mask_tokens(ids, rng, vocabulary, mask_id, special_ids, rate=0.15):
    chosen = (rng.random(ids.shape) < rate) & ~np.isin(ids, list(special_ids))
    how = rng.random(ids.shape)
    inputs = np.where(chosen & (how < 0.8), mask_id, ids)
    random = rng.integers(0, vocabulary, ids.shape)
    inputs = np.where(chosen & (how >= 0.8) & (how < 0.9), random, inputs)
    return (inputs, ids.copy(), chosen), None


mask_tokens = Family(
    "mask_tokens",
    _mask_tokens,
    form="f(ids, rng, vocabulary, mask_id, special_ids, rate=0.15) -> (inputs, targets, chosen), each of the shape of ids; "
    "ids whole numbers below vocabulary, rng a numpy.random.Generator, special_ids a tuple; chosen is boolean, targets are "
    "a copy of ids",
)


def _three(out):
    """The three parts of what a function returned."""
    if not isinstance(out, (tuple, list)) or len(out) != 3:
        raise Broken(
            f"Three arrays (inputs, targets, chosen) were expected; your function returned a {type(out).__name__}.",
            hint="End with `return inputs, targets, chosen`.",
        )
    return out


def _parts(f, case):
    """inputs, targets and chosen; raise `Broken` unless each has the shape of ids and holds what it should."""
    parts = [f.array(part) for part in _three(f.result(case.copy())[0])]
    shape = case["ids"].shape
    for name, part, kinds in zip(("inputs", "targets", "chosen"), parts, ("iu", "iu", "b"), strict=True):
        if part.shape != shape:
            raise Broken(f"{name} have shape {part.shape}; that of ids, {shape}, was expected.")
        if part.dtype.kind not in kinds:
            words = "booleans" if kinds == "b" else "whole numbers"
            raise Broken(f"{name} are {part.dtype}; {words} were expected.")
    return parts


mask_tokens.main = lambda out: np.asarray(_three(out)[0])
mask_tokens.whole = lambda out: np.stack([np.asarray(part, np.float64) for part in _three(out)])

mask_tokens.read = lambda f, case: mask_tokens.whole(f.result(case.copy())[0])


def _stacked(f, case):
    return np.stack([np.asarray(part, np.int64) for part in _parts(f, case)])


def _ordinary(case):
    """Which tokens are not special."""
    return ~np.isin(case["ids"], list(case["special_ids"]))


def _rate(case):
    return case.everything.get("rate", 0.15)


def _about(count, total, share, words):
    """Raise unless a count is about a share of a total: within six standard deviations."""
    expected = total * share
    if abs(count - expected) > 6 * (total * share * (1 - share)) ** 0.5 + 3 * (0 < share < 1):
        raise Broken(f"{count} of {total} {words}; about {expected:.0f} were expected.")


def _right_shares(case, inputs, chosen):
    """Raise unless the chosen words are masked, replaced and kept as often as they should be."""
    ids, V = case["ids"], case["vocabulary"]
    count = int(chosen.sum())
    masked = chosen & (inputs == case["mask_id"])
    kept = chosen & (inputs == ids)
    _about(int(masked.sum()), count, 0.8 + 0.1 / V, "chosen words are [MASK]")
    _about(int(kept.sum()), count, 0.1 + 0.1 / V, "chosen words stay as they are")
    _about(
        int((chosen & ~masked & ~kept).sum()), count, 0.1 - 0.2 / V, "chosen words are replaced by another"
    )


def _one_of_the_right_draws(f, case, atol=None):
    """What is chosen and what becomes of it differ from draw to draw: compare what is certain, then the shares."""
    inputs, targets, chosen = _parts(f, case)
    _only_ordinary(case, chosen)
    _rest_stays(case, inputs, chosen)
    compare(targets, case["ids"].astype(np.float64), what="The targets")
    _about(int(chosen.sum()), int(_ordinary(case).sum()), _rate(case), "words are chosen")
    _right_shares(case, inputs, chosen)


mask_tokens.same = _one_of_the_right_draws


def _only_ordinary(case, chosen):
    wrong = chosen & ~_ordinary(case)
    if wrong.any():
        raise Broken(f"{wrong.sum()} special tokens are chosen.")


def _rest_stays(case, inputs, chosen):
    wrong = (inputs != case["ids"]) & ~chosen
    if wrong.any():
        raise Broken(f"{wrong.sum()} tokens are changed that are not chosen.")


def _texts(draw, *shape, rate=None, vocabulary=None, special=()):
    """Texts in which special tokens are as frequent as others; by default there are none in them."""
    V = vocabulary or choose(draw, 30, 12, 100)
    rng = generator(draw)
    low = 0 if special else 1  # without special tokens [MASK], number 0, does not occur
    return {
        "ids": rng.integers(low, V, shape),
        "rng": rng,
        "vocabulary": V,
        "mask_id": 0,
        "special_ids": tuple(special) or (0,),
        **({} if rate is None else {"rate": rate}),
    }


def _answer(choose_of=None, become=None, targets=None):
    """A mutant: another choice, other inputs made of it, or other targets."""

    def mutant(ids, rng, vocabulary, mask_id, special_ids, rate=0.15):
        special = np.isin(ids, list(special_ids))
        chosen = (
            choose_of(rng, ids, special, rate) if choose_of else (rng.random(ids.shape) < rate) & ~special
        )
        how = rng.random(ids.shape)
        words = rng.integers(0, vocabulary, ids.shape)
        if become:
            inputs = become(ids, chosen, how, words, mask_id)
        else:
            inputs = np.where(chosen & (how < 0.8), mask_id, ids)
            inputs = np.where(chosen & (how >= 0.8) & (how < 0.9), words, inputs)
        return inputs, ids.copy() if targets is None else targets(ids, inputs, chosen), chosen

    return mutant


def _any_token(rng, ids, special, rate):
    return rng.random(ids.shape) < rate


def _whole_texts(rng, ids, special, rate):
    return np.broadcast_to(rng.random((len(ids), *[1] * (ids.ndim - 1))) < rate, ids.shape) & ~special


def _always_15(rng, ids, special, rate):
    return (rng.random(ids.shape) < 0.15) & ~special


def _zero_is_default(rng, ids, special, rate):
    return (rng.random(ids.shape) < (rate or 0.15)) & ~special


def _all_masked(ids, chosen, how, words, mask_id):
    return np.where(chosen, mask_id, ids)


def _random_anywhere(ids, chosen, how, words, mask_id):
    inputs = np.where(chosen & (how < 0.8), mask_id, ids)
    return np.where((how >= 0.8) & (how < 0.9), words, inputs)


def _never_kept(ids, chosen, how, words, mask_id):
    return np.where(chosen & (how < 0.8), mask_id, np.where(chosen, words, ids))


def _shuffled(ids, chosen, how, words, mask_id):
    inputs = np.where(chosen & (how < 0.8), mask_id, ids)
    return np.where(chosen & (how >= 0.8) & (how < 0.9), np.roll(ids, 1), inputs)


def _one_draw(ids, rng, vocabulary, mask_id, special_ids, rate=0.15):
    """The same number decides whether a word is chosen and what becomes of it."""
    u = rng.random(ids.shape)
    chosen = (u < rate) & ~np.isin(ids, list(special_ids))
    inputs = np.where(chosen & (u < 0.8), mask_id, ids)
    inputs = np.where(chosen & (u >= 0.8) & (u < 0.9), rng.integers(0, vocabulary, ids.shape), inputs)
    return inputs, ids.copy(), chosen


def _not_the_last(ids, rng, vocabulary, mask_id, special_ids, rate=0.15):
    return _mask_tokens(ids, rng, vocabulary - 1, mask_id, special_ids, rate)[0]


def _overwritten(ids, rng, vocabulary, mask_id, special_ids, rate=0.15):
    (inputs, targets, chosen), _ = _mask_tokens(ids, rng, vocabulary, mask_id, special_ids, rate)
    ids[...] = inputs
    return ids.copy(), targets, chosen


def _changed_alone(*args, **options):
    inputs, targets, chosen = _mask_tokens(*args, **options)[0]
    return inputs, targets, chosen & (inputs != targets)


def _minus_100(ids, inputs, chosen):
    return np.where(chosen, ids, -100)


@mask_tokens.law(
    "special tokens are never chosen",
    inputs=lambda draw: _texts(draw, 20, integer(draw, 10, 14), special=(0, 1, 2, 3), vocabulary=8),
    equation=r"i \text{ special} \Rightarrow c_i = 0",
    slide=SLIDE,
    hint="The beginning of a text and its padding tell nothing about words: take special_ids out of the choice.",
    mutant=_answer(_any_token),
    right_too=False,
)
def _special(f, case):
    """The beginning, the end and the padding of a text are never chosen."""
    _only_ordinary(case, _parts(f, case)[2])


@mask_tokens.law(
    "what is not chosen stays",
    inputs=lambda draw: _texts(draw, 20, integer(draw, 10, 14)),
    equation=r"c_i = 0 \Rightarrow \text{input}_i = \text{id}_i",
    slide=SLIDE,
    hint="Random words stand in a tenth of the chosen places, not in a tenth of all places.",
    mutant=_answer(become=_random_anywhere),
    right_too=False,
)
def _stays(f, case):
    """Words that are not chosen reach the network as they are."""
    inputs, _, chosen = _parts(f, case)
    _rest_stays(case, inputs, chosen)


@mask_tokens.law(
    "targets are the words",
    inputs=lambda draw: _texts(draw, 4, integer(draw, 5, 7), rate=0.5),
    equation=r"t_i = \text{id}_i",
    slide=SLIDE,
    hint="targets is a copy of ids, at all places; chosen says which of them count.",
    mutant=_answer(targets=_minus_100),
    value=True,
    right_too=False,
)
def _targets(f, case):
    """The targets are the words before anything was hidden, at all places."""
    compare(_parts(f, case)[1], case["ids"].astype(np.float64), what="The targets")


@mask_tokens.law(
    "as many as asked",
    inputs=lambda draw: _texts(draw, 20_000, rate=choose(draw, 0.4, 0.25, 0.6)),
    equation=CHOICE,
    slide=SLIDE,
    hint="A word is chosen if its number, drawn from [0, 1), is less than rate, also if it then stays as it is.",
    mutant=_answer(_always_15),
    value=True,
    examples=5,
    right_too=False,
)
def _share(f, case):
    """Of 20,000 words, about the share `rate` is chosen."""
    chosen = _parts(f, case)[2]
    _about(int(chosen.sum()), chosen.size, case["rate"], "words are chosen")


@mask_tokens.law(
    "each word by itself",
    inputs=lambda draw: _texts(draw, 2000, 6, rate=0.5),
    equation=CHOICE,
    slide=SLIDE,
    hint="Draw one number for each word, not one for each text.",
    mutant=_answer(_whole_texts),
    examples=5,
    right_too=False,
)
def _apart(f, case):
    """Whether a word is chosen does not depend on its neighbours."""
    chosen = _parts(f, case)[2]
    _about(int(chosen.all(axis=1).sum()), len(chosen), 0.5**6, "texts have all of their six words chosen")


@mask_tokens.law(
    "eighty, ten and ten",
    inputs=lambda draw: _texts(draw, 100, 200),
    equation=SHARES,
    slide=SLIDE,
    hint="Draw a second number for each chosen word, because the one that chose it is below 0.15 already: below 0.8 it becomes "
    "[MASK], below 0.9 a random word, and from there on it stays as it is, and counts as chosen.",
    mutant=_one_draw,
    examples=5,
    right_too=False,
)
def _shares(f, case):
    """Of the chosen words 80 % become [MASK], 10 % another word, and 10 % stay."""
    inputs, _, chosen = _parts(f, case)
    if not chosen.any():
        raise Broken("No word is chosen.")
    _right_shares(case, inputs, chosen)


def _one_word(draw):
    case = _texts(draw, 100, 100, rate=1.0, vocabulary=8)
    return {**case, "ids": np.full_like(case["ids"], integer(draw, 1, 6))}


@mask_tokens.law(
    "any word of the vocabulary",
    inputs=_one_word,
    equation=r"\text{random word} \sim \mathrm{Uniform}\{0, \dots, V - 1\}",
    slide=SLIDE,
    hint="rng.integers(vocabulary) gives each number from 0 to vocabulary - 1; its upper end is left out already.",
    mutant=_not_the_last,
    examples=5,
    right_too=False,
)
def _uniform(f, case):
    """A random word can be any word of the vocabulary, each equally often."""
    inputs, _, chosen = _parts(f, case)
    word = int(case["ids"][0, 0])
    for other in sorted(set(range(case["vocabulary"])) - {word, case["mask_id"]}):
        count = int((chosen & (inputs == other)).sum())
        if count or chosen.mean() > 0.5:
            _about(count, int(chosen.sum()), 0.1 / case["vocabulary"], f"words become word {other}")


@mask_tokens.law(
    "ids left alone",
    inputs=lambda draw: _texts(draw, 10, integer(draw, 10, 12), rate=0.5),
    hint="`ids[...] = ...` writes into the caller's array, and the targets would be hidden too: work on a copy.",
    mutant=_overwritten,
    right_too=False,
    manners=True,
)
def _untouched(f, case):
    """The function reads ids and does not write to them."""
    mine = case.copy()
    f.result(mine)
    if not np.array_equal(mine["ids"], case["ids"]):
        raise Broken("The call changed ids.", expected=case["ids"], got=mine["ids"])


shape_law(
    mask_tokens,
    lambda draw: _texts(draw, 1, integer(draw, 1, 3), *[1] * integer(draw, 0, 1)),
    lambda f, case: _parts(f, case)[0],
    mutant=lambda *args, **options: tuple(np.squeeze(part) for part in _mask_tokens(*args, **options)[0]),
    sentence="All three have the shape of ids, also for a single word.",
)
quiet_law(mask_tokens, lambda draw: _texts(draw, 2, 5), _stacked)


def _any_texts(draw):
    shape = [choose(draw, 40, 1, 10), *(integer(draw, 4, 12) for _ in range(integer(draw, 0, 2)))]
    V = choose(draw, 30, 6, 1000)
    special = (V - 1, 0, 2) if choose(draw, True, True, False) else tuple(range(V))
    rate = choose(draw, 0.15, 0.15, 0.5, 0.9, 1.0, 0.0)
    case = _texts(draw, *shape, vocabulary=V, special=special)
    case["mask_id"] = V - 1
    return case | ({} if rate == 0.15 else {"rate": rate})


values(
    mask_tokens,
    simplest=lambda draw: _texts(draw, 60, integer(draw, 40, 50)),
    words="texts without special tokens, 15 % chosen",
    anything=_any_texts,
    hint="Texts may consist of special tokens alone, and rate may be 0 or 1.",
    mutant=_answer(_zero_is_default),
    wrong=_answer(become=_all_masked),
)
for name, hint, answer in (
    (
        "special tokens chosen",
        "Special tokens are chosen too: a choice is the draw and not special, np.isin(ids, special_ids).",
        _answer(_any_token),
    ),
    (
        "all chosen words masked",
        "Every chosen word becomes [MASK]. A tenth of them becomes a random word, and a tenth stays.",
        _answer(become=_all_masked),
    ),
    (
        "random words anywhere",
        "A tenth of all words is replaced by random ones. Only chosen words are replaced.",
        _answer(become=_random_anywhere),
    ),
    (
        "one number for both questions",
        "The number that chooses a word is below rate, so it is below 0.8 too, and every chosen word becomes [MASK]. Draw a "
        "second number.",
        _one_draw,
    ),
    (
        "nothing is kept",
        "A fifth of the chosen words is replaced at random and none stays as it is: a tenth is replaced, a tenth stays.",
        _answer(become=_never_kept),
    ),
    (
        "whole texts",
        "In each text all words are chosen or none. Draw one number for each word.",
        _answer(_whole_texts),
    ),
    (
        "targets of -100",
        "Targets of words that are not chosen are -100. Here targets is a copy of ids, and chosen says which count.",
        _answer(targets=_minus_100),
    ),
    (
        "the hidden words as targets",
        "The targets are what the network sees. They are the words before anything was hidden.",
        _answer(targets=lambda ids, inputs, chosen: inputs.copy()),
    ),
    (
        "what stays as it is, not chosen",
        "Chosen words that stay as they are count too: chosen says what the loss is about, not what has changed.",
        _changed_alone,
    ),
    (
        "what stays, chosen",
        "chosen is True at the words that are not chosen: turn it around.",
        lambda *args, **options: (
            *_mask_tokens(*args, **options)[0][:2],
            ~_mask_tokens(*args, **options)[0][2],
        ),
    ),
):
    mask_tokens.mistake(name, hint, answer)


# ------------------------------------------------------------------ the loss


def _log_p(logits):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _mlm_loss(logits, targets, chosen):
    rows = logits[chosen]
    right = targets[chosen]
    return -_log_p(rows)[np.arange(len(right)), right].mean(), None


mlm_loss = Family(
    "mlm_loss",
    _mlm_loss,
    ("logits",),
    form="f(logits, targets, chosen); logits (..., V), targets (...) of int in 0 ... V - 1, chosen (...) of bool, at least one "
    "of them True; the mean over the chosen words, a number",
)


def _one_number(f, case, atol=2e-5):
    """Compare the single number, whatever its shape."""
    got = f(case)
    if got.size != 1:
        raise Broken(f"One number was expected; the output has shape {got.shape}.")
    compare(got.reshape(()), f.right(case), atol=atol)


mlm_loss.same = _one_number  # the law "shape" checks the shape


# One text, in which no target is 0 and two words or more are chosen, unless a law is about that


def _scores(draw, shape, V, chosen=None, scale=1.0, low=1):
    rng = generator(draw)
    if chosen is None:
        chosen = rng.random(shape) < 0.5
        chosen.flat[0] = True
    return {
        "logits": normals(draw, (*shape, V), scale),
        "targets": rng.integers(low, V, shape),
        "chosen": np.array(chosen),
    }


def _some_of_a_text(draw):
    N = integer(draw, 4, 6)
    chosen = np.zeros(N, bool)
    chosen[:2] = True
    return _scores(draw, (N,), 3, chosen)


def _all_of_a_text(draw):
    N = integer(draw, 2, 4)
    return _scores(draw, (N,), 3, np.ones(N, bool))


def _with_zeros(draw):
    case = _scores(draw, (1,), integer(draw, 2, 4), np.ones(1, bool))
    return {**case, "targets": np.zeros_like(case["targets"])}


def _unequal(draw):
    N = integer(draw, 3, 4)
    chosen = np.zeros((2, N), bool)
    chosen[0, 0] = True
    chosen[1] = True
    return _scores(draw, (2, N), 3, chosen)


def _far_off(draw):
    case = _scores(draw, (1,), integer(draw, 2, 4), np.ones(1, bool))
    logits = case["logits"].copy()
    logits[0, case["targets"]] -= np.float32(choose(draw, 200, 1000))
    return {**case, "logits": logits}


def _everywhere(logits, targets, chosen):
    """The mean over all positions."""
    V = logits.shape[-1]
    flat = _log_p(logits).reshape(-1, V)
    return -flat[np.arange(len(flat)), targets.ravel()].mean()


def _rest_as_zeros(logits, targets, chosen):
    """The losses of the chosen words, divided by the number of all words."""
    return _mlm_loss(logits, targets, chosen)[0] * chosen.mean(dtype=logits.dtype)


def _without_zeros(logits, targets, chosen):
    counted = chosen & (targets != 0)
    return _mlm_loss(logits, targets, counted)[0] if counted.any() else logits.dtype.type(0)


def _one_maximum(logits, targets, chosen):
    """The largest logit of all words is subtracted, of those too that are not chosen."""
    shifted = logits - logits.max()
    rows = shifted[chosen]
    log_p = rows - np.log(np.exp(rows).sum(axis=-1, keepdims=True))
    return -log_p[np.arange(len(rows)), targets[chosen]].mean()


def _by_text(logits, targets, chosen):
    if targets.ndim < 2:
        return _mlm_loss(logits, targets, chosen)[0]
    texts = [_mlm_loss(*text)[0] for text in zip(logits, targets, chosen, strict=True) if text[2].any()]
    return np.mean(texts, dtype=logits.dtype)


def _rounded(logits, targets, chosen):
    rows = logits[chosen]
    p = np.exp(_log_p(rows))
    picked = p[np.arange(len(rows)), targets[chosen]]
    return -np.log(np.where(picked < 1e-9, logits.dtype.type(1e-9), picked)).mean()


@mlm_loss.law(
    "other words do not count",
    inputs=_some_of_a_text,
    equation=r"\frac{\partial L}{\partial \ell_i} = 0, \quad i \notin M",
    slide=SLIDE,
    hint="Take the rows of the chosen words first, logits[chosen] and targets[chosen], and compute everything from them.",
    mutant=_one_maximum,
)
def _others(f, case):
    """The logits of words that are not chosen have no influence at all."""
    first = f(case)
    logits = case["logits"].copy()
    logits[~case["chosen"]] = 7 - 3 * logits[~case["chosen"]]
    logits[~case["chosen"], 0] += 5
    second = f(case.replace(logits=logits))
    if not np.array_equal(first, second):
        raise Broken("Other logits where nothing is chosen change the loss.", first, second)


mlm_loss.agrees(
    "mean over the chosen words",
    "The loss is the mean over the chosen words of all texts together.",
    inputs=_unequal,
    equation=LOSS,
    slide=SLIDE,
    hint="Divide once, by the number of all chosen words: in a mean of the texts' means, words of texts with few chosen "
    "words would count more.",
    mutant=_by_text,
)
mlm_loss.agrees(
    "word 0 counts",
    "A chosen word counts whatever its number is, 0 too.",
    inputs=_with_zeros,
    equation=LOSS,
    hint="Only chosen says what counts; a target of 0 is a word like any other.",
    mutant=_without_zeros,
)
mlm_loss.agrees(
    "sure and wrong",
    "A model that is sure of a wrong word has a large loss.",
    inputs=_far_off,
    equation=r"-\log p_t = \log \sum_k e^{\ell_k - m} - (\ell_t - m)",
    hint="Do not take the logarithm of a probability: exp(-200) is 0 in float32. Write the log of the quotient as a "
    "difference.",
    mutant=_rounded,
)
every_family(
    mlm_loss,
    inputs=_all_of_a_text,
    shapes=_all_of_a_text,
    wrong_shape=lambda logits, targets, chosen: np.array([_mlm_loss(logits, targets, chosen)[0]]),
    shape_equation=r"L \in \mathbb R",
    shape_hint="A loss is one number: shape (), neither (1,) nor one loss for each word.",
)


def _last_axis_only(logits, targets, chosen):
    """Right for one text and for a batch, not for more axes."""
    return (_by_text if targets.ndim == 3 else lambda *args: _mlm_loss(*args)[0])(logits, targets, chosen)


def _any_words(draw):
    shape = sizes(draw, choose(draw, 2, 1, 3), 1, 4)
    scale = choose(draw, 1, 4, 20)
    return _scores(draw, shape, integer(draw, 2, 5), scale=scale, low=0)


values(
    mlm_loss,
    simplest=_some_of_a_text,
    words="one text with two chosen words",
    anything=_any_words,
    hint="targets may have one axis, two, or more. Indexing with chosen gives rows (number of chosen words, V) for all.",
    mutant=_last_axis_only,
)
for name, hint, answer in (
    (
        "all words",
        "This is the mean over all words: only the chosen ones count. Take logits[chosen] and targets[chosen].",
        _everywhere,
    ),
    (
        "divided by all words",
        "You sum over the chosen words, but divide by the number of all words: divide by chosen.sum().",
        _rest_as_zeros,
    ),
    (
        "the sum for the mean",
        "This is the sum over the chosen words: divide it by their number.",
        lambda logits, targets, chosen: (
            _mlm_loss(logits, targets, chosen)[0] * chosen.sum(dtype=logits.dtype)
        ),
    ),
    (
        "the sign",
        "The sum of the log-probabilities is to be made large. The loss is its negative.",
        lambda logits, targets, chosen: -_mlm_loss(logits, targets, chosen)[0],
    ),
    (
        "words that are not chosen",
        "This is the loss of the words that are not chosen: chosen is True where a word counts.",
        lambda logits, targets, chosen: _mlm_loss(logits, targets, ~chosen if not chosen.all() else chosen)[
            0
        ],
    ),
    (
        "a mean of means",
        "You average over each text first, so a word of a text with few chosen words counts more. Average once, over all "
        "chosen words.",
        _by_text,
    ),
    (
        "word 0 left out",
        "Words with the number 0 are left out, as if they were padding. Only chosen says what counts.",
        _without_zeros,
    ),
):
    mlm_loss.mistake(name, hint, answer)
