"""Drawings of models: what is in them is tested as data, how they look is measured with the renderer.

Not here: the record of a forward pass beyond what a drawing needs (tests/nn/test_calls.py), the command (tests/test_cli.py).
"""

import functools
import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

import minivis as mv
from minivis import nn, ops, viz
from minivis.models import ViT
from minivis.viz.box_text import numbers, text_width
from minivis.viz.data_flow import diagram


class Functional(nn.Module):
    """No layers inside: parameters and ops alone."""

    def __init__(self):
        self.w = nn.Parameter(np.ones((4, 3), np.float32))
        self.b = nn.Parameter(np.ones(4, np.float32))
        self.v = nn.Parameter(np.ones((2, 4), np.float32))

    def forward(self, x):
        return ops.linear(ops.relu(ops.linear(x, self.w, self.b)), self.v)


class Odd(nn.Module):
    """A layer called twice, one never called, two arguments, a result with a name."""

    def __init__(self):
        self.twice = nn.Linear(4, 4)
        self.never = nn.Linear(4, 9)

    def forward(self, x, y):
        return {"product": self.twice(self.twice(x)) @ y}


class Loop(nn.Module):
    """Two layers that feed each other, and pixels read behind the tape's back."""

    def __init__(self):
        self.here = nn.Linear(4, 4)
        self.there = nn.Linear(4, 4)

    def forward(self, images):
        x = self.here(images.data)
        for _ in range(3):
            x = self.here(ops.relu(self.there(x)))
        return x


class Cell(nn.Module):
    """A recurrent cell on a list of inputs, a learned beginning, states in a list within a dict."""

    def __init__(self):
        self.start = nn.Parameter(np.zeros((1, 4), np.float32))
        self.layers = [nn.Linear(4, 4) for _ in range(3)]

    def forward(self, inputs):
        states = [self.start]
        for layer, x in zip(self.layers, inputs, strict=True):
            states.append(layer(states[-1]) + x)
        return {"states": states[1:], "last": states[-1]}


class Powers(nn.Module):
    """More sums between its layers than can be drawn."""

    def __init__(self):
        self.factors = [nn.Parameter(np.ones((4, 4), np.float32)) for _ in range(20)]
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        for factor in self.factors:
            x = x @ factor
        return self.layer(x)


class Adapters(nn.Module):
    """Weights of one layer used by hand, on two inputs, with long names."""

    def __init__(self):
        self.a_layer_of_its_own = nn.Linear(4, 4)
        self.after = nn.Linear(4, 4)

    def forward(self, x, y):
        weight, bias = self.a_layer_of_its_own.weight, self.a_layer_of_its_own.bias
        return self.after(ops.linear(x, weight, bias) + ops.linear(y, weight, bias))


class ALayerWithQuiteALongNameThatNoBoxIsWideEnoughFor(nn.Linear):
    pass


class Wide(nn.Module):
    """Five heads side by side, with long names."""

    def __init__(self):
        self.the_head_for_the_classes_of_all_things = ALayerWithQuiteALongNameThatNoBoxIsWideEnoughFor(4, 3)
        self.one = nn.Linear(4, 1)
        self.two = nn.Linear(4, 2)
        self.three = nn.Linear(4, 33333)
        self.four = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))

    def forward(self, x):
        return [
            self.the_head_for_the_classes_of_all_things(x),
            self.one(x),
            self.two(x),
            self.three(x),
            self.four(x),
        ]


def published(name, **options):
    with nn.init.skip_init():
        return getattr(mv.models, name)(**options)


SYMBOLS = (np.zeros((1, 8), int), np.zeros((1, 6), int))
MODELS = {
    "ViT": (lambda: mv.load("vit-digits"), (1, 1, 8, 8)),
    "CNN": (lambda: mv.load("cnn-digits"), (1, 1, 8, 8)),
    "Swin": (lambda: mv.load("swin-shapes"), (1, 3, 64, 64)),
    "Faster R-CNN": (lambda: mv.load("faster-rcnn-shapes"), (1, 3, 64, 64)),
    "DETR": (lambda: mv.load("detr-shapes"), (1, 3, 64, 64)),
    "DETR panoptic": (lambda: mv.load("detr-panoptic-shapes"), (1, 3, 64, 64)),
    "Mask2Former": (lambda: mv.load("mask2former-shapes"), (1, 3, 64, 64)),
    "Mask R-CNN": (lambda: mv.load("mask-rcnn-shapes"), (1, 3, 64, 64)),
    "ResNet-18": (lambda: published("resnet18"), (1, 3, 32, 32)),
    "ResNet-50": (lambda: published("resnet50"), (1, 3, 32, 32)),
    "DeiT": (lambda: published("deit_ti16"), (1, 3, 224, 224)),
    "Mask2Former with Swin-T": (lambda: published("mask2former_swin_t"), (1, 3, 64, 64)),
    "RT-DETR": (lambda: published("rtdetr_r18vd", queries=20), (1, 3, 64, 64)),
    "Transformer": (
        lambda: nn.Transformer(16, 2, 6, 6, 32, source_vocabulary=12, target_vocabulary=12),
        SYMBOLS,
    ),
    "Transformer on tokens": (
        lambda: nn.Transformer(16, 2, 2, 2, 32, norm_first=True),
        (np.zeros((1, 8, 16), np.float32), np.zeros((1, 6, 16), np.float32)),
    ),
    "attention": (lambda: nn.MultiHeadAttention(64, 4), (1, 17, 64)),
    "layers": (lambda: nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)), (1, 3)),
    "one layer": (lambda: nn.Linear(3, 4), (1, 3)),
    "an activation": (lambda: nn.ReLU(), (1, 3)),
    "an MLP": (lambda: nn.MLP(4, 16), (1, 5, 4)),
    "no layers": (Functional, (1, 3)),
    "odd": (Odd, (np.ones((3, 4), np.float32), np.ones((4, 5), np.float32))),
    "a circle": (Loop, (2, 4)),
    "wide": (Wide, (1, 4)),
    "a cell": (Cell, ([np.ones((1, 4), np.float32)] * 3,)),
    "powers": (Powers, (1, 4)),
    "by hand": (Adapters, (np.ones((1, 4), np.float32), np.ones((1, 4), np.float32))),
    "a backbone": (
        lambda: mv.models.Swin(4, 8, (2, 2, 2), (2, 2, 4), 4, feature_norms=True),
        (1, 3, 64, 64),
    ),
}


def drawn(name):
    make, given = MODELS[name]
    return diagram(make(), given)


def arrows(shown):
    """(start, end) by the names of parts; a join is its sign."""
    names = {part.key: part.name for part in shown.parts}
    return [(names[a.start], names[a.end]) for a in shown.arrows]


def stages(shown):
    return [(part.name, part.kind, part.times) for part in shown.parts if part.role == "stage"]


# ---------------------------------------------------------------------------------------------------------------------
# What is in a drawing


def test_a_vit_is_patches_one_folded_block_with_its_two_residuals_and_a_head():
    shown = drawn("ViT")
    assert stages(shown) == [
        ("patch_embed", "PatchEmbed", 1),
        ("blocks", "Block", 4),
        ("norm", "LayerNorm", 1),
        ("head", "Linear", 1),
    ]
    assert [p.name for p in shown.parts if p.role == "learned"] == ["cls_token", "pos_embed"]
    block = shown.part("blocks.0").inside
    assert stages(block) == [
        ("norm1", "LayerNorm", 1),
        ("attn", "MultiHeadAttention", 1),
        ("norm2", "LayerNorm", 1),
        ("mlp", "MLP", 1),
    ]
    assert arrows(block) == [
        ("z", "norm1"),
        ("norm1", "attn"),
        ("z", "+"),
        ("attn", "+"),
        ("+", "norm2"),
        ("norm2", "mlp"),
        ("+", "+"),
        ("mlp", "+"),
        ("+", ""),
    ]


def test_shapes_letters_and_parameters_are_those_of_the_model():
    model = mv.load("vit-digits")
    shown = diagram(model, (2, 1, 8, 8))
    assert shown.part("patch_embed").shapes == [("(B, N, D)", (2, 16, 64))]
    assert shown.part("head").shapes == [("", (2, 10))]
    assert shown.part("in:images").shapes == [("(B, C, H, W)", (2, 1, 8, 8))]
    assert sum(p.parameters for p in shown.parts) == sum(p.size for p in model.parameters())
    swin = drawn("Swin")
    letters = {part.name: part.shapes[0][0] for part in swin.parts if part.role == "stage"}
    assert letters["proj"] == "(B, C, H, W)" and letters["patch_norm"] == letters["norm"] == "(B, H, W, D)"


@pytest.mark.parametrize(
    "name", ["ViT", "CNN", "Swin", "DETR", "DETR panoptic", "Mask2Former", "ResNet-18", "Transformer"]
)
def test_every_parameter_is_counted_in_one_box(name):
    make, given = MODELS[name]
    model = make()
    shown = diagram(model, given)
    assert sum(p.parameters for p in shown.parts) == sum(p.size for p in model.parameters())


def test_the_heads_of_detr_stand_side_by_side_and_its_queries_enter_the_decoder():
    shown = drawn("DETR panoptic")
    found = arrows(shown)
    for head in ("class_head", "box_head", "mask_head"):
        assert ("decoder_norm", head) in found
    assert ("queries", "decoder") in found and ("encoder_norm", "decoder") in found
    assert {start for start, end in found if end == "mask_head"} == {
        "stages.0",
        "input_proj",
        "encoder_norm",
        "decoder_norm",
    }
    assert [(start, end) for start, end in found if end in ("logits", "boxes", "masks")] == [
        ("class_head", "logits"),
        ("box_head", "boxes"),
        ("mask_head", "masks"),
    ]
    (words,) = [a.ops for a in shown.arrows if a.end == "out:boxes"]
    assert words == ("sigmoid",)
    assert shown.frames == {
        "backbone": ("backbone", "ResNet", shown.frames["backbone"][2]),
        "transformer": ("transformer", "DETRTransformer", shown.frames["transformer"][2]),
    }


def test_the_maps_of_rt_detr_go_down_and_up_again():
    shown = drawn("RT-DETR")
    found = arrows(shown)
    assert ("lateral.0", "concat") in found and ("downsample.1", "concat") in found
    ends = [end for start, end in found if start == "lateral.0"]
    assert ends == ["concat", "concat"]  # of the next finer map, and of the same map on the way back
    assert ("decoder_proj", "layers") in found and ("pixel_norm", "pixel_class_head") in found
    # the first boxes and the choice of pixels pass no gradient
    assert not [end for start, end in found if start in ("pixel_box_head", "pixel_class_head")]
    told = "What a box without an arrow out has found is used further down, without a gradient."
    assert told in viz.architecture(*(f() if callable(f) else f for f in MODELS["RT-DETR"])).caption
    assert told not in viz.architecture(mv.load("detr-shapes"), (1, 3, 64, 64)).caption


def test_the_branches_of_mask2former_meet_in_the_mask():
    shown = drawn("Mask2Former")
    found = arrows(shown)
    assert {start for start, end in found if end == "matmul"} == {"mask_head", "mask_features"}
    assert ("matmul", "masks") in found and ("mask", "layers") in found  # the mask itself has no gradient
    layers = shown.part("layers.0")
    assert layers.times == 4 and not layers.beside
    assert {start for start, end in arrows(layers.inside) if end == "cross_attn"} == {
        "+",
        "key",
        "value",
        "mask",
    }
    projections = shown.part("pixel_decoder.input_proj.0")
    assert (projections.times, projections.beside, projections.kind) == (2, True, "Conv2d, GroupNorm")
    assert shown.part("norm").calls == 5


def test_the_memory_of_a_transformer_goes_from_the_encoder_to_the_decoder():
    shown = drawn("Transformer")
    found = arrows(shown)
    assert ("source", "source_embedding") in found and ("target", "target_embedding") in found
    decoder = shown.part("decoder.layers.0")
    assert decoder.times == 6
    assert ("encoder.norm", "decoder.layers.0") in [(a.start, a.end) for a in shown.arrows]
    assert ("memory", "cross_attn") in arrows(decoder.inside)
    assert not any("position" == end for _, end in found)  # a code is a constant


def test_repeats_are_folded_where_they_are_alike():
    swin = stages(drawn("Swin"))
    assert [times for name, kind, times in swin if kind == "SwinBlock"] == [2, 2, 2]
    opened = [p.name for p in drawn("Swin").parts if p.inside]
    assert opened == ["stages.0.blocks"]  # the first of its kind
    resnet = drawn("ResNet-50")
    assert [times for name, kind, times in stages(resnet) if kind == "Block"] == [3, 4, 6, 3]
    assert [p.name for p in resnet.parts if p.inside] == ["stages.0"]
    assert [(name, times) for name, _, times in stages(drawn("CNN"))] == [
        ("0 to 5", 2),
        ("6 to 11", 2),
        ("head", 1),
    ]
    unlike = diagram(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4), nn.Linear(4, 4)), (1, 2))
    assert [times for _, _, times in stages(unlike)] == [1, 1, 1]
    alike = diagram(nn.Sequential(*[nn.Linear(2, 2) for _ in range(5)]), (1, 2))
    assert stages(alike) == [("0 to 4", "Linear", 5)]


def test_models_without_layers_are_drawn_by_their_ops():
    shown = drawn("no layers")
    assert [p.name for p in shown.parts if p.role == "join"] == ["linear", "linear"]
    assert ("w", "linear") in arrows(shown) and ("v", "linear") in arrows(shown)
    single = drawn("an activation")
    assert [(p.role, p.name) for p in single.parts] == [
        ("input", "x"),
        ("stage", "ReLU"),
        ("output", "output"),
    ]


def test_a_layer_called_twice_is_one_box_that_says_so():
    shown = drawn("odd")
    assert [p.calls for p in shown.parts if p.name == "twice"] == [2]
    assert "never" not in [p.name for p in shown.parts]
    assert arrows(shown)[-1] == ("matmul", "product")


def test_what_closes_a_circle_is_drawn_once_and_ends():
    shown = drawn("a circle")
    assert {("here", "there"), ("there", "here")} <= set(arrows(shown))
    assert ("images", "here") in arrows(shown)  # known by its memory, though read from .data


def test_inputs_and_outputs_in_lists_are_found_and_a_chain_through_a_sum_is_one_after_another():
    shown = diagram(Cell(), ([np.ones((1, 4), np.float32)] * 3,))
    (layers,) = [part for part in shown.parts if part.role == "stage"]
    assert (layers.name, layers.times, layers.beside) == ("layers", 3, False)
    assert [part.name for part in shown.parts if part.role == "output"] == [
        "last",
        "states 0",
        "states 1",
        "states 2",
    ]
    assert [part.name for part in shown.parts if part.role == "learned"] == ["start"]
    assert ("inputs", "+") in arrows(shown)


def test_where_too_much_happens_between_layers_the_layers_alone_are_drawn():
    shown = diagram(Powers(), (1, 4))
    assert arrows(shown) == [("x", "layer"), ("layer", "output")]


def test_closed_modules_are_one_box():
    shown = diagram(mv.load("mask2former-shapes"), (1, 3, 64, 64), closed=["backbone"])
    assert ("backbone", "ResNet", 1) in stages(shown)
    assert ("backbone", "input_proj") in arrows(shown) and ("backbone", "lateral") in arrows(shown)
    with pytest.raises(
        ValueError, match=r"closed names 'nose', which is no module of ViT \(there are patch_embed"
    ):
        diagram(ViT(8, 4, 8, 2, 2, num_classes=3, channels=1), (1, 1, 8, 8), closed=["nose"])


def test_the_model_is_left_as_it_was():
    model = mv.load("vit-digits").train()
    before = model.state_dict()
    viz.architecture(model, (1, 1, 8, 8))
    assert model.training and all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all("forward" not in vars(m) for m in model.modules())
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_only_modules_are_drawn():
    with pytest.raises(TypeError, match="architecture: model must be a Module, got ndarray"):
        viz.architecture(np.ones(3), np.ones(3))


def test_numbers_are_short():
    assert [numbers(n) for n in (0, 999, 1000, 99_949, 99_950, 999_499, 999_500, 632_045_800)] == [
        "", "999", "1.0 K", "99.9 K", "100 K", "999 K", "1.0 M", "632 M",
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# How it looks


@functools.lru_cache(maxsize=1)  # drawn once for all tests of a picture, which come one after the other
def rectangles(fig):
    """Bounding boxes in pixels of the boxes, pills and frames by name, and of all texts with the name of their box."""
    renderer = FigureCanvasAgg(fig).get_renderer()
    fig.draw(renderer)
    (ax,) = fig.axes
    named = [p for p in ax.patches if p.get_gid() not in (None, "arrow")]
    boxes = {p.get_gid(): p.get_window_extent(renderer) for p in named}
    texts = [(t.get_gid(), t.get_text(), t.get_window_extent(renderer)) for t in ax.texts]
    return boxes, texts


def overlap(a, b):
    """By how many pixels two boxes overlap, in the direction in which it is less."""
    return min(min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0))


def inside(a, b):
    """Whether a lies within b, half a pixel of stroke aside."""
    return a.x0 >= b.x0 - 0.5 and a.x1 <= b.x1 + 0.5 and a.y0 >= b.y0 - 0.5 and a.y1 <= b.y1 + 0.5


@pytest.fixture(scope="module", params=MODELS)
def picture(request):
    make, given = MODELS[request.param]
    return viz.architecture(make(), given)


def test_it_is_as_wide_as_a_phone_and_its_letters_can_be_read(picture):
    assert picture.get_size_inches()[0] * picture.dpi == pytest.approx(360)
    assert min(text.get_fontsize() for text in picture.axes[0].texts) >= 9
    assert picture.get_facecolor() == (1, 1, 1, 1)  # its own ground: the same on a dark page


def test_every_text_is_within_its_box(picture):
    boxes, texts = rectangles(picture)
    for name, text, where in texts:
        if not name.startswith("ops:"):
            assert inside(where, boxes[name]), (name, text)


def test_no_two_texts_overlap(picture):
    _, texts = rectangles(picture)
    for (_, first, a), (_, second, b) in itertools.combinations(texts, 2):
        assert overlap(a, b) < 1, (first, second)


def test_boxes_are_apart_or_one_in_the_other(picture):
    boxes, _ = rectangles(picture)
    for (first, a), (second, b) in itertools.combinations(boxes.items(), 2):
        assert overlap(a, b) < 1 or inside(a, b) or inside(b, a), (first, second)


def test_words_at_arrows_are_on_no_box_that_is_not_around_them(picture):
    boxes, texts = rectangles(picture)
    for name, text, where in texts:
        if name.startswith("ops:"):
            assert all(overlap(where, box) < 1 or inside(where, box) for box in boxes.values()), text


def test_no_arrow_crosses_a_box(picture):
    boxes, _ = rectangles(picture)
    (ax,) = picture.axes
    ways = [p.get_path() for p in ax.patches if p.get_gid() == "arrow"]
    assert ways
    closed = [
        b for b in boxes.values() if not any(inside(other, b) for other in boxes.values() if other is not b)
    ]
    for way in ways:
        for x, y in ax.transData.transform(way.interpolated(20).vertices):
            for box in closed:
                deep = min(x - box.x0, box.x1 - x, y - box.y0, box.y1 - y)
                assert deep < 2, (x, y, box)


def test_nothing_leaves_the_picture_or_meets_the_caption(picture):
    boxes, texts = rectangles(picture)
    renderer = FigureCanvasAgg(picture).get_renderer()
    title, caption = (
        picture._suptitle.get_window_extent(renderer),
        picture._supxlabel.get_window_extent(renderer),
    )
    everything = [*boxes.values(), *(where for _, _, where in texts)]
    assert all(inside(where, picture.bbox) for where in [*everything, title, caption])
    assert min(where.y0 for where in everything) >= caption.y1
    assert max(where.y1 for where in everything) <= title.y0


def test_the_caption_explains_what_occurs_and_nothing_else():
    vit = viz.architecture(mv.load("vit-digits"), (1, 1, 8, 8)).caption
    assert "× n" in vit and "Orange: attention" in vit and "pink" in vit and "mask" not in vit
    layers = viz.architecture(nn.Sequential(nn.Linear(3, 8), nn.ReLU()), (1, 3)).caption
    assert "× n" not in layers and "attention" not in layers and "Blue: linear layers" in layers
    assert "A mask has no gradient" in viz.architecture(mv.load("mask2former-shapes"), (1, 3, 64, 64)).caption


def test_title_and_caption_can_be_chosen():
    fig = viz.architecture(nn.Linear(3, 4), (1, 3), title="One layer", caption="See the weight.")
    assert (fig.get_suptitle(), fig.caption) == ("One layer", "See the weight.")
    assert viz.architecture(nn.Linear(3, 4), (1, 3)).get_suptitle() == "Linear: 16 parameters"
    assert text_width("W") > text_width("i") > 0
