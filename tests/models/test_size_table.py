"""The table of sizes and costs: every published size has its row, and the counts are the published ones where there are any.

Not here: how multiply-adds are counted (tests/nn/test_layer_table.py).
"""

import pytest

from minivis import models
from minivis.models.size_table import PUBLISHED
from minivis.nn import init

CHEAP = {"resnet18"}  # the others take seconds each; the book's table runs all


def test_every_published_size_has_a_row():
    made_of = {name: getattr(getattr(models, name), "__wrapped__", None) for name in models.__all__}
    sizes = {name for name, model in made_of.items() if isinstance(model, type)}
    sizes -= {"fast_rcnn_vgg16"}  # it reads regions too, not a picture alone
    assert set(PUBLISHED) == sizes | {"LeNet5", "ModernLeNet5"}  # of which there is one size each


@pytest.mark.parametrize("name", [name for name, there in PUBLISHED.items() if there.parameters])
def test_parameters_are_as_published(name):
    with init.skip_init():
        count = sum(p.size for p in getattr(models, name)().parameters())
    told = PUBLISHED[name].parameters
    if "," in told:
        assert count == int(told.replace(",", ""))
    else:
        digits = len(told.partition(".")[2])
        assert abs(count / 1e6 - float(told)) <= 10**-digits  # some sources round, some cut off


@pytest.mark.parametrize("name", sorted(CHEAP))
def test_multiply_adds_are_as_published(name):
    (row,) = models.complexity([name]).rows
    assert f"{row.multiply_adds / 1e9:.3f}" == row.published.multiply_adds
    assert name in repr(models.complexity([name]))


def test_an_unknown_size_is_named():
    with pytest.raises(ValueError, match=r"^complexity: no published size 'resnet51'; there are: LeNet5, "):
        models.complexity(["resnet51"])
