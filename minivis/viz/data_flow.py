"""The flow of values between boxes, read from a recorded forward pass: arrows, sums and other joins, learned values.

Not here: which modules are boxes (module_tree.py), the names of values (value_labels.py), the drawing
(model_drawing.py).
"""

from collections import namedtuple
from dataclasses import dataclass, field

from minivis.autograd import Node, Tensor
from minivis.backend import is_array
from minivis.nn.calls import record_calls, tensors
from minivis.viz.module_tree import Unit, feeds, kind_in_words, tree, units
from minivis.viz.value_labels import INPUTS, PICK, QUIET, SIGNS, WORDS, family_of, named_outputs, shape_of

__all__ = []

# A diagram with more joins cannot be read: then only layers are drawn, without the ops between them.
MOST_JOINS = 16

# the origin of a value: a part, and the ops after it
Source = namedtuple("Source", "key ops")


@dataclass
class Part:
    """One thing in a diagram.

    Attributes
    ----------
    key : str
        A unique name.
    role : {"stage", "join", "learned", "made", "input", "output"}
        Layers; an op that joins several values; a Parameter that enters between layers; a boolean mask that is computed
        between layers; ends of the diagram.
    name, kind : str
        The name that is written, and the class of the module.
    shapes : list of (str, tuple)
        Shapes of the results: letters of the axes, if they are known, and lengths.
    parameters : int
        Number of parameters, of all repetitions together.
    each : int or None
        Number of parameters of one repetition, if all have the same number.
    times : int
        Number of repetitions.
    beside : bool
        Whether the repetitions are side by side, not one after another.
    calls : int
        Number of calls of each repetition.
    family : {"attention", "convolution", "linear", "norm", "other"}
        Kind of layer.
    frames : tuple of str
        Paths of the containers around it, outermost first.
    inside : Diagram or None
        The diagram of one repetition, if it is opened.
    """

    key: str
    role: str
    name: str
    kind: str = ""
    shapes: list = field(default_factory=list)
    parameters: int = 0
    each: int | None = None
    times: int = 1
    beside: bool = False
    calls: int = 1
    family: str = "other"
    frames: tuple = ()
    inside: object = None


Arrow = namedtuple("Arrow", "start end ops")  # two keys, and the ops between them


@dataclass
class Diagram:
    """Parts in the order of the forward pass, arrows between them, and the containers: path -> (name, class, parameters)."""

    parts: list
    arrows: list
    frames: dict = field(default_factory=dict)

    def part(self, key):
        """The part with a key."""
        return next(part for part in self.parts if part.key == key)


def diagram(model, input, closed=()):
    """Run a model once and return the parts and arrows of its drawing.

    Parameters
    ----------
    model, input
        As for `viz.architecture`.
    closed : sequence of str
        Names of modules that are drawn as one box.

    Returns
    -------
    Diagram
    """
    calls = record_calls("architecture", model, input)
    names = [name for name, _ in model.named_modules()][1:]
    if unknown := [name for name in closed if not any(f"{n}.".startswith(f"{name}.") for n in names)]:
        raise ValueError(
            f"architecture: closed names {unknown[0]!r}, which is no module of {type(model).__name__} "
            f"(there are {', '.join(names[:5])}, ...)"
        )
    root = tree(model, calls)
    tape = _Tape(model, calls)
    drawn = units(root, closed, sum(p.size for p in model.parameters()))
    found = _Flow(tape, root.path, drawn, root.calls).diagram()
    # nothing inside to draw: the model is one box
    if not any(part.role in ("stage", "join") for part in found.parts):
        found = _Flow(tape, root.path, [Unit([[root]], type(model).__name__)], root.calls).diagram()
    _name_frames(found, dict(model.named_modules()))
    return found


def _name_frames(found, modules):
    paths = {path for part in found.parts for path in part.frames}
    for path in sorted(paths):
        around = max((p for p in paths if path.startswith(f"{p}.")), key=len, default=None)
        name = path if around is None else path[len(around) + 1 :]
        numbers = sum(p.size for p in modules[path].parameters())
        found.frames[path] = (name, type(modules[path]).__name__, numbers)


class _Tape:
    """The recorded ops of a forward pass in the order in which they ran, and the module that ran each of them."""

    def __init__(self, model, calls):
        self.owner = {id(node): call.name for call in calls for node in call.nodes}
        self.nodes = sorted((node for call in calls for node in call.nodes), key=lambda node: node.born)
        self.learned = {id(p): (name, p) for name, p in model.named_parameters()}
        self.constants = {}  # results of calls that are not results of ops
        for call in calls:
            for t in tensors(call.out):
                if t.node is None and id(t) not in self.learned:
                    self.constants.setdefault(id(t), call.name)


class _Flow:
    """The diagram of a module, from the units inside it and the tape.

    Parameters
    ----------
    tape : _Tape
        The tape of the whole forward pass.
    path : str or None
        The path of the module; None if the units are layers of a list, with nothing between them.
    units : list of Unit
        The units inside the module.
    calls : list of Call
        The calls of the module (for layers of a list: of the first layer); their arguments are the inputs.
    last : list of Call, optional
        The calls whose results are the outputs; default: ``calls``.
    """

    def __init__(self, tape, path, units, calls, last=None):
        self.tape = tape
        self.path = path
        self.units = units
        self.calls = calls
        self.last = last or calls
        self.between = True  # whether ops between the units are drawn
        self.frames = sorted({path for unit in units for path in unit.frames}, key=len)
        self.unit_of = {path: unit.key for unit in units for path in unit.paths}
        self.given = {}
        for call in calls:
            for name, value in call.given:
                handles = [*_handles(value), *(id(_memory(t.data)) for t in tensors(value))]
                self.given.update({handle: f"in:{name}" for handle in handles})
        self._reset()

    def _reset(self):
        self.sources = {}  # id of a node -> Source
        self.order = []  # keys, in the order in which they are found
        self.between_units = {}  # key -> Part of a join or a learned value
        self.arrows = {}

    def diagram(self):
        """Follow the tape, and return the diagram."""
        self._follow()
        if sum(part.role == "join" for part in self.between_units.values()) > MOST_JOINS:
            self.between = False
            self._reset()
            self._follow()
        stages = {unit.key: self._stage(unit) for unit in self.units}
        parts = {**self._inputs(), **self.between_units, **stages, **self._outputs()}
        ends = [key for key, part in parts.items() if part.role in ("stage", "output")]
        kept = _ancestors(ends, self.arrows)
        kept |= {key for key, part in parts.items() if part.role == "input" and self.path == ""}
        rank = {key: i for i, key in enumerate(self.order)}
        keys = sorted((key for key in parts if key in kept), key=lambda key: _place(parts[key], rank))
        if self.path == "":
            for start, end in self.arrows:
                if end.startswith("out:"):  # the last axis of an output is classes or boxes, not D
                    parts[start].shapes = [("", shape) for _, shape in parts[start].shapes]
        arrows = [Arrow(a, b, ops) for (a, b), ops in self.arrows.items() if a in kept and b in kept]
        return Diagram([parts[key] for key in keys], arrows)

    def _follow(self):
        for node in self.tape.nodes:
            owner = self.tape.owner[id(node)]
            unit = self._unit_at(owner)
            if unit or self.path is not None and _within(owner, self.path):
                self._visit(node, unit)
        reached = {end for _, end in self.arrows}
        for unit in self.units:
            if unit.key not in reached:
                self._take_from_arguments(unit)
            self._take_arrays(unit)

    def _unit_at(self, path):
        """The key of the unit that a module belongs to, or None."""
        while path and path not in self.unit_of:
            path = path.rpartition(".")[0]
        return self.unit_of.get(path)

    def _visit(self, node, unit):
        found = [self._source(parent, unit) for _, parent in node.parents]
        found = [source for source in found if source]
        if unit:
            self._enter(unit, found)
            self.sources[id(node)] = Source(unit, ())
            return
        distinct = {source.key: source for source in reversed(found)}
        if len(distinct) > 1 and self.between:
            self.sources[id(node)] = self._join(node, list(distinct.values())[::-1])
        elif distinct:
            source = max(
                distinct.values(), key=lambda s: (not s.key.startswith("learned:"), self._rank(s.key))
            )
            constant = len(node.parents) == 1
            quiet = node.op in QUIET or node.op == "add" and not constant or source.key.startswith("learned:")
            word = () if quiet else (WORDS.get(node.op, node.op),)
            self.sources[id(node)] = source._replace(ops=source.ops + word)

    def _rank(self, key):
        return self.order.index(key) if key in self.order else -1

    def _enter(self, key, sources):
        """Add arrows into a unit."""
        if key not in self.order:
            self.order.append(key)
        for source in sources:
            if source.key != key:
                self.arrows.setdefault((source.key, key), source.ops)

    def _join(self, node, sources):
        """Add the part in which values from several sources meet, one for all repetitions."""
        key = f"{node.op}({', '.join(source.key for source in sources)})"
        if key not in self.between_units:
            self.order.append(key)
            name = SIGNS.get(node.op, node.op)
            frames = self._frames_at(self.tape.owner[id(node)])
            self.between_units[key] = Part(
                key, "join", name, shapes=[shape_of(node)], family=family_of({node.op}), frames=frames
            )
        for source in sources:
            self.arrows.setdefault((source.key, key), source.ops)
        return Source(key, ())

    def _source(self, value, unit=None):
        """The source of a node or leaf; None if it is not drawn."""
        if id(value) in self.given:
            return Source(self.given[id(value)], ())
        if id(value) in self.sources:
            return self.sources[id(value)]
        if id(value) in self.tape.constants:
            maker = self._unit_at(self.tape.constants[id(value)])
            return Source(maker, ()) if maker else None
        if id(value) in self.tape.learned:
            return self._learned(*self.tape.learned[id(value)], unit)
        return Source("in:", ()) if self.path != "" and isinstance(value, Node) else None

    def _learned(self, name, parameter, unit):
        """The source of a Parameter that enters between layers; None for a layer's own Parameters, which are in its box."""
        if unit and self._unit_at(name) == unit:
            return None
        if self.path is None or not _within(name, self.path):
            return None
        key = f"learned:{name}"
        if key not in self.between_units:
            self.order.append(key)
            frames = self._frames_at(name)
            around = frames[-1] if frames else self.path
            short = name[len(around) + 1 :] if around else name
            part = Part(
                key, "learned", short, "Parameter", [shape_of(parameter)], parameter.size, frames=frames
            )
            self.between_units[key] = part
        return Source(key, ())

    def _frames_at(self, path):
        return tuple(frame for frame in self.frames if _within(path, frame))

    def _take_from_arguments(self, unit):
        """Add arrows into a unit that has none on the tape: its arguments are integers, or its result is a constant."""
        calls = [call for element in unit.elements for b in element for call in b.calls or b.all_calls()]
        handles = [handle for call in calls for _, value in call.given for handle in _handles(value)]
        found = [self.sources.get(h) or h in self.given and Source(self.given[h], ()) for h in handles]
        used = [end for start, end in self.arrows if start == unit.key]
        for source in found:
            # a position code that is added to its own argument has used only the shape of it: no arrow
            if source and not any((source.key, end) in self.arrows for end in used):
                self._enter(unit.key, [source])
        if unit.key not in self.order:
            self.order.append(unit.key)

    def _take_arrays(self, unit):
        """Add arrows for plain arrays, which are not on the tape: from an input, or from a boolean mask made between layers."""
        given = [pair for call in unit.shown[0].calls for pair in call.given]
        for name, value in [(name, value) for name, value in given if is_array(value)]:
            key = self.given.get(id(_memory(value)))
            if key is None and value.dtype == bool:
                key = f"made:{name}"
                part = Part(key, "made", name, "bool", [("", tuple(value.shape))])
                self.between_units.setdefault(key, part)
            if key:
                self.arrows.setdefault((key, unit.key), ())

    def _inputs(self):
        """The arguments of the module, as parts."""
        found = {}
        for name, value in [given for call in self.calls for given in call.given]:
            key = f"in:{name}"
            if _handles(value) and key not in found:
                shapes = [tuple(x.shape) for x in [value] if hasattr(x, "shape")]
                shapes = [(INPUTS.get(len(shape), "") if self.path == "" else "", shape) for shape in shapes]
                found[key] = Part(key, "input", name, shapes=shapes)
        if any(start == "in:" for start, _ in self.arrows):
            found["in:"] = Part("in:", "input", "from outside")
        return found

    def _outputs(self):
        """The results of the module, as parts."""
        found = {}
        for name, t in named_outputs(self.last[-1].out):
            key = f"out:{name}"
            source = self._source(t.node or t)
            if source:
                ops = tuple(op for op in source.ops if op != PICK)  # picks the last of several layers
                self.arrows.setdefault((source.key, key), ops)
                shown = name or "output" if self.path == "" else ""  # the output of a block needs no name
                found[key] = Part(key, "output", shown, shapes=[("", tuple(t.shape))])
        return found

    def _stage(self, unit):
        """The box of a unit."""
        shown = unit.shown
        last = shown[-1].last_out()
        part = Part(
            unit.key, "stage", unit.name, ", ".join(kind_in_words(b) for b in shown), frames=unit.frames
        )
        returned = [t for _, t in named_outputs(last)] or tensors(last)
        part.shapes = [shape_of(t.node or t) for t in returned]
        counts = [{id(p): p.size for b in element for p in b.parameters()} for element in unit.elements]
        part.parameters = sum({key: size for count in counts for key, size in count.items()}.values())
        sums = {sum(count.values()) for count in counts}
        part.each = sums.pop() if len(sums) == 1 else None
        part.times = len(unit.elements)
        part.beside = part.times > 1 and not feeds(*unit.elements[:2])
        part.calls = max(1, len(shown[-1].calls))
        part.family = family_of({op for b in shown for op in b.ops()})
        if unit.opened and len(shown) == 1:
            flow = _Flow(self.tape, shown[0].path, units(shown[0]), shown[0].calls)
            part.inside = flow.diagram()
        elif unit.opened:
            layers = [Unit([[b]], b.label) for b in shown]
            part.inside = _Flow(self.tape, None, layers, shown[0].calls, shown[-1].calls).diagram()
        return part


def _place(part, rank):
    """The sort key of a part: inputs first, then in the order in which they were found, then outputs."""
    return ({"input": 0, "output": 2}.get(part.role, 1), rank.get(part.key, len(rank)))


def _ancestors(ends, arrows):
    """All keys from which the ends can be reached, and the ends."""
    found = set()
    stack = list(ends)
    while stack:
        key = stack.pop()
        if key not in found:
            found.add(key)
            stack += [start for start, end in arrows if end == key]
    return found


def _within(path, outer):
    return not outer or path == outer or path.startswith(f"{outer}.")


def _handles(value):
    """Ids by which a value is recognised: of the nodes and leaves of floating Tensors, of the memory of other arrays."""
    found = [id(t.node or t) for t in tensors(value) if t.dtype.kind == "f"]
    found += [id(_memory(t.data)) for t in tensors(value) if t.dtype.kind != "f"]
    return found + ([id(_memory(value))] if is_array(value) and not isinstance(value, Tensor) else [])


def _memory(array):
    """The array that owns the memory of a view."""
    while isinstance(getattr(array, "base", None), type(array)):
        array = array.base
    return array
