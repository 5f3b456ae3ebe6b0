"""`minivis train clip-shapes`: a small CLIP learns which caption belongs to which picture of one shape.

Not here: the shared part of the recipes on scenes (_shapes.py), the model (models/clip.py), the loss (losses/contrastive.py),
the loop (train.py).
"""

import numpy as np

from minivis import ops, optim
from minivis.autograd import no_grad
from minivis.data import DataLoader, shapes
from minivis.data.loader import stack
from minivis.data.words import WordTokenizer
from minivis.losses import clip_loss
from minivis.models import CLIP, CLIPTextEncoder, FoldedMaps, ViT
from minivis.recipes import _shapes
from minivis.train import fit

__all__ = [
    "ATTRIBUTES",
    "captions",
    "encoded",
    "ensembles",
    "measure",
    "run",
    "same_captions",
    "small_clip",
    "zero_shot",
]

STEPS = 1500
TRUNK_STEPS = 1500
BATCH = 64
DRAWN = 128  # scenes of which a batch is chosen
VALIDATION = 256  # scenes for the columns of the history
GROUP = 64  # pictures and captions that retrieval compares
TOKENIZER = WordTokenizer(shapes.CAPTION_WORDS)
LENGTH = 12  # of the longest caption of one shape, with start and end
ATTRIBUTES = {"colour": shapes.COLOURS, "shape": shapes.THINGS, "texture": shapes.TEXTURES}


def small_clip(backbone, rng, **options):
    """The model: a ViT of two blocks on a backbone's map, a causal text encoder of two blocks, 64 numbers a picture or text."""
    options = {
        "width": 64,
        "depth": 2,
        "heads": 4,
        "mlp_ratio": 2,
        "text_width": 40,
        "embedding": 64,
        **options,
    }
    sizes = {name: options[name] for name in ("width", "depth", "heads", "mlp_ratio")}
    image = ViT(shapes.SIZE, 1, **sizes, num_classes=0, backbone=FoldedMaps(backbone), rng=rng)
    text = {"width": options["text_width"], "depth": 2, "heads": 4, "end_id": TOKENIZER.end_id}
    text = CLIPTextEncoder(len(TOKENIZER), LENGTH, **text, activation="gelu", rng=rng)
    return CLIP(image, text, options["embedding"], image_width=options["width"], rng=rng)


def with_caption(scene):
    """A sample: the image, and the numbers of the words of its caption."""
    return scene.image, TOKENIZER.encode(scene.caption, LENGTH)


def same_ground(samples):
    """A batch of `BATCH` samples of `DRAWN`: all on the ground of the first one, then all on another, until it is full.

    In a batch drawn at random, colour and ground alone tell most captions apart, and nothing more is learnt for a long
    time. Among pictures of one ground, shape and texture have to be looked at.
    """
    images, tokens = stack(samples)
    has = (tokens[:, :, None] == TOKENIZER.ids(shapes.STUFF)).any(axis=1)  # (DRAWN, 3)
    grounds = has @ np.array([1, 2, 4])
    # where a ground comes first
    first = {ground: number for number, ground in reversed(list(enumerate(grounds)))}
    order = sorted(range(len(grounds)), key=lambda i: (first[grounds[i]], i))
    chosen = order[: max(2, len(order) * BATCH // DRAWN)]
    return images[chosen], tokens[chosen]


def same_captions(tokens):
    """Which captions (N, L) are equal: boolean (N, N)."""
    return (tokens[:, None] == tokens).all(axis=-1)


def caption_loss(model, images, tokens):
    """CLIP's loss of a batch; captions that occur twice share their targets."""
    u, v = model.encode_image(images), model.encode_text(tokens)
    return clip_loss(u, v, model.logit_scale, same=same_captions(tokens))


def caption_and_texture_loss(model, images, tokens):
    """CLIP's loss, and one question more for each picture: which of four captions that differ in the texture alone is its own.

    In CLIP's loss the texture hardly counts, because other words tell most captions of a batch apart.
    """
    textures = TOKENIZER.ids(shapes.TEXTURES)
    is_texture = (tokens[:, :, None] == textures).any(axis=-1)  # (N, L)
    own = which_word(tokens, "texture")  # (N,)
    each = np.where(is_texture[:, None], textures[:, None], tokens[:, None])  # (N, 4, L)
    u = model.encode_image(images)
    w = model.encode_text(each.reshape(-1, LENGTH)).reshape(len(tokens), len(textures), -1)  # (N, 4, E)
    v = w[np.arange(len(tokens)), own]  # (N, E)
    cosines = ops.sum(w * u.reshape(len(tokens), 1, -1), axis=-1)  # (N, 4)
    question = ops.cross_entropy(ops.exp(model.logit_scale) * cosines, own)
    return clip_loss(u, v, model.logit_scale, same=same_captions(tokens)) + question


def captions():
    """Every caption that a scene of one shape can have.

    Returns
    -------
    list of str
        1,344: of 8 colours, 4 textures, 6 shapes and 7 grounds.

    Examples
    --------
    >>> len(captions()), captions()[0]
    (1344, 'a red plain circle on grass')
    """
    grounds = [
        "grass",
        "sand",
        "water",
        "grass and sand",
        "grass and water",
        "sand and water",
        "grass, sand and water",
    ]
    return [
        f"{'an' if colour == 'orange' else 'a'} {colour} {texture} {shape} on {ground}"
        for colour in shapes.COLOURS
        for texture in shapes.TEXTURES
        for shape in shapes.THINGS
        for ground in grounds
    ]


def encoded(texts):
    """The numbers of the words of texts, int64 (T, 12), as the model takes them."""
    return np.stack([TOKENIZER.encode(text, LENGTH) for text in texts])


def zero_shot(model, attribute, texts=None):
    """Classes from words: for each word of an attribute the mean of the embeddings of captions that contain it.

    Parameters
    ----------
    model : CLIP
        A model of this recipe.
    attribute : {"colour", "shape", "texture"}
        Whose words.
    texts : list of str, optional
        The captions to average; default: all.

    Returns
    -------
    Tensor, shape (K, E)
        For ``model.encode_image(images) @ zero_shot(model, "colour").T``.

    Raises
    ------
    ValueError
        If there is no such attribute, or no text with one of its words.
    """
    if attribute not in ATTRIBUTES:
        raise ValueError(f"zero_shot: attribute must be one of {', '.join(ATTRIBUTES)}, got {attribute!r}")
    texts = captions() if texts is None else texts
    prompts = [[text for text in texts if word in text.split()] for word in ATTRIBUTES[attribute]]
    if not all(prompts):
        raise ValueError(f"zero_shot: every word of {ATTRIBUTES[attribute]} needs a text that contains it")
    return model.class_embeddings([encoded(texts) for texts in prompts])


def measure(model, count=None, seed=None, split="held-out"):
    """How many pictures find their caption among 64, how many captions their picture, and how many words are right.

    Parameters
    ----------
    model : CLIP
        A model of this recipe.
    count : int, optional
        How many scenes; 500 by default. Retrieval takes them in groups of 64; a rest counts only for the words.
    seed : int, optional
        See `recipes.measure`.
    split : {"held-out", "validation"}, default "held-out"
        Which scenes.

    Returns
    -------
    dict of str to float
        ``value`` and ``retrieval``, the smaller of ``image to text`` and ``text to image``; ``colour``, ``shape`` and
        ``texture`` by the mean embedding of all captions with a word, and by the nearest of all captions.
    """
    scenes = _shapes.fresh_scenes(count, seed, split, objects=1, sample=with_caption)
    batches = []
    with no_grad():
        for images, tokens in DataLoader(scenes, GROUP):
            u, v = model.encode_image(images).numpy(), model.encode_text(tokens).numpy()
            batches.append((u, v, tokens))
    full = [batch for batch in batches if len(batch[0]) == GROUP] or batches
    to_text, to_image = np.mean([_hits(*batch) for batch in full], axis=0)
    found = {"retrieval": min(to_text, to_image), "image to text": to_text, "text to image": to_image}
    u, tokens = (np.concatenate([batch[part] for batch in batches]) for part in (0, 2))
    return _shapes.with_value("retrieval", {**found, **_words(model, u, tokens)})


def _words(model, u, tokens):
    """Shares of right words, of pictures with embeddings u (N, E) and captions (N, L)."""
    everything = encoded(captions())
    with no_grad():
        nearest = everything[(u @ model.encode_text(everything).numpy().T).argmax(axis=1)]  # (N, L)
    averaged, by_nearest = {}, {}
    for attribute in ATTRIBUTES:
        there = which_word(tokens, attribute)
        averaged[attribute] = np.mean((u @ zero_shot(model, attribute).numpy().T).argmax(axis=1) == there)
        by_nearest[f"{attribute} of the nearest caption"] = np.mean(which_word(nearest, attribute) == there)
    return averaged | by_nearest


def ensembles(model, sizes=(1, 4, 16), count=500, draws=8):
    """How many words are right if each is the mean of few captions, and of all that contain it.

    Parameters
    ----------
    model : CLIP
        A model of this recipe.
    sizes : sequence of int, default (1, 4, 16)
        How many captions of each word, drawn at random.
    count : int, default 500
        How many scenes of the validation split.
    draws : int, default 8
        How often captions are drawn; the result is the mean.

    Returns
    -------
    dict of str to dict
        ``found[attribute][size]``: the share of right words; the size ``"all"`` comes last.
    """
    scenes = _shapes.fresh_scenes(count, split="validation", objects=1, sample=with_caption)
    batches = list(DataLoader(scenes, GROUP))
    with no_grad():
        u = np.concatenate([model.encode_image(images).numpy() for images, _ in batches])
    tokens = np.concatenate([tokens for _, tokens in batches])
    rng = np.random.default_rng(0)
    found = {}
    for attribute, words in ATTRIBUTES.items():
        with_word = [[text for text in captions() if word in text.split()] for word in words]
        found[attribute] = {}
        for size in (*sizes, "all"):
            shares = []
            for _ in range(1 if size == "all" else draws):
                texts = [t for same in with_word for t in (same if size == "all" else rng.choice(same, size))]
                named = (u @ zero_shot(model, attribute, texts).numpy().T).argmax(axis=1)
                shares.append(np.mean(named == which_word(tokens, attribute)))
            found[attribute][str(size)] = float(np.mean(shares))
    return found


def which_word(tokens, attribute):
    """Which word of an attribute each caption (N, L) contains: a number for each, (N,)."""
    return (tokens[:, :, None] == TOKENIZER.ids(ATTRIBUTES[attribute])).any(axis=1).argmax(axis=1)


def _hits(u, v, tokens):
    """Shares of right answers, from images to texts and from texts to images; an equal caption is right too."""
    same = same_captions(tokens)
    rows = np.arange(len(u))
    similar = u @ v.T
    return same[rows, similar.argmax(axis=1)].mean(), same[similar.argmax(axis=0), rows].mean()


def run(out, seed=0, steps=STEPS, resume=False):
    """Train, write ``model.safetensors`` and ``metrics.json`` into `out`, print the result; see `recipes.run`."""
    rng = np.random.default_rng(seed)
    facts = {"recipe": "clip-shapes", "seed": seed}
    backbone, before = _shapes.trunk(out, min(TRUNK_STEPS, steps), rng, resume, seed)
    model = small_clip(backbone, rng)

    def evaluate(model):
        found = measure(model, VALIDATION, split="validation")
        return {f"validation {name}": value for name, value in found.items() if name != "value"}

    schedule = optim.one_cycle(steps, warmup=0.1)
    optimizer = optim.AdamW(optim.decay_groups(model, 0.05), lr=1e-3, betas=(0.9, 0.98), schedule=schedule)
    batches = _shapes.loader(steps, DRAWN, rng, seed, with_caption, same_ground, objects=1)
    keep = {"out": out, "resume": resume, "settings": facts, "evaluate": evaluate}
    after = {"after_step": lambda model, step: model.limit_scale()}
    history = fit(model, batches, caption_and_texture_loss, optimizer, steps, clip=1.0, **after, **keep)
    seconds = {"backbone": before, "captions": history["seconds"][-1]}
    return _shapes.write_report(model, out, "retrieval", measure(model), seconds, steps=steps, **facts)
