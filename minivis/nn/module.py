"""Module and Parameter: how layers find, save and load their parameters, and move between devices.

Not here: registration. Parameters are found by walking an object's attributes in the order in which they were set.
"""

import functools
import inspect
from collections import namedtuple
from collections.abc import Iterator
from types import MappingProxyType

import numpy as np

from minivis import backend, foreign_words
from minivis.autograd import Tensor, mark_changed
from minivis.backend import is_array
from minivis.nn.observer import show

__all__ = ["Module", "ModuleList", "Parameter", "Sequential"]

LoadReport = namedtuple("LoadReport", "missing unexpected")


class Parameter(Tensor):
    """A Tensor that a layer owns and an optimiser updates. By default it requires a gradient.

    Parameters
    ----------
    data : array_like
        The values. Lists and numbers become float32. An array is used without a copy.
    requires_grad : bool, default True
        False freezes it.

    Examples
    --------
    >>> Parameter([1.0, 2.0])
    Parameter(shape=(2,), float32)
    """

    __slots__ = ()

    def __init__(self, data, requires_grad=True):
        super().__init__(data, requires_grad)

    def __repr__(self):
        frozen = "" if self.requires_grad else ", frozen"
        return f"Parameter(shape={tuple(self.shape)}, {self.dtype.name}{frozen})"


def _recording(init):
    """Wrap a constructor so that it records its arguments in ``config``, unless a subclass has done so already."""

    @functools.wraps(init)
    def recorded(self, *args, **kwargs):
        __tracebackhide__ = True  # IPython and pytest leave this frame out of an error's traceback
        if "config" not in vars(self):
            vars(self)["config"] = _arguments(init, self, args, kwargs)  # also where attributes cannot be set
        try:
            init(self, *args, **kwargs)
        except TypeError:
            if (wrong := foreign_words.wrong_argument(type(self).__name__, init, kwargs)) is not None:
                raise wrong from None
            raise

    return recorded


_signature = functools.lru_cache(maxsize=None)(inspect.signature)


def _arguments(init, module, args, kwargs):
    """The arguments of a constructor call by name, defaults included."""
    try:
        bound = _signature(init).bind(module, *args, **kwargs)
    except TypeError:
        return {}  # the constructor itself raises a clearer error
    bound.apply_defaults()
    (_, *named) = bound.arguments.items()
    rest = next((p.name for p in _signature(init).parameters.values() if p.kind is p.VAR_KEYWORD), None)
    if rest:  # **options are arguments like the others
        named = [*(pair for pair in named if pair[0] != rest), *bound.arguments[rest].items()]
    return {name: value for name, value in named if name != "rng" and not isinstance(value, Iterator)}


class Module:
    """A layer or model: it has parameters and maps Tensors (or arrays) to Tensors.

    Subclasses set parameters, layers and buffers as attributes in ``__init__`` and compute in ``forward``. Nothing is
    registered, so ``super().__init__()`` is not needed. The attributes are searched in order, inside lists, tuples and
    dicts too:

    - a `Parameter` is trained, saved and moved;
    - a `Module` is searched in turn;
    - an array is a *buffer* (such as running statistics): it is saved and moved, but not trained. If the attribute's name
      begins with an underscore, the array can be computed again, so it is moved but not saved;
    - the state of a ``numpy.random.Generator`` is part of `rng_state`;
    - the attribute ``config`` is not searched.

    Attributes
    ----------
    config : dict
        The arguments of the constructor by name, defaults included, without the random generator and without iterators.
        It is recorded when a module is made. `minivis.save` writes it, so that `minivis.load` can make the model again.
    training : bool
        Set by `train` and `eval`; dropout and batch norm depend on it. True at first.

    Examples
    --------
    >>> class Double(Module):
    ...     def __init__(self):
    ...         self.factor = Parameter([2.0])
    ...
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> Double()(np.ones(1, np.float32))
    Tensor([2.], shape=(1,), float32, made by mul)
    >>> list(Double().state_dict())
    ['factor']
    """

    training = True
    config = MappingProxyType({})  # for a module without a constructor

    @foreign_words.explained
    def __init__(self):  # for a module without a constructor; others need not call it
        pass

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            cls.__init__ = _recording(cls.__init__)

    def __call__(self, *args, **kwargs):
        return self.forward(*args, **kwargs)

    def __getattr__(self, name):  # called only for what is not there
        if isinstance(getattr(type(self), name, None), property):  # it is there: raise what it has raised
            return object.__getattribute__(self, name)
        raise foreign_words.no_attribute(self, name, foreign_words.MODULE)

    def forward(self, *args, **kwargs):
        raise NotImplementedError(
            f"{type(self).__name__} has no forward: define forward, which computes the result"
        )

    def show(self, **shown):
        """Show arrays by name inside `looking`; outside, this costs almost nothing.

        Parameters
        ----------
        **shown : ndarray, Tensor, or function of () that returns one
            Pass a function if the array is costly to compute, ``self.show(weights=lambda: ...)``: it is called only inside
            `looking`.
        """
        show(self, **shown)

    def parameters(self):
        """Every `Parameter` once, in the order of the attributes."""
        return [p for _, p in self.named_parameters()]

    def named_parameters(self):
        """``(name, Parameter)`` pairs, each once. The name is the attribute path, such as ``blocks.0.norm1.weight``."""
        return [(found.name, found.value) for found in _walk(self) if isinstance(found.value, Parameter)]

    def named_buffers(self):
        """``(name, array)`` pairs of the buffers: the arrays that are saved but not trained."""
        return [
            (found.name, found.value) for found in _walk(self) if is_array(found.value) and not found.derived
        ]

    def modules(self):
        """This module and every module inside it, each once."""
        return [m for _, m in self.named_modules()]

    def named_modules(self):
        """``(name, Module)`` pairs; this module comes first and has the empty name."""
        inside = [(found.name, found.value) for found in _walk(self) if isinstance(found.value, Module)]
        return [("", self), *inside]

    def train(self, mode=True):
        """Switch to training (dropout drops, batch norm uses the batch's statistics). Returns the module."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self):
        """Switch to evaluation. Returns the module."""
        return self.train(False)

    def zero_grad(self):
        """Remove the gradients of all parameters."""
        for p in self.parameters():
            p.grad = None

    def requires_grad_(self, requires_grad=True):
        """Freeze (False) or unfreeze (True) every parameter. Returns the module."""
        for p in self.parameters():
            p.requires_grad = requires_grad
        return self

    def state_dict(self):
        """All parameters and buffers as arrays by name. They are copies, so later training does not change them."""
        return {name: array.copy() for name, array in self._saved()}

    def _saved(self):
        """``(name, array)`` pairs of all parameters and buffers, in the order of the attributes."""
        for found in _walk(self):
            if isinstance(found.value, Parameter):
                yield found.name, found.value.data
            elif is_array(found.value) and not found.derived:
                yield found.name, found.value

    def load_state_dict(self, state, strict=True, assign=False):
        """Copy arrays into the parameters and buffers of the same names.

        Everything is checked first: if one array does not fit, nothing is loaded.

        Parameters
        ----------
        state : dict of str to array
            As `state_dict` returns it, on any device. Another floating dtype is converted.
        strict : bool, default True
            Raise an error for missing and unexpected names. False loads the names that fit; a wrong shape still raises.
        assign : bool, default False
            Use the arrays themselves, with their dtype and device, instead of copying. This is for weights that are too
            large to be in memory twice.

        Returns
        -------
        LoadReport
            ``missing`` and ``unexpected``, lists of names.

        Raises
        ------
        ValueError
            If names are missing or unexpected, if shapes differ, or if parameters cannot be written to because the model
            was made inside `init.skip_init`. The message lists all names concerned. Nothing was changed.
        TypeError
            If a value is not an array, or an array holds another kind of number.
        """
        if not isinstance(state, dict):
            file = "; mv.load(folder, into=model) reads a file" if isinstance(state, str) else ""
            raise TypeError(
                f"load_state_dict: state must be a dict of arrays, got {type(state).__name__}{file}"
            )
        own = dict(self._saved())
        state = {str(name): x.data if isinstance(x, Tensor) else x for name, x in state.items()}
        report = LoadReport([n for n in own if n not in state], [n for n in state if n not in own])
        both = [name for name in own if name in state]
        _check_fit(type(self).__name__, own, state, report if strict else LoadReport([], []))
        if assign:
            self._assign({name: state[name] for name in both})
            return report
        if fixed := [n for n in both if isinstance(own[n], np.ndarray) and not own[n].flags.writeable]:
            raise ValueError(
                f"load_state_dict: {_first_few(fixed)} cannot be written to: {type(self).__name__} was made inside "
                "init.skip_init; pass assign=True"
            )
        moved = {name: backend.move(state[name], backend.device_of(own[name])) for name in both}
        moved = {name: x.astype(own[name].dtype, copy=False) for name, x in moved.items()}
        for name, x in moved.items():  # all checks have passed: nothing can fail half-way
            own[name][...] = x
        for name, p in self.named_parameters():
            if name in state:
                mark_changed(p)
        return report

    def _assign(self, state):
        """Replace the parameters and buffers of the same names by arrays."""
        for name, container, key, value, _ in list(_walk(self)):
            if name in state and isinstance(value, Parameter):
                value.data = state[name]
            elif name in state:
                container[key] = state[name]

    def to(self, target):
        """Move everything to a device, or convert every floating-point array to a dtype. In place; returns the module.

        Parameters
        ----------
        target : {"cpu", "gpu"} or floating dtype
            ``model.to("gpu")``, ``model.to("float64")``.
        """
        change = _conversion(target)
        for _, container, key, value, _ in _walk(self):
            if isinstance(value, Tensor):
                changed = change(value.data)
                if changed is not value.data:
                    value.data = changed
                value.grad = None if value.grad is None else change(value.grad)
            elif is_array(value):
                container[key] = change(value)
        return self

    def rng_state(self):
        """The states of all random generators (such as dropout's) by name. JSON can store them, for an exact resume."""
        return {name: value.bit_generator.state for name, value in _generators(self)}

    def load_rng_state(self, state):
        """Set every random generator to a state that `rng_state` returned.

        Raises
        ------
        ValueError
            If the names differ, or a state does not fit its generator. Nothing was changed.
        """
        own = dict(_generators(self))
        if own.keys() != state.keys():
            raise ValueError(f"load_rng_state: expected generators {sorted(own)}, got {sorted(state)}")
        for name, generator in own.items():
            try:
                type(generator.bit_generator)(0).state = state[name]
            except (ValueError, TypeError, KeyError, IndexError, OverflowError, AttributeError) as error:
                raise ValueError(
                    f"load_rng_state: {name} is not a state of a {type(generator.bit_generator).__name__}: {error!r}"
                ) from error
        for name, generator in own.items():
            generator.bit_generator.state = state[name]

    def extra_repr(self):
        """The text between the parentheses of this module's repr."""
        return ""

    def __repr__(self):
        children = list(_children(_attributes(self)))
        if not children:
            return f"{type(self).__name__}({self.extra_repr()})"
        lines = [f"({n}): {m!r}".replace("\n", "\n  ") for n, m in children]
        return f"{type(self).__name__}({self.extra_repr()}\n  " + "\n  ".join(lines) + "\n)"


class ModuleList(Module):
    """Modules in a list. A plain Python list works as well; this class is for readers who know it from torch.

    Parameters
    ----------
    modules : iterable of Module
        The elements.

    Raises
    ------
    TypeError
        If an element is not a Module.
    """

    def __init__(self, modules=()):
        for i, module in enumerate(modules):
            if not isinstance(module, Module):
                raise TypeError(f"{type(self).__name__}: expected Modules, got {module!r:.60}")
            setattr(self, str(i), module)

    def _items(self):
        return [m for n, m in vars(self).items() if n.isdigit()]

    def append(self, module):
        """Add a module at the end."""
        setattr(self, str(len(self)), module)
        return self

    def __iter__(self):
        return iter(self._items())

    def __len__(self):
        return len(self._items())

    def __getitem__(self, index):
        return self._items()[index]


class Sequential(ModuleList):
    """Layers in sequence: the output of each is the input of the next.

    Parameters
    ----------
    *modules : Module
        The layers, named "0", "1", ... in the state dict.

    Examples
    --------
    >>> from minivis import nn
    >>> model = Sequential(nn.Linear(2, 3), nn.ReLU())
    >>> model(np.ones((4, 2), np.float32)).shape
    (4, 3)
    """

    def __init__(self, *modules):
        super().__init__(modules)

    def forward(self, x):
        for module in self:
            x = module(x)
        return x


def as_tensor(x):
    """The array as a Tensor, because layers without parameters take arrays and return Tensors too."""
    return x if isinstance(x, Tensor) else Tensor(x)


# A Parameter, buffer, generator or Module, and where it was found. derived: its name has an underscore, it is not saved.
Found = namedtuple("Found", "name container key value derived")


def _walk(root):
    """Every Parameter, Module, generator and array inside ``root``, each once, in the order of the attributes."""
    seen = {id(root)}
    stack = _inside(root, "", False)
    while stack:
        found = stack.pop()
        if id(found.value) in seen:
            continue
        seen.add(id(found.value))
        if isinstance(found.value, (Module, dict, list, tuple)):
            stack += _inside(found.value, f"{found.name}.", found.derived)
            if not isinstance(found.value, Module):
                continue
        elif not (isinstance(found.value, (Parameter, np.random.Generator)) or is_array(found.value)):
            continue
        yield found


def _inside(value, prefix, derived):
    """The elements of a Module, dict, list or tuple as a stack: in reverse order."""
    container = vars(value) if isinstance(value, Module) else value
    if isinstance(value, Module):
        pairs = _attributes(value)
    else:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)

    def found(key, element):
        private = str(key).startswith("_") if isinstance(value, Module) else derived
        return Found(f"{prefix}{key}", container, key, element, private)

    return [found(key, element) for key, element in pairs][::-1]


def _attributes(module):
    """The attributes that are searched: all except ``config``, which may hold a second reference to a backbone."""
    return [(name, value) for name, value in vars(module).items() if name != "config"]


def _children(pairs):
    """The names and modules directly inside, in lists and dicts too."""
    for name, value in pairs:
        if isinstance(value, Module):
            yield name, value
        elif isinstance(value, (list, tuple, dict)):
            inner = value.items() if isinstance(value, dict) else enumerate(value)
            yield from _children((f"{name}.{k}", v) for k, v in inner)


def _check_fit(model, own, state, report):
    """Raise for values that are not arrays, names in the report, and arrays of another shape or kind of number."""
    both = [name for name in own if name in state]
    if wrong := [name for name in both if not is_array(state[name])]:
        kind = type(state[wrong[0]])
        torch = "; of torch's tensors: {name: x.numpy() for name, x in state.items()}"
        raise TypeError(
            f"load_state_dict: {wrong[0]} must be an array, got {kind.__name__}"
            + torch * kind.__module__.startswith("torch")
        )
    problems = [
        f"{name} has shape {tuple(state[name].shape)}, expected {tuple(own[name].shape)}"
        for name in both
        if tuple(state[name].shape) != tuple(own[name].shape)
    ]
    problems += [
        f"{what}: {_first_few(names)}" for what, names in zip(report._fields, report, strict=True) if names
    ]
    if problems:
        raise ValueError(f"load_state_dict: {model} loads nothing: {_first_few(problems, '; ')}")
    for name in both:
        if state[name].dtype.kind != own[name].dtype.kind:
            raise TypeError(
                f"load_state_dict: {name} holds {state[name].dtype.name}, expected {own[name].dtype.name}"
            )


def _generators(root):
    return [(f.name, f.value) for f in _walk(root) if isinstance(f.value, np.random.Generator)]


def _first_few(words, join=", ", limit=8):
    rest = f" and {len(words) - limit} more" if len(words) > limit else ""
    return join.join(words[:limit]) + rest


def _conversion(target):
    """The function that `Module.to` applies to every array."""
    try:
        dtype = np.dtype(target)
    except TypeError:
        return lambda x: backend.move(x, target)
    if dtype.kind != "f":
        raise TypeError(f'to: target must be "cpu", "gpu" or a floating dtype, got {target!r}')
    return lambda x: x.astype(dtype, copy=False) if x.dtype.kind == "f" else x
