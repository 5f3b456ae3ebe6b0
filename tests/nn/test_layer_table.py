"""The summary counts shapes, parameters and multiply-adds, and does not change the model.

Not here: how it looks in a notebook beyond its HTML being well formed.
"""

from xml.etree import ElementTree

import numpy as np
import pytest

import minivis as mv
from minivis import nn, ops
from minivis.models import CNN, ViT, vit_b16


def test_vit_b16_has_the_published_parameters_and_multiply_adds():
    with nn.init.skip_init():
        model = vit_b16()
    table = mv.summary(model, (1, 3, 224, 224))
    assert table.parameters == 86_567_656
    N, D = 197, 768
    expected = 196 * D * D + 12 * (12 * N * D * D + 2 * N * N * D) + 1000 * D
    assert table.multiply_adds == expected and round(expected / 1e9, 1) == 17.6


def test_rows_add_up_and_stand_in_order():
    table = mv.summary(CNN(widths=(4, 8), depth=1), (2, 1, 8, 6))
    assert [(r.depth, r.name, r.kind) for r in table.rows[:4]] == [
        (0, "CNN", "CNN"),
        (1, "layers", "Sequential"),
        (2, "0", "Conv2d"),
        (2, "1", "BatchNorm2d"),
    ]
    assert table.rows[2].shape == "(2, 4, 8, 6)"
    assert table.rows[2].multiply_adds == 2 * 4 * 8 * 6 * 9
    inner = [r for r in table.rows if r.depth == 2]
    assert sum(r.multiply_adds for r in inner) == table.rows[1].multiply_adds
    assert sum(r.parameters for r in inner) == table.rows[1].parameters


class Odd(nn.Module):
    """A model with products between layers, a layer called twice, one never called, and a frozen one."""

    def __init__(self):
        self.twice = nn.Linear(4, 4).requires_grad_(False)
        self.never = nn.Linear(4, 9)
        self.spread = nn.ConvTranspose2d(1, 2, 3, stride=2)

    def forward(self, x, y):
        x = self.twice(self.twice(x)) @ y  # (3, 5)
        return self.spread(x.reshape(1, 1, 3, 5)), ops.einsum("ij->ji", x)


def test_products_outside_of_layers_calls_and_frozen_weights_count():
    model = Odd()
    x, y = np.ones((3, 4), np.float32), np.ones((4, 5), np.float32)
    table = mv.summary(model, (x, y))
    rows = {r.name: r for r in table.rows}
    assert rows["twice"].multiply_adds == 2 * 3 * 4 * 4
    assert rows["never"].shape is None and rows["never"].multiply_adds is None
    assert rows["spread"].multiply_adds == 3 * 5 * 2 * 9
    assert table.multiply_adds == 2 * 48 + 3 * 4 * 5 + 270
    assert table.uncounted == {"einsum": 1} and "1 calls of einsum not counted" in repr(table)
    assert not model.twice.weight.requires_grad and model.never.weight.requires_grad


def test_a_fixed_kernel_is_not_counted_and_this_is_said():
    class Enlarging(nn.Module):
        def forward(self, x):
            return mv.vision.fcn_upsample(x, 2)

    table = mv.summary(Enlarging(), (1, 3, 4, 4))
    assert table.uncounted == {"conv_transpose2d": 1} and table.rows[0].multiply_adds == 0


def test_the_model_is_left_as_it_was():
    model = CNN(widths=(4,), depth=1)
    model.layers[1].eval()
    before = model.state_dict()
    modes = [m.training for m in model.modules()]
    mv.summary(model, (2, 1, 8, 8))
    assert [m.training for m in model.modules()] == modes
    assert all("forward" not in vars(m) for m in model.modules())
    assert all(p.grad is None for p in model.parameters())
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    with pytest.raises(ValueError, match="conv2d"):
        mv.summary(model, (2, 3, 8, 8))
    assert all("forward" not in vars(m) for m in model.modules())


def test_symbols_and_attention_count_too():
    model = nn.Transformer(8, 2, 1, 1, 16, source_vocabulary=5, target_vocabulary=5)
    M, N, D = 3, 2, 8
    table = mv.summary(model, (np.zeros((1, M), int), np.zeros((1, N), int)))
    encoder = M * (4 * D * D + 2 * D * 16) + 2 * M * M * D
    decoder = N * (4 * D * D + 2 * D * 16 + 2 * D * D) + 2 * M * D * D + 2 * N * N * D + 2 * N * M * D
    assert table.multiply_adds == encoder + decoder + N * D * 5


def test_the_table_is_aligned_and_its_html_well_formed():
    table = mv.summary(ViT(8, 4, 8, 2, 2, num_classes=3, channels=1), (1, 1, 8, 8), depth=1)
    lines = repr(table).splitlines()
    assert len({len(line) for line in lines[:-1]}) == 1 and lines[0].startswith("stage")
    assert [r.name for r in table.rows] == [
        "ViT",
        "patch_embed",
        "dropout",
        "blocks.0",
        "blocks.1",
        "norm",
        "head",
    ]
    root = ElementTree.fromstring(f"<div>{table._repr_html_()}</div>")
    assert len(root.findall(".//tbody/tr")) == len(table.rows)


def test_only_modules_have_a_summary():
    with pytest.raises(TypeError, match="summary: model must be a Module, got ndarray"):
        mv.summary(np.ones(3), np.ones(3))
