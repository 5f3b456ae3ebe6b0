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
import tempfile
import tomllib
import warnings
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
with warnings.catch_warnings(action="ignore"):  # it says that the hub's processors know no grey pictures
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
# It is short, and it hides most of what goes wrong. `resample: 2` is a filter by the number that one library gave it.
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
(other / "config.json").write_text(json.dumps(config))
digits = data.digits.load("held-out")[0][:4]
canvas = np.pad(digits, ((0, 0), (0, 0), (4, 4), (4, 4)))  # (4, 1, 16, 16)
answers = [mv.from_pretrained(place)(canvas).data for place in (folder, other)]
np.testing.assert_array_equal(*answers)
np.testing.assert_array_equal(answers[0], small(canvas).data)
print("three copies, one network")

# %% [markdown]
# ## What no shape shows
#
# Now a first mistake, on purpose: we change the number of heads in `config.json`. All shapes stay the same, because a head
# is only a way to cut the width into pieces. So the file loads without a word.

# %%
scattered, labels = (
    np.pad(data.digits.load("held-out")[0], ((0, 0), (0, 0), (4, 4), (4, 4))),
    data.digits.load("held-out")[1],
)
right = {}
for heads in (2, 4, 8, 16):
    (other / "config.json").write_text(json.dumps({**config, "num_attention_heads": heads}))
    with mv.no_grad():
        scores = mv.from_pretrained(other)(scattered).data
    right[f"{heads} heads"] = float((scores.argmax(axis=1) == labels).mean())
assert right["4 heads"] > 0.9 > right["8 heads"]
viz.bars(
    right,
    "share of digits that are read",
    "what config.json says",
    title="The same weights, with another number of heads",
    caption="The network was trained with four heads. The file loads with 2, 8 or 16 as well, without an error, and the digits are read "
    "worse: the further from four, the worse. Nothing in the weights says how many heads they were trained with.",
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
# First the mistakes in the **formula**. A layer norm divides by $\sqrt{\sigma^2 + \varepsilon}$; in the wild $\varepsilon$
# is $10^{-6}$, $10^{-5}$ or $10^{-12}$. GELU is $x\,\Phi(x)$ with the normal distribution $\Phi$; there is an approximation by tanh,
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


def cut_positions(model, photo):
    """A copy whose position codes are the first ones of the table, instead of the resized table."""
    copied = copy.deepcopy(model)
    copied.grid = copied.grid_of(*model.preprocess(photo).shape[2:])
    count = copied.grid[0] * copied.grid[1] + model.pos_embed.shape[1] - model.grid[0] * model.grid[1]
    copied.pos_embed = nn.Parameter(model.pos_embed.data[:, :count].copy())
    return copied


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
    yield (
        ("shape: only the middle" if middle else "shape: squeezed"),
        features(model, photo, **(middle or whole)),
    )
    yield "colours: mean and std 1/2", features(model, photo, mean=(0.5,) * 3, std=(0.5,) * 3)
    yield "colours: blue first", features(model, photo[::-1])
    yield "colours: bytes to 255", features(model, photo, scale=1.0)


def wrong_formulas(model, photo):
    """The features of a photo by a model with a mistake, by the mistake's name."""
    yield "layer norm: eps 1e-5", features(changed(model, nn.LayerNorm, eps=1e-5), photo)
    yield "layer norm: eps 1e-3", features(changed(model, nn.LayerNorm, eps=1e-3), photo)
    yield "GELU: tanh for exact", features(changed(model, nn.GELU, approximate="tanh"), photo)
    yield "GELU: quick for exact", features(changed(model, nn.GELU, approximate="quick"), photo)
    yield "positions: cut", features(cut_positions(model, photo), photo)
    yield "weights: key, query, value", features(reordered(model, 1, 0, 2), photo)
    yield "weights: value, query, key", features(reordered(model, 2, 0, 1), photo)


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
    "here; colours, positions and the order of the weights do.",
)

# %% [markdown]
# ## The same on a photograph, with DINOv2
#
# The small network is a toy. What about a real one? DINOv2-S has 22 million parameters and was trained on 142 million
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
        caption="As above. A deep network magnifies what a shallow one forgives: eps 1e-3 loses half of the patches, quick GELU a quarter. "
        "Another filter is nearly harmless, the nearest pixel is not. For the two rows on shape the patches show other parts of "
        "the photo, so most are lost. Photos: danielbuechele and vultilion, flickr, CC BY 2.0.",
    )


published_mistakes(published) if published else viz.stored_picture("pictures/dinov2-mistakes.png")
