# %% [markdown]
# # 25. Your own pictures
#
# You have a folder of pictures and a question about them. Here a network learns to answer it: first what a picture
# shows, then where things are in it, then what each pixel belongs to.
#
# **Goals**
#
# - You can train a network on a folder of your own pictures, and say how good it is on pictures that it has not seen.
# - You can find out what it confuses, and look at its worst mistakes.
# - You can begin with a trained network when you have few pictures.
# - You can do all of this with one command.
#
# **Before**: nothing but the [tour](00_tour.ipynb). What a CNN and a ViT are inside is in
# [02](02_convolution.ipynb) and [08](08_vit.ipynb).
#
# **Slides**: none; this page is about your own task.
#
# **Time**: about 30 minutes to read; the cells take about a minute.

# %% tags=["setup"]
import json
import tempfile
from pathlib import Path

import numpy as np

import minivis as mv
from minivis import data, metrics, models, ops, optim, tasks, viz
from minivis.data import examples
from minivis.pretrained.prediction import predict

work = Path(tempfile.mkdtemp())  # everything that this page writes; choose a folder of your own to keep it

# %% [markdown]
# ## The pictures
#
# The simplest data are pictures sorted into folders. The name of the folder is the class:
#
# ```
# places/beach/000.png
# places/beach/003.jpg
# places/lake/001.jpg
# places/meadow/002.png
# ```
#
# Nothing is needed but the pictures, in any size and any of the usual formats. A few dozen for each class are enough to
# begin with.
#
# The cell below writes such a folder with drawn places, so that this page runs anywhere. **To use your own pictures**,
# set `FOLDER` to your folder and run the page again.

# %%
FOLDER = examples.write_image_folder(work / "places")
# FOLDER = Path("~/pictures/pets").expanduser()

photos = data.ImageFolder(FOLDER, size=64)
print(len(photos), "pictures of", ", ".join(photos.names))

# %% [markdown]
# `photos[i]` is a picture and its label. With `size=64` the shorter side becomes 64 pixels and the square in the middle
# is cut out. That is small, but a network that reads small pictures learns in seconds on a laptop.

# %%
chosen = np.random.default_rng(0).permutation(len(photos))[:10]
viz.images(
    [photos[i][0] for i in chosen],
    [photos.names[photos[i][1]] for i in chosen],
    columns=5,
    caption="Ten of the pictures, drawn at random, with the class that the name of the folder gives them.",
)

# %% [markdown]
# ## Pictures to learn from, and pictures to judge by
#
# A network that has seen a picture may know it by heart. How good it is can only be measured with pictures that it has
# never learned from. So some are set aside now, before anything else: a fifth of each class, drawn with a fixed seed.

# %%
learn, judge = data.split(photos.labels, (0.8, 0.2), seed=0)
training, validation = data.Subset(photos, learn), data.Subset(photos, judge)
print(f"{len(training)} to learn from, {len(validation)} to judge by, {len(set(learn) & set(judge))} in both")

# %% [markdown]
# Two hundred pictures are few. The network sees each one many times, so each time it is changed a little: mirrored or
# not, cut to a part of itself, and with slightly different colours. It cannot learn such a picture by heart.
# (Leave the mirror out if left and right mean something in your pictures, as in letters.)

# %%
change = data.paired.Compose(
    [
        data.paired.RandomFlip(),
        data.paired.RandomResizedCrop(64, scale=(0.5, 1)),
        data.paired.OnImage(data.color.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2)),
    ]
)
rng = np.random.default_rng(0)
image, label = training[0]
viz.images(
    [image] + [change(image, label, rng)[0] for _ in range(5)],
    ["the picture"] + ["changed"] * 5,
    caption="The same picture as the network might see it in five different epochs. What it shows stays the same.",
)

# %% [markdown]
# ## A CNN and a ViT
#
# Both networks are small: a convolutional network with four stages, and a Vision Transformer that cuts the picture into
# 64 patches of 8 x 8 pixels. An *epoch* is once through all pictures. After each one the accuracy on the pictures that
# were set aside is measured, and the best weights are kept (`monitor="accuracy"`).


# %%
def loss(model, images, labels):
    return ops.cross_entropy(model(images), labels, label_smoothing=0.1)


def scores_of(model):
    """The scores of all pictures to judge by."""
    batches = data.DataLoader(validation, 48)
    with mv.no_grad():
        return np.concatenate([model(images).numpy() for images, _ in batches])


def evaluate(model):
    return {"accuracy": metrics.accuracy(scores_of(model), np.array(validation.labels))}


def train(model, epochs, lr):
    rng = np.random.default_rng(1)
    loader = data.DataLoader(training, 32, shuffle=True, rng=rng, augment=change)
    schedule = optim.cosine(epochs * len(loader), warmup_steps=len(loader))
    optimizer = optim.AdamW(model, lr=lr, schedule=schedule)
    keep = {"every": len(loader), "evaluate": evaluate, "monitor": "accuracy"}
    return mv.train.fit(model, loader, loss, optimizer, epochs=epochs, clip=1.0, **keep)


# %%
K = len(photos.names)
cnn = models.CNN(channels=3, widths=(16, 32, 64, 96), depth=1, num_classes=K, rng=0)
vit = models.ViT(64, patch_size=8, width=96, depth=3, heads=4, mlp_ratio=2, num_classes=K, pool="mean", rng=0)
history = {"CNN": train(cnn, epochs=8, lr=2e-3), "ViT": train(vit, epochs=8, lr=1e-3)}

# %%
viz.curves(
    {name: (np.arange(1, 9), h["accuracy"]) for name, h in history.items()},
    "epoch",
    "accuracy",
    level={"always the same class": 1 / K},
    caption="The share of right answers on the pictures that were set aside, after each epoch. Both networks are soon far "
    "above the share of an answer that is always the same; with so few pictures the curves are jagged.",
)

# %% [markdown]
# ## What is taken for what
#
# One number does not say *what* goes wrong. The confusion matrix does: a row for each true class, a column for each
# answer. What is not on the diagonal is a mistake.

# %%
scores = scores_of(cnn)
found = scores.argmax(axis=1)
there = np.array(validation.labels)
counts = metrics.confusion_matrix(found, there, K)
viz.confusion_matrix(counts, photos.names)

# %% [markdown]
# And the worst mistakes are those that the network was most sure of. Look at them before you change anything else.
# Often they show at once what is missing: a wrong label, a kind of picture that is rare among those to learn from, or
# two classes that even you cannot tell apart.

# %%
sure = ops.softmax(scores, axis=-1).max(axis=1)
viz.worst_mistakes([image for image, _ in validation], there, found, sure, photos.names, count=6)

# %% [markdown]
# ## A new photo
#
# A model that knows the names of its classes and how a photo becomes its input can be saved with both, and used
# anywhere. `minivis predict FOLDER PHOTO` in a terminal does the same as the last line.

# %%
cnn.labels = dict(enumerate(photos.names))
cnn.preprocess = data.preprocess.Preprocess(shortest=64, crop=(64, 64))
mv.save(cnn, work / "cnn")

new_photo = next((examples.write_mask_folder(work / "new", seed=7, count=1) / "images").iterdir())
predict(work / "cnn", new_photo, work / "answer.png")

# %%
read = data.read_image(work / "answer.png")
viz.images([read], size=8, caption="What predict has drawn: the photo and the probabilities of the classes.")

# %% [markdown]
# ## The same with one command
#
# All of the above is one line in a terminal:
#
# ```
# minivis train --data places --model cnn --out runs/places
# ```
#
# It finds out what kind of data the folder holds, writes down which pictures were set aside (`split.json`), keeps the
# best weights, and ends with a page, `report.html`, that has the curves, the confusion matrix and the worst mistakes.
# Ctrl-C keeps everything; `minivis train --resume --out runs/places` goes on, and with `--epochs 40` it trains on to
# 40. The same in Python:

# %%
result = tasks.train(FOLDER, "resnet", work / "resnet", epochs=5)

# %%
print(*sorted(path.name for path in (work / "resnet").iterdir()), sep="\n")

# %% [markdown]
# ## Where things are: a detector for your own objects
#
# To find *where* things are, somebody has to draw boxes around them first. Most tools for that export **COCO's format**:
# a folder of pictures and one json file with a box and a class for each object.

# %%
BOXES = examples.write_coco(work / "objects")
listed = json.loads((BOXES / "annotations.json").read_text())
classes = ", ".join(category["name"] for category in listed["categories"])
print(f"{len(listed['images'])} pictures, {len(listed['annotations'])} boxes of {classes}")
print({key: value for key, value in listed["annotations"][0].items() if key != "segmentation"})

# %% [markdown]
# Sixty pictures are far too few to teach a DETR from nothing what an object is. But a DETR that has learned it on other
# pictures only has to learn new names. So the training begins with `detr-shapes`, a small DETR that comes with minivis.
# It knows six shapes; the pictures here have three other classes. Only the layer that names the objects is new:

# %%
detr = mv.storage.with_classes(mv.load("detr-shapes"), labels=["round", "angular", "spiky"])
print("new:", ", ".join(detr.new_weights))

# %% [markdown]
# `tasks.train`, or `minivis train --data objects --model detr`, does this by itself. AP50 is the average precision when a
# box counts as right from an IoU of 0.5 on (chapter [14](14_detection.ipynb) explains it).

# %%
result = tasks.train(BOXES, "detr", work / "detr", epochs=25)

# %%
finder = mv.load(work / "detr")
task = tasks.recognise(BOXES)
seen = [task.validation[i] for i in range(4)]
with mv.no_grad():
    outputs = [finder(finder.preprocess(image)) for image, _ in seen]
boxes, names = [], []
for output in outputs:
    one = mv.vision.detr_detections(output.logits.numpy()[0], output.boxes.numpy()[0], threshold=0.3)
    boxes.append(one["boxes"])
    names.append(one["labels"])
viz.boxes_on_images(
    [image for image, _ in seen] * 2,
    [target["boxes"] for _, target in seen] + boxes,
    [target["labels"] for _, target in seen] + names,
    names=task.names,
    normalised=True,
    titles=["in the data"] * 4 + ["found"] * 4,
    columns=4,
    caption="Four pictures that were not trained on: above the boxes that somebody drew, below those that DETR found with "
    "a score of at least 0.3.",
)

# %% [markdown]
# ## What each pixel is
#
# The third kind of data gives a class to every pixel: a folder `images`, a folder `masks` with a PNG of the same name for
# each picture, in which the number of a pixel is its class, and `classes.txt` with the names.

# %%
MASKS = examples.write_mask_folder(work / "ground")
result = tasks.train(MASKS, "unet", work / "unet", epochs=10)

# %%
painter = mv.load(work / "unet")
task = tasks.recognise(MASKS)
seen = [task.validation[i][0] for i in range(4)]
with mv.no_grad():
    maps = [painter(painter.preprocess(image)).numpy()[0].argmax(axis=0) for image in seen]
viz.semantic_maps(
    maps,
    seen,
    ["photo"] * 4 + ["found"] * 4,
    task.names,
    columns=4,
    caption="Four pictures that were not trained on, and the class that the U-Net gives to each pixel.",
)

# %% [markdown]
# ## Beginning with a published network
#
# What a network has learned from millions of photos helps with yours too. `minivis fetch` brings such a network, and
# then it is a folder with `config.json`, `preprocessor_config.json` and `model.safetensors`. So that this page needs
# no network connection, the next cell writes a small one in the same layout: a Swin that knows six shapes. With a real
# one, set `PUBLISHED` to its folder.

# %%
PUBLISHED = mv.export(mv.load("swin-shapes"), work / "published")
# PUBLISHED = Path("~/.cache/minivis/published/swin-tiny-patch4-window7-224").expanduser()

swin = mv.from_pretrained(PUBLISHED)
print("it knows", ", ".join(swin.labels.values()))
swin = mv.from_pretrained(PUBLISHED, labels=list(photos.names))
print("now its classes are", ", ".join(swin.labels.values()), "and new are", ", ".join(swin.new_weights))

# %% [markdown]
# Only the last layer is new; everything else has been trained, and the photos are prepared as the network was trained
# with. A few epochs are enough (`minivis train --data places --from PUBLISHED` in a terminal):

# %%
result = tasks.train(FOLDER, out=work / "swin", source=PUBLISHED, epochs=8)

# %% [markdown]
# The result is a folder of minivis. `mv.export` writes it in the layout of the model hub, in which others can read it,
# transformers for example. Nothing is lost on the way: both give the same scores.

# %%
tuned = mv.load(work / "swin")
again = mv.from_pretrained(mv.export(tuned, work / "exported"))
batch = tuned.preprocess(new_photo)
with mv.no_grad():
    print("largest difference:", float(np.abs(tuned(batch).numpy() - again(batch).numpy()).max()))
predict(work / "exported", new_photo, work / "swin.png")

# %% [markdown]
# ## What you can do now
#
# - You can turn a folder of pictures into a data set, and set pictures aside before you begin.
# - You can train a CNN, a ViT or a ResNet on it, and say how good it is compared with no knowledge at all.
# - You can read a confusion matrix and look for the reason of a mistake.
# - You can give a trained detector your own classes, with a few dozen pictures.
# - You can save a model with its labels and use it on a new photo, in Python and in a terminal.
#
# The book's page *Your own pictures* has the same as commands, with what to do when it does not work. This is the last
# page; how all of this works inside begins in [00](00_tour.ipynb).
