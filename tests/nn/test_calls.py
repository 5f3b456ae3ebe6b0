"""The record of a forward pass: calls in order with their arguments, and each op with the call that made it.

Not here: what is made of the record (test_layer_table.py, tests/viz/test_model_drawing.py).
"""

from dataclasses import dataclass

import numpy as np
import pytest

import minivis as mv
from minivis import nn, ops
from minivis.autograd import no_grad
from minivis.nn.calls import record_calls, tensors


@dataclass
class Answer:
    sum: object
    parts: list


class Sums(nn.Module):
    """A model with ops before, between and after its layers, a layer that returns a constant, and a record as result."""

    def __init__(self):
        self.first = nn.Linear(3, 3)
        self.code = nn.SinePositionCode1d(3 + 1)
        self.second = nn.Linear(4, 2)

    def forward(self, x, *more, factor=1.0):
        x = ops.concatenate([self.first(x * factor), more[0]], axis=-1)
        y = self.second(x + self.code(x))
        return Answer(ops.sum(y), [y, y * 2])


def recorded():
    x, more = np.ones((1, 5, 3), np.float32), np.ones((1, 5, 1), np.float32)
    return record_calls("test", Sums(), (x, more))


def test_calls_stand_in_order_with_their_callers_and_arguments():
    model, first, code, second = recorded()
    assert [call.name for call in (model, first, code, second)] == ["", "first", "code", "second"]
    assert model.caller is None and {call.caller for call in (first, code, second)} == {model}
    assert [name for name, _ in model.given] == ["x", "more"]
    assert model.given[0][1].shape == (1, 5, 3) and model.given[1][1].shape == (1, 5, 1)
    assert [name for name, _ in second.given] == ["x"]


def test_each_op_belongs_to_the_innermost_call_that_made_it():
    model, first, code, second = recorded()
    assert [node.op for node in first.nodes] == [node.op for node in second.nodes] == ["linear"]
    assert code.nodes == []
    assert sorted(node.op for node in model.nodes) == ["add", "concatenate", "mul", "mul", "sum"]


def test_tensors_in_records_are_found():
    out = recorded()[0].out
    assert [t.shape for t in tensors(out)] == [(), (1, 5, 2), (1, 5, 2)]


def test_a_constant_that_a_layer_returns_is_seen_where_it_goes_and_let_go_afterwards():
    model, _, code, second = recorded()
    (constant,) = tensors(code.out)
    (addition,) = [node for node in model.nodes if node.op == "add"]
    assert any(parent is constant for _, parent in addition.parents) and not constant.requires_grad


def test_products_of_a_record_are_counted_too():
    table = mv.summary(mv.load("mask2former-shapes"), (1, 3, 64, 64))
    masks = 5 * 16 * 96 * 16 * 16  # before each of four layers and at the end: queries times pixel embeddings
    inside = sum(row.multiply_adds for row in table.rows if row.depth == 1 and row.multiply_adds)
    backbone = sum(row.multiply_adds for row in table.rows if row.name.startswith(("stem", "stages")))
    assert table.multiply_adds >= inside + masks and backbone > 0


class Failing(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        self.layer(x)
        raise ValueError("on purpose")


def test_a_forward_pass_that_fails_leaves_the_model_as_it_was():
    model = Failing().requires_grad_(False)
    with pytest.raises(ValueError, match="on purpose"):
        record_calls("test", model, (1, 2))
    assert all("forward" not in vars(m) and m.training for m in model.modules())
    assert not any(p.requires_grad for p in model.parameters())


def test_a_forward_of_a_module_of_its_own_is_kept():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    model[1].forward = lambda x: x * 3  # as one tries something out in a notebook
    assert [node.op for node in record_calls("test", model, (1, 2))[2].nodes] == ["mul"]
    np.testing.assert_array_equal(model[1](np.array([-1.0])), [-3.0])
    assert "forward" not in vars(model) and "forward" not in vars(model[0])


@pytest.mark.parametrize("function", [mv.summary, mv.viz.architecture])
def test_inside_no_grad_there_is_nothing_to_tell(function):
    with mv.no_grad(), pytest.raises(RuntimeError, match=f"^{function.__name__}: nothing is recorded"):
        function(nn.Linear(2, 2), (1, 2))


class Unrecorded(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(2, 2)
        self.head = nn.Linear(2, 2)

    def forward(self, x):
        with no_grad():
            x = self.layer(x)
        return self.head(x)


def test_what_is_computed_under_no_grad_is_a_call_without_ops():
    _, layer, head = record_calls("test", Unrecorded(), (1, 2))
    assert layer.nodes == [] and [node.op for node in head.nodes] == ["linear"]
