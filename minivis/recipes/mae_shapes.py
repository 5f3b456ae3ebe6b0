"""`minivis train mae-shapes`: a masked autoencoder sees a quarter of the patches of a scene and paints the others. No labels.

What it paints is compared with inpainting that nobody has trained. What it has learned is then measured by linear classifiers
on its features, beside those of the same network before training and of pixels.
Not here: the shared part of the recipes on scenes (_shapes.py), the model (models/mae.py), the loop (train.py).
"""

import numpy as np

from minivis import optim
from minivis.analysis import linear_probe
from minivis.autograd import no_grad
from minivis.data import DataLoader, shapes
from minivis.models import MAE, ViT
from minivis.recipes import _shapes
from minivis.train import fit
from minivis.vision import patchify, unpatchify

__all__ = [
    "inpaintings",
    "measure",
    "of_encoder",
    "of_pixels",
    "pictures",
    "probes",
    "run",
    "scaled",
    "small_mae",
]

STEPS = 8000
BATCH = 64
# scenes, drawn before training and then seen again and again, each time with other patches hidden
POOL = 16_000
PATCH = 8
VALIDATION = 200


def small_mae(rng=None, ratio=0.75):
    """The model: 64 patches of 8 x 8 pixels, an encoder of width 96 and 4 blocks, a decoder of width 64 and 2 blocks."""
    rng = np.random.default_rng(0) if rng is None else rng
    encoder = ViT(shapes.SIZE, PATCH, 96, 4, 4, mlp_ratio=2, num_classes=0, rng=rng)
    # long waves hardly change over a grid of 8 x 8 patches, and with them it learns more slowly
    return MAE(encoder, 64, 2, 4, decoder_mlp_ratio=2, ratio=ratio, temperature=20.0, rng=rng)


def scaled(images):
    """Pixels around 0, with a standard deviation near 1: the model's input and its target, from RGB of 0 to 1."""
    return (images - np.float32(0.5)) * np.float32(4)


def pictures(count, split="train", seed=0):
    """So many scenes of a split as bytes, uint8 (count, 3, 64, 64): a pool of floats would need four times the memory."""
    scenes = shapes.Scenes(count, split, seed, sample=_bytes)
    out = np.empty((count, 3, shapes.SIZE, shapes.SIZE), np.uint8)
    for i in range(count):
        out[i] = scenes[i]
    return out


def _bytes(scene):
    return np.round(scene.image * 255).astype(np.uint8)


def floats(images, rng=None):
    """Pictures of bytes as the model takes them; with a generator, every second one mirrored."""
    images = scaled(images.astype(np.float32) / np.float32(255))
    if rng is not None:
        mirrored = rng.random(len(images)) < 0.5
        images[mirrored] = images[mirrored][..., ::-1]
    return images


def loss(model, images):
    """The error of the hidden patches; the model draws which ones these are."""
    return model(images).loss


def run(out, seed=0, steps=STEPS, resume=False, batch=BATCH, pool=POOL):
    """Train, write ``model.safetensors`` and ``metrics.json`` into `out`, print the fall of the error; see `recipes.run`."""
    rng = np.random.default_rng(seed)
    facts = {"recipe": "mae-shapes", "seed": seed}
    model = small_mae(rng)
    seen = pictures(VALIDATION, "validation")

    def evaluate(model):
        return {"validation error": error(model, seen)}

    history = train(
        model,
        pictures(pool, seed=seed),
        rng,
        steps,
        batch,
        evaluate=evaluate,
        out=out,
        resume=resume,
        settings=facts,
    )
    seconds = {"patches": history["seconds"][-1]}
    return _shapes.write_report(model, out, "fall", measured(model), seconds, steps=steps, **facts)


def train(model, pool, rng, steps, batch=BATCH, lr=3e-3, **options):
    """Train a masked autoencoder on a pool of pictures, uint8 (n, 3, 64, 64); the rest are options of `fit`."""
    schedule = optim.one_cycle(steps, warmup=0.1)
    optimizer = optim.AdamW(optim.decay_groups(model, 0.05), lr=lr, betas=(0.9, 0.95), schedule=schedule)
    batches = DataLoader((pool,), batch, shuffle=True, rng=rng, drop_last=True, transform=floats)
    return fit(model, batches, loss, optimizer, steps, clip=1.0, **options)


def error(model, images, seed=1):
    """The mean squared error of the hidden patches of pictures (uint8); pixels are scaled, see `scaled`."""
    rng = np.random.default_rng(seed)
    with no_grad():
        losses = [float(model(floats(images[i : i + 100]), rng=rng).loss) for i in range(0, len(images), 100)]
    return float(np.average(losses, weights=[len(images[i : i + 100]) for i in range(0, len(images), 100)]))


# ------------------------------------------------------------------ measuring


def measured(model, count=None, seed=None):
    """The error of the model and of each inpainting on scenes that it was not trained on, and how far the model falls below.

    ``fall`` is the share by which the model's error is below that of the best inpainting, ``fall below mean colours`` that of
    ``distance``, the best of those that only know the mean colour of each patch.
    """
    images = pictures(count or _shapes.COUNT, "held-out", 0 if seed is None else 1 + seed)
    rng = np.random.default_rng(1)
    noise = rng.random((len(images), model.grid[0] * model.grid[1]))
    squares = {}
    hidden = 0
    for i in range(0, len(images), 100):
        there = floats(images[i : i + 100])
        with no_grad():
            prediction, mask, _ = model(there, noise[i : i + 100])
        target = patchify(there, PATCH)
        found = {"error": prediction.numpy(), **inpaintings(there, mask)}
        for name, guess in found.items():
            squares[name] = squares.get(name, 0.0) + float(
                np.square(guess - target).mean(axis=-1)[mask].sum()
            )
        hidden += mask.sum()
    errors = {name: total / hidden for name, total in squares.items()}
    best = min(value for name, value in errors.items() if name != "error")
    falls = {
        "fall": 1 - errors["error"] / best,
        "fall below mean colours": 1 - errors["error"] / errors["distance"],
    }
    return {**falls, **errors}


def inpaintings(images, mask):
    """Guesses of the hidden patches that nobody has trained.

    Parameters
    ----------
    images : ndarray, shape (B, C, H, W)
        Pictures of which the hidden patches are not read.
    mask : bool ndarray, shape (B, N)
        True = hidden.

    Returns
    -------
    dict of str to ndarray, shape (B, N, P P C)
        ``mean``: the mean colour of all visible patches; ``nearest``: that of the nearest visible patch; ``distance``: a mean
        of the mean colours of all visible patches, weighted by distance to the power -3; ``harmonic``: the surface without
        hills of its own between the visible pixels, so that each hidden pixel is the mean of its neighbours.
    """
    patches = patchify(images, PATCH)
    B, N, _ = patches.shape
    C = images.shape[1]
    colours = patches.reshape(B, N, PATCH**2, C).mean(axis=2)  # (B, N, C)
    rows, columns = np.divmod(np.arange(N), images.shape[3] // PATCH)
    distance = np.hypot(rows[:, None] - rows, columns[:, None] - columns)  # (N, N), in patches
    visible = ~mask[:, None]  # (B, 1, N)
    weights = {
        "mean": visible * np.ones((N, N)),
        "nearest": np.arange(N) == np.where(visible, distance, np.inf).argmin(axis=2)[..., None],
        "distance": visible / np.maximum(distance, 0.1) ** 3,
    }
    found = {}
    for name, weight in weights.items():
        mixed = (weight / weight.sum(axis=2, keepdims=True)) @ colours  # (B, N, C)
        found[name] = np.repeat(mixed[:, :, None], PATCH**2, axis=2).reshape(patches.shape)
    found["harmonic"] = patchify(harmonic(images, mask), PATCH)
    return found


def harmonic(images, mask):
    """Pictures whose hidden patches are filled so that every hidden pixel is the mean of its neighbours (Laplace's equation)."""
    from scipy import sparse
    from scipy.sparse.linalg import spsolve

    B, C, H, W = images.shape
    steps = [sparse.diags_array([-1.0, 1.0], offsets=[0, 1], shape=(n - 1, n)) for n in (H, W)]
    down, across = (step.T @ step for step in steps)
    laplace = (sparse.kron(down, sparse.eye_array(W)) + sparse.kron(sparse.eye_array(H), across)).tocsr()
    hidden = unpatchify(np.repeat(mask[..., None], PATCH**2, axis=2), PATCH, H, W).reshape(B, H * W)
    out = images.reshape(B, C, H * W).copy()
    for pixels, there in zip(out, hidden, strict=True):
        known = laplace[there][:, ~there] @ pixels[:, ~there].T
        pixels[:, there] = spsolve(laplace[there][:, there].tocsc(), -known).T.reshape(C, -1)
    return out.reshape(images.shape)


def measure(model, count=None, seed=None):
    """How far the error of the hidden patches falls below that of the best inpainting; see `recipes.measure`."""
    return _shapes.with_value("fall", measured(model, count, seed))


# ------------------------------------------------------------------ what was learned


def probes(features, train=1500, test=500, seed=0):
    """What linear classifiers find in features of scenes that were not used in training.

    Parameters
    ----------
    features : function of (images) -> dict
        For scaled images (B, 3, 64, 64): ``whole``, a dict of names to (B, D), features of a picture; ``patches``, (B, N, D).
    train, test : int
        Scenes for the classifiers, from the validation split, and for their accuracy, held-out ones.
    seed : int, default 0
        As for `data.shapes.Scenes`.

    Returns
    -------
    dict of str to float
        Accuracies: ``shape from NAME`` for each of ``whole``, the shape of scenes with one object, 6 classes; ``patch``, the class
        that most pixels of a patch show, 9 classes; ``patch of a thing``, the same of the patches that show a shape.
    """
    alone = [
        _features(features, split, count, seed, 1)
        for split, count in (("validation", train), ("held-out", test))
    ]
    found = {
        f"shape from {name}": linear_probe(
            alone[0]["whole"][name], alone[0]["label"], alone[1]["whole"][name], alone[1]["label"]
        )
        for name in alone[0]["whole"]
    }
    # every scene has 64 patches, of which neighbours are alike: a sixth of the scenes is enough
    many = [
        _features(features, split, count // 6, seed, None)
        for split, count in (("validation", train), ("held-out", 3 * test))
    ]
    (x, y), (z, truth) = (
        (one["patches"].reshape(-1, one["patches"].shape[-1]), one["classes"].reshape(-1)) for one in many
    )
    thing = truth < len(shapes.THINGS)
    every = linear_probe(x, y, z, truth)
    return {**found, "patch": every, "patch of a thing": linear_probe(x, y, z[thing], truth[thing])}


def _features(features, split, count, seed, objects):
    """Features of scenes, their labels, and the class of each patch, (count, N)."""
    scenes = shapes.Scenes(count, split, 1 + seed, objects=objects, sample=lambda scene: scene)
    drawn = [scenes[i] for i in range(count)]
    parts = [
        features(scaled(np.stack([scene.image for scene in drawn[i : i + 100]])))
        for i in range(0, count, 100)
    ]
    pixels = patchify(np.stack([scene.semantic for scene in drawn])[:, None], PATCH)  # (count, N, P P)
    shares = (pixels[..., None] == np.arange(len(shapes.CLASSES))).sum(axis=2)
    return {
        "whole": {
            name: np.concatenate([part["whole"][name] for part in parts]) for name in parts[0]["whole"]
        },
        "patches": np.concatenate([part["patches"] for part in parts]),
        "label": np.array([scene.label for scene in drawn]),
        "classes": shares.argmax(axis=2),
    }


def of_encoder(model):
    """The features of the encoder with nothing hidden, for `probes`: class token, mean and largest of the patches' tokens."""

    def features(images):
        with no_grad():
            tokens = model.encoder.features(images).numpy()
        patches = tokens[:, 1:]
        whole = {"class token": tokens[:, 0], "mean": patches.mean(axis=1), "maximum": patches.max(axis=1)}
        return {"whole": whole, "patches": patches}

    return features


def of_pixels(images):
    """Pixels as features, for `probes`: the mean colour of each patch, and all pixels of a patch."""
    patches = patchify(images, PATCH)
    colours = patches.reshape(*patches.shape[:2], PATCH**2, -1).mean(axis=2)
    return {"whole": {"colours": colours.reshape(len(images), -1)}, "patches": patches}
