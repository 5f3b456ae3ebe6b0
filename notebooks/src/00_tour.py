# %% [markdown]
# # 00. A tour: one photo through the whole library
#
# In ten minutes we go from the numbers in a photo to networks that name, frame and outline what they see. You need no
# knowledge in advance, and nothing is explained in full: every topic has a chapter of its own.
#
# **Goals**
#
# - You have seen what data a computer gets from a photo, and the two ideas of this course: *convolution* and
#   *attention*.
# - You have trained a network and used trained ones: one names a shape, one finds objects with boxes, two give every
#   pixel a name.
# - You can check your own code by *laws*, and read an error message.
# - You know which chapter to open next.
#
# **Before**: a little Python with NumPy.
#
# **Time**: about ten minutes to read, ten more for the exercises; the cells take about 15 seconds.
#
# **How to read**: click on the first grey cell and press Shift+Enter, again and again. Each cell computes the result
# below it, now and on your machine. Change a number, press Shift+Enter, and see what happens: you cannot break
# anything. A line that begins with `assert` states something; if it is not true, the cell stops.

# %% tags=["setup"]
import numpy as np

import minivis as mv
from minivis import viz
from minivis.data import shapes
from minivis.laws import below, claims

rng = np.random.default_rng(0)

# %% [markdown]
# ## What a computer gets
#
# A photo is an array of numbers: for each of 3 colours (red, green, blue), 256 rows and 384 columns, a brightness
# from 0 to 1. That is all. Nothing says which of the 294,912 numbers are tower and which are sky.

# %%
photo = mv.data.photos.china(size=(256, 384))  # (3, H, W): colour, row, column
print(f"{photo.shape}, {photo.size:,} numbers from {photo.min():.2f} to {photo.max():.2f}")
top, left, side = 15, 116, 14  # fourteen by fourteen pixels: the tip of the tower
pixels = photo[:, top : top + side, left : left + side]
red = np.round(100 * pixels[0])

fig, axes = viz.figure(
    1,
    3,
    width=9.6,
    height=3.3,
    width_ratios=[1.4, 1, 1],
    title="A photo, 196 of its pixels, and their numbers",
    caption="The small square at the tip of the tower is enlarged in the middle. On the right are the same pixels "
    "as numbers: their red parts, in hundredths. Photo: danielbuechele, CC BY 2.0.",
)
panels = {"the photo": photo, "14 x 14 pixels": pixels, "their red": pixels}
for ax, (name, picture) in zip(axes[0], panels.items(), strict=True):
    ax.set_axis_off()
    viz.label(ax, title=name)
    ax.imshow(picture.transpose(1, 2, 0), alpha=0.35 if name == "their red" else 1)
around = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]) * side
axes[0, 0].plot(*(around + [left, top]).T, color="#D55E00", linewidth=2)
for (row, column), value in np.ndenumerate(red):
    axes[0, 2].text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=6.5)
fig

# %% [markdown]
# ## Convolution: compare with the neighbours
#
# Objects have edges, and at an edge the numbers *change*. A **filter** is a small table of weights. Lay it on a pixel
# and its neighbours, multiply each number by the weight on it, add up, and write down the sum. Move the filter by one
# pixel and repeat this everywhere. This is a **convolution**. The filter below is negative on its left and positive
# on its right: the result is 0 where nothing changes, and large at edges.

# %%
grey = photo.mean(axis=0)  # (H, W)
left_to_right = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32)
both = np.stack([left_to_right, left_to_right.T])[:, None]  # (2, 1, 3, 3): the second looks downward
changes = mv.ops.conv2d(grey[None, None], both)[0]  # (2, H - 2, W - 2): an answer for each filter and place

one = (left_to_right * grey[100:103, 200:203]).sum()  # by hand, at one place
assert np.isclose(changes[0, 100, 200], one, atol=1e-5)
edges = np.sqrt((changes**2).sum(axis=0))  # how much it changes, in whichever direction
viz.images(
    [grey, np.abs(changes[0]) / 2, np.abs(changes[1]) / 2, edges / 2],
    titles=["grey", "changes sideways", "changes downward", "both: edges"],
    columns=2,
    size=4.2,
    vmax=1,
    title="Two filters of nine numbers find the edges",
    caption="The second picture shows vertical edges such as the pillars, the third horizontal ones such as the "
    "roofs, and the fourth all of them. The sky, where nothing changes, is black.",
)

# %% [markdown]
# The library has the same code that you would write: read [conv2d](../minivis/ops/conv.py). [Chapter
# 02](02_convolution.ipynb) has more: strides, layers, and how many pixels a deep network takes into account.
#
# ## Patches: a photo as a sentence
#
# A convolution uses a pixel's neighbours and nothing else. To compare things that are far apart, cut the photo into
# **patches** and treat each patch as a *word*. Now the photo is a sentence of 384 words, and a network that reads
# sentences, a **Transformer**, can read photos.

# %%
P = 16  # pixels, the side of a patch
patches = mv.vision.patchify(photo[None], P)[0]  # (N, P P 3): each row is one patch
rows, columns = 256 // P, 384 // P
print(f"{rows} rows of {columns} patches: {patches.shape[0]} words of {patches.shape[1]} numbers each")
assert (mv.vision.unpatchify(patches[None], P, 256, 384)[0] == photo).all()  # nothing was lost

gap = 3
cut = np.ones((3, rows * (P + gap), columns * (P + gap)), np.float32)
for n, patch in enumerate(patches):
    i, j = (k * (P + gap) for k in divmod(n, columns))
    cut[:, i : i + P, j : j + P] = patch.reshape(P, P, 3).transpose(2, 0, 1)
viz.images(
    cut,
    size=6.5,
    title="The photo as 384 patches",
    caption="The patches are read from left to right and from top to bottom, like a text.",
)

# %% [markdown]
# ## Attention: compare with everything
#
# Now every word is compared with all others: *are you similar to me?* Each word is turned into a few numbers that
# describe it, and two words with similar numbers get a high score. The scores of one word become **weights**,
# positive numbers that sum to 1. The word then collects what the others contain, in proportion to these weights. This
# is **attention**, and the distance between two words does not matter to it.
#
# A trained network *learns* how to describe a word. Here we choose a description by hand, with four numbers: how
# bright, how red, how blue, how rough.

# %%
colours = patches.reshape(-1, P * P, 3)  # (N, pixels, RGB)
r, g, b = colours.mean(axis=1).T
light = (r + g + b) / 3
rough = colours.mean(axis=2).std(axis=1)
words = np.stack([light, (r - g) / light, (b - r) / light, rough], axis=1)  # (N, 4)
words = (words - words.mean(axis=0)) / words.std(axis=0)
words /= np.linalg.norm(words, axis=1, keepdims=True)  # length 1: the product of two is their likeness

sharpness = 25  # the larger, the fewer it listens to: try 5 and 100
weights = mv.ops.attention_weights(sharpness * words, words)  # (N, N): how much word i listens to word j
assert weights.shape == (384, 384) and np.allclose(weights.sum(axis=1), 1, atol=1e-5)

asking = [(3, 20), (5, 10), (13, 20)]  # (row, column): a piece of sky, of the tower, of a tree
maps = np.stack([weights[i * columns + j].reshape(rows, columns) for i, j in asking])
viz.attention_maps(
    maps,
    photo,
    titles=["1: sky asks", "2: tower asks", "3: tree asks"],
    query=asking,
    columns=2,
    size=4.2,
    title="Three patches, and the patches that are similar to each",
    caption="The cross marks the patch that is compared with all others. Yellow patches have the largest weights, "
    "grey ones almost none. Sky finds sky on both sides of the tower, and the lake. The tower finds the tower. "
    "Leaves find leaves, and a few rough pieces of the tower.",
)

# %% [markdown]
# [Chapter 05](05_attention.ipynb) has more. The [Transformer](07_transformer.ipynb) is a stack of such layers, and
# the [Vision Transformer](08_vit.ipynb) is that stack with patches as its words.
#
# ## Learning: find the numbers automatically
#
# We chose the filters and the four numbers by hand. For a small network that reads handwriting one would have to
# choose seventeen thousand numbers. These are *learned*. Show the network examples and measure how wrong it is (the
# **loss**). Find out by the chain rule in which direction each number makes the loss smaller ([chapter
# 01](01_autograd.ipynb)), and move all of them a little in that direction. Repeat.

# %%
images, labels = mv.data.digits.load("train")  # (1437, 1, 8, 8): real handwritten digits
new_images, new_labels = mv.data.digits.load("held-out")  # 360 more that it will not learn from

network = mv.models.CNN(widths=(16, 32), rng=0)
loader = mv.data.DataLoader((images, labels), batch_size=64, shuffle=True, drop_last=True, rng=rng)
optimizer = mv.optim.AdamW(network.parameters(), lr=1e-2)


def loss(network, images, labels):
    return mv.ops.cross_entropy(network(images), labels)


def how_good(network):
    return {"right": mv.metrics.accuracy(network(new_images), new_labels)}


history = mv.train.fit(network, loader, loss, optimizer, steps=50, evaluate=how_good, every=2)
numbers = sum(p.size for p in network.parameters())
right, seconds = history["right"][-1], history["seconds"][-1]
print(f"{numbers:,} numbers, {seconds:.1f} seconds: {right:.0%} of the new digits are right")
assert right > 0.8
viz.curves(
    {"new digits": (history["step"], history["right"])},
    "steps of learning",
    "share that is right",
    level={"guessing": 0.1},
    title="A network learns to read",
    caption="The share of new digits that it reads correctly. At first it guesses. After fifty small steps it "
    "reads nearly all digits that it has never seen.",
)

# %%
with mv.no_grad():  # looking only: nothing to learn from here
    probabilities = mv.ops.softmax(network(new_images).data)  # (360, 10)
says, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
wrong = np.flatnonzero(says != new_labels)
shown = np.concatenate([np.flatnonzero(says == new_labels)[::40][:8], wrong[:8]])
viz.images(
    new_images[shown],
    titles=[f"{says[i]} ({sure[i]:.0%})" + f", is {new_labels[i]}" * (i in wrong) for i in shown],
    columns=8,
    size=1.25,
    title="What it reads, and how sure it is",
    caption="Upper row: eight digits that it gets right. Lower row: some that it gets wrong, with their true "
    "names. Could you read them?",
)

# %% [markdown]
# This was a whole training, in one cell. Those of large networks are longer, but they work in the same way.
# `minivis train cnn-digits` in a shell is a longer one (a quarter of a minute); `minivis train` lists the others.
#
# ## Trained networks, ready to use
#
# What is *in* a picture, and *where*? To learn that, a network needs many thousands of pictures with the right
# answers. So many photos would be far too large for this package, so it draws its own pictures: scenes of shapes on
# grass, sand and water, as many as you want, each with all the right answers. Here are eight that no network was
# trained on.

# %%
scenes = [shapes.scene(seed) for seed in range(60)]
one = 45  # the scene that we follow; try 29 or 57
scene = scenes[one]
print(scene.caption)
print(f"image {scene.image.shape}, boxes {scene.boxes.shape}, an owner for each pixel {scene.panoptic.shape}")
viz.images(
    [scenes[seed].image for seed in (one, 9, 12, 34, 55, 24, 2, 21)],
    columns=4,
    size=2.2,
    title="Eight scenes",
    caption="The scenes have 64 x 64 pixels. We use the first one from here on. Every number gives another scene: "
    "try shapes.scene(1234).",
)

# %% [markdown]
# The networks below were trained on such scenes, on two cores of a computer without a graphics card, in a quarter of
# an hour to half an hour each. They are part of the package; **`mv.load` loads one by its name**.
#
# ### What is it? Swin
#
# The simplest question: there is one object, what is it? **Swin** ([chapter 10](10_swin.ipynb)) reads patches with
# attention inside small windows, and shifts the windows from layer to layer, so that information can spread.

# %%
swin = mv.load("swin-shapes")
singles = [shapes.scene(seed, objects=1) for seed in range(100)]
with mv.no_grad():
    answer = mv.ops.softmax(swin(np.stack([s.image for s in singles])).data)  # (100, 6)
right = answer.argmax(axis=1) == [s.label for s in singles]
print(f"{right.sum()} of {len(right)} new scenes are right")
assert right.mean() > 0.9
viz.images(
    [s.image for s in singles[:8]],
    titles=[f"{shapes.THINGS[a.argmax()]} {a.max():.2f}" for a in answer[:8]],
    columns=8,
    size=1.3,
    title="What Swin says, and how sure it is",
    caption="Above each scene: the shape that Swin names and its probability. Colour, pattern, size and ground "
    "differ from scene to scene.",
)

# %% [markdown]
# ### Where is what? DETR
#
# **DETR** ([chapter 15](15_detr.ipynb)) has sixteen *queries*. A query is a learned vector that attends to the whole
# image and answers with one class and one box, or with "no object". All sixteen answer at once.

# %%
detr = mv.load("detr-shapes")
pictures = np.stack([s.image for s in scenes])  # (60, 3, 64, 64)
with mv.no_grad(), mv.nn.looking(detr) as seen:  # seen: what its layers show on the way
    output = detr(pictures)
logits, boxes = output.logits.numpy(), output.boxes.numpy()  # (60, 16, 7), (60, 16, 4)
found = [mv.vision.detr_detections(*pair, threshold=0.5) for pair in zip(logits, boxes, strict=True)]
spoke = len(found[one]["labels"])
queries = logits.shape[1]
print(f"{len(scene.labels)} objects: {spoke} queries found something, {queries - spoke} say 'no object'")

easy = scenes[one]
hard = scenes[12]
viz.boxes_on_images(
    [easy.image, easy.image, hard.image, hard.image],
    [easy.boxes, found[one]["boxes"], hard.boxes, found[12]["boxes"]],
    [easy.labels, found[one]["labels"], hard.labels, found[12]["labels"]],
    [None, found[one]["scores"], None, found[12]["scores"]],
    names=shapes.THINGS,
    normalised=True,
    titles=["the right answer", "what DETR says", "another right answer", "what DETR says"],
    columns=2,
    size=4,
    title="A box and a name for each object",
    caption="The number on a tag is the probability of the answer. In the upper row all objects are found. In the "
    "lower row the small star on the circle is missed, and the circle and the large star are each found twice, by "
    "two different queries.",
)

# %% [markdown]
# Since DETR works by attention, we can see where each query looked when it gave its answer:

# %%
probabilities = mv.ops.softmax(logits[one])[:, :-1]  # (16, 6), without "no object"
sure = np.flatnonzero(probabilities.max(axis=1) > 0.5)  # the queries with an answer
last = seen["transformer.decoder.2.cross_attn.weights"]  # (60, h, 16, 64): the last layer
looked = last[one].mean(axis=0)[sure]  # (n, 64): mean over its heads
y, x = (np.indices((8, 8)).reshape(2, 1, 64) + 0.5) / 8  # the middle of each cell
middle_x, middle_y, width, height = boxes[one][sure].T[:, :, None]
inside = (abs(x - middle_x) < width / 2) & (abs(y - middle_y) < height / 2)  # (n, 64)
share = (looked * inside).sum(axis=1)
names = [shapes.THINGS[k] for k in probabilities[sure].argmax(axis=1)]
parts = ", ".join(f"{name} {part:.0%}" for name, part in zip(names, share, strict=True))
print(f"of each query's attention, the share inside its own box: {parts}")
viz.attention_by_object(
    looked.reshape(-1, *seen["grid"]),  # (n, 8, 8)
    scene.image,
    boxes[one][sure],
    labels=probabilities[sure].argmax(axis=1),
    names=shapes.THINGS,
    normalised=True,
    size=4.2,
    title="Where each query looked",
    caption="One colour for each query; a strong colour means much attention on a piece of 8 x 8 pixels. Each "
    "query attends mostly to the object that it names. A small object covers only a few pieces.",
)

# %% [markdown]
# ### Every pixel: panoptic segmentation
#
# Boxes are coarse. The last question is: which object or ground does *every pixel* belong to? DETR answers it with a
# small additional network that predicts masks. **Mask2Former** ([chapter 19](19_mask2former.ipynb)) was designed for
# it: a query attends only to the pixels inside the mask that it predicted one layer before.

# %%
things = np.array([name in shapes.THINGS for name in shapes.CLASSES])  # True: can be counted; False: a ground


def paint(name, merge, **options):
    """Which segment each pixel of the 60 pictures belongs to: a list of (numbers (H, W), segments)."""
    with mv.no_grad():
        output = mv.load(name)(pictures)
    pairs = zip(output.logits, output.masks, strict=True)
    return [merge(*pair, things, (64, 64), threshold=0.5, **options) for pair in pairs]


def same_colours(ids, segments):
    """List segments in the order of the true ones that they lie on: the picture colours them by their place."""
    on = {int(np.bincount(scene.panoptic[ids == s["id"]]).argmax()): s for s in segments}
    listed = [on.get(s["id"], {"id": -1, "label": 0}) for s in scene.segments]
    return ids, listed + [s for s in segments if s not in listed]


painted = {
    "the right answer": [(s.panoptic, s.segments) for s in scenes],
    "DETR": paint("detr-panoptic-shapes", mv.vision.detr_panoptic),
    "Mask2Former": paint("mask2former-shapes", mv.vision.panoptic_inference, overlap=0.7),
}

# %%
viz.panoptic_on_images(
    [scene.image] * 3,
    [same_colours(*answers[one]) for answers in painted.values()],
    names=shapes.CLASSES,
    titles=list(painted),
    columns=3,
    size=3.4,
    title="Every pixel has a name",
    caption="The number on a tag is the probability of the answer. Compare the edges, and the holes of the rings.",
)

# %% [markdown]
# ### How good are they?
#
# We chose a scene that works well, so it says little about the networks. All sixty scenes together are a measurement,
# though a small one. We use two numbers, both 1 when everything is right and nothing is invented. **AP50** is for
# boxes: a box counts as right when its overlap with the true box is at least half of the area that both cover
# together. **Panoptic quality** (PQ) is for pixels.

# %%
truth = [{"boxes": s.boxes, "labels": s.labels} for s in scenes]
everything = [mv.vision.detr_detections(*pair) for pair in zip(logits, boxes, strict=True)]
AP50 = mv.metrics.average_precision(everything, truth, sizes=[(64, 64)] * 60)["AP50"]
PQ = {
    name: mv.metrics.panoptic_quality(answers, painted["the right answer"], things)["PQ"]
    for name, answers in painted.items()
}
print(f"boxes of DETR: AP50 {AP50:.2f}")
for name, value in PQ.items():
    print(f"pixels of {name}: PQ {value:.2f}")
assert AP50 > 0.8 and PQ["the right answer"] == 1
assert min(PQ["DETR"], PQ["Mask2Former"]) > 0.4

# %% [markdown]
# Each trained network has a card beside its weights. It says how the network was trained, how good it is on 500 new
# scenes, and what it should not be used for: [one of them](../minivis/weights/detr-shapes/card.json).
#
# ### And the photo?
#
# These networks have only ever seen shapes. What do they answer for a photo?

# %%
tower, dahlia = (mv.data.photos.load(name, size=64) for name in ("china", "flower"))  # (3, 64, 96)
small = [tower[:, :, :64], dahlia[:, :, 16:80]]  # the part with something in it, 64 x 64
with mv.no_grad():
    seen = detr(np.stack(small))
pairs = zip(seen.logits, seen.boxes, strict=True)
guesses = [mv.vision.detr_detections(*pair, threshold=0.5) for pair in pairs]
viz.boxes_on_images(
    small,
    [g["boxes"] for g in guesses],
    [g["labels"] for g in guesses],
    [g["scores"] for g in guesses],
    names=shapes.THINGS,
    normalised=True,
    columns=2,
    size=3.4,
    title="A network of shapes looks at photos",
    caption="The network finds a triangle in the roof, a circle in the flower, and shapes among the leaves, with "
    "high probability. A network can answer only with the classes it was trained on, also when none of them fits.",
)

# %% [markdown]
# The same code reads real photos with the weights that the authors of the papers published.
# `mv.from_pretrained(folder)` loads them, or in a shell `minivis predict FOLDER PHOTO` draws boxes and masks on any
# photo of yours, once you have downloaded such a folder.
#
# ## Laws: how do I know that my code is right?
#
# In every chapter you write the parts yourself. To check them you need no teacher and no list of solutions: **laws**
# say what must hold for *every* input, and `mv.laws.check` searches for an input that breaks them. Here is the
# softmax, which turned scores into weights above, written exactly like its formula,
#
# $$y_i = \frac{e^{x_i}}{\sum_j e^{x_j}}.$$


# %%
def my_softmax(x, axis=-1):
    e = np.exp(x)
    return e / e.sum(axis=axis, keepdims=True)


report = mv.laws.check("softmax", my_softmax)
assert not report.passed

# %% [markdown]
# One law is broken. The report shows the smallest input it found that breaks the law, the result, the expected
# result, and a hint. $e^{89}$ is larger than a float32 can hold. But adding the same number to all scores does not
# change the weights, so we first subtract the largest score:


# %%
def my_softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


report = mv.laws.check("softmax", my_softmax)
assert report.passed

# %% [markdown]
# `mv.laws.names()` lists what can be checked. In a shell it is `minivis check softmax answer.py:my_softmax`.
#
# ## When something goes wrong
#
# Errors are a normal part of programming. The error messages of this library say what was wrong, with which shapes,
# and usually what to do. We make three errors on purpose:


# %%
def a_filter_for_grey_on_a_photo_in_colour():
    mv.ops.conv2d(photo[None], both)


def one_image_instead_of_a_batch():
    detr(scene.image)


def a_slip_of_the_finger():
    mv.load("detr-shape")


for mistake in (a_filter_for_grey_on_a_photo_in_colour, one_image_instead_of_a_batch, a_slip_of_the_finger):
    try:
        mistake()
    except (ValueError, OSError) as error:
        print(f"{mistake.__name__.replace('_', ' ')}:\n    {type(error).__name__}: {error}\n")

# %% [markdown]
# If the problem is not your code but the machine, ask the doctor, in a shell **`minivis doctor`**. It says what this
# computer has, what is missing, and what to do about it.

# %%
from minivis import doctor

for finding in doctor.examine():
    print(f"{finding.state:6} {finding.subject:13} {finding.says}")

# %% [markdown]
# ## Exercises
#
# Every chapter ends with exercises. Replace the dots, run the cell, then run the check below it: ticks and crosses
# show how far you are. The solution is folded away below the check. These three are a warm-up.
#
# ### Exercise 1: without colours
# Write `to_grey(photo)`: it turns a photo $(3, H, W)$ into a grey picture $(H, W)$ in which each pixel is the mean of
# its red, green and blue. Hint: an array has a method `mean` that takes an axis.


# %% tags=["exercise:grey"]
def to_grey(photo): ...  # your lines here


# %% tags=["check:grey"]
dots = np.zeros((3, 2, 4), np.float32)
# one white pixel, one dark red one
dots[:, 0, 0] = 1
dots[0, 1, 1] = 0.6
passed = claims(
    "to_grey",
    (
        "gives one number for each pixel",
        lambda: to_grey(dots).shape,
        (2, 4),
        "One of the three axes has to go: the one of the colours.",
    ),
    (
        "keeps white white",
        lambda: to_grey(dots)[0, 0],
        1.0,
        "Red, green and blue are all 1 there, and so is their mean. Is it their sum?",
    ),
    (
        "makes red of 0.6 a grey of 0.2",
        lambda: to_grey(dots)[1, 1],
        0.2,
        "The three numbers there are 0.6, 0 and 0. What is their mean?",
    ),
).passed

# %% [markdown] tags=["solution:grey"]
# <details><summary>Solution</summary>
#
# ```python
# def to_grey(photo):
#     return photo.mean(axis=0)
# ```
#
# Axis 0 is the axis of the colours. The mean removes it and leaves rows and columns.
# </details>

# %% [markdown]
# ### Exercise 2: a filter of your own
# Write `find_bright_dots()`. It returns a filter, an array of $3 \times 3$ numbers. The result of the filter is 0
# where all nine pixels are equal, and 8 where the middle pixel is 1 and its eight neighbours are 0. Hint: its numbers
# must sum to 0.


# %% tags=["exercise:dots"]
def find_bright_dots(): ...  # your lines here


# %% tags=["check:dots"]
flat = np.full((5, 5), 0.7)
dot = np.zeros((5, 5))
dot[2, 2] = 1


def answers_of(picture):
    weight = np.array([*find_bright_dots()], float)
    return mv.ops.conv2d(picture[None, None], weight[None, None])[0, 0]  # (3, 3)


passed = claims(
    "find_bright_dots",
    (
        "is 3 by 3",
        lambda: np.shape([*find_bright_dots()]),
        (3, 3),
        "np.array([[a, b, c], [d, e, f], [g, h, i]]) has three rows of three numbers.",
    ),
    (
        "says 0 on a flat picture",
        lambda: answers_of(flat),
        np.zeros((3, 3)),
        "All pixels are 0.7 here, so the answer is 0.7 times the sum of your nine numbers.",
    ),
    (
        "says 8 on the dot",
        lambda: answers_of(dot)[1, 1],
        8.0,
        "Only the number in the middle meets the dot, all others meet a 0.",
    ),
    (
        "says less beside it",
        lambda: np.delete(answers_of(dot).ravel(), 4).max(),
        below(8),
        "Beside the dot one of the outer numbers meets it. Is one of them as large as the middle one?",
    ),
).passed

# %% [markdown] tags=["solution:dots"]
# <details><summary>Solution</summary>
#
# ```python
# def find_bright_dots():
#     return np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]])
# ```
#
# It computes eight times the middle minus the eight around it. If all are equal, that is 0. Try it on the photo!
# </details>

# %% [markdown]
# ### Exercise 3: which queries found something?
# Each of DETR's sixteen queries gives probabilities for six shapes and, last, for "no object": an array $(16, 7)$.
# Write `who_found(probabilities)`: the numbers of the queries for which "no object" is *not* the most probable
# answer, in order. Hint: `argmax(axis=1)` gives the column of the largest number in each row, `np.flatnonzero` the
# places where something is true.


# %% tags=["exercise:who"]
def who_found(probabilities): ...  # your lines here


# %% tags=["check:who"]
said = np.array([[0.1, 0.2, 0.7], [0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [0.1, 0.5, 0.4]])  # 4 queries, 2 shapes
passed = claims(
    "who_found",
    (
        "names queries 1 and 3",
        lambda: [*who_found(said)],
        [1, 3],
        "Queries are rows, counted from 0. Which column is the largest in each row, and which column is 'no object'?",
    ),
    (
        "names nobody when all say 'no object'",
        lambda: [*who_found(said[[0, 2]])],
        [],
        "In both rows the last column is the largest.",
    ),
    (
        "works for sixteen queries and six shapes too",
        lambda: [*who_found(np.eye(7)[[6] * 15 + [2]])],
        [15],
        "'No object' is the last column: number 2 where there are 3, number 6 where there are 7.",
    ),
).passed

# %% [markdown] tags=["solution:who"]
# <details><summary>Solution</summary>
#
# ```python
# def who_found(probabilities):
#     nobody = probabilities.shape[1] - 1
#     return np.flatnonzero(probabilities.argmax(axis=1) != nobody)
# ```
#
# This is all it takes to turn the output of DETR into a list of objects.
# </details>

# %% [markdown]
# ## Six questions
#
# Try to answer before you unfold. The code in each answer can be pasted into a cell: it shows that the answer is
# right.

# %% [markdown] tags=["question:brighter"]
# **1. What would happen to the edges if the whole photo were brighter by 0.2?**
#
# <details><summary>Answer</summary>
#
# Nothing. The nine numbers of each filter sum to 0, so the same amount added to all nine pixels adds 0 to the result.
#
# ```python
# brighter = mv.ops.conv2d((grey + 0.2)[None, None], both)[0]
# assert np.allclose(brighter, changes, atol=1e-5)
# ```
# </details>

# %% [markdown] tags=["question:larger-patches"]
# **2. What would happen to the words if the patches had 32 x 32 pixels instead of 16 x 16?**
#
# <details><summary>Answer</summary>
#
# There would be a quarter as many, 96 instead of 384, and each would be four times as long, 3072 numbers instead of
# 768. No number of the photo is lost.
#
# ```python
# larger = mv.vision.patchify(photo[None], 32)[0]
# assert larger.shape == (96, 3072) and larger.size == patches.size
# ```
# </details>

# %% [markdown] tags=["question:no-sharpness"]
# **3. What would the sky listen to if we set the sharpness to 0?**
#
# <details><summary>Answer</summary>
#
# To everything equally. All scores are 0 then, so each of the 384 weights is 1/384, and what is collected is the
# mean of the photo.
#
# ```python
# even = mv.ops.attention_weights(0 * words, words)
# assert np.allclose(even, 1 / 384)
# ```
# </details>

# %% [markdown] tags=["question:before-learning"]
# **4. How many of the new digits does a network get right before its first step of learning?**
#
# <details><summary>Answer</summary>
#
# About one in ten: its numbers are random, so it guesses. After fifty steps it was right in most cases.
#
# ```python
# with mv.no_grad():
#     before = how_good(mv.models.CNN(widths=(16, 32), rng=1))["right"]
# assert before < 0.3 < 0.8 < history["right"][-1]
# ```
# </details>

# %% [markdown] tags=["question:threshold"]
# **5. What would happen to DETR's boxes if we asked for a probability of 0.9 instead of 0.5?**
#
# <details><summary>Answer</summary>
#
# There would be fewer: the unsure ones go. Some of those were right, so we would miss more objects, and be wrong
# less often.
#
# ```python
# def count(least):
#     found = [mv.vision.detr_detections(*pair, threshold=least) for pair in zip(logits, boxes)]
#     return sum(len(one["labels"]) for one in found)
#
# assert 0 < count(0.9) < count(0.5)
# ```
# </details>

# %% [markdown] tags=["question:shifted-scores"]
# **6. What would softmax give if 100 were added to every score?**
#
# <details><summary>Answer</summary>
#
# The same weights. Numerator and denominator both grow by the factor $e^{100}$, which cancels. This is why we may
# subtract the largest score before we compute.
#
# ```python
# scores = np.array([1.0, 2.0, 4.0])
# assert np.allclose(my_softmax(scores + 100), my_softmax(scores))
# ```
# </details>

# %% [markdown]
# ## What you can do now
#
# - You can say what a picture is for a computer, an array of numbers, and what the two ideas of the course do with it:
#   convolution compares each number with its neighbours, attention compares each patch with all others.
# - You can train a small network: its numbers are learned in small steps that make the loss smaller, and the code for
#   this fits on a page.
# - You can use a trained network: `mv.load(name)` loads one that names a shape, frames objects or names every pixel.
# - You can check what you write with `mv.laws.check(name, yours)`, read an error message, and ask `minivis doctor` when
#   the machine is the problem.
#
# ## Where to go next
#
# Go through the chapters in order, or follow one thread: *how it learns* (01), *how it sees* (02, 03, 05, 07,
# 08), *what it can do* (10, 14 to 20), *how fast it is* (21).
#
# | chapter | what you will build | time to read |
# |---|---|---|
# | [01 Autograd](01_autograd.ipynb) | the engine that finds out which way is downhill: thirty lines of your own, then every line of minivis' | 70 min |
# | [02 Convolution](02_convolution.ipynb) | filters by hand, then filters that learn | 75 min |
# | [03 From LeNet to ResNet](03_lenet_to_resnet.ipynb) | deep networks, plain and residual, and what they see | 75 min |
# | [04 Kernels that adapt](04_kernels_that_adapt.ipynb) | filters that look before they average, and one of them as attention | 45 min |
# | [05 Attention](05_attention.ipynb) | queries, keys and values, one head and many | 60 min |
# | [06 Attention inside CNNs](06_attention_inside_cnns.ipynb) | attention added to a network of convolutions, and in their place | 60 min |
# | [07 The Transformer](07_transformer.ipynb) | encoder and decoder, and a model that writes | 50 min |
# | [08 The Vision Transformer](08_vit.ipynb) | a reader of patches, trained, and opened to see where it looks | 90 min |
# | [09 Masked modelling](09_masked_modelling.ipynb) | networks that learn without labels: words and patches are hidden | 50 min |
# | [10 Swin](10_swin.ipynb) | attention in windows that shift | 75 min |
# | [11 DINO](11_dino.ipynb) | a teacher without labels, and attention that finds the object | 60 min |
# | [12 CLIP](12_clip.ipynb) | pictures and texts in one space, and classes that are texts | 60 min |
# | [13 ViViT](13_vivit.ipynb) | films cut into tubelets, and four ways to attend in space and time | 50 min |
# | [14 Detection](14_detection.ipynb) | from sliding windows to Faster R-CNN and YOLO, and what each step made fast | 75 min |
# | [15 DETR](15_detr.ipynb) | detection as a set of answers, and who answers for what | 95 min |
# | [16 Segmentation](16_segmentation.ipynb) | a network that labels every pixel, and masks for single objects | 75 min |
# | [17 SETR and Segmenter](17_setr_segmenter.ipynb) | transformers that name every pixel, and a token for each class | 70 min |
# | [18 MaskFormer](18_maskformer.ipynb) | masks with a class, which tell neighbours apart, and what each step to Mask2Former is worth | 45 min |
# | [19 Mask2Former](19_mask2former.ipynb) | every pixel, with queries that look inside their own mask | 90 min |
# | [20 SAM](20_sam.ipynb) | a click, a box or a phrase asks for a mask: on scenes, and on a photo of your own | 70 min |
# | [21 Speed](21_speed.ipynb) | loops made hundreds of times as fast, and the bound of your machine | 45 min |
# | [22 Published weights](22_published_weights.ipynb) | a checkpoint opened by hand, and what goes wrong when one setting differs | 45 min |
# | [25 Your own pictures](25_your_own_pictures.ipynb) | your folder of pictures: a network trained on it, and a trained one taught new classes | 30 min |
#
# **To come**: 23 more than one machine · 24 a gallery of the rest.
#
# **When you are stuck**: read the last line of the error first. `help(mv.ops.conv2d)` shows what a function expects,
# with an example. `mv.laws.check` finds the smallest input for which your code is wrong. `minivis doctor` looks at
# the machine. And the code itself, in [minivis/](../minivis), is short so that you can read it.
#
# Next: [01. Autograd](01_autograd.ipynb), how a program finds out which way is downhill.
