"""Module and Parameter: how layers find their parameters, save them, load them and move between devices.

Not here: registration. Everything is found by walking the attributes of an object in the order they were set.
"""

import functools
import inspect
from collections import namedtuple
from collections.abc import Iterator
from types import MappingProxyType

import numpy as np

from minivis import backend
from minivis.autograd import Tensor, mark_changed
from minivis.backend import is_array
from minivis.nn.observer import show

__all__ = ["Module", "ModuleList", "Parameter", "Sequential"]

LoadReport = namedtuple("LoadReport", "missing unexpected")


class Parameter(Tensor):
    """A Tensor that a layer owns and an optimiser changes: it requires a gradient unless told otherwise.

    Parameters
    ----------
    data : array_like
        Its values. Lists and numbers become float32; an array is used as it is, not copied.
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
    """A constructor that keeps its arguments in ``config``, unless that of a class further down has done so."""

    @functools.wraps(init)
    def recorded(self, *args, **kwargs):
        __tracebackhide__ = True  # IPython and pytest leave this frame out of an error's traceback
        if "config" not in vars(self):
            vars(self)["config"] = _arguments(init, self, args, kwargs)  # also where attributes cannot be set
        init(self, *args, **kwargs)

    return recorded


_signature = functools.lru_cache(maxsize=None)(inspect.signature)


def _arguments(init, module, args, kwargs):
    """What a constructor is called with, by name, defaults included."""
    try:
        bound = _signature(init).bind(module, *args, **kwargs)
    except TypeError:
        return {}  # the constructor says it better
    bound.apply_defaults()
    (_, *named) = bound.arguments.items()
    return {name: value for name, value in named if name != "rng" and not isinstance(value, Iterator)}


class Module:
    """A layer or model: something with parameters that maps Tensors (or arrays) to Tensors.

    Subclasses set parameters, layers and buffers as attributes in ``__init__`` (nothing is registered, so there is no
    ``super().__init__()`` to forget) and compute in ``forward``. What is found, in the order of the attributes, through
    lists, tuples and dicts too:

    - a `Parameter` is trained, saved and moved;
    - a `Module` is searched in turn;
    - an array is a *buffer* (running statistics): saved and moved, not trained. An array whose name begins with an
      underscore can be computed again: moved, not saved;
    - a ``numpy.random.Generator`` belongs to `rng_state`;
    - the attribute ``config`` is not searched.

    Attributes
    ----------
    config : dict
        The arguments that the module was made with, defaults included, by name; not the random generator, and no iterator. It
        is recorded whenever a module is made, and `minivis.save` writes it, so that `minivis.load` can make the model again.
    training : bool
        Set by `train` and `eval`; dropout and batch norm ask it. True at first.

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
    config = MappingProxyType({})  # of a module without a constructor

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            cls.__init__ = _recording(cls.__init__)

    def __call__(self, *args, **kwargs):
        return self.forward(*args, **kwargs)

    def forward(self, *args, **kwargs):
        raise NotImplementedError(f"{type(self).__name__} has no forward: say there what it computes")

    def show(self, **shown):
        """Show arrays by name to whoever looks at this module, see `looking`; costs nothing when nobody does.

        Parameters
        ----------
        **shown : ndarray, Tensor, or function of () that returns one
            What is costly is given as a function, which is called only if somebody looks: ``self.show(weights=lambda: ...)``.
        """
        show(self, **shown)

    def parameters(self):
        """Every `Parameter`, each once, in the order of the attributes."""
        return [p for _, p in self.named_parameters()]

    def named_parameters(self):
        """``(name, Parameter)`` pairs, each once; the name is the path of attributes, such as ``blocks.0.norm1.weight``."""
        return [(found.name, found.value) for found in _walk(self) if isinstance(found.value, Parameter)]

    def named_buffers(self):
        """``(name, array)`` pairs of what is saved but not trained."""
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
        """Forget the gradients of all parameters."""
        for p in self.parameters():
            p.grad = None

    def requires_grad_(self, requires_grad=True):
        """Freeze (False) or thaw (True) every parameter. Returns the module."""
        for p in self.parameters():
            p.requires_grad = requires_grad
        return self

    def state_dict(self):
        """All parameters and buffers as arrays by name: a copy, which later training does not change."""
        return {name: array.copy() for name, array in self._saved()}

    def _saved(self):
        """``(name, array)`` pairs of all parameters and buffers, in the order of the attributes."""
        for found in _walk(self):
            if isinstance(found.value, Parameter):
                yield found.name, found.value.data
            elif is_array(found.value) and not found.derived:
                yield found.name, found.value

    def load_state_dict(self, state, strict=True, assign=False):
        """Copy arrays into the parameters and buffers of the same names. All is checked first: it loads whole or not at all.

        Parameters
        ----------
        state : dict of str to array
            As `state_dict` returns it, on any device. Another floating dtype is converted.
        strict : bool, default True
            Refuse missing and unexpected names. False loads what is there; a wrong shape is refused all the same.
        assign : bool, default False
            Take the arrays themselves, with their dtype and device, instead of copying: for weights too large to be in
            memory twice.

        Returns
        -------
        LoadReport
            ``missing`` and ``unexpected``, lists of names.

        Raises
        ------
        ValueError
            With every name that is missing, unexpected or of the wrong shape, or that cannot be written to because the
            model was made inside `init.skip_init`. Nothing was changed.
        TypeError
            If something is no array, or an array holds another kind of number.
        """
        if not isinstance(state, dict):
            raise TypeError(f"load_state_dict: state must be a dict of arrays, got {type(state).__name__}")
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
                f"load_state_dict: {_some(fixed)} cannot be written to: {type(self).__name__} was made inside "
                "init.skip_init; pass assign=True"
            )
        moved = {name: backend.move(state[name], backend.device_of(own[name])) for name in both}
        moved = {name: x.astype(own[name].dtype, copy=False) for name, x in moved.items()}
        for name, x in moved.items():  # nothing is left that could fail half-way
            own[name][...] = x
        for name, p in self.named_parameters():
            if name in state:
                mark_changed(p)
        return report

    def _assign(self, state):
        """Put arrays in the place of the parameters and buffers of the same names."""
        for name, container, key, value, _ in list(_walk(self)):
            if name in state and isinstance(value, Parameter):
                value.data = state[name]
            elif name in state:
                container[key] = state[name]

    def to(self, target):
        """Move everything to a device, or convert every floating array to a dtype. In place; returns the module.

        Parameters
        ----------
        target : {"cpu", "gpu"} or floating dtype
            ``model.to("gpu")``, ``model.to("float64")``.
        """
        change = _change(target)
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
        """The state of every random generator inside (dropout's), by name: json-able, for an exact resume."""
        return {name: value.bit_generator.state for name, value in _generators(self)}

    def load_rng_state(self, state):
        """Put every random generator back to where `rng_state` saw it: all of them, or, where one cannot be, none.

        Raises
        ------
        ValueError
            If the names are not the same, or a state is of another kind of generator or none. Nothing was changed.
        """
        own = dict(_generators(self))
        if own.keys() != state.keys():
            raise ValueError(f"load_rng_state: expected generators {sorted(own)}, got {sorted(state)}")
        for name, generator in own.items():
            try:
                type(generator.bit_generator)(0).state = state[name]
            except (ValueError, TypeError, KeyError, IndexError, OverflowError, AttributeError) as error:
                raise ValueError(
                    f"load_rng_state: {name} is no state of a {type(generator.bit_generator).__name__}: {error!r}"
                ) from error
        for name, generator in own.items():
            generator.bit_generator.state = state[name]

    def extra_repr(self):
        """What stands between the parentheses of this module's repr."""
        return ""

    def __repr__(self):
        children = list(_children(_attributes(self)))
        if not children:
            return f"{type(self).__name__}({self.extra_repr()})"
        lines = [f"({n}): {m!r}".replace("\n", "\n  ") for n, m in children]
        return f"{type(self).__name__}({self.extra_repr()}\n  " + "\n  ".join(lines) + "\n)"


class ModuleList(Module):
    """Modules in a list. A plain Python list is found just as well; this one exists for those who look for it.

    Parameters
    ----------
    modules : iterable of Module
        What it holds.

    Raises
    ------
    TypeError
        If something in it is no Module.
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
    """Layers one after the other: the output of each is the input of the next.

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
    """Layers without parameters take arrays and return Tensors too."""
    return x if isinstance(x, Tensor) else Tensor(x)


# A Parameter, buffer, generator or Module: where it was found, and whether an underscore says it can be computed again.
Found = namedtuple("Found", "name container key value derived")


def _walk(root):
    """Everything below ``root`` that counts, each object once, in the order of the attributes."""
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
    """What a Module, dict, list or tuple holds, the first last: a stack."""
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
    """The attributes that are searched: not ``config``, which tells how the module was made and may hold a backbone."""
    return [(name, value) for name, value in vars(module).items() if name != "config"]


def _children(pairs):
    """The modules directly inside, through lists and dicts, with their names."""
    for name, value in pairs:
        if isinstance(value, Module):
            yield name, value
        elif isinstance(value, (list, tuple, dict)):
            inner = value.items() if isinstance(value, dict) else enumerate(value)
            yield from _children((f"{name}.{k}", v) for k, v in inner)


def _check_fit(model, own, state, report):
    """Refuse to load: what is no array, names in the report, and arrays of another shape or kind of number."""
    both = [name for name in own if name in state]
    if wrong := [name for name in both if not is_array(state[name])]:
        raise TypeError(f"load_state_dict: {wrong[0]} must be an array, got {type(state[wrong[0]]).__name__}")
    problems = [
        f"{name} has shape {tuple(state[name].shape)}, expected {tuple(own[name].shape)}"
        for name in both
        if tuple(state[name].shape) != tuple(own[name].shape)
    ]
    problems += [
        f"{what}: {_some(names)}" for what, names in zip(report._fields, report, strict=True) if names
    ]
    if problems:
        raise ValueError(f"load_state_dict: {model} loads nothing: {_some(problems, '; ')}")
    for name in both:
        if state[name].dtype.kind != own[name].dtype.kind:
            raise TypeError(
                f"load_state_dict: {name} holds {state[name].dtype.name}, expected {own[name].dtype.name}"
            )


def _generators(root):
    return [(f.name, f.value) for f in _walk(root) if isinstance(f.value, np.random.Generator)]


def _some(words, join=", ", limit=8):
    rest = f" and {len(words) - limit} more" if len(words) > limit else ""
    return join.join(words[:limit]) + rest


def _change(target):
    """The function on arrays that `Module.to` applies."""
    try:
        dtype = np.dtype(target)
    except TypeError:
        return lambda x: backend.move(x, target)
    if dtype.kind != "f":
        raise TypeError(f'to: target must be "cpu", "gpu" or a floating dtype, got {target!r}')
    return lambda x: x.astype(dtype, copy=False) if x.dtype.kind == "f" else x
