"""Which modules of a recorded forward pass become boxes: repeats folded, blocks opened, containers taken apart.

Not here: what flows between them (data_flow.py), the drawing (model_drawing.py).
"""

from collections import Counter
from dataclasses import dataclass

from minivis.autograd import Tensor
from minivis.nn.calls import tensors
from minivis.nn.module import Parameter

__all__ = []

SILENT = {"dropout"}  # does nothing in evaluation
LARGE = 0.4  # a container with this share of the model's parameters is taken apart
LONGEST = 4  # layers of a pattern that repeats, such as convolution, norm, activation


class Branch:
    """A module or list of modules that took part: its path, the module (None for a list), its calls, what is inside."""

    def __init__(self, path, module=None):
        self.path = path
        self.module = module
        self.calls = []
        self.children = {}

    @property
    def label(self):
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    def all_calls(self):
        """Its calls and those inside it, in the order in which they began."""
        return self.calls + [call for child in self.children.values() for call in child.all_calls()]

    def nodes(self):
        """All ops that were recorded inside."""
        return [node for call in self.all_calls() for node in call.nodes]

    def ops(self):
        """Their names."""
        return {node.op for node in self.nodes()}

    def last_out(self):
        """What its last call returned; of a list, that of the last element."""
        return self.calls[-1].out if self.calls else self.all_calls()[-1].out

    def parameters(self):
        """Of the module, or of what took part of a list: the Parameters, each once."""
        modules = [self.module] if self.module else [child.module for child in self.leaves()]
        return list({id(p): p for module in modules for p in module.parameters()}.values())

    def leaves(self):
        """The modules inside that are no lists, outermost only."""
        if self.module is not None:
            return [self]
        return [leaf for child in self.children.values() for leaf in child.leaves()]

    def layers(self):
        """The modules directly inside, through lists and modules that were not called themselves."""
        found = []
        for child in self.children.values():
            found += [child] if child.calls else child.layers()
        return found


@dataclass
class Unit:
    """What one box stands for: one module, or several alike.

    Attributes
    ----------
    elements : list of list of Branch
        For each repetition its modules: mostly one, several where a pattern repeats.
    name : str
        What to write, without the names of the frames around.
    frames : tuple of str
        Paths of the containers around, outermost first.
    opened : bool
        Whether the inside of one repetition is drawn.
    """

    elements: list
    name: str
    frames: tuple = ()
    opened: bool = False

    @property
    def paths(self):
        """Those of all its modules."""
        return [b.path for element in self.elements for b in element]

    @property
    def shown(self):
        """The repetition that stands for all: the last, since the first is often a special case."""
        return self.elements[-1]

    @property
    def key(self):
        """A name of its own."""
        return self.elements[0][0].path


def tree(model, calls):
    """The modules that took part in a forward pass, without those that did nothing, as a Branch with branches."""
    modules = dict(model.named_modules())
    root = Branch("", model)
    root.calls = [call for call in calls if not call.name]
    for call in calls:
        branch = root
        parts = call.name.split(".") if call.name else []
        for i in range(len(parts)):
            path = ".".join(parts[: i + 1])
            branch = branch.children.setdefault(parts[i], Branch(path, modules.get(path)))
        if call.name:
            branch.calls.append(call)
    _prune(root)
    return root


def _prune(branch):
    """Take out what does nothing in evaluation, and lists of which nothing is left."""
    for name, child in list(branch.children.items()):
        _prune(child)
        if not child.calls and not child.children or _silent(child):
            del branch.children[name]


def _silent(branch):
    calls = branch.all_calls()
    if branch.module is None or not branch.calls or not branch.ops() <= SILENT:
        return False
    return all(call.nodes or any(call.out is value for _, value in call.given) for call in calls)


def units(branch, closed=(), total=0):
    """What to draw of a branch: a list of Units in the order of their first calls.

    Parameters
    ----------
    branch : Branch
        The model, or a block that is opened.
    closed : sequence of str
        Paths of what is one box in any case.
    total : int
        Parameters of the model; 0 inside a block, where nothing is opened or taken apart.
    """
    planner = _Planner(closed, total)
    residual = _blocks(branch, _is_residual)
    planner.is_block = _is_residual if residual else _is_composite
    planner.attention = any(_attends(b) for b in residual or _blocks(branch, _is_composite))
    return planner.inside(branch, branch.path, ())


class _Planner:
    """Decides what is folded, opened and taken apart."""

    def __init__(self, closed, total):
        self.closed = closed
        self.total = total
        self.open_kinds = set()
        self.attention = False
        self.is_block = _is_composite

    def inside(self, branch, named_from, frames):
        """The units of what is inside a branch; names start after the path ``named_from``."""
        found = []
        for element in self._folded(list(branch.children.values())):
            head = element[0][0]
            if len(element) > 1 or len(element[0]) > 1:
                found.append(self._unit(element, named_from, frames, folded=True))
            elif head.path in self.closed or not self._apart(head):
                alone = branch.module is None and len(branch.children) == 1
                found.append(self._unit(element, named_from, frames, folded=alone))
            elif head.module is None:
                found += self.inside(head, named_from, frames)
            else:
                within = self.inside(head, head.path, (*frames, head.path))
                if len(within) == 1:  # a container around one box says nothing
                    outer = head.path[len(named_from) + 1 :] if named_from else head.path
                    within[0].name = f"{outer}.{within[0].name}"
                    within[0].frames = frames
                found += within
        return found

    def _unit(self, elements, named_from, frames, folded):
        first = elements[0][0].path
        path = first.rpartition(".")[0] if folded and first.rpartition(".")[0] != named_from else first
        name = path[len(named_from) + 1 :] if named_from else path
        if folded and path == first:  # directly inside a Sequential: from which number to which
            name = f"{elements[0][0].label} to {elements[-1][-1].label}"
        unit = Unit(elements, name, frames)
        unit.opened = self._opens(unit)
        return unit

    def _apart(self, branch):
        """Whether it is drawn as what is inside it."""
        if not branch.calls:
            return bool(branch.children)
        if not self.total or len(branch.layers()) < 2 or self.is_block(branch):
            return False
        share = sum(p.size for p in branch.parameters()) / max(1, self.total)
        return bool(_blocks(branch, self.is_block)) or share > LARGE

    def _opens(self, unit):
        """The first of each kind of block; where there are blocks with attention, those alone."""
        blocks = len(unit.shown) > 1 or self.is_block(unit.shown[0])
        if not self.total or not blocks or any(b.path in self.closed for b in unit.shown):
            return False
        if self.attention and not any(_attends(b) for b in unit.shown):
            return False
        kind = tuple((type(b.module), *(type(x.module) for x in b.layers())) for b in unit.shown)
        known = kind in self.open_kinds
        self.open_kinds.add(kind)
        return not known

    def _folded(self, branches):
        """Runs of alike elements of a list: for each run a list of repetitions, each a list of branches."""
        if not self.total and len(branches) <= 3:
            return [[[b]] for b in branches]
        found = []
        while branches:
            period, times = max(
                ((p, _times(branches, p)) for p in range(1, LONGEST + 1)),
                key=lambda run: run[0] * (run[1] - 1),
            )
            period = period if times > 1 else 1
            found.append([branches[i * period : (i + 1) * period] for i in range(times)])
            branches = branches[period * times :]
        return found


def _times(branches, period):
    """How often the first ``period`` elements of a list come one after another."""
    times = 1
    first = branches[:period]
    if len(first) < period or not all(_numbered(b) and b.calls for b in first):
        return times
    while _alike(first, branches[times * period : (times + 1) * period]):
        times += 1
    return times


def _alike(first, second):
    """Of the same kinds; and of the same output shapes, unless they stand side by side."""
    if len(first) != len(second) or not all(_numbered(b) and b.calls for b in second):
        return False
    if [_kind(b) for b in first] != [_kind(b) for b in second]:
        return False
    if len(first) == 1 and not first[0].layers() and _weights(first[0]) != _weights(second[0]):
        return not feeds(first, second)
    return [_shapes(b) for b in first] == [_shapes(b) for b in second] or not feeds(first, second)


def feeds(first, second):
    """Whether something that the first made is behind what the second was given."""
    made = {id(node) for b in first for node in b.nodes()}
    oldest = min((node.born for b in first for node in b.nodes()), default=0)
    given = [value for b in second for call in b.calls for _, value in call.given]
    stack = [t.node for t in tensors(given) if t.node]
    seen = set()
    while stack:
        node = stack.pop()
        if id(node) in made:
            return True
        if id(node) not in seen and not isinstance(node, Tensor) and node.born >= oldest:
            seen.add(id(node))
            stack += [parent for _, parent in node.parents]
    return False


def _kind(branch):
    inside = tuple(_kind(b) for b in branch.layers()) if type(branch.module).__name__ == "Sequential" else ()
    return type(branch.module), inside


def _shapes(branch):
    return [tuple(t.shape) for t in tensors(branch.last_out())]


def _weights(branch):
    return [tuple(p.shape) for p in branch.parameters()]


def _numbered(branch):
    return branch.label.isdigit()


def _is_composite(branch):
    """Whether it is an element of a list and has layers of its own."""
    return _numbered(branch) and bool(branch.calls) and len(branch.layers()) > 1


def _is_residual(branch):
    """Whether it also brings two values together, as a residual block does."""
    return _is_composite(branch) and any(_joins(node) for call in branch.calls for node in call.nodes)


def _joins(node):
    computed = [parent for _, parent in node.parents if not isinstance(parent, Parameter)]
    return len({id(parent) for parent in computed}) > 1


def _blocks(branch, is_block):
    """The blocks inside, at whatever depth."""
    found = [b for b in branch.children.values() if is_block(b)]
    return found + [block for b in branch.children.values() for block in _blocks(b, is_block)]


def _attends(branch):
    return any("attention" in op for op in branch.ops())


def kind_in_words(branch):
    """The class of a module; of a Sequential what it holds, such as ``3 Linear, 2 ReLU``."""
    kind = type(branch.module).__name__ if branch.module else "list"
    if kind not in ("Sequential", "list"):
        return kind
    held = Counter(type(b.module).__name__ for b in branch.layers())
    return ", ".join(f"{n} {name}" if n > 1 else name for name, n in held.items()) or kind
