"""Decides which modules of a forward pass become boxes: repeated layers folded, blocks opened, containers split.

Not here: the flow between them (data_flow.py), the drawing (model_drawing.py).
"""

from collections import Counter
from dataclasses import dataclass

from minivis.autograd import Tensor
from minivis.nn.calls import tensors
from minivis.nn.module import Parameter

__all__ = []

SILENT = {"dropout"}  # ops that do nothing in evaluation
LARGE = 0.4  # a container with a larger share of the model's parameters is split
LONGEST = 4  # layers in a repeated pattern, such as convolution, norm, activation


class Branch:
    """A module or list of modules that was used: its path, the module (None for a list), its calls, its children."""

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
        """All recorded ops inside it."""
        return [node for call in self.all_calls() for node in call.nodes]

    def ops(self):
        """The names of all ops inside it."""
        return {node.op for node in self.nodes()}

    def last_out(self):
        """The result of its last call; for a list, of the last call of the last element."""
        return self.calls[-1].out if self.calls else self.all_calls()[-1].out

    def parameters(self):
        """The Parameters of the module, or of the used elements of a list, each once."""
        modules = [self.module] if self.module else [child.module for child in self.leaves()]
        return list({id(p): p for module in modules for p in module.parameters()}.values())

    def leaves(self):
        """The outermost modules inside, without lists."""
        if self.module is not None:
            return [self]
        return [leaf for child in self.children.values() for leaf in child.leaves()]

    def layers(self):
        """The modules directly inside; lists and modules that were not called are replaced by their children."""
        found = []
        for child in self.children.values():
            found += [child] if child.calls else child.layers()
        return found


@dataclass
class Unit:
    """The contents of one box: one module, or several of the same kind.

    Attributes
    ----------
    elements : list of list of Branch
        For each repetition its modules: usually one, several if a pattern repeats.
    name : str
        The name that is written, without the names of the frames around it.
    frames : tuple of str
        Paths of the containers around it, outermost first.
    opened : bool
        Whether the inside of one repetition is drawn.
    """

    elements: list
    name: str
    frames: tuple = ()
    opened: bool = False

    @property
    def paths(self):
        """The paths of all its modules."""
        return [b.path for element in self.elements for b in element]

    @property
    def shown(self):
        """The repetition that is drawn: the last, because the first is often a special case."""
        return self.elements[-1]

    @property
    def key(self):
        """A unique name."""
        return self.elements[0][0].path


def tree(model, calls):
    """The tree of modules that did something in a forward pass, as a Branch with children."""
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
    """Remove modules that do nothing in evaluation, and lists that have become empty."""
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
    """The Units of a branch, in the order of their first calls.

    Parameters
    ----------
    branch : Branch
        The model, or an opened block.
    closed : sequence of str
        Paths of modules that are always one box.
    total : int
        Number of parameters of the model; 0 inside a block, where nothing is opened or split.
    """
    planner = _Planner(closed, total)
    planner.only_stacks = all(
        type(child.module).__name__ == "Sequential" for child in branch.children.values()
    )
    residual = _blocks(branch, _is_residual)
    planner.is_block = _is_residual if residual else _is_composite
    planner.attention = any(_attends(b) for b in residual or _blocks(branch, _is_composite))
    return planner.inside(branch, branch.path, ())


class _Planner:
    """Decides which modules are folded, opened and split."""

    def __init__(self, closed, total):
        self.closed = closed
        self.total = total
        self.open_kinds = set()
        self.attention = False
        self.only_stacks = (
            False  # whether the model is a chain of Sequentials: nothing in it says more than another
        )
        self.is_block = _is_composite

    def inside(self, branch, named_from, frames):
        """The units inside a branch; names start after the path ``named_from``."""
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
                if len(within) == 1:  # a container around a single box is not drawn
                    outer = head.path[len(named_from) + 1 :] if named_from else head.path
                    within[0].name = f"{outer}.{within[0].name}"
                    within[0].frames = frames
                found += within
        return found

    def _unit(self, elements, named_from, frames, folded):
        first = elements[0][0].path
        path = first.rpartition(".")[0] if folded and first.rpartition(".")[0] != named_from else first
        name = path[len(named_from) + 1 :] if named_from else path
        if folded and path == first:  # directly inside a Sequential: name the first and last number
            name = f"{elements[0][0].label} to {elements[-1][-1].label}"
        unit = Unit(elements, name, frames)
        unit.opened = self._opens(unit)
        return unit

    def _apart(self, branch):
        """Whether the modules inside it are drawn instead of one box."""
        if not branch.calls:
            return bool(branch.children)
        if not self.total or len(branch.layers()) < 2 or self.is_block(branch):
            return False
        share = sum(p.size for p in branch.parameters()) / max(1, self.total)
        return bool(_blocks(branch, self.is_block)) or share > LARGE or self.only_stacks

    def _opens(self, unit):
        """Whether its inside is drawn: only the first block of each kind, and only those with attention if there are any."""
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
        """Runs of equal patterns in a list: for each run a list of repetitions, each a list of branches."""
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
    """How often the first ``period`` elements of a list are repeated."""
    times = 1
    first = branches[:period]
    if len(first) < period or not all(_numbered(b) and b.calls for b in first):
        return times
    while _alike(first, branches[times * period : (times + 1) * period]):
        times += 1
    return times


def _alike(first, second):
    """Whether two patterns have the same kinds of modules, and the same output shapes unless they are side by side."""
    if len(first) != len(second) or not all(_numbered(b) and b.calls for b in second):
        return False
    if [_kind(b) for b in first] != [_kind(b) for b in second]:
        return False
    if len(first) == 1 and not first[0].layers() and _weights(first[0]) != _weights(second[0]):
        return not feeds(first, second)
    return [_shapes(b) for b in first] == [_shapes(b) for b in second] or not feeds(first, second)


def feeds(first, second):
    """Whether a result of the first branches was used to compute an argument of the second."""
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
    """Whether it is an element of a list and has layers inside."""
    return _numbered(branch) and bool(branch.calls) and len(branch.layers()) > 1


def _is_residual(branch):
    """Whether it also joins two values, as a residual block does."""
    return _is_composite(branch) and any(_joins(node) for call in branch.calls for node in call.nodes)


def _joins(node):
    computed = [parent for _, parent in node.parents if not isinstance(parent, Parameter)]
    return len({id(parent) for parent in computed}) > 1


def _blocks(branch, is_block):
    """The blocks inside, at any depth."""
    found = [b for b in branch.children.values() if is_block(b)]
    return found + [block for b in branch.children.values() for block in _blocks(b, is_block)]


def _attends(branch):
    return any("attention" in op for op in branch.ops())


def kind_in_words(branch):
    """The class of a module; for a Sequential its contents, such as ``3 Linear, 2 ReLU``."""
    kind = type(branch.module).__name__ if branch.module else "list"
    if kind not in ("Sequential", "list"):
        return kind
    held = Counter(type(b.module).__name__ for b in branch.layers())
    return ", ".join(f"{n} {name}" if n > 1 else name for name, n in held.items()) or kind
