"""`minivis train mlm-captions`: a small BERT learns the captions of scenes by predicting hidden words.

The captions follow a grammar that is known, so the least cross-entropy that any model can reach is known too: for each
hidden word, the logarithm of the number of words that fit in its place.
Not here: the model (models/bert.py), hiding words and the loss (losses/masked_words.py), the loop (train.py).
"""

import itertools
import re

import numpy as np

from minivis import ops, optim
from minivis.autograd import no_grad
from minivis.data import DataLoader, shapes
from minivis.data.loader import stack
from minivis.data.words import WordTokenizer, split_words
from minivis.losses import mask_tokens, mlm_loss
from minivis.models import BERT
from minivis.recipes import _shapes
from minivis.train import fit

__all__ = [
    "KINDS",
    "TOKENIZER",
    "as_text",
    "captions",
    "fitting",
    "gaps",
    "hidden_one_by_one",
    "measure",
    "predict",
    "run",
    "score",
    "small_bert",
    "train",
]

STEPS = 2000
BATCH = 64
LENGTH = 48  # eight objects and three grounds make 45 words; [START] and [END] beside them
VALIDATION = 60  # captions that are scored now and then during training

TOKENIZER = WordTokenizer(shapes.CAPTION_WORDS)
KINDS = {
    "article": ("a", "an"),
    "colour": shapes.COLOURS,
    "texture": shapes.TEXTURES,
    "shape": shapes.THINGS,
    "ground": shapes.STUFF,
    "joining": (",", "and", "on"),
}
KIND_OF = {word: kind for kind, words in KINDS.items() for word in words}


# ------------------------------------------------------------------ the grammar


def _grammar():
    """A regular expression of all captions."""
    things = f"(?:{'|'.join(shapes.TEXTURES)}) (?:{'|'.join(shapes.THINGS)})"
    others = "|".join(colour for colour in shapes.COLOURS if colour != "orange")
    thing = f"(?:a (?:{others})|an orange) {things}"
    grounds = "|".join([*shapes.STUFF, *map(" and ".join, itertools.combinations(shapes.STUFF, 2))])
    (first, *middle, last) = shapes.STUFF
    return re.compile(f"{thing}(?:, {thing})* on (?:{grounds}|{first}, {', '.join(middle)} and {last})")


GRAMMAR = _grammar()


def fitting(words, place):
    """The words that fit in one place of a caption when all others are known; all of them are equally probable.

    Parameters
    ----------
    words : list of str
        A caption, split into words.
    place : int
        Which of them is hidden.

    Returns
    -------
    list of str
        At least the word that stands there. The logarithm of their number is the entropy of the place.

    Examples
    --------
    >>> fitting("a red plain ring on sand and water".split(), 2)
    ['plain', 'striped', 'checked', 'dotted']
    >>> fitting("a red plain ring on sand and water".split(), 5)
    ['grass', 'sand']
    """
    others = list(words)
    found = []
    for word in shapes.CAPTION_WORDS:
        others[place] = word
        if GRAMMAR.fullmatch(as_text(others)):
            found.append(word)
    return found


def as_text(words):
    """The text of a list of words."""
    return " ".join(words).replace(" ,", ",")


# ------------------------------------------------------------------ training


def small_bert(rng=None, positions="learned", spread=0.5):
    """The model: 2 layers of width 64, 4 heads, 0.1 million parameters; embeddings begin with a wider spread than BERT's."""
    model = BERT(len(TOKENIZER), LENGTH, 64, 2, 4, types=0, positions=positions, rng=rng)
    tables = [model.words] + ([model.positions] if positions == "learned" else [])
    for table in tables:
        table.weight.data *= spread / 0.02
    return model


def captions(count, split="train", seed=0):
    """A data set of captions: a sample is (numbers of words (48,),)."""
    return shapes.Scenes(count, split, seed, sample=_numbered)


def _numbered(scene):
    return (TOKENIZER.encode(scene.caption, LENGTH),)


def hidden(ids, rng, rate=0.15):
    """What a batch of captions (B, N) is trained on, (3, B, N): inputs, targets, and 1 where a word counts."""
    return np.stack(mask_tokens(ids, rng, len(TOKENIZER), TOKENIZER.mask_id, TOKENIZER.special_ids, rate))


def loss(model, batch):
    """The loss of the chosen words of a batch that `hidden` made."""
    inputs, targets, chosen = batch
    return mlm_loss(model(inputs, inputs != TOKENIZER.pad_id), targets, chosen == 1)


def train(model, batches, steps, **options):
    """Train on captions: the same for every model that is compared."""
    schedule = optim.one_cycle(steps, warmup=0.1)
    optimizer = optim.AdamW(optim.decay_groups(model, 0.01), lr=2e-3, schedule=schedule)
    return fit(model, batches, loss, optimizer, steps, clip=1.0, **options)


def _batches(steps, rng, seed):
    drawn = captions(BATCH * steps, "train", seed)
    return DataLoader(drawn, BATCH, rng=rng, transform=hidden, collate=stack, workers=_shapes.WORKERS)


def run(out, seed=0, steps=STEPS, resume=False):
    """Train, write ``model.safetensors`` and ``metrics.json`` into `out`, print the largest gap; see `recipes.run`."""
    rng = np.random.default_rng(seed)
    facts = {"recipe": "mlm-captions", "seed": seed}
    model = small_bert(rng)

    def evaluate(model):
        found = gaps(score(model, VALIDATION, "validation"))
        return {f"validation {kind}": gap for kind, gap in found.items()}

    batches = _batches(steps, rng, seed)
    history = train(model, batches, steps, out=out, resume=resume, settings=facts, evaluate=evaluate)
    found = _figures(score(model, _shapes.COUNT, "held-out"))
    seconds = {"captions": history["seconds"][-1]}
    return _shapes.write_report(model, out, "largest gap", found, seconds, steps=steps, **facts)


# ------------------------------------------------------------------ measuring


def predict(model, text):
    """The probabilities of all words for each ``[MASK]`` of a text.

    Parameters
    ----------
    model : BERT
        Trained by this recipe.
    text : str
        A caption with ``[MASK]`` in some places.

    Returns
    -------
    ndarray, shape (number of masks, 30)
        In the order of ``TOKENIZER.words``.
    """
    ids = TOKENIZER.encode(text)
    with no_grad():
        logits = model(ids[None])[0].numpy()
    return ops.softmax(logits[ids == TOKENIZER.mask_id])


def score(model, count, split="held-out", seed=0):
    """Cross-entropy of hidden words, one hidden at a time in every place of every caption, beside the grammar's entropy.

    Returns
    -------
    dict of str to dict
        For each kind of word in `KINDS`: ``cross-entropy`` and ``entropy``, both in nats, means over its places;
        ``places``, their number.
    """
    costs = {kind: [] for kind in KINDS}
    entropies = {kind: [] for kind in KINDS}
    for words, place, cost in hidden_one_by_one(model, count, split, seed):
        kind = KIND_OF[words[place]]
        costs[kind].append(cost)
        entropies[kind].append(np.log(len(fitting(words, place))))
    return {
        kind: {
            "cross-entropy": float(np.mean(costs[kind])),
            "entropy": float(np.mean(entropies[kind])),
            "places": len(costs[kind]),
        }
        for kind in KINDS
        if costs[kind]
    }


def hidden_one_by_one(model, count, split="held-out", seed=0):
    """Hide each word of each caption alone: yields the words, which is hidden, and minus the log of its probability."""
    drawn = captions(count, split, seed)
    for i in range(count):
        ids = drawn[i][0]
        words = split_words(TOKENIZER.decode(ids))
        for place, cost in enumerate(_costs(model, ids[: len(words) + 2])):
            yield words, place, float(cost)


def _costs(model, ids):
    """Minus the logarithm of the probability of each word of a caption when it alone is hidden."""
    places = np.arange(1, len(ids) - 1)
    inputs = np.repeat(ids[None], len(places), axis=0)
    inputs[places - 1, places] = TOKENIZER.mask_id
    with no_grad():
        logits = model(inputs).numpy()[places - 1, places]  # (number of words, V)
    return ops.cross_entropy(logits, ids[places], reduction="none")


def gaps(found):
    """For each kind of word, by how many nats the cross-entropy that `score` found is above the grammar's entropy."""
    return {kind: row["cross-entropy"] - row["entropy"] for kind, row in found.items()}


def _figures(found):
    """One flat dict: the largest gap, then of each kind its cross-entropy and the grammar's entropy."""
    figures = {"largest gap": max(map(abs, gaps(found).values()))}
    for kind, row in found.items():
        figures[kind] = row["cross-entropy"]
        figures[f"{kind}, grammar"] = row["entropy"]
    return figures


def measure(model, count=None, seed=None):
    """The largest gap between cross-entropy and entropy, in nats, and both for each kind; see `recipes.measure`."""
    found = score(model, count or _shapes.COUNT, "held-out", 0 if seed is None else 1 + seed)
    return _shapes.with_value("largest gap", _figures(found))
