"""`minivis train local-attention-shapes`: a small network of local attention finds the outlines of shapes.

An outline can only be seen by comparing a pixel with its neighbours, and textures have edges too: this needs a
neighbourhood of some size. `compare` trains four networks of equal size, which differ in their layers alone; `results`
reads what it measured.
Not here: the shared part of the recipes on scenes (_shapes.py), the network (models/local_net.py), the loop (train.py).
"""

import time
from pathlib import Path

import numpy as np

from minivis import ops, optim, storage
from minivis.autograd import Tensor, no_grad
from minivis.data import DataLoader, shapes
from minivis.data.loader import stack
from minivis.models import LocalAttention, LocalNet, LocalRelation
from minivis.nn import Conv2d
from minivis.nn.layer_table import summary
from minivis.recipes import _shapes
from minivis.train import fit

__all__ = ["LAYERS", "compare", "outlines", "results", "small_net", "window_costs"]

RESULTS = Path(__file__).with_suffix(".json")
STEPS = 1000
SCENES = 2000  # used again in every epoch: drawing new ones would take longer than training on them
SEEDS = (0, 1, 2)
COMPARED = {"steps": 600, "batch_size": 8}
# channels inside the blocks: with them the four networks have the same number of parameters, within 1.5 %
LAYERS = {
    "attention": {"inner": 36},
    "relation": {"inner": 46},
    "convolution": {"inner": 25, "window": 3},
    "pointwise": {"inner": 49},
}


def small_net(layer="attention", rng=None):
    """The network: patches of 2 x 2 pixels, 4 blocks, windows of 5 x 5 (the convolution: 3 x 3), 37,000 parameters.

    Parameters
    ----------
    layer : str, default "attention"
        One of `LAYERS`.
    rng : numpy.random.Generator, int or None
        Draws the starting values; None is seed 0.

    Returns
    -------
    LocalNet
        Images to the logits (B, 2, H, W) of inside and outline.

    Examples
    --------
    >>> small_net("pointwise")(np.zeros((1, 3, 8, 8), np.float32)).shape
    (1, 2, 8, 8)
    """
    return LocalNet(layer, 2, patch_size=2, rng=rng, **LAYERS[layer])


def outlines(scene):
    """A sample of a scene: the image, and which of its pixels are outlines, next to a pixel of another object or of none.

    Parameters
    ----------
    scene : Scene
        A scene of `minivis.data.shapes`.

    Returns
    -------
    tuple of (ndarray, ndarray)
        The image (3, H, W), and int64 (H, W): 1 for the outlines, else 0.

    Examples
    --------
    >>> image, edge = outlines(shapes.scene(3))
    >>> edge.shape, round(float(edge.mean()), 2)
    ((64, 64), 0.13)
    """
    objects = np.where(scene.panoptic <= len(scene.labels), scene.panoptic, 0)  # the grounds are one
    edge = np.zeros(objects.shape, bool)
    for axis in (0, 1):
        change = np.diff(objects, axis=axis) != 0
        before = [(0, 0), (0, 0)]
        after = [(0, 0), (0, 0)]
        before[axis], after[axis] = (0, 1), (1, 0)
        edge |= np.pad(change, before) | np.pad(change, after)
    return scene.image, edge.astype(np.int64)


def measure(model, count=None, seed=None):
    """F1 of the outline's pixels; see `recipes.measure`."""
    return _shapes.with_value("F1", measure_outlines(model, count, seed=seed))


def measure_outlines(model, count=None, split="held-out", seed=None):
    """Precision, recall and F1 of the outline's pixels on scenes that were not used in training."""
    hits = found = there = 0
    scenes = _shapes.fresh_scenes(count, seed, split, sample=outlines)
    for images, edges in DataLoader(scenes, 25):
        with no_grad():
            logits = model(images).numpy()
        said = logits[:, 1] > logits[:, 0]
        hits += int((said & (edges == 1)).sum())
        found += int(said.sum())
        there += int(edges.sum())
    precision, recall = hits / max(1, found), hits / max(1, there)
    return {"F1": 2 * hits / max(1, found + there), "precision": precision, "recall": recall}


def run(out, seed=0, steps=STEPS, resume=False):
    """Train, write ``model.safetensors`` and ``metrics.json`` into `out`, print F1; see `recipes.run`."""
    facts = {"recipe": "local-attention-shapes", "seed": seed}
    model, seconds = _trained("attention", seed, steps, out=out, resume=resume, settings=facts)
    return _shapes.write_report(
        model, out, "F1", measure_outlines(model), {"outlines": seconds}, steps=steps, **facts
    )


def _trained(layer, seed, steps, batch_size=16, **keep):
    """A trained network and the seconds it took. It is trained on quarters of scenes, 32 x 32 pixels."""
    rng = np.random.default_rng(seed)
    model = small_net(layer, rng)
    count = min(SCENES, batch_size * steps // 4 + 1)  # a short run draws no more than it uses
    scenes = stack(list(shapes.Scenes(count, "train", seed, sample=outlines)))
    quarters = list(zip(*(_quarters(part) for part in scenes), strict=True))
    batches = DataLoader(quarters, batch_size, shuffle=True, rng=rng, collate=stack)
    schedule = optim.one_cycle(steps, warmup=0.1)
    optimizer = optim.AdamW(optim.decay_groups(model, 1e-4), lr=3e-3, schedule=schedule)
    history = fit(model, batches, _shapes.classify, optimizer, steps, clip=1.0, **keep)
    return model, history["seconds"][-1]


def _quarters(x):
    """Cut each map into four: (N, ..., H, W) -> (4 N, ..., H/2, W/2)."""
    H, W = x.shape[-2:]
    halves = [slice(0, H // 2), slice(H // 2, H)], [slice(0, W // 2), slice(W // 2, W)]
    return np.concatenate([x[..., rows, columns] for rows in halves[0] for columns in halves[1]])


# ------------------------------------------------------------------ what a window costs


def window_costs(windows=tuple(range(1, 16, 2)), channels=64, side=32, repeats=3):
    """Multiply-adds and time of three layers for windows of different sizes: local attention, local relation, convolution.

    Parameters
    ----------
    windows : sequence of int
        Odd sides of windows, in pixels.
    channels, side : int
        C of the map, and its height and width.
    repeats : int
        How often each layer runs, forward and backward; the shortest time counts.

    Returns
    -------
    dict
        ``windows``, and ``layers``: for each layer ``multiply_adds`` (forward), ``seconds`` (forward and backward) and
        ``parameters``, with a number for each window. Compare the times of one call alone: they depend on the machine.

    Examples
    --------
    >>> window_costs(windows=(1, 3), channels=8, side=4, repeats=1)["layers"]["convolution"]["multiply_adds"]
    [1024, 9216]
    """
    x = np.random.default_rng(0).standard_normal((1, channels, side, side)).astype(np.float32)
    layers = {}
    for name, make in (
        ("local attention", lambda k: LocalAttention(channels, channels, window=k, heads=4)),
        ("local relation", lambda k: LocalRelation(channels, window=k)),
        ("convolution", lambda k: Conv2d(channels, channels, k, padding=k // 2, bias=False)),
    ):
        made = [make(window) for window in windows]
        layers[name] = {
            "multiply_adds": [summary(layer, x).rows[0].multiply_adds for layer in made],
            "seconds": [min(_seconds(layer, x) for _ in range(repeats)) for layer in made],
            "parameters": [sum(p.size for p in layer.parameters()) for layer in made],
        }
    return {"windows": list(windows), "layers": layers}


def _seconds(layer, x):
    start = time.perf_counter()
    ops.mean(layer(Tensor(x, requires_grad=True))).backward()
    return time.perf_counter() - start


# ------------------------------------------------------------------ the comparison


def compare(out, layers=tuple(LAYERS), seeds=SEEDS):
    """Train the network with each layer from each seed in the same way, and measure it on the validation split.

    Parameters
    ----------
    out : str or path
        Folder for the results of single runs. Those that are there already are only read.
    layers : sequence of str
        Names in `LAYERS`.
    seeds : sequence of int
        Seeds of the starting weights, the scenes and their order.

    Returns
    -------
    dict
        ``found[layer]`` has the lists ``F1``, ``precision``, ``recall`` and ``seconds`` (of one core), with a number for
        each seed, and ``parameters``.
    """
    folder = storage.make_folder(out)
    found = {}
    for layer in layers:
        rows = [_compared(folder / f"{layer}_seed-{seed}.json", layer, seed) for seed in seeds]
        found[layer] = {name: [row[name] for row in rows] for name in rows[0] if name != "parameters"}
        found[layer]["parameters"] = rows[0]["parameters"]
    return found


def _compared(path, layer, seed):
    if not path.exists():
        start = time.process_time()
        model = _trained(layer, seed, **COMPARED)[0]
        seconds = time.process_time() - start
        row = {name: round(value, 4) for name, value in measure_outlines(model, split="validation").items()}
        row |= {"seconds": round(seconds, 1), "parameters": sum(p.size for p in model.parameters())}
        storage.write_files({path: storage.pack_json(row)})
    return storage.read_json(path)


def results():
    """The measured results of `compare`.

    Returns
    -------
    dict
        As `compare` returns it.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is missing or broken.

    Examples
    --------
    >>> sorted(results())
    ['attention', 'convolution', 'pointwise', 'relation']
    """
    return storage.read_json(RESULTS)["results"]
