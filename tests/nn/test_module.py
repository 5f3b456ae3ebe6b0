"""Module: how parameters are found, saved, loaded, moved; starting values and random generators.

Not here: what layers compute (test_layers.py).
"""

import copy
import inspect
import json
import tracemalloc

import numpy as np
import pytest

import minivis as mv
from minivis import backend, nn
from minivis.models import CNN, ViT


class Nest(nn.Module):
    """Parameters in attributes, lists, tuples and dicts, buffers, and other things, which are ignored."""

    def __init__(self):
        self.first = nn.Parameter([1.0, 2.0])
        self.listed = [nn.Linear(2, 3), "a word", nn.Linear(3, 1)]
        self.named = {"a": nn.Parameter([3.0]), "b": (nn.LayerNorm(2),)}
        self.statistics = np.zeros(4, np.float32)
        self._computed = np.ones(3, np.float32)
        self.again = self.first
        self.size = 5
        self.constant = mv.Tensor([1.0])


def small_vit(**options):
    return ViT(8, 4, 8, 2, 2, num_classes=3, channels=1, **options)


def test_parameters_are_found_in_the_order_of_the_attributes():
    names = [name for name, _ in Nest().named_parameters()]
    assert names == [
        "first",
        "listed.0.weight",
        "listed.0.bias",
        "listed.2.weight",
        "listed.2.bias",
        "named.a",
        "named.b.0.weight",
        "named.b.0.bias",
    ]


def test_a_shared_parameter_counts_once():
    model = Nest()
    assert sum(p is model.first for p in model.parameters()) == 1


def test_modules_that_know_each_other_do_not_go_in_circles():
    parent = nn.Module()
    child = nn.Linear(2, 2)
    parent.child, child.parent = child, parent
    assert [name for name, _ in parent.named_parameters()] == ["child.weight", "child.bias"]


def test_state_dict_holds_parameters_and_buffers_but_not_what_can_be_computed():
    names = list(Nest().state_dict())
    assert "statistics" in names and "first" in names
    assert not any("_computed" in name or "constant" in name or "again" in name for name in names)
    assert list(nn.BatchNorm2d(2).state_dict()) == [
        "weight",
        "bias",
        "running_mean",
        "running_var",
        "num_batches_tracked",
    ]


def test_only_an_array_of_its_own_is_left_out_not_a_module_with_an_underscore():
    model = nn.Module()
    model._backbone = nn.BatchNorm2d(1)
    model._cache = {"a": np.zeros(1)}
    assert list(model.state_dict()) == [f"_backbone.{name}" for name in nn.BatchNorm2d(1).state_dict()]


def test_state_dict_is_a_copy():
    model = Nest()
    saved = model.state_dict()
    model.first.data += 1
    model.statistics += 1
    assert saved["first"].tolist() == [1, 2] and saved["statistics"].sum() == 0


def test_load_state_dict_restores_every_value_into_the_same_arrays():
    model, other = CNN(widths=(2, 3), rng=0), CNN(widths=(2, 3), rng=1)
    other(np.random.default_rng(0).standard_normal((4, 1, 8, 8)).astype(np.float32))  # moves the statistics
    arrays = [id(p.data) for p in model.parameters()]
    assert model.load_state_dict(other.state_dict()) == ([], [])
    assert [id(p.data) for p in model.parameters()] == arrays
    for name, value in other.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name], value, err_msg=name)


def test_load_state_dict_names_everything_that_is_wrong_and_loads_nothing():
    model = small_vit()
    before = model.state_dict()
    state = {name: value + 1 for name, value in before.items()}
    state["extra.weight"] = np.zeros(2)
    del state["norm.bias"]
    state["head.weight"] = np.zeros((4, 8), np.float32)
    with pytest.raises(ValueError, match="load_state_dict: ViT loads nothing") as caught:
        model.load_state_dict(state)
    for part in (
        "missing: norm.bias",
        "unexpected: extra.weight",
        "head.weight has shape (4, 8), expected (3, 8)",
    ):
        assert part in str(caught.value)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_load_state_dict_not_strict_reports_what_it_left_and_still_refuses_shapes():
    model = nn.Linear(2, 3)
    report = model.load_state_dict({"weight": np.ones((3, 2)), "other": np.ones(1)}, strict=False)
    assert report.missing == ["bias"] and report.unexpected == ["other"]
    assert model.weight.dtype == np.float32 and (model.weight.data == 1).all()
    with pytest.raises(ValueError, match="weight has shape"):
        model.load_state_dict({"weight": np.ones((2, 3))}, strict=False)


def test_load_state_dict_refuses_another_kind_of_number():
    with pytest.raises(TypeError, match="bias holds int64, expected float32"):
        nn.Linear(1, 2).load_state_dict({"weight": np.zeros((2, 1)), "bias": np.zeros(2, int)})


@pytest.mark.parametrize(
    "state, message",
    [
        (None, "state must be a dict of arrays, got NoneType"),
        ("model.safetensors", "state must be a dict of arrays, got str"),
        ({"weight": np.ones((2, 1)), "bias": [0.0, 0.0]}, "bias must be an array, got list"),
    ],
)
def test_load_state_dict_refuses_what_holds_no_arrays_and_changes_nothing(state, message):
    layer = nn.Linear(1, 2)
    before = layer.state_dict()
    with pytest.raises(TypeError, match=f"load_state_dict: {message}"):
        layer.load_state_dict(state)
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_what_is_not_random_is_as_ever_inside_skip_init():
    with nn.init.skip_init():
        layer = nn.BatchNorm2d(3)
        layer(np.ones((2, 3, 4, 4), np.float32))  # in training it writes its running statistics
    np.testing.assert_allclose(layer.running_mean, 0.1)
    np.testing.assert_array_equal(layer.weight.data, 1)


def test_load_state_dict_names_arrays_that_cannot_be_written_to():
    with nn.init.skip_init():
        layer = nn.Linear(2, 3)
    state = nn.Linear(2, 3, rng=1).state_dict()
    with pytest.raises(
        ValueError, match="weight, bias cannot be written to: Linear was made inside init.skip_init"
    ):
        layer.load_state_dict(state)
    layer.load_state_dict(state, assign=True)
    np.testing.assert_array_equal(layer.weight.data, state["weight"])


def test_names_that_are_no_texts_are_told_too():
    with pytest.raises(ValueError, match="missing: weight, bias; unexpected: 3"):
        nn.Linear(1, 1).load_state_dict({3: np.ones(1)})


def test_a_list_in_place_of_layers_is_refused():
    with pytest.raises(TypeError, match=r"Sequential: expected Modules, got \[Linear\(2, 2\)\]"):
        nn.Sequential([nn.Linear(2, 2)])


def test_train_and_eval_reach_every_module():
    model = Nest()
    assert not any(m.training for m in model.eval().modules())
    assert all(m.training for m in model.train().modules())


def test_to_moves_parameters_gradients_and_buffers_and_back(device):
    model = CNN(widths=(2,))
    model(np.ones((2, 1, 4, 4), np.float32)).sum().backward()
    ids = [id(p) for p in model.parameters()]
    assert model.to(device) is model
    assert [id(p) for p in model.parameters()] == ids
    for p in model.parameters():
        assert backend.device_of(p.data) == backend.device_of(p.grad) == device
    assert all(backend.device_of(x) == device for _, x in model.named_buffers())
    assert all(type(p.data) is np.ndarray for p in model.to("cpu").parameters())


def test_to_converts_floating_arrays_only():
    model = CNN(widths=(2,)).to("float64")
    assert all(p.dtype == np.float64 for p in model.parameters())
    assert {x.dtype.name for _, x in model.named_buffers()} == {"float64", "int64"}
    with pytest.raises(TypeError, match="floating dtype"):
        model.to("int32")
    with pytest.raises(ValueError, match="unknown device 'mars'"):
        model.to("mars")


def test_freezing_and_forgetting_gradients():
    model = nn.Linear(2, 1).requires_grad_(False)
    assert not model(np.ones((1, 2), np.float32)).requires_grad
    model.requires_grad_()
    model(np.ones((1, 2), np.float32)).sum().backward()
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_a_deep_copy_shares_nothing():
    model = small_vit(dropout=0.5)
    images = np.ones((2, 1, 8, 8), np.float32)
    teacher = copy.deepcopy(model)
    np.testing.assert_array_equal(teacher(images).numpy(), model(images).numpy())  # the generators too
    model.head.weight.data += 1
    assert np.abs(teacher.head.weight.data - model.head.weight.data).min() > 0.5
    assert not {id(p) for p in teacher.parameters()} & {id(p) for p in model.parameters()}


def test_same_seed_same_weights_and_none_is_seed_0():
    a = small_vit(rng=np.random.default_rng(0))
    b = small_vit(rng=None)
    c = small_vit(rng=1)
    for name, value in a.state_dict().items():
        np.testing.assert_array_equal(value, b.state_dict()[name])
    assert not np.array_equal(a.head.weight.data, c.head.weight.data)
    assert not np.array_equal(a.blocks[0].attn.query.weight.data, a.blocks[1].attn.query.weight.data)
    with pytest.raises(TypeError, match="rng: expected a numpy.random.Generator"):
        small_vit(rng="0")


def test_dropout_does_not_change_which_weights_are_drawn():
    a = small_vit()
    b = small_vit(dropout=0.5, drop_path=0.2, attention_dropout=0.1)
    np.testing.assert_array_equal(a.head.weight.data, b.head.weight.data)


def test_generators_can_be_saved_as_json_and_put_back():
    model = small_vit(dropout=0.3, drop_path=0.2, attention_dropout=0.1)
    images = np.ones((4, 1, 8, 8), np.float32)
    model(images)
    state = json.loads(json.dumps(model.rng_state()))
    first = model(images).numpy()
    assert not np.array_equal(first, model(images).numpy())
    model.load_rng_state(state)
    np.testing.assert_array_equal(model(images).numpy(), first)
    with pytest.raises(ValueError, match="load_rng_state: expected generators"):
        nn.Dropout().load_rng_state({})
    before = model.rng_state()
    for name, wrong in (
        (list(state)[-1], 5),
        (list(state)[-1], {"bit_generator": "MT19937"}),
        (list(state)[0], None),
    ):
        other = nn.init.generator(9).bit_generator.state
        with pytest.raises(ValueError, match=f"load_rng_state: {name} is not a state of a PCG64"):
            model.load_rng_state({**dict.fromkeys(state, other), name: wrong})
        assert model.rng_state() == before


def test_every_dropout_of_a_model_draws_its_own_noise():
    states = [s["state"]["state"] for s in small_vit(dropout=0.3).rng_state().values()]
    assert len(states) == len(set(states)) > 5


def test_sequential_and_module_list():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    assert list(model.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert len(model) == 3 and isinstance(model[1], nn.ReLU) and len(list(model)) == 3
    layers = nn.ModuleList([nn.Linear(1, 1)]).append(nn.Linear(1, 2))
    assert [p.shape for p in layers.parameters()] == [(1, 1), (1,), (2, 1), (2,)]
    assert nn.Sequential()(np.ones(2, np.float32)).shape == (2,)


def test_repr_shows_what_is_inside():
    text = repr(nn.Sequential(nn.Linear(2, 3, bias=False), nn.Dropout(0.1)))
    assert text == "Sequential(\n  (0): Linear(2, 3, bias=False)\n  (1): Dropout(p=0.1)\n)"
    assert "(blocks.1): Block(" in repr(small_vit())
    assert repr(nn.Parameter([1.0], requires_grad=False)) == "Parameter(shape=(1,), float32, frozen)"


def test_a_module_without_forward_says_so():
    with pytest.raises(NotImplementedError, match="Nest has no forward"):
        Nest()(1)


@pytest.mark.parametrize(
    "draw, std",
    [
        (lambda shape, rng: nn.init.xavier_uniform(shape, rng), (2 / (30 + 50)) ** 0.5),
        (lambda shape, rng: nn.init.kaiming_uniform(shape, rng), (1 / 50) ** 0.5 / 3**0.5),
        (lambda shape, rng: nn.init.kaiming_normal(shape, rng), (2 / 50) ** 0.5),
        (lambda shape, rng: nn.init.trunc_normal(shape, 0.1, rng), 0.1 * 0.8796),
    ],
)
def test_starting_values_have_the_spread_they_promise(draw, std):
    values = np.stack([draw((30, 50), np.random.default_rng(i)) for i in range(30)])
    assert values.dtype == np.float32
    assert abs(values.mean()) < 0.01 * std * 3 and abs(values.std() / std - 1) < 0.02


def test_the_fans_of_a_convolution_count_its_kernel():
    bound = np.abs(nn.init.kaiming_uniform((64, 16, 3, 3), np.random.default_rng(0))).max()
    assert 0.99 < bound * (16 * 9) ** 0.5 <= 1
    assert np.abs(nn.init.trunc_normal((10_000,), 0.5, np.random.default_rng(0))).max() <= 1


def test_skip_init_leaves_random_values_out_and_ends_with_its_block():
    with nn.init.skip_init():
        assert not nn.Linear(3, 3).weight.data.any()
    assert nn.Linear(3, 3).weight.data.all()


def test_a_model_beyond_its_file_is_refused_before_memory_is_taken():
    """A little over four times the given numbers is allowed; the first array beyond is refused, without allocating it."""
    tracemalloc.start()
    with nn.init.at_most(arrays=2, numbers=6):
        nn.Linear(2, 3)
        for make in (
            lambda: nn.Linear(10**6, 10**6),
            lambda: nn.Linear(10**7, 1),
            lambda: nn.LayerNorm(2**21),
            lambda: nn.Conv2d(2**15, 2**15, 2**15),
            lambda: ViT(8, 4, 8, 10**9, 2, num_classes=3),
            lambda: ViT(8, 4, 8, 10**4, 2, num_classes=3),
            lambda: [nn.LayerNorm(2) for _ in range(10**9)],
        ):
            with pytest.raises(
                ValueError, match="far more than the 2 arrays with 6 numbers|the file is too small"
            ):
                make()
    assert nn.Linear(2000, 2000).weight.shape == (2000, 2000)  # after the block there is no limit
    assert tracemalloc.get_traced_memory()[1] < 80e6
    tracemalloc.stop()


def test_assign_takes_the_arrays_themselves():
    layer = nn.Linear(2, 3)
    norm = nn.BatchNorm2d(4)
    weight = np.ones((3, 2))
    mean = np.ones(4, np.float32)
    layer.load_state_dict({"weight": weight, "bias": np.ones(3)}, assign=True)
    norm.load_state_dict({"running_mean": mean}, strict=False, assign=True)
    assert layer.weight.data is weight and norm.running_mean is mean
    assert layer(np.ones((1, 2))).dtype == np.float64
    with pytest.raises(ValueError, match="bias has shape"):
        layer.load_state_dict({"weight": weight, "bias": np.ones(4)}, assign=True)


def test_the_config_of_a_module_is_not_searched():
    class Model(nn.Module):
        def __init__(self, backbone):
            self.config = {"backbone": backbone}
            self.backbone = backbone

    model = Model(nn.Linear(2, 3))
    assert list(model.state_dict()) == ["backbone.weight", "backbone.bias"]
    assert "config" not in repr(model)


def test_the_arguments_a_module_was_made_with_are_recorded():
    class Base(nn.Module):
        def __init__(self, width, *more, depth=2, rng=None, **options):
            self.there_already = dict(self.config)
            self.weight = nn.Parameter(np.zeros(width, np.float32))

    class Below(Base):
        def __init__(self, sizes=(1, 2), rng=None):
            super().__init__(sum(sizes), rng=rng)

    class Inherits(Base):
        pass

    assert Base(3, 4, 5, rng=1, heads=7).config == {
        "width": 3,
        "more": (4, 5),
        "depth": 2,
        "heads": 7,  # an option is an argument like the others
    }
    assert Inherits(width=3).config == {"width": 3, "more": (), "depth": 2}
    assert nn.Linear(3, 2, False).config == {
        "in_features": 3, "out_features": 2, "bias": False, "weight_init": None
    }  # fmt: skip
    assert nn.ReLU().config == {} and Base(3).there_already == Base(3).config
    # the arguments of this class, not of its base class
    assert Below().config == Below().there_already == {"sizes": (1, 2)}


def test_a_class_may_have_something_else_by_the_name_of_config_or_let_nothing_be_set():
    class Told(nn.Module):
        def __init__(self, width):
            pass

        @property
        def config(self):
            return "by the class"

    class Closed(nn.Module):
        def __init__(self, width):
            pass

        def __setattr__(self, name, value):
            raise AttributeError(name)

    assert Told(3).config == "by the class"
    assert Closed(3).config == {"width": 3}


def test_a_recorded_argument_is_no_part_of_the_module():
    layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(2))  # an iterator is used up, so it is not recorded
    assert layers.config == {}
    inner = nn.Linear(3, 2)
    model = nn.Sequential(inner, nn.ReLU())
    assert model.config["modules"][0] is inner and [n for n, _ in model.named_modules()] == ["", "0", "1"]
    twin = copy.deepcopy(model)
    assert twin.config["modules"][0] is twin[0] is not inner
    with pytest.raises(
        TypeError, match=r"__init__\(\) missing 1 required positional argument: 'out_features'"
    ):
        nn.Linear(3)
    assert inspect.signature(nn.Linear).parameters["bias"].default is True
