"""looking: what layers show is stored under their names; without it nothing is computed or kept.

Not here: what single layers show (test_attention.py, models/), blocks left in another order (test_switches.py).
"""

import gc
import threading
import weakref

import numpy as np
import pytest

from minivis import Tensor, nn, no_grad
from minivis.models import ViT

X = np.random.default_rng(0).standard_normal((2, 3, 8)).astype(np.float32)


class Twice(nn.Module):
    """One attention with two names, called twice, and another one."""

    def __init__(self):
        self.first = nn.MultiHeadAttention(8, 2, rng=1)
        self.again = self.first
        self.other = nn.MultiHeadAttention(8, 4, rng=2)

    def forward(self, x):
        return self.other(self.again(self.first(x)))


def test_keys_are_the_names_of_modules_and_calls_are_numbered():
    model = Twice()
    with nn.looking(model) as seen:
        model(X)
        assert list(seen) == ["first.weights", "first#1.weights", "other.weights"]
        model(X)
    assert list(seen)[3:] == ["first#2.weights", "first#3.weights", "other#1.weights"]
    names = dict(model.named_modules())
    assert all(key.rpartition(".")[0].partition("#")[0] in names for key in seen)
    np.testing.assert_array_equal(seen["first.weights"], seen["first#2.weights"])
    assert not np.array_equal(seen["first.weights"], seen["first#1.weights"])
    with nn.looking(model.first) as alone:
        model(X)
    assert list(alone) == ["weights", "#1.weights"]


def test_each_looker_sees_its_own_model():
    a = Twice()
    b = Twice()
    with nn.looking(a) as of_a, nn.looking(b) as of_b:
        a(X)
        with nn.looking(a.other) as of_other, nn.looking(a) as again:
            a(X)
    assert len(of_a) == 6 and of_b == {} and list(of_other) == ["weights"]
    assert list(again) == ["first.weights", "first#1.weights", "other.weights"]
    assert again["other.weights"] is of_other["weights"] is of_a["other#1.weights"]


def test_after_the_block_nothing_is_added():
    model = Twice()
    with nn.looking(model) as seen:
        pass
    model(X)
    assert seen == {}
    with pytest.raises(ZeroDivisionError), nn.looking(model) as seen:
        model(X)
        1 / 0  # noqa: B018
    model(X)
    assert len(seen) == 3


@pytest.mark.parametrize("training", [True, False])
def test_looking_changes_nothing(training):
    found = []
    for look in (True, False):
        model = ViT(8, 4, 8, 2, 2, num_classes=3, channels=1, dropout=0.3, attention_dropout=0.3, rng=4)
        model.train(training)
        images = np.ones((2, 1, 8, 8), np.float32)
        if look:
            with nn.looking(model) as seen:
                y = model(images)
            assert list(seen) == ["grid", "blocks.0.attn.weights", "blocks.1.attn.weights"]
        else:
            y = model(images)
        y.sum().backward()
        found.append([y.numpy(), *(p.grad for p in model.parameters())])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)


def test_plain_arrays_and_no_graph_are_kept():
    model = Twice()
    x = Tensor(X, requires_grad=True)
    with nn.looking(model) as seen:
        gc.disable()
        try:
            doubled = x * 2.0  # in the graph of the model
            watched = weakref.ref(doubled.data)
            y = model(doubled)
            del doubled, y
            assert watched() is None
        finally:
            gc.enable()
    assert {type(a) for a in seen.values()} == {np.ndarray}
    with no_grad(), nn.looking(model) as unrecorded:
        model(x * 2.0)
    for name, a in seen.items():
        np.testing.assert_allclose(unrecorded[name], a, rtol=1e-6)


def test_another_thread_is_not_seen():
    model = Twice()
    found = []

    def run():
        with nn.looking(model) as seen:
            model(X)
        found.append(list(seen))

    with nn.looking(model) as here:
        for target in (lambda: model(X), run):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    assert here == {} and len(found[0]) == 3


def test_what_is_costly_is_computed_only_for_those_who_look():
    class Layer(nn.Module):
        asked = 0

        def forward(self, x):
            self.show(double=self.double, half=Tensor(x / 2))
            return x

        def double(self):
            self.asked += 1
            return 2 * X

    layer = Layer()
    layer(X)
    with nn.looking(Layer()):
        layer(X)
    assert layer.asked == 0
    with nn.looking(layer) as seen, nn.looking(layer):
        layer(X)
    assert layer.asked == 1 and list(seen) == ["double", "half"] and type(seen["half"]) is np.ndarray


def test_only_a_module_can_be_looked_at():
    with pytest.raises(TypeError, match="looking: model must be a Module, got list"), nn.looking([]):
        pass
