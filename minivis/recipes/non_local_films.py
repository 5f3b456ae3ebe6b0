"""`minivis train non-local-films`: a small ResNet with one non-local block learns where an object moves in a short film.

The answer is read from the last frame. The convolutions see one frame at a time, so the frames meet in the non-local block
alone. As in the other recipes on scenes the convolutions first learn to name pixels, on single pictures.
Not here: the model (models/non_local.py), the loop (train.py), the comparison of three seeds (scripts/compare_films.py).
"""

from pathlib import Path

import numpy as np

from minivis import optim, storage
from minivis.autograd import no_grad
from minivis.data import DataLoader, shapes
from minivis.data.loader import stack
from minivis.metrics import accuracy
from minivis.models import NonLocalResNet
from minivis.nn import looking
from minivis.recipes import _shapes
from minivis.train import fit

__all__ = ["Films", "attention_of", "compared", "matched", "measure", "run", "small_film_net", "train"]

STEPS = 600
FRAMES = 4
COUNT = 500  # held-out films for measuring a finished model
RESULTS = Path(__file__).with_suffix(".json")


class Films(shapes.Scenes):
    """A data set of short films with their directions: 0 to 3, the largest object moves right, down, left, up.

    The arguments are those of `minivis.data.shapes.Scenes`; a sample is (frames (T, 3, H, W), direction).
    """

    def __init__(self, count, split="train", seed=0, sample=None):
        super().__init__(count, split, seed, sample=sample or _labelled)

    def scene(self, i):
        """Film number `i` of the data set."""
        if not 0 <= i < self.count:
            raise IndexError(f"Films: there are films 0 to {self.count - 1}, got {i}")
        return shapes.video(self.first + i, FRAMES)


def _labelled(film):
    return film.frames, film.direction


def small_film_net(rng=None, across_frames=True):
    """The model: maps of 16 x 16 and 8 x 8 places a frame, 0.16 million parameters; answers are read from the last frame."""
    options = {"depths": (1, 2), "kind": "basic", "widths": (32, 64), "stem_width": 32, "norm": "group"}
    model = NonLocalResNet(
        (1,), **options, num_classes=4, patch_stem=True, std=0.1, codes=True, read="last", across_frames=across_frames,
        rng=rng,
    )  # fmt: skip
    model.stem.conv.weight.data *= 4  # pixels are 0 to 1; group norm removes their mean
    return model


def measure(model, count=COUNT, seed=None):
    """Accuracy on held-out films: always the same ones, or with a seed others that nobody has used.

    Parameters
    ----------
    model : NonLocalResNet
        Trained by this recipe.
    count : int, default 500
        Number of films.
    seed : int, optional
        Which other films.

    Returns
    -------
    dict
        ``value``, the accuracy, 0 to 1, where guessing is 0.25.
    """
    return {"value": _accuracy(model, Films(count, "held-out", 0 if seed is None else seed + 1))}


def matched(model, count=100, split="validation"):
    """How often the non-local block of a model finds the same object in other frames.

    For each film, the query is the place of the last frame that lies most on the largest object. In each earlier frame the
    place with the largest weight is looked up.

    Parameters
    ----------
    model : NonLocalResNet
        With one non-local block, trained by this recipe.
    count : int, default 100
        Number of films.
    split : str, default "validation"
        As for `Films`.

    Returns
    -------
    dict
        Shares from 0 to 1. ``object``: the place shows the object; ``chance``: a place drawn at random does.
    """
    hits, areas = [], []
    films = Films(count, split, sample=lambda film: film)
    for film in films:
        weights, (_, row, column), there = attention_of(model, film)
        for one, shown in zip(weights[:-1], there[:-1], strict=True):
            hits.append(shown.flat[one.argmax()])
            areas.append(shown.mean())
    return {"object": float(np.mean(hits)), "chance": float(np.mean(areas))}


def attention_of(model, film):
    """The weights of one query of a film over all places.

    Returns
    -------
    (ndarray (T, rows, columns), (frame, row, column), ndarray of bool (T, rows, columns))
        The weights; the query, in the last frame where the largest object is; the places that show this object.
    """
    with looking(model) as seen, no_grad():
        model(film.frames[None])
    (weights,) = seen.values()
    T = len(film.frames)
    side = round((weights.shape[1] // T) ** 0.5)
    largest = film.masks.sum(axis=(0, 2, 3)).argmax()
    H, W = film.masks.shape[2:]
    cells = film.masks[:, largest].reshape(T, side, H // side, side, W // side)
    covered = cells.mean(axis=(2, 4))  # (T, rows, columns)
    query = np.unravel_index(covered[-1].argmax(), (side, side))
    maps = weights[0].reshape(T, side, side, T, side, side)[-1, query[0], query[1]]
    return maps, (T - 1, int(query[0]), int(query[1])), covered > 0


def _accuracy(model, films):
    right, count = 0, 0
    for frames, directions in DataLoader(films, 50):
        with no_grad():
            scores = model(frames).numpy()
        right += round(accuracy(scores, directions) * len(directions))
        count += len(directions)
    return right / count


def train(model, batches, steps, out=None, **options):
    """Train on films: the same for every choice that is compared."""
    schedule = optim.one_cycle(steps, warmup=0.1)
    optimizer = optim.AdamW(optim.decay_groups(model, 0.01), lr=1e-3, schedule=schedule)
    return fit(model, batches, _shapes.classify, optimizer, steps, clip=1.0, out=out, **options)


def run(out, seed=0, steps=STEPS, resume=False):
    """Train, write ``model.safetensors`` and ``metrics.json`` into `out`, print the accuracy; see `recipes.run`."""
    rng = np.random.default_rng(seed)
    facts = {"recipe": "non-local-films", "seed": seed}
    model = small_film_net(rng)
    before = _shapes.pretrain(model, out, max(1, steps * 2 // 3), rng, resume, **facts)

    def evaluate(model):
        return {"validation accuracy": _accuracy(model, Films(100, "validation"))}

    batches = DataLoader(Films(32 * steps, "train", seed), 32, rng=rng, collate=stack, workers=1)
    history = train(model, batches, steps, out, resume=resume, settings=facts, evaluate=evaluate)
    seconds = {"pixels": before, "films": history["seconds"][-1]}
    found = {"accuracy": measure(model)["value"]}
    return _shapes.write_report(model, out, "accuracy", found, seconds, steps=steps, **facts)


def compared():
    """The measured comparison: with the block over all frames, and with the same block in each frame alone.

    Returns
    -------
    dict
        ``compared()[choice]["accuracy"]`` has one number for each seed, measured on the validation split.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing or broken.
    """
    return storage.read_json(RESULTS)["results"]
