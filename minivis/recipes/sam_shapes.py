"""`minivis train sam-shapes`: a small SAM learns to segment the shape that a click, a box or a phrase means.

Not here: the shared part of the recipes on scenes (_shapes.py), the model (models/sam.py), the loss (losses/prompted_masks.py),
clicks (vision/clicks.py), the loop (train.py), what starts and losses are worth (sam_losses.py).
"""

import re
import zlib
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from minivis import optim, storage
from minivis.autograd import no_grad
from minivis.backend import to_numpy
from minivis.data import DataLoader, shapes
from minivis.losses import sam_loss
from minivis.models import SAM, MapEncoder, MaskDecoder, PromptEncoder
from minivis.recipes import _shapes, clip_shapes
from minivis.train import fit
from minivis.vision import central_click, next_click, uniform_click

__all__ = [
    "PHRASES",
    "answers",
    "best_guess",
    "measure",
    "more_clicks",
    "phrase_features",
    "phrases_of",
    "run",
    "small_sam",
]

STEPS = 2400
PHRASE_STEPS = 1700  # of the second part of the training, in which every scene has a phrase
TRUNK_STEPS = 1500
TRUNK_WIDTHS = (32, 64)
BATCH = 16  # scenes: each with a click on one object and a box around another
TEXTS = 5  # and a phrase for so many of them
ROUNDS = 3  # the first prompt, then two clicks on what is wrong
PHRASE_ROUNDS = 2  # in the second part
RATE = 1e-3  # the highest learning rate
JITTER = 0.1  # of a box's sides: the standard deviation of its corners
WEIGHTS = {"focal": 0.0, "dice": 2.0, "cross_entropy": 2.0, "every_estimate": True}
SMALL = 100  # pixels: objects below count as small
CLICKS = (1, 2, 3, 5)
# "a red striped star", "a red star", "a striped star", "a star", and so on
PHRASES = tuple(
    " ".join([("an" if colour == "orange" else "a"), *filter(None, (colour, texture)), thing])
    for colour in ("", *shapes.COLOURS)
    for texture in ("", *shapes.TEXTURES)
    for thing in shapes.THINGS
)
PLACE = {phrase: number for number, phrase in enumerate(PHRASES)}


def small_sam(backbone, rng=None, **options):
    """The model: an embedding of 16 x 16 cells of width 64, a decoder of two two-way layers, masks of 64 x 64 pixels."""
    sizes = {"width": 64, "heads": 4, "mlp_width": 128, **options}
    width, heads, mlp_width = (sizes[name] for name in ("width", "heads", "mlp_width"))
    encoder = MapEncoder(backbone, width, depth=1, heads=heads, mlp_ratio=mlp_width / width, rng=rng)
    prompts = PromptEncoder(width, shapes.SIZE, shapes.SIZE // 4, text_width=64, rng=rng)
    return SAM(encoder, prompts, MaskDecoder(width, heads=heads, mlp_width=mlp_width, rng=rng))


# ------------------------------------------------------------------ prompts


def phrases_of(scene):
    """The phrases that fit one object of a scene and no other.

    Parameters
    ----------
    scene : Scene
        A scene of `minivis.data.shapes`.

    Returns
    -------
    list of list of str
        For each object its phrases out of `PHRASES`, the longest first.

    Examples
    --------
    >>> phrases_of(shapes.scene(3))[0]
    ['a blue checked triangle', 'a blue triangle', 'a checked triangle', 'a triangle']
    """
    words = [re.split(" ", one)[1:] for one in scene.caption.split(" on ")[0].split(", ")]
    found = []
    for colour, texture, thing in words:
        own = []
        for said in ((colour, texture, thing), (colour, thing), (texture, thing), (thing,)):
            if sum(set(said) <= set(other) for other in words) == 1:
                own.append(f"{'an' if said[0] == 'orange' else 'a'} {' '.join(said)}")
        found.append(own)
    return found


@lru_cache(maxsize=1)
def _all_phrases():
    """The features of `PHRASES`, (270, E)."""
    with no_grad():
        found = storage.load("clip-shapes").encode_text(clip_shapes.encoded(PHRASES)).numpy()
    return found * np.float32(np.sqrt(found.shape[1]))


def phrase_features(phrases):
    """What the text encoder of ``clip-shapes`` makes of phrases, with a variance of 1, as the model takes ``texts``.

    Parameters
    ----------
    phrases : sequence of str
        Out of `PHRASES`.

    Returns
    -------
    ndarray, shape (n, 64)
        float32.

    Raises
    ------
    ValueError
        If a phrase is not one of `PHRASES`.

    Examples
    --------
    >>> phrase_features(["a red striped star", "a ring"]).shape
    (2, 64)
    """
    if unknown := [phrase for phrase in phrases if phrase not in PLACE]:
        raise ValueError(
            f"phrase_features: {unknown[0]!r} is no phrase such as 'a red striped star' or 'a star'"
        )
    return _all_phrases()[[PLACE[phrase] for phrase in phrases]]


def with_prompts(scene):
    """A sample: the image, three objects, a click on the first, a rough box around the second, a phrase for the third.

    All is drawn by a generator whose seed is the image. The phrase is a number in `PHRASES`, or -1 if none fits one object
    alone.
    """
    rng = np.random.default_rng(zlib.crc32(scene.image.tobytes()))
    n = len(scene.labels)
    clicked, boxed = rng.permutation(n)[:2] if n > 1 else (0, 0)
    box = _shapes.in_pixels(scene.boxes[boxed], *scene.image.shape[1:])
    box = box + JITTER * rng.standard_normal(4).astype(np.float32) * np.tile(box[2:] - box[:2], 2)
    named = [(k, phrase) for k, own in enumerate(phrases_of(scene)) for phrase in own]
    meant, phrase = named[rng.integers(len(named))] if named else (0, None)
    masks = scene.masks[[clicked, boxed, meant]]
    return scene.image, masks, uniform_click(masks[0], rng), box, PLACE.get(phrase, -1)


def prompts_of(samples, texts=TEXTS):
    """A batch of samples: images, masks, clicks (B, 1, 1, 2), boxes (B, 1, 4), rows and phrases of those with a phrase, a seed.

    At most `texts` scenes keep their phrase.
    """
    images, masks, clicks, boxes, phrases = (np.stack(part) for part in zip(*samples, strict=True))
    rows = np.flatnonzero(phrases >= 0)[:texts]
    seed = zlib.crc32(images.tobytes())
    clicks = clicks[:, None, None].astype(np.float32)
    return images, masks, clicks, boxes[:, None], rows, phrases[rows], seed


# ------------------------------------------------------------------ asking and correcting


def best_guess(output):
    """Of several masks for each prompt the one with the highest estimate: logits (B, P, H, W), estimates (B, P)."""
    masks, estimates = to_numpy(output.masks), to_numpy(output.iou)
    best = estimates.argmax(axis=2)[:, :, None]
    chosen = np.take_along_axis(masks, best[..., None, None], axis=2)[:, :, 0]
    return chosen, np.take_along_axis(estimates, best, axis=2)[:, :, 0]


def more_clicks(prompt, logits, truth, rng=None):
    """The next question about the same objects: one click more, on what is wrong, and the last answer as a mask.

    Parameters
    ----------
    prompt : dict of str to ndarray
        The last question, as keywords of ``SAM.answer``.
    logits : ndarray, shape (B, P, H, W)
        The answer.
    truth : ndarray of bool, shape (B, P, H, W)
        The objects.
    rng : numpy.random.Generator, optional
        As for `next_click`.

    Returns
    -------
    dict of str to ndarray
        The next one.
    """
    B, P = truth.shape[:2]
    points = np.zeros((B, P, 1, 2), np.float32)
    labels = np.zeros((B, P, 1), np.int64)
    for place in np.ndindex(B, P):
        points[(*place, 0)], labels[(*place, 0)] = next_click(logits[place] > 0, truth[place], rng)
    if "points" in prompt:
        points = np.concatenate([prompt["points"], points], axis=2)
        labels = np.concatenate([prompt["point_labels"], labels], axis=2)
    return {**prompt, "points": points, "point_labels": labels, "masks": logits[:, :, None]}


def answers(model, embedding, prompt, truth, rounds, rng=None):
    """Ask, correct with a click, ask again: the outputs of all rounds, one after another.

    Only a first prompt that is a single click gets three masks; the best guess is the one that is corrected.
    """
    for turn in range(rounds):
        alone = turn == 0 and set(prompt) == {"points", "point_labels"}
        output = model.answer(embedding, **prompt, multimask=alone)
        yield output
        if turn + 1 < rounds:
            prompt = more_clicks(prompt, best_guess(output)[0], truth, rng)


def on(clicks):
    """The prompt of clicks (B, P, n, 2) that all lie on the object."""
    return {"points": clicks, "point_labels": np.ones(clicks.shape[:3], np.int64)}


def prompt_loss(model, images, masks, clicks, boxes, rows, phrases, seed, rounds=None, weights=None):
    """The mean loss of all answers about a batch, over rounds and prompts.

    All prompts are answered once. Then, in turn by the seed, the answers to clicks or those to boxes and phrases are
    corrected with further clicks: correcting all of them would take half as long again.
    """
    rng = np.random.default_rng(seed)
    embedding = model.embed(images)
    truth = to_numpy(masks)
    starts = [(embedding, on(clicks), truth[:, :1]), (embedding, {"boxes": boxes}, truth[:, 1:2])]
    if len(rows):
        texts = phrase_features([PHRASES[number] for number in phrases])[:, None]  # (T, 1, E)
        starts.append((embedding[rows], {"texts": texts}, truth[rows, 2:]))
    corrected = seed % 2
    total = 0.0
    count = 0
    for embedded, prompt, objects in starts:
        turns = (rounds or ROUNDS) if ("points" in prompt) == corrected else 1
        for output in answers(model, embedded, prompt, objects, turns, rng):
            found = sam_loss(output.masks, output.iou, objects, **(weights or WEIGHTS))
            total = total + len(objects) * found["loss"]
            count += len(objects)
    return total / count


# ------------------------------------------------------------------ measuring


def measure(model, count=None, seed=None, split="held-out", clicks=5):
    """The IoU of the masks that a model finds for every object of scenes that it was not trained on, by the prompt.

    Clicks are in the middle: the first on the object, each further one on what is wrong. Boxes are exact. Phrases name
    colour, texture and shape, where that fits one object alone.

    Parameters
    ----------
    model : SAM
        A model of this recipe.
    count : int, optional
        How many scenes; 500 by default.
    seed : int, optional
        See `recipes.measure`.
    split : {"held-out", "validation"}, default "held-out"
        Which scenes.
    clicks : int, default 5
        How many clicks at most.

    Returns
    -------
    dict of str to float
        ``value`` and ``1 click``, the mean IoU of the mask with the highest estimate; ``best of 3``, of the best of its
        three masks; ``2 clicks`` and more; ``box`` and ``box and 1 click``; ``text``; ``1 click, small`` and ``box, small``
        of objects with fewer than 100 pixels; ``empty``, the share of empty masks after one click; ``estimate error``, the
        mean distance of the estimated IoU from the true one after one click, and their ``estimate correlation``.
        What simple ways reach: ``similar colour around the click``, ``filled box``, ``ellipse in the box``, and for
        phrases ``text: any object``, the true mask of an object chosen at random.
    """
    scenes = _shapes.fresh_scenes(count, seed, split, sample=lambda scene: (scene.image, scene))
    rows = []
    for images, drawn in DataLoader(scenes, 25, collate=shapes.collate):
        with no_grad():
            rows += _of_objects(model, images, drawn, clicks)
    columns = {name: np.array([row[name] for row in rows], float) for name in rows[0]}
    small = columns.pop("pixels") < SMALL
    found = {
        name: np.nanmean(values) if not np.isnan(values).all() else 0.0 for name, values in columns.items()
    }
    for name in ("1 click", "box"):
        found[f"{name}, small"] = columns[name][small].mean() if small.any() else 0.0
    estimates = columns["estimate"]
    found["estimate error"] = np.abs(estimates - columns["1 click"]).mean()
    spread = estimates.std() and columns["1 click"].std()
    found["estimate correlation"] = np.corrcoef(estimates, columns["1 click"])[0, 1] if spread else 0.0
    del found["estimate"]
    return _shapes.with_value("1 click", {name: float(value) for name, value in found.items()})


def _of_objects(model, images, drawn, clicks):
    """A dict of numbers for each object of a batch of scenes; NaN where no phrase fits."""
    of = np.concatenate([np.full(len(scene.labels), i) for i, scene in enumerate(drawn)])
    truth = np.concatenate([scene.masks for scene in drawn])  # (N, H, W)
    boxes = np.concatenate([_shapes.in_pixels(scene.boxes, *truth.shape[1:]) for scene in drawn])
    middles = np.array([central_click(mask) for mask in truth])  # (N, 2)
    own = [phrases for scene in drawn for phrases in phrases_of(scene)]
    phrases = [PLACE[found[0]] if found and len(found[0].split()) == 4 else -1 for found in own]
    embedding = model.embed(images)[of]  # (N, D, h, w)
    found = {"pixels": truth.sum(axis=(1, 2))}
    rounds = _asked(model, embedding, on(middles[:, None, None].astype(np.float32)), truth, clicks)
    first = rounds[0]
    found["1 click"] = mask_iou_of(first["mask"], truth)
    found["best of 3"] = np.max([mask_iou_of(mask, truth) for mask in first["all"]], axis=0)
    found["empty"] = ~first["mask"].any(axis=(1, 2))
    found["estimate"] = first["estimate"]
    for number in CLICKS[1:]:
        if number <= clicks:
            found[f"{number} clicks"] = mask_iou_of(rounds[number - 1]["mask"], truth)
    after = _asked(model, embedding, {"boxes": boxes[:, None]}, truth, 2)
    found["box"], found["box and 1 click"] = (mask_iou_of(one["mask"], truth) for one in after)
    found |= _of_texts(model, embedding, np.array(phrases), truth)
    found["text: any object"] = np.where(
        np.array(phrases) < 0, np.nan, [1 / len(drawn[i].labels) for i in of]
    )
    colour = [similar_colour(images[i], middle) for i, middle in zip(of, middles, strict=True)]
    found["similar colour around the click"] = mask_iou_of(np.array(colour), truth)
    filled, ellipse = (np.array([way(box, truth.shape[1:]) for box in boxes]) for way in (in_box, in_ellipse))
    found["filled box"], found["ellipse in the box"] = (mask_iou_of(one, truth) for one in (filled, ellipse))
    return [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]


def _asked(model, embedding, prompt, truth, rounds):
    """For each round the chosen ``mask`` (N, H, W), its ``estimate`` (N,), and ``all`` masks (M, N, H, W)."""
    found = []
    for output in answers(model, embedding, prompt, truth[:, None], rounds):
        logits, estimates = best_guess(output)
        every = np.moveaxis(to_numpy(output.masks)[:, 0] > 0, 1, 0)
        found.append({"mask": logits[:, 0] > 0, "estimate": estimates[:, 0], "all": every})
    return found


def _of_texts(model, embedding, phrases, truth):
    """The IoU with a phrase alone, NaN for objects without one."""
    found = np.full(len(phrases), np.nan)
    rows = np.flatnonzero(phrases >= 0)
    if len(rows):
        prompt = {"texts": phrase_features([PHRASES[phrases[row]] for row in rows])[:, None]}
        found[rows] = mask_iou_of(
            _asked(model, embedding[rows], prompt, truth[rows], 1)[0]["mask"], truth[rows]
        )
    return {"text": found}


def mask_iou_of(found, truth):
    """IoU of boolean masks one by one, (N, H, W) and (N, H, W): (N,)."""
    return (found & truth).sum(axis=(1, 2)) / (found | truth).sum(axis=(1, 2))


# ------------------------------------------------------------------ what simple ways reach


def similar_colour(image, click, tolerance=0.35):
    """The connected region around a click (x, y) whose colours are nearer than a tolerance to the mean of 3 x 3 pixels there.

    The default is best on 100 validation scenes, of 0.1, 0.15, ... 0.4.
    """
    from scipy.ndimage import label

    x, y = click
    around = image[:, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].reshape(3, -1)
    near = np.sqrt(((image - around.mean(axis=1)[:, None, None]) ** 2).sum(axis=0)) < tolerance
    near[y, x] = True
    regions, _ = label(near)
    return regions == regions[y, x]


def in_box(box, size):
    """The pixels (H, W) whose centres are in a box, xyxy in pixels."""
    y, x = np.ogrid[: size[0], : size[1]]
    return (x + 0.5 > box[0]) & (x + 0.5 < box[2]) & (y + 0.5 > box[1]) & (y + 0.5 < box[3])


def in_ellipse(box, size):
    """The pixels (H, W) whose centres are in the ellipse that touches the sides of a box, xyxy in pixels."""
    y, x = np.ogrid[: size[0], : size[1]]
    u = (2 * (x + 0.5) - box[0] - box[2]) / (box[2] - box[0])
    v = (2 * (y + 0.5) - box[1] - box[3]) / (box[3] - box[1])
    return u**2 + v**2 <= 1


def run(out, seed=0, steps=STEPS, resume=False):
    """Train, write ``model.safetensors`` and ``metrics.json`` into `out`, print the result; see `recipes.run`.

    The training has two parts. In the first there are many clicks and boxes and few phrases: it teaches where an object
    ends. In the second every scene has a phrase.
    """
    rng = np.random.default_rng(seed)
    backbone, before = _shapes.trunk(out, min(TRUNK_STEPS, steps), rng, resume, seed, widths=TRUNK_WIDTHS)
    model = small_sam(backbone, rng)
    seconds = {"backbone": before}
    parts = {
        "clicks": (Path(out) / "clicks", steps, TEXTS, ROUNDS),
        "phrases": (Path(out), min(PHRASE_STEPS, steps), BATCH, PHRASE_ROUNDS),
    }
    for name, part in parts.items():
        seconds[name] = _train(model, *part, rng, seed, resume)
    return _shapes.write_report(
        model, out, "1 click", measure(model), seconds, steps=steps, recipe="sam-shapes", seed=seed
    )


def _train(model, out, steps, texts, rounds, rng, seed, resume):
    """One part of the training; returns its seconds."""

    def evaluate(model):
        found = measure(model, 50, split="validation", clicks=3)
        return {f"validation {name}": found[name] for name in ("1 click", "3 clicks", "box", "text")}

    schedule = optim.one_cycle(steps, warmup=0.1)
    optimizer = optim.AdamW(optim.decay_groups(model, 1e-4), lr=RATE, schedule=schedule)
    first = seed if texts < BATCH else 700_000 + seed  # other scenes in the second part
    batches = _shapes.loader(steps, BATCH, rng, first, with_prompts, partial(prompts_of, texts=texts))
    facts = {"recipe": "sam-shapes", "seed": seed}
    keep = {"out": out, "resume": resume, "settings": facts, "evaluate": evaluate, "every": -(-steps // 10)}
    question = partial(prompt_loss, rounds=rounds)
    return fit(model, batches, question, optimizer, steps, clip=1.0, **keep)["seconds"][-1]
