"""`minivis train non-local-films`: a small ResNet with one non-local block learns what moves where in a short film.

For each place of the last frame it says: still, or moving right, down, left or up. One frame does not show that. The
convolutions see one frame at a time, so the frames meet in the non-local block alone. As in the other recipes on scenes the
convolutions first learn to name pixels, on single pictures; then the block is put in.
Not here: the model (models/non_local.py), the loop (train.py), running the comparison (scripts/compare_films.py).
"""

from pathlib import Path

import numpy as np

from minivis import ops, optim, storage
from minivis.autograd import no_grad
from minivis.data import DataLoader, shapes
from minivis.data.loader import stack
from minivis.models import NonLocalResNet, ResNet
from minivis.nn import looking
from minivis.recipes import _shapes
from minivis.train import fit

__all__ = [
    "Films",
    "attention_of",
    "compared",
    "matched",
    "measure",
    "motion",
    "run",
    "small_film_net",
    "train",
]

STEPS = 900
FRAMES = 4
VALIDATION = 100  # films that are scored now and then during training
DIRECTIONS = ("right", "down", "left", "up")
STILL = len(DIRECTIONS)  # the class of the ground
GRID = 8  # places along a side of the map that is classified
RESULTS = Path(__file__).with_suffix(".json")


class Films(shapes.Scenes):
    """A data set of short films of one or two moving shapes, drawn on request; see `minivis.data.shapes.Scenes`.

    A sample is (frames (T, 3, H, W), what moves where (8, 8) in the last frame, direction of the largest object). A film has
    4 frames, unless another number is given.
    """

    def __init__(self, count, split="train", seed=0, sample=None, frames=FRAMES):
        super().__init__(count, split, seed, sample=sample or _labelled)
        self.frames = frames

    def scene(self, i):
        """Film number `i` of the data set."""
        if not 0 <= i < self.count:
            raise IndexError(f"Films: there are films 0 to {self.count - 1}, got {i}")
        return shapes.video(self.first + i, self.frames)


def _labelled(film):
    return film.frames, motion(film), film.direction


def places_of(masks):
    """How much of each place masks (..., H, W) cover: (..., 8, 8), 0 to 1."""
    *leading, H, W = masks.shape
    return masks.reshape(*leading, GRID, H // GRID, GRID, W // GRID).mean(axis=(-3, -1))


def motion(film):
    """What moves where in the last frame of a film: for each place the direction of its object, or 4 for still ground."""
    (dx, dy) = film.velocities.T
    directions = np.where(abs(dx) > abs(dy), np.where(dx > 0, 0, 2), np.where(dy > 0, 1, 3))
    covered = places_of(film.masks[-1])  # (n, 8, 8)
    return np.where(covered.sum(axis=0) >= 0.5, directions[covered.argmax(axis=0)], STILL)


def small_film_net(rng=None, across_frames=True, backbone=None):
    """The model: maps of 16 x 16 and 8 x 8 places a frame, a non-local block on the second, 0.16 million parameters."""
    if backbone is None:
        options = {"widths": (32, 64), "stem_width": 32, "norm": "group", "patch_stem": True}
        backbone = ResNet((1, 2), "basic", num_classes=STILL + 1, **options, rng=rng)
        backbone.stem.conv.weight.data *= 4  # pixels are 0 to 1; the norm after it removes their mean
    options = {"norm": False, "std": 0.3, "codes": True, "read": "places"}
    return NonLocalResNet(backbone, (1,), across_frames=across_frames, **options, rng=rng)


def loss(model, films, moving, directions):
    """Cross-entropy over the places of the last frame; the direction of the whole film is not used."""
    return ops.cross_entropy(model(films), moving)


def train(model, batches, steps, **options):
    """Train on films: the same for every model that is compared. The first stage stays as it was pretrained."""
    model.backbone.freeze(1)
    schedule = optim.one_cycle(steps, warmup=0.1)
    optimizer = optim.AdamW(optim.decay_groups(model, 0.01), lr=2e-3, schedule=schedule)
    return fit(model, batches, loss, optimizer, steps, clip=1.0, **options)


def run(out, seed=0, steps=STEPS, resume=False):
    """Train, write ``model.safetensors`` and ``metrics.json`` into `out`, print the accuracy; see `recipes.run`."""
    rng = np.random.default_rng(seed)
    facts = {"recipe": "non-local-films", "seed": seed}
    model = small_film_net(rng)
    before = _shapes.pretrain(model.backbone, out, max(1, steps // 2), rng, resume, seed)

    def evaluate(model):
        return {"validation accuracy": score(model, Films(VALIDATION, "validation"))["accuracy"]}

    batches = DataLoader(Films(32 * steps, "train", seed), 32, rng=rng, collate=stack, workers=1)
    history = train(model, batches, steps, out=out, resume=resume, settings=facts, evaluate=evaluate)
    seconds = {"pixels": before, "films": history["seconds"][-1]}
    found = score(model, Films(_shapes.COUNT, "held-out"))
    return _shapes.write_report(model, out, "accuracy", found, seconds, steps=steps, **facts)


# ------------------------------------------------------------------ measuring


def score(model, films):
    """Shares of a data set of films: ``accuracy`` of the direction of each film, ``places`` of the objects that are right.

    The direction of a film is the one that all places of the last frame together find most probable.
    """
    right = []
    places = []
    for frames, moving, directions in DataLoader(films, 50):
        with no_grad():
            probabilities = ops.softmax(model(frames), axis=1).numpy()[:, :STILL]  # (B, 4, 8, 8)
        right.append(probabilities.sum(axis=(2, 3)).argmax(axis=1) == directions)
        on = moving < STILL
        places.append((probabilities.argmax(axis=1) == moving)[on])
    return {"accuracy": float(np.concatenate(right).mean()), "places": float(np.concatenate(places).mean())}


def measure(model, count=None, seed=None):
    """Accuracy on held-out films; see `recipes.measure`. ``places`` is the share of the places on objects."""
    films = Films(count or _shapes.COUNT, "held-out", 0 if seed is None else 1 + seed)
    return _shapes.with_value("accuracy", score(model, films))


def attention_of(model, film, number=None):
    """Where the places of the last frame that lie on an object look, in all frames of a film.

    Parameters
    ----------
    model : NonLocalResNet
        With one non-local block, trained by this recipe.
    film : Video
        See `minivis.data.shapes.video`.
    number : int, optional
        Which of its objects; default: the largest.

    Returns
    -------
    (ndarray (n, T, 8, 8), ndarray of int (n, 2), ndarray of bool (T, 8, 8))
        The weights of each of the n places that the object covers by half or more; their rows and columns; the places that
        show the object.
    """
    number = film.masks.sum(axis=(0, 2, 3)).argmax() if number is None else number
    covered = places_of(film.masks[:, number])  # (T, 8, 8)
    T = len(covered)
    with looking(model) as seen, no_grad():
        model(film.frames[None])
    (weights,) = seen.values()  # (1, N, N) with N = T 8 8
    weights = weights[0].reshape(T, GRID, GRID, T, GRID, GRID)[-1]
    queries = np.argwhere(covered[-1] >= 0.5)
    return weights[queries[:, 0], queries[:, 1]], queries, covered > 0


def matched(model, count=100, split="validation"):
    """How often places on an object find the same object in other frames.

    Parameters
    ----------
    model : NonLocalResNet
        As for `attention_of`.
    count : int, default 100
        Number of films.
    split : str, default "validation"
        As for `Films`.

    Returns
    -------
    dict
        Over all places on objects in the last frames: ``outside``, how much of their weight lies in earlier frames, on
        average; ``weight``, the share of that which lies on the same object; ``object``, how often the largest weight in
        earlier frames lies on the same object; ``chance``, how often a place drawn at random from them would.
    """
    outside, inside, hits, areas = [], [], [], []
    films = Films(count, split, sample=lambda film: film)
    for film in (films[i] for i in range(count)):
        for number in range(len(film.labels)):
            weights, _, there = attention_of(model, film, number)
            earlier = weights[:, :-1].reshape(len(weights), (FRAMES - 1) * GRID**2)  # (n, M)
            on = there[:-1].ravel()
            outside += list(earlier.sum(axis=1))
            inside += list(earlier[:, on].sum(axis=1))
            hits += list(on[earlier.argmax(axis=1)])
            areas += [on.mean()] * len(earlier)
    found = {"outside": outside, "object": hits, "chance": areas}
    return {name: float(np.mean(x)) for name, x in found.items()} | {
        "weight": float(sum(inside) / sum(outside))
    }


def compared():
    """The measured comparison of the block over all frames with the same block in each frame alone.

    Returns
    -------
    dict
        ``compared()[choice]["accuracy"]`` has one number for each of three seeds, measured on the validation split.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing or broken.
    """
    return storage.read_json(RESULTS)["results"]
