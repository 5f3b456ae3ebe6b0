# %% [markdown]
# # 22. Published weights
#
# Most of the networks of this course were trained by others, on thousands of processors, and their weights can be
# downloaded. A checkpoint is only a list of arrays with names. Whether it works depends on everything that is *not* in
# it: which formula each array belongs to, and how the photograph is prepared. Get one of these wrong, and there is no error
# message. The network answers, and it answers worse.
#
# **Goals**
#
# - You can read a checkpoint by hand: its header, its names, its arrays.
# - You can translate the names of one library into those of another, and cut a packed array into its parts.
# - You can name the settings that no shape shows, and say how much each changes the features of a photograph.
# - You can find a published model, and know its licence and size before you download it.
# - You can read a table of results, and say which command would reproduce a row of it.
#
# **Before**: ViT from [08](08_vit.ipynb); DETR from [15](15_detr.ipynb) and Segmenter from
# [17](17_setr_segmenter.ipynb) for the tables at the end.
#
# **Slides**: Deck H is Hanyang, *ViT, DETR and Segmenter*. A section that follows a slide names it by its tag: deck, page
# and a short name.
#
# **Time**: about 45 minutes to read, 40 more for the exercises; the cells take about 40 seconds.

# %% tags=["setup"]
import copy
import dataclasses
import json
import shutil
import tempfile
import tomllib
from pathlib import Path

import numpy as np

import minivis as mv
from minivis import data, nn, ops, tasks, viz
from minivis.data.preprocess import Preprocess
from minivis.laws import claims
from minivis.pretrained import checkpoints, vit

work = Path(tempfile.mkdtemp())  # what this chapter writes
rng = np.random.default_rng(0)

# %% [markdown]
# ## A checkpoint is a folder
#
# On the model hub a model is a folder with three files. We make one, so that we know what is in it: `mv.export` writes a
# model of minivis as the hub has it. Ours is a small ViT that reads handwritten digits somewhere on an empty canvas
# (chapter [08](08_vit.ipynb)).

# %%
small = mv.load("vit-scattered-digits")
# the hub's processors know no grey pictures: we prepare the digits ourselves
small.preprocess = Preprocess(size=(16, 16))
folder = mv.export(small, work / "small-vit")
for path in sorted(folder.iterdir()):
    print(f"{path.name:20}{path.stat().st_size:>9,} bytes")
viz.architecture(small, (1, 1, 16, 16))

# %% [markdown]
# **`config.json`** says which formula the arrays belong to. Some of it could be read off the shapes: the width, the number
# of blocks. Some could not: the number of heads, the constant of the layer norms, the activation. Remember these three.

# %%
config = json.loads((folder / "config.json").read_text())
for name in (
    "model_type",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "hidden_act",
    "layer_norm_eps",
):
    print(f"{name:22}{config[name]}")

# %% [markdown]
# **`model.safetensors`** holds the weights. The format is simple on purpose. The first 8 bytes are a whole number $n$. The
# next $n$ bytes are text in json: for each array its type, its shape, and where its bytes begin and end. The rest of the file
# is the bytes, one array after the other. Nothing in such a file can run, unlike in the older `.pth` files, which are
# pickles: to open one is to run what its author wrote.
#
# Ten lines read it.


# %%
def read_header(path):
    """The header of a safetensors file, and the place where its arrays begin."""
    with open(path, "rb") as file:
        n = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(n))
    header.pop("__metadata__", None)  # notes, not an array
    return header, 8 + n


header, start = read_header(folder / "model.safetensors")
print(len(header), "arrays; they begin at byte", start)
for name, entry in list(header.items())[:8]:
    print(f"{name:60}{entry['dtype']:5}{str(entry['shape']):15}{entry['data_offsets']}")

# %% [markdown]
# An array is read by its place alone, without the others. `np.memmap` does not even read it: the operating system fetches
# each page of the file when it is looked at. So a file of many gigabytes opens at once.


# %%
def read_stored(path, name):
    """One array of a safetensors file of float32."""
    header, start = read_header(path)
    entry = header[name]
    begin, end = entry["data_offsets"]
    flat = np.memmap(path, np.float32, "r", start + begin, (end - begin) // 4)
    return flat.reshape(entry["shape"])


query = read_stored(folder / "model.safetensors", "vit.encoder.layer.0.attention.attention.query.weight")
np.testing.assert_array_equal(query, small.blocks[0].attn.query.weight.data)
stored = sum(np.prod(entry["shape"]) for entry in header.values())
assert stored == sum(p.size for p in small.parameters())
print(f"{stored:,} numbers, as many as the model has parameters")

# %% [markdown]
# The third file, **`preprocessor_config.json`**, says how a photograph becomes the numbers that the network was trained on.
# This is that of Google's ViT:

# %%
for name, value in vit.FAMILY.preprocessor.items():
    print(f"{name:22}{value}")

# %% [markdown]
# It is short, but most mistakes are made here. `resample: 2` is a filter by the number that one library gave it.
# Whether a size is that of both sides or of the shorter one, whether the picture is cut afterwards and to what, which colour
# comes first: each of these is said in another way by another processor.
#
# ## Names one to one
#
# Every library calls the same arrays by other names. There are three dialects for a ViT: the model hub's
# (transformers), timm's, and torchvision's. The names in minivis are a fourth. A translation is a table, and it has to be
# **one to one**: each array of the model has exactly one source, and each array of the file has exactly one use. If one is left
# over, something was not understood.

# %%
hub, timm = vit.names(small, "hf"), vit.names(small, "timm")
print(f"{'minivis':29}{'model hub':58}timm")
for ours in [name for name in hub if name.startswith("blocks.0.") and name.endswith("weight")]:
    theirs = timm[ours] if isinstance(timm[ours], str) else "{} rows, part {} of {}".format(*timm[ours])
    print(f"{ours:29}{hub[ours]:58}{theirs}")
assert sorted(hub.values()) == sorted(header)  # one to one

# %% [markdown]
# In timm, query, key and value are one array: `qkv.weight` has the rows of all three, one below the other. With it one large
# product does the work of three smaller ones. To load such a file, the array is cut into three. The order is a convention:
# nothing in the array says which third is which.


# %%
def as_timm(model):
    """The weights of a ViT in timm's names."""
    state = model.state_dict()
    found = {theirs: state[ours] for ours, theirs in timm.items() if isinstance(theirs, str)}
    for ours, part in timm.items():
        if not isinstance(part, str):
            found.setdefault(part.name, [None] * part.count)[part.index] = state[ours]
    return {name: np.concatenate(x) if isinstance(x, list) else x for name, x in found.items()}


packed = as_timm(small)
print("qkv.weight", packed["blocks.0.attn.qkv.weight"].shape, "from three of", query.shape)
np.testing.assert_array_equal(packed["blocks.0.attn.qkv.weight"][:64], query)

# %% [markdown]
# `mv.from_pretrained` recognises the dialect by the names. The same weights in both give the same network, to the last bit.
# In timm's names there is no word about the heads, so a `config.json` has to say it.

# %%
from safetensors.numpy import save_file

other = work / "small-vit-timm"
other.mkdir()
save_file(packed, other / "model.safetensors")
for name in ("config.json", "preprocessor_config.json"):
    shutil.copy(folder / name, other)
digits, labels = data.digits.load("held-out")
canvas = np.pad(digits, ((0, 0), (0, 0), (4, 4), (4, 4)))  # (n, 1, 16, 16): a digit in the middle
with mv.no_grad():
    answers = [model(canvas).data for model in (small, mv.from_pretrained(folder), mv.from_pretrained(other))]
np.testing.assert_array_equal(answers[0], answers[1])
np.testing.assert_array_equal(answers[0], answers[2])
print("three copies, one network")

# %% [markdown]
# ## What no shape shows
#
# Now a first mistake, on purpose: we change the number of heads in `config.json`. All shapes stay the same, because a head
# is only a way to cut the width into pieces. So the file loads without an error.

# %%
right = {}
for heads in (2, 4, 8, 16):
    (other / "config.json").write_text(json.dumps({**config, "num_attention_heads": heads}))
    with mv.no_grad():
        scores = mv.from_pretrained(other)(canvas).data
    right[f"{heads} heads"] = float((scores.argmax(axis=1) == labels).mean())
assert right["4 heads"] > 0.9 > right["8 heads"]
viz.bars(
    right,
    "share of digits that are read",
    "what config.json says",
    title="The same weights, with another number of heads",
    caption="The network was trained with four heads. The file loads with 2, 8 or 16 as well, without an error. With 8 or 16 a third of the "
    "digits are read, with 2 no more than by guessing. Nothing in the weights says how many heads they were trained with.",
)

# %% [markdown]
# This is why minivis does not guess: without a `config.json` it takes the number of heads from a table of published sizes,
# and for other sizes it asks. ViT-H has 16 heads of 80 numbers, where the others have heads of 64: a guess by width would be
# wrong there.
#
# ## What can go wrong, by its effect
#
# A mistake in a setting does not break a network. It shifts the features, by a little or by much. How much is worth
# knowing: it tells which settings to check first. So we make each mistake on purpose and measure two things.
#
# - **The change** of the features of all patches, relative to their length: $\|F' - F\| / \|F\|$.
# - **The share of patches taken for another place**: for the wrong features of a patch we look for the most similar right ones. If
#   these are those of another patch, the network has lost track of it.


# %% tags=["published"]
def features(model, photo, **other):
    """The features of all patches (N, D) of a photo, prepared as the model wants it, or with other settings."""
    with mv.no_grad():
        tokens = model.features(dataclasses.replace(model.preprocess, **other)(photo)).data[0]
    return tokens[model.prefix :]


def effect(right, wrong):
    """The relative change of features (N, D), and the share of patches that are taken for another."""
    change = np.linalg.norm(wrong - right) / np.linalg.norm(right)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (wrong, right)]
    nearest = (unit[0] @ unit[1].T).argmax(axis=1)
    return change, (nearest != np.arange(len(right))).mean()


# %% [markdown]
# First the mistakes in the **formula**. A layer norm divides by $\sqrt{\sigma^2 + \varepsilon}$; published models have
# $\varepsilon = 10^{-6}$, $10^{-5}$ or $10^{-12}$. GELU is $x\,\Phi(x)$ with the normal distribution $\Phi$; there is an approximation by tanh,
# and a *quick* one, $x\,\sigma(1.702 x)$, with which CLIP was trained. The parts of a packed array can be taken in another order. And
# the table of position codes can be too large for the picture: then it has to be resized like a picture, not cut.


# %% tags=["published"]
def changed(model, kind, **attributes):
    """A copy of a model in which all layers of a kind have other attributes."""
    copied = copy.deepcopy(model)
    for module in copied.modules():
        if isinstance(module, kind):
            for name, value in attributes.items():
                setattr(module, name, value)
    return copied


def reordered(model, *order):
    """A copy in which query, key and value of every block are taken in another order."""
    copied = copy.deepcopy(model)
    for block in copied.blocks:
        parts = [block.attn.query, block.attn.key, block.attn.value]
        states = [part.state_dict() for part in parts]
        for part, place in zip(parts, order, strict=True):
            part.load_state_dict(states[place])
    return copied


# %% tags=["published"]
def cut_positions(model, photo):
    """A copy whose position codes are the first ones of the table, instead of the resized table."""
    copied = copy.deepcopy(model)
    copied.grid = copied.grid_of(*model.preprocess(photo).shape[2:])
    count = copied.grid[0] * copied.grid[1] + model.pos_embed.shape[1] - model.grid[0] * model.grid[1]
    copied.pos_embed = nn.Parameter(model.pos_embed.data[:, :count].copy())
    return copied


# %% tags=["published"]
def wrong_formulas(model, photo):
    """The features of a photo by a model with a mistake, by the mistake's name."""
    yield "layer norm: eps 1e-5", features(changed(model, nn.LayerNorm, eps=1e-5), photo)
    yield "layer norm: eps 1e-3", features(changed(model, nn.LayerNorm, eps=1e-3), photo)
    yield "GELU: tanh for exact", features(changed(model, nn.GELU, approximate="tanh"), photo)
    yield "GELU: quick for exact", features(changed(model, nn.GELU, approximate="quick"), photo)
    yield "positions: cut", features(cut_positions(model, photo), photo)
    yield "weights: key, query, value", features(reordered(model, 1, 0, 2), photo)
    yield "weights: value, query, key", features(reordered(model, 2, 0, 1), photo)


# %% [markdown]
# Then the mistakes in the **photograph**: the colours can be scaled by the statistics of another model, left as bytes from 0 to
# 255, or come as blue, green, red, as OpenCV reads them. And the size can be reached in several ways: by another filter, without
# antialiasing (only the nearest pixels are read, and the others between them are left out), or by squeezing the whole picture
# into a square where the model wants the middle of it.


# %% tags=["published"]
def without_antialias(photo, settings):
    """A photo resized by reading only the four nearest pixels for each new one."""
    return ops.interpolate(photo[None], settings.new_size(*photo.shape[1:]), mode="bilinear")[0]


def wrong_photos(model, photo):
    """The features of a photo that was prepared with a mistake, by the mistake's name."""
    settings = model.preprocess
    filters = {2: "bilinear", 3: "bicubic"}
    other = 5 - settings.resample
    middle = {"size": None, "shortest": settings.size[0], "crop": settings.size} if settings.size else {}
    whole = {"size": settings.crop, "shortest": None, "crop": None}
    yield f"resize: {filters[other]} filter", features(model, photo, resample=other)
    yield "resize: no antialiasing", features(model, without_antialias(photo, settings))
    yield "resize: nearest pixel", features(model, photo, resample=0)
    shape = "shape: only the middle" if middle else "shape: squeezed"
    yield shape, features(model, photo, **(middle or whole))
    yield "colours: mean and std 1/2", features(model, photo, mean=(0.5,) * 3, std=(0.5,) * 3)
    yield "colours: blue first", features(model, photo[::-1])
    yield "colours: bytes to 255", features(model, photo, scale=1.0)


# %% tags=["published"]
def effects(model, photos):
    """{mistake: (P, 2)}: what each mistake does to each of P photos."""
    found = {}
    for photo in photos:
        right = features(model, photo)
        for ways in (wrong_formulas, wrong_photos):
            for name, wrong in ways(model, photo):
                found.setdefault(name, []).append(effect(right, wrong))
    return found


# %% [markdown]
# Our subject is the ViT inside the small Segmenter of chapter [17](17_setr_segmenter.ipynb), which has learned to name every
# pixel of drawn scenes. It was trained on pictures of 64 x 64 pixels. We give it pictures of 48 x 48, so that its table of
# $16 \times 16$ position codes has to be resized to $12 \times 12$, as it usually is with published weights.

# %%
eye = mv.load("segmenter-shapes").encoder
eye.preprocess = Preprocess(size=(48, 48))
scenes = [data.shapes.scene(seed=3 * 10**12 + i, size=(96, 144)).image for i in range(2)]
small_effects = effects(eye, scenes)
for name, pairs in small_effects.items():
    print(f"{name:28}", *(f"change {change:8.2%}, lost {lost:4.0%}" for change, lost in pairs), sep="   ")

# %%
viz.effects_of_mistakes(
    small_effects,
    ["first scene", "second scene"],
    title="One mistake at a time: a small ViT on drawn scenes",
    caption="Left: how far the features of all patches move; at the dashed line they move by as much as they are long. Right: how many "
    "patches the network takes for another place. The constant of the layer norm and the form of GELU hardly matter "
    "here; colours, positions and the order of the weights do. In the row on shape the patches show other parts of the scene.",
)

# %% [markdown]
# ## The same on a photograph, with DINOv2
#
# Our network is small, and so are its pictures. Is it the same in a large one? DINOv2-S has 22 million parameters and was trained on 142 million
# photographs. This command brings its weights, 88 MB, if you have a network:
#
# ```
# minivis fetch dinov2-small
# ```
#
# Then the cells below compute their figure here. Until then they show the picture that the same cells made earlier, with weights
# from another package (the page *Published weights* of the book says which).

# %% tags=["published"]
folder_of_dinov2 = mv.pretrained.fetched("dinov2-small")
published = None if folder_of_dinov2 is None else mv.from_pretrained(folder_of_dinov2)
print(
    "computed here" if published else "a stored picture: run `minivis fetch dinov2-small` to compute it here"
)


# %% tags=["published:dinov2-mistakes"]
def published_mistakes(model):
    return viz.effects_of_mistakes(
        effects(model, [data.photos.china(), data.photos.flower()]),
        ["tower", "flower"],
        title="One mistake at a time: DINOv2-S on two photographs",
        caption="As above. A deep network magnifies what a shallow one forgives: eps 1e-3 loses four patches of ten, quick GELU as many in "
        "the flower. Another filter is nearly harmless, the nearest pixel is not. In a squeezed photo the patches show other parts of it, so "
        "most are lost. Photos: danielbuechele and vultilion, flickr, CC BY 2.0.",
    )


published_mistakes(published) if published else viz.stored_picture("pictures/dinov2-mistakes.png")

# %% [markdown]
# What to check first, then: that the colours are what the network was trained on, that the order of packed weights is right, and
# that the table of positions is resized. These make another network of it. Then eps and GELU, which matter in deep networks. The
# filter comes last; it explains why two libraries differ in the third digit.
#
# ## Where to find weights
#
# minivis reads the files of nineteen families. The table is made from the library: each family, a well-known
# checkpoint of it, what it weighs and under which licence it is. `minivis fetch NAME` downloads it; so does
# `hf download OWNER/MODEL --local-dir DIR`, if you have the hub's own tool. **Read the licence before you use a model for more than
# learning.** Where the table says to look, the page on the hub counts.

# %%
rows = checkpoints.table()
print(f"{'family':26}{'checkpoint on the hub':47}{'parameters':>10}{'MB':>6}  licence")
for row in rows:
    where = row["repository"] or f"torchvision: {row['name']}"
    print(f"{row['family']:26}{where:47}{row['parameters']:>8} M{row['MB']:>6}  {row['licence']}")
families = {row["family"] for row in rows}
assert len(families) == 19
# four bytes for a number: what a checkpoint weighs follows from its parameters
assert all(abs(row["MB"] / (4 * row["parameters"]) - 1) < 0.02 for row in rows)

# %% [markdown]
# ## Tables of results
#
# A table in a paper says: with these weights and these data you get these numbers. `minivis evaluate` checks it:
#
# ```
# minivis evaluate google/vit-large-patch16-384 --data imagenet/val
# minivis evaluate detr-resnet-50 --data coco/annotations/instances_val2017.json
# minivis evaluate detr-resnet-50-panoptic --data coco/annotations/panoptic_val2017.json
# ```
#
# The first word is a folder with weights, such as `minivis fetch` brings, or the name of a small model of the package; the data are
# in the format in which they are published. The weights and data of these tables are too large for this chapter. So we do two
# things: we draw the published numbers, as data with their source, and we run the same command on our small models, with
# scenes in COCO's format that no training saw.

# %%
tables = {
    one["slug"]: one for one in tomllib.loads(Path("published_results.toml").read_text("utf-8"))["table"]
}
for one in tables.values():
    print(f"{one['slug']:26}{len(one['rows']):>3} rows  {one['paper'][:28]}..., {one['place']}")


def column(slug, name):
    """One column of a table: {name of the row: number}."""
    place = tables[slug]["columns"].index(name)
    return {row[0]: row[place] for row in tables[slug]["rows"] if row[place] != "-"}


scenes_in_coco = data.examples.write_scenes(work / "scenes", count=40)
print(sorted(path.name for path in (scenes_in_coco / "annotations").iterdir()))

# %% [markdown]
# ### ViT: more data, not more layers
#
# Slide `H/11-vit-results`. Pre-trained on JFT, a set of 303 million photographs that was never published, ViT-H/14 reaches
# 88.55 % on ImageNet. The best ResNet of its day needed four times the compute for less.

# %% tags=["slide:H/11-vit-results"]
accuracy, days = column("vit-large-data", "ImageNet"), column("vit-large-data", "core-days")
assert accuracy["ViT-H/14, JFT"] == 88.55 > accuracy["BiT-L (ResNet152x4)"]
assert 0.24 < days["ViT-H/14, JFT"] / days["BiT-L (ResNet152x4)"] < 0.26  # 2.5 against 9.9
viz.named_points(
    {name.split(" (")[0]: (1000 * days[name], accuracy[name]) for name in accuracy},
    "TPUv3-core-days of pre-training",
    "top-1 on ImageNet, %",
    log="x",
    title="Accuracy and compute (Dosovitskiy et al. 2021, table 2)",
    caption="Up is better, left is cheaper. On the same data a ViT-L is as good as the large ResNet for a fifteenth of the compute; ViT-H "
    "is better for a quarter. Look at the lowest point, too: the same ViT-L with fewer photographs.",
)

# %% [markdown]
# The second half of the slide says why. A larger model is better only if there is enough to learn from.

# %% tags=["slide:H/11-vit-results"]
names = tables["vit-by-data"]["columns"][1:4]
images = [1.3, 14, 303]  # millions
by_data = {name: list(column("vit-by-data", name).values()) for name in ("ViT-B/32", "ViT-B/16", "ViT-L/16")}
small_set, _, large_set = (
    dict(zip(by_data, values, strict=True)) for values in zip(*by_data.values(), strict=True)
)
assert small_set["ViT-L/16"] < small_set["ViT-B/16"] and large_set["ViT-L/16"] > large_set["ViT-B/16"] + 2
viz.curves(
    {name: (images, values) for name, values in by_data.items()},
    "images of the pre-training, millions",
    "top-1 on ImageNet, %",
    log="x",
    title="What a larger model gains (Dosovitskiy et al. 2021, table 5)",
    caption="With ImageNet alone, the large ViT-L/16 is worse than the smaller ViT-B/16. With 14 million images it is ahead. From 14 to "
    "303 million it gains two more points, and the smaller models hardly anything.",
)

# %% [markdown]
# ### DETR against Faster R-CNN
#
# Slide `H/23-detr-against-faster-rcnn`. Same size, same AP of 42.0: but it comes from other objects.

# %% tags=["slide:H/23-detr-against-faster-rcnn"]
sizes = ("AP", "AP_small", "AP_medium", "AP_large")
compared = {
    name: {size: column("detr-against-faster-rcnn", size)[name] for size in sizes}
    for name in ("Faster R-CNN-FPN+", "DETR")
}
convolutional, ours = compared.values()
assert ours["AP"] == convolutional["AP"] == 42.0
assert (ours["AP_large"], convolutional["AP_large"]) == (61.1, 53.4)
assert (ours["AP_small"], convolutional["AP_small"]) == (20.5, 26.6)
viz.bars(
    compared,
    "average precision on COCO, %",
    "objects",
    title="By the size of the objects (Carion et al. 2020, table 1)",
    caption="The two are level over all objects. DETR is better on large ones, where attention over the whole picture helps, and worse on "
    "small ones: its tokens are 32 pixels wide, and the pyramid of Faster R-CNN has finer maps.",
)

# %% [markdown]
# Now our small ones, by the same command. In a notebook it is a function:

# %% tags=["slide:H/23-detr-against-faster-rcnn"]
detectors = {
    name: tasks.evaluate(f"{name}-shapes", scenes_in_coco) for name in ("detr", "faster-rcnn", "yolo")
}
assert detectors["faster-rcnn"]["AP75"] > detectors["detr"]["AP75"] > detectors["yolo"]["AP75"]
viz.bars(
    {
        figure: {name: round(found[figure], 3) for name, found in detectors.items()}
        for figure in ("AP", "AP50", "AP75")
    },
    "average precision on 40 scenes",
    "small model",
    title="The same measurement on small models",
    caption="All three find nearly all objects (AP50). Faster R-CNN places its boxes most exactly and YOLO least (AP75); DETR is between them. A "
    "scene has 64 x 64 pixels: by COCO's limits nearly all of its objects are small, which is where DETR is behind in the paper, too.",
)

# %% [markdown]
# ### Panoptic segmentation
#
# Slide `H/25-detr-panoptic-results`. DETR with a ResNet-101 reaches a PQ of 45.1, one point ahead of PanopticFPN++ with
# the same backbone. The lead comes from the background.

# %% tags=["slide:H/25-detr-panoptic-results"]
rivals = ("PanopticFPN++ R101", "DETR-R101")
panoptic = {
    name: {kind: column("detr-panoptic", kind)[name] for kind in ("PQ", "PQ_things", "PQ_stuff")}
    for name in rivals
}
lead = {
    kind: panoptic["DETR-R101"][kind] - panoptic["PanopticFPN++ R101"][kind] for kind in panoptic["DETR-R101"]
}
print("DETR's lead:", {kind: round(points, 1) for kind, points in lead.items()})
assert panoptic["DETR-R101"]["PQ"] == 45.1 and lead["PQ_stuff"] > 3 > 0 > lead["PQ_things"]
viz.bars(
    panoptic,
    "panoptic quality on COCO, %",
    "classes",
    title="Things and stuff (Carion et al. 2020, table 5)",
    caption="DETR is behind by half a point on things and ahead by 3.4 on stuff, such as sky and grass: it sees the whole picture when it "
    "decides on a background.",
)

# %% tags=["slide:H/25-detr-panoptic-results"]
segmenters = {
    name: tasks.evaluate(f"{name}-shapes", scenes_in_coco)
    for name in ("detr-panoptic", "maskformer", "mask2former")
}
assert all(found["PQ_stuff"] > found["PQ_things"] for found in segmenters.values())
viz.bars(
    {
        kind: {name: round(found[kind], 3) for name, found in segmenters.items()}
        for kind in ("PQ", "PQ_things", "PQ_stuff")
    },
    "panoptic quality on 40 scenes",
    "small model",
    title="The same measurement on small models",
    caption="On our scenes, too, the grounds are the easy part: grass, sand and water are known by colour. The shapes, a few pixels wide, "
    "are not.",
)

# %% [markdown]
# ### Segmenter against convolutions
#
# Slide `H/35-segmenter-against-fcn`. On ADE20K, Seg-L-Mask/16 reaches a mean IoU of 53.63 with several scales. Where does its
# lead over DeepLabv3+ come from?

# %% tags=["slide:H/35-segmenter-against-fcn"]
sizes = ("small", "medium", "large")
by_size = {
    name: {size: column("segmenter-by-size", size)[name] for size in sizes}
    for name in ("DeepLabv3+ ResNeSt-101", "Seg-B-Mask/16", "Seg-L-Mask/16")
}
leads = [by_size["Seg-L-Mask/16"][size] - by_size["DeepLabv3+ ResNeSt-101"][size] for size in sizes]
print("lead on small, medium and large objects:", np.round(leads, 2))
assert max(leads) == leads[2] > 6
several = column("segmenter-against-others", "several scales")
assert max(several, key=several.get) == "Seg-L-Mask/16" and several["Seg-L-Mask/16"] == 53.63
once, again = column("segmenter-by-size", "mIoU"), column("segmenter-against-others", "one scale")
assert (once["Seg-L-Mask/16"], again["Seg-L-Mask/16"]) == (51.30, 51.82)
viz.bars(
    by_size,
    "mean IoU on ADE20K, %",
    "objects",
    title="By the size of the objects (Strudel et al. 2021, table 4)",
    caption="The large Segmenter is ahead of the convolutional network on objects of all sizes, and most on large ones, as DETR is. The base "
    "model is ahead by one or two points only.",
)

# %% [markdown]
# A note for readers of tables: the paper prints two numbers for the same model with one scale, 51.30 in its table 4 and 51.82 in
# its table 6. Before you try to reproduce a number, look whether its own paper agrees on it.
#
# Do our small ones agree with the slide?

# %% tags=["slide:H/35-segmenter-against-fcn"]
semantic = {
    name: tasks.evaluate(f"{name}-shapes", scenes_in_coco) for name in ("segmenter", "setr", "fcn", "unet")
}
assert semantic["unet"]["mIoU"] > semantic["segmenter"]["mIoU"]
viz.bars(
    {
        figure: {name: round(found[figure], 3) for name, found in semantic.items()}
        for figure in ("mIoU", "right pixels")
    },
    "share, 40 scenes",
    "small model",
    title="Transformers and convolutions on drawn scenes",
    caption="They do not agree. With every model nine of ten pixels or more are right. The rare classes, small shapes, make the difference: the "
    "U-Net leads, and the Segmenter is last. Its patches of 4 x 4 pixels are coarse for such shapes, and it never saw millions of photographs before.",
)

# %% [markdown]
# So one has to ask of every table: on which data, of which size, after which pre-training? On the slide the Segmenter begins with a
# ViT that has seen ImageNet-21k, and an object covers hundreds of patches. Ours begins with nothing, and an object covers a few.
#
# ### Speed, and data again
#
# Slide `H/37-segmenter-speed-and-data`. The size of the patches buys precision with time: half the side makes four times the tokens.

# %% tags=["slide:H/37-segmenter-speed-and-data"]
speed, miou = column("segmenter-speed", "images/s"), column("segmenter-speed", "mIoU")
assert speed["Seg-B/32"] / speed["Seg-B/8"] > 70 and miou["Seg-B/8"] - miou["Seg-B/32"] < 7
viz.named_points(
    {name: (speed[name], miou[name]) for name in speed},
    "images a second",
    "mean IoU on ADE20K, %",
    log="x",
    title="Speed and precision (Strudel et al. 2021, table 3)",
    caption="Follow Seg-B from right to left: patches of 32, 16 and 8. Each step costs a factor of six to thirteen in time; the first gains five "
    "points, the second one and a half.",
)

# %% tags=["slide:H/37-segmenter-speed-and-data"]
amounts, reached = zip(*tables["segmenter-by-data"]["rows"], strict=True)
assert (reached[0], reached[-1]) == (38.31, 45.37) and all(np.diff(reached) > 0)
print("gain of each four thousand images:", np.round(np.diff(reached), 2))
viz.curves(
    {"Seg-S/16": (list(amounts), list(reached))},
    "training images, thousands",
    "mean IoU on ADE20K, %",
    title="A Segmenter and its data (Strudel et al. 2021, table 5)",
    caption="Five times the images gain seven points. Each further four thousand gain less, from 3.6 points to 0.8, but the curve is not flat "
    "at its end: more images would still help.",
)

# %% [markdown]
# ## Exercises
#
# ### Exercise 1: the header
# Write `my_header(raw)`: from the bytes of a safetensors file, a dict that has for each array its name and a pair: the shape as a
# tuple, and the array itself. All arrays are float32 (`F32`). The notes under `__metadata__` are left out.


# %% tags=["exercise:header"]
def my_header(raw): ...  # your lines here


# %% tags=["check:header"]
from safetensors.numpy import save

known = {
    "a.weight": rng.standard_normal((2, 3)).astype(np.float32),
    "b": np.zeros((0, 4), np.float32),
    "c": np.float32([7]),
}
passed = claims(
    "my_header",
    (
        "all names, and no notes",
        lambda: sorted(my_header(save(known, {"format": "pt"}))),
        sorted(known),
        "The json begins at byte 8 and has n bytes; n is the first eight bytes, the lowest first.",
    ),
    (
        "shapes are tuples",
        lambda: {name: one[0] for name, one in my_header(save(known)).items()},
        {name: x.shape for name, x in known.items()},
        "The shape stands in the header as a list: tuple(entry['shape']).",
    ),
    (
        "the arrays",
        lambda: my_header(save(known))["a.weight"][1],
        known["a.weight"],
        "data_offsets count from the end of the header, byte 8 + n, not from the beginning of the file.",
    ),
).passed

# %% [markdown] tags=["solution:header"]
# <details><summary>Solution</summary>
#
# ```python
# def my_header(raw):
#     n = int.from_bytes(raw[:8], "little")
#     header = json.loads(raw[8 : 8 + n])
#     found = {}
#     for name, entry in header.items():
#         if name != "__metadata__":
#             begin, end = (8 + n + place for place in entry["data_offsets"])
#             shape = tuple(entry["shape"])
#             found[name] = shape, np.frombuffer(raw[begin:end], np.float32).reshape(shape)
#     return found
# ```
#
# A reader for files of strangers checks more: that the places lie inside the file, do not overlap, and fit the shape.
# </details>

# %% [markdown]
# ### Exercise 2: from packed to separate
# Write `my_unpack(state)`: a dict of arrays in which every name that ends in `qkv.weight` or `qkv.bias` is replaced by three,
# with `query`, `key` and `value` in the place of `qkv`. Packed arrays have the rows of query, key and value one below the other. All
# other arrays stay as they are.


# %% tags=["exercise:unpack"]
def my_unpack(state): ...  # your lines here


# %% tags=["check:unpack"]
three = {part: rng.standard_normal((4, 5)) for part in ("query", "key", "value")}
joined = {
    "blocks.0.attn.qkv.weight": np.concatenate(list(three.values())),
    "blocks.0.attn.qkv.bias": np.arange(12.0),
    "blocks.0.norm1.weight": np.ones(5),
}
passed = claims(
    "my_unpack",
    (
        "the names",
        lambda: sorted(my_unpack(joined)),
        sorted(
            [f"blocks.0.attn.{part}.{kind}" for part in three for kind in ("weight", "bias")]
            + ["blocks.0.norm1.weight"]
        ),
        "name.replace('qkv', part) for each of the three parts.",
    ),
    (
        "the rows of the key",
        lambda: my_unpack(joined)["blocks.0.attn.key.weight"],
        three["key"],
        "np.split(array, 3) cuts along the first axis into three equal parts: query, key, value.",
    ),
    (
        "the bias, too",
        lambda: my_unpack(joined)["blocks.0.attn.value.bias"],
        np.arange(8.0, 12.0),
        "A bias is packed like the weight.",
    ),
    (
        "the rest stays",
        lambda: my_unpack(joined)["blocks.0.norm1.weight"],
        np.ones(5),
        "Copy what is not packed.",
    ),
).passed

# %% [markdown] tags=["solution:unpack"]
# <details><summary>Solution</summary>
#
# ```python
# def my_unpack(state):
#     found = {}
#     for name, array in state.items():
#         if name.endswith(("qkv.weight", "qkv.bias")):
#             for part, rows in zip(("query", "key", "value"), np.split(array, 3), strict=True):
#                 found[name.replace("qkv", part)] = rows
#         else:
#             found[name] = array
#     return found
# ```
# </details>

# %% [markdown]
# ### Exercise 3: the wrong statistics
# A batch $(B, 3, H, W)$ was prepared with the mean and standard deviation of one model, but you want to give it to another. Write
# `my_renormalise(batch, was, wanted)`, where `was` and `wanted` are pairs (mean, std) of three numbers each. The photographs themselves
# are gone.


# %% tags=["exercise:renormalise"]
def my_renormalise(batch, was, wanted): ...  # your lines here


# %% tags=["check:renormalise"]
photos = rng.random((2, 3, 4, 5)).astype(np.float32)
imagenet = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
half = (0.5,) * 3, (0.5,) * 3


def normalised(photos, mean, std):
    """Photos with these statistics taken out, as the models want them."""
    return ((photos - np.float32(mean)[:, None, None]) / np.float32(std)[:, None, None]).astype(np.float32)


passed = claims(
    "my_renormalise",
    (
        "from ImageNet's to 1/2",
        lambda: my_renormalise(normalised(photos, *imagenet), imagenet, half),
        normalised(photos, *half),
        "First undo: times the old std, plus the old mean. Then minus the new mean, divided by the new std.",
    ),
    (
        "and back",
        lambda: my_renormalise(normalised(photos, *half), half, imagenet),
        normalised(photos, *imagenet),
        "The three numbers belong to the axis of the colours: reshape them to (3, 1, 1).",
    ),
    (
        "float32 stays float32",
        lambda: my_renormalise(normalised(photos, *half), half, imagenet).dtype.name,
        "float32",
        "np.float32(mean) makes float32 of a tuple; np.array(mean) would make float64.",
    ),
).passed

# %% [markdown] tags=["solution:renormalise"]
# <details><summary>Solution</summary>
#
# ```python
# def my_renormalise(batch, was, wanted):
#     (old_mean, old_std), (mean, std) = ([np.float32(x).reshape(3, 1, 1) for x in pair] for pair in (was, wanted))
#     return (batch * old_std + old_mean - mean) / std
# ```
#
# Nothing is lost by this mistake as long as the batch still exists. A photo that was resized by another rule cannot be mended.
# </details>

# %% [markdown]
# ### Exercise 4: DETR's rule for sizes
# Write `my_new_size(height, width, shortest, longest)`: the shorter side becomes `shortest`, unless the longer side would then exceed
# `longest`. In that case the shorter side becomes `longest` times short divided by long, rounded. The longer side keeps the
# proportions, rounded down. The result is (height, width).


# %% tags=["exercise:new-size"]
def my_new_size(height, width, shortest, longest): ...  # your lines here


# %% tags=["check:new-size"]
cases = {
    "a usual photo": (480, 640),
    "upright": (640, 480),
    "a panorama": (300, 2000),
    "a square": (500, 500),
}
passed = claims(
    "my_new_size",
    *(
        (
            name,
            lambda size=size: my_new_size(*size, 800, 1333),
            Preprocess(shortest=800, longest=1333).new_size(*size),
            "Call the sides short and long, decide on the new short side, and put them back in order at the end.",
        )
        for name, size in cases.items()
    ),
).passed

# %% [markdown] tags=["solution:new-size"]
# <details><summary>Solution</summary>
#
# ```python
# def my_new_size(height, width, shortest, longest):
#     short, long = sorted((height, width))
#     side = float(shortest)
#     if long / short * side > longest:
#         side = longest * short / long
#     new = round(side), int(side * long / short)
#     return new if height <= width else new[::-1]
# ```
#
# A photo of 480 x 640 becomes 800 x 1066, and not 1067: rounding down is part of the rule. One pixel more would shift every box a
# little.
# </details>

# %% [markdown]
# ## Six questions
#
# Try to answer before you unfold. The code in each answer can be pasted into a cell: it shows that the answer is right.

# %% [markdown] tags=["question:half-precision"]
# **1. What happens to the size of a checkpoint, and to the answers, if its weights are stored in half precision?**
#
# <details><summary>Answer</summary>
#
# The file is half as large. Each weight is rounded to about three decimal digits, so the scores change a little. Fewer than 1 % of the pictures get another answer.
#
# ```python
# halved = copy.deepcopy(small)
# halved.load_state_dict({name: x.astype(np.float16).astype(np.float32) for name, x in small.state_dict().items()})
# with mv.no_grad():
#     same = halved(canvas).data.argmax(axis=1) == small(canvas).data.argmax(axis=1)
# assert same.mean() > 0.99
# ```
# </details>

# %% [markdown] tags=["question:one-name-left"]
# **2. What should a loader do if all arrays of the model have been found, and one array of the file is left over?**
#
# <details><summary>Answer</summary>
#
# Refuse. The array belongs to a part that the model does not have, so its answers would be those of another network. Only what is known to be recomputed may be left out, such as a table of places.
#
# ```python
# from minivis.pretrained.packing import disagreements
# from minivis.files import stored_arrays
# in_file = stored_arrays(folder / "model.safetensors", "chapter 22")
# wanted = {ours: theirs for ours, theirs in hub.items() if ours != "norm.bias"}
# mine = {name: x for name, x in small.named_parameters() if name in wanted}
# assert any("vit.layernorm.bias" in names for names in disagreements(wanted, mine, in_file, ()).values())
# ```
# </details>

# %% [markdown] tags=["question:eps-in-depth"]
# **3. Why does a larger eps matter more in some layers than in others?**
#
# <details><summary>Answer</summary>
#
# It is added to the variance of a token. Where tokens vary by much more than eps, it does nothing; where they are small, as in the first layers of some networks, it shrinks the result.
#
# ```python
# token = np.linspace(-1, 1, 64)[None]
# large, tiny = ([ops.layer_norm(scale * token, 64, eps=e) for e in (1e-6, 1e-3)] for scale in (1, 0.01))
# change = lambda pair: np.abs(pair[1] / pair[0] - 1).max()
# assert change(large) < 0.01 < 0.5 < change(tiny)
# ```
# </details>

# %% [markdown] tags=["question:blue-and-grey"]
# **4. For which pictures does it not matter whether red or blue comes first?**
#
# <details><summary>Answer</summary>
#
# For grey ones, if mean and std are the same for all colours: then the three channels are equal. A test with a black-and-white photo would not find the mistake.
#
# ```python
# grey = np.repeat(scenes[0].mean(axis=0, keepdims=True), 3, axis=0)
# assert effect(features(eye, grey), features(eye, grey[::-1]))[0] < 1e-6
# assert effect(features(eye, scenes[0]), features(eye, scenes[0][::-1]))[0] > 0.5
# ```
# </details>

# %% [markdown] tags=["question:every-fourth"]
# **5. Why is an evaluation on a part of the data done with pictures from all over the list, and not with the first ones?**
#
# <details><summary>Answer</summary>
#
# Lists are sorted, often by class: the first fifty pictures of ImageNet's validation folders show nothing but tench. `minivis evaluate --count` takes evenly spaced ones.
#
# ```python
# sorted_labels = np.sort(labels)
# first, spaced = sorted_labels[:20], sorted_labels[np.linspace(0, len(labels) - 1, 30).round().astype(int)]
# assert len(set(first)) == 1 and len(set(spaced)) == 10
# ```
# </details>

# %% [markdown] tags=["question:squeezed"]
# **6. A model wants the middle of the photo, 224 x 224 pixels after its shorter side has become 256. How much of a photo of 640 x 480 does it never see?**
#
# <details><summary>Answer</summary>
#
# More than four tenths: the crop takes 224 of 256 rows and 224 of 341 columns. An object at the edge is lost, and no score says so.
#
# ```python
# height, width = Preprocess(shortest=256, crop=(224, 224)).new_size(480, 640)
# assert (height, width) == (256, 341)
# assert 0.42 < 1 - 224 * 224 / (height * width) < 0.43
# ```
# </details>

# %% [markdown]
# ## What you can do now
#
# - You can open a checkpoint with ten lines of your own, and read one array without the others.
# - You can translate names one to one, and cut a packed array into query, key and value.
# - You know which settings no shape shows: heads, eps, activation, the preparation of the photograph. You can measure what a wrong
#   one does, and you know which to check first: colours, order, positions.
# - You can find the weights of a model, and say what they weigh and under which licence they are.
# - You can read a table of results and ask what it was measured on; and you can measure a model yourself, on data in the
#   published formats: `minivis evaluate`.
#
# Next: [25. Your own pictures](25_your_own_pictures.ipynb), a network for a question of your own.
