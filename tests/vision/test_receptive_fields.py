"""field_of_view on known networks, read from the models themselves; and against what gradients reach.

Not here: its laws (tests/laws).
"""

import numpy as np
import pytest

import minivis as mv
from minivis import models, nn
from minivis.analysis import receptive_field
from minivis.vision import field_of_view

VGG16 = [layer for depth in (2, 2, 3, 3, 3) for layer in [(3, 1, 1)] * depth + [(2, 2, 1)]]


def test_vgg16_to_its_last_pooling_and_no_layers_at_all():
    assert field_of_view(VGG16) == (212, 32)
    assert field_of_view([]) == (1, 1)


@pytest.mark.parametrize(
    "make, shape, expected",
    [
        (models.LeNet5, (1, 1, 32, 32), (32, 4)),
        (models.ModernLeNet5, (1, 1, 32, 32), (16, 4)),
        (lambda: models.AlexNet(widths=(2,) * 5, hidden=2, num_classes=2), (1, 3, 67, 67), (195, 32)),
        (lambda: models.VGG(widths=(2,) * 5, hidden=2, num_classes=2), (1, 3, 32, 32), (212, 32)),
        (lambda: models.ResNet((2, 2, 2, 2), "basic", (2,) * 4, 2), (1, 3, 32, 32), (435, 32)),
        (
            lambda: nn.Sequential(nn.Conv2d(1, 1, (3, 1), dilation=4), nn.AvgPool2d(2)),
            (1, 1, 16, 16),
            (10, 2),
        ),
        (lambda: nn.Linear(3, 4), (2, 3), (1, 1)),
    ],
)
def test_the_layers_are_read_from_a_model(make, shape, expected):
    assert field_of_view(mv.summary(make(), shape).layers) == expected


def test_it_is_the_field_that_gradients_reach():
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, 2, rng=1),
        nn.Conv2d(2, 2, 3, dilation=2, rng=2),
        nn.AvgPool2d(2),
        nn.Conv2d(2, 1, 2, rng=3),
    )
    size, stride = field_of_view(mv.summary(model, (1, 1, 40, 40)).layers)
    images = np.random.default_rng(0).standard_normal((1, 1, 40, 40))
    rows = [np.flatnonzero(receptive_field(model.to("float64"), images, (1, j)).any(axis=0)) for j in (1, 2)]
    assert rows[0][-1] - rows[0][0] + 1 == size
    assert rows[1][0] - rows[0][0] == stride


@pytest.mark.parametrize("layer", [(3, 1), (3, 0, 1), (3.0, 1, 1), (0, 1, 1), "abc"])
def test_odd_layers_are_refused(layer):
    with pytest.raises(
        ValueError, match=r"field_of_view: layers must be \(kernel, stride, dilation\).*layer 1"
    ):
        field_of_view([(3, 1, 1), layer])


@pytest.mark.parametrize("layers", [[3], [None], ["abc"], [((3, 3), 1, 1)]])
def test_a_layer_that_is_not_three_numbers_is_refused_by_name(layers):
    with pytest.raises(ValueError, match=r"field_of_view: layers must be \(kernel, stride, dilation\)"):
        field_of_view(layers)
