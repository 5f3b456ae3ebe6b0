"""The laws of mask_loss and paste_masks, both ends of Mask R-CNN's mask head.

Not here: targets cut out of a mask, torchvision's way to paste, losses of whole masks (masks.py).
"""

import numpy as np

from minivis.laws.judging.candidate import compare
from minivis.laws.judging.gradient_laws import gradients
from minivis.laws.judging.inputs import choose, generator, integer, normals, numbers
from minivis.laws.judging.manners import every_family
from minivis.laws.judging.mutants import backward, mutated
from minivis.laws.judging.registry import Family
from minivis.laws.judging.sandbox import Broken
from minivis.laws.judging.value_laws import gradient_values, values

SLIDE = "C/89-mask-rcnn"
LOSS = r"L = \frac{1}{R m^2} \sum_{r, i, j} \mathrm{BCE}\big(\sigma(z_{r, c_r, i, j}), t_{r, i, j}\big)"
PASTE = r"u = \frac{j + \frac12 - x_0}{x_1 - x_0}\, w - \frac12"


# ---------------------------------------------------------------------------------------------------------------------
# mask_loss


def _entropy(z, targets):
    """Binary cross-entropy of each cell, from the logit."""
    return np.maximum(z, 0) - z * targets + np.log1p(np.exp(-np.abs(z)))


def _sigmoid(z):
    e = np.exp(-np.abs(z))  # at most 1: never overflows
    return np.where(z >= 0, 1, e) / (1 + e)


def _mask_loss(logits, labels, targets):
    regions = np.arange(len(labels))
    z = logits[regions, labels]
    cells = max(z.size, 1)

    def vjp(g):
        d = np.zeros_like(logits)
        d[regions, labels] = g * (_sigmoid(z) - targets) / cells
        return (d, None, None)

    return np.asarray(_entropy(z, targets).sum() / cells, logits.dtype), vjp


mask_loss = Family(
    "mask_loss",
    _mask_loss,
    ("logits",),
    form="f(logits, labels, targets) -> a number; logits (R, K, m, m): a mask for each region and class; labels (R,), the "
    "true classes; targets (R, m, m), from 0 to 1",
)


def _number(f, case, atol=2e-5):
    """Compare the single number, whatever its shape."""
    got = f(case)
    if got.size != 1:
        raise Broken(f"One number was expected; the output has shape {got.shape}.")
    compare(got.reshape(()), f.right(case), atol=atol)


mask_loss.same = _number  # the law "shape" checks the shape


def _regions(draw, regions, classes, side=2):
    """Regions with one class each, targets 0 or 1."""
    logits = numbers(draw, (regions, classes, side, side))
    labels = np.random.default_rng([regions, integer(draw, 0, 30)]).integers(0, classes, regions)
    targets = (numbers(draw, (regions, side, side)) > 0).astype(np.float32)
    targets[:, 0, 0] = 1  # none is empty
    return {"logits": logits, "labels": labels, "targets": targets}


def _one_class(draw):
    return _regions(draw, 1, 1, integer(draw, 1, 3))


def _two_classes(draw):
    return _regions(draw, 1, integer(draw, 2, 3))


def _several_labels(draw):
    case = _regions(draw, 2, 2)
    return {**case, "labels": np.array(choose(draw, [0, 1], [1, 0]))}


def _several_regions(draw):
    return _regions(draw, integer(draw, 2, 3), 1)


def _shares(draw):
    case = _one_class(draw)
    return {**case, "targets": (numbers(draw, case["targets"].shape) / 6 + 0.5).clip(0.1, 0.9)}


def _no_regions(draw):
    return _regions(draw, 0, integer(draw, 1, 3))


def _sure_and_wrong(draw):
    case = _regions(draw, 1, 1, 1)
    case["logits"][:] = (1 - 2 * case["targets"][0]) * choose(draw, 120, 1000, 10000)
    return case


def _any_regions(draw):
    return _regions(draw, integer(draw, 1, 2), integer(draw, 1, 2), integer(draw, 1, 2))


def _few_regions(draw):
    """The simplest form: every region its class, moderate logits, targets 0 or 1."""
    rng = generator(draw)
    R, K, m = integer(draw, 1, 3), integer(draw, 2, 4), integer(draw, 2, 3)
    targets = rng.random((R, m, m)) < 0.5
    targets[:, 0, 0] = True
    return _normal_regions(draw, rng, R, K, m, targets, 1.0)


def _anything(draw, *scales):
    """Any number of regions and classes, any certainty, shares among the targets, now and then no region."""
    rng = generator(draw)
    R = choose(draw, 2, 3, 4, 1, 0, 5)
    K = choose(draw, 2, 3, 4, 1)
    m = choose(draw, 2, 3, 4, 1)
    targets = rng.random((R, m, m)) < choose(draw, 0.5, 0.2, 0.8)
    if choose(draw, False, False, True):
        targets = rng.random((R, m, m)).round(2)
    return _normal_regions(draw, rng, R, K, m, targets, choose(draw, *(scales or (1.0, 3.0, 30.0, 300.0))))


def _moderate(draw):
    """Logits where the sigmoid is not flat, and some whose exp is infinite in float32."""
    return _anything(draw, 1.0, 2.0, 1.0, 2.0, 60.0)


def _normal_regions(draw, rng, R, K, m, targets, scale):
    logits = normals(draw, (R, K, m, m), scale)
    return {"logits": logits, "labels": rng.integers(0, K, R), "targets": targets.astype(np.float32)}


def _every_channel(logits, labels, targets):
    """All channels, each with the target of the region's own class, as if the classes did not matter."""
    return np.asarray(
        _entropy(logits, np.broadcast_to(targets[:, None], logits.shape)).sum() / max(logits.size, 1),
        logits.dtype,
    )


def _zeros_elsewhere(logits, labels, targets):
    """All channels: those of the other classes should be empty."""
    whole = np.zeros_like(logits)
    whole[np.arange(len(labels)), labels] = targets
    return np.asarray(_entropy(logits, whole).sum() / max(logits.size, 1), logits.dtype)


def _leaking(logits, labels, targets):
    """The masks of the other classes are pulled towards 0 a little."""
    others = logits.copy()
    others[np.arange(len(labels)), labels] = 0
    return _mask_loss(logits, labels, targets)[0] + others.sum() * others.dtype.type(1e-6)


def _softmax_loss(logits, labels, targets):
    """A softmax over the classes in each cell."""
    top = logits.max(axis=1, keepdims=True)
    log_p = logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
    log_p = log_p[np.arange(len(labels)), labels]
    other = np.log1p(-np.exp(np.minimum(log_p, -1e-6)))
    return np.asarray(-(targets * log_p + (1 - targets) * other).sum() / max(log_p.size, 1), logits.dtype)


def _log_of_sigmoid(logits, labels, targets):
    p = _sigmoid(logits[np.arange(len(labels)), labels])
    return np.asarray(
        -(targets * np.log(p) + (1 - targets) * np.log(1 - p)).sum() / max(p.size, 1), logits.dtype
    )


def _of(change):
    """A mutant: the right answer with other arguments, ``change(logits, labels, targets)``."""
    return lambda *given: _mask_loss(*change(*given))[0]


def _times(factor):
    """A mutant: the right answer times ``factor(logits)``."""
    return lambda logits, labels, targets: _mask_loss(logits, labels, targets)[0] * factor(logits)


@mask_loss.law(
    "no competition",
    inputs=_two_classes,
    equation=r"\frac{\partial L}{\partial z_{r, k}} = 0 \quad \text{for } k \ne c_r",
    slide=SLIDE,
    hint="A region trains the mask of its own class: choose logits[r, labels[r]] first, and leave the other channels out. "
    "There is no softmax over the classes.",
    mutant=_leaking,
)
def _no_competition(f, case):
    """Other numbers in the channels of the other classes leave the loss as it is, bit for bit."""
    moved = case["logits"] + np.float32(3)
    own = np.arange(len(moved)), case["labels"]
    moved[own] = case["logits"][own]
    before = f(case)
    after = f(case.replace(logits=moved))
    if not np.array_equal(before, after):
        raise Broken("The loss changed with the mask of another class.", before, after)


@mask_loss.law(
    "each its own class",
    inputs=_several_labels,
    equation=LOSS,
    slide=SLIDE,
    hint="logits[:, labels] pairs every region with every label. Index both axes at once: logits[np.arange(R), labels].",
    mutant=_of(
        lambda logits, labels, targets: (logits, np.full_like(labels, labels.max(initial=0)), targets)
    ),
)
def _own_class(f, case):
    """Each region is compared on the channel of its own label: with the classes in another order the loss is the same."""
    turned = case.replace(
        logits=case["logits"][:, ::-1].copy(), labels=case["logits"].shape[1] - 1 - case["labels"]
    )
    compare(f(turned), f(case).astype(np.float64))


mask_loss.agrees(
    "the mean over the regions",
    "The loss is a mean over cells and regions: it does not grow with the number of regions.",
    inputs=_several_regions,
    equation=LOSS,
    slide=SLIDE,
    hint="Divide by R m m, the number of all cells, once.",
    mutant=_times(len),
)
mask_loss.agrees(
    "shares of a cell",
    "A target may be any number from 0 to 1: a border runs through most cells.",
    inputs=_shares,
    equation=r"\mathrm{BCE}(p, t) = -t \log p - (1 - t) \log (1 - p)",
    hint="Use t and 1 - t as weights of the two logarithms; do not choose one of them with `where`, and do not round t.",
    mutant=_of(lambda logits, labels, targets: (logits, labels, (targets > 0.5).astype(targets.dtype))),
)
mask_loss.agrees(
    "no regions",
    "Without any region the loss is 0.",
    value=False,  # 0 everywhere
    inputs=_no_regions,
    equation=r"R = 0 \;\Rightarrow\; L = 0",
    hint="The mean of nothing is 0 / 0. An image without objects is no error: divide by at least 1.",
    mutant=lambda logits, labels, targets: (
        _mask_loss(logits, labels, targets)[0] if len(labels) else np.asarray(np.nan, logits.dtype)
    ),
)
mask_loss.agrees(
    "sure and wrong",
    "A cell with a certain but wrong prediction has a large loss, not an infinite one.",
    inputs=_sure_and_wrong,
    equation=r"\mathrm{BCE} = \max(z, 0) - z t + \log(1 + e^{-|z|})",
    hint="In float32 the sigmoid of a large logit is exactly 0 or 1, and the log of 0 is -inf. Compute the loss from the "
    "logit, with log1p(exp(-|z|)).",
    mutant=_log_of_sigmoid,
)
every_family(
    mask_loss,
    inputs=_one_class,
    shapes=_any_regions,
    wrong_shape=mutated(_mask_loss, lambda right, a, o: np.array([right(*a, **o)[0]])),
    shape_equation=r"L \in \mathbb R",
    shape_hint="A loss is one number: shape (), neither (1,) nor one loss for each region.",
)


def _first_empty(right, args, options):
    """Regions whose target is empty are left out of the mean."""
    (logits, labels, targets) = args
    full = targets.any(axis=(1, 2)) | (len(labels) == 1)
    return right(logits[full], labels[full], targets[full])[0] if full.any() else right(*args)[0]


values(
    mask_loss,
    simplest=_few_regions,
    words="a few regions, targets 0 and 1",
    anything=_anything,
    hint="There may be one class or one cell, a region without any cell of its object, shares among the targets, logits in "
    "the hundreds. Take one region and compute its cells by hand.",
    mutant=mutated(_mask_loss, _first_empty),
)
for name, hint, answer in (
    (
        "a softmax over the classes",
        "You let the classes compete in each cell. Here each class has a sigmoid of its own: the class is decided elsewhere.",
        _softmax_loss,
    ),
    (
        "every class paints the object",
        "You compare the masks of all classes with the target. Only that of the region's own class counts.",
        _every_channel,
    ),
    (
        "the other classes should be empty",
        "You ask the masks of the other classes to be empty. They have no target: leave them out.",
        _zeros_elsewhere,
    ),
    (
        "the first class for all",
        "You always read the mask of class 0. Use labels: logits[np.arange(R), labels].",
        _of(lambda logits, labels, targets: (logits, 0 * labels, targets)),
    ),
    (
        "labels that begin at 1",
        "You read the channel before that of the label: labels index the channels as they are.",
        _of(lambda logits, labels, targets: (logits, labels - 1, targets)),
    ),
    (
        "the sum over the cells",
        "The loss grows with the size of the mask: take the mean over the m m cells, not the sum.",
        _times(lambda logits: logits[0, 0].size if len(logits) else 1),
    ),
    (
        "the sum over the regions",
        "The loss grows with the number of regions: take their mean.",
        _times(len),
    ),
    (
        "the mean over the classes too",
        "You divide by the number of classes too. One channel of each region counts: divide by R m m.",
        _times(lambda logits: 1 / logits.shape[1]),
    ),
    (
        "the object turned around",
        "The target and its opposite are exchanged: t weights log p, 1 - t weights log (1 - p).",
        _of(lambda logits, labels, targets: (logits, labels, 1 - targets)),
    ),
    (
        "the object's cells alone",
        "Cells outside the object count too: the mask must end somewhere. Add (1 - t) log(1 - p).",
        lambda logits, labels, targets: np.asarray(
            (targets * _entropy(logits[np.arange(len(labels)), labels], 1)).sum() / max(targets.size, 1),
            logits.dtype,
        ),
    ),
    (
        "the logarithm of a rounded probability",
        "In float32 the sigmoid of a large logit is exactly 0 or 1, and the logarithm of 0 is -inf. Compute the loss from "
        "the logit, with log1p(exp(-|z|)).",
        _log_of_sigmoid,
    ),
):
    mask_loss.mistake(name, hint, answer)


def _on_every_channel(g, pulled, args, options):
    """The gradient of the chosen channel, written into all."""
    return (np.broadcast_to(pulled[0].sum(axis=1, keepdims=True), args[0].shape).copy(), None, None)


gradients(
    mask_loss,
    inputs=_few_regions,
    slide=SLIDE,
    equation={"logits": r"\bar z_{r, c_r} = \frac{g}{R m^2} (\sigma(z) - t), \quad 0 \text{ elsewhere}"},
    hints={"logits": "The slope of a cell's loss is p - t; the channels of the other classes get 0."},
    mutants={"logits": backward(_mask_loss, _on_every_channel)},
)
gradient_values(
    mask_loss,
    simplest=_few_regions,
    words="a few regions, targets 0 and 1",
    anything=_moderate,
    hint="Without regions the gradient is an array of the logits' shape with nothing in it. Shares among the targets need "
    "p - t as well.",
    mutant=backward(
        _mask_loss,
        lambda g, pulled, args, options: (
            pulled[0] * (args[2].any(axis=(1, 2)) | (len(args[1]) == 1))[:, None, None, None],
            None,
            None,
        ),
    ),
)
for name, hint, change in (
    (
        "the gradient on every channel",
        "You give all classes the gradient. Only the channel of the true class was compared: the others get 0.",
        _on_every_channel,
    ),
    (
        "the mean forgotten on the way back",
        "The loss is a mean over R m m cells: divide the gradient by their number too.",
        lambda g, pulled, args, options: (pulled[0] * max(args[2].size, 1), None, None),
    ),
    (
        "the slope of the sigmoid left in",
        "The derivative of the sigmoid cancels: the slope of the cross-entropy by the logit is p - t.",
        lambda g, pulled, args, options: (
            pulled[0] * _sigmoid(args[0]) * (1 - _sigmoid(args[0])),
            None,
            None,
        ),
    ),
    (
        "the object's cells alone, backwards",
        "Cells outside the object have the gradient p: there the mask should fade.",
        lambda g, pulled, args, options: (pulled[0] * args[2][:, None], None, None),
    ),
):
    mask_loss.mistake(name, hint, backward(_mask_loss, change), gradient=True)


# ---------------------------------------------------------------------------------------------------------------------
# paste_masks, of one mask


def _weights(low, high, cells, length):
    """The (length, cells) matrix of a side: what each pixel's centre takes of each cell; 0 outside the box."""
    if not high > low:
        return np.zeros((length, cells))
    places = (np.arange(length) + 0.5 - low) / (high - low) * cells - 0.5
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(cells)))


def _pasted(mask, rows, columns):
    rows, columns = rows.astype(mask.dtype), columns.astype(mask.dtype)
    return rows @ mask @ columns.T, lambda g: (rows.T @ g @ columns, None, None, None)


def _paste_masks(mask, box, height, width):
    (h, w) = mask.shape
    rows = _weights(box[1], box[3], h, height)
    return _pasted(mask, rows, _weights(box[0], box[2], w, width))


paste_masks = Family(
    "paste_masks",
    _paste_masks,
    ("mask",),
    form="f(mask, box, height, width) -> (height, width); mask (h, w), numbers from 0 to 1; box (4,): left, top, right, "
    "bottom, in pixels; in the image, the mask fills the box, and all around is 0",
)


def _whole_box(draw, height, width):
    """A box of whole pixels inside the image."""
    x, y = integer(draw, 0, width - 2), integer(draw, 0, height - 2)
    right, bottom = integer(draw, x + 1, width - 1), integer(draw, y + 1, height - 1)
    return np.array([x, y, right, bottom], np.float32)


def _ones(draw, cells=(7, 9)):
    """Ones in a box of whole pixels; with the default there are more cells than pixels, as usual."""
    height, width = integer(draw, 4, 7), integer(draw, 4, 7)
    side = integer(draw, *cells)
    mask = np.ones((side, side), np.float32)
    return {"mask": mask, "box": _whole_box(draw, height, width), "height": height, "width": width}


def _half_a_pixel(draw):
    """A box whose sides run through the centres of pixels."""
    case = _ones(draw, (1, 1))
    return {**case, "box": case["box"] + np.float32(0.5)}


def _mirrored(draw, box, height, width):
    """A square mask that is its own mirror image, in a box."""
    mask = (numbers(draw, (3, 3)) + 3) / 6
    mask = ((mask + mask.T) / 2).astype(np.float32)
    return {"mask": mask, "box": np.array(box, np.float32), "height": height, "width": width}


def _over_the_border(draw):
    x, y = choose(draw, (-1, 1), (3, 1), (1, -2), (1, 3), (-1, -1))
    return _mirrored(draw, [x, y, x + 3, y + 3], 5, 5)


def _no_area(draw):
    x, y = integer(draw, 0, 2), integer(draw, 0, 2)
    wide, high = choose(draw, (0, 0), (2, 0), (0, 2))
    return {**_mirrored(draw, [x, y, x + wide, y + high], 4, 4), "mask": np.ones((2, 2), np.float32)}


def _rectangular(draw):
    h, w = choose(draw, (2, 3), (3, 2), (1, 3))
    mask = (numbers(draw, (h, w)) + 3) / 6
    box = np.array([1, 1, 1 + w, 1 + h], np.float32)  # a cell for each pixel
    return {"mask": mask.astype(np.float32), "box": box, "height": 6, "width": 6}


def _plain(draw):
    return _mirrored(draw, [1, 1, 4, 4], 5, 6)


def _any_shape(draw):
    height, width = choose(draw, (1, 4), (4, 1), (2, 3), (1, 1))
    return _mirrored(draw, [0, 0, 2, 2], height, width)


def _inside(draw):
    """The simplest form: a box of whole pixels, and a mask with a cell for each of its pixels."""
    height, width = integer(draw, 4, 7), integer(draw, 4, 7)
    box = _whole_box(draw, height, width)
    shape = int(box[3] - box[1]), int(box[2] - box[0])
    mask = generator(draw).random(shape).round(2).astype(np.float32) + np.float32(0.1)
    return {"mask": mask, "box": box, "height": height, "width": width}


def _any_box(draw):
    """Any mask and any box: fractions, partly outside the image, thin, far larger or smaller than the mask."""
    rng = generator(draw)
    height, width = integer(draw, 1, 8), integer(draw, 1, 8)
    mask = rng.random((integer(draw, 1, 6), integer(draw, 1, 6))).round(2)
    low = rng.uniform(-0.4, 0.7, 2) * [width, height]
    side = rng.uniform(0.1, choose(draw, 0.6, 1.5), 2) * [width, height]
    box = np.concatenate([low, low + side]).round(choose(draw, 2, 2, 0))
    return {"mask": mask.astype(np.float32), "box": box.astype(np.float32), "height": height, "width": width}


def _with(weights):
    """A mutant that pastes with other matrices: ``weights(low, high, cells, length)``."""

    def mutant(mask, box, height, width):
        rows = weights(box[1], box[3], mask.shape[0], height)
        return _pasted(mask, rows, weights(box[0], box[2], mask.shape[1], width))[0]

    return mutant


def _one_more(low, high, cells, length):
    """The box has one pixel more."""
    return _weights(low, high + 1 if high > low else high, cells, length)


def _cut_at_the_side(low, high, cells, length):
    """The outermost cells reach as far as the box, and end there."""
    if not high > low:
        return np.zeros((length, cells))
    centres = np.arange(length) + 0.5
    places = np.clip((centres - low) / (high - low) * cells - 0.5, 0, cells - 1)
    inside = (low <= centres) & (centres < high)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(cells))) * inside[:, None]


def _squeezed(low, high, cells, length):
    """A box that leaves the image is made smaller first."""
    return _weights(np.clip(low, 0, length), np.clip(high, 0, length), cells, length)


def _at_least_one(low, high, cells, length):
    return _weights(low, max(high, low + 1), cells, length)


def _nearest(low, high, cells, length):
    if not high > low:
        return np.zeros((length, cells))
    places = np.floor((np.arange(length) + 0.5 - low) / (high - low) * cells)
    return (places[:, None] == np.arange(cells)).astype(np.float64)


def _corner_to_corner(low, high, cells, length):
    if not high > low:
        return np.zeros((length, cells))
    places = (np.arange(length) + 0.5 - low) / (high - low) * (cells - 1)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(cells)))


def _corners_of_pixels(low, high, cells, length):
    if not high > low:
        return np.zeros((length, cells))
    places = (np.arange(length) - low) / (high - low) * cells - 0.5
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(cells)))


def _corners_where_it_shrinks(low, high, cells, length):
    """A mask with more cells than the box has pixels is sampled at the corners of the pixels."""
    return (_corners_of_pixels if cells > high - low else _weights)(low, high, cells, length)


def _truncated(low, high, cells, length):
    return _weights(np.trunc(low), np.trunc(high), cells, length)


@paste_masks.law(
    "the pixels of the box",
    inputs=_ones,
    equation=r"P_{ij} > \tfrac12 \iff x_0 \le j + \tfrac12 < x_1,\; y_0 \le i + \tfrac12 < y_1",
    slide=SLIDE,
    hint="The centre of pixel j is j + 1/2. A box from 2 to 6 is 4 pixels wide: 6 - 2, without + 1.",
    mutant=_with(_corners_where_it_shrinks),
)
def _fills_the_box(f, case):
    """A mask of ones is above 1/2 on exactly the pixels whose centres lie in the box."""
    (x0, y0, x1, y1) = case["box"].astype(int)
    expected = np.zeros((case["height"], case["width"]), bool)
    expected[y0:y1, x0:x1] = True
    got = f(case)
    if got.shape == expected.shape and not np.array_equal(got > 0.5, expected):
        raise Broken("Other pixels than those of the box are above 1/2.", expected, got > 0.5)
    if got.shape != expected.shape:
        raise Broken(f"The output has shape {got.shape}; {expected.shape} was expected.")


paste_masks.agrees(
    "half at the side",
    "A pixel whose centre lies on the side of the box gets half of the mask: around the mask all is 0, and between the "
    "centres of two cells the value changes evenly.",
    inputs=_half_a_pixel,
    equation=r"P_i = \sum_k \max(0, 1 - |u_i - k|)\, m_k",
    hint="Outside the mask there are zeros: do not clamp the position to the outermost cell, as interpolate does.",
    mutant=_with(_cut_at_the_side),
)
paste_masks.agrees(
    "rows and columns",
    "The rows of the mask belong to y, the columns to x: box is (left, top, right, bottom), mask (rows, columns).",
    inputs=_rectangular,
    equation=r"P = R\, m\, C^T",
    slide=SLIDE,
    hint="mask.shape is (rows, columns), box begins with x: did you exchange width and height, or transpose the mask?",
    mutant=lambda mask, box, height, width: _paste_masks(
        mask if mask.shape[0] == mask.shape[1] else np.ascontiguousarray(mask.T), box, height, width
    )[0],
)
paste_masks.agrees(
    "cut off at the border",
    "What lies outside the image is cut off; the part inside stays as it is.",
    inputs=_over_the_border,
    equation=PASTE,
    hint="Do not clip the box to the image: that squeezes the whole mask into the part that is seen. Compute each pixel's "
    "place in the unclipped box.",
    mutant=_with(_squeezed),
)
paste_masks.agrees(
    "nothing in a box without area",
    "A box without area paints nothing.",
    value=False,  # 0 everywhere
    inputs=_no_area,
    equation=r"x_0 = x_1 \;\Rightarrow\; P = 0",
    hint="Dividing by a side of 0 gives NaN or infinity; a side of at least 1 would paint a pixel. Return zeros.",
    mutant=_with(_at_least_one),
)
every_family(
    paste_masks,
    inputs=_plain,
    shapes=_any_shape,
    shape_equation=r"P \in \mathbb R^{H \times W}",
    shape_hint="The result is as large as the image, (height, width), also where one of them is 1.",
)
values(
    paste_masks,
    simplest=_inside,
    words="a box of whole pixels, a cell for each pixel",
    anything=_any_box,
    hint="Sides of the box may lie between pixels, and the box may be far larger than the mask, smaller, or outside the "
    "image. Compute the place of one pixel's centre by hand.",
    mutant=_with(
        lambda low, high, cells, length: _weights(
            np.round(2 * low) / 2, np.round(2 * high) / 2, cells, length
        )
    ),
)
for name, hint, answer in (
    (
        "one pixel more",
        "The box is 1 too long. Coordinates are positions of edges, not numbers of pixels: the width is right - left, "
        "without + 1.",
        _with(_one_more),
    ),
    (
        "the corner of the pixel",
        "You take the corner of each pixel for its place, so that the mask moves by half a pixel. Take the centre, j + 1/2.",
        _with(_corners_of_pixels),
    ),
    (
        "the corners aligned",
        "You put the outermost centres of cells on the sides of the box. The cells fill the box: their centres lie half a "
        "cell inside.",
        _with(_corner_to_corner),
    ),
    (
        "the nearest cell",
        "Each pixel takes the value of one cell. Interpolate between the centres of the cells, in both directions.",
        _with(_nearest),
    ),
    (
        "cut at the side",
        "You repeat the outermost cells up to the side of the box. Around the mask there are zeros: at the side, half is left.",
        _with(_cut_at_the_side),
    ),
    (
        "squeezed into the image",
        "You clip the box to the image before you paste, and so squeeze the mask. Compute places in the unclipped box.",
        _with(_squeezed),
    ),
    (
        "whole pixels alone",
        "You cut the fractions of the box off. The sides may lie between pixels: keep them.",
        _with(_truncated),
    ),
    (
        "rows and columns exchanged",
        "The mask is transposed: rows belong to y, columns to x.",
        lambda mask, box, height, width: _paste_masks(np.ascontiguousarray(mask.T), box, height, width)[0],
    ),
    (
        "the box read as y, x",
        "The box is (left, top, right, bottom): x comes first.",
        lambda mask, box, height, width: _paste_masks(mask, box[[1, 0, 3, 2]], height, width)[0],
    ),
    (
        "width and height for the corner",
        "The last two numbers of the box are its lower right corner, not its width and height.",
        lambda mask, box, height, width: _paste_masks(
            mask, np.concatenate([box[:2], box[:2] + box[2:]]), height, width
        )[0],
    ),
    (
        "already cut at 1/2",
        "You return 0 and 1. The threshold is the caller's: return the interpolated numbers.",
        lambda mask, box, height, width: (_paste_masks(mask, box, height, width)[0] > 0.5).astype(mask.dtype),
    ),
):
    paste_masks.mistake(name, hint, answer)
