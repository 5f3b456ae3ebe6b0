"""Readers of models: our own folders, published ones of every family, what stands beside the weights, training runs, hand-ins.

Not here: data sets.
"""

import functools
import json
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

import minivis as mv
from minivis import nn, ops, optim, storage
from minivis.classroom import find
from minivis.classroom.submission import read as read_hand_in
from minivis.data import DataLoader
from minivis.models import ViT
from minivis.pretrained import Preprocess, prediction
from minivis.pretrained import folder as folders
from minivis.pretrained.description import describe
from minivis.pretrained.family import Part
from minivis.pretrained.onnx_arrays import read_onnx
from minivis.pretrained.preprocess import preprocess_of
from minivis.train import CHECKPOINT, fit
from tests.fuzz import Reader
from tests.pretrained import onnx_files

PUBLISHED = Path(__file__).parents[1] / "parity" / "published"
PHOTO = np.random.default_rng(0).random((3, 20, 30)).astype(np.float32)
IMAGES = np.random.default_rng(0).random((1, 3, 32, 32)).astype(np.float32)


def small():
    return ViT(8, 4, 8, 1, 2, num_classes=3, channels=1, rng=1)


def same(model, other):
    here, there = model.state_dict(), other.state_dict()
    return all(np.array_equal(x, there[name]) for name, x in here.items())


# ---------------------------------------------------------------------------------------------------------------------
# Our own models


def without_checksum(folder):
    """Let files look as earlier versions wrote them: no checksum stands in the way of what is behind it."""
    for path in folder.glob("*.safetensors"):
        arrays, notes = storage.read_arrays(path)
        save_file(arrays, path, metadata={name: text for name, text in notes.items() if name == "run"})


def save(folder):
    mv.save(small(), folder)


def save_as_before(folder):
    mv.save(small(), folder)
    without_checksum(folder)


def load(folder):
    model = mv.load(folder)
    assert not sealed(folder / "model.safetensors") or same(model, small()), (
        "other weights, in spite of the checksum"
    )
    return model(IMAGES[:, :1, :8, :8])


def sealed(path):
    """Whether a file still has its checksum, if it is there."""
    return path.is_file() and b'"sha256"' in path.read_bytes()


class Into:
    """Loading into a model that is there already."""

    model = None

    def read(self, folder):
        self.model = small()
        self.model.head.bias.data[...] = 7
        self.before = self.model.state_dict()
        mv.load(folder, into=self.model)

    def whole(self, folder):
        for name, x in self.model.state_dict().items():
            assert np.array_equal(x, self.before[name]), f"{name} has changed"


def save_run(folder):
    model = ViT(64, 32, 8, 1, 2, num_classes=3, rng=1)
    model.labels = {0: "cat", 1: "dog", 2: "cow"}
    model.things = [True, True, False]
    model.preprocess = Preprocess(size=(64, 64), crop=(64, 64), mean=(0.5, 0.5, 0.5))
    mv.save(model, folder)
    (folder / "metrics.json").write_text(json.dumps({"name": "vit-cows", "recipe": "vit-cows", "n": 3}))


def ready(folder):
    model = prediction.load(folder)
    batch = model.preprocess(PHOTO)
    # whoever asks for large pictures gets them, and attention costs the square of their area
    if batch.size < 50_000:
        return describe(model, prediction.run_model(folder, model, batch), PHOTO)[0]


def save_published(folder):
    """A published ViT with named classes."""
    published("vit").seeds(folder)
    config = json.loads((folder / "config.json").read_text()) | {
        "id2label": {str(i): f"class {i}" for i in range(5)}
    }
    (folder / "config.json").write_text(json.dumps(config))


# ---------------------------------------------------------------------------------------------------------------------
# Published models


def published(name):
    """A tiny folder of a family, as the hub has it."""

    def seeds(folder):
        for file in ("config.json", "model.safetensors"):
            if (PUBLISHED / name / file).exists():  # torchvision's files come without a config
                shutil.copy(PUBLISHED / name / file, folder)
        settings = {
            "size": {"height": 8, "width": 12},
            "resample": 2,
            "image_mean": [0.5] * 3,
            "image_std": [0.5] * 3,
        }
        if name == "sam":  # of one size
            settings = PREPROCESSORS["sam"]
        (folder / "preprocessor_config.json").write_text(json.dumps(settings))

    return Reader(f"from_pretrained {name}", seeds, lambda folder: mv.from_pretrained(folder))


def in_dialect(name, dialect, **said):
    """The same weights under the names of the authors; config.json says what shapes do not."""

    def seeds(folder):
        save_file(as_authors(name, dialect), folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(said))

    return Reader(f"from_pretrained {name} ({dialect})", seeds, lambda folder: mv.from_pretrained(folder))


def as_authors(name, dialect):
    model = mv.from_pretrained(PUBLISHED / name, dtype="float32")
    family = folders._family(Path(name), model.published)
    arrays = model.state_dict()
    packed = {}
    for ours, theirs in family.names(model, dialect).items():
        packed.setdefault(theirs.name if isinstance(theirs, Part) else theirs, []).append(arrays[ours])
    return {theirs: np.concatenate(b) if len(b) > 1 else b[0] for theirs, b in packed.items()}


def shards(folder):
    """A ViT in two files and an index."""
    weights = load_file(PUBLISHED / "vit" / "model.safetensors")
    homes = {n: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, n in enumerate(sorted(weights))}
    for home in sorted(set(homes.values())):
        save_file({n: x for n, x in weights.items() if homes[n] == home}, folder / home)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": homes}))
    shutil.copy(PUBLISHED / "vit" / "config.json", folder)


COLOURS = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "resample": 2}
PREPROCESSORS = {
    "detr": {"image_processor_type": "DetrImageProcessor", "size": {"shortest_edge": 16, "longest_edge": 40}, "do_pad": True,
             "pad_size": {"height": 64, "width": 64}, "rescale_factor": 1 / 255, **COLOURS},
    "vit": {"feature_extractor_type": "ViTFeatureExtractor", "size": 16, "do_resize": True, **COLOURS},
    "deit": {"image_processor_type": "DeiTImageProcessor", "size": {"height": 32, "width": 32},
             "crop_size": {"height": 24, "width": 24}, "do_center_crop": True, **COLOURS},
    "convnext": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 16}, "crop_pct": 0.875, **COLOURS},
    "mask2former": {"image_processor_type": "Mask2FormerImageProcessor", "size": {"max_height": 24, "max_width": 24},
                    "size_divisor": 8, **COLOURS},
    "sam": {"image_processor_type": "SamImageProcessor", "size": {"longest_edge": 40}, "pad_size": {"height": 40, "width": 40},
            **COLOURS},
    "timm": {"input_size": [3, 16, 16], "interpolation": "bicubic", "crop_pct": 0.9, "crop_mode": "center",
             "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
}  # fmt: skip


def preprocessors(folder):
    for name, settings in PREPROCESSORS.items():
        (folder / f"{name}.json").write_text(json.dumps(settings))


def prepare(folder):
    for name in PREPROCESSORS:
        path = folder / f"{name}.json"
        preprocess_of(folders.read_json(path), path=path).batch([PHOTO])


# ---------------------------------------------------------------------------------------------------------------------
# Training runs


class Resumed:
    """A training that goes on. What it would train must not change when it is refused."""

    inputs = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    labels = (inputs[:, 0] > 0).astype(np.int64)

    def __init__(self, old):
        self.old = old

    def parts(self, seed):
        rng = np.random.default_rng(seed)
        model = nn.Sequential(nn.Linear(4, 6, rng=rng), nn.Dropout(0.3, rng=rng), nn.Linear(6, 2, rng=rng))
        loader = DataLoader((self.inputs, self.labels), 4, shuffle=True, rng=rng)
        schedule = optim.ReduceLROnPlateau(patience=0)
        return model, loader, optim.AdamW(model.parameters(), lr=0.01, schedule=schedule)

    def fit(self, parts, folder, **options):
        model, loader, optimizer = parts
        loss = lambda model, x, y: ops.cross_entropy(model(x), y)  # noqa: E731
        watch = {"evaluate": self.measured, "monitor": "weight", "out": folder}
        return fit(model, loader, loss, optimizer, 4, every=2, **watch, **options)

    def measured(self, model):
        return {"weight": float(model[0].weight.data[0, 0])}

    def seeds(self, folder):
        self.fit(self.parts(1), folder)
        for path in folder.iterdir():
            if path.name != CHECKPOINT:
                path.unlink()
        if self.old:
            without_checksum(folder)

    def state(self):
        model, loader, optimizer = self.now
        moments = {name: x.tobytes() for name, x in optimizer.state_dict().items()}
        weights = {name: x.tobytes() for name, x in model.state_dict().items()}
        place = loader.state_dict(), vars(optimizer.schedule).copy()
        return weights, moments, place, model.rng_state(), loader._continue

    def read(self, folder):
        self.now = self.parts(1)
        self.before = self.state()
        intact = sealed(folder / CHECKPOINT) or not (folder / CHECKPOINT).exists()
        self.fit(self.now, folder, resume=True)
        assert not intact or same(self.now[0], self.trained()), "other weights, in spite of the checksum"

    @functools.cache  # noqa: B019 (two of them, as long as the process)
    def trained(self):
        """What it comes to where nothing went wrong."""
        parts = self.parts(1)
        self.fit(parts, None)
        return parts[0]

    def whole(self, folder):
        for name, was, there in zip(
            ("weights", "moments", "place", "generators", "loader"), self.before, self.state(), strict=True
        ):
            assert was == there, f"{name} changed"


# ---------------------------------------------------------------------------------------------------------------------
# What a student hands in


def hand_in(folder):
    notebook = json.loads(find("attention").path.read_text(encoding="utf-8"))
    notebook["cells"] = notebook["cells"][:6]
    (folder / "attention.ipynb").write_text(json.dumps(notebook))
    shutil.make_archive(str(folder / "attention"), "zip", folder, "attention.ipynb")


def handed_in(folder):
    return read_hand_in([folder], "attention")


into = Into()
resumed = Resumed(old=False)
resumed_before = Resumed(old=True)


def onnx_file(folder):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones((4, 1, 2), np.float16)}
    content = onnx_files.model([("MatMul", ["x", "a"], ["y"]), ("Add", ["y", "b"], ["z"])], arrays)
    (folder / "model.onnx").write_bytes(content)


def arrays_of_onnx(folder):
    graph = read_onnx(folder / "model.onnx")
    return [
        float(np.nan_to_num(array.astype(np.float64)).sum()) for array in graph.arrays.values()
    ], graph.nodes


READERS = [
    Reader("mv.load", save, load),
    Reader("mv.load without checksum", save_as_before, load),
    Reader("mv.load into", save_as_before, into.read, into.whole),
    Reader("minivis predict", save_run, ready),
    Reader("minivis predict published", save_published, ready),
    *(published(name) for name in sorted(path.name for path in PUBLISHED.iterdir())),
    in_dialect("vit", "timm", num_attention_heads=2, image_size=[8, 12]),
    in_dialect("detr", "fb", encoder_attention_heads=2, decoder_attention_heads=2, dilation=False),
    in_dialect("resnet", "timm", architecture="resnet50", pretrained_cfg=PREPROCESSORS["timm"]),
    in_dialect("swin", "ms"),
    in_dialect("mask2former", "fb", num_attention_heads=2, things=[0]),
    in_dialect("maskformer", "fb", num_attention_heads=2, things=[0]),
    in_dialect("sam", "fb", num_attention_heads=2),
    Reader("from_pretrained shards", shards, lambda folder: mv.from_pretrained(folder)),
    Reader("read_onnx", onnx_file, arrays_of_onnx),
    Reader("preprocessor_config.json", preprocessors, prepare),
    Reader("fit resume", resumed.seeds, resumed.read, resumed.whole),
    Reader("fit resume without checksum", resumed_before.seeds, resumed_before.read, resumed_before.whole),
    Reader("submission", hand_in, handed_in),
]
